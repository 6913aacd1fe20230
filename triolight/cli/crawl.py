"""``triolight crawl``: what it is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    FILE_THAT_EXISTS,
    allow_private_option,
    as_span,
    chain_option,
    from_graph_option,
    json_option,
    need,
    nodes_argument,
    proxy_option,
    read_lines,
    secret_option,
    verbose_option,
)
from triolight.text import quoted

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy


def _node_ids(path: Path | None) -> frozenset[bytes]:
    found: set[bytes] = set()
    for number, line in () if path is None else read_lines(path, "--exclude"):
        if not re.fullmatch(r"0[23][0-9a-f]{64}", line.lower()):
            raise click.BadParameter(f"{path}, line {number}: no node id: {quoted(line, 80)}", param_hint="--exclude")
        found.add(bytes.fromhex(line))
    return frozenset(found)


@command(
    "crawl",
    Exit.OK,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("record", type=FILE)
@nodes_argument
@chain_option
@click.option(
    "--max-nodes", type=click.IntRange(1, 1_000_000), default=50_000, show_default=True, help="To be dialled."
)
@click.option(
    "--rate", type=click.FloatRange(0, 1000, min_open=True), default=10, show_default=True, help="Dials a second."
)
@click.option(
    "--again",
    default="1d",
    show_default=True,
    callback=as_span,
    metavar="SPAN",
    help="Until a node that was reached is dialled again, as 1d or 6h.",
)
@click.option(
    "--exclude", type=FILE_THAT_EXISTS, metavar="FILE", help="Dial none of these nodes: a node id a line, in hex."
)
@click.option("--dry-run", is_flag=True, help="Show who would be dialled first, and dial nobody.")
@from_graph_option
@allow_private_option
@secret_option
@proxy_option
@json_option
@verbose_option
@click.pass_context
def crawl(
    ctx: click.Context,
    record: Path,
    nodes: tuple[NodeAddress, ...],
    chain: bytes | None,
    max_nodes: int,
    rate: float,
    again: float,
    exclude: Path | None,
    dry_run: bool,
    graph: Path | None,
    allow_private: bool,
    secret_file: Path | None,
    proxy: Proxy | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Walk the network from nodes, and note in RECORD who is there: one line a node.

    Each node is dialled once, at the addresses that it has announced until one answers; pinged; asked for channels and
    announcements; and left. Nobody is dialled who was not named, or announced by a node that was reached. RECORD is
    made if it is missing; who is in it is dialled again after a day, or later where that failed, and named nodes
    always. Onions are dialled with --proxy alone. Exit code 3 if no node was reached. Whom it would dial first, from
    what it is told, RECORD and GRAPH, shows --dry-run.
    """
    if not nodes and graph is None and not (dry_run or record.exists()):
        raise click.UsageError("nobody to begin with: name nodes, or a graph: --from-graph")
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.crawl import Plan, show_plan, walk  # with Trio, which help and completion do without
    from triolight.cli.jobs.record import no_record
    from triolight.services import CrawlPolicy, StoreError

    policy = CrawlPolicy(
        rate=rate,
        again_seconds=again,
        max_nodes=max_nodes,
        allow_private=allow_private,
        onions=proxy is not None,
        exclude=_node_ids(exclude),
    )
    known: tuple[NodeAddress, ...] = ()
    if graph is not None:
        from triolight.cli.jobs.found import nodes_of_graph

        found = nodes_of_graph(graph, chain, private=allow_private, onions=proxy is not None)
        chain, known = found.chain, tuple(address for addresses in found.nodes for address in addresses)
    plan = Plan(record, nodes, known, chain or BITCOIN.chain_hash, policy, proxy)
    try:
        if dry_run:
            show_plan(plan, as_json)
            return
        ctx.exit(walk(plan, secret_file, verbose, as_json))
    except StoreError as error:
        raise no_record(record, error) from None
