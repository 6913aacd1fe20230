"""How long imports take, and the command's first words: from an installed wheel with its bytecode, medians.

    python -m benchmarks.imports [--json] [--rounds 10]

A wheel is built and unpacked into a folder of its own, which comes before this checkout. Of imports, the time within
the process; of the command, that of the whole process above the one that only imports click.
"""

from __future__ import annotations

import argparse
import compileall
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks import nodes
from benchmarks.measure import Row, report

ROUNDS: Final = 10
OURS: Final = "from triolight import open_peers"
WITHOUT_TRIO: Final = "from triolight import PeerManager"
COMMANDS: Final = {
    "triolight --version": (["--version"], {}),
    "triolight <Tab>": ([], {"_TRIOLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": "triolight ", "COMP_CWORD": "1"}),
    "triolight ping --<Tab>": (
        [],
        {"_TRIOLIGHT_COMPLETE": "bash_complete", "COMP_WORDS": "triolight ping --", "COMP_CWORD": "2"},
    ),
}


def environment(wheel: Path) -> dict[str, str]:
    found = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return found | {"PYTHONPATH": str(wheel)}


def unpacked(folder: Path) -> Path:
    """A folder with our package as users have it."""
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), str(nodes.ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    target = folder / "installed"
    subprocess.run([*pip, "install", "--no-deps", "--target", str(target), str(wheel)], check=True)
    compileall.compile_dir(str(target), quiet=1)
    return target


def import_seconds(statement: str, wheel: Path) -> float:
    program = f"import time\nbegan = time.perf_counter()\n{statement}\nprint(time.perf_counter() - began)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(wheel), cwd=wheel, check=True, capture_output=True, text=True
    )
    return float(done.stdout)


def process_seconds(command: list[str], wheel: Path, more: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *command], env=environment(wheel) | more, cwd=wheel, check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - began


def medians(rounds: int, wheel: Path) -> dict[str, float]:
    """In turns, so that whatever else the machine does falls on all of them alike."""
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        for statement in ("import trio", OURS, WITHOUT_TRIO):
            found.setdefault(statement, []).append(import_seconds(statement, wheel))
        found.setdefault("click", []).append(process_seconds(["-c", "import click"], wheel, {}))
        for what, (arguments, more) in COMMANDS.items():
            found.setdefault(what, []).append(process_seconds(["-m", "triolight", *arguments], wheel, more))
    return {what: statistics.median(times) for what, times in found.items()}


def rows(rounds: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        took = medians(rounds, unpacked(Path(folder)))
    for statement, bound in ((OURS, 1.7), (WITHOUT_TRIO, None)):
        yield Row(statement, 1e3 * took[statement], "ms", "import trio", 1e3 * took["import trio"], bound)
    for what in COMMANDS:
        above = 1e3 * (took[what] - took["click"])
        yield Row(f"{what}, above import click", above, "ms", "150 ms", 150, 1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    report(rows(given.rounds))
