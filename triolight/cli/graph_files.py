"""``triolight graph import`` and ``graph export``: what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import FILE, FILE_THAT_EXISTS, chain_option, json_option

FORMATS: Final = ("gossip_store", "gsp", "jsonl", "describegraph", "rgs", "csv", "graphml")
"""That can be written; a test holds them to those that are."""


@command("graph import", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE, Exit.TERMINATED)
@click.argument("graph", type=FILE)
@click.argument("file", type=FILE_THAT_EXISTS)
@chain_option
@json_option
def import_(graph: Path, file: Path, chain: bytes | None, as_json: bool) -> None:
    """Take what is signed in FILE into GRAPH, which is made if it is missing.

    FILE is a gossip_store of Core Lightning, GSP, JSON lines or a graph of ours. Each signature is verified; nothing is
    left out for its age. Of no other chain than GRAPH's; of a new one, than --chain, or the first in FILE.
    """
    if not file.is_file():
        raise click.BadParameter(f"{file}: it is read twice, so it must be a file", param_hint="FILE")
    from triolight.cli.jobs.graph_files import graph_import  # with Trio, which help and completion do without

    graph_import(graph, file, chain, as_json)


@command("graph export", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("graph", type=FILE_THAT_EXISTS)
@click.argument("file", type=click.Path(path_type=Path), required=False)
@click.option("--format", "format_", type=click.Choice(FORMATS), required=True, help="What FILE becomes.")
@chain_option
@json_option
def export(graph: Path, file: Path | None, format_: str, chain: bytes | None, as_json: bool) -> None:
    """Write GRAPH, which is any file that `stats` takes, to FILE or to standard output, in another format.

    gossip_store, gsp and jsonl hold what is signed, and want a GRAPH that has it; describegraph is LND's JSON; rgs is
    Rapid Gossip Sync; csv makes FILE a folder with nodes.csv and channels.csv. A FILE that is there is replaced when
    all of it is written.
    """
    if format_ == "csv" and file is None:
        raise click.UsageError("csv is two files, nodes.csv and channels.csv: name a folder for them as FILE")
    if file is not None and file.exists() and (file.is_dir() != (format_ == "csv") or file.samefile(graph)):
        raise click.BadParameter(f"{file}: cannot be replaced by {format_}", param_hint="FILE")
    from triolight.cli.jobs.graph_files import graph_export

    graph_export(graph, file, format_, chain, as_json)
