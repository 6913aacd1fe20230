"""What readers give: values that say what they are."""

from __future__ import annotations

from triolight.gossip.formats.items import Damaged, Signed


def test_what_is_damaged_says_where() -> None:
    assert str(Damaged(12, "no message")) == "byte 12: no message"


def test_items_are_values() -> None:
    assert Signed(1, b"\x01\x00") == Signed(1, b"\x01\x00") != Signed(2, b"\x01\x00")
