"""The rules of BOLT 7 and ours, by their numbers: each through `take`, with the verdict and what it counts."""

from __future__ import annotations

import pytest

from tests.support.gossip import NOW, PEER, SCID, channel, node, update
from triolight.chains import REGTEST
from triolight.gossip import ChannelAdded, ChannelChanged, GossipRules, NetworkGraph, NodeChanged, Verdict


def test_plain_gossip_makes_a_graph() -> None:
    rules = GossipRules(NetworkGraph(REGTEST))
    said = [rules.take(one, PEER, NOW) for one in (channel(), update(), update(direction=1), node(0), node(1))]
    assert said == [Verdict.UNVERIFIED] * 3 + [Verdict.ACCEPTED] * 2
    found = rules.graph.channels[SCID]
    changes = rules.drain()
    assert [type(one) for one in changes] == [ChannelAdded] + [ChannelChanged] * 2 + [NodeChanged] * 2
    assert changes[0] == ChannelAdded(found, PEER)
    assert rules.verifications == 8
    with pytest.raises(ValueError, match="neither a channel_announcement"):
        rules.take(b"\x01\x03", PEER, NOW)
