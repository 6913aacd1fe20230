"""Claims, held to the table of the roster; appends, leases, windows and shards."""

from __future__ import annotations

import itertools
import math

import pytest

from tests.support import identity
from triolight.cluster.rules import (
    CROSSING_SECONDS,
    WINDOW_BYTES,
    WINDOW_RECORDS,
    Answer,
    Append,
    Claim,
    Terms,
    fullness,
    has_lapsed,
    is_full,
    judge_append,
    judge_claim,
    may_act,
    owner_of,
)
from triolight.manager.roster import Verdict, judge

SMALLER, LARGER = sorted((identity(1), identity(2)))
ONE, TWO = bytes(16), bytes([1]) * 16
FOLLOWS = {
    Verdict.TAKE: Answer.TAKE,
    Verdict.REPLACE: Answer.TAKE_FROM,
    Verdict.REPLACE_AND_PARK: Answer.TAKE_AND_PARK,
    Verdict.PARK: Answer.WAIT,
}
"""What the roster says of two connections in one process, and what a claim says of them at two fronts."""


@pytest.mark.parametrize("ours", [SMALLER, LARGER])
@pytest.mark.parametrize("held_inbound", [False, True])
@pytest.mark.parametrize("inbound", [False, True])
@pytest.mark.parametrize("age", [0.0, CROSSING_SECONDS - 0.001, CROSSING_SECONDS, 1000.0])
def test_a_claim_is_judged_as_the_roster_judges(ours: bytes, held_inbound: bool, inbound: bool, age: float) -> None:
    theirs = SMALLER if ours == LARGER else LARGER
    held, newcomer = Claim("one", ONE, 1, held_inbound, 50.0), Claim("two", TWO, 1, inbound, 0.0)
    verdict = judge("newest", ours, theirs, inbound, (held_inbound, age))
    assert judge_claim(ours, theirs, newcomer, held, True, 50.0 + age) is FOLLOWS[verdict]
    # Two that have waited, and come back, would take it from each other for ever.
    assert judge_claim(ours, theirs, newcomer, held, True, 50.0 + age, waited=True) is Answer.WAIT


@pytest.mark.parametrize(
    ("held", "lives"),
    [
        (None, False),
        (Claim("one", ONE, 1, False, 0.0), False),  # its front is fenced, or has another token by now
        (Claim("two", TWO, 1, False, 0.0), True),  # the same front
    ],
)
def test_whose_claim_nobody_else_holds_takes_it(held: Claim | None, lives: bool) -> None:
    """Also where the roster would park it, as these two would be."""
    newcomer = Claim("two", TWO, 2, True, 0.0)
    assert judge("newest", SMALLER, LARGER, True, (False, 1.0)) is Verdict.PARK
    for waited in (False, True):
        assert judge_claim(SMALLER, LARGER, newcomer, held, lives, 1.0, waited) is Answer.TAKE


def test_the_same_front_after_another_start_is_another_front() -> None:
    held, newcomer = Claim("one", ONE, 1, False, 0.0), Claim("one", TWO, 1, True, 0.0)
    assert judge_claim(SMALLER, LARGER, newcomer, held, True, 1.0) is Answer.WAIT


@pytest.mark.parametrize(
    ("next_seq", "first_seq", "count", "answer"),
    [
        (0, 0, 1, Append.TAKE),
        (7, 7, 3, Append.TAKE),
        (7, 4, 3, Append.REPEAT),
        (7, 0, 1, Append.REPEAT),
        (7, 5, 3, Append.HOLE),  # some of it was taken: no entry of ours is that
        (7, 8, 1, Append.HOLE),
        (0, 5, 1, Append.HOLE),
    ],
)
def test_appends(next_seq: int, first_seq: int, count: int, answer: Append) -> None:
    assert judge_append(next_seq, first_seq, count) is answer


@pytest.mark.parametrize(("held", "fenced", "may"), [(ONE, False, True), (ONE, True, False), (TWO, False, False)])
def test_who_may_act(held: bytes | None, fenced: bool, may: bool) -> None:
    assert may_act(held, ONE, fenced) is may
    assert not may_act(None, ONE, False)


def test_leases_and_windows() -> None:
    assert not has_lapsed(5.0, 14.999, 10.0)
    assert has_lapsed(5.0, 15.0, 10.0)
    assert not is_full(WINDOW_BYTES - 1, WINDOW_RECORDS - 1)
    assert is_full(WINDOW_BYTES, 0)
    assert is_full(0, WINDOW_RECORDS)
    assert [
        fullness(one) for one in ((0, 0), (WINDOW_BYTES // 2, 1), (1, WINDOW_RECORDS // 4), (9 * WINDOW_BYTES, 0))
    ] == [
        0,
        0.5,
        0.25,
        1,
    ]
    assert Terms().renewal == 2.0
    assert Terms().doubt == 8.0


@pytest.mark.parametrize(
    "wrong", [{"lease": 0}, {"lease": math.nan}, {"back_grace": 51}, {"engine_grace": 60}, {"engine_grace": 9}]
)
def test_terms_that_cannot_be_kept(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Terms(**wrong)


def test_shares_move_with_their_worker_alone() -> None:
    nodes = [bytes([2]) + number.to_bytes(32, "big") for number in range(300)]
    workers = ("a", "b", "c")
    before = {node: owner_of(node, workers) for node in nodes}
    for gone in workers:
        left = [worker for worker in workers if worker != gone]
        for node, owner in before.items():
            after = owner_of(node, left)
            assert after == owner if owner != gone else after in left
    for order in itertools.permutations(workers):
        assert {node: owner_of(node, order) for node in nodes} == before
    # Three shares of 300, each of them a third within six standard deviations.
    assert all(50 < list(before.values()).count(worker) < 150 for worker in workers)
    assert owner_of(nodes[0], ()) is None
