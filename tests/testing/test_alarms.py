"""The clock of a simulated network and its alarms: who sleeps is woken once, at a time or sooner."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from tests.support.scenes import joined, two_hosts
from triolight.testing import run_seeded
from triolight.testing.alarms import Alarm, Clock


def test_a_read_that_is_cancelled_when_something_arrives() -> None:
    """In the same step, in either order: its task is woken once."""

    async def main() -> None:
        network, _, _ = two_hosts()
        ours, theirs = await joined(network)
        await ours.send_all(b"x")
        with trio.move_on_at(1):
            await theirs.receive_some()
        await ours.send_eof()
        await trio.sleep(5)

    for seed in range(20):
        run_seeded(seed, main)


async def test_what_is_due_happens_in_order(autojump_clock: trio.testing.MockClock) -> None:
    """By time, and at one time as it was asked for; what is asked for later may come sooner."""
    clock = Clock()
    happened: list[tuple[str, float]] = []

    def note(name: str) -> Callable[[], None]:
        return lambda: happened.append((name, trio.current_time()))

    clock.call_at(5, note("late"))
    clock.call_at(5, note("later"))
    await trio.sleep(1)
    clock.call_at(3, note("soon"))
    clock.call_at(0, note("overdue"))
    await trio.sleep(10)
    assert happened == [("overdue", 1), ("soon", 3), ("late", 5), ("later", 5)]


async def test_what_is_taken_back_does_not_happen(autojump_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    happened: list[int] = []
    things = [clock.call_at(at, partial(happened.append, at)) for at in (5, 1, 4, 2, 3)]
    assert len(clock) == 5
    for one in (things[1], things[0], things[4]):
        clock.take_back(one)
        clock.take_back(one)  # nothing happens
    assert len(clock) == 2
    await trio.sleep(10)
    assert happened == [2, 4]
    clock.take_back(things[2])  # it has happened
    assert len(clock) == 0


async def test_an_alarm_that_is_silenced_does_not_ring(autojump_clock: trio.testing.MockClock) -> None:
    clock = Clock()
    alarm = Alarm(clock)
    with trio.move_on_after(3):
        await alarm.sleep_until(10)
    alarm.silence()
    assert len(clock) == 0
    await alarm.sleep_until(20)
    assert trio.current_time() == 20


@pytest.mark.parametrize(("rings_for", "wakes_at"), [(None, 2), (4, 4), (20, 10)])
async def test_an_alarm_is_never_late(
    rings_for: float | None, wakes_at: float, autojump_clock: trio.testing.MockClock
) -> None:
    alarm = Alarm(Clock())
    woken: list[float] = []

    async def sleeper() -> None:
        await alarm.sleep_until(10)
        woken.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sleeper)
        await trio.sleep(2)
        alarm.ring() if rings_for is None else alarm.ring(rings_for)
    assert woken == [wakes_at]
    # Nobody sleeps: nothing happens, and the next sleep is a whole one.
    alarm.ring()
    await trio.sleep_until(20)
    await alarm.sleep_until(25)
    assert trio.current_time() == 25


def test_each_run_has_a_task_of_its_own() -> None:
    clock = Clock()
    happened: list[float] = []

    async def main() -> None:
        clock.call_at(1, lambda: happened.append(trio.current_time()))
        await trio.sleep(2)

    for _ in range(2):
        run_seeded(1, main)
    assert happened == [1, 1]
