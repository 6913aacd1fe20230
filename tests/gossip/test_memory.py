"""What is gone and may come back: ages, bounds, tombstones, nodes that are kept aside, blacklists."""

from __future__ import annotations

from tests.support.gossip import IDS, NOW, PEER, SCID, Chain, channel, node, scid, update
from triolight.chains import REGTEST
from triolight.gossip import (
    ChannelRemoved,
    ChannelSpent,
    GossipPolicy,
    GossipRules,
    NetworkGraph,
    Verdict,
)
from triolight.gossip.memory import Expiring

DAY = 86_400
FORTNIGHT = 14 * DAY


def pruned(rules: GossipRules, now: float) -> GossipRules:
    while not rules.prune(now):
        pass
    return rules


def graph_of(*messages: bytes, policy: GossipPolicy | None = None, chain: Chain | None = None) -> GossipRules:
    rules = GossipRules(NetworkGraph(REGTEST), chain, policy or GossipPolicy())
    for one in messages:
        assert rules.take(one, PEER, NOW) in (Verdict.ACCEPTED, Verdict.UNVERIFIED)
    rules.drain()
    return rules


def test_things_expire_one_second_after_their_time() -> None:
    held = Expiring[str, int](2, 10)
    held.put("a", 1, 100)
    held.put("b", 2, 105)
    assert (held.get("a", 110), held.get("a", 110.5), held.get("b", 110.5), len(held)) == (1, None, 2, 1)
    held.put("a", 3, 111)
    held.sweep(115)
    assert held.items() == [("b", 2), ("a", 3)]
    held.sweep(116)
    assert (held.items(), held.pop("a"), held.pop("a")) == ([("a", 3)], 3, None)


def test_beyond_the_bound_the_oldest_goes_and_is_counted() -> None:
    held = Expiring[str, int](2, 10)
    for number, key in enumerate("abbca"):
        held.put(key, number, number)
    assert (held.items(), held.dropped, len(held)) == ([("c", 3), ("a", 4)], 2, 2)
    held.clear()
    assert not len(held)


# Spends.


def test_g47_a_spent_channel_is_forgotten_after_72_blocks() -> None:
    rules = graph_of(channel(), update(), node(0))
    rules.block_connected(200, NOW, spent=[SCID, scid(99)])
    found = rules.graph.channels[SCID]
    assert rules.drain() == [ChannelSpent(found)]
    assert (found.spent_height, found.usable, found.relayable(unchecked=True)) == (200, True, False)
    assert (found.relayable_update(0, unchecked=True), rules.graph.nodes[IDS[0]].relayable(unchecked=True)) == (
        None,
        None,
    )
    rules.block_connected(271, NOW)
    assert SCID in rules.graph.channels
    rules.block_connected(272, NOW)
    assert rules.drain() == [ChannelRemoved(found, "spent")]
    before = rules.verifications
    assert [rules.take(one, PEER, NOW) for one in (channel(), update(timestamp=NOW + 1))] == [Verdict.SPENT] * 2
    assert rules.verifications == before


def test_g47_a_reorganisation_undoes_a_spend() -> None:
    rules = graph_of(channel())
    rules.block_connected(200, NOW, spent=[SCID])
    rules.block_disconnected(200, NOW)
    found = rules.graph.channels[SCID]
    assert (found.spent_height, found.relayable(unchecked=True), rules.tip) == (None, True, 199)
    assert rules.drain() == [ChannelSpent(found), ChannelSpent(found)]


def test_g47_what_was_forgotten_as_spent_may_come_again_after_a_reorganisation() -> None:
    rules = graph_of(channel(), channel(scid(2)))
    rules.block_connected(200, NOW, spent=[SCID])
    rules.block_connected(205, NOW, spent=[scid(2)])
    rules.block_connected(277, NOW)
    assert not rules.graph.channels
    rules.block_disconnected(205, NOW)
    assert rules.take(channel(), PEER, NOW) is Verdict.SPENT
    assert rules.take(channel(scid(2)), PEER, NOW) is not Verdict.SPENT


def test_g30_a_spent_channel_hears_only_that_it_is_disabled() -> None:
    rules = graph_of(channel(), update())
    rules.block_connected(200, NOW, spent=[SCID])
    assert rules.take(update(timestamp=NOW + 1), PEER, NOW) is Verdict.SPENT
    assert rules.take(update(timestamp=NOW + 2, channel_flags=2), PEER, NOW) is Verdict.UNVERIFIED


def test_u9_a_tombstone_whose_output_is_spent_does_not_come_back() -> None:
    rules = pruned(graph_of(channel()), NOW + FORTNIGHT + 1)
    rules.block_connected(200, NOW + FORTNIGHT + 1, spent=[SCID])
    assert not len(rules.memory.tombstones)
    assert rules.take(update(timestamp=NOW + FORTNIGHT), PEER, NOW + FORTNIGHT) is Verdict.SPENT
