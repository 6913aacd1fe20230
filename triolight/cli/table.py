"""What `top` shows: the peers of one moment, as a table that fits. The only importer of rich. Changes nothing."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, TypeAlias

import trio
from rich.console import Console, Group, JustifyMethod
from rich.live import Live
from rich.table import Table
from rich.text import Text

from triolight import KeptPeer, Peer, PeerNursery
from triolight.address import readable
from triolight.gossip import Verdict
from triolight.services import Gossip, GossipStatistics
from triolight.shell.statistics import columns
from triolight.text import printable

PIPE_COLUMNS: Final = 160
"""Of the table where there is no terminal."""
ADDRESS_COLUMNS: Final = 15
"""An IPv4 address without its port: longer addresses give way to other columns down to this."""
GAP: Final = 2
"""Columns between two of the table's."""

NEW: Final = (Verdict.ACCEPTED, Verdict.UNVERIFIED)
"""What has changed the graph."""

Show: TypeAlias = Callable[[PeerNursery, Sequence[KeptPeer]], None]


class _Console(Console):
    """rich's own exits with 1 when the reader of a pipe has left."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))


class Screen:
    """Standard output, as rich draws on it, and since when each peer that it shows has been here."""

    def __init__(self, rows: int, gossip: Gossip | None = None) -> None:
        """No more peers than `rows` in one table. With `gossip`, how that goes."""
        self._rows = rows
        self._gossip = gossip
        self._counted: tuple[float, int] | None = None
        """When gossip was counted last, and how much there was."""
        self._since: dict[Peer, float] = {}
        # To a pipe or a file the table goes without colours, and once is enough of it.
        self._console = _Console(file=sys.stdout, width=None if sys.stdout.isatty() else PIPE_COLUMNS, highlight=False)

    def print(self, peers: PeerNursery, kept: Sequence[KeptPeer]) -> None:
        self._console.print(self.view(peers, kept, self._console.width))

    @contextmanager
    def live(self) -> Generator[Show]:
        """The whole terminal, until the block is left; it is as it was then."""
        with Live(console=self._console, auto_refresh=False, screen=self._console.is_terminal) as live:
            yield lambda peers, kept: live.update(self.view(peers, kept, self._console.width), refresh=True)

    def view(self, peers: PeerNursery, kept: Sequence[KeptPeer], width: int) -> Group:
        here = peers.peers
        now = trio.current_time()
        self._since = {peer: self._since.get(peer, now) for peer in here.values()}
        seen = peers.statistics()
        id_digits = max(8, min(20, width // 5))
        shown = list(here.values())[: self._rows]
        lines: list[Text | Table] = [
            Text(
                f"{peers.manager.our_node_id.hex()}\n"
                f"{seen.peers} peers ({seen.inbound_peers} in), {seen.strangers} strangers, {seen.dials} dials, "
                f"{sum(one.messages for one in seen.received.values()):,} messages in, "
                f"{sum(one.messages for one in seen.sent.values()):,} out\n"
            ),
        ]
        states: Mapping[bytes, str] | None = None
        if self._gossip is not None:
            states = self._gossip.states()
            lines.append(Text(self._gossip_line(self._gossip.statistics(), now) + "\n"))
        headers = _HEADERS if states is None else (*_HEADERS, "sync")
        cells = [_cells(peer, id_digits, now - self._since[peer], states) for peer in shown]
        lines.append(_table(cells, width, headers))
        if len(here) > self._rows:
            lines.append(Text(f"and {len(here) - self._rows} more"))
        for node in kept:
            if node.peer is None:
                why = "" if node.last_failure is None else f": {node.last_failure}"
                lines.append(
                    Text(printable(f"{node.node_id.hex()[:id_digits]} {node.state.lower()}{why}", 160, escaped=True))
                )
        return Group(*lines)

    def _gossip_line(self, seen: GossipStatistics, now: float) -> str:
        total = sum(seen.gossip_messages.values())
        before, self._counted = self._counted, (now, total)
        rate = "" if before is None or now <= before[0] else f"{(total - before[1]) / (now - before[0]):,.0f}/s, "
        new = sum(seen.gossip_messages.get(one, 0) for one in NEW)
        fetch = seen.fetch_channels
        return (
            f"graph: {seen.graph_channels:,} channels, {seen.graph_nodes:,} nodes; gossip: {rate}{total:,} messages, "
            f"{new:,} new" + (f"; fetched {fetch['settled']:,} of {fetch['listed']:,} channels" if fetch else "")
        )


_HEADERS: Final = ("node", "address", "way", "for", "rtt ms")
_COLUMNS: Final = columns()
_NUMBERS: Final = tuple(column.header for column in _COLUMNS)
"""From the left: what one wants to know first. A narrow terminal loses the last ones."""


def _cells(peer: Peer, id_digits: int, seconds: float, states: Mapping[bytes, str] | None = None) -> tuple[str, ...]:
    one = peer.statistics()
    return (
        peer.node_id.hex()[:id_digits],
        "" if peer.address is None else readable(peer.address),
        "in" if peer.inbound else "out",
        _span(seconds),
        "" if one.rtt_smoothed is None else f"{one.rtt_smoothed * 1000:.1f}",
        *(() if states is None else (states.get(peer.node_id, ""),)),
        *(_number(sum(getattr(one, name) for name in names), column.unit) for column, names in _COLUMNS.items()),
    )


def _number(value: int, unit: int) -> str:
    return f"{value:,}" if unit == 1 else f"{value / unit:,.1f}"


def _table(rows: Sequence[tuple[str, ...]], width: int, headers: tuple[str, ...] = _HEADERS) -> Table:
    """As many columns as there is room for, without one that is cut; but an address gives way first."""
    headers += _NUMBERS
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
