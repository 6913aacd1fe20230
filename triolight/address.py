"""Where a node can be reached: BOLT 7's address descriptors, and ``id@host:port``. No DNS, no sockets."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from triolight.errors import DecodeError
from triolight.keys import is_point
from triolight.text import place, printable, quoted

__all__ = [
    "Address",
    "DnsAddress",
    "IPv4Address",
    "IPv6Address",
    "NodeAddress",
    "TorV2Address",
    "TorV3Address",
    "UnknownAddress",
    "descriptor_of",
    "is_public",
    "is_reachable",
    "read_addresses",
    "readable",
    "write_address",
]

DEFAULT_PORT: Final = 9735
"""BOLT 1: the port of mainnet."""

# Compiled when they are first used: whoever imports us may never need them.
_ONION_V3: Final = r"[a-z2-7]{56}\.onion"
_LABEL: Final = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
_NAME: Final = rf"(?=.{{1,253}}\Z)({_LABEL}\.)*{_LABEL}"
"""RFC 1035 2.3.4. What does not fit, no DNS query can ask for, and Python's own resolver raises for it."""
_NUMBER: Final = r"[0-9]+|0[xX].*"


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node to dial: its id (33 bytes), and a host (name, IPv4, IPv6 or .onion) with a TCP port.

    A name has labels of 1 to 63 letters, digits, hyphens and underscores, and at most 253 characters; a dot at its end
    is dropped. ValueError for anything else.
    """

    node_id: bytes
    host: str
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        if not is_point(self.node_id):
            raise ValueError(f"not a node id: {printable(self.node_id.hex(), 80)}")
        if not 0 < self.port <= 0xFFFF:
            raise ValueError(f"no TCP port: {self.port}")
        object.__setattr__(self, "host", self.host.removesuffix("."))
        if not is_ip(self.host) and not is_name(self.host):
            raise ValueError(f"not a host: {quoted(self.host, 80)}")

    @classmethod
    def parse(cls, text: str) -> NodeAddress:
        """From ``id@host:port``; without a port 9735, IPv6 in brackets. ValueError says what is wrong."""
        identity, at, place = text.strip().partition("@")
        shown = quoted(text, 120)
        if not at:
            raise ValueError(f"no node id in {shown}: write it as id@host:port")
        try:
            node_id = bytes.fromhex(identity)
        except ValueError:
            node_id = b""
        if len(identity) != 66 or not is_point(node_id):
            raise ValueError(f"not a node id in {shown}: it is 66 hex digits, a compressed point of secp256k1")
        if place.startswith("["):
            host, bracket, rest = place[1:].partition("]")
            if not bracket or (rest and not rest.startswith(":")) or not is_ip(host) or ":" not in host:
                raise ValueError(f"not an IPv6 address in brackets in {shown}")
            port = rest[1:] if rest else str(DEFAULT_PORT)
        elif place.count(":") > 1:
            raise ValueError(f"an IPv6 address goes in brackets: {shown}")
        else:
            host, colon, port = place.partition(":")
            if not colon:
                port = str(DEFAULT_PORT)
        if not (port.isascii() and port.isdigit() and len(port) <= 5):
            raise ValueError(f"no TCP port in {shown}")
        return cls(node_id, host, int(port))

    def __str__(self) -> str:
        return f"{self.node_id.hex()}@{place(self.host, self.port)}"


def is_ip(host: str) -> bool:
    """Whether a host is an IP address; that of IPv6 may name a zone."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_name(host: str) -> bool:
    """Whether a DNS query could ask for it; without the dot that may end a name."""
    return re.fullmatch(_NAME, host) is not None


def is_number(name: str) -> bool:
    """Whether a name's last label is a number: ``127.1`` and ``0x7f000001`` are loopback's address to a resolver."""
    return re.fullmatch(_NUMBER, name.removesuffix(".").rpartition(".")[2]) is not None


def is_onion(host: str) -> bool:
    """Whether a host is an onion service, or named like one: nothing that DNS should hear of."""
    return host.lower().rstrip(".").endswith(".onion")


@dataclass(frozen=True, slots=True)
class IPv4Address:
    """Descriptor 1."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class IPv6Address:
    """Descriptor 2."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TorV2Address:
    """Descriptor 3: Tor's version 2, which no longer exists. Kept as it came: ten bytes and a port."""

    key: bytes
    port: int


@dataclass(frozen=True, slots=True)
class TorV3Address:
    """Descriptor 4: an onion service by its ed25519 key (32 bytes). `checksum` and `version` are kept as they came."""

    key: bytes
    checksum: bytes
    version: int
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> TorV3Address:
        """From ``….onion``. ValueError if it is not 56 base32 characters and the suffix."""
        if not re.fullmatch(_ONION_V3, host.lower()):
            raise ValueError(f"not a version 3 onion name: {quoted(host, 80)}")
        raw = base64.b32decode(host[:56].upper())
        return cls(raw[:32], raw[32:34], raw[34], port)

    @property
    def host(self) -> str:
        """Its name, as it is dialled."""
        raw = self.key + self.checksum + bytes((self.version,))
        return base64.b32encode(raw).decode("ascii").lower() + ".onion"

    @property
    def valid(self) -> bool:
        """Whether the checksum is the key's and the version is 3."""
        digest = hashlib.sha3_256(b".onion checksum" + self.key + bytes((self.version,))).digest()
        return self.version == 3 and digest[:2] == self.checksum


@dataclass(frozen=True, slots=True)
class DnsAddress:
    """Descriptor 5: a host name in ASCII."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UnknownAddress:
    """A descriptor of a type that is not defined (yet): its length is unknown too, so it holds all that followed.
    Also a host name that is not ASCII, by itself."""

    type: int
    data: bytes


Address: TypeAlias = IPv4Address | IPv6Address | TorV2Address | TorV3Address | DnsAddress | UnknownAddress
"""One of BOLT 7's address descriptors."""

_SIZES: Final = {1: 6, 2: 18, 3: 12, 4: 37}


def read_addresses(data: bytes) -> tuple[Address, ...]:
    """BOLT 7's address descriptors, one after the other. Reading stops at the first unknown type, which is kept.

    Raises DecodeError if a descriptor of a known type is cut short.
    """
    found: list[Address] = []
    at = 0
    while at < len(data):
        type_ = data[at]
        if type_ == 5:
            size = 1 + (data[at + 1] if at + 1 < len(data) else 0) + 2
        elif type_ in _SIZES:
            size = _SIZES[type_]
        else:
            found.append(UnknownAddress(type_, data[at + 1 :]))
            break
        body = data[at + 1 : at + 1 + size]
        if len(body) < size:
            raise DecodeError(f"address type {type_} needs {size} bytes, {len(body)} are left", offset=at)
        port = int.from_bytes(body[-2:], "big")
        match type_:
            case 1:
                found.append(IPv4Address(str(ipaddress.IPv4Address(body[:4])), port))
            case 2:
                found.append(IPv6Address(str(ipaddress.IPv6Address(body[:16])), port))
            case 3:
                found.append(TorV2Address(body[:10], port))
            case 4:
                found.append(TorV3Address(body[:32], body[32:34], body[34], port))
            case _:
                if body[1:-2].isascii():
                    found.append(DnsAddress(body[1:-2].decode("ascii"), port))
                else:  # not usable, but no reason to lose the others
                    found.append(UnknownAddress(type_, body))
        at += 1 + size
    return tuple(found)


def write_address(address: Address) -> bytes:
    """One descriptor, its type byte included. ValueError if a part does not fit."""
    if isinstance(address, UnknownAddress):
        return bytes((address.type,)) + address.data
    if not 0 <= address.port <= 0xFFFF:
        raise ValueError(f"no TCP port: {address.port}")
    port = address.port.to_bytes(2, "big")
    match address:
        case IPv4Address():
            return b"\x01" + ipaddress.IPv4Address(address.host).packed + port
        case IPv6Address():
            return b"\x02" + ipaddress.IPv6Address(address.host).packed + port
        case TorV2Address():
            if len(address.key) != 10:
                raise ValueError(f"a version 2 onion name has 10 bytes, not {len(address.key)}")
            return b"\x03" + address.key + port
        case TorV3Address():
            if len(address.key) != 32 or len(address.checksum) != 2:
                raise ValueError("a version 3 onion name has a key of 32 bytes and a checksum of 2")
            return b"\x04" + address.key + address.checksum + bytes((address.version,)) + port
        case DnsAddress():
            name = address.host.encode("ascii")
            if not 0 < len(name) < 256:
                raise ValueError(f"a host name has 1 to 255 characters, not {len(name)}")
            return b"\x05" + bytes((len(name),)) + name + port


def readable(address: Address) -> str:
    """For people: ``host:port``, an IPv6 host in brackets; what has no host is described instead."""
    match address:
        case IPv6Address(host=host, port=port):
            return f"[{host}]:{port}"
        case IPv4Address(host=host, port=port):
            return f"{host}:{port}"
        case DnsAddress(host=host, port=port):
            return f"{printable(host)}:{port}"
        case TorV3Address():
            return f"{address.host}:{address.port}{'' if address.valid else ' (its checksum is wrong)'}"
        case TorV2Address():
            return "an onion of version 2"
        case UnknownAddress(type=type_, data=data):
            return f"unknown type {type_} ({len(data)} bytes)"


def descriptor_of(host: str, port: int) -> Address:
    """The descriptor of a host as people write it: IPv4, IPv6, version 3 onion, or a name. ValueError if it is none.

    The dot that may end a name is dropped: ``….onion.`` is an onion.
    """
    host = host.removesuffix(".")
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return IPv4Address(str(ip), port) if ip.version == 4 else IPv6Address(str(ip), port)
    if is_onion(host):
        return TorV3Address.of(host, port)
    if not is_name(host):
        raise ValueError(f"not a host: {quoted(host, 80)}")
    return DnsAddress(host, port)


_NOT_PUBLIC_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "192.88.99.0/24",
    )
)
_PUBLIC_V6: Final = ipaddress.IPv6Network("2000::/3")
_NO_NODE_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "192.0.0.0/24",  # IETF protocols
        "192.0.2.0/24",  # for documents, as the next two
        "198.51.100.0/24",
        "203.0.113.0/24",
        "198.18.0.0/15",  # benchmarks
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_NO_NODE_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # IETF protocols; Teredo, which has any IPv4 address inside
        "2001:db8::/32",  # for documents, as the last one
        "2002::/16",  # 6to4, with any IPv4 address inside
        "3fff::/20",
    )
)


def is_public(address: Address) -> bool:
    """Whether a peer may be told an address as `remote_addr`: LDK's filter of private ranges. Names, onions pass."""
    if isinstance(address, IPv4Address):
        ip = ipaddress.IPv4Address(address.host)
        return not any(ip in network for network in _NOT_PUBLIC_V4)
    if isinstance(address, IPv6Address):
        return ipaddress.IPv6Address(address.host) in _PUBLIC_V6
    return not isinstance(address, UnknownAddress)


def unmapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (``::ffff:…``), which is how a socket for both shows IPv4; else the same."""
    if isinstance(address, IPv6Address):
        inside = ipaddress.IPv6Address(address.host).ipv4_mapped
        if inside is not None:
            return IPv4Address(str(inside), address.port)
    return address


def is_reachable(address: Address) -> bool:
    """Whether a node of the public internet could be there. Stricter than `is_public`: no multicast, reserved,
    benchmark or document address either, and of a mapped IPv6 address the IPv4 one inside counts. Of names only those
    are refused that mean an address or this machine without DNS: ``127.1``, ``localhost``.
    """
    address = unmapped(address)
    if isinstance(address, IPv4Address):
        ip = ipaddress.IPv4Address(address.host)
        return is_public(address) and not any(ip in network for network in _NO_NODE_V4)
    if isinstance(address, IPv6Address):
        ip6 = ipaddress.IPv6Address(address.host)
        return is_public(address) and not any(ip6 in network for network in _NO_NODE_V6)
    if isinstance(address, DnsAddress):
        last = address.host.removesuffix(".").lower().rpartition(".")[2]
        return last != "localhost" and not is_number(address.host)
    return is_public(address)
