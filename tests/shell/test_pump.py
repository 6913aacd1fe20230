"""The pump: what is due is done at its time on the mock clock, and nothing that waits for it is more than slow."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from tests.support import (
    MESSAGES,
    ListLogger,
    Note,
    identity,
    make_manager,
    open_pair,
    port_of,
    secret,
    until,
)
from tests.support.independent import dial as dial_raw
from tests.support.inside import links_of, routing_of, timers_of
from triolight import (
    ConnectError,
    DisconnectCode,
    PeerClosed,
    open_peer_nursery,
)
from triolight.keys import SecretKey
from triolight.manager.routing import Routes
from triolight.messages import Ping, Pong, UnknownMessage
from triolight.noise import ACT_ONE_LENGTH, Handshake
from triolight.testing import scripted_peer


async def test_a_quiet_day(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        await trio.sleep(24 * 3600 + 1)
        for peer in (pair.to_far, pair.to_near):
            statistics = peer.statistics()
            assert statistics.messages_sent == 1 + 2 * (24 * 3600 // 30)
            assert statistics.pings_outstanding == 0
            assert statistics.rtt_last == 0


async def test_keepalive_ends_a_silent_peer(autojump_clock: trio.testing.MockClock) -> None:
    """Black hole: the streams stay open, and nothing comes any more."""
    async with open_peer_nursery(make_manager(1)) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        with trio.CancelScope() as far_scope:
            async with trio.open_nursery() as nursery:

                async def far() -> None:
                    async with open_peer_nursery(make_manager(2), goodbye_deadline=0) as peers:
                        peer = await peers.attach(theirs)
                        # Never reads again, and never says a word.
                        peers.manager.hold_reading(next(iter(links_of(peers))), True)
                        await peer.wait_closed()

                nursery.start_soon(far)
                peer = await near.attach(ours, identity(2))
                began = trio.current_time()
                reason = await peer.wait_closed()
                assert reason.code is DisconnectCode.PING_TIMEOUT
                assert trio.current_time() - began == 60
                far_scope.cancel()


async def test_keepalive_ends_a_chatty_peer_that_never_answers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        # The far manager forgets how to answer.
        routing = routing_of(pair.far.manager)
        forgets = (Ping.decode, lambda source, message: None, False, False)
        routing.routes = Routes({**routing.routes.by_type, Ping.type: forgets})

        async def chat() -> None:
            with pytest.raises(PeerClosed):
                while True:
                    await pair.to_near.send(Note(payload=b"still here"))
                    await trio.sleep(5)

        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(chat)
            reason = await pair.to_far.wait_closed()
            assert reason.code is DisconnectCode.PING_TIMEOUT
            assert trio.current_time() - began == 90
            assert "no pong" in reason.message


async def test_handshake_and_init_deadlines(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        for inbound in (True, False):
            ours, theirs = trio.testing.memory_stream_pair()
            began = trio.current_time()
            with pytest.raises(ConnectError) as caught:
                await near.attach(ours, None if inbound else identity(2))
            assert caught.value.reason.code is DisconnectCode.HANDSHAKE_TIMEOUT
            assert trio.current_time() - began == 15
            received = b""
            while data := await theirs.receive_some(100):
                received += data
            assert len(received) == (0 if inbound else 50)


async def test_write_stall_ends_a_peer_that_takes_no_byte(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with open_peer_nursery(make_manager(1), ping_interval=20, pong_deadline=60) as near:
        async with open_peer_nursery(make_manager(2), ping_interval=math.inf) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            to_near = far.peers[identity(1)]
            far.manager.hold_reading(next(iter(links_of(far))), True)
            await peer.send(*[Note(payload=bytes(60_000))] * 3)

            async def talk() -> None:
                while True:
                    await to_near.send(Pong(ignored=b""))
                    await trio.sleep(3)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                reason = await peer.wait_closed()
                nursery.cancel_scope.cancel()
        assert reason.code is DisconnectCode.WRITE_STALLED


async def test_who_takes_nothing_ends_though_nobody_pings(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1), ping_interval=math.inf) as peers:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.attach, theirs)
            async with scripted_peer(ours, identity(1), messages=MESSAGES) as stranger:
                await stranger.exchange_inits()
                await trio.testing.wait_all_tasks_blocked()
                (peer,) = peers.peers.values()
                peers.manager.send_message(peer.node_id, Note(payload=b"which nobody reads"))
                with trio.fail_after(200):
                    reason = await peer.wait_closed()
    assert reason.code is DisconnectCode.WRITE_STALLED


async def test_work_queued_from_outside_goes_out_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox:
        pair.near.manager.send_message(identity(2), Note(payload=b"now"))
        began = trio.current_time()
        await inbox.__anext__()
        assert trio.current_time() == began
        await until(lambda: pair.to_far.statistics().queued_bytes == 0)


async def test_timers_of_strangers_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        for _ in range(1_500):
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.aclose()
            with pytest.raises(ConnectError):
                await near.attach(ours)
        assert len(timers_of(near)) <= 1_030


async def test_a_deadline_that_rounds_down_is_still_due(mock_clock: trio.testing.MockClock) -> None:
    """At some times (t + 30) - t is less than 30. The peer is ended all the same, at once."""
    start = next(one / 10 for one in range(1, 1000) if (one / 10 + 60) - (one / 10 + 30) < 30)
    mock_clock.jump(start)

    async def settle() -> None:
        for _ in range(500):
            await trio.lowlevel.checkpoint()

    async with open_peer_nursery(make_manager(1), ping_interval=30, pong_deadline=30) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        async with open_peer_nursery(make_manager(2), ping_interval=math.inf) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            ours.send_stream.send_all_hook = trio.lowlevel.checkpoint
            theirs.send_stream.send_all_hook = trio.sleep_forever  # nothing comes back
            try:
                mock_clock.jump(30)
                await settle()
                sent_at = trio.current_time()
                mock_clock.jump(30)
                await settle()
                assert trio.current_time() - sent_at <= 30
                assert peer.reason is not None
                assert peer.reason.code is DisconnectCode.PING_TIMEOUT
            finally:
                mock_clock.autojump_threshold = 0


@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_a_full_channel_to_the_pump_is_only_slow(
    capacity: int, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.nursery.EVENTS_CAPACITY", capacity)
    monkeypatch.setattr("triolight.shell.pump.TAKEN_AT_ONCE", max(1, capacity))
    monkeypatch.setattr("triolight.shell.turns.TURN_WORK", 2)
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(pair.to_far.send, Note(payload=b"%d" % number))
            nursery.start_soon(pair.to_near.ping, number)
        pair.near.manager.send_message(identity(2), Note(payload=b"from outside"))
        assert len([await inbox.__anext__() for _ in range(21)]) == 21
        nursery.cancel_scope.cancel()


async def test_a_handshake_without_init_ends_at_its_deadline(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    logger = ListLogger()
    async with open_peer_nursery(make_manager(1, logger=logger), init_deadline=7) as peers:
        client, _ = await dial_raw(await port_of(peers), identity(1))
        assert await client.until_closed() == ([], False)
        await client.stream.aclose()
    assert "no Init within 7 seconds" in logger


async def test_an_unknown_even_message_from_a_peer_in_the_middle_of_much(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox:
        notes = [Note(payload=b"%d" % number) for number in range(200)]
        await pair.to_far.send(*notes, UnknownMessage(43002, b""), Note(payload=b"never"))
        reason = await pair.to_near.wait_closed()
        assert reason.code is DisconnectCode.UNKNOWN_EVEN_MESSAGE
        for note in notes:
            assert (await inbox.__anext__())[1] == note
        assert pair.to_near.statistics().messages_received == 202


async def test_a_peer_does_not_wait_behind_all_who_shake_hands() -> None:
    """Of forty acts that come at once each is a turn's work; a ping after them is answered among the first."""
    answered = 0

    async def shake_hands(number: int) -> None:
        nonlocal answered
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(pair.near.attach, ours)
        key = SecretKey(secret(100 + number))
        await theirs.send_all(Handshake(key, key, pair.near.manager.our_node_id).act_one())
        await theirs.receive_some(ACT_ONE_LENGTH)
        answered += 1
        first.set()

    first = trio.Event()
    async with open_pair() as pair, trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(shake_hands, number)
        await first.wait()
        await pair.to_near.ping()
        assert answered < 15
        await until(lambda: answered == 40)
        nursery.cancel_scope.cancel()
