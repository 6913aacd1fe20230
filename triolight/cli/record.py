"""``triolight record stats``, ``record export`` and ``record plot``: what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import csv_option, json_option, need, pictures_option

RECORD: Final = click.Path(dir_okay=False, path_type=Path)
"""One whose first segment was taken away may still have others: the record itself says so."""


@command("record stats", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("record", type=RECORD)
@json_option
def stats(record: Path, as_json: bool) -> None:
    """Show RECORD in numbers: messages, sightings, who said them first, and what is missing.

    RECORD may be one that is being written. All of its segments count together.
    """
    from triolight.cli.jobs.record import show_stats  # with all messages, which help and completion do without

    show_stats(record, as_json)


@command("record export", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("record", type=RECORD)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(["csv", "parquet"]),
    help="One of them, not both. Parquet needs the extra of this name.",
)
@json_option
def export(record: Path, folder: Path, format_: str | None, as_json: bool) -> None:
    """Write RECORD to DIR as tables: Parquet and CSV.

    messages, sightings, sessions, gaps, rtts, clocks and dials become a file each, and all that a message says has a
    column. DIR is made if it is missing; a file that is there is replaced when all of them are written.
    """
    if format_ == "parquet":
        need("pyarrow", "parquet")
    from triolight.cli.jobs.record import export as write

    write(record, folder, format_, as_json)


@command("record plot", Exit.OK, Exit.USAGE, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("record", type=RECORD)
@pictures_option
@csv_option
@json_option
def plot(record: Path, folder: Path, with_csv: bool, as_json: bool) -> None:
    """Draw RECORD into DIR: delays, rates, who is first; PNG, SVG, and a page with all of them.

    Drawn is what there are numbers for: how long messages take, how many there are a minute, who pushes them first, who
    updates most, round trips, what came of dials, and the graph that the messages tell of. Delays count what was
    pushed, by the first peer and by the others: what we have asked for is no news. index.html stands alone.
    """
    need("matplotlib", "plot")
    from triolight.cli.jobs.record import plot as draw

    draw(record, folder, with_csv, as_json)
