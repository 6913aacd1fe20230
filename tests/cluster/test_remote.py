"""A peer that is connected at a front, as its users hold it: what waits, and what whoever waits hears of the end."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, Note, Order, identity, join
from tests.support.fleets import BACK, FRONT, INIT, becomes, open_fleet, stranger
from triolight import DisconnectCode, PeerClosed, reasons
from triolight.cluster import rules
from triolight.cluster.lanes import Lane, Patience
from triolight.cluster.records import DOWN, Disconnect, Hold, Send, decode_entry
from triolight.cluster.remote import (
    BY_ALLOWANCE,
    BY_HANDLER,
    BY_SUBSCRIBER,
    DOWN_BYTES,
    Met,
    RemotePeer,
    RemoteSession,
)
from triolight.cluster.rules import WINDOW_RECORDS
from triolight.cluster.streams import Flight, Used
from triolight.connection import decode_init
from triolight.messages import Init, Ping
from triolight.messages.structures import Structure
from triolight.shell.anywhere import AnyPeer
from triolight.shell.inboxes import Inboxes
from triolight.shell.peers_anywhere import Peers


async def talk(peers: Peers, node_id: bytes) -> AnyPeer:
    """A program that is typed against the protocols alone."""
    peer = peers.peers[node_id]
    async with peer.subscribe(Note) as inbox:
        assert await peer.ping(3, b"xx") == 0
        await peer.send(Order(payload=b"say something"))
        assert (await anext(inbox)).payload == b"something"
    return peer


async def test_a_program_for_any_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, far.subscribe(Order) as orders:
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)

        async def obey() -> None:
            await anext(orders)
            await ours.send(Note(payload=b"something"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            peer = await talk(fleet.back, identity(2))
        assert (peer.front, peer.inbound, peer.reason, peer.address) == ("one", True, None, None)
        assert peer.features == fleet.fronts["one"].peers[identity(2)].features
        assert peer.init == fleet.fronts["one"].peers[identity(2)].init
        assert repr(peer) == f"<RemotePeer {identity(2).hex()[:16]} at one, connected>"
        with pytest.raises(ValueError, match="a pong has"):
            await peer.ping(70_000)
        with pytest.raises(ValueError, match="65536"):
            await peer.send(Note(payload=bytes(65534)))
        with pytest.raises(TypeError, match="messages are sent"):
            await peer.send("text")  # type: ignore[arg-type]
        await peer.disconnect("enough")
        for call in (peer.send(Note(payload=b"")), peer.ping(), peer.request(Note(payload=b""), Note)):
            with pytest.raises(PeerClosed, match="enough"):
                await call
        assert peer.room() == 0


async def test_send_waits_for_a_peer_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_fleet("one", "two") as fleet,
        stranger(2) as far,
        stranger(3) as other,
        far.subscribe(Note, buffer_bytes=1) as slow,
        other.subscribe(Note) as quick,
    ):
        await join(far, fleet.fronts["one"])
        await join(other, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 2)
        peer = fleet.back.peers[identity(2)]
        assert peer.room() == DOWN_BYTES
        sent = 0
        with trio.move_on_after(5) as scope:
            while True:
                await peer.send(Note(payload=b"%04d" % sent + bytes(30_000)))
                sent += 1
        assert scope.cancelled_caught
        # What the peer's queue takes, what is on its way, and what its own subscriber has read ahead.
        assert 10 < sent < 30
        assert peer.room() == 0
        # Nobody else waits for it.
        await fleet.back.peers[identity(3)].send(Note(payload=b"quick"))
        assert (await anext(quick))[1] == Note(payload=b"quick")
        numbers = [(await anext(slow))[1].payload[:4] for _ in range(sent)]
        assert numbers == [b"%04d" % number for number in range(sent)]
        await becomes(lambda: peer.room() == DOWN_BYTES)


async def test_a_send_that_is_cancelled_while_the_engine_is_away(autojump_clock: trio.testing.MockClock) -> None:
    """One that is being appended is waited for, and has been sent; one behind it has not."""
    async with open_fleet("one") as fleet, stranger(2) as far, far.subscribe(Note) as heard:
        await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        fleet.engine.away = True
        outcomes: dict[str, bool] = {}

        async def send(name: str, scope: trio.CancelScope) -> None:
            with scope:
                await peer.send(Note(payload=name.encode()))
            outcomes[name] = scope.cancelled_caught

        async with trio.open_nursery() as nursery:
            scopes = [trio.CancelScope(), trio.CancelScope()]
            for name, scope in zip(("flying", "waiting"), scopes, strict=True):
                nursery.start_soon(send, name, scope)
                await trio.testing.wait_all_tasks_blocked()
            for scope in scopes:
                scope.cancel()
            await trio.sleep(1)
            assert outcomes == {"waiting": True}
            fleet.engine.away = False
        assert outcomes == {"waiting": True, "flying": False}
        assert (await anext(heard))[1] == Note(payload=b"flying")
        await peer.send(Note(payload=b"after"))
        assert (await anext(heard))[1] == Note(payload=b"after")


class Patient(Lane):
    """Says how often it was asked, and has enough of that at some time."""

    asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.asked > 20:
            raise RuntimeError("somebody spins")

    async def room(self) -> None:
        self._ask()
        await super().room()

    async def changed(self) -> None:
        self._ask()
        await super().changed()


async def test_who_sends_to_what_is_left_of_a_dead_front_s_peer(autojump_clock: trio.testing.MockClock) -> None:
    """It has not ended while somebody has not read what it has said; its front's stream is closed already."""

    async def append(flight: Flight) -> Used:
        return await trio.sleep_forever()

    async def look() -> Used:
        return await trio.sleep_forever()

    lane = Patient(BACK, append, look, Patience(math.inf))
    board = Inboxes(lambda wanted: None, lambda place: None, lambda mailbox: None)
    session = RemoteSession("one", 1, lane, Met(identity(2), True, None, Init()), board, 0)
    peer = RemotePeer(session, board, MESSAGES)
    outcomes: list[object] = []

    async def send(scope: trio.CancelScope) -> None:
        with scope:
            try:
                await peer.send(Note(payload=b"x"))
            except PeerClosed as error:
                outcomes.append(error.reason.code)
        if scope.cancelled_caught:
            outcomes.append("cancelled")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run)
        cancelled = trio.CancelScope()
        nursery.start_soon(send, cancelled)
        nursery.start_soon(send, trio.CancelScope())
        await trio.sleep(1)
        assert lane.writer.flight is not None
        lane.writer.used = Used(0, WINDOW_RECORDS)
        lane.close()
        nursery.start_soon(send, trio.CancelScope())
        assert peer.room() == 0
        await trio.sleep(1)
        assert outcomes == []
        cancelled.cancel()
        await trio.sleep(1)
        assert outcomes == ["cancelled"]
        session.reason = reasons.front_lost("one")
        session.wake()
        session.wake_all()
        await trio.sleep(1)
        assert outcomes == ["cancelled", DisconnectCode.FRONT_LOST, DisconnectCode.FRONT_LOST]
        nursery.cancel_scope.cancel()


async def test_who_waits_hears_of_the_end(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        ended: list[DisconnectCode] = []

        async def wait(call: object) -> None:
            with pytest.raises(PeerClosed) as caught:
                await call  # type: ignore[misc]
            ended.append(caught.value.reason.code)

        async with trio.open_nursery() as nursery:
            fleet.buses["back"].cut = True
            nursery.start_soon(wait, peer.ping())
            nursery.start_soon(wait, peer.request(Note(payload=b""), Ping))
            await trio.sleep(1)
            await theirs.disconnect()
            fleet.buses["back"].cut = False
        assert ended == [DisconnectCode.PEER_CLOSED] * 2


# A session whose lane nobody works at.


async def never(*_: object) -> Used:
    await trio.sleep_forever()
    raise AssertionError


def a_session() -> tuple[RemoteSession, RemotePeer]:
    inboxes = Inboxes(lambda wanted: None, lambda place: None, lambda mailbox: None)
    lane = Lane(FRONT, never, never, Patience(1))
    session = RemoteSession("one", 7, lane, Met(identity(2), True, None, decode_init(INIT)), inboxes, 0)
    return session, RemotePeer(session, inboxes, MESSAGES)


def told(session: RemoteSession) -> list[Structure]:
    """What was put for its front since this was asked last."""
    flight = session.lane.writer.take()
    session.lane.writer.answered(Used(0, 0))
    return [] if flight is None else [what for _, what in decode_entry(flight.data, DOWN).records]


async def test_its_front_hears_of_the_first_reason_not_to_read_and_of_the_last(
    autojump_clock: trio.testing.MockClock,
) -> None:
    session, _ = a_session()
    assert (session.hold(BY_ALLOWANCE), session.hold(BY_ALLOWANCE), session.hold(BY_HANDLER)) == (True, False, True)
    assert (told(session), session.is_held) == ([Hold(held=1)], True)
    session.release(BY_ALLOWANCE)
    session.release(BY_ALLOWANCE)
    assert (told(session), session.is_held) == ([], True)
    session.release(BY_HANDLER)
    assert (told(session), session.is_held) == ([Hold(held=0)], False)
    # What waits for subscribers is known by what waits: the reason may be older.
    session.hold(BY_SUBSCRIBER)
    assert not session.is_held


async def test_who_is_to_end_is_told_nothing_more(autojump_clock: trio.testing.MockClock) -> None:
    session, _ = a_session()
    session.tell([b"\x00\x01"])
    for _ in range(2):
        session.end(reasons.duplicate())
    session.tell([b"\x00\x01"])
    assert [type(one) for one in told(session)] == [Send, Disconnect]


async def test_what_is_withdrawn_takes_no_room(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, peer = a_session()
    with trio.move_on_after(1):
        await peer.send(Note(payload=bytes(1000)))
    assert (told(session), peer.room(), session.on_the_way) == ([], DOWN_BYTES, 0)
    monkeypatch.setattr(rules, "WINDOW_RECORDS", 0)
    assert (peer.room(), session.has_room) == (0, False)


async def test_a_send_that_has_no_answer_before_the_end(autojump_clock: trio.testing.MockClock) -> None:
    session, peer = a_session()

    async def end() -> None:
        await trio.sleep(1)
        session.reason = reasons.front_lost("one")
        session.wake_all()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(end)
        with pytest.raises(PeerClosed) as caught:
            await peer.send(Note(payload=b"x"))
    assert caught.value.reason.code is DisconnectCode.FRONT_LOST
