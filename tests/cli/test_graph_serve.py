"""``triolight graph serve`` as its users have it: one process serves, others learn from it."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import gossip
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


@pytest.mark.parametrize(("number", "exits"), SIGNALS)
def test_what_is_served_is_fetched(tmp_path: Path, number: signal.Signals, exits: int) -> None:
    """By one that learns from it and serves it again, and from that one."""
    with (
        serving(a_graph(tmp_path / "first.db"), "--relay-unchecked") as (first, address),
        serving(tmp_path / "second.db", "--chain", "regtest", "--relay-unchecked", "--connect", address) as (
            second,
            other,
        ),
    ):
        code, lines, errors = run("graph", "sync", str(tmp_path / "own.db"), address, "--chain", "regtest", "--json")
        assert (code, errors) == (0, "")
        assert json.loads(lines[-1])["channels"] == 20
        first.interrupt(number)
        assert first.finish()[0] == exits
        second.interrupt(number)
        assert second.finish()[0] == exits
        assert other.startswith("0")
    code, lines, _ = run("graph", "stats", str(tmp_path / "own.db"), "--json")
    assert (code, json.loads(lines[-1])["updates"]) == (0, 40)


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
