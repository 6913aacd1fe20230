"""What `open_gossip` counts, as a snapshot: a line a number, from which the live table and the metrics page follow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final, Literal

from triolight.shell.statistics import Counted, counted_fields

__all__ = ["GossipStatistics", "PeerState", "gossip_statistics"]


class PeerState(StrEnum):
    """Where a peer stands with our asking for gossip."""

    ASKED = "asked"
    """It is asked for what it has, and tells it."""
    STREAMS = "streams"
    """It tells us by itself what is new."""
    WAITS = "waits"
    """Others are asked and stream."""
    ELSEWHERE = "elsewhere"
    """It is of another chain."""


def _counted(read: Callable[[Any], Any], words: str, kind: Literal["gauge", "counter"], label: str = "") -> Any:
    def read_it(gossip: Any, _: Any) -> Any:
        return read(gossip)

    return field(metadata={"counted": Counted(read_it, words, kind, label)})


@dataclass(frozen=True, slots=True)
class GossipStatistics:
    """A snapshot of a graph that is kept current, and of how."""

    graph_channels: int = _counted(lambda gossip: len(gossip.graph.channels), "Channels of the graph.", "gauge")
    graph_nodes: int = _counted(lambda gossip: len(gossip.graph.nodes), "Nodes of the graph.", "gauge")
    gossip_messages: Mapping[str, int] = _counted(
        lambda gossip: MappingProxyType({one.value: count for one, count in gossip.verdicts.items() if count}),
        "Messages of gossip, by what became of them.",
        "counter",
        "verdict",
    )
    """By `Verdict`."""
    gossip_peers: Mapping[str, int] = _counted(
        lambda gossip: MappingProxyType(_states(gossip)),
        "Peers, by where they stand with our asking.",
        "gauge",
        "state",
    )
    """By `PeerState`."""
    fetch_channels: Mapping[str, int] = _counted(
        lambda gossip: MappingProxyType(_fetch(gossip)),
        "Channels of the fetch that runs: those that its peers list, and those of them that are settled.",
        "gauge",
        "what",
    )
    """``listed`` and ``settled``; empty while nothing is fetched."""


_NONE: Final[Any] = None
"""Sums over connections, of which none is asked here."""
_NOBODY: Final = {one.value: 0 for one in PeerState}


def _states(gossip: Any) -> dict[str, int]:
    return _NOBODY | Counter(one.value for one in gossip.states().values())


def _fetch(gossip: Any) -> dict[str, int]:
    progress = gossip.progress
    return {} if progress is None else {"listed": progress.known, "settled": progress.got + progress.absent}


def gossip_statistics(gossip: Any) -> GossipStatistics:
    """A snapshot of all that an open block counts."""
    return GossipStatistics(**{name: one.read(gossip, _NONE) for name, one in counted_fields(GossipStatistics).items()})
