"""Claims: whom one life takes in, what it gives up, and who is told that another one has a node."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, cast

import pytest
import trio
import trio.testing

from tests.support import identity, join, make_manager
from tests.support.fleets import BACK, CONFIG, FRONT, OTHER, SlowBus, becomes, stranger
from triolight import ConnectError, open_peer_nursery
from triolight.cluster import claims as claims_module
from triolight.cluster.claims import Claims
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import Displaced
from triolight.cluster.rules import PARKED_SECONDS, Answer
from triolight.shell.newcomers import Newcomer
from triolight.shell.peers import PeerNursery

B = TypeVar("B", bound=MemoryBus)


async def begin(bus: B) -> B:
    assert await bus.enter_back(BACK, CONFIG)
    for name, token in (("one", FRONT), ("two", OTHER)):
        assert await bus.enter_front(name, token, BACK, "")
    return bus


async def welcome(peers: PeerNursery, claims: Claims) -> None:
    async with peers.newcomers() as newcomers, trio.open_nursery() as nursery:
        async for newcomer in newcomers:
            nursery.start_soon(claims.admit, newcomer)


async def test_a_node_is_claimed_as_long_as_it_is_connected(autojump_clock: trio.testing.MockClock) -> None:
    bus, doubts = await begin(MemoryEngine().bus()), [True]
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        stranger(2) as far,
        trio.open_nursery() as nursery,
    ):
        claims = Claims(peers, bus, "one", FRONT, lambda: doubts[0])
        nursery.start_soon(welcome, peers, claims)
        nursery.start_soon(join, far, peers)
        await trio.sleep(5)
        # Who doubts takes nobody in; nor does who gets no answer.
        assert not peers.peers
        doubts[0], bus.cut = False, True
        await trio.sleep(5)
        assert not peers.peers
        bus.cut = False
        await becomes(lambda: len(peers.peers) == 1)
        assert await bus.claims() == 1
        (peer,) = peers.peers.values()
        # An older claim of ours that was lost is no news.
        assert claims.displaced(Displaced(node_id=identity(2), number=0, waits=0)) is None
        await peer.disconnect()
        await trio.sleep(1)
        assert await bus.claims() == 0
        nursery.cancel_scope.cancel()


async def test_another_one_has_it(autojump_clock: trio.testing.MockClock) -> None:
    bus = await begin(MemoryEngine().bus())
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        stranger(2) as far,
        trio.open_nursery() as nursery,
    ):
        claims = Claims(peers, bus, "one", FRONT, lambda: False)
        nursery.start_soon(welcome, peers, claims)
        ours, theirs = await join(peers, far)
        await trio.sleep(1)
        assert claims.displaced(Displaced(node_id=identity(2), number=99, waits=0)) is ours
        assert claims.displaced(Displaced(node_id=identity(2), number=99, waits=0)) is None
        await theirs.disconnect()
        await trio.sleep(1)
        # What is not ours any more is not given up: another one may have it.
        assert await bus.claims() == 1
        nursery.cancel_scope.cancel()


class Late(MemoryBus):
    """Whose word that a claim is given up comes late."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.comes = trio.Event()

    async def release(self, front: str, token: bytes, node_id: bytes, number: int) -> None:
        await self.comes.wait()
        await super().release(front, token, node_id, number)


async def hold(peers: PeerNursery, *, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
    """A node that is connected until its scope is cancelled."""
    with trio.CancelScope() as scope:
        async with stranger(2) as far:
            await join(far, peers)
            task_status.started(scope)
            await trio.sleep_forever()


async def test_who_comes_again_before_its_claim_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    bus = Late(MemoryEngine())
    await begin(bus)
    async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
        nursery.start_soon(welcome, peers, Claims(peers, bus, "one", FRONT, lambda: False))
        (await nursery.start(hold, peers)).cancel()
        await becomes(lambda: not peers.peers)
        again = await nursery.start(hold, peers)
        bus.comes.set()
        await trio.sleep(1)
        assert (len(peers.peers), await bus.claims()) == (1, 1)
        again.cancel()
        await trio.sleep(1)
        assert (len(peers.peers), await bus.claims()) == (0, 0)
        nursery.cancel_scope.cancel()


@dataclass(eq=False)
class Guest:
    """A newcomer that comes and goes when a test says so."""

    node_id: bytes = identity(2)
    inbound: bool = True
    gone: bool = False
    settled: trio.Event = field(default_factory=trio.Event)

    async def decide(self, refusal: object) -> None:
        assert refusal is None

    async def wait_settled(self) -> None:
        await self.settled.wait()


async def ask(claims: Claims, guest: Guest, answers: list[bool]) -> None:
    answers.append(await claims.ask(cast("Newcomer", guest)))


async def test_a_claim_whose_answer_was_lost_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    """So is one whose end the engine has not heard of, because it was away."""
    engine, answers = MemoryEngine(), list[bool]()
    bus = await begin(engine.bus())
    async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
        claims, guest = Claims(peers, bus, "one", FRONT, lambda: False), Guest()
        bus.answers_lost = 1
        nursery.start_soon(ask, claims, guest, answers)
        await becomes(lambda: not bus.answers_lost)
        bus.cut = guest.gone = True
        assert len(engine.claims) == 1
        await trio.sleep(5)
        bus.cut = False
        await trio.sleep(1)
        assert (answers, await bus.claims()) == ([False], 0)
        guest.gone = False
        await ask(claims, guest, answers)
        assert await bus.claims() == 1
        bus.cut = True
        nursery.start_soon(claims.settled, cast("Newcomer", guest))
        await trio.sleep(5)
        bus.cut = False
        await trio.sleep(1)
        assert (answers, await bus.claims()) == ([False, True], 0)


class Slow(MemoryBus):
    """Whose answers to claims come late."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.comes = trio.Event()

    async def claim(
        self,
        front: str,
        token: bytes,
        our_node_id: bytes,
        node_id: bytes,
        number: int,
        inbound: bool,
        waited: bool = False,
    ) -> Answer:
        answer = await super().claim(front, token, our_node_id, node_id, number, inbound, waited)
        await self.comes.wait()
        return answer


@pytest.mark.parametrize("goes", [True, False])
async def test_the_word_that_another_one_has_it_may_come_before_the_answer(
    goes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """It waits, as whoever is displaced, in case that one goes."""
    engine, answers = MemoryEngine(), list[bool]()
    bus = Slow(engine)
    await begin(bus)
    async with open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
        claims = Claims(peers, bus, "one", FRONT, lambda: False)
        nursery.start_soon(ask, claims, Guest(), answers)
        await trio.sleep(1)
        other = MemoryBus(engine)
        assert await other.claim("two", OTHER, identity(1), identity(2), 1, Guest.inbound) is Answer.TAKE_FROM
        assert claims.displaced(Displaced(node_id=identity(3), number=9, waits=0)) is None
        assert claims.displaced(Displaced(node_id=identity(2), number=1, waits=0)) is None
        bus.comes.set()
        await trio.sleep(1)
        assert (answers, claims.has(identity(2))) == ([], False)
        if goes:
            await other.release("two", OTHER, identity(2), 1)
        await trio.sleep(PARKED_SECONDS)
        assert (answers, claims.has(identity(2))) == ([goes], goes)
        assert claims.displaced(Displaced(node_id=identity(2), number=1, waits=0)) is None
        assert claims.has(identity(2)) is goes


async def test_whose_end_is_heard_of_late_takes_nothing_from_who_comes_next(
    autojump_clock: trio.testing.MockClock,
) -> None:
    bus, answers = await begin(MemoryEngine().bus()), list[bool]()
    async with open_peer_nursery(make_manager(1)) as peers:
        claims, first, second = Claims(peers, bus, "one", FRONT, lambda: False), Guest(), Guest()
        await ask(claims, first, answers)
        await ask(claims, second, answers)
        await claims.settled(cast("Newcomer", first))
        await claims.let_go(identity(2))
        assert (claims.has(identity(2)), await bus.claims()) == (True, 1)
        await claims.settled(cast("Newcomer", second))
        assert (claims.has(identity(2)), await bus.claims()) == (False, 0)


async def test_who_has_waited_takes_a_node_from_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """Not from one either that it would have displaced as a newcomer."""
    bus = await begin(MemoryEngine().bus())
    async with open_peer_nursery(make_manager(1)) as peers, stranger(2) as far:
        _, peer = await join(far, peers)
        claims = Claims(peers, bus, "one", FRONT, lambda: False)
        assert await bus.claim("two", OTHER, identity(1), identity(2), 1, peer.inbound) is Answer.TAKE
        assert not await claims.take_back(peer)
        assert not claims.has(identity(2))
        await bus.release("two", OTHER, identity(2), 1)
        assert await claims.take_back(peer)
        assert claims.has(identity(2))


async def test_a_node_that_is_lost_on_its_way_to_being_a_peer(autojump_clock: trio.testing.MockClock) -> None:
    bus, guest = await begin(MemoryEngine().bus()), Guest()
    async with open_peer_nursery(make_manager(1)) as peers, stranger(2) as far, trio.open_nursery() as nursery:
        claims = Claims(peers, bus, "one", FRONT, lambda: False)
        nursery.start_soon(claims.admit, cast("Newcomer", guest))
        await becomes(lambda: claims.has(identity(2)))
        assert claims.displaced(Displaced(node_id=identity(2), number=1, waits=0)) is None
        _, theirs = await join(peers, far)
        guest.settled.set()
        with trio.fail_after(5):
            assert (await theirs.wait_closed()).message.endswith("another connection with you was kept")


LARGER = next(number for number in range(2, 100) if identity(number) > identity(1))
"""A node that stays with whom we have dialled, if both have."""


@pytest.mark.parametrize("goes", [True, False])
async def test_who_has_to_wait_is_asked_about_once_more(goes: bool, autojump_clock: trio.testing.MockClock) -> None:
    bus = await begin(MemoryEngine().bus())
    node_id = identity(LARGER)
    assert await bus.claim("two", OTHER, identity(1), node_id, 1, inbound=False) is Answer.TAKE
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        stranger(LARGER) as far,
        trio.open_nursery() as nursery,
    ):
        claims = Claims(peers, bus, "one", FRONT, lambda: False)
        nursery.start_soon(welcome, peers, claims)
        refused: list[object] = []

        async def come() -> None:
            try:
                await join(far, peers)
            except* ConnectError as error:
                refused.append(error)

        nursery.start_soon(come)
        await trio.sleep(PARKED_SECONDS / 2)
        assert not peers.peers
        if goes:
            await bus.release("two", OTHER, node_id, 1)
        await trio.sleep(PARKED_SECONDS)
        assert ({*peers.peers} == {node_id}, bool(refused)) == (goes, not goes)
        nursery.cancel_scope.cancel()


async def test_so_many_are_asked_about_at_a_time(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims_module, "AT_ONCE", 2)
    bus = await begin(SlowBus(MemoryEngine()))
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        stranger(2) as two,
        stranger(3) as three,
        stranger(4) as four,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(welcome, peers, Claims(peers, bus, "one", FRONT, lambda: False))
        for far in (two, three, four):
            nursery.start_soon(join, far, peers)
        await becomes(lambda: len(peers.peers) == 3)
        assert bus.most == 2
        nursery.cancel_scope.cancel()


async def test_who_has_gone_before_the_answer_has_no_claim(autojump_clock: trio.testing.MockClock) -> None:
    bus = await begin(SlowBus(MemoryEngine()))
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(welcome, peers, Claims(peers, bus, "one", FRONT, lambda: False))
        with trio.move_on_after(0.5):
            async with stranger(2) as far:
                await join(far, peers)
        assert await bus.claims() == 1
        await trio.sleep(3)
        assert await bus.claims() == 0
        nursery.cancel_scope.cancel()
