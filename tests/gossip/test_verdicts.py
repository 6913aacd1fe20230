"""Verdicts: what follows from each, and that they are counted."""

from __future__ import annotations

from triolight.gossip import Verdict, Verdicts


def test_what_follows_from_a_verdict() -> None:
    warned = {one for one in Verdict if one.warns}
    faults = {one for one in Verdict if one.fault}
    assert faults == {Verdict.MALFORMED, Verdict.BAD_SIGNATURE, Verdict.BAD_ORDER}
    others = {Verdict.WRONG_SCRIPT, Verdict.TOO_EARLY, Verdict.UNASKED_REPLY, Verdict.SECOND_QUERY}
    assert warned == faults | others
    assert [one for one in Verdict if one.passed == "yes"] == [Verdict.ACCEPTED]
    assert (str(Verdict.TOO_OLD), Verdict("too_old"), Verdict.UNVERIFIED.kept) == ("too_old", Verdict.TOO_OLD, "capped")


def test_each_is_counted_by_itself() -> None:
    verdicts = Verdicts()
    for number, one in enumerate(Verdict, 1):
        assert verdicts.count(one, number) is one
    assert [verdicts[one] for one in verdicts] == list(range(1, len(verdicts) + 1))
    assert repr(verdicts).startswith("<Verdicts accepted=1, unverified=2,")
    assert repr(Verdicts()) == "<Verdicts none>"
