"""The ring: order, newest, nobody's own words back, and peers that are slow."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given as example
from hypothesis import settings
from hypothesis import strategies as st

from tests.support.gossip import NOW
from tests.support.planted import node_id, plant, planted_channel, planted_node, planted_update
from triolight.gossip import NetworkGraph
from triolight.gossip.filters import TimestampFilter
from triolight.gossip.relay import ENTRY_BYTES, Place, RelayLimits, Ring, channel_key, is_update, update_key
from triolight.wire import ShortChannelId

A, B, C = b"peer a", b"peer b", b"peer c"
EVERYTHING = TimestampFilter(0, 0xFFFFFFFF)
ONE, TWO, THREE = (ShortChannelId.of(100, number, 0) for number in (1, 2, 3))


def made(*ids: int, most: int = 1 << 20, nodes: int = 2) -> tuple[NetworkGraph, Ring]:
    graph = plant(ids, nodes=nodes)
    return graph, Ring(graph, most, unchecked=True)


def newer(graph: NetworkGraph, ring: Ring, scid: int, side: int, at: int, source: bytes | None = None) -> bytes:
    """An update is accepted."""
    channel = graph.channels[scid]
    before = channel.timestamp(0), channel.timestamp(1)
    update = planted_update(scid, side, at)
    channel.put_update(side, update)
    ring.put(update_key(scid, side), update, source, before)
    return update


def flush(ring: Ring, place: Place, peer: bytes, wanted: TimestampFilter = EVERYTHING) -> list[bytes]:
    ring.open(place)
    return [one for one in ring.give(place, peer, wanted) if one is not None]


def test_keys_tell_what_they_are_of() -> None:
    assert len({channel_key(ONE), update_key(ONE, 0), update_key(ONE, 1), channel_key(TWO), node_id(1)}) == 5
    assert [is_update(one) for one in (channel_key(ONE), update_key(ONE, 0), update_key(ONE, 1), node_id(1))] == [
        False,
        True,
        True,
        False,
    ]


def test_g38_announcements_then_updates_then_nodes() -> None:
    graph, ring = made(ONE, TWO)
    place = ring.place()
    node = planted_node(0)
    ring.put(node_id(0), node)
    newer(graph, ring, ONE, 0, NOW + 1)
    ring.put(channel_key(TWO), planted_channel(TWO))
    newer(graph, ring, TWO, 1, NOW + 2)
    assert flush(ring, place, A) == [
        planted_channel(TWO),
        planted_update(ONE, 0, NOW + 1),
        planted_update(TWO, 1, NOW + 2),
        node,
    ]
    assert flush(ring, place, A) == []


def test_g38_the_newest_takes_the_place_of_the_one_before() -> None:
    graph, ring = made(ONE)
    place = ring.place()
    for second in (1, 2, 3):
        last = newer(graph, ring, ONE, 0, NOW + second)
    assert flush(ring, place, A) == [last]


def test_g39_never_to_whoever_sent_it_even_after_others() -> None:
    graph, ring = made(ONE)
    places = {peer: ring.place() for peer in (A, B, C)}
    update = newer(graph, ring, ONE, 0, NOW + 1, A)
    ring.heard(update_key(ONE, 0), update[2:66], B)
    ring.heard(update_key(ONE, 0), b"another one's", C)
    assert {peer: flush(ring, place, peer) for peer, place in places.items()} == {A: [], B: [], C: [update]}


def test_g44_who_is_slow_goes_on_at_the_oldest_and_it_is_counted() -> None:
    size = len(planted_update(ONE)) + ENTRY_BYTES
    graph, ring = made(ONE, TWO, most=3 * size)
    place = ring.place()
    for second in range(1, 4):
        newer(graph, ring, ONE, 0, NOW + second)
        newer(graph, ring, TWO, 0, NOW + second)
    assert len(ring) == 3
    assert ring.size == 3 * size
    told = flush(ring, place, A)
    assert [one for one in told if one[:2] == b"\1\2"] == [
        planted_update(ONE, 0, NOW + 3),
        planted_update(TWO, 0, NOW + 3),
    ]
    assert place.fell == 3
    # It may have missed channels; so it hears of them again.
    assert sorted(one for one in told if one[:2] == b"\1\0") == [planted_channel(ONE), planted_channel(TWO)]


def test_g44_a_place_that_falls_off_in_the_middle() -> None:
    size = len(planted_update(ONE)) + ENTRY_BYTES
    graph, ring = made(ONE, TWO, THREE, most=4 * size)
    place = ring.place()
    for one in (ONE, TWO, THREE):
        newer(graph, ring, one, 0, NOW + 1)
    ring.open(place)
    giving = ring.give(place, A, EVERYTHING)
    assert next(giving) == planted_update(ONE, 0, NOW + 1)
    for second in range(2, 6):
        newer(graph, ring, THREE, 0, NOW + second)
    assert [one for one in giving if one is not None] == []
    assert place.fell == 2
    assert [one for one in flush(ring, place, A) if one[:2] == b"\1\2"] == [planted_update(THREE, 0, NOW + 5)]


def test_g45_an_update_of_a_channel_that_the_filter_kept_out_brings_its_announcement() -> None:
    graph, ring = made(ONE)
    place, live = ring.place(), TimestampFilter(NOW + 10, 1 << 40)
    first = newer(graph, ring, ONE, 0, NOW + 11)
    assert flush(ring, place, A, live) == [planted_channel(ONE), first]
    second = newer(graph, ring, ONE, 0, NOW + 12)
    assert flush(ring, place, A, live) == [second], "it has been told of the channel"


def test_g45_also_when_the_first_such_update_was_replaced_before_the_flush() -> None:
    graph, ring = made(ONE)
    place, live = ring.place(), TimestampFilter(NOW + 10, 1 << 40)
    newer(graph, ring, ONE, 0, NOW + 11)
    other = newer(graph, ring, ONE, 1, NOW + 11)
    last = newer(graph, ring, ONE, 0, NOW + 12)
    assert flush(ring, place, A, live) == [planted_channel(ONE), other, last]


def test_g42_what_may_not_go_out_any_more_does_not() -> None:
    graph, ring = made(ONE, TWO)
    place = ring.place()
    newer(graph, ring, ONE, 0, NOW + 1)
    newer(graph, ring, TWO, 0, NOW + 1)
    graph.channels[ONE].spent_height = 7
    graph.remove(TWO)
    assert flush(ring, place, A) == []
    strict = Ring(plant([ONE]), 1 << 20)
    place = strict.place()
    strict.put(update_key(ONE, 0), planted_update(ONE, 0, NOW))
    assert flush(strict, place, A) == []


def test_g45_what_a_history_has_yet_to_tell_is_left_to_it() -> None:
    graph, ring = made(ONE, TWO)
    place = ring.place()
    newer(graph, ring, ONE, 0, NOW + 1)
    newer(graph, ring, TWO, 0, NOW + 1)
    ring.open(place)
    told = ring.give(place, A, EVERYTHING, lambda key: isinstance(key, int) and key >> 2 > ONE)
    assert [one for one in told if one is not None] == [planted_update(ONE, 0, NOW + 1)]


@settings(max_examples=100)
@example(st.data())
def test_g45_order_holds_whatever_happens(data: st.DataObject) -> None:
    """Against a reader that ignores updates of channels it has not heard of: it has the newest of all in the end."""
    ids = [ShortChannelId.of(100, number, 0) for number in range(4)]
    graph = plant([])
    ring = Ring(graph, data.draw(st.sampled_from([1500, 4000, 1 << 20])), unchecked=True)
    since = NOW + data.draw(st.integers(0, 20))
    wanted = TimestampFilter(since, 1 << 40)
    place = ring.place()
    known: set[int] = set()
    told: dict[tuple[int, int], int] = {}
    clock = NOW
    for _ in range(data.draw(st.integers(1, 40))):
        clock += 1
        one, side = data.draw(st.sampled_from(ids)), data.draw(st.integers(0, 1))
        if data.draw(st.integers(0, 3)) == 0:
            for message in flush(ring, place, A, wanted):
                read(message, known, told)
            continue
        if one not in graph.channels:
            plant([one], (None, None), graph=graph)
        if not any(graph.channels[one].timestamp(number) for number in (0, 1)):
            ring.put(channel_key(one), planted_channel(one))
        newer(graph, ring, one, side, clock)
    for message in flush(ring, place, A, wanted):
        read(message, known, told)
    if not place.fell:
        newest = {
            (one, side): graph.channels[one].timestamp(side)
            for one in graph.channels
            for side in (0, 1)
            if graph.channels[one].timestamp(side) >= since
        }
        assert told == newest


def read(message: bytes, known: set[int], told: dict[tuple[int, int], int]) -> None:
    if message[:2] == b"\1\0":
        known.add(int.from_bytes(message[292:300], "big"))
    elif message[:2] == b"\1\2":
        scid = int.from_bytes(message[98:106], "big")
        assert scid in known, "an update of a channel that it has not heard of"
        told[scid, message[111] & 1] = int.from_bytes(message[106:110], "big")


def test_d9_an_update_a_minute_after_ten_at_once() -> None:
    limits = RelayLimits(60, 3600, 10, 86_400)
    key = update_key(ONE, 0)
    assert [limits.allow(key, 0.0) for _ in range(12)] == [True] * 10 + [False] * 2
    assert [limits.allow(key, second) for second in (30.0, 61.0, 62.0)] == [False, True, False]
    assert limits.allow(update_key(ONE, 1), 62.0), "each side for itself"
    assert limits.limited == 4


def test_g21_a_node_an_hour_after_ten_at_once() -> None:
    limits = RelayLimits(60, 3600, 10, 86_400)
    assert [limits.allow(node_id(1), 0.0) for _ in range(100)].count(True) == 10
    assert [limits.allow(node_id(1), second) for second in (3500.0, 3601.0, 3700.0)] == [False, True, False]


def test_d9_who_says_the_same_once_more_is_heard_once_a_day() -> None:
    limits = RelayLimits(60, 3600, 10, 86_400)
    key = update_key(ONE, 0)
    stamps = [NOW, *(NOW + hours * 3600 for hours in (8, 16, 24, 32, 48))]
    assert [limits.is_news(key, at, before, True) for before, at in pairwise(stamps)] == [
        False,
        False,
        True,
        False,
        True,
    ]
    assert limits.is_news(key, NOW + 49 * 3600, NOW + 48 * 3600, False)


def test_limits_remember_nobody_for_long() -> None:
    limits = RelayLimits(60, 3600, 10, 86_400)
    for number in range(100):
        limits.allow(update_key(number, 0), 0.0)
        limits.is_news(update_key(number, 1), NOW + 5, NOW, True)
    assert len(limits) == 200
    limits.sweep(61.0, NOW + 100_000)
    assert len(limits) == 0


def test_what_is_limited_goes_to_those_who_have_not_been_told_yet() -> None:
    graph, ring = made(ONE)
    late, place = ring.place(), ring.place()
    newer(graph, ring, ONE, 0, NOW + 1)
    flush(ring, place, B)
    last = planted_update(ONE, 0, NOW + 2)
    graph.channels[ONE].put_update(0, last)
    ring.replace(update_key(ONE, 0), last)
    assert flush(ring, late, A) == [last]
    assert flush(ring, place, B) == []
