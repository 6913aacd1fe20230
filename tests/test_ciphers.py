"""The ciphers: ChaCha20-Poly1305 of RFC 8439, with a nonce of 12 bytes and a tag of 16 behind what it encrypts."""

from __future__ import annotations

import pytest

from triolight.ciphers import ChaCha20Poly1305, InvalidTag, chacha20, hkdf

KEY = bytes(range(0x80, 0xA0))
NONCE = bytes.fromhex("070000004041424344454647")
ALONG = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
PLAIN = (
    b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, "
    b"sunscreen would be it."
)
SEALED_BEGINS = "d31a8d34648e60db7b86afbc53ef7ec2"
TAG = "1ae10b594f09e26a7e902ecbd0600691"


def test_the_rfcs_vector() -> None:
    sealed = ChaCha20Poly1305(KEY).encrypt(NONCE, PLAIN, ALONG)
    assert (sealed[:16].hex(), sealed[-16:].hex()) == (SEALED_BEGINS, TAG)
    assert len(sealed) == len(PLAIN) + 16
    assert ChaCha20Poly1305(KEY).decrypt(NONCE, sealed, ALONG) == PLAIN


@pytest.mark.parametrize("at", [0, 57, -16, -1])
def test_a_changed_bit_is_refused(at: int) -> None:
    sealed = bytearray(ChaCha20Poly1305(KEY).encrypt(NONCE, PLAIN, ALONG))
    sealed[at] ^= 1
    with pytest.raises(InvalidTag):
        ChaCha20Poly1305(KEY).decrypt(NONCE, bytes(sealed), ALONG)


@pytest.mark.parametrize(("nonce", "along"), [(bytes(12), ALONG), (NONCE, b""), (NONCE, ALONG[:-1])])
def test_another_nonce_or_other_data_along_is_refused(nonce: bytes, along: bytes) -> None:
    sealed = ChaCha20Poly1305(KEY).encrypt(NONCE, PLAIN, ALONG)
    with pytest.raises(InvalidTag):
        ChaCha20Poly1305(KEY).decrypt(nonce, sealed, along)


def test_the_stream_alone() -> None:
    """RFC 7539's first two blocks of a key and a nonce of zeros."""
    stream = bytes.fromhex(
        "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586"
        "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
        "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f"
    )
    assert chacha20(bytes(32), bytes(128)) == stream
    assert chacha20(bytes(32), bytes(5)) == stream[:5]
    assert chacha20(bytes(32), stream) == bytes(128)
    assert chacha20(bytes(31) + b"\1", bytes(128)) != stream


def test_keys_from_a_salt_and_a_secret() -> None:
    """RFC 5869's third test case: 42 bytes without salt and info, of which as many are the first of 64."""
    first, second = hkdf(b"", b"\x0b" * 22)
    known = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert (first + second)[:42].hex() == known
    assert len(first) == len(second) == 32
    assert hkdf(b"\1", b"\x0b" * 22)[0] != first
