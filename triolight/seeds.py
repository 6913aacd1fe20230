"""BOLT 10, the client's side: nodes to begin with, asked of a DNS seed that the caller names. Nothing here calls it.

Needs the extra `dns`: messages and transport are dnspython's. What is ours is what BOLT 10 adds (conditions, node ids
in bech32) and that nothing a seed or a resolver answers is trusted, or asked for without a bound.

Queries travel in clear text, past any proxy: who hides behind Tor does not ask seeds.
"""

# dnspython is typed in its signatures, but not inside its records.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import hashlib
import itertools
import os
import socket
from collections.abc import Iterable, Sequence
from typing import Final, cast

import trio

from triolight.address import DnsAddress, NodeAddress, descriptor_of, is_reachable
from triolight.bech32 import bech32_decode, bech32_encode
from triolight.keys import is_point
from triolight.text import printable, quoted

__all__ = [
    "ANSWER_SECONDS",
    "COUNT",
    "MAX_LOOKUPS",
    "MAX_RECORDS",
    "MAX_RESOLVERS",
    "RANDOM_BYTES",
    "SeedError",
    "node_label",
    "node_of_label",
    "seed_nodes",
    "system_resolvers",
]

try:
    import dns.asyncbackend
    import dns.asyncquery
    import dns.exception
    import dns.inet
    import dns.message
    import dns.name
    import dns.rcode
    import dns.rdata
    import dns.rdatatype
    import dns.resolver
    import dns.rrset
    from dns.rdtypes.IN.A import A as _A
    from dns.rdtypes.IN.AAAA import AAAA as _AAAA
    from dns.rdtypes.IN.SRV import SRV as _SRV
except ImportError as error:
    raise ImportError("DNS seeds need the extra 'dns': pip install 'triolight[dns]'") from error

COUNT: Final = 25
"""BOLT 10: so many nodes, if no condition says otherwise."""
MAX_RECORDS: Final = 100
"""Records of an answer that are looked at, of SRV and of each node's addresses: one over TCP could hold thousands."""
MAX_LOOKUPS: Final = 50
"""Queries for addresses that the seed did not add to its answer: two for each of the usual 25 nodes."""
MAX_ADDRESSES: Final = 4
"""Addresses taken for one record. A node that has more is as well reached by these."""
MAX_RESOLVERS: Final = 3
"""Resolvers asked, one after the other; as many as the system's own library asks."""
ANSWER_SECONDS: Final = 5.0
"""How long one resolver has for an answer; one that needed longer is not asked again. Datagrams get lost."""
RANDOM_BYTES: Final = 16
"""The least randomness that query ids are made from."""

_UDP_PAYLOAD: Final = 1232
"""Bytes of an answer that fit a datagram on every path; what is larger comes by TCP."""
_ANSWERS: Final = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)
_IPV4, _IPV6 = dns.rdatatype.A, dns.rdatatype.AAAA
_SOMEWHERE: Final = {_IPV4: (socket.AF_INET, "203.0.113.1"), _IPV6: (socket.AF_INET6, "2001:db8::1")}
"""Addresses for documents: nobody's, and on the way to everybody's."""

_NODE_PREFIX: Final = "ln"


def node_label(node_id: bytes) -> str:
    """A node id as BOLT 10 writes it into a host name, ``ln1…``. ValueError if it is not a point."""
    if not is_point(node_id):
        raise ValueError(f"not a node id: {printable(node_id.hex(), 80)}")
    # 264 bits are 53 values, the last bit of which is padding.
    number = int.from_bytes(node_id, "big") << 1
    return bech32_encode(_NODE_PREFIX, [number >> 5 * at & 31 for at in reversed(range(53))])


def node_of_label(label: str) -> bytes:
    """The node id, 33 bytes, in the first label of a seed's host name. ValueError says why there is none."""
    # The case of a host name means nothing, and resolvers mix it on purpose.
    prefix, values = bech32_decode(label.lower())
    if prefix != _NODE_PREFIX or len(values) != 53 or values[-1] & 1:
        raise ValueError(f"not a node id in bech32: {quoted(label, 80)}")
    number = 0
    for value in values:
        number = number << 5 | value
    node_id = (number >> 1).to_bytes(33, "big")
    if not is_point(node_id):
        raise ValueError(f"not a point of secp256k1: {quoted(label, 80)}")
    return node_id


def has_route(kind: dns.rdatatype.RdataType) -> bool:
    """Whether this machine knows a way to public addresses of this kind, A or AAAA. No packet leaves."""
    family, somewhere = _SOMEWHERE[kind]
    try:
        # For a datagram socket to connect is to look into the table of routes.
        with socket.socket(family, socket.SOCK_DGRAM) as asking:
            asking.connect((somewhere, 9735))
    except OSError:
        return False
    return True


class SeedError(OSError):
    """A seed gave no answer. The text names the seed, and what every resolver that was asked said or did."""


def system_resolvers(path: str = "/etc/resolv.conf") -> list[tuple[str, int]]:
    """The resolvers that this system is set to use, as address and port. SeedError if it is set to use none."""
    try:
        resolver = dns.resolver.Resolver(path)
    except dns.exception.DNSException as error:
        raise SeedError(f"no resolver: {error}") from error
    return [(one, resolver.port) for one in resolver.nameservers if isinstance(one, str)]


@trio.lowlevel.enable_ki_protection
async def seed_nodes(
    seed: str,
    *,
    random_data: bytes,
    resolvers: Sequence[tuple[str, int]] | None = None,
    count: int = COUNT,
    realm: int = 0,
    ipv4: bool | None = None,
    ipv6: bool | None = None,
    node_id: bytes | None = None,
) -> list[NodeAddress]:
    """Addresses of nodes, in the order in which the seed gave them; none, if it has none that meets the conditions.

    `seed` is the root of its domain. `resolvers` are IP addresses with ports, asked in this order and no more of them
    than `MAX_RESOLVERS`; without any, the system's. `count` (1 to `MAX_RECORDS`) bounds the nodes, not their addresses.
    `realm` is BOLT 10's, 0 for Bitcoin. With `node_id` the seed is asked for that one. `random_data`, `RANDOM_BYTES` or
    more that nobody can guess and that are used once, makes the ids of the queries.

    `ipv4` and `ipv6` say which addresses are wanted. None: if this machine has a route to such addresses; without any
    route, both, for whoever dials then does so in another way.

    A seed need not keep to conditions, and need not know what can be dialled. Left out, and counted nowhere, is what
    does not meet them, what has no node id in it or port 0, and an address where no node of the public internet can be
    (`is_reachable` in address.py, as the policy has it for what others have told us). Nothing proves that a node is at
    its address but the handshake with it.

    Raises ValueError if an argument does not fit, SeedError if no resolver has an answer. One call takes at most
    `ANSWER_SECONDS` for each resolver, and for each of at most `MAX_LOOKUPS` addresses the seed did not send along; a
    shorter deadline is the caller's. Cancelled, it closes its socket.
    """
    if not 0 < count <= MAX_RECORDS:
        raise ValueError(f"a seed is asked for 1 to {MAX_RECORDS} nodes, not {count}")
    if not 0 <= realm <= 0xFF:
        raise ValueError(f"a realm is one byte, not {realm}")
    wanted = _wanted(ipv4, ipv6)
    if len(random_data) < RANDOM_BYTES:
        raise ValueError(f"random_data has {RANDOM_BYTES} bytes or more, not {len(random_data)}")
    conditions = [f"r{realm}"] if realm else []
    if len(wanted) == 1:
        # A bit for each type of address descriptor: 1 is IPv4, 2 is IPv6.
        conditions.append("a2" if _IPV4 in wanted else "a4")
    if node_id is not None:
        conditions.append(f"l{node_label(node_id)}")
    if count != COUNT:
        conditions.append(f"n{count}")
    root, name = _names(seed, conditions)
    asker = _Asker(system_resolvers() if resolvers is None else resolvers, random_data)
    try:
        answer = await asker.ask(name, dns.rdatatype.SRV)
        if answer.rcode() == dns.rcode.NXDOMAIN:
            raise SeedError("there is no such name")
        found = answer.resolve_chaining().answer
    except (dns.exception.DNSException, SeedError) as error:
        raise SeedError(f"seed {printable(seed, 255)}: {error}") from error

    nodes: dict[NodeAddress, None] = {}  # a set that keeps its order
    known: set[bytes] = set()
    lookups = MAX_LOOKUPS
    for record in _first(found, MAX_RECORDS):
        if not isinstance(record, _SRV) or not record.port:
            continue
        target = record.target
        # Elsewhere the seed would choose what we ask our resolver for.
        if not target.is_subdomain(root):
            continue
        try:
            node = node_of_label(target.labels[0].decode("latin-1"))
        except ValueError:
            continue
        if node_id not in (None, node) or (node not in known and len(known) >= count):
            continue
        hosts = _addresses(answer.additional, target, wanted)
        if not hosts:
            for kind in wanted[:lookups]:
                lookups -= 1
                hosts += await asker.addresses(target, kind)
        usable = dict.fromkeys(host for host in hosts if is_reachable(descriptor_of(host, record.port)))
        for host in itertools.islice(usable, MAX_ADDRESSES):
            nodes[NodeAddress(node, host, record.port)] = None
            known.add(node)
    return list(nodes)


def _wanted(ipv4: bool | None, ipv6: bool | None) -> tuple[dns.rdatatype.RdataType, ...]:
    """The kinds of addresses that are asked for. ValueError if none of them is wanted."""
    said = {_IPV4: ipv4, _IPV6: ipv6}
    open_ = [kind for kind, want in said.items() if want is None]
    routed = [kind for kind in open_ if has_route(kind)]
    wanted = tuple(kind for kind, want in said.items() if want or kind in routed)
    wanted = wanted or tuple(open_)
    if not wanted:
        raise ValueError("a seed knows IPv4 and IPv6 addresses: neither is wanted")
    return wanted


def _names(seed: str, conditions: list[str]) -> tuple[dns.name.Name, dns.name.Name]:
    """The seed's root, and what it is asked for. ValueError if they are no names of DNS."""
    try:
        if not isinstance(descriptor_of(seed, 53), DnsAddress):
            raise ValueError("an address")
        root = dns.name.from_text(seed)
        return root, dns.name.from_text(".".join(("_nodes", "_tcp", *conditions)), root)
    except (ValueError, dns.exception.DNSException):
        raise ValueError(f"not the name of a seed: {quoted(seed, 255)}") from None


def _first(rrset: dns.rrset.RRset | None, most: int) -> list[dns.rdata.Rdata]:
    """In the order of the message."""
    return list(itertools.islice(cast("Iterable[dns.rdata.Rdata]", rrset or ()), most))


def _addresses(
    sections: Sequence[dns.rrset.RRset], name: dns.name.Name, wanted: Sequence[dns.rdatatype.RdataType]
) -> list[str]:
    return [
        record.address
        for rrset in sections
        if rrset.name == name and rrset.rdtype in wanted
        for record in _first(rrset, MAX_RECORDS)
        if isinstance(record, _A | _AAAA)
    ]


class _Asker:
    """Asks one resolver after the other, until one answers."""

    def __init__(self, resolvers: Sequence[tuple[str, int]], random_data: bytes) -> None:
        self._resolvers: Final = list(resolvers[:MAX_RESOLVERS])
        self._random_data: Final = random_data
        self._asked = 0
        # Named, since to look for it the library would go through the process's global default.
        self._backend: Final = dns.asyncbackend.get_backend("trio")
        for host, port in self._resolvers:
            if not dns.inet.is_address(host) or not 0 < port <= 0xFFFF:
                raise ValueError(f"not a resolver: {quoted(host, 80)}, port {port}")

    async def ask(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> dns.message.QueryMessage:
        """An answer, or the word that there is no such name. SeedError has what each resolver said or did instead."""
        said: list[str] = []
        for resolver in self._resolvers[:]:
            host, port = resolver
            query = dns.message.make_query(name, kind, use_edns=0, payload=_UDP_PAYLOAD, id=self._next_id())
            with trio.move_on_after(ANSWER_SECONDS) as scope:
                try:
                    # What does not fit the query is not an answer to it: anybody can send datagrams.
                    answer, _ = await dns.asyncquery.udp_with_fallback(
                        query, host, port=port, ignore_unexpected=True, ignore_errors=True, backend=self._backend
                    )
                except (OSError, EOFError, trio.BrokenResourceError, dns.exception.DNSException) as error:
                    said.append(f"{host}: {_words(error)}")
                    continue
                if isinstance(answer, dns.message.QueryMessage) and answer.rcode() in _ANSWERS:
                    return answer
                said.append(f"{host}: {dns.rcode.to_text(answer.rcode())}")
            if scope.cancelled_caught:
                said.append(f"{host}: no answer within {ANSWER_SECONDS:g} seconds")
                self._resolvers.remove(resolver)
        raise SeedError("; ".join(said) or "there is no resolver to ask")

    async def addresses(self, name: dns.name.Name, kind: dns.rdatatype.RdataType) -> list[str]:
        """Of one name; none if nobody says any."""
        try:
            found = (await self.ask(name, kind)).resolve_chaining().answer
        except (dns.exception.DNSException, SeedError):
            return []
        return [] if found is None else _addresses([found], found.name, [kind])

    def _next_id(self) -> int:
        self._asked += 1
        return int.from_bytes(hashlib.sha256(self._random_data + self._asked.to_bytes(4, "big")).digest()[:2], "big")


def _words(error: Exception) -> str:
    if isinstance(error, dns.exception.DNSException):
        return f"answered with what is no answer: {error}"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return "hung up"
