"""Against a real WebSocket client, lnmessage with its BOLT 8 in JavaScript, and a real WebSocket server, ws."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from interop.conftest import JsonNode, open_lnmessage
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
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, Ping, Pong, message
from triolight.websocket import WebSocketListener, dial_websocket

LOOPBACK = "127.0.0.1"
NORMAL, UNSUPPORTED = 1000, 1003


@message(19535)
class CommandoRequest(Message):
    """Core Lightning's remote procedure call, which lnmessage is for: eight bytes of id, then JSON."""

    payload: wire.remainder


@message(22861)
class CommandoResponse(Message):
    payload: wire.remainder


def make_manager(secret: bytes) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    messages = BOLT | {CommandoRequest, CommandoResponse}
    return PeerManager(handlers, secret, os.urandom(32), NullLogger(), messages=messages)


@asynccontextmanager
async def dialled() -> AsyncIterator[tuple[JsonNode, PeerNursery, Peer]]:
    """lnmessage, our nursery, and lnmessage as its peer."""
    async with open_lnmessage() as there, open_peer_nursery(make_manager(os.urandom(32))) as peers:
        listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
        await peers.listen_on(*(WebSocketListener(one) for one in listeners))
        port = listeners[0].socket.getsockname()[1]
        async with peers.events() as events:
            reply = await there.command("connect", node_id=peers.manager.our_node_id.hex(), port=port)
            assert reply["connected"]
            event = await anext(events)
        assert isinstance(event, PeerConnected)
        assert event.peer.node_id == bytes.fromhex(reply["node_id"])
        assert event.peer.inbound
        yield there, peers, event.peer


async def test_it_dials_us_and_both_ping() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            # It answers in one frame for each of its messages, and takes ours as the stream that they are.
            for size in (0, 8, 1000, 65_531):
                assert await peer.ping(size, bytes(64)) > 0
            async with peer.subscribe(Ping) as pings:
                await there.command("ping")
                assert await anext(pings) == Ping(num_pong_bytes=1, ignored=b"")
            pong = Pong(ignored=b"\x00").encode()
            while True:
                # It leaves the packet's authentication tag behind a message, and ignores it in its own reading.
                if bytes.fromhex((await there.event("message"))["data"])[:-16] == pong:
                    break


async def test_commando_both_ways() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer), peer.subscribe(CommandoRequest) as requests:
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


async def test_it_leaves() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            await there.command("disconnect")
            assert (await peer.wait_closed()).code is DisconnectCode.PEER_CLOSED
            closed = await there.event("closed")
            assert closed["code"] == 1005  # it gave no code, and gets its own close back


async def test_it_sends_text() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            await there.command("websocket_text", data="hello")
            assert (await peer.wait_closed()).code is DisconnectCode.CONNECTION_LOST
            assert (await there.event("closed"))["code"] == UNSUPPORTED


async def test_we_leave() -> None:
    with trio.fail_after(60):
        async with dialled() as (there, _, peer):
            await peer.disconnect("that was all")
            assert (await there.event("closed"))["code"] == NORMAL


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
