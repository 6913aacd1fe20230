"""Who is let in, how many, and how fast one may go: the rules of a peer nursery, as one object that can be replaced.

Pure: it is asked, it answers, and counts its answers. It knows no connection and ends none; who asks does that.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from triolight import reasons
from triolight.address import Address, IPv4Address, IPv6Address, is_public, is_reachable, unmapped
from triolight.errors import DisconnectReason

__all__ = [
    "Allowance",
    "DuplicateRule",
    "Policy",
    "Population",
]

MAX_STRANGERS: Final = 1000
"""Inbound connections that are not peers yet: 1,000 cost about 15 MiB, and each lasts 30 seconds at the most."""
MAX_STRANGERS_PER_SOURCE: Final = 16
"""Of one IPv4 address or IPv6 /64: enough for the nodes behind one router, a sixtieth of the table."""
MAX_PEERS_PER_SOURCE: Final = 16
"""Inbound peers of one IPv4 address or IPv6 /64: as many as may be on their way from there. A six-hundredth of them."""
HANDSHAKES_PER_SECOND: Final = 100.0
"""Of one source: a twentieth of a core, at half a millisecond each. With MAX_STRANGERS_PER_SOURCE places and a round
trip of 100 ms, whoever means well is hardly faster."""
HANDSHAKE_BURST_SECONDS: Final = 2.0
"""So many seconds' worth at once: a tenth of a second of a core."""
MAX_PEERS: Final = 12_000
"""All peers: at 30 KiB each 0.4 gigabytes, 0.6 at the worst. Raise the system's limit of open files for that many."""
MAX_INBOUND_PEERS: Final = 10_000
"""Inbound ones alone, so that strangers cannot fill the places of nodes that we dial."""
MAX_DIALS: Final = 32
"""Dials of `keep` in flight at a time: a network that returns is not a reason to flood it."""
COST_PER_SECOND: Final = 1024 * 1024
"""What a peer may cause us, in bytes of work, without being slowed down."""
COST_BURST: Final = 4 * 1024 * 1024
"""What it may cause at once: 64 of the largest pongs, 512 queries, 16,000 messages of unknown types, 64 warnings."""
COST_OF_QUERY: Final = 8 * 1024
"""A gossip query: 30 to 50 bytes in, a search and an answer of kilobytes out."""
COST_OF_UNKNOWN: Final = 256
"""An odd message that nobody knows: no handler asked for it, and all of it was decrypted for nothing."""
COST_OF_WORDS: Final = 64 * 1024
"""A warning, an error, or gossip that cannot be read: each is a record in somebody's log, 16 a second for long."""
COST_OF_PIECE: Final = 32
"""An item of a list, or a record that nobody knows, of a message that has many: each is an object to make, half a
microsecond. Twenty thousand of them fit into one message."""

COST_OF_UNIT: Final = 400
"""A unit of work that a handler charges a peer with. The signature of an announcement that nobody asked for is five of
them, so a peer has 500 of those checked in a second."""

DuplicateRule: TypeAlias = Literal["newest", "oldest"]
"""Which of two connections with one node stays. ``newest``: the newer, but of two that were dialled at the same time
the one that the smaller node id dialled. ``oldest``: the older, as in LDK; a dead one locks its node out until its
pings time out."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """A token bucket for what a peer costs beyond its own bytes, in bytes: pongs, queries, unknown types, warnings.

    Whoever overdraws it is read more slowly; nobody is ended for it. What handlers and subscribers take is not counted:
    they slow a peer themselves, by not reading.
    """

    per_second: float = COST_PER_SECOND
    burst: float = COST_BURST

    def __post_init__(self) -> None:
        if self.per_second <= 0 or self.burst <= 0:
            raise ValueError("an allowance is more than nothing")


class Account:
    """What one peer has caused and not yet paid off, in the allowance's bytes. Never below nothing."""

    __slots__ = ("_at", "_debt")

    def __init__(self) -> None:
        self._debt = 0.0
        """As it was at `_at`, in the clock's seconds."""
        self._at = 0.0

    def charge(self, allowance: Allowance, cost: int, now: float) -> float | None:
        """The peer has caused a cost that its own bytes do not pay for. For how many seconds it is not to be read from
        if it has overdrawn the allowance, None if it has not."""
        self._debt = max(0.0, self._debt - (now - self._at) * allowance.per_second) + cost
        self._at = now
        if self._debt <= allowance.burst:
            return None
        # Down to three quarters, so that it is not stopped and started for each message.
        return (self._debt - 0.75 * allowance.burst) / allowance.per_second


@dataclass(frozen=True, slots=True)
class Population:
    """How many there are when a decision is made."""

    strangers: int
    """Inbound connections that are no peers: not yet, or not any more and not closed, or their last messages not
    read."""
    strangers_of_source: int
    """Those of them from where the newcomer comes from; 0 if its source is not limited by itself."""
    peers: int
    inbound_peers: int
    handshakes_of_source: float = 0.0
    """Handshakes that the newcomer's source has begun and not yet worked off, at the policy's `handshakes_per_second`;
    0 if its source is not limited by itself."""
    peers_of_source: int = 0
    """Inbound peers from where the newcomer comes from; 0 if its source is not limited by itself, or we dialled it."""
    most_peers_of_a_source: int = 0
    """Inbound peers of the most crowded of the sources that are limited by themselves; 0 if nobody could make room.
    Those that the channel handler protects, or that are kept, make none."""


Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


class Policy:
    """The default rules, with their numbers as arguments. Subclass it, override an ``admit_…``, or `source_of`.

    An object belongs to one `open_peer_nursery` at a time. Bans may change while it is in use.
    """

    def __init__(
        self,
        *,
        max_strangers: int = MAX_STRANGERS,
        max_strangers_per_source: int = MAX_STRANGERS_PER_SOURCE,
        limit_local_sources: bool = False,
        handshakes_per_second: float | None = HANDSHAKES_PER_SECOND,
        max_peers: int = MAX_PEERS,
        max_peers_per_source: int = MAX_PEERS_PER_SOURCE,
        max_inbound_peers: int = MAX_INBOUND_PEERS,
        max_dials: int = MAX_DIALS,
        duplicates: DuplicateRule | None = None,
        allowance: Allowance | None = Allowance(),  # frozen
        dial_private: bool = False,
        banned: Iterable[bytes | str] = (),
    ) -> None:
        """Rules for one peer nursery.

        Args:
          max_strangers: inbound connections that are not peers yet, or not any more and not done with.
          max_strangers_per_source: of one IPv4 address, or one IPv6 /64.
          limit_local_sources: whether loopback and private sources are limited by themselves too. Tor, reverse proxies
            and everyone behind them come from one such address, so by default only the total counts them.
          handshakes_per_second: of one source, and HANDSHAKE_BURST_SECONDS' worth at once; None: as many as there are.
          max_peers: peers, whoever dialled.
          max_peers_per_source: peers that dialled us from one IPv4 address, or one IPv6 /64.
          max_inbound_peers: peers that dialled us.
          max_dials: dials of `keep` at a time.
          duplicates: the rule for two connections with one node; None: the PeerManager's own.
          allowance: how fast a peer may cause costs; None: as fast as it likes.
          dial_private: whether what others have announced may be dialled although it is private, loopback's, or else
            none of the public internet (`is_reachable` in address.py).
          banned: as for `ban`.
        """
        for name, value in (
            ("max_strangers", max_strangers),
            ("max_peers", max_peers),
            ("max_peers_per_source", max_peers_per_source),
            ("max_dials", max_dials),
        ):
            if value < 1:
                raise ValueError(f"{name} is at least 1, not {value}")
        if handshakes_per_second is not None and not 0 < handshakes_per_second < math.inf:
            raise ValueError(f"handshakes_per_second is more than nothing, or None, not {handshakes_per_second}")
        self.max_strangers: Final = max_strangers
        self.max_strangers_per_source: Final = max_strangers_per_source
        self.limit_local_sources: Final = limit_local_sources
        self.handshakes_per_second: Final = handshakes_per_second
        self.max_peers: Final = max_peers
        self.max_peers_per_source: Final = max_peers_per_source
        self.max_inbound_peers: Final = max_inbound_peers
        self.max_dials: Final = max_dials
        self.duplicates: Final = duplicates
        self.allowance: Final = allowance
        self.dial_private: Final = dial_private
        self._banned_nodes: set[bytes] = set()
        self._banned_networks: set[Network] = set()
        self._banned_lengths: set[tuple[int, int]] = set()
        """Versions and prefix lengths that are or were among them: a look at an address costs no more than these."""
        self._decisions: dict[str, int] = {}
        for one in banned:
            self.ban(one)

    # What can be overridden.

    def source_of(self, address: Address | None) -> str | None:
        """What an inbound connection is counted under; None: only in the total."""
        if not isinstance(address, IPv4Address | IPv6Address):
            return None
        # A listener for both kinds sees IPv4 in IPv6's dress.
        plain = unmapped(address)
        if not self.limit_local_sources and not is_public(plain):
            return None
        ip = _ip_of(plain)
        # Whoever has one address of a /64 has all of them.
        return str(ip) if ip.version == 4 else str(ipaddress.ip_network((ip, 64), strict=False))

    def admit_stranger(self, address: Address | None, population: Population) -> DisconnectReason | None:
        """An inbound connection, before its first byte. A reason refuses it; nothing is said to it."""
        if self.is_banned(address=address):
            return reasons.banned("address")
        if population.strangers >= self.max_strangers:
            return reasons.too_many_strangers(population.strangers)
        if population.strangers_of_source >= self.max_strangers_per_source:
            return reasons.too_many_strangers(population.strangers_of_source, of_source=True)
        if population.handshakes_of_source + 1 > self.handshake_burst:
            return reasons.too_many_strangers(self.handshakes_per_second or 0.0, of_source=True, a_second=True)
        return None

    def admit_peer(
        self, node_id: bytes, address: Address | None, inbound: bool, protected: bool, population: Population
    ) -> DisconnectReason | None:
        """A node whose Init fits ours. A reason refuses it, and is said to it.

        `protected`: no limit keeps it out, because the channel handler protects it (`ChannelMessageHandler.protects`)
        or because another connection with it will go. Who is admitted to a full table takes another one's place, if
        `make_room` says so.
        """
        if self.is_banned(node_id, address if inbound else None):
            return reasons.banned("node")
        if protected:
            return None
        if population.peers_of_source >= self.max_peers_per_source:
            return reasons.too_many_peers(population.peers_of_source, inbound=True, of_source=True)
        if population.most_peers_of_a_source and self.make_room(inbound, population):
            return None
        if population.peers >= self.max_peers:
            return reasons.too_many_peers(population.peers)
        if inbound and population.inbound_peers >= self.max_inbound_peers:
            return reasons.too_many_peers(population.inbound_peers, inbound=True)
        return None

    def make_room(self, inbound: bool, population: Population) -> bool:
        """Whether a newcomer that is admitted takes the place of the youngest inbound peer of the most crowded source.
        That one hears a warning. Asked about each newcomer that is not protected, perhaps more than once.

        As it stands: if the table is full, and the newcomer's source has fewer than that one even with the newcomer.
        Who has no source that is limited by itself, or was dialled by us, counts as the only one of its own.
        """
        full = population.peers >= self.max_peers or (inbound and population.inbound_peers >= self.max_inbound_peers)
        return full and population.peers_of_source + 1 < population.most_peers_of_a_source

    def admit_dial(self, node_id: bytes, address: Address, learned: bool) -> DisconnectReason | None:
        """An address that we are about to dial. `learned`: others told us, and not the application; of a learned name
        this is asked again for each address that it resolves to, unless a proxy or a `dial` of one's own resolves it.
        """
        if self.is_banned(node_id, address):
            return reasons.banned("node")
        if learned and not self.dial_private and not is_reachable(address):
            return reasons.private_address()
        return None

    @property
    def handshake_burst(self) -> float:
        """How many handshakes a source may begin at once: at least one; infinity if they have no rate."""
        rate = self.handshakes_per_second
        return math.inf if rate is None else max(1.0, rate * HANDSHAKE_BURST_SECONDS)

    # Bans.

    def ban(self, what: bytes | str) -> None:
        """Bans a node id (33 bytes), an IP address, or a network (``"192.0.2.0/24"``), from the next connection on.

        ValueError if it is none of these. Who is connected stays so: that is `Peer.disconnect`.
        """
        if isinstance(what, bytes):
            self._banned_nodes.add(_node_id(what))
        else:
            network = ipaddress.ip_network(what, strict=False)
            self._banned_networks.add(network)
            self._banned_lengths.add((network.version, network.prefixlen))

    def unban(self, what: bytes | str) -> None:
        """Takes a ban back. Nothing happens if there is none."""
        if isinstance(what, bytes):
            self._banned_nodes.discard(_node_id(what))
        else:
            self._banned_networks.discard(ipaddress.ip_network(what, strict=False))

    @property
    def banned(self) -> frozenset[bytes | str]:
        """Everything that is banned."""
        return frozenset((*self._banned_nodes, *map(str, self._banned_networks)))

    def is_banned(self, node_id: bytes | None = None, address: Address | None = None) -> bool:
        """Whether a node id or an address is banned."""
        if node_id is not None and node_id in self._banned_nodes:
            return True
        if not self._banned_networks or not isinstance(address, IPv4Address | IPv6Address):
            return False
        ip = _ip_of(unmapped(address))
        return any(
            ipaddress.ip_network((ip, length), strict=False) in self._banned_networks
            for version, length in self._banned_lengths
            if version == ip.version
        )

    # Counting.

    def count(self, question: str, reason: DisconnectReason | None) -> DisconnectReason | None:
        """Counts an answer, and gives it back. Called by who asks, so that a replaced policy's answers count too."""
        key = f"{question}: {'admitted' if reason is None else reason.code}"
        self._decisions[key] = self._decisions.get(key, 0) + 1
        return reason

    @property
    def decisions(self) -> dict[str, int]:
        """How often each question had each answer: ``{"stranger: TOO_MANY_STRANGERS": 7, "peer: admitted": 3}``."""
        return dict(self._decisions)


def _node_id(data: bytes) -> bytes:
    if len(data) != 33:
        raise ValueError(f"a node id has 33 bytes, not {len(data)}")
    return data


def _ip_of(address: Address) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(address.host if isinstance(address, IPv4Address | IPv6Address) else "")
