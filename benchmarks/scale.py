"""A thousand nodes with a partition that heals, and 200 connections kept alive for a day: the time to simulate them.

    python -m benchmarks.scale [--json]

Wall time, of one run each; the flood runs twice, the second time in another process, and both must do the same.
"""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks import bare
from benchmarks.measure import Row, report
from tests.support.simulations import flood, keep_alive
from triolight.testing import run_seeded

NODES = 1000
CONNECTIONS = 200
HOURS = 24
SEED = 1
BOUND_SECONDS = 60
FLOOR = "a ping and its pong by Trio alone, as many connections"
PING_BOUND, SENT_BOUND = 2.0, 7.0


def flooding() -> Iterator[Row]:
    floor, began, cpu = bare.simulated(), time.perf_counter(), time.process_time()
    done = run_seeded(SEED, flood, SEED, NODES)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    command = [sys.executable, "-m", "tests.support.simulations", "flood", str(SEED), str(NODES)]
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if again != done.transcript:
        raise SystemExit("the same seed did something else in another process")
    before = sum(at < done.healed_at for at in done.heard_at)
    what = f"{NODES} nodes, {done.connections} connections, one rumour"
    yield Row(what, seconds, "s", "60 seconds", BOUND_SECONDS, 1, moves=True)
    floor = (floor + bare.simulated()) / 2
    yield Row("  each of its messages and writes: CPU", cpu / done.sent * 1e6, "us", FLOOR, floor, SENT_BOUND)
    told = max(at for at in done.heard_at if at < done.healed_at) - done.told_at
    yield Row(
        f"  until {before} had heard it, simulated time",
        told,
        "s",
        "the rest, after the healing",
        max(done.heard_at) - done.healed_at,
    )


def a_day() -> Iterator[Row]:
    gc.freeze()
    floor, began, cpu = bare.simulated(), time.perf_counter(), time.process_time()
    done = run_seeded(SEED, keep_alive, SEED, CONNECTIONS, HOURS)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    what = f"{done.connections} connections kept alive for {HOURS} hours"
    yield Row(what, seconds, "s", "60 seconds", BOUND_SECONDS, 1, moves=True)
    floor = (floor + bare.simulated()) / 2
    yield Row("  each of its pings with its pong: CPU", cpu / done.pings * 1e6, "us", FLOOR, floor, PING_BOUND)


def rows() -> Iterator[Row]:
    yield from a_day()
    yield from flooding()


if __name__ == "__main__":
    report(rows())
