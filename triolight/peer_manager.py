"""The PeerManager: many connections, no I/O. Routes messages to handlers, keeps one connection a node, says why.

It is a pure state machine: what it does follows from the calls it gets, in their order, from what the descriptors'
`send_data` and the handlers answer, and from the clock it was given. It never waits, starts nothing, and is not
thread-safe. Whoever drives it (``triolight.nursery``, or a loop over sockets as in examples/sans_io.py) feeds bytes
into `read_event`, calls `process_events`, and tells it of room and of dead sockets.

Nothing here costs O(peers) for one message or one event.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from triolight import reasons
from triolight.address import Address, descriptor_of
from triolight.chains import AnyChain, chain_hashes
from triolight.connection import MAX_PINGS, Connection, OutstandingPing, RefuseFeatures
from triolight.errors import DisconnectReason, PeerHandleError, QueueFull
from triolight.handlers import MessageHandler
from triolight.keys import SecretKey
from triolight.logger import Level, Logger
from triolight.manager.acting import Acting
from triolight.manager.ending import Ending
from triolight.manager.entry import Agenda, Entry, Hold, Log
from triolight.manager.greeting import Greeting
from triolight.manager.joining import Joining
from triolight.manager.mistakes import check_methods
from triolight.manager.pulling import Pulling
from triolight.manager.reading import Reading
from triolight.manager.roster import PARKED_SECONDS as PARKED_SECONDS
from triolight.manager.roster import Roster
from triolight.manager.routing import Handlers, Routing
from triolight.manager.seams import UNDRIVEN, Driving, Seat, Setup
from triolight.manager.seams import PeerDetails as PeerDetails
from triolight.manager.seams import PeerObserver as PeerObserver
from triolight.manager.seams import Seams as Seams
from triolight.manager.seams import SocketDescriptor as SocketDescriptor
from triolight.manager.ticks import KEEPALIVE_IGNORED as KEEPALIVE_IGNORED
from triolight.manager.ticks import Due, Ticks
from triolight.manager.writing import Writing
from triolight.messages import BOLT, Message, NodeAnnouncement, Ping, Registry, UnknownMessage
from triolight.noise import EphemeralKeys, Handshake
from triolight.policy import COST_OF_UNIT, Allowance, DuplicateRule
from triolight.tally import Tally

__all__ = [
    "PeerDetails",
    "PeerManager",
    "PeerObserver",
    "SocketDescriptor",
]

SEND_LIMIT_BYTES: Final = 256 * 1024
"""Bytes queued for a peer from which on `send_message` refuses more: as much as a link of 1 MB/s takes in a quarter of
a second. Messages given in one call enter together, so the largest legal batch (1.8 MB) does when it comes first."""


class PeerManager:
    """Many peers, one state machine. See the module's docstring for how it is driven."""

    def __init__(
        self,
        message_handler: MessageHandler,
        our_node_secret: bytes,
        ephemeral_random_data: bytes,
        logger: Logger,
        *,
        messages: Registry = BOLT,
        networks: AnyChain | Iterable[AnyChain] = (),
        clock: Callable[[], float] | None = None,
        unix_time: Callable[[], float] = time.time,
        on_work: Callable[[], None] | None = None,
        refuse_features: RefuseFeatures = "unknown",
        duplicates: DuplicateRule = "newest",
    ) -> None:
        """A manager for one node key.

        Args:
          message_handler: the handlers. TypeError for one with a method ``handle_…`` that no message leads to: it is
            misspelt, or of another handler.
          our_node_secret: 32 bytes.
          ephemeral_random_data: 32 bytes of fresh system randomness for each manager and each start: the same bytes
            again repeat session keys. All zero, or equal to the secret, is a ValueError.
          logger: gets records.
          messages: the registry; types outside of it follow the odd/even rule.
          networks: chains, each as in `triolight.chains`, for the `networks` TLV of Init; none: no such TLV.
          clock: seconds, monotonic; for round trips and deadlines.
          unix_time: seconds since 1970; for the timestamp of our node_announcement.
          on_work: called when something is to be done outside a call of the manager: wake whoever drives it.
          refuse_features: which even bits of a peer's Init refuse it; see `RefuseFeatures`.
          duplicates: which of two connections with one node stays; see `DuplicateRule`.
        """
        if len(ephemeral_random_data) != 32:
            raise ValueError(f"ephemeral_random_data has 32 bytes, not {len(ephemeral_random_data)}")
        if ephemeral_random_data == bytes(32) or ephemeral_random_data == our_node_secret:
            raise ValueError("ephemeral_random_data must be fresh randomness: it is all zero or the node secret")
        check_methods(message_handler, messages)
        self._key: Final = SecretKey(our_node_secret)
        self._greeting: Final = Greeting(self._key, chain_hashes(networks), refuse_features, unix_time)
        self._ephemeral_keys: Final = EphemeralKeys(ephemeral_random_data)
        self._secrets: Final = lambda: (our_node_secret, ephemeral_random_data, self._ephemeral_keys.used)
        self._given_handler: Final = message_handler
        self._given_clock: Final = clock
        given = UNDRIVEN._replace(clock=clock or UNDRIVEN.clock, on_work=on_work, duplicates=duplicates)
        self._seat: Final = Seat(given)
        self._log: Final = Log(logger)
        self._agenda: Final = Agenda(self._seat)
        self._roster: Final = Roster(self.our_node_id, self._agenda)
        handlers = Handlers()
        told = self._seat, self._agenda, self._log, self._roster, handlers
        self._ending: Final = Ending(*told)
        self._pulling: Final = Pulling(self._seat, self._agenda, self._roster, handlers)
        self._acting: Final = Acting(*told, self._ending, self._pulling)
        self._routing: Final = Routing[Entry](
            messages, handlers, self._acting, control=self._acting.control, traces=self._log.level <= Level.TRACE
        )
        self._joining: Final = Joining(*told, self._ending, self._acting)
        self._reading: Final = Reading(
            self._seat, self._agenda, self._roster, self._routing, self._greeting, self._ending, self._joining
        )
        self._writing: Final = Writing(
            self._seat, self._agenda, self._roster, self._ending, self._reading, self._pulling
        )
        self._ticks: Final = Ticks()
        self._routing.use(message_handler)
        for handler in handlers.all:
            # Looked up when it is called: a tape may stand there.
            handler.attach(self._agenda.push, lambda node_id, units, ours: self.charge(node_id, units, ours))
        self._agenda.pushed = True  # what they have pushed before is there

    def __repr__(self) -> str:
        return f"<PeerManager {self.our_node_id.hex()[:16]}, {len(self._roster.connected)} peers>"

    @property
    def our_node_id(self) -> bytes:
        """33 bytes."""
        return self._key.public_key

    @property
    def messages(self) -> Registry:
        """Which messages it knows."""
        return self._routing.messages

    @property
    def handlers(self) -> MessageHandler:
        """The handlers that it was made with."""
        return self._given_handler

    @property
    def logger(self) -> Logger:
        """Who gets its records."""
        return self._log.logger

    def new_outbound_connection(
        self,
        their_node_id: bytes,
        descriptor: SocketDescriptor,
        remote_address: Address | tuple[str, int] | None = None,
    ) -> bytes:
        """Registers a connection that we dialled. Returns act one, 50 bytes, for the caller to write before all else.

        Raises ValueError if the node id is no point, or our own, or the descriptor is registered already.
        """
        if their_node_id == self.our_node_id:
            raise ValueError("that is our own node id")
        act_one = self._register(descriptor, their_node_id, remote_address).act_one()
        self._roster.by_descriptor[descriptor].connection.bytes_sent += len(act_one)
        return act_one

    def new_inbound_connection(
        self, descriptor: SocketDescriptor, remote_address: Address | tuple[str, int] | None = None
    ) -> None:
        """Registers a connection that was accepted. Writes nothing. ValueError if it is registered already."""
        self._register(descriptor, None, remote_address)

    def _register(
        self,
        descriptor: SocketDescriptor,
        their_node_id: bytes | None,
        remote_address: Address | tuple[str, int] | None,
    ) -> Handshake:
        handshake = Handshake(self._key, self._ephemeral_keys.next(), their_node_id)
        if descriptor in self._roster.by_descriptor:
            raise ValueError("this descriptor is a connection already")
        if isinstance(remote_address, tuple):
            remote_address = descriptor_of(*remote_address)
        seams = self._seat.driving.seams
        handshake = seams.handshake(descriptor, handshake)
        send_data = seams.send_data(descriptor)
        connection = Connection(handshake)
        self._roster.register(Entry(descriptor, send_data, connection, their_node_id is None, remote_address))
        return handshake

    def read_event(self, descriptor: SocketDescriptor, data: bytes) -> bool:
        """Bytes from the peer, any number. Handles every message in them; never calls `send_data`.

        Returns True if the peer must not be read from until ``send_data(..., resume_read=True)``: so much waits to be
        written to it, the driver holds it, or the connection is about to end (`process_events` says the last word
        and calls `disconnect_socket`). What is in `data` is kept all the same, at most what one call brought.

        Raises PeerHandleError for a fault in the handshake and for a first message other than Init, with nothing to
        be written: the connection is forgotten already, close the socket. Also for a descriptor that is not known.
        `process_events` has to follow.
        """
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None:
            raise PeerHandleError(reasons.unknown_descriptor())
        if entry.reason is not None:
            return True
        agenda = self._agenda
        entry.connection.feed(bytes(data))
        agenda.depth += 1
        try:
            self._reading.read(entry)
        finally:
            agenda.depth -= 1
        if not entry.may_read:
            entry.reading = False
            return True
        return False

    def write_buffer_space_avail(self, descriptor: SocketDescriptor) -> None:
        """The descriptor has room again after a short `send_data`. Writes what waits, goes on reading what was left.

        Calls `send_data` once at the least, if only to say again whether the peer may be read. Raises PeerHandleError
        for a descriptor that is not known.
        """
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None:
            raise PeerHandleError(reasons.unknown_descriptor())
        with self._agenda:
            self._writing.make_room(entry)
        if self._agenda.waits:
            # What was read may have been heard by a handler, and what that says is for others.
            self._agenda.wake()

    def socket_disconnected(self, descriptor: SocketDescriptor, reason: DisconnectReason | None = None) -> None:
        """The socket died by itself, or its end is reported by the driver. An unknown descriptor: nothing happens."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is not None:
            self._ending.lost(entry, reason)

    def process_events(self) -> None:
        """Takes the handlers' pending events, writes what can be written, says last words and ends what has to end.

        Then asks for gossip for those who have room (`RoutingMessageHandler.next_gossip`), as far as a turn goes.

        From inside another call of the manager, as a handler may make it, it does nothing: whoever made that call is
        about to call it.
        """
        agenda, roster, write, pulling = self._agenda, self._roster, self._writing.write, self._pulling
        if agenda.depth:
            return
        agenda.depth += 1
        pulling.begin()
        try:
            pushed, agenda.pushed = agenda.pushed, False
            for event in self._routing.handlers.pending_events(pushed):
                self._acting.do(event)
            while roster.orphans or agenda.dirty or (agenda.pulls and pulling.pull(write)):
                # Also of those that have died just now, by an event of a handler: nobody would call again for them.
                if roster.orphans:
                    self._joining.settle()
                for entry in agenda.take():
                    write(entry)
        finally:
            agenda.depth -= 1
        if agenda.waits:
            # For another turn, or pushed by a handler that was asked in this one: nobody else would have it come.
            agenda.wake()

    def timer_tick_occurred(self) -> None:
        """LDK's keepalive, for drivers without clocks of their own: call it every 10 seconds or so.

        A peer that has not finished its handshake and Init within a whole tick is ended at the next one. A connected
        peer is pinged unless a ping is outstanding; if one is, it is ended when nothing at all came since the last
        tick, or when no pong came for 5 ticks. `process_events` has to follow.
        """
        entries = tuple(self._roster.by_descriptor.values())
        self._ticks.keep_only(entries)
        for entry in entries:
            match self._ticks.look(entry, self._roster.is_parked(entry)):
                case Due.NOTHING:
                    pass
                case Due.PING:
                    # Any pong is life; one of a wrong length must not leave its ping behind for ever.
                    entry.connection.forget_ping(None)
                    self._ping(entry, 0, bytes(KEEPALIVE_IGNORED), None)
                case Due.CLOSE:
                    self._ending.close(entry)
                case DisconnectReason() as reason:
                    self._ending.end(entry, reason)

    def get_peer_node_ids(self) -> list[bytes]:
        """The node ids of the connected peers."""
        return list(self._roster.connected)

    def list_peers(self) -> list[PeerDetails]:
        """The connected peers."""
        return [entry.details for entry in self._roster.connected.values() if entry.details is not None]

    def peer_by_node_id(self, node_id: bytes) -> PeerDetails | None:
        """A connected peer; None if it is not connected."""
        entry = self._roster.connected.get(node_id)
        return None if entry is None else entry.details

    def send_message(self, node_id: bytes, *messages: Message | UnknownMessage) -> None:
        """Queues messages in a row: nothing comes between them on the wire.

        Raises ValueError for a message that cannot be encoded (nothing is queued then), PeerHandleError if the peer is
        not connected, and `QueueFull` if SEND_LIMIT_BYTES already wait for it.
        """
        encoded = [message.encode() for message in messages]
        entry = self._roster.connected.get(node_id)
        if entry is None:
            raise PeerHandleError(reasons.not_connected())
        if entry.connection.owed_bytes >= SEND_LIMIT_BYTES:
            raise QueueFull(f"{entry.connection.owed_bytes} bytes wait to be written to this peer")
        self._agenda.queue(entry, encoded)

    def send_encoded(self, descriptor: SocketDescriptor, encoded: Iterable[bytes]) -> bool:
        """Queues messages that are encoded already, whatever waits: for a driver that counts the bytes itself.

        False if the peer is not connected (any more).
        """
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None or entry.details is None or entry.reason is not None:
            return False
        self._agenda.queue(entry, encoded)
        return True

    def send_ping(
        self, descriptor: SocketDescriptor, num_pong_bytes: int = 0, ignored: bytes = b"", token: Any = None
    ) -> bool:
        """Queues a ping whose pong will be reported with `token`. False if the peer is not connected, or if
        MAX_PINGS of ours wait for their pongs."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None or entry.details is None or entry.reason is not None:
            return False
        return self._ping(entry, num_pong_bytes, ignored, token)

    def forget_ping(self, descriptor: SocketDescriptor, token: Any) -> bool:
        """Does not wait any more for the pong of the oldest ping with this token: should it come, it answers none.
        False if no such ping is outstanding."""
        entry = self._roster.by_descriptor.get(descriptor)
        return entry is not None and entry.connection.forget_ping(token)

    def over_budget(self, descriptor: SocketDescriptor) -> bool:
        """Whether a peer is not read from because it has not read what it asked for. False for an unknown
        descriptor."""
        entry = self._roster.by_descriptor.get(descriptor)
        return entry is not None and entry.connection.over_budget

    def held_by_handler(self, descriptor: SocketDescriptor) -> bool:
        """Whether a peer is not read from because the routing handler, or the application, has too much of it. False
        for an unknown descriptor."""
        entry = self._roster.by_descriptor.get(descriptor)
        return entry is not None and bool(entry.held & (Hold.BY_HANDLER | Hold.BY_APPLICATION))

    def queued_bytes(self, descriptor: SocketDescriptor) -> int:
        """Bytes that wait to be written to a peer; 0 for an unknown descriptor."""
        entry = self._roster.by_descriptor.get(descriptor)
        return 0 if entry is None else entry.connection.owed_bytes

    def connection_counts(self, descriptor: SocketDescriptor) -> tuple[int, int, int, int] | None:
        """Messages received and sent, bytes received and sent (encrypted), of one connection; None if unknown."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None:
            return None
        connection = entry.connection
        return (
            connection.messages_received,
            connection.messages_sent,
            connection.bytes_received,
            connection.bytes_sent,
        )

    def traffic(self, descriptor: SocketDescriptor) -> tuple[Tally, Tally] | None:
        """Messages by type, received and sent, of one connection: the live counters, not a copy. None if unknown."""
        entry = self._roster.by_descriptor.get(descriptor)
        return None if entry is None else (entry.connection.received, entry.connection.sent)

    def protects(self, node_id: bytes) -> bool:
        """Whether the channel handler protects this node."""
        return self._routing.handlers.protects(node_id)

    def decide(self, descriptor: SocketDescriptor, reason: DisconnectReason | None) -> None:
        """What the observer's `may_connect` has left open with WAIT: a reason refuses, None lets in. `process_events`
        has to follow. Of a connection that does not wait for it (any more), nothing happens."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is not None:
            with self._agenda:
                self._reading.decide(entry, reason)

    def disconnect_by_node_id(self, node_id: bytes, reason: DisconnectReason | str | None = None) -> None:
        """Ends the connection with this node, if there is one, also one that waits for its Init. The peer hears a
        warning with the reason's words, if its Init has come.

        What is queued for it is written first, as far as its descriptor takes it at once; the rest is dropped.
        """
        for entry in self._roster.of_node(node_id):
            self._end_on_request(entry, reasons.requested(reason))

    def disconnect_all_peers(self, reason: DisconnectReason | str | None = None) -> None:
        """Ends every connection, also those that have not finished their handshake."""
        why = reasons.requested(reason)
        for entry in list(self._roster.by_descriptor.values()):
            self._end_on_request(entry, why)

    def disconnect(self, descriptor: SocketDescriptor, reason: DisconnectReason | str | None = None) -> None:
        """Ends one connection; the peer hears a warning if its Init came. Unknown descriptor: nothing happens."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is not None:
            self._end_on_request(entry, reasons.requested(reason))

    def broadcast_node_announcement(
        self, rgb: bytes, alias: bytes, addresses: Iterable[Address | tuple[str, int]] = ()
    ) -> NodeAnnouncement:
        """Signs our node_announcement and gives it to the routing handler, or queues it to every connected peer.

        `rgb` is 3 bytes; `alias` at most 32 bytes of UTF-8, padded with zeros. Features are what the handlers provide
        for it. The timestamp is the time of day, and always later than the one before, also than one that the routing
        handler knows. Returns the message. A peer for which SEND_LIMIT_BYTES wait does not get it, unless the routing
        handler sees to it. ValueError for what BOLT 7 forbids: an alias that is no UTF-8, a
        port 0, two host names; and for more than MAX_ANNOUNCED_ADDRESSES.
        """
        route = self._given_handler.route_handler
        last = route.last_announced(self.our_node_id)
        signed = self._greeting.announcement(self._routing.handlers.node_features, rgb, alias, addresses, last)
        if not route.announce(signed):
            self.broadcast_encoded(signed.encode())
        return signed

    def charge(self, node_id: bytes, units: int, ours: bool = False) -> None:
        """What a handler charges a peer with; see `BaseMessageHandler.charge`. Not connected: the turn alone is."""
        entry = self._roster.connected.get(node_id)
        if entry is None or ours:
            self._agenda.work += units
        else:
            self._acting.charge(entry, units * COST_OF_UNIT, units)

    def broadcast_encoded(self, encoded: bytes) -> None:
        """Queues one message, encoded already, to every connected peer that has room for it.

        A peer for which SEND_LIMIT_BYTES wait does not get it, and nobody is told.
        """
        for entry in self._roster.connected.values():
            if entry.connection.owed_bytes < SEND_LIMIT_BYTES:
                self._agenda.queue(entry, (encoded,))

    def drive(
        self,
        observer: PeerObserver,
        on_work: Callable[[], None],
        clock: Callable[[], float],
        turn_work: int | None = None,
        allowance: Allowance | None = None,
        duplicates: DuplicateRule | None = None,
        seams: Seams | None = None,
    ) -> None:
        """Takes the manager for one driver, until `release`. RuntimeError if it has one.

        `clock` counts unless one was given to the constructor. `turn_work` bounds how much one `read_event` or
        `continue_reading` handles, in work units (a message is one, and one more for each 4 KiB of it); what is left
        over is in `unfinished`. A peer that overdraws the `allowance` is not read from until `end_throttle`.
        `duplicates` takes the place of the constructor's. `seams` stand between the manager and what it asks.
        """
        if self._seat.taken:
            raise RuntimeError("this PeerManager is driven already: one manager, one open block at a time")
        if self._roster.by_descriptor:
            raise RuntimeError("this PeerManager has connections that somebody else drives")
        seams = seams or Seams()
        given = self._seat.given
        setup = Setup(
            our_node_id=self.our_node_id,
            networks=self._greeting.networks,
            messages=self._routing.messages,
            handler=self._given_handler,
            refuse_features=self._greeting.refuse_features,
            duplicates=duplicates or given.duplicates,
            turn_work=turn_work,
            allowance=allowance,
            secrets=self._secrets,
        )
        seams.begin(self, setup)

        def both() -> None:
            on_work()
            if given.on_work is not None:
                given.on_work()

        self._routing.use(seams.handlers(self._given_handler))
        self._seat.driving = Driving(
            observer=seams.observer(observer),
            clock=seams.clock(self._given_clock or clock),
            on_work=both,
            turn_work=turn_work,
            allowance=allowance,
            duplicates=setup.duplicates,
            seams=seams,
        )
        self._listen(True)

    def release(self) -> None:
        """Ends `drive`. Connections that are left are forgotten; their handlers hear of it."""
        for descriptor in list(self._roster.by_descriptor):
            self.socket_disconnected(descriptor, reasons.requested("the driver has gone"))
        self._seat.driving.seams.end(self)
        self._routing.use(self._given_handler)
        self._seat.leave()
        self._listen(False)

    def abandon_handlers(self) -> None:
        """No handler is called again: one of them has raised. Control messages are answered, goodbyes go out."""
        self._routing.abandon()

    def observe_messages(self, wanted: bool) -> None:
        """Whether the observer's `message_received` is called, as it is from `drive` on. Without, each message costs
        less."""
        self._listen(wanted)

    @property
    def work_done(self) -> int:
        """Work units since the start; a difference of two readings is the work between them."""
        return self._agenda.work

    @property
    def events_dropped(self) -> int:
        """How many events of handlers were for nodes that were not connected (any more)."""
        return self._acting.events_dropped

    def unfinished(self) -> list[SocketDescriptor]:
        """Descriptors with input that `turn_work` left over since the last call; see `continue_reading`."""
        return self._agenda.take_unfinished()

    def continue_reading(self, descriptor: SocketDescriptor) -> None:
        """Goes on with what an earlier turn left over. `process_events` has to follow. Unknown: nothing."""
        entry = self._roster.by_descriptor.get(descriptor)
        if entry is None or entry.reason is not None or not entry.unread:
            return
        with self._agenda:
            self._reading.read(entry)
        self._agenda.note(entry)

    def hold_reading(self, descriptor: SocketDescriptor, held: bool) -> None:
        """Holds back (True) or lets go on (False) the reading of one peer: its messages have no place to go for now.

        The one call that an observer may make from `message_received`: the message after it is not read then.
        `process_events` has to follow. Unknown descriptor, or one whose Init has not come: nothing happens.
        """
        self._hold(self._roster.by_descriptor.get(descriptor), Hold.BY_DRIVER, held)

    def hold_peer(self, descriptor: SocketDescriptor, held: bool) -> None:
        """As `hold_reading`, for an application that has no room: whichever of the two holds a peer, it is not read."""
        self._hold(self._roster.by_descriptor.get(descriptor), Hold.BY_APPLICATION, held)

    def end_throttle(self, descriptor: SocketDescriptor) -> None:
        """Goes on reading a peer that was throttled. `process_events` has to follow. Unknown: nothing happens."""
        self._hold(self._roster.by_descriptor.get(descriptor), Hold.THROTTLED, False)

    def _listen(self, wanted: bool) -> None:
        # Apart from `observe_messages`, in whose place a tape may stand.
        self._routing.listener = self._seat.driving.observer.message_received if wanted else None

    def _hold(self, entry: Entry | None, why: int, held: bool) -> None:
        if entry is not None and entry.init is not None and bool(entry.held & why) != held:
            entry.held ^= why
            self._agenda.mark(entry)

    def _ping(self, entry: Entry, num_pong_bytes: int, ignored: bytes, token: Any) -> bool:
        connection = entry.connection
        if len(connection.pings) >= MAX_PINGS:
            return False
        encoded = Ping(num_pong_bytes=num_pong_bytes, ignored=ignored).encode()
        connection.pings.append(OutstandingPing(num_pong_bytes, self._seat.driving.clock(), token))
        self._agenda.queue(entry, (encoded,))
        return True

    def _end_on_request(self, entry: Entry, reason: DisconnectReason) -> None:
        """The application ends a connection: what it has queued goes out first, as far as the socket takes it now."""
        if entry.reason is None and entry.details is not None and not self._agenda.depth:
            entry.connection.drop_gossip()
            entry.pulling = False
            with self._agenda:
                self._writing.write(entry)
        self._ending.end(entry, reason)
