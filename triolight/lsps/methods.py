"""The methods of LSPS0, 1, 2 and 5 as a table: what each takes and gives. What a server has beside them is its own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from triolight.errors import DecodeError
from triolight.lsps.fields import Record
from triolight.lsps.lsps0 import Nothing, Protocols
from triolight.lsps.lsps1 import CreateOrder, GetOrder, Order, OrderOptions
from triolight.lsps.lsps2 import Buy, FeeMenu, GetFees, JitChannel
from triolight.lsps.lsps5 import AppNames, RemoveWebhook, SetWebhook, WebhookSet
from triolight.lsps.rpc import Json, LspsCode, LspsError

__all__ = ["LIST_PROTOCOLS", "METHODS", "Method", "check_params", "protocol_of", "protocols_of"]

LIST_PROTOCOLS: Final = "lsps0.list_protocols"
"""The one method that each provider has."""
_METHOD: Final = re.compile(r"lsps([0-9]{1,5})\..+", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Method:
    """What a method takes and gives."""

    name: str
    params: type[Record]
    result: type[Record]


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        method.name: method
        for method in (
            Method(LIST_PROTOCOLS, Nothing, Protocols),
            Method("lsps1.get_info", Nothing, OrderOptions),
            Method("lsps1.create_order", CreateOrder, Order),
            Method("lsps1.get_order", GetOrder, Order),
            Method("lsps2.get_info", GetFees, FeeMenu),
            Method("lsps2.buy", Buy, JitChannel),
            Method("lsps5.set_webhook", SetWebhook, WebhookSet),
            Method("lsps5.list_webhooks", Nothing, AppNames),
            Method("lsps5.remove_webhook", RemoveWebhook, Nothing),
        )
    }
)
"""Each by its name."""


def protocol_of(method: str) -> int | None:
    """The number of the protocol that a method is of; None if it is of none."""
    found = _METHOD.fullmatch(method)
    return int(found[1]) if found else None


def protocols_of(methods: Iterable[str]) -> tuple[int, ...]:
    """What a server with these methods answers to lsps0.list_protocols."""
    return tuple(sorted({number for number in map(protocol_of, methods) if number}))


def check_params(method: str, params: Mapping[str, Json]) -> None:
    """LspsError, as a server answers it, for parameters that a method of the table does not know, or does not take."""
    known = METHODS.get(method)
    if known is None:
        return
    unknown = sorted(params.keys() - known.params.names())
    if unknown:
        raise LspsError(LspsCode.INVALID_PARAMS, data={"unrecognized": unknown})
    try:
        known.params.from_json(params)
    except DecodeError as error:
        # bLIP 51 has a form of its own for this.
        data: Json = {"unrecognized": []}
        if protocol_of(method) == 1:
            data = {"property": error.field, "message": error.why}
        raise LspsError(LspsCode.INVALID_PARAMS, str(error), data) from None
