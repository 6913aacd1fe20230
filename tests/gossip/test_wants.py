"""What is wanted: counted, claimed, asked, and never in two states."""

from __future__ import annotations

from triolight.gossip.wants import Wants


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
