"""Against lightning-kmp's own BOLT 8, in both roles. Its peer wants a wallet, and is not run: only its packets are."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
import trio

from interop.conftest import open_kmp
from interop.programs import JsonNode
from triolight import (
    ChannelMessageHandler,
    ConnectError,
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
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.messages import ALL_CHANNELS, BOLT, Error, Init, Message, Ping, Pong, UnknownMessage, Warning, message

LOOPBACK = "127.0.0.1"
COUNT = 2000
ENDS = (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)

pytestmark = pytest.mark.node("lightning-kmp")


@message(40007)
class Parcel(Message):
    content: wire.remainder


MESSAGES = BOLT | {Parcel}


def make_manager() -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, os.urandom(32), os.urandom(32), NullLogger(), messages=MESSAGES)


async def dial(peers: PeerNursery, kmp: JsonNode) -> Peer:
    return await peers.connect(NodeAddress(kmp.node_id, LOOPBACK, kmp.port))


async def be_dialled(peers: PeerNursery, kmp: JsonNode) -> Peer:
    listeners = await peers.listen(0, host=LOOPBACK)
    port = listeners[0].socket.getsockname()[1]
    async with peers.events() as events:
        reply = await kmp.command("dial", node_id=peers.manager.our_node_id.hex(), port=port)
        assert "error" not in reply
        event = await anext(events)
    assert isinstance(event, PeerConnected)
    assert isinstance(event.peer, Peer)
    return event.peer


Meeting: TypeAlias = Callable[[PeerNursery, JsonNode], Awaitable[Peer]]
DIRECTIONS = pytest.mark.parametrize("meet", [dial, be_dialled])


async def heard(kmp: JsonNode) -> Message | UnknownMessage:
    """The next message that it has read from us; pings it answers and does not show."""
    return MESSAGES.decode(bytes.fromhex((await kmp.event("message"))["hex"]))


async def met(meet: Meeting, peers: PeerNursery, kmp: JsonNode) -> Peer:
    """Connected at both ends, and our Init read there."""
    peer = await meet(peers, kmp)
    assert peer.node_id == kmp.node_id
    event = await kmp.event("connected")
    assert bytes.fromhex(event["node_id"]) == peers.manager.our_node_id
    assert event["inbound"] is not peer.inbound
    assert isinstance(await heard(kmp), Init)
    return peer


@pytest.mark.shows("init", "pings")
@DIRECTIONS
async def test_inits_and_pings(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, kmp)
            assert peer.init.features.hex() == "08a0002a0aa222"
            for size in (0, 1, 65_531):
                assert await peer.ping(size) > 0
            assert await peer.ping(7, bytes(65_529)) > 0
            for size in (0, 1, 65_531):
                await kmp.command("send", message=Ping(num_pong_bytes=size, ignored=bytes(3)).encode().hex())
                assert await heard(kmp) == Pong(ignored=bytes(size))


@pytest.mark.shows("stream", "custom")
@DIRECTIONS
async def test_thousands_of_messages_each_way_at_once(meet: Meeting) -> None:
    """Each key is rotated four times, the two directions' not in step: it sends a ping first that wants no pong."""
    with trio.fail_after(120):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers, peers.subscribe(Parcel) as inbox:
            peer = await met(meet, peers, kmp)
            await kmp.command("send", message=Ping(num_pong_bytes=65_532).encode().hex())

            async def read() -> None:
                for number in range(COUNT):
                    assert (await anext(inbox))[1] == Parcel(content=b"there" + number.to_bytes(4, "big"))

            async def write() -> None:
                for number in range(COUNT):
                    await peer.send(Parcel(content=b"here" + number.to_bytes(4, "big")))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(write)
                await kmp.command("send_many", message=Parcel(content=b"there").encode().hex(), count=COUNT)
                for number in range(COUNT):
                    assert await heard(kmp) == Parcel(content=b"here" + number.to_bytes(4, "big"))
            assert await peer.ping() > 0


@pytest.mark.shows("largest")
@DIRECTIONS
async def test_the_longest_messages(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers, peers.subscribe(Parcel) as inbox:
            peer = await met(meet, peers, kmp)
            parcel = Parcel(content=os.urandom(65_533))
            for _ in range(5):
                await peer.send(parcel)
                assert await heard(kmp) == parcel
                await kmp.command("send", message=parcel.encode().hex())
                assert (await anext(inbox))[1] == parcel


@pytest.mark.shows("words")
@DIRECTIONS
async def test_words_of_both_kinds_both_ways(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, kmp)
            for words in (
                Warning(data=b"a warning \xff"),
                Error(channel_id=b"\x01" * 32, data=b"no such channel"),
                Error(channel_id=ALL_CHANNELS, data=b"all of them"),
            ):
                await peer.send(words)
                event = await kmp.event("message")
                assert (event["class"], event["hex"]) == (type(words).__name__, words.encode().hex())
            async with peer.subscribe(Warning, Error) as inbox:
                for words in (Warning(data=b"a warning \xff"), Error(channel_id=b"\x01" * 32, data=b"no such channel")):
                    await kmp.command("send", message=words.encode().hex())
                    assert await anext(inbox) == words
            await peer.ping()
            await kmp.command("send", message=Error(data=b"we are done").encode().hex())
            reason = await peer.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.PEER_ERROR, Side.PEER)
            assert "we are done" in reason.message
            await kmp.event("closed")


@pytest.mark.shows("ends", "unknown")
@DIRECTIONS
async def test_we_leave(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, kmp)
            await peer.send(UnknownMessage(43_001, b"odd"))
            event = await kmp.event("message")
            assert (event["class"], event["hex"]) == ("UnknownMessage", "a7f96f6464")
            await kmp.command("send", message="a7f96f6464")
            await peer.ping()
            await peer.disconnect("that was all")
            assert await heard(kmp) == Warning(data=b"that was all")
            await kmp.event("closed")
            again = await met(meet, peers, kmp)
            await kmp.command("send", message="80020000")  # an even type that nobody knows
            reason = await again.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.UNKNOWN_EVEN_MESSAGE, Side.US)
            assert isinstance(await heard(kmp), Warning)
            await kmp.event("closed")


@pytest.mark.shows("ends")
@DIRECTIONS
async def test_it_leaves(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, kmp)
            await kmp.command("close")
            assert (await peer.wait_closed()).code in ENDS
            await (await met(meet, peers, kmp)).ping()


@pytest.mark.shows("killed")
@DIRECTIONS
async def test_it_is_killed_and_comes_back(meet: Meeting) -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_peer_nursery(make_manager()) as peers:
            for _ in range(2):
                async with open_kmp("--secret", secret.hex()) as kmp:
                    peer = await met(meet, peers, kmp)
                    assert peer.node_id == node_id(secret)
                    await peer.ping()
                assert (await peer.wait_closed()).code in ENDS


@pytest.mark.shows("wrong_id")
async def test_a_wrong_node_id_fails_in_act_one() -> None:
    with trio.fail_after(60):
        async with open_kmp() as kmp, open_peer_nursery(make_manager()) as peers:
            with pytest.raises(ConnectError) as caught:
                await peers.connect(NodeAddress(node_id(os.urandom(32)), LOOPBACK, kmp.port))
            assert caught.value.reason.code is DisconnectCode.CLOSED_IN_HANDSHAKE
            await kmp.event("refused")
            listeners = await peers.listen(0, host=LOOPBACK)
            port = listeners[0].socket.getsockname()[1]
            assert "error" in await kmp.command("dial", node_id=node_id(os.urandom(32)).hex(), port=port)
            assert peers.statistics().handshake_failures == {"CLOSED_IN_HANDSHAKE": 1, "ACT_ONE_FAILED": 1}
            await (await met(dial, peers, kmp)).ping()
