"""Funding outputs: what a chain answers about one, and the announcements that wait for such an answer.

The rules ask, whoever has a chain answers, at once or later. Nothing is asked here and no time is read.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from triolight.gossip.graph import Channel, node_timestamp_of
from triolight.gossip.parked import Parked
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.verdicts import Verdict
from triolight.wire import ShortChannelId

__all__ = [
    "Failed",
    "Found",
    "Lookups",
    "Missing",
    "NotYet",
    "Spent",
    "UtxoLookup",
    "UtxoResult",
    "Waiting",
    "funding_script",
]

LONG_BLOCK_SECONDS: Final = 1200
"""Twice what a block takes: how long an early channel is kept does not hang on a chain that stands still."""


@dataclass(frozen=True, slots=True)
class Found:
    """The output is there, unspent, and deep enough. `spends`: the channels whose outputs its transaction spends, if
    who answers can tell: that is how a splice is known."""

    script: bytes
    capacity_sat: int
    height: int
    spends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Spent:
    """There was such an output."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such block, transaction or output."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Its block is not deep enough, or has not come. Asked again with each block."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nobody could tell. That is nobody's fault, and no verdict."""

    why: str = ""


UtxoResult: TypeAlias = Found | Spent | Missing | NotYet | Failed
"""What a chain may answer."""


class UtxoLookup(Protocol):
    """Whoever has a chain."""

    def get_utxo(self, chain_hash: bytes, short_channel_id: ShortChannelId, token: int) -> UtxoResult | None:
        """What the chain has at this place. None: later, as ``resolve(token, result)`` of whoever asked.

        Must not block. At most eight are asked at a time, and each once: without an answer in ten seconds it counts
        as failed.
        """


def funding_script(bitcoin_key_1: bytes, bitcoin_key_2: bytes) -> bytes:
    """The script that a channel's output must have: P2WSH of 2-of-2, the lesser key first (BOLT 3)."""
    first, second = sorted((bitcoin_key_1, bitcoin_key_2))
    return b"\x00\x20" + hashlib.sha256(b"\x52\x21" + first + b"\x21" + second + b"\x52\xae").digest()


class Waiting:
    """A channel whose signatures hold, and what came for it while it waits for its block or for an answer."""

    __slots__ = ("asked", "behind", "channel", "deadline", "nodes", "source", "told", "updates", "verdict")

    def __init__(self, channel: Channel, source: bytes | None, asked: bool) -> None:
        self.channel: Final = channel
        self.source: Final = source
        self.asked: Final = asked
        self.updates: dict[int, Parked] = {}
        """The newest of each direction that its node has signed."""
        self.nodes: dict[bytes, Parked] = {}
        """What its ends said meanwhile, and have signed, once it does not wait any more."""
        self.behind: list[Parked] = []
        """Other announcements of the same place, of a few peers: judged when this one is."""
        self.deadline = math.inf
        """While it is early: when it is given up."""
        self.told = False
        """Whether the peer's message was said to be waiting: then its verdict is still to be counted."""
        self.verdict: Verdict | None = None
        """What has become of it."""

    @property
    def state(self) -> Verdict:
        """What is said of it meanwhile."""
        return Verdict.PENDING if self.deadline == math.inf else Verdict.EARLY


class _Named:
    """A node that waiting channels name, and what it said meanwhile."""

    __slots__ = ("announcement", "channels")

    def __init__(self) -> None:
        self.channels = 0
        self.announcement: Parked | None = None


class Lookups:
    """Channels that wait: for their block (early), for their turn to be asked about, for an answer.

    Peers take turns, so that nobody's flood holds up the others' channels.
    """

    __slots__ = ("_asked", "_counts", "_early", "_named", "_queues", "_token", "_waiting", "policy")

    def __init__(self, policy: GossipPolicy) -> None:
        self.policy: Final = policy
        self._waiting: dict[int, Waiting] = {}
        self._early: dict[int, Waiting] = {}
        self._named: dict[bytes, _Named] = {}
        self._queues: OrderedDict[bytes | None, deque[Waiting]] = OrderedDict()
        """Those that nobody was asked about, by the peer they came from; the first queue's turn is next."""
        self._asked: dict[int, tuple[float, Waiting]] = {}
        """By token: until when an answer counts."""
        self._counts: dict[bytes | None, int] = {}
        self._token = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def waiting(self) -> list[Waiting]:
        """Those that wait for an answer, as they came."""
        return list(self._waiting.values())

    def awaits(self, waiting: Waiting) -> bool:
        """Whether this very one still waits for an answer."""
        return self._waiting.get(waiting.channel.short_channel_id) is waiting

    @property
    def early(self) -> int:
        """How many wait for their block."""
        return len(self._early)

    @property
    def asked(self) -> int:
        """How many questions are open."""
        return len(self._asked)

    def get(self, short_channel_id: int) -> Waiting | None:
        """The one that waits at this place."""
        return self._waiting.get(short_channel_id) or self._early.get(short_channel_id)

    def count_of(self, source: bytes | None) -> int:
        """How many of a peer's wait for an answer."""
        return self._counts.get(source, 0)

    @property
    def has_room(self) -> bool:
        """Whether one more may wait for an answer."""
        return len(self._waiting) < self.policy.waiting.pending

    def has_room_early(self, source: bytes | None) -> bool:
        """Whether one more of a peer's may wait for its block."""
        if len(self._early) >= self.policy.waiting.early or source is None:
            return len(self._early) < self.policy.waiting.early
        return sum(one.source == source for one in self._early.values()) < self.policy.waiting.early_of_peer

    def queue(self, waiting: Waiting) -> None:
        """It waits for its turn."""
        self._waiting[waiting.channel.short_channel_id] = waiting
        self._counts[waiting.source] = self._counts.get(waiting.source, 0) + 1
        self._queues.setdefault(waiting.source, deque()).append(waiting)
        self._name(waiting)

    def hold_early(self, waiting: Waiting, now: float) -> None:
        """It waits for its block."""
        if waiting.deadline == math.inf:
            waiting.deadline = now + self.policy.early_blocks * LONG_BLOCK_SECONDS
        self._early[waiting.channel.short_channel_id] = waiting
        self._name(waiting)

    def next(self, now: float) -> tuple[int, Waiting] | None:
        """Whom to ask about next, with the token that its answer will have; None if there is none, or so many are
        open."""
        if not self._queues or len(self._asked) >= self.policy.waiting.lookups:
            return None
        source, queue = self._queues.popitem(last=False)
        waiting = queue.popleft()
        if queue:
            self._queues[source] = queue
        self._token += 1
        self._asked[self._token] = now + self.policy.waiting.lookup_age, waiting
        return self._token, waiting

    def answered(self, token: int) -> Waiting | None:
        """Whose answer this is: it does not wait any more. None for a token that was answered, or that never was."""
        found = self._asked.pop(token, None)
        if found is None:
            return None
        self._leave(found[1])
        return found[1]

    def late(self, now: float) -> list[int]:
        """Tokens whose time is over."""
        return [token for token, (deadline, _) in self._asked.items() if now > deadline]

    def drop(self, short_channel_id: int) -> Waiting | None:
        """Takes one out, wherever it waits. An answer that is still to come is nobody's."""
        waiting = self._early.pop(short_channel_id, None)
        if waiting is not None:
            self._unname(waiting)
            return waiting
        waiting = self._waiting.get(short_channel_id)
        if waiting is None:
            return None
        for token, (_, one) in self._asked.items():
            if one is waiting:
                del self._asked[token]
                break
        else:
            queue = self._queues[waiting.source]
            queue.remove(waiting)
            if not queue:
                del self._queues[waiting.source]
        self._leave(waiting)
        return waiting

    def ripe(self, tip: int) -> list[Waiting]:
        """Early ones whose block is deep enough now; they do not wait any more."""
        deep = tip - self.policy.minimum_depth + 1
        return self._drop([one for one in self._early.values() if one.channel.short_channel_id.block <= deep])

    def given_up(self, now: float) -> list[Waiting]:
        """Early ones whose time is over; they do not wait any more."""
        return self._drop([one for one in self._early.values() if now > one.deadline])

    def _drop(self, early: list[Waiting]) -> list[Waiting]:
        for one in early:
            self.drop(one.channel.short_channel_id)
        return early

    # Nodes that they name.

    def names(self, node_id: bytes) -> bool:
        """Whether a waiting channel is of this node."""
        return node_id in self._named

    def parked_node(self, node_id: bytes) -> Parked | None:
        """What the node said meanwhile."""
        return self._named[node_id].announcement

    def park_node(self, node_id: bytes, one: Parked) -> None:
        """Keeps what a node has signed, in place of what it said before."""
        self._named[node_id].announcement = one

    def _name(self, waiting: Waiting) -> None:
        for node_id in waiting.channel.node_ids:
            named = self._named.setdefault(node_id, _Named())
            named.channels += 1
            held = [one for one in (waiting.nodes.pop(node_id, None), named.announcement) if one is not None]
            named.announcement = max(held, key=lambda one: node_timestamp_of(one.data), default=None)

    def _unname(self, waiting: Waiting) -> None:
        for node_id in waiting.channel.node_ids:
            named = self._named[node_id]
            named.channels -= 1
            if named.announcement is not None:
                waiting.nodes[node_id] = named.announcement
            if not named.channels:
                del self._named[node_id]

    def _leave(self, waiting: Waiting) -> None:
        del self._waiting[waiting.channel.short_channel_id]
        left = self._counts[waiting.source] - 1
        if left:
            self._counts[waiting.source] = left
        else:
            del self._counts[waiting.source]
        self._unname(waiting)
