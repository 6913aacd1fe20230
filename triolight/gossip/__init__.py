"""Gossip: the inside of its messages, and the graph that they make. Only puts together what the other files have.

Names are loaded when they are first used (PEP 562): who talks to peers and keeps no graph does not load one.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.gossip.changes import Change as Change
    from triolight.gossip.changes import ChannelAdded as ChannelAdded
    from triolight.gossip.changes import ChannelChanged as ChannelChanged
    from triolight.gossip.changes import ChannelProven as ChannelProven
    from triolight.gossip.changes import ChannelRemoved as ChannelRemoved
    from triolight.gossip.changes import ChannelSpent as ChannelSpent
    from triolight.gossip.changes import Conflict as Conflict
    from triolight.gossip.changes import Judged as Judged
    from triolight.gossip.changes import NodeChanged as NodeChanged
    from triolight.gossip.changes import PrivateUpdate as PrivateUpdate
    from triolight.gossip.fields import NOTHING as NOTHING
    from triolight.gossip.fields import UNCOMPRESSED as UNCOMPRESSED
    from triolight.gossip.fields import ZLIB as ZLIB
    from triolight.gossip.fields import Announcement as Announcement
    from triolight.gossip.fields import addresses_of as addresses_of
    from triolight.gossip.fields import channel_update_checksum as channel_update_checksum
    from triolight.gossip.fields import crc32c as crc32c
    from triolight.gossip.fields import decode_query_flags as decode_query_flags
    from triolight.gossip.fields import decode_short_ids as decode_short_ids
    from triolight.gossip.fields import decode_timestamps as decode_timestamps
    from triolight.gossip.fields import direction as direction
    from triolight.gossip.fields import disabled as disabled
    from triolight.gossip.fields import display_alias as display_alias
    from triolight.gossip.fields import encode_query_flags as encode_query_flags
    from triolight.gossip.fields import encode_short_ids as encode_short_ids
    from triolight.gossip.fields import encode_timestamps as encode_timestamps
    from triolight.gossip.fields import refuse_zlib as refuse_zlib
    from triolight.gossip.fields import sign_announcement as sign_announcement
    from triolight.gossip.fields import signature_hash as signature_hash
    from triolight.gossip.fields import signed_bytes as signed_bytes
    from triolight.gossip.fields import verify_announcement as verify_announcement
    from triolight.gossip.graph import Channel as Channel
    from triolight.gossip.graph import Direction as Direction
    from triolight.gossip.graph import NetworkGraph as NetworkGraph
    from triolight.gossip.graph import Node as Node
    from triolight.gossip.own import Half as Half
    from triolight.gossip.own import build_announcement as build_announcement
    from triolight.gossip.own import next_timestamp as next_timestamp
    from triolight.gossip.own import refresh_at as refresh_at
    from triolight.gossip.own import unsigned_announcement as unsigned_announcement
    from triolight.gossip.policy import GossipPolicy as GossipPolicy
    from triolight.gossip.policy import MemoryPolicy as MemoryPolicy
    from triolight.gossip.policy import ServePolicy as ServePolicy
    from triolight.gossip.policy import WaitingPolicy as WaitingPolicy
    from triolight.gossip.rules import GossipRules as GossipRules
    from triolight.gossip.sync import Inquirer as Inquirer
    from triolight.gossip.sync import P2PGossipSync as P2PGossipSync
    from triolight.gossip.utxo import Failed as Failed
    from triolight.gossip.utxo import Found as Found
    from triolight.gossip.utxo import Missing as Missing
    from triolight.gossip.utxo import NotYet as NotYet
    from triolight.gossip.utxo import Spent as Spent
    from triolight.gossip.utxo import UtxoLookup as UtxoLookup
    from triolight.gossip.utxo import UtxoResult as UtxoResult
    from triolight.gossip.verdicts import Verdict as Verdict
    from triolight.gossip.verdicts import Verdicts as Verdicts

__all__ = [
    "Change",
    "Channel",
    "ChannelAdded",
    "ChannelChanged",
    "ChannelProven",
    "ChannelRemoved",
    "ChannelSpent",
    "Conflict",
    "Direction",
    "Failed",
    "Found",
    "GossipPolicy",
    "GossipRules",
    "Half",
    "Inquirer",
    "Judged",
    "MemoryPolicy",
    "Missing",
    "NetworkGraph",
    "Node",
    "NodeChanged",
    "NotYet",
    "P2PGossipSync",
    "PrivateUpdate",
    "ServePolicy",
    "Spent",
    "UtxoLookup",
    "UtxoResult",
    "Verdict",
    "Verdicts",
    "WaitingPolicy",
    "addresses_of",
    "build_announcement",
    "channel_update_checksum",
    "crc32c",
    "decode_query_flags",
    "decode_short_ids",
    "decode_timestamps",
    "direction",
    "disabled",
    "display_alias",
    "encode_query_flags",
    "encode_short_ids",
    "encode_timestamps",
    "next_timestamp",
    "refresh_at",
    "sign_announcement",
    "signature_hash",
    "signed_bytes",
    "unsigned_announcement",
    "verify_announcement",
]

_HOMES = {
    name: home
    for home, names in {
        "changes": (
            "Change",
            "ChannelAdded",
            "ChannelChanged",
            "ChannelProven",
            "ChannelRemoved",
            "ChannelSpent",
            "Conflict",
            "Judged",
            "NodeChanged",
            "PrivateUpdate",
        ),
        "fields": (
            "NOTHING",
            "UNCOMPRESSED",
            "ZLIB",
            "Announcement",
            "addresses_of",
            "channel_update_checksum",
            "crc32c",
            "decode_query_flags",
            "decode_short_ids",
            "decode_timestamps",
            "direction",
            "disabled",
            "display_alias",
            "encode_query_flags",
            "encode_short_ids",
            "encode_timestamps",
            "refuse_zlib",
            "sign_announcement",
            "signature_hash",
            "signed_bytes",
            "verify_announcement",
        ),
        "graph": (
            "Channel",
            "Direction",
            "NetworkGraph",
            "Node",
        ),
        "own": (
            "Half",
            "build_announcement",
            "next_timestamp",
            "refresh_at",
            "unsigned_announcement",
        ),
        "policy": ("GossipPolicy", "MemoryPolicy", "ServePolicy", "WaitingPolicy"),
        "rules": ("GossipRules",),
        "sync": (
            "Inquirer",
            "P2PGossipSync",
        ),
        "utxo": (
            "Failed",
            "Found",
            "Missing",
            "NotYet",
            "Spent",
            "UtxoLookup",
            "UtxoResult",
        ),
        "verdicts": (
            "Verdict",
            "Verdicts",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.gossip.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
