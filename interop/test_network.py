"""Real gossip, of a network of LNDs: what they send is what they know, and how they take what we ask."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeAlias

import pytest
import trio

from interop.btcd import funding_script
from interop.lnd_node import LndNode
from interop.network import (
    Graph,
    Network,
    change_fee,
    close_channel,
    connect,
    describe_graph,
    fundings,
    said_of,
    until,
)
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    Features,
    MessageHandler,
    NullLogger,
    Peer,
    PeerManager,
    RoutingMessageHandler,
    SendMessages,
    Side,
    chains,
    open_peer_nursery,
)
from triolight.actions import HandlerResult
from triolight.gossip import (
    decode_short_ids,
    decode_timestamps,
    direction,
    encode_query_flags,
    encode_short_ids,
    verify_announcement,
)
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    NodeAnnouncement,
    QueryChannelRange,
    QueryChannelRangeTlvs,
    QueryShortChannelIds,
    QueryShortChannelIdsTlvs,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.wire import ShortChannelId

CHAIN = chains.SIMNET.chain_hash
Announcement: TypeAlias = ChannelAnnouncement | ChannelUpdate | NodeAnnouncement

pytestmark = pytest.mark.node("LND")
EACH = pytest.mark.parametrize("name", ["alice", "bob", "carol"])


class Offers(RoutingMessageHandler):
    """Offers gossip_queries, and leaves the answers to the manager."""

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


@asynccontextmanager
async def open_peer(network: Network, lnd: LndNode, route: RoutingMessageHandler) -> AsyncIterator[Peer]:
    """Us, with a node id of our own each time, connected to it."""
    handlers = MessageHandler(ChannelMessageHandler(), route)
    manager = PeerManager(handlers, os.urandom(32), os.urandom(32), NullLogger())
    async with open_peer_nursery(manager) as peers:
        yield await peers.connect(network.address(lnd))


def verified(messages: list[Announcement]) -> Graph:
    """What they say, if all signatures hold: an update's by the end of a channel that came before it."""
    channels: dict[int, ChannelAnnouncement] = {}
    for message in messages:
        signer = None
        if isinstance(message, ChannelAnnouncement):
            assert message.chain_hash == CHAIN
            channels[message.short_channel_id] = message
        elif isinstance(message, ChannelUpdate):
            assert message.chain_hash == CHAIN
            channel = channels[message.short_channel_id]
            signer = (channel.node_id_1, channel.node_id_2)[direction(message)]
        assert verify_announcement(message, signer), message
    return said_of(messages)


FILTER_ALL = GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=2**32 - 1)
ASK_ALL = QueryChannelRange(
    chain_hash=CHAIN, first_blocknum=0, number_of_blocks=2**32 - 1, tlvs=QueryChannelRangeTlvs(query_option=1)
)


def ask_for(*short_channel_ids: int, tlvs: QueryShortChannelIdsTlvs | None = None) -> QueryShortChannelIds:
    return QueryShortChannelIds(
        chain_hash=CHAIN,
        encoded_short_ids=encode_short_ids(short_channel_ids),
        tlvs=tlvs or QueryShortChannelIdsTlvs(),
    )


@pytest.mark.shows("graph")
@EACH
async def test_what_it_sends_for_a_filter_is_what_it_knows(name: str, network: Network) -> None:
    lnd: LndNode = getattr(network, name)
    knows = await describe_graph(lnd)
    assert len(knows.channels) >= 3
    assert knows.nodes.keys() == {one.node_id for one in network.nodes}
    assert {one.alias for one in knows.nodes.values()} == {"alice \u2607", "bob", "carol, whose alias has 32 bytes."}
    assert sorted(len(one.addresses) for one in knows.nodes.values()) == [0, 1, 2]
    async with (
        open_peer(network, lnd, Offers()) as peer,
        peer.subscribe(ChannelAnnouncement, ChannelUpdate, NodeAnnouncement) as inbox,
    ):
        await peer.send(FILTER_ALL)
        # There is no mark at its end: of each channel and each node it is one message of each kind.
        came = [await anext(inbox) for _ in range(3 * len(knows.channels) + len(knows.nodes))]
        assert verified(came) == knows


@pytest.mark.shows("graph")
@EACH
async def test_what_it_answers_to_queries_is_what_it_knows(name: str, network: Network) -> None:
    lnd: LndNode = getattr(network, name)
    knows = await describe_graph(lnd)
    async with open_peer(network, lnd, Offers()) as peer:
        async with peer.subscribe(ReplyChannelRange) as replies:
            await peer.send(ASK_ALL)
            listed: dict[int, tuple[int, int]] = {}
            complete = 0
            while not complete:
                reply = await anext(replies)
                assert reply.tlvs.timestamps_tlv is not None
                keys = decode_short_ids(reply.encoded_short_ids)
                listed.update(zip(keys, decode_timestamps(reply.tlvs.timestamps_tlv), strict=True))
                complete = reply.sync_complete
        assert listed == {
            key: tuple(policy.timestamp if policy else 0 for policy in channel.policies)
            for key, channel in knows.channels.items()
        }
        answer, end = await ask(peer, *listed)
        assert end.full_information == 1
        # Nodes stand between the channels, once for each: what they say together is what counts.
        assert verified(answer) == knows
        assert sum(isinstance(one, ChannelAnnouncement) for one in answer) == len(knows.channels)


async def ask(
    peer: Peer, *short_channel_ids: int, tlvs: QueryShortChannelIdsTlvs | None = None
) -> tuple[list[Announcement], ReplyShortChannelIdsEnd]:
    async with peer.subscribe(ChannelAnnouncement, ChannelUpdate, NodeAnnouncement, ReplyShortChannelIdsEnd) as inbox:
        await peer.send(ask_for(*short_channel_ids, tlvs=tlvs))
        answer: list[Announcement] = []
        async for message in inbox:
            if isinstance(message, ReplyShortChannelIdsEnd):
                return answer, message
            assert isinstance(message, ChannelAnnouncement | ChannelUpdate | NodeAnnouncement)
            answer.append(message)
    raise AssertionError("it has closed instead of an answer")


@pytest.mark.shows("graph")
async def test_a_channel_is_the_output_that_it_names(network: Network) -> None:
    """btcd's word for it: the output is there, unspent, of that amount, and wants both keys of the announcement."""
    found = await fundings(network.bob)
    assert found == await fundings(network.alice) == await fundings(network.carol)
    async with open_peer(network, network.bob, Offers()) as peer:
        answer, _ = await ask(peer, *found)
    announcements = [one for one in answer if isinstance(one, ChannelAnnouncement)]
    assert {one.short_channel_id for one in announcements} == found.keys()
    assert {1_000_000, 2_500_000, 16_000_000} <= {one.capacity for one in found.values()}
    for one in announcements:
        output = await network.btcd.output(one.short_channel_id)
        assert output.script == funding_script(one.bitcoin_key_1, one.bitcoin_key_2)
        assert output.unspent
        said = found[one.short_channel_id]
        assert (f"{output.txid}:{output.index}", output.sats) == (said.channel_point, said.capacity)


@pytest.mark.shows("graph")
async def test_a_changed_fee_arrives(network: Network) -> None:
    """From alice, whose fee it is, and from carol, who has heard of it."""
    [(key, funding)] = [
        (key, funding) for key, funding in (await fundings(network.alice)).items() if funding.capacity == 1_000_000
    ]
    channel = (await describe_graph(network.alice)).channels[key]
    side = (channel.node_id_1, channel.node_id_2).index(network.alice.node_id)
    before = channel.policies[side]
    assert before is not None
    since = GossipTimestampFilter(
        chain_hash=CHAIN, first_timestamp=before.timestamp + 1, timestamp_range=2**32 - 1 - before.timestamp
    )
    async with (
        open_peer(network, network.alice, Offers()) as first,
        open_peer(network, network.carol, Offers()) as second,
        first.subscribe(ChannelUpdate) as from_alice,
        second.subscribe(ChannelUpdate) as from_carol,
    ):
        for peer in (first, second):
            await peer.send(since)
            # Filters and queries are taken in order: behind the answer the filter stands.
            await ask(peer, key)
        base_msat = before.fee_base_msat + 11
        await change_fee(network.alice, funding.channel_point, base_msat=base_msat, ppm=77, inbound_fee=(-3, -9))
        for inbox in (from_alice, from_carol):
            while True:
                update = await anext(inbox)
                if (update.short_channel_id, update.fee_base_msat) == (key, base_msat):
                    break
            assert direction(update) == side
            assert update.timestamp > before.timestamp
            assert verify_announcement(update, network.alice.node_id)
            assert update.fee_proportional_millionths == 77
        await until(network.agrees)
        policy = (await describe_graph(network.carol)).channels[key].policies[side]
        assert policy is not None
        assert (policy.fee_base_msat, policy.fee_proportional_millionths, policy.inbound_fee) == (
            base_msat,
            77,
            (-3, -9),
        )


@pytest.mark.shows("graph")
@pytest.mark.parametrize("force", [False, True], ids=["together", "alone"])
async def test_a_closed_channel_is_no_more(force: bool, network: Network) -> None:
    key, point = await network.open_channel(network.alice, network.carol, 300_000)
    async with open_peer(network, network.bob, Offers()) as peer:
        answer, _ = await ask(peer, key)
        assert [type(one) for one in answer if not isinstance(one, NodeAnnouncement)] == [
            ChannelAnnouncement,
            ChannelUpdate,
            ChannelUpdate,
        ]
        spent_by = await close_channel(network.alice, point, force=force)
        await network.mine(1)

        async def gone() -> bool:
            return key not in (await describe_graph(network.bob)).channels

        await until(gone)
        assert not (await network.btcd.output(key)).unspent
        block = await network.btcd.call("getblock", await network.btcd.call("getbestblockhash"))
        assert spent_by in block["tx"]
        assert (await ask(peer, key))[0] == []


@pytest.mark.shows("graph")
async def test_a_fourth_that_knows_nobody_learns_it_from_one(network: Network) -> None:
    async with network.open_another("--alias=dora") as dora:
        assert await describe_graph(dora) == Graph({}, {})
        await connect(dora, network.address(network.bob))

        async def knows_all() -> bool:
            return await describe_graph(dora) == await describe_graph(network.bob)

        await until(knows_all)


# How it takes what we ask.


@pytest.mark.shows("queries")
@pytest.mark.differs("answers no query of a peer that does not offer gossip_queries", "answer it")
async def test_without_our_offer_it_answers_nothing(network: Network) -> None:
    async with (
        open_peer(network, network.alice, RoutingMessageHandler()) as without,
        open_peer(network, network.alice, Offers()) as offering,
        without.subscribe(ReplyChannelRange, ReplyShortChannelIdsEnd) as nothing,
    ):
        keys = (await describe_graph(network.alice)).channels
        await without.send(ASK_ALL, ask_for(*keys))
        # As often as it may take, another one has its answer to the same.
        for _ in range(3):
            await ask(offering, *keys)
            await without.ping()
        await without.disconnect()
        assert [one async for one in nothing] == []


@pytest.mark.shows("queries")
@pytest.mark.differs("does not end a query_short_channel_ids without ids", "end it, as any other")
@pytest.mark.parametrize("encoded", [b"", b"\0"], ids=["no byte", "no id"])
async def test_an_empty_query_has_no_end(encoded: bytes, network: Network) -> None:
    """The end that comes next is that of the next query: it has its channel before it."""
    key = next(iter((await describe_graph(network.bob)).channels))
    async with (
        open_peer(network, network.bob, Offers()) as peer,
        peer.subscribe(ChannelAnnouncement, ReplyShortChannelIdsEnd) as inbox,
    ):
        for _ in range(2):
            await peer.send(QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=encoded), ask_for(key))
            announcement, end = await anext(inbox), await anext(inbox)
            assert isinstance(announcement, ChannelAnnouncement)
            assert announcement.short_channel_id == key
            assert isinstance(end, ReplyShortChannelIdsEnd)


def listed(*short_channel_ids: int) -> bytes:
    """As they stand, in order or not."""
    return b"\0" + b"".join(one.to_bytes(8, "big") for one in short_channel_ids)


@pytest.mark.shows("queries")
@pytest.mark.differs("gives no checksums of updates, whatever is asked for", "give them, if they are asked for")
async def test_it_lists_no_checksums(network: Network) -> None:
    knows = await describe_graph(network.alice)
    async with open_peer(network, network.alice, Offers()) as peer, peer.subscribe(ReplyChannelRange) as replies:
        for option, stamped in ((None, False), (1, True), (2, False), (3, True)):
            await peer.send(ASK_ALL.replace(tlvs=QueryChannelRangeTlvs(query_option=option)))
            reply = await anext(replies)
            assert (decode_short_ids(reply.encoded_short_ids), reply.sync_complete) == (
                tuple(sorted(knows.channels)),
                1,
            )
            assert (reply.tlvs.timestamps_tlv is not None, reply.tlvs.checksums_tlv) == (stamped, None)


@pytest.mark.shows("queries")
@pytest.mark.differs("tells all of a channel, whichever query_flags ask for a part of it", "tell what is asked for")
async def test_it_heeds_no_flags(network: Network) -> None:
    key = next(iter((await describe_graph(network.bob)).channels))
    async with open_peer(network, network.bob, Offers()) as peer:
        whole, _ = await ask(peer, key)
        assert sorted(type(one).__name__ for one in whole) == [
            "ChannelAnnouncement",
            "ChannelUpdate",
            "ChannelUpdate",
            "NodeAnnouncement",
            "NodeAnnouncement",
        ]
        for flags in (1, 2, 4, 8, 16, 0):
            tlvs = QueryShortChannelIdsTlvs(query_flags=encode_query_flags([flags]))
            part, _ = await ask(peer, key, tlvs=tlvs)
            assert sorted(one.encode() for one in part) == sorted(one.encode() for one in whole)


FIRST, SECOND = ShortChannelId.of(400, 1, 0), ShortChannelId.of(401, 1, 0)
WRONG = {
    "not in order": listed(SECOND, FIRST),
    "one twice": listed(FIRST, FIRST),
}


@pytest.mark.shows("queries")
@pytest.mark.differs(
    "closes, and says nothing, for a list of short ids that is not in order or has one twice",
    "take it",
)
@pytest.mark.parametrize("encoded", WRONG.values(), ids=WRONG)
async def test_a_wrong_list_in_a_query_ends_it(encoded: bytes, network: Network) -> None:
    async with open_peer(network, network.bob, Offers()) as peer:
        _, end = await ask(peer, FIRST, SECOND)  # the same in order
        assert end.full_information == 1
        await peer.send(QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=encoded))
        await ends(peer)


async def ends(peer: Peer) -> None:
    reason = await peer.wait_closed()
    assert reason.by is Side.PEER
    assert reason.code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)


class Answers(Offers):
    """Answers its query_channel_range with a list."""

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        self.asked: list[QueryShortChannelIds] = []
        self.was_asked = trio.Event()

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> HandlerResult:
        reply = ReplyChannelRange(
            chain_hash=message.chain_hash,
            first_blocknum=message.first_blocknum,
            number_of_blocks=message.number_of_blocks,
            sync_complete=1,
            encoded_short_ids=self.encoded,
        )
        self.push(SendMessages(node_id, reply))
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> HandlerResult:
        self.asked.append(message)
        self.was_asked.set()
        return None


@pytest.mark.shows("queries")
async def test_a_wrong_list_in_an_answer_ends_it(network: Network) -> None:
    """Of an LND that knows nobody, and so asks us; whom it has left it forgets, and asks the next one."""
    async with network.open_another() as dora:
        for encoded in WRONG.values():
            async with open_peer(network, dora, Answers(encoded)) as peer:
                await ends(peer)
        route = Answers(listed(FIRST, SECOND))
        async with open_peer(network, dora, route) as peer:
            await route.was_asked.wait()
            assert decode_short_ids(route.asked[0].encoded_short_ids) == (FIRST, SECOND)
            await peer.ping()
