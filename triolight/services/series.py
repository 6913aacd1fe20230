"""A record as series of numbers, to be drawn: how gossip spreads, who says it first, how far peers are. Draws nothing.

Delays and round trips are counted in bins whose width grows with them, so that a record of any size fits in memory;
what is said last of each channel and node is held as a graph is.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from triolight.gossip.formats.items import Signed
from triolight.gossip.formats.places import CHANNEL_UPDATE, direction_of, ends_of, node_of, problem, type_of
from triolight.gossip.formats.snapshot import Snapshot
from triolight.messages import BOLT
from triolight.services.reading import segments_to_read
from triolight.services.record import PUSHED, SCHEMA
from triolight.services.shares import with_workers
from triolight.services.sqlite import SqliteFile, open_for_reading

__all__ = ["RecordSeries", "Spread", "record_series"]

BINS_A_DECADE: Final = 20
"""12 % from one to the next."""
MINUTE_NS: Final = 60 * 10**9
LATE_NS: Final = 30 * MINUTE_NS
"""What came first so shortly before the end may still be on its way to others; unless the record is too short."""
REMEMBERED: Final = 1_000_000
"""Channels, directions and nodes of which it is held what they said last: ten times what the main network has."""
AGAIN: Final = ", nothing new"
"""Behind the type of what says again what was said before, with a new timestamp."""


@dataclass(slots=True)
class Spread:
    """Numbers, by bins."""

    bins: Counter[int] = field(default_factory=Counter[int])

    @property
    def count(self) -> int:
        """How many."""
        return self.bins.total()

    def add(self, seconds: float, times: int = 1) -> None:
        """One more; 0 and less is not counted."""
        if seconds > 0:
            self.bins[math.floor(math.log10(seconds) * BINS_A_DECADE)] += times

    def shares(self) -> tuple[list[float], list[float]]:
        """Seconds, and the share of all that is not more: of each bin its upper end."""
        total, seen = self.count, 0
        seconds: list[float] = []
        shares: list[float] = []
        for one, times in sorted(self.bins.items()):
            seen += times
            seconds.append(10 ** ((one + 1) / BINS_A_DECADE))
            shares.append(seen / total)
        return seconds, shares


@dataclass(slots=True)
class RecordSeries:
    """What can be drawn of a record."""

    delays: dict[str, Spread] = field(default_factory=dict[str, Spread])
    """By type: from the first peer that pushed a message to each other one that was there by then."""
    minutes: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    """By type: messages of each minute since 1970 that were pushed, and newer than anything before of their channel,
    direction or node; those that say nothing new by themselves."""
    updates: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    """By short_channel_id: its channel_updates among these, those with news and those without."""
    first: Counter[str] = field(default_factory=Counter[str])
    """By node id in hex: messages that it was the first to push."""
    sightings: Counter[str] = field(default_factory=Counter[str])
    """By node id in hex."""
    rtts: Spread = field(default_factory=Spread)
    outcomes: dict[str, str] = field(default_factory=dict[str, str])
    """By node id in hex: what came of the last dial of a crawl."""
    pauses: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """From when to when, in nanoseconds, nobody recorded."""
    last_ns: int = 0
    """Of the last sighting; 0 without any."""
    graph: Snapshot = field(default_factory=Snapshot)
    """The newest of all that was said, unverified."""


def record_series(path: Path) -> RecordSeries:
    """A few passes over all of it. StoreError for what is no record."""
    found = RecordSeries()
    said = _Said(found)
    segments = segments_to_read(path)
    for number, segment in enumerate(segments, 1):
        with open_for_reading(segment, SCHEMA) as file:
            _add_delays(found, file, last=number == len(segments))
            said.take(file)
            _add(found, file)
    return found


def _name(type_: int) -> str:
    cls = BOLT.get(type_)
    return str(type_) if cls is None else cls.name


def _add_delays(found: RecordSeries, file: SqliteFile, *, last: bool) -> None:
    """Of each message, how long it took to each peer that could have said it first, once a connection."""
    begin, end = file.run("SELECT min(seen_ns), max(seen_ns) FROM sighting").fetchone()
    if begin is None:
        return
    late = end - LATE_NS if last and end - begin > 2 * LATE_NS else end
    # Sightings one after the other, and everything else by its key: no plan of SQLite's may do otherwise.
    statement = """SELECT m.type, min(s.seen_ns) - m.first_ns FROM sighting s CROSS JOIN message m ON m.id = s.message
                   CROSS JOIN sighting f ON f.seen_ns = m.first_ns CROSS JOIN session c ON c.id = s.session
                   WHERE s.asked = 0 AND f.asked = 0 AND s.session != f.session AND c.connected_ns <= m.first_ns
                   AND m.first_ns <= ? GROUP BY m.id, s.session"""
    for type_, delay in file.run(statement, (late,)):
        found.delays.setdefault(_name(type_), Spread()).add(delay / 1e9)


class _Said:
    """What was said last, and so what is news."""

    def __init__(self, found: RecordSeries) -> None:
        self._found: Final = found
        self._latest: Final[dict[tuple[int, bytes, int], tuple[int, bytes]]] = {}
        """By type, channel or node, and direction: timestamp and content. Without bytes, by type and content."""

    def take(self, file: SqliteFile) -> None:
        """All messages of a segment, in the order in which they came."""
        # What came first in an older file has no first sighting here.
        statement = """SELECT m.type, m.raw, m.content_hash, m.first_ns, f.asked FROM message m
                       LEFT JOIN sighting f ON f.seen_ns = m.first_ns ORDER BY m.id"""
        for type_, raw, content, first_ns, asked in file.run(statement):
            minute, pushed = first_ns // MINUTE_NS, asked == PUSHED
            if raw is None:
                self._look_at_hash(type_, content, minute, pushed=pushed)
            elif not problem(raw):
                self._look_at(raw, content, minute, pushed=pushed)
                self._found.graph.take(Signed(0, raw))

    def _look_at_hash(self, type_: int, content: bytes | None, minute: int, *, pushed: bool) -> None:
        """Of a record without bytes: nothing new is what anybody has said before."""
        if content is None:
            return
        again = (type_, content, 0) in self._latest
        if not again and len(self._latest) < REMEMBERED:
            self._latest[type_, content, 0] = 0, content
        if pushed:
            self._found.minutes.setdefault(_name(type_) + (AGAIN if again else ""), Counter())[minute] += 1

    def _look_at(self, raw: bytes, content: bytes, minute: int, *, pushed: bool) -> None:
        type_, direction, stamp = type_of(raw), 0, 0
        match type_:
            case 256:
                whose = ends_of(raw).short_channel_id.to_bytes(8, "big")
            case 257:
                whose, stamp = node_of(raw)
            case _:
                _, short_channel_id, direction, stamp = direction_of(raw)
                whose = short_channel_id.to_bytes(8, "big")
        key = type_, whose, direction
        before = self._latest.get(key)
        if before is not None and stamp <= before[0]:
            return
        if before is not None or len(self._latest) < REMEMBERED:
            self._latest[key] = stamp, content
        if not pushed:
            return
        again = before is not None and before[1] == content
        name = _name(type_) + (AGAIN if again else "")
        self._found.minutes.setdefault(name, Counter())[minute] += 1
        if type_ == CHANNEL_UPDATE and key in self._latest:
            self._found.updates.setdefault(int.from_bytes(whose, "big"), [0, 0])[again] += 1


def _add(found: RecordSeries, file: SqliteFile) -> None:
    statement = """SELECT lower(hex(p.node_id)), count(*), sum(s.asked = 0 AND s.seen_ns = m.first_ns)
                   FROM sighting s JOIN message m ON m.id = s.message JOIN session c ON c.id = s.session
                   JOIN peer p ON p.id = c.peer GROUP BY p.id"""
    for node_id, count, first in file.run(statement):
        found.sightings[node_id] += count
        found.first[node_id] += first
    for rtt_us, count in file.run("SELECT rtt_us, count(*) FROM rtt GROUP BY 1"):
        found.rtts.add(rtt_us / 1e6, count)
    for node_id, outcome, rtt_ms in file.run("SELECT lower(hex(node_id)), outcome, rtt_ms FROM dial ORDER BY at_ns"):
        found.outcomes[node_id] = outcome
        if rtt_ms is not None:
            found.rtts.add(rtt_ms / 1e3)
    statement = "SELECT from_ns, to_ns FROM gap t WHERE session IS NULL AND lost IS NULL AND {all} ORDER BY 1"
    found.pauses += file.run(with_workers(file, statement))
    found.last_ns = max(found.last_ns, file.one("SELECT max(seen_ns) FROM sighting") or 0)
