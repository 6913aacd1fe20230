"""What comes into the graph and goes out of it: pruning by age, tombstones, nodes that go along."""

from __future__ import annotations

import pytest

from tests.support.gossip import IDS, NOW, PEER, SCID, Chain, channel, node, scid, update
from triolight.chains import REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelRemoved,
    GossipPolicy,
    GossipRules,
    NetworkGraph,
    NodeChanged,
    Verdict,
)

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


# Pruning by age.


@pytest.mark.parametrize(
    ("sides", "ages", "gone"),
    [
        ("either", (0, 0), False),
        ("either", (1, 0), True),
        ("either", (0, 1), True),
        ("either", (1, 1), True),
        ("both", (1, 0), False),
        ("both", (0, 1), False),
        ("both", (1, 1), True),
    ],
)
def test_g46_a_side_is_old_one_second_after_a_fortnight(sides: str, ages: tuple[int, int], gone: bool) -> None:
    policy = GossipPolicy(prune_sides="both" if sides == "both" else "either")
    said = [update(direction=one, timestamp=NOW - age) for one, age in enumerate(ages)]
    rules = graph_of(channel(), *said, policy=policy)
    pruned(rules, NOW + FORTNIGHT)
    assert (SCID not in rules.graph.channels) is gone
    assert [type(one) for one in rules.drain()] == [ChannelRemoved] * gone


def test_g46_a_side_that_never_said_anything_is_as_old_as_its_channel_here() -> None:
    rules = graph_of(channel(), update(timestamp=NOW + 100))
    assert SCID in pruned(rules, NOW + FORTNIGHT).graph.channels
    assert SCID not in pruned(rules, NOW + FORTNIGHT + 1).graph.channels


def test_g46_pruning_goes_on_where_it_stopped() -> None:
    ids = [scid(number) for number in range(7)]
    rules = graph_of(*map(channel, ids), policy=GossipPolicy(prune_slice=3))
    now = NOW + FORTNIGHT + 1
    assert [rules.prune(now), len(rules.graph.channels)] == [False, 4]
    assert [rules.prune(now), len(rules.graph.channels)] == [False, 1]
    assert [rules.prune(now), len(rules.graph.channels)] == [True, 0]
    assert not rules.graph.nodes


def test_g31_disabled_is_data() -> None:
    rules = graph_of(channel(), *(update(direction=one, channel_flags=2 | one) for one in (0, 1)))
    found = pruned(rules, NOW + 13 * DAY).graph.channels[SCID]
    assert not found.usable
    assert [one is not None and one.disabled for one in found.directions] == [True, True]


# Tombstones.


def test_g49_an_announcement_alone_does_not_bring_a_channel_back() -> None:
    rules = pruned(graph_of(channel(), update(), update(direction=1)), NOW + FORTNIGHT + 1)
    now, before = NOW + FORTNIGHT + 2, rules.verifications
    assert rules.take(channel(), PEER, now) is Verdict.TOMBSTONED
    assert rules.take(channel(first=2, second=3), PEER, now) is Verdict.TOMBSTONED
    assert rules.verifications == before
    assert not rules.graph.channels


def test_g49_fresh_updates_of_both_sides_do_and_nobody_asks_the_chain_again() -> None:
    chain = Chain()
    chain.has(SCID)
    rules = graph_of(channel(), update(), update(direction=1), chain=chain)
    now = NOW + FORTNIGHT + 1
    pruned(rules, now)
    rules.drain()
    assert rules.take(update(timestamp=now), PEER, now) is Verdict.TOMBSTONED
    assert rules.take(update(timestamp=now), PEER, now) is Verdict.DUPLICATE
    assert rules.drain() == []
    # The other side's, with somebody else's signature, is none.
    assert rules.take(update(direction=1, timestamp=now, signer=0), PEER, now) is Verdict.BAD_SIGNATURE
    assert rules.take(update(direction=1, timestamp=now), PEER, now) is Verdict.ACCEPTED
    found = rules.graph.channels[SCID]
    assert rules.drain() == [ChannelAdded(found, PEER, returned=True)]
    assert [found.timestamp(0), found.timestamp(1), found.capacity_sat] == [now, now, 1_000_000]
    assert (len(chain.asked), len(rules.memory.tombstones)) == (1, 0)


def test_g49_a_tombstone_lasts_a_week() -> None:
    rules = pruned(graph_of(channel()), NOW + FORTNIGHT + 1)
    over = NOW + FORTNIGHT + 1 + 7 * DAY
    assert rules.take(channel(), PEER, over) is Verdict.TOMBSTONED
    assert rules.take(channel(), PEER, over + 1) is Verdict.UNVERIFIED


def test_d7_tombstones_are_bounded() -> None:
    ids = [scid(number) for number in range(4)]
    rules = graph_of(*map(channel, ids), policy=GossipPolicy(tombstones=3))
    pruned(rules, NOW + FORTNIGHT + 1)
    assert (len(rules.memory.tombstones), rules.memory.tombstones.dropped) == (3, 1)
    said = [rules.take(channel(one), PEER, NOW + FORTNIGHT + 2) for one in ids]
    assert said == [Verdict.UNVERIFIED] + [Verdict.TOMBSTONED] * 3


# Nodes.


def test_g48_a_node_goes_with_its_last_channel_and_what_it_said_is_kept_a_day() -> None:
    rules = graph_of(channel(), channel(scid(2), 1, 2), node(0), node(1))
    rules.block_connected(200, NOW, spent=[SCID])
    rules.block_connected(272, NOW)
    assert {*rules.graph.nodes} == {IDS[1], IDS[2]}
    assert rules.take(node(0, NOW + 1), PEER, NOW) is Verdict.ORPHAN
    rules.drain()
    assert rules.take(channel(scid(3), 0, 2), PEER, NOW + DAY) is Verdict.UNVERIFIED
    again = rules.graph.nodes[IDS[0]]
    assert again.announcement_bytes == node(0)
    assert rules.drain() == [ChannelAdded(rules.graph.channels[scid(3)], PEER), NodeChanged(again, PEER)]


def test_g48_after_a_day_it_is_forgotten() -> None:
    rules = graph_of(channel(), node(0))
    rules.block_connected(200, NOW, spent=[SCID])
    rules.block_connected(272, NOW)
    rules.tick(NOW + DAY)
    assert len(rules.memory.nodes) == 1
    rules.tick(NOW + DAY + 1)
    assert not len(rules.memory.nodes)
    rules.take(channel(scid(3), 0, 2), PEER, NOW + DAY + 1)
    assert rules.graph.nodes[IDS[0]].announcement is None


def test_d8_nodes_that_are_kept_aside_are_bounded() -> None:
    chain = Chain()
    chain.has(SCID, scid(2))
    rules = graph_of(
        channel(),
        channel(scid(2), 2, 3),
        *map(node, range(4)),
        chain=chain,
        policy=GossipPolicy(nodes_aside=3, tombstones=1),
    )
    rules.block_connected(200, NOW, spent=[SCID, scid(2)])
    rules.block_connected(272, NOW)
    assert (len(rules.memory.nodes), rules.memory.nodes.dropped) == (3, 1)
    assert (len(rules.memory.closed), rules.memory.closed.dropped) == (1, 1)


def test_a_channel_counts_for_who_pushed_it_until_it_goes() -> None:
    rules = graph_of(channel(), channel(scid(2)), policy=GossipPolicy(unverified_of_peer=2))
    assert rules.take(channel(scid(3)), PEER, NOW) is Verdict.LIMITED
    pruned(rules, NOW + FORTNIGHT + 1)
    later = NOW + FORTNIGHT + 1
    said = [rules.take(channel(scid(number)), PEER, later) for number in (3, 4, 5)]
    assert said == [Verdict.UNVERIFIED] * 2 + [Verdict.LIMITED]
