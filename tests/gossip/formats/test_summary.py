"""A graph in numbers."""

from __future__ import annotations

from tests.support.gossip import NOW, SCID, channel, node, update
from tests.support.gossip_files import snapshot_of
from triolight.address import DnsAddress, IPv4Address, IPv6Address, TorV2Address, TorV3Address, write_address
from triolight.gossip.formats import Snapshot, count_checked, summarize
from triolight.gossip.formats.items import Capacity, Checked, Signed, Spent
from triolight.wire import ShortChannelId

ADDRESSES = b"".join(
    write_address(one)
    for one in (
        IPv4Address("1.2.3.4", 1),
        IPv4Address("1.2.3.5", 1),
        IPv6Address("::1", 1),
        TorV2Address(bytes(10), 1),
        TorV3Address(bytes(32), b"\0\0", 3, 1),
        DnsAddress("a.example", 1),
    )
)
DAY = 86400


def test_an_empty_graph() -> None:
    found = summarize(Snapshot(), NOW)
    assert (found.channels, found.nodes, found.components, found.largest_degree) == (0, 0, 0, 0)
    assert found.newest_timestamp is None
    assert found.degrees == {}


def test_the_numbers() -> None:
    """A star of four nodes, and two nodes that nothing joins to it."""
    scids = [number << 40 for number in (1, 2, 3, 4)]
    ends = [(0, 1), (0, 2), (0, 3), (4, 5)]
    messages = [channel(scid, *pair) for scid, pair in zip(scids, ends, strict=True)]
    messages += [update(scids[0], 0, NOW), update(scids[0], 1, NOW - 20 * DAY, channel_flags=3)]
    messages += [update(scids[1], 0, NOW - 400 * DAY), update(scids[2], 0, NOW + 5)]
    messages += [node(0, addresses=ADDRESSES, features=b"\x02\x00"), node(1), node(7)]
    snapshot = snapshot_of([Signed(0, one) for one in messages])
    snapshot.take(Capacity(0, next(iter(snapshot.channels)), 700))
    found = summarize(snapshot, NOW)
    assert (found.channels, found.updates, found.nodes, found.announced_nodes) == (4, 4, 6, 2)
    assert (found.capacity_sat, found.channels_without_capacity) == (700, 3)
    assert (found.one_sided, found.without_update, found.disabled) == (2, 1, 1)
    assert found.addresses == {"ipv4": 2, "ipv6": 1, "tor_v2": 1, "tor_v3": 1, "dns": 1, "unknown": 0}
    assert found.nodes_without_address == 1
    assert (found.degrees, found.largest_degree, found.median_degree) == ({"1": 5, "2-3": 1}, 3, 1)
    assert {name: count for name, count in found.ages.items() if count} == {
        "future": 1,
        "1 day": 1,
        "30 days": 1,
        "older": 1,
    }
    assert found.features == {9: 1}
    assert (found.components, found.largest_component) == (2, 4)
    assert (found.oldest_timestamp, found.newest_timestamp) == (NOW - 400 * DAY, NOW + 5)


def test_what_was_known_of_outputs() -> None:
    ids = [ShortChannelId.of(number, 1, 0) for number in range(1, 5)]
    snapshot = snapshot_of([Signed(0, channel(one)) for one in ids])
    for item in (Checked(ids[0], "output"), Checked(ids[1], "signatures"), Checked(ids[2], "output")):
        snapshot.take(item)
    snapshot.take(Spent(0, ids[2], 700))
    assert count_checked(snapshot) == {"output": 1, "spent": 1, "signatures": 1, "unknown": 1}


def test_an_unknown_address_is_counted() -> None:
    snapshot = snapshot_of([Signed(0, channel(SCID)), Signed(0, node(0, addresses=b"\x09\x01"))])
    assert summarize(snapshot, NOW).addresses["unknown"] == 1
