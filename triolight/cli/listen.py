"""``triolight listen``: what it is asked."""

from __future__ import annotations

from pathlib import Path

import click

from triolight.address import DEFAULT_PORT
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    PORT,
    as_tape,
    host_option,
    json_option,
    metrics_option,
    secret_option,
    tape_options,
    verbose_option,
)
from triolight.keys import is_point
from triolight.text import quoted


def _as_node_ids(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> tuple[bytes, ...]:
    for one in value:
        try:
            known = is_point(bytes.fromhex(one))
        except ValueError:
            known = False
        if not known:
            raise click.BadParameter(f"not a node id: {quoted(one, 80)}", ctx, param)
    return tuple(map(bytes.fromhex, value))


@command("listen", Exit.USAGE, Exit.CONNECT, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE, Exit.TERMINATED)
@host_option
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@metrics_option
@click.option("--storage", type=FILE, metavar="FILE", help="Keep in FILE what the nodes of --store-for give us.")
@click.option(
    "--store-for",
    multiple=True,
    callback=_as_node_ids,
    metavar="NODE_ID",
    help="Store for this node, and give it back as it connects.",
)
@tape_options
@secret_option
@json_option
@verbose_option
def listen(
    host: str,
    port: int,
    metrics: int | None,
    storage: Path | None,
    store_for: tuple[bytes, ...],
    tape: Path | None,
    secret_tape: Path | None,
    secret_file: Path | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Accept peers, answer their pings, and tell who comes and goes and why, until Ctrl-C.

    With --json, `features` has the lowest 64 bytes of what a peer offers, and `features_cut` is true if there are more.
    The first line is what others dial. Who does not get past the handshake shows in the log alone (-v).
    """
    if bool(store_for) != (storage is not None):
        raise click.UsageError("--storage is where it is kept, --store-for whose: one needs the other")
    from triolight.cli.jobs.listen import Plan  # with Trio, which help and completion do without
    from triolight.cli.jobs.listen import listen as listen_until_ctrl_c

    plan = Plan(host, port, metrics, as_tape(tape, secret_tape), storage, store_for)
    listen_until_ctrl_c(plan, secret_file, verbose, as_json)
