"""``triolight check``: what the shipped checks find of a node, a line each. Asks nothing by itself, and judges nothing.

All that it knows of the BOLTs is in `triolight.testing`.
"""

from __future__ import annotations

from contextlib import aclosing

import click

from triolight import ConnectError, NodeAddress
from triolight.cli.exits import Exit, cannot_reach, exit_of
from triolight.cli.group import command
from triolight.cli.options import json_option, node_argument, seconds_option
from triolight.cli.output import data, progress
from triolight.cli.running import run
from triolight.testing.conformance import PATIENCE_SECONDS, Verdict, check_peer


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
    ctx.exit(run(_check, address, patience, thorough, as_json))


async def _check(address: NodeAddress, patience: float, thorough: bool, as_json: bool) -> Exit:
    counts: dict[Verdict, int] = {}
    try:
        async with aclosing(check_peer(address, patience=patience, thorough=thorough)) as findings:
            async for one in findings:
                counts[one.verdict] = counts.get(one.verdict, 0) + 1
                data(as_json, str(one), "finding", rule=one.rule, where=one.where, verdict=one.verdict, seen=one.seen)
    except OSError as error:
        if counts:
            raise  # of the output: of a node that is not reached nothing is found
        raise cannot_reach(address, error) from None
    except ConnectError as error:
        progress(f"failed: {error.reason}")
        return exit_of(error.reason)
    progress(", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    return Exit.PROTOCOL if Verdict.BREAKS in counts else Exit.OK
