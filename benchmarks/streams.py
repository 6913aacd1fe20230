"""Streams over loopback TCP between two processes, ours and native LDK, in every pairing and at four sizes.

CPU for each message at either end, messages and bytes a second; beside the bare AEAD calls, and for the largest ones
beside two programs of blocking sockets that make the same calls and nothing else.

    python -m benchmarks.streams [--json] [--compiled PYTHON]

138 bytes are channel_updates, decoded, to a handler; the others are messages of a custom type, to a handler as well.
The channel_updates are decrypted, and nothing else, by pyln-proto too. With `--compiled`, the Python of an environment
that has a compiled wheel (docs/compiled.md), only channel_updates are sent, by and to both builds and LDK in turns. A
ratio is of one turn; the median of all counts.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks import bare, nodes
from benchmarks.floods import UPDATE
from benchmarks.measure import Row, report
from triolight.noise import Opener, Sealer

CUSTOM: Final = 43001
ACK: Final = 43003
SIZES: Final = {138: 200_000, 140: 100_000, 430: 100_000, 1_400: 60_000, 65_000: 3_000}
"""Bytes of a message, and how many are sent."""
ROUNDS: Final = 3
TURNS: Final = 5
LOOP_BOUND: Final = 2.5
OPTIONS: Final = ("--count-type", str(CUSTOM), "--ack-type", str(ACK))
GOALS: Final = (1.7, 3.2)
"""What our sender and our receiver of channel_updates may cost at the most, beside LDK's."""
COMPILED_GOALS: Final = (1.5, 2.0)


@dataclass
class Stream:
    """Microseconds of CPU for each message, and seconds for all, the best of several rounds."""

    sender: float = float("inf")
    receiver: float = float("inf")
    seconds: float = float("inf")


def payload(size: int) -> tuple[int, bytes]:
    """Message type, and what follows its two bytes."""
    update = UPDATE.encode()
    return (258, update[2:]) if size == len(update) else (CUSTOM, bytes(size - 2))


def measure(one: nodes.Node, other: nodes.Node, size: int, best: Stream) -> None:
    type_, content = payload(size)
    count = SIZES[size]
    before = other.command("counts")
    one.command("flood", node_id=other.node_id, type=type_, payload=content.hex(), count=count)
    flooded = one.event("flooded")
    while (after := other.command("counts"))["messages"] - before["messages"] < count:
        time.sleep(0.005)
    best.sender = min(best.sender, flooded["cpu"] / count * 1e6)
    best.receiver = min(best.receiver, (after["cpu"] - before["cpu"]) / count * 1e6)
    best.seconds = min(best.seconds, flooded["seconds"])


def aead_floor(size: int) -> float:
    """Microseconds of CPU of the two calls that a message costs either end."""
    aead, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    sealed_length, sealed = aead.encrypt(nonce, b"\0\1", None), aead.encrypt(nonce, bytes(size), None)
    count = max(1000, SIZES[size] // 4)
    best = float("inf")
    for _ in range(3):
        began = time.process_time()
        for _ in range(count):
            aead.decrypt(nonce, sealed_length, None)
            aead.decrypt(nonce, sealed, None)
        best = min(best, (time.process_time() - began) / count * 1e6)
    return best


# ---------------------------------------------------------------------------------------------------------------------
# The floor of large messages


def bare_send(port: int, size: int) -> None:
    sealer, message = Sealer(bytes(32), bytes(32)), bytes(size)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        for _ in range(SIZES[size]):
            sock.sendall(sealer.seal(message))


def blocking(size: int) -> float:
    """Seconds of blocking sockets, no Trio, and our packets."""
    best = float("inf")
    for _ in range(ROUNDS):
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            sender = subprocess.Popen([sys.executable, "-m", "benchmarks.streams", "--bare", str(port), str(size)])
            sock, _ = server.accept()
            opener, count = Opener(bytes(32), bytes(32)), 0
            began = 0.0
            with sock:
                while data := sock.recv(65_536):
                    began = began or time.perf_counter()
                    opener.feed(data)
                    while opener.next_message() is not None:
                        count += 1
            best = min(best, time.perf_counter() - began)
            sender.wait()
            if count != SIZES[size]:
                raise RuntimeError(f"{count} of {SIZES[size]} messages arrived")
    return best


def beside_a_loop() -> Row:
    """Our receiver of channel_updates beside a program that makes of them what a handler needs, and no more."""
    pairs: list[tuple[float, float]] = []
    with nodes.joined("triolight", "triolight", *OPTIONS) as (one, other):
        for _ in range(TURNS):
            ours = Stream()
            measure(one, other, 138, ours)
            pairs.append((ours.receiver, bare.received(UPDATE.encode(), SIZES[138])))
    what, floor = "138 B: our receiver's CPU", "bare Python: a socket, slices, two AEAD calls, unpacked, a call"
    return bare.beside(what, "us", floor, pairs, LOOP_BOUND)


def pyln() -> float | None:
    """Microseconds of CPU in which pyln-proto decrypts a channel_update; None without it."""
    if not nodes.PYLN.is_file():
        print("pyln-proto is not installed (interop/pyln): left out", file=sys.stderr)
        return None
    sealer, update = Sealer(bytes(32), bytes(32)), UPDATE.encode()
    packets = b"".join(sealer.seal(update) for _ in range(50_000))
    command = [str(nodes.PYLN), str(nodes.ROOT / "benchmarks" / "pyln_decrypting.py")]
    best = float("inf")
    for _ in range(ROUNDS):
        told = subprocess.run(command, input=packets, capture_output=True, check=True).stdout
        best = min(best, float(json.loads(told)["microseconds"]))
    return best


# ---------------------------------------------------------------------------------------------------------------------
# Both builds in turns


def in_turns(python: str) -> Iterator[Row]:
    builds = ("triolight", "compiled")
    pairs = [(sender, "triolight") for sender in (*builds, "LDK")]
    pairs += [("triolight", receiver) for receiver in ("compiled", "LDK")]
    turns: list[dict[tuple[str, str], Stream]] = []
    for _ in range(TURNS):
        turn = {pair: Stream() for pair in pairs}
        for pair in pairs:
            with nodes.joined(*pair, *OPTIONS, python=python) as (one, other):
                for _ in range(ROUNDS):
                    measure(one, other, 138, turn[pair])
        turns.append(turn)
    ldk_sends = median(turn["LDK", "triolight"].sender for turn in turns)
    ldk_receives = median(turn["triolight", "LDK"].receiver for turn in turns)
    for build in builds:
        sends = [turn[build, "triolight"].sender / turn["LDK", "triolight"].sender for turn in turns]
        receives = [turn["triolight", build].receiver / turn["triolight", "LDK"].receiver for turn in turns]
        goals = GOALS if build == "triolight" else COMPILED_GOALS
        what = f"138 B, {'plain' if build == 'triolight' else build}"
        yield Row(f"{what}: sender's CPU", median(sends) * ldk_sends, "us", "LDK", ldk_sends, goals[0])
        yield Row(f"{what}: receiver's CPU", median(receives) * ldk_receives, "us", "LDK", ldk_receives, goals[1])


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def rows() -> Iterator[Row]:
    pairs = [("triolight", "triolight"), ("triolight", "LDK"), ("LDK", "triolight"), ("LDK", "LDK")]
    if not nodes.LDK.is_file():
        print("native LDK is not built (interop/ldk_native): only ourselves", file=sys.stderr)
        pairs = pairs[:1]
    found = {(pair, size): Stream() for size in SIZES for pair in pairs}
    floors = {size: aead_floor(size) for size in SIZES}
    for pair in pairs:
        with nodes.joined(*pair, *OPTIONS) as (one, other):
            for size in SIZES:
                for _ in range(ROUNDS):
                    measure(one, other, size, found[pair, size])
    for size, count in SIZES.items():
        floors[size] = min(floors[size], aead_floor(size))
        for pair in pairs:
            stream = found[pair, size]
            for role, cpu in (("sender", stream.sender), ("receiver", stream.receiver)):
                bound = 4.0 if (size, role, pair) == (138, "receiver", pairs[0]) else None
                what = f"{size} B, {' to '.join(pair)}: {role}'s CPU a message"
                curve = f"{role}, {' to '.join(pair)}"
                yield Row(what, cpu, "us", "two AEAD calls", floors[size], bound, False, curve, size, bound is not None)
            rate = count / stream.seconds
            base = count / found[pairs[-1], size].seconds
            yield Row(f"{size} B, {' to '.join(pair)}: messages a second", rate, "/s", "LDK to LDK", base)
        if len(pairs) > 1:
            ours, theirs = found[pairs[0], size].receiver, found[pairs[1], size].receiver
            bound = GOALS[1] if size == 138 else None
            what = f"{size} B: our receiver's CPU beside LDK's, same sender"
            yield Row(what, ours, "us", "LDK", theirs, bound, moves=bound is not None)
            ours, theirs = found[pairs[0], size].sender, found[pairs[2], size].sender
            bound = GOALS[0] if size == 138 else None
            what = f"{size} B: our sender's CPU beside LDK's, same receiver"
            yield Row(what, ours, "us", "LDK", theirs, bound, moves=bound is not None)
    yield beside_a_loop()
    theirs_decrypting = pyln()
    if theirs_decrypting is not None:
        ours = found[pairs[0], 138].receiver
        yield Row("138 B: our receiver's CPU", ours, "us", "pyln-proto only decrypting", theirs_decrypting, 1)
    size, count = 65_000, SIZES[65_000]
    rate = count * size / found[pairs[0], size].seconds / 1e6
    floor = count * size / blocking(size) / 1e6
    yield Row("65,000 B: our bytes a second", rate, "MB/s", "blocking sockets with the same AEAD", floor, 0.5, True)
    if len(pairs) > 1:
        base = count * size / found[pairs[-1], size].seconds / 1e6
        yield Row("65,000 B: our bytes a second", rate, "MB/s", "LDK to LDK", base, 3, True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--bare"]:
        bare_send(int(sys.argv[2]), int(sys.argv[3]))
    else:
        parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--json", action="store_true")
        parser.add_argument("--compiled", metavar="PYTHON")
        given = parser.parse_args()
        report(rows() if given.compiled is None else in_turns(given.compiled))
