"""Files of SQLite that are ours: whose, of which version, who writes. The only importer of sqlite3. Knows no Trio.

One process writes a file, held to it by a lock on a file beside it; others may read meanwhile. What is in one is said
by its `Schema`, and known to who has the schema. All calls block; those of one file come from one thread at a time.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from triolight.errors import TriolightError
from triolight.text import printable, system_words

OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""
BUSY_SECONDS: Final = 5.0
"""For readers of other processes to be done with what they are at."""
CACHE_KIB: Final = 1000
"""Of pages that a writer keeps in memory; SQLite's usual two thousand bring nothing, for what is read is read once."""
PAGE_BYTES: Final = 8192
"""Of a new file: of SQLite's usual half of that, more stays empty behind rows of half a kilobyte."""
PAGES_GIVEN_BACK: Final = 1000
"""In one go: 8 MB, so that whoever writes next hardly waits."""

Rows: TypeAlias = Iterable[Sequence[Any]]


class StoreError(TriolightError):
    """A file of ours that cannot be read or written: a graph's or a record's. Says which, and why."""


class TakenError(StoreError):
    """Another process writes it, and may be done one day."""


class DamagedError(sqlite3.DatabaseError):
    """What is in a file cannot be."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file is made of, and what makes it of an older one."""

    what: str
    """In a word: graph."""
    application_id: int
    """By it the file is told from the SQLite files of other programs."""
    version: int
    statements: Sequence[str]
    migrations: Mapping[int, Sequence[str]] = field(default_factory=dict[int, Sequence[str]])
    """By the version that they start from, each to the next one."""


class SqliteFile:
    """An open file, for its one writer or for a reader."""

    def __init__(self, path: Path, schema: Schema, connection: sqlite3.Connection) -> None:
        self.path: Final = path
        self.schema: Final = schema
        self._connection: Final = connection

    @contextmanager
    def words(self) -> Generator[None]:
        """Around calls: SQLite's errors become a StoreError that names the file."""
        with _words(self.path, self.schema.what):
            yield

    def run(self, statement: str, values: Sequence[Any] = ()) -> sqlite3.Cursor:
        """One statement; its rows are the cursor's."""
        return self._connection.execute(statement, values)

    def one(self, statement: str, values: Sequence[Any] = ()) -> Any:
        """The first value of its first row; None if there is no row."""
        row = self._connection.execute(statement, values).fetchone()
        return None if row is None else row[0]

    def many(self, statement: str, rows: Rows) -> None:
        """A statement for each row."""
        self._connection.executemany(statement, rows)

    def pragma(self, name: str) -> int:
        """A number of SQLite's own about the file."""
        return _pragma(self._connection, name)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All of it or nothing."""
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):  # a full disk has rolled it back already
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def moment(self) -> Generator[None]:
        """What is read inside is of one moment, whatever others write meanwhile."""
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")

    def give_back(self) -> None:
        """The disk gets pages back if more than half of the file is empty: some of them, in one call. Those that are
        left are written anew before the file grows."""
        if 2 * self.pragma("freelist_count") > self.pragma("page_count"):
            # It gives back a page in each step, and of a statement without columns `execute` makes one step alone.
            self._connection.executescript(f"PRAGMA incremental_vacuum({PAGES_GIVEN_BACK})")

    def close(self) -> None:
        """What a writer has written is in the file itself then, and not beside it."""
        with suppress(sqlite3.Error):  # a reader is at it: it stays in the file beside, where it is as safe
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._connection.close()

    def let_go(self) -> None:
        """By who has only read it."""
        self._connection.close()


class Lock:
    """Who has it writes. One for each path, in a file beside it."""

    def __init__(self, path: Path) -> None:
        """StoreError if another process has it."""
        lock = path.with_name(f"{path.name}.lock")
        try:
            number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StoreError(f"{path}: cannot be written: {lock}: {system_words(error)}") from None
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(number)
            raise TakenError(f"{path}: another process writes it; one at a time can ({lock} is locked)") from None
        except OSError as error:
            os.close(number)
            raise StoreError(f"{path}: cannot be locked: {system_words(error)}") from None
        self._number: Final = number

    def release(self) -> None:
        """Others may have it."""
        os.close(self._number)


def open_for_writing(path: Path, schema: Schema, first: Rows) -> SqliteFile:
    """By who has the lock. Makes the file if it is missing, with `first` in its table ``meta``.

    StoreError if it is another's, or newer.
    """
    check_sqlite(schema.what)
    connection = _connected(path, "rwc", schema.what)
    file = SqliteFile(path, schema, connection)
    try:
        with file.words():
            _prepare(file, connection, first)
    except BaseException:
        connection.close()
        raise
    return file


def _prepare(file: SqliteFile, connection: sqlite3.Connection, first: Rows) -> None:
    run, schema = connection.execute, file.schema
    empty = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty and not _pragma(connection, "application_id"):
        run(f"PRAGMA page_size={PAGE_BYTES}")
        run("PRAGMA auto_vacuum=INCREMENTAL")
        run("PRAGMA journal_mode=WAL")
        run("BEGIN IMMEDIATE")
        for statement in schema.statements:
            run(statement)
        connection.executemany("INSERT INTO meta VALUES(?, ?)", first)
        run(f"PRAGMA application_id={schema.application_id}")
        run(f"PRAGMA user_version={schema.version}")
        run("COMMIT")
    version = _check(connection, file.path, schema)
    run("PRAGMA journal_mode=WAL")
    run("PRAGMA synchronous=NORMAL")
    run(f"PRAGMA cache_size=-{CACHE_KIB}")
    if version < schema.version:
        with file.transaction():
            for step in range(version, schema.version):
                if step not in schema.migrations:
                    raise StoreError(f"{file.path}: of schema {version}, which this version no longer reads")
                for statement in schema.migrations[step]:
                    run(statement)
            run(f"PRAGMA user_version={schema.version}")


@contextmanager
def open_for_reading(path: Path, schema: Schema) -> Generator[SqliteFile]:
    """One moment of it, whoever else writes it. StoreError if it is none of ours, or cannot be read."""
    file = open_beside(path, schema)
    try:
        with file.words(), file.moment():
            yield file
    finally:
        file.let_go()


def open_beside(path: Path, schema: Schema) -> SqliteFile:
    """For reading alone, again and again, whoever else writes it. StoreError as `open_for_reading`."""
    check_sqlite(schema.what)
    connection = _opened_for_reading(path, schema.what)
    file = SqliteFile(path, schema, connection)
    try:
        with file.words():
            _check(connection, path, schema)
    except BaseException:
        connection.close()
        raise
    return file


def check_sqlite(what: str) -> None:
    """StoreError if the system's SQLite is too old."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}, and {what}s need {needed}")


def _check(connection: sqlite3.Connection, path: Path, schema: Schema) -> int:
    """The version of its schema. StoreError if the file is none of ours, or newer."""
    application = _pragma(connection, "application_id")
    if application != schema.application_id:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        what = "an SQLite file of another program" if tables or application else "an empty SQLite file"
        raise StoreError(f"{path}: {what}, and no {schema.what}")
    version = _pragma(connection, "user_version")
    if version > schema.version:
        raise StoreError(
            f"{path}: of schema {version}, made by a newer triolight; this one reads up to {schema.version}"
        )
    return version


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _connected(path: Path, mode: str, what: str) -> sqlite3.Connection:
    with _words(path, what):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECONDS,
        )


def _opened_for_reading(path: Path, what: str) -> sqlite3.Connection:
    """Beside a writer, if there is one. Where the folder cannot be written, only a file that nobody has open."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file")
    if path.is_dir():
        raise StoreError(f"{path}: {_PLAIN['unable to open database file']}")
    for mode in ("ro", "ro&immutable=1"):
        connection = _connected(path, mode, what)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            beside = path.with_name(f"{path.name}-wal")
            if mode != "ro" or beside.exists():
                raise StoreError(f"{path}: {error}") from None
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"{path}: {_plain(error, what)}") from None
        else:
            return connection
    raise StoreError(f"{path}: cannot be read")


@contextmanager
def _words(path: Path, what: str) -> Generator[None]:
    """Around calls of SQLite: its errors become a StoreError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_plain(error, what)}") from None


_PLAIN: Final[Mapping[str, str]] = {
    "file is not a database": "no SQLite file, and so no {what}",
    "database disk image is malformed": "the file is damaged",
    "database or disk is full": "the disk is full",
    "attempt to write a readonly database": "it cannot be written: the file or its folder is for reading only",
    "unable to open database file": "it cannot be opened: there is no such folder, or it is no file",
    "database is locked": "another program holds it",
    "disk I/O error": "the disk does not take it (an I/O error)",
}


def _plain(error: sqlite3.Error, what: str) -> str:
    return _PLAIN.get(str(error), "").format(what=what) or f"SQLite says: {printable(str(error), 200)}"
