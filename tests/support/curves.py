"""What is asked of secp256k1, whoever binds it: the numbers of others, and what it refuses. No test here."""

from __future__ import annotations

import hashlib
from typing import Any, Final, Protocol

import pytest

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ONE: Final = (1).to_bytes(32, "big")
GENERATOR: Final = bytes.fromhex("0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798")
NO_SECRETS: Final = (bytes(32), ORDER.to_bytes(32, "big"), b"\xff" * 32)
NO_POINTS: Final = (bytes(33), b"\x02" + b"\xff" * 32, b"\x02" + (5).to_bytes(32, "big"), b"\x04" + GENERATOR[1:])
"""Of 33 bytes: no sign, x not in the field, x of no point, and a sign of 65 bytes."""

SATOSHI: Final = hashlib.sha256(b"Satoshi Nakamoto").digest()
SIGNED: Final = bytes.fromhex(
    "934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d8"
    "2442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5"
)
"""The signature of it by the secret 1, with RFC 6979's nonce and low s: a well-known vector."""


class Secret(Protocol):
    def __init__(self, secret: bytes) -> None: ...
    def point(self) -> bytes: ...
    def ecdh(self, point: bytes) -> bytes: ...
    def ecdh_read(self, point: Any) -> bytes: ...
    def sign(self, digest: bytes) -> bytes: ...
    def multiply(self, factor: bytes) -> Secret: ...
    def sign_schnorr(self, digest: bytes, randomness: bytes) -> bytes: ...


class Curve(Protocol):
    """One of the files that bind it."""

    @property
    def Secret(self) -> type[Secret]: ...
    def read_point(self, point: bytes) -> Any: ...
    def verify(self, signature: bytes, digest: bytes, point: Any) -> bool: ...
    def recover(self, signature: bytes, recovery_id: int, digest: bytes) -> bytes | None: ...
    def multiply(self, point: bytes, factor: bytes) -> bytes: ...
    def verify_schnorr(self, signature: bytes, digest: bytes, point: Any) -> bool: ...


def high_s(signature: bytes) -> bytes:
    """The other signature of the same key and hash, which libsecp256k1 does not accept."""
    return signature[:32] + (ORDER - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")


def check(curve: Curve) -> None:
    """Everything that `keys.py` relies on."""
    secret = curve.Secret(ONE)
    assert secret.point() == GENERATOR
    # The secret 1 leaves every point as it is: SHA-256 of it as it came.
    theirs = curve.Secret(b"\x11" * 32).point()
    assert theirs.hex() == "034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
    assert secret.ecdh(theirs) == curve.Secret(b"\x11" * 32).ecdh(GENERATOR) == hashlib.sha256(theirs).digest()
    assert secret.ecdh_read(curve.read_point(theirs)) == hashlib.sha256(theirs).digest()
    assert secret.sign(SATOSHI) == SIGNED
    ours = curve.read_point(GENERATOR)
    assert curve.verify(SIGNED, SATOSHI, ours) is True
    assert curve.verify(SIGNED, SATOSHI, curve.read_point(theirs)) is False
    assert curve.verify(SIGNED, hashlib.sha256(b"else").digest(), ours) is False
    # Refused: a high s, r and s of zero and above the order, no hash, and what is no point.
    for bad in (high_s(SIGNED), bytes(64), b"\xff" * 64):
        assert curve.verify(bad, SATOSHI, ours) is False
    for none in (b"", SATOSHI[:-1], SATOSHI + b"\0"):
        assert curve.verify(SIGNED, none, ours) is False
    assert curve.verify(SIGNED[:-1], SATOSHI, ours) is False
    for point in NO_POINTS:
        assert curve.read_point(point) is None
        with pytest.raises(ValueError):  # noqa: PT011
            secret.ecdh(point)
    for none in NO_SECRETS:
        with pytest.raises(ValueError):  # noqa: PT011
            curve.Secret(none)
    with pytest.raises(ValueError):  # noqa: PT011
        secret.sign(SATOSHI[:-1])
    check_recovery(curve)
    check_multiplication(curve)
    check_schnorr(curve)


def check_recovery(curve: Curve) -> None:
    # One of two points has made it; the other one's key would have made it too.
    found = [curve.recover(SIGNED, recovery_id, SATOSHI) for recovery_id in (0, 1)]
    assert GENERATOR in found
    assert None not in found
    assert found[0] != found[1]
    other = next(point for point in found if point not in (None, GENERATOR))
    assert other is not None
    assert curve.verify(SIGNED, SATOSHI, curve.read_point(other)) is True
    assert GENERATOR not in [curve.recover(SIGNED, recovery_id, bytes(31) + b"\1") for recovery_id in (0, 1)]
    # With a high s it is the other of the two.
    assert [curve.recover(high_s(SIGNED), recovery_id, SATOSHI) for recovery_id in (1, 0)] == found
    # r is too large for a point beyond the order; r and s of zero and above the order.
    assert curve.recover(SIGNED, 2, SATOSHI) is None
    for bad in (bytes(64), b"\xff" * 64):
        assert curve.recover(bad, 0, SATOSHI) is None


def check_multiplication(curve: Curve) -> None:
    two, three, six = (number.to_bytes(32, "big") for number in (2, 3, 6))
    doubled = curve.multiply(GENERATOR, two)
    assert doubled == curve.Secret(two).point()
    assert curve.multiply(doubled, three) == curve.Secret(two).multiply(three).point() == curve.Secret(six).point()
    assert curve.Secret(ONE).multiply(six).ecdh(GENERATOR) == curve.Secret(six).ecdh(GENERATOR)
    # Modulo the order: half of it and a half, times two, is one.
    half = ((ORDER + 1) // 2).to_bytes(32, "big")
    assert curve.Secret(half).multiply(two).point() == curve.multiply(curve.multiply(GENERATOR, half), two) == GENERATOR
    for none in NO_SECRETS:
        with pytest.raises(ValueError):  # noqa: PT011
            curve.multiply(GENERATOR, none)
        with pytest.raises(ValueError):  # noqa: PT011
            curve.Secret(ONE).multiply(none)
    for point in NO_POINTS:
        with pytest.raises(ValueError):  # noqa: PT011
            curve.multiply(point, two)


SCHNORR: Final = (
    (
        3,
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000000",
        "e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca8215"
        "25f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0",
    ),
    (
        0xB7E151628AED2A6ABF7158809CF4F3C762E7160F38B4DA56A784D9045190CFEF,
        "0000000000000000000000000000000000000000000000000000000000000001",
        "243f6a8885a308d313198a2e03707344a4093822299f31d0082efa98ec4e6c89",
        "6896bd60eeae296db48a229ff71dfe071bde413e6d43f917dc8dcf8c78de3341"
        "8906d11ac976abccb20b091292bff4ea897efcb639ea871cfa95f6de339e4b0a",
    ),
)
"""The first two of BIP 340's vectors: secret, auxiliary randomness, hash, signature."""


def check_schnorr(curve: Curve) -> None:
    for number, randomness, digest, signature in SCHNORR:
        secret, message, signed = (
            curve.Secret(number.to_bytes(32, "big")),
            bytes.fromhex(digest),
            bytes.fromhex(signature),
        )
        assert secret.sign_schnorr(message, bytes.fromhex(randomness)) == signed
        for first in (b"\x02", b"\x03"):  # BIP 340 knows a point's x alone
            key = curve.read_point(first + secret.point()[1:])
            assert curve.verify_schnorr(signed, message, key) is True
            assert curve.verify_schnorr(signed, hashlib.sha256(message).digest(), key) is False
            assert curve.verify_schnorr(bytes([signed[0] ^ 1]) + signed[1:], message, key) is False
        other = curve.read_point(curve.Secret(b"\x11" * 32).point())
        assert curve.verify_schnorr(signed, message, other) is False
    with pytest.raises(ValueError):  # noqa: PT011
        curve.Secret(ONE).sign_schnorr(bytes(31), bytes(32))
