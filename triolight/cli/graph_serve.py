"""``triolight graph serve``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.address import DEFAULT_PORT
from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    PORT,
    as_utxo,
    chain_option,
    connect_option,
    host_option,
    json_option,
    metrics_option,
    need,
    proxy_option,
    secret_option,
    utxo_options,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy


@command(
    "graph serve",
    Exit.USAGE,
    Exit.CONNECT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("graph", type=FILE)
@host_option
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@chain_option
@connect_option
@utxo_options
@proxy_option
@click.option("--relay-unchecked", is_flag=True, help="Tell also of channels that four valid signatures alone prove.")
@metrics_option
@secret_option
@json_option
@verbose_option
def serve(
    graph: Path,
    host: str,
    port: int,
    chain: bytes | None,
    nodes: tuple[NodeAddress, ...],
    utxo: str | None,
    utxo_auth: Path | None,
    utxo_ca: Path | None,
    proxy: Proxy | None,
    relay_unchecked: bool,
    metrics: int | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Serve GRAPH: a node that answers whoever asks for gossip, and passes on what is new, until Ctrl-C.

    It learns from the nodes of --connect, and keeps GRAPH current. It tells of channels whose funding output a chain
    has confirmed: the server of --utxo now, or one when GRAPH was made; with --relay-unchecked of all whose signatures
    are valid. The first line is what others dial.
    """
    source = as_utxo(utxo, utxo_auth, utxo_ca)
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.graph import chain_of, not_ours
    from triolight.cli.jobs.graph_serve import NothingToTellError, Plan, graph_serve  # with Trio
    from triolight.services import StoreError

    plan = Plan(
        graph,
        host,
        port,
        chain or chain_of(graph) or BITCOIN.chain_hash,
        nodes,
        relay_unchecked,
        source,
        proxy,
        metrics,
    )
    try:
        graph_serve(plan, secret_file, verbose, as_json)
    except StoreError as error:
        raise not_ours(graph, error) from None
    except NothingToTellError:
        raise click.UsageError(
            f"{graph}: no channel's funding output was confirmed when it was made, so there is nothing to tell of; "
            "--utxo asks a chain, --relay-unchecked tells of what signatures alone prove"
        ) from None
