"""Fetching from several peers: every make, every rogue, mixes of six, and what holds on the way (the bench looks)."""

from __future__ import annotations

import random

import pytest

from tests.support.personas import (
    HONEST,
    ROGUES,
    SERVING,
    WORLD,
    Bench,
    Ldk,
    Persona,
    same_graph,
)

TRUTH = WORLD.graph()


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


def known_in(graph: object) -> dict[object, object]:
    """Contents, but for what differs at equal timestamps: who comes first is believed."""
    found: dict[object, object] = {}
    for scid, channel in graph.channels.items():  # type: ignore[attr-defined]
        found[int(scid)] = channel.announcement_bytes, channel.timestamp(0), channel.timestamp(1)
    for node_id, node in graph.nodes.items():  # type: ignore[attr-defined]
        found[node_id] = node.announcement_bytes
    return found


def known(bench: Bench) -> dict[object, object]:
    return known_in(bench.graph)
