"""secp256k1 through btclib-secp256k1. The only importer of it; `keys.py` alone imports this file, and checks lengths.

Of a secret's calls, `secp256k1_ec_pubkey_create`, `secp256k1_ecdh` and `secp256k1_ecdsa_sign` are constant-time in
libsecp256k1, and its context is blinded at random when it is imported. `keys.pubkey_tweak_mul` takes a time that
depends on the scalar and is not used here.
"""

from __future__ import annotations

from btclib_secp256k1 import dsa, ecdh, keys


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

    def sign(self, digest: bytes) -> bytes:
        """64 bytes, r then s, low s, RFC 6979; ValueError if `digest` has not 32."""
        # By default it would be DER, and verified before it is given out; coincurve does not verify either.
        return dsa.sign(digest, self._secret, compact=True, verify=False)


def read_point(point: bytes) -> bytes | None:
    """What `verify` wants of 33 bytes: a point; None if they are none."""
    return point if keys.pubkey_verify(point) else None


def verify(signature: bytes, digest: bytes, point: bytes) -> bool:
    """Whether 64 bytes are the signature of 32 by the key of a point that was read; False for what is no signature or
    no hash."""
    try:
        return dsa.verify(digest, point, signature, compact=True)
    except ValueError:
        return False
