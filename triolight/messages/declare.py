"""Declare a message as a class body, compile its codec once. Knows the wire, but no message.

::

    @message(18)
    class Ping(Message):
        num_pong_bytes: wire.u16
        ignored: wire.bytes16

makes an immutable, slotted class, equal by value, with keyword arguments, `encode` and a compiled decoder. Nothing is
registered anywhere: registries are values (`Registry`), put together with ``|``.

What a peer appended that we do not know is kept and written back: unknown odd records of a TLV stream in its
`unknown`, and the extension of a message that declares no TLV stream in its `extension`.
"""

from __future__ import annotations

import builtins
import inspect
import re
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    ClassVar,
    Final,
    NoReturn,
    Self,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from triolight import wire
from triolight.errors import DecodeError
from triolight.wire import Codec, TlvRecord

_REQUIRED: Final = object()
_CHECKED_BY_SIZE: Final = (wire.Integer.check, wire.FixedBytes.check)
"""What these ask of a value, struct asks too."""
_FEW_PIECES_BYTES: Final = 64
"""What is longer than its fixed fields by no more than this cannot hold many items or records."""
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
        return self.default is _REQUIRED

    def __repr__(self) -> str:
        return f"Field({self.name!r}, {type(self.codec).__name__})"


class Record:
    """In an annotation: this field is the record of that TLV type. `field` is the BOLT's name of its one value."""

    __slots__ = ("field", "type")

    def __init__(self, type: int, field: str | None = None) -> None:
        self.type = type
        self.field = field


class _Refused(Exception):
    """The compiled fast path saw something wrong; the slow path will say what."""


class Structure:
    """The base of all that is declared: immutable, slotted, equal by value. Keyword arguments only."""

    __slots__ = ()
    __fields__: ClassVar[tuple[Field, ...]] = ()
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
            raise error.within(message=_bolt_name(cls)) from None
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
_T = TypeVar("_T", bound="TlvStream")
_M = TypeVar("_M", bound="Message")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def _declared(cls: type[_S]) -> type[_S]:
    """Tells type checkers that the fields of this base are fields of what is built on it."""
    return cls


@_declared
class TlvStream(Structure):
    """The base of a declared TLV stream: each field is a record, None (or False) where it is absent."""

    __slots__ = ("unknown",)

    if TYPE_CHECKING:  # a slot and its default cannot both stand in a class body
        unknown: tuple[TlvRecord, ...] = ()
        """Odd records that the declaration does not know, by increasing type."""


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
    __query__: ClassVar[bool] = False
    """Whether a few bytes of it ask for a search and kilobytes of answers."""

    if TYPE_CHECKING:
        extension: bytes = b""
        """The TLV stream that the sender appended, kept as it was; empty for a message that declares its TLVs."""

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
        return self._type

    @property
    def payload(self) -> bytes:
        """What follows the two type bytes."""
        return self._payload

    @property
    def name(self) -> str:
        return f"unknown_{self._type}"

    def encode(self) -> bytes:
        return self._type.to_bytes(2, "big") + self._payload

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, UnknownMessage):
            return NotImplemented
        return self._type == other._type and self._payload == other._payload

    def __hash__(self) -> int:
        return hash((self._type, self._payload))

    def __repr__(self) -> str:
        return f"UnknownMessage(type={self._type}, payload={_show(self._payload)})"


# ---------------------------------------------------------------------------------------------------------------------
# The decorators


@dataclass_transform(kw_only_default=True, frozen_default=True)
def structure(cls: type[_S]) -> type[_S]:
    """Compiles a structure inside messages (the BOLTs' subtypes, TLV values with several fields)."""
    made = _rebuild(cls, _fields_of(cls))
    made.__codec__ = _StructureCodec(made)
    return made


@dataclass_transform(kw_only_default=True, frozen_default=True)
def tlv_stream(cls: type[_T]) -> type[_T]:
    """Compiles a TLV stream: every field is ``name: Annotated[its type | None, Record(its TLV type)] = None``."""
    fields = _fields_of(cls)
    types = [field.tlv_type for field in fields]
    if None in types or len(set(types)) != len(types):
        raise TypeError(f"{cls.__name__}: each field needs a TLV type of its own")
    made = _rebuild(cls, (*fields, Field("unknown", wire.Remainder(), ())))
    made.__codec__ = _TlvStreamCodec(made, fields)
    return made


@dataclass_transform(kw_only_default=True, frozen_default=True)
def message(type: int, *, gossip: bool = False, query: bool = False) -> Callable[[type[_M]], type[_M]]:
    """Compiles a message of this type number (0 to 65535). `gossip` and `query` say what it is to the PeerManager: see
    `Message.__gossip__` and `Message.__query__`."""
    if not 0 <= type <= 0xFFFF:
        raise ValueError(f"no message type: {type}")

    def declare(cls: builtins.type[_M]) -> builtins.type[_M]:
        fields = _fields_of(cls)
        made = _rebuild(cls, (*fields, Field("extension", wire.Remainder(), b"")))
        made.type = type
        made.name = _bolt_name(cls)
        has_tlvs = bool(fields) and isinstance(fields[-1].codec, _TlvStreamCodec)
        made.__decode__ = _compile_decode(made, fields, has_tlvs)
        made.__encode__ = _compile_encode(made, fields)
        made.__plain__ = _plain_bytes(fields)
        made.__gossip__ = gossip
        made.__query__ = query
        return made

    return declare


def _plain_bytes(fields: tuple[Field, ...]) -> int:
    bytes_only = all(
        field.codec.format or isinstance(field.codec, wire.PrefixedBytes | wire.Remainder) for field in fields
    )
    if bytes_only and fields and fields[-1].codec.open_ended:
        return wire.MAX_MESSAGE_LENGTH
    fixed = sum(struct.calcsize(">" + field.codec.format) for field in fields if field.codec.format)
    return fixed + _FEW_PIECES_BYTES


def pieces_of(value: Structure) -> int:
    """How many items of lists, and records that nobody knows, a message holds: each of them costs, while bytes are only
    cut out. An extension, which is kept as bytes, counts as the most that it could hold."""
    count = 0
    for field in value.__fields__:
        one = getattr(value, field.name)
        if field.name == "extension":
            count += len(one) // 2
        elif isinstance(one, tuple):
            count += len(cast("tuple[Any, ...]", one))  # type: ignore[redundant-cast]
        elif isinstance(one, Structure):
            count += pieces_of(one)
    return count


def _bolt_name(cls: type[Structure]) -> str:
    """``ChannelUpdate`` as the BOLTs write it: ``channel_update``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", cls.__name__).lower()


def _fields_of(cls: type[Structure]) -> tuple[Field, ...]:
    """Its fields, in their order. TypeError for what could not be written and read again."""
    for base in cls.__mro__[1:]:
        if base.__dict__.get("__fields__"):
            raise TypeError(f"{cls.__name__}: {base.__name__} is declared already; its fields are not inherited")
    hints = get_type_hints(cls, include_extras=True)
    fields: list[Field] = []
    for name in inspect.get_annotations(cls):
        hint = hints[name]
        if get_origin(hint) is ClassVar:
            continue
        if name in ("self", "message") or name.startswith("_") or any(hasattr(base, name) for base in cls.__bases__):
            raise TypeError(f"{cls.__name__}.{name}: no field can be called that, it means something else here")
        if fields and fields[-1].tlv_type is None and fields[-1].codec.open_ended:
            raise TypeError(f"{cls.__name__}.{fields[-1].name}: goes on up to the end, so {name} cannot follow it")
        record = None
        if get_origin(hint) is Annotated:
            record = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Record)), None)
        try:
            codec = wire.codec_of(hint)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{name}: {error}") from None
        default = cls.__dict__.get(name, _REQUIRED)
        fields.append(Field(name, codec, default, record.type if record else None, record.field if record else None))
    return tuple(fields)


def _rebuild(cls: type[_S], fields: tuple[Field, ...]) -> type[_S]:
    """The class again, with slots: a class that exists cannot get them (as `dataclasses` does it)."""
    base_slots = {"unknown", "extension"}
    names = [field.name for field in fields]
    namespace = {
        key: value for key, value in cls.__dict__.items() if key not in names and key not in ("__dict__", "__weakref__")
    }
    namespace["__slots__"] = tuple(name for name in names if name not in base_slots)
    namespace["__fields__"] = fields
    namespace["__match_args__"] = tuple(names)
    made: type[_S] = cast("Any", type(cls))(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    made.__init__ = _compile_init(made, fields)  # type: ignore[method-assign]
    return made


# ---------------------------------------------------------------------------------------------------------------------
# The compiler: source text for one class, made once, from codecs that are already there


def _setters(cls: type[Structure], fields: tuple[Field, ...]) -> dict[str, Any]:
    # A slot's own setter goes past the __setattr__ that makes the class immutable, and past a frozen __init__'s cost.
    return {f"_set_{index}": getattr(cls, field.name).__set__ for index, field in enumerate(fields)}


def _run(source: str, name: str, scope: dict[str, Any], cls: type[Structure]) -> Any:
    exec(compile(source, f"<triolight {cls.__name__}.{name}>", "exec"), scope)
    function = scope[name]
    function.__qualname__ = f"{cls.__qualname__}.{name}"
    function.__module__ = cls.__module__
    return function


def _compile_init(cls: type[Structure], fields: tuple[Field, ...]) -> Any:
    scope: dict[str, Any] = _setters(cls, fields)
    parameters: list[str] = []
    for index, field in enumerate(fields):
        if field.required:
            parameters.append(field.name)
        else:
            scope[f"_default_{index}"] = field.default
            parameters.append(f"{field.name}=_default_{index}")
    star = "*, " if parameters else ""
    body = [f"    _set_{index}(self, {field.name})" for index, field in enumerate(fields)] or ["    pass"]
    return _run(f"def __init__(self, {star}{', '.join(parameters)}):\n" + "\n".join(body), "__init__", scope, cls)


def _reading(fields: tuple[Field, ...], scope: dict[str, Any]) -> list[str]:
    """Lines that read `fields` from `data[at:end]` into v0, v1, …, and leave `at` behind them."""
    lines: list[str] = []
    run: list[tuple[str, str]] = []  # (struct code, variable)

    def flush() -> None:
        if not run:
            return
        layout = struct.Struct(">" + "".join(code for code, _ in run))
        key = f"unpack_{len(lines)}"
        scope[key] = layout.unpack_from
        lines.append(f"if end - at < {layout.size}: raise Refused")
        lines.append(f"{', '.join(name for _, name in run)}, = {key}(data, at)")
        lines.append(f"at += {layout.size}")
        run.clear()

    after: list[str] = []

    def settle() -> None:
        flush()
        lines.extend(after)
        after.clear()

    for index, field in enumerate(fields):
        codec, value = field.codec, f"v{index}"
        if codec.format:
            run.append((codec.format, value))
            if isinstance(codec, wire.Point):
                after.append(f"if not is_point({value}): raise Refused")
            else:
                if type(codec).convert is not Codec.convert:
                    scope[f"convert_{index}"] = codec.convert
                    after.append(f"{value} = convert_{index}({value})")
                if type(codec).check not in _CHECKED_BY_SIZE:
                    scope[f"check_{index}"] = codec.check
                    after.append(f"if check_{index}({value}): raise Refused")
        elif isinstance(codec, wire.PrefixedBytes):
            run.append(("H", "size"))
            settle()
            lines += ["stop = at + size", "if stop > end: raise Refused", f"{value} = data[at:stop]", "at = stop"]
        else:
            settle()
            scope[f"read_{index}"] = codec.read
            # Names the field if it fails: what may hold thousands of items is not read a second time for that.
            lines.append(f"field = {field.name!r}")
            lines.append(f"{value}, at = read_{index}(data, at, end)")
    settle()
    return lines


def _building(fields: tuple[Field, ...]) -> list[str]:
    return ["self = new(cls)", *(f"_set_{index}(self, v{index})" for index in range(len(fields)))]


def _compile_decode(cls: type[Message], fields: tuple[Field, ...], has_tlvs: bool) -> Callable[[bytes], Any]:
    all_fields = cls.__fields__
    scope: dict[str, Any] = _setters(cls, all_fields) | {
        "Refused": _Refused,
        "DecodeError": DecodeError,
        "is_point": wire.is_point,
        "new": object.__new__,
        "cls": cls,
        "check_extension": wire.check_extension,
        "explain": _explain_message,
    }
    extension = f"v{len(fields)}"
    reading = _reading(fields, scope)
    if has_tlvs:
        reading.append(f"{extension} = b''")
    else:
        reading += [
            "if at == end:",
            f"    {extension} = b''",
            "else:",
            "    field = 'extension'",
            "    check_extension(data, at, end)",
            f"    {extension} = data[at:end]",
        ]
    lines = [
        "def __decode__(data):",
        "    at = 2",
        "    end = len(data)",
        "    try:",
        *(f"        {line}" for line in reading),
        "    except Refused:",
        "        explain(cls, data)",
        "    except DecodeError as error:",
        f"        raise error.within(message={cls.name!r}, field=field) from None",
        *(f"    {line}" for line in _building(all_fields)),
        "    return self",
    ]
    return cast("Callable[[bytes], Any]", _run("\n".join(lines), "__decode__", scope, cls))


def _walk(name: str, fields: tuple[Field, ...], data: bytes, at: int, end: int) -> int:
    """Reads field by field, only to raise the DecodeError that names the field whose bytes were refused."""
    for field in fields:
        try:
            _, at = field.codec.read(data, at, end)
        except DecodeError as error:
            raise error.within(message=name, field=field.name) from None
    return at


def _explain_message(cls: type[Message], data: bytes) -> NoReturn:
    _walk(cls.name, cls.__fields__[:-1], data, 2, len(data))
    raise AssertionError(f"{cls.name}: the compiled decoder refused what its fields accept: {data.hex()}")


def _writing(fields: tuple[Field, ...], scope: dict[str, Any], head: list[tuple[str, str]]) -> tuple[list[str], str]:
    """Lines that check the values of `self`, and the expression of their bytes."""
    checks: list[str] = []
    parts: list[str] = []
    run = list(head)

    def flush() -> None:
        if run:
            key = f"pack_{len(parts)}"
            scope[key] = struct.Struct(">" + "".join(code for code, _ in run)).pack
            parts.append(f"{key}({', '.join(value for _, value in run)})")
            run.clear()

    for index, field in enumerate(fields):
        codec, value = field.codec, f"v{index}"
        checks.append(f"{value} = self.{field.name}")
        if codec.format:
            if isinstance(codec, wire.Point):
                checks.append(f"if not is_point({value}): raise Refused")
            elif type(codec).check not in _CHECKED_BY_SIZE:
                scope[f"check_{index}"] = codec.check
                checks.append(f"if check_{index}({value}): raise Refused")
            elif isinstance(codec, wire.FixedBytes):
                checks.append(f"if len({value}) != {codec.size}: raise Refused")
            run.append((codec.format, value))
        elif isinstance(codec, wire.PrefixedBytes):
            run.append(("H", f"len({value})"))
            flush()
            parts.append(value)
        else:
            flush()
            scope[f"write_{index}"] = codec.write
            parts.append(f"write_{index}({value})")
    flush()
    return checks, " + ".join(parts) or "b''"


def _compile_encode(cls: type[Message], fields: tuple[Field, ...]) -> Callable[[Any], bytes]:
    scope: dict[str, Any] = {
        "Refused": _Refused,
        "errors": (struct.error, TypeError, ValueError, AttributeError, _Refused),
        "is_point": wire.is_point,
        "explain": _explain_values,
        "check_own_extension": _check_own_extension,
        "no_room": _why_no_extension(fields),
        "too_long": _too_long,
    }
    checks, expression = _writing(fields, scope, [("H", str(cls.type))])
    lines = [
        "def __encode__(self):",
        "    try:",
        *(f"        {check}" for check in checks),
        f"        out = {expression}",
        "    except errors as error:",
        "        explain(self, error)",
        "    if self.extension:",
        "        out += check_own_extension(self, no_room)",
        f"    if len(out) > {wire.MAX_MESSAGE_LENGTH}: too_long(self, len(out))",
        "    return out",
    ]
    return cast("Callable[[Any], bytes]", _run("\n".join(lines), "__encode__", scope, cls))


def _why_no_extension(fields: tuple[Field, ...]) -> str | None:
    """Why no extension can follow these fields; None if one can."""
    if not fields or not fields[-1].codec.open_ended:
        return None
    if isinstance(fields[-1].codec, _TlvStreamCodec):
        return "unknown records of this message go into its tlvs"
    return f"{fields[-1].name} is all that is left"


def _check_own_extension(value: Message, no_room: str | None) -> bytes:
    problem = wire.Remainder().check(value.extension)
    if problem:
        raise ValueError(f"{value.name}.extension: {problem}")
    if no_room:
        raise ValueError(f"{value.name}.extension: {no_room}")
    try:
        wire.check_extension(value.extension, 0, len(value.extension))
    except DecodeError as error:
        raise ValueError(f"{value.name}.extension: {error}") from None
    return value.extension


def _too_long(value: Message, length: int) -> NoReturn:
    raise ValueError(f"{value.name}: {length} bytes, a message has at most {wire.MAX_MESSAGE_LENGTH}")


def _explain_values(value: Structure, error: Exception) -> NoReturn:
    name = getattr(value, "name", type(value).__name__)
    for field in type(value).__fields__:
        if field.name in ("extension", "unknown"):
            continue
        try:
            one = getattr(value, field.name)
            problem = field.codec.check(one)
            if not problem:
                field.codec.write(one)
        except (TypeError, ValueError, AttributeError, struct.error) as inner:
            problem = str(inner)
        if problem:
            raise ValueError(f"{name}.{field.name}: {problem}") from None
    raise error


class _StructureCodec(Codec):
    """A structure as the value of a field."""

    def __init__(self, cls: type[Structure]) -> None:
        self.cls: Final = cls
        fields = cls.__fields__
        # All that is left but so much: where that ends follows from the end as well.
        self.open_ended = any(one.codec.open_ended or isinstance(one.codec, wire.Remainder) for one in fields)
        scope: dict[str, Any] = _setters(cls, fields) | {
            "Refused": _Refused,
            "DecodeError": DecodeError,
            "is_point": wire.is_point,
            "new": object.__new__,
            "cls": cls,
            "explain": self._explain,
        }
        lines = [
            "def read(data, at, end):",
            "    begin = at",
            "    try:",
            *(f"        {line}" for line in _reading(fields, scope)),
            "    except Refused:",
            "        explain(data, begin, end)",
            "    except DecodeError as error:",
            "        raise error.within(field=field) from None",
            *(f"    {line}" for line in _building(fields)),
            "    return self, at",
        ]
        self._read = _run("\n".join(lines), "read", scope, cls)
        scope = {
            "Refused": _Refused,
            "errors": (struct.error, TypeError, ValueError, AttributeError, _Refused),
            "is_point": wire.is_point,
            "explain": _explain_values,
        }
        checks, expression = _writing(fields, scope, [])
        lines = [
            "def write(self):",
            "    try:",
            *(f"        {check}" for check in checks),
            f"        return {expression}",
            "    except errors as error:",
            "        explain(self, error)",
        ]
        self._write = _run("\n".join(lines), "write", scope, cls)

    def _explain(self, data: bytes, at: int, end: int) -> NoReturn:
        _walk("", self.cls.__fields__, data, at, end)
        raise AssertionError(f"{self.cls.__name__}: the compiled decoder refused what its fields accept")

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        return cast("tuple[Any, int]", self._read(data, at, end))

    def write(self, value: Any) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return cast("bytes", self._write(value))

    def check(self, value: Any) -> str | None:
        if isinstance(value, self.cls):
            return None
        return f"needs a {self.cls.__name__}, not {type(value).__name__}"


class _TlvStreamCodec(Codec):
    """A declared TLV stream as the last field of a message, or by itself."""

    open_ended = True

    def __init__(self, cls: type[TlvStream], records: tuple[Field, ...]) -> None:
        self.cls: Final = cls
        self.records: Final = tuple(sorted(records, key=lambda field: field.tlv_type or 0))
        self._by_type: Final = {field.tlv_type: field for field in records}
        self._empty: Final = cls()

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        if at == end:
            return self._empty, at
        values: dict[str, Any] = {}
        unknown: list[TlvRecord] = []

        def visit(type_: int, start: int, value: int, stop: int) -> None:
            field = self._by_type.get(type_)
            if field is None:
                wire.refuse_unknown_even(type_, start)
                unknown.append(TlvRecord(type_, data[value:stop]))
                return
            try:
                values[field.name], behind = field.codec.read(data, value, stop)
                if behind != stop:
                    raise DecodeError(f"{stop - behind} bytes too many", offset=behind)
            except DecodeError as error:
                raise error.within(field=field.name) from None

        wire.walk_tlv_stream(data, at, end, visit)
        return self.cls(unknown=tuple(unknown), **values), end

    def write(self, value: Any) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        for record in value.unknown:
            match record:
                case (int(), bytes()):
                    pass
                case _:
                    raise ValueError(f"unknown: needs pairs of a type and bytes, not {record!r:.80}")
        written = list(value.unknown)
        for field in self.records:
            one = getattr(value, field.name)
            if one is None:
                continue
            problem = field.codec.check(one)
            if problem:
                raise ValueError(f"{field.name}: {problem}")
            # A record without a value is there as True; any other record is there unless it is None.
            if one is False and isinstance(field.codec, wire.Presence):
                continue
            try:
                written.append((field.tlv_type, field.codec.write(one)))
            except ValueError as error:
                raise ValueError(f"{field.name}: {error}") from None
        known = self._by_type
        for type_, _ in value.unknown:
            if type_ in known or type_ % 2 == 0:
                raise ValueError(f"unknown: {type_} is no unknown odd TLV type here")
        return wire.write_tlv_records(sorted(written, key=lambda record: record[0]))

    def check(self, value: Any) -> str | None:
        if isinstance(value, self.cls):
            return None
        return f"needs a {self.cls.__name__}, not {type(value).__name__}"


# ---------------------------------------------------------------------------------------------------------------------
# Registries


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
        self._decoders: Final = {type_: cls.__decode__ for type_, cls in by_type.items()}

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

    @property
    def decoders(self) -> Mapping[int, Callable[[bytes], Message]]:
        """Type number to decoder of the whole message: the fast path of whoever has looked at the type already."""
        return MappingProxyType(self._decoders)

    def decode(self, data: bytes) -> Message | UnknownMessage:
        """A message from its bytes, the two type bytes included. A type that is not registered, odd or even, gives an
        UnknownMessage. Raises DecodeError if the bytes are too few for a type, or are not that type's message."""
        if len(data) < 2:
            raise DecodeError(f"a message of {len(data)} bytes holds no type", offset=0)
        type_ = data[0] << 8 | data[1]
        decode = self._decoders.get(type_)
        return UnknownMessage(type_, data[2:]) if decode is None else cast("Message", decode(data))
