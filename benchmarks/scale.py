"""A thousand nodes with a partition that heals, and 200 connections kept alive for a day: the time to simulate them.

    python -m benchmarks.scale [--json]

Wall time, of one run each; the flood runs twice, the second time in another process, and both must do the same.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass

from tests.simulations import flood, keep_alive
from triolight.testing import run_seeded

NODES = 1000
CONNECTIONS = 200
HOURS = 24
SEED = 1
BOUND_SECONDS = 60


@dataclass(frozen=True)
class Row:
    what: str
    seconds: float
    bound: float
    events: int
    """Messages or writes that crossed the network."""
    notes: str

    def __str__(self) -> str:
        each = self.seconds / self.events * 1e6
        return f"{self.what:<52}{self.seconds:>8.1f} s (bound {self.bound:g}){each:>8.0f} us each  {self.notes}"


def flooding() -> Row:
    began = time.perf_counter()
    done = run_seeded(SEED, flood, SEED, NODES)
    seconds = time.perf_counter() - began
    command = [sys.executable, "-m", "tests.simulations", "flood", str(SEED), str(NODES)]
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if again != done.transcript:
        raise SystemExit("the same seed did something else in another process")
    before = sum(at < done.healed_at for at in done.heard_at)
    notes = (
        f"{before} heard within {max(at for at in done.heard_at if at < done.healed_at) - done.told_at:.2f} s of the "
        f"telling, {NODES - before} within {max(done.heard_at) - done.healed_at:.2f} s of the healing; "
        f"the same in another process ({done.transcript[:16]})"
    )
    return Row(f"{NODES} nodes, {done.connections} connections, one rumour", seconds, BOUND_SECONDS, done.sent, notes)


def a_day() -> Row:
    gc.freeze()
    began = time.perf_counter()
    done = run_seeded(SEED, keep_alive, SEED, CONNECTIONS, HOURS)
    seconds = time.perf_counter() - began
    what = f"{done.connections} connections kept alive for {HOURS} hours"
    return Row(what, seconds, BOUND_SECONDS, done.pings, f"{done.pings} pings, each with its pong")


def main() -> None:
    for measure in (a_day, flooding):
        row = measure()
        print(json.dumps(asdict(row)) if "--json" in sys.argv else row, flush=True)


if __name__ == "__main__":
    main()
