"""Admission: strangers and inbound peers are counted once, places are left, and the policy hears the true numbers."""

from __future__ import annotations

import pytest

from tests.support import ListLogger, identity
from triolight import DisconnectCode, Policy, Population
from triolight.address import IPv4Address, IPv6Address
from triolight.errors import DisconnectReason, Side
from triolight.logger import Area
from triolight.policy import HANDSHAKE_BURST_SECONDS, HANDSHAKES_PER_SECOND
from triolight.shell.admission import MAX_RATED_SOURCES, Admission, Crowds, Rates

HERE = IPv4Address("192.0.43.8", 1000)
SAME = IPv6Address("::ffff:192.0.43.8", 1001)
THERE = IPv4Address("192.0.43.9", 1000)


def make_admission(policy: Policy, peers: int = 0) -> tuple[Admission, ListLogger]:
    logger = ListLogger()
    return Admission(policy, lambda: peers, Area(logger, "nursery")), logger


def test_a_place_is_entered_and_left_once() -> None:
    admission, _ = make_admission(Policy())
    one, other = admission.place(HERE), admission.place(SAME)
    assert one.source == other.source == "192.0.43.8"
    for _ in range(2):
        admission.enter(one)
    admission.enter(other)
    admission.enter(admission.place(None))
    admission.enter(None)  # one that we dialled
    assert (admission.strangers, admission.strangers_by_source) == (3, {"192.0.43.8": 2})
    for _ in range(2):
        admission.leave(one)
    admission.leave(None)
    assert (admission.strangers, admission.strangers_by_source) == (2, {"192.0.43.8": 1})
    admission.leave(other)
    assert admission.strangers_by_source == {}, "a source that has none takes no memory"


def test_the_policy_hears_of_strangers_by_source_and_in_all() -> None:
    admission, logger = make_admission(Policy(max_strangers=3, max_strangers_per_source=2))
    for _ in range(2):
        assert admission.stranger(HERE) is None
        admission.enter(admission.place(HERE))
    refused = admission.stranger(SAME)
    assert refused is not None
    assert "2 connections from this address" in refused.message
    assert admission.stranger(THERE) is None
    admission.enter(admission.place(THERE))
    refused = admission.stranger(None)
    assert refused is not None
    assert refused.message == "3 connections are being made"
    assert admission.failures == {DisconnectCode.TOO_MANY_STRANGERS: 2}
    assert "a connection was refused" in logger


@pytest.mark.parametrize("inbound", [True, False])
def test_the_policy_hears_of_peers(inbound: bool) -> None:
    admission, _ = make_admission(Policy(max_peers=10, max_inbound_peers=1), peers=9)
    assert admission.peer(identity(1), HERE, inbound, False) is None
    admission.peer_joined(inbound)
    refused = admission.peer(identity(2), HERE, True, False)
    assert (refused is None) == (not inbound)
    assert admission.peer(identity(2), HERE, True, True) is None, "protected"
    admission.peer_left(inbound, DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "gone"))
    assert admission.peer(identity(2), HERE, True, False) is None
    assert (admission.inbound_peers, admission.ends) == (0, {DisconnectCode.PEER_CLOSED: 1})
    full, _ = make_admission(Policy(max_peers=10), peers=10)
    refused = full.peer(identity(2), HERE, inbound, False)
    assert refused is not None
    assert refused.code is DisconnectCode.TOO_MANY_PEERS


def test_each_answer_is_counted() -> None:
    policy = Policy(banned=[identity(2)])
    admission, _ = make_admission(policy)
    assert admission.dial(identity(1), HERE, False) is None
    assert admission.dial(identity(2), HERE, False) is not None
    assert policy.decisions == {"dial: admitted": 1, "dial: BANNED": 1}
    assert admission.failures == {}, "whether a refused dial is a failure is for who dials"


# Peers by source.


def crowds_of(*sources: str) -> Crowds:
    """Node 1, 2 … in this order, each of its source."""
    crowds = Crowds()
    for number, source in enumerate(sources, 1):
        crowds.enter(source, identity(number))
    return crowds


@pytest.mark.parametrize(
    ("sources", "spared", "youngest"),
    [
        ("", (), None),
        ("abc", (), None),  # one alone is no crowd
        ("aab", (), 2),
        ("aaabb", (), 3),
        ("bbaaa", (), 5),
        ("aabb", (), 4),  # as many: the source that has had them for the shorter time
        ("abba", (), 4),
        ("aaabb", (3,), 2),
        ("aaabb", (2, 3), 1),
        ("aaabb", (1, 2, 3), 5),
        ("aaab", (1, 2, 3), None),
        ("aabb", (1, 2, 3, 4), None),
    ],
)
def test_the_youngest_of_the_most_crowded(sources: str, spared: tuple[int, ...], youngest: int | None) -> None:
    stay = {identity(number) for number in spared}
    found = crowds_of(*sources).youngest(stay.__contains__)
    assert (None if found is None else found.node_id) == (None if youngest is None else identity(youngest))
    if found is not None and youngest is not None:
        assert found.source == sources[youngest - 1]
        assert found.size == sources.count(found.source)


def test_nobody_is_asked_about_who_is_no_crowd() -> None:
    asked: list[bytes] = []

    def spared(node_id: bytes) -> bool:
        asked.append(node_id)
        return True

    crowds_of("a", *[str(number) for number in range(50)], "a").youngest(spared)
    assert asked == [identity(52), identity(1)]


def test_crowds_are_left_once_and_forgotten() -> None:
    crowds = crowds_of(*"aab")
    assert (crowds.sizes, crowds.largest, crowds.size("a"), crowds.size("c"), crowds.size(None)) == (
        {"a": 2, "b": 1},
        2,
        2,
        0,
        0,
    )
    for _ in range(2):
        crowds.leave("a", identity(1))
    assert (crowds.sizes, crowds.largest) == ({"a": 1, "b": 1}, 1)
    crowds.leave("b", identity(2))  # another source's
    assert crowds.has("a", identity(2))
    crowds.leave("a", identity(2))
    crowds.leave("b", identity(3))
    assert (crowds.sizes, crowds.largest) == ({}, 0)


GONE = DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "gone")


class Table:
    """Two places, both of one address's peers, who are nodes 1 and 2."""

    def __init__(self, policy: Policy | None = None, *spared: int) -> None:
        stay = {identity(number) for number in spared}
        self.policy = policy or Policy(max_inbound_peers=2)
        self.there = 0
        self.admission = Admission(self.policy, lambda: self.there, Area(ListLogger(), "nursery"), stay.__contains__)
        for number in (1, 2):
            assert self.ask(number, HERE) is None
            assert self.join(number, HERE) is None

    def ask(self, number: int, address: IPv4Address | None, inbound: bool = True) -> DisconnectReason | None:
        return self.admission.peer(identity(number), address, inbound, False)

    def join(self, number: int, address: IPv4Address | None, inbound: bool = True) -> bytes | None:
        """Whom it takes the place of."""
        self.there += 1
        source = self.policy.source_of(address) if inbound else None
        leaver = self.admission.peer_joined(inbound, identity(number), source)
        return None if leaver is None else leaver.node_id


def test_a_newcomer_takes_a_place_when_it_has_become_a_peer_and_only_one() -> None:
    table = Table()
    assert table.ask(3, THERE) is None
    assert table.admission.peers_by_source == {"192.0.43.8": 2}, "nobody goes before there is somebody to go for"
    assert table.join(3, THERE) == identity(2)
    assert table.admission.peers_by_source == {"192.0.43.8": 1, "192.0.43.9": 1}
    assert table.admission.inbound_peers == 3, "until its end is decided"
    assert table.join(3, THERE) is None
    assert table.policy.decisions == {"peer: admitted": 3, "room: TOO_MANY_PEERS": 1}
    # The end of the one that has made room takes nobody's place away.
    table.admission.peer_left(True, GONE, identity(2), "192.0.43.8")
    assert table.admission.peers_by_source == {"192.0.43.8": 1, "192.0.43.9": 1}


def test_the_next_newcomer_ends_nobody_else_for_the_one_before() -> None:
    table = Table()
    assert table.ask(3, THERE) is None
    assert table.join(3, THERE) == identity(2)
    # Node 2 is about to go: its source has one, and so would the next one's.
    refused = table.ask(4, IPv4Address("192.0.43.10", 1))
    assert refused is not None
    assert refused.code is DisconnectCode.TOO_MANY_PEERS


def test_who_was_refused_by_somebody_else_takes_nobodys_place() -> None:
    table = Table()
    assert table.ask(3, THERE) is None  # a handler refuses it
    assert table.ask(4, None) is None
    assert table.join(4, None) == identity(2)
    table = Table()
    assert table.ask(3, THERE) is None
    assert table.join(4, THERE) is None, "it was never asked about: it was parked, and revives"


def test_who_makes_room_may_have_gone_meanwhile() -> None:
    table = Table()
    assert table.ask(3, THERE) is None
    table.admission.peer_left(True, GONE, identity(2), "192.0.43.8")
    assert table.join(3, THERE) is None


@pytest.mark.parametrize(
    ("address", "inbound", "spared", "takes"),
    [
        (THERE, True, (), 2),
        (HERE, True, (), None),  # it would have more
        (None, True, (), 2),  # of no limited source: the only one of its own
        (IPv4Address("127.0.0.1", 1), True, (), 2),
        (THERE, True, (2,), 1),
        (THERE, True, (1, 2), None),
    ],
)
@pytest.mark.parametrize("total", [False, True])
def test_who_takes_whose_place(
    address: IPv4Address | None, inbound: bool, spared: tuple[int, ...], takes: int | None, total: bool
) -> None:
    table = Table(Policy(max_peers=2) if total else None, *spared)
    refused = table.ask(3, address, inbound)
    if takes is None:
        assert refused is not None
        assert refused.code is DisconnectCode.TOO_MANY_PEERS
        assert refused.message == f"no room: 2 {'' if total else 'inbound '}peers are connected"
    else:
        assert refused is None
        assert table.join(3, address, inbound) == identity(takes)


def test_one_that_we_dial_takes_a_place_of_all_of_them_and_gives_none() -> None:
    assert Table().ask(3, THERE, inbound=False) is None, "there is room"
    table = Table(Policy(max_peers=2))
    assert table.ask(3, THERE, inbound=False) is None
    assert table.join(3, THERE, inbound=False) == identity(2)
    assert table.admission.peers_by_source == {"192.0.43.8": 1}
    assert table.ask(4, THERE, inbound=False) is not None, "no crowd is left"


def test_a_source_has_so_many_peers_and_no_more() -> None:
    table = Table(Policy(max_peers_per_source=2))
    refused = table.ask(3, HERE)
    assert refused is not None
    assert refused.message == "no room: 2 inbound peers are connected from your address"
    assert table.admission.peer(identity(3), SAME, True, False) == refused
    assert table.ask(3, HERE, inbound=False) is None
    assert table.ask(3, THERE) is None
    assert table.admission.peer(identity(3), HERE, True, True) is None, "protected"
    table.admission.peer_left(True, GONE, identity(1), "192.0.43.8")
    assert table.ask(3, HERE) is None


def test_a_policy_may_end_nobody_and_cannot_have_what_is_not_there() -> None:
    class Never(Policy):
        def make_room(self, inbound: bool, population: Population) -> bool:
            return False

    class Always(Policy):
        def make_room(self, inbound: bool, population: Population) -> bool:
            return True

    class Everybody(Policy):
        def admit_peer(self, *arguments: object) -> None:
            pass

    assert Table(Never(max_inbound_peers=2)).ask(3, THERE) is not None
    assert Table(Always(max_inbound_peers=2), 1, 2).ask(3, THERE) is not None
    table = Table(Always(max_inbound_peers=3))
    assert table.ask(3, HERE) is None
    assert table.join(3, HERE) == identity(2)
    table = Table(Everybody(max_inbound_peers=2), 1, 2)
    assert table.ask(3, THERE) is None
    assert table.join(3, THERE) is None


# Handshakes.


def begun(admission: Admission, address: IPv4Address | IPv6Address, now: float, times: int = 1) -> int:
    """How many of so many are let in."""
    return sum(admission.stranger(address, now) is None for _ in range(times))


def test_handshakes_of_a_source_have_a_rate() -> None:
    admission, _ = make_admission(Policy(handshakes_per_second=2))
    assert begun(admission, HERE, 100, 20) == 8
    assert begun(admission, SAME, 100) == 0, "of the same source"
    assert begun(admission, THERE, 100, 20) == 8, "each source by itself"
    refused = admission.stranger(HERE, 100.25)
    assert refused is not None
    assert refused.code is DisconnectCode.TOO_MANY_STRANGERS
    assert refused.message == "more than 2 connections a second from this address are being made"
    assert begun(admission, HERE, 101, 20) == 2
    assert begun(admission, HERE, 103, 20) == 4
    assert begun(admission, HERE, 999, 20) == 8, "no more than a burst, however long it has waited"


def test_a_source_that_is_not_limited_has_no_rate() -> None:
    admission, _ = make_admission(Policy(handshakes_per_second=0.1))
    assert begun(admission, IPv4Address("127.0.0.1", 1), 0, 100) == 100
    limited, _ = make_admission(Policy(handshakes_per_second=0.1, limit_local_sources=True))
    assert begun(limited, IPv4Address("127.0.0.1", 1), 0, 100) == 1, "one at the least"
    without, _ = make_admission(Policy(handshakes_per_second=None))
    assert begun(without, HERE, 0, 1000) == 1000


def test_a_handshake_that_is_refused_costs_nothing() -> None:
    policy = Policy(max_strangers_per_source=1)
    admission, _ = make_admission(policy)
    place = admission.place(HERE)
    assert begun(admission, HERE, 0) == 1
    admission.enter(place)
    assert begun(admission, HERE, 0, 1000) == 0
    admission.leave(place)
    burst = int(HANDSHAKES_PER_SECOND * HANDSHAKE_BURST_SECONDS)
    assert begun(admission, HERE, 0, 1000) == burst - 1
    assert policy.decisions == {"stranger: admitted": burst, "stranger: TOO_MANY_STRANGERS": 2000 - burst + 1}


def test_sources_are_forgotten_when_they_may_begin_a_burst_again() -> None:
    rates = Rates(5.0, 20.0)
    for number in range(100):
        rates.add(str(number), number / 10)
    # Those of the last four seconds.
    assert len(rates) == 40
    rates.add("100", 50.0)
    assert len(rates) == 1
    assert rates.of("0", 50.0) == 0


def test_so_many_sources_are_remembered_and_no_more() -> None:
    rates = Rates(5.0, 20.0)
    for number in range(MAX_RATED_SOURCES):
        rates.add(str(number), 0.0)
    rates.add("0", 1.0)
    for number in range(MAX_RATED_SOURCES - 1):
        rates.add(f"a flood's {number}", 1.0)
    assert len(rates) == MAX_RATED_SOURCES
    assert rates.of("0", 1.0) == 1.0, "the one that came last is forgotten last"
    assert rates.of("1", 1.0) == 0.0
    rates.add("one more", 1.0)
    assert (len(rates), rates.of("0", 1.0)) == (MAX_RATED_SOURCES, 0.0)


def test_a_policy_that_lets_in_more_is_remembered_no_longer() -> None:
    rates = Rates(1.0, 4.0)
    for _ in range(100):
        rates.add("a", 0.0)
    assert rates.of("a", 0.0) == 4.0
    assert rates.of("a", 4.0) == 0.0
