"""Weight: what a message costs to make and to hold, beyond its bytes on the wire. Looks at values; changes none.

* `pieces_of`: how many objects were made of it, for the allowance and the turn.
* `held_bytes`: what it takes in memory, for everything that buffers messages; nothing else may guess. It counts at
  least half of what the process grows by.
* `hold`: one of many pieces waits as its bytes, which take no more than themselves, and is decoded again by `give`.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias, cast

from triolight.messages.structures import AnyMessage, Message, Structure, TlvStream, UnknownMessage

MESSAGE_OVERHEAD: Final = 512
"""Bytes counted for each message that is held besides its own, so that a bound on bytes bounds objects too."""
ITEM_OVERHEAD: Final = 128
"""Bytes counted for each item of a list besides its own: an object, its fields, and its place in a tuple."""
FEW_ITEMS: Final = 16
"""A message of more items is held as its bytes: they would take more than MESSAGE_OVERHEAD several times over."""


class Encoded(NamedTuple):
    """A message that waits as its bytes, and the class that reads them."""

    cls: type[Message]
    data: bytes


Held: TypeAlias = Message | UnknownMessage | Encoded
"""A message as it waits."""


def pieces_of(value: Structure) -> int:
    """How many items of lists, and records that nobody knows, a message holds: each of them costs, while bytes are only
    cut out. An extension, which is kept as bytes, counts as the most that it could hold."""
    count = value.unknown_count if isinstance(value, TlvStream) else 0
    for field in value.__fields__:
        if field.name == "unknown":
            continue
        one = getattr(value, field.name)
        if field.name == "extension":
            count += len(one) // 2
        elif isinstance(one, tuple):
            count += len(cast("tuple[Any, ...]", one))  # type: ignore[redundant-cast]
        elif isinstance(one, Structure):
            count += pieces_of(one)
    return count


def items_of(value: Structure) -> int:
    """How many items of lists it holds, those of its items' lists included. Unknown records are none: they are kept as
    bytes."""
    count = 0
    for field in value.__fields__:
        if field.name == "unknown":
            continue
        one = getattr(value, field.name)
        if isinstance(one, tuple):
            items = cast("tuple[Any, ...]", one)  # type: ignore[redundant-cast]
            count += len(items)
            if items and isinstance(items[0], Structure) and items[0].__lists__:
                count += sum(map(items_of, items))
        elif isinstance(one, Structure) and one.__lists__:
            count += items_of(one)
    return count


def held_bytes(message: Held, size: int) -> int:
    """What a message of so many bytes on the wire costs to hold as it is."""
    if isinstance(message, Message) and message.__lists__:
        return MESSAGE_OVERHEAD + size + ITEM_OVERHEAD * items_of(message)
    return MESSAGE_OVERHEAD + size


def hold(message: AnyMessage, data: bytes) -> Held:
    """A message as it is to wait; `data` is it as it came."""
    if isinstance(message, Message) and message.__lists__ and items_of(message) > FEW_ITEMS:
        return Encoded(type(message), data)
    return message


def give(held: Held) -> AnyMessage:
    """The message again. Equal to what it was; another object if it has many pieces."""
    return held.cls.decode(held.data) if isinstance(held, Encoded) else held
