"""``triolight record stats``, ``record export`` and ``record plot`` as their users have them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner

from tests.support.gossip import IDS
from tests.support.processes import run
from tests.support.records import START, a_record
from triolight.cli import cli
from triolight.cli.jobs import record as module
from triolight.services.reading import EXPORT_TABLES
from triolight.services.record import RecordWriter


def invoke(*arguments: str | Path) -> Any:
    return CliRunner().invoke(cli, ["record", *map(str, arguments)])


def test_a_record_in_numbers(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    a_record(path)
    code, (line,), errors = run("record", "stats", path, "--json")
    assert (code, errors) == (0, "")
    found = json.loads(line)
    assert (found["event"], found["messages"], found["sightings"], found["segments"]) == ("stats", 4, 7, 1)
    assert (found["first_ns"], found["last_ns"]) == (START + 10, START + 330)
    assert found["peers"][IDS[0].hex()] == {"sightings": 5, "first": 2, "sessions": 2}
    words = invoke("stats", path).stdout
    assert "sightings               7   5 pushed, 1 perhaps answers, 1 perhaps history\n" in words
    assert "gaps       1 not recorded, 1 not running\n" in words
    assert "missing    3 messages; nobody recorded for 0 s\n" in words
    assert f"  {IDS[0].hex()}           2 of            5\n" in words
    assert "from       2025-06-15 15:06:40 UTC\n" in words


def test_many_peers_are_shown_up_to_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHOWN_PEERS", 1)
    a_record(tmp_path / "seen.db", segments=True)
    words = invoke("stats", tmp_path / "seen.db").stdout
    assert words.endswith("  and 1 more\n")
    assert "in 2 files" in words


def test_tables_of_both_kinds(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    a_record(tmp_path / "seen.db")
    found = invoke("export", tmp_path / "seen.db", tmp_path / "out", "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    line = json.loads(found.stdout)
    assert (line["event"], line["formats"], line["sightings"]) == ("exported", ["csv", "parquet"], 7)
    names = {f"{one.name}.{suffix}" for one in EXPORT_TABLES for suffix in ("csv", "parquet")}
    assert {one.name for one in (tmp_path / "out").iterdir()} == names
    assert line["bytes"] == sum(one.stat().st_size for one in (tmp_path / "out").iterdir())
    found = invoke("export", tmp_path / "seen.db", tmp_path / "one", "--format", "parquet")
    assert found.stdout.startswith(f"{tmp_path / 'one'}: 7 sightings of 4 messages, ")
    assert {one.suffix for one in (tmp_path / "one").iterdir()} == {".parquet"}


def test_without_pyarrow_it_is_csv_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pyarrow" else find(name))
    a_record(tmp_path / "seen.db")
    found = invoke("export", tmp_path / "seen.db", tmp_path / "out")
    assert found.exit_code == 0
    assert found.stderr == "CSV alone: Parquet needs the extra 'parquet': pip install 'triolight[parquet]'\n"
    assert {one.suffix for one in (tmp_path / "out").iterdir()} == {".csv"}
    found = invoke("export", tmp_path / "seen.db", tmp_path / "out", "--format", "parquet")
    assert found.exit_code == 2
    assert "pip install 'triolight[parquet]'" in found.stderr


def test_pictures(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    a_record(tmp_path / "seen.db")
    found = invoke("plot", tmp_path / "seen.db", "-o", tmp_path / "out", "--csv", "--json")
    assert (found.exit_code, found.stderr) == (0, "")
    line = json.loads(found.stdout)
    drawn = ["delay", "minutes", "first", "updates", "rtt", "degrees", "addresses", "ages"]
    assert (line["event"], line["pictures"]) == ("plotted", drawn)
    assert line["files"] == [f"{one}.{suffix}" for one in drawn for suffix in ("svg", "png", "csv")] + ["index.html"]
    assert {one.name for one in (tmp_path / "out").iterdir()} == {*line["files"]}


def test_an_empty_record_has_no_pictures_and_that_is_said(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    RecordWriter(tmp_path / "seen.db", START).close()
    found = invoke("plot", tmp_path / "seen.db", "-o", tmp_path / "out")
    assert found.exit_code == 0
    page = tmp_path / "out" / "index.html"
    assert found.stdout == f"{tmp_path / 'seen.db'}: nothing that could be drawn is in it; {page} says so\n"
    assert [*(tmp_path / "out").iterdir()] == [page]


def test_pictures_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    found = invoke("plot", tmp_path / "seen.db", "-o", tmp_path / "out")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "pip install 'triolight[plot]'" in found.stderr


def test_exit_code_2_for_what_is_no_record(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear reader, " * 100)
    both: list[list[str | Path]] = [
        ["stats", letter],
        ["export", letter, tmp_path / "out"],
        ["plot", letter, "-o", tmp_path / "out"],
    ]
    for arguments in both:
        found = invoke(*arguments)
        assert found.exit_code == 2
        assert f"Invalid value for RECORD: {letter}: no SQLite file, and so no record" in found.stderr
    assert "there is no such file" in invoke("stats", tmp_path / "nothing").stderr
    a_record(tmp_path / "seen.db")
    others: list[list[str | Path]] = [["export", tmp_path / "seen.db"], ["plot", tmp_path / "seen.db", "-o"]]
    for those in others:
        found = invoke(*those, tmp_path / "no" / "where")
        assert (found.exit_code, found.stdout) == (2, "")
        assert "No such file or directory" in found.stderr


OUT = {"stats": [], "export": ["out"], "plot": ["-o", "out"]}


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("stats", "triolight.cli.jobs.record.record_stats"),
        ("export", "triolight.cli.jobs.record.export_record"),
        ("plot", "triolight.services.series.record_series"),
    ],
)
def test_interrupting(command: str, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(where, interrupted)
    found = invoke(command, "seen.db", *OUT[command])
    assert (found.exit_code, found.stdout, found.stderr) == (130, "", "")
