"""``triolight record start`` as its users have it: a process, a file, and exit codes."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support import gossip, identity
from tests.support.processes import COMMAND, PATIENCE, SIGNALS, lines_of, without_rights
from triolight import NullLogger, PeerClosed, PeerConnected, open_peer_nursery, open_peers
from triolight.chains import REGTEST
from triolight.cli import cli
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.services import open_graph_store, unread_gossip
from triolight.shell.anywhere import AnyPeer
from triolight.testing import GossipTown
from triolight.wire import ShortChannelId

KILLS = int(os.environ.get("TRIOLIGHT_KILLS", "1"))
"""Of a process that records. CI wants more."""


@asynccontextmanager
async def a_node_with_a_graph(channels: int = 20) -> AsyncIterator[str]:
    graph, stamp = NetworkGraph(REGTEST), int(time.time()) - 5000
    for number in range(channels):
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
    sizes = ["--max-size", "80K", "--rotate", "1K", "--rotate", "1d", "--seconds", str(PATIENCE)]
    async with a_node_with_a_graph() as node:
        done = await start(path, node, "--chain", "regtest", *sizes, capture_stdout=True)
        assert done.returncode == 0
        assert b"which is all that it may have" in done.stderr
        assert path.with_name("seen.2.db").exists()
        # The next one has nothing to do.
        done = await start(path, node, "--chain", "regtest", *sizes, capture_stdout=True)
        assert done.returncode == 0
        assert b"which is all that it may have" in done.stderr
        assert done.stdout.startswith(b"0 sightings of 0 messages from 0 peers")


async def test_nodes_come_from_a_file_or_from_standard_input(tmp_path: Path) -> None:
    async with a_node_with_a_graph() as node:
        nodes = f"# nodes of mine\n\n{identity(3).hex()}@127.0.0.1:1\n{node}  # the one that is there\n"
        options = ["--peers", "-", "--chain", "regtest", "--seconds", "1.5", "--types", "channel_update", "--no-raw"]
        given = nodes.encode()
        done = await start(tmp_path / "seen.db", *options, "--drop", capture_stdout=True, stdin=given)
    assert done.returncode == 0
    assert done.stderr.splitlines()[0].startswith(f"{identity(3).hex()}@127.0.0.1:1: ".encode())
    assert b"40 sightings of 40 messages from 1 peers" in done.stdout
    assert rows(tmp_path / "seen.db", "SELECT DISTINCT type, raw FROM message") == [(258, None)]


async def test_nodes_of_a_graph_until_so_many_were_reached(tmp_path: Path) -> None:
    town = GossipTown(7, 6)
    async with trio.open_nursery() as nursery:

        async def live(number: int, task_status: trio.TaskStatus[int]) -> None:
            async with open_peer_nursery(town.manager(number)) as peers:
                (listener,) = await peers.listen(0, host="127.0.0.1")
                task_status.started(int(listener.socket.getsockname()[1]))
                await trio.sleep_forever()

        for number in range(6):
            port = await nursery.start(live, number) if number < 3 else 1
            town.announce(number, [("127.0.0.1", 1), ("127.0.0.1", port)])
        async with open_graph_store(tmp_path / "graph.db", town.graph) as store:
            await store.take_everything()
        graph = ["--from-graph", str(tmp_path / "graph.db")]
        options = ["--allow-private", "--count", "2", "--seconds", "1", "--json"]
        done = await start(tmp_path / "seen.db", *graph, *options, capture_stdout=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert json.loads(done.stdout.splitlines()[-1])["peers"] == 2
        # Private ones are nobody's to dial unless that is said.
        done = await start(tmp_path / "seen.db", *graph, capture_stdout=True)
        assert (done.returncode, done.stdout) == (3, b"")
        assert f"{tmp_path / 'graph.db'}: 0 nodes of it were reached, not 10".encode() in done.stderr
        nursery.cancel_scope.cancel()


async def test_exit_code_2_for_a_disk_that_takes_no_more(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    limited = ["sh", "-c", 'ulimit -f 600; exec "$@"', "sh", *COMMAND, "record", "start", str(path)]  # 300 KiB
    # Who measures coverage has a file of their own, which would not be written either.
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    async with a_node_with_a_graph(400) as node:
        with trio.fail_after(PATIENCE):
            done = await trio.run_process(
                [*limited, node, "--chain", "regtest"], capture_stdout=True, capture_stderr=True, check=False, env=env
            )
    assert done.returncode == 2
    assert f"Invalid value for RECORD: {path}: the disk does not take it".encode() in done.stderr
    assert b"Traceback" not in done.stderr
    assert rows(path, "PRAGMA integrity_check") == [("ok",)]
    # It goes on when there is room again.
    async with a_node_with_a_graph() as node:
        done = await start(path, node, "--chain", "regtest", "--seconds", "1.5", capture_stdout=True)
    assert done.returncode == 0
    assert rows(path, "SELECT count(*) > 0 FROM sighting") == [(1,)]


class Talker:
    """Says what nobody has heard yet, to whoever is there, until it is cancelled."""

    def __init__(self) -> None:
        self.said = 0

    async def talk(self, task_status: trio.TaskStatus[str]) -> None:
        options: dict[str, Any] = {"messages": unread_gossip(), "networks": "regtest", "logger": NullLogger()}
        async with open_peers(b"\x01" * 32, **options) as there:
            (listener,) = await there.listen(0, host="127.0.0.1")
            task_status.started(f"{identity(1).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}")
            async with there.events() as events, trio.open_nursery() as nursery:
                async for event in events:
                    if isinstance(event, PeerConnected):
                        nursery.start_soon(self._tell, event.peer)

    async def _tell(self, peer: AnyPeer) -> None:
        raw = gossip.update()
        try:
            while True:
                self.said += 1
                message = raw[:98] + self.said.to_bytes(8, "big") + raw[106:]
                await peer.send(unread_gossip().decode(message))
        except PeerClosed:
            pass


async def test_a_recording_that_is_killed_keeps_all_that_could_be_read(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    talker, before = Talker(), 0
    counted = "SELECT count(*) FROM sighting"
    async with trio.open_nursery() as nursery:
        node = await nursery.start(talker.talk)
        for kill in range(KILLS):
            process = await trio.lowlevel.open_process(
                [*COMMAND, "record", "start", str(path), node, "--chain", "regtest"], stdout=subprocess.DEVNULL
            )
            # Each time at another moment of its life: of a batch, of a transaction, of a checkpoint.
            target, seen = before + 300 + 399 * (kill % 11), before
            with trio.fail_after(PATIENCE):
                while seen < target:
                    await trio.sleep(0.02)
                    with suppress(sqlite3.OperationalError):  # it is not there yet
                        ((seen,),) = rows(path, counted)
                process.kill()
                await process.wait()
            assert rows(path, "PRAGMA integrity_check") == [("ok",)]
            ((before,),) = rows(path, counted)
            assert before >= seen
            # Each has its message and its session, and of what was said nothing is missing before the last one.
            joined = (
                "SELECT count(*), count(DISTINCT raw) FROM sighting s JOIN message m ON m.id = s.message JOIN session c"
            )
            assert rows(path, f"{joined} ON c.id = s.session") == [(before, before)]
            of_last = "SELECT count(*), min(substr(hex(raw), 197, 16)), max(substr(hex(raw), 197, 16)) FROM sighting s"
            last = f"{of_last} JOIN message m ON m.id = s.message WHERE session = (SELECT max(id) FROM session)"
            ((count, first, newest),) = rows(path, last)
            assert count == int(newest, 16) - int(first, 16) + 1
        nursery.cancel_scope.cancel()
    done = await start(path, f"{identity(1).hex()}@127.0.0.1:1")
    assert done.returncode == 3
    assert rows(path, "SELECT why, count(*) FROM gap WHERE lost IS NULL GROUP BY 1") == [("killed", KILLS)]


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
    (tmp_path / "nodes").write_text(f"{node}\nnobody\n")
    for option, value, words in (
        ("--max-size", "10X", "bytes, as 500M or 10G"),
        ("--max-size", "0", "bytes, as 500M or 10G"),
        ("--rotate", "1w", "a span of time, as 1d or 6h, or a size, as 2G"),
        ("--rotate", "0d", "a span of time, as 1d or 6h, or a size, as 2G"),
        ("--types", "ping", "some of channel_announcement, node_announcement, channel_update"),
        ("--peers", str(tmp_path / "nodes"), "nodes, line 2: "),
        ("--peers", str(tmp_path / "nowhere"), "nowhere: No such file"),
        ("--from-graph", str(path), "Invalid value for GRAPH"),
        ("--count", "3", "--count is of the nodes of a graph"),
        ("--backlog", "some", "all, none or a number of seconds"),
        ("--backlog", "-5", "all, none or a number of seconds"),
    ):
        found = CliRunner().invoke(cli, ["record", "start", str(path), node, option, value])
        assert found.exit_code == 2
        assert words in found.stderr
    found = CliRunner().invoke(cli, ["record", "start", str(path)])
    assert found.exit_code == 2
    assert "nobody to hear: name nodes" in found.stderr
    twice = ["--rotate", "1d", "--rotate", "1h"]
    assert CliRunner().invoke(cli, ["record", "start", str(path), node, *twice]).exit_code == 2


@pytest.mark.parametrize("command", ["record start", "crawl"])
def test_exit_code_2_for_files_that_are_none_of_ours(command: str, tmp_path: Path) -> None:
    """The words name the file, and it stays as it is."""
    path, node = tmp_path / "seen.db", f"{identity(1).hex()}@127.0.0.1:1"
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE recipe(name)")
    kinds = [("PRAGMA user_version = 0", "an SQLite file of another program, and no record")]
    kinds.append(("PRAGMA application_id = 0x54524C52; PRAGMA user_version = 1", "SQLite says: no such table"))
    kinds.append(("PRAGMA user_version = 7", "of schema 7, made by a newer triolight; this one reads up to 2"))
    for makes, words in kinds:
        with closing(sqlite3.connect(path)) as file:
            file.executescript(makes)
        before = path.read_bytes()
        found = CliRunner().invoke(cli, [*command.split(), str(path), node])
        assert found.exit_code == 2
        assert f"Invalid value for RECORD: {path}: {words}" in found.stderr
        assert rows(path, "SELECT * FROM recipe") == []
        assert path.read_bytes()[100:] == before[100:]
    with tempfile.TemporaryDirectory() as name:
        with without_rights(Path(name)):
            found = CliRunner().invoke(cli, [*command.split(), f"{name}/seen.db", node])
        assert found.exit_code == 2
        assert f"{name}/seen.db: cannot be written: {name}/seen.db.lock: Permission denied" in found.stderr


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
