"""`triolight top` as one runs it: once, or live until a signal; and whom it pings."""

from __future__ import annotations

import os
import pty
import signal

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager, open_pair, port_of
from tests.support.inside import measure
from tests.support.processes import COMMAND, SIGNALS, run, unread
from triolight import open_peer_nursery
from triolight.cli.jobs import top


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
