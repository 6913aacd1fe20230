"""Who is in the graph: what comes in and goes out, and what else that moves. Judges no message and no signature."""

from __future__ import annotations

from typing import Final

from triolight.gossip.changes import Changes, ChannelAdded, ChannelRemoved, NodeChanged, WhyRemoved
from triolight.gossip.graph import Channel, NetworkGraph
from triolight.gossip.memory import Memory
from triolight.gossip.parked import LONGEST_PARKED, Parked
from triolight.gossip.policy import GossipPolicy

__all__ = ["Membership"]


class Membership:
    """Keeps the graph, what is remembered beside it, and the changes that are told, in step."""

    __slots__ = ("_hearers", "_pruned_to", "changes", "graph", "memory", "policy")

    def __init__(self, graph: NetworkGraph, memory: Memory, changes: Changes, policy: GossipPolicy) -> None:
        self.graph: Final = graph
        self.memory: Final = memory
        self.changes: Final = changes
        self.policy: Final = policy
        self._hearers: dict[bytes, int] = {}
        """Unproven channels by the peer that pushed them first, unasked."""
        self._pruned_to = 0

    def has_room(self, one: Parked) -> bool:
        """Whether a channel is taken that no chain has confirmed."""
        if self.graph.unproven >= self.policy.unverified or len(one.data) > LONGEST_PARKED:
            return False
        if one.asked or one.source is None:
            return True
        return self._hearers.get(one.source, 0) < self.policy.unverified_of_peer

    def counts_for(self, channel: Channel, source: bytes | None) -> None:
        """A channel that is about to come in was pushed by this peer, unasked."""
        if not channel.proven and source is not None:
            channel.first_hearer = source
            self._hearers[source] = self._hearers.get(source, 0) + 1

    def enter(self, channel: Channel, source: bytes | None, now: float, *, returned: bool = False) -> None:
        """The channel is in the graph. What its nodes said before their last one went counts again."""
        self.memory.tombstones.pop(channel.short_channel_id)
        self.graph.add(channel)
        self.changes.put(ChannelAdded(channel, source, returned))
        for node_id in channel.node_ids if self.memory.nodes else ():
            node = self.graph.nodes[node_id]
            aside = self.memory.nodes.get(node_id, now)
            if aside is not None and node.announcement_bytes is None:
                node.put_announcement(aside)
                self.changes.put(NodeChanged(node, source))
            self.memory.nodes.pop(node_id)

    def remove(self, channel: Channel, why: WhyRemoved, now: float) -> None:
        """The channel is not in the graph any more, nor are those of its nodes whose last one it was."""
        _, gone = self.graph.remove(channel.short_channel_id)
        if channel.first_hearer is not None:
            left = self._hearers[channel.first_hearer] - 1
            if left:
                self._hearers[channel.first_hearer] = left
            else:
                del self._hearers[channel.first_hearer]
            channel.first_hearer = None
        for node in gone:
            if node.announcement_bytes is not None and why != "blacklisted":
                self.memory.nodes.put(node.node_id, node.announcement_bytes, now)
        self.changes.put(ChannelRemoved(channel, why))

    def prune(self, now: float) -> bool:
        """Takes out what is too old of the next thousand. True: that was the last of them."""
        for looked, channel in enumerate(self.graph.ascending(self._pruned_to)):
            if looked == self.policy.prune_slice:
                self._pruned_to = channel.short_channel_id
                return False
            if self.is_old(channel, now):
                self.remove(channel, "old", now)
                self.memory.tombstones.put(channel.short_channel_id, channel, now)
        self._pruned_to = 0
        return True

    def is_old(self, channel: Channel, now: float) -> bool:
        """Whether a side has said nothing for too long, or both, as the policy has it."""
        ages = [now - (channel.timestamp(direction) or channel.received) for direction in (0, 1)]
        return (max if self.policy.prune_sides == "either" else min)(ages) > self.policy.prune_age
