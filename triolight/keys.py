"""secp256k1: node ids, ECDH and signatures. The one door to libsecp256k1; knows nothing of messages or noise.

What binds libsecp256k1 is coincurve where it can be imported, else btclib-secp256k1, which has wheels for newer
Pythons: a file each, `keys_coincurve.py` and `keys_btclib.py`, alike to the byte and imported here alone. Whatever
touches a secret goes through libsecp256k1's constant-time calls; each of the two says which.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final, TypeAlias

__all__ = [
    "SecretKey",
    "is_fresh_point",
    "is_point",
    "multiply",
    "node_id",
    "recover",
    "verify",
    "verify_schnorr",
]

try:
    import triolight.keys_coincurve as _curve
except ImportError:
    import triolight.keys_btclib as _curve  # type: ignore[no-redef]

SECRET_LENGTH: Final = 32
POINT_LENGTH: Final = 33
SIGNATURE_LENGTH: Final = 64
POINTS_REMEMBERED: Final = 4096
"""A square root for each point, unless it came a while ago: gossip names the same nodes over and over, a message that
was decoded is checked again when it is encoded, and its signatures are of keys that were looked at. About 1 MiB."""
LATELY_REMEMBERED: Final = 4
"""Fresh ones: who was looked at a moment ago has signed."""


ReadPoint: TypeAlias = Any
"""A point as libsecp256k1 holds it, for those who need one twice."""


class SecretKey:
    """A secp256k1 secret key with its point. The secret shows in no repr and no log.

    Raises ValueError if the 32 bytes are zero or not below the curve's order.
    """

    __slots__ = ("_secret", "public_key")

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_LENGTH:
            raise ValueError(f"a secret key has {SECRET_LENGTH} bytes, not {len(secret)}")
        try:
            self._secret = _curve.Secret(bytes(secret))
        except ValueError:
            # `from None`: the chained error of the library might one day show what it was given.
            raise ValueError("not a secret key: zero, or not below the order of the curve") from None
        self.public_key: Final = self._secret.point()

    def ecdh(self, point: bytes) -> bytes:
        """SHA256 of the compressed shared point (BOLT 8), 32 bytes. ValueError if `point` is not on the curve."""
        return self._secret.ecdh(point)

    def ecdh_read(self, point: ReadPoint) -> bytes:
        """The same with a point that was read, which spares its square root."""
        return self._secret.ecdh_read(point)

    def sign(self, digest: bytes) -> bytes:
        """A signature of a 32-byte hash: 64 bytes, r then s, low s, deterministic (RFC 6979)."""
        return self._secret.sign(digest)

    def multiply(self, factor: bytes) -> SecretKey:
        """The key times a factor of 32 bytes (BOLT 4), in constant time. ValueError if that is zero or not below the
        order of the curve, which no hash is."""
        made = object.__new__(SecretKey)
        made._secret = self._secret.multiply(_factor(factor))
        made.public_key = made._secret.point()  # type: ignore[misc]  # it is made here, past __init__
        return made

    def sign_schnorr(self, digest: bytes, randomness: bytes) -> bytes:
        """A BIP 340 signature of a 32-byte hash, 64 bytes. `randomness`: 32 bytes, fresh ones for each signature; zeros
        make it deterministic."""
        if len(randomness) != SECRET_LENGTH:
            raise ValueError(f"the auxiliary randomness has {SECRET_LENGTH} bytes, not {len(randomness)}")
        return self._secret.sign_schnorr(digest, randomness)

    def __repr__(self) -> str:
        return f"SecretKey(public_key={self.public_key.hex()})"


def node_id(secret: bytes) -> bytes:
    """The node id of a node secret: its point, 33 bytes, compressed. ValueError if it is no secret key."""
    return SecretKey(secret).public_key


def is_point(data: bytes) -> bool:
    """Whether `data` is a compressed point of secp256k1: 33 bytes, 02 or 03 first, on the curve."""
    return read_point(data) is not None


def is_fresh_point(data: bytes) -> bool:
    """The same of a point that hardly comes twice, as those of onions: it takes no remembered one's place. A message
    may hold hundreds of them, which anybody makes for nothing."""
    return len(data) == POINT_LENGTH and _read_lately(bytes(data)) is not None


def read_point(data: bytes) -> ReadPoint | None:
    """The point that `data` is, as `is_point` remembers it; None if it is none."""
    return _read_point(bytes(data)) if len(data) == POINT_LENGTH else None


def read_fresh_point(data: bytes) -> ReadPoint | None:
    """The same of a point that is looked at once."""
    return _curve.read_point(bytes(data)) if len(data) == POINT_LENGTH else None


@lru_cache(maxsize=LATELY_REMEMBERED)
def _read_lately(data: bytes) -> Any:
    return _curve.read_point(data)


@lru_cache(maxsize=POINTS_REMEMBERED)
def _read_point(data: bytes) -> Any:
    return _curve.read_point(data)


def verify(signature: bytes, digest: bytes, point: bytes) -> bool:
    """Whether a 64-byte compact signature of a 32-byte hash was made by the key of `point`.

    High-s signatures are refused, as in every implementation that uses libsecp256k1.
    """
    if len(signature) != SIGNATURE_LENGTH:
        return False
    read = read_point(point)
    return read is not None and _curve.verify(signature, digest, read)


def recover(signature: bytes, recovery_id: int, digest: bytes) -> bytes | None:
    """The point whose key has made a 64-byte compact signature of a 32-byte hash; None if there is none.

    `recovery_id`, 0 to 3, says which of the points it is that the signature would fit: with another one, another point.
    """
    if len(signature) != SIGNATURE_LENGTH or len(digest) != SECRET_LENGTH or not 0 <= recovery_id <= 3:
        return None
    return _curve.recover(signature, recovery_id, digest)


def multiply(point: bytes, factor: bytes) -> bytes:
    """A compressed point times a factor of 32 bytes. ValueError if the point is not on the curve, or the factor zero or
    not below its order.

    The time that this takes depends on the factor. It is for blinding factors, which hide how one hop of an onion is
    linked to the next and are no keys; a secret goes through `SecretKey.ecdh` and `SecretKey.multiply`.
    """
    if len(point) != POINT_LENGTH:
        raise ValueError(f"a point has {POINT_LENGTH} bytes, not {len(point)}")
    return _curve.multiply(point, _factor(factor))


def _factor(factor: bytes) -> bytes:
    # Shorter ones would be taken for numbers with zeros in front.
    if len(factor) != SECRET_LENGTH:
        raise ValueError(f"a factor has {SECRET_LENGTH} bytes, not {len(factor)}")
    return factor


def verify_schnorr(signature: bytes, digest: bytes, point: bytes) -> bool:
    """Whether a 64-byte BIP 340 signature of a 32-byte hash was made by the key of `point`, of 33 bytes.

    BIP 340 knows only a point's x: with either first byte, 02 or 03, the answer is the same.
    """
    if len(signature) != SIGNATURE_LENGTH or len(digest) != SECRET_LENGTH:
        return False
    read = _read_lately(bytes(point)) if len(point) == POINT_LENGTH else None
    return read is not None and _curve.verify_schnorr(signature, digest, read)
