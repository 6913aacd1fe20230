"""BIP 173, as BOLT 10 uses it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.dns_server import OF_BOLT_10
from triolight.bech32 import bech32_decode, bech32_encode, is_bech32, unchecked_decode, unchecked_encode


@pytest.mark.parametrize(
    "text",
    [
        "A12UEL5L",
        "a12uel5l",
        "an83characterlonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1tt5tgs",
        "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw",
        "11qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqc8247j",
        "split1checkupstagehandshakeupstreamerranterredcaperred2y9e3w",
        "?1ezyfcl",
        OF_BOLT_10,
    ],
)
def test_bech32_of_bip_173(text: str) -> None:
    prefix, values = bech32_decode(text)
    assert bech32_encode(prefix, values) == text.lower()
    # It finds any single wrong character, wherever it is.
    for at in range(len(prefix) + 1, len(text)):
        wrong = text[:at].lower() + ("q" if text[at] not in "qQ" else "p") + text[at + 1 :].lower()
        with pytest.raises(ValueError, match="the checksum is wrong"):
            bech32_decode(wrong)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("\x201nwldj5", "not bech32"),
        ("\x7f1axkwrx", "not bech32"),
        ("\x801eym55h", "not bech32"),
        ("an84characterslonghumanreadablepartthatcontainsthenumber1andtheexcludedcharactersbio1569pvx", "not bech32"),
        ("pzry9x0s0muk", "not bech32"),
        ("1pzry9x0s0muk", "not bech32"),
        ("x1b4n0q5v", "not bech32"),
        ("li1dgmt3", "not bech32"),
        ("de1lg7wt\xff", "not bech32"),
        ("A1G7SGD8", "the checksum is wrong"),
        ("10a06t8", "not bech32"),
        ("1qzzfhee", "not bech32"),
        ("a12UEL5L", "mixed case"),
        ("", "not bech32"),
    ],
)
def test_what_is_no_bech32(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bech32_decode(text)


@given(
    st.text("abcdefghijklmnopqrstuvwxyz1", min_size=1, max_size=20),
    st.lists(st.integers(0, 31), max_size=60),
)
def test_bech32_there_and_back(prefix: str, values: list[int]) -> None:
    assert bech32_decode(bech32_encode(prefix, values)) == (prefix, values)


@given(st.binary(max_size=200))
def test_bytes_without_a_checksum(data: bytes) -> None:
    text = unchecked_encode(data)
    assert is_bech32(text)
    assert len(text) == -(-8 * len(data) // 5)
    assert unchecked_decode(text) == data


def test_what_is_left_over_is_less_than_a_character_and_zero() -> None:
    assert unchecked_encode(b"\xff") == "lu"
    assert unchecked_decode("lu") == b"\xff"
    for text, words in (
        ("l", "5 bits"),
        ("lup", "7 bits"),
        ("ll", "not zero"),
        ("l1", "not bech32's"),
        ("LU", "not bech32's"),
    ):
        with pytest.raises(ValueError, match=words):
            unchecked_decode(text)
    assert unchecked_decode("") == b""
    assert unchecked_encode(b"") == ""
