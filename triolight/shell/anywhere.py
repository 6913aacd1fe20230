"""AnyPeer: what a program may ask of a peer, wherever its socket is. A protocol; nothing is done here.

`Peer` is one, and so is what a back has of a peer that is connected at a front.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

from triolight.address import Address
from triolight.errors import DisconnectReason
from triolight.features import Features
from triolight.messages import AnyMessage, Init, Message, Registry, UnknownMessage
from triolight.shell.inboxes import Inbox
from triolight.shell.statistics import PeerStatistics

__all__ = [
    "AnyPeer",
]

M = TypeVar("M", bound=Message | UnknownMessage)


class AnyPeer(Protocol):
    """A connected peer, here or at a front. Each member is as `Peer` has it."""

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        ...

    @property
    def address(self) -> Address | None:
        """Where the connection goes to, or comes from, if that is known."""
        ...

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""
        ...

    @property
    def features(self) -> Features:
        """What its Init offers."""
        ...

    @property
    def init(self) -> Init:
        """Its Init."""
        ...

    @property
    def reason(self) -> DisconnectReason | None:
        """Why the connection has ended; None while it has not."""
        ...

    @property
    def front(self) -> str | None:
        """The front that it is connected at; None if it is connected here."""
        ...

    @property
    def messages(self) -> Registry:
        """Which messages are known to whoever reads it."""
        ...

    def statistics(self) -> PeerStatistics:
        """A snapshot."""
        ...

    def room(self) -> int:
        """Bytes that `send` takes at once."""
        ...

    async def send(self, *messages: AnyMessage) -> None:
        """Queues messages, in a row on the wire. Waits while too much waits for the peer."""
        ...

    async def request(self, message: AnyMessage, answer: type[M], match: Callable[[M], bool] | None = None) -> M:
        """Sends a message and returns the first one of class `answer` that comes after it and that `match` takes."""
        ...

    async def ping(self, num_pong_bytes: int = 0, ignored: bytes = b"") -> float:
        """Has a ping sent and waits for its own pong: the round trip in seconds."""
        ...

    def subscribe(self, *types: type[M], buffer_bytes: int = ...) -> Inbox[M]:
        """Its messages of these types."""
        ...

    async def disconnect(self, reason: str | DisconnectReason = ...) -> None:
        """Ends the connection: the peer hears a warning with these words first."""
        ...

    async def wait_closed(self) -> DisconnectReason:
        """Waits for the connection's end and says why it ended."""
        ...
