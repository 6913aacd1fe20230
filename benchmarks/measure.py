"""How all benchmarks time and report: interleaved rounds, the best of each, a ratio; --json for JSON lines."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One measured thing beside another one of the same run: its floor, or somebody else's."""

    what: str
    value: float
    unit: str
    beside: str
    beside_value: float
    bound: float | None = None
    """Of the ratio. None: for the record."""
    at_least: bool = False
    """What the bound is; False: at most."""
    curve: str = ""
    """Of a plot that this is a point of: what a curve of it shows."""
    at: float = 0
    """Where on the plot's axis: peers, bytes."""
    moves: bool = False
    """What it stands beside is of another kind of work: the bound is of the machine where it was set, and another row
    has one that moves with it."""

    @property
    def ratio(self) -> float:
        return self.value / self.beside_value if self.beside_value else float("nan")

    @property
    def held(self) -> bool:
        if self.bound is None:
            return True
        return self.ratio >= self.bound if self.at_least else self.ratio <= self.bound

    @property
    def limit(self) -> str:
        """The bound in words; empty without one."""
        if self.bound is None:
            return ""
        return f"{'at least' if self.at_least else 'at most'} {self.bound:.3g}{', moves' if self.moves else ''}"

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "ratio": self.ratio, "held": self.held}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> Row:
        return cls(**{name: value for name, value in found.items() if name not in ("ratio", "held")})

    def __str__(self) -> str:
        bound = f"  ({self.limit}){'' if self.held else '  MISSED'}" if self.limit else ""
        return (
            f"{self.what:<58}{self.value:>11.4g} {self.unit:<9}{self.ratio:>8.3g} x {self.beside_value:.4g} of "
            f"{self.beside}{bound}"
        )


def compare(
    what: str,
    run: Callable[[], int],
    floor: str,
    run_floor: Callable[[], int],
    *,
    bound: float | None = None,
    rounds: int = 7,
    moves: bool = False,
) -> Row:
    """Both in turn, `rounds` times; each returns how many operations it did. The best counts: noise only adds.
    Microseconds of process time for each operation."""
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
    return Row(what, best, "us", floor, best_floor, bound, moves=moves)


def report(rows: Iterable[Row]) -> None:
    """Prints each row as it comes."""
    for row in rows:
        print(json.dumps(row.as_dict()) if "--json" in sys.argv else row, flush=True)
