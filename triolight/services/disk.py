"""What waits for a record, and who takes it there: its disk, in one worker thread, a batch at a time. Hears no peer.

What waits is bounded by who adds to it, and looks at `WaitingRows.pending`. What is on its way arrives, whoever is
cancelled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Final

import trio

from triolight.services.record import RecordBatch, RecordWriter, Written
from triolight.services.sqlite import StoreError
from triolight.services.worker import WorkerThread

BATCH_ROWS: Final = 1000
"""Of one transaction. More at once would keep other tasks waiting while they are handed over."""
BATCH_SECONDS: Final = 0.25
"""From the first sighting to its way to the disk, so that a batch is worth its transaction."""


class WaitingRows(ABC):
    """Rows on their way, wherever they go. `before` is called before each batch, when rows that wait may still be
    changed."""

    def __init__(self, before: Callable[[], None]) -> None:
        self.waiting = RecordBatch()
        """Add rows to it, then call `tell`."""
        self.messages = 0
        """Different ones that this run has heard."""
        self.size = 0
        """Bytes of the record's files."""
        self.full: Final = trio.Event()
        self.failed: StoreError | None = None
        self._before: Final = before
        self._writing = 0
        self._something = trio.Event()
        self._much = trio.Event()
        self._written = trio.Event()
        self._leaving = False

    @property
    def pending(self) -> int:
        """Rows that are not on the disk."""
        return len(self.waiting) + self._writing

    @abstractmethod
    async def open(self, unix_ns: int) -> int:
        """When the record goes on: then, or later."""

    @abstractmethod
    async def _write(self, batch: RecordBatch) -> Written:
        """Until it is where it goes. StoreError if it cannot."""

    @abstractmethod
    async def _finish(self, ended_ns: int) -> None:
        """After the last batch."""

    @abstractmethod
    async def _release(self) -> None:
        """Whatever came before."""

    def _measure(self, size: int) -> None:
        self.size = size

    def tell(self) -> None:
        """There may be more rows."""
        if len(self.waiting):
            self._something.set()
            if len(self.waiting.sightings) >= BATCH_ROWS:
                self._much.set()

    async def moved(self) -> None:
        """Waits until something more is on the disk."""
        await self._written.wait()

    async def written(self) -> None:
        """Waits until all that waits is on the disk. StoreError if it cannot be."""
        await trio.lowlevel.checkpoint()
        while self.pending and self.failed is None:
            self._much.set()
            await self._written.wait()
        if self.failed is not None:
            raise self.failed

    def leave(self) -> None:
        """Nothing more comes: what waits is written, and the writer ends."""
        self._leaving = True
        self._something.set()
        self._much.set()

    async def run(self, ended_ns: Callable[[], int]) -> None:
        """The task that writes, until it is told to leave and nothing waits. StoreError if it cannot."""
        # Whoever is cancelled, what came is kept: this ends by itself when all of it is written.
        with trio.CancelScope(shield=True):
            try:
                await self._run(ended_ns)
            except StoreError as error:
                self.failed = error
                raise

    async def _run(self, ended_ns: Callable[[], int]) -> None:
        while True:
            self.tell()
            await self._something.wait()
            with trio.move_on_after(BATCH_SECONDS):
                await self._much.wait()
            while batch := self._gather():
                self._writing = len(batch)
                done = await self._write(batch)
                self._writing = 0
                self.messages += done.messages
                self._measure(done.size)
                self._written.set()
                self._written = trio.Event()
            if self._leaving:
                await self._finish(ended_ns())
                return
            self._something, self._much = trio.Event(), trio.Event()

    def _gather(self) -> RecordBatch:
        """The next rows. What belongs to them goes with the last of them."""
        self._before()
        waiting = self.waiting
        if len(waiting.sightings) > BATCH_ROWS:
            batch = RecordBatch(opened=waiting.opened, sightings=waiting.sightings[:BATCH_ROWS])
            del waiting.sightings[:BATCH_ROWS]
            waiting.opened = []
        else:
            batch, self.waiting = waiting, RecordBatch()
        return batch

    async def close(self) -> None:
        """Lets go of what it has opened."""
        self._written.set()
        with trio.CancelScope(shield=True):
            await self._release()


class RecordDisk(WaitingRows):
    """Rows on their way into a record.

    Args:
      open_writer: makes the writer, from the moment that is now.
      before: as of `WaitingRows`.
      max_bytes: of all files; then it is `full`.
    """

    def __init__(
        self, open_writer: Callable[[int], RecordWriter], before: Callable[[], None], max_bytes: int | None
    ) -> None:
        super().__init__(before)
        self._open_writer: Final = open_writer
        self._max_bytes: Final = max_bytes
        self._thread: Final = WorkerThread()

    async def open(self, unix_ns: int) -> int:
        """Opens or makes the file. When the record goes on: then, or behind all that is in it."""
        self._writer = await self._thread.call(self._open_writer, unix_ns)
        self._measure(self._writer.size)
        return self._writer.started_ns

    def _measure(self, size: int) -> None:
        super()._measure(size)
        if self._max_bytes is not None and size >= self._max_bytes:
            self.full.set()

    async def _write(self, batch: RecordBatch) -> Written:
        return await self._thread.call(self._writer.write, batch)

    async def _finish(self, ended_ns: int) -> None:
        await self._thread.call(self._writer.finish, ended_ns)

    async def _release(self) -> None:
        await self._thread.call(self._writer.close)
