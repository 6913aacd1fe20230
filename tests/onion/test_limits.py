"""Buckets: what a peer may send at once and in the long run, and what it finds when it comes back."""

from __future__ import annotations

import pytest

from triolight.onion.drops import Drop
from triolight.onion.limits import OnionLimits, Rates

ONE, TWO = b"one", b"two"


def taken(rates: Rates, peer: bytes, count: int, now: float, size: int = 1) -> int:
    return sum(rates.refuse(peer, size, now) is None for _ in range(count))


def test_o33_a_burst_and_then_the_rate() -> None:
    rates = Rates(OnionLimits(), 0)
    assert taken(rates, ONE, 1000, 0) == 20
    assert taken(rates, ONE, 1000, 0.5) == 5
    assert taken(rates, ONE, 1000, 1000.0) == 20
    assert rates.refuse(ONE, 1, 1000.0) is Drop.RATE


def test_o33_bytes_count_too() -> None:
    rates = Rates(OnionLimits(), 0)
    large = 32 * 1024
    assert taken(rates, ONE, 10, 0, large) == 8
    assert taken(rates, ONE, 10, 0.5, large) == 1
    # A message that is too large takes nothing away from smaller ones.
    assert taken(rates, TWO, 5, 0.5, 1 << 20) == 0
    assert taken(rates, TWO, 30, 0.5) == 20


def test_o33_all_peers_together() -> None:
    rates = Rates(OnionLimits(all_burst=30), 0)
    assert taken(rates, ONE, 30, 0) == 20
    assert taken(rates, TWO, 30, 0) == 10
    assert rates.refuse(TWO, 1, 0) is Drop.RATE_OF_ALL
    assert taken(rates, TWO, 30, 0.1) == 10


def test_o33_who_comes_back_finds_the_bucket_as_it_was() -> None:
    rates = Rates(OnionLimits(per_second=0.001), 0)
    assert taken(rates, ONE, 30, 0) == 20
    rates.left(ONE, 1)
    rates.came(ONE, 2)
    assert taken(rates, ONE, 30, 2) == 0
    rates.left(ONE, 3)
    rates.came(ONE, 64)
    assert taken(rates, ONE, 30, 64) == 20


def test_o33_no_more_are_remembered_than_the_limit_says_and_no_longer() -> None:
    rates = Rates(OnionLimits(remembered=3), 0)
    for number in range(10):
        peer = bytes([number])
        rates.came(peer, number)
        rates.left(peer, number)
    assert len(rates) == 3
    rates.left(b"never came", 10)
    assert len(rates) == 3
    rates.came(ONE, 100)
    rates.left(ONE, 100)
    assert len(rates) == 1


def test_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="burst is above 0, not 0"):
        OnionLimits(burst=0)
