"""``triolight top``: keeps the nodes that are named connected, takes those that dial, and shows them until Ctrl-C.

What is shown, and how it fits, is `table.py`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
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
from triolight.cli.group import command
from triolight.cli.node import our_manager
from triolight.cli.options import (
    PORT,
    host_option,
    need,
    nodes_argument,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
)
from triolight.cli.running import run

SHORTEST_INTERVAL: Final = 0.05
"""Seconds between two tables: nobody reads faster, and each is drawn in one step."""
ROWS: Final = 200
"""Peers in one table; the rest is counted in its last line."""
PING_SECONDS: Final = 5.0
"""How often a peer that is shown is pinged, for its round trip; the first time at once."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """What was asked for."""

    manager: PeerManager
    nodes: Sequence[NodeAddress]
    host: str
    port: int | None
    proxy: Proxy | None
    interval: float
    once: bool


@command(
    "top",
    Exit.OK,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@nodes_argument
@click.option("--listen", "port", type=PORT, metavar="PORT", help="Take peers that dial, too.")
@host_option
@proxy_option
@seconds_option("--interval", 1.0, "Between two tables.", least=SHORTEST_INTERVAL)
@click.option("--once", is_flag=True, help="One table, when each node is connected or has failed; then leave.")
@secret_option
@verbose_option
@click.pass_context
def top(
    ctx: click.Context,
    nodes: tuple[NodeAddress, ...],
    port: int | None,
    host: str,
    proxy: Proxy | None,
    interval: float,
    once: bool,
    secret_file: Path | None,
    verbose: int,
) -> None:
    """A live table of peers: the nodes that are named, kept connected, and those that dial us.

    Until Ctrl-C. It shows as much as the terminal has room for. With --once, exit code 3 if a node is not connected.
    """
    need("rich", "cli")
    if proxy is not None:
        need("python_socks", "tor")
    if not nodes and port is None:
        raise click.UsageError("nobody to show: name nodes, or --listen")
    plan = _Plan(our_manager(secret_file, verbose), nodes, host, port, proxy, interval, once)
    ctx.exit(Exit.CONNECT if run(_top, plan) else Exit.OK)


async def _top(plan: _Plan) -> int:
    """Until Ctrl-C; with `once`, until each node is connected or has failed: then how many are not."""
    from triolight.cli.table import Screen  # rich takes its time to load

    screen = Screen(ROWS)
    async with open_peer_nursery(plan.manager, proxy=plan.proxy) as peers:
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
