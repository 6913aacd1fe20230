"""Latch: as trio.Event, which is made only while somebody waits: most of what may be waited for never is.

Knows Trio, and nothing of ours.
"""

from __future__ import annotations

import trio

__all__: list[str] = []


class Latch:
    """Open or not. An idle peer has several that nobody waits at: a trio.Event each took six times as much."""

    __slots__ = ("_event", "_is_open")

    def __init__(self, is_open: bool = False) -> None:
        self._is_open = is_open
        self._event: trio.Event | None = None
        """While somebody waits."""

    def is_open(self) -> bool:
        return self._is_open

    def open(self) -> None:
        """Whoever waits goes on."""
        self._is_open = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def shut(self) -> None:
        """Whoever waits from now on waits until it is opened again."""
        self._is_open = False

    async def wait(self) -> None:
        """Until it has been opened. A checkpoint."""
        if self._is_open:
            await trio.lowlevel.checkpoint()
            return
        if self._event is None:
            self._event = trio.Event()
        await self._event.wait()
