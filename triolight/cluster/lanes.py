"""Lane: one stream's writer at work: batches that the link itself clocks, and patience with an engine that is away.

One append is in flight; what comes meanwhile is the next entry. An idle lane sends at once; a busy one appends
LINGER_SECONDS after its last append began, or when LINGER_BYTES wait, whichever is first. An append without an answer
is made again, the same, until there is one or the engine's grace is over. An engine that is full is not away: it is
waited for as long as it takes. It starts no task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from triolight import reasons
from triolight.cluster.bus import EngineAway, EngineFull, FleetError
from triolight.cluster.records import encode_record
from triolight.cluster.streams import Flight, Parcel, Used, Writer
from triolight.messages.structures import Structure

LINGER_SECONDS: Final = 0.004
"""A message an entry costs 15 to 50 times what 64 an entry cost."""
LINGER_BYTES: Final = 16 * 1024
AGAIN_SECONDS: Final = 0.25
"""Between two tries while the engine is away."""
LOOK_SECONDS: Final = 0.05
"""Between two looks at a window that is full."""

T = TypeVar("T")


class Patience:
    """How long an engine has been away, as one process sees it."""

    __slots__ = ("_grace", "_on_full", "full", "refused", "since")

    def __init__(self, grace: float, on_full: Callable[[bool], None] = lambda full: None) -> None:
        """`on_full` is called when the engine has no room for what is appended, and when it has room again."""
        self._grace: Final = grace
        self._on_full: Final = on_full
        self.since: float | None = None
        """When it was first away, if it still is."""
        self.full = False
        self.refused = 0
        """Calls that it had no room for."""

    def away(self) -> None:
        """It gave no answer. FleetError once the grace is over."""
        now = trio.current_time()
        if self.since is None:
            self.since = now
        if now - self.since >= self._grace:
            raise FleetError(reasons.engine_lost(f"the engine is away for {self._grace:g} seconds"))

    def here(self) -> None:
        self.since = None

    def _fill(self, full: bool) -> None:
        if self.full is not full:
            self.full = full
            self._on_full(full)

    async def until_answered(self, call: Callable[[], Awaitable[T]]) -> T:
        """Makes a call again until it is answered."""
        while True:
            try:
                answer = await call()
            except EngineFull:
                self.here()
                self.refused += 1
                self._fill(True)
                await trio.sleep(AGAIN_SECONDS)
                continue
            except EngineAway:
                self.away()
                await trio.sleep(AGAIN_SECONDS)
                continue
            self.here()
            self._fill(False)
            return answer


class Lane:
    """A writer, and what appends its entries."""

    def __init__(
        self,
        token: bytes,
        append: Callable[[Flight], Awaitable[Used]],
        look: Callable[[], Awaitable[Used]],
        patience: Patience,
    ) -> None:
        """`append` and `look` ask the engine; `look` for no more than what the stream holds."""
        self.writer: Final = Writer(token)
        self._append: Final = append
        self._look: Final = look
        self._patience: Final = patience
        self._work = trio.Event()
        self._room = trio.Event()
        self._answered = trio.Event()
        self.closed = False
        """Nothing more is appended."""

    def put(self, conn: int, what: Structure, on_appended: Callable[[], None] | None = None) -> Parcel:
        """A record, to be appended. Whether there is room is asked before, by who can wait."""
        parcel = self.writer.put(encode_record(conn, what), on_appended)
        self._work.set()
        return parcel

    async def room(self) -> None:
        """Until the window has room, or the lane is closed. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while not self.writer.has_room and not self.closed:
            await self._room.wait()

    async def flushed(self) -> None:
        """Until all that was put is appended, or never will be, or the engine is full. A checkpoint."""
        await trio.lowlevel.checkpoint()
        last = self.writer.last_seq
        while not (self.closed or self.writer.idle or self._patience.full) and self.writer.next_seq < last:
            await self.changed()

    async def changed(self) -> None:
        """Until the engine has answered once more; or a little later, if it does not."""
        with trio.move_on_after(AGAIN_SECONDS):
            await self._answered.wait()

    def close(self) -> None:
        """Whoever waits for room, or for what was put, waits no more."""
        self.closed = True
        self._room.set()
        self._answered.set()

    def consumed(self, used: Used) -> None:
        """What the stream holds, as somebody else was told."""
        if self.writer.flight is None:
            self.writer.used = used
            self._wake()

    def _wake(self) -> None:
        if self.writer.has_room:
            self._room.set()
            self._room = trio.Event()

    async def run(self) -> None:
        """Until it is cancelled. Raises what the engine refuses, and FleetError."""
        writer = self.writer
        last = -LINGER_SECONDS
        while True:
            while writer.idle and writer.may_append:
                self._work = trio.Event()
                await self._work.wait()
            wait = last + LINGER_SECONDS - trio.current_time()
            if wait > 0 and writer.pending_bytes < LINGER_BYTES:
                await trio.sleep(wait)
            while not writer.may_append:
                await trio.sleep(LOOK_SECONDS)
                writer.used = await self._patience.until_answered(self._look)
                self._wake()
            if writer.idle:
                continue  # it was looked at for those who wait for room
            last = trio.current_time()
            writer.answered(await self._patience.until_answered(self._append_once))
            self._tell()
            self._wake()

    async def _append_once(self) -> Used:
        flight = self.writer.take()
        if flight is None:
            return self.writer.used  # all of it was withdrawn
        try:
            return await self._append(flight)
        except EngineFull:
            self.writer.refused()
            self._tell()
            raise

    def _tell(self) -> None:
        self._answered.set()
        self._answered = trio.Event()
