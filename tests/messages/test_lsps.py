"""LSPS0 is one's own to add."""

from __future__ import annotations

from triolight.messages import BOLT, LSPS0, UnknownMessage


def test_lsps0_is_ones_own_to_add() -> None:
    assert LSPS0 not in BOLT
    data = (37913).to_bytes(2, "big") + b'{"jsonrpc": "2.0"}'
    assert BOLT.decode(data) == UnknownMessage(37913, data[2:])
    assert (BOLT | {LSPS0}).decode(data) == LSPS0(payload=data[2:])
    assert LSPS0(payload=data[2:]).encode() == data
