"""BOLT 4: onion messages. Declarations only."""

from __future__ import annotations

from triolight import wire
from triolight.messages.declare import Message, message


@message(513)
class OnionMessage(Message):
    """An onion-encrypted message for this node or to pass on, with the key of its blinded path."""

    path_key: wire.point
    onion_message_packet: wire.bytes16
