"""Writes docs/every_message.md from the declarations: `python docs/make_every_message.py`. Says nothing of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from triolight import wire
from triolight.handlers import ChannelMessageHandler, OnionMessageHandler, RoutingMessageHandler
from triolight.messages import BOLT, LSPS0, OUTSIDE, Message, Structure, TlvStream
from triolight.wire import Codec, Sequence

PAGE: Final = Path(__file__).with_name("every_message.md")
OPENING: Final = """\
# Every message

Made from the declarations in `triolight/messages/` by `docs/make_every_message.py`; a test fails when it is old.
Names are those of the BOLTs. What a type means stands in [messages.md](messages.md); sizes are bytes, `2 + n` a length
and what it counts. Every message may also carry records that nobody declared: kept in `unknown` of its TLV stream, or
in `extension` where it has none.
"""
CHAPTERS: Final = {
    "bolt1": "BOLT 1: setup, keeping alive, peer storage",
    "bolt2": "BOLT 2: channels",
    "bolt4": "BOLT 4: onion messages",
    "bolt7": "BOLT 7: gossip",
    "lsps": "Outside the BOLTs: LSPS (bLIP 50)",
}
HANDLERS: Final = (ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler)


def aliases() -> dict[int, str]:
    """The codec of each alias of `wire`, by identity, and the name of the alias."""
    found: dict[int, str] = {}
    for name, hint in vars(wire).items():
        for extra in get_args(hint)[1:]:
            if isinstance(extra, Codec) and not isinstance(extra, Sequence):
                found[id(extra)] = name
    return found


ALIASES: Final = aliases()
SEQUENCES: Final[dict[tuple[int, int | None], str]] = {
    (1, None): "array8",
    (2, None): "array16",
    (0, None): "rest",
    (0, 20): "times20",
}


def type_of(codec: Codec) -> str:
    """A codec as the declaration writes it."""
    if isinstance(codec, Sequence):
        return f"{SEQUENCES[codec.prefix, codec.count]}[{type_of(codec.item)}]"
    declared = class_of(codec)
    # The BOLTs know one kind of points: which of them are remembered is ours.
    return declared.__name__ if declared else ALIASES[id(codec)].removeprefix("fresh_")


def size_of(codec: Codec) -> str:
    """How many bytes a value takes."""
    match codec:
        case wire.Integer() | wire.FixedBytes():
            return str(codec.size)
        case wire.TruncatedInteger():
            return f"0 to {codec.size}"
        case wire.BigSizeCodec():
            return "1, 3, 5 or 9"
        case wire.ScidDirOrPubkey():
            return "9 or 33"
        case wire.PrefixedBytes():
            return "2 + n"
        case wire.Presence():
            return "0"
        case Sequence():
            return f"{codec.count} times" if codec.count else f"{codec.prefix} + n items" if codec.prefix else "n items"
        case _:
            return "n"


def class_of(codec: Codec) -> type[Structure] | None:
    if isinstance(codec, Sequence):
        return class_of(codec.item)
    found: type[Structure] | None = getattr(codec, "cls", None)
    return found


def words_of(declared: type[Structure]) -> str:
    return " ".join((declared.__doc__ or "").split())


def fields_of(declared: type[Structure]) -> Iterator[str]:
    """The table of a message's or a structure's fields."""
    rows = [field for field in declared.__fields__ if field.name not in ("extension", "unknown")]
    if not rows:
        yield "No fields."
        return
    yield from ("| field | type | bytes |", "|---|---|---|")
    for field in rows:
        yield f"| `{field.name}` | `{type_of(field.codec)}` | {size_of(field.codec)} |"


def records_of(declared: type[TlvStream]) -> Iterator[str]:
    yield from ("| TLV type | record | type | bytes |", "|---|---|---|---|")
    for field in declared.__fields__:
        if field.tlv_type is not None:
            name = f"`{field.name}`" + (f", its `{field.inner_name}`" if field.inner_name else "")
            yield f"| {field.tlv_type} | {name} | `{type_of(field.codec)}` | {size_of(field.codec)} |"


def inside(declared: type[Structure], seen: dict[type[Structure], None]) -> dict[type[Structure], None]:
    """The structures and TLV streams that a class holds, at any depth, in their order."""
    for field in declared.__fields__:
        inner = class_of(field.codec)
        if inner is not None and inner not in seen:
            seen[inner] = None
            inside(inner, seen)
    return seen


def message_lines(cls: type[Message]) -> Iterator[str]:
    yield from (f"### {cls.name} ({cls.type})", "")
    if words_of(cls):
        yield from (words_of(cls), "")
    method = f"handle_{cls.name}"
    handlers = [f"`{one.__name__}.{method}`" for one in HANDLERS if hasattr(one, method)]
    yield from (f"`{cls.__name__}`" + (f", for {' and '.join(handlers)}." if handlers else "."), "")
    yield from fields_of(cls)
    yield ""
    for inner in inside(cls, {}):
        yield from structure_lines(inner)


def structure_lines(inner: type[Structure]) -> Iterator[str]:
    yield from (f"`{inner.__name__}`" + (f": {words_of(inner)}" if words_of(inner) else ""), "")
    yield from records_of(inner) if issubclass(inner, TlvStream) else fields_of(inner)
    yield ""


def only_inside_bytes(module: str, shown: list[type[Message]]) -> list[type[Structure]]:
    """What a module declares that no message of it shows: it is inside of bytes, mostly encrypted ones."""
    seen: dict[type[Structure], None] = {}
    for cls in shown:
        inside(cls, seen)
    declared = [one for one in vars(sys.modules[f"triolight.messages.{module}"]).values() if isinstance(one, type)]
    return [
        one
        for one in declared
        if issubclass(one, Structure)
        and one.__module__.endswith(f".{module}")
        and not issubclass(one, Message)
        and one not in seen
    ]


def page() -> str:
    lines = [OPENING]
    everything: list[type[Message]] = [*BOLT, LSPS0]
    for module, title in CHAPTERS.items():
        here = sorted((cls for cls in everything if cls.__module__.endswith(f".{module}")), key=by_type)
        lines += [f"## {title}", ""]
        for cls in here:
            lines += message_lines(cls)
        rest = only_inside_bytes(module, here)
        if rest:
            lines += ["### Inside encrypted bytes", ""]
            lines += ["Each has a `decode` and an `encode` of its own.", ""]
            for one in rest:
                lines += structure_lines(one)
    lines += ["## Names of types outside the BOLTs", "", "Not decoded; the odd/even rule holds for them.", ""]
    lines += ["| type | name | where |", "|---|---|---|"]
    lines += [f"| {one.type} | {one.name} | {one.where} |" for one in OUTSIDE.values()]
    return "\n".join(lines) + "\n"


def by_type(cls: type[Message]) -> int:
    return cls.type


if __name__ == "__main__":
    PAGE.write_text(page())
    sys.stdout.write(f"{PAGE.name}: {len(BOLT)} messages of the BOLTs\n")
