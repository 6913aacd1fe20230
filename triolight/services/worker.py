"""Where the calls of SQLite run: one worker thread of whoever has a file. Knows no file.

What is on its way to a disk arrives, whoever is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

_T = TypeVar("_T")


class WorkerThread:
    """Where SQLite's calls run: one at a time, and none is abandoned. On a mock clock they run in line, for a thread
    would take no time of it, or all."""

    def __init__(self) -> None:
        # Mock clocks have it: a thread that writes would be no reason for them to wait.
        self._in_line: Final = hasattr(trio.lowlevel.current_clock(), "autojump_threshold")
        self._limiter: Final = trio.CapacityLimiter(1)

    async def call(self, call: Callable[..., _T], *arguments: Any) -> _T:
        """What it returns, or raises."""
        if self._in_line:
            await trio.lowlevel.checkpoint()
            return call(*arguments)
        return await trio.to_thread.run_sync(call, *arguments, limiter=self._limiter)
