"""open_peer_nursery, PeerNursery and Peer: the Trio shell around one PeerManager. The only file that starts tasks.

Three tasks for a peer: the reader and the writer own its stream, the deliverer hands its messages to busy subscribers.
One pump for all of them: the only task that touches the PeerManager. Whatever happens reaches it as a small event
through one memory channel and is applied in that order, so the manager's life is a function of the events.

The pump never waits for a peer. It works in short turns; a peer whose input fits into one goes before those whose does
not. Services run shielded: the body is cancelled before them, so that goodbyes still go out.
"""

# The classes of this file are one thing in several parts, and know each other.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import asdict
from types import MappingProxyType, TracebackType
from typing import Any, Final, TypeAlias, TypeVar, cast, overload

import trio

from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    NodeAddress,
    TorV3Address,
    descriptor_of,
    is_reachable,
    read_addresses,
    unmapped,
)
from triolight.connection import OutstandingPing
from triolight.descriptor import DRAIN_SECONDS, StreamDescriptor
from triolight.errors import (
    ConnectError,
    DecodeError,
    DisconnectCode,
    DisconnectReason,
    PeerClosed,
    PeerHandleError,
    Side,
)
from triolight.keep import KeepState, KeptPeer, announced_addresses
from triolight.keys import is_point
from triolight.logger import Level, Record, wanted_level
from triolight.messages import Init, Message, NodeAnnouncement, UnknownMessage
from triolight.peer import (
    BUFFER_BYTES,
    MESSAGE_OVERHEAD,
    AnyMessage,
    Attached,
    Closed,
    Crashed,
    Deadlines,
    Delivery,
    Disconnect,
    Inbox,
    InboxDrained,
    Link,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerEvents,
    PeersStatistics,
    PingAnswer,
    PumpEvent,
    Received,
    Send,
    SendPing,
    Shutdown,
    SpaceToWrite,
    Switchboard,
    TimerDue,
    Work,
    shutdown_reason,
)
from triolight.peer_manager import (
    KEEPALIVE_IGNORED,
    PARKED_SECONDS,
    PeerDetails,
    PeerManager,
    PeerObserver,
    SocketDescriptor,
)
from triolight.policy import Policy, Population
from triolight.proxy import Proxy, ProxyError, check_extra, open_through
from triolight.tally import Tally, add, by_name
from triolight.tape import Tape
from triolight.text import printable, system_words

TURN_WORK: Final = 32
"""Work units of one turn of the pump, about 0.25 ms: a message is one, and each 4 KiB of it one more, and each 16 items
of lists and records that nobody knows."""
LONE_TURN_WORK: Final = 64
"""While nobody else's input waits."""
LEFTOVER_EVERY: Final = 4
"""Turns after which input that was left over, or is large, has its turn, however much small input there is."""
EVENTS_CAPACITY: Final = 1024
"""Events on their way to the pump. Whoever finds it full waits; none of them holds more than one chunk."""
TAKEN_AT_ONCE: Final = 1024
"""Events applied before a turn."""
MAX_CHUNK: Final = 64 * 1024
"""Bytes read from a socket at once: largest messages cost a fifth of what they cost in chunks of 4 KiB."""
MIN_CHUNK: Final = 4 * 1024
TOTAL_CHUNK_BYTES: Final = 64 * 1024 * 1024
"""What all unconsumed chunks together may hold: with many connections, chunks are smaller."""
SMALL_INPUT: Final = 4 * 1024
"""A chunk up to this size is taken to fit into one turn, and goes before larger ones."""
STALL_LOGGED_AFTER: Final = 10.0
"""Seconds that a full buffer pauses a peer before it is logged."""
AGREEING_REPORTS: Final = 2
"""Peers that must have seen us at the same address before it is believed: one alone can say anything."""
MAX_RESOLVED: Final = 8
"""Addresses tried of those that an announced name resolves to: each has its share of the deadline, and whoever
announced the name could make us knock at hundreds."""

M = TypeVar("M", bound=Message | UnknownMessage)
M2 = TypeVar("M2", bound=Message | UnknownMessage)
M3 = TypeVar("M3", bound=Message | UnknownMessage)

Dial: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Host and port to a connected stream; `trio.open_tcp_stream` is one.

OSError, UnicodeError, trio.BrokenResourceError and TooSlowError say that there is none, and are the ConnectError's
reason. Whatever else it raises is a bug of the application, and ends the block as a handler's does. To resolve names is
its own matter: not to ask DNS for an onion, and not to go where an announced name leads inside one's own network.
"""


class _Dial:
    """A dial that callers of `connect` wait for together."""

    def __init__(self, address: NodeAddress, learned: bool, proxy: Proxy | None) -> None:
        self.address: Final = address
        self.learned: Final = learned
        self.proxy: Final = proxy
        self.asked: Final = address, learned, proxy
        self.waiting = 0
        self.scope: Final = trio.CancelScope()
        self.done: Final = trio.Event()
        self.link: Link | None = None
        self.peer: Peer | None = None
        self.reason: DisconnectReason | None = None
        self.init: Init | None = None


# ---------------------------------------------------------------------------------------------------------------------
# The shell


class PeerNursery(PeerObserver):
    """What `open_peer_nursery` gives. Its methods may be called from any task of the same Trio run."""

    def __init__(
        self,
        manager: PeerManager,
        deadlines: Deadlines,
        policy: Policy,
        dial: Dial | None,
        proxy: Proxy | None,
        jitter: random.Random,
    ) -> None:
        self._manager: Final = manager
        self._deadlines: Final = deadlines
        self._policy: Final = policy
        self._open_stream: Final = None if dial is trio.open_tcp_stream else dial
        self._proxy: Final = proxy
        self._jitter: Final = jitter
        self._kept: dict[bytes, KeptPeer] = {}
        self._keeping: Final = trio.CapacityLimiter(policy.max_dials)
        self._ports: list[int] = []
        self._inbound_peers = 0
        self._strangers = 0
        self._strangers_of: dict[str, int] = {}
        self._failures: dict[str, int] = {}
        self._ends: dict[str, int] = {}
        self._past_traffic: tuple[Tally, Tally] = ({}, {})
        self._past_pauses = self._past_throttles = 0
        self._events_in, self._events = trio.open_memory_channel[PumpEvent](EVENTS_CAPACITY)
        self._board: Final = Switchboard(manager, self._events_in, self._released)
        self._peers: dict[bytes, Peer] = {}
        self._links: dict[SocketDescriptor, Link] = {}
        self._dials: dict[bytes, _Dial] = {}
        self._fresh: deque[Received] = deque()
        self._leftover: deque[tuple[Link, bytes | None]] = deque()
        self._turns_without_leftover = 0
        self._timers: list[tuple[float, int, Link]] = []
        self._timer_count = 0
        self._keeper_scope = trio.CancelScope()
        self._now = 0.0
        self._in_pump = False
        self._work_posted = False
        self._crash: BaseException | None = None
        self._broken = False
        """A bug of our own has come after a handler's: the manager is not touched any more."""
        self._leaving = trio.Event()
        self._all_gone = trio.Event()
        self._running = 0
        self._doors: trio.Nursery | None = None
        self._links_nursery: trio.Nursery | None = None
        self._pump_scope = trio.CancelScope(shield=True)
        self._body_scope = trio.CancelScope()
        """The nursery's that the body runs in."""

    def __repr__(self) -> str:
        return f"<PeerNursery, {len(self._peers)} peers>"

    # -- what users call -----------------------------------------------------------------------------------------------

    @property
    def manager(self) -> PeerManager:
        """The PeerManager that is driven. Asking it and `send_message` are fine; leave the rest to the pump."""
        return self._manager

    @property
    def peers(self) -> dict[bytes, Peer]:
        """The connected peers by node id: a snapshot."""
        return dict(self._peers)

    @property
    def policy(self) -> Policy:
        """Who is let in. Its bans may be changed at any time."""
        return self._policy

    async def connect(self, address: NodeAddress | str, *, proxy: Proxy | None = None) -> Peer:
        """Dials a node (``id@host:port``) and returns its Peer after both Inits. A checkpoint.

        `proxy`: for this dial, in place of the nursery's.

        If it is connected already: that peer. Two calls for one node share one dial; cancelling one leaves the other.
        If that dial fails, and was for another address or went another way, this one's own follows. Raises ConnectError
        (its reason tells the phase), ValueError for text that is no address. If the other side has dialled us at the
        same time, the connection that survives is returned, whichever it is.
        """
        if isinstance(address, str):
            address = NodeAddress.parse(address)
        if proxy is not None:
            check_extra()
        await trio.lowlevel.checkpoint()
        return await self._connect(address, False, proxy or self._proxy)

    def keep(self, *addresses: NodeAddress | NodeAnnouncement | str, proxy: Proxy | None = None) -> KeptPeer:
        """Connects to a node and reconnects whenever the connection ends, until the block is left or `KeptPeer.stop`.

        Several addresses of one node are tried in turn. A node_announcement's count as learned, unless they are given
        by themselves too: private ones among them are not dialled unless the policy says so, and what cannot be dialled
        is left out. `proxy`: in place of the nursery's. For a node that is kept already its addresses are added, and
        the proxy, if there is one, takes the place of the one before. Between failures it waits up to 1 second, doubled
        each time up to an hour; no more than the policy's `max_dials` are in flight. Returns at once.

        ValueError for no address that can be dialled, or for different nodes'; DecodeError for an announcement whose
        addresses cannot be read.
        """
        self._check_open()
        if proxy is not None:
            check_extra()
        found: dict[NodeAddress, bool] = {}
        for one in addresses:
            learned = isinstance(one, NodeAnnouncement)
            if isinstance(one, NodeAnnouncement):
                those = announced_addresses(one)
            else:
                those = [NodeAddress.parse(one) if isinstance(one, str) else one]
            for address in those:
                found[address] = learned and found.get(address, True)
        kept = self._kept.get(next(iter(found)).node_id) if found else None
        if kept is not None and kept.state is not KeepState.STOPPED:
            kept.take(found, proxy)
            return kept
        new = KeptPeer(found, proxy)
        self._kept[new.node_id] = new
        self._nursery(self._doors).start_soon(self._run_kept, new, name=f"keep {new.node_id.hex()[:16]}")
        return new

    @property
    def reported_addresses(self) -> tuple[Address, ...]:
        """Where we can be reached, as far as peers tell: a public IP address that at least two peers that we dialled
        have seen us at (`remote_addr` of their Init, BOLT 1), with the port that we listen on.

        Never announced by itself: give it to `PeerManager.broadcast_node_announcement` if you believe it.
        """
        seen: dict[str, int] = {}
        for peer in self._peers.values():
            host = _reported_host(peer)
            if host is not None:
                seen[host] = seen.get(host, 0) + 1
        agreed = sorted(host for host, count in seen.items() if count >= AGREEING_REPORTS)
        return tuple(descriptor_of(host, port) for host in agreed for port in self._ports[:1])

    def statistics(self) -> PeersStatistics:
        """A snapshot of all. Costs as much as there are peers and message types."""
        received, sent = dict[int, list[int]](), dict[int, list[int]]()
        links = list(self._links.values())
        tallies = [self._past_traffic, *(self._manager.traffic(link.descriptor) or link.traffic for link in links)]
        for one_received, one_sent in tallies:
            add(received, one_received)
            add(sent, one_sent)
        registry = self._manager.messages
        kept: dict[str, int] = {}
        for one in self._kept.values():
            kept[one.state] = kept.get(one.state, 0) + 1
        return PeersStatistics(
            peers=len(self._peers),
            inbound_peers=self._inbound_peers,
            strangers=self._strangers,
            dials=len(self._dials),
            kept=MappingProxyType(kept),
            received=by_name(received, registry),
            sent=by_name(sent, registry),
            queued_bytes=sum(self._manager.queued_bytes(link.descriptor) + link.reserved for link in links),
            inbox_bytes=self._board.buffered,
            reading_paused=self._past_pauses + sum(link.reading_paused for link in links),
            throttled=self._past_throttles + sum(link.throttled for link in links),
            handler_events_dropped=self._manager.events_dropped,
            events_lost=self._board.events_lost,
            handshake_failures=MappingProxyType(dict(self._failures)),
            disconnects=MappingProxyType(dict(self._ends)),
            decisions=MappingProxyType(self._policy.decisions),
        )

    async def _connect(self, address: NodeAddress, learned: bool, proxy: Proxy | None) -> Peer:
        while True:
            if self._leaving.is_set():
                raise ConnectError(shutdown_reason())
            if address.node_id == self._manager.our_node_id:
                words = "that is our own node id"
                raise ConnectError(DisconnectReason(DisconnectCode.ADDRESS_REFUSED, Side.US, words))
            known = self._known(address.node_id)
            if known is not None:
                return known
            dial = self._dials.get(address.node_id)
            if dial is None:
                refusal = self._may_dial(address, learned, proxy)
                if refusal is not None:
                    raise ConnectError(refusal)
                dial = self._dials[address.node_id] = _Dial(address, learned, proxy)
                self._nursery(self._doors).start_soon(self._run_dial, dial, name=f"dial {address}")
            await self._wait_for(dial)
            if dial.peer is not None:
                return dial.peer
            if dial.asked == (address, learned, proxy):
                raise ConnectError(dial.reason or shutdown_reason(), dial.init)
            # Somebody else's, with another address or by another way: that it failed says nothing about ours.

    def _known(self, node_id: bytes) -> Peer | None:
        """The connected peer, unless whoever had it made has left it."""
        known = self._peers.get(node_id)
        return None if known is None or known.abandoned else known

    async def _wait_for(self, dial: _Dial) -> None:
        """Until it is done. If the last one who waits leaves, it ends."""
        dial.waiting += 1
        try:
            await dial.done.wait()
        finally:
            dial.waiting -= 1
            if not dial.waiting and not dial.done.is_set():
                # Whoever comes now wants a dial of their own, not one that is about to end.
                if self._dials.get(dial.address.node_id) is dial:
                    del self._dials[dial.address.node_id]
                dial.scope.cancel(reason="nobody waits for this dial any more")
                if dial.link is not None:
                    dial.link.abandoned = True

    async def attach(
        self,
        stream: trio.abc.Stream,
        their_node_id: bytes | None = None,
        remote_address: Address | tuple[str, int] | None = None,
    ) -> Peer:
        """Makes a peer of a connected stream: a Unix socket, TLS, a memory stream. Returns it after both Inits.

        The stream is ours from now on, even if this fails. `their_node_id` None: the other side is the initiator.
        `remote_address` is told to an inbound peer in Init if it is public. Raises ConnectError, and ValueError if
        `their_node_id` is no point, or our own. Cancelled: the connection is ended.
        """
        if isinstance(remote_address, tuple):
            remote_address = descriptor_of(*remote_address)
        if self._leaving.is_set():
            await trio.aclose_forcefully(stream)
            raise ConnectError(shutdown_reason())
        if their_node_id is not None and (not is_point(their_node_id) or their_node_id == self._manager.our_node_id):
            await trio.aclose_forcefully(stream)
            raise ValueError("their_node_id is our own, or no point of secp256k1")
        if their_node_id is None:
            refusal = self._may_enter(remote_address)
            if refusal is not None:
                await trio.aclose_forcefully(stream)
                raise ConnectError(refusal)
        link = self._link(stream, their_node_id, remote_address, self._deadlines)
        self._start(link)
        try:
            await link.outcome.wait()
        except BaseException:
            await self._abandon(link)
            raise
        return self._peer_of(link)

    async def listen(
        self, port: int, *, host: str | bytes | None = None, backlog: int | None = None
    ) -> list[trio.SocketListener]:
        """Accepts connections on a TCP port until the block is left. `host` None: all interfaces; `port` 0: any port.

        Returns the listeners: ``listeners[0].socket.getsockname()`` is where they are. OSError if it cannot listen.
        """
        self._check_open()
        listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
        self._ports += [int(listener.socket.getsockname()[1]) for listener in listeners]
        await self.listen_on(*listeners)
        return listeners

    async def listen_on(self, *listeners: trio.abc.Listener[Any]) -> None:
        """Accepts connections from listeners of any kind until the block is left: TLS, Unix sockets, in memory.

        They are ours from now on, and closed when the block is left, or at once if it has been (PeerClosed). Streams
        that have a `socket` are asked for their peer's address.
        """
        if self._leaving.is_set():
            for listener in listeners:
                await trio.aclose_forcefully(listener)
            self._check_open()
        self._nursery(self._doors).start_soon(self._run_listeners, list(listeners), name="listeners")

    @overload
    def subscribe(self, *, buffer_bytes: int = ...) -> Inbox[tuple[Peer, AnyMessage]]: ...
    @overload
    def subscribe(self, first: type[M], /, *, buffer_bytes: int = ...) -> Inbox[tuple[Peer, M]]: ...
    @overload
    def subscribe(
        self, first: type[M], second: type[M2], /, *, buffer_bytes: int = ...
    ) -> Inbox[tuple[Peer, M | M2]]: ...
    @overload
    def subscribe(
        self, first: type[M], second: type[M2], third: type[M3], /, *, buffer_bytes: int = ...
    ) -> Inbox[tuple[Peer, M | M2 | M3]]: ...
    @overload
    def subscribe(self, *types: type[M], buffer_bytes: int = ...) -> Inbox[tuple[Peer, M]]: ...
    def subscribe(self, *types: type[Any], buffer_bytes: int = BUFFER_BYTES) -> Inbox[Any]:
        """``async with peers.subscribe(Warning) as inbox: async for peer, message in inbox``: messages of every peer.

        As `Peer.subscribe`, for all peers, those to come included. Subscribe before connecting to miss nothing after
        Init. Each peer has `buffer_bytes` of its own: a slow reader slows the peers it reads, and no other.
        """
        return Inbox[Any](self._board, None, types, buffer_bytes)

    def events(self) -> PeerEvents:
        """``async with peers.events() as events: async for event in events``: PeerConnected and PeerDisconnected.

        Never delays a peer. 1,000 events wait for a busy reader; past that its iteration raises EventsLost.
        """
        return PeerEvents(self._board)

    @staticmethod
    def _nursery(nursery: trio.Nursery | None) -> trio.Nursery:
        if nursery is None:
            raise RuntimeError("open_peer_nursery has not been entered")
        return nursery

    def _check_open(self) -> None:
        if self._leaving.is_set():
            raise PeerClosed(shutdown_reason())

    # -- tasks ---------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _deliver(self, link: Link) -> None:
        """The deliverer: what the pump found no room for, in order, to each subscriber as it makes room."""
        try:
            with link.deliverer_scope:
                async for delivery in link.inbox:
                    for subscriber in delivery.to:
                        await subscriber.deliver(link, delivery.message, delivery.cost)
                    link.undelivered -= 1
                    if not link.undelivered:
                        await self._events_in.send(InboxDrained(link))
        finally:
            for subscriber in link.inboxes:
                subscriber.end()
            link.delivering = False
            self._released(link)

    @trio.lowlevel.enable_ki_protection
    async def _services(self, task_status: trio.TaskStatus[None]) -> None:
        """Everything that runs beside the body. Shielded: it ends when the body has ended, and in its own order."""
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as core:
                core.start_soon(self._pump, name="pump")
                core.start_soon(self._keeper, name="keeper")
                try:
                    async with trio.open_nursery() as links:
                        self._links_nursery = links
                        async with trio.open_nursery() as doors:
                            self._doors = doors
                            task_status.started()
                            await self._leaving.wait()
                            doors.cancel_scope.cancel(reason="leaving")
                        # Nothing comes in or goes out any more; those who are there hear that we leave.
                        await self._say_goodbye()
                        links.cancel_scope.cancel(reason="left")
                finally:
                    # The pump is shielded, and waited for: whatever went wrong above, it must not wait for more.
                    core.cancel_scope.cancel(reason="left")
                    self._pump_scope.cancel(reason="left")
        if self._crash is not None:
            raise self._crash

    @trio.lowlevel.enable_ki_protection
    async def _say_goodbye(self) -> None:
        reason = shutdown_reason()
        if self._crash is not None:
            reason = DisconnectReason(DisconnectCode.HANDLER_CRASHED, Side.US, "an internal error, shutting down")
        await self._events_in.send(Shutdown(reason))
        with trio.move_on_after(self._deadlines.goodbye + DRAIN_SECONDS):
            while self._running:
                self._all_gone = trio.Event()
                await self._all_gone.wait()
        for link in self._links.values():
            link.descriptor.writer_scope.cancel(reason="left")

    @trio.lowlevel.enable_ki_protection
    async def _run_listeners(self, listeners: list[trio.abc.Listener[Any]]) -> None:
        @trio.lowlevel.enable_ki_protection
        async def accepted(stream: trio.abc.Stream) -> None:
            try:
                link = await self._accept(stream)
            except BaseException as error:
                await trio.aclose_forcefully(stream)
                await self._report(error)
            else:
                if link is not None:
                    await self._run_link(link)

        try:
            await trio.serve_listeners(accepted, listeners, handler_nursery=self._links_nursery)
        except BaseException as error:
            await self._report(error)

    async def _accept(self, stream: trio.abc.Stream) -> Link | None:
        """None: it is not let in, or gone already, and closed."""
        address: Address | None = None
        socket = _socket_of(stream)
        if socket is not None:
            try:
                name = socket.getpeername()
            except OSError:
                await trio.aclose_forcefully(stream)
                return None
            if not isinstance(name, str | bytes):  # a Unix socket's is a path
                host, port, *_ = name
                address = descriptor_of(host.partition("%")[0], port)
        if self._may_enter(address) is not None:
            await trio.aclose_forcefully(stream)
            return None
        return self._link(stream, None, address, self._deadlines)

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
                await self._events_in.send(Crashed(rest))
        if cancelled is not None:
            raise cancelled

    def _link(
        self, stream: trio.abc.Stream, node_id: bytes | None, address: Address | None, deadlines: Deadlines
    ) -> Link:
        link = Link(stream, node_id, address, deadlines, trio.current_time() + deadlines.handshake)
        if link.inbound:
            link.source = self._policy.source_of(address)
        self._count_stranger(link)
        return link

    def _count_stranger(self, link: Link) -> None:
        """It is no peer: not yet, or not any more."""
        if link.inbound and not link.stranger:
            link.stranger = True
            self._strangers += 1
            if link.source is not None:
                self._strangers_of[link.source] = self._strangers_of.get(link.source, 0) + 1

    def _released(self, link: Link) -> None:
        """The stream is closed, or all that it brought is taken; once both are true, nothing is left of it."""
        if link.gone.is_set() and not link.delivering and not link.inbox_bytes:
            self._no_stranger(link)

    def _no_stranger(self, link: Link) -> None:
        """It is a peer now, or nothing is left of it."""
        if link.stranger:
            link.stranger = False
            self._strangers -= 1
            if link.source is not None:
                left = self._strangers_of[link.source] - 1
                if left:
                    self._strangers_of[link.source] = left
                else:
                    del self._strangers_of[link.source]

    def _may_enter(self, address: Address | None) -> DisconnectReason | None:
        """The policy's word on an inbound connection."""
        source = self._policy.source_of(address)
        population = Population(
            strangers=self._strangers,
            strangers_of_source=0 if source is None else self._strangers_of.get(source, 0),
            peers=len(self._peers),
            inbound_peers=self._inbound_peers,
        )
        reason = self._policy.count("stranger", self._policy.admit_stranger(address, population))
        if reason is not None:
            self._failures[reason.code] = self._failures.get(reason.code, 0) + 1
            self._log(Level.DEBUG, "a connection was refused", None, code=reason.code, address=str(address))
        return reason

    def _may_dial(self, address: NodeAddress, learned: bool, proxy: Proxy | None) -> DisconnectReason | None:
        """The policy's word on a dial, and ours on onions."""
        target = descriptor_of(address.host, address.port)
        reason = self._policy.count("dial", self._policy.admit_dial(address.node_id, target, learned))
        if reason is None and isinstance(target, TorV3Address) and proxy is None and self._open_stream is None:
            # Before any resolver hears of it: the name itself is a secret that DNS would spread.
            words = "an onion name is only reached through a proxy"
            reason = DisconnectReason(DisconnectCode.ADDRESS_REFUSED, Side.US, words)
        if reason is not None:
            self._failures[reason.code] = self._failures.get(reason.code, 0) + 1
        return reason

    @trio.lowlevel.enable_ki_protection
    async def _run_kept(self, kept: KeptPeer) -> None:
        async def connect(address: NodeAddress, learned: bool) -> Peer:
            return await self._connect(address, learned, kept.proxy or self._proxy)

        try:
            await kept.keep_up(lambda: self._known(kept.node_id), connect, self._keeping, self._jitter)
        except PeerClosed:
            pass  # the block is being left
        except BaseException as error:
            await self._report(error)
        finally:
            if self._kept.get(kept.node_id) is kept:
                del self._kept[kept.node_id]

    @trio.lowlevel.enable_ki_protection
    async def _run_dial(self, dial: _Dial) -> None:
        try:
            with dial.scope:
                await self._dial(dial)
        except BaseException as error:
            await self._report(error)
        finally:
            if self._dials.get(dial.address.node_id) is dial:
                del self._dials[dial.address.node_id]
            dial.done.set()

    @trio.lowlevel.enable_ki_protection
    async def _dial(self, dial: _Dial) -> None:
        address = dial.address
        deadlines = self._deadlines if dial.proxy is None else self._deadlines.through_proxy()
        deadline_at = trio.current_time() + deadlines.handshake
        reason: DisconnectReason | None = None
        stream: trio.abc.Stream | None = None
        with trio.CancelScope(deadline=deadline_at) as scope:
            try:
                opened = await self._open(dial, deadline_at)
            except (OSError, UnicodeError, trio.BrokenResourceError, trio.TooSlowError) as error:
                # UnicodeError: a name that no resolver is asked for, with a label that is empty or too long.
                code = DisconnectCode.TCP_FAILED
                if isinstance(error, ProxyError):
                    code = DisconnectCode.PROXY_FAILED
                elif isinstance(error, trio.socket.gaierror | UnicodeError):
                    code = DisconnectCode.RESOLVE_FAILED
                words = system_words(error) or system_words(error.__cause__)
                reason = DisconnectReason(code, Side.NETWORK, printable(words))
            else:
                if isinstance(opened, DisconnectReason):
                    reason = opened
                else:
                    stream = opened
        if stream is None:
            if scope.cancelled_caught or reason is None:
                words = f"no TCP connection with {address.host} within {deadlines.handshake:g} seconds"
                code = DisconnectCode.TCP_FAILED if dial.proxy is None else DisconnectCode.PROXY_FAILED
                reason = DisconnectReason(code, Side.NETWORK, words)
            dial.reason = reason
            self._failures[reason.code] = self._failures.get(reason.code, 0) + 1
            return
        link = self._link(stream, address.node_id, descriptor_of(address.host, address.port), deadlines)
        link.deadline_at = deadline_at
        dial.link = link
        self._start(link)
        try:
            await link.outcome.wait()
        except BaseException:
            await self._abandon(link)
            raise
        try:
            dial.peer = self._peer_of(link)
        except ConnectError as error:
            dial.reason, dial.init = error.reason, error.init

    async def _open(self, dial: _Dial, deadline_at: float) -> trio.abc.Stream | DisconnectReason | None:
        """The stream of a dial, or why it is refused; None: no answer in time. Raises what `Dial` does."""
        node_id, host, port = dial.address.node_id, dial.address.host, dial.address.port
        if dial.proxy is not None:
            return await open_through(dial.proxy, host, port, isolation=node_id.hex())
        if self._open_stream is not None:
            return await self._open_stream(host, port)
        if not dial.learned or not isinstance(descriptor_of(host, port), DnsAddress):
            return await trio.open_tcp_stream(host, port)
        # Whoever announced the name chooses what it resolves to. What is asked about is what is dialled, for the next
        # answer of his DNS may be another one.
        found = await trio.socket.getaddrinfo(host, port, type=trio.socket.SOCK_STREAM)
        refusal = DisconnectReason(DisconnectCode.RESOLVE_FAILED, Side.NETWORK, "the name has no address")
        hosts: list[str] = []
        for one in dict.fromkeys(str(place[0]).partition("%")[0] for *_, place in found):
            refused = self._policy.admit_dial(node_id, descriptor_of(one, port), True)
            if self._policy.count("dial", refused) is None:
                hosts.append(one)
            else:
                refusal = refused or refusal
        errors: list[OSError] = []
        hosts = hosts[:MAX_RESOLVED]
        for number, one in enumerate(hosts):
            now = trio.current_time()
            with trio.CancelScope(deadline=now + (deadline_at - now) / (len(hosts) - number)):
                try:
                    return await trio.open_tcp_stream(one, port)
                except OSError as error:
                    errors.append(error)
        if errors:
            raise OSError(f"no connection with any address of {host}") from ExceptionGroup("", errors)
        return None if hosts else refusal

    def _start(self, link: Link) -> None:
        self._nursery(self._links_nursery).start_soon(self._run_link, link, name="peer")

    async def _abandon(self, link: Link) -> None:
        """Whoever wanted this connection does not wait for it any more. Shielded: the pump waits for nobody."""
        link.abandoned = True
        why = DisconnectReason(DisconnectCode.REQUESTED, Side.US, "the dial was cancelled")
        with trio.CancelScope(shield=True):
            await self._events_in.send(Disconnect(link, why))

    def _peer_of(self, link: Link) -> Peer:
        """What a dial has come to. The connection itself, or the one with the same node that was kept instead."""
        if link.peer is not None:
            return link.peer
        if link.survivor is not None:
            return link.survivor
        reason = link.reason or shutdown_reason()
        if reason.code in (DisconnectCode.DUPLICATE, DisconnectCode.CLOSED_BEFORE_INIT) and link.node_id:
            survivor = self._peers.get(link.node_id)
            if survivor is not None:
                return survivor
        raise ConnectError(reason, link.init)

    @trio.lowlevel.enable_ki_protection
    async def _run_link(self, link: Link) -> None:
        """The task of one peer: owns the descriptor from the first act to the closed stream."""
        descriptor, first = link.descriptor, link
        self._running += 1
        self._links[descriptor] = link
        closed = DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, "the connection was lost")
        try:
            async with trio.open_nursery() as nursery:
                descriptor.task_scope = nursery.cancel_scope
                nursery.start_soon(self._run_writer, link, nursery.cancel_scope, name="peer writer")
                try:
                    await self._events_in.send(Attached(link))
                    closed = await self._run_reader(link)
                    await self._events_in.send(Closed(link, closed))
                    await trio.sleep_forever()  # until the manager has decided: disconnect_socket cancels this scope
                finally:
                    # Nothing more is taken, whoever has ended this: the writer, shielded, waits for nothing but words.
                    descriptor.disconnect_socket()
                    by = trio.current_time() + self._deadlines.goodbye
                    descriptor.writer_scope.deadline = min(descriptor.writer_scope.deadline, by)
        finally:
            with trio.CancelScope(shield=True):
                link = self._link_of(descriptor)  # by now perhaps a successor
                await descriptor.close(
                    min(link.goodbye_at, trio.current_time() + self._deadlines.goodbye), link.init is not None
                )
                await self._events_in.send(Closed(link, closed))
            self._links.pop(descriptor, None)
            self._running -= 1
            last = self._link_of(descriptor)
            for past, tally in zip(self._past_traffic, last.traffic, strict=True):
                add(past, tally)
            for one in {first, last}:
                self._past_pauses += one.reading_paused
                self._past_throttles += one.throttled
            last.gone.set()
            self._released(last)
            if not self._running:
                self._all_gone.set()

    @trio.lowlevel.enable_ki_protection
    async def _run_reader(self, link: Link) -> DisconnectReason:
        descriptor = link.descriptor
        while True:
            share = TOTAL_CHUNK_BYTES // max(1, len(self._links))
            try:
                data = await descriptor.receive(max(MIN_CHUNK, min(MAX_CHUNK, share)))
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError) as error:
                # A stream that was given to us may raise the system's errors as they are.
                cause = error if isinstance(error, OSError) else error.__cause__
                words = system_words(cause) if isinstance(cause, OSError) else "the connection broke"
                return DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, printable(words))
            if not data:
                return DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "the peer closed the connection")
            event = Received(link, data, trio.current_time())
            try:
                self._events_in.send_nowait(event)
            except trio.WouldBlock:
                await self._events_in.send(event)

    @trio.lowlevel.enable_ki_protection
    async def _run_writer(self, link: Link, task_scope: trio.CancelScope) -> None:
        async def report(count: int) -> None:
            event = SpaceToWrite(link, count)
            try:
                self._events_in.send_nowait(event)
            except trio.WouldBlock:
                await self._events_in.send(event)

        with link.descriptor.writer_scope:
            await link.descriptor.write_out(report)
        # Nothing more will be written: whatever else this peer's task does, it need not go on.
        task_scope.cancel(reason="written out")

    @trio.lowlevel.enable_ki_protection
    async def _keeper(self) -> None:
        """Wakes the pump when a link's timer is due."""
        while True:
            now = trio.current_time()
            while self._timers and self._timers[0][0] <= now:
                at, _, link = heapq.heappop(self._timers)
                if at >= link.timer_at:
                    link.timer_at = math.inf
                    await self._events_in.send(TimerDue(link))
            self._keeper_scope = trio.CancelScope(deadline=self._timers[0][0] if self._timers else math.inf)
            with self._keeper_scope:
                await trio.sleep_forever()

    def _set_timer(self, link: Link, at: float) -> None:
        """The link will be looked at at this time, or earlier."""
        if at >= link.timer_at or at == math.inf:
            return
        link.timer_at = at
        if len(self._timers) > 2 * len(self._links) + 1024:
            # Links that have ended leave their timers behind, and so do those whose time was moved: of each link one
            # counts. Half of what is allowed is free after that, so that this is not done for each timer.
            current = {
                link: (at, number, link)
                for at, number, link in self._timers
                if at == link.timer_at and (link.reason is None or link.delivering)
            }
            self._timers = [*current.values()]
            heapq.heapify(self._timers)
        self._timer_count += 1
        heapq.heappush(self._timers, (at, self._timer_count, link))
        if at < self._keeper_scope.deadline:
            self._keeper_scope.deadline = at

    # -- the pump ------------------------------------------------------------------------------------------------------

    @trio.lowlevel.enable_ki_protection
    async def _pump(self) -> None:
        """The only task that touches the manager. A handler's exception ends the block, not the pump: the goodbyes
        still have to go out."""
        with self._pump_scope:
            while True:
                if self._fresh or self._leftover:
                    await trio.lowlevel.checkpoint()
                    event = None
                else:
                    event = await self._events.receive()
                if self._broken:
                    self._fresh.clear()
                    self._leftover.clear()
                    if event is not None:
                        self._refuse(event)
                    continue
                self._in_pump = True
                try:
                    self._take(event)
                    self._turn()
                except BaseException as error:
                    self._crashed(error)
                finally:
                    self._in_pump = False

    def _crashed(self, error: BaseException) -> None:
        if self._crash is None:
            self._crash = error
            self._manager.abandon_handlers()
        else:
            # Not a handler's any more: none is called. Nobody can be told goodbye, but everyone is let go.
            self._crash = BaseExceptionGroup("a bug in triolight, after another exception", [self._crash, error])
            self._broken = True
            for link in list(self._links.values()):
                self._let_go(link)
        self._leaving.set()
        self._body_scope.cancel(reason="a handler has raised")

    def _let_go(self, link: Link) -> None:
        if link.reason is None:
            words = "an internal error, shutting down"
            self._link_ended(link, DisconnectReason(DisconnectCode.HANDLER_CRASHED, Side.US, words), link.init)
        link.descriptor.disconnect_socket()

    def _refuse(self, event: PumpEvent) -> None:
        match event:
            case Attached(link=link) | Closed(link=link) | Received(link=link) | Disconnect(link=link):
                self._let_go(link)
            case SendPing(answer=answer):
                answer.done.set()
            case _:
                pass

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
        """One short turn: small inputs first, then one of the others, then everything is written."""
        manager = self._manager
        self._work_posted = False
        # With one peer's input and nobody else's there is nobody to be fair to.
        limit = manager.work_done + (TURN_WORK if self._fresh or len(self._leftover) > 1 else LONE_TURN_WORK)
        waited = bool(self._leftover)
        while manager.work_done < limit:
            if self._fresh and self._turns_without_leftover < LEFTOVER_EVERY:
                received = self._fresh.popleft()
                self._read(received.link, received.data)
            elif self._leftover:
                waited = False
                self._turns_without_leftover = 0
                link, data = self._leftover.popleft()
                if data is not None:
                    self._read(link, data)
                else:
                    manager.continue_reading(link.descriptor)
            else:
                self._turns_without_leftover = 0
                if not self._fresh:
                    break
            self._queue_unfinished()
        self._turns_without_leftover += waited
        manager.process_events()
        self._queue_unfinished()

    def _queue_unfinished(self) -> None:
        for descriptor in self._manager.unfinished():
            self._leftover.append((self._link_of(descriptor), None))

    def _read(self, link: Link, data: bytes) -> None:
        link.descriptor.gives()
        try:
            paused = self._manager.read_event(link.descriptor, data)
        except PeerHandleError:
            # The reason is known to the link already; all that is left to do is to close.
            link.descriptor.disconnect_socket()
            return
        if not paused:
            link.descriptor.allow_reading()

    def _apply(self, event: PumpEvent) -> None:
        manager = self._manager
        self._now = trio.current_time()
        match event:
            case Received(link=link, data=data, at=at):
                self._now = at
                self._link_of(link.descriptor).received_at = at
                if len(data) <= SMALL_INPUT:
                    self._fresh.append(event)
                else:
                    self._leftover.append((link, data))
            case SpaceToWrite(link=link, count=count):
                if link.descriptor.made_room(count):
                    try:
                        manager.write_buffer_space_avail(link.descriptor)
                    except PeerHandleError:
                        pass  # its end was decided meanwhile
                self._wake_senders(self._link_of(link.descriptor))
            case Send(link=link, encoded=encoded, size=size):
                link.reserved -= size
                if link.reason is None:
                    manager.send_encoded(link.descriptor, encoded)
            case SendPing(link=link, answer=answer):
                if link.reason is None and manager.send_ping(
                    link.descriptor, event.num_pong_bytes, event.ignored, answer
                ):
                    link.waiting_pings[answer] = None
                else:
                    self._ping_answered(link)
                    answer.done.set()
            case Attached(link=link):
                self._attach(link)
            case Closed(link=link, reason=reason):
                manager.socket_disconnected(link.descriptor, reason)
                link.descriptor.disconnect_socket()
                link = self._link_of(link.descriptor)
                if link.reason is None:
                    # It never came as far as the manager.
                    self._link_ended(link, reason, None)
            case Disconnect(link=link, reason=reason):
                if link.reason is None:
                    manager.disconnect(link.descriptor, reason)
            case InboxDrained(link=link):
                if link.held_at is not None and link.reason is None:
                    link.held_at = None
                    manager.hold_reading(link.descriptor, False)
                    self._on_timer(link)
            case TimerDue(link=link):
                self._on_timer(link)
            case Work():
                pass  # the turn that follows does it
            case Crashed(error=error):
                if self._crash is None:  # else we are leaving already, for this or for another reason
                    self._crashed(error)
            case Shutdown(reason=reason):
                manager.disconnect_all_peers(reason)

    def _attach(self, link: Link) -> None:
        manager, descriptor = self._manager, link.descriptor
        if self._leaving.is_set():
            self._link_ended(link, shutdown_reason(), None)
            descriptor.disconnect_socket()
            return
        if link.node_id is None:
            manager.new_inbound_connection(descriptor, link.address)
        else:
            descriptor.send_data(manager.new_outbound_connection(link.node_id, descriptor, link.address), True)
        self._set_timer(link, link.deadline_at)

    def _wake_senders(self, link: Link) -> None:
        room, link.room = link.room, trio.Event()
        room.set()

    def _post_work(self) -> None:
        """The manager's `on_work`."""
        if self._in_pump or self._work_posted:
            return
        try:
            self._events_in.send_nowait(Work())
            self._work_posted = True
        except (trio.WouldBlock, trio.BrokenResourceError):
            pass  # the pump has enough to wake for, or has left

    # -- time ----------------------------------------------------------------------------------------------------------

    def _on_timer(self, link: Link) -> None:
        """Looks at one link's deadlines, and sets its next timer.

        What is compared is the sum that the timer was set to: a difference of the same times may round to less, and the
        timer would be due again and again.
        """
        now = self._now
        if link.reason is not None:
            if link.delivering:
                self._watch_delivery(link, now)
            return
        if link.peer is None:
            if now >= link.deadline_at:
                self._manager.disconnect(link.descriptor, self._phase_timeout(link))
            else:
                self._set_timer(link, link.deadline_at)
            return
        deadlines = link.deadlines
        reason: DisconnectReason | None = None
        next_at = math.inf
        if link.throttled_until is not None:
            # It is not read, so it cannot be blamed for silence. But if it is gone, our pings find out: what it has
            # left unread would take minutes to pay for.
            if now >= link.ping_at:
                self._send_keepalive(link)
            if link.ping_sent_at is not None:
                link.ping_sent_at = now
            if link.descriptor.broken:
                words = "it has gone, and what it left costs more than it may"
                reason = DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, words)
            next_at = min(link.throttled_until, link.ping_at)
            if now >= link.throttled_until:
                link.throttled_until = None
                self._manager.end_throttle(link.descriptor)
                next_at = now if link.ping_sent_at is None else now + min(deadlines.ping_interval, deadlines.pong)
        elif link.held_at is not None:
            # Our own subscriber is the brake: the peer cannot be blamed for silence while it is not read.
            since = max(link.held_at, self._board.last_taken(link))
            if not link.stall_logged and now >= since + STALL_LOGGED_AFTER:
                link.stall_logged = True
                self._log_stall(link, now - since)
            if now >= since + deadlines.stall:
                words = f"our own subscriber has read nothing for {deadlines.stall:g} seconds"
                reason = DisconnectReason(DisconnectCode.SUBSCRIBER_STALLED, Side.US, words)
            next_at = since + (deadlines.stall if link.stall_logged else min(STALL_LOGGED_AFTER, deadlines.stall))
            if link.ping_sent_at is not None:
                link.ping_sent_at = now
        elif link.descriptor.write_began is not None or self._manager.over_budget(link.descriptor):
            # It owes us the reading of what there is for it: whether it takes that is what it is judged by. A ping of
            # ours may still be behind all that.
            if link.ping_sent_at is not None:
                link.ping_sent_at = now
            next_at = now + min(deadlines.ping_interval, deadlines.pong)
        elif link.ping_sent_at is None and now < link.ping_at:
            next_at = link.ping_at
        elif link.ping_sent_at is None:
            self._send_keepalive(link)
            next_at = now + min(deadlines.ping_interval, deadlines.pong)
        else:
            waited = now - link.ping_sent_at
            silent = link.received_at <= link.ping_sent_at
            longest = min(deadlines.ping_interval, deadlines.pong) if silent else deadlines.pong
            next_at = link.ping_sent_at + longest
            if now >= next_at:
                words = f"no {'sign of life' if silent else 'pong'} for {waited:g} seconds after a ping"
                reason = DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, words)
        began = self._stuck_since(link, now)
        if began is not None and reason is None:
            if now >= began + deadlines.pong:
                words = f"it has taken no byte for {now - began:g} seconds"
                reason = DisconnectReason(DisconnectCode.WRITE_STALLED, Side.US, words)
            next_at = min(next_at, began + deadlines.pong)
        if reason is not None:
            self._manager.disconnect(link.descriptor, reason)
        else:
            self._set_timer(link, next_at)

    def _watch_delivery(self, link: Link, now: float) -> None:
        """Its connection has ended, and a subscriber has no room for what it said last: that cannot wait for ever."""
        if link.held_at is None:
            return
        by = max(link.held_at, self._board.last_taken(link)) + link.deadlines.stall
        if now >= by:
            link.deliverer_scope.cancel(reason="the subscriber has stalled")
        else:
            self._set_timer(link, by)

    def _stuck_since(self, link: Link, now: float) -> float | None:
        """Since when the peer has taken no byte while there are some for it; None if there are none."""
        began = link.descriptor.write_began
        if began is None:
            link.unsent = None
            return None
        unsent = link.descriptor.unsent()
        if unsent is not None:
            if link.unsent is not None and unsent < link.unsent:
                link.unsent_at = now
            link.unsent = unsent
        return max(began, link.unsent_at)

    def _send_keepalive(self, link: Link) -> None:
        # One that was answered by something else is not waited for any more.
        if self._manager.forget_ping(link.descriptor, None):
            link.pings -= 1
        if self._manager.send_ping(link.descriptor, 0, bytes(KEEPALIVE_IGNORED), None):
            link.pings += 1
        link.ping_sent_at = self._now
        link.ping_at = self._now + link.deadlines.ping_interval

    def _log_stall(self, link: Link, seconds: float) -> None:
        words = "a subscriber of ours does not read; this peer is not read from"
        self._log(Level.WARN, words, link.node_id, seconds=round(seconds))

    def _log(self, level: Level, words: str, node_id: bytes | None, **fields: Any) -> None:
        logger = self._manager.logger
        if wanted_level(logger) <= level:
            logger.log(Record(level, words, "nursery", node_id, fields))

    def _phase_timeout(self, link: Link) -> DisconnectReason:
        if link.parked:
            return DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "another connection with you was kept")
        if link.shaken:
            words = f"no Init within {link.deadlines.init:g} seconds"
            return DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, words)
        words = f"the handshake was not done within {link.deadlines.handshake:g} seconds"
        return DisconnectReason(DisconnectCode.HANDSHAKE_TIMEOUT, Side.US, words)

    # -- what the manager reports --------------------------------------------------------------------------------------

    @staticmethod
    def _link_of(descriptor: SocketDescriptor) -> Link:
        """The link of a descriptor that we have given to the manager: it may know it for longer than `_links` does."""
        return cast("Link", cast("StreamDescriptor", descriptor).owner)

    def handshake_done(self, descriptor: SocketDescriptor, node_id: bytes) -> None:
        link = self._link_of(descriptor)
        link.shaken = True
        link.node_id = node_id
        link.deadline_at = self._now + link.deadlines.init
        self._set_timer(link, link.deadline_at)

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> DisconnectReason | None:
        population = Population(
            strangers=self._strangers,
            strangers_of_source=0,
            peers=len(self._peers),
            inbound_peers=self._inbound_peers,
        )
        policy, address = self._policy, self._link_of(descriptor).address
        # Of two connections with one node one goes: the newcomer takes no place of its own.
        protected = node_id in self._peers or self._manager.protects(node_id)
        return policy.count("peer", policy.admit_peer(node_id, address, inbound, protected, population))

    def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
        link = self._link_of(descriptor)
        link.throttled += 1
        link.throttled_until = self._now + seconds
        self._set_timer(link, link.throttled_until)
        self._log(Level.DEBUG, "the peer costs more than it may; it is read more slowly", link.node_id)

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        link = self._link_of(descriptor)
        link.parked = True
        link.survivor = self._peers.get(link.node_id or b"")
        link.deadline_at = self._now + PARKED_SECONDS
        self._set_timer(link, link.deadline_at)
        link.outcome.set()

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        # The stream lives on for a moment, without a peer; should it get one again, that is a new one.
        link = self._link_of(descriptor)
        link.counts = self._manager.connection_counts(descriptor) or link.counts
        successor = self._links[descriptor] = link.successor(self._now + PARKED_SECONDS)
        self._count_stranger(successor)
        self._session_ended(link, reason)
        link.gone.set()
        self._released(link)

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        link = self._link_of(descriptor)
        link.init = details.init
        link.parked = False
        peer = link.peer = Peer(self._board, link, details)
        self._peers[details.node_id] = peer
        self._inbound_peers += details.inbound
        self._no_stranger(link)
        kept = self._kept.get(details.node_id)
        if kept is not None:
            kept.appeared()
        link.delivering = True
        self._nursery(self._links_nursery).start_soon(self._deliver, link, name="peer deliverer")
        link.ping_at = self._now + link.deadlines.ping_interval
        self._set_timer(link, link.ping_at)
        self._board.publish(PeerConnected(peer))
        link.outcome.set()

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        link = self._link_of(descriptor)
        link.counts = self._manager.connection_counts(descriptor) or link.counts
        self._link_ended(link, reason, init)

    def message_received(self, descriptor: SocketDescriptor, message: AnyMessage, size: int) -> None:
        link = self._link_of(descriptor)
        subscribers = self._board.matching(link, type(message))
        if not subscribers:
            return
        cost = size + MESSAGE_OVERHEAD
        if not link.undelivered:
            # Nothing waits, so nothing can be overtaken: straight to whoever has room.
            subscribers = tuple([one for one in subscribers if not one.offer(link, message, cost)])
            if not subscribers:
                return
        link.undelivered += 1
        link.inbox_in.send_nowait(Delivery(message, cost, subscribers))
        if link.held_at is None:
            link.held_at = self._now
            link.stall_logged = False
            link.reading_paused += 1
            self._manager.hold_reading(descriptor, True)
            self._set_timer(link, self._now + min(STALL_LOGGED_AFTER, link.deadlines.stall))

    def pong_received(self, descriptor: SocketDescriptor, ping: OutstandingPing | None, now: float) -> None:
        link = self._link_of(descriptor)
        link.ping_sent_at = None
        if ping is None:
            # Of a wrong length, most likely: whoever has given up waiting for one leaves the place to others.
            given_up = next((one for one in link.waiting_pings if one.abandoned), None)
            if given_up is not None and self._manager.forget_ping(descriptor, given_up):
                del link.waiting_pings[given_up]
                self._ping_answered(link)
            return
        rtt = now - ping.sent_at
        link.rtt_last = rtt
        link.rtt_minimum = rtt if link.rtt_minimum is None else min(rtt, link.rtt_minimum)
        link.rtt_smoothed = rtt if link.rtt_smoothed is None else link.rtt_smoothed + (rtt - link.rtt_smoothed) / 8
        self._ping_answered(link)
        if isinstance(ping.token, PingAnswer):
            ping.token.rtt = rtt
            ping.token.done.set()
            link.waiting_pings.pop(ping.token, None)

    def _ping_answered(self, link: Link) -> None:
        link.pings -= 1
        room, link.ping_room = link.ping_room, trio.Event()
        room.set()

    def _link_ended(self, link: Link, reason: DisconnectReason, init: Init | None) -> None:
        """Everyone who waits for anything of this link hears of its end, and its last words get their deadline."""
        link.init = init
        link.goodbye_at = self._now + self._deadlines.goodbye
        link.descriptor.writer_scope.deadline = link.goodbye_at
        self._session_ended(link, reason)

    def _session_ended(self, link: Link, reason: DisconnectReason) -> None:
        link.reason = reason
        peer = link.peer
        counts = self._failures if peer is None else self._ends
        counts[reason.code] = counts.get(reason.code, 0) + 1
        link.traffic = self._manager.traffic(link.descriptor) or link.traffic
        if peer is not None:
            self._count_stranger(link)
            if link.held_at is not None:
                self._set_timer(link, self._now + link.deadlines.stall)
            self._inbound_peers -= peer.inbound
            if self._peers.get(peer.node_id) is peer:
                del self._peers[peer.node_id]
            self._board.publish(PeerDisconnected(peer, reason))
        link.inbox_in.close()
        if reason.code is DisconnectCode.SUBSCRIBER_STALLED:
            link.deliverer_scope.cancel(reason="the subscriber has stalled")
        for answer in link.waiting_pings:
            answer.done.set()
        link.waiting_pings.clear()
        link.ping_room.set()
        link.room.set()
        link.ended.set()
        link.outcome.set()


def _socket_of(stream: Any) -> Any:
    """The socket at the bottom of a stream, as TLS and WebSocket have it; None if there is none."""
    while stream is not None and not hasattr(stream, "getpeername"):
        stream = getattr(stream, "socket", None) or getattr(stream, "transport_stream", None)
    return stream


def _reported_host(peer: Peer) -> str | None:
    """The public IP address that a peer sees us at; None if it does not say, or is not to be asked."""
    told = peer.init.tlvs.remote_addr
    if peer.inbound or not told:
        return None
    try:
        addresses = read_addresses(told)
    except DecodeError:
        return None
    match addresses:
        case (IPv4Address() | IPv6Address() as told_one,):
            one = unmapped(told_one)
            return one.host if isinstance(one, IPv4Address | IPv6Address) and is_reachable(one) else None
        case _:
            return None


# ---------------------------------------------------------------------------------------------------------------------
# The block


class _OpenPeerNursery:
    """The context manager of `open_peer_nursery`."""

    def __init__(self, manager: PeerManager, shell: PeerNursery, tape: Tape | None) -> None:
        self._manager: Final = manager
        self._shell: Final = shell
        self._tape: Final = tape
        self._opened = trio.open_nursery()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> PeerNursery:
        shell = self._shell
        policy = shell.policy
        self._manager.drive(
            shell, shell._post_work, lambda: shell._now, TURN_WORK, policy.allowance, policy.duplicates, self._tape
        )
        try:
            self._manager.observe_messages(False)
            nursery = await self._opened.__aenter__()
            shell._body_scope = nursery.cancel_scope
            with trio.CancelScope(shield=True):
                # One step, nothing to wait for; the block shall not be half open if it is cancelled right here.
                await nursery.start(shell._services)
        except BaseException:
            self._manager.release()
            raise
        return shell

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        shell = self._shell
        shell._leaving.set()
        # A crash has ended the body: what the body raises may follow from that.
        failed = shell._body_scope.cancel_called
        try:
            return bool(await self._opened.__aexit__(kind, error, trace))
        except BaseExceptionGroup as group:
            # A nursery puts what its block raises into a group. Alone, the body's own exception leaves as it was, also
            # if that is a group.
            if error is not None and not failed and len(group.exceptions) == 1:
                return False
            raise
        finally:
            shell._board.end()
            self._manager.release()


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
    `jitter` is the randomness of `keep`'s waits. `tape` records everything that the manager is told and answered;
    OSError if its file cannot be made.
    """
    if proxy is not None:
        check_extra()
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
    shell = PeerNursery(manager, deadlines, policy or Policy(), dial, proxy, jitter or random.Random())
    return _OpenPeerNursery(manager, shell, tape)
