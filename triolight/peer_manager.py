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
from dataclasses import replace
from typing import Any, Final, Literal

from triolight import reasons
from triolight.address import (
    Address,
    descriptor_of,
)
from triolight.batch import MIN_BATCH, TOLERATED_INSIDE, Batch, fault_of
from triolight.connection import (
    LARGEST_PONG,
    MAX_PINGS,
    OUTPUT_PAUSE_BYTES,
    Connection,
    OutstandingPing,
    ProtocolFault,
    RefuseFeatures,
    decode_init,
    init_features,
)
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, PeerHandleError, QueueFull
from triolight.features import Features
from triolight.gossip import refuse_zlib
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErrorAction,
    HandleError,
    HandlerResult,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    MessageHandler,
    MessageSendEvent,
    OnionMessageHandler,
    RoutingMessageHandler,
    SendErrorMessage,
    SendWarningMessage,
    overrides,
)
from triolight.keys import SecretKey
from triolight.logger import Level, Logger
from triolight.manager.entry import Agenda, Entry, Hold, Log
from triolight.manager.greeting import EMPTY_ANSWERS, Greeting
from triolight.manager.roster import PARKED_SECONDS as PARKED_SECONDS
from triolight.manager.roster import Roster, Verdict
from triolight.manager.seams import UNDRIVEN, Driving, Seat, Setup
from triolight.manager.seams import PeerDetails as PeerDetails
from triolight.manager.seams import PeerObserver as PeerObserver
from triolight.manager.seams import Seams as Seams
from triolight.manager.seams import SocketDescriptor as SocketDescriptor
from triolight.manager.ticks import KEEPALIVE_IGNORED as KEEPALIVE_IGNORED
from triolight.manager.ticks import Due, Ticks
from triolight.messages import (
    ALL_CHANNELS,
    BOLT,
    Error,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Pong,
    QueryShortChannelIds,
    Registry,
    ReplyChannelRange,
    StartBatch,
    UnknownMessage,
    Warning,
    describe_type,
    pieces_of,
)
from triolight.noise import EphemeralKeys, Handshake, HandshakeFailed
from triolight.policy import (
    COST_OF_PIECE,
    COST_OF_QUERY,
    COST_OF_UNKNOWN,
    COST_OF_WORDS,
    Allowance,
    DuplicateRule,
)
from triolight.tally import UNKNOWN, Tally, count
from triolight.text import printable

SEND_LIMIT_BYTES: Final = 256 * 1024
"""Bytes queued for a peer from which on `send_message` refuses more: as much as a link of 1 MB/s takes in a quarter of
a second. Messages given in one call enter together, so the largest legal batch (1.8 MB) does when it comes first."""
HANDLER_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Bytes queued for a peer from which on a handler's next message ends the connection (a channel message is never
dropped): twice the largest legal batch, so that only a peer that does not read gets there."""
LOGGED_FEATURE_BYTES: Final = 64
"""Of a peer's features in the log, the lowest bits: all that have names but a few."""
MAX_WARNING_TEXT: Final = 400
"""Characters of a warning's words."""
PIECES_PER_WORK: Final = 16
"""Items of lists, and unknown records, that cost as much as a message: half a microsecond each."""


_Route = tuple[Callable[[bytes], Message], Callable[[Entry, Any], None], int]
"""A type's decoder and handler, and the bytes up to which a message of it cannot hold many pieces."""


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
        networks: Iterable[bytes] = (),
        clock: Callable[[], float] | None = None,
        unix_time: Callable[[], float] = time.time,
        on_work: Callable[[], None] | None = None,
        refuse_features: RefuseFeatures = "unknown",
        duplicates: DuplicateRule = "newest",
    ) -> None:
        """A manager for one node key.

        Args:
          message_handler: the handlers.
          our_node_secret: 32 bytes.
          ephemeral_random_data: 32 bytes of fresh system randomness for each manager and each start: the same bytes
            again repeat session keys. All zero, or equal to the secret, is a ValueError.
          logger: gets records.
          messages: the registry; types outside of it follow the odd/even rule.
          networks: chain hashes (32 bytes each) for the `networks` TLV of Init; none: no such TLV.
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
        self._key: Final = SecretKey(our_node_secret)
        self._greeting: Final = Greeting(self._key, tuple(networks), refuse_features, unix_time)
        self._ephemeral_keys: Final = EphemeralKeys(ephemeral_random_data)
        self._secrets: Final = lambda: (our_node_secret, ephemeral_random_data, self._ephemeral_keys.used)
        self._log: Final = Log(logger)
        self._traces = self._log.level <= Level.TRACE
        self._messages: Final = messages
        self._given_clock: Final = clock
        self._given_handler: Final = message_handler
        given = replace(UNDRIVEN, clock=clock or UNDRIVEN.clock, on_work=on_work, duplicates=duplicates)
        self._seat: Final = Seat(given)
        self._agenda: Final = Agenda(self._seat)
        self._ticks: Final = Ticks()
        self._roster: Final = Roster(self.our_node_id, self._agenda)
        self._observed = False
        self._events_dropped = 0
        self._use(message_handler)
        for handler in self._handlers:
            handler.attach(self._agenda.push)

    def _use(self, handler: MessageHandler) -> None:
        """These handlers are asked from now on."""
        self._handler = handler
        self._handlers: tuple[BaseMessageHandler, ...] = handler.all
        # LDK takes what channels say first.
        channels_first = (handler.chan_handler, *handler.all)
        self._told_in_order: tuple[BaseMessageHandler, ...] = tuple({id(one): one for one in channels_first}.values())
        self._routes: dict[int, _Route] = self._make_routes()
        chan = handler.chan_handler
        self._message_received: Callable[[bytes], None] | None = (
            chan.message_received if overrides(chan, ChannelMessageHandler, "message_received") else None
        )

    def __repr__(self) -> str:
        return f"<PeerManager {self.our_node_id.hex()[:16]}, {len(self._roster.connected)} peers>"

    # -- connections ---------------------------------------------------------------------------------------------------

    @property
    def our_node_id(self) -> bytes:
        """33 bytes."""
        return self._key.public_key

    @property
    def messages(self) -> Registry:
        return self._messages

    @property
    def logger(self) -> Logger:
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
        handshake = self._register(descriptor, their_node_id, remote_address)
        return handshake.act_one()

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
        handshake = self._seat.driving.seams.handshake(descriptor, handshake)
        send_data = self._seat.driving.seams.send_data(descriptor)
        self._roster.by_descriptor[descriptor] = Entry(
            descriptor, send_data, Connection(handshake), their_node_id is None, remote_address
        )
        return handshake

    def read_event(self, descriptor: SocketDescriptor, data: bytes) -> bool:
        """Bytes from the peer, any number. Handles every message in them; never calls `send_data`.

        Returns True if the peer must not be read from until `send_data(..., resume_read=True)`: so much waits to be
        written to it, the driver holds it, or the connection is about to end (`process_events` says the last word
        and calls `disconnect_socket`). What is in `data` is kept all the same, at most what one call brought.

        Raises PeerHandleError for a fault in the handshake and for a first message other than Init, with nothing to
        be written: the connection is forgotten already, close the socket. Also for a descriptor that is not known.
        `process_events` has to follow.
        """
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None:
            raise PeerHandleError(reasons.unknown_descriptor())
        if peer.reason is not None:
            return True
        agenda = self._agenda
        peer.connection.feed(bytes(data))
        agenda.depth += 1
        try:
            self._read(peer)
        finally:
            agenda.depth -= 1
        if not peer.may_read:
            peer.reading = False
            return True
        return False

    def write_buffer_space_avail(self, descriptor: SocketDescriptor) -> None:
        """The descriptor has room again after a short `send_data`. Writes what waits, goes on reading what was left.

        Calls `send_data` once at the least, if only to say again whether the peer may be read. Raises PeerHandleError
        for a descriptor that is not known.
        """
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None:
            raise PeerHandleError(reasons.unknown_descriptor())
        peer.awaiting_space = False
        with self._agenda:
            if not self._write(peer) and peer.reason is None:
                peer.reading = peer.may_read
                peer.send_data(b"", peer.reading)
        if self._agenda.waits:
            # What was read may have been heard by a handler, and what that says is for others.
            self._agenda.wake()

    def socket_disconnected(self, descriptor: SocketDescriptor, reason: DisconnectReason | None = None) -> None:
        """The socket died by itself, or its end is reported by the driver. An unknown descriptor: nothing happens."""
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None:
            return
        self._agenda.forget(peer)
        try:
            if peer.reason is None:
                self._decide(peer, self._in_phase(peer, reason))
        finally:
            del self._roster.by_descriptor[descriptor]

    def _in_phase(self, peer: Entry, reason: DisconnectReason | None) -> DisconnectReason:
        awaited_act = 0 if peer.node_id else peer.connection.act
        why = reason or reasons.closed_by_peer()
        return reasons.in_phase(why, awaited_act, peer.init is not None, peer.last_words)

    def process_events(self) -> None:
        """Takes the handlers' pending events, writes what can be written, says last words and ends what has to end.

        From inside another call of the manager, as a handler may make it, it does nothing: whoever made that call is
        about to call it.
        """
        agenda = self._agenda
        if agenda.depth:
            return
        agenda.depth += 1
        try:
            agenda.pushed = False
            for handler in self._told_in_order:
                # All of them first: what an iterator of a handler does meanwhile is the next turn's.
                for event in list(handler.get_and_clear_pending_msg_events()):
                    self._handle_event(event)
            while self._roster.orphans or agenda.dirty:
                # Also of those that have died just now, by an event of a handler: nobody would call again for them.
                self._settle()
                for peer in agenda.take():
                    self._write(peer)
        finally:
            agenda.depth -= 1

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
                    self._queue_ping(entry, 0, bytes(KEEPALIVE_IGNORED), None)
                case Due.CLOSE:
                    self._forget_and_disconnect(entry)
                case DisconnectReason() as reason:
                    self._end(entry, reason)

    # -- asking and sending --------------------------------------------------------------------------------------------

    def get_peer_node_ids(self) -> list[bytes]:
        """The node ids of the connected peers."""
        return list(self._roster.connected)

    def list_peers(self) -> list[PeerDetails]:
        """The connected peers."""
        return [peer.details for peer in self._roster.connected.values() if peer.details is not None]

    def peer_by_node_id(self, node_id: bytes) -> PeerDetails | None:
        """A connected peer; None if it is not connected."""
        peer = self._roster.connected.get(node_id)
        return None if peer is None else peer.details

    def send_message(self, node_id: bytes, *messages: Message | UnknownMessage) -> None:
        """Queues messages in a row: nothing comes between them on the wire.

        Raises ValueError for a message that cannot be encoded (nothing is queued then), PeerHandleError if the peer is
        not connected, and `QueueFull` if SEND_LIMIT_BYTES already wait for it.
        """
        encoded = [message.encode() for message in messages]
        peer = self._roster.connected.get(node_id)
        if peer is None:
            raise PeerHandleError(reasons.not_connected())
        if peer.connection.owed_bytes >= SEND_LIMIT_BYTES:
            raise QueueFull(f"{peer.connection.owed_bytes} bytes wait to be written to this peer")
        self._agenda.queue(peer, encoded)

    def send_encoded(self, descriptor: SocketDescriptor, encoded: Iterable[bytes]) -> bool:
        """Queues messages that are encoded already, whatever waits: for a driver that counts the bytes itself.

        False if the peer is not connected (any more).
        """
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None or peer.details is None or peer.reason is not None:
            return False
        self._agenda.queue(peer, encoded)
        return True

    def send_ping(
        self, descriptor: SocketDescriptor, num_pong_bytes: int = 0, ignored: bytes = b"", token: Any = None
    ) -> bool:
        """Queues a ping whose pong will be reported with `token`. False if the peer is not connected, or if
        MAX_PINGS of ours wait for their pongs."""
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None or peer.details is None or peer.reason is not None:
            return False
        return self._queue_ping(peer, num_pong_bytes, ignored, token)

    def forget_ping(self, descriptor: SocketDescriptor, token: Any) -> bool:
        """Does not wait any more for the pong of the oldest ping with this token: should it come, it answers none.
        False if no such ping is outstanding."""
        peer = self._roster.by_descriptor.get(descriptor)
        return peer is not None and peer.connection.forget_ping(token)

    def over_budget(self, descriptor: SocketDescriptor) -> bool:
        """Whether a peer is not read from because it has not read what it asked for. False for an unknown
        descriptor."""
        peer = self._roster.by_descriptor.get(descriptor)
        return peer is not None and peer.connection.over_budget

    def queued_bytes(self, descriptor: SocketDescriptor) -> int:
        """Bytes that wait to be written to a peer; 0 for an unknown descriptor."""
        peer = self._roster.by_descriptor.get(descriptor)
        return 0 if peer is None else peer.connection.owed_bytes

    def connection_counts(self, descriptor: SocketDescriptor) -> tuple[int, int, int, int] | None:
        """Messages received and sent, bytes received and sent (encrypted), of one connection; None if unknown."""
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None:
            return None
        connection = peer.connection
        return (
            connection.messages_received,
            connection.messages_sent,
            connection.bytes_received,
            connection.bytes_sent,
        )

    def traffic(self, descriptor: SocketDescriptor) -> tuple[Tally, Tally] | None:
        """Messages by type, received and sent, of one connection: the live counters, not a copy. None if unknown."""
        peer = self._roster.by_descriptor.get(descriptor)
        return None if peer is None else (peer.connection.received, peer.connection.sent)

    def protects(self, node_id: bytes) -> bool:
        """Whether the channel handler protects this node."""
        return bool(self._handlers) and self._handler.chan_handler.protects(node_id)

    def disconnect_by_node_id(self, node_id: bytes, reason: DisconnectReason | str | None = None) -> None:
        """Ends the connection with this node, if there is one, also one that waits for its Init. The peer hears a
        warning with the reason's words, if its Init has come.

        What is queued for it is written first, as far as its descriptor takes it at once; the rest is dropped.
        """
        for peer in self._roster.of_node(node_id):
            self._end_on_request(peer, reasons.requested(reason))

    def disconnect_all_peers(self, reason: DisconnectReason | str | None = None) -> None:
        """Ends every connection, also those that have not finished their handshake."""
        why = reasons.requested(reason)
        for peer in list(self._roster.by_descriptor.values()):
            self._end_on_request(peer, why)

    def disconnect(self, descriptor: SocketDescriptor, reason: DisconnectReason | str | None = None) -> None:
        """Ends one connection; the peer hears a warning if its Init came. Unknown descriptor: nothing happens."""
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is not None:
            self._end_on_request(peer, reasons.requested(reason))

    def broadcast_node_announcement(
        self, rgb: bytes, alias: bytes, addresses: Iterable[Address | tuple[str, int]] = ()
    ) -> NodeAnnouncement:
        """Signs our node_announcement and queues it to every connected peer.

        `rgb` is 3 bytes; `alias` at most 32 bytes of UTF-8, padded with zeros. Features are what the handlers provide
        for it. The timestamp is the time of day, and always later than the one before. Returns the message. A peer for
        which SEND_LIMIT_BYTES wait does not get it. ValueError for what BOLT 7 forbids: an alias that is no UTF-8, a
        port 0, two host names; and for more than MAX_ANNOUNCED_ADDRESSES.
        """
        signed = self._greeting.announcement(self._node_features, rgb, alias, addresses)
        self.broadcast_encoded(signed.encode())
        return signed

    def broadcast_encoded(self, encoded: bytes) -> None:
        """Queues one message, encoded already, to every connected peer that has room for it.

        A peer for which SEND_LIMIT_BYTES wait does not get it, and nobody is told.
        """
        for peer in self._roster.connected.values():
            if peer.connection.owed_bytes < SEND_LIMIT_BYTES:
                self._agenda.queue(peer, (encoded,))

    # -- for drivers ---------------------------------------------------------------------------------------------------

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
            messages=self._messages,
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

        self._use(seams.handlers(self._given_handler))
        self._seat.driving = Driving(
            observer=seams.observer(observer),
            clock=seams.clock(self._given_clock or clock),
            on_work=both,
            turn_work=turn_work,
            allowance=allowance,
            duplicates=setup.duplicates,
            seams=seams,
        )
        self._observed = True

    def release(self) -> None:
        """Ends `drive`. Connections that are left are forgotten; their handlers hear of it."""
        for descriptor in list(self._roster.by_descriptor):
            self.socket_disconnected(descriptor, reasons.requested("the driver has gone"))
        self._seat.driving.seams.end(self)
        self._use(self._given_handler)
        self._seat.leave()
        self._observed = False

    def abandon_handlers(self) -> None:
        """No handler is called again: one of them has raised. Control messages are answered, goodbyes go out."""
        self._handlers = self._told_in_order = ()
        self._message_received = None
        self._routes = {type_: (decode, _nothing, plain) for type_, (decode, _, plain) in self._routes.items()}
        self._routes |= self._control_routes()

    def observe_messages(self, wanted: bool) -> None:
        """Whether the observer's `message_received` is called, as it is from `drive` on. Without, each message costs
        less."""
        self._observed = wanted

    @property
    def work_done(self) -> int:
        """Work units since the start; a difference of two readings is the work between them."""
        return self._agenda.work

    @property
    def events_dropped(self) -> int:
        """How many events of handlers were for nodes that were not connected (any more)."""
        return self._events_dropped

    def unfinished(self) -> list[SocketDescriptor]:
        """Descriptors with input that `turn_work` left over since the last call; see `continue_reading`."""
        return self._agenda.take_unfinished()

    def continue_reading(self, descriptor: SocketDescriptor) -> None:
        """Goes on with what an earlier turn left over. `process_events` has to follow. Unknown: nothing."""
        peer = self._roster.by_descriptor.get(descriptor)
        if peer is None or peer.reason is not None or not peer.unread:
            return
        with self._agenda:
            self._read(peer)
        self._agenda.note(peer)

    def hold_reading(self, descriptor: SocketDescriptor, held: bool) -> None:
        """Holds back (True) or lets go on (False) the reading of one peer: its messages have no place to go for now.

        The one call that an observer may make from `message_received`: the message after it is not read then.
        `process_events` has to follow. Unknown descriptor, or one whose Init has not come: nothing happens.
        """
        self._hold(self._roster.by_descriptor.get(descriptor), Hold.BY_DRIVER, held)

    def end_throttle(self, descriptor: SocketDescriptor) -> None:
        """Goes on reading a peer that was throttled. `process_events` has to follow. Unknown: nothing happens."""
        self._hold(self._roster.by_descriptor.get(descriptor), Hold.THROTTLED, False)

    def _hold(self, peer: Entry | None, why: int, held: bool) -> None:
        if peer is not None and peer.init is not None and bool(peer.held & why) != held:
            peer.held ^= why
            self._agenda.mark(peer)

    def _charge(self, peer: Entry, cost: int) -> None:
        """The peer has caused a cost that its own bytes do not pay for."""
        allowance = self._seat.driving.allowance
        if allowance is None:
            return
        seconds = peer.account.charge(allowance, cost, self._seat.driving.clock())
        if seconds is not None and not peer.held & Hold.THROTTLED:
            peer.held |= Hold.THROTTLED
            self._seat.driving.observer.peer_throttled(peer.descriptor, seconds)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, peer: Entry) -> None:
        connection = peer.connection
        if not connection.established and not self._advance(peer):
            return
        peer.unread = False
        turn_work = self._seat.driving.turn_work
        limit = None if turn_work is None else self._agenda.work + turn_work
        next_message = connection.next_message
        receive = self._receive
        try:
            while True:
                if connection.caused_bytes > OUTPUT_PAUSE_BYTES or peer.held:  # over_budget, without the call
                    peer.unread = True
                    break
                if limit is not None and self._agenda.work >= limit:
                    peer.unread = True
                    self._agenda.leave_over(peer)
                    break
                data = next_message()
                if data is None:
                    break
                self._agenda.work += 1 + (len(data) >> 12)
                receive(peer, data)
                if peer.reason is not None:
                    break
        except ProtocolFault as fault:
            if peer.init is None and fault.code is not DisconnectCode.INIT_MALFORMED:
                # Before its Init nothing may be said: as after any other first message.
                raise self._give_up(peer, fault.code, fault.words) from None
            self._fault(peer, fault)
        finally:
            if peer.unread and connection.unread_bytes == 0:
                peer.unread = False
                self._agenda.finish(peer)

    def _advance(self, peer: Entry) -> bool:
        """Goes on with the handshake. True once it is done."""
        connection = peer.connection
        self._agenda.work += 1
        before = connection.act
        try:
            node_id = connection.advance_handshake()
        except HandshakeFailed as error:
            code = (DisconnectCode.ACT_ONE_FAILED, DisconnectCode.ACT_TWO_FAILED, DisconnectCode.ACT_THREE_FAILED)
            raise self._give_up(peer, code[error.act - 1], str(error)) from None
        if connection.act != before:
            # Three acts of public-key work, while a message costs microseconds: count them as what they are.
            self._agenda.work += 16
            self._agenda.mark(peer)
        if node_id is None:
            return False
        if node_id == self.our_node_id:
            raise self._give_up(peer, DisconnectCode.ACT_THREE_FAILED, "its node id is our own")
        self._roster.proven(peer, node_id)
        if self._roster.refuses_early(node_id, self._seat.driving.duplicates):
            raise self._give_up(peer, DisconnectCode.DUPLICATE, reasons.duplicate().message)
        init = self._greeting.our_init(self._init_features(peer), peer.address, peer.inbound)
        connection.queue(init.encode())
        self._agenda.mark(peer)
        self._seat.driving.observer.handshake_done(peer.descriptor, node_id)
        return True

    def _give_up(self, peer: Entry, code: DisconnectCode, words: str) -> PeerHandleError:
        """Forgets a connection to which nothing is to be said any more."""
        del self._roster.by_descriptor[peer.descriptor]
        self._agenda.forget(peer)
        reason = reasons.fault(code, words)
        self._decide(peer, reason)
        return PeerHandleError(reason)

    def _init_features(self, peer: Entry) -> Features:
        features = Features()
        for handler in self._handlers:
            features |= handler.provided_init_features(peer.node_id)
        return features

    def _node_features(self) -> Features:
        features = Features()
        for handler in self._handlers:
            features |= handler.provided_node_features()
        return features

    def _receive(self, peer: Entry, data: bytes) -> None:
        if peer.details is None:
            self._receive_init(peer, data)
            return
        type_, size = data[0] << 8 | data[1], len(data)
        if self._message_received is not None:
            self._message_received(peer.node_id)
        route = self._routes.get(type_)
        tally = peer.connection.received.get(type_)
        if tally is not None:  # what `count` does, without the call
            tally[0] += 1
            tally[1] += size
        else:
            count(peer.connection.received, type_ if route is not None else UNKNOWN, size)
        if route is None:
            if type_ % 2 == 0:
                raise ProtocolFault(
                    DisconnectCode.UNKNOWN_EVEN_MESSAGE, f"message {describe_type(type_)} is even and not known here"
                )
            self._charge(peer, COST_OF_UNKNOWN)
            if self._observed:
                self._seat.driving.observer.message_received(peer.descriptor, UnknownMessage(type_, data[2:]), size)
            return
        decode, handle, plain = route
        try:
            message = decode(data)
        except DecodeError as error:
            if peer.batch is not None and type_ not in TOLERATED_INSIDE:
                raise ProtocolFault(DisconnectCode.BATCH_BROKEN, f"inside a batch: {error}") from None
            self._undecodable(peer, type_, size, error)
            return
        if size > plain:
            pieces = pieces_of(message)
            self._agenda.work += pieces // PIECES_PER_WORK
            self._charge(peer, pieces * COST_OF_PIECE)
        if self._traces:
            level = Level.GOSSIP if message.__gossip__ or message.__query__ else Level.TRACE
            self._log(level, f"received {message.name}", peer, size=size)
        if message.__query__:
            self._charge(peer, COST_OF_QUERY)
        if self._observed:
            self._seat.driving.observer.message_received(peer.descriptor, message, size)
        if peer.batch is not None and type_ not in TOLERATED_INSIDE:
            self._gather(peer, peer.batch, message, data)
            return
        handle(peer, message)

    def _undecodable(self, peer: Entry, type_: int, size: int, error: DecodeError) -> None:
        cls = self._messages.get(type_)
        if cls is not None and cls.__gossip__:
            # How many pieces it had nobody knows now; two bytes make the smallest.
            self._agenda.work += size // (2 * PIECES_PER_WORK)
            self._charge(peer, COST_OF_WORDS + size // 2 * COST_OF_PIECE)
            self._warn(peer, f"unreadable gossip message of type {type_}: {error}")
        else:
            raise ProtocolFault(DisconnectCode.MALFORMED_MESSAGE, str(error))

    def _receive_init(self, peer: Entry, data: bytes) -> None:
        count(peer.connection.received, Init.type, len(data))
        try:
            init = decode_init(data)
        except ProtocolFault as fault:
            if fault.code is DisconnectCode.NOT_INIT_FIRST:
                raise self._give_up(peer, fault.code, fault.words) from None
            # Its Init has come, such as it was: from now on it may be told what is wrong.
            raise
        peer.init = init
        features = self._greeting.features_of(init, self._init_features(peer))
        if self._message_received is not None:
            self._message_received(peer.node_id)
        refusal = self._seat.driving.observer.may_connect(peer.descriptor, peer.node_id, peer.inbound)
        if refusal is not None:
            self._end(peer, refusal)
            return
        self._roster.init_accepted(peer)
        self._admit(peer, init, features)

    def _admit(self, peer: Entry, init: Init, features: Features) -> None:
        """The newcomer is connected, parked or ended, and so is the one that is there."""
        roster, driving = self._roster, self._seat.driving
        verdict = roster.judge(peer, driving.duplicates, driving.clock())
        match verdict:
            case Verdict.TAKE:
                self._connected(peer, init, features)
            case Verdict.REFUSE:
                self._end(peer, reasons.duplicate())
            case Verdict.PARK:
                self._park(peer)
            case Verdict.REPLACE | Verdict.REPLACE_AND_PARK:
                other = roster.connected[peer.node_id]
                self._demote(other)
                if not self._connected(peer, init, features):
                    # Its end shall not leave us with none.
                    roster.orphan(other)
                elif verdict is Verdict.REPLACE:
                    self._end(other, reasons.duplicate())

    def _demote(self, peer: Entry) -> None:
        """From connected to parked: it may yet be the one that the other side keeps."""
        self._roster.demote(peer)
        peer.connection.pings.clear()
        self._seat.driving.observer.peer_demoted(peer.descriptor, reasons.duplicate())
        for handler in self._handlers:
            handler.peer_disconnected(peer.node_id)
        self._park(peer)

    def _park(self, peer: Entry) -> None:
        """The other side may choose otherwise, and end the one that we keep: then this one is needed."""
        earlier = self._roster.parked.get(peer.node_id)
        if earlier is not None:
            self._end(earlier, reasons.duplicate())
        self._roster.park(peer)
        self._agenda.mark(peer)
        self._seat.driving.observer.peer_parked(peer.descriptor)

    def _settle(self) -> None:
        """Parked connections whose winner has died take its place, unless there is another one by now."""
        for peer, free in self._roster.settle():
            if not free or peer.init is None:
                self._end(peer, reasons.duplicate())
                continue
            self._roster.unpark(peer)
            self._connected(peer, peer.init, init_features(peer.init))
            self._agenda.mark(peer)

    def _connected(self, peer: Entry, init: Init, features: Features) -> bool:
        """Tells the handlers and the observer. False if a handler refuses the peer; its end is decided then."""
        accepted: list[BaseMessageHandler] = []
        for handler in self._handlers:
            self._roster.admitting = peer
            try:
                answer = handler.peer_connected(peer.node_id, init, peer.inbound)
            finally:
                self._roster.admitting = None
            action: ErrorAction | None = None
            if answer is False:
                action = DisconnectPeer(reason="refused by a handler")
            elif answer is not True:
                action = answer
            if action is None:
                accepted.append(handler)
                if peer.reason is None:
                    continue
            # It was refused, or somebody has ended it meanwhile, from inside of this call.
            for earlier in accepted:
                earlier.peer_disconnected(peer.node_id)
            if action is not None:
                self._act(peer, action, refused=True)
            return False
        details = PeerDetails(peer.node_id, peer.address, features, init, peer.inbound)
        self._roster.connect(peer, details, self._seat.driving.clock())
        self._log(Level.INFO, "connected", peer, inbound=peer.inbound, features=_cut_hex(features))
        self._seat.driving.observer.peer_connected(peer.descriptor, details)
        return True

    # -- routing -------------------------------------------------------------------------------------------------------

    def _control_routes(self) -> dict[int, _Route]:
        return {
            cls.type: (cls.__decode__, handle, cls.__plain__)
            for cls, handle in (
                (Init, self._on_second_init),
                (Error, self._on_error),
                (Warning, self._on_warning),
                (Ping, self._on_ping),
                (Pong, self._on_pong),
            )
        }

    def _make_routes(self) -> dict[int, _Route]:
        """Type number to decoder and handler, looked up once. A method that was not overridden is not called."""
        chan, route = self._handler.chan_handler, self._handler.route_handler
        onion, custom = self._handler.onion_handler, self._handler.custom_handler
        control = self._control_routes()
        routes: dict[int, _Route] = {}
        for cls in self._messages:
            if cls.type in control:
                routes[cls.type] = (cls.__decode__, control[cls.type][1], cls.__plain__)
                continue
            method = f"handle_{cls.name}"
            calls: list[Callable[[bytes, Any], HandlerResult]] = []
            known = False
            for handler, base in (
                (chan, ChannelMessageHandler),
                (route, RoutingMessageHandler),
                (onion, OnionMessageHandler),
            ):
                if cls in BOLT and hasattr(base, method):
                    known = True
                    call = getattr(handler, method)
                    wanted = overrides(handler, base, method) or (base is ChannelMessageHandler and not cls.__gossip__)
                    # One object in two places is asked once.
                    if wanted and call not in calls:
                        calls.append(call)
            if not known and overrides(custom, CustomMessageHandler, "handle_custom_message"):
                calls.append(custom.handle_custom_message)
            routes[cls.type] = (cls.__decode__, self._route(calls), cls.__plain__)
        for cls in (QueryShortChannelIds, ReplyChannelRange):
            if cls.type in routes:
                decode, handle, plain = routes[cls.type]
                routes[cls.type] = (_refusing_zlib(decode), handle, plain)
        for cls, answer in EMPTY_ANSWERS.items():
            if cls in self._messages and not overrides(route, RoutingMessageHandler, f"handle_{cls.name}"):
                decode, _, plain = routes[cls.type]
                routes[cls.type] = (decode, self._answer_empty(answer), plain)
        if StartBatch in self._messages:
            routes[StartBatch.type] = (StartBatch.__decode__, self._on_start_batch, StartBatch.__plain__)
        return routes

    def _route(self, calls: list[Callable[[bytes, Any], HandlerResult]]) -> Callable[[Entry, Any], None]:
        if not calls:
            return _nothing
        act = self._act
        if len(calls) == 1:
            (only,) = calls

            def handle_once(peer: Entry, message: Any) -> None:
                action = only(peer.node_id, message)
                if action is not None:
                    act(peer, action)

            return handle_once

        def handle(peer: Entry, message: Any) -> None:
            for call in calls:
                action = call(peer.node_id, message)
                if action is not None:
                    act(peer, action)

        return handle

    def _answer_empty(self, make: Callable[[Any], Message]) -> Callable[[Entry, Any], None]:
        route = self._handler.route_handler

        def answer(peer: Entry, query: Any) -> None:
            if route.provided_init_features(peer.node_id).offers("gossip_queries"):
                self._send_for_handler(peer, (make(query),))

        return answer

    def _on_start_batch(self, peer: Entry, message: StartBatch) -> None:
        why = fault_of(message)
        if why is None:
            takes = overrides(self._handler.chan_handler, ChannelMessageHandler, "handle_commitment_signed_batch")
            protected = takes and self.protects(peer.node_id)
            peer.batch = Batch(message, message.batch_size if takes else 1, protected)
        elif message.batch_size < MIN_BATCH:
            self._warn(peer, why)
        else:
            self._log(Level.DEBUG, "a start_batch is ignored", peer, text=why)

    def _gather(self, peer: Entry, batch: Batch, message: Message, data: bytes) -> None:
        """A message while a batch is coming in: a part of it, or the end of the connection."""
        if not batch.add(message, data):
            return
        peer.batch = None
        if self._handlers:
            action = self._handler.chan_handler.handle_commitment_signed_batch(
                peer.node_id, batch.channel_id, batch.messages()
            )
            if action is not None:
                self._act(peer, action)

    def _on_second_init(self, peer: Entry, message: Init) -> None:
        raise ProtocolFault(DisconnectCode.SECOND_INIT, "a second Init")

    def _on_error(self, peer: Entry, message: Error) -> None:
        self._charge(peer, COST_OF_WORDS)
        words = peer.last_words = printable(message.data)
        self._log(Level.WARN, "the peer sent an error", peer, channel_id=message.channel_id.hex(), text=words)
        if self._handlers:
            self._handler.chan_handler.handle_error(peer.node_id, message)
        if message.channel_id == ALL_CHANNELS and peer.reason is None:
            # It has said its last word, and needs none of ours.
            self._end(peer, reasons.peer_error(words), say=None)

    def _on_warning(self, peer: Entry, message: Warning) -> None:
        self._charge(peer, COST_OF_WORDS)
        words = peer.last_words = printable(message.data)
        self._log(Level.INFO, "the peer sent a warning", peer, channel_id=message.channel_id.hex(), text=words)

    def _on_ping(self, peer: Entry, message: Ping) -> None:
        if message.num_pong_bytes <= LARGEST_PONG:
            self._charge(peer, message.num_pong_bytes)
            peer.connection.queue_pong(message.num_pong_bytes)
            self._agenda.note(peer)

    def _on_pong(self, peer: Entry, message: Pong) -> None:
        ping = peer.connection.pong_received(len(message.ignored))
        self._seat.driving.observer.pong_received(peer.descriptor, ping, self._seat.driving.clock())

    # -- what handlers want --------------------------------------------------------------------------------------------

    def _handle_event(self, event: MessageSendEvent) -> None:
        peer = self._roster.connected.get(event.node_id)
        if peer is None:
            self._events_dropped += 1
            self._log(
                Level.DEBUG, "an event for a node that is not connected was dropped", None, node_id=event.node_id.hex()
            )
            return
        if isinstance(event, HandleError):
            self._act(peer, event.action)
        else:
            self._send_for_handler(peer, event.messages, event.caused)

    def _send_for_handler(self, peer: Entry, messages: Iterable[Message | UnknownMessage], caused: bool = True) -> None:
        """A handler's messages are never dropped alone: if they cannot go out, the connection ends."""
        try:
            encoded = [message.encode() for message in messages]
        except ValueError as error:
            self._end(peer, reasons.message_too_long(error))
            return
        if peer.connection.owed_bytes >= HANDLER_LIMIT_BYTES:
            self._end(peer, reasons.queue_full(peer.connection.owed_bytes))
            return
        self._agenda.queue(peer, encoded, caused)

    def _act(self, peer: Entry, action: ErrorAction | bool, refused: bool = False) -> None:
        """Does what a handler returned."""
        if peer.reason is not None or isinstance(action, bool):
            return
        match action:
            case DisconnectPeer(message=message, reason=words):
                reason = reasons.by_handler(message.data if message else words, refused)
                if message is None:
                    self._end(peer, reason)
                else:
                    self._end(peer, reason, say=message)
            case DisconnectPeerWithWarning(message=message):
                self._end(peer, reasons.by_handler(message.data, refused), say=message)
            case SendErrorMessage(message=message):
                self._log(Level.DEBUG, "a handler sends an error", peer, text=printable(message.data))
                self._say(peer, message, refused)
            case SendWarningMessage(message=message, level=level):
                self._log(level, "a handler sends a warning", peer, text=printable(message.data))
                self._say(peer, message, refused)
            case IgnoreError(reason=words):
                self._log(Level.DEBUG, "a handler ignores an error", peer, text=printable(words))
            case IgnoreAndLog(level=level, reason=words):
                self._log(level, "a handler ignores an error", peer, text=printable(words))
            case IgnoreDuplicateGossip():
                pass
        if refused and peer.reason is None:
            self._end(peer, reasons.by_handler("refused by a handler", refused))

    def _say(self, peer: Entry, message: Error | Warning, refused: bool) -> None:
        if refused:
            # Whatever it said, a handler that answers peer_connected with an action has refused: these are its words.
            self._end(peer, reasons.by_handler(message.data, refused), say=message)
        else:
            self._send_for_handler(peer, (message,))

    # -- writing -------------------------------------------------------------------------------------------------------

    def _queue_ping(self, peer: Entry, num_pong_bytes: int, ignored: bytes, token: Any) -> bool:
        connection = peer.connection
        if len(connection.pings) >= MAX_PINGS:
            return False
        encoded = Ping(num_pong_bytes=num_pong_bytes, ignored=ignored).encode()
        connection.pings.append(OutstandingPing(num_pong_bytes, self._seat.driving.clock(), token))
        self._agenda.queue(peer, (encoded,))
        return True

    def _warn(self, peer: Entry, words: str) -> None:
        self._log(Level.DEBUG, "we send a warning", peer, text=words)
        self._agenda.queue(peer, (_warning(words),), caused=True)

    def _write(self, peer: Entry) -> bool:
        """Writes what waits, as far as the descriptor takes it; then goes on reading what was left for lack of room.
        Whether the descriptor has heard anything."""
        connection, descriptor = peer.connection, peer.descriptor
        told = False
        if self._roster.by_descriptor.get(descriptor) is not peer:
            return True
        while True:
            while not peer.awaiting_space:
                data = connection.output()
                if not data:
                    break
                peer.reading = peer.may_read
                taken = peer.send_data(data, peer.reading)
                told = True
                connection.took(taken)
                peer.awaiting_space = taken < len(data)
            if not peer.unread or peer.held or peer.reason is not None or connection.over_budget:
                break
            if self._seat.driving.turn_work is not None:
                self._agenda.leave_over(peer)
                break
            self._read(peer)
        if peer.reason is not None:
            if not peer.awaiting_space:
                self._forget_and_disconnect(peer)
        elif peer.reading != peer.may_read:
            peer.reading = peer.may_read
            peer.send_data(b"", peer.reading)
            told = True
        return told

    # -- ending --------------------------------------------------------------------------------------------------------

    def _fault(self, peer: Entry, fault: ProtocolFault) -> None:
        self._end(peer, reasons.fault(fault.code, fault.words))

    def _end(
        self,
        peer: Entry,
        reason: DisconnectReason,
        *,
        say: Error | Warning | Literal["the reason"] | None = "the reason",
    ) -> None:
        """Decides that a connection ends: `say` is the last word, by default a warning with the reason's own words.

        Before the peer's Init has come nothing may be said.
        """
        if peer.reason is not None:
            return
        last = None
        if say == "the reason":
            last = _warning(reason.message)
        elif say is not None:
            try:
                last = say.encode()
            except ValueError as error:
                reason = reasons.message_too_long(error)
                last = _warning(reason.message)
        connection = peer.connection
        connection.drop_queue()
        if last is not None and (peer.init is not None or reason.code is DisconnectCode.INIT_MALFORMED):
            connection.queue(last)
        self._decide(peer, reason)
        self._agenda.mark(peer)

    def _end_on_request(self, peer: Entry, reason: DisconnectReason) -> None:
        """The application ends a connection: what it has queued goes out first, as far as the socket takes it now."""
        if peer.reason is None and peer.details is not None and not self._agenda.depth:
            with self._agenda:
                self._write(peer)
        self._end(peer, reason)

    def _decide(self, peer: Entry, reason: DisconnectReason) -> None:
        """The end is decided, whoever caused it: everyone hears of it, once."""
        peer.reason = reason
        level = Level.INFO if peer.init is not None else Level.DEBUG
        self._log(level, "ended", peer, code=reason.code, by=reason.by, text=reason.message)
        connected = peer.details is not None
        self._roster.leave(peer)
        self._seat.driving.observer.peer_ended(peer.descriptor, reason, peer.init)
        if connected:
            for handler in self._handlers:
                handler.peer_disconnected(peer.node_id)
            bereaved = self._roster.bereave(peer.node_id, reason)
            if bereaved is not None:
                self._end(bereaved, reason)

    def _forget_and_disconnect(self, peer: Entry) -> None:
        self._roster.by_descriptor.pop(peer.descriptor, None)
        self._agenda.finish(peer)
        peer.descriptor.disconnect_socket()


def _nothing(peer: Entry, message: Any) -> None:
    pass


def _cut_hex(features: Features) -> str:
    """For the log: a peer may set half a million bits."""
    shown = features.to_bytes()
    return (
        shown.hex() if len(shown) <= LOGGED_FEATURE_BYTES else f"{shown[-LOGGED_FEATURE_BYTES:].hex()} and higher ones"
    )


def _refusing_zlib(decode: Callable[[bytes], Message]) -> Callable[[bytes], Message]:
    def check(data: bytes) -> Message:
        message = decode(data)
        if isinstance(message, QueryShortChannelIds | ReplyChannelRange):
            refuse_zlib(message)
        return message

    return check


def _warning(words: str) -> bytes:
    # The words are printable already; what we say of our own is ASCII, but a handler's reason may be anything.
    return Warning(data=words[:MAX_WARNING_TEXT].encode("ascii", "backslashreplace")).encode()
