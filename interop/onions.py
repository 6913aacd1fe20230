"""Nodes of ours that take onion messages, and messages of which some are dropped: what each implementation makes of
them is asked by the same ones."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol

import trio

from triolight import NodeAddress, NullLogger, Peer, PeerNursery, open_peers
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv, OnionMessage
from triolight.onion import (
    Delivery,
    OnionDropped,
    OnionGraph,
    OnionMessenger,
    blind,
    blind_route,
    build_packet,
    open_message,
    seal,
)
from triolight.services import Messenger, OnionInbox, open_onion_messenger
from triolight.wire import ShortChannelId, TlvRecord, write_tlv_records

OWN: Final = 77
OTHER: Final = 1001
"""Types of messages that are their user's own."""


class Listens(Protocol):
    """Whom we dial, on loopback."""

    @property
    def node_id(self) -> bytes: ...

    @property
    def port(self) -> int: ...


class OnionNode:
    """One of ours that takes onion messages."""

    def __init__(self, secret: bytes, peers: PeerNursery, messenger: Messenger) -> None:
        self.secret, self.peers, self.messenger = secret, peers, messenger
        self.node_id = messenger.onions.node_id

    async def dial(self, node: Listens) -> Peer:
        """Returns when both sides have taken the other's Init."""
        peer = await self.peers.connect(NodeAddress(node.node_id, "127.0.0.1", node.port))
        await peer.ping()
        return peer

    async def push(self, peer: Peer, message: OnionMessage) -> None:
        """A message as it is. Returns when the peer has read it."""
        await peer.send(message)
        await peer.ping()


@asynccontextmanager
async def open_onion_node(secret: bytes | None = None, graph: OnionGraph | None = None) -> AsyncIterator[OnionNode]:
    secret = secret or os.urandom(32)
    onions = OnionMessenger(secret, os.urandom(32), graph=graph)
    async with (
        open_peers(secret, onion_handler=onions, logger=NullLogger()) as peers,
        open_onion_messenger(peers, onions) as messenger,
    ):
        yield OnionNode(secret, peers, messenger)


def sealed(path: BlindedPath, records: list[tuple[int, bytes]]) -> OnionMessage:
    """To the only hop of a path, these records and no others."""
    [hop] = path.path
    payload = write_tlv_records([TlvRecord(*one) for one in records])
    packet = build_packet(os.urandom(32), [(hop.blinded_node_id, payload)], 1300)
    return OnionMessage(path_key=path.first_path_key, onion_message_packet=packet)


def told(node_id: bytes, data: EncryptedDataTlv) -> BlindedPath:
    return blind_route(os.urandom(32), (node_id,), data)


def flipped(message: OnionMessage, at: int) -> OnionMessage:
    packet = bytearray(message.onion_message_packet)
    packet[at] ^= 1
    return message.replace(onion_message_packet=bytes(packet))


def final_messages(to: bytes) -> dict[str, OnionMessage]:
    """For a node, each with its place among these as what it says."""
    found: dict[str, OnionMessage] = {}

    def say() -> list[tuple[int, bytes]]:
        return [(OWN, bytes([len(found)]))]

    def plain() -> BlindedPath:
        return blind_route(os.urandom(32), (to,))

    def add(name: str, message: OnionMessage) -> None:
        found[name] = message

    def way_back(path: BlindedPath) -> OnionMessage:
        return seal(os.urandom(32), plain(), say(), path)

    add("plain", seal(os.urandom(32), plain(), say()))
    for size in (200, 1299, 32_768, 60_000):
        add(f"a packet of {size}", seal(os.urandom(32), plain(), say(), size=size))
    add("bytes behind the packet", seal(os.urandom(32), plain(), say()).replace(extension=bytes.fromhex("fd0fa101aa")))
    add("version 1", flipped(seal(os.urandom(32), plain(), say()), 0))
    for name, at in (("payload", 50), ("last byte of the payload", 1333), ("hmac", -1)):
        add(f"another {name}", flipped(seal(os.urandom(32), plain(), say()), at))
    key = SecretKey(os.urandom(32)).public_key
    add("another path key", seal(os.urandom(32), plain(), say()).replace(path_key=key))
    packet = seal(os.urandom(32), plain(), say()).onion_message_packet
    add("another key", seal(os.urandom(32), plain()).replace(onion_message_packet=packet[:1] + key + packet[34:]))
    add("padding", seal(os.urandom(32), told(to, EncryptedDataTlv(padding=bytes(30))), say()))
    add("a path_id that it has not made", seal(os.urandom(32), told(to, EncryptedDataTlv(path_id=b"?")), say()))
    add("features", seal(os.urandom(32), told(to, EncryptedDataTlv(allowed_features=b"\x02")), say()))
    add("no features", seal(os.urandom(32), told(to, EncryptedDataTlv(allowed_features=b"")), say()))
    path = plain()
    add("no encrypted data", sealed(path, say()))
    data = path.path[0].encrypted_recipient_data
    add("encrypted data that does not open", sealed(path, [(4, data[:-1] + b"\0"), *say()]))
    add("an odd record of its beginning", sealed(path, [(4, data), (5, b"\1"), *say()]))
    add("an even record of its beginning", sealed(path, [(4, data), (6, b"\1"), *say()]))
    add("an unknown even record", sealed(path, [(4, data), (76, b"\1"), *say()]))
    add("an unknown odd record beside what it says", sealed(path, [(4, data), (75, b"\1"), *say()]))
    add("two things", sealed(path, [(4, data), *say(), (OTHER, b"\1")]))
    add("a way back of no hops", way_back(plain().replace(path=())))
    add("a way back that begins at a channel", way_back(plain().replace(first_node_id=bytes(9))))
    return found


def ours_takes(key: SecretKey, message: OnionMessage) -> bool:
    try:
        return isinstance(open_message(key, message), Delivery)
    except OnionDropped:
        return False


def relayed_messages(relay: bytes, to: bytes, back: bytes) -> dict[str, OnionMessage]:
    """For a relay on the way to a node, or back to whom they come from; each with its place among these as what it
    says."""
    found: dict[str, OnionMessage] = {}

    def add(
        name: str, data: EncryptedDataTlv, *, node_id: bytes = to, extra: bytes = b"", features: bytes = b""
    ) -> None:
        path = blind(os.urandom(32), ((relay, data.encode()), (node_id, b"")))
        ends = (b"", write_tlv_records([TlvRecord(OWN, bytes([len(found)]))]))
        hops = [
            (hop.blinded_node_id, write_tlv_records([TlvRecord(4, hop.encrypted_recipient_data)]) + more)
            for hop, more in zip(path.path, (extra, ends[1]), strict=True)
        ]
        found[name] = OnionMessage(
            path_key=path.first_path_key, onion_message_packet=build_packet(os.urandom(32), hops, 1300)
        )

    add("plain", EncryptedDataTlv(next_node_id=to))
    add("padding", EncryptedDataTlv(padding=bytes(9), next_node_id=to))
    add("back to whom it comes from", EncryptedDataTlv(next_node_id=back), node_id=back)
    add("to nobody", EncryptedDataTlv())
    add("to who is not there", EncryptedDataTlv(next_node_id=SecretKey(os.urandom(32)).public_key))
    add("to a channel that is not known", EncryptedDataTlv(short_channel_id=ShortChannelId(1)))
    add("to a node and a channel", EncryptedDataTlv(short_channel_id=ShortChannelId(1), next_node_id=to))
    add("with a path_id", EncryptedDataTlv(next_node_id=to, path_id=b"1"))
    add("with features", EncryptedDataTlv(next_node_id=to, allowed_features=b"\x02"))
    add("with no features", EncryptedDataTlv(next_node_id=to, allowed_features=b""))
    add("with an odd record", EncryptedDataTlv(next_node_id=to), extra=bytes.fromhex("0501aa"))
    add("with an unknown even record", EncryptedDataTlv(next_node_id=to), extra=bytes.fromhex("0801aa"))
    add("with something to say", EncryptedDataTlv(next_node_id=to), extra=bytes.fromhex("4d01aa"))
    return found


async def passed_on(relay: Listens) -> set[str]:
    """Which of `relayed_messages` it passes on."""
    async with (
        open_onion_node() as ours,
        open_onion_node() as other,
        ours.messenger.subscribe() as back,
        other.messenger.subscribe() as inbox,
    ):
        peer = await ours.dial(relay)
        await other.dial(relay)
        messages = relayed_messages(relay.node_id, other.node_id, ours.node_id)
        found: set[str] = set()

        async def read(box: OnionInbox) -> None:
            async for received in box:
                type_, value = received.content or (0, b"")
                if type_ == OTHER:
                    return
                found.add(list(messages)[value[0]])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, inbox)
            nursery.start_soon(read, back)
            for message in messages.values():
                await ours.push(peer, message)
            await ours.messenger.send(other.node_id, extra={OTHER: b""}, via=relay.node_id)
            await other.messenger.send(ours.node_id, extra={OTHER: b""}, via=relay.node_id)
        return found
