"""A record in numbers, in pictures, and as tables for other programs."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click

from triolight.cli.exits import cannot_use
from triolight.cli.jobs.plots import draw
from triolight.cli.output import data, progress, say
from triolight.services.reading import MakeTable, RecordStats, csv_table, export_record, record_stats
from triolight.services.sqlite import StoreError

SHOWN_PEERS: Final = 50
"""In words: --json has all."""


def no_record(path: Path, error: StoreError) -> click.BadParameter:
    """A file that cannot be used as a record."""
    words = str(error)
    return click.BadParameter(words if str(path.parent) in words else f"{path}: {words}", param_hint="RECORD")


def show_stats(record: Path, as_json: bool) -> None:
    """Numbers."""
    try:
        found = record_stats(record)
    except StoreError as error:
        raise no_record(record, error) from None
    if as_json:
        data(True, "", "stats", **asdict(found))
    else:
        say("\n".join(_lines_of(found)))


def _lines_of(found: RecordStats) -> Iterator[str]:
    yield f"messages   {found.messages:>14,}"
    yield (
        f"sightings  {found.sightings:>14,}   {found.pushed:,} pushed, {found.answers:,} perhaps answers, "
        f"{found.history:,} perhaps history"
    )
    yield f"peers      {len(found.peers):>14,}   in {found.sessions:,} sessions, {found.open_sessions:,} without an end"
    yield f"bytes      {found.bytes:>14,}   in {found.segments} file{'s' if found.segments > 1 else ''}"
    if found.first_ns is not None and found.last_ns is not None:
        yield f"from       {_date(found.first_ns)}"
        yield f"to         {_date(found.last_ns)}"
    gaps = "".join(f", {count:,} {why}" for why, count in sorted(found.gaps.items()))
    yield f"gaps       {gaps[2:] or 'none'}"
    if found.lost or found.unrecorded_ns:
        yield f"missing    {found.lost:,} messages; nobody recorded for {found.unrecorded_ns / 1e9:,.0f} s"
    if found.by_type:
        yield ""
        yield "sightings by type"
        yield from (f"  {name:<22} {count:>14,}" for name, count in sorted(found.by_type.items()))
    if found.peers:
        yield ""
        yield "peers, by how much they were the first to say"
        ranked = sorted(found.peers.items(), key=lambda one: (-one[1].first, one[0]))
        for node_id, share in ranked[:SHOWN_PEERS]:
            yield f"  {node_id}  {share.first:>10,} of {share.sightings:>12,}"
        if len(ranked) > SHOWN_PEERS:
            yield f"  and {len(ranked) - SHOWN_PEERS:,} more"


def _date(moment_ns: int) -> str:
    return datetime.fromtimestamp(moment_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def export(record: Path, folder: Path, format_: str | None, as_json: bool) -> None:
    """Tables, of one kind or of both."""
    formats: dict[str, MakeTable] = {}
    if format_ != "parquet":
        formats["csv"] = csv_table
    if format_ != "csv":
        if importlib.util.find_spec("pyarrow") is None:
            progress("CSV alone: Parquet needs the extra 'parquet': pip install 'triolight[parquet]'")
        else:
            from triolight.services.parquet import parquet_table

            formats["parquet"] = parquet_table
    try:
        counts = export_record(record, folder, formats)
    except StoreError as error:
        raise no_record(record, error) from None
    except OSError as error:
        raise cannot_use(folder, error, "DIR") from None
    size = sum((folder / f"{name}.{suffix}").stat().st_size for name in counts for suffix in formats)
    words = f"{counts['sightings']:,} sightings of {counts['messages']:,} messages"
    data(as_json, f"{folder}: {words}, {size:,} bytes", "exported", formats=[*formats], bytes=size, **counts)


def plot(record: Path, folder: Path, with_csv: bool, as_json: bool) -> None:
    """Pictures."""
    from triolight.services.charts import record_charts
    from triolight.services.series import record_series

    try:
        charts = record_charts(record_series(record))
    except StoreError as error:
        raise no_record(record, error) from None
    draw(charts, record, folder, with_csv, as_json)
