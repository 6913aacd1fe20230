"""A record's file: who said what when, as tables, and what writes it. Blocking calls, for one thread. Knows no Trio.

Each message stands in it once, as its bytes; each sighting of it is a row of two dozen bytes. Nothing is verified, and
nothing is left out in silence: what is known to be lost is a row of ``gap``. A record may go on in further files, its
segments; each of them is whole by itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias

from triolight.gossip.formats.places import problem, type_of
from triolight.services.sqlite import Lock, Schema, SqliteFile, open_for_writing

__all__ = ["RECORD_TABLES", "Column", "RecordBatch", "RecordWriter", "SessionFacts", "Table", "Written", "segments_of"]

VERSION: Final = 1
KNOWN: Final = 1 << 17
"""Hashes in each of two generations: with both, some hours of all that mainnet says, in 50 MB. One that has fallen out
is stored again."""
PUSHED: Final = 0
ANSWER: Final = 1
HISTORY: Final = 2
NOT_RUNNING: Final = "not running"
KILLED: Final = "killed"
HELD: Final = "held"
UNRECORDED: Final = "not recorded"


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
            Column("first_ns", _NS, "`seen_ns` of its first sighting in this file"),
            Column(
                "type",
                _NS,
                "its type, as it was sent: 256 channel_announcement, 257 node_announcement, 258 channel_update",
            ),
            Column("hash", "BLOB NOT NULL", "SHA256 of `raw`"),
            Column(
                "content_hash",
                "BLOB",
                "SHA256 of `raw` without its signatures and its timestamp: what is said "
                "again, and nothing new, has the same one. NULL: cut short",
            ),
            Column("raw", "BLOB NOT NULL", "as it came, the two bytes of the type first; not verified"),
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
                f"the disk was behind, so that peers were read later than they spoke. `{UNRECORDED}`: so many "
                "were read from the peer and did not reach the recorder: they could not be decoded, or it ended "
                "before it had room",
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
        ),
    ),
    Table(
        "dial",
        "Each dial of a crawl, and what came of it.",
        (
            Column("at_ns", _NS, "when it began"),
            Column("node_id", "BLOB NOT NULL", "33 bytes"),
            Column("address", "TEXT NOT NULL", "host:port"),
            Column("outcome", "TEXT NOT NULL", "reached, or the code of the reason why not"),
            Column("took_ms", "INTEGER", "until then"),
            Column("init", "BLOB", "its Init, as on the wire"),
            Column("rtt_ms", "REAL", "of one ping"),
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
)

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


@dataclass(slots=True)
class RecordBatch:
    """What is written in one transaction. Sessions are meant by their numbers."""

    opened: list[SessionFacts] = field(default_factory=list[SessionFacts])
    sightings: list[Sighting] = field(default_factory=list[Sighting])
    closed: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])
    gaps: list[tuple[int, int, int | None, int | None, str]] = field(default_factory=list[Any])
    rtts: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    clocks: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    dials: list[tuple[int, bytes, str, str, int, bytes, float | None]] = field(default_factory=list[Any])

    def __len__(self) -> int:
        return sum(len(getattr(self, name)) for name in self.__slots__)


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
        segment_bytes: int | None = None,
        segment_ns: int | None = None,
        known: int = KNOWN,
    ) -> None:
        """Makes the record if it is missing, else goes on in its last segment.

        `segment_bytes`, `segment_ns`: another one is begun when one has become so large, and where such a span of time
        since 1970 is over. StoreError if it is another's, newer, or taken.
        """
        self.path: Final = path
        self._made_by: Final = made_by
        self._segment_bytes: Final = segment_bytes
        self._segment_ns: Final = segment_ns
        self._hashes: Final = _Hashes(known)
        self._sessions: dict[int, tuple[SessionFacts, int]] = {}
        """Those that are open, and their ids in the segment."""
        self._lock: Final = Lock(path)
        try:
            numbered = segments_of(path)
            self._number, self.segment = numbered[-1] if numbered else (1, path)
            self._before = sum(one.stat().st_size for _, one in numbered[:-1])
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
            if last >= 0:
                gap = (last, begins, None, None, KILLED if killed else NOT_RUNNING)
                file.run("INSERT INTO gap VALUES(?, ?, ?, ?, ?)", gap)
            file.run("UPDATE session SET closed_ns = ?, why = ? WHERE closed_ns IS NULL", (last, KILLED))
            file.run("INSERT OR REPLACE INTO meta VALUES('open', ?)", (begins,))
        self._begin_segment(begins)
        recent = file.run("SELECT id, hash FROM message ORDER BY id DESC LIMIT ?", (self._hashes.most,))
        for number, digest in recent:
            self._hashes.load(digest, number | self._number << SEGMENT_SHIFT)
        return begins

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
        """All of it or nothing."""
        many = self._file.many
        with self._file.words():
            with self._file.transaction():
                for facts in batch.opened:
                    self._sessions[facts.number] = facts, self._insert_session(facts)
                heard = self._sight(batch.sightings)
                gaps = ((*gap[:2], self._id_of(gap[2]), *gap[3:]) for gap in batch.gaps)
                many("INSERT INTO gap VALUES(?, ?, ?, ?, ?)", gaps)
                many("INSERT INTO rtt VALUES(?, ?, ?)", ((at, self._id_of(one), rtt) for at, one, rtt in batch.rtts))
                many("INSERT OR REPLACE INTO clock VALUES(?, ?)", batch.clocks)
                many("INSERT INTO dial VALUES(?, ?, ?, ?, ?, ?, ?)", batch.dials)
                ends = ((at, why, self._id_of(number)) for number, at, why in batch.closed)
                many("UPDATE session SET closed_ns = ?, why = ? WHERE id = ?", ends)
            for number, _, _ in batch.closed:
                del self._sessions[number]
            if self._is_full():
                self._next_segment()
            return Written(heard, self.size, self.segment)

    def dials(self) -> list[tuple[bytes, int, bool, int]]:
        """Of each node that this segment has dialled: its id, when it was last, whether it was reached then, and how
        often it was not since it last was."""
        found: dict[bytes, tuple[bytes, int, bool, int]] = {}
        with self._file.words():
            for at_ns, node_id, outcome in self._file.run("SELECT at_ns, node_id, outcome FROM dial ORDER BY at_ns"):
                reached = outcome == "reached"
                before = found.get(node_id)
                failures = 0 if reached else 1 + (0 if before is None else before[3])
                found[node_id] = node_id, at_ns, reached, failures
        return list(found.values())

    def messages_of(self, type_: int) -> Iterator[bytes]:
        """All of this type in this segment."""
        with self._file.words():
            for (raw,) in self._file.run("SELECT raw FROM message WHERE type = ? ORDER BY id", (type_,)):
                yield raw

    def _insert_session(self, facts: SessionFacts) -> int:
        file = self._file
        file.run("INSERT OR IGNORE INTO peer(node_id) VALUES(?)", (facts.node_id,))
        peer = file.one("SELECT id FROM peer WHERE node_id = ?", (facts.node_id,))
        row = (peer, facts.address, int(facts.outbound), facts.connected_ns, facts.init)
        statement = "INSERT INTO session(peer, address, outbound, connected_ns, init) VALUES(?, ?, ?, ?, ?)"
        return file.run(statement, row).lastrowid or 0

    def _id_of(self, number: int | None) -> int | None:
        return None if number is None else self._sessions[number][1]

    def _sight(self, sightings: list[Sighting]) -> int:
        """How many of their messages this run had not heard before."""
        hashes, segment, last = self._hashes, self._number << SEGMENT_SHIFT, self._last
        messages: list[tuple[int, int, int, bytes, bytes | None, bytes]] = []
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
            known = hashes.find(digest)
            if known >= segment:
                message = known - segment
                if seen < last:
                    earlier.append((seen, message, seen))
            else:
                message, self._next_id = self._next_id, self._next_id + 1
                hashes.put(digest, message | segment, heard=known >= 0)
                messages.append((message, seen, type_of(raw), digest, content_hash(raw), raw))
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
        self._end(ends, "goes on in the next segment")
        self._file.close()
        self._before += self.segment.stat().st_size
        self._number += 1
        self.segment = segment_path(self.path, self._number)
        self._file = self._open(ends)
        with self._file.transaction():
            self._file.run("INSERT OR REPLACE INTO meta VALUES('open', ?)", (ends,))
            self._sessions = {
                number: (facts, self._insert_session(facts)) for number, (facts, _) in self._sessions.items()
            }
        self._begin_segment(ends)

    def _end(self, ended_ns: int, why: str) -> None:
        with self._file.transaction():
            self._file.run("UPDATE session SET closed_ns = ?, why = ? WHERE closed_ns IS NULL", (ended_ns, why))
            self._file.run("DELETE FROM meta WHERE key = 'open'")
            self._file.run("INSERT OR REPLACE INTO meta VALUES('ended_ns', ?)", (ended_ns,))

    def finish(self, ended_ns: int) -> None:
        """The record ends as it should."""
        with self._file.words():
            self._end(max(ended_ns, self._last), "the recording ended")

    def close(self) -> None:
        """Whatever was written is in the files themselves then, and others may go on with them."""
        try:
            self._file.close()
        finally:
            self._lock.release()


SEGMENT_SHIFT: Final = 40
"""The bits of a message's id, in what is remembered of it."""
_HEARD: Final = 1 << 62


class _Hashes:
    """The messages that were heard last: in two generations, of which the older one goes when the newer is full."""

    __slots__ = ("_most", "_newer", "_older", "heard")

    def __init__(self, most: int) -> None:
        self._most: Final = most
        self._newer: dict[bytes, int] = {}
        self._older: dict[bytes, int] = {}
        self.heard = 0
        """Different ones, since this run began."""

    @property
    def most(self) -> int:
        return self._most

    def load(self, digest: bytes, number: int) -> None:
        """One that a run before has heard."""
        self._older.setdefault(digest, number)

    def find(self, digest: bytes) -> int:
        """What was put; -1 if it is not known. It counts as heard."""
        found = self._newer.get(digest, -1)
        if found >= 0:
            return found & ~_HEARD
        found = self._older.pop(digest, -1)
        if found >= 0:
            self.put(digest, found & ~_HEARD, heard=bool(found & _HEARD))
            return found & ~_HEARD
        return -1

    def put(self, digest: bytes, number: int, *, heard: bool) -> None:
        """Remembers it. `heard`: before, in this run."""
        self.heard += not heard
        if len(self._newer) >= self._most:
            self._older, self._newer = self._newer, {}
        self._newer[digest] = number | _HEARD


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
