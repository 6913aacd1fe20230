"""What an honest peer notices of an attack: its median round trip beside the idle one, and our memory.

    python -m benchmarks.floods [--json]

Three processes over loopback: the node, the attackers, and the honest peer (this one). Each scenario has an idle
measurement of its own just before it. Two of the attacks are made on native LDK and LND as well, where they are built
(interop). Medians of 2,000 pings or more; times are real.
"""

from __future__ import annotations

import argparse
import resource
import secrets
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from benchmarks import bare, nodes, raw
from benchmarks.measure import Row, report
from benchmarks.raw import INIT, RawPeer
from interop.lnd_node import open_lnd
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

PINGS: Final = 2000
SHORTEST, LONGEST = 2.0, 60.0
"""Seconds: a fast node answers so many pings before the attackers have got going."""
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


async def attack(kind: str, count: int, port: int, node_id: bytes) -> None:
    raise_file_limit()
    async with trio.open_nursery() as nursery:
        for number in range(count):
            await nursery.start(ATTACKS[kind], number, port, node_id)
        print("ready", flush=True)


async def half_open(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    stream = await raw.dial(port, source=f"127.0.{1 + number // 200}.{1 + number % 200}")
    task_status.started()
    try:
        await stream.receive_some()
        await trio.sleep_forever()
    except trio.BrokenResourceError:
        await trio.sleep_forever()


async def meet(number: int, port: int, node_id: bytes) -> RawPeer:
    peer = await raw.connect(port, node_id, SecretKey((1000 + number).to_bytes(32, "big")))
    await peer.send(INIT)
    return peer


async def pings_read(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port, node_id), Ping(num_pong_bytes=0).encode(), True, task_status)


async def pongs_unread(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    peer = await meet(number, port, node_id)
    task_status.started()
    for _ in range(20):
        await peer.send(*[Ping(num_pong_bytes=65_531).encode()] * 100)
    await trio.sleep_forever()


async def pongs_unread_without_end(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port, node_id), Ping(num_pong_bytes=65_531).encode(), False, task_status)


async def unknown(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port, node_id), b"\xff\xff", False, task_status)


async def queries(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    query = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1)
    await flood(await meet(number, port, node_id), query.encode(), False, task_status)


async def largest(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    await flood(await meet(number, port, node_id), b"\xff\xff" + bytes(65_533), False, task_status)


async def dribble(number: int, port: int, node_id: bytes, task_status: trio.TaskStatus[None]) -> None:
    peer = await meet(number, port, node_id)
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


ATTACKS = {
    one.__name__: one
    for one in (half_open, pings_read, pongs_unread, pongs_unread_without_end, unknown, queries, largest, dribble)
}


# ---------------------------------------------------------------------------------------------------------------------
# The targets


@dataclass(frozen=True)
class Target:
    """A running node under attack."""

    pid: int
    node_id: bytes
    port: int


def rss_of(pid: int) -> int:
    """Bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


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


@asynccontextmanager
async def open_triolight(max_strangers: int = 0) -> AsyncIterator[Target]:
    async with running("--serve", str(max_strangers)) as (process, port):
        yield Target(process.pid, OURS.public_key, int(port))


@asynccontextmanager
async def open_native_ldk() -> AsyncIterator[Target]:
    with nodes.ldk("--quiet", "yes") as node:
        yield Target(node.process.pid, bytes.fromhex(node.node_id), node.port)


@asynccontextmanager
async def open_whole_lnd() -> AsyncIterator[Target]:
    async with open_lnd() as node:
        yield Target(node.pid, node.node_id, node.port)


OPENERS: Final = {"triolight": open_triolight, "LDK": open_native_ldk, "LND": open_whole_lnd}


def others() -> list[str]:
    """The other implementations that are built here."""
    built = {"LDK": nodes.LDK.is_file(), "LND": nodes.LND.is_file()}
    for name, there in built.items():
        if not there:
            print(f"{name} is not built (interop): left out", file=sys.stderr)
    return [name for name, there in built.items() if there]


# ---------------------------------------------------------------------------------------------------------------------
# The honest peer


@dataclass(frozen=True)
class Scenario:
    """What an honest peer of a target saw. Round trips in milliseconds, memory of the target in bytes."""

    idle: float
    attacked: float
    memory: int
    """Growth since before the attack."""
    echo_idle: float
    echo_attacked: float
    """Of an echo by bare Trio in a process that nobody attacks, in turns with the honest peer's."""


async def median_rtt(peer: RawPeer, shortest: float = SHORTEST) -> float:
    """Milliseconds."""
    rtts: list[float] = []
    start = time.perf_counter()
    while (began := time.perf_counter()) < start + LONGEST and (len(rtts) < PINGS or began < start + shortest):
        await peer.send(PING)
        if await peer.receive_type(Pong.type) is None:
            raise RuntimeError("the honest peer was disconnected")
        rtts.append(time.perf_counter() - began)
    return statistics.median(rtts) * 1e3


async def median_rtts(peer: RawPeer, echo: bare.Pinging, shortest: float = SHORTEST) -> tuple[float, float]:
    """Milliseconds, ours and the echo's, in turns: what attackers take of the machine is taken of both."""
    ours, theirs = list[float](), list[float]()
    start = time.perf_counter()
    while (began := time.perf_counter()) < start + LONGEST and (len(ours) < PINGS or began < start + shortest):
        await peer.send(PING)
        if await peer.receive_type(Pong.type) is None:
            raise RuntimeError("the honest peer was disconnected")
        ours.append((answered := time.perf_counter()) - began)
        await echo.ping()
        theirs.append(time.perf_counter() - answered)
    return statistics.median(ours) * 1e3, statistics.median(theirs) * 1e3


@asynccontextmanager
async def open_echo() -> AsyncIterator[bare.Pinging]:
    with bare.running("echo") as program:
        async with bare.pinging(program.port) as echo:
            yield echo


def beside_echo(what: str, idle: tuple[float, float], attacked: tuple[float, float], bound: float | None) -> Row:
    """How much longer a round trip takes than idle, beside how much longer one takes with an echo beside the node."""
    grown = attacked[1] / idle[1]
    return Row(what, attacked[0], "ms", "idle, longer by what an echo beside it takes longer", idle[0] * grown, bound)


async def scenario(open_target: AbstractAsyncContextManager[Target], kind: str, count: int) -> Scenario:
    async with open_target as target, open_echo() as echo:
        honest = await raw.connect(target.port, target.node_id, HONEST)
        await honest.send(INIT)
        await median_rtt(honest, 0)
        before = rss_of(target.pid)
        idle, echo_idle = await median_rtts(honest, echo)
        async with running("--attack", kind, str(count), str(target.port), target.node_id.hex()) as (attackers, _):
            await trio.sleep(SHORTEST)
            attacked, echo_attacked = await median_rtts(honest, echo)
            memory = rss_of(target.pid) - before
            if attackers.poll() is not None:
                raise RuntimeError("the attackers were disconnected")
        return Scenario(idle, attacked, memory, echo_idle, echo_attacked)


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


async def dump(megabytes: int = 60) -> Row:
    """A whole gossip, with and without the default allowance: the same speed."""
    message: Message = UPDATE
    encoded = message.encode()
    count = megabytes * 1_000_000 // len(encoded)
    seconds: dict[str, float] = {}
    for name, policy in (("default policy", Policy()), ("no allowance", Policy(allowance=None))) * 3:
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
    rates = {name: megabytes / took for name, took in seconds.items()}
    what = f"a gossip dump of {megabytes} MB, default policy"
    return Row(what, rates["default policy"], "MB/s", "no allowance", rates["no allowance"], 0.9, True)


OWN: Final = (
    ("half_open", 5000, 2, 0),
    ("half_open", 5000, None, 10_000),
    ("pings_read", 1, 10, 0),
    ("pongs_unread_without_end", 10, 3, 0),
    ("unknown", 10, 10, 0),
    ("queries", 10, 10, 0),
    ("largest", 10, 10, 0),
    ("dribble", 10, 10, 0),
)
"""Attack, attackers, bound, and strangers allowed if not the default policy's."""


def rows() -> Iterator[Row]:
    raise_file_limit()
    # The two that others are asked to stand, too.
    for kind, bound in (("pongs_unread", 3), ("pings_read", 10)):
        found: dict[str, Scenario] = {}
        for name in ("triolight", *others()):
            found[name] = one = trio.run(scenario, OPENERS[name](), kind, 10)
            limit = bound if name == "triolight" else None
            what = f"10 x {kind}, {name}: honest RTT"
            yield Row(
                what, one.attacked, "ms", "idle", one.idle, limit, False, f"{kind}, {name}", moves=limit is not None
            )
            yield beside_echo(what, (one.idle, one.echo_idle), (one.attacked, one.echo_attacked), limit)
            if kind == "pongs_unread":
                limit = 1 if name == "triolight" else None
                yield Row(f"10 x {kind}, {name}: memory of each", one.memory / 10 / 1024, "KiB", "1 MiB", 1024, limit)
        ours = found["triolight"].attacked
        for name in [name for name in found if name != "triolight"]:
            limit = 1 if (kind, name) == ("pings_read", "LDK") else None
            yield Row(f"10 x {kind}: honest RTT beside {name}'s", ours, "ms", name, found[name].attacked, limit)
    for kind, count, own_bound, allowed in OWN:
        one = trio.run(scenario, open_triolight(allowed), kind, count)
        what = f"{count} x {kind}" + (f" ({allowed} allowed)" if allowed else "")
        moves = own_bound is not None
        yield Row(f"{what}: honest RTT", one.attacked, "ms", "idle", one.idle, own_bound, moves=moves)
        yield beside_echo(
            f"{what}: honest RTT", (one.idle, one.echo_idle), (one.attacked, one.echo_attacked), own_bound
        )
        yield Row(f"{what}: memory of each", one.memory / count / 1024, "KiB", "1 MiB", 1024, 1)
    yield trio.run(dump)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="STRANGERS", help=argparse.SUPPRESS)
    parser.add_argument("--attack", nargs=4, metavar=("KIND", "COUNT", "PORT", "NODE_ID"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        trio.run(serve, int(given.serve))
    elif given.attack:
        kind, count, port, node_id = given.attack
        trio.run(attack, kind, int(count), int(port), bytes.fromhex(node_id))
    else:
        report(rows())
