"""``triolight graph import`` and ``graph export``: a file into a graph of ours, and out of it in every format."""

from __future__ import annotations

import csv
import gzip
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner, Result

from tests.support.gossip import IDS, channel, node, update
from tests.support.gossip_files import BOTH_PARTS, FILES, MESH, SIMPLE, a_few, items_of, snapshot_of
from tests.support.processes import SIGNALS
from triolight.chains import BITCOIN, REGTEST
from triolight.cli import cli
from triolight.cli.graph_files import FORMATS
from triolight.cli.jobs import graph_files
from triolight.gossip.formats import SIGNED_FORMATS, Item
from triolight.gossip.formats.gsp import write_gsp
from triolight.gossip.formats.items import About
from triolight.services import GraphStore, ImportReport, import_gossip
from triolight.services.database import GraphDatabase


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["graph", *map(str, arguments)])


def shown(*arguments: str | Path) -> dict[str, Any]:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.stderr
    value: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return value


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """A graph of ours, from Core Lightning's store."""
    store, path = tmp_path / "store", tmp_path / "graph.db"
    store.write_bytes(BOTH_PARTS)
    assert run("import", path, store).exit_code == 0
    return path


def test_from_a_store_to_a_graph_and_its_numbers(tmp_path: Path) -> None:
    store, path = tmp_path / "store", tmp_path / "graph.db"
    store.write_bytes(BOTH_PARTS)
    found = run("import", path, store, "--json")
    assert found.exit_code == 0
    assert found.stderr == f"{store}: byte 42653: the checksum is 911183f6, and of the message it is 6f153b3e\n"
    first = json.loads(found.stdout)
    assert first.pop("seconds") >= 0
    assert first == {
        "event": "imported",
        "channels": 87,
        "updates": 4,
        "nodes": 125,
        "complete": True,
        "added": {"channels": 87, "updates": 4, "nodes": 0},
        "rejected": {"damaged": 1},
    }
    again = shown("import", path, store)
    assert (again["channels"], again["added"]["channels"], again["rejected"]["duplicate"]) == (87, 0, 91)
    stats = shown("stats", path)
    assert (stats["format"], stats["chain"], stats["channels"]) == ("graph", "bitcoin", 87)
    assert (stats["updates"], stats["nodes"], stats["capacity_sat"]) == (4, 125, 177_057_626)
    assert shown("show", path, "686200x1137x0")["checked"] == "signatures"
    assert "  checked   signatures only" in run("show", path, "686200x1137x0").stdout
    words = run("import", path, store).stdout.splitlines()
    assert words[1] == "now: 87 channels, 4 updates, 125 nodes"


def test_the_chain_is_the_files_unless_there_is_another(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    assert shown("import", path, FILES / "gossip_store.simple.xz")["channels"] == 1
    assert shown("stats", path)["chain"] == "regtest"
    main = tmp_path / "store"
    main.write_bytes(BOTH_PARTS)
    assert shown("import", path, main)["rejected"]["wrong_chain"] == 92
    found = run("import", path, main, "--chain", "bitcoin")
    assert (found.exit_code, "a graph of regtest, not of bitcoin" in found.stderr) == (2, True)
    assert shown("import", tmp_path / "other.db", main, "--chain", REGTEST.chain_hash.hex())["channels"] == 0


@pytest.mark.parametrize("format_", ["gossip_store", "gsp", "jsonl", "describegraph", "rgs"])
def test_what_is_exported_is_read_again(format_: str, parts: Path, tmp_path: Path) -> None:
    path = tmp_path / "out"
    found = shown("export", parts, path, "--format", format_)
    assert (found["event"], found["channels"], found["bytes"]) == ("exported", 87, path.stat().st_size)
    stats = shown("stats", path)
    assert (stats["format"], stats["channels"], stats["updates"], stats["nodes"]) == (format_, 87, 4, 125)
    printed = run("export", parts, "--format", format_)
    if format_ != "gossip_store":  # each store has an id of its own
        assert printed.stdout_bytes == path.read_bytes()
    signed = run("import", tmp_path / "again.db", path, "--json")
    if format_ in ("describegraph", "rgs"):
        assert (signed.exit_code, f"{format_} has no signatures" in signed.stderr) == (2, True)
        refused = run("export", path, "--format", "gsp")
        assert (refused.exit_code, "gsp holds nothing else" in refused.stderr) == (2, True)
    else:
        assert json.loads(signed.stdout)["added"] == {"channels": 87, "updates": 4, "nodes": 0}
        capacity = shown("stats", tmp_path / "again.db")["capacity_sat"]
        assert capacity == (177_057_626 if format_ == "gossip_store" else 0)


def test_lnds_json_is_lnds(parts: Path) -> None:
    made = json.loads(run("export", parts, "--format", "describegraph").stdout)
    assert (len(made["nodes"]), len(made["edges"])) == (125, 87)
    edge = next(one for one in made["edges"] if one["channel_id"] == "754484879054405632")
    assert edge["capacity"] == "3000000"
    assert edge["node1_pub"] < edge["node2_pub"]
    assert edge["node1_policy"] is None


def test_tables_and_graphml(tmp_path: Path) -> None:
    store, folder = tmp_path / "store", tmp_path / "tables"
    store.write_bytes(MESH)
    assert shown("export", store, folder, "--format", "csv")["channels"] == 12
    for name, count in (("channels", 12), ("nodes", 9)):
        assert len(list(csv.DictReader((folder / f"{name}.csv").read_text().splitlines()))) == count
    assert shown("export", store, folder, "--format", "csv")["channels"] == 12  # once more, over it
    assert run("export", store, "--format", "graphml").stdout.count("<edge ") == 24
    found = run("export", store, "--format", "csv")
    assert (found.exit_code, "name a folder" in found.stderr) == (2, True)


def test_every_format_is_exported(tmp_path: Path) -> None:
    store = tmp_path / "store.gz"
    store.write_bytes(gzip.compress(SIMPLE))
    assert {*SIGNED_FORMATS} < {*FORMATS}
    for format_ in FORMATS:
        assert run("export", store, tmp_path / f"out.{format_}", "--format", format_).exit_code == 0
    assert not [one for one in tmp_path.iterdir() if one.name.startswith(".")]


def test_exit_code_2_for_a_file_that_cannot_be_made(parts: Path, tmp_path: Path) -> None:
    for out, format_ in ((tmp_path, "gsp"), (parts, "gsp"), (parts, "csv"), (tmp_path / "no" / "where", "gsp")):
        found = run("export", parts, out, "--format", format_)
        assert found.exit_code == 2
        assert "Invalid value for" in found.stderr
    assert run("export", parts, tmp_path / "x", "--format", "docx").exit_code == 2
    assert run("export", parts, tmp_path / "x").exit_code == 2
    assert shown("stats", parts)["channels"] == 87


def foreign(path: Path) -> None:
    path.write_bytes(b"hello" * 50)


def in_a_folder_that_is_not_there(path: Path) -> None:
    path.parent.rmdir()


def test_exit_code_2_for_a_graph_that_cannot_be_written(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.write_bytes(SIMPLE)
    inner = tmp_path / "folder"
    inner.mkdir()
    for make, why in ((foreign, "no SQLite file"), (in_a_folder_that_is_not_there, "cannot be written")):
        path = inner / "graph.db"
        make(path)
        found = run("import", path, store)
        assert found.exit_code == 2
        assert why in found.stderr
        assert found.stdout == ""
        for one in inner.iterdir() if inner.exists() else ():
            one.unlink()
    taken = tmp_path / "graph.db"
    database = GraphDatabase(taken, REGTEST.chain_hash, "a test", 5)
    try:
        found = run("import", taken, store)
        assert (found.exit_code, "another process writes it" in found.stderr) == (2, True)
    finally:
        database.close()
    for wrong in (b"hello", b"\x07" + bytes(40)):
        store.write_bytes(wrong)
        found = run("import", tmp_path / "new.db", store)
        assert (found.exit_code, str(store) in found.stderr) == (2, True)


def test_a_forged_message_is_counted_and_not_taken(tmp_path: Path) -> None:
    forged = channel()[:40] + bytes(1) + channel()[41:]
    path = tmp_path / "file.gsp"
    path.write_bytes(b"".join(write_gsp([forged, *a_few(), update(direction=1, timestamp=5)])))
    found = shown("import", tmp_path / "graph.db", path)
    assert found["channels"] == 3
    assert found["rejected"] == {"bad_signature": 1, "stale": 1}


def test_a_graph_is_imported_into_another(parts: Path, tmp_path: Path) -> None:
    found = shown("import", tmp_path / "copy.db", parts)
    assert (found["channels"], found["updates"]) == (87, 4)
    assert shown("stats", tmp_path / "copy.db")["capacity_sat"] == 177_057_626


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_interrupting_an_import_keeps_what_came(
    number: signal.Signals, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(store: GraphStore, read: Callable[[], Iterator[Item]], report: ImportReport) -> None:
        await import_gossip(store, read, report=report)
        os.kill(os.getpid(), number)
        await trio.sleep_forever()

    monkeypatch.setattr(graph_files, "import_gossip", interrupted)
    file = tmp_path / "file.gsp"
    file.write_bytes(b"".join(write_gsp(a_few())))
    found = run("import", tmp_path / "graph.db", file, "--json")
    assert found.exit_code == code
    last = json.loads(found.stdout)
    assert (last["complete"], last["channels"], last["updates"]) == (False, 3, 6)
    assert shown("stats", tmp_path / "graph.db")["channels"] == 3


def test_exit_code_2_for_a_pipe_that_cannot_be_read_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    found = run("import", tmp_path / "graph.db", tmp_path / "pipe")
    assert (found.exit_code, "it is read twice" in found.stderr) == (2, True)


def test_nothing_is_lost_on_the_way(tmp_path: Path) -> None:
    """Through a graph and out again as the same messages, tails and all."""
    messages = [channel(features=b"\x01", extension=b"tail"), update(extension=b"more"), node(0), node(1)]
    path, out = tmp_path / "in.gsp", tmp_path / "out.gsp"
    path.write_bytes(b"".join(write_gsp(messages)))
    assert shown("import", tmp_path / "graph.db", path)["nodes"] == 2
    assert shown("export", tmp_path / "graph.db", out, "--format", "gsp")["channels"] == 1
    assert [raw for raw, _ in snapshot_of(out.read_bytes()).messages()] == messages
    assert snapshot_of(out.read_bytes()).nodes == {*IDS[:2]}


def test_an_rgs_file_says_its_chain(parts: Path) -> None:
    about = items_of(run("export", parts, "--format", "rgs").stdout_bytes)[0]
    assert isinstance(about, About)
    assert about.chain_hash == BITCOIN.chain_hash
