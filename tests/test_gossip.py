"""The inside of gossip messages: real announcements with their signatures, queries, checksums, addresses, names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from triolight import SecretKey
from triolight.address import (
    DnsAddress,
    IPv4Address,
    IPv6Address,
    TorV2Address,
    TorV3Address,
    UnknownAddress,
    write_address,
)
from triolight.errors import DecodeError
from triolight.gossip import (
    Announcement,
    addresses_of,
    channel_update_checksum,
    crc32c,
    decode_query_flags,
    decode_short_ids,
    decode_timestamps,
    direction,
    disabled,
    display_alias,
    encode_query_flags,
    encode_short_ids,
    encode_timestamps,
    sign_announcement,
    signature_hash,
    signed_bytes,
    verify_announcement,
)
from triolight.keys import verify
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
    QueryChannelRange,
    QueryFlags,
    QueryShortChannelIds,
    ReplyChannelRange,
    Timestamps,
)
from triolight.wire import ShortChannelId

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "bolt7_vectors.json").read_text())
REAL = [
    pytest.param(kind, vector, id=f"{kind}-{number}")
    for kind, vectors in VECTORS["real"].items()
    for number, vector in enumerate(vectors)
]
FLIPS = [pytest.param(flip, id=f"{flip['kind']} {flip['what']}") for flip in VECTORS["bad_bit_flips"]]
SYNTHETIC = [pytest.param(one, id=f"{one['kind']}-{one['name']}") for one in VECTORS["synthetic"]["messages"]]
KEYS = {name: SecretKey(bytes.fromhex(secret)) for name, secret in VECTORS["synthetic"]["private_keys"].items()}


def decoded(vector: dict[str, Any]) -> Announcement:
    message = BOLT.decode(bytes.fromhex(vector["bytes"]))
    assert isinstance(message, ChannelAnnouncement | NodeAnnouncement | ChannelUpdate)
    return message


def checks(message: Announcement, node_id: bytes | None) -> list[str]:
    """Each signature by itself, as the vectors list them."""
    digest = signature_hash(message)
    if isinstance(message, ChannelAnnouncement):
        names = ("node_signature_1", "node_signature_2", "bitcoin_signature_1", "bitcoin_signature_2")
        keys = ("node_id_1", "node_id_2", "bitcoin_key_1", "bitcoin_key_2")
        pairs = [(getattr(message, name), getattr(message, key)) for name, key in zip(names, keys, strict=True)]
    else:
        assert node_id is not None
        pairs = [(message.signature, node_id)]
    return ["ok" if verify(signature, digest, key) else "bad" for signature, key in pairs]


def signer(vector: dict[str, Any], message: Announcement) -> bytes | None:
    if isinstance(message, NodeAnnouncement):
        return message.node_id
    return bytes.fromhex(vector["node_id"]) if "node_id" in vector else None


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize(("kind", "vector"), REAL)
def test_real_announcements_verify(kind: str, vector: dict[str, Any]) -> None:
    message = decoded(vector)
    assert message.name == kind
    node_id = signer(vector, message)
    assert checks(message, node_id) == listed(vector["sig_check"])
    assert verify_announcement(message, node_id) == (set(listed(vector["sig_check"])) == {"ok"})
    if isinstance(message, ChannelUpdate):
        assert channel_update_checksum(message) == vector["crc32c"]
    if not isinstance(message, NodeAnnouncement):
        assert str(message.short_channel_id) == vector["scid"]
    if isinstance(message, ChannelAnnouncement):
        assert (message.node_id_1 < message.node_id_2) == vector["node_ids_ordered"]
    assert message.encode().hex() == vector["bytes"]


@pytest.mark.parametrize("flip", FLIPS)
def test_one_bit_spoils_a_signature(flip: dict[str, Any]) -> None:
    try:
        message = decoded(flip)
    except DecodeError:
        # A flip in a key can leave the curve.
        assert flip.get("parses") is False or "bad" in flip["sig_check"] or "none" in str(flip["sig_check"])
        return
    node_id = signer(flip, message)
    assert checks(message, node_id) == listed(flip["sig_check"])
    assert not verify_announcement(message, node_id)


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_malformed_announcements_are_refused(vector: dict[str, Any]) -> None:
    with pytest.raises(DecodeError) as caught:
        BOLT.decode(bytes.fromhex(vector["bytes"]))
    assert caught.value.message_name


@pytest.mark.parametrize("vector", SYNTHETIC)
def test_synthetic_announcements(vector: dict[str, Any]) -> None:
    if not vector["parses"]:
        with pytest.raises(DecodeError):
            decoded(vector)
        return
    message = decoded(vector)
    node_id = signer(vector, message)
    found = checks(message, node_id)
    assert found == listed(vector["sig_check"])
    if set(found) != {"ok"}:
        assert not verify_announcement(message, node_id)
        return
    assert verify_announcement(message, node_id)
    # Signing is deterministic (RFC 6979), so the same keys give the same bytes.
    by_key = {key.public_key().data: key for key in KEYS.values()}
    if isinstance(message, ChannelAnnouncement):
        owners = [message.node_id_1, message.node_id_2, message.bitcoin_key_1, message.bitcoin_key_2]
    else:
        assert node_id is not None
        owners = [node_id]
    blank = message.replace(**{name: bytes(64) for name in message.to_dict() if name.endswith(("signature",))})
    assert signed_bytes(blank) == signed_bytes(message)
    assert sign_announcement(blank, *(by_key[owner] for owner in owners)).encode().hex() == vector["bytes"]
