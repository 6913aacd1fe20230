"""Messages of channels that several tests send, and one that is all unknown records. No test here."""

from __future__ import annotations

from triolight.messages import (
    AttributionData,
    ChannelReadyTlvs,
    CommitmentSigned,
    StartBatch,
    StartBatchTlvs,
    UpdateAddHtlc,
    UpdateFulfillHtlc,
    UpdateFulfillHtlcTlvs,
)
from triolight.wire import TlvRecord

OURS = b"\x0a" * 32
OTHER = b"\x0b" * 32


def commitment(number: int, channel_id: bytes = OURS, htlcs: int = 0) -> CommitmentSigned:
    one = bytes([number]) * 64
    return CommitmentSigned(channel_id=channel_id, signature=one, htlc_signature=(one,) * htlcs)


def start(size: int, message_type: int | None = 132, channel_id: bytes = OURS) -> StartBatch:
    return StartBatch(channel_id=channel_id, batch_size=size, tlvs=StartBatchTlvs(message_type=message_type))


# Changes of a channel on their way out
def add(number: int, channel_id: bytes = OURS) -> UpdateAddHtlc:
    return UpdateAddHtlc(
        channel_id=channel_id,
        id=number,
        amount_msat=1,
        payment_hash=bytes(32),
        cltv_expiry=1,
        onion_routing_packet=bytes(1366),
    )


def fulfill(number: int) -> UpdateFulfillHtlc:
    attribution = AttributionData(htlc_hold_times=(0,) * 20, truncated_hmacs=bytes(840))
    tlvs = UpdateFulfillHtlcTlvs(attribution_data=attribution)
    return UpdateFulfillHtlc(channel_id=OURS, id=number, payment_preimage=bytes(32), tlvs=tlvs)


MANY = ChannelReadyTlvs(unknown=tuple(TlvRecord(1001 + 2 * number, b"") for number in range(1000)))
