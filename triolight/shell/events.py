"""Everything that reaches the pump: one frozen event for each thing that happens, applied in the order of its channel.

What is about a peer carries its session, what is about a stream its link.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import trio

from triolight.errors import DisconnectReason
from triolight.shell.link import Link, Session
from triolight.shell.pings import PingAnswer

EVENTS_CAPACITY: Final = 1024
"""Events on their way to the pump. Whoever finds it full waits; none of them holds more than one chunk."""


@dataclass(frozen=True, slots=True)
class Attached:
    """A stream is there, and its task runs."""

    link: Link


@dataclass(frozen=True, slots=True)
class Received:
    link: Link
    data: bytes
    at: float
    """When it was read."""


@dataclass(frozen=True, slots=True)
class SpaceToWrite:
    """So many bytes have left the outbox."""

    link: Link
    count: int


@dataclass(frozen=True, slots=True)
class Closed:
    """The stream has ended by itself, or all its tasks are done."""

    link: Link
    reason: DisconnectReason
    last: bool
    """Whether nothing more comes of it."""


@dataclass(frozen=True, slots=True)
class Send:
    session: Session
    encoded: tuple[bytes, ...]
    size: int


@dataclass(frozen=True, slots=True)
class SendPing:
    session: Session
    num_pong_bytes: int
    ignored: bytes
    answer: PingAnswer


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The application wants an end: of a peer, or of a dial that has not become one."""

    of: Link | Session
    reason: DisconnectReason


@dataclass(frozen=True, slots=True)
class InboxDrained:
    """What subscribers had no room for is delivered."""

    session: Session


@dataclass(frozen=True, slots=True)
class TimerDue:
    of: Link | Session


@dataclass(frozen=True, slots=True)
class Work:
    """The manager has something to do: its application queued it from outside."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A policy, a listener or a dial of the application's has raised in a task of ours."""

    error: BaseException


@dataclass(frozen=True, slots=True)
class Leave:
    """The block is being left: everybody hears goodbye."""

    reason: DisconnectReason


PumpEvent: TypeAlias = (
    Attached
    | Received
    | SpaceToWrite
    | Closed
    | Send
    | SendPing
    | Disconnect
    | InboxDrained
    | TimerDue
    | Work
    | Crashed
    | Leave
)
EventsIn: TypeAlias = trio.MemorySendChannel[PumpEvent]
"""The way to the pump."""
