"""``triolight graph stats``, ``graph show`` and ``graph plot``: any file of a known format, in numbers and pictures."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.support.gossip import IDS, NOW, channel, node, update
from tests.support.gossip_files import BOTH_PARTS, FILES, RGS, SIMPLE, unpacked
from triolight.address import IPv4Address, write_address
from triolight.cli import cli
from triolight.cli.jobs.graph import Reading
from triolight.gossip.formats.checksums import crc32c_of_all
from triolight.gossip.formats.gsp import write_gsp
from triolight.gossip.formats.items import About, Signed

GRAPH_LN_10 = FILES / "describegraph_LN_10.json.xz"
"""Packed as it is: that is unpacked on the way."""


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["graph", *map(str, arguments)])


def shown(*arguments: str | Path) -> dict[str, Any]:
    found = run(*arguments, "--json")
    assert found.exit_code == 0, found.stderr
    value: dict[str, Any] = json.loads(found.stdout.splitlines()[-1])
    return value


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A GSP file of a channel with one update and one node that names itself."""
    said = node(0, alias=b"a name".ljust(32, b"\0"), addresses=write_address(IPv4Address("1.2.3.4", 9735)))
    path = tmp_path / "small.gsp"
    fee = update(timestamp=NOW, extension=bytes.fromhex("fdd90308fffffff9ffffffce"))
    path.write_bytes(b"".join(write_gsp([channel(), fee, said, node(1, alias=b"A NAME" + bytes(26))])))
    return path


@pytest.mark.parametrize(
    ("name", "data", "format_", "chain", "channels", "updates", "nodes", "capacity"),
    [
        ("simple", SIMPLE, "gossip_store", "regtest", 1, 2, 2, 1_000_000),
        ("parts", BOTH_PARTS, "gossip_store", "bitcoin", 87, 4, 125, 177_057_626),
        ("LN_50", unpacked("describegraph_LN_50.json"), "describegraph", "bitcoin", 78, 156, 50, 1_046_955_248),
        ("00.rgs", RGS["00"], "rgs", "bitcoin", 2, 4, 4, 0),
    ],
)
def test_stats_of_any_file(
    name: str,
    data: bytes,
    format_: str,
    chain: str,
    channels: int,
    updates: int,
    nodes: int,
    capacity: int,
    tmp_path: Path,
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    found = shown("stats", path)
    assert (found["event"], found["format"], found["chain"]) == ("stats", format_, chain)
    assert (found["channels"], found["updates"], found["nodes"]) == (channels, updates, nodes)
    assert found["capacity_sat"] == capacity


def test_stats_in_words(small: Path) -> None:
    lines = run("stats", small).stdout.splitlines()
    assert lines[0] == "gsp of regtest"
    assert lines[1].split()[:5] == ["channels", "1", "1", "with", "one"]
    text = "\n".join(lines)
    for title in ("channels of a node (most 1, median 1)", "addresses", f"  ipv4  {'#' * 40}  1"):
        assert title in text
    assert "age of updates (newest 2025-06-15 15:06:40 UTC)" in text
    empty = run("stats", small, "--chain", "bitcoin")
    assert empty.stdout.splitlines()[1].split()[:2] == ["channels", "0"]
    assert "left out 2: of another chain" in empty.stderr


def test_what_is_damaged_is_named_and_the_rest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(BOTH_PARTS)
    found = run("stats", path, "--json")
    assert found.exit_code == 0
    assert found.stderr == f"{path}: byte 42653: the checksum is 911183f6, and of the message it is 6f153b3e\n"
    assert json.loads(found.stdout)["left_out"] == {"damaged": 1}
    many = tmp_path / "lines.jsonl"
    many.write_text('{"raw": "00"}\n' * 30)
    found = run("stats", many)
    assert len(found.stderr.splitlines()) == 11
    assert f"{many}: 20 more places are damaged" in found.stderr


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"hello", "no file of a known format: gossip_store"),
        (b"", "an empty file"),
        (b"\x07" + bytes(50), "gossip_store of version 7: 9 is the oldest that can be read"),
        (RGS["13"], "Rapid Gossip Sync of version 3"),
        (b"SQLite format 3\0" + bytes(100), "damaged|no SQLite|SQLite says"),
    ],
    ids=["words", "empty", "old store", "new snapshot", "sqlite"],
)
def test_exit_code_2_for_what_is_no_graph(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    commands: list[list[str | Path]] = [
        ["stats", path],
        ["show", path, "1x2x3"],
        ["export", path, "--format", "csv", tmp_path / "out"],
    ]
    for command in commands:
        found = run(*command)
        assert found.exit_code == 2
        assert any(one in found.stderr for one in why.split("|"))
        assert str(path) in found.stderr
    assert run("stats", tmp_path / "nothing").exit_code == 2
    assert run("stats", path, "--chain", "doge").exit_code == 2


@pytest.mark.parametrize("what", ["686200x1137x0", "754484879054405632"])
def test_show_a_channel(what: str, tmp_path: Path) -> None:
    path = tmp_path / "store"
    path.write_bytes(BOTH_PARTS)
    found = shown("show", path, what)
    assert (found["event"], found["short_channel_id"], found["channel_id"]) == (
        "channel",
        "686200x1137x0",
        "754484879054405632",
    )
    assert found["capacity_sat"] == 3_000_000
    assert found["policies"] == [None, None]
    assert found["node_ids"][1].startswith("02e0af3c")


def test_show_a_channel_as_a_page(small: Path) -> None:
    page = run("show", small, "100x1x0").stdout
    for line in (
        "Channel 100x1x0 (109951162843136)",
        "  capacity  capacity unknown",
        f"  node 1    {IDS[0].hex()} a name",
        "  funded    in block 100, by output 0 of its transaction 1",
        "  node 1 to node 2: enabled",
        "    fee      1,000 msat and 10 ppm",
        "    inbound  -7 msat and -50 ppm, for what comes in over this channel",
        "    amounts  1 to 500,000,000 msat",
        "    expiry   80 blocks",
        "  node 2 to node 1: no update",
    ):
        assert line in page.splitlines()
    assert "    updated  2025-06-15 15:06:40 UTC (" in page
    policy = shown("show", small, "100x1x0")["policies"][0]
    assert policy == {
        "direction": 0,
        "timestamp": NOW,
        "disabled": False,
        "cltv_expiry_delta": 80,
        "htlc_minimum_msat": 1,
        "htlc_maximum_msat": 500_000_000,
        "fee_base_msat": 1000,
        "fee_proportional_millionths": 10,
        "inbound_fee_base_msat": -7,
        "inbound_fee_proportional_millionths": -50,
    }


def test_show_a_node(small: Path) -> None:
    """By its id; by its alias as it is written; in other letters only if none is written so."""
    for what in (IDS[0].hex(), "a name"):
        found = shown("show", small, what)
        assert (found["event"], found["node_id"], found["alias"]) == ("node", IDS[0].hex(), "a name")
        assert (found["addresses"], found["channels"]) == (["1.2.3.4:9735"], ["100x1x0"])
    assert shown("show", small, "A NAME")["node_id"] == IDS[1].hex()
    both = run("show", small, "A Name", "--json").stdout.splitlines()
    assert [json.loads(one)["node_id"] for one in both] == [IDS[0].hex(), IDS[1].hex()]
    page = run("show", small, "a name").stdout.splitlines()
    assert page[0] == f"Node {IDS[0].hex()}"
    for line in ("  address    1.2.3.4:9735", "  channels   1, of capacity unknown", "    in   no update"):
        assert line in page
    assert any(line.startswith("    out  enabled, 1,000 msat and 10 ppm, updated ") for line in page)


def test_show_a_node_by_the_beginning_of_its_id(small: Path) -> None:
    begin = IDS[0].hex()[:6]
    assert shown("show", small, begin)["node_id"] == IDS[0].hex()
    assert shown("show", small, begin.upper())["node_id"] == IDS[0].hex()
    assert run("show", small, IDS[0].hex()[:5]).exit_code == 1


def test_who_remembers_a_part_of_an_alias_is_told_of_the_whole(small: Path) -> None:
    found = run("show", small, "nam")
    assert found.exit_code == 1
    assert found.stderr.endswith("is called nam; there is A NAME, a name\n")


def test_a_page_has_lines_that_fit(tmp_path: Path) -> None:
    first = json.loads(unpacked("describegraph_LN_10.json"))["nodes"][0]
    page = run("show", GRAPH_LN_10, first["pub_key"]).stdout.splitlines()
    features = [line for line in page if line.startswith(("  features   ", " " * 13))]
    assert len(features) > 1
    assert all(len(line) <= 100 for line in features)
    assert any(" BTC)" in line for line in page if line.startswith("  channels   "))


def test_exit_code_1_for_what_is_not_there(small: Path) -> None:
    for what in ("1x2x3", "5", "99999999999999999999999", "nobody", "02" * 33, ""):
        found = run("show", small, what, "--json")
        assert (found.exit_code, found.stdout) == (1, "")
        assert "no channel and no node is called" in found.stderr


def test_a_packed_describegraph() -> None:
    assert shown("stats", GRAPH_LN_10)["nodes"] == 10
    node_id = "02"
    first = json.loads(unpacked("describegraph_LN_10.json"))["nodes"][0]
    found = shown("show", GRAPH_LN_10, first["pub_key"])
    assert found["alias"] == first["alias"]
    assert found["node_id"].startswith(node_id[:1])


def test_a_reader_that_leaves_ends_it_quietly(small: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "triolight.cli", "graph", "stats", str(small)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait()
        assert process.returncode == 141


def test_a_gossip_store_that_is_written_anew_while_it_is_read_is_followed(tmp_path: Path) -> None:
    path, fresh = tmp_path / "gossip_store", tmp_path / "fresh"

    def record(body: bytes) -> bytes:
        head = (0x2000).to_bytes(2, "big") + len(body).to_bytes(2, "big")
        return head + crc32c_of_all([body], [0])[0].to_bytes(4, "big") + bytes(4) + body

    front = b"\x10" + record((4107).to_bytes(2, "big") + bytes(range(32))) + record(channel())
    goes_on = (4105).to_bytes(2, "big") + len(front).to_bytes(8, "big") + bytes(range(32))
    path.write_bytes(b"\x10" + record(channel()) + record(goes_on))
    fresh.write_bytes(front + record(update()))
    with Reading(path) as reading:
        name, items = reading.items()
        assert (name, next(items)) == ("gossip_store", About(version=16))
        fresh.rename(path)
        assert [one.raw for one in items if isinstance(one, Signed)] == [channel(), update()]


def test_pictures_of_any_file(small: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    line = shown("plot", GRAPH_LN_10, "-o", tmp_path / "out")
    assert (line["event"], line["pictures"]) == (
        "plotted",
        ["degrees", "capacities", "addresses", "features", "ages"],
    )
    assert {one.name for one in (tmp_path / "out").iterdir()} == {*line["files"]}
    assert "n = 10 nodes" in (tmp_path / "out" / "degrees.svg").read_text()
    small.write_bytes(b"".join(write_gsp([channel()])))
    found = run("plot", small, "-o", tmp_path / "small", "--csv")
    assert found.stdout == f"{tmp_path / 'small' / 'index.html'}: 1 picture\n"
    assert (tmp_path / "small" / "degrees.csv").read_text() == "curve,channels,share\nnodes,1,1.0\n"
    found = run("plot", small, "-o", tmp_path / "small", "--chain", "bitcoin")
    assert "nothing that could be drawn is in it" in found.stdout
    assert run("plot", tmp_path / "nothing", "-o", tmp_path / "out").exit_code == 2
    assert "No such file" in run("plot", small, "-o", tmp_path / "no" / "where").stderr


def test_pictures_without_matplotlib(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else find(name))
    found = run("plot", small, "-o", tmp_path / "out")
    assert (found.exit_code, found.stdout) == (2, "")
    assert "pip install 'triolight[plot]'" in found.stderr
