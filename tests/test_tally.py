"""Tallies: counted by type, added up, and shown by the names that a registry knows."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any, cast

import pytest

from triolight.messages import BOLT, Ping, Pong
from triolight.tally import UNKNOWN, Tally, Traffic, add, by_name, count


def test_messages_and_their_bytes_are_counted_by_type() -> None:
    tally: Tally = {}
    for type_, size in ((Ping.type, 6), (Pong.type, 4), (Ping.type, 70)):
        count(tally, type_, size)
    assert tally == {Ping.type: [2, 76], Pong.type: [1, 4]}


def test_what_is_added_stays_as_it_was() -> None:
    past: Tally = {}
    one: Tally = {Ping.type: [2, 76]}
    for _ in range(3):
        add(past, one)
    add(past, {Pong.type: [1, 4]})
    assert past == {Ping.type: [6, 228], Pong.type: [1, 4]}
    assert one == {Ping.type: [2, 76]}
    count(past, Ping.type, 1)
    assert one == {Ping.type: [2, 76]}, "they share nothing"


def test_names_are_the_registrys_and_what_it_does_not_know_is_one() -> None:
    tally: Tally = {Ping.type: [2, 76], 40_000: [1, 10], UNKNOWN: [3, 30]}
    named = by_name(tally, BOLT)
    assert named == {"ping": Traffic(2, 76), "unknown": Traffic(4, 40)}
    with pytest.raises(TypeError):
        cast("MutableMapping[str, Any]", named)["ping"] = Traffic(0, 0)


def test_no_type_on_the_wire_is_the_one_that_counts_the_unknown() -> None:
    assert UNKNOWN > 0xFFFF
