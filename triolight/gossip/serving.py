"""What each peer is to hear next: our own gossip, answers, what is new, history; in this order, when it has room.

Of a peer there is kept where it stands in each of these, and one message at the most. What costs more than it brings is
held to a rate: answers and histories by their bytes, all peers' together. No clock and no chance: both are handed in.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal, TypeAlias, TypeVar

from triolight.gossip.answers import answer_channel_range, answer_short_channel_ids, end_of
from triolight.gossip.changes import Change, ChannelAdded, ChannelChanged, ChannelProven, NodeChanged
from triolight.gossip.filters import Dump, TimestampFilter
from triolight.gossip.graph import Channel, NetworkGraph, timestamp_of
from triolight.gossip.policy import ServePolicy
from triolight.gossip.relay import Key, Place, RelayLimits, Ring, channel_key, update_key
from triolight.messages import GossipTimestampFilter, QueryChannelRange, QueryShortChannelIds

__all__ = ["Serving"]

_T = TypeVar("_T")
Kind: TypeAlias = Literal["range", "ids", "news", "history"]
_KINDS: Final[tuple[Kind, ...]] = ("range", "ids", "news", "history")
_LIMITED: Final = frozenset({"range", "ids", "history"})
STARVED_SECONDS: Final = 0.25
"""After so long those are asked for again who had to wait for the rate."""
SWEEP_SECONDS: Final = 600.0
QUOTAS_KEPT: Final = 20_000
"""Nodes of which it is remembered when they were told a history; and nodes that have gone, of which it is remembered
what they had asked for. More than there are peers: 6 MB. Whoever makes more keys than that in ten minutes gets no more
than is there for all together."""


class Rate:
    """A token bucket: so much a second, and a second's worth at once, or `most`. It may be overdrawn once."""

    __slots__ = ("_at", "_level", "_most", "_per_second")

    def __init__(self, per_second: float, now: float, most: float | None = None) -> None:
        self._per_second: Final = per_second
        self._most: Final = per_second if most is None else most
        self._level = self._most
        self._at = now

    def wait(self, now: float, least: float = 1.0) -> float:
        """For how many seconds there is nothing to be had; 0: there is something."""
        self._level = min(self._most, self._level + (now - self._at) * self._per_second)
        self._at = now
        return max(0.0, (least - self._level) / self._per_second)

    def take(self, much: float) -> float:
        """So much is gone. What is left; below nothing, what is owed."""
        self._level -= much
        return self._level


class Served:
    """A peer."""

    __slots__ = (
        "answers",
        "dump",
        "fell_before",
        "flush_at",
        "foreign",
        "held",
        "history_at",
        "looks_at",
        "node_id",
        "own",
        "place",
        "range_at",
        "ranges",
        "wanted",
    )

    def __init__(self, node_id: bytes, place: Place, flush_at: float, ranges: Rate, foreign: bool) -> None:
        self.node_id: Final = node_id
        self.foreign: Final = foreign
        """Whether it has said that it is of other chains: it is told nothing that it does not ask for."""
        self.wanted: TimestampFilter | None = None
        self.place: Final = place
        self.flush_at = flush_at
        """When it is given what is new, the next time."""
        self.own: dict[Key, None] = {}
        """What of ours it has not heard."""
        self.answers: dict[Kind, Iterator[bytes | None]] = {}
        """What is being given, by what it is."""
        self.held: tuple[Kind, bytes] | None = None
        """A message for which there was no room."""
        self.dump: Dump | None = None
        self.history_at = math.inf
        """When its history may begin; infinite: none is wanted."""
        self.fell_before = 0
        """What it had missed when its history began."""
        self.ranges: Final = ranges
        self.range_at = 0.0
        """When its range may be answered."""
        self.looks_at = math.inf
        """When it is looked at, the next time."""


class Serving:
    """All peers.

    Args:
      graph: what is served.
      policy: the numbers.
      unchecked: whether channels go out that no chain has confirmed.
      clock: seconds, of any beginning.
      chance: a number from 0 up to 1.
      wake: is told of peers for whom there is something.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        policy: ServePolicy,
        *,
        unchecked: bool,
        clock: Callable[[], float],
        chance: Callable[[], float],
        wake: Callable[[Iterable[bytes]], None],
    ) -> None:
        now = clock()
        self.ring: Final = Ring(graph, policy.ring_bytes, unchecked=unchecked)
        self.limits: Final = RelayLimits(policy.update_every, policy.node_every, policy.burst, policy.same_every)
        self._graph: Final = graph
        self._policy: Final = policy
        self._unchecked: Final = unchecked
        self._clock: Final = clock
        self._chance: Final = chance
        self._wake: Final = wake
        self._peers: dict[bytes, Served] = {}
        self._own: dict[Key, None] = {}
        self._rate: Final = Rate(policy.answer_rate, now)
        self._starved: dict[bytes, None] = {}
        """Those who wait for the rate, in turn."""
        self._histories: set[bytes] = set()
        """Those to whom one is told."""
        self._waiting: dict[bytes, None] = {}
        """Those who wait for one of these to end."""
        self._begun: dict[bytes, float] = {}
        """When a history began, of nodes that may have gone since."""
        self._ranges: dict[bytes, tuple[float, Rate]] = {}
        """Of nodes that have gone and had asked for ranges: when they went, and what they have left."""
        self._looks: list[tuple[float, bytes]] = []
        self._sweep_at = now + SWEEP_SECONDS

    # Who is there.

    def connected(self, node_id: bytes, foreign: bool) -> None:
        """A peer is there; it gets all that is our own."""
        now = self._clock()
        flush_at = now + self._chance() * self._policy.flush_every
        kept = self._ranges.pop(node_id, None)
        ranges = Rate(1.0, now, self._policy.ranges_at_once) if kept is None else kept[1]
        peer = self._peers[node_id] = Served(node_id, self.ring.place(), flush_at, ranges, foreign)
        if self._own and not foreign:
            peer.own.update(dict.fromkeys(sorted(self._own, key=_in_order)))
            self._wake((node_id,))

    def disconnected(self, node_id: bytes) -> None:
        """A peer has gone, and with it all that was to come."""
        peer = self._peers.pop(node_id, None)
        if peer is not None:
            self._starved.pop(node_id, None)
            self._end_history(peer)
            if peer.ranges.wait(self._clock(), self._policy.ranges_at_once):
                _remember(self._ranges, node_id, (self._clock(), peer.ranges))

    # What it asks for.

    def filtered(self, node_id: bytes, message: GossipTimestampFilter) -> None:
        """A filter takes the place of the one before at once; what is on its way by that one stays there."""
        peer = self._peers.get(node_id)
        if peer is None or peer.foreign:
            return
        now = self._clock()
        wanted = TimestampFilter.of(message)
        first = peer.wanted is None
        peer.wanted = wanted
        self._end_history(peer)
        if peer.held is not None and peer.held[0] in ("news", "history"):
            peer.held = None
        if first:
            # Its history has what is there now.
            place = self.ring.place()
            peer.place.begin = peer.place.at = peer.place.end = place.end
        elif "news" in peer.answers:
            peer.answers["news"] = self._news(peer)
        peer.place.unsure = True
        if wanted.wants:
            peer.history_at = max(now, self._begun.get(node_id, -math.inf) + self._policy.dump_every)
        self._look(peer, now)

    def asked_range(self, node_id: bytes, query: QueryChannelRange) -> bool:
        """It gets an answer. False: it has not had its last one."""
        peer = self._peers.get(node_id)
        if peer is None:
            return True
        if "range" in peer.answers:
            return False
        now = self._clock()
        peer.answers["range"] = answer_channel_range(self._graph, query, unchecked=self._unchecked)
        peer.range_at = now + peer.ranges.wait(now)
        peer.ranges.take(1)
        self._look(peer, now)
        return True

    def asked_ids(self, node_id: bytes, query: QueryShortChannelIds, *, refused: bool = False) -> bool:
        """As `asked_range`; `refused`: its end is all the answer. DecodeError for a query that is none."""
        peer = self._peers.get(node_id)
        if peer is None:
            return True
        if "ids" in peer.answers:
            return False
        if refused:
            peer.answers["ids"] = iter((end_of(query, 1),))
        else:
            peer.answers["ids"] = answer_short_channel_ids(self._graph, query, unchecked=self._unchecked)
        self._wake((node_id,))
        return True

    # What there is.

    def announce(self, *keys: Key) -> None:
        """What is in the graph of these is our own: all peers get it, and all that come, whatever they filter."""
        self._own.update(dict.fromkeys(keys))
        meant = [peer for peer in self._peers.values() if not peer.foreign]
        for peer in meant:
            peer.own.update(dict.fromkeys(keys))
        if meant:
            self._wake(peer.node_id for peer in meant)

    def changed(self, change: Change, unix: float) -> None:
        """Something is new in the graph."""
        match change:
            case ChannelAdded(channel=channel, source=source, returned=returned):
                # Its updates, should there be any already, are changes of their own; of one that is back both are new.
                self._put_channel(channel, None if returned else source, whole=returned)
            case ChannelProven(channel=channel):
                if not self._unchecked:
                    self._put_channel(channel, None, whole=True)
            case ChannelChanged(channel=channel):
                if channel.relayable(unchecked=self._unchecked):
                    self._put_update(change, channel, unix)
            case NodeChanged(node=node, source=source):
                announcement = node.relayable(unchecked=self._unchecked)
                if announcement is None or node.node_id in self._own:
                    return
                if self.limits.allow(node.node_id, unix):
                    self.ring.put(node.node_id, announcement, source)
                else:
                    self.ring.replace(node.node_id, announcement, source)
            case _:
                pass

    def _put_update(self, change: ChannelChanged, channel: Channel, unix: float) -> None:
        """An end of a channel that goes to others has said something."""
        direction, said = change.direction, change.before
        key = update_key(channel.short_channel_id, direction)
        update = channel.update_bytes(direction)
        if update is None or key in self._own:
            return
        last, other = 0 if said is None else timestamp_of(said), channel.timestamp(1 - direction)
        if not last and not other:
            self._put_channel(channel, None)
        if channel.relayable_update(direction, unchecked=self._unchecked) is None:
            return  # 65 kB that go nowhere would push out what others wait for
        # What follows the timestamp is all that an update says.
        same = said is not None and said[110:] == update[110:]
        # The first word of an end is no repetition; so a whole graph that comes is not remembered here.
        if self.limits.is_news(key, timestamp_of(update), last, same) and (not last or self.limits.allow(key, unix)):
            self.ring.put(key, update, change.source, (other, last) if direction else (last, other))
        else:
            self.ring.replace(key, update, change.source)

    def _put_channel(self, channel: Channel, source: bytes | None, *, whole: bool = False) -> None:
        """A channel is new for others as soon as one of its ends has said something."""
        if not channel.relayable(unchecked=self._unchecked):
            return
        updates = channel.update_bytes(0), channel.update_bytes(1)
        key = channel_key(channel.short_channel_id)
        if key in self._own or updates == (None, None):
            return
        self.ring.put(key, channel.announcement_bytes, source)
        for direction, update in enumerate(updates if whole else ()):
            key = update_key(channel.short_channel_id, direction)
            if update is not None and key not in self._own:
                self.ring.put(key, update)

    # What it is given.

    def give(self, node_id: bytes, room: int) -> list[bytes]:
        """What a peer gets next, of so many bytes at the most."""
        peer = self._peers.get(node_id)
        given: list[bytes] = []
        if peer is None:
            return given
        now, left = self._clock(), room
        self._starved.pop(node_id, None)
        for own in list(peer.own):
            message = self._own_bytes(own)
            if message is not None and len(message) > left:
                return given
            del peer.own[own]
            if message is not None:
                given.append(message)
                left -= len(message)
        if peer.held is not None:
            if len(peer.held[1]) > left:
                return given
            given.append(peer.held[1])
            left -= len(peer.held[1])
            peer.held = None
        rest: int | None = left
        while rest is not None and (kind := self._next_kind(peer, now)) is not None:
            rest = self._give_of(peer, kind, given, rest)
        return given

    def _next_kind(self, peer: Served, now: float) -> Kind | None:
        """Which of its answers is given next; None: none for now."""
        for kind in _KINDS:
            if kind not in peer.answers or (kind == "range" and now < peer.range_at):
                continue
            if kind in _LIMITED and self._rate.wait(now, self._least(kind)):
                self._starved[peer.node_id] = None
                continue
            return kind
        return None

    def _least(self, kind: Kind) -> float:
        """What the rate must have left for one message more. A range may be a second ahead of it: who asks for one
        waits for it, and some not for long."""
        return 1.0 - (self._policy.answer_rate if kind == "range" else 0)

    def _give_of(self, peer: Served, kind: Kind, given: list[bytes], left: int) -> int | None:
        """As much of an answer as there is room for. What is left of the room then; None: that was all for now."""
        rate = self._rate if kind in _LIMITED else None
        least = self._least(kind)
        for message in peer.answers[kind]:
            if message is None:
                if not given:
                    self._wake((peer.node_id,))
                return None
            size = len(message)
            available = least if rate is None else rate.take(size)
            if size > left:
                peer.held = kind, message
                return None
            given.append(message)
            left -= size
            if available < least:
                return left
        self._end(peer, kind)
        return left

    def _end(self, peer: Served, kind: Kind) -> None:
        del peer.answers[kind]
        if kind == "history":
            peer.place.unsure = peer.place.fell > peer.fell_before
            self._end_history(peer)

    def _end_history(self, peer: Served) -> None:
        peer.dump, peer.history_at = None, math.inf
        peer.answers.pop("history", None)
        self._waiting.pop(peer.node_id, None)
        self._make_way(peer.node_id)

    def _make_way(self, node_id: bytes) -> None:
        """If one is told to this peer, the next one may begin."""
        if node_id in self._histories:
            self._histories.discard(node_id)
            for waiting in list(self._waiting)[:1]:
                self._look(self._peers[waiting], self._clock())

    def _news(self, peer: Served) -> Iterator[bytes | None]:
        wanted = peer.wanted or TimestampFilter(0, 0)
        return self.ring.give(peer.place, peer.node_id, wanted, lambda key: _ahead(peer, key))

    def _own_bytes(self, key: Key) -> bytes | None:
        if isinstance(key, bytes):
            node = self._graph.nodes.get(key)
            return None if node is None else node.announcement_bytes
        channel = self._graph.channels.get(key >> 2)
        if channel is None:
            return None
        return channel.update_bytes((key & 3) - 1) if key & 3 else channel.announcement_bytes

    # Time.

    @property
    def due(self) -> float:
        """When `tick` has something to do, at the earliest, by the clock."""
        first = min(self._sweep_at, self._looks[0][0] if self._looks else math.inf)
        if self._starved:
            first = min(first, self._clock() + max(STARVED_SECONDS, self._rate.wait(self._clock())))
        return first

    def tick(self, unix: float) -> None:
        """Does what is due."""
        now = self._clock()
        looks = self._looks
        while looks and looks[0][0] <= now:
            at, node_id = heapq.heappop(looks)
            peer = self._peers.get(node_id)
            if peer is not None and peer.looks_at == at:
                peer.looks_at = math.inf
                self._look(peer, now)
        if self._waiting:
            # Who reads next to nothing hears the rest of its own as well, and holds up nobody else's.
            late = now - self._policy.dump_every
            for node_id in [one for one in self._histories if self._begun.get(one, late) <= late]:
                self._make_way(node_id)
        if self._starved and not self._rate.wait(now):
            starved, self._starved = self._starved, {}
            self._wake(starved)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_SECONDS
            self.limits.sweep(unix, unix)
            self._ranges = {one: kept for one, kept in self._ranges.items() if kept[0] > now - SWEEP_SECONDS}
            self._begun = {one: at for one, at in self._begun.items() if at > now - self._policy.dump_every}

    def _look(self, peer: Served, now: float) -> None:
        """What has become due for a peer; and when it will be looked at again."""
        every, again = self._policy.flush_every, math.inf
        if peer.wanted is not None and peer.wanted.wants:
            if now >= peer.flush_at:
                peer.flush_at += every * (math.floor((now - peer.flush_at) / every) + 1)
                if "news" not in peer.answers and self.ring.open(peer.place):
                    peer.answers["news"] = self._news(peer)
            again = peer.flush_at
        if now >= peer.history_at:
            if len(self._histories) < self._policy.dumps and peer.wanted is not None:
                self._waiting.pop(peer.node_id, None)
                self._histories.add(peer.node_id)
                _remember(self._begun, peer.node_id, now)
                peer.history_at, peer.fell_before = math.inf, peer.place.fell
                peer.dump = Dump(self._graph, peer.wanted, unchecked=self._unchecked)
                peer.answers["history"] = iter(peer.dump)
            else:
                self._waiting[peer.node_id] = None
        else:
            again = min(again, peer.history_at)
        if "range" in peer.answers and now < peer.range_at:
            again = min(again, peer.range_at)
        if peer.answers:
            self._wake((peer.node_id,))
        if again < peer.looks_at:
            peer.looks_at = again
            heapq.heappush(self._looks, (again, peer.node_id))


def _remember(kept: dict[bytes, _T], node_id: bytes, what: _T) -> None:
    """As the newest one; the oldest goes if there are too many."""
    kept.pop(node_id, None)
    kept[node_id] = what
    if len(kept) > QUOTAS_KEPT:
        del kept[next(iter(kept))]


def _ahead(peer: Served, key: Key) -> bool:
    return peer.dump is not None and peer.dump.is_ahead(key)


def _in_order(key: Key) -> tuple[int, int | bytes]:
    return (2, key) if isinstance(key, bytes) else (min(1, key & 3), key)
