"""Managers on a wire: what users write to test a handler without Trio, and the contract that a wire keeps."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import Note, identity, make_manager
from triolight import CustomMessageHandler, DisconnectCode, DisconnectPeerWithWarning, PeerHandleError, SendMessages
from triolight.address import IPv4Address
from triolight.connection import OUTPUT_PAUSE_BYTES
from triolight.messages import Message, Ping, Pong, Warning
from triolight.testing import MemoryDescriptor, MemoryNode, Wire, check_descriptor, wires


class Echo(CustomMessageHandler):
    """Says every note again, so many times; ends whoever says "stop"."""

    def __init__(self, times: int = 1) -> None:
        super().__init__()
        self.times = times
        self.heard: list[bytes] = []
        self.gone: list[bytes] = []

    def handle_custom_message(self, node_id: bytes, message: Message) -> Any:
        assert isinstance(message, Note)
        self.heard.append(message.payload)
        if message.payload == b"stop":
            return DisconnectPeerWithWarning(Warning(data=b"as you like"))
        self.push(SendMessages(node_id, *[message] * self.times))
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        self.gone.append(node_id)


def node(number: int, **options: Any) -> MemoryNode:
    return MemoryNode(make_manager(number, **options))


def two(capacity: int | None = None, times: int = 1) -> tuple[Wire, Echo]:
    echo = Echo(times)
    return Wire(node(1), node(2, custom=echo), capacity=capacity).connect(), echo


def say(wire: Wire, *payloads: bytes) -> None:
    wire.near.manager.send_message(wire.far.node_id, *[Note(payload=payload) for payload in payloads])


def test_a_handler_hears_and_answers() -> None:
    wire, echo = two()
    say(wire, b"hello", b"again")
    assert wire.near.woken
    wire.run()
    assert echo.heard == [b"hello", b"again"]
    assert wire.near.messages == wire.far.messages == [Note(payload=b"hello"), Note(payload=b"again")]
    assert wire.far.connected[wire.at_far].node_id == wire.near.node_id == identity(1)
    assert wire.far.connected[wire.at_far].inbound
    assert not wire.near.ended
    assert "1 peers" in repr(wire.near)
    assert "0 and 0 bytes wait" in repr(wire)


def test_nothing_travels_by_itself() -> None:
    wire = Wire(node(1), node(2))
    assert len(wire.at_near.waiting) == 50
    assert wire.step()
    assert (len(wire.at_near.waiting), len(wire.at_far.waiting)) == (0, 50)
    # Act two comes; act three and an Init are the answer.
    assert wire.carry(wire.at_far) == 50
    assert len(wire.at_near.waiting) > 66
    assert wire.carry(wire.at_near, 65) == 65
    assert wire.carry(wire.at_near, 1) == 1
    assert wire.at_far.waiting, "the handshake is done: its Init"
    assert not wire.near.connected
    wire.run()
    assert wire.near.connected
    assert not wire.step()


@pytest.mark.parametrize("most", [1, 7, 50])
def test_every_boundary(most: int) -> None:
    wire = Wire(node(1), node(2, custom=Echo()))
    wire.run(most)
    say(wire, b"in pieces")
    wire.run(most)
    assert wire.near.messages == [Note(payload=b"in pieces")]


@pytest.mark.parametrize("capacity", [1, 18, 1000])
def test_short_writes_arrive_whole(capacity: int) -> None:
    """Also the 50 bytes of act one, which are there whatever the capacity, as they fit into any new socket."""
    wire, echo = two(capacity)
    say(wire, bytes(5000), b"behind it")
    wire.near.manager.process_events()
    assert len(wire.at_near.waiting) == capacity
    assert wire.at_near.short
    wire.run()
    assert echo.heard == [bytes(5000), b"behind it"]
    assert wire.near.messages == wire.far.messages
    assert not wire.at_near.short


def test_a_socket_that_takes_nothing_until_it_has_room() -> None:
    wire, echo = two()
    wire.at_near.capacity = 0
    say(wire, b"later")
    wire.run()
    assert wire.at_near.short
    assert not echo.heard
    wire.at_near.capacity = None
    wire.run()
    assert echo.heard == [b"later"]


def test_who_does_not_want_to_read_is_given_nothing() -> None:
    """Its own answers wait: until they go, what comes for it waits as well."""
    wire, echo = two(times=10)
    wire.at_far.capacity = 0
    for _ in range(4):
        say(wire, bytes(OUTPUT_PAUSE_BYTES // 10))
    wire.run()
    heard = len(echo.heard)
    say(wire, b"more")
    wire.run()
    assert not wire.at_far.reading
    assert wire.carry(wire.at_near) == 0
    assert wire.at_near.waiting
    assert len(echo.heard) == heard
    wire.at_far.capacity = None
    wire.run()
    assert wire.at_far.reading
    assert echo.heard[-1] == b"more"


def test_an_end_comes_behind_the_last_words() -> None:
    wire, echo = two()
    say(wire, b"stop")
    wire.near.manager.process_events()
    wire.carry(wire.at_near)
    assert wire.far.ended[wire.at_far].code is DisconnectCode.HANDLER_DISCONNECT
    assert wire.at_far.ended
    assert wire.near.connected, "it has not heard yet"
    wire.run()
    assert wire.near.messages == [Warning(data=b"as you like")]
    assert wire.near.ended[wire.at_near].code is DisconnectCode.PEER_CLOSED
    assert (wire.at_near.lost, wire.at_near.ended) == (True, False)
    assert echo.gone == [identity(1)]
    assert not wire.near.connected
    assert not wire.far.connected
    # And nothing is left to happen.
    assert not wire.step()
    wire.cut()


def test_an_end_is_not_heard_by_who_does_not_read() -> None:
    wire, echo = two()
    wire.far.manager.hold_reading(wire.at_far, True)
    wire.run()
    wire.near.manager.disconnect_by_node_id(identity(2), "enough")
    wire.run()
    assert wire.at_near.ended
    assert wire.far.connected
    wire.far.manager.hold_reading(wire.at_far, False)
    wire.run()
    assert not wire.far.connected
    assert wire.far.messages == [Warning(data=b"enough")]
    assert echo.gone == [identity(1)]


def test_a_wire_that_is_cut() -> None:
    wire, echo = two()
    say(wire, b"never heard")
    wire.near.manager.process_events()
    assert wire.at_near.waiting
    wire.cut()
    wire.cut()
    wire.run()
    assert not echo.heard
    assert echo.gone == [identity(1)]
    for side, end in ((wire.near, wire.at_near), (wire.far, wire.at_far)):
        assert side.ended[end].code is DisconnectCode.PEER_CLOSED
        assert end.closed
    # The nodes are as good as before.
    Wire(wire.near, wire.far).connect()


def test_the_clock_is_the_tests() -> None:
    wire, _ = two()
    wire.near.now = 5.0
    wire.near.manager.timer_tick_occurred()
    wire.run()
    assert [type(one) for one in wire.far.messages] == [Ping]
    assert [type(one) for one in wire.near.messages] == [Pong]


def test_several_wires_and_the_loser_of_a_crossing() -> None:
    smaller, larger = (node(number) for number in sorted((1, 2), key=identity))
    kept = Wire(smaller, larger).connect()
    later = Wire(larger, smaller)
    later.run()
    assert larger.parked == [later.at_near]
    assert smaller.parked == [later.at_far]
    with pytest.raises(AssertionError, match="have not connected"):
        later.connect()
    assert not later.at_near.reading
    # The winner dies, and the other one takes its place.
    kept.cut()
    later.run()
    assert not larger.parked
    assert [*larger.connected] == [later.at_near]
    third = node(3)
    Wire(third, larger).connect()
    assert {one.node_id for one in larger.connected.values()} == {smaller.node_id, third.node_id}


def test_a_newer_connection_takes_an_older_ones_place() -> None:
    near, far = node(1), node(2)
    old = Wire(near, far).connect()
    near.now = far.now = 60.0
    new = Wire(near, far).connect()
    old.run()
    assert [*near.connected] == [new.at_near]
    assert [*far.connected] == [new.at_far]
    assert {near.ended[old.at_near].code, far.ended[old.at_far].code} & {DisconnectCode.DUPLICATE}


def test_a_handshake_that_fails() -> None:
    wire = Wire(node(1), node(2))
    wire.at_near.waiting[10] ^= 1
    with pytest.raises(AssertionError, match=r"have not connected\n    near: .*\n    far: ACT_ONE_FAILED"):
        wire.connect()
    assert isinstance(wire.at_far.fault, PeerHandleError)
    assert wire.at_far.lost
    assert wire.at_near.lost
    assert wire.near.ended[wire.at_near].code is DisconnectCode.CLOSED_IN_HANDSHAKE


def test_what_cannot_be_wired() -> None:
    one = node(1)
    with pytest.raises(ValueError, match="our own"):
        Wire(one, one)
    with pytest.raises(RuntimeError, match="driven already"):
        MemoryNode(one.manager)


def test_either_side_is_told_where_the_other_is() -> None:
    wire = Wire(node(1), node(2), near_address=("8.8.4.4", 4242), far_address=("8.8.8.8", 9735)).connect()
    assert wire.far.connected[wire.at_far].address == IPv4Address("8.8.4.4", 4242)
    assert wire.near.connected[wire.at_near].address == IPv4Address("8.8.8.8", 9735)


def test_two_that_answer_each_other_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "STEPS", 50)
    wire = Wire(node(1, custom=Echo()), node(2, custom=Echo())).connect()
    say(wire, b"and you?")
    with pytest.raises(AssertionError, match="still talk after 50 steps"):
        wire.run()


def test_the_example_of_the_page() -> None:
    page = (Path(__file__).parent.parent.parent / "docs" / "testing.md").read_text()
    (source,) = [one for one in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "Wire" in one]
    scope: dict[str, Any] = {}
    exec(source, scope)
    scope["check"](make_manager(1), make_manager(2))


@pytest.mark.parametrize("capacity", [None, 0, 10])
def test_the_descriptor_keeps_its_promises(capacity: int | None) -> None:
    check_descriptor(lambda: MemoryDescriptor(capacity))


def test_what_waits_is_taken_in_order() -> None:
    one = MemoryDescriptor(capacity=5)
    assert one.send_data(b"abcdefg", resume_read=False) == 5
    assert (one.short, one.has_room, one.reading) == (True, False, False)
    assert one.take(2) == b"ab"
    assert one.has_room
    assert one.take() == b"cde"
    assert one.take() == b""
    one.capacity = None
    assert one.send_data(b"fg", resume_read=True) == 2
    assert (one.short, one.reading) == (False, True)
    one.disconnect_socket()
    assert one.send_data(b"h", resume_read=True) == 1
    assert one.take() == b"fg"
