"""Against pyln-proto's own BOLT 8, in both roles: thousands of messages, the longest ones, ends of all kinds."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import TypeAlias

import pytest
import trio

from interop.conftest import open_pyln
from interop.programs import JsonNode
from tests.support import ListLogger
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    Logger,
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
"""Of a peer that closes, or is killed: with bytes of ours unread, its system resets the connection."""

pytestmark = pytest.mark.node("pyln-proto")


@message(40007)
class Parcel(Message):
    content: wire.remainder


MESSAGES = BOLT | {Parcel}


def make_manager(logger: Logger | None = None) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, os.urandom(32), os.urandom(32), logger or NullLogger(), messages=MESSAGES)


async def dial(peers: PeerNursery, pyln: JsonNode) -> Peer:
    return await peers.connect(NodeAddress(pyln.node_id, LOOPBACK, pyln.port))


async def be_dialled(peers: PeerNursery, pyln: JsonNode) -> Peer:
    async with peers.events() as events:
        await its_dial(peers, pyln)
        event = await anext(events)
    assert isinstance(event, PeerConnected)
    assert isinstance(event.peer, Peer)
    return event.peer


async def its_dial(peers: PeerNursery, pyln: JsonNode) -> None:
    listeners = await peers.listen(0, host=LOOPBACK)
    port = listeners[0].socket.getsockname()[1]
    reply = await pyln.command("dial", node_id=peers.manager.our_node_id.hex(), port=port)
    assert "error" not in reply


Meeting: TypeAlias = Callable[[PeerNursery, JsonNode], Awaitable[Peer]]
DIRECTIONS = pytest.mark.parametrize("meet", [dial, be_dialled])


async def heard(pyln: JsonNode) -> Message | UnknownMessage:
    """The next message that it has read from us; pings it answers and does not show."""
    return MESSAGES.decode(bytes.fromhex((await pyln.event("message"))["hex"]))


async def met(meet: Meeting, peers: PeerNursery, pyln: JsonNode) -> Peer:
    """Connected at both ends, and our Init read there."""
    peer = await meet(peers, pyln)
    assert peer.node_id == pyln.node_id
    event = await pyln.event("connected")
    assert bytes.fromhex(event["node_id"]) == peers.manager.our_node_id
    assert event["inbound"] is not peer.inbound
    assert isinstance(await heard(pyln), Init)
    return peer


@pytest.mark.shows("init", "pings")
@DIRECTIONS
async def test_inits_and_pings(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, pyln)
            assert peer.init.features.hex() == "08a0002a0aa222"
            for size in (0, 1, 65_531):
                assert await peer.ping(size) > 0
            assert await peer.ping(7, bytes(65_529)) > 0
            for size in (0, 1, 65_531):
                await pyln.command("send", message=Ping(num_pong_bytes=size, ignored=bytes(3)).encode().hex())
                assert await heard(pyln) == Pong(ignored=bytes(size))
            # More than that wants no pong.
            for size in (65_532, 65_535, 2):
                await pyln.command("send", message=Ping(num_pong_bytes=size).encode().hex())
            assert await heard(pyln) == Pong(ignored=bytes(2))


@pytest.mark.shows("stream", "custom")
@DIRECTIONS
async def test_thousands_of_messages_each_way_at_once(meet: Meeting) -> None:
    """Each key is rotated four times, the two directions' not in step: it sends a ping first that wants no pong."""
    with trio.fail_after(120):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers, peers.subscribe(Parcel) as inbox:
            peer = await met(meet, peers, pyln)
            await pyln.command("send", message=Ping(num_pong_bytes=65_532).encode().hex())

            async def read() -> None:
                for number in range(COUNT):
                    assert (await anext(inbox))[1] == Parcel(content=b"there" + number.to_bytes(4, "big"))

            async def write() -> None:
                for number in range(COUNT):
                    await peer.send(Parcel(content=b"here" + number.to_bytes(4, "big")))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(read)
                nursery.start_soon(write)
                await pyln.command("send_many", message=Parcel(content=b"there").encode().hex(), count=COUNT)
                for number in range(COUNT):
                    assert await heard(pyln) == Parcel(content=b"here" + number.to_bytes(4, "big"))
            assert await peer.ping() > 0


@pytest.mark.shows("largest")
@DIRECTIONS
async def test_the_longest_messages(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers, peers.subscribe(Parcel) as inbox:
            peer = await met(meet, peers, pyln)
            parcel = Parcel(content=os.urandom(65_533))
            for _ in range(5):
                await peer.send(parcel)
                assert await heard(pyln) == parcel
                await pyln.command("send", message=parcel.encode().hex())
                assert (await anext(inbox))[1] == parcel


@pytest.mark.shows("words")
@pytest.mark.differs("leaves an error for all channels to its user", "end the connection after it")
@DIRECTIONS
async def test_words_of_both_kinds_both_ways(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, pyln)
            for words in (
                Warning(data=b"a warning \xff"),
                Error(channel_id=b"\x01" * 32, data=b"no such channel"),
                Error(channel_id=ALL_CHANNELS, data=b"all of them"),
            ):
                await peer.send(words)
                assert await heard(pyln) == words
            await peer.ping()
            async with peer.subscribe(Warning, Error) as inbox:
                for words in (Warning(data=b"a warning \xff"), Error(channel_id=b"\x01" * 32, data=b"no such channel")):
                    await pyln.command("send", message=words.encode().hex())
                    assert await anext(inbox) == words
            await peer.ping()
            await pyln.command("send", message=Error(data=b"we are done").encode().hex())
            reason = await peer.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.PEER_ERROR, Side.PEER)
            assert "we are done" in reason.message
            await pyln.event("closed")


@pytest.mark.shows("ends", "unknown")
@DIRECTIONS
async def test_we_leave(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, pyln)
            await peer.disconnect("that was all")
            assert await heard(pyln) == Warning(data=b"that was all")
            await pyln.event("closed")
            again = await met(meet, peers, pyln)
            await pyln.command("send", message="80020000")  # an even type that nobody knows
            reason = await again.wait_closed()
            assert (reason.code, reason.by) == (DisconnectCode.UNKNOWN_EVEN_MESSAGE, Side.US)
            assert isinstance(await heard(pyln), Warning)
            await pyln.event("closed")


@pytest.mark.shows("ends")
@DIRECTIONS
async def test_it_leaves(meet: Meeting) -> None:
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            peer = await met(meet, peers, pyln)
            await pyln.command("close")
            assert (await peer.wait_closed()).code in ENDS
            await (await met(meet, peers, pyln)).ping()


@pytest.mark.shows("killed")
async def test_it_is_killed_and_we_come_back_to_it() -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_peer_nursery(make_manager()) as peers:
            async with open_pyln("--secret", secret.hex()) as pyln:
                port = pyln.port
                kept = peers.keep(NodeAddress(node_id(secret), LOOPBACK, port))
                first = await kept.wait_connected()
                assert first is not None
                await first.ping()
            assert (await first.wait_closed()).code in ENDS
            async with open_pyln("--secret", secret.hex(), "--port", str(port)):
                second = await kept.wait_connected()
                assert second is not None
                assert second is not first
                await second.ping()


@pytest.mark.shows("killed")
async def test_it_is_killed_and_comes_back_to_us() -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_peer_nursery(make_manager()) as peers:
            for _ in range(3):
                async with open_pyln("--secret", secret.hex()) as pyln:
                    peer = await met(be_dialled, peers, pyln)
                    assert peer.node_id == node_id(secret)
                    await peer.ping()
                assert (await peer.wait_closed()).code in ENDS


@pytest.mark.shows("wrong_id")
async def test_it_dials_a_node_that_we_are_not() -> None:
    with trio.fail_after(60):
        log = ListLogger()
        async with open_pyln() as pyln, open_peer_nursery(make_manager(log)) as peers:
            listeners = await peers.listen(0, host=LOOPBACK)
            port = listeners[0].socket.getsockname()[1]
            reply = await pyln.command("dial", node_id=node_id(os.urandom(32)).hex(), port=port)
            assert "Short read from peer reading act2" in reply["error"]
            assert peers.statistics().handshake_failures == {"ACT_ONE_FAILED": 1}
            assert "ACT_ONE_FAILED" in log
            assert not peers.peers


@pytest.mark.shows("wrong_id")
@pytest.mark.differs("answers an act one for another node id with an act two", "end the handshake there")
async def test_we_dial_a_node_that_it_is_not() -> None:
    """Act one's tag does not fit, and it answers: it makes that error and does not raise it. Its act two stops us."""
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            with pytest.raises(ConnectError) as caught:
                await peers.connect(NodeAddress(node_id(os.urandom(32)), LOOPBACK, pyln.port))
            assert caught.value.reason.code is DisconnectCode.ACT_TWO_FAILED
            await pyln.event("refused")
            await (await met(dial, peers, pyln)).ping()


@pytest.mark.shows("duplicates", "crossing")
@pytest.mark.differs("has no rule for duplicates", "close one of them")
@DIRECTIONS
async def test_of_two_connections_with_one_key_one_is_left(meet: Meeting) -> None:
    """It dials us a second time: in the same direction the newest stays, when dials cross the smaller node id's. It has
    no rule of its own."""
    with trio.fail_after(60):
        async with open_pyln() as pyln, open_peer_nursery(make_manager()) as peers:
            await met(meet, peers, pyln)
            await its_dial(peers, pyln)
            await pyln.event("closed")
            assert len((await pyln.command("open"))["connections"]) == 1
            (peer,) = peers.peers.values()
            assert await peer.ping() > 0
            assert peers.statistics().peers == 1
