"""``triolight ping``: what it is asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    as_tape,
    json_option,
    need,
    node_argument,
    proxy_option,
    seconds_option,
    secret_option,
    tape_options,
    verbose_option,
)
from triolight.connection import LARGEST_PONG

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy

CONNECT_SECONDS: Final = 15.0


@command(
    "ping",
    Exit.OK,
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
@node_argument
@click.option("--count", type=click.IntRange(min=1), metavar="N", help="Stop after N pongs.  [default: at Ctrl-C]")
@seconds_option("--interval", 1.0, "From one ping to the next, at least: a ping waits for the pong before it.")
@click.option(
    "--size",
    type=click.IntRange(0, LARGEST_PONG),
    metavar="BYTES",
    default=0,
    show_default=True,
    help=f"What each pong brings, up to {LARGEST_PONG}.",
)
@seconds_option("--timeout", CONNECT_SECONDS, "For the whole connect: name, TCP, handshake, both Inits.", open=True)
@proxy_option
@tape_options
@secret_option
@json_option
@verbose_option
@click.pass_context
def ping_command(
    ctx: click.Context,
    address: NodeAddress,
    count: int | None,
    interval: float,
    size: int,
    timeout: float,
    proxy: Proxy | None,
    tape: Path | None,
    secret_tape: Path | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Dial a node, and measure its Lightning pings.

    With --json, `features` has the lowest 64 bytes of what it offers, and `features_cut` is true if there are more. The
    time of one is from when the ping is queued to when its pong has been read. At the end, at Ctrl-C too, comes a
    summary; on a terminal, with a histogram.
    """
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.ping import Plan, ping  # with Trio, which help and completion do without

    plan = Plan(address, count, interval, size, timeout, as_tape(tape, secret_tape), proxy)
    ctx.exit(ping(plan, secret_file, verbose, as_json))
