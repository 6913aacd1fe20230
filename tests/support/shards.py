"""Sharded collectors in one process: nodes that say numbered gossip, workers, writers, and a record. No test here."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import trio
import trio.testing

from tests.support.nodes import ListLogger, identity, make_manager
from triolight import ConnectError, DisconnectReason, NodeAddress, PeerClosed, PeerConnected, open_peer_nursery
from triolight.cluster.collecting import collect
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.rules import Terms, owner_of
from triolight.cluster.shards import Work
from triolight.cluster.writing import Writing, serve_writer
from triolight.services import Recorder, RecordingHandler, unread_gossip
from triolight.services.record import RecordWriter
from triolight.services.recorder import Wants
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

TERMS = Terms(lease=10, back_grace=30, engine_grace=20)
START = 1_750_000_000 * 10**9


def unix_ns() -> int:
    """A wall's clock that goes with the run's."""
    return START + round(trio.current_time() * 1e9)


def numbered(node: int, number: int) -> bytes:
    """A message that is told by its node and a number: no signed one, since a recorder believes nothing."""
    return b"\x01\x02" + node.to_bytes(2, "big") + number.to_bytes(4, "big")


def heard(path: Path) -> dict[tuple[int, bytes], list[int]]:
    """By session and node id: the numbers that are in a record, in their order. Fails for another node's message."""
    statement = """SELECT s.session, p.node_id, m.raw FROM sighting s JOIN message m ON m.id = s.message
                   JOIN session c ON c.id = s.session JOIN peer p ON p.id = c.peer ORDER BY s.seen_ns"""
    found: dict[tuple[int, bytes], list[int]] = {}
    for session, node_id, raw in rows(path, statement):
        assert identity(int.from_bytes(raw[2:4], "big")) == node_id
        found.setdefault((session, node_id), []).append(int.from_bytes(raw[4:8], "big"))
    return found


def is_whole(found: dict[tuple[int, bytes], list[int]], nodes: int, count: int) -> bool:
    """Whether each session has what its node said from the first number on, without a hole and once; and one of each
    node's has all: another one may have ended before it had said all."""
    prefixes = all(said == [*range(len(said))] for said in found.values())
    return prefixes and len({node_id for (_, node_id), said in found.items() if len(said) == count}) == nodes


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(statement).fetchall()


@dataclass
class Collector:
    """Nodes 10, 11, … that say `count` numbered messages to whoever connects; and who collects them."""

    engine: MemoryEngine
    record: Path
    nursery: trio.Nursery
    count: int
    padding: int
    """Bytes behind each number."""
    nodes: dict[str, PeerNursery] = field(default_factory=dict[str, PeerNursery])
    buses: dict[str, MemoryBus] = field(default_factory=dict[str, MemoryBus])
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])
    workers: dict[str, PeerNursery] = field(default_factory=dict[str, PeerNursery])
    recorders: dict[str, Recorder] = field(default_factory=dict[str, Recorder])
    told: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    left: list[str] = field(default_factory=list[str])
    connected: list[int] = field(default_factory=list[int])
    """Nodes, once for each connection."""

    def __post_init__(self) -> None:
        self.said = self.count

    @property
    def addresses(self) -> tuple[NodeAddress, ...]:
        return tuple(NodeAddress(identity(int(name)), name, 9735) for name in self.nodes)

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        if host not in self.nodes:
            raise ConnectionRefusedError(host)
        ours, theirs = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._attach, self.nodes[host], theirs)
        return ours

    async def _attach(self, peers: PeerNursery, stream: trio.abc.Stream) -> None:
        with suppress(ConnectError):
            await peers.attach(stream)

    async def node(self, number: int, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with (
            open_peer_nursery(make_manager(number, messages=unread_gossip())) as peers,
            peers.subscribe(PeerConnected) as inbox,
        ):
            self.nodes[str(number)] = peers
            task_status.started()
            async for peer, _ in inbox:
                self.connected.append(number)
                await self.say(number, peer, 0, self.count)

    async def say_more(self, count: int) -> None:
        """Each node to whoever is connected, behind what it has said."""
        for name, peers in self.nodes.items():
            for peer in peers.peers.values():
                await self.say(int(name), peer, self.said, count)
        self.said += count

    async def say(self, number: int, peer: Peer, first: int, count: int) -> None:
        with suppress(PeerClosed):
            messages = [
                unread_gossip().decode(numbered(number, one) + bytes(self.padding))
                for one in range(first, first + count)
            ]
            await peer.send(*messages)

    async def start(self, name: str, **options: Any) -> None:
        """A worker, as `worker` has it."""
        await self.nursery.start(partial(self.worker, name, **options))

    def shares(self, *names: str) -> dict[int, list[str]]:
        """By node: whose it is, of these workers."""
        return {int(one.host): [owner_of(one.node_id, names) or ""] for one in self.addresses}

    async def worker(
        self,
        name: str,
        *,
        writes: bool = False,
        collects: bool = True,
        record: Path | None = None,
        bus: MemoryBus | None = None,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """As a process has it, until its scope is cancelled."""
        bus = self.buses[name] = bus or self.engine.bus()
        digest = hashlib.sha256(name.encode()).digest()
        manager = make_manager(digest[0], route=RecordingHandler(), messages=unread_gossip())

        def told(what: str, reason: DisconnectReason | str | None, recorder: Recorder | None) -> None:
            self.told.append((name, reason.code if isinstance(reason, DisconnectReason) else what))
            if recorder is not None:
                self.recorders[name] = recorder

        work = Work(name, self.addresses, Wants(backlog=None), told)
        with trio.CancelScope() as self.scopes[name]:
            async with (
                open_peer_nursery(manager, dial=self.dial, unix_ns=unix_ns) as peers,
                trio.open_nursery() as nursery,
            ):
                self.workers[name] = peers
                setup = self.setup(name, record)
                if collects:
                    nursery.start_soon(collect, peers, bus, work, setup if writes else None)
                else:
                    nursery.start_soon(serve_writer, bus, setup, trio.Event())
                task_status.started()
        self.left.append(name)

    def setup(self, name: str, record: Path | None = None) -> Writing:
        def open_writer(started_ns: int) -> RecordWriter:
            return RecordWriter(record or self.record, started_ns, fleet="main")

        def told(what: str, words: str, recorder: None) -> None:
            self.told.append((name, what))

        return Writing(identity(1), TERMS, open_writer, unix_ns, ListLogger(), told)

    def kill(self, name: str) -> None:
        """As by a signal: nothing more of it gets to the engine."""
        self.buses[name].cut = True
        self.scopes[name].cancel()

    def held(self) -> dict[int, list[str]]:
        """By node: which workers are connected with it."""
        return {
            int(node): [name for name, peers in self.workers.items() if identity(int(node)) in peers.peers]
            for node in self.nodes
        }


@asynccontextmanager
async def open_collector(record: Path, nodes: int, count: int, padding: int = 0) -> AsyncGenerator[Collector]:
    async with trio.open_nursery() as nursery:
        collector = Collector(MemoryEngine(), record, nursery, count, padding)
        for number in range(10, 10 + nodes):
            await nursery.start(collector.node, number)
        yield collector
        nursery.cancel_scope.cancel()
