"""Everything that reaches the pump: one frozen event for each thing that happens, applied in the order of its channel.

What is about a peer carries its session, what is about a stream its link.
"""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import trio

from triolight.errors import DisconnectReason
from triolight.shell.link import Link, Session
from triolight.shell.pings import PingAnswer
from triolight.shell.watch import Arrival

EVENTS_CAPACITY: Final = 1024
"""Events on their way to the pump. Whoever finds it full waits; none of them holds more than one chunk."""


class Attached(NamedTuple):
    """A stream is there, and its task runs."""

    link: Link


class Received(NamedTuple):
    link: Link
    data: bytes
    at: Arrival
    """When it was read."""


class SpaceToWrite(NamedTuple):
    """So many bytes have left the outbox."""

    link: Link
    written: int


class Closed(NamedTuple):
    """The stream has ended by itself, or all its tasks are done."""

    link: Link
    reason: DisconnectReason
    last: bool
    """Whether nothing more comes of it."""


class Send(NamedTuple):
    session: Session
    encoded: tuple[bytes, ...]
    size: int


class SendPing(NamedTuple):
    session: Session
    num_pong_bytes: int
    ignored: bytes
    answer: PingAnswer


class Disconnect(NamedTuple):
    """The application wants an end: of a peer, or of a dial that has not become one."""

    of: Link | Session
    reason: DisconnectReason


class Decided(NamedTuple):
    """Somebody has decided about a newcomer."""

    link: Link
    node_id: bytes
    refusal: DisconnectReason | None


class Held(NamedTuple):
    """The application has no room for what a peer says, or has it again."""

    session: Session
    held: bool


class InboxDrained(NamedTuple):
    """What subscribers had no room for is delivered."""

    session: Session


class TimerDue(NamedTuple):
    of: Link | Session


class Work(NamedTuple):
    """The manager has something to do: its application queued it from outside."""


class Crashed(NamedTuple):
    """A policy, a listener or a dial of the application's has raised in a task of ours."""

    error: BaseException


class Leave(NamedTuple):
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
    | Decided
    | Held
    | InboxDrained
    | TimerDue
    | Work
    | Crashed
    | Leave
)
EventsIn: TypeAlias = trio.MemorySendChannel[PumpEvent]
"""The way to the pump."""
