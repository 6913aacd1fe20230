"""The ciphers: ChaCha20-Poly1305 as BOLT 8's noise uses it, and ChaCha20 alone, as BOLT 4's onions do; and HKDF.

The only importer of the library that has them.

The AEAD is not wrapped: a call more for each half of a packet would cost more than the checks around it.
"""

from __future__ import annotations

from typing import Final

from cryptography.exceptions import InvalidTag as InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305 as ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

__all__ = ["ChaCha20Poly1305", "InvalidTag", "chacha20", "hkdf"]

_FROM_ZERO: Final = bytes(16)
"""OpenSSL's form: four bytes of the block's number, and the nonce of twelve."""
_SHA256: Final = SHA256()


def chacha20(key: bytes, data: bytes) -> bytes:
    """`data` XOR the stream of a 32-byte key, from its beginning and with a nonce of zeros. For keys that are used
    once."""
    return Cipher(ChaCha20(key, _FROM_ZERO), mode=None).encryptor().update(data)


def hkdf(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    """HKDF-SHA256 with empty info (RFC 5869): two keys of 32 bytes."""
    keys = HKDF(_SHA256, 64, salt, b"").derive(material)
    return keys[:32], keys[32:]
