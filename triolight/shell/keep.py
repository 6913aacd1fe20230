"""Kept nodes: which shall stay connected, and when they are dialled again. Starts no task: nursery.py runs `keep_up`.

Waits grow from 1 second to an hour, each a random part of the whole ("full jitter", so that a thousand nodes that were
lost together are not dialled together), and start again at 1 second after a connection that lasted 10 minutes.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final, Generic, TypeAlias, TypeVar

import trio

from triolight.address import Address, DnsAddress, IPv4Address, IPv6Address, NodeAddress, TorV3Address, descriptor_of
from triolight.errors import DisconnectReason
from triolight.gossip import addresses_of
from triolight.messages import NodeAnnouncement
from triolight.proxy import Proxy
from triolight.shell.anywhere import AnyPeer
from triolight.shell.dials import Asked
from triolight.shell.peer import ConnectError, Peer
from triolight.ways import ProxyWay, Way

__all__ = [
    "KeepState",
    "Kept",
    "KeptPeer",
]

P = TypeVar("P", bound=AnyPeer)

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


OnConnect: TypeAlias = Callable[[P], Awaitable[object]]
"""An application's async function, called with each peer that comes."""


class Keep(Generic[P]):
    """One node that shall stay connected: its addresses, its state, and the task that keeps it so."""

    def __init__(
        self, addresses: Mapping[NodeAddress, bool], way: Way | None, on_connect: OnConnect[P] | None = None
    ) -> None:
        """`addresses`, and whether somebody announced each. ValueError if there is none, or as `take`."""
        if not addresses:
            raise ValueError("no address to dial: none was given, or none of those announced can be dialled")
        self.node_id: Final = next(iter(addresses)).node_id
        self.addresses: dict[NodeAddress, bool] = {}
        """And whether somebody announced it, and not the application chose it."""
        self.way: Way | None = None
        """What its dials go by; None: what the peer nursery's do."""
        self.on_connect: OnConnect[P] | None = None
        """Run with each peer, as long as it is one."""
        self.state = KeepState.QUEUED
        self.peer: P | None = None
        self.failures = 0
        self.dials = 0
        self.next_dial_at: float | None = None
        self.last_failure: DisconnectReason | None = None
        self.changed = trio.Event()
        """Of this state: set when it is another one."""
        self._scope: Final = trio.CancelScope()
        self._again = trio.Event()
        """Set when there is a reason to wait no longer."""
        self._queue = trio.CancelScope()
        """Of the wait for a place among the dials."""
        self.take(addresses, way, on_connect)

    def take(
        self, addresses: Mapping[NodeAddress, bool], way: Way | None, on_connect: OnConnect[P] | None = None
    ) -> None:
        """More addresses, and whether somebody announced them: who is chosen once stays chosen. ValueError for another
        node's, and for what cannot be dialled: then none is taken."""
        for address in addresses:
            if address.node_id != self.node_id:
                raise ValueError("addresses of different nodes cannot be kept as one")
            descriptor_of(address.host, address.port)
        for address, learned in addresses.items():
            if not learned and self.addresses.get(address, True):
                self._again.set()
            self.addresses[address] = learned and self.addresses.get(address, True)
        self.way = way or self.way
        self.on_connect = on_connect or self.on_connect

    def appeared(self) -> None:
        """The node is connected: perhaps it has dialled us."""
        self._again.set()
        self._queue.cancel(reason="it is connected")

    def stop(self) -> None:
        """No more dials."""
        self._scope.cancel(reason="stopped")
        self._become(KeepState.STOPPED)

    async def keep_up(
        self,
        known: Callable[[], P | None],
        connect: Callable[[Asked], Awaitable[P]],
        live: Callable[[P, OnConnect[P] | None], Awaitable[DisconnectReason]],
        default: Way,
        dials: trio.CapacityLimiter,
        jitter: random.Random,
    ) -> None:
        """Keeps the node connected until it is stopped. Returns then; a cancellation from outside passes through.

        `known` is the connected peer, whoever dialled; `live` waits for a peer's end, and has the application's
        function run meanwhile; `default` the way for who has none of its own."""
        try:
            with self._scope:
                while True:
                    self._again = trio.Event()
                    peer = await self._reach(known, connect, default, dials)
                    began = trio.current_time()
                    if peer is not None:
                        self.peer = peer
                        self._become(KeepState.CONNECTED)
                        self.last_failure = await live(peer, self.on_connect)
                        self.peer = None
                        self._again = trio.Event()
                        if trio.current_time() - began >= STABLE_SECONDS:
                            self.failures = 0
                    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(self.failures, 32))
                    self.failures += 1
                    wait = jitter.uniform(0, longest)
                    if known() is not None:
                        continue  # another connection with it has taken the place of the one that ended
                    self.next_dial_at = trio.current_time() + wait
                    self._become(KeepState.WAITING)
                    with trio.move_on_after(wait):
                        await self._again.wait()
                    self.next_dial_at = None
        finally:
            self.peer = None
            self._become(KeepState.STOPPED)

    async def _reach(
        self,
        known: Callable[[], P | None],
        connect: Callable[[Asked], Awaitable[P]],
        default: Way,
        dials: trio.CapacityLimiter,
    ) -> P | None:
        """The connected peer, or that of the first address that answers. Whoever has dialled us needs no dial."""
        for address, learned in [*self.addresses.items()]:
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
                self.dials += 1
                return await connect(Asked(address, learned, self.way or default))
            except ConnectError as error:
                self.last_failure = error.reason
            finally:
                dials.release()
        return known()

    def _become(self, state: KeepState) -> None:
        if self.state is not state:
            self.state = state
            changed, self.changed = self.changed, trio.Event()
            changed.set()


class Kept(Generic[P]):
    """What `keep` gives, wherever its peers are: reconnects until `stop`, or until the block is left."""

    def __init__(self, keep: Keep[P]) -> None:
        self._keep: Final = keep

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.node_id.hex()[:16]}, {self.state}>"

    @property
    def node_id(self) -> bytes:
        """33 bytes."""
        return self._keep.node_id

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        """Tried in this order."""
        return tuple(self._keep.addresses)

    @property
    def learned(self) -> tuple[NodeAddress, ...]:
        """Those of `addresses` that somebody announced. The application chose the others."""
        return tuple(address for address, learned in self._keep.addresses.items() if learned)

    @property
    def proxy(self) -> Proxy | None:
        """What its dials go through; None: what the peer nursery's do."""
        way = self._keep.way
        return way.proxy if isinstance(way, ProxyWay) else None

    @property
    def way(self) -> Way | None:
        """What its dials go by; None: what the peer nursery's do."""
        return self._keep.way

    @property
    def state(self) -> KeepState:
        """What is done for it at the moment."""
        return self._keep.state

    @property
    def peer(self) -> P | None:
        """The connected peer, whoever dialled; None while there is none."""
        return self._keep.peer

    @property
    def dials(self) -> int:
        """How often an address was dialled."""
        return self._keep.dials

    @property
    def failures(self) -> int:
        """Rounds of dials without a connection that lasted, since the last one that did."""
        return self._keep.failures

    @property
    def next_dial_at(self) -> float | None:
        """In `trio.current_time`'s seconds, while it waits."""
        return self._keep.next_dial_at

    @property
    def last_failure(self) -> DisconnectReason | None:
        """Why the last dial failed, or the last connection ended."""
        return self._keep.last_failure

    @trio.lowlevel.enable_ki_protection
    def add(self, addresses: Iterable[NodeAddress]) -> None:
        """More addresses of the same node, chosen ones, tried after the ones that are there; if one is new, at once.

        ValueError for another node's, and for what cannot be dialled: then none is added.
        """
        self._keep.take(dict.fromkeys(addresses, False), None)

    @trio.lowlevel.enable_ki_protection
    def stop(self) -> None:
        """No more dials. A connection that is there stays: end it with `Peer.disconnect`."""
        self._keep.stop()

    @trio.lowlevel.enable_ki_protection
    async def wait_changed(self) -> KeepState:
        """Waits until `state` is another one, and returns it. A checkpoint; at once if it is stopped."""
        if self.state is KeepState.STOPPED:
            await trio.lowlevel.checkpoint()
        else:
            await self._keep.changed.wait()
        return self.state

    @trio.lowlevel.enable_ki_protection
    async def wait_connected(self) -> P | None:
        """Waits for a connection and returns its peer; None once it is stopped. A checkpoint."""
        await trio.lowlevel.checkpoint()
        while self.peer is None and self.state is not KeepState.STOPPED:
            await self._keep.changed.wait()
        return self.peer


class KeptPeer(Kept[Peer]):
    """What `PeerNursery.keep` gives: reconnects until `stop`, or until the nursery is left."""


K = TypeVar("K")


class Keeps(Generic[P, K]):
    """The nodes that are kept, by node id, each with what users hold of it."""

    __slots__ = ("_keeps", "_made")

    def __init__(self, made: Callable[[Keep[P]], K]) -> None:
        """`made`: what users hold."""
        self._made: Final = made
        self._keeps: dict[bytes, tuple[Keep[P], K]] = {}

    def __len__(self) -> int:
        return len(self._keeps)

    def __contains__(self, node_id: bytes) -> bool:
        """Whether this node shall stay connected."""
        found = self._keeps.get(node_id)
        return found is not None and found[0].state is not KeepState.STOPPED

    def take(
        self, addresses: Mapping[NodeAddress, bool], way: Way | None, on_connect: OnConnect[P] | None = None
    ) -> tuple[K, Keep[P] | None]:
        """The node of these addresses is kept from now on. A Keep beside it is new: its task has to be started.
        ValueError as `Keep`."""
        found = self._keeps.get(next(iter(addresses)).node_id) if addresses else None
        if found is not None and found[0].state is not KeepState.STOPPED:
            found[0].take(addresses, way, on_connect)
            return found[1], None
        keep = Keep(addresses, way, on_connect)
        kept = self._made(keep)
        self._keeps[keep.node_id] = keep, kept
        return kept, keep

    def appeared(self, node_id: bytes) -> None:
        """A node is connected."""
        found = self._keeps.get(node_id)
        if found is not None:
            found[0].appeared()

    def forget(self, keep: Keep[P]) -> None:
        """Its task is over."""
        found = self._keeps.get(keep.node_id)
        if found is not None and found[0] is keep:
            del self._keeps[keep.node_id]

    def by_state(self) -> dict[str, int]:
        """How many are in which state."""
        found: dict[str, int] = {}
        for keep, _ in self._keeps.values():
            found[keep.state] = found.get(keep.state, 0) + 1
        return found


def addresses_to_keep(given: Iterable[NodeAddress | NodeAnnouncement | str]) -> dict[NodeAddress, bool]:
    """The addresses that were given, and whether each is known from an announcement alone. ValueError for text that is
    no address, DecodeError for an announcement whose addresses cannot be read."""
    found: dict[NodeAddress, bool] = {}
    for one in given:
        learned = isinstance(one, NodeAnnouncement)
        if isinstance(one, NodeAnnouncement):
            those = announced_addresses(one)
        else:
            those = [NodeAddress.parse(one) if isinstance(one, str) else one]
        for address in those:
            found[address] = learned and found.get(address, True)
    return found


def announced_addresses(announcement: NodeAnnouncement) -> list[NodeAddress]:
    """The addresses of a node_announcement that can be dialled, in its order. Left out: Tor's version 2, unknown types,
    port 0, onions whose checksum is wrong, and what is no host name. DecodeError if they cannot be read.

    Whether they may be dialled is the policy's word: private ones, and names such as ``localhost``, are among them.
    """
    return dialable_addresses(announcement.node_id, addresses_of(announcement))


def dialable_addresses(node_id: bytes, addresses: Iterable[Address]) -> list[NodeAddress]:
    """Those of a node's addresses that can be dialled, as `announced_addresses`."""
    found: list[NodeAddress] = []
    for address in addresses:
        if isinstance(address, TorV3Address) and not address.valid:
            continue
        if isinstance(address, IPv4Address | IPv6Address | TorV3Address | DnsAddress):
            try:
                descriptor_of(address.host, address.port)
                found.append(NodeAddress(node_id, address.host, address.port))
            except ValueError:
                pass  # one bad one is no reason to lose the others
    return found
