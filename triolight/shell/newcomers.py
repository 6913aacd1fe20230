"""Newcomers: peers whose Init fits, and whom somebody else lets in. It decides nothing, and delays nobody else.

Who waits here is a stream that has not become a peer: no more than those, and for no longer than `init_deadline`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from types import TracebackType
from typing import Final, Self

import trio

from triolight.address import Address
from triolight.errors import DisconnectReason
from triolight.shell.events import Decided, EventsIn
from triolight.shell.link import Link

__all__ = [
    "Newcomer",
    "Newcomers",
]


class Newcomer:
    """A peer that waits to be let in. It is not read meanwhile."""

    def __init__(self, link: Link, node_id: bytes, events_in: EventsIn) -> None:
        self._link: Final = link
        self._events_in: Final = events_in
        self.node_id: Final = node_id
        """33 bytes, proven."""

    def __repr__(self) -> str:
        return f"<Newcomer {self.node_id.hex()[:16]}>"

    @property
    def inbound(self) -> bool:
        """Whether the other side dialled."""
        return self._link.inbound

    @property
    def address(self) -> Address | None:
        """Where the connection goes to, or comes from, if that is known."""
        return self._link.address

    @property
    def gone(self) -> bool:
        """Whether it has ended meanwhile."""
        return self._link.reason is not None

    @trio.lowlevel.enable_ki_protection
    async def wait_settled(self) -> None:
        """Until it has become a peer, or waits behind another connection with its node, or has ended. A checkpoint."""
        await self._link.outcome.wait()

    @trio.lowlevel.enable_ki_protection
    async def decide(self, refusal: DisconnectReason | None) -> None:
        """Lets it in (None), or ends it: the peer hears why. Does nothing if it has ended, or was decided.

        If the policy has no room for it any more, it is refused all the same.
        """
        await self._events_in.send(Decided(self._link, self.node_id, refusal))


class Waiting:
    """Those who wait, in the order in which they came, and whether somebody decides."""

    __slots__ = ("_come", "_waiting", "open")

    def __init__(self) -> None:
        self._waiting: Final[dict[Link, Newcomer]] = {}
        self._come = trio.Event()
        self.open = False
        """Whether newcomers are to wait."""

    def add(self, link: Link, newcomer: Newcomer) -> None:
        self._waiting[link] = newcomer
        self._come.set()

    def forget(self, link: Link) -> None:
        """It has ended."""
        self._waiting.pop(link, None)

    async def take(self) -> Newcomer:
        """The one that has waited longest and was not taken."""
        while not self._waiting:
            self._come = trio.Event()
            await self._come.wait()
        return self._waiting.pop(next(iter(self._waiting)))

    def close(self) -> None:
        self.open = False
        self._waiting.clear()


class Newcomers:
    """``async with peers.newcomers() as newcomers: async for newcomer in newcomers: await newcomer.decide(None)``"""

    def __init__(self, waiting: Waiting) -> None:
        self._waiting: Final = waiting

    def __aiter__(self) -> AsyncIterator[Newcomer]:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Newcomer:
        """The next one. Cancellation loses nothing."""
        await trio.lowlevel.checkpoint()
        return await self._waiting.take()

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> Self:
        await trio.lowlevel.checkpoint()
        if self._waiting.open:
            raise RuntimeError("somebody decides about newcomers already")
        self._waiting.open = True
        return self

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.close()
