"""Workers of a fleet in a record: how far each has come is there with what it counts, whoever writes next."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.support.gossip import IDS, channel, update
from triolight.services.reading import csv_table, export_record, record_stats
from triolight.services.record import RecordBatch, RecordWriter, SessionFacts, Written, segment_path
from triolight.services.series import record_series
from triolight.services.shares import WorkerFacts, WorkerKey

ONE, AGAIN, TWO = WorkerKey("one", b"\1" * 16), WorkerKey("one", b"\2" * 16), WorkerKey("two", b"\3" * 16)
WORKERS = "SELECT id, name, token, seq, last_ns, ended_ns FROM worker ORDER BY id"


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(statement).fetchall()


def opened(path: Path, started: int = 50, **options: Any) -> RecordWriter:
    chosen: dict[str, Any] = {"fleet": "main", **options}
    return RecordWriter(path, started, "a test", **chosen)


def seq_of(writer: RecordWriter, key: WorkerKey) -> int | None:
    facts = writer.shares.facts_of(key)
    return None if facts is None else facts.seq


def write(writer: RecordWriter, key: WorkerKey, seq: int, number: int, *said: bytes, **more: Any) -> Written:
    """A batch of one session of a worker's, which began at 100 times its number."""
    facts = SessionFacts(number, IDS[number], "", True, 100 * number, b"", key)
    sightings = [(100 * number + seq + at, number, 0, raw) for at, raw in enumerate(said)]
    batch = RecordBatch(opened=[facts], sightings=sightings, worker=WorkerFacts(key, seq, 100 * number + seq), **more)
    return writer.write(batch)


def test_how_far_a_worker_has_come_is_there_with_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        assert seq_of(writer, ONE) is None
        write(writer, ONE, 1, 1, channel(), clocks=[(105, 90)], gaps=[(101, 103, None, None, "held")])
        write(writer, TWO, 4, 2, update())
        assert (seq_of(writer, ONE), seq_of(writer, TWO)) == (1, 4)
    assert rows(path, WORKERS) == [(1, *ONE, 1, 101, None), (2, *TWO, 4, 204, None)]
    assert rows(path, "SELECT worker, connected_ns FROM session") == [(1, 100), (2, 200)]
    assert rows(path, "SELECT worker FROM gap UNION ALL SELECT worker FROM clock") == [(1,), (1,)]


def test_what_is_not_written_does_not_count(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        write(writer, ONE, 1, 1, channel())
        with pytest.raises(KeyError):
            write(writer, ONE, 2, 1, update(), closed=[(9, 1, "no session has this number")])
    with closing(opened(path)) as writer:
        assert seq_of(writer, ONE) == 1
    assert rows(path, "SELECT count(*) FROM sighting") == [(1,)]


def test_another_writer_goes_on_with_its_sessions(tmp_path: Path) -> None:
    """Nothing was missed between the two: the fleet's engine has held it."""
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        write(writer, ONE, 1, 1, channel())
        write(writer, TWO, 1, 2, channel())
    with closing(opened(path, 500)) as writer:
        assert [one.key for one in writer.shares.living] == [ONE, TWO]
        write(writer, ONE, 2, 1, update())
        # One that is over: its sessions too, also those of which this writer has heard nothing.
        over = WorkerFacts(TWO, 1, 201, (600, "killed"))
        writer.write(RecordBatch(gaps=[(201, 600, None, None, "killed")], worker=over))
        write(writer, AGAIN, 1, 1, update())
        writer.finish(700)
    assert rows(path, "SELECT id, worker, closed_ns, why FROM session") == [
        (1, 1, None, None),
        (2, 2, 600, "killed"),
        (3, 3, None, None),
    ]
    assert rows(path, "SELECT session FROM sighting ORDER BY seen_ns") == [(1,), (1,), (3,), (2,)]
    assert rows(path, "SELECT why, worker FROM gap") == [("killed", 2)]
    # Somebody records without a fleet: now something was missed, and nobody goes on.
    opened(path, 800, fleet=None).close()
    assert rows(path, "SELECT count(*) FROM session WHERE closed_ns IS NULL") == [(0,)]
    opened(path, 900).close()
    assert [why for (why,) in rows(path, "SELECT why FROM gap")] == ["killed", "not running", "killed"]


def test_they_go_on_in_the_next_segment(tmp_path: Path) -> None:
    path, second, third = (segment_path(tmp_path / "seen.db", number) for number in (1, 2, 3))
    with closing(opened(path, segment_bytes=1)) as writer:
        write(writer, ONE, 1, 1, channel())
        assert writer.segment == second
        writer.write(RecordBatch(worker=WorkerFacts(ONE, 2, 150, (150, "left"))))
        assert writer.segment == third
        # Who has ended is remembered for one segment more: what it said may come again.
        assert seq_of(writer, ONE) == 2
        write(writer, TWO, 7, 2, channel())
        assert (seq_of(writer, ONE), seq_of(writer, TWO)) == (None, 7)
    assert rows(second, "SELECT closed_ns, why, worker FROM session") == [(150, "left", 1)]
    assert rows(third, "SELECT closed_ns, why, worker FROM session") == [(207, "goes on in the next segment", 2)]


def test_a_run_that_was_killed_between_two_segments(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, segment_bytes=1)) as writer:
        write(writer, ONE, 3, 1, channel())
    with closing(sqlite3.connect(segment_path(path, 2))) as file:
        file.executescript("DELETE FROM worker; DELETE FROM session; DELETE FROM meta WHERE key IN ('open', 'fleet')")
    with closing(opened(path, 500)) as writer:
        assert seq_of(writer, ONE) == 3
        write(writer, ONE, 4, 1, channel())
    assert rows(segment_path(path, 2), "SELECT name, seq FROM worker") == [("one", 4)]
    assert rows(segment_path(path, 2), "SELECT count(*) FROM gap") == [(0,)]


def test_what_a_worker_has_missed_is_nobody_elses(tmp_path: Path) -> None:
    """Numbers and tables say whose it is."""
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        missed = [(1, 10**9, None, None, "killed"), (1, 2, 1, 3, "not recorded")]
        write(writer, ONE, 1, 1, channel(), clocks=[(105, 90)], gaps=missed)
    stats = record_stats(path)
    assert (stats.gaps, stats.lost, stats.unrecorded_ns) == ({"killed": 1, "not recorded": 1}, 3, 0)
    assert record_series(path).pauses == []
    export_record(path, tmp_path, {"csv": csv_table})
    for name in ("sessions", "gaps", "clocks"):
        head, *lines = (tmp_path / f"{name}.csv").read_text().splitlines()
        assert head.endswith(",worker")
        assert lines
        assert all(line.endswith(",one") for line in lines)


def test_a_record_of_the_first_version_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    facts = SessionFacts(1, IDS[0], "", True, 60, b"")
    with closing(opened(path, fleet=None)) as writer:
        writer.write(RecordBatch(opened=[facts], sightings=[(61, 1, 0, channel())]))
    with closing(sqlite3.connect(path)) as file:
        older = [f"ALTER TABLE {one} DROP COLUMN worker" for one in ("session", "gap", "clock")]
        file.executescript(";".join([*older, "DROP TABLE worker", "PRAGMA user_version = 1"]))
    # It is read as it is.
    assert record_stats(path).sightings == 1
    assert export_record(path, tmp_path, {"csv": csv_table})["sessions"] == 1
    with closing(opened(path, 100)) as writer:
        write(writer, ONE, 1, 2, update())
    assert rows(path, "SELECT worker, why FROM session") == [(None, "killed"), (1, None)]
    assert rows(path, "PRAGMA user_version") == [(2,)]
