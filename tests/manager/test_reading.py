"""From bytes to acts, Init and messages: any fragmentation, faults, turns, and reading that is held back."""

from __future__ import annotations

import pytest

from tests.support import Note, identity
from tests.support.inside import connection_of, queue_of, says_first
from tests.support.managers import Chan, Descriptor, connect, node, wire
from triolight import (
    DisconnectCode,
    PeerHandleError,
    Side,
)
from triolight.connection import OUTPUT_PAUSE_BYTES
from triolight.messages import (
    Ping,
)


@pytest.mark.parametrize("chunk", [1, 7, 50, 10**9])
def test_handshake_and_inits_in_any_fragmentation(chunk: int) -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    assert a.manager.get_peer_node_ids() == []
    link.run(chunk)
    assert a.manager.get_peer_node_ids() == [identity(2)]
    details = b.manager.peer_by_node_id(identity(1))
    assert details is not None
    assert (details.inbound, details.init.features.hex()) == (True, "08a0002a0aa222")
    assert [one.node_id for one in b.manager.list_peers()] == [identity(1)]
    assert b.manager.peer_by_node_id(identity(3)) is None
    counts = a.manager.connection_counts(link.at_a)
    assert counts is not None
    assert counts[:2] == (1, 1)


def test_a_flood_of_pings_costs_a_bounded_amount() -> None:
    """800 KB of ping(65531), and nothing is ever read."""
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 0
    assert a.manager.send_encoded(link.at_a, [Ping(num_pong_bytes=65_531).encode()] * 20_000)
    a.manager.process_events()
    flood = link.at_a.take()
    assert len(flood) > 700_000
    paused = False
    fed = 0
    while not paused:
        paused = b.manager.read_event(link.at_b, flood[fed : fed + 65_536])
        fed += 65_536
        b.manager.process_events()
    assert fed == 65_536
    assert b.manager.queued_bytes(link.at_b) < OUTPUT_PAUSE_BYTES + 3 * 65_600
    # It goes on where it stopped, answers each ping, and asks for more only then.
    answered = 0
    while not link.at_b.reading:
        link.at_b.room = 100_000
        b.manager.write_buffer_space_avail(link.at_b)
        answered += len(link.at_b.take())
        assert b.manager.queued_bytes(link.at_b) < OUTPUT_PAUSE_BYTES + 3 * 65_600
    whole_pings = 65_536 // 40
    assert (whole_pings - 4) * 65_569 < answered <= whole_pings * 65_569


def test_what_our_application_sends_does_not_stop_the_reading() -> None:
    """Two sides that both have much to send must both go on reading, or neither ever finishes."""
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 0
    b.manager.send_message(identity(1), *[Note(payload=bytes(60_000))] * 20)
    b.manager.process_events()
    a.manager.send_message(identity(2), Note(payload=b"read me"))
    a.manager.process_events()
    assert b.manager.read_event(link.at_b, link.at_a.take()) is False
    assert b.seen.messages == [Note(payload=b"read me")]


def test_noise_faults_raise_and_nothing_is_written() -> None:
    b = node(2)
    for data in (b"\x01" + bytes(49), bytes(50), b"\x00\x02" + bytes(48)):
        descriptor = Descriptor()
        b.manager.new_inbound_connection(descriptor)
        with pytest.raises(PeerHandleError, match="ACT_ONE_FAILED") as caught:
            b.manager.read_event(descriptor, data)
        assert caught.value.reason.by is Side.US
        b.manager.process_events()
        assert not descriptor.out
        assert not descriptor.ended
        b.manager.socket_disconnected(descriptor)
    assert len(b.seen.ended) == 3


def test_non_init_first_raises_and_tells_no_handler() -> None:
    chan = Chan()
    a, b = node(1), node(2, chan=chan)
    link = wire(a, b)
    b.manager.read_event(link.at_b, link.at_a.take())
    b.manager.process_events()
    # Our own manager would not do it: a ping in place of its Init.
    says_first(a.manager, lambda init: Ping())
    a.manager.read_event(link.at_a, link.at_b.take())
    a.manager.process_events()
    with pytest.raises(PeerHandleError, match="NOT_INIT_FIRST"):
        b.manager.read_event(link.at_b, link.at_a.take())
    assert chan.connected == chan.disconnected == 0


def test_turns() -> None:
    a, b = node(1), node(2)
    b.manager.release()
    b.manager.drive(b.seen, lambda: None, lambda: 0.0, turn_work=10)
    with pytest.raises(RuntimeError, match="driven already"):
        b.manager.drive(b.seen, lambda: None, lambda: 0.0)
    link = connect(a, b)
    a.manager.send_message(identity(2), *[Note(payload=b"%d" % number) for number in range(35)])
    a.manager.process_events()
    before = b.manager.work_done
    assert b.manager.read_event(link.at_b, link.at_a.take()) is True
    assert len(b.seen.messages) == 10
    assert b.manager.work_done - before == 10
    b.manager.process_events()
    assert link.at_b.reading is True or not link.at_b.reading
    rounds = 0
    while descriptors := b.manager.unfinished():
        assert descriptors == [link.at_b]
        b.manager.continue_reading(link.at_b)
        b.manager.process_events()
        rounds += 1
    assert rounds == 3
    assert len(b.seen.messages) == 35
    assert link.at_b.reading
    b.manager.continue_reading(link.at_b)
    b.manager.continue_reading(Descriptor())


def test_holding_back_one_peers_reading() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    b.manager.hold_reading(link.at_b, True)
    b.manager.process_events()
    assert link.at_b.reading is False
    a.manager.send_message(identity(2), Note(payload=b"1"), Note(payload=b"2"))
    a.manager.process_events()
    assert b.manager.read_event(link.at_b, link.at_a.take()) is True
    assert b.seen.messages == []
    b.manager.hold_reading(link.at_b, False)
    b.manager.process_events()
    assert b.seen.messages == [Note(payload=b"1"), Note(payload=b"2")]
    assert link.at_b.reading is True
    b.manager.hold_reading(Descriptor(), True)


@pytest.mark.parametrize("first", [b"", b"\0"])
def test_an_empty_first_message_raises_as_every_other_does(first: bytes) -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    link.feed("b", link.at_a.take())
    b.manager.process_events()
    link.feed("a", link.at_b.take())
    peer = connection_of(a.manager, link.at_a)
    queue_of(peer).clear()
    peer.queue(first)
    a.manager.process_events()
    error = link.feed("b", link.at_a.take())
    assert isinstance(error, PeerHandleError)
    assert error.reason.code is DisconnectCode.BAD_PACKET
    assert not link.at_b.ended, "the driver closes it"


def test_a_message_without_a_type_ends_its_peer_once_those_before_it_are_handled() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    ping = Ping(num_pong_bytes=2).encode()
    a.manager.send_encoded(link.at_a, [ping, ping, b"\0", ping])
    a.manager.process_events()
    assert link.feed("b", link.at_a.take()) is True
    counts = b.manager.connection_counts(link.at_b)
    assert counts is not None
    assert counts[0] == 3, "Init and two pings"
    b.manager.process_events()
    assert link.at_b.ended
    assert "a message of 1 bytes holds no type" in str(b.seen.ended)


def test_bytes_of_the_driver_stay_the_drivers() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b"one"))
    a.manager.process_events()
    data = link.at_a.take()
    buffer = bytearray(data[:10])
    b.manager.read_event(link.at_b, buffer)  # type: ignore[arg-type]
    buffer[:] = bytes(10)  # used for the next read
    b.manager.read_event(link.at_b, data[10:])
    assert b.seen.messages == [Note(payload=b"one")]


def test_reading_is_not_held_before_init() -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    b.manager.hold_reading(link.at_b, True)
    link.run()
    assert b.manager.get_peer_node_ids() == [identity(1)]
