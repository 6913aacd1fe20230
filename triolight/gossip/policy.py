"""How much of the gossip is kept, for how long, and on whose word: every number of the rules, as one object."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

__all__ = ["GossipPolicy", "ServePolicy"]

DAY: Final = 86_400


def _check(policy: Any) -> None:
    for field in fields(policy):
        value = getattr(policy, field.name)
        if isinstance(value, int) and not isinstance(value, bool) and value < 1:
            raise ValueError(f"{field.name} is at least 1, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePolicy:
    """What peers get of the gossip, and what they may do. ValueError for a number that is not positive."""

    flush_every: int = 60
    """Seconds between two times at which a peer is given what is new; when in a minute is by chance."""
    ring_bytes: int = 8 * 1024 * 1024
    """What is new for somebody, with 256 bytes a message: an hour of the main network. Who reads more slowly than that
    misses the oldest."""
    answer_rate: int = 1_000_000
    """Bytes a second, of all answers and histories to all peers together."""
    ranges_at_once: int = 5
    """Ranges that a peer may ask for in a row; after these, one a second."""
    dumps: int = 5
    """Histories that are told at a time; others wait."""
    dump_every: int = 600
    """Seconds from one history to the next of one peer."""
    update_every: int = 60
    node_every: int = 3600
    burst: int = 10
    """How often the updates of one side of a channel, and the announcements of one node, are passed on: so many at
    once, then one in so many seconds."""
    same_every: int = DAY
    """How often an update that says nothing new is passed on."""
    faults: int = 5
    """Invalid messages of one connection that end it."""
    unasked: int = 100
    """Replies that nobody asked for, and queries while another one is answered, that end it."""
    warning_every: int = 10
    """Seconds between two warnings to one peer."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipPolicy:
    """Seconds, blocks and numbers of things. ValueError for one that is not positive."""

    serve: ServePolicy = ServePolicy()

    relay_unchecked: bool = False
    """Whether channels are passed on whose output no chain has confirmed. LND bans who sends it too many false ones."""
    blacklist: bool = False
    """Whether nodes that prove two channels with one output are forgotten, all four of them."""
    prune_sides: Literal["either", "both"] = "either"
    """Whether a channel is old when one side has said nothing for so long (BOLT 7), or both (LND)."""
    prune_age: int = 14 * DAY
    """How old the newest update of a side may be."""
    future: int = DAY
    """How far ahead of our clock a message may be."""
    minimum_depth: int = 6
    """Blocks on a funding transaction, its own included, from which on a channel is public."""
    early_blocks: int = 12
    """How far ahead of the tip a channel may be to be kept until then."""
    spent_blocks: int = 72
    """How long a channel stays whose output was spent: a splice may replace it."""
    tombstone_age: int = 7 * DAY
    tombstones: int = 100_000
    """Pruned channels that may come back, and how long."""
    node_age: int = DAY
    nodes_aside: int = 20_000
    """Nodes whose last channel went, and how long what they said is kept for another one."""
    park_age: int = 600
    """How long an update waits for its channel."""
    early: int = 1000
    early_of_peer: int = 100
    """Announcements that wait for their block."""
    orphans: int = 1000
    orphans_of_peer: int = 100
    """Updates of channels that nobody has announced."""
    pending: int = 1000
    pending_of_peer: int = 64
    """Announcements that wait for a chain's answer; a peer with so many of them is not read from."""
    lookups: int = 8
    """Questions to a chain at a time."""
    lookup_age: int = 10
    """Seconds after which no answer is a failure."""
    negative: int = 10_000
    negative_age: int = 3600
    """Outputs that were missing, spent or another's, and how long that is remembered."""
    unverified: int = 100_000
    unverified_of_peer: int = 5000
    """Channels that no chain has confirmed: in all, and those that one peer was the first to push without being
    asked."""
    verify_per_second: int = 500
    """Signatures of one peer's unasked messages that are checked in a second while others wait."""
    blacklisted: int = 10_000
    blacklist_age: int = 2 * DAY
    seen: int = 100_000
    """Hashes of messages that were verified and not kept: nobody pays twice for their signatures."""
    changes: int = 10_000
    """Changes that wait for who reads them; beyond that the oldest are lost, and counted."""
    prune_slice: int = 1000
    """Channels that are looked at in one call of `prune`."""

    def __post_init__(self) -> None:
        if self.prune_sides not in ("either", "both"):
            raise ValueError(f"prune_sides is 'either' or 'both', not {self.prune_sides!r}")
        _check(self)
