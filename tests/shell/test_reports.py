"""Reports: what the manager tells goes to who owns it, in one order, and whoever waits hears of an end."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import Note, make_manager, open_pair
from tests.support.inside import session_of
from triolight import DisconnectCode, PeerClosed, PeerConnected, PeerDisconnected, open_peer_nursery
from triolight.messages import Init, Ping, Pong
from triolight.shell.link import link_of
from triolight.testing import scripted_peer


async def test_a_peer_is_news_and_there_and_no_stranger_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as peers, peers.events() as events:
        async with scripted_peer(peers) as peer:
            await peer.expect(Init)
            await trio.testing.wait_all_tasks_blocked()
            assert (peers.statistics().strangers, peers.statistics().inbound_peers, dict(peers.peers)) == (1, 0, {})
            await peer.send(Init())
            connected = await anext(events)
            assert isinstance(connected, PeerConnected)
            assert peers.peers == {peer.node_id: connected.peer}
            assert (peers.statistics().strangers, peers.statistics().inbound_peers) == (0, 1)
        left = await anext(events)
        assert isinstance(left, PeerDisconnected)
        assert left.peer is connected.peer
        assert left.reason == await connected.peer.wait_closed()
        assert dict(peers.peers) == {}
        assert peers.statistics().disconnects == {left.reason.code: 1}


async def test_an_end_reaches_all_who_wait(autojump_clock: trio.testing.MockClock) -> None:
    heard: dict[str, DisconnectCode] = {}
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        peers.events() as events,
        scripted_peer(peers) as peer,
        trio.open_nursery() as nursery,
    ):
        await peer.exchange_inits()
        connected = await anext(events)
        assert isinstance(connected, PeerConnected)
        ours = connected.peer

        async def ping() -> None:
            with pytest.raises(PeerClosed) as caught:
                await ours.ping()
            heard["ping"] = caught.value.reason.code

        async def closed() -> None:
            heard["closed"] = (await ours.wait_closed()).code

        async def read() -> None:
            async with ours.subscribe(Note) as inbox:
                async for _ in inbox:
                    raise AssertionError
            heard["inbox"] = DisconnectCode.REQUESTED

        for wait in (ping, closed, read):
            nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == {}
        await ours.disconnect("enough")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()  # who has not heard waits for ever
    assert heard == dict.fromkeys(("ping", "closed", "inbox"), DisconnectCode.REQUESTED)


async def test_the_last_words_have_the_goodbye_deadline(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair(goodbye_deadline=7) as pair:
        session = session_of(pair.to_far)
        link = link_of(session.descriptor)
        assert (link.reason, session.reason) == (None, None)
        before = trio.current_time()
        await pair.to_far.disconnect("enough")
        assert link.reason == session.reason
        assert link.reason is not None
        assert link.reason.message == "enough"
        assert before + 7 <= link.goodbye_at <= trio.current_time() + 7
        assert link.descriptor.ends_at == link.goodbye_at
        assert link.counts[:2] != (0, 0), "what it has carried is kept"


async def test_a_pong_that_nobody_asked_for_frees_who_has_given_up(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        peers.events() as events,
        scripted_peer(peers) as peer,
    ):
        await peer.exchange_inits()
        connected = await anext(events)
        assert isinstance(connected, PeerConnected)
        ours = connected.peer
        with trio.move_on_after(1):
            await ours.ping(3)
        await peer.expect(Ping)
        assert ours.statistics().pings_outstanding == 1
        await peer.send_raw(bytes.fromhex("0013000100"))  # one byte, not three
        await peer.send(Ping(num_pong_bytes=0))
        await peer.expect(Pong())
        assert ours.statistics().pings_outstanding == 0
        assert ours.statistics().rtt_last is None, "it answers none of ours"
