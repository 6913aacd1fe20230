"""The decorators: a class body becomes a message, once. Knows the wire, but no message.

::

    @message(18)
    class Ping(Message):
        num_pong_bytes: wire.u16
        ignored: wire.bytes16

makes the class of `structures` that the body describes, with what `compile` makes of its fields. Nothing is registered
anywhere: registries are values (`Registry`), put together with ``|``.

A faulty declaration raises where it stands. Our own, which are tested, are only read when one is used first: a
program that sends pings does not pay for a hundred classes.
"""

from __future__ import annotations

import builtins
import inspect
import struct
from collections.abc import Callable
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    TypeVar,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

from triolight import wire
from triolight.messages.compile import (
    DeclaredCodec,
    StructureCodec,
    TlvStreamCodec,
    compile_decode,
    compile_encode,
    compile_init,
)
from triolight.messages.structures import REQUIRED, Field, Message, Structure, Tlv, TlvStream, bolt_name

_FEW_PIECES_BYTES: Final = 64
"""What is longer than its fixed fields by no more than this cannot hold many items or records."""
_OURS: Final = tuple(f"{__name__.rpartition('.')[0]}.{name}" for name in ("bolt", "lsps"))
"""How the modules of our own messages begin: the BOLTs' and their neighbours'."""
_TAKEN: Final = ("self", "message", "extension", "unknown")
"""What no field is called, whatever it is a field of."""

_S = TypeVar("_S", bound=Structure)
_T = TypeVar("_T", bound=TlvStream)
_M = TypeVar("_M", bound=Message)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def structure(cls: type[_S]) -> type[_S]:
    """Compiles a structure inside messages (the BOLTs' subtypes, TLV values with several fields)."""

    def compile_(made: type[_S], fields: tuple[Field, ...]) -> None:
        _set_fields(made, fields)
        made.__codec__ = StructureCodec(made)

    return _declared(cls, (), ("__codec__",), compile_)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def tlv_stream(cls: type[_T]) -> type[_T]:
    """Compiles a TLV stream: every field is ``name: Annotated[its type | None, Tlv(its TLV type)] = None``."""

    def compile_(made: type[_T], fields: tuple[Field, ...]) -> None:
        types = [field.tlv_type for field in fields]
        if None in types or len(set(types)) != len(types):
            raise TypeError(f"{cls.__name__}: each field needs a TLV type of its own")
        _set_fields(made, (*fields, Field("unknown", wire.Remainder(), ())))
        made.__codec__ = TlvStreamCodec(made, fields)

    return _declared(cls, ("unknown",), ("__codec__",), compile_)


@dataclass_transform(kw_only_default=True, frozen_default=True)
def message(
    type: int, *, gossip: bool = False, query: bool = False, signed: bool = False, sealed: bool = False
) -> Callable[[type[_M]], type[_M]]:
    """Compiles a message of this type number (0 to 65535). `gossip`, `query` and `sealed` say what it is to the
    PeerManager: see ``Message.__gossip__``, ``Message.__query__`` and ``Message.__sealed__``. `signed`: its maker has
    signed whatever follows its fields, which is kept as it is in `extension`; of any other message that has to be a TLV
    stream (BOLT 1)."""
    if not 0 <= type <= 0xFFFF:
        raise ValueError(f"no message type: {type}")

    def declare(cls: builtins.type[_M]) -> builtins.type[_M]:
        def compile_(made: builtins.type[_M], fields: tuple[Field, ...]) -> None:
            _set_fields(made, (*fields, Field("extension", wire.Remainder(), b"")))
            has_tlvs = bool(fields) and isinstance(fields[-1].codec, TlvStreamCodec)
            made.__plain__ = _plain_bytes(fields)
            made.__encode__ = compile_encode(made, fields, signed)
            made.__decode__ = compile_decode(made, fields, has_tlvs, signed)

        cls.type = type
        cls.name = bolt_name(cls)
        cls.__gossip__ = gossip
        cls.__query__ = query
        cls.__sealed__ = sealed
        return _declared(cls, ("extension",), ("__plain__", "__encode__", "__decode__"), compile_)

    return declare


def give_decoder(cls: type[Message], use: Callable[[Callable[[bytes], Any]], None]) -> None:
    """Calls `use` with a message's compiled decoder; as long as it is not compiled, with one that does it first, and
    calls `use` again."""
    if not isinstance(vars(cls).get("__decode__"), _AtFirstUse):
        use(cls.__decode__)
        return

    def first(data: bytes) -> Any:
        decode = cls.__decode__
        use(decode)
        return decode(data)

    use(first)


def _plain_bytes(fields: tuple[Field, ...]) -> int:
    bytes_only = all(
        field.codec.format or isinstance(field.codec, wire.PrefixedBytes | wire.Remainder) for field in fields
    )
    if bytes_only and fields and fields[-1].codec.open_ended:
        return wire.MAX_MESSAGE_LENGTH
    fixed = sum(struct.calcsize(">" + field.codec.format) for field in fields if field.codec.format)
    return fixed + _FEW_PIECES_BYTES


def _holds_lists(codec: wire.Codec) -> bool:
    return isinstance(codec, wire.Sequence) or (isinstance(codec, DeclaredCodec) and codec.cls.__lists__)


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
        if name in _TAKEN or name.startswith("_") or any(hasattr(base, name) for base in cls.__bases__):
            raise TypeError(f"{cls.__name__}.{name}: no field can be called that, it means something else here")
        if fields and fields[-1].tlv_type is None and fields[-1].codec.open_ended:
            raise TypeError(f"{cls.__name__}.{fields[-1].name}: goes on up to the end, so {name} cannot follow it")
        record = None
        if get_origin(hint) is Annotated:
            record = next((extra for extra in get_args(hint)[1:] if isinstance(extra, Tlv)), None)
        try:
            codec = wire.codec_of(hint)
        except TypeError as error:
            raise TypeError(f"{cls.__name__}.{name}: {error}") from None
        default = cls.__dict__.get(name, REQUIRED)
        fields.append(Field(name, codec, default, record.type if record else None, record.field if record else None))
    return tuple(fields)


def _declared(
    cls: type[_S],
    more: tuple[str, ...],
    compiled: tuple[str, ...],
    compile_: Callable[[type[_S], tuple[Field, ...]], None],
) -> type[_S]:
    """The class that a body describes. `more`: what it has besides its fields; `compiled`: what `compile_` sets
    besides what all have."""
    if not cls.__module__.startswith(_OURS):
        fields = _fields_of(cls)
        made = _rebuild(cls, [field.name for field in fields], more)
        compile_(made, fields)
        return made

    names = list(inspect.get_annotations(cls))  # text, which is not looked at: it has no ClassVar
    made = _rebuild(cls, names, more)

    def compile_now() -> None:
        compile_(made, _fields_of(cls))

    for attribute in ("__fields__", "__lists__", "__init__", *compiled):
        setattr(made, attribute, _AtFirstUse(attribute, compile_now))
    if issubclass(cls, TlvStream):
        made.__init__ = _empty_or(vars(made)["__init__"], made, {name: cls.__dict__[name] for name in names})  # type: ignore[method-assign]
    return made


class _AtFirstUse:
    """In a class, in place of what will be compiled. It is compiled when it is asked for."""

    __slots__ = ("_compile", "_name")

    def __init__(self, name: str, compile_: Callable[[], None]) -> None:
        self._name: Final = name
        self._compile: Final = compile_

    def __get__(self, instance: object, owner: type) -> Any:
        self._compile()
        return getattr(owner if instance is None else instance, self._name)


def _empty_or(init: _AtFirstUse, made: type[_S], defaults: dict[str, Any]) -> Any:
    """An `__init__` for a TLV stream that is not compiled: an empty one, which is the default of a message's field,
    needs no more than its slots."""
    setters = [(getattr(made, name).__set__, default) for name, default in defaults.items()]
    set_unknown = made.unknown.__set__  # type: ignore[attr-defined]

    def __init__(self: Any, *wrong: Any, **values: Any) -> None:
        if wrong or values:
            init.__get__(self, made)(*wrong, **values)
            return
        for set_, default in setters:
            set_(self, default)
        set_unknown(self, ())

    return __init__


def _rebuild(cls: type[_S], names: list[str], more: tuple[str, ...]) -> type[_S]:
    """The class again, with slots: a class that exists cannot get them (as `dataclasses` does it)."""
    namespace = {
        key: value for key, value in cls.__dict__.items() if key not in names and key not in ("__dict__", "__weakref__")
    }
    namespace["__slots__"] = tuple(names)
    namespace["__match_args__"] = (*names, *more)
    made: type[_S] = cast("Any", type(cls))(cls.__name__, cls.__bases__, namespace)
    made.__qualname__ = cls.__qualname__
    return made


def _set_fields(made: type[_S], fields: tuple[Field, ...]) -> None:
    made.__fields__ = fields
    made.__lists__ = any(_holds_lists(field.codec) for field in fields)
    made.__init__ = compile_init(made, fields)  # type: ignore[method-assign]
