"""`triolight top` as one runs it: once, or live until a signal; and whom it pings."""

from __future__ import annotations

import json
import os
import pty
import signal
import time
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support import gossip, identity, join, make_manager, open_pair, port_of
from tests.support.inside import measure
from tests.support.processes import COMMAND, SIGNALS, run, unread
from triolight import NullLogger, open_peer_nursery, open_peers
from triolight.chains import REGTEST
from triolight.cli.jobs import top
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync


async def test_top_once() -> None:
    with trio.fail_after(30):
        async with open_peer_nursery(make_manager(1)) as peers:
            node = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            done = await trio.run_process([*COMMAND, "top", "--once", node], capture_stdout=True)
            shown = done.stdout.decode()
            assert "1 peers (0 in)" in shown
            assert identity(1).hex()[:20] in shown
            assert "127.0.0.1" in shown
            nobody = f"{identity(2).hex()}@127.0.0.1:1"
            done = await trio.run_process([*COMMAND, "top", "--once", node, nobody], capture_stdout=True, check=False)
            assert done.returncode == 3
            assert f"{identity(2).hex()[:20]} waiting: TCP_FAILED" in done.stdout.decode()


async def test_top_once_of_a_graph(tmp_path: Path) -> None:
    graph, stamp = NetworkGraph(REGTEST), int(time.time()) - 5000
    graph.load(gossip.channel(), [gossip.update(timestamp=stamp)])
    serving = P2PGossipSync(graph, policy=GossipPolicy(relay_unchecked=True))
    with trio.fail_after(30):
        async with open_peers(b"\x01" * 32, route_handler=serving, networks="regtest", logger=NullLogger()) as peers:
            node = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            path = str(tmp_path / "graph.db")
            command = [*COMMAND, "top", "--once", "--graph", path, "--chain", "regtest", node]
            done = await trio.run_process(command, capture_stdout=True)
            assert "graph: 1 channels, 2 nodes; gossip: 2 messages, 2 new\n" in done.stdout.decode()
    code, lines, _ = await trio.to_thread.run_sync(run, "graph", "stats", path, "--json")
    assert (code, json.loads(lines[-1])["updates"]) == (0, 1)


def test_what_top_refuses(tmp_path: Path) -> None:
    letter = tmp_path / "letter"
    letter.write_text("Dear reader, " * 100)
    for arguments, words in (
        (["--chain", "regtest"], "--chain is of a graph that --graph names"),
        (["--graph", str(letter), "--chain", "regtest"], "Invalid value for GRAPH"),
    ):
        code, _, errors = run("top", "--once", "--listen", "0", *arguments)
        assert code == 2
        assert words in errors


async def test_top_pings_newcomers_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, open_peer_nursery(make_manager(3)) as third, trio.open_nursery() as nursery:
        nursery.start_soon(measure, pair.near)
        await trio.testing.wait_all_tasks_blocked()
        assert pair.to_far.statistics().rtt_smoothed is not None
        to_third, _ = await join(pair.near, third)
        await trio.testing.wait_all_tasks_blocked()
        assert to_third.statistics().rtt_smoothed is not None
        assert trio.current_time() == 0
        pings = pair.near.statistics().sent["ping"].messages
        await trio.sleep(top.PING_SECONDS * 2.5)
        assert pair.near.statistics().sent["ping"].messages == pings + 4
        nursery.cancel_scope.cancel()


def test_a_reader_that_leaves_ends_top_quietly() -> None:
    with unread() as pipe:
        assert run("top", "--listen", "0", "--once", stdout=pipe) == (141, [], "")


@pytest.mark.parametrize(("number", "exits"), SIGNALS, ids=str)
async def test_top_lives_until_a_signal(number: signal.Signals, exits: int) -> None:
    with trio.fail_after(30):
        ours, theirs = pty.openpty()
        async with open_peer_nursery(make_manager(1)) as peers, peers.events() as events:
            node = f"{identity(1).hex()}@127.0.0.1:{await port_of(peers)}"
            process = await trio.lowlevel.open_process(
                [*COMMAND, "top", "--interval", "0.05", "--listen", "0", node], stdout=theirs
            )
            try:
                await anext(events)
                shown = ""
                while "out" not in shown or "1 peers" not in shown:
                    shown += (await trio.to_thread.run_sync(os.read, ours, 65_536)).decode()
                process.send_signal(number)
                while "\x1b[?1049l" not in shown:  # the terminal is as it was
                    shown += (await trio.to_thread.run_sync(os.read, ours, 65_536)).decode()
                assert "\x1b[?25h" in shown[shown.rindex("1 peers") :]
                assert await process.wait() == exits
                os.close(theirs)
            finally:
                process.kill()
                await process.wait()
                os.close(ours)
