"""What `decode` and `encode` are given, message by message: from a file or a pipe, in hex, base64 or bytes.

One message is held at a time, whatever the input's length, and a line that cannot be a message is not read in whole.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import os
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import click

from triolight.cli.exits import cannot_use
from triolight.cli.tree import MESSAGES
from triolight.errors import DecodeError
from triolight.messages import UnknownMessage
from triolight.text import without_mark
from triolight.wire import MAX_MESSAGE_LENGTH

MAX_LINE: Final = 2 * MAX_MESSAGE_LENGTH + 2
"""Characters of a line of hex; base64 is shorter."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of the input, not looked at yet."""

    place: str
    """For people: the line, or the byte where it begins."""
    data: bytes
    problem: str = ""
    """Why there is no data."""


class Input:
    """A file or standard input, and how far it was read."""

    def __init__(self, path: Path | None) -> None:
        self.total: int | None = None
        self.done = 0
        self._ours = False
        if path is None or str(path) == "-":
            if sys.stdin is None:
                raise click.UsageError("standard input is closed")
            self._file: IO[bytes] = sys.stdin.buffer
        else:
            try:
                self._file = path.open("rb")
            except OSError as error:
                raise cannot_use(path, error, "FILE") from None
            self._ours = True
            status = os.fstat(self._file.fileno())
            if stat.S_ISREG(status.st_mode):
                self.total = status.st_size

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self.done += len(data)
        return data

    def lines(self, limit: int) -> Iterator[tuple[int, bytes | None]]:
        """Number and content of each line that is not empty; None for one that is longer than `limit`."""
        number = 0
        while True:
            line = self._file.readline(limit + 2 if number else limit + 2 + len(codecs.BOM_UTF8))
            if not line:
                return
            number += 1
            self.done += len(line)
            if number == 1:
                line = without_mark(line)
            if len(line) > limit and not line.endswith(b"\n"):
                while line and not line.endswith(b"\n"):
                    line = self._file.readline(limit)
                    self.done += len(line)
                yield number, None
                continue
            line = line.strip()
            if line:
                yield number, line

    def close(self) -> None:
        if self._ours:
            self._file.close()


class _Text:
    """Lines of hex or base64 as bytes. With `auto`, whichever of the two a line can be; where it can be both, or is
    neither's known message, as what came before it."""

    def __init__(self, format: str) -> None:
        self._format = format
        self._seen = ""

    def bytes_of(self, line: bytes) -> bytes:
        """ValueError if it is not what it shall be."""
        if self._format != "auto":
            return _READINGS[self._format](line)
        found: dict[str, bytes] = {}
        for name, read in _READINGS.items():
            try:
                found[name] = read(line)
            except ValueError:
                continue
            if _is_known(found[name]):
                self._seen = name
                return found[name]
        if self._seen in found:
            return found[self._seen]
        if not found or self._seen:
            raise ValueError("neither hex nor base64" + (f", and {self._seen} before it" if found else ""))
        return next(iter(found.values()))


def from_hex(line: bytes) -> bytes:
    try:
        return binascii.unhexlify(line)
    except binascii.Error as error:
        raise ValueError(f"no hex: {error}") from None


def _from_base64(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None


_READINGS: Final[dict[str, Callable[[bytes], bytes]]] = {"hex": from_hex, "base64": _from_base64}


def _is_known(data: bytes) -> bool:
    try:
        return not isinstance(MESSAGES.decode(data), UnknownMessage)
    except DecodeError:
        return False


def pieces(source: Input, format: str) -> Iterator[Piece]:
    """The messages of the input, one after the other."""
    if format == "binary":
        data = source.read(MAX_MESSAGE_LENGTH + 1)
        if len(data) > MAX_MESSAGE_LENGTH:
            yield Piece("byte 0", b"", f"longer than a message can be, {MAX_MESSAGE_LENGTH} bytes")
        else:
            yield Piece("byte 0", data)
        return
    if format == "lengths":
        while True:
            at = source.done
            head = source.read(2)
            if not head:
                return
            size = int.from_bytes(head, "big")
            data = source.read(size)
            if len(head) < 2 or len(data) < size:
                yield Piece(f"byte {at}", b"", "the input ends inside a message")
                return
            yield Piece(f"byte {at}", data)
    text = _Text(format)
    for number, line in source.lines(MAX_LINE):
        if line is None:
            yield Piece(f"line {number}", b"", "longer than a message can be")
            continue
        try:
            yield Piece(f"line {number}", text.bytes_of(line))
        except ValueError as error:
            yield Piece(f"line {number}", b"", str(error))
