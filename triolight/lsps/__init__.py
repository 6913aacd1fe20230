"""LSPS0, 1, 2 and 5 (bLIP 50, 51, 52, 55): what stands in their messages. Only puts together what the other files have.

Names are loaded when they are first used (PEP 562): who talks to peers and to no provider does not load them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.lsps.asking import LspsStatistics as LspsStatistics
    from triolight.lsps.fields import Amount as Amount
    from triolight.lsps.fields import Count as Count
    from triolight.lsps.fields import Flag as Flag
    from triolight.lsps.fields import Record as Record
    from triolight.lsps.fields import Scid as Scid
    from triolight.lsps.fields import Text as Text
    from triolight.lsps.fields import Time as Time
    from triolight.lsps.lsps0 import Nothing as Nothing
    from triolight.lsps.lsps0 import Protocols as Protocols
    from triolight.lsps.lsps1 import Bolt11Payment as Bolt11Payment
    from triolight.lsps.lsps1 import Bolt12Payment as Bolt12Payment
    from triolight.lsps.lsps1 import CreateOrder as CreateOrder
    from triolight.lsps.lsps1 import GetOrder as GetOrder
    from triolight.lsps.lsps1 import OnchainPayment as OnchainPayment
    from triolight.lsps.lsps1 import Order as Order
    from triolight.lsps.lsps1 import OrderChannel as OrderChannel
    from triolight.lsps.lsps1 import OrderOptions as OrderOptions
    from triolight.lsps.lsps1 import OrderPayment as OrderPayment
    from triolight.lsps.lsps1 import Payment as Payment
    from triolight.lsps.lsps2 import Buy as Buy
    from triolight.lsps.lsps2 import FeeMenu as FeeMenu
    from triolight.lsps.lsps2 import GetFees as GetFees
    from triolight.lsps.lsps2 import JitChannel as JitChannel
    from triolight.lsps.lsps2 import OpeningFeeParams as OpeningFeeParams
    from triolight.lsps.lsps2 import opening_fee as opening_fee
    from triolight.lsps.lsps5 import AppNames as AppNames
    from triolight.lsps.lsps5 import RemoveWebhook as RemoveWebhook
    from triolight.lsps.lsps5 import SetWebhook as SetWebhook
    from triolight.lsps.lsps5 import WebhookSet as WebhookSet
    from triolight.lsps.lsps5 import sign_notification as sign_notification
    from triolight.lsps.lsps5 import verify_notification as verify_notification
    from triolight.lsps.methods import LIST_PROTOCOLS as LIST_PROTOCOLS
    from triolight.lsps.methods import METHODS as METHODS
    from triolight.lsps.methods import Method as Method
    from triolight.lsps.methods import check_params as check_params
    from triolight.lsps.methods import protocol_of as protocol_of
    from triolight.lsps.methods import protocols_of as protocols_of
    from triolight.lsps.rpc import Answer as Answer
    from triolight.lsps.rpc import Json as Json
    from triolight.lsps.rpc import JsonText as JsonText
    from triolight.lsps.rpc import LspsCode as LspsCode
    from triolight.lsps.rpc import LspsError as LspsError
    from triolight.lsps.rpc import Notification as Notification
    from triolight.lsps.rpc import PayloadTooLong as PayloadTooLong
    from triolight.lsps.rpc import Request as Request
    from triolight.lsps.rpc import encode_error as encode_error
    from triolight.lsps.rpc import encode_notification as encode_notification
    from triolight.lsps.rpc import encode_request as encode_request
    from triolight.lsps.rpc import encode_result as encode_result
    from triolight.lsps.rpc import members as members
    from triolight.lsps.rpc import new_id as new_id
    from triolight.lsps.rpc import read_answer as read_answer
    from triolight.lsps.rpc import read_request as read_request
    from triolight.lsps.rpc import read_value as read_value
    from triolight.lsps.rpc import write_value as write_value
    from triolight.lsps.signatures import recover_ln_signature as recover_ln_signature
    from triolight.lsps.signatures import sign_ln_message as sign_ln_message
    from triolight.lsps.signatures import verify_ln_signature as verify_ln_signature

__all__ = [
    "LIST_PROTOCOLS",
    "METHODS",
    "Amount",
    "Answer",
    "AppNames",
    "Bolt11Payment",
    "Bolt12Payment",
    "Buy",
    "Count",
    "CreateOrder",
    "FeeMenu",
    "Flag",
    "GetFees",
    "GetOrder",
    "JitChannel",
    "Json",
    "JsonText",
    "LspsCode",
    "LspsError",
    "LspsStatistics",
    "Method",
    "Nothing",
    "Notification",
    "OnchainPayment",
    "OpeningFeeParams",
    "Order",
    "OrderChannel",
    "OrderOptions",
    "OrderPayment",
    "PayloadTooLong",
    "Payment",
    "Protocols",
    "Record",
    "RemoveWebhook",
    "Request",
    "Scid",
    "SetWebhook",
    "Text",
    "Time",
    "WebhookSet",
    "check_params",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
    "members",
    "new_id",
    "opening_fee",
    "protocol_of",
    "protocols_of",
    "read_answer",
    "read_request",
    "read_value",
    "recover_ln_signature",
    "sign_ln_message",
    "sign_notification",
    "verify_ln_signature",
    "verify_notification",
    "write_value",
]

_HOMES = {
    name: home
    for home, names in {
        "asking": ("LspsStatistics",),
        "fields": (
            "Amount",
            "Count",
            "Flag",
            "Record",
            "Scid",
            "Text",
            "Time",
        ),
        "lsps0": (
            "Nothing",
            "Protocols",
        ),
        "lsps1": (
            "Bolt11Payment",
            "Bolt12Payment",
            "CreateOrder",
            "GetOrder",
            "OnchainPayment",
            "Order",
            "OrderChannel",
            "OrderOptions",
            "OrderPayment",
            "Payment",
        ),
        "lsps2": (
            "Buy",
            "FeeMenu",
            "GetFees",
            "JitChannel",
            "OpeningFeeParams",
            "opening_fee",
        ),
        "lsps5": (
            "AppNames",
            "RemoveWebhook",
            "SetWebhook",
            "WebhookSet",
            "sign_notification",
            "verify_notification",
        ),
        "methods": (
            "LIST_PROTOCOLS",
            "METHODS",
            "Method",
            "check_params",
            "protocol_of",
            "protocols_of",
        ),
        "rpc": (
            "Answer",
            "Json",
            "JsonText",
            "LspsCode",
            "LspsError",
            "Notification",
            "PayloadTooLong",
            "Request",
            "encode_error",
            "encode_notification",
            "encode_request",
            "encode_result",
            "members",
            "new_id",
            "read_answer",
            "read_request",
            "read_value",
            "write_value",
        ),
        "signatures": (
            "recover_ln_signature",
            "sign_ln_message",
            "verify_ln_signature",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.lsps.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
