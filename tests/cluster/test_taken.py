"""What is told at once, what a little later, and what never."""

from __future__ import annotations

from typing import cast

import trio
import trio.testing

from triolight.cluster.lanes import Lane
from triolight.cluster.records import Taken
from triolight.cluster.taken import AT_ONCE_BYTES, LATER_SECONDS, TakenTogether


class Put:
    """A lane that notes what is put on it."""

    def __init__(self) -> None:
        self.told: list[tuple[float, int, int]] = []
        self.free = trio.Event()
        self.free.set()

    def put(self, conn: int, what: Taken) -> None:
        self.told.append((trio.current_time(), conn, what.size))

    async def room(self) -> None:
        await self.free.wait()


async def test_little_is_told_together_and_much_at_once(autojump_clock: trio.testing.MockClock) -> None:
    lane = Put()
    taken = TakenTogether(cast("Lane", lane))
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(taken.run)
        await trio.sleep(1)
        for size in (10, 20, 30):
            taken.took(1, size)
        taken.took(2, AT_ONCE_BYTES)
        taken.took(3, AT_ONCE_BYTES - 1)
        taken.took(4, 40)
        taken.ended(4)
        assert lane.told == [(began + 1, 2, AT_ONCE_BYTES)]
        taken.took(3, 1)
        await trio.sleep(LATER_SECONDS / 2)
        taken.took(5, 50)
        await trio.sleep(1)
        assert lane.told[1:] == [
            (began + 1, 3, AT_ONCE_BYTES),
            (began + 1 + LATER_SECONDS, 1, 60),
            (began + 1 + LATER_SECONDS, 5, 50),
        ]
        # Without room it waits, and nothing is told twice.
        del lane.told[:]
        lane.free = trio.Event()
        taken.took(1, 7)
        await trio.sleep(1)
        taken.took(1, 8)
        assert lane.told == []
        lane.free.set()
        await trio.sleep(1)
        assert [(conn, size) for _, conn, size in lane.told] == [(1, 15)]
        nursery.cancel_scope.cancel()
