"""Whole networks in one process, for the tests and for benchmarks/scale.py: a rumour, and a day of pings. No test here.

python -m tests.support.simulations flood SEED NODES
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    NullLogger,
    Peer,
    PeerConnected,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, message
from triolight.testing import Conditions, SimulatedNetwork, derive, run_seeded

PORT = 9735
PARTITION_SECONDS = 90.0
"""Longer than a silent connection lives, so that healing means dialling again."""
QUIET_NODES = 20
WORLD = Conditions(latency=0.05, jitter=0.05)


@message(37915)
class Rumour(Message):
    text: wire.remainder


def make_manager(seed: int, number: int) -> PeerManager:
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
        derive(seed, "secret", number),
        derive(seed, "ephemeral", number),
        NullLogger(),
        messages=BOLT | {Rumour},
    )


def random_graph(rng: random.Random, nodes: int, dials: int) -> list[list[int]]:
    """Whom each node dials: its neighbour on a ring, so that all are connected, and others at random; no pair twice."""
    if 2 * dials >= nodes:
        raise ValueError(f"{nodes} nodes have too few pairs for {dials} dials each")
    pairs = {(one, (one + 1) % nodes) for one in range(nodes)}
    graph = [[(one + 1) % nodes] for one in range(nodes)]
    for one in range(nodes):
        while len(graph[one]) < dials:
            if all(other == one or {(one, other), (other, one)} & pairs for other in range(nodes)):
                break  # a small graph: it knows everybody
            other = rng.randrange(nodes)
            if other != one and not {(one, other), (other, one)} & pairs:
                pairs.add((one, other))
                graph[one].append(other)
    return graph


@dataclass
class Count:
    """Wakes whoever waits for the count to be complete."""

    of: int
    complete: trio.Event = field(default_factory=trio.Event)
    at: list[float] = field(default_factory=list)

    def one_more(self) -> None:
        self.at.append(trio.current_time())
        if len(self.at) == self.of:
            self.complete.set()


@dataclass
class Flooded:
    connections: int
    told_at: float
    healed_at: float
    heard_at: list[float]
    """Of each node, in the order in which they heard."""
    sent: int
    """Writes on the network."""
    transcript: str


class Node:
    def __init__(self, seed: int, number: int, network: SimulatedNetwork) -> None:
        self.host = network.host(f"node{number}")
        self.manager = make_manager(seed, number)
        self.address = NodeAddress(self.manager.our_node_id, self.host.address, PORT)
        self.rng = random.Random(f"{seed}/{number}")
        self.known: dict[bytes, None] = {}
        self.peers: PeerNursery | None = None

    async def run(self, dials: list[NodeAddress], connected: Callable[[], None], heard: Callable[[], None]) -> None:
        async with (
            open_peer_nursery(self.manager, dial=self.host.dial) as peers,
            peers.subscribe(Rumour) as inbox,
            peers.events() as events,
            trio.open_nursery() as nursery,
        ):
            self.peers = peers
            await peers.listen_on(await self.host.listen(PORT))
            for address in dials:
                nursery.start_soon(self.keep_connected, peers, address, connected)

            @nursery.start_soon
            async def _() -> None:
                async for event in events:
                    if isinstance(event, PeerConnected):
                        self.send(event.peer.node_id, *self.known)

            async for teller, rumour in inbox:
                if rumour.text not in self.known:
                    heard()
                    self.tell(rumour.text, teller.node_id)

    def tell(self, text: bytes, teller: bytes = b"") -> None:
        self.known[text] = None
        if self.peers is not None:
            for other in self.peers.peers:
                if other != teller:
                    self.send(other, text)

    def send(self, to: bytes, *texts: bytes) -> None:
        if texts and to in self.manager.get_peer_node_ids():
            self.manager.send_message(to, *[Rumour(text=text) for text in texts])

    async def keep_connected(self, peers: PeerNursery, address: NodeAddress, connected: Callable[[], None]) -> None:
        await trio.sleep(self.rng.uniform(0, 5))
        while True:
            try:
                peer = await peers.connect(address)
            except ConnectError:
                pass
            else:
                connected()
                await peer.wait_closed()
            await trio.sleep(self.rng.uniform(1, 5))


async def flood(seed: int, nodes: int, dials: int = 3) -> Flooded:
    """Half of the nodes are cut off; one node tells a rumour; the network heals; all have heard it."""
    network = SimulatedNetwork(seed, WORLD, on_sent=lambda _: sent.one_more())
    sent = Count(0)
    rng = random.Random(f"{seed}/graph")
    graph = random_graph(rng, nodes, dials)
    everyone = [Node(seed, number, network) for number in range(nodes)]
    connected, heard = Count(sum(map(len, graph))), Count(nodes - 1)
    async with trio.open_nursery() as nursery:
        for node, others in zip(everyone, graph, strict=True):
            nursery.start_soon(
                node.run, [everyone[other].address for other in others], connected.one_more, heard.one_more
            )
        await connected.complete.wait()
        network.partition([node.host for node in rng.sample(everyone, nodes // 2)])
        told_at = trio.current_time()
        everyone[0].tell(b"the moon is made of cheese")
        await trio.sleep(PARTITION_SECONDS)
        network.heal()
        healed_at = trio.current_time()
        await heard.complete.wait()
        nursery.cancel_scope.cancel()
    return Flooded(connected.of, told_at, healed_at, [told_at, *heard.at], len(sent.at), network.transcript())


@dataclass
class KeptAlive:
    connections: int
    pings: int
    transcript: str


async def keep_alive(seed: int, connections: int, hours: float) -> KeptAlive:
    """Connections on which one side pings once a minute, for hours, and nothing else happens.

    Nodes that ping have one connection with each of QUIET_NODES that do not. All are dialled at once and latency is the
    same everywhere, so the pings of a minute fall together: the clock has less to jump.
    """
    network = SimulatedNetwork(seed, Conditions(latency=0.05), cut=False)
    pinging = connections // QUIET_NODES
    pings = ended = 0

    async def quiet(number: int, *, task_status: trio.TaskStatus[NodeAddress]) -> None:
        host = network.host(f"quiet{number}")
        async with open_peer_nursery(make_manager(seed, 1000 + number), ping_interval=math.inf) as peers:
            await peers.listen_on(await host.listen(PORT))
            task_status.started(NodeAddress(peers.manager.our_node_id, host.address, PORT))
            await trio.sleep_forever()

    async def busy(number: int, others: list[NodeAddress]) -> None:
        nonlocal pings, ended
        host = network.host(f"busy{number}")
        async with open_peer_nursery(make_manager(seed, number), ping_interval=60, dial=host.dial) as peers:
            dialled: list[Peer] = []

            async def dial(address: NodeAddress) -> None:
                dialled.append(await peers.connect(address))

            async with trio.open_nursery() as dialling:
                for address in others:
                    dialling.start_soon(dial, address)
            await trio.sleep(hours * 3600)
            ended += sum(peer.reason is not None for peer in dialled)
            pings += sum(peer.statistics().messages_sent - 1 for peer in dialled)

    async with trio.open_nursery() as nursery:
        addresses: list[NodeAddress] = [await nursery.start(quiet, number) for number in range(QUIET_NODES)]
        async with trio.open_nursery() as dialling:
            for number in range(pinging):
                dialling.start_soon(busy, number, addresses)
        nursery.cancel_scope.cancel()
    if ended:
        raise AssertionError(f"{ended} connections have ended")
    return KeptAlive(pinging * QUIET_NODES, pings, network.transcript())


if __name__ == "__main__":
    print(run_seeded(int(sys.argv[2]), flood, int(sys.argv[2]), int(sys.argv[3])).transcript)
