"""``triolight listen``: what it is asked."""

from __future__ import annotations

from pathlib import Path

import click

from triolight.address import DEFAULT_PORT
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    PORT,
    as_tape,
    host_option,
    json_option,
    need,
    secret_option,
    tape_options,
    verbose_option,
)


@command("listen", Exit.USAGE, Exit.CONNECT, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE, Exit.TERMINATED)
@host_option
@click.option("--port", type=PORT, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@click.option(
    "--metrics",
    type=PORT,
    metavar="PORT",
    help="Serve http://127.0.0.1:PORT/metrics for Prometheus; 0 for any free port.",
)
@tape_options
@secret_option
@json_option
@verbose_option
def listen(
    host: str,
    port: int,
    metrics: int | None,
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
    if metrics is not None:
        need("prometheus_client", "metrics")
    from triolight.cli.jobs.listen import (
        listen as listen_until_ctrl_c,  # with Trio, which help and completion do without
    )

    listen_until_ctrl_c(secret_file, verbose, host, port, metrics, as_tape(tape, secret_tape), as_json)
