"""Tables as Parquet: the same rows as the CSV has, in their own types, and small."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from tests.support.records import a_record
from triolight.services.reading import EXPORT_TABLES, ExportColumn, csv_table, export_record

arrow = pytest.importorskip("pyarrow.parquet")
from triolight.services import parquet as module  # noqa: E402
from triolight.services.parquet import parquet_table  # noqa: E402


def as_text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.hex()
    return "" if value is None else str(int(value) if isinstance(value, bool) else value)


@pytest.mark.parametrize("segments", [False, True])
def test_it_holds_what_the_csv_holds(segments: bool, tmp_path: Path) -> None:
    a_record(tmp_path / "seen.db", segments=segments)
    folder = tmp_path / "out"
    export_record(tmp_path / "seen.db", folder, {"csv": csv_table, "parquet": parquet_table})
    for table in EXPORT_TABLES:
        found = arrow.read_table(folder / f"{table.name}.parquet")
        assert found.column_names == [one.name for one in table.columns]
        with (folder / f"{table.name}.csv").open(encoding="utf-8", newline="") as file:
            rows = [*csv.DictReader(file)]
        assert [{name: as_text(value) for name, value in row.items()} for row in found.to_pylist()] == rows


def test_times_take_a_few_bits_each(tmp_path: Path) -> None:
    columns = [ExportColumn("seen_ns", "int64", ""), ExportColumn("message", "int64", "")]
    with parquet_table(tmp_path / "some.parquet", columns) as made:
        assert made.write((10**18 + 1000 * number, number % 7) for number in range(20_000)) == 20_000
    file = arrow.ParquetFile(tmp_path / "some.parquet")
    times = file.metadata.row_group(0).column(0)
    assert "DELTA_BINARY_PACKED" in times.encodings
    assert times.compression == "ZSTD"
    assert times.total_compressed_size < 20_000
    assert file.read().column("seen_ns").to_pylist() == [10**18 + 1000 * number for number in range(20_000)]


def test_rows_come_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GROUP_ROWS", 10)
    with parquet_table(tmp_path / "some.parquet", [ExportColumn("word", "text", "")]) as made:
        assert made.write((f"word {number}",) for number in range(25)) == 25
        assert made.write(()) == 0
    metadata = arrow.ParquetFile(tmp_path / "some.parquet").metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [10, 10, 5]
