"""Graphs of any size that nobody has signed: one channel's bytes with other places and times in them. No test here."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from tests.support.gossip import NOW, channel, node, update
from triolight.chains import REGTEST
from triolight.gossip import NetworkGraph
from triolight.keys import SecretKey


@cache
def node_id(number: int) -> bytes:
    return SecretKey((number + 1).to_bytes(32, "big")).public_key


def planted_channel(short_channel_id: int, first: int = 0, second: int = 1) -> bytes:
    data = bytearray(channel())
    data[292:300] = short_channel_id.to_bytes(8, "big")
    data[300:333], data[333:366] = node_id(first), node_id(second)
    return bytes(data)


def planted_update(short_channel_id: int, direction: int = 0, timestamp: int = NOW) -> bytes:
    data = bytearray(update(direction=direction))
    data[98:106] = short_channel_id.to_bytes(8, "big")
    data[106:110] = timestamp.to_bytes(4, "big")
    return bytes(data)


def planted_node(number: int, timestamp: int = NOW) -> bytes:
    data = bytearray(node())
    data[68:72] = timestamp.to_bytes(4, "big")
    data[72:105] = node_id(number)
    return bytes(data)


def plant(
    ids: Iterable[int],
    stamps: tuple[int | None, int | None] = (NOW, NOW),
    *,
    nodes: int = 2,
    graph: NetworkGraph | None = None,
) -> NetworkGraph:
    """A graph of these channels, between so many nodes in turn, all of which have announced themselves."""
    graph = graph or NetworkGraph(REGTEST)
    for number, one in enumerate(ids):
        first = number % (nodes - 1)
        graph.load(
            planted_channel(one, first, first + 1),
            [planted_update(one, side, at) for side, at in enumerate(stamps) if at is not None],
        )
    for number in range(nodes):
        graph.load_node(planted_node(number))
    return graph
