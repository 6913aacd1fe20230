"""How much of the gossip is kept, for how long, and on whose word: every number of the rules and of asking."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal

__all__ = [
    "AskPolicy",
    "FollowPolicy",
    "GossipPolicy",
    "MemoryPolicy",
    "ServePolicy",
    "SyncPolicy",
    "WaitingPolicy",
]

DAY: Final = 86_400
MOST_FLAGGED: Final = 7277
"""Short ids that one query holds beside their flags."""


def _check(policy: Any) -> None:
    for field in fields(policy):
        value = getattr(policy, field.name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value <= 0:
            raise ValueError(f"{field.name} is above 0, not {value}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePolicy:
    """What peers get of the gossip, and what they may do. ValueError for a number that is not positive."""

    flush_every: int = 60
    """Seconds between two times at which a peer is given what is new; when in a minute is by chance."""
    ring_bytes: int = 8 * 1024 * 1024
    """What is new for somebody, with 384 bytes a message: half an hour of the main network. Who reads more slowly than
    that misses the oldest."""
    answer_rate: int = 1_000_000
    """Bytes a second, of all answers and histories to all peers together."""
    ranges_at_once: int = 5
    """Ranges that a node may ask for in a row; after these, one a second, also if it goes and comes back."""
    dumps: int = 5
    """Histories that are told at a time; others wait, for one that goes on after `dump_every` no longer."""
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
class WaitingPolicy:
    """What waits for a channel, for a block or for a chain's answer. ValueError for a number that is not positive."""

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

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPolicy:
    """What is remembered of what is not in the graph. ValueError for a number that is not positive."""

    tombstone_age: int = 7 * DAY
    tombstones: int = 100_000
    """Pruned channels that may come back, and how long."""
    node_age: int = DAY
    nodes_aside: int = 20_000
    """Nodes whose last channel went, and how long what they said is kept for another one."""
    negative: int = 10_000
    negative_age: int = 3600
    """Outputs that were missing, spent or another's, and how long that is remembered."""
    blacklisted: int = 10_000
    blacklist_age: int = 2 * DAY
    seen: int = 100_000
    """Hashes of messages that were verified and not kept: nobody pays twice for their signatures."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class GossipPolicy:
    """Seconds, blocks and numbers of things. ValueError for one that is not positive."""

    serve: ServePolicy = ServePolicy()
    waiting: WaitingPolicy = WaitingPolicy()
    memory: MemoryPolicy = MemoryPolicy()

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
    unverified: int = 100_000
    unverified_of_peer: int = 5000
    """Channels that no chain has confirmed: in all, and those that one peer was the first to push without being
    asked."""
    changes: int = 10_000
    """Changes that wait for who reads them; beyond that the oldest are lost, and counted."""
    prune_slice: int = 1000
    """Channels that are looked at in one call of `prune` or `recheck`."""

    def __post_init__(self) -> None:
        if self.prune_sides not in ("either", "both"):
            raise ValueError(f"prune_sides is 'either' or 'both', not {self.prune_sides!r}")
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class AskPolicy:
    """How one peer is asked. Seconds, and numbers of things. ValueError for one that is not positive."""

    pace: float = 0.25
    """Between two queries to a peer: Eclair drops without a word what comes faster than five a second."""
    batch: int = 100
    batch_least: int = 50
    batch_most: int = 2000
    """Channels in a query: the first one, and what it may become, for doubling when an answer was quick."""
    quick: float = 5
    silence: float = 30
    """Without a message of the answer, after which a query has failed."""
    answer: float = 120
    """For all of an answer to a batch."""
    range_deadline: float = 60
    """For all of an answer to a query for channels in blocks."""
    quiet: float = 5
    """After which an answer that looks complete is so, and how long what comes late is waited for."""
    replies: int = 500
    short_channel_ids: int = 300_000
    reply_bytes: int = 8 * 1024 * 1024
    """Of one answer to a query for channels in blocks; from a peer that says more, nothing more is wanted."""
    history: int = 15 * DAY
    history_seconds: float = 600
    """What a peer that answers no query is asked to tell by itself, and how long that may take."""

    def __post_init__(self) -> None:
        _check(self)
        if not self.batch_least <= self.batch <= self.batch_most <= MOST_FLAGGED:
            raise ValueError(f"batches grow from batch_least over batch to batch_most, {MOST_FLAGGED} at the most")


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowPolicy:
    """Who streams gossip to us, and who is asked for what was missed. ValueError for a number that is not positive."""

    backlog: int = 3600
    """How far back a stream begins."""
    streams: int = 3
    streams_empty: int = 5
    """Peers that stream their gossip to us, and how many while the graph is empty."""
    rotate: float = 1200
    """After which the stream that brought least is given to another peer."""
    stall: float = 600
    """After which streams that bring nothing new are given to other peers."""
    resync: float = 3600
    resync_blocks: int = 144
    resync_all: float = DAY
    """How often a peer is asked for the channels of the newest blocks, and for all of them."""
    unknown: int = 10_000
    unknown_of_peer: int = 2000
    """Channels that updates tell of and nobody has announced: who has told of them is asked for them."""
    refresh_parts: int = 7
    """With all of them, a part of the nodes is asked what they say of themselves, so many times until all were: what
    lists channels does not tell whether that has changed."""

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncPolicy:
    """How a graph is fetched and kept current. Seconds, blocks and numbers of things. ValueError for one that is not
    positive."""

    asking: AskPolicy = AskPolicy()
    following: FollowPolicy = FollowPolicy()
    parked_bytes: int = 1024 * 1024
    """Of updates and nodes that came before their channels in one answer: Electrum shuffles."""
    wanted: int = 1_000_000
    """Channels that are asked for in one fetch, of all peers' lists together; what is listed beyond that is left out.
    There are 60,000 on the main network, and each costs 100 bytes until the fetch is over."""
    ranges: int = 3
    """Peers that list their channels at a time."""
    failures: int = 2
    """Queries that a peer may leave unanswered."""
    vain: int = 1000
    """Channels that a peer has listed and, asked for them, does not have: from so many on, if they are most of what it
    was asked for, it is asked no more."""
    hedge: float = 10
    """How old a query is when a peer that has nothing to do is asked the same."""
    returns: int = 3
    """How often in one fetch a peer may come back after it has gone."""
    return_seconds: float = 10
    """How long a fetch that has no peer left waits for one to come back."""
    fetch_seconds: float = 1800
    """For one fetch; what has come by then stays."""
    first_block: int | None = None
    """Where a query for all channels begins. None: on the main network at 497000, below which Electrum refuses and no
    channel is; else at 0."""
    changes: int = 10_000
    """Changes that wait for one reader."""

    def __post_init__(self) -> None:
        _check(self)
