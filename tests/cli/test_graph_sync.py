"""``triolight graph sync`` as its users have it: a process, a file, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import gossip, identity
from tests.support.chains import Asked, Chain, Output, Reply, serving
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, lines_of
from triolight import NullLogger, open_peers
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.wire import ShortChannelId


@asynccontextmanager
async def a_node_with_a_graph() -> AsyncIterator[str]:
    graph, stamp = NetworkGraph(REGTEST), int(time.time()) - 5000
    for number in range(20):
        scid = ShortChannelId.of(200 + number, 1, 0)
        graph.load(gossip.channel(scid), [gossip.update(scid, 0, stamp), gossip.update(scid, 1, stamp)])
    serving = P2PGossipSync(graph, policy=GossipPolicy(relay_unchecked=True))
    async with open_peers(b"\x01" * 32, route_handler=serving, networks="regtest", logger=NullLogger()) as there:
        (listener,) = await there.listen(0, host="127.0.0.1")
        yield f"{identity(1).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"


async def sync(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            [*COMMAND, "graph", "sync", *map(str, arguments)], capture_stderr=True, check=False, **options
        )


async def test_a_graph_is_fetched_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with a_node_with_a_graph() as node:
        done = await sync(path, node, "--chain", "regtest", "--json", capture_stdout=True)
        assert (done.returncode, done.stderr) == (0, b"")
        line = json.loads(done.stdout.splitlines()[-1])
        assert (line["event"], line["channels"], line["updates"], line["complete"]) == ("synced", 20, 40, True)
        # The chain is the file's now.
        again = await sync(path, node, capture_stdout=True)
        assert again.stdout.startswith(b"20 channels, 40 updates, 2 nodes; complete after ")
    shown = await trio.run_process([*COMMAND, "graph", "stats", str(path), "--json"], capture_stdout=True)
    assert json.loads(shown.stdout.splitlines()[-1])["channels"] == 20


async def test_exit_code_3_where_nobody_is(tmp_path: Path) -> None:
    done = await sync(tmp_path / "graph.db", f"{identity(1).hex()}@127.0.0.1:1", capture_stdout=True)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"127.0.0.1:1" in done.stderr


async def test_dials_go_through_a_proxy(tmp_path: Path) -> None:
    async with a_node_with_a_graph() as node:
        done = await sync(
            tmp_path / "graph.db", node, "--chain", "regtest", "--proxy", "socks5://127.0.0.1:1", capture_stdout=True
        )
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"127.0.0.1:1" in done.stderr


async def test_exit_code_2_for_a_file_of_something_else_and_without_nodes(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    path.write_text("a letter")
    async with a_node_with_a_graph() as node:
        done = await sync(path, node, "--chain", "regtest")
    assert done.returncode == 2
    assert str(path).encode() in done.stderr
    assert path.read_text() == "a letter"
    done = await sync(tmp_path / "other.db")
    assert done.returncode == 2
    assert b"nobody to ask: name nodes" in done.stderr


async def test_exit_code_6_where_not_all_of_it_came(tmp_path: Path) -> None:
    async with open_peers(b"\x01" * 32, networks="regtest", logger=NullLogger()) as silent:
        (listener,) = await silent.listen(0, host="127.0.0.1")
        node = f"{identity(1).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"
        done = await sync(tmp_path / "graph.db", node, "--chain", "regtest", "--seconds", "1.5", capture_stdout=True)
    assert done.returncode == 6
    assert b"incomplete" in done.stdout


async def test_outputs_are_looked_up(tmp_path: Path) -> None:
    """The capacity is in the file then, and a channel whose output is spent is not."""
    path, cookie = tmp_path / "graph.db", tmp_path / ".cookie"
    cookie.write_text("me:secret")
    chain = Chain(height=300)
    for number in range(20):
        chain.outputs[200 + number, 1] = [Output(gossip.SCRIPT, "0.0123", spent=number == 3)]
    async with a_node_with_a_graph() as node, serving(chain.rpc) as server:
        url = f"bitcoind+http://127.0.0.1:{server.port}"
        arguments = "--chain", "regtest", "--utxo", url, "--utxo-auth", cookie, "--json"
        done = await sync(path, node, *arguments, capture_stdout=True)
        assert (done.returncode, done.stderr) == (0, b"")
    line = json.loads(done.stdout.splitlines()[-1])
    assert (line["channels"], line["updates"], {*line["rejected"]}) == (19, 38, {"spent"})
    shown = await trio.run_process([*COMMAND, "graph", "show", str(path), "200x1x0", "--json"], capture_stdout=True)
    channel = json.loads(shown.stdout)
    assert (channel["capacity_sat"], channel["checked"]) == (1_230_000, "output")


async def test_what_was_believed_on_signatures_is_looked_up_later(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    chain = Chain(height=300)
    for number in range(20):
        chain.outputs[200 + number, 1] = [Output(gossip.SCRIPT, "0.0123", spent=number == 3)]
    async with a_node_with_a_graph() as node, serving(chain.rest) as server:
        done = await sync(path, node, "--chain", "regtest", capture_stdout=True)
        assert done.stdout.endswith(b"; signatures only: no output was looked up (--utxo)\n")
        shown = await trio.run_process([*COMMAND, "graph", "stats", str(path)], capture_stdout=True)
        assert b"signatures only: no output was looked up" in shown.stdout
        done = await sync(path, node, "--utxo", f"bitcoind+rest://127.0.0.1:{server.port}", capture_stdout=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.endswith(b"; 19 outputs confirmed, 1 spent\n")
    shown = await trio.run_process([*COMMAND, "graph", "stats", str(path), "--json"], capture_stdout=True)
    found = json.loads(shown.stdout)
    assert found["checked"] == {"output": 19, "spent": 1, "signatures": 0, "unknown": 0}
    assert found["capacity_sat"] == 19 * 1_230_000


async def test_exit_code_6_where_a_chain_stops_to_answer(tmp_path: Path) -> None:
    chain = Chain(height=300)
    async with a_node_with_a_graph() as node, serving(chain.rpc) as server:

        def until_asked_for_a_block(asked: Asked) -> Reply:
            return Reply(500, b"no") if asked.call[0] == "getblock" else chain.rpc(asked)

        server.answer = until_asked_for_a_block
        url = f"http://127.0.0.1:{server.port}"
        done = await sync(
            tmp_path / "graph.db", node, "--chain", "regtest", "--utxo", url, "--json", capture_stdout=True
        )
    line = json.loads(done.stdout)
    assert (done.returncode, line["channels"], line["complete"]) == (6, 0, False)
    assert b": 20 lookups failed; the last one: " in done.stderr


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
async def test_a_follower_keeps_what_it_has(tmp_path: Path, number: signal.Signals, exits: int) -> None:
    path = tmp_path / "graph.db"
    arguments = [*COMMAND, "graph", "sync", str(path), "--follow", "--chain", "regtest", "--json", "-v"]
    async with a_node_with_a_graph() as node:
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process([*arguments, node], stdout=subprocess.PIPE)
            assert process.stdout is not None
            said = lines_of(process.stdout)
            first = json.loads(await anext(said))
            assert (first["event"], first["channels"], first["complete"]) == ("synced", 20, True)
            process.send_signal(number)
            assert json.loads([line async for line in said][-1])["channels"] == 20
            assert await process.wait() == exits


async def test_exit_code_141_for_a_reader_that_has_left(tmp_path: Path) -> None:
    async with a_node_with_a_graph() as node:
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "graph", "sync", str(tmp_path / "graph.db"), node, "--chain", "regtest"],
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            await process.stdout.aclose()
            assert await process.wait() == 141
