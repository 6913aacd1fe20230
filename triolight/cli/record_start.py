"""``triolight record start``: what it is asked."""

from __future__ import annotations

import math
import os
import re
import socket
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click
from click.core import ParameterSource

from triolight.chains import BITCOIN
from triolight.cli.exits import Exit
from triolight.cli.group import command
from triolight.cli.options import (
    FILE,
    SPANS,
    allow_private_option,
    as_engine,
    chain_option,
    engine_options,
    from_graph_option,
    json_option,
    need,
    nodes_argument,
    peers_option,
    proxy_option,
    seconds_option,
    secret_option,
    verbose_option,
)

if TYPE_CHECKING:
    from triolight import NodeAddress, Proxy
    from triolight.cli.options import Engine

NOWHERE: Final = Path("-")
_OF_A_FLEET: Final = {
    "--fleet": "name",
    "--engine-password-file": "password_file",
    "--id": "own",
    "--lease": "lease",
}
_SIZES: Final = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_TYPES: Final = {"channel_announcement": 256, "node_announcement": 257, "channel_update": 258}


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


class Rotate(NamedTuple):
    """When another file is begun."""

    seconds: float | None
    bytes: int | None


def _as_rotate(ctx: click.Context, param: click.Parameter, value: tuple[str, ...]) -> Rotate:
    spans: list[float] = []
    sizes: list[int] = []
    for one in value:
        found = re.fullmatch(r"([1-9][0-9]{0,8})([smhdKMGT])", one)
        if found is None:
            raise click.BadParameter(f"a span of time, as 1d or 6h, or a size, as 2G, not {one!r}", ctx, param)
        if found[2] in SPANS:
            spans.append(float(int(found[1]) * SPANS[found[2]]))
        else:
            sizes.append(int(found[1]) * _SIZES[found[2]])
    if max(len(spans), len(sizes)) > 1:
        raise click.BadParameter("one span of time, one size, or both", ctx, param)
    return Rotate(spans[0] if spans else None, sizes[0] if sizes else None)


def _as_types(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, ...]:
    names = [*_TYPES] if value is None else value.split(",")
    for one in names:
        if one not in _TYPES:
            raise click.BadParameter(f"some of {', '.join(_TYPES)}, with commas between, not {one!r}", ctx, param)
    return tuple(_TYPES[one] for one in names)


def _as_fleet(
    ctx: click.Context,
    url: str | None,
    name: str,
    password_file: Path | None,
    record: Path,
    graph: Path | None,
    max_size: int | None,
) -> Engine | None:
    """The engine, if there are others."""
    if url is not None:
        if graph is not None:
            raise click.UsageError(
                "--from-graph chooses by chance, and all of a fleet are told the same nodes: --peers"
            )
        if max_size is not None:
            raise click.UsageError("--max-size ends one that records alone: a fleet has --rotate")
        return as_engine(url, name, password_file)
    if record == NOWHERE:
        raise click.UsageError("RECORD is - for one of a fleet that never writes: --engine")
    for option, parameter in _OF_A_FLEET.items():
        if ctx.get_parameter_source(parameter) is not ParameterSource.DEFAULT:
            raise click.UsageError(f"{option} is of several that record together: --engine")
    return None


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
@peers_option
@from_graph_option
@click.option(
    "--count",
    type=click.IntRange(1, 10_000),
    default=10,
    show_default=True,
    help="Nodes of GRAPH that are to be heard.",
)
@allow_private_option
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
@click.option(
    "--types", callback=_as_types, metavar="NAME[,NAME]…", help="Of gossip, these messages alone, as channel_update."
)
@click.option("--no-raw", is_flag=True, help="Of messages only hashes: who said something when, and not what.")
@click.option("--drop", is_flag=True, help="If the disk is slower than the nodes, drop messages and count them.")
@click.option(
    "--rotate",
    multiple=True,
    callback=_as_rotate,
    metavar="SPAN|SIZE",
    help="A file for each span of time, as 1d or 6h; or another one when one has a size, as 2G.",
)
@click.option("--max-size", callback=_as_size, metavar="SIZE", help="It ends when all of it has this size, as 10G.")
@partial(
    engine_options,
    required=False,
    words="Record with others, who are told the same nodes: the engine between them",
    of="Which others.",
)
@click.option(
    "--id",
    "own",
    metavar="ID",
    help="Its name among them, and nobody else's.  [default: the host's name, and a number]",
)
@click.option(
    "--lease",
    type=click.FloatRange(0.5, 20),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="Who is silent for so long is taken for dead, and others take over.",
)
@secret_option
@proxy_option
@json_option
@verbose_option
@click.pass_context
def start(
    ctx: click.Context,
    record: Path,
    nodes: tuple[NodeAddress, ...],
    listed: tuple[NodeAddress, ...],
    graph: Path | None,
    count: int,
    allow_private: bool,
    chain: bytes | None,
    seconds: float,
    backlog: float,
    types: tuple[int, ...],
    no_raw: bool,
    drop: bool,
    rotate: Rotate,
    max_size: int | None,
    url: str | None,
    name: str,
    password_file: Path | None,
    own: str | None,
    lease: float,
    secret_file: Path | None,
    proxy: Proxy | None,
    as_json: bool,
    verbose: int,
) -> None:
    """Record the gossip of nodes into RECORD: who said what when, until Ctrl-C.

    RECORD is made if it is missing, and may be read meanwhile. Nothing is verified, and nothing is left out: if the
    disk is slower than the nodes, they are read more slowly, or with --drop, what is left out is counted. The last line
    says what was recorded, at Ctrl-C too. Exit code 3 if no node can be reached at first, 6 if none said anything;
    later, nodes are dialled again. Of GRAPH nodes are chosen at random, and dialled until so many were reached.

    With --engine several processes, on several machines, share the nodes: each dials its part, and takes over when
    another one dies. All are told the same nodes. One of those that have a RECORD writes what all of them hear; one
    whose RECORD is - never does. The exit code is 0 then, whoever can be reached.
    """
    if not nodes and not listed and graph is None:
        raise click.UsageError("nobody to hear: name nodes, or where they are listed: --peers, --from-graph")
    if graph is None and ctx.get_parameter_source("count") is not ParameterSource.DEFAULT:
        raise click.UsageError("--count is of the nodes of a graph: --from-graph")
    together = _as_fleet(ctx, url, name, password_file, record, graph, max_size)
    if proxy is not None:
        need("python_socks", "tor")
    from triolight.cli.jobs.record import no_record  # with Trio, which help and completion do without
    from triolight.cli.jobs.record_start import Choice, Plan, record_start
    from triolight.services import StoreError

    choice = None
    if graph is not None:
        from triolight.cli.jobs.found import nodes_of_graph

        found = nodes_of_graph(graph, chain, private=allow_private, onions=proxy is not None)
        named = {one.node_id for one in (*nodes, *listed)}
        others = [one for one in found.nodes if one[0].node_id not in named]
        chain, choice = found.chain, Choice(graph, others, count)
    plan = Plan(
        record,
        (*nodes, *listed),
        choice,
        chain or BITCOIN.chain_hash,
        seconds,
        backlog,
        types,
        raw=not no_raw,
        drop=drop,
        segment_bytes=rotate.bytes,
        segment_seconds=rotate.seconds,
        max_bytes=max_size,
        proxy=proxy,
    )
    try:
        if together is None:
            ctx.exit(record_start(plan, secret_file, verbose, as_json))
        from triolight.cli.jobs.record_shards import Shard, record_shard  # with the cluster, which one alone needs not

        shard = Shard(together, own or f"{socket.gethostname()}-{os.getpid()}", lease)
        ctx.exit(record_shard(plan, None if record == NOWHERE else record, shard, secret_file, verbose, as_json))
    except StoreError as error:
        raise no_record(record, error) from None
