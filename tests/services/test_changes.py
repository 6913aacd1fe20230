"""Changes for a reader: in order, none lost unless it is said, an end for who waits."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support.gossip import SCID, channel
from triolight import EventsLost
from triolight.chains import REGTEST
from triolight.gossip import ChannelAdded, NetworkGraph
from triolight.services.changes import GossipChanges, Queue

CHANGE = ChannelAdded(NetworkGraph(REGTEST).load(channel(SCID)))


async def test_they_come_in_order_and_end() -> None:
    readers: list[Queue] = []
    async with GossipChanges(readers, 3) as changes:
        (queue,) = readers
        for _ in range(3):
            queue.put(CHANGE)
        queue.end()
        assert [one async for one in changes] == [CHANGE] * 3
    assert readers == []


async def test_more_than_wait_for_a_busy_reader_are_lost_and_it_is_said_once() -> None:
    readers: list[Queue] = []
    async with GossipChanges(readers, 2) as changes:
        for _ in range(5):
            readers[0].put(CHANGE)
        with pytest.raises(EventsLost, match="more than 2"):
            await changes.__anext__()
        readers[0].put(CHANGE)
        assert await changes.__anext__() is CHANGE


async def test_who_waits_is_woken(autojump_clock: trio.testing.MockClock) -> None:
    readers: list[Queue] = []
    found: list[object] = []

    async def read() -> None:
        async with GossipChanges(readers, 2) as changes:
            found.extend([one async for one in changes])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        readers[0].put(CHANGE)
        await trio.testing.wait_all_tasks_blocked()
        readers[0].end()
    assert found == [CHANGE]
