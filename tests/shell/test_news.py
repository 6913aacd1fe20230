"""News of peers: in order, for whoever reads; lost, and said to be, rather than waited for."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import (
    join,
    make_manager,
)
from triolight import (
    DisconnectCode,
    EventsLost,
    PeerConnected,
    PeerDisconnected,
    open_peer_nursery,
)


async def test_events(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, near.events() as events:
        async with open_peer_nursery(make_manager(2)) as far:
            peer, _ = await join(near, far)
            assert await events.__anext__() == PeerConnected(peer)
        event = await events.__anext__()
        assert isinstance(event, PeerDisconnected)
        assert event.peer is peer
        assert event.reason.code is DisconnectCode.PEER_CLOSED
        assert event.reason.message.endswith("after saying: shutting down")


async def test_events_that_nobody_reads_are_lost_and_said_to_be(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.shell.news.PEER_EVENTS", 3)
    async with open_peer_nursery(make_manager(1)) as near, near.events() as events:
        for number in (2, 3, 4):
            async with open_peer_nursery(make_manager(number)) as far:
                await join(near, far)
        with pytest.raises(EventsLost, match="start again from"):
            await events.__anext__()
        assert near.statistics().events_lost == 3
        async with open_peer_nursery(make_manager(5)) as far:
            peer, _ = await join(near, far)
            assert await events.__anext__() == PeerConnected(peer)


async def test_events_reader_made_after_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, near.subscribe() as inbox, near.events() as events:
        pass
    assert [one async for one in events] == []
    assert [one async for one in inbox] == []
