"""For tests, ours and yours: a network in memory, runs that repeat, peers that follow a script, managers on a wire."""

from __future__ import annotations

from triolight.testing.asking import Verdict as Verdict
from triolight.testing.conformance import Finding as Finding
from triolight.testing.conformance import check_peer as check_peer
from triolight.testing.descriptors import check_descriptor as check_descriptor
from triolight.testing.determinism import derive as derive
from triolight.testing.determinism import replay_command as replay_command
from triolight.testing.determinism import run_seeded as run_seeded
from triolight.testing.determinism import seeds as seeds
from triolight.testing.flows import Conditions as Conditions
from triolight.testing.flows import Transmission as Transmission
from triolight.testing.network import SimulatedHost as SimulatedHost
from triolight.testing.network import SimulatedNetwork as SimulatedNetwork
from triolight.testing.scripted import Deed as Deed
from triolight.testing.scripted import ScriptedPeer as ScriptedPeer
from triolight.testing.scripted import ScriptFailed as ScriptFailed
from triolight.testing.scripted import scripted_peer as scripted_peer
from triolight.testing.streams import SimulatedListener as SimulatedListener
from triolight.testing.streams import SimulatedStream as SimulatedStream
from triolight.testing.town import GossipTown as GossipTown
from triolight.testing.wires import MemoryDescriptor as MemoryDescriptor
from triolight.testing.wires import MemoryNode as MemoryNode
from triolight.testing.wires import Wire as Wire

__all__ = [
    "Conditions",
    "Deed",
    "Finding",
    "GossipTown",
    "MemoryDescriptor",
    "MemoryNode",
    "ScriptFailed",
    "ScriptedPeer",
    "SimulatedHost",
    "SimulatedListener",
    "SimulatedNetwork",
    "SimulatedStream",
    "Transmission",
    "Verdict",
    "Wire",
    "check_descriptor",
    "check_peer",
    "derive",
    "replay_command",
    "run_seeded",
    "scripted_peer",
    "seeds",
]
