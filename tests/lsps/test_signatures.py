"""Texts that nodes have signed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import identity, secret
from tests.support.providers import VECTORS
from triolight.keys import SecretKey
from triolight.lsps import recover_ln_signature, sign_ln_message, verify_ln_signature


@pytest.mark.parametrize("row", VECTORS["signatures"], ids=lambda row: row["message"][:20])
def test_what_others_have_signed(row: dict[str, Any]) -> None:
    node_id = bytes.fromhex(row["node_id"])
    assert verify_ln_signature(node_id, row["message"], row["signature"])
    assert verify_ln_signature(node_id, row["message"].encode(), row["signature"])
    assert recover_ln_signature(row["message"], row["signature"]) == node_id
    assert not verify_ln_signature(node_id, row["message"] + " ", row["signature"])
    assert not verify_ln_signature(identity(2), row["message"], row["signature"])
    if node_id == SecretKey(bytes(31) + b"\1").public_key:
        assert sign_ln_message(SecretKey(bytes(31) + b"\1"), row["message"]) == row["signature"]


def test_each_key_signs_as_itself() -> None:
    for number in range(1, 9):
        signature = sign_ln_message(SecretKey(secret(number)), "ü")
        assert len(signature) == 104
        assert verify_ln_signature(identity(number), "ü", signature)


def test_what_is_no_signature_is_nobodys() -> None:
    signature = sign_ln_message(SecretKey(secret(1)), "x")
    for none in ("", signature[:-1], signature + "y", signature.upper(), "l" + signature[1:], "y" * 104, "9" * 104):
        assert recover_ln_signature("x", none) is None
        assert not verify_ln_signature(identity(1), "x", none)
