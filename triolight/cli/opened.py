"""The onion in a message, opened with a node's key as that node would: layer after layer, for people and as JSON.

Nothing is passed on, and nobody is asked. What the node would drop is named.
"""

from __future__ import annotations

from typing import Any, Final

from triolight.as_json import structure_to_json
from triolight.errors import DecodeError
from triolight.keys import SecretKey
from triolight.messages import Message, OnionMessage, OnionmsgTlv, TlvStream, UnknownMessage, UpdateAddHtlc
from triolight.onion import (
    Delivery,
    InvoiceErrorTlvs,
    InvoiceRequestTlvs,
    InvoiceTlvs,
    OfferError,
    OnionDropped,
    OnionLimits,
    Record,
    open_message,
    open_packet,
)
from triolight.onion.records import read_records

MOST_LAYERS: Final = OnionLimits().own_layers + 1
"""Of one message for the same node, one in the other: as many as a messenger opens."""
_CONTENTS: Final[dict[str, type[TlvStream]]] = {
    "invoice_request": InvoiceRequestTlvs,
    "invoice": InvoiceTlvs,
    "invoice_error": InvoiceErrorTlvs,
}


def opened(key: SecretKey, message: Message | UnknownMessage) -> list[dict[str, Any]] | None:
    """What the node of this key finds in a message, a layer each; None if there is no onion in it."""
    if isinstance(message, OnionMessage):
        return _layers(key, message)
    if isinstance(message, UpdateAddHtlc):
        return [_payment(key, message)]
    return None


def _layers(key: SecretKey, message: OnionMessage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for _ in range(MOST_LAYERS):
        try:
            layer = open_message(key, message)
        except OnionDropped as dropped:
            return [*found, _dropped(dropped)]
        if isinstance(layer, Delivery):
            data = structure_to_json(layer.data)
            return [*found, {"payload": _payload(layer.payload), "encrypted_data": data}]
        message = layer.message
        if layer.next_node_id is not None:
            found.append({"next_node_id": layer.next_node_id.hex(), "next_message": message.encode().hex()})
        else:
            found.append({"short_channel_id": str(layer.short_channel_id), "next_message": message.encode().hex()})
        if layer.next_node_id != key.public_key:
            break
    return found


def _payload(payload: OnionmsgTlv) -> dict[str, Any]:
    fields = structure_to_json(payload)
    for name, stream in _CONTENTS.items():
        value = getattr(payload, name)
        if value is not None:
            try:
                fields[name] = structure_to_json(stream.decode(value))
            except DecodeError as error:
                fields[name] = {"bytes": value.hex(), "problem": str(error)}
    return fields


def _payment(key: SecretKey, message: UpdateAddHtlc) -> dict[str, Any]:
    """The payload's records as they are: what they mean, payments know."""
    try:
        layer = open_packet(key, message.onion_routing_packet, message.tlvs.blinded_path, message.payment_hash)
    except OnionDropped as dropped:
        return _dropped(dropped)
    found: dict[str, Any] = {"final": layer.next_packet is None}
    try:
        records: tuple[Record, ...] = read_records(layer.payload)
    except OfferError as error:
        return found | {"bytes": layer.payload.hex(), "problem": error.why}
    return found | {"records": [{"type": one.type, "value": one.value.hex()} for one in records]}


def _dropped(dropped: OnionDropped) -> dict[str, Any]:
    return {"dropped": dropped.drop.name, "why": dropped.drop.value}
