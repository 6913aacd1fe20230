"""JSON lines: a signed message a line, with its fields for people and its bytes in `raw`. Read from `raw` alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final, cast

from triolight.as_json import to_json
from triolight.errors import DecodeError
from triolight.gossip.formats.items import Damaged, Item, Signed
from triolight.gossip.formats.places import is_obsolete, problem
from triolight.messages import BOLT
from triolight.text import without_mark

MAX_LINE: Final = 1024 * 1024
"""Bytes of a line: a message of 65,535 bytes takes 131,070 in `raw`, and as many in its fields."""


def read_jsonl(stream: BinaryIO) -> Iterator[Item]:
    """The messages of its lines. A line that has none is named, by the byte where it begins."""
    offset = 0
    while True:
        line = stream.readline(MAX_LINE)
        if not line:
            return
        at, offset = offset, offset + len(line)
        if len(line) == MAX_LINE and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(MAX_LINE)
                offset += len(line)
            yield Damaged(at, f"a line of more than {MAX_LINE} bytes")
            continue
        line = (line if at else without_mark(line)).strip()
        if not line:
            continue
        try:
            raw = _raw_of(line)
        except ValueError as error:
            yield Damaged(at, str(error))
            continue
        if not is_obsolete(raw):
            yield Signed(at, raw)


def _raw_of(line: bytes) -> bytes:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON: {error}") from None
    given = cast("dict[str, object]", value).get("raw") if isinstance(value, dict) else None
    if not isinstance(given, str):
        raise ValueError("no object with a text `raw`")
    try:
        raw = bytes.fromhex(given)
    except ValueError:
        raise ValueError("`raw` is no hex") from None
    why = problem(raw)
    if why and not is_obsolete(raw):
        raise ValueError(why)
    return raw


def write_jsonl(messages: Iterable[bytes]) -> Iterator[bytes]:
    """A line for each message."""
    for raw in messages:
        try:
            fields = to_json(BOLT.decode(raw))
        except DecodeError:
            fields = {}
        yield json.dumps({**fields, "raw": raw.hex()}).encode() + b"\n"
