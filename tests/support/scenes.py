"""What the tests of `triolight.testing` share: two hosts, nodes that are asked questions, scripts. No test here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
import trio.testing

from tests.support import identity, make_manager
from triolight import ConnectError, Features, NodeAddress, PeerNursery, RoutingMessageHandler, open_peer_nursery
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Pong,
    message,
)
from triolight.testing import (
    Conditions,
    Finding,
    ScriptedPeer,
    ScriptFailed,
    SimulatedHost,
    SimulatedNetwork,
    SimulatedStream,
    check_peer,
    scripted_peer,
)
from triolight.testing.conformance import PATIENCE_SECONDS
from triolight.testing.questions import CHECKS, THOROUGH

ONE_SECOND = Conditions(latency=1)


def two_hosts(
    conditions: Conditions = ONE_SECOND, seed: int = 1, cut: bool = True
) -> tuple[SimulatedNetwork, SimulatedHost, SimulatedHost]:
    network = SimulatedNetwork(seed, conditions, cut=cut)
    return network, network.host("alice"), network.host("bob")


async def joined(network: SimulatedNetwork) -> tuple[SimulatedStream, SimulatedStream]:
    return network.stream_pair("alice", "bob")


async def read(stream: SimulatedStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        assert part, "the stream ended"
        data += part
    return data


class Queries(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


async def findings(
    serve: Callable[[trio.abc.Stream], Awaitable[object]],
    *,
    thorough: bool = False,
    dials: int = 1000,
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair,
) -> dict[str, Finding]:
    """Of a node that does this with each connection, in memory, and refuses them after so many."""
    dialled = 0

    async def meet(stream: trio.abc.Stream) -> None:
        with suppress(ScriptFailed, ConnectError):
            await serve(stream)

    async def dial(host: str, port: int) -> trio.abc.Stream:
        nonlocal dialled
        dialled += 1
        if dialled > dials:
            raise ConnectionRefusedError("too many")
        ours, theirs = pair()
        nursery.start_soon(meet, theirs)
        return ours

    async with trio.open_nursery() as nursery:
        address = NodeAddress(identity(1), "there")
        found: dict[str, Finding] = {}
        asked = iter((*CHECKS, *THOROUGH))
        began = trio.current_time()
        async for one in check_peer(address, dial=dial, thorough=thorough):
            found[one.rule] = one
            # No node holds a question up for longer than is promised; the first has the meeting before it.
            most = 3 * PATIENCE_SECONDS + next(asked).seconds + (PATIENCE_SECONDS if len(found) == 1 else 0)
            assert trio.current_time() - began <= most, one.rule
            began = trio.current_time()
        nursery.cancel_scope.cancel()
    assert dialled < 60
    return found


@message(0xFFFA)
class Even(Message):
    """To know this type is not to close for it."""


def played(
    behaviour: Callable[[ScriptedPeer], Awaitable[None]], handshake: bool = True
) -> Callable[[trio.abc.Stream], Awaitable[None]]:
    """A node that follows a script."""

    async def serve(stream: trio.abc.Stream) -> None:
        async with scripted_peer(stream, secret=bytes([1]) * 32, handshake=handshake) as peer:
            await behaviour(peer)

    return serve


async def greet(peer: ScriptedPeer) -> None:
    await peer.send(Init(features=Features.named("gossip_queries").to_bytes()))
    await peer.expect(Init)


async def converse(peer: ScriptedPeer) -> None:
    """A node that keeps what pings and Inits can ask, and closes for nothing."""
    await greet(peer)
    while (got := await peer.receive()) is not None:
        if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
            await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))


ALIVE = Ping(num_pong_bytes=7)


class Route(RoutingMessageHandler):
    """Takes gossip; offers gossip_queries if it is told to."""

    def __init__(self, *, queries: bool = False) -> None:
        super().__init__()
        self.queries = queries
        self.seen: list[Message] = []

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries") if self.queries else Features()

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> None:
        self.seen.append(message)

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.seen.append(message)

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> None:
        self.seen.append(message)

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> None:
        self.seen.append(message)


@asynccontextmanager
async def node(route: Route | None = None, **options: Any) -> AsyncIterator[PeerNursery]:
    async with open_peer_nursery(make_manager(1, route=route or Route(), **options)) as peers:
        yield peers


@asynccontextmanager
async def script(route: Route | None = None, **options: Any) -> AsyncIterator[ScriptedPeer]:
    """A script that has exchanged Inits with a node, and does not look at its keepalive."""
    async with node(route, **options) as peers, scripted_peer(peers) as peer:
        peer.ignoring = (Ping,)
        await peer.exchange_inits()
        yield peer


async def lives(peer: ScriptedPeer) -> None:
    """The connection goes on: a ping is answered, and nothing else comes before."""
    await peer.send(ALIVE)
    await peer.expect(Pong(ignored=bytes(7)))
