"""Idle peers: memory of each, CPU of a round of pings, and what a message of one peer costs while the others are there.

    python -m benchmarks.idle [--json] [--peers 100,1000,10000]

The node is a process of its own for each number of peers, their far ends are another one: bare connections that answer
pings. One more peer sends a stream of channel_updates while the others are idle. 10,000 peers need 10,100 open files.
"""

from __future__ import annotations

import argparse
import gc
import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

import trio

from benchmarks import bare, nodes, raw
from benchmarks.floods import UPDATE, raise_file_limit
from benchmarks.measure import Row, report
from benchmarks.node import Counts, usage
from benchmarks.raw import INIT
from triolight import ChannelMessageHandler, MessageHandler, NullLogger, PeerManager, Policy, open_peer_nursery
from triolight.keys import SecretKey
from triolight.messages import Ping, Pong

SECRET: Final = b"\x31" * 32
PEERS: Final = (100, 1_000, 10_000)
DIALS: Final = 50
"""Far ends that shake hands at a time."""
STREAM: Final = 100_000
"""Messages of the one that is not idle."""


def interval_of(peers: int) -> float:
    """Seconds between two pings of a peer: all of them connect, and the stream is over, before the first."""
    return 20 + peers / 250


# ---------------------------------------------------------------------------------------------------------------------
# The node


async def serve(expected: int) -> None:
    raise_file_limit()
    counts = Counts(None)
    handlers = MessageHandler(ChannelMessageHandler(), counts)
    manager = PeerManager(handlers, SECRET, secrets.token_bytes(32), NullLogger())
    gc.collect()
    before = usage()[1]
    interval = interval_of(expected)
    async with (
        open_peer_nursery(
            manager,
            ping_interval=interval,
            pong_deadline=2 * interval,
            policy=Policy(max_inbound_peers=expected + 1),
        ) as peers,
        peers.events() as events,
    ):
        (listener,) = await peers.listen(0, host="127.0.0.1", backlog=4096)
        print(json.dumps({"port": listener.socket.getsockname()[1]}), flush=True)
        began = trio.current_time()
        await anext(events)
        first, cpu = trio.current_time(), usage()[0]
        for _ in range(expected - 1):
            await anext(events)
        connected, accepting = trio.current_time(), usage()[0] - cpu
        gc.collect()
        resident = usage()[1] - before
        found = {"accept_cpu": accepting / max(1, expected - 1), "spread": connected - first}
        print(json.dumps(found), flush=True)

        # The stream of the one more.
        await anext(events)
        cpu = usage()[0]
        await anext(events)
        stream = usage()[0] - cpu
        if counts.messages != STREAM:
            raise RuntimeError(f"{counts.messages} of {STREAM} messages arrived")
        if trio.current_time() > began + interval:
            raise RuntimeError("the first pings went out meanwhile")

        # From the first ping to where the first one would go out again: each peer is pinged once.
        await trio.sleep_until(began + interval)
        cpu = usage()[0]
        sent = sum(count for count, _ in peers.statistics().sent.values())
        await trio.sleep_until(connected + interval + 1)
        pinged = usage()[0] - cpu
        sent = sum(count for count, _ in peers.statistics().sent.values()) - sent
        found = {"resident": resident, "stream": stream, "pings": sent, "ping_cpu": pinged, "left": len(peers.peers)}
        print(json.dumps(found), flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# The far ends


async def far_ends(count: int, port: int) -> None:
    raise_file_limit()
    node_id = SecretKey(SECRET).public_key
    limiter = trio.CapacityLimiter(DIALS)
    pong = Pong(ignored=b"").encode()

    async def one(number: int) -> None:
        async with limiter:
            peer = await raw.connect(port, node_id, SecretKey((1 << 64 | number).to_bytes(32, "big")))
            await peer.send(INIT)
        while await peer.receive_type(Ping.type) is not None:
            await peer.send(pong)

    async with trio.open_nursery() as nursery:
        for number in range(count):
            nursery.start_soon(one, number)


async def stream(port: int) -> None:
    """The peer that is not idle: sends, waits until all is read, and leaves."""
    peer = await raw.connect(port, SecretKey(SECRET).public_key, SecretKey(b"\x41" * 32))
    await peer.send(INIT)
    await trio.sleep(0.5)
    update = UPDATE.encode()
    for _ in range(STREAM // 500):
        await peer.send(*[update] * 500)
    await peer.send(Ping(num_pong_bytes=1).encode())
    await peer.receive_type(Pong.type)
    await peer.stream.aclose()


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def run(peers: int) -> dict[str, Any]:
    def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "benchmarks.idle", *arguments], cwd=nodes.ROOT, **options)

    node = start("--serve", str(peers), stdout=subprocess.PIPE)
    others: list[subprocess.Popen[bytes]] = []

    def line() -> dict[str, Any]:
        text = node.stdout.readline() if node.stdout is not None else b""
        if not text:
            raise RuntimeError("the node has ended")
        found: dict[str, Any] = json.loads(text)
        return found

    try:
        port = str(line()["port"])
        others.append(start("--far-ends", str(peers), port))
        connected = line()
        others.append(start("--stream", port))
        found = {**connected, **line()}
        if found["left"] != peers or found["pings"] < peers:
            raise RuntimeError(f"of {peers} peers {found['left']} are left; {found['pings']} pings were sent")
        return found
    finally:
        for process in (node, *others):
            process.kill()
            process.wait()


def rows(numbers: list[int]) -> Iterator[Row]:
    first: dict[str, float] = {}
    for peers in numbers:
        most = peers == max(numbers)
        steps = [bare.step()]
        found = run(peers)
        steps.append(bare.step())
        kib = found["resident"] / peers / 1024
        message = found["stream"] / STREAM * 1e6
        ping = found["ping_cpu"] / found["pings"] * 1e6
        first = first or {"kib": kib, "message": message, "ping": ping}
        few = f"{numbers[0]} peers"
        bound = 20 / first["kib"] if peers == 10_000 else None
        yield Row(f"{peers} idle peers: memory of each", kib, "KiB", few, first["kib"], bound, False, "KiB", peers)
        yield Row(
            f"{peers} idle peers: a ping and its pong, CPU", ping, "us", few, first["ping"], None, False, "ping", peers
        )
        whole = ping * peers / 1e6
        yield Row(
            f"{peers} idle peers: a round of pings, CPU",
            whole,
            "s",
            "2 seconds",
            2,
            1 if peers == 10_000 else None,
            moves=peers == 10_000,
        )
        if most:
            what, floor = (
                f"{peers} idle peers: a ping and its pong, CPU",
                "by Trio, a task a connection, and a channel",
            )
            # As close upon each other as ours, whose peers are pinged as they have come.
            rate = round(peers / found["spread"])
            yield Row(what, ping, "us", floor, bare.asked(peers, rate, peers / rate))
            yield bare.scaled(
                f"{peers} idle peers: a round of pings, CPU", whole, "s", 2 * peers / 10_000, sum(steps) / 2
            )
        what = f"{peers} idle peers: a channel_update of another one, CPU"
        yield Row(what, message, "us", few, first["message"], None, False, "message", peers)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--peers", default=",".join(map(str, PEERS)))
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--far-ends", nargs=2, type=int, help=argparse.SUPPRESS)
    parser.add_argument("--stream", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        trio.run(serve, given.serve)
    elif given.far_ends is not None:
        trio.run(far_ends, *given.far_ends)
    elif given.stream is not None:
        trio.run(stream, given.stream)
    else:
        report(rows([int(one) for one in given.peers.split(",")]))
