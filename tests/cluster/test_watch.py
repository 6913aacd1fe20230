"""FrontWatch: whether a front can take peers, and its numbers, in each state that it can be in."""

from __future__ import annotations

import trio
import trio.testing

from tests.support import Note, join
from tests.support.fleets import becomes, open_fleet, stranger
from triolight.cluster.watch import FrontWatch


def test_before_anything() -> None:
    watch = FrontWatch()
    assert watch.trouble == "the front has not begun"
    seen = watch.statistics()
    assert (seen.front_serving, seen.front_window_records, seen.front_lives) == (0, 0, 0)


async def test_what_keeps_a_front_from_taking_peers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        watch = fleet.watches["one"]
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        assert watch.trouble is None
        # The engine is away: after 0.8 of a lease nobody is taken in any more.
        fleet.buses["one"].cut = True
        await ours.send(Note(payload=b"x"))
        await trio.sleep(7)
        assert watch.trouble is None
        await trio.sleep(4)
        assert watch.trouble is not None
        assert watch.trouble.startswith("the engine has not answered for ")
        seen = watch.statistics()
        assert (seen.front_serving, seen.front_connections, seen.front_lives, seen.front_fenced) == (0, 1, 1, 0)
        assert seen.front_silence_seconds >= 8
        await becomes(lambda: not fleet.back.peers)
        fleet.buses["one"].cut = False
        await ours.wait_closed()
        await becomes(lambda: watch.trouble is None)
        seen = watch.statistics()
        assert (seen.front_serving, seen.front_connections, seen.front_lives, seen.front_fenced) == (1, 0, 2, 1)
        # The back is silent, while the engine is there.
        fleet.buses["back"].cut = True
        await becomes(lambda: watch.trouble is not None)
        assert watch.trouble is not None
        assert watch.trouble.startswith("the back is silent for 1")
        await becomes(lambda: watch.trouble == "there is no back")


async def test_what_a_front_counts(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        before = fleet.watches["one"].statistics()
        fleet.buses["back"].cut = True
        await ours.send(*[Note(payload=b"1234")] * 5)
        await trio.sleep(1)
        seen = fleet.watches["one"].statistics()
        assert seen.front_records - before.front_records == 5
        assert 1 <= seen.front_appends - before.front_appends <= 5
        assert (seen.front_window_records, seen.front_pending_bytes) == (5, 0)
        assert seen.front_window_bytes > 5 * 6
        fleet.buses["back"].cut = False
        await becomes(lambda: fleet.watches["one"].statistics().front_window_records == 0)
