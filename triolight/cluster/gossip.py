"""Gossip that a front deals with itself: queries and filters are answered here, announcements travel up once. No I/O.

What peers hear is the graph that the front was given, which somebody else fills: nothing that a peer says changes it
here. Whether a message is a copy is known by its bytes, for as long as there is room to remember it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final, Protocol

from triolight.actions import HandlerResult
from triolight.cluster.records import Config
from triolight.gossip.changes import Change
from triolight.gossip.graph import NetworkGraph
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.sync import P2PGossipSync
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    Error,
    GossipTimestampFilter,
    Message,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    UnknownMessage,
    Warning,
)

__all__ = ["FrontGossip"]

QUERIES: Final[tuple[type[Message], ...]] = (QueryShortChannelIds, QueryChannelRange, GossipTimestampFilter)
"""What a front with a graph answers; it goes nowhere else then."""
COPIED: Final = frozenset(cls.type for cls in (ChannelAnnouncement, NodeAnnouncement, ChannelUpdate))
"""Types of which every peer has the same messages."""
HEARD: Final = 1 << 17
"""Digests in each of two generations: with both, all that mainnet has, in 22 MB."""
DIGEST_BYTES: Final = 16


class Heard:
    """The messages that have travelled up: in two generations, of which the older goes when the newer is full."""

    __slots__ = ("_most", "_newer", "_older")

    def __init__(self, most: int = HEARD) -> None:
        self._most: Final = most
        self._newer: set[bytes] = set()
        self._older: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._newer) + len(self._older)

    def is_new(self, message: bytes) -> bool:
        """Whether it has not come before; now it has."""
        digest = hashlib.blake2b(message, digest_size=DIGEST_BYTES).digest()
        if digest in self._newer:
            return False
        known = digest in self._older
        self._older.discard(digest)
        if len(self._newer) >= self._most:
            self._older, self._newer = self._newer, set()
        self._newer.add(digest)
        return not known


class Counts(Protocol):
    """Who counts what did not travel."""

    repeats: int


class Travels:
    """Which of what peers say goes up to the back, in one life of a front."""

    __slots__ = ("_heard", "_types", "_unknown_odd", "counts")

    def __init__(self, config: Config, once: bool, counts: Counts) -> None:
        """`once`: of announcements and updates the first copy alone."""
        self._types: Final = frozenset((*config.types, Error.type, Warning.type))
        self._unknown_odd: Final = bool(config.unknown_odd)
        self._heard: Final = Heard() if once else None
        self.counts: Final = counts

    def as_bytes(self, message: Message | UnknownMessage) -> bytes | None:
        """What travels of it; None: nothing."""
        if not self._unknown_odd and message.type not in self._types:
            return None
        data = message.encode()
        if self._heard is not None and message.type in COPIED and not self._heard.is_new(data):
            self.counts.repeats += 1
            return None
        return data


class FrontGossip(P2PGossipSync):
    """The routing handler of a front that has a graph: tells peers of it as `P2PGossipSync` does, and takes nothing
    from them.

    `changed` is for whoever fills the graph: by it peers hear of what is new. The other arguments are the base's.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        policy: GossipPolicy | None = None,
        **clocks: Callable[[], float],
    ) -> None:
        super().__init__(graph, None, policy or GossipPolicy(), **clocks)

    def changed(self, change: Change) -> None:
        """Something is new in the graph."""
        self._serving.changed(change, self._unix_time())

    def tick(self) -> None:
        """Does what is due: peers get what is new, answers and histories that had to wait go on. Nothing goes out of
        the graph: that is up to who fills it."""
        self._serving.tick(self._unix_time())

    @property
    def due(self) -> float:
        """As the base's."""
        return self._serving.due

    # The back's to judge: they are on their way to it.

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> HandlerResult:
        return None

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> HandlerResult:
        return None

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> HandlerResult:
        return None
