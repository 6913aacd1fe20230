"""SimulatedNetwork: hosts, links and what goes wrong with them, in memory and on the mock clock.

Streams and listeners are Trio's own interfaces, and behave as TCP's do at their edges; nothing above them can tell. One
system task wakes whoever waits for bytes when they arrive. Every random choice comes from the seed. No byte leaves the
process.
"""

# The classes of this file are one thing in several parts, and know each other.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import errno
import hashlib
import heapq
import math
import os
import random
import socket
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import trio

BUFFER_BYTES: Final = 128 * 1024
"""Sent and not yet read, in one direction of one connection: the send and receive buffers of TCP together."""
PACKET_BYTES: Final = 16 * 1024
"""What travels at once where bandwidth is limited, so that a long write arrives bit by bit."""
BACKLOG: Final = 128
"""Connections that wait to be accepted; who comes then waits too."""
CONNECT_SECONDS: Final = 127.0
"""How long a dial to a host that does not answer takes to fail: Linux's six retransmissions of SYN."""
DEFAULT_READ: Final = 65536
FIRST_EPHEMERAL_PORT: Final = 49152

SocketAddress: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Conditions:
    """How one direction of a link behaves."""

    latency: float = 0.02
    """Seconds from one end to the other."""
    jitter: float = 0.0
    """Up to so many seconds more, at random; the order of bytes stays."""
    bandwidth: float = math.inf
    """Bytes a second, for all connections in this direction together."""
    mean_lifetime: float = math.inf
    """Seconds after which a connection is lost, on average: both ends see a reset. Drawn when it is made."""

    def __post_init__(self) -> None:
        """ValueError for what no link can be like."""
        for name, value in (("latency", self.latency), ("jitter", self.jitter)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is 0 seconds or more, not {value}")
        for name, value in (("bandwidth", self.bandwidth), ("mean_lifetime", self.mean_lifetime)):
            if not value > 0:
                raise ValueError(f"{name} is more than 0, not {value}")


@dataclass(frozen=True, slots=True)
class Transmission:
    """What one host has handed to the network."""

    at: float
    """Seconds of the clock."""
    source: SocketAddress
    destination: SocketAddress
    data: bytes
    """Empty: the end of the stream."""


class _Way:
    """One direction between two hosts."""

    def __init__(self, conditions: Conditions, rng: random.Random) -> None:
        self.conditions = conditions
        self.rng: Final = rng
        self.blocked = False
        self.free_at = 0.0
        """When the last byte that was sent has left, where bandwidth is limited."""
        self.flows: Final[dict[_Flow, None]] = {}

    def delay(self) -> float:
        jitter = self.conditions.jitter
        return self.conditions.latency + (self.rng.uniform(0, jitter) if jitter else 0.0)

    def arrival(self, now: float, size: int) -> float:
        """When `size` bytes that leave now are there. Infinite while nothing gets through."""
        if self.blocked:
            return math.inf
        if self.conditions.bandwidth < math.inf:
            leaves = max(now, self.free_at) + size / self.conditions.bandwidth
            if size:
                self.free_at = leaves
            now = leaves
        return now + self.delay()

    def dropped(self, now: float) -> None:
        """Some of what was sent will not travel after all: it occupies the way no longer than what is behind it."""
        if self.conditions.bandwidth == math.inf:
            return
        last = max((arrival for flow in self.flows for arrival, _ in flow.packets if arrival < math.inf), default=now)
        self.free_at = min(self.free_at, max(now, last - self.conditions.latency))

    def set_blocked(self, blocked: bool, now: float) -> None:
        if blocked == self.blocked:
            return
        self.blocked = blocked
        self.free_at = now  # what has not arrived will be sent again
        for flow in list(self.flows):
            flow.freeze(now) if blocked else flow.thaw(now)


class _Clock:
    """What happens at which time, on one network. One task sleeps for all: a task of its own for each packet, or a
    deadline, costs several times as much."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._scope: trio.CancelScope | None = None

    def call_at(self, at: float, action: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (at, self._count, action))
        if self._scope is None:
            self._scope = trio.CancelScope(deadline=at)
            trio.lowlevel.spawn_system_task(self._run, name="simulated network")
        elif at < self._scope.deadline:
            self._scope.deadline = at

    async def _run(self) -> None:
        due = self._due
        try:
            while True:
                now = trio.current_time()
                while due and due[0][0] <= now:
                    heapq.heappop(due)[2]()
                with trio.CancelScope(deadline=due[0][0] if due else math.inf) as self._scope:
                    await trio.sleep_forever()
        finally:
            self._scope = None  # the run is over; the next one needs a task of its own


class _Alarm:
    """The sleep of one task until a time, which others may end sooner. It may end too early, never too late."""

    __slots__ = ("_clock", "_set_to", "_task")

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._task: trio.lowlevel.Task | None = None
        self._set_to = math.inf
        """The earliest time at which the clock will ring."""

    async def sleep_until(self, at: float) -> None:
        self._set(at)
        self._task = trio.lowlevel.current_task()
        try:
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._task = None

    def _abort(self, _: object) -> trio.lowlevel.Abort:
        self._task = None  # it will run, and a ring in the same step must not wake it a second time
        return trio.lowlevel.Abort.SUCCEEDED

    def ring(self, at: float = -math.inf) -> None:
        """Wakes the sleeper at this time, if it would sleep longer; by default now."""
        if self._task is not None:
            if at == -math.inf:
                task, self._task = self._task, None
                trio.lowlevel.reschedule(task)
            else:
                self._set(at)

    def _set(self, at: float) -> None:
        if at < self._set_to:
            self._set_to = at
            self._clock.call_at(at, self._rang)

    def _rang(self) -> None:
        self._set_to = math.inf
        self.ring()


class _Flow:
    """One direction of one connection: what has been sent and not been read, and when it arrives."""

    __slots__ = (
        "arrived",
        "ended",
        "last_arrival",
        "packets",
        "receiver",
        "reset_at",
        "reset_from",
        "sender",
        "size",
        "way",
    )

    def __init__(self, way: _Way, sender: SimulatedStream, receiver: SimulatedStream) -> None:
        self.way: Final = way
        self.sender: Final = sender
        self.receiver: Final = receiver
        self.packets: deque[tuple[float, bytes]] = deque()
        """When it arrives, and what; nothing is the end of the stream."""
        self.arrived = bytearray()
        self.ended = False
        """The end of the stream has arrived."""
        self.size = 0
        self.last_arrival = 0.0
        self.reset_from = math.inf
        """When a reset leaves, if one does."""
        self.reset_at = math.inf
        """When it arrives."""
        way.flows[self] = None

    def send(self, data: bytes, now: float) -> None:
        arrival = max(self.last_arrival, self.way.arrival(now, len(data)))
        self.last_arrival = arrival
        self.packets.append((arrival, data))
        self.size += len(data)
        self._announce(now)

    def send_reset(self, now: float) -> None:
        """RST: what has not been read is lost, whatever had arrived."""
        if self.reset_from == math.inf:
            self.reset_from = now
            self.reset_at = self.way.arrival(now, 0)
            self.receiver._receive_alarm.ring(self.reset_at)
            self.receiver._send_alarm.ring(self.reset_at)

    def next_arrival(self) -> float:
        return self.packets[0][0] if self.packets else math.inf

    def absorb(self, now: float) -> None:
        """What has arrived by now is there to be read."""
        packets = self.packets
        while packets and packets[0][0] <= now:
            data = packets.popleft()[1]
            if data:
                self.arrived += data
            else:
                self.ended = True

    def take(self, count: int) -> bytes:
        """The first `count` bytes that have arrived."""
        data = bytes(self.arrived[:count])
        del self.arrived[:count]
        self.size -= count
        self.sender._send_alarm.ring()
        return data

    def forget(self) -> None:
        """Nobody will read it."""
        self.packets.clear()
        self.arrived.clear()
        self.size = 0
        self.way.dropped(trio.current_time())

    def drop_unarrived(self, now: float) -> None:
        """The sender is gone: nothing that is still on its way comes again. What has arrived is there."""
        self.absorb(now)
        self.size -= sum(len(data) for _, data in self.packets)
        self.packets.clear()
        self.reset_from = self.reset_at = math.inf
        self.way.dropped(now)

    def freeze(self, now: float) -> None:
        """Nothing gets through from now on: what has not arrived will have to be sent again."""
        self.absorb(now)
        self.packets = deque((math.inf, data) for _, data in self.packets)
        if self.reset_at > now:
            self.reset_at = math.inf

    def thaw(self, now: float) -> None:
        """It gets through again, and starts at once."""
        self.last_arrival = now
        waiting, self.packets = self.packets, deque()
        for _, data in waiting:
            self.last_arrival = max(self.last_arrival, self.way.arrival(now, len(data)))
            self.packets.append((self.last_arrival, data))
        if self.reset_from < math.inf and self.reset_at == math.inf:
            left, self.reset_from = self.reset_from, math.inf
            self.send_reset(max(now, left))
        self._announce(now)

    def answer_if_closed(self, now: float) -> None:
        """Bytes for a socket that is closed are answered with a reset, and all for one that nobody knows any more."""
        if self.receiver._closed or self.receiver._gone:
            for arrival, data in self.packets:
                if (data or self.receiver._gone) and arrival < math.inf:
                    self.receiver._out.send_reset(max(now, arrival))
                    return

    def _announce(self, now: float) -> None:
        self.receiver._receive_alarm.ring(self.next_arrival())
        self.answer_if_closed(now)


class SimulatedSocket:
    """What `.socket` of a real stream or listener is asked for most: where it is."""

    def __init__(self, local: SocketAddress, remote: SocketAddress | None) -> None:
        self._local: Final = local
        self._remote: Final = remote

    def getsockname(self) -> SocketAddress:
        return self._local

    def getpeername(self) -> SocketAddress:
        """OSError for a listener."""
        if self._remote is None:
            raise _os_error(errno.ENOTCONN)
        return self._remote


class SimulatedStream(trio.abc.HalfCloseableStream):
    """One end of a connection. As trio.SocketStream: closed by us raises ClosedResourceError, broken by anything else
    BrokenResourceError (caused by the OSError that a socket would have raised), two tasks in one method
    BusyResourceError."""

    _out: _Flow
    _in: _Flow

    def __init__(self, network: SimulatedNetwork, local: SocketAddress, remote: SocketAddress) -> None:
        self._network: Final = network
        self.socket: Final = SimulatedSocket(local, remote)
        self._local: Final = local
        self._remote: Final = remote
        self._receive_alarm: Final = _Alarm(network._clock)
        self._send_alarm: Final = _Alarm(network._clock)
        self._sending = False
        self._receiving = False
        self._closed = False
        self._eof_sent = False
        self._gone = False
        """Its host has vanished: what comes for it finds nobody."""
        self._broken: OSError | None = None

    def __repr__(self) -> str:
        return f"<SimulatedStream {self._local[0]}:{self._local[1]} to {self._remote[0]}:{self._remote[1]}>"

    def _check(self, now: float) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._in.reset_at <= now:
            self._break(errno.ECONNRESET)
        if self._broken is not None:
            raise trio.BrokenResourceError(str(self._broken)) from self._broken

    def _break(self, number: int) -> None:
        if self._broken is None:
            self._broken = _os_error(number)
            self._in.forget()
        self._receive_alarm.ring()
        self._send_alarm.ring()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """A checkpoint. Waits while BUFFER_BYTES have not been read. Cancelled: a part may have been sent."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        if self._eof_sent:
            raise trio.ClosedResourceError("can't send data after sending EOF")
        self._sending = True
        try:
            with memoryview(data) as view:
                await trio.lowlevel.checkpoint()
                at = 0
                while at < len(view):
                    now = trio.current_time()
                    self._check(now)
                    room = BUFFER_BYTES - self._out.size
                    if room <= 0:
                        await self._send_alarm.sleep_until(self._in.reset_at)
                        continue
                    most = PACKET_BYTES if self._out.way.conditions.bandwidth < math.inf else BUFFER_BYTES
                    count = min(room, most, len(view) - at)
                    self._send(bytes(view[at : at + count]), now)
                    at += count
                if self._closed:
                    raise trio.ClosedResourceError("this stream was closed")
        finally:
            self._sending = False

    def _send(self, data: bytes, now: float) -> None:
        self._network._record(Transmission(now, self._local, self._remote, data))
        self._out.send(data, now)

    async def wait_send_all_might_not_block(self) -> None:
        """A checkpoint."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            while self._out.size >= BUFFER_BYTES and self._broken is None and self._in.reset_at > trio.current_time():
                await self._send_alarm.sleep_until(self._in.reset_at)
                if self._closed:
                    raise trio.ClosedResourceError("this stream was closed")
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """FIN. A checkpoint."""
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        if self._closed:
            raise trio.ClosedResourceError("this stream was closed")
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            if not self._eof_sent:
                self._check(now)
                self._eof_sent = True
                self._send(b"", now)
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As many bytes as the seed wants of those that have arrived, 1 to `max_bytes`; none at the end of the stream.

        A checkpoint. Cancelled: nothing is lost.
        """
        if max_bytes is None:
            max_bytes = DEFAULT_READ
        if not isinstance(max_bytes, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("max_bytes must be an integer")
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        self._receiving = True
        try:
            slept = False
            while True:
                now = trio.current_time()
                self._check(now)
                flow = self._in
                flow.absorb(now)
                if flow.arrived or flow.ended:
                    if not slept:
                        slept = True
                        await trio.lowlevel.checkpoint()
                        continue
                    if not flow.arrived:
                        return b""
                    return flow.take(self._network._cut(min(len(flow.arrived), max_bytes)))
                slept = True
                await self._receive_alarm.sleep_until(min(flow.next_arrival(), self._in.reset_at))
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """FIN, or RST if there is anything that nobody has read. What went before FIN still arrives. A checkpoint."""
        self._close()
        await trio.lowlevel.checkpoint()

    def _close(self) -> None:
        if self._closed:
            return
        self._closed = True
        now = trio.current_time()
        if self._in.reset_at > now and self._broken is None:
            self._in.absorb(now)
            if self._in.arrived:
                self._out.drop_unarrived(now)
                self._out.send_reset(now)
            else:
                if not self._eof_sent:
                    self._eof_sent = True
                    self._send(b"", now)
                self._in.answer_if_closed(now)
        self._receive_alarm.ring()
        self._send_alarm.ring()
        self._end_connection()

    def _abort(self) -> None:
        """Closes with a reset."""
        if not self._closed:
            self._closed = True
            self._out.drop_unarrived(trio.current_time())
            self._out.send_reset(trio.current_time())
            self._end_connection()

    def _end_connection(self) -> None:
        if self._out.receiver._closed:
            for flow in (self._in, self._out):
                flow.forget()
                flow.way.flows.pop(flow, None)

    def _vanish(self, now: float) -> None:
        self._gone = True
        self._out.drop_unarrived(now)
        self._in.absorb(now)
        self._in.arrived.clear()
        if self._broken is None:
            self._broken = _os_error(errno.ENETDOWN)
        self._receive_alarm.ring()
        self._send_alarm.ring()


class SimulatedListener(trio.abc.Listener[SimulatedStream]):
    """Accepts what is dialled to one port of one host."""

    def __init__(self, host: SimulatedHost, port: int) -> None:
        self._host: Final = host
        self._port: Final = port
        self.socket: Final = SimulatedSocket((host.address, port), None)
        self._waiting_in, self._waiting = trio.open_memory_channel[SimulatedStream](BACKLOG)

    def __repr__(self) -> str:
        return f"<SimulatedListener {self._host.address}:{self._port}>"

    async def accept(self) -> SimulatedStream:
        """The next connection. A checkpoint. ClosedResourceError once it is closed."""
        return await self._waiting.receive()

    async def aclose(self) -> None:
        """Nobody is accepted any more; whoever waits to be is reset. A checkpoint."""
        if self._host._listeners.get(self._port) is self:
            del self._host._listeners[self._port]
            while True:
                try:
                    self._waiting.receive_nowait()._abort()
                except trio.WouldBlock:
                    break
            self._waiting.close()
        await trio.lowlevel.checkpoint()


class SimulatedHost:
    """A machine with one address. Made by `SimulatedNetwork.host`."""

    def __init__(self, network: SimulatedNetwork, address: str) -> None:
        self._network: Final = network
        self.address: Final = address
        self._listeners: dict[int, SimulatedListener] = {}
        self._last_port = FIRST_EPHEMERAL_PORT - 1
        self._down = False

    def __repr__(self) -> str:
        return f"<SimulatedHost {self.address}>"

    def _free_port(self) -> int:
        self._last_port += 1
        if self._last_port > 65535:
            self._last_port = FIRST_EPHEMERAL_PORT
        return self._last_port

    async def listen(self, port: int = 9735) -> SimulatedListener:
        """A listener on this port, 0 for any: give it to `PeerNursery.listen_on`. A checkpoint. OSError: taken."""
        await trio.lowlevel.checkpoint()
        port = port or self._free_port()
        if port in self._listeners:
            raise _os_error(errno.EADDRINUSE)
        listener = self._listeners[port] = SimulatedListener(self, port)
        return listener

    async def dial(self, address: str, port: int) -> SimulatedStream:
        """Connects to a host of this network: give it to `open_peer_nursery` as its `dial`.

        Takes a round trip. Raises OSError as a socket would: refused where nobody listens, timed out after
        CONNECT_SECONDS where nobody answers, socket.gaierror for a host that the network does not know. Cancelled: the
        other side sees a reset, if it has seen anything.
        """
        return await self._network._dial(self, address, port)


class SimulatedNetwork:
    """A network in memory. One seed, one course of events, as long as tasks run in the same order: `run_seeded`.

    Hosts are given as SimulatedHost or by address. What changes a link acts at once, also on connections that are
    there. While nothing gets through, TCP keeps what it has sent: it arrives when the way is free again. (What is not
    modelled: that TCP gives up after a quarter of an hour, and that it slows down.)
    """

    def __init__(
        self,
        seed: int,
        conditions: Conditions = Conditions(),
        *,
        cut: bool = True,
        on_sent: Callable[[Transmission], None] | None = None,
    ) -> None:
        """`conditions` are those of every link that `link` does not set. `cut`: reads end at random places, so that
        every boundary of bytes gets its turn; False: a read gives all there is. `on_sent` hears of all that is sent."""
        self.seed: Final = seed
        self._rng: Final = random.Random(seed)
        self._conditions: Final = conditions
        self._cutting: Final = cut
        self._on_sent: Final = on_sent
        self._hosts: dict[str, SimulatedHost] = {}
        self._ways: dict[tuple[str, str], _Way] = {}
        self._stalled: dict[tuple[str, str], None] = {}
        self._partitions: list[frozenset[str]] = []
        self._changed = trio.Event()
        self._digest = hashlib.sha256()
        self._clock: Final = _Clock()

    def __repr__(self) -> str:
        return f"<SimulatedNetwork, seed {self.seed}, {len(self._hosts)} hosts>"

    # -- hosts ---------------------------------------------------------------------------------------------------------

    def host(self, address: str | None = None) -> SimulatedHost:
        """The host with this address (an IP address or a name), made if need be. None: a new one in 10.0.0.0/8."""
        if address is None:
            number = len(self._hosts) + 1
            address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        host = self._hosts.get(address)
        if host is None:
            host = self._hosts[address] = SimulatedHost(self, address)
        return host

    def _known(self, host: SimulatedHost | str) -> SimulatedHost:
        address = host if isinstance(host, str) else host.address
        if address not in self._hosts:
            raise ValueError(f"no host has the address {address}")
        return self._hosts[address]

    # -- links ---------------------------------------------------------------------------------------------------------

    def link(
        self, one: SimulatedHost | str, other: SimulatedHost | str, conditions: Conditions, *, back: bool = True
    ) -> None:
        """Sets the conditions from `one` to `other`, and back if `back`. Bytes on their way keep theirs."""
        one, other = self._known(one).address, self._known(other).address
        self._way(one, other).conditions = conditions
        if back:
            self._way(other, one).conditions = conditions

    def stall(self, source: SimulatedHost | str, destination: SimulatedHost | str) -> None:
        """Nothing gets from `source` to `destination` any more; the other direction is untouched."""
        self._stalled[self._known(source).address, self._known(destination).address] = None
        self._update()

    def resume(self, source: SimulatedHost | str, destination: SimulatedHost | str) -> None:
        """Ends a stall."""
        self._stalled.pop((self._known(source).address, self._known(destination).address), None)
        self._update()

    def partition(self, hosts: Iterable[SimulatedHost | str]) -> None:
        """Cuts these hosts off from all others, in both directions. Several partitions may hold at a time."""
        self._partitions.append(frozenset(self._known(host).address for host in hosts))
        self._update()

    def heal(self) -> None:
        """Ends all partitions."""
        self._partitions.clear()
        self._update()

    def reset(self, one: SimulatedHost | str, other: SimulatedHost | str) -> None:
        """Breaks every connection between two hosts: both ends see a reset, at once."""
        one, other = self._known(one).address, self._known(other).address
        for flow in list(self._way(one, other).flows):
            for stream in (flow.sender, flow.receiver):
                stream._break(errno.ECONNRESET)

    def vanish(self, host: SimulatedHost | str) -> None:
        """The host is off the network without a word, no FIN, no RST. Its own streams break; the others' never hear.

        Its listeners stay, for when it is restored.
        """
        host = self._known(host)
        host._down = True
        for (source, _), way in list(self._ways.items()):
            if source == host.address:
                for flow in list(way.flows):
                    flow.sender._vanish(trio.current_time())
        self._update()

    def restore(self, host: SimulatedHost | str) -> None:
        """A host that has vanished is back, and knows nothing of its connections: their bytes are answered by RST."""
        self._known(host)._down = False
        self._update()

    def _blocked(self, source: str, destination: str) -> bool:
        return (
            self._hosts[source]._down
            or self._hosts[destination]._down
            or (source, destination) in self._stalled
            or any((source in part) != (destination in part) for part in self._partitions)
        )

    def _update(self) -> None:
        now = trio.current_time()
        for (source, destination), way in self._ways.items():
            way.set_blocked(self._blocked(source, destination), now)
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    def _way(self, source: str, destination: str) -> _Way:
        way = self._ways.get((source, destination))
        if way is None:
            conditions = Conditions(latency=0) if source == destination else self._conditions
            way = self._ways[source, destination] = _Way(conditions, self._rng)
            way.blocked = self._blocked(source, destination)
        return way

    # -- connections ---------------------------------------------------------------------------------------------------

    async def _dial(self, host: SimulatedHost, address: str, port: int) -> SimulatedStream:
        await trio.lowlevel.checkpoint()
        target = self._hosts.get(address)
        if target is None:
            raise socket.gaierror(socket.EAI_NONAME, f"no host {address} on the simulated network")
        there, back = self._way(host.address, address), self._way(address, host.address)
        with trio.move_on_after(CONNECT_SECONDS):
            while True:
                while there.blocked or back.blocked:
                    await self._changed.wait()
                await trio.sleep(there.delay())
                if there.blocked or back.blocked:
                    continue
                listener = target._listeners.get(port)
                if listener is None:
                    await trio.sleep(back.delay())
                    raise _os_error(errno.ECONNREFUSED)
                ours, theirs = self._connect(there, back, (host.address, host._free_port()), (address, port))
                try:
                    await listener._waiting_in.send(theirs)
                except BaseException:
                    ours._abort()
                    theirs._abort()
                    raise
                try:
                    on_its_way = True
                    while on_its_way:
                        while there.blocked or back.blocked:
                            await self._changed.wait()
                        await trio.sleep(back.delay())
                        on_its_way = there.blocked or back.blocked
                except BaseException:
                    ours._abort()
                    raise
                if ours._broken is not None:
                    raise ours._broken
                return ours
        raise _os_error(errno.ETIMEDOUT)

    def _connect(
        self, there: _Way, back: _Way, local: SocketAddress, remote: SocketAddress
    ) -> tuple[SimulatedStream, SimulatedStream]:
        ours, theirs = SimulatedStream(self, local, remote), SimulatedStream(self, remote, local)
        ours._out = theirs._in = _Flow(there, ours, theirs)
        ours._in = theirs._out = _Flow(back, theirs, ours)
        lifetime = min(there.conditions.mean_lifetime, back.conditions.mean_lifetime)
        if lifetime < math.inf:
            lost_at = trio.current_time() + self._rng.expovariate(1 / lifetime)
            for stream in (ours, theirs):
                self._clock.call_at(lost_at, partial(stream._break, errno.ECONNRESET))
        return ours, theirs

    def stream_pair(
        self, one: SimulatedHost | str, other: SimulatedHost | str
    ) -> tuple[SimulatedStream, SimulatedStream]:
        """A connection that is there at once, for `PeerNursery.attach` and for tests."""
        here, far = self._known(one), self._known(other)
        there, back = self._way(here.address, far.address), self._way(far.address, here.address)
        return self._connect(there, back, (here.address, here._free_port()), (far.address, far._free_port()))

    def _cut(self, count: int) -> int:
        """How many of `count` bytes a read gives."""
        if not self._cutting or count == 1 or self._rng.random() < 0.5:
            return count
        return self._rng.randint(1, count - 1)

    # -- the transcript ------------------------------------------------------------------------------------------------

    def _record(self, sent: Transmission) -> None:
        self._digest.update(
            f"{sent.at!r} {sent.source[0]}:{sent.source[1]} {sent.destination[0]}:{sent.destination[1]} "
            f"{len(sent.data)} ".encode()
        )
        self._digest.update(sent.data)
        if self._on_sent is not None:
            self._on_sent(sent)

    def transcript(self) -> str:
        """A hash (SHA256, in hex) of all that was sent so far: who, to whom, what, and when."""
        return self._digest.hexdigest()


def _os_error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
