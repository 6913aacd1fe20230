"""Workers of a fleet, as a record knows them: how far each has come, which of their sessions are open. Blocking calls.

How far is written in the transaction of what it counts: what comes again is known, and nothing is in a record twice.
Knows no Trio.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from triolight.services.sqlite import SqliteFile

FIRST_VERSION: Final = 2
"""Of a record: the first one that knows workers."""


class WorkerKey(NamedTuple):
    """One life of a worker."""

    name: str
    token: bytes


class WorkerFacts(NamedTuple):
    """A worker's life, as it stands after a batch."""

    key: WorkerKey
    seq: int
    """Its records below this one are in the record."""
    last_ns: int
    """The last moment that it has told of."""
    ended: tuple[int, str] | None = None
    """When its life was over, and why."""


@dataclass(slots=True)
class _Kept:
    row: int
    """In the segment."""
    facts: WorkerFacts
    carried: bool = False
    """Whether it was over already when this segment began."""


class Shares:
    """What a record that is written knows of workers: none, if `fleet` is None."""

    def __init__(self, fleet: str | None) -> None:
        self.fleet: Final = fleet
        self._kept: Final[dict[WorkerKey, _Kept]] = {}
        self._open: dict[tuple[WorkerKey, bytes, int], int] = {}
        """Sessions of runs before that have no end: by worker, node id and beginning."""

    def begin(self, file: SqliteFile) -> bool:
        """A run begins. Whether it goes on with the work of the same fleet, so that nothing was missed."""
        before = file.one("SELECT value FROM meta WHERE key = 'fleet'")
        if self.fleet is None:
            file.run("DELETE FROM meta WHERE key = 'fleet'")
            return False
        file.run("INSERT OR REPLACE INTO meta VALUES('fleet', ?)", (self.fleet,))
        return bool(before == self.fleet)

    def load(self, file: SqliteFile) -> None:
        """What the segment that is written has."""
        if self.fleet is None:
            return
        for row, facts in _rows(file):
            self._kept[facts.key] = _Kept(row, facts)
        statement = """SELECT s.id, w.name, w.token, p.node_id, s.connected_ns FROM session s
                       JOIN worker w ON w.id = s.worker JOIN peer p ON p.id = s.peer WHERE s.closed_ns IS NULL"""
        for row, name, token, node_id, connected_ns in file.run(statement):
            self._open[WorkerKey(name, token), node_id, connected_ns] = row

    def load_earlier(self, file: SqliteFile, earlier: SqliteFile) -> None:
        """What the segment before has, and a run that was killed between the two has not carried over."""
        if self.fleet is None or earlier.one("SELECT count(*) FROM sqlite_master WHERE name = 'worker'") == 0:
            return
        for _, facts in _rows(earlier):
            if facts.key not in self._kept:
                self._insert(file, facts)

    def facts_of(self, key: WorkerKey) -> WorkerFacts | None:
        """How far a worker has come; None: it is not known."""
        kept = self._kept.get(key)
        return None if kept is None else kept.facts

    @property
    def living(self) -> list[WorkerFacts]:
        """Those that have no end."""
        return [one.facts for one in self._kept.values() if one.facts.ended is None]

    def put(self, file: SqliteFile, facts: WorkerFacts) -> int:
        """Its row."""
        kept = self._kept.get(facts.key)
        if kept is None:
            kept = self._insert(file, facts)
        kept.facts = facts
        values = (facts.seq, facts.last_ns, _ended_ns(facts), kept.row)
        file.run("UPDATE worker SET seq = ?, last_ns = ?, ended_ns = ? WHERE id = ?", values)
        return kept.row

    def end_sessions(self, file: SqliteFile, facts: WorkerFacts) -> None:
        """Whoever is over has no open session any more."""
        if facts.ended is not None:
            statement = "UPDATE session SET closed_ns = ?, why = ? WHERE worker = ? AND closed_ns IS NULL"
            file.run(statement, (*facts.ended, self._kept[facts.key].row))
            self._open = {one: row for one, row in self._open.items() if one[0] != facts.key}

    def row_of(self, key: WorkerKey | None) -> int | None:
        """Of a worker that was `put`."""
        return None if key is None else self._kept[key].row

    def take_session(self, key: WorkerKey | None, node_id: bytes, connected_ns: int) -> int | None:
        """The row of a session that a run before has begun; None: it is new."""
        return None if key is None else self._open.pop((key, node_id, connected_ns), None)

    def carry_over(self, file: SqliteFile) -> None:
        """Into a new segment: who lives, and who has ended not long ago, of whom something may come again."""
        self._open.clear()
        for kept in [*self._kept.values()]:
            del self._kept[kept.facts.key]
            if not kept.carried:
                self._insert(file, kept.facts).carried = kept.facts.ended is not None

    def _insert(self, file: SqliteFile, facts: WorkerFacts) -> _Kept:
        statement = "INSERT INTO worker(name, token, seq, last_ns, ended_ns) VALUES(?, ?, ?, ?, ?)"
        row = file.run(statement, (*facts.key, facts.seq, facts.last_ns, _ended_ns(facts))).lastrowid or 0
        self._kept[facts.key] = kept = _Kept(row, facts)
        return kept


def with_workers(file: SqliteFile, statement: str) -> str:
    """Of a statement that asks a table ``t``: ``{worker}`` becomes its worker's name, ``{all}`` whether it is of no
    worker alone; a file of version 1 has none."""
    if file.pragma("user_version") < FIRST_VERSION:
        return statement.format(worker="NULL", all="1")
    return statement.format(worker="(SELECT w.name FROM worker w WHERE w.id = t.worker)", all="t.worker IS NULL")


def _ended_ns(facts: WorkerFacts) -> int | None:
    return None if facts.ended is None else facts.ended[0]


def _rows(file: SqliteFile) -> list[tuple[int, WorkerFacts]]:
    found = file.run("SELECT id, name, token, seq, last_ns, ended_ns FROM worker").fetchall()
    return [
        (row, WorkerFacts(WorkerKey(name, token), seq, last_ns, None if ended_ns is None else (ended_ns, "")))
        for row, name, token, seq, last_ns, ended_ns in found
    ]
