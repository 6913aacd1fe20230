"""Three managers, any connections between them, and anything that can happen to these: what must hold all the while."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support import MESSAGES, identity
from tests.test_peer_manager import Descriptor, Node, Wire, node, wire
from triolight import ChannelMessageHandler, PeerHandleError, QueueFull
from triolight.messages import Init
from triolight.testing import strategies

OWED_LIMIT = (256 + 64 + 64) * 1024 + 2 * 70_000
"""What may wait for one peer: what was sent to it, what it caused, what is sealed; each with its last message."""
NUMBERS = (1, 2, 3)


class Pairs(ChannelMessageHandler):
    """Whom it was told of."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[bytes] = set()

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        assert node_id not in self.known, "connected twice"
        self.known.add(node_id)

    def peer_disconnected(self, node_id: bytes) -> None:
        assert node_id in self.known, "disconnected without having been connected"
        self.known.remove(node_id)


class Peers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.handlers = {number: Pairs() for number in NUMBERS}
        self.nodes: dict[int, Node] = {number: node(number, chan=self.handlers[number]) for number in NUMBERS}
        self.wires: list[Wire] = []

    def pick(self, at: int) -> Wire | None:
        return self.wires[at % len(self.wires)] if self.wires else None

    def ends(self, link: Wire, which: str) -> tuple[Node, Descriptor, Descriptor]:
        """Whose end it is, its descriptor, and the other one's."""
        return (link.a, link.at_a, link.at_b) if which == "a" else (link.b, link.at_b, link.at_a)

    # -- what can happen -----------------------------------------------------------------------------------------------

    @rule(one=st.sampled_from(NUMBERS), other=st.sampled_from(NUMBERS))
    def dial(self, one: int, other: int) -> None:
        if one != other and len(self.wires) < 6:
            self.wires.append(wire(self.nodes[one], self.nodes[other]))

    @initialize()
    def begin(self) -> None:
        self.meet()

    @rule()
    def meet(self) -> None:
        """A connection that gets as far as both Inits, in a direction that is not the last one's."""
        one, other = ((1, 2), (2, 1), (1, 3), (3, 2))[len(self.wires) % 4]
        self.dial(one, other)
        self.settle(len(self.wires) - 1)

    @rule(at=st.integers(0, 5), which=st.sampled_from("ab"), count=st.sampled_from((1, 17, 50, 66, 1000, 100_000)))
    def carry(self, at: int, which: str, count: int) -> None:
        """Some of what the other end wrote arrives."""
        link = self.pick(at)
        if link is None:
            return
        receiver, descriptor, sender = self.ends(link, which)
        data = bytes(sender.out[:count])
        del sender.out[: len(data)]
        if data and descriptor.reading and not descriptor.ended and which not in link.dead:
            link.feed(which, data)
            receiver.manager.process_events()

    @rule(at=st.integers(0, 5))
    def settle(self, at: int) -> None:
        """All that is on its way arrives."""
        link = self.pick(at)
        if link is not None and not (link.at_a.ended or link.at_b.ended):
            for _ in range(20):
                for which in "ab":
                    self.carry(at, which, 100_000)

    @rule(number=st.sampled_from(NUMBERS))
    def tick(self, number: int) -> None:
        self.nodes[number].now[0] += 10
        self.nodes[number].manager.timer_tick_occurred()
        self.nodes[number].manager.process_events()

    @rule(at=st.integers(0, 5))
    def break_off(self, at: int) -> None:
        """The connection dies by itself, at both ends."""
        link = self.pick(at)
        if link is not None:
            self.wires.remove(link)
            for which in "ab":
                here, descriptor, _ = self.ends(link, which)
                here.manager.socket_disconnected(descriptor)
                descriptor.ended = True
                here.manager.process_events()

    @rule(number=st.sampled_from(NUMBERS), other=st.sampled_from(NUMBERS))
    def disconnect(self, number: int, other: int) -> None:
        self.nodes[number].manager.disconnect_by_node_id(identity(other), "on request")
        self.nodes[number].manager.process_events()

    @rule(number=st.sampled_from(NUMBERS), other=st.sampled_from(NUMBERS), data=st.data())
    def send(self, number: int, other: int, data: st.DataObject) -> None:
        message: Any = data.draw(strategies.messages(MESSAGES))
        try:
            self.nodes[number].manager.send_message(identity(other), message)
        except (PeerHandleError, QueueFull):
            pass
        self.nodes[number].manager.process_events()

    @rule(at=st.integers(0, 5), which=st.sampled_from("ab"), room=st.sampled_from((0, 1, 40, 5000)))
    def stall(self, at: int, which: str, room: int) -> None:
        link = self.pick(at)
        if link is not None:
            self.ends(link, which)[1].room = room

    @rule(at=st.integers(0, 5), which=st.sampled_from("ab"))
    def drain(self, at: int, which: str) -> None:
        link = self.pick(at)
        if link is not None:
            here, descriptor, _ = self.ends(link, which)
            descriptor.room = 10**9
            if not descriptor.ended and which not in link.dead:
                try:
                    here.manager.write_buffer_space_avail(descriptor)
                except PeerHandleError:
                    link.dead.add(which)
                here.manager.process_events()

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def handlers_know_who_is_connected(self) -> None:
        for number, one in self.nodes.items():
            assert self.handlers[number].known == set(one.manager.get_peer_node_ids())

    @invariant()
    def queues_are_bounded(self) -> None:
        for link in self.wires:
            for which in "ab":
                here, descriptor, _ = self.ends(link, which)
                assert here.manager.queued_bytes(descriptor) <= OWED_LIMIT

    @invariant()
    def every_end_has_its_reason(self) -> None:
        for one in self.nodes.values():
            assert all(reason.message for reason in one.seen.ended)

    def teardown(self) -> None:
        for one in self.nodes.values():
            one.manager.disconnect_all_peers("the end")
            one.manager.process_events()
            assert one.manager.get_peer_node_ids() == []
        while self.wires:
            self.break_off(0)
        for number, one in self.nodes.items():
            assert self.handlers[number].known == set()
            one.manager.release()


Peers.TestCase.settings = settings(
    max_examples=25, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
)
TestPeers = Peers.TestCase
