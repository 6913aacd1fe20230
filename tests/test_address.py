"""Addresses as people write them, and BOLT 7's descriptors as nodes announce them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support import identity
from triolight import NodeAddress
from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    TorV2Address,
    TorV3Address,
    UnknownAddress,
    descriptor_of,
    is_public,
    is_reachable,
    read_addresses,
    unmapped,
    write_address,
)
from triolight.errors import DecodeError
from triolight.messages import BOLT, NodeAnnouncement

BOLT7: dict[str, Any] = json.loads((Path(__file__).parent / "vectors" / "bolt7_vectors.json").read_text())
ID = identity(1).hex()


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (f"{ID}@127.0.0.1:9736", "127.0.0.1", 9736),
        (f"{ID}@example.org", "example.org", 9735),
        (f" {ID.upper()}@[2001:db8::1]:1\n", "2001:db8::1", 1),
        (f"{ID}@[::1]", "::1", 9735),
    ],
)
def test_addresses(text: str, host: str, port: int) -> None:
    address = NodeAddress.parse(text)
    assert (address.node_id, address.host, address.port) == (identity(1), host, port)
    assert NodeAddress.parse(str(address)) == address


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("example.org:9735", "id@host:port"),
        ("02ab@example.org", "not a node id"),
        (f"{'05' + ID[2:]}@h", "not a node id"),
        (f"zz{ID[2:]}@h", "not a node id"),
        (f"{ID}@::1", "brackets"),
        (f"{ID}@[::1", "brackets"),
        (f"{ID}@[1.2.3.4]:1", "brackets"),
        (f"{ID}@[::1]9735", "brackets"),
        (f"{ID}@host:port", "no TCP port"),
        (f"{ID}@host:0", "no TCP port"),
        (f"{ID}@host:65536", "no TCP port"),
        (f"{ID}@host:123456", "no TCP port"),
        (f"{ID}@", "not a host"),
        (f"{ID}@a b", "not a host"),
        (f"{ID}@\x1b[31m", "not a host"),
    ],
)
def test_what_is_no_address(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        NodeAddress.parse(text)
    assert str(caught.value).isprintable()


def test_a_node_id_that_is_no_point() -> None:
    with pytest.raises(ValueError, match="not a node id"):
        NodeAddress(bytes(33), "host")


EXAMPLES: list[tuple[Address, str]] = [
    (IPv4Address("192.0.2.1", 9735), "01c00002012607"),
    (IPv6Address("2001:db8::1", 9735), "0220010db80000000000000000000000012607"),
    (TorV2Address(bytes(range(10)), 9735), "03000102030405060708092607"),
    (DnsAddress("example.org", 9735), "050b" + b"example.org".hex() + "2607"),
    (UnknownAddress(6, b"abc"), "06616263"),
]


@pytest.mark.parametrize(("address", "written"), EXAMPLES)
def test_descriptors(address: Address, written: str) -> None:
    assert write_address(address).hex() == written
    assert read_addresses(bytes.fromhex(written)) == (address,)


def test_onion_names() -> None:
    vector = BOLT7["onion_v3"]
    onion = TorV3Address.of(vector["hostname"], 9735)
    assert onion.key.hex() == vector["pubkey"]
    assert write_address(onion).hex() == "04" + vector["onion_addr"] + "2607"
    assert read_addresses(write_address(onion)) == (onion,)
    assert onion.host == vector["hostname"]
    assert onion.valid
    assert not TorV3Address(onion.key, b"xx", 3, 1).valid
    for bad in ("short.onion", "example.org"):
        with pytest.raises(ValueError, match="not a version 3 onion"):
            TorV3Address.of(bad, 1)


def test_reading_stops_at_the_first_unknown_type() -> None:
    data = bytes.fromhex("01c00002012607" + "06204c" + "01c00002012607")
    assert read_addresses(data) == (
        IPv4Address("192.0.2.1", 9735),
        UnknownAddress(6, bytes.fromhex("204c01c00002012607")),
    )


def test_a_host_name_that_is_not_ascii_costs_nobody_else_his_address() -> None:
    data = bytes.fromhex("050f62c3bc636865722e6578616d706c652607" + "01c00002012607")
    found = read_addresses(data)
    assert found == (UnknownAddress(5, data[1:19]), IPv4Address("192.0.2.1", 9735))
    assert b"".join(write_address(one) for one in found) == data


@pytest.mark.parametrize("data", ["01c0000201", "02", "05", "0503612e62", "0520616263"])
def test_descriptors_that_cannot_be_read(data: str) -> None:
    with pytest.raises(DecodeError):
        read_addresses(bytes.fromhex(data))


@pytest.mark.parametrize(
    "address",
    [
        IPv4Address("1.2.3.4", 70_000),
        TorV2Address(b"short", 1),
        TorV3Address(b"short", b"xx", 3, 1),
        DnsAddress("", 1),
        DnsAddress("x" * 256, 1),
    ],
)
def test_descriptors_that_cannot_be_written(address: Address) -> None:
    with pytest.raises(ValueError, match=r"no TCP port|has"):
        write_address(address)


def test_real_announcements_addresses_round_trip() -> None:
    seen = 0
    for case in BOLT7["real"]["node_announcement"]:
        message = BOLT.decode(bytes.fromhex(case["bytes"]))
        assert isinstance(message, NodeAnnouncement)
        addresses = read_addresses(message.addresses)
        assert b"".join(map(write_address, addresses)) == message.addresses
        seen += len(addresses)
    assert seen > 5


def test_descriptor_of_what_people_write() -> None:
    assert descriptor_of("127.0.0.1", 1) == IPv4Address("127.0.0.1", 1)
    assert descriptor_of("::1", 1) == IPv6Address("::1", 1)
    assert isinstance(descriptor_of(BOLT7["onion_v3"]["hostname"], 1), TorV3Address)
    assert descriptor_of("example.org", 1) == DnsAddress("example.org", 1)
    with pytest.raises(ValueError, match="not a host"):
        descriptor_of("a b", 1)
    # The dot that ends a name in DNS.
    assert descriptor_of(BOLT7["onion_v3"]["hostname"] + ".", 1) == descriptor_of(BOLT7["onion_v3"]["hostname"], 1)
    assert descriptor_of("example.org.", 1) == DnsAddress("example.org", 1)
    assert descriptor_of("127.0.0.1.", 1) == IPv4Address("127.0.0.1", 1)
    for bad in ("short.onion.", BOLT7["onion_v3"]["hostname"] + ".."):
        with pytest.raises(ValueError, match="not a version 3 onion name"):
            descriptor_of(bad, 1)


PRIVATE = ["0.0.0.1", "10.1.2.3", "100.64.0.1", "127.0.0.1", "169.254.1.1", "172.16.0.1", "172.31.9.9", "192.168.1.1"]
PRIVATE += ["192.88.99.1", "::1", "fe80::1", "fc00::1", "::ffff:8.8.8.8"]
PUBLIC = ["8.8.8.8", "172.15.0.1", "172.32.0.1", "100.128.0.1", "2001:db8::1", "3fff::1"]


@pytest.mark.parametrize(("host", "public"), [*((one, False) for one in PRIVATE), *((one, True) for one in PUBLIC)])
def test_which_addresses_are_told(host: str, public: bool) -> None:
    assert is_public(descriptor_of(host, 1)) is public


LONGEST = ".".join(["a" * 63] * 3 + ["a" * 61])


@pytest.mark.parametrize(
    ("host", "kept"),
    [
        ("example.org.", "example.org"),
        ("_service.xn--nxasmq6b.example", "_service.xn--nxasmq6b.example"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
        (LONGEST, LONGEST),
        (f"{LONGEST}.", LONGEST),
        ("127.1", "127.1"),
        ("1.2.3.4.", "1.2.3.4"),
        *((bad, None) for bad in ("", ".", "a..b", "-a.b", "a-.b", "-", f"{'a' * 64}.b", f"a{LONGEST}", "a..", "ä")),
    ],
)
def test_hosts_are_what_a_query_can_ask_for(host: str, kept: str | None) -> None:
    if kept is None:
        for make in (lambda: NodeAddress(identity(1), host), lambda: descriptor_of(host, 1)):
            with pytest.raises(ValueError, match="not a host"):
                make()
    else:
        assert NodeAddress(identity(1), host).host == kept
        assert descriptor_of(host, 1) == descriptor_of(kept, 1)


NOWHERE = ["192.0.0.9", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "198.19.255.255", "224.0.0.1"]
NOWHERE += ["239.1.1.1", "240.0.0.1", "255.255.255.255", "2001::7f00:1", "2002:7f00:1::1", "2001:db8::1", "3fff::1"]
NOWHERE += ["::ffff:10.0.0.1", "::ffff:224.0.0.1", "ff02::1"]
NOWHERE += ["localhost", "Node.LocalHost.", "127.1", "2130706433", "0x7f000001", "0x7f.1", "a.0X7F"]
SOMEWHERE = [
    "8.8.8.8",
    "192.0.1.1",
    "198.17.1.1",
    "223.255.255.255",
    "2600::1",
    "::ffff:8.8.8.8",
    "example.org",
    "a.b4",
]
SOMEWHERE += ["localhost.example", BOLT7["onion_v3"]["hostname"]]


@pytest.mark.parametrize(
    ("host", "reachable"),
    [*((one, False) for one in [*PRIVATE[:-1], *NOWHERE]), *((one, True) for one in SOMEWHERE)],
)
def test_where_a_node_can_be(host: str, reachable: bool) -> None:
    assert is_reachable(descriptor_of(host, 1)) is reachable


def test_the_ipv4_address_inside() -> None:
    assert unmapped(IPv6Address("::ffff:8.8.8.8", 1)) == IPv4Address("8.8.8.8", 1)
    for same in (IPv6Address("2600::1", 1), IPv4Address("8.8.8.8", 1), DnsAddress("example.org", 1)):
        assert unmapped(same) is same
    assert not is_reachable(UnknownAddress(9, b""))
    assert not is_reachable(DnsAddress("localhost", 1))
    assert not is_reachable(DnsAddress("0.localhost.", 1))


def test_names_and_onions_are_told_and_unknown_ones_not() -> None:
    assert is_public(DnsAddress("example.org", 1))
    assert not is_public(UnknownAddress(9, b""))
