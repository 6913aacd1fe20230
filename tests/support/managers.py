"""Managers that a test drives call by call, descriptors that are lists, handlers that count. No test here.

`triolight.testing.MemoryNode` and `Wire` keep the contract of sockets in a test's place. Here the test does: it decides
which call comes when, and a descriptor fails it for a call that no driver may get, and counts the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.support import identity, make_manager
from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    DisconnectReason,
    OnionMessageHandler,
    PeerHandleError,
    PeerManager,
    PeerObserver,
    RoutingMessageHandler,
    SocketDescriptor,
)
from triolight.actions import ErrorAction
from triolight.handlers import BaseMessageHandler
from triolight.messages import (
    CommitmentSigned,
    Init,
    Message,
)


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

    def message_received(self, descriptor: SocketDescriptor, message: Any, data: bytes) -> None:
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


class Takes(ChannelMessageHandler):
    """Notes every channel message and every batch."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Any] = []

    def unhandled(self, node_id: bytes, message: Message) -> None:
        self.heard.append(message)

    def handle_commitment_signed_batch(
        self, node_id: bytes, channel_id: bytes, messages: tuple[CommitmentSigned, ...]
    ) -> None:
        assert node_id == identity(1)
        self.heard.append((channel_id, messages))


def linked(handler: ChannelMessageHandler) -> tuple[Node, Node, Wire]:
    a, b = node(1), node(2, chan=handler)
    return a, b, connect(a, b)


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


SMALLER, LARGER = sorted((1, 2), key=identity)
