"""One onion message at one node: sealed along a blinded path, and opened by BOLT 4's rules for a reader.

Pure: a message and a key in; what is to be forwarded, or what it says, out. Whether and to whom anything goes, others
decide.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from triolight.errors import DecodeError
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv, OnionMessage, OnionmsgTlv
from triolight.onion.blinded import next_path_key, unseal
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.sphinx import Layer, build_packet, open_packet, size_for
from triolight.wire import ShortChannelId, TlvRecord, write_tlv_records

__all__ = ["FIRST_CONTENT", "Delivery", "Forward", "open_message", "seal"]

REPLY_PATH: Final = 2
ENCRYPTED_RECIPIENT_DATA: Final = 4
FIRST_CONTENT: Final = 64
"""Records of an onion message from here on are what it is about, and it is about one thing."""
_OF_A_HOP: Final = OnionmsgTlv()


@dataclass(frozen=True, slots=True)
class Forward:
    """Not for us: the message for the next node, and who that is, by its id or as the other end of a channel."""

    next_node_id: bytes | None
    short_channel_id: ShortChannelId | None
    message: OnionMessage


@dataclass(frozen=True, slots=True)
class Delivery:
    """For us: what it says, and what whoever made its path, ourselves or nobody, wrote down for us."""

    payload: OnionmsgTlv
    data: EncryptedDataTlv

    @property
    def content(self) -> TlvRecord | None:
        """What it is about, as its record; None if it is about nothing."""
        return _content(self.payload)


def seal(
    session_key: bytes,
    path: BlindedPath,
    content: Iterable[tuple[int, bytes]] = (),
    reply_path: BlindedPath | None = None,
    *,
    size: int | None = None,
) -> OnionMessage:
    """A message along a path, for the path's first node. `content`: its records, each type and value.

    The session key is 32 fresh random bytes for each message. ValueError if it does not fit, if records are given that
    are the path's own, and if two of them are what the message is about.
    """
    records = dict(content)
    if {REPLY_PATH, ENCRYPTED_RECIPIENT_DATA} & records.keys():
        raise ValueError("a reply path is given as one, and the encrypted data is the path's")
    if sum(type_ >= FIRST_CONTENT for type_ in records) > 1:
        raise ValueError("a message is about one thing")
    if reply_path is not None:
        records[REPLY_PATH] = reply_path.encode()
    if not path.path:
        raise ValueError("a path needs a hop")
    hops = [
        (hop.blinded_node_id, write_tlv_records([(ENCRYPTED_RECIPIENT_DATA, hop.encrypted_recipient_data)]))
        for hop in path.path
    ]
    records[ENCRYPTED_RECIPIENT_DATA] = path.path[-1].encrypted_recipient_data
    hops[-1] = (path.path[-1].blinded_node_id, write_tlv_records(sorted(records.items())))
    if size is None:
        size = size_for([len(payload) for _, payload in hops])
    return OnionMessage(path_key=path.first_path_key, onion_message_packet=build_packet(session_key, hops, size))


def open_message(secret_key: SecretKey, message: OnionMessage) -> Forward | Delivery:
    """Opens our layer. OnionDropped, with the reason, for what BOLT 4 has us drop."""
    layer = open_packet(secret_key, message.onion_message_packet, message.path_key)
    try:
        payload = OnionmsgTlv.decode(layer.payload)
    except DecodeError:
        raise OnionDropped(Drop.PAYLOAD) from None
    if layer.next_packet is not None:
        return _forward(message.path_key, layer, layer.next_packet, payload)
    if len(_contents(payload)) > 1:
        raise OnionDropped(Drop.SEVERAL_PAYLOADS)
    if payload.reply_path is not None and not payload.reply_path.path:
        raise OnionDropped(Drop.REPLY_PATH)
    data = EncryptedDataTlv()
    # Without any it is accepted, as others do: whoever we gave no path to has nothing of ours to show.
    if payload.encrypted_recipient_data is not None:
        data = _data_of(layer, payload.encrypted_recipient_data)
    return Delivery(payload, data)


def _forward(path_key: bytes, layer: Layer, packet: bytes, payload: OnionmsgTlv) -> Forward:
    sealed = payload.encrypted_recipient_data
    if sealed is None or payload.replace(encrypted_recipient_data=None) != _OF_A_HOP:
        raise OnionDropped(Drop.PAYLOAD_OF_HOP)
    data = _data_of(layer, sealed)
    if data.path_id is not None:
        raise OnionDropped(Drop.PATH_ID_AT_HOP)
    if data.next_node_id is None and data.short_channel_id is None:
        raise OnionDropped(Drop.NO_NEXT)
    key = next_path_key(path_key, layer.path_secret or b"", data)
    passed = OnionMessage(path_key=key, onion_message_packet=packet)
    channel = data.short_channel_id if data.next_node_id is None else None
    return Forward(data.next_node_id, channel, passed)


def _data_of(layer: Layer, sealed: bytes) -> EncryptedDataTlv:
    data = unseal(layer.path_secret or b"", sealed)
    # There is no feature of onion messages yet: whatever the maker of the path allows, nobody knows. An odd one, too.
    if data.allowed_features is not None and any(data.allowed_features):
        raise OnionDropped(Drop.FEATURES)
    return data


def _content(payload: OnionmsgTlv) -> TlvRecord | None:
    found = _contents(payload)
    return found[0] if found else None


def _contents(payload: OnionmsgTlv) -> list[TlvRecord]:
    known = ((64, payload.invoice_request), (66, payload.invoice), (68, payload.invoice_error))
    found = [TlvRecord(type_, value) for type_, value in known if value is not None]
    if payload.unknown_count:
        found += [record for record in payload.unknown if record.type >= FIRST_CONTENT]
    return found
