"""A fleet: what a message costs on a front, a back and an engine beside a single process, and what outages cost.

    python -m benchmarks.fleet [--json] [--peers 10000]

The single process, the front, the back, the engine and the peers are processes of their own, over loopback. The peers
have sealed what they send before it is measured. The application is the same subscriber, in the single process and on
the back. The engine writes and syncs whatever it answers (`appendfsync always`). CPU is what the system says of each
process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import secrets
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import coredis
import trio

from benchmarks import nodes, raw
from benchmarks.floods import OURS, raise_file_limit, rss_of
from benchmarks.gossip import Child
from benchmarks.measure import Row, report
from benchmarks.raw import INIT, RawPeer
from tests.support.engines import SERVER, WITHOUT, Server
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerClosed,
    PeerManager,
    Policy,
    RoutingMessageHandler,
    open_peer_nursery,
    wire,
)
from triolight.cluster import FleetError, fleet_config, open_back, run_front
from triolight.keys import SecretKey
from triolight.messages import BOLT, Message, Ping, Pong, message
from triolight.shell.news import PeerConnected, PeerDisconnected

SECRET: Final = b"\x11" * 32
TALKERS: Final = 4
FLOOD: Final = 80_000
"""Messages of 140 bytes of a round."""
ROUNDS: Final = 3
RATE: Final = 200
"""Messages a second, each of them answered."""
RATE_SECONDS: Final = 5.0
SIZE: Final = 138
PEERS: Final = 10_000
DIALS: Final = 50
"""Handshakes of one process at a time."""
LEASE: Final = 2.0
"""Of a fleet whose front dies."""
SLOW_SECONDS: Final = 60.0
SLOW_PAUSE: Final = 0.01
"""Of the application after each message."""
WORDS: Final = struct.Struct(">IIQ")
"""What a message begins with: its peer, the peer's session, its number in that."""


@message(43001)
class Counted(Message):
    """Is counted."""

    payload: wire.remainder


@message(43003)
class Asked(Message):
    """Is answered."""

    payload: wire.remainder


@message(43005)
class Told(Message):
    """An answer."""

    payload: wire.remainder


PING: Final = Ping(num_pong_bytes=1).encode()
MESSAGES: Final = BOLT | {Counted, Asked, Told}


# ---------------------------------------------------------------------------------------------------------------------
# The application


class Counts:
    """What was heard, by peer and session: from 0 on, each number once."""

    def __init__(self) -> None:
        self.heard = self.lost = self.doubled = self.met = self.gone = 0
        self._due: Final[dict[tuple[int, int], int]] = {}

    def hear(self, payload: bytes) -> None:
        peer, session, number = WORDS.unpack_from(payload)
        due = self._due.get((peer, session), 0)
        self.heard += 1
        if number != due:
            self.lost += max(0, number - due)
            self.doubled += number < due
        self._due[peer, session] = max(due, number + 1)


async def _apply(peers: Any, pause: float, log: int | None) -> None:
    """The application: a subscriber. What it has counted is asked for by lines."""
    counts = Counts()
    async with (
        peers.subscribe(Counted, Asked, PeerConnected, PeerDisconnected) as inbox,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(_tell, counts)
        async for peer, what in inbox:
            match what:
                case Counted():
                    counts.hear(what.payload)
                    if log is not None:
                        os.write(log, what.payload[: WORDS.size])
                    if pause:
                        await trio.sleep(pause)
                case Asked():
                    # Beside what comes next: on a back, to send is to wait for the engine.
                    nursery.start_soon(_answer, peer, what)
                case PeerConnected():
                    counts.met += 1
                case _:
                    counts.gone += 1


async def _answer(peer: Any, what: Asked) -> None:
    with suppress(PeerClosed):
        await peer.send(Told(payload=what.payload))


async def _tell(counts: Counts) -> None:
    while line := await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True):
        name, wanted = line.split()
        while getattr(counts, name) < int(wanted):  # noqa: ASYNC110
            await trio.sleep(0.002)  # nobody tells
        gc.collect()
        print(json.dumps({name: one for name, one in vars(counts).items() if isinstance(one, int)}), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Its processes


async def single() -> None:
    """A node that has no fleet."""
    raise_file_limit()
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    manager = PeerManager(handlers, SECRET, secrets.token_bytes(32), NullLogger(), messages=MESSAGES)
    async with _listening(manager) as (peers, port):
        print(port, flush=True)
        await _apply(peers, 0, None)


async def back(url: str, lease: str, pause: str, log: str = "") -> None:
    """Of another process's making if it cannot go on."""
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else None
    async with open_back(
        url, OURS.public_key, messages=MESSAGES, lease=float(lease), back_grace=20, logger=NullLogger()
    ) as peers:
        print("entered", flush=True)
        await _apply(peers, float(pause), file)


async def front(url: str, name: str, port: str = "0") -> None:
    """Begins again as the command does."""
    raise_file_limit()
    known = int(port)
    while True:
        config = await fleet_config(url)
        manager = PeerManager(
            config.handlers(), SECRET, secrets.token_bytes(32), NullLogger(), messages=config.messages
        )
        async with _listening(manager, known) as (peers, known):
            if not int(port):
                port = str(known)
                print(port, flush=True)
            with suppress(FleetError):
                await run_front(peers, url, id=name)


@asynccontextmanager
async def _listening(manager: PeerManager, port: int = 0) -> AsyncIterator[tuple[Any, int]]:
    # Peers that have sealed what they will say answer no pings.
    policy = Policy(max_inbound_peers=PEERS + 10)
    async with open_peer_nursery(manager, ping_interval=600, policy=policy) as peers:
        (listener,) = await peers.listen(port, host="127.0.0.1", backlog=4096)
        yield peers, listener.socket.getsockname()[1]


async def talk(port: str, count: str) -> None:
    """So many peers of one port, which do what they are told, each time all of them."""
    raise_file_limit()
    limiter = trio.CapacityLimiter(DIALS)
    peers: list[RawPeer] = []

    async def meet(number: int) -> None:
        async with limiter:
            peer = await raw.connect(int(port), OURS.public_key, SecretKey((1 << 64 | number).to_bytes(32, "big")))
            await peer.send(INIT, PING)
            if await peer.receive_type(Pong.type) is None:  # read once it is let in
                raise RuntimeError("a peer was not let in")
            peers.append(peer)

    async with trio.open_nursery() as nursery:
        for number in range(int(count)):
            nursery.start_soon(meet, number)
    print("ready", flush=True)
    said = 0
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        what, *numbers = line.split()
        match what:
            case "flood":
                each = int(numbers[0]) // len(peers)
                packets = [
                    peer.sealed(*(_counted(at, 0, said + number, SIZE) for number in range(each)))
                    for at, peer in enumerate(peers)
                ]
                said += each
                print("sealed", flush=True)
                await trio.to_thread.run_sync(sys.stdin.readline)
                async with trio.open_nursery() as nursery:
                    for peer, packet in zip(peers, packets, strict=True):
                        nursery.start_soon(peer.stream.send_all, packet)
                print("taken", flush=True)
            case "pour":
                with trio.move_on_after(float(numbers[0])):
                    async with trio.open_nursery() as nursery:
                        for at, peer in enumerate(peers):
                            nursery.start_soon(_pour, peer, at)
                print("poured", flush=True)
            case _:
                print(json.dumps(await _ask(peers[0], float(numbers[0]), float(numbers[1]))), flush=True)


def _counted(peer: int, session: int, number: int, size: int) -> bytes:
    return Counted.type.to_bytes(2, "big") + WORDS.pack(peer, session, number).ljust(size, b"\0")


async def _pour(peer: RawPeer, at: int) -> None:
    for number in range(1 << 40):
        await peer.send(_counted(at, 0, number, 1400))


async def _ask(peer: RawPeer, rate: float, seconds: float) -> list[float]:
    """Round trips in milliseconds, sorted; each is asked at its time, whether the one before was answered or not."""
    asked: list[float] = []
    found: list[float] = []
    count = int(rate * seconds)

    async def hear() -> None:
        while len(found) < count and (told := await peer.receive_type(Told.type)) is not None:
            number = int.from_bytes(told[2:6], "big")
            found.append((time.perf_counter() - asked[number]) * 1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hear)
        began = trio.current_time()
        for number in range(count):
            await trio.sleep_until(began + number / rate)
            asked.append(time.perf_counter())
            await peer.send(Asked.type.to_bytes(2, "big") + number.to_bytes(4, "big").ljust(SIZE, b"\0"))
    return sorted(found)


# ---------------------------------------------------------------------------------------------------------------------
# What is measured


def cpu_of(pid: int) -> float:
    """Seconds."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def running(role: str, *arguments: object, module: str = "fleet") -> AsyncIterator[tuple[Child, trio.Process]]:
    """A process of this program, or of another one, which may be killed meanwhile."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--role", role, *map(str, arguments)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=nodes.ROOT)
    try:
        yield Child(process), process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@dataclass
class Node:
    """Where peers are told to go, the application, and the processes that it takes."""

    port: str
    application: Child
    processes: dict[str, trio.Process]
    server: Server | None = None
    heard: int = 0
    best: dict[str, float] = field(default_factory=dict[str, float])

    async def count(self, name: str, wanted: int) -> dict[str, int]:
        """What it has counted when it has so many of these."""
        await self.application.say(f"{name} {wanted}")
        found: dict[str, int] = json.loads(await self.application.hear())
        return found

    def cpu(self) -> dict[str, float]:
        found = {name: cpu_of(one.pid) for name, one in self.processes.items()}
        return found if self.server is None else {**found, "engine": cpu_of(self.server.pid)}

    def spent(self, before: dict[str, float], count: int) -> dict[str, float]:
        """Microseconds of each for a message."""
        return {name: (now - before[name]) / count * 1e6 for name, now in self.cpu().items()}

    def keep(self, spent: dict[str, float]) -> None:
        """The cheapest rounds count: noise only adds."""
        for name, each in spent.items():
            self.best[name] = min(each, self.best.get(name, float("inf")))


@asynccontextmanager
async def one_process() -> AsyncIterator[Node]:
    async with running("single") as (child, process):
        yield Node(await child.hear(), child, {"single": process})


@asynccontextmanager
async def fleet(pause: float = 0.0, fsync: str = "always", lease: float = 10.0) -> AsyncIterator[Node]:
    with tempfile.TemporaryDirectory(prefix="engine") as directory:
        server = Server(Path(directory))
        server.start("--maxmemory-policy", "noeviction", "--appendfsync", fsync)
        try:
            await server.answers()
            async with running("back", server.url, lease, pause) as (application, theirs):
                await application.hear()
                async with running("front", server.url, "one") as (child, process):
                    port = await child.hear()
                    yield Node(port, application, {"front": process, "back": theirs}, server)
        finally:
            server.kill()


async def flooded(node: Node, talkers: Child, count: int) -> None:
    """As much as is taken, and what each process spent on it."""
    await talkers.say(f"flood {count}")
    await talkers.hear()
    before, began = node.cpu(), time.perf_counter()
    await talkers.say("go")
    node.heard += count
    found = await node.count("heard", node.heard)
    if found["lost"] or found["doubled"]:
        raise RuntimeError(f"not each of them once: {found}")
    node.keep({**node.spent(before, count), "seconds": (time.perf_counter() - began) / count})
    await talkers.hear()


async def floods() -> Iterator[Row]:
    """As fast as it goes, the two in turns."""
    async with (
        one_process() as alone,
        fleet() as several,
        running("talk", alone.port, TALKERS) as (near, _),
        running("talk", several.port, TALKERS) as (far, _),
    ):
        await near.hear()
        await far.hear()
        entries = 0
        for _ in range(ROUNDS):
            await flooded(alone, near, FLOOD)
            entries = await appended(several)
            await flooded(several, far, FLOOD)
            entries = await appended(several) - entries
        base, found = alone.best["single"], several.best
        what = "a flood: CPU a message"
        rows = [
            Row("a flood: messages an entry", FLOOD / max(1, entries), "", "one of each", 1),
            Row(f"{what}: front", found["front"], "us", "single process", base, 2),
            Row(f"{what}: back", found["back"], "us", "single process", base),
            Row(f"{what}: front and back", found["front"] + found["back"], "us", "single process", base, 3),
            Row(f"{what}: engine", found["engine"], "us", "single process", base),
            Row("a flood: messages", 1 / found["seconds"], "/s", "single process", 1 / alone.best["seconds"]),
        ]
        return iter(rows)


async def round_trips() -> Iterator[Row]:
    """Few messages, each of which is answered: the engine of the bounds syncs once a second, the other one always."""
    asked: dict[str, list[list[float]]] = {"alone": [], "everysec": [], "always": []}
    async with (
        one_process() as alone,
        fleet() as always,
        fleet(fsync="everysec") as several,
        running("talk", alone.port, 1) as (near, _),
        running("talk", always.port, 1) as (farthest, _),
        running("talk", several.port, 1) as (far, _),
    ):
        those = ((alone, near, "alone"), (several, far, "everysec"), (always, farthest, "always"))
        for _, talkers, _ in those:
            await talkers.hear()
        count = int(RATE * RATE_SECONDS)
        for _ in range(ROUNDS):
            for node, talkers, name in those:
                before = node.cpu()
                await talkers.say(f"ask {RATE} {RATE_SECONDS}")
                asked[name].append(json.loads(await talkers.hear()))
                node.keep(node.spent(before, count))
        base, found = alone.best["single"], several.best
        rows: list[Row] = []
        what = f"{RATE} a second, each answered: CPU of a message"
        rows += [
            Row(f"{what}: front", found["front"], "us", "single process", base, 3.3),
            Row(f"{what}: back", found["back"], "us", "single process", base, 3.3),
            Row(f"{what}: engine", found["engine"], "us", "single process", base),
        ]
        for name, part, bound in (("median", 0.5, 4.0), ("99 of 100", 0.99, 20.0)):
            best = {which: min(one[int(part * (len(one) - 1))] for one in rounds) for which, rounds in asked.items()}
            ours, theirs = best["everysec"], best["alone"]
            rows += [
                Row(f"{RATE} a second: round trip, {name}", ours, "ms", "single process", theirs),
                Row(f"{RATE} a second, all synced: round trip, {name}", best["always"], "ms", "single process", theirs),
                Row(f"{RATE} a second: round trip, {name}, above", ours - theirs, "ms", f"{bound:g} ms", bound, 1),
            ]
        return iter(rows)


async def appended(node: Node) -> int:
    """Entries of the engine's."""
    return int((await info(node, "commandstats")).get("cmdstat_xadd", {}).get("calls", 0))


async def info(node: Node, section: str) -> dict[str, Any]:
    if node.server is None:
        raise ValueError("it has no engine")
    client: coredis.Redis[bytes] = coredis.Redis.from_url(node.server.url)
    async with client:
        return dict(await client.info(section))


async def idle(peers: int) -> Iterator[Row]:
    """What a peer takes that only stays."""
    grown: list[dict[str, float]] = []
    for node in (one_process(), fleet()):
        async with node as one:
            before = await _memory(one)
            async with running("talk", one.port, peers) as (talkers, _):
                await talkers.hear()
                await one.count("met", peers)
                await trio.sleep(3)  # what is read is trimmed
                after = await _memory(one)
                grown.append({name: (after[name] - before[name]) / peers / 1024 for name in after})
    alone, several = grown
    what = f"{peers} idle peers: memory of each"
    bound = 1 if peers >= PEERS else None  # what a process has once is shared by them
    return iter(
        [
            Row(f"{what}: front", several["front"], "KiB", "single process, and 1", alone["single"] + 1, bound),
            Row(f"{what}: back", several["back"], "KiB", "single process", alone["single"]),
            Row(f"{what}: engine", several["engine"], "KiB", "0.25 KiB", 0.25, bound),
        ]
    )


async def _memory(node: Node) -> dict[str, float]:
    await node.count("met", 0)  # it has collected
    found: dict[str, float] = {name: rss_of(one.pid) for name, one in node.processes.items()}
    if node.server is not None:
        found["engine"] = int((await info(node, "memory"))["used_memory"])
    return found


async def dead_front() -> Row:
    async with fleet(lease=LEASE) as node, running("talk", node.port, 100) as (talkers, _):
        await talkers.hear()
        await node.count("met", 100)
        began = time.perf_counter()
        node.processes["front"].kill()
        await node.count("gone", 100)
        seconds = time.perf_counter() - began
    return Row("a dead front, until its peers are gone", seconds, "s", "lease and 1 s", LEASE + 1, 1)


async def restarted() -> list[Row]:
    """In a flood, the engine is killed, and comes back after a second."""
    count = FLOOD // 2
    async with fleet() as node, running("talk", node.port, TALKERS) as (talkers, _):
        await talkers.hear()
        await talkers.say(f"flood {count}")
        await talkers.hear()
        await talkers.say("go")
        await node.count("heard", count // 4)
        if node.server is not None:
            node.server.kill()
            await trio.sleep(1)
            node.server.start()
        found = await node.count("heard", count)
    once = found["heard"] - found["doubled"] - found["lost"]
    what = "an engine that is killed in a flood"
    return [
        Row(f"{what}: heard once, and in order", once, "messages", "said", count, 1, True),
        Row(f"{what}: peers that stayed", TALKERS - found["gone"], "peers", "before", TALKERS, 1, True),
    ]


async def slow_back(seconds: float) -> list[Row]:
    """What grows while peers say far more than the application takes."""
    async with fleet(SLOW_PAUSE) as node, running("talk", node.port, TALKERS) as (talkers, _):
        await talkers.hear()
        before = await _memory(node)
        most = dict(before)
        await talkers.say(f"pour {seconds}")
        with trio.move_on_after(seconds):
            while True:
                await trio.sleep(0.5)
                now: dict[str, float] = {name: rss_of(one.pid) for name, one in node.processes.items()}
                now["engine"] = int((await info(node, "memory"))["used_memory"])
                most = {name: max(most[name], one) for name, one in now.items()}
    grown = {name: (most[name] - before[name]) / 1e6 for name in most}
    what = f"a slow application, {seconds:g} s: memory grown by, at most"
    return [
        Row(f"{what}: front", grown["front"], "MB", "16 MB", 16, 1),
        Row(f"{what}: back", grown["back"], "MB", "16 MB", 16, 1),
        Row(f"{what}: engine", grown["engine"], "MB", "a front's share, 40 MB", 40, 1),
    ]


def rows(peers: int, slow: float) -> Iterator[Row]:
    yield from trio.run(floods)
    yield from trio.run(round_trips)
    yield from trio.run(idle, peers)
    yield trio.run(dead_front)
    yield from trio.run(restarted)
    yield from trio.run(slow_back, slow)


ROLES: Final = {one.__name__: one for one in (single, back, front, talk)}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", type=int, default=PEERS)
    parser.add_argument("--slow", type=float, default=SLOW_SECONDS, help="seconds of a slow application")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        role, *arguments = given.role
        trio.run(ROLES[role], *arguments)
    elif SERVER is None:
        raise SystemExit(WITHOUT)
    else:
        report(rows(given.peers, given.slow))
