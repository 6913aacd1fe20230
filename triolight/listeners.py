"""Listeners that the system's shortage of sockets does not end, nor makes talk past our logger. It starts no task.

`trio.serve_listeners` logs a traceback of its own each tenth of a second while the system has no room for a connection.
Here that is waited for, and said in one record with a count. What is accepted, and what else goes wrong, is the inner
listener's.
"""

from __future__ import annotations

import errno
import math
from typing import Final, TypeVar

import trio

from triolight.logger import Area, Level, Logger
from triolight.text import system_words

__all__ = [
    "PatientListener",
]

S = TypeVar("S", bound=trio.abc.AsyncResource)

NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""What the system says when it can hold no more sockets for now."""
NO_ROOM_SECONDS: Final = 0.1
"""Until a listener tries again."""
NO_ROOM_LOGGED_EVERY: Final = 10.0
"""Seconds, at the least, between two records of a listener that say so."""


class PatientListener(trio.abc.Listener[S]):
    """Accepts from `listener`, which is its own from now on, and waits while the system has no room for a connection.

    Give it to `trio.serve_listeners` in place of the listener. `logger` hears at WARN when there is no room, with how
    often that was, at most every NO_ROOM_LOGGED_EVERY seconds. Nobody is lost: who comes waits in the system's backlog.
    """

    def __init__(self, listener: trio.abc.Listener[S], logger: Logger) -> None:
        self.listener: Final = listener
        self._log: Final = Area(logger, "listeners")
        self._times = 0
        """How often there was no room, since that was logged."""
        self._logged_at = -math.inf

    def __repr__(self) -> str:
        return f"<PatientListener {self.listener!r}>"

    @trio.lowlevel.enable_ki_protection
    async def accept(self) -> S:
        """The next connection. A checkpoint. Raises what the listener does, but for want of room; cancellation loses
        nothing."""
        while True:
            try:
                return await self.listener.accept()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._note(error)
            await trio.sleep(NO_ROOM_SECONDS)

    def _note(self, error: OSError) -> None:
        self._times += 1
        now = trio.current_time()
        if now >= self._logged_at + NO_ROOM_LOGGED_EVERY:
            words = "the system has no room for connections that wait"
            self._log(Level.WARN, words, error=system_words(error), times=self._times)
            self._times = 0
            self._logged_at = now

    async def aclose(self) -> None:
        """Closes the listener."""
        await self.listener.aclose()
