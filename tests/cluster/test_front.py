"""Fronts: one node at one of them, and every end of a life."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, Order, identity, join, make_manager
from tests.support.by_hand import AGAIN, by_hand
from tests.support.fleets import BACK, CONFIG, Fleet, SlowBus, becomes, open_fleet, stranger
from triolight import ConnectError, DisconnectCode, Peer, PeerNursery, open_peer_nursery
from triolight.cluster import front as front_module
from triolight.cluster import rules
from triolight.cluster.bus import Appended, BackState, EngineAway, FleetError
from triolight.cluster.front import serve_front
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import (
    ENGINE,
    NO_CONNECTION,
    UP,
    Connected,
    Dial,
    Disconnect,
    Displaced,
    Ended,
    Ponged,
    Said,
    Send,
    SendPing,
    decode_entry,
    encode_entry,
    encode_record,
)
from triolight.cluster.rules import DIALS, Answer
from triolight.cluster.streams import Used
from triolight.cluster.wanted import FleetConfig
from triolight.logger import Level
from triolight.messages.structures import Structure

CODE = DisconnectCode
S = TypeVar("S", bound=Structure)


async def test_the_newest_of_one_direction_wins_at_whichever_front(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far, fleet.back.subscribe() as inbox:
        first, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: identity(2) in fleet.back.peers)
        peer = fleet.back.peers[identity(2)]
        async with open_peer_nursery(make_manager(2)) as again:
            second, _ = await join(again, fleet.fronts["two"])
            await becomes(lambda: first.reason is not None and len(fleet.back.peers) == 1)
            assert "another connection with you was kept" in str(first.reason)
            assert (await peer.wait_closed()).code is CODE.DUPLICATE
            assert fleet.back.peers[identity(2)].front == "two"
            await second.send(Note(payload=b"here"))
            assert (await anext(inbox))[0].front == "two"
            assert len(fleet.engine.claims) == 1
        await becomes(lambda: not fleet.back.peers and not fleet.engine.claims)


async def test_of_two_that_cross_the_smaller_id_s_stays(autojump_clock: trio.testing.MockClock) -> None:
    """We are the smaller one, or the larger, and both have dialled."""
    for number in (2, 3):
        smaller = identity(1) < identity(number)
        async with open_fleet("one", "two") as fleet, stranger(number) as far, stranger(number) as other:
            dialled = (await join(fleet.fronts["one"], far))[1]  # by us
            await becomes(lambda: len(fleet.back.peers) == 1)
            found: list[Peer] = []

            async def dial(found: list[Peer] = found, other: PeerNursery = other, fleet: Fleet = fleet) -> None:
                found.append((await join(other, fleet.fronts["two"]))[0])

            async with trio.open_nursery() as nursery:
                nursery.start_soon(dial)
                await trio.sleep(5)
                nursery.cancel_scope.cancel()
            (peer,) = fleet.back.peers.values()
            assert peer.front == ("one" if smaller else "two")
            assert (dialled.reason is None) is smaller


async def test_a_fenced_front_ends_its_peers_and_comes_again(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far:
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        await ours.send(Note(payload=b"x"))
        fleet.buses["one"].cut = True
        # It says nothing for a lease: given up, while its own patience lasts.
        began = trio.current_time()
        assert (await peer.wait_closed()).code is CODE.FRONT_LOST
        assert trio.current_time() - began <= 10 + 2 + 2
        assert ours.reason is None
        fleet.buses["one"].cut = False
        reason = await ours.wait_closed()
        assert reason.message.endswith("this front was given up; reconnect")
        await becomes(lambda: {*fleet.back.fronts} == {"one", "two"})
        assert [one for one in fleet.told if one[0] == "one"] == [
            ("one", "serving", ""),
            ("one", "over", "FENCED"),
            ("one", "serving", ""),
        ]
        async with stranger(3) as third:
            await join(third, fleet.fronts["one"])
            await becomes(lambda: len(fleet.back.peers) == 1)


async def test_who_waits_when_a_life_ends_hears_why(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, trio.open_nursery() as nursery:

        async def come() -> None:
            try:
                await join(far, fleet.fronts["one"])
            except* ConnectError:
                pass

        fleet.buses["one"].cut = True
        await trio.sleep(5)
        nursery.start_soon(come)
        await becomes(lambda: len(far.peers) == 1)
        (ours,) = far.peers.values()
        await becomes(lambda: not fleet.back.fronts)
        fleet.buses["one"].cut = False
        assert (await ours.wait_closed()).message.endswith("this front was given up; reconnect")


async def test_an_outage_that_is_short_costs_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, fleet.back.subscribe(Note) as inbox:
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        fleet.engine.away = True
        for number in range(100):
            await ours.send(Note(payload=bytes([number])))
        await trio.sleep(15)
        await ours.ping()
        fleet.engine.away = False
        assert [(await anext(inbox))[1].payload[0] for _ in range(100)] == list(range(100))
        await trio.sleep(30)
        assert (peer.reason, ours.reason) == (None, None)


async def test_an_engine_that_is_full_ends_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """For as long as it takes: peers are not read, and what they say comes once there is room."""
    async with (
        open_fleet("one") as fleet,
        stranger(2, ping_interval=math.inf, pong_deadline=math.inf) as far,
        stranger(3) as new,
        fleet.back.subscribe(Note) as inbox,
        far.subscribe(Order) as down,
        fleet.back.events() as events,
    ):
        ours, _ = await join(far, fleet.fronts["one"])
        await anext(events)
        (peer,) = fleet.back.peers.values()
        fleet.engine.full = True
        sent: list[int] = []

        async def refused() -> None:
            with pytest.RaisesGroup(ConnectError):  # nobody new is let in: claims need room
                await join(new, fleet.fronts["one"])

        async def say() -> None:
            for number in range(150):
                await ours.send(Note(payload=bytes([number]) * 20_000))
                sent.append(number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(say)
            nursery.start_soon(peer.send, Order(payload=b"down"))
            nursery.start_soon(refused)
            await trio.sleep(14)
            assert 0 < len(sent) < 100
            assert len(fleet.back.peers) == 1
            before = len(sent)
            await trio.sleep(86)
            assert (len(sent), ours.reason, peer.reason) == (before, None, None)
            fleet.engine.full = False
            assert [(await anext(inbox))[1].payload[0] for _ in range(150)] == [*range(150)]
        assert (await anext(down))[1] == Order(payload=b"down")
        logger = fleet.fronts["one"].manager.logger
        assert isinstance(logger, ListLogger)
        words = [record.message for record in logger.records if record.level is Level.WARN]
        for one in ("the engine is full: peers are not read", "the engine has room again"):
            assert one in words


class Deaf(MemoryBus):
    """An engine that does not let a front read what is said to it."""

    async def read_down(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        await trio.lowlevel.checkpoint()
        raise EngineAway("not this")


async def say(fleet: Fleet, conn: int, *whats: Structure) -> int:
    """As the back, in one entry; a back of ours would not. How many tasks there are more, at the most."""
    (state,), stream = fleet.engine.fronts(), fleet.engine.stream("one", False)
    assert stream is not None
    stream.append(encode_entry(state.back, stream.next_seq, [encode_record(conn, one) for one in whats]), len(whats))
    stream.next_seq += len(whats)
    before = most = trio.lowlevel.current_statistics().tasks_living
    for _ in range(50):
        await trio.lowlevel.checkpoint()
        most = max(most, trio.lowlevel.current_statistics().tasks_living)
    return most - before


async def test_dials_are_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet:
        address = f"{identity(3).hex()}@host:1".encode()
        for _ in range(2):  # those of before are over
            dials = [Dial(ask=number, address=address) for number in range(2 * DIALS + 500)]
            assert 2 * DIALS <= await say(fleet, 0, *dials) < 2 * DIALS + 20
            await trio.sleep(1)


@pytest.mark.parametrize(
    ("what", "words"),
    [(Send(messages=()), "wait to be written to you"), (Disconnect(code=b"REQUESTED", words=b"go"), "go")],
    ids=["nothing", "goodbyes"],
)
async def test_what_is_said_to_one_peer_is_counted_also_if_it_is_nothing(
    what: Structure, words: str, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "DOWN_BYTES", 10_000)
    async with open_fleet("one") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        assert await say(fleet, 1, *[what] * 5_000) < 20
        with trio.fail_after(60):
            assert (await theirs.wait_closed()).message.endswith(words)


async def test_answers_that_are_lost_double_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_fleet("one") as fleet,
        stranger(2) as far,
        far.subscribe(Note) as heard,
        fleet.back.subscribe(Note) as inbox,
    ):
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        for number in range(30):
            fleet.buses["one"].answers_lost = fleet.buses["back"].answers_lost = number % 3
            await ours.send(Note(payload=bytes([number])))
            await peer.send(Note(payload=bytes([number])))
        await trio.sleep(5)
        assert [inbox.receive_nowait()[1].payload[0] for _ in range(30)] == list(range(30))
        assert [heard.receive_nowait()[1].payload[0] for _ in range(30)] == list(range(30))
        for one in (inbox, heard):
            with pytest.raises(trio.WouldBlock):
                one.receive_nowait()


async def test_a_front_that_cannot_hear_its_back_while_all_else_is_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus = Deaf(MemoryEngine())
    assert await bus.enter_back(BACK, CONFIG)
    async with (
        open_peer_nursery(make_manager(1, messages=FleetConfig(CONFIG).messages)) as peers,
        stranger(2) as far,
        trio.open_nursery() as nursery,
    ):

        async def live() -> None:
            while True:
                await bus.renew_back(BACK)
                await trio.sleep(1)

        async def come() -> None:
            await trio.sleep(1)
            theirs.append((await join(far, peers))[0])

        theirs: list[Peer] = []
        nursery.start_soon(live)
        nursery.start_soon(come)
        with trio.fail_after(60), pytest.raises(FleetError) as caught:
            await serve_front(peers, bus, id="one")
        assert caught.value.reason.code is CODE.ENGINE_LOST
        assert trio.current_time() >= 40
        assert "the engine is away" in (await theirs[0].wait_closed()).message
        nursery.cancel_scope.cancel()


async def test_an_outage_that_is_long_ends_the_front(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    config = CONFIG.replace(types=(37913,))
    assert await bus.enter_back(BACK, config)
    wanted = FleetConfig(config)
    async with open_peer_nursery(make_manager(1, messages=wanted.messages)) as peers, stranger(2) as far:
        caught: list[FleetError] = []

        async def serve() -> None:
            try:
                await serve_front(peers, engine.bus(), id="one")
            except FleetError as error:
                caught.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            await trio.sleep(1)
            ours, _ = await join(far, peers)
            engine.away = True
            reason = await ours.wait_closed()
            assert reason.message.endswith("the engine is away for 20 seconds")
        assert [one.reason.code for one in caught] == [CODE.ENGINE_LOST]
        assert 20 <= trio.current_time() <= 25


async def test_a_back_that_is_away_and_another_one(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG)
    told: list[str] = []
    async with (
        open_peer_nursery(make_manager(1, messages=FleetConfig(CONFIG).messages)) as peers,
        stranger(2) as far,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(
            lambda: serve_front(
                peers, bus, id="one", told=lambda what, reason: told.append(reason.code if reason else what)
            )
        )
        await trio.sleep(1)
        ours, _ = await join(far, peers)
        await trio.sleep(9)
        # Another back, before the grace of the first one is over.
        assert await bus.enter_back(bytes([7]) * 16, CONFIG)
        assert (await ours.wait_closed()).message.endswith("has started anew; reconnect")
        await becomes(lambda: told == ["serving", "BACK_RESTARTED", "serving"])
        ours, _ = await join(far, peers)
        assert (await ours.wait_closed()).message.endswith("what decides here is away for 30 seconds")
        assert told[-1] == "BACK_LOST"
        nursery.cancel_scope.cancel()


async def test_another_back_that_offers_something_else_is_noticed(autojump_clock: trio.testing.MockClock) -> None:
    """The manager cannot change: whoever has made it begins again, also if the types that travel are the same."""
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(BACK, CONFIG.replace(resumes=1))
    told: list[str] = []
    async with open_peer_nursery(make_manager(1, messages=FleetConfig(CONFIG).messages)) as peers:

        async def change() -> None:
            await becomes(lambda: told == ["serving"])
            await bus.leave_back(BACK)
            assert await bus.enter_back(bytes([7]) * 16, CONFIG.replace(features=b"\x08", resumes=1))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(change)
            with pytest.raises(FleetError) as caught:
                await serve_front(peers, bus, id="one", told=lambda what, reason: told.append(what))
        assert caught.value.reason.code is CODE.BACK_RESTARTED
        assert told == ["serving", "over"]


async def test_another_node_s_key(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    assert await engine.bus().enter_back(BACK, CONFIG)
    async with open_peer_nursery(make_manager(2)) as peers:
        with pytest.raises(ValueError, match="another one's key"):
            await serve_front(peers, engine.bus(), id="one")


async def test_an_engine_that_has_lost_something(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        fleet.engine.forget_everything()
        for reason in (await peer.wait_closed(), await ours.wait_closed()):
            assert reason.code is CODE.ENGINE_LOST or "reconnect" in reason.message
        await becomes(lambda: {*fleet.back.fronts} == {"one"})
        async with stranger(3) as third:
            await join(third, fleet.fronts["one"])
            await becomes(lambda: len(fleet.back.peers) == 1)


async def test_who_came_before_it_was_a_front(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    assert await engine.bus().enter_back(BACK, CONFIG)
    async with (
        open_peer_nursery(make_manager(1, messages=FleetConfig(CONFIG).messages)) as peers,
        stranger(2) as far,
        trio.open_nursery() as nursery,
    ):
        ours, _ = await join(far, peers)
        nursery.start_soon(lambda: serve_front(peers, engine.bus(), id="one"))
        assert (await ours.wait_closed()).message.endswith("reconnect")
        nursery.cancel_scope.cancel()


async def test_what_a_back_asks_of_one_peer_is_bounded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front_module, "PINGS", 3)
    monkeypatch.setattr(front_module, "DOWN_BYTES", 1000)
    async with by_hand() as it, stranger(2) as far:
        ours, _ = await join(far, it.peers)
        await becomes(lambda: it.connections == 1)
        await trio.sleep(0.1)
        ((conn, _),) = await it.heard(Connected)
        for seconds in range(2):
            it.say(*[(conn, SendPing(ping=10 * seconds + one, num_pong_bytes=0, ignored=b"")) for one in range(5)])
            await trio.sleep(1)
        # What was answered makes room again.
        assert sorted(what.ping for _, what in await it.heard(Ponged)) == [0, 1, 2, 10, 11, 12]
        note = Note(payload=bytes(400)).encode()
        it.say(*[(conn, Send(messages=(note,)))] * 2)
        await trio.sleep(1)
        assert ours.reason is None
        it.say(*[(conn, Send(messages=(note,)))] * 3)
        await trio.sleep(1)
        assert ours.reason is not None
        ((_, end),) = await it.heard(Ended)
        assert end.reason.code is CODE.QUEUE_FULL
        # Once, all together.
        assert it.engine.fronts()[0].down == Used(0, 0)


async def test_an_engine_says_nothing_but_who_was_displaced(autojump_clock: trio.testing.MockClock) -> None:
    async with by_hand() as it, stranger(2) as far:
        ours, _ = await join(far, it.peers)
        await becomes(lambda: it.connections == 1)
        await trio.sleep(0.1)
        ((conn, _),) = await it.heard(Connected)
        claim = it.engine.claims[identity(2)]
        words = Disconnect(code=b"", words=b"go")
        older = Displaced(node_id=identity(2), number=claim.number - 1, waits=0)
        it.say((conn, words), (NO_CONNECTION, older), token=ENGINE)
        await trio.sleep(1)
        assert (ours.reason, it.told) == (None, ["serving"])
        assert await it.displace(identity(2)) is Answer.TAKE_FROM
        await trio.sleep(0.5)
        assert "another connection with you was kept" in str(ours.reason)


async def test_a_window_counts_what_waits_and_who_is_displaced_meanwhile_is_never_told_of(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "WINDOW_RECORDS", 4)
    async with by_hand() as it, stranger(2) as far, stranger(3) as other:
        ours, _ = await join(far, it.peers)
        await ours.send(*[Note(payload=b"%d" % number) for number in range(30)])
        await trio.sleep(1)
        assert (it.engine.fronts()[0].up.records, len(await it.heard(Said))) == (4, 3)
        gone, _ = await join(other, it.peers)
        await trio.sleep(1)
        assert await it.displace(identity(3)) is Answer.TAKE_FROM
        assert (await gone.wait_closed()).code is CODE.PEER_CLOSED
        said = connected = 0
        for _ in range(12):  # who has no room hears of it with the next renewal
            said, connected = said + len(await it.heard(Said)), connected + len(await it.heard(Connected))
            for position, data in await it.bus.read_up("one", "0", 0):
                await it.bus.consume_up("one", BACK, position, Used(len(data), len(decode_entry(data, UP).records)))
            await trio.sleep(2)
            await it.bus.renew_back(BACK)
        assert (said, connected, it.connections) == (30, 1, 1)


class Unrenewed(MemoryBus):
    """Gives no answer to renewals alone, from the third second to the thirteenth."""

    async def renew_front(self, front: str, token: bytes, peers: int) -> tuple[BackState, Used]:
        if 3 < trio.current_time() < 13:
            raise EngineAway("busy")
        return await super().renew_front(front, token, peers)


async def test_who_could_not_renew_takes_nobody_in(autojump_clock: trio.testing.MockClock) -> None:
    """A balancer is told so. A back that is silent ends nobody yet, and is told of too."""
    async with by_hand(Unrenewed) as it, stranger(2) as far, trio.open_nursery() as nursery:
        await trio.sleep(5)
        assert it.watch.trouble is None
        await trio.sleep(7)
        assert it.watch.trouble is not None
        assert it.watch.trouble.startswith("the engine has not answered for")
        nursery.start_soon(join, far, it.peers)
        await trio.sleep(0.5)
        assert (it.engine.claims, {*it.peers.peers}) == ({}, set())
        await becomes(lambda: {*it.peers.peers} == {identity(2)}, 5)
        assert it.watch.trouble is not None
        assert it.watch.trouble.startswith("the back is silent for 1")
        await it.bus.renew_back(BACK)
        await trio.sleep(3)
        assert it.watch.trouble is None


class SlowFollow(MemoryBus):
    """Its answer that a front follows another back takes a second."""

    async def follow_back(self, front: str, token: bytes, back: bytes) -> bool:
        followed = await super().follow_back(front, token, back)
        await trio.sleep(1)
        return followed


async def test_the_next_back_may_say_something_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with by_hand(SlowFollow, resumes=1) as it, stranger(2) as far, far.subscribe(Note) as notes:
        ours, _ = await join(far, it.peers)
        await becomes(lambda: it.connections == 1)
        await trio.sleep(0.1)
        ((conn, _),) = await it.heard(Connected)
        await it.bus.leave_back(BACK)
        config = await it.bus.read_config()
        assert config is not None
        assert await it.bus.enter_back(AGAIN, config)
        await becomes(lambda: it.engine.fronts()[0].back == AGAIN)
        it.say((conn, Send(messages=(Note(payload=b"at once").encode(),))), token=AGAIN)
        with trio.fail_after(5):
            assert (await anext(notes))[1] == Note(payload=b"at once")
        await trio.sleep(3)
        assert (ours.reason, it.told, it.watch.fenced) == (None, ["serving"], 0)
        # Another one that does not go on with it: that is no fence, and one life more.
        assert await it.bus.enter_back(AGAIN, config)
        await it.bus.leave_back(AGAIN)
        assert await it.bus.enter_back(BACK, config.replace(resumes=0))
        await becomes(lambda: it.told == ["serving", "BACK_RESTARTED", "serving"])
        assert (it.watch.lives, it.watch.fenced) == (2, 0)
        await it.bus.fence("one", it.engine.fronts()[0].token, BACK)
        await becomes(lambda: it.watch.fenced == 1)


async def test_who_has_gone_before_the_engine_s_word_has_no_claim(autojump_clock: trio.testing.MockClock) -> None:
    async with by_hand(SlowBus) as it:
        with trio.move_on_after(0.5):
            async with stranger(2) as far:
                await join(far, it.peers)
        assert {*it.engine.claims} == {identity(2)}
        await trio.sleep(3)
        assert it.engine.claims == {}
