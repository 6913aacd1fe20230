"""What a peer lists: in any order, read a little at a time, as a dictionary would have it."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triolight.gossip.claims import NO_CLAIM, Claim, Claims

numbers = st.integers(0, 40)
pairs = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))


@st.composite
def replies(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]] | None, list[tuple[int, int]] | None]:
    ids = draw(st.lists(numbers, max_size=12) | st.lists(numbers, max_size=12, unique=True).map(sorted))
    stamps, sums = (
        draw(st.none() | st.lists(pairs, min_size=len(ids), max_size=len(ids))) if ids else None for _ in range(2)
    )
    return ids, stamps, sums


@given(st.lists(replies(), max_size=6), st.integers(1, 7), st.integers(0, 20))
def test_it_is_the_dictionary_of_what_came_last(
    said: list[tuple[list[int], list[tuple[int, int]] | None, list[tuple[int, int]] | None]], most: int, restart: int
) -> None:
    claims, wanted = Claims(), dict[int, Claim]()
    for ids, stamps, sums in said:
        claims.add(ids, stamps, sums)
        for at, one in enumerate(ids):
            wanted[one] = (stamps[at] if stamps else None, sums[at] if sums else None)
    assert claims.listed == sum(len(ids) for ids, _, _ in said)
    for _ in range(restart):
        claims.read(most)
    claims.again()
    assert (len(claims), list(claims)) == (0, [])
    found: list[int] = []
    while not claims.is_read:
        more = claims.read(most)
        assert len(more) <= most
        assert more or claims.is_read
        found += more
        assert list(claims) == found
    assert found == sorted(wanted)
    assert dict(claims) == wanted
    assert claims.read(1) == []
    assert claims.get(41) is None


def test_what_is_not_read_yet_is_not_there() -> None:
    claims = Claims()
    claims.add([1, 2, 3], None, None)
    assert claims.read(2) == [1, 2]
    assert (2 in claims, 3 in claims, claims.is_read) == (True, False, False)
    with pytest.raises(KeyError):
        claims[3]
    assert claims[1] == NO_CLAIM


def test_a_channel_costs_a_few_dozen_bytes() -> None:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        claims = Claims()
        for first in range(0, 30_000, 1000):
            ids = range(first, first + 1000)
            claims.add(ids, [(1, 2)] * 1000, [(3, 4)] * 1000)
        while not claims.is_read:
            claims.read(1000)
        assert (tracemalloc.get_traced_memory()[0] - before) / len(claims) < 40
    finally:
        tracemalloc.stop()
