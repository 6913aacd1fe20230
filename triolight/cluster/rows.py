"""Rows of a record as records of a worker's stream, both ways. Values and their bytes; no I/O.

A record of a connection says whose it is by itself: whoever reads the stream may be another one than before, and have
another file. What comes from an engine is checked here before it becomes rows: DecodeError for what cannot be.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from triolight.cluster.records import (
    NO_CONNECTION,
    Beside,
    Entry,
    Heard,
    Left,
    Missed,
    Sighted,
    Tick,
    Trip,
)
from triolight.errors import DecodeError
from triolight.messages.structures import Structure
from triolight.services.record import (
    ANSWER,
    ELSEWHERE,
    HISTORY,
    KILLED,
    PUSHED,
    RecordBatch,
    SessionFacts,
    Sighting,
)
from triolight.services.shares import WorkerFacts, WorkerKey
from triolight.text import printable

SPLIT_BYTES: Final = 32 * 1024
"""Of messages in one record, or one message: an entry is filled well by eight of them."""
UNKNOWN: Final = 2**64 - 1
MOMENTS: Final = 2**63
"""SQLite's integers end there."""
MOST_TEXT: Final = 512
MOST_OPEN: Final = 65_536
"""Connections of one worker: no process has more."""


class Outgoing:
    """A worker's side: it knows its connections."""

    def __init__(self) -> None:
        self._facts: Final[dict[int, SessionFacts]] = {}

    def records_of(self, batch: RecordBatch) -> Iterator[tuple[int, Structure]]:
        """Each with its connection. What a batch says of one connection stays in its order."""
        for facts in batch.opened:
            self._facts[facts.number] = facts
        yield from self._beside(batch)
        trips: dict[int, list[Trip]] = {}
        for at_ns, number, rtt in batch.rtts:
            trips.setdefault(number, []).append(Trip(at_ns=at_ns, microseconds=min(rtt, 2**32 - 1)))
        missed: dict[int, list[Missed]] = {}
        for from_ns, to_ns, session, lost, why in batch.gaps:
            if session is not None:
                missed.setdefault(session, []).append(_missed(from_ns, to_ns, lost, why))
        ends = {number: (at_ns, why) for number, at_ns, why in batch.closed}
        said: dict[int, list[Sighting]] = {}
        for one in batch.sightings:
            said.setdefault(one[1], []).append(one)
        opened = [one.number for one in batch.opened]
        for number in dict.fromkeys([*opened, *said, *trips, *missed, *ends]):
            *parts, last = _parts(said.get(number, []))
            for part in parts:
                yield number, self._heard(number, part)
            yield number, self._heard(number, last, trips.get(number), missed.get(number), ends.get(number))
            if number in ends:
                del self._facts[number]

    def _beside(self, batch: RecordBatch) -> Iterator[tuple[int, Structure]]:
        missed = [_missed(*one[:2], *one[3:]) for one in batch.gaps if one[2] is None]
        ticks = [Tick(seen_ns=seen, wall_ns=max(0, wall)) for seen, wall in batch.clocks]
        if missed or ticks:
            yield NO_CONNECTION, Beside(missed=tuple(missed), ticks=tuple(ticks))

    def _heard(
        self,
        number: int,
        sightings: Iterable[Sighting],
        trips: Iterable[Trip] | None = None,
        missed: Iterable[Missed] | None = None,
        end: tuple[int, str] | None = None,
    ) -> Heard:
        facts = self._facts[number]
        closed_ns, why = (0, "") if end is None else end
        return Heard(
            node_id=facts.node_id,
            address=facts.address.encode(),
            outbound=int(facts.outbound),
            connected_ns=facts.connected_ns,
            init=facts.init,
            closed_ns=closed_ns,
            why=why.encode(),
            trips=tuple(trips or ()),
            missed=tuple(missed or ()),
            sighted=tuple(Sighted(seen_ns=seen, asked=asked, data=raw) for seen, _, asked, raw in sightings),
        )


def _parts(sightings: Sequence[Sighting]) -> list[list[Sighting]]:
    """At least one, each of a size."""
    parts: list[list[Sighting]] = [[]]
    size = 0
    for one in sightings:
        if parts[-1] and size + len(one[3]) > SPLIT_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(one)
        size += len(one[3])
    return parts


def _missed(from_ns: int, to_ns: int, lost: int | None, why: str) -> Missed:
    return Missed(from_ns=from_ns, to_ns=to_ns, lost=UNKNOWN if lost is None else lost, why=why.encode())


class Incoming:
    """The writer's side: connections of all workers, by numbers of its own."""

    def __init__(self) -> None:
        self._open: Final[dict[WorkerKey, dict[int, tuple[int, bytes]]]] = {}
        """By worker and its own number: ours, and the node id."""
        self._last = 0

    def nodes_of(self, key: WorkerKey) -> list[bytes]:
        """Nodes that a worker is connected with, as far as it was heard of."""
        return [node_id for _, node_id in self._open.get(key, {}).values()]

    def read(self, name: str, entry: Entry, known: WorkerFacts | None) -> RecordBatch | None:
        """What of an entry is new to a record that knows so much of this worker. None: nothing."""
        key = WorkerKey(name, entry.token)
        try:
            return self._read(key, entry, known)
        except DecodeError:
            self._open.pop(key, None)  # some were given to sessions that are in no batch
            raise

    def _read(self, key: WorkerKey, entry: Entry, known: WorkerFacts | None) -> RecordBatch | None:
        _check([entry.first_seq + len(entry.records)])
        seq = entry.first_seq if known is None else known.seq
        new = entry.records[max(0, seq - entry.first_seq) :]
        if not new:
            return None
        batch = RecordBatch()
        last_ns, ended_ns = 0 if known is None else known.last_ns, None
        before, first_ns = last_ns, MOMENTS
        for conn, what in new:
            match what:
                case Heard():
                    self._take(batch, key, conn, what)
                    moments = [what.connected_ns, what.closed_ns, *(one.seen_ns for one in what.sighted)]
                    moments += (one.at_ns for one in what.trips)
                    missed = what.missed
                case Beside():
                    batch.clocks += ((one.seen_ns, one.wall_ns) for one in what.ticks)
                    batch.gaps += ((*_span(one), None, *_loss(one)) for one in what.missed)
                    moments = [one.seen_ns for one in what.ticks]
                    _check(one.wall_ns for one in what.ticks)
                    missed = what.missed
                case Left():
                    moments, missed = [what.at_ns], ()
                    ended_ns = what.at_ns
                case _:
                    raise DecodeError(f"{type(what).__name__} is no rows")
            _check(moments)
            _check(moment for one in missed for moment in _span(one))
            last_ns = max([last_ns, *moments])
            first_ns = min([first_ns, *(one for one in moments if one)])
        if entry.first_seq > seq:
            batch.gaps.append((before, max(before, first_ns), None, None, ELSEWHERE))
        ended = None if ended_ns is None else (max(last_ns, ended_ns), "the recording ended")
        batch.worker = WorkerFacts(key, entry.first_seq + len(entry.records), last_ns, ended)
        if ended is not None:
            self._open.pop(key, None)
        return batch

    def over(self, facts: WorkerFacts, at_ns: int) -> RecordBatch:
        """A life that has ended without a word: what it had heard last is missing."""
        self._open.pop(facts.key, None)
        at_ns = max(at_ns, facts.last_ns)
        batch = RecordBatch(gaps=[(facts.last_ns, at_ns, None, None, KILLED)])
        batch.worker = facts._replace(ended=(at_ns, KILLED))
        return batch

    def _take(self, batch: RecordBatch, key: WorkerKey, conn: int, what: Heard) -> None:
        conns = self._open.setdefault(key, {})
        number, _ = conns.get(conn, (0, b""))
        if not number:
            if len(conns) >= MOST_OPEN:
                raise DecodeError(f"more than {MOST_OPEN:,} connections")
            self._last += 1
            number = self._last
            conns[conn] = number, what.node_id
            address = printable(what.address, MOST_TEXT, escaped=True)
            facts = SessionFacts(number, what.node_id, address, bool(what.outbound), what.connected_ns, what.init, key)
            batch.opened.append(facts)
        for one in what.sighted:
            if one.asked not in (PUSHED, ANSWER, HISTORY) or len(one.data) < 2:
                raise DecodeError(f"no sighting: {len(one.data)} bytes, asked {one.asked}")
            batch.sightings.append((one.seen_ns, number, one.asked, one.data))
        batch.rtts += ((one.at_ns, number, one.microseconds) for one in what.trips)
        batch.gaps += ((*_span(one), number, *_loss(one)) for one in what.missed)
        if what.closed_ns:
            batch.closed.append((number, what.closed_ns, printable(what.why, MOST_TEXT, escaped=True)))
            del conns[conn]


def _span(missed: Missed) -> tuple[int, int]:
    return missed.from_ns, missed.to_ns


def _loss(missed: Missed) -> tuple[int | None, str]:
    return None if missed.lost >= MOMENTS else missed.lost, printable(missed.why, MOST_TEXT, escaped=True)


def _check(moments: Iterable[int]) -> None:
    for one in moments:
        if one >= MOMENTS:
            raise DecodeError(f"no moment: {one}")
