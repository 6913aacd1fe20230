"""The PeerManager at its edges, without I/O: what handlers, applications and peers do that nobody expects of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import ListLogger, Note, identity, make_manager, secret
from tests.test_batches import Takes, commitment, linked, start
from tests.test_peer_manager import Descriptor, connect, node, wire
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    PeerHandleError,
    PeerManager,
    RoutingMessageHandler,
    SendMessages,
)
from triolight.address import DnsAddress, IPv4Address
from triolight.batch import MAX_STRANGE_BATCH_BYTES
from triolight.connection import ENTRY_BYTES, OUTPUT_PAUSE_BYTES
from triolight.errors import DecodeError
from triolight.gossip import UNCOMPRESSED, ZLIB, refuse_zlib
from triolight.handlers import ErrorAction
from triolight.keys import SecretKey
from triolight.logger import Level, wanted_level
from triolight.messages import (
    ChannelUpdate,
    Error,
    Init,
    Message,
    Ping,
    Pong,
    QueryShortChannelIds,
    ReplyChannelRange,
    Warning,
)
from triolight.noise import Handshake
from triolight.peer_manager import SEND_LIMIT_BYTES

TOO_LONG = bytes(65_534)


# -- handlers ----------------------------------------------------------------------------------------------------------


class Says(CustomMessageHandler):
    """Answers each note, or the peer itself, with one action."""

    def __init__(self, action: ErrorAction, refuses: bool = False) -> None:
        super().__init__()
        self.action = action
        self.refuses = refuses
        self.disconnected = 0

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> ErrorAction | None:
        return self.action if self.refuses else None

    def peer_disconnected(self, node_id: bytes) -> None:
        self.disconnected += 1

    def handle_custom_message(self, node_id: bytes, message: Message) -> ErrorAction:
        return self.action


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


def test_one_object_in_two_places_hears_a_message_once() -> None:
    class Both(ChannelMessageHandler, RoutingMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.heard: list[ChannelUpdate] = []

        def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
            self.heard.append(message)

    both = Both()
    a, b = node(1), node(2, chan=both, route=both)
    link = connect(a, b)
    update = ChannelUpdate.decode(b"\1\2" + bytes(136))
    a.manager.send_message(identity(2), update)
    link.run()
    assert both.heard == [update]


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


def test_a_handler_that_processes_events_waits_for_the_driver() -> None:
    class Eager(CustomMessageHandler):
        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            self.push(SendMessages(node_id, Note(payload=b"answer")))
            b.manager.process_events()

    a, b = node(1), node(2, custom=Eager())
    link = connect(a, b)
    a.manager.send_message(identity(2), Note(payload=b"?"))
    a.manager.process_events()
    calls = link.at_b.calls
    link.feed("b", link.at_a.take())
    assert link.at_b.calls == calls, "read_event never calls send_data"
    b.manager.process_events()
    link.run()
    assert a.seen.messages == [Note(payload=b"answer")]


def test_events_for_nobody_are_counted() -> None:
    chan = ChannelMessageHandler()
    a = node(1, chan=chan)
    chan.push(SendMessages(identity(3), Note(payload=b"?")))
    a.manager.process_events()
    assert a.manager.events_dropped == 1


def test_what_is_heard_while_writing_wakes_the_driver() -> None:
    """`write_buffer_space_avail` goes on reading; what a handler then says to others must not wait for a tick."""

    class Tells(CustomMessageHandler):
        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            self.push(SendMessages(identity(3), Note(payload=b"news")))

    a, b, c = node(1), node(2, custom=Tells()), node(3)
    link, other = connect(a, b), connect(c, b)
    link.at_b.room = 100
    # More pongs than may be owed, and behind them a note that is not read for that.
    a.manager.send_message(identity(2), *[Ping(num_pong_bytes=65_000)] * 3, Note(payload=b"behind"))
    link.run()
    assert b.seen.messages[-1:] != [Note(payload=b"behind")]
    b.work.clear()
    link.at_b.room = 10**9
    b.manager.write_buffer_space_avail(link.at_b)
    assert b.work, "somebody has to call process_events"
    b.manager.process_events()
    other.run()
    assert c.seen.messages == [Note(payload=b"news")]


def test_room_is_answered_with_a_word_at_the_least() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    calls = link.at_b.calls
    b.manager.write_buffer_space_avail(link.at_b)
    assert link.at_b.calls == calls + 1


# -- peers -------------------------------------------------------------------------------------------------------------


def test_empty_pongs_that_are_not_read_are_bounded() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_b.room = 0
    for _ in range(3000):
        a.manager.send_ping(link.at_a)
        a.manager.forget_ping(link.at_a, None)
    link.run()
    owed = b.manager._roster.by_descriptor[link.at_b].connection
    assert owed.over_budget
    assert len(owed._queue) <= OUTPUT_PAUSE_BYTES // ENTRY_BYTES + 1
    link.at_b.room = 10**9
    b.manager.write_buffer_space_avail(link.at_b)
    link.run()
    assert a.manager.traffic(link.at_a)[0][Pong.type][0] == 3000  # type: ignore[index]


@pytest.mark.parametrize("protected", [False, True])
def test_a_batch_of_a_stranger_is_held_only_up_to_a_bound(protected: bool) -> None:
    class Protects(Takes):
        def protects(self, node_id: bytes) -> bool:
            return protected

    takes = Protects()
    a, b, link = linked(takes)
    parts = tuple(commitment(number, htlcs=966) for number in range(20))
    assert sum(len(part.encode()) for part in parts) > MAX_STRANGE_BATCH_BYTES
    a.manager.send_message(identity(2), start(20), *parts)
    link.run()
    if protected:
        assert [part for _, part in takes.heard] == [parts]
    else:
        assert b.seen.ended[0].code is DisconnectCode.BATCH_BROKEN


def test_a_pong_of_a_wrong_length_does_not_stop_the_ticks_pings() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    for _ in range(100):
        b.manager.timer_tick_occurred()
        b.manager.process_events()
        link.at_b.take()  # it is not heard
        a.manager.send_message(identity(2), Pong(ignored=b"wrong"))
        link.run()
    assert len(b.manager._roster.by_descriptor[link.at_b].connection.pings) == 1
    sent = b.manager.traffic(link.at_b)[1][Ping.type]  # type: ignore[index]
    assert sent[0] == 100


def test_half_a_million_feature_bits_are_a_line_in_the_log() -> None:
    log = ListLogger()
    a, b = node(1), node(2, logger=log)

    class Loud(ChannelMessageHandler):
        def provided_init_features(self, node_id: bytes) -> Any:
            return type(super().provided_init_features(node_id))(range(1, 520_000, 2))

    a = node(1, chan=Loud())
    connect(a, b)
    assert all(len(str(record)) < 400 for record in log.records)


@pytest.mark.parametrize("first", [b"", b"\0"])
def test_an_empty_first_message_raises_as_every_other_does(first: bytes) -> None:
    a, b = node(1), node(2)
    link = wire(a, b)
    link.feed("b", link.at_a.take())
    b.manager.process_events()
    link.feed("a", link.at_b.take())
    peer = a.manager._roster.by_descriptor[link.at_a].connection
    peer._queue.clear()
    peer.queue(first)
    a.manager.process_events()
    error = link.feed("b", link.at_a.take())
    assert isinstance(error, PeerHandleError)
    assert error.reason.code is DisconnectCode.BAD_PACKET
    assert not link.at_b.ended, "the driver closes it"


# -- applications ------------------------------------------------------------------------------------------------------


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
    assert b.manager._roster.awaiting_init == {identity(1): {b.manager._roster.by_descriptor[link.at_b]: None}}
    b.manager.disconnect_by_node_id(identity(1))
    b.manager.process_events()
    assert link.at_b.ended
    assert b.manager._roster.awaiting_init == {}
    # Nor is anything left of those that get through.
    connect(a, b)
    assert b.manager._roster.awaiting_init == {}


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


def test_a_manager_with_connections_is_not_driven_by_a_second_one() -> None:
    manager = make_manager(1)
    manager.new_inbound_connection(Descriptor())
    with pytest.raises(RuntimeError, match="somebody else drives"):
        manager.drive(node(2).seen, lambda: None, lambda: 0.0)


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


def test_announcements_that_bolt_7_forbids_are_not_made() -> None:
    a = node(1)
    name = DnsAddress("node.example", 9735)
    for alias, addresses, words in (
        (b"\xff", [], "UTF-8"),
        (b"a", [name, name], "one host name"),
        (b"a", [IPv4Address("8.8.8.8", 0)], "port 0"),
        (b"a", [IPv4Address("8.8.8.8", port) for port in range(1, 102)], "101 addresses; 100"),
    ):
        with pytest.raises(ValueError, match=words):
            a.manager.broadcast_node_announcement(bytes(3), alias, addresses)


def test_announcements_do_not_pile_up_for_who_does_not_read() -> None:
    a, b = node(1), node(2)
    link = connect(a, b)
    link.at_a.room = 0
    for _ in range(5000):
        a.manager.broadcast_node_announcement(bytes(3), b"a")
    assert a.manager.queued_bytes(link.at_a) < SEND_LIMIT_BYTES + 1000


# -- small things ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "wanted"),
    [(0, Level.GOSSIP), (25, Level.WARN), (50, Level.ERROR), ("INFO", Level.DEBUG), (None, Level.DEBUG)],
)
def test_any_object_with_log_is_a_logger(level: object, wanted: Level) -> None:
    class Odd(ListLogger):
        pass

    log = Odd()
    log.level = level  # type: ignore[attr-defined]
    assert wanted_level(log) is wanted
    assert isinstance(make_manager(1, logger=log), PeerManager)


def test_a_compressed_list_is_refused_by_place() -> None:
    query = QueryShortChannelIds(chain_hash=bytes(32), encoded_short_ids=bytes((ZLIB, 1, 2)))
    reply = ReplyChannelRange(
        chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1, sync_complete=1, encoded_short_ids=bytes((ZLIB,))
    )
    for message in (query, reply):
        with pytest.raises(DecodeError) as caught:
            refuse_zlib(message)
        assert (caught.value.message, caught.value.field) == (message.name, "encoded_short_ids")
        assert caught.value.offset is not None
        assert message.encode()[caught.value.offset] == ZLIB
    refuse_zlib(query.replace(encoded_short_ids=bytes((UNCOMPRESSED,))))


def test_errors_without_a_name_say_only_where() -> None:
    assert str(DecodeError("no", offset=0)) == "at byte 0: no"
    assert str(DecodeError("no")) == "no"
    assert str(DecodeError("no", message="ping", offset=2)) == "ping at byte 2: no"
