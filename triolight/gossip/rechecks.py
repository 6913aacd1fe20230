"""When a chain is asked about channels that are in the graph already: those it has not confirmed; each week, all.

Few at a time, beside what peers tell, so that nobody's announcement waits for them or is refused. Decides when;
`rules.py` asks, and draws the conclusions. Times are given to it.
"""

from __future__ import annotations

import math
from typing import Final

from triolight.gossip.rules import GossipRules

__all__ = ["Rechecks"]

AT_ONCE: Final = 64
"""Of the graph's own channels that wait for an answer; peers' announcements have all the other places."""
LOOKED_AT: Final = 5000
"""Channels that are looked at in one call, those that need no answer too: two milliseconds."""
EVERY: Final = 3600.0
"""Seconds from the end of one look at all that no chain has confirmed to the next one."""
SPENDS_EVERY: Final = 7 * 86_400.0
"""From one look at all channels to the next, where no blocks say which outputs they spend."""
FAILED_PAUSE: Final = 60.0
"""Once a chain could not answer: what is in the graph can wait for it."""


class Rechecks:
    """Asks about the next channels whenever `go_on` is called. Does nothing where there is no chain to ask."""

    __slots__ = ("_failures", "_proven", "_resting_until", "_rules", "_spends_at")

    def __init__(self, rules: GossipRules) -> None:
        self._rules: Final = rules
        self._resting_until = -math.inf
        self._spends_at: float | None = None
        self._proven = False
        self._failures = 0

    @property
    def left(self) -> int:
        """Channels that are still to be asked about in this turn, or wait for their answer. None of them once a chain
        could not answer: the next turn comes by itself."""
        rules = self._rules
        if rules.utxo_lookup is None or (self._resting_until > -math.inf and not rules.lookups.count_of(None)):
            return 0
        return rules.graph.unproven

    def go_on(self, now: float, unix: float) -> None:
        """Asks about as many as there is room for. `now`: of a clock that only goes on; `unix`: for the rules."""
        rules = self._rules
        if rules.utxo_lookup is None or now < self._resting_until:
            return
        if self._spends_at is None:
            self._spends_at = now + SPENDS_EVERY
        if self._resting_until > -math.inf:  # a turn begins, or goes on after a pause
            self._resting_until = -math.inf
            self._failures = rules.rechecks_failed
            self._proven = self._proven or now >= self._spends_at
        room = AT_ONCE - rules.lookups.count_of(None)
        if rules.rechecks_failed != self._failures:
            self._resting_until = now + FAILED_PAUSE
        elif room > 0 and rules.recheck(unix, most=room, look_at=LOOKED_AT, proven=self._proven):
            self._resting_until = now + EVERY
            if self._proven:
                self._proven, self._spends_at = False, now + SPENDS_EVERY
