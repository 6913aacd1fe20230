"""``triolight graph stats``, ``graph show`` and ``graph plot``: what they are asked."""

from __future__ import annotations

from pathlib import Path

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import FILE_THAT_EXISTS, chain_option, csv_option, json_option, need, pictures_option


@command("graph stats", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("graph", type=FILE_THAT_EXISTS)
@chain_option
@json_option
def stats(graph: Path, chain: bytes | None, as_json: bool) -> None:
    """Show GRAPH in numbers: channels, updates, nodes, ages, addresses, degrees.

    GRAPH is a graph of ours, or a file of another format: Core Lightning's gossip_store, GSP, JSON lines, LND's
    describegraph, Rapid Gossip Sync; packed with bzip2, gzip or xz too. Of no other chain than the first that comes, or
    that --chain names.
    """
    from triolight.cli.jobs.graph import show_stats  # with all messages, which help and completion do without

    show_stats(graph, chain, as_json)


@command("graph show", Exit.OK, Exit.FAILED, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("graph", type=FILE_THAT_EXISTS)
@click.argument("what")
@chain_option
@json_option
def show(graph: Path, what: str, chain: bytes | None, as_json: bool) -> None:
    """Show one channel or node of GRAPH, which is any file that `stats` takes.

    WHAT is a channel (1x2x3, or as a number) or a node (its id or its alias).
    """
    from triolight.cli.jobs.graph import show_one

    show_one(graph, what, chain, as_json)


@command("graph plot", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("graph", type=FILE_THAT_EXISTS)
@pictures_option
@csv_option
@chain_option
@json_option
def plot(graph: Path, folder: Path, with_csv: bool, chain: bytes | None, as_json: bool) -> None:
    """Draw GRAPH, which is any file that `stats` takes, into DIR: PNG, SVG, and a page with all of them.

    Drawn is what there are numbers for: channels of a node, capacities, kinds of addresses, features, ages of updates.
    index.html stands alone.
    """
    need("matplotlib", "plot")
    from triolight.cli.jobs.graph import plot as draw

    draw(graph, folder, chain, with_csv, as_json)
