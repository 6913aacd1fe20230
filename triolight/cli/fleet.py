"""``triolight fleet show``: what it is asked."""

from __future__ import annotations

from pathlib import Path

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import as_engine, engine_options, json_option


@command("fleet show", Exit.OK, Exit.USAGE, Exit.CONNECT, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@engine_options
@json_option
@click.pass_context
def show(ctx: click.Context, url: str, name: str, password_file: Path | None, as_json: bool) -> None:
    """Show a fleet: its back, its fronts, how far behind each is, and how many nodes it has.

    What a front has appended and the back has not read is its lag, and the other way round. Exit code 3 if the engine
    does not answer.
    """
    engine = as_engine(url, name, password_file)
    from triolight.cli.jobs.fleet import show_fleet  # with Trio, which help and completion do without

    ctx.exit(show_fleet(engine, as_json))
