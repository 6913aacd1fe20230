"""open_peer_nursery and PeerNursery: the Trio shell around one PeerManager. The only file that starts tasks of peers.

Three tasks for a peer: the reader and the writer own its stream, the deliverer hands its messages to busy subscribers;
these two run while there is something for them.
One pump for all of them: the only task that touches the PeerManager. Whatever happens reaches it as a small event
through one memory channel and is applied in that order, so the manager's life is a function of the events.

Services run shielded: the body is cancelled before them, so that goodbyes still go out.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from triolight import reasons
from triolight.address import Address, descriptor_of
from triolight.descriptor import DRAIN_SECONDS, remote_address
from triolight.errors import DisconnectReason, PeerClosed
from triolight.keys import is_point
from triolight.listeners import PatientListener
from triolight.logger import Area
from triolight.peer_manager import PeerManager
from triolight.policy import Policy
from triolight.proxy import Proxy
from triolight.shell.admission import Admission, Place
from triolight.shell.dials import DialHooks, Dialling, Dials
from triolight.shell.events import (
    EVENTS_CAPACITY,
    Attached,
    Closed,
    Crashed,
    Disconnect,
    InboxDrained,
    Leave,
    PumpEvent,
    TimerDue,
)
from triolight.shell.inboxes import Inboxes, Mailbox
from triolight.shell.keep import Keep, Keeps, KeptPeer, OnConnect
from triolight.shell.link import Link, Session
from triolight.shell.loops import read_stream, write_stream
from triolight.shell.newcomers import Waiting
from triolight.shell.news import News
from triolight.shell.parts import Parts
from triolight.shell.peer import ConnectError, Peer, Present
from triolight.shell.peers import PeerNursery as PeerNursery
from triolight.shell.pump import Pump
from triolight.shell.reports import Reports
from triolight.shell.statistics import Totals
from triolight.shell.turns import TURN_WORK
from triolight.shell.watch import LOOKS_TOGETHER, Deadlines, Moment, Timers
from triolight.ways import Dial, ProxyWay, Race, Way, way_of

if TYPE_CHECKING:
    from triolight.tape.tape import Tape  # who records nothing does not load it

__all__ = [
    "open_peer_nursery",
]

LOST: Final = reasons.connection_lost()
"""Of a stream whose task ends before its reader has said why."""


class Block:
    """One open block: its parts, and the tasks in which they run, in the order in which they end.

    Leaving: nobody comes in or is dialled any more; everybody hears goodbye; whoever is left then is let go; the pump
    ends last.
    """

    def __init__(
        self,
        manager: PeerManager,
        deadlines: Deadlines,
        policy: Policy,
        way: Way,
        jitter: random.Random,
        unix_ns: Callable[[], int],
    ) -> None:
        self.deadlines: Final = deadlines
        self.policy: Final = policy
        self.way: Final = way
        """Of dials that bring none of their own."""
        self.leaving: Final = trio.Event()
        self._jitter: Final = jitter
        self._keeping: Final = trio.CapacityLimiter(policy.max_dials)
        events_in, events = trio.open_memory_channel[PumpEvent](EVENTS_CAPACITY)
        log = Area(manager.logger, "nursery")
        present = Present()
        self.keeps: Final = Keeps(KeptPeer)
        admission = Admission(policy, lambda: present.peers, log, self._spares)
        self.parts: Final = Parts(
            manager=manager,
            events_in=events_in,
            moment=Moment(),
            timers=Timers(self._wake_keeper),
            present=present,
            admission=admission,
            # Looked up when it is called: while a tape runs, the manager's methods are the tape's.
            inboxes=Inboxes(lambda wanted: manager.observe_messages(wanted), admission.leave, self._start_deliverer),
            news=News(),
            newcomers=Waiting(),
            totals=Totals(),
            log=log,
            unix_ns=unix_ns,
        )
        hooks = DialHooks(self._start_dial, self._start_dialled, self._abandon, self.leaving.is_set, _race)
        self.dials: Final = Dials(manager.our_node_id, deadlines, present, admission, hooks)
        self.reports: Final = Reports(self.parts, deadlines.goodbye, self.keeps.appeared, self._start_end)
        self.pump: Final = Pump(self.parts, self.reports, events, self.leaving.is_set, self._crashed)
        self._doors: trio.Nursery | None = None
        """Where listeners, dials and kept nodes run."""
        self._streams: trio.Nursery | None = None
        """Where streams and their deliverers run."""
        self._running = 0
        """Streams whose tasks run."""
        self._all_gone: trio.Event | None = None
        """While somebody waits for there to be none."""
        self._pump_scope: Final = trio.CancelScope(shield=True)
        self._keeper_scope = trio.CancelScope()
        self.body_scope = trio.CancelScope()
        """The nursery's that the body runs in."""

    @property
    def is_open(self) -> bool:
        """Whether there is anywhere to start tasks."""
        return self._doors is not None

    def check_open(self) -> None:
        """PeerClosed if it is being left."""
        if self.leaving.is_set():
            raise PeerClosed(reasons.shutdown())

    # What starts tasks.

    @staticmethod
    def _opened(nursery: trio.Nursery | None) -> trio.Nursery:
        if nursery is None:
            raise RuntimeError("open_peer_nursery has not been entered")
        return nursery

    def _start_stream(self, link: Link) -> None:
        self._opened(self._streams).start_soon(self._run_stream, link, name="peer")

    def start_keep(self, keep: Keep[Peer]) -> None:
        self._opened(self._doors).start_soon(self._run_keep, keep, name=f"keep {keep.node_id.hex()[:16]}")

    def start_beside(self, run: Callable[[], Awaitable[object]], name: str) -> None:
        self._opened(self._doors).start_soon(self._run_beside, run, name=name)

    def start_listeners(self, listeners: list[trio.abc.Listener[Any]]) -> None:
        self._opened(self._doors).start_soon(self._run_listeners, listeners, name="listeners")

    def _start_dial(self, dialling: Dialling) -> None:
        self._opened(self._doors).start_soon(self._run_dial, dialling, name=f"dial {dialling.asked.address}")

    def _start_dialled(
        self, stream: trio.abc.Stream, node_id: bytes, address: Address, deadlines: Deadlines, until: float
    ) -> Link:
        link = Link(stream, node_id, address, None, deadlines, until)
        self._start_stream(link)
        return link

    def _start_deliverer(self, mailbox: Mailbox) -> None:
        drained = partial(self.parts.events_in.send, InboxDrained(mailbox.session))
        self._opened(self._streams).start_soon(mailbox.deliver, drained, name="peer deliverer")

    def _start_writer(self, link: Link) -> None:
        self._opened(self._streams).start_soon(write_stream, link, self.parts.events_in, name="peer writer")

    def _start_end(self, session: Session, reason: DisconnectReason) -> None:
        """Not at once: it is the manager that says so, which cannot be called from inside."""
        self._opened(self._streams).start_soon(self.parts.events_in.send, Disconnect(session, reason), name="peer end")

    # The order of a block's life.

    @trio.lowlevel.enable_ki_protection
    async def serve(self) -> None:
        """Everything that runs beside the body. Shielded: it ends when the body has ended, and in its own order."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as core:
                core.start_soon(self._run_pump, name="pump")
                core.start_soon(self._run_keeper, name="keeper")
                try:
                    async with trio.open_nursery() as streams:
                        self._streams = streams
                        async with trio.open_nursery() as doors:
                            self._doors = doors
                            await self.leaving.wait()
                            doors.cancel_scope.cancel(reason="leaving")
                        # Nothing comes in or goes out any more; those who are there hear that we leave.
                        await self._say_goodbye()
                        streams.cancel_scope.cancel(reason="left")
                finally:
                    # The pump is shielded, and waited for: whatever went wrong above, it must not wait for more.
                    core.cancel_scope.cancel(reason="left")
                    self._pump_scope.cancel(reason="left")
        if self.pump.crash is not None:
            raise self.pump.crash

    @trio.lowlevel.enable_ki_protection
    async def _say_goodbye(self) -> None:
        await self.parts.events_in.send(Leave(reasons.shutdown() if self.pump.crash is None else reasons.crashed()))
        with trio.move_on_after(self.deadlines.goodbye + DRAIN_SECONDS):
            while self._running:
                self._all_gone = trio.Event()
                await self._all_gone.wait()
        for link in self.parts.present.links.values():
            link.descriptor.end_by(-math.inf)

    def _crashed(self) -> None:
        self.leaving.set()
        self.body_scope.cancel(reason="a handler has raised")

    @trio.lowlevel.enable_ki_protection
    async def _report(self, error: BaseException) -> None:
        """Something of the application's has raised in a task of ours: as after a handler's bug, everyone hears
        goodbye, and it leaves the block. A cancellation is none."""
        cancelled: BaseException | None
        rest: BaseException | None
        if isinstance(error, BaseExceptionGroup):
            cancelled, rest = cast("BaseExceptionGroup[BaseException]", error).split(trio.Cancelled)
        else:
            cancelled, rest = (error, None) if isinstance(error, trio.Cancelled) else (None, error)
        if rest is not None:
            with trio.CancelScope(shield=True):
                await self.parts.events_in.send(Crashed(rest))
        if cancelled is not None:
            raise cancelled

    # The pump and its clock.

    @trio.lowlevel.enable_ki_protection
    async def _run_pump(self) -> None:
        with self._pump_scope:
            await self.pump.run()

    @trio.lowlevel.enable_ki_protection
    async def _run_keeper(self) -> None:
        """Tells the pump whose timer is due."""
        timers = self.parts.timers
        while True:
            now, looks = trio.current_time(), 0
            while (of := timers.due(now, together=0 < looks < LOOKS_TOGETHER)) is not None:
                looks += 1
                event = TimerDue(of)
                try:
                    self.parts.events_in.send_nowait(event)
                except trio.WouldBlock:
                    await self.parts.events_in.send(event)
                del event
            self._keeper_scope = trio.CancelScope(deadline=timers.first)
            with self._keeper_scope:
                await trio.sleep_forever()

    def _spares(self, node_id: bytes) -> bool:
        """Whether a peer stays where another one would make room for a newcomer."""
        return node_id in self.keeps or self.parts.manager.protects(node_id)

    def _wake_keeper(self, at: float) -> None:
        if at < self._keeper_scope.deadline:
            self._keeper_scope.deadline = at

    # Streams.

    @trio.lowlevel.enable_ki_protection
    async def _run_stream(self, link: Link) -> None:
        """The task of one peer: owns the descriptor from the first act to the closed stream."""
        descriptor, parts = link.descriptor, self.parts
        self._running += 1
        parts.present.links[descriptor] = link
        closed = LOST
        try:
            descriptor.start_writer = self._start_writer
            with trio.CancelScope() as descriptor.task_scope:
                try:
                    attached = Attached(link)
                    try:
                        parts.events_in.send_nowait(attached)  # what follows is a checkpoint as well
                    except trio.WouldBlock:
                        await parts.events_in.send(attached)
                    del attached
                    closed = await read_stream(link, parts.events_in, parts.present.links, parts.unix_ns)
                    await parts.events_in.send(Closed(link, closed, last=False))
                    await trio.sleep_forever()  # until the manager has decided: disconnect_socket cancels this scope
                finally:
                    # Nothing more is taken, whoever has ended this: the writer, shielded, waits for nothing but words.
                    descriptor.disconnect_socket()
                    descriptor.end_by(min(descriptor.ends_at, trio.current_time() + self.deadlines.goodbye))
        finally:
            with trio.CancelScope(shield=True):
                await descriptor.wait_written()
                by = min(link.goodbye_at, trio.current_time() + self.deadlines.goodbye)
                await descriptor.close(by, link.init is not None)
                await parts.events_in.send(Closed(link, closed, last=True))
            self._closed(link)

    def _closed(self, link: Link) -> None:
        """Nothing is left of its stream and the tasks that used it."""
        parts = self.parts
        parts.present.links.pop(link.descriptor, None)
        parts.totals.add_stream(link)
        if link.session is not None:
            link.session.gone.open()
            link.session.mailbox.close()
        else:
            parts.admission.leave(link.place)
        self._running -= 1
        if not self._running and self._all_gone is not None:
            self._all_gone.set()

    @trio.lowlevel.enable_ki_protection
    async def _abandon(self, link: Link) -> None:
        """Whoever wanted this connection does not wait for it any more. Shielded: the pump waits for nobody."""
        link.abandoned = True
        with trio.CancelScope(shield=True):
            await self.parts.events_in.send(Disconnect(link, reasons.dial_cancelled()))

    # Doors.

    @trio.lowlevel.enable_ki_protection
    async def _run_listeners(self, listeners: list[trio.abc.Listener[Any]]) -> None:
        """In place of `trio.serve_listeners`: in the tasks of that one a Ctrl-C may land between a connection, or a
        listener, and whoever closes it; and it logs past our logger."""
        try:
            async with trio.open_nursery() as nursery:
                for listener in listeners:
                    nursery.start_soon(self._run_listener, listener, name="listener")
        except BaseException as error:
            await self._report(error)

    @trio.lowlevel.enable_ki_protection
    async def _run_listener(self, listener: trio.abc.Listener[Any]) -> None:
        async with listener:
            patient = PatientListener(listener, self.parts.manager.logger)
            while True:
                stream = await patient.accept()
                self._opened(self._streams).start_soon(self._run_accepted, stream, name="peer")

    @trio.lowlevel.enable_ki_protection
    async def _run_accepted(self, stream: trio.abc.Stream) -> None:
        try:
            link = await self._accept(stream)
        except BaseException as error:
            await trio.aclose_forcefully(stream)
            await self._report(error)
        else:
            if link is not None:
                await self._run_stream(link)

    async def _accept(self, stream: trio.abc.Stream) -> Link | None:
        """None: it is not let in, or gone already, and closed."""
        try:
            address = remote_address(stream)
        except OSError:
            await trio.aclose_forcefully(stream)
            return None
        place = self.parts.admission.place(address)
        if self.parts.admission.stranger(address, trio.current_time(), place) is not None:
            await trio.aclose_forcefully(stream)
            return None
        return self._inbound_link(stream, address, place)

    def _inbound_link(self, stream: trio.abc.Stream, address: Address | None, place: Place) -> Link:
        """A stream whose other side is the initiator, counted among the strangers from now on."""
        until = trio.current_time() + self.deadlines.handshake
        link = Link(stream, None, address, place, self.deadlines, until)
        self.parts.admission.enter(place)
        return link

    @trio.lowlevel.enable_ki_protection
    async def _run_dial(self, dialling: Dialling) -> None:
        try:
            await self.dials.run(dialling)
        except BaseException as error:
            await self._report(error)
        finally:
            self.dials.finish(dialling)

    @trio.lowlevel.enable_ki_protection
    async def _run_beside(self, run: Callable[[], Awaitable[object]]) -> None:
        try:
            await run()
        except BaseException as error:
            await self._report(error)

    @trio.lowlevel.enable_ki_protection
    async def _run_keep(self, keep: Keep[Peer]) -> None:
        def known() -> Peer | None:
            return self.parts.present.known(keep.node_id)

        try:
            await keep.keep_up(known, self.dials.connect, self._live, self.way, self._keeping, self._jitter)
        except PeerClosed:
            pass  # the block is being left
        except BaseException as error:
            await self._report(error)
        finally:
            self.keeps.forget(keep)

    @trio.lowlevel.enable_ki_protection
    async def _live(self, peer: Peer, on_connect: OnConnect[Peer] | None) -> DisconnectReason:
        """A kept peer's life; the application's function has as long, and no longer."""
        if on_connect is None:
            return await peer.wait_closed()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_on_connect, on_connect, peer, name="on_connect")
            reason = await peer.wait_closed()
            nursery.cancel_scope.cancel(reason="its peer has ended")
        return reason

    async def adopt(
        self,
        stream: trio.abc.Stream,
        their_node_id: bytes | None,
        remote_address: Address | tuple[str, int] | None,
    ) -> Peer:
        """As `PeerNursery.attach`."""
        try:
            address = descriptor_of(*remote_address) if isinstance(remote_address, tuple) else remote_address
            if self.leaving.is_set():
                raise ConnectError(reasons.shutdown())
            if their_node_id is None:
                place = self.parts.admission.place(address)
                refusal = self.parts.admission.stranger(address, trio.current_time(), place)
                if refusal is not None:
                    raise ConnectError(refusal)
                link = self._inbound_link(stream, address, place)
            elif not is_point(their_node_id) or their_node_id == self.parts.manager.our_node_id:
                raise ValueError("their_node_id is our own, or no point of secp256k1")
            else:
                until = trio.current_time() + self.deadlines.handshake
                link = Link(stream, their_node_id, address, None, self.deadlines, until)
            self._start_stream(link)
        except BaseException:
            # Whatever it is, a malformed address and what a policy raises too: nobody else closes the stream.
            await trio.aclose_forcefully(stream)
            raise
        try:
            await link.outcome.wait()
        except BaseException:
            await self._abandon(link)
            raise
        return self.parts.present.outcome_of(link)


async def _on_connect(function: OnConnect[Peer], peer: Peer) -> None:
    try:
        await function(peer)
    except* PeerClosed:
        pass  # that it has ended, whoever keeps it knows


@trio.lowlevel.enable_ki_protection
async def _race(race: Race) -> None:
    async with trio.open_nursery() as nursery:
        await race.run(nursery.start_soon, nursery.cancel_scope.cancel)


class _OpenPeerNursery:
    """The context manager of `open_peer_nursery`."""

    def __init__(self, block: Block, tape: Tape | None) -> None:
        self._block: Final = block
        self._tape: Final = tape
        self._opened = trio.open_nursery()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> PeerNursery:
        block, parts = self._block, self._block.parts
        manager, policy, moment = parts.manager, block.policy, parts.moment
        manager.drive(
            block.reports,
            block.pump.post_work,
            lambda: moment.now,
            TURN_WORK,
            policy.allowance,
            policy.duplicates,
            None if self._tape is None else self._tape.seams,
        )
        try:
            manager.observe_messages(False)
            nursery = await self._opened.__aenter__()
            block.body_scope = nursery.cancel_scope
            nursery.start_soon(block.serve, name="services")
            # Their first step opens the doors. Nothing ends this wait: cancelled right here the block shall not be half
            # open, and a Ctrl-C that the main task is yet to hear of would end `nursery.start`, which then waits for
            # services that nobody tells to leave.
            while not block.is_open:
                await trio.lowlevel.cancel_shielded_checkpoint()
        except BaseException:
            manager.release()
            raise
        return PeerNursery(block)

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        block = self._block
        block.leaving.set()
        # A crash has ended the body: what the body raises may follow from that.
        failed = block.body_scope.cancel_called
        try:
            return bool(await self._opened.__aexit__(kind, error, trace))
        except BaseExceptionGroup as group:
            # A nursery puts what its block raises into a group. Alone, the body's own exception leaves as it was, also
            # if that is a group.
            if error is not None and not failed and len(group.exceptions) == 1:
                return False
            raise
        finally:
            block.parts.inboxes.end()
            block.parts.news.end()
            block.parts.manager.release()


def open_peer_nursery(
    manager: PeerManager,
    *,
    handshake_deadline: float = 15,
    init_deadline: float = 15,
    ping_interval: float = 30,
    pong_deadline: float = 60,
    stall_deadline: float = 60,
    goodbye_deadline: float = 5,
    policy: Policy | None = None,
    proxy: Proxy | None = None,
    dial: Dial | None = None,
    jitter: random.Random | None = None,
    unix_ns: Callable[[], int] = time.time_ns,
    tape: Tape | None = None,
) -> AbstractAsyncContextManager[PeerNursery]:
    """``async with open_peer_nursery(manager) as peers``: drives `manager` while the block runs.

    Leaving the block stops accepting, ends dials, says goodbye to every peer and closes everything, within
    `goodbye_deadline` and half a second; no task, socket or connection survives, whichever way it is left. An exception
    of the body leaves as it is; a handler's leaves in an ExceptionGroup; both together in one group. One manager, one
    open block at a time: RuntimeError for a second.

    Seconds, `math.inf` for never; ValueError for less than 0 or, but for the last, 0:
      handshake_deadline: from the start of TCP's connect (or accept) to the third act.
      init_deadline: from there to the peer's Init.
      ping_interval: between our pings; a peer from which nothing at all comes for so long after a ping is ended.
      pong_deadline: for a pong, and for a peer to take any byte while there are bytes for it.
      stall_deadline: for our own subscriber to read from a full buffer.
      goodbye_deadline: for last words to be written.

    `policy` says who is let in, how many, and what one may cost; None: the default rules of `Policy`. `proxy`: every
    dial goes through it unless it brings its own; nothing is resolved here then, and each deadline but the last is
    three times as long. `dial` opens the streams of dials without a proxy in place of `trio.open_tcp_stream`: it gets
    host and port; what it may raise stands at `Dial`, all else is a bug.
    `jitter` is the randomness of `keep`'s waits, `unix_ns` the wall's clock in nanoseconds, for `Inbox.received_at`.
    `tape` records everything that the manager is told and answered; OSError if its file cannot be made.
    """
    way = way_of(dial) if proxy is None else ProxyWay(proxy)
    deadlines = Deadlines(
        handshake=handshake_deadline,
        init=init_deadline,
        ping_interval=ping_interval,
        pong=pong_deadline,
        stall=stall_deadline,
        goodbye=goodbye_deadline,
    )
    for name, seconds in asdict(deadlines).items():
        if not seconds >= 0 or (not seconds and name != "goodbye"):
            raise ValueError(f"{name}: a deadline is more than 0 seconds, not {seconds}")
    block = Block(manager, deadlines, policy or Policy(), way, jitter or random.Random(), unix_ns)
    return _OpenPeerNursery(block, tape)
