"""What only the engine for tests can do: be away, forget, and lose."""

from __future__ import annotations

import pytest
import trio

from tests.support import identity
from tests.support.fleets import BACK, CONFIG, FRONT, entry
from triolight.cluster.bus import EngineAway, Fenced
from triolight.cluster.memory import MemoryEngine
from triolight.cluster.streams import Hole, Used


async def test_it_is_away_for_all_or_for_one() -> None:
    engine = MemoryEngine()
    one, other = engine.bus(), engine.bus()
    engine.away = True
    for bus in (one, other):
        with pytest.raises(EngineAway):
            await bus.enter_back(BACK, CONFIG)
    engine.away = False
    one.cut = True
    with pytest.raises(EngineAway):
        await one.back()
    assert await other.back() is None


async def test_a_lost_answer_was_done() -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG)
    assert await bus.enter_front("one", FRONT, BACK, "")
    bus.answers_lost = 1
    with pytest.raises(EngineAway, match="no answer"):
        await bus.append_up("one", FRONT, 0, 1, entry(0, b"first"))
    assert [one.data for one in await bus.read_up("one", "0", 0)] == [entry(0, b"first")]
    assert await bus.append_up("one", FRONT, 0, 1, entry(0, b"first")) == Used(len(entry(0, b"first")), 1)


async def test_what_it_forgets_nobody_holds() -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG)
    assert await bus.enter_front("one", FRONT, BACK, "")
    await bus.claim("one", FRONT, identity(1), identity(2), 1, True)
    engine.forget_everything()
    for call in (
        lambda: bus.renew_front("one", FRONT, 0),
        lambda: bus.renew_back(BACK),
        lambda: bus.append_up("one", FRONT, 0, 1, entry(0, b"first")),
    ):
        with pytest.raises(Fenced):
            await call()
    assert await bus.claims() == 0


async def test_a_lost_tail_is_a_hole() -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG)
    assert await bus.enter_front("one", FRONT, BACK, "")
    for number in range(3):
        await bus.append_up("one", FRONT, number, 1, entry(number, b"text"))
    engine.lose_tail("one", 1)
    with pytest.raises(Hole, match="records 2 to 2 are missing"):
        await bus.append_up("one", FRONT, 3, 1, entry(3, b"text"))
    assert (await bus.fronts())[0].up == Used(2 * len(entry(0, b"text")), 2)


async def test_time_is_the_runs_clock(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG)
    await trio.sleep(9.9)
    assert not await bus.enter_back(FRONT, CONFIG)
    await trio.sleep(0.1)
    assert await bus.enter_back(FRONT, CONFIG)
