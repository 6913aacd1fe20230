"""Who hears a message: routing without connections, no manager, no noise; and one case of it with them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.support import MESSAGES, Note, Order, identity
from tests.support.gossip import update
from tests.support.managers import connect, node
from tests.support.messages import OURS, commitment, start
from tests.support.project import ROOT
from triolight import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectCode,
    Features,
    IgnoreError,
    IgnoringMessageHandler,
    Level,
    MessageHandler,
    RoutingMessageHandler,
    SendMessages,
)
from triolight.actions import ErrorAction
from triolight.batch import Batch
from triolight.connection import ProtocolFault
from triolight.manager.routing import Handlers, Routing
from triolight.messages import (
    ChannelUpdate,
    CommitmentSigned,
    GossipTimestampFilter,
    Message,
    OnionMessage,
    Ping,
    QueryChannelRange,
    ReplyChannelRange,
    Shutdown,
    UnknownMessage,
)
from triolight.policy import COST_OF_QUERY, COST_OF_UNKNOWN
from triolight.tally import UNKNOWN, Tally

NODE = b"\x02" * 33
UPDATE = ChannelUpdate.decode(b"\1\2" + bytes(136))
SHUTDOWN = Shutdown(channel_id=OURS, scriptpubkey=b"")
NO_ACTION = IgnoreError("of no interest")


@dataclass(eq=False)
class Far:
    """A peer that somebody else is connected with."""

    node_id: bytes = NODE
    descriptor: str = "the 7th at front 2"
    received: Tally = field(default_factory=dict)
    batch: Batch | None = None


class Back:
    """A host without connections: notes what routing wants done."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []

    def act(self, source: Far, action: ErrorAction, /) -> None:
        self.done.append(("act", action))

    def send(self, source: Far, *messages: Message) -> None:
        self.done.append(("send", *messages))

    def charge(self, source: Far, cost: int, work: int = 0) -> None:
        self.done.append(("charge", cost))

    def hold(self, source: Far) -> None:
        self.done.append(("hold", source.node_id))

    def warn(self, source: Far, words: str) -> None:
        self.done.append(("warn", words))

    def log(self, level: Level, words: str, source: Far, /, **fields: Any) -> None:
        self.done.append(("log", level, words))


class Chan(ChannelMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []
        self.alive = 0

    def message_received(self, node_id: bytes) -> None:
        assert node_id == NODE
        self.alive += 1

    def unhandled(self, node_id: bytes, message: Message) -> ErrorAction:
        self.heard.append(message)
        return NO_ACTION

    def handle_commitment_signed_batch(
        self, node_id: bytes, channel_id: bytes, messages: tuple[CommitmentSigned, ...]
    ) -> ErrorAction:
        self.heard.append((channel_id, messages))
        return NO_ACTION


class Route(RoutingMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.heard.append(message)


class Custom(CustomMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.heard.append(message)
        self.push(SendMessages(node_id, Note(payload=b"answer")))


class Scene:
    def __init__(self, **options: Any) -> None:
        self.chan, self.route, self.custom = Chan(), Route(), Custom()
        self.back = Back()
        self.far = Far()
        self.routing: Routing[Far] = Routing(MESSAGES, Handlers(), self.back, **options)
        self.routing.use(MessageHandler(self.chan, self.route, IgnoringMessageHandler(), self.custom))

    def hear(self, *messages: Message | UnknownMessage | bytes) -> None:
        for message in messages:
            self.routing.receive(self.far, message if isinstance(message, bytes) else message.encode())


def test_a_message_goes_to_its_handler_and_the_answer_to_the_host() -> None:
    scene = Scene()
    scene.hear(SHUTDOWN, UPDATE, Note(payload=b"hello"))
    assert scene.chan.heard == [SHUTDOWN]
    assert scene.route.heard == [UPDATE]
    assert scene.custom.heard == [Note(payload=b"hello")]
    assert scene.back.done == [("act", NO_ACTION)]
    assert scene.chan.alive == 3
    assert {type_: count for type_, (count, _) in scene.far.received.items()} == {38: 1, 258: 1, Note.type: 1}


def test_who_listens_hears_each_message_before_its_handler() -> None:
    scene = Scene()
    heard: list[Any] = []

    def listen(descriptor: Any, message: Any, data: bytes) -> None:
        assert message not in scene.chan.heard
        heard.append((descriptor, message, data))

    scene.routing.listener = listen
    unknown = UnknownMessage(43_001, b"odd")
    scene.hear(SHUTDOWN, unknown)
    assert heard == [(scene.far.descriptor, one, one.encode()) for one in (SHUTDOWN, unknown)]
    scene.routing.listener = None
    scene.hear(SHUTDOWN)
    assert len(heard) == 2


def test_what_a_type_is_says_what_it_costs() -> None:
    scene = Scene(traces=True)
    asks = GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=0)
    scene.hear(asks, UPDATE, SHUTDOWN, UnknownMessage(43_001, b""))
    assert scene.back.done == [
        ("log", Level.GOSSIP, "received gossip_timestamp_filter"),
        ("charge", COST_OF_QUERY),
        ("log", Level.GOSSIP, "received channel_update"),
        ("log", Level.TRACE, "received shutdown"),
        ("act", NO_ACTION),
        ("charge", COST_OF_UNKNOWN),
    ]
    assert scene.far.received[UNKNOWN][0] == 1


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (UnknownMessage(43_002, b"").encode(), DisconnectCode.UNKNOWN_EVEN_MESSAGE),
        (SHUTDOWN.encode()[:-1], DisconnectCode.MALFORMED_MESSAGE),
        (start(21).encode(), DisconnectCode.BATCH_BROKEN),
    ],
)
def test_a_fault_is_raised(data: bytes, code: DisconnectCode) -> None:
    scene = Scene()
    with pytest.raises(ProtocolFault) as caught:
        scene.hear(data)
    assert caught.value.code is code
    assert scene.chan.heard == []


def test_gossip_that_cannot_be_read_is_only_worth_a_warning() -> None:
    scene = Scene()
    scene.hear(UPDATE.encode()[:-1])
    assert [what for what, *_ in scene.back.done] == ["charge", "warn"]


def test_what_a_stranger_sealed_and_nobody_can_read_is_dropped_without_a_word() -> None:
    scene = Scene()
    readable = OnionMessage(path_key=identity(1), onion_message_packet=b"packet")
    for broken in (b"\x02\x01" + bytes(33), readable.encode()[:-1], readable.encode() + b"\x02\x00"):
        scene.hear(broken)
    assert {what for what, *_ in scene.back.done} == {"charge", "log"}
    assert scene.chan.heard == []


def test_a_batch_is_gathered_for_each_source() -> None:
    scene, other = Scene(), Far()
    scene.hear(start(2), commitment(1))
    assert scene.far.batch is not None
    scene.routing.receive(other, commitment(3).encode())
    assert scene.chan.heard == [commitment(3)]
    scene.hear(commitment(2))
    assert scene.far.batch is None
    assert scene.chan.heard[1:] == [(OURS, (commitment(1), commitment(2)))]
    assert scene.back.done[-1] == ("act", NO_ACTION)
    scene.hear(start(2))
    with pytest.raises(ProtocolFault, match="shutdown inside a batch"):
        scene.hear(SHUTDOWN)


def test_an_empty_answer_is_sent_in_a_handlers_place() -> None:
    scene = Scene()
    query = QueryChannelRange(chain_hash=bytes(32), first_blocknum=5, number_of_blocks=6)
    scene.hear(query)
    _, (what, answer) = scene.back.done
    assert what == "send"
    assert isinstance(answer, ReplyChannelRange)
    assert (answer.first_blocknum, answer.number_of_blocks) == (5, 6)


def test_what_the_host_handles_itself_is_no_handlers() -> None:
    pings: list[Any] = []
    scene = Scene(control={Ping: lambda source, message: pings.append((source, message))})
    scene.hear(Ping(num_pong_bytes=3))
    assert pings == [(scene.far, Ping(num_pong_bytes=3))]


def test_pending_events_are_taken_once() -> None:
    scene = Scene()
    scene.hear(Note(payload=b""), Order(payload=b""))
    scene.chan.push(SendMessages(NODE, SHUTDOWN))
    taken: Iterable[Any] = scene.routing.handlers.pending_events()
    answer = SendMessages(NODE, Note(payload=b"answer"))
    assert list(taken) == [SendMessages(NODE, SHUTDOWN), answer, answer]
    assert list(scene.routing.handlers.pending_events()) == []


@pytest.mark.parametrize("own", ["attach", "push", "get_and_clear_pending_msg_events"])
def test_who_does_not_say_that_it_has_events_is_asked_each_time(own: str) -> None:
    method = getattr(ChannelMessageHandler, own)
    for given, asked in ((method, False), (lambda *args: method(*args), True)):
        scene, handler = Scene(), type("Own", (ChannelMessageHandler,), {own: given})()
        scene.routing.use(MessageHandler(handler, scene.route))
        BaseMessageHandler.push(handler, SendMessages(NODE, SHUTDOWN))
        assert list(scene.routing.handlers.pending_events(pushed=False)) == [SendMessages(NODE, SHUTDOWN)] * asked
        assert list(scene.routing.handlers.pending_events()) == [SendMessages(NODE, SHUTDOWN)] * (not asked)


def test_handlers_are_abandoned_whole() -> None:
    pings: list[Any] = []
    scene = Scene(control={Ping: lambda source, message: pings.append(message)})
    scene.hear(start(2), commitment(1))
    scene.chan.push(SendMessages(NODE, SHUTDOWN))
    scene.routing.abandon()
    alive = scene.chan.alive
    scene.hear(commitment(2), SHUTDOWN, UPDATE, Note(payload=b""), Ping())
    assert scene.chan.heard == scene.route.heard == scene.custom.heard == scene.back.done == []
    assert scene.chan.alive == alive
    assert scene.far.batch is None
    assert pings == [Ping()]
    handlers = scene.routing.handlers
    assert list(handlers.pending_events()) == []
    assert handlers.init_features(NODE) == Features()
    assert handlers.protects(NODE) is False
    # Others may follow them.
    scene.routing.use(MessageHandler(scene.chan, scene.route))
    scene.hear(SHUTDOWN)
    assert scene.chan.heard == [SHUTDOWN]


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


def test_whether_a_peer_is_held_back_is_asked_after_its_gossip_alone() -> None:
    scene = Scene()

    class Full(Route):
        def processing_queue_high(self, node_id: bytes) -> bool:
            assert node_id == NODE
            return bool(self.heard)

    full = Full()
    scene.routing.use(MessageHandler(scene.chan, full, IgnoringMessageHandler(), scene.custom))
    scene.hear(Note(payload=b"x"))
    assert scene.back.done == []
    scene.hear(ChannelUpdate.decode(update()), Note(payload=b"x"))
    assert scene.back.done == [("hold", NODE)]


TWICE = """
from tests.support import identity
from tests.support.managers import Recorder, connect, node
from triolight.policy import Allowance

class Seen(Recorder):
    throttled = ()

    def peer_throttled(self, descriptor, seconds):
        self.throttled += (seconds,)

def once():
    near, far = node(1), node(2)
    far.manager.release()
    seen = Seen()
    far.manager.drive(seen, lambda: None, lambda: 0.0, allowance=Allowance(1, 1.0))
    link = connect(near, far)
    for _ in range(3):
        near.manager.send_encoded(link.at_a, [bytes.fromhex("0013 0000 0100 0300 0500")])
        near.manager.process_events()
        far.manager.read_event(link.at_b, link.at_a.take())
        far.manager.process_events()
    return seen.throttled

print(once(), once())
"""


def test_the_first_message_of_a_type_costs_as_the_next_one_does() -> None:
    """In a process that has compiled none: the same calls have to give the same, or no tape would replay."""
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.stdout, done.stderr) == ("() ()\n", "")
