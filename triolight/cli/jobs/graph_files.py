"""A graph of ours from other programs' files, and theirs from ours.

Imported is what is signed alone, when its signatures hold; exported whatever a format can hold. Neither looks at ages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click

from triolight.chains import BITCOIN
from triolight.cli.exits import cannot_use
from triolight.cli.jobs.graph import Reading, chain_of, load, not_ours, tell_left_out
from triolight.cli.output import data, progress
from triolight.cli.running import run
from triolight.gossip import NetworkGraph
from triolight.gossip.formats import GRAPH, SIGNED_FORMATS, Item, Snapshot
from triolight.gossip.formats.describegraph import write_describegraph
from triolight.gossip.formats.gossip_store import write_gossip_store
from triolight.gossip.formats.gsp import write_gsp
from triolight.gossip.formats.items import About, PolicyFacts, Signed
from triolight.gossip.formats.jsonl import write_jsonl
from triolight.gossip.formats.places import ends_of, problem, type_of
from triolight.gossip.formats.rgs import write_rgs
from triolight.gossip.formats.tables import write_channels_csv, write_graphml, write_nodes_csv
from triolight.services import ImportReport, StoreError, import_gossip, open_graph_store


def graph_import(graph: Path, file: Path, chain: bytes | None, as_json: bool) -> None:
    """Verifies what is signed in a file, and takes it into a graph."""
    known = chain_of(graph)
    with Reading(file, parts=2, looks=1) as reading:
        name, items = reading.items()
        if name not in (*SIGNED_FORMATS, GRAPH):
            raise click.BadParameter(f"{file}: {name} has no signatures, and is not imported", param_hint="FILE")
        _import(graph, file, NetworkGraph(chain or known or _first_chain(file, items)), reading, as_json)


def _import(graph: Path, file: Path, found: NetworkGraph, reading: Reading, as_json: bool) -> None:
    report = ImportReport()
    complete = False

    async def program() -> None:
        nonlocal complete
        async with open_graph_store(graph, found) as store:
            for words in store.damaged:
                progress(f"{graph}: deleted: {words}")
            await import_gossip(store, lambda: reading.items()[1], report=report)
        complete = True

    began = time.monotonic()
    try:
        run(program)
    except StoreError as error:
        raise not_ours(graph, error) from None
    except ValueError as error:
        raise not_ours(file, error) from None
    except (KeyboardInterrupt, click.exceptions.Exit):
        # What came so far is on the disk.
        reading.finish()
        _tell(file, found, report, complete, time.monotonic() - began, as_json)
        raise
    reading.finish()
    _tell(file, found, report, complete, time.monotonic() - began, as_json)


def _tell(file: Path, graph: NetworkGraph, report: ImportReport, complete: bool, seconds: float, as_json: bool) -> None:
    tell_left_out(file, report.damaged, {"damaged": report.rejected["damaged"]})
    updates = sum(channel.update_bytes(one) is not None for channel in graph.channels.values() for one in (0, 1))
    added = {"channels": report.channels, "updates": report.updates, "nodes": report.nodes}
    rejected = dict(sorted(report.rejected.items()))
    words = ", ".join(f"{count:,} {name}" for name, count in added.items())
    refused = "".join(f", {count:,} {name}" for name, count in rejected.items())
    data(
        as_json,
        f"{'new' if complete else 'interrupted; new'}: {words}; not taken: {refused[2:] or 'nothing'}\n"
        f"now: {len(graph.channels):,} channels, {updates:,} updates, {len(graph.nodes):,} nodes",
        "imported",
        channels=len(graph.channels),
        updates=updates,
        nodes=len(graph.nodes),
        complete=complete,
        added=added,
        rejected=rejected,
        seconds=round(seconds, 3),
    )


def _first_chain(file: Path, items: Iterator[Item]) -> bytes:
    try:
        for item in items:
            match item:
                case About(chain_hash=bytes() as chain_hash):
                    return chain_hash
                case Signed(raw=raw) if type_of(raw) == 256 and not problem(raw):
                    return ends_of(raw).chain_hash
                case _:
                    continue
    except (ValueError, StoreError) as error:
        raise not_ours(file, error) from None
    return BITCOIN.chain_hash


def graph_export(graph: Path, file: Path | None, format_: str, chain: bytes | None, as_json: bool) -> None:
    """Writes a graph in another format."""
    name, snapshot = load(graph, chain)
    if format_ in SIGNED_FORMATS and not snapshot.signed:
        raise click.BadParameter(f"{graph}: {name} has no signatures, and {format_} holds nothing else")
    size = 0
    if file is None:
        for piece in pieces_of(snapshot, format_):
            sys.stdout.buffer.write(piece)
            size += len(piece)
        sys.stdout.buffer.flush()
        return
    try:
        if format_ == "csv":
            file.mkdir(exist_ok=True)
            size = _write(file / "nodes.csv", write_nodes_csv(snapshot))
            size += _write(file / "channels.csv", write_channels_csv(snapshot))
        else:
            size = _write(file, pieces_of(snapshot, format_))
    except OSError as error:
        raise cannot_use(file, error, "FILE") from None
    count = len(snapshot.channels)
    data(as_json, f"{file}: {count:,} channels, {size:,} bytes", "exported", format=format_, channels=count, bytes=size)


def _write(file: Path, pieces: Iterator[bytes]) -> int:
    """All of it or nothing: under another name first."""
    size = 0
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with beside.open("xb") as opened:
            for piece in pieces:
                size += opened.write(piece)
            opened.flush()
            os.fsync(opened.fileno())
        beside.replace(file)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    return size


def pieces_of(snapshot: Snapshot, format_: str) -> Iterator[bytes]:
    """A graph in one of the formats."""
    match format_:
        case "gossip_store":
            # As long as its channels are: an amount stands behind each announcement that has one.
            signed = ((raw, capacity) if capacity is not None else raw for raw, capacity in snapshot.messages())
            return write_gossip_store(signed, os.urandom(32))
        case "gsp":
            return write_gsp(raw for raw, _ in snapshot.messages())
        case "jsonl":
            return write_jsonl(raw for raw, _ in snapshot.messages())
        case "describegraph":
            ids = sorted(snapshot.nodes)
            channels = sorted(snapshot.channels.items())
            return write_describegraph(map(snapshot.node, ids), ((one.facts, *one.policies) for _, one in channels))
        case "rgs":
            policies = _policies(snapshot)
            return write_rgs(
                snapshot.chain_hash or BITCOIN.chain_hash,
                max((one.timestamp for one in policies), default=0),
                [one.facts for one in snapshot.channels.values()],
                policies,
            )
        case _:
            return write_graphml(snapshot)


def _policies(snapshot: Snapshot) -> list[PolicyFacts]:
    return [one for channel in snapshot.channels.values() for one in channel.policies if one is not None]
