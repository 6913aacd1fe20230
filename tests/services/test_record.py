"""A record's file: its schema, what a batch becomes, segments, what is remembered, and what ended it before."""

from __future__ import annotations

import hashlib
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.gossip import IDS, NOW, channel, node, update
from tests.support.processes import without_rights
from triolight.services import record as module
from triolight.services.record import (
    RECORD_TABLES,
    RecordBatch,
    RecordWriter,
    SessionFacts,
    content_hash,
    segment_path,
    segments_of,
)
from triolight.services.sqlite import StoreError

FIRST = SessionFacts(1, IDS[0], "127.0.0.1:9735", True, 100, b"init")
SECOND = SessionFacts(2, IDS[1], "", False, 101, b"")


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(statement).fetchall()


def opened(path: Path, started: int = 50, **options: Any) -> RecordWriter:
    return RecordWriter(path, started, "a test", **options)


def test_the_schema_is_the_documented_one(tmp_path: Path) -> None:
    """Other programs read it."""
    path = tmp_path / "seen.db"
    opened(path).close()
    with closing(sqlite3.connect(path)) as file:
        assert file.execute("PRAGMA application_id").fetchone() == (0x54524C52,)
        assert file.execute("PRAGMA user_version").fetchone() == (2,)
        tables = {name for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert tables == {"meta", *(one.name for one in RECORD_TABLES)}
        for table in RECORD_TABLES:
            columns = [name for _, name, *_ in file.execute(f"PRAGMA table_info({table.name})")]
            assert columns == [one.name for one in table.columns]
    assert [one.name for one in RECORD_TABLES[3].columns] == ["seen_ns", "session", "message", "asked"]
    assert rows(path, "SELECT * FROM meta ORDER BY key") == [
        ("by", "a test"),
        ("created_ns", 50),
        ("open", 50),
        ("raw", 1),
        ("segment", 1),
        ("types", "256 257 258"),
    ]


def test_a_batch_becomes_rows(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        batch = RecordBatch(
            opened=[FIRST, SECOND],
            sightings=[(110, 1, 0, update()), (112, 2, 2, update()), (111, 2, 1, b"\x01\x02odd")],
            closed=[(2, 130, "PEER_CLOSED")],
            gaps=[(120, 125, 2, 7, "not recorded"), (1, 2, None, None, "held")],
            rtts=[(115, 1, 2500)],
            clocks=[(100, 99)],
        )
        assert len(batch) == 10
        done = writer.write(batch)
        assert (done.messages, done.segment) == (2, path)
        assert done.size == writer.size > 0
    assert rows(path, "SELECT id, first_ns, type, hash, content_hash IS NULL, raw FROM message") == [
        (1, 110, 258, hashlib.sha256(update()).digest(), 0, update()),
        (2, 111, 258, hashlib.sha256(b"\x01\x02odd").digest(), 1, b"\x01\x02odd"),
    ]
    assert rows(path, "SELECT * FROM sighting") == [(110, 1, 1, 0), (111, 2, 2, 1), (112, 2, 1, 2)]
    assert rows(path, "SELECT * FROM peer") == [(1, IDS[0]), (2, IDS[1])]
    assert rows(path, "SELECT * FROM session") == [
        (1, 1, "127.0.0.1:9735", 1, 100, b"init", None, None, None),
        (2, 2, "", 0, 101, b"", 130, "PEER_CLOSED", None),
    ]
    assert rows(path, "SELECT * FROM gap") == [
        (120, 125, 2, 7, "not recorded", None),
        (1, 2, None, None, "held", None),
    ]
    assert rows(path, "SELECT * FROM rtt") == [(115, 1, 2500)]
    assert rows(path, "SELECT * FROM clock") == [(100, 99, None)]
    # What is pushed alone tells how gossip spreads.
    assert rows(path, "SELECT * FROM delay") == [(1, 258, 1, 0)]


def test_two_sightings_never_share_a_moment_and_keep_theirs_as_far_as_they_can(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, b"%d" % one) for one in range(3)]))
        # Another peer's, which was read earlier and comes later.
        late = [(200, 1, 0, b"200"), (110, 1, 0, b"a"), (105, 1, 0, b"b"), (110, 1, 0, b"c"), (105, 1, 0, b"1")]
        writer.write(RecordBatch(sightings=late))
    seen = rows(path, "SELECT seen_ns, CAST(raw AS TEXT) FROM sighting JOIN message m ON m.id = message")
    assert seen == [
        (105, "b"),
        (106, "1"),
        (110, "0"),
        (111, "1"),
        (112, "2"),
        (113, "a"),
        (114, "c"),
        (200, "200"),
    ]
    # The first sighting of a message is the earliest, whenever it came here.
    assert rows(path, "SELECT first_ns FROM message WHERE raw = CAST('1' AS BLOB)") == [(106,)]


def test_what_was_heard_long_ago_is_stored_again(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, known=2)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, b"often"), (111, 1, 0, b"once")]))
        for number in range(8):
            writer.write(RecordBatch(sightings=[(120 + number, 1, 0, b"%d" % (number // 2)), (140, 1, 0, b"often")]))
        assert writer.write(RecordBatch(sightings=[(200, 1, 0, b"once"), (201, 1, 0, b"often")])).messages == 1
    assert rows(path, "SELECT count(*) FROM message WHERE raw = CAST('once' AS BLOB)") == [(2,)]
    assert rows(path, "SELECT count(*) FROM message WHERE raw = CAST('often' AS BLOB)") == [(1,)]


def test_the_next_run_knows_what_was_heard_last_and_counts_anew(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, update()), (111, 1, 0, node())]))
        writer.finish(120)
    with closing(opened(path, 300)) as writer:
        assert writer.started_ns == 300
        sightings = [(310, 1, 0, node()), (311, 1, 0, node()), (312, 1, 0, channel())]
        assert writer.write(RecordBatch(opened=[FIRST], sightings=sightings)).messages == 2
    assert rows(path, "SELECT count(*) FROM message") == [(3,)]
    assert rows(path, "SELECT message, session FROM sighting") == [(1, 1), (2, 1), (2, 2), (2, 2), (3, 2)]


def test_what_was_heard_last_is_read_back_from_all_segments(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, segment_bytes=1)) as writer:  # a file a batch
        for number in range(5):
            writer.write(RecordBatch(opened=[FIRST] * (not number), sightings=[(110 + number, 1, 0, b"%d" % number)]))
        writer.finish(200)
    assert len(segments_of(path)) == 6
    with closing(opened(path, 300, known=2)) as writer:  # of each generation
        again = [(310 + at, 1, 0, b"%d" % number) for at, number in enumerate((4, 3, 2, 0))]
        assert writer.write(RecordBatch(opened=[FIRST], sightings=again)).messages == 4
    last = segments_of(path)[-1][1]
    firsts = rows(last, "SELECT CAST(raw AS TEXT), first_ns FROM message")
    assert sorted(firsts) == [("0", 313), ("2", 112), ("3", 113), ("4", 114)]


def test_without_bodies_hashes_say_what_was_heard(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, raw=False, types=[258])) as writer:
        sightings = [(110, 1, 0, update()), (111, 1, 0, update())]
        assert writer.write(RecordBatch(opened=[FIRST], sightings=sightings)).messages == 1
    digest = hashlib.sha256(update()).digest()
    assert rows(path, "SELECT type, hash, content_hash, raw FROM message") == [
        (258, digest, content_hash(update()), None)
    ]
    assert rows(path, "SELECT value FROM meta WHERE key IN ('raw', 'types') ORDER BY key") == [(0,), ("258",)]
    with closing(opened(path, 300)) as writer:
        assert writer.write(RecordBatch(opened=[FIRST], sightings=[(310, 1, 0, update()), (311, 1, 0, node())]))
        assert [*module.messages_of(path, 258)] == []
        assert [*module.messages_of(path, 257)] == [node()]
    assert rows(path, "SELECT raw FROM message") == [(None,), (node(),)]


def test_a_run_without_an_end_is_found(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    writer = opened(path)
    writer.write(RecordBatch(opened=[FIRST, SECOND], sightings=[(110, 1, 0, update())], closed=[(2, 112, "went")]))
    writer.close()  # as if it had been killed: nobody said that it was the end
    opened(path, 400).close()
    assert rows(path, "SELECT * FROM gap") == [(112, 400, None, None, "killed", None)]
    assert rows(path, "SELECT closed_ns, why FROM session") == [(112, "killed"), (112, "went")]
    # One that was killed before it heard anything, and a wall's clock that was put back.
    with closing(opened(path, 7)) as writer:
        assert writer.started_ns == 401
        writer.finish(500)
    opened(path, 600).close()
    assert rows(path, "SELECT from_ns, to_ns, why FROM gap")[1:] == [
        (400, 401, "killed"),
        (500, 600, "not running"),
    ]


def test_segments_by_size(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, segment_bytes=120_000)) as writer:
        begun = writer.write(RecordBatch(opened=[FIRST, SECOND], sightings=[(110, 1, 0, update())])).size
        many = [(1000 + number, 1, 0, update(number << 40)) for number in range(200)]
        done = writer.write(RecordBatch(sightings=many))
        assert done.messages == 200
        assert done.segment == tmp_path / "seen.2.db"
        assert done.size > begun
        # What was heard in another segment is new in this one, and not new.
        last = writer.write(RecordBatch(sightings=[(2000, 2, 0, update())], closed=[(2, 2001, "went")]))
        assert last.messages == 0
        writer.finish(3000)
    assert segments_of(path) == [(1, path), (2, tmp_path / "seen.2.db")]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["seen.2.db", "seen.db", "seen.db.lock"]
    assert rows(path, "SELECT closed_ns, why FROM session") == [(1199, "goes on in the next segment")] * 2
    second = tmp_path / "seen.2.db"
    assert rows(second, "SELECT peer, connected_ns, closed_ns, why FROM session") == [
        (1, 100, 3000, "the recording ended"),
        (2, 101, 2001, "went"),
    ]
    # First it was heard in the other file: so nobody was the first to say it here.
    assert rows(second, "SELECT raw, first_ns FROM message") == [(update(), 110)]
    assert rows(second, "SELECT seen_ns, session, message FROM sighting") == [(2000, 2, 1)]
    assert rows(second, "SELECT * FROM delay") == []
    assert rows(second, "SELECT * FROM gap") == []
    # The next run goes on in the last one.
    with closing(opened(path, 4000)) as writer:
        assert writer.segment == second
        assert writer.size > path.stat().st_size
    assert rows(second, "SELECT * FROM gap") == [(3000, 4000, None, None, "not running", None)]


def test_segments_by_day(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, 150, segment_ns=100)) as writer:
        assert writer.write(RecordBatch(opened=[FIRST], sightings=[(199, 1, 0, b"a")])).segment == path
        assert writer.write(RecordBatch(clocks=[(201, 201)])).segment == path
        assert writer.write(RecordBatch(sightings=[(203, 1, 0, b"b")])).segment == tmp_path / "seen.2.db"
        assert writer.write(RecordBatch(sightings=[(299, 1, 0, b"c")])).segment == tmp_path / "seen.2.db"
        assert writer.write(RecordBatch(sightings=[(555, 1, 0, b"d")])).segment == tmp_path / "seen.3.db"


def test_names_of_segments(tmp_path: Path) -> None:
    path = tmp_path / "se.en.db"
    assert segment_path(path, 12) == tmp_path / "se.en.12.db"
    assert segments_of(path) == []
    for name in ("se.en.10.db", "se.en.2.db", "se.en.1.db", "se.en.x.db", "seXen.3.db", "se.en.db"):
        (tmp_path / name).touch()
    assert [number for number, _ in segments_of(path)] == [1, 2, 10]
    assert segments_of(tmp_path / "nowhere" / "seen.db") == []


@pytest.mark.parametrize("make", [channel, update, node])
def test_what_is_said_again_has_the_same_content(make: Any) -> None:
    raw = make()
    again = raw[:2] + bytes(64) + raw[66:]
    if make is channel:
        again = raw[:2] + bytes(256) + raw[258:]
    else:
        again = make(timestamp=NOW + 60)
        assert again != raw
    assert content_hash(again) == content_hash(raw)
    changes: dict[Any, dict[str, Any]] = {
        channel: {"second": 2},
        update: {"fee_base_msat": 77},
        node: {"alias": b"other".ljust(32)},
    }
    assert content_hash(make(**changes[make])) != content_hash(raw)
    assert content_hash(raw[:60]) is None


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer, pytest.raises(StoreError, match=r"seen\.db: SQLite says: NOT NULL"):
        wrong: Any = None
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, update())], rtts=[(wrong, 1, 5)]))
    assert rows(path, "SELECT * FROM sighting") == []
    # The lock is free again.
    opened(path).close()


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE recipe(name)")


def graph(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA application_id = 0x54524C47")


def newer(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path)) as file:
        file.execute("PRAGMA user_version = 9")


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_bytes(b"hello " * 100), "no SQLite file, and so no record"),
    "foreign": (foreign, "an SQLite file of another program, and no record"),
    "graph": (graph, "an SQLite file of another program, and no record"),
    "newer": (newer, "of schema 9, made by a newer triolight; this one reads up to 2"),
    "folder": (lambda path: path.mkdir(), "it cannot be opened"),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("name", ["seen.db", "seen.2.db"])
def test_what_is_no_record_is_refused_and_left_as_it_is(kind: str, name: str, tmp_path: Path) -> None:
    make, why = WRONG[kind]
    path, wrong = tmp_path / "seen.db", tmp_path / name
    opened(path).close()  # which is there, if its second segment is wrong
    wrong.unlink(missing_ok=True)
    make(wrong)
    before = wrong.read_bytes() if wrong.is_file() else b""
    with pytest.raises(StoreError, match=why) as caught:
        opened(path)
    assert str(caught.value).startswith(f"{wrong}: ")
    assert (wrong.read_bytes() if wrong.is_file() else b"") == before
    # The lock is free again.
    wrong.rmdir() if wrong.is_dir() else wrong.unlink()
    opened(path).close()


def test_an_earlier_segment_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path, segment_bytes=1)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, update())]))
    path.write_text("a letter")
    with pytest.raises(StoreError, match=r"seen\.db: no SQLite file, and so no record"):
        opened(path)
    path.unlink()  # taken away
    opened(path).close()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be written: .*seen\.db\.lock: No such file"):
        opened(tmp_path / "nowhere" / "seen.db")


def test_a_folder_for_reading_only() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "seen.db"
        opened(path).close()
        with without_rights(path.parent), pytest.raises(StoreError, match=r"seen\.db\.lock: Permission denied"):
            opened(path)
        path.with_name("seen.db.lock").chmod(0o666)
        with (
            without_rights(path.parent),
            pytest.raises(StoreError, match=r"seen\.db: it cannot be written: the file or its folder"),
        ):
            opened(path)
        opened(path).close()


def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "seen.db"
    large = [(200 + number, 1, 0, update(number << 40)) for number in range(2000)]
    small = replace(module.SCHEMA, statements=(*module.SCHEMA.statements, "PRAGMA max_page_count = 40"))
    monkeypatch.setattr(module, "SCHEMA", small)
    with closing(opened(path)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, update())]))
        with pytest.raises(StoreError, match=r"seen\.db: the disk is full"):
            writer.write(RecordBatch(sightings=large))
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    with closing(opened(path)) as writer:  # there is room again
        writer.write(RecordBatch(opened=[FIRST], sightings=[*large, (120, 1, 0, node())]))
    assert rows(path, "SELECT count(*), min(id), max(id) FROM message") == [(2002, 1, 2002)]


def test_a_damaged_record_is_said_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    with closing(opened(path)) as writer:
        writer.write(RecordBatch(opened=[FIRST], sightings=[(110, 1, 0, update())]))
        writer.finish(120)
    with closing(sqlite3.connect(path)) as file:
        file.execute("DROP TABLE gap")
    before = rows(path, "SELECT * FROM sighting")
    with pytest.raises(StoreError, match=r"seen\.db: SQLite says: no such table: gap"):
        opened(path)
    assert rows(path, "SELECT * FROM sighting") == before
    data = bytearray(path.read_bytes())
    data[100:4000] = b"\x5a" * 3900
    path.write_bytes(data)
    with pytest.raises(StoreError, match=r"seen\.db: (the file is damaged|SQLite says)"):
        opened(path)
    assert path.read_bytes() == data
    # The lock is free again.
    path.unlink()
    opened(path).close()
