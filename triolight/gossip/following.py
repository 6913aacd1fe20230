"""Following a network: who streams gossip to us, since when, and who is asked now and then whether we missed something.

Pure: who comes and goes and what is new is told, and what is to be done is given. A peer of most makes hears the filter
that it needs at once; one that may be LDK, which heeds the first filter alone, only once it was asked something.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from triolight.gossip.asking import SyncPolicy

__all__ = ["Check", "Following", "Stream"]


@dataclass(frozen=True, slots=True)
class Stream:
    """A peer is to hear a filter: what is signed from so many seconds ago on; None: nothing."""

    node_id: bytes
    seconds_ago: int | None


@dataclass(frozen=True, slots=True)
class Check:
    """A peer is to be asked for its channels: all of them, or those of the newest blocks."""

    node_id: bytes
    everything: bool


@dataclass(slots=True)
class _Followed:
    early: bool
    """Whether it may hear a filter before it was asked anything."""
    joined_at: float
    checked: bool = False
    told: bool = False
    """Whether it has heard a filter."""
    streams: bool = False
    asked_check: bool = False
    since: float = -math.inf
    """When it last began to stream."""
    novel: int = 0
    """What it was the first to tell since streams were last looked at."""


class Following:
    """Who is followed.

    Args:
      policy: the numbers.
      now: the time.
      is_empty: whether the graph is.
    """

    def __init__(self, policy: SyncPolicy, now: float, is_empty: Callable[[], bool]) -> None:
        self.policy: Final = policy
        self._is_empty: Final = is_empty
        self._peers: dict[bytes, _Followed] = {}
        self._rotate_at = now + policy.rotate
        self._novel_at = self._looked = now
        self._check_at = now + policy.resync
        self._all_at = now + policy.resync_all
        self._asked: list[bytes] = []
        """Who was checked, the latest last."""

    @property
    def streams(self) -> frozenset[bytes]:
        """Who streams to us."""
        return frozenset(one for one, peer in self._peers.items() if peer.streams)

    def join(self, node_id: bytes, now: float, *, early: bool) -> None:
        """A peer has come. `early`: it offers gossip_queries_ex."""
        self._peers[node_id] = _Followed(early, now)

    def leave(self, node_id: bytes) -> None:
        """It has gone."""
        self._peers.pop(node_id, None)

    def checked(self, node_id: bytes, *, filtered: bool = False) -> None:
        """It was asked for its channels, and perhaps to tell by itself."""
        peer = self._peers.get(node_id)
        if peer is not None:
            peer.checked, peer.asked_check = True, False
            peer.told = peer.told or filtered

    def new_from(self, node_id: bytes, now: float) -> None:
        """It was the first to tell something."""
        peer = self._peers.get(node_id)
        if peer is not None and peer.streams:
            peer.novel += 1
            self._novel_at = now

    @property
    def look_again(self) -> float:
        """When `tick` has something to do, if nobody comes or goes."""
        soonest = min(self._rotate_at, self._novel_at + self.policy.stall, self._check_at, self._all_at)
        settles = (one.joined_at + self.policy.quiet for one in self._peers.values() if not one.early)
        return min(soonest, min((one for one in settles if one > self._looked), default=math.inf))

    def tick(self, now: float) -> list[Stream | Check]:
        """What is to be done."""
        self._looked = now
        given: list[Stream | Check] = []
        if now >= self._novel_at + self.policy.stall:
            self._novel_at = now
            given += self._stop(list(self.streams), now)
        if now >= self._rotate_at:
            self._rotate_at = now + self.policy.rotate
            streaming = sorted(self.streams, key=lambda one: self._peers[one].novel)
            given += self._stop(streaming[:1], now)
            for peer in self._peers.values():
                peer.novel = 0
        wanted = self.policy.streams_empty if self._is_empty() else self.policy.streams
        candidates = sorted(
            (one for one, peer in self._peers.items() if not peer.streams), key=lambda one: self._peers[one].since
        )
        for node_id in candidates[: max(0, wanted - len(self.streams))]:
            given += self._start(node_id, now)
        for node_id, peer in self._peers.items():
            if peer.early and not peer.told and not peer.streams:
                peer.told = True
                given.append(Stream(node_id, None))
        if self._peers and now >= min(self._check_at, self._all_at):
            everything = now >= self._all_at
            self._check_at = now + self.policy.resync
            if everything:
                self._all_at = now + self.policy.resync_all
            given.append(Check(self._next_to_check(), everything))
        elif now >= min(self._check_at, self._all_at):
            # Nobody is here. Whoever comes first is asked soon.
            self._check_at = now + self.policy.pace * 100
            self._all_at = max(self._all_at, self._check_at)
        return given

    def _start(self, node_id: bytes, now: float) -> list[Stream | Check]:
        peer = self._peers[node_id]
        if not (peer.early or peer.checked):
            if peer.asked_check or now < peer.joined_at + self.policy.quiet:
                return []  # perhaps it is about to be asked for everything
            peer.asked_check = True
            return [Check(node_id, everything=False)]
        peer.streams, peer.told, peer.since, peer.novel = True, True, now, 0
        return [Stream(node_id, self.policy.backlog)]

    def _stop(self, node_ids: list[bytes], now: float) -> list[Stream | Check]:
        """As many of these streams as there are others to take their places."""
        free = sum(not peer.streams for peer in self._peers.values())
        given: list[Stream | Check] = []
        for node_id in node_ids[:free]:
            peer = self._peers[node_id]
            peer.streams, peer.since = False, now
            given.append(Stream(node_id, None))
        return given

    def _next_to_check(self) -> bytes:
        """Who was asked longest ago."""
        order = {one: at for at, one in enumerate(self._asked)}
        node_id = min(self._peers, key=lambda one: order.get(one, -1))
        self._asked = [one for one in self._asked if one != node_id and one in self._peers]
        self._asked.append(node_id)
        return node_id
