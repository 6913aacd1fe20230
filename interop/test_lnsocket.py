"""Against lnsocket, a client with Core Lightning's BOLT 8 in C, compiled to WebAssembly. It only dials."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from interop.conftest import open_lnsocket
from interop.programs import JsonNode
from tests.support import ListLogger
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    Logger,
    MessageHandler,
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
from triolight.messages import ALL_CHANNELS, BOLT, Error, Message, Ping, Pong, UnknownMessage, Warning, message

LOOPBACK = "127.0.0.1"
COUNT = 2000
ENDS = (DisconnectCode.PEER_CLOSED, DisconnectCode.CONNECTION_LOST)
"""Of a peer that closes, or is killed: with bytes of ours unread, its system resets the connection."""

pytestmark = [pytest.mark.node("lnsocket"), pytest.mark.shows("it_dials")]


@message(40007)
class Parcel(Message):
    payload: wire.remainder


@message(19535)
class CommandoRequest(Message):
    """Core Lightning's remote procedure call, which lnsocket is for: eight bytes of id, then JSON."""

    payload: wire.remainder


@message(22859)
class CommandoContinues(Message):
    """A part of the answer that is not the last one."""

    payload: wire.remainder


@message(22861)
class CommandoResponse(Message):
    payload: wire.remainder


MESSAGES = BOLT | {Parcel, CommandoRequest, CommandoContinues, CommandoResponse}


def make_manager(logger: Logger | None = None) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, os.urandom(32), os.urandom(32), logger or NullLogger(), messages=MESSAGES)


async def port_of(peers: PeerNursery) -> int:
    listeners = await peers.listen(0, host=LOOPBACK)
    return int(listeners[0].socket.getsockname()[1])


async def be_dialled(peers: PeerNursery, there: JsonNode, port: int, secret: bytes | None = None) -> Peer:
    """It dials us, with a key of its own making if it is given none."""
    key = {} if secret is None else {"secret": secret.hex()}
    async with peers.events() as events:
        reply = await there.command("connect", node_id=peers.manager.our_node_id.hex(), port=port, **key)
        assert "error" not in reply
        while not isinstance(event := await anext(events), PeerConnected):
            assert isinstance(event, PeerDisconnected)
    assert event.peer.inbound
    assert secret is None or event.peer.node_id == node_id(secret)
    assert isinstance(event.peer, Peer)
    return event.peer


@asynccontextmanager
async def dialled(follow: bool = True) -> AsyncIterator[tuple[JsonNode, PeerNursery, Peer]]:
    """lnsocket, our nursery, and lnsocket as its peer. `follow`: it is read from there, and pings are answered."""
    with trio.fail_after(60):
        async with open_lnsocket() as there, open_peer_nursery(make_manager()) as peers:
            peer = await be_dialled(peers, there, await port_of(peers))
            if follow:
                await there.command("follow")
            yield there, peers, peer


async def heard(there: JsonNode) -> Message | UnknownMessage:
    """The next message that it has read from us."""
    return MESSAGES.decode(bytes.fromhex((await there.event("message"))["hex"]))


@pytest.mark.shows("init", "keepalive")
@pytest.mark.differs(
    "offers nothing, in features of two and of five zero bytes", "write features without leading zeros"
)
async def test_its_init_and_its_own_ping() -> None:
    async with dialled(follow=False) as (there, _, peer):
        # All features zero, in both fields. It sends it only after it has read ours.
        assert (peer.init.globalfeatures, peer.init.features) == (bytes(2), bytes(5))
        assert peer.init.tlvs.networks is None
        async with peer.subscribe(Ping) as pings:
            assert (await there.command("ping_pong"))["hex"] == Pong(ignored=b"\x00").encode().hex()
            assert await anext(pings) == Ping(num_pong_bytes=1, ignored=b"\x00")


@pytest.mark.shows("pings")
async def test_pings_of_all_sizes() -> None:
    async with dialled() as (there, _, peer):
        for size in (0, 1, 65_531):
            assert await peer.ping(size) > 0
        assert await peer.ping(7, bytes(65_529)) > 0
        for size in (0, 1, 65_531):
            await there.command("send", message=Ping(num_pong_bytes=size, ignored=bytes(3)).encode().hex())
            assert await heard(there) == Pong(ignored=bytes(size))


@pytest.mark.shows("custom")
async def test_commando_both_ways() -> None:
    async with dialled(follow=False) as (there, _, peer), peer.subscribe(CommandoRequest) as requests:
        for size in (1, 3_000):
            await there.command("rpc", method="echo", params=["a" * size])
            request = (await anext(requests)).payload
            asked = json.loads(request[8:])
            assert asked["method"] == "echo"
            answer = json.dumps({"id": asked["id"], "result": {"echo": asked["params"]}}).encode()
            await peer.send(
                CommandoContinues(payload=request[:8] + answer[:10]),
                CommandoResponse(payload=request[:8] + answer[10:]),
            )
            assert (await there.event("answer"))["answer"]["result"] == {"echo": ["a" * size]}


@pytest.mark.shows("stream")
async def test_thousands_of_messages_each_way_at_once() -> None:
    """Each key is rotated four times. It looks for what has come every 5 ms, and twice for a message: 20 seconds."""
    with trio.fail_after(240):
        async with open_lnsocket() as there, open_peer_nursery(make_manager()) as peers:
            peer = await be_dialled(peers, there, await port_of(peers))
            await there.command("follow")
            # One message more than ours, which wants no pong: the two directions' keys are not rotated in step.
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
async def test_the_longest_messages() -> None:
    async with dialled() as (there, _, peer), peer.subscribe(Parcel) as inbox:
        parcel = Parcel(payload=os.urandom(65_533))
        for _ in range(5):
            await peer.send(parcel)
            assert await heard(there) == parcel
            await there.command("send", message=parcel.encode().hex())
            assert await anext(inbox) == parcel


@pytest.mark.shows("words")
@pytest.mark.differs("leaves an error for all channels to its user", "end the connection after it")
async def test_words_of_both_kinds_both_ways() -> None:
    async with dialled() as (there, _, peer):
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
@pytest.mark.differs("leaves an even message that it does not know to its user", "close for it")
async def test_unknown_messages() -> None:
    async with dialled() as (there, _, peer):
        unknown = UnknownMessage(43002, b"even")
        await peer.send(unknown)
        assert await heard(there) == unknown
        await there.command("send", message="a7fb00")  # 43003
        assert await peer.ping() > 0
        await there.command("send", message="a7fa00")  # 43002
        reason = await peer.wait_closed()
        assert (reason.code, reason.by) == (DisconnectCode.UNKNOWN_EVEN_MESSAGE, Side.US)
        await there.event("closed")


@pytest.mark.shows("ends")
async def test_we_leave() -> None:
    """With a warning, which it never reads: before it looks at what has come it looks whether it is still connected."""
    async with dialled() as (there, _, peer):
        await peer.disconnect("that was all")
        await there.event("closed")


@pytest.mark.shows("ends")
async def test_it_leaves() -> None:
    async with dialled() as (there, _, peer):
        await there.command("disconnect")
        assert (await peer.wait_closed()).code in ENDS
        await there.event("closed")


@pytest.mark.shows("killed")
async def test_it_is_killed_and_comes_back() -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_peer_nursery(make_manager()) as peers:
            port = await port_of(peers)
            for _ in range(3):
                async with open_lnsocket() as there:
                    peer = await be_dialled(peers, there, port, secret)
                    await there.command("follow")
                    await peer.ping()
                assert (await peer.wait_closed()).code in ENDS


@pytest.mark.shows("wrong_id")
@pytest.mark.differs("rejects a failed handshake with `undefined`", "name the act and the cause")
async def test_it_dials_a_node_that_we_are_not() -> None:
    with trio.fail_after(60):
        log = ListLogger()
        async with open_lnsocket() as there, open_peer_nursery(make_manager(log)) as peers:
            port = await port_of(peers)
            reply = await there.command("connect", node_id=node_id(os.urandom(32)).hex(), port=port)
            assert reply["error"] == "undefined"  # it rejects without a reason
            assert peers.statistics().handshake_failures == {"ACT_ONE_FAILED": 1}
            assert "ACT_ONE_FAILED" in log
            assert not peers.peers


@pytest.mark.shows("duplicates")
async def test_of_two_connections_with_one_key_the_newest_is_left() -> None:
    with trio.fail_after(60):
        secret = os.urandom(32)
        async with open_lnsocket() as there, open_peer_nursery(make_manager()) as peers:
            port = await port_of(peers)
            first = await be_dialled(peers, there, port, secret)
            await there.command("follow")
            second = await be_dialled(peers, there, port, secret)
            await there.command("follow")
            assert (await first.wait_closed()).code is DisconnectCode.DUPLICATE
            assert (await there.event("closed"))["connection"] == 0
            assert (await there.command("open"))["connections"] == [1]
            assert list(peers.peers.values()) == [second]
            assert await second.ping() > 0
