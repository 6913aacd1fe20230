"""``triolight record start`` as its users have it: a process, a file, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support import gossip, identity
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, lines_of
from triolight import NullLogger, open_peers
from triolight.chains import REGTEST
from triolight.cli import cli
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


async def start(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(PATIENCE):
        return await trio.run_process(
            [*COMMAND, "record", "start", *map(str, arguments)], capture_stderr=True, check=False, **options
        )


def rows(path: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(path)) as file:
        return file.execute(statement).fetchall()


async def test_what_a_node_says_is_recorded_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    async with a_node_with_a_graph() as node:
        done = await start(path, node, "--chain", "regtest", "--seconds", "3", "--json", capture_stdout=True)
        assert (done.returncode, done.stderr) == (0, b"")
        line = json.loads(done.stdout.splitlines()[-1])
        assert {one: line[one] for one in ("event", "peers", "messages", "sightings")} == {
            "event": "recorded",
            "peers": 1,
            "messages": 60,
            "sightings": 60,
        }
        assert line["bytes"] == path.stat().st_size
        assert line["seconds"] >= 3
        # News alone: it has none.
        again = await start(
            path, node, "--chain", "regtest", "--seconds", "1.5", "--backlog", "none", capture_stdout=True
        )
        assert again.returncode == 6
        assert again.stdout.splitlines()[-1].startswith(b"0 sightings of 0 messages from 1 peers in ")
    assert rows(path, "SELECT count(*) FROM message") == [(60,)]
    assert rows(path, "SELECT DISTINCT asked FROM sighting") == [(2,)]
    shown = await trio.run_process([*COMMAND, "record", "stats", str(path), "--json"], capture_stdout=True)
    assert json.loads(shown.stdout.splitlines()[-1])["gaps"] == {"not running": 1}


async def test_a_node_that_says_nothing_keeps_nobody_from_being_recorded(tmp_path: Path) -> None:
    (deaf,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    silent = f"{identity(2).hex()}@127.0.0.1:{deaf.socket.getsockname()[1]}"
    nobody = f"{identity(3).hex()}@127.0.0.1:1"
    async with deaf, a_node_with_a_graph() as node:
        nodes = [silent, nobody, node]
        done = await start(tmp_path / "seen.db", *nodes, "--chain", "regtest", "--seconds", "3", capture_stdout=True)
    assert done.returncode == 0
    assert b"60 sightings of 60 messages from 1 peers" in done.stdout
    assert done.stderr.splitlines()[0].startswith(nobody.encode())


async def test_on_a_terminal_it_says_how_it_goes(tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    async with a_node_with_a_graph() as node:
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "record", "start", str(tmp_path / "seen.db"), node, "--chain", "regtest"],
                stdout=subprocess.DEVNULL,
                stderr=theirs,
            )
            os.close(theirs)
            said = ""
            while "60 sightings of 60 messages, 0 to be written" not in said:
                said += (await trio.to_thread.run_sync(os.read, ours, 4096)).decode()
            process.terminate()
            assert await process.wait() == 143
    os.close(ours)
    assert "/s, 1 peers, " in said


async def test_a_size_ends_it_and_segments_are_files(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    sizes = ["--max-size", "80K", "--segment-size", "1K", "--rotate", "1d", "--seconds", str(PATIENCE)]
    async with a_node_with_a_graph() as node:
        done = await start(path, node, "--chain", "regtest", *sizes, capture_stdout=True)
    assert done.returncode == 0
    assert b"which is all that it may have" in done.stderr
    assert path.with_name("seen.2.db").exists()


async def test_exit_code_3_where_nobody_is(tmp_path: Path) -> None:
    done = await start(tmp_path / "seen.db", f"{identity(1).hex()}@127.0.0.1:1", capture_stdout=True)
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"127.0.0.1:1" in done.stderr


async def test_exit_code_6_where_nobody_says_anything(tmp_path: Path) -> None:
    async with open_peers(b"\x01" * 32, networks="regtest", logger=NullLogger()) as silent:
        (listener,) = await silent.listen(0, host="127.0.0.1")
        node = f"{identity(1).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}"
        done = await start(tmp_path / "seen.db", node, "--chain", "regtest", "--seconds", "1.5", capture_stdout=True)
    assert done.returncode == 6
    assert b"0 sightings" in done.stdout


async def test_exit_code_2_for_what_is_no_record_and_no_size(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_text("a letter")
    node = f"{identity(1).hex()}@127.0.0.1:1"
    done = await start(path, node)
    assert done.returncode == 2
    assert f"Invalid value for RECORD: {path}: no SQLite file, and so no record".encode() in done.stderr
    assert path.read_text() == "a letter"
    for option, value, words in (
        ("--max-size", "10X", "bytes, as 500M or 10G"),
        ("--max-size", "0", "bytes, as 500M or 10G"),
        ("--rotate", "1w", "a span of time, as 1d or 6h"),
        ("--backlog", "some", "all, none or a number of seconds"),
        ("--backlog", "-5", "all, none or a number of seconds"),
    ):
        found = CliRunner().invoke(cli, ["record", "start", str(path), node, option, value])
        assert found.exit_code == 2
        assert words in found.stderr
    found = CliRunner().invoke(cli, ["record", "start", str(path)])
    assert found.exit_code == 2
    assert "nobody to hear: name nodes" in found.stderr


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
async def test_a_signal_ends_it_whole(tmp_path: Path, number: signal.Signals, exits: int) -> None:
    path = tmp_path / "seen.db"
    async with a_node_with_a_graph() as node:
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "record", "start", str(path), node, "--chain", "regtest", "--json"], stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            said = lines_of(process.stdout)
            assert json.loads(await anext(said)) == {"event": "recording", "record": str(path)}
            process.send_signal(number)
            line = json.loads([line async for line in said][-1])
            assert (line["event"], line["peers"]) == ("recorded", 1)
            assert await process.wait() == exits
    assert rows(path, "SELECT count(*) FROM sighting") == [(line["sightings"],)]
    assert rows(path, "SELECT count(*) FROM session WHERE closed_ns IS NULL") == [(0,)]
    assert rows(path, "SELECT key FROM meta WHERE key = 'open'") == []
    assert not path.with_name("seen.db-wal").exists()


async def test_exit_code_141_for_a_reader_that_has_left(tmp_path: Path) -> None:
    async with a_node_with_a_graph() as node:
        with trio.fail_after(PATIENCE):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "record", "start", str(tmp_path / "seen.db"), node, "--chain", "regtest"],
                stdout=subprocess.PIPE,
            )
            assert process.stdout is not None
            await process.stdout.aclose()
            assert await process.wait() == 141
