"""What is wanted of peers: which channels are queued, asked for, got or nowhere, and of whom. Decides nothing of when.

Who lists one and who was asked are bits, a connection each: a list of all channels by six peers is one number each.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

__all__ = ["Unknown", "Wants"]

ASK_AFTER: Final = 10.0
"""Seconds from the first word of an unknown channel on: where there is one there are often more."""
ASK_EVERY: Final = 60.0
IN_VAIN_EVERY: Final = 3600.0
"""From one such query to a peer to the next, and if it had nothing of what it had spoken of."""


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


class Unknown:
    """Channels that peers have spoken of, and that nobody has announced to us: who speaks of one is asked for it.

    Bounded: so many of all peers, and so many of one. What does not fit is not asked for, and counted.
    """

    __slots__ = ("_held", "_next_at", "dropped", "most", "most_of_peer", "total")

    def __init__(self, most: int, most_of_peer: int) -> None:
        self.most: Final = most
        self.most_of_peer: Final = most_of_peer
        self.total = 0
        self.dropped = 0
        self._held: dict[bytes, dict[int, None]] = {}
        self._next_at: dict[bytes, float] = {}
        """When each peer that has spoken of one may be asked."""

    def add(self, node_id: bytes, short_channel_id: int, now: float) -> None:
        """A peer has spoken of one."""
        held = self._held.setdefault(node_id, {})
        if short_channel_id in held:
            return
        if self.total >= self.most or len(held) >= self.most_of_peer:
            self.dropped += 1
            return
        if not held:
            self._next_at[node_id] = max(self._next_at.get(node_id, 0.0), now + ASK_AFTER)
        held[short_channel_id] = None
        self.total += 1

    def due(self, now: float) -> bytes | None:
        """Whom to ask now."""
        return next((one for one, held in self._held.items() if held and now >= self._next_at[one]), None)

    def take(self, node_id: bytes) -> list[int]:
        """What it has spoken of; it is not held any more."""
        taken = sorted(self._held.pop(node_id, ()))
        self.total -= len(taken)
        return taken

    def asked(self, node_id: bytes, now: float, *, in_vain: bool) -> None:
        """It has had its query."""
        self._next_at[node_id] = now + (IN_VAIN_EVERY if in_vain else ASK_EVERY)

    def forget(self, node_ids: Iterable[bytes]) -> None:
        """These have gone."""
        for node_id in node_ids:
            self.take(node_id)
            self._next_at.pop(node_id, None)
