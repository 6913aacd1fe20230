"""Messages as JSON and back, and the JSON Schema of it: all three from the declarations alone. Pure.

::

    {"message": "channel_update", "type": 258, "signature": "30…", "short_channel_id": "539268x845x1", …}

Fields have the BOLT's names, in the order of the wire. Bytes are lower-case hex, a short_channel_id is text, integers
are integers, a structure is an object, a sequence an array, a TLV record that is only present or absent `true`. A TLV
stream is an object of the records that are there; records that nobody knows stand in its `unknown`, and what a peer
appended to a message without TLVs in `extension`. A message of an unknown type is
`{"message": "unknown", "type": …, "payload": …}`. Whatever decodes comes back byte for byte:
``from_json(to_json(m)).encode() == m.encode()``.

What stands in JSON for a kind of codec is a row of one table: how it is written, how it is read, its schema. Reader and
schema take the same; `json_schema` says what no schema can.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from triolight.messages import BOLT, Field, Message, Registry, Structure, TlvStream, UnknownMessage
from triolight.messages.compile import DeclaredCodec
from triolight.wire import (
    MAX_MESSAGE_LENGTH,
    BigSizeCodec,
    Codec,
    FixedBytes,
    Integer,
    Point,
    PrefixedBytes,
    Presence,
    ScidDirOrPubkey,
    Sequence,
    ShortChannelId,
    ShortChannelIdCodec,
    TlvRecord,
    TruncatedInteger,
)

__all__ = [
    "from_json",
    "json_schema",
    "structure_to_json",
    "to_json",
]

_C = TypeVar("_C", bound=Codec)
_V = TypeVar("_V")
Json: TypeAlias = Any
"""What `json.loads` gives."""
Definitions: TypeAlias = dict[str, Json]
"""The `$defs` of a schema, by name."""

UNKNOWN: Final = "unknown"
_LARGEST_BIGSIZE: Final = (1 << 64) - 1
_SAFE_EXPONENT: Final = 64
"""Of ten, in a number with a fraction or an exponent: beyond it no integer of a message is."""


def _up_to(most: int) -> str:
    """A regular expression of the decimal numbers from 0 to `most`, leading zeros or not."""
    digits = str(most)
    # As long as `most`, alike up to one digit that is lower; or shorter; or itself.
    lower = [
        f"{digits[:at]}[0-{int(digit) - 1}][0-9]{{{len(digits) - at - 1}}}"
        for at, digit in enumerate(digits)
        if digit != "0"
    ]
    return f"0*(?:{'|'.join([digits, *lower, f'[0-9]{{1,{len(digits) - 1}}}'])})"


def _pattern(text: str) -> str:
    """Of all of a text. To Python `$` is also before a newline that ends it, to a JSON Schema it is not."""
    return f"^(?:{text})$(?!\\n)"


_DIGIT: Final = "[0-9a-fA-F]"
_HEX: Final = _pattern(f"({_DIGIT}{{2}})*")
_SCID: Final = _pattern("x".join(map(_up_to, ((1 << 24) - 1, (1 << 24) - 1, (1 << 16) - 1))))


def read_json(text: str) -> Json:
    """What a text of JSON says, as `json.loads`, but strictly. ValueError for what is none.

    A name that stands twice in an object is refused: one of its two values would be lost. So are NaN and Infinity,
    which are no JSON. A number without a fraction is an int however it is written, as JSON has it: ``1.0``, ``1e3``.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_no_number, parse_float=_number_of)
    except RecursionError:
        raise ValueError("no message is nested so deeply") from None


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"{name!r:.80} stands twice in one object")
            seen.add(name)
    return found


def _no_number(name: str) -> Json:
    raise ValueError(f"{name} is no number of JSON")


def _number_of(text: str) -> int | float:
    # A float would round what has more than 53 bits.
    try:
        exact = Decimal(text)
    except InvalidOperation:  # an exponent of more than 18 digits
        return float(text)
    small = exact.is_zero() or exact.adjusted() <= _SAFE_EXPONENT
    return int(exact) if small and exact == exact.to_integral_value() else float(text)


def to_json(message: Message | UnknownMessage) -> dict[str, Json]:
    """A message as an object that `json.dumps` takes."""
    if isinstance(message, UnknownMessage):
        return {"message": UNKNOWN, "type": message.type, "payload": message.payload.hex()}
    return {"message": message.name, "type": message.type} | structure_to_json(message)


def structure_to_json(value: Structure) -> dict[str, Json]:
    """The fields of a structure or a TLV stream as an object that `json.dumps` takes, as inside of a message."""
    return _object_writer(cast("Any", type(value)))(value)


def from_json(value: Json, registry: Registry = BOLT) -> Message | UnknownMessage:
    """The message of an object as `to_json` makes it.

    ValueError, naming message and field, for anything else: a name that the registry does not know, a field that is
    missing or that the message does not have, a value of the wrong kind or size. Hex may be in upper case, and
    `type` may be left out.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"a message is an object, not {_kind(value)}")
    members = dict(cast("Mapping[str, Json]", value))
    name = members.pop("message", None)
    if name == UNKNOWN:
        return _unknown(members.pop("type", None), members)
    cls = registry.named(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"no message is called {name!r:.80}")
    type_ = members.pop("type", cls.type)
    if type_ != cls.type or isinstance(type_, bool):
        raise ValueError(f"{cls.name}: its type is {cls.type}, not {type_!r:.80}")
    made: Message = _read_object(cls, cls.name, members)
    return made


def json_schema(registry: Registry = BOLT) -> dict[str, Json]:
    """A JSON Schema (2020-12) of what `from_json` takes, and so of what `to_json` makes, of the registry's messages.

    What no schema can say, it does not say: whether a point is on its curve; whether all of a message fits into 65,535
    bytes; whether the types of a stream's `unknown` records are all different; whether an `extension` is a TLV stream
    of odd types. And to a schema an object has each name once: see `read_json`.
    """
    definitions: Definitions = {}
    for cls in registry:
        definitions[cls.name] = _object_schema(
            cls, definitions, {"message": {"const": cls.name}}, {"type": {"const": cls.type}}
        )
    definitions[UNKNOWN] = {
        "type": "object",
        "properties": {
            "message": {"const": UNKNOWN},
            "type": _number(0, 0xFFFF),
            "payload": _text(_HEX) | {"maxLength": 2 * (MAX_MESSAGE_LENGTH - 2)},
        },
        "required": ["message", "type", "payload"],
        "additionalProperties": False,
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Lightning messages",
        "oneOf": [{"$ref": f"#/$defs/{cls.name}"} for cls in registry] + [{"$ref": f"#/$defs/{UNKNOWN}"}],
        "$defs": definitions,
    }


def _unknown(type_: Json, members: dict[str, Json]) -> UnknownMessage:
    if not isinstance(type_, int) or isinstance(type_, bool):
        raise ValueError(f"unknown.type: needs an integer, not {_kind(type_)}")
    payload = _from_hex("unknown.payload", members.pop("payload", None))
    if members:
        raise ValueError(f"unknown: there is no field {next(iter(members))!r:.80}")
    return UnknownMessage(type_, payload)


class _Form(NamedTuple):
    """What stands in JSON for the values of one kind of codec."""

    writer: Callable[[Any], Callable[[Any], Json]]
    """The function that makes JSON of a codec's values: found once for each field."""
    read: Callable[[str, Any, Json], Any]
    """The value, of where it stands, the codec and JSON. ValueError naming the place if it cannot be one."""
    schema: Callable[[Any, Definitions], Json]
    """The schema of a codec's values. Declared classes enter theirs into the definitions."""


def _row(
    kind: type[_C],
    writer: Callable[[_C], Callable[[Any], Json]],
    read: Callable[[str, _C, Json], Any],
    schema: Callable[[_C, Definitions], Json],
) -> tuple[type, _Form]:
    return kind, _Form(writer, read, schema)


@cache
def _form_of_kind(kind: type[Codec]) -> _Form:
    return next(_FORMS[one] for one in kind.__mro__ if one in _FORMS)


def _form_of(codec: Codec) -> _Form:
    return _form_of_kind(type(codec))


def _form_of_field(field: Field) -> _Form:
    return _UNKNOWN_RECORDS if field.name == "unknown" else _form_of(field.codec)


_KINDS: Final = ((bool, "a boolean"), (int, "an integer"), (float, "a fraction"), (str, "text"), (list, "an array"))


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "an object")


def _plainly(codec: Codec) -> Callable[[Any], Json]:
    return lambda value: value


def _number(minimum: int, maximum: int) -> Json:
    return {"type": "integer", "minimum": minimum, "maximum": maximum}


def _text(pattern: str) -> Json:
    return {"type": "string", "pattern": pattern}


def _bytes(size: int) -> Json:
    """Hex of so many bytes."""
    return _text(_pattern(f"{_DIGIT}{{{2 * size}}}"))


def _integer(where: str, value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where}: needs an integer, not {_kind(value)}")
    return value


def _read_integer(where: str, codec: Codec, value: Json) -> int:
    return _checked(where, codec, _integer(where, value))


def _checked(where: str, codec: Codec, value: _V) -> _V:
    problem = codec.check(value)
    if problem:
        raise ValueError(f"{where}: {problem}")
    return value


def _scid(value: int) -> Json:
    return str(ShortChannelId(value))


def _read_scid(where: str, codec: ShortChannelIdCodec, value: Json) -> ShortChannelId:
    if not isinstance(value, str):
        raise ValueError(f"{where}: needs text as 539268x845x1, not {_kind(value)}")
    if re.search(_SCID, value) is None:
        raise ValueError(f"{where}: no short_channel_id: {value[:64]!r}")
    # However many zeros are in front.
    return ShortChannelId.of(*(int(part.lstrip("0") or "0") for part in value.split("x")))


def _read_presence(where: str, codec: Presence, value: Json) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{where}: needs true or false, not {_kind(value)}")
    return value


def _hex(codec: Codec) -> Callable[[Any], Json]:
    return bytes.hex


def _from_hex(where: str, value: Json) -> bytes:
    if isinstance(value, str):
        # bytes.fromhex would skip spaces.
        if len(value) % 2 == 0 and not value.strip("0123456789abcdefABCDEF"):
            return bytes.fromhex(value)
        raise ValueError(f"{where}: {value!r:.40} is not hex")
    raise ValueError(f"{where}: needs hex, not {_kind(value)}")


def _read_hex(where: str, codec: Codec, value: Json) -> bytes:
    return _checked(where, codec, _from_hex(where, value))


def _array_writer(codec: Sequence) -> Callable[[Any], Json]:
    one = _form_of(codec.item).writer(codec.item)
    return lambda values: [one(value) for value in values]


def _array(where: str, value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: needs an array, not {_kind(value)}")
    return cast("list[Json]", value)  # type: ignore[redundant-cast]


def _read_array(where: str, codec: Sequence, value: Json) -> tuple[Any, ...]:
    read = _form_of(codec.item).read
    return tuple([read(f"{where}[{at}]", codec.item, one) for at, one in enumerate(_array(where, value))])


def _array_schema(codec: Sequence, definitions: Definitions) -> Json:
    found: dict[str, Json] = {"type": "array", "items": _form_of(codec.item).schema(codec.item, definitions)}
    if codec.count is not None:
        found |= {"minItems": codec.count, "maxItems": codec.count}
    elif codec.prefix:
        found["maxItems"] = (1 << 8 * codec.prefix) - 1
    return found


def _declared_writer(codec: DeclaredCodec) -> Callable[[Any], Json]:
    return _object_writer(cast("Any", codec.cls))


def _read_declared(where: str, codec: DeclaredCodec, value: Json) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"{where}: needs an object, not {_kind(value)}")
    return _read_object(codec.cls, where, dict(cast("dict[str, Json]", value)))


def _declared_schema(codec: DeclaredCodec, definitions: Definitions) -> Json:
    name = codec.cls.__name__
    if name not in definitions:
        definitions[name] = {}  # a structure may hold itself
        definitions[name] = _object_schema(codec.cls, definitions, {}, {})
    return {"$ref": f"#/$defs/{name}"}


def _records_writer(codec: Codec) -> Callable[[Any], Json]:
    return lambda records: [{"type": record.type, "value": record.value.hex()} for record in records]


def _read_records(where: str, codec: Codec, value: Json) -> tuple[TlvRecord, ...]:
    records: list[TlvRecord] = []
    for at, one in enumerate(_array(where, value)):
        path = f"{where}[{at}]"
        if not isinstance(one, dict) or set(cast("dict[str, Json]", one)) != {"type", "value"}:
            raise ValueError(f"{path}: needs an object of type and value")
        record = cast("dict[str, Json]", one)
        type_ = _integer(f"{path}.type", record["type"])
        if not 0 <= type_ <= _LARGEST_BIGSIZE:
            raise ValueError(f"{path}.type: {type_} is no TLV type")
        records.append(TlvRecord(type_, _from_hex(f"{path}.value", record["value"])))
    return tuple(records)


def _hex_schema(codec: Codec, definitions: Definitions) -> Json:
    return _text(_HEX)


def _records_schema(known: list[int]) -> Json:
    """Of the records that a stream does not know: odd types, and none of its own."""
    type_ = _number(0, _LARGEST_BIGSIZE) | {"not": {"anyOf": [{"multipleOf": 2}, {"enum": known}]}}
    return {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"type": type_, "value": _text(_HEX)},
            "required": ["type", "value"],
            "additionalProperties": False,
        },
    }


_FORMS: Final[dict[type, _Form]] = dict(
    (
        _row(Integer, _plainly, _read_integer, lambda codec, _: _number(codec.minimum, codec.maximum)),
        _row(TruncatedInteger, _plainly, _read_integer, lambda codec, _: _number(0, codec.maximum)),
        _row(BigSizeCodec, _plainly, _read_integer, lambda codec, _: _number(0, _LARGEST_BIGSIZE)),
        _row(ShortChannelIdCodec, lambda codec: _scid, _read_scid, lambda codec, _: _text(_SCID)),
        _row(Presence, _plainly, _read_presence, lambda codec, _: {"type": "boolean"}),
        _row(FixedBytes, _hex, _read_hex, lambda codec, _: _bytes(codec.size)),
        _row(Point, _hex, _read_hex, lambda codec, _: _text(_pattern(f"0[23]{_DIGIT}{{64}}"))),
        _row(
            ScidDirOrPubkey,
            _hex,
            _read_hex,
            lambda codec, _: _text(_pattern(f"0[01]{_DIGIT}{{16}}|0[23]{_DIGIT}{{64}}")),
        ),
        _row(PrefixedBytes, _hex, _read_hex, lambda codec, _: _text(_HEX) | {"maxLength": 2 * 0xFFFF}),
        _row(Sequence, _array_writer, _read_array, _array_schema),
        _row(DeclaredCodec, _declared_writer, _read_declared, _declared_schema),  # type: ignore[type-abstract]
        _row(Codec, _hex, _read_hex, _hex_schema),  # type: ignore[type-abstract]
    )
)
"""A codec without a row of its own goes by that of what it is built upon: at last by `Codec`'s, and is bytes."""
_UNKNOWN_RECORDS: Final = _Form(_records_writer, _read_records, _hex_schema)
"""Of what stands in a TLV stream's `unknown`; its schema knows the stream, and is `_records_schema`."""


@cache
def _object_writer(cls: Any) -> Callable[[Any], dict[str, Json]]:
    """The function that makes an object of the values of `cls`, a declared class."""
    members = [
        (field.name, _form_of_field(field).writer(field.codec), field.tlv_type is not None, _may_be_empty(field))
        for field in cls.__fields__
    ]

    def write(value: Any) -> dict[str, Json]:
        found: dict[str, Json] = {}
        for name, convert, is_record, may_be_empty in members:
            one = getattr(value, name)
            # What is not there is left out: a record, all records of a stream, what nobody appended.
            if is_record and (one is None or one is False):
                continue
            found[name] = convert(one)
            if may_be_empty and not found[name]:
                del found[name]
        return found

    return write


def _may_be_empty(field: Field) -> bool:
    if field.name in ("unknown", "extension"):
        return True
    codec = field.codec
    return field.tlv_type is None and isinstance(codec, DeclaredCodec) and issubclass(codec.cls, TlvStream)


def _read_object(cls: type[Structure], where: str, members: dict[str, Json]) -> Any:
    values: dict[str, Any] = {}
    for field in cls.__fields__:
        if field.name not in members:
            if field.required:
                raise ValueError(f"{where}.{field.name}: is missing")
            continue
        read = _form_of_field(field).read
        values[field.name] = read(f"{where}.{field.name}", field.codec, members.pop(field.name))
    if members:
        raise ValueError(f"{where}: there is no field {next(iter(members))!r:.80}")
    return cls(**values)


def _object_schema(
    cls: type[Structure], definitions: Definitions, head: dict[str, Json], optional: dict[str, Json]
) -> dict[str, Json]:
    properties: dict[str, Json] = head | optional
    required = list(head)
    before: Field | None = None
    for field in cls.__fields__:
        if field.name == "unknown":
            properties[field.name] = _records_schema(
                [one.tlv_type for one in cls.__fields__ if one.tlv_type is not None]
            )
        elif field.name == "extension" and before is not None and before.codec.open_ended:
            properties[field.name] = {"const": ""}  # nothing can follow that
        else:
            properties[field.name] = _form_of_field(field).schema(field.codec, definitions)
        before = field
        if field.required:
            required.append(field.name)
    found: dict[str, Json] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found["required"] = required
    words = (cls.__doc__ or "").strip().partition("\n\n")[0]
    if words:
        found["description"] = " ".join(words.split())
    return found
