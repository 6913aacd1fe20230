"""Forty nodes in memory, a partition and its healing: who has heard a rumour, and when.

Real peers over simulated links, on a clock that jumps: two minutes take a second. Every choice comes from the seed, so
a second run does the same. With a file name, the delivery over time is drawn into it (needs matplotlib).

    python examples/simulated_network.py [SEED [FILE.png]]
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from typing import Any

import trio

from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerEvents,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, message
from triolight.testing import Conditions, SimulatedNetwork, derive, run_seeded

NODES = 40
TOLD_AT, CUT_AT, SECOND_AT, HEALED_AT, END = 10.0, 20.0, 60.0, 120.0, 180.0


@message(40005)
class Rumour(Message):
    text: wire.remainder


@dataclass
class Heard:
    """When each node first had each rumour, in seconds of the simulation."""

    at: dict[bytes, list[float]] = field(default_factory=dict[bytes, list[float]])


class Node:
    """A node that tells its peers what it hears for the first time, and newcomers all that it knows."""

    def __init__(self, seed: int, number: int, network: SimulatedNetwork, heard: Heard) -> None:
        self.host = network.host()
        self.jitter = random.Random(f"{seed}/{number}")
        self.manager = PeerManager(
            MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
            derive(seed, "secret", number),
            derive(seed, "ephemeral", number),
            NullLogger(),
            messages=BOLT | {Rumour},
        )
        self.address = NodeAddress(self.manager.our_node_id, self.host.address, 9735)
        self.heard = heard
        self.known: dict[bytes, None] = {}

    async def run(self, friends: list[NodeAddress]) -> None:
        async with (
            open_peer_nursery(self.manager, dial=self.host.dial, jitter=self.jitter) as peers,
            peers.subscribe(Rumour) as inbox,
            peers.events() as events,
            trio.open_nursery() as nursery,
        ):
            await peers.listen_on(await self.host.listen(9735))
            for friend in friends:
                peers.keep(friend)
            nursery.start_soon(self.welcome, events)
            async for _, rumour in inbox:
                self.learn(rumour.text)

    async def welcome(self, events: PeerEvents) -> None:
        async for _ in events:  # somebody came or went: those who are here hear it all
            for text in self.known:
                self.tell(text)

    def learn(self, text: bytes) -> None:
        if text not in self.known:
            self.known[text] = None
            self.heard.at.setdefault(text, []).append(trio.current_time())
            self.tell(text)

    def tell(self, text: bytes) -> None:
        for node_id in self.manager.get_peer_node_ids():
            self.manager.send_message(node_id, Rumour(text=text))


async def simulate(seed: int) -> Heard:
    network = SimulatedNetwork(seed, Conditions(latency=0.05, jitter=0.1))
    heard = Heard()
    nodes = [Node(seed, number, network, heard) for number in range(NODES)]
    choice = random.Random(seed)
    async with trio.open_nursery() as nursery:
        for number, node in enumerate(nodes):
            others = choice.sample(nodes[:number] + nodes[number + 1 :], 2)
            nursery.start_soon(node.run, [nodes[number - 1].address, *(other.address for other in others)])
        await trio.sleep(TOLD_AT)
        nodes[0].learn(b"before the partition")
        await trio.sleep(CUT_AT - TOLD_AT)
        network.partition([node.host for node in nodes[: NODES // 3]])
        await trio.sleep(SECOND_AT - CUT_AT)
        nodes[0].learn(b"during the partition")
        await trio.sleep(HEALED_AT - SECOND_AT)
        network.heal()
        await trio.sleep(END - HEALED_AT)
        nursery.cancel_scope.cancel()
    return heard


def draw(heard: Heard, file: str) -> None:
    import matplotlib  # only for this

    matplotlib.use("Agg")  # a file, no window
    from matplotlib import pyplot

    subplots: Any = pyplot.subplots  # its types are not all there
    figure, axes = subplots(figsize=(8, 4))
    for text, times in heard.at.items():
        axes.step(
            [times[0], *times, END], [0, *range(1, len(times) + 1), len(times)], where="post", label=text.decode()
        )
    axes.axvspan(CUT_AT, HEALED_AT, alpha=0.15, color="red", label=f"{NODES // 3} nodes cut off")
    axes.set_xlabel("seconds of the simulation")
    axes.set_ylabel("nodes that have heard")
    axes.legend(loc="center right")
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    heard = run_seeded(seed, simulate, seed)
    for text, times in heard.at.items():
        before = sum(at < HEALED_AT for at in times)
        print(
            f"{text.decode()}: {before} of {NODES} nodes within {times[before - 1] - times[0]:.2f} s, "
            f"all {len(times)} within {times[-1] - times[0]:.2f} s"
        )
    if len(sys.argv) > 2:
        draw(heard, sys.argv[2])
        print(f"drawn into {sys.argv[2]}")


if __name__ == "__main__":
    main()
