"""BOLT 2: the life of a channel. Declarations only."""

from __future__ import annotations

from typing import Annotated

from triolight import wire
from triolight.messages.declare import message, structure, tlv_stream
from triolight.messages.structures import Message, Structure, Tlv, TlvStream


@tlv_stream
class TxAddInputTlvs(TlvStream):
    shared_input_txid: Annotated[wire.sha256 | None, Tlv(0, "funding_txid")] = None


@message(66)
class TxAddInput(Message):
    """Interactive-tx: adds an input to the transaction under construction."""

    channel_id: wire.channel_id
    serial_id: wire.u64
    prevtx: wire.bytes16
    prevtx_vout: wire.u32
    sequence: wire.u32
    tlvs: TxAddInputTlvs = TxAddInputTlvs()


@message(67)
class TxAddOutput(Message):
    """Interactive-tx: adds an output."""

    channel_id: wire.channel_id
    serial_id: wire.u64
    sats: wire.u64
    script: wire.bytes16


@message(68)
class TxRemoveInput(Message):
    """Interactive-tx: takes back an input that the sender added."""

    channel_id: wire.channel_id
    serial_id: wire.u64


@message(69)
class TxRemoveOutput(Message):
    """Interactive-tx: takes back an output that the sender added."""

    channel_id: wire.channel_id
    serial_id: wire.u64


@message(70)
class TxComplete(Message):
    """Interactive-tx: the sender has nothing to add; two in a row end the construction."""

    channel_id: wire.channel_id


@structure
class Witness(Structure):
    witness_data: wire.bytes16


@tlv_stream
class TxSignaturesTlvs(TlvStream):
    shared_input_signature: Annotated[wire.signature | None, Tlv(0, "signature")] = None


@message(71)
class TxSignatures(Message):
    """Interactive-tx: the witnesses of the sender's inputs."""

    channel_id: wire.channel_id
    txid: wire.sha256
    witnesses: wire.array16[Witness]
    tlvs: TxSignaturesTlvs = TxSignaturesTlvs()


@tlv_stream
class TxInitRbfTlvs(TlvStream):
    funding_output_contribution: Annotated[wire.s64 | None, Tlv(0, "satoshis")] = None
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(72)
class TxInitRbf(Message):
    """Starts a replacement of the transaction with a higher fee."""

    channel_id: wire.channel_id
    locktime: wire.u32
    feerate: wire.u32
    tlvs: TxInitRbfTlvs = TxInitRbfTlvs()


@tlv_stream
class TxAckRbfTlvs(TlvStream):
    funding_output_contribution: Annotated[wire.s64 | None, Tlv(0, "satoshis")] = None
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(73)
class TxAckRbf(Message):
    """Agrees to the replacement."""

    channel_id: wire.channel_id
    tlvs: TxAckRbfTlvs = TxAckRbfTlvs()


@message(74)
class TxAbort(Message):
    """Ends a construction without failing the channel."""

    channel_id: wire.channel_id
    data: wire.bytes16


@tlv_stream
class OpenChannelTlvs(TlvStream):
    upfront_shutdown_script: Annotated[wire.remainder | None, Tlv(0, "shutdown_scriptpubkey")] = None
    channel_type: Annotated[wire.remainder | None, Tlv(1, "type")] = None


@message(32)
class OpenChannel(Message):
    """Asks for a channel (v1): the opener's terms, limits and keys."""

    chain_hash: wire.chain_hash
    temporary_channel_id: wire.bytes32
    funding_satoshis: wire.u64
    push_msat: wire.u64
    dust_limit_satoshis: wire.u64
    max_htlc_value_in_flight_msat: wire.u64
    channel_reserve_satoshis: wire.u64
    htlc_minimum_msat: wire.u64
    feerate_per_kw: wire.u32
    to_self_delay: wire.u16
    max_accepted_htlcs: wire.u16
    funding_pubkey: wire.point
    revocation_basepoint: wire.point
    payment_basepoint: wire.point
    delayed_payment_basepoint: wire.point
    htlc_basepoint: wire.point
    first_per_commitment_point: wire.point
    channel_flags: wire.byte
    tlvs: OpenChannelTlvs = OpenChannelTlvs()


@tlv_stream
class AcceptChannelTlvs(TlvStream):
    upfront_shutdown_script: Annotated[wire.remainder | None, Tlv(0, "shutdown_scriptpubkey")] = None
    channel_type: Annotated[wire.remainder | None, Tlv(1, "type")] = None


@message(33)
class AcceptChannel(Message):
    """Agrees to open_channel with the accepter's terms and keys."""

    temporary_channel_id: wire.bytes32
    dust_limit_satoshis: wire.u64
    max_htlc_value_in_flight_msat: wire.u64
    channel_reserve_satoshis: wire.u64
    htlc_minimum_msat: wire.u64
    minimum_depth: wire.u32
    to_self_delay: wire.u16
    max_accepted_htlcs: wire.u16
    funding_pubkey: wire.point
    revocation_basepoint: wire.point
    payment_basepoint: wire.point
    delayed_payment_basepoint: wire.point
    htlc_basepoint: wire.point
    first_per_commitment_point: wire.point
    tlvs: AcceptChannelTlvs = AcceptChannelTlvs()


@message(34)
class FundingCreated(Message):
    """The funder's outpoint and its signature of the accepter's first commitment."""

    temporary_channel_id: wire.bytes32
    funding_txid: wire.sha256
    funding_output_index: wire.u16
    signature: wire.signature


@message(35)
class FundingSigned(Message):
    """The accepter's signature of the funder's first commitment; the funder may broadcast."""

    channel_id: wire.channel_id
    signature: wire.signature


@tlv_stream
class ChannelReadyTlvs(TlvStream):
    short_channel_id: Annotated[wire.short_channel_id | None, Tlv(1, "alias")] = None


@message(36)
class ChannelReady(Message):
    """The funding is deep enough for the sender: the channel may be used."""

    channel_id: wire.channel_id
    second_per_commitment_point: wire.point
    tlvs: ChannelReadyTlvs = ChannelReadyTlvs()


@tlv_stream
class OpeningTlvs(TlvStream):
    upfront_shutdown_script: Annotated[wire.remainder | None, Tlv(0, "shutdown_scriptpubkey")] = None
    channel_type: Annotated[wire.remainder | None, Tlv(1, "type")] = None
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(64)
class OpenChannel2(Message):
    """Asks for a channel (v2), funded by both through interactive-tx."""

    chain_hash: wire.chain_hash
    temporary_channel_id: wire.channel_id
    funding_feerate_perkw: wire.u32
    commitment_feerate_perkw: wire.u32
    funding_satoshis: wire.u64
    dust_limit_satoshis: wire.u64
    max_htlc_value_in_flight_msat: wire.u64
    htlc_minimum_msat: wire.u64
    to_self_delay: wire.u16
    max_accepted_htlcs: wire.u16
    locktime: wire.u32
    funding_pubkey: wire.point
    revocation_basepoint: wire.point
    payment_basepoint: wire.point
    delayed_payment_basepoint: wire.point
    htlc_basepoint: wire.point
    first_per_commitment_point: wire.point
    second_per_commitment_point: wire.point
    channel_flags: wire.byte
    tlvs: OpeningTlvs = OpeningTlvs()


@tlv_stream
class AcceptTlvs(TlvStream):
    upfront_shutdown_script: Annotated[wire.remainder | None, Tlv(0, "shutdown_scriptpubkey")] = None
    channel_type: Annotated[wire.remainder | None, Tlv(1, "type")] = None
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(65)
class AcceptChannel2(Message):
    """Agrees to open_channel2."""

    temporary_channel_id: wire.channel_id
    funding_satoshis: wire.u64
    dust_limit_satoshis: wire.u64
    max_htlc_value_in_flight_msat: wire.u64
    htlc_minimum_msat: wire.u64
    minimum_depth: wire.u32
    to_self_delay: wire.u16
    max_accepted_htlcs: wire.u16
    funding_pubkey: wire.point
    revocation_basepoint: wire.point
    payment_basepoint: wire.point
    delayed_payment_basepoint: wire.point
    htlc_basepoint: wire.point
    first_per_commitment_point: wire.point
    second_per_commitment_point: wire.point
    tlvs: AcceptTlvs = AcceptTlvs()


@message(2)
class Stfu(Message):
    """Something fundamental is about to happen: no more updates until the channel is quiescent."""

    channel_id: wire.channel_id
    initiator: wire.byte


@tlv_stream
class SpliceInitTlvs(TlvStream):
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(80)
class SpliceInit(Message):
    """Asks to replace the funding output of a quiescent channel."""

    channel_id: wire.channel_id
    funding_contribution_satoshis: wire.s64
    funding_feerate_perkw: wire.u32
    locktime: wire.u32
    funding_pubkey: wire.point
    tlvs: SpliceInitTlvs = SpliceInitTlvs()


@tlv_stream
class SpliceAckTlvs(TlvStream):
    require_confirmed_inputs: Annotated[wire.presence, Tlv(2)] = False


@message(81)
class SpliceAck(Message):
    """Agrees to the splice."""

    channel_id: wire.channel_id
    funding_contribution_satoshis: wire.s64
    funding_pubkey: wire.point
    tlvs: SpliceAckTlvs = SpliceAckTlvs()


@message(77)
class SpliceLocked(Message):
    """The splice transaction is deep enough for the sender."""

    channel_id: wire.channel_id
    splice_txid: wire.sha256


@message(38)
class Shutdown(Message):
    """No more HTLCs; the channel is to be closed, to this script."""

    channel_id: wire.channel_id
    scriptpubkey: wire.bytes16


@tlv_stream
class ClosingTlvs(TlvStream):
    closer_output_only: Annotated[wire.signature | None, Tlv(1, "sig")] = None
    closee_output_only: Annotated[wire.signature | None, Tlv(2, "sig")] = None
    closer_and_closee_outputs: Annotated[wire.signature | None, Tlv(3, "sig")] = None


@message(40)
class ClosingComplete(Message):
    """The sender's closing transaction, signed for the receiver to complete (option_simple_close)."""

    channel_id: wire.channel_id
    closer_scriptpubkey: wire.bytes16
    closee_scriptpubkey: wire.bytes16
    fee_satoshis: wire.u64
    locktime: wire.u32
    tlvs: ClosingTlvs = ClosingTlvs()


@message(41)
class ClosingSig(Message):
    """The receiver's signature of a closing_complete."""

    channel_id: wire.channel_id
    closer_scriptpubkey: wire.bytes16
    closee_scriptpubkey: wire.bytes16
    fee_satoshis: wire.u64
    locktime: wire.u32
    tlvs: ClosingTlvs = ClosingTlvs()


@structure
class FeeRange(Structure):
    min_fee_satoshis: wire.u64
    max_fee_satoshis: wire.u64


@tlv_stream
class ClosingSignedTlvs(TlvStream):
    fee_range: Annotated[FeeRange | None, Tlv(1)] = None


@message(39)
class ClosingSigned(Message):
    """A fee offer and signature in the older negotiation of a close."""

    channel_id: wire.channel_id
    fee_satoshis: wire.u64
    signature: wire.signature
    tlvs: ClosingSignedTlvs = ClosingSignedTlvs()


@tlv_stream
class UpdateAddHtlcTlvs(TlvStream):
    blinded_path: Annotated[wire.point | None, Tlv(0, "path_key")] = None


@message(128)
class UpdateAddHtlc(Message):
    """Offers an HTLC."""

    channel_id: wire.channel_id
    id: wire.u64
    amount_msat: wire.u64
    payment_hash: wire.sha256
    cltv_expiry: wire.u32
    onion_routing_packet: wire.bytes1366
    tlvs: UpdateAddHtlcTlvs = UpdateAddHtlcTlvs()


@structure
class AttributionData(Structure):
    htlc_hold_times: wire.times20[wire.u32]
    truncated_hmacs: wire.bytes840


@tlv_stream
class UpdateFulfillHtlcTlvs(TlvStream):
    attribution_data: Annotated[AttributionData | None, Tlv(1)] = None


@message(130)
class UpdateFulfillHtlc(Message):
    """Removes an HTLC by its preimage."""

    channel_id: wire.channel_id
    id: wire.u64
    payment_preimage: wire.bytes32
    tlvs: UpdateFulfillHtlcTlvs = UpdateFulfillHtlcTlvs()


@tlv_stream
class UpdateFailHtlcTlvs(TlvStream):
    attribution_data: Annotated[AttributionData | None, Tlv(1)] = None


@message(131)
class UpdateFailHtlc(Message):
    """Removes an HTLC that failed, with an encrypted reason."""

    channel_id: wire.channel_id
    id: wire.u64
    reason: wire.bytes16
    tlvs: UpdateFailHtlcTlvs = UpdateFailHtlcTlvs()


@message(135)
class UpdateFailMalformedHtlc(Message):
    """Removes an HTLC whose onion could not be parsed."""

    channel_id: wire.channel_id
    id: wire.u64
    sha256_of_onion: wire.sha256
    failure_code: wire.u16


@tlv_stream
class StartBatchTlvs(TlvStream):
    message_type: Annotated[wire.u16 | None, Tlv(1)] = None


@message(127)
class StartBatch(Message):
    """The next `batch_size` messages of this channel belong together."""

    channel_id: wire.channel_id
    batch_size: wire.u16
    tlvs: StartBatchTlvs = StartBatchTlvs()


@tlv_stream
class CommitmentSignedTlvs(TlvStream):
    funding_txid: Annotated[wire.sha256 | None, Tlv(1)] = None


@message(132)
class CommitmentSigned(Message):
    """Signs the receiver's next commitment transaction and its HTLC transactions."""

    channel_id: wire.channel_id
    signature: wire.signature
    htlc_signature: wire.array16[wire.signature]
    tlvs: CommitmentSignedTlvs = CommitmentSignedTlvs()


@message(133)
class RevokeAndAck(Message):
    """Revokes the sender's previous commitment by its secret, and gives the next point."""

    channel_id: wire.channel_id
    per_commitment_secret: wire.bytes32
    next_per_commitment_point: wire.point


@message(134)
class UpdateFee(Message):
    """Sets the commitment feerate; only the funder sends it."""

    channel_id: wire.channel_id
    feerate_per_kw: wire.u32


@structure
class NextFunding(Structure):
    next_funding_txid: wire.sha256
    retransmit_flags: wire.byte


@structure
class MyCurrentFundingLocked(Structure):
    my_current_funding_locked_txid: wire.sha256
    retransmit_flags: wire.byte


@tlv_stream
class ChannelReestablishTlvs(TlvStream):
    next_funding: Annotated[NextFunding | None, Tlv(1)] = None
    my_current_funding_locked: Annotated[MyCurrentFundingLocked | None, Tlv(5)] = None


@message(136)
class ChannelReestablish(Message):
    """Where a channel stands, sent for each one on every new connection."""

    channel_id: wire.channel_id
    next_commitment_number: wire.u64
    next_revocation_number: wire.u64
    your_last_per_commitment_secret: wire.bytes32
    my_current_per_commitment_point: wire.point
    tlvs: ChannelReestablishTlvs = ChannelReestablishTlvs()
