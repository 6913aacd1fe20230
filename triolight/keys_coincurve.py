"""secp256k1 through coincurve. The only importer of coincurve; `keys.py` alone imports this file, and checks lengths.

Of a secret's calls, `secp256k1_ec_pubkey_create`, `secp256k1_ecdh`, `secp256k1_ecdsa_sign`,
`secp256k1_schnorrsig_sign32` and `secp256k1_ec_seckey_tweak_mul` are constant-time in libsecp256k1.
`PublicKey.multiply` (`secp256k1_ec_pubkey_tweak_mul`) takes a time that depends on the scalar: `multiply` below is for
factors that are no key.
"""

# What coincurve takes from libsecp256k1 through cffi has no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any, Final

from coincurve import GLOBAL_CONTEXT, PrivateKey, PublicKey, PublicKeyXOnly
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from coincurve.ecdsa import der_to_cdata, serialize_compact

DIGEST_LENGTH: Final = 32
SIGNATURE_LENGTH: Final = 64
_CONTEXT: Final = GLOBAL_CONTEXT.ctx


class Secret:
    """A secret of 32 bytes; ValueError if it is zero or not below the curve's order."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes | PrivateKey) -> None:
        self._key = secret if isinstance(secret, PrivateKey) else PrivateKey(secret)

    def point(self) -> bytes:
        """33 bytes, compressed."""
        return self._key.public_key.format()

    def ecdh(self, point: bytes) -> bytes:
        """SHA256 of the compressed shared point; ValueError if `point` is none."""
        return self._key.ecdh(point)

    def sign(self, digest: bytes) -> bytes:
        """64 bytes, r then s, low s, RFC 6979; ValueError if `digest` has not 32."""
        return bytes(serialize_compact(der_to_cdata(self._key.sign(digest, hasher=None))))

    def multiply(self, factor: bytes) -> Secret:
        """The secret times 32 bytes; ValueError if these are zero or not below the curve's order."""
        return Secret(self._key.multiply(factor))

    def sign_schnorr(self, digest: bytes, randomness: bytes) -> bytes:
        """64 bytes, BIP 340, with 32 bytes of auxiliary randomness; ValueError if `digest` has not 32."""
        return self._key.sign_schnorr(digest, randomness)


def read_point(point: bytes) -> Any:
    """What `verify` wants of 33 bytes: a point; None if they are none."""
    read = ffi.new("secp256k1_pubkey *")
    return read if lib.secp256k1_ec_pubkey_parse(_CONTEXT, read, point, len(point)) else None


def verify(signature: bytes, digest: bytes, point: Any) -> bool:
    """Whether 64 bytes are the signature of 32 by the key of a point that was read; False for what is no signature or
    no hash."""
    if len(signature) != SIGNATURE_LENGTH or len(digest) != DIGEST_LENGTH:  # so much is read, whatever there is
        return False
    # Not `PublicKey.verify`, which wants it as DER: that would be written here, to be read there.
    read = ffi.new("secp256k1_ecdsa_signature *")
    if not lib.secp256k1_ecdsa_signature_parse_compact(_CONTEXT, read, signature):
        return False
    return bool(lib.secp256k1_ecdsa_verify(_CONTEXT, read, digest, point))


def multiply(point: bytes, factor: bytes) -> bytes:
    """A point times 32 bytes that are no secret; ValueError if it is none, or they are zero or not below the order."""
    return PublicKey(point).multiply(factor).format()


def verify_schnorr(signature: bytes, digest: bytes, x_only: bytes) -> bool:
    """Whether 64 bytes are the BIP 340 signature of 32 by the key of 32; False for what is no key."""
    try:
        return PublicKeyXOnly(x_only).verify(signature, digest)
    except ValueError:
        return False
