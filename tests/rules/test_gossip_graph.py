"""The graph against a slow, obvious model: whatever comes, valid or broken and in any order, both are the same."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gossip import NOW, PEERS, SCRIPT, Chain, channel, node, scid, update
from triolight.chains import REGTEST
from triolight.errors import DecodeError
from triolight.gossip import (
    Found,
    GossipRules,
    NetworkGraph,
    addresses_of,
    signature_hash,
    verify_announcement,
)
from triolight.messages import BOLT, ChannelAnnouncement, ChannelUpdate, NodeAnnouncement

DAY = 86_400
FORTNIGHT = 14 * DAY
PLACES = tuple(scid(number) for number in range(3))
ENDS = ((0, 1), (1, 2), (0, 2))

Shown = tuple[dict[int, tuple[bytes, bytes | None, bytes | None]], dict[bytes, bytes | None]]


@dataclass
class Known:
    """A channel of the model."""

    message: ChannelAnnouncement
    seen: float
    updates: dict[int, ChannelUpdate] = field(default_factory=dict[int, ChannelUpdate])

    @property
    def node_ids(self) -> tuple[bytes, bytes]:
        return self.message.node_id_1, self.message.node_id_2


@dataclass
class Model:
    """Does what the rules say, over lists and decoded messages, without a thought for what it costs."""

    channels: dict[int, Known] = field(default_factory=dict[int, Known])
    nodes: dict[bytes, NodeAnnouncement] = field(default_factory=dict[bytes, NodeAnnouncement])
    dead: dict[int, tuple[Known, float]] = field(default_factory=dict[int, tuple[Known, float]])
    aside: dict[bytes, tuple[NodeAnnouncement, float]] = field(
        default_factory=dict[bytes, tuple[NodeAnnouncement, float]]
    )
    orphans: list[tuple[ChannelUpdate, float]] = field(default_factory=list[tuple[ChannelUpdate, float]])

    def shown(self) -> Shown:
        channels: dict[int, tuple[bytes, bytes | None, bytes | None]] = {}
        for one, known in self.channels.items():
            first, second = (None if said is None else said.encode() for said in map(known.updates.get, (0, 1)))
            channels[one] = known.message.encode(), first, second
        ends = {end for known in self.channels.values() for end in known.node_ids}
        return channels, {end: self.nodes[end].encode() if end in self.nodes else None for end in ends}

    def take(self, data: bytes, now: float) -> None:
        try:
            message = BOLT.decode(data)
            if isinstance(message, NodeAnnouncement):
                addresses_of(message)
        except DecodeError:
            return
        match message:
            case ChannelAnnouncement():
                self.announced(message, now)
            case ChannelUpdate():
                self.updated(message, now)
            case NodeAnnouncement():
                self.named(message, now)
            case _:
                raise AssertionError(message)

    def announced(self, message: ChannelAnnouncement, now: float) -> None:
        place = message.short_channel_id
        if message.chain_hash != REGTEST.chain_hash or message.node_id_1 >= message.node_id_2:
            return
        if message.bitcoin_key_1 == message.bitcoin_key_2 or place >= 1 << 63:
            return
        if place in self.channels or (place in self.dead and now <= self.dead[place][1] + 7 * DAY):
            return
        if not verify_announcement(message):
            return
        self.enter(Known(message, int(now)), now)
        mine = [one for one, at in self.orphans if one.short_channel_id == place and now <= at + 600]
        self.orphans = [(one, at) for one, at in self.orphans if one.short_channel_id != place]
        for one in sorted(mine, key=lambda one: -one.timestamp):
            self.updated(one, now)

    def enter(self, known: Known, now: float) -> None:
        place = known.message.short_channel_id
        self.dead.pop(place, None)
        self.channels[place] = known
        for end in known.node_ids:
            said = self.aside.pop(end, None)
            if said is not None and now <= said[1] + DAY and end not in self.nodes:
                self.nodes[end] = said[0]

    def updated(self, message: ChannelUpdate, now: float) -> None:
        place, side = message.short_channel_id, message.channel_flags & 1
        if message.chain_hash != REGTEST.chain_hash:
            return
        known, buried = self.channels.get(place), False
        if known is None and place in self.dead and now <= self.dead[place][1] + 7 * DAY:
            known, buried = self.dead[place][0], True
        before = None if known is None else known.updates.get(side)
        if before is not None and message.timestamp <= before.timestamp:
            return
        if not message.timestamp or not now - FORTNIGHT <= message.timestamp <= now + DAY:
            return
        if known is None:
            self.orphaned(message, side, now)
            return
        if message.message_flags & 2 or not verify_announcement(message, known.node_ids[side]):
            return
        known.updates[side] = message
        if buried and not self.old(known, now):
            self.enter(known, now)

    def orphaned(self, message: ChannelUpdate, side: int, now: float) -> None:
        """The two newest of a side are kept, whoever signed them."""
        if message.message_flags & 2:
            return
        alike = [
            (one, at)
            for one, at in self.orphans
            if one.short_channel_id == message.short_channel_id and one.channel_flags & 1 == side and now <= at + 600
        ]
        if any(signature_hash(one) == signature_hash(message) for one, _ in alike):
            return
        rest = [one for one in self.orphans if one not in alike]
        newest = sorted([*alike, (message, now)], key=lambda one: -one[0].timestamp)[:2]
        self.orphans = rest + newest

    def named(self, message: NodeAnnouncement, now: float) -> None:
        if not any(message.node_id in known.node_ids for known in self.channels.values()):
            return
        before = self.nodes.get(message.node_id)
        if before is not None and message.timestamp <= before.timestamp:
            return
        if 0 < message.timestamp <= now + DAY and verify_announcement(message):
            self.nodes[message.node_id] = message

    def old(self, known: Known, now: float) -> bool:
        said = [known.updates[side].timestamp if side in known.updates else known.seen for side in (0, 1)]
        return now - min(said) > FORTNIGHT

    def prune(self, now: float) -> None:
        for place, known in [*self.channels.items()]:
            if self.old(known, now):
                del self.channels[place]
                self.dead[place] = known, now
        ends = {end for known in self.channels.values() for end in known.node_ids}
        for end in [*self.nodes]:
            if end not in ends:
                self.aside[end] = self.nodes.pop(end), now


def shown(graph: NetworkGraph) -> Shown:
    channels: dict[int, tuple[bytes, bytes | None, bytes | None]] = {}
    for one, found in graph.channels.items():
        first, second = graph.channel_updates(one)
        channels[one] = found.announcement_bytes, first, second
    return channels, {one: found.announcement_bytes for one, found in graph.nodes.items()}


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
@given(steps)
def test_whatever_comes_the_graph_is_the_models(steps: list[tuple[bytes, int, bool]]) -> None:
    against_the_model(steps)


def against_the_model(steps: Iterable[tuple[bytes, int, bool]]) -> None:
    rules, model, now = GossipRules(NetworkGraph(REGTEST)), Model(), float(NOW)
    for number, (data, later, pruning) in enumerate(steps):
        now += later
        # From as many peers as there are: none of them has enough to meet a bound.
        rules.take(data, PEERS[number % len(PEERS)], now)
        model.take(data, now)
        if pruning:
            assert rules.prune(now)
            model.prune(now)
        assert shown(rules.graph) == model.shown()
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
