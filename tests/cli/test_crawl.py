"""``triolight crawl`` as its users have it: a process, a line a node, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import pytest
import trio
from click.testing import CliRunner

from tests.support import identity
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, lines_of
from triolight import NodeAddress, open_peer_nursery
from triolight.chains import REGTEST
from triolight.cli import cli
from triolight.cli.jobs.found import nodes_of_graph
from triolight.gossip.formats.jsonl import write_jsonl
from triolight.testing import GossipTown

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


@asynccontextmanager
async def a_town(count: int = 4) -> AsyncIterator[tuple[GossipTown, str]]:
    """Nodes on loopback that have announced where they are, and the first one's address. Of a fourth one and all later
    ones nobody is there."""
    town = GossipTown(7, count)
    async with trio.open_nursery() as nursery:
        ports: dict[int, int] = {}

        async def live(number: int, task_status: trio.TaskStatus[None]) -> None:
            async with open_peer_nursery(town.manager(number)) as peers:
                (listener,) = await peers.listen(0, host="127.0.0.1")
                ports[number] = int(listener.socket.getsockname()[1])
                task_status.started()
                await trio.sleep_forever()

        for number in range(count):
            if number < 3:
                await nursery.start(live, number)
            town.announce(number, [("127.0.0.1" if number < 3 else f"127.0.0.{number}", ports.get(number, 1))])
        yield town, f"{town.ids[0].hex()}@127.0.0.1:{ports[0]}"
        nursery.cancel_scope.cancel()


async def crawl(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            [*COMMAND, "crawl", *map(str, arguments)], capture_stdout=True, capture_stderr=True, check=False, **options
        )


async def test_a_network_is_walked(tmp_path: Path) -> None:
    path = tmp_path / "crawl.db"
    async with a_town() as (town, node):
        done = await crawl(path, node, "--chain", "regtest", "--json")
        assert (done.returncode, done.stderr) == (0, b"")
        *nodes, last = map(json.loads, done.stdout.splitlines())
        assert [one["node_id"] for one in nodes] == [town.ids[0].hex()]  # the others are private
        assert (last["event"], last["found"], last["reached"]) == ("crawled", 4, 1)
        # Named nodes may be dialled at once, whatever the record says; the host of all of them each ten seconds.
        done = await crawl(path, node, "--chain", "regtest", "--allow-private", "--max-nodes", "2", "--rate", "50")
        assert done.returncode == 0
        *nodes, last = done.stdout.decode().splitlines()
        outcomes = {line.split()[0]: line.split()[1:3] for line in nodes}
        assert len(outcomes) == 2
        assert outcomes[town.ids[0].hex()] == [node.partition("@")[2], "reached"]
        assert {*outcomes} < {one.hex() for one in town.ids}
        assert last.startswith("4 nodes found, ")
    shown = await trio.run_process([*COMMAND, "record", "stats", str(path), "--json"], capture_stdout=True)
    assert json.loads(shown.stdout)["answers"] > 0


async def test_what_is_told_of_a_node(tmp_path: Path) -> None:
    async with a_town() as (town, node):
        done = await crawl(tmp_path / "crawl.db", node, "--chain", "regtest", "--json")
    (one, _) = map(json.loads, done.stdout.splitlines())
    assert (one["event"], one["outcome"], one["channels"]) == ("node", "reached", 4)
    assert (one["address"], one["alias"]) == (node.partition("@")[2], "node 0")
    assert one["node_id"] == town.ids[0].hex()
    assert bytes.fromhex(one["features"])
    assert one["rtt_ms"] > 0
    assert one["took_ms"] >= one["rtt_ms"]


async def test_exit_code_3_where_nobody_is(tmp_path: Path) -> None:
    done = await crawl(tmp_path / "crawl.db", f"{identity(1).hex()}@127.0.0.1:1", "--json")
    assert done.returncode == 3
    one, last = map(json.loads, done.stdout.splitlines())
    assert (one["outcome"], one["features"], one["rtt_ms"]) == ("TCP_FAILED", None, None)
    assert (last["found"], last["reached"]) == (1, 0)


async def test_exit_code_2_for_what_is_no_record_and_no_number(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("a letter")
    node = f"{identity(1).hex()}@127.0.0.1:1"
    done = await crawl(path, node)
    assert (done.returncode, done.stdout) == (2, b"")
    assert f"Invalid value for RECORD: {path}: no SQLite file, and so no record".encode() in done.stderr
    (tmp_path / "ids").write_text(f"{identity(1).hex()}  # has asked for it\n02ab\n")
    found = CliRunner().invoke(cli, ["crawl", str(path), node, "--exclude", str(tmp_path / "ids")])
    assert found.exit_code == 2
    assert "ids, line 2: no node id: '02ab'" in found.stderr
    for wrong in (["--rate", "0"], ["--again", "5"], ["--max-nodes", "0"], ["--chain", "dogecoin"]):
        assert CliRunner().invoke(cli, ["crawl", str(path), node, *wrong]).exit_code == 2
    found = CliRunner().invoke(cli, ["crawl", str(tmp_path / "none")])
    assert found.exit_code == 2
    assert "nobody to begin with: name nodes" in found.stderr


def test_whom_it_would_dial(tmp_path: Path) -> None:
    """Named ones, those of a graph, and those of a record; none that is excluded. Nothing is made, nobody dialled."""
    town = GossipTown(7, 4)
    for number in range(4):
        town.announce(number, [(f"8.8.8.{number}", 9735)] if number < 3 else [("10.0.0.1", 9735)])
    graph = tmp_path / "graph.jsonl"
    said = [one.announcement.encode() for one in town.graph.channels.values()]
    said += [one.announcement.encode() for one in town.graph.nodes.values() if one.announcement is not None]
    graph.write_bytes(b"".join(write_jsonl(said)))
    (tmp_path / "ids").write_text(town.ids[1].hex())
    node = f"{identity(1).hex()}@127.0.0.1:1"
    options = ["--from-graph", str(graph), "--exclude", str(tmp_path / "ids"), "--chain", "regtest"]
    found = CliRunner().invoke(cli, ["crawl", str(tmp_path / "crawl.db"), node, *options, "--dry-run", "--json"])
    assert found.exit_code == 0
    *dials, last = map(json.loads, found.stdout.splitlines())
    assert dials[0] == {"event": "would dial", "node_id": identity(1).hex(), "address": "127.0.0.1:1"}
    assert {one["address"] for one in dials[1:]} == {"8.8.8.0:9735", "8.8.8.2:9735"}
    assert last == {"event": "planned", "nodes": 3}
    assert not (tmp_path / "crawl.db").exists()


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
async def test_a_signal_ends_it_whole(tmp_path: Path, number: signal.Signals, exits: int) -> None:
    async with a_town() as (_, node):
        slowly = ["--rate", "0.01"]
        arguments = [str(tmp_path / "crawl.db"), node, "--chain", "regtest", "--allow-private", "--json", *slowly]
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process([*COMMAND, "crawl", *arguments], stdout=subprocess.PIPE)
            said = lines_of(process.stdout)
            assert json.loads(await anext(said))["event"] == "node"
            process.send_signal(number)
            last = json.loads([line async for line in said][-1])
            assert (last["event"], last["reached"]) == ("crawled", 1)
            assert await process.wait() == exits
    assert not (tmp_path / "crawl.db-wal").exists()


async def test_exit_code_141_for_a_reader_that_has_left(tmp_path: Path) -> None:
    async with a_town() as (_, node):
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "crawl", str(tmp_path / "crawl.db"), node, "--chain", "regtest"], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            await process.stdout.aclose()
            assert await process.wait() == 141


def test_who_may_be_dialled_of_a_graph(tmp_path: Path) -> None:
    town, path = GossipTown(7, 4), tmp_path / "graph.jsonl"
    town.announce(0, [("8.8.8.8", 1), ("10.0.0.1", 2)])
    town.announce(1, [(ONION, 3)])
    town.announce(2, [("node.example", 4)])
    said = [one.announcement.encode() for one in town.graph.channels.values()]
    said += [one.announcement.encode() for one in town.graph.nodes.values() if one.announcement is not None]
    path.write_bytes(b"".join(write_jsonl(said)))
    public, private = NodeAddress(town.ids[0], "8.8.8.8", 1), NodeAddress(town.ids[0], "10.0.0.1", 2)
    onion, name = NodeAddress(town.ids[1], ONION, 3), NodeAddress(town.ids[2], "node.example", 4)
    for allowed, onions, nodes in (
        (False, False, {(public,)}),
        (False, True, {(public,), (onion,)}),
        (True, False, {(public, private), (name,)}),
    ):
        found = nodes_of_graph(path, None, private=allowed, onions=onions)
        assert {*found.nodes} == nodes
        assert found.chain == REGTEST.chain_hash
    path.write_text("a letter")
    with pytest.raises(click.BadParameter, match=r"graph\.jsonl"):
        nodes_of_graph(path, None, private=False, onions=False)
