"""The decision that a connection ends: its last word, who is told, and when the socket goes."""

from __future__ import annotations

import pytest

from tests.support import Note, identity
from tests.support.inside import roster_of
from tests.support.managers import Says, connect, node, wire
from triolight import (
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    PeerHandleError,
)
from triolight.actions import ErrorAction
from triolight.messages import (
    Error,
    UnknownMessage,
    Warning,
)


def test_faults_after_init_do_not_raise_and_are_answered_first() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    a.manager.send_message(identity(2), UnknownMessage(43002, b""))
    a.manager.process_events()
    assert b.manager.read_event(link.at_b, link.at_a.take()) is True
    assert not link.at_b.ended
    assert not link.at_b.out
    assert b.manager.get_peer_node_ids() == []
    assert b.manager.read_event(link.at_b, b"whatever") is True
    b.manager.process_events()
    assert link.at_b.ended
    link.run()
    assert b"43002" in a.seen.messages[-1].data
    with pytest.raises(PeerHandleError, match="UNKNOWN_DESCRIPTOR"):
        b.manager.read_event(link.at_b, b"")
    with pytest.raises(PeerHandleError, match="UNKNOWN_DESCRIPTOR"):
        b.manager.write_buffer_space_avail(link.at_b)
    b.manager.socket_disconnected(link.at_b)


def test_last_words_wait_for_room_and_then_the_socket_ends() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 10
    b.manager.disconnect_by_node_id(identity(1), "a rather long goodbye")
    b.manager.process_events()
    assert not link.at_b.ended
    link.at_b.room = 10**9
    b.manager.write_buffer_space_avail(link.at_b)
    assert link.at_b.ended
    link.run()
    assert a.seen.messages[-1] == Warning(data=b"a rather long goodbye")
    a.manager.socket_disconnected(link.at_a)
    assert a.seen.ended[0].message == "the peer closed the connection, after saying: a rather long goodbye"
    # Nobody there any more: nothing happens.
    b.manager.disconnect_by_node_id(identity(1))
    a.manager.disconnect(link.at_a)


TOO_LONG = bytes(65_534)


@pytest.mark.parametrize(
    "action",
    [DisconnectPeer(Error(data=TOO_LONG)), DisconnectPeerWithWarning(Warning(data=TOO_LONG))],
    ids=["error", "warning"],
)
@pytest.mark.parametrize("refuses", [False, True])
def test_a_last_word_that_is_too_long_ends_with_ours(action: ErrorAction, refuses: bool) -> None:
    says = Says(action, refuses)
    a, b = node(1), node(2, custom=says)
    link = wire(a, b)
    link.run()
    if not refuses:
        a.manager.send_message(identity(2), Note(payload=b"?"))
        link.run()
    assert b.seen.ended[0].code is DisconnectCode.MESSAGE_TOO_LONG
    assert link.at_b.ended
    heard = [message.data.decode() for message in a.seen.messages if isinstance(message, Warning)]
    assert heard == [b.seen.ended[0].message]
    assert says.disconnected == (0 if refuses else 1)


def test_who_waits_for_its_init_is_ended_by_node_id_too() -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    link.feed("b", link.at_a.take())
    b.manager.process_events()
    link.feed("a", link.at_b.take())  # act three and an Init are on their way to b
    a.manager.process_events()
    b.manager.disconnect_by_node_id(identity(1))
    assert not b.seen.ended, "nobody has proven yet to be that node"
    link.feed("b", link.at_a.take()[:66])
    assert roster_of(b.manager).awaiting_init == {identity(1): {roster_of(b.manager).by_descriptor[link.at_b]: None}}
    b.manager.disconnect_by_node_id(identity(1))
    b.manager.process_events()
    assert link.at_b.ended
    assert roster_of(b.manager).awaiting_init == {}
    # Nor is anything left of those that get through.
    connect(a, b)
    assert roster_of(b.manager).awaiting_init == {}
