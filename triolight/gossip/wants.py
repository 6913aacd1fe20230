"""What is wanted of peers: which channels are queued, asked for, got or nowhere, and of whom. Decides nothing of when.

Who lists one and who was asked are bits, a connection each: a list of all channels by six peers is one number each.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Wants"]


class Wants:
    """Short channel ids of which something is wanted: each queued, asked, got or absent."""

    __slots__ = ("_asking", "_claimants", "_ever_got", "_tried", "absent", "asked_ever", "done")

    def __init__(self) -> None:
        self._claimants: dict[int, int] = {}
        """Of those that are queued or asked: who lists it, a bit a source."""
        self._tried: dict[int, int] = {}
        """And who was asked for it."""
        self._asking: dict[int, int] = {}
        """And who is being asked."""
        self.done: Final[dict[int, bool]] = {}
        """The others: whether it was got. Only one of these can be claimed again, and only if it was."""
        self._ever_got: set[int] = set()
        self.absent = 0
        self.asked_ever = 0

    def __len__(self) -> int:
        return len(self._claimants) + len(self.done)

    @property
    def got(self) -> int:
        """How many were got; of some of them more may be wanted by now."""
        return len(self._ever_got)

    @property
    def open(self) -> int:
        """Queued or asked."""
        return len(self._claimants)

    def claim(self, one: int, bit: int) -> None:
        """A source lists more of it than we have, perhaps of one that was got before."""
        self.done.pop(one, None)
        self._claimants[one] = self._claimants.get(one, 0) | bit

    def untried(self, one: int) -> int:
        """Who lists it and was not asked; 0 if it is done."""
        return self._claimants.get(one, 0) & ~self._tried.get(one, 0)

    def is_known(self, one: int) -> bool:
        """Whether anybody has claimed it."""
        return one in self._claimants or one in self.done

    def is_open(self, one: int) -> bool:
        """Whether it is queued or asked."""
        return one in self._claimants

    def is_asked(self, one: int) -> bool:
        """Whether somebody is being asked for it."""
        return one in self._asking

    def may_ask(self, one: int, bit: int) -> bool:
        """Whether this source lists it and was not asked."""
        return bool(self.untried(one) & bit)

    def skip(self, one: int, bit: int) -> None:
        """It has nothing of it that we lack."""
        self._tried[one] = self._tried.get(one, 0) | bit

    def ask(self, one: int, bit: int) -> None:
        """It is in a query to this source."""
        self.asked_ever += one not in self._tried
        self._tried[one] = self._tried.get(one, 0) | bit
        self._asking[one] = self._asking.get(one, 0) | bit

    def answered(self, one: int, bit: int) -> None:
        """A source that was asked has said what it has, or never will."""
        left = self._asking.get(one, 0) & ~bit
        if left:
            self._asking[one] = left
        else:
            self._asking.pop(one, None)

    def finish(self, one: int, got: bool) -> None:
        """Nobody is asked for it again."""
        if one not in self._claimants:
            return
        del self._claimants[one]
        self._asking.pop(one, None)
        self.done[one] = got
        if got:
            self._ever_got.add(one)
        else:
            self.absent += 1

    def pending(self) -> list[int]:
        """Queued or asked."""
        return list(self._claimants)
