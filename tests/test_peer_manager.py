"""The PeerManager without I/O: two or more managers, descriptors that are lists, and no clock but the test's own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import Note, identity, secret
from tests.support.managers import Chan, Descriptor, Recorder, connect, node, wire
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerHandleError,
    PeerManager,
    QueueFull,
    RoutingMessageHandler,
    SocketDescriptor,
)
from triolight.keys import SecretKey
from triolight.messages import (
    BOLT,
    Error,
    Ping,
    Pong,
    Shutdown,
)
from triolight.noise import Handshake
from triolight.peer_manager import SEND_LIMIT_BYTES


def test_construction_refuses_bad_randomness_and_keys() -> None:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler())
    for bad in (bytes(32), secret(1), b"short"):
        with pytest.raises(ValueError, match="ephemeral_random_data"):
            PeerManager(handlers, secret(1), bad, NullLogger())
    with pytest.raises(ValueError, match="secret key"):
        PeerManager(handlers, bytes(32), secret(2), NullLogger())
    with pytest.raises(ValueError, match="chain hash"):
        PeerManager(handlers, secret(1), secret(2), NullLogger(), networks=[b"short"])
    manager = PeerManager(handlers, secret(1), secret(2), NullLogger())
    assert manager.our_node_id == identity(1)
    assert secret(1).hex() not in repr(manager)
    assert manager.messages is BOLT


def test_act_one_is_returned_and_nothing_else_is_written() -> None:
    a = node(1)
    descriptor = Descriptor()
    assert len(a.manager.new_outbound_connection(identity(2), descriptor)) == 50
    a.manager.process_events()
    assert not descriptor.out
    with pytest.raises(ValueError, match="already"):
        a.manager.new_outbound_connection(identity(2), descriptor)
    with pytest.raises(ValueError, match="node id"):
        a.manager.new_outbound_connection(bytes(33), Descriptor())


def test_a_simple_message_arrives_equal() -> None:
    class Takes(ChannelMessageHandler):
        got: list[Any]

        def handle_shutdown(self, node_id: bytes, message: Shutdown) -> None:
            self.got.append((node_id, message))

    takes = Takes()
    takes.got = []
    a, b = node(1), node(2, chan=takes)
    link = connect(a, b)
    sent = Shutdown(channel_id=b"\x07" * 32, scriptpubkey=b"script")
    a.manager.send_message(identity(2), sent)
    assert a.work
    link.run()
    assert takes.got == [(identity(1), sent)]


def test_send_message_errors() -> None:
    a, b = node(1), node(2)
    with pytest.raises(PeerHandleError, match="NOT_CONNECTED"):
        a.manager.send_message(identity(2), Note(payload=b""))
    link = connect(a, b)
    with pytest.raises(ValueError, match="65535"):
        a.manager.send_message(identity(2), Note(payload=b"ok"), Note(payload=bytes(65_534)))
    assert a.manager.queued_bytes(link.at_a) == 0
    link.at_a.room = 0
    with pytest.raises(QueueFull):
        for _ in range(SEND_LIMIT_BYTES // 60_000 + 2):
            a.manager.send_message(identity(2), Note(payload=bytes(60_000)))
    # The largest legal batch enters whole.
    link.at_a.room = 10**9
    a.manager.write_buffer_space_avail(link.at_a)
    link.run()
    a.manager.send_message(identity(2), *[Note(payload=bytes(60_000))] * 31)
    link.run()
    assert len(b.seen.messages) >= 31


def test_pongs_are_matched_by_length_oldest_first() -> None:
    a, b = node(1), node(2)
    answered: list[Any] = []

    class Watch(Recorder):
        def pong_received(self, descriptor: SocketDescriptor, ping: Any, now: float) -> None:
            answered.append((None if ping is None else ping.token, now))

    a.manager.release()
    watch = Watch()
    a.manager.drive(watch, lambda: None, lambda: 0.0)
    link = connect(a, b)
    for token, size in enumerate((3, 5, 3)):
        assert a.manager.send_ping(link.at_a, size, b"", token)
    a.manager.process_events()
    link.at_a.take()
    for size in (3, 4, 3, 5, 0):
        b.manager.send_message(identity(1), Pong(ignored=bytes(size)))
    # `b` has not seen our pings' bytes, so its noise is out of step only in the other direction.
    b.manager.process_events()
    a.now[0] = 2.0
    a.manager.read_event(link.at_a, link.at_b.take())
    assert answered == [(0, 2.0), (None, 2.0), (2, 2.0), (1, 2.0), (None, 2.0)]
    for _ in range(32):
        assert a.manager.send_ping(link.at_a)
    assert not a.manager.send_ping(link.at_a)
    assert not a.manager.send_ping(Descriptor())
    assert not a.manager.send_encoded(Descriptor(), [b""])


def test_after_abandoning_the_handlers_none_is_called() -> None:
    chan = Chan()
    a, b = node(1), node(2, chan=chan)
    link = connect(a, b)
    b.manager.abandon_handlers()
    a.manager.send_message(identity(2), Error(data=b"x"), Ping(num_pong_bytes=3))
    link.run()
    assert chan.disconnected == 0
    assert link.at_b.ended


def test_release_ends_what_is_left() -> None:
    chan = Chan()
    a, b = node(1), node(2, chan=chan)
    connect(a, b)
    b.manager.release()
    assert chan.connected == chan.disconnected == 1
    assert b.manager.get_peer_node_ids() == []


def test_the_same_calls_give_the_same_bytes() -> None:
    def transcript() -> list[bytes]:
        a, b = node(1), node(2)
        link = wire(a, b)
        said: list[bytes] = []
        for _ in range(6):
            for sender, receiver, descriptor in ((link.at_a, b, link.at_b), (link.at_b, a, link.at_a)):
                data = sender.take()
                said.append(data)
                receiver.manager.read_event(descriptor, data)
                receiver.manager.process_events()
        a.manager.send_message(identity(2), Note(payload=b"x"))
        a.manager.process_events()
        return [*said, link.at_a.take()]

    assert transcript() == transcript()


def test_our_own_node_id_is_nobody_to_connect_to() -> None:
    a = node(1)
    with pytest.raises(ValueError, match="our own node id"):
        a.manager.new_outbound_connection(identity(1), Descriptor())
    # From the other side it shows when it is proven.
    handshake = Handshake(SecretKey(secret(1)), SecretKey(secret(9)), identity(1))
    descriptor = Descriptor()
    a.manager.new_inbound_connection(descriptor)
    a.manager.read_event(descriptor, handshake.act_one())
    a.manager.process_events()
    act_three, _ = handshake.receive(descriptor.take())
    with pytest.raises(PeerHandleError, match="our own"):
        a.manager.read_event(descriptor, act_three)
    assert not descriptor.out
