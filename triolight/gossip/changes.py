"""What changed in a graph: values, in the order in which it happened, until who asks has read them.

The channels and nodes in them are the graph's own: read later, they say what is so then.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from triolight.gossip.graph import Channel, Node
from triolight.gossip.verdicts import Verdict
from triolight.messages import ChannelUpdate

__all__ = [
    "Change",
    "Changes",
    "ChannelAdded",
    "ChannelChanged",
    "ChannelProven",
    "ChannelRemoved",
    "ChannelSpent",
    "Conflict",
    "Judged",
    "NodeChanged",
    "PrivateUpdate",
    "WhyRemoved",
]

WhyRemoved: TypeAlias = Literal["old", "spent", "spliced", "replaced", "blacklisted", "reorganised", "disproven"]
"""``old``: a side said nothing for too long. ``replaced``: another one of the same short_channel_id was proven.
``reorganised``: its block is gone; it comes back when the chain has it again. ``disproven``: a chain that was asked
later has no such output."""


@dataclass(frozen=True, slots=True)
class ChannelAdded:
    """A channel is public, or it is back after it was pruned; then both its updates are new to the others too."""

    channel: Channel
    source: bytes | None = None
    """The peer whose message it was, None if it was our own or came with a block."""
    returned: bool = False


@dataclass(frozen=True, slots=True)
class ChannelChanged:
    """An end of it said something newer."""

    channel: Channel
    direction: int
    source: bytes | None = None
    before: bytes | None = field(default=None, repr=False, compare=False)
    """Its update before this one, for who passes on only what is news."""


@dataclass(frozen=True, slots=True)
class ChannelProven:
    """A chain has confirmed the output of a channel that was in the graph on its signatures alone."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class ChannelRemoved:
    """It is not in the graph any more."""

    channel: Channel
    why: WhyRemoved


@dataclass(frozen=True, slots=True)
class ChannelSpent:
    """Its output was spent, or a reorganisation has undone that. It stays for 72 blocks, and is not passed on."""

    channel: Channel


@dataclass(frozen=True, slots=True)
class NodeChanged:
    """A node said something newer of itself. A node comes and goes with its channels, and that is no change of it."""

    node: Node
    source: bytes | None = None


@dataclass(frozen=True, slots=True)
class Conflict:
    """A valid announcement of a channel that is known with other nodes. Changes nothing by itself."""

    channel: Channel
    announcement: bytes
    source: bytes | None


@dataclass(frozen=True, slots=True)
class PrivateUpdate:
    """A peer tells of its side of a channel that is not announced. Never in the graph, never passed on."""

    source: bytes
    update: ChannelUpdate


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on a message that had to wait: `take` had said so much and no more."""

    source: bytes | None
    short_channel_id: int
    verdict: Verdict


Change: TypeAlias = (
    ChannelAdded
    | ChannelChanged
    | ChannelProven
    | ChannelRemoved
    | ChannelSpent
    | NodeChanged
    | Conflict
    | PrivateUpdate
    | Judged
)
"""What can happen to a graph."""


class Changes:
    """Those that nobody has read yet. Beyond the bound the oldest go, and are counted in `lost`."""

    __slots__ = ("_waiting", "lost", "most")

    def __init__(self, most: int) -> None:
        self.most: Final = most
        self.lost = 0
        self._waiting: deque[Change] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, change: Change) -> None:
        """The next one."""
        self.lost += len(self._waiting) == self.most
        self._waiting.append(change)

    def drain(self) -> list[Change]:
        """All of them, the oldest first, and they are gone."""
        given = list(self._waiting)
        self._waiting.clear()
        return given
