"""What the parameters and results of LSPS are made of: records as dataclasses, and each kind of field both ways.

A record is declared once, by its fields' types. A key that is not declared is ignored, and one that may be missing may
be null: there are servers that write it so. DecodeError for anything else, with the field's name.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import datetime, timedelta, timezone
from functools import cache
from typing import Annotated, Any, ClassVar, Final, Self, TypeAlias, Union, cast, get_args, get_origin, get_type_hints

from triolight.errors import DecodeError
from triolight.lsps.rpc import Json
from triolight.text import quoted
from triolight.wire import ShortChannelId

__all__ = ["Amount", "Count", "Flag", "Record", "Scid", "Text", "Time"]

U64: Final = (1 << 64) - 1
U32: Final = (1 << 32) - 1
_AMOUNT: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,6})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


class Kind:
    """A kind of field. `read` raises ValueError for what it does not take."""

    __slots__ = ("read", "write")

    def __init__(self, read: Callable[[Json], Any], write: Callable[[Any], Json]) -> None:
        self.read: Final = read
        self.write: Final = write


def _same(value: Any) -> Any:
    return value


def _amount(value: Json) -> int:
    if not isinstance(value, str) or not _AMOUNT.fullmatch(value) or int(value) > U64:
        raise ValueError("no amount: those are strings of decimal digits, below 2^64")
    return int(value)


def _count(value: Json) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= U32:
        raise ValueError("no integer from 0 to 2^32 - 1")
    return value


def _flag(value: Json) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise ValueError("no string")
    return value


def _time(value: Json) -> datetime:
    found = _TIME.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError("no date and time as RFC 3339 has them")
    day, clock, fraction, sign, hours, minutes = found.groups()
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    zone = timezone(-offset if sign == "-" else offset)
    microsecond = int((fraction or "").ljust(6, "0"))
    try:
        read = datetime.fromisoformat(f"{day}T{clock}").replace(microsecond=microsecond, tzinfo=zone)
        return read.astimezone(timezone.utc)  # noqa: UP017  # as everywhere it is written
    except OverflowError:
        raise ValueError("a time before the first year, or after the last one") from None


def write_time(value: datetime) -> str:
    """As LSPS0 has it: UTC, with milliseconds. ValueError for a time of no zone."""
    if value.tzinfo is None:
        raise ValueError("a time without a zone is no moment")
    moment = value.astimezone(timezone.utc)  # noqa: UP017
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z".rjust(24, "0")


def _scid(value: Json) -> ShortChannelId:
    if not isinstance(value, str) or len(value) > 24:
        raise ValueError("no short_channel_id")
    return ShortChannelId.parse(value)


Amount: TypeAlias = Annotated[int, Kind(_amount, str)]
"""Satoshis or millisatoshis, as the field's name says. In JSON a string of decimal digits."""
Count: TypeAlias = Annotated[int, Kind(_count, _same)]
"""Blocks, parts per million, how many."""
Flag: TypeAlias = Annotated[bool, Kind(_flag, _same)]
"""True or false."""
Text: TypeAlias = Annotated[str, Kind(_text, _same)]
"""A stranger's, as it came."""
Time: TypeAlias = Annotated[datetime, Kind(_time, write_time)]
"""A moment, in UTC. What is finer than a microsecond is cut off."""
Scid: TypeAlias = Annotated[ShortChannelId, Kind(_scid, str)]
"""In JSON ``539268x845x1``."""


@dataclass(frozen=True, slots=True)
class Record:
    """Parameters or a result. Subclasses declare fields; each stands in JSON under its own name."""

    written_null: ClassVar[frozenset[str]] = frozenset()
    """Fields that are written as null where there is nothing, and not left out."""

    @classmethod
    def from_json(cls, value: Json, *, where: str = "") -> Self:
        """From what JSON has. DecodeError, with the field's name, for what is missing or no value of it."""
        if not isinstance(value, Mapping):
            raise DecodeError("is no object", message=cls.__name__, field=where)
        given = cast("Mapping[str, Json]", value)
        found: dict[str, Any] = {}
        for name, kind, needed in _declared(cls):
            if given.get(name) is None:
                if needed:
                    raise DecodeError("is missing", message=cls.__name__, field=where + name)
                continue
            try:
                found[name] = kind.read(given[name])
            except DecodeError as error:
                raise error.within(message=cls.__name__, field=where + name) from None
            except ValueError as error:
                shown = quoted(str(given[name]), 80)
                raise DecodeError(f"{error}: {shown}", message=cls.__name__, field=where + name) from None
        return cls(**found)

    def to_json(self) -> dict[str, Json]:
        """As JSON has it: what `from_json` reads. What is None is left out."""
        found: dict[str, Json] = {}
        for name, kind, _ in _declared(type(self)):
            value = getattr(self, name)
            if value is not None:
                found[name] = kind.write(value)
            elif name in self.written_null:
                found[name] = None
        return found

    @classmethod
    def takes(cls, name: str, value: Json) -> bool:
        """Whether a field of this name takes this value. False for a name that it does not know."""
        kinds = [kind for one, kind, _ in _declared(cls) if one == name]
        try:
            for kind in kinds:
                kind.read(value)
        except (ValueError, DecodeError):
            return False
        return bool(kinds)

    @classmethod
    def names(cls) -> frozenset[str]:
        """The keys that it knows."""
        return frozenset(name for name, _, _ in _declared(cls))


def _declared(cls: type[Record]) -> tuple[tuple[str, Kind, bool], ...]:
    return _declared_once(cast("Any", cls))  # mypy knows of no class that has a hash, if its objects have one


@cache
def _declared_once(cls: Any) -> tuple[tuple[str, Kind, bool], ...]:
    """Of each field its name, its kind, and whether it must be there."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        (one.name, _kind_of(hints[one.name]), one.default is MISSING and one.default_factory is MISSING)
        for one in fields(cls)
        if one.init and one.metadata.get("in_json", True)
    )


def _kind_of(hint: Any) -> Kind:
    if get_origin(hint) is Annotated:
        return next(one for one in hint.__metadata__ if isinstance(one, Kind))
    if get_origin(hint) in (Union, types.UnionType):
        return _kind_of(next(one for one in get_args(hint) if one is not type(None)))
    if get_origin(hint) is tuple:
        return _list_of(_kind_of(get_args(hint)[0]))
    return Kind(hint.from_json, hint.to_json)


def _list_of(kind: Kind) -> Kind:
    def read(value: Json) -> tuple[Any, ...]:
        if value.__class__ is not list:
            raise ValueError("no list")
        return tuple(kind.read(one) for one in value)

    return Kind(read, lambda value: [kind.write(one) for one in value])
