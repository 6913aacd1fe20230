"""The messages: real ones byte for byte, each declaration against the BOLTs' own table, and what must be refused."""

from __future__ import annotations

import csv
import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import pytest

from tests.support import Note
from triolight import wire
from triolight.connection import init_features
from triolight.errors import DecodeError
from triolight.gossip import decode_timestamps, encode_timestamps
from triolight.messages import (
    BOLT,
    LSPS0,
    OUTSIDE,
    BlindedPath,
    BlindedPathHop,
    ChannelUpdate,
    EncryptedDataTlv,
    Init,
    Message,
    OnionMessage,
    OnionMessagePacket,
    OnionmsgTlv,
    Ping,
    Pong,
    Registry,
    Structure,
    Tlv,
    TlvStream,
    TxInitRbf,
    UnknownMessage,
    UpdateAddHtlc,
    Warning,
    describe_type,
    message,
    structure,
    tlv_stream,
)
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.bolt2 import ChannelReestablishTlvs, NextFunding, TxInitRbfTlvs, UpdateAddHtlcTlvs
from triolight.wire import TlvRecord

VECTORS = Path(__file__).parent / "vectors"
BOLT1: dict[str, Any] = json.loads((VECTORS / "bolt1_vectors.json").read_text())
BOLT7: dict[str, Any] = json.loads((VECTORS / "bolt7_vectors.json").read_text())
ONION: dict[str, Any] = json.loads((VECTORS / "onion_message_vectors.json").read_text())
MESSAGES: dict[str, Any] = json.loads((VECTORS / "message_vectors.json").read_text())


def plain(value: Any) -> Any:
    """A value as the vectors write it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, wire.ShortChannelId):
        return str(value)
    if isinstance(value, Structure):
        return {field.name: plain(getattr(value, field.name)) for field in value.__fields__}
    if isinstance(value, tuple):
        return [plain(one) for one in value]
    return value


def hexed(value: Any) -> Any:
    """As the vectors of messages write it: a short_channel_id in hex."""
    return f"{value:016x}" if isinstance(value, wire.ShortChannelId) else plain(value)


def records_of(stream: TlvStream) -> list[list[Any]]:
    """A stream as the vectors write it: type, name and fields of each record; of an unknown one its bytes."""
    found: list[list[Any]] = [[type_, None, value.hex()] for type_, value in stream.unknown]
    for field in stream.__fields__:
        value = getattr(stream, field.name)
        if field.tlv_type is None or value is None or value is False:
            continue
        if value is True:
            shown = {}
        elif isinstance(value, Structure):
            shown = {inner.name: hexed(getattr(value, inner.name)) for inner in value.__fields__}
        else:
            shown = {field.inner_name or field.name: hexed(value)}
        found.append([field.tlv_type, field.name, shown])
    return sorted(found, key=lambda record: record[0])


# -- vectors -----------------------------------------------------------------------------------------------------------


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


REAL = [(kind, bytes.fromhex(case["bytes"]), case) for kind, cases in BOLT7["real"].items() for case in cases]


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


# -- the table ---------------------------------------------------------------------------------------------------------


def table() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """messages.csv: messages, TLV streams, subtypes."""
    messages: dict[str, Any] = {}
    streams: dict[str, Any] = {}
    subtypes: dict[str, Any] = {}
    with (VECTORS / "messages.csv").open() as file:
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
    lines = (VECTORS / "extra_structures.csv").read_text().splitlines()
    rows = [row[2:] for row in csv.reader(lines) if row[0] == "subtypedata"]
    fields = OnionMessagePacket.__fields__
    assert [field.name for field in fields] == [row[0] for row in rows]
    for field, (name, kind, count) in zip(fields, rows, strict=True):
        if name == "onionmsg_payloads":
            assert isinstance(field.codec, wire.Remainder)
            assert field.codec.before == 32
        else:
            check_codec(field.codec, kind, count)


def test_onion_message_vectors() -> None:
    vectors = ONION["blinded-onion-message-onion-test.json"]
    for hop in vectors["generate"]["hops"]:
        data = bytes.fromhex(hop["encrypted_data_tlv"])
        told = EncryptedDataTlv.decode(data)
        assert told.encode() == data
        for name, value in hop["tlvs"].items():
            if name.startswith("unknown_tag_"):
                assert TlvRecord(int(name.removeprefix("unknown_tag_")), bytes.fromhex(value)) in told.unknown
            elif not name.endswith("_secret"):
                assert plain(getattr(told, name)) == value
    for hop in vectors["decrypt"]["hops"]:
        message = OnionMessage.decode(bytes.fromhex(hop["onion_message"]))
        packet = OnionMessagePacket.decode(message.onion_message_packet)
        assert packet.encode() == message.onion_message_packet
        assert (packet.version, len(packet.onionmsg_payloads), len(packet.hmac)) == (0, 1300, 32)
    route = vectors["route"]
    hops = tuple(
        BlindedPathHop(
            blinded_node_id=bytes.fromhex(hop["blinded_node_id"]),
            encrypted_recipient_data=bytes.fromhex(hop["encrypted_recipient_data"]),
        )
        for hop in route["hops"]
    )
    path = BlindedPath(
        first_node_id=bytes.fromhex(route["first_node_id"]),
        first_path_key=bytes.fromhex(route["first_path_key"]),
        path=hops,
    )
    payload = OnionmsgTlv(reply_path=path, unknown=(TlvRecord(1, b"hello"),))
    assert OnionmsgTlv.decode(payload.encode()) == payload
    for bad, where in ((b"\x02\x01\x04", "reply_path"), (b"\x03\x00\x02\x00", None), (b"\x06\x00", None)):
        with pytest.raises(DecodeError, match=r"^onionmsg_tlv") as caught:
            OnionmsgTlv.decode(bad)
        assert where is None or where in caught.value.field
        assert caught.value.offset is not None
    with pytest.raises(DecodeError, match=r"^onion_message_packet\.onionmsg_payloads at byte 34: needs 32 bytes"):
        OnionMessagePacket.decode(packet.encode()[:60])


def test_blinded_payment_vectors() -> None:
    for hop in ONION["route-blinding-test.json"]["generate"]["hops"]:
        data = bytes.fromhex(hop["encoded_tlvs"])
        told = EncryptedDataTlv.decode(data)
        assert told.encode() == data
        for name in ("payment_relay", "payment_constraints", "short_channel_id", "next_node_id"):
            expected = hop["tlvs"].get(name)
            if name == "payment_relay" and expected is not None:
                expected.setdefault("fee_base_msat", 0)
            assert plain(getattr(told, name)) == expected, name


# -- what a message is -------------------------------------------------------------------------------------------------


def test_messages_are_values() -> None:
    ping = Ping(num_pong_bytes=4, ignored=b"\x00")
    assert ping == Ping(num_pong_bytes=4, ignored=b"\x00") != Ping(num_pong_bytes=5, ignored=b"\x00")
    assert ping != Pong(ignored=b"\x00")
    assert len({ping, Ping(num_pong_bytes=4, ignored=b"\x00")}) == 1
    assert pickle.loads(pickle.dumps(ping)) == ping
    assert ping.replace(num_pong_bytes=9) == Ping(num_pong_bytes=9, ignored=b"\x00")
    assert Ping() == Ping(num_pong_bytes=0, ignored=b"")
    with pytest.raises(AttributeError, match="immutable"):
        ping.ignored = b""  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del ping.ignored
    with pytest.raises(TypeError):
        Ping(number=4)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        object.__setattr__(ping, "other", 1)
    assert repr(ping) == "Ping(num_pong_bytes=4, ignored=00)"
    assert len(repr(Warning(data=bytes(60_000)))) < 120
    assert repr(ChannelReestablishTlvs()) == "ChannelReestablishTlvs()"


def test_what_was_appended_is_written_back() -> None:
    for data in (
        Ping(num_pong_bytes=1).encode() + bytes.fromhex("c9012a" + "fd03e900"),
        bytes.fromhex("001000000000" + "c9012a" + "cb0104"),
    ):
        assert BOLT.decode(data).encode() == data
    ping = Ping.decode(Ping().encode() + bytes.fromhex("c9012a"))
    assert ping.extension == bytes.fromhex("c9012a")
    with pytest.raises(ValueError, match=r"ping\.extension"):
        Ping(extension=b"\x02\x00").encode()
    with pytest.raises(ValueError, match=r"init\.extension: unknown records of this message go into its tlvs"):
        Init(extension=b"\x05\x00").encode()
    with pytest.raises(ValueError, match=r"note\.extension: payload is all that is left"):
        Note(payload=b"", extension=b"\x05\x00").encode()
    init = Init(tlvs=InitTlvs(networks=(bytes(32),), unknown=(TlvRecord(5, b"x"),)))
    assert Init.decode(init.encode()) == init


def test_records_with_several_fields_and_without_any() -> None:
    tlvs = TxInitRbfTlvs(funding_output_contribution=-5, require_confirmed_inputs=True)
    rbf = TxInitRbf(channel_id=bytes(32), locktime=1, feerate=2, tlvs=tlvs)
    assert rbf.encode().hex().endswith("0008fffffffffffffffb0200")
    assert TxInitRbf.decode(rbf.encode()) == rbf
    assert TxInitRbfTlvs().encode() == b""
    funding = NextFunding(next_funding_txid=bytes(32), retransmit_flags=1)
    assert ChannelReestablishTlvs(next_funding=funding).encode().hex() == "0121" + "00" * 32 + "01"
    with pytest.raises(DecodeError, match=r"tx_init_rbf\.tlvs\.require_confirmed_inputs at byte \d+: 1 bytes too many"):
        BOLT.decode(TxInitRbf(channel_id=bytes(32), locktime=1, feerate=2).encode() + b"\x02\x01\x00")
    with pytest.raises(DecodeError, match=r"next_funding\.retransmit_flags"):
        ChannelReestablishTlvs.__codec__.read(b"\x01\x20" + bytes(32), 0, 34)


ENCODE_ERRORS: list[tuple[Any, str]] = [
    (Ping(num_pong_bytes=70_000), r"ping\.num_pong_bytes: needs an int from 0 to 65535, not 70000"),
    (Ping(ignored="text"), r"ping\.ignored: needs bytes, not str"),  # type: ignore[arg-type]
    (Ping(ignored=bytes(65_530)), r"ping: 65536 bytes, a message has at most 65535"),
    (Warning(channel_id=b"short"), r"warning\.channel_id: needs 32 bytes, not 5"),
    (Ping(extension="ab"), r"ping\.extension: needs bytes, not str"),  # type: ignore[arg-type]
    (Init(tlvs=InitTlvs(unknown=((5, "x"),))), r"init\.tlvs: unknown: needs pairs of a type and bytes"),  # type: ignore[arg-type]
    (Init(tlvs=InitTlvs(unknown=(3,))), r"init\.tlvs: unknown: needs pairs of a type and bytes"),  # type: ignore[arg-type]
    (
        TxInitRbf(channel_id=bytes(32), locktime=1, feerate=2, tlvs=TxInitRbfTlvs(require_confirmed_inputs=5)),  # type: ignore[arg-type]
        r"require_confirmed_inputs: needs True or False, not 5",
    ),
    (Init(tlvs=None), r"init\.tlvs: needs a InitTlvs, not NoneType"),  # type: ignore[arg-type]
    (Init(tlvs=InitTlvs(networks=(b"x",))), r"init\.tlvs: networks: needs 32 bytes, not 1"),
]


@pytest.mark.parametrize(("bad", "words"), ENCODE_ERRORS)
def test_encode_errors_name_message_and_field(bad: Message, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bad.encode()


def test_points_are_checked_both_ways() -> None:
    case = next(case for case in MESSAGES["valid"] if case["message"] == "update_add_htlc")
    add = UpdateAddHtlc.decode(bytes.fromhex(case["bytes"]))
    with pytest.raises(ValueError, match="blinded_path: not a compressed point"):
        add.replace(tlvs=UpdateAddHtlcTlvs(blinded_path=bytes(33))).encode()
    update = BOLT.decode(next(data for kind, data, _ in REAL if kind == "node_announcement"))
    with pytest.raises(ValueError, match=r"node_announcement\.node_id"):
        update.replace(node_id=bytes(33)).encode()  # type: ignore[union-attr]


def test_decode_of_the_wrong_message() -> None:
    for data in (b"", b"\x00", Pong().encode()):
        with pytest.raises(DecodeError, match="does not begin with the message type 18"):
            Ping.decode(data)
    with pytest.raises(DecodeError, match="holds no type"):
        BOLT.decode(b"\x00")


def test_unknown_messages() -> None:
    odd = UnknownMessage(43001, b"payload")
    assert odd == BOLT.decode(odd.encode())
    assert odd != UnknownMessage(43003, b"payload")
    assert odd != 5
    assert len({odd, UnknownMessage(43001, b"payload")}) == 1
    assert repr(odd) == "UnknownMessage(type=43001, payload=7061796c6f6164)"
    assert odd.name == "unknown_43001"
    with pytest.raises(ValueError, match="no message type"):
        UnknownMessage(65536, b"")
    with pytest.raises(ValueError, match="too long"):
        UnknownMessage(1, bytes(65_534))
    with pytest.raises(AttributeError):
        odd.type = 5  # type: ignore[misc]


def test_registries_are_values() -> None:
    @message(43001)
    class Local(Message):
        """Declared in a function."""

        payload: wire.remainder

    bigger = BOLT | {Local}
    assert Local in bigger
    assert Local not in BOLT
    assert 43001 in bigger
    assert 43001 not in BOLT
    assert bigger.decode(Local(payload=b"x").encode()) == Local(payload=b"x")
    assert {Local} | BOLT == {Local} | BOLT or len({Local} | BOLT) == 51
    assert len(bigger) == 51
    assert repr(bigger) == "<Registry of 51 messages>"
    assert set(bigger) - set(BOLT) == {Local}
    assert bigger.get(43001) is Local
    assert bigger.decode(Ping().encode()) == Ping()

    @message(43001)
    class Other(Message):
        payload: wire.remainder

    with pytest.raises(ValueError, match="43001 is both Local and Other"):
        _ = bigger | {Other}
    assert (bigger | {Local}).get(43001) is Local
    with pytest.raises(TypeError, match="not declared"):
        Registry([Message])


def test_declarations_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="no message type"):
        message(65536)
    with pytest.raises(TypeError, match=r"Bad\.field: .* is not a type"):

        @message(1)
        class Bad(Message):
            field: int

    with pytest.raises(TypeError, match="Ping is declared already; its fields are not inherited"):

        @message(1)
        class Better(Ping):
            more: wire.u16

    with pytest.raises(TypeError, match=r"Endless\.first: goes on up to the end, so second cannot follow it"):

        @message(1)
        class Endless(Message):
            first: wire.tu64
            second: wire.u16

    with pytest.raises(TypeError, match=r"EndlessInside\.inner: goes on up to the end"):

        @message(1)
        class EndlessInside(Message):
            inner: OnionMessagePacket
            second: wire.u16


@pytest.mark.parametrize("name", ["type", "name", "message", "self", "encode", "replace", "extension", "_private"])
def test_names_that_no_field_can_have(name: str) -> None:
    body = {"__annotations__": {name: wire.u16}}
    with pytest.raises(TypeError, match=rf"Odd\.{name}: no field can be called that"):
        message(40011)(type("Odd", (Message,), body))


class Odd(wire.Integer):
    """A codec of a user's, stricter than what it is built upon."""

    def check(self, value: Any) -> str | None:
        return super().check(value) or (None if value % 2 else f"{value} is even")


@message(40013)
class HoldsOdd(Message):
    number: Annotated[int, Odd("H")]


def test_a_users_own_check_counts_both_ways() -> None:
    assert HoldsOdd.decode(HoldsOdd(number=3).encode()).number == 3
    with pytest.raises(ValueError, match=r"holds_odd\.number: 4 is even"):
        HoldsOdd(number=4).encode()
    with pytest.raises(DecodeError, match=r"holds_odd\.number at byte 2: 4 is even"):
        HoldsOdd.decode(HoldsOdd(number=3).encode()[:3] + b"\4")


def test_names_are_for_one_message_each() -> None:
    @message(40015)
    class Ping(Message):
        nothing: wire.remainder

    with pytest.raises(ValueError, match="ping is both message type 18 and 40015"):
        BOLT | {Ping}
    assert Registry([Ping]).named("ping") is Ping

    @message(40017)
    class Unknown(Message):
        nothing: wire.remainder

    with pytest.raises(ValueError, match="no message can be called unknown"):
        BOLT | {Unknown}


@structure
class Inner(Structure):
    amount_msat: wire.u64
    note: wire.bytes16


@tlv_stream
class CustomTlvs(TlvStream):
    inner: Annotated[Inner | None, Tlv(1)] = None
    many: Annotated[wire.rest[wire.u16] | None, Tlv(3)] = None


@message(40001)
class CustomThing(Message):
    flag: wire.byte
    items: wire.array16[Inner]
    tlvs: CustomTlvs = CustomTlvs()


def test_custom_messages_with_tlvs_and_structures() -> None:
    one = Inner(amount_msat=5, note=b"hi")
    thing = CustomThing(flag=1, items=(one, one), tlvs=CustomTlvs(inner=one, many=(1, 2)))
    assert CustomThing.name == "custom_thing"
    data = thing.encode()
    assert (BOLT | {CustomThing}).decode(data) == thing
    with pytest.raises(DecodeError, match=r"custom_thing\.items\.note at byte 13"):
        CustomThing.decode(data[:16])
    with pytest.raises(ValueError, match="note: needs bytes"):
        thing.replace(items=(Inner(amount_msat=5, note=3),)).encode()  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="items: needs a Inner, not int"):
        thing.replace(items=(3,)).encode()


def test_channel_update_of_the_legacy_length_and_flags() -> None:
    data = next(data for kind, data, _ in REAL if kind == "channel_update" and len(data) == 138)
    update = ChannelUpdate.decode(data)
    odd_flags = update.replace(message_flags=0xFF, channel_flags=0xFC)
    assert ChannelUpdate.decode(odd_flags.encode()) == odd_flags


def test_small_things() -> None:
    update = InitTlvs(networks=tuple(bytes([number]) * 32 for number in range(6)))
    assert repr(update).endswith("... 6 items))")
    assert repr(InitTlvs(networks=(b"x",))) == "InitTlvs(networks=(78))"
    assert repr(Ping.__fields__[0]) == "Field('num_pong_bytes', Integer)"
    assert UnknownMessage(5, b"abc").payload == b"abc"
    assert (Ping() == 5) is False

    @message(40003)
    class WithConstant(Message):
        limit: ClassVar[int] = 5
        flag: wire.byte

    assert [field.name for field in WithConstant.__fields__] == ["flag", "extension"]
    assert WithConstant.limit == 5


# -- outside the BOLTs -------------------------------------------------------------------------------------------------


def test_types_outside_the_bolts_are_those_that_were_seen() -> None:
    with (VECTORS / "other_message_types.csv").open() as file:
        rows = [(int(row["type"]), row["name"], row["where"]) for row in csv.DictReader(file)]
    assert [(one.type, one.name, one.where) for one in OUTSIDE.values()] == rows
    assert not {type_ for type_, _, _ in rows} & {cls.type for cls in BOLT}
    assert describe_type(53011) == "type 53011 (commit_sig_batch of eclair, outside the BOLTs)"
    assert describe_type(40001) == "type 40001"
    # A name is no decoder.
    assert BOLT.decode(bytes.fromhex("cf13aabb")) == UnknownMessage(53011, b"\xaa\xbb")


def test_lsps0_is_ones_own_to_add() -> None:
    assert LSPS0 not in BOLT
    data = (37913).to_bytes(2, "big") + b'{"jsonrpc": "2.0"}'
    assert BOLT.decode(data) == UnknownMessage(37913, data[2:])
    assert (BOLT | {LSPS0}).decode(data) == LSPS0(payload=data[2:])
    assert LSPS0(payload=data[2:]).encode() == data
