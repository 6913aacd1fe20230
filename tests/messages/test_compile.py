"""What is compiled: bytes that come back as they were, and errors that name message and field."""

from __future__ import annotations

from typing import Annotated, Any

import pytest

from tests.support import Note
from tests.support.vectors import MESSAGES, REAL
from triolight import wire
from triolight.errors import DecodeError
from triolight.messages import (
    BOLT,
    Init,
    Message,
    Ping,
    Structure,
    Tlv,
    TlvStream,
    TxInitRbf,
    UpdateAddHtlc,
    Warning,
    message,
    structure,
    tlv_stream,
)
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.bolt2 import ChannelReestablishTlvs, NextFunding, TxInitRbfTlvs, UpdateAddHtlcTlvs
from triolight.wire import TlvRecord


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


class Fickle(wire.Integer):
    """A codec that is not of one mind: it refuses a value when it is asked first."""

    def __init__(self) -> None:
        super().__init__("H")
        self.asked = 0

    def check(self, value: Any) -> str | None:
        self.asked += 1
        return "refused" if self.asked == 1 else None


FICKLE = Fickle()


@structure
class HoldsFickle(Structure):
    number: Annotated[int, FICKLE]


@message(40019)
class SendsFickle(Message):
    number: Annotated[int, FICKLE]


def test_a_codec_that_contradicts_itself_is_a_bug_and_says_so() -> None:
    """Where the fast path refused and the slow one finds nothing wrong, nobody is told that the peer was at fault."""
    for cls, data in ((HoldsFickle, b"\0\1"), (SendsFickle, (40019).to_bytes(2, "big") + b"\0\1")):
        FICKLE.asked = 0
        with pytest.raises(AssertionError, match="the compiled decoder refused what its fields accept"):
            cls.decode(data)


def test_what_is_unknown_keeps_its_order_around_what_is_known() -> None:
    records = [TlvRecord(type_, bytes([type_])) for type_ in (5, 7, 9, 11, 13, 15, 17)]
    known = wire.write_bigsize(1) + b"\x20" + bytes(32) + b"\x03\x01\x2a"
    data = known + wire.write_tlv_records(records)
    tlvs = InitTlvs.decode(data)
    assert (tlvs.remote_addr, tlvs.unknown, tlvs.unknown_count) == (b"\x2a", tuple(records), 7)

    @tlv_stream
    class Between(TlvStream):
        seven: Annotated[wire.byte | None, Tlv(7)] = None
        thirteen: Annotated[wire.byte | None, Tlv(13)] = None

    between = Between.decode(wire.write_tlv_records(records))
    assert (between.seven, between.thirteen, between.unknown_count) == (7, 13, 5)
    assert [one.type for one in between.unknown] == [5, 9, 11, 15, 17]
    assert between.encode() == wire.write_tlv_records(records)
