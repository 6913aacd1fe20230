"""Updates that came before the announcement of their channel: unverified, so few and not for long."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from triolight.gossip.graph import timestamp_of
from triolight.gossip.policy import GossipPolicy

__all__ = ["Orphans", "Parked", "park"]

UPDATES_OF_DIRECTION: Final = 2
"""Nobody has checked them: a false one with a later time must not push out the true one."""
LONGEST_PARKED: Final = 2048
"""Bytes of a message that is kept on nobody's word; true ones have 138 to 500."""


class Parked(NamedTuple):
    """A message that waits, and whose it was."""

    data: bytes
    source: bytes | None
    asked: bool = False


def park(held: list[Parked], one: Parked) -> Parked | None:
    """Keeps a channel_update with the others of its channel, the two newest of each direction, the newest first. What
    is returned has gone: an older one, or this one, if it is not newer or is there already."""
    direction = one.data[111] & 1
    same = [other for other in held if other.data[111] & 1 == direction]
    if any(other.data[66:] == one.data[66:] for other in same):
        return one
    held.append(one)
    held.sort(key=lambda other: timestamp_of(other.data), reverse=True)
    if len(same) < UPDATES_OF_DIRECTION:
        return None
    last = [other for other in held if other.data[111] & 1 == direction][-1]
    held.remove(last)
    return last


class Orphans:
    """Updates of channels that nobody has announced."""

    __slots__ = ("_counts", "_held", "_order", "_total", "policy")

    def __init__(self, policy: GossipPolicy) -> None:
        self.policy: Final = policy
        self._held: dict[int, list[Parked]] = {}
        self._order: deque[tuple[float, int, Parked]] = deque()
        """When each is over, as they came. One that has gone before leaves its place, and no more than its bound."""
        self._counts: dict[bytes | None, int] = {}
        self._total = 0

    def __len__(self) -> int:
        return self._total

    def has_room(self, source: bytes | None, size: int, now: float) -> bool:
        """Whether one more of so many bytes is kept of this peer."""
        self.sweep(now)
        if size > LONGEST_PARKED or len(self._order) >= self.policy.orphans:
            return False
        return self._counts.get(source, 0) < self.policy.orphans_of_peer

    def knows(self, short_channel_id: int, data: bytes, now: float) -> bool:
        """Whether this very update is there."""
        self.sweep(now)
        return any(one.data[66:] == data[66:] for one in self._held.get(short_channel_id, ()))

    def put(self, short_channel_id: int, one: Parked, now: float) -> bool:
        """Keeps one; False if two newer ones of its direction are there. Asked before whether there is room."""
        gone = park(self._held.setdefault(short_channel_id, []), one)
        if gone is one:
            return False
        self._total += 1
        self._counts[one.source] = self._counts.get(one.source, 0) + 1
        self._order.append((now + self.policy.park_age, short_channel_id, one))
        if gone is not None:
            self._uncount(gone)
        return True

    def take(self, short_channel_id: int, now: float) -> list[Parked]:
        """Those of a channel that is there now, the newest first; they are not held any more."""
        self.sweep(now)
        found = self._held.pop(short_channel_id, [])
        for one in found:
            self._uncount(one)
        return found

    def sweep(self, now: float) -> None:
        """Forgets those whose time is over."""
        order = self._order
        while order and now > order[0][0]:
            _, short_channel_id, one = order.popleft()
            held = self._held.get(short_channel_id, [])
            if any(other is one for other in held):
                held.remove(one)
                self._uncount(one)
                if not held:
                    del self._held[short_channel_id]

    def _uncount(self, one: Parked) -> None:
        self._total -= 1
        left = self._counts[one.source] - 1
        if left:
            self._counts[one.source] = left
        else:
            del self._counts[one.source]
