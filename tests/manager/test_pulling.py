"""The pull: gossip is asked for when a peer has room for it, of those who are named, in turn, and is dropped first."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, Note, identity, join, make_manager
from tests.support.gossip import update
from tests.support.project import ROOT
from triolight import (
    Peer,
    PeerManager,
    PeerObserver,
    Replay,
    RoutingMessageHandler,
    SendMessages,
    Tape,
    open_peer_nursery,
)
from triolight.connection import BATCH_BYTES
from triolight.manager.pulling import ROOM_BYTES
from triolight.messages import ChannelUpdate, Init, Message, UnknownMessage, Warning
from triolight.tape.tape import Kind
from triolight.testing import MemoryNode, Wire


def note(number: int, size: int = 100) -> bytes:
    return Note(payload=b"%06d" % number + bytes(size - 6)).encode()


class Backfill(RoutingMessageHandler):
    """Has so many messages for each peer that is named, and writes down who was asked for."""

    def __init__(self, messages: int = 0, size: int = 100, at_once: int = ROOM_BYTES) -> None:
        super().__init__()
        self.left: dict[bytes, int] = {}
        self.messages = messages
        self.size = size
        self.at_once = at_once
        self.asked: list[tuple[bytes, int]] = []

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self.left[node_id] = self.messages
        self.wake([node_id])

    def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
        self.asked.append((node_id, room))
        count = min(self.left[node_id], min(room, self.at_once) // (self.size + 2))
        self.left[node_id] -= count
        return [note(self.left[node_id] + one, self.size) for one in reversed(range(count))]


def nodes(route: RoutingMessageHandler, **options: Any) -> tuple[MemoryNode, MemoryNode]:
    return MemoryNode(make_manager(1, route=route, **options)), MemoryNode(make_manager(2))


def numbers(messages: Iterable[Message | UnknownMessage]) -> list[int]:
    return [int(one.payload[:6]) for one in messages if isinstance(one, Note) and one.payload[:6].isdigit()]


def test_a_handler_is_asked_until_it_has_nothing_more() -> None:
    route = Backfill(3_000)
    near, far = nodes(route)
    Wire(near, far).connect()
    assert numbers(far.messages) == list(reversed(range(3_000)))
    assert {room for _, room in route.asked} == {ROOM_BYTES}
    count = len(route.asked)
    assert route.left == {identity(2): 0}
    near.manager.send_message(identity(2), Note(payload=b"and this"))
    near.manager.process_events()
    assert len(route.asked) == count, "who had nothing is not asked for again, until it is named"
    route.left[identity(2)] = 1
    route.wake([identity(2), identity(9)])
    near.manager.process_events()
    assert route.asked[count:] == [(identity(2), ROOM_BYTES)] * 2


def test_who_does_not_override_it_is_not_asked() -> None:
    asked: list[bytes] = []

    class Plain(RoutingMessageHandler):
        def handle_channel_update(self, node_id: bytes, message: Message) -> None: ...

    route = Plain()
    near, far = nodes(route)
    Wire(near, far).connect()
    route.wake([identity(2)])
    near.manager.process_events()
    assert not asked
    assert near.manager.queued_bytes(next(iter(near.connected))) == 0


def test_a_peer_that_does_not_read_is_asked_for_no_more() -> None:
    route = Backfill(100_000)
    near, far = nodes(route)
    wire = Wire(near, far)
    wire.at_near.capacity = 20_000
    for _ in range(6):  # the handshake and both Inits; then nothing is taken from it any more
        wire.step()
        if wire.at_near in near.connected:
            break
    for _ in range(10):
        near.manager.process_events()
    asked = len(route.asked)
    assert asked == 1
    # What it was given waits, and no more is made for it: what is owed to it stays one answer.
    assert near.manager.queued_bytes(wire.at_near) <= ROOM_BYTES
    wire.run()
    assert numbers(far.messages)[:100] == list(reversed(range(99_900, 100_000)))


def test_what_waits_goes_first() -> None:
    route = Backfill(50)
    near, far = nodes(route)
    wire = Wire(near, far).connect()
    far.messages.clear()
    wire.at_near.capacity = 0
    route.left[identity(2)] = 5
    near.manager.send_message(identity(2), *[Note(payload=b"mine")] * 3)
    route.wake([identity(2)])
    before = len(route.asked)
    near.manager.process_events()
    assert len(route.asked) == before, "something waits already"
    wire.at_near.capacity = None
    wire.run()
    payloads = [one.payload for one in far.messages if isinstance(one, Note)]
    assert payloads[:3] == [b"mine"] * 3
    assert numbers(far.messages) == [4, 3, 2, 1, 0]


def test_gossip_is_dropped_before_what_the_application_has_queued() -> None:
    route = Backfill(600, size=100, at_once=60_000)
    near, far = nodes(route)
    wire = Wire(near, far)
    wire.at_near.capacity = 3 * BATCH_BYTES
    while wire.at_near not in near.connected:
        wire.step()
    near.manager.process_events()
    waiting = near.manager.queued_bytes(wire.at_near)
    assert waiting > BATCH_BYTES, "plain gossip waits behind what is encrypted"
    near.manager.send_message(identity(2), Note(payload=b"mine"))
    wire.at_near.take()  # as if its socket had taken what it holds
    wire.at_near.capacity = None
    near.manager.disconnect_by_node_id(identity(2), "enough")
    assert near.manager.queued_bytes(wire.at_near) < waiting - BATCH_BYTES + 1_000
    assert near.ended[wire.at_near].message == "enough"


def test_each_peer_has_its_turn_and_a_turn_is_short() -> None:
    route = Backfill(400, at_once=4_080)
    manager = make_manager(1, route=route)
    near = MemoryNode(manager)
    others = [MemoryNode(make_manager(number)) for number in range(2, 6)]
    # Driven anew, by a driver that counts turns.
    manager.release()
    woken: list[int] = []
    manager.drive(PeerObserver(), lambda: woken.append(1), lambda: 0.0, turn_work=32)
    wires = [Wire(near, other) for other in others]
    for _ in range(20):
        for wire in wires:
            wire.step()
        if len(route.left) == len(wires):
            break
    route.asked.clear()
    served: list[int] = []
    for _ in range(40):
        woken.clear()
        before = manager.work_done
        manager.process_events()
        served.append(manager.work_done - before)
        if not woken:
            break
    assert max(served) <= 32 + 40, "a turn ends with the answer in which its work was done"
    assert len(served) > 20
    # Nobody is asked for twice before each of the others that still have something was once.
    asked = [node_id for node_id, _ in route.asked]
    for at, node_id in enumerate(asked):
        if node_id in asked[at + 1 :]:
            between = asked[at + 1 : asked.index(node_id, at + 1)]
            assert {*between} >= {*asked[at + 1 :]} - {node_id}
    assert not any(route.left.values())


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ([b"x"], TypeError, "encoded messages"),
        ([Note(payload=b"x")], TypeError, "encoded messages"),
        (["text"], TypeError, "encoded messages"),
        (None, TypeError, "not iterable"),
        ([bytes(ROOM_BYTES), b"ab"], ValueError, f"at most {ROOM_BYTES} bytes, and gave {ROOM_BYTES + 2}"),
    ],
)
def test_what_no_wire_could_take_is_a_bug_of_the_handler(given: Any, error: type[Exception], words: str) -> None:
    class Wrong(RoutingMessageHandler):
        def next_gossip(self, node_id: bytes, room: int) -> Any:
            return given

    route = Wrong()
    near, far = nodes(route)
    Wire(near, far).connect()
    route.wake([identity(2)])
    with pytest.raises(error, match=words):
        near.manager.process_events()


def test_after_a_bug_nobody_is_asked() -> None:
    route = Backfill(10)
    near, far = nodes(route)
    wire = Wire(near, far).connect()
    count = len(route.asked)
    route.left[identity(2)] = 10
    route.wake([identity(2)])
    near.manager.abandon_handlers()
    near.manager.process_events()
    wire.run()
    assert len(route.asked) == count


def test_a_peer_that_has_ended_is_not_asked_for() -> None:
    route = Backfill(0)
    near, far = nodes(route)
    wire = Wire(near, far).connect()
    count = len(route.asked)
    route.left[identity(2)] = 10
    route.wake([identity(2)])
    near.manager.disconnect_by_node_id(identity(2))
    wire.run()
    assert len(route.asked) == count
    assert numbers(far.messages) == []


def test_ending_the_peer_from_inside_gives_it_nothing() -> None:
    class Ends(Backfill):
        manager: PeerManager

        def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
            self.manager.disconnect_by_node_id(node_id, "from inside")
            return super().next_gossip(node_id, room)

    route = Ends(10)
    near, far = nodes(route)
    route.manager = near.manager
    wire = Wire(near, far)
    wire.run()
    assert numbers(far.messages) == []
    assert [one.data for one in far.messages if isinstance(one, Warning)] == [b"from inside"]


async def test_a_backfill_under_trio_goes_by_itself_and_lets_others_live(
    autojump_clock: trio.testing.MockClock,
) -> None:
    route = Backfill(20_000)
    async with (
        open_peer_nursery(make_manager(1, route=route)) as near,
        open_peer_nursery(make_manager(2)) as far,
        far.subscribe(Note, buffer_bytes=4_096) as inbox,
    ):
        await join(near, far)
        peer: Peer = near.peers[identity(2)]
        heard = [numbers([message])[0] for _, message in [await anext(inbox) for _ in range(20_000)]]
        assert heard == list(reversed(range(20_000)))
        assert await peer.ping() >= 0
        assert peer.reason is None


async def test_under_trio_a_slow_reader_costs_one_answer(autojump_clock: trio.testing.MockClock) -> None:
    route = Backfill(1_000_000)
    async with (
        open_peer_nursery(make_manager(1, route=route)) as near,
        open_peer_nursery(make_manager(2)) as far,
        far.subscribe(Note, buffer_bytes=1) as inbox,
    ):
        await join(near, far)
        await trio.testing.wait_all_tasks_blocked()
        asked = len(route.asked)
        assert near.peers[identity(2)].statistics().queued_bytes <= ROOM_BYTES
        await anext(inbox)
        await trio.testing.wait_all_tasks_blocked()
        assert len(route.asked) <= asked + 1


@pytest.mark.parametrize("kind", ["messages", "with_secrets"])
async def test_what_was_pulled_is_on_the_tape(
    kind: Kind, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    route = Backfill(300)
    tape = Tape(tmp_path / "tape", kind=kind)
    async with (
        open_peer_nursery(make_manager(1, route=route), tape=tape) as near,
        open_peer_nursery(make_manager(2)) as far,
        far.subscribe(Note) as inbox,
    ):
        await join(near, far)
        for _ in range(300):
            await anext(inbox)
        route.left[identity(2)] = 1
        route.wake([identity(2)])
        await anext(inbox)
    happenings = list(Replay(tape.path, messages=MESSAGES))
    sent = [one.message for one in happenings if one.what == "sent"]
    assert [one for one in sent if one[:2] == Note.type.to_bytes(2, "big")] == [
        *[note(number) for number in reversed(range(300))],
        note(0),
    ]
    assert "route_handler: gossip for 1" in [one.words for one in happenings if one.what == "answer"]
    answers = [json.loads(line) for line in tape.path.read_text().splitlines()]
    asked = [one for one in answers if one.get("answer") == "route_handler.next_gossip"]
    assert sum(len(one["is"]) for one in asked) == 301


def test_the_guides_handler_tells_everything_once() -> None:
    page = (ROOT / "docs" / "doors.md").read_text()
    assert "A handler answers at once, a subscriber may be slow." in page
    scope: dict[str, Any] = {}
    exec(compile(page.split("```python\n")[1].split("```")[0], "docs/doors.md", "exec"), scope)
    route = scope["Backfill"]([note(number, 900) for number in range(500)])
    near, far = nodes(route)
    wire = Wire(near, far).connect()
    route.start(identity(2))
    wire.run()
    assert numbers(far.messages) == list(range(500))


async def test_what_is_pushed_while_gossip_is_asked_for_goes_out_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Pushes(Backfill):
        def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
            self.push(SendMessages(node_id, Note(payload=b"pushed")))
            return ()

    async with (
        open_peer_nursery(make_manager(1, route=Pushes()), ping_interval=1_000) as near,
        open_peer_nursery(make_manager(2), ping_interval=1_000) as far,
        far.subscribe(Note) as inbox,
    ):
        await join(near, far)
        with trio.fail_after(1):
            assert (await anext(inbox))[1] == Note(payload=b"pushed")


class Lookups(RoutingMessageHandler):
    """Has too much of a peer after three updates, until it is told that it has not."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[bytes, int] = {}

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.waiting[node_id] = self.waiting.get(node_id, 0) + 1

    def processing_queue_high(self, node_id: bytes) -> bool:
        return self.waiting.get(node_id, 0) >= 3


def an_update() -> ChannelUpdate:
    return ChannelUpdate.decode(update())


def test_a_peer_of_whom_a_handler_has_too_much_waits_and_nobody_else() -> None:
    route = Lookups()
    server, slow, other = (
        MemoryNode(make_manager(number, route=route if number == 1 else None)) for number in (1, 2, 3)
    )
    wires = [Wire(one, server).connect() for one in (slow, other)]
    slow.manager.send_message(server.node_id, *[an_update()] * 8)
    wires[0].run()
    assert route.waiting == {slow.node_id: 3}
    other.manager.send_message(server.node_id, an_update())
    wires[1].run()
    assert route.waiting == {slow.node_id: 3, other.node_id: 1}
    route.wake([slow.node_id])
    wires[0].run()
    assert route.waiting[slow.node_id] == 3, "it still has too much"
    for count in (6, 8):
        route.waiting[slow.node_id] -= 3
        before = route.waiting[slow.node_id]
        route.wake([slow.node_id, identity(9)])
        wires[0].run()
        assert route.waiting[slow.node_id] - before == (3 if count == 6 else 2)
    assert wires[0].at_near in slow.connected
