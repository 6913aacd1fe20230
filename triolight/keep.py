"""KeptPeer: a node that shall stay connected, and when it is dialled again. Starts no task: nursery.py runs `keep_up`.

Waits grow from 1 second to an hour, each a random part of the whole ("full jitter", so that a thousand nodes that were
lost together are not dialled together), and start again at 1 second after a connection that lasted 10 minutes.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

import trio

from triolight.address import DnsAddress, IPv4Address, IPv6Address, NodeAddress, TorV3Address, descriptor_of
from triolight.errors import ConnectError, DisconnectReason
from triolight.gossip import addresses_of
from triolight.messages import NodeAnnouncement
from triolight.peer import Peer
from triolight.proxy import Proxy

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

    def __init__(self, addresses: Mapping[NodeAddress, bool], proxy: Proxy | None) -> None:
        if not addresses:
            raise ValueError("no address to dial: none was given, or none of those announced can be dialled")
        self.node_id: Final = next(iter(addresses)).node_id
        self._addresses: dict[NodeAddress, bool] = {}
        """And whether somebody announced it, and not the application chose it."""
        self._proxy: Proxy | None = None
        self._state = KeepState.QUEUED
        self._peer: Peer | None = None
        self._failures = 0
        self._dials = 0
        self._next_dial_at: float | None = None
        self._last_failure: DisconnectReason | None = None
        self._scope: Final = trio.CancelScope()
        self._changed = trio.Event()
        self._again = trio.Event()
        """Set when there is a reason to wait no longer."""
        self._queue = trio.CancelScope()
        """Of the wait for a place among the dials."""
        self.take(addresses, proxy)

    def __repr__(self) -> str:
        return f"<KeptPeer {self.node_id.hex()[:16]}, {self._state}>"

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """Tried in this order."""
        return tuple(self._addresses)

    @property
    def learned(self) -> tuple[NodeAddress, ...]:
        """Those of `addresses` that somebody announced. The application chose the others."""
        return tuple(address for address, learned in self._addresses.items() if learned)

    @property
    def proxy(self) -> Proxy | None:
        """What its dials go through; None: what the peer nursery's do."""
        return self._proxy

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
        """More addresses of the same node, chosen ones, tried after the ones that are there; if one is new, at once.

        ValueError for another node's, and for what cannot be dialled: then none is added.
        """
        self.take(dict.fromkeys(addresses, False), None)

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

    def take(self, addresses: Mapping[NodeAddress, bool], proxy: Proxy | None) -> None:
        """More addresses, and whether somebody announced them: who is chosen once stays chosen. ValueError as `add`."""
        for address in addresses:
            if address.node_id != self.node_id:
                raise ValueError("addresses of different nodes cannot be kept as one")
            descriptor_of(address.host, address.port)
        for address, learned in addresses.items():
            if not learned and self._addresses.get(address, True):
                self._again.set()
            self._addresses[address] = learned and self._addresses.get(address, True)
        self._proxy = proxy or self._proxy

    def appeared(self) -> None:
        """The node is connected: perhaps it has dialled us."""
        self._again.set()
        self._queue.cancel(reason="it is connected")

    async def keep_up(
        self,
        known: Callable[[], Peer | None],
        connect: Callable[[NodeAddress, bool], Awaitable[Peer]],
        dials: trio.CapacityLimiter,
        jitter: random.Random,
    ) -> None:
        """Keeps the node connected until it is stopped. Returns then; a cancellation from outside passes through."""
        try:
            with self._scope:
                while True:
                    self._again = trio.Event()
                    peer = await self._reach(known, connect, dials)
                    began = trio.current_time()
                    if peer is not None:
                        self._peer = peer
                        self._become(KeepState.CONNECTED)
                        self._last_failure = await peer.wait_closed()
                        self._peer = None
                        self._again = trio.Event()
                        if trio.current_time() - began >= STABLE_SECONDS:
                            self._failures = 0
                    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self._failures, 32))
                    self._failures += 1
                    wait = jitter.uniform(0, longest)
                    if known() is not None:
                        continue  # another connection with it has taken the place of the one that ended
                    self._next_dial_at = trio.current_time() + wait
                    self._become(KeepState.WAITING)
                    with trio.move_on_after(wait):
                        await self._again.wait()
                    self._next_dial_at = None
        finally:
            self._peer = None
            self._become(KeepState.STOPPED)

    async def _reach(
        self,
        known: Callable[[], Peer | None],
        connect: Callable[[NodeAddress, bool], Awaitable[Peer]],
        dials: trio.CapacityLimiter,
    ) -> Peer | None:
        """The connected peer, or that of the first address that answers. Whoever has dialled us needs no dial."""
        for address, learned in [*self._addresses.items()]:
            self._become(KeepState.QUEUED)
            while (peer := known()) is None:
                with trio.CancelScope() as self._queue:
                    await dials.acquire()
                if not self._queue.cancelled_caught:
                    break
            if peer is not None:
                return peer
            try:
                self._become(KeepState.DIALLING)
                self._dials += 1
                return await connect(address, learned)
            except ConnectError as error:
                self._last_failure = error.reason
            finally:
                dials.release()
        return known()

    def _become(self, state: KeepState) -> None:
        if self._state is not state:
            self._state = state
            changed, self._changed = self._changed, trio.Event()
            changed.set()


def announced_addresses(announcement: NodeAnnouncement) -> list[NodeAddress]:
    """The addresses of a node_announcement that can be dialled, in its order. Left out: Tor's version 2, unknown types,
    port 0, onions whose checksum is wrong, and what is no host name. DecodeError if they cannot be read.

    Whether they may be dialled is the policy's word: private ones, and names such as ``localhost``, are among them.
    """
    found: list[NodeAddress] = []
    for address in addresses_of(announcement):
        if isinstance(address, TorV3Address) and not address.valid:
            continue
        if isinstance(address, IPv4Address | IPv6Address | TorV3Address | DnsAddress):
            try:
                descriptor_of(address.host, address.port)
                found.append(NodeAddress(announcement.node_id, address.host, address.port))
            except ValueError:
                pass  # one bad one is no reason to lose the others
    return found
