"""A storage's file: its rows, and whose it is."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.support import identity
from triolight.chains import REGTEST
from triolight.services import StoreError
from triolight.services.blobs import BlobsFile
from triolight.services.database import GraphDatabase

ONE, TWO = identity(1), identity(2)


def test_what_is_written_is_there_and_what_goes_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "storage.db"
    with closing(BlobsFile(path, 77)) as file:
        assert (file.own(), file.kept()) == (None, {})
        file.write(b"ours", {ONE: b"one", TWO: b""})
        file.write(None, {ONE: bytes(65_531)})
        assert file.own() == b"ours"
    with closing(BlobsFile(path, 78)) as file:
        assert (file.own(), file.kept()) == (b"ours", {ONE: bytes(65_531), TWO: b""})
        file.write(b"newer", {ONE: None})
        assert (file.own(), file.kept()) == (b"newer", {TWO: b""})
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT value FROM meta WHERE key = 'created'").fetchone() == (77,)


def test_all_of_a_write_or_nothing(tmp_path: Path) -> None:
    with closing(BlobsFile(tmp_path / "storage.db", 0)) as file:
        file.write(b"ours", {ONE: b"one"})
        with pytest.raises(StoreError, match=r"storage\.db: SQLite says"):
            file.write(b"newer", {ONE: b"new", TWO: "no bytes"})  # type: ignore[dict-item]
        assert (file.own(), file.kept()) == (b"ours", {ONE: b"one"})


def test_one_process_writes_it_and_no_other_file_is_taken_for_one(tmp_path: Path) -> None:
    path = tmp_path / "storage.db"
    with closing(BlobsFile(path, 0)), pytest.raises(StoreError, match="another process writes it"):
        BlobsFile(path, 0)
    graph = tmp_path / "graph.db"
    GraphDatabase(graph, REGTEST.chain_hash, "a test", 5).close()
    with pytest.raises(StoreError, match="another program, and no storage"):
        BlobsFile(graph, 0)
    BlobsFile(path, 0).close()  # and nothing was left locked
