"""Where the fields of signed gossip stand in its bytes, for those who need one or two of them and no message.

Nothing is checked but the length: `problem` says whether the bytes can be what their type says.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from triolight.wire import ShortChannelId

CHANNEL_ANNOUNCEMENT: Final = 256
NODE_ANNOUNCEMENT: Final = 257
CHANNEL_UPDATE: Final = 258
SIGNED: Final = frozenset({CHANNEL_ANNOUNCEMENT, NODE_ANNOUNCEMENT, CHANNEL_UPDATE})
_FEATURES: Final = {CHANNEL_ANNOUNCEMENT: 258, NODE_ANNOUNCEMENT: 66}
"""Where the length of the features stands."""
_UPDATE_LENGTH: Final = 138
"""Bytes of a channel_update with htlc_maximum_msat, which BOLT 7 demands."""
_UPDATE_WITHOUT_MAXIMUM: Final = 130


def type_of(raw: bytes) -> int:
    """The number of its type, or -1 where the bytes are too few for one."""
    return int.from_bytes(raw[:2], "big") if len(raw) >= 2 else -1


def _behind_features(raw: bytes, type_: int) -> int:
    at = _FEATURES[type_]
    return at + 2 + int.from_bytes(raw[at : at + 2], "big")


def problem(raw: bytes) -> str:
    """Why these bytes are no signed gossip; empty if they can be."""
    match type_of(raw):
        case 256:
            least = _behind_features(raw, CHANNEL_ANNOUNCEMENT) + 32 + 8 + 4 * 33
        case 257:
            # Behind the features: timestamp, node_id, rgb_color, alias, and how long the addresses are.
            at = _behind_features(raw, NODE_ANNOUNCEMENT) + 4 + 33 + 3 + 32
            least = at + 2 + int.from_bytes(raw[at : at + 2], "big")
        case 258:
            least = _UPDATE_LENGTH
        case -1:
            return f"a message of {len(raw)} bytes holds no type"
        case other:
            return f"type {other} is no signed gossip"
    return f"{_NAMES[type_of(raw)]} of {len(raw)} bytes, cut short" if len(raw) < least else ""


def is_obsolete(raw: bytes) -> bool:
    """Whether it is a channel_update of a time when htlc_maximum_msat could be left out: no damage, and of no use."""
    return type_of(raw) == CHANNEL_UPDATE and _UPDATE_WITHOUT_MAXIMUM <= len(raw) < _UPDATE_LENGTH


_NAMES: Final = {256: "channel_announcement", 257: "node_announcement", 258: "channel_update"}


class Ends(NamedTuple):
    """What says which channel a channel_announcement is of."""

    chain_hash: bytes
    short_channel_id: ShortChannelId
    node_id_1: bytes
    node_id_2: bytes


def ends_of(announcement: bytes) -> Ends:
    """Of a channel_announcement."""
    at = _behind_features(announcement, CHANNEL_ANNOUNCEMENT)
    return Ends(
        announcement[at : at + 32],
        ShortChannelId(int.from_bytes(announcement[at + 32 : at + 40], "big")),
        announcement[at + 40 : at + 73],
        announcement[at + 73 : at + 106],
    )


class Direction(NamedTuple):
    """What says which direction a channel_update is of, and when it was made."""

    chain_hash: bytes
    short_channel_id: ShortChannelId
    direction: int
    timestamp: int


def direction_of(update: bytes) -> Direction:
    """Of a channel_update."""
    return Direction(
        update[66:98],
        ShortChannelId(int.from_bytes(update[98:106], "big")),
        update[111] & 1,
        int.from_bytes(update[106:110], "big"),
    )


def node_of(announcement: bytes) -> tuple[bytes, int]:
    """The node_id and the timestamp of a node_announcement."""
    at = _behind_features(announcement, NODE_ANNOUNCEMENT)
    return announcement[at + 4 : at + 37], int.from_bytes(announcement[at : at + 4], "big")


def timestamp_of(raw: bytes) -> int:
    """Of a channel_update or a node_announcement; 0 for a channel_announcement, which has none."""
    match type_of(raw):
        case 257:
            return node_of(raw)[1]
        case 258:
            return int.from_bytes(raw[106:110], "big")
        case _:
            return 0
