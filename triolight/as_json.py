"""Messages as JSON and back, and the JSON Schema of it: all three from the declarations alone. Pure.

::

    {"message": "channel_update", "type": 258, "signature": "30…", "short_channel_id": "539268x845x1", …}

Fields have the BOLT's names, in the order of the wire. Bytes are lower-case hex, a short_channel_id is text, integers
are integers, a structure is an object, a sequence an array, a TLV record that is only present or absent `true`. A TLV
stream is an object of the records that are there; records that nobody knows stand in its `unknown`, and what a peer
appended to a message without TLVs in `extension`. A message of an unknown type is
`{"message": "unknown", "type": …, "payload": …}`. Whatever decodes comes back byte for byte:
``from_json(to_json(m)).encode() == m.encode()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeAlias, cast

from triolight.messages import BOLT, Message, Registry, Structure, TlvStream, UnknownMessage
from triolight.wire import (
    MAX_MESSAGE_LENGTH,
    BigSizeCodec,
    Codec,
    FixedBytes,
    Integer,
    Presence,
    Sequence,
    ShortChannelId,
    ShortChannelIdCodec,
    TlvRecord,
    TruncatedInteger,
)

Json: TypeAlias = Any
"""What `json.loads` gives."""

UNKNOWN: Final = "unknown"
_HEX: Final = "^([0-9a-f]{2})*$"
_SCID: Final = r"^[0-9]{1,8}x[0-9]{1,8}x[0-9]{1,5}$"
_LARGEST_BIGSIZE: Final = (1 << 64) - 1


def to_json(message: Message | UnknownMessage) -> dict[str, Json]:
    """A message as an object that `json.dumps` takes."""
    if isinstance(message, UnknownMessage):
        return {"message": UNKNOWN, "type": message.type, "payload": message.payload.hex()}
    found: dict[str, Json] = {"message": message.name, "type": message.type}
    found.update(_writer(cast("Any", type(message)))(message))
    return found


def from_json(value: Json, registry: Registry = BOLT) -> Message | UnknownMessage:
    """The message of an object as `to_json` makes it.

    ValueError, naming message and field, for anything else: a name that the registry does not know, a field that is
    missing or that the message does not have, a value of the wrong kind or size.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"a message is an object, not {_kind(value)}")
    members = dict(cast("Mapping[str, Json]", value))
    name, type_ = members.pop("message", None), members.pop("type", None)
    if name == UNKNOWN:
        return _unknown(type_, members)
    cls = registry.named(name) if isinstance(name, str) else None
    if cls is None:
        raise ValueError(f"no message is called {name!r:.80}")
    if type_ is not None and (type_ != cls.type or isinstance(type_, bool)):
        raise ValueError(f"{cls.name}: its type is {cls.type}, not {type_!r:.80}")
    made: Message = _read_fields(cls, cls.name, members)
    return made


def _unknown(type_: Json, members: dict[str, Json]) -> UnknownMessage:
    if not isinstance(type_, int) or isinstance(type_, bool):
        raise ValueError(f"unknown.type: needs an integer, not {_kind(type_)}")
    payload = _from_hex("unknown.payload", members.pop("payload", None))
    if members:
        raise ValueError(f"unknown: there is no field {next(iter(members))!r:.80}")
    return UnknownMessage(type_, payload)


# ---------------------------------------------------------------------------------------------------------------------
# Values to JSON


def _identity(value: Any) -> Json:
    return value


def _hex(value: bytes) -> Json:
    return value.hex()


def _scid(value: int) -> Json:
    return str(ShortChannelId(value))


def _to_json_of(codec: Codec) -> Callable[[Any], Json]:
    if isinstance(codec, ShortChannelIdCodec):
        return _scid
    if isinstance(codec, Integer | TruncatedInteger | BigSizeCodec | Presence):
        return _identity
    if isinstance(codec, Sequence):
        one = _to_json_of(codec.item)
        return lambda values: [one(value) for value in values]
    cls = _class_of(codec)
    return _hex if cls is None else _writer(cast("Any", cls))


def _class_of(codec: Codec) -> type[Structure] | None:
    """The declared class whose values a codec reads, None for the codecs of `wire`."""
    return cast("type[Structure] | None", getattr(codec, "cls", None))


@cache
def _writer(cls: Any) -> Callable[[Any], dict[str, Json]]:
    """The function that makes an object of the values of `cls`, a declared class."""
    is_stream = issubclass(cls, TlvStream)
    plain = [
        (field.name, _to_json_of(field.codec)) for field in cls.__fields__ if field.name not in ("extension", "unknown")
    ]
    if is_stream:

        def write_stream(value: Any) -> dict[str, Json]:
            found: dict[str, Json] = {}
            for name, convert in plain:
                one = getattr(value, name)
                if one is not None and one is not False:
                    found[name] = convert(one)
            if value.unknown:
                found["unknown"] = [{"type": record.type, "value": record.value.hex()} for record in value.unknown]
            return found

        return write_stream

    may_be_left_out = {
        field.name
        for field in cls.__fields__
        if (inner := _class_of(field.codec)) is not None and issubclass(inner, TlvStream)
    }

    def write(value: Any) -> dict[str, Json]:
        found = {name: convert(getattr(value, name)) for name, convert in plain}
        for name in may_be_left_out:
            if not found[name]:
                del found[name]
        if getattr(value, "extension", b""):
            found["extension"] = value.extension.hex()
        return found

    return write


# ---------------------------------------------------------------------------------------------------------------------
# JSON to values


_KINDS: Final = ((bool, "a boolean"), (int, "an integer"), (float, "a fraction"), (str, "text"), (list, "an array"))


def _kind(value: Json) -> str:
    if value is None:
        return "null"
    return next((name for kind, name in _KINDS if isinstance(value, kind)), "an object")


def _from_hex(where: str, value: Json) -> bytes:
    if isinstance(value, str):
        # bytes.fromhex would skip spaces.
        if len(value) % 2 == 0 and not value.strip("0123456789abcdefABCDEF"):
            return bytes.fromhex(value)
        raise ValueError(f"{where}: {value!r:.40} is not hex")
    raise ValueError(f"{where}: needs hex, not {_kind(value)}")


def _integer(where: str, value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError(f"{where}: needs an integer, not {_kind(value)}")
    return value


def _from_json_of(where: str, codec: Codec, value: Json) -> Any:
    if isinstance(codec, ShortChannelIdCodec):
        if not isinstance(value, str):
            raise ValueError(f"{where}: needs text as 539268x845x1, not {_kind(value)}")
        try:
            return ShortChannelId.parse(value)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    if isinstance(codec, Presence):
        if not isinstance(value, bool):
            raise ValueError(f"{where}: needs true or false, not {_kind(value)}")
        return value
    if isinstance(codec, Sequence):
        if not isinstance(value, list):
            raise ValueError(f"{where}: needs an array, not {_kind(value)}")
        items = cast("list[Json]", value)  # type: ignore[redundant-cast]
        return tuple([_from_json_of(f"{where}[{at}]", codec.item, one) for at, one in enumerate(items)])
    cls = _class_of(codec)
    if cls is not None:
        if not isinstance(value, dict):
            raise ValueError(f"{where}: needs an object, not {_kind(value)}")
        return _read_fields(cls, where, dict(cast("dict[str, Json]", value)))
    is_number = isinstance(codec, Integer | TruncatedInteger | BigSizeCodec)
    found = _integer(where, value) if is_number else _from_hex(where, value)
    problem = codec.check(found)
    if problem:
        raise ValueError(f"{where}: {problem}")
    return found


def _read_fields(cls: type[Structure], where: str, members: dict[str, Json]) -> Any:
    values: dict[str, Any] = {}
    for field in cls.__fields__:
        if field.name not in members:
            if field.required:
                raise ValueError(f"{where}.{field.name}: is missing")
            continue
        value = members.pop(field.name)
        path = f"{where}.{field.name}"
        if field.name == "unknown" and issubclass(cls, TlvStream):
            values["unknown"] = _unknown_records(path, value)
        elif field.name == "extension":
            values["extension"] = _from_hex(path, value)
        else:
            values[field.name] = _from_json_of(path, field.codec, value)
    if members:
        raise ValueError(f"{where}: there is no field {next(iter(members))!r:.80}")
    return cls(**values)


def _unknown_records(where: str, value: Json) -> tuple[TlvRecord, ...]:
    if not isinstance(value, list):
        raise ValueError(f"{where}: needs an array, not {_kind(value)}")
    records: list[TlvRecord] = []
    for at, one in enumerate(cast("list[Json]", value)):  # type: ignore[redundant-cast]
        path = f"{where}[{at}]"
        if not isinstance(one, dict) or set(cast("dict[str, Json]", one)) != {"type", "value"}:
            raise ValueError(f"{path}: needs an object of type and value")
        record = cast("dict[str, Json]", one)
        type_ = _integer(f"{path}.type", record["type"])
        if not 0 <= type_ <= _LARGEST_BIGSIZE:
            raise ValueError(f"{path}.type: {type_} is no TLV type")
        records.append(TlvRecord(type_, _from_hex(f"{path}.value", record["value"])))
    return tuple(records)


# ---------------------------------------------------------------------------------------------------------------------
# Schema


def json_schema(registry: Registry = BOLT) -> dict[str, Json]:
    """A JSON Schema (2020-12) that accepts what `to_json` makes of the registry's messages.

    It is looser than `from_json`: whether a point is on its curve, and what fits into 65,535 bytes, it does not say.
    """
    definitions: dict[str, Json] = {}
    for cls in registry:
        definitions[cls.name] = _object_schema(
            cls, definitions, {"message": {"const": cls.name}, "type": {"const": cls.type}}
        )
    definitions[UNKNOWN] = {
        "type": "object",
        "properties": {
            "message": {"const": UNKNOWN},
            "type": {"type": "integer", "minimum": 0, "maximum": 0xFFFF},
            "payload": {"type": "string", "pattern": _HEX, "maxLength": 2 * (MAX_MESSAGE_LENGTH - 2)},
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


def _object_schema(cls: type[Structure], definitions: dict[str, Json], head: dict[str, Json]) -> dict[str, Json]:
    properties: dict[str, Json] = dict(head)
    required = list(head)
    for field in cls.__fields__:
        if field.name == "unknown" and issubclass(cls, TlvStream):
            properties["unknown"] = {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "integer", "minimum": 0, "maximum": _LARGEST_BIGSIZE},
                        "value": {"type": "string", "pattern": _HEX},
                    },
                    "required": ["type", "value"],
                    "additionalProperties": False,
                },
            }
        elif field.name == "extension":
            properties["extension"] = {"type": "string", "pattern": _HEX}
        else:
            properties[field.name] = _schema_of(field.codec, definitions)
            if field.required:
                required.append(field.name)
    found: dict[str, Json] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found["required"] = required
    words = (cls.__doc__ or "").strip().partition("\n\n")[0]
    if words:
        found["description"] = " ".join(words.split())
    return found


def _schema_of(codec: Codec, definitions: dict[str, Json]) -> dict[str, Json]:
    if isinstance(codec, ShortChannelIdCodec):
        return {"type": "string", "pattern": _SCID}
    if isinstance(codec, Integer):
        return {"type": "integer", "minimum": codec.minimum, "maximum": codec.maximum}
    if isinstance(codec, TruncatedInteger):
        return {"type": "integer", "minimum": 0, "maximum": codec.maximum}
    if isinstance(codec, BigSizeCodec):
        return {"type": "integer", "minimum": 0, "maximum": _LARGEST_BIGSIZE}
    if isinstance(codec, Presence):
        return {"type": "boolean"}
    if isinstance(codec, Sequence):
        found: dict[str, Json] = {"type": "array", "items": _schema_of(codec.item, definitions)}
        if codec.count is not None:
            found |= {"minItems": codec.count, "maxItems": codec.count}
        elif codec.prefix:
            found["maxItems"] = (1 << 8 * codec.prefix) - 1
        return found
    if isinstance(codec, FixedBytes):
        return {"type": "string", "pattern": f"^[0-9a-f]{{{2 * codec.size}}}$"}
    cls = _class_of(codec)
    if cls is None:
        return {"type": "string", "pattern": _HEX}
    if cls.__name__ not in definitions:
        definitions[cls.__name__] = {}  # a structure may hold itself
        definitions[cls.__name__] = _object_schema(cls, definitions, {})
    return {"$ref": f"#/$defs/{cls.__name__}"}
