"""secp256k1 through btclib-secp256k1. The only importer of it; `keys.py` alone imports this file, and checks lengths.

Of a secret's calls, `secp256k1_ec_pubkey_create`, `secp256k1_ecdh`, `secp256k1_ecdsa_sign`,
`secp256k1_schnorrsig_sign32` and `secp256k1_ec_seckey_tweak_mul` are constant-time in libsecp256k1, and its context is
blinded at random when it is imported. `keys.pubkey_tweak_mul` takes a time that depends on the scalar: `multiply` below
is for factors that are no key.
"""

# What btclib-secp256k1 takes from libsecp256k1 through cffi has no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from typing import Any, Final

from btclib_secp256k1 import dsa, ecdh, ffi, keys, lib, recovery, ssa
from btclib_secp256k1.context import ctx

DIGEST_LENGTH: Final = 32


class Secret:
    """A secret of 32 bytes; ValueError if it is zero or not below the curve's order."""

    __slots__ = ("_point", "_secret")

    def __init__(self, secret: bytes) -> None:
        self._point = keys.pubkey_from_prvkey(secret)
        self._secret = secret

    def point(self) -> bytes:
        """33 bytes, compressed."""
        return self._point

    def ecdh(self, point: bytes) -> bytes:
        """SHA256 of the compressed shared point; ValueError if `point` is none."""
        return ecdh.shared_secret(point, self._secret)

    def ecdh_read(self, point: Any) -> bytes:
        """The same with a point that was read."""
        shared = ffi.new("unsigned char [32]")
        lib.secp256k1_ecdh(ctx, shared, point, self._secret, ffi.NULL, ffi.NULL)
        return bytes(ffi.buffer(shared))

    def sign(self, digest: bytes) -> bytes:
        """64 bytes, r then s, low s, RFC 6979; ValueError if `digest` has not 32."""
        # By default it would be DER, and verified before it is given out; coincurve does not verify either.
        return dsa.sign(digest, self._secret, compact=True, verify=False)

    def multiply(self, factor: bytes) -> Secret:
        """The secret times 32 bytes; ValueError if these are zero or not below the curve's order."""
        return Secret(keys.prvkey_tweak_mul(self._secret, factor))

    def sign_schnorr(self, digest: bytes, randomness: bytes) -> bytes:
        """64 bytes, BIP 340, with 32 bytes of auxiliary randomness; ValueError if `digest` has not 32."""
        return ssa.sign(digest, self._secret, randomness)


def read_point(point: bytes) -> Any:
    """What `verify` and `ecdh_read` want of 33 bytes: a point; None if they are none."""
    try:
        return keys.parse(point)
    except ValueError:
        return None


def verify(signature: bytes, digest: bytes, point: Any) -> bool:
    """Whether 64 bytes are the signature of 32 by the key of a point that was read; False for what is no signature or
    no hash."""
    if len(digest) != DIGEST_LENGTH:  # so much is read, whatever there is
        return False
    try:
        read = dsa.parse_compact(signature)
    except ValueError:
        return False
    return bool(lib.secp256k1_ecdsa_verify(ctx, read, digest, point))


def recover(signature: bytes, recovery_id: int, digest: bytes) -> bytes | None:
    """The point of 33 bytes whose key has signed 32 bytes with these 64; None if there is none."""
    try:
        return recovery.recover(digest, signature, recovery_id)
    except ValueError:
        return None


def multiply(point: bytes, factor: bytes) -> bytes:
    """A point times 32 bytes that are no secret; ValueError if it is none, or they are zero or not below the order."""
    return keys.pubkey_tweak_mul(point, factor)


def verify_schnorr(signature: bytes, digest: bytes, point: Any) -> bool:
    """Whether 64 bytes are the BIP 340 signature of 32 by the key of a point that was read, or of its negative."""
    x_only = ffi.new("secp256k1_xonly_pubkey *")
    lib.secp256k1_xonly_pubkey_from_pubkey(ctx, x_only, ffi.NULL, point)
    return bool(lib.secp256k1_schnorrsig_verify(ctx, signature, digest, DIGEST_LENGTH, x_only))
