"""secp256k1: keys, signatures, points."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys

import pytest

from tests.support import curves, identity
from tests.support.inside import points_looked_up
from tests.support.onions import key, random
from triolight import node_id
from triolight.keys import (
    SecretKey,
    is_fresh_point,
    is_point,
    multiply,
    read_fresh_point,
    read_point,
    recover,
    verify,
    verify_schnorr,
)
from triolight.messages import BlindedPath, OnionMessage
from triolight.onion import Forward, blind_route, open_message, seal


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
    assert not verify(signature, digest[:-1], key.public_key)
    for none in (bytes(33), key.public_key[:-1], b""):
        assert not verify(signature, digest, none)
    assert not verify(b"\xff" * 64, digest, key.public_key)
    assert not verify(curves.high_s(signature), digest, key.public_key)
    assert "11" * 32 not in repr(key)
    for bad in (bytes(32), b"\xff" * 32, b"short"):
        with pytest.raises(ValueError, match="secret key"):
            SecretKey(bad)
    with pytest.raises(ValueError):  # noqa: PT011
        key.ecdh(bytes(33))
    for read in (read_point, read_fresh_point):
        assert key.ecdh_read(read(identity(1))) == key.ecdh(identity(1))


def test_recovery() -> None:
    key, digest = SecretKey(b"\x11" * 32), hashlib.sha256(b"x").digest()
    signature = key.sign(digest)
    assert key.public_key in [recover(signature, number, digest) for number in (0, 1)]
    for number in (-1, 4, 27):
        assert recover(signature, number, digest) is None
    for short in (signature[:-1], b"", signature + b"\0"):
        assert recover(short, 0, digest) is None
    assert recover(signature, 0, digest[:-1]) is None


def test_multiplication() -> None:
    two = SecretKey(b"\x11" * 32).multiply((2).to_bytes(32, "big"))
    assert two.public_key == SecretKey(b"\x22" * 32).public_key
    assert two.public_key == multiply(SecretKey(b"\x11" * 32).public_key, (2).to_bytes(32, "big"))
    assert two.ecdh(identity(1)) == SecretKey(b"\x22" * 32).ecdh(identity(1))
    assert two.sign(bytes(32)) == SecretKey(b"\x22" * 32).sign(bytes(32))
    # Of a factor that is too short nobody says what it is.
    for bad in (b"\x02", bytes(31) + b"\1\2", bytes(32), b"\xff" * 32):
        with pytest.raises(ValueError):  # noqa: PT011
            two.multiply(bad)
        with pytest.raises(ValueError):  # noqa: PT011
            multiply(identity(1), bad)
    for point in (identity(1)[:-1], b"\x02" + b"\xff" * 32, b"\x04" + bytes(64)):
        with pytest.raises(ValueError):  # noqa: PT011
            multiply(point, (2).to_bytes(32, "big"))


def test_schnorr() -> None:
    key, digest = SecretKey(b"\x11" * 32), hashlib.sha256(b"x").digest()
    signature = key.sign_schnorr(digest, bytes(32))
    assert signature == key.sign_schnorr(digest, bytes(32)) != key.sign_schnorr(digest, b"\1" * 32)
    # Its y is not looked at.
    for point in (key.public_key, bytes([key.public_key[0] ^ 1]) + key.public_key[1:]):
        assert verify_schnorr(signature, digest, point)
    assert not verify_schnorr(signature, digest, identity(1))
    assert not verify_schnorr(signature[:-1], digest, key.public_key)
    assert not verify_schnorr(signature, digest + b"x", key.public_key)
    assert not verify_schnorr(signature, digest, key.public_key[1:])
    assert not verify_schnorr(signature, digest, b"\x04" + key.public_key[1:])
    with pytest.raises(ValueError, match="32 bytes"):
        key.sign_schnorr(digest, b"")


@pytest.mark.parametrize("bad", [b"", bytes(33), b"\x04" + bytes(64), b"\x06" + bytes(32), b"\x02" + b"\xff" * 32])
def test_points(bad: bytes) -> None:
    assert not is_point(bad)
    assert not is_fresh_point(bad)
    assert read_point(bad) is read_fresh_point(bad) is None
    assert is_point(identity(1))
    assert is_fresh_point(identity(1))


def test_a_point_of_an_onion_takes_no_remembered_ones_place() -> None:
    """A peer could send thousands a second, and gossip's would all be gone."""
    path = blind_route(random(1), [identity(one) for one in range(1, 9)])
    message = seal(random(2), path, [(77, b"x")], reply_path=path)
    before = points_looked_up()
    decoded = OnionMessage.decode(message.encode())
    opened = open_message(key(1), decoded)
    assert isinstance(opened, Forward)
    opened.message.encode()
    BlindedPath.decode(path.encode())
    assert points_looked_up() == before
    is_point(key(77).public_key)
    assert points_looked_up() == before + 1


def test_coincurve_is_taken_if_it_can_be_imported_and_btclib_else() -> None:
    """Whatever is installed: the other one is not even imported."""
    program = """
import sys
{first}
import triolight.keys
print(*sorted({{"coincurve", "btclib_secp256k1"}} & {{name for name, module in sys.modules.items() if module}}))
key = triolight.keys.SecretKey(bytes(31) + b"\\1")
print(key.public_key.hex())
"""
    generator = curves.GENERATOR.hex()
    without = "sys.modules['coincurve'] = None"
    assert output_of(program.format(first=without)) == f"btclib_secp256k1\n{generator}\n"
    taken = "coincurve" if importlib.util.find_spec("coincurve") else "btclib_secp256k1"
    assert output_of(program.format(first="")) == f"{taken}\n{generator}\n"


def output_of(program: str) -> str:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
