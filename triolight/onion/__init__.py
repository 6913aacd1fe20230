"""Onion messages and what they carry: packets, blinded paths, offers. Only puts together what the other files have.

Names are loaded when they are first used (PEP 562): who talks to peers and sends no onions does not load them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.onion.blinded import blind as blind
    from triolight.onion.blinded import blind_route as blind_route
    from triolight.onion.blinded import join as join
    from triolight.onion.blinded import next_path_key as next_path_key
    from triolight.onion.blinded import padded as padded
    from triolight.onion.blinded import unseal as unseal
    from triolight.onion.book import InvoiceTerms as InvoiceTerms
    from triolight.onion.book import OfferBook as OfferBook
    from triolight.onion.drops import Drop as Drop
    from triolight.onion.drops import OnionDropped as OnionDropped
    from triolight.onion.invoices import Invoice as Invoice
    from triolight.onion.invoices import InvoiceError as InvoiceError
    from triolight.onion.layers import Delivery as Delivery
    from triolight.onion.layers import Forward as Forward
    from triolight.onion.layers import open_message as open_message
    from triolight.onion.layers import seal as seal
    from triolight.onion.limits import OnionLimits as OnionLimits
    from triolight.onion.messenger import NoRoute as NoRoute
    from triolight.onion.messenger import OnionGraph as OnionGraph
    from triolight.onion.messenger import OnionMessenger as OnionMessenger
    from triolight.onion.messenger import OnionRequest as OnionRequest
    from triolight.onion.messenger import OnionStatistics as OnionStatistics
    from triolight.onion.messenger import ReceivedOnion as ReceivedOnion
    from triolight.onion.offers import Offer as Offer
    from triolight.onion.records import RULES as RULES
    from triolight.onion.records import OfferError as OfferError
    from triolight.onion.records import Record as Record
    from triolight.onion.records import merkle_root as merkle_root
    from triolight.onion.requests import InvoiceRequest as InvoiceRequest
    from triolight.onion.routes import GraphRoutes as GraphRoutes
    from triolight.onion.sphinx import SIZES as SIZES
    from triolight.onion.sphinx import Layer as Layer
    from triolight.onion.sphinx import build_packet as build_packet
    from triolight.onion.sphinx import framed_length as framed_length
    from triolight.onion.sphinx import open_packet as open_packet
    from triolight.onion.sphinx import size_for as size_for
    from triolight.onion.streams import Bip353Name as Bip353Name
    from triolight.onion.streams import BlindedPayinfo as BlindedPayinfo
    from triolight.onion.streams import FallbackAddress as FallbackAddress
    from triolight.onion.streams import InvoiceErrorTlvs as InvoiceErrorTlvs
    from triolight.onion.streams import InvoiceRequestTlvs as InvoiceRequestTlvs
    from triolight.onion.streams import InvoiceTlvs as InvoiceTlvs
    from triolight.onion.streams import OfferTlvs as OfferTlvs

__all__ = [
    "RULES",
    "SIZES",
    "Bip353Name",
    "BlindedPayinfo",
    "Delivery",
    "Drop",
    "FallbackAddress",
    "Forward",
    "GraphRoutes",
    "Invoice",
    "InvoiceError",
    "InvoiceErrorTlvs",
    "InvoiceRequest",
    "InvoiceRequestTlvs",
    "InvoiceTerms",
    "InvoiceTlvs",
    "Layer",
    "NoRoute",
    "Offer",
    "OfferBook",
    "OfferError",
    "OfferTlvs",
    "OnionDropped",
    "OnionGraph",
    "OnionLimits",
    "OnionMessenger",
    "OnionRequest",
    "OnionStatistics",
    "ReceivedOnion",
    "Record",
    "blind",
    "blind_route",
    "build_packet",
    "framed_length",
    "join",
    "merkle_root",
    "next_path_key",
    "open_message",
    "open_packet",
    "padded",
    "seal",
    "size_for",
    "unseal",
]

_HOMES = {
    name: home
    for home, names in {
        "blinded": ("blind", "blind_route", "join", "next_path_key", "padded", "unseal"),
        "book": ("InvoiceTerms", "OfferBook"),
        "drops": ("Drop", "OnionDropped"),
        "invoices": ("Invoice", "InvoiceError"),
        "layers": ("Delivery", "Forward", "open_message", "seal"),
        "limits": ("OnionLimits",),
        "messenger": ("NoRoute", "OnionGraph", "OnionMessenger", "OnionRequest", "OnionStatistics", "ReceivedOnion"),
        "offers": ("Offer",),
        "records": ("OfferError", "RULES", "Record", "merkle_root"),
        "requests": ("InvoiceRequest",),
        "routes": ("GraphRoutes",),
        "sphinx": ("Layer", "SIZES", "build_packet", "framed_length", "open_packet", "size_for"),
        "streams": (
            "Bip353Name",
            "BlindedPayinfo",
            "FallbackAddress",
            "InvoiceErrorTlvs",
            "InvoiceRequestTlvs",
            "InvoiceTlvs",
            "OfferTlvs",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.onion.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
