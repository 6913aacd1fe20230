"""Statistics: each session and each stream is added to the past once, and what has ended stays in the sums."""

from __future__ import annotations

import dataclasses

import pytest
import trio
import trio.testing

from tests.support import Note, identity, join, make_manager, open_pair
from triolight import open_peer_nursery
from triolight.messages import Ping, Pong
from triolight.tally import Traffic


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
