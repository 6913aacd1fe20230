"""Keeps the nodes that are named connected, takes those that dial, and shows them until Ctrl-C.

What is shown, and how it fits, is `table.py`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import (
    ChannelMessageHandler,
    EventsLost,
    KeepState,
    KeptPeer,
    MessageHandler,
    NodeAddress,
    PeerClosed,
    PeerConnected,
    PeerManager,
    PeerNursery,
    Proxy,
    open_peer_nursery,
)
from triolight.cli.exits import Exit, or_cannot_listen
from triolight.cli.node import new_secret, our_manager, read_secret
from triolight.cli.output import logger_for, start_log
from triolight.cli.running import run
from triolight.gossip import NetworkGraph, P2PGossipSync
from triolight.services import Gossip, open_gossip, open_graph_store
from triolight.shell.anywhere import AnyPeer

ROWS: Final = 200
"""Peers in one table; the rest is counted in its last line."""
PING_SECONDS: Final = 5.0
"""How often a peer that is shown is pinged, for its round trip; the first time at once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What was asked for."""

    nodes: Sequence[NodeAddress]
    host: str
    port: int | None
    proxy: Proxy | None
    interval: float
    once: bool


def show(plan: Plan, secret_file: Path | None, verbose: int) -> Exit:
    """Until Ctrl-C, or once."""
    return Exit.CONNECT if run(_top, our_manager(secret_file, verbose), plan) else Exit.OK


def show_graph(plan: Plan, graph: Path, chain: bytes, secret_file: Path | None, verbose: int) -> Exit:
    """The same, beside a graph that is kept current. StoreError if its file cannot be used."""
    handler = P2PGossipSync(NetworkGraph(chain))
    start_log(verbose)
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), handler),
        new_secret() if secret_file is None else read_secret(secret_file),
        secrets.token_bytes(32),
        logger_for(verbose),
        networks=(chain,),
    )
    return Exit.CONNECT if run(_top_of_graph, manager, plan, handler, graph) else Exit.OK


async def _top(manager: PeerManager, plan: Plan) -> int:
    """How many of the nodes are not connected."""
    async with open_peer_nursery(manager, proxy=plan.proxy) as peers:
        return await _show(peers, plan, None)


async def _top_of_graph(manager: PeerManager, plan: Plan, handler: P2PGossipSync, graph: Path) -> int:
    async with (
        open_graph_store(graph, handler.graph) as store,
        open_peer_nursery(manager, proxy=plan.proxy) as peers,
        open_gossip(peers, handler, store) as gossip,
    ):
        return await _show(peers, plan, gossip)


async def _show(peers: PeerNursery, plan: Plan, gossip: Gossip | None) -> int:
    """Until Ctrl-C; with `once`, until each node is connected or has failed, and is fetched: then how many are not."""
    from triolight.cli.table import Screen  # rich takes its time to load

    screen = Screen(ROWS, gossip)
    if plan.port is not None:
        with or_cannot_listen(plan.host, plan.port):
            await peers.listen(plan.port, host=plan.host)
    kept = [peers.keep(node) for node in plan.nodes]
    if plan.once:
        await _settled(kept)
        async with trio.open_nursery() as pings:
            for peer in peers.peers.values():
                pings.start_soon(_ping, peer)
            if gossip is not None:
                pings.start_soon(_fetch, peers, kept, gossip)
        screen.print(peers, kept)
        return sum(one.peer is None for one in kept)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_measure, peers)
        if gossip is not None:
            nursery.start_soon(_fetch, peers, kept, gossip)
        with screen.live() as show:
            while True:
                show(peers, kept)
                await trio.sleep(plan.interval)


async def _fetch(peers: PeerNursery, kept: Sequence[KeptPeer], gossip: Gossip) -> None:
    """All that they have, once; what is new comes by itself from then on."""
    await _settled(kept)
    chain = gossip.graph.chain_hash
    chosen = [one for one in peers.peers.values() if chain in (one.init.tlvs.networks or (chain,))]
    if chosen:
        await gossip.fetch(*chosen)


async def _settled(kept: Sequence[KeptPeer]) -> None:
    for one in kept:
        while one.state in (KeepState.QUEUED, KeepState.DIALLING):
            await one.wait_changed()


async def _ping(peer: AnyPeer) -> None:
    try:
        await peer.ping()
    except PeerClosed:
        pass  # the table will show it


async def _measure(peers: PeerNursery) -> None:
    """Pings those that are shown, so that there are round trips to show; each newcomer at once."""
    async with peers.events() as events, trio.open_nursery() as nursery:
        while True:
            for peer in list(peers.peers.values())[:ROWS]:
                if not peer.statistics().pings_outstanding:
                    nursery.start_soon(_ping, peer)
            with trio.move_on_after(PING_SECONDS), suppress(EventsLost):
                async for event in events:
                    if isinstance(event, PeerConnected):
                        nursery.start_soon(_ping, event.peer)
