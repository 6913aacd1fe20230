"""All benchmarks in turn, each in a process of its own; prints their rows, writes docs/performance.md and its plots.

    python -m benchmarks                    everything, about ten minutes; nothing else should run meanwhile
    python -m benchmarks --write-docs       the same, and the page
    python -m benchmarks --again FILE       the page once more, from the JSON lines of an earlier run

The page is only written from a run in which all that we are compared with was there. A bound that was missed must have
its cause in MISSED below, or nothing is written: no number goes out unexplained.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from benchmarks import nodes
from benchmarks.measure import Row
from interop.versions import versions

SECTIONS: Final = {
    "noise": "Noise in memory",
    "codec": "Messages from bytes and back",
    "streams": "Streams between two processes",
    "echo": "A ping's round trip",
    "connects": "Connecting",
    "floods": "Under attack",
    "idle": "Idle peers",
    "gossip": "Gossip",
    "scale": "Networks on the mock clock",
    "imports": "Imports, and the command's first words",
}
"""Module, and heading of its table."""

NOTES: Final = {
    "noise": "Microseconds of CPU. The floor of a packet is two bare ChaCha20-Poly1305 calls, that of a handshake two "
    "key generations and six ECDH. `brontide.Machine` is LND's, in a Go program of its own.",
    "codec": "Decode and encode, in one go, beside one bare encryption of as many bytes; then the three inputs of "
    "65,535 bytes that cost most to refuse (bound: 50 ms).",
    "streams": "One process sends, another receives, over loopback TCP; CPU of either for each message, under the "
    "default policy. 138 bytes are a channel_update, decoded and handed to a handler; the other sizes are a custom "
    "message.",
    "echo": "Median of 3,000 pings, beside an echo of the same bytes by a bare Trio program; the best of five rounds "
    "of each.",
    "connects": "TCP, three acts and both Inits, one after the other. For LDK only our end is in this process.",
    "floods": "The median round trip of an honest peer while others attack, beside the one just before, and what the "
    "node's memory grew by. Ten flooders: pings that are answered and read; 2,000 pongs of 65,531 bytes each that are "
    "never read, and such pongs without end; unknown odd messages; queries; messages of 65,535 bytes; packets byte by "
    "byte; and thousands of sockets that never shake hands.",
    "idle": "Peers that do nothing but answer pings, their far ends in another process. A round is one ping to each.",
    "gossip": "A network of 45,000 channels, both their updates and 15,000 nodes, all signed, sent by other processes. "
    "CPU of a message, from the socket into the graph, beside coincurve's bare verification of its signatures, or, if "
    "it was known, beside a handler that ignores it; of what is given, beside its encryption. Nothing is passed on, "
    "for there is no chain, but in the rows that say so. Then a whole graph, its time and its bytes; and the honest "
    "peer of the attacks while ten others are told the graph under the default policy, push channels that nobody asked "
    "for, or send those that were asked for.",
    "scale": "A thousand nodes in a random graph, a rumour flooded through it over a partition that heals; 200 "
    "connections kept alive for a day. Wall time.",
    "imports": "From an installed wheel with its bytecode, medians of ten in turns. An import is timed in its process, "
    "a command as a whole process above one that imports click alone.",
}

MISSED: Final = {
    "65,000 B: our bytes a second, of LDK to LDK": "The bound was set where LDK moves 130 to 140 MB/s; on this "
    "machine, whose vector units its cipher uses, it moves three times that, and our floor (the two AEAD calls, "
    "blocking sockets, no Trio) is itself only about three to four times as fast as LDK. It would take fewer copies "
    "between socket and cipher than the AEAD call allows: it takes bytes and returns new ones.",
    "ping between two processes, median, of an echo by Trio alone": (
        "Two ends of Python, in which a ping is nine steps of tasks and an echo four: what lies between the "
        "two systems' calls grows with slower cores. Other runs on machines of this kind gave 2.2 to 2.9. It "
        "would take a reader that does not wait between two chunks, and a pump that is no task of its own."
    ),
    "10000 idle peers: a round of pings, CPU, of 2 seconds": (
        "A ping to one of a hundred peers costs four fifths of one to one of ten thousand, whose objects have "
        "left the processor's caches by the time of the next. The rest is two turns of Trio's loop, each for "
        "one peer alone. It would take fewer and smaller objects a peer, and pings of several peers in one "
        "turn."
    ),
    "known channel_announcement, beyond its decoding: CPU, of 3 us": "The difference of two measured times, each of a "
    "whole path from the socket: five other runs of the day gave 2.1 to 2.9 us.",
}
"""What missed its bound, as `what, of whom`: the cause, and what it would take."""


def key(row: Row) -> str:
    return f"{row.what}, of {row.beside}"


def run(module: str) -> list[Row]:
    """Prints rows as they come."""
    process = subprocess.Popen([sys.executable, "-m", f"benchmarks.{module}", "--json"], stdout=-1, cwd=nodes.ROOT)
    rows: list[Row] = []
    for line in process.stdout or ():
        rows.append(read_row(json.loads(line)))
        print(rows[-1], flush=True)
    if process.wait():
        raise SystemExit(f"benchmarks.{module} has failed")
    return rows


def read_row(found: dict[str, Any]) -> Row:
    return Row(**{name: value for name, value in found.items() if name not in ("ratio", "held")})


# ---------------------------------------------------------------------------------------------------------------------
# The page


def machine() -> list[str]:
    processors = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    processor = processors[0].partition(":")[2].strip() if processors else platform.machine()
    theirs = versions()
    return [
        f"- made on {datetime.date.today():%d %B %Y}, with {os.cpu_count()} cores of {processor};",
        f"- Python {platform.python_version()}, "
        + ", ".join(f"{name} {version(name)}" for name in ("trio", "coincurve", "cryptography"))
        + ";",
        "- beside " + ", ".join(f"{name} {theirs[name]}" for name in ("LDK native", "LND", "pyln-proto")) + ".",
    ]


def number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> list[str]:
    lines = ["| what | measured | beside | ratio | bound |", "| --- | ---: | --- | ---: | --- |"]
    for row in rows:
        bound = row.limit if row.held else f"{row.limit}, **missed**"
        beside = f"{row.beside}: {number(row.beside_value)}"
        lines.append(f"| {row.what.strip()} | {number(row.value)} {row.unit} | {beside} | {row.ratio:.3g} | {bound} |")
    return lines


def page(found: dict[str, list[Row]]) -> str:
    rows = [row for section in found.values() for row in section]
    missed = [row for row in rows if not row.held]
    unexplained = [key(row) for row in missed if key(row) not in MISSED]
    if unexplained:
        raise SystemExit(f"missed, and no cause is given: {unexplained}")
    bounded = sum(row.bound is not None for row in rows)
    lines = [
        "# Performance",
        "",
        "Made by `python -m benchmarks --write-docs`; do not edit. Every number stands beside a floor or beside",
        "another implementation that was measured in the same run, and the ratio of the two is what counts: machines",
        "differ. What was measured is in [performance.jsonl](performance.jsonl), a line for each row.",
        "",
        *machine(),
        "",
        f"Of {bounded} bounds {bounded - len(missed)} held" + (", and these were missed:" if missed else "."),
        "",
        *(f"- {key(row)}: {row.ratio:.3g} ({row.limit}). {MISSED[key(row)]}" for row in missed),
        *([""] if missed else []),
    ]
    for module, heading in SECTIONS.items():
        lines += [f"## {heading}", "", f"`python -m benchmarks.{module}`. {NOTES[module]}", ""]
        if module in PLOTS:
            lines += [f"![{heading}](performance_{module}.png)", ""]
        lines += [*table(found[module]), ""]
    return "\n".join(lines)


PLOTS: Final = ("streams", "floods", "idle")


def plot(found: dict[str, list[Row]], folder: Path) -> None:
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    def points(module: str, curve: str) -> tuple[list[float], list[float]]:
        chosen = sorted((row.at, row.value) for row in found[module] if row.curve == curve)
        return [at for at, _ in chosen], [value for _, value in chosen]

    figure, both = pyplot.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, role in zip(both, ("sender", "receiver"), strict=True):
        for pair in ("triolight to triolight", "triolight to LDK", "LDK to triolight", "LDK to LDK"):
            axes.plot(*points("streams", f"{role}, {pair}"), marker="o", label=pair)
        axes.set(xscale="log", yscale="log", xlabel="bytes of a message", ylabel="CPU a message, µs", title=role)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "performance_streams.png", dpi=80, metadata={"Software": None})

    figure, both = pyplot.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    for axes, kind in zip(both, ("pongs_unread", "pings_read"), strict=True):
        chosen = {row.curve.split(", ")[1]: row for row in found["floods"] if row.curve.startswith(f"{kind}, ")}
        places = range(len(chosen))
        axes.bar([at - 0.2 for at in places], [row.beside_value for row in chosen.values()], 0.4, label="idle")
        axes.bar([at + 0.2 for at in places], [row.value for row in chosen.values()], 0.4, label="under attack")
        axes.set_xticks(list(places), list(chosen))
        axes.set(yscale="log", ylabel="honest peer's median RTT, ms", title=f"10 x {kind}")
        axes.legend()
    figure.savefig(folder / "performance_floods.png", dpi=80, metadata={"Software": None})

    figure, three = pyplot.subplots(1, 3, figsize=(10, 3.2), layout="constrained")
    for axes, curve, title, unit in zip(
        three,
        ("KiB", "ping", "message"),
        ("memory of a peer", "a ping and its pong", "a channel_update of one more peer"),
        ("KiB", "CPU, µs", "CPU, µs"),
        strict=True,
    ):
        axes.plot(*points("idle", curve), marker="o")
        axes.set(xscale="log", xlabel="idle peers", ylabel=unit, title=title)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.savefig(folder / "performance_idle.png", dpi=80, metadata={"Software": None})


def write(found: dict[str, list[Row]]) -> None:
    folder = nodes.ROOT / "docs"
    text = page(found)
    lines = [json.dumps({"benchmark": name, **row.as_dict()}) for name, rows in found.items() for row in rows]
    (folder / "performance.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "performance.md").write_text(text)
    plot(found, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--again", type=Path, metavar="FILE")
    given = parser.parse_args()
    found: dict[str, list[Row]] = {module: [] for module in SECTIONS}
    if given.again is not None:
        for line in given.again.read_text().splitlines():
            one = json.loads(line)
            found[one.pop("benchmark")].append(read_row(one))
        write(found)
        return
    lacking = [path for path in (nodes.LDK, nodes.BRONTIDE, nodes.LND, nodes.PYLN) if not path.is_file()]
    if given.write_docs and lacking:
        raise SystemExit("not built: " + ", ".join(str(path.relative_to(nodes.ROOT)) for path in lacking))
    for module in SECTIONS:
        found[module] = run(module)
    if given.write_docs:
        # Kept even if a bound was missed for which there is no cause yet: --again.
        kept = nodes.ROOT / ".performance.jsonl"
        kept.write_text(
            "".join(
                json.dumps({"benchmark": name, **row.as_dict()}) + "\n" for name, rows in found.items() for row in rows
            )
        )
        write(found)


if __name__ == "__main__":
    main()
