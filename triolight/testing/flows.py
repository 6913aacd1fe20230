"""What TCP keeps between two hosts of a simulated network: ways, flows of bytes on them, and the ends of connections.

State and its rules, without waiting: what arrives when, what a reset loses, what stays when nothing gets through. Who
reads and writes, and waits, is in streams.py.
"""

from __future__ import annotations

import errno
import math
import os
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

import trio

from triolight.testing.alarms import Alarm, Clock, Scheduled

BUFFER_BYTES: Final = 128 * 1024
"""Sent and not yet read, in one direction of one connection: the send and receive buffers of TCP together."""
PACKET_BYTES: Final = 16 * 1024
"""What travels at once where bandwidth is limited, so that a long write arrives bit by bit."""

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


class Direction:
    """One way between two hosts, which all their connections share."""

    def __init__(self, conditions: Conditions, rng: random.Random) -> None:
        self.conditions = conditions
        self.blocked = False
        self.free_at = 0.0
        """When the last byte that was sent has left, where bandwidth is limited."""
        self.flows: Final[dict[Flow, None]] = {}
        self._rng: Final = rng

    def delay(self) -> float:
        """Seconds that what leaves now is on its way. Draws from the seed if there is jitter."""
        jitter = self.conditions.jitter
        return self.conditions.latency + (self._rng.uniform(0, jitter) if jitter else 0.0)

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


class Flow:
    """One direction of one connection: what has been sent and not been read, and when it arrives."""

    __slots__ = (
        "arrived",
        "direction",
        "ended",
        "last_arrival",
        "packets",
        "receiver",
        "reset_at",
        "reset_from",
        "sender",
        "size",
    )

    def __init__(self, direction: Direction, sender: End, receiver: End) -> None:
        self.direction: Final = direction
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
        direction.flows[self] = None

    def send(self, data: bytes, now: float) -> None:
        arrival = max(self.last_arrival, self.direction.arrival(now, len(data)))
        self.last_arrival = arrival
        self.packets.append((arrival, data))
        self.size += len(data)
        self._announce(now)

    def send_reset(self, now: float) -> None:
        """RST: what has not been read is lost, whatever had arrived."""
        if self.reset_from == math.inf:
            self.reset_from = now
            self.reset_at = self.direction.arrival(now, 0)
            self.receiver.readable.ring(self.reset_at)
            self.receiver.writable.ring(self.reset_at)

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
        self.sender.writable.ring()
        return data

    def forget(self) -> None:
        """Nobody will read it."""
        self.packets.clear()
        self.arrived.clear()
        self.size = 0
        self.direction.dropped(trio.current_time())

    def drop_unarrived(self, now: float) -> None:
        """The sender is gone: nothing that is still on its way comes again. What has arrived is there."""
        self.absorb(now)
        self.size -= sum(len(data) for _, data in self.packets)
        self.packets.clear()
        self.reset_from = self.reset_at = math.inf
        self.direction.dropped(now)

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
            self.last_arrival = max(self.last_arrival, self.direction.arrival(now, len(data)))
            self.packets.append((self.last_arrival, data))
        if self.reset_from < math.inf and self.reset_at == math.inf:
            left, self.reset_from = self.reset_from, math.inf
            self.send_reset(max(now, left))
        self._announce(now)

    def answer_if_closed(self, now: float) -> None:
        """Bytes for a socket that is closed are answered with a reset, and all for one that nobody knows any more."""
        receiver = self.receiver
        if receiver.closed or receiver.gone:
            for arrival, data in self.packets:
                if (data or receiver.gone) and arrival < math.inf:
                    receiver.outgoing.send_reset(max(now, arrival))
                    return

    def _announce(self, now: float) -> None:
        self.receiver.readable.ring(self.next_arrival())
        self.answer_if_closed(now)


class End:
    """One end of a connection: what a socket remembers. `join` gives it its two flows."""

    __slots__ = (
        "_clock",
        "_cut",
        "_loss",
        "_record",
        "broken",
        "closed",
        "eof_sent",
        "gone",
        "incoming",
        "local",
        "outgoing",
        "readable",
        "remote",
        "writable",
    )

    outgoing: Flow
    incoming: Flow

    def __init__(
        self,
        clock: Clock,
        record: Callable[[Transmission], None],
        cut: Callable[[int], int],
        local: SocketAddress,
        remote: SocketAddress,
    ) -> None:
        """`record` hears of what is sent; `cut` says how many of so many bytes a read gives."""
        self._clock: Final = clock
        self._record: Final = record
        self._cut: Final = cut
        self._loss: Scheduled | None = None
        self.local: Final = local
        self.remote: Final = remote
        self.readable: Final = Alarm(clock)
        """Of whoever waits for bytes."""
        self.writable: Final = Alarm(clock)
        """Of whoever waits for room."""
        self.closed = False
        """By its own side."""
        self.eof_sent = False
        self.gone = False
        """Its host has vanished: what comes for it finds nobody."""
        self.broken: OSError | None = None

    def check(self, now: float) -> None:
        """Raises what a stream raises that was closed, or has broken by now."""
        self.check_open()
        if self.incoming.reset_at <= now:
            self.break_by(errno.ECONNRESET)
        if self.broken is not None:
            raise trio.BrokenResourceError(str(self.broken)) from self.broken

    def check_open(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("this stream was closed")

    def lose_at(self, at: float) -> None:
        """Then it is broken by a reset, if the connection has not ended before."""
        self._loss = self._clock.call_at(at, partial(self.break_by, errno.ECONNRESET))

    def break_by(self, number: int) -> None:
        """It is broken from now on, by the error of this number; by an earlier one if there was any."""
        if self.broken is None:
            self.broken = os_error(number)
            self.incoming.forget()
        self._wake()
        self._forget_if_over()

    def room(self) -> int:
        """Bytes that may be sent at once. 0 or less while BUFFER_BYTES have not been read."""
        room = BUFFER_BYTES - self.outgoing.size
        return min(room, PACKET_BYTES) if self.outgoing.direction.conditions.bandwidth < math.inf else room

    def waits_for_room(self, now: float) -> bool:
        """Whether there is no room, and nothing wrong that a write would find out."""
        return self.outgoing.size >= BUFFER_BYTES and self.broken is None and self.incoming.reset_at > now

    def send(self, data: bytes, now: float) -> None:
        self._record(Transmission(now, self.local, self.remote, data))
        self.outgoing.send(data, now)

    def send_eof(self, now: float) -> None:
        self.eof_sent = True
        self.send(b"", now)

    def take(self, most: int) -> bytes:
        """Some of what has arrived, which must not be nothing."""
        flow = self.incoming
        return flow.take(self._cut(min(len(flow.arrived), most)))

    def close(self) -> None:
        """FIN, or RST if there is anything that nobody has read. What went before FIN still arrives."""
        if self.closed:
            return
        self.closed = True
        now = trio.current_time()
        if self.incoming.reset_at > now and self.broken is None:
            self.incoming.absorb(now)
            if self.incoming.arrived:
                self.outgoing.drop_unarrived(now)
                self.outgoing.send_reset(now)
            else:
                if not self.eof_sent:
                    self.send_eof(now)
                self.incoming.answer_if_closed(now)
        self._wake()
        self._forget_if_over()

    def abort(self) -> None:
        """Closes with a reset."""
        if not self.closed:
            self.closed = True
            now = trio.current_time()
            self.outgoing.drop_unarrived(now)
            self.outgoing.send_reset(now)
            self._forget_if_over()

    def vanish(self, now: float) -> None:
        """Its host is off the network: broken for its own side, and nothing for the other."""
        self.gone = True
        self.outgoing.drop_unarrived(now)
        self.incoming.absorb(now)
        self.incoming.arrived.clear()
        if self.broken is None:
            self.broken = os_error(errno.ENETDOWN)
        self._wake()
        self._forget_if_over()

    def _wake(self) -> None:
        self.readable.ring()
        self.writable.ring()

    @property
    def _is_over(self) -> bool:
        return self.closed or self.broken is not None

    def _forget_if_over(self) -> None:
        """Over on both sides, it waits for nothing more; closed on both sides, it occupies no way either."""
        other = self.outgoing.receiver
        if self._is_over and other._is_over:
            for end in (self, other):
                end._forget_timers()
        if self.closed and other.closed:
            for flow in (self.incoming, self.outgoing):
                flow.forget()
                flow.direction.flows.pop(flow, None)

    def _forget_timers(self) -> None:
        self.readable.silence()
        self.writable.silence()
        if self._loss is not None:
            self._clock.take_back(self._loss)
            self._loss = None


def join(ours: End, theirs: End, there: Direction, back: Direction) -> None:
    """Two ends are one connection from now on."""
    ours.outgoing = theirs.incoming = Flow(there, ours, theirs)
    ours.incoming = theirs.outgoing = Flow(back, theirs, ours)


def os_error(number: int) -> OSError:
    """What a socket raises for this number: ConnectionResetError for ECONNRESET, as the operating system words it."""
    return OSError(number, os.strerror(number))
