"""What a node does with the library beside talking to its peers: each service a block of Trio of its own. Gathers.

Names are loaded when they are first used (PEP 562): who records does not load what asks for invoices.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.gossip.changes import ChannelAdded as ChannelAdded
    from triolight.gossip.changes import ChannelChanged as ChannelChanged
    from triolight.gossip.changes import ChannelRemoved as ChannelRemoved
    from triolight.gossip.changes import NodeChanged as NodeChanged
    from triolight.gossip.fetching import Progress as Progress
    from triolight.gossip.policy import AskPolicy as AskPolicy
    from triolight.gossip.policy import FollowPolicy as FollowPolicy
    from triolight.gossip.policy import SyncPolicy as SyncPolicy
    from triolight.services.changes import GossipChanges as GossipChanges
    from triolight.services.counts import GossipStatistics as GossipStatistics
    from triolight.services.counts import PeerState as PeerState
    from triolight.services.crawler import NodeReport as NodeReport
    from triolight.services.crawler import crawl as crawl
    from triolight.services.crawler import planned_dials as planned_dials
    from triolight.services.frontier import CrawlPolicy as CrawlPolicy
    from triolight.services.gossip import Gossip as Gossip
    from triolight.services.gossip import PeerReport as PeerReport
    from triolight.services.gossip import SyncReport as SyncReport
    from triolight.services.gossip import open_gossip as open_gossip
    from triolight.services.importing import ImportReport as ImportReport
    from triolight.services.importing import import_gossip as import_gossip
    from triolight.services.lsps import Lsps as Lsps
    from triolight.services.lsps import Lsps1 as Lsps1
    from triolight.services.lsps import Lsps2 as Lsps2
    from triolight.services.lsps import Lsps5 as Lsps5
    from triolight.services.lsps import LspsServer as LspsServer
    from triolight.services.lsps import LspsServerStatistics as LspsServerStatistics
    from triolight.services.lsps import open_lsps as open_lsps
    from triolight.services.mirror import GraphMirror as GraphMirror
    from triolight.services.mirror import open_graph_mirror as open_graph_mirror
    from triolight.services.offers import FetchedInvoice as FetchedInvoice
    from triolight.services.offers import InvoiceInvalid as InvoiceInvalid
    from triolight.services.offers import InvoiceRefused as InvoiceRefused
    from triolight.services.offers import OfferServer as OfferServer
    from triolight.services.offers import OfferStatistics as OfferStatistics
    from triolight.services.offers import PayerProof as PayerProof
    from triolight.services.offers import RequestRefused as RequestRefused
    from triolight.services.offers import fetch_invoice as fetch_invoice
    from triolight.services.onion import Messenger as Messenger
    from triolight.services.onion import OnionInbox as OnionInbox
    from triolight.services.onion import OnionReceived as OnionReceived
    from triolight.services.onion import open_onion_messenger as open_onion_messenger
    from triolight.services.recorder import Recorder as Recorder
    from triolight.services.recorder import RecordingHandler as RecordingHandler
    from triolight.services.recorder import open_recorder as open_recorder
    from triolight.services.recorder import unread_gossip as unread_gossip
    from triolight.services.sqlite import StoreError as StoreError
    from triolight.services.storage import PeerStorage as PeerStorage
    from triolight.services.storage import PutReport as PutReport
    from triolight.services.storage import ReturnedInbox as ReturnedInbox
    from triolight.services.storage import StorageStore as StorageStore
    from triolight.services.storage import open_storage_store as open_storage_store
    from triolight.services.store import GraphStore as GraphStore
    from triolight.services.store import open_graph_store as open_graph_store
    from triolight.services.utxo import UtxoSource as UtxoSource
    from triolight.services.utxo import open_bitcoind_utxo as open_bitcoind_utxo
    from triolight.services.utxo import open_esplora_utxo as open_esplora_utxo
    from triolight.services.utxo import open_utxo as open_utxo

__all__ = [
    "AskPolicy",
    "ChannelAdded",
    "ChannelChanged",
    "ChannelRemoved",
    "CrawlPolicy",
    "FetchedInvoice",
    "FollowPolicy",
    "Gossip",
    "GossipChanges",
    "GossipStatistics",
    "GraphMirror",
    "GraphStore",
    "ImportReport",
    "InvoiceInvalid",
    "InvoiceRefused",
    "Lsps",
    "Lsps1",
    "Lsps2",
    "Lsps5",
    "LspsServer",
    "LspsServerStatistics",
    "Messenger",
    "NodeChanged",
    "NodeReport",
    "OfferServer",
    "OfferStatistics",
    "OnionInbox",
    "OnionReceived",
    "PayerProof",
    "PeerReport",
    "PeerState",
    "PeerStorage",
    "Progress",
    "PutReport",
    "Recorder",
    "RecordingHandler",
    "RequestRefused",
    "ReturnedInbox",
    "StorageStore",
    "StoreError",
    "SyncPolicy",
    "SyncReport",
    "UtxoSource",
    "crawl",
    "fetch_invoice",
    "import_gossip",
    "open_bitcoind_utxo",
    "open_esplora_utxo",
    "open_gossip",
    "open_graph_mirror",
    "open_graph_store",
    "open_lsps",
    "open_onion_messenger",
    "open_recorder",
    "open_storage_store",
    "open_utxo",
    "planned_dials",
    "unread_gossip",
]

_HOMES = {
    name: home
    for home, names in {
        "gossip.changes": (
            "ChannelAdded",
            "ChannelChanged",
            "ChannelRemoved",
            "NodeChanged",
        ),
        "gossip.fetching": ("Progress",),
        "gossip.policy": (
            "AskPolicy",
            "FollowPolicy",
            "SyncPolicy",
        ),
        "services.changes": ("GossipChanges",),
        "services.counts": (
            "GossipStatistics",
            "PeerState",
        ),
        "services.crawler": (
            "NodeReport",
            "crawl",
            "planned_dials",
        ),
        "services.frontier": ("CrawlPolicy",),
        "services.gossip": (
            "Gossip",
            "PeerReport",
            "SyncReport",
            "open_gossip",
        ),
        "services.importing": (
            "ImportReport",
            "import_gossip",
        ),
        "services.lsps": (
            "Lsps",
            "Lsps1",
            "Lsps2",
            "Lsps5",
            "LspsServer",
            "LspsServerStatistics",
            "open_lsps",
        ),
        "services.offers": (
            "FetchedInvoice",
            "InvoiceInvalid",
            "InvoiceRefused",
            "OfferServer",
            "OfferStatistics",
            "PayerProof",
            "RequestRefused",
            "fetch_invoice",
        ),
        "services.onion": (
            "Messenger",
            "OnionInbox",
            "OnionReceived",
            "open_onion_messenger",
        ),
        "services.mirror": (
            "GraphMirror",
            "open_graph_mirror",
        ),
        "services.recorder": (
            "Recorder",
            "RecordingHandler",
            "open_recorder",
            "unread_gossip",
        ),
        "services.sqlite": ("StoreError",),
        "services.storage": (
            "PeerStorage",
            "PutReport",
            "ReturnedInbox",
            "StorageStore",
            "open_storage_store",
        ),
        "services.store": (
            "GraphStore",
            "open_graph_store",
        ),
        "services.utxo": (
            "UtxoSource",
            "open_bitcoind_utxo",
            "open_esplora_utxo",
            "open_utxo",
        ),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
