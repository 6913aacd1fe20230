"""RemotePeer: a peer whose socket is at a front, as users of a back hold it; and its session, which the back owns.

What shall happen to it is a record for its front. It knows no engine and starts no task.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar, cast

import trio

from triolight import reasons
from triolight.address import Address
from triolight.batch import Batch
from triolight.cluster.lanes import Lane
from triolight.cluster.records import Hold, Send, SendPing, disconnect
from triolight.connection import LARGEST_PONG, init_features
from triolight.errors import DisconnectReason, PeerClosed
from triolight.features import Features
from triolight.messages import AnyMessage, Init, Message, Ping, Registry, UnknownMessage
from triolight.policy import Account
from triolight.shell.inboxes import BUFFER_BYTES, Inbox, Inboxes, Mailbox, Receipt, Shelf
from triolight.shell.keep import Kept
from triolight.shell.pings import PingAnswer, Pings
from triolight.shell.statistics import PeerStatistics
from triolight.tally import Tally, by_name, count

__all__ = ["KeptRemotePeer", "RemotePeer"]

DOWN_BYTES: Final = 128 * 1024
"""On its way to a peer, beyond what its front says that the peer's queue has taken: from there on `send` waits."""
BY_SUBSCRIBER: Final = 1
BY_ALLOWANCE: Final = 2
BY_HANDLER: Final = 4
"""Why a peer is not read from."""

M = TypeVar("M", bound=Message | UnknownMessage)


class Met(NamedTuple):
    """What is known of a connection from its beginning."""

    node_id: bytes
    inbound: bool
    address: Address | None
    init: Init


class RemotePings:
    """The pings of one peer that its front was asked for, by number."""

    __slots__ = ("_asked", "_last", "places")

    def __init__(self, first: int) -> None:
        """`first`: another one for each back, so that an answer to an earlier one is nobody's."""
        self.places: Final = Pings()
        self._asked: Final[dict[int, PingAnswer]] = {}
        self._last = first

    def ask(self) -> tuple[int, PingAnswer]:
        """A place was found."""
        self._last = (self._last + 1) % 2**32
        answer = self._asked[self._last] = PingAnswer()
        self.places.take_place()
        self.places.sent(answer)
        return self._last, answer

    def answered(self, number: int, round_trip: float) -> None:
        answer = self._asked.pop(number, None)
        if answer is not None:
            self.places.answered(answer, round_trip)


class Restraint:
    """Why a peer is not read from, and what it has cost."""

    __slots__ = ("account", "reasons", "throttled")

    def __init__(self) -> None:
        self.account: Final = Account()
        self.reasons = 0
        self.throttled = 0
        """How often it has overdrawn its allowance."""


class RemoteSession:
    """One connection at a front. It is what routing calls a source."""

    def __init__(self, front: str, conn: int, lane: Lane, met: Met, inboxes: Inboxes, first_ping: int) -> None:
        self.front: Final = front
        self.conn: Final = conn
        self.lane: Final = lane
        self.met: Final = met
        self.node_id: bytes = met.node_id
        self.batch: Batch | None = None
        self.received: Final[Tally] = {}
        self.sent: Final[Tally] = {}
        self.mailbox: Final = Mailbox(inboxes, None)
        self.backlog: Final[deque[tuple[Any, Receipt]]] = deque()
        """Records that came while it is held: no more than its front had appended by then."""
        self.gathered: Final[list[Receipt]] = []
        """Of messages in a batch that is not complete."""
        self.restraint: Final = Restraint()
        self.pulling = False
        """Whether the routing handler has gossip for it."""
        self.reason: DisconnectReason | None = None
        self.ending = False
        """Whether its front was told to end it."""
        self.ended: Final = trio.Event()
        self.on_the_way = 0
        """Bytes sent that the peer's queue has not taken."""
        self.pings: Final = RemotePings(first_ping)
        self._room = trio.Event()
        self._waiting: Final[dict[trio.Event, None]] = {}
        """Of those who wait for an engine's answer, or for a pong."""

    @property
    def descriptor(self) -> RemoteSession:
        """What whoever listens to all messages gets."""
        return self

    @property
    def has_room(self) -> bool:
        return self.on_the_way < DOWN_BYTES and self.lane.writer.has_room and not self.lane.closed

    async def wait_room(self) -> None:
        """Until more may be sent. PeerClosed once it has ended."""
        while True:
            self.check()
            if self.has_room:
                return
            if not (self.lane.writer.has_room or self.lane.closed):
                await self.lane.room()
                continue
            await self._room.wait()  # of a stream that is closed: until the end

    def check(self) -> None:
        """PeerClosed if it has ended."""
        if self.reason is not None:
            raise PeerClosed(self.reason)

    def taken(self, size: int) -> None:
        self.on_the_way = max(0, self.on_the_way - size)
        self.wake()

    async def until(self, event: trio.Event) -> None:
        """Until it is set, or the session has ended."""
        if self.reason is None:
            self._waiting[event] = None
            try:
                await event.wait()
            finally:
                self._waiting.pop(event, None)

    def wake_all(self) -> None:
        """It has ended: nobody waits any more."""
        for event in self._waiting:
            event.set()

    def wake(self) -> None:
        self._room.set()
        self._room = trio.Event()

    @property
    def is_held(self) -> bool:
        """Whether what it says waits."""
        # While more waits for a subscriber than there is room for: its reason alone may be older.
        return bool(self.restraint.reasons & ~BY_SUBSCRIBER) or self.mailbox.held_since is not None

    def hold(self, why: int) -> bool:
        """Has its front not read from it. False: it is held for that already."""
        restraint = self.restraint
        if restraint.reasons & why:
            return False
        if not restraint.reasons and self.reason is None:
            self.lane.put(self.conn, Hold(held=1))
        restraint.reasons |= why
        return True

    def release(self, why: int) -> None:
        """That is no reason any more."""
        restraint = self.restraint
        if restraint.reasons & why:
            restraint.reasons ^= why
            if not restraint.reasons and self.reason is None:
                self.lane.put(self.conn, Hold(held=0))

    def tell(self, messages: list[bytes]) -> None:
        """Messages for it, whatever waits."""
        if self.reason is None and not self.ending:
            self.on_the_way += sum(map(len, messages))
            self.count_sent(messages)
            self.lane.put(self.conn, Send(messages=tuple(messages)))

    def count_sent(self, messages: Iterable[bytes]) -> None:
        for one in messages:
            count(self.sent, int.from_bytes(one[:2], "big"), len(one))

    def end(self, reason: DisconnectReason) -> None:
        """Has its front end it, once."""
        if self.reason is None and not self.ending:
            self.ending = True
            self.lane.put(self.conn, disconnect(reason))


class RemotePeer:
    """A peer that is connected at a front."""

    def __init__(self, session: RemoteSession, inboxes: Inboxes, messages: Registry) -> None:
        self._session: Final = session
        self._inboxes: Final = inboxes
        self._messages: Final = messages

    def __repr__(self) -> str:
        reason = self._session.reason
        state = "connected" if reason is None else reason.code
        return f"<RemotePeer {self.node_id.hex()[:16]} at {self.front}, {state}>"

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return self._session.node_id

    @property
    def address(self) -> Address | None:
        """Where the connection goes to, or comes from, if that is known."""
        return self._session.met.address

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""
        return self._session.met.inbound

    @property
    def features(self) -> Features:
        """What its Init offers."""
        return init_features(self._session.met.init)

    @property
    def init(self) -> Init:
        """Its Init."""
        return self._session.met.init

    @property
    def reason(self) -> DisconnectReason | None:
        """Why the connection has ended; None while it has not."""
        return self._session.reason

    @property
    def front(self) -> str:
        """The front that it is connected at."""
        return self._session.front

    @property
    def messages(self) -> Registry:
        """Which messages its back knows: those of others come as UnknownMessages."""
        return self._messages

    def statistics(self) -> PeerStatistics:
        """A snapshot, as `Peer.statistics`, of what this back has read and sent: not what its front does itself, as
        pings of the keepalive. Bytes are those of messages, not of the wire."""
        session = self._session
        last, minimum, smoothed = session.pings.places.round_trips
        (heard, heard_bytes), (said, said_bytes) = (
            (sum(one[0] for one in tally.values()), sum(one[1] for one in tally.values()))
            for tally in (session.received, session.sent)
        )
        return PeerStatistics(
            heard,
            said,
            heard_bytes,
            said_bytes,
            queued_bytes=session.on_the_way,
            inbox_bytes=session.mailbox.bytes,
            reading_paused=session.mailbox.pauses,
            rtt_last=last,
            rtt_minimum=minimum,
            rtt_smoothed=smoothed,
            pings_outstanding=session.pings.places.outstanding,
            throttled=session.restraint.throttled,
            received=by_name(session.received, self._messages),
            sent=by_name(session.sent, self._messages),
        )

    def room(self) -> int:
        """Bytes that `send` takes at once; 0 while it would wait, and after the end."""
        session = self._session
        return max(0, DOWN_BYTES - session.on_the_way) if session.reason is None and session.has_room else 0

    @trio.lowlevel.enable_ki_protection
    async def send(self, *messages: AnyMessage) -> None:
        """Queues messages, in a row on the wire. A checkpoint.

        Waits while too much is on its way to the peer. Returned: in its front's stream, not on the wire. Cancelled, or
        an error: not sent; but one that is just being appended may be, and is waited for. ValueError for a message that
        cannot be encoded, PeerClosed after the peer's end.
        """
        session = self._session
        encoded = _encoded(messages)
        await trio.lowlevel.checkpoint()
        await session.wait_room()
        size = sum(map(len, encoded))
        answered, appended = trio.Event(), False

        def on_appended() -> None:
            nonlocal appended
            appended = True
            answered.set()

        parcel = session.lane.put(session.conn, Send(messages=encoded), on_appended)
        session.on_the_way += size
        session.count_sent(encoded)
        try:
            await session.until(answered)
        except BaseException:
            with trio.CancelScope(shield=True):
                while not answered.is_set() and session.reason is None:
                    if session.lane.closed or session.lane.writer.withdraw(parcel):
                        session.taken(size)
                        raise
                    await session.lane.changed()
        if not appended:
            session.check()

    @trio.lowlevel.enable_ki_protection
    async def request(self, message: AnyMessage, answer: type[M], match: Callable[[M], bool] | None = None) -> M:
        """Sends a message and returns the first one of class `answer` that comes after it, and for which `match`, if
        there is one, is true. As `Peer.request`."""
        session = self._session
        await session.wait_room()
        async with Inbox[M](Shelf(self._inboxes, session.mailbox, (answer,), BUFFER_BYTES)) as inbox:
            await self.send(message)
            async for one in inbox:
                if match is None or match(one):
                    return one
        raise PeerClosed(self._ended())

    @trio.lowlevel.enable_ki_protection
    async def ping(self, num_pong_bytes: int = 0, ignored: bytes = b"") -> float:
        """Has the front send a ping and waits for its own pong: the round trip between front and peer, in seconds.

        As `Peer.ping`.
        """
        if not 0 <= num_pong_bytes <= LARGEST_PONG:
            raise ValueError(f"a pong has 0 to {LARGEST_PONG} bytes, not {num_pong_bytes}")
        Ping(num_pong_bytes=num_pong_bytes, ignored=ignored).encode()
        session = self._session
        await session.wait_room()
        while not session.pings.places.has_place:
            await session.pings.places.wait_place()
            await session.wait_room()
        number, answer = session.pings.ask()
        session.lane.put(session.conn, SendPing(ping=number, num_pong_bytes=num_pong_bytes, ignored=ignored))
        try:
            await answer.done.wait()
        finally:
            answer.abandoned = True
        if answer.round_trip is None:
            raise PeerClosed(self._ended())
        return answer.round_trip

    def subscribe(self, *types: type[M], buffer_bytes: int = BUFFER_BYTES) -> Inbox[M]:
        """``async with peer.subscribe(Pong) as inbox``: its messages of these types, as `Peer.subscribe`."""
        return Inbox[M](Shelf(self._inboxes, self._session.mailbox, types, buffer_bytes))

    @trio.lowlevel.enable_ki_protection
    async def disconnect(self, reason: str | DisconnectReason = "disconnected on request") -> None:
        """Ends the connection: the peer hears a warning with these words first. Waits until its front says that it has
        ended; cancelled, it goes on by itself."""
        self._session.end(reasons.requested(reason))
        await self.wait_closed()

    @trio.lowlevel.enable_ki_protection
    async def wait_closed(self) -> DisconnectReason:
        """Waits for the connection's end and says why it ended. A checkpoint."""
        await self._session.ended.wait()
        return self._ended()

    def _ended(self) -> DisconnectReason:
        return self._session.reason or reasons.shutdown()


def _encoded(messages: tuple[Any, ...]) -> tuple[bytes, ...]:
    for one in messages:
        if not isinstance(one, Message | UnknownMessage):
            raise TypeError(f"messages are sent, not {type(one).__name__}")
    return tuple([cast("AnyMessage", message).encode() for message in messages])


class KeptRemotePeer(Kept[RemotePeer]):
    """What `RemotePeers.keep` gives: reconnects until `stop`, or until the block is left."""
