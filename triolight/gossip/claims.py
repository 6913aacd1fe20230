"""What a peer lists: short channel ids, and what it says that it has of each. In arrays: 25 bytes a channel.

Lists come in replies, in order from most. What comes out of order is merged when the whole is read, some of it at a
time, so that nobody waits for it; of an id that came twice the later one counts.
"""

from __future__ import annotations

import heapq
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

__all__ = ["NO_CLAIM", "Claim", "Claims"]

Pair: TypeAlias = tuple[int, int]
Claim: TypeAlias = tuple[Pair | None, Pair | None]
"""What a peer says that it has of a channel: the timestamps of both updates, and their checksums; None: not said."""
NO_CLAIM: Final[Claim] = (None, None)
_STAMPS: Final = 1
_SUMS: Final = 2


class _Run:
    """Ids in order, each once, and what belongs to them."""

    __slots__ = ("ids", "said", "values")

    def __init__(self) -> None:
        self.ids = array("Q")
        self.values = array("I")
        """Four of each: timestamps, checksums."""
        self.said = bytearray()
        """What of these was said, a byte each."""

    def append(self, other: _Run, at: int) -> None:
        self.ids.append(other.ids[at])
        self.values.extend(other.values[4 * at : 4 * at + 4])
        self.said.append(other.said[at])

    def extend(self, other: _Run) -> None:
        self.ids.extend(other.ids)
        self.values.extend(other.values)
        self.said.extend(other.said)


class Claims(Mapping[int, Claim]):
    """A mapping of what was read of a list so far. `add` what comes; then `read` on until it `is_read`."""

    __slots__ = ("_merging", "_read", "_runs", "_visible", "listed")

    def __init__(self) -> None:
        self.listed = 0
        """How many ids came, also twice."""
        self._runs: list[_Run] = []
        self._read = _Run()
        """What was merged; the only run, if there is but one."""
        self._visible = 0
        """How many of its ids were read."""
        self._merging: Iterator[tuple[int, int, int]] | None = None

    def add(self, ids: Sequence[int], stamps: Sequence[Pair] | None, sums: Sequence[Pair] | None) -> None:
        """One more reply: as many pairs as ids, or None. Before anything is read."""
        self.listed += len(ids)
        order: Sequence[int] = range(len(ids))
        if any(ids[at] >= ids[at + 1] for at in range(len(ids) - 1)):
            last = {one: at for at, one in enumerate(ids)}
            order = [last[one] for one in sorted(last)]
        run, said = _Run(), (_STAMPS if stamps else 0) | (_SUMS if sums else 0)
        for at in order:
            run.ids.append(ids[at])
            run.values.extend(stamps[at] if stamps else (0, 0))
            run.values.extend(sums[at] if sums else (0, 0))
        run.said.extend(bytes((said,)) * len(order))
        if not run.ids:
            return
        if self._runs and self._runs[-1].ids[-1] < run.ids[0]:
            self._runs[-1].extend(run)
        else:
            self._runs.append(run)

    # In order, some at a time.

    @property
    def is_read(self) -> bool:
        """Whether all of it was read."""
        return self._merging is None and not self._runs and self._visible == len(self._read.ids)

    def again(self) -> None:
        """Reading begins at the front."""
        if self._merging is not None:
            self._merging, self._read = None, _Run()
        self._visible = 0

    def read(self, most: int) -> list[int]:
        """The next ids, rising; so many at the most."""
        if len(self._runs) == 1 and self._merging is None:
            self._read = self._runs.pop()
        if self._runs:
            self._merge(most)
        begin = self._visible
        self._visible = min(len(self._read.ids), begin + most)
        return list(self._read.ids[begin : self._visible])

    def _merge(self, most: int) -> None:
        if self._merging is None:
            # Of equal ids that of the later run comes first, and the others are left out.
            self._merging = heapq.merge(*(self._numbered(number) for number in range(len(self._runs))))
        merged = self._read.ids
        stop = len(merged) + most
        for one, number, at in self._merging:
            if not merged or merged[-1] != one:
                self._read.append(self._runs[-number], at)
                if len(merged) == stop:
                    return
        self._merging = None
        self._runs.clear()

    def _numbered(self, number: int) -> Iterator[tuple[int, int, int]]:
        for at, one in enumerate(self._runs[number].ids):
            yield one, -number, at

    # What was read.

    def __getitem__(self, one: int) -> Claim:
        run = self._read
        at = bisect_left(run.ids, one, 0, self._visible)
        if at == self._visible or run.ids[at] != one:
            raise KeyError(one)
        said, (first, second, third, fourth) = run.said[at], run.values[4 * at : 4 * at + 4]
        return (first, second) if said & _STAMPS else None, (third, fourth) if said & _SUMS else None

    def __iter__(self) -> Iterator[int]:
        return iter(self._read.ids[: self._visible])

    def __len__(self) -> int:
        return self._visible
