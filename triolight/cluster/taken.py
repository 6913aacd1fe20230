"""Taken: a back hears of what the queues of peers have taken once for many messages, not for each.

It wants to know for the sake of its window alone: a quarter of that is told at once, less a moment later.
"""

from __future__ import annotations

from typing import Final

import trio

from triolight.cluster.lanes import Lane
from triolight.cluster.records import Taken

AT_ONCE_BYTES: Final = 32 * 1024
"""A quarter of what a back may have on the way to one peer."""
LATER_SECONDS: Final = 0.05
"""Until it hears of less."""


class TakenTogether:
    """Of one life of a front."""

    def __init__(self, lane: Lane) -> None:
        self._lane: Final = lane
        self._sizes: Final[dict[int, int]] = {}
        """Bytes by connection, not told yet."""
        self._some = trio.Event()

    def took(self, conn: int, size: int) -> None:
        """The queue of a connection that has not ended has taken so many bytes."""
        size += self._sizes.pop(conn, 0)
        if size >= AT_ONCE_BYTES:
            self._lane.put(conn, Taken(size=size))
        else:
            self._sizes[conn] = size
            self._some.set()

    def ended(self, conn: int) -> None:
        """Nobody wants to know any more."""
        self._sizes.pop(conn, None)

    async def run(self) -> None:
        """Tells what is not told at once, until it is cancelled."""
        while True:
            await self._some.wait()
            await trio.sleep(LATER_SECONDS)
            await self._lane.room()
            self._some = trio.Event()
            for conn, size in self._sizes.items():
                self._lane.put(conn, Taken(size=size))
            self._sizes.clear()
