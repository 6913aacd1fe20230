"""Against LDK itself, in both directions: what it says to us, what it makes of what we say, and who may leave how."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable

import pytest
import trio

from interop.conftest import OpenLdk
from interop.programs import JsonNode, free_ports
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    KeptPeer,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerConnected,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    Side,
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.messages import ALL_CHANNELS, BOLT, Error, Message, OpenChannel, Ping, UnknownMessage, Warning, message

ODD, EVEN = 43001, 43002


@message(ODD)
class Odd(Message):
    payload: wire.remainder


def make_manager() -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, os.urandom(32), os.urandom(32), NullLogger(), messages=BOLT | {Odd})


async def dial(peers: PeerNursery, ldk: JsonNode) -> Peer:
    peer = await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
    event = await ldk.event("peer_connected")
    assert bytes.fromhex(event["node_id"]) == peers.manager.our_node_id
    assert event["inbound"]
    return peer


async def be_dialled(peers: PeerNursery, ldk: JsonNode) -> Peer:
    listeners = await peers.listen(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    async with peers.events() as events:
        await ldk.command("connect", node_id=peers.manager.our_node_id.hex(), port=port)
        event = await events.__anext__()
    assert isinstance(event, PeerConnected)
    assert event.peer.node_id == ldk.node_id
    assert event.peer.inbound
    assert not (await ldk.event("peer_connected"))["inbound"]
    assert isinstance(event.peer, Peer)
    return event.peer


Meet = Callable[[PeerNursery, JsonNode], Awaitable[Peer]]
DIRECTIONS = pytest.mark.parametrize("meet", [dial, be_dialled])


@pytest.mark.shows("init")
@DIRECTIONS
async def test_inits_and_who_is_there(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            # The WASM one is version 0.1.2, the native one 0.2.7.
            assert peer.init.features.hex() in ("08a0000a0aa222", "08a0002a0aa222")
            (seen,) = (await ldk.command("peers"))["peers"]
            assert seen["node_id"] == peers.manager.our_node_id.hex()
            assert seen["features"].endswith("08a0002a0aa222")


@pytest.mark.shows("pings")
@DIRECTIONS
async def test_pings_of_all_sizes(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            for size in (0, 1, 2, 255, 256, 1000, 4096, 40_000, 65_530, 65_531):
                assert await peer.ping(size) > 0
            assert await peer.ping(7, bytes(65_529)) > 0
            # 65532 and more want no pong, and the connection lives.
            await peer.send(Ping(num_pong_bytes=65_532), Ping(num_pong_bytes=65_535))
            assert await peer.ping() > 0


@pytest.mark.shows("keepalive")
@DIRECTIONS
async def test_its_keepalive_is_answered(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            async with peer.subscribe(Ping) as pings:
                for _ in range(12):
                    await ldk.command("tick")
                    assert await pings.__anext__() == Ping(num_pong_bytes=0, ignored=bytes(64))
                    # Our ping's answer comes behind our pong: LDK has had it before the next tick.
                    await peer.ping()
            assert len((await ldk.command("peers"))["peers"]) == 1


@pytest.mark.shows("stream")
@DIRECTIONS
async def test_three_rotations(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(120):
        async with open_ldk("--custom-type", str(ODD)) as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            async with peer.subscribe(Odd, buffer_bytes=2**24) as inbox:
                # Its sending key is ahead of ours by 700 messages: the directions rotate out of step.
                await ldk.command("custom", node_id=peers.manager.our_node_id.hex(), type=ODD, payload="aa", count=700)
                for number in range(1664):
                    await peer.ping(number % 3)
                for _ in range(700):
                    assert await inbox.__anext__() == Odd(payload=b"\xaa")
            statistics = peer.statistics()
            assert statistics.messages_sent >= 1665
            assert statistics.messages_received >= 1665 + 700


@pytest.mark.shows("largest")
@DIRECTIONS
async def test_a_flood_of_large_pongs(meet: Meet, open_ldk: OpenLdk) -> None:
    """200 pongs of 65,531 bytes, asked for 30 at a time: nothing stops for ever after the first full buffer."""
    with trio.fail_after(120):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(peer.ping, 65_531)


@pytest.mark.shows("custom", "largest")
@DIRECTIONS
async def test_custom_messages_both_ways(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk("--custom-type", str(ODD)) as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            for payload in (b"", b"hello", bytes(65_533)):
                await peer.send(Odd(payload=payload))
                assert bytes.fromhex((await ldk.event("custom"))["payload"]) == payload
                async with peer.subscribe(Odd) as inbox:
                    our_id = peers.manager.our_node_id.hex()
                    await ldk.command("custom", node_id=our_id, type=ODD, payload=payload.hex())
                    assert await inbox.__anext__() == Odd(payload=payload)


@pytest.mark.shows("unknown")
@DIRECTIONS
async def test_it_ignores_an_unknown_odd_message_and_closes_on_an_even_one(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await peer.send(UnknownMessage(ODD, b"odd"))
            await peer.ping()
            await peer.send(UnknownMessage(EVEN, b"even"))
            reason = await peer.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.PEER_CLOSED, Side.PEER)
            await ldk.event("peer_disconnected")


@pytest.mark.shows("unknown")
@DIRECTIONS
async def test_we_ignore_an_unknown_odd_message_and_close_on_an_even_one(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            our_id = peers.manager.our_node_id.hex()
            await ldk.command("custom", node_id=our_id, type=43003, payload="00")
            await peer.ping()
            await ldk.command("custom", node_id=our_id, type=EVEN, payload="00")
            reason = await peer.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.UNKNOWN_EVEN_MESSAGE, Side.US)
            await ldk.event("peer_disconnected")


@pytest.mark.shows("ends")
@DIRECTIONS
async def test_it_leaves(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await ldk.command("disconnect", node_id=peers.manager.our_node_id.hex())
            assert (await peer.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
            again = await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
            assert again is not peer
            await again.ping()


@pytest.mark.shows("ends")
@DIRECTIONS
async def test_we_leave(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await peer.disconnect("that was all")
            await ldk.event("peer_disconnected")
            assert (await ldk.command("peers"))["peers"] == []
            await (await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))).ping()


@pytest.mark.shows("ends")
async def test_leaving_the_block_is_seen(open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk:
            async with open_peer_nursery(make_manager()) as peers:
                await dial(peers, ldk)
            await ldk.event("peer_disconnected")
            await ldk.event("socket_closed")


async def test_it_answers_a_channel_message_with_an_error(open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await dial(peers, ldk)
            point = peers.manager.our_node_id
            async with peer.subscribe(Error) as errors:
                await peer.send(
                    OpenChannel(
                        chain_hash=bytes(32),
                        temporary_channel_id=b"\x55" * 32,
                        funding_satoshis=100_000,
                        push_msat=0,
                        dust_limit_satoshis=354,
                        max_htlc_value_in_flight_msat=1,
                        channel_reserve_satoshis=1_000,
                        htlc_minimum_msat=1,
                        feerate_per_kw=253,
                        to_self_delay=144,
                        max_accepted_htlcs=30,
                        funding_pubkey=point,
                        revocation_basepoint=point,
                        payment_basepoint=point,
                        delayed_payment_basepoint=point,
                        htlc_basepoint=point,
                        first_per_commitment_point=point,
                        channel_flags=0,
                    )
                )
                answer = await errors.__anext__()
                assert answer.channel_id == b"\x55" * 32
            await peer.ping()


@pytest.mark.shows("stream")
@DIRECTIONS
async def test_two_thousand_messages_each_way_at_once(meet: Meet, open_ldk: OpenLdk) -> None:
    """Both sending keys rotate, and not in step: ours after pings that are answered, too."""
    with trio.fail_after(120):
        async with open_ldk("--custom-type", str(ODD)) as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            our_id = peers.manager.our_node_id.hex()

            async def send() -> None:
                for number in range(2000):
                    await peer.send(Odd(payload=b"%d" % number))
                    if number % 7 == 0:
                        await peer.ping(number)

            async def hear() -> None:
                for number in range(2000):
                    assert bytes.fromhex((await ldk.event("custom"))["payload"]) == b"%d" % number

            async with peer.subscribe(Odd) as inbox, trio.open_nursery() as nursery:
                await ldk.command("custom", node_id=our_id, type=ODD, payload="aa", count=2000)
                nursery.start_soon(send)
                nursery.start_soon(hear)
                for _ in range(2000):
                    assert await anext(inbox) == Odd(payload=b"\xaa")
            assert peer.statistics().messages_received >= 2000 + 286


@pytest.mark.shows("words")
@DIRECTIONS
async def test_words_of_both_kinds(meet: Meet, open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await peer.send(Warning(data=b"a warning"), Error(channel_id=b"\x01" * 32, data=b"no such channel"))
            await peer.ping()
            # An error for all channels: LDK leaves.
            await peer.send(Error(channel_id=ALL_CHANNELS, data=b"all of them"))
            assert (await peer.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)


@pytest.mark.shows("wrong_id")
async def test_a_wrong_node_id_fails_in_act_one(open_ldk: OpenLdk) -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            with pytest.raises(ConnectError) as caught:
                await peers.connect(NodeAddress(node_id(os.urandom(32)), "127.0.0.1", ldk.port))
            assert caught.value.reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE
            listeners = await peers.listen(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            await ldk.command("connect", node_id=node_id(os.urandom(32)).hex(), port=port)
            await ldk.event("socket_closed")
            await ldk.event("socket_closed")
            assert peers.statistics().handshake_failures == {"CLOSED_IN_HANDSHAKE": 1, "ACT_ONE_FAILED": 1}
            await (await dial(peers, ldk)).ping()


@pytest.mark.shows("duplicates")
@pytest.mark.differs(
    "keeps the older of two connections, whoever dialled; closes the newcomer after act three, before its Init",
    "keep the newest of one direction, and of crossing dials the one that the smaller node id has dialled",
)
async def test_what_it_does_with_a_duplicate(open_ldk: OpenLdk) -> None:
    """Its rule is the older one, whoever dialled: the newcomer is closed after act three, before its Init."""
    secret = os.urandom(32)

    def same_key() -> PeerManager:
        handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
        return PeerManager(handlers, secret, os.urandom(32), NullLogger())

    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(same_key()) as first, open_peer_nursery(same_key()) as second:
            peer = await dial(first, ldk)
            with pytest.raises(ConnectError) as caught:
                await second.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
            assert caught.value.reason.code is DisconnectCode.CLOSED_BEFORE_INIT
            assert await peer.ping() > 0
            # It dials the node that it has: by our rule it is the newest, and by its own it is not.
            listeners = await first.listen(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]
            await ldk.command("connect", node_id=first.manager.our_node_id.hex(), port=port)
            await ldk.event("socket_closed")
            (peer,) = first.peers.values()
            assert await peer.ping() > 0
            assert len((await ldk.command("peers"))["peers"]) == 1


@pytest.mark.shows("crossing")
@pytest.mark.parametrize("seed", range(4))
async def test_crossing_dials_end_with_one(seed: int, open_ldk: OpenLdk) -> None:
    """Its rule is the older one, ours the smaller node id's: whichever it is, one is left, the same at both ends."""
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            listeners = await peers.listen(0, host="127.0.0.1")
            port = listeners[0].socket.getsockname()[1]

            async def our_dial() -> None:
                await trio.sleep(seed * 0.001)  # who is first is what varies here
                try:
                    await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
                except ConnectError as error:
                    assert error.reason.code is DisconnectCode.CLOSED_BEFORE_INIT  # noqa: PT017

            async with trio.open_nursery() as nursery:
                nursery.start_soon(our_dial)
                await ldk.command("connect", node_id=peers.manager.our_node_id.hex(), port=port)
            await trio.sleep(2.5)  # what was parked has ended
            (peer,) = peers.peers.values()
            assert await peer.ping() > 0
            (seen,) = (await ldk.command("peers"))["peers"]
            assert seen["inbound"] is not peer.inbound


@pytest.mark.shows("killed")
async def test_it_is_killed_and_comes_back(open_ldk: OpenLdk) -> None:
    seed = os.urandom(32).hex()
    (port,) = free_ports(1)
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager()) as peers:
            kept: KeptPeer | None = None
            for _ in range(3):
                async with open_ldk("--seed", seed, "--port", str(port)) as ldk:
                    kept = kept or peers.keep(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
                    peer = await kept.wait_connected()
                    assert peer is not None
                    assert await peer.ping() > 0
                reason = await peer.wait_closed()
                assert reason.code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
