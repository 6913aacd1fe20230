"""``triolight record start --engine`` as its users have it: several processes, one record, and signals."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trio
from click.testing import CliRunner

from tests.support import identity, make_manager
from tests.support.engines import Server, open_server
from tests.support.processes import PATIENCE, Running
from tests.support.project import ROOT
from tests.support.shards import heard, numbered, rows
from triolight import PeerClosed, PeerConnected, open_peer_nursery
from triolight.cli.group import cli
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.streams import Used
from triolight.services import unread_gossip
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

GUIDE = (ROOT / "docs" / "guide" / "fleet.md").read_text()
NODE = f"{identity(2).hex()}@127.0.0.1:9735"


@pytest.fixture
def engine() -> Iterator[Server]:
    with open_server() as server:
        yield server


class Nodes:
    """Each says numbers to whoever is connected, from 0 on, as long as it is told to."""

    def __init__(self) -> None:
        self.peers: dict[int, PeerNursery] = {}
        self.addresses: list[str] = []
        self.said: dict[int, int] = {}
        """How many numbers each has said to whoever is connected now."""
        self.connections = 0
        self.stopped = False

    async def run(self, number: int, *, task_status: trio.TaskStatus[None]) -> None:
        async with (
            open_peer_nursery(make_manager(number, messages=unread_gossip())) as peers,
            peers.subscribe(PeerConnected) as inbox,
            trio.open_nursery() as nursery,
        ):
            (listener,) = await peers.listen(0, host="127.0.0.1")
            self.addresses.append(f"{identity(number).hex()}@127.0.0.1:{listener.socket.getsockname()[1]}")
            self.peers[number] = peers
            task_status.started()
            async for peer, _ in inbox:
                self.connections += 1
                nursery.start_soon(self._say, number, peer)

    async def _say(self, number: int, peer: Peer) -> None:
        said = 0
        with suppress(PeerClosed):
            while not self.stopped:
                await peer.send(*(unread_gossip().decode(numbered(number, said + one)) for one in range(5)))
                said += 5
                self.said[number] = said
                await trio.sleep(0.01)

    @property
    def connected(self) -> int:
        return sum(bool(peers.peers) for peers in self.peers.values())


@asynccontextmanager
async def open_nodes(count: int) -> AsyncGenerator[Nodes]:
    nodes = Nodes()
    async with trio.open_nursery() as nursery:
        for number in range(10, 10 + count):
            await nursery.start(nodes.run, number)
        yield nodes
        nursery.cancel_scope.cancel()


async def becomes(condition: Callable[[], bool]) -> None:
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.05)  # other processes have no event for us


async def told(running: Running, *words: str) -> Any:
    return json.loads(await trio.to_thread.run_sync(running.line, *words))


@pytest.mark.scale
async def test_three_processes_of_which_two_are_killed(engine: Server, tmp_path: Path) -> None:
    """A worker, then the writer, with SIGKILL: of each connection is there what was said from the first on, without a
    hole and nothing twice; of those that go on, all of it."""
    await engine.answers()
    path = tmp_path / "seen.db"
    async with open_nodes(12) as nodes:
        asked = ("--engine", engine.url, "--lease", "1", "--json", "--backlog", "none")
        with (
            Running("record", "start", path, *nodes.addresses, *asked, "--id", "one") as one,
            Running("record", "start", "-", *nodes.addresses, *asked, "--id", "two") as two,
        ):
            assert (await told(one, "writing"))["record"] == str(path)
            await told(two, "recording")
            with Running("record", "start", path, *nodes.addresses, *asked, "--id", "three") as three:
                await told(three, "recording")
                await becomes(lambda: nodes.connected == 12)
                await trio.sleep(1)
                two.interrupt(signal.SIGKILL)
                await becomes(lambda: nodes.connected < 12)
                await becomes(lambda: nodes.connected == 12)
                one.interrupt(signal.SIGKILL)
                assert (await told(three, "writing"))["record"] == str(path)
                await becomes(lambda: nodes.connected == 12)
                await trio.sleep(1)
                nodes.stopped = True
                await trio.sleep(1)
                three.interrupt()
                code, lines = await trio.to_thread.run_sync(three.finish)
                assert (code, json.loads(lines[-1])["event"]) == (130, "recorded")
    found = heard(path)
    assert all(said == [*range(len(said))] for said in found.values())
    last = {node_id: said for (_, node_id), said in sorted(found.items())}
    assert {node_id: len(said) for node_id, said in last.items()} == {
        identity(number): said for number, said in nodes.said.items()
    }
    # Of dead workers it is known that something may be missing; between two writers nothing is.
    gaps = rows(path, "SELECT g.why, w.name FROM gap g LEFT JOIN worker w ON w.id = g.worker ORDER BY w.name")
    assert [one for one in gaps if one[0] != "held"] == [("killed", "one"), ("killed", "two")]
    assert rows(path, "SELECT count(*) FROM session WHERE closed_ns IS NULL") == [(0,)]


@pytest.mark.scale
async def test_one_records_until_a_signal_and_another_goes_on(engine: Server, tmp_path: Path) -> None:
    """What was heard is in the record when the process has ended; under the rules of the guide."""
    (rule,) = re.findall(r"^user writer-b on #HASH (.*)$", GUIDE, re.MULTILINE)
    (engine.directory / "users").write_text(f"user default off\nuser collector on >secret {rule}\n")
    engine.kill()
    engine.start("--aclfile", "users")
    environment = {**os.environ, "TRIOLIGHT_ENGINE_PASSWORD": "secret"}
    path = tmp_path / "seen.db"
    async with open_nodes(1) as nodes:
        url = engine.url.replace("unix://", "unix://collector@")
        asked = (*nodes.addresses, "--engine", url, "--lease", "1", "--json", "--backlog", "none")
        for number, exits in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            with Running("record", "start", path, *asked, env=environment) as one:
                await told(one, "recording")
                await becomes(lambda: nodes.connected == 1 and nodes.said.get(10, 0) > 20)
                one.interrupt(number)
                code, lines = await trio.to_thread.run_sync(one.finish)
                assert code == exits
                line = json.loads(lines[-1])
                assert line["event"] == "recorded"
            assert line["sightings"] == len([*heard(path).values()][-1]) > 20
            nodes.said.clear()
    assert [said == [*range(len(said))] for said in heard(path).values()] == [True, True]
    assert rows(path, "SELECT why FROM session") == [("the recording ended",)] * 2
    assert rows(path, "SELECT * FROM gap") == []


class Signalling(MemoryBus):
    """An engine in this process, whatever its URL. Once something was appended, a signal comes."""

    sent = False

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, fleet: str, **options: Any) -> AsyncGenerator[MemoryBus]:
        assert (fleet, options["part"]) == ("gossip", "record")
        yield cls(MemoryEngine())

    async def append_up(self, front: str, token: bytes, first_seq: int, count: int, data: bytes) -> Used:
        used = await super().append_up(front, token, first_seq, count, data)
        if not self.sent:
            self.sent = True
            signal.raise_signal(signal.SIGTERM)
        return used


@pytest.mark.parametrize("as_json", [False, True])
def test_what_it_says(as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("triolight.cluster.redis.open_bus", Signalling.open)
    path = tmp_path / "seen.db"
    asked = [str(path), NODE, "--engine", "redis://127.0.0.1:1", "--fleet", "gossip", "--id", "one"]
    done = CliRunner().invoke(cli, ["record", "start", *asked, *(["--json"] if as_json else [])])
    assert (done.exit_code, done.stderr) == (143, "")
    *lines, last = done.stdout.splitlines()
    if as_json:
        recording, writing = sorted(map(json.loads, lines), key=lambda one: one["event"])
        recorded = json.loads(last)
        assert writing == {"event": "writing", "record": str(path)}
        assert recording == {"event": "recording", "fleet": "gossip", "id": "one"}
        assert 0 <= recorded.pop("seconds") < PATIENCE
        assert recorded == {
            "event": "recorded",
            "fleet": "gossip",
            "id": "one",
            "sightings": 0,
            "held_seconds": 0,
            "dropped": 0,
        }
    else:
        assert sorted(lines) == [
            "recording for the fleet gossip as one, until Ctrl-C or --seconds",
            f"writes the record: {path}",
        ]
        assert last.startswith("0 sightings in ")
    assert rows(path, "SELECT name, ended_ns IS NULL FROM worker") == [("one", 0)]


@pytest.mark.scale
async def test_exit_code_2_where_the_record_is_none(engine: Server, tmp_path: Path) -> None:
    await engine.answers()
    path = tmp_path / "seen.db"
    path.write_text("no record" * 1000)
    with Running("record", "start", path, NODE, "--engine", engine.url, "--lease", "1") as one:
        code, _ = await trio.to_thread.run_sync(one.finish)
        assert code == 2
        assert "no SQLite file" in one.errors


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-", NODE], "--engine"),
        (["seen.db", NODE, "--id", "one"], "--id is of several"),
        (["seen.db", NODE, "--engine", "redis://127.0.0.1", "--max-size", "1G"], "--rotate"),
        (["seen.db", NODE, "--engine", "http://127.0.0.1"], "not http"),
        (["seen.db", NODE, "--engine", "redis://user:password@127.0.0.1"], "never on a command line"),
    ],
)
def test_exit_code_2_for_the_command_line(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["record", "start", *arguments])
    assert done.exit_code == 2
    assert words in done.stderr
    assert not Path("seen.db").exists()


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", dict[str, None]().get)
    done = CliRunner().invoke(cli, ["record", "start", "-", NODE, "--engine", "redis://127.0.0.1"])
    assert done.exit_code == 2
    assert "pip install 'triolight[cluster]'" in done.stderr
