"""The duplicate rule as a table, held to every combination; and where entries stand."""

from __future__ import annotations

import itertools

import pytest

from tests.support import identity
from triolight.manager.roster import CROSSING_SECONDS, Verdict, judge
from triolight.policy import DuplicateRule

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
