"""Subscribers: in order, whole, and slowed down alone; the bounds of what waits for them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    ListLogger,
    Note,
    Order,
    join,
    make_manager,
    open_pair,
)
from tests.support.inside import session_of
from triolight import (
    ConnectError,
    DisconnectCode,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    Policy,
    Side,
    open_peer_nursery,
)
from triolight.messages import MESSAGE_OVERHEAD, Pong, TxSignatures, UnknownMessage, Warning
from triolight.messages.bolt2 import Witness


async def test_messages_arrive_in_order_at_waiting_and_busy_subscribers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.far.subscribe(Note) as all_notes, pair.to_near.subscribe() as everything:
        for number in range(300):
            await pair.to_far.send(Note(payload=b"%d" % number))
        got = [await all_notes.__anext__() for _ in range(300)]
        assert got == [(pair.to_near, Note(payload=b"%d" % number)) for number in range(300)]
        assert [await everything.__anext__() for _ in range(300)] == [message for _, message in got]
        # Now both wait, and what comes goes straight to them.
        results: list[Any] = []

        async def take(inbox: Any) -> None:
            results.append(await inbox.__anext__())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(take, all_notes)
            nursery.start_soon(take, everything)
            await trio.testing.wait_all_tasks_blocked()
            await pair.to_far.send(Note(payload=b"last"))
        assert len(results) == 2


async def test_subscribers_get_the_types_they_asked_for(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(Note, Pong) as some:
        await pair.to_far.send(Order(payload=b""), UnknownMessage(43001, b"odd"), Note(payload=b"x"))
        assert await some.__anext__() == Note(payload=b"x")
        async with pair.to_near.subscribe(UnknownMessage) as unknown:
            await pair.to_far.send(UnknownMessage(43001, b"odd"))
            assert await unknown.__anext__() == UnknownMessage(43001, b"odd")


async def test_iteration_ends_with_the_peer_after_what_it_said(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(Note) as inbox:
        await pair.to_far.send(*[Note(payload=b"%d" % number) for number in range(20)])
        await pair.to_far.ping()
        await pair.to_far.disconnect("that was all")
        reason = await pair.to_near.wait_closed()
        assert (reason.code, reason.by) == (DisconnectCode.PEER_CLOSED, Side.PEER)
        assert "that was all" in reason.message
        assert [message.payload async for message in inbox] == [b"%d" % number for number in range(20)]
        # A subscription made after the end ends at once.
        async with pair.to_near.subscribe() as late:
            assert [message async for message in late] == []


async def test_a_slow_subscriber_slows_its_own_peer_only(autojump_clock: trio.testing.MockClock) -> None:
    hub = make_manager(1)
    async with (
        open_peer_nursery(hub, ping_interval=math.inf) as centre,
        open_peer_nursery(make_manager(2)) as slow,
        open_peer_nursery(make_manager(3)) as quick,
    ):
        slow_peer, to_hub = await join(centre, slow)
        quick_peer, quick_to_hub = await join(centre, quick)
        sent = 0

        async def flood() -> None:
            nonlocal sent
            for _ in range(400):
                await to_hub.send(Note(payload=bytes(10_000)))
                sent += 1

        async with slow_peer.subscribe(Note, buffer_bytes=64 * 1024) as inbox, trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await trio.testing.wait_all_tasks_blocked()
            stuck = sent
            assert stuck < 100
            statistics = slow_peer.statistics()
            assert statistics.reading_paused == 1
            assert statistics.inbox_bytes < 64 * 1024 + 2 * 10_512
            for _ in range(10):
                await quick_to_hub.ping()
                await quick_peer.ping()
            assert sent == stuck
            for _ in range(400):
                await inbox.__anext__()
        assert sent == 400


async def test_a_subscriber_that_stops_reading_ends_its_peer(autojump_clock: trio.testing.MockClock) -> None:
    logger = ListLogger()
    async with (
        open_peer_nursery(make_manager(1, logger=logger), stall_deadline=60) as centre,
        open_peer_nursery(make_manager(2)) as far,
        open_peer_nursery(make_manager(3)) as other,
    ):
        peer, to_hub = await join(centre, far)
        _, other_to_hub = await join(centre, other)
        began = trio.current_time()

        async def flood() -> None:
            with pytest.raises(PeerClosed):
                while True:
                    await to_hub.send(Note(payload=bytes(10_000)))

        async with peer.subscribe(Note), trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            reason = await peer.wait_closed()
            assert reason.code is DisconnectCode.SUBSCRIBER_STALLED
            assert 60 <= trio.current_time() - began < 61
        assert "a subscriber of ours does not read" in logger
        assert await other_to_hub.ping() >= 0
        assert other_to_hub.statistics().messages_received >= 1


async def test_ping_in_the_loop_that_reads_ends_by_itself(autojump_clock: trio.testing.MockClock) -> None:
    """The classic hang: the pong waits behind messages that only this loop would read."""
    async with open_pair() as pair:

        async def stream() -> None:
            with pytest.raises(PeerClosed):
                while True:
                    await pair.to_near.send(Note(payload=bytes(5_000)))

        async def hang() -> None:
            async with pair.to_far.subscribe(Note) as inbox:
                async for _ in inbox:
                    await pair.to_far.ping()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream)
            with pytest.raises(PeerClosed) as caught:
                await hang()
        assert caught.value.reason.code is DisconnectCode.SUBSCRIBER_STALLED


async def test_two_peers_that_send_before_they_read(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        messages = [Note(payload=bytes(65_000)) for _ in range(8_000_000 // 65_000)]

        async def send_then_read(peer: Peer) -> int:
            async with peer.subscribe(Note) as inbox:
                for one in messages:
                    await peer.send(one)
                return len([await inbox.__anext__() for _ in messages])

        async def run(peer: Peer) -> None:
            try:
                await send_then_read(peer)
            except PeerClosed as error:
                reasons.append(error.reason)

        reasons: list[Any] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, pair.to_far)
            nursery.start_soon(run, pair.to_near)
        assert reasons
        assert all(reason.code in (DisconnectCode.SUBSCRIBER_STALLED, DisconnectCode.PEER_CLOSED) for reason in reasons)


async def test_a_subscriber_that_leaves_frees_its_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def flood() -> None:
            for _ in range(100):
                await pair.to_far.send(Note(payload=bytes(30_000)))

        for subscribe in (pair.to_near.subscribe, pair.far.subscribe):
            async with subscribe(Note, buffer_bytes=10_000) as inbox:
                nursery.start_soon(flood)
                await inbox.__anext__()
                await trio.testing.wait_all_tasks_blocked()
                assert pair.to_near.statistics().inbox_bytes > 0
            assert pair.to_near.statistics().inbox_bytes == 0
            await pair.to_far.ping()


async def test_all_peers_of_a_subscriber_share_a_bound(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.shell.inboxes.SUBSCRIPTION_TOTAL_BYTES", 40_000)
    async with (
        open_peer_nursery(make_manager(1), ping_interval=math.inf) as hub,
        hub.subscribe(Note) as inbox,
        open_peer_nursery(make_manager(2)) as two,
        open_peer_nursery(make_manager(3)) as three,
        trio.open_nursery() as nursery,
    ):
        for far in (two, three):
            peer, _ = await join(far, hub)

            async def flood(peer: Any = peer) -> None:
                for _ in range(200):
                    await peer.send(Note(payload=bytes(3_000)))

            nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked()
        waiting = sum(peer.statistics().inbox_bytes for peer in hub.peers.values())
        assert 20_000 < waiting <= 40_000 + 2 * 3_514
        for _ in range(400):
            await inbox.__anext__()


async def test_what_an_ended_peer_said_waits_for_its_subscriber_no_longer_than_a_live_ones(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The stall deadline counts from when the peer was held, or something was last taken, and not from its end."""
    async with (
        open_pair(stall_deadline=60, ping_interval=1_000, pong_deadline=1_000) as pair,
        pair.far.subscribe(Note, buffer_bytes=1_000) as inbox,
    ):
        began = trio.current_time()
        for number in range(5):
            await pair.to_far.send(Note(payload=bytes([number]) * 600))
        await trio.sleep(50)
        await pair.to_near.disconnect()
        mailbox = session_of(pair.to_near).mailbox
        assert mailbox.delivering
        await trio.sleep(began + 59.9 - trio.current_time())
        assert mailbox.delivering
        await trio.sleep(0.2)
        assert not mailbox.delivering
        # What it had room for is there.
        assert (await inbox.__anext__())[1] == Note(payload=bytes(600))


MANY = TxSignatures(channel_id=bytes(32), txid=bytes(32), witnesses=(Witness(witness_data=b""),) * 20_000)


async def test_a_message_of_many_pieces_waits_as_its_bytes(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []
    decode = TxSignatures.decode

    def count(data: bytes) -> TxSignatures:
        decoded.append(data)
        return decode(data)

    monkeypatch.setattr(TxSignatures, "decode", count)
    size = len(MANY.encode())
    async with open_pair() as pair, pair.to_near.subscribe(TxSignatures) as busy:
        await pair.to_far.send(MANY)
        await pair.to_far.ping()
        assert pair.to_near.statistics().inbox_bytes == size + MESSAGE_OVERHEAD
        assert await busy.__anext__() == MANY
        assert len(decoded) == 1
        assert pair.to_near.statistics().inbox_bytes == 0
        # Whoever waits for it gets it as it was decoded.
        async with trio.open_nursery() as nursery:

            async def take() -> None:
                assert await busy.__anext__() == MANY

            nursery.start_soon(take)
            await trio.testing.wait_all_tasks_blocked()
            await pair.to_far.send(MANY)
        assert len(decoded) == 1
        # As for those that find no room: all come, in order.
        async with pair.to_near.subscribe(TxSignatures, Note, buffer_bytes=1) as small:
            await pair.to_far.send(MANY, Note(payload=b"1"), MANY, Note(payload=b"2"))
            assert [await small.__anext__() for _ in range(4)] == [MANY, Note(payload=b"1"), MANY, Note(payload=b"2")]


async def test_lives_and_words_come_in_one_order(autojump_clock: trio.testing.MockClock) -> None:
    """However slowly they are read: what a peer said stands between its beginning and its end."""
    async with (
        open_peer_nursery(make_manager(1)) as near,
        near.subscribe(Note, PeerConnected, PeerDisconnected, buffer_bytes=4096) as inbox,
        near.subscribe() as messages_alone,
    ):
        for number in range(2, 5):
            async with open_peer_nursery(make_manager(number)) as far:
                to_near, _ = await join(far, near)
                await to_near.send(*[Note(payload=bytes([number]) + b"%d" % one) for one in range(50)])
        heard: dict[Peer, list[Any]] = {}
        with trio.move_on_after(10):
            async for peer, what in inbox:
                heard.setdefault(peer, []).append(what)
                await trio.sleep(0.01)
        assert len(heard) == 3
        for peer, whole in heard.items():
            assert whole[0] == PeerConnected(peer)
            assert [one.payload[1:] for one in whole[1:-1]] == [b"%d" % one for one in range(50)]
            assert whole[-1] == PeerDisconnected(peer, await peer.wait_closed())
        assert near.statistics().strangers == 3
        # Without being asked for them, nobody hears of lives.
        said = [type(message) for _, message in [await messages_alone.__anext__() for _ in range(153)]]
        assert (said.count(Note), said.count(Warning)) == (150, 3)
        assert near.statistics().inbox_bytes == near.statistics().strangers == 0
    assert [one async for one in inbox] == []


async def test_an_end_that_was_not_read_counts_as_a_stranger(autojump_clock: trio.testing.MockClock) -> None:
    policy = Policy(max_strangers=2)
    async with (
        open_peer_nursery(make_manager(1), policy=policy) as near,
        near.subscribe(PeerDisconnected) as inbox,
    ):
        for number in range(2, 4):
            async with open_peer_nursery(make_manager(number)) as far:
                await join(far, near)
        assert near.statistics().strangers == 2
        with pytest.raises(ConnectError) as refused:
            await near.attach(trio.testing.memory_stream_pair()[0])
        assert refused.value.reason.code is DisconnectCode.TOO_MANY_STRANGERS
        await inbox.__anext__()
        async with open_peer_nursery(make_manager(4)) as far:
            await join(far, near)


async def test_whoever_did_not_hear_of_a_beginning_hears_of_no_end(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.shell.inboxes.SUBSCRIPTION_TOTAL_BYTES", MESSAGE_OVERHEAD)
    async with (
        open_peer_nursery(make_manager(1), stall_deadline=20) as near,
        near.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
        open_peer_nursery(make_manager(2)) as first,
        open_peer_nursery(make_manager(3)) as second,
    ):
        _, known = await join(first, near)
        to_near, unknown = await join(second, near)
        # There is no room for its beginning, so that its first words stop the reading of it.
        await to_near.send(Note(payload=b"hello"))
        assert (await unknown.wait_closed()).code is DisconnectCode.SUBSCRIBER_STALLED
        assert await inbox.__anext__() == (known, PeerConnected(known))
        await known.disconnect()
        assert (await inbox.__anext__())[0] is known
        assert near.statistics().inbox_bytes == 0


async def test_a_subscriber_without_room_that_leaves_holds_up_nobody(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whose beginning it had no room for goes on as if it had never been there."""
    monkeypatch.setattr("triolight.shell.inboxes.SUBSCRIPTION_TOTAL_BYTES", MESSAGE_OVERHEAD)
    async with (
        open_peer_nursery(make_manager(1), stall_deadline=20) as near,
        open_peer_nursery(make_manager(2)) as first,
        open_peer_nursery(make_manager(3)) as second,
        near.subscribe(Note) as other,
    ):
        async with near.subscribe(Note, PeerConnected):
            await join(first, near)
            to_near, unknown = await join(second, near)
            await to_near.send(Note(payload=b"hello"))
            await trio.testing.wait_all_tasks_blocked()
        assert await other.__anext__() == (unknown, Note(payload=b"hello"))
        await trio.sleep(100)
        assert unknown.reason is None
        await to_near.send(Note(payload=b"again"))
        assert await other.__anext__() == (unknown, Note(payload=b"again"))
        assert near.statistics().inbox_bytes == 0


async def test_lives_are_told_of_all_peers_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        with pytest.raises(TypeError, match=r"a subscriber wants classes of messages, not <class .*PeerConnected'>"):
            pair.to_near.subscribe(PeerConnected)  # type: ignore[type-var]


async def test_when_a_message_was_read_is_known(mock_clock: trio.testing.MockClock) -> None:
    """However late it is taken, and of a long one when its last piece was."""
    wall = 1_700_000_000_000_000_000

    def unix_ns() -> int:
        return wall + int(trio.current_time() * 1e9)

    async with (
        open_peer_nursery(make_manager(1), unix_ns=unix_ns) as near,
        open_peer_nursery(make_manager(2)) as far,
        near.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
    ):
        assert inbox.received_at is None
        to_near, _ = await join(far, near)
        for seconds in (5, 7):
            mock_clock.jump(seconds)
            await to_near.send(Note(payload=b"now"))
            await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(100)
        seen: list[float] = []
        for _ in range(3):
            await inbox.__anext__()
            assert inbox.received_at is not None
            seen.append(inbox.received_at.monotonic - mock_clock.current_time() + 112)
            assert inbox.received_at.unix_ns == wall + int(inbox.received_at.monotonic * 1e9)
        assert seen == pytest.approx([0, 5, 12])
        mock_clock.autojump_threshold = 0
        await to_near.disconnect()
        _, event = await inbox.__anext__()
        assert isinstance(event, PeerDisconnected)
        assert inbox.received_at is not None
        assert inbox.received_at.monotonic >= 112


async def test_what_waits_is_taken_without_waiting(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        async with pair.to_near.subscribe(Note) as inbox:
            with pytest.raises(trio.WouldBlock):
                inbox.receive_nowait()
            await pair.to_far.send(Note(payload=b"1"), Note(payload=b"2"))
            await pair.to_far.ping()
            assert inbox.receive_nowait() == Note(payload=b"1")
            assert inbox.received_at is not None
            await pair.to_far.disconnect()
            await pair.to_near.wait_closed()
            assert inbox.receive_nowait() == Note(payload=b"2")
            with pytest.raises(trio.EndOfChannel):
                inbox.receive_nowait()
        with pytest.raises(trio.EndOfChannel):
            inbox.receive_nowait()
