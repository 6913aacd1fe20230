"""What is wanted: counted, claimed, asked, and never in two states."""

from __future__ import annotations

from tests.support.gossip import PEERS
from triolight.gossip.wants import Unknown, Wants


def test_from_queued_to_got() -> None:
    wants = Wants()
    wants.claim(7, 1)
    wants.claim(7, 2)
    assert (len(wants), wants.open, wants.got, wants.asked_ever) == (1, 1, 0, 0)
    assert wants.untried(7) == 3
    wants.ask(7, 1)
    assert wants.is_asked(7)
    assert not wants.may_ask(7, 1)
    assert wants.may_ask(7, 2)
    wants.ask(7, 2)
    wants.answered(7, 1)
    assert wants.is_asked(7)
    wants.answered(7, 2)
    assert not wants.is_asked(7)
    assert wants.untried(7) == 0
    wants.finish(7, True)
    assert (len(wants), wants.open, wants.got, wants.absent, wants.asked_ever) == (1, 0, 1, 0, 1)
    assert wants.untried(7) == 0
    wants.finish(7, False)  # it is over
    assert wants.absent == 0


def test_what_was_got_may_be_claimed_again_by_who_has_more() -> None:
    wants = Wants()
    wants.claim(7, 1)
    wants.ask(7, 1)
    wants.finish(7, True)
    wants.claim(7, 2)
    assert (wants.open, wants.got) == (1, 1)
    assert wants.untried(7) == 2
    wants.finish(7, True)
    assert (wants.got, len(wants)) == (1, 1)


def test_absent_and_skipped() -> None:
    wants = Wants()
    wants.claim(7, 1)
    wants.skip(7, 1)
    assert wants.untried(7) == 0
    assert wants.asked_ever == 0
    assert wants.pending() == [7]
    wants.finish(7, False)
    assert (wants.absent, wants.got, wants.pending()) == (1, 0, [])


def test_d23_so_many_of_a_peer_and_so_many_of_all() -> None:
    unknown = Unknown(5, 3)
    for one in range(4):
        unknown.add(PEERS[0], one, 0)
    assert (unknown.total, unknown.dropped) == (3, 1)
    for one in range(3):
        unknown.add(PEERS[1], one, 0)
    assert (unknown.total, unknown.dropped) == (5, 2)
    unknown.add(PEERS[1], 0, 0)
    assert unknown.dropped == 2, "known already"
    assert unknown.take(PEERS[0]) == [0, 1, 2]
    assert (unknown.total, unknown.take(PEERS[0])) == (2, [])


def test_d23_who_has_spoken_of_one_is_asked_a_little_later_and_not_too_often() -> None:
    unknown = Unknown(10, 10)
    assert unknown.due(0) is None
    unknown.add(PEERS[0], 7, 100)
    assert [unknown.due(now) for now in (100, 109.9, 110)] == [None, None, PEERS[0]]
    assert unknown.take(PEERS[0]) == [7]
    assert unknown.due(1000) is None
    for in_vain, seconds in ((False, 60), (True, 3600)):
        unknown.asked(PEERS[0], 1000, in_vain=in_vain)
        unknown.add(PEERS[0], 8, 1001)
        assert [unknown.due(1000 + seconds + more) for more in (-0.1, 0)] == [None, PEERS[0]]
        unknown.take(PEERS[0])
    unknown.add(PEERS[1], 8, 0)
    unknown.forget((PEERS[0], PEERS[1]))
    assert (unknown.total, unknown.due(1e9)) == (0, None)
