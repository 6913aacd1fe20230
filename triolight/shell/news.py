"""News of peers: PeerConnected, PeerDisconnected, and who reads them. It delays nobody.

A reader that is busy loses news rather than that anybody waits for it, and hears that it has.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Generic, Self, TypeAlias, TypeVar

import trio

from triolight.errors import DisconnectReason, EventsLost
from triolight.shell.anywhere import AnyPeer

__all__ = [
    "PeerConnected",
    "PeerDisconnected",
    "PeerEvents",
]

PEER_EVENTS: Final = 1000
"""Events kept for a reader of `events()` that is busy."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer's Init was accepted."""

    peer: AnyPeer
    """As who is connected here, a `Peer`; at a back, a RemotePeer."""
    resumed: bool = False
    """Whether it was connected before, and another back has had it: it goes on from where that one was."""


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """A connected peer's connection ends."""

    peer: AnyPeer
    reason: DisconnectReason


PeerEvent: TypeAlias = PeerConnected | PeerDisconnected
E = TypeVar("E")


class Reader(Generic[E]):
    """What waits for one reader."""

    __slots__ = ("_in", "lost", "out")

    def __init__(self) -> None:
        self._in, self.out = trio.open_memory_channel[E](PEER_EVENTS)
        self.lost = False
        """More came than there was room for."""

    def publish(self, event: E) -> bool:
        """False: there was no room for it."""
        try:
            self._in.send_nowait(event)
        except trio.WouldBlock:
            self.lost = True
            return False
        return True

    def drop_all(self) -> None:
        """It starts again from a snapshot: what waits is older than that."""
        self.lost = False
        while True:
            try:
                self.out.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                break

    def end(self) -> None:
        self._in.close()


class News(Generic[E]):
    """Who reads news of one block's peers, and how much of it was lost."""

    __slots__ = ("_ended", "_lost", "_readers")

    def __init__(self) -> None:
        self._readers: list[Reader[E]] = []
        self._lost = 0
        self._ended = False

    @property
    def lost(self) -> int:
        """Events that a reader had no room for."""
        return self._lost

    def join(self, reader: Reader[E]) -> None:
        self._readers.append(reader)
        if self._ended:
            reader.end()

    def leave(self, reader: Reader[E]) -> None:
        self._readers.remove(reader)
        reader.out.close()

    def publish(self, event: E) -> None:
        if self._ended:
            return
        for reader in self._readers:
            self._lost += not reader.publish(event)

    def end(self) -> None:
        """No more of them."""
        self._ended = True
        for reader in self._readers:
            reader.end()


class Events(Generic[E]):
    """An iterator of news that delays nobody."""

    def __init__(self, news: News[E]) -> None:
        self._news: Final = news
        self._reader: Final[Reader[E]] = Reader()

    def __aiter__(self) -> AsyncIterator[E]:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> E:
        """The next event. Raises EventsLost if more came than are kept: all that waited is dropped then, and what
        comes later is new."""
        if self._reader.lost:
            self._reader.drop_all()
            raise EventsLost(f"more than {PEER_EVENTS} events waited; start again from `peers.peers`")
        try:
            return await self._reader.out.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise StopAsyncIteration from None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        self._news.join(self._reader)
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._news.leave(self._reader)


class PeerEvents(Events[PeerEvent]):
    """An iterator of PeerConnected and PeerDisconnected that delays nobody."""
