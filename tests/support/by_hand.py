"""A front whose back is the test: what it appends, and what it obeys. No test here."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import trio
import trio.testing

from tests.support import Note, make_manager
from tests.support.fleets import BACK, CONFIG, OTHER, becomes
from triolight import DisconnectReason, PeerNursery, open_peer_nursery
from triolight.cluster.front import serve_front
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import (
    ENGINE,
    UP,
    Config,
    decode_entry,
    encode_entry,
    encode_record,
)
from triolight.cluster.rules import Answer
from triolight.cluster.wanted import FleetConfig
from triolight.cluster.watch import FrontWatch
from triolight.messages.structures import Structure

S = TypeVar("S", bound=Structure)

AGAIN = bytes([7]) * 16
"""Another back's token."""


class ByHand:
    """A front with peers, on an engine on which the test is the back."""

    def __init__(self, engine: MemoryEngine, peers: PeerNursery) -> None:
        self.engine = engine
        self.peers = peers
        self.bus = engine.bus()
        self.watch = FrontWatch()
        self.told: list[str] = []

    @property
    def connections(self) -> int:
        return self.watch.statistics().front_connections

    async def serve(self, bus: MemoryBus) -> None:
        def told(what: str, reason: DisconnectReason | None) -> None:
            self.told.append(reason.code if reason else what)

        await serve_front(self.peers, bus, id="one", told=told, watch=self.watch)

    def say(self, *entries: tuple[int, Structure], token: bytes = BACK) -> None:
        """A record each, in an entry each, all at once."""
        stream = self.engine.stream("one", False)
        assert stream is not None
        for conn, what in entries:
            first = 0 if token == ENGINE else stream.next_seq
            stream.append(encode_entry(token, first, [encode_record(conn, what)]), 1)
            stream.next_seq += token != ENGINE

    async def displace(self, node_id: bytes, crossing: bool = False) -> Answer:
        """Another front wins the claim of a node that has dialled this one, by the same or by having dialled it, and
        tells no back of that."""
        assert await self.bus.enter_front("two", OTHER, BACK, "")
        ours = self.peers.manager.our_node_id
        return await self.bus.claim("two", OTHER, ours, node_id, 1, inbound=not crossing)

    async def heard(self, kind: type[S]) -> list[tuple[int, S]]:
        """What it has appended of that class, and of which connection."""
        records: list[tuple[int, S]] = []
        for _, data in await self.bus.read_up("one", "0", 0):
            found = decode_entry(data, UP).records
            records += [(conn, what) for conn, what in found if isinstance(what, kind)]
        return records


@asynccontextmanager
async def by_hand(made: type[MemoryBus] = MemoryBus, **changes: object) -> AsyncIterator[ByHand]:
    engine = MemoryEngine()
    config: Config = CONFIG.replace(types=(Note.type,), **changes)
    assert await engine.bus().enter_back(BACK, config)
    manager = make_manager(1, messages=FleetConfig(config).messages)
    async with open_peer_nursery(manager, stall_deadline=math.inf) as peers, trio.open_nursery() as nursery:
        it = ByHand(engine, peers)
        nursery.start_soon(it.serve, made(engine))
        await becomes(lambda: it.told == ["serving"])
        yield it
        nursery.cancel_scope.cancel()
