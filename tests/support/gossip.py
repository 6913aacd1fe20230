"""A small network whose gossip is signed: channels, updates and nodes as bytes, from a few keys. No test here."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from triolight.chains import REGTEST
from triolight.gossip import Found, Missing, UtxoResult, sign_announcement
from triolight.gossip.utxo import funding_script
from triolight.keys import SecretKey
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId

NOW: Final = 1_750_000_000
"""What the clock says in these tests."""
NODES: Final = tuple(sorted((SecretKey(bytes((number,)) * 32) for number in range(1, 9)), key=lambda k: k.public_key))
"""By their ids, so that the first of two is node 1 of their channel."""
FUNDING: Final = tuple(SecretKey(bytes((number,)) * 32) for number in (101, 102, 103, 104))
IDS: Final = tuple(key.public_key for key in NODES)
PEERS: Final = tuple(SecretKey(bytes((number,)) * 32).public_key for number in range(201, 221))
"""Who tells us."""
PEER: Final = PEERS[0]
SCID: Final = ShortChannelId.of(100, 1, 0)


def channel(
    short_channel_id: int = SCID, first: int = 0, second: int = 1, funding: tuple[int, int] = (0, 1), **changes: Any
) -> bytes:
    """A channel_announcement between two of the nodes; `changes` are made before it is signed."""
    return _channel(short_channel_id, first, second, funding, tuple(sorted(changes.items())))


@lru_cache(maxsize=4096)
def _channel(
    short_channel_id: int, first: int, second: int, funding: tuple[int, int], changes: tuple[tuple[str, Any], ...]
) -> bytes:
    keys = NODES[first], NODES[second], FUNDING[funding[0]], FUNDING[funding[1]]
    blank = bytes(64)
    message = ChannelAnnouncement(
        node_signature_1=blank,
        node_signature_2=blank,
        bitcoin_signature_1=blank,
        bitcoin_signature_2=blank,
        features=b"",
        chain_hash=REGTEST.chain_hash,
        short_channel_id=ShortChannelId(short_channel_id),
        node_id_1=keys[0].public_key,
        node_id_2=keys[1].public_key,
        bitcoin_key_1=keys[2].public_key,
        bitcoin_key_2=keys[3].public_key,
    )
    return sign_announcement(message.replace(**dict(changes)), *keys).encode()


def update(
    short_channel_id: int = SCID, direction: int = 0, timestamp: int = NOW, *, signer: int | None = None, **changes: Any
) -> bytes:
    """A channel_update of node 0 (direction 0) or node 1, or of the given `signer`."""
    who = direction if signer is None else signer
    return _update(short_channel_id, direction, timestamp, who, tuple(sorted(changes.items())))


@lru_cache(maxsize=4096)
def _update(
    short_channel_id: int, direction: int, timestamp: int, signer: int, changes: tuple[tuple[str, Any], ...]
) -> bytes:
    message = ChannelUpdate(
        signature=bytes(64),
        chain_hash=REGTEST.chain_hash,
        short_channel_id=ShortChannelId(short_channel_id),
        timestamp=timestamp,
        message_flags=1,
        channel_flags=direction,
        cltv_expiry_delta=80,
        htlc_minimum_msat=1,
        fee_base_msat=1000,
        fee_proportional_millionths=10,
        htlc_maximum_msat=500_000_000,
    )
    return sign_announcement(message.replace(**dict(changes)), NODES[signer]).encode()


def node(number: int = 0, timestamp: int = NOW, **changes: Any) -> bytes:
    """A node_announcement of one of the nodes."""
    return _node(number, timestamp, tuple(sorted(changes.items())))


@lru_cache(maxsize=4096)
def _node(number: int, timestamp: int, changes: tuple[tuple[str, Any], ...]) -> bytes:
    message = NodeAnnouncement(
        signature=bytes(64),
        features=b"",
        timestamp=timestamp,
        node_id=IDS[number],
        rgb_color=bytes(3),
        alias=b"node".ljust(32, b"\0"),
        addresses=b"",
    )
    return sign_announcement(message.replace(**dict(changes)), NODES[number]).encode()


class Chain:
    """A chain that answers as it is told, at once or when it is told: what is not told is missing."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.outputs: dict[int, UtxoResult] = {}
        self.asked: list[tuple[int, int]] = []
        """Place and token, in order."""

    def get_utxo(self, chain_hash: bytes, short_channel_id: ShortChannelId, token: int) -> UtxoResult | None:
        if chain_hash != REGTEST.chain_hash:
            raise ValueError("another chain")
        self.asked.append((short_channel_id, token))
        return self.outputs.get(short_channel_id, Missing()) if self.at_once else None

    def has(self, *ids: int, sats: int = 1_000_000, spends: tuple[int, ...] = ()) -> None:
        """These outputs are there, with the script of the first two funding keys."""
        for one in ids:
            self.outputs[one] = Found(SCRIPT, sats, one >> 40, spends)


SCRIPT: Final = funding_script(FUNDING[0].public_key, FUNDING[1].public_key)


def scid(number: int, block: int = 100) -> ShortChannelId:
    """The channel of this number in a block."""
    return ShortChannelId.of(block, number, 0)
