"""Three managers, any connections between them, and anything that can happen to these: what must hold all the while.

The machine itself is tested with faults: each of MUTANTS is a manager with one of them, and the machine has to find it.
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

import triolight
from tests.support import MESSAGES, ListLogger, Note, Order, identity, secret
from tests.support.inside import agenda_of, roster_of
from triolight import (
    ChannelMessageHandler,
    DisconnectPeerWithWarning,
    DisconnectReason,
    IgnoringMessageHandler,
    MessageHandler,
    PeerHandleError,
    PeerManager,
    PeerObserver,
    QueueFull,
    SendMessages,
    Side,
    SocketDescriptor,
    peer_manager,
)
from triolight.actions import HandlerResult
from triolight.connection import BATCH_BYTES, LARGEST_PONG, OUTPUT_PAUSE_BYTES
from triolight.handlers import BaseMessageHandler
from triolight.manager.ending import MAX_WARNING_TEXT
from triolight.messages import ALL_CHANNELS, Error, Init, Message, Ping, Warning
from triolight.peer_manager import SEND_LIMIT_BYTES, PeerDetails
from triolight.testing import strategies
from triolight.text import printable

ANSWERS = 3 * 7
"""That a handler may give to one read: what it pushes is taken when events are processed, and not before."""
OWED_LIMIT = SEND_LIMIT_BYTES + OUTPUT_PAUSE_BYTES + BATCH_BYTES + 3 * 70_000 + ANSWERS * 60_100
"""What may wait for one peer: what was sent to it, what it caused, what is sealed, each with its last message; and the
answers to one read."""
PAIRS = ((1, 2), (2, 1), (1, 2), (2, 1), (3, 1), (2, 3))
"""Who dials whom: the same two more often, so that their connections meet."""
MAX_LINKS = 6
ROOMY = 10**9
WORDS = (Warning.type, Error.type)
TICK_SECONDS = 10.0


class End(SocketDescriptor):
    """One end of a connection: its socket, what was said of it, and what it may still hear."""

    def __init__(self, number: int, far: int, inbound: bool) -> None:
        self.number, self.far, self.inbound = number, far, inbound
        self.room = ROOMY
        self.starved = False
        self.out = bytearray()
        self.reading = True
        self.closed = False
        self.state = "new"
        """new, connected, demoted, parked, ended: as the observer was told."""
        self.connected_at = 0.0
        self.reason: DisconnectReason | None = None
        self.init: Init | None = None
        self.words_before = 0
        """Warnings and errors that were sent before the end was decided."""
        self.sent: dict[int, list[int]] = {}
        """The manager's own count."""
        self.last_heard: Any = None

    @property
    def words(self) -> int:
        return sum(self.sent[type_][0] for type_ in WORDS if type_ in self.sent)

    @property
    def owed_a_word(self) -> bool:
        """Whether it was us who ended it, and the peer could be told."""
        return self.reason is not None and self.reason.by is Side.US and self.init is not None

    def send_data(self, data: bytes, resume_read: bool) -> int:
        assert not self.closed, "written to after its end"
        self.reading = resume_read
        taken = data[: self.room]
        self.room -= len(taken)
        self.out += taken
        if data:  # without, it says nothing of room
            self.starved = len(taken) < len(data)
        return len(taken)

    def disconnect_socket(self) -> None:
        assert not self.closed, "closed twice"
        assert self.reason is not None, "closed, and nobody was told why"
        if self.owed_a_word and not self.starved:
            assert self.words == self.words_before + 1, "closed without a word"
        self.closed = True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{self.number}'s end with {self.far}, {self.state}>"


class Known(BaseMessageHandler):
    """Whom a handler was told of. It hears nothing of anybody else."""

    def __init__(self) -> None:
        super().__init__()
        self.known: set[bytes] = set()
        self.refuses_next = False

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> bool:
        assert node_id not in self.known, "connected twice"
        if self.refuses_next:
            self.refuses_next = False
            return False
        self.known.add(node_id)
        return True

    def peer_disconnected(self, node_id: bytes) -> None:
        assert node_id in self.known, "disconnected without having been connected"
        self.known.remove(node_id)

    def handled(self, node_id: bytes, *_: Any) -> None:
        assert node_id in self.known, "a message of a node that is not connected"


def _all_handled(base: type[BaseMessageHandler]) -> dict[str, Any]:
    return {name: Known.handled for name in dir(base) if name.startswith("handle_")}


class Channels(Known, ChannelMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.introduced: bytes | None = None
        """Whose Init was announced by `message_received`, until the observer is asked about it."""

    def message_received(self, node_id: bytes) -> None:
        assert self.introduced is None, "an Init, and something else before its node was connected"
        if node_id not in self.known:
            self.introduced = node_id


class Others(Known, IgnoringMessageHandler):
    def handle_custom_message(self, node_id: bytes, message: Message) -> HandlerResult:
        self.handled(node_id)
        if isinstance(message, Order) and message.payload == b"answer":
            self.push(SendMessages(node_id, Note(payload=bytes(60_000))))
        if isinstance(message, Order) and message.payload == b"offence":
            return DisconnectPeerWithWarning(Warning(data=b"mind your tongue"))
        return None


for _class in (Channels, Others):
    for _name, _method in _all_handled(_class).items():
        if _name not in _class.__dict__:
            setattr(_class, _name, _method)


class Watch(PeerObserver):
    def __init__(self, node: Node) -> None:
        self.node = node

    def move(self, descriptor: SocketDescriptor, to: str, *allowed: str) -> End:
        assert isinstance(descriptor, End)
        assert descriptor.state in allowed, f"{descriptor.state}, and now {to}"
        descriptor.state = to
        return descriptor

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        self.move(descriptor, "connected", "new", "parked", "demoted").connected_at = self.node.now

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        self.move(descriptor, "parked", "new", "demoted")

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        self.move(descriptor, "demoted", "connected")

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        end = self.move(descriptor, "ended", "new", "connected", "demoted", "parked")
        assert reason.message, "an end without a reason"
        end.reason, end.init, end.words_before = reason, init, end.words

    def message_received(self, descriptor: SocketDescriptor, message: Any, data: bytes) -> None:
        self.move(descriptor, "connected", "connected").last_heard = message

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> DisconnectReason | None:
        chan = self.node.chan
        assert chan.introduced == node_id or node_id in chan.known, "an Init of which the handler did not hear"
        chan.introduced = None
        return None


class Node:
    """A manager and its driver."""

    def __init__(self, number: int, manager: type[PeerManager]) -> None:
        self.number = number
        self.now = 0.0
        self.chan, self.others = Channels(), Others()
        self.manager = manager(
            MessageHandler(self.chan, self.others, self.others, self.others),
            secret(number),
            hashlib.sha256(b"ephemeral" + bytes([number])).digest(),
            ListLogger(),
            messages=MESSAGES,
            # One of them differs in what a driver can choose.
            duplicates="oldest" if number == 3 else "newest",
        )
        self.late: list[SocketDescriptor] = []
        """Those whose turn ended before their input did."""
        turn_work = 3 if number > 1 else None
        self.manager.drive(Watch(self), lambda: None, lambda: self.now, turn_work)

    def process(self) -> None:
        self.manager.process_events()
        self.late += self.manager.unfinished()

    def go_on(self) -> None:
        late, self.late = self.late, []
        for descriptor in late:
            assert isinstance(descriptor, End)
            if descriptor.closed:  # meanwhile: nothing is left to read, and nothing to be given up
                self.manager.continue_reading(descriptor)
                continue
            with _given_up(descriptor):
                self.manager.continue_reading(descriptor)
        self.process()


class _given_up:
    """The manager may forget a connection, and then says so: the driver closes its socket."""

    def __init__(self, end: End) -> None:
        self.end = end

    def __enter__(self) -> None:
        assert not self.end.closed

    def __exit__(self, kind: object, error: object, traceback: object) -> bool:
        if not isinstance(error, PeerHandleError):
            return False
        assert self.end.reason == error.reason
        self.end.closed = True
        return True


class Peers(RuleBasedStateMachine):
    manager: type[PeerManager] = PeerManager

    def __init__(self) -> None:
        super().__init__()
        self.nodes = {number: Node(number, self.manager) for number in (1, 2, 3)}
        self.links: list[tuple[End, End]] = []
        """Who dialled first. Those that are closed at both ends are in `over`."""
        self.over: list[End] = []

    def pick(self, at: int, side: int) -> tuple[End, End] | None:
        """One end of a link, and the other one."""
        if not self.links:
            return None
        link = self.links[at % len(self.links)]
        return link[side], link[1 - side]

    def ends_of(self, number: int) -> list[End]:
        return [end for link in self.links for end in link if end.number == number and not end.closed]

    def connected(self, number: int, far: int) -> End | None:
        found = [end for end in self.ends_of(number) if end.far == far and end.state == "connected"]
        assert len(found) <= 1
        return found[0] if found else None

    # -- what can happen -----------------------------------------------------------------------------------------------

    @rule(pair=st.sampled_from(PAIRS))
    def dial(self, pair: tuple[int, int]) -> None:
        if len(self.links) < MAX_LINKS:
            one, other = pair
            near, far = End(one, other, False), End(other, one, True)
            self.nodes[other].manager.new_inbound_connection(far)
            near.out += self.nodes[one].manager.new_outbound_connection(identity(other), near)
            for end in (near, far):
                traffic = self.nodes[end.number].manager.traffic(end)
                assert traffic is not None
                end.sent = traffic[1]
            self.links.append((near, far))

    @initialize()
    def begin(self) -> None:
        self.meet((1, 2))

    @rule(pair=st.sampled_from(PAIRS))
    def meet(self, pair: tuple[int, int]) -> None:
        """A connection that gets as far as both Inits."""
        if len(self.links) < MAX_LINKS:
            self.dial(pair)
            self.settle(len(self.links) - 1)

    @rule(at=st.integers(0, 5), side=st.integers(0, 1), count=st.sampled_from((1, 17, 50, 66, 1000, 100_000)))
    def carry(self, at: int, side: int, count: int) -> None:
        """Some of what the other end wrote arrives, or its FIN."""
        picked = self.pick(at, side)
        if picked is None:
            return
        near, far = picked
        node = self.nodes[near.number]
        if near.closed:
            far.out.clear()
        elif near.reading or near.state == "ended":  # what was read before its end may come after it
            data = bytes(far.out[:count])
            del far.out[:count]
            if data:
                with _given_up(near):
                    near.reading = not node.manager.read_event(near, data)
            elif far.closed:
                self.check_last_word(near, far)
                self.lose(near)
            node.process()

    def check_last_word(self, near: End, far: End) -> None:
        """The end of the stream: whoever was connected has heard why."""
        if near.state == "connected" and far.owed_a_word and far.words > far.words_before and not far.starved:
            assert isinstance(near.last_heard, Warning | Error)
            assert far.reason is not None
            assert printable(near.last_heard.data) == far.reason.message[:MAX_WARNING_TEXT]

    def lose(self, end: End) -> None:
        self.nodes[end.number].manager.socket_disconnected(end)
        end.closed = True

    @rule(at=st.integers(0, 5))
    def settle(self, at: int) -> None:
        """All that is on its way arrives."""
        if self.links:
            link = self.links[at % len(self.links)]
            for _ in range(200):
                for side in (0, 1):
                    self.carry(at, side, 100_000)
                for end in link:
                    self.nodes[end.number].go_on()
                if not any(end.out for end in link) and not any(node.late for node in self.nodes.values()):
                    break
            for end, far in (link, link[::-1]):
                if end.state == far.state == "connected" and end.room and not end.starved and not far.starved:
                    assert end.reading, "read no more, and nothing waits for it"
                    assert not far.out

    @rule(number=st.sampled_from((1, 2, 3)))
    def go_on(self, number: int) -> None:
        self.nodes[number].go_on()

    @rule(number=st.sampled_from((1, 2, 3)))
    def tick(self, number: int) -> None:
        node = self.nodes[number]
        parked = [end for end in self.ends_of(number) if end.state == "parked"]
        node.now += TICK_SECONDS
        node.manager.timer_tick_occurred()
        node.process()
        assert not any(end.state == "parked" for end in parked), "waits for ever"

    @rule(number=st.sampled_from((1, 2, 3)))
    def a_minute(self, number: int) -> None:
        """Ticks, and nothing comes: who has not become a peer is gone, and so is whoever takes no last word."""
        for _ in range(6):
            self.tick(number)
            self.nodes[number].go_on()
        assert self.ends_of(number) == []

    @rule(at=st.integers(0, 5))
    def break_off(self, at: int) -> None:
        """The connection dies by itself, at both ends."""
        if self.links:
            for end in self.links[at % len(self.links)]:
                if not end.closed:
                    self.lose(end)
                    self.nodes[end.number].process()

    @rule(pair=st.sampled_from(PAIRS))
    def disconnect(self, pair: tuple[int, int]) -> None:
        number, other = pair
        self.nodes[number].manager.disconnect_by_node_id(identity(other), "on request")
        self.nodes[number].process()

    @rule(number=st.sampled_from((1, 2, 3)))
    def refuse_next(self, number: int) -> None:
        self.nodes[number].chan.refuses_next = True

    @rule(
        pair=st.sampled_from(PAIRS),
        kinds=st.lists(st.sampled_from(("any", "large", "ping", "answer", "offence", "error")), min_size=1, max_size=3),
        count=st.sampled_from((1, 7)),
        stalled=st.sampled_from(("", "near", "far")),
        data=st.data(),
    )
    def send(
        self, pair: tuple[int, int], kinds: list[str], count: int, stalled: str, data: st.DataObject | None
    ) -> None:
        number, other = pair
        node = self.nodes[number]
        for end in (self.connected(number, other), self.connected(other, number)):
            if end is not None and (end.number == number) == (stalled == "near") and stalled:
                end.room = 0
        for kind in kinds:
            message: Any
            match kind:
                case "any":
                    assert data is not None
                    message = data.draw(strategies.messages(MESSAGES))
                case "large":
                    message = Note(payload=bytes(60_000))
                case "ping":
                    message = Ping(num_pong_bytes=LARGEST_PONG)
                case "error":
                    message = Error(channel_id=ALL_CHANNELS, data=b"that is it")
                case _:
                    message = Order(payload=kind.encode())
            for _ in range({"large": count, "ping": 6 * count, "answer": count}.get(kind, 1)):
                self.send_one(node, other, message)
        node.process()

    def send_one(self, node: Node, other: int, message: Any) -> None:
        end = self.connected(node.number, other)
        wanted: type[Exception] | None = None
        if end is None:
            wanted = PeerHandleError
        elif node.manager.queued_bytes(end) >= SEND_LIMIT_BYTES:
            wanted = QueueFull
        try:
            node.manager.send_message(identity(other), message)
        except (PeerHandleError, QueueFull) as error:
            assert type(error) is wanted  # noqa: PT017
        else:
            assert wanted is None, "taken, and there is no room or nobody"

    @rule(at=st.integers(0, 5), side=st.integers(0, 1), room=st.sampled_from((0, 1, 40, 5000)))
    def stall(self, at: int, side: int, room: int) -> None:
        picked = self.pick(at, side)
        if picked is not None:
            picked[0].room = room

    @rule(at=st.integers(0, 5), side=st.integers(0, 1))
    def drain(self, at: int, side: int) -> None:
        picked = self.pick(at, side)
        if picked is not None:
            end, _ = picked
            end.room = ROOMY
            end.starved = False
            if not end.closed:
                node = self.nodes[end.number]
                with _given_up(end):
                    node.manager.write_buffer_space_avail(end)
                node.process()

    # -- what must hold ------------------------------------------------------------------------------------------------

    @invariant()
    def everybody_knows_who_is_connected(self) -> None:
        for number, node in self.nodes.items():
            connected = [identity(end.far) for end in self.ends_of(number) if end.state == "connected"]
            assert sorted(node.manager.get_peer_node_ids()) == sorted(connected), "not one connection a node"
            assert node.chan.known == node.others.known == set(connected)
            assert node.chan.introduced is None

    @invariant()
    def who_waits_has_somebody_to_wait_for(self) -> None:
        for number in self.nodes:
            parked = [end for end in self.ends_of(number) if end.state == "parked"]
            assert len({end.far for end in parked}) == len(parked), "two wait for one"
            for end in parked:
                winner = self.connected(number, end.far)
                assert winner is not None, "waits for nobody"
                assert winner.inbound != end.inbound, "waits, and nothing crossed"
            assert not any(end.state == "demoted" for end in self.ends_of(number)), "neither parked nor ended"

    @invariant()
    def everybody_stands_in_one_place(self) -> None:
        for node in self.nodes.values():
            roster = roster_of(node.manager)
            places = [
                *roster.connected.values(),
                *roster.parked.values(),
                *(entry for same in roster.awaiting_init.values() for entry in same),
            ]
            assert len(set(places)) == len(places), "in two places at once"
            assert set(places) <= set(roster.by_descriptor.values()), "gone, and still somewhere"
            assert not any(entry.reason is not None for entry in places), "ended, and still somewhere"
            assert not roster.orphans or agenda_of(node.manager).waits, "nobody will look after it"

    @invariant()
    def queues_are_bounded(self) -> None:
        for number, node in self.nodes.items():
            for end in self.ends_of(number):
                assert node.manager.queued_bytes(end) <= OWED_LIMIT, node.manager.queued_bytes(end)

    @invariant()
    def every_end_is_told_once(self) -> None:
        """Twice is no move that the observer allows."""
        for link in list(self.links):
            for end in link:
                assert end.state == "ended" or not end.closed, "gone, and nobody heard of it"
            if link[0].closed and link[1].closed:
                self.links.remove(link)

    def teardown(self) -> None:
        for number, node in self.nodes.items():
            node.manager.disconnect_all_peers("the end")
            node.process()
            assert node.manager.get_peer_node_ids() == []
            for end in self.ends_of(number):
                assert end.state == "ended"
                assert end.starved, "nothing keeps it from being closed"
                self.lose(end)
            assert node.chan.known == node.others.known == set()
            node.manager.release()


RANDOM = settings(
    max_examples=30,
    stateful_step_count=40,
    deadline=None,
    derandomize=False,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)
"""Other examples each time; what fails is printed as a program, and tried first the next time."""
Peers.TestCase.settings = RANDOM
TestPeers = Peers.TestCase

# -- the machine itself ------------------------------------------------------------------------------------------------

SURE = settings(RANDOM, max_examples=1000, derandomize=True, database=None, phases=[Phase.generate])
"""The same examples each time, as many as it takes."""

MUTANTS: dict[str, tuple[str, str, str]] = {
    "messages are read after the end": (
        "manager/reading",
        "                if entry.reason is not None:\n                    break\n        except",
        "        except",
    ),
    "what was left over is read after the end": (
        "peer_manager",
        "if entry is None or entry.reason is not None or not entry.unread:",
        "if entry is None or not entry.unread:",
    ),
    "what comes after the end is read": (
        "peer_manager",
        "        if entry.reason is not None:\n            return True\n",
        "",
    ),
    "nobody hears of an end": (
        "manager/ending",
        "        self._seat.driving.observer.peer_ended(entry.descriptor, reason, entry.init)\n",
        "",
    ),
    "each end is told twice": (
        "manager/ending",
        "        self._seat.driving.observer.peer_ended(entry.descriptor, reason, entry.init)\n",
        (
            "        self._seat.driving.observer.peer_ended(entry.descriptor, reason, entry.init)\n"
            "        self._seat.driving.observer.peer_ended(entry.descriptor, reason, entry.init)\n"
        ),
    ),
    "one handler alone hears of an end": (
        "manager/ending",
        "            self._handlers.disconnected(entry.node_id)\n            along",
        (
            "            for handler in self._handlers.all[:1]:\n"
            "                handler.peer_disconnected(entry.node_id)\n"
            "            along"
        ),
    ),
    "no handler hears of an end": (
        "manager/ending",
        "            self._handlers.disconnected(entry.node_id)\n            along",
        "            along",
    ),
    "the older of two is not ended": (
        "manager/joining",
        "elif verdict is Verdict.REPLACE:\n                    self._ending.end(other, reasons.duplicate())",
        "elif verdict is Verdict.REPLACE:\n                    pass",
    ),
    "two connections of one node for a handler": (
        "manager/joining",
        "        self._handlers.disconnected(entry.node_id)\n",
        "",
    ),
    "send_message has no limit": (
        "peer_manager",
        "        if entry.connection.owed_bytes >= SEND_LIMIT_BYTES:\n            raise",
        "        if False:\n            raise",
    ),
    "reading never stops for answers": (
        "manager/reading",
        "if connection.caused_bytes > OUTPUT_PAUSE_BYTES or entry.held:",
        "if entry.held:",
    ),
    "the last word is empty": (
        "manager/ending",
        "last = warning(reason.message)\n        elif",
        'last = warning("")\n        elif',
    ),
    "there is no last word": (
        "manager/ending",
        "            connection.queue(last)\n",
        "            pass\n",
    ),
    "two are parked": (
        "manager/joining",
        "        if earlier is not None:\n            self._ending.end(earlier, reasons.duplicate())\n",
        "",
    ),
    "who is parked stays for ever": (
        "manager/ticks",
        "        if parked:\n            return reasons.duplicate()",
        "        if parked:\n            return Due.NOTHING",
    ),
    "last words wait for ever": (
        "manager/ticks",
        "return Due.CLOSE if count.ticks > 1 else Due.NOTHING",
        "return Due.NOTHING",
    ),
    "a silent peer is kept": (
        "manager/ticks",
        "if not received or count.awaiting_pong >",
        "if count.awaiting_pong >",
    ),
    "an unfinished handshake is kept": (
        "manager/ticks",
        "return reasons.two_ticks(bool(entry.node_id)) if count.ticks > 1 else Due.NOTHING",
        "return Due.NOTHING",
    ),
    "who was parked does not follow": (
        "manager/roster",
        "        self.orphan(entry)\n",
        "        pass\n",
    ),
    "a refused newcomer leaves none": (
        "manager/joining",
        "                    roster.orphan(other)\n",
        "                    pass\n",
    ),
    "reading does not resume": (
        "manager/writing",
        "        elif entry.reading != entry.may_read:",
        "        elif False:",
    ),
}
"""What is wrong: in which file of ours, in place of which lines, which ones."""

Step: TypeAlias = Callable[[Peers], object]


def send(*kinds: str, count: int = 7, stalled: str = "") -> Step:
    return lambda peers: peers.send((1, 2), list(kinds), count, stalled, None)


TO_1: Final[Step] = lambda peers: peers.carry(0, 0, 100_000)  # noqa: E731
TO_2: Final[Step] = lambda peers: peers.carry(0, 1, 100_000)  # noqa: E731
SETTLE: Final[Step] = lambda peers: peers.settle(0)  # noqa: E731
END_AT_2: Final[Step] = lambda peers: peers.disconnect((2, 1))  # noqa: E731
CROSS: Final[Step] = lambda peers: peers.meet((2, 1))  # noqa: E731


def kept(peers: Peers) -> int:
    """Which connection is a peer's at both of its ends."""
    return next(at for at, link in enumerate(peers.links) if {end.state for end in link} == {"connected"})


COURSES: dict[str, tuple[Step, ...]] = {
    "messages are read after the end": (send("offence", "offence"), TO_2),
    "the last word is empty": (END_AT_2, TO_1, TO_1),  # the word, and the end of the stream
    "what was left over is read after the end": (
        send("answer", stalled="far"),
        TO_2,
        END_AT_2,
        lambda peers: peers.go_on(2),
    ),
    "what comes after the end is read": (send("answer", stalled="far"), END_AT_2, TO_2),
    "reading never stops for answers": (send("ping", stalled="far"), SETTLE),
    "who is parked stays for ever": (CROSS, lambda peers: peers.tick(2)),
    "who was parked does not follow": (CROSS, lambda peers: peers.break_off(kept(peers)), SETTLE),
    "reading does not resume": (send("large"), SETTLE),
    "a silent peer is kept": (lambda peers: peers.stall(0, 1, 0), lambda peers: peers.a_minute(2)),
    "last words wait for ever": (lambda peers: peers.stall(0, 1, 0), END_AT_2, lambda peers: peers.a_minute(2)),
    "two are parked": (CROSS, lambda peers: peers.meet((1, 2))),
    "a refused newcomer leaves none": (lambda peers: peers.refuse_next(2), lambda peers: peers.meet((1, 2))),
}
"""How to get there, where chance takes long: from one connection, that 1 has dialled to 2."""


def follow(peers: Peers, course: tuple[Step, ...]) -> None:
    for step in (Peers.begin, *course):
        step(peers)
        for check in INVARIANTS:
            check(peers)
    peers.teardown()


INVARIANTS: Final[tuple[Step, ...]] = (
    Peers.everybody_knows_who_is_connected,
    Peers.who_waits_has_somebody_to_wait_for,
    Peers.everybody_stands_in_one_place,
    Peers.queues_are_bounded,
    Peers.every_end_is_told_once,
)
PACKAGE: Final = Path(peer_manager.__file__).parent
PARTS: Final = ("peer_manager", "manager", *(f"manager.{one.stem}" for one in PACKAGE.glob("manager/[!_]*.py")))


class Changed(SourceFileLoader):
    """Loads a file of ours, with other lines in place of some of it."""

    change: tuple[str, str] | None = None

    def get_code(self, fullname: str) -> types.CodeType:
        source = Path(self.path).read_text(encoding="utf-8")
        if self.change is not None:
            find, put = self.change
            assert source.count(find) == 1, f"{self.path} has changed; find another place for this: {find}"
            source = source.replace(find, put)
        return compile(source, self.path, "exec")


def mutant(monkeypatch: pytest.MonkeyPatch, file: str, find: str, put: str) -> type[PeerManager]:
    """A PeerManager with other lines, from modules of its own: all that it is made of is loaded anew."""
    wanted = f"triolight.{file.replace('/', '.')}"

    class Finder(MetaPathFinder):
        def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
            name = fullname.removeprefix("triolight.")
            if name not in PARTS:
                return None
            at = PACKAGE / ("manager/__init__.py" if name == "manager" else f"{name.replace('.', '/')}.py")
            loader = Changed(fullname, str(at))
            if fullname == wanted:
                loader.change = find, put
            return spec_from_file_location(fullname, at, loader=loader)

    with monkeypatch.context() as patch:
        patch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
        for name in PARTS:
            patch.delitem(sys.modules, f"triolight.{name}")
        for name in ("manager", "peer_manager"):  # loading puts the new ones there
            patch.setattr(triolight, name, getattr(triolight, name))
        found: type[PeerManager] = importlib.import_module("triolight.peer_manager").PeerManager
        # It is another one, all through; and nothing is left of it when this test is over.
        assert wanted in sys.modules
    assert found is not PeerManager
    assert sys.modules["triolight.peer_manager"] is triolight.peer_manager is peer_manager
    return found


@pytest.mark.parametrize("fault", MUTANTS)
def test_the_machine_finds(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Faulty(Peers):
        manager = mutant(monkeypatch, *MUTANTS[fault])

    with pytest.raises((AssertionError, BaseExceptionGroup)):
        if fault in COURSES:
            follow(Faulty(), COURSES[fault])
        else:
            run_state_machine_as_test(Faulty, settings=SURE)


@pytest.mark.parametrize("fault", COURSES)
def test_without_the_fault_nothing_is_found(fault: str) -> None:
    follow(Peers(), COURSES[fault])


@pytest.mark.parametrize(("find", "why"), [("nowhere to be found", "has changed"), ("self", "has changed")])
def test_a_fault_without_a_place_of_its_own_is_none(find: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match=why):
        mutant(monkeypatch, "peer_manager", find, "pass")
    assert triolight.peer_manager is peer_manager
