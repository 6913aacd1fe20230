"""What a node announces of itself: both halves of a channel_announcement put together, and times that only grow."""

from __future__ import annotations

from typing import Final, NamedTuple

from triolight.chains import AnyChain, chain_hash
from triolight.gossip.fields import signature_hash
from triolight.keys import verify
from triolight.messages import AnnouncementSignatures, ChannelAnnouncement
from triolight.wire import ShortChannelId

__all__ = ["Half", "build_announcement", "next_timestamp", "refresh_at", "unsigned_announcement"]

REFRESH_AGE: Final = 13 * 86_400
"""A day before others take a channel for dead: some forget it for a week then."""
REFRESH_JITTER: Final = 3600
NO_SIGNATURE: Final = bytes(64)


class Half(NamedTuple):
    """One side of a channel that is to be announced."""

    node_id: bytes
    bitcoin_key: bytes


def unsigned_announcement(
    chain: AnyChain, short_channel_id: int, ours: Half, theirs: Half, features: bytes = b""
) -> ChannelAnnouncement:
    """What both sides sign: `signature_hash` of it, with the node's key and with the funding key."""
    first, second = sorted((ours, theirs))
    return ChannelAnnouncement(
        node_signature_1=NO_SIGNATURE,
        node_signature_2=NO_SIGNATURE,
        bitcoin_signature_1=NO_SIGNATURE,
        bitcoin_signature_2=NO_SIGNATURE,
        features=features,
        chain_hash=chain_hash(chain),
        short_channel_id=ShortChannelId(short_channel_id),
        node_id_1=first.node_id,
        node_id_2=second.node_id,
        bitcoin_key_1=first.bitcoin_key,
        bitcoin_key_2=second.bitcoin_key,
    )


def build_announcement(
    unsigned: ChannelAnnouncement, ours: AnnouncementSignatures, theirs: AnnouncementSignatures, our_node_id: bytes
) -> ChannelAnnouncement:
    """The announcement, from both sides' announcement_signatures. ValueError says whose does not hold: a wrong one is
    worth a warning, and nothing is announced."""
    if our_node_id not in (unsigned.node_id_1, unsigned.node_id_2):
        raise ValueError("a channel of others")
    first, second = (ours, theirs) if our_node_id == unsigned.node_id_1 else (theirs, ours)
    digest = signature_hash(unsigned)
    for half, node_id, bitcoin_key in (
        (first, unsigned.node_id_1, unsigned.bitcoin_key_1),
        (second, unsigned.node_id_2, unsigned.bitcoin_key_2),
    ):
        whose = "our" if half is ours else "their"
        if half.short_channel_id != unsigned.short_channel_id:
            raise ValueError(f"{whose} announcement_signatures is of {half.short_channel_id}")
        if not verify(half.node_signature, digest, node_id):
            raise ValueError(f"{whose} node_signature does not hold")
        if not verify(half.bitcoin_signature, digest, bitcoin_key):
            raise ValueError(f"{whose} bitcoin_signature does not hold")
    return unsigned.replace(
        node_signature_1=first.node_signature,
        node_signature_2=second.node_signature,
        bitcoin_signature_1=first.bitcoin_signature,
        bitcoin_signature_2=second.bitcoin_signature,
    )


def next_timestamp(last: int, now: float) -> int:
    """Of the next message of ours after one of time `last` (0: there was none): greater, whatever the clock does."""
    return max(int(now), last + 1)


def refresh_at(timestamp: int, jitter: float) -> float:
    """When something of ours is to be said again, so that it stays fresh. `jitter` from 0 to 1 spreads many channels
    over an hour."""
    return timestamp + REFRESH_AGE - jitter * REFRESH_JITTER
