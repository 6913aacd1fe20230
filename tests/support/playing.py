"""Personas on a connection, and the plainest routing handler that fills a graph, for services. No test here."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from tests.support.personas import CHAIN, CLOSE, NOW, Persona, WithoutSpent
from triolight import Features, PeerNursery, RoutingMessageHandler
from triolight.gossip import Change, NetworkGraph, Verdict
from triolight.gossip.changes import Change as AnyChange
from triolight.keys import SecretKey
from triolight.messages import Init, InitTlvs, Message, Ping, Pong
from triolight.testing import ScriptedPeer, scripted_peer

__all__ = ["PlainSync", "node_id_of", "play", "playing", "unix_time"]

START: Final = 1000.0
FOREVER: Final = 1e9


def unix_time() -> float:
    """By the mock clock, from the world's now on."""
    return NOW + trio.current_time()


class PlainSync(RoutingMessageHandler):
    """Takes what comes into the rules. What `P2PGossipSync` has of `open_gossip`'s, and no relay."""

    def __init__(self, graph: NetworkGraph | None = None) -> None:
        super().__init__()
        self.graph: Final = NetworkGraph(CHAIN) if graph is None else graph
        self.rules: Final = WithoutSpent(self.graph)
        self.asker: Any = None
        self.on_change: Callable[[Change], None] | None = None
        self.due_in = math.inf
        self.unasked = 0
        self.asked = 0

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries", "gossip_queries_ex")

    def take(self, node_id: bytes, message: Message) -> None:
        asked = self.asker is not None and self.asker.is_asked(node_id)
        self.asked += asked
        verdict: Verdict = self.rules.take(message.encode(), node_id, unix_time(), asked=asked)
        if self.asker is not None:
            self.asker.judged(node_id, verdict)
        for change in self.rules.drain():
            self.change(change)

    def tick(self) -> None:
        """Nothing is ever due."""

    def change(self, change: AnyChange) -> None:
        if self.on_change is not None:
            self.on_change(change)

    def handle_channel_announcement(self, node_id: bytes, message: Any) -> None:
        self.take(node_id, message)

    def handle_channel_update(self, node_id: bytes, message: Any) -> None:
        self.take(node_id, message)

    def handle_node_announcement(self, node_id: bytes, message: Any) -> None:
        self.take(node_id, message)

    def handle_reply_channel_range(self, node_id: bytes, message: Any) -> None:
        self.unasked += self.asker is None or not self.asker.replied(node_id, message)

    def handle_reply_short_channel_ids_end(self, node_id: bytes, message: Any) -> None:
        self.unasked += self.asker is None or not self.asker.replied(node_id, message)


def node_id_of(number: int) -> bytes:
    return SecretKey(bytes((number,)) * 32).public_key


async def play(persona: Persona, peer: ScriptedPeer) -> None:
    """Its part on a connection, until that ends."""
    networks = persona.networks or (CHAIN,)
    await peer.exchange_inits(
        Init(features=Features.named(*persona.features).to_bytes(), tlvs=InitTlvs(networks=networks))
    )
    persona.connected(trio.current_time())
    more = trio.Event()

    async def hear() -> None:
        nonlocal more
        while (message := await peer.receive()) is not None:
            if isinstance(message, Ping):
                await peer.send(Pong(ignored=bytes(message.num_pong_bytes)))
            else:
                persona.receive(message, trio.current_time())  # type: ignore[arg-type]
                more.set()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        if persona.reads:
            nursery.start_soon(hear)
        while True:
            told = persona.due(trio.current_time())
            closes = CLOSE in told
            await peer.send_raw(*(one for one in told if one != CLOSE))
            if closes:
                nursery.cancel_scope.cancel()
                break
            more = trio.Event()
            with trio.move_on_at(persona.next_at if persona.next_at < math.inf else FOREVER):
                await more.wait()
    persona.reconnect()


@asynccontextmanager
async def playing(peers: PeerNursery, *personas: Persona, returns: bool = False) -> AsyncGenerator[None]:
    """Each is connected as the node of its number, 51 and on, and plays; who leaves comes back if `returns`."""

    async def one(persona: Persona, number: int) -> None:
        for turn in range(100 if returns else 1):
            ephemeral = bytes((number, turn)) * 16
            async with scripted_peer(
                peers, secret=bytes((number,)) * 32, ephemeral=ephemeral, patience=FOREVER, seed=number
            ) as peer:
                await play(persona, peer)
            await trio.sleep(1)

    async with trio.open_nursery() as nursery:
        for number, persona in enumerate(personas, 51):
            nursery.start_soon(one, persona, number)
        missing = {node_id_of(number) for number in range(51, 51 + len(personas))}
        async with peers.events() as events:
            missing -= set(peers.peers)
            while missing:
                event = await anext(events)
                missing.discard(event.peer.node_id)
        yield
        nursery.cancel_scope.cancel()
