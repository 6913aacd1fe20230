"""How the interval at which nodes pass gossip on changes how long an update takes: an experiment, in memory.

Nodes with a graph each, on a clock that jumps; a recorder that is connected to all of them; one channel_update. Every
choice comes from the seed, so a second run records the same bytes. With a file name, the delays are drawn into it
(needs matplotlib).

    python examples/experiment.py [NODES [FILE.png]]
"""

from __future__ import annotations

import random
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

import trio

from triolight import ChannelMessageHandler, MessageHandler, NodeAddress, NullLogger, PeerManager, open_peer_nursery
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy, sign_announcement
from triolight.keys import SecretKey
from triolight.messages import ChannelAnnouncement, ChannelUpdate
from triolight.services import RecordingHandler, open_gossip, open_recorder, unread_gossip
from triolight.testing import Conditions, SimulatedNetwork, derive, run_seeded
from triolight.wire import ShortChannelId

SEED = 1
INTERVALS = (10, 30, 60, 90)
"""Seconds. 60 is BOLT 7's and Core Lightning's; LND takes 90."""
FIRST, SECOND = sorted((SecretKey(bytes([number]) * 32) for number in (8, 9)), key=lambda key: key.public_key)
SCID = ShortChannelId.of(100, 1, 0)


def unix_time() -> float:
    return 1_750_000_000 + trio.current_time()


class Node:
    """One that verifies what it hears, and passes it on."""

    def __init__(self, number: int, network: SimulatedNetwork, interval: int, channel: bytes) -> None:
        self.host, self.chance = network.host(), random.Random(f"{SEED}/{number}")
        graph = NetworkGraph(REGTEST)
        graph.load(channel)  # believed as it is: what matters here is its update
        policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=interval))
        self.sync = P2PGossipSync(
            graph, policy=policy, clock=trio.current_time, unix_time=unix_time, chance=self.chance.random
        )
        self.manager = manager_of(self.sync, number)
        self.address = NodeAddress(self.manager.our_node_id, self.host.address, 9735)

    async def run(self, friends: list[Node]) -> None:
        async with (
            open_peer_nursery(self.manager, dial=self.host.dial, jitter=self.chance) as peers,
            open_gossip(peers, self.sync, unix_time=unix_time),
        ):
            await peers.listen_on(await self.host.listen(9735))
            for friend in friends:
                peers.keep(friend.address)
            await trio.sleep_forever()


def manager_of(routes: Any, number: int, **options: Any) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), routes)
    keys = derive(SEED, "secret", number), derive(SEED, "ephemeral", number)
    return PeerManager(handlers, *keys, NullLogger(), networks=REGTEST, **options)


async def experiment(count: int, interval: int, record: Path) -> None:
    """A network in which nodes pass on each so many seconds; what the recorder hears is in the record."""
    network, choice = SimulatedNetwork(SEED, Conditions(latency=0.05, jitter=0.1), cut=False), random.Random(SEED)
    nodes = [Node(number, network, interval, announcement()) for number in range(count)]
    observer, host = manager_of(RecordingHandler(), count, messages=unread_gossip()), network.host()
    async with (
        trio.open_nursery() as nursery,
        open_peer_nursery(observer, dial=host.dial, jitter=choice, unix_ns=lambda: round(unix_time() * 1e9)) as peers,
        open_recorder(peers, record, backlog=0),
    ):
        for number, node in enumerate(nodes):
            friends = [nodes[number - 1], *choice.sample(nodes[:number] + nodes[number + 1 :], 3)]
            nursery.start_soon(node.run, friends)
            peers.keep(node.address)
        await trio.sleep(120)  # all of them know each other
        nodes[0].sync.announce_own(update(int(unix_time())))
        await trio.sleep(15 * interval)
        nursery.cancel_scope.cancel()


def announcement() -> bytes:
    blank, keys = bytes(64), (FIRST.public_key, SECOND.public_key)
    return ChannelAnnouncement(
        node_signature_1=blank,
        node_signature_2=blank,
        bitcoin_signature_1=blank,
        bitcoin_signature_2=blank,
        features=b"",
        chain_hash=REGTEST.chain_hash,
        short_channel_id=SCID,
        node_id_1=keys[0],
        node_id_2=keys[1],
        bitcoin_key_1=keys[0],
        bitcoin_key_2=keys[1],
    ).encode()


def update(timestamp: int) -> ChannelUpdate:
    unsigned = ChannelUpdate(
        signature=bytes(64),
        chain_hash=REGTEST.chain_hash,
        short_channel_id=SCID,
        timestamp=timestamp,
        message_flags=1,
        channel_flags=0,
        cltv_expiry_delta=40,
        htlc_minimum_msat=1,
        fee_base_msat=1000,
        fee_proportional_millionths=10,
        htlc_maximum_msat=10**9,
    )
    return sign_announcement(unsigned, FIRST)


def delays(record: Path) -> list[float]:
    """Seconds from the first peer that said it to each of them, in order."""
    with closing(sqlite3.connect(record)) as file:
        statement = "SELECT min(delay_ns) FROM delay WHERE type = 258 GROUP BY session ORDER BY 1"
        return [delay / 1e9 for (delay,) in file.execute(statement)]


def draw(found: dict[int, list[float]], file: str) -> None:
    import matplotlib  # only for this

    matplotlib.use("Agg")  # a file, no window
    from matplotlib import pyplot

    subplots: Any = pyplot.subplots  # its types are not all there
    figure, axes = subplots(figsize=(8, 4))
    for interval, seconds in found.items():
        axes.step(seconds, [(at + 1) / len(seconds) for at in range(len(seconds))], label=f"each {interval} s")
    axes.set_xlabel("seconds behind the first peer")
    axes.set_ylabel("share of peers that have said it")
    axes.legend(loc="lower right")
    figure.tight_layout()
    figure.savefig(file, dpi=100)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    found: dict[int, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for interval in INTERVALS:
            record = Path(folder) / f"{interval}.db"
            run_seeded(SEED, experiment, count, interval, record)
            seconds = found[interval] = delays(record)
            half, most = seconds[len(seconds) // 2], seconds[int(0.95 * (len(seconds) - 1))]
            print(
                f"each {interval} s: {len(seconds)} of {count} peers say it, half within {half:.1f} s, 95% {most:.1f} s"
            )
    if len(sys.argv) > 2:
        draw(found, sys.argv[2])
        print(f"drawn into {sys.argv[2]}")


if __name__ == "__main__":
    main()
