"""``triolight decode`` and ``triolight encode``: messages between bytes, a readable tree, and JSON. No peer in sight.

Both stream: one message is held at a time, whatever the input's length, and a line that cannot be a message is not read
in whole. What cannot be decoded is named on stderr with its place, and the rest goes on.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, TextIO, cast

import click

from triolight.address import read_addresses, readable
from triolight.as_json import from_json, json_schema, to_json
from triolight.errors import DecodeError
from triolight.features import Features
from triolight.gossip import display_alias, verify_announcement
from triolight.messages import (
    BOLT,
    LSPS0,
    ChannelAnnouncement,
    Message,
    NodeAnnouncement,
    Registry,
    UnknownMessage,
    describe_type,
)
from triolight.text import printable
from triolight.wire import MAX_MESSAGE_LENGTH

NOT_DECODED: Final = 5
"""The exit code of the command: as for a peer that breaks the protocol."""
MAX_LINE: Final = 2 * MAX_MESSAGE_LENGTH + 2
"""Characters of a line of hex; base64 is shorter."""
MAX_JSON_LINE: Final = 4 * 1024 * 1024
"""Characters of a message as JSON. The largest are lists of tiny records: 20 characters for each of their bytes."""
PROGRESS_SECONDS: Final = 0.2
PROGRESS_EVERY: Final = 256
SHOWN_ITEMS: Final = 20
"""Items of a list, and records of a stream, that the tree shows of one field. JSON shows all."""

MESSAGES: Final[Registry] = BOLT | {LSPS0}


@dataclass(frozen=True, slots=True)
class Piece:
    """One message of the input, not looked at yet."""

    place: str
    """For people: the line, or the byte where it begins."""
    data: bytes
    problem: str = ""
    """Why there is no data."""


# ---------------------------------------------------------------------------------------------------------------------
# Input


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
                raise click.BadParameter(f"{path}: {error.strerror}", param_hint="FILE") from None
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
            line = self._file.readline(limit + 2)
            if not line:
                return
            number += 1
            self.done += len(line)
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


def _from_hex(line: bytes) -> bytes:
    try:
        return binascii.unhexlify(line)
    except binascii.Error as error:
        raise ValueError(f"no hex: {error}") from None


def _from_base64(line: bytes) -> bytes:
    try:
        return base64.b64decode(line, validate=True)
    except binascii.Error as error:
        raise ValueError(f"no base64: {error}") from None


_READINGS: Final[dict[str, Callable[[bytes], bytes]]] = {"hex": _from_hex, "base64": _from_base64}


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


class Progress:
    """How far it is, on a terminal's stderr; nothing anywhere else, nor where the data goes to the same terminal."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._on = sys.stderr.isatty() and not sys.stdout.isatty()
        self._count = 0
        self._next = 0.0

    def step(self) -> None:
        self._count += 1
        if self._on and self._count % PROGRESS_EVERY == 0 and time.monotonic() >= self._next:
            self._next = time.monotonic() + PROGRESS_SECONDS
            self._show()

    def _show(self) -> None:
        words = f"{self._count:,} messages"
        if self._source.total:
            part = min(1.0, self._source.done / self._source.total)
            bar = "#" * round(30 * part)
            words = f"[{bar:<30}] {part:4.0%}  {words}"
        click.echo(f"\r{words}", err=True, nl=False)

    def clear(self) -> None:
        """Before something else is written where it stands."""
        if self._on:
            click.echo("\r\x1b[K", err=True, nl=False)

    def finish(self) -> None:
        if self._on:
            self._show()
            click.echo("", err=True)


# ---------------------------------------------------------------------------------------------------------------------
# The tree


def tree(message: Message | UnknownMessage, size: int) -> str:
    """A message for people: a line for each field, and what the field means where that is known."""
    if isinstance(message, UnknownMessage):
        head = f"unknown message, {describe_type(message.type)}, {size} bytes"
        return f"{head}\n  payload: {message.payload.hex() or '(empty)'}"
    lines = [f"{message.name} ({message.type}), {size} bytes{_signed(message)}"]
    found = to_json(message)
    del found["message"], found["type"]
    for name, value in found.items():
        _show(lines, 1, name, value, _note(message, name))
    return "\n".join(lines)


def _show(lines: list[str], depth: int, name: str, value: Any, note: str = "") -> None:
    indent = "  " * depth
    comment = f"  # {note}" if note else ""
    if isinstance(value, dict):
        lines.append(f"{indent}{name}:{comment}")
        for inner, one in cast("dict[str, Any]", value).items():
            _show(lines, depth + 1, inner, one)
    elif isinstance(value, list):
        items = cast("list[Any]", value)  # type: ignore[redundant-cast]
        lines.append(f"{indent}{name}: {len(items)} item{'' if len(items) == 1 else 's'}{comment}")
        for at, one in enumerate(items[:SHOWN_ITEMS]):
            _show(lines, depth + 1, str(at), one)
        if len(items) > SHOWN_ITEMS:
            lines.append(f"{indent}  ... {len(items) - SHOWN_ITEMS} more")
    else:
        shown = "(empty)" if value == "" else "yes" if value is True else str(value)
        lines.append(f"{indent}{name}: {shown}{comment}")


def _signed(message: Message) -> str:
    """Announcements that carry the keys they are signed with say whether they are."""
    if isinstance(message, ChannelAnnouncement | NodeAnnouncement):
        return ", signed" if verify_announcement(message) else ", NOT validly signed"
    return ""


def _note(message: Message, name: str) -> str:
    value = getattr(message, name)
    if name in ("features", "globalfeatures") and value:
        return printable(Features.from_bytes(value).listed(SHOWN_ITEMS), 400)
    if name == "alias":
        return repr(display_alias(value))
    if name == "addresses":
        try:
            return ", ".join(map(readable, read_addresses(value)))
        except DecodeError as error:
            return str(error)
    if name in ("timestamp", "first_timestamp"):
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    if name in ("data", "payload") and value:
        return repr(printable(value, 80))
    return ""


# ---------------------------------------------------------------------------------------------------------------------
# Commands

_FILE: Final = click.Path(dir_okay=False, path_type=Path, allow_dash=True)


def _run(source: Input, one: Callable[[Piece], str | bytes], found: Iterator[Piece], newline: str) -> int:
    """Does `one` to each piece and writes what it gives; how many could not be done."""
    progress = Progress(source)
    failed = 0
    out = sys.stdout.buffer
    try:
        for piece in found:
            progress.step()
            try:
                if piece.problem:
                    raise ValueError(piece.problem)
                done = one(piece)
            except (ValueError, DecodeError) as error:
                failed += 1
                progress.clear()
                click.echo(f"{piece.place}: {error}", err=True)
                continue
            out.write(done if isinstance(done, bytes) else f"{done}{newline}".encode())
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        write_nowhere(sys.stdout)
        raise CannotWrite(f"cannot read or write: {error.strerror}") from None
    finally:
        progress.finish()
        source.close()
    return failed


class CannotWrite(click.ClickException):
    """The output, for a reason that is not its reader's."""

    exit_code = 2


def write_nowhere(*streams: TextIO) -> None:
    """What waits in their buffers would be tried, and complained about, once more at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


@click.command
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["auto", "hex", "base64", "binary", "lengths"]),
    default="auto",
    show_default=True,
    help="auto: a message a line, each hex or base64. binary: all of it is one message. "
    "lengths: each message behind its length in two bytes, big-endian.",
)
@click.option("--hex", "given", metavar="HEX", help="Decode this message instead of a file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; `encode` makes the same bytes of it.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of what --json prints, and do nothing else.")
@click.pass_context
def decode(ctx: click.Context, file: Path | None, format_: str, given: str | None, as_json: bool, schema: bool) -> None:
    """Show the messages in FILE, or in standard input: decrypted ones, the two type bytes first.

    What cannot be decoded is named on stderr; the rest is shown all the same, and the exit code is 5.
    """
    if schema:
        click.echo(json.dumps(json_schema(MESSAGES), indent=2))
        return
    if given is not None and file is not None:
        raise click.UsageError("--hex and FILE are two inputs")

    def one(piece: Piece) -> str:
        message = MESSAGES.decode(piece.data)
        return json.dumps(to_json(message)) if as_json else tree(message, len(piece.data))

    if given is not None:
        try:
            data = _from_hex(given.encode())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--hex") from None
        try:
            click.echo(one(Piece("", data)))
        except DecodeError as error:
            click.echo(str(error), err=True)
            ctx.exit(NOT_DECODED)
        return
    source = Input(file)
    if _run(source, one, pieces(source, format_), "\n"):
        ctx.exit(NOT_DECODED)


@click.command
@click.argument("file", type=_FILE, required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["hex", "base64", "binary", "lengths"]),
    default="hex",
    show_default=True,
    help="How the messages are written: see decode. binary: one after the other, without anything between.",
)
@click.pass_context
def encode(ctx: click.Context, file: Path | None, format_: str) -> None:
    """Write the messages that FILE, or standard input, has as JSON, one object a line, as `decode --json` prints them.

    What is no message is named on stderr; the rest is written all the same, and the exit code is 5.
    """
    source = Input(file)

    def read() -> Iterator[Piece]:
        for number, line in source.lines(MAX_JSON_LINE):
            problem = "longer than a message can be" if line is None else ""
            yield Piece(f"line {number}", line or b"", problem)

    def one(piece: Piece) -> str | bytes:
        try:
            value = json.loads(piece.data)
        except RecursionError:
            raise ValueError("no message is nested so deeply") from None
        data = from_json(value, MESSAGES).encode()
        match format_:
            case "hex":
                return data.hex()
            case "base64":
                return base64.b64encode(data).decode()
            case "lengths":
                return len(data).to_bytes(2, "big") + data
            case _:
                return data

    if _run(source, one, read(), "\n"):
        ctx.exit(NOT_DECODED)
