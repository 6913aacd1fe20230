"""One connection a node, whoever dials whom when, and whatever rule the other side has: never none, never two."""

from __future__ import annotations

import random

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager, until
from tests.support.inside import roster_of
from tests.support.managers import LARGER, SMALLER, Chan
from tests.support.rivals import Cln, Ldk, Lnd, rival
from triolight import (
    ConnectError,
    PeerManager,
    PeerNursery,
    open_peer_nursery,
)
from triolight.manager.roster import CROSSING_SECONDS


async def dials(near: PeerNursery, far: PeerNursery, random_: random.Random, seconds: float, times: int) -> None:
    """Dials at random times, the last of them early enough to come to rest."""
    for _ in range(times):
        await trio.sleep(random_.random() * seconds)
        try:
            await join(near, far)
        except* (ConnectError, IndexError):
            pass  # it was not the one that stays


@pytest.mark.parametrize("seconds", [0.0, 0.5, 2 * CROSSING_SECONDS], ids=["at once", "close", "spread"])
@pytest.mark.parametrize("rule", [PeerManager, Lnd, Ldk, Cln])
async def test_never_none_and_never_two(
    rule: type[PeerManager], seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    """Both sides dial: 70 pairs for each case: 210 with our own rule at both ends."""
    for seed in range(70):
        random_ = random.Random(seed)
        numbers = random_.sample(range(1, 200), 2)
        handlers = [Chan(), Chan()]
        near_manager = make_manager(numbers[0], chan=handlers[0])
        far_manager = rival(rule, numbers[1], handlers[1])
        async with open_peer_nursery(near_manager) as near, open_peer_nursery(far_manager) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(dials, near, far, random_, seconds, 1 + seed % 2)
                nursery.start_soon(dials, far, near, random_, seconds, 1 + seed % 3)
            await trio.sleep(20)  # virtual seconds: whatever is parked has ended
            assert list(near.peers) == [identity(numbers[1])], seed
            assert list(far.peers) == [identity(numbers[0])], seed
            rtt = await near.peers[identity(numbers[1])].ping()
            assert rtt >= 0
            assert len(roster_of(near_manager).by_descriptor) == len(roster_of(far_manager).by_descriptor) == 1, seed
            assert [one.connected - one.disconnected for one in handlers] == [1, 1], seed
        assert [one.connected - one.disconnected for one in handlers] == [0, 0], seed


async def test_a_dial_that_is_parked_returns_the_survivor_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(LARGER)) as larger,
        open_peer_nursery(make_manager(SMALLER)) as smaller,
    ):
        kept, _ = await join(smaller, larger)
        before = trio.current_time()
        again, _ = await join(larger, smaller)
        assert trio.current_time() == before
        assert again is larger.peers[identity(SMALLER)]
        assert again.inbound
        await trio.sleep(3)
        assert kept.reason is None
        assert again.reason is None
        assert await kept.ping() >= 0
        await until(
            lambda: len(roster_of(larger.manager).by_descriptor) == len(roster_of(smaller.manager).by_descriptor) == 1
        )
