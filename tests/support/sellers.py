"""Nodes that sell: offers, and the invoices for whoever asks. No test here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support import identity
from tests.support.onions import key, random
from triolight.onion import BlindedPayinfo, Invoice, InvoiceRequest, InvoiceTlvs, Offer, OfferTlvs, blind_route
from triolight.services import OnionReceived

PAYINFO = BlindedPayinfo(
    fee_base_msat=0,
    fee_proportional_millionths=0,
    cltv_expiry_delta=80,
    htlc_minimum_msat=1,
    htlc_maximum_msat=10**9,
    features=b"",
)

Answer = Callable[[OnionReceived], Awaitable[None]]


def offer_of(number: int, **fields: Any) -> Offer:
    """An offer of a node."""
    given: dict[str, Any] = {"offer_issuer_id": identity(number), "offer_description": b"tea", "offer_amount": 1000}
    return Offer.make(OfferTlvs(**given | fields))


def invoice_for(request: InvoiceRequest, number: int, now: float, **fields: Any) -> Invoice:
    """What a node gives for it."""
    given: dict[str, Any] = {
        "invoice_paths": (blind_route(random(4), [identity(number)]),),
        "invoice_blindedpay": (PAYINFO,),
        "invoice_created_at": int(now),
        "invoice_payment_hash": bytes(range(32)),
        "invoice_amount": request.tlvs.invreq_amount or request.price_msat,
    }
    return Invoice.make(request, InvoiceTlvs(**given | fields), key(number), random(5))


def seller(number: int, now: float, **fields: Any) -> Answer:
    """Gives an invoice to whoever asks."""

    async def sell(received: OnionReceived) -> None:
        request = InvoiceRequest(received.payload.invoice_request or b"")
        await received.reply(invoice=invoice_for(request, number, now, **fields).data)

    return sell
