"""A record, read back: as tables for other programs, and in numbers. Blocking calls. Writes no record.

What a message says stands in columns beside its bytes, under the BOLT's names. Several segments are one: the ids of
each go on behind those of the one before. Rows are read one by one, however many there are.
"""

from __future__ import annotations

import csv
import heapq
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

from triolight.address import read_addresses, readable
from triolight.as_json import to_json
from triolight.errors import DecodeError
from triolight.gossip.fields import display_alias
from triolight.messages import BOLT, ChannelAnnouncement, ChannelUpdate, Message, NodeAnnouncement
from triolight.services.record import ANSWER, HISTORY, PUSHED, SCHEMA, segments_of
from triolight.services.shares import with_workers
from triolight.services.sqlite import SqliteFile, StoreError, open_for_reading
from triolight.wire import Integer

__all__ = ["EXPORT_TABLES", "ExportColumn", "ExportTable", "RecordStats", "export_record", "record_stats"]

Row: TypeAlias = Sequence[Any]


class ExportColumn(NamedTuple):
    """Of a table that is exported."""

    name: str
    kind: str
    """``int64``, ``uint64``, ``bool``, ``float``, ``text`` or ``bytes``."""
    words: str


class Shift(NamedTuple):
    """What is added to the ids of one segment, so that no two of a record are the same."""

    message: int = 0
    session: int = 0


class ExportTable(NamedTuple):
    """What it is called, what it holds, and where its rows come from."""

    name: str
    words: str
    columns: Sequence[ExportColumn]
    statement: str
    made: Callable[[Row, Shift], Row]


_WORDS: Final = {
    "short_channel_id": "as 100x1x0",
    "extension": "hex: what stands behind the fields that BOLT 7 has",
    "timestamp": "seconds since 1970, as its maker says: no time of receipt",
    "alias": "hex, as on the wire",
}


def _fields() -> Iterator[ExportColumn]:
    """Whatever the three messages declare, each once."""
    found: set[str] = set()
    for cls in (ChannelAnnouncement, NodeAnnouncement, ChannelUpdate):
        for one in cls.__fields__:
            if one.name not in found:
                found.add(one.name)
                kind = "uint64" if type(one.codec) is Integer else "text"  # a short_channel_id is text
                yield ExportColumn(one.name, kind, _WORDS.get(one.name, "as in BOLT 7"))


_FIELDS: Final = tuple(_fields())
_MESSAGE_COLUMNS: Final = (
    ExportColumn("id", "int64", "of this export alone"),
    ExportColumn("first_ns", "int64", "`seen_ns` of its first sighting, as far as the recorder knew it"),
    ExportColumn("type", "int64", "its type, as it was sent"),
    ExportColumn("name", "text", "the type's name; empty if it cannot be decoded"),
    ExportColumn("size", "int64", "bytes, the type's two included"),
    ExportColumn("hash", "bytes", "SHA256 of all of it, as it came"),
    ExportColumn("content_hash", "bytes", "the same without its signatures and its timestamp"),
    *_FIELDS,
    ExportColumn("direction", "int64", "of a channel_update: 0, from node 1; 1, from node 2"),
    ExportColumn("disabled", "bool", "of a channel_update: whether it closes the direction for now"),
    ExportColumn("alias_text", "text", "of a node_announcement: its alias, as it can be shown"),
    ExportColumn("addresses_text", "text", "of a node_announcement: host:port, with blanks between"),
    ExportColumn("raw", "bytes", "all of it, as it came; empty if only hashes were wanted"),
)


def _message(row: Row, shift: Shift) -> Row:
    number, first_ns, type_, digest, content, raw = row
    values: Mapping[str, Any] = {}
    name = ""
    more: Row = (None, None, None, None)
    if raw is None:  # only hashes were wanted
        cls = BOLT.get(type_)
        name = "" if cls is None else cls.name
        return (
            number + shift.message,
            first_ns,
            type_,
            name,
            None,
            digest,
            content,
            *(None for _ in _FIELDS),
            *more,
            raw,
        )
    try:
        message = BOLT.decode(raw)
    except DecodeError:
        pass
    else:
        if isinstance(message, Message):
            name, values = message.name, to_json(message)
        if isinstance(message, ChannelUpdate):
            more = message.channel_flags & 1, bool(message.channel_flags & 2), None, None
        elif isinstance(message, NodeAnnouncement):
            more = None, None, display_alias(message.alias), _addresses(message)
    fields = (values.get(one.name) for one in _FIELDS)
    return (number + shift.message, first_ns, type_, name, len(raw), digest, content, *fields, *more, raw)


def _addresses(announcement: NodeAnnouncement) -> str:
    try:
        return " ".join(map(readable, read_addresses(announcement.addresses)))
    except DecodeError:
        return ""


def _sighting(row: Row, shift: Shift) -> Row:
    return row[0], row[1] + shift.session, row[2] + shift.message, row[3]


def _session(row: Row, shift: Shift) -> Row:
    return row[0] + shift.session, *row[1:3], bool(row[3]), *row[4:]


def _as_it_is(row: Row, shift: Shift) -> Row:
    return row


def _session_of(at: int) -> Callable[[Row, Shift], Row]:
    def made(row: Row, shift: Shift) -> Row:
        session = row[at]
        return *row[:at], None if session is None else session + shift.session, *row[at + 1 :]

    return made


EXPORT_TABLES: Final = (
    ExportTable(
        "messages",
        "Each message, and what it says. What was stored twice has one `hash`.",
        _MESSAGE_COLUMNS,
        "SELECT id, first_ns, type, hash, content_hash, raw FROM message ORDER BY id",
        _message,
    ),
    ExportTable(
        "sightings",
        "Each time that one was read from a peer.",
        (
            ExportColumn("seen_ns", "int64", "when: nanoseconds since 1970; no two are the same in a segment"),
            ExportColumn("session", "int64", "`id` of sessions"),
            ExportColumn("message", "int64", "`id` of messages"),
            ExportColumn("asked", "int64", "0 pushed, 1 perhaps an answer, 2 perhaps history"),
        ),
        "SELECT seen_ns, session, message, asked FROM sighting ORDER BY seen_ns",
        _sighting,
    ),
    ExportTable(
        "sessions",
        "Each connection. One that goes on in another segment is there again.",
        (
            ExportColumn("id", "int64", "of this export alone"),
            ExportColumn("node_id", "text", "hex"),
            ExportColumn("address", "text", "where the peer is, or came from"),
            ExportColumn("outbound", "bool", "whether we have dialled"),
            ExportColumn("connected_ns", "int64", "when its Init was read"),
            ExportColumn("init", "bytes", "its Init"),
            ExportColumn("closed_ns", "int64", "when its end was decided"),
            ExportColumn("why", "text", "the reason"),
            ExportColumn("worker", "text", "which worker of a fleet has heard it; empty: none"),
        ),
        "SELECT t.id, lower(hex(p.node_id)), t.address, t.outbound, t.connected_ns, t.init, t.closed_ns, t.why, "
        "{worker} FROM session t JOIN peer p ON p.id = t.peer ORDER BY t.id",
        _session,
    ),
    ExportTable(
        "gaps",
        "What was not recorded.",
        (
            ExportColumn("from_ns", "int64", "the last moment of which all is known"),
            ExportColumn("to_ns", "int64", "from where on it is again"),
            ExportColumn("session", "int64", "`id` of sessions; empty: of all"),
            ExportColumn("lost", "int64", "messages; empty: unknown"),
            ExportColumn("why", "text", "as in the record"),
            ExportColumn("worker", "text", "of all that this one has heard, if there is no session; empty: of all"),
        ),
        "SELECT from_ns, to_ns, session, lost, why, {worker} FROM gap t ORDER BY from_ns, to_ns, rowid",
        _session_of(2),
    ),
    ExportTable(
        "rtts",
        "Round trips of pings.",
        (
            ExportColumn("at_ns", "int64", "when it was looked at"),
            ExportColumn("session", "int64", "`id` of sessions"),
            ExportColumn("rtt_us", "int64", "microseconds"),
        ),
        "SELECT at_ns, session, rtt_us FROM rtt ORDER BY at_ns, session",
        _session_of(1),
    ),
    ExportTable(
        "clocks",
        "What the wall's clock said.",
        (
            ExportColumn("seen_ns", "int64", "as of sightings"),
            ExportColumn("wall_ns", "int64", "nanoseconds since 1970 by the wall's clock then"),
            ExportColumn("worker", "text", "whose clock; empty: the recorder's"),
        ),
        "SELECT seen_ns, wall_ns, {worker} FROM clock t ORDER BY seen_ns",
        _as_it_is,
    ),
    ExportTable(
        "dials",
        "Dials of a crawl.",
        (
            ExportColumn("at_ns", "int64", "when it began"),
            ExportColumn("node_id", "text", "hex"),
            ExportColumn("address", "text", "host:port"),
            ExportColumn("outcome", "text", "reached, or why not"),
            ExportColumn("took_ms", "int64", "until then"),
            ExportColumn("init", "bytes", "its Init"),
            ExportColumn("rtt_ms", "float", "of one ping"),
        ),
        "SELECT at_ns, lower(hex(node_id)), address, outcome, took_ms, init, rtt_ms FROM dial ORDER BY at_ns, rowid",
        _as_it_is,
    ),
)
"""The tables of an export, in the words of the documentation."""


class TableFile(Protocol):
    """What rows go to."""

    def write(self, rows: Iterable[Row]) -> int:
        """All of them; how many there were."""
        ...


MakeTable: TypeAlias = Callable[[Path, Sequence[ExportColumn]], AbstractContextManager[TableFile]]
"""Makes a file for a table of these columns; it is whole when the context is left."""


class _CsvTable:
    def __init__(self, writer: Any, columns: Sequence[ExportColumn]) -> None:
        self._writer: Final = writer
        self._bytes: Final = [at for at, one in enumerate(columns) if one.kind == "bytes"]
        self._bools: Final = [at for at, one in enumerate(columns) if one.kind == "bool"]

    def write(self, rows: Iterable[Row]) -> int:
        count = 0
        for row in rows:
            count += 1
            shown = [*row]
            for at in self._bytes:
                shown[at] = None if row[at] is None else row[at].hex()
            for at in self._bools:
                shown[at] = None if row[at] is None else int(row[at])
            self._writer.writerow(shown)
        return count


@contextmanager
def csv_table(path: Path, columns: Sequence[ExportColumn]) -> Generator[TableFile]:
    """Bytes in hex, yes and no as 1 and 0, and what is not there is empty."""
    with path.open("x", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(one.name for one in columns)
        yield _CsvTable(writer, columns)


def export_record(path: Path, folder: Path, formats: Mapping[str, MakeTable]) -> dict[str, int]:
    """Each table becomes a file in the folder for each format: ``messages.csv``. How many rows each table has.

    What is there is replaced when all is written. StoreError for what is no record; OSError for the folder.
    """
    folder.mkdir(exist_ok=True)
    beside: dict[Path, Path] = {}
    try:
        with ExitStack() as stack:
            open_tables: dict[str, list[TableFile]] = {one.name: [] for one in EXPORT_TABLES}
            for suffix, make in formats.items():
                for table in EXPORT_TABLES:
                    final = folder / f"{table.name}.{suffix}"
                    beside[final] = final.with_name(f".{final.name}.{os.getpid()}")
                    open_tables[table.name].append(stack.enter_context(make(beside[final], table.columns)))
            counts = _export(path, open_tables)
        for final, made in beside.items():
            made.replace(final)
    except BaseException:
        for made in beside.values():
            with suppress(OSError):
                made.unlink()
        raise
    return counts


def _export(path: Path, files: Mapping[str, Sequence[TableFile]]) -> dict[str, int]:
    counts = {one.name: 0 for one in EXPORT_TABLES}
    shift = Shift()
    for segment in segments_to_read(path):
        with open_for_reading(segment, SCHEMA) as file:
            for table in EXPORT_TABLES:
                # Read once for each format: rows are many, and held by nobody.
                written = [one.write(_rows(file, table, shift)) for one in files[table.name]]
                counts[table.name] += max(written, default=0)
            shift = Shift(shift.message + _largest(file, "message"), shift.session + _largest(file, "session"))
    return counts


def _rows(file: SqliteFile, table: ExportTable, shift: Shift) -> Iterator[Row]:
    return (table.made(row, shift) for row in file.run(with_workers(file, table.statement)))


def _largest(file: SqliteFile, table: str) -> int:
    return file.one(f"SELECT max(id) FROM {table}") or 0


def segments_to_read(path: Path) -> list[Path]:
    """Its files, in order. StoreError if there is none."""
    found = [segment for _, segment in segments_of(path)]
    if not found:
        raise StoreError(f"{path}: there is no such file")
    return found


@dataclass(slots=True)
class PeerShare:
    """What one node has said."""

    sightings: int = 0
    first: int = 0
    """Of what was pushed, how much it was the first to say."""
    sessions: int = 0


@dataclass(slots=True)
class RecordStats:
    """A record in numbers."""

    segments: int = 0
    bytes: int = 0
    messages: int = 0
    """Different ones."""
    sightings: int = 0
    pushed: int = 0
    answers: int = 0
    history: int = 0
    sessions: int = 0
    open_sessions: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    """Of the first and the last sighting."""
    by_type: dict[str, int] = field(default_factory=dict[str, int])
    """Sightings."""
    peers: dict[str, PeerShare] = field(default_factory=dict[str, PeerShare])
    """By node id, in hex."""
    gaps: dict[str, int] = field(default_factory=dict[str, int])
    """By why; how many."""
    lost: int = 0
    """Messages that are known not to be in it."""
    unrecorded_ns: int = 0
    """How long nobody recorded."""


def record_stats(path: Path) -> RecordStats:
    """One pass over all of it. StoreError for what is no record."""
    found = RecordStats()
    with ExitStack() as stack:
        files = [stack.enter_context(open_for_reading(one, SCHEMA)) for one in segments_to_read(path)]
        found.segments = len(files)
        for file in files:
            _add(found, file)
        # In the order of SQLite, which sorts in a file of its own.
        hashes = heapq.merge(*(file.run("SELECT DISTINCT hash FROM message ORDER BY hash") for file in files))
        last: Any = None
        for row in hashes:
            found.messages += row != last
            last = row
    return found


def _add(found: RecordStats, file: SqliteFile) -> None:
    found.bytes += file.pragma("page_count") * file.pragma("page_size")
    first, last = file.run("SELECT min(seen_ns), max(seen_ns) FROM sighting").fetchone()
    if first is not None:
        found.first_ns = first if found.first_ns is None else min(first, found.first_ns)
        found.last_ns = last if found.last_ns is None else max(last, found.last_ns)
    statement = """SELECT m.type, s.asked, count(*) FROM sighting s JOIN message m ON m.id = s.message
                   GROUP BY m.type, s.asked"""
    for type_, asked, count in file.run(statement):
        cls = BOLT.get(type_)
        name = str(type_) if cls is None else cls.name
        found.by_type[name] = found.by_type.get(name, 0) + count
        found.sightings += count
        found.pushed += count * (asked == PUSHED)
        found.answers += count * (asked == ANSWER)
        found.history += count * (asked == HISTORY)
    statement = """SELECT lower(hex(p.node_id)), count(*), sum(closed_ns IS NULL) FROM session s
                   JOIN peer p ON p.id = s.peer GROUP BY p.id"""
    for node_id, count, still in file.run(statement):
        found.peers.setdefault(node_id, PeerShare()).sessions += count
        found.sessions += count
        found.open_sessions += still
    statement = """SELECT lower(hex(p.node_id)), count(*), sum(s.asked = 0 AND s.seen_ns = m.first_ns)
                   FROM sighting s JOIN message m ON m.id = s.message JOIN session c ON c.id = s.session
                   JOIN peer p ON p.id = c.peer GROUP BY p.id"""
    for node_id, count, firsts in file.run(statement):
        share = found.peers[node_id]
        share.sightings += count
        share.first += firsts
    statement = with_workers(file, "SELECT from_ns, to_ns, session IS NULL AND {all}, lost, why FROM gap t")
    for from_ns, to_ns, all_, lost, why in file.run(statement):
        found.gaps[why] = found.gaps.get(why, 0) + 1
        found.lost += lost or 0
        if all_ and lost is None:
            found.unrecorded_ns += to_ns - from_ns
