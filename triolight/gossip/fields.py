"""What BOLT 7 says about the inside of gossip: what is signed, short ids in lists, checksums, names for display.

Pure functions over messages; knows no peer. A message of a type with signatures is verified over all its bytes, also
those that we do not understand.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final, TypeAlias, overload

from triolight import wire
from triolight.address import Address, read_addresses
from triolight.errors import DecodeError
from triolight.keys import SecretKey, verify
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    NodeAnnouncement,
    QueryFlags,
    QueryShortChannelIds,
    ReplyChannelRange,
    Timestamps,
)
from triolight.wire import ShortChannelId

__all__ = [
    "NOTHING",
    "UNCOMPRESSED",
    "ZLIB",
    "Announcement",
    "addresses_of",
    "channel_update_checksum",
    "crc32c",
    "decode_query_flags",
    "decode_short_ids",
    "decode_timestamps",
    "direction",
    "disabled",
    "display_alias",
    "encode_query_flags",
    "encode_short_ids",
    "encode_timestamps",
    "refuse_zlib",
    "sign_announcement",
    "signature_hash",
    "signed_bytes",
    "verify_announcement",
]

Announcement: TypeAlias = ChannelAnnouncement | NodeAnnouncement | ChannelUpdate
"""The messages that are signed and passed on."""

UNCOMPRESSED: Final = 0
ZLIB: Final = 1
"""The encoding that BOLT 7 has forbidden: a few bytes of it can become gigabytes."""
NOTHING: Final = bytes((UNCOMPRESSED,))
"""An `encoded_short_ids` without an id."""
_TYPE_LENGTH: Final = 2
_SIGNATURE_LENGTH: Final = 64
_CRC32C_POLYNOMIAL: Final = 0x82F63B78


# Signatures.


def signed_bytes(announcement: Announcement) -> bytes:
    """What the signatures cover: everything behind the last of them, what others appended included."""
    signatures = 4 if isinstance(announcement, ChannelAnnouncement) else 1
    return announcement.encode()[_TYPE_LENGTH + signatures * _SIGNATURE_LENGTH :]


def signature_hash(announcement: Announcement) -> bytes:
    """The double SHA256 of the signed bytes: the 32 bytes that are signed."""
    return hashlib.sha256(hashlib.sha256(signed_bytes(announcement)).digest()).digest()


def verify_announcement(announcement: Announcement, node_id: bytes | None = None) -> bool:
    """Whether every signature is valid.

    `node_id` is who must have signed a channel_update, which does not say it itself: ValueError if it is missing. The
    other two carry their keys, and it is not looked at.
    """
    digest = signature_hash(announcement)
    match announcement:
        case ChannelAnnouncement():
            pairs = (
                (announcement.node_signature_1, announcement.node_id_1),
                (announcement.node_signature_2, announcement.node_id_2),
                (announcement.bitcoin_signature_1, announcement.bitcoin_key_1),
                (announcement.bitcoin_signature_2, announcement.bitcoin_key_2),
            )
            return all(verify(signature, digest, key) for signature, key in pairs)
        case NodeAnnouncement():
            return verify(announcement.signature, digest, announcement.node_id)
        case ChannelUpdate():
            if node_id is None:
                raise ValueError("a channel_update does not say who signed it: node_id is needed")
            return verify(announcement.signature, digest, node_id)


@overload
def sign_announcement(announcement: NodeAnnouncement, *keys: SecretKey) -> NodeAnnouncement: ...
@overload
def sign_announcement(announcement: ChannelUpdate, *keys: SecretKey) -> ChannelUpdate: ...
@overload
def sign_announcement(announcement: ChannelAnnouncement, *keys: SecretKey) -> ChannelAnnouncement: ...
def sign_announcement(announcement: Announcement, *keys: SecretKey) -> Announcement:
    """The announcement with its signatures: one key, or four for a channel_announcement (both nodes', then both
    funding keys', in the message's order). ValueError for another number of keys."""
    digest = signature_hash(announcement)
    signatures = [key.sign(digest) for key in keys]
    names: tuple[str, ...] = ("signature",)
    if isinstance(announcement, ChannelAnnouncement):
        names = ("node_signature_1", "node_signature_2", "bitcoin_signature_1", "bitcoin_signature_2")
    if len(keys) != len(names):
        raise ValueError(f"{announcement.name} needs {len(names)} keys, not {len(keys)}")
    return announcement.replace(**dict(zip(names, signatures, strict=True)))


# Lists inside queries.


def encode_short_ids(short_channel_ids: Iterable[int]) -> bytes:
    """An `encoded_short_ids` field, uncompressed: ascending, each once, as BOLT 7 asks."""
    listed = sorted(set(short_channel_ids))
    return bytes((UNCOMPRESSED,)) + b"".join(one.to_bytes(8, "big") for one in listed)


def decode_short_ids(encoded: bytes) -> tuple[ShortChannelId, ...]:
    """The ids of an `encoded_short_ids` field, in its order. An empty field is an empty list.

    DecodeError for zlib, for an encoding that nobody knows, and for a list that is not made of 8-byte ids.
    """
    body = _uncompressed(encoded, "encoded_short_ids")
    if len(body) % 8:
        raise DecodeError(f"{len(body)} bytes are no list of 8-byte ids", field="encoded_short_ids", offset=1)
    return tuple(ShortChannelId(int.from_bytes(body[at : at + 8], "big")) for at in range(0, len(body), 8))


def decode_query_flags(flags: QueryFlags, ids: int) -> tuple[int, ...]:
    """The flags of a query_short_channel_ids that asks for so many `ids`, one for each.

    DecodeError as for ids, and if there are more flags or fewer.
    """
    _check_encoding(flags.encoding_type, "query_flags")
    body, at, found = flags.encoded_query_flags, 0, list[int]()
    while at < len(body):
        try:
            value, at = wire.read_bigsize(body, at, len(body))
        except DecodeError as error:
            raise error.within(field="query_flags", base=1) from None
        found.append(value)
    if len(found) != ids:
        raise DecodeError(f"{len(found)} flags for {ids} ids", field="query_flags", offset=1)
    return tuple(found)


def encode_query_flags(flags: Iterable[int]) -> QueryFlags:
    """Flags in the order of the ids they belong to."""
    return QueryFlags(encoding_type=UNCOMPRESSED, encoded_query_flags=b"".join(map(wire.write_bigsize, flags)))


def decode_timestamps(timestamps: Timestamps) -> tuple[tuple[int, int], ...]:
    """The timestamps of both channel_updates of each channel of a reply_channel_range. DecodeError as for ids."""
    _check_encoding(timestamps.encoding_type, "timestamps_tlv")
    body = timestamps.encoded_timestamps
    if len(body) % 8:
        raise DecodeError(f"{len(body)} bytes are no list of pairs of timestamps", field="timestamps_tlv", offset=1)
    return tuple(
        (int.from_bytes(body[at : at + 4], "big"), int.from_bytes(body[at + 4 : at + 8], "big"))
        for at in range(0, len(body), 8)
    )


def encode_timestamps(pairs: Iterable[tuple[int, int]]) -> Timestamps:
    """Seconds of both channel_updates of each channel, 0 for one that is not known."""
    body = b"".join(first.to_bytes(4, "big") + second.to_bytes(4, "big") for first, second in pairs)
    return Timestamps(encoding_type=UNCOMPRESSED, encoded_timestamps=body)


def refuse_zlib(message: QueryShortChannelIds | ReplyChannelRange) -> None:
    """DecodeError if the list of short ids in a message is compressed: the message is worth a warning and no more."""
    if message.encoded_short_ids[:1] == bytes((ZLIB,)):
        # What stands before it: type, chain_hash, in a reply the range and sync_complete, and its own length.
        at = 36 if isinstance(message, QueryShortChannelIds) else 45
        raise DecodeError(
            "zlib compression is not supported", message=message.name, field="encoded_short_ids", offset=at
        )


def _uncompressed(encoded: bytes, field: str) -> bytes:
    if encoded:
        _check_encoding(encoded[0], field)
    return encoded[1:]


def _check_encoding(encoding: int, field: str) -> None:
    if encoding == ZLIB:
        raise DecodeError("zlib compression is not supported", field=field, offset=0)
    if encoding != UNCOMPRESSED:
        raise DecodeError(f"no known encoding: {encoding}", field=field, offset=0)


# Checksums.


def _crc32c_table() -> tuple[int, ...]:
    table: list[int] = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_CRC32C_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_CRC32C_TABLE: Final = _crc32c_table()


def crc32c(data: bytes, before: int = 0) -> int:
    """CRC32C (RFC 3720), as BOLT 7's checksums want it. `before` is that of the bytes that stand in front of `data`."""
    crc, table = before ^ 0xFFFFFFFF, _CRC32C_TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def channel_update_checksum(update: ChannelUpdate) -> int:
    """CRC32C of a channel_update without its signature and its timestamp: equal for updates that say the same."""
    body = update.encode()[_TYPE_LENGTH + _SIGNATURE_LENGTH :]
    # chain_hash and short_channel_id stand before the timestamp.
    return crc32c(body[:40] + body[44:])


# For people.


def display_alias(alias: bytes) -> str:
    """A node's alias as text that cannot harm a terminal or a log: what is no printable UTF-8 becomes U+FFFD.

    The bytes stay what they are in the message. Zeros at the end are padding.
    """
    text = alias.rstrip(b"\0").decode("utf-8", "replace")
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def addresses_of(announcement: NodeAnnouncement) -> tuple[Address, ...]:
    """A node's addresses: BOLT 7's five descriptor types; from the first unknown one on, the rest as one
    UnknownAddress. DecodeError if a known one is cut short."""
    return read_addresses(announcement.addresses)


def direction(update: ChannelUpdate) -> int:
    """Which end of the channel an update is from: 0 is node_id_1, 1 is node_id_2."""
    return update.channel_flags & 1


def disabled(update: ChannelUpdate) -> bool:
    """Whether the channel cannot be used in this direction for now."""
    return bool(update.channel_flags & 2)
