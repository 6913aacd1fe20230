"""Ways for onion messages over a graph of channels: who passes them on has announced it. Keeps nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final

from triolight.address import DnsAddress, NodeAddress, TorV2Address, UnknownAddress
from triolight.gossip.graph import Channel, NetworkGraph
from triolight.wire import ShortChannelId

__all__ = ["GraphRoutes"]

MOST_CHANNELS: Final = 20_000
"""Channels looked at for one route, from its end on: 0.1 s, and far more than three hops of most nodes."""
MOST_ADDRESSES: Final = 4
"""Of one node, to be dialled one after the other."""
_FEATURE: Final = "option_onion_messages"


class GraphRoutes:
    """What a graph says of ways: for `OnionMessenger`'s `graph`, and for `open_onion_messenger`'s `addresses`."""

    def __init__(self, graph: NetworkGraph) -> None:
        self._graph: Final = graph

    def resolve(self, short_channel_id: ShortChannelId, direction: int) -> bytes | None:
        """The node at one end of a channel, 0 or 1; None if the channel is not known."""
        channel = self._graph.channels.get(short_channel_id)
        return None if channel is None else channel.node_ids[direction]

    def route(self, node_id: bytes, peers: Iterable[bytes]) -> Sequence[bytes] | None:
        """Nodes from one of these peers to this node, both included, the fewest: each but the last has announced that
        it takes onion messages, and has a channel with the next one that it has not disabled. None if there is no way,
        or it is too far."""
        here = frozenset(peers)
        nodes = self._graph.nodes
        after: dict[bytes, bytes | None] = {node_id: None}
        waiting = deque([node_id])
        looked_at = 0
        while waiting:
            one = waiting.popleft()
            if one in here:
                return _from(one, after)
            found = nodes.get(one)
            for channel in () if found is None else found.channels:
                looked_at += 1
                if looked_at > MOST_CHANNELS:
                    return None
                before = _before(channel, one)
                if before is None or before in after:
                    continue
                # Peers have said it to us; of others their announcement has it.
                if before in here or nodes[before].features.offers(_FEATURE):
                    after[before] = one
                    waiting.append(before)
        return None

    def addresses(self, node_id: bytes) -> tuple[NodeAddress, ...]:
        """Where a node can be dialled, as it has announced. No names: they may lead inside one's own network, and who
        dials these cannot tell any more that somebody else has chosen them."""
        found = self._graph.nodes.get(node_id)
        return tuple(
            NodeAddress(node_id, one.host, one.port)
            for one in (() if found is None else found.dialable)
            if not isinstance(one, TorV2Address | UnknownAddress | DnsAddress)
        )[:MOST_ADDRESSES]


def _before(channel: Channel, node_id: bytes) -> bytes | None:
    """The other end of a channel, if it has not disabled its direction to this node."""
    number = 1 if channel.node_ids[0] == node_id else 0
    direction = channel.direction(number)
    return None if direction is None or direction.disabled else direction.source


def _from(node_id: bytes, after: dict[bytes, bytes | None]) -> list[bytes]:
    route = [node_id]
    while (following := after[route[-1]]) is not None:
        route.append(following)
    return route
