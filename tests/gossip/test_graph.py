"""The graph as people read it, and as bytes: in order, each once, what comes and goes with what."""

from __future__ import annotations

import pytest

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import NetworkGraph, channel_update_checksum
from triolight.messages import ChannelUpdate


def loaded(*ids: int) -> NetworkGraph:
    graph = NetworkGraph(REGTEST)
    for one in ids:
        graph.load(channel(one), (update(one, 0), update(one, 1)), capacity_sat=1_000_000, checked="output")
    return graph


def test_a_channel_is_read_by_people() -> None:
    graph = loaded(SCID)
    graph.load_node(node(0, alias=b"yalls\x1b".ljust(32, b"\0")))
    found = graph.channels[SCID]
    assert found.node_ids == (IDS[0], IDS[1])
    assert found.announcement.encode() == channel()
    assert [one is not None and one.timestamp for one in found.updates] == [NOW, NOW]
    there, back = found.directions
    assert there is not None
    assert back is not None
    assert (there.source, there.target, back.source) == (IDS[0], IDS[1], IDS[1])
    assert (there.fee_msat(1_000_000), there.usable, found.usable) == (1010, True, True)
    assert (
        repr(found)
        == f"<Channel 100x1x0 {IDS[0].hex()[:10]}…-{IDS[1].hex()[:10]}…, 1000000 sat, 2 of 2 updates, output>"
    )
    one = graph.nodes[IDS[0]]
    assert (one.alias, one.degree, one.neighbours, one.capacity_sat) == ("yalls�", 1, (graph.nodes[IDS[1]],), 1_000_000)
    assert repr(one) == f"<Node {IDS[0].hex()[:10]}… 'yalls�', 1 channels>"
    assert repr(graph) == "<NetworkGraph regtest, 1 channels, 2 nodes>"


def test_channels_come_in_order_whatever_happens_meanwhile() -> None:
    ids = list(range(1000, 2000, 10))
    graph = loaded(*ids[::-1])
    assert [one.short_channel_id for one in graph.ascending()] == ids
    assert [one.short_channel_id for one in graph.ascending(1005, 1030)] == [1010, 1020]
    seen: list[int] = []
    for one in graph.ascending(1500):
        seen.append(one.short_channel_id)
        if one.short_channel_id == 1600:
            graph.remove(1600)
            graph.remove(1610)
            graph.remove(1000)
            graph.load(channel(1615))
            graph.load(channel(1500 - 5))
    assert seen == [one for one in sorted([*ids, 1615]) if one >= 1500 and one != 1610]


def test_bytes_come_out_as_they_went_in() -> None:
    graph = loaded(SCID)
    assert graph.channel_announcement(SCID) == channel()
    assert graph.channel_updates(SCID) == (update(direction=0), update(direction=1))
    assert graph.node_announcement(IDS[0]) is None
    assert graph.load_node(node(5)) is None
    assert graph.load_node(node(1)) is graph.nodes[IDS[1]]
    assert graph.node_announcement(IDS[1]) == node(1)
    expected = channel_update_checksum(ChannelUpdate.decode(update(direction=1)))
    assert [graph.channels[SCID].checksum(one) for one in (1, 1)] == [expected] * 2
    assert graph.channels[SCID].timestamp(1) == NOW


def test_a_node_goes_with_its_last_channel() -> None:
    graph = loaded(1)
    graph.load(channel(2, 1, 2))
    removed, gone = graph.remove(1)
    assert (removed.short_channel_id, [one.node_id for one in gone]) == (1, [IDS[0]])
    assert {*graph.nodes} == {IDS[1], IDS[2]}
    with pytest.raises(KeyError):
        graph.remove(1)


def test_what_is_no_channel_of_this_chain_is_not_loaded() -> None:
    graph = loaded(SCID)
    with pytest.raises(ValueError, match="100x1x0 is in the graph"):
        graph.load(channel())
    with pytest.raises(ValueError, match="a channel of bitcoin"):
        graph.load(channel(chain_hash=BITCOIN.chain_hash))
    with pytest.raises(ValueError, match="no channel_update of 0x0x7"):
        graph.load(channel(7), (update(8),))
    for broken in (b"", update(), channel()[:-1], channel(features=bytes(9))[:-1]):
        with pytest.raises(ValueError, match="channel_announcement"):
            graph.load(broken)
    with pytest.raises(ValueError, match="no node_announcement"):
        graph.load_node(node()[:-1])
