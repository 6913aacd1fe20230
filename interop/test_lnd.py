"""Against a whole LND, in both directions: what it says to us, what it makes of what we say, and what it waits for."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeAlias

import pytest
import trio

from interop.lnd_node import LndNode, LndRefuses, open_lnd
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    Features,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    Side,
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.messages import (
    ALL_CHANNELS,
    BOLT,
    Error,
    GossipTimestampFilter,
    Message,
    Ping,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
    Warning,
    message,
)

REGTEST = bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")
ODD = 43001

pytestmark = pytest.mark.node("LND")


@message(ODD)
class Odd(Message):
    payload: wire.remainder


class Offers(RoutingMessageHandler):
    """Offers gossip_queries, and leaves the answers to the manager."""

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


class Silent(Offers):
    """Offers gossip_queries, and answers nothing."""

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> None:
        return None


def make_manager(route: RoutingMessageHandler | None = None, **options: Any) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), route or RoutingMessageHandler())
    return PeerManager(handlers, os.urandom(32), os.urandom(32), NullLogger(), messages=BOLT | {Odd}, **options)


Meeting: TypeAlias = Callable[[PeerNursery, LndNode], Awaitable[Peer]]


async def dial(peers: PeerNursery, lnd: LndNode) -> Peer:
    return await peers.connect(NodeAddress(lnd.node_id, "127.0.0.1", lnd.port))


async def be_dialled(peers: PeerNursery, lnd: LndNode, host: str = "127.0.0.1") -> Peer:
    listeners = await peers.listen(0, host=host)
    async with peers.events() as events:
        while True:
            try:
                await lnd.dial(peers.manager.our_node_id, listeners[0].socket.getsockname()[1], host)
                break
            except LndRefuses as error:
                if "already connected" not in str(error):
                    raise
                await trio.sleep(0.1)  # it has not noticed yet that the last connection has ended
        event = await events.__anext__()
    assert isinstance(event, PeerConnected)
    assert event.peer.node_id == lnd.node_id
    assert event.peer.inbound
    assert isinstance(event.peer, Peer)
    return event.peer


DIRECTIONS = pytest.mark.parametrize("meet", [dial, be_dialled])


@pytest.fixture
async def lnd() -> AsyncIterator[LndNode]:
    with trio.fail_after(120):
        async with open_lnd() as node:
            yield node


@pytest.mark.shows("init", "pings")
@DIRECTIONS
async def test_inits_pings_and_its_view_of_us(meet: Meeting, lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager()) as peers:
        peer = await meet(peers, lnd)
        assert peer.features.requires("option_data_loss_protect")
        assert peer.features.offers("gossip_queries")
        for size in (0, 1, 255, 256, 4096, 65_530, 65_531):
            assert await peer.ping(size) > 0
        assert await peer.ping(7, bytes(65_529)) > 0
        (seen,) = await lnd.peers()
        assert bytes.fromhex(seen["pub_key"]) == peers.manager.our_node_id
        assert seen["inbound"] is not peer.inbound
        assert seen["features"]["1"] == {"name": "data-loss-protect", "is_required": False, "is_known": True}
        assert seen["errors"] == []


@pytest.mark.shows("stream")
@DIRECTIONS
async def test_two_thousand_messages_each_way_at_once(meet: Meeting, lnd: LndNode) -> None:
    """Both sending keys rotate four times, and not in step: LND's pongs are fewer packets than our pings and notes."""
    async with open_peer_nursery(make_manager()) as peers:
        peer = await meet(peers, lnd)

        async def notes() -> None:
            for number in range(1000):
                await peer.send(Odd(payload=b"%d" % number))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(notes)
            for number in range(2000):
                await peer.ping(number % 97)
        statistics = peer.statistics()
        assert statistics.messages_sent >= 3001
        assert statistics.messages_received >= 2001


@pytest.mark.shows("custom", "largest")
@DIRECTIONS
async def test_custom_messages_and_the_largest_ones(meet: Meeting, lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager()) as peers:
        peer = await meet(peers, lnd)
        async with peer.subscribe(Odd, UnknownMessage) as inbox:
            for payload in (b"", b"a note", os.urandom(65_533)):
                body = {
                    "peer": base64.b64encode(peers.manager.our_node_id).decode(),
                    "type": ODD,
                    "data": base64.b64encode(payload).decode(),
                }
                await lnd.call("POST", "/v1/custommessage", body)
                assert await inbox.__anext__() == Odd(payload=payload)
        await peer.send(Odd(payload=os.urandom(65_533)), UnknownMessage(65_001, os.urandom(65_533)))
        await peer.ping()


@pytest.mark.shows("keepalive")
async def test_its_keepalive_is_answered(lnd: LndNode) -> None:
    """A ping each minute, and half a minute later it would be over. It takes 127.0.0.1 for Tor, and pings that each
    three minutes: so from another address of loopback."""
    async with open_peer_nursery(make_manager()) as dialling, open_peer_nursery(make_manager()) as dialled:
        stream = await trio.open_tcp_stream("127.0.0.1", lnd.port, local_address="127.0.0.2")
        ours = await dialling.attach(stream, lnd.node_id)
        theirs = await be_dialled(dialled, lnd, "127.0.0.2")
        async with ours.subscribe(Ping) as first, theirs.subscribe(Ping) as second:
            for peer, pings in ((ours, first), (theirs, second)):
                ping = await anext(pings)
                assert 0 < ping.num_pong_bytes <= 4096
                assert await peer.ping() > 0
        statistics = await lnd.peers()
        assert len(statistics) == 2
        assert all(int(one["ping_time"]) > 0 for one in statistics)  # it has a round trip: our pongs were right


@pytest.mark.shows("words", "ends")
@pytest.mark.differs("goes on after an error for all channels", "end the connection after it")
@DIRECTIONS
async def test_words_of_both_kinds_and_who_leaves(meet: Meeting, lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager()) as peers:
        peer = await meet(peers, lnd)
        await peer.send(Warning(data=b"a warning \xff"), Error(channel_id=b"\x01" * 32, data=b"no such channel"))
        await peer.ping()
        # An error for all channels ends nothing at LND, and its view of us keeps the words.
        await peer.send(Error(channel_id=ALL_CHANNELS, data=b"all of them"))
        await peer.ping()
        await lnd.hang_up(peers.manager.our_node_id)
        reason = await peer.wait_closed()
        assert reason.code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
        again = await meet(peers, lnd)
        await again.ping()
        await again.disconnect("our turn to go")
        assert (await again.wait_closed()).code is DisconnectCode.REQUESTED


@pytest.mark.shows("wrong_id")
async def test_a_wrong_node_id_fails_in_act_one(lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager()) as peers:
        with pytest.raises(ConnectError) as caught:
            await peers.connect(NodeAddress(node_id(os.urandom(32)), "127.0.0.1", lnd.port))
        assert caught.value.reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE
        listeners = await peers.listen(0, host="127.0.0.1")
        with pytest.raises(LndRefuses):
            await lnd.dial(node_id(os.urandom(32)), listeners[0].socket.getsockname()[1])
        assert peers.statistics().handshake_failures == {"CLOSED_IN_HANDSHAKE": 1, "ACT_ONE_FAILED": 1}
        assert await (await dial(peers, lnd)).ping() > 0


class OffersNothing(ChannelMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features()


@pytest.mark.shows("init")
@pytest.mark.differs("closes, and says nothing, if we lack option_data_loss_protect", "ask for nothing; handlers may")
async def test_it_wants_data_loss_protect(lnd: LndNode) -> None:
    """BOLT 9 wants it of all; it closes after the Inits, before it lists us among its peers."""
    handlers = MessageHandler(OffersNothing(), RoutingMessageHandler())
    manager = PeerManager(handlers, os.urandom(32), os.urandom(32), NullLogger())
    async with open_peer_nursery(manager) as peers, peers.events() as events:
        with suppress(ConnectError):
            await dial(peers, lnd)
        while not isinstance(event := await anext(events), PeerDisconnected):
            assert isinstance(event, PeerConnected)
        assert event.reason.by is Side.PEER
        assert event.reason.code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
        assert await lnd.peers() == []


@pytest.mark.shows("duplicates")
async def test_what_it_does_with_a_duplicate(lnd: LndNode) -> None:
    """In one direction the newest, by its rule and ours: its own second dial finds us connected, and there is one."""
    secret = os.urandom(32)
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())

    def same_key() -> PeerManager:
        return PeerManager(handlers, secret, os.urandom(32), NullLogger())

    async with open_peer_nursery(same_key()) as first, first.events() as events:
        await dial(first, lnd)
        assert isinstance(await events.__anext__(), PeerConnected)
        async with open_peer_nursery(same_key()) as second:
            peer = await dial(second, lnd)
            ended = await events.__anext__()
            assert isinstance(ended, PeerDisconnected)
            assert await peer.ping() > 0
            assert len(await lnd.peers()) == 1


@pytest.mark.shows("crossing")
@pytest.mark.parametrize("seed", range(4))
async def test_crossing_dials_end_with_one(seed: int, lnd: LndNode) -> None:
    """Its rule is its older one, ours the smaller node id's: whichever it is, one is left, the same at both ends."""
    async with open_peer_nursery(make_manager()) as peers:
        listeners = await peers.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]

        async def its_dial() -> None:
            try:
                await lnd.dial(peers.manager.our_node_id, port)
            except LndRefuses as error:
                if "already connected" not in str(error):
                    raise

        async def our_dial() -> None:
            await trio.sleep(seed * 0.002)  # who is first is what varies here
            try:
                await dial(peers, lnd)
            except ConnectError as error:
                if error.reason.code is not DisconnectCode.CLOSED_BEFORE_INIT:
                    raise

        async with trio.open_nursery() as nursery:
            nursery.start_soon(its_dial)
            nursery.start_soon(our_dial)
        await trio.sleep(2.5)  # what was parked has ended
        (peer,) = peers.peers.values()
        assert await peer.ping() > 0
        (seen,) = await lnd.peers()
        assert seen["inbound"] is not peer.inbound


@pytest.mark.shows("killed")
@DIRECTIONS
async def test_it_is_killed_and_comes_back(meet: Meeting) -> None:
    with trio.fail_after(120):
        async with open_peer_nursery(make_manager()) as peers:
            for _ in range(2):
                async with open_lnd() as lnd:
                    peer = await meet(peers, lnd)
                    await peer.ping()
                reason = await peer.wait_closed()
                assert reason.code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)


@pytest.mark.shows("pings")
async def test_a_ping_that_wants_no_pong(lnd: LndNode) -> None:
    """It ignores it, as BOLT 1 wants; up to 0.20 it closed."""
    async with open_peer_nursery(make_manager()) as peers:
        peer = await dial(peers, lnd)
        await peer.send(Ping(num_pong_bytes=65_532), Ping(num_pong_bytes=65_535))
        assert await peer.ping() > 0


# ---------------------------------------------------------------------------------------------------------------------
# gossip_queries: it asks the first peer that offers them, and waits


@pytest.mark.shows("queries")
async def test_without_the_offer_it_asks_nothing(lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager()) as peers, peers.subscribe(QueryChannelRange) as queries:
        peer = await dial(peers, lnd)
        for _ in range(20):
            await peer.ping()
        assert not (await lnd.info())["synced_to_graph"]
        await peer.disconnect()
        assert [query async for _, query in _until_closed(peer, queries)] == []


async def _until_closed(peer: Peer, inbox: Any) -> AsyncIterator[Any]:
    await peer.wait_closed()
    with trio.move_on_after(0):
        async for one in inbox:
            yield one


@pytest.mark.shows("queries")
@pytest.mark.differs(
    "asks the first peer that offers gossip_queries, and waits for its answer",
    "answer for a handler that offers them and stays silent; wait for nobody",
)
async def test_it_waits_for_the_first_peer_that_offers_them(lnd: LndNode) -> None:
    """A handler that stays silent holds it up; the manager's answer lets it go on."""
    async with (
        open_peer_nursery(make_manager(Silent())) as silent,
        silent.subscribe(QueryChannelRange) as asked,
    ):
        held = await dial(silent, lnd)
        _, query = await asked.__anext__()
        assert query.chain_hash == REGTEST
        for _ in range(20):
            await held.ping()
        assert not (await lnd.info())["synced_to_graph"]
    async with (
        open_peer_nursery(make_manager(Offers())) as answering,
        answering.subscribe(QueryChannelRange, GossipTimestampFilter) as inbox,
    ):
        peer = await dial(answering, lnd)
        _, asks = await inbox.__anext__()
        assert isinstance(asks, QueryChannelRange)
        # It takes the answer, and goes on to the next step of its sync.
        _, follows = await inbox.__anext__()
        assert isinstance(follows, GossipTimestampFilter)
        while not (await lnd.info())["synced_to_graph"]:
            await peer.ping()


@pytest.mark.shows("queries")
@DIRECTIONS
async def test_it_answers_our_queries(meet: Meeting, lnd: LndNode) -> None:
    async with open_peer_nursery(make_manager(Offers())) as peers:
        peer = await meet(peers, lnd)
        async with peer.subscribe(ReplyChannelRange, ReplyShortChannelIdsEnd) as answers:
            await peer.send(QueryChannelRange(chain_hash=REGTEST, first_blocknum=0, number_of_blocks=2**32 - 1))
            answer = await answers.__anext__()
            assert isinstance(answer, ReplyChannelRange)
            assert (answer.sync_complete, answer.encoded_short_ids) == (1, b"\0")
            await peer.send(QueryShortChannelIds(chain_hash=REGTEST, encoded_short_ids=bytes(9)))
            end = await answers.__anext__()
            assert isinstance(end, ReplyShortChannelIdsEnd)
            assert end.full_information == 1
