"""``triolight decode`` and ``triolight encode``: messages between bytes, a readable tree, and JSON. No peer in sight.

What cannot be decoded is named on stderr with its place, and the rest goes on.
"""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import click

from triolight.as_json import from_json, json_schema, read_json, to_json
from triolight.cli.exits import Exit, cannot_write
from triolight.cli.group import command
from triolight.cli.options import FILE_OR_DASH, secret_option
from triolight.cli.output import progress, redraw, say, write_nowhere
from triolight.cli.pieces import Input, Piece, from_hex, pieces
from triolight.cli.tree import MESSAGES, tree
from triolight.errors import DecodeError
from triolight.messages import Message, UnknownMessage

if TYPE_CHECKING:
    from triolight.keys import SecretKey

MAX_JSON_LINE: Final = 4 * 1024 * 1024
"""Characters of a message as JSON. The largest are lists of tiny records: 20 characters for each of their bytes."""
OPENED: Final = "opened"
"""What `decode --json` adds to a message, and `encode` passes over."""
PROGRESS_SECONDS: Final = 0.2
PROGRESS_EVERY: Final = 256


def _key_of(secret_file: Path) -> SecretKey:
    from triolight.cli.node import read_secret  # with the manager, which decoding does without
    from triolight.keys import SecretKey

    return SecretKey(read_secret(secret_file))


def _opened(key: SecretKey, message: Message | UnknownMessage) -> list[dict[str, Any]] | None:
    from triolight.cli.opened import opened  # with all onions, as above

    return opened(key, message)


class Progress:
    """How far it is, on a terminal's stderr; nothing anywhere else, nor where the data goes to the same terminal."""

    def __init__(self, source: Input) -> None:
        self._source = source
        self._on = sys.stderr is not None and sys.stderr.isatty() and not sys.stdout.isatty()
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
        redraw(f"\r{words}")

    def clear(self) -> None:
        """Before something else is written where it stands."""
        if self._on:
            redraw("\r\x1b[K")

    def finish(self) -> None:
        if self._on:
            self._show()
            redraw("\n")


def _convert(source: Input, one: Callable[[Piece], str | bytes], found: Iterator[Piece], newline: str) -> int:
    """Does `one` to each piece and writes what it gives; how many could not be done."""
    shown = Progress(source)
    failed = 0
    out = sys.stdout.buffer
    try:
        for piece in found:
            shown.step()
            try:
                if piece.problem:
                    raise ValueError(piece.problem)
                done = one(piece)
            except (ValueError, DecodeError) as error:
                failed += 1
                shown.clear()
                progress(f"{piece.place}: {error}")
                continue
            out.write(done if isinstance(done, bytes) else f"{done}{newline}".encode())
        out.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        write_nowhere(sys.stdout)
        raise cannot_write(error, or_read=True) from None
    finally:
        shown.finish()
        source.close()
    return failed


@command("decode", Exit.OK, Exit.USAGE, Exit.PROTOCOL, Exit.HUNG_UP, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("file", type=FILE_OR_DASH, required=False)
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
@secret_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; `encode` makes the same bytes of it.")
@click.option("--schema", is_flag=True, help="Print the JSON Schema of what --json prints, and do nothing else.")
@click.pass_context
def decode(
    ctx: click.Context,
    file: Path | None,
    format_: str,
    given: str | None,
    secret_file: Path | None,
    as_json: bool,
    schema: bool,
) -> None:
    """Show the messages in FILE, or in standard input: decrypted ones, the two type bytes first.

    With --secret-file onions are opened as the node of that secret would, layer after layer: those of onion_message and
    of update_add_htlc. JSON has it as "opened", which is no part of the message; a layer that is not for this node says
    so. What cannot be decoded is named on stderr; the rest is shown all the same, and the exit code is 5.
    """
    if schema:
        say(json.dumps(json_schema(MESSAGES), indent=2))
        return
    if given is not None and file is not None:
        raise click.UsageError("--hex and FILE are two inputs")

    key = None if secret_file is None else _key_of(secret_file)

    def one(piece: Piece) -> str:
        message = MESSAGES.decode(piece.data)
        layers = None if key is None else _opened(key, message)
        if not as_json:
            return tree(message, len(piece.data), layers)
        return json.dumps(to_json(message) | ({} if layers is None else {OPENED: layers}))

    if given is not None:
        try:
            data = from_hex(given.encode())
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--hex") from None
        try:
            say(one(Piece("", data)))
        except DecodeError as error:
            progress(str(error))
            ctx.exit(Exit.PROTOCOL)
        return
    source = Input(file)
    if _convert(source, one, pieces(source, format_), "\n"):
        ctx.exit(Exit.PROTOCOL)


@command("encode", Exit.OK, Exit.USAGE, Exit.PROTOCOL, Exit.INTERRUPTED, Exit.BROKEN_PIPE)
@click.argument("file", type=FILE_OR_DASH, required=False)
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

    It takes what `decode --schema` says, if its points are on the curve, the TLV records of a stream of different
    types, and its bytes no more than 65,535. A name that stands in an object twice is refused. What is no message is
    named on stderr; the rest is written all the same, and the exit code is 5.
    """
    source = Input(file)

    def read() -> Iterator[Piece]:
        for number, line in source.lines(MAX_JSON_LINE):
            problem = "longer than a message can be" if line is None else ""
            yield Piece(f"line {number}", line or b"", problem)

    def one(piece: Piece) -> str | bytes:
        try:
            text = piece.data.decode()
        except UnicodeDecodeError as error:
            raise ValueError(f"no UTF-8 at byte {error.start}") from None
        value = read_json(text)
        if isinstance(value, dict):
            cast("dict[str, Any]", value).pop(OPENED, None)
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

    if _convert(source, one, read(), "\n"):
        ctx.exit(Exit.PROTOCOL)
