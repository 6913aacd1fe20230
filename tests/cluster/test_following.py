"""Another back takes up the sessions of the one before it: nothing is lost, and little comes twice."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, ListLogger, Note, Order, identity, join
from tests.support.fleets import (
    BACK,
    CONFIG,
    FRONT,
    Fleet,
    FrontByHand,
    back_of_fronts,
    becomes,
    open_fleet,
    stranger,
)
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    MessageHandler,
    PeerConnected,
    PeerDisconnected,
    RoutingMessageHandler,
    SendMessages,
)
from triolight.cluster.back import RemotePeers, back_on
from triolight.cluster.bus import Appended, FleetError
from triolight.cluster.bus import EngineAway as NoAnswer
from triolight.cluster.events import EngineAway, EngineBack, FrontJoined, FrontLost
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.remote import RemotePeer
from triolight.messages import Message

CODE = DisconnectCode


class Killed(BaseException):
    """Ends a back without a word."""


@asynccontextmanager
async def next_back(
    fleet: Fleet, handlers: MessageHandler | None = None, sessions: str = "resume"
) -> AsyncIterator[RemotePeers]:
    async with back_on(
        fleet.engine.bus(),
        identity(1),
        handlers,
        messages=MESSAGES,
        sessions=sessions,  # type: ignore[arg-type]
        logger=ListLogger(),
    ) as back:
        yield back


async def test_what_was_handled_does_not_come_again_and_all_else_does(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two", sessions="resume") as fleet, stranger(2) as far, stranger(3) as other:
        theirs, _ = await join(far, fleet.fronts["one"])
        quiet, _ = await join(other, fleet.fronts["two"])
        async with fleet.back.subscribe(Note) as inbox:
            for number in range(10):
                await theirs.send(Note(payload=b"%d" % number))
                await trio.sleep(1)  # an entry each
            for number in range(5):
                assert (await anext(inbox))[1].payload == b"%d" % number
            position = inbox.position
            assert position is not None
            await trio.sleep(1)
            # Killed, with the fifth in hand.
            fleet.buses["back"].cut = True
            for number in range(10, 20):
                await theirs.send(Note(payload=b"%d" % number))
            async with next_back(fleet) as back, back.subscribe(Note, PeerConnected, PeerDisconnected) as again:
                lives = {}
                heard = []
                for _ in range(18):
                    peer, what = await anext(again)
                    if isinstance(what, PeerConnected):
                        assert what == PeerConnected(peer, resumed=True)
                        lives[peer.node_id] = peer
                    else:
                        heard.append((peer, what, again.position))
                peer = lives[identity(2)]
                assert (peer.front, lives[identity(3)].front) == ("one", "two")
                assert peer.init == fleet.fronts["one"].peers[identity(2)].init
                assert [one[:2] for one in heard] == [(peer, Note(payload=b"%d" % number)) for number in range(4, 20)]
                places = [one[2] for one in heard]
                assert places[0] == position
                assert [one.seq for one in places if one] == sorted({one.seq for one in places if one})
                async with far.subscribe(Note) as down:
                    await peer.send(Note(payload=b"and down"))
                    assert (await anext(down))[1].payload == b"and down"
                assert await lives[identity(3)].ping() == 0
                await quiet.disconnect()
                gone, event = await anext(again)
                assert (gone, type(event)) == (lives[identity(3)], PeerDisconnected)
                assert (theirs.reason, fleet.told) == (None, [("one", "serving", ""), ("two", "serving", "")])


async def test_a_session_that_ended_meanwhile_is_told_of_to_its_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", sessions="resume") as fleet, stranger(2) as far, stranger(3) as other:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        await trio.sleep(3)
        fleet.buses["back"].cut = True
        await theirs.send(Note(payload=b"last"))
        await theirs.disconnect()
        await join(other, fleet.fronts["one"])
        async with next_back(fleet) as back, back.subscribe(Note, PeerConnected, PeerDisconnected) as inbox:
            told = [await anext(inbox) for _ in range(4)]
            of_one = [what for peer, what in told if peer.node_id == identity(2)]
            assert [type(what) for what in of_one] == [PeerConnected, Note, PeerDisconnected]
            resumed = {peer.node_id: what.resumed for peer, what in told if isinstance(what, PeerConnected)}
            assert resumed == {identity(2): True, identity(3): False}
            assert {*back.peers} == {identity(3)}


async def test_a_front_that_died_beside_its_back(autojump_clock: trio.testing.MockClock) -> None:
    """What it had appended is heard, then its end."""
    async with open_fleet("one", sessions="resume") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        await trio.sleep(3)
        fleet.buses["back"].cut = True
        for number in range(3):
            await theirs.send(Note(payload=b"%d" % number))
        await trio.sleep(1)
        fleet.buses["one"].cut = True
        fleet.scopes["one"].cancel()
        async with next_back(fleet) as back, back.subscribe(Note, PeerConnected, PeerDisconnected) as inbox:
            told = [(await anext(inbox))[1] for _ in range(5)]
            assert [one.payload for one in told if isinstance(one, Note)] == [b"0", b"1", b"2"]
            assert isinstance(told[0], PeerConnected)
            assert isinstance(told[4], PeerDisconnected)
            assert told[4].reason.code is CODE.FRONT_LOST
            await becomes(lambda: fleet.engine.fronts() == ())
            assert (fleet.engine.claims, fleet.engine.kept("one")) == ({}, None)


class Echo(CustomMessageHandler):
    """Answers orders, and notes them."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[bytes] = []

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        if isinstance(message, Order):
            self.heard.append(message.payload)
            self.push(SendMessages(node_id, Note(payload=message.payload)))


def handlers_of(custom: CustomMessageHandler) -> MessageHandler:
    return MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), custom_handler=custom)


async def test_what_a_handler_has_returned_from_was_handled(autojump_clock: trio.testing.MockClock) -> None:
    first, second = Echo(), Echo()
    async with (
        open_fleet("one", handlers=handlers_of(first), sessions="resume") as fleet,
        stranger(2) as far,
        far.subscribe(Note) as answers,
    ):
        theirs, _ = await join(far, fleet.fronts["one"])
        for number in range(10):
            await theirs.send(Order(payload=b"%d" % number))
        await trio.sleep(5)
        fleet.buses["back"].cut = True
        for number in range(10, 20):
            await theirs.send(Order(payload=b"%d" % number))
        async with next_back(fleet, handlers_of(second)):
            assert [(await anext(answers))[1].payload for _ in range(20)] == [b"%d" % number for number in range(20)]
        assert (first.heard, second.heard) == (
            [b"%d" % number for number in range(10)],
            [b"%d" % number for number in range(10, 20)],
        )


async def test_leaving_by_an_exception_leaves_the_sessions(autojump_clock: trio.testing.MockClock) -> None:
    """And the message in hand, for which the inbox was left, comes again."""
    async with open_fleet("one", sessions="resume") as fleet, stranger(2) as far:
        fleet.buses["back"].cut = True
        caught = []
        async with trio.open_nursery() as nursery:

            async def program() -> None:
                try:
                    async with next_back(fleet) as back, back.subscribe(Note) as inbox:
                        async for _, note in inbox:
                            if note.payload == b"2":
                                raise Killed
                except Killed as error:
                    caught.append(error)

            nursery.start_soon(program)
            await trio.sleep(20)
            theirs, _ = await join(far, fleet.fronts["one"])
            for number in range(4):
                await theirs.send(Note(payload=b"%d" % number))
                await trio.sleep(1)
        assert len(caught) == 1
        async with next_back(fleet) as back, back.subscribe(Note) as inbox:
            assert [(await anext(inbox))[1].payload for _ in range(2)] == [b"2", b"3"]
            assert theirs.reason is None
        # Left without one: goodbye.
        assert (await theirs.wait_closed()).message.endswith("shutting down")


@pytest.mark.parametrize(("first", "second"), [("fresh", "resume"), ("resume", "fresh")])
async def test_both_have_to_want_it(first: str, second: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", sessions=first) as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        await trio.sleep(3)
        fleet.buses["back"].cut = True
        async with next_back(fleet, sessions=second) as back:
            assert (await theirs.wait_closed()).message.endswith("has started anew; reconnect")
            await becomes(lambda: {*back.fronts} == {"one"})
            assert back.peers == {}
            async with stranger(3) as other:
                await join(other, fleet.fronts["one"])
                await becomes(lambda: {*back.peers} == {identity(3)})


async def test_a_slow_reader_holds_what_may_come_again(autojump_clock: trio.testing.MockClock) -> None:
    """One that has stopped is waited for, not the others: they are heard, and come again with it."""
    async with open_fleet("one", sessions="resume") as fleet, stranger(2) as far, stranger(3) as other:
        theirs, _ = await join(far, fleet.fronts["one"])
        quick, _ = await join(other, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 2)
        slow: RemotePeer = fleet.back.peers[identity(2)]
        async with slow.subscribe(Note, buffer_bytes=1000), fleet.back.subscribe(Order) as orders:
            for number in range(5):
                await theirs.send(Note(payload=b"%d" % number + bytes(800)))
                await trio.sleep(1)
            await quick.send(Order(payload=b"quick"))
            assert (await anext(orders))[1].payload == b"quick"
            fleet.buses["back"].cut = True
            async with next_back(fleet) as back, back.subscribe(Note, Order) as inbox:
                heard = [(await anext(inbox))[1] for _ in range(6)]
                assert [one.payload[:1] for one in heard if isinstance(one, Note)] == [b"0", b"1", b"2", b"3", b"4"]
                assert Order(payload=b"quick") in heard


# Fronts whose words are the test's.


class Noting(MemoryBus):
    """Knows which fronts it has fenced."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.fenced: list[str] = []

    async def fence(self, front: str, front_token: bytes, token: bytes) -> None:
        self.fenced.append(front)
        await super().fence(front, front_token, token)


async def test_who_is_silent_is_fenced_before_it_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """But not for a lease after the engine was away, when nobody could renew."""
    engine = MemoryEngine()
    bus, front = Noting(engine), FrontByHand(engine)
    async with (
        back_on(bus, identity(1), messages=MESSAGES, logger=ListLogger()) as back,
        trio.open_nursery() as nursery,
    ):
        async with back.events() as events:
            await nursery.start(front.enter)
            assert await anext(events) == FrontJoined("one", "")
            await front.connected(1, identity(2))
            assert isinstance(await anext(events), PeerConnected)
            await trio.sleep(1)
            engine.away = True
            await trio.sleep(15)
            assert await anext(events) == EngineAway()
            front.bus.cut = True
            engine.away = False
            await trio.sleep(8)
            assert (await anext(events), bus.fenced, {*back.fronts}) == (EngineBack(), [], {"one"})
            await becomes(lambda: not back.fronts, 15)
            assert bus.fenced == ["one"]
            assert isinstance(await anext(events), PeerDisconnected)
            lost = await anext(events)
            assert isinstance(lost, FrontLost)
            assert (lost.front, lost.reason.code) == ("one", CODE.FRONT_LOST)
            # It comes again, and is heard from its first word on.
            again = FrontByHand(engine, token=b"\x55" * 16)
            await nursery.start(again.enter)
            assert isinstance(await anext(events), FrontJoined)
            await again.connected(1, identity(3))
            await becomes(lambda: {*back.peers} == {identity(3)})
            # A stream that is broken costs it its place at once.
            await again.connected(1, identity(3))
            await becomes(lambda: not back.fronts)
            assert bus.fenced == ["one", "one"]
        nursery.cancel_scope.cancel()


async def test_a_front_that_the_engine_has_lost(autojump_clock: trio.testing.MockClock) -> None:
    async with back_of_fronts("one") as (back, (front,)):
        await front.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        (peer,) = back.peers.values()
        front.engine.forget_front("one", front.token)
        with trio.fail_after(10):
            assert (await peer.wait_closed()).code is CODE.ENGINE_LOST
        await becomes(lambda: not back.fronts)


@pytest.mark.parametrize("sessions", ["fresh", "resume"])
async def test_what_an_engine_has_lost_is_not_taken_from_what_it_is_told_next(
    sessions: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word to it that it was away for is not said again once it is back without what it had."""
    away, consume = True, MemoryBus.consume_up

    async def consume_up(bus: MemoryBus, front: str, *rest: Any) -> None:
        if away:
            await trio.lowlevel.checkpoint()
            raise NoAnswer("of this alone")
        await consume(bus, front, *rest)

    monkeypatch.setattr(MemoryBus, "consume_up", consume_up)
    async with back_of_fronts("one", sessions=sessions) as (back, (front,)), trio.open_nursery() as nursery:
        await front.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        (peer,) = back.peers.values()
        front.engine.forget_everything()
        assert (await peer.wait_closed()).code is CODE.ENGINE_LOST
        again = FrontByHand(front.engine, "one", bytes([77]) * 16)
        await nursery.start(again.enter)
        await becomes(lambda: {*back.fronts} == {"one"})
        away = False
        await trio.sleep(5)
        assert again.waits == 0
        await again.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        await trio.sleep(5)
        assert again.waits == 0
        nursery.cancel_scope.cancel()


async def test_what_is_left_by_an_error_does_not_come_again_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async with back_of_fronts("one", sessions="resume") as (back, (front,)):
        await front.connected(1, identity(2))
        await trio.sleep(1)
        with pytest.raises(Killed):
            async with back.subscribe(Note) as inbox:
                await front.said(1, Note(payload=b"one"))
                await anext(inbox)
                raise Killed
        await trio.sleep(1)
        assert front.waits == 1
        await trio.sleep(5)
        assert front.waits == 0


async def test_what_a_dead_front_has_said_is_committed_before_it_is_forgotten(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """While somebody reads it, another back would still want it."""
    async with (
        back_of_fronts("one", sessions="resume") as (back, (front,)),
        back.subscribe(Note, PeerDisconnected) as inbox,
    ):
        await front.connected(1, identity(2))
        await front.said(1, Note(payload=b"one"))
        await becomes(lambda: len(back.peers) == 1)
        await front.bus.leave_front("one", front.token)
        await becomes(lambda: not back.peers)
        await trio.sleep(10)
        assert (len(front.engine.fronts()), front.waits) == (1, 1)
        assert (await anext(inbox))[1] == Note(payload=b"one")
        assert isinstance((await anext(inbox))[1], PeerDisconnected)
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
        await trio.sleep(1)
        assert front.engine.fronts() == ()


async def test_what_was_read_of_a_front_is_told_a_moment_later(autojump_clock: trio.testing.MockClock) -> None:
    async with back_of_fronts("one") as (_, (front,)):
        await front.connected(1, identity(2))
        await front.said(1, Note(payload=b"one"))
        await trio.sleep(0.01)
        assert front.waits == 2
        await trio.sleep(0.1)
        assert front.waits == 0


async def test_what_was_read_of_a_front_is_told_at_its_end_at_the_latest(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the engine has not heard that it may be forgotten, it is followed once more: nothing may come again."""
    forget, read, ends, gate = MemoryBus.forget_front, MemoryBus.read_up, list[bytes](), trio.Event()

    async def forget_front(bus: MemoryBus, front: str, front_token: bytes, *others: Any) -> None:
        ends.append(front_token)
        if len(ends) == 1:
            raise NoAnswer("no answer came")
        await forget(bus, front, front_token, *others)

    async def read_up(bus: MemoryBus, *arguments: Any) -> Sequence[Appended]:
        await gate.wait()
        return await read(bus, *arguments)

    monkeypatch.setattr(MemoryBus, "forget_front", forget_front)
    monkeypatch.setattr(MemoryBus, "read_up", read_up)
    async with back_of_fronts("one") as (back, (front,)), back.subscribe(Note, PeerConnected) as inbox:
        await front.connected(1, identity(2))
        await front.said(1, Note(payload=b"one"))
        await front.bus.leave_front("one", front.token)
        await trio.sleep(5)
        gate.set()  # the back knows of its end when it reads this
        await becomes(lambda: front.engine.fronts() == () and not back.peers)
        assert ends == [front.token] * 2
        assert [type((await anext(inbox))[1]) for _ in range(2)] == [PeerConnected, Note]
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()


async def test_a_front_of_another_back_s_time_is_cleared_away(autojump_clock: trio.testing.MockClock) -> None:
    """By a back that takes up nobody's sessions."""
    engine = MemoryEngine()
    bus, front = engine.bus(), FrontByHand(engine)
    assert await bus.enter_back(BACK, CONFIG)
    assert await front.bus.enter_front("one", FRONT, BACK, "")
    await front.connected(1, identity(2))
    await bus.leave_back(BACK)
    async with back_on(engine.bus(), identity(1), messages=MESSAGES) as back, back.events() as events:
        await trio.sleep(5)
        assert len(engine.fronts()) == 1
        await becomes(lambda: engine.fronts() == (), 10)
        with trio.move_on_after(1) as scope:
            await anext(events)
        assert scope.cancelled_caught


async def test_another_back_ends_the_sessions_of_this_one(autojump_clock: trio.testing.MockClock) -> None:
    ended: list[str] = []
    engine = MemoryEngine()
    front = FrontByHand(engine)
    async with trio.open_nursery() as nursery:
        with pytest.raises(FleetError):
            async with back_on(engine.bus(), identity(1), messages=MESSAGES) as back:
                await nursery.start(front.enter)
                await front.connected(1, identity(2))
                await becomes(lambda: len(back.peers) == 1)
                (peer,) = back.peers.values()
                state = engine.back()
                assert state is not None
                engine.leave_back(state.token)
                assert engine.enter_back(BACK, CONFIG)
                try:
                    await trio.sleep_forever()
                finally:
                    ended.append(str(peer.reason and peer.reason.code))
        nursery.cancel_scope.cancel()
    assert ended == ["BACK_RESTARTED"]
