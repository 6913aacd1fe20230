"""Statistics: each session and each stream is added to the past once, and what has ended stays in the sums."""

from __future__ import annotations

import dataclasses
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Note, identity, join, make_manager, open_pair
from tests.support.inside import sums_of
from triolight import Peer, open_peer_nursery
from triolight.messages import Ping, Pong
from triolight.shell import statistics
from triolight.shell.pings import Pings
from triolight.tally import Traffic, by_name


async def test_a_peers_numbers_are_its_own(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(Note) as inbox:
        await pair.to_far.send(Note(payload=b"12"), Note(payload=b"3"))
        await anext(inbox)
        await pair.to_far.ping(5)
        near, far = pair.to_far.statistics(), pair.to_near.statistics()
        assert near.sent["note"] == far.received["note"] == Traffic(2, 2 * 2 + 3)
        assert near.sent["ping"] == far.received["ping"]
        assert near.received["pong"] == far.sent["pong"] == Traffic(1, 4 + 5)
        assert (near.messages_sent, near.messages_received) == (far.messages_received, far.messages_sent) == (4, 2)
        assert near.bytes_received == far.bytes_sent > far.sent["pong"].size
        assert near.pings_outstanding == 0
        assert near.rtt_last is not None
        assert far.rtt_last is None
        assert near.queued_bytes == 0
        with pytest.raises(dataclasses.FrozenInstanceError):
            near.throttled = 1  # type: ignore[misc]


async def test_what_has_ended_is_in_the_sums_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as hub:
        for number in (2, 3):
            async with open_peer_nursery(make_manager(number)) as guest:
                to_hub, _ = await join(guest, hub)
                await to_hub.send(Note(payload=b"12345"))
                await to_hub.ping(3)
                during = hub.statistics()
                assert (during.peers, during.inbound_peers) == (1, 1)
                assert during.received["note"] == Traffic(number - 1, 7 * (number - 1))
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(2):  # to look changes nothing
                after = hub.statistics()
                assert (after.peers, after.inbound_peers, after.strangers) == (0, 0, 0)
                assert after.received["note"] == Traffic(number - 1, 7 * (number - 1))
                assert after.received["ping"].messages == after.sent["pong"].messages == number - 1
                assert sum(after.disconnects.values()) == number - 1
        assert after.received["init"].messages == 2
        assert {Ping.name, Pong.name} & {*after.received} == {"ping"}


async def test_pauses_of_who_is_here_and_of_who_has_gone_add_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as hub, hub.subscribe(Note, buffer_bytes=1) as inbox:
        for number in (2, 3):
            async with open_peer_nursery(make_manager(number)) as guest:
                to_hub, at_hub = await join(guest, hub)
                # The first finds room, whatever it is; the second waits for it, and the peer is not read.
                await to_hub.send(*[Note(payload=bytes(1000))] * 2)
                await trio.testing.wait_all_tasks_blocked()
                assert at_hub.statistics().reading_paused == 1
                assert hub.statistics().reading_paused == number - 1
                assert hub.statistics().inbox_bytes == at_hub.statistics().inbox_bytes > 1000
                for _ in range(2):
                    peer, _ = await anext(inbox)
                    assert peer is at_hub
                await to_hub.ping()
            await at_hub.wait_closed()
            assert hub.statistics().reading_paused == number - 1
            assert hub.statistics().inbox_bytes == 0
    assert identity(2) not in hub.peers


async def test_a_snapshot_in_slices_is_that_of_one_step(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(statistics, "CONNECTIONS_AT_ONCE", 2)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(open_peer_nursery(make_manager(1)))
        assert hub.statistics().rtt_seconds == {}
        for number in range(2, 7):
            to_hub, at_hub = await join(await stack.enter_async_context(open_peer_nursery(make_manager(number))), hub)
            await to_hub.send(Note(payload=bytes(number)))
            await to_hub.ping()
            await at_hub.ping()
        assert await hub.gather_statistics() == hub.statistics()
        assert hub.statistics().received["note"].messages == 5
        assert hub.statistics().rtt_seconds == {"0": 0, "0.5": 0, "1": 0}


async def test_who_comes_and_goes_between_slices_is_counted_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr(statistics, "CONNECTIONS_AT_ONCE", 1)
    async with AsyncExitStack() as stack:
        hub = await stack.enter_async_context(open_peer_nursery(make_manager(1)))
        inbox = await stack.enter_async_context(hub.subscribe(Note, buffer_bytes=1))
        at_hub: list[Peer] = []

        async def come(number: int) -> None:
            to_hub, here = await join(await stack.enter_async_context(open_peer_nursery(make_manager(number))), hub)
            at_hub.append(here)
            await to_hub.send(*[Note(payload=bytes(1000))] * 3)  # the second one pauses it
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(3):
                await anext(inbox)
            await trio.testing.wait_all_tasks_blocked()

        for number in (2, 3, 4):
            await come(number)
        before = hub.statistics()
        sums = sums_of(hub)
        slices = sums.slices()
        next(slices)
        # One that has been asked, and one that has not: both are in the past's sums when the others are asked.
        await at_hub[0].disconnect()
        await at_hub[2].disconnect()
        await come(5)
        for _ in slices:
            pass
        assert by_name(sums.received, hub.manager.messages)["note"] == before.received["note"] == Traffic(9, 9 * 1002)
        assert sums.pauses == before.reading_paused > 0
        after = await hub.gather_statistics()
        assert after.received["note"] == Traffic(12, 12 * 1002)
        assert (after.peers, after.reading_paused) == (2, before.reading_paused // 3 * 4)


def test_round_trips_are_spread_by_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "CONNECTIONS_AT_ONCE", 2)
    manager = make_manager(1)
    sessions: list[Any] = []
    for seconds in (0.5, 0.1, None, 0.9, 0.2):
        pings = Pings()
        if seconds is not None:
            pings.take_place()
            pings.answered(None, seconds)
        sessions.append(SimpleNamespace(mailbox=SimpleNamespace(pauses=1), throttles=2, pings=pings))
    sums = statistics.Sums(manager, statistics.Totals(), [], sessions)
    assert [*sums.slices()] == [None] * 3
    assert sums.spread == {"0": 0.1, "0.5": pytest.approx(0.35), "1": 0.9}
    assert (sums.pauses, sums.throttles) == (5, 10)
