"""What a peer wants to hear of: its gossip_timestamp_filter, and the history that it asks for with one.

A dump walks through the graph as it is while it walks: it holds a place, and no message.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from triolight.gossip.graph import Channel, NetworkGraph, Node, timestamp_of
from triolight.messages import GossipTimestampFilter

__all__ = ["Dump", "TimestampFilter"]

SLICE: Final = 500
"""Channels or nodes that are looked at before others have their turn: a millisecond."""


class TimestampFilter:
    """Seconds from `first` on, and before `stop`. What BOLT 7 gives in 32 bits is added up in more."""

    __slots__ = ("first", "stop")

    def __init__(self, first: int, stop: int) -> None:
        self.first: Final = first
        self.stop: Final = stop

    @classmethod
    def of(cls, message: GossipTimestampFilter) -> TimestampFilter:
        """What a message asks for."""
        return cls(message.first_timestamp, message.first_timestamp + message.timestamp_range)

    def __repr__(self) -> str:
        return f"<TimestampFilter {self.first}-{self.stop}{'' if self.wants else ', nothing'}>"

    def passes(self, timestamp: int) -> bool:
        """Whether a message of this second goes through."""
        return self.first <= timestamp < self.stop

    @property
    def wants(self) -> bool:
        """Whether anything goes through that can be there: no range, or all that begins at the last second there is,
        are the ways of others to say no."""
        return self.first < self.stop and self.first < 0xFFFFFFFF


class Dump:
    """A peer's history: each channel with its updates, in ascending order, then each node.

    Args:
      graph: what is told.
      wanted: what of it.
      unchecked: whether channels go out that no chain has confirmed.
    """

    __slots__ = ("_graph", "_node", "_scid", "_unchecked", "_wanted")

    def __init__(self, graph: NetworkGraph, wanted: TimestampFilter, *, unchecked: bool = False) -> None:
        self._graph: Final = graph
        self._wanted: Final = wanted
        self._unchecked: Final = unchecked
        self._scid = -1
        """How far it has come in the channels."""
        self._node: bytes | None = None
        """How far in the nodes; None while it is not through the channels."""

    def is_ahead(self, key: int | bytes) -> bool:
        """Whether it has yet to come to what a message is about: a node by its id, a channel by its id x 4."""
        if isinstance(key, bytes):
            return self._node is None or key > self._node
        return self._node is None and key >> 2 > self._scid

    def __iter__(self) -> Iterator[bytes | None]:
        """Message by message; None where others may have their turn."""
        for looked, channel in enumerate(self._graph.ascending(), 1):
            self._scid = channel.short_channel_id
            updates = self._updates(channel)
            if updates:
                yield channel.announcement_bytes
                yield from updates
            if looked % SLICE == 0:
                yield None
        self._node = b""
        for looked, node_id in enumerate(sorted(self._graph.nodes), 1):
            self._node = node_id
            node = self._graph.nodes.get(node_id)
            if node is not None and self._wanted.passes(node.timestamp):
                announcement = node.relayable(unchecked=self._unchecked)
                if announcement is not None and self._has_spoken(node):
                    yield announcement
            if looked % SLICE == 0:
                yield None

    def _has_spoken(self, node: Node) -> bool:
        """Whether anything is known of a channel of its but that it is there."""
        channels = self._graph.channels
        return any(channels[one].has_update for one in node.channel_ids)

    def _updates(self, channel: Channel) -> list[bytes]:
        first, stop = self._wanted.first, self._wanted.stop
        updates = channel.relayable_updates(unchecked=self._unchecked)
        return [one for one in updates if one is not None and first <= timestamp_of(one) < stop]
