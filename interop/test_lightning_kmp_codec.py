"""Against lightning-kmp's codec, over all messages that both know: what each makes of the other's bytes.

What it takes and we refuse, what it refuses and we take, and what it writes otherwise than it was, is a row of
docs/interop.md each, and what is left is the same at both.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from interop.conftest import open_kmp
from interop.kmp_values import (
    BOTH,
    CHANNEL,
    I32,
    ODD,
    PACKET,
    POINTS,
    SECRET,
    SIGNATURES,
    TRANSACTION,
    TXID,
    U32,
    Value,
    a,
    reverse,
    tlvs,
)
from interop.programs import JsonNode
from triolight import DecodeError, wire
from triolight.messages import (
    BOLT,
    AcceptChannel2,
    AcceptTlvs,
    ChannelAnnouncement,
    ChannelReady,
    ChannelReestablish,
    ClosingSigned,
    CommitmentSigned,
    Init,
    Message,
    OnionMessage,
    OpenChannel2,
    OpeningTlvs,
    Shutdown,
    Stfu,
    TlvStream,
    TxAckRbf,
    TxAckRbfTlvs,
    TxAddInput,
    TxAddInputTlvs,
    TxInitRbf,
    TxInitRbfTlvs,
    TxSignatures,
    TxSignaturesTlvs,
    UnknownMessage,
    UpdateAddHtlc,
    Witness,
)
from triolight.testing.strategies import messages_of

EXAMPLES = 50

pytestmark = pytest.mark.node("lightning-kmp")


async def decoded(kmp: JsonNode, messages: list[bytes]) -> list[dict[str, str]]:
    reply = await kmp.command("decode", messages=[one.hex() for one in messages])
    found: list[dict[str, str]] = reply["decoded"]
    return found


CLASSES = list(dict.fromkeys(type(ours) for ours, _ in BOTH))
SHARED = {cls.type for cls in CLASSES}
IT_LACKS = {7, 9, 32, 33, 40, 41, 77, 80, 81, 127, 257, 261, 262, 263, 264, 265}
WE_LACK = {35017, 35019, 35023, 35025, 35027, 37000, 37002, 37004, 39409, 41041, 41042, 41043, 41044, 41045, 41046}


@pytest.mark.shows("codecs")
@pytest.mark.differs(
    "knows none of peer_storage, open_channel and accept_channel, closing_complete and closing_sig, start_batch, "
    "node_announcement, and gossip queries",
    "know all messages of the BOLTs",
)
@pytest.mark.differs(
    "has messages of its own, and splices as 37000, 37002 and 37004", "have splices as 80, 81 and 77, as BOLT 2"
)
async def test_which_messages_both_know() -> None:
    """All 65,536 types are asked: what it does not know it says, what it knows it finds too short."""
    async with open_kmp() as kmp:
        answers = await decoded(kmp, [type_.to_bytes(2, "big") for type_ in range(2**16)])
    it_knows = {type_ for type_, one in enumerate(answers) if one.get("class") != "UnknownMessage"}
    we_know = {cls.type for cls in BOLT}
    assert it_knows & we_know == SHARED
    assert we_know - it_knows == IT_LACKS
    assert it_knows - we_know == WE_LACK


SIGNED = {"channel_announcement", "channel_update"}
"""What stands behind their fields both keep as it is, whatever it is."""
READS_RECORDS = {
    *("init", "tx_add_input", "tx_complete", "tx_signatures", "tx_init_rbf", "tx_ack_rbf", "channel_ready"),
    *("open_channel2", "accept_channel2", "shutdown", "closing_signed", "update_add_htlc", "commitment_signed"),
    *("revoke_and_ack", "channel_reestablish"),
}


def bare(ours: Message) -> Message:
    """Without any records."""
    stream: TlvStream | None = getattr(ours, "tlvs", None)
    return ours.replace(extension=b"") if stream is None else ours.replace(tlvs=type(stream)())


def canonical(features: bytes) -> bytes:
    """Without leading zeros, and one bit of each pair."""
    value = int.from_bytes(features, "big")
    odd = value & int.from_bytes(b"\xaa" * len(features), "big")
    value &= ~(odd >> 1)
    return value.to_bytes((value.bit_length() + 7) // 8, "big")


def common(ours: Message) -> Message:
    """What it can say too; each thing that is taken away here has a test of its own below."""
    if ours.name in SIGNED:
        features: bytes | None = getattr(ours, "features", None)
        return ours if features is None else ours.replace(features=canonical(features))
    ours = with_common_records(ours) if ours.name in READS_RECORDS else bare(ours)
    match ours:
        case Init():
            return ours.replace(globalfeatures=b"", features=canonical(ours.features))
        case TxAddInput():
            return ours.replace(prevtx=b"")
        case TxSignatures():
            return ours.replace(witnesses=tuple(as_witness(one) for one in ours.witnesses))
        case OpenChannel2():
            return ours.replace(channel_flags=ours.channel_flags & 3)
        case Stfu():
            return ours.replace(initiator=ours.initiator & 1)
        case OnionMessage():
            return ours.replace(onion_message_packet=ours.onion_message_packet.ljust(66, b"\0"))
        case _:
            return ours


def with_common_records(ours: Message) -> Message:
    stream: TlvStream | None = getattr(ours, "tlvs", None)
    if stream is None:
        kept: list[wire.TlvRecord] = []
        extension: bytes = getattr(ours, "extension")  # noqa: B009  # of a class that is known when it runs

        def visit(type_: int, _: int, start: int, end: int) -> None:
            if type_ < 2**63:
                kept.append(wire.TlvRecord(type_, extension[start:end]))

        wire.walk_tlv_stream(extension, 0, len(extension), visit)
        return ours.replace(extension=wire.write_tlv_records(kept))
    stream = stream.replace(unknown=tuple(one for one in stream.unknown if one.type < 2**63))
    match stream:
        case TxAddInputTlvs():
            stream = stream.replace(shared_input_txid=None)
        case TxSignaturesTlvs():
            stream = stream.replace(shared_input_signature=None)
        case TxInitRbfTlvs() | TxAckRbfTlvs():
            stream = stream.replace(require_confirmed_inputs=False)
        case OpeningTlvs() | AcceptTlvs() if stream.channel_type is not None:
            stream = stream.replace(channel_type=canonical(stream.channel_type))
        case _:
            pass
    return ours.replace(tlvs=stream)


def as_witness(one: Witness) -> Witness:
    """The same bytes as the only item of a witness."""
    return Witness(witness_data=b"\x01" + bytes([len(one.witness_data[:200])]) + one.witness_data[:200])


def generated(cls: type[Message]) -> list[Message]:
    found: list[Message] = []

    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(messages_of(cls))
    def collect(one: Message) -> None:
        found.append(common(one))

    collect()
    return found


@pytest.mark.shows("codecs")
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.name)
async def test_the_same_values_are_the_same_bytes(cls: type[Message]) -> None:
    """Both make them from values, field by field, and each finds them in the other's bytes again. Then any values,
    extremes, unknown odd records and 65,535 bytes among them: it reads what we write, and writes it again."""
    messages = [ours.encode() for ours in generated(cls)]
    assert len(set(messages)) > 10
    async with open_kmp() as kmp:
        for ours, theirs in BOTH:
            if isinstance(ours, cls):
                made = await kmp.command("make", value=theirs)
                assert bytes.fromhex(made["hex"]) == ours.encode()
                assert made["equal"]
                assert BOLT.decode(bytes.fromhex(made["hex"])) == ours
        answers = await decoded(kmp, messages)
    assert [one.get("again", one) for one in answers] == [one.hex() for one in messages]


@pytest.mark.shows("codecs")
async def test_what_ends_early_is_refused_by_both() -> None:
    """Every prefix of every message: either both take it or neither does."""
    prefixes = [whole[:end] for ours, _ in BOTH if len(whole := ours.encode()) < 2000 for end in range(2, len(whole))]
    async with open_kmp() as kmp:
        answers = await decoded(kmp, prefixes)
    both = 0
    for prefix, answer in zip(prefixes, answers, strict=True):
        assert ("error" in answer) is isinstance(ours_of(prefix), DecodeError), prefix.hex()
        both += "error" in answer
    assert 0 < both < len(prefixes)


BAD_TAILS = {
    "an even type": "fd0fa000",
    "twice": "fd0fa100fd0fa100",
    "backwards": "fd0fa300fd0fa100",
    "a length beyond the end": "fd0fa105aa",
    "a length of 2^31": "fd0fa1fe80000000",
    "a length of 2^64 - 1": "fd0fa1ffffffffffffffffff",
    "a type that ends early": "fd0f",
    "no length": "01",
    "a type that is not the shortest": "fd00fb00",
    "a length that is not the shortest": "fd0fa1fd0001aa",
}


@pytest.mark.shows("codecs")
@pytest.mark.differs(
    "does not look at what stands behind the fields of a message for which it declares no records, not even for the "
    "records of update_fulfill_htlc and update_fail_htlc, and drops it",
    "refuse an unknown even record, and records that are no stream; keep odd ones",
)
async def test_records_that_are_no_stream() -> None:
    refuses, drops = set[str](), set[str]()
    async with open_kmp() as kmp:
        for ours, _ in BOTH:
            start = bare(ours).encode()
            if ours.name in SIGNED or len(start) > 65_000:
                continue
            tails = [start + bytes.fromhex(tail) for tail in BAD_TAILS.values()]
            assert all(isinstance(ours_of(one), DecodeError) for one in tails)
            answers = await decoded(kmp, tails)
            if all("error" in one for one in answers):
                refuses.add(ours.name)
            else:
                assert [one["again"] for one in answers] == [start.hex()] * len(tails)
                drops.add(ours.name)
    assert refuses == READS_RECORDS
    assert drops == {cls.name for cls in CLASSES} - READS_RECORDS - SIGNED


def ours_of(data: bytes) -> Message | UnknownMessage | DecodeError:
    try:
        return BOLT.decode(data)
    except DecodeError as error:
        return error


def example(cls: type[Message]) -> Message:
    """That of BOTH, without any records."""
    return bare(next(ours for ours, _ in BOTH if isinstance(ours, cls)))


def behind(cls: type[Message], type_: int, value: bytes) -> bytes:
    """A message's bytes with one record behind them."""
    return example(cls).encode() + wire.write_tlv_records((wire.TlvRecord(type_, value),))


def differs(theirs: str, ours: str, *data: Any) -> Any:
    """A row of the page, and what shows it."""
    return pytest.param([*data], marks=pytest.mark.differs(theirs, ours), id=theirs[:60])


def refuses(theirs: str, ours: str, refusal: str, *data: Any) -> Any:
    """The same, with words of the refusal."""
    return pytest.param(refusal, [*data], marks=pytest.mark.differs(theirs, ours), id=theirs[:60])


@pytest.mark.shows("codecs")
@pytest.mark.parametrize(
    ("refusal", "data"),
    [
        refuses(
            "takes types of records from 2^63 on for negative ones, and finds them out of order",
            "take them up to 2^64 - 1",
            "tlv stream is not sorted by tags",
            example(Shutdown).encode() + wire.write_tlv_records((ODD, wire.TlvRecord(2**63 + 1, b""))),
        ),
        refuses(
            "has the shared input of a tx_add_input as record 1105, and refuses BOLT 2's",
            "have it as record 0, as BOLT 2",
            "unknown even tag (0)",
            behind(TxAddInput, 0, TXID),
        ),
        refuses(
            "has the signature of the shared input in tx_signatures as record 601, and refuses BOLT 2's",
            "have it as record 0, as BOLT 2",
            "unknown even tag (0)",
            behind(TxSignatures, 0, SIGNATURES[0]),
        ),
        refuses(
            "refuses require_confirmed_inputs in tx_init_rbf and tx_ack_rbf",
            "take it, as BOLT 2",
            "unknown even tag (2)",
            behind(TxInitRbf, 2, b""),
            behind(TxAckRbf, 2, b""),
        ),
        refuses(
            "refuses a tx_add_input whose prevtx is no transaction",
            "leave its bytes to the user",
            "not enough bytes to read from",
            example(TxAddInput).replace(prevtx=b"\x01").encode(),
        ),
        refuses(
            "refuses a tx_signatures whose witness_data is no witness",
            "leave its bytes to the user",
            "cannot read 5 bytes",
            example(TxSignatures).replace(witnesses=(Witness(witness_data=b"\x01\x05"),)).encode(),
        ),
        refuses(
            "refuses an onion_message with a packet below 66 bytes",
            "take a packet of any size",
            "",  # what it runs into depends on the size
            example(OnionMessage).replace(onion_message_packet=b"").encode(),
            example(OnionMessage).replace(onion_message_packet=PACKET[:1]).encode(),
            example(OnionMessage).replace(onion_message_packet=PACKET[:65]).encode(),
        ),
        refuses(
            "refuses odd records of its own that are too short for it: of liquidity ads, splices as they were drafted, "
            "fees of a funding",
            "keep odd records that are not BOLT 2's, whatever is in them",
            "unexpected EOF",
            behind(Init, 1339, b"\x01"),
            behind(OpenChannel2, 1339, b"\x01"),
            behind(TxAddInput, 1105, b"\x01"),
            behind(TxSignatures, 601, b"\x01"),
            behind(UpdateAddHtlc, 41041, b"\x01"),
        ),
    ],
)
async def test_what_we_take_and_it_refuses(refusal: str, data: list[bytes]) -> None:
    for one in data:
        found = BOLT.decode(one)
        assert isinstance(found, Message)
        assert found.encode() == one
    async with open_kmp() as kmp:
        for answer in await decoded(kmp, data):
            assert refusal in answer["error"]


@pytest.mark.shows("codecs")
@pytest.mark.parametrize(
    ("refusal", "data"),
    [
        refuses(
            "takes any 33 bytes for a point",
            "refuse what is not a compressed point of secp256k1",
            "not a compressed point of secp256k1",
            *(
                (data, data)
                for ours, _ in BOTH
                for point in POINTS[:7]
                for bad in (b"\x02" + b"\xff" * 32, b"\x05" + point[1:], bytes(33))
                if point in ours.encode()
                for data in [ours.encode().replace(point, bad)]
            ),
        ),
        refuses(
            "takes a known record that is too long, and drops the rest of it",
            "refuse it",
            "too many",
            *(
                (behind(cls, type_, value + rest), behind(cls, type_, value))
                for cls, type_, value in (
                    (ChannelReady, 1, bytes(8)),
                    (ClosingSigned, 1, bytes(16)),
                    (UpdateAddHtlc, 0, POINTS[0]),
                    (TxInitRbf, 0, bytes(8)),
                    (TxAckRbf, 0, bytes(8)),
                    (OpenChannel2, 2, b""),
                    (AcceptChannel2, 2, b""),
                )
                for rest in (b"\0", bytes(200))
            ),
        ),
        refuses(
            "does not know the odd records that BOLT 2 has in commitment_signed and channel_reestablish, and takes "
            "them as unknown ones whatever is in them",
            "refuse them where their values are not right",
            "are left",
            *(
                (data, data)
                for data in (
                    behind(CommitmentSigned, 1, bytes(31)),
                    behind(ChannelReestablish, 1, TXID),
                    behind(ChannelReestablish, 5, TXID),
                )
            ),
        ),
    ],
)
async def test_what_it_takes_and_we_refuse(refusal: str, data: list[tuple[bytes, bytes]]) -> None:
    """Each with what it writes when it has read it."""
    for one, _ in data:
        with pytest.raises(DecodeError, match=refusal):
            BOLT.decode(one)
    async with open_kmp() as kmp:
        answers = await decoded(kmp, [one for one, _ in data])
    assert [one.get("again", one) for one in answers] == [again.hex() for _, again in data]


@pytest.mark.shows("codecs")
@pytest.mark.parametrize(
    "data",
    [
        differs(
            "puts both bitfields of an Init into one",
            "write both",
            (Init(globalfeatures=b"\x01\x00", features=b"\x02"), Init(features=b"\x01\x02")),
        ),
        differs(
            "writes features without leading zeros, and of the two bits of a feature that it knows the odd one, in a "
            "signed channel_announcement too",
            "write them as they were",
            (Init(features=b"\x00\x03"), Init(features=b"\x02")),
            (
                example(ChannelAnnouncement).replace(features=b"\x00\x03"),
                example(ChannelAnnouncement).replace(features=b"\x02"),
            ),
            *(
                (
                    example(cls).replace(tlvs=tlvs_(channel_type=b"\x00\x30\x00")),
                    example(cls).replace(tlvs=tlvs_(channel_type=b"\x20\x00")),
                )
                for cls, tlvs_ in ((OpenChannel2, OpeningTlvs), (AcceptChannel2, AcceptTlvs))
            ),
        ),
        differs(
            "keeps two bits of an open_channel2's channel_flags",
            "keep all eight",
            (example(OpenChannel2).replace(channel_flags=255), example(OpenChannel2).replace(channel_flags=3)),
        ),
        differs(
            "takes an initiator of a stfu that is not 1 for 0",
            "keep the byte",
            (Stfu(channel_id=CHANNEL, initiator=2), Stfu(channel_id=CHANNEL, initiator=0)),
        ),
        differs(
            "drops what stands behind the transaction of a tx_add_input, or behind a witness of tx_signatures",
            "keep it",
            (
                example(TxAddInput).replace(prevtx=TRANSACTION + b"\x01"),
                example(TxAddInput).replace(prevtx=TRANSACTION),
            ),
            (
                example(TxSignatures).replace(witnesses=(Witness(witness_data=b"\x01\x01\xaa\xbb"),)),
                example(TxSignatures).replace(witnesses=(Witness(witness_data=b"\x01\x01\xaa"),)),
            ),
        ),
    ],
)
async def test_what_it_writes_otherwise_than_it_was(data: list[tuple[Message, Message]]) -> None:
    assert all(BOLT.decode(ours.encode()) == ours for ours, _ in data)
    async with open_kmp() as kmp:
        answers = await decoded(kmp, [ours.encode() for ours, _ in data])
    assert [BOLT.decode(bytes.fromhex(one["again"])) for one in answers] == [again for _, again in data]


LARGE = (I32, I32 - 1, I32 - 2)
"""The largest numbers that it takes for what they are; a message of BOTH has each of them once at most."""


@pytest.mark.shows("codecs")
@pytest.mark.differs(
    "takes a feerate, a fee, a height, a depth, a locktime, an output's index or a timestamp of 2^31 or more for a "
    "negative one, and writes it as it was",
    "take them up to 2^32 - 1",
)
async def test_numbers_of_32_bits_are_signed_to_it() -> None:
    signed = set[str]()
    async with open_kmp() as kmp:
        for ours, theirs in BOTH:
            for field in ours.__fields__:
                value = getattr(ours, field.name)
                if value not in LARGE:
                    continue
                changed = ours.replace(**{field.name: U32})
                args = [U32 if one == value else one for one in theirs["args"]]
                made = await kmp.command("make", value=theirs | {"args": args})
                assert bytes.fromhex(made["hex"]) == changed.encode()
                assert BOLT.decode(changed.encode()) == changed
                assert not made["equal"]
                signed.add(f"{ours.name}.{field.name}")
    assert signed == {
        *("update_fee.feerate_per_kw", "tx_init_rbf.feerate", "tx_init_rbf.locktime", "tx_add_input.prevtx_vout"),
        *("open_channel2.funding_feerate_perkw", "open_channel2.locktime", "accept_channel2.minimum_depth"),
        *("update_add_htlc.cltv_expiry", "channel_update.timestamp", "channel_update.fee_base_msat"),
        "channel_update.fee_proportional_millionths",
    }


@pytest.mark.shows("codecs")
@pytest.mark.differs(
    "keeps the type alone of a message that it does not know, and cannot write it again", "keep its bytes"
)
async def test_a_message_that_it_does_not_know() -> None:
    async with open_kmp() as kmp:
        assert await decoded(kmp, [UnknownMessage(43_001, b"odd").encode()]) == [{"class": "UnknownMessage"}]


@pytest.mark.shows("codecs")
@pytest.mark.differs(
    "writes records of its own with even types: 0, next_funding_txid, in channel_reestablish, and 0x47010000, a backup "
    "of a channel, in messages of a channel's life",
    "refuse them; next_funding is record 1, as BOLT 2",
)
async def test_even_records_of_its_own_are_refused_by_us() -> None:
    backup = a("lightning.wire.EncryptedChannelData", b"\x01\x02")
    async with open_kmp() as kmp:
        for kind, record, type_ in (
            ("ChannelReestablish", a("ChannelReestablishTlv$NextFunding", reverse(TXID)), 0),
            ("ChannelReestablish", a("ChannelReestablishTlv$ChannelData", backup), 0x4701_0000),
            ("CommitSig", a("CommitSigTlv$ChannelData", backup), 0x4701_0000),
            ("RevokeAndAck", a("RevokeAndAckTlv$ChannelData", backup), 0x4701_0000),
            ("Shutdown", a("ShutdownTlv$ChannelData", backup), 0x4701_0000),
            ("ClosingSigned", a("ClosingSignedTlv$ChannelData", backup), 0x4701_0000),
            ("TxSignatures", a("TxSignaturesTlv$ChannelData", backup), 0x4701_0000),
        ):
            made = await kmp.command("make", value=with_records(kind, record))
            with pytest.raises(DecodeError, match=f"unknown even TLV type {type_}$"):
                BOLT.decode(bytes.fromhex(made["hex"]))


def with_records(kind: str, *records: Value) -> Value:
    """A value of BOTH's with other records."""
    found = next(theirs for _, theirs in BOTH if theirs["class"] == f"lightning.wire.{kind}")
    return found | {"args": [*found["args"][:-1], tlvs(*records, unknown=())]}


@pytest.mark.shows("codecs")
async def test_odd_records_of_its_own_pass_through_us() -> None:
    """Of liquidity ads, of splices as they were drafted, of swaps: we know none of them."""
    async with open_kmp() as kmp:
        for kind, record, type_ in (
            ("TxAddInput", a("TxAddInputTlv$SharedInputTxId", reverse(TXID)), 1105),
            ("TxAddInput", a("TxAddInputTlv$SwapInParams", *POINTS[:3], 144), 1109),
            ("TxSignatures", a("TxSignaturesTlv$PreviousFundingTxSig", SIGNATURES[0]), 601),
            ("TxSignatures", a("TxSignaturesTlv$SwapInUserSigs", SIGNATURES[:2]), 603),
            ("CommitSig", a("CommitSigTlv$Batch", 2), 0x4701_0005),
            (
                "UpdateAddHtlc",
                a("UpdateAddHtlcTlv$FundingFeeTlv", a("lightning.wire.LiquidityAds$FundingFee", 7, reverse(TXID))),
                41041,
            ),
            ("OpenDualFundedChannel", a("ChannelTlv$PushAmountTlv", 5), 0x4700_0007),
        ):
            made = await kmp.command("make", value=with_records(kind, record))
            data = bytes.fromhex(made["hex"])
            found = BOLT.decode(data)
            assert found.encode() == data
            stream: TlvStream = getattr(found, "tlvs")  # noqa: B009  # all of these declare one
            assert [one.type for one in stream.unknown] == [type_]
            [answer] = await decoded(kmp, [data])
            assert answer["again"] == data.hex()


@pytest.mark.shows("codecs")
async def test_messages_of_its_own_are_unknown_to_us() -> None:
    """Odd ones a user of ours may read as bytes, and register; even ones end a connection."""
    async with open_kmp() as kmp:
        for value, type_ in (
            (a("FCMToken", b"token"), 35017),
            (a("AddFeeCredit", TXID, SECRET), 41045),
            (a("SpliceLocked", CHANNEL, reverse(TXID), tlvs(unknown=())), 37004),
        ):
            made = await kmp.command("make", value=value)
            data = bytes.fromhex(made["hex"])
            assert made["equal"]
            assert BOLT.decode(data) == UnknownMessage(type_, data[2:])
