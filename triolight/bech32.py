"""Bech32 (BIP 173): values of five bits as text, with a checksum that finds what was mistyped. Knows no node id.

BOLT 10 writes node ids so into host names. BOLT 12 writes bytes so without a checksum: they are signed, or of no worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from triolight.text import quoted

_CHARACTERS: Final = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATORS: Final = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM: Final = 6
_LONGEST: Final = 90
_TO_BASE_32: Final = str.maketrans(_CHARACTERS, "0123456789abcdefghijklmnopqrstuv")
_MOST_LEFT_OVER: Final = 4
"""Bits behind the last byte: with five or more there is a character too many."""


def bech32_encode(prefix: str, values: Sequence[int]) -> str:
    """BIP 173: a lower-case prefix, and values of five bits each."""
    remainder = _polymod([*_expanded(prefix), *values, *[0] * _CHECKSUM]) ^ 1
    checksum = [remainder >> 5 * (_CHECKSUM - 1 - at) & 31 for at in range(_CHECKSUM)]
    return prefix + "1" + "".join(_CHARACTERS[value] for value in (*values, *checksum))


def bech32_decode(text: str) -> tuple[str, list[int]]:
    """The prefix in lower case, and values of five bits each. ValueError if it is none, or the checksum is wrong."""
    shown = quoted(text, _LONGEST)
    if len(text) > _LONGEST or not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError(f"not bech32: {shown}")
    if text.lower() != text and text.upper() != text:
        raise ValueError(f"bech32 in mixed case: {shown}")
    prefix, one, data = text.lower().rpartition("1")
    if not one or not prefix or len(data) < _CHECKSUM or not set(data) <= set(_CHARACTERS):
        raise ValueError(f"not bech32: {shown}")
    values = [_CHARACTERS.index(character) for character in data]
    if _polymod([*_expanded(prefix), *values]) != 1:
        raise ValueError(f"the checksum is wrong: {shown}")
    return prefix, values[:-_CHECKSUM]


def is_bech32(text: str) -> bool:
    """Whether it is written in the 32 characters alone, in lower case."""
    return set(text) <= set(_CHARACTERS)


def unchecked_encode(data: bytes) -> str:
    """Bytes as characters, without a checksum."""
    bits = 8 * len(data)
    size = (bits + 4) // 5
    value = int.from_bytes(data, "big") << 5 * size - bits
    return "".join(_CHARACTERS[value >> 5 * at & 31] for at in reversed(range(size)))


def unchecked_decode(text: str) -> bytes:
    """The bytes that characters without a checksum stand for. ValueError if they are others than the 32, or what is
    left over behind the last byte is more than it takes, or not zero."""
    if not is_bech32(text):
        raise ValueError("characters that are not bech32's")
    left_over = 5 * len(text) % 8
    # A base that is a power of two: as fast for a long text as for a short one, byte for byte.
    value = int(text.translate(_TO_BASE_32) or "0", 32)
    if left_over > _MOST_LEFT_OVER:
        raise ValueError(f"{left_over} bits are left over, a character too many")
    if value & (1 << left_over) - 1:
        raise ValueError("the bits that are left over are not zero")
    return (value >> left_over).to_bytes(5 * len(text) // 8, "big")


def _expanded(prefix: str) -> list[int]:
    return [*(ord(character) >> 5 for character in prefix), 0, *(ord(character) & 31 for character in prefix)]


def _polymod(values: Sequence[int]) -> int:
    remainder = 1
    for value in values:
        top = remainder >> 25
        remainder = (remainder & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATORS):
            remainder ^= generator if top >> bit & 1 else 0
    return remainder
