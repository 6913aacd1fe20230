"""What strangers say, as a log may show it: printable ASCII, and not much of it."""

from __future__ import annotations

import pytest

from triolight.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"plain words", "plain words"),
        (b"\x1b[31m\r\n\xff", "\\x1b[31m\\r\\n\\xff"),
        ("grüße \u2028", "gr\\xfc\\xdfe \\u2028"),
        (b"back\\slash", "back\\\\slash"),
        ("", ""),
    ],
)
def test_text_of_strangers(text: bytes | str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable(b"x" * 512) == "x" * 512
    for text in (b"x" * 513, b"\x00" * 60_000, "\u2028" * 60_000):
        assert len(printable(text)) == 512
        assert printable(text).endswith("...")
