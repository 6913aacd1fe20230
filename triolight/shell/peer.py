"""Peer: a session as its users hold it. What shall happen to it is sent to the pump as an event.

Starts no task, and asks the PeerManager without ever changing it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, overload

import trio

from triolight import reasons
from triolight.address import Address
from triolight.chains import chain_name, in_display_order
from triolight.connection import LARGEST_PONG
from triolight.errors import DisconnectCode, DisconnectReason, PeerClosed, TriolightError
from triolight.features import Features
from triolight.logger import Area, Level
from triolight.messages import AnyMessage, Init, Message, Ping, Registry, UnknownMessage
from triolight.peer_manager import SEND_LIMIT_BYTES, PeerManager, SocketDescriptor
from triolight.shell.events import Disconnect, EventsIn, Held, Send, SendPing
from triolight.shell.inboxes import BUFFER_BYTES, Inbox, Inboxes, Shelf
from triolight.shell.link import Link, Session, link_of
from triolight.shell.pings import PingAnswer
from triolight.shell.statistics import PeerStatistics, counts_of, peer_statistics

__all__ = [
    "ConnectError",
    "Peer",
]

M = TypeVar("M", bound=Message | UnknownMessage)
M2 = TypeVar("M2", bound=Message | UnknownMessage)
M3 = TypeVar("M3", bound=Message | UnknownMessage)


class Peer:
    """A connected peer. Made by `connect`, `attach` and listeners; it stays what it is after the connection's end."""

    __slots__ = ("__weakref__", "_events_in", "_inboxes", "_manager", "_services", "_session", "_warned_of_chain")

    def __init__(self, manager: PeerManager, events_in: EventsIn, inboxes: Inboxes, session: Session) -> None:
        self._manager: Final = manager
        self._events_in: Final = events_in
        self._inboxes: Final = inboxes
        self._session: Final = session
        self._warned_of_chain = False
        self._services: set[str] | None = None

    def __repr__(self) -> str:
        reason = self._session.reason
        state = "connected" if reason is None else reason.code
        return f"<Peer {self.node_id.hex()[:16]}, {state}>"

    @property
    def services(self) -> set[str]:
        """Which services have a block for it that is open, by name: of each one at a time."""
        if self._services is None:
            self._services = set()
        return self._services

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return self._session.details.node_id

    @property
    def address(self) -> Address | None:
        """Where the connection goes to, or comes from, if that is known."""
        return self._session.details.address

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""
        return self._session.details.inbound

    @property
    def features(self) -> Features:
        """What its Init offers."""
        return self._session.details.features

    @property
    def init(self) -> Init:
        """Its Init."""
        return self._session.details.init

    @property
    def messages(self) -> Registry:
        """Which messages its manager knows: those of others come as UnknownMessages."""
        return self._manager.messages

    @property
    def reason(self) -> DisconnectReason | None:
        """Why the connection has ended; None while it has not."""
        return self._session.reason

    @property
    def front(self) -> str | None:
        """The front that it is connected at; None, since it is connected here."""
        return None

    def room(self) -> int:
        """Bytes that `send` takes at once; 0 while it would wait, and after the end."""
        session = self._session
        if session.reason is not None:
            return 0
        queued = self._manager.queued_bytes(session.descriptor) + session.room.reserved
        return max(0, SEND_LIMIT_BYTES - queued)

    def statistics(self) -> PeerStatistics:
        """A snapshot; after the end, of the end."""
        return peer_statistics(self._manager, self._session)

    def counts_of(self, message_type: int) -> tuple[int, int]:
        """Messages of a type that came from it, and that were sent to it: of `statistics`, for who asks often."""
        return counts_of(self._manager, self._session, message_type)

    @trio.lowlevel.enable_ki_protection
    async def send(self, *messages: AnyMessage) -> None:
        """Queues messages, in a row on the wire. A checkpoint.

        Waits while the peer's queue is full. Returned: queued. Cancelled, or an error: not sent. Raises ValueError for
        a message that cannot be encoded, and PeerClosed after the peer's end, also if it comes while this waits. A
        message of a chain that is none of those that the peer's Init names is logged at WARN, once, and goes out.
        """
        encoded = _encoded(messages)
        await self._wait_for_room()
        self._look_at_chains(messages)
        await self._post(encoded)

    def _look_at_chains(self, messages: tuple[Any, ...]) -> None:
        """A message of a chain that the peer does not know is answered by silence: that is said once, and it goes."""
        if self._warned_of_chain:
            return
        known = self.init.tlvs.networks
        fits: bytes | None = None
        for message in messages:
            asked: Any = getattr(message, "chain_hash", None)
            if asked is None or asked == fits or not isinstance(asked, bytes):
                continue
            turned = in_display_order(asked)
            if turned is not None or (known and asked not in known):
                self._warned_of_chain = True
                words = "this message is of a chain that the peer does not know, so that there may be no answer"
                if turned is not None:
                    words = f"this is {turned.name}'s chain hash in display order; on the wire its bytes are reversed"
                log = Area(self._manager.logger, "peer")
                log(Level.WARN, words, self.node_id, type=message.name, chain=chain_name(asked))
                return
            fits = asked

    @trio.lowlevel.enable_ki_protection
    async def _wait_for_room(self) -> None:
        """Until more may be queued for it. PeerClosed once it has ended."""
        session = self._session
        while True:
            if session.reason is not None:
                raise PeerClosed(session.reason)
            if session.room.is_free(self._manager.queued_bytes(session.descriptor)):
                return
            await session.room.wait()

    @trio.lowlevel.enable_ki_protection
    async def _post(self, encoded: tuple[bytes, ...]) -> None:
        """Queues them. Waits for the pump alone, never for the peer."""
        session, size = self._session, sum(map(len, encoded))
        session.room.reserve(size)
        try:
            # The last await: trio's channel either has the event or was cancelled without it.
            await self._events_in.send(Send(session, encoded, size))
        except BaseException:
            session.room.cancel(size)
            raise

    @trio.lowlevel.enable_ki_protection
    async def request(self, message: AnyMessage, answer: type[M], match: Callable[[M], bool] | None = None) -> M:
        """Sends a message and returns the first one of class `answer` that comes after it, and for which `match`, if
        there is one, is true. A checkpoint.

        What comes before the message was queued is not looked at. Raises ValueError for a message that cannot be
        encoded, TypeError for what is no class of messages, and PeerClosed if the peer ends without an answer. Give it
        a deadline with ``trio.fail_after``: BOLT 1 gives a peer none, and many answer nothing to what they do not know.
        Cancelled: the message may have gone out, and its answer is nobody's.
        """
        encoded = _encoded((message,))
        shelf = Shelf(self._inboxes, self._session.mailbox, (answer,), BUFFER_BYTES)
        # Before it is subscribed: what the peer says while it does not read is nobody's answer, and must not stop it.
        await self._wait_for_room()
        shelf.join()  # in the same step: the room is still there
        try:
            self._look_at_chains((message,))
            await self._post(encoded)
            async for one in Inbox[M](shelf):
                if match is None or match(one):
                    return one
        finally:
            shelf.leave()
        raise PeerClosed(self._ended())

    @trio.lowlevel.enable_ki_protection
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
        if ignored or type(ignored) is not bytes or type(num_pong_bytes) is not int:
            Ping(num_pong_bytes=num_pong_bytes, ignored=ignored).encode()  # what is wrong with it, is said here
        session = self._session
        pings = session.pings
        while True:
            if session.reason is not None:
                raise PeerClosed(session.reason)
            if pings.has_place:
                break
            await pings.wait_place()
        answer = PingAnswer()
        pings.take_place()
        try:
            event = SendPing(session, num_pong_bytes, ignored, answer)
            try:
                self._events_in.send_nowait(event)  # what follows is a checkpoint as well
            except trio.WouldBlock:
                await self._events_in.send(event)
        except BaseException:
            pings.give_place_back()
            raise
        try:
            await answer.done.wait()
        finally:
            answer.abandoned = True
        if answer.round_trip is None:
            raise PeerClosed(self._ended())
        return answer.round_trip

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
        return Inbox[Any](Shelf(self._inboxes, self._session.mailbox, types, buffer_bytes))

    @trio.lowlevel.enable_ki_protection
    async def hold(self, held: bool) -> None:
        """Has the peer not read from (True), or read again (False): for who passes on what it says and has no room.

        What was read already still comes. Does nothing after the end.
        """
        await self._events_in.send(Held(self._session, held))

    @trio.lowlevel.enable_ki_protection
    async def disconnect(self, reason: str | DisconnectReason = "disconnected on request") -> None:
        """Ends the connection: the peer hears a warning with these words first, then all is closed.

        Waits for that, at most `goodbye_deadline` seconds and a short drain; cancelled, it goes on by itself.
        Does nothing if the connection has ended already.
        """
        session = self._session
        if not session.gone.is_open():
            await self._events_in.send(Disconnect(session, reasons.requested(reason)))
        await session.gone.wait()

    @trio.lowlevel.enable_ki_protection
    async def wait_closed(self) -> DisconnectReason:
        """Waits for the connection's end and says why it ended. A checkpoint."""
        await self._session.ended.wait()
        return self._ended()

    def _ended(self) -> DisconnectReason:
        return self._session.reason or reasons.shutdown()


_SENDABLE: Final = (Message, UnknownMessage)


def _encoded(messages: tuple[Any, ...]) -> tuple[bytes, ...]:
    for one in messages:
        if not isinstance(one, _SENDABLE):  # text has an `encode` too
            raise TypeError(f"messages are sent, not {type(one).__name__}")
    return tuple([message.encode() for message in messages])


class ConnectError(TriolightError):
    """A dial that did not end with both Inits. `reason` tells in which phase; `init` is the peer's Init if one came.
    `where` is what was dialled, ``id@host:port``; empty for a stream that was attached. The text has both."""

    def __init__(self, reason: DisconnectReason, init: Init | None = None, where: str = "") -> None:
        super().__init__(reason, init, where)
        self.reason: Final = reason
        self.init: Final = init
        self.where: Final = where

    def __str__(self) -> str:
        return f"{self.reason} ({self.where})" if self.where else str(self.reason)


def peer_of(session: Session) -> Peer:
    """The Peer that users hold of a session that has not ended."""
    return cast("Peer", session.mailbox.giver)


class Present:
    """Who is here: the streams that are open, and the peers by node id, at most one of a node."""

    __slots__ = ("departed", "links", "sessions")

    def __init__(self) -> None:
        self.links: Final[dict[SocketDescriptor, Link]] = {}
        """From before the first act until closed."""
        self.sessions: Final[dict[bytes, Session]] = {}
        """Those that have not ended."""
        self.departed = 0
        """How many of them have hung up, and have said what our own subscribers do not take."""

    @property
    def peers(self) -> int:
        """How many take a peer's place."""
        return len(self.sessions) - self.departed

    def known(self, node_id: bytes) -> Peer | None:
        """The connected peer, unless whoever had it made has left it."""
        session = self.sessions.get(node_id)
        return None if session is None or link_of(session.descriptor).abandoned else peer_of(session)

    def outcome_of(self, link: Link) -> Peer:
        """What a dial, or a stream that was given to us, has come to, after its `outcome`: the peer on it, or the one
        with the same node that was kept instead. ConnectError if neither came of it."""
        found: Peer | None = link.peer or link.survivor
        if found is not None:
            return found
        reason = link.reason or (reasons.duplicate() if link.is_parked else reasons.shutdown())
        if reason.code in (DisconnectCode.DUPLICATE, DisconnectCode.CLOSED_BEFORE_INIT) and link.node_id:
            survivor = self.sessions.get(link.node_id)
            if survivor is not None:
                return peer_of(survivor)
        raise ConnectError(reason, link.init)
