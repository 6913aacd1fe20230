"""open_back: the brain of a fleet, as a program holds it: the peers of all fronts, as if they were connected here.

A program that had `open_peer_nursery` opens this instead. Leaving the block says goodbye to every peer.
"""

from __future__ import annotations

import random
import secrets
import ssl
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias, cast

import trio

from triolight.address import NodeAddress
from triolight.chains import AnyChain, chain_hashes
from triolight.cluster.bus import Bus, FleetError, leaves
from triolight.cluster.desk import Desk, Setup
from triolight.cluster.events import FleetEvents
from triolight.cluster.following import Following
from triolight.cluster.records import NO_CONNECTION, Broadcast
from triolight.cluster.remote import KeptRemotePeer, RemotePeer, RemoteSession
from triolight.cluster.rules import Terms, fullness
from triolight.errors import DisconnectReason, PeerClosed
from triolight.handlers import ChannelMessageHandler, MessageHandler, RoutingMessageHandler
from triolight.logger import Logger, StdlibLogger
from triolight.manager.mistakes import check_methods
from triolight.messages import BOLT, AnyMessage, NodeAnnouncement, Registry
from triolight.policy import MAX_DIALS, Allowance
from triolight.shell.dials import Asked
from triolight.shell.inboxes import BUFFER_BYTES, Inbox, Shelf
from triolight.shell.keep import Keep, OnConnect, addresses_to_keep
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.ways import way_of

__all__ = ["FrontDetails", "RemotePeers", "back_on", "open_back"]

Sessions: TypeAlias = Literal["fresh", "resume"]
"""What becomes of a back's sessions when another one starts."""
ALLOWANCE: Final = Allowance()
"""A `Policy`'s."""


@dataclass(frozen=True, slots=True)
class FrontDetails:
    """A front that is there."""

    address: str
    peers: int
    load: float
    """How much of its window waits for this back, from 0 to 1, as the last renewal said; at 1 nobody is read."""
    since: float
    """Seconds of the run's clock."""


class RemotePeers:
    """What `open_back` gives: the peers of all fronts."""

    def __init__(self, desk: Desk, nursery: trio.Nursery, jitter: random.Random) -> None:
        self._desk: Final = desk
        self._nursery: Final = nursery
        self._jitter: Final = jitter
        """Of `keep`'s waits."""
        self._dials: Final = trio.CapacityLimiter(MAX_DIALS)

    def __repr__(self) -> str:
        return f"<RemotePeers, {len(self._desk.by_node)} peers at {len(self._desk.lives)} fronts>"

    @property
    def peers(self) -> dict[bytes, RemotePeer]:
        """The connected peers by node id: a snapshot."""
        return {node_id: _peer(session) for node_id, session in self._desk.by_node.items()}

    @property
    def fronts(self) -> dict[str, FrontDetails]:
        """The fronts that are there: a snapshot."""
        return {
            name: FrontDetails(life.state.address, len(life.sessions), fullness(life.state.up), life.since)
            for name, life in self._desk.lives.items()
        }

    @trio.lowlevel.enable_ki_protection
    async def connect(self, address: NodeAddress | str) -> RemotePeer:
        """Has a front dial a node, and returns its peer after both Inits. As `PeerNursery.connect`. ConnectError, with
        FRONT_LOST where no front is there."""
        if isinstance(address, str):
            address = NodeAddress.parse(address)
        await trio.lowlevel.checkpoint()
        return _peer(await self._desk.dial(address))

    def keep(
        self,
        *addresses: NodeAddress | NodeAnnouncement | str,
        on_connect: OnConnect[RemotePeer] | None = None,
    ) -> KeptRemotePeer:
        """Connects to a node and reconnects whenever the connection ends, until the block is left or
        `KeptRemotePeer.stop`: as `PeerNursery.keep`, with the same waits; the front with the fewest peers dials."""
        kept, new = self._desk.keeps.take(addresses_to_keep(addresses), None, on_connect)
        if new is not None:
            self._nursery.start_soon(self._run_keep, new)
        return kept

    @trio.lowlevel.enable_ki_protection
    async def _run_keep(self, keep: Keep[RemotePeer]) -> None:
        def known() -> RemotePeer | None:
            session = self._desk.by_node.get(keep.node_id)
            return None if session is None else _peer(session)

        async def connect(asked: Asked) -> RemotePeer:
            return await self.connect(asked.address)

        try:
            # Which way it goes is its front's to say.
            await keep.keep_up(known, connect, _live, way_of(None), self._dials, self._jitter)
        finally:
            self._desk.keeps.forget(keep)

    def subscribe(self, *types: type[Any], buffer_bytes: int = BUFFER_BYTES) -> Inbox[tuple[RemotePeer, Any]]:
        """Messages of every peer, as `PeerNursery.subscribe`; PeerConnected and PeerDisconnected among the types."""
        lives = (PeerConnected, PeerDisconnected)
        return Inbox[Any](Shelf(self._desk.inboxes, None, types, buffer_bytes, lives))

    def events(self) -> FleetEvents:
        """PeerConnected and PeerDisconnected, as `PeerNursery.events`; and FrontJoined, FrontLost, EngineAway and
        EngineBack."""
        return FleetEvents(self._desk.news)

    @trio.lowlevel.enable_ki_protection
    async def broadcast(self, *messages: AnyMessage) -> None:
        """Messages for every peer of every front, as an announcement of our own: each goes once to each front. A peer
        that has no room for it does not get it. A checkpoint; waits while the stream of a front is full."""
        records = [Broadcast(data=message.encode()) for message in messages]
        await trio.lowlevel.checkpoint()
        for life in [*self._desk.lives.values()]:
            for record in records:
                await life.lane.room()
                if not life.over:
                    life.lane.put(NO_CONNECTION, record)


def _peer(session: RemoteSession) -> RemotePeer:
    return cast("RemotePeer", session.mailbox.giver)


async def _live(peer: RemotePeer, on_connect: OnConnect[RemotePeer] | None) -> DisconnectReason:
    async with trio.open_nursery() as nursery:
        if on_connect is not None:
            nursery.start_soon(_with_peer, on_connect, peer)
        reason = await peer.wait_closed()
        nursery.cancel_scope.cancel(reason="its peer has ended")
    return reason


async def _with_peer(on_connect: OnConnect[RemotePeer], peer: RemotePeer) -> None:
    try:
        await on_connect(peer)
    except* PeerClosed:
        pass  # that it has ended, whoever keeps it knows


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def back_on(
    bus: Bus,
    node_id: bytes,
    handlers: MessageHandler | None = None,
    *,
    messages: Registry = BOLT,
    networks: tuple[bytes, ...] = (),
    terms: Terms | None = None,
    sessions: Sessions = "fresh",
    allowance: Allowance | None = ALLOWANCE,
    logger: Logger | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    unix_ns: Callable[[], int] = time.time_ns,
) -> AsyncGenerator[RemotePeers]:
    """``async with back_on(bus, node_id) as peers``: holds the fleet's back while the block runs.

    Entered once the place is free. FleetError ends the block if another back takes it. Leaving says goodbye to every
    peer; with ``sessions="resume"`` an exception that leaves it does not. As `open_back` otherwise.
    """
    if sessions not in ("fresh", "resume"):
        raise ValueError(f"sessions are fresh, or resume, not {sessions!r:.40}")
    handlers = handlers or MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    check_methods(handlers, messages)
    setup = Setup(
        bus,
        node_id,
        handlers,
        messages,
        networks,
        terms or Terms(),
        sessions == "resume",
        allowance,
        logger or StdlibLogger(),
        random_bytes,
        unix_ns,
    )
    desk = Desk(setup)
    following = Following(setup, desk)
    await following.enter()
    failed: BaseException | None = None
    lost: list[BaseException] = []
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(following.run)
            try:
                yield RemotePeers(desk, nursery, random.Random(random_bytes(16)))
            except BaseException as error:  # leaves bare, and not in the nursery's group
                failed = error
            if failed is None or not setup.resumes:
                await following.leave()
            following.stop()
            nursery.cancel_scope.cancel(reason="the block of open_back is left")
    except* FleetError as group:
        lost = leaves(group)
    finally:
        desk.close()
    if lost:
        raise lost[0]
    if failed is not None:
        raise failed


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_back(
    url: str,
    node_id: bytes,
    *,
    handlers: MessageHandler | None = None,
    fleet: str = "main",
    messages: Registry = BOLT,
    networks: AnyChain | Iterable[AnyChain] = (),
    sessions: Sessions = "fresh",
    lease: float = 10,
    back_grace: float = 30,
    engine_grace: float = 20,
    allowance: Allowance | None = ALLOWANCE,
    logger: Logger | None = None,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
) -> AsyncGenerator[RemotePeers]:
    """``async with open_back("rediss://user@host/0", node_id) as peers``: holds a fleet's back while the block runs.

    Its engine speaks the Redis protocol (extra `cluster`). Entered once the place is free. Leaving says goodbye to
    every peer. FleetError ends the block if another back has taken the place.

    Seconds: `lease` is how long a front may be silent, `back_grace` how long fronts keep their peers without a back,
    `engine_grace` how long all of them wait for the engine.

    `sessions`: ``fresh``, a new back begins with no sessions, and peers reconnect; or ``resume``, it takes up those of
    the one before it: ``PeerConnected(peer, resumed=True)``, then what that one has not handled. A message was handled
    when its reader asks for the next one or leaves its inbox, and when the handler has returned; what was handled after
    the last commit comes again, with the same `Inbox.position`. An exception that leaves the block leaves the sessions
    to the next back. Not for who has channels: `channel_reestablish` has to open a connection.

    `allowance`: how fast a peer may cause costs, as in a `Policy`; whoever overdraws it is not read from for a while.
    `insecure`: an engine on another host is taken also without TLS, or without a user.
    """
    from triolight.cluster.redis import open_bus  # who brings a bus of its own needs no client

    terms = Terms(lease, back_grace, engine_grace)
    async with (
        open_bus(url, fleet, password=password, tls=tls, insecure=insecure) as bus,
        back_on(
            bus,
            node_id,
            handlers,
            messages=messages,
            networks=chain_hashes(networks),
            terms=terms,
            sessions=sessions,
            allowance=allowance,
            logger=logger,
        ) as peers,
    ):
        yield peers
