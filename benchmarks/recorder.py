"""The recorder: what a sighting costs from the socket to the disk, what it takes there, and what others notice of it.

    python -m benchmarks.recorder [--json] [--compiled PYTHON]
    python -m benchmarks.recorder --minutes 10      whether its memory stays what it is; exit code 1 if not

A node that records, its hundred peers and an honest one are processes of their own, over loopback. Each peer says the
same messages, of the network of `benchmarks/graphs.py`. Beside the whole way stand the store alone, and a node that
decodes the same messages and forgets them, both in the same run. With --minutes a quarter of what is said is new, from
when as many messages are known as ever are.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Final

import trio

from benchmarks import bare, builds, graphs, raw
from benchmarks.floods import HONEST, OURS, beside_echo, median_rtts, open_echo, rss_of
from benchmarks.gossip import Child, Ignoring, meet, open_node, running
from benchmarks.measure import Row
from benchmarks.raw import INIT, RawPeer
from triolight import ChannelMessageHandler, MessageHandler, NullLogger, PeerManager, open_peer_nursery
from triolight.messages import Ping, Pong
from triolight.services import Recorder, RecordingHandler, open_recorder, unread_gossip
from triolight.services.disk import BATCH_ROWS
from triolight.services.parquet import parquet_table
from triolight.services.reading import EXPORT_TABLES
from triolight.services.record import KNOWN, RecordBatch, RecordWriter, SessionFacts, Sighting

PEERS: Final = 100
OF_PEER: Final = 2000
"""Messages that each of them says in a round."""
ROUNDS: Final = 3
RATE: Final = 20_000
"""Sightings a second, of a network that says much."""
RATE_SECONDS: Final = 10.0
PACE: Final = 0.05
"""Seconds between two sendings of a peer."""
MANY_PEERS: Final = 900
SIGHTINGS: Final = 1_000_000
"""On the disk, of messages that are there already, by so many peers."""
SHORT_IDS: Final = 1 << 16
SAMPLE_SECONDS: Final = 10.0
SOAK_RATE: Final = 8000
SOAK_NEW: Final = 4
"""One in so many is new."""
GROWN_MB: Final = 5.0
"""More than this from the middle of the minutes to their end is growth."""
BARE: Final = "bare Python: sockets, opened, hashed, looked up, and a thread that writes"
RATE_BOUND: Final = 0.15
COST_BOUND: Final = 7.5
BEGAN: Final = 1_800_000_000 * 10**9


# ---------------------------------------------------------------------------------------------------------------------
# The node that records


async def record(path: str) -> None:
    """Says its port, and then its numbers whenever it is asked for them: when so many sightings are on the disk."""
    handlers = MessageHandler(ChannelMessageHandler(), RecordingHandler())
    manager = PeerManager(handlers, b"\x11" * 32, secrets.token_bytes(32), NullLogger(), messages=unread_gossip())
    lags: list[float] = []
    async with (
        open_peer_nursery(manager, ping_interval=600) as peers,
        open_recorder(peers, path, backlog=None) as recorder,
        trio.open_nursery() as nursery,
    ):
        (listener,) = await peers.listen(0, host="127.0.0.1", backlog=PEERS)
        nursery.start_soon(_tick, lags)
        print(listener.socket.getsockname()[1], flush=True)
        while line := await trio.to_thread.run_sync(sys.stdin.readline):
            while recorder.sightings < int(line):  # noqa: ASYNC110
                await trio.sleep(0.002)  # nobody tells
            await recorder.written()
            print(json.dumps(_numbers(recorder, lags)), flush=True)
            lags.clear()
        nursery.cancel_scope.cancel()


async def _tick(lags: list[float]) -> None:
    """How late a task is that wants its turn each millisecond."""
    while True:
        due = trio.current_time() + 0.001
        await trio.sleep_until(due)
        lags.append(trio.current_time() - due)


def _numbers(recorder: Recorder, lags: list[float]) -> dict[str, float]:
    lags.sort()
    return {
        "sightings": recorder.sightings,
        "messages": recorder.messages,
        "cpu": time.process_time(),
        "lag": lags[int(0.99 * (len(lags) - 1))] if lags else 0.0,
        "held": recorder.held_seconds,
        "rss": rss_of(os.getpid()),
    }


async def ignore() -> None:
    """The same with nobody who records: decodes, and forgets."""
    async with open_node(Ignoring()) as (_, port):
        print(port, flush=True)
        while await trio.to_thread.run_sync(sys.stdin.readline):
            print(json.dumps({"cpu": time.process_time()}), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Its peers


async def talk(port: str, seed: str) -> None:
    """A hundred peers. A line is a round, sealed before it begins, or how many a second for how long."""
    peers = [await meet(port, int(seed) * PEERS + number) for number in range(PEERS)]
    found = graphs.messages()
    said = 0
    print("ready", flush=True)
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        what, *numbers = line.split()
        match what:
            case "round":
                messages = found[said : said + OF_PEER]
                said += OF_PEER
                packets = [one.sealed(*messages, Ping(num_pong_bytes=1).encode()) for one in peers]
                print("sealed", flush=True)
                await trio.to_thread.run_sync(sys.stdin.readline)
                async with trio.open_nursery() as nursery:
                    for peer, packet in zip(peers, packets, strict=True):
                        nursery.start_soon(_send, peer, packet)
                print("taken", flush=True)
            case _:
                rate, seconds, new, first = map(float, numbers)
                print("told", await _pace(peers, int(rate), seconds, int(new), int(first)), flush=True)


async def _send(peer: RawPeer, packet: bytes) -> None:
    await peer.stream.send_all(packet)
    await peer.receive_type(Pong.type)


async def _pace(peers: list[RawPeer], rate: int, seconds: float, new: int, first: int) -> int:
    """All of them together so many a second, of which one in so many is new; 0 seconds: a single one."""
    each = max(1, round(rate * PACE / len(peers)))
    update = bytearray(next(one for one in graphs.messages() if one[:2] == b"\x01\x02"))
    told, number, began = 0, first, trio.current_time()
    turn = 0
    while trio.current_time() < began + seconds:
        for at, peer in enumerate(peers):
            messages: list[bytes] = []
            for _ in range(each):
                number += (told + len(messages)) % new == 0
                update[66:98], update[98:106] = bytes(32), number.to_bytes(8, "big")
                messages.append(bytes(update))
            told += each
            # Spread over the time, as peers are that know nothing of each other.
            await trio.sleep_until(began + PACE * (turn + at / len(peers)))
            await peer.send(*messages)
        turn += 1
    return told


ROLES: Final = {one.__name__: one for one in (record, ignore, talk)}


# ---------------------------------------------------------------------------------------------------------------------
# Rows


@asynccontextmanager
async def recording(folder: Path, name: str) -> AsyncIterator[tuple[Child, str]]:
    async with running("record", folder / f"{name}.db", module="recorder") as node:
        yield node, await node.hear()


async def numbers(node: Child, sightings: int) -> dict[str, float]:
    """When so many are on the disk."""
    await node.say(str(sightings))
    found: dict[str, float] = json.loads(await node.hear())
    return found


async def pipeline(folder: Path) -> list[Row]:
    """As fast as it goes, beside the store alone; and what it costs beside who decodes and forgets."""
    count, rates, costs, ignored, store = PEERS * OF_PEER, list[float](), list[float](), [], [0.0]
    floors: list[dict[str, float]] = []
    async with (
        recording(folder, "flood") as (node, port),
        running("ignore", module="recorder") as other,
        running("talk", port, 0, module="recorder") as talkers,
        running("talk", await other.hear(), 1, module="recorder") as others,
    ):
        await talkers.hear()
        await others.hear()
        before = await numbers(node, 0)
        for number in range(ROUNDS):
            await _ready(talkers)
            began = time.perf_counter()
            await talkers.say("go")
            await talkers.hear()
            after = await numbers(node, (number + 1) * count)
            rates.append(count / (time.perf_counter() - began))
            costs.append((after["cpu"] - before["cpu"]) / count * 1e6)
            before = after
            await _ready(others)
            begun = await numbers(other, 0)
            await others.say("go")
            await others.hear()
            ignored.append(((await numbers(other, 0))["cpu"] - begun["cpu"]) / count * 1e6)
            store.append(_store(folder / f"store-{number}.db", count))
            floors.append(bare.recorded(str(folder / f"bare-{number}.db"), graphs.messages()[:OF_PEER], PEERS))
    if before["messages"] != ROUNDS * OF_PEER:
        raise RuntimeError(f"not all of it is there: {before}")
    rate = max(rates) / 1000
    return [
        Row(f"sightings of {PEERS} peers, socket to disk", rate, "k/s", "50 k/s", 50, 1, True, moves=True),
        bare.beside(
            f"sightings of {PEERS} peers, socket to disk",
            "k/s",
            BARE,
            [(one / 1000, other["rate"] / 1000) for one, other in zip(rates, floors, strict=True)],
            RATE_BOUND,
            True,
        ),
        Row("the same sightings into the store alone", max(store) / 1000, "k/s", "socket to disk", rate),
        Row("a sighting, socket to disk: CPU", min(costs), "us", "decoded and ignored", min(ignored)),
        bare.beside(
            "a sighting, socket to disk: CPU",
            "us",
            BARE,
            [(one, other["cpu"]) for one, other in zip(costs, floors, strict=True)],
            COST_BOUND,
        ),
    ]


async def _ready(talkers: Child) -> None:
    await talkers.say("round")
    await talkers.hear()


def session_facts(number: int) -> SessionFacts:
    return SessionFacts(number, b"\2" + number.to_bytes(32, "big"), "127.0.0.1:9735", False, BEGAN, b"")


def _store(path: Path, count: int) -> float:
    """A second, of what a round says."""
    messages = graphs.messages()[:OF_PEER]
    rows = [(BEGAN + at, 1 + at % PEERS, 0, messages[at // PEERS]) for at in range(count)]
    with closing(RecordWriter(path, BEGAN)) as writer:
        writer.write(RecordBatch(opened=[session_facts(1 + number) for number in range(PEERS)]))
        began = time.perf_counter()
        for at in range(0, count, BATCH_ROWS):
            writer.write(RecordBatch(sightings=rows[at : at + BATCH_ROWS]))
        return count / (time.perf_counter() - began)


async def steady(folder: Path) -> list[Row]:
    """As much as a large network says."""
    async with (
        recording(folder, "steady") as (node, port),
        running("talk", port, 0, module="recorder") as talkers,
    ):
        await talkers.hear()
        step, before, began = bare.step(), await numbers(node, 0), time.perf_counter()
        told = await _told(talkers, RATE, RATE_SECONDS, 20, 0)
        after = await numbers(node, told)
        rate, step = told / (time.perf_counter() - began), (step + bare.step()) / 2
    if rate < 0.9 * RATE:
        print(f"only {rate:,.0f} sightings a second were said: too few to judge the lag by", file=sys.stderr)
    # At the rate that is meant, also if a little less was said.
    share = (after["cpu"] - before["cpu"]) / told * RATE * 100
    what = f"{RATE:,} sightings a second"
    return [
        Row(f"{what}: of a core", share, "%", "50 %", 50, 1, moves=True),
        bare.scaled(f"{what}: of a core", share, "%", 50, step),
        Row(f"{what}: loop's lag, p99", after["lag"] * 1000, "ms", "50 ms", 50, 1),
    ]


async def _told(talkers: Child, *numbers: float) -> int:
    await talkers.say(" ".join(["pace", *map(str, numbers)]))
    return int((await talkers.hear()).split()[1])


async def honest(folder: Path) -> list[Row]:
    """The median round trip of a peer that only pings, idle and while the others say all that they can."""
    async with (
        recording(folder, "honest") as (_, port),
        running("talk", port, 0, module="recorder") as talkers,
        open_echo() as echo,
    ):
        await talkers.hear()
        peer = await raw.connect(int(port), OURS.public_key, HONEST)
        await peer.send(INIT)
        await median_rtts(peer, echo, 0)
        idle, busy, beside = await median_rtts(peer, echo), list[float](), list[float]()

        async def flood() -> None:
            for _ in range(ROUNDS):
                await _ready(talkers)
                await talkers.say("go")
                with trio.CancelScope() as measuring:
                    nursery.start_soon(measure, measuring)
                    await talkers.hear()
                measuring.cancel(reason="the round is over")

        async def measure(scope: trio.CancelScope) -> None:
            while not scope.cancel_called:
                began = time.perf_counter()
                await peer.send(Ping(num_pong_bytes=4).encode())
                await peer.receive_type(Pong.type)
                busy.append(((answered := time.perf_counter()) - began) * 1000)
                await echo.ping()
                beside.append((time.perf_counter() - answered) * 1000)

        async with trio.open_nursery() as nursery:
            await flood()
        what, found = (
            f"{PEERS} peers that are recorded: honest RTT",
            (statistics.median(busy), statistics.median(beside)),
        )
        return [Row(what, found[0], "ms", "idle", idle[0]), beside_echo(what, idle, found, None)]


def spread(messages: list[bytes]) -> Iterator[Sighting]:
    """Each message by eight peers, one after the other as they become known, from the first on whose id has three
    bytes. As nodes do, a peer tells once a minute what it has heard since the last time."""
    chance, minute = random.Random(21), 60 * 10**9
    phases = [chance.randrange(minute) for _ in range(MANY_PEERS)]
    told: list[tuple[int, int, int]] = []
    for number in range(SIGHTINGS // 8):
        came = (number + 1) * 5 * 10**6
        for peer in chance.sample(range(MANY_PEERS), 8):
            told.append((came + (phases[peer] - came) % minute, peer, number))
    told.sort()
    seen = BEGAN
    for flushed, peer, number in told:
        seen = max(seen + chance.randrange(1, 5000), BEGAN + flushed)
        yield seen, peer + 1, 0, messages[SHORT_IDS + number % (len(messages) - SHORT_IDS)]


def on_disk(folder: Path) -> Iterator[Row]:
    """What a sighting takes, of messages whose bytes are there already and whose ids have three bytes."""
    messages, path = graphs.messages(), folder / "bytes.db"
    rows = [*spread(messages)]
    with closing(RecordWriter(path, BEGAN, known=2 * len(messages))) as writer:
        sessions = [session_facts(1 + number) for number in range(MANY_PEERS)]
        known = [(BEGAN - len(messages) + at, 1, 0, one) for at, one in enumerate(messages)]
        before = writer.write(RecordBatch(opened=sessions, sightings=known)).size
        for at in range(0, len(rows), BATCH_ROWS):
            after = writer.write(RecordBatch(sightings=rows[at : at + BATCH_ROWS])).size
    yield Row("a sighting in a record", (after - before) / len(rows), "B", "24 B", 24, 1)
    numbered = {one: at + 1 for at, one in enumerate(messages)}
    table = next(one for one in EXPORT_TABLES if one.name == "sightings")
    with parquet_table(folder / "sightings.parquet", table.columns) as file:
        file.write((seen, session, numbered[one], asked) for seen, session, asked, one in rows)
    size = (folder / "sightings.parquet").stat().st_size
    yield Row("a sighting in Parquet", size / len(rows), "B", "6 B", 6, 1)


def memory(folder: Path) -> Iterator[Row]:
    """Of who remembers as many messages as it ever does."""
    update = next(one for one in graphs.messages() if one[:2] == b"\x01\x02")
    with closing(RecordWriter(folder / "memory.db", BEGAN)) as writer:
        writer.write(RecordBatch(opened=[session_facts(1)]))
        gc.collect()
        before = rss_of(os.getpid())
        for first in range(0, 2 * KNOWN, BATCH_ROWS):
            those = range(first, min(first + BATCH_ROWS, 2 * KNOWN))
            made = [(BEGAN + at, 1, 0, update[:98] + at.to_bytes(8, "big") + update[106:]) for at in those]
            writer.write(RecordBatch(sightings=made))
        gc.collect()
        grown = (rss_of(os.getpid()) - before) / 1e6
    yield Row(f"memory of {2 * KNOWN:,} messages that are known again", grown, "MB", "60 MB", 60, 1)


def in_a_folder(measure: Callable[[Path], Iterable[Row]]) -> Callable[[], Iterator[Row]]:
    def part() -> Iterator[Row]:
        with tempfile.TemporaryDirectory() as name:
            yield from measure(Path(name))

    return part


PARTS: Final[builds.Parts] = {
    "memory": in_a_folder(memory),
    "pipeline": in_a_folder(lambda folder: trio.run(pipeline, folder)),
    "steady": in_a_folder(lambda folder: trio.run(steady, folder)),
    "honest": in_a_folder(lambda folder: trio.run(honest, folder)),
    "disk": in_a_folder(on_disk),
}


# ---------------------------------------------------------------------------------------------------------------------
# Ten minutes


async def soak(minutes: float, as_json: bool) -> bool:
    """Whether its memory stays what it is."""
    samples: list[float] = []
    with tempfile.TemporaryDirectory() as name:
        async with (
            recording(Path(name), "soak") as (node, port),
            running("talk", port, 0, module="recorder") as talkers,
        ):
            await talkers.hear()
            # As fast as it is taken, until as many are known as ever are.
            told = 0
            while told < 2 * KNOWN:
                told += await _told(talkers, 1_000_000, 0.5, 1, told)
            new, begun = told, time.perf_counter()
            while (at := time.perf_counter() - begun) < minutes * 60:
                more = await _told(talkers, SOAK_RATE, min(SAMPLE_SECONDS, minutes * 60 - at), SOAK_NEW, new)
                told, new = told + more, new + more
                found = await numbers(node, told)
                samples.append(found["rss"] / 1e6)
                _tell(as_json, time.perf_counter() - begun, found)
    third = max(1, len(samples) // 3)
    middle, last = statistics.median(samples[-2 * third : -third] or samples), statistics.median(samples[-third:])
    flat = last - middle <= GROWN_MB
    print(f"{middle:.1f} MB in the middle, {last:.1f} MB at the end: {'flat' if flat else 'it grows'}", file=sys.stderr)
    return flat


def _tell(as_json: bool, seconds: float, found: dict[str, Any]) -> None:
    if as_json:
        print(json.dumps({"seconds": round(seconds, 1), **found}), flush=True)
    else:
        words = f"{found['sightings']:>12,} sightings {found['messages']:>12,} messages"
        print(f"{seconds:8.0f} s {found['rss'] / 1e6:8.1f} MB {words}  lag {found['lag'] * 1000:.1f} ms", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    builds.add_arguments(parser)
    parser.add_argument("--minutes", type=float, metavar="N")
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        role, *arguments = given.role
        trio.run(ROLES[role], *arguments)
    elif given.minutes is not None:
        sys.exit(not trio.run(soak, given.minutes, given.json))
    else:
        graphs.messages()  # made, if this is the first run
        builds.report_parts(__spec__.name, PARTS, given)
