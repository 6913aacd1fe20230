"""The graph beside a slow, obvious model: whatever comes, true or broken and in any order, both say the same."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.graph import shown
from tests.support.gossip import NOW, PEERS, SCRIPT, Chain, channel, node, scid, update
from tests.support.gossip_model import DAY, FORTNIGHT, GossipModel, Shown
from triolight.chains import REGTEST
from triolight.gossip import Found, GossipRules, NetworkGraph

PLACES = tuple(scid(number) for number in range(3))
ENDS = ((0, 1), (1, 2), (0, 2))


places = st.integers(0, 2)
late = (0, 1, FORTNIGHT, FORTNIGHT + 1, FORTNIGHT + DAY, 2 * FORTNIGHT + 2)
times = st.sampled_from((0, NOW, NOW + 1, NOW + 2, NOW + 3, NOW + DAY, NOW + DAY + 1, *(NOW + one for one in late)))


@st.composite
def valid_messages(draw: st.DrawFn) -> bytes:
    """What the nodes of three channels say: alike often enough to meet again."""
    number = draw(places)
    match draw(st.integers(0, 4)):
        case 0:
            first, second = ENDS[number]
            tail = draw(st.sampled_from((b"", b"", b"\0\0")))
            return channel(PLACES[number], first, second, extension=tail)
        case 1:
            return node(number, draw(times), alias=bytes((draw(st.integers(0, 1)),)) * 32)
        case _:
            side = draw(st.integers(0, 1))
            flags = draw(st.sampled_from((1, 1, 1, 3)))
            fee = draw(st.integers(0, 1))
            signer = ENDS[number][side]
            return update(PLACES[number], side, draw(times), signer=signer, message_flags=flags, fee_base_msat=fee)


@st.composite
def any_messages(draw: st.DrawFn) -> bytes:
    """Some of them broken: a bit, the end, another signer, the order of the nodes."""
    data = draw(valid_messages())
    match draw(st.integers(0, 15)):
        case 0:
            at = draw(st.integers(2, len(data) - 1))
            return data[:at] + bytes((data[at] ^ 1 << draw(st.integers(0, 7)),)) + data[at + 1 :]
        case 1:
            return data[: draw(st.integers(2, len(data)))]
        case 2:
            return data + b"\0"
        case 3:
            number = draw(places)
            return update(PLACES[number], 0, draw(times), signer=draw(places))
        case 4:
            first, second = ENDS[draw(places)]
            return channel(PLACES[draw(places)], second, first)
        case _:
            return data


JUMPS = (1, 1, 600, 601, DAY, DAY + 1, 7 * DAY, 7 * DAY + 1, FORTNIGHT, FORTNIGHT + 1)
"""In time, to where something has just not ended yet, or has."""
seconds = st.sampled_from((0,) * 12 + JUMPS)
steps = st.lists(st.tuples(any_messages(), seconds, st.booleans()), min_size=1, max_size=40).flatmap(
    lambda drawn: st.just(drawn) | st.just([(channel(PLACES[0]), 0, False), *drawn])
)


@settings(max_examples=150, deadline=None)
@given(steps, st.booleans())
def test_whatever_comes_verdicts_and_graph_are_the_models(steps: list[tuple[bytes, int, bool]], asks: bool) -> None:
    chain = Chain()
    chain.has(PLACES[0], PLACES[1])
    against_the_model(steps, chain if asks else None)


def against_the_model(steps: Iterable[tuple[bytes, int, bool]], chain: Chain | None = None) -> None:
    rules, model, now = GossipRules(NetworkGraph(REGTEST), chain), GossipModel(), float(NOW)
    model.outputs = None if chain is None else chain.outputs
    judged = Counter[str]()
    for number, (data, later, pruning) in enumerate(steps):
        now += later
        # From as many peers as there are: none of them has enough to meet a bound.
        source = PEERS[number % len(PEERS)]
        verdict = model.take(data, source, now)
        assert rules.take(data, source, now) == verdict
        judged.update((verdict, *model.later))
        model.later.clear()
        if pruning:
            assert rules.prune(now)
            model.prune(now)
        assert shown(rules.graph) == model.shown()
        assert {one.value: times for one, times in rules.verdicts.items() if times} == judged
    assert [one.short_channel_id for one in rules.graph.ascending()] == sorted(rules.graph.channels)


def walk(chance: random.Random, length: int) -> Iterator[tuple[bytes, int, bool]]:
    """A long life of the same three channels: fresh words, old ones again, false ones, and time."""
    now, said = NOW, [channel(PLACES[0]), update(PLACES[0])]
    for _ in range(length):
        later = chance.choice((0,) * 20 + JUMPS)
        now += later
        number, side = chance.randrange(3), chance.randrange(2)
        first, second = ENDS[number]
        when = now + chance.choice((0, 0, 0, 1, 1, 2, 3, -1, -DAY, DAY, DAY + 1, -FORTNIGHT, -FORTNIGHT - 1, -now))
        match chance.randrange(16):
            case 0 | 1 | 2:
                data = channel(PLACES[number], first, second)
            case 3 | 4 | 5:
                data = node(number, when, alias=bytes((chance.randrange(2),)) * 32)
            case 6:
                data = update(PLACES[number], side, when, signer=chance.randrange(3))
            case 7 | 8 | 9:
                data = chance.choice(said)
            case _:
                fee, flags = chance.randrange(2), chance.choice((1, 1, 1, 1, 3))
                signer = ENDS[number][side]
                data = update(PLACES[number], side, when, signer=signer, fee_base_msat=fee, message_flags=flags)
        said.append(data)
        if not chance.randrange(12):
            at = chance.randrange(2, len(data))
            data = data[:at] + bytes((data[at] ^ 1 << chance.randrange(8),)) + data[at + 1 :]
        yield data, later, not chance.randrange(3)


@pytest.mark.parametrize("seed", range(24))
def test_a_long_life_makes_the_models_graph(seed: int) -> None:
    against_the_model(walk(random.Random(seed), 200))


@settings(max_examples=100, deadline=None)
@given(steps)
def test_the_same_calls_make_the_same_graph_and_the_same_verdicts(steps: list[tuple[bytes, int, bool]]) -> None:
    told: list[object] = []
    for _ in range(2):
        rules, now = GossipRules(NetworkGraph(REGTEST)), float(NOW)
        for data, later, _ in steps:
            now += later
            rules.take(data, PEERS[0], now)
        told.append((shown(rules.graph), dict(rules.verdicts), rules.verifications, repr(rules.drain())))
    assert told[0] == told[1]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(valid_messages(), max_size=20),
    st.lists(st.integers(0, 4), max_size=60),
)
def test_when_a_chain_answers_makes_no_difference(said: list[bytes], choices: list[int]) -> None:
    """Of what follows its channel, at once or late, in any order: the same channels with the same last words."""
    announced = [channel(place, *ends) for place, ends in zip(PLACES, ENDS, strict=True)]
    said = [one for one in said if one[:2] != b"\x01\x00"]
    at_once, later = Chain(), Chain(at_once=False)
    at_once.has(*PLACES)
    graphs: list[Shown] = []
    for chain in (at_once, later):
        rules, left = GossipRules(NetworkGraph(REGTEST), chain), 0
        for number, one in enumerate([*announced, *said]):
            rules.take(one, PEERS[0], NOW)
            wait = choices[number] if number < len(choices) else 0
            if wait > 2 and left < len(later.asked) and chain is later:
                rules.resolve(later.asked[left][1], Found(SCRIPT, 1_000_000, 100), NOW)
                left += 1
        for _, token in later.asked[left:]:
            rules.resolve(token, Found(SCRIPT, 1_000_000, 100), NOW)
        graphs.append(shown(rules.graph))
    assert graphs[0] == graphs[1]
