"""Changes of a graph for whoever reads them: in order, without loss or it is said, and nobody waits for a reader."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final, Self

import trio

from triolight.errors import EventsLost
from triolight.gossip.changes import Change

__all__ = ["GossipChanges"]


class GossipChanges:
    """``async with gossip.changes() as changes: async for change in changes``: what happens to the graph, in order.

    Never delays anybody: of what waits for a busy reader no more than the policy's `changes` is kept; past that its
    iteration raises EventsLost, and what comes later is new. It ends with the block of `open_gossip`.
    """

    def __init__(self, readers: list[GossipChanges], most: int) -> None:
        self._readers: Final = readers
        self._waiting: deque[Change] = deque()
        self._most: Final = most
        self._lost = 0
        self._woken = trio.Event()
        self._ended = False

    def put(self, change: Change) -> None:
        """The next one."""
        if len(self._waiting) == self._most or self._lost:
            self._waiting.clear()
            self._lost += 1
        else:
            self._waiting.append(change)
        self._woken.set()

    def end(self) -> None:
        """No more of them."""
        self._ended = True
        self._woken.set()

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Change:
        """The next change. Cancellation loses nothing."""
        await trio.lowlevel.checkpoint()
        while True:
            if self._lost:
                self._lost = 0
                raise EventsLost(f"more than {self._most} changes waited; start again from the graph")
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                raise StopAsyncIteration
            self._woken = trio.Event()
            await self._woken.wait()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._readers.append(self)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.remove(self)
        self._waiting.clear()
