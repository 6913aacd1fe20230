"""How much of onion messages there may be: the numbers as one object, and buckets that time fills.

Whoever asks says what time it is. Nothing here opens a message: a bucket stands before the first work on the curve.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from triolight.onion.drops import Drop

__all__ = ["OnionLimits", "Rates"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OnionLimits:
    """How much comes in, waits and goes out. ValueError for a number that is not positive."""

    per_second: float = 10
    burst: float = 20
    """Messages of one peer; others take 4 to 10 a second."""
    bytes_per_second: float = 64 * 1024
    byte_burst: float = 256 * 1024
    """Their bytes: eight of the largest at once."""
    all_per_second: float = 100
    all_burst: float = 200
    """Messages of all peers together: each costs half a millisecond, so this is a twentieth of a core."""
    waiting_bytes: int = 256 * 1024
    """That may wait for a peer already when one more is passed on to it."""
    requests: int = 256
    """Answers that are waited for at a time."""
    own_layers: int = 10
    """Layers of one message that are for ourselves, one in the other: each costs as much as a message."""
    remembered: int = 1000
    remembered_seconds: float = 60
    """Peers that have gone whose bucket is kept, and how long: who comes back finds it as it was."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) <= 0:
                raise ValueError(f"{field.name} is above 0, not {getattr(self, field.name)}")


class _Bucket:
    """Tokens: so many at once, so many more each second."""

    __slots__ = ("_at", "_burst", "_per_second", "_tokens")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second: Final = per_second
        self._burst: Final = burst
        self._tokens = burst
        self._at = now

    def holds(self, tokens: float, now: float) -> bool:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._per_second)
        self._at = now
        return self._tokens >= tokens

    def take(self, tokens: float) -> None:
        self._tokens -= tokens


class Rates:
    """The buckets of all peers. Those of peers that have gone are kept for a while, and no more than so many."""

    __slots__ = ("_all", "_gone", "_here", "_limits")

    def __init__(self, limits: OnionLimits, now: float) -> None:
        self._limits: Final = limits
        self._all: Final = _Bucket(limits.all_per_second, limits.all_burst, now)
        self._here: Final[dict[bytes, tuple[_Bucket, _Bucket]]] = {}
        self._gone: Final[dict[bytes, tuple[float, tuple[_Bucket, _Bucket]]]] = {}
        """With the time at which each went, the first first."""

    def __len__(self) -> int:
        """How many peers' buckets there are."""
        return len(self._here) + len(self._gone)

    def came(self, node_id: bytes, now: float) -> None:
        """A peer is there: with the bucket that it left, or a full one."""
        limits = self._limits
        kept = self._gone.pop(node_id, None)
        if kept is not None and now - kept[0] <= limits.remembered_seconds:
            self._here[node_id] = kept[1]
        else:
            self._here[node_id] = (
                _Bucket(limits.per_second, limits.burst, now),
                _Bucket(limits.bytes_per_second, limits.byte_burst, now),
            )

    def left(self, node_id: bytes, now: float) -> None:
        """A peer has gone."""
        buckets = self._here.pop(node_id, None)
        if buckets is not None:
            self._gone[node_id] = (now, buckets)
        while self._gone:
            first = next(iter(self._gone))  # the one that went first
            if len(self._gone) <= self._limits.remembered and now - self._gone[first][0] <= (
                self._limits.remembered_seconds
            ):
                break
            del self._gone[first]

    def refuse(self, node_id: bytes, size: int, now: float) -> Drop | None:
        """Takes what a message of so many bytes costs its sender and all together; or why it may not come."""
        if node_id not in self._here:
            self.came(node_id, now)
        messages, data = self._here[node_id]
        if not messages.holds(1, now) or not data.holds(size, now):
            return Drop.RATE
        if not self._all.holds(1, now):
            return Drop.RATE_OF_ALL
        messages.take(1)
        data.take(size)
        self._all.take(1)
        return None
