"""When things happen on a simulated network: a clock whose one task sleeps for all, and alarms that wake who waits.

A task of its own for each packet, or a deadline, costs several times as much. The only file of the network that starts
a task, and that reschedules others.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio


class Scheduled:
    """What a clock will do, until it has been done or taken back."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None]) -> None:
        self.action: Callable[[], None] | None = action


class Clock:
    """What happens at which time, on one network: by time, and in the order in which it was asked for."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Scheduled]] = []
        """A heap. What was taken back is in it for a while, and never more of that than of the rest."""
        self._taken_back = 0
        self._count = 0
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        """How much is to happen."""
        return len(self._due) - self._taken_back

    @trio.lowlevel.enable_ki_protection
    def call_at(self, at: float, action: Callable[[], None]) -> Scheduled:
        """The clock's task calls `action` then, unless `take_back` is told otherwise. It must not raise."""
        self._count += 1
        scheduled = Scheduled(action)
        heapq.heappush(self._due, (at, self._count, scheduled))
        if self._scope is None:
            self._scope = trio.CancelScope(deadline=at)
            trio.lowlevel.spawn_system_task(self._run, name="simulated network")
        elif at < self._scope.deadline:
            self._scope.deadline = at
        return scheduled

    @trio.lowlevel.enable_ki_protection
    def take_back(self, scheduled: Scheduled) -> None:
        """It will not happen. If it has, nothing happens."""
        if scheduled.action is None:
            return
        scheduled.action = None
        self._taken_back += 1
        due = self._due
        if self._taken_back * 2 > len(due):
            due[:] = [one for one in due if one[2].action is not None]
            heapq.heapify(due)
            self._taken_back = 0
        first = self._first()
        if self._scope is not None and first > self._scope.deadline:
            self._scope.deadline = first

    def _first(self) -> float:
        """When the next thing happens."""
        due = self._due
        while due and due[0][2].action is None:
            heapq.heappop(due)
            self._taken_back -= 1
        return due[0][0] if due else math.inf

    async def _run(self) -> None:
        due = self._due
        try:
            while True:
                now = trio.current_time()
                while self._first() <= now:
                    scheduled = heapq.heappop(due)[2]
                    action, scheduled.action = scheduled.action, None
                    if action is not None:
                        action()
                with trio.CancelScope(deadline=self._first()) as self._scope:
                    await trio.sleep_forever()
        finally:
            self._scope = None  # the run is over; the next one needs a task of its own


class Alarm:
    """The sleep of one task until a time, which others may end sooner. It may end too early, never too late."""

    __slots__ = ("_clock", "_scheduled", "_set_to", "_task")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._task: trio.lowlevel.Task | None = None
        self._set_to = math.inf
        """The earliest time at which the clock will ring."""
        self._scheduled: Scheduled | None = None
        """Then."""

    async def sleep_until(self, at: float) -> None:
        """Waits for `ring`, at the longest until this time. One task at a time. May be cancelled."""
        self._set(at)
        self._task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._task = None

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None  # it will run, and a ring in the same step must not wake it a second time
        return trio.lowlevel.Abort.SUCCEEDED

    def ring(self, at: float = -math.inf) -> None:
        """Wakes the sleeper at this time, if it would sleep longer; by default now."""
        if self._task is not None:
            if at == -math.inf:
                task, self._task = self._task, None
                trio.lowlevel.reschedule(task)
            else:
                self._set(at)

    def _set(self, at: float) -> None:
        if at < self._set_to:
            self.silence()
            self._set_to = at
            self._scheduled = self._clock.call_at(at, self._rang)

    def silence(self) -> None:
        """The clock does not ring it any more: nobody sleeps, and nobody will."""
        self._set_to = math.inf
        if self._scheduled is not None:
            self._clock.take_back(self._scheduled)
            self._scheduled = None

    def _rang(self) -> None:
        self._set_to = math.inf
        self._scheduled = None
        self.ring()
