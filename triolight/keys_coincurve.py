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

from coincurve import GLOBAL_CONTEXT, PublicKey
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]

DIGEST_LENGTH: Final = 32
POINT_LENGTH: Final = 33
SIGNATURE_LENGTH: Final = 64
_CONTEXT: Final = GLOBAL_CONTEXT.ctx
_COMPRESSED: Final = lib.SECP256K1_EC_COMPRESSED


class Secret:
    """A secret of 32 bytes; ValueError if it is zero or not below the curve's order.

    Not a `PrivateKey`, which multiplies twice when it is made: for its point, and for the point of BIP 340.
    """

    __slots__ = ("_point", "_secret")

    def __init__(self, secret: bytes) -> None:
        made = ffi.new("secp256k1_pubkey *")
        if not lib.secp256k1_ec_pubkey_create(_CONTEXT, made, secret):
            raise ValueError("the secret is zero, or not below the order of the curve")
        point, length = ffi.new("unsigned char [33]"), ffi.new("size_t *", POINT_LENGTH)
        lib.secp256k1_ec_pubkey_serialize(_CONTEXT, point, length, made, _COMPRESSED)
        self._secret = secret
        self._point = bytes(ffi.buffer(point))

    def point(self) -> bytes:
        """33 bytes, compressed."""
        return self._point

    def ecdh(self, point: bytes) -> bytes:
        """SHA256 of the compressed shared point; ValueError if `point` is none."""
        read = read_point(point)
        if read is None:
            raise ValueError("not a point of the curve")
        return self.ecdh_read(read)

    def ecdh_read(self, point: Any) -> bytes:
        """The same with a point that was read."""
        shared = ffi.new("unsigned char [32]")
        lib.secp256k1_ecdh(_CONTEXT, shared, point, self._secret, ffi.NULL, ffi.NULL)
        return bytes(ffi.buffer(shared))

    def sign(self, digest: bytes) -> bytes:
        """64 bytes, r then s, low s, RFC 6979; ValueError if `digest` has not 32."""
        _check_digest(digest)
        made = ffi.new("secp256k1_ecdsa_signature *")
        lib.secp256k1_ecdsa_sign(_CONTEXT, made, digest, self._secret, ffi.NULL, ffi.NULL)
        signature = ffi.new("unsigned char [64]")
        lib.secp256k1_ecdsa_signature_serialize_compact(_CONTEXT, signature, made)
        return bytes(ffi.buffer(signature))

    def multiply(self, factor: bytes) -> Secret:
        """The secret times 32 bytes; ValueError if these are zero or not below the curve's order."""
        product = ffi.new("unsigned char [32]", self._secret)
        if not lib.secp256k1_ec_seckey_tweak_mul(_CONTEXT, product, factor):
            raise ValueError("the factor is zero, or not below the order of the curve")
        return Secret(bytes(ffi.buffer(product)))

    def sign_schnorr(self, digest: bytes, randomness: bytes) -> bytes:
        """64 bytes, BIP 340, with 32 bytes of auxiliary randomness; ValueError if `digest` has not 32."""
        _check_digest(digest)
        pair = ffi.new("secp256k1_keypair *")
        lib.secp256k1_keypair_create(_CONTEXT, pair, self._secret)
        signature = ffi.new("unsigned char [64]")
        lib.secp256k1_schnorrsig_sign32(_CONTEXT, signature, digest, pair, randomness)
        made = bytes(ffi.buffer(signature))
        if not verify_schnorr(made, digest, read_point(self._point)):  # pragma: no cover - a fault of the machine
            # BIP 340: what was computed wrongly may tell the secret.
            raise ValueError("the signature that was made does not verify")
        return made


def _check_digest(digest: bytes) -> None:
    # So much is read, whatever there is.
    if len(digest) != DIGEST_LENGTH:
        raise ValueError(f"a hash has {DIGEST_LENGTH} bytes, not {len(digest)}")


def read_point(point: bytes) -> Any:
    """What `verify` and `ecdh_read` want of 33 bytes: a point; None if they are none."""
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


def recover(signature: bytes, recovery_id: int, digest: bytes) -> bytes | None:
    """The point of 33 bytes whose key has signed 32 bytes with these 64; None if there is none."""
    try:
        found = PublicKey.from_signature_and_message(signature + bytes((recovery_id,)), digest, hasher=None)
    except ValueError:
        return None
    return found.format()


def multiply(point: bytes, factor: bytes) -> bytes:
    """A point times 32 bytes that are no secret; ValueError if it is none, or they are zero or not below the order."""
    return PublicKey(point).multiply(factor).format()


def verify_schnorr(signature: bytes, digest: bytes, point: Any) -> bool:
    """Whether 64 bytes are the BIP 340 signature of 32 by the key of a point that was read, or of its negative."""
    x_only = ffi.new("secp256k1_xonly_pubkey *")
    lib.secp256k1_xonly_pubkey_from_pubkey(_CONTEXT, x_only, ffi.NULL, point)
    return bool(lib.secp256k1_schnorrsig_verify(_CONTEXT, signature, digest, DIGEST_LENGTH, x_only))
