"""A record's file: who said what when, as tables, and what writes it. Blocking calls, for one thread. Knows no Trio.

Each message stands in it once, as its bytes; each sighting of it is a row of two dozen bytes. Nothing is verified, and
nothing is left out in silence: what is known to be lost is a row of ``gap``. A record may go on in further files, its
segments; each of them is whole by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from triolight.gossip.formats.places import SIGNED, problem, type_of
from triolight.services.shares import Shares, WorkerFacts, WorkerKey
from triolight.services.sqlite import Lock, Schema, SqliteFile, open_for_reading, open_for_writing

__all__ = ["RECORD_TABLES", "Column", "RecordBatch", "RecordWriter", "SessionFacts", "Table", "Written", "segments_of"]

VERSION: Final = 2
KNOWN: Final = 1 << 17
"""Hashes in each of two generations: with both, some hours of all that mainnet says, in 50 MB. One that has fallen out
is stored again. A run begins with those that the one before has heard last."""
PUSHED: Final = 0
ANSWER: Final = 1
HISTORY: Final = 2
NOT_RUNNING: Final = "not running"
KILLED: Final = "killed"
HELD: Final = "held"
DROPPED: Final = "dropped"
UNRECORDED: Final = "not recorded"
ELSEWHERE: Final = "in another record"
REACHED: Final = "reached"
BROKEN_OFF: Final = "broken off"


class Column(NamedTuple):
    """Of a table: its name, SQLite's type and what that is restricted to, and what it says."""

    name: str
    type: str
    words: str


class Table(NamedTuple):
    """Of a record."""

    name: str
    words: str
    columns: Sequence[Column]

    @property
    def statement(self) -> str:
        """What makes it."""
        inner = ", ".join(f"{one.name} {one.type}" for one in self.columns)
        return f"CREATE TABLE {self.name}({inner}) STRICT"


_NS: Final = "INTEGER NOT NULL"
RECORD_TABLES: Final = (
    Table(
        "message",
        "Each message once. One that came again after some hours in which nobody said it may be stored again: its "
        "`hash` is what it is known by, also from one file to another.",
        (
            Column("id", "INTEGER PRIMARY KEY", "of this file alone"),
            Column(
                "first_ns",
                _NS,
                "`seen_ns` of its first sighting; in an earlier file, if it was heard there not long before",
            ),
            Column(
                "type",
                _NS,
                "its type, as it was sent: 256 channel_announcement, 257 node_announcement, 258 channel_update",
            ),
            Column("hash", "BLOB NOT NULL", "SHA256 of the message as it came, the two bytes of the type first"),
            Column(
                "content_hash",
                "BLOB",
                "the same without its signatures and its timestamp: what is said "
                "again, and nothing new, has the same one. NULL: cut short",
            ),
            Column("raw", "BLOB", "the message itself, not verified. NULL: only hashes were wanted"),
        ),
    ),
    Table(
        "peer",
        "Each node that was connected.",
        (
            Column("id", "INTEGER PRIMARY KEY", "of this file alone"),
            Column("node_id", "BLOB NOT NULL UNIQUE", "33 bytes"),
        ),
    ),
    Table(
        "session",
        "Each connection with one, as long as it was recorded. One that goes on in the next file has a row there too.",
        (
            Column("id", "INTEGER PRIMARY KEY", "of this file alone"),
            Column("peer", _NS, "of the table peer"),
            Column("address", "TEXT NOT NULL", "where it is, or came from; empty if that is not known"),
            Column("outbound", _NS, "1: we have dialled"),
            Column("connected_ns", _NS, "when its Init was read; when the record began, if it was there before"),
            Column("init", "BLOB", "its Init, as on the wire"),
            Column("closed_ns", "INTEGER", "NULL: it is there, or the recorder was killed and was not started again"),
            Column("why", "TEXT", "the code of the reason, who ended it, and words"),
            Column("worker", "INTEGER", "of the table worker: who has heard it; NULL: no worker of a fleet"),
        ),
    ),
    Table(
        "sighting",
        "Each time that a message was read from a peer, also if the same one has said it before.",
        (
            Column(
                "seen_ns",
                "INTEGER PRIMARY KEY",
                "when its bytes were read from the socket: nanoseconds since 1970 "
                "by the wall's clock at the start and by a monotonic one since; of messages that were read at once, "
                "one more each",
            ),
            Column("session", _NS, "of the table session"),
            Column("message", _NS, "of the table message"),
            Column(
                "asked",
                _NS,
                "0: pushed. 1: while a query of ours for channels was open, for two minutes at the most, so "
                "it may be the answer. 2: it may be history that our filter has asked for: it came in the first "
                "60 s, or 60 s after the last one that was older than the filter, and is not newer than the filter. "
                "What tells how gossip spreads are those with 0",
            ),
        ),
    ),
    Table(
        "gap",
        "What was not recorded.",
        (
            Column("from_ns", _NS, "the last moment of which all is known"),
            Column("to_ns", _NS, "from where on it is again"),
            Column("session", "INTEGER", "of the table session; NULL: of all"),
            Column("lost", "INTEGER", "messages; NULL: unknown"),
            Column(
                "why",
                "TEXT NOT NULL",
                f"`{NOT_RUNNING}`: nobody recorded. `{KILLED}`: the same, and the recorder "
                f"before had no end: what it heard in its last second may be missing. `{HELD}`: nothing is lost, but "
                f"the disk was behind, so that peers were read later than they spoke. `{DROPPED}`: the disk was "
                f"behind, and so many messages of all peers were left out, as was wanted. `{UNRECORDED}`: so many "
                "were read from the peer and did not reach the recorder: they could not be decoded, or it ended "
                f"before it had room. `{ELSEWHERE}`: nothing is lost, but another writer of the fleet has it",
            ),
            Column(
                "worker",
                "INTEGER",
                f"of the table worker: whose; without a session, of all that it has heard. NULL: of no worker alone. "
                f"`{KILLED}`: it had no end; what it had heard and not handed on is missing, until that was noticed",
            ),
        ),
    ),
    Table(
        "rtt",
        "Round trips of pings.",
        (
            Column("at_ns", _NS, "when it was looked at, at most 10 s after the pong"),
            Column("session", _NS, "of the table session"),
            Column("rtt_us", _NS, "microseconds, from the ping's way into the queue to the reading of its pong"),
        ),
    ),
    Table(
        "clock",
        "What the wall's clock said, once a minute: it may be put forward or back, and `seen_ns` is not.",
        (
            Column("seen_ns", "INTEGER PRIMARY KEY", "as of sightings"),
            Column("wall_ns", _NS, "nanoseconds since 1970 by the wall's clock then"),
            Column("worker", "INTEGER", "of the table worker: whose clock; NULL: the recorder's"),
        ),
    ),
    Table(
        "dial",
        "Each dial of a crawl, and what came of it.",
        (
            Column("at_ns", _NS, "when it began"),
            Column("node_id", "BLOB NOT NULL", "33 bytes"),
            Column("address", "TEXT NOT NULL", "host:port"),
            Column(
                "outcome",
                "TEXT NOT NULL",
                f"`{REACHED}`, or the code of the reason why not; `too slow`; `{BROKEN_OFF}`: the crawl was left",
            ),
            Column("took_ms", "INTEGER", "until then"),
            Column("init", "BLOB", "its Init, as on the wire"),
            Column("rtt_ms", "REAL", "of one ping"),
        ),
    ),
    Table(
        "worker",
        "Each life of each worker of a fleet. Times are those of its own machine's clock. None without a fleet.",
        (
            Column("id", "INTEGER PRIMARY KEY", "of this file alone"),
            Column("name", "TEXT NOT NULL", "its id in the fleet"),
            Column("token", "BLOB NOT NULL", "16 bytes, others each time that it begins"),
            Column(
                "seq",
                _NS,
                "its records below this one are done; written in the transaction of what they say, so that nothing "
                "is here twice",
            ),
            Column("last_ns", _NS, "the last moment that it has told of"),
            Column("ended_ns", "INTEGER", "NULL: it is there"),
        ),
    ),
)
"""The tables, in the words of the documentation."""
VIEW: Final = """CREATE VIEW delay(message, type, session, delay_ns) AS
  SELECT m.id, m.type, s.session, s.seen_ns - m.first_ns FROM sighting s JOIN message m ON m.id = s.message
  JOIN sighting f ON f.seen_ns = m.first_ns WHERE s.asked = 0 AND f.asked = 0"""
SCHEMA: Final = Schema(
    "record",
    0x54524C52,  # TRLR
    VERSION,
    ("CREATE TABLE meta(key TEXT PRIMARY KEY, value) WITHOUT ROWID", *(one.statement for one in RECORD_TABLES), VIEW),
    {
        1: (
            *(f"ALTER TABLE {one} ADD COLUMN worker INTEGER" for one in ("session", "gap", "clock")),
            RECORD_TABLES[-1].statement,
        )
    },
)

GAP: Final = "INSERT INTO gap(from_ns, to_ns, session, lost, why, worker) VALUES(?, ?, ?, ?, ?, ?)"

Sighting: TypeAlias = tuple[int, int, int, bytes]
"""When it was read, the session's number, `asked`, the bytes."""


class SessionFacts(NamedTuple):
    """A connection, by a number that no other one of the same run has."""

    number: int
    node_id: bytes
    address: str
    outbound: bool
    connected_ns: int
    init: bytes
    worker: WorkerKey | None = None
    """Who has heard it, in a fleet."""


@dataclass(slots=True)
class RecordBatch:
    """What is written in one transaction. Sessions are meant by their numbers. `worker`: all of it is that worker's."""

    opened: list[SessionFacts] = field(default_factory=list[SessionFacts])
    sightings: list[Sighting] = field(default_factory=list[Sighting])
    closed: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    gaps: list[tuple[int, int, int | None, int | None, str]] = field(default_factory=list[Any])
    rtts: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    clocks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    dials: list[tuple[int, bytes, str, str, int, bytes, float | None]] = field(default_factory=list[Any])
    worker: WorkerFacts | None = None

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in self.__slots__ if name != "worker")


class Written(NamedTuple):
    """What a batch has come to."""

    messages: int
    """Of its messages, those that this run had not heard before."""
    size: int
    """Bytes of all segments."""
    segment: Path
    """Where the next batch goes."""


class RecordWriter:
    """A record that this process alone writes. All calls from one thread at a time."""

    def __init__(
        self,
        path: Path,
        started_ns: int,
        made_by: str = "triolight",
        *,
        types: Iterable[int] = sorted(SIGNED),
        raw: bool = True,
        segment_bytes: int | None = None,
        segment_ns: int | None = None,
        known: int = KNOWN,
        fleet: str | None = None,
    ) -> None:
        """Makes the record if it is missing, else goes on in its last segment.

        `types`, `raw`: what is taken, which `meta` has for readers; without `raw`, of messages only hashes are kept.
        `segment_bytes`, `segment_ns`: another one is begun when one has become so large, and where such a span of time
        since 1970 is over. `fleet`: whose workers have heard what is written; nothing is missed between two of its
        writers. StoreError if it is another's, newer, or taken.
        """
        self.path: Final = path
        self._made_by: Final = made_by
        self._mode: Final = (("types", " ".join(map(str, sorted(types)))), ("raw", int(raw)))
        self._raw: Final = raw
        self._segment_bytes: Final = segment_bytes
        self._segment_ns: Final = segment_ns
        self._hashes: Final = _Hashes(known)
        self.shares: Final = Shares(fleet)
        self._sessions: dict[int, tuple[SessionFacts, int]] = {}
        """Those that are open, and their ids in the segment."""
        self._lock: Final = Lock(path)
        try:
            numbered = segments_of(path)
            self._number, self.segment = numbered[-1] if numbered else (1, path)
            self._earlier = numbered[:-1]
            self._before = sum(one.stat().st_size for _, one in self._earlier)
            self._file = self._open(started_ns)
            try:
                with self._file.words():
                    self.started_ns = self._go_on(started_ns)
            except BaseException:
                self._file.close()
                raise
        except BaseException:
            self._lock.release()
            raise

    def _open(self, created_ns: int) -> SqliteFile:
        meta = (("created_ns", created_ns), ("by", self._made_by), ("segment", self._number))
        return open_for_writing(self.segment, SCHEMA, meta)

    def _go_on(self, started_ns: int) -> int:
        """Behind whatever ended the run before. When this one begins: behind all that is there."""
        file = self._file
        killed = file.one("SELECT value FROM meta WHERE key = 'open'") is not None
        last = self._last_ns()
        begins = max(started_ns, last + 1)
        with file.transaction():
            goes_on = self.shares.begin(file)
            if last >= 0 and not goes_on:
                file.many(GAP, [(last, begins, None, None, KILLED if killed else NOT_RUNNING, None)])
            ends = "UPDATE session SET closed_ns = ?, why = ? WHERE closed_ns IS NULL AND (worker IS NULL OR NOT ?)"
            file.run(ends, (last, KILLED, goes_on))
            self.shares.load(file)
            if self._earlier:
                with open_for_reading(self._earlier[-1][1], SCHEMA) as earlier:
                    self.shares.load_earlier(file, earlier)
            file.many("INSERT OR REPLACE INTO meta VALUES(?, ?)", (("open", begins), *self._mode))
        self._begin_segment(begins)
        self._read_back(self._number, file)
        for number, segment in reversed(self._earlier):
            if self._hashes.room:
                with open_for_reading(segment, SCHEMA) as earlier:
                    self._read_back(number, earlier)
        return begins

    def _read_back(self, segment: int, file: SqliteFile) -> None:
        """What was heard last, the newest first."""
        statement = "SELECT id, first_ns, hash FROM message ORDER BY id DESC LIMIT ?"
        for number, first_ns, digest in file.run(statement, (self._hashes.room,)):
            self._hashes.load(digest, first_ns, number | segment << SEGMENT_SHIFT)

    def _last_ns(self) -> int:
        """The last moment that the segment knows; -1 if it is new."""
        moments = (
            "SELECT max(seen_ns) FROM sighting",
            "SELECT max(seen_ns) FROM clock",
            "SELECT max(to_ns) FROM gap",
            "SELECT max(connected_ns) FROM session",
            "SELECT max(closed_ns) FROM session",
            "SELECT max(at_ns) FROM dial",
            "SELECT value FROM meta WHERE key = 'open'",
            "SELECT value FROM meta WHERE key = 'ended_ns'",
        )
        found = [self._file.one(one) for one in moments]
        return max((one for one in found if isinstance(one, int)), default=-1)

    def _begin_segment(self, begins: int) -> None:
        self._begins = begins
        self._last = self._file.one("SELECT max(seen_ns) FROM sighting")
        self._last = -1 if self._last is None else self._last
        self._next_id: int = (self._file.one("SELECT max(id) FROM message") or 0) + 1

    @property
    def size(self) -> int:
        """Bytes of all segments."""
        return self._before + self._segment_size()

    def _segment_size(self) -> int:
        return self._file.pragma("page_count") * self._file.pragma("page_size")

    def write(self, batch: RecordBatch) -> Written:
        """All of it or nothing. After a StoreError this writer is over; the next one goes on with what is there."""
        many = self._file.many
        with self._file.words():
            with self._file.transaction():
                worker = None if batch.worker is None else self.shares.put(self._file, batch.worker)
                for facts in batch.opened:
                    found = self.shares.take_session(facts.worker, facts.node_id, facts.connected_ns)
                    self._sessions[facts.number] = facts, found or self._insert_session(facts)
                heard = self._sight(batch.sightings)
                many(GAP, ((*gap[:2], self._id_of(gap[2]), *gap[3:], worker) for gap in batch.gaps))
                many("INSERT INTO rtt VALUES(?, ?, ?)", ((at, self._id_of(one), rtt) for at, one, rtt in batch.rtts))
                many("INSERT OR REPLACE INTO clock VALUES(?, ?, ?)", ((*one, worker) for one in batch.clocks))
                many("INSERT INTO dial VALUES(?, ?, ?, ?, ?, ?, ?)", batch.dials)
                ends = ((at, why, self._id_of(number)) for number, at, why in batch.closed)
                many("UPDATE session SET closed_ns = ?, why = ? WHERE id = ?", ends)
                if batch.worker is not None:
                    self.shares.end_sessions(self._file, batch.worker)
            for number, _, _ in batch.closed:
                del self._sessions[number]
            if batch.worker is not None and batch.worker.ended is not None:
                over = batch.worker.key
                self._sessions = {number: one for number, one in self._sessions.items() if one[0].worker != over}
            if self._is_full():
                self._next_segment()
            return Written(heard, self.size, self.segment)

    def _insert_session(self, facts: SessionFacts) -> int:
        file = self._file
        file.run("INSERT OR IGNORE INTO peer(node_id) VALUES(?)", (facts.node_id,))
        peer = file.one("SELECT id FROM peer WHERE node_id = ?", (facts.node_id,))
        worker = self.shares.row_of(facts.worker)
        row = (peer, facts.address, int(facts.outbound), facts.connected_ns, facts.init, worker)
        statement = "INSERT INTO session(peer, address, outbound, connected_ns, init, worker) VALUES(?, ?, ?, ?, ?, ?)"
        return file.run(statement, row).lastrowid or 0

    def _id_of(self, number: int | None) -> int | None:
        return None if number is None else self._sessions[number][1]

    def _sight(self, sightings: list[Sighting]) -> int:
        """How many of their messages this run had not heard before."""
        hashes, segment, last = self._hashes, self._number << SEGMENT_SHIFT, self._last
        messages: list[tuple[int, int, int, bytes, bytes | None, bytes | None]] = []
        rows: list[tuple[int, int, int, int]] = []
        earlier: list[tuple[int, int, int]] = []
        before = hashes.heard
        seen = -1
        # One peer's may come behind a later one of another's: subscribers hear them in turns.
        for arrival, number, asked, raw in sorted(sightings, key=itemgetter(0)):
            seen = max(arrival, seen + 1)
            if seen <= last:
                seen = self._free_from(seen)
            digest = hashlib.sha256(raw).digest()
            first_ns, place = hashes.find(digest)
            if place >= segment:
                message = place - segment
                if seen < first_ns:
                    earlier.append((seen, message, seen))
                    hashes.put(digest, seen, place, heard=True)
            else:
                message, self._next_id = self._next_id, self._next_id + 1
                first_ns = seen if place < 0 else min(seen, first_ns)
                hashes.put(digest, first_ns, message | segment, heard=place >= 0)
                kept = raw if self._raw else None
                messages.append((message, first_ns, type_of(raw), digest, content_hash(raw), kept))
            rows.append((seen, self._sessions[number][1], message, asked))
        self._file.many("INSERT INTO message VALUES(?, ?, ?, ?, ?, ?)", messages)
        self._file.many("INSERT INTO sighting VALUES(?, ?, ?, ?)", rows)
        self._file.many("UPDATE message SET first_ns = ? WHERE id = ? AND first_ns > ?", earlier)
        self._last = max(last, seen)
        return hashes.heard - before

    def _free_from(self, seen: int) -> int:
        """The first moment from this one on that no sighting has."""
        for (taken,) in self._file.run("SELECT seen_ns FROM sighting WHERE seen_ns >= ? ORDER BY seen_ns", (seen,)):
            if taken != seen:
                break
            seen += 1
        return seen

    def _is_full(self) -> bool:
        if self._segment_bytes is not None and self._segment_size() >= self._segment_bytes:
            return True
        span = self._segment_ns
        return span is not None and self._last >= 0 and self._last // span > self._begins // span

    def _next_segment(self) -> None:
        ends = max(self._last, self._begins)
        self._end(ends, "goes on in the next segment", workers=True)
        self._file.close()
        self._before += self.segment.stat().st_size
        self._earlier.append((self._number, self.segment))
        self._number += 1
        self.segment = segment_path(self.path, self._number)
        self._file = self._open(ends)
        with self._file.transaction():
            self._file.many("INSERT OR REPLACE INTO meta VALUES(?, ?)", (("open", ends), *self._mode))
            self.shares.begin(self._file)
            self.shares.carry_over(self._file)
            self._sessions = {
                number: (facts, self._insert_session(facts)) for number, (facts, _) in self._sessions.items()
            }
        self._begin_segment(ends)

    def _end(self, ended_ns: int, why: str, *, workers: bool) -> None:
        """`workers`: their sessions end here too."""
        ends = "UPDATE session SET closed_ns = ?, why = ? WHERE closed_ns IS NULL AND (worker IS NULL OR ?)"
        with self._file.transaction():
            self._file.run(ends, (ended_ns, why, workers))
            self._file.run("DELETE FROM meta WHERE key = 'open'")
            self._file.run("INSERT OR REPLACE INTO meta VALUES('ended_ns', ?)", (ended_ns,))

    def finish(self, ended_ns: int) -> None:
        """The record ends as it should."""
        with self._file.words():
            self._end(max(ended_ns, self._last), "the recording ended", workers=False)

    def close(self) -> None:
        """Whatever was written is in the files themselves then, and others may go on with them."""
        try:
            self._file.close()
        finally:
            self._lock.release()


SEGMENT_SHIFT: Final = 40
"""The bits of a message's id, in its place: which segment has it, and under which id."""
_HEARD: Final = 1 << 62
_PLACE: Final = _HEARD - 1
_FIRST_SHIFT: Final = 64
_UNKNOWN: Final = (-1, -1)


class _Hashes:
    """The messages that were heard last: in two generations, of which the older one goes when the newer is full.

    Of each, in one number: when it was heard first, where it is, and whether this run has heard it.
    """

    __slots__ = ("_most", "_newer", "_older", "heard")

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._newer: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self.heard = 0
        """Different ones, since this run began."""

    @property
    def room(self) -> int:
        """How many more may be loaded."""
        return 2 * self._most - len(self._newer) - len(self._older)

    def load(self, digest: bytes, first_ns: int, place: int) -> None:
        """One that a run before has heard; the newest come first."""
        if digest not in self._newer:
            into = self._newer if len(self._newer) < self._most else self._older
            into.setdefault(digest, first_ns << _FIRST_SHIFT | place)

    def find(self, digest: bytes) -> tuple[int, int]:
        """When it was heard first, and its place; both are -1 if it is not known. It counts as heard."""
        found = self._newer.get(digest, -1)
        if found < 0:
            found = self._older.pop(digest, -1)
            if found < 0:
                return _UNKNOWN
            self._keep(digest, found)
        if not found & _HEARD:
            self.heard += 1
            self._newer[digest] = found | _HEARD
        return found >> _FIRST_SHIFT, found & _PLACE

    def put(self, digest: bytes, first_ns: int, place: int, *, heard: bool) -> None:
        """Remembers it. `heard`: before, in this run."""
        self.heard += not heard
        self._keep(digest, first_ns << _FIRST_SHIFT | place | _HEARD)

    def _keep(self, digest: bytes, value: int) -> None:
        if len(self._newer) >= self._most and digest not in self._newer:
            self._older, self._newer = self._newer, {}
        self._newer[digest] = value


def content_hash(raw: bytes) -> bytes | None:
    """SHA256 of signed gossip without its signatures and its timestamp; None if it is cut short, or none."""
    if problem(raw):
        return None
    parts: tuple[bytes, ...]
    match type_of(raw):
        case 256:
            parts = (raw[:2], raw[258:])
        case 257:
            stamp = 68 + int.from_bytes(raw[66:68], "big")
            parts = (raw[:2], raw[66:stamp], raw[stamp + 4 :])
        case _:
            parts = (raw[:2], raw[66:106], raw[110:])
    return hashlib.sha256(b"".join(parts)).digest()


class Dialled(NamedTuple):
    """What a record knows of a node that was dialled."""

    node_id: bytes
    last_ns: int
    reached: bool
    """The last time."""
    failures: int
    """Since it was reached last."""


def dials_of(path: Path) -> list[Dialled]:
    """All nodes that were dialled and have answered, or have not; a dial that was broken off says neither."""
    found: dict[bytes, Dialled] = {}
    statement = "SELECT at_ns, node_id, outcome FROM dial WHERE outcome != ? ORDER BY at_ns"
    for at_ns, node_id, outcome in _rows_of(path, statement, BROKEN_OFF):
        before = found.get(node_id)
        failures = 0 if outcome == REACHED else 1 + (0 if before is None else before.failures)
        found[node_id] = Dialled(node_id, at_ns, outcome == REACHED, failures)
    return list(found.values())


def messages_of(path: Path, type_: int) -> Iterator[bytes]:
    """All of this type that are kept."""
    statement = "SELECT raw FROM message WHERE type = ? AND raw IS NOT NULL ORDER BY id"
    return (raw for (raw,) in _rows_of(path, statement, type_))


def _rows_of(path: Path, statement: str, *values: Any) -> Iterator[Any]:
    """Of all segments, in their order."""
    for _, segment in segments_of(path):
        with open_for_reading(segment, SCHEMA) as file:
            yield from file.run(statement, values)


def segment_path(path: Path, number: int) -> Path:
    """Of seen.db: seen.db, seen.2.db, seen.3.db."""
    return path if number == 1 else path.with_name(f"{path.stem}.{number}{path.suffix}")


def segments_of(path: Path) -> list[tuple[int, Path]]:
    """The files of a record that are there, and their numbers, in order."""
    return sorted(_segments(path))


def _segments(path: Path) -> Iterator[tuple[int, Path]]:
    if path.exists():
        yield 1, path
    if path.parent.is_dir():
        name = re.compile(re.escape(path.stem) + r"\.([1-9][0-9]{0,8})" + re.escape(path.suffix))
        for one in path.parent.iterdir():
            found = name.fullmatch(one.name)
            if found and int(found[1]) > 1:
                yield int(found[1]), one
