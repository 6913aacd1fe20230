"""Channels of the graph are asked about: few at a time, never faster than a chain answers, and again each week."""

from __future__ import annotations

from tests.support.gossip import NOW, PEER, SCRIPT, Chain, channel, scid
from triolight.chains import REGTEST
from triolight.gossip import Failed, Found, GossipRules, NetworkGraph, Spent, UtxoResult, Verdict
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.rechecks import ALL_EVERY, AT_ONCE, EVERY, FAILED_PAUSE, SLICES, Rechecks


class World:
    """A graph of so many channels, of which signatures are all that is known, and a chain."""

    def __init__(self, count: int, *, at_once: bool = False) -> None:
        self.chain = Chain(at_once=at_once)
        graph = NetworkGraph(REGTEST)
        for number in range(count):
            graph.load(channel(scid(number)), received=NOW)
            self.chain.has(scid(number))
        self.rules = GossipRules(graph, self.chain, GossipPolicy())
        self.rechecks = Rechecks(self.rules)
        self.now = 0.0

    def go_on(self, seconds: float = 0) -> int:
        """How many have been asked about by then."""
        self.now += seconds
        self.rechecks.go_on(self.now, NOW + self.now)
        return len(self.chain.asked)

    def answer(self, result: UtxoResult, *, at: int) -> None:
        self.rules.resolve(self.chain.asked[at][1], result, NOW + self.now)


FOUND = Found(SCRIPT, 7, 100)


def test_few_wait_at_a_time_and_peers_have_the_other_places() -> None:
    world = World(AT_ONCE + 20)
    assert [world.go_on(), world.go_on()] == [8, 8]  # of 64 that wait, eight are asked about
    assert world.rules.lookups.count_of(None) == AT_ONCE
    assert world.rules.take(channel(scid(5, 200)), PEER, NOW) is Verdict.PENDING
    answered = 0
    while answered < len(world.chain.asked):
        world.answer(FOUND, at=answered)
        world.go_on()
        answered += 1
        assert world.rules.lookups.count_of(None) <= AT_ONCE
    # The peer's was asked about among the first.
    assert [one for one, _ in world.chain.asked].index(scid(5, 200)) < 20
    assert (world.rechecks.left, world.rules.graph.unproven) == (0, 0)
    assert world.rules.graph.channels[scid(AT_ONCE + 19)].capacity_sat == 7


def test_what_is_left_is_counted_until_the_last_answer() -> None:
    world = World(3)
    assert world.rechecks.left == 3
    assert world.go_on() == 3
    for at, left in enumerate((2, 1, 0)):
        world.answer(FOUND, at=at)
        assert world.rechecks.left == left
    assert Rechecks(GossipRules(world.rules.graph)).left == 0


def test_a_chain_in_trouble_has_its_rest() -> None:
    world = World(AT_ONCE + 20)
    world.go_on()
    for at in range(AT_ONCE):
        world.answer(Failed("no room"), at=at)
        world.go_on()
    assert len(world.chain.asked) == AT_ONCE
    assert world.rechecks.left == 0
    assert world.go_on(FAILED_PAUSE - 1) == AT_ONCE
    # Behind those that it had no answer for, whose turn comes later.
    assert world.go_on(1) == AT_ONCE + 8
    for at in range(AT_ONCE, AT_ONCE + 20):
        world.answer(FOUND, at=at)
    assert world.go_on() == AT_ONCE + 20
    assert (world.rechecks.left, world.rules.graph.unproven) == (0, AT_ONCE)
    assert world.go_on(EVERY - 1) == AT_ONCE + 20
    world.go_on(1)
    assert world.chain.asked[-1][0] == scid(3)


def test_u9_each_hour_those_that_are_not_confirmed_and_each_week_all_the_first_time_after_an_hour() -> None:
    world = World(10, at_once=True)
    world.chain.outputs[scid(1)] = Failed()
    assert world.go_on() == 10
    assert world.go_on(EVERY - 1) == 10
    # All, four a second: nobody knows what was spent before the start.
    assert [world.go_on(1), world.go_on(0.5), world.go_on(0.5), world.go_on(1)] == [14, 14, 14, 14]
    world.chain.has(scid(1))
    assert [world.go_on(FAILED_PAUSE), world.go_on(1), world.go_on(1), world.go_on(1)] == [18, 20, 20, 20]
    world.chain.outputs[scid(2)] = Spent()
    for _ in range(int(ALL_EVERY / EVERY) - 2):
        world.go_on(EVERY)
    assert len(world.chain.asked) == 21  # the one that it could not tell of
    assert scid(2) in world.rules.graph.channels
    for _ in range(6):
        world.go_on(EVERY)
    assert len(world.chain.asked) == 31
    assert scid(2) not in world.rules.graph.channels


def test_of_a_large_graph_so_many_are_looked_at_in_one_go() -> None:
    chain, graph = Chain(at_once=True), NetworkGraph(REGTEST)
    for number in range(2 * SLICES + 1):
        graph.load(channel(scid(number)), checked="output", received=NOW)
    graph.load(channel(scid(7, 200)), received=NOW)
    chain.has(scid(7, 200))
    rechecks = Rechecks(GossipRules(graph, chain, GossipPolicy(prune_slice=2)))
    rechecks.go_on(0, NOW)
    assert (rechecks.left, chain.asked) == (1, [])
    rechecks.go_on(1, NOW)
    assert (rechecks.left, len(chain.asked)) == (0, 1)


def test_without_a_chain_nothing_is_done() -> None:
    graph = NetworkGraph(REGTEST)
    graph.load(channel(), received=NOW)
    rules = GossipRules(graph)
    Rechecks(rules).go_on(0, NOW)
    assert len(rules.lookups) == 0
