"""What a declared class is: a value. The bases of structures, TLV streams and messages, and their fields.

Immutable, slotted, equal by value, with keyword arguments, `encode` and `decode`. Knows of codecs that they read and
write; makes none, and makes no class.

What a peer appended that we do not know is kept and written back: unknown odd records of a TLV stream in its
`unknown`, and the extension of a message that declares no TLV stream in its `extension`.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, Self, TypeAlias, TypeVar, cast, dataclass_transform

from triolight import wire
from triolight.errors import DecodeError
from triolight.wire import Codec, TlvRecord

REQUIRED: Final = object()
"""The default of a field that has none."""
_SHOWN_BYTES: Final = 33
"""Bytes a repr shows of one value: a node id whole, a long payload by its beginning."""


class Field:
    """One declared field: its name, its codec, its default, and the TLV type if it is a record of a TLV stream."""

    __slots__ = ("codec", "default", "inner_name", "name", "tlv_type")

    def __init__(
        self, name: str, codec: Codec, default: Any, tlv_type: int | None = None, inner_name: str | None = None
    ) -> None:
        self.name = name
        self.codec = codec
        self.default = default
        self.tlv_type = tlv_type
        self.inner_name = inner_name

    @property
    def required(self) -> bool:
        """Whether it has no default."""
        return self.default is REQUIRED

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {type(self.codec).__name__})"


class Tlv:
    """In an annotation: this field is the record of that TLV type. `field` is the BOLT's name of its one value."""

    __slots__ = ("field", "type")

    def __init__(self, type: int, field: str | None = None) -> None:
        self.type = type
        self.field = field


class Structure:
    """The base of all that is declared: immutable, slotted, equal by value. Keyword arguments only."""

    __slots__ = ()
    __fields__: ClassVar[tuple[Field, ...]] = ()
    __lists__: ClassVar[bool] = False
    """Whether it can hold lists, itself or in its fields."""
    __codec__: ClassVar[Codec]

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot set {name}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"{type(self).__name__} is immutable: cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Structure) or type(self) is not type(other):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={_show(value)}"
            for field, value in zip(self.__fields__, self._values(), strict=True)
            if field.required or value != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (type(self), {field.name: getattr(self, field.name) for field in self.__fields__})

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, field.name) for field in self.__fields__])

    def encode(self) -> bytes:
        """Its bytes. ValueError naming the field that cannot be written."""
        return self.__codec__.write(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """It from its bytes, all of them. DecodeError naming the field if they are anything else."""
        try:
            value, at = cls.__codec__.read(data, 0, len(data))
            if at != len(data):
                raise DecodeError(f"{len(data) - at} bytes too many", offset=at)
        except DecodeError as error:
            raise error.within(message=bolt_name(cls)) from None
        return cast("Self", value)

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed."""
        return type(self)(**{field.name: getattr(self, field.name) for field in self.__fields__} | changes)


def _restore(cls: type[Structure], values: dict[str, Any]) -> Structure:
    return cls(**values)


def _show(value: Any) -> str:
    if isinstance(value, bytes):
        if len(value) > _SHOWN_BYTES:
            return f"<{value[:8].hex()}... {len(value)} bytes>"
        return value.hex() or "<empty>"
    if isinstance(value, tuple):
        items = cast("tuple[Any, ...]", value)  # type: ignore[redundant-cast]
        shown = ", ".join(_show(one) for one in items[:4])
        return f"({shown}, ... {len(items)} items)" if len(items) > 4 else f"({shown})"
    return repr(value)


_S = TypeVar("_S", bound=Structure)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _declared(cls: type[_S]) -> type[_S]:
    """Tells type checkers that the fields of this base are fields of what is built on it."""
    return cls


class RawRecords:
    """Records that a declaration does not know, as they stand on the wire: parsed when somebody asks for them, for
    thousands of them fit into a message, and as objects they take thirty times as much."""

    __slots__ = ("count", "data")

    def __init__(self, data: bytes, count: int) -> None:
        self.data: Final = data
        self.count: Final = count

    def parse(self) -> tuple[TlvRecord, ...]:
        records: list[TlvRecord] = []
        data = self.data

        def visit(type_: int, _start: int, value: int, stop: int) -> None:
            records.append(TlvRecord(type_, data[value:stop]))

        wire.walk_tlv_stream(data, 0, len(data), visit)
        return tuple(records)

    def up_to(self, size: int) -> RawRecords:
        """The first of them, of so many bytes together. Looks at no more than these."""
        data, at, count = self.data, 0, 0
        if len(data) <= size:
            return self
        while True:
            _, stop = wire.read_bigsize(data, at, len(data))
            length, stop = wire.read_bigsize(data, stop, len(data))
            if stop + length > size:
                return RawRecords(data[:at], count)
            at = stop + length
            count += 1


@_declared
class TlvStream(Structure):
    """The base of a declared TLV stream: each field is a record, None (or False) where it is absent."""

    __slots__ = ("_unknown",)

    if TYPE_CHECKING:  # a property is no field to a type checker
        unknown: tuple[TlvRecord, ...] = ()
        """Odd records that the declaration does not know, by increasing type. Parsed each time it is asked for."""
    else:

        @property
        def unknown(self) -> tuple[TlvRecord, ...]:
            """Records of types that are not declared, as they came."""
            held = _get_unknown(self)
            return held.parse() if isinstance(held, RawRecords) else held

        @unknown.setter
        def unknown(self, records: tuple[TlvRecord, ...] | RawRecords) -> None:
            # For what makes one; `__setattr__` stands before it.
            _set_unknown(self, records)

    @property
    def unknown_count(self) -> int:
        """How many `unknown` has."""
        held: tuple[TlvRecord, ...] | RawRecords = _get_unknown(self)
        return held.count if isinstance(held, RawRecords) else len(held)


@_declared
class Message(Structure):
    """The base of every declared message."""

    __slots__ = ("extension",)

    type: ClassVar[int] = -1
    name: ClassVar[str] = ""
    """The BOLT's name, as `channel_update`."""
    __decode__: ClassVar[Callable[[bytes], Any]]
    __encode__: ClassVar[Callable[[Any], bytes]]
    __plain__: ClassVar[int] = 0
    """Bytes up to which a message of this type cannot hold many pieces; see `pieces_of`."""
    __gossip__: ClassVar[bool] = False
    """Whether it is gossip: one that cannot be read is worth a warning and no more, for gossip never costs a
    connection."""
    __sealed__: ClassVar[bool] = False
    """Whether a stranger made it, and who sends it may only have passed it on: one that cannot be read is dropped, and
    nobody hears of it."""
    __query__: ClassVar[bool] = False
    """Whether a few bytes of it ask for a search and kilobytes of answers."""

    if TYPE_CHECKING:
        extension: bytes = b""
        """What the sender appended, kept as it was: a TLV stream (BOLT 1), or of gossip that its maker has signed any
        bytes. Empty for a message that declares its TLVs."""

    def encode(self) -> bytes:
        """The message with its two type bytes, at most 65535 bytes. ValueError naming the field that does not fit."""
        return type(self).__encode__(self)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """This message from its bytes, type included. DecodeError if it is anything else."""
        if len(data) < 2 or int.from_bytes(data[:2], "big") != cls.type:
            raise DecodeError(f"does not begin with the message type {cls.type}", message=cls.name, offset=0)
        return cast("Self", cls.__decode__(data))


class UnknownMessage:
    """A message whose type the registry does not know. Immutable; equal by value."""

    __slots__ = ("_payload", "_type")
    __lists__: ClassVar[bool] = False
    """It holds none: see `Structure`."""

    def __init__(self, type: int, payload: bytes) -> None:
        """`type` from 0 to 65535, `payload` at most 65533 bytes: ValueError otherwise."""
        if not 0 <= type <= 0xFFFF:
            raise ValueError(f"no message type: {type}")
        if len(payload) > wire.MAX_MESSAGE_LENGTH - 2:
            raise ValueError(f"a payload of {len(payload)} bytes makes too long a message")
        self._type = type
        self._payload = bytes(payload)

    @property
    def type(self) -> int:
        """The type number."""
        return self._type

    @property
    def payload(self) -> bytes:
        """What follows the two type bytes."""
        return self._payload

    @property
    def name(self) -> str:
        """``unknown_`` and the type number."""
        return f"unknown_{self._type}"

    def encode(self) -> bytes:
        """The message with its two type bytes, as it came."""
        return self._type.to_bytes(2, "big") + self._payload

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnknownMessage):
            return NotImplemented
        return self._type == other._type and self._payload == other._payload

    def __hash__(self) -> int:
        return hash((self._type, self._payload))

    def __repr__(self) -> str:
        return f"UnknownMessage(type={self._type}, payload={_show(self._payload)})"


_get_unknown: Final = vars(TlvStream)["_unknown"].__get__
_set_unknown: Final = vars(TlvStream)["_unknown"].__set__

AnyMessage: TypeAlias = Message | UnknownMessage
"""What comes and goes."""


def unknown_up_to(stream: TlvStream, size: int) -> RawRecords:
    """The first unknown records of a stream, of so many bytes together, for the `unknown` of another one."""
    held: tuple[TlvRecord, ...] | RawRecords = _get_unknown(stream)
    if not isinstance(held, RawRecords):
        held = RawRecords(wire.write_tlv_records(held), len(held))
    return held.up_to(size)


def bolt_name(cls: type[Structure]) -> str:
    """``ChannelUpdate`` as the BOLTs write it: ``channel_update``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()
