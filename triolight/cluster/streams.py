"""The two ends of one stream: what waits to be appended, and what was read. State machines without I/O.

A `Writer` has one entry in flight. As long as nobody has answered it, it is the same entry with the same `first_seq`:
an engine that has it already drops it. A `Reader` gives each record once, in order, and says if one is missing. `Done`
is what of it need not be kept.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from triolight.cluster.records import MAX_ENTRY_BYTES, Entry, Record, encode_entry
from triolight.cluster.rules import fullness, is_full
from triolight.errors import TriolightError

DONE_SECONDS: Final = 0.05
"""How much later than it is done an engine may hear of it."""
DONE_PART: Final = 0.25
"""Of a window."""


class Hole(TriolightError):
    """Records of a stream are missing, or come from somebody else: an engine has lost something."""


class Used(NamedTuple):
    """What a stream holds that its reader has not consumed."""

    size: int
    """Bytes of its entries."""
    records: int


class Done:
    """What was read of a stream and done, and its engine has not heard of. It only makes room there: so it is told
    together, a quarter of the window at once, less a moment later."""

    __slots__ = ("_due", "_position", "_used")

    def __init__(self) -> None:
        self._due = math.inf
        self._position = ""
        self._used = Used(0, 0)

    def add(self, position: str, used: Used, now: float) -> None:
        """All up to a position, which is so much more."""
        if self._due == math.inf:
            self._due = now + DONE_SECONDS
        self._position = position
        self._used = Used(self._used.size + used.size, self._used.records + used.records)
        if fullness(self._used) >= DONE_PART:
            self._due = now

    def seconds_left(self, now: float) -> float:
        """Until it is to be told; infinity if there is nothing."""
        return max(0.0, self._due - now)

    def take(self) -> tuple[str, Used] | None:
        """To be told now, whether it is due or not; for whoever takes it to do so. None: there is nothing."""
        found = (self._position, self._used)
        if self._due == math.inf:
            return None
        self._due, self._used = math.inf, Used(0, 0)
        return found


class Parcel:
    """A record on its way to an engine."""

    __slots__ = ("data", "on_appended")

    def __init__(self, data: bytes, on_appended: Callable[[], None] | None = None) -> None:
        self.data: Final = data
        self.on_appended: Final = on_appended
        """Called once the engine has it."""


class Flight(NamedTuple):
    """An append without an answer."""

    first_seq: int
    data: bytes
    parcels: tuple[Parcel, ...]


class Writer:
    """What one process appends to one stream, under one token."""

    __slots__ = ("_pending", "_token", "flight", "next_seq", "pending_bytes", "used")

    def __init__(self, token: bytes) -> None:
        self._token: Final = token
        self._pending: Final[deque[Parcel]] = deque()
        self.pending_bytes = 0
        self.next_seq = 0
        self.flight: Flight | None = None
        self.used = Used(0, 0)
        """As the engine has said last."""

    @property
    def idle(self) -> bool:
        """Whether all of it is appended."""
        return self.flight is None and not self._pending

    @property
    def last_seq(self) -> int:
        """Of the record after all that is to be appended."""
        return self.next_seq + (0 if self.flight is None else len(self.flight.parcels)) + len(self._pending)

    @property
    def has_room(self) -> bool:
        """Whether one more record fits the window, with what waits here; of that, no more than an entry."""
        if self.pending_bytes >= MAX_ENTRY_BYTES:
            return False
        flight = self.flight
        flying, count = (0, 0) if flight is None else (len(flight.data), len(flight.parcels))
        size = self.used.size + flying + self.pending_bytes
        return not is_full(size, self.used.records + count + len(self._pending))

    @property
    def may_append(self) -> bool:
        """Whether the engine's part of the window is not full."""
        return not is_full(*self.used)

    def put(self, data: bytes, on_appended: Callable[[], None] | None = None) -> Parcel:
        """An encoded record, to be appended. Whether there is room is the caller's to ask."""
        parcel = Parcel(data, on_appended)
        self._pending.append(parcel)
        self.pending_bytes += len(data)
        return parcel

    def withdraw(self, parcel: Parcel) -> bool:
        """It shall not be appended. False: it is on its way, or there."""
        if parcel not in self._pending:
            return False
        self._pending.remove(parcel)
        self.pending_bytes -= len(parcel.data)
        return True

    def take(self) -> Flight | None:
        """The entry to append: the one without an answer, or the next one. None: there is nothing."""
        if self.flight is None and self._pending:
            parcels: list[Parcel] = []
            size = 0
            while self._pending and (not parcels or size + len(self._pending[0].data) <= MAX_ENTRY_BYTES):
                parcels.append(self._pending.popleft())
                size += len(parcels[-1].data)
            self.pending_bytes -= size
            data = encode_entry(self._token, self.next_seq, [one.data for one in parcels])
            self.flight = Flight(self.next_seq, data, tuple(parcels))
        return self.flight

    def answered(self, used: Used) -> None:
        """The engine has what is in flight."""
        flight, self.flight = self.flight, None
        self.used = used
        if flight is not None:
            self.next_seq += len(flight.parcels)
            for parcel in flight.parcels:
                if parcel.on_appended is not None:
                    parcel.on_appended()

    def refused(self) -> None:
        """The engine does not have what is in flight, and has said so: it waits again, and may be withdrawn."""
        flight, self.flight = self.flight, None
        if flight is not None:
            self._pending.extendleft(reversed(flight.parcels))
            self.pending_bytes += sum(len(parcel.data) for parcel in flight.parcels)


class Reader:
    """What one process reads of one stream, as one token has written it."""

    __slots__ = ("next_seq", "token")

    def __init__(self, token: bytes, next_seq: int = 0) -> None:
        self.token: Final = token
        self.next_seq = next_seq
        """Of the record that comes next."""

    @property
    def begun(self) -> bool:
        """Whether anything has come."""
        return self.next_seq > 0

    def read(self, entry: Entry) -> tuple[Record, ...]:
        """What of it is new. Hole if something before it never came, or if somebody else has written it."""
        if entry.token != self.token:
            raise Hole("an entry of another writer")
        if entry.first_seq > self.next_seq:
            raise Hole(f"records {self.next_seq} to {entry.first_seq - 1} are missing")
        new = entry.records[self.next_seq - entry.first_seq :]
        self.next_seq += len(new)
        return new
