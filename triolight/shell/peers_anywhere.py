"""Peers: what a program may ask of all peers of a node, wherever their sockets are. A protocol; nothing is done here.

`PeerNursery` is one, and so is what a back has: a program that is typed against it and `AnyPeer` runs on both. What
needs the process of the sockets (`attach`, `listen`, `manager`) is not here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeVar

from triolight.address import NodeAddress
from triolight.messages import Message, NodeAnnouncement, UnknownMessage
from triolight.shell.anywhere import AnyPeer
from triolight.shell.inboxes import Inbox
from triolight.shell.keep import Kept
from triolight.shell.news import PeerEvent

__all__ = [
    "Peers",
]

L = TypeVar("L", bound=Message | UnknownMessage | PeerEvent)


class Peers(Protocol):
    """Peers of one node, here or at fronts. Each member is as `PeerNursery` has it."""

    @property
    def peers(self) -> Mapping[bytes, AnyPeer]:
        """The connected peers by node id: a snapshot."""
        ...

    async def connect(self, address: NodeAddress | str) -> AnyPeer:
        """Dials a node and returns its peer after both Inits."""
        ...

    def keep(
        self,
        *addresses: NodeAddress | NodeAnnouncement | str,
        on_connect: Callable[[Any], Awaitable[object]] | None = None,
    ) -> Kept[Any]:
        """Connects to a node and reconnects whenever the connection ends, until `Kept.stop`."""
        ...

    def subscribe(self, *types: type[L], buffer_bytes: int = ...) -> Inbox[tuple[AnyPeer, L]]:
        """Messages of every peer; PeerConnected and PeerDisconnected among the types."""
        ...

    def events(self) -> AbstractAsyncContextManager[Any]:
        """PeerConnected and PeerDisconnected."""
        ...
