"""The graph as people read it, and as bytes: in order, each once, what comes and goes with what."""

from __future__ import annotations

import gc
import random
import tracemalloc

import pytest

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from triolight.address import DnsAddress, IPv4Address
from triolight.chains import BITCOIN, REGTEST
from triolight.features import Features
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


# Nodes, as people read them.


def test_g19_private_places_ports_of_zero_and_old_onions_are_kept_and_not_dialled() -> None:
    graph = loaded(SCID)
    ipv4 = [bytes((1, *host, *divmod(port, 256))) for host, port in HOSTS]
    tor2 = bytes((3,)) + bytes(10) + b"\x26\x07"
    dns = bytes((5, 11)) + b"example.com" + b"\x26\x07"
    graph.load_node(node(0, addresses=b"".join(ipv4) + tor2 + dns))
    found = graph.nodes[IDS[0]]
    assert len(found.addresses) == 6
    assert found.dialable == (IPv4Address("8.8.8.8", 9735), DnsAddress("example.com", 9735))


HOSTS = (((8, 8, 8, 8), 9735), ((8, 8, 8, 8), 0), ((10, 0, 0, 1), 9735), ((127, 0, 0, 1), 9735))


def test_d8_so_many_addresses_are_read() -> None:
    graph = loaded(SCID)
    one = bytes((1, 8, 8, 8, 8, 0x26, 0x07))
    graph.load_node(node(0, addresses=one * 40))
    assert (len(graph.nodes[IDS[0]].addresses), graph.nodes[IDS[0]].announcement is not None) == (32, True)


@pytest.mark.parametrize(
    ("alias", "shown"),
    [(b"\x1b[31mred", "�[31mred"), ("\u202eevil".encode(), "�evil"), (b"\xff\xfe", "��"), (b"", "")],
)
def test_g20_an_alias_is_shown_without_harm_and_kept_as_it_is(alias: bytes, shown: str) -> None:
    graph = loaded(SCID)
    graph.load_node(node(0, alias=alias.ljust(32, b"\0")))
    found = graph.nodes[IDS[0]]
    assert found.alias == shown
    assert shown in repr(found)
    assert found.announcement is not None
    assert found.announcement.alias == alias.ljust(32, b"\0")


def test_a_node_without_a_word_has_no_name() -> None:
    found = loaded(SCID).nodes[IDS[0]]
    assert (found.alias, found.timestamp, found.addresses, found.announcement) == ("", 0, (), None)
    assert (bool(found.features), found.relayable(unchecked=True)) == (False, None)
    assert found.channels[0].features == Features()


def test_a_channel_says_what_is_wrong_with_it() -> None:
    graph = NetworkGraph(REGTEST)
    silent = graph.load(channel())
    assert silent.directions == (None, None)
    assert "capacity unknown, 0 of 2 updates, signatures, not usable" in repr(silent)
    spent = graph.load(channel(2), (update(2, channel_flags=2),), spent_height=7)
    assert ", spent in block 7, not usable>" in repr(spent)
    one = spent.direction(0)
    assert f"{one!r}" == f"<Direction 0x0x2/0 disabled, 1000 msat + 10 ppm, at {NOW}>"


# What it costs.


def test_a_channel_takes_1700_bytes_all_in_at_the_most() -> None:
    """At the main network's proportions: 1.9 updates and 0.36 nodes a channel, each announced in 200 bytes."""
    chance = random.Random(1)
    count = 5000
    ids = [b"\x02" + chance.randbytes(32) for _ in range(count * 16 // 45)]
    said = [made_up(chance, number, ids) for number in range(count)]
    graph = NetworkGraph(REGTEST)
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for announcement, updates in said:
        # Copies: what a peer sends is nobody else's.
        copies = [bytes(bytearray(one)) for one in updates]
        graph.load(bytes(bytearray(announcement)), copies, capacity_sat=10**7, checked="output", received=NOW)
    for one in ids:
        graph.load_node(b"\x01\x01" + bytes(66) + b"hour" + one + bytes(35) + b"\0\x3c" + bytes(60))
    assert all(found.checksum(0) for found in graph.ascending())
    assert all(found.checksum(1) or found.timestamp(1) == 0 for found in graph.ascending())
    used = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert len(graph.channels) == count
    assert used / count < 1700


def made_up(chance: random.Random, number: int, ids: list[bytes]) -> tuple[bytes, list[bytes]]:
    """A channel and its updates that nobody has signed."""
    first, second = sorted(chance.sample(ids, 2))
    place = (700_000 << 40 | number << 16).to_bytes(8, "big")
    announcement = b"\x01\x00" + chance.randbytes(256) + b"\0\0" + REGTEST.chain_hash + place + first + second
    updates: list[bytes] = []
    for direction in (0, 1):
        says = bytes((9, 9, 9, number % 256, 1, direction, 0, 80)) + bytes(8) + chance.randbytes(16)
        updates.append(b"\x01\x02" + chance.randbytes(64) + REGTEST.chain_hash + place + says)
    if chance.random() < 0.1:
        updates.pop()
    return announcement + chance.randbytes(66), updates
