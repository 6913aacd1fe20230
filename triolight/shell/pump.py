"""The pump: the only one who touches the PeerManager. Whatever happens reaches it as an event, in one order.

It never waits for a peer: it works in short turns (``turns``), after each of which everything is written and others
run. A handler's exception ends the block, not the pump: the goodbyes still have to go out. It starts no task.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from triolight import reasons
from triolight.errors import PeerHandleError
from triolight.logger import Level
from triolight.peer_manager import KEEPALIVE_IGNORED
from triolight.shell.events import (
    Attached,
    Closed,
    Crashed,
    Decided,
    Disconnect,
    Held,
    InboxDrained,
    Leave,
    PumpEvent,
    Received,
    Send,
    SendPing,
    SpaceToWrite,
    TimerDue,
    Work,
)
from triolight.shell.link import Link, Session, link_of, unlink
from triolight.shell.parts import Parts
from triolight.shell.reports import Reports
from triolight.shell.turns import Turns
from triolight.shell.watch import Arrival, Facts

TAKEN_AT_ONCE: Final = 1024
"""Events applied before a turn."""
NEWCOMER_WORK: Final = 16
"""Work units that what a newcomer says takes besides the manager's own count, which has acts for what they are, but an
Init for one: that makes a peer of it, with all that belongs to one."""


class Pump:
    """Applies events to the manager, and lets it work turn by turn."""

    def __init__(
        self,
        parts: Parts,
        reports: Reports,
        events: trio.MemoryReceiveChannel[PumpEvent],
        left: Callable[[], bool],
        crashed: Callable[[], None],
    ) -> None:
        """`left`: whether the block is being left. `crashed` is called when it has to be, for `crash`."""
        self._parts: Final = parts
        self._manager: Final = parts.manager
        self._reports: Final = reports
        self._events: Final = events
        self._left: Final = left
        self._crashed: Final = crashed
        self._turns: Final[Turns[Link]] = Turns()
        self._inside = False
        """Whether it works just now: what the manager asks for, the turn that is under way does, or the next one."""
        self._work_posted = False
        self._more_work = False
        """Whether the manager has left something for another turn."""
        self._broken = False
        """A bug of our own has come after a handler's: the manager is not touched any more."""
        self.crash: BaseException | None = None
        """What a handler, or another callback of the application's, has raised."""

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            if self._turns.waiting or self._more_work:
                await trio.lowlevel.checkpoint()
                event = None
            else:
                event = await self._events.receive()
            if self._broken:
                self._turns.clear()
                self._more_work = False
                if event is not None:
                    self._refuse(event)
                continue
            self._inside = True
            try:
                self._take(event)
                event = None  # not kept until the next one comes: nor is whom it was about
                self._turn()
            except BaseException as error:
                self._crash(error)
            finally:
                self._inside = False

    def post_work(self) -> None:
        """The manager's `on_work`."""
        if self._inside:
            self._more_work = True
        if self._inside or self._work_posted:
            return
        try:
            self._parts.events_in.send_nowait(Work())
            self._work_posted = True
        except (trio.WouldBlock, trio.BrokenResourceError):
            pass  # the pump has enough to wake for, or has left

    # Crashes.

    def _crash(self, error: BaseException) -> None:
        if self.crash is None:
            self.crash = error
            self._manager.abandon_handlers()
        else:
            # Not a handler's any more: none is called. Nobody can be told goodbye, but everyone is let go.
            self.crash = BaseExceptionGroup("a bug in triolight, after another exception", [self.crash, error])
            self._broken = True
            for link in list(self._parts.present.links.values()):
                self._let_go(link)
        self._crashed()

    def _let_go(self, link: Link) -> None:
        if link.reason is None:
            self._reports.link_ended(link, reasons.crashed(), link.init)
        link.descriptor.disconnect_socket()

    def _refuse(self, event: PumpEvent) -> None:
        match event:
            case Attached(link=link) | Closed(link=link) | Received(link=link):
                self._let_go(link)
            case Disconnect(of=of):
                if isinstance(of, Link):
                    self._let_go(of)
                elif of.reason is None:
                    self._let_go(link_of(of.descriptor))
            case SendPing(answer=answer):
                answer.done.set()
            case _:
                pass

    # Turns.

    def _take(self, event: PumpEvent | None) -> None:
        """Applies what has come, up to TAKEN_AT_ONCE events."""
        taken = 0
        while True:
            if event is not None:
                self._apply(event)
                taken += 1
            if taken >= TAKEN_AT_ONCE:
                return
            try:
                event = self._events.receive_nowait()
            except trio.WouldBlock:
                return

    def _turn(self) -> None:
        """One short turn; then everything is written."""
        manager, turns = self._manager, self._turns
        self._work_posted = False
        limit = manager.work_done + turns.begin()
        while manager.work_done < limit:
            found = turns.next()
            if found is None:
                break
            link, chunk = found
            if chunk is not None:
                if link.session is None:
                    limit -= NEWCOMER_WORK
                self._read(link, *chunk)
            else:
                manager.continue_reading(link.descriptor)
            self._queue_unfinished()
        turns.end()
        self._more_work = False  # whatever was asked for until here is done now
        manager.process_events()
        self._queue_unfinished()

    def _queue_unfinished(self) -> None:
        for descriptor in self._manager.unfinished():
            self._turns.left_over(link_of(descriptor))

    def _read(self, link: Link, data: bytes, at: Arrival) -> None:
        link.arrived = at
        link.descriptor.gives()
        try:
            paused = self._manager.read_event(link.descriptor, data)
        except PeerHandleError:
            # The reason is known to the link already; all that is left to do is to close.
            link.descriptor.disconnect_socket()
            return
        if not paused:
            link.descriptor.allow_reading()

    # Events.

    def _apply(self, event: PumpEvent) -> None:
        manager = self._manager
        moment = self._parts.moment
        if isinstance(event, Received):
            link, at = event.link, event.at
            moment.now = at.monotonic
            if link.session is not None:
                link.session.watch.received(at.monotonic)
            self._turns.put(link, event.data, at, link.session is not None)
            return
        moment.now = trio.current_time()
        match event:
            case SpaceToWrite(link=link, written=written):
                self._space_to_write(link, written)
            case Send(session=session, encoded=encoded, size=size):
                session.room.give_back(size)
                if session.reason is None:
                    manager.send_encoded(session.descriptor, encoded)
            case SendPing(session=session, answer=answer):
                if session.reason is None and manager.send_ping(
                    session.descriptor, event.num_pong_bytes, event.ignored, answer
                ):
                    session.pings.sent(answer)
                else:
                    session.pings.refused(answer)
            case Attached(link=link):
                self._attach(link)
            case Closed(link=link, reason=reason, last=last):
                manager.socket_disconnected(link.descriptor, reason)
                link.descriptor.disconnect_socket()
                if link.reason is None:
                    # It never came as far as the manager.
                    self._reports.link_ended(link, reason, None)
                if last:
                    unlink(link)
            case Disconnect(of=of, reason=reason):
                if of.reason is None:
                    manager.disconnect(of.descriptor, reason)
            case Decided(link=link, node_id=node_id, refusal=refusal):
                if link.reason is None and link.session is None:
                    manager.decide(link.descriptor, refusal or self._reports.refusal(link, node_id))
            case Held(session=session, held=held):
                if session.reason is None:
                    manager.hold_peer(session.descriptor, held)
                    self._look_at_peer(session)
            case InboxDrained(session=session):
                if session.reason is None and session.mailbox.released():
                    manager.hold_reading(session.descriptor, False)
                    self._look_at_peer(session)
            case TimerDue(of=of):
                if isinstance(of, Link):
                    self._look_at_stream(of)
                else:
                    self._look_at_peer(of, timed=True)
            case Work():
                pass  # the turn that follows does it
            case Crashed(error=error):
                if self.crash is None:  # else we are leaving already, for this or for another reason
                    self._crash(error)
            case Leave(reason=reason):
                manager.disconnect_all_peers(reason)

    def _attach(self, link: Link) -> None:
        manager, descriptor = self._manager, link.descriptor
        if self._left():
            self._reports.link_ended(link, reasons.shutdown(), None)
            descriptor.disconnect_socket()
            return
        if link.node_id is None:
            manager.new_inbound_connection(descriptor, link.address)
        else:
            descriptor.send_data(manager.new_outbound_connection(link.node_id, descriptor, link.address), True)
        self._parts.timers.set(link, link.approach.until)

    def _space_to_write(self, link: Link, count: int) -> None:
        if link.descriptor.made_room(count):
            try:
                self._manager.write_buffer_space_avail(link.descriptor)
            except PeerHandleError:
                pass  # its end was decided meanwhile
        if link.session is not None:
            link.session.room.wake()

    # Time.

    def _look_at_stream(self, link: Link) -> None:
        if link.reason is not None or link.session is not None:
            return
        reason = link.approach.look(self._parts.moment.now)
        if reason is not None:
            self._manager.disconnect(link.descriptor, reason)
        else:
            self._parts.timers.set(link, link.approach.until)

    def _look_at_peer(self, session: Session, timed: bool = False) -> None:
        now, facts = self._parts.moment.now, self._facts(session)
        if session.reason is not None:
            self._look_after_end(session, now, facts)
            return
        look = session.watch.look(now, facts, timed)
        if look.ping:
            self._send_keepalive(session)
        if look.resume:
            self._manager.end_throttle(session.descriptor)
        if look.departed:
            self._reports.departed(session)
        if look.stalled is not None:
            words = "a subscriber of ours does not read; this peer is not read from"
            self._parts.log(Level.WARN, words, session.details.node_id, seconds=round(look.stalled))
        if look.reason is not None:
            self._manager.disconnect(session.descriptor, look.reason)
        else:
            self._parts.timers.set(session, look.next_at, session.watch.slack(look.next_at))

    def _look_after_end(self, session: Session, now: float, facts: Facts) -> None:
        if session.mailbox.delivering:
            next_at = session.watch.after_end(now, facts)
            if next_at is None:
                session.mailbox.give_up()
            else:
                self._parts.timers.set(session, next_at)

    def _facts(self, session: Session) -> Facts:
        mailbox, descriptor = session.mailbox, session.descriptor
        writing_since = descriptor.write_began
        is_read = mailbox.held_since is None and session.watch.reads
        return Facts(
            held_since=mailbox.held_since,
            last_taken=0.0 if mailbox.held_since is None else mailbox.last_taken,
            broken=descriptor.broken,
            writing_since=writing_since,
            unsent=None if writing_since is None else descriptor.unsent(),
            over_budget=self._manager.over_budget(descriptor),
            held_by_handler=self._manager.held_by_handler(descriptor),
            hung_up=not is_read and descriptor.hung_up,
        )

    def _send_keepalive(self, session: Session) -> None:
        # One that was answered by something else is not waited for any more.
        if self._manager.forget_ping(session.descriptor, None):
            session.pings.give_place_back()
        if self._manager.send_ping(session.descriptor, 0, bytes(KEEPALIVE_IGNORED), None):
            session.pings.take_place()
