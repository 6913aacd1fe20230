"""Passing on: one ring of what is new, a place in it for each peer, and what is said no more often than is decent.

Nothing is kept for a peer but where it stands: who reads slowly costs as much as who reads. What a peer is given is
chosen when it is given: announcements, then updates, then nodes, each in its newest form, none to whoever sent it, and
no update before its channel. No clock and no chance: both are handed in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

from triolight.gossip.filters import TimestampFilter
from triolight.gossip.graph import Channel, NetworkGraph

__all__ = ["Key", "Place", "RelayLimits", "Ring", "channel_key", "is_update", "update_key"]

Key: TypeAlias = int | bytes
"""What a message is about: a node by its id; a channel by its id x 4, with 1 or 2 more for the update of a side."""

ENTRY_BYTES: Final = 256
"""What an entry takes beside its message."""
MOST_SENDERS: Final = 64
"""Peers that are remembered of one message. One more may get back what it has sent."""


def channel_key(short_channel_id: int) -> Key:
    """Of a channel_announcement."""
    return short_channel_id << 2


def update_key(short_channel_id: int, direction: int) -> Key:
    """Of a channel_update."""
    return short_channel_id << 2 | direction + 1


def is_update(key: Key) -> bool:
    """Whether it is a channel_update's."""
    return isinstance(key, int) and bool(key & 3)


class Entry:
    """A message that is to be passed on."""

    __slots__ = ("before", "key", "message", "number", "senders")

    def __init__(self, key: Key, number: int, message: bytes, before: tuple[int, int], sender: bytes | None) -> None:
        self.key: Final = key
        self.number: Final = number
        self.message = message
        self.before: Final = before
        """Of an update: what the channel's timestamps were, 0 for a side that had said nothing."""
        self.senders: set[bytes] = set() if sender is None else {sender}


class Place:
    """Where a peer stands in the ring."""

    __slots__ = ("at", "begin", "end", "fell", "kind", "missed", "unsure")

    def __init__(self, end: int) -> None:
        self.begin = self.at = self.end = end
        """The window that it is given just now, and how far it has come in it."""
        self.kind = 3
        """Which of its messages: 0 announcements, 1 updates, 2 nodes, 3 it is over."""
        self.unsure = False
        """Whether it may lack announcements of channels whose updates it was meant to have had."""
        self.fell = 0
        """How many entries it has missed, for they had fallen off the ring."""
        self.missed = end
        """Up to where those are counted."""


class Ring:
    """What is new, in the order in which it came, up to a bound in bytes: the oldest goes first.

    Args:
      graph: where the newest form of what is passed on stands.
      most_bytes: the bound.
      unchecked: whether channels go out that no chain has confirmed.
    """

    __slots__ = ("_channels", "_entries", "_graph", "_latest", "_most", "_unchecked", "first", "size")

    def __init__(self, graph: NetworkGraph, most_bytes: int, *, unchecked: bool = False) -> None:
        self._graph: Final = graph
        self._most: Final = most_bytes
        self._unchecked: Final = unchecked
        self._entries: deque[Entry] = deque()
        self._latest: dict[Key, Entry] = {}
        self._channels: dict[int, list[tuple[int, tuple[int, int]]]] = {}
        """By channel: the number of each update that is in the ring, replaced ones too, and the timestamps before."""
        self.first = 0
        """The number of the oldest."""
        self.size = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def end(self) -> int:
        """The number of the next one."""
        return self.first + len(self._entries)

    def put(self, key: Key, message: bytes, sender: bytes | None = None, before: tuple[int, int] = (0, 0)) -> None:
        """A message is new; what was there of its key is passed on no more. `before`: of an update, the timestamps of
        both sides of its channel as they were."""
        known = self._latest.get(key)
        if known is not None and known.message == message:
            self.heard(key, message[2:66], sender)
            return
        entry = self._latest[key] = Entry(key, self.end, message, before, sender)
        self._entries.append(entry)
        self.size += len(message) + ENTRY_BYTES
        if isinstance(key, int) and key & 3:
            self._channels.setdefault(key >> 2, []).append((entry.number, before))
        while self.size > self._most:
            self._drop()

    def replace(self, key: Key, message: bytes, sender: bytes | None = None) -> None:
        """Who has not been given what is there of this key gets this instead; nobody gets it besides."""
        known = self._latest.get(key)
        if known is not None:
            self.size += len(message) - len(known.message)
            known.message = message
            known.senders = set() if sender is None else {sender}

    def heard(self, key: Key, signature: bytes, sender: bytes | None) -> None:
        """A peer has sent what has this as its first signature: it is not for it."""
        known = self._latest.get(key)
        if known is None or sender is None or len(known.senders) >= MOST_SENDERS:
            return
        if known.message[2:66] == signature:
            known.senders.add(sender)

    def _drop(self) -> None:
        entry = self._entries.popleft()
        self.first += 1
        self.size -= len(entry.message) + ENTRY_BYTES
        if self._latest.get(entry.key) is entry:
            del self._latest[entry.key]
        if isinstance(entry.key, int) and entry.key & 3:
            channel = entry.key >> 2
            befores = self._channels[channel]
            befores.pop(0)
            if not befores:
                del self._channels[channel]

    # A peer's.

    def place(self) -> Place:
        """For a peer that has all of this, or shall not have it."""
        return Place(self.end)

    def waits(self, place: Place) -> bool:
        """Whether there is anything behind its window."""
        return place.kind < 3 or place.end < self.end

    def open(self, place: Place) -> bool:
        """All that is new is given to it now. False if nothing is."""
        if place.kind == 3:
            place.begin = place.at = place.end
            place.end, place.kind = self.end, 0
        if place.begin == place.end:
            place.kind = 3
        return place.kind < 3

    def give(
        self,
        place: Place,
        node_id: bytes,
        wanted: TimestampFilter,
        ahead: Callable[[Key], bool] | None = None,
    ) -> Iterator[bytes | None]:
        """What is left of its window for a peer, message by message; None after so many that were not for it.

        Args:
          place: where it stands. It moves on with each message.
          node_id: the peer's.
          wanted: its filter.
          ahead: whether the peer is about to get something anyway; it is not given that here.
        """
        looked = 0
        while place.kind < 3:
            if place.at < self.first:
                edge = min(self.first, place.end)
                place.fell += max(0, edge - max(place.at, place.missed))
                place.at = place.missed = edge
                place.unsure = True
            if place.at >= place.end:
                place.kind += 1
                place.at = place.begin
                continue
            entry = self._entries[place.at - self.first]
            place.at += 1
            looked += 1
            chosen = self._chosen(entry, place, node_id, wanted)
            if chosen is not None and (ahead is None or not ahead(chosen[0])):
                yield chosen[1]
            elif looked % 256 == 0:
                yield None

    def _chosen(self, entry: Entry, place: Place, node_id: bytes, wanted: TimestampFilter) -> tuple[Key, bytes] | None:
        """What of an entry a peer is given in this pass over its window, and what that is about."""
        key, kind = entry.key, place.kind
        if self._latest.get(key) is not entry:
            return None
        if isinstance(key, bytes):
            node = self._graph.nodes.get(key) if kind == 2 else None
            if node is None or node_id in entry.senders or not wanted.passes(node.timestamp):
                return None
            return None if node.relayable(unchecked=self._unchecked) is None else (key, entry.message)
        channel = self._graph.channels.get(key >> 2)
        if kind == 2 or channel is None or not channel.relayable(unchecked=self._unchecked):
            return None
        if not key & 3:
            if kind or node_id in entry.senders or not any_passes(channel, wanted, unchecked=self._unchecked):
                return None
            return key, entry.message
        direction = (key & 3) - 1
        update = channel.relayable_update(direction, unchecked=self._unchecked)
        if update is None or not wanted.passes(channel.timestamp(direction)):
            return None
        if kind == 0:
            about = channel_key(channel.short_channel_id)
            return (about, channel.announcement_bytes) if self._lacks(entry, key, channel, place, wanted) else None
        return None if node_id in entry.senders else (key, entry.message)

    def _lacks(self, entry: Entry, key: int, channel: Channel, place: Place, wanted: TimestampFilter) -> bool:
        """Whether a peer that is about to get an update may not have heard of its channel."""
        announced = self._latest.get(key & ~3)
        if announced is not None and place.begin <= announced.number < place.end:
            return False
        other = self._latest.get(key ^ 3)
        if other is not None and place.begin <= other.number < entry.number:
            direction = 2 - (key & 3)
            update = channel.relayable_update(direction, unchecked=self._unchecked)
            if update is not None and wanted.passes(channel.timestamp(direction)):
                return False  # that one has seen to it
        if place.unsure:
            return True
        befores = self._channels[key >> 2]
        before = befores[0][1]
        for number, timestamps in befores:
            if number > place.begin:
                break
            before = timestamps
        return not any(map(wanted.passes, filter(None, before)))


def any_passes(channel: Channel, wanted: TimestampFilter, *, unchecked: bool) -> bool:
    """Whether a filter lets a channel's announcement through: one of its updates goes through. None does if it has
    none."""
    return any(
        channel.relayable_update(direction, unchecked=unchecked) is not None
        and wanted.passes(channel.timestamp(direction))
        for direction in (0, 1)
    )


class RelayLimits:
    """How often something of one channel's side, or of one node, is passed on: evenly, with a burst.

    Remembers only who has spoken of late. The newest is always in the graph, passed on or not.
    """

    __slots__ = ("_burst", "_due", "_node_every", "_same", "_same_age", "_update_every", "limited")

    def __init__(self, update_every: float, node_every: float, burst: int, same_age: float) -> None:
        self._update_every: Final = update_every
        self._node_every: Final = node_every
        self._burst: Final = burst
        self._same_age: Final = same_age
        self._due: dict[Key, float] = {}
        """When each would be even again, had it spoken evenly."""
        self._same: dict[Key, int] = {}
        """The timestamp of what was last passed on, of those who said the same once more."""
        self.limited = 0
        """How many were not passed on."""

    def __len__(self) -> int:
        return len(self._due) + len(self._same)

    def allow(self, key: Key, now: float) -> bool:
        """Whether one more goes out."""
        every = self._node_every if isinstance(key, bytes) else self._update_every
        due = max(self._due.get(key, now), now)
        if due - now > every * (self._burst - 1):
            self.limited += 1
            return False
        self._due[key] = due + every
        return True

    def is_news(self, key: Key, timestamp: int, before: int, same: bool) -> bool:
        """Whether an update is worth passing on that says the `same` as the one of `before`: once a day it is."""
        if not same:
            self._same.pop(key, None)
            return True
        passed = self._same.setdefault(key, before)
        if timestamp - passed < self._same_age:
            self.limited += 1
            return False
        del self._same[key]
        return True

    def sweep(self, now: float, unix: float) -> None:
        """Forgets those that have no reason to be remembered any more."""
        self._due = {key: due for key, due in self._due.items() if due > now}
        self._same = {key: at for key, at in self._same.items() if at > unix - self._same_age}
