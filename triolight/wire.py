"""BOLT 1's fundamental types: how one value becomes bytes and back. Knows nothing of any message.

A field is declared with an alias of this file, ``num_pong_bytes: wire.u16``: to a type checker an ``int``, to the
compiler in ``triolight.messages.compile`` an ``int`` that carries its codec. A codec reads in place, from `at` to at
most `end` of one bytes object, so offsets in errors are offsets into the message; it never reads past `end`.

Reading raises `DecodeError` (why and where), writing raises `ValueError` (the value is our caller's own).
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Container, Iterable
from types import UnionType
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar, Union, get_args, get_origin

from triolight.errors import DecodeError
from triolight.keys import is_fresh_point as is_fresh_point
from triolight.keys import is_point as is_point

__all__ = [
    "MAX_MESSAGE_LENGTH",
    "MAX_SATOSHIS",
    "Codec",
    "ShortChannelId",
    "TlvRecord",
    "array8",
    "array16",
    "bigsize",
    "byte",
    "bytes3",
    "bytes16",
    "bytes32",
    "bytes840",
    "bytes1366",
    "chain_hash",
    "channel_id",
    "check_extension",
    "codec_of",
    "fresh_point",
    "point",
    "presence",
    "read_bigsize",
    "refuse_unknown_even",
    "remainder",
    "remainder_but_32",
    "rest",
    "s8",
    "s16",
    "s32",
    "s64",
    "sciddir_or_pubkey",
    "sha256",
    "short_channel_id",
    "signature",
    "times20",
    "tu16",
    "tu32",
    "tu64",
    "u16",
    "u32",
    "u64",
    "walk_tlv_stream",
    "write_bigsize",
    "write_tlv_records",
]

MAX_MESSAGE_LENGTH: Final = 65535
"""Bytes of a Lightning message, its two type bytes included (BOLT 8)."""
MAX_SATOSHIS: Final = 21_000_000 * 100_000_000
"""BOLT 1: no amount in satoshis is larger."""


class ShortChannelId(int):
    """A funding output: block height (3 bytes), transaction index (3), output index (2). Prints ``539268x845x1``."""

    __slots__ = ()

    @classmethod
    def of(cls, block: int, transaction: int, output: int) -> ShortChannelId:
        """From its parts. ValueError if one does not fit."""
        if not (0 <= block < 1 << 24 and 0 <= transaction < 1 << 24 and 0 <= output < 1 << 16):
            raise ValueError(f"no short_channel_id: {block}x{transaction}x{output}")
        return cls(block << 40 | transaction << 16 | output)

    @classmethod
    def parse(cls, text: str) -> ShortChannelId:
        """From ``block x transaction x output`` in decimal, without blanks (BOLT 7). ValueError if it is not that."""
        parts = text.split("x")
        if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
            raise ValueError(f"no short_channel_id: {text[:64]!r}")
        block, transaction, output = parts
        return cls.of(int(block), int(transaction), int(output))

    @property
    def block(self) -> int:
        """The height of the funding transaction's block."""
        return self >> 40

    @property
    def transaction(self) -> int:
        """The index of the funding transaction in its block."""
        return self >> 16 & 0xFFFFFF

    @property
    def output(self) -> int:
        """The index of the funding output in its transaction."""
        return self & 0xFFFF

    def __str__(self) -> str:
        return f"{self.block}x{self.transaction}x{self.output}"

    def __repr__(self) -> str:
        return f"ShortChannelId({self})"


class Codec(ABC):
    """How one value is read and written.

    A codec of fixed size gives its `struct` code in `format`, and the compiler reads a run of such fields in one step;
    `check` and `convert` then see what struct made of it.
    """

    format: str = ""
    """The struct code of the value, without byte order; empty if the size is not fixed."""
    open_ended: bool = False
    """Whether a value goes on up to the end, so that nothing can follow it."""

    def __repr__(self) -> str:
        return type(self).__name__

    @abstractmethod
    def read(self, data: bytes, at: int, end: int) -> tuple[Any, int]:
        """The value that starts at `at`, and where it stops."""

    @abstractmethod
    def write(self, value: Any) -> bytes:
        """Its bytes. ValueError says what does not fit."""

    def check(self, value: Any) -> str | None:
        """What is wrong with a value, in words; None if nothing is."""
        return None

    def convert(self, raw: Any) -> Any:
        """What struct gave, as the value a message holds."""
        return raw


def _need(size: int, at: int, end: int) -> None:
    if end - at < size:
        raise DecodeError(f"needs {size} bytes, {end - at} are left", offset=at)


class Integer(Codec):
    """A big-endian integer of 1, 2, 4 or 8 bytes; signed ones are two's complement."""

    def __init__(self, format: str) -> None:
        self.format = format
        self._struct = struct.Struct(">" + format)
        self.size: Final = self._struct.size
        self.signed: Final = format.islower()
        bits = 8 * self.size
        self.minimum: Final = -(1 << bits - 1) if self.signed else 0
        self.maximum: Final = (1 << bits - 1) - 1 if self.signed else (1 << bits) - 1

    def read(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        _need(self.size, at, end)
        value = self.convert(self._struct.unpack_from(data, at)[0])
        problem = self.check(value)
        if problem:
            raise DecodeError(problem, offset=at)
        return value, at + self.size

    def write(self, value: int) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return self._struct.pack(value)

    def check(self, value: Any) -> str | None:
        if not isinstance(value, int):
            return f"needs an int, not {type(value).__name__}"
        if not self.minimum <= value <= self.maximum:
            return f"needs an int from {self.minimum} to {self.maximum}, not {value}"
        return None


class ShortChannelIdCodec(Integer):
    """Eight bytes as a `ShortChannelId`."""

    def __init__(self) -> None:
        super().__init__("Q")

    def convert(self, raw: int) -> ShortChannelId:
        return ShortChannelId(raw)


class TruncatedInteger(Codec):
    """tu16, tu32, tu64: a big-endian integer without leading zero bytes, up to the end of a TLV value; 0 is empty."""

    open_ended = True

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self.maximum: Final = (1 << 8 * size) - 1

    def read(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        if end - at > self.size:
            raise DecodeError(f"a truncated integer has at most {self.size} bytes, not {end - at}", offset=at)
        if end > at and data[at] == 0:
            raise DecodeError("a truncated integer must not begin with a zero byte", offset=at)
        return int.from_bytes(data[at:end], "big"), end

    def write(self, value: int) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return value.to_bytes((value.bit_length() + 7) // 8, "big")

    def check(self, value: Any) -> str | None:
        if not isinstance(value, int) or not 0 <= value <= self.maximum:
            return f"needs an int from 0 to {self.maximum}, not {value!r}"
        return None


def read_bigsize(data: bytes, at: int, end: int) -> tuple[int, int]:
    """A BigSize (1, 3, 5 or 9 bytes, big-endian, minimal) and where it stops."""
    _need(1, at, end)
    first = data[at]
    if first < 0xFD:
        return first, at + 1
    size, least = ((2, 0xFD), (4, 0x10000), (8, 0x100000000))[first - 0xFD]
    _need(1 + size, at, end)
    value = int.from_bytes(data[at + 1 : at + 1 + size], "big")
    if value < least:
        raise DecodeError(f"the BigSize {value} is not in its shortest form", offset=at)
    return value, at + 1 + size


def write_bigsize(value: int) -> bytes:
    """The one valid BigSize of 0 <= value < 2**64. ValueError outside of that."""
    if not 0 <= value < 1 << 64:
        raise ValueError(f"no BigSize: {value}")
    if value < 0xFD:
        return bytes((value,))
    if value < 0x10000:
        return b"\xfd" + value.to_bytes(2, "big")
    if value < 0x100000000:
        return b"\xfe" + value.to_bytes(4, "big")
    return b"\xff" + value.to_bytes(8, "big")


class BigSizeCodec(Codec):
    def read(self, data: bytes, at: int, end: int) -> tuple[int, int]:
        return read_bigsize(data, at, end)

    def write(self, value: int) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return write_bigsize(value)

    def check(self, value: Any) -> str | None:
        if not isinstance(value, int) or not 0 <= value < 1 << 64:
            return f"needs an int from 0 to {(1 << 64) - 1}, not {value!r}"
        return None


class FixedBytes(Codec):
    """A fixed number of bytes."""

    def __init__(self, size: int) -> None:
        self.size: Final = size
        self.format = f"{size}s"

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        _need(self.size, at, end)
        value = data[at : at + self.size]
        problem = self.check(value)
        if problem:
            raise DecodeError(problem, offset=at)
        return value, at + self.size

    def write(self, value: bytes) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return bytes(value)

    def check(self, value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"needs {self.size} bytes, not {type(value).__name__}"
        if len(value) != self.size:
            return f"needs {self.size} bytes, not {len(value)}"
        return None


class Point(FixedBytes):
    """A point of secp256k1, compressed; one that is not on the curve is refused (BOLT 1)."""

    def __init__(self) -> None:
        super().__init__(33)

    def check(self, value: Any) -> str | None:
        return super().check(value) or (None if is_point(value) else "not a compressed point of secp256k1")


class FreshPoint(Point):
    """A point that hardly comes twice: see `triolight.keys.is_fresh_point`."""

    def check(self, value: Any) -> str | None:
        return FixedBytes.check(self, value) or (
            None if is_fresh_point(value) else "not a compressed point of secp256k1"
        )


class ScidDirOrPubkey(Codec):
    """BOLT 1's sciddir_or_pubkey, kept as bytes: 9 (direction 0 or 1, short_channel_id) or 33 (a point)."""

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        _need(1, at, end)
        size = 9 if data[at] < 2 else 33
        _need(size, at, end)
        value = data[at : at + size]
        problem = self.check(value)
        if problem:
            raise DecodeError(problem, offset=at)
        return value, at + size

    def write(self, value: bytes) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return bytes(value)

    def check(self, value: Any) -> str | None:
        if isinstance(value, bytes) and ((len(value) == 9 and value[0] < 2) or is_fresh_point(value)):
            return None
        return "neither a short_channel_id with a direction nor a point"


class PrefixedBytes(Codec):
    """A u16 length and that many bytes: `len*byte` in the BOLTs."""

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        _need(2, at, end)
        size = data[at] << 8 | data[at + 1]
        if end - at - 2 < size:
            raise DecodeError(f"its length says {size} bytes, {end - at - 2} are left", offset=at)
        return data[at + 2 : at + 2 + size], at + 2 + size

    def write(self, value: bytes) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return len(value).to_bytes(2, "big") + value

    def check(self, value: Any) -> str | None:
        if not isinstance(value, bytes):
            return f"needs bytes, not {type(value).__name__}"
        if len(value) > 0xFFFF:
            return f"needs at most 65535 bytes, not {len(value)}"
        return None


class Remainder(Codec):
    """All bytes up to the end of the message or of the TLV value, or up to so many `before` it."""

    def __init__(self, before: int = 0) -> None:
        self.before: Final = before
        self.open_ended = not before

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        _need(self.before, at, end)
        stop = end - self.before
        return data[at:stop], stop

    def write(self, value: bytes) -> bytes:
        problem = self.check(value)
        if problem:
            raise ValueError(problem)
        return bytes(value)

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, bytes) else f"needs bytes, not {type(value).__name__}"


class Presence(Codec):
    """A TLV record without a value: it is there (True) or not (False)."""

    def read(self, data: bytes, at: int, end: int) -> tuple[bool, int]:
        return True, at

    def write(self, value: bool) -> bytes:
        return b""

    def check(self, value: Any) -> str | None:
        return None if isinstance(value, bool) else f"needs True or False, not {value!r:.80}"


class Sequence(Codec):
    """Values of one type in a row, as a tuple: counted by a u16, a fixed number of them, or up to the end."""

    def __init__(self, *, prefix: int = 0, count: int | None = None, item: Codec | None = None) -> None:
        self.prefix: Final = prefix
        self.count: Final = count
        self.open_ended = not prefix and count is None
        self._item = item

    @property
    def item(self) -> Codec:
        if self._item is None:
            raise TypeError("a sequence needs the type of its items, as in array16[signature]")
        return self._item

    def bind(self, item: Codec) -> Sequence:
        return Sequence(prefix=self.prefix, count=self.count, item=item)

    def read(self, data: bytes, at: int, end: int) -> tuple[tuple[Any, ...], int]:
        read = self.item.read
        count = self.count
        if self.prefix:
            _need(self.prefix, at, end)
            count = int.from_bytes(data[at : at + self.prefix], "big")
            at += self.prefix
        values: list[Any] = []
        if count is None:
            while at < end:
                value, stop = read(data, at, end)
                if stop == at:
                    raise DecodeError("an item without bytes would go on for ever", offset=at)
                at = stop
                values.append(value)
        else:
            for _ in range(count):
                value, at = read(data, at, end)
                values.append(value)
        return tuple(values), at

    def write(self, value: Iterable[Any]) -> bytes:
        written = [self.item.write(one) for one in value]
        if self.count is not None and len(written) != self.count:
            raise ValueError(f"needs {self.count} items, not {len(written)}")
        head = b""
        if self.prefix:
            if len(written) >= 1 << 8 * self.prefix:
                raise ValueError(f"needs fewer than {1 << 8 * self.prefix} items, not {len(written)}")
            head = len(written).to_bytes(self.prefix, "big")
        return head + b"".join(written)


# The names that declarations use.

T = TypeVar("T")

byte: TypeAlias = Annotated[int, Integer("B")]
"""1 byte: 0 to 255."""
u16: TypeAlias = Annotated[int, Integer("H")]
"""2 bytes, big-endian."""
u32: TypeAlias = Annotated[int, Integer("I")]
"""4 bytes, big-endian."""
u64: TypeAlias = Annotated[int, Integer("Q")]
"""8 bytes, big-endian."""
s8: TypeAlias = Annotated[int, Integer("b")]
"""1 byte, signed."""
s16: TypeAlias = Annotated[int, Integer("h")]
"""2 bytes, big-endian, signed."""
s32: TypeAlias = Annotated[int, Integer("i")]
"""4 bytes, big-endian, signed."""
s64: TypeAlias = Annotated[int, Integer("q")]
"""8 bytes, big-endian, signed."""
tu16: TypeAlias = Annotated[int, TruncatedInteger(2)]
"""Up to 2 bytes, without leading zeros; last in a TLV value."""
tu32: TypeAlias = Annotated[int, TruncatedInteger(4)]
"""Up to 4 bytes, without leading zeros; last in a TLV value."""
tu64: TypeAlias = Annotated[int, TruncatedInteger(8)]
"""Up to 8 bytes, without leading zeros; last in a TLV value."""
bigsize: TypeAlias = Annotated[int, BigSizeCodec()]
"""1, 3, 5 or 9 bytes, in the shortest form."""
point: TypeAlias = Annotated[bytes, Point()]
"""33 bytes, checked to be on the curve."""
fresh_point: TypeAlias = Annotated[bytes, FreshPoint()]
"""The same, of those that hardly come twice, as in onions: none is remembered."""
signature: TypeAlias = Annotated[bytes, FixedBytes(64)]
"""64 bytes."""
sha256: TypeAlias = Annotated[bytes, FixedBytes(32)]
"""32 bytes."""
chain_hash: TypeAlias = Annotated[bytes, FixedBytes(32)]
"""32 bytes."""
channel_id: TypeAlias = Annotated[bytes, FixedBytes(32)]
"""32 bytes."""
bytes3: TypeAlias = Annotated[bytes, FixedBytes(3)]
"""3 bytes."""
bytes32: TypeAlias = Annotated[bytes, FixedBytes(32)]
"""32 bytes."""
bytes840: TypeAlias = Annotated[bytes, FixedBytes(840)]
"""840 bytes."""
bytes1366: TypeAlias = Annotated[bytes, FixedBytes(1366)]
"""1366 bytes."""
short_channel_id: TypeAlias = Annotated[ShortChannelId, ShortChannelIdCodec()]
"""8 bytes."""
sciddir_or_pubkey: TypeAlias = Annotated[bytes, ScidDirOrPubkey()]
"""9 or 33 bytes."""
bytes16: TypeAlias = Annotated[bytes, PrefixedBytes()]
"""A u16 length and that many bytes."""
remainder: TypeAlias = Annotated[bytes, Remainder()]
"""All that is left."""
remainder_but_32: TypeAlias = Annotated[bytes, Remainder(before=32)]
"""All that is left but the last 32 bytes."""
presence: TypeAlias = Annotated[bool, Presence()]
"""A TLV record with no value."""
array8: TypeAlias = Annotated[tuple[T, ...], Sequence(prefix=1)]
"""A byte that counts, and that many items."""
array16: TypeAlias = Annotated[tuple[T, ...], Sequence(prefix=2)]
"""A u16 that counts, and that many items."""
rest: TypeAlias = Annotated[tuple[T, ...], Sequence()]
"""Items up to the end."""
times20: TypeAlias = Annotated[tuple[T, ...], Sequence(count=20)]
"""Twenty items."""


def codec_of(hint: Any) -> Codec:
    """The codec that a type hint carries: an alias of this file, a declared structure, or one of them ``| None``.

    Raises TypeError for any other hint.
    """
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        inner = [one for one in get_args(hint) if one is not type(None)]
        if len(inner) == 1:
            return codec_of(inner[0])
    elif origin is Annotated:
        inside, *metadata = get_args(hint)
        for extra in metadata:
            if isinstance(extra, Sequence):
                return extra.bind(codec_of(get_args(inside)[0]))
            if isinstance(extra, Codec):
                return extra
        return codec_of(inside)
    elif hint is bool:
        return Presence()
    codec = getattr(hint, "__codec__", None)
    if isinstance(codec, Codec):
        return codec
    raise TypeError(f"{hint!r} is not a type of triolight.wire")


class TlvRecord(NamedTuple):
    """A TLV record as it stands on the wire: its type and its value's bytes."""

    type: int
    value: bytes


def walk_tlv_stream(
    data: bytes,
    at: int,
    end: int,
    visit: Callable[[int, int, int, int], None],
    known: Container[int] | None = None,
) -> tuple[int, list[tuple[int, int]]]:
    """Calls ``visit(type, start of record, start of value, end of value)`` for each record of a TLV stream; of `known`
    types alone if they are given. Then it refuses unknown even ones, and says how many others there are and where they
    stand, those in a row as one.

    BOLT 1: types strictly increase, type and length are in their shortest form, no value runs past the end.
    Raises DecodeError otherwise.
    """
    previous = -1
    count = 0
    others: list[tuple[int, int]] = []
    begin = behind = -1  # of those in a row
    while at < end:
        start = at
        # Thousands of records fit into a message, and a call for each would tell: types of one byte and of three are
        # read here, as lengths of one are. What is wrong with one, `read_bigsize` says.
        type_ = data[at]
        if type_ < 0xFD:
            at += 1
        elif type_ == 0xFD and end - at >= 3 and (data[at + 1] or data[at + 2] >= 0xFD):
            type_ = data[at + 1] << 8 | data[at + 2]
            at += 3
        else:
            type_, at = read_bigsize(data, at, end)
        if type_ <= previous:
            raise DecodeError(f"TLV type {type_} after {previous}: types must increase", offset=start)
        previous = type_
        if at == end:
            raise DecodeError(f"TLV type {type_} has no length", offset=at)
        length = data[at]
        if length < 0xFD:
            at += 1
        else:
            length, at = read_bigsize(data, at, end)
        if length > end - at:
            raise DecodeError(f"TLV type {type_} says {length} bytes, {end - at} are left", offset=at)
        if known is None or type_ in known:
            visit(type_, start, at, at + length)
            at += length
            continue
        if type_ % 2 == 0:
            refuse_unknown_even(type_, start)
        at += length
        count += 1
        if start != behind:
            if count > 1:
                others.append((begin, behind))
            begin = start
        behind = at
    if count:
        others.append((begin, behind))
    return count, others


def refuse_unknown_even(type_: int, start: int) -> None:
    """BOLT 1, "it's OK to be odd": an even TLV type that we do not know fails the stream."""
    if type_ % 2 == 0:
        raise DecodeError(f"unknown even TLV type {type_}", offset=start)


def check_extension(data: bytes, at: int, end: int) -> None:
    """BOLT 1: any message may carry an extension, a TLV stream. DecodeError if these bytes are not a valid one."""
    walk_tlv_stream(data, at, end, lambda type_, start, _value, _stop: refuse_unknown_even(type_, start))


def write_tlv_records(records: Iterable[tuple[int, bytes]]) -> bytes:
    """Records as a TLV stream, in the order given. ValueError if their types do not increase."""
    written: list[bytes] = []
    previous = -1
    for type_, value in records:
        if type_ <= previous:
            raise ValueError(f"TLV type {type_} after {previous}: types must increase")
        previous = type_
        written += (write_bigsize(type_), write_bigsize(len(value)), value)
    return b"".join(written)
