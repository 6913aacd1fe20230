"""Turns: whose input the pump reads next, and how much of it before everything is written and others run. No Trio here.

* A turn is short: `TURN_WORK` units, counted in messages and bytes, never by reading a clock.
* Input that fits one turn goes before what is large, and before what earlier turns left over; a turn that has taken
  any takes nothing else, so that its answer goes out at once.
* Who shakes hands comes with the large ones: an act is half a turn's work, and hundreds may come at once, as when
  a node starts or returns; whoever is a peer already does not wait for all of them.
* But for no more than `LEFTOVER_EVERY` turns: a flood of small chunks starves nobody either.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeAlias, TypeVar

from triolight.shell.watch import Arrival

TURN_WORK: Final = 32
"""Work units of one turn of the pump, about 0.25 ms: a message is one, and each 4 KiB of it one more, and each 16 items
of lists and records that nobody knows."""
LONE_TURN_WORK: Final = 64
"""While nobody else's input waits."""
LEFTOVER_EVERY: Final = 4
"""Turns after which input that was left over, or is large, has its turn, however much small input there is."""
SMALL_INPUT: Final = 4 * 1024
"""A chunk up to this size is taken to fit into one turn, and goes before larger ones."""

T = TypeVar("T")
Chunk: TypeAlias = tuple[bytes, Arrival]
"""What was read at once, and when."""


class Turns(Generic[T]):
    """Input that was not read by the manager yet, with whose it is, in the order in which it is to be read."""

    __slots__ = ("_fresh", "_large", "_left", "_small", "_turns_without_large", "_waits")

    def __init__(self) -> None:
        self._fresh: deque[tuple[T, Chunk | None]] = deque()
        self._large: deque[tuple[T, Chunk | None]] = deque()
        """And what those say who are no peers; and what earlier turns left over, which the manager has already: None in
        place of the bytes."""
        self._left: set[T] = set()
        """Whose that is: each once, however often it is said, or whoever has much would have many turns in a row."""
        self._turns_without_large = 0
        self._waits = False
        self._small = False
        """Whether this turn has taken small input."""

    def put(self, whose: T, data: bytes, at: Arrival, is_peer: bool = True) -> None:
        """A chunk has come; `is_peer`: of one whose Init was accepted."""
        (self._fresh if is_peer and len(data) <= SMALL_INPUT else self._large).append((whose, (data, at)))

    def left_over(self, whose: T) -> None:
        """The manager has stopped in the middle of this one's input."""
        if whose not in self._left:
            self._left.add(whose)
            self._large.append((whose, None))

    @property
    def waiting(self) -> bool:
        """Whether any input waits."""
        return bool(self._fresh or self._large)

    def begin(self) -> int:
        """A turn begins: how many work units it may take."""
        self._waits = bool(self._large)
        self._small = False
        # With one peer's input and nobody else's there is nobody to be fair to.
        return TURN_WORK if self._fresh or len(self._large) > 1 else LONE_TURN_WORK

    def next(self) -> tuple[T, Chunk | None] | None:
        """Whose input is read next, and the chunk; None in its place: what was left over. None: the turn is over."""
        if self._fresh and self._turns_without_large < LEFTOVER_EVERY:
            self._small = True
            return self._fresh.popleft()
        if self._small:
            return None
        self._turns_without_large = 0
        if self._large:
            self._waits = False
            found = self._large.popleft()
            if found[1] is None:
                self._left.discard(found[0])
            return found
        return self._fresh.popleft() if self._fresh else None

    def end(self) -> None:
        """The turn is over."""
        self._turns_without_large += self._waits

    def clear(self) -> None:
        """Forgets all input."""
        self._fresh.clear()
        self._large.clear()
        self._left.clear()
