"""BOLT 1's fundamental types against its vectors, and TLV streams against all that must be refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triolight import wire
from triolight.errors import DecodeError
from triolight.messages import Structure, Tlv, TlvStream, structure, tlv_stream
from triolight.wire import ShortChannelId, TlvRecord, codec_of

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "bolt1_vectors.json").read_text())


@structure
class N1Tlv3(Structure):
    node_id: wire.point
    amount_msat_1: wire.u64
    amount_msat_2: wire.u64


@tlv_stream
class N1(TlvStream):
    tlv1: Annotated[wire.tu64 | None, Tlv(1, "amount_msat")] = None
    tlv2: Annotated[wire.short_channel_id | None, Tlv(2, "scid")] = None
    tlv3: Annotated[N1Tlv3 | None, Tlv(3)] = None
    tlv4: Annotated[wire.u16 | None, Tlv(254, "cltv_delta")] = None


@tlv_stream
class N2(TlvStream):
    tlv1: Annotated[wire.tu64 | None, Tlv(0, "amount_msat")] = None
    tlv2: Annotated[wire.tu32 | None, Tlv(11, "cltv_expiry")] = None


NAMESPACES: dict[str, type[TlvStream]] = {"n1": N1, "n2": N2}


def namespaces(name: str) -> list[type[TlvStream]]:
    return list(NAMESPACES.values()) if name == "any" else [NAMESPACES[one] for one in name.split("|")]


def decode(stream: type[TlvStream], data: bytes) -> Any:
    value, at = stream.__codec__.read(data, 0, len(data))
    assert at == len(data)
    return value


@pytest.mark.parametrize("case", VECTORS["bigsize_decode"], ids=lambda case: f"{case['name']} {case['bytes']}")
def test_bigsize_decode(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    if "exp_error" in case:
        with pytest.raises(DecodeError, match="shortest" if "canonical" in case["exp_error"] else "left"):
            wire.read_bigsize(data, 0, len(data))
    else:
        assert wire.read_bigsize(data, 0, len(data)) == (case["value"], len(data))


@pytest.mark.parametrize("case", VECTORS["bigsize_encode"], ids=lambda case: case["name"])
def test_bigsize_encode(case: dict[str, Any]) -> None:
    assert wire.write_bigsize(case["value"]).hex() == case["bytes"]
    assert codec_of(wire.bigsize).write(case["value"]).hex() == case["bytes"]


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_bigsize_out_of_range(value: int) -> None:
    with pytest.raises(ValueError, match="BigSize"):
        wire.write_bigsize(value)
    with pytest.raises(ValueError, match="needs an int"):
        codec_of(wire.bigsize).write(value)


@pytest.mark.parametrize("case", VECTORS["signed_integers"], ids=lambda case: f"{case['type']} {case['value']}")
def test_signed_integers(case: dict[str, Any]) -> None:
    codec = codec_of(getattr(wire, case["type"]))
    data = bytes.fromhex(case["bytes"])
    assert codec.write(case["value"]) == data
    assert codec.read(data, 0, len(data)) == (case["value"], len(data))


@pytest.mark.parametrize(
    "case", VECTORS["tlv_decode_failures"], ids=lambda case: f"{case['namespace']} {case['reason']}"
)
def test_streams_that_must_fail(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    for stream in namespaces(case["namespace"]):
        with pytest.raises(DecodeError) as caught:
            decode(stream, data)
        assert caught.value.offset is not None
        # BOLT 1: what is appended to a valid stream and is invalid, makes it invalid.
        with pytest.raises(DecodeError):
            decode(stream, bytes.fromhex("1f00") + data if data[:1] > b"\x1f" else data)


@pytest.mark.parametrize("case", VECTORS["tlv_decode_successes"], ids=lambda case: case["bytes"] or "empty")
def test_streams_that_must_succeed(case: dict[str, Any]) -> None:
    data = bytes.fromhex(case["bytes"])
    for stream in namespaces(case["namespace"]):
        value = decode(stream, data)
        assert value.encode() == data
        for record in case["records"]:
            if "unknown_odd_value" in record:
                assert value.unknown == (TlvRecord(record["type"], bytes.fromhex(record["unknown_odd_value"])),)
                continue
            found = getattr(value, record["name"])
            expected = dict(record["fields"])
            if isinstance(found, Structure):
                for name, one in expected.items():
                    got = getattr(found, name)
                    assert (got.hex() if isinstance(got, bytes) else got) == one
            else:
                (one,) = expected.values()
                assert found == (int(one, 16) if record["name"] == "tlv2" and isinstance(one, str) else one)
        # A stream with higher types may follow.
        assert decode(stream, data + bytes.fromhex("ffffffffffffffffff00")).encode()[: len(data)] == data


def test_amounts() -> None:
    bounds = VECTORS["amount_bounds"]
    assert bounds["max_sat_int"] == wire.MAX_SATOSHIS == int(bounds["max_sat"], 16)
    assert bounds["max_msat_int"] == 1000 * wire.MAX_SATOSHIS == int(bounds["max_msat"], 16)


def test_short_channel_id() -> None:
    scid = ShortChannelId.parse("539268x845x1")
    assert scid.to_bytes(8, "big").hex() == "083a8400034d0001"
    assert (scid.block, scid.transaction, scid.output) == (539268, 845, 1)
    assert str(scid) == "539268x845x1"
    assert repr(scid) == "ShortChannelId(539268x845x1)"
    for text in ("", "1x2", "1x2x3x4", "1x2x-3", "1x2x65536", "16777216x0x0", "1x16777216x0", "1 x2x3", "\u0661x2x3"):
        with pytest.raises(ValueError, match="no short_channel_id"):
            ShortChannelId.parse(text)
    codec = codec_of(wire.short_channel_id)
    assert codec.read(codec.write(scid), 0, 8) == (scid, 8)
    assert isinstance(codec.read(codec.write(scid), 0, 8)[0], ShortChannelId)


@given(st.integers(0, (1 << 64) - 1))
def test_integers_round_trip(value: int) -> None:
    for alias in (wire.u64, wire.tu64, wire.bigsize):
        codec = codec_of(alias)
        data = codec.write(value)
        assert codec.read(data, 0, len(data)) == (value, len(data))


@given(st.binary(max_size=40))
def test_any_bytes_are_decoded_or_refused(data: bytes) -> None:
    for stream in NAMESPACES.values():
        try:
            value = decode(stream, data)
        except DecodeError:
            continue
        assert value.encode() == data


POINT = bytes.fromhex("023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb")

BAD_VALUES: list[tuple[Any, Any, str]] = [
    (wire.u16, 65536, "0 to 65535"),
    (wire.u16, -1, "0 to 65535"),
    (wire.u16, "1", "not str"),
    (wire.s8, 128, "-128 to 127"),
    (wire.tu32, 1 << 32, "needs an int"),
    (wire.sha256, bytes(31), "32 bytes, not 31"),
    (wire.sha256, "x" * 32, "not str"),
    (wire.point, b"\x04" + POINT[1:], "not a compressed point"),
    (wire.bytes16, bytes(65536), "at most 65535"),
    (wire.bytes16, "text", "not str"),
    (wire.remainder, 5, "not int"),
    (wire.sciddir_or_pubkey, b"\x02" + bytes(8), "neither"),
    (wire.times20[wire.u32], [1], "needs 20 items"),
    (wire.array16[wire.byte], [0] * 65536, "fewer than 65536"),
]


@pytest.mark.parametrize(("alias", "value", "words"), BAD_VALUES)
def test_values_that_cannot_be_written(alias: Any, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        codec_of(alias).write(value)


GOOD_VALUES: list[tuple[Any, Any, str]] = [
    (wire.tu32, 0, ""),
    (wire.tu32, 256, "0100"),
    (wire.bytes16, b"ab", "00026162"),
    (wire.remainder, b"ab", "6162"),
    (wire.sciddir_or_pubkey, b"\x01" + bytes(8), "01" + "00" * 8),
    (wire.sciddir_or_pubkey, POINT, POINT.hex()),
    (wire.array16[wire.u16], (1, 2), "000200010002"),
    (wire.array8[wire.byte], (7,), "0107"),
    (wire.rest[wire.u16], (1, 2), "00010002"),
    (wire.presence, True, ""),
]


@pytest.mark.parametrize(("alias", "value", "written"), GOOD_VALUES)
def test_values_round_trip(alias: Any, value: Any, written: str) -> None:
    codec = codec_of(alias)
    data = codec.write(value)
    assert data.hex() == written
    assert codec.read(data, 0, len(data)) == (value, len(data))
    assert codec.check(value) is None


BAD_BYTES: list[tuple[Any, str, str]] = [
    (wire.u16, "00", "needs 2 bytes"),
    (wire.sha256, "00" * 31, "needs 32 bytes"),
    (wire.point, "02" + "00" * 31 + "05", "not a compressed point"),
    (wire.bytes16, "0003aabb", "says 3 bytes, 2 are left"),
    (wire.bytes16, "00", "needs 2 bytes"),
    (wire.sciddir_or_pubkey, "", "needs 1 bytes"),
    (wire.sciddir_or_pubkey, "04" + "00" * 32, "neither"),
    (wire.sciddir_or_pubkey, "0100", "needs 9 bytes"),
    (wire.array16[wire.u16], "00020001", "needs 2 bytes"),
    (wire.array16[wire.u16], "00", "needs 2 bytes"),
    (wire.rest[wire.u16], "000100", "needs 2 bytes"),
    (wire.rest[wire.presence], "00", "for ever"),
    (wire.tu16, "010203", "at most 2 bytes"),
]


@pytest.mark.parametrize(("alias", "data", "words"), BAD_BYTES)
def test_bytes_that_cannot_be_read(alias: Any, data: str, words: str) -> None:
    raw = bytes.fromhex(data)
    with pytest.raises(DecodeError, match=words):
        codec_of(alias).read(raw, 0, len(raw))


def test_records() -> None:
    records = (TlvRecord(1, b"a"), TlvRecord(4, b""), TlvRecord(70000, b"c" * 300))
    data = wire.write_tlv_records(records)
    found: list[TlvRecord] = []
    wire.walk_tlv_stream(
        data, 0, len(data), lambda type_, _start, value, stop: found.append(TlvRecord(type_, data[value:stop]))
    )
    assert tuple(found) == records
    with pytest.raises(ValueError, match="increase"):
        wire.write_tlv_records([(2, b""), (2, b"")])


SOME_TYPES = st.sampled_from([0xFC, 0xFD, 0xFE, 0xFF, 0x100, 0x1FC, 0x1FD, 0xFFFF, 0x10000, 1 << 32]) | st.integers(
    0, 300
)
"""With those around which a type takes more bytes."""

Walked = tuple[list[tuple[int, int, int, int]], tuple[int, list[tuple[int, int]]] | tuple[str, int | None]]


def walked(data: bytes, at: int, end: int, known: set[int] | None) -> Walked:
    """Whom it has visited, and what it says then, or the words and the place of its error."""
    visited: list[tuple[int, int, int, int]] = []

    def visit(type_: int, start: int, value: int, stop: int) -> None:
        visited.append((type_, start, value, stop))

    try:
        return visited, wire.walk_tlv_stream(data, at, end, visit, known)
    except DecodeError as error:
        return visited, (str(error), error.offset)


@given(
    st.lists(st.tuples(SOME_TYPES, st.sampled_from([0, 1, 2, 0xFC, 0xFD])), max_size=12, unique_by=lambda one: one[0]),
    st.none() | st.sets(SOME_TYPES),
    st.booleans(),
    st.data(),
)
def test_a_walk_says_what_is_known_and_where_the_others_stand(
    made: list[tuple[int, int]], known: set[int] | None, odd: bool, data: st.DataObject
) -> None:
    stream = b"before"
    places: list[tuple[int, int, int, int]] = []
    for type_, length in sorted(made):
        if odd and known is not None and type_ % 2 == 0:
            known.add(type_)
        start = len(stream)
        stream += wire.write_bigsize(type_) + wire.write_bigsize(length)
        places.append((type_, start, len(stream), len(stream) + length))
        stream += bytes(length)
    unknown = [] if known is None else [one for one in places if one[0] not in known]
    even = next((one for one in unknown if one[0] % 2 == 0), None)
    runs: list[tuple[int, int]] = []
    for _, start, _, stop in unknown:
        runs.append((runs.pop()[0], stop) if runs and runs[-1][1] == start else (start, stop))
    visited, outcome = walked(stream + b"\xfd\xff\xff", 6, len(stream), known)
    if even is None:
        assert outcome == (len(unknown), runs)
    else:
        assert outcome[1] == even[1]
    assert visited == [one for one in places if one not in unknown and (even is None or one < even)]
    # What stands behind the end is not looked at.
    end = data.draw(st.integers(6, len(stream)))
    assert walked(stream, 6, end, known) == walked(stream[:end], 6, end, known)


@pytest.mark.parametrize(
    ("data", "fine"),
    [
        ("fc00", True),
        ("fd00fc00", False),
        ("fd00fd00", True),
        ("fd010000", True),
        ("fdffff00", True),
        ("fe0000ffff00", False),
        ("fe0001000000", True),
        ("01fd00fc" + "00" * 0xFC, False),
        ("01fd00fd" + "00" * 0xFD, True),
    ],
)
def test_types_and_lengths_are_in_their_shortest_form(data: str, fine: bool) -> None:
    stream = bytes.fromhex(data)
    visited, outcome = walked(stream, 0, len(stream), None)
    assert len(visited) == fine
    assert ("shortest form" in str(outcome[0])) is not fine


def test_types_that_are_no_types_of_the_wire() -> None:
    for hint in (int, int | str, list[int], Annotated[int, "nothing"]):
        with pytest.raises(TypeError, match="not a type"):
            codec_of(hint)
    with pytest.raises(TypeError, match="type of its items"):
        _ = wire.Sequence().item
    assert codec_of(bool).write(True) == b""


def test_streams_that_cannot_be_written() -> None:
    for stream, words in (
        (N1(tlv1=1 << 64), "tlv1: needs an int"),
        (N1(tlv3=b"x"), "tlv3: needs a N1Tlv3"),  # type: ignore[arg-type]
        (N1(tlv3=N1Tlv3(node_id=bytes(33), amount_msat_1=1, amount_msat_2=2)), r"N1Tlv3\.node_id"),
        (N1(unknown=(TlvRecord(2, b""),)), "no unknown odd"),
        (N1(unknown=(TlvRecord(1, b""),)), "no unknown odd"),
    ):
        with pytest.raises(ValueError, match=words):
            stream.encode()
    with pytest.raises(ValueError, match="needs a N1, not N2"):
        N1.__codec__.write(N2())
    with pytest.raises(TypeError, match="TLV type of its own"):

        @tlv_stream
        class Twice(TlvStream):
            one: Annotated[wire.u16 | None, Tlv(1)] = None
            other: Annotated[wire.u16 | None, Tlv(1)] = None
