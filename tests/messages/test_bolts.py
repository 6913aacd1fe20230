"""All messages of the BOLTs: vectors byte for byte, each declaration against the BOLTs' own table, every prefix."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.vectors import BOLT1, FOLDER, MESSAGES, REAL, hexed, records_of
from triolight import wire
from triolight.errors import DecodeError
from triolight.gossip import decode_timestamps, encode_timestamps
from triolight.messages import BOLT, EncryptedDataTlv, Message, OnionMessagePacket, OnionmsgTlv, TlvStream


@pytest.mark.parametrize("case", MESSAGES["valid"], ids=lambda case: case["message"])
def test_message_vectors(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    found = BOLT.decode(data)
    assert isinstance(found, Message)
    assert found.encode() == data
    assert (found.name, found.type) == (case["message"], case["type"])
    assert type(found).decode(data) == found
    fields = {field.name for field in found.__fields__}
    for name, expected in case["fields"].items():
        if name == "tlvs" and name in fields:
            assert records_of(getattr(found, name)) == expected
        elif name in fields:
            if name == "witnesses":  # their lengths are no fields here
                expected = [{"witness_data": one["witness_data"]} for one in expected]
            assert hexed(getattr(found, name)) == expected, name


@pytest.mark.parametrize("case", MESSAGES["invalid_unknown_even_tlv"], ids=lambda case: case["message"])
def test_even_tlvs_of_others_are_refused(case: dict[str, Any]) -> None:
    with pytest.raises(DecodeError, match="unknown even TLV type") as caught:
        BOLT.decode(bytes.fromhex(case["bytes"]))
    assert caught.value.message == case["message"]


def every_vector() -> Iterator[bytes]:
    yield from (bytes.fromhex(case["bytes"]) for case in MESSAGES["valid"])
    yield from (bytes.fromhex(case["bytes"]) for case in BOLT1["init_messages"] if case["valid"])
    seen: set[str] = set()
    for kind, data, _ in REAL:
        if kind not in seen and len(data) != 130:
            seen.add(kind)
            yield data


def test_every_prefix_is_refused_or_a_shorter_message() -> None:
    prefixes = shorter = 0
    offsets: list[int] = []
    for data in every_vector():
        for end in range(len(data)):
            prefixes += 1
            try:
                found = BOLT.decode(data[:end])
            except DecodeError as error:
                offsets.append(end - (-1 if error.offset is None else error.offset))
                continue
            # Where the BOLT allows it: the TLVs, or the last of them, are not there.
            shorter += 1
            assert found.encode() == data[:end]
    assert prefixes > 9000
    assert shorter < 200
    # Every refusal says where, and never behind the end.
    assert min(offsets) >= 0
    assert len(offsets) + shorter == prefixes


def table() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """messages.csv: messages, TLV streams, subtypes."""
    messages: dict[str, Any] = {}
    streams: dict[str, Any] = {}
    subtypes: dict[str, Any] = {}
    with (FOLDER / "messages.csv").open() as file:
        for row in csv.reader(file):
            match row:
                case ["msgtype", name, number, *_]:
                    messages[name] = (int(number), [])
                case ["msgdata", name, *field]:
                    messages[name][1].append(field)
                case ["tlvtype", stream, name, number]:
                    streams.setdefault(stream, {})[name] = (int(number), [])
                case ["tlvdata", stream, name, *field]:
                    streams[stream][name][1].append(field)
                case ["subtype", name]:
                    subtypes[name] = []
                case ["subtypedata", name, *field]:
                    subtypes[name].append(field)
                case _:
                    raise AssertionError(row)
    return messages, streams, subtypes


TABLE = table()
SIZES = {"byte": 1, "u16": 2, "u32": 4, "u64": 8, "s64": 8, "point": 33, "signature": 64, "short_channel_id": 8}
SIZES |= dict.fromkeys(("sha256", "chain_hash", "channel_id"), 32)
COUNT_SIZES = {("blinded_path_hop", "num_hops"): 1}
"""Bytes of what counts a sequence, where that is no u16."""


def check_fields(declared: list[Any], rows: list[list[str]]) -> None:
    """Declared fields against rows of the table: names and order, sizes and kinds; length fields are folded in."""
    counts = {row[2] for row in rows if len(row) > 2 and row[2] and not row[2].isdigit() and row[2] != "..."}
    kept = [row for row in rows if row[0] not in counts]
    assert [field.name for field in declared] == [row[0] for row in kept]
    for field, (_, kind, *rest) in zip(declared, kept, strict=True):
        check_codec(field.codec, kind, rest[0] if rest else "")


SEEN: set[tuple[str, ...]] = set()
"""The rows of streams and structures that a declaration was held against."""


def check_codec(codec: Any, kind: str, count: str) -> None:
    SEEN.add((kind,))
    if kind in TABLE[1]:
        SEEN.update((kind, name) for name in TABLE[1][kind])
        records = {field.name: field for field in codec.records}
        assert list(records) == list(TABLE[1][kind])
        for name, (number, rows) in TABLE[1][kind].items():
            field = records[name]
            assert field.tlv_type == number
            if not rows:
                assert isinstance(field.codec, wire.Presence)
            elif len(rows) == 1:
                assert (field.inner_name or name) == rows[0][0]
                check_codec(field.codec, rows[0][1], rows[0][2] if len(rows[0]) > 2 else "")
            else:
                check_fields(list(field.codec.cls.__fields__), rows)
    elif count == "..." and kind == "byte":
        assert isinstance(codec, wire.Remainder)
    elif count and not count.isdigit() and kind == "byte":
        assert isinstance(codec, wire.PrefixedBytes)
    elif count.isdigit() and kind == "byte":
        assert isinstance(codec, wire.FixedBytes)
        assert codec.size == int(count)
    elif count:
        assert isinstance(codec, wire.Sequence)
        assert codec.count == (int(count) if count.isdigit() else None)
        # What counts them has a row of its own, of a byte or a u16.
        assert codec.prefix == (0 if count == "..." or count.isdigit() else COUNT_SIZES.get((kind, count), 2))
        check_codec(codec.item, kind, "")
    elif kind in TABLE[2]:
        check_fields(list(codec.cls.__fields__), TABLE[2][kind])
    elif kind == "bigsize":
        assert isinstance(codec, wire.BigSizeCodec)
    elif kind == "sciddir_or_pubkey":
        assert isinstance(codec, wire.ScidDirOrPubkey)
    elif kind.startswith("tu"):
        assert isinstance(codec, wire.TruncatedInteger)
        assert codec.size == int(kind[2:]) // 8
    else:
        assert codec.size == SIZES[kind]
        assert isinstance(codec, wire.Point) == (kind == "point")
        assert isinstance(codec, wire.ShortChannelIdCodec) == (kind == "short_channel_id")
        assert isinstance(codec, wire.Integer) == (kind in ("byte", "u16", "u32", "u64", "s64", "short_channel_id"))
        if isinstance(codec, wire.Integer):
            assert codec.signed == kind.startswith("s6")


@pytest.mark.parametrize("name", TABLE[0])
def test_declarations_against_the_table(name: str) -> None:
    number, rows = TABLE[0][name]
    cls = BOLT.get(number)
    assert cls is not None
    assert cls.name == name
    assert cls.__doc__
    fields = [field for field in cls.__fields__ if field.name != "extension"]
    check_fields(fields, rows)


INSIDE: list[tuple[type[TlvStream], str]] = [(EncryptedDataTlv, "encrypted_data_tlv"), (OnionmsgTlv, "onionmsg_tlv")]
"""Streams that no message shows: they are inside onions."""


def test_there_is_nothing_else() -> None:
    assert {cls.name for cls in BOLT} == set(TABLE[0])
    assert len(BOLT) == 50
    SEEN.clear()
    for name in TABLE[0]:
        test_declarations_against_the_table(name)
    for cls, name in INSIDE:
        check_codec(cls.__codec__, name, "")
    streams = {(stream, record) for stream, records in TABLE[1].items() for record in records}
    assert len(TABLE[1]) == 25
    assert len(streams) == 49
    assert streams <= SEEN
    # Encoded in one field with the byte that says how, so that they are lists inside of it.
    assert {name for name in TABLE[2] if (name,) not in SEEN} == {"channel_update_timestamps"}
    assert decode_timestamps(encode_timestamps([(1, 2), (3, 4)])) == ((1, 2), (3, 4))


def test_the_packet_of_an_onion_message_against_the_table() -> None:
    lines = (FOLDER / "extra_structures.csv").read_text().splitlines()
    rows = [row[2:] for row in csv.reader(lines) if row[0] == "subtypedata"]
    fields = OnionMessagePacket.__fields__
    assert [field.name for field in fields] == [row[0] for row in rows]
    for field, (name, kind, count) in zip(fields, rows, strict=True):
        if name == "onionmsg_payloads":
            assert isinstance(field.codec, wire.Remainder)
            assert field.codec.before == 32
        else:
            check_codec(field.codec, kind, count)
