"""Connecting over loopback: TCP, three acts, both Inits. One after the other, both ends in this process, beside a bare
Trio program and the acts alone; to a native LDK; and a storm of dials, from a node of ours and from a native LDK.

    python -m benchmarks.connects [--json]

In the storm a node is told of 500 others that it is to be connected with, and dials them at once: as kept peers are
dialled when a node starts. Three processes: the node, all of the others, which do no more than the acts, an Init and
pongs, and an honest peer (this one), who pings the node meanwhile.
"""

from __future__ import annotations

import argparse
import secrets
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import trio

from benchmarks import bare, nodes, raw
from benchmarks.floods import HONEST, PING, beside_echo, median_rtt, median_rtts, open_echo, raise_file_limit
from benchmarks.measure import Row, report
from benchmarks.node import Counts, emit
from benchmarks.noise import whole_handshake
from benchmarks.raw import INIT, RawPeer
from triolight import ChannelMessageHandler, MessageHandler, NodeAddress, NullLogger, PeerManager, open_peer_nursery
from triolight.keys import SecretKey
from triolight.messages import Ping, Pong
from triolight.noise import ACT_ONE_LENGTH, ACT_THREE_LENGTH, OVERHEAD, Handshake

CONNECTS: Final = 200
ROUNDS: Final = 7
STORM: Final = 500
STORMS: Final = 3
"""Of each node, in turns."""


def make_manager() -> PeerManager:
    handlers = MessageHandler(ChannelMessageHandler(), Counts(None))
    return PeerManager(handlers, secrets.token_bytes(32), secrets.token_bytes(32), NullLogger())


# ---------------------------------------------------------------------------------------------------------------------
# One after the other


async def ours() -> float:
    """Microseconds of CPU for each. One node dials many: nobody leaves meanwhile."""
    async with AsyncExitStack() as stack:
        addresses: list[NodeAddress] = []
        for _ in range(CONNECTS):
            far = await stack.enter_async_context(open_peer_nursery(make_manager(), goodbye_deadline=0))
            (listener,) = await far.listen(0, host="127.0.0.1")
            port = listener.socket.getsockname()[1]
            addresses.append(NodeAddress(far.manager.our_node_id, "127.0.0.1", port))
        peers = await stack.enter_async_context(open_peer_nursery(make_manager(), goodbye_deadline=0))
        began = time.process_time()
        for address in addresses:
            await peers.connect(address)
        return (time.process_time() - began) / CONNECTS * 1e6


async def bare_trio() -> float:
    """The same bytes in the same order, by a Trio program that knows nothing of them."""
    init = bytes(len(INIT) + OVERHEAD)

    async def answer(stream: trio.SocketStream) -> None:
        await stream.receive_some(65_536)
        await stream.send_all(bytes(ACT_ONE_LENGTH))
        await stream.receive_some(65_536)
        await stream.send_all(init)
        await trio.sleep_forever()

    async def listen(listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as children:
            while True:
                children.start_soon(answer, await listener.accept())

    async with trio.open_nursery() as nursery:
        ports: list[int] = []
        for _ in range(CONNECTS):
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(listen, listener)
            ports.append(listener.socket.getsockname()[1])
        streams: list[trio.SocketStream] = []
        began = time.process_time()
        for port in ports:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            await stream.send_all(bytes(ACT_ONE_LENGTH))
            await stream.receive_some(65_536)
            await stream.send_all(bytes(ACT_THREE_LENGTH) + init)
            await stream.receive_some(65_536)
            streams.append(stream)
        took = (time.process_time() - began) / CONNECTS * 1e6
        nursery.cancel_scope.cancel(reason="measured")
        return took


async def to(address: NodeAddress) -> float:
    """Microseconds of wall time for each. A manager each: a node that is connected is not dialled again."""
    seconds = 0.0
    for _ in range(CONNECTS):
        async with open_peer_nursery(make_manager(), goodbye_deadline=0) as peers:
            began = time.perf_counter()
            await peers.connect(address)
            seconds += time.perf_counter() - began
    return seconds / CONNECTS * 1e6


async def to_ourselves() -> float:
    async with open_peer_nursery(make_manager()) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        port = listener.socket.getsockname()[1]
        return await to(NodeAddress(peers.manager.our_node_id, "127.0.0.1", port))


def best(*those: Callable[[], Awaitable[float]]) -> list[float]:
    """Of each, in turns: noise only adds."""
    found = [[trio.run(one) for one in those] for _ in range(ROUNDS)]
    return [min(of_one) for of_one in zip(*found, strict=True)]


BARE: Final = "bare Trio with the same bytes, and the acts"


def in_turn() -> Generator[Row, None, float]:
    """Their rows; and what both ends of `BARE` take."""
    acts, pairs = float("inf"), list[tuple[float, float]]()
    for _ in range(ROUNDS):
        began = time.process_time()
        count = whole_handshake()
        alone = (time.process_time() - began) / count * 1e6
        acts = min(acts, alone)
        pairs.append((trio.run(ours), trio.run(bare_trio) + alone))
    whole = min(one for one, _ in pairs)
    what = "connect: TCP, acts, Inits, both ends here: CPU"
    yield Row(what, whole, "us", "the acts alone, both ends", acts, 3, moves=True)
    yield (found := bare.beside(what, "us", BARE, pairs, 3))
    yield Row("connects a second, both ends here", 1e6 / whole, "/s", "the acts alone, both ends", 1e6 / acts)
    if nodes.LDK.is_file():
        with nodes.ldk("--quiet", "yes") as ldk:
            address = NodeAddress(bytes.fromhex(ldk.node_id), "127.0.0.1", ldk.port)
            theirs, here = best(lambda: to(address), to_ourselves)
        yield Row("connect to native LDK: wall time", theirs, "us", "both ends ours", here)
    return found.beside_value


# ---------------------------------------------------------------------------------------------------------------------
# A storm


async def others(count: int) -> None:
    """So many nodes in one process, each at a port of its own. Says when the Inits of all have come."""
    raise_file_limit()
    keys = [SecretKey((1 << 64 | number).to_bytes(32, "big")) for number in range(count)]
    met = 0

    async def answer(key: SecretKey, stream: trio.SocketStream) -> None:
        nonlocal met
        handshake, rest = Handshake(key, SecretKey(secrets.token_bytes(32)), None), b""
        while handshake.opener is None or handshake.sealer is None:
            if not (data := bytes(await stream.receive_some(65_536))):
                return
            two, rest = handshake.receive(data)
            if two:
                await stream.send_all(two)
        handshake.opener.feed(rest)
        peer = RawPeer(stream, handshake.sealer, handshake.opener)
        await peer.send(INIT)
        if await peer.receive() is not None:
            met += 1
            if met == count:
                emit({"event": "met"})
        while await peer.receive_type(Ping.type) is not None:
            await peer.send(Pong(ignored=b"").encode())

    async def listen(key: SecretKey, listener: trio.SocketListener) -> None:
        async with trio.open_nursery() as children:
            while True:
                children.start_soon(answer, key, await listener.accept())

    async with trio.open_nursery() as nursery:
        there: list[tuple[str, int]] = []
        for key in keys:
            (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
            nursery.start_soon(listen, key, listener)
            there.append((key.public_key.hex(), listener.socket.getsockname()[1]))
        emit({"event": "ready", "node_id": "", "port": 0, "nodes": there})


@dataclass(frozen=True)
class Storm:
    """What it was for one node, and for its honest peer. Round trips in milliseconds."""

    cpu: float
    """Microseconds of the node's, for each dial."""
    seconds: float
    idle: tuple[float, float]
    """Of a ping, and of an echo by bare Trio in a process of its own, in turns."""
    meanwhile: tuple[float, float]


async def storm(name: str) -> Storm:
    async with open_echo() as echo:
        with nodes.MAKERS[name]() as node, nodes.Node(sys.executable, "-m", "benchmarks.connects", "--others") as far:
            # Both dial as soon as they are told; LDK would not dial again.
            return await storm_of(node, "keep" if name == "triolight" else "connect", far, echo)


async def storm_of(node: nodes.Node, what: str, far: nodes.Node, echo: bare.Pinging) -> Storm:
    honest = await raw.connect(node.port, bytes.fromhex(node.node_id), HONEST)
    await honest.send(INIT)
    await median_rtt(honest, 0)
    idle = await median_rtts(honest, echo, 0)
    trips: list[float] = []
    echoes: list[float] = []

    over = trio.Event()

    async def ping() -> None:
        while not over.is_set():
            began = time.perf_counter()
            await honest.send(PING)
            await honest.receive_type(Pong.type)
            trips.append((answered := time.perf_counter()) - began)
            await echo.ping()
            echoes.append(time.perf_counter() - answered)

    told = [(what, {"node_id": node_id, "port": port}) for node_id, port in far.ready["nodes"]]
    before = node.command("counts")["cpu"]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ping)
        began = time.perf_counter()
        await trio.to_thread.run_sync(lambda: node.commands(*told))
        await trio.to_thread.run_sync(far.event, "met")
        seconds = time.perf_counter() - began
        over.set()
    while len(node.command("peers")["peers"]) <= STORM:
        await trio.lowlevel.checkpoint()
    cpu = node.command("counts")["cpu"] - before
    meanwhile = at_any_moment(trips) * 1e3, at_any_moment(echoes) * 1e3
    return Storm(cpu / STORM * 1e6, seconds, idle, meanwhile)


def at_any_moment(trips: list[float]) -> float:
    """The median of the ping that is on its way at any moment: of pings one after the other, most fall into the time
    in which they are quick."""
    half, passed = sum(trips) / 2, 0.0
    for trip in sorted(trips):
        passed += trip
        if passed >= half:
            return trip
    raise RuntimeError("no ping came back")


def storms(floor: float) -> Iterator[Row]:
    """`floor`: of one end, microseconds."""
    names = ("triolight", "LDK") if nodes.LDK.is_file() else ("triolight",)
    found: dict[str, list[Storm]] = {name: [] for name in names}
    for _ in range(STORMS):
        for name in names:
            found[name].append(trio.run(storm, name))
    cpu = {name: min(one.cpu for one in those) for name, those in found.items()}
    seconds = {name: min(one.seconds for one in those) for name, those in found.items()}
    what = f"{STORM} dials at once"
    yield Row(f"{what}: CPU of each", cpu["triolight"], "us", f"one end: {BARE}", floor, 5)
    for name in names[1:]:
        yield Row(f"{what}: CPU of each", cpu["triolight"], "us", f"native {name}", cpu[name])
        yield Row(f"{what}: until all are connected", seconds["triolight"], "s", f"native {name}", seconds[name])
    middle = {name: sorted(those, key=lambda one: one.meanwhile[0])[STORMS // 2] for name, those in found.items()}
    for name, one in middle.items():
        yield Row(f"{what}, {name}: honest RTT", one.meanwhile[0], "ms", "idle", one.idle[0])
        yield beside_echo(f"{what}, {name}: honest RTT", one.idle, one.meanwhile, 10 if name == "triolight" else None)
    for name in names[1:]:
        theirs = middle[name].meanwhile[0]
        yield Row(
            f"{what}: honest RTT", middle["triolight"].meanwhile[0], "ms", f"native {name}", theirs, 1, moves=True
        )


def rows() -> Iterator[Row]:
    raise_file_limit()
    if not nodes.LDK.is_file():
        print("native LDK is not built (interop/ldk_native): only ourselves", file=sys.stderr)
    floor = yield from in_turn()
    yield from storms(floor / 2)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--others", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args().others:
        trio.run(others, STORM)
    else:
        report(rows())
