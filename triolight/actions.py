"""What a handler answers and pushes: actions, which follow from a message, and events, which go out by themselves.

Values, checked as they are made; what is done with them is the manager's. An action is what a method returns, an event
what is given to `push`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, TypeAlias, get_args

from triolight.batch import MAX_BATCH
from triolight.logger import Level
from triolight.messages import (
    CommitmentSigned,
    Error,
    Message,
    StartBatch,
    StartBatchTlvs,
    UnknownMessage,
    UpdateAddHtlc,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
    Warning,
)

__all__ = [
    "DisconnectPeer",
    "DisconnectPeerWithWarning",
    "HandleError",
    "HandlerResult",
    "IgnoreAndLog",
    "IgnoreDuplicateGossip",
    "IgnoreError",
    "MessageSendEvent",
    "SendErrorMessage",
    "SendMessages",
    "SendWarningMessage",
    "UpdateHtlcs",
]

# Actions: what a handler returns.


@dataclass(frozen=True, slots=True)
class DisconnectPeer:
    """End the connection. `message` is the last word; without one the peer hears a warning with `reason`."""

    message: Error | None = None
    reason: str = "disconnected by a handler"


@dataclass(frozen=True, slots=True)
class DisconnectPeerWithWarning:
    """End the connection; `message` is the last word."""

    message: Warning
    reason: str = "disconnected by a handler"


@dataclass(frozen=True, slots=True)
class IgnoreError:
    """Nothing happens but a line in the log at DEBUG."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class IgnoreAndLog:
    """Nothing happens but a line in the log at `level`."""

    level: Level
    reason: str = ""


@dataclass(frozen=True, slots=True)
class IgnoreDuplicateGossip:
    """The gossip was known already. Nothing happens."""


@dataclass(frozen=True, slots=True)
class SendErrorMessage:
    """The peer gets this error; the connection stays."""

    message: Error


@dataclass(frozen=True, slots=True)
class SendWarningMessage:
    """The peer gets this warning; the connection stays."""

    message: Warning
    level: Level = Level.WARN


ErrorAction: TypeAlias = (
    DisconnectPeer
    | DisconnectPeerWithWarning
    | IgnoreError
    | IgnoreAndLog
    | IgnoreDuplicateGossip
    | SendErrorMessage
    | SendWarningMessage
)
"""LDK's error actions."""
ACTIONS: Final[tuple[type[Any], ...]] = get_args(ErrorAction)
"""Their classes."""

HandlerResult: TypeAlias = ErrorAction | None
"""None: the message was taken. Anything else than an action or None is a bug of the handler, as an exception is."""


# Events: what a handler pushes. A node id that is none, and what is no message, are TypeErrors as they are made.


@dataclass(frozen=True, slots=True, init=False)
class SendMessages:
    """Messages for one peer, written in a row with nothing between them. Dropped if it is not connected, or if more
    than `most_waiting` bytes wait for it: what is passed on may be lost, and nobody is to be ended for it who reads
    slowly. `on_dropped` is called in that second case: it counts, and does no more."""

    caused: ClassVar[bool] = True
    """Whether they count as the peer's doing: with too many of them unread it is not read from."""

    node_id: bytes
    messages: tuple[Message | UnknownMessage, ...]
    most_waiting: float
    on_dropped: Callable[[], None] | None = field(compare=False, repr=False)

    def __init__(
        self,
        node_id: bytes,
        *messages: Message | UnknownMessage,
        most_waiting: float = math.inf,
        on_dropped: Callable[[], None] | None = None,
    ) -> None:
        _check_node_id(node_id)
        given: tuple[Any, ...] = messages
        for one in given:
            if not isinstance(one, _MESSAGES):  # text has an `encode` too
                raise TypeError(f"messages are sent, not {type(one).__name__}")
        object.__setattr__(self, "node_id", node_id)
        object.__setattr__(self, "messages", messages)
        object.__setattr__(self, "most_waiting", most_waiting)
        object.__setattr__(self, "on_dropped", on_dropped)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateHtlcs:
    """Changes of one channel and the commitment_signed for them, written in a row with nothing between them.

    In LDK's order: fulfills, fails, malformed fails, adds, the fee, then the commitment_signed, with the start_batch
    that belongs before them if there are several (one for each funding transaction while a splice is pending). The
    largest that is legal, 1.8 MB, is written whole. Dropped if the node is not connected.

    ValueError for a message of another channel or kind, and for more commitment_signed than BOLT 2 allows (20).
    """

    caused: ClassVar[bool] = False
    """Changes of a channel are nobody's answer: two sides that send theirs at once must both go on reading."""
    most_waiting: ClassVar[float] = math.inf
    """And nobody else has them."""
    on_dropped: ClassVar[None] = None

    node_id: bytes
    channel_id: bytes
    fulfills: tuple[UpdateFulfillHtlc, ...] = ()
    fails: tuple[UpdateFailHtlc, ...] = ()
    malformed_fails: tuple[UpdateFailMalformedHtlc, ...] = ()
    adds: tuple[UpdateAddHtlc, ...] = ()
    fee: UpdateFee | None = None
    commitment_signed: tuple[CommitmentSigned, ...] = ()

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        if len(self.commitment_signed) > MAX_BATCH:
            raise ValueError(f"{len(self.commitment_signed)} commitment_signed; {MAX_BATCH} are the most")
        for kind, messages in (
            (UpdateFulfillHtlc, self.fulfills),
            (UpdateFailHtlc, self.fails),
            (UpdateFailMalformedHtlc, self.malformed_fails),
            (UpdateAddHtlc, self.adds),
            (CommitmentSigned, self.commitment_signed),
        ):
            for one in messages:
                if type(one) is not kind:
                    raise ValueError(f"{kind.name} is expected, not {type(one).__name__}")
        for message in self.messages:
            if message.channel_id != self.channel_id:
                raise ValueError(f"{message.name} of another channel: {message.channel_id.hex()}")

    @property
    def messages(self) -> tuple[_OfAChannel, ...]:
        """All of them in the order of the wire."""
        batch = len(self.commitment_signed)
        return (
            *self.fulfills,
            *self.fails,
            *self.malformed_fails,
            *self.adds,
            *((self.fee,) if self.fee is not None else ()),
            *((_start_batch(self.channel_id, batch),) if batch > 1 else ()),
            *self.commitment_signed,
        )


_OfAChannel: TypeAlias = (
    UpdateFulfillHtlc
    | UpdateFailHtlc
    | UpdateFailMalformedHtlc
    | UpdateAddHtlc
    | UpdateFee
    | StartBatch
    | CommitmentSigned
)


def _start_batch(channel_id: bytes, size: int) -> StartBatch:
    tlvs = StartBatchTlvs(message_type=CommitmentSigned.type)
    return StartBatch(channel_id=channel_id, batch_size=size, tlvs=tlvs)


@dataclass(frozen=True, slots=True)
class HandleError:
    """An action that no message caused, for one peer."""

    node_id: bytes
    action: ErrorAction

    def __post_init__(self) -> None:
        _check_node_id(self.node_id)
        if not isinstance(self.action, ACTIONS):
            raise TypeError(f"HandleError is given an action, not {type(self.action).__name__}")


@dataclass(frozen=True, slots=True)
class GossipWaits:
    """These nodes are to be asked for in `RoutingMessageHandler.next_gossip`. Those that are not connected are not."""

    node_ids: tuple[bytes, ...]

    def __post_init__(self) -> None:
        for one in self.node_ids:
            _check_node_id(one)


MessageSendEvent: TypeAlias = SendMessages | UpdateHtlcs | HandleError | GossipWaits
"""What a handler may push; the last one is `RoutingMessageHandler.wake`'s."""
EVENTS: Final[tuple[type[Any], ...]] = get_args(MessageSendEvent)
"""Their classes."""
_MESSAGES: Final = (Message, UnknownMessage)


def _check_node_id(node_id: object) -> None:
    if not isinstance(node_id, bytes):
        raise TypeError(f"a node id is 33 bytes, not {type(node_id).__name__}")
