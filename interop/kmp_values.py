"""One value of each message that lightning-kmp and we both know, as we write it and as its constructors take it.

Each field has a value of its own, so that two that were taken for each other would show. Unknown odd records are in
each message whose records it keeps.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

from triolight import node_id, wire
from triolight.messages import (
    AcceptChannel2,
    AcceptTlvs,
    AnnouncementSignatures,
    ChannelAnnouncement,
    ChannelReady,
    ChannelReadyTlvs,
    ChannelReestablish,
    ChannelReestablishTlvs,
    ChannelUpdate,
    ClosingSigned,
    ClosingSignedTlvs,
    CommitmentSigned,
    CommitmentSignedTlvs,
    Error,
    FeeRange,
    FundingCreated,
    FundingSigned,
    Init,
    InitTlvs,
    Message,
    OnionMessage,
    OpenChannel2,
    OpeningTlvs,
    Ping,
    Pong,
    RevokeAndAck,
    Shutdown,
    Stfu,
    TxAbort,
    TxAckRbf,
    TxAckRbfTlvs,
    TxAddInput,
    TxAddInputTlvs,
    TxAddOutput,
    TxComplete,
    TxInitRbf,
    TxInitRbfTlvs,
    TxRemoveInput,
    TxRemoveOutput,
    TxSignatures,
    TxSignaturesTlvs,
    UpdateAddHtlc,
    UpdateAddHtlcTlvs,
    UpdateFailHtlc,
    UpdateFailMalformedHtlc,
    UpdateFee,
    UpdateFulfillHtlc,
    Warning,
    Witness,
)

Value: TypeAlias = dict[str, Any]

CHANNEL, CHAIN, HASH, TXID, SECRET = (bytes([number]) + bytes(range(31)) for number in range(1, 6))
POINTS: Final = [node_id(bytes([number]) * 32) for number in range(1, 9)]
SIGNATURES: Final = [bytes([0x40 + number]) * 64 for number in range(4)]
SCRIPT: Final = bytes.fromhex("0014") + bytes(range(20))
ODD: Final = wire.TlvRecord(4001, b"\x0d\xdd")
LARGEST: Final = wire.TlvRecord(2**63 - 1, b"")
UNKNOWN: Final = (ODD, LARGEST)
SCID: Final = wire.ShortChannelId(0xFEDC_BA98_7654_3210)
U16, U32, U64 = 2**16 - 1, 2**32 - 1, 2**64 - 1
I32 = 2**31 - 1
"""From here to U32 a number is a negative one to it."""
# One input, one output, no witness.
TRANSACTION: Final = bytes.fromhex(
    "0200000001" + "ab" * 32 + "0100000000fdffffff0110270000 0000000016" + SCRIPT.hex() + "00000000"
)
PACKET: Final = b"\x00" + POINTS[7] + bytes(range(250)) * 5 + bytes(50) + HASH
"""An onion of 1,366 bytes."""


def a(name: str, *args: Any) -> Value:
    """A call of a constructor of its."""
    return {"class": name if "." in name else f"lightning.wire.{name}", "args": [plain(one) for one in args]}


def the(name: str) -> Value:
    return {"class": f"lightning.wire.{name}"}


def tlvs(*records: Value, unknown: tuple[wire.TlvRecord, ...] = UNKNOWN) -> Value:
    return {"tlvs": [*records, *(a("GenericTlv", type_, value) for type_, value in unknown)]}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def onion(packet: bytes) -> Value:
    return a("OnionRoutingPacket", packet[0], packet[1:34], packet[34:-32], packet[-32:])


def reverse(txid: bytes) -> bytes:
    """It holds a txid as people see it, which is backwards on the wire."""
    return txid[::-1]


def channel_tlvs(channel_type: bytes) -> Value:
    return tlvs(
        a("ChannelTlv$UpfrontShutdownScriptTlv", SCRIPT),
        a("ChannelTlv$ChannelTypeTlv", channel_type),
        the("ChannelTlv$RequireConfirmedInputsTlv"),
    )


FLAGS: Final = "lightning.channel.ChannelFlags"

BOTH: Final[list[tuple[Message, Value]]] = [
    (
        Init(features=bytes.fromhex("08a0002a0aa222"), tlvs=InitTlvs(networks=(CHAIN, HASH), unknown=UNKNOWN)),
        a("Init", bytes.fromhex("08a0002a0aa222"), tlvs(a("InitTlv$Networks", [CHAIN, HASH]))),
    ),
    (Init(), a("Init", b"", tlvs(unknown=()))),
    (Error(channel_id=CHANNEL, data=b"\xff\x00 no text"), a("Error", CHANNEL, b"\xff\x00 no text")),
    (Warning(channel_id=CHANNEL, data=b"words"), a("Warning", CHANNEL, b"words")),
    (Ping(num_pong_bytes=U16, ignored=bytes(3)), a("Ping", U16, bytes(3))),
    (Ping(ignored=bytes(65_529)), a("Ping", 0, bytes(65_529))),
    (Pong(ignored=b"\x07"), a("Pong", b"\x07")),
    (Pong(ignored=bytes(65_531)), a("Pong", bytes(65_531))),
    (
        TxAddInput(
            channel_id=CHANNEL,
            serial_id=U64,
            prevtx=TRANSACTION,
            prevtx_vout=3,
            sequence=U32,
            tlvs=TxAddInputTlvs(unknown=UNKNOWN),
        ),
        a("TxAddInput", CHANNEL, U64, TRANSACTION, 3, U32, tlvs()),
    ),
    (
        TxAddInput(channel_id=CHANNEL, serial_id=0, prevtx=b"", prevtx_vout=I32, sequence=1),
        a("TxAddInput", CHANNEL, 0, None, I32, 1, tlvs(unknown=())),
    ),
    (
        TxAddOutput(channel_id=CHANNEL, serial_id=2**63, sats=U64, script=SCRIPT),
        a("TxAddOutput", CHANNEL, 2**63, U64, SCRIPT, tlvs(unknown=())),
    ),
    (TxRemoveInput(channel_id=CHANNEL, serial_id=7), a("TxRemoveInput", CHANNEL, 7, tlvs(unknown=()))),
    (TxRemoveOutput(channel_id=CHANNEL, serial_id=8), a("TxRemoveOutput", CHANNEL, 8, tlvs(unknown=()))),
    (TxComplete(channel_id=CHANNEL, extension=wire.write_tlv_records(UNKNOWN)), a("TxComplete", CHANNEL, tlvs())),
    (
        TxSignatures(
            channel_id=CHANNEL,
            txid=TXID,
            witnesses=(
                Witness(witness_data=bytes.fromhex("0203aabbcc00")),
                Witness(witness_data=b"\x01\xfd\x00\x01" + bytes(256)),
                Witness(witness_data=b"\x00"),
            ),
            tlvs=TxSignaturesTlvs(unknown=UNKNOWN),
        ),
        a(
            "TxSignatures",
            CHANNEL,
            reverse(TXID),
            [
                a("bitcoin.ScriptWitness", [bytes.fromhex("aabbcc"), b""]),
                a("bitcoin.ScriptWitness", [bytes(256)]),
                a("bitcoin.ScriptWitness", []),
            ],
            tlvs(),
        ),
    ),
    (
        TxInitRbf(
            channel_id=CHANNEL,
            locktime=I32,
            feerate=I32 - 1,
            tlvs=TxInitRbfTlvs(funding_output_contribution=-5, unknown=UNKNOWN),
        ),
        a("TxInitRbf", CHANNEL, I32, I32 - 1, tlvs(a("TxInitRbfTlv$SharedOutputContributionTlv", -5))),
    ),
    (
        TxAckRbf(channel_id=CHANNEL, tlvs=TxAckRbfTlvs(funding_output_contribution=-(2**63), unknown=UNKNOWN)),
        a("TxAckRbf", CHANNEL, tlvs(a("TxAckRbfTlv$SharedOutputContributionTlv", -(2**63)))),
    ),
    (TxAbort(channel_id=CHANNEL, data=b"no"), a("TxAbort", CHANNEL, b"no", tlvs(unknown=()))),
    (
        FundingCreated(
            temporary_channel_id=CHANNEL, funding_txid=TXID, funding_output_index=U16, signature=SIGNATURES[0]
        ),
        a("FundingCreated", CHANNEL, TXID, U16, SIGNATURES[0]),
    ),
    (FundingSigned(channel_id=CHANNEL, signature=SIGNATURES[0]), a("FundingSigned", CHANNEL, SIGNATURES[0])),
    (
        ChannelReady(
            channel_id=CHANNEL,
            second_per_commitment_point=POINTS[0],
            tlvs=ChannelReadyTlvs(short_channel_id=SCID, unknown=UNKNOWN),
        ),
        a("ChannelReady", CHANNEL, POINTS[0], tlvs(a("ChannelReadyTlv$ShortChannelIdTlv", SCID))),
    ),
    (
        OpenChannel2(
            chain_hash=CHAIN,
            temporary_channel_id=CHANNEL,
            funding_feerate_perkw=I32,
            commitment_feerate_perkw=253,
            funding_satoshis=100_000,
            dust_limit_satoshis=354,
            max_htlc_value_in_flight_msat=U64,
            htlc_minimum_msat=1,
            to_self_delay=U16,
            max_accepted_htlcs=483,
            locktime=I32 - 1,
            funding_pubkey=POINTS[0],
            revocation_basepoint=POINTS[1],
            payment_basepoint=POINTS[2],
            delayed_payment_basepoint=POINTS[3],
            htlc_basepoint=POINTS[4],
            first_per_commitment_point=POINTS[5],
            second_per_commitment_point=POINTS[6],
            channel_flags=1,
            tlvs=OpeningTlvs(
                upfront_shutdown_script=SCRIPT,
                channel_type=bytes.fromhex("401000"),
                require_confirmed_inputs=True,
                unknown=UNKNOWN,
            ),
        ),
        a(
            "OpenDualFundedChannel",
            *(CHAIN, CHANNEL, I32, 253, 100_000, 354, U64, 1, U16, 483, I32 - 1),
            *POINTS[:7],
            a(FLAGS, True, False),
            channel_tlvs(bytes.fromhex("401000")),
        ),
    ),
    (
        AcceptChannel2(
            temporary_channel_id=CHANNEL,
            funding_satoshis=100_000,
            dust_limit_satoshis=354,
            max_htlc_value_in_flight_msat=U64,
            htlc_minimum_msat=1,
            minimum_depth=I32,
            to_self_delay=144,
            max_accepted_htlcs=U16,
            funding_pubkey=POINTS[0],
            revocation_basepoint=POINTS[1],
            payment_basepoint=POINTS[2],
            delayed_payment_basepoint=POINTS[3],
            htlc_basepoint=POINTS[4],
            first_per_commitment_point=POINTS[5],
            second_per_commitment_point=POINTS[6],
            tlvs=AcceptTlvs(
                upfront_shutdown_script=SCRIPT,
                channel_type=bytes.fromhex("401000"),
                require_confirmed_inputs=True,
                unknown=UNKNOWN,
            ),
        ),
        a(
            "AcceptDualFundedChannel",
            *(CHANNEL, 100_000, 354, U64, 1, I32, 144, U16),
            *POINTS[:7],
            channel_tlvs(bytes.fromhex("401000")),
        ),
    ),
    (Stfu(channel_id=CHANNEL, initiator=1), a("Stfu", CHANNEL, True)),
    (Stfu(channel_id=CHANNEL, initiator=0), a("Stfu", CHANNEL, False)),
    (
        Shutdown(channel_id=CHANNEL, scriptpubkey=SCRIPT, extension=wire.write_tlv_records(UNKNOWN)),
        a("Shutdown", CHANNEL, SCRIPT, tlvs()),
    ),
    (
        ClosingSigned(
            channel_id=CHANNEL,
            fee_satoshis=3,
            signature=SIGNATURES[0],
            tlvs=ClosingSignedTlvs(
                fee_range=FeeRange(min_fee_satoshis=1, max_fee_satoshis=U64),
                unknown=UNKNOWN,
            ),
        ),
        a("ClosingSigned", CHANNEL, 3, SIGNATURES[0], tlvs(a("ClosingSignedTlv$FeeRange", 1, U64))),
    ),
    (
        UpdateAddHtlc(
            channel_id=CHANNEL,
            id=5,
            amount_msat=U64,
            payment_hash=HASH,
            cltv_expiry=I32,
            onion_routing_packet=PACKET,
            tlvs=UpdateAddHtlcTlvs(blinded_path=POINTS[1], unknown=UNKNOWN),
        ),
        a("UpdateAddHtlc", CHANNEL, 5, U64, HASH, I32, onion(PACKET), tlvs(a("UpdateAddHtlcTlv$Blinding", POINTS[1]))),
    ),
    (
        UpdateFulfillHtlc(channel_id=CHANNEL, id=5, payment_preimage=SECRET),
        a("UpdateFulfillHtlc", CHANNEL, 5, SECRET),
    ),
    (UpdateFailHtlc(channel_id=CHANNEL, id=5, reason=bytes(292)), a("UpdateFailHtlc", CHANNEL, 5, bytes(292))),
    (
        UpdateFailMalformedHtlc(channel_id=CHANNEL, id=U64, sha256_of_onion=HASH, failure_code=0xC005),
        a("UpdateFailMalformedHtlc", CHANNEL, U64, HASH, 0xC005),
    ),
    (
        CommitmentSigned(
            channel_id=CHANNEL,
            signature=SIGNATURES[0],
            htlc_signature=(SIGNATURES[1], SIGNATURES[2]),
            tlvs=CommitmentSignedTlvs(unknown=UNKNOWN),
        ),
        a("CommitSig", CHANNEL, SIGNATURES[0], SIGNATURES[1:3], tlvs()),
    ),
    (
        RevokeAndAck(
            channel_id=CHANNEL,
            per_commitment_secret=SECRET,
            next_per_commitment_point=POINTS[0],
            extension=wire.write_tlv_records(UNKNOWN),
        ),
        a("RevokeAndAck", CHANNEL, SECRET, POINTS[0], tlvs()),
    ),
    (UpdateFee(channel_id=CHANNEL, feerate_per_kw=I32), a("UpdateFee", CHANNEL, I32)),
    (
        ChannelReestablish(
            channel_id=CHANNEL,
            next_commitment_number=6,
            next_revocation_number=U64,
            your_last_per_commitment_secret=SECRET,
            my_current_per_commitment_point=POINTS[0],
            tlvs=ChannelReestablishTlvs(unknown=UNKNOWN),
        ),
        a("ChannelReestablish", CHANNEL, 6, U64, SECRET, POINTS[0], tlvs()),
    ),
    (OnionMessage(path_key=POINTS[0], onion_message_packet=PACKET), a("OnionMessage", POINTS[0], onion(PACKET))),
    (
        OnionMessage(path_key=POINTS[0], onion_message_packet=PACKET[:-32] + bytes(32_834 - 1366) + PACKET[-32:]),
        a("OnionMessage", POINTS[0], onion(PACKET[:-32] + bytes(32_834 - 1366) + PACKET[-32:])),
    ),
    (
        AnnouncementSignatures(
            channel_id=CHANNEL, short_channel_id=SCID, node_signature=SIGNATURES[0], bitcoin_signature=SIGNATURES[1]
        ),
        a("AnnouncementSignatures", CHANNEL, SCID, *SIGNATURES[:2]),
    ),
    (
        ChannelAnnouncement(
            node_signature_1=SIGNATURES[0],
            node_signature_2=SIGNATURES[1],
            bitcoin_signature_1=SIGNATURES[2],
            bitcoin_signature_2=SIGNATURES[3],
            features=b"\x80\x00",
            chain_hash=CHAIN,
            short_channel_id=SCID,
            node_id_1=POINTS[0],
            node_id_2=POINTS[1],
            bitcoin_key_1=POINTS[2],
            bitcoin_key_2=POINTS[3],
            extension=wire.write_tlv_records(UNKNOWN),
        ),
        a(
            "ChannelAnnouncement",
            *SIGNATURES,
            *(b"\x80\x00", CHAIN, SCID),
            *POINTS[:4],
            wire.write_tlv_records(UNKNOWN),
        ),
    ),
    (
        ChannelUpdate(
            signature=SIGNATURES[0],
            chain_hash=CHAIN,
            short_channel_id=SCID,
            timestamp=I32,
            message_flags=255,
            channel_flags=129,
            cltv_expiry_delta=U16,
            htlc_minimum_msat=1,
            fee_base_msat=I32 - 1,
            fee_proportional_millionths=I32 - 2,
            htlc_maximum_msat=U64,
            extension=wire.write_tlv_records(UNKNOWN),
        ),
        a(
            "ChannelUpdate",
            *(SIGNATURES[0], CHAIN, SCID, I32, 255, 129, U16, 1, I32 - 1, I32 - 2, U64),
            wire.write_tlv_records(UNKNOWN),
        ),
    ),
]
