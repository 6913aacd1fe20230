"""Keeps the nodes that are named connected, takes those that dial, and shows them until Ctrl-C.

What is shown, and how it fits, is `table.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import (
    EventsLost,
    KeepState,
    KeptPeer,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerManager,
    PeerNursery,
    Proxy,
    open_peer_nursery,
)
from triolight.cli.exits import Exit, or_cannot_listen
from triolight.cli.node import our_manager
from triolight.cli.running import run

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


async def _top(manager: PeerManager, plan: Plan) -> int:
    """Until Ctrl-C; with `once`, until each node is connected or has failed: then how many are not."""
    from triolight.cli.table import Screen  # rich takes its time to load

    screen = Screen(ROWS)
    async with open_peer_nursery(manager, proxy=plan.proxy) as peers:
        if plan.port is not None:
            with or_cannot_listen(plan.host, plan.port):
                await peers.listen(plan.port, host=plan.host)
        kept = [peers.keep(node) for node in plan.nodes]
        if plan.once:
            await _settled(kept)
            async with trio.open_nursery() as pings:
                for peer in peers.peers.values():
                    pings.start_soon(_ping, peer)
            screen.print(peers, kept)
            return sum(one.peer is None for one in kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_measure, peers)
            with screen.live() as show:
                while True:
                    show(peers, kept)
                    await trio.sleep(plan.interval)


async def _settled(kept: Sequence[KeptPeer]) -> None:
    for one in kept:
        while one.state in (KeepState.QUEUED, KeepState.DIALLING):
            await one.wait_changed()


async def _ping(peer: Peer) -> None:
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
