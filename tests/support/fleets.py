"""What tests of fleets share: tokens, a configuration, entries; whole fleets in one process. No test here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio
import trio.testing

from tests.support.nodes import MESSAGES, ListLogger, identity, make_manager, secret
from triolight import ConnectError, DisconnectReason, MessageHandler, PeerManager, PeerNursery, open_peer_nursery
from triolight.cluster.back import RemotePeers, back_on
from triolight.cluster.bus import EngineAway, Fenced
from triolight.cluster.front import serve_front
from triolight.cluster.gossip import FrontGossip
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import DOWN, Config, Connected, Said, decode_entry, encode_entry, encode_record
from triolight.cluster.rules import Answer, Terms
from triolight.cluster.wanted import FleetConfig
from triolight.cluster.watch import FrontWatch
from triolight.messages import Message, Registry
from triolight.messages.structures import Structure

BACK, FRONT, OTHER = (bytes([number]) * 16 for number in (1, 2, 3))
"""Tokens."""
CONFIG = Config(
    number=1,
    node_id=identity(1),
    features=b"",
    networks=(),
    types=(),
    unknown_odd=0,
    lease=10_000,
    back_grace=30_000,
    engine_grace=20_000,
    resumes=0,
)


def entry(first_seq: int, *texts: bytes, token: bytes = FRONT) -> bytes:
    """An entry of messages of the first connection."""
    return encode_entry(token, first_seq, [encode_record(1, Said(data=one)) for one in texts])


async def becomes(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Lets time pass, on the mock clock, until the condition holds. Fails if it does not within so many seconds."""
    with trio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.1)


class SlowBus(MemoryBus):
    """Its claims take a second, once they are made; it knows how many were on their way at a time."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.asking = self.most = 0

    async def claim(
        self,
        front: str,
        token: bytes,
        our_node_id: bytes,
        node_id: bytes,
        number: int,
        inbound: bool,
        waited: bool = False,
    ) -> Answer:
        self.asking += 1
        self.most = max(self.most, self.asking)
        answer = await super().claim(front, token, our_node_id, node_id, number, inbound, waited)
        await trio.sleep(1)
        self.asking -= 1
        return answer


INIT = bytes.fromhex("001000000000")
"""Of a peer that offers nothing."""
T = TypeVar("T", bound=Structure)


class FrontByHand:
    """A front whose sockets are the test's words: what it appends is as hostile as the test wants it."""

    def __init__(self, engine: MemoryEngine, name: str = "one", token: bytes = FRONT) -> None:
        self.engine = engine
        self.name = name
        self.token = token
        self.bus = engine.bus()
        self.seq = 0

    async def enter(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Begins, and holds its place until it is cancelled or fenced."""
        back = await self.bus.back()
        assert back is not None
        assert await self.bus.enter_front(self.name, self.token, back.token, "")
        task_status.started()
        with suppress(Fenced):
            while True:
                with suppress(EngineAway):
                    await self.bus.renew_front(self.name, self.token, 0)
                await trio.sleep(1)

    async def append(self, *records: tuple[int, Structure]) -> None:
        """One entry."""
        data = encode_entry(self.token, self.seq, [encode_record(conn, what) for conn, what in records])
        await self.bus.append_up(self.name, self.token, self.seq, len(records), data)
        self.seq += len(records)

    async def connected(self, conn: int, node_id: bytes) -> None:
        await self.append((conn, Connected(node_id=node_id, inbound=1, address=b"", init=INIT)))

    async def said(self, conn: int, *messages: Message) -> None:
        await self.append(*[(conn, Said(data=one.encode())) for one in messages])

    def told(self, kind: type[T]) -> list[tuple[int, T]]:
        """What the back has said to it of that class, and to which connection."""
        stream = self.engine.stream(self.name, False)
        entries = [] if stream is None else [decode_entry(data, DOWN) for data in stream.entries.values()]
        return [(conn, what) for one in entries for conn, what in one.records if isinstance(what, kind)]

    @property
    def waits(self) -> int:
        """Records that the back has not taken as handled."""
        stream = self.engine.stream(self.name, True)
        return 0 if stream is None else stream.used.records


@asynccontextmanager
async def back_of_fronts(
    *fronts: str, handlers: MessageHandler | None = None, sessions: Any = "fresh"
) -> AsyncIterator[tuple[RemotePeers, list[FrontByHand]]]:
    """A back, and fronts by hand that it follows."""
    engine = MemoryEngine()
    async with (
        back_on(engine.bus(), identity(1), handlers, messages=MESSAGES, sessions=sessions, logger=ListLogger()) as back,
        trio.open_nursery() as nursery,
    ):
        found = [FrontByHand(engine, name, bytes([20 + at]) * 16) for at, name in enumerate(fronts)]
        for one in found:
            await nursery.start(one.enter)
        await becomes(lambda: {*back.fronts} == {*fronts})
        yield back, found
        nursery.cancel_scope.cancel()


@dataclass
class Fleet:
    """A back and its fronts, in one process."""

    engine: MemoryEngine
    back: RemotePeers
    fronts: dict[str, PeerNursery]
    buses: dict[str, MemoryBus]
    """By front; the back's is called ``back``."""
    told: list[tuple[str, str, str]]
    """Front, what, and the reason's code."""
    nursery: trio.Nursery
    gossip: FrontGossip | None = None
    """Of every front."""
    watches: dict[str, FrontWatch] = field(default_factory=dict[str, FrontWatch])
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])
    hosts: dict[str, PeerNursery] = field(default_factory=dict[str, PeerNursery])
    """Who answers when a front dials a name."""

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        if host not in self.hosts:
            raise ConnectionRefusedError(host)
        ours, theirs = trio.testing.lockstep_stream_pair()
        self.nursery.start_soon(self._attach, self.hosts[host], theirs)
        return ours

    async def _attach(self, peers: PeerNursery, stream: trio.abc.Stream) -> None:
        with suppress(ConnectError):
            await peers.attach(stream)

    async def start(self, name: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """A front, until its scope is cancelled."""
        bus = self.buses[name] = self.engine.bus()
        config = await bus.read_config()
        assert config is not None
        wanted = FleetConfig(config)
        manager = PeerManager(
            wanted.handlers(self.gossip),
            secret(1),
            hashlib.sha256(name.encode()).digest(),
            ListLogger(),
            messages=wanted.messages,
            networks=wanted.networks,
        )
        serving = trio.Event()
        watch = self.watches[name] = FrontWatch()

        def told(what: str, reason: DisconnectReason | None) -> None:
            self.told.append((name, what, reason.code if reason else ""))
            serving.set()

        with trio.CancelScope() as self.scopes[name]:
            # What waits for an engine is no stalled subscriber's.
            options: dict[str, Any] = {"dial": self.dial, "stall_deadline": math.inf}
            async with open_peer_nursery(manager, **options) as peers, trio.open_nursery() as nursery:
                self.fronts[name] = peers
                nursery.start_soon(
                    lambda: serve_front(peers, bus, id=name, address=f"{name}.example", told=told, watch=watch)
                )
                await serving.wait()
                task_status.started()


@asynccontextmanager
async def open_fleet(
    *names: str,
    handlers: MessageHandler | None = None,
    terms: Terms | None = None,
    messages: Registry = MESSAGES,
    gossip: FrontGossip | None = None,
    sessions: Any = "fresh",
) -> AsyncIterator[Fleet]:
    """A fleet of the node with the secret of 1."""
    engine = MemoryEngine()
    bus = engine.bus()
    async with (
        back_on(
            bus, identity(1), handlers, messages=messages, terms=terms, sessions=sessions, logger=ListLogger()
        ) as back,
        trio.open_nursery() as nursery,
    ):
        fleet = Fleet(engine, back, {}, {"back": bus}, [], nursery, gossip)
        for name in names:
            await nursery.start(fleet.start, name)
        await becomes(lambda: {*back.fronts} == {*names})
        yield fleet
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def stranger(number: int, **options: Any) -> AsyncIterator[PeerNursery]:
    """A node that is nobody's front."""
    async with open_peer_nursery(make_manager(number), **options) as peers:
        yield peers
