"""What strangers say, as a log may show it: printable ASCII, and not much of it."""

from __future__ import annotations

import errno
import socket

import pytest

from triolight.text import for_terminal, place, printable, quoted, system_words, without_mark


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


def test_what_is_escaped_already_is_not_escaped_again() -> None:
    once = printable(b"\x1b\\")
    assert once == "\\x1b\\\\"
    assert printable(once, escaped=True) == once
    assert printable("\x1b" + once, escaped=True) == "\\x1b" + once
    assert quoted(b"\x1b\\'") == "'\\x1b\\\\''"
    assert quoted("x" * 100, 10) == "'xxxxxxx...'"
    assert for_terminal("gr\xfc\xdfe \\x1b") == "gr\xfc\xdfe \\x1b"
    assert for_terminal("\x1b\n\u2028\udcff\\") == "\\x1b\\n\\u2028\\udcff\\"


def test_a_byte_order_mark() -> None:
    assert without_mark(b"\xef\xbb\xbf\xef\xbb\xbfx") == b"\xef\xbb\xbfx"
    assert without_mark(b"\xef\xbbx") == b"\xef\xbbx"


def test_long_text_is_cut() -> None:
    assert printable(b"x" * 512) == "x" * 512
    for text in (b"x" * 513, b"\x00" * 60_000, "\u2028" * 60_000):
        assert len(printable(text)) == 512
        assert printable(text).endswith("...")


@pytest.mark.parametrize("limit", [0, 1, 3, 4, 10])
def test_no_more_is_shown_than_is_asked_for(limit: int) -> None:
    for text in ("x" * 100, "\0" * 100, b"\\" * 100):
        assert len(printable(text, limit)) <= max(limit, 3)
        assert printable(text, limit).endswith("...")


@pytest.mark.parametrize(
    ("host", "shown"),
    [("127.0.0.1", "127.0.0.1:9735"), ("::1", "[::1]:9735"), ("node.example", "node.example:9735")],
)
def test_a_host_and_its_port(host: str, shown: str) -> None:
    assert place(host, 9735) == shown


def test_the_systems_words_come_without_numbers_and_each_once() -> None:
    assert system_words(None) == "the connection broke"
    assert system_words(ValueError("as it is")) == "as it is"
    refused = ConnectionRefusedError(errno.ECONNREFUSED, "('192.0.2.1', 9735) said no")
    assert system_words(refused) == "Connection refused"
    assert system_words(socket.gaierror(socket.EAI_NONAME, "no such name")) == "no such name"
    reset = ConnectionResetError(errno.ECONNRESET, "no")
    failed = OSError("all attempts to connect failed")
    failed.__cause__ = ExceptionGroup("attempts", [refused, reset, refused])
    assert system_words(failed) == "Connection refused; Connection reset by peer"
