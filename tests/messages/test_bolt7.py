"""BOLT 7's messages: real ones of the network byte for byte, and what must be refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import BOLT7, REAL, plain
from triolight.errors import DecodeError
from triolight.messages import BOLT, ChannelUpdate


@pytest.mark.parametrize(("kind", "data", "case"), REAL, ids=[f"{kind} {len(data)}" for kind, data, _ in REAL])
def test_real_announcements(kind: str, data: bytes, case: dict[str, Any]) -> None:
    if kind == "channel_update" and len(data) == 130:
        # From before htlc_maximum_msat was mandatory: too short today.
        with pytest.raises(DecodeError, match="htlc_maximum_msat"):
            BOLT.decode(data)
        return
    found = BOLT.decode(data)
    assert found.name == kind
    assert found.encode() == data
    if "scid" in case:
        assert plain(found.short_channel_id) == case["scid"]  # type: ignore[union-attr]


@pytest.mark.parametrize("case", BOLT7["malformed"], ids=lambda case: case["name"])
def test_malformed_gossip(case: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        BOLT.decode(bytes.fromhex(case["bytes"]))
    assert caught.value.message in str(caught.value)
    assert caught.value.offset is not None


@pytest.mark.parametrize("case", BOLT7["synthetic"]["messages"], ids=lambda case: case["name"])
def test_synthetic_gossip(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    if case["parses"]:
        assert BOLT.decode(data).encode() == data
    else:
        with pytest.raises(DecodeError):
            BOLT.decode(data)


def test_channel_update_of_the_legacy_length_and_flags() -> None:
    data = next(data for kind, data, _ in REAL if kind == "channel_update" and len(data) == 138)
    update = ChannelUpdate.decode(data)
    odd_flags = update.replace(message_flags=0xFF, channel_flags=0xFC)
    assert ChannelUpdate.decode(odd_flags.encode()) == odd_flags
