"""KeptPeer: a node that shall stay connected, and when it is dialled again. Starts no task: nursery.py runs `keep_up`.

Waits grow from 1 second to an hour, each a random part of the whole ("full jitter", so that a thousand nodes that were
lost together are not dialled together), and start again at 1 second after a connection that lasted 10 minutes.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable
from enum import StrEnum
from typing import Final

import trio

from triolight.address import DnsAddress, IPv4Address, IPv6Address, NodeAddress, TorV3Address
from triolight.errors import ConnectError, DisconnectReason
from triolight.gossip import addresses_of
from triolight.messages import NodeAnnouncement
from triolight.peer import Peer

FIRST_WAIT: Final = 1.0
"""Seconds that the first wait takes at the most."""
LONGEST_WAIT: Final = 3600.0
"""Seconds, at the most, between two dials of a node that does not answer."""
STABLE_SECONDS: Final = 600.0
"""A connection that lasts so long was no failure: the next wait is a first one again."""


class KeepState(StrEnum):
    """What a KeptPeer is doing."""

    QUEUED = "QUEUED"
    """It is to be dialled, and as many dials as the policy allows are in flight."""
    DIALLING = "DIALLING"
    CONNECTED = "CONNECTED"
    WAITING = "WAITING"
    """Until `next_dial_at`."""
    STOPPED = "STOPPED"


class KeptPeer:
    """What `PeerNursery.keep` gives: reconnects until `stop`, or until the nursery is left."""

    def __init__(self, addresses: Iterable[NodeAddress], learned: bool) -> None:
        self._addresses: list[NodeAddress] = []
        self.learned: Final = learned
        """Whether the addresses are what somebody announced, and not what the application chose."""
        self.add(addresses)
        if not self._addresses:
            raise ValueError("no address to dial")
        self.node_id: Final = self._addresses[0].node_id
        self._state = KeepState.QUEUED
        self._peer: Peer | None = None
        self._failures = 0
        self._dials = 0
        self._next_dial_at: float | None = None
        self._last_failure: DisconnectReason | None = None
        self._scope: Final = trio.CancelScope()
        self._changed = trio.Event()
        self._appeared = trio.Event()

    def __repr__(self) -> str:
        return f"<KeptPeer {self.node_id.hex()[:16]}, {self._state}>"

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """Tried in this order."""
        return tuple(self._addresses)

    @property
    def state(self) -> KeepState:
        return self._state

    @property
    def peer(self) -> Peer | None:
        """The connected peer, whoever dialled; None while there is none."""
        return self._peer

    @property
    def dials(self) -> int:
        """How often an address was dialled."""
        return self._dials

    @property
    def failures(self) -> int:
        """Rounds of dials without a connection that lasted, since the last one that did."""
        return self._failures

    @property
    def next_dial_at(self) -> float | None:
        """In `trio.current_time()`'s seconds, while it waits."""
        return self._next_dial_at

    @property
    def last_failure(self) -> DisconnectReason | None:
        """Why the last dial failed, or the last connection ended."""
        return self._last_failure

    def add(self, addresses: Iterable[NodeAddress]) -> None:
        """More addresses of the same node, tried after the ones that are there. ValueError for another node's."""
        for address in addresses:
            if self._addresses and address.node_id != self._addresses[0].node_id:
                raise ValueError("addresses of different nodes cannot be kept as one")
            if address not in self._addresses:
                self._addresses.append(address)

    def stop(self) -> None:
        """No more dials. A connection that is there stays: end it with `Peer.disconnect`."""
        self._scope.cancel(reason="stopped")
        self._become(KeepState.STOPPED)

    async def wait_changed(self) -> KeepState:
        """Waits until `state` is another one, and returns it. A checkpoint; at once if it is stopped."""
        if self._state is KeepState.STOPPED:
            await trio.lowlevel.checkpoint()
        else:
            await self._changed.wait()
        return self._state

    async def wait_connected(self) -> Peer | None:
        """Waits for a connection and returns its peer; None once it is stopped. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self._peer is None and self._state is not KeepState.STOPPED:
            await self._changed.wait()
        return self._peer

    # -- for nursery.py ------------------------------------------------------------------------------------------------

    def appeared(self) -> None:
        """The node is connected: perhaps it has dialled us."""
        self._appeared.set()

    async def keep_up(
        self,
        connect: Callable[[NodeAddress, bool], Awaitable[Peer]],
        dials: trio.CapacityLimiter,
        jitter: random.Random,
    ) -> None:
        """Keeps the node connected until it is stopped. Returns then; a cancellation from outside passes through."""
        try:
            with self._scope:
                while True:
                    self._appeared = trio.Event()
                    peer = await self._dial_each(connect, dials)
                    began = trio.current_time()
                    if peer is not None:
                        self._peer = peer
                        self._become(KeepState.CONNECTED)
                        self._last_failure = await peer.wait_closed()
                        self._peer = None
                        if trio.current_time() - began >= STABLE_SECONDS:
                            self._failures = 0
                    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 32))
                    self._failures += 1
                    wait = jitter.uniform(0, longest)
                    self._next_dial_at = trio.current_time() + wait
                    self._become(KeepState.WAITING)
                    self._appeared = trio.Event()
                    with trio.move_on_after(wait):
                        await self._appeared.wait()
                    self._next_dial_at = None
        finally:
            self._peer = None
            self._become(KeepState.STOPPED)

    async def _dial_each(
        self, connect: Callable[[NodeAddress, bool], Awaitable[Peer]], dials: trio.CapacityLimiter
    ) -> Peer | None:
        self._become(KeepState.QUEUED)
        for address in self.addresses:
            async with dials:
                self._become(KeepState.DIALLING)
                self._dials += 1
                try:
                    return await connect(address, self.learned)
                except ConnectError as error:
                    self._last_failure = error.reason
        return None

    def _become(self, state: KeepState) -> None:
        if self._state is not state:
            self._state = state
            changed, self._changed = self._changed, trio.Event()
            changed.set()


def announced_addresses(announcement: NodeAnnouncement) -> list[NodeAddress]:
    """The addresses of a node_announcement that can be dialled. DecodeError if they cannot be read."""
    return [
        NodeAddress(announcement.node_id, address.host, address.port)
        for address in addresses_of(announcement)
        if isinstance(address, IPv4Address | IPv6Address | TorV3Address | DnsAddress) and address.port
    ]
