"""``triolight front`` as its users have it: a process that takes a fleet's peers."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import trio
from click.testing import CliRunner

from tests.support import MESSAGES, ListLogger, Note, identity, make_manager, port_of, secret
from tests.support.engines import Server, open_server
from tests.support.gossip import channel, scid, update
from tests.support.processes import SIGNALS, Running, run, unread
from tests.support.scraping import ask
from triolight import DisconnectCode, Peer, PeerConnected, PeerDisconnected, Side, open_peer_nursery
from triolight.chains import REGTEST
from triolight.cli.group import cli
from triolight.cluster import open_back
from triolight.gossip import ChannelAdded, NetworkGraph
from triolight.messages import BOLT, QueryChannelRange, ReplyChannelRange
from triolight.services import open_graph_store
from triolight.services.database import SIGNATURES, Batch, GraphDatabase

FIRST, SECOND = scid(1), scid(2)


@pytest.fixture
def engine() -> Iterator[Server]:
    with open_server() as server:
        yield server


def key(folder: Path, number: int = 1) -> Path:
    path = folder / f"key{number}"
    path.write_text(secret(number).hex())
    path.chmod(0o600)
    return path


async def test_a_front_takes_peers_for_a_back(engine: Server, tmp_path: Path) -> None:
    await engine.answers()
    asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--port", "0", "--id", "one", "--json")
    with Running(*asked) as front:
        async with (
            open_back(engine.url, identity(1), messages=MESSAGES, lease=1) as back,
            back.subscribe(Note) as inbox,
            open_peer_nursery(make_manager(2)) as far,
        ):
            first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
            assert first["node_id"] == identity(1).hex()
            ours = await far.connect(f"{first['node_id']}@{first['host']}:{first['port']}")
            await ours.send(Note(payload=b"through a front"))
            peer, message = await anext(inbox)
            assert (peer.front, message) == ("one", Note(payload=b"through a front"))
            code, lines, errors = await trio.to_thread.run_sync(run, "fleet", "show", "--engine", engine.url, "--json")
            assert (code, errors) == (0, "")
            shown = json.loads(lines[0])
            assert (shown["event"], shown["node_id"], shown["claims"]) == ("fleet", identity(1).hex(), 1)
            assert [one["id"] for one in shown["fronts"]] == ["one"]
        over = json.loads(await trio.to_thread.run_sync(front.line, "event"))
        assert over["event"] == "back_lost"
        front.interrupt()
        assert (await trio.to_thread.run_sync(front.finish))[0] == 130


async def test_a_graph_that_another_process_writes_and_what_is_seen_of_a_front(engine: Server, tmp_path: Path) -> None:
    """It answers from the file and follows it; its health port and its metrics say how it is."""
    await engine.answers()
    path = tmp_path / "graph.db"
    async with open_graph_store(path, NetworkGraph(REGTEST)) as store:
        store.take(ChannelAdded(store.graph.load(channel(FIRST), (update(FIRST, 0),), received=1)))
        await store.written()
        more = ("--graph", path, "--relay-unchecked", "--health", "0", "--metrics", "0", "--json", "--id", "one")
        with Running("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--port", "0", *more) as front:
            health = json.loads(await trio.to_thread.run_sync(front.line, "health"))
            assert (
                (await ask(health["port"], b"GET / HTTP/1.0\r\n\r\n"))
                .partition(b"\r\n\r\n")[2]
                .startswith(b"there is no")
            )
            async with (
                open_back(engine.url, identity(1), messages=BOLT, lease=1),
                open_peer_nursery(make_manager(2, messages=BOLT)) as far,
                far.subscribe(ReplyChannelRange) as inbox,
            ):
                page = json.loads(await trio.to_thread.run_sync(front.line, "metrics"))
                first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
                assert (await ask(health["port"], b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200")
                ours = await far.connect(f"{first['node_id']}@{first['host']}:{first['port']}")
                query = QueryChannelRange(chain_hash=REGTEST.chain_hash, first_blocknum=0, number_of_blocks=9999)
                await ours.send(query)
                assert (await anext(inbox))[1].encoded_short_ids[1:] == FIRST.to_bytes(8, "big")
                store.take(ChannelAdded(store.graph.load(channel(SECOND), (update(SECOND, 0),), received=1)))
                both = FIRST.to_bytes(8, "big") + SECOND.to_bytes(8, "big")
                with trio.fail_after(30):
                    while True:
                        await ours.send(query)
                        if (await anext(inbox))[1].encoded_short_ids[1:] == both:
                            break
                        await trio.sleep(0.2)  # nothing tells when the front has looked at the file
                shown = await ask(page["port"], b"GET /metrics HTTP/1.0\r\n\r\n")
                assert b"\ntriolight_front_serving 1.0\n" in shown
                assert b"\ntriolight_front_connections 1.0\n" in shown
                assert b"\ntriolight_front_lives_total 1.0\n" in shown
            front.interrupt()
            assert (await trio.to_thread.run_sync(front.finish))[0] == 130


def test_a_graph_that_is_none_or_has_nothing_to_tell_of(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    asked = ("front", "--engine", "unix:///nowhere", "--secret-file", key(tmp_path), "--graph", path)
    path.write_bytes(b"")
    assert "an empty file" in run(*asked)[2]
    path.write_bytes(b"no graph" * 99)
    code, _, errors = run(*asked)
    assert (code, "no SQLite file" in errors) == (2, True)
    path.unlink()
    database = GraphDatabase(path, REGTEST.chain_hash, "a test", 1)
    database.write(Batch(channels=[(FIRST, None, 1, None, SIGNATURES, channel(FIRST))]))
    database.close()
    code, _, errors = run(*asked)
    assert (code, "--relay-unchecked tells" in errors) == (2, True)


async def test_fronts_are_restarted_one_after_the_other(engine: Server, tmp_path: Path) -> None:
    """A front that is told to end says goodbye and gives its place up; its peer goes on at the other one, and nothing
    that it has said is missing."""
    await engine.answers()
    logger = ListLogger()
    asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--port", "0", "--json", "--id")
    with Running(*asked, "one") as one, Running(*asked, "two") as two:
        async with (
            open_back(engine.url, identity(1), messages=MESSAGES, logger=logger) as back,
            back.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
            open_peer_nursery(make_manager(2)) as far,
            far.events() as events,
        ):
            at = [json.loads(await trio.to_thread.run_sync(front.line, "listening")) for front in (one, two)]
            first, second = (f"{found['node_id']}@{found['host']}:{found['port']}" for found in at)
            numbers = iter(range(1000))

            async def says(peer: Peer) -> None:
                for _ in range(50):
                    await peer.send(Note(payload=b"%d" % next(numbers)))

            await says(await far.connect(first))
            assert isinstance(await anext(events), PeerConnected)
            heard = [(await anext(inbox))[1] for _ in range(51)]
            one.interrupt(signal.SIGTERM)
            assert isinstance(await anext(events), PeerDisconnected)
            ended = (await anext(inbox))[1]
            assert isinstance(ended, PeerDisconnected)
            assert ended.reason.code is DisconnectCode.FRONT_LOST
            assert "a front is silent, and given up" not in logger  # it has said that it goes
            await says(await far.connect(second))
            heard += [(await anext(inbox))[1] for _ in range(51)]
            assert [int(what.payload) for what in heard if isinstance(what, Note)] == [*range(100)]
            assert (await trio.to_thread.run_sync(one.finish))[0] == 143
            with trio.fail_after(30):
                while {*back.fronts} != {"two"}:  # noqa: ASYNC110
                    await trio.sleep(0.05)  # its next renewal shows it


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
async def test_a_signal_ends_it_whole(engine: Server, tmp_path: Path, number: signal.Signals, exits: int) -> None:
    await engine.answers()
    asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--port", "0", "--json")
    with Running(*asked) as front:
        async with open_back(engine.url, identity(1)), open_peer_nursery(make_manager(2)) as far:
            first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
            ours = await far.connect(f"{first['node_id']}@{first['host']}:{first['port']}")
            front.interrupt(number)
            assert (await ours.wait_closed()).by is Side.PEER
        assert (await trio.to_thread.run_sync(front.finish))[0] == exits


async def test_exit_codes_of_a_port_that_is_taken_and_a_reader_that_has_left(engine: Server, tmp_path: Path) -> None:
    await engine.answers()
    asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--json", "--port")
    async with open_back(engine.url, identity(1)), open_peer_nursery(make_manager(2)) as far:
        code, _, errors = await trio.to_thread.run_sync(run, *asked, str(await port_of(far)))
        assert code == 3
        assert "cannot listen" in errors
        with unread() as pipe:
            code, _, errors = await trio.to_thread.run_sync(partial(run, *asked, "0", stdout=pipe))
    assert code == 141
    assert "Traceback" not in errors


@pytest.mark.scale
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
async def test_a_front_that_dies_or_is_frozen(engine: Server, tmp_path: Path, number: signal.Signals) -> None:
    """All that it had appended is heard, then the end; frozen, it ends its peers when it wakes, and begins again."""
    await engine.answers()
    asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path), "--port", "0", "--id", "one", "--json")
    with Running(*asked) as front:
        async with (
            open_back(engine.url, identity(1), messages=MESSAGES, lease=1) as back,
            back.subscribe(Note, PeerDisconnected) as inbox,
            open_peer_nursery(make_manager(2)) as far,
        ):
            first = json.loads(await trio.to_thread.run_sync(front.line, "listening"))
            address = f"{first['node_id']}@{first['host']}:{first['port']}"
            ours = await far.connect(address)
            for count in range(100):
                await ours.send(Note(payload=b"%02d" % count))
            heard = [(await anext(inbox))[1] for _ in range(100)]
            front.interrupt(number)
            last = (await anext(inbox))[1]
            assert heard == [Note(payload=b"%02d" % count) for count in range(100)]
            assert isinstance(last, PeerDisconnected)
            assert last.reason.code is DisconnectCode.FRONT_LOST
            if number is signal.SIGSTOP:
                front.interrupt(signal.SIGCONT)
                over = json.loads(await trio.to_thread.run_sync(front.line, "event"))
                assert over["event"] == "fenced"
                assert (await ours.wait_closed()).message.endswith("this front was given up; reconnect")
                with trio.fail_after(30):
                    while not back.fronts:  # noqa: ASYNC110
                        await trio.sleep(0.05)  # its next renewal shows it
                peer = await far.connect(address)
                await peer.send(Note(payload=b"again"))
                assert (await anext(inbox))[1] == Note(payload=b"again")
            else:
                await ours.wait_closed()
                assert back.peers == {}


async def test_another_node_s_secret_is_exit_code_2(engine: Server, tmp_path: Path) -> None:
    await engine.answers()
    async with open_back(engine.url, identity(1)):
        asked = ("front", "--engine", engine.url, "--secret-file", key(tmp_path, 2), "--port", "0")
        code, _, errors = await trio.to_thread.run_sync(run, *asked)
    assert code == 2
    assert identity(1).hex() in errors


@pytest.mark.parametrize(
    ("engine_url", "words"),
    [
        ("redis://user:password@127.0.0.1", "never on a command line"),
        ("http://127.0.0.1", "not http"),
        ("redis://engine.example", "wants rediss"),
    ],
)
def test_what_is_no_engine(engine_url: str, words: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["front", "--engine", engine_url, "--secret-file", str(key(tmp_path))])
    assert done.exit_code == 2
    assert words in done.stderr


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "front " in CliRunner().invoke(cli, ["--help"]).stdout
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    done = CliRunner().invoke(cli, ["front", "--engine", "redis://127.0.0.1", "--secret-file", str(key(tmp_path))])
    assert done.exit_code == 2
    assert "pip install 'triolight[cluster]'" in done.stderr
