"""The inside of gossip messages: real announcements with their signatures, queries, checksums, addresses, names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.vectors import TAILS
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
    UNCOMPRESSED,
    ZLIB,
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
    refuse_zlib,
    sign_announcement,
    signature_hash,
    signed_bytes,
    verify_announcement,
)
from triolight.keys import SecretKey, verify
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

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "bolt7_vectors.json").read_text())
REAL = [
    pytest.param(kind, vector, id=f"{kind}-{number}")
    for kind, vectors in VECTORS["real"].items()
    for number, vector in enumerate(vectors)
]
FLIPS = [pytest.param(flip, id=f"{flip['kind']} {flip['what']}") for flip in VECTORS["bad_bit_flips"]]
MADE: list[dict[str, Any]] = VECTORS["synthetic"]["messages"]
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
    if isinstance(message, ChannelAnnouncement):
        return None
    if "node_id" in vector:
        return bytes.fromhex(vector["node_id"])
    return KEYS["node_2" if direction(message) else "node_1"].public_key


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


@pytest.mark.parametrize(("kind", "vector"), REAL)
def test_real_announcements_verify(kind: str, vector: dict[str, Any]) -> None:
    if kind == "channel_update" and len(vector["bytes"]) == 260:
        # From before htlc_maximum_msat, which is mandatory today: too short.
        with pytest.raises(DecodeError, match="htlc_maximum_msat"):
            decoded(vector)
        return
    message = decoded(vector)
    assert message.name == kind
    node_id = signer(vector, message)
    assert listed(vector["sig_check"]) == checks(message, node_id) == ["ok"] * len(listed(vector["sig_check"]))
    assert verify_announcement(message, node_id)
    if isinstance(message, ChannelUpdate):
        assert channel_update_checksum(message) == vector["crc32c"]
    if not isinstance(message, NodeAnnouncement):
        assert str(message.short_channel_id) == vector["scid"]
    if isinstance(message, ChannelAnnouncement):
        assert (message.node_id_1 < message.node_id_2) == vector["node_ids_ordered"]
    assert message.encode().hex() == vector["bytes"]


@pytest.mark.parametrize("flip", FLIPS)
def test_one_bit_spoils_a_signature(flip: dict[str, Any]) -> None:
    """Where the flipped bit takes a key off the curve, the message does not decode at all."""
    try:
        message = decoded(flip)
    except DecodeError as error:
        if "not a compressed point" not in error.why or f"one bit of {error.field} flipped" != flip["what"]:
            raise
        return
    node_id = signer(flip, message)
    assert checks(message, node_id) == listed(flip["sig_check"])
    assert not verify_announcement(message, node_id)


@pytest.mark.parametrize("vector", VECTORS["malformed"], ids=lambda vector: vector["name"])
def test_malformed_announcements_are_refused(vector: dict[str, Any]) -> None:
    if vector["name"].startswith(TAILS):
        # Malformed by BOLT 1, and kept for its maker's sake, who has signed something else here.
        assert not verify_announcement(decoded(vector))
        return
    with pytest.raises(DecodeError) as caught:
        BOLT.decode(bytes.fromhex(vector["bytes"]))
    assert vector["name"].startswith(caught.value.message + ":")
    assert caught.value.offset is not None


@pytest.mark.parametrize("vector", MADE, ids=lambda vector: f"{vector['kind']}-{vector['name']}")
def test_synthetic_announcements(vector: dict[str, Any]) -> None:
    if not vector["parses"]:
        with pytest.raises(DecodeError):
            decoded(vector)
        return
    message = decoded(vector)
    assert message.encode().hex() == vector["bytes"]
    node_id = signer(vector, message)
    # libsecp256k1 takes no high s, and neither do we.
    expected = ["bad" if one == "high-s" else one for one in listed(vector["sig_check"])]
    assert checks(message, node_id) == expected
    assert verify_announcement(message, node_id) == (set(expected) == {"ok"})
    if "crc32c" in vector:
        assert isinstance(message, ChannelUpdate)
        assert channel_update_checksum(message) == vector["crc32c"]
    if set(expected) != {"ok"}:
        return
    # Signing is deterministic (RFC 6979), so the same keys give the same bytes.
    by_point = {key.public_key: key for key in KEYS.values()}
    if isinstance(message, ChannelAnnouncement):
        points = [message.node_id_1, message.node_id_2, message.bitcoin_key_1, message.bitcoin_key_2]
        blank: Announcement = message.replace(node_signature_1=bytes(64), bitcoin_signature_2=bytes(64))
    else:
        assert node_id is not None
        points = [node_id]
        blank = message.replace(signature=bytes(64))
    assert signed_bytes(blank) == signed_bytes(message)
    assert not verify_announcement(blank, node_id)
    assert sign_announcement(blank, *(by_point[point] for point in points)).encode().hex() == vector["bytes"]


def test_signing_and_verifying_name_what_is_missing() -> None:
    update = next(decoded(one) for one in MADE if one["kind"] == "channel_update")
    assert isinstance(update, ChannelUpdate)
    with pytest.raises(ValueError, match="node_id"):
        verify_announcement(update)
    with pytest.raises(ValueError, match="channel_update needs 1 keys, not 2"):
        sign_announcement(update, KEYS["node_1"], KEYS["node_2"])


# ---------------------------------------------------------------------------------------------------------------------
# Queries


@pytest.mark.parametrize("query", VECTORS["queries"], ids=lambda query: query.get("why", query["bytes"][:20]))
def test_queries(query: dict[str, Any]) -> None:
    expected = query.get("decoded", {})
    if not query["valid"]:
        with pytest.raises(DecodeError) as caught:
            contents(BOLT.decode(bytes.fromhex(query["bytes"])))
        assert caught.value.offset is not None
        return
    message = BOLT.decode(bytes.fromhex(query["bytes"]))
    assert message.encode().hex() == query["bytes"]
    ids, flags, stamps, sums = contents(message)
    if "decoded" in query:
        assert message.name == expected["message"]
        for name in ("first_blocknum", "number_of_blocks", "full_information", "first_timestamp", "timestamp_range"):
            if name in expected:
                assert getattr(message, name) == expected[name]
        assert [str(one) for one in ids] == expected.get("short_channel_ids", [])
        if "ascending" in expected:
            assert (sorted(set(ids)) == list(ids)) == expected["ascending"]
        assert list(flags) == expected.get("query_flags", [])
    if "timestamps" in query.get("spec_json", {}):
        pairs = query["spec_json"]["timestamps"]["timestamps"]
        assert list(stamps) == [(pair["timestamp1"], pair["timestamp2"]) for pair in pairs]
        assert sums == [(one["checksum1"], one["checksum2"]) for one in query["spec_json"]["checksums"]["checksums"]]


def contents(
    message: object,
) -> tuple[tuple[ShortChannelId, ...], tuple[int, ...], tuple[tuple[int, int], ...], list[tuple[int, int]]]:
    """Everything that a query hides in a field of bytes: ids, flags, timestamps, checksums."""
    ids: tuple[ShortChannelId, ...] = ()
    flags: tuple[int, ...] = ()
    stamps: tuple[tuple[int, int], ...] = ()
    sums: list[tuple[int, int]] = []
    if isinstance(message, QueryShortChannelIds):
        ids = decode_short_ids(message.encoded_short_ids)
        if message.tlvs.query_flags is not None:
            flags = decode_query_flags(message.tlvs.query_flags, len(ids))
    if isinstance(message, ReplyChannelRange):
        ids = decode_short_ids(message.encoded_short_ids)
        if message.tlvs.timestamps_tlv is not None:
            stamps = decode_timestamps(message.tlvs.timestamps_tlv)
        if message.tlvs.checksums_tlv is not None:
            sums = [(one.checksum_node_id_1, one.checksum_node_id_2) for one in message.tlvs.checksums_tlv]
    return ids, flags, stamps, sums


def test_lists_inside_queries_round_trip() -> None:
    ids = [ShortChannelId.parse("700000x1x0"), ShortChannelId.parse("1x2x3"), ShortChannelId.parse("1x2x3")]
    encoded = encode_short_ids(ids)
    assert encoded.hex() == "00" + "0000010000020003" + "0aae600000010000"
    assert [str(one) for one in decode_short_ids(encoded)] == ["1x2x3", "700000x1x0"]
    assert decode_short_ids(b"") == decode_short_ids(encode_short_ids([])) == ()
    assert encode_short_ids([]) == b"\0"
    flags = [0, 1, 31, 253, 1 << 40]
    assert decode_query_flags(encode_query_flags(flags), 5) == tuple(flags)
    pairs = [(0, 1), (0xFFFFFFFF, 1700000000)]
    assert decode_timestamps(encode_timestamps(pairs)) == tuple(pairs)


@pytest.mark.parametrize("encoding", [1, 2, 255])
def test_only_the_plain_encoding_is_read(encoding: int) -> None:
    why = "zlib" if encoding == 1 else str(encoding)
    with pytest.raises(DecodeError, match=why) as caught:
        decode_short_ids(bytes((encoding,)) + bytes(8))
    assert (caught.value.field, caught.value.offset) == ("encoded_short_ids", 0)
    with pytest.raises(DecodeError, match=why):
        decode_query_flags(QueryFlags(encoding_type=encoding, encoded_query_flags=b"\1"), 1)
    with pytest.raises(DecodeError, match=why):
        decode_timestamps(Timestamps(encoding_type=encoding, encoded_timestamps=bytes(8)))


def test_broken_lists_are_refused() -> None:
    with pytest.raises(DecodeError, match="7 bytes"):
        decode_short_ids(bytes(8))
    with pytest.raises(DecodeError, match="12 bytes"):
        decode_timestamps(Timestamps(encoding_type=0, encoded_timestamps=bytes(12)))
    with pytest.raises(DecodeError, match="3 flags for 2"):
        decode_query_flags(QueryFlags(encoding_type=0, encoded_query_flags=bytes(3)), 2)
    with pytest.raises(DecodeError, match="query_flags"):
        decode_query_flags(QueryFlags(encoding_type=0, encoded_query_flags=b"\xfd\x00\x01"), 1)
    assert QueryChannelRange.decode(bytes.fromhex(VECTORS["queries"][0]["bytes"])).tlvs.query_option is None


# ---------------------------------------------------------------------------------------------------------------------
# Checksums, addresses, names


@pytest.mark.parametrize("vector", VECTORS["channel_update_crc32c"]["vectors"], ids=lambda vector: vector["crc32c_hex"])
def test_checksums_of_channel_updates(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["channel_update"])
    assert vector["crc32c"] == int(vector["crc32c_hex"], 16)
    if len(data) == 130:  # without htlc_maximum_msat, which is mandatory today
        assert crc32c(data[66:106] + data[110:]) == vector["crc32c"]
        return
    update = ChannelUpdate.decode(data)
    assert channel_update_checksum(update) == vector["crc32c"]
    assert channel_update_checksum(update.replace(timestamp=5, signature=bytes(64))) == vector["crc32c"]
    assert channel_update_checksum(update.replace(fee_base_msat=update.fee_base_msat ^ 1)) != vector["crc32c"]


def test_crc32c_is_rfc_3720s() -> None:
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(b"123456789") == 0xE3069283


@pytest.mark.parametrize(
    "vector",
    [one for one in MADE if "addresses" in one],
    ids=lambda vector: vector["name"],
)
def test_addresses_of_announcements(vector: dict[str, Any]) -> None:
    announcement = decoded(vector)
    assert isinstance(announcement, NodeAnnouncement)
    assert announcement.addresses.hex() == vector["addresses"]
    name = vector["name"]
    if name == "truncated dns length":
        with pytest.raises(DecodeError):
            addresses_of(announcement)
        return
    found = addresses_of(announcement)
    assert b"".join(map(write_address, found)) == announcement.addresses
    kinds = {
        "no addresses": [],
        "ipv4 x2": [IPv4Address, IPv4Address],
        "tor v3": [TorV3Address],
        "ipv4+ipv6+torv3+dns ascending": [IPv4Address, IPv6Address, TorV3Address, DnsAddress],
        "unknown type 6 last": [IPv4Address, UnknownAddress],
        "descending order (ipv6 then ipv4)": [IPv6Address, IPv4Address],
        "dns port 0": [DnsAddress],
        "dns non-ascii (utf-8 bytes)": [UnknownAddress],
        "zero-typed descriptor first": [UnknownAddress],
    }
    assert [type(one) for one in found] == kinds[name]


def test_onion_names() -> None:
    vector = VECTORS["onion_v3"]
    address = TorV3Address.of(vector["hostname"], 9735)
    assert address.key.hex() == vector["pubkey"]
    assert write_address(address).hex() == "04" + vector["onion_addr"] + "2607"
    assert address.valid
    assert address.host == vector["hostname"]
    assert TorV2Address(bytes(10), 1).port == 1


def test_aliases_are_shown_without_harm() -> None:
    assert display_alias(b"yalls.org".ljust(32, b"\0")) == "yalls.org"
    assert display_alias(b"a\0<b>\x1b[31m\xff\n".ljust(32, b"\0")) == "a\ufffd<b>\ufffd[31m\ufffd\ufffd"
    assert display_alias("\u202egnp.exe \u2665".encode().ljust(32, b"\0")) == "\ufffdgnp.exe \u2665"
    assert display_alias(bytes(32)) == ""


def test_flags_of_a_channel_update() -> None:
    update = ChannelUpdate.decode(bytes.fromhex(VECTORS["channel_update_crc32c"]["vectors"][0]["channel_update"]))
    assert (direction(update), disabled(update)) == (update.channel_flags & 1, False)
    assert (direction(update.replace(channel_flags=3)), disabled(update.replace(channel_flags=2))) == (1, True)


def test_a_compressed_list_is_refused_by_place() -> None:
    query = QueryShortChannelIds(chain_hash=bytes(32), encoded_short_ids=bytes((ZLIB, 1, 2)))
    reply = ReplyChannelRange(
        chain_hash=bytes(32), first_blocknum=0, number_of_blocks=1, sync_complete=1, encoded_short_ids=bytes((ZLIB,))
    )
    for message in (query, reply):
        with pytest.raises(DecodeError) as caught:
            refuse_zlib(message)
        assert (caught.value.message, caught.value.field) == (message.name, "encoded_short_ids")
        assert caught.value.offset is not None
        assert message.encode()[caught.value.offset] == ZLIB
    refuse_zlib(query.replace(encoded_short_ids=bytes((UNCOMPRESSED,))))
