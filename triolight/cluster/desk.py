"""The sessions of a back: what fronts say of them, in order. Its users hold `back.RemotePeers`.

A session is whole or over: whenever a message of a connection may be missing, that connection ends, with a reason. What
comes of a connection that has ended is dropped. What a peer says while it is held waits, behind nobody else.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, TypeVar

import trio

from triolight import reasons
from triolight.actions import (
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErrorAction,
    SendErrorMessage,
    SendWarningMessage,
)
from triolight.address import Address, NodeAddress, read_addresses
from triolight.cluster.acting import Acting
from triolight.cluster.bus import Bus, FrontState
from triolight.cluster.events import FleetEvent
from triolight.cluster.lanes import Lane
from triolight.cluster.ledger import Ledger, Page, Receipt
from triolight.cluster.records import (
    NO_CONNECTION,
    Connected,
    Dial,
    Dialled,
    Ended,
    Hold,
    Ponged,
    Record,
    Said,
    Taken,
    ended,
)
from triolight.cluster.remote import BY_SUBSCRIBER, KeptRemotePeer, Met, RemotePeer, RemoteSession
from triolight.cluster.rules import DIALS, Terms
from triolight.cluster.streams import Done, Hole, Reader
from triolight.connection import ProtocolFault, decode_init
from triolight.errors import DecodeError, DisconnectReason
from triolight.handlers import BaseMessageHandler, MessageHandler
from triolight.logger import Area, Level, Logger
from triolight.manager.mistakes import ask
from triolight.manager.routing import Handlers, Routing
from triolight.messages import Message, Registry, UnknownMessage
from triolight.policy import Allowance
from triolight.shell import inboxes
from triolight.shell.inboxes import Inboxes, Mailbox, Position, receipted
from triolight.shell.keep import Keeps
from triolight.shell.news import News, PeerConnected, PeerDisconnected
from triolight.shell.peer import ConnectError
from triolight.shell.watch import Arrival

STALL_SECONDS: Final = 60.0
"""For a subscriber to read from a full buffer."""
WORK_AT_ONCE: Final = 64
"""Units of what handlers do until other tasks have their turn; a message is one."""

M = TypeVar("M", bound=Message | UnknownMessage)


class Ask:
    """A dial that a front was told to make."""

    def __init__(self) -> None:
        self.done: Final = trio.Event()
        self.outcome: RemoteSession | DisconnectReason | None = None
        self.waiting = 0
        """Who wait for it together."""

    def answer(self, outcome: RemoteSession | DisconnectReason) -> None:
        self.outcome = outcome
        self.done.set()


class Life:
    """One front under one token, as the back follows it."""

    def __init__(self, state: FrontState, lane: Lane, next_seq: int = 0) -> None:
        self.state = state
        self.lane: Final = lane
        self.reader: Final = Reader(state.token, next_seq)
        self.stream: Final = f"{state.id}/{state.token.hex()}"
        self.unsettled = trio.Event()
        """Set when there is something to commit."""
        self.ledger: Final = Ledger(self.settle)
        self.done: Final = Done()
        """What was read, if nothing is committed."""
        self.sessions: Final[dict[int, RemoteSession]] = {}
        self.asks: Final[dict[int, Ask]] = {}
        self.since: Final = trio.current_time()
        self.scope: Final = trio.CancelScope()
        """Of what appends to it."""
        self.commits: Final = trio.CancelScope()
        """Of what commits what was handled."""
        self.over = False
        self.lost = False
        """The engine has lost it, or has been away for too long."""
        self.committed: Final = trio.Event()
        """Set once there is nothing to commit any more."""

    def settle(self) -> None:
        """There may be something to commit."""
        self.unsettled.set()


class Setup(NamedTuple):
    """What a back is made with."""

    bus: Bus
    node_id: bytes
    handlers: MessageHandler
    messages: Registry
    networks: tuple[bytes, ...]
    terms: Terms
    resumes: bool
    """Whether the next back takes up the sessions of this one, and this one those of the one before."""
    allowance: Allowance | None
    logger: Logger
    random_bytes: Callable[[int], bytes]
    unix_ns: Callable[[], int]


class Desk:
    """All sessions of a back, and its dials."""

    def __init__(self, setup: Setup) -> None:
        self._setup: Final = setup
        self._log: Final = Area(setup.logger, "back")
        self.inboxes: Final = Inboxes(lambda wanted: None, lambda place: None, self._start_deliverer)
        self.news: Final = News[FleetEvent]()
        self.lives: Final[dict[str, Life]] = {}
        self.by_node: Final[dict[bytes, RemoteSession]] = {}
        self.keeps: Final = Keeps(KeptRemotePeer)
        handlers = Handlers()
        self.acting: Final = Acting(handlers, self.by_node, setup.allowance, self._log, self._work_off)
        self.routing: Final = Routing[RemoteSession](setup.messages, handlers, self.acting, control=self.acting.control)
        # Answers to what an earlier back has asked for are nobody's.
        self._last_ask = int.from_bytes(setup.random_bytes(4), "big")
        self._dialling: Final[dict[bytes, Ask]] = {}
        """By node, as long as somebody waits for it."""
        self._at: Arrival | None = None
        """When what routing has just been given was read."""
        self._nursery: trio.Nursery

    def attach(self) -> None:
        """The handlers are asked from now on."""
        self.routing.use(self._setup.handlers)
        self.routing.listener = self._heard
        for handler in self.routing.handlers.all:
            handler.attach(self.acting.pushed, self.acting.charged)

    def begin(self, nursery: trio.Nursery) -> None:
        """Its tasks run there."""
        self._nursery = self.acting.nursery = nursery
        nursery.start_soon(self.acting.take_events)

    def close(self) -> None:
        """After its tasks: nobody waits for anything any more."""
        for life in [*self.lives.values()]:
            self.end_life(life, reasons.shutdown(), at_once=True)
        for session in [*self.by_node.values()]:  # of fronts that were gone before, with what nobody has read
            self._end(None, session, reasons.shutdown(), None)
        self.inboxes.end()
        self.news.end()
        self.routing.abandon()

    def _arrival(self) -> Arrival:
        return Arrival(trio.current_time(), self._setup.unix_ns())

    def look_for_stalls(self) -> None:
        """Subscribers that have read nothing for too long while their room is full."""
        now = trio.current_time()
        for session in [*self.by_node.values()]:  # also those that are left of a front that is gone
            held = session.mailbox.held_since
            if held is not None and now - max(held, session.mailbox.last_taken) >= STALL_SECONDS:
                reason = reasons.subscriber_stalled(STALL_SECONDS)
                session.end(reason)
                self._end(self.lives.get(session.front), session, reason, None)
                session.mailbox.give_up()

    def end_life(self, life: Life, reason: DisconnectReason, at_once: bool = False) -> None:
        """Its connections end, each after what it has said and subscribers had no room for."""
        life.over = True
        life.scope.cancel()
        life.lane.close()
        if self.lives.get(life.state.id) is life:
            del self.lives[life.state.id]
        for session in [*life.sessions.values()]:
            if session.backlog and not at_once:
                session.backlog.append((ended(reason), Receipt(session.backlog[-1][1].position, None)))
                # What it has said already is heard, whatever it has cost.
                session.restraint.reasons &= BY_SUBSCRIBER
                self._work_off(session)
            else:
                self._end(life, session, reason, None)
        for one in life.asks.values():
            one.answer(reason)
        life.asks.clear()
        life.settle()

    # What fronts say.

    async def read(self, life: Life, records: tuple[Record, ...], seq: int, page: Page | None) -> None:
        """New records of an entry, the first of which is number `seq`. `page`: what of it is to be handled, if that
        matters."""
        for record in records:
            self._hear(life, record, Receipt(Position(life.stream, seq), page))
            seq += 1
            self.acting.work += 1
            if self.acting.work >= WORK_AT_ONCE:
                self.acting.work = 0
                self.acting.drain_events()
                await trio.lowlevel.checkpoint()
                if self.lives.get(life.state.id) is not life:
                    return  # over, and all that it has said since is nobody's
        self.acting.drain_events()

    def resume(self, life: Life, conn: int, data: bytes) -> None:
        """A session that an earlier back has had. Hole if what it has kept is none."""
        try:
            what = Connected.decode(data)
        except DecodeError as error:
            raise Hole(f"what was kept of a peer: {error}") from None
        self._connected(life, conn, what, resumed=True)
        session = life.sessions.get(conn)
        if session is not None:
            life.lane.put(conn, Hold(held=0))  # whatever the earlier one had against it

    def _hear(self, life: Life, record: Record, receipt: Receipt) -> None:
        what = record.what
        session = life.sessions.get(record.conn)
        if isinstance(what, Connected):
            self._connected(life, record.conn, what)
        elif isinstance(what, Dialled):
            self._dialled(life, what)
        elif session is None:
            pass  # it has ended: dropped
        elif isinstance(what, Taken):
            session.taken(what.size)
            self.acting.pull(session)
        elif isinstance(what, Ponged):
            session.pings.answered(what.ping, what.microseconds / 1_000_000)
        else:
            session.backlog.append((what, receipt))
            self._work_off(session)
            return
        receipt.release()

    def _work_off(self, session: RemoteSession) -> None:
        """What it has said, as far as it is not held."""
        while session.backlog and session.reason is None and not session.is_held:
            what, receipt = session.backlog.popleft()
            if isinstance(what, Ended):
                self._end(self.lives.get(session.front), session, what.reason, receipt)
                receipt.release()
                return
            if isinstance(what, Said) and not session.ending:
                self._at = receipted(trio.current_time(), self._setup.unix_ns(), receipt)
                try:
                    self.routing.receive(session, what.data)
                except ProtocolFault as fault:
                    session.end(reasons.fault(fault.code, fault.words))
            if session.batch is not None:
                session.gathered.append(receipt)  # the handler gets it with the others
                continue
            for one in session.gathered:
                one.release()
            session.gathered.clear()
            receipt.release()

    def _heard(self, session: RemoteSession, message: Message | UnknownMessage, data: bytes) -> None:
        """Routing's listener: for subscribers."""
        if session.mailbox.give(message, data, self._at, trio.current_time()):
            session.hold(BY_SUBSCRIBER)

    def _start_deliverer(self, mailbox: Mailbox) -> None:
        self._nursery.start_soon(mailbox.deliver, partial(self._drained, mailbox.session))

    async def _drained(self, session: RemoteSession) -> None:
        """Its subscribers have taken what waited."""
        holds = session.mailbox.released()
        self._work_off(session)
        if holds and session.mailbox.held_since is None:
            session.release(BY_SUBSCRIBER)
        self.acting.drain_events()

    def _connected(self, life: Life, conn: int, what: Connected, resumed: bool = False) -> None:
        try:
            init = decode_init(what.init)
            addresses = read_addresses(what.address)
        except (ProtocolFault, DecodeError) as error:
            raise Hole(f"a front's word of a peer: {error}") from None
        if conn in life.sessions:
            raise Hole(f"connection {conn} begins twice")
        address: Address | None = addresses[0] if addresses else None
        met = Met(what.node_id, bool(what.inbound), address, init)
        session = RemoteSession(life.state.id, conn, life.lane, met, self.inboxes, self._last_ask)
        peer = RemotePeer(session, self.inboxes, self._setup.messages)
        session.mailbox.giver, session.mailbox.session = peer, session
        older = self.by_node.get(session.node_id)
        if older is not None:
            # Its front's word of its end comes in another stream: the end goes before the beginning.
            older.end(reasons.duplicate())
            self._end(self.lives.get(older.front), older, reasons.duplicate(), None)
        life.sessions[conn] = session
        refusal = self._refused(session)
        if refusal is not None:
            del life.sessions[conn]
            session.end(refusal)
            session.reason = refusal
            session.ended.set()
            return
        self.by_node[session.node_id] = session
        self.keeps.appeared(session.node_id)
        event = PeerConnected(peer, resumed)
        self.news.publish(event)
        session.mailbox.begin(event, self._arrival(), trio.current_time())

    def _refused(self, session: RemoteSession) -> DisconnectReason | None:
        """Asks the handlers, each in its turn; those that had accepted one that another refuses hear of its end."""
        accepted: list[BaseMessageHandler] = []
        met = session.met
        for handler in self.routing.handlers.all:
            answer: ErrorAction | bool | None = ask(handler, "peer_connected", met.node_id, met.init, met.inbound)
            if answer is True or answer is None:
                accepted.append(handler)
                continue
            for earlier in accepted:
                ask(earlier, "peer_disconnected", session.node_id)
            match answer:
                case DisconnectPeer(message=message, reason=words):
                    return reasons.by_handler(message.data if message else words, True)
                case DisconnectPeerWithWarning(message=message) | SendErrorMessage(message=message):
                    return reasons.by_handler(message.data, True)
                case SendWarningMessage(message=message):
                    return reasons.by_handler(message.data, True)
                case _:
                    return reasons.by_handler("refused by a handler", True)
        return None

    def _end(
        self, life: Life | None, session: RemoteSession, reason: DisconnectReason, receipt: inboxes.Receipt | None
    ) -> None:
        """It has ended, once: handlers hear of it, then whoever reads. `receipt`: of its front's word of that."""
        if session.reason is not None:
            return
        session.reason = reason
        if life is not None and life.sessions.get(session.conn) is session:
            del life.sessions[session.conn]
        if self.by_node.get(session.node_id) is session:
            del self.by_node[session.node_id]
        self._log(Level.INFO, "ended", session.node_id, code=reason.code, by=reason.by, text=reason.message)
        self.routing.handlers.disconnected(session.node_id)
        for one in (*session.gathered, *(left for _, left in session.backlog)):
            one.release()
        session.gathered.clear()
        session.backlog.clear()
        event = PeerDisconnected(session.mailbox.giver, reason)
        self.news.publish(event)
        at = self._arrival()
        session.mailbox.end(event, at if receipt is None else receipted(at.monotonic, at.unix_ns, receipt))
        session.pings.places.end()
        session.wake()
        session.wake_all()
        session.ended.set()
        session.mailbox.close()

    def _dialled(self, life: Life, what: Dialled) -> None:
        one = life.asks.pop(what.ask, None)
        if one is not None:
            session = life.sessions.get(what.conn)
            one.answer(session if session is not None else what.reason if not what.conn else reasons.closed_by_peer())

    # Dials.

    async def dial(self, address: NodeAddress) -> RemoteSession:
        """Has a front dial. Two calls for one node join. ConnectError tells why it came to nothing."""
        known = self.by_node.get(address.node_id)
        if known is not None:
            return known
        if address.node_id == self._setup.node_id:
            raise ConnectError(reasons.own_node_id(), where=str(address))
        one = self._dialling.get(address.node_id)
        if one is None:
            one = self._dialling[address.node_id] = self._ask(address)
        one.waiting += 1
        try:
            await one.done.wait()
        finally:
            one.waiting -= 1
            if not one.waiting and self._dialling.get(address.node_id) is one:
                del self._dialling[address.node_id]
        if isinstance(one.outcome, RemoteSession):
            return one.outcome
        survivor = self.by_node.get(address.node_id)
        if survivor is not None:
            return survivor  # it has dialled us, or another address of it was dialled
        raise ConnectError(one.outcome or reasons.shutdown(), where=str(address))

    def _ask(self, address: NodeAddress) -> Ask:
        """A dial, at the front with the fewest peers, that whoever wants this node waits for."""
        lives = [life for life in self.lives.values() if not life.state.fenced]
        if not lives:
            raise ConnectError(reasons.front_lost("none"), where=str(address))
        life = min(lives, key=lambda one: (len(one.sessions) + len(one.asks), one.state.id))
        if len(life.asks) >= DIALS or not life.lane.writer.has_room:
            raise ConnectError(reasons.queue_full(life.lane.writer.pending_bytes), where=str(address))
        self._last_ask = (self._last_ask + 1) % 2**32
        life.lane.put(NO_CONNECTION, Dial(ask=self._last_ask, address=str(address).encode("ascii")))
        one = life.asks[self._last_ask] = Ask()
        return one
