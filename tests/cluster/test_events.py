"""What a back tells of its fronts and of its engine."""

from __future__ import annotations

import trio
import trio.testing

from tests.support import identity, join
from tests.support.fleets import becomes, open_fleet, stranger
from triolight import DisconnectCode, PeerConnected, PeerDisconnected
from triolight.cluster.events import EngineAway, EngineBack, FrontJoined, FrontLost


async def test_fronts_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, fleet.back.events() as events:
        await fleet.nursery.start(fleet.start, "two")
        assert await anext(events) == FrontJoined("two", "two.example")
        await join(far, fleet.fronts["two"])
        connected = await anext(events)
        assert isinstance(connected, PeerConnected)
        fleet.scopes["two"].cancel()
        ended = await anext(events)
        assert isinstance(ended, PeerDisconnected)
        assert ended.peer is connected.peer
        lost = await anext(events)
        assert isinstance(lost, FrontLost)
        assert (lost.front, lost.reason.code) == ("two", DisconnectCode.FRONT_LOST)
        await becomes(lambda: {*fleet.back.fronts} == {"one"})


async def test_an_engine_that_is_away_and_comes_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, fleet.back.events() as events:
        await join(far, fleet.fronts["one"])
        await anext(events)
        for seconds in (5, 25):
            fleet.buses["back"].cut = True
            await trio.sleep(seconds)
            fleet.buses["back"].cut = False
            assert await anext(events) == EngineAway()
            if seconds == 25:
                ended, lost = await anext(events), await anext(events)
                assert isinstance(ended, PeerDisconnected)
                assert ended.peer.node_id == identity(2)
                assert isinstance(lost, FrontLost)
                assert ended.reason.code is lost.reason.code is DisconnectCode.ENGINE_LOST
            assert await anext(events) == EngineBack()
