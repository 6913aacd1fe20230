"""A graph's file: SQLite's schema, its rows, who may write it. Blocking calls, for one thread. Knows no Trio.

What is stored are the messages as they came, signatures and all, and what a chain said of a channel; nothing is stored
that can be read from them. One process writes, held to it by a lock on a file beside it; others may read meanwhile.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from triolight.chains import chain_name
from triolight.errors import TriolightError
from triolight.gossip.formats.items import About, Capacity, Checked, Item, Signed, Spent
from triolight.text import printable, system_words
from triolight.wire import ShortChannelId

APPLICATION_ID: Final = 0x54524C47
"""TRLG: by it a graph is told from the SQLite files of other programs."""
VERSION: Final = 1
OLDEST_SQLITE: Final = (3, 37, 0)
"""The first with STRICT tables."""
BUSY_SECONDS: Final = 5.0
"""For readers of other processes to be done with what they are at."""
MAX_BLOCK: Final = 1 << 23
"""SQLite's integers have a sign, so that no short_channel_id of this block or a later one fits."""
SIGNATURES: Final = 1
OUTPUT: Final = 2

_SCHEMA: Final = (
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE channel(scid INTEGER PRIMARY KEY, capacity_sat INTEGER, received INTEGER NOT NULL,
       spent_height INTEGER, verified INTEGER NOT NULL, announcement BLOB NOT NULL) STRICT""",
    """CREATE TABLE channel_update(scid INTEGER NOT NULL, direction INTEGER NOT NULL, message BLOB NOT NULL,
       PRIMARY KEY(scid, direction)) STRICT, WITHOUT ROWID""",
    "CREATE TABLE node(id BLOB PRIMARY KEY, announcement BLOB NOT NULL) STRICT, WITHOUT ROWID",
)
_ALL_CHANNELS: Final = """SELECT c.scid, c.capacity_sat, c.received, c.spent_height, c.verified, c.announcement,
  one.message, other.message FROM channel c
  LEFT JOIN channel_update one ON one.scid = c.scid AND one.direction = 0
  LEFT JOIN channel_update other ON other.scid = c.scid AND other.direction = 1
  WHERE c.scid > ? ORDER BY c.scid LIMIT ?"""


class StoreError(TriolightError):
    """A graph's file that cannot be read or written. Says which, and why."""


@dataclass(frozen=True, slots=True)
class Schema:
    """What a file is made of, and what makes it of an older one."""

    version: int = VERSION
    statements: Sequence[str] = _SCHEMA
    migrations: Mapping[int, Sequence[str]] = field(default_factory=dict[int, Sequence[str]])
    """By the version that they start from, each to the next one."""


SCHEMA: Final = Schema()


class ChannelRow(NamedTuple):
    """A channel as it is stored, both its updates beside it."""

    scid: int
    capacity_sat: int | None
    received: int
    spent_height: int | None
    verified: int
    announcement: bytes
    update_1: bytes | None
    update_2: bytes | None


@dataclass(slots=True)
class Batch:
    """Rows to be written and keys of those that go, in one transaction."""

    channels: list[tuple[int, int | None, int, int | None, int, bytes]] = field(default_factory=list[Any])
    updates: list[tuple[int, int, bytes]] = field(default_factory=list[Any])
    nodes: list[tuple[bytes, bytes]] = field(default_factory=list[Any])
    gone_channels: list[int] = field(default_factory=list[int])
    gone_updates: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    gone_nodes: list[bytes] = field(default_factory=list[bytes])

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in self.__slots__)


class GraphDatabase:
    """An open file that this process alone writes. All calls from one thread at a time."""

    def __init__(self, path: Path, chain_hash: bytes, made_by: str, created: int, schema: Schema = SCHEMA) -> None:
        """Makes the file if it is missing. StoreError if it is another's, of another chain, newer, or taken."""
        _check_sqlite()
        self.path: Final = path
        self._lock = _locked(path)
        try:
            self._connection = _connected(path, "rwc")
            try:
                with _words(path):
                    self._prepare(chain_hash, made_by, created, schema)
            except BaseException:
                self._connection.close()
                raise
        except BaseException:
            os.close(self._lock)
            raise

    def _prepare(self, chain_hash: bytes, made_by: str, created: int, schema: Schema) -> None:
        run = self._connection.execute
        empty = not run("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and not _pragma(self._connection, "application_id"):
            run("PRAGMA auto_vacuum=INCREMENTAL")
            run("PRAGMA journal_mode=WAL")
            run("BEGIN IMMEDIATE")
            for statement in schema.statements:
                run(statement)
            meta = (("chain_hash", chain_hash), ("created", created), ("by", made_by))
            self._connection.executemany("INSERT INTO meta VALUES(?, ?)", meta)
            run(f"PRAGMA application_id={APPLICATION_ID}")
            run(f"PRAGMA user_version={schema.version}")
            run("COMMIT")
        version = _check(self._connection, self.path, schema.version)
        run("PRAGMA journal_mode=WAL")
        run("PRAGMA synchronous=NORMAL")
        if version < schema.version:
            self._migrate(version, schema)
        known = _chain_of(self._connection)
        if known != chain_hash:
            raise StoreError(f"{self.path}: a graph of {chain_name(known)}, not of {chain_name(chain_hash)}")

    def _migrate(self, version: int, schema: Schema) -> None:
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for step in range(version, schema.version):
                if step not in schema.migrations:
                    raise StoreError(f"{self.path}: of schema {version}, which this version no longer reads")
                for statement in schema.migrations[step]:
                    run(statement)
            run(f"PRAGMA user_version={schema.version}")
            run("COMMIT")
        except BaseException:
            run("ROLLBACK")
            raise

    def channels(self, behind: int, most: int) -> list[ChannelRow]:
        """So many channels by their ids, from behind this one on."""
        with _words(self.path):
            return _channels(self._connection, behind, most)

    def nodes(self, behind: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """So many nodes by their ids, from behind this one on: id and announcement."""
        with _words(self.path):
            return _nodes(self._connection, behind, most)

    def keys(self) -> tuple[list[int], list[bytes]]:
        """The ids of all channels and all nodes."""
        with _words(self.path):
            scids = self._connection.execute("SELECT scid FROM channel").fetchall()
            nodes = self._connection.execute("SELECT id FROM node").fetchall()
            return [one for (one,) in scids], [one for (one,) in nodes]

    def write(self, batch: Batch) -> None:
        """All of it or nothing. What is there already is replaced."""
        many = self._connection.executemany
        with _words(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                many("DELETE FROM channel_update WHERE scid = ?", ((one,) for one in batch.gone_channels))
                many("DELETE FROM channel WHERE scid = ?", ((one,) for one in batch.gone_channels))
                many("DELETE FROM channel_update WHERE scid = ? AND direction = ?", batch.gone_updates)
                many("DELETE FROM node WHERE id = ?", ((one,) for one in batch.gone_nodes))
                # Ordered, so that each page of the file is written once.
                many("INSERT OR REPLACE INTO channel VALUES(?, ?, ?, ?, ?, ?)", sorted(batch.channels))
                many("INSERT OR REPLACE INTO channel_update VALUES(?, ?, ?)", sorted(batch.updates))
                many("INSERT OR REPLACE INTO node VALUES(?, ?)", sorted(batch.nodes))
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled it back already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Whatever was written is in the file itself then, and others may have it."""
        try:
            with suppress(sqlite3.Error):  # a reader is at it: it stays in the file beside, where it is as safe
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self._connection.close()
        finally:
            os.close(self._lock)


def read_items(path: Path) -> Iterator[Item]:
    """What is in a graph's file, whoever else writes it: for reading alone. StoreError if it is none."""
    _check_sqlite()
    connection = _opened_for_reading(path)
    try:
        with _words(path):
            _check(connection, path, VERSION)
            connection.execute("BEGIN")  # one moment of it, whatever is written meanwhile
            yield About(_chain_of(connection), version=_pragma(connection, "user_version"))
            behind = -1
            while rows := _channels(connection, behind, ROWS_AT_ONCE):
                for row in rows:
                    yield from _items_of(row)
                behind = rows[-1].scid
            last = b""
            while nodes := _nodes(connection, last, ROWS_AT_ONCE):
                for _, announcement in nodes:
                    yield Signed(0, announcement)
                last = nodes[-1][0]
    finally:
        connection.close()


ROWS_AT_ONCE: Final = 1000
"""Of a file that is read: so many rows are held."""


def _items_of(row: ChannelRow) -> Iterator[Item]:
    scid = ShortChannelId(row.scid)
    yield Signed(0, row.announcement)
    if row.capacity_sat is not None:
        yield Capacity(0, scid, row.capacity_sat)
    if row.spent_height is not None:
        yield Spent(0, scid, row.spent_height)
    yield Checked(scid, "output" if row.verified == OUTPUT else "signatures")
    for update in (row.update_1, row.update_2):
        if update is not None:
            yield Signed(0, update)


def _channels(connection: sqlite3.Connection, behind: int, most: int) -> list[ChannelRow]:
    return [ChannelRow(*row) for row in connection.execute(_ALL_CHANNELS, (behind, most))]


def _nodes(connection: sqlite3.Connection, behind: bytes, most: int) -> list[tuple[bytes, bytes]]:
    return connection.execute(
        "SELECT id, announcement FROM node WHERE id > ? ORDER BY id LIMIT ?", (behind, most)
    ).fetchall()


def _check_sqlite() -> None:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        needed = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"this Python has SQLite {sqlite3.sqlite_version}, and graphs need {needed}")


def _check(connection: sqlite3.Connection, path: Path, newest: int) -> int:
    """The version of its schema. StoreError if the file is none of ours, or newer."""
    application = _pragma(connection, "application_id")
    if application != APPLICATION_ID:
        tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        what = "an SQLite file of another program" if tables or application else "an empty SQLite file"
        raise StoreError(f"{path}: {what}, and no graph")
    version = _pragma(connection, "user_version")
    if version > newest:
        raise StoreError(f"{path}: of schema {version}, made by a newer triolight; this one reads up to {newest}")
    return version


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def _chain_of(connection: sqlite3.Connection) -> bytes:
    row = connection.execute("SELECT value FROM meta WHERE key = 'chain_hash'").fetchone()
    if row is None or not isinstance(row[0], bytes):
        raise sqlite3.DatabaseError("it does not say of which chain it is")
    return row[0]


def _connected(path: Path, mode: str) -> sqlite3.Connection:
    with _words(path):
        return sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECONDS,
        )


def _opened_for_reading(path: Path) -> sqlite3.Connection:
    """Beside a writer, if there is one. Where the folder cannot be written, only a file that nobody has open."""
    if not path.exists():
        raise StoreError(f"{path}: there is no such file")
    if path.is_dir():
        raise StoreError(f"{path}: {_PLAIN['unable to open database file']}")
    for mode in ("ro", "ro&immutable=1"):
        connection = _connected(path, mode)
        try:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.OperationalError as error:
            connection.close()
            beside = path.with_name(f"{path.name}-wal")
            if mode != "ro" or beside.exists():
                raise StoreError(f"{path}: {error}") from None
        except sqlite3.Error as error:
            connection.close()
            raise StoreError(f"{path}: {_plain(error)}") from None
        else:
            return connection
    raise StoreError(f"{path}: cannot be read")


def _locked(path: Path) -> int:
    """The lock of a file, for as long as the number that it gives is open."""
    lock = path.with_name(f"{path.name}.lock")
    try:
        number = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {lock}: {system_words(error)}") from None
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise StoreError(f"{path}: another process writes it; one at a time can ({lock} is locked)") from None
    except OSError as error:
        os.close(number)
        raise StoreError(f"{path}: cannot be locked: {system_words(error)}") from None
    return number


@contextmanager
def _words(path: Path) -> Generator[None]:
    """Around calls of SQLite: its errors become a StoreError that names the file."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {_plain(error)}") from None


_PLAIN: Final[Mapping[str, str]] = {
    "file is not a database": "no SQLite file, and so no graph",
    "database disk image is malformed": "the file is damaged",
    "database or disk is full": "the disk is full",
    "attempt to write a readonly database": "it cannot be written: the file or its folder is for reading only",
    "unable to open database file": "it cannot be opened: there is no such folder, or it is no file",
    "database is locked": "another program holds it",
    "disk I/O error": "the disk does not take it (an I/O error)",
}


def _plain(error: sqlite3.Error) -> str:
    return _PLAIN.get(str(error)) or f"SQLite says: {printable(str(error), 200)}"
