"""Texts that a node has signed, as Lightning's nodes sign them: zbase32 of a recoverable signature. No I/O.

What is signed is the double SHA-256 of ``Lightning Signed Message:`` and the text, as `signmessage` of all nodes does.
"""

from __future__ import annotations

import hashlib
from typing import Final

from triolight.keys import SecretKey, recover

__all__ = ["recover_ln_signature", "sign_ln_message", "verify_ln_signature"]

_PREFIX: Final = b"Lightning Signed Message:"
_ALPHABET: Final = "ybndrfg8ejkmcpqxot1uwisza345h769"
_VALUES: Final = {character: value for value, character in enumerate(_ALPHABET)}
_LENGTH: Final = 65
"""Bytes: 31 and the recovery id, r, s. In zbase32 104 characters, exactly."""
_FIRST: Final = 31


def _digest(message: str | bytes) -> bytes:
    data = message.encode() if isinstance(message, str) else message
    return hashlib.sha256(hashlib.sha256(_PREFIX + data).digest()).digest()


def _zbase32(data: bytes) -> str:
    number = int.from_bytes(data, "big")
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(len(data) * 8 - 5, -1, -5))


def _from_zbase32(text: str) -> bytes | None:
    if len(text) != _LENGTH * 8 // 5 or not all(character in _VALUES for character in text):
        return None
    number = 0
    for character in text:
        number = number << 5 | _VALUES[character]
    return number.to_bytes(_LENGTH, "big")


def recover_ln_signature(message: str | bytes, signature: str) -> bytes | None:
    """The id of the node that has signed a text; None for what is no signature.

    Any signature was made by some key. So this says who, not whether it is the one that is expected.
    """
    data = _from_zbase32(signature)
    if data is None:
        return None
    return recover(data[1:], data[0] - _FIRST, _digest(message))


def verify_ln_signature(node_id: bytes, message: str | bytes, signature: str) -> bool:
    """Whether this node has signed this text."""
    return recover_ln_signature(message, signature) == node_id


def sign_ln_message(key: SecretKey, message: str | bytes) -> str:
    """A node's signature of a text. Deterministic."""
    digest = _digest(message)
    signature = key.sign(digest)
    # Which of the points it is, libsecp256k1 knows while it signs; whoever asks afterwards tries.
    number = next(one for one in range(4) if recover(signature, one, digest) == key.public_key)
    return _zbase32(bytes((_FIRST + number,)) + signature)
