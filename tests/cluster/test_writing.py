"""The writer of a sharded collector: elected, killed at every point, replaced; and what workers may do to it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import ListLogger, identity
from tests.support.fleets import CONFIG, becomes
from tests.support.shards import START, TERMS, heard, numbered, rows, unix_ns
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import NO_CONNECTION, Left, encode_entry, encode_record
from triolight.cluster.rows import Outgoing
from triolight.cluster.writing import Writing, serve_writer
from triolight.services.record import RecordBatch, RecordWriter, SessionFacts
from triolight.services.sqlite import StoreError

WRITER = b"\xee" * 16
"""The token of whoever has made room for workers."""


class Killed(Exception):
    """The process is gone."""


class Fragile(MemoryBus):
    """Its process is killed at one of its calls: whatever it did before is done."""

    def __init__(self, engine: MemoryEngine, call: int) -> None:
        super().__init__(engine)
        self.left = call

    async def _call(self, needs_room: bool = False) -> MemoryEngine:
        self.left -= 1
        if self.left <= 0:
            raise Killed
        return await super()._call(needs_room)


class Unfinished(RecordWriter):
    """Its process is killed."""

    def finish(self, ended_ns: int) -> None:
        pass


def setup(path: Path, told: list[str] | None = None, made: type[RecordWriter] = RecordWriter) -> Writing:
    def open_writer(started_ns: int) -> RecordWriter:
        return made(path, started_ns, fleet="main")

    def tell(what: str, words: str, recorder: None) -> None:
        if told is not None:
            told.append(what)

    return Writing(identity(1), TERMS, open_writer, unix_ns, ListLogger(), tell)


class Stream:
    """A worker's life, by hand."""

    def __init__(self, bus: MemoryBus, name: str, life: int) -> None:
        self.name = name
        self.token = bytes([life]) * 16
        self._bus = bus
        self.seq = 0
        self._outgoing = Outgoing()
        self._facts = [SessionFacts(one, identity(10 * life + one), "", True, START + one, b"") for one in (1, 2)]
        self._said = 0

    async def enter(self) -> None:
        assert await self._bus.enter_front(self.name, self.token, WRITER, "")

    async def say(self, count: int, *, end: bool = False) -> None:
        """Numbers, by two nodes in turns; at last that they have gone, and the worker too."""
        batch = RecordBatch(opened=self._facts if not self._said else [])
        for _ in range(count):
            for facts in self._facts:
                raw = numbered(int.from_bytes(self.token[:1], "big") * 10 + facts.number, self._said)
                batch.sightings.append((START + 1000 * self._said + facts.number, facts.number, 0, raw))
            self._said += 1
        records = [encode_record(*one) for one in self._outgoing.records_of(batch)]
        if end:
            records.append(encode_record(NO_CONNECTION, Left(at_ns=START + 1000 * self._said)))
        data = encode_entry(self.token, self.seq, records)
        await self._bus.append_up(self.name, self.token, self.seq, len(records), data)
        self.seq += len(records)


async def streams(engine: MemoryEngine) -> None:
    """Two workers, of which one has begun again, and one has left."""
    bus = engine.bus()
    assert await bus.enter_back(WRITER, CONFIG)
    one, two, again = Stream(bus, "one", 1), Stream(bus, "two", 2), Stream(bus, "one", 3)
    for each in (one, two):
        await each.enter()
    await one.say(2)
    await two.say(3)
    await one.say(1)
    await two.say(1, end=True)
    await bus.leave_front("two", two.token)
    await again.enter()
    await again.say(2)
    await again.say(2)
    await bus.leave_back(WRITER)


@pytest.mark.parametrize("call", [*range(1, 16), 20, 24, 28])
async def test_a_writer_that_is_killed_at_any_point(
    call: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "seen.db"
    engine = MemoryEngine()
    await streams(engine)
    fragile = Fragile(engine, call)
    try:
        with trio.move_on_after(20):
            await serve_writer(fragile, setup(path, made=Unfinished), trio.Event())
    except* Killed:
        pass
    leaving = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_writer, engine.bus(), setup(path), leaving)
        await trio.sleep(60)
        leaving.set()
    found = sorted((node_id, said) for (_, node_id), said in heard(path).items())
    wanted = {11: 3, 12: 3, 21: 4, 22: 4, 31: 4, 32: 4}
    assert found == sorted((identity(node), [*range(count)]) for node, count in wanted.items())
    lives = rows(path, "SELECT name, token, ended_ns IS NULL FROM worker ORDER BY token")
    assert [(name, token[0]) for name, token, _ in lives] == [("one", 1), ("two", 2), ("one", 3)]
    # Two of them had no end: one began again, and is silent now.
    gaps = rows(path, "SELECT g.why, w.token FROM gap g JOIN worker w ON w.id = g.worker ORDER BY w.token")
    assert [(why, token[0]) for why, token in gaps] == [("killed", 1), ("killed", 3)]
    assert rows(path, "SELECT count(*) FROM session WHERE closed_ns IS NULL") == [(0,)]
    assert list(await engine.bus().fronts()) == []


async def test_one_is_elected_and_another_takes_over(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path, engine = tmp_path / "seen.db", MemoryEngine()
    told: dict[str, list[str]] = {"one": [], "two": []}
    buses = {name: engine.bus() for name in told}
    leaving = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_writer, buses["one"], setup(path, told["one"]), leaving)
        await becomes(lambda: told["one"] == ["writing"])
        nursery.start_soon(serve_writer, buses["two"], setup(path, told["two"]), leaving)
        await trio.sleep(30)
        assert told["two"] == []
        # It is frozen, and has the file: who is elected waits for it, and it for its turn.
        buses["one"].cut = True
        await becomes(lambda: "taken" in told["two"])
        assert "writing" not in told["two"]
        buses["one"].cut = False
        await becomes(lambda: told["one"] == ["writing", "replaced"])
        await becomes(lambda: (told["one"] + told["two"]).count("writing") == 2)
        leaving.set()
    state = await engine.bus().back()
    assert state is not None
    assert state.age == float("inf")


async def test_a_record_that_cannot_be_written_ends_it(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "seen.db"
    path.write_bytes(b"no record" * 1000)
    with pytest.raises(StoreError, match="no SQLite file"):
        await serve_writer(MemoryEngine().bus(), setup(path), trio.Event())

    class Full(RecordWriter):
        def write(self, batch: RecordBatch) -> Any:
            raise StoreError("the disk is full")

    engine = MemoryEngine()
    await streams(engine)
    with pytest.raises(StoreError, match="the disk is full"):
        await serve_writer(engine.bus(), setup(tmp_path / "other.db", made=Full), trio.Event())
    # Nothing was consumed: the next one has all of it.
    assert sum(one.up.records for one in await engine.bus().fronts()) > 10
    with closing(RecordWriter(tmp_path / "other.db", START, fleet="main")) as free:
        assert free.shares.living == []


async def test_a_worker_that_says_something_else_is_given_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path, engine = tmp_path / "seen.db", MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(WRITER, CONFIG)
    one = Stream(bus, "one", 1)
    await one.enter()
    await one.say(2)
    for data in (b"no entry", encode_entry(one.token, 2**63, [encode_record(1, Left(at_ns=1))])):
        await bus.append_up("one", one.token, one.seq, 1, data)
        one.seq += 1
    await bus.leave_back(WRITER)
    with trio.move_on_after(5):
        await serve_writer(bus, setup(path), trio.Event())
    assert [*heard(path).values()] == [[0, 1], [0, 1]]
    assert rows(path, "SELECT why FROM gap") == [("killed",)]
    assert list(await bus.fronts()) == []


async def test_after_an_outage_nobody_is_given_up_for_a_lease(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path, engine = tmp_path / "seen.db", MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(WRITER, CONFIG)
    one = Stream(bus, "one", 1)
    await one.enter()
    await bus.leave_back(WRITER)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_writer, engine.bus(), setup(path), trio.Event())
        await trio.sleep(5)
        engine.away = True
        await trio.sleep(30)
        engine.away = False
        await trio.sleep(TERMS.lease - 1)
        with trio.fail_after(0.5):
            await bus.renew_front("one", one.token, 0)
        await trio.sleep(TERMS.lease + 3 * TERMS.renewal)
        assert list(await bus.fronts()) == []
        nursery.cancel_scope.cancel()


async def test_an_engine_that_is_not_there_at_first(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    engine, told = MemoryEngine(), list[str]()
    engine.away = True
    leaving = trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_writer, engine.bus(), setup(tmp_path / "seen.db", told), leaving)
        await trio.sleep(60)
        engine.away = False
        await becomes(lambda: told == ["writing"])
        leaving.set()


async def test_what_a_dead_worker_held_is_free(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(WRITER, CONFIG)
    one = Stream(bus, "one", 1)
    await one.enter()
    for number in (11, 12):
        await bus.claim("one", one.token, identity(1), identity(number), 1, inbound=False)
    await one.say(1)
    await bus.leave_back(WRITER)
    with trio.move_on_after(20):
        await serve_writer(engine.bus(), setup(tmp_path / "seen.db"), trio.Event())
    assert (await bus.claims(), list(await bus.fronts())) == (0, [])


async def test_a_worker_that_the_engine_has_forgotten_is_over(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path, engine = tmp_path / "seen.db", MemoryEngine()
    bus = engine.bus()
    assert await bus.enter_back(WRITER, CONFIG)
    one = Stream(bus, "one", 1)
    await one.enter()
    await one.say(1)
    await bus.leave_back(WRITER)
    for wanted in ([(1,)], [(0,)]):
        # The second time the engine has nothing of it any more.
        with trio.move_on_after(1):
            await serve_writer(engine.bus(), setup(path), trio.Event())
        assert rows(path, "SELECT ended_ns IS NULL FROM worker") == wanted
        assert rows(path, "SELECT count(*) FROM session WHERE closed_ns IS NULL") == [(2 * wanted[0][0],)]
        engine = MemoryEngine()
