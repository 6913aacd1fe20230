"""A worker of a sharded collector: its share, its stream, its lives; and several of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support import identity, join
from tests.support.fleets import BACK, becomes, stranger
from tests.support.shards import TERMS, heard, is_whole, open_collector, rows
from triolight import ConnectError
from triolight.cluster import rules
from triolight.cluster.bus import FrontState
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import ENGINE, MAX_ENTRY_BYTES, NO_CONNECTION, Displaced, encode_entry, encode_record
from triolight.cluster.streams import Used
from triolight.services import recorder as recorder_module


def ends_with(told: list[tuple[str, str]], last: tuple[str, str]) -> bool:
    return told[-1] == last


class Blind(MemoryBus):
    """Its worker sees nobody else."""

    def __init__(self, engine: MemoryEngine) -> None:
        super().__init__(engine)
        self.alone = True

    async def fronts(self) -> Sequence[FrontState]:
        return [one for one in await super().fronts() if one.id == "two" or not self.alone]


async def test_nodes_are_dealt_and_all_that_they_say_is_in_one_record(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "seen.db"
    names = ["one", "two", "three"]
    async with open_collector(path, 12, 50) as it:
        for name in names:
            await it.start(name, writes=name == "one")
        wanted = it.shares(*names)
        assert len({one for (one,) in wanted.values()}) == 3
        await becomes(lambda: it.held() == wanted)
        await trio.sleep(5)
        for name in names[1:]:
            it.scopes[name].cancel()
        await trio.sleep(5)
        it.scopes["one"].cancel()
        await trio.sleep(1)
    assert is_whole(heard(path), 12, 50)
    assert rows(path, "SELECT why, count(*) FROM gap GROUP BY why") == []


async def test_a_dead_worker_s_share_alone_moves(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Within its lease and a dial; what it had appended is in the record, and that it had no end."""
    path = tmp_path / "seen.db"
    async with open_collector(path, 12, 20) as it:
        for name in ("one", "two", "three"):
            await it.start(name, writes=name == "one")
        wanted = it.shares("one", "two", "three")
        await becomes(lambda: it.held() == wanted)
        await trio.sleep(5)
        before = [*it.connected]
        died = trio.current_time()
        it.kill("two")
        after = it.shares("one", "three")
        await becomes(lambda: it.held() == after)
        assert trio.current_time() - died <= TERMS.lease + TERMS.renewal + 1
        moved = {node for node, (name,) in wanted.items() if name == "two"}
        assert moved
        assert {*it.connected[len(before) :]} == moved
        await trio.sleep(10)
        assert await it.engine.bus().claims() == 12
        ends = rows(path, "SELECT name, ended_ns IS NULL FROM worker ORDER BY name")
        assert ends == [("one", 1), ("three", 1), ("two", 0)]
    assert is_whole(heard(path), 12, 20)
    lost = rows(path, "SELECT p.node_id FROM session s JOIN peer p ON p.id = s.peer WHERE s.why = 'killed'")
    assert {node_id for (node_id,) in lost} == {one.node_id for one in it.addresses if int(one.host) in moved}
    assert rows(path, "SELECT g.why, w.name FROM gap g JOIN worker w ON w.id = g.worker") == [("killed", "two")]


async def test_a_worker_that_comes_takes_its_share(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_collector(tmp_path / "seen.db", 12, 1) as it:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))
        await it.start("two")
        wanted = it.shares("one", "two")
        await becomes(lambda: it.held() == wanted, 10)
        moved = sum(names == ["two"] for names in wanted.values())
        assert 0 < moved < 12
        # Nobody was connected in vain, and nobody is dialled again and again.
        await trio.sleep(60)
        assert len(it.connected) == 12 + moved


async def test_two_that_see_different_workers_never_hold_one_node(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """The claim decides, not the hash: here both think that all is theirs."""
    async with open_collector(tmp_path / "seen.db", 3, 1) as it:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))
        blind = Blind(it.engine)
        await it.start("two", bus=blind)
        for _ in range(200):
            await trio.sleep(0.1)
            assert all(len(names) <= 1 for names in it.held().values())
        assert len(it.connected) > 3
        blind.alone = False
        await becomes(lambda: it.held() == it.shares("one", "two"))


async def test_a_worker_that_is_frozen_begins_again(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    async with open_collector(path, 6, 10) as it:
        for name in ("one", "two"):
            await it.start(name, writes=name == "one")
        await becomes(lambda: it.held() == it.shares("one", "two"))
        await trio.sleep(5)
        it.buses["two"].cut = True
        await becomes(lambda: all("one" in names for names in it.held().values()))
        it.buses["two"].cut = False
        await becomes(lambda: ("two", "FENCED") in it.told)
        await becomes(lambda: it.held() == it.shares("one", "two"))
        await trio.sleep(5)
    assert is_whole(heard(path), 6, 10)
    assert rows(path, "SELECT count(*) FROM worker WHERE name = 'two'") == [(2,)]


async def test_who_waits_when_a_worker_s_life_ends_hears_why(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_collector(tmp_path / "seen.db", 1, 1) as it, stranger(2) as far, trio.open_nursery() as nursery:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))

        async def come() -> None:
            try:
                await join(far, it.workers["one"])
            except* ConnectError:
                pass

        await trio.sleep(1)
        it.buses["one"].cut = True
        await trio.sleep(TERMS.engine_grace - 5)
        nursery.start_soon(come)
        await becomes(lambda: len(far.peers) == 1)
        (ours,) = far.peers.values()
        with trio.fail_after(10):
            words = (await ours.wait_closed()).message
        assert words.endswith("the engine is away for 20 seconds")
        nursery.cancel_scope.cancel()


async def test_a_stream_that_is_full_holds_the_nodes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a writer it is full one day. Nothing is lost, and what waits is bounded."""
    path = tmp_path / "seen.db"
    monkeypatch.setattr(rules, "WINDOW_BYTES", 500_000)
    monkeypatch.setattr(recorder_module, "WAITING_ROWS", 50)
    async with open_collector(path, 2, 200, padding=10_000) as it:
        await it.start("zero", writes=True, collects=False)
        await it.start("one")
        await becomes(lambda: ("one", "serving") in it.told)
        it.kill("zero")
        await trio.sleep(20)
        (state,) = await it.engine.bus().fronts()
        # An entry that was on its way is there whole.
        assert state.up.size <= 500_000 + 2 * MAX_ENTRY_BYTES
        recorder = it.recorders["one"]
        assert recorder.sightings < 400
        assert recorder.pending <= 150
        await it.start("two", writes=True, collects=False)
        await becomes(lambda: recorder.sightings == 400 and not recorder.pending)
        assert recorder.held_seconds > 10
        await trio.sleep(5)
        assert [*heard(path).values()] == [[*range(200)]] * 2
        assert len(it.connected) == 2
    assert {why for (why,) in rows(path, "SELECT why FROM gap")} == {"held"}


async def test_a_writer_on_another_machine_has_another_record(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """In both together is all that was said, once; where one goes on it says that the other has something."""
    first, second = tmp_path / "first.db", tmp_path / "second.db"
    async with open_collector(first, 4, 10) as it:
        await it.start("one", writes=True, collects=False)
        await it.start("far", writes=True, collects=False, record=second)
        await it.start("two")
        await becomes(lambda: it.held() == it.shares("two"))
        for name, other in (("one", "far"), ("far", "one")):
            await trio.sleep(5)
            await it.say_more(10)
            await trio.sleep(5)
            it.kill(name)
            await becomes(partial(ends_with, it.told, (other, "writing")))
            if other == "far":
                await it.start("one", writes=True, collects=False)
        await it.say_more(10)
        await trio.sleep(5)
    assert it.told == [("one", "writing"), ("two", "serving"), ("far", "writing"), ("one", "writing")]
    one, two = (sorted(heard(path).values()) for path in (first, second))
    assert one == [[*range(20), *range(30, 40)]] * 4
    assert two == [[*range(20, 30)]] * 4
    assert rows(first, "SELECT g.why, w.name FROM gap g JOIN worker w ON w.id = g.worker") == [
        ("in another record", "two")
    ]
    # The sessions went on.
    assert [rows(path, "SELECT count(*) FROM session") for path in (first, second)] == [[(4,)], [(4,)]]


async def test_an_engine_that_is_away(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Shorter than its grace nobody notices; longer, and the nodes are dialled again once it is back."""
    path = tmp_path / "seen.db"
    async with open_collector(path, 4, 10) as it:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))
        for seconds, connections in ((15, 4), (40, 8)):
            it.engine.away = True
            await trio.sleep(seconds)
            it.engine.away = False
            await becomes(lambda: it.held() == it.shares("one"))
            await trio.sleep(15)
            assert len(it.connected) == connections
    assert ("one", "ENGINE_LOST") in it.told
    assert is_whole(heard(path), 4, 10)


async def test_an_engine_that_comes_back_empty(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    async with open_collector(path, 4, 10) as it:
        await it.start("one", writes=True)
        await becomes(lambda: it.held() == it.shares("one"))
        await trio.sleep(5)
        it.engine.forget_everything()
        await trio.sleep(1)
        await becomes(lambda: it.held() == it.shares("one"))
        await trio.sleep(5)
        assert rows(path, "SELECT why, count(*) FROM session GROUP BY why") == [(None, 4), ("killed", 4)]
    # It has left in order: its worker's sessions end, and what it heard is there.
    assert [*map(len, heard(path).values())] == [10] * 8
    assert rows(path, "SELECT why, count(*) FROM session GROUP BY why") == [("killed", 4), ("the recording ended", 4)]


async def test_what_only_an_engine_may_say(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """Nobody else displaces a node. What was read is consumed, and who leaves is missed at once."""
    async with open_collector(tmp_path / "seen.db", 1, 1) as it:
        await it.start("zero", writes=True, collects=False)
        await it.start("one")
        await becomes(lambda: it.held() == it.shares("one"))
        await trio.sleep(1)
        stream = it.engine.stream("one", False)
        assert stream is not None
        displaced = encode_record(NO_CONNECTION, Displaced(node_id=identity(10), number=99, waits=0))
        stream.append(encode_entry(BACK, 0, [displaced]), 1)
        await trio.sleep(5)
        assert (it.connected, stream.used) == ([10], Used(0, 0))
        stream.append(encode_entry(ENGINE, 0, [displaced]), 1)
        await trio.sleep(5)
        assert (it.connected, stream.used) == ([10, 10], Used(0, 0))
        it.scopes["one"].cancel()
        await becomes(lambda: it.engine.fronts() == (), TERMS.lease / 2)
