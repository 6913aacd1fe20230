"""LND's describegraph: real ones, those that other programs rewrote, and what is damaged in one."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from tests.support.gossip import IDS
from tests.support.gossip_files import damages, items_of, snapshot_of, unpacked
from triolight.address import IPv4Address, IPv6Address, TorV2Address, TorV3Address, UnknownAddress
from triolight.gossip.formats import summarize
from triolight.gossip.formats.describegraph import MAX_VALUE, read_describegraph, write_describegraph
from triolight.gossip.formats.items import ChannelFacts, Damaged, Item, NodeFacts, PolicyFacts
from triolight.wire import ShortChannelId

ONION = "a" * 55 + "d"
A, B = (one.hex() for one in IDS[:2])
POLICY: dict[str, Any] = {
    "time_lock_delta": 40,
    "min_htlc": "1000",
    "fee_base_msat": "1",
    "fee_rate_milli_msat": "250",
    "disabled": True,
    "max_htlc_msat": "18446744073709551615",
    "last_update": 1700000000,
}
EDGE: dict[str, Any] = {
    "channel_id": "754484879054405632",
    "chan_point": "ab:1",
    "node1_pub": A,
    "node2_pub": B,
    "capacity": "3000000",
    "node1_policy": POLICY,
    "node2_policy": None,
}
SCID = ShortChannelId(754484879054405632)


def read(value: Any) -> list[Item]:
    return list(read_describegraph(io.BytesIO(value if isinstance(value, bytes) else json.dumps(value).encode())))


@pytest.mark.parametrize(
    ("name", "nodes", "edges", "policies", "disabled", "addresses", "capacity"),
    [
        ("10", 10, 13, 26, 2, 12, 176_000_000),
        ("50", 50, 78, 156, 19, 53, 1_046_955_248),
        ("100", 99, 533, 1066, 37, 142, 10_637_848_546),
    ],
)
def test_parts_of_the_real_graph(
    name: str, nodes: int, edges: int, policies: int, disabled: int, addresses: int, capacity: int
) -> None:
    data = unpacked(f"describegraph_LN_{name}.json")
    found = summarize(snapshot_of(data), 0)
    assert (found.nodes, found.channels, found.updates, found.disabled) == (nodes, edges, policies, disabled)
    assert (sum(found.addresses.values()), found.capacity_sat) == (addresses, capacity)
    assert not damages(items_of(data))
    # Written and read again it is the same.
    first = snapshot_of(data)
    written = b"".join(
        write_describegraph(
            map(first.node, sorted(first.nodes)), ((one.facts, *one.policies) for one in first.channels.values())
        )
    )
    second = snapshot_of(written)
    assert [one.facts for one in second.channels.values()] == [one.facts for one in first.channels.values()]
    assert [one.policies for one in second.channels.values()] == [one.policies for one in first.channels.values()]
    assert {*map(second.node, second.nodes)} == {*map(first.node, first.nodes)}


def test_a_policy_belongs_to_the_node_that_its_key_names() -> None:
    straight = read({"edges": [EDGE]})
    turned = read({"edges": [EDGE | {"node1_pub": B, "node2_pub": A}]})
    facts = ChannelFacts(SCID, IDS[0], IDS[1], b"", 3_000_000, "ab:1")
    policy = PolicyFacts(SCID, 0, 1700000000, True, 40, 1000, (1 << 64) - 1, 1, 250)
    assert straight == [facts, policy]
    assert turned[0] == facts
    assert isinstance(turned[1], PolicyFacts)
    assert turned[1].direction == 1


def test_numbers_may_be_numbers_and_fields_may_lack() -> None:
    loose = {"channel_id": 5, "node1_pub": A, "node2_pub": B, "capacity": 7, "node2_policy": {"fee_base_msat": 3}}
    assert read({"edges": [loose], "nodes": [{"pub_key": A}]}) == [
        ChannelFacts(ShortChannelId(5), IDS[0], IDS[1], b"", 7),
        PolicyFacts(ShortChannelId(5), 1, 0, False, 0, 0, 0, 3, 0),
        NodeFacts(IDS[0]),
    ]


def test_addresses_of_every_kind() -> None:
    hosts = ["1.2.3.4:9735", "[2001:db8::1]:9736", f"{ONION}.onion:1", "aaaaaaaaaaaaaaaa.onion:2", "no port", "-:5"]
    (node,) = read({"nodes": [{"pub_key": A, "addresses": [{"network": "tcp", "addr": one} for one in hosts]}]})
    assert isinstance(node, NodeFacts)
    assert node.addresses[:2] == (IPv4Address("1.2.3.4", 9735), IPv6Address("2001:db8::1", 9736))
    assert isinstance(node.addresses[2], TorV3Address)
    assert node.addresses[3:] == (
        TorV2Address(bytes(10), 2),
        UnknownAddress(0, b"no port"),
        UnknownAddress(0, b"-:5"),
    )
    written = json.loads(b"".join(write_describegraph([node], [])))
    assert [one["addr"] for one in written["nodes"][0]["addresses"]] == hosts


def test_ours_has_lnds_names() -> None:
    node = NodeFacts(IDS[0], 5, "Ölfaß".encode().ljust(32, b"\0"), b"\x01\x02\x03", b"\x02\x00")
    policy = PolicyFacts(SCID, 0, 9, False, 40, 1, 2, 3, 4)
    made = json.loads(b"".join(write_describegraph([node], [(ChannelFacts(SCID, IDS[0], IDS[1]), None, policy)])))
    assert made["nodes"][0] == {
        "last_update": 5,
        "pub_key": A,
        "alias": "Ölfaß",
        "addresses": [],
        "color": "#010203",
        "features": {"9": {"name": "var_onion_optin", "is_required": False, "is_known": True}},
        "custom_records": {},
    }
    edge = made["edges"][0]
    assert (edge["channel_id"], edge["capacity"], edge["chan_point"]) == (str(int(SCID)), "0", "")
    assert edge["node1_policy"] is None
    assert edge["node2_policy"]["fee_rate_milli_msat"] == "4"
    assert edge["node2_policy"]["time_lock_delta"] == 40
    assert edge["last_update"] == 9


def test_fees_for_what_comes_in_may_be_below_zero() -> None:
    said = POLICY | {"inbound_fee_base_msat": -7, "inbound_fee_rate_milli_msat": -(2**31)}
    items = read({"edges": [EDGE | {"node1_policy": said}], "nodes": []})
    channel, policy = items
    assert isinstance(channel, ChannelFacts)
    assert isinstance(policy, PolicyFacts)
    assert (policy.inbound_fee_base_msat, policy.inbound_fee_proportional_millionths) == (-7, -(2**31))
    assert read(b"".join(write_describegraph([], [(channel, policy, None)]))) == items
    for wrong in (2**31, -(2**31) - 1):
        bad = POLICY | {"inbound_fee_base_msat": wrong}
        assert [type(one) for one in read({"edges": [EDGE | {"node1_policy": bad}], "nodes": []})] == [Damaged]


def test_what_is_damaged_is_named_and_the_rest_is_read() -> None:
    good = json.dumps(EDGE)
    for bad in (
        '{"channel_id": }',
        '{"a": "}", [{]}',
        '{"channel_id": "x"}',
        "5",
        good.replace(A, "02ff"),
        good.replace('"3000000"', '"-1"'),
        good.replace('"1000"', "1.5"),
    ):
        text = f'{{"before": [1, {{}}], "edges": [{good}, {bad}, {good}], "behind": 5}}'
        found = read(text.encode())
        assert sum(isinstance(one, ChannelFacts) for one in found) >= 2, bad
        assert [one.offset for one in damages(found)] == [text.index(bad, 30 + len(good))], bad


def test_a_file_that_is_cut_gives_what_was_whole() -> None:
    whole = json.dumps({"nodes": [{"pub_key": A}, {"pub_key": B}], "edges": [EDGE]}).encode()
    for length in range(12, len(whole)):
        found = read(whole[:length])
        assert len(damages(found)) >= 1, whole[:length]
        assert all(one.offset <= length for one in damages(found))
    assert not damages(read(whole))


def test_no_more_is_held_than_a_value() -> None:
    """A list of three times the bound, and one value that alone is above it."""
    node = json.dumps({"pub_key": A, "alias": "x" * 1000})
    count = 3 * MAX_VALUE // len(node)
    taken = 0

    class Endless(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            nonlocal taken
            taken += size
            return (node + ",\n").encode() * (size // len(node)) if taken < 3 * MAX_VALUE else b""

    stream: Any = Endless()
    parts = [b'{"nodes": [']
    original = stream.read
    stream.read = lambda size: parts.pop() if parts else original(size)
    seen = 0
    for item in read_describegraph(stream):
        seen += isinstance(item, NodeFacts)
        assert taken <= seen * len(node) + 4 * 65536
    assert seen > count // 2
    huge = b'{"nodes": [{"alias": "' + b"x" * (MAX_VALUE + 100_000) + b'"}, {"pub_key": "' + A.encode() + b'"}]}'
    found = read(huge)
    assert [type(one) for one in found] == [Damaged, NodeFacts]


def test_what_is_no_describegraph_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not begin with \{"):
        read(b"[1]")
    with pytest.raises(ValueError, match="neither nodes nor edges"):
        read({"other": []})
