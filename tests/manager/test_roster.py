"""The duplicate rule as a table, held to every combination; and where entries stand."""

from __future__ import annotations

import itertools

import pytest

from tests.support import Note, identity
from tests.support.managers import Chan, connect, node, wire
from triolight import (
    DisconnectCode,
    DisconnectReason,
    Side,
)
from triolight.connection import Connection
from triolight.keys import SecretKey
from triolight.manager.entry import Agenda, Entry
from triolight.manager.roster import CROSSING_SECONDS, Roster, Stand, Verdict, judge
from triolight.manager.seams import UNDRIVEN, PeerDetails, Seat
from triolight.messages import (
    Init,
    Warning,
)
from triolight.noise import Handshake
from triolight.policy import DuplicateRule
from triolight.testing import MemoryDescriptor

SMALLER, LARGER = sorted((identity(1), identity(2)))
CLOSE, APART = CROSSING_SECONDS / 2, CROSSING_SECONDS
BOTH = (False, True)

TABLE: dict[tuple[DuplicateRule, str, str, float], Verdict] = {
    # rule, who dialled the one that is there, who dialled the newcomer, seconds between their Inits
    ("oldest", "smaller", "smaller", CLOSE): Verdict.REFUSE,
    ("oldest", "smaller", "smaller", APART): Verdict.REFUSE,
    ("oldest", "smaller", "larger", CLOSE): Verdict.REFUSE,
    ("oldest", "smaller", "larger", APART): Verdict.REFUSE,
    ("oldest", "larger", "smaller", CLOSE): Verdict.REFUSE,
    ("oldest", "larger", "smaller", APART): Verdict.REFUSE,
    ("oldest", "larger", "larger", CLOSE): Verdict.REFUSE,
    ("oldest", "larger", "larger", APART): Verdict.REFUSE,
    ("newest", "smaller", "smaller", CLOSE): Verdict.REPLACE,
    ("newest", "smaller", "smaller", APART): Verdict.REPLACE,
    ("newest", "smaller", "larger", CLOSE): Verdict.PARK,
    ("newest", "smaller", "larger", APART): Verdict.REPLACE,
    ("newest", "larger", "smaller", CLOSE): Verdict.REPLACE_AND_PARK,
    ("newest", "larger", "smaller", APART): Verdict.REPLACE,
    ("newest", "larger", "larger", CLOSE): Verdict.REPLACE,
    ("newest", "larger", "larger", APART): Verdict.REPLACE,
}
"""As either end sees it."""


def judged(rule: DuplicateRule, ours: bytes, there: str, newcomer: str, seconds: float) -> Verdict:
    theirs = SMALLER if ours == LARGER else LARGER
    by_them = "smaller" if theirs == SMALLER else "larger"
    return judge(rule, ours, theirs, newcomer == by_them, (there == by_them, seconds))


@pytest.mark.parametrize("ours", [SMALLER, LARGER], ids=["seen by the smaller", "seen by the larger"])
@pytest.mark.parametrize(("rule", "there", "newcomer", "seconds"), TABLE)
def test_the_rule(rule: DuplicateRule, there: str, newcomer: str, seconds: float, ours: bytes) -> None:
    assert judged(rule, ours, there, newcomer, seconds) is TABLE[rule, there, newcomer, seconds]


def test_the_table_has_every_combination() -> None:
    ends = ("smaller", "larger")
    assert set(TABLE) == set(itertools.product(("oldest", "newest"), ends, ends, (CLOSE, APART)))


@pytest.mark.parametrize("rule", ["oldest", "newest"])
@pytest.mark.parametrize("inbound", BOTH)
@pytest.mark.parametrize("ours", [SMALLER, LARGER])
def test_where_nobody_is_the_newcomer_is_taken(rule: DuplicateRule, inbound: bool, ours: bytes) -> None:
    theirs = SMALLER if ours == LARGER else LARGER
    assert judge(rule, ours, theirs, inbound, None) is Verdict.TAKE


@pytest.mark.parametrize("first", ["smaller", "larger"])
def test_both_ends_of_a_crossing_keep_the_same_connection(first: str) -> None:
    """In whichever order each of them sees the two."""
    second = "larger" if first == "smaller" else "smaller"
    kept: set[str] = set()
    for ours, (there, newcomer) in itertools.product((SMALLER, LARGER), ((first, second), (second, first))):
        verdict = judged("newest", ours, there, newcomer, CLOSE)
        kept.add(there if verdict is Verdict.PARK else newcomer)
    assert kept == {"smaller"}


def test_the_bound_itself_is_no_crossing() -> None:
    just = CROSSING_SECONDS - 0.001
    assert judged("newest", LARGER, "smaller", "larger", just) is Verdict.PARK
    assert judged("newest", LARGER, "smaller", "larger", CROSSING_SECONDS) is Verdict.REPLACE


class Scene:
    """A roster of the larger node id, and connections with the smaller one."""

    def __init__(self) -> None:
        self.agenda = Agenda(Seat(UNDRIVEN))
        self.roster = Roster(LARGER, self.agenda)

    def entry(self, inbound: bool = True) -> Entry:
        descriptor = MemoryDescriptor()
        handshake = Handshake(SecretKey(bytes([1]) * 32), SecretKey(bytes([2]) * 32), None if inbound else SMALLER)
        entry = Entry(descriptor, descriptor.send_data, Connection(handshake), inbound, None)
        self.roster.register(entry)
        return entry

    def proven(self, inbound: bool = True) -> Entry:
        entry = self.entry(inbound)
        self.roster.proven(entry, SMALLER)
        return entry

    def connected(self, inbound: bool = True, now: float = 0.0) -> Entry:
        entry = self.proven(inbound)
        self.roster.init_accepted(entry)
        self.roster.connect(entry, PeerDetails(SMALLER, None, Init(), inbound), now)
        return entry

    def parked(self) -> Entry:
        entry = self.proven(inbound=False)
        self.roster.init_accepted(entry)
        self.roster.park(entry)
        return entry

    def end(self, entry: Entry, code: DisconnectCode, by: Side) -> DisconnectReason:
        entry.reason = DisconnectReason(code, by, "gone")
        self.roster.leave(entry)
        return entry.reason


def test_an_entry_stands_in_one_place_after_the_other() -> None:
    scene = Scene()
    roster = scene.roster
    entry = scene.entry()
    stands = [roster.stand(entry)]
    roster.proven(entry, SMALLER)
    stands.append(roster.stand(entry))
    assert roster.of_node(SMALLER) == (entry,)
    roster.init_accepted(entry)
    assert roster.of_node(SMALLER) == ()
    roster.connect(entry, PeerDetails(SMALLER, None, Init(), True), 3.0)
    stands.append(roster.stand(entry))
    roster.demote(entry)
    assert entry.details is None
    roster.park(entry)
    stands.append(roster.stand(entry))
    assert not entry.may_read
    roster.unpark(entry)
    assert entry.may_read
    roster.connect(entry, PeerDetails(SMALLER, None, Init(), True), 4.0)
    scene.end(entry, DisconnectCode.PEER_CLOSED, Side.PEER)
    stands.append(roster.stand(entry))
    assert stands == list(Stand)
    assert roster.connected == roster.parked == roster.awaiting_init == {}
    roster.forget(entry)
    assert not roster.by_descriptor


@pytest.mark.parametrize(
    ("code", "by", "follows"),
    [
        (DisconnectCode.PEER_CLOSED, Side.PEER, True),
        (DisconnectCode.CONNECTION_LOST, Side.NETWORK, True),
        (DisconnectCode.PING_TIMEOUT, Side.US, True),
        (DisconnectCode.DUPLICATE, Side.US, True),
        (DisconnectCode.REQUESTED, Side.US, False),
        (DisconnectCode.HANDLER_DISCONNECT, Side.US, False),
    ],
)
def test_who_is_parked_follows_unless_we_want_nothing_of_the_node(
    code: DisconnectCode, by: Side, follows: bool
) -> None:
    scene = Scene()
    winner, parked = scene.connected(), scene.parked()
    along = scene.roster.bereave(SMALLER, scene.end(winner, code, by))
    assert along is (None if follows else parked)
    assert list(scene.roster.settle()) == ([(parked, True)] if follows else [])
    assert list(scene.agenda.take()) == ([parked] if follows else [])
    assert list(scene.roster.settle()) == []


def test_an_orphan_whose_place_is_taken_does_not_get_it() -> None:
    scene = Scene()
    parked = scene.parked()
    scene.roster.orphan(parked)
    scene.connected()
    assert list(scene.roster.settle()) == [(parked, False)]


def test_an_orphan_that_has_ended_is_none() -> None:
    scene = Scene()
    parked = scene.parked()
    scene.roster.orphan(parked)
    scene.end(parked, DisconnectCode.PEER_CLOSED, Side.PEER)
    assert list(scene.roster.settle()) == []


def test_oldest_refuses_as_soon_as_it_knows_who_it_is() -> None:
    scene = Scene()
    assert not scene.roster.refuses_early(SMALLER, "oldest")
    scene.connected(now=5.0)
    assert scene.roster.refuses_early(SMALLER, "oldest")
    assert not scene.roster.refuses_early(SMALLER, "newest")
    newcomer = scene.proven(inbound=False)
    # The smaller one dialled what is there; ours came within a moment.
    assert scene.roster.judge(newcomer, "newest", 5.0 + CLOSE) is Verdict.PARK
    assert scene.roster.judge(newcomer, "newest", 5.0 + APART) is Verdict.REPLACE
    assert scene.roster.judge(newcomer, "oldest", 5.0 + APART) is Verdict.REFUSE


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


def test_oldest_is_a_rule_too() -> None:
    a, b = node(1, duplicates="oldest"), node(2)
    first = connect(b, a)
    a.now[0] = b.now[0] = 100.0
    second = wire(b, a)
    second.run()
    first.run()
    # As in LDK: before its Init, so that the other side, whatever its rule, has nothing to take the old one's place.
    assert second.dead == {"b"}
    assert not first.at_b.ended
    assert a.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert b.manager.get_peer_node_ids() == [identity(1)]


def test_oldest_when_both_are_shaken_before_either_has_its_init() -> None:
    a, b = node(1, duplicates="oldest"), node(2)
    first, second = wire(b, a), wire(b, a)
    for link in (first, second):
        link.feed("b", link.at_a.take())
        a.manager.process_events()
        link.feed("a", link.at_b.take())
        b.manager.process_events()
        act_three_and_init = link.at_a.take()
        link.feed("b", act_three_and_init[:66])
        link.at_a.out += act_three_and_init[66:]
    for link in (first, second):
        a.manager.process_events()
        b.manager.process_events()
        link.run()
    assert a.seen.ended[0].code is DisconnectCode.DUPLICATE
    assert a.manager.get_peer_node_ids() == [identity(2)]
    assert [message.data for message in b.seen.messages if isinstance(message, Warning)] == [
        b"another connection with you was kept"
    ]
