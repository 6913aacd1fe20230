"""``triolight crawl`` as its users have it: a process, a line a node, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support import identity
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, lines_of
from tests.support.towns import Town
from triolight import open_peer_nursery
from triolight.cli import cli


@asynccontextmanager
async def a_town(count: int = 4) -> AsyncIterator[tuple[Town, str]]:
    """Nodes on loopback that have announced where they are, and the first one's address. Of a fourth one and all later
    ones nobody is there."""
    town = Town(count)
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
        assert nodes[0].split()[:3] == [town.ids[0].hex(), node.partition("@")[2], "reached"]
        assert nodes[1].split()[0] in {one.hex() for one in town.ids[1:]}
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
    for wrong in (["--rate", "0"], ["--max-nodes", "0"], ["--chain", "dogecoin"]):
        assert CliRunner().invoke(cli, ["crawl", str(path), node, *wrong]).exit_code == 2
    found = CliRunner().invoke(cli, ["crawl", str(path)])
    assert found.exit_code == 2
    assert "nobody to begin with: name nodes" in found.stderr


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
