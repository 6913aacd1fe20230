"""Fetching from several peers: every make, every rogue, mixes of six, and what holds on the way (the bench looks)."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.gossip import IDS, PEERS, node
from tests.support.personas import (
    CLOSE,
    FIRST_BLOCK,
    HONEST,
    NOW,
    ROGUES,
    SERVING,
    WORLD,
    Bench,
    CoreLightning,
    Eclair,
    Electrum,
    Inventor,
    Ldk,
    Leaver,
    NeverEnds,
    Persona,
    Spent,
    make_world,
    same_graph,
)
from triolight.gossip import NetworkGraph
from triolight.gossip import fetching as machine
from triolight.gossip.fetching import Fetching, Progress
from triolight.gossip.policy import AskPolicy, SyncPolicy
from triolight.gossip.wants import Wants
from triolight.messages import Message

TRUTH = WORLD.graph()
SIGNATURES = sum(4 if one[:2] == b"\x01\x00" else 1 for one in WORLD.messages())
"""Of all that the honest ones know."""


def complaints(bench: Bench) -> list[str]:
    return [words for one in bench.personas if isinstance(one, HONEST) for words in one.complaints]


@pytest.mark.parametrize("make", [one for one in HONEST if one is not Ldk], ids=lambda one: one.__name__)
def test_the_whole_graph_of_one_peer_of_each_make(make: type[Persona]) -> None:
    bench = Bench(make())
    fetching = bench.run()
    assert same_graph(bench.graph, TRUTH)
    assert fetching.complete
    assert fetching.progress.got == len(WORLD.channels)
    assert complaints(bench) == []


def test_a_peer_that_answers_no_query_tells_by_itself() -> None:
    """LDK: it lists, is silent when asked, and heeds one filter."""
    bench = Bench(Ldk())
    fetching = bench.run()
    assert same_graph(bench.graph, TRUTH)
    assert [one.end for one in fetching.sources] == ["tells by itself"]
    # Nobody can know that this was all.
    assert not fetching.complete
    assert len(bench.personas[0].filters) == 1


@pytest.mark.parametrize("rogue", ROGUES, ids=lambda one: one.__name__)
@pytest.mark.parametrize("make", SERVING, ids=lambda one: one.__name__)
def test_one_honest_peer_beside_one_that_means_harm(make: type[Persona], rogue: type[Persona]) -> None:
    bench = Bench(rogue(), make())
    fetching = bench.run()
    assert known(bench) == known_in(TRUTH)
    assert fetching.sources[1].end == "complete"
    assert complaints(bench) == []
    assert bench.now - 1000 < 900


@pytest.mark.parametrize("rogue", ROGUES, ids=lambda one: one.__name__)
def test_one_that_means_harm_alone_is_over_some_time(rogue: type[Persona]) -> None:
    bench = Bench(rogue())
    bench.run()
    assert bench.now - 1000 <= bench.policy.fetch_seconds
    assert bench.sent < 100


@pytest.mark.parametrize("seed", range(20))
def test_mixes_of_six_with_one_honest_peer(seed: int) -> None:
    rng = random.Random(seed)
    makes = [rng.choice(SERVING), *(rng.choice((*ROGUES, *ROGUES, *HONEST)) for _ in range(5))]
    rng.shuffle(makes)
    bench = Bench(*(make(seed=seed * 10 + number) for number, make in enumerate(makes)))
    fetching = bench.run()
    names = [make.__name__ for make in makes]
    assert known(bench) == known_in(TRUTH), names
    assert fetching.complete, names
    assert complaints(bench) == [], names
    assert bench.now - 1000 < 900, names
    # Nobody's signatures are paid for again and again.
    assert bench.rules.verifications < len(makes) * 4 * SIGNATURES, names


def known_in(graph: NetworkGraph) -> dict[object, object]:
    """Contents, but for what differs at equal timestamps: who comes first is believed."""
    found: dict[object, object] = {}
    for scid, channel in graph.channels.items():
        found[int(scid)] = channel.announcement_bytes, channel.timestamp(0), channel.timestamp(1)
    for node_id, found_node in graph.nodes.items():
        found[node_id] = found_node.announcement_bytes
    return found


def known(bench: Bench) -> dict[object, object]:
    return known_in(bench.graph)


class Flaky(Persona):
    """Honest, and its connection is cut at any moment."""

    def receive(self, message: Message, now: float) -> None:
        super().receive(message, now)
        if self.rng.random() < 0.4:
            self.later(CLOSE, now + self.rng.random() * 0.2)


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_cut_nothing_is_lost_and_nothing_is_asked_twice(seed: int) -> None:
    """The bench looks at each step; at the end all that the steady one lists is there."""
    rng = random.Random(seed)
    makes = [rng.choice(SERVING), *[Flaky] * rng.randrange(1, 4), *rng.sample(ROGUES, rng.randrange(2))]
    rng.shuffle(makes)
    policy = SyncPolicy(first_block=FIRST_BLOCK, asking=AskPolicy(batch=rng.choice((5, 20, 100)), batch_least=5))
    bench = Bench(*(make(seed=seed * 10 + number) for number, make in enumerate(makes)), policy=policy)
    fetching = bench.run()
    assert known(bench) == known_in(TRUTH)
    assert fetching.complete
    for one in bench.personas:
        assert isinstance(one, ROGUES) or one.complaints == []


def test_what_is_there_already_is_not_asked_for_again() -> None:
    bench = Bench(CoreLightning(), graph=WORLD.graph())
    fetching = bench.run()
    assert fetching.progress == Progress(known=0, asked=0, got=0, absent=0, listed=1, peers=1)
    assert fetching.complete
    # The list, and the two nodes that never announce themselves.
    assert bench.sent == 2
    assert bench.rules.verifications == 0


def test_only_what_is_newer_is_asked_for() -> None:
    graph = WORLD.graph()
    old = make_world(newest=NOW - 12 * 86_400).graph()
    for scid, channel in old.channels.items():
        if scid >> 40 > FIRST_BLOCK + 1:
            for direction in (0, 1):
                graph.channels[scid].put_update(direction, channel.update_bytes(direction))
    bench = Bench(Eclair(), graph=graph)
    bench.run()
    assert same_graph(bench.graph, TRUTH)
    (source,) = bench.fetching.sources
    assert source.told.channels == 0
    assert source.told.updates == sum(
        one is not None for s, p in WORLD.channels.items() for one in p[1:] if s >> 40 > 101
    )


@pytest.mark.parametrize("make", [CoreLightning, Eclair, Electrum])
def test_s1_nodes_whose_day_it_is_are_asked_for_anew_and_each_once(make: type[Persona]) -> None:
    announced = [*WORLD.nodes]
    for chosen in (set(announced), set(announced[:2]), set[bytes]()):
        graph = WORLD.graph()
        for number in range(len(announced)):
            graph.nodes[IDS[number]].put_announcement(node(number, NOW - 86_400))
        bench = Bench(make(), make(), graph=graph)
        bench.fetching = Fetching(
            graph, bench.policy, now=bench.now, unix=NOW, offer=bench.offer, refresh=chosen.__contains__
        )
        bench.sources.clear()
        for one in bench.personas:
            bench.join(one)
        fetching = bench.run()
        assert fetching.complete
        fresh = {one for one in announced if graph.nodes[one].announcement_bytes == TRUTH.nodes[one].announcement_bytes}
        assert chosen <= fresh
        if make is not Electrum:  # which heeds no flags
            assert sum(one.told.nodes for one in fetching.sources) <= 2 * len(chosen)
        assert complaints(bench) == []


def test_a_list_for_some_blocks_alone() -> None:
    bench = Bench(CoreLightning())
    bench.fetching = Fetching(
        bench.graph, bench.policy, now=bench.now, unix=NOW, offer=bench.offer, blocks=(FIRST_BLOCK + 20, 2)
    )
    bench.sources.clear()
    bench.join(bench.personas[0])
    bench.run()
    assert {scid >> 40 for scid in bench.graph.channels} == {FIRST_BLOCK + 20, FIRST_BLOCK + 21}


def test_what_waits_for_a_chain_is_not_asked_for_again() -> None:
    """`settled` says so; nobody else is asked, and nothing is in vain."""
    told: set[int] = set()
    bench = Bench(Spent(), Spent())
    bench.fetching = Fetching(
        bench.graph, bench.policy, now=bench.now, unix=NOW, offer=bench.offer, settled=told.__contains__
    )
    bench.sources.clear()
    for one in bench.personas:
        told |= set(one.world.channels)
        bench.join(one)
    fetching = bench.run()
    assert fetching.complete
    assert fetching.progress.got == 60
    assert sum(one.told.channels for one in fetching.sources) <= 120


def test_bounds_of_one_fetch() -> None:
    """Time; a peer that comes back; messages that came before their channels; channels in vain."""
    policy = SyncPolicy(first_block=FIRST_BLOCK, fetch_seconds=20)
    bench = Bench(NeverEnds(), policy=policy)
    assert bench.run().gave_up
    assert bench.now == 1020
    assert [one.end for one in bench.fetching.sources] == ["given up"]
    bench = Bench(Leaver())
    fetching = bench.run()
    assert len(fetching.sources) == 1 + bench.policy.returns
    policy = SyncPolicy(first_block=FIRST_BLOCK, parked_bytes=1000)
    bench = Bench(Electrum(), policy=policy)
    fetching = bench.run()
    assert len(bench.graph.channels) == len(WORLD.channels)
    assert not same_graph(bench.graph, TRUTH)
    bench = Bench(Inventor())
    fetching = bench.run()
    assert [one.end for one in fetching.sources] == ["in vain"]
    assert fetching.progress.absent >= 1000
    assert not fetching.complete


class Counted(Bench):
    """Knows how many channels were looked at in the step that looked at most."""

    def __init__(self, *personas: Persona, policy: SyncPolicy, patched: pytest.MonkeyPatch) -> None:
        self.looked = self.most = 0
        for name in ("finish", "untried"):
            patched.setattr(Wants, name, self.counting(getattr(Wants, name)))
        super().__init__(*personas, policy=policy)

    def counting(self, whole: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.looked += 1
            return whole(*arguments)

        return counted

    def tick(self) -> None:
        self.looked = 0
        super().tick()
        self.most = max(self.most, self.looked)

    def hear(self, persona: Persona, data: bytes) -> None:
        self.looked = 0
        super().hear(persona, data)
        self.most = max(self.most, self.looked)


@pytest.mark.parametrize("make", HONEST, ids=lambda one: one.__name__)
def test_what_takes_long_is_done_a_little_at_a_time(make: type[Persona], monkeypatch: pytest.MonkeyPatch) -> None:
    """A few channels in a step, and a few messages that came too early: and the same comes of it."""
    monkeypatch.setattr(machine, "READ_AT_ONCE", 8)
    monkeypatch.setattr(machine, "OFFERED_AT_ONCE", 3)
    bench = Bench(make())
    bench.run()
    assert same_graph(bench.graph, TRUTH)
    assert complaints(bench) == []


def test_a_list_that_is_dropped_costs_nothing_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What only it has is given up when all others have told what they have, a few in a step."""
    monkeypatch.setattr(machine, "READ_AT_ONCE", 100)
    policy = SyncPolicy(first_block=FIRST_BLOCK, asking=AskPolicy(batch=100, batch_most=100))
    bench = Counted(Inventor(), CoreLightning(), policy=policy, patched=monkeypatch)
    fetching = bench.run()
    assert [one.end for one in fetching.sources] == ["in vain", "complete"]
    assert fetching.progress.absent == Inventor.invented
    assert same_graph(bench.graph, TRUTH)
    # What was asked of others meanwhile is passed over in one go; nothing is looked at twice.
    assert bench.most < Inventor.invented


def test_no_more_is_wanted_than_fits() -> None:
    count = len(WORLD.channels)
    for wanted, complete in ((count, True), (count - 1, False)):
        bench = Bench(CoreLightning(), policy=SyncPolicy(first_block=FIRST_BLOCK, wanted=wanted))
        fetching = bench.run()
        assert (fetching.progress.known, fetching.complete) == (wanted, complete)


def test_who_comes_too_often_or_too_late_is_not_taken_up() -> None:
    bench = Bench(CoreLightning())
    node_id = bench.fetching.sources[0].node_id
    assert bench.fetching.join(node_id, bench.now) is None
    bench.run()
    assert bench.fetching.join(PEERS[5], bench.now) is None
    assert bench.fetching.tick(bench.now) == []
    assert bench.fetching.look_again == math.inf


def test_who_has_come_back_as_often_as_it_may_is_not_waited_for() -> None:
    bench = Bench()
    fetching = bench.fetching
    for number in range(1 + bench.policy.returns):
        assert not fetching.done, number
        source = fetching.join(PEERS[0], bench.now)
        assert source is not None
        fetching.leave(source, bench.now)
        fetching.tick(bench.now)
        assert fetching.done == (number == bench.policy.returns)
    bench = Bench()
    for _ in range(1 + bench.policy.returns):
        source = bench.fetching.join(PEERS[0], bench.now)
        assert source is not None
        bench.fetching.leave(source, bench.now)
    assert bench.fetching.join(PEERS[0], bench.now) is None


def test_with_nobody_to_ask_it_is_over_soon() -> None:
    bench = Bench()
    fetching = bench.run()
    assert bench.now == 1000 + bench.policy.return_seconds
    assert not fetching.complete
