"""The inputs of 65,535 bytes that cost a decoder most: many records, many items, many points; valid and refused."""

from __future__ import annotations

from collections.abc import Iterator

from triolight.keys import SecretKey
from triolight.messages import (
    BOLT,
    CommitmentSigned,
    GossipTimestampFilter,
    Init,
    NodeAnnouncement,
    ReplyChannelRange,
    TxSignatures,
)
from triolight.wire import MAX_MESSAGE_LENGTH, write_bigsize

_POINT = SecretKey(b"\x01" * 32).public_key


def odd_records(room: int, *, ends_badly: bool) -> bytes:
    """As many empty TLV records of unknown odd types as fit; the last one of type 0, which must not come again."""
    found, length, type_ = list[bytes](), 0, 1001
    while length + 11 <= room:
        record = write_bigsize(type_) + b"\0"
        found.append(record)
        length += len(record)
        type_ += 2
    return b"".join(found) + (b"\0\0" if ends_badly else b"")


def inputs() -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each."""
    for cls in BOLT:
        head = cls.type.to_bytes(2, "big")
        for name, unit in (("zeros", b"\0"), ("0xff", b"\xff"), ("points", _POINT), ("empty records", b"\x01\0")):
            yield f"{cls.name}, {name}", head + unit * ((MAX_MESSAGE_LENGTH - 2) // len(unit))
    for whole in (
        Init(),
        GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=0),
        NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=0,
            node_id=_POINT,
            rgb_color=bytes(3),
            alias=bytes(32),
            addresses=b"",
        ),
        ReplyChannelRange(
            chain_hash=bytes(32), first_blocknum=0, number_of_blocks=0, sync_complete=1, encoded_short_ids=b""
        ),
        TxSignatures(channel_id=bytes(32), txid=bytes(32), witnesses=()),
    ):
        start = whole.encode()
        for ends_badly in (False, True):
            records = odd_records(MAX_MESSAGE_LENGTH - len(start) - 2, ends_badly=ends_badly)
            yield f"{whole.name}, unknown odd records{', a bad one last' if ends_badly else ''}", start + records
    witnesses = TxSignatures.type.to_bytes(2, "big") + bytes(64)
    for count in (32_733, 0xFFFF):
        yield f"tx_signatures, {count} empty witnesses", witnesses + count.to_bytes(2, "big") + bytes(2 * 32_733)
    signatures = CommitmentSigned.type.to_bytes(2, "big") + bytes(96)
    yield "commitment_signed, 0xffff signatures", signatures + b"\xff\xff" + bytes(65_400)
    yield "init, 2,045 networks", Init().encode() + b"\x01" + write_bigsize(65_440) + bytes(65_440)
    checksums = ReplyChannelRange.type.to_bytes(2, "big") + bytes(43) + b"\x03" + write_bigsize(65_480) + bytes(65_480)
    yield "reply_channel_range, 8,185 checksums", checksums
