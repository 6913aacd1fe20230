"""What a chain answers."""

from __future__ import annotations

from triolight.gossip import Found, Spent


def test_answers_are_values() -> None:
    assert Found(b"", 1, 2) == Found(b"", 1, 2, ())
    assert Spent() == Spent()
