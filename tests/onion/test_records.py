"""Strings, records and what is signed of them, against the BOLT's vectors and others'."""

from __future__ import annotations

import hashlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.onions import load
from triolight.keys import SecretKey, verify_schnorr
from triolight.onion.records import (
    MAX_STRING,
    RULES,
    OfferError,
    check_paths,
    decode_string,
    encode_string,
    merkle_root,
    parse,
    read_records,
    signature_hash,
    unknown_even,
)
from triolight.onion.streams import InvoiceErrorTlvs

FORMATS = load("bolt12/format-string-test.json")
SIGNATURES = load("bolt12/signature-test.json")
MERKLE = load("bolt12/generated.json.xz")["merkle"]


def rule(text: str, prefix: str = "lno") -> str:
    with pytest.raises(OfferError) as caught:
        decode_string(text, prefix)
    return caught.value.rule


@pytest.mark.parametrize("vector", FORMATS, ids=lambda vector: vector["comment"])
def test_t6_b1_b2_the_bolts_strings(vector: dict[str, Any]) -> None:
    whole = decode_string(FORMATS[0]["string"], "lno")
    if vector["valid"]:
        assert decode_string(vector["string"], "lno") == whole
        assert encode_string("lno", whole) == FORMATS[0]["string"]
    else:
        assert rule(vector["string"]) == "B2"


def test_b1_b2_b3_b4_strings_that_are_none() -> None:
    for text in ("", "lno", "lno1", "lnr1qq", "lno1bq", "lno1q q", "lno1qq\n", " lno1qq", "lno1q\u212a", "lno1q\uff11"):
        assert rule(text) == "B1", text
    for text in ("lno1+", "lno1q+ +q", "lno1q\u00a0+q".replace("\u00a0", " "), "+lno1q", "lnO1qq", "lno1q+\v\fq"):
        assert rule(text) == "B2", text
    for text in ("lno1q", "lno1qqq", "lno1ql"):
        assert rule(text) == "B3", text
    assert rule("lno1" + "q" * MAX_STRING) == "B1"
    assert len(decode_string("lno1" + "q" * (MAX_STRING - 4), "lno")) == (MAX_STRING - 4) * 5 // 8
    assert decode_string("lno1qq", "lno") == b"\0"
    # However a plus and blanks are heaped up.
    assert rule("lno1" + "+ " * 60_000) == "B2"
    assert decode_string("lno1q+" + " " * 100_000 + "q", "lno") == b"\0"


@given(st.binary(max_size=300), st.data())
def test_b2_b3_a_string_is_joined_wherever_it_was_cut(data: bytes, choose: st.DataObject) -> None:
    text = encode_string("lni", data or b"\0")
    at = choose.draw(st.integers(1, len(text) - 1))
    blanks = choose.draw(st.text(" \t\r\n", max_size=3))
    for cut in (text, f"{text[:at]}+{blanks}{text[at:]}"):
        assert decode_string(cut, "lni") == (data or b"\0") == decode_string(cut.upper(), "lni")


@pytest.mark.parametrize("vector", SIGNATURES, ids=lambda vector: vector["comment"][:40])
def test_t6_b8_the_bolts_trees(vector: dict[str, Any]) -> None:
    """Its leaves are named by their hash's tag and what is hashed: all of it is in the first record and the leaves."""
    raw = [next(iter(leaf)).partition(",")[2].removesuffix(")") for leaf in vector["leaves"]]
    records = read_records(bytes.fromhex("".join(raw)))
    assert records[0].raw.hex() == vector["first-tlv"]
    for record, leaf in zip(records, vector["leaves"], strict=True):
        assert merkle_root([record, *records]) != merkle_root(records)
        assert tagged(b"LnLeaf", record.raw) == next(iter(leaf.values()))
    assert merkle_root(records).hex() == vector["merkle"]


def tagged(tag: bytes, data: bytes) -> str:
    return hashlib.sha256(hashlib.sha256(tag).digest() * 2 + data).hexdigest()


@pytest.mark.parametrize("vector", MERKLE, ids=lambda vector: f"{len(vector['records'])} records")
def test_b8_others_roots_and_what_is_signed_of_them(vector: dict[str, Any]) -> None:
    records = read_records(bytes.fromhex("".join(vector["records"])))
    root = merkle_root(records)
    assert root.hex() == vector["root"]
    assert signature_hash("invoice_request", root).hex() == vector["invoice_request"]
    assert signature_hash("invoice", root).hex() == vector["invoice"]
    # Signatures are not signed.
    signatures = read_records(b"\xf0\x01x" + b"\xfd\x03\xe8\x01y")
    assert merkle_root((*records, *signatures)) == root
    assert merkle_root((*records, *read_records(b"\xfd\x03\xe9\x01y"))) != root


def test_b9_the_bolts_signature() -> None:
    vector = SIGNATURES[3]
    digest = bytes.fromhex(vector["H(signature_tag,merkle)"])
    assert signature_hash("invoice_request", bytes.fromhex(vector["merkle"])) == digest
    payer = SecretKey(b"\x42" * 32)
    assert payer.sign_schnorr(digest, bytes(32)).hex() == vector["signature"]
    assert verify_schnorr(bytes.fromhex(vector["signature"]), digest, payer.public_key)


def test_b8_nothing_to_sign() -> None:
    for records in ((), read_records(b"\xf0\x00")):
        with pytest.raises(OfferError) as caught:
            merkle_root(records)
        assert caught.value.rule == "B8"


def test_b5_b7_records_keep_their_bytes() -> None:
    data = b"\x01\x01a" + b"\xfd\x01\x01\x00" + b"\xfe\x00\x01\x00\x00\x02bc"
    records = read_records(data)
    assert [(one.type, one.value) for one in records] == [(1, b"a"), (257, b""), (65536, b"bc")]
    assert b"".join(one.raw for one in records) == data
    for broken in (data[:-1], data + data, b"\xfd\x00\x01\x00", b"\x01\xfd\x00\x01a", b"\x01"):
        with pytest.raises(OfferError) as caught:
            read_records(broken)
        assert caught.value.rule == "B5"


def test_b11_b14_b16_even_features_that_nobody_knows() -> None:
    assert unknown_even(None) is unknown_even(b"") is unknown_even(bytes(9)) is unknown_even(b"\xaa\xaa") is None
    assert unknown_even(b"\x01") == 0
    assert unknown_even(b"\x05\x00") == 8
    assert unknown_even(b"\x01\x00\x00", (16, 17)) is None
    assert unknown_even(b"\x05\x00\x00", (16, 17)) == 18


def test_b5_b6_fields_and_ranges() -> None:
    records, tlvs = parse(b"\x05\x01x\x07\x00", InvoiceErrorTlvs, ())
    assert (tlvs.error, tlvs.unknown, len(records)) == (b"x", ((7, b""),), 2)
    for data, ranges, rule, words in (
        (b"\x05\x01x\x07\x00", (range(6),), "B5", "type 7 is none"),
        (b"\x02\x00", (), "B5", "unknown even type 2"),
        (b"\x05\x01\xff", (), "B6", "error: no UTF-8 at its byte 0"),
        (b"\x05\x03o\xc3\xa9"[:4] + b"x", (), "B6", "error: no UTF-8 at its byte 1"),
        (b"\x01\x01\x00", (), "B6", "erroneous_field: a truncated integer"),
    ):
        with pytest.raises(OfferError, match=words) as caught:
            parse(data, InvoiceErrorTlvs, ranges)
        assert caught.value.rule == rule
    check_paths("B11", "offer_paths", None)
    with pytest.raises(OfferError, match="a list without a path"):
        check_paths("B11", "offer_paths", ())


def test_an_error_says_its_rule_and_its_field() -> None:
    error = OfferError("B11", "an amount of zero", "offer_amount")
    assert str(error) == "offer_amount: an amount of zero (B11)"
    assert (error.rule, error.field, error.why) == ("B11", "offer_amount", "an amount of zero")
    assert str(OfferError("B5", "unknown")) == "unknown (B5)"
    restored = pickle.loads(pickle.dumps(error))
    assert (str(restored), restored.rule) == (str(error), "B11")
    assert all(words for words in RULES.values())
