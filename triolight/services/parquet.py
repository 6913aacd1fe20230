"""Tables as Parquet: zstd, a hundred thousand rows a group (extra `parquet`). The only importer of pyarrow."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, Final

from triolight.services.reading import ExportColumn, Row, TableFile

try:
    # Without types, and large: loaded where it is wanted.
    _arrow: Final[Any] = import_module("pyarrow")
    _parquet: Final[Any] = import_module("pyarrow.parquet")
except ModuleNotFoundError as error:
    if error.name != "pyarrow":
        raise
    words = "Parquet needs the extra 'parquet': pip install 'triolight[parquet]'"
    raise ModuleNotFoundError(words, name="pyarrow") from None

__all__ = ["parquet_table"]

GROUP_ROWS: Final = 100_000
"""Of a row group: held until it is full."""
_TYPES: Final = {
    "int64": _arrow.int64(),
    "uint64": _arrow.uint64(),
    "bool": _arrow.bool_(),
    "float": _arrow.float64(),
    "text": _arrow.string(),
    "bytes": _arrow.binary(),
}
_TIMES: Final = ("seen_ns", "at_ns")
"""Columns that only grow: a few bits for each, by their differences."""


class _ParquetTable:
    def __init__(self, writer: Any, schema: Any) -> None:
        self._writer: Final = writer
        self._schema: Final = schema

    def write(self, rows: Iterable[Row]) -> int:
        count, rest = 0, iter(rows)
        while group := list(islice(rest, GROUP_ROWS)):
            columns = [
                _arrow.array(values, one.type)
                for values, one in zip(zip(*group, strict=True), self._schema, strict=True)
            ]
            self._writer.write_table(_arrow.Table.from_arrays(columns, schema=self._schema))
            count += len(group)
        return count


@contextmanager
def parquet_table(path: Path, columns: Sequence[ExportColumn]) -> Generator[TableFile]:
    """Bytes are bytes, and what is not there is null."""
    schema = _arrow.schema([(one.name, _TYPES[one.kind]) for one in columns])
    times = {one.name: "DELTA_BINARY_PACKED" for one in columns if one.name in _TIMES}
    others = [one.name for one in columns if one.name not in times]
    with path.open("xb") as file:
        writer = _parquet.ParquetWriter(
            file, schema, compression="zstd", use_dictionary=others, column_encoding=times or None
        )
        with writer:
            yield _ParquetTable(writer, schema)
