"""Admission: who is counted among the strangers and the inbound peers, and what the policy was told of them. No Trio.

The one place that makes a `Population`. A stranger is an inbound connection that is no peer: not yet, or not any more
and not closed, or closed with messages that our subscribers have not taken. Each holds one `Place`, entered and left
here; so whoever comes, says something and goes, again and again, is let in no faster than we read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from triolight.address import Address
from triolight.errors import DisconnectReason
from triolight.logger import Area, Level
from triolight.policy import Policy, Population


class Place:
    """What one inbound connection, or what it has left behind, takes among the strangers."""

    __slots__ = ("counted", "source")

    def __init__(self, source: str | None) -> None:
        self.source: Final = source
        """What it is counted under besides the total; None: nothing."""
        self.counted = False


class Admission:
    """The strangers, in all and by source, the inbound peers, and how connections ended."""

    __slots__ = (
        "_by_source",
        "_ends",
        "_failures",
        "_inbound_peers",
        "_log",
        "_peers",
        "_policy",
        "_strangers",
    )

    def __init__(self, policy: Policy, peers: Callable[[], int], log: Area) -> None:
        """`peers` says how many there are."""
        self._policy: Final = policy
        self._peers: Final = peers
        self._log: Final = log
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

    def peer_joined(self, inbound: bool) -> None:
        self._inbound_peers += inbound

    def peer_left(self, inbound: bool, reason: DisconnectReason) -> None:
        self._inbound_peers -= inbound
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

    def stranger(self, address: Address | None) -> DisconnectReason | None:
        """The policy's word on an inbound connection, before its first byte."""
        source = self._policy.source_of(address)
        population = self._population(0 if source is None else self._by_source.get(source, 0))
        reason = self._policy.count("stranger", self._policy.admit_stranger(address, population))
        if reason is not None:
            self.failed(reason)
            self._log(Level.DEBUG, "a connection was refused", code=reason.code, address=str(address))
        return reason

    def peer(self, node_id: bytes, address: Address | None, inbound: bool, protected: bool) -> DisconnectReason | None:
        """The policy's word on a node whose Init fits ours."""
        answer = self._policy.admit_peer(node_id, address, inbound, protected, self._population(0))
        return self._policy.count("peer", answer)

    def dial(self, node_id: bytes, address: Address, learned: bool) -> DisconnectReason | None:
        """The policy's word on an address that is about to be dialled."""
        return self._policy.count("dial", self._policy.admit_dial(node_id, address, learned))

    def _population(self, strangers_of_source: int) -> Population:
        return Population(
            strangers=self._strangers,
            strangers_of_source=strangers_of_source,
            peers=self._peers(),
            inbound_peers=self._inbound_peers,
        )
