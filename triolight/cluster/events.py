"""What a back tells beside the lives of peers: fronts that come and go, and its engine. Values.

They are among the back's `events()`; nobody waits for whoever reads them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from triolight.errors import DisconnectReason
from triolight.shell.news import Events, PeerEvent

__all__ = [
    "EngineAway",
    "EngineBack",
    "FleetEvents",
    "FrontJoined",
    "FrontLost",
]


@dataclass(frozen=True, slots=True)
class FrontJoined:
    """A front is there, and may have peers from now on."""

    front: str
    address: str


@dataclass(frozen=True, slots=True)
class FrontLost:
    """A front is there no more; its peers have ended. Another life of it may follow."""

    front: str
    reason: DisconnectReason


@dataclass(frozen=True, slots=True)
class EngineAway:
    """The engine does not answer. After `engine_grace` every peer ends; what is sent waits until then."""


@dataclass(frozen=True, slots=True)
class EngineBack:
    """The engine answers again."""


FleetEvent: TypeAlias = PeerEvent | FrontJoined | FrontLost | EngineAway | EngineBack


class FleetEvents(Events[FleetEvent]):
    """An iterator of PeerConnected, PeerDisconnected, and what becomes of fronts and the engine; it delays nobody."""
