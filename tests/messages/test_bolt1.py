"""BOLT 1's messages against its vectors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import BOLT1, plain
from triolight.connection import init_features
from triolight.errors import DecodeError
from triolight.messages import BOLT, Init, Ping, Pong, UnknownMessage
from triolight.wire import TlvRecord


@pytest.mark.parametrize("case", BOLT1["init_messages"], ids=lambda case: case["bytes"][:60])
def test_init_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    if not case["valid"]:
        with pytest.raises(DecodeError, match="init"):
            BOLT.decode(data)
        return
    init = BOLT.decode(data)
    assert isinstance(init, Init)
    assert init.encode() == data
    assert list(init_features(init)) == case["combined_feature_bits"]
    assert init.features.hex() == case["fields"]["features"]
    assert init.globalfeatures.hex() == case["fields"]["globalfeatures"]
    for type_, name, value in case["fields"]["tlvs"]:
        if name is None:
            assert TlvRecord(type_, bytes.fromhex(value)) in init.tlvs.unknown
        else:
            (expected,) = value.values()
            assert plain(getattr(init.tlvs, name)) == expected


@pytest.mark.parametrize("case", BOLT1["other_messages"], ids=lambda case: case["name"])
def test_other_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    if "action" in case and len(data) >= 2:
        found = BOLT.decode(data)
        assert isinstance(found, UnknownMessage)
        assert (found.type % 2 == 0) == (case["action"] == "close")
        assert found.encode() == data
    elif not case["valid"]:
        with pytest.raises(DecodeError):
            BOLT.decode(data)
    else:
        found = BOLT.decode(data)
        assert found.encode() == data
        assert found.name == case["message"]
        reply = case.get("expect_reply")
        if reply is not None and isinstance(found, Ping):
            assert Pong(ignored=bytes(found.num_pong_bytes)).encode().hex() == reply
