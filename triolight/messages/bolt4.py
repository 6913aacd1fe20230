"""BOLT 4: onion messages, and what stands inside them once it is decrypted. Declarations only; nothing is peeled."""

from __future__ import annotations

from typing import Annotated

from triolight import wire
from triolight.messages.declare import message, structure, tlv_stream
from triolight.messages.structures import Message, Structure, Tlv, TlvStream


@message(513, sealed=True)
class OnionMessage(Message):
    """An onion-encrypted message for this node or to pass on, with the key of its blinded path."""

    path_key: wire.fresh_point
    onion_message_packet: wire.bytes16


@structure
class OnionMessagePacket(Structure):
    """The `onion_message_packet` of an onion_message: 1,366 or 32,834 bytes as a rule."""

    version: wire.byte
    public_key: wire.fresh_point
    onionmsg_payloads: wire.remainder_but_32
    hmac: wire.bytes32


@structure
class BlindedPathHop(Structure):
    blinded_node_id: wire.fresh_point
    encrypted_recipient_data: wire.bytes16


@structure
class BlindedPath(Structure):
    """A way to a node that does not say who it is."""

    first_node_id: wire.sciddir_or_pubkey
    first_path_key: wire.fresh_point
    path: wire.array8[BlindedPathHop]


@tlv_stream
class OnionmsgTlv(TlvStream):
    """One hop's payload of an onion message."""

    reply_path: Annotated[BlindedPath | None, Tlv(2, "path")] = None
    encrypted_recipient_data: Annotated[wire.remainder | None, Tlv(4)] = None
    invoice_request: Annotated[wire.remainder | None, Tlv(64, "invreq")] = None
    invoice: Annotated[wire.remainder | None, Tlv(66, "inv")] = None
    invoice_error: Annotated[wire.remainder | None, Tlv(68, "inverr")] = None


@structure
class PaymentRelay(Structure):
    cltv_expiry_delta: wire.u16
    fee_proportional_millionths: wire.u32
    fee_base_msat: wire.tu32


@structure
class PaymentConstraints(Structure):
    max_cltv_expiry: wire.u32
    htlc_minimum_msat: wire.tu64


@tlv_stream
class EncryptedDataTlv(TlvStream):
    """What the maker of a blinded path tells one of its hops, once it is decrypted."""

    padding: Annotated[wire.remainder | None, Tlv(1)] = None
    short_channel_id: Annotated[wire.short_channel_id | None, Tlv(2)] = None
    next_node_id: Annotated[wire.fresh_point | None, Tlv(4, "node_id")] = None
    path_id: Annotated[wire.remainder | None, Tlv(6, "data")] = None
    next_path_key_override: Annotated[wire.fresh_point | None, Tlv(8, "path_key")] = None
    payment_relay: Annotated[PaymentRelay | None, Tlv(10)] = None
    payment_constraints: Annotated[PaymentConstraints | None, Tlv(12)] = None
    allowed_features: Annotated[wire.remainder | None, Tlv(14, "features")] = None
