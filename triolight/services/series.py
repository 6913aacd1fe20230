"""A record as series of numbers, to be drawn: how gossip spreads, who says it first, how far peers are. Draws nothing.

Delays and round trips are counted in bins whose width grows with them, so that a record of any size fits in memory.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from triolight.messages import BOLT
from triolight.services.reading import segments_to_read
from triolight.services.record import SCHEMA
from triolight.services.sqlite import SqliteFile, open_for_reading

BINS_A_DECADE: Final = 20
"""12 % from one to the next."""
MINUTE_NS: Final = 60 * 10**9


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
    """By type: from the first peer that pushed a message to each other one, where the first one did push it."""
    minutes: dict[str, Counter[int]] = field(default_factory=dict[str, Counter[int]])
    """By type: sightings of each minute since 1970."""
    first: Counter[str] = field(default_factory=Counter[str])
    """By node id in hex: messages that it was the first to push."""
    sightings: Counter[str] = field(default_factory=Counter[str])
    """By node id in hex."""
    rtts: Spread = field(default_factory=Spread)
    outcomes: dict[str, str] = field(default_factory=dict[str, str])
    """By node id in hex: what came of the last dial of a crawl."""


def record_series(path: Path) -> RecordSeries:
    """A few passes over all of it. StoreError for what is no record."""
    found = RecordSeries()
    for segment in segments_to_read(path):
        with open_for_reading(segment, SCHEMA) as file:
            _add(found, file)
    return found


def _name(type_: int) -> str:
    cls = BOLT.get(type_)
    return str(type_) if cls is None else cls.name


def _add(found: RecordSeries, file: SqliteFile) -> None:
    for type_, delay in file.run("SELECT type, delay_ns FROM delay WHERE delay_ns > 0"):
        found.delays.setdefault(_name(type_), Spread()).add(delay / 1e9)
    statement = f"""SELECT m.type, s.seen_ns / {MINUTE_NS}, count(*) FROM sighting s
                    JOIN message m ON m.id = s.message GROUP BY 1, 2"""
    for type_, minute, count in file.run(statement):
        found.minutes.setdefault(_name(type_), Counter())[minute] += count
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
