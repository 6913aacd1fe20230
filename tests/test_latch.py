"""A latch wakes all who wait, lets pass while it is open, and has no event while nobody waits."""

from __future__ import annotations

import trio
import trio.testing

from triolight.latch import Latch


async def test_who_waits_goes_on_when_it_is_opened_and_who_comes_later_at_once() -> None:
    latch, gone_on = Latch(), list[str]()

    async def wait(name: str) -> None:
        await latch.wait()
        gone_on.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "one")
        nursery.start_soon(wait, "other")
        await trio.testing.wait_all_tasks_blocked()
        assert (gone_on, latch.is_open()) == ([], False)
        latch.open()
        latch.open()
        assert latch.is_open()
    assert sorted(gone_on) == ["one", "other"]
    with trio.testing.assert_checkpoints():
        await latch.wait()


async def test_shut_again_it_holds_up_who_comes_then_and_nobody_who_was_let_pass() -> None:
    latch, gone_on = Latch(is_open=True), list[str]()

    async def wait(name: str) -> None:
        await latch.wait()
        gone_on.append(name)

    async with trio.open_nursery() as nursery:
        latch.shut()
        nursery.start_soon(wait, "before")
        await trio.testing.wait_all_tasks_blocked()
        latch.open()
        latch.shut()
        nursery.start_soon(wait, "after")
        await trio.testing.wait_all_tasks_blocked()
        assert gone_on == ["before"]
        latch.open()
    assert gone_on == ["before", "after"]


async def test_a_wait_can_be_cancelled() -> None:
    latch = Latch()
    with trio.move_on_after(0) as scope:
        await latch.wait()
    assert scope.cancelled_caught
    latch.open()
