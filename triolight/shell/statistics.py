"""Statistics: snapshots of one peer and of all, and what connections that have ended have left to the sums.

A number lives where it counts; here is what people see of it. Nothing here counts but `Totals`, to which each session
and each stream is added once, when it ends. What has to be asked of each connection is asked of `CONNECTIONS_AT_ONCE`,
between which others may run, and of each of them once, whatever becomes of it meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple, TypeVar

import trio

from triolight.peer_manager import PeerManager
from triolight.shell.link import Link, Session
from triolight.tally import Tally, Traffic, add, by_name

__all__ = [
    "PeerStatistics",
    "PeersStatistics",
]

T = TypeVar("T")

CONNECTIONS_AT_ONCE: Final = 64
"""Asked for their numbers before other tasks run: about 0.25 ms, as a turn of the pump."""


class Column(NamedTuple):
    """Where a live table shows a field of `PeerStatistics`; fields of one header are added up."""

    header: str
    unit: int = 1
    """In so many: bytes in 1,024."""


def _column(header: str, unit: int = 1) -> dict[str, Any]:
    return {"column": Column(header, unit)}


@dataclass(frozen=True, slots=True)
class PeerStatistics:
    """A snapshot of one connection. Bytes on the wire are encrypted ones; times are seconds."""

    messages_received: int = field(metadata=_column("msgs in"))
    messages_sent: int = field(metadata=_column("msgs out"))
    bytes_received: int = field(metadata=_column("KiB in", 1024))
    bytes_sent: int = field(metadata=_column("KiB out", 1024))
    queued_bytes: int = field(metadata=_column("queued"))
    """Waiting to be written to the peer."""
    inbox_bytes: int
    """Waiting for our subscribers, MESSAGE_OVERHEAD for each message included."""
    reading_paused: int = field(metadata=_column("paused"))
    """How often a full inbox has paused the reading."""
    rtt_last: float | None
    rtt_minimum: float | None
    rtt_smoothed: float | None
    """RFC 6298's smoothing, 1/8 of each new one."""
    pings_outstanding: int
    throttled: int = field(metadata=_column("paused"))
    """How often the policy's allowance has paused the reading."""
    received: Mapping[str, Traffic]
    """By the message's name; types that the registry does not know are counted together, under ``unknown``."""
    sent: Mapping[str, Traffic]


class Counted(NamedTuple):
    """What a field of `PeersStatistics` is: where its number is counted, and how the metrics page shows it."""

    read: Callable[[Any, Sums], Any]
    """Its value, of an open block and the sums over its connections."""
    words: str
    kind: Literal["gauge", "counter", "elsewhere"]
    """``elsewhere``: the page shows it together with others."""
    label: str = ""
    """Of a mapping: what its keys are."""


def _counted(
    read: Callable[[Any, Sums], Any], words: str, kind: Literal["gauge", "counter", "elsewhere"], label: str = ""
) -> dict[str, Any]:
    return {"counted": Counted(read, words, kind, label)}


@dataclass(frozen=True, slots=True)
class PeersStatistics:
    """A snapshot of a peer nursery. Traffic counts connections that have ended too.

    A new number is a line here, beside whoever counts it: the snapshot and the metrics page follow from the fields.
    """

    peers: int = field(metadata=_counted(lambda block, _: block.parts.present.peers, "Connected peers.", "elsewhere"))
    inbound_peers: int = field(
        metadata=_counted(
            lambda block, _: block.parts.admission.inbound_peers, "Those of them that dialled us.", "elsewhere"
        )
    )
    strangers: int = field(
        metadata=_counted(
            lambda block, _: block.parts.admission.strangers, "Inbound connections that are not peers yet.", "gauge"
        )
    )
    dials: int = field(metadata=_counted(lambda block, _: len(block.dials), "Dials on their way.", "gauge"))
    """Calls of `connect` and dials of `keep` that are on their way."""
    kept: Mapping[str, int] = field(
        metadata=_counted(
            lambda block, _: MappingProxyType(block.keeps.by_state()),
            "Nodes that shall stay connected, by state.",
            "gauge",
            "state",
        )
    )
    """How many `KeptPeer` are in which state."""
    received: Mapping[str, Traffic] = field(
        metadata=_counted(
            lambda block, sums: by_name(sums.received, block.parts.manager.messages), "Messages, by type.", "elsewhere"
        )
    )
    sent: Mapping[str, Traffic] = field(
        metadata=_counted(
            lambda block, sums: by_name(sums.sent, block.parts.manager.messages), "Messages, by type.", "elsewhere"
        )
    )
    queued_bytes: int = field(
        metadata=_counted(lambda _, sums: sums.queued_bytes, "Bytes that wait to be written to peers.", "gauge")
    )
    inbox_bytes: int = field(
        metadata=_counted(lambda block, _: block.parts.inboxes.buffered, "Bytes that wait for subscribers.", "gauge")
    )
    reading_paused: int = field(
        metadata=_counted(
            lambda _, sums: sums.pauses,
            "Pauses of reading because a subscriber was full.",
            "counter",
        )
    )
    throttled: int = field(
        metadata=_counted(
            lambda _, sums: sums.throttles,
            "Pauses of reading because a peer overdrew its allowance.",
            "counter",
        )
    )
    handler_events_dropped: int = field(
        metadata=_counted(
            lambda block, _: block.parts.manager.events_dropped,
            "Events of handlers for nodes that were not connected any more.",
            "counter",
        )
    )
    """Of handlers, for nodes that were not connected any more."""
    events_lost: int = field(
        metadata=_counted(
            lambda block, _: block.parts.news.lost, "Comings and goings that a busy reader had no room for.", "counter"
        )
    )
    """PeerConnected and PeerDisconnected that a busy reader of `PeerNursery.events` had no room for."""
    handshake_failures: Mapping[str, int] = field(
        metadata=_counted(
            lambda block, _: MappingProxyType(block.parts.admission.failures),
            "Connections that never became peers, by code.",
            "counter",
            "code",
        )
    )
    """Connections that ended before they were peers, and refused dials, by DisconnectCode."""
    disconnects: Mapping[str, int] = field(
        metadata=_counted(
            lambda block, _: MappingProxyType(block.parts.admission.ends),
            "Peers that are gone, by code.",
            "counter",
            "code",
        )
    )
    """Peers that were connected, by the DisconnectCode of their end."""
    decisions: Mapping[str, int] = field(
        metadata=_counted(
            lambda block, _: MappingProxyType(block.policy.decisions), "The policy's answers.", "elsewhere"
        )
    )
    """The policy's, as `Policy.decisions` counts them."""
    rtt_seconds: Mapping[str, float] = field(
        metadata=_counted(
            lambda _, sums: MappingProxyType(sums.spread),
            "Smoothed round trips of the peers there are.",
            "gauge",
            "quantile",
        )
    )
    """By quantile: ``0`` is the shortest, ``0.5`` the median, ``1`` the longest. Empty before the first pong."""


def columns() -> dict[Column, tuple[str, ...]]:
    """What a live table shows of each peer, in this order, and the fields of `PeerStatistics` that it is made of."""
    found: dict[Column, tuple[str, ...]] = {}
    for one in fields(PeerStatistics):
        column: Column | None = one.metadata.get("column")
        if column is not None:
            found[column] = (*found.get(column, ()), one.name)
    return found


def counted_fields(of: Any = PeersStatistics) -> dict[str, Counted]:
    """The fields of a snapshot, or of a class of them, in their order."""
    return {one.name: one.metadata["counted"] for one in fields(of)}


def peers_statistics(block: Any) -> PeersStatistics:
    """A snapshot of all that an open block counts."""
    sums = _sums(block)
    for _ in sums.slices():
        pass
    return _snapshot(block, sums)


async def gather_statistics(block: Any) -> PeersStatistics:
    """The same, with a checkpoint after each slice. What is said of a connection is of one moment, and no sum over
    connections is less than in an earlier snapshot, where it only grows."""
    sums = _sums(block)
    for _ in sums.slices():
        await trio.lowlevel.checkpoint()
    return _snapshot(block, sums)


def _sums(block: Any) -> Sums:
    parts = block.parts
    return Sums(parts.manager, parts.totals, parts.present.links.values(), parts.present.sessions.values())


def _snapshot(block: Any, sums: Sums) -> PeersStatistics:
    return PeersStatistics(**{name: counted.read(block, sums) for name, counted in counted_fields().items()})


def _slices(of: Sequence[T]) -> Iterator[Sequence[T]]:
    for at in range(0, len(of), CONNECTIONS_AT_ONCE):
        yield of[at : at + CONNECTIONS_AT_ONCE]


class Totals:
    """The past's traffic and pauses."""

    __slots__ = ("pauses", "received", "sent", "throttles")

    def __init__(self) -> None:
        self.received: Tally = {}
        self.sent: Tally = {}
        self.pauses = 0
        self.throttles = 0

    def add_session(self, session: Session) -> None:
        """It has ended."""
        self.pauses += session.mailbox.pauses
        self.throttles += session.throttles

    def add_stream(self, link: Link) -> None:
        """It is closed."""
        received, sent = link.traffic
        add(self.received, received)
        add(self.sent, sent)


class Sums:
    """What the connections of a block come to, those that have ended too: what has begun when this is made."""

    __slots__ = (
        "_links",
        "_manager",
        "_sessions",
        "pauses",
        "queued_bytes",
        "received",
        "round_trips",
        "sent",
        "throttles",
    )

    def __init__(self, manager: PeerManager, past: Totals, links: Iterable[Link], sessions: Iterable[Session]) -> None:
        """Begins with the past. Who is here now is asked in `slices`, also if he is not any more by then."""
        self._manager: Final = manager
        self._links: Final = list(links)
        self._sessions: Final = list(sessions)
        self.received: Final[Tally] = {}
        self.sent: Final[Tally] = {}
        add(self.received, past.received)
        add(self.sent, past.sent)
        self.pauses: int = past.pauses
        self.throttles: int = past.throttles
        self.queued_bytes: int = 0
        self.round_trips: Final[list[float]] = []
        """The smoothed ones of the peers that have one, in order of size."""

    @property
    def spread(self) -> dict[str, float]:
        """Of the round trips, by quantile; empty without any."""
        seconds = self.round_trips
        if not seconds:
            return {}
        middle = len(seconds) // 2
        median = (seconds[middle] + seconds[~middle]) / 2
        return {"0": seconds[0], "0.5": median, "1": seconds[-1]}

    def slices(self) -> Iterator[None]:
        """Adds a slice, then lets others run."""
        for links in _slices(self._links):
            for link in links:
                received, sent = traffic_of(self._manager, link)
                add(self.received, received)
                add(self.sent, sent)
                self.queued_bytes += queued_bytes(self._manager, link)
            yield
        for sessions in _slices(self._sessions):
            for session in sessions:
                self.pauses += session.mailbox.pauses
                self.throttles += session.throttles
                _, _, smoothed = session.pings.round_trips
                if smoothed is not None:
                    self.round_trips.append(smoothed)
            # A few more of an ordered list cost little; to order all of them at once would be the longest step.
            self.round_trips.sort()
            yield


def traffic_of(manager: PeerManager, link: Link) -> tuple[Tally, Tally]:
    """Received and sent on a link; of one that has ended, until then and its last words."""
    return manager.traffic(link.descriptor) or link.traffic


def queued_bytes(manager: PeerManager, link: Link) -> int:
    """What waits to be written, what is on its way to the manager included."""
    reserved = 0 if link.session is None else link.session.room.reserved
    return manager.queued_bytes(link.descriptor) + reserved


def counts_of(manager: PeerManager, session: Session, message_type: int) -> tuple[int, int]:
    """Messages of a type, received and sent; of one that has ended, as of its end."""
    received, sent = manager.traffic(session.descriptor) or session.traffic
    nothing = (0, 0)
    return received.get(message_type, nothing)[0], sent.get(message_type, nothing)[0]


def peer_statistics(manager: PeerManager, session: Session) -> PeerStatistics:
    """Of one that has ended, as of its end."""
    descriptor = session.descriptor
    received, sent = manager.traffic(descriptor) or session.traffic
    last, minimum, smoothed = session.pings.round_trips
    return PeerStatistics(
        *(manager.connection_counts(descriptor) or session.counts),
        queued_bytes=manager.queued_bytes(descriptor) + session.room.reserved,
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
