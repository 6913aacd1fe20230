"""PeerNursery: an open block as its users hold it. What shall happen is done by who owns it; here it is asked for.

Starts no task and owns nothing but the ports that it listens on.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

import trio

from triolight.address import Address, NodeAddress, descriptor_of
from triolight.messages import AnyMessage, Message, NodeAnnouncement, UnknownMessage
from triolight.peer_manager import PeerManager
from triolight.policy import Policy
from triolight.proxy import Proxy
from triolight.shell.dials import Asked
from triolight.shell.inboxes import BUFFER_BYTES, Inbox, Shelf
from triolight.shell.keep import KeptPeer, OnConnect, addresses_to_keep
from triolight.shell.newcomers import Newcomers
from triolight.shell.news import PeerConnected, PeerDisconnected, PeerEvent, PeerEvents
from triolight.shell.peer import Peer, peer_of
from triolight.shell.reported import agreed_hosts
from triolight.shell.statistics import PeersStatistics, gather_statistics, peers_statistics
from triolight.text import place
from triolight.ways import Way, way_by

if TYPE_CHECKING:
    from triolight.nursery import Block

__all__ = ["PeerNursery"]

M = TypeVar("M", bound=Message | UnknownMessage | PeerEvent)
M2 = TypeVar("M2", bound=Message | UnknownMessage | PeerEvent)
M3 = TypeVar("M3", bound=Message | UnknownMessage | PeerEvent)


class PeerNursery:
    """What `open_peer_nursery` gives. Its methods may be called from any task of the same Trio run."""

    def __init__(self, block: Block) -> None:
        self._block: Final = block
        self._parts: Final = block.parts
        self._ports: list[int] = []

    def __repr__(self) -> str:
        return f"<PeerNursery, {len(self._parts.present.sessions)} peers>"

    @property
    def manager(self) -> PeerManager:
        """The PeerManager that is driven. Asking it and `send_message` are fine; leave the rest to the pump."""
        return self._parts.manager

    @property
    def peers(self) -> dict[bytes, Peer]:
        """The connected peers by node id: a snapshot."""
        return {node_id: peer_of(session) for node_id, session in self._parts.present.sessions.items()}

    @property
    def policy(self) -> Policy:
        """Who is let in. Its bans may be changed at any time."""
        return self._block.policy

    @trio.lowlevel.enable_ki_protection
    async def connect(self, address: NodeAddress | str, *, proxy: Proxy | None = None, way: Way | None = None) -> Peer:
        """Dials a node (``id@host:port``) and returns its Peer after both Inits. A checkpoint.

        `proxy`, or `way`: for this dial, in place of the nursery's. ValueError for both.

        If it is connected already: that peer. Two calls for one node share one dial; cancelling one leaves the other.
        If that dial fails, and was for another address or went another way, this one's own follows. Raises ConnectError
        (its reason tells the phase), ValueError for text that is no address. If the other side has dialled us at the
        same time, the connection that survives is returned, whichever it is.
        """
        if isinstance(address, str):
            address = NodeAddress.parse(address)
        chosen = way_by(proxy, way) or self._block.way
        if self._parts.present.known(address.node_id) is None:
            await trio.lowlevel.checkpoint_if_cancelled()  # a dial is waited for
        else:
            await trio.lowlevel.checkpoint()
        return await self._block.dials.connect(Asked(address, False, chosen))

    @trio.lowlevel.enable_ki_protection
    def keep(
        self,
        *addresses: NodeAddress | NodeAnnouncement | str,
        proxy: Proxy | None = None,
        way: Way | None = None,
        on_connect: OnConnect[Peer] | None = None,
    ) -> KeptPeer:
        """Connects to a node and reconnects whenever the connection ends, until the block is left or `KeptPeer.stop`.

        Several addresses of one node are tried in turn. A node_announcement's count as learned, unless they are given
        by themselves too: private ones among them are not dialled unless the policy says so, and what cannot be dialled
        is left out. `proxy`, or `way`: in place of the nursery's. For a node that is kept already its addresses are
        added, and the proxy or way, if there is one, takes the place of the one before. Between failures it waits up to
        1 second, doubled each time up to an hour; no more than the policy's `max_dials` are in flight. Returns at once.

        `on_connect`: an async function that is called with each Peer that comes, in a task of the block, and cancelled
        when that peer ends. Its PeerClosed is no crash; any other exception ends the block, as a handler's does. For a
        node that is kept already it takes the place of the one before, from the next peer on.

        ValueError for no address that can be dialled, for different nodes', or for a proxy and a way; DecodeError for
        an announcement whose addresses cannot be read.
        """
        self._block.check_open()
        chosen = way_by(proxy, way)
        kept, new = self._block.keeps.take(addresses_to_keep(addresses), chosen, on_connect)
        if new is not None:
            self._block.start_keep(new)
        return kept

    def start_beside(self, run: Callable[[], Awaitable[object]], *, name: str = "beside") -> None:
        """Runs an async function in a task of this block, for who has no nursery of his own: an async generator that is
        left in the middle, for one. It is cancelled when the block is left, before peers hear goodbye. An exception of
        it ends the block, as a handler's does. Returns at once. PeerClosed once the block is left.
        """
        self._block.check_open()
        self._block.start_beside(run, name)

    @property
    def reported_addresses(self) -> tuple[Address, ...]:
        """Where we can be reached, as far as peers tell: a public IP address that at least two peers that we dialled
        have seen us at (`remote_addr` of their Init, BOLT 1), with the port that we listen on.

        Never announced by itself: give it to `PeerManager.broadcast_node_announcement` if you believe it.
        """
        hosts = agreed_hosts(session.details for session in self._parts.present.sessions.values())
        return tuple(descriptor_of(host, port) for host in hosts for port in self._ports[:1])

    def unix_ns(self) -> int:
        """Nanoseconds since 1970 by the wall's clock that this block was given."""
        return self._parts.unix_ns()

    def statistics(self) -> PeersStatistics:
        """A snapshot of all. Costs as much as there are peers and message types."""
        return peers_statistics(self._block)

    @trio.lowlevel.enable_ki_protection
    async def gather_statistics(self) -> PeersStatistics:
        """As `statistics`, with checkpoints between some connections and the next ones: for thousands of them."""
        return await gather_statistics(self._block)

    @trio.lowlevel.enable_ki_protection
    async def attach(
        self,
        stream: trio.abc.Stream,
        their_node_id: bytes | None = None,
        remote_address: Address | tuple[str, int] | None = None,
    ) -> Peer:
        """Makes a peer of a connected stream: a Unix socket, TLS, a memory stream. Returns it after both Inits.

        The stream is ours from now on, even if this fails. `their_node_id` None: the other side is the initiator.
        `remote_address` is told to an inbound peer in Init if it is public. Raises ConnectError, and ValueError if
        `their_node_id` is no point, or our own. Cancelled: the connection is ended.
        """
        return await self._block.adopt(stream, their_node_id, remote_address)

    @trio.lowlevel.enable_ki_protection
    async def listen(
        self, port: int, *, host: str | bytes | None = None, backlog: int | None = None
    ) -> list[trio.SocketListener]:
        """Accepts connections on a TCP port until the block is left. `host` None: all interfaces; `port` 0: any port.

        Returns the listeners: ``listeners[0].socket.getsockname()`` is where they are. OSError, whose text names host
        and port, if it cannot listen. A checkpoint. Cancelled: it does not listen.
        """
        self._block.check_open()
        try:
            listeners = await trio.open_tcp_listeners(port, host=host, backlog=backlog)
        except OSError as error:
            if error.errno is not None and error.filename is None:
                # Shown in its text. The system's words do not say where.
                error.filename = place(os.fsdecode(host or "*"), port)
            raise
        self._ports += [int(listener.socket.getsockname()[1]) for listener in listeners]
        await self.listen_on(*listeners)
        return listeners

    @trio.lowlevel.enable_ki_protection
    async def listen_on(self, *listeners: trio.abc.Listener[Any]) -> None:
        """Accepts connections from listeners of any kind until the block is left: TLS, Unix sockets, in memory.

        They are ours from now on, and closed when the block is left, or at once if it has been (PeerClosed). Streams
        that have a `socket` are asked for their peer's address. No checkpoint: it is done, or has raised.
        """
        try:
            self._block.check_open()
            self._block.start_listeners(list(listeners))
        except BaseException:
            # All of them, also when the close of one raises, as it does if this is cancelled.
            async with AsyncExitStack() as closing:
                for listener in listeners:
                    closing.push_async_callback(trio.aclose_forcefully, listener)
            raise

    @overload
    def subscribe(self, *, buffer_bytes: int = ...) -> Inbox[tuple[Peer, AnyMessage]]: ...
    @overload
    def subscribe(self, first: type[M], /, *, buffer_bytes: int = ...) -> Inbox[tuple[Peer, M]]: ...
    @overload
    def subscribe(
        self, first: type[M], second: type[M2], /, *, buffer_bytes: int = ...
    ) -> Inbox[tuple[Peer, M | M2]]: ...
    @overload
    def subscribe(
        self, first: type[M], second: type[M2], third: type[M3], /, *, buffer_bytes: int = ...
    ) -> Inbox[tuple[Peer, M | M2 | M3]]: ...
    @overload
    def subscribe(self, *types: type[M], buffer_bytes: int = ...) -> Inbox[tuple[Peer, M]]: ...
    def subscribe(self, *types: type[Any], buffer_bytes: int = BUFFER_BYTES) -> Inbox[Any]:
        """``async with peers.subscribe(Warning) as inbox: async for peer, message in inbox``: messages of every peer.

        As `Peer.subscribe`, for all peers, those to come included. Subscribe before connecting to miss nothing after
        Init. Each peer has `buffer_bytes` of its own: a slow reader slows the peers it reads, and no other.

        PeerConnected and PeerDisconnected among the types: the lives of peers too, in one order with what each says,
        its beginning first and its end last, as ``(peer, PeerConnected(...))``. Who is connected on entry is in
        `peers`. The order is that of one connection: keep what you know by `Peer`, not by node id. Whoever dialled us
        and whose end was not read yet counts among the policy's strangers, so that what waits is bounded.
        """
        lives = (PeerConnected, PeerDisconnected)
        return Inbox[Any](Shelf(self._parts.inboxes, None, types, buffer_bytes, lives))

    def events(self) -> PeerEvents:
        """``async with peers.events() as events: async for event in events``: PeerConnected and PeerDisconnected.

        Never delays a peer. 1,000 events wait for a busy reader; past that its iteration raises EventsLost.
        """
        return PeerEvents(self._parts.news)

    def newcomers(self) -> Newcomers:
        """``async with peers.newcomers() as newcomers: async for newcomer in newcomers``: whoever decides of each peer
        whose Init fits, and that the policy lets in, whether it may connect. It waits for ``newcomer.decide``, unread,
        for `init_deadline` at the most. Inside the block nobody connects without that. RuntimeError for a second one.
        """
        return Newcomers(self._parts.newcomers)
