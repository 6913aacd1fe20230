"""What an honest peer notices of an attack: its median round trip beside the idle one, and our memory.

    python -m benchmarks.floods

Three processes over loopback: the node, the attackers, and the honest peer (this one). Each scenario has an idle
measurement of its own just before it. The bounds are design.md's; medians of 2,000 pings, times are real.
"""

from __future__ import annotations

import argparse
import json
import resource
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import trio

from benchmarks import raw
from benchmarks.raw import INIT, RawPeer
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerManager,
    Policy,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.keys import SecretKey
from triolight.messages import ChannelUpdate, Message, Ping, Pong, QueryChannelRange
from triolight.wire import ShortChannelId

PINGS = 2000
OURS = SecretKey(b"\x11" * 32)
HONEST = SecretKey(b"\x22" * 32)
PING = Ping(num_pong_bytes=4).encode()


class Gossip(RoutingMessageHandler):
    """Takes channel_updates, as a collector does."""

    count = 0

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.count += 1


# ---------------------------------------------------------------------------------------------------------------------
# The node


async def serve(max_strangers: int) -> None:
    raise_file_limit()
    handlers = MessageHandler(ChannelMessageHandler(), Gossip())
    manager = PeerManager(handlers, b"\x11" * 32, secrets.token_bytes(32), NullLogger())
    policy = Policy(max_strangers=max_strangers) if max_strangers else Policy()
    async with open_peer_nursery(manager, policy=policy) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1", backlog=4096)
        print(listener.socket.getsockname()[1], flush=True)
        await trio.sleep_forever()


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---------------------------------------------------------------------------------------------------------------------
# The attackers


async def attack(kind: str, count: int, port: int) -> None:
    raise_file_limit()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(ATTACKS[kind], number, port)
        print("ready", flush=True)


async def half_open(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    stream = await raw.dial(port, source=f"127.0.{1 + number // 200}.{1 + number % 200}")
    task_status.started()
    try:
        await stream.receive_some()
        await trio.sleep_forever()
    except trio.BrokenResourceError:
        await trio.sleep_forever()


async def meet(number: int, port: int) -> RawPeer:
    peer = await raw.connect(port, OURS.public_key, SecretKey((1000 + number).to_bytes(32, "big")))
    await peer.send(INIT)
    return peer


async def pings_read(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port), Ping(num_pong_bytes=0).encode(), True, task_status)


async def pongs_unread(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port), Ping(num_pong_bytes=65_531).encode(), False, task_status)


async def unknown(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port), b"\xff\xff", False, task_status)


async def queries(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    query = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1)
    await flood(await meet(number, port), query.encode(), False, task_status)


async def largest(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port), b"\xff\xff" + bytes(65_533), False, task_status)


async def dribble(number: int, port: int, task_status: trio.TaskStatus[None]) -> None:
    peer = await meet(number, port)
    task_status.started()
    while True:
        for byte in peer.sealed(PING):
            await peer.stream.send_all(bytes((byte,)))


async def flood(peer: RawPeer, message: bytes, read: bool, task_status: trio.TaskStatus[None]) -> None:
    async def reading() -> None:
        while await peer.stream.receive_some(65_536):
            pass

    async with trio.open_nursery() as nursery:
        if read:
            nursery.start_soon(reading)
        task_status.started()
        batch = [message] * max(1, 2000 // len(message))
        while True:
            await peer.send(*batch)


ATTACKS = {one.__name__: one for one in (half_open, pings_read, pongs_unread, unknown, queries, largest, dribble)}


# ---------------------------------------------------------------------------------------------------------------------
# The honest peer


@dataclass
class Result:
    """Round trips in milliseconds, memory of the node in MiB."""

    attack: str
    attackers: int
    idle_ms: float
    attacked_ms: float
    ratio: float
    bound: float
    rss_before: float
    rss_under: float

    def __str__(self) -> str:
        held = "" if self.ratio <= self.bound else "   MISSED"
        each = (self.rss_under - self.rss_before) * 1024 / self.attackers
        return (
            f"{self.attackers:>5} x {self.attack:<26}{self.idle_ms:>7.3f} ms ->{self.attacked_ms:>7.3f} ms "
            f"{self.ratio:>6.2f} x (bound {self.bound:g}){held}   "
            f"RSS {self.rss_before:.1f} -> {self.rss_under:.1f} MiB, {each:.0f} KiB each"
        )


def rss_of(process: trio.Process) -> float:
    return int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """A process of this program, and its first line."""
    process = await trio.lowlevel.open_process([sys.executable, "-m", "benchmarks.floods", *arguments], stdout=-1)
    try:
        line = b""
        while not line.endswith(b"\n") and process.stdout is not None:
            line += await process.stdout.receive_some(100)
        yield process, line.decode().strip()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def median_rtt(peer: RawPeer, pings: int = PINGS) -> float:
    """Milliseconds."""
    rtts: list[float] = []
    for _ in range(pings):
        began = time.perf_counter()
        await peer.send(PING)
        if await peer.receive_type(Pong.type) is None:
            raise RuntimeError("the honest peer was disconnected")
        rtts.append(time.perf_counter() - began)
    return statistics.median(rtts) * 1e3


async def scenario(kind: str, count: int, bound: float, max_strangers: int = 0) -> Result:
    async with running("--serve", str(max_strangers)) as (node, port):
        honest = await raw.connect(int(port), OURS.public_key, HONEST)
        await honest.send(INIT)
        await median_rtt(honest, 300)
        before = rss_of(node)
        idle = await median_rtt(honest)
        async with running("--attack", kind, str(count), port):
            attacked = await median_rtt(honest)
            under = rss_of(node)
        name = kind + (f" ({max_strangers} allowed)" if max_strangers else "")
        return Result(name, count, idle, attacked, attacked / idle, bound, before, under)


UPDATE = ChannelUpdate(
    signature=bytes(64),
    chain_hash=bytes(32),
    short_channel_id=ShortChannelId.of(400_000, 42, 0),
    timestamp=1_700_000_000,
    message_flags=1,
    channel_flags=0,
    cltv_expiry_delta=40,
    htlc_minimum_msat=1,
    fee_base_msat=1000,
    fee_proportional_millionths=100,
    htlc_maximum_msat=10**9,
)


async def dump(megabytes: int = 60) -> None:
    """A whole gossip, with and without the default allowance: the same speed."""
    message: Message = UPDATE
    encoded = message.encode()
    count = megabytes * 1_000_000 // len(encoded)
    seconds: dict[str, float] = {}
    for name, policy in (("default policy", Policy()), ("no allowance", Policy(allowance=None))) * 2:
        gossip = Gossip()
        handlers = MessageHandler(ChannelMessageHandler(), gossip)
        manager = PeerManager(handlers, b"\x11" * 32, secrets.token_bytes(32), NullLogger())
        async with open_peer_nursery(manager, policy=policy) as peers:
            (listener,) = await peers.listen(0, host="127.0.0.1")
            sender = await raw.connect(listener.socket.getsockname()[1], OURS.public_key, HONEST)
            await sender.send(INIT)
            packets = [sender.sealed(*[encoded] * 500) for _ in range(count // 500)]
            began = time.perf_counter()
            for packet in packets:
                await sender.stream.send_all(packet)
            await sender.send(Ping(num_pong_bytes=1).encode())
            await sender.receive_type(Pong.type)
            took = time.perf_counter() - began
            seconds[name] = min(took, seconds.get(name, took))
            if gossip.count != len(packets) * 500 or peers.statistics().throttled:
                raise RuntimeError("not all of it came through, or it was slowed down")
    for name, took in seconds.items():
        print(f"gossip dump of {megabytes} MB, {name}: {took:.2f} s, {megabytes / took:.0f} MB/s, never slowed down")


async def main(as_json: bool) -> None:
    raise_file_limit()
    for kind, count, bound, allowed in (
        ("half_open", 5000, 2, 0),
        ("half_open", 5000, 2, 10_000),
        ("pings_read", 1, 10, 0),
        ("pings_read", 10, 10, 0),
        ("pongs_unread", 10, 3, 0),
        ("unknown", 10, 10, 0),
        ("queries", 10, 10, 0),
        ("largest", 10, 10, 0),
        ("dribble", 10, 10, 0),
    ):
        result = await scenario(kind, count, bound, allowed)
        print(json.dumps(asdict(result)) if as_json else result, flush=True)
    await dump()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="STRANGERS", help=argparse.SUPPRESS)
    parser.add_argument("--attack", nargs=3, metavar=("KIND", "COUNT", "PORT"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        trio.run(serve, int(given.serve))
    elif given.attack:
        trio.run(attack, given.attack[0], int(given.attack[1]), int(given.attack[2]))
    else:
        trio.run(main, given.json)
