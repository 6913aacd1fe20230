"""BOLT 12's TLV streams as they are declared: offers, invoice requests, invoices, and errors. Declarations only.

Names and types are the BOLT's. An invoice request has an offer's fields as well, and an invoice has both.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from triolight import wire
from triolight.errors import DecodeError
from triolight.messages import BlindedPath, Structure, Tlv, TlvStream, structure, tlv_stream

__all__ = [
    "Bip353Name",
    "BlindedPayinfo",
    "FallbackAddress",
    "InvoiceErrorTlvs",
    "InvoiceRequestTlvs",
    "InvoiceTlvs",
    "OfferTlvs",
]


class _Utf8(wire.Remainder):
    """Text, kept as its bytes: whoever shows them makes them printable."""

    def read(self, data: bytes, at: int, end: int) -> tuple[bytes, int]:
        value, stop = super().read(data, at, end)
        problem = self.check(value)
        if problem:
            raise DecodeError(problem, offset=at)
        return value, stop

    def check(self, value: Any) -> str | None:
        problem = super().check(value)
        if problem:
            return problem
        try:
            value.decode()
        except UnicodeDecodeError as error:
            return f"no UTF-8 at its byte {error.start}"
        return None


utf8: TypeAlias = Annotated[bytes, _Utf8()]
paths: TypeAlias = wire.rest[BlindedPath]
chains: TypeAlias = wire.rest[wire.chain_hash]


@structure
class Bip353Name(Structure):
    """What a person's address was, from which the offer came: ``name@domain``."""

    name: wire.array8[wire.byte]
    domain: wire.array8[wire.byte]


@structure
class BlindedPayinfo(Structure):
    """What a payment over one blinded path costs, all its hops together."""

    fee_base_msat: wire.u32
    fee_proportional_millionths: wire.u32
    cltv_expiry_delta: wire.u16
    htlc_minimum_msat: wire.u64
    htlc_maximum_msat: wire.u64
    features: wire.bytes16


@structure
class FallbackAddress(Structure):
    """A place on the chain that may be paid instead: a witness program."""

    version: wire.byte
    address: wire.bytes16


@tlv_stream
class OfferTlvs(TlvStream):
    """What somebody offers."""

    offer_chains: Annotated[chains | None, Tlv(2, "chains")] = None
    offer_metadata: Annotated[wire.remainder | None, Tlv(4, "data")] = None
    offer_currency: Annotated[utf8 | None, Tlv(6, "iso4217")] = None
    offer_amount: Annotated[wire.tu64 | None, Tlv(8, "amount")] = None
    offer_description: Annotated[utf8 | None, Tlv(10, "description")] = None
    offer_features: Annotated[wire.remainder | None, Tlv(12, "features")] = None
    offer_absolute_expiry: Annotated[wire.tu64 | None, Tlv(14, "seconds_from_epoch")] = None
    offer_paths: Annotated[paths | None, Tlv(16, "paths")] = None
    offer_issuer: Annotated[utf8 | None, Tlv(18, "issuer")] = None
    offer_quantity_max: Annotated[wire.tu64 | None, Tlv(20, "max")] = None
    offer_issuer_id: Annotated[wire.fresh_point | None, Tlv(22, "id")] = None


@tlv_stream
class InvoiceRequestTlvs(TlvStream):
    """What somebody asks for, who has an offer."""

    invreq_metadata: Annotated[wire.remainder | None, Tlv(0, "blob")] = None
    offer_chains: Annotated[chains | None, Tlv(2, "chains")] = None
    offer_metadata: Annotated[wire.remainder | None, Tlv(4, "data")] = None
    offer_currency: Annotated[utf8 | None, Tlv(6, "iso4217")] = None
    offer_amount: Annotated[wire.tu64 | None, Tlv(8, "amount")] = None
    offer_description: Annotated[utf8 | None, Tlv(10, "description")] = None
    offer_features: Annotated[wire.remainder | None, Tlv(12, "features")] = None
    offer_absolute_expiry: Annotated[wire.tu64 | None, Tlv(14, "seconds_from_epoch")] = None
    offer_paths: Annotated[paths | None, Tlv(16, "paths")] = None
    offer_issuer: Annotated[utf8 | None, Tlv(18, "issuer")] = None
    offer_quantity_max: Annotated[wire.tu64 | None, Tlv(20, "max")] = None
    offer_issuer_id: Annotated[wire.point | None, Tlv(22, "id")] = None
    invreq_chain: Annotated[wire.chain_hash | None, Tlv(80, "chain")] = None
    invreq_amount: Annotated[wire.tu64 | None, Tlv(82, "msat")] = None
    invreq_features: Annotated[wire.remainder | None, Tlv(84, "features")] = None
    invreq_quantity: Annotated[wire.tu64 | None, Tlv(86, "quantity")] = None
    invreq_payer_id: Annotated[wire.fresh_point | None, Tlv(88, "key")] = None
    invreq_payer_note: Annotated[utf8 | None, Tlv(89, "note")] = None
    invreq_paths: Annotated[paths | None, Tlv(90, "paths")] = None
    invreq_bip_353_name: Annotated[Bip353Name | None, Tlv(91)] = None
    signature: Annotated[wire.signature | None, Tlv(240, "sig")] = None


@tlv_stream
class InvoiceTlvs(TlvStream):
    """What somebody wants to be paid, who was asked."""

    invreq_metadata: Annotated[wire.remainder | None, Tlv(0, "blob")] = None
    offer_chains: Annotated[chains | None, Tlv(2, "chains")] = None
    offer_metadata: Annotated[wire.remainder | None, Tlv(4, "data")] = None
    offer_currency: Annotated[utf8 | None, Tlv(6, "iso4217")] = None
    offer_amount: Annotated[wire.tu64 | None, Tlv(8, "amount")] = None
    offer_description: Annotated[utf8 | None, Tlv(10, "description")] = None
    offer_features: Annotated[wire.remainder | None, Tlv(12, "features")] = None
    offer_absolute_expiry: Annotated[wire.tu64 | None, Tlv(14, "seconds_from_epoch")] = None
    offer_paths: Annotated[paths | None, Tlv(16, "paths")] = None
    offer_issuer: Annotated[utf8 | None, Tlv(18, "issuer")] = None
    offer_quantity_max: Annotated[wire.tu64 | None, Tlv(20, "max")] = None
    offer_issuer_id: Annotated[wire.point | None, Tlv(22, "id")] = None
    invreq_chain: Annotated[wire.chain_hash | None, Tlv(80, "chain")] = None
    invreq_amount: Annotated[wire.tu64 | None, Tlv(82, "msat")] = None
    invreq_features: Annotated[wire.remainder | None, Tlv(84, "features")] = None
    invreq_quantity: Annotated[wire.tu64 | None, Tlv(86, "quantity")] = None
    invreq_payer_id: Annotated[wire.fresh_point | None, Tlv(88, "key")] = None
    invreq_payer_note: Annotated[utf8 | None, Tlv(89, "note")] = None
    invreq_paths: Annotated[paths | None, Tlv(90, "paths")] = None
    invreq_bip_353_name: Annotated[Bip353Name | None, Tlv(91)] = None
    invoice_paths: Annotated[paths | None, Tlv(160, "paths")] = None
    invoice_blindedpay: Annotated[wire.rest[BlindedPayinfo] | None, Tlv(162, "payinfo")] = None
    invoice_created_at: Annotated[wire.tu64 | None, Tlv(164, "timestamp")] = None
    invoice_relative_expiry: Annotated[wire.tu32 | None, Tlv(166, "seconds_from_creation")] = None
    invoice_payment_hash: Annotated[wire.sha256 | None, Tlv(168, "payment_hash")] = None
    invoice_amount: Annotated[wire.tu64 | None, Tlv(170, "msat")] = None
    invoice_fallbacks: Annotated[wire.rest[FallbackAddress] | None, Tlv(172, "fallbacks")] = None
    invoice_features: Annotated[wire.remainder | None, Tlv(174, "features")] = None
    invoice_node_id: Annotated[wire.fresh_point | None, Tlv(176, "node_id")] = None
    signature: Annotated[wire.signature | None, Tlv(240, "sig")] = None


@tlv_stream
class InvoiceErrorTlvs(TlvStream):
    """Why somebody does not give an invoice, or does not pay one."""

    erroneous_field: Annotated[wire.tu64 | None, Tlv(1, "tlv_fieldnum")] = None
    suggested_value: Annotated[wire.remainder | None, Tlv(3, "value")] = None
    error: Annotated[utf8 | None, Tlv(5, "msg")] = None
