"""``triolight graph sync``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    as_utxo,
    chain_option,
    json_option,
    metrics_option,
    need,
    nodes_argument,
    proxy_option,
    seconds_option,
    secret_option,
    utxo_options,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy


@command(
    "graph sync",
    Exit.OK,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("graph", type=FILE)
@nodes_argument
@chain_option
@click.option("--follow", is_flag=True, help="Stay when all of it is there, and keep it current until Ctrl-C.")
@utxo_options
@proxy_option
@seconds_option("--seconds", float("inf"), "For all of it; then it ends with what it has.", open=True)
@metrics_option
@secret_option
@json_option
@verbose_option
@click.pass_context
def sync(
    ctx: click.Context,
    graph: Path,
    nodes: tuple[NodeAddress, ...],
    chain: bytes | None,
    follow: bool,
    utxo: str | None,
    utxo_auth: Path | None,
    utxo_ca: Path | None,
    proxy: Proxy | None,
    seconds: float,
    metrics: int | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Fetch the whole graph of the network from nodes into GRAPH, every signature verified.

    GRAPH is made if it is missing; of one that is there only what is missing or older is asked for. What is read may be
    looked at meanwhile. The last line says what GRAPH holds then, at Ctrl-C too. Exit code 3 if no node can be reached,
    or not the server of --utxo; 6 if not all of it came.

    Signatures prove that a channel's four keys agree, and no more: anybody can make such channels up. With --utxo each
    channel's funding output is looked up, those that GRAPH has already too; its capacity is known then.
    """
    if not nodes:
        raise click.UsageError("nobody to ask: name nodes")
    source = as_utxo(utxo, utxo_auth, utxo_ca)
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.graph import chain_of, not_ours
    from triolight.cli.jobs.graph_sync import Plan, graph_sync  # with Trio, which help and completion do without
    from triolight.services import StoreError

    plan = Plan(graph, nodes, chain or chain_of(graph) or BITCOIN.chain_hash, follow, seconds, source, proxy, metrics)
    try:
        ctx.exit(graph_sync(plan, secret_file, verbose, as_json))
    except StoreError as error:
        raise not_ours(graph, error) from None
