"""What follows from a handler's answers and events, and from errors and warnings."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import ListLogger, Note, identity
from tests.support.managers import Recorder, connect, node
from tests.support.messages import OURS, add, commitment, fulfill, start
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    DisconnectReason,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    Level,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Side,
    SocketDescriptor,
    UpdateHtlcs,
)
from triolight.manager.acting import HANDLER_LIMIT_BYTES
from triolight.messages import (
    ALL_CHANNELS,
    Error,
    Message,
    OnionMessage,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    Warning,
)
from triolight.policy import COST_OF_UNIT, Allowance


class Answers(CustomMessageHandler):
    """Answers every custom message with an action."""

    def __init__(self, action: Any) -> None:
        super().__init__()
        self.action = action

    def handle_custom_message(self, node_id: bytes, message: Message) -> Any:
        return self.action


ACTIONS: list[tuple[Any, bool, list[Any]]] = [
    (DisconnectPeer(Error(data=b"words")), True, [Error(data=b"words")]),
    (DisconnectPeer(reason="cause"), True, [Warning(data=b"cause")]),
    (DisconnectPeerWithWarning(Warning(data=b"words")), True, [Warning(data=b"words")]),
    (IgnoreError("x"), False, []),
    (IgnoreAndLog(Level.INFO, "logged"), False, []),
    (IgnoreDuplicateGossip(), False, []),
    (SendErrorMessage(Error(channel_id=b"\x01" * 32, data=b"e")), False, [Error(channel_id=b"\x01" * 32, data=b"e")]),
    (SendWarningMessage(Warning(data=b"w")), False, [Warning(data=b"w")]),
    (None, False, []),
]


@pytest.mark.parametrize(("action", "ends", "said"), ACTIONS)
@pytest.mark.parametrize("as_event", [False, True])
def test_actions(action: Any, ends: bool, said: list[Any], as_event: bool) -> None:
    custom = Answers(action)
    a, b = node(1), node(2, custom=custom)
    link = connect(a, b)
    if as_event:
        if action is None:
            return
        custom.push(HandleError(identity(1), action))
        assert b.work
        custom.push(SendMessages(identity(1), Note(payload=b"after")))
    else:
        a.manager.send_message(identity(2), Note(payload=b"go"))
    link.run()
    got = [message for message in a.seen.messages if not isinstance(message, Note)]
    assert got == said
    assert link.at_b.ended is ends
    assert (b.manager.get_peer_node_ids() == []) is ends
    if ends:
        assert b.seen.ended[0].code is DisconnectCode.HANDLER_DISCONNECT
    elif as_event:
        assert a.seen.messages[-1] == Note(payload=b"after")


def test_an_event_for_nobody_is_dropped_and_logged() -> None:
    logger = ListLogger()
    custom = CustomMessageHandler()
    a = node(1, custom=custom, logger=logger)
    custom.push(SendMessages(identity(9), Note(payload=b"")))
    a.manager.process_events()
    assert "not connected" in logger


def test_an_oversized_event_ends_only_that_peer() -> None:
    """LDK's way: to drop it alone would leave a channel out of step."""
    custom = CustomMessageHandler()
    a, b, c = node(1, custom=custom), node(2), node(3)
    to_b, to_c = connect(a, b), connect(a, c)
    custom.push(SendMessages(identity(2), Note(payload=bytes(65534))))
    custom.push(SendMessages(identity(3), Note(payload=b"fine")))
    to_b.run()
    to_c.run()
    assert a.seen.ended[0].code is DisconnectCode.MESSAGE_TOO_LONG
    assert a.manager.get_peer_node_ids() == [identity(3)]
    assert c.seen.messages == [Note(payload=b"fine")]


def test_a_handlers_messages_are_never_dropped_alone() -> None:
    custom = CustomMessageHandler()
    a, b = node(1, custom=custom), node(2)
    link = connect(a, b)
    link.at_a.room = 0
    a.manager.send_message(identity(2), Note(payload=b"starts the queue"))
    a.manager.process_events()
    count = HANDLER_LIMIT_BYTES // 65_000 + 3
    for _ in range(count):
        custom.push(SendMessages(identity(2), Note(payload=bytes(65_000))))
    a.manager.process_events()
    assert a.seen.ended[0].code is DisconnectCode.QUEUE_FULL


def test_what_is_passed_on_is_dropped_where_too_much_waits() -> None:
    """And whoever it is for stays."""
    custom = CustomMessageHandler()
    a, b = node(1, custom=custom), node(2)
    link = connect(a, b)
    link.at_a.room = 0
    message = OnionMessage(path_key=identity(1), onion_message_packet=bytes(10_000))
    for _ in range(1000):
        custom.push(SendMessages(identity(2), message, most_waiting=50_000))
    a.manager.process_events()
    link.at_a.room = 10**9
    a.manager.write_buffer_space_avail(link.at_a)
    a.manager.process_events()
    link.run()
    assert not a.seen.ended
    taken = [one for one in b.seen.messages if isinstance(one, OnionMessage)]
    assert 4 <= len(taken) <= 8
    custom.push(SendMessages(identity(2), message, most_waiting=50_000))
    a.manager.process_events()
    link.run()
    assert len(b.seen.messages) == len(taken) + 1


def test_errors_and_warnings() -> None:
    class Errors(ChannelMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.got: list[Error] = []

        def handle_error(self, node_id: bytes, message: Error) -> None:
            self.got.append(message)

    chan = Errors()
    a, b = node(1), node(2, chan=chan)
    link = connect(a, b)
    one = Error(channel_id=b"\x01" * 32, data=b"\xff\x00")
    a.manager.send_message(identity(2), one, Warning(data=b"just so"))
    link.run()
    assert chan.got == [one]
    assert not link.at_b.ended
    a.manager.send_message(identity(2), Error(channel_id=ALL_CHANNELS, data=b"all over"))
    link.run()
    assert link.at_b.ended
    assert b.seen.ended[0] == DisconnectReason(DisconnectCode.PEER_ERROR, Side.PEER, "all over")
    assert not any(isinstance(message, Warning) for message in a.seen.messages)


def test_changes_are_written_in_order_with_nothing_between() -> None:
    handler = ChannelMessageHandler()
    a, b = node(1, chan=handler), node(2)
    link = connect(a, b)
    event = UpdateHtlcs(
        node_id=identity(2),
        channel_id=OURS,
        commitment_signed=(commitment(1), commitment(2)),
        fee=UpdateFee(channel_id=OURS, feerate_per_kw=253),
        adds=(add(1), add(2)),
        malformed_fails=(
            UpdateFailMalformedHtlc(channel_id=OURS, id=5, sha256_of_onion=bytes(32), failure_code=0x8000),
        ),
        fails=(UpdateFailHtlc(channel_id=OURS, id=6, reason=b"why"),),
        fulfills=(fulfill(7),),
    )
    handler.push(event)
    a.manager.process_events()
    link.run()
    names = [type(message).name for message in b.seen.messages]
    assert names == [
        "update_fulfill_htlc",
        "update_fail_htlc",
        "update_fail_malformed_htlc",
        "update_add_htlc",
        "update_add_htlc",
        "update_fee",
        "start_batch",
        "commitment_signed",
        "commitment_signed",
    ]
    assert b.seen.messages[6] == start(2)
    assert tuple(b.seen.messages) == event.messages
    # One commitment_signed is no batch.
    handler.push(UpdateHtlcs(node_id=identity(2), channel_id=OURS, commitment_signed=(commitment(3),)))
    a.manager.process_events()
    link.run()
    assert b.seen.messages[9:] == [commitment(3)]


def test_events_are_taken_from_channels_first() -> None:
    class Talks(RoutingMessageHandler):
        pass

    route, chan = Talks(), ChannelMessageHandler()
    a, b = node(1, route=route, chan=chan), node(2)
    link = connect(a, b)
    route.push(SendMessages(identity(2), Note(payload=b"route")))
    chan.push(SendMessages(identity(2), Note(payload=b"channels")))
    link.run()
    assert b.seen.messages == [Note(payload=b"channels"), Note(payload=b"route")]


def test_events_for_nobody_are_counted() -> None:
    """Also what was pushed before there was a manager that could hear of it."""
    chan = ChannelMessageHandler()
    chan.push(SendMessages(identity(3), Note(payload=b"early")))
    a = node(1, chan=chan)
    a.manager.process_events()
    assert a.manager.events_dropped == 1
    chan.push(SendMessages(identity(3), Note(payload=b"?")))
    a.manager.process_events()
    assert a.manager.events_dropped == 2


class Charges(CustomMessageHandler):
    """Charges 20 units for each message."""

    def __init__(self, *, ours: bool = False) -> None:
        super().__init__()
        self.ours = ours
        self.heard = 0

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.heard += 1
        self.charge(node_id, 20, ours=self.ours)


class Throttled(Recorder):
    def __init__(self) -> None:
        super().__init__()
        self.throttled: list[float] = []

    def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
        self.throttled.append(seconds)


def charged(custom: Charges, notes: int, **driving: Any) -> Throttled:
    """A node with such a handler, driven like this, has been given so many messages in one chunk."""
    a, b = node(1), node(2, custom=custom)
    b.manager.release()
    seen = Throttled()
    b.manager.drive(seen, lambda: None, lambda: 0.0, **driving)
    link = connect(a, b)
    a.manager.send_message(identity(2), *[Note(payload=b"x")] * notes)
    a.manager.process_events()
    before = b.manager.work_done
    b.manager.read_event(link.at_b, link.at_a.take())
    assert b.manager.work_done - before == 21 * custom.heard
    return seen


def test_what_a_handler_charges_ends_the_turn_sooner() -> None:
    custom = Charges()
    charged(custom, 30, turn_work=100)
    assert custom.heard == 5


@pytest.mark.parametrize(("ours", "heard"), [(False, 2), (True, 30)])
def test_what_a_handler_charges_is_the_peers_unless_we_asked_for_it(ours: bool, heard: int) -> None:
    custom = Charges(ours=ours)
    seen = charged(custom, 30, allowance=Allowance(20 * COST_OF_UNIT, 20 * COST_OF_UNIT))
    assert custom.heard == heard
    assert seen.throttled == ([1.25] if heard == 2 else [])


def test_a_charge_for_nobody_counts_in_the_turn_and_without_a_manager_not_at_all() -> None:
    custom = Charges()
    custom.charge(identity(9), 7)
    a = node(1, custom=custom)
    custom.charge(identity(9), 7)
    assert a.manager.work_done == 7
