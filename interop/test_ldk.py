"""Against LDK itself, in both directions: what it says to us, what it makes of what we say, and who may leave how."""

from __future__ import annotations

import os

import pytest
import trio

from interop.conftest import JsonNode, open_ldk
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerConnected,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    Side,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Error, Message, OpenChannel, Ping, UnknownMessage, message

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
    return event.peer


DIRECTIONS = pytest.mark.parametrize("meet", [dial, be_dialled])


@DIRECTIONS
async def test_inits_and_who_is_there(meet) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            assert peer.init.features.hex() == "08a0000a0aa222"
            (seen,) = (await ldk.command("peers"))["peers"]
            assert seen["node_id"] == peers.manager.our_node_id.hex()
            assert seen["features"].endswith("08a0002a0aa222")


@DIRECTIONS
async def test_pings_of_all_sizes(meet) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            for size in (0, 1, 2, 255, 256, 1000, 4096, 40_000, 65_530, 65_531):
                assert await peer.ping(size) > 0
            assert await peer.ping(7, bytes(65_529)) > 0
            # 65532 and more want no pong, and the connection lives.
            await peer.send(Ping(num_pong_bytes=65_532), Ping(num_pong_bytes=65_535))
            assert await peer.ping() > 0


@DIRECTIONS
async def test_its_keepalive_is_answered(meet) -> None:  # type: ignore[no-untyped-def]
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


@DIRECTIONS
async def test_three_rotations(meet) -> None:  # type: ignore[no-untyped-def]
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


@DIRECTIONS
async def test_a_flood_of_large_pongs(meet) -> None:  # type: ignore[no-untyped-def]
    """200 pongs of 65,531 bytes, asked for 30 at a time: nothing stops for ever after the first full buffer."""
    with trio.fail_after(120):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            async with trio.open_nursery() as nursery:
                for _ in range(200):
                    nursery.start_soon(peer.ping, 65_531)


@DIRECTIONS
async def test_custom_messages_both_ways(meet) -> None:  # type: ignore[no-untyped-def]
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


@DIRECTIONS
async def test_it_ignores_an_unknown_odd_message_and_closes_on_an_even_one(meet) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await peer.send(UnknownMessage(ODD, b"odd"))
            await peer.ping()
            await peer.send(UnknownMessage(EVEN, b"even"))
            reason = await peer.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.PEER_CLOSED, Side.PEER)
            await ldk.event("peer_disconnected")


@DIRECTIONS
async def test_we_ignore_an_unknown_odd_message_and_close_on_an_even_one(meet) -> None:  # type: ignore[no-untyped-def]
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


@DIRECTIONS
async def test_it_leaves(meet) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await ldk.command("disconnect", node_id=peers.manager.our_node_id.hex())
            assert (await peer.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
            again = await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))
            assert again is not peer
            await again.ping()


@DIRECTIONS
async def test_we_leave(meet) -> None:  # type: ignore[no-untyped-def]
    with trio.fail_after(60):
        async with open_ldk() as ldk, open_peer_nursery(make_manager()) as peers:
            peer = await meet(peers, ldk)
            await peer.disconnect("that was all")
            await ldk.event("peer_disconnected")
            assert (await ldk.command("peers"))["peers"] == []
            await (await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))).ping()


async def test_leaving_the_block_is_seen() -> None:
    with trio.fail_after(60):
        async with open_ldk() as ldk:
            async with open_peer_nursery(make_manager()) as peers:
                await dial(peers, ldk)
            await ldk.event("peer_disconnected")
            await ldk.event("socket_closed")


async def test_it_answers_a_channel_message_with_an_error() -> None:
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
