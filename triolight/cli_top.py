"""`triolight top`: a live table of peers in the terminal. A program: it uses the library, and rich draws.

It keeps the nodes that are named connected, takes those that dial it if it listens, and shows what `statistics` says.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Final

import click
import trio
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from triolight.address import NodeAddress, readable
from triolight.errors import EventsLost, PeerClosed
from triolight.nursery import PeerNursery, open_peer_nursery
from triolight.peer_manager import PeerManager
from triolight.proxy import Proxy
from triolight.shell.keep import KeepState, KeptPeer
from triolight.shell.news import PeerConnected
from triolight.shell.peer import Peer
from triolight.text import printable

ROWS: Final = 200
"""Peers in one table; the rest is counted in its last line."""
PING_SECONDS: Final = 5.0
"""How often a peer that is shown is pinged, for its round trip; the first time at once."""
PIPE_COLUMNS: Final = 160
"""Of the table where there is no terminal."""
ADDRESS_COLUMNS: Final = 15
"""An IPv4 address without its port: longer addresses give way to other columns down to this."""
GAP: Final = 2
"""Columns between two of the table's."""


class _NoPort(click.ClickException):
    exit_code = 3


class _Console(Console):
    """rich's own exits with 1 when the reader of a pipe has left."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


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
    console = _Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False)
    async with open_peer_nursery(plan.manager, proxy=plan.proxy) as peers:
        if plan.port is not None:
            try:
                await peers.listen(plan.port, host=plan.host)
            except (OSError, UnicodeError) as error:
                words = getattr(error, "strerror", None) or error
                raise _NoPort(f"cannot listen on {plan.host} port {plan.port}: {words}") from None
        kept = [peers.keep(node) for node in plan.nodes]
        if plan.once:
            await _settled(kept)
            async with trio.open_nursery() as pings:
                for peer in peers.peers.values():
                    pings.start_soon(_ping, peer)
            console.print(_view(peers, kept, plan, console.width))
            return sum(one.peer is None for one in kept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_measure, peers)
            with ExitStack() as screen:
                live = Live(console=console, auto_refresh=False, screen=console.is_terminal)
                screen.enter_context(live)
                while True:
                    live.update(_view(peers, kept, plan, console.width), refresh=True)
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


def _view(peers: PeerNursery, kept: Sequence[KeptPeer], plan: TopPlan, width: int) -> Group:
    here = peers.peers
    now = trio.current_time()
    plan.since = {peer: plan.since.get(peer, now) for peer in here.values()}
    seen = peers.statistics()
    id_digits = max(8, min(20, width // 5))
    table = _table([_cells(peer, id_digits, now - plan.since[peer]) for peer in list(here.values())[:ROWS]], width)
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
            lines.append(Text(printable(f"{node.node_id.hex()[:id_digits]} {node.state.lower()}{why}", 160)))
    return Group(*lines)


_HEADERS: Final = ("node", "address", "way", "for", "rtt ms")
_NUMBERS: Final = ("msgs in", "msgs out", "KiB in", "KiB out", "queued", "paused")
"""From the left: what one wants to know first. A narrow terminal loses the last ones."""


def _cells(peer: Peer, id_digits: int, seconds: float) -> tuple[str, ...]:
    one = peer.statistics()
    return (
        peer.node_id.hex()[:id_digits],
        "" if peer.address is None else readable(peer.address),
        "in" if peer.inbound else "out",
        _span(seconds),
        "" if one.rtt_smoothed is None else f"{one.rtt_smoothed * 1000:.1f}",
        f"{one.messages_received:,}",
        f"{one.messages_sent:,}",
        f"{one.bytes_received / 1024:,.1f}",
        f"{one.bytes_sent / 1024:,.1f}",
        f"{one.queued_bytes:,}",
        str(one.reading_paused + one.throttled),
    )


def _table(rows: Sequence[tuple[str, ...]], width: int) -> Table:
    """As many columns as there is room for, without one that is cut; but an address gives way first."""
    headers = _HEADERS + _NUMBERS
    widths = [max(map(len, column)) for column in zip(headers, *rows, strict=True)]
    address, widths[1] = widths[1], min(widths[1], ADDRESS_COLUMNS)
    count = len(headers)
    while count > 2 and sum(widths[:count]) + GAP * (count - 1) > width:
        count -= 1
    rest = width - sum(widths[:count]) - GAP * (count - 1)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for at, name in enumerate(headers[:count]):
        room = min(address, max(1, widths[1] + rest)) if at == 1 else None
        justify: JustifyMethod = "left" if at < 3 else "right"
        table.add_column(Text(name), justify=justify, width=room, no_wrap=True, overflow="ellipsis")
    for row in rows:
        # As Text: what a cell says is never markup, and an IPv6 address in brackets would be.
        table.add_row(*map(Text, row[:count]))
    return table


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
