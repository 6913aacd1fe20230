"""A graph's file: its tables and rows. Blocking calls, for one thread. Knows no Trio.

What is stored are the messages as they came, signatures and all, and what a chain said of a channel; nothing is stored
that can be read from them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from triolight.chains import chain_name
from triolight.gossip.formats.items import About, Capacity, Checked, Item, Signed, Spent
from triolight.services.sqlite import (
    DamagedError,
    Lock,
    Schema,
    SqliteFile,
    open_beside,
    open_for_reading,
    open_for_writing,
)
from triolight.services.sqlite import StoreError as StoreError
from triolight.wire import ShortChannelId

VERSION: Final = 1
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


SCHEMA: Final = Schema("graph", 0x54524C47, VERSION, _SCHEMA)  # TRLG


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
        self.path: Final = path
        self._lock: Final = Lock(path)
        try:
            meta = (("chain_hash", chain_hash), ("created", created), ("by", made_by))
            self._file: Final = open_for_writing(path, schema, meta)
            try:
                with self._file.words():
                    known = _chain_of(self._file)
                if known != chain_hash:
                    raise StoreError(f"{path}: a graph of {chain_name(known)}, not of {chain_name(chain_hash)}")
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def channels(self, behind: int, most: int) -> list[ChannelRow]:
        """So many channels by their ids, from behind this one on."""
        with self._file.words():
            return _channels(self._file, behind, most)

    def nodes(self, behind: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """So many nodes by their ids, from behind this one on: id and announcement."""
        with self._file.words():
            return _nodes(self._file, behind, most)

    def keys(self) -> tuple[list[int], list[bytes]]:
        """The ids of all channels and all nodes."""
        with self._file.words():
            scids = self._file.run("SELECT scid FROM channel").fetchall()
            nodes = self._file.run("SELECT id FROM node").fetchall()
            return [one for (one,) in scids], [one for (one,) in nodes]

    def write(self, batch: Batch) -> None:
        """All of it or nothing. What is there already is replaced."""
        many = self._file.many
        with self._file.words(), self._file.transaction():
            many("DELETE FROM channel_update WHERE scid = ?", ((one,) for one in batch.gone_channels))
            many("DELETE FROM channel WHERE scid = ?", ((one,) for one in batch.gone_channels))
            many("DELETE FROM channel_update WHERE scid = ? AND direction = ?", batch.gone_updates)
            many("DELETE FROM node WHERE id = ?", ((one,) for one in batch.gone_nodes))
            # Ordered, so that each page of the file is written once.
            many("INSERT OR REPLACE INTO channel VALUES(?, ?, ?, ?, ?, ?)", sorted(batch.channels))
            many("INSERT OR REPLACE INTO channel_update VALUES(?, ?, ?)", sorted(batch.updates))
            many("INSERT OR REPLACE INTO node VALUES(?, ?)", sorted(batch.nodes))
        if batch.gone_channels or batch.gone_nodes:
            with self._file.words():
                self._file.give_back()

    def close(self) -> None:
        """Whatever was written is in the file itself then, and others may have it."""
        try:
            self._file.close()
        finally:
            self._lock.release()


class GraphReader:
    """An open file that another process may write. All calls from one thread at a time."""

    def __init__(self, path: Path) -> None:
        """StoreError if it is none."""
        self._file: Final = open_beside(path, SCHEMA)
        self._seen = -1
        self._moment: ExitStack | None = None
        try:
            with self._file.words():
                self.chain_hash: Final = _chain_of(self._file)
        except BaseException:
            self._file.let_go()
            raise

    def begin(self) -> bool:
        """Whether anything was written since it was read last; if so, what is read until `end` is of one moment."""
        with self._file.words():
            version = self._file.pragma("data_version")
            if version == self._seen:
                return False
            self._seen = version  # what is written from here on is news, also if this moment has it already
            self._moment = ExitStack()
            self._moment.enter_context(self._file.moment())
            return True

    def end(self) -> None:
        if self._moment is not None:
            self._moment.close()
            self._moment = None

    def channels(self, behind: int, most: int) -> list[ChannelRow]:
        """As `GraphDatabase.channels`."""
        with self._file.words():
            return _channels(self._file, behind, most)

    def nodes(self, behind: bytes, most: int) -> list[tuple[bytes, bytes]]:
        """As `GraphDatabase.nodes`."""
        with self._file.words():
            return _nodes(self._file, behind, most)

    def close(self) -> None:
        self._file.let_go()


def read_items(path: Path) -> Iterator[Item]:
    """What is in a graph's file, whoever else writes it: for reading alone. StoreError if it is none."""
    with open_for_reading(path, SCHEMA) as file:
        yield About(_chain_of(file), version=file.pragma("user_version"))
        behind = -1
        while rows := _channels(file, behind, ROWS_AT_ONCE):
            for row in rows:
                yield from _items_of(row)
            behind = rows[-1].scid
        last = b""
        while nodes := _nodes(file, last, ROWS_AT_ONCE):
            for _, announcement in nodes:
                yield Signed(0, announcement)
            last = nodes[-1][0]


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


def _channels(file: SqliteFile, behind: int, most: int) -> list[ChannelRow]:
    return [ChannelRow(*row) for row in file.run(_ALL_CHANNELS, (behind, most))]


def _nodes(file: SqliteFile, behind: bytes, most: int) -> list[tuple[bytes, bytes]]:
    statement = "SELECT id, announcement FROM node WHERE id > ? ORDER BY id LIMIT ?"
    return file.run(statement, (behind, most)).fetchall()


def _chain_of(file: SqliteFile) -> bytes:
    found = file.one("SELECT value FROM meta WHERE key = 'chain_hash'")
    if not isinstance(found, bytes):
        raise DamagedError("it does not say of which chain it is")
    return found
