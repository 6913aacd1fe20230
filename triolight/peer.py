"""Peer as its users hold it, the inboxes of subscribers, and the events by which all of them reach the pump.

Starts no task, and asks the PeerManager without ever changing it: what shall happen is sent to the pump as an event.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeAlias, TypeVar, cast, overload

import trio

from triolight.address import Address
from triolight.connection import LARGEST_PONG, MAX_PINGS
from triolight.descriptor import StreamDescriptor
from triolight.errors import DisconnectCode, DisconnectReason, EventsLost, PeerClosed, Side
from triolight.features import Features
from triolight.messages import Init, Message, Ping, UnknownMessage
from triolight.peer_manager import SEND_LIMIT_BYTES, PeerDetails, PeerManager
from triolight.tally import Tally, Traffic, by_name
from triolight.text import printable

MIN_SHARE: Final = 4 * 1024
"""Read ahead for one peer, however many share a subscriber's total."""
BUFFER_BYTES: Final = 256 * 1024
"""Read ahead for a subscriber that is busy, for each peer, unless it says otherwise."""
MESSAGE_OVERHEAD: Final = 512
"""Counted for each buffered message besides its bytes, so that a bound on bytes bounds objects too."""
SUBSCRIPTION_TOTAL_BYTES: Final = 64 * 1024 * 1024
"""Read ahead for one subscriber from all peers together: with many peers, each has a smaller share."""
INBOX_MESSAGES: Final = 16
"""Messages between the pump and a peer's deliverer. The first one stops the reading, so there is never a second."""
PEER_EVENTS: Final = 1000
"""Events kept for a reader of `events()` that is busy."""

T = TypeVar("T")
M = TypeVar("M", bound=Message | UnknownMessage)
M2 = TypeVar("M2", bound=Message | UnknownMessage)
M3 = TypeVar("M3", bound=Message | UnknownMessage)
AnyMessage: TypeAlias = Message | UnknownMessage


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer's Init was accepted."""

    peer: Peer


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """A connected peer's connection ends."""

    peer: Peer
    reason: DisconnectReason


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


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The protocol's own deadlines, in seconds."""

    handshake: float
    init: float
    ping_interval: float
    pong: float
    stall: float
    goodbye: float

    def through_proxy(self) -> Deadlines:
        """For a connection that takes a detour: all but the goodbye three times as long."""
        return Deadlines(
            handshake=3 * self.handshake,
            init=3 * self.init,
            ping_interval=3 * self.ping_interval,
            pong=3 * self.pong,
            stall=3 * self.stall,
            goodbye=self.goodbye,
        )


# ---------------------------------------------------------------------------------------------------------------------
# Events: everything that reaches the pump


@dataclass(frozen=True, slots=True)
class Attached:
    link: Link


@dataclass(frozen=True, slots=True)
class Received:
    link: Link
    data: bytes
    at: float
    """When it was read."""


@dataclass(frozen=True, slots=True)
class SpaceToWrite:
    link: Link
    count: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream has ended by itself, or all its tasks are done."""

    link: Link
    reason: DisconnectReason


@dataclass(frozen=True, slots=True)
class Send:
    link: Link
    encoded: tuple[bytes, ...]
    size: int


@dataclass(frozen=True, slots=True)
class SendPing:
    link: Link
    num_pong_bytes: int
    ignored: bytes
    answer: PingAnswer


@dataclass(frozen=True, slots=True)
class Disconnect:
    link: Link
    reason: DisconnectReason


@dataclass(frozen=True, slots=True)
class InboxDrained:
    link: Link


@dataclass(frozen=True, slots=True)
class TimerDue:
    link: Link


@dataclass(frozen=True, slots=True)
class Work:
    """The manager has something to do: its application queued it from outside."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A policy, a listener or a dial of the application's has raised in a task of ours."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Shutdown:
    reason: DisconnectReason


PumpEvent: TypeAlias = (
    Attached
    | Received
    | SpaceToWrite
    | Closed
    | Send
    | SendPing
    | Disconnect
    | InboxDrained
    | TimerDue
    | Work
    | Crashed
    | Shutdown
)


class PingAnswer:
    """Where the round trip of one ping arrives."""

    __slots__ = ("abandoned", "done", "rtt")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.rtt: float | None = None
        self.abandoned = False
        """Nobody waits for it any more."""


class Link:
    """One connection as the shell sees it: its descriptor, its peer, and who waits for what."""

    __slots__ = (
        "abandoned",
        "address",
        "counts",
        "deadline_at",
        "deadlines",
        "deliverer_scope",
        "delivering",
        "descriptor",
        "ended",
        "gone",
        "goodbye_at",
        "held_at",
        "inbound",
        "inbox",
        "inbox_bytes",
        "inbox_in",
        "inboxes",
        "init",
        "matches",
        "matches_version",
        "node_id",
        "outcome",
        "parked",
        "peer",
        "ping_at",
        "ping_room",
        "ping_sent_at",
        "pings",
        "reading_paused",
        "reason",
        "received_at",
        "reserved",
        "room",
        "rtt_last",
        "rtt_minimum",
        "rtt_smoothed",
        "shaken",
        "source",
        "stall_logged",
        "stranger",
        "survivor",
        "throttled",
        "throttled_until",
        "timer_at",
        "traffic",
        "undelivered",
        "unsent",
        "unsent_at",
        "waiting_pings",
    )

    def __init__(
        self,
        stream: trio.abc.Stream | StreamDescriptor,
        node_id: bytes | None,
        address: Address | None,
        deadlines: Deadlines,
        deadline_at: float,
    ) -> None:
        self.deadlines: Final = deadlines
        self.descriptor: Final = stream if isinstance(stream, StreamDescriptor) else StreamDescriptor(stream, self)
        self.descriptor.owner = self
        self.node_id = node_id
        """Whom we dialled, or who has proven to be at the other end; None: nobody has yet."""
        self.inbound = node_id is None
        self.address: Final = address
        self.deadline_at = deadline_at
        """When the current phase before the connection is complete has to be over."""
        self.peer: Peer | None = None
        self.parked = False
        """Another connection with the same node was kept; this one waits in case that one dies."""
        self.survivor: Peer | None = None
        """The one that was kept."""
        self.abandoned = False
        """Whoever dialled it does not wait for it any more: it is about to end."""
        self.reason: DisconnectReason | None = None
        self.init: Init | None = None
        self.shaken = False
        """The three acts are done."""
        self.outcome: Final = trio.Event()
        """Connected, or never will be."""
        self.ended: Final = trio.Event()
        """`reason` is known."""
        self.gone: Final = trio.Event()
        """The stream is closed and the tasks that used it are done."""
        self.goodbye_at = math.inf
        self.counts: tuple[int, int, int, int] = (0, 0, 0, 0)
        self.traffic: tuple[Tally, Tally] = ({}, {})
        self.stranger = False
        """Counted among those that are not peers: not yet, or not any more."""
        self.source: str | None = None
        """What it is counted under besides."""
        self.throttled = 0
        self.throttled_until: float | None = None
        # Sending
        self.reserved = 0
        self.room = trio.Event()
        # Pings
        self.pings = 0
        self.waiting_pings: dict[PingAnswer, None] = {}
        """Those whose pongs may come, in order; a set would wake who waits in an order of its own."""
        self.ping_room = trio.Event()
        self.ping_at = math.inf
        """When the next keepalive is due."""
        self.ping_sent_at: float | None = None
        """When the keepalive that has no answer yet was sent."""
        self.received_at = 0.0
        self.rtt_last: float | None = None
        self.rtt_minimum: float | None = None
        self.rtt_smoothed: float | None = None
        # Subscribers
        self.inbox_in, self.inbox = trio.open_memory_channel[Delivery](INBOX_MESSAGES)
        self.deliverer_scope: Final = trio.CancelScope()
        self.inbox_bytes = 0
        self.undelivered = 0
        """Messages between the pump and the deliverer."""
        self.delivering = False
        """Whether its deliverer runs: it outlives the peer."""
        self.held_at: float | None = None
        self.reading_paused = 0
        self.stall_logged = False
        self.inboxes: list[Inbox[Any]] = []
        """Those that want this peer's messages alone."""
        self.matches: dict[type, tuple[Inbox[Any], ...]] = {}
        self.matches_version = -1
        # Time
        self.timer_at = math.inf
        self.unsent: int | None = None
        """Bytes that the system held for the peer when it was last looked at, and when they last became fewer."""
        self.unsent_at = -math.inf

    def successor(self, deadline_at: float) -> Link:
        """A fresh link of the same stream, which this one's peer has lost."""
        link = Link(self.descriptor, self.node_id, self.address, self.deadlines, deadline_at)
        link.inbound, link.source = self.inbound, self.source
        link.shaken = True
        link.init = self.init
        return link


# ---------------------------------------------------------------------------------------------------------------------
# Subscribers


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message that some subscribers have no room for."""

    message: AnyMessage
    cost: int
    to: tuple[Inbox[Any], ...]


class Inbox(Generic[T]):
    """An iterator of messages, with what is read ahead for a busy reader; ends when there can be no more."""

    def __init__(self, board: Switchboard, link: Link | None, types: tuple[type, ...], buffer_bytes: int) -> None:
        given: tuple[Any, ...] = types
        for one in given:
            if not (isinstance(one, type) and issubclass(one, Message | UnknownMessage)):
                raise TypeError(f"a subscriber wants classes of messages, not {one!r:.80}")
        if buffer_bytes < 1:
            raise ValueError(f"buffer_bytes is at least 1, not {buffer_bytes}")
        self._board: Final = board
        self.link: Final = link
        self.types: Final = types
        self._buffer_bytes: Final = buffer_bytes
        # Bytes are what limits it: each message counts as MESSAGE_OVERHEAD at the least.
        capacity = SUBSCRIPTION_TOTAL_BYTES // MESSAGE_OVERHEAD
        self._in, self._out = trio.open_memory_channel[None](capacity)
        """One for each message; which one, is decided when it is taken."""
        self._queues: dict[Link, deque[tuple[Any, int]]] = {}
        """Messages and what they count as, for each peer that has some: peers take turns, so that whoever says little
        is heard beside those who say much."""
        self.taken_at = -math.inf
        """When a message was last taken while a peer waited for room."""
        self._used: dict[Link, int] = {}
        """Bytes that wait here, for each peer."""
        self._total = 0
        self._waiting: dict[Link, trio.Event] = {}
        """Deliverers that wait for room."""

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    async def __anext__(self) -> T:
        """The next message. A checkpoint; cancellation loses nothing. StopAsyncIteration once the peer (or the nursery)
        has ended and all that came before is delivered."""
        try:
            await self._out.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None
        link = next(iter(self._queues))
        queue = self._queues.pop(link)
        item, cost = queue.popleft()
        if queue:
            self._queues[link] = queue  # behind the others
        self._total -= cost
        used = self._used[link] - cost
        if used:
            self._used[link] = used
        else:
            del self._used[link]
        self._board.took(link, cost)
        if self._waiting:
            self.taken_at = trio.current_time()
            # Half empty before it is filled again: a peer that is stopped and started for each message is slow.
            if link in self._waiting and used <= self._limit() // 2:
                self._waiting.pop(link).set()
        return cast("T", item)

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._board.join(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.leave(self)
        self._out.close()
        for link, used in self._used.items():
            self._board.took(link, used)
        self._used.clear()
        self._queues.clear()
        for room in self._waiting.values():
            room.set()

    def _limit(self) -> int:
        share = SUBSCRIPTION_TOTAL_BYTES // max(1, len(self._used))
        return min(self._buffer_bytes, max(MIN_SHARE, share))

    def offer(self, link: Link, message: AnyMessage, cost: int) -> bool:
        """Takes a message if there is room for any of it; False if this peer's share is full."""
        used = self._used.get(link, 0)
        # Whoever has nothing here has room for one: no peer starves for what others have filled.
        if used >= self._limit() or (used and self._total >= SUBSCRIPTION_TOTAL_BYTES):
            return False
        item = message if self.link is not None else (link.peer, message)
        try:
            self._in.send_nowait(None)
        except trio.WouldBlock:
            return False
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return True  # it has left
        queue = self._queues.get(link)
        if queue is None:
            self._queues[link] = deque(((item, cost),))
        else:
            queue.append((item, cost))
        self._used[link] = used + cost
        self._total += cost
        link.inbox_bytes += cost
        self._board.buffered += cost
        return True

    async def deliver(self, link: Link, message: AnyMessage, cost: int) -> None:
        """Waits for room."""
        while not self.offer(link, message, cost):
            room = self._waiting[link] = trio.Event()
            try:
                await room.wait()
            finally:
                if self._waiting.get(link) is room:
                    del self._waiting[link]

    def waits(self, link: Link) -> bool:
        """Whether a message of this peer waits for room here."""
        return link in self._waiting

    def end(self) -> None:
        """No more messages."""
        self._in.close()


class PeerEvents:
    """An iterator of PeerConnected and PeerDisconnected that delays nobody."""

    def __init__(self, board: Switchboard) -> None:
        self._board: Final = board
        self._in, self._out = trio.open_memory_channel[PeerConnected | PeerDisconnected](PEER_EVENTS)
        self._lost = False

    def __aiter__(self) -> AsyncIterator[PeerConnected | PeerDisconnected]:
        return self

    async def __anext__(self) -> PeerConnected | PeerDisconnected:
        """The next event. Raises EventsLost if more came than are kept: all that waited is dropped then, and what
        comes later is new."""
        if self._lost:
            self._lost = False
            while True:
                try:
                    self._out.receive_nowait()
                except (trio.WouldBlock, trio.EndOfChannel):
                    break
            raise EventsLost(f"more than {PEER_EVENTS} events waited; start again from `peers.peers`")
        try:
            return await self._out.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None

    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._board.readers.append(self)
        if self._board.ended:
            self._in.close()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._board.readers.remove(self)
        self._out.close()

    def publish(self, event: PeerConnected | PeerDisconnected) -> None:
        try:
            self._in.send_nowait(event)
        except trio.WouldBlock:
            self._lost = True
            self._board.events_lost += 1

    def end(self) -> None:
        self._in.close()


class Switchboard:
    """What all peers of one block share: the way to the pump, and who listens."""

    def __init__(
        self, manager: PeerManager, events_in: trio.MemorySendChannel[PumpEvent], drained: Callable[[Link], None]
    ) -> None:
        self.manager: Final = manager
        self.events_in: Final = events_in
        self.buffered = 0
        """Bytes that wait for subscribers, of peers that have ended too."""
        self._drained: Final = drained
        """Called when nothing of an ended peer's waits any more."""
        self.inboxes: list[Inbox[Any]] = []
        """Those that want every peer's messages."""
        self._count = 0
        """All there are."""
        self.readers: list[PeerEvents] = []
        self.events_lost = 0
        self.ended = False
        self._version = 0

    def join(self, inbox: Inbox[Any]) -> None:
        link = inbox.link
        (self.inboxes if link is None else link.inboxes).append(inbox)
        self._joined_or_left(link, 1)
        if self.ended or (link is not None and link.reason is not None):
            inbox.end()

    def leave(self, inbox: Inbox[Any]) -> None:
        link = inbox.link
        (self.inboxes if link is None else link.inboxes).remove(inbox)
        self._joined_or_left(link, -1)

    def _joined_or_left(self, link: Link | None, step: int) -> None:
        """What is remembered of who wants what is forgotten: of all peers, or of the one that it is about."""
        self._count += step
        if link is None:
            self._version += 1
        else:
            link.matches.clear()
        if not self.ended:  # after that the manager is somebody else's
            self.manager.observe_messages(bool(self._count))

    def took(self, link: Link, cost: int) -> None:
        """A subscriber has taken, or does not want any more, so much of what waited of this peer."""
        self.buffered -= cost
        link.inbox_bytes -= cost
        if not link.inbox_bytes and link.reason is not None:
            self._drained(link)

    def last_taken(self, link: Link) -> float:
        """When a subscriber that has no room for this peer has last taken anything."""
        return max((one.taken_at for one in (*self.inboxes, *link.inboxes) if one.waits(link)), default=-math.inf)

    def matching(self, link: Link, kind: type) -> tuple[Inbox[Any], ...]:
        """Who wants this peer's messages of this type. Remembered until somebody joins or leaves."""
        if link.matches_version != self._version:
            link.matches.clear()
            link.matches_version = self._version
        found = link.matches.get(kind)
        if found is None:
            found = link.matches[kind] = tuple(
                inbox for inbox in (*self.inboxes, *link.inboxes) if not inbox.types or issubclass(kind, inbox.types)
            )
        return found

    def publish(self, event: PeerConnected | PeerDisconnected) -> None:
        for reader in self.readers:
            reader.publish(event)

    def end(self) -> None:
        """No more of anything."""
        self.ended = True
        for inbox in self.inboxes:
            inbox.end()
        for reader in self.readers:
            reader.end()
        # What is left of single peers' ends with the peers, all of which have ended by now.


# ---------------------------------------------------------------------------------------------------------------------
# Peer


class Peer:
    """A connected peer. Made by `connect`, `attach` and listeners; it stays what it is after the connection's end."""

    def __init__(self, board: Switchboard, link: Link, details: PeerDetails) -> None:
        self._board: Final = board
        self._link: Final = link
        self._details: Final = details

    def __repr__(self) -> str:
        state = "connected" if self._link.reason is None else self._link.reason.code
        return f"<Peer {self.node_id.hex()[:16]}, {state}>"

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return self._details.node_id

    @property
    def address(self) -> Address | None:
        """Where the connection goes to, or comes from, if that is known."""
        return self._details.address

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""
        return self._details.inbound

    @property
    def features(self) -> Features:
        """What its Init offers."""
        return self._details.features

    @property
    def init(self) -> Init:
        """Its Init."""
        return self._details.init

    @property
    def reason(self) -> DisconnectReason | None:
        """Why the connection has ended; None while it has not."""
        return self._link.reason

    @property
    def abandoned(self) -> bool:
        """For nursery.py: its dial was cancelled as it succeeded, and it is about to end."""
        return self._link.abandoned

    def statistics(self) -> PeerStatistics:
        """A snapshot; after the end, of the end."""
        link = self._link
        manager = self._board.manager
        counts = manager.connection_counts(link.descriptor) or link.counts
        received, sent = manager.traffic(link.descriptor) or link.traffic
        return PeerStatistics(
            *counts,
            queued_bytes=manager.queued_bytes(link.descriptor) + link.reserved,
            inbox_bytes=link.inbox_bytes,
            reading_paused=link.reading_paused,
            rtt_last=link.rtt_last,
            rtt_minimum=link.rtt_minimum,
            rtt_smoothed=link.rtt_smoothed,
            pings_outstanding=link.pings,
            throttled=link.throttled,
            received=by_name(received, manager.messages),
            sent=by_name(sent, manager.messages),
        )

    async def send(self, *messages: AnyMessage) -> None:
        """Queues messages, in a row on the wire. A checkpoint.

        Waits while the peer's queue is full. Returned: queued. Cancelled, or an error: not sent. Raises ValueError for
        a message that cannot be encoded, and PeerClosed after the peer's end, also if it comes while this waits.
        """
        given: tuple[Any, ...] = messages
        for one in given:
            if not isinstance(one, Message | UnknownMessage):  # text has an `encode` too
                raise TypeError(f"messages are sent, not {type(one).__name__}")
        encoded = tuple([message.encode() for message in messages])
        size = sum(map(len, encoded))
        link, board = self._link, self._board
        while True:
            if link.reason is not None:
                raise PeerClosed(link.reason)
            if board.manager.queued_bytes(link.descriptor) + link.reserved < SEND_LIMIT_BYTES:
                break
            await link.room.wait()
        link.reserved += size
        try:
            # The last await: trio's channel either has the event or was cancelled without it.
            await board.events_in.send(Send(link, encoded, size))
        except BaseException:
            link.reserved -= size
            raise

    async def ping(self, num_pong_bytes: int = 0, ignored: bytes = b"") -> float:
        """Sends a ping and waits for its own pong: the round trip in seconds, from queueing to reading.

        `num_pong_bytes` is at most 65531 and `ignored` at most 65529 bytes, ValueError otherwise. Raises PeerClosed if
        the peer ends first. Cancelled: the ping may have gone out; its pong is then matched and forgotten. Waits while
        32 pings wait for their pongs.

        Do not await it in the loop that reads the same peer's messages: the pong comes behind what the loop has not
        read, and the two wait for each other until the peer is ended with SUBSCRIBER_STALLED.
        """
        if not 0 <= num_pong_bytes <= LARGEST_PONG:
            raise ValueError(f"a pong has 0 to {LARGEST_PONG} bytes, not {num_pong_bytes}")
        Ping(num_pong_bytes=num_pong_bytes, ignored=ignored).encode()
        link = self._link
        while True:
            if link.reason is not None:
                raise PeerClosed(link.reason)
            # One place is the keepalive's.
            if link.pings < MAX_PINGS - 1:
                break
            await link.ping_room.wait()
        answer = PingAnswer()
        link.pings += 1
        try:
            event = SendPing(link, num_pong_bytes, ignored, answer)
            try:
                self._board.events_in.send_nowait(event)  # what follows is a checkpoint as well
            except trio.WouldBlock:
                await self._board.events_in.send(event)
        except BaseException:
            link.pings -= 1
            raise
        try:
            await answer.done.wait()
        finally:
            answer.abandoned = True
        if answer.rtt is None:
            raise PeerClosed(self._ended())
        return answer.rtt

    @overload
    def subscribe(self, *, buffer_bytes: int = ...) -> Inbox[AnyMessage]: ...
    @overload
    def subscribe(self, first: type[M], /, *, buffer_bytes: int = ...) -> Inbox[M]: ...
    @overload
    def subscribe(self, first: type[M], second: type[M2], /, *, buffer_bytes: int = ...) -> Inbox[M | M2]: ...
    @overload
    def subscribe(
        self, first: type[M], second: type[M2], third: type[M3], /, *, buffer_bytes: int = ...
    ) -> Inbox[M | M2 | M3]: ...
    @overload
    def subscribe(self, *types: type[M], buffer_bytes: int = ...) -> Inbox[M]: ...
    def subscribe(self, *types: type[Any], buffer_bytes: int = BUFFER_BYTES) -> Inbox[Any]:
        """``async with peer.subscribe(Pong) as inbox: async for message in inbox``: its messages of these types.

        No types: all of them, also those the registry does not know. The iteration ends with the peer, when all that
        came before has been delivered. TypeError for what is no class of messages. While the reader is busy, up to
        `buffer_bytes` are read ahead; then the peer is not read from until the reader has caught up.
        """
        return Inbox[Any](self._board, self._link, types, buffer_bytes)

    async def disconnect(self, reason: str = "disconnected on request") -> None:
        """Ends the connection: the peer hears a warning with these words first, then all is closed.

        Waits for that, at most `goodbye_deadline` seconds and a short drain; cancelled, it goes on by itself.
        Does nothing if the connection has ended already.
        """
        if not self._link.gone.is_set():
            why = DisconnectReason(DisconnectCode.REQUESTED, Side.US, printable(reason))
            await self._board.events_in.send(Disconnect(self._link, why))
        await self._link.gone.wait()

    async def wait_closed(self) -> DisconnectReason:
        """Waits for the connection's end and says why it ended. A checkpoint."""
        await self._link.ended.wait()
        return self._ended()

    def _ended(self) -> DisconnectReason:
        return self._link.reason or shutdown_reason()


def shutdown_reason() -> DisconnectReason:
    return DisconnectReason(DisconnectCode.SHUTDOWN, Side.US, "shutting down")
