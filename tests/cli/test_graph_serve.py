"""``triolight graph serve`` as its users have it: one process serves, others learn from it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import trio

from tests.support import gossip
from tests.support.chains import Chain, Output
from tests.support.chains import serving as serving_chain
from tests.support.processes import SIGNALS, Running, run, unread
from triolight.gossip.formats.gsp import write_gsp
from triolight.wire import ShortChannelId


def a_graph(path: Path) -> Path:
    """Of twenty channels, of which signatures are all that is known."""
    stamp, messages = int(time.time()) - 5000, []
    for number in range(20):
        scid = ShortChannelId.of(200 + number, 1, 0)
        messages += [gossip.channel(scid), gossip.update(scid, 0, stamp), gossip.update(scid, 1, stamp)]
    file = path.with_suffix(".gsp")
    file.write_bytes(b"".join(write_gsp(messages)))
    assert run("graph", "import", str(path), str(file))[0] == 0
    return path


@contextmanager
def serving(*arguments: str | Path) -> Iterator[tuple[Running, str]]:
    with Running("graph", "serve", *arguments, "--port", "0", "--json") as process:
        first = json.loads(process.line("listening"))
        yield process, f"{first['node_id']}@{first['host']}:{first['port']}"


def test_what_is_served_is_fetched(tmp_path: Path) -> None:
    """By one that serves it again, and by one that keeps it. Each ends by a signal of its own."""
    more = ["--chain", "regtest", "--relay-unchecked", "--connect"]
    with (
        serving(a_graph(tmp_path / "first.db"), "--relay-unchecked") as (first, address),
        serving(tmp_path / "second.db", *more, address) as (second, other),
        serving(tmp_path / "third.db", *more, other) as (third, _),
    ):
        code, lines, errors = run("graph", "sync", str(tmp_path / "own.db"), address, "--chain", "regtest", "--json")
        assert (code, errors) == (0, "")
        assert json.loads(lines[-1])["channels"] == 20
        for process, (number, exits) in zip((first, second, third), SIGNALS, strict=True):
            process.interrupt(number)
            assert process.finish()[0] == exits
    code, lines, _ = run("graph", "stats", str(tmp_path / "own.db"), "--json")
    assert (code, json.loads(lines[-1])["updates"]) == (0, 40)


def test_its_numbers_are_on_a_page(tmp_path: Path) -> None:
    with serving(a_graph(tmp_path / "graph.db"), "--relay-unchecked", "--metrics", "0") as (process, _):
        line = json.loads(process.line("metrics"))
        with urlopen(f"http://{line['host']}:{line['port']}/metrics") as answer:
            page = answer.read()
        assert b"\ntriolight_graph_channels 20.0\n" in page
        assert b'\ntriolight_gossip_peers{state="streams"} 0.0\n' in page
        process.interrupt(SIGNALS[0][0])
        assert process.finish()[0] == SIGNALS[0][1]


def test_exit_code_2_where_there_is_nothing_to_tell_of(tmp_path: Path) -> None:
    code, lines, errors = run("graph", "serve", str(a_graph(tmp_path / "graph.db")), "--port", "0")
    assert (code, lines) == (2, [])
    assert "--utxo" in errors
    assert "--relay-unchecked" in errors


def test_exit_code_3_for_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        code, lines, errors = run(
            "graph", "serve", str(tmp_path / "graph.db"), "--relay-unchecked", "--chain", "regtest", "--port", port
        )
    assert (code, lines) == (3, [])
    assert f"cannot listen on 127.0.0.1 port {port}" in errors


def test_exit_code_141_for_a_reader_that_has_left(tmp_path: Path) -> None:
    with unread() as pipe:
        code, _, _ = run(
            "graph",
            "serve",
            str(tmp_path / "g.db"),
            "--relay-unchecked",
            "--chain",
            "regtest",
            "--port",
            "0",
            stdout=pipe,
        )
    assert code == 141


async def test_what_a_chain_has_confirmed_is_told(tmp_path: Path) -> None:
    """Not the one of twenty channels whose output is spent."""
    chain = Chain(height=300)
    for number in range(20):
        chain.outputs[200 + number, 1] = [Output(gossip.SCRIPT, "0.0123", spent=number == 3)]

    def learn_and_tell(url: str) -> str:
        told, last = tmp_path / "told.db", ""
        with serving(a_graph(tmp_path / "all.db"), "--relay-unchecked") as (_, all_of_it):
            code, lines, errors = run("graph", "sync", str(told), all_of_it, "--chain", "regtest", "--utxo", url)
            assert (code, errors) == (0, ""), lines
        # Once without a server: its word is in the file.
        for more in ([], ["--utxo", url]):
            with serving(told, *more) as (_, address):
                code, (last,), errors = run("graph", "sync", str(tmp_path / "own.db"), address, "--chain", "regtest")
                assert (code, errors) == (0, "")
        return last

    async with serving_chain(chain.rpc) as server:
        last = await trio.to_thread.run_sync(learn_and_tell, f"http://127.0.0.1:{server.port}")
    assert last.startswith("19 channels, 38 updates, ")
