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
OF_ALL: Final = 4
"""The same while all are asked about, and so many a second: 63,000 take four hours, and nobody else's wait for them."""
SLICES: Final = 5
"""Of `prune_slice` channels that are looked at in one call, those that need no answer too: two milliseconds."""
EVERY: Final = 3600.0
"""Seconds from the end of one look at all that no chain has confirmed to the next one."""
ALL_EVERY: Final = 7 * 86_400.0
"""From one look at all channels to the next, for no block says which outputs it spends. The first one an hour after the
start: nobody knows what was spent before."""
FAILED_PAUSE: Final = 60.0
"""Once a chain could not answer: what is in the graph can wait for it."""


class Rechecks:
    """Asks about the next channels whenever `go_on` is called. Does nothing where there is no chain to ask."""

    __slots__ = ("_all", "_all_at", "_asked_at", "_failures", "_over", "_resting_until", "_rules")

    def __init__(self, rules: GossipRules) -> None:
        self._rules: Final = rules
        self._resting_until = -math.inf
        self._all = False
        self._all_at: float | None = None
        self._asked_at = -math.inf
        self._failures = 0
        self._over = False
        """Whether the next call begins a turn, and does not go on with one after a pause."""

    @property
    def left(self) -> int:
        """Channels that no chain has confirmed and about which one is still to be asked in this turn, or which wait for
        its answer. None once it could not answer: the next turn comes by itself."""
        rules = self._rules
        if rules.utxo_lookup is None or (self._resting_until > -math.inf and not rules.lookups.count_of(None)):
            return 0
        return rules.graph.unproven

    def go_on(self, now: float, unix: float) -> None:
        """Asks about as many as there is room for. `now`: of a clock that only goes on; `unix`: for the rules."""
        rules = self._rules
        if rules.utxo_lookup is None or now < self._resting_until:
            return
        if self._all_at is None:
            self._all_at = now + EVERY
        if self._resting_until > -math.inf:
            self._resting_until = -math.inf
            self._failures = rules.rechecks_failed
            if self._over:
                self._over, self._all = False, now >= self._all_at
        if rules.rechecks_failed != self._failures:
            self._resting_until = now + FAILED_PAUSE
        elif not self._all or now >= self._asked_at + 1:
            self._asked_at = now
            self._ask(now, unix)

    def _ask(self, now: float, unix: float) -> None:
        rules, most = self._rules, OF_ALL if self._all else AT_ONCE
        made, room = rules.lookups_made, most - rules.lookups.count_of(None)
        for _ in range(SLICES):
            if room <= 0 or rules.lookups_made != made or most - rules.lookups.count_of(None) != room:
                return
            if rules.recheck(unix, most=room, proven=self._all):
                self._resting_until, self._over = now + EVERY, True
                if self._all:
                    self._all_at = now + ALL_EVERY
                return
