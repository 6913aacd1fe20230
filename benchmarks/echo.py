"""A ping's round trip between two processes over loopback, beside an echo of the same bytes by Trio alone.

    python -m benchmarks.echo [--json]

A ping's packet has 40 bytes and its pong's 38. Medians of PINGS each, in turn; the best of ROUNDS.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final

import trio

from benchmarks import bare
from benchmarks.measure import Row, report
from benchmarks.node import Counts
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerManager,
    open_peer_nursery,
)

PINGS: Final = 3000
ROUNDS: Final = 5
PING_BYTES, PONG_BYTES = 40, 38
SLICE: Final = 100
"""Pings of each, in turns."""
SLICES: Final = 61
HOPS_BOUND: Final = 2.0


def make_manager(number: int) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), Counts(None))
    return PeerManager(handlers, bytes([number]) * 32, bytes([number + 2]) * 32, NullLogger())


async def echo(stream: trio.SocketStream) -> None:
    while await receive(stream, PING_BYTES):
        await stream.send_all(bytes(PONG_BYTES))


async def receive(stream: trio.SocketStream, count: int) -> bool:
    while count:
        data = await stream.receive_some(count)
        if not data:
            return False
        count -= len(data)
    return True


async def serve() -> None:
    async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
        (ours,) = await peers.listen(0, host="127.0.0.1")
        (echoing,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, echo, [echoing])
        print(ours.socket.getsockname()[1], echoing.socket.getsockname()[1], flush=True)
        await trio.sleep_forever()


async def median(once: Callable[[], Awaitable[object]], count: int = PINGS) -> float:
    """Microseconds."""
    seconds: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        await once()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds) * 1e6


async def measure(ours: int, echoing: int) -> Row:
    stream = await trio.open_tcp_stream("127.0.0.1", echoing)

    async def bare_ping() -> None:
        await stream.send_all(bytes(PING_BYTES))
        await receive(stream, PONG_BYTES)

    best = floor = float("inf")
    node_id = make_manager(1).our_node_id.hex()
    async with open_peer_nursery(make_manager(2)) as peers:
        peer = await peers.connect(f"{node_id}@127.0.0.1:{ours}")
        for _ in range(ROUNDS):
            floor = min(floor, await median(bare_ping))
            best = min(best, await median(peer.ping))
    return Row("ping between two processes, median", best, "us", "an echo by Trio alone", floor, 2.5, moves=True)


async def in_turns(ours: int, hopping: int) -> Row:
    """Beside an echo that has as many tasks: slices of both, one right after the other."""
    node_id = make_manager(1).our_node_id.hex()
    async with bare.pinging(hopping) as other, open_peer_nursery(make_manager(2)) as peers:
        peer = await peers.connect(f"{node_id}@127.0.0.1:{ours}")
        pairs = [(await median(peer.ping, SLICE), await median(other.ping, SLICE)) for _ in range(SLICES)]
    floor = "an echo by Trio with a task that reads and a channel at each end"
    return bare.beside("ping between two processes, median", "us", floor, pairs[1:], HOPS_BOUND)


def rows() -> Iterator[Row]:
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.echo", "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        if server.stdout is None:
            raise RuntimeError("its output is not ours to read")
        ours, echoing = server.stdout.readline().split()
        yield trio.run(measure, int(ours), int(echoing))
        with bare.running("echo") as hopping:
            yield trio.run(in_turns, int(ours), hopping.port)
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        trio.run(serve)
    else:
        report(rows())
