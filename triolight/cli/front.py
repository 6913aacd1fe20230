"""``triolight front``: what it is asked."""

from __future__ import annotations

import socket
from pathlib import Path

import click

from triolight.address import DEFAULT_PORT
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    FILE_THAT_EXISTS,
    PORT,
    as_engine,
    engine_options,
    host_option,
    json_option,
    metrics_option,
    need,
    verbose_option,
)


@command("front", Exit.USAGE, Exit.CONNECT, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE, Exit.TERMINATED)
@engine_options
@click.option(
    "--secret-file", type=FILE, required=True, metavar="FILE", help="The node secret of the fleet: every front has it."
)
@host_option
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@click.option("--id", "own", metavar="ID", help="Its name in the fleet, and nobody else's.  [default: the host's name]")
@click.option(
    "--graph",
    type=FILE_THAT_EXISTS,
    metavar="GRAPH",
    help="Answer gossip queries and filters from this graph, and follow it while another process writes it.",
)
@click.option("--relay-unchecked", is_flag=True, help="Tell also of channels that four valid signatures alone prove.")
@click.option(
    "--health",
    type=PORT,
    metavar="PORT",
    help="Answer HTTP on this port: 200 while it can take peers, else 503 and why; 0 for any free port.",
)
@click.option(
    "--health-host", metavar="HOST", default="127.0.0.1", show_default=True, help="Where the health port listens."
)
@metrics_option
@json_option
@verbose_option
def front(
    url: str,
    name: str,
    password_file: Path | None,
    secret_file: Path,
    host: str,
    port: int,
    own: str | None,
    graph: Path | None,
    relay_unchecked: bool,
    health: int | None,
    health_host: str,
    metrics: int | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Be a front of a fleet: take its peers, and have its back decide, until Ctrl-C.

    It waits for a back, then tells where it listens. When its back or its engine is away for too long, its peers hear
    why, and it begins again. With --graph it answers gossip queries itself, and of announcements and updates the first
    copy alone goes to the back. Exit code 2 if the secret is another node's than the back's.
    """
    engine = as_engine(url, name, password_file)
    if relay_unchecked and graph is None:
        raise click.UsageError("--relay-unchecked is of the graph that --graph names")
    if health is not None:
        need("h11", "cluster")
    from triolight.cli.jobs.front import Plan, serve  # with Trio, which help and completion do without

    plan = Plan(
        engine,
        host,
        port,
        own or socket.gethostname(),
        graph,
        relay_unchecked,
        None if health is None else (health_host, health),
        metrics,
    )
    serve(plan, secret_file, as_json, verbose)
