"""secp256k1: keys, signatures, points."""

from __future__ import annotations

import hashlib

import pytest

from tests.support import identity
from triolight import node_id
from triolight.keys import SecretKey, is_point, verify


def test_keys() -> None:
    key = SecretKey(b"\x11" * 32)
    assert key.public_key.hex() == "034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
    assert node_id(b"\x11" * 32) == key.public_key
    digest = hashlib.sha256(b"x").digest()
    signature = key.sign(digest)
    assert len(signature) == 64
    assert verify(signature, digest, key.public_key)
    assert not verify(signature, hashlib.sha256(b"y").digest(), key.public_key)
    assert not verify(signature, digest, identity(1))
    assert not verify(signature[:-1], digest, key.public_key)
    assert not verify(b"\xff" * 64, digest, key.public_key)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high_s = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert not verify(high_s, digest, key.public_key)
    assert "11" * 32 not in repr(key)
    for bad in (bytes(32), b"\xff" * 32, b"short"):
        with pytest.raises(ValueError, match="secret key"):
            SecretKey(bad)
    with pytest.raises(ValueError):  # noqa: PT011
        key.ecdh(bytes(33))


@pytest.mark.parametrize("bad", [b"", bytes(33), b"\x04" + bytes(64), b"\x06" + bytes(32), b"\x02" + b"\xff" * 32])
def test_points(bad: bytes) -> None:
    assert not is_point(bad)
    assert is_point(identity(1))
