"""A message of one's own with TLVs: declared, sent, and understood by an older version that knows fewer of them.

python examples/own_message.py
"""

from __future__ import annotations

import secrets
from typing import Annotated

import trio

from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerManager,
    RoutingMessageHandler,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, Registry, Structure, Tlv, TlvStream, message, structure, tlv_stream


@structure
class Price(Structure):
    amount_msat: wire.u64
    valid_seconds: wire.u32


@tlv_stream
class QuoteTlvs(TlvStream):
    price: Annotated[Price | None, Tlv(1)] = None
    hops: Annotated[wire.rest[wire.point] | None, Tlv(3)] = None


@message(40003)
class Quote(Message):
    """What version 2 of our program says."""

    id: wire.bytes32
    tlvs: QuoteTlvs = QuoteTlvs()


@tlv_stream
class OldQuoteTlvs(TlvStream):
    price: Annotated[Price | None, Tlv(1)] = None


@message(40003)
class OldQuote(Message):
    """What version 1 knew of it: record 3 is odd, so it may stay unknown."""

    id: wire.bytes32
    tlvs: OldQuoteTlvs = OldQuoteTlvs()


def new_manager(messages: Registry) -> PeerManager:
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RoutingMessageHandler()),
        secrets.token_bytes(32),
        secrets.token_bytes(32),
        NullLogger(),
        messages=messages,
    )


async def main() -> None:
    old, new = new_manager(BOLT | {OldQuote}), new_manager(BOLT | {Quote})
    async with open_peer_nursery(old) as version_1, open_peer_nursery(new) as version_2:
        listeners = await version_1.listen(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with version_1.subscribe(OldQuote) as quotes:
            peer = await version_2.connect(NodeAddress(old.our_node_id, "127.0.0.1", port))
            sent = Quote(
                id=bytes(32),
                tlvs=QuoteTlvs(price=Price(amount_msat=250_000, valid_seconds=600), hops=(new.our_node_id,)),
            )
            await peer.send(sent)
            _, got = await anext(quotes)
            print("version 1 reads the price:", got.tlvs.price)
            print("version 1 keeps what it does not know, as types:", [type_ for type_, _ in got.tlvs.unknown])
            print("written again, the bytes are the same:", got.encode() == sent.encode())


if __name__ == "__main__":
    trio.run(main)
