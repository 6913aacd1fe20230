"""Who is displaced by a dial that crossed: it waits, and is a session again if its place is empty then."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import Note, identity, join
from tests.support.by_hand import by_hand
from tests.support.fleets import BACK, OTHER, becomes, stranger
from triolight import DisconnectCode
from triolight.cluster import front as front_module
from triolight.cluster import rules
from triolight.cluster.records import (
    UP,
    Connected,
    Disconnect,
    Ended,
    Said,
    Send,
    Taken,
    decode_entry,
)
from triolight.cluster.rules import PARKED_SECONDS, Answer
from triolight.cluster.streams import Used

CODE = DisconnectCode

LARGER = 6
"""A node that gives way to us if both have dialled."""


@pytest.mark.parametrize("goes", [True, False])
async def test_who_is_displaced_waits_for_the_other_one_to_go(
    goes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The other side may have ended that one, and kept this: then it is a session again, with all that it has said."""
    assert identity(LARGER) > identity(1)
    async with by_hand() as it, stranger(LARGER) as far:
        ours, _ = await join(far, it.peers)
        await ours.send(Note(payload=b"before"))
        await becomes(lambda: it.connections == 1)
        await trio.sleep(0.1)
        ((first, _),) = await it.heard(Connected)
        assert await it.displace(identity(LARGER), crossing=True) is Answer.TAKE_AND_PARK
        await trio.sleep(PARKED_SECONDS / 4)
        await ours.send(Note(payload=b"meanwhile"))
        # What the back says to the session before is too late, its end among it.
        it.say((first, Send(messages=(Note(payload=b"late").encode(),))), (first, Disconnect(code=b"", words=b"go")))
        if goes:
            await it.bus.release("two", OTHER, identity(LARGER), 1)
        await trio.sleep(PARKED_SECONDS / 2)
        assert [(conn, what.code) for conn, what in await it.heard(Ended)] == [(first, b"DUPLICATE")]
        assert (len(await it.heard(Connected)), len(await it.heard(Said)), ours.reason) == (1, 1, None)
        await trio.sleep(PARKED_SECONDS)
        begun = [conn for conn, _ in await it.heard(Connected)]
        said = [(conn, what.data[2:]) for conn, what in await it.heard(Said)]
        if goes:
            assert begun == [first, begun[-1]] != [first, first]
            assert said == [(first, b"before"), (begun[-1], b"meanwhile")]
            assert (ours.reason, it.engine.claims[identity(LARGER)].front) == (None, "one")
            await ours.disconnect()
            await becomes(lambda: not it.engine.claims)
            await trio.sleep(0.1)
            assert [conn for conn, _ in await it.heard(Ended)] == begun
        else:
            assert (begun, said) == ([first], [(first, b"before")])
            assert "another connection with you was kept" in str(ours.reason)
            assert it.engine.claims[identity(LARGER)].front == "two"
            assert len(await it.heard(Ended)) == 1
        assert it.connections == 0


async def test_who_waits_and_goes_by_itself_was_no_session(autojump_clock: trio.testing.MockClock) -> None:
    async with by_hand() as it, stranger(LARGER) as far:
        _, theirs = await join(far, it.peers)
        await becomes(lambda: it.connections == 1)
        assert await it.displace(identity(LARGER), crossing=True) is Answer.TAKE_AND_PARK
        await trio.sleep(PARKED_SECONDS / 4)
        await theirs.disconnect()
        await it.bus.release("two", OTHER, identity(LARGER), 1)
        await trio.sleep(PARKED_SECONDS)
        assert (len(await it.heard(Connected)), len(await it.heard(Ended)), it.connections) == (1, 1, 0)
        assert not it.engine.claims


@pytest.mark.parametrize("ended", [True, False])
async def test_what_a_session_was_told_does_not_reach_the_next_one(
    ended: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """Nor does that begin if the back has ended it, and the peer could not hear that yet."""
    async with by_hand() as it, stranger(LARGER) as far, far.subscribe(Note) as notes:
        ours, _ = await join(far, it.peers)
        await becomes(lambda: it.connections == 1)
        await trio.sleep(0.1)
        ((conn, _),) = await it.heard(Connected)
        await ours.hold(True)  # it reads nothing of all this
        old = Send(messages=(Note(payload=b"old".ljust(60_000)).encode(),))
        it.say(*[(conn, old)] * 60)
        if ended:
            it.say((conn, Disconnect(code=b"", words=b"go")))
        await trio.sleep(0.5)
        taken = sum(what.size for _, what in await it.heard(Taken))
        assert await it.displace(identity(LARGER), crossing=True) is Answer.TAKE_AND_PARK
        await it.bus.release("two", OTHER, identity(LARGER), 1)
        await trio.sleep(PARKED_SECONDS + 0.5)
        begun = [number for number, _ in await it.heard(Connected)]
        await ours.hold(False)
        if ended:
            await ours.wait_closed()
            assert begun == [conn]
            return
        assert begun == [conn, conn + 1]
        it.say((conn + 1, Send(messages=(Note(payload=b"new").encode(),))))
        heard: list[bytes] = []
        async for _, note in notes:
            heard.append(note.payload[:3])
            if heard[-1] == b"new":
                break
        assert 0 < len(heard) - 1 == taken // len(old.messages[0]) < 60


async def test_what_was_read_of_who_is_displaced_begins_its_next_session(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In order, and once: what the back had no room for; then what was not read while it waited, however much."""
    monkeypatch.setattr(rules, "WINDOW_RECORDS", 4)
    monkeypatch.setattr(front_module, "DOWN_BYTES", 20_000)
    async with by_hand() as it, stranger(LARGER) as far, trio.open_nursery() as nursery:
        ours, _ = await join(far, it.peers)
        await ours.send(*[Note(payload=b"%d" % number) for number in range(30)])
        await trio.sleep(1)
        assert await it.displace(identity(LARGER), crossing=True) is Answer.TAKE_AND_PARK
        await trio.sleep(0.1)
        nursery.start_soon(ours.send, *[Note(payload=b"%d" % number + b" " * 9_000) for number in range(30, 40)])
        await it.bus.release("two", OTHER, identity(LARGER), 1)
        said: list[tuple[int, int]] = []
        with trio.fail_after(60):
            while len(said) < 40:
                said += [(conn, int(what.data[2:])) for conn, what in await it.heard(Said)]
                for position, data in await it.bus.read_up("one", "0", 0):
                    await it.bus.consume_up("one", BACK, position, Used(len(data), len(decode_entry(data, UP).records)))
                await trio.sleep(0.5)
                await it.bus.renew_back(BACK)
        assert [number for _, number in said] == [*range(40)]
        first, last = said[0][0], said[-1][0]
        assert [conn for conn, _ in said] == sorted(conn for conn, _ in said)
        assert (last, ours.reason) == (first + 1, None)


async def test_what_waits_with_who_is_displaced_is_bounded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read of it already, and the back had no room for."""
    monkeypatch.setattr(rules, "WINDOW_RECORDS", 4)
    monkeypatch.setattr(front_module, "DOWN_BYTES", 1000)
    async with by_hand() as it, stranger(LARGER) as far:
        ours, _ = await join(far, it.peers)
        await ours.send(*[Note(payload=bytes(100))] * 30)
        await trio.sleep(1)
        assert len(await it.heard(Said)) == 3
        assert await it.displace(identity(LARGER), crossing=True) is Answer.TAKE_AND_PARK
        await trio.sleep(0.1)
        await it.bus.release("two", OTHER, identity(LARGER), 1)
        for _ in range(5):
            for position, data in await it.bus.read_up("one", "0", 0):
                await it.bus.consume_up("one", BACK, position, Used(len(data), len(decode_entry(data, UP).records)))
            await trio.sleep(1)
            await it.bus.renew_back(BACK)
        assert "another connection with you was kept" in str(ours.reason)
        assert it.connections == 0
