"""A message for people: a line for each field, and what it means where that is known. Reads and writes nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final, cast

from triolight.address import read_addresses, readable
from triolight.as_json import to_json
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
from triolight.text import printable, quoted

SHOWN_ITEMS: Final = 20
"""Items of a list, and records of a stream, that the tree shows of one field. JSON shows all."""

MESSAGES: Final[Registry] = BOLT | {LSPS0}
"""What the command knows."""


def tree(message: Message | UnknownMessage, size: int, opened: list[dict[str, Any]] | None = None) -> str:
    """A message for people: a line for each field, what the field means where that is known, and what was `opened`."""
    if isinstance(message, UnknownMessage):
        head = f"unknown message, {describe_type(message.type)}, {size} bytes"
        return f"{head}\n  payload: {message.payload.hex() or '(empty)'}"
    lines = [f"{message.name} ({message.type}), {size} bytes{_signed(message)}"]
    found = to_json(message)
    del found["message"], found["type"]
    for name, value in found.items():
        _show(lines, 1, name, value, _note(message, name))
    for layer in opened or ():
        _show(lines, 1, "opened", {name: value for name, value in layer.items() if name != "next_message"})
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
        return quoted(value, 80)
    return ""
