"""What waits for a record's disk: batches, who waits for them, and what a failure leaves."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.gossip import IDS, update
from triolight.services import StoreError
from triolight.services.disk import BATCH_ROWS, RecordDisk
from triolight.services.record import RecordBatch, RecordWriter, SessionFacts, Written

PEER = SessionFacts(1, IDS[0], "", True, 5, b"init")


class Writer:
    """Keeps batches."""

    started_ns = 7

    def __init__(self) -> None:
        self.batches: list[RecordBatch] = []
        self.size = 100
        self.ended: int | None = None
        self.closed = False
        self.fails = False

    def write(self, batch: RecordBatch) -> Written:
        if self.fails:
            raise StoreError("seen.db: the disk is full")
        self.batches.append(batch)
        self.size += 1000
        return Written(len(batch.sightings), self.size, Path())

    def finish(self, ended_ns: int) -> None:
        self.ended = ended_ns

    def close(self) -> None:
        self.closed = True


def disk_of(writer: Any, most: int | None = None) -> RecordDisk:
    return RecordDisk(lambda _: writer, lambda: None, most)


def sightings(count: int) -> list[tuple[int, int, int, bytes]]:
    return [(number, 1, 0, update(number << 40)) for number in range(1, count + 1)]


async def test_rows_go_in_batches_and_lives_with_them(autojump_clock: trio.testing.MockClock) -> None:
    writer = Writer()
    disk = disk_of(writer, 3000)
    assert await disk.open(5) == 7
    assert (disk.size, disk.full.is_set()) == (100, False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(disk.run, lambda: 99)
        disk.waiting.opened.append(PEER)
        disk.waiting.sightings += sightings(2 * BATCH_ROWS + 1)
        disk.waiting.closed.append((1, 9, "went"))
        disk.tell()
        assert disk.pending == 2 * BATCH_ROWS + 3
        await disk.written()
        assert (disk.pending, disk.messages, disk.full.is_set()) == (0, 2 * BATCH_ROWS + 1, True)
        first, second, third = writer.batches
        assert (first.opened, first.closed, len(first.sightings)) == ([PEER], [], BATCH_ROWS)
        assert (second.opened, second.closed, len(second.sightings)) == ([], [], BATCH_ROWS)
        assert (third.closed, len(third.sightings)) == ([(1, 9, "went")], 1)
        # What comes alone waits for more, and what waits at the end is written.
        disk.waiting.clocks.append((1, 1))
        disk.tell()
        await trio.sleep(0.2)
        assert disk.pending == 1
        disk.leave()
    await disk.close()
    assert (disk.pending, writer.ended, writer.closed) == (0, 99, True)


async def test_a_failure_is_everybodys(autojump_clock: trio.testing.MockClock) -> None:
    writer = Writer()
    disk = disk_of(writer)
    await disk.open(5)
    writer.fails = True
    disk.waiting.clocks.append((1, 1))
    with pytest.raises(StoreError, match="the disk is full"):
        await disk.run(lambda: 99)
    with pytest.raises(StoreError, match="the disk is full"):
        await disk.written()
    await disk.close()
    assert writer.closed


async def test_what_is_full_from_the_beginning_is_full(tmp_path: Path) -> None:
    with closing(RecordWriter(tmp_path / "seen.db", 5)) as made:
        size = made.size
    disk = RecordDisk(lambda now: RecordWriter(tmp_path / "seen.db", now), lambda: None, size)
    await disk.open(8)
    assert disk.full.is_set()
    await disk.close()
