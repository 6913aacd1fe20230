"""Changes of a graph for whoever reads them: in order, without loss or it is said, and nobody waits for a reader."""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Final, Self, TypeAlias

import trio

from triolight.errors import EventsLost
from triolight.gossip.changes import ChannelAdded, ChannelChanged, ChannelRemoved, NodeChanged

__all__ = ["GossipChanges", "Queue", "Told"]

Told: TypeAlias = ChannelAdded | ChannelChanged | ChannelRemoved | NodeChanged
"""Of what happens to the graph, what readers hear of."""


class Queue:
    """Changes that wait for one reader."""

    def __init__(self, most: int) -> None:
        self.waiting: Final = deque[Told]()
        self.most: Final = most
        self.lost = 0
        self.woken = trio.Event()
        self.ended = False

    def put(self, change: Told) -> None:
        """The next one."""
        if len(self.waiting) == self.most or self.lost:
            self.waiting.clear()
            self.lost += 1
        else:
            self.waiting.append(change)
        self.woken.set()

    def end(self) -> None:
        """No more of them."""
        self.ended = True
        self.woken.set()


class GossipChanges:
    """``async with gossip.changes() as changes: async for change in changes``: what happens to the graph, in order.

    Never delays anybody: of what waits for a busy reader no more than the policy's `changes` is kept; past that its
    iteration raises EventsLost, and what comes later is new. It ends with the block of `open_gossip`.
    """

    def __init__(self, readers: list[Queue], most: int) -> None:
        self._readers: Final = readers
        self._queue: Final = Queue(most)

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Told:
        """The next change. Cancellation loses nothing."""
        await trio.lowlevel.checkpoint()
        queue = self._queue
        while True:
            if queue.lost:
                queue.lost = 0
                raise EventsLost(f"more than {queue.most} changes waited; start again from the graph")
            if queue.waiting:
                return queue.waiting.popleft()
            if queue.ended:
                raise StopAsyncIteration
            queue.woken = trio.Event()
            await queue.woken.wait()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._readers.append(self._queue)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._readers.remove(self._queue)
        self._queue.waiting.clear()
