"""What every engine keeps, whichever it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support import identity
from tests.support.engines import Server
from tests.support.fleets import BACK, CONFIG, FRONT, OTHER, entry
from triolight.cluster.bus import START, Bus, Change, Fenced, Kept
from triolight.cluster.memory import MemoryEngine
from triolight.cluster.records import DOWN, Displaced, decode_entry
from triolight.cluster.redis import open_bus
from triolight.cluster.rules import Answer
from triolight.cluster.streams import Hole, Used

US, THEM = sorted((identity(1), identity(2)))
FIRST = entry(0, b"first", b"second")


@pytest.fixture(params=["memory", "redis"])
async def bus(request: pytest.FixtureRequest) -> AsyncIterator[Bus]:
    if request.param == "memory":
        yield MemoryEngine().bus()
        return
    server: Server = request.getfixturevalue("server")
    await server.answers()
    async with open_bus(server.url, request.node.name) as bus:
        yield bus


async def begin(bus: Bus) -> None:
    """A back, and two fronts."""
    assert await bus.enter_back(BACK, CONFIG)
    for name, token in (("one", FRONT), ("two", OTHER)):
        assert await bus.enter_front(name, token, BACK, f"{name}.example")


async def test_a_fleet_that_never_was(bus: Bus) -> None:
    assert await bus.read_config() is None
    assert await bus.back() is None
    assert list(await bus.fronts()) == []
    assert not await bus.enter_front("one", FRONT, BACK, "")
    with pytest.raises(Fenced):
        await bus.renew_back(BACK)


async def test_one_back_at_a_time(bus: Bus) -> None:
    assert await bus.enter_back(BACK, CONFIG)
    assert await bus.enter_back(BACK, CONFIG)
    assert not await bus.enter_back(OTHER, CONFIG)
    assert await bus.read_config() == CONFIG
    back = await bus.back()
    assert back is not None
    assert back.token == BACK
    await bus.leave_back(BACK)
    assert await bus.enter_back(OTHER, CONFIG.replace(number=2))
    with pytest.raises(Fenced):
        await bus.renew_back(BACK)
    assert await bus.read_config() == CONFIG.replace(number=2)
    assert not await bus.enter_front("one", FRONT, BACK, "")
    assert await bus.enter_front("one", FRONT, OTHER, "")


async def test_a_lease_that_is_over_is_anybodys(bus: Bus) -> None:
    short = CONFIG.replace(lease=1)
    assert await bus.enter_back(BACK, short)
    while not await bus.enter_back(OTHER, short):
        pass
    with pytest.raises(Fenced):
        await bus.renew_back(BACK)


async def test_up_and_down(bus: Bus) -> None:
    await begin(bus)
    assert await bus.append_up("one", FRONT, 0, 2, FIRST) == Used(len(FIRST), 2)
    second = entry(2, b"third")
    await bus.append_up("one", FRONT, 2, 1, second)
    ((position, data), (last, _)) = await bus.read_up("one", START, 0)
    assert data == FIRST
    assert [one.data for one in await bus.read_up("one", position, 0)] == [second]
    assert list(await bus.read_up("one", last, 0.001)) == []
    assert list(await bus.read_up("two", START, 0)) == []
    await bus.consume_up("one", BACK, position, Used(len(FIRST), 2))
    assert [one.data for one in await bus.read_up("one", START, 0)] == [second]
    back, used = await bus.renew_front("one", FRONT, 7)
    assert (back.token, used) == (BACK, Used(len(second), 1))
    down = entry(0, b"down", token=BACK)
    assert await bus.append_down("one", FRONT, BACK, 0, 1, down) == Used(len(down), 1)
    ((position, data),) = await bus.read_down("one", START, 1)
    assert data == down
    await bus.consume_down("one", FRONT, position, Used(len(down), 1))
    one, two = sorted(await bus.renew_back(BACK), key=lambda state: state.id)
    assert (one.id, one.token, one.back, one.fenced, one.address, one.peers) == (
        "one",
        FRONT,
        BACK,
        False,
        "one.example",
        7,
    )
    assert (one.up, one.down, two.up) == (Used(len(second), 1), Used(0, 0), Used(0, 0))
    assert one.age >= 0


async def test_an_append_again_is_none_and_one_too_far_is_a_hole(bus: Bus) -> None:
    await begin(bus)
    for _ in range(2):
        assert await bus.append_up("one", FRONT, 0, 2, FIRST) == Used(len(FIRST), 2)
        down = entry(0, b"down", token=BACK)
        assert await bus.append_down("one", FRONT, BACK, 0, 1, down) == Used(len(down), 1)
    assert len(await bus.read_up("one", START, 0)) == len(await bus.read_down("one", START, 0)) == 1
    for first, count in ((3, 1), (1, 2)):
        with pytest.raises(Hole):
            await bus.append_up("one", FRONT, first, count, FIRST)
        with pytest.raises(Hole):
            await bus.append_down("one", FRONT, BACK, first + 1, count, FIRST)


async def test_who_is_fenced_changes_nothing(bus: Bus) -> None:
    await begin(bus)
    await bus.append_up("one", FRONT, 0, 2, FIRST)
    with pytest.raises(Fenced):
        await bus.fence("one", FRONT, OTHER)  # no back's token
    await bus.fence("one", OTHER, BACK)  # another life of the front: nothing happens
    await bus.renew_front("one", FRONT, 0)
    await bus.fence("one", FRONT, BACK)
    for call in (
        lambda: bus.append_up("one", FRONT, 2, 1, entry(2, b"late")),
        lambda: bus.renew_front("one", FRONT, 0),
        lambda: bus.claim("one", FRONT, US, THEM, 1, True),
        lambda: bus.consume_down("one", FRONT, START, Used(0, 0)),
        lambda: bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK)),
    ):
        with pytest.raises(Fenced):
            await call()
    assert [one.data for one in await bus.read_up("one", START, 0)] == [FIRST]
    (state,) = [one for one in await bus.fronts() if one.id == "one"]
    assert state.fenced
    # It may come again, as another one; what its earlier life has appended is still read.
    again = bytes([9]) * 16
    assert await bus.enter_front("one", again, BACK, "")
    await bus.append_up("one", again, 0, 1, entry(0, b"new", token=again))
    assert [one.data for one in await bus.read_up("one", START, 0)] == [FIRST, entry(0, b"new", token=again)]


async def test_another_back_s_appends_are_refused(bus: Bus) -> None:
    await begin(bus)
    await bus.leave_back(BACK)
    assert await bus.enter_back(OTHER, CONFIG)
    with pytest.raises(Fenced):
        await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    with pytest.raises(Fenced):
        await bus.consume_up("one", BACK, START, Used(0, 0))
    # The front hears of it, and is told who its own was.
    back, _ = await bus.renew_front("one", FRONT, 0)
    assert back.token == OTHER
    assert {one.back for one in await bus.renew_back(OTHER)} == {BACK}


async def test_what_is_consumed_twice_is_consumed_once(bus: Bus) -> None:
    """An answer may be lost."""
    await begin(bus)
    await bus.append_up("one", FRONT, 0, 2, FIRST)
    await bus.append_up("one", FRONT, 2, 2, entry(2, b"more", b"and more"))
    await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    await bus.append_down("one", FRONT, BACK, 1, 1, entry(1, b"down", token=BACK))
    up, down = (await bus.read_up("one", START, 0))[0].position, (await bus.read_down("one", START, 0))[0].position
    for _ in range(2):
        await bus.consume_up("one", BACK, up, Used(len(FIRST), 2))
        await bus.consume_down("one", FRONT, down, Used(len(entry(0, b"down")), 1))
    (state,) = [one for one in await bus.fronts() if one.id == "one"]
    assert (state.up.records, state.down.records) == (2, 1)


async def test_what_stands_beside_a_position(bus: Bus) -> None:
    await begin(bus)
    assert await bus.kept("one") is None
    await bus.append_up("one", FRONT, 0, 2, FIRST)
    ((position, _),) = await bus.read_up("one", START, 0)
    await bus.consume_up("one", BACK, position, Used(len(FIRST), 2), Change(FRONT, 2, [(1, b"a"), (2, b"\x00b")], []))
    for _ in range(2):
        await bus.consume_up("one", BACK, position, Used(len(FIRST), 2), Change(FRONT, 5, [(3, b"c")], [1]))
    kept = await bus.kept("one")
    assert kept is not None
    assert (kept.front_token, kept.next_seq, {*kept.sessions}) == (FRONT, 5, {(2, b"\x00b"), (3, b"c")})
    # Of another life of the front nothing is left; of a back that keeps nothing, nothing at all.
    await bus.consume_up("one", BACK, "", Used(0, 0), Change(OTHER, 1, [], []))
    assert await bus.kept("one") == Kept(OTHER, 1, ())
    await bus.forget_front("two", OTHER, BACK, [])
    await bus.forget_front("one", FRONT, BACK, [])
    assert await bus.kept("one") == Kept(OTHER, 1, ())
    await bus.consume_up("two", BACK, "", Used(0, 0), Change(OTHER, 1, [], []))
    assert await bus.kept("two") is None  # there is no such front
    with pytest.raises(Fenced):
        await bus.consume_up("one", OTHER, "", Used(0, 0), Change(OTHER, 1, [], []))


async def test_a_front_goes_on_with_another_back(bus: Bus) -> None:
    await begin(bus)
    await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    assert not await bus.follow_back("one", FRONT, OTHER)
    await bus.leave_back(BACK)
    assert await bus.enter_back(OTHER, CONFIG)
    for _ in range(2):
        assert await bus.follow_back("one", FRONT, OTHER)
        assert {one.back for one in await bus.fronts() if one.id == "one"} == {OTHER}
        # What the one before has said is there; what follows is counted anew, once.
        used = await bus.append_down("one", FRONT, OTHER, 0, 1, entry(0, b"new", token=OTHER))
        assert used.records == 2
    await bus.fence("one", FRONT, OTHER)
    with pytest.raises(Fenced):
        await bus.follow_back("one", FRONT, OTHER)


async def test_claims(bus: Bus) -> None:
    """The table is `rules`'; here: that it is asked, and what follows."""
    await begin(bus)
    assert await bus.claim("one", FRONT, US, THEM, 1, True) is Answer.TAKE
    assert await bus.claims() == 1
    assert await bus.claim("one", FRONT, US, THEM, 2, False) is Answer.TAKE
    # Crossing: we are the smaller one, and have dialled what is there.
    assert await bus.claim("two", OTHER, US, THEM, 1, True) is Answer.WAIT
    # Who has waited takes it from nobody, whatever the table says.
    assert await bus.claim("two", OTHER, US, THEM, 1, False, waited=True) is Answer.WAIT
    assert await bus.claim("one", FRONT, US, THEM, 2, False, waited=True) is Answer.TAKE
    assert list(await bus.read_down("one", START, 0)) == []
    assert await bus.claim("two", OTHER, US, THEM, 1, False) is Answer.TAKE_FROM
    ((_, data),) = await bus.read_down("one", START, 0)
    displaced = decode_entry(data, DOWN)
    assert [one.what for one in displaced.records] == [Displaced(node_id=THEM, number=2, waits=0)]
    # What an engine says of its own accord counts in no sequence.
    await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    await bus.release("one", FRONT, THEM, 2)
    assert await bus.claims() == 1
    await bus.release("two", OTHER, THEM, 1)
    assert await bus.claims() == 0
    assert await bus.claim("one", FRONT, US, THEM, 3, False, waited=True) is Answer.TAKE


async def test_a_release_that_crosses_a_claim_takes_no_later_one(bus: Bus) -> None:
    await begin(bus)
    for number in (1, 3, 2):  # the order in which they come is nobody's promise
        assert await bus.claim("one", FRONT, US, THEM, number, True) is Answer.TAKE
    for number in (1, 2):
        await bus.release("one", FRONT, THEM, number)
        assert await bus.claims() == 1
    assert await bus.claim("two", OTHER, US, THEM, 1, True) is Answer.TAKE_FROM
    ((_, data),) = await bus.read_down("one", START, 0)
    assert [one.what for one in decode_entry(data, DOWN).records] == [Displaced(node_id=THEM, number=3, waits=0)]
    # We are the smaller one, and have dialled the newcomer: the other one waits, and is told so.
    assert await bus.claim("one", FRONT, US, THEM, 4, False) is Answer.TAKE_AND_PARK
    ((_, data),) = await bus.read_down("two", START, 0)
    (told,) = [one.what for one in decode_entry(data, DOWN).records]
    assert told == Displaced(node_id=THEM, number=1, waits=1)
    await bus.release("one", FRONT, THEM, 4)
    assert await bus.claims() == 0


async def test_a_claim_of_a_fenced_front_is_none(bus: Bus) -> None:
    await begin(bus)
    assert await bus.claim("one", FRONT, US, THEM, 1, False) is Answer.TAKE
    assert await bus.claim("two", OTHER, US, THEM, 1, True) is Answer.WAIT
    await bus.fence("one", FRONT, BACK)
    assert await bus.claim("two", OTHER, US, THEM, 1, True) is Answer.TAKE


async def test_no_more_is_consumed_than_there_is(bus: Bus) -> None:
    """An engine that has lost its tail is told of what it does not know of, and has forgotten what it was told."""
    await begin(bus)
    await bus.append_up("one", FRONT, 0, 2, FIRST)
    ((position, _),) = await bus.read_up("one", START, 0)
    await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    ((below, _),) = await bus.read_down("one", START, 0)
    await bus.consume_up("one", BACK, position, Used(len(FIRST) + 1, 100))
    await bus.consume_down("one", FRONT, below, Used(1_000_000, 1))
    states = {one.id: one for one in await bus.fronts()}
    assert (states["one"].up, states["one"].down) == (Used(0, 0), Used(0, 0))
    assert (await bus.renew_front("one", FRONT, 0))[1] == Used(0, 0)
    # What is left over, though there is nothing, goes with the life of the front.
    await bus.append_up("one", FRONT, 2, 1, entry(2, b"third"))
    ((position, _),) = await bus.read_up("one", START, 0)
    await bus.consume_up("one", BACK, position, Used(1, 0))
    assert await bus.enter_front("one", bytes([9]) * 16, BACK, "")
    assert {one.id: one.up for one in await bus.fronts()}["one"] == Used(0, 0)
    # But not what is there for whoever reads to the end of it.
    await bus.append_up("one", bytes([9]) * 16, 0, 1, FIRST)
    assert await bus.enter_front("one", bytes([8]) * 16, BACK, "")
    assert {one.id: one.up for one in await bus.fronts()}["one"] == Used(len(FIRST), 1)


async def test_a_front_that_is_forgotten(bus: Bus) -> None:
    await begin(bus)
    nodes = [identity(number) for number in (5, 6)]
    for number, node_id in enumerate(nodes):
        await bus.claim("one", FRONT, US, node_id, number, False)
    await bus.claim("two", OTHER, US, identity(7), 1, False)
    await bus.append_up("one", FRONT, 0, 2, FIRST)
    await bus.leave_front("one", FRONT)
    assert {one.id: one.fenced for one in await bus.fronts()} == {"one": True, "two": False}
    await bus.forget_front("one", OTHER, BACK, [])  # another life: nothing happens
    await bus.forget_front("one", FRONT, BACK, nodes)
    assert [one.id for one in await bus.fronts()] == ["two"]
    assert await bus.claims() == 1
    assert list(await bus.read_up("one", START, 0)) == []


async def test_what_another_life_left_is_another_life_s(bus: Bus) -> None:
    await begin(bus)
    await bus.claim("one", FRONT, US, THEM, 1, True)
    await bus.append_down("one", FRONT, BACK, 0, 1, entry(0, b"down", token=BACK))
    again = bytes([9]) * 16
    assert await bus.enter_front("one", again, BACK, "")
    # The back counts anew for it, and finds nothing of what it had said.
    down = entry(0, b"new", token=BACK)
    assert await bus.append_down("one", again, BACK, 0, 1, down) == Used(len(down), 1)
    assert await bus.claim("one", again, US, THEM, 2, True) is Answer.TAKE
    await bus.release("one", FRONT, THEM, 2)
    assert await bus.claims() == 1
    await bus.consume_up("one", BACK, "", Used(0, 0), Change(again, 1, [(1, b"a")], []))
    with pytest.raises(Fenced):
        await bus.forget_front("one", again, OTHER, [THEM])  # no back's token
    assert (await bus.claims(), len(list(await bus.fronts()))) == (1, 2)
    # What stood beside the position of an earlier life does not count for a later one.
    await bus.consume_up("one", BACK, "", Used(0, 0), Change(OTHER, 1, [(2, b"b")], []))
    assert await bus.kept("one") == Kept(OTHER, 1, ((2, b"b"),))
    await bus.consume_up("one", BACK, "", Used(0, 0), Change(again, 1, [], []))
    await bus.forget_front("one", again, BACK, [THEM])
    assert (await bus.kept("one"), await bus.claims()) == (None, 0)
