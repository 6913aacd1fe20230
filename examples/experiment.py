"""How the interval at which nodes pass gossip on changes how long an update takes: an experiment, in memory.

Nodes with a graph each, on a clock that jumps; a recorder that is connected to all of them; one channel_update. Every
choice comes from the seed, so a second run records the same bytes. With a file name, the delays are drawn into it
(needs matplotlib).

    python examples/experiment.py [NODES [FILE.png]]
"""

import importlib
import sqlite3
import sys
import tempfile
from contextlib import closing
from typing import Any

import trio

from triolight.gossip import GossipPolicy, ServePolicy
from triolight.testing import Conditions, GossipTown, SimulatedNetwork, run_seeded


async def experiment(count: int, interval: int, record: str) -> None:
    town = GossipTown(1, count, policy=GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=interval)))
    network = SimulatedNetwork(1, Conditions(latency=0.05, jitter=0.1), cut=False)
    async with town.open(network), town.record(network, record):
        await trio.sleep(120)  # all of them know each other
        town.say(0)
        await trio.sleep(15 * interval)


def delays(record: str) -> list[float]:
    """Seconds from the first peer that said it to each of them, in order."""
    with closing(sqlite3.connect(record)) as file:
        statement = "SELECT min(delay_ns) / 1e9 FROM delay WHERE type = 258 GROUP BY session ORDER BY 1"
        return [seconds for (seconds,) in file.execute(statement)]


count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
found: dict[int, list[float]] = {}
for interval in (10, 30, 60, 90):  # 60 is BOLT 7's and Core Lightning's; LND takes 90
    with tempfile.TemporaryDirectory() as folder:
        run_seeded(1, experiment, count, interval, f"{folder}/seen.db")
        seconds = found[interval] = delays(f"{folder}/seen.db")
    half, most = seconds[len(seconds) // 2], seconds[int(0.95 * (len(seconds) - 1))]
    print(f"each {interval} s: {len(seconds)} of {count} peers say it, half within {half:.1f} s, 95% {most:.1f} s")
if len(sys.argv) > 2:
    pyplot: Any = importlib.import_module("matplotlib.pyplot")
    for interval, seconds in found.items():
        pyplot.step(seconds, [(at + 1) / len(seconds) for at in range(len(seconds))], label=f"each {interval} s")
    pyplot.xlabel("seconds behind the first peer")
    pyplot.ylabel("share of peers that have said it")
    pyplot.legend()
    pyplot.savefig(sys.argv[2])
    print(f"drawn into {sys.argv[2]}")
