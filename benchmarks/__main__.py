"""All benchmarks in turn, each in a process of its own; prints their rows, writes docs/performance.md and its plots.

    python -m benchmarks                    everything, about fifteen minutes; nothing else should run meanwhile
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
from typing import Final

from benchmarks import bare, growth, nodes
from benchmarks.measure import Row
from interop.versions import versions

SECTIONS: Final = {
    "noise": "Noise in memory",
    "codec": "Messages from bytes and back",
    "streams": "Streams between two processes",
    "parts": "A message's way, by its parts",
    "echo": "A ping's round trip",
    "connects": "Connecting",
    "floods": "Under attack",
    "idle": "Idle peers",
    "growth": "Growth",
    "gossip": "Gossip",
    "recorder": "Recording",
    "onion": "Onion messages and offers",
    "fleet": "A fleet",
    "scale": "Networks on the mock clock",
    "imports": "Imports, and the command's first words",
}
"""Module, and heading of its table."""

NOTES: Final = {
    "noise": "Microseconds of CPU. The floor of a packet is two bare ChaCha20-Poly1305 calls, that of a handshake two "
    "key generations and six ECDH: as coincurve's classes make them, where a key is two multiplications, and as few "
    "calls of libsecp256k1 as it takes. `brontide.Machine` is LND's, in a Go program of its own.",
    "codec": "Decode and encode, in one go, beside one bare encryption of as many bytes; then the three inputs of "
    "65,535 bytes that cost most to refuse (bound: 50 ms).",
    "streams": "One process sends, another receives, over loopback TCP; CPU of either for each message, under the "
    "default policy. 138 bytes are a channel_update, decoded and handed to a handler; the other sizes are a custom "
    "message.",
    "parts": "A channel_update from a socket to a handler, in a node with one peer that says nothing else, and from "
    "`Peer.send` to a socket. A part is what a way that has it costs more than the ways without. "
    "[compiled.md](compiled.md) has the compiled build.",
    "echo": "Median of 3,000 pings, beside an echo of the same bytes by a bare Trio program; the best of five rounds "
    "of each.",
    "connects": "TCP, three acts and both Inits, one after the other, beside the acts in memory and a bare Trio "
    "program that sends the same bytes. For LDK only our end is in this process. Then a node that starts and dials 500 "
    "others at once, of ours (`keep`, 32 dials in flight) and a native LDK, all others in one process; an honest "
    "peer's round trip is the median at any moment of the storm.",
    "floods": "The median round trip of an honest peer while others attack, beside the one just before, and what the "
    "node's memory grew by. Ten flooders: pings that are answered and read; 2,000 pongs of 65,531 bytes each that are "
    "never read, and such pongs without end; unknown odd messages; queries; messages of 65,535 bytes; packets byte by "
    "byte; and thousands of sockets that never shake hands. LND's figures here are of 0.20.0-beta.",
    "idle": "Peers that do nothing but answer pings, their far ends in another process. A round is one ping to each.",
    "growth": "What one costs among few and among many: a peer, a channel of the graph, a sighting of a record. The "
    "exponent is that of all of them together, over the largest sizes: 1 is linear. Sightings are written to a "
    "million, and what fifty million take is drawn on from there.",
    "gossip": "A network of 45,000 channels, both their updates and 15,000 nodes, all signed, sent by other processes. "
    "CPU of a message, from the socket into the graph, beside coincurve's bare verification of its signatures, or, if "
    "it was known, beside a handler that ignores it; of what is given, beside its encryption. Nothing is passed on, "
    "for there is no chain, but in the rows that say so. Then a whole graph, its time and its bytes; and the honest "
    "peer of the attacks while ten others are told the graph under the default policy, push channels that nobody asked "
    "for, or send those that were asked for.",
    "recorder": "A node that records what a hundred peers say, each the same 2,000 messages as fast as they are taken; "
    "beside it the store alone with these sightings, and a node that decodes them and forgets. Then 20,000 sightings a "
    "second, and an honest peer beside the hundred. Bytes are those of a million sightings by 900 peers, without the "
    "messages themselves. `python -m benchmarks.recorder --minutes 10` shows whether memory grows.",
    "onion": "CPU, beside the bare calls of libsecp256k1, ChaCha20, HMAC and AEAD that the same work takes. Packets "
    "of 1,366 and of 32,834 bytes; what is passed on is beside a handler that makes those calls and opens nothing. "
    "Offers are new ones each time; for an invoice the median time on loopback counts. Then memory, and the honest "
    "peer of the attacks beside one that sends far more than the limits let in.",
    "fleet": "Messages of 140 bytes through a front, the engine and a back to a subscriber, beside one process with "
    "the same subscriber; CPU of each process. In a flood there are many messages to an entry, at 200 a second "
    "one. The engine's disk is synced for all that it answers, but where a round trip is bounded: there once a second. "
    "Then idle peers, and outages; none of them may lose a message or tell it twice. `python -m benchmarks.fleet_soak "
    "--seconds 60` kills each process in turn, under 2,000 peers.",
    "scale": "A thousand nodes in a random graph, a rumour flooded through it over a partition that heals; 200 "
    "connections kept alive for a day. Wall time.",
    "imports": "From an installed wheel with its bytecode, medians of ten in turns. An import is timed in its process, "
    "a command as a whole process above one that imports click alone.",
}

MISSED: Final = {
    "138 B: our receiver's CPU beside LDK's, same sender, of LDK": (
        "Its two AEAD calls, as Python makes them, are as much as all that LDK does. The message and its twelve values "
        "as objects are 0.3 of that more, its packet another 0.3, reading, routing and the handler's call 0.65, the "
        "shell and Trio 0.3; the rest is what two busy processes cost each other. Other runs gave 2.6 to 3.4. It would "
        "take an AEAD that opens a packet in one call."
    ),
    "ping between two processes, median, of an echo by Trio alone": (
        "Two ends of Python, in which a ping is seven steps of tasks and an echo four: what lies between the "
        "two systems' calls grows with slower cores. Other runs on machines of this kind gave 2.2 to 3.2. It "
        "would take a pump that is no task of its own."
    ),
    "connect: TCP, acts, Inits, both ends here: CPU, of the acts alone, both ends": (
        "Of 1.4 ms the curve and the ciphers take a quarter, the system a seventh, and the interpreter the rest: 17 "
        "steps of tasks at both ends, 14 waits for sockets and 2,800 calls, each run once and then left by the "
        "processor's caches. A hundred connects at once cost a quarter less each. It would take a compiled shell."
    ),
    "10000 idle peers: a round of pings, CPU, of 2 seconds": (
        "The bound is of a machine that is about three times as fast on this path: what a peer was before took "
        "3.7 s in a run right after this one. A ping to one of a thousand peers costs three quarters of one to one of "
        "ten thousand, whose objects have left the processor's caches by the time of the next. It would take pings of "
        "several peers in one turn."
    ),
    "200 a second, each answered: CPU of a message: front, of single process": "Alone in its entry, a message and its "
    "answer are a script and a read of the engine, and of what they cost three fifths are in its client: a pool, a "
    "request, a task that writes and one that reads, each with deadlines of its own. A single process was 590 us in "
    "the run before, 380 in this one. It would take a client that is no more than a socket.",
    "200 a second: round trip, median, above, of 4 ms": "Two entries through a server, each with two calls of the "
    "client, of 0.3 ms and more; it was 6.6 ms while each read was told the engine before the next one. It would take "
    "what stands above.",
    "sightings of 100 peers, socket to disk, of 50 k/s": "The bound was set by what a recorder does with messages "
    "that are there: hash, id, row, commit, which the store alone does eleven times as fast. From the socket on, each "
    "is also decrypted, put into a subscriber's inbox, and handed to a thread that shares one interpreter with all of "
    "that; and peers are held and let go as the disk falls behind. It would take a recorder that hears many messages "
    "at a time.",
    "20,000 sightings a second: of a core, of 50 %": "As above: it is the whole way from the socket, not the recorder.",
    "an invoice_request, read and verified, of its signature verified": "Beside the signature there are some twenty "
    "hashes over its records, and its fields, which are walked twice: for their bytes, and for what they say. It "
    "would take one walk for both.",
    "known channel_announcement, beyond its decoding: CPU, of 3 us": "The difference of two measured times, each of a "
    "whole path from the socket: five other runs of the day gave 2.1 to 2.9 us.",
}
"""What missed its bound, as `what, of whom`: the cause, and what it would take."""
STEP_OF: Final = f"where a step of Python takes {bare.STEP:g} us"
MISSED.update(
    {
        f"{what}, of {most} {STEP_OF}": MISSED[f"{what}, of {alone}"]
        for what, most, alone in (
            ("10000 idle peers: a round of pings, CPU", "2 s", "2 seconds"),
            ("20,000 sightings a second: of a core", "50 %", "50 %"),
            ("known channel_announcement, beyond its decoding: CPU", "3 us", "3 us"),
        )
    }
)
MOVED: Final = "It moves with the machine: the row beside it whose floor is of the same kind is what has to hold."
"""Of a bound that moves, and is missed for no other cause."""


MOVES: Final = (
    (
        "our receiver, beside native LDK or two AEAD calls",
        "a third of it is the cipher, the rest are steps of Python",
        "a loop that reads, slices, opens, unpacks and calls",
    ),
    (
        "packets and a handshake, beside their calls of the cipher and the curve",
        "nonces, slices, hashes and their joining are Python",
        "a loop of the same calls, in a row",
    ),
    (
        "a ping, beside an echo by Trio",
        "seven steps of tasks beside four; the rest is the kernel",
        "an echo with a task that reads, a channel and the cipher at each end",
    ),
    (
        "pings of idle peers, in seconds",
        "all of it is Python, and the caches",
        "as many connections by Trio alone, with a task each and a channel",
    ),
    (
        "an honest peer under attack, beside idle",
        "attackers take cores, and the node is blamed for it",
        "idle, longer by what an echo beside the node takes longer",
    ),
    (
        "new gossip, beside bare verifications or native LDK",
        "of a channel a fifth is Python, of an update a quarter",
        "a loop that opens, hashes, verifies and keeps",
    ),
    (
        "known gossip and a snapshot, in seconds",
        "all of it is Python",
        "the same seconds, by what a step of Python takes",
    ),
    (
        "simulated networks, in seconds",
        "all of it is Python, and the caches",
        "as many connections by Trio alone on the mock clock",
    ),
    ("a graph to ten peers, beside two AEAD calls", "as packets", "a loop that seals and sends"),
    (
        "sightings, beside 50,000 a second",
        "all of it is Python and SQLite",
        "a program of bare Python: opened, hashed, looked up, and a thread that writes",
    ),
    (
        "an invoice request, beside its signature",
        "some twenty hashes are joined in Python",
        "its records cut and hashed in a loop, and the signature",
    ),
    ("a layer of an onion, beside native LDK", "a tenth of it is Python", "its bare calls"),
)
"""What moves, why, and the floor of its own kind."""


def what_moves() -> list[str]:
    return [
        "## What moves with the machine",
        "",
        "How fast an interpreter is beside a machine's C (ciphers, curves, the kernel, native LDK) differs from one",
        "machine to the next. A ratio whose two sides are of one kind stays where it is; one of Python beside C moves",
        "by as much as these two differ, and one beside a fixed number by all of it. Shared cores move the two sides",
        "apart, too, where they are not taken in turns. A bound that says *moves* is of the machine where it was set,",
        "and stays what it was there. Beside it stands the same figure with a floor of its own kind",
        "(`benchmarks/bare.py`), taken in turns, and the bound of that one is to hold on any machine.",
        "",
        "| what moves | why | what stands beside it |",
        "| --- | --- | --- |",
        *(f"| {what} | {why} | {floor} |" for what, why, floor in MOVES),
        "",
        "A step of Python is a method that cuts out eight bytes, makes their number and looks it up:",
        f"{bare.STEP:g} us where the bounds in seconds were set. What is beside a fixed number with twice the room or",
        "more, and what is no time at all, as bytes, memory and exponents, has no second floor. A fleet and a single",
        "process are the same interpreter, and so are our imports and Trio's.",
        "",
    ]


def key(row: Row) -> str:
    return f"{row.what}, of {row.beside}"


def run(module: str) -> list[Row]:
    """Prints rows as they come."""
    process = subprocess.Popen([sys.executable, "-m", f"benchmarks.{module}", "--json"], stdout=-1, cwd=nodes.ROOT)
    rows: list[Row] = []
    for line in process.stdout or ():
        rows.append(Row.from_dict(json.loads(line)))
        print(rows[-1], flush=True)
    if process.wait():
        raise SystemExit(f"benchmarks.{module} has failed")
    return rows


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
    unexplained = [key(row) for row in missed if key(row) not in MISSED and not row.moves]
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
        *(f"- {key(row)}: {row.ratio:.3g} ({row.limit}). {MISSED.get(key(row), MOVED)}" for row in missed),
        *([""] if missed else []),
    ]
    lines += what_moves()
    for module, heading in SECTIONS.items():
        lines += [f"## {heading}", "", f"`python -m benchmarks.{module}`. {NOTES[module]}", ""]
        if module in PLOTS:
            lines += [f"![{heading}](performance_{module}.png)", ""]
        lines += [*table(found[module]), ""]
    return "\n".join(lines)


PLOTS: Final = ("streams", "floods", "idle", "growth")


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

    growth.plot(found["growth"], folder / "performance_growth.png")


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
            found[one.pop("benchmark")].append(Row.from_dict(one))
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
