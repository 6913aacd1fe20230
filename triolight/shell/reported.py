"""Where others see us: `remote_addr` in the Inits of peers that we dialled (BOLT 1), if enough agree. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from triolight.address import IPv4Address, IPv6Address, is_reachable, read_addresses, unmapped
from triolight.errors import DecodeError
from triolight.peer_manager import PeerDetails

AGREEING_REPORTS: Final = 2
"""Peers that must have seen us at the same address before it is believed: one alone can say anything."""


def agreed_hosts(peers: Iterable[PeerDetails]) -> list[str]:
    """The public IP addresses that at least AGREEING_REPORTS of these peers see us at, sorted."""
    seen: dict[str, int] = {}
    for peer in peers:
        host = _reported_host(peer)
        if host is not None:
            seen[host] = seen.get(host, 0) + 1
    return sorted(host for host, count in seen.items() if count >= AGREEING_REPORTS)


def _reported_host(peer: PeerDetails) -> str | None:
    """The public IP address that a peer sees us at; None if it does not say, or is not to be asked."""
    told = peer.init.tlvs.remote_addr
    if peer.inbound or not told:
        return None
    try:
        addresses = read_addresses(told)
    except DecodeError:
        return None
    match addresses:
        case (IPv4Address() | IPv6Address() as told_one,):
            one = unmapped(told_one)
            return one.host if isinstance(one, IPv4Address | IPv6Address) and is_reachable(one) else None
        case _:
            return None
