"""A node under 300 peers that connect, talk, misbehave and vanish: does anything grow?

    python -m benchmarks.soak --minutes 30

The node runs in this process and is measured; the peers run in another. Every ten seconds: memory (RSS), tasks, open
descriptors. When everyone has gone: tasks, descriptors, and the blocks of memory that Python holds; exit code 1 if more
is left than there was before. RSS is shown, and no more: an allocator keeps what the most peers took that were ever
there at once. With --json, a line for each sample.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import secrets
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict, dataclass

import trio
import trio.testing

from benchmarks import raw
from benchmarks.raw import INIT, RawPeer
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerClosed,
    PeerManager,
    RoutingMessageHandler,
    node_id,
    open_peer_nursery,
)
from triolight.keys import SecretKey
from triolight.messages import Ping, QueryChannelRange, UnknownMessage, Warning

PEERS = 300
SAMPLE_SECONDS = 10.0
BLOCKS = 50_000
"""Of Python memory, tolerated when all have gone: caches and counters, no more after 18,000 connections than 2,000."""


@dataclass
class Sample:
    seconds: float
    rss_mib: float
    tasks: int
    descriptors: int
    peers: int
    strangers: int
    messages: int


def rss_mib() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def manager(secret: bytes) -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    return PeerManager(handlers, secret, secrets.token_bytes(32), NullLogger())


# ---------------------------------------------------------------------------------------------------------------------
# The peers


class Crowd:
    """300 places; in each, one misbehaviour after the other."""

    def __init__(self, port: int, target: bytes, seed: int) -> None:
        self.port, self.target = port, target
        self.random = random.Random(seed)

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(PEERS):
                nursery.start_soon(self.place, number)

    async def place(self, number: int) -> None:
        # Few keys for many places, so that connections with one node meet.
        key = SecretKey((1 + number % 250).to_bytes(32, "big"))
        while True:
            act: Callable[[SecretKey], Awaitable[None]] = self.random.choice(
                (
                    self.honest,
                    self.honest,
                    self.half_open,
                    self.no_init,
                    self.garbage,
                    self.ping_flood,
                    self.ping_flood_unread,
                    self.unknown_flood,
                    self.query_flood,
                    self.largest,
                    self.dribble,
                    self.nonsense,
                    self.warnings,
                )
            )
            with trio.move_on_after(self.random.uniform(0.5, 20)):
                try:
                    await act(key)
                except* (OSError, trio.BrokenResourceError, trio.ClosedResourceError, ConnectError, PeerClosed):
                    pass  # it has had enough of us, which is its right
            await trio.sleep(self.random.uniform(0, 1))

    async def meet(self, key: SecretKey) -> RawPeer:
        peer = await raw.connect(self.port, self.target, key, source=f"127.0.0.{self.random.randint(2, 250)}")
        await peer.send(INIT)
        return peer

    async def leave(self, peer: RawPeer) -> None:
        if self.random.random() < 0.5:
            peer.reset()
        else:
            await trio.aclose_forcefully(peer.stream)

    async def honest(self, key: SecretKey) -> None:
        async with open_peer_nursery(manager(secrets.token_bytes(32)), goodbye_deadline=1) as peers:
            peer = await peers.connect(NodeAddress(self.target, "127.0.0.1", self.port))
            while True:
                await peer.send(UnknownMessage(40_001, secrets.token_bytes(self.random.randint(0, 2000))))
                await peer.ping(self.random.randint(0, 5000))
                await trio.sleep(self.random.uniform(0, 0.5))

    async def half_open(self, key: SecretKey) -> None:
        stream = await raw.dial(self.port)
        try:
            await stream.send_all(secrets.token_bytes(self.random.randint(0, 49)))
            await trio.sleep_forever()
        finally:
            await trio.aclose_forcefully(stream)

    async def no_init(self, key: SecretKey) -> None:
        peer = await raw.connect(self.port, self.target, key)
        try:
            await trio.sleep_forever()
        finally:
            await self.leave(peer)

    async def garbage(self, key: SecretKey) -> None:
        stream = await raw.dial(self.port)
        try:
            await stream.send_all(secrets.token_bytes(200))
            await stream.receive_some()
        finally:
            await trio.aclose_forcefully(stream)

    async def flood(self, key: SecretKey, message: bytes, *, read: bool) -> None:
        peer = await self.meet(key)

        async def reading() -> None:
            while await peer.receive() is not None:
                pass

        try:
            async with trio.open_nursery() as nursery:
                if read:
                    nursery.start_soon(reading)
                while True:
                    await peer.send(*[message] * 20)
                    await trio.sleep(0.02)
        finally:
            await self.leave(peer)

    async def ping_flood(self, key: SecretKey) -> None:
        await self.flood(key, Ping(num_pong_bytes=self.random.choice((0, 10, 1000))).encode(), read=True)

    async def ping_flood_unread(self, key: SecretKey) -> None:
        await self.flood(key, Ping(num_pong_bytes=65_531).encode(), read=False)

    async def unknown_flood(self, key: SecretKey) -> None:
        await self.flood(key, bytes.fromhex("ffff") + bytes(30), read=False)

    async def query_flood(self, key: SecretKey) -> None:
        query = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1)
        await self.flood(key, query.encode(), read=True)

    async def largest(self, key: SecretKey) -> None:
        await self.flood(key, b"\xff\xff" + bytes(65_533), read=False)

    async def warnings(self, key: SecretKey) -> None:
        await self.flood(key, Warning(channel_id=bytes(32), data=b"\x1b[31m" * 50).encode(), read=True)

    async def dribble(self, key: SecretKey) -> None:
        peer = await self.meet(key)
        try:
            for byte in peer.sealed(*[Ping(num_pong_bytes=1).encode()] * 100):
                await peer.stream.send_all(bytes((byte,)))
                await trio.sleep(0.005)
        finally:
            await self.leave(peer)

    async def nonsense(self, key: SecretKey) -> None:
        peer = await self.meet(key)
        try:
            await peer.send(
                self.random.choice(
                    (INIT, b"\x00\x12", b"\x80\x00", b"", b"\x00\x11" + bytes(34), secrets.token_bytes(100))
                )
            )
            while await peer.receive() is not None:
                pass
        finally:
            await self.leave(peer)


# ---------------------------------------------------------------------------------------------------------------------
# The node


async def run(minutes: float, as_json: bool) -> int:
    samples: list[Sample] = []
    secret = secrets.token_bytes(32)
    # Tasks of programs, not of the library: the peers' process, and a subscriber that is slow now and then.
    async with open_peer_nursery(manager(secret)) as peers, trio.open_nursery() as nursery:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]

        async def slow_reader() -> None:
            chance = random.Random(1)
            with reading:
                async with peers.subscribe(UnknownMessage) as inbox:
                    async for _ in inbox:
                        if chance.random() < 0.001:
                            await trio.sleep(0.2)

        reading = trio.CancelScope()
        await trio.testing.wait_all_tasks_blocked()
        before_tasks, before_descriptors, before_blocks = tasks(), descriptors(), blocks()
        nursery.start_soon(slow_reader)
        crowd = await trio.lowlevel.open_process(
            [sys.executable, "-m", "benchmarks.soak", "--crowd", str(port), node_id(secret).hex()],
            stdin=subprocess.DEVNULL,
        )
        began = trio.current_time()
        try:
            while trio.current_time() - began < minutes * 60:
                await trio.sleep(SAMPLE_SECONDS)
                seen = peers.statistics()
                sample = Sample(
                    round(trio.current_time() - began),
                    round(rss_mib(), 1),
                    tasks(),
                    descriptors(),
                    seen.peers,
                    seen.strangers,
                    sum(one.messages for one in seen.received.values()),
                )
                samples.append(sample)
                print(json.dumps(asdict(sample)) if as_json else sample, flush=True)
                if crowd.poll() is not None:
                    raise RuntimeError("the crowd has died")
        finally:
            crowd.kill()
            with trio.CancelScope(shield=True):
                await crowd.wait()
        # Nobody is slow any more: what has come is read to its end.
        reading.cancel()
        # What is half open has up to a handshake's and an Init's deadline.
        for _ in range(60):
            if not peers.statistics().strangers and tasks() <= before_tasks:
                break
            await trio.sleep(1)
        after = tasks(), descriptors(), blocks()
        seen = peers.statistics()
        print("ends:", shown(seen.disconnects))
        print("never peers:", shown(seen.handshake_failures))
        print(f"decisions: {shown(seen.decisions)}; throttled {seen.throttled}, paused {seen.reading_paused}")
        nursery.cancel_scope.cancel()
    tenth = max(1, len(samples) // 10)
    early = statistics.median(one.rss_mib for one in samples[tenth : 2 * tenth] or samples[:1])
    late = statistics.median(one.rss_mib for one in samples[-tenth:])
    print(f"tasks {before_tasks} -> {after[0]}, descriptors {before_descriptors} -> {after[1]}")
    print(f"blocks of Python's memory {before_blocks:,} -> {after[2]:,}")
    print(f"RSS {early:.1f} MiB in the second tenth, {late:.1f} MiB in the last")
    grown = after[0] > before_tasks or after[1] > before_descriptors or after[2] > before_blocks + BLOCKS
    print("something has grown" if grown else "nothing has grown")
    return int(grown)


def shown(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{key!s} {value}" for key, value in sorted(counts.items()))


def tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def blocks() -> int:
    gc.collect()
    return sys.getallocatedblocks()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--crowd", nargs=2, metavar=("PORT", "NODE_ID"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.crowd:
        trio.run(Crowd(int(given.crowd[0]), bytes.fromhex(given.crowd[1]), 1).run)
    else:
        sys.exit(trio.run(run, given.minutes, given.json))
