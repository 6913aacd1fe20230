"""Offers and invoices for people, a line for each field, and as JSON. Reads and asks nothing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from triolight.chains import chain_name
from triolight.messages import BlindedPath
from triolight.onion import BlindedPayinfo, Invoice, InvoiceTlvs, OfferTlvs
from triolight.text import printable
from triolight.wire import ShortChannelId, TlvRecord

SHOWN_UNKNOWN: Final = 64
"""Bytes of a record that nobody knows, in words; --json has all."""


def offer_fields(tlvs: OfferTlvs | InvoiceTlvs) -> dict[str, Any]:
    """What an offer says, or an invoice of the offer that it is for. Text as it is: JSON escapes it, and `in_words`."""
    foreign = tlvs.offer_currency is not None
    return {
        "issuer_id": hexed(tlvs.offer_issuer_id),
        "issuer": text_of(tlvs.offer_issuer),
        "description": text_of(tlvs.offer_description),
        "amount_msat": None if foreign else tlvs.offer_amount,
        "currency": text_of(tlvs.offer_currency),
        "amount": tlvs.offer_amount if foreign else None,
        "quantity_max": tlvs.offer_quantity_max,
        "expires_at": tlvs.offer_absolute_expiry,
        "chains": None if tlvs.offer_chains is None else [chain_name(one) for one in tlvs.offer_chains],
        "features": hexed(tlvs.offer_features),
        "metadata": hexed(tlvs.offer_metadata),
        "paths": [path_fields(path) for path in tlvs.offer_paths or ()],
    }


def invoice_fields(invoice: Invoice) -> dict[str, Any]:
    """What an invoice says, and what it is for."""
    tlvs = invoice.tlvs
    both = zip(tlvs.invoice_paths or (), tlvs.invoice_blindedpay or (), strict=True)
    offer = offer_fields(tlvs)
    return {
        "invoice": invoice.data.hex(),
        "amount_msat": invoice.amount_msat,
        "payment_hash": invoice.payment_hash.hex(),
        "node_id": invoice.node_id.hex(),
        "created_at": invoice.created_at,
        "expires_at": invoice.expires_at,
        "description": offer["description"],
        "issuer": offer["issuer"],
        "quantity": tlvs.invreq_quantity,
        "payer_id": hexed(tlvs.invreq_payer_id),
        "payer_note": text_of(tlvs.invreq_payer_note),
        "chain": None if tlvs.invreq_chain is None else chain_name(tlvs.invreq_chain),
        "features": hexed(tlvs.invoice_features),
        "paths": [path_fields(path) | payinfo_fields(info) for path, info in both],
        "fallbacks": [{"version": one.version, "address": one.address.hex()} for one in invoice.fallbacks],
        "offer": {name: value for name, value in offer.items() if name not in ("description", "issuer")},
        "unknown": unknown_fields(tlvs.unknown),
    }


def path_fields(path: BlindedPath) -> dict[str, Any]:
    """Where a path begins, by its node or by a channel and its direction, and how many hops it has."""
    first = path.first_node_id
    if len(first) == 9:
        begins = {"short_channel_id": str(ShortChannelId(int.from_bytes(first[1:], "big"))), "direction": first[0]}
    else:
        begins = {"first_node_id": first.hex()}
    return {**begins, "hops": len(path.path)}


def payinfo_fields(info: BlindedPayinfo) -> dict[str, Any]:
    """What a payment over a path costs."""
    return {
        "fee_base_msat": info.fee_base_msat,
        "fee_proportional_millionths": info.fee_proportional_millionths,
        "cltv_expiry_delta": info.cltv_expiry_delta,
        "htlc_minimum_msat": info.htlc_minimum_msat,
        "htlc_maximum_msat": info.htlc_maximum_msat,
    }


def unknown_fields(records: Sequence[TlvRecord]) -> list[dict[str, Any]]:
    return [{"type": record.type, "value": record.value.hex()} for record in records]


def text_of(value: bytes | None) -> str | None:
    return None if value is None else value.decode()


def hexed(value: bytes | None) -> str | None:
    return None if value is None else value.hex()


def in_words(fields: dict[str, Any], indent: str = "  ") -> str:
    """A line for each field that is there."""
    lines: list[str] = []
    for name, value in fields.items():
        if value is None or value == []:
            continue
        if isinstance(value, dict):
            inner = in_words(cast("dict[str, Any]", value), indent + "  ")
            lines += [f"{indent}{name}:", inner] if inner else []
        elif isinstance(value, list):
            items = cast("list[Any]", value)  # type: ignore[redundant-cast]
            lines += [f"{indent}{name}: {_short(one)}" for one in items]
        elif name.endswith("_at"):
            lines.append(f"{indent}{name}: {value}{_date(value)}")
        else:
            lines.append(f"{indent}{name}: {printable(str(value))}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        fields = cast("dict[str, Any]", value)
        return ", ".join(f"{name} {printable(str(one), 2 * SHOWN_UNKNOWN)}" for name, one in fields.items())
    return printable(str(value))


def _date(seconds: int) -> str:
    try:
        return f" ({datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC)"
    except (OverflowError, ValueError, OSError):
        return ""  # further off than a calendar goes
