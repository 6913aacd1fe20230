"""Cost against size: a peer, a channel of the graph and a sighting of a record, among few and among many.

    python -m benchmarks.growth [--json] [--peers 10,100,1000,10000] [--channels 1000,...] [--plot FILE]

A cost is that of one; on a straight line through the points, both axes logarithmic, it grows as their number to some
power, and the cost of all of them together to that power and one more. That exponent is bounded: 1 is linear. The line
is that of the largest sizes: among few, what all share (pages, caches that are still warm, a collector that has nothing
to look at yet) is much of what one costs, and says nothing of how that grows. Python's collector is off while channels
are opened, but for one row: its full rounds come whenever there is a quarter more, so that a size has them or just not.
Peers are
those of `benchmarks/idle.py`. Channels have made-up signatures, which the graph is told not to look at, but for those
whose updates are applied; each size is a process of its own. Sightings are those of `benchmarks/recorder.py`, written
in one go and looked at on the way; what fifty million take is the line, drawn on.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Final

from benchmarks import graphs, idle, nodes
from benchmarks.floods import HONEST, rss_of
from benchmarks.graphs import NOW
from benchmarks.measure import Row
from benchmarks.recorder import BEGAN, MANY_PEERS, SIGHTINGS, session_facts, spread
from triolight.chains import BITCOIN
from triolight.gossip import GossipRules, NetworkGraph, Verdict
from triolight.keys import SecretKey
from triolight.services.disk import BATCH_ROWS
from triolight.services.record import RecordBatch, RecordWriter
from triolight.wire import ShortChannelId

PEERS: Final = (10, 100, 1_000, 10_000)
CHANNELS: Final = (1_000, 5_000, 20_000, 60_000, 200_000)
LOOKS: Final = 4
"""At a record while it is written."""
MANY_SIGHTINGS: Final = 50_000_000
LARGE: Final = 200
"""Sizes from a two-hundredth of the largest one on are those that the line goes through."""
LINEAR: Final = 1.1
"""The largest exponent."""
SIGNED: Final = 500
"""Channels whose updates are applied, each `TIMES` times: the best counts."""
TIMES: Final = 3
RUNS: Final = 2
"""Of each size of the graph, and of a record: the best counts."""
DAY: Final = 86_400


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Of what all of them cost, from what one costs among so many. At least two sizes are large."""
    logs: list[tuple[float, float]]
    logs = [(math.log(at), math.log(cost)) for at, cost in points if at * LARGE >= points[-1][0]]
    mean_at = sum(at for at, _ in logs) / len(logs)
    slope = sum((at - mean_at) * cost for at, cost in logs) / sum((at - mean_at) ** 2 for at, _ in logs)
    return 1 + slope


def curve(what: str, unit: str, things: str, points: Sequence[tuple[float, float]]) -> Iterator[Row]:
    """A row for each size, beside the smallest, and their exponent."""
    fewest, first = points[0]
    for at, cost in points:
        yield Row(f"{what}, of {at:,.0f} {things}", cost, unit, f"{fewest:,.0f}", first, None, False, what, at)
    yield Row(f"{what}: exponent of all {things}", exponent(points), "", "linear", 1, LINEAR)


# ---------------------------------------------------------------------------------------------------------------------
# Peers


def peers(numbers: Sequence[int]) -> Iterator[Row]:
    found = [(number, idle.run(number)) for number in numbers]
    yield from curve("memory of a peer", "KiB", "peers", [(at, one["resident"] / at / 1024) for at, one in found])
    yield from curve(
        "a ping and its pong: CPU", "us", "peers", [(at, one["ping_cpu"] / one["pings"] * 1e6) for at, one in found]
    )
    yield from curve("a peer accepted: CPU", "us", "peers", [(at, one["accept_cpu"] * 1e6) for at, one in found])


# ---------------------------------------------------------------------------------------------------------------------
# The graph


def _node(number: int) -> SecretKey:
    return SecretKey(hashlib.sha256(b"growth %d" % number).digest())


def _update(place: bytes, timestamp: int, direction: int, key: SecretKey | None) -> bytes:
    said = place + timestamp.to_bytes(4, "big") + bytes((1, direction)) + (40).to_bytes(2, "big")
    said += (1).to_bytes(8, "big") + (1000).to_bytes(4, "big") + (100).to_bytes(4, "big") + (10**9).to_bytes(8, "big")
    signature = bytes(64) if key is None else key.sign(hashlib.sha256(hashlib.sha256(said).digest()).digest())
    return b"\x01\x02" + signature + said


def _place(number: int) -> bytes:
    return BITCOIN.chain_hash + ShortChannelId.of(500_000 + number // 100, 1 + number % 100, 0).to_bytes(8, "big")


def _ends(number: int, channels: int) -> tuple[bytes, bytes]:
    """Those of channels that are signed are points; others are not looked at as such. Three channels to a node."""
    if number < SIGNED:
        one, other = _node(2 * number).public_key, _node(2 * number + 1).public_key
    else:
        several = max(2, channels // 3)
        first, second = number % several, (7 * number + 1) % several
        one = b"\x02" + hashlib.sha256(b"%d" % first).digest()
        other = b"\x02" + hashlib.sha256(b"%d" % (second if second != first else second + 1)).digest()
    return min(one, other), max(one, other)


def _channel(number: int, channels: int) -> tuple[bytes, list[bytes]]:
    place, (one, other) = _place(number), _ends(number, channels)
    made = b"\x01\x00" + bytes(256) + bytes(2) + place + one + other + 2 * one
    return made, [_update(place, NOW - 10 * DAY, direction, None) for direction in (0, 1)]


def graph_of(channels: int, collector: bool) -> dict[str, float]:
    """What one of so many channels costs. In a process of its own."""
    if not collector:
        gc.disable()
    graph = NetworkGraph(BITCOIN)
    gc.collect()
    before, opening = rss_of(os.getpid()), 0.0
    for first in range(0, channels, 1000):
        made = [_channel(number, channels) for number in range(first, min(first + 1000, channels))]
        began = time.process_time()
        for announcement, updates in made:
            graph.load(announcement, updates, checked="output")
        opening += time.process_time() - began
        del made
    began = time.process_time()
    next(graph.ascending())  # what it puts in order when it is first asked
    opening += time.process_time() - began
    gc.collect()
    resident = rss_of(os.getpid()) - before

    rules, best = GossipRules(graph), math.inf
    for round_ in range(TIMES):
        signed = []
        for number in range(SIGNED):
            ends = sorted((_node(2 * number), _node(2 * number + 1)), key=lambda one: one.public_key)
            signed.append(_update(_place(number), NOW - (TIMES - round_) * DAY, 0, ends[0]))
        began = time.process_time()
        for update in signed:
            rules.take(update, HONEST.public_key, NOW)
        best = min(best, time.process_time() - began)
        rules.drain()
    if rules.verdicts[Verdict.ACCEPTED] != TIMES * SIGNED:
        raise RuntimeError(f"not all of it was new: {rules.verdicts!r}")
    return {"open": opening / channels * 1e6, "update": best / SIGNED * 1e6, "bytes": resident / channels}


def graph(numbers: Sequence[int]) -> Iterator[Row]:
    def ask(number: int, *options: str) -> dict[str, float]:
        command = [sys.executable, "-m", "benchmarks.growth", "--graph-of", str(number), *options]
        told: list[dict[str, float]] = [
            json.loads(subprocess.run(command, cwd=nodes.ROOT, stdout=-1, check=True).stdout) for _ in range(RUNS)
        ]
        return {name: min(one[name] for one in told) for name in told[0]}

    found = [(number, ask(number)) for number in numbers]
    largest, most = found[-1]
    what = "a channel and two updates, opened"
    yield from curve(what, "us", "channels", [(at, one["open"]) for at, one in found])
    collected = ask(largest, "--collector")["open"]
    yield Row(f"{what}, of {largest:,} channels, with the collector", collected, "us", "without", most["open"])
    yield from curve("an update applied, verified", "us", "channels", [(at, one["update"]) for at, one in found])
    yield from curve("memory of a channel and two updates", "B", "channels", [(at, one["bytes"]) for at, one in found])


# ---------------------------------------------------------------------------------------------------------------------
# A record


def written(path: Path, messages: list[bytes]) -> Iterator[tuple[float, float]]:
    """As a record grows: microseconds of CPU for one more, and what each has taken on the disk."""
    rows, each = spread(messages), SIGHTINGS // LOOKS
    with closing(RecordWriter(path, BEGAN, known=2 * len(messages))) as writer:
        sessions = [session_facts(1 + number) for number in range(MANY_PEERS)]
        known = [(BEGAN - len(messages) + at, 1, 0, one) for at, one in enumerate(messages)]
        before = writer.write(RecordBatch(opened=sessions, sightings=known)).size
        for look in range(1, LOOKS + 1):
            some, took, size = list(islice(rows, each)), 0.0, 0.0
            for at in range(0, len(some), BATCH_ROWS):
                batch = RecordBatch(sightings=some[at : at + BATCH_ROWS])
                began = time.process_time()
                size = writer.write(batch).size
                took += time.process_time() - began
            yield took / each * 1e6, (size - before) / (look * each)


def record(folder: Path) -> Iterator[Row]:
    found = [list(written(folder / f"growth-{run}.db", graphs.messages())) for run in range(RUNS)]
    at = [look * SIGHTINGS / LOOKS for look in range(1, LOOKS + 1)]
    seconds = [(one, min(run[look][0] for run in found)) for look, one in enumerate(at)]
    sizes = [(one, found[0][look][1]) for look, one in enumerate(at)]
    yield from curve("a sighting written, after as many", "us", "sightings", seconds)
    yield from curve("a sighting on the disk", "B", "sightings", sizes)
    # A curve that falls is not drawn on: what has been reached stays.
    for what, points, unit, scale in (
        ("written: CPU", seconds, "s", 1e-6),
        ("on the disk", sizes, "GB", 1e-9),
    ):
        most, cost = points[-1]
        power = max(0.0, exponent(points) - 1)
        many = cost * (MANY_SIGHTINGS / most) ** power * MANY_SIGHTINGS * scale
        beside = f"as many times one of {most:,.0f}"
        yield Row(f"{MANY_SIGHTINGS:,} sightings {what}, drawn on", many, unit, beside, cost * MANY_SIGHTINGS * scale)


def rows(peer_numbers: Sequence[int], channel_numbers: Sequence[int]) -> Iterator[Row]:
    yield from graph(channel_numbers)
    graphs.messages()  # made, if this is the first run
    with tempfile.TemporaryDirectory() as name:
        yield from record(Path(name))
    yield from peers(peer_numbers)


def plot(found: Sequence[Row], path: Path) -> None:
    """A line for each cost: all of them as multiples of the smallest size's."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, three = pyplot.subplots(1, 3, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axes, things in zip(three, ("peers", "channels", "sightings"), strict=True):
        for name in dict.fromkeys(row.curve for row in found if row.curve and row.what.endswith(f" {things}")):
            chosen = sorted((row.at, row.ratio) for row in found if row.curve == name)
            axes.plot([at for at, _ in chosen], [ratio for _, ratio in chosen], marker="o", label=name)
        axes.set(xscale="log", xlabel=things, title=f"one of so many {things}")
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    three[0].set_ylabel("x the cost among the fewest")
    figure.savefig(path, dpi=80, metadata={"Software": None} if path.suffix == ".png" else None)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", default=",".join(map(str, PEERS)))
    parser.add_argument("--channels", default=",".join(map(str, CHANNELS)))
    parser.add_argument("--plot", type=Path, metavar="FILE")
    parser.add_argument("--graph-of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--collector", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.graph_of is not None:
        print(json.dumps(graph_of(given.graph_of, given.collector)))
    else:
        told: list[Row] = []
        for row in rows([int(one) for one in given.peers.split(",")], [int(one) for one in given.channels.split(",")]):
            told.append(row)
            print(json.dumps(row.as_dict()) if given.json else row, flush=True)
        if given.plot is not None:
            plot(told, given.plot)
