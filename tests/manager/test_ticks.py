"""LDK's keepalive, by counting: who answers stays, who does not goes at a known tick."""

from __future__ import annotations

import pytest

from tests.support import Note, identity
from tests.support.inside import connection_of
from tests.support.managers import Descriptor, connect, node, wire
from triolight import (
    DisconnectCode,
)
from triolight.messages import (
    Ping,
    Pong,
)


def test_last_words_that_are_never_taken_end_with_the_ticks() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 0
    b.manager.disconnect_all_peers()
    b.manager.process_events()
    b.manager.timer_tick_occurred()
    assert not link.at_b.ended
    b.manager.timer_tick_occurred()
    assert link.at_b.ended


def test_ticks_ping_and_end() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    a.manager.timer_tick_occurred()
    a.manager.process_events()
    assert a.manager.get_peer_node_ids() == [identity(2)]
    link.at_a.take()
    a.manager.timer_tick_occurred()
    a.manager.process_events()
    assert a.seen.ended[0].code is DisconnectCode.PING_TIMEOUT
    assert link.at_a.ended


def test_ticks_keep_a_peer_that_answers() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    for _ in range(20):
        a.manager.timer_tick_occurred()
        b.manager.timer_tick_occurred()
        link.run()
    assert a.manager.get_peer_node_ids() == [identity(2)]
    assert Ping(num_pong_bytes=0, ignored=bytes(64)) in b.seen.messages


@pytest.mark.parametrize("strangers", [0, 3])
def test_ticks_end_a_chatty_peer_that_never_answers(strangers: int) -> None:
    """At the sixth tick, however many strangers hang about."""
    a, b = node(1), node(2)
    link = connect(a, b)
    for _ in range(strangers):
        a.manager.new_inbound_connection(Descriptor())
    for tick in range(1, 7):
        b.manager.send_message(identity(1), Note(payload=b"chat"))
        b.manager.process_events()
        a.manager.read_event(link.at_a, link.at_b.take())
        a.manager.timer_tick_occurred()
        a.manager.process_events()
        assert link.at_a.ended is (tick == 6)
    assert a.seen.ended[-1].message == "no pong since the last ping"


def test_ticks_end_half_open_connections_at_the_second() -> None:
    a = node(1)
    descriptors = [Descriptor() for _ in range(50)]
    for descriptor in descriptors:
        a.manager.new_inbound_connection(descriptor)
    a.manager.timer_tick_occurred()
    a.manager.process_events()
    assert not any(one.ended for one in descriptors)
    a.manager.timer_tick_occurred()
    a.manager.process_events()
    assert all(one.ended for one in descriptors)
    assert not any(one.out for one in descriptors)
    assert {one.code for one in a.seen.ended} == {DisconnectCode.HANDSHAKE_TIMEOUT}


def test_a_tick_before_init_is_not_a_missed_pong() -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    b.manager.read_event(link.at_b, link.at_a.take())
    b.manager.process_events()
    a.manager.timer_tick_occurred()
    a.manager.read_event(link.at_a, link.at_b.take())
    a.manager.process_events()
    b.manager.timer_tick_occurred()
    link.run()
    assert a.manager.get_peer_node_ids() == [identity(2)]
    a.manager.timer_tick_occurred()
    link.run()
    a.manager.timer_tick_occurred()
    link.run()
    assert a.manager.get_peer_node_ids() == [identity(2)]


def test_a_pong_of_a_wrong_length_does_not_stop_the_ticks_pings() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    for _ in range(100):
        b.manager.timer_tick_occurred()
        b.manager.process_events()
        link.at_b.take()  # it is not heard
        a.manager.send_message(identity(2), Pong(ignored=b"wrong"))
        link.run()
    assert len(connection_of(b.manager, link.at_b).pings) == 1
    sent = b.manager.traffic(link.at_b)[1][Ping.type]  # type: ignore[index]
    assert sent[0] == 100
