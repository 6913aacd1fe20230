"""Every error and every reason for an end. This file imports nothing of ours and knows no protocol.

The tree::

    TriolightError
    ├── DecodeError        bytes that are not the message they claim to be (a peer's fault)
    ├── PeerHandleError    a connection the PeerManager has given up, or a descriptor it does not know
    ├── ConnectError       a dial that did not end with both Inits; .reason tells the phase, .init what the peer said.
    │                      It knows a message, and so stands in reasons.py
    ├── PeerClosed         a call on a peer whose connection has ended; .reason tells why
    ├── QueueFull          PeerManager.send_message: so much waits for this peer that no more is taken
    └── EventsLost         a reader of peer events fell behind; start again from a snapshot

A value of ours that cannot be put on the wire is a `ValueError`, as anywhere in Python: it is the caller's bug,
not the network's.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Side(StrEnum):
    """Who ended a connection."""

    US = "us"
    PEER = "peer"
    NETWORK = "network"


class DisconnectCode(StrEnum):
    """Why a connection ended, or never began. One code for each cause; the value is the name."""

    # Before the handshake: in ConnectError, or a stranger that is let go unheard.
    RESOLVE_FAILED = "RESOLVE_FAILED"
    """The host name has no address."""
    PROXY_FAILED = "PROXY_FAILED"
    """The proxy refused or could not be reached."""
    TCP_FAILED = "TCP_FAILED"
    """No TCP connection: refused, unreachable, reset, or no answer in time."""

    BANNED = "BANNED"
    """The policy bans the node or the address."""
    ADDRESS_REFUSED = "ADDRESS_REFUSED"
    """This address is not dialled: a private one that somebody announced, an onion without a proxy, or our own node."""
    TOO_MANY_STRANGERS = "TOO_MANY_STRANGERS"
    """So many inbound connections are being made, altogether or from one source, that the policy takes no more."""

    # The handshake (BOLT 8). Nothing is said to the peer.
    ACT_ONE_FAILED = "ACT_ONE_FAILED"
    ACT_TWO_FAILED = "ACT_TWO_FAILED"
    ACT_THREE_FAILED = "ACT_THREE_FAILED"
    HANDSHAKE_TIMEOUT = "HANDSHAKE_TIMEOUT"
    """The three acts were not done within `handshake_deadline`."""
    CLOSED_IN_HANDSHAKE = "CLOSED_IN_HANDSHAKE"
    """The peer hung up before the acts were done: it may not be the node id that was dialled."""

    # Between the handshake and both Inits.
    CLOSED_BEFORE_INIT = "CLOSED_BEFORE_INIT"
    """The peer hung up after the acts, before its Init: it is full, or has another connection with us."""
    INIT_TIMEOUT = "INIT_TIMEOUT"
    NOT_INIT_FIRST = "NOT_INIT_FIRST"
    """The peer's first message was not Init (BOLT 1)."""
    INIT_MALFORMED = "INIT_MALFORMED"
    INIT_REFUSED = "INIT_REFUSED"
    """Features or networks of the peer's Init do not fit ours."""
    HANDLER_REFUSED = "HANDLER_REFUSED"
    """One of our handlers refused the peer in `peer_connected`."""
    TOO_MANY_PEERS = "TOO_MANY_PEERS"
    """The policy takes no more peers, or no more inbound ones."""
    DUPLICATE = "DUPLICATE"
    """Another connection with the same node was kept instead of this one."""

    # The peer broke the protocol after Init. It hears a warning first.
    SECOND_INIT = "SECOND_INIT"
    BAD_PACKET = "BAD_PACKET"
    """An encrypted packet failed its authentication, or is too short to hold a message type."""
    MALFORMED_MESSAGE = "MALFORMED_MESSAGE"
    UNKNOWN_EVEN_MESSAGE = "UNKNOWN_EVEN_MESSAGE"
    BATCH_BROKEN = "BATCH_BROKEN"
    """start_batch was not followed by what it announced (BOLT 2)."""

    # The peer said so, or vanished.
    PEER_ERROR = "PEER_ERROR"
    """The peer sent an error for all channels."""
    PEER_CLOSED = "PEER_CLOSED"
    """The peer closed the connection."""
    CONNECTION_LOST = "CONNECTION_LOST"
    """The connection broke: reset, unreachable, or a stream that failed."""

    # We judged it.
    PING_TIMEOUT = "PING_TIMEOUT"
    """No pong, or no sign of life, within the deadlines."""
    WRITE_STALLED = "WRITE_STALLED"
    """The peer took no byte for `pong_deadline` while we had bytes for it."""
    SUBSCRIBER_STALLED = "SUBSCRIBER_STALLED"
    """Our own subscriber read nothing for `stall_deadline` while its buffer was full."""
    QUEUE_FULL = "QUEUE_FULL"
    """A handler's messages for this peer outgrew the limit of its queue."""
    MESSAGE_TOO_LONG = "MESSAGE_TOO_LONG"
    """A handler of ours made a message above 65535 bytes; dropping it alone would leave the channel out of step."""
    HANDLER_DISCONNECT = "HANDLER_DISCONNECT"
    """A handler asked for the end, with its own words."""
    REQUESTED = "REQUESTED"
    """The application asked for the end."""
    SHUTDOWN = "SHUTDOWN"
    """We are leaving: `open_peer_nursery` ends."""
    HANDLER_CRASHED = "HANDLER_CRASHED"
    """A handler of ours raised an exception; every connection ends."""

    NOT_CONNECTED = "NOT_CONNECTED"
    """Not a connection's end: no connection with that node."""
    UNKNOWN_DESCRIPTOR = "UNKNOWN_DESCRIPTOR"
    """Not a connection's end: the PeerManager does not know the descriptor (any more)."""


@dataclass(frozen=True, slots=True)
class DisconnectReason:
    """Who ended a connection and why: `code` for programs, `message` for people.

    `message` is printable ASCII; whatever a peer contributed to it went through `printable`.
    """

    code: DisconnectCode
    by: Side
    message: str

    def __str__(self) -> str:
        return f"{self.code} (by {self.by}): {self.message}"


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
    """More events came than the reader's buffer holds. Start again from the snapshot `peers.peers`."""


class QueueFull(TriolightError):
    """So much waits to be written to this peer that no more is queued. Try again when it has read."""
