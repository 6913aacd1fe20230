"""Updates that came before the announcement of their channel: unverified, so few and not for long.

Nobody can tell yet who lies, so nobody's word counts against another's: each peer has one place for each side of a
channel, and all that is there is looked at when the channel comes.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from triolight.gossip.graph import timestamp_of
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.verdicts import Verdict

__all__ = ["Orphans", "Parked"]

PEERS_OF_DIRECTION: Final = 8
"""Whose updates of one side of a channel wait: so many signatures it costs to find the true one."""
LONGEST_PARKED: Final = 2048
"""Bytes of a message that is kept on nobody's word; true ones have 138 to 500."""


class Parked(NamedTuple):
    """A message that waits, and whose it was."""

    data: bytes
    source: bytes | None
    asked: bool = False
    signed: bool = False
    """Whether its signature is known to be of who must have signed it."""


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
        if size > LONGEST_PARKED or len(self._order) >= self.policy.waiting.orphans:
            return False
        return self._counts.get(source, 0) < self.policy.waiting.orphans_of_peer

    def knows(self, short_channel_id: int, data: bytes, now: float) -> bool:
        """Whether this very update is there."""
        self.sweep(now)
        # With its signature: who repeats the words of others under a false one must not keep theirs out.
        return any(one.data == data for one in self._held.get(short_channel_id, ()))

    def put(self, short_channel_id: int, one: Parked, now: float) -> Verdict:
        """Keeps one, in place of an older one of the same peer. STALE if that is newer, LIMITED if too many others
        have said something. Asked before whether there is room."""
        held = self._held.setdefault(short_channel_id, [])
        same = [other for other in held if (other.data[111] ^ one.data[111]) & 1 == 0]
        before = next((other for other in same if other.source == one.source), None)
        if before is not None and timestamp_of(before.data) >= timestamp_of(one.data):
            return Verdict.STALE
        if before is None and len(same) == PEERS_OF_DIRECTION:
            return Verdict.LIMITED
        self._total += 1
        self._counts[one.source] = self._counts.get(one.source, 0) + 1
        self._order.append((now + self.policy.waiting.park_age, short_channel_id, one))
        held.append(one)
        if before is not None:
            held.remove(before)
            self._uncount(before)
        return Verdict.ORPHAN

    def take(self, short_channel_id: int, now: float) -> list[Parked]:
        """Those of a channel that is there now, the newest first; they are not held any more."""
        self.sweep(now)
        found = self._held.pop(short_channel_id, [])
        found.sort(key=lambda one: timestamp_of(one.data), reverse=True)
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
