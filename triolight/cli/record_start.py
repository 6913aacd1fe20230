"""``triolight record start``: what it is asked."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    chain_option,
    json_option,
    need,
    nodes_argument,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy

_SIZES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SPANS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _as_backlog(ctx: click.Context, param: click.Parameter, value: str) -> float:
    if value in ("all", "none"):
        return math.inf if value == "all" else 0.0
    if not re.fullmatch(r"[0-9]{1,10}", value):
        raise click.BadParameter(f"all, none or a number of seconds, not {value!r}", ctx, param)
    return float(value)


def _as_size(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,12})([KMGT]?)", value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"bytes, as 500M or 10G, not {value!r}", ctx, param)
    return int(found[1]) * _SIZES[found[2]]


def _as_span(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
    if found is None or not int(found[1]):
        raise click.BadParameter(f"a span of time, as 1d or 6h, not {value!r}", ctx, param)
    return float(int(found[1]) * _SPANS[found[2]])


@command(
    "record start",
    Exit.OK,
    Exit.USAGE,
    Exit.CONNECT,
    Exit.TIMEOUT,
    Exit.HUNG_UP,
    Exit.INTERRUPTED,
    Exit.BROKEN_PIPE,
    Exit.TERMINATED,
)
@click.argument("record", type=FILE)
@nodes_argument
@chain_option
@seconds_option("--seconds", math.inf, "For all of it.", open=True)
@click.option(
    "--backlog",
    default="all",
    show_default=True,
    callback=_as_backlog,
    metavar="all|none|SECONDS",
    help="What is asked of each node beside news: what is younger than so many seconds.",
)
@click.option("--rotate", callback=_as_span, metavar="SPAN", help="A file for each span of time, as 1d or 6h.")
@click.option("--segment-size", callback=_as_size, metavar="SIZE", help="Another file when one has this size, as 2G.")
@click.option("--max-size", callback=_as_size, metavar="SIZE", help="It ends when all of it has this size, as 10G.")
@secret_option
@proxy_option
@json_option
@verbose_option
@click.pass_context
def start(
    ctx: click.Context,
    record: Path,
    nodes: tuple[NodeAddress, ...],
    chain: bytes | None,
    seconds: float,
    backlog: float,
    rotate: float | None,
    segment_size: int | None,
    max_size: int | None,
    secret_file: Path | None,
    proxy: Proxy | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Record the gossip of nodes into RECORD: who said what when, until Ctrl-C.

    RECORD is made if it is missing, and may be read meanwhile. Nothing is verified, and nothing is left out: if the
    disk is slower than the nodes, they are read more slowly. The last line says what was recorded, at Ctrl-C too. Exit
    code 3 if no node can be reached at first, 6 if none said anything; later, nodes are dialled again.
    """
    if not nodes:
        raise click.UsageError("nobody to hear: name nodes")
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.record import no_record  # with Trio, which help and completion do without
    from triolight.cli.jobs.record_start import Plan, record_start
    from triolight.services import StoreError

    plan = Plan(
        record,
        nodes,
        chain or BITCOIN.chain_hash,
        seconds,
        backlog,
        segment_bytes=segment_size,
        segment_seconds=rotate,
        max_bytes=max_size,
        proxy=proxy,
    )
    try:
        ctx.exit(record_start(plan, secret_file, verbose, as_json))
    except StoreError as error:
        raise no_record(record, error) from None
