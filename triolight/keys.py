"""secp256k1: node ids, ECDH and signatures. The only importer of coincurve; knows nothing of messages or noise.

Whatever touches a secret goes through libsecp256k1's constant-time paths: `PrivateKey.ecdh` and signing.
`PublicKey.multiply` takes a time that depends on the scalar and is not used here.
"""

# What coincurve takes from libsecp256k1 through cffi has no types.
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from functools import lru_cache
from typing import Final

from coincurve import PrivateKey as _PrivateKey
from coincurve import PublicKey as _PublicKey
from coincurve import verify_signature as _verify_signature
from coincurve.ecdsa import cdata_to_der, der_to_cdata, deserialize_compact, serialize_compact

SECRET_LENGTH: Final = 32
POINT_LENGTH: Final = 33
SIGNATURE_LENGTH: Final = 64
POINTS_REMEMBERED: Final = 4096
"""A square root for each point, unless it came a while ago: gossip names the same nodes over and over, and a message
that was decoded is checked again when it is encoded. Under 1 MiB."""


class SecretKey:
    """A secp256k1 secret key with its point. The secret shows in no repr and no log.

    Raises ValueError if the 32 bytes are zero or not below the curve's order.
    """

    __slots__ = ("_key", "public_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_LENGTH:
            raise ValueError(f"a secret key has {SECRET_LENGTH} bytes, not {len(secret)}")
        try:
            self._key = _PrivateKey(bytes(secret))
        except ValueError:
            # `from None`: the chained error of the library might one day show what it was given.
            raise ValueError("not a secret key: zero, or not below the order of the curve") from None
        self.public_key: Final = self._key.public_key.format()

    def ecdh(self, point: bytes) -> bytes:
        """SHA256 of the compressed shared point (BOLT 8), 32 bytes. ValueError if `point` is not on the curve."""
        return self._key.ecdh(point)

    def sign(self, digest: bytes) -> bytes:
        """A signature of a 32-byte hash: 64 bytes, r then s, low s, deterministic (RFC 6979)."""
        return bytes(serialize_compact(der_to_cdata(self._key.sign(digest, hasher=None))))

    def __repr__(self) -> str:
        return f"SecretKey(public_key={self.public_key.hex()})"


def node_id(secret: bytes) -> bytes:
    """The node id of a node secret: its point, 33 bytes, compressed. ValueError if it is no secret key."""
    return SecretKey(secret).public_key


def is_point(data: bytes) -> bool:
    """Whether `data` is a compressed point of secp256k1: 33 bytes, 02 or 03 first, on the curve."""
    return len(data) == POINT_LENGTH and _is_on_curve(bytes(data))


@lru_cache(maxsize=POINTS_REMEMBERED)
def _is_on_curve(data: bytes) -> bool:
    try:
        _PublicKey(data)
    except ValueError:
        return False
    return True


def verify(signature: bytes, digest: bytes, point: bytes) -> bool:
    """Whether a 64-byte compact signature of a 32-byte hash was made by the key of `point`.

    High-s signatures are refused, as in every implementation that uses libsecp256k1.
    """
    if len(signature) != SIGNATURE_LENGTH:
        return False
    try:
        return _verify_signature(cdata_to_der(deserialize_compact(signature)), digest, point, hasher=None)
    except ValueError:
        return False
