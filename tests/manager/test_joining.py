"""A newcomer becomes the peer, waits parked, or goes: what handlers say to it, and who is parked when dials cross."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import ListLogger, Note, identity
from tests.support.inside import roster_of
from tests.support.managers import (
    LARGER,
    SMALLER,
    Chan,
    Custom,
    Node,
    Onion,
    Recorder,
    Route,
    Says,
    Wire,
    connect,
    node,
    wire,
)
from tests.support.rivals import Greedy, rival
from triolight import (
    ChannelMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    DisconnectReason,
    IgnoreError,
    SendErrorMessage,
    SendWarningMessage,
    Side,
    SocketDescriptor,
)
from triolight.messages import (
    ALL_CHANNELS,
    Error,
    Init,
    Warning,
)


@pytest.mark.parametrize("inbound", [True, False])
@pytest.mark.parametrize("who", range(4))
def test_a_refusing_handler_rolls_the_others_back(who: int, inbound: bool) -> None:
    action = SendErrorMessage(Error(data=b"not you"))
    handlers = [Route(), Chan(), Onion(), Custom()]
    handlers[who].refuses = action
    route, chan, onion, custom = handlers
    refusing = node(1, chan=chan, route=route, onion=onion, custom=custom)
    other = node(2)
    link = wire(other, refusing) if inbound else wire(refusing, other)
    link.run()
    assert refusing.manager.list_peers() == []
    assert all(one.connected == one.disconnected for one in handlers)
    assert sum(one.connected for one in handlers) == who
    assert refusing.seen.ended[0].code is DisconnectCode.HANDLER_REFUSED
    assert refusing.seen.ended[0].message == "not you"
    errors = [message for message in other.seen.messages if isinstance(message, Error)]
    assert [error.data for error in errors] == [b"not you"]
    assert (link.at_b if inbound else link.at_a).ended


@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (False, b"refused by a handler"),
        (DisconnectPeer(), b"disconnected by a handler"),
        (DisconnectPeer(Error(data=b"own")), b"own"),
        (DisconnectPeerWithWarning(Warning(data=b"careful")), b"careful"),
        (SendWarningMessage(Warning(data=b"hm")), b"hm"),
        (IgnoreError("quiet"), b"refused by a handler"),
    ],
)
def test_the_words_of_a_refusal_reach_the_peer(refusal: Any, words: bytes) -> None:
    a, b = node(1), node(2, chan=Chan(refusal))
    wire(a, b).run()
    assert a.seen.messages[-1].data == words
    assert b.manager.get_peer_node_ids() == []


@pytest.mark.parametrize("all_of_them", [False, True])
def test_a_handler_may_end_the_peer_that_it_is_asked_about(all_of_them: bool) -> None:
    class Ends(ChannelMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[str] = []

        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
            self.heard.append("connected")
            if all_of_them:
                b.manager.disconnect_all_peers("not you")
            else:
                b.manager.disconnect_by_node_id(node_id, "not you")

        def peer_disconnected(self, node_id: bytes) -> None:
            self.heard.append("disconnected")

    before = Says(DisconnectPeer())
    ends = Ends()
    a, b = node(1), node(2, chan=ends, custom=before)
    link = wire(a, b)
    link.run()
    assert ends.heard == ["connected", "disconnected"]
    assert before.disconnected == 0, "it was never asked"
    assert b.manager.get_peer_node_ids() == []
    assert [reason.message for reason in b.seen.ended] == ["not you"]
    assert link.at_b.ended


def test_half_a_million_feature_bits_are_a_line_in_the_log() -> None:
    log = ListLogger()
    a, b = node(1), node(2, logger=log)

    class Loud(ChannelMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Any:
            return type(super().provided_init_features(node_id))(range(1, 520_000, 2))

    a = node(1, chan=Loud())
    connect(a, b)
    assert all(len(str(record)) < 400 for record in log.records)


class Parking(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.parked: list[SocketDescriptor] = []

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        self.parked.append(descriptor)


def crossed() -> tuple[Node, Node, Wire, Wire, Chan]:
    """The node with the larger id, the smaller, the connection that the smaller dialled and then the larger's own."""
    handler = Chan()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    seen = Parking()
    larger.manager.release()
    larger.manager.drive(seen, lambda: None, lambda: 0.0)
    larger.seen = seen
    kept = connect(smaller, larger)
    later = wire(larger, smaller)
    later.run()
    return larger, smaller, kept, later, handler


def test_the_loser_of_a_crossing_is_parked_unread() -> None:
    larger, smaller, kept, later, handler = crossed()
    # Both ends have chosen the same one, and both have parked the other: nobody has ended anything yet.
    assert isinstance(larger.seen, Parking)
    assert larger.seen.parked == [later.at_a]
    assert not any(one.ended for one in (kept.at_a, kept.at_b, later.at_a, later.at_b))
    assert (handler.connected, handler.disconnected) == (1, 0)
    assert larger.manager.read_event(later.at_a, b"") is True, "it is not to be read from"
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    # Ticks end it, with its words.
    larger.manager.timer_tick_occurred()
    later.run()
    assert later.at_a.ended
    assert larger.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert smaller.manager.get_peer_node_ids() == [identity(LARGER)]
    assert (handler.connected, handler.disconnected) == (1, 0)


@pytest.mark.parametrize("by", ["socket", "peer's words"])
def test_a_parked_connection_replaces_a_winner_that_dies(by: str) -> None:
    larger, smaller, kept, later, handler = crossed()
    # The other side has chosen otherwise: it uses the one that we have parked, and ends the one that we keep.
    smaller.manager.socket_disconnected(kept.at_a)
    smaller.manager.process_events()
    smaller.manager.send_message(identity(LARGER), Note(payload=b"said while parked"))
    smaller.manager.process_events()
    larger.manager.process_events()
    assert larger.seen.messages == []
    if by == "socket":
        larger.manager.socket_disconnected(kept.at_b)
    else:
        larger.manager.disconnect(kept.at_b, DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, "silent"))
    larger.manager.process_events()
    later.run()
    assert larger.seen.messages == [Note(payload=b"said while parked")]
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not later.at_a.ended


def test_a_winner_that_dies_while_events_are_processed_is_replaced_at_once() -> None:
    """What was held back is read on in `process_events`: nobody calls it again for what that brings."""
    larger, smaller, kept, later, handler = crossed()
    larger.manager.hold_reading(kept.at_b, True)
    smaller.manager.send_message(identity(LARGER), Error(channel_id=ALL_CHANNELS, data=b"enough"))
    kept.run()
    larger.manager.hold_reading(kept.at_b, False)
    larger.manager.process_events()
    assert kept.at_b.ended
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not later.at_a.ended


def test_a_parked_connection_ends_with_a_winner_that_we_end() -> None:
    larger, _, kept, later, handler = crossed()
    larger.manager.disconnect_by_node_id(identity(SMALLER), "we want nothing of it")
    later.run()
    kept.run()
    assert larger.manager.get_peer_node_ids() == []
    assert later.at_a.ended
    assert kept.at_b.ended
    assert {reason.message for reason in larger.seen.ended} == {"we want nothing of it"}
    assert (handler.connected, handler.disconnected) == (1, 1)


def test_a_winner_that_a_handler_ends_takes_the_parked_one_along() -> None:
    larger, _, kept, later, handler = crossed()
    reason = DisconnectReason(DisconnectCode.HANDLER_DISCONNECT, Side.US, "no")
    larger.manager.disconnect(kept.at_b, reason)
    later.run()
    assert larger.manager.get_peer_node_ids() == []
    assert later.at_a.ended
    assert handler.connected == handler.disconnected == 1


def test_a_third_connection_replaces_both() -> None:
    larger, smaller, kept, later, handler = crossed()
    third = wire(smaller, larger)
    third.run()
    later.run()
    kept.run()
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert kept.at_b.ended
    assert later.at_a.ended
    assert not third.at_b.ended
    assert handler.connected - handler.disconnected == 1


def test_who_is_ended_while_it_makes_room_waits_for_nobody() -> None:
    class Ends(Chan):
        def peer_disconnected(self, node_id: bytes) -> None:
            super().peer_disconnected(node_id)
            larger.manager.disconnect_all_peers("all of you")

    handler = Ends()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    seen = Parking()
    larger.manager.release()
    larger.manager.drive(seen, lambda: None, lambda: 0.0)
    first = connect(larger, smaller)
    second = wire(smaller, larger)
    second.run()
    first.run()
    assert seen.parked == []
    assert [reason.message for reason in seen.ended] == ["all of you"] * 2
    assert first.at_a.ended
    assert second.at_b.ended
    assert roster_of(larger.manager).parked == {}
    assert handler.connected == handler.disconnected


def test_only_one_is_parked() -> None:
    larger, smaller, kept, later, _ = crossed()
    fourth = wire(larger, smaller)
    fourth.run()
    later.run()
    assert later.at_a.ended
    assert not fourth.at_a.ended
    assert not kept.at_b.ended


def test_a_parked_connection_that_dies_is_forgotten() -> None:
    larger, _, kept, later, handler = crossed()
    larger.manager.socket_disconnected(later.at_a)
    larger.manager.socket_disconnected(kept.at_b)
    larger.manager.process_events()
    assert larger.manager.get_peer_node_ids() == []
    assert (handler.connected, handler.disconnected) == (1, 1)


class Fickle(Chan):
    """Refuses every second connection."""

    def peer_connected(self, node_id: bytes, init: Any, inbound: bool) -> Any:
        refused = self.connected > self.disconnected or self.refuses == "now"
        self.refuses = None
        return False if refused else super().peer_connected(node_id, init, inbound)


@pytest.mark.parametrize("seconds", [1.0, 60.0])
def test_a_newcomer_that_a_handler_refuses_leaves_the_old_one(seconds: float) -> None:
    handler = Fickle()
    a, b = node(1, chan=handler), node(2)
    b.manager = rival(Greedy, 2, Chan())
    b.manager.drive(b.seen, lambda: None, lambda: 0.0)
    first = connect(b, a)
    a.now[0] = seconds
    handler.refuses = "now"
    second = wire(b, a)
    second.run()
    first.run()
    assert a.manager.get_peer_node_ids() == [identity(2)]
    assert second.at_b.ended
    assert not first.at_b.ended
    assert (handler.connected, handler.disconnected) == (2, 1)
    a.manager.send_message(identity(2), Note(payload=b"still here"))
    first.run()
    assert b.seen.messages[-1] == Note(payload=b"still here")


def test_the_loser_of_a_crossing_that_was_connected_comes_back_when_the_winner_dies() -> None:
    """CLN keeps the newest as it sees them, and may have seen them in the other order."""
    handler = Chan()
    larger, smaller = node(LARGER, chan=handler), node(SMALLER)
    first = connect(larger, smaller)
    second = wire(smaller, larger)
    second.run()
    # Ours to keep is what the smaller one dialled; but it keeps the other one.
    assert (handler.connected, handler.disconnected) == (2, 1)
    assert not first.at_a.ended
    larger.manager.socket_disconnected(second.at_b)
    larger.manager.process_events()
    assert larger.manager.get_peer_node_ids() == [identity(SMALLER)]
    assert (handler.connected, handler.disconnected) == (3, 2)
    assert [details.inbound for details in larger.manager.list_peers()] == [False]
    assert larger.manager.send_encoded(first.at_a, [])
