"""The codecs of declared classes, from those of their fields: source text for each class, run once. Makes no class.

A message has a compiled `__decode__` and `__encode__`, a structure and a TLV stream a codec as any other type. The fast
path says only that something is wrong; the slow one behind it walks the fields and says what and where.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

from triolight import wire
from triolight.errors import DecodeError
from triolight.messages.structures import Field, Message, RawRecords, Structure, TlvStream
from triolight.wire import Codec

_CHECKED_BY_SIZE: Final = (wire.Integer.check, wire.FixedBytes.check)
"""What these ask of a value, struct asks too."""
_MANY_FIELDS: Final = 4
"""From which on giving an object its class costs less than going past the one that makes it immutable."""


class _Refused(Exception):
    """The compiled fast path saw something wrong; the slow path will say what."""


def _setters(cls: type[Structure], fields: tuple[Field, ...]) -> dict[str, Any]:
    # A slot's own setter goes past the __setattr__ that makes the class immutable, and past a frozen __init__'s cost.
    return {f"_set_{index}": getattr(cls, field.name).__set__ for index, field in enumerate(fields)}


def _run(source: str, name: str, scope: dict[str, Any], cls: type[Structure]) -> Any:
    exec(compile(source, f"<triolight {cls.__name__}.{name}>", "exec"), scope)
    function = scope[name]
    function.__qualname__ = f"{cls.__qualname__}.{name}"
    function.__module__ = cls.__module__
    return function


def compile_init(cls: type[Structure], fields: tuple[Field, ...]) -> Any:
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
                after.append(f"if not {_test_of(codec)}({value}): raise Refused")
            else:
                if type(codec).convert is not Codec.convert:
                    # The class itself where that is all: without a function in between.
                    is_plain = type(codec) is wire.ShortChannelIdCodec
                    scope[f"convert_{index}"] = wire.ShortChannelId if is_plain else codec.convert
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


def _test_of(codec: wire.Point) -> str:
    return "is_fresh_point" if isinstance(codec, wire.FreshPoint) else "is_point"


def _building(cls: type[Structure], fields: tuple[Field, ...], scope: dict[str, Any]) -> list[str]:
    """Lines that make `self` of v0, v1, …"""
    scope["new"], scope["cls"] = object.__new__, cls
    if len(fields) < _MANY_FIELDS:
        scope |= _setters(cls, fields)
        return ["self = new(cls)", *(f"_set_{index}(self, v{index})" for index in range(len(fields)))]
    scope["twin"] = _twin(cls)
    values = [f"self.{field.name} = v{index}" for index, field in enumerate(fields)]
    return ["self = new(twin)", *values, "self.__class__ = cls"]


def _twin(cls: type[Structure]) -> type[Structure]:
    """A class with the same slots, whose objects can be changed. What is read begins as one of it and becomes one
    of `cls` when it is whole: a plain assignment costs a quarter of what a slot's own setter does. A subclass that adds
    nothing: Python sees at once that the two fit, where it would compare the slots of two classes name by name."""
    body = {"__slots__": (), "__setattr__": object.__setattr__, "__delattr__": object.__delattr__}
    made: type[Structure] = cast("Any", type(cls))(cls.__name__, (cls,), body)
    return made


def compile_decode(
    cls: type[Message], fields: tuple[Field, ...], has_tlvs: bool, signed: bool
) -> Callable[[bytes], Any]:
    all_fields = cls.__fields__
    scope: dict[str, Any] = {
        "Refused": _Refused,
        "DecodeError": DecodeError,
        "is_point": wire.is_point,
        "is_fresh_point": wire.is_fresh_point,
        "check_extension": wire.check_extension,
        "explain": _explain_message,
    }
    extension = f"v{len(fields)}"
    reading = _reading(fields, scope)
    if has_tlvs:
        reading.append(f"{extension} = b''")
    elif signed:
        # Its maker has signed all of it, and LDK and LND keep it: whatever stands there is passed on as it is.
        reading.append(f"{extension} = b'' if at == end else data[at:end]")
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
        *(f"    {line}" for line in _building(cls, all_fields, scope)),
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
                checks.append(f"if not {_test_of(codec)}({value}): raise Refused")
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


def compile_encode(cls: type[Message], fields: tuple[Field, ...], signed: bool) -> Callable[[Any], bytes]:
    scope: dict[str, Any] = {
        "Refused": _Refused,
        "errors": (struct.error, TypeError, ValueError, AttributeError, _Refused),
        "is_point": wire.is_point,
        "is_fresh_point": wire.is_fresh_point,
        "explain": _explain_values,
        "check_own_extension": _check_own_tail if signed else _check_own_extension,
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
    if isinstance(fields[-1].codec, TlvStreamCodec):
        return "unknown records of this message go into its tlvs"
    return f"{fields[-1].name} is all that is left"


def _check_own_tail(value: Message, no_room: str | None) -> bytes:
    problem = wire.Remainder().check(value.extension) or no_room
    if problem:
        raise ValueError(f"{value.name}.extension: {problem}")
    return value.extension


def _check_own_extension(value: Message, no_room: str | None) -> bytes:
    _check_own_tail(value, no_room)
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


class DeclaredCodec(Codec):
    """Of the values of a declared class, `cls`."""

    def __init__(self, cls: type[Structure]) -> None:
        self.cls: Final = cls

    def check(self, value: Any) -> str | None:
        if isinstance(value, self.cls):
            return None
        return f"needs a {self.cls.__name__}, not {type(value).__name__}"


class StructureCodec(DeclaredCodec):
    """A structure as the value of a field."""

    def __init__(self, cls: type[Structure]) -> None:
        super().__init__(cls)
        fields = cls.__fields__
        # All that is left but so much: where that ends follows from the end as well.
        self.open_ended = any(one.codec.open_ended or isinstance(one.codec, wire.Remainder) for one in fields)
        scope: dict[str, Any] = {
            "Refused": _Refused,
            "DecodeError": DecodeError,
            "is_point": wire.is_point,
            "is_fresh_point": wire.is_fresh_point,
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
            *(f"    {line}" for line in _building(cls, fields, scope)),
            "    return self, at",
        ]
        self._read = _run("\n".join(lines), "read", scope, cls)
        scope = {
            "Refused": _Refused,
            "errors": (struct.error, TypeError, ValueError, AttributeError, _Refused),
            "is_point": wire.is_point,
            "is_fresh_point": wire.is_fresh_point,
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


class TlvStreamCodec(DeclaredCodec):
    """A declared TLV stream as the last field of a message, or by itself."""

    open_ended = True

    def __init__(self, cls: type[TlvStream], records: tuple[Field, ...]) -> None:
        super().__init__(cls)
        self._make: Final[Any] = cls
        self.records: Final = tuple(sorted(records, key=lambda field: field.tlv_type or 0))
        self._by_type: Final = {field.tlv_type: field for field in records if field.tlv_type is not None}
        self._empty: Final = cls()

    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        if at == end:
            return self._empty, at
        values: dict[str, Any] = {}

        def visit(type_: int, _start: int, value: int, stop: int) -> None:
            field = self._by_type[type_]
            try:
                values[field.name], behind = field.codec.read(data, value, stop)
                if behind != stop:
                    raise DecodeError(f"{stop - behind} bytes too many", offset=behind)
            except DecodeError as error:
                raise error.within(field=field.name) from None

        count, others = wire.walk_tlv_stream(data, at, end, visit, self._by_type)
        if not count:
            return self._make(**values), end
        raw = b"".join([data[start:stop] for start, stop in others])
        return self._make(unknown=RawRecords(raw, count), **values), end

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
