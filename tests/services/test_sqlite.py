"""Files of SQLite: whose they are, who writes, and that a transaction is whole. A graph's file has the rest in use."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from triolight.services.sqlite import (
    Lock,
    Schema,
    StoreError,
    check_sqlite,
    open_for_reading,
    open_for_writing,
)

LETTERS = Schema(
    "letter",
    0x11223344,
    1,
    (
        "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "CREATE TABLE word(number INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT",
    ),
)


def test_what_is_written_is_read_and_a_reader_sees_one_moment(tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    with closing(open_for_writing(path, LETTERS, (("by", "a test"),))) as file:
        with file.transaction():
            file.many("INSERT INTO word VALUES(?, ?)", ((1, "one"), (2, "two")))
        assert file.pragma("application_id") == 0x11223344
        with open_for_reading(path, LETTERS) as reading:
            assert reading.one("SELECT value FROM meta WHERE key = ?", ("by",)) == "a test"
            file.run("DELETE FROM word WHERE number = 1")
            assert reading.one("SELECT count(*) FROM word") == 2
            assert reading.one("SELECT word FROM word WHERE number = 9") is None
        assert file.run("SELECT * FROM word").fetchall() == [(2, "two")]
    # What stands beside a file that is written is gone with its writer.
    assert [one.name for one in tmp_path.iterdir()] == ["letters.db"]
    with closing(open_for_writing(path, LETTERS, (("by", "another"),))) as file:
        assert file.one("SELECT value FROM meta") == "a test"


def test_a_transaction_is_whole_or_nothing(tmp_path: Path) -> None:
    with closing(open_for_writing(tmp_path / "letters.db", LETTERS, ())) as file:
        with pytest.raises(StoreError, match=r"letters\.db: SQLite says: NOT NULL"), file.words(), file.transaction():
            file.many("INSERT INTO word VALUES(?, ?)", ((1, "one"), (2, None)))
        assert file.one("SELECT count(*) FROM word") == 0


def test_a_file_of_another_kind_is_refused_in_its_words(tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    open_for_writing(path, LETTERS, ()).close()
    stamps = replace(LETTERS, what="stamp", application_id=5)
    with pytest.raises(StoreError, match="an SQLite file of another program, and no stamp"):
        open_for_writing(path, stamps, ())
    with pytest.raises(StoreError, match="and no stamp"), open_for_reading(path, stamps):
        pass
    path.write_text("Dear reader, " * 50)
    with pytest.raises(StoreError, match="no SQLite file, and so no letter"), open_for_reading(path, LETTERS):
        pass


def test_a_lock_is_one_writers(tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    lock = Lock(path)
    with pytest.raises(StoreError, match=r"another process writes it; .*letters\.db\.lock is locked"):
        Lock(path)
    lock.release()
    Lock(path).release()


def test_an_sqlite_that_is_too_old_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 36, 9))
    with pytest.raises(StoreError, match=r"and letters need 3\.37\.0"):
        check_sqlite("letter")
