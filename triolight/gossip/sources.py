"""One connection that a fetch asks: what it lists, what is asked of it, what it has told. Decides nothing."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from triolight.gossip.asking import Asker, BatchAnswer
from triolight.gossip.claims import Claims
from triolight.gossip.wants import Wants

__all__ = ["Ahead", "End", "Source", "Straggling", "Told"]

End: TypeAlias = Literal[
    "complete", "partial", "silent", "closed", "other chain", "too much", "in vain", "tells by itself", "given up"
]
"""What became of a peer: it has served all that it lists; not all; it did not answer; ...; it answers no query for
channels and was asked to tell of them by itself; our time was over."""


@dataclass(slots=True)
class Straggling:
    """A batch that has ended without all that it asked for: what comes late counts, and is waited for."""

    wants: Wants
    short_channel_ids: tuple[int, ...]
    until: float


class Ahead:
    """What a source told before the channels that it is about, in the order in which it came."""

    __slots__ = ("dropped", "due", "messages", "size", "until")

    def __init__(self) -> None:
        self.messages: Final[deque[bytes]] = deque()
        self.size = 0
        """Bytes, all of them together."""
        self.dropped = 0
        """How many there was no room for, from the beginning on."""
        self.due = 0
        """How many of them are to be looked at again now."""
        self.until = math.inf
        """When all of them are."""

    def put(self, data: bytes, most: int) -> None:
        """Keeps one more, if there is room."""
        if self.size + len(data) <= most:
            self.size += len(data)
            self.messages.append(data)
        else:
            self.dropped += 1

    def take(self, most: int, *, keep: bool) -> list[bytes]:
        """Some of those that are due; with `keep` they stay, behind the others."""
        taken = [self.messages.popleft() for _ in range(min(most, self.due))]
        self.due -= len(taken)
        if keep:
            self.messages.extend(taken)
        else:
            self.size -= sum(map(len, taken))
        return taken

    def clear(self) -> None:
        """None of them is kept."""
        self.messages.clear()
        self.size = self.due = 0
        self.until = math.inf


@dataclass(slots=True)
class Told:
    """How many messages of each kind came from a source."""

    channels: int = 0
    updates: int = 0
    nodes: int = 0


@dataclass(eq=False, slots=True)
class Source:
    """A connection that a fetch asks."""

    node_id: bytes
    bit: int
    asker: Asker
    listing: Literal["waits", "asked", "read", "done"] = "waits"
    """Of its channels: ``read`` while what it lists is held against what is here."""
    claims: Claims = field(default_factory=Claims)
    lists_all: bool = False
    """Whether its list is complete."""
    ready: deque[int] = field(default_factory=deque[int])
    """What it may be asked for; some of it was got from others meanwhile."""
    batch: Wants | None = None
    """What its outstanding query is for."""
    straggling: deque[Straggling] = field(default_factory=deque[Straggling])
    parked: Ahead = field(default_factory=Ahead)
    answer: tuple[Wants, BatchAnswer] | None = None
    """What its query was for and how it ended, until what is parked was looked at again."""
    failures: int = 0
    failed: list[int] = field(default_factory=list[int])
    """What it was asked for then."""
    asked: int = 0
    in_vain: int = 0
    """Channels that it was asked for, and those of them that it has not told."""
    wants_history: bool = False
    served: bool = False
    """Whether all that it lists is there, once the fetch is done."""
    end: End | None = None
    """Set once it is asked no more."""
    told: Told = field(default_factory=Told)

    @property
    def is_out(self) -> bool:
        """Whether it is asked no more."""
        return self.end is not None
