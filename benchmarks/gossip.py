"""Gossip: what a message costs from the socket into the graph, a whole graph in and out, and what others notice of it.

    python -m benchmarks.gossip [--json] [--compiled PYTHON]

The network is the one of `benchmarks/graphs.py`. Senders, readers and attackers are processes of their own, which have
sealed what they send before they are measured against; CPU is that of the node. Beside it stands the bare verification
of the same signatures by coincurve, in the same process and in turns.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Final, NamedTuple

import trio
from coincurve import verify_signature
from coincurve.ecdsa import cdata_to_der, deserialize_compact
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks import bare, builds, graphs, nodes, raw
from benchmarks.floods import HONEST, OURS, beside_echo, median_rtts, open_echo, rss_of
from benchmarks.graphs import CHANNELS, MESSAGES, NODES, NOW
from benchmarks.measure import Row
from benchmarks.raw import INIT, RawPeer
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    Peer,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.chains import BITCOIN
from triolight.gossip import GossipPolicy, GossipRules, NetworkGraph, P2PGossipSync, Verdict
from triolight.gossip.asking import filter_of
from triolight.gossip.formats.gossip_store import write_gossip_store
from triolight.gossip.formats.items import Signed
from triolight.gossip.formats.rgs import write_rgs
from triolight.gossip.formats.snapshot import Snapshot
from triolight.gossip.policy import ServePolicy
from triolight.keys import SecretKey
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement, Ping, Pong
from triolight.services.store import open_graph_store

ROUNDS: Final = 7
OF_ROUND: Final = 1000
"""Channels that are new in a round."""
READERS: Final = 10
PUSHERS: Final = 10
OVERHEAD: Final = 34
"""Bytes of a packet beside its message."""
AT_ONCE: Final = 500
LOOP_BOUNDS: Final = (1.5, 1.5, 1.8)
"""Of a channel, an update and a node that are new, beside a loop."""
WHOLE_BOUND: Final = 1.8
GIVEN_BOUND: Final = 2.7
TIMES: Final = 3
"""That a whole graph is loaded, and given."""


class Ignoring(RoutingMessageHandler):
    """Has each message decoded, and does nothing with it."""

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> None:
        pass

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> None:
        pass

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        pass


class Asked:
    """All that comes is what was asked for."""

    def is_asked(self, node_id: bytes) -> bool:
        return True

    def replied(self, node_id: bytes, message: object) -> bool:
        return True

    def judged(self, node_id: bytes, verdict: Verdict) -> None:
        pass


@lru_cache(maxsize=1)
def network() -> list[bytes]:
    return graphs.messages()


def chosen(what: str, first: int = 0, stop: int = CHANNELS) -> list[bytes]:
    """Of the network's messages: of these channels, or of these nodes."""
    found = network()
    match what:
        case "channels":
            return found[3 * first : 3 * stop : 3]
        case "updates":
            return [one for at in range(first, stop) for one in found[3 * at + 1 : 3 * at + 3]]
        case "nodes":
            return found[3 * CHANNELS + first : 3 * CHANNELS + stop]
        case _:
            return found


def filled(graph: NetworkGraph, found: list[bytes]) -> NetworkGraph:
    """With the whole network, as a store would load it."""
    for at in range(0, 3 * CHANNELS, 3):
        graph.load(found[at], found[at + 1 : at + 3], checked="output")
    for one in found[3 * CHANNELS :]:
        graph.load_node(one)
    return graph


def sync_of(graph: NetworkGraph, policy: GossipPolicy, asked: bool) -> P2PGossipSync:
    sync = P2PGossipSync(graph, policy=policy, unix_time=lambda: NOW)
    sync.asker = Asked() if asked else None
    return sync


@asynccontextmanager
async def open_node(handler: RoutingMessageHandler) -> AsyncIterator[tuple[PeerNursery, int]]:
    """A node with this routing handler, and its port."""
    handlers = MessageHandler(ChannelMessageHandler(), handler)
    manager = PeerManager(handlers, b"\x11" * 32, secrets.token_bytes(32), NullLogger())
    # Those who send and read answer no pings.
    async with open_peer_nursery(manager, ping_interval=600) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        yield peers, listener.socket.getsockname()[1]


# ---------------------------------------------------------------------------------------------------------------------
# Processes beside the one that is measured


class Child:
    """A process of this program in one of its roles: a line in, a line out."""

    def __init__(self, process: trio.Process) -> None:
        self._process: Final = process
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    async def say(self, line: str) -> None:
        if self._process.stdin is None:
            raise RuntimeError("its input is not ours to write")
        await self._process.stdin.send_all(line.encode() + b"\n")

    async def hear(self) -> str:
        """Its next line. RuntimeError if there is none."""
        if self._process.stdout is None:
            raise RuntimeError("its output is not ours to read")
        while b"\n" not in self._unread:
            more = await self._process.stdout.receive_some(4096)
            if not more:
                raise RuntimeError(f"{self._process.args!r} has ended")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def running(role: str, *arguments: object, module: str = "gossip") -> AsyncIterator[Child]:
    """A process that has said its first line."""
    command = [sys.executable, "-m", f"benchmarks.{module}", "--role", role, *map(str, arguments)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=nodes.ROOT)
    try:
        yield Child(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def meet(port: str, number: int, node_id: bytes = OURS.public_key) -> RawPeer:
    peer = await raw.connect(int(port), node_id, SecretKey((1000 + number).to_bytes(32, "big")))
    await peer.send(INIT)
    await peer.receive()  # its Init
    return peer


async def send(port: str, node_id: str) -> None:
    """Sends what it is told to, and says when all of it was taken."""
    peer = await meet(port, 0, bytes.fromhex(node_id))
    print("ready", flush=True)
    while line := await trio.to_thread.run_sync(sys.stdin.readline):
        what, *places = line.split()
        those = chosen(what, *map(int, places))
        # Sealed already, so that whoever is measured never waits for us.
        packets = [peer.sealed(*those[at : at + AT_ONCE]) for at in range(0, len(those), AT_ONCE)]
        packets.append(peer.sealed(Ping(num_pong_bytes=1).encode()))
        print("sealed", flush=True)
        await trio.to_thread.run_sync(sys.stdin.readline)
        for packet in packets:
            await peer.stream.send_all(packet)
        await peer.receive_type(Pong.type)
        print("taken", flush=True)


async def read(port: str, size: str, turn: str) -> None:
    """Ten peers that ask for all that there is and read so many bytes of it each. In each turn they are others, for a
    node is told everything once in ten minutes."""
    peers = [await meet(port, READERS * int(turn) + number) for number in range(READERS)]
    print("ready", flush=True)

    async def one(peer: RawPeer) -> None:
        await peer.send(filter_of(BITCOIN.chain_hash, 0).encode())
        left = int(size)
        while left > 0:
            left -= len(await peer.stream.receive_some(256 * 1024)) or left

    await trio.to_thread.run_sync(sys.stdin.readline)
    async with trio.open_nursery() as nursery:
        for peer in peers:
            nursery.start_soon(one, peer)
    print("read", flush=True)
    await trio.sleep_forever()


async def push(port: str) -> None:
    """Ten peers that send channels, each its own, as fast as they are taken."""
    peers = [await meet(port, number) for number in range(PUSHERS)]
    share = CHANNELS // PUSHERS
    found = chosen("channels")
    packets = [
        peer.sealed(*found[number * share : (number + 1) * share]) + peer.sealed(Ping(num_pong_bytes=1).encode())
        for number, peer in enumerate(peers)
    ]
    print("ready", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)

    async def one(peer: RawPeer, packet: bytes) -> None:
        await peer.stream.send_all(packet)
        await peer.receive_type(Pong.type)
        print("taken", flush=True)

    async with trio.open_nursery() as nursery:
        for peer, packet in zip(peers, packets, strict=True):
            nursery.start_soon(one, peer, packet)
    await trio.sleep_forever()


def is_over(peer: Peer) -> bool:
    """Whether what a pusher may do at once is over: it is held back, or so slow a machine that all of it was taken."""
    found = peer.statistics()
    return found.throttled > 0 or found.messages_received > CHANNELS // PUSHERS


async def serve(kind: str) -> None:
    """The node that an honest peer pings meanwhile. With the default policy."""
    graph = NetworkGraph(BITCOIN)
    if kind == "full":
        filled(graph, network())
    sync = sync_of(graph, GossipPolicy(), kind == "asked")
    async with open_node(sync) as (peers, port):
        print(port, flush=True)
        while sum(map(is_over, peers.peers.values())) < PUSHERS:  # noqa: ASYNC110
            await trio.sleep(0.1)
        print("none says more than it may", flush=True)
        await trio.sleep_forever()


async def whole(path: str) -> None:
    """The whole network from a socket into a graph and its file, in a process that has done nothing else."""
    gc.collect()
    before = rss_of(os.getpid())
    graph = NetworkGraph(BITCOIN)
    sync = sync_of(graph, GossipPolicy(relay_unchecked=True), asked=True)
    async with open_graph_store(path, graph) as store, open_node(sync) as (_, port):
        sync.on_change = store.take
        async with running("send", port, OURS.public_key.hex()) as sender:
            await sender.hear()
            began = time.perf_counter()
            cpu = (await taken(sender, "all")).cpu
            await store.written()
            seconds = time.perf_counter() - began
    if (len(graph.channels), sync.rules.verifications) != (CHANNELS, 6 * CHANNELS + NODES):
        raise RuntimeError(f"not all of it is there: {graph!r}, {sync.rules.verdicts!r}")
    gc.collect()
    grown = rss_of(os.getpid()) - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": grown}), flush=True)


async def load(path: str) -> None:
    """A graph from its file, in a process that has done nothing else."""
    gc.collect()
    before, began, cpu = rss_of(os.getpid()), time.perf_counter(), time.process_time()
    graph = NetworkGraph(BITCOIN)
    async with open_graph_store(path, graph) as store:
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        if len(graph.channels) != CHANNELS or store.damaged:
            raise RuntimeError(f"not all of it is there: {graph!r}")
        gc.collect()
        grown = rss_of(os.getpid()) - before
    print(json.dumps({"seconds": seconds, "cpu": cpu, "bytes": grown}), flush=True)


ROLES: Final = {one.__name__: one for one in (send, read, push, serve, whole, load)}


# ---------------------------------------------------------------------------------------------------------------------
# A message


def verifications(messages: Iterable[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """What coincurve is given for all signatures of these channels."""
    return [
        (cdata_to_der(deserialize_compact(signature)), graphs.digest(one), key)
        for one in messages
        for signature, key in graphs.signers(one)
    ]


def verify_bare(those: list[tuple[bytes, bytes, bytes]]) -> float:
    """Microseconds of CPU for one."""
    began = time.process_time()
    for signature, digest, key in those:
        if not verify_signature(signature, digest, key, hasher=None):
            raise RuntimeError("a signature that does not hold")
    return (time.process_time() - began) / len(those) * 1e6


class Took(NamedTuple):
    seconds: float
    cpu: float


async def taken(sender: Child, words: str) -> Took:
    """Seconds, and those of our CPU, until all of what the sender was told to send is where it belongs."""
    await sender.say(words)
    await sender.hear()
    began, cpu = time.perf_counter(), time.process_time()
    await sender.say("go")
    await sender.hear()
    return Took(time.perf_counter() - began, time.process_time() - cpu)


KINDS: Final = ("channels", "updates", "nodes")
NAMES: Final = {"channels": "channel_announcement", "updates": "channel_update", "nodes": "node_announcement"}


class Best:
    """The least of several rounds, by what was done: noise only adds."""

    def __init__(self) -> None:
        self._found: dict[str, float] = {}

    def __getitem__(self, what: str) -> float:
        return self._found[what]

    def __contains__(self, what: str) -> bool:
        return what in self._found

    def keep(self, what: str, value: float) -> None:
        self._found[what] = min(value, self._found.get(what, value))


async def receive() -> list[Row]:
    """What is new and what is known, of each type, beside its signatures, its decoding and native LDK."""
    best, turns = Best(), dict[str, list[tuple[float, float]]]()
    plain, relaying = (
        sync_of(NetworkGraph(BITCOIN), GossipPolicy(relay_unchecked=relay), asked=True) for relay in (False, True)
    )
    async with (
        open_sender(plain) as sender,
        open_sender(relaying) as to_relaying,
        open_sender(Ignoring()) as to_ignoring,
        open_ldk_sender() as (ldk, to_ldk),
    ):
        for number in range(ROUNDS):
            first, stop = number * OF_ROUND, (number + 1) * OF_ROUND
            signed = verifications(chosen("channels", first, stop))
            for kind in KINDS:
                words, count = f"{kind} {first} {stop}", OF_ROUND * (1 + (kind == "updates"))
                # Others for each node, or their keys would have been seen already.
                relayed = f"{kind} {CHANNELS - stop} {CHANNELS - first}"
                best.keep("verification", verify_bare(signed))
                new = (await taken(sender, words)).cpu / count * 1e6
                best.keep(f"new {kind}", new)
                turns.setdefault(f"new {kind}", []).append((new, bare.taken(chosen(kind, first, stop))))
                if kind != "nodes":
                    best.keep(f"relayed {kind}", (await taken(to_relaying, relayed)).cpu / count * 1e6)
                await taken(to_ignoring, words)  # from here on, its points are known
                checked = plain.rules.verifications
                known = (await taken(sender, words)).cpu / count * 1e6
                decoded = (await taken(to_ignoring, words)).cpu / count * 1e6
                best.keep(f"known {kind}", known)
                best.keep(f"decoded {kind}", decoded)
                turns.setdefault(f"known {kind}", []).append((known - decoded, bare.step()))
                if plain.rules.verifications != checked:
                    raise RuntimeError("signatures of what was known were checked")
            if ldk is not None and to_ldk is not None:
                before = ldk.command("counts")["cpu"]
                await taken(to_ldk, f"channels {first} {stop}")
                best.keep("LDK", (ldk.command("counts")["cpu"] - before) / OF_ROUND * 1e6)
        if ldk is not None and len(ldk.command("graph")["channels"]) != ROUNDS * OF_ROUND:
            raise RuntimeError("LDK has not taken all of it")
    for sync in (plain, relaying):
        if sync.rules.verdicts[Verdict.UNVERIFIED] < 3 * ROUNDS * OF_ROUND:
            raise RuntimeError(f"not all was taken: {sync.rules.verdicts!r}")
    return [*rows_of(best), *rows_in_turns(turns)]


def rows_of(best: Best) -> Iterator[Row]:
    for kind, signatures, bound in (("channels", 4, 1.3), ("updates", 1, 1.4), ("nodes", 1, None)):
        floor = f"{signatures} bare verification{'s' if signatures > 1 else ''}"
        for what, where, limit in (("new", "", bound), ("relayed", ", and passed on", None)):
            if f"{what} {kind}" in best:
                words = f"new {NAMES[kind]}, socket to graph{where}: CPU"
                yield Row(
                    words,
                    best[f"{what} {kind}"],
                    "us",
                    floor,
                    signatures * best["verification"],
                    limit,
                    moves=limit is not None,
                )
        if kind == "channels" and "LDK" in best:
            words = "new channel_announcement, socket to graph: CPU"
            yield Row(words, best["new channels"], "us", "native LDK", best["LDK"], 1.5, moves=True)
    for kind in KINDS[:2]:
        known, decoded = best[f"known {kind}"], best[f"decoded {kind}"]
        yield Row(f"known {NAMES[kind]}: CPU", known, "us", "decoded and ignored", decoded)
        yield Row(f"known {NAMES[kind]}, beyond its decoding: CPU", known - decoded, "us", "3 us", 3, 1, moves=True)


def rows_in_turns(turns: dict[str, list[tuple[float, float]]]) -> Iterator[Row]:
    for kind, bound in zip(KINDS, LOOP_BOUNDS, strict=True):
        floor = "opened, hashed, verified and kept by a loop"
        yield bare.beside(f"new {NAMES[kind]}, socket to graph: CPU", "us", floor, turns[f"new {kind}"], bound)
    for kind in KINDS[:2]:
        pairs = [(one, 3 * step / bare.STEP) for one, step in turns[f"known {kind}"]]
        floor = f"3 us where a step of Python takes {bare.STEP:g} us"
        yield bare.beside(f"known {NAMES[kind]}, beyond its decoding: CPU", "us", floor, pairs, 1)


@asynccontextmanager
async def open_sender(handler: RoutingMessageHandler) -> AsyncIterator[Child]:
    """Somebody who sends to a node of ours what he is told to."""
    async with open_node(handler) as (_, port), running("send", port, OURS.public_key.hex()) as sender:
        await sender.hear()
        yield sender


@asynccontextmanager
async def open_ldk_sender() -> AsyncIterator[tuple[nodes.Node | None, Child | None]]:
    """Native LDK with a graph, and who sends to it; None without it."""
    if not nodes.LDK.is_file():
        print("native LDK is not built (interop/ldk_native): left out", file=sys.stderr)
        yield None, None
        return
    with nodes.ldk("--quiet", "yes", "--graph", BITCOIN.chain_hash.hex()) as node:
        async with running("send", node.port, node.node_id) as sender:
            await sender.hear()
            yield node, sender


# ---------------------------------------------------------------------------------------------------------------------
# A whole graph


def told(role: str, path: Path) -> dict[str, float]:
    """What a process says that does one thing."""
    command = [sys.executable, "-m", "benchmarks.gossip", "--role", role, str(path)]
    found: dict[str, float] = json.loads(
        subprocess.run(command, cwd=nodes.ROOT, check=True, capture_output=True).stdout
    )
    return found


def whole_bare() -> float:
    """Seconds of CPU that a loop takes for the whole network, from a share of it."""
    numbers = {"channels": CHANNELS, "updates": 2 * CHANNELS, "nodes": NODES}
    return sum(bare.taken(chosen(kind, 0, OF_ROUND)) * number for kind, number in numbers.items()) / 1e6


def mainnet(folder: Path) -> Iterator[Row]:
    """From a socket into a graph and its file, and from there again."""
    paths = [folder / f"graph-{number}.db" for number in range(2)]
    runs: list[dict[str, float]] = []
    turns: list[tuple[float, float]] = []
    for path in paths:
        floors = [whole_bare()]
        runs.append(told("whole", path))
        turns.append((runs[-1]["cpu"], (floors[0] + whole_bare()) / 2))
    # The better of two, as everywhere here: the allocator alone moves the memory by 2 MB.
    found = {what: min(one[what] for one in runs) for what in runs[0]}
    path = paths[0]
    signed = verifications(chosen("channels", 0, OF_ROUND))
    signatures = 6 * CHANNELS + NODES
    floor = min(verify_bare(signed) for _ in range(3)) * signatures / 1e6
    yield Row("a whole graph from a socket and onto the disk", found["seconds"], "s", "30 s", 30, 1, moves=True)
    yield Row("a whole graph from a socket: CPU", found["cpu"], "s", "its bare verifications", floor)
    floor_of_loop = "opened, hashed, verified and kept by a loop"
    yield bare.beside("a whole graph from a socket: CPU", "s", floor_of_loop, turns, WHOLE_BOUND)
    yield Row("memory of a graph from a socket", found["bytes"] / 1e6, "MB", "75 MB", 75, 1)
    size = sum(one.stat().st_size for one in folder.glob(f"{path.name}*"))
    yield Row("a graph's file, a channel", size / CHANNELS, "B", "950 B", 950, 1)
    loads = [told("load", path) for _ in range(TIMES)]
    yield Row("a whole graph from the disk", min(one["seconds"] for one in loads), "s", "1.5 s", 1.5, 1)
    yield Row("memory of a graph from the disk", min(one["bytes"] for one in loads) / 1e6, "MB", "75 MB", 75, 1)


def best_of(rounds: int, run: Callable[[], object]) -> float:
    """Seconds of CPU."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        run()
        best = min(best, time.process_time() - began)
    return best


def in_memory() -> Iterator[Row]:
    """Without a socket and without a disk."""
    found = network()
    graph = filled(NetworkGraph(BITCOIN), found)
    rules = GossipRules(graph)
    decoded = [decode(one) for one in found]

    def known() -> None:
        for one in decoded:
            rules.take_message(one, HONEST.public_key, NOW)

    rate = MESSAGES / best_of(3, known) / 1000
    if rules.verifications or rules.verdicts[Verdict.DUPLICATE] != 3 * MESSAGES:
        raise RuntimeError(f"not all of it was known: {rules.verdicts!r}")
    yield Row("known messages, judged", rate, "k/s", "200 k/s", 200, 1, True)
    decoded.clear()
    rate = MESSAGES / best_of(3, lambda: filled(NetworkGraph(BITCOIN), found)) / 1000
    yield Row("messages into a graph, not verified", rate, "k/s", "100 k/s", 100, 1, True)
    took = best_of(2, lambda: b"".join(write_gossip_store(found, bytes(32))))
    yield Row("a gossip_store of it, written", took, "s", "5 s", 5, 1)
    snapshot = Snapshot()
    for one in found:
        snapshot.take(Signed(0, one))
    step = bare.step()
    took = best_of(2, lambda: b"".join(rgs_of(snapshot)))
    yield Row("a rapid sync snapshot of it, written", took, "s", "3 s", 3, 1, moves=True)
    yield bare.scaled("a rapid sync snapshot of it, written", took, "s", 3, (step + bare.step()) / 2)


def decode(message: bytes) -> ChannelAnnouncement | ChannelUpdate | NodeAnnouncement:
    for cls in (ChannelAnnouncement, ChannelUpdate, NodeAnnouncement):
        if message[:2] == cls.type.to_bytes(2, "big"):
            return cls.decode(message)
    raise ValueError("no gossip")


def rgs_of(snapshot: Snapshot) -> Iterator[bytes]:
    channels = list(snapshot.channels.values())
    policies = [policy for one in channels for policy in one.policies if policy is not None]
    return write_rgs(BITCOIN.chain_hash, NOW, [one.facts for one in channels], policies)


async def on_disk(path: Path) -> Row:
    graph = filled(NetworkGraph(BITCOIN), network())
    began = time.perf_counter()
    async with open_graph_store(path, graph, unix_time=lambda: NOW) as store:
        await store.written()
        took = time.perf_counter() - began
        if store.rows_written != MESSAGES:
            raise RuntimeError(f"{store.rows_written} rows were written")
    return Row("rows of a graph onto the disk", MESSAGES / took / 1000, "k/s", "60 k/s", 60, 1, True)


# ---------------------------------------------------------------------------------------------------------------------
# Ten peers, and an honest one beside them


def aead_floor(messages: list[bytes]) -> float:
    """Microseconds of CPU of the two calls that each of these costs who seals it, one with another."""
    aead, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    began = time.process_time()
    for one in messages:
        aead.encrypt(nonce, b"\0\1", None)
        aead.encrypt(nonce, one, None)
    return (time.process_time() - began) / len(messages) * 1e6


async def give() -> list[Row]:
    """The whole graph to ten peers at once, as fast as it goes."""
    found, best, turns = network(), Best(), list[tuple[float, float]]()
    no_limits = GossipPolicy(serve=ServePolicy(answer_rate=10**12, dumps=READERS))
    sync = sync_of(filled(NetworkGraph(BITCOIN), found), no_limits, asked=False)
    size = sum(len(one) + OVERHEAD for one in found)
    count = READERS * MESSAGES
    async with open_node(sync) as (peers, port):
        for number in range(TIMES):
            best.keep("floor", aead_floor(found[::2]))
            async with running("read", port, size, number) as readers:
                await readers.hear()
                began, cpu = time.perf_counter(), time.process_time()
                await readers.say("go")
                await readers.hear()
                best.keep("seconds", time.perf_counter() - began)
                message = (time.process_time() - cpu) / count * 1e6
                best.keep("message", message)
                turns.append((message, bare.given(found[::2])))
                if len(peers.peers) != READERS:
                    raise RuntimeError("a reader was disconnected")
            while peers.peers:  # noqa: ASYNC110
                await trio.sleep(0.01)  # until they have gone
            best.keep("floor", aead_floor(found[::2]))
    return [
        Row("the graph to 10 peers: messages a second", count / best["seconds"], "/s", "100,000", 100_000, 1, True),
        Row(
            "the graph to 10 peers: CPU a message",
            best["message"],
            "us",
            "two AEAD calls",
            best["floor"],
            3,
            moves=True,
        ),
        bare.beside("the graph to 10 peers: CPU a message", "us", "sealed and sent by a loop", turns, GIVEN_BOUND),
    ]


async def beside(kind: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The honest peer's median round trip and an echo's, idle and while ten others do something. Milliseconds."""
    async with running("serve", kind) as node, open_echo() as echo:
        port = await node.hear()
        honest = await raw.connect(int(port), OURS.public_key, HONEST)
        await honest.send(INIT)
        await median_rtts(honest, echo, 0)
        idle = await median_rtts(honest, echo)
        async with running("push", port) if kind != "full" else running("read", port, 10**12, 0) as others:
            await others.hear()
            await others.say("go")
            if kind == "unasked":
                await node.hear()  # what they may do at once is over
            else:
                await trio.sleep(0.2)
            busy = await median_rtts(honest, echo, 0)
            if others.ended:
                raise RuntimeError("the others were disconnected")
        return idle, busy


def whole_graph() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield from mainnet(Path(folder))
        yield trio.run(on_disk, Path(folder) / "other.db")


def honest() -> Iterator[Row]:
    for kind, what, bound in (
        ("full", "10 peers that are told the graph", 3),
        ("unasked", "10 peers that push channels", 3),
        ("asked", "10 peers that send channels asked for", 10),
    ):
        idle, busy = trio.run(beside, kind)
        yield Row(f"{what}: honest RTT", busy[0], "ms", "idle", idle[0], bound, moves=True)
        yield beside_echo(f"{what}: honest RTT", idle, busy, bound)


PARTS: Final[builds.Parts] = {
    "messages": lambda: trio.run(receive),
    "whole": whole_graph,
    "memory": in_memory,
    "giving": lambda: trio.run(give),
    "honest": honest,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    builds.add_arguments(parser)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        role, *arguments = given.role
        trio.run(ROLES[role], *arguments)
    else:
        network()  # made, if this is the first run
        builds.report_parts(__spec__.name, PARTS, given)
