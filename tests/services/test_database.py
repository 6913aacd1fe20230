"""A graph's file: what is refused, and in which words; migrations; readers beside a writer."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.gossip import SCID, channel, node, update
from tests.support.processes import without_rights
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip.formats.items import About, Capacity, Checked, Signed, Spent
from triolight.services import database as module
from triolight.services import sqlite
from triolight.services.database import (
    OUTPUT,
    SIGNATURES,
    VERSION,
    Batch,
    ChannelRow,
    GraphDatabase,
    StoreError,
    read_items,
)
from triolight.services.sqlite import Schema

NEXT = replace(
    module.SCHEMA,
    version=VERSION + 1,
    statements=("CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID",),
    migrations={VERSION: ("ALTER TABLE channel ADD COLUMN more INTEGER", "UPDATE channel SET more = 7")},
)


def opened(path: Path, chain_hash: bytes = REGTEST.chain_hash, schema: Schema = module.SCHEMA) -> GraphDatabase:
    return GraphDatabase(path, chain_hash, "a test", 5, schema)


def a_batch() -> Batch:
    return Batch(
        channels=[(9, None, 5, None, SIGNATURES, b"nine"), (int(SCID), 700, 6, 800, OUTPUT, channel())],
        updates=[(int(SCID), 1, update(direction=1)), (int(SCID), 0, update())],
        nodes=[(b"b" * 33, node(1)), (b"a" * 33, node(0))],
    )


def test_what_is_written_is_there_again(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        database.write(a_batch())
        assert len(a_batch()) == 6
    with closing(opened(path)) as database:
        rows = database.channels(-1, 10)
        assert rows == [
            ChannelRow(9, None, 5, None, SIGNATURES, b"nine", None, None),
            ChannelRow(int(SCID), 700, 6, 800, OUTPUT, channel(), update(), update(direction=1)),
        ]
        assert database.channels(-1, 1) == rows[:1]
        assert database.channels(9, 10) == rows[1:]
        assert database.nodes(b"", 10) == [(b"a" * 33, node(0)), (b"b" * 33, node(1))]
        assert database.nodes(b"a" * 33, 10) == [(b"b" * 33, node(1))]
        assert database.keys() == ([9, int(SCID)], [b"a" * 33, b"b" * 33])
        gone = Batch(gone_channels=[9], gone_updates=[(int(SCID), 0)], gone_nodes=[b"a" * 33])
        database.write(gone)
        assert database.channels(-1, 10) == [rows[1]._replace(update_1=None)]
        database.write(Batch(gone_channels=[int(SCID)], gone_nodes=[b"b" * 33]))
        assert database.keys() == ([], [])
    assert not path.with_name("graph.db-wal").exists()
    # The schema is the documented one: other programs read it.
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA application_id").fetchone() == (0x54524C47,)
        assert other.execute("PRAGMA user_version").fetchone() == (1,)
        assert other.execute("SELECT value FROM meta WHERE key = 'by'").fetchone() == ("a test",)
        assert other.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        assert other.execute("SELECT count(*) FROM channel_update").fetchone() == (0,)


def test_a_batch_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with closing(opened(tmp_path / "graph.db")) as database:
        wrong = a_batch()
        wrong.nodes.append((b"c" * 33, None))  # type: ignore[arg-type]
        with pytest.raises(StoreError, match=r"graph\.db: SQLite says: NOT NULL constraint failed"):
            database.write(wrong)
        assert database.keys() == ([], [])
        database.write(a_batch())


def pages(path: Path) -> tuple[int, int]:
    """All of a file's, and those that are empty."""
    with closing(sqlite3.connect(path)) as other:
        (all_of_them,), (empty,) = (
            other.execute(f"PRAGMA {one}").fetchone() for one in ("page_count", "freelist_count")
        )
    return all_of_them, empty


def channels_and_updates(first: int, last: int, update: bytes = bytes(138)) -> Batch:
    return Batch(
        channels=[(one, None, 5, None, SIGNATURES, bytes(430)) for one in range(first, last)],
        updates=[(one, side, update) for one in range(first, last) for side in (0, 1)],
    )


def test_d17_what_says_more_than_before_takes_its_place_on_the_disk(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        database.write(channels_and_updates(0, 300))
        before, _ = pages(path)
        for number in range(50):
            database.write(channels_and_updates(0, 300, bytes((number,)) * 138))
        assert pages(path)[0] == before


def test_d17_of_what_has_gone_no_more_than_half_stays_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "PAGES_GIVEN_BACK", 10)
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        database.write(channels_and_updates(0, 1000))
        most, _ = pages(path)
        # Of less than half nothing is given back: what comes next is written there.
        database.write(Batch(gone_channels=list(range(400))))
        kept, empty = pages(path)
        assert kept == most
        assert 0.3 < empty / kept <= 0.5
        database.write(channels_and_updates(0, 400))
        assert pages(path)[0] < 1.05 * most
        most, _ = pages(path)
        sizes: list[int] = []
        for _ in range(15):
            database.write(Batch(gone_channels=list(range(950))))
            sizes.append(pages(path)[0])
        assert sizes[:3] == [most - 10, most - 20, most - 30], "a little at a time"
        left, empty = pages(path)
        assert left < most / 3
        assert 2 * empty <= left
        assert [row.scid for row in database.channels(-1, 100)] == list(range(950, 1000))
    assert path.stat().st_size == left * 8192


def foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE bookmarks(url)")


def record(path: Path) -> None:
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA application_id = 0x54524C52")


def newer(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 9")


def elsewhere(path: Path) -> None:
    opened(path, BITCOIN.chain_hash).close()


def of_no_chain(path: Path) -> None:
    opened(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("DELETE FROM meta")
        other.commit()


def damaged(path: Path) -> None:
    opened(path).close()
    data = bytearray(path.read_bytes())
    data[100:4000] = os.urandom(1) * 3900
    path.write_bytes(data)


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_bytes(b"hello " * 100), "no SQLite file, and so no graph"),
    "foreign": (foreign, "an SQLite file of another program, and no graph"),
    "record": (record, "an SQLite file of another program, and no graph"),
    "newer": (newer, "of schema 9, made by a newer triolight; this one reads up to 1"),
    "of no chain": (of_no_chain, "it does not say of which chain it is"),
    "damaged": (damaged, "the file is damaged|SQLite says"),
    "folder": (lambda path: path.mkdir(), "it cannot be opened"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_graph_is_refused_and_left_as_it_is(kind: str, tmp_path: Path) -> None:
    make, why = WRONG[kind]
    path = tmp_path / "graph.db"
    make(path)
    before = path.read_bytes() if path.is_file() else b""
    with pytest.raises(StoreError, match=why) as caught:
        opened(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert (path.read_bytes() if path.is_file() else b"") == before
    with pytest.raises(StoreError, match=why):
        list(read_items(path))
    # The lock is free again.
    path.rmdir() if path.is_dir() else path.unlink()
    opened(path).close()


def test_a_graph_of_another_chain_is_refused(tmp_path: Path) -> None:
    elsewhere(tmp_path / "graph.db")
    with pytest.raises(StoreError, match="a graph of bitcoin, not of regtest"):
        opened(tmp_path / "graph.db")


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot be written: .*graph\.db\.lock: No such file or directory"):
        opened(tmp_path / "nowhere" / "graph.db")
    with pytest.raises(StoreError, match="there is no such file"):
        list(read_items(tmp_path / "graph.db"))


def test_an_empty_file_is_a_new_graph(tmp_path: Path) -> None:
    (tmp_path / "graph.db").touch()
    with pytest.raises(StoreError, match="an empty SQLite file, and no graph"):
        list(read_items(tmp_path / "graph.db"))
    opened(tmp_path / "graph.db").close()
    assert list(read_items(tmp_path / "graph.db")) == [About(REGTEST.chain_hash, version=VERSION)]


def test_an_older_schema_is_brought_up_to_date_and_then_too_new_for_the_old_program(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        database.write(a_batch())
    opened(path, schema=NEXT).close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA user_version").fetchone() == (VERSION + 1,)
        assert other.execute("SELECT scid, more FROM channel").fetchall() == [(9, 7), (int(SCID), 7)]
    with pytest.raises(StoreError, match=f"of schema {VERSION + 1}, made by a newer triolight"):
        opened(path)


def test_a_migration_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    opened(path).close()
    steps = {1: ("ALTER TABLE channel ADD COLUMN more INTEGER",), 2: ("NONSENSE",)}
    broken = replace(NEXT, version=3, migrations=steps)
    with pytest.raises(StoreError, match="SQLite says"):
        opened(path, schema=broken)
    with pytest.raises(StoreError, match="of schema 1, which this version no longer reads"):
        opened(path, schema=replace(NEXT, version=3, migrations={2: ()}))
    with closing(opened(path)) as database:
        database.write(a_batch())


def test_two_at_once_are_one_too_many(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with (
        closing(opened(path)),
        pytest.raises(
            StoreError, match=r"another process writes it; one at a time can \(.*graph\.db\.lock is locked\)"
        ),
    ):
        opened(path)
    opened(path).close()


def test_readers_beside_a_writer_see_whole_batches(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        empty = list(read_items(path))
        database.write(Batch(channels=a_batch().channels[1:], updates=a_batch().updates, nodes=a_batch().nodes))
        reading = read_items(path)
        assert next(reading) == About(REGTEST.chain_hash, version=VERSION)
        database.write(Batch(gone_channels=[int(SCID)]))
        # What began before goes on as it was.
        assert list(reading) == [
            Signed(0, channel()),
            Capacity(0, SCID, 700),
            Spent(0, SCID, 800),
            Checked(SCID, "output"),
            Signed(0, update()),
            Signed(0, update(direction=1)),
            Signed(0, node(0)),
            Signed(0, node(1)),
        ]
        assert empty == [About(REGTEST.chain_hash, version=VERSION)]


def test_many_rows_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROWS_AT_ONCE", 2)
    path = tmp_path / "graph.db"
    with closing(opened(path)) as database:
        channels: list[tuple[int, int | None, int, int | None, int, bytes]] = [
            (number, None, 5, None, SIGNATURES, channel(number)) for number in range(5)
        ]
        database.write(Batch(channels=channels, nodes=[(bytes([number]), b"x") for number in range(1, 6)]))
    found = [one.raw for one in read_items(path) if isinstance(one, Signed)]
    assert found == [channel(number) for number in range(5)] + [b"x"] * 5


def test_a_full_disk_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    full = replace(module.SCHEMA, statements=(*module.SCHEMA.statements, "PRAGMA max_page_count = 20"))
    with closing(opened(path, schema=full)) as database:
        database.write(a_batch())
        large = Batch(channels=[(number, None, 5, None, SIGNATURES, channel()) for number in range(20, 500)])
        with pytest.raises(StoreError, match=r"graph\.db: the disk is full"):
            database.write(large)
        assert database.keys() == ([9, int(SCID)], [b"a" * 33, b"b" * 33])


def test_a_folder_for_reading_only() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "graph.db"
        with closing(opened(path)) as database:
            database.write(Batch(channels=a_batch().channels[1:]))
        with without_rights(path.parent):
            with pytest.raises(StoreError, match=r"cannot be written: .*graph\.db\.lock: Permission denied"):
                opened(path)
            # It can be read all the same, though there is no room for what readers share with a writer.
            assert Signed(0, channel()) in list(read_items(path))
        path.with_name("graph.db.lock").chmod(0o666)
        with (
            without_rights(path.parent),
            pytest.raises(StoreError, match="it cannot be written: the file or its folder"),
        ):
            opened(path)


def test_an_old_sqlite_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 31, 1))
    for call in (lambda: opened(tmp_path / "graph.db"), lambda: list(read_items(tmp_path / "graph.db"))):
        with pytest.raises(StoreError, match=r"graphs need 3\.37\.0"):
            call()
