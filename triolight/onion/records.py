"""BOLT 12 without its fields: the strings, the records with their bytes as they came, and what is signed of them.

What is signed, mirrored or compared are records as they stand on the wire, never what they were decoded to. Every check
names its rule: an `OfferError` is raised for the first one that is broken, and for nothing else.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeVar

from triolight import wire
from triolight.bech32 import is_bech32, unchecked_decode, unchecked_encode
from triolight.errors import DecodeError, TriolightError
from triolight.messages import BlindedPath, Field, TlvStream
from triolight.text import quoted

__all__ = [
    "MAX_STRING",
    "RULES",
    "OfferError",
    "Record",
    "check_paths",
    "decode_string",
    "encode_string",
    "merkle_root",
    "parse",
    "read_records",
    "signature_hash",
    "unknown_even",
]

MAX_STRING: Final = 128 * 1024
"""Characters of a string that are looked at: an onion message holds 32 KiB of bytes, in 52,000 characters."""
SIGNATURES: Final = range(240, 1001)
"""Types of signatures, which are not signed themselves."""
RULES: Final = {
    "B1": "a string is lno1, lnr1 or lni1 and bech32 characters, without a checksum",
    "B2": "it is all in upper or all in lower case, and a + with blanks behind it joins two of its characters",
    "B3": "the bits behind its last byte are at most four, and zero",
    "B5": "a TLV stream of increasing types, in the ranges of its kind, unknown even ones refused",
    "B6": "each field is what its type says, and no list is empty",
    "B8": "what is signed is the root over all records but the signatures",
    "B9": "the signature is the one of the key that must have signed",
    "B11": "an offer says enough of what it offers, and nothing that contradicts itself",
    "B13": "what is asked for fits the offer",
    "B14": "an invoice request has all that it needs, and fits the offer that it repeats",
    "B15": "the price of all items together is an amount that there is",
    "B16": "an invoice has all that it needs, and fits its request",
    "B17": "it asks for no more than was agreed to",
    "B19": "an error has a text, and suggests a value only of a field that it names",
}
"""Every rule that an `OfferError` can name, and what it asks."""

T = TypeVar("T", bound=TlvStream)

_JOINED: Final = re.compile(r"(?<=[0-9A-Za-z])\+[ \t\r\n]*(?=[0-9A-Za-z])")
_EVEN_BITS: Final = 0x55
_LONG_TYPE: Final = 0xFD
"""From this first byte on, a type has more of them."""
_LEAF: Final = hashlib.sha256(b"LnLeaf").digest() * 2
_BRANCH: Final = hashlib.sha256(b"LnBranch").digest() * 2


class OfferError(TriolightError):
    """A string, offer, invoice request, invoice or error that breaks a rule of BOLT 12.

    `rule` is the number of the rule, a key of `RULES`; `field` is the BOLT's name of the field, where it is about one.
    """

    def __init__(self, rule: str, why: str, field: str = "") -> None:
        super().__init__(f"{field}: {why} ({rule})" if field else f"{why} ({rule})")
        self.rule: Final = rule
        self.why: Final = why
        self.field: Final = field

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.rule, self.why, self.field)


def decode_string(text: str, prefix: str) -> bytes:
    """The bytes of a string that begins with this prefix, ``lno`` for an offer."""
    if len(text) > MAX_STRING:
        raise OfferError("B1", f"longer than {MAX_STRING} characters")
    if not text.isascii():
        raise OfferError("B1", f"characters that are not bech32's: {quoted(text, 90)}")
    joined = _JOINED.sub("", text)
    if "+" in joined:
        raise OfferError("B2", "a + that does not stand between two characters")
    if joined != joined.lower() and joined != joined.upper():
        raise OfferError("B2", f"in mixed case: {quoted(text, 90)}")
    found, one, characters = joined.lower().partition("1")
    if not one or found != prefix:
        raise OfferError("B1", f"does not begin with {prefix}1: {quoted(text, 90)}")
    if not characters or not is_bech32(characters):
        raise OfferError("B1", f"not bech32 behind its {prefix}1: {quoted(text, 90)}")
    try:
        return unchecked_decode(characters)
    except ValueError as error:
        raise OfferError("B3", str(error)) from None


def encode_string(prefix: str, data: bytes) -> str:
    """Bytes as a string with this prefix, in lower case."""
    return f"{prefix}1{unchecked_encode(data)}"


class Record(NamedTuple):
    """A record of a stream: its type, its value, and all of its bytes as they came."""

    type: int
    value: bytes
    raw: bytes


def read_records(data: bytes) -> tuple[Record, ...]:
    """The records of a stream, in order."""
    found: list[Record] = []

    def visit(type_: int, start: int, value: int, stop: int) -> None:
        found.append(Record(type_, data[value:stop], data[start:stop]))

    try:
        wire.walk_tlv_stream(data, 0, len(data), visit)
    except DecodeError as error:
        raise OfferError("B5", str(error)) from None
    return tuple(found)


def merkle_root(records: Iterable[Record]) -> bytes:
    """The root over all records but the signatures: what is signed, and what an offer is called by.

    OfferError if there is none.
    """
    signed = [record for record in records if record.type not in SIGNATURES]
    if not signed:
        raise OfferError("B8", "no record that could be signed")
    sha256 = hashlib.sha256
    # Nobody can guess a record from its hash, who knows the others: the first one is random where there is a signature.
    nonce = sha256(b"LnNonce" + signed[0].raw).digest() * 2
    level: list[bytes] = []
    for record in signed:
        raw = record.raw
        # A record begins with its type, in its shortest form.
        type_ = raw[:1] if raw[0] < _LONG_TYPE else wire.write_bigsize(record.type)
        level += (sha256(_LEAF + raw).digest(), sha256(nonce + type_).digest())
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(_BRANCH + (a + b if a < b else b + a)).digest() for a, b in pairs] + odd
    return level[0]


def signature_hash(message: str, root: bytes) -> bytes:
    """What the field ``signature`` of a message, ``invoice`` or ``invoice_request``, signs."""
    return hashlib.sha256(_tag(message) + root).digest()


@lru_cache(maxsize=4)
def _tag(message: str) -> bytes:
    return hashlib.sha256(f"lightning{message}signature".encode()).digest() * 2


def unknown_even(features: bytes | None, known: Sequence[int] = ()) -> int | None:
    """The lowest even bit of features that is set and not `known`; None if there is none."""
    if features is None or not any(features):
        return None
    bits = int.from_bytes(features, "big") & int.from_bytes(bytes([_EVEN_BITS]) * len(features), "big")
    for bit in known:
        bits &= ~(1 << bit)
    return (bits & -bits).bit_length() - 1 if bits else None


def parse(data: bytes, stream: type[T], ranges: Sequence[range]) -> tuple[tuple[Record, ...], T]:
    """The records of a stream, and what its declaration makes of them. Types outside of all `ranges` refuse it, if any
    are given, and unknown even ones do."""
    records = read_records(data)
    known = _types(stream.__fields__)
    for record in records:
        if record.type in known:
            continue
        if ranges and not any(record.type in one for one in ranges):
            raise OfferError("B5", f"type {record.type} is none of its own")
        if record.type % 2 == 0:
            raise OfferError("B5", f"unknown even type {record.type}")
    try:
        return records, stream.decode(data)
    except DecodeError as error:
        raise OfferError("B6", error.why, error.field.partition(".")[0]) from None


@lru_cache(maxsize=8)
def _types(fields: tuple[Field, ...]) -> frozenset[int | None]:
    """Those that a declaration knows: each is in the ranges of its kind."""
    return frozenset(field.tlv_type for field in fields)


def check_paths(rule: str, field: str, paths: tuple[BlindedPath, ...] | None) -> None:
    """A list of paths is not empty, and neither is one of them."""
    if paths is None:
        return
    if not paths:
        raise OfferError(rule, "a list without a path", field)
    if not all(path.path for path in paths):
        raise OfferError(rule, "a path without a hop", field)
