"""``triolight check``: what it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import json_option, node_argument, seconds_option

if TYPE_CHECKING:
    from triolight import NodeAddress

PATIENCE_SECONDS: Final = 10.0
"""`check_peer`'s own."""


@command(
    "check",
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
@seconds_option(
    "--patience",
    PATIENCE_SECONDS,
    "For a dial, for each answer, and for the node to close what it has to close; one question takes at most "
    "three times as long.",
    open=True,
)
@click.option(
    "--thorough",
    is_flag=True,
    help="Also what takes minutes (510 pings, 8 a second; a handshake and a conversation that stop), and what may "
    "disturb (an open_channel, which is taken back).",
)
@json_option
@click.pass_context
def check(ctx: click.Context, address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> None:
    """Which rules of the BOLTs a node keeps: a table of what it does.

    About fifty short connections, each with a key that is made for it and forgotten, a few messages on each; on one
    1,100 that a node ignores. It is polite: nothing is flooded, nothing is changed. A question that cannot be asked, or
    whose answer says nothing about its rule, is "?". Exit code 5 if the node breaks a rule; 3, 4 or 6, and no rules, if
    it cannot be reached or its first handshake does not finish.
    """
    from triolight.cli.jobs.check import ask  # with Trio, which help and completion do without

    ctx.exit(ask(address, patience, thorough, as_json))
