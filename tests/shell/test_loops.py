"""The reader's and the writer's loops: streams that break, whichever method it is."""

from __future__ import annotations

import socket

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, make_manager, port_of
from tests.support.independent import dial as dial_raw
from tests.support.independent import init as raw_init
from triolight import (
    DisconnectCode,
    PeerClosed,
    open_peer_nursery,
)


class Breaks(trio.abc.HalfCloseableStream):
    """A stream that breaks in one of its methods."""

    def __init__(self, inner: trio.abc.HalfCloseableStream, where: str) -> None:
        self.inner = inner
        self.where = where
        self.broken = False

    def _maybe(self, where: str) -> None:
        if self.broken and where == self.where:
            raise trio.BrokenResourceError("as asked")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._maybe("send")
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._maybe("eof")
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        self._maybe("receive")
        return data

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("where", ["send", "receive", "eof"])
async def test_streams_that_break(where: str, autojump_clock: trio.testing.MockClock) -> None:
    logger = ListLogger()
    async with open_peer_nursery(make_manager(1, logger=logger)) as near, open_peer_nursery(make_manager(2)) as far:
        ours, theirs = trio.testing.memory_stream_pair()
        stream = Breaks(ours, where)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.attach, theirs)
            peer = await near.attach(stream, identity(2))
        stream.broken = True
        if where == "eof":
            await peer.disconnect("as well as it goes")
            return
        # What is written from now on is lost; what the other side says is still heard, and then its end.
        async with peer.subscribe(Note) as inbox:
            await peer.send(*[Note(payload=bytes(20_000))] * 40)
            if where == "send":
                await far.peers[identity(1)].send(Note(payload=b"still heard"))
                assert await inbox.__anext__() == Note(payload=b"still heard")
                await theirs.aclose()
            else:
                await far.peers[identity(1)].send(Note(payload=b"lost"))
        reason = await peer.wait_closed()
        assert reason.code in (DisconnectCode.CONNECTION_LOST, DisconnectCode.PEER_CLOSED, DisconnectCode.PING_TIMEOUT)
        with pytest.raises(PeerClosed):
            await peer.ping()


async def test_a_tcp_reset_is_named() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as peers, peers.events() as events:
            client, _ = await dial_raw(await port_of(peers), identity(1), init=raw_init())
            event = await events.__anext__()
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.stream.socket.close()
            reason = await event.peer.wait_closed()
            assert reason.code is DisconnectCode.CONNECTION_LOST
            assert "reset" in reason.message
