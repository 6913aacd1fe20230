"""The graph beside a chain that does whatever chains do: late answers, reorganisations, spends; what always holds."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from tests.support.gossip import (
    FUNDING,
    IDS,
    NOW,
    PEERS,
    SCRIPT,
    Chain,
    channel,
    node,
    scid,
    update,
)
from triolight.chains import REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelRemoved,
    Failed,
    Found,
    GossipPolicy,
    GossipRules,
    Judged,
    Missing,
    NetworkGraph,
    NotYet,
    Spent,
    UtxoResult,
    Verdict,
)
from triolight.gossip.utxo import funding_script

PLACES = tuple(scid(number, block) for block in (95, 100, 105) for number in range(4))
OTHERS_SCRIPT = funding_script(FUNDING[2].public_key, FUNDING[3].public_key)
SMALL = GossipPolicy(
    orphans=6,
    orphans_of_peer=4,
    pending=5,
    pending_of_peer=3,
    lookups=2,
    early=4,
    early_of_peer=3,
    negative=3,
    tombstones=3,
    nodes_aside=2,
    blacklisted=3,
    seen=4,
    changes=10_000,
    prune_slice=4,
    spent_blocks=3,
    blacklist=True,
)
WAITS = (Verdict.PENDING, Verdict.EARLY)


class Life:
    """One run: what is said to the rules, and what the graph should be by what they told."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.chain = Chain(at_once=False)
        self.chain.at_once = bool(seed % 4 == 0)
        self.rules = GossipRules(NetworkGraph(REGTEST), self.chain, SMALL)
        self.now = float(NOW)
        self.told: set[int] = set()
        self.waiting = 0

    def answer(self) -> UtxoResult:
        spends = tuple(self.chance.sample(PLACES, self.chance.randrange(2)))
        mine, theirs = Found(SCRIPT, 10**6, 100, spends), Found(OTHERS_SCRIPT, 10**6, 100)
        return self.chance.choice((mine, mine, mine, theirs, Spent(), Missing(), NotYet(), Failed()))

    def message(self) -> bytes:
        place = self.chance.choice(PLACES)
        ends = self.chance.choice(((0, 1), (0, 1), (0, 1), (2, 3)))
        side = self.chance.randrange(2)
        when = int(self.now) + self.chance.choice((0, 1, -5, -86_400))
        match self.chance.randrange(6):
            case 0 | 1 | 2:
                return channel(place, *ends, funding=self.chance.choice(((0, 1), (0, 1), (2, 3))))
            case 3:
                return node(self.chance.randrange(4), when)
            case _:
                return update(place, side, when, signer=ends[side], channel_flags=side | self.chance.choice((0, 2)))

    def step(self) -> None:
        chance, rules, now = self.chance, self.rules, self.now
        tip = rules.tip or 100
        match chance.randrange(16):
            case 0:
                self.now += chance.choice((1, 5, 11, 601, 3601, 86_401, 8 * 86_400))
            case 1:
                rules.tick(now)
            case 2:
                rules.prune(now)
            case 3:
                rules.block_connected(tip + 1, now, chance.sample(PLACES, chance.randrange(2)))
            case 4 if tip > 97:
                rules.block_disconnected(tip, now)
            case 5:
                rules.recheck(now, most=chance.randrange(1, 4), proven=bool(chance.randrange(2)))
            case 6 if not chance.randrange(4):
                rules.take(channel(chance.choice(PLACES)), None, now)
            case 7 | 8 if self.chain.asked:
                rules.resolve(chance.choice(self.chain.asked[-8:])[1], self.answer(), now)
            case _:
                self.chain.outputs.clear()
                self.chain.outputs.update((place, self.answer()) for place in PLACES)
                rules.take(self.message(), chance.choice(PEERS[:4]), now)

    def check(self) -> None:
        rules, graph = self.rules, self.rules.graph
        for change in rules.drain():
            match change:
                case ChannelAdded():
                    assert change.channel.short_channel_id not in self.told
                    self.told.add(change.channel.short_channel_id)
                case ChannelRemoved():
                    self.told.remove(change.channel.short_channel_id)
                case Judged():
                    assert change.verdict not in WAITS
                case _:
                    pass
        assert rules.changes.lost == 0
        assert self.told == {*graph.channels}
        assert [one.short_channel_id for one in graph.ascending()] == sorted(graph.channels)
        assert graph.unproven == sum(not one.proven for one in graph.channels.values())
        ends = Counter(end for one in graph.channels.values() for end in one.node_ids)
        assert {one: found.degree for one, found in graph.nodes.items()} == dict(ends)
        assert all(one.proven for one in graph.channels.values())
        for one in graph.channels.values():
            for side in (0, 1):
                said = one.update_bytes(side)
                assert said is None or said[98:106] == one.short_channel_id.to_bytes(8, "big")
        assert not any(rules.memory.tombstones.get(one, self.now) for one in graph.channels)
        self.check_bounds()

    def check_bounds(self) -> None:
        rules, lookups = self.rules, self.rules.lookups
        assert lookups.asked <= SMALL.lookups
        assert lookups.early <= SMALL.early
        assert len(lookups) <= SMALL.pending
        assert len(rules.orphans) <= SMALL.orphans
        memory = rules.memory
        for held in (memory.tombstones, memory.closed, memory.negative, memory.nodes, memory.blacklist, memory.seen):
            assert len(held) <= held.most
        if len(lookups) == 0 and lookups.early == 0:
            assert not any(lookups.names(end) for end in IDS)
            assert [lookups.count_of(one) for one in (*PEERS, None)] == [0] * 21


@pytest.mark.parametrize("seed", range(24))
def test_whatever_a_chain_does_the_graph_hangs_together(seed: int) -> None:
    life = Life(seed)
    for _ in range(250):
        life.step()
        life.check()
    # And when nobody says anything any more, nothing waits: not even who stood behind another one.
    for _ in range(3 * SMALL.pending):
        life.now += 86_400
        life.rules.tick(life.now)
    life.check()
    assert (len(life.rules.lookups), life.rules.lookups.early, len(life.rules.orphans)) == (0, 0, 0)
