"""triolight: the Lightning Network's peer layer for Python and Trio. This file only shows what is public.

``open_peers`` is where to start::

    async with triolight.open_peers() as peers:
        peer = await peers.connect("NODE_ID@HOST:PORT")  # ConnectError says why not
        print(peer.features, await peer.ping())
        async with peer.subscribe(triolight.messages.ChannelUpdate) as inbox:
            async for message in inbox:
                print(message)

``triolight.messages`` has every message, ``triolight.wire`` is for those who define their own, ``triolight.testing``
for tests. Names are loaded when they are first used (PEP 562): who uses the manager without Trio does not load it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.actions import DisconnectPeer as DisconnectPeer
    from triolight.actions import DisconnectPeerWithWarning as DisconnectPeerWithWarning
    from triolight.actions import HandleError as HandleError
    from triolight.actions import IgnoreAndLog as IgnoreAndLog
    from triolight.actions import IgnoreDuplicateGossip as IgnoreDuplicateGossip
    from triolight.actions import IgnoreError as IgnoreError
    from triolight.actions import SendErrorMessage as SendErrorMessage
    from triolight.actions import SendMessages as SendMessages
    from triolight.actions import SendWarningMessage as SendWarningMessage
    from triolight.actions import UpdateHtlcs as UpdateHtlcs
    from triolight.address import NodeAddress as NodeAddress
    from triolight.descriptor import StreamDescriptor as StreamDescriptor
    from triolight.errors import DecodeError as DecodeError
    from triolight.errors import EventsLost as EventsLost
    from triolight.errors import PeerClosed as PeerClosed
    from triolight.errors import PeerHandleError as PeerHandleError
    from triolight.errors import QueueFull as QueueFull
    from triolight.errors import TriolightError as TriolightError
    from triolight.features import Features as Features
    from triolight.handlers import BaseMessageHandler as BaseMessageHandler
    from triolight.handlers import ChannelMessageHandler as ChannelMessageHandler
    from triolight.handlers import CustomMessageHandler as CustomMessageHandler
    from triolight.handlers import ErroringMessageHandler as ErroringMessageHandler
    from triolight.handlers import IgnoringMessageHandler as IgnoringMessageHandler
    from triolight.handlers import MessageHandler as MessageHandler
    from triolight.handlers import OnionMessageHandler as OnionMessageHandler
    from triolight.handlers import RoutingMessageHandler as RoutingMessageHandler
    from triolight.keys import node_id as node_id
    from triolight.logger import Level as Level
    from triolight.logger import Logger as Logger
    from triolight.logger import NullLogger as NullLogger
    from triolight.logger import Record as Record
    from triolight.logger import StdlibLogger as StdlibLogger
    from triolight.nursery import open_peer_nursery as open_peer_nursery
    from triolight.opening import open_peers as open_peers
    from triolight.peer_manager import PeerDetails as PeerDetails
    from triolight.peer_manager import PeerManager as PeerManager
    from triolight.peer_manager import PeerObserver as PeerObserver
    from triolight.peer_manager import SocketDescriptor as SocketDescriptor
    from triolight.policy import Allowance as Allowance
    from triolight.policy import Policy as Policy
    from triolight.policy import Population as Population
    from triolight.proxy import Proxy as Proxy
    from triolight.reasons import DisconnectCode as DisconnectCode
    from triolight.reasons import DisconnectReason as DisconnectReason
    from triolight.reasons import Side as Side
    from triolight.shell.inboxes import Inbox as Inbox
    from triolight.shell.keep import KeepState as KeepState
    from triolight.shell.keep import KeptPeer as KeptPeer
    from triolight.shell.news import PeerConnected as PeerConnected
    from triolight.shell.news import PeerDisconnected as PeerDisconnected
    from triolight.shell.news import PeerEvents as PeerEvents
    from triolight.shell.peer import ConnectError as ConnectError
    from triolight.shell.peer import Peer as Peer
    from triolight.shell.peers import PeerNursery as PeerNursery
    from triolight.shell.statistics import PeersStatistics as PeersStatistics
    from triolight.shell.statistics import PeerStatistics as PeerStatistics
    from triolight.tape.replay import Happening as Happening
    from triolight.tape.replay import Replay as Replay
    from triolight.tape.replay import TapeError as TapeError
    from triolight.tape.replay import TapeMismatch as TapeMismatch
    from triolight.tape.tape import Tape as Tape
    from triolight.ways import Way as Way

    __compiled__: tuple[str, ...]
    """The names of the modules that this build has compiled, sorted; none in a plain one (docs/compiled.md)."""

__version__ = "0.1.0"
"""A literal: looking a package up takes longer than all the rest of ``triolight --version``. As in pyproject.toml."""

__all__ = [
    "Allowance",
    "BaseMessageHandler",
    "ChannelMessageHandler",
    "ConnectError",
    "CustomMessageHandler",
    "DecodeError",
    "DisconnectCode",
    "DisconnectPeer",
    "DisconnectPeerWithWarning",
    "DisconnectReason",
    "ErroringMessageHandler",
    "EventsLost",
    "Features",
    "HandleError",
    "Happening",
    "IgnoreAndLog",
    "IgnoreDuplicateGossip",
    "IgnoreError",
    "IgnoringMessageHandler",
    "Inbox",
    "KeepState",
    "KeptPeer",
    "Level",
    "Logger",
    "MessageHandler",
    "NodeAddress",
    "NullLogger",
    "OnionMessageHandler",
    "Peer",
    "PeerClosed",
    "PeerConnected",
    "PeerDetails",
    "PeerDisconnected",
    "PeerEvents",
    "PeerHandleError",
    "PeerManager",
    "PeerNursery",
    "PeerObserver",
    "PeerStatistics",
    "PeersStatistics",
    "Policy",
    "Population",
    "Proxy",
    "QueueFull",
    "Record",
    "Replay",
    "RoutingMessageHandler",
    "SendErrorMessage",
    "SendMessages",
    "SendWarningMessage",
    "Side",
    "SocketDescriptor",
    "StdlibLogger",
    "StreamDescriptor",
    "Tape",
    "TapeError",
    "TapeMismatch",
    "TriolightError",
    "UpdateHtlcs",
    "Way",
    "node_id",
    "open_peer_nursery",
    "open_peers",
]

_HOMES = {
    name: home
    for home, names in {
        "actions": (
            "DisconnectPeer",
            "DisconnectPeerWithWarning",
            "HandleError",
            "IgnoreAndLog",
            "IgnoreDuplicateGossip",
            "IgnoreError",
            "SendErrorMessage",
            "SendMessages",
            "SendWarningMessage",
            "UpdateHtlcs",
        ),
        "address": ("NodeAddress",),
        "descriptor": ("StreamDescriptor",),
        "errors": (
            "DecodeError",
            "EventsLost",
            "PeerClosed",
            "PeerHandleError",
            "QueueFull",
            "TriolightError",
        ),
        "features": ("Features",),
        "handlers": (
            "BaseMessageHandler",
            "ChannelMessageHandler",
            "CustomMessageHandler",
            "ErroringMessageHandler",
            "IgnoringMessageHandler",
            "MessageHandler",
            "OnionMessageHandler",
            "RoutingMessageHandler",
        ),
        "keys": ("node_id",),
        "logger": (
            "Level",
            "Logger",
            "NullLogger",
            "Record",
            "StdlibLogger",
        ),
        "nursery": ("open_peer_nursery",),
        "opening": ("open_peers",),
        "peer_manager": (
            "PeerDetails",
            "PeerManager",
            "PeerObserver",
            "SocketDescriptor",
        ),
        "policy": (
            "Allowance",
            "Policy",
            "Population",
        ),
        "proxy": ("Proxy",),
        "reasons": (
            "DisconnectCode",
            "DisconnectReason",
            "Side",
        ),
        "shell.inboxes": ("Inbox",),
        "shell.keep": (
            "KeepState",
            "KeptPeer",
        ),
        "shell.news": (
            "PeerConnected",
            "PeerDisconnected",
            "PeerEvents",
        ),
        "shell.peer": (
            "ConnectError",
            "Peer",
        ),
        "shell.peers": ("PeerNursery",),
        "shell.statistics": (
            "PeerStatistics",
            "PeersStatistics",
        ),
        "tape.replay": (
            "Happening",
            "Replay",
            "TapeError",
            "TapeMismatch",
        ),
        "tape.tape": ("Tape",),
        "ways": ("Way",),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if name == "__compiled__":
        found = globals()[name] = importlib.import_module("triolight.compiled").compiled()
        return found
    if home is None:
        # ``import triolight`` is enough for ``triolight.messages`` and the other files.
        try:
            return importlib.import_module(f"triolight.{name}")
        except ModuleNotFoundError as error:
            if error.name != f"triolight.{name}":
                raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
