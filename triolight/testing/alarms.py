"""When things happen on a simulated network: a clock whose one task sleeps for all, and alarms that wake who waits.

A task of its own for each packet, or a deadline, costs several times as much. The only file of the network that starts
a task, and that reschedules others.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio


class Clock:
    """What happens at which time, on one network: by time, and in the order in which it was asked for."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._scope: trio.CancelScope | None = None

    @trio.lowlevel.enable_ki_protection
    def call_at(self, at: float, action: Callable[[], None]) -> None:
        """The clock's task calls `action` then. Nothing takes it back; it must not raise."""
        self._count += 1
        heapq.heappush(self._due, (at, self._count, action))
        if self._scope is None:
            self._scope = trio.CancelScope(deadline=at)
            trio.lowlevel.spawn_system_task(self._run, name="simulated network")
        elif at < self._scope.deadline:
            self._scope.deadline = at

    async def _run(self) -> None:
        due = self._due
        try:
            while True:
                now = trio.current_time()
                while due and due[0][0] <= now:
                    heapq.heappop(due)[2]()
                with trio.CancelScope(deadline=due[0][0] if due else math.inf) as self._scope:
                    await trio.sleep_forever()
        finally:
            self._scope = None  # the run is over; the next one needs a task of its own


class Alarm:
    """The sleep of one task until a time, which others may end sooner. It may end too early, never too late."""

    __slots__ = ("_clock", "_set_to", "_task")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._task: trio.lowlevel.Task | None = None
        self._set_to = math.inf
        """The earliest time at which the clock will ring."""

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
            self._set_to = at
            self._clock.call_at(at, self._rang)

    def _rang(self) -> None:
        self._set_to = math.inf
        self.ring()
