"""A graph in numbers: how much there is, how old, where, and who knows how many others. Counts; judges nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from triolight.address import (
    Address,
    DnsAddress,
    IPv4Address,
    IPv6Address,
    TorV2Address,
    TorV3Address,
)
from triolight.features import Features
from triolight.gossip.formats.snapshot import Snapshot

_DAY: Final = 24 * 60 * 60
AGES: Final = (
    ("1 day", _DAY),
    ("1 week", 7 * _DAY),
    ("2 weeks", 14 * _DAY),
    ("30 days", 30 * _DAY),
    ("1 year", 365 * _DAY),
)
"""Up to which age an update counts there; what is older is "older", what is dated later than now is "future"."""
FEATURES_COUNTED: Final = 2048
"""Bits below this are counted by their number."""
_KINDS: Final[Mapping[type[Address], str]] = {
    IPv4Address: "ipv4",
    IPv6Address: "ipv6",
    TorV2Address: "tor_v2",
    TorV3Address: "tor_v3",
    DnsAddress: "dns",
}
ADDRESS_KINDS: Final = (*_KINDS.values(), "unknown")


@dataclass(frozen=True, slots=True)
class Summary:
    """The numbers of a graph."""

    channels: int
    updates: int
    """Directions that have one."""
    nodes: int
    """Ends of channels."""
    announced_nodes: int
    """Those of them that say something of themselves."""
    capacity_sat: int
    """Of the channels whose capacity is known."""
    channels_without_capacity: int
    one_sided: int
    """Channels with an update in one direction only."""
    without_update: int
    disabled: int
    """Directions."""
    addresses: Mapping[str, int]
    """By kind."""
    nodes_without_address: int
    degrees: Mapping[str, int]
    """Nodes by how many channels they have, in steps that double."""
    largest_degree: int
    median_degree: int
    ages: Mapping[str, int]
    """Updates by how old they are."""
    features: Mapping[int, int]
    """Announced nodes that set a bit."""
    components: int
    largest_component: int
    """Nodes in it."""
    oldest_timestamp: int | None
    newest_timestamp: int | None


def summarize(snapshot: Snapshot, now: float) -> Summary:
    """The numbers of what was read. `now`: seconds since 1970, by which ages are told."""
    degree: Counter[bytes] = Counter()
    ages: Counter[str] = Counter()
    capacity = without_capacity = one_sided = without_update = updates = disabled = 0
    oldest: int | None = None
    newest: int | None = None
    for channel in snapshot.channels.values():
        degree.update(channel.node_ids)
        capacity += channel.capacity_sat or 0
        without_capacity += channel.capacity_sat is None
        known = [one for one in channel.policies if one is not None]
        updates += len(known)
        one_sided += len(known) == 1
        without_update += not known
        for policy in known:
            disabled += policy.disabled
            ages[_age(now - policy.timestamp)] += 1
            oldest = policy.timestamp if oldest is None else min(oldest, policy.timestamp)
            newest = policy.timestamp if newest is None else max(newest, policy.timestamp)
    addresses: Counter[str] = Counter()
    features: Counter[int] = Counter()
    announced = without_address = 0
    for node_id in degree:
        node = snapshot.node(node_id)
        if not (node.timestamp or node.alias or node.addresses):
            continue
        announced += 1
        without_address += not node.addresses
        addresses.update(map(address_kind, node.addresses))
        features.update(bit for bit in Features.from_bytes(node.features[-FEATURES_COUNTED // 8 :]))
    sizes = _components(degree, (one.node_ids for one in snapshot.channels.values()))
    ordered = sorted(degree.values())
    return Summary(
        channels=len(snapshot.channels),
        updates=updates,
        nodes=len(degree),
        announced_nodes=announced,
        capacity_sat=capacity,
        channels_without_capacity=without_capacity,
        one_sided=one_sided,
        without_update=without_update,
        disabled=disabled,
        addresses={kind: addresses[kind] for kind in ADDRESS_KINDS},
        nodes_without_address=without_address,
        degrees=_degrees(ordered),
        largest_degree=ordered[-1] if ordered else 0,
        median_degree=ordered[len(ordered) // 2] if ordered else 0,
        ages={name: ages[name] for name in ("future", *(name for name, _ in AGES), "older")},
        features=dict(sorted(features.items())),
        components=len(sizes),
        largest_component=max(sizes, default=0),
        oldest_timestamp=oldest,
        newest_timestamp=newest,
    )


def address_kind(address: Address) -> str:
    """One of `ADDRESS_KINDS`."""
    return _KINDS.get(type(address), "unknown")


def count_checked(snapshot: Snapshot) -> dict[str, int]:
    """Channels by what was known of their output when they were stored: ``output``, ``spent``, ``signatures`` where it
    was not looked up, ``unknown`` in files that do not say."""
    found: dict[str, int] = {"output": 0, "spent": 0, "signatures": 0, "unknown": 0}
    for channel in snapshot.channels.values():
        found["spent" if channel.spent_height is not None else channel.checked or "unknown"] += 1
    return found


def _age(seconds: float) -> str:
    if seconds < 0:
        return "future"
    return next((name for name, most in AGES if seconds <= most), "older")


def _degrees(ordered: list[int]) -> dict[str, int]:
    steps: Counter[int] = Counter(one.bit_length() for one in ordered)
    return {
        "1" if bits == 1 else f"{1 << bits - 1}-{(1 << bits) - 1}": steps[bits]
        for bits in range(1, max(steps, default=0) + 1)
    }


def _components(nodes: Iterable[bytes], channels: Iterable[tuple[bytes, bytes]]) -> list[int]:
    """How many nodes there are in each part that nothing joins to the others."""
    above = {node: node for node in nodes}

    def top(node: bytes) -> bytes:
        while above[node] != node:
            above[node] = node = above[above[node]]
        return node

    for one, other in channels:
        above[top(one)] = top(other)
    return [*Counter(map(top, above)).values()]
