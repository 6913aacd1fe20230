"""Answers of an engine: what is right is read, and whatever else comes is EngineAway and nothing besides."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fleets import BACK, CONFIG, FRONT, entry
from tests.support.gossip import IDS
from triolight.cluster import answers
from triolight.cluster.bus import BackState, EngineAway, FrontState
from triolight.cluster.records import ENGINE, NO_CONNECTION, Displaced, encode_entry, encode_record, write_config
from triolight.cluster.rules import Answer
from triolight.cluster.streams import Used

READERS: list[Callable[[Any], object]] = [
    answers.back_state,
    answers.claim_answer,
    answers.configuration,
    answers.entries_of,
    answers.front_state,
    answers.kept_of,
    answers.memory_of,
    answers.renewal,
    answers.used_of,
]
FRONT_OF_AN_ENGINE = [b"one", FRONT, BACK, b"1.5", b"0", b"host:1", 7, 1, 2, 3, 4]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.binary(max_size=20)
    | st.text(max_size=5)
    | st.sampled_from([b"OK", b"NO", BACK, b"take", b"nan", b"inf", b"-1", b"9" * 5000, 1 << 70, b"1e400"]),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.binary(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(VALUES)
def test_nothing_leaves_but_that_there_is_no_answer(value: Any) -> None:
    for read in READERS:
        try:
            read(value)
        except EngineAway:
            pass


@given(st.integers(0, len(FRONT_OF_AN_ENGINE) - 1), VALUES)
def test_a_front_with_one_field_that_is_something_else(at: int, value: Any) -> None:
    one = [*FRONT_OF_AN_ENGINE]
    one[at] = value
    try:
        found = answers.front_state(one)
    except EngineAway:
        return
    assert 0 <= found.age < answers.MOST
    assert len(found.token) == len(found.back) == 16
    assert min(found.peers, *found.up, *found.down) >= 0


def test_what_is_right() -> None:
    assert answers.front_state(FRONT_OF_AN_ENGINE) == FrontState(
        "one", FRONT, BACK, 1.5, False, "host:1", 7, Used(1, 2), Used(3, 4)
    )
    assert answers.back_state([b"OK", BACK, b"-0.25"]) == BackState(BACK, 0.0)
    assert answers.back_state([b"NO"]) is None
    assert answers.renewal([b"OK", BACK, b"2", 5, 6]) == (BackState(BACK, 2.0), Used(5, 6))
    assert answers.claim_answer([b"take from another front"]) is Answer.TAKE_FROM
    assert answers.claim_answer([b"take from another front, where it waits"]) is Answer.TAKE_AND_PARK
    assert answers.configuration(write_config(CONFIG)) == CONFIG
    assert answers.entries_of(None) == {}


@pytest.mark.parametrize("wrong", [{"lease": 0}, {"lease": 4_000_000_000}, {"engine_grace": 1}, {"back_grace": 0}])
def test_a_configuration_that_no_back_has(wrong: dict[str, int]) -> None:
    """A lease of nothing would have a front renew it without a pause."""
    with pytest.raises(EngineAway):
        answers.configuration(write_config(CONFIG.replace(**wrong)))


@pytest.mark.parametrize("what", [5, 1 << 62, [1, 2], None])
def test_what_is_said_is_bytes(what: Any) -> None:
    """A number would become so many zeros, or end the process."""
    with pytest.raises(EngineAway):
        answers.entries_of({b"key": [SimpleNamespace(identifier=b"1-0", field_values={b"b": what})]})
    with pytest.raises(EngineAway):
        answers.kept_of([b"token", FRONT, b"seq", b"1", b"c1", what])


def test_what_a_front_may_tell_another_one() -> None:
    displaced = encode_record(NO_CONNECTION, Displaced(node_id=IDS[0], number=1, waits=0))
    assert answers.is_displacement(encode_entry(ENGINE, 0, [displaced]))
    assert not answers.is_displacement(encode_entry(BACK, 0, [displaced]))  # in the back's name
    assert not answers.is_displacement(entry(0, b"\x00\x01", token=ENGINE))
    assert not answers.is_displacement(b"")
