"""Answers to queries, read as strictly as LND reads them: any graph, any range, any chunk."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.ranges import facts_of, graph_of
from tests.support.gossip import NOW
from tests.support.gossip_peers import query_ids, query_range
from tests.support.planted import plant, planted_channel, planted_node, planted_update
from tests.support.replies import LAST, Fact, check_replies
from triolight import DecodeError
from triolight.chains import BITCOIN
from triolight.gossip import NetworkGraph, answers, decode_short_ids, decode_timestamps, encode_query_flags
from triolight.gossip.answers import answer_channel_range, answer_short_channel_ids, refusal_of
from triolight.messages import (
    QueryChannelRange,
    QueryFlags,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.messages.bolt7 import QueryShortChannelIdsTlvs
from triolight.wire import ShortChannelId


def scid(block: int, number: int) -> ShortChannelId:
    return ShortChannelId.of(block, number, 0)


def messages_of(answer: Iterable[bytes | None]) -> list[bytes]:
    given = [one for one in answer if one is not None]
    assert all(len(one) <= 65535 for one in given)
    return given


def replies_to(graph: NetworkGraph, query: QueryChannelRange, unchecked: bool = True) -> list[ReplyChannelRange]:
    given = messages_of(answer_channel_range(graph, query, unchecked=unchecked))
    return [ReplyChannelRange.decode(one) for one in given]


def read_strictly(query: QueryChannelRange, graph: NetworkGraph) -> list[int]:
    """The ids, as LND takes them; Unfit where it would end its sync, or the connection, or what is told is not true."""
    facts = {
        one: Fact(graph.channel_updates(one), found.checked == "output", found.spent_height is not None)
        for one, found in graph.channels.items()
    }
    return check_replies(query, messages_of(answer_channel_range(graph, query, unchecked=True)), facts)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.binary(min_size=4, max_size=4), max_size=40).map(b"".join),
    st.integers(90, 112),
    st.sampled_from([1, 2, 3, 5, 9, 20, LAST]),
    st.sampled_from([None, 0, 1, 2, 3, 7]),
    st.integers(1, 5),
    st.booleans(),
)
def test_g62_g63_g66_g70_g74_a_strict_reader_gets_all_of_any_graph(
    drawn: bytes, first: int, number: int, option: int | None, most: int, unchecked: bool
) -> None:
    query, facts = query_range(first, number, option), facts_of(drawn)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(answers, "CHUNKS", (most,) * 4)
        given = messages_of(answer_channel_range(graph_of(facts), query, unchecked=unchecked))
    check_replies(query, given, facts, unchecked=unchecked)


@pytest.mark.parametrize("count", [0, 1, 8000, 8001])
def test_g64_a_reply_has_as_many_ids_as_others_take(count: int) -> None:
    query = query_range(0, LAST)
    graph = plant(scid(1000 + number // 50, number % 50) for number in range(count))
    assert len(read_strictly(query, graph)) == count
    replies = replies_to(graph, query)
    assert [len(decode_short_ids(one.encoded_short_ids)) for one in replies] == ([8000, 1] if count > 8000 else [count])


@pytest.mark.parametrize(("option", "most"), [(1, 4000), (2, 4000), (3, 2700)])
def test_g64_with_what_belongs_to_ids_there_are_fewer(option: int, most: int) -> None:
    query = query_range(0, LAST, option)
    graph = plant(scid(1000 + number, 0) for number in range(most + 1))
    assert len(read_strictly(query, graph)) == most + 1
    replies = replies_to(graph, query)
    assert [len(decode_short_ids(one.encoded_short_ids)) for one in replies] == [most, 1]


@pytest.mark.parametrize("around", ["first", "middle", "last", "only"])
def test_g63_a_block_of_9000_channels_is_told_whole(around: str) -> None:
    first, number = {"first": (500, 10), "middle": (495, 10), "last": (491, 10), "only": (500, 1)}[around]
    graph = plant([*(scid(500, one) for one in range(9000)), scid(494, 1), scid(506, 1)])
    query = query_range(first, number)
    found = read_strictly(query, graph)
    assert sum(one >> 40 == 500 for one in found) == 9000


def test_g61_ranges_at_the_edges() -> None:
    graph = plant([scid(100, 1)])
    for first, number, then in ((100, 0, 0), (100, LAST, LAST - 100), (LAST, LAST, 0), (0, LAST, LAST), (101, 5, 5)):
        (reply,) = replies_to(graph, query_range(first, number))
        assert (reply.first_blocknum, reply.number_of_blocks, reply.sync_complete) == (first, then, 1)
        assert len(decode_short_ids(reply.encoded_short_ids)) == (first <= 100 < first + number)


def test_g65_of_another_chain_there_is_nothing_and_that_is_all() -> None:
    query = query_range(5, 7, chain_hash=BITCOIN.chain_hash)
    (reply,) = replies_to(plant([scid(6, 1)]), query)
    assert reply == ReplyChannelRange(
        chain_hash=BITCOIN.chain_hash, first_blocknum=5, number_of_blocks=7, sync_complete=1, encoded_short_ids=b"\0"
    )


def test_g66_timestamps_and_checksums_are_of_both_sides() -> None:
    graph = plant([scid(100, 1)], (NOW, None))
    channel = graph.channels[scid(100, 1)]
    (reply,) = replies_to(graph, query_range(option=3))
    assert reply.tlvs.timestamps_tlv is not None
    assert decode_timestamps(reply.tlvs.timestamps_tlv) == ((NOW, 0),)
    assert reply.tlvs.checksums_tlv is not None
    (checksums,) = reply.tlvs.checksums_tlv
    assert (checksums.checksum_node_id_1, checksums.checksum_node_id_2) == (channel.checksum(0), 0)
    assert channel.checksum(0)


def test_g70_what_is_not_told_unasked_is_not_told_here() -> None:
    """No update, spent, unverified: in neither answer."""
    graph = plant([scid(100, 1)])
    plant([scid(100, 2)], (None, None), graph=graph)
    plant([scid(100, 3), scid(100, 4)], graph=graph)
    graph.channels[scid(100, 3)].spent_height = 200
    graph.channels[scid(100, 4)].checked = "output"
    ids = [scid(100, number) for number in (1, 2, 3, 4)]
    for unchecked, told in ((True, [ids[0], ids[3]]), (False, [ids[3]])):
        assert decode_short_ids(replies_to(graph, query_range(), unchecked)[0].encoded_short_ids) == tuple(told)
        given = messages_of(answer_short_channel_ids(graph, query_ids(ids), unchecked=unchecked))
        assert [one for one in given if one[:2] == b"\1\0"] == [planted_channel(one) for one in told]


def ids_answer(graph: NetworkGraph, query: QueryShortChannelIds) -> list[bytes]:
    return messages_of(answer_short_channel_ids(graph, query, unchecked=True))


def end(query: QueryShortChannelIds, full_information: int = 1) -> bytes:
    return ReplyShortChannelIdsEnd(chain_hash=query.chain_hash, full_information=full_information).encode()


def test_g52_g55_every_list_has_one_end() -> None:
    graph = plant([scid(100, 1)])
    for ids in ([], [scid(7, 7)], [scid(100, 1)], [scid(100, number) for number in range(8000)]):
        query = query_ids(ids)
        assert ids_answer(graph, query)[-1] == end(query)
        assert ids_answer(graph, query).count(end(query)) == 1
    query = query_ids([scid(100, 1)], chain_hash=BITCOIN.chain_hash)
    assert ids_answer(graph, query) == [end(query, 0)]
    query = query_ids([], encoded_short_ids=b"")
    assert ids_answer(graph, query) == [end(query)], "CLN sends it"


def test_g53_a_channel_its_updates_then_all_nodes_each_once() -> None:
    graph = plant([scid(100, 1), scid(100, 2)], nodes=3)
    query = query_ids([scid(100, 2), scid(100, 1)])
    assert ids_answer(graph, query) == [
        planted_channel(scid(100, 2), 1, 2),
        planted_update(scid(100, 2), 0),
        planted_update(scid(100, 2), 1),
        planted_channel(scid(100, 1), 0, 1),
        planted_update(scid(100, 1), 0),
        planted_update(scid(100, 1), 1),
        planted_node(1),
        planted_node(2),
        planted_node(0),
        end(query),
    ]


def test_g54_an_id_many_times_is_answered_once() -> None:
    graph = plant([scid(100, 1)])
    assert len(ids_answer(graph, query_ids([scid(100, 1)] * 8186))) == 6


def flagged(ids: list[ShortChannelId], flags: list[int] | bytes) -> QueryShortChannelIds:
    encoded = flags if isinstance(flags, bytes) else encode_query_flags(flags).encoded_query_flags
    tlv = QueryFlags(encoding_type=0, encoded_query_flags=encoded)
    return query_ids(ids).replace(tlvs=QueryShortChannelIdsTlvs(query_flags=tlv))


@pytest.mark.parametrize("flag", [0, 1, 2, 4, 8, 16, 6, 31, 0x3F, 0x20])
def test_g57_a_flag_is_what_is_given(flag: int) -> None:
    one = scid(100, 1)
    query = flagged([one], [flag])
    wanted = [
        planted_channel(one),
        planted_update(one, 0),
        planted_update(one, 1),
        planted_node(0),
        planted_node(1),
    ]
    given = [message for bit, message in enumerate(wanted) if flag >> bit & 1]
    assert ids_answer(plant([one]), query) == [*given, end(query)]


def test_g57_flags_that_do_not_fit_are_refused() -> None:
    ids = [scid(100, 1), scid(100, 2)]
    assert refusal_of(flagged(ids, [1, 2])) is None
    assert refusal_of(query_ids(ids)) is None
    for bad in (b"\x01", b"\x01\x01\x01", bytes.fromhex("fd000101"), b""):
        assert refusal_of(flagged(ids, bad)) is not None


@pytest.mark.parametrize("encoded", [b"\x02", b"\0\0\0", b"\x01abc"])
def test_g71_ids_that_nobody_can_read_are_no_query(encoded: bytes) -> None:
    query = query_ids([], encoded_short_ids=encoded)
    with pytest.raises(DecodeError):
        refusal_of(query)
    with pytest.raises(DecodeError):
        answer_short_channel_ids(plant([]), query)


def test_g71_ids_in_any_order_are_taken() -> None:
    graph = plant([scid(100, 1), scid(100, 2)])
    assert len(ids_answer(graph, query_ids([scid(100, 2), scid(100, 1), scid(100, 2)]))) == 9


def test_g59_what_goes_meanwhile_is_left_out_and_what_is_newer_is_given() -> None:
    ids = [scid(100, number) for number in (1, 2, 3)]
    graph = plant(ids)
    answer: Iterator[bytes | None] = answer_short_channel_ids(graph, query_ids(ids), unchecked=True)
    assert next(answer) == planted_channel(ids[0])
    graph.remove(ids[1])
    graph.channels[ids[2]].put_update(1, planted_update(ids[2], 1, NOW + 5))
    rest = messages_of(answer)
    assert planted_channel(ids[1]) not in rest
    assert planted_update(ids[2], 1, NOW + 5) in rest
    assert planted_update(ids[2], 1) not in rest


def test_g58_an_answer_that_waits_keeps_ids_alone() -> None:
    ids = [scid(1000, number) for number in range(8000)]
    graph = plant(ids, nodes=4000)
    query = query_ids(ids)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        answer = answer_short_channel_ids(graph, query, unchecked=True)
        held = [tracemalloc.get_traced_memory()[0] - before for number, _ in enumerate(answer) if number % 500 == 0]
        assert len(held) > 50
        assert max(held) < 256 * 1024
    finally:
        tracemalloc.stop()
