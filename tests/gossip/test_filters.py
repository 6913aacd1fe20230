"""Filters and the history that they ask for: what goes through, in which order, and what it costs to wait."""

from __future__ import annotations

import tracemalloc

import pytest

from tests.support.gossip import NOW
from tests.support.planted import plant, planted_channel, planted_node, planted_update
from triolight.chains import REGTEST
from triolight.gossip.filters import Dump, TimestampFilter
from triolight.gossip.relay import channel_key, update_key
from triolight.messages import GossipTimestampFilter
from triolight.wire import ShortChannelId

EVERYTHING = TimestampFilter(0, 0xFFFFFFFF)


def scid(number: int) -> ShortChannelId:
    return ShortChannelId.of(100 + number // 50, number % 50, 0)


def given(dump: Dump) -> list[bytes]:
    return [one for one in dump if one is not None]


def asked(first: int, number: int) -> TimestampFilter:
    return TimestampFilter.of(
        GossipTimestampFilter(chain_hash=REGTEST.chain_hash, first_timestamp=first, timestamp_range=number)
    )


def test_g35_sums_have_more_than_32_bits() -> None:
    wanted = asked(NOW, 0xFFFFFFFF)
    assert [wanted.passes(one) for one in (NOW - 1, NOW, 0xFFFFFFFF)] == [False, True, True]
    wanted = asked(NOW, 10)
    assert [wanted.passes(one) for one in (NOW - 1, NOW, NOW + 9, NOW + 10)] == [False, True, True, False]
    wanted = asked(0, 0xFFFFFFFF)
    assert [wanted.passes(one) for one in (0, 0xFFFFFFFE, 0xFFFFFFFF)] == [True, True, False]


@pytest.mark.parametrize(("first", "number"), [(0xFFFFFFFF, 0), (0xFFFFFFFF, 0xFFFFFFFF), (2288912640, 0)])
def test_q13_three_ways_to_want_nothing(first: int, number: int) -> None:
    wanted = asked(first, number)
    assert not wanted.wants
    assert repr(wanted).endswith("nothing>")
    assert not wanted.passes(NOW)
    assert given(Dump(plant([scid(1)]), wanted, unchecked=True)) == []


def test_g35_a_channel_goes_through_with_any_update_and_without_none() -> None:
    graph = plant([scid(1)], (NOW, NOW - 100))
    plant([scid(2)], (None, NOW), graph=graph)
    plant([scid(3)], (None, None), graph=graph)
    plant([scid(4)], (NOW - 100, NOW - 50), graph=graph)
    assert given(Dump(graph, asked(NOW, 10), unchecked=True)) == [
        planted_channel(scid(1)),
        planted_update(scid(1), 0),
        planted_channel(scid(2)),
        planted_update(scid(2), 1),
        planted_node(0),
        planted_node(1),
    ]


def test_g36_history_is_channels_with_their_updates_then_nodes_each_once() -> None:
    ids = [scid(number) for number in range(1, 9)]
    graph = plant(reversed(ids), nodes=5)
    told = given(Dump(graph, EVERYTHING, unchecked=True))
    assert [one for one in told if one[:2] == b"\1\0"] == [graph.channels[one].announcement_bytes for one in ids]
    for number, one in enumerate(ids):
        assert told[3 * number + 1 : 3 * number + 3] == [planted_update(one, 0), planted_update(one, 1)]
    assert sorted(told[24:]) == sorted(planted_node(number) for number in range(5))


def test_g42_history_has_what_a_chain_has_confirmed() -> None:
    graph = plant([scid(1), scid(2)])
    graph.channels[scid(2)].checked = "output"
    assert given(Dump(graph, EVERYTHING))[:1] == [planted_channel(scid(2))]
    assert given(Dump(graph, EVERYTHING, unchecked=True))[:1] == [planted_channel(scid(1))]


def test_g45_a_history_knows_what_it_has_yet_to_tell() -> None:
    graph = plant([scid(1), scid(2)])
    dump = Dump(graph, EVERYTHING, unchecked=True)
    told = iter(dump)
    assert dump.is_ahead(channel_key(scid(1)))
    for one in told:
        if one == planted_channel(scid(1)):
            break
    assert not dump.is_ahead(update_key(scid(1), 1))
    assert dump.is_ahead(update_key(scid(2), 0))
    assert dump.is_ahead(graph.channels[scid(2)].node_ids[0])
    for one in told:
        if one is not None and one[:2] == b"\1\1":
            break
    assert not dump.is_ahead(update_key(scid(2), 0))
    first, second = sorted(graph.nodes)
    assert not dump.is_ahead(first)
    assert dump.is_ahead(second)


def test_what_changes_while_it_is_told() -> None:
    graph = plant([scid(number) for number in range(1, 6)])
    told = iter(Dump(graph, EVERYTHING, unchecked=True))
    assert next(told) == planted_channel(scid(1))
    graph.remove(scid(2))
    graph.channels[scid(3)].put_update(0, planted_update(scid(3), 0, NOW + 9))
    plant([scid(7)], graph=graph)
    rest = [one for one in told if one is not None]
    assert planted_channel(scid(2)) not in rest
    assert planted_update(scid(3), 0, NOW + 9) in rest
    assert planted_update(scid(3), 0) not in rest
    assert planted_channel(scid(7)) in rest


def test_g36_a_history_of_20000_channels_waits_flat_in_memory() -> None:
    ids = [ShortChannelId.of(1000 + number // 100, number % 100, 0) for number in range(20_000)]
    graph = plant(ids, nodes=2000)
    next(graph.ascending())  # sorts them, which is the graph's
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        count = most = 0
        for number, one in enumerate(Dump(graph, EVERYTHING, unchecked=True)):
            count += one is not None
            if number % 1000 == 0:
                most = max(most, tracemalloc.get_traced_memory()[0] - before)
    finally:
        tracemalloc.stop()
    assert count == 62_000
    assert most < 512 * 1024  # of 12 MB, and most of that are tuples that Python keeps for the next ones
