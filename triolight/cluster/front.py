"""run_front: the sockets of a fleet. What its peers say goes up, what the back says goes down; it decides nothing.

A front has lives, each under a token of its own. A life begins with a back and no peers, and ends for all its peers
together, with a reason: it was fenced, there is another back, or none for too long, or the engine has lost something.
Whoever comes waits, unread, until the engine has said that this front has its node; and so does, for a moment, whoever
is here when another front has won it by a dial that crossed: the other side may have chosen otherwise.
"""

from __future__ import annotations

import secrets
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, NamedTuple

import trio

from triolight import reasons
from triolight.address import write_address
from triolight.cluster.bus import START, Bus, EngineAway, Fenced, FleetError, leaves
from triolight.cluster.claims import Claims
from triolight.cluster.gossip import QUERIES, FrontGossip, Travels
from triolight.cluster.lanes import AGAIN_SECONDS, Lane, Patience
from triolight.cluster.records import (
    DOWN,
    ENGINE,
    NO_CONNECTION,
    RECORD_OVERHEAD,
    TOKEN_BYTES,
    Broadcast,
    Config,
    Connected,
    Dial,
    Disconnect,
    Displaced,
    Hold,
    Ponged,
    Record,
    Said,
    Send,
    SendPing,
    decode_entry,
    dialled,
    ended,
)
from triolight.cluster.rules import DIALS, PARKED_SECONDS, RENEWALS, has_lapsed
from triolight.cluster.streams import Done, Flight, Hole, Reader, Used
from triolight.cluster.taken import TakenTogether
from triolight.cluster.wanted import wanted
from triolight.cluster.watch import FrontWatch
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, PeerClosed
from triolight.logger import Area, Level
from triolight.messages import Init, Message, Ping, Pong, UnknownMessage
from triolight.shell.newcomers import Newcomer, Newcomers
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.shell.peer import ConnectError, Peer
from triolight.shell.peers import PeerNursery

__all__ = ["run_front", "serve_front"]

TAKEN_AT_ONCE: Final = 64
"""Messages, before other tasks have their turn."""
DOWN_BYTES: Final = 4 * 1024 * 1024
"""What waits here for one peer. A back that keeps to `Taken` never gets there: it is twice the largest legal batch."""
TICK_SECONDS: Final = 1.0
"""How late a handler may hear that something is due which has become so since it was asked."""
PINGS: Final = 32
"""Pings of the back's that one peer has not answered."""


class _Conn:
    """One connection of a life, as the back knows it, or will. There are many, and most of them are silent."""

    __slots__ = ("number", "over", "peer", "pings", "telling", "unheard", "waiting", "waiting_bytes")

    def __init__(self, number: int, peer: Peer) -> None:
        self.number: Final = number
        self.peer: Final = peer
        self.waiting: deque[Send | Disconnect] | None = None
        """What the back has said to it, in order, while a task passes it on."""
        self.telling: trio.CancelScope | None = None
        """Of that task: what one session was told does not reach the next one."""
        self.waiting_bytes = 0
        self.pings = 0
        self.unheard: list[Message | UnknownMessage] | None = None
        """Another front has its node: what it had said when it was not read any more. None: the back knows it."""
        self.over = False


def _weight(what: Send | Disconnect) -> int:
    """What it counts as while it waits: a record without a message is an object too."""
    return RECORD_OVERHEAD + (sum(map(len, what.messages)) if isinstance(what, Send) else 0)


class _Renewal(NamedTuple):
    """The last one of a lease."""

    at: float
    back_age: float
    """Seconds since the back had renewed its own, at that time."""


class _Over(Exception):
    """A life is over."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Life:
    """A front under one token."""

    def __init__(
        self,
        peers: PeerNursery,
        bus: Bus,
        name: str,
        token: bytes,
        back: bytes,
        config: Config,
        log: Area,
        watch: FrontWatch,
        once: bool,
    ) -> None:
        self._peers: Final = peers
        self._bus: Final = bus
        self._who: Final = (name, token)
        self._backs = [back]
        """The one that is followed; behind it another one, once that may go on with this front."""
        self._config = config
        self._log: Final = log
        self._watch: Final = watch
        self._travels: Final = Travels(config, once, watch)
        self._patience: Final = Patience(config.engine_grace / 1000, self._on_full)
        self._lane: Final = Lane(token, self._append, self._look, self._patience)
        self._taken: Final = TakenTogether(self._lane)
        self._conns: Final[dict[Peer, _Conn]] = {}
        self._by_number: Final[dict[int, _Conn]] = {}
        self._last = 0
        self.claims: Final = Claims(peers, bus, name, token, lambda: self.doubtful)
        self._announced = trio.Event()
        self._renewed = _Renewal(trio.current_time(), 0.0)
        self._dials: Final = trio.CapacityLimiter(peers.policy.max_dials)
        self._asked = 0
        """Dials without an answer."""
        self._nursery: Any = None
        """Where what takes a while runs."""

    def _on_full(self, full: bool) -> None:
        self._log(Level.WARN, "the engine is full: peers are not read" if full else "the engine has room again")

    async def run(self, inbox: Any) -> DisconnectReason:
        """Returns why it is over. Raises FleetError if the engine is lost."""
        ends: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._lane.run)
                nursery.start_soon(self._taken.run)
                nursery.start_soon(self._forward, inbox)
                nursery.start_soon(self._renew)
                nursery.start_soon(self._read)
        except* (_Over, Fenced, Hole, FleetError) as group:
            ends = leaves(group)
        finally:
            self._nursery = None
            self._lane.close()
        for end in ends:
            if isinstance(end, FleetError):
                raise end
        match ends:
            case [_Over(reason=reason), *_]:
                return reason
            case [Fenced(), *_]:
                return reasons.fenced()
            case _:
                return reasons.engine_lost("the engine has lost what it had")

    async def _append(self, flight: Flight) -> Used:
        count = len(flight.parcels)
        used = await self._bus.append_up(*self._who, flight.first_seq, count, flight.data)
        self._watch.appends += 1
        self._watch.records += count
        return used

    async def _look(self) -> Used:
        return (await self._bus.renew_front(*self._who, len(self._conns)))[1]

    # Up.

    async def _forward(self, inbox: Any) -> None:
        """What peers say, in their order; the room of the window is all that holds it up, and so holds up them."""
        writer = self._lane.writer
        async for peer, what in inbox:
            await self._lane.room()
            self._pass_on(peer, what)
            with suppress(trio.WouldBlock, trio.EndOfChannel):
                for _ in range(TAKEN_AT_ONCE):
                    if not writer.has_room:
                        break
                    self._pass_on(*inbox.receive_nowait())

    def _pass_on(self, peer: Peer, what: Any) -> None:
        conn = self._conns.get(peer)
        if isinstance(what, PeerConnected):
            self._connected(peer)
        elif conn is None:
            self._announce()  # of an earlier life, or without a claim
        elif isinstance(what, PeerDisconnected):
            self._ended(conn, what.reason)
        elif conn.unheard is None:
            self._said(conn, what)
        else:
            self._keep(conn, conn.unheard, what)

    def _keep(self, conn: _Conn, unheard: list[Message | UnknownMessage], message: Message | UnknownMessage) -> None:
        """Of one that waits. Once it is too much it ends, and nothing more is kept."""
        if conn.waiting_bytes <= DOWN_BYTES:
            unheard.append(message)
            conn.waiting_bytes += RECORD_OVERHEAD + len(message.encode())
            if conn.waiting_bytes > DOWN_BYTES:
                self._nursery.start_soon(conn.peer.disconnect, reasons.duplicate())

    def _said(self, conn: _Conn, message: Message | UnknownMessage) -> None:
        if (data := self._travels.as_bytes(message)) is not None:
            self._lane.put(conn.number, Said(data=data))

    def _connected(self, peer: Peer) -> None:
        if peer in self._conns:
            pass  # it was displaced before this was read
        elif self.claims.has(peer.node_id):
            self._begin(self._conn(peer))
        else:
            self._park(peer)

    def _conn(self, peer: Peer) -> _Conn:
        self._last += 1
        conn = self._conns[peer] = _Conn(self._last, peer)
        return conn

    def _begun(self, peer: Peer) -> _Conn | None:
        """What the back knows it as, if it does."""
        conn = self._conns.get(peer)
        return conn if conn is not None and conn.unheard is None else None

    def _begin(self, conn: _Conn) -> None:
        """The back hears of it."""
        peer = conn.peer
        self._by_number[conn.number] = conn
        address = b"" if peer.address is None else write_address(peer.address)
        record = Connected(node_id=peer.node_id, inbound=int(peer.inbound), address=address, init=peer.init.encode())
        self._lane.put(conn.number, record)
        self._announce()

    def _announce(self) -> None:
        """Whoever waits for what becomes of a dial looks again."""
        self._announced.set()
        self._announced = trio.Event()

    def _ended(self, conn: _Conn, reason: DisconnectReason) -> None:
        if conn.unheard is None:
            self._lane.put(conn.number, ended(reason))
        conn.over = True
        if conn.telling is not None:
            conn.telling.cancel()
        self._taken.ended(conn.number)
        del self._conns[conn.peer]
        self._by_number.pop(conn.number, None)
        self._announce()
        self._nursery.start_soon(self.claims.let_go, conn.peer.node_id)

    # Who may connect.

    @property
    def doubtful(self) -> bool:
        """Whether it could not renew for so long that it takes nobody in."""
        return has_lapsed(self._renewed.at, trio.current_time(), self._config.lease / 1000 * 0.8)

    @property
    def trouble(self) -> str | None:
        """Why it takes nobody in; None if it does."""
        if self.doubtful:
            return f"the engine has not answered for {self.silence:.0f} seconds"
        age = self._renewed.back_age + self.silence
        return f"the back is silent for {age:.0f} seconds" if age >= self._config.lease / 1000 else None

    @property
    def window(self) -> Used:
        """Appended, and not consumed by the back."""
        return self._lane.writer.used

    @property
    def pending_bytes(self) -> int:
        """Not appended yet."""
        return self._lane.writer.pending_bytes

    @property
    def connections(self) -> int:
        """Peers that the back knows, or that wait for their place."""
        return len(self._conns)

    @property
    def silence(self) -> float:
        """Seconds since the engine has last answered a renewal."""
        return trio.current_time() - self._renewed.at

    def welcome(self, newcomer: Newcomer) -> bool:
        """Asks about it. False: this life is over."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(self.claims.decide, newcomer)
        return True

    # The lease.

    async def _renew(self) -> None:
        lease, grace = self._config.lease / 1000, self._config.back_grace / 1000
        while True:
            try:
                back, used = await self._bus.renew_front(*self._who, len(self._conns))
            except EngineAway:
                self._patience.away()
                await trio.sleep(min(AGAIN_SECONDS, lease / RENEWALS))
                continue
            self._patience.here()
            self._renewed = _Renewal(trio.current_time(), back.age)
            self._lane.consumed(used)
            if back.token != self._backs[0]:
                await self._follow(back.token)
            if back.age >= grace:
                raise _Over(reasons.back_lost(grace))
            await trio.sleep(lease / RENEWALS)

    async def _follow(self, back: bytes) -> None:
        """There is another back. It takes up this front's sessions, or they end."""
        config = await self._patience.until_answered(self._bus.read_config)
        if config is None or not (self._config.resumes and config.resumes) or wanted(config) != wanted(self._config):
            raise _Over(reasons.back_restarted())
        # Known before it is told: from then on it may say something.
        self._backs.append(back)
        followed = await self._patience.until_answered(lambda: self._bus.follow_back(*self._who, back))
        if followed:
            self._backs, self._config = [back], config
            self._log(Level.INFO, "another back takes up the sessions of this front")

    # Down.

    async def _read(self) -> None:
        reader, after = Reader(self._backs[0]), START
        lease, grace = self._config.lease / 1000, self._config.engine_grace / 1000
        # Of its own: an engine that answers all else, and not this, is lost too. A read may take a lease to fail.
        patience = Patience(grace + 2 * lease)
        done, engines = Done(), False
        while True:
            try:
                wait = min(lease, done.seconds_left(trio.current_time()))
                found = await self._bus.read_down(self._who[0], after, wait)
                patience.here()
                for position, data in found:
                    entry = decode_entry(data, DOWN)
                    if entry.token == self._backs[-1] != reader.token:
                        reader = Reader(entry.token)  # what the one before it has said is read by now
                    if engines is not (entry.token == ENGINE):
                        await self._consume(done)  # what the engine says is a stream of its own
                        engines = not engines
                    for record in entry.records if entry.token == ENGINE else reader.read(entry):
                        if entry.token != ENGINE or isinstance(record.what, Displaced):
                            await self._obey(record)
                    after = position
                    done.add(position, Used(len(data), len(entry.records)), trio.current_time())
                if not done.seconds_left(trio.current_time()):
                    await self._consume(done)
            except EngineAway:
                patience.away()
                await trio.sleep(AGAIN_SECONDS)
            except DecodeError as error:
                raise _Over(reasons.engine_lost(f"the engine has given something else: {error}")) from None

    async def _consume(self, done: Done) -> None:
        if (told := done.take()) is not None:
            await self._patience.until_answered(lambda: self._bus.consume_down(*self._who, *told))

    async def _obey(self, record: Record) -> None:
        conn, what = self._by_number.get(record.conn), record.what
        match what:
            case Displaced():
                await self._displaced(what)
            case Dial() if self._asked < 2 * DIALS:  # of two backs, one after the other
                self._asked += 1
                self._nursery.start_soon(self._dial, what.ask, what.address.decode("ascii", "replace"))
            case Dial() if self._lane.writer.has_room:
                self._lane.put(NO_CONNECTION, dialled(what.ask, reasons.requested("too many dials at a time")))
            case Broadcast():
                self._peers.manager.broadcast_encoded(what.data)
            case _ if conn is None:
                pass  # it has ended, as the back will hear
            case Hold():
                await conn.peer.hold(bool(what.held))
            case SendPing() if conn.pings < PINGS:
                conn.pings += 1
                self._nursery.start_soon(self._ping, conn, what)
            case Send() | Disconnect():
                conn.waiting_bytes += _weight(what)
                full = conn.waiting_bytes > DOWN_BYTES
                if full or isinstance(what, Disconnect):
                    del self._by_number[conn.number]  # what the back says to it after this is too late
                if full:
                    self._nursery.start_soon(conn.peer.disconnect, reasons.queue_full(conn.waiting_bytes))
                elif conn.waiting is None:
                    conn.waiting = deque((what,))
                    self._nursery.start_soon(self._tell, conn, conn.waiting)
                else:
                    conn.waiting.append(what)
            case _:
                pass

    async def _tell(self, conn: _Conn, waiting: deque[Send | Disconnect]) -> None:
        """What the back says to one peer, which may read slowly: nobody else waits for it."""
        peer = conn.peer
        with trio.CancelScope() as conn.telling, suppress(PeerClosed):
            while waiting and not conn.over:
                what = waiting.popleft()
                if isinstance(what, Disconnect):
                    await peer.disconnect(what.reason)
                    return
                try:
                    messages = [UnknownMessage(int.from_bytes(one[:2], "big"), one[2:]) for one in what.messages]
                    await peer.send(*messages)
                finally:
                    conn.waiting_bytes -= _weight(what)
                await self._lane.room()
                if not conn.over:
                    self._taken.took(conn.number, sum(map(len, what.messages)))
            conn.waiting = None

    async def _ping(self, conn: _Conn, what: SendPing) -> None:
        with suppress(PeerClosed, ValueError):
            seconds = await conn.peer.ping(what.num_pong_bytes, what.ignored)
            if not conn.over:
                self._lane.put(conn.number, Ponged(ping=what.ping, microseconds=int(seconds * 1_000_000)))
        conn.pings -= 1

    async def _dial(self, ask: int, address: str) -> None:
        outcome: int | DisconnectReason
        try:
            async with self._dials:
                peer = await self._peers.connect(address)
        except ConnectError as error:
            outcome = error.reason
        except ValueError as error:
            outcome = reasons.requested(str(error))
        else:
            while (begun := self._begun(peer)) is None and peer.reason is None:
                await self._announced.wait()
            outcome = peer.reason or reasons.duplicate() if begun is None else begun.number
        self._asked -= 1
        self._lane.put(NO_CONNECTION, dialled(ask, outcome))

    async def _displaced(self, what: Displaced) -> None:
        """Another front has the node from now on, unless it has come back here since."""
        peer = self.claims.displaced(what)
        if peer is None:
            return
        conn = self._conns.get(peer)
        if conn is not None and conn.unheard is not None:
            return  # it waits already
        ends = not what.waits or (conn is not None and conn.number not in self._by_number)  # its back has said so
        if conn is not None:
            self._ended(conn, reasons.duplicate())
        if ends:
            self._nursery.start_soon(peer.disconnect, reasons.duplicate())
        else:
            self._park(peer)

    def _park(self, peer: Peer) -> None:
        """It waits for another connection with its node to go, and is one that the back does not know."""
        conn = self._conn(peer)
        unheard = conn.unheard = list[Message | UnknownMessage]()
        self._nursery.start_soon(self._wait_parked, conn, unheard)

    async def _wait_parked(self, conn: _Conn, unheard: list[Message | UnknownMessage]) -> None:
        """As the roster's PARK: unread, and if its place is empty then, what it has said is how a session begins."""
        peer = conn.peer
        await peer.hold(True)
        with trio.move_on_after(PARKED_SECONDS):
            await peer.wait_closed()
        await self._lane.room()
        if not await self.claims.take_back(peer):
            await peer.disconnect(reasons.duplicate())
        elif not conn.over and peer.reason is None:  # else the claim is another one's, which has come here since
            conn.unheard, conn.waiting_bytes = None, 0
            self._begin(conn)
            for message in unheard:
                self._said(conn, message)
            await peer.hold(False)


class _Front:
    """All lives of a front, one after the other."""

    def __init__(
        self,
        peers: PeerNursery,
        bus: Bus,
        name: str,
        address: str,
        random_bytes: Callable[[int], bytes],
        watch: FrontWatch,
    ) -> None:
        self._peers: Final = peers
        self._bus: Final = bus
        self._name: Final = name
        self._address: Final = address
        self._random_bytes: Final = random_bytes
        self._log: Final = Area(peers.manager.logger, "front")
        self._watch: Final = watch
        route = peers.manager.handlers.route_handler
        self._gossip: Final = route if isinstance(route, FrontGossip) else None
        self._life: _Life | None = None
        self._wanted: tuple[object, ...] | None = None
        """Of the first back: what the manager was made for."""

    async def run(self, told: Callable[[str, DisconnectReason | None], None]) -> None:
        types = self._peers.manager.messages
        ours = (Init, Ping, Pong) if self._gossip is None else (Init, Ping, Pong, *QUERIES)
        wanted = [cls for cls in types if cls not in ours]
        async with (
            self._peers.newcomers() as newcomers,
            self._peers.subscribe(UnknownMessage, PeerConnected, PeerDisconnected, *wanted) as inbox,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(self._welcome, newcomers)
            if self._gossip is not None:
                nursery.start_soon(self._tick, self._gossip)
            await self._end(reasons.back_restarted())  # who came before has no claim
            while True:
                token, back, config = await self._enter()
                watch, once = self._watch, self._gossip is not None
                life = _Life(self._peers, self._bus, self._name, token, back, config, self._log, watch, once)
                self._life = watch.life = life
                watch.lives += 1
                told("serving", None)
                try:
                    reason = await self._life.run(inbox)
                except FleetError as error:
                    watch.waits_for = str(error.reason)
                    await self._end(error.reason)
                    raise
                finally:
                    self._life = watch.life = None
                    with trio.move_on_after(1, shield=True), suppress(EngineAway):
                        await self._bus.leave_front(self._name, token)
                self._log(Level.WARN, "a front's life is over", code=reason.code, text=reason.message)
                watch.fenced += reason.code is DisconnectCode.FENCED
                watch.waits_for = str(reason)
                told("over", reason)
                await life.claims.over(reason)
                await self._end(reason)

    async def _enter(self) -> tuple[bytes, bytes, Config]:
        """Waits for a back, and takes the place. ValueError if this is another node's key."""
        patience: Patience | None = None
        while True:
            token = self._random_bytes(TOKEN_BYTES)
            try:
                config, back = await self._bus.read_config(), await self._bus.back()
                if config is not None and back is not None and not has_lapsed(-back.age, 0, config.lease / 1000):
                    if config.node_id != self._peers.manager.our_node_id:
                        words = f"the fleet's node is {config.node_id.hex()}, this front has another one's key"
                        raise ValueError(words)
                    self._wanted = self._wanted or wanted(config)
                    unknown = {*config.types} - {cls.type for cls in self._peers.manager.messages}
                    if unknown or self._wanted != wanted(config):
                        # Another back than the manager was made for: whoever made it begins again.
                        raise FleetError(reasons.back_restarted())
                    if await self._bus.enter_front(self._name, token, back.token, self._address):
                        return token, back.token, config
                self._watch.waits_for = "there is no back"
            except EngineAway as error:
                self._watch.waits_for = f"the engine is away: {error}"
                patience = patience or Patience(20)
                patience.away()
            else:
                patience = None
            await trio.sleep(AGAIN_SECONDS)

    async def _tick(self, gossip: FrontGossip) -> None:
        """What is due by the handler's clock, and no later than a second after it."""
        while True:
            await trio.sleep(min(gossip.due_in, TICK_SECONDS))
            gossip.tick()

    async def _welcome(self, newcomers: Newcomers) -> None:
        async for newcomer in newcomers:
            if self._life is None or not self._life.welcome(newcomer):
                await newcomer.decide(reasons.back_lost(0))

    async def _end(self, reason: DisconnectReason) -> None:
        """Every peer hears why."""
        async with trio.open_nursery() as nursery:
            for peer in self._peers.peers.values():
                nursery.start_soon(peer.disconnect, reason)


async def serve_front(
    peers: PeerNursery,
    bus: Bus,
    *,
    id: str,
    address: str = "",
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    told: Callable[[str, DisconnectReason | None], None] = lambda what, reason: None,
    watch: FrontWatch | None = None,
) -> None:
    """Has an open block be a front of a fleet until it is cancelled.

    FleetError, after its peers have heard why, if the engine is lost; ValueError if the fleet has another node id.
    `told` is called with ``serving``, or ``over`` and the reason, as lives begin and end. `watch` is filled.
    """
    front = _Front(peers, bus, id, address, random_bytes, watch or FrontWatch())
    ends: list[BaseException] = []
    try:
        await front.run(told)
    except* (FleetError, ValueError) as group:
        ends = leaves(group)
    if ends:
        raise ends[0]


async def run_front(
    peers: PeerNursery,
    url: str,
    *,
    id: str,
    fleet: str = "main",
    address: str = "",
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
    told: Callable[[str, DisconnectReason | None], None] = lambda what, reason: None,
    watch: FrontWatch | None = None,
) -> None:
    """Has an open block be a front of a fleet until it is cancelled, over an engine that speaks the Redis
    protocol (extra `cluster`).

    Its manager has the `messages`, `networks` and `handlers` of `fleet_config`. Its block is opened with
    ``stall_deadline=math.inf``: what waits for an engine that is full is no stalled subscriber's. `id` is the front's
    name in the fleet, and nobody else's. FleetError, after its peers have heard why, if the engine is lost, or if the
    back wants other messages, features or networks; ValueError if the fleet has another node id. `told` is called with
    ``serving``, or ``over`` and the reason, as the front's lives begin and end. `watch` shows whether it can take
    peers, and its numbers.
    """
    from triolight.cluster.redis import open_bus  # as above

    async with open_bus(url, fleet, password=password, tls=tls, insecure=insecure) as bus:
        await serve_front(peers, bus, id=id, address=address, told=told, watch=watch)
