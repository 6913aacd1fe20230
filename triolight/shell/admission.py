"""Admission: who is counted among the strangers and the inbound peers, and what the policy was told of them. No Trio.

The one place that makes a `Population`. A stranger is an inbound connection that is no peer: not yet, or not any more
and not closed, or closed with messages that our subscribers have not taken. Each holds one `Place`, entered and left
here; so whoever comes, says something and goes, again and again, is let in no faster than we read.

Who makes room for a newcomer is chosen when the policy is asked, and named when the newcomer has become a peer, once;
its end is somebody else's to bring about. Nothing here costs O(peers) for one that comes or goes.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

from triolight import reasons
from triolight.address import Address
from triolight.errors import DisconnectReason
from triolight.logger import Area, Level
from triolight.policy import Policy, Population

MAX_RATED_SOURCES: Final = 4096
"""Sources whose handshakes are remembered: under a MiB. Past that the one whose last is longest ago is forgotten, as if
it had waited. Who has so many that this matters needs no second handshake from any of them."""


class Place:
    """What one inbound connection, or what it has left behind, takes among the strangers."""

    __slots__ = ("counted", "source")

    def __init__(self, source: str | None) -> None:
        self.source: Final = source
        """What it is counted under besides the total; None: nothing."""
        self.counted = False


class Rates:
    """Handshakes by source, as a token bucket has them: what is not worked off yet. Those that have are forgotten."""

    __slots__ = ("_by_source", "_per_second", "_seconds")

    def __init__(self, per_second: float | None, burst: float) -> None:
        """None: they have no rate, and nothing is remembered."""
        self._per_second: Final = per_second
        self._seconds: Final = burst / per_second if per_second is not None else 0.0
        """In which a whole burst is worked off."""
        self._by_source: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What there was, and when that was, in the clock's seconds; the longest ago first."""

    def __len__(self) -> int:
        return len(self._by_source)

    def of(self, source: str | None, now: float) -> float:
        """How many of this source are not worked off."""
        found = None if source is None else self._by_source.get(source)
        return 0.0 if found is None else max(0.0, found[0] - (now - found[1]) * (self._per_second or 0.0))

    def add(self, source: str | None, now: float) -> None:
        """One more begins."""
        if source is None or self._per_second is None:
            return
        # A policy of one's own may let in more than a burst: that is forgotten as soon as one.
        most = self._seconds * self._per_second
        self._by_source[source] = min(self.of(source, now) + 1, most), now
        self._by_source.move_to_end(source)
        while len(self._by_source) > MAX_RATED_SOURCES or self._worked_off(next(iter(self._by_source.values())), now):
            self._by_source.popitem(last=False)

    def _worked_off(self, entry: tuple[float, float], now: float) -> bool:
        return entry[1] + self._seconds <= now


class _Found(NamedTuple):
    """One of a crowd."""

    source: str
    node_id: bytes
    size: int
    """How many there are of that source."""


class Crowds:
    """Inbound peers by source: those of sources that are limited by themselves."""

    __slots__ = ("_by_size", "_by_source")

    def __init__(self) -> None:
        self._by_source: dict[str, dict[bytes, None]] = {}
        """Node ids, the youngest last."""
        self._by_size: dict[int, dict[str, None]] = {}
        """The sources that have so many, the one that has had so many for the shortest time last."""

    @property
    def sizes(self) -> dict[str, int]:
        """How many each source has. A copy."""
        return {source: len(nodes) for source, nodes in self._by_source.items()}

    def size(self, source: str | None) -> int:
        return 0 if source is None else len(self._by_source.get(source, ()))

    @property
    def largest(self) -> int:
        return max(self._by_size, default=0)

    def has(self, source: str, node_id: bytes) -> bool:
        return node_id in self._by_source.get(source, ())

    def enter(self, source: str, node_id: bytes) -> None:
        nodes = self._by_source.setdefault(source, {})
        nodes[node_id] = None
        self._moved(source, len(nodes) - 1, len(nodes))

    def leave(self, source: str, node_id: bytes) -> None:
        """Who has left before: nothing happens."""
        if self.has(source, node_id):
            nodes = self._by_source[source]
            del nodes[node_id]
            self._moved(source, len(nodes) + 1, len(nodes))
            if not nodes:
                del self._by_source[source]

    def youngest(self, spared: Callable[[bytes], bool]) -> _Found | None:
        """The youngest that is not spared, of the most crowded source that has one. One alone is no crowd: asks about
        no more than what crowds there are and are spared."""
        for size in sorted(self._by_size, reverse=True):
            for source in reversed(self._by_size[size]) if size > 1 else ():
                for node_id in reversed(self._by_source[source]):
                    if not spared(node_id):
                        return _Found(source, node_id, size)
        return None

    def _moved(self, source: str, old: int, new: int) -> None:
        if old:
            del self._by_size[old][source]
            if not self._by_size[old]:
                del self._by_size[old]
        if new:
            self._by_size.setdefault(new, {})[source] = None


class Leaver(NamedTuple):
    """Who makes room for a newcomer that has come."""

    node_id: bytes
    reason: DisconnectReason


class Admission:
    """The strangers, in all and by source, the inbound peers, and how connections ended."""

    __slots__ = (
        "_by_source",
        "_crowds",
        "_ends",
        "_failures",
        "_inbound_peers",
        "_log",
        "_peers",
        "_policy",
        "_rates",
        "_room",
        "_spared",
        "_strangers",
    )

    def __init__(
        self, policy: Policy, peers: Callable[[], int], log: Area, spared: Callable[[bytes], bool] = lambda _: False
    ) -> None:
        """`peers` says how many there are; `spared`, who makes room for nobody."""
        self._policy: Final = policy
        self._peers: Final = peers
        self._log: Final = log
        self._spared: Final = spared
        self._rates: Final = Rates(policy.handshakes_per_second, policy.handshake_burst)
        self._crowds: Final = Crowds()
        self._room: tuple[bytes, _Found] | None = None
        """The newcomer that the policy was last asked about, and who makes room for it, should it become a peer."""
        self._strangers = 0
        self._by_source: dict[str, int] = {}
        self._inbound_peers = 0
        self._failures: dict[str, int] = {}
        self._ends: dict[str, int] = {}

    # Who is there.

    @property
    def strangers(self) -> int:
        return self._strangers

    @property
    def strangers_by_source(self) -> dict[str, int]:
        """A copy."""
        return dict(self._by_source)

    @property
    def inbound_peers(self) -> int:
        return self._inbound_peers

    def place(self, address: Address | None) -> Place:
        """For an inbound connection from this address. Not entered yet."""
        return Place(self._policy.source_of(address))

    def enter(self, place: Place | None) -> None:
        """It is no peer. None, a connection that we dialled, counts nowhere; again: nothing happens."""
        if place is not None and not place.counted:
            place.counted = True
            self._strangers += 1
            if place.source is not None:
                self._by_source[place.source] = self._by_source.get(place.source, 0) + 1

    def leave(self, place: Place | None) -> None:
        """It is a peer now, or nothing is left of it."""
        if place is not None and place.counted:
            place.counted = False
            self._strangers -= 1
            if place.source is not None:
                left = self._by_source[place.source] - 1
                if left:
                    self._by_source[place.source] = left
                else:
                    del self._by_source[place.source]

    @property
    def peers_by_source(self) -> dict[str, int]:
        """Inbound ones, of sources that are limited by themselves. A copy."""
        return self._crowds.sizes

    def peer_joined(self, inbound: bool, node_id: bytes = b"", source: str | None = None) -> Leaver | None:
        """It is a peer. Whom it takes the place of, is to be ended: it counts for its source no more."""
        self._inbound_peers += inbound
        if inbound and source is not None:
            self._crowds.enter(source, node_id)
        room, self._room = self._room, None
        if room is None or room[0] != node_id or not self._crowds.has(room[1].source, room[1].node_id):
            return None
        reason = reasons.too_many_peers(room[1].size, inbound=True, of_source=True, for_another=True)
        self._crowds.leave(room[1].source, room[1].node_id)
        self._policy.count("room", reason)
        return Leaver(room[1].node_id, reason)

    def peer_departed(self, inbound: bool, node_id: bytes, source: str | None) -> None:
        """It has hung up, and is one until our own subscribers have what it said: it takes no peer's place any more."""
        self._inbound_peers -= inbound
        if source is not None:
            self._crowds.leave(source, node_id)

    def peer_left(
        self, inbound: bool, reason: DisconnectReason, node_id: bytes = b"", source: str | None = None
    ) -> None:
        self._inbound_peers -= inbound
        if inbound and source is not None:
            self._crowds.leave(source, node_id)
        self._ends[reason.code] = self._ends.get(reason.code, 0) + 1

    def failed(self, reason: DisconnectReason) -> None:
        """A connection ended before it was a peer, or a dial was refused or came to nothing."""
        self._failures[reason.code] = self._failures.get(reason.code, 0) + 1

    @property
    def failures(self) -> dict[str, int]:
        """Connections that never were peers, and dials, by DisconnectCode. A copy."""
        return dict(self._failures)

    @property
    def ends(self) -> dict[str, int]:
        """Peers, by the DisconnectCode of their end. A copy."""
        return dict(self._ends)

    # Who is let in. A reason refuses.

    def stranger(
        self, address: Address | None, now: float = 0.0, place: Place | None = None
    ) -> DisconnectReason | None:
        """The policy's word on an inbound connection, before its first byte. None: its handshake begins now, in the
        seconds of whatever clock it is asked by. `place`: its own, if it has one already."""
        source = (place or self.place(address)).source
        population = Population(
            strangers=self._strangers,
            strangers_of_source=0 if source is None else self._by_source.get(source, 0),
            peers=self._peers(),
            inbound_peers=self._inbound_peers,
            handshakes_of_source=self._rates.of(source, now),
        )
        reason = self._policy.count("stranger", self._policy.admit_stranger(address, population))
        if reason is None:
            self._rates.add(source, now)
        else:
            self.failed(reason)
            self._log(Level.DEBUG, "a connection was refused", code=reason.code, address=str(address))
        return reason

    def peer(
        self, node_id: bytes, address: Address | None, inbound: bool, protected: bool, place: Place | None = None
    ) -> DisconnectReason | None:
        """The policy's word on a node whose Init fits ours. `place`: of one that has dialled us, if it has one."""
        policy, crowds = self._policy, self._crowds
        population = Population(
            strangers=self._strangers,
            strangers_of_source=0,
            peers=self._peers(),
            inbound_peers=self._inbound_peers,
            peers_of_source=crowds.size((place or self.place(address)).source) if inbound else 0,
            most_peers_of_a_source=crowds.largest,
        )
        found = None
        if not protected and policy.make_room(inbound, population):
            # Only now it is worth asking who of the crowd is spared.
            found = crowds.youngest(self._spared)
            population = replace(population, most_peers_of_a_source=0 if found is None else found.size)
        answer = policy.admit_peer(node_id, address, inbound, protected, population)
        self._room = None
        if answer is None and found is not None and policy.make_room(inbound, population):
            self._room = node_id, found
        return policy.count("peer", answer)

    def dial(self, node_id: bytes, address: Address, learned: bool) -> DisconnectReason | None:
        """The policy's word on an address that is about to be dialled."""
        return self._policy.count("dial", self._policy.admit_dial(node_id, address, learned))
