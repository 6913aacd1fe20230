"""The PeerManager without I/O: two or more managers, descriptors that are lists, and no clock but the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import ListLogger, Note, Order, identity, make_manager, secret
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    DisconnectReason,
    ErroringMessageHandler,
    Features,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    IgnoringMessageHandler,
    Level,
    MessageHandler,
    NullLogger,
    OnionMessageHandler,
    PeerHandleError,
    PeerManager,
    PeerObserver,
    QueueFull,
    Record,
    RoutingMessageHandler,
    SendErrorMessage,
    SendMessages,
    SendWarningMessage,
    Side,
    SocketDescriptor,
)
from triolight.address import IPv4Address
from triolight.connection import OUTPUT_PAUSE_BYTES
from triolight.handlers import BaseMessageHandler
from triolight.keys import verify
from triolight.manager.acting import HANDLER_LIMIT_BYTES
from triolight.messages import (
    ALL_CHANNELS,
    BOLT,
    ChannelReestablish,
    Error,
    Init,
    Message,
    NodeAnnouncement,
    Ping,
    Pong,
    Shutdown,
    UnknownMessage,
    Warning,
)
from triolight.peer_manager import SEND_LIMIT_BYTES


class Descriptor(SocketDescriptor):
    """Takes up to `room` bytes; what it took waits in `out`."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.out = bytearray()
        self.reading = True
        self.ended = False
        self.calls = 0

    def send_data(self, data: bytes, resume_read: bool) -> int:
        assert not self.ended
        self.calls += 1
        self.reading = resume_read
        taken = data[: self.room]
        self.room -= len(taken)
        self.out += taken
        return len(taken)

    def disconnect_socket(self) -> None:
        assert not self.ended
        self.ended = True

    def take(self) -> bytes:
        data = bytes(self.out)
        self.out.clear()
        return data

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Recorder(PeerObserver):
    def __init__(self) -> None:
        self.ended: list[DisconnectReason] = []
        self.messages: list[Any] = []

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self.ended.append(reason)

    def message_received(self, descriptor: SocketDescriptor, message: Any, size: int) -> None:
        self.messages.append(message)


@dataclass
class Node:
    number: int
    manager: PeerManager
    seen: Recorder
    now: list[float] = field(default_factory=lambda: [0.0])
    work: list[int] = field(default_factory=list)


def node(number: int, **options: Any) -> Node:
    now = [0.0]
    work: list[int] = []
    manager = make_manager(number, clock=lambda: now[0], on_work=lambda: work.append(1), **options)
    seen = Recorder()
    manager.drive(seen, lambda: None, lambda: now[0])
    return Node(number, manager, seen, now, work)


@dataclass
class Wire:
    """A connection between two nodes: `a` dialled."""

    a: Node
    b: Node
    at_a: Descriptor
    at_b: Descriptor
    dead: set[str] = field(default_factory=set)

    def feed(self, which: str, data: bytes) -> bool | PeerHandleError:
        node, descriptor = (self.a, self.at_a) if which == "a" else (self.b, self.at_b)
        try:
            return node.manager.read_event(descriptor, data)
        except PeerHandleError as error:
            self.dead.add(which)
            return error

    def run(self, chunk: int = 10**9) -> None:
        """Carries bytes both ways until nobody has any."""
        while True:
            moved = False
            for sender, which in ((self.at_a, "b"), (self.at_b, "a")):
                data = sender.take()
                for at in range(0, len(data), chunk):
                    moved = True
                    if which not in self.dead:
                        self.feed(which, data[at : at + chunk])
                        (self.a if which == "a" else self.b).manager.process_events()
            for one, descriptor in ((self.a, self.at_a), (self.b, self.at_b)):
                one.manager.process_events()
                if descriptor.room <= 0 and descriptor.ended is False:
                    continue
            if not moved and not self.at_a.out and not self.at_b.out:
                return


def wire(a: Node, b: Node, room: int = 10**9) -> Wire:
    at_a, at_b = Descriptor(), Descriptor(room)
    link = Wire(a, b, at_a, at_b)
    b.manager.new_inbound_connection(at_b)
    at_a.out += a.manager.new_outbound_connection(b.manager.our_node_id, at_a)
    return link


def connect(a: Node, b: Node) -> Wire:
    link = wire(a, b)
    link.run()
    assert b.manager.our_node_id in a.manager.get_peer_node_ids()
    return link


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


def test_remote_addr_is_told_to_inbound_peers_with_public_addresses() -> None:
    for address, told in ((("8.8.4.4", 4242), True), (("127.0.0.1", 4242), False), (("192.168.1.9", 1), False)):
        a, b = node(1), node(2)
        at_a, at_b = Descriptor(), Descriptor()
        b.manager.new_inbound_connection(at_b, address)
        at_a.out += a.manager.new_outbound_connection(identity(2), at_a, address)
        Wire(a, b, at_a, at_b).run()
        inbound, outbound = b.manager.list_peers()[0], a.manager.list_peers()[0]
        assert inbound.address == IPv4Address(*address)
        assert outbound.init.tlvs.remote_addr == (bytes.fromhex("01080804041092") if told else None)
        # BOLT 1 asks for it on incoming connections alone.
        assert inbound.init.tlvs.remote_addr is None


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


def test_every_message_of_the_bolts_has_its_handler_method() -> None:
    missing = [
        cls.name
        for cls in BOLT
        if cls.name not in ("init", "warning", "ping", "pong", "start_batch")
        and not any(
            hasattr(base, f"handle_{cls.name}")
            for base in (ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler)
        )
    ]
    assert missing == []


class Counting(BaseMessageHandler):
    def __init__(self, refuses: Any = None) -> None:
        super().__init__()
        self.refuses = refuses
        self.connected = 0
        self.disconnected = 0

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> Any:
        if self.refuses is not None:
            return self.refuses
        self.connected += 1
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        self.disconnected += 1


class Chan(Counting, ChannelMessageHandler):
    pass


class Route(Counting, RoutingMessageHandler):
    pass


class Onion(Counting, OnionMessageHandler):
    pass


class Custom(Counting, CustomMessageHandler):
    pass


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


def test_a_handler_that_forgot_its_parents_init_works() -> None:
    class Forgetful(CustomMessageHandler):
        def __init__(self) -> None:
            pass

    forgetful = Forgetful()
    a = node(1, custom=forgetful)
    b = node(2)
    link = connect(a, b)
    forgetful.push(SendMessages(identity(2), Note(payload=b"x")))
    link.run()
    assert b.seen.messages == [Note(payload=b"x")]


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
    a.manager._greeting.our_init = lambda *_: Ping()  # type: ignore[assignment,method-assign]
    a.manager.read_event(link.at_a, link.at_b.take())
    a.manager.process_events()
    with pytest.raises(PeerHandleError, match="NOT_INIT_FIRST"):
        b.manager.read_event(link.at_b, link.at_a.take())
    assert chan.connected == chan.disconnected == 0


@pytest.mark.parametrize("refuse", ["unknown", "not_offered"])
def test_feature_policies(refuse: str) -> None:
    class Demands(ChannelMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Features:
            return Features.named(required=["gossip_queries", "option_data_loss_protect"])

    a, b = node(1, chan=Demands()), node(2, refuse_features=refuse)
    link = wire(a, b)
    link.run()
    reasons = [reason.code for reason in (*a.seen.ended, *b.seen.ended)]
    # `a` wants what `b` does not offer, so it ends anyway; `b` minds only under LDK's rule.
    assert DisconnectCode.INIT_REFUSED in reasons
    told = [one.message for one in b.seen.ended if one.code is DisconnectCode.INIT_REFUSED]
    assert told == (["you require gossip_queries (6), which is not supported here"] if refuse == "not_offered" else [])


@pytest.mark.parametrize("seconds", [1.0, 11.0])
@pytest.mark.parametrize("same_direction", [True, False])
def test_duplicates(same_direction: bool, seconds: float) -> None:
    handlers = [Chan(), Chan()]
    a, b = node(1, chan=handlers[0]), node(2, chan=handlers[1])
    first = connect(a, b)
    a.now[0] = b.now[0] = seconds
    second = wire(a, b) if same_direction else wire(b, a)
    second.run()
    first.run()
    smaller_is_a = identity(1) < identity(2)
    keeps_first = not same_direction and seconds < 10 and smaller_is_a
    kept, lost = (first, second) if keeps_first else (second, first)
    if not same_direction and seconds < 10:
        # The loser is parked for a while.
        assert not lost.at_a.ended
        assert not lost.at_b.ended
        for one in (a, b):
            one.manager.timer_tick_occurred()
        lost.run()
        kept.run()
    assert lost.at_a.ended or lost.at_b.ended
    assert not kept.at_a.ended
    assert not kept.at_b.ended
    for one in (a, b):
        assert len(one.manager.get_peer_node_ids()) == 1
        for descriptor in (lost.at_a, lost.at_b):
            one.manager.socket_disconnected(descriptor)
        assert len(one.manager.get_peer_node_ids()) == 1
        assert DisconnectCode.DUPLICATE in {reason.code for reason in one.seen.ended}
    assert all(one.connected - one.disconnected == 1 for one in handlers)
    a.manager.send_message(identity(2), Note(payload=b"still there"))
    kept.run()
    assert b.seen.messages[-1] == Note(payload=b"still there")


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


def test_erroring_and_placeholder_handlers() -> None:
    reestablish = ChannelReestablish(
        channel_id=b"\x09" * 32,
        next_commitment_number=1,
        next_revocation_number=0,
        your_last_per_commitment_secret=bytes(32),
        my_current_per_commitment_point=identity(5),
    )
    for handler, answers in ((ErroringMessageHandler(), 1), (ChannelMessageHandler(), 0)):
        a, b = node(1), node(2, chan=handler)
        link = connect(a, b)
        a.manager.send_message(identity(2), reestablish)
        link.run()
        errors = [message for message in a.seen.messages if isinstance(message, Error)]
        assert [error.channel_id for error in errors] == [b"\x09" * 32] * answers


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


def test_node_announcement_is_signed_and_grows() -> None:
    times = [1000.0, 1000.0, 500.0]
    a, b = node(1, unix_time=lambda: times.pop(0)), node(2)
    link = connect(a, b)
    addresses = [("example.org", 9735), ("8.8.8.8", 9735)]
    stamps = []
    for _ in range(3):
        made = a.manager.broadcast_node_announcement(b"\x01\x02\x03", b"alias", addresses)
        stamps.append(made.timestamp)
    link.run()
    assert stamps == [1000, 1001, 1002]
    got = [message for message in b.seen.messages if isinstance(message, NodeAnnouncement)]
    assert len(got) == 3
    import hashlib

    digest = hashlib.sha256(hashlib.sha256(got[0].encode()[66:]).digest()).digest()
    assert verify(got[0].signature, digest, identity(1))
    assert got[0].addresses.hex().startswith("0108080808")
    assert got[0].alias == b"alias" + bytes(27)
    with pytest.raises(ValueError, match="alias"):
        a.manager.broadcast_node_announcement(bytes(3), bytes(33))


def test_message_received_is_called_for_every_message() -> None:
    class Hears(ChannelMessageHandler):
        count = 0

        def message_received(self, node_id: bytes) -> None:
            self.count += 1

    chan = Hears()
    a, b = node(1), node(2, chan=chan)
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b""), UnknownMessage(43003, b""), Ping())
    link.run()
    assert chan.count == 4


def test_logging_of_single_messages_is_made_for_those_who_ask() -> None:
    class Talkative:
        level = Level.GOSSIP

        def __init__(self) -> None:
            self.records: list[Record] = []

        def log(self, record: Record) -> None:
            self.records.append(record)

    logger = Talkative()
    a, b = node(1), node(2, logger=logger)
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b"x"), Order(payload=b"y"))
    link.run()
    assert [str(record).split()[0] for record in logger.records if "received note" in str(record)] == ["TRACE"]


def test_ignoring_handler_fits_three_places() -> None:
    ignoring = IgnoringMessageHandler()
    handlers = MessageHandler(ChannelMessageHandler(), ignoring, ignoring, ignoring)
    assert len(handlers.all) == 2
    a = node(1, route=ignoring, onion=ignoring, custom=ignoring)
    b = node(2)
    link = connect(a, b)
    b.manager.send_message(identity(1), Note(payload=b""))
    link.run()
    assert not link.at_a.ended


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
