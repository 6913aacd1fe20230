"""Which messages there are: a value, never a place where classes enter themselves. And classes for types of others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache, partial
from operator import index
from types import new_class
from typing import Any, Final, cast

from triolight import wire
from triolight.errors import DecodeError
from triolight.messages.declare import give_decoder, message
from triolight.messages.structures import Message, UnknownMessage


class Registry:
    """Which message types there are: a value. ``BOLT | {LSPS0}`` is another one, and neither is changed."""

    __slots__ = ("_by_name", "_by_type", "_decoders")

    def __init__(self, messages: Iterable[type[Message]] = ()) -> None:
        """ValueError for two messages with one type, or with one name: statistics, JSON and handlers go by it."""
        by_type: dict[int, type[Message]] = {}
        by_name: dict[str, type[Message]] = {}
        for cls in messages:
            if cls.type < 0:
                raise TypeError(f"{cls.__name__} is not declared with @message")
            other = by_type.setdefault(cls.type, cls)
            if other is not cls:
                raise ValueError(f"message type {cls.type} is both {other.__name__} and {cls.__name__}")
            other = by_name.setdefault(cls.name, cls)
            if other is not cls:
                raise ValueError(f"{cls.name} is both message type {other.type} and {cls.type}")
        if "unknown" in by_name:
            raise ValueError("no message can be called unknown: that is what messages without a name are called")
        self._by_type: Final = by_type
        self._by_name: Final = by_name
        self._decoders: Final[dict[int, Callable[[bytes], Any]]] = {}
        for cls in by_type.values():
            give_decoder(cls, partial(self._decode_with, cls.type))

    def _decode_with(self, type_: int, decode: Callable[[bytes], Any]) -> None:
        self._decoders[type_] = decode

    def __or__(self, others: Iterable[type[Message]]) -> Registry:
        return Registry([*self._by_type.values(), *others])

    __ror__ = __or__

    def __contains__(self, what: object) -> bool:
        """Whether a message class, or a type number, is registered."""
        if isinstance(what, int):
            return what in self._by_type
        return what in self._by_type.values()

    def __iter__(self) -> Iterator[type[Message]]:
        return iter(self._by_type.values())

    def __len__(self) -> int:
        return len(self._by_type)

    def __repr__(self) -> str:
        return f"<Registry of {len(self)} messages>"

    def get(self, type: int) -> type[Message] | None:
        """The class of a type number, None if it is unknown here."""
        return self._by_type.get(type)

    def named(self, name: str) -> type[Message] | None:
        """The class of a BOLT's name, as `channel_update`; None if it is unknown here."""
        return self._by_name.get(name)

    def decode(self, data: bytes) -> Message | UnknownMessage:
        """A message from its bytes, the two type bytes included. A type that is not registered, odd or even, gives an
        UnknownMessage. Raises DecodeError if the bytes are too few for a type, or are not that type's message."""
        if len(data) < 2:
            raise DecodeError(f"a message of {len(data)} bytes holds no type", offset=0)
        type_ = data[0] << 8 | data[1]
        decode = self._decoders.get(type_)
        return UnknownMessage(type_, data[2:]) if decode is None else cast("Message", decode(data))


def opaque(types: Iterable[int]) -> Registry:
    """Classes for message types that keep what follows the type in `payload`, as bytes: ``BOLT | opaque([40001])`` lets
    through what somebody else will read. For one type it is the same class each time.

    ValueError for a number that is no message type, TypeError for what is no number.
    """
    return Registry([_opaque(index(type_)) for type_ in dict.fromkeys(types)])


@cache
def _opaque(type_: int) -> type[Message]:
    # As many as there are types, at the most; without the memory, messages of two registries would not be equal.
    declare = message(type_)
    return declare(cast("type[Message]", new_class(f"Message{type_}", (Message,), exec_body=_only_payload)))


def _only_payload(body: dict[str, Any]) -> None:
    body["__annotations__"] = {"payload": wire.remainder}
    body["__module__"] = __name__
