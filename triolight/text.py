"""Words for people: what a stranger wrote, where a host is, what the system says of an error. Decides nothing.

Whatever a peer, a seed or a proxy contributed to a text that is shown or sent on goes through `printable`, once: what
went through it already is `quoted` without a second escape, and `for_terminal` leaves its backslashes alone.
"""

from __future__ import annotations

import codecs
import os
import socket
import ssl
from typing import Final, cast

MAX_PEER_TEXT: Final = 512
"""Characters kept of text that a peer sent us. Longer text only serves to bloat logs (LDK keeps 512 too)."""


def printable(text: bytes | str, limit: int = MAX_PEER_TEXT, *, escaped: bool = False) -> str:
    """Text of a stranger as printable ASCII of at most `limit` characters.

    BOLT 1 forbids to print an error's data verbatim unless every byte is in 32..126: what is not, comes out as
    ``\\xNN`` (or ``\\uNNNN``), a backslash doubled, and what is too long ends in ``...``. `escaped`: parts of it have
    been through this already, so that a backslash is an escape's, and stays as it is.
    """
    # No more than `limit` source characters can show, so that a 64 KiB text costs no more than a short one.
    source = text[: limit + 1]
    decoded = source.decode("latin-1") if isinstance(source, bytes) else source
    shown = "".join(
        ("\\\\" if character == "\\" and not escaped else character)
        if " " <= character <= "~"
        else character.encode("unicode_escape").decode("ascii")
        for character in decoded
    )
    if len(text) > limit or len(shown) > limit:
        return shown[: max(0, limit - 3)] + "..."
    return shown


def quoted(text: bytes | str, limit: int = MAX_PEER_TEXT) -> str:
    """Text of a stranger as `printable` shows it, between quotes. (`repr` would escape it once more.)"""
    return f"'{printable(text, limit)}'"


def for_terminal(text: str) -> str:
    """One line for people, without what a terminal would obey: each character that is not printable is escaped.

    Of Unicode as well as of ASCII. Backslashes stay: whatever came from a stranger has been escaped where it came in.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text
    )


def place(host: str, port: int) -> str:
    """A host and a port as they are written together: IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_mark(content: bytes) -> bytes:
    """What a text file begins with, without the byte order mark that some editors put there: it is no content."""
    return content.removeprefix(codecs.BOM_UTF8)


def system_words(error: BaseException | None) -> str:
    """The system's words for an error, without its numbers and without the address that some texts repeat.

    A dial that failed has an error for each address, in a group behind its cause: all of their words, each once.
    """
    if error is None:
        return "the connection broke"
    cause = error.__cause__
    if isinstance(cause, BaseExceptionGroup):
        inner = cast("BaseExceptionGroup[BaseException]", cause).exceptions
        return "; ".join(sorted({system_words(one) for one in inner}))
    if isinstance(error, OSError) and error.errno and not isinstance(error, socket.gaierror | ssl.SSLError):
        # Trio's own text for a failed dial repeats the address in numbers.
        return os.strerror(error.errno)
    return getattr(error, "strerror", None) or str(error)
