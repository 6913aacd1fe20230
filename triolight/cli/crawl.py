"""``triolight crawl``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    chain_option,
    json_option,
    need,
    nodes_argument,
    proxy_option,
    secret_option,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy


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
@click.option("--allow-private", is_flag=True, help="Dial announced addresses that are private, loopback's, or names.")
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
    always. Onions are dialled with --proxy alone. Exit code 3 if no node was reached.
    """
    if not nodes:
        raise click.UsageError("nobody to begin with: name nodes")
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.crawl import Plan, walk  # with Trio, which help and completion do without
    from triolight.cli.jobs.record import no_record
    from triolight.services import CrawlPolicy, StoreError

    policy = CrawlPolicy(rate=rate, max_nodes=max_nodes, allow_private=allow_private, onions=proxy is not None)
    plan = Plan(record, nodes, chain or BITCOIN.chain_hash, policy, proxy)
    try:
        ctx.exit(walk(plan, secret_file, verbose, as_json))
    except StoreError as error:
        raise no_record(record, error) from None
