"""``triolight storage put`` and ``storage get``: what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.cli.exits import Exit, cannot_use
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    FILE_THAT_EXISTS,
    json_option,
    need,
    nodes_argument,
    proxy_option,
    seconds_option,
    verbose_option,
)
from triolight.storage import LARGEST_BLOB, OVERHEAD

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy

secret_option = click.option(
    "--secret-file",
    type=FILE,
    metavar="FILE",
    required=True,
    help="The node secret: with it data is sealed, and with no other it is opened. Never a running node's.",
)
ENDS = (
    Exit.USAGE,
    Exit.CONNECT,
    Exit.HANDSHAKE,
    Exit.PROTOCOL,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)


@command("storage put", Exit.OK, Exit.FAILED, *ENDS)
@click.argument("file", type=FILE_THAT_EXISTS)
@nodes_argument
@proxy_option
@seconds_option("--seconds", 60, "For all of it.", open=True)
@secret_option
@json_option
@verbose_option
@click.pass_context
def put(
    ctx: click.Context,
    file: Path,
    nodes: tuple[NodeAddress, ...],
    proxy: Proxy | None,
    seconds: float,
    secret_file: Path,
    as_json: bool,
    verbose: int,
) -> None:
    """Give the content of FILE to nodes that store it, sealed so that they cannot read it.

    Each keeps what it was given last. Up to 963 bytes become a blob of 1,024, which is all that LDK stores; more, up to
    65,470, one of 65,531. Nobody says that it has stored it: who sends a warning has not. Most nodes store only for
    peers with a channel. Exit code 1 if none of those that were reached offers it, or all of them have warned.
    """
    if not nodes:
        raise click.UsageError("nobody to store it: name nodes")
    most = LARGEST_BLOB - OVERHEAD
    try:
        with file.open("rb") as opened:
            data = opened.read(most + 1)
    except OSError as error:
        raise cannot_use(file, error, "FILE") from None
    if len(data) > most:
        raise click.BadParameter(f"{file}: a blob holds {most:,} bytes, and it is larger", param_hint="FILE")
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.storage import Plan  # with Trio, which help and completion do without
    from triolight.cli.jobs.storage import put as put_data

    ctx.exit(put_data(Plan(nodes, seconds, proxy), data, secret_file, verbose, as_json))


@command("storage get", Exit.OK, *ENDS)
@click.argument("file", type=FILE)
@nodes_argument
@proxy_option
@seconds_option("--seconds", 10, "To wait for nodes that have given nothing back.", open=True)
@secret_option
@json_option
@verbose_option
@click.pass_context
def get(
    ctx: click.Context,
    file: Path,
    nodes: tuple[NodeAddress, ...],
    proxy: Proxy | None,
    seconds: float,
    secret_file: Path,
    as_json: bool,
    verbose: int,
) -> None:
    """Write to FILE the newest data that nodes give back and that the node secret opens.

    A node that has nothing says nothing. FILE is for its owner alone, and one that is there is replaced when all of it
    is written. Exit code 6 if nothing comes that is ours.
    """
    if not nodes:
        raise click.UsageError("nobody to ask: name nodes")
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.storage import Plan  # with Trio, as above
    from triolight.cli.jobs.storage import get as get_data

    ctx.exit(get_data(Plan(nodes, seconds, proxy), file, secret_file, verbose, as_json))
