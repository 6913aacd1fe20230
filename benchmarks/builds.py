"""Both builds beside each other: a benchmark's parts, taken in turns on the plain build and on a compiled one.

    python -m benchmarks.onion --compiled PYTHON [--only PART] [--rounds N]

PYTHON is that of an environment with a compiled wheel (docs/compiled.md). A round is a process for each build, one
right after the other. For every row that has a bound: the plain figure and the compiled one beside the same floor under
the same bound, and the compiled one beside the plain, each in units of its own floor; the median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Final, TypeAlias

from benchmarks import nodes
from benchmarks.measure import Row, report

ROUNDS: Final = 3
BESIDE_THE_LIBRARY: Final = ("benchmarks", "interop", "tests")
"""What a benchmark imports and starts of the tree."""

Parts: TypeAlias = Mapping[str, Callable[[], Iterable[Row]]]
"""What a benchmark measures, by name: each stands for itself, and all of them in order are its rows."""


def rows_of(parts: Parts) -> Iterator[Row]:
    for part in parts.values():
        yield from part()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--compiled", metavar="PYTHON", help="of an environment with a compiled wheel: both, in turns")
    parser.add_argument("--only", metavar="PART", action="append", help="may be given more than once")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of both builds")


def report_parts(module: str, parts: Parts, given: argparse.Namespace) -> None:
    """What a benchmark's command prints."""
    chosen = {name: parts[name] for name in given.only} if given.only else parts
    if given.compiled is None:
        report(rows_of(chosen))
    else:
        report(in_turns(module, chosen, given.compiled, given.rounds))


def in_turns(module: str, parts: Iterable[str], python: str, rounds: int) -> Iterator[Row]:
    with tree_without_library() as folder:
        check(sys.executable, nodes.ROOT, False)
        check(python, folder, True)
        for part in parts:
            plain, compiled = list[list[Row]](), list[list[Row]]()
            for _ in range(rounds):
                plain.append(run(sys.executable, nodes.ROOT, module, part))
                compiled.append(run(python, folder, module, part))
            for of_plain, of_compiled in zip(zip(*plain, strict=True), zip(*compiled, strict=True), strict=True):
                if of_plain[0].bound is not None:
                    yield from beside_each_other(of_plain, of_compiled)


def beside_each_other(plain: Iterable[Row], compiled: Iterable[Row]) -> Iterator[Row]:
    """What came of one row, round by round."""
    plain, compiled = list(plain), list(compiled)
    ours, theirs = middle(plain), replace(middle(compiled), what=f"{compiled[0].what}, compiled")
    yield ours
    yield theirs
    change = median(other.ratio / one.ratio for one, other in zip(plain, compiled, strict=True))
    yield Row(theirs.what, ours.value * change, ours.unit, "plain", ours.value)


def middle(rounds: list[Row]) -> Row:
    """The median of its ratios, beside the median of its floors."""
    floor = median(one.beside_value for one in rounds)
    return replace(rounds[0], value=median(one.ratio for one in rounds) * floor, beside_value=floor)


# ---------------------------------------------------------------------------------------------------------------------
# Processes


@contextmanager
def tree_without_library() -> Iterator[Path]:
    """A folder with what a benchmark needs of the tree: what is imported from there takes its Python's triolight."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for one in BESIDE_THE_LIBRARY:
            (folder / one).symlink_to(nodes.ROOT / one)
        yield folder


def check(python: str, folder: Path, compiled: bool) -> None:
    program = "import json, triolight; print(json.dumps(triolight.__compiled__))"
    done = subprocess.run([python, "-c", program], cwd=folder, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    if bool(found) != compiled:
        raise SystemExit(f"{python} has {found or 'nothing'} compiled")


def run(python: str, folder: Path, module: str, part: str) -> list[Row]:
    command = [python, "-m", module, "--json", "--only", part]
    done = subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True)
    return [Row.from_dict(json.loads(line)) for line in done.stdout.splitlines()]
