"""A lane at work: how it batches, and how long it has patience."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
import trio.testing

from tests.support.fleets import FRONT
from triolight import DisconnectCode
from triolight.cluster.bus import EngineAway, EngineFull, FleetError
from triolight.cluster.lanes import LINGER_BYTES, LINGER_SECONDS, Lane, Patience
from triolight.cluster.records import Said
from triolight.cluster.rules import WINDOW_RECORDS
from triolight.cluster.streams import Flight, Used


@dataclass
class Engine:
    """Notes what is appended, and when; takes so long for it."""

    seconds: float = 0
    away: bool = False
    full: bool = False
    used: Used = Used(0, 0)  # noqa: RUF009
    appends: list[tuple[float, int]] = field(default_factory=list)
    tries: int = 0

    async def append(self, flight: Flight) -> Used:
        self.tries += 1
        await trio.sleep(self.seconds)
        if self.away:
            raise EngineAway
        if self.full:
            raise EngineFull
        self.appends.append((round(trio.current_time(), 6), len(flight.parcels)))
        return self.used

    async def look(self) -> Used:
        await trio.lowlevel.checkpoint()
        return self.used

    def lane(self, grace: float = 20) -> Lane:
        return Lane(FRONT, self.append, self.look, Patience(grace))


def say(lane: Lane, size: int = 2) -> None:
    lane.put(1, Said(data=bytes(size)))


async def test_an_idle_lane_sends_at_once_and_a_busy_one_batches(autojump_clock: trio.testing.MockClock) -> None:
    engine = Engine()
    lane = engine.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        await trio.sleep(1)
        for _ in range(5):
            say(lane)
            await trio.testing.wait_all_tasks_blocked()
        await trio.sleep(1)
        assert engine.appends == [(1.0, 1), (1 + LINGER_SECONDS, 4)]
        say(lane, LINGER_BYTES)
        say(lane, 10)
        await trio.testing.wait_all_tasks_blocked()
        assert engine.appends[2:] == [(2.0 + LINGER_SECONDS, 2)] or engine.appends[2:] == [(2.0, 2)]
        nursery.cancel_scope.cancel()


async def test_what_comes_while_one_is_in_flight_is_the_next_entry(autojump_clock: trio.testing.MockClock) -> None:
    engine = Engine(seconds=0.5)
    lane = engine.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        for _ in range(4):
            say(lane)
            await trio.sleep(0.2)
        await trio.sleep(2)
        assert engine.appends == [(0.5, 1), (1.0, 2), (1.5, 1)]
        nursery.cancel_scope.cancel()


async def test_an_engine_that_comes_back_gets_the_same_again(autojump_clock: trio.testing.MockClock) -> None:
    engine = Engine(away=True)
    lane = engine.lane(grace=10)
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        lane.put(1, Said(data=b"aa"), lambda: told.append("appended"))
        await trio.sleep(9)
        assert (engine.tries > 5, told) == (True, [])
        engine.away = False
        await trio.sleep(1)
        assert (len(engine.appends), told) == (1, ["appended"])
        # The grace begins again with each outage.
        engine.away = True
        say(lane)
        await trio.sleep(9)
        assert lane.writer.flight is not None
        nursery.cancel_scope.cancel()


async def test_patience_ends(autojump_clock: trio.testing.MockClock) -> None:
    lane = Engine(away=True).lane(grace=10)
    say(lane)
    with pytest.raises(FleetError) as caught:
        await lane.run()
    assert caught.value.reason.code is DisconnectCode.ENGINE_LOST
    assert trio.current_time() == pytest.approx(10, abs=0.5)


async def test_who_waits_for_room_needs_nobody_else_s_record(autojump_clock: trio.testing.MockClock) -> None:
    """The last record that fits has filled the window, and all who have more to say wait."""
    engine = Engine(used=Used(0, WINDOW_RECORDS))
    lane = engine.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        say(lane)
        await trio.sleep(1)
        assert (lane.writer.idle, lane.writer.has_room, len(engine.appends)) == (True, False, 1)
        engine.used = Used(0, WINDOW_RECORDS - 1)
        with trio.fail_after(1):
            await lane.room()
        say(lane)
        await trio.sleep(1)
        assert len(engine.appends) == 2
        nursery.cancel_scope.cancel()


async def test_a_full_window_is_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    engine = Engine(used=Used(0, WINDOW_RECORDS))
    lane = engine.lane()
    waited: list[float] = []

    async def put() -> None:
        await lane.room()
        waited.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        say(lane)
        await trio.sleep(1)
        say(lane)
        nursery.start_soon(put)
        await trio.sleep(1)
        assert (len(engine.appends), waited) == (1, [])
        engine.used = Used(0, 0)
        await trio.sleep(1)
        assert len(engine.appends) == 2
        assert 2 <= waited[0] < 2.1
        engine.used = Used(0, WINDOW_RECORDS)
        lane.consumed(engine.used)
        assert not lane.writer.has_room
        lane.close()
        await lane.room()
        nursery.cancel_scope.cancel()


async def test_an_engine_that_is_full_is_not_away(autojump_clock: trio.testing.MockClock) -> None:
    """For as long as it takes. What waits may be withdrawn, and nobody who wants it there waits for that."""
    engine, told = Engine(full=True), list[bool]()
    lane = Lane(FRONT, engine.append, engine.look, Patience(10, told.append))
    flushed: list[float] = []

    async def flush() -> None:
        await lane.flushed()
        flushed.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        parcel = lane.put(1, Said(data=b"one"))
        lane.put(1, Said(data=b"two"))
        await trio.sleep(60.1)
        nursery.start_soon(flush)
        await trio.sleep(1)
        assert (told, len(flushed)) == ([True], 1)
        assert lane.writer.withdraw(parcel)
        engine.full = False
        await trio.sleep(1)
        assert (told, [count for _, count in engine.appends], lane.writer.idle) == ([True, False], [1], True)
        nursery.cancel_scope.cancel()


async def test_what_somebody_else_was_told_is_old_while_an_append_is_in_flight(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = Engine(seconds=2, used=Used(5, 1))
    lane = engine.lane()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        say(lane)
        await trio.sleep(1)
        lane.consumed(Used(0, WINDOW_RECORDS))
        assert lane.writer.used == Used(0, 0)
        await trio.sleep(2)
        assert lane.writer.used == Used(5, 1)
        lane.consumed(Used(0, WINDOW_RECORDS))
        nursery.start_soon(lane.room)
        await trio.sleep(1)
        lane.close()
        await trio.sleep(1)
        assert len(nursery.child_tasks) == 1
        nursery.cancel_scope.cancel()
