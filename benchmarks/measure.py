"""How all benchmarks time and report: interleaved rounds, the best of each, a ratio; --json for JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Row:
    """One measured thing beside its floor. Microseconds for each operation, process time."""

    what: str
    microseconds: float
    floor: str
    floor_microseconds: float
    ratio: float
    bound: float | None = None

    def __str__(self) -> str:
        bound = "" if self.bound is None else f"  (bound {self.bound:g})"
        return (
            f"{self.what:<44}{self.microseconds:>10.2f} us{self.floor_microseconds:>10.2f} us  "
            f"{self.ratio:>6.2f} x {self.floor}{bound}"
        )


def compare(
    what: str,
    run: Callable[[], int],
    floor: str,
    run_floor: Callable[[], int],
    *,
    bound: float | None = None,
    rounds: int = 7,
) -> Row:
    """Both in turn, `rounds` times; each returns how many operations it did. The best counts: noise only adds."""
    best = best_floor = float("inf")
    for _ in range(rounds):
        for one in (run_floor, run):
            began = time.process_time()
            count = one()
            each = (time.process_time() - began) / count * 1e6
            if one is run:
                best = min(best, each)
            else:
                best_floor = min(best_floor, each)
    return Row(what, best, floor, best_floor, best / best_floor, bound)


def report(rows: list[Row]) -> None:
    for row in rows:
        print(json.dumps(asdict(row)) if "--json" in sys.argv else row)
