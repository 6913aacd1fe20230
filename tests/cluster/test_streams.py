"""Both ends of a stream, and all of them together with an engine, whatever crashes between two steps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fleets import CONFIG
from triolight.cluster.bus import EngineAway, Fenced
from triolight.cluster.memory import MemoryBus, MemoryEngine
from triolight.cluster.records import MAX_ENTRY_BYTES, UP, Said, decode_entry, encode_entry, encode_record
from triolight.cluster.rules import WINDOW_BYTES, WINDOW_RECORDS
from triolight.cluster.streams import DONE_SECONDS, Done, Hole, Reader, Used, Writer

TOKEN, OTHER = bytes([1]) * 16, bytes([2]) * 16


def said(text: str, size: int = 0) -> bytes:
    return encode_record(1, Said(data=text.encode().ljust(size)))


def texts(data: bytes, reader: Reader) -> list[str]:
    return [one.what.data.decode().strip() for one in reader.read(decode_entry(data, UP)) if isinstance(one.what, Said)]


def test_one_entry_is_in_flight_until_it_is_answered() -> None:
    writer, reader = Writer(TOKEN), Reader(TOKEN)
    told: list[str] = []
    writer.put(said("one"), lambda: told.append("one"))
    flight = writer.take()
    assert flight is not None
    writer.put(said("two"))
    writer.put(said("three"))
    assert writer.take() is flight
    assert texts(flight.data, reader) == ["one"]
    assert texts(flight.data, reader) == []
    assert told == []
    writer.answered(Used(30, 1))
    assert told == ["one"]
    second = writer.take()
    assert second is not None
    assert (second.first_seq, len(second.parcels)) == (1, 2)
    assert texts(second.data, reader) == ["two", "three"]
    writer.answered(Used(0, 0))
    assert writer.idle
    assert writer.take() is None


def test_what_is_not_in_flight_may_be_withdrawn() -> None:
    writer = Writer(TOKEN)
    first, second, third = (writer.put(said(one)) for one in ("one", "two", "three"))
    assert writer.withdraw(second)
    assert not writer.withdraw(second)
    flight = writer.take()
    assert flight is not None
    assert texts(flight.data, Reader(TOKEN)) == ["one", "three"]
    assert not writer.withdraw(first)
    assert not writer.withdraw(third)
    assert writer.pending_bytes == 0


def test_what_an_engine_has_refused_waits_again_in_its_place() -> None:
    writer = Writer(TOKEN)
    for one in ("one", "two"):
        writer.put(said(one))
    size = writer.pending_bytes
    assert (writer.take() is None, writer.pending_bytes) == (False, 0)
    third = writer.put(said("three"))
    writer.refused()
    assert (writer.flight, writer.pending_bytes) == (None, size + len(third.data))
    again = writer.take()
    assert again is not None
    assert (again.first_seq, texts(again.data, Reader(TOKEN))) == (0, ["one", "two", "three"])


def test_the_number_after_all_that_is_to_be_appended() -> None:
    writer = Writer(TOKEN)
    found = [writer.last_seq]
    writer.put(said("one"))
    found.append(writer.last_seq)
    writer.take()
    found.append(writer.last_seq)
    writer.put(said("two"))
    found.append(writer.last_seq)
    writer.answered(Used(0, 0))
    found.append(writer.last_seq)
    assert found == [0, 1, 1, 2, 2]


def test_no_more_waits_here_than_an_entry() -> None:
    writer = Writer(TOKEN)
    writer.put(said("", MAX_ENTRY_BYTES))
    assert not writer.has_room
    writer.take()
    assert writer.has_room


def test_an_entry_is_bounded_but_for_one_record() -> None:
    writer = Writer(TOKEN)
    sizes = [MAX_ENTRY_BYTES // 2, MAX_ENTRY_BYTES, 10, 10]
    for size in sizes:
        writer.put(said("", size))
    counts: list[int] = []
    while (flight := writer.take()) is not None:
        counts.append(len(flight.parcels))
        writer.answered(Used(0, 0))
    assert counts == [1, 1, 2]


@pytest.mark.parametrize(
    ("used", "room", "may"),
    [(Used(WINDOW_BYTES, 1), False, False), (Used(1, WINDOW_RECORDS - 1), False, True), (Used(0, 0), True, True)],
)
def test_the_window(used: Used, room: bool, may: bool) -> None:
    writer = Writer(TOKEN)
    writer.answered(used)
    writer.put(said("one"))
    assert (writer.has_room, writer.may_append) == (room, may)
    writer.take()
    assert writer.has_room is room


def test_what_is_done_is_told_together_a_moment_later() -> None:
    done = Done()
    assert (done.seconds_left(5.0), done.take()) == (math.inf, None)
    done.add("1-0", Used(100, 2), 5.0)
    done.add("2-0", Used(50, 1), 5.0 + DONE_SECONDS / 2)
    assert done.seconds_left(5.0) == pytest.approx(DONE_SECONDS)
    assert done.seconds_left(5.0 + DONE_SECONDS / 2) == pytest.approx(DONE_SECONDS / 2)
    assert done.seconds_left(6.0) == 0
    assert done.take() == ("2-0", Used(150, 3))
    assert (done.take(), done.seconds_left(6.0)) == (None, math.inf)


@pytest.mark.parametrize(
    "used", [Used(WINDOW_BYTES // 4, 1), Used(1, WINDOW_RECORDS // 4)], ids=["its bytes", "its records"]
)
def test_a_quarter_of_the_window_that_is_done_is_told_at_once(used: Used) -> None:
    done = Done()
    done.add("1-0", Used(used.size - 1, used.records - (used.records > 1)), 5.0)
    assert done.seconds_left(5.0) == pytest.approx(DONE_SECONDS)
    done.add("2-0", Used(1, 1), 5.0)
    assert done.seconds_left(5.0) == 0


def test_a_reader_knows_what_is_missing() -> None:
    reader = Reader(TOKEN)
    assert texts(encode_entry(TOKEN, 0, [said("aa"), said("bb")]), reader) == ["aa", "bb"]
    assert texts(encode_entry(TOKEN, 1, [said("bb"), said("cc")]), reader) == ["cc"]
    with pytest.raises(Hole, match="records 3 to 4 are missing"):
        texts(encode_entry(TOKEN, 5, [said("ff")]), reader)
    with pytest.raises(Hole, match="another writer"):
        texts(encode_entry(OTHER, 3, [said("dd")]), reader)


# All of it: two fronts, a back and an engine, one step at a time.


@dataclass
class Front:
    """A front that counts: each life of it says 0, 1, 2 …"""

    name: str
    bus: MemoryBus
    life: int = 0
    said: int = 0
    token: bytes = b""
    writer: Writer = field(default_factory=lambda: Writer(bytes(16)))

    async def start(self, back: bytes) -> None:
        self.life += 1
        self.token = f"{self.name}{self.life}".encode().ljust(16)
        self.writer = Writer(self.token)
        self.said = 0
        assert await self.bus.enter_front(self.name, self.token, back, "")

    async def append(self, acknowledged: dict[bytes, int]) -> str:
        """What became of it."""
        flight = self.writer.take()
        if flight is None:
            return ""
        try:
            used = await self.bus.append_up(self.name, self.token, flight.first_seq, len(flight.parcels), flight.data)
        except EngineAway:
            return "away"
        except (Fenced, Hole) as error:
            return type(error).__name__
        self.writer.answered(used)
        acknowledged[self.token] = self.writer.next_seq
        return ""


STEPS = st.tuples(
    st.sampled_from(
        [
            "say",
            "say",
            "say",
            "append",
            "append",
            "append",
            "read",
            "read",
            "restart",
            "fence",
            "deaf",
            "lose",
            "consume",
        ]
    ),
    st.sampled_from(["a", "b"]),
)


@given(st.lists(STEPS, min_size=30, max_size=60))
def test_nothing_comes_twice_and_nothing_is_missing_whoever_crashes(steps: list[tuple[str, str]]) -> None:
    trio.run(_live, steps)


async def _live(steps: list[tuple[str, str]]) -> None:
    engine = MemoryEngine()
    back = engine.bus()
    assert await back.enter_back(OTHER, CONFIG)
    fronts = {name: Front(name, engine.bus()) for name in "ab"}
    for front in fronts.values():
        await front.start(OTHER)
    acknowledged: dict[bytes, int] = {}
    lost: set[bytes] = set()
    heard: dict[bytes, list[int]] = {}
    readers: dict[bytes, Reader] = {}
    positions = dict.fromkeys("ab", "0")
    unconsumed: dict[str, list[tuple[str, Used]]] = {"a": [], "b": []}

    async def read(name: str) -> None:
        for position, data in await back.read_up(name, positions[name], 0):
            entry = decode_entry(data, UP)
            positions[name] = position
            unconsumed[name].append((position, Used(len(data), len(entry.records))))
            reader = readers.setdefault(entry.token, Reader(entry.token))
            try:
                new = reader.read(entry)
            except Hole:
                assert entry.token in lost
                continue
            heard.setdefault(entry.token, []).extend(int(one.what.data) for one in new if isinstance(one.what, Said))

    for step, name in steps:
        front = fronts[name]
        match step:
            case "say":
                for _ in range(2):
                    front.writer.put(encode_record(1, Said(data=b"%02d" % front.said)))
                    front.said += 1
            case "append":
                became = await front.append(acknowledged)
                if became == "Hole":
                    assert front.token in lost
                if became in ("Fenced", "Hole"):
                    await front.start(OTHER)
            case "deaf":
                front.bus.answers_lost = 1
                await front.append(acknowledged)
                front.bus.answers_lost = 0
            case "restart":
                await front.start(OTHER)
            case "fence":
                await back.fence(name, front.token, OTHER)
                before = len(await back.read_up(name, "0", 0))
                front.writer.put(said("99"))
                assert await front.append(acknowledged) == "Fenced"
                assert len(await back.read_up(name, "0", 0)) == before
                await front.start(OTHER)
            case "lose":
                last = (await back.read_up(name, positions[name], 0))[-1:]
                if last and decode_entry(last[0].data, UP).token == front.token:
                    engine.lose_tail(name, 1)
                    lost.add(front.token)
            case "read":
                await read(name)
            case _:
                for position, used in unconsumed[name]:
                    await back.consume_up(name, OTHER, position, used)
                unconsumed[name].clear()
    for name in "ab":
        await read(name)
        for position, used in unconsumed[name]:
            await back.consume_up(name, OTHER, position, used)
    for numbers in heard.values():
        assert numbers == list(range(len(numbers))), "twice, or out of order"
    for token, count in acknowledged.items():
        assert token in lost or len(heard.get(token, [])) >= count, "acknowledged, and never heard"
    assert [one.up for one in await back.fronts()] == [Used(0, 0)] * 2
