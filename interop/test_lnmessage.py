"""Against lnmessage, a client with its BOLT 8 in JavaScript, by WebSocket and by TCP, and a WebSocket server, ws."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from interop.conftest import open_lnmessage
from interop.programs import JsonNode
from tests.support import ListLogger
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    Logger,
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
from triolight.messages import ALL_CHANNELS, BOLT, Error, Init, Message, Ping, Pong, UnknownMessage, Warning, message
from triolight.websocket import WebSocketListener, dial_websocket

LOOPBACK = "127.0.0.1"
NORMAL, UNSUPPORTED = 1000, 1003
COUNT = 2000
ENDS = (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
"""Of a peer that closes, or is killed: with bytes of ours unread, its system resets the connection."""

pytestmark = [pytest.mark.node("lnmessage"), pytest.mark.shows("it_dials")]
TRANSPORTS = pytest.mark.parametrize("tcp", [False, True], ids=["websocket", "tcp"])


@message(40007)
class Parcel(Message):
    payload: wire.remainder


@message(19535)
class CommandoRequest(Message):
    """Core Lightning's remote procedure call, which lnmessage is for: eight bytes of id, then JSON."""

    payload: wire.remainder


@message(22861)
class CommandoResponse(Message):
    payload: wire.remainder


MESSAGES = BOLT | {Parcel, CommandoRequest, CommandoResponse}


def make_manager(secret: bytes | None = None, logger: Logger | None = None) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    secret = secret or os.urandom(32)
    return PeerManager(handlers, secret, os.urandom(32), logger or NullLogger(), messages=MESSAGES)


async def port_of(peers: PeerNursery, tcp: bool) -> int:
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    await peers.listen_on(*(one if tcp else WebSocketListener(one) for one in listeners))
    return int(listeners[0].socket.getsockname()[1])


async def be_dialled(peers: PeerNursery, there: JsonNode, port: int, tcp: bool, secret: bytes | None = None) -> Peer:
    """It dials us, with a key of its own making if it is given none."""
    key = {} if secret is None else {"secret": secret.hex()}
    async with peers.events() as events:
        reply = await there.command("connect", node_id=peers.manager.our_node_id.hex(), port=port, tcp=tcp, **key)
        assert reply["connected"]
        while not isinstance(event := await anext(events), PeerConnected):
            assert isinstance(event, PeerDisconnected)
    assert event.peer.node_id == bytes.fromhex(reply["node_id"])
    assert event.peer.inbound
    assert isinstance(event.peer, Peer)
    return event.peer


@asynccontextmanager
async def dialled(tcp: bool = False) -> AsyncIterator[tuple[JsonNode, PeerNursery, Peer]]:
    """lnmessage, our nursery, and lnmessage as its peer."""
    with trio.fail_after(60):
        async with open_lnmessage() as there, open_peer_nursery(make_manager()) as peers:
            yield there, peers, await be_dialled(peers, there, await port_of(peers, tcp), tcp)


async def heard(there: JsonNode) -> Message | UnknownMessage:
    """The next message that it has read from us."""
    # It leaves the packet's authentication tag behind a message, and ignores it in its own reading.
    return MESSAGES.decode(bytes.fromhex((await there.event("message"))["data"])[:-16])


@pytest.mark.shows("init", "pings")
@pytest.mark.differs("offers nothing, in features of eight zero bytes", "write features without leading zeros")
@TRANSPORTS
async def test_inits_and_pings(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer):
        assert isinstance(await heard(there), Init)
        assert (peer.init.globalfeatures, peer.init.features) == (b"", bytes(8))
        # It answers in one frame for each of its messages, and takes ours as the stream that they are.
        for size in (0, 8, 1000, 65_531):
            assert await peer.ping(size) > 0
        assert await peer.ping(7, bytes(65_529)) > 0
        for size in (0, 1, 65_531):
            await there.command("send", message=Ping(num_pong_bytes=size, ignored=bytes(3)).encode().hex())
            while (answer := await heard(there)) != Pong(ignored=bytes(size)):
                assert isinstance(answer, Ping)


@pytest.mark.shows("keepalive")
@TRANSPORTS
async def test_its_keepalive_is_answered(tcp: bool) -> None:
    """The ping that it sends 40 seconds after our last message, and after which it gives us five: sent at once here."""
    async with dialled(tcp) as (there, _, peer), peer.subscribe(Ping) as pings:
        await heard(there)
        await there.command("ping")
        assert await anext(pings) == Ping(num_pong_bytes=1, ignored=b"")
        assert await heard(there) == Pong(ignored=bytes(1))
        await peer.ping(8, bytes(64))


@pytest.mark.shows("stream")
@TRANSPORTS
async def test_thousands_of_messages_each_way_at_once(tcp: bool) -> None:
    """Each key is rotated four times, the two directions' not in step: it sends a ping first that wants no pong."""
    with trio.fail_after(120):
        async with open_lnmessage() as there, open_peer_nursery(make_manager()) as peers:
            peer = await be_dialled(peers, there, await port_of(peers, tcp), tcp)
            assert isinstance(await heard(there), Init)
            await there.command("send", message=Ping(num_pong_bytes=65_532).encode().hex())
            async with peer.subscribe(Parcel) as inbox, trio.open_nursery() as nursery:

                async def read() -> None:
                    for number in range(COUNT):
                        assert await anext(inbox) == Parcel(payload=b"there" + number.to_bytes(4, "big"))

                async def write() -> None:
                    for number in range(COUNT):
                        await peer.send(Parcel(payload=b"here" + number.to_bytes(4, "big")))

                nursery.start_soon(read)
                nursery.start_soon(write)
                await there.command("send_many", message=Parcel(payload=b"there").encode().hex(), count=COUNT)
                for number in range(COUNT):
                    assert await heard(there) == Parcel(payload=b"here" + number.to_bytes(4, "big"))
            assert await peer.ping() > 0


@pytest.mark.shows("largest")
@TRANSPORTS
async def test_the_longest_messages(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer), peer.subscribe(Parcel) as inbox:
        assert isinstance(await heard(there), Init)
        parcel = Parcel(payload=os.urandom(65_533))
        for _ in range(3):
            await peer.send(parcel)
            assert await heard(there) == parcel
            await there.command("send", message=parcel.encode().hex())
            assert await anext(inbox) == parcel


@pytest.mark.shows("words")
@pytest.mark.differs("leaves an error for all channels to its user", "end the connection after it")
@TRANSPORTS
async def test_words_of_both_kinds_both_ways(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer):
        assert isinstance(await heard(there), Init)
        for words in (
            Warning(data=b"a warning \xff"),
            Error(channel_id=b"\x01" * 32, data=b"no such channel"),
            Error(channel_id=ALL_CHANNELS, data=b"all of them"),
        ):
            await peer.send(words)
            assert await heard(there) == words
        await peer.ping()
        async with peer.subscribe(Warning, Error) as inbox:
            for words in (Warning(data=b"a warning \xff"), Error(channel_id=b"\x01" * 32, data=b"no such channel")):
                await there.command("send", message=words.encode().hex())
                assert await anext(inbox) == words
        await there.command("send", message=Error(data=b"we are done").encode().hex())
        reason = await peer.wait_closed()
        assert (reason.code, reason.by) == (DisconnectCode.PEER_ERROR, Side.PEER)
        assert "we are done" in reason.message
        await there.event("closed")


@pytest.mark.shows("unknown")
@pytest.mark.differs("ignores an even message that it does not know", "close for it")
@TRANSPORTS
async def test_unknown_messages(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer):
        assert isinstance(await heard(there), Init)
        unknown = UnknownMessage(43002, b"even, of twenty bytes")
        await peer.send(unknown)
        assert await heard(there) == unknown
        assert await peer.ping() > 0
        await there.command("send", message="a7fb00")  # 43003
        assert await peer.ping() > 0
        await there.command("send", message="a7fa00")  # 43002
        reason = await peer.wait_closed()
        assert (reason.code, reason.by) == (DisconnectCode.UNKNOWN_EVEN_MESSAGE, Side.US)
        await there.event("closed")


@pytest.mark.shows("wrong_id")
@TRANSPORTS
async def test_it_dials_a_node_that_we_are_not(tcp: bool) -> None:
    with trio.fail_after(60):
        log = ListLogger()
        async with open_lnmessage() as there, open_peer_nursery(make_manager(logger=log)) as peers:
            port = await port_of(peers, tcp)
            # `tcp` or not, the one that it dials is told by its key, and the key is another's.
            reply = await there.command("connect", node_id=node_id(os.urandom(32)).hex(), port=port, tcp=tcp)
            assert not reply["connected"]
            assert peers.statistics().handshake_failures == {"ACT_ONE_FAILED": 1}
            assert "ACT_ONE_FAILED" in log
            assert not peers.peers


@pytest.mark.shows("duplicates")
@TRANSPORTS
async def test_of_two_connections_with_one_key_the_newest_is_left(tcp: bool) -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with (
            open_lnmessage() as there,
            open_lnmessage() as other,
            open_peer_nursery(make_manager()) as peers,
        ):
            port = await port_of(peers, tcp)
            first = await be_dialled(peers, there, port, tcp, secret)
            second = await be_dialled(peers, other, port, tcp, secret)
            assert (await first.wait_closed()).code is DisconnectCode.DUPLICATE
            await there.event("closed")
            assert list(peers.peers.values()) == [second]
            assert await second.ping(1, bytes(64)) > 0


@pytest.mark.shows("killed")
@TRANSPORTS
async def test_it_is_killed_and_comes_back(tcp: bool) -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_peer_nursery(make_manager()) as peers:
            port = await port_of(peers, tcp)
            for _ in range(3):
                async with open_lnmessage() as there:
                    peer = await be_dialled(peers, there, port, tcp, secret)
                    await peer.ping()
                assert (await peer.wait_closed()).code in ENDS


@pytest.mark.shows("custom")
@TRANSPORTS
async def test_commando_both_ways(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer), peer.subscribe(CommandoRequest) as requests:
        for size in (1, 60_000):
            await there.command("commando", method="echo", params=["a" * size])
            request = (await anext(requests)).payload
            asked = json.loads(request[8:])
            assert asked["method"] == "echo"
            answer = {"id": asked["id"], "result": {"echo": asked["params"]}}
            await peer.send(CommandoResponse(payload=request[:8] + json.dumps(answer).encode()))
            assert (await there.event("answer"))["result"] == {"echo": ["a" * size]}


async def test_websocket_pings() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            for data in ("", "00ff" * 62):
                await there.command("websocket_ping", data=data)
                assert (await there.event("websocket_pong"))["data"] == data
            assert await peer.ping(8, bytes(64)) > 0


@pytest.mark.shows("ends")
@TRANSPORTS
async def test_it_leaves(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer):
        await there.command("disconnect")
        assert (await peer.wait_closed()).code in ENDS
        # Over WebSocket it gave no code, and gets its own close back.
        assert (await there.event("closed")).get("code") == (None if tcp else 1005)


async def test_it_sends_text() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            await there.command("websocket_text", data="hello")
            assert (await peer.wait_closed()).code is DisconnectCode.CONNECTION_LOST
            assert (await there.event("closed"))["code"] == UNSUPPORTED


@pytest.mark.shows("ends")
@TRANSPORTS
async def test_we_leave(tcp: bool) -> None:
    async with dialled(tcp) as (there, _, peer):
        assert isinstance(await heard(there), Init)
        await peer.disconnect("that was all")
        assert await heard(there) == Warning(data=b"that was all")
        assert (await there.event("closed")).get("code") == (None if tcp else NORMAL)


async def test_we_dial_a_websocket_server_in_front_of_a_node() -> None:
    """ws unpacks our frames and packs the others: through it we are our own peer, under another key."""
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with (
            open_lnmessage() as there,
            open_peer_nursery(make_manager(secret)) as far,
            open_peer_nursery(make_manager(os.urandom(32)), dial=dial_websocket) as near,
        ):
            listeners = await far.listen(0, host=LOOPBACK)
            reply = await there.command("bridge", port=listeners[0].socket.getsockname()[1])
            peer = await near.connect(NodeAddress(node_id(secret), LOOPBACK, reply["port"]))
            assert not peer.inbound
            for size in (0, 65_531):
                assert await peer.ping(size, bytes(65_529)) > 0
            await peer.disconnect("that was all")
            reason = await peer.wait_closed()
            assert reason.by is Side.US
            assert (await there.event("bridge_closed"))["code"] == NORMAL
