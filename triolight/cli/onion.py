"""``triolight onion send`` and ``onion listen``: what they are asked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from triolight.address import DEFAULT_PORT, NodeAddress
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    PORT,
    graph_option,
    host_option,
    json_option,
    need,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
    via_option,
)
from triolight.keys import is_point
from triolight.text import quoted

if TYPE_CHECKING:
    from triolight import Proxy

LEAST_TYPE = 64
"""Records below are the message's own."""


def _as_destination(ctx: click.Context, param: click.Parameter, value: str) -> bytes | NodeAddress:
    try:
        if "@" in value:
            return NodeAddress.parse(value)
        node_id = bytes.fromhex(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    if not is_point(node_id):
        raise click.BadParameter(f"not a node id: {quoted(value, 80)}", ctx, param)
    return node_id


def _as_bytes(ctx: click.Context, param: click.Parameter, value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        raise click.BadParameter(f"not hex: {quoted(value, 80)}", ctx, param) from None


@command(
    "onion send",
    Exit.OK,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.PROTOCOL,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("to", callback=_as_destination, metavar="NODE_ID[@HOST:PORT]")
@click.argument("type_", type=click.IntRange(LEAST_TYPE, (1 << 64) - 1), metavar="TYPE")
@click.argument("payload", callback=_as_bytes, metavar="HEX")
@via_option
@graph_option
@click.option("--reply", is_flag=True, help="Send a way back along, and wait for the answer.")
@proxy_option
@seconds_option("--seconds", 60, "For all of it.", open=True)
@secret_option
@json_option
@verbose_option
@click.pass_context
def send(
    ctx: click.Context,
    to: bytes | NodeAddress,
    type_: int,
    payload: bytes,
    via: NodeAddress | None,
    graph: Path | None,
    reply: bool,
    proxy: Proxy | None,
    seconds: float,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Send an onion message of one record to a node, and wait for its answer if that is asked.

    TYPE and HEX are the record's. The node is dialled if its address is given, or the one that --via names: that one
    passes the message on, directly or, with --graph, over further nodes. A node that GRAPH has an address of is dialled
    if there is no other way. The message is sent when that peer has read it; nobody says whether it has arrived. Exit
    code 3 if there is no way; 6 if no answer comes.
    """
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.onion import Plan  # with Trio, which help and completion do without
    from triolight.cli.jobs.onion import send as send_message

    plan = Plan(to, type_, payload, via, graph, reply, seconds, proxy)
    ctx.exit(send_message(plan, secret_file, verbose, as_json))


@command("onion listen", Exit.USAGE, Exit.CONNECT, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE, Exit.TERMINATED)
@host_option
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@graph_option
@secret_option
@json_option
@verbose_option
def listen(host: str, port: int, graph: Path | None, secret_file: Path | None, as_json: bool, verbose: int) -> None:
    """Accept peers, pass on what is for others, and show the onion messages that are for us, until Ctrl-C.

    The first line is what others dial. What goes on to somebody goes to peers alone, within a rate. With --graph also
    to those that are named by a channel of ours.
    """
    from triolight.cli.jobs.onion import listen as listen_until_ctrl_c  # with Trio, as above

    listen_until_ctrl_c(graph, secret_file, verbose, host, port, as_json)
