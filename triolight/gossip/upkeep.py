"""Upkeep: what time alone does to a graph that strangers fill. What is old goes.

Pure: both clocks' times come in. A clock of the day that jumps may be wrong: until peers agree with it nothing is taken
out for its age, for a wrong clock would empty the graph.
"""

from __future__ import annotations

from typing import Final

from triolight.gossip.rules import GossipRules

__all__ = ["Upkeep"]

RULES_SECONDS: Final = 1.0
"""How often what the rules keep for some time is looked at."""
PRUNE_SECONDS: Final = 3600.0
"""How often the graph is looked through for what is too old; a thousand channels a second then."""
CLOCK_STEP: Final = 3600.0
"""How far the clock of the day may go from the monotonic one between two looks."""
AGREEING_PEERS: Final = 2
"""Peers who must have told something new that fits the clock of the day after it has jumped."""


class Upkeep:
    """Keeps one graph."""

    __slots__ = (
        "_agreeing",
        "_apart",
        "_at",
        "_prune_at",
        "_rules",
        "frozen",
        "steps",
    )

    def __init__(self, rules: GossipRules, now: float, unix: float) -> None:
        self._rules: Final = rules
        self._at = now + RULES_SECONDS
        self._prune_at = now + PRUNE_SECONDS
        self._apart = now - unix
        """How far apart both clocks were at the last look."""
        self._agreeing: set[bytes] = set()
        self.frozen = False
        """Whether the clock of the day has jumped, and too few peers have agreed with it since."""
        self.steps = 0
        """How often it has jumped."""

    @property
    def due(self) -> float:
        """When `tick` has something to do."""
        return self._at

    def heard(self, source: bytes, timestamp: int, unix: float) -> None:
        """A peer has told something signed, of this second, that nobody had told before."""
        if self.frozen and abs(timestamp - unix) <= CLOCK_STEP:
            self._agreeing.add(source)
            if len(self._agreeing) >= AGREEING_PEERS:
                self.frozen = False

    def tick(self, now: float, unix: float) -> bool:
        """Does what is due. Whether anything was."""
        if now < self._at:
            return False
        self._at = now + RULES_SECONDS
        self._look_at_clocks(now - unix)
        self._rules.tick(unix)
        if now >= self._prune_at and not self.frozen and self._rules.prune(unix):
            self._prune_at = now + PRUNE_SECONDS
        return True

    def _look_at_clocks(self, apart: float) -> None:
        if abs(apart - self._apart) > CLOCK_STEP:
            self.steps += 1
            self.frozen = True
            self._agreeing.clear()
        self._apart = apart
