"""Statistics: snapshots of one peer and of all, and what connections that have ended have left to the sums.

A number lives where it counts; here is what people see of it. Nothing here counts but `Totals`, to which each session
and each stream is added once, when it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from triolight.peer_manager import PeerManager
from triolight.shell.link import Link, Session
from triolight.tally import Tally, Traffic, add, by_name

ByName: TypeAlias = Mapping[str, Traffic]


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """A snapshot of one connection. Bytes on the wire are encrypted ones; times are seconds."""

    messages_received: int
    messages_sent: int
    bytes_received: int
    bytes_sent: int
    queued_bytes: int
    """Waiting to be written to the peer."""
    inbox_bytes: int
    """Waiting for our subscribers, MESSAGE_OVERHEAD for each message included."""
    reading_paused: int
    """How often a full inbox has paused the reading."""
    rtt_last: float | None
    rtt_minimum: float | None
    rtt_smoothed: float | None
    """RFC 6298's smoothing, 1/8 of each new one."""
    pings_outstanding: int
    throttled: int
    """How often the policy's allowance has paused the reading."""
    received: Mapping[str, Traffic]
    """By the message's name; types that the registry does not know are counted together, under ``unknown``."""
    sent: Mapping[str, Traffic]


@dataclass(frozen=True, slots=True)
class PeersStatistics:
    """A snapshot of a peer nursery. Traffic counts connections that have ended too."""

    peers: int
    inbound_peers: int
    strangers: int
    """Inbound connections that are not peers yet."""
    dials: int
    """Calls of `connect` and dials of `keep` that are on their way."""
    kept: Mapping[str, int]
    """How many `KeptPeer` are in which state."""
    received: Mapping[str, Traffic]
    sent: Mapping[str, Traffic]
    queued_bytes: int
    inbox_bytes: int
    reading_paused: int
    throttled: int
    handler_events_dropped: int
    """Of handlers, for nodes that were not connected any more."""
    events_lost: int
    """PeerConnected and PeerDisconnected that a busy reader of `events()` had no room for."""
    handshake_failures: Mapping[str, int]
    """Connections that ended before they were peers, and refused dials, by DisconnectCode."""
    disconnects: Mapping[str, int]
    """Peers that were connected, by the DisconnectCode of their end."""
    decisions: Mapping[str, int]
    """The policy's, as `Policy.decisions` counts them."""


class Totals:
    """The past's traffic and pauses."""

    __slots__ = ("_pauses", "_received", "_sent", "_throttles")

    def __init__(self) -> None:
        self._received: Tally = {}
        self._sent: Tally = {}
        self._pauses = 0
        self._throttles = 0

    def add_session(self, session: Session) -> None:
        """It has ended."""
        self._pauses += session.mailbox.pauses
        self._throttles += session.throttles

    def add_stream(self, link: Link) -> None:
        """It is closed."""
        received, sent = link.traffic
        add(self._received, received)
        add(self._sent, sent)

    def traffic(self, manager: PeerManager, links: Iterable[Link]) -> tuple[ByName, ByName]:
        """Received and sent, of all times, by name."""
        received, sent = dict[int, list[int]](), dict[int, list[int]]()
        for one_received, one_sent in ((self._received, self._sent), *(traffic_of(manager, link) for link in links)):
            add(received, one_received)
            add(sent, one_sent)
        return by_name(received, manager.messages), by_name(sent, manager.messages)

    def pauses(self, sessions: Iterable[Session]) -> int:
        """Of all times; `sessions` are those that have not ended."""
        return self._pauses + sum(session.mailbox.pauses for session in sessions)

    def throttles(self, sessions: Iterable[Session]) -> int:
        """As `pauses`."""
        return self._throttles + sum(session.throttles for session in sessions)


def traffic_of(manager: PeerManager, link: Link) -> tuple[Tally, Tally]:
    """Received and sent on a link; of one that has ended, until then and its last words."""
    return manager.traffic(link.descriptor) or link.traffic


def queued_bytes(manager: PeerManager, link: Link) -> int:
    """What waits to be written, what is on its way to the manager included."""
    reserved = 0 if link.session is None else link.session.room.reserved
    return manager.queued_bytes(link.descriptor) + reserved


def peer_statistics(manager: PeerManager, session: Session) -> PeerStatistics:
    link = session.link
    received, sent = traffic_of(manager, link)
    last, minimum, smoothed = session.pings.round_trips
    return PeerStatistics(
        *(manager.connection_counts(link.descriptor) or link.counts),
        queued_bytes=manager.queued_bytes(link.descriptor) + session.room.reserved,
        inbox_bytes=session.mailbox.bytes,
        reading_paused=session.mailbox.pauses,
        rtt_last=last,
        rtt_minimum=minimum,
        rtt_smoothed=smoothed,
        pings_outstanding=session.pings.outstanding,
        throttled=session.throttles,
        received=by_name(received, manager.messages),
        sent=by_name(sent, manager.messages),
    )
