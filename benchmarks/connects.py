"""Connects a second over loopback: TCP, three acts and both Inits, both ends in this process; and to a native LDK.

python -m benchmarks.connects [--json]
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Iterator
from typing import Final

import trio

from benchmarks import nodes
from benchmarks.measure import Row, report
from benchmarks.node import Counts
from benchmarks.noise import handshake
from triolight import ChannelMessageHandler, MessageHandler, NodeAddress, NullLogger, PeerManager, open_peer_nursery

CONNECTS: Final = 300
ROUNDS: Final = 3


def make_manager() -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), Counts(None))
    return PeerManager(handlers, secrets.token_bytes(32), secrets.token_bytes(32), NullLogger())


async def connects(address: NodeAddress) -> float:
    """Microseconds of wall time for each."""
    best = float("inf")
    for _ in range(ROUNDS):
        seconds = 0.0
        for _ in range(CONNECTS):
            # A manager each: a node that is connected is not dialled again.
            async with open_peer_nursery(make_manager(), goodbye_deadline=0) as peers:
                began = time.perf_counter()
                await peers.connect(address)
                seconds += time.perf_counter() - began
        best = min(best, seconds / CONNECTS * 1e6)
    return best


async def to_ourselves() -> float:
    async with open_peer_nursery(make_manager()) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        return await connects(NodeAddress(peers.manager.our_node_id, "127.0.0.1", port))


def rows() -> Iterator[Row]:
    floor = handshake().value
    ours = trio.run(to_ourselves)
    yield Row("connect: TCP, acts, Inits, both ends here", ours, "us", "the acts alone, both ends", floor)
    yield Row("connects a second, both ends here", 1e6 / ours, "/s", "the acts alone, both ends", 1e6 / floor)
    if nodes.LDK.is_file():
        with nodes.ldk("--quiet", "yes") as ldk:
            theirs = trio.run(connects, NodeAddress(bytes.fromhex(ldk.node_id), "127.0.0.1", ldk.port))
        yield Row("connect to native LDK", theirs, "us", "both ends ours", ours)
    else:
        print("native LDK is not built (interop/ldk_native): only ourselves", file=sys.stderr)


if __name__ == "__main__":
    report(rows())
