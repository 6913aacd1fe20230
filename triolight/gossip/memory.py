"""What is remembered of things that are not in the graph: for so long, so many of them, the oldest go first."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

from triolight.gossip.graph import Channel
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.verdicts import Verdict

__all__ = ["Expiring", "Memory"]

_K = TypeVar("_K")
_V = TypeVar("_V")


class Expiring(Generic[_K, _V]):
    """Values by key, for `age` seconds from when each was put in, at most `most` of them."""

    __slots__ = ("_held", "age", "dropped", "most")

    def __init__(self, most: int, age: float) -> None:
        self.most: Final = most
        self.age: Final = age
        self.dropped = 0
        """How many went before their time."""
        self._held: dict[_K, tuple[float, _V]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def items(self) -> list[tuple[_K, _V]]:
        """All of them, the oldest first."""
        return [(key, value) for key, (_, value) in self._held.items()]

    def get(self, key: _K, now: float) -> _V | None:
        """The value, if its time is not over."""
        found = self._held.get(key)
        if found is None:
            return None
        if now > found[0]:
            del self._held[key]
            return None
        return found[1]

    def put(self, key: _K, value: _V, now: float) -> None:
        """Puts one in, or puts it in again, with its time from now on."""
        held = self._held
        if held.pop(key, None) is None and len(held) >= self.most:
            del held[next(iter(held))]
            self.dropped += 1
        held[key] = now + self.age, value

    def pop(self, key: _K) -> _V | None:
        """Takes one out."""
        found = self._held.pop(key, None)
        return None if found is None else found[1]

    def clear(self) -> None:
        """Forgets all of them."""
        self._held.clear()

    def sweep(self, now: float) -> None:
        """Forgets those whose time is over."""
        held = self._held
        while held:
            key = next(iter(held))
            if now <= held[key][0]:
                return
            del held[key]


class Memory:
    """What the rules remember."""

    __slots__ = ("blacklist", "closed", "negative", "nodes", "seen", "tombstones")

    def __init__(self, policy: GossipPolicy) -> None:
        self.tombstones: Final = Expiring[int, Channel](policy.tombstones, policy.tombstone_age)
        """Channels that were pruned for their age, with what they said last: fresh updates bring them back."""
        self.nodes: Final = Expiring[bytes, bytes](policy.nodes_aside, policy.node_age)
        """What nodes said whose last channel went."""
        self.closed: Final = Expiring[int, int](policy.tombstones, policy.tombstone_age)
        """Channels that were spent, and in which block."""
        self.negative: Final = Expiring[int | bytes, Verdict](policy.negative, policy.negative_age)
        """Outputs that a chain has denied: by short_channel_id what nobody can have, and by the announcement's own
        words what others may have, for a stranger's false keys must not keep the true ones out."""
        self.blacklist: Final = Expiring[bytes, bool](policy.blacklisted, policy.blacklist_age)
        self.seen: Final = Expiring[bytes, bool](policy.seen, float("inf"))
        """Hashes of announcements whose signatures hold, and that were not kept."""

    def sweep(self, now: float) -> None:
        """Forgets what is over."""
        self.tombstones.sweep(now)
        self.nodes.sweep(now)
        self.closed.sweep(now)
        self.negative.sweep(now)
        self.blacklist.sweep(now)

    def reorganised(self, height: int) -> None:
        """Blocks from this height on are gone: what a chain said is worth nothing now."""
        self.negative.clear()
        for short_channel_id, spent in self.closed.items():
            if spent >= height:
                self.closed.pop(short_channel_id)
