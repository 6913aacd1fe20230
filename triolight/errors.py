"""Every error. Knows no protocol; what a reason for an end is, stands in reasons.py.

The tree::

    TriolightError
    ├── DecodeError        bytes that are not the message they claim to be (a peer's fault)
    ├── PeerHandleError    a connection the PeerManager has given up, or a descriptor it does not know
    ├── ConnectError       a dial that did not end with both Inits; .reason tells the phase, .init what the peer said.
    │                      It knows a message, and stands where dials come to something, in shell/peer.py
    ├── PeerClosed         a call on a peer whose connection has ended; .reason tells why
    ├── QueueFull          PeerManager.send_message: so much waits for this peer that no more is taken
    └── EventsLost         a reader of peer events fell behind; start again from a snapshot

A value of ours that cannot be put on the wire is a `ValueError`, as anywhere in Python: it is the caller's bug,
not the network's.
"""

from __future__ import annotations

from typing import Any, Final, cast

from triolight.reasons import DisconnectCode as DisconnectCode
from triolight.reasons import DisconnectReason as DisconnectReason
from triolight.reasons import Side as Side

__all__ = [
    "DecodeError",
    "EventsLost",
    "PeerClosed",
    "PeerHandleError",
    "QueueFull",
    "TriolightError",
]


class TriolightError(Exception):
    """The root of every error this library raises on purpose."""


class DecodeError(TriolightError):
    """Bytes that are not what they claim to be. Says which message, which field and at which byte.

    `offset` counts from the start of the bytes that were decoded, the two bytes of the message type included.
    """

    def __init__(self, why: str, *, message: str = "", field: str = "", offset: int | None = None) -> None:
        where = ".".join(part for part in (message, field) if part)
        at = f"at byte {offset}" if offset is not None else ""
        place = " ".join(part for part in (where, at) if part)
        super().__init__(f"{place}: {why}" if place else why)
        self.why: Final = why
        self.message: Final = message
        self.field: Final = field
        self.offset: Final = offset

    def within(self, *, message: str = "", field: str = "", base: int = 0) -> DecodeError:
        """The same fault seen from the structure around it: `base` is where the inner bytes began."""
        inner = ".".join(part for part in (field, self.message, self.field) if part)
        offset = None if self.offset is None else self.offset + base
        return type(self)(self.why, message=message, field=inner, offset=offset)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore_decode_error, (type(self), self.why, self.message, self.field, self.offset)


def _restore_decode_error(
    cls: type[DecodeError], why: str, message: str, field: str, offset: int | None
) -> DecodeError:
    return cls(why, message=message, field=field, offset=offset)


class PeerHandleError(TriolightError):
    """The PeerManager has given up this connection, or never knew it. `reason` tells; the driver closes the socket."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason)
        self.reason: Final = reason

    def __str__(self) -> str:
        return str(self.reason)


class PeerClosed(TriolightError):
    """The peer's connection has ended, so this call cannot be answered. `reason` tells why it ended."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason)
        self.reason: Final = reason

    def __str__(self) -> str:
        return str(self.reason)


class EventsLost(TriolightError):
    """More events came than the reader's buffer holds. Start again from the snapshot `PeerNursery.peers`."""


class QueueFull(TriolightError):
    """So much waits to be written to this peer that no more is queued. Try again when it has read."""


def forget_frames(error: BaseException) -> None:
    """For an error that has become words: what it was raised through is not kept. Trio's dials put their errors where
    the tracebacks of these lead to: a circle, which only the garbage collector would undo."""
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None:
            continue
        one.__traceback__ = None
        if isinstance(one, BaseExceptionGroup):
            waiting += cast("BaseExceptionGroup[BaseException]", one).exceptions
        waiting += one.__cause__, one.__context__
        one.__cause__ = one.__context__ = None
