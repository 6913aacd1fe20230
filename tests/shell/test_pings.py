"""Pings: their places, whose pong is whose, and what a cancelled one leaves."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import (
    open_pair,
)
from triolight.connection import MAX_PINGS
from triolight.messages import Pong


async def test_ping(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        for size in (0, 1, 65531):
            assert await pair.to_far.ping(size) >= 0
        assert await pair.to_far.ping(5, ignored=bytes(65529)) >= 0
        for size in (-1, 65532, 65535):
            with pytest.raises(ValueError, match="65531"):
                await pair.to_far.ping(size)
        with pytest.raises(ValueError, match="65535"):
            await pair.to_far.ping(0, ignored=bytes(65530))
        statistics = pair.to_far.statistics()
        assert statistics.pings_outstanding == 0
        assert statistics.rtt_minimum is not None
        assert statistics.rtt_minimum <= (statistics.rtt_smoothed or 0)
        assert (statistics.messages_sent, statistics.messages_received) == (5, 5)


async def test_more_pings_than_may_be_outstanding_wait(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:
        for _ in range(3 * MAX_PINGS):
            nursery.start_soon(pair.to_far.ping)


async def test_a_cancelled_ping_keeps_its_place(autojump_clock: trio.testing.MockClock) -> None:
    """Its pong comes all the same, and must not be taken for the next one's."""
    async with open_pair() as pair:
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(pair.to_far.ping, 7)
                await trio.lowlevel.checkpoint()
                scope.cancel()
        await pair.to_far.ping(7)
        await pair.to_far.ping(7)
        assert pair.to_far.statistics().pings_outstanding == 0


async def test_unsolicited_pongs_are_life_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        await pair.to_near.send(Pong(ignored=bytes(3)), Pong(ignored=bytes(0)))
        await pair.to_near.ping()
        assert pair.to_far.statistics().rtt_last is None
