"""A node on several machines: fronts have the sockets, one back has the handlers, an engine is between them. Gathers.

Names are loaded when they are first used (PEP 562): who reads records needs neither Trio nor an engine's client.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.cluster.back import FrontDetails as FrontDetails
    from triolight.cluster.back import RemotePeers as RemotePeers
    from triolight.cluster.back import open_back as open_back
    from triolight.cluster.bus import FleetError as FleetError
    from triolight.cluster.collecting import run_collector as run_collector
    from triolight.cluster.events import EngineAway as EngineAway
    from triolight.cluster.events import EngineBack as EngineBack
    from triolight.cluster.events import FleetEvents as FleetEvents
    from triolight.cluster.events import FrontJoined as FrontJoined
    from triolight.cluster.events import FrontLost as FrontLost
    from triolight.cluster.front import run_front as run_front
    from triolight.cluster.gossip import FrontGossip as FrontGossip
    from triolight.cluster.remote import KeptRemotePeer as KeptRemotePeer
    from triolight.cluster.remote import RemotePeer as RemotePeer
    from triolight.cluster.wanted import FleetConfig as FleetConfig
    from triolight.cluster.wanted import fleet_config as fleet_config
    from triolight.cluster.watch import FrontStatistics as FrontStatistics
    from triolight.cluster.watch import FrontWatch as FrontWatch

_HOMES = {
    "EngineAway": "events",
    "EngineBack": "events",
    "FleetConfig": "wanted",
    "FleetError": "bus",
    "FleetEvents": "events",
    "FrontDetails": "back",
    "FrontGossip": "gossip",
    "FrontJoined": "events",
    "FrontLost": "events",
    "FrontStatistics": "watch",
    "FrontWatch": "watch",
    "KeptRemotePeer": "remote",
    "RemotePeer": "remote",
    "RemotePeers": "back",
    "fleet_config": "wanted",
    "open_back": "back",
    "run_collector": "collecting",
    "run_front": "front",
}

__all__ = [
    "EngineAway",
    "EngineBack",
    "FleetConfig",
    "FleetError",
    "FleetEvents",
    "FrontDetails",
    "FrontGossip",
    "FrontJoined",
    "FrontLost",
    "FrontStatistics",
    "FrontWatch",
    "KeptRemotePeer",
    "RemotePeer",
    "RemotePeers",
    "fleet_config",
    "open_back",
    "run_collector",
    "run_front",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
