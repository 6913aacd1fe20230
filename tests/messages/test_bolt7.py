"""BOLT 7's messages: real ones of the network byte for byte, and what must be refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.vectors import BOLT7, REAL, TAILS, plain
from triolight.as_json import from_json, to_json
from triolight.errors import DecodeError
from triolight.messages import BOLT, ChannelAnnouncement, ChannelUpdate, Message, NodeAnnouncement, Ping


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
    if case["name"].startswith(TAILS):
        assert BOLT.decode(bytes.fromhex(case["bytes"])).encode().hex() == case["bytes"]
        return
    with pytest.raises(DecodeError) as caught:
        BOLT.decode(bytes.fromhex(case["bytes"]))
    assert caught.value.message in str(caught.value)
    assert caught.value.offset is not None


@pytest.mark.parametrize("tail", [b"\x01", b"\x02\x00", b"\x01\x05ab", bytes(range(256)) * 4])
@pytest.mark.parametrize("kind", [ChannelAnnouncement, NodeAnnouncement, ChannelUpdate])
def test_what_its_maker_has_signed_is_kept_whatever_it_is(kind: type[Message], tail: bytes) -> None:
    data = next(data for name, data, _ in REAL if name == kind.name and len(data) != 130)
    found = BOLT.decode(data + tail)
    assert isinstance(found, kind)
    assert found.extension == tail
    assert found.encode() == data + tail
    assert BOLT.decode(data).replace(extension=tail) == found  # type: ignore[union-attr]
    assert from_json(to_json(found)) == found
    assert tail.hex() in str(to_json(found))


def test_other_messages_have_a_tlv_stream_there() -> None:
    ping = Ping().encode()
    assert Ping.decode(ping + b"\x01\x00").extension == b"\x01\x00"
    for tail in (b"\x01", b"\x02\x00"):
        with pytest.raises(DecodeError, match=r"^ping\.extension"):
            Ping.decode(ping + tail)
        with pytest.raises(ValueError, match=r"^ping\.extension: "):
            Ping(extension=tail).encode()
    with pytest.raises(ValueError, match=r"^channel_update\.extension: needs bytes"):
        next(BOLT.decode(data) for name, data, _ in REAL if name == "channel_update" and len(data) != 130).replace(  # type: ignore[union-attr]
            extension=5
        ).encode()


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
