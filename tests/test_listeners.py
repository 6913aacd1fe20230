"""Listeners that wait for room: nobody is lost, it is said now and then, and Trio's own loop has nothing to say."""

from __future__ import annotations

import errno
import logging
from functools import partial

import pytest
import trio
import trio.testing

from tests.support import ListLogger
from triolight import Level
from triolight.listeners import NO_ROOM, NO_ROOM_LOGGED_EVERY, NO_ROOM_SECONDS, PatientListener

Connection = trio.StapledStream[trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream]


class Full(trio.abc.Listener[Connection]):
    """Has no room so many times, then the connections that it was given, then nobody."""

    def __init__(self, times: int, *waiting: Connection, number: int = errno.EMFILE) -> None:
        self.times = times
        self.waiting = [*waiting]
        self.number = number
        self.closed = False

    async def accept(self) -> Connection:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise trio.ClosedResourceError
        if self.times:
            self.times -= 1
            raise OSError(self.number, "as it says")
        return self.waiting.pop(0) if self.waiting else await trio.sleep_forever()

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("number", NO_ROOM)
async def test_who_waits_is_accepted_when_there_is_room(number: int, autojump_clock: trio.testing.MockClock) -> None:
    logger = ListLogger()
    stream, _ = trio.testing.memory_stream_pair()
    listener = PatientListener(Full(7, stream, number=number), logger)
    assert await listener.accept() is stream
    assert trio.current_time() == pytest.approx(7 * NO_ROOM_SECONDS)
    (said,) = logger.records
    assert (said.level, said.module, said.fields["times"]) == (Level.WARN, "listeners", 1)


async def test_a_long_shortage_is_counted_and_said_now_and_then(autojump_clock: trio.testing.MockClock) -> None:
    logger = ListLogger()
    seconds = 3.5 * NO_ROOM_LOGGED_EVERY
    listener = PatientListener(Full(10**9), logger)
    with trio.move_on_after(seconds):
        await listener.accept()
    counts = [record.fields["times"] for record in logger.records]
    assert counts == [1, *[pytest.approx(NO_ROOM_LOGGED_EVERY / NO_ROOM_SECONDS, abs=2)] * 3]


async def test_trios_own_loop_logs_nothing(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    caplog.set_level(logging.DEBUG)
    logger = ListLogger()
    ours, theirs = trio.testing.memory_stream_pair()
    full = Full(50, theirs)
    async with trio.open_nursery() as nursery:

        async def greet(stream: trio.abc.Stream) -> None:
            await stream.send_all(b"hello")

        nursery.start_soon(partial(trio.serve_listeners, greet, [PatientListener(full, logger)]))
        assert await ours.receive_some(5) == b"hello"
        nursery.cancel_scope.cancel()
    assert full.closed
    assert caplog.records == []
    assert len(logger.records) == 1


async def test_whatever_else_goes_wrong_is_the_callers() -> None:
    logger = ListLogger()
    listener = PatientListener(Full(1, number=errno.EBADF), logger)
    with pytest.raises(OSError, match="as it says"):
        await listener.accept()
    assert logger.records == []
    assert "Full" in repr(listener)


async def test_closed_while_it_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    full = Full(10**9)
    listener = PatientListener(full, ListLogger())
    async with trio.open_nursery() as nursery:

        async def accept() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await listener.accept()

        nursery.start_soon(accept)
        await trio.sleep(1.05)
        await listener.aclose()
    assert full.closed
    assert trio.current_time() <= 1.05 + NO_ROOM_SECONDS
