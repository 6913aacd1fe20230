"""BOLT 1: the messages of the connection itself, and peer storage. Declarations only."""

from __future__ import annotations

from typing import Annotated, Final

from triolight import wire
from triolight.messages.declare import message, tlv_stream
from triolight.messages.structures import Message, Tlv, TlvStream

ALL_CHANNELS: Final = bytes(32)
"""The channel_id that stands for every channel with this node (BOLT 1)."""


@tlv_stream
class InitTlvs(TlvStream):
    networks: Annotated[wire.rest[wire.chain_hash] | None, Tlv(1, "chains")] = None
    remote_addr: Annotated[wire.remainder | None, Tlv(3, "data")] = None


@message(16)
class Init(Message):
    """The first message of each side: features, the chains it serves, and the address it sees the other at."""

    globalfeatures: wire.bytes16 = b""
    features: wire.bytes16 = b""
    tlvs: InitTlvs = InitTlvs()


@message(17)
class Error(Message):
    """A channel (or, with an all-zero channel_id, every channel with this node) has failed."""

    channel_id: wire.channel_id = ALL_CHANNELS
    data: wire.bytes16 = b""


@message(1)
class Warning(Message):
    """Something is wrong, but no channel fails for it. BOLT 1: never act on it but by logging."""

    channel_id: wire.channel_id = ALL_CHANNELS
    data: wire.bytes16 = b""


@message(18)
class Ping(Message):
    """Asks for a pong of num_pong_bytes bytes; 65532 and more ask for none. `ignored` pads against traffic analysis."""

    num_pong_bytes: wire.u16 = 0
    ignored: wire.bytes16 = b""


@message(19)
class Pong(Message):
    """The answer to a ping, with as many bytes as it asked for."""

    ignored: wire.bytes16 = b""


@message(7)
class PeerStorage(Message):
    """A blob that the receiver keeps for the sender and gives back at each connection."""

    blob: wire.bytes16


@message(9)
class PeerStorageRetrieval(Message):
    """The sender's last blob, given back."""

    blob: wire.bytes16
