"""A connection that has ended leaves nothing behind: no object, no timer, and nothing for the cyclic garbage collector.

What it left, everybody else would wait for: a full round of the collector stops the node for a tenth of a second.
"""

from __future__ import annotations

import gc
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import pytest
import trio
import trio.testing

from tests.support import make_manager
from tests.support.inside import timers_of
from triolight import ConnectError, NodeAddress, NullLogger, Peer, PeerNursery, open_peer_nursery
from triolight.connection import Connection
from triolight.manager.entry import Entry
from triolight.messages import UnknownMessage
from triolight.shell.link import Link, Session

ENDS: Final = 400
THEIRS: Final = (Link, Session, Peer, Connection, Entry)


class Meeting:
    """Two nodes in one run: both have ended a connection, and nothing of it may be left of either."""

    def __init__(self, near: PeerNursery, far: PeerNursery) -> None:
        self.near = near
        self.far = far

    async def _meet(self) -> tuple[Peer, Peer]:
        """Their peer and ours, over a pair of real sockets."""
        one, other = trio.socket.socketpair()
        found: list[Peer] = []

        async def answer() -> None:
            found.append(await self.near.attach(trio.SocketStream(other)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            found.append(await self.far.attach(trio.SocketStream(one), self.near.manager.our_node_id))
        ours, theirs = found if found[0].inbound else reversed(found)
        return theirs, ours

    async def they_leave(self) -> None:
        theirs, ours = await self._meet()
        await theirs.disconnect()
        await ours.wait_closed()

    async def we_end_it(self) -> None:
        _, ours = await self._meet()
        await ours.disconnect("enough")

    async def they_break_a_rule(self) -> None:
        theirs, ours = await self._meet()
        await theirs.send(UnknownMessage(43_000, b"even"))
        await ours.wait_closed()

    async def they_say_nothing_right(self) -> None:
        one, other = trio.socket.socketpair()
        async with trio.SocketStream(one) as stream:
            await stream.send_all(bytes(50))
            with pytest.raises(ConnectError, match="ACT_ONE_FAILED"):
                await self.near.attach(trio.SocketStream(other))

    async def nobody_listens(self) -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            address = NodeAddress(self.near.manager.our_node_id, *bound.getsockname())
            with pytest.raises(ConnectError, match="refused"):
                await self.far.connect(address)

    async def they_break_off_the_handshake(self) -> None:
        one, other = trio.socket.socketpair()
        one.close()
        with pytest.raises(ConnectError, match="CLOSED"):
            await self.near.attach(trio.SocketStream(other))

    async def we_are_asked_for_pings_meanwhile(self) -> None:
        theirs, ours = await self._meet()
        await ours.ping()
        async with theirs.subscribe() as inbox:
            await ours.send(UnknownMessage(43_001, b"odd"))
            await inbox.__anext__()
            await ours.disconnect()
            assert [type(message).__name__ async for message in inbox] == ["Warning"]


WAYS: dict[str, Callable[[Meeting], Awaitable[None]]] = {
    "they leave": Meeting.they_leave,
    "we end it": Meeting.we_end_it,
    "a rule is broken": Meeting.they_break_a_rule,
    "the handshake fails": Meeting.they_say_nothing_right,
    "the handshake is broken off": Meeting.they_break_off_the_handshake,
    "a dial is refused": Meeting.nobody_listens,
    "with a subscriber": Meeting.we_are_asked_for_pings_meanwhile,
}


@pytest.fixture
def without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_an_ended_connection_leaves_nothing(
    autojump_clock: trio.testing.MockClock, without_collector: None
) -> None:
    async with (
        open_peer_nursery(make_manager(1, logger=NullLogger())) as near,
        open_peer_nursery(make_manager(2, logger=NullLogger())) as far,
    ):
        meeting = Meeting(near, far)
        for way in WAYS.values():  # what is made once
            await way(meeting)
        await trio.sleep(1)
        gc.collect()
        for name, way in WAYS.items():
            for _ in range(ENDS // len(WAYS)):
                await way(meeting)
            # The drain after the last words: half a second.
            await trio.sleep(1)
            left = [type(one).__name__ for one in gc.get_objects() if isinstance(one, THEIRS)]
            assert left == [], name
            assert len(timers_of(near)) == len(timers_of(far)) == 0, name
            assert gc.collect() == 0, name
        await trio.sleep(3600)  # past every deadline
        assert gc.collect() == 0
