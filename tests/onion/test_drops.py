"""Reasons of drops: each its own words, which say nothing of a key."""

from __future__ import annotations

from triolight.errors import TriolightError
from triolight.onion.drops import Drop, OnionDropped


def test_each_has_words_of_its_own() -> None:
    assert len({one.value for one in Drop}) == len(Drop)
    error = OnionDropped(Drop.HMAC)
    assert isinstance(error, TriolightError)
    assert (error.drop, str(error)) == (Drop.HMAC, Drop.HMAC.value)
