"""Subscribers: who wants what, and what is read ahead for those who are busy. Knows mailboxes, never a connection.

* A message goes straight to each subscriber that has room. One that has none for any of it stops the reading of that
  peer, and of no other: the message waits in the peer's `Mailbox`, whose deliverer hands it over when there is room. It
  runs while something waits.
* So nothing of a peer is read behind a message that waits, and nothing is overtaken or lost.
* Each subscriber has room for each peer, and for all of them together: `SUBSCRIPTION_TOTAL_BYTES`. A message counts as
  what it takes in memory (``messages.weight``); one of many pieces waits as its bytes.
* Peers take turns: whoever says little is heard beside those who say much.
* Who wants to hear of the lives of peers hears of each one's beginning before its first message, and of its end after
  its last one, whatever waits. Who had no room for the beginning hears of neither.
* What came with a receipt is held by whoever has it, and released once it was handled: when the next one is asked for.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar, cast

import trio

from triolight.messages import MESSAGE_OVERHEAD, AnyMessage, Message, UnknownMessage
from triolight.messages.weight import Encoded, Held, give, held_bytes, hold
from triolight.shell.admission import Place
from triolight.shell.watch import Arrival

__all__ = [
    "Inbox",
    "Position",
]

MIN_SHARE: Final = 4 * 1024
"""Read ahead for one peer, however many share a subscriber's total."""
BUFFER_BYTES: Final = 256 * 1024
"""Read ahead for a subscriber that is busy, for each peer, unless it says otherwise."""
SUBSCRIPTION_TOTAL_BYTES: Final = 64 * 1024 * 1024
"""Read ahead for one subscriber from all peers together: with many peers, each has a smaller share."""
INBOX_MESSAGES: Final = 16
"""Messages between the pump and a peer's deliverer. The first one stops the reading: more than this is a bug."""

T = TypeVar("T", covariant=True)


class Position(NamedTuple):
    """Where a message stands in what a front has appended: whoever sees it again sees the same one."""

    stream: str
    """One life of a front."""
    seq: int
    """Counted within the stream, without holes; not every number is a message."""


class Receipt(Protocol):
    """Counts who still has a message that comes again if nobody has handled it."""

    position: Position

    def hold(self) -> None:
        """One more has it."""
        ...

    def release(self) -> None:
        """One of them has handled it."""
        ...

    def abandon(self) -> None:
        """One of them will not handle it, because of an error."""
        ...


class Receipted(Arrival):
    """When something was read, and its receipt."""

    receipt: Receipt


def receipted(monotonic: float, unix_ns: int, receipt: Receipt) -> Receipted:
    found = Receipted(monotonic, unix_ns)
    found.receipt = receipt
    return found


def _hold(at: Arrival | None) -> None:
    if isinstance(at, Receipted):
        at.receipt.hold()


def _release(at: Arrival | None) -> None:
    if isinstance(at, Receipted):
        at.receipt.release()


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message, or the beginning of a life, that some subscribers have no room for."""

    what: Any
    cost: int
    at: Arrival | None
    to: tuple[Shelf, ...]


class Mailbox:
    """What waits for subscribers of one peer. It outlives the peer until they have taken what it said last."""

    __slots__ = (
        "_board",
        "_farewell",
        "_holds",
        "_known",
        "_known_version",
        "_scope",
        "_unannounced",
        "_waiting",
        "bytes",
        "closed",
        "ended",
        "giver",
        "held_since",
        "pauses",
        "place",
        "session",
        "wanted",
    )

    def __init__(self, board: Inboxes, place: Place | None) -> None:
        self._board: Final = board
        self.place: Final = place
        """Among the strangers, entered when the peer ends and left when it is `closed` and `empty`: what it said and
        nobody has taken counts as long as it waits."""
        self._waiting: list[Delivery] = []
        """Messages between the pump and the deliverer."""
        self._holds = False
        """Whether the peer is not read from because of that."""
        self._unannounced: tuple[Shelf, ...] = ()
        """Who was to hear that it is there, and has had no room for that."""
        self._farewell: tuple[Any, Arrival] | None = None
        """What those who hear of lives hear last."""
        self._known: dict[type, tuple[Shelf, ...]] = board.known
        """Who wants messages of which type, remembered until somebody joins or leaves; the board's, of all peers, while
        nobody wants this one's alone."""
        self._known_version = -1
        self.giver: Any = None
        """Whom subscribers of all peers get beside each message: the Peer."""
        self.session: Any = None
        """Whose it is: for who starts its deliverer."""
        self.wanted: Final[list[Shelf]] = []
        """Subscribers of this peer alone."""
        self.bytes = 0
        """What waits on the shelves of all subscribers."""
        self.held_since: float | None = None
        """Since when a message waits for room, in the clock's seconds: the peer is not read from."""
        self.pauses = 0
        """How often that has happened."""
        self._scope: trio.CancelScope | None = None
        """The deliverer's, while it runs."""
        self.ended = False
        """Nothing more comes."""
        self.closed = False
        """Its stream is closed, or another one's."""

    def give(self, message: AnyMessage, data: bytes, at: Arrival | None, now: float) -> bool:
        """A message of the peer's. True: from now on it is not to be read from, until `released`."""
        shelves = self._matching(type(message))
        if not shelves:
            return False
        held: Held = message
        size = len(data)
        cost = size + MESSAGE_OVERHEAD
        if message.__lists__:
            if not self._waiting:
                # Whoever waits for it takes it at once, as it is.
                made = held_bytes(message, size)
                shelves = tuple([one for one in shelves if not (one.awaited and one.offer(self, message, made, at))])
                if not shelves:
                    return False
            held = hold(message, data)
            cost = held_bytes(held, size)
        if not self._waiting:
            # Nothing waits, so nothing can be overtaken: straight to whoever has room.
            shelves = tuple([one for one in shelves if not one.offer(self, held, cost, at)])
            if not shelves:
                return False
        self._wait_for_room(held, cost, at, shelves, now)
        if self._holds:
            return False
        self._holds = True
        self.pauses += 1
        return True

    def _wait_for_room(self, what: Any, cost: int, at: Arrival | None, shelves: tuple[Shelf, ...], now: float) -> None:
        if len(self._waiting) >= INBOX_MESSAGES:
            raise RuntimeError("a peer that is not to be read from was read")
        _hold(at)
        self._waiting.append(Delivery(what, cost, at, shelves))
        if self.held_since is None:
            self.held_since = now
        if self._scope is None:
            self._scope = trio.CancelScope()
            self._board.start(self)

    def begin(self, event: Any, at: Arrival | None, now: float) -> bool:
        """Its life begins: `event` goes to those who hear of lives. True if somebody has no room for that; the first
        message stops the reading then."""
        shelves = tuple([one for one in self._matching(event.__class__) if not one.offer_life(self, event, at)])
        if shelves:
            self._unannounced = shelves
            self._wait_for_room(event, MESSAGE_OVERHEAD, at, shelves, now)
        return bool(shelves)

    def released(self) -> bool:
        """All has been delivered: whether the peer may be read again."""
        self.held_since = None
        held, self._holds = self._holds, False
        return held

    def _matching(self, kind: type) -> tuple[Shelf, ...]:
        board = self._board
        if self._known_version != board.version:
            self._known = {} if self.wanted else board.known
            self._known_version = board.version
        found = self._known.get(kind)
        if found is None:
            shelves = (*board.shelves, *self.wanted)
            found = self._known[kind] = tuple(one for one in shelves if one.wants(kind))
        return found

    def forget_who_wants_what(self) -> None:
        """Somebody has joined, or left."""
        self._known = self._board.known  # who has left has this mailbox, which shall not have him
        self._known_version = -1

    @property
    def delivering(self) -> bool:
        """Whether the deliverer runs."""
        return self._scope is not None

    @trio.lowlevel.enable_ki_protection
    async def deliver(self, drained: Callable[[], Awaitable[None]]) -> None:
        """The deliverer's task: what found no room, in order, to each subscriber as it makes room.

        `drained` is called when all of it is delivered. Returns when nothing waits any more. If no more comes, its
        subscribers hear that, also if it is cancelled.
        """
        scope = self._scope
        if scope is None:
            raise RuntimeError("a deliverer is started by its mailbox")
        try:
            with scope:
                while self._waiting:
                    await self._deliver(self._waiting[0])
                    _release(self._waiting.pop(0).at)
                    if not self._waiting:
                        await drained()
        finally:
            # In one step with the last look at what waits: whatever comes now starts the next one.
            self._scope = None
            for one in self._waiting:
                _release(one.at)  # nobody gets it
            self._waiting.clear()
            if self.ended:
                self._part()

    def _part(self) -> None:
        """Nothing waits here, and nothing more comes: whoever reads hears that."""
        if self._farewell is not None:
            event, at = self._farewell
            for shelf in self._matching(event.__class__):
                if shelf not in self._unannounced:
                    shelf.put(self, event, MESSAGE_OVERHEAD, at)
            _release(at)
            del event
            self._farewell = None  # it has the peer, which has this
        for shelf in self.wanted:
            shelf.end()
        self._board.settle(self)

    async def _deliver(self, delivery: Delivery) -> None:
        for shelf in delivery.to:
            if shelf in self._unannounced:  # so this is the beginning, which goes before all else
                await shelf.deliver_life(self, delivery.what, delivery.at)
                self._unannounced = tuple([one for one in self._unannounced if one is not shelf])
            else:
                await shelf.deliver(self, delivery.what, delivery.cost, delivery.at)

    def took(self, cost: int) -> None:
        """A subscriber has taken, or does not want any more, so much of what waited."""
        self.bytes -= cost
        self._board.took(self, cost)

    @property
    def last_taken(self) -> float:
        """When a subscriber that has no room for this peer has last taken anything."""
        shelves = (*self._board.shelves, *self.wanted)
        return max((one.taken_at for one in shelves if one.waits(self)), default=-math.inf)

    def end(self, event: Any, at: Arrival) -> None:
        """Nothing more comes; what waits is still delivered, and then `event` to those who hear of lives."""
        self.ended = True
        _hold(at)
        self._farewell = event, at
        if self._scope is None:
            self._part()

    def give_up(self) -> None:
        """Who has no room does not get what waits."""
        if self._scope is not None:
            self._scope.cancel(reason="the subscriber has stalled")

    def close(self) -> None:
        """Its stream is closed, or another one's."""
        self.closed = True
        self._board.settle(self)

    @property
    def empty(self) -> bool:
        """Whether nothing of it waits anywhere."""
        return not self.delivering and not self.bytes


class Inboxes:
    """All subscribers of one block. `observe` is told whether there are any; `leave` gets the place of a mailbox of
    which nothing is left; `start` has the task of a mailbox's deliverer started."""

    __slots__ = ("_count", "_ended", "_leave", "_observe", "buffered", "known", "shelves", "start", "version")

    def __init__(
        self,
        observe: Callable[[bool], None],
        leave: Callable[[Place | None], None],
        start: Callable[[Mailbox], None],
    ) -> None:
        self._observe: Final = observe
        self._leave: Final = leave
        self.start: Final = start
        self.known: dict[type, tuple[Shelf, ...]] = {}
        """Which of `shelves` want messages of which type."""
        self.buffered = 0
        """Bytes that wait, of peers that have ended too."""
        self.shelves: Final[list[Shelf]] = []
        """Of those who want every peer's messages."""
        self.version = 0
        """Changes whenever one of them joins or leaves."""
        self._count = 0
        """All subscribers there are."""
        self._ended = False

    def join(self, shelf: Shelf) -> None:
        only = shelf.only
        (self.shelves if only is None else only.wanted).append(shelf)
        self._joined_or_left(only, 1)
        if self._ended or (only is not None and only.ended):
            shelf.end()

    def leave(self, shelf: Shelf) -> None:
        only = shelf.only
        (self.shelves if only is None else only.wanted).remove(shelf)
        self._joined_or_left(only, -1)

    def _joined_or_left(self, only: Mailbox | None, step: int) -> None:
        self._count += step
        if only is None:
            self.version += 1
            self.known = {}
        else:
            only.forget_who_wants_what()
        if not self._ended:  # after that the manager is somebody else's
            self._observe(bool(self._count))

    def took(self, mailbox: Mailbox, cost: int) -> None:
        self.buffered -= cost
        self.settle(mailbox)

    def settle(self, mailbox: Mailbox) -> None:
        """Something of it was taken, or its stream or its deliverer has ended: perhaps nothing is left of it."""
        if mailbox.closed and mailbox.empty:
            self._leave(mailbox.place)
            # Who have the mailbox: nobody is given beside a message any more.
            mailbox.giver = mailbox.session = None

    def end(self) -> None:
        """No more of anything. What is left of single peers' ends with the peers, all of which have ended by now."""
        self._ended = True
        for shelf in self.shelves:
            shelf.end()


class Shelf:
    """What is read ahead for one subscriber."""

    __slots__ = (
        "_board",
        "_buffer_bytes",
        "_in",
        "_queues",
        "_total",
        "_types",
        "_used",
        "_waiting",
        "_waiting_lives",
        "arrived",
        "only",
        "taken_at",
    )

    def __init__(
        self,
        board: Inboxes,
        only: Mailbox | None,
        types: tuple[type, ...],
        buffer_bytes: int,
        lives: tuple[type, ...] = (),
    ) -> None:
        """`only`: the one peer whose messages it wants. `lives`: the classes of what tells of lives, if it may want
        them. ValueError and TypeError as `Peer.subscribe`."""
        for one in cast("tuple[Any, ...]", types):
            if not (isinstance(one, type) and issubclass(one, (Message, UnknownMessage, *lives))):
                raise TypeError(f"a subscriber wants classes of messages, not {one!r:.80}")
        if buffer_bytes < 1:
            raise ValueError(f"buffer_bytes is at least 1, not {buffer_bytes}")
        self._board: Final = board
        self.only: Final = only
        self._types: Final = types or (Message, UnknownMessage)
        self._buffer_bytes: Final = buffer_bytes
        # Bytes are what limits it, each message as MESSAGE_OVERHEAD at the least, and one more for each peer.
        self._in, self.arrived = trio.open_memory_channel[None](math.inf)
        """One for each message; which one, is decided when it is taken."""
        self._queues: OrderedDict[Mailbox, deque[tuple[Any, int, Arrival | None]]] = OrderedDict()
        """Messages, what they count as, and when they came, for each peer that has some."""
        self._used: dict[Mailbox, int] = {}
        """Bytes that wait here, for each peer."""
        self._total = 0
        self._waiting: dict[Mailbox, trio.Event] = {}
        """Deliverers that wait for room."""
        self._waiting_lives: OrderedDict[Mailbox, trio.Event] = OrderedDict()
        """Those of them that wait for room for a beginning."""
        self.taken_at = -math.inf
        """When a message was last taken while a peer waited for room."""

    # The subscriber's side.

    def join(self) -> None:
        self._board.join(self)

    def take(self) -> tuple[Any, Arrival | None]:
        """The next message and when it came, after one was received from `arrived`."""
        mailbox, queue = self._queues.popitem(last=False)
        item, cost, at = queue.popleft()
        giver = mailbox.giver  # which it forgets with the last one
        if queue:
            self._queues[mailbox] = queue  # behind the others
        self._total -= cost
        used = self._used[mailbox] - cost
        if used:
            self._used[mailbox] = used
        else:
            del self._used[mailbox]
        mailbox.took(cost)
        if self._waiting_lives:
            self.taken_at = trio.current_time()
            if self._total < SUBSCRIPTION_TOTAL_BYTES:
                self._waiting_lives.popitem(last=False)[1].set()
        if self._waiting:
            self.taken_at = trio.current_time()
            # Half empty before it is filled again: a peer that is stopped and started for each message is slow.
            if mailbox in self._waiting and used <= self._limit // 2:
                self._waiting.pop(mailbox).set()
        message = give(item) if isinstance(item, Encoded) else item
        return (message if self.only is not None else (giver, message)), at

    def leave(self, failed: bool = False) -> None:
        """The subscriber wants no more, not what waits either. `failed`: because of an error."""
        self._board.leave(self)
        self.arrived.close()
        for queue in self._queues.values():
            for _, _, at in queue:
                if isinstance(at, Receipted):
                    at.receipt.abandon() if failed else at.receipt.release()
        for mailbox, used in self._used.items():
            mailbox.took(used)
        self._used.clear()
        self._queues.clear()
        self._total = 0  # who waits for room has it: what is put here goes nowhere
        for room in (*self._waiting.values(), *self._waiting_lives.values()):
            room.set()

    # The peers' side.

    def wants(self, kind: type) -> bool:
        return issubclass(kind, self._types)

    @property
    def awaited(self) -> bool:
        """Whether its reader waits for a message just now, and there is none."""
        return not self._queues and self.arrived.statistics().tasks_waiting_receive > 0

    @property
    def _limit(self) -> int:
        share = SUBSCRIPTION_TOTAL_BYTES // max(1, len(self._used))
        return min(self._buffer_bytes, max(MIN_SHARE, share))

    def offer(self, mailbox: Mailbox, held: Held, cost: int, at: Arrival | None) -> bool:
        """Takes a message if there is room for any of it; False if this peer's share is full."""
        used = self._used.get(mailbox, 0)
        # Whoever has nothing here has room for one: no peer starves for what others have filled.
        if used >= self._limit or (used and self._total >= SUBSCRIPTION_TOTAL_BYTES):
            return False
        self.put(mailbox, held, cost, at)
        return True

    def offer_life(self, mailbox: Mailbox, event: Any, at: Arrival | None) -> bool:
        """Takes the beginning of a life, unless there is no room at all: those that have begun here are never more than
        fit."""
        if self._total >= SUBSCRIPTION_TOTAL_BYTES:
            return False
        self.put(mailbox, event, MESSAGE_OVERHEAD, at)
        return True

    def put(self, mailbox: Mailbox, held: Any, cost: int, at: Arrival | None) -> None:
        """Takes it, whatever is here."""
        try:
            self._in.send_nowait(None)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # it has left
        if isinstance(at, Receipted):
            at.receipt.hold()
        queue = self._queues.get(mailbox)
        if queue is None:
            self._queues[mailbox] = deque(((held, cost, at),))
        else:
            queue.append((held, cost, at))
        self._used[mailbox] = self._used.get(mailbox, 0) + cost
        self._total += cost
        mailbox.bytes += cost
        self._board.buffered += cost

    async def deliver_life(self, mailbox: Mailbox, event: Any, at: Arrival | None) -> None:
        """Waits for room."""
        while not self.offer_life(mailbox, event, at):
            room = self._waiting_lives[mailbox] = trio.Event()
            try:
                await room.wait()
            finally:
                if self._waiting_lives.get(mailbox) is room:
                    del self._waiting_lives[mailbox]

    async def deliver(self, mailbox: Mailbox, held: Held, cost: int, at: Arrival | None) -> None:
        """Waits for room."""
        while not self.offer(mailbox, held, cost, at):
            room = self._waiting[mailbox] = trio.Event()
            try:
                await room.wait()
            finally:
                if self._waiting.get(mailbox) is room:
                    del self._waiting[mailbox]

    def waits(self, mailbox: Mailbox) -> bool:
        """Whether a message of this peer waits for room here."""
        return mailbox in self._waiting or mailbox in self._waiting_lives

    def end(self) -> None:
        """No more messages come."""
        self._in.close()


class Inbox(Generic[T]):
    """An iterator of messages, with what is read ahead for a busy reader; ends when there can be no more.

    ``async with peer.subscribe(Ping) as inbox: async for message in inbox``.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf: Final = shelf
        self._received_at: Arrival | None = None
        self._in_hand: Receipt | None = None
        """Of what it has given last, until the next one is asked for."""

    @property
    def received_at(self) -> Arrival | None:
        """When what it has given last was read from the socket: of a long message its last piece. Of PeerConnected,
        when the peer's Init was; of PeerDisconnected, when the end was decided. None before it has given anything."""
        return self._received_at

    @property
    def position(self) -> Position | None:
        """Where what it has given last stands in its front's stream: what comes again after another back has taken up
        a session comes with the same position. None of a peer that is connected here."""
        at = self._received_at
        return at.receipt.position if isinstance(at, Receipted) else None

    def _handled(self) -> None:
        """The next one is asked for: what was given last is done with."""
        receipt, self._in_hand = self._in_hand, None
        if receipt is not None:
            receipt.release()

    def _take(self) -> T:
        message, at = self._shelf.take()
        self._received_at = at
        if isinstance(at, Receipted):
            self._in_hand = at.receipt  # the shelf's hold is ours from now on
        return cast("T", message)

    def __aiter__(self) -> AsyncIterator[T]:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> T:
        """The next message. A checkpoint; cancellation loses nothing. StopAsyncIteration once the peer (or the nursery)
        has ended and all that came before is delivered."""
        if self._in_hand is not None:
            self._handled()
        try:
            await self._shelf.arrived.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None
        return self._take()

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> T:
        """The next message if there is one, without a checkpoint. trio.WouldBlock if none waits, trio.EndOfChannel once
        there can be no more."""
        if self._in_hand is not None:
            self._handled()
        try:
            self._shelf.arrived.receive_nowait()
        except trio.ClosedResourceError:
            raise trio.EndOfChannel from None
        return self._take()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._shelf.join()
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._handled()
        elif self._in_hand is not None:
            self._in_hand.abandon()
            self._in_hand = None
        self._shelf.leave(error is not None)
