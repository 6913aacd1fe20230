"""The vectors of messages, and values as vectors write them. No test here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triolight import wire
from triolight.messages import Structure, TlvStream

FOLDER = Path(__file__).parent.parent / "vectors"
BOLT1: dict[str, Any] = json.loads((FOLDER / "bolt1_vectors.json").read_text())
BOLT7: dict[str, Any] = json.loads((FOLDER / "bolt7_vectors.json").read_text())
ONION: dict[str, Any] = json.loads((FOLDER / "onion_message_vectors.json").read_text())
MESSAGES: dict[str, Any] = json.loads((FOLDER / "message_vectors.json").read_text())
REAL = [(kind, bytes.fromhex(case["bytes"]), case) for kind, cases in BOLT7["real"].items() for case in cases]


def plain(value: Any) -> Any:
    """A value as the vectors write it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, wire.ShortChannelId):
        return str(value)
    if isinstance(value, Structure):
        return {field.name: plain(getattr(value, field.name)) for field in value.__fields__}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value


def hexed(value: Any) -> Any:
    """As the vectors of messages write it: a short_channel_id in hex."""
    return f"{value:016x}" if isinstance(value, wire.ShortChannelId) else plain(value)


def records_of(stream: TlvStream) -> list[list[Any]]:
    """A stream as the vectors write it: type, name and fields of each record; of an unknown one its bytes."""
    found: list[list[Any]] = [[type_, None, value.hex()] for type_, value in stream.unknown]
    for field in stream.__fields__:
        value = getattr(stream, field.name)
        if field.tlv_type is None or value is None or value is False:
            continue
        if value is True:
            shown = {}
        elif isinstance(value, Structure):
            shown = {inner.name: hexed(getattr(value, inner.name)) for inner in value.__fields__}
        else:
            shown = {field.inner_name or field.name: hexed(value)}
        found.append([field.tlv_type, field.name, shown])
    return sorted(found, key=lambda record: record[0])


TAILS = ("channel_announcement: trailing byte 01", "channel_announcement: extension with unknown even record 2")
"""What the names of two malformed messages begin with: by BOLT 1 malformed, and kept, for their makers signed them."""
