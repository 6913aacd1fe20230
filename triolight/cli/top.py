"""``triolight top``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    PORT,
    chain_option,
    host_option,
    need,
    nodes_argument,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy

SHORTEST_INTERVAL: Final = 0.05
"""Seconds between two tables: nobody reads faster, and each is drawn in one step."""


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
@click.option("--graph", type=FILE, metavar="GRAPH", help="Keep this graph current from them, and show how it goes.")
@chain_option
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
    graph: Path | None,
    chain: bytes | None,
    proxy: Proxy | None,
    interval: float,
    once: bool,
    secret_file: Path | None,
    verbose: int,
) -> None:
    """A live table of peers: the nodes that are named, kept connected, and those that dial us.

    Until Ctrl-C. It shows as much as the terminal has room for. With --once, exit code 3 if a node is not connected.

    With --graph it does what `graph sync --follow` does, and shows how much gossip comes a second, how large the graph
    is, and whether each peer is asked for what it has, streams what is new, or waits for its turn. With --once, when
    all of it is there.
    """
    need("rich", "cli")
    if proxy is not None:
        need("python_socks", "tor")
    if not nodes and port is None:
        raise click.UsageError("nobody to show: name nodes, or --listen")
    if chain is not None and graph is None:
        raise click.UsageError("--chain is of a graph that --graph names")
    from triolight.cli.jobs.top import Plan, show  # with Trio, which help and completion do without

    plan = Plan(nodes, host, port, proxy, interval, once)
    if graph is None:
        ctx.exit(show(plan, secret_file, verbose))
    from triolight.cli.jobs.graph import chain_of, not_ours
    from triolight.cli.jobs.top import show_graph
    from triolight.services import StoreError

    try:
        ctx.exit(show_graph(plan, graph, chain or chain_of(graph) or BITCOIN.chain_hash, secret_file, verbose))
    except StoreError as error:
        raise not_ours(graph, error) from None
