"""One connection that is recorded: what of what it says we have asked for, and what of it was lost. Knows no file.

Everything follows from the peer's own numbers, which count what was read and what was sent, whoever of us sent it.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Final

from triolight.gossip.formats.places import problem, timestamp_of
from triolight.services.record import ANSWER, HISTORY, PUSHED
from triolight.shell.peer import Peer

HISTORY_SECONDS: Final = 60.0
"""After a filter, and after each message that is older than it."""
ANSWER_SECONDS: Final = 120.0
"""A query that has no end by then has none: LDK's node gives none."""
QUERY: Final = 261
FILTER: Final = 265


class Session:
    """A connection that is recorded."""

    __slots__ = (
        "_counted",
        "_filters_of_others",
        "_queried_at",
        "_queries_sent",
        "_types",
        "foreign_since",
        "history_until",
        "last_ns",
        "news_from",
        "number",
        "own_filters",
        "peer",
        "queries",
        "rtt",
        "taken",
    )

    def __init__(self, number: int, peer: Peer, types: Collection[int], whole: bool) -> None:
        """`types`: those that are recorded. `whole`: all that it says is heard, from its Init on."""
        self.number: Final = number
        self.peer: Final = peer
        self._types: Final = types
        self.taken = 0
        """Messages that are sightings, or are counted as lost already."""
        self.last_ns = 0
        """Of its last sighting, or of its beginning."""
        self.rtt: float | None = None
        self.queries = 0
        """Of ours that have no end yet."""
        self._queried_at = -math.inf
        self.history_until = -math.inf
        """By the run's clock."""
        self.news_from = 0
        """Seconds since 1970: what is signed then or later is no history."""
        self._counted = 0 if whole else self._received()
        self._queries_sent = 0
        self.own_filters = 0
        """That the recorder has sent, or is about to."""
        self._filters_of_others = 0
        self.foreign_since: int | None = None
        """Seconds since 1970: since then the filter that it goes by is somebody else's of us."""

    def _received(self) -> int:
        return sum(self.peer.counts_of(one)[0] for one in self._types)

    def lost(self) -> int:
        """Read from the peer since it is recorded, and not taken."""
        return max(0, self._received() - self._counted - self.taken)

    @property
    def has_filter(self) -> bool:
        """Whether we have sent it one."""
        return self.peer.counts_of(FILTER)[1] > 0

    def look_at_sent(self, now: float, unix: int) -> int:
        """What became of what it says since this was asked last: others of us may have sent it queries and filters."""
        _, queries = self.peer.counts_of(QUERY)
        _, filters = self.peer.counts_of(FILTER)
        asked, self._queries_sent = queries - self._queries_sent, queries
        others = filters - self.own_filters
        filtered = others > self._filters_of_others
        if filtered:
            self._filters_of_others = others
            self.filter_went(now, unix)
            if self.foreign_since is None:
                self.foreign_since = unix
        if asked:
            self.queries += asked
            self._queried_at = now
        return ANSWER if asked else HISTORY if filtered else PUSHED

    def took_end(self) -> None:
        """The end of an answer."""
        self.queries = max(0, self.queries - 1)

    def asked(self, raw: bytes, at: float) -> int:
        """What a message is to our asking."""
        if self.queries:
            if at <= self._queried_at + ANSWER_SECONDS:
                return ANSWER
            self.queries = 0
        if at > self.history_until:
            return PUSHED
        stamp = 0 if problem(raw) else timestamp_of(raw)
        if stamp >= self.news_from:
            return PUSHED
        if stamp:  # a channel_announcement has none
            self.history_until = at + HISTORY_SECONDS
        return HISTORY

    def filter_went(self, now: float, unix: int) -> None:
        """From now on history may come."""
        self.history_until, self.news_from = now + HISTORY_SECONDS, unix
