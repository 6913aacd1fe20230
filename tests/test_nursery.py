"""The Trio shell over memory streams on the mock clock: lives and ends of peers, subscribers, backpressure, time."""

from __future__ import annotations

import math
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    MESSAGES,
    ListLogger,
    Note,
    Order,
    identity,
    join,
    make_manager,
    open_pair,
    port_of,
    until,
)
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    EventsLost,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    Side,
    open_peer_nursery,
)
from triolight.connection import MAX_PINGS
from triolight.manager.routing import Routes
from triolight.messages import Init, Message, Ping, Pong, UnknownMessage, Warning


async def test_both_sides_know_each_other(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        assert pair.to_far.node_id == identity(2)
        assert pair.to_near.node_id == identity(1)
        assert (pair.to_far.inbound, pair.to_near.inbound) == (False, True)
        assert pair.near.peers == {identity(2): pair.to_far}
        assert pair.to_far.init.features.hex() == "08a0002a0aa222"
        assert pair.to_far.features.offers("option_data_loss_protect")
        assert pair.to_far.address is None
        assert "connected" in repr(pair.to_far)
        assert "1 peers" in repr(pair.near)
    assert pair.near.peers == {}
    assert (await pair.to_far.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.SHUTDOWN)
    assert (await pair.to_near.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.SHUTDOWN)


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


async def test_send_after_the_end_raises_with_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        await pair.to_far.disconnect("enough")
        for call in (pair.to_far.send(Note(payload=b"")), pair.to_far.ping()):
            with pytest.raises(PeerClosed, match="enough") as caught:
                await call
            assert caught.value.reason.code is DisconnectCode.REQUESTED
        await pair.to_far.disconnect()
        assert pair.to_far.statistics().messages_sent == 1


async def test_an_oversized_message_raises_in_the_caller(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        with pytest.raises(ValueError, match="65536"):
            await pair.to_far.send(Note(payload=bytes(65534)))
        await pair.to_far.send(Note(payload=bytes(65533)))
        await pair.to_far.ping()


async def test_waiting_calls_are_woken_by_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """A full queue, an outstanding ping, and whoever waits for the end: all hear of it."""
    ended: list[str] = []

    async def flood(peer: Peer) -> None:
        with pytest.raises(PeerClosed):
            while True:
                await peer.send(Note(payload=bytes(60000)))
        ended.append("send")

    async def ping(peer: Peer) -> None:
        with pytest.raises(PeerClosed):
            await peer.ping()
        ended.append("ping")

    async with open_peer_nursery(make_manager(1), ping_interval=math.inf) as near:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with open_peer_nursery(make_manager(2)) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            async with trio.open_nursery() as nursery, far.subscribe(buffer_bytes=1):
                nursery.start_soon(flood, peer)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ping, peer)
                await trio.testing.wait_all_tasks_blocked()
                far.manager.disconnect_by_node_id(identity(1), "go away")
                reason = await peer.wait_closed()
                assert "go away" in reason.message
    assert sorted(ended) == ["ping", "send"]


class CountsSteps(trio.abc.Instrument):
    """How often tasks of a name were run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += task.name == self.name


async def test_who_waits_for_the_end_sleeps_through_all_that_comes_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Send room comes and goes a hundred times, with a sender that waits for it; the end comes once."""
    steps = CountsSteps("waits for the end")
    trio.lowlevel.add_instrument(steps)
    try:
        async with open_pair() as pair, pair.to_near.subscribe(Note) as inbox, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(pair.to_far.wait_closed, name=steps.name)
            await trio.testing.wait_all_tasks_blocked()
            before = steps.steps

            @nursery.start_soon
            async def _() -> None:
                for _ in range(100):
                    await pair.to_far.send(Note(payload=bytes(60_000)))

            for _ in range(100):
                await inbox.__anext__()
            assert steps.steps == before
            await pair.to_far.disconnect()
    finally:
        trio.lowlevel.remove_instrument(steps)
    assert steps.steps == before + 10


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
                        peers.manager.hold_reading(next(iter(peers._parts.present.links)), True)
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
        routing = pair.far.manager._routing
        forgets = (Ping.decode, lambda source, message: None, 65_535, False, False)
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
            far.manager.hold_reading(next(iter(far._parts.present.links)), True)
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


async def test_events_and_subscriptions_end_with_the_nursery(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        pass
    async with near.events() as events, near.subscribe() as inbox:
        assert [event async for event in events] == []
        assert [message async for message in inbox] == []
    with pytest.raises(ConnectError, match="SHUTDOWN"):
        await near.connect(f"{identity(2).hex()}@127.0.0.1:1")
    with pytest.raises(PeerClosed, match="SHUTDOWN"):
        await near.listen(0, host="127.0.0.1")
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(ConnectError, match="SHUTDOWN"):
        await near.attach(ours, identity(2))
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_one_manager_one_open_block(autojump_clock: trio.testing.MockClock) -> None:
    manager = make_manager(1)
    async with open_peer_nursery(manager):
        with pytest.raises(RuntimeError, match="one manager, one open block"):
            async with open_peer_nursery(manager):
                pass
    async with open_peer_nursery(manager):
        pass


class Bug(Exception):
    pass


class Buggy(CustomMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.calls += 1
        raise Bug("in a handler")

    def peer_disconnected(self, node_id: bytes) -> None:
        self.calls += 1


async def test_a_handlers_bug_leaves_in_a_group_and_the_goodbyes_go_out(autojump_clock: trio.testing.MockClock) -> None:
    buggy = Buggy()
    async with open_peer_nursery(make_manager(3)) as third, third.subscribe(Warning) as goodbyes:
        with pytest.RaisesGroup(Bug):
            async with (
                open_peer_nursery(make_manager(1, custom=buggy)) as near,
                open_peer_nursery(make_manager(2)) as far,
            ):
                await join(near, third)
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))
                await trio.sleep_forever()
        assert buggy.calls == 1
        _, goodbye = await goodbyes.__anext__()
        assert goodbye.data == b"an internal error, shutting down"


async def test_a_bodys_exception_leaves_bare(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2)) as far, far.subscribe(Warning) as goodbyes:
        with pytest.raises(KeyError, match="mine"):
            async with open_peer_nursery(make_manager(1)) as near:
                await join(near, far)
                raise KeyError("mine")
        _, goodbye = await goodbyes.__anext__()
        assert goodbye.data == b"shutting down"


async def test_a_bodys_group_leaves_bare_too(autojump_clock: trio.testing.MockClock) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.RaisesGroup(KeyError):
        async with open_peer_nursery(make_manager(1)), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
    with pytest.RaisesGroup(pytest.RaisesGroup(KeyError)):
        async with open_peer_nursery(make_manager(1)), trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
            outer.cancel_scope.cancel()


async def test_both_exceptions_leave_in_one_group(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2)) as far:
        with pytest.RaisesGroup(KeyError, Bug):
            async with open_peer_nursery(make_manager(1, custom=Buggy())) as near:
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("mine")


async def test_refusing_handlers_words_reach_the_dialler(autojump_clock: trio.testing.MockClock) -> None:
    class Refuses(ChannelMessageHandler):
        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> bool:
            return False

    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2, chan=Refuses())) as far:
        port = await port_of(far)
        async with near.subscribe(Warning) as warnings:
            peer = await near.connect(NodeAddress(identity(2), "127.0.0.1", port))
            assert b"refused" in (await warnings.__anext__())[1].data
            assert (await peer.wait_closed()).code is DisconnectCode.PEER_CLOSED


async def test_registry_of_the_manager_is_used(autojump_clock: trio.testing.MockClock) -> None:
    assert Note in MESSAGES
    async with open_pair(far=make_manager(2, messages=MESSAGES)) as pair, pair.far.subscribe() as inbox:
        await pair.to_far.send(Order(payload=b"even, but known"))
        assert await inbox.__anext__() == (pair.to_near, Order(payload=b"even, but known"))


async def test_work_queued_from_outside_goes_out_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox:
        pair.near.manager.send_message(identity(2), Note(payload=b"now"))
        began = trio.current_time()
        await inbox.__anext__()
        assert trio.current_time() == began
        await until(lambda: pair.to_far.statistics().queued_bytes == 0)


async def test_a_second_crash_is_not_swallowed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is a handler's; whatever comes after it, with all handlers silenced, is our own bug."""

    class Ours(Exception):
        pass

    async with open_peer_nursery(make_manager(2)) as far:
        with pytest.RaisesGroup(Bug, Ours, flatten_subgroups=True):
            async with open_peer_nursery(make_manager(1, custom=Buggy())) as near:
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))

                def bug(*args: object) -> None:
                    raise Ours

                monkeypatch.setattr(near.manager, "disconnect_all_peers", bug)
                await trio.sleep_forever()


async def test_leaving_while_others_come_and_dial(autojump_clock: trio.testing.MockClock) -> None:
    """Listeners made, dials begun and streams attached in the moment of leaving: refused, and closed."""
    outcomes: list[str] = []

    async def trying(call: Any) -> None:
        try:
            await call
        except PeerClosed:
            outcomes.append("PeerClosed")
        except ConnectError as error:
            outcomes.append(error.reason.code)

    async with trio.open_nursery() as nursery, open_peer_nursery(make_manager(1)) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(trying, near.attach(ours, identity(2)))
        nursery.start_soon(trying, near.listen(0, host="127.0.0.1"))
        nursery.start_soon(trying, near.connect(NodeAddress(identity(3), "127.0.0.1", 1)))
        await trio.lowlevel.checkpoint()
    assert len(outcomes) >= 1
    while await theirs.receive_some(100):
        pass


async def test_events_reader_made_after_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, near.subscribe() as inbox, near.events() as events:
        pass
    assert [one async for one in events] == []
    assert [one async for one in inbox] == []


async def test_timers_of_strangers_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        for _ in range(1_500):
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.aclose()
            with pytest.raises(ConnectError):
                await near.attach(ours)
        assert len(near._parts.timers) <= 1_030


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
