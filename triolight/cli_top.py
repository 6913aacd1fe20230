"""`triolight top`: a live table of peers in the terminal. A program: it uses the library, and rich draws.

It keeps the nodes that are named connected, takes those that dial it if it listens, and shows what `statistics` says.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

import click
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from triolight.address import NodeAddress, readable
from triolight.errors import PeerClosed, printable
from triolight.keep import KeepState, KeptPeer
from triolight.nursery import PeerNursery, open_peer_nursery
from triolight.peer import Peer
from triolight.peer_manager import PeerManager
from triolight.proxy import Proxy

ROWS: Final = 200
"""Peers in one table; the rest is counted in its last line."""
PING_SECONDS: Final = 5.0
"""How often a peer that is shown is pinged, for its round trip."""


@dataclass
class TopPlan:
    """What was asked for."""

    manager: PeerManager
    nodes: Sequence[NodeAddress]
    host: str
    port: int | None
    proxy: Proxy | None
    interval: float
    once: bool
    since: dict[Peer, float] = field(default_factory=dict[Peer, float])


async def run_top(plan: TopPlan) -> int:
    """Until Ctrl-C; with `once`, until each node is connected or has failed: then how many are not."""
    # To a pipe or a file the table goes without colours, and once is enough of it.
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False)
    async with open_peer_nursery(plan.manager, proxy=plan.proxy) as peers:
        if plan.port is not None:
            try:
                await peers.listen(plan.port, host=plan.host)
            except OSError as error:
                raise click.ClickException(f"cannot listen on {plan.host} port {plan.port}: {error.strerror}") from None
        kept = [peers.keep(node) for node in plan.nodes]
        if plan.once:
            await _settled(kept)
            async with trio.open_nursery() as pings:
                for peer in peers.peers.values():
                    pings.start_soon(_ping, peer)
            console.print(_view(peers, kept, plan))
            return sum(one.peer is None for one in kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_measure, peers)
            with ExitStack() as screen:
                live = Live(console=console, auto_refresh=False, screen=console.is_terminal)
                screen.enter_context(live)
                while True:
                    live.update(_view(peers, kept, plan), refresh=True)
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
    """Pings those that are shown, so that there are round trips to show."""
    async with trio.open_nursery() as nursery:
        while True:
            for peer in list(peers.peers.values())[:ROWS]:
                if not peer.statistics().pings_outstanding:
                    nursery.start_soon(_ping, peer)
            await trio.sleep(PING_SECONDS)


def _view(peers: PeerNursery, kept: Sequence[KeptPeer], plan: TopPlan) -> Group:
    here = peers.peers
    now = trio.current_time()
    plan.since = {peer: plan.since.get(peer, now) for peer in here.values()}
    seen = peers.statistics()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name, justify in (("node", "left"), ("address", "left"), ("way", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]  # a literal, in a variable
    for name in ("for", "rtt ms", "msgs in", "msgs out", "KiB in", "KiB out", "queued", "paused"):
        table.add_column(name, justify="right")
    for peer in list(here.values())[:ROWS]:
        one = peer.statistics()
        rtt = "" if one.rtt_smoothed is None else f"{one.rtt_smoothed * 1000:.1f}"
        table.add_row(
            peer.node_id.hex()[:20],
            "" if peer.address is None else readable(peer.address),
            "in" if peer.inbound else "out",
            _span(now - plan.since[peer]),
            rtt,
            f"{one.messages_received:,}",
            f"{one.messages_sent:,}",
            f"{one.bytes_received / 1024:,.1f}",
            f"{one.bytes_sent / 1024:,.1f}",
            f"{one.queued_bytes:,}",
            str(one.reading_paused + one.throttled),
        )
    lines: list[Text | Table] = [
        Text(
            f"{plan.manager.our_node_id.hex()}\n"
            f"{seen.peers} peers ({seen.inbound_peers} in), {seen.strangers} strangers, {seen.dials} dials, "
            f"{sum(one.messages for one in seen.received.values()):,} messages in, "
            f"{sum(one.messages for one in seen.sent.values()):,} out\n"
        ),
        table,
    ]
    if len(here) > ROWS:
        lines.append(Text(f"and {len(here) - ROWS} more"))
    for node in kept:
        if node.peer is None:
            why = "" if node.last_failure is None else f": {node.last_failure}"
            lines.append(Text(printable(f"{node.node_id.hex()[:20]} {node.state.lower()}{why}", 160)))
    return Group(*lines)


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
