"""Changes: in order, read once, and a bound that is counted."""

from __future__ import annotations

from tests.support.gossip import channel
from triolight.chains import REGTEST
from triolight.gossip import ChannelAdded, NetworkGraph
from triolight.gossip.changes import Changes


def test_beyond_the_bound_the_oldest_are_lost_and_counted() -> None:
    graph = NetworkGraph(REGTEST)
    added = [ChannelAdded(graph.load(channel(number))) for number in range(5)]
    changes = Changes(3)
    for one in added[:3]:
        changes.put(one)
    assert (len(changes), changes.lost) == (3, 0)
    changes.put(added[3])
    changes.put(added[4])
    assert (changes.drain(), changes.lost) == (added[2:], 2)
    assert changes.drain() == []
