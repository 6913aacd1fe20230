"""What a node does with the library beside talking to its peers: each service a block of Trio of its own. Gathers."""

from __future__ import annotations

from triolight.gossip.changes import ChannelAdded as ChannelAdded
from triolight.gossip.changes import ChannelChanged as ChannelChanged
from triolight.gossip.changes import ChannelRemoved as ChannelRemoved
from triolight.gossip.changes import NodeChanged as NodeChanged
from triolight.gossip.fetching import Progress as Progress
from triolight.gossip.policy import AskPolicy as AskPolicy
from triolight.gossip.policy import FollowPolicy as FollowPolicy
from triolight.gossip.policy import SyncPolicy as SyncPolicy
from triolight.services.changes import GossipChanges as GossipChanges
from triolight.services.crawler import NodeReport as NodeReport
from triolight.services.crawler import crawl as crawl
from triolight.services.frontier import CrawlPolicy as CrawlPolicy
from triolight.services.gossip import Gossip as Gossip
from triolight.services.gossip import PeerReport as PeerReport
from triolight.services.gossip import SyncReport as SyncReport
from triolight.services.gossip import open_gossip as open_gossip
from triolight.services.importing import ImportReport as ImportReport
from triolight.services.importing import import_gossip as import_gossip
from triolight.services.onion import FetchedInvoice as FetchedInvoice
from triolight.services.onion import InvoiceInvalid as InvoiceInvalid
from triolight.services.onion import InvoiceRefused as InvoiceRefused
from triolight.services.onion import Messenger as Messenger
from triolight.services.onion import OnionInbox as OnionInbox
from triolight.services.onion import OnionReceived as OnionReceived
from triolight.services.onion import fetch_invoice as fetch_invoice
from triolight.services.onion import open_onion_messenger as open_onion_messenger
from triolight.services.recorder import Recorder as Recorder
from triolight.services.recorder import RecordingHandler as RecordingHandler
from triolight.services.recorder import open_recorder as open_recorder
from triolight.services.recorder import unread_gossip as unread_gossip
from triolight.services.sqlite import StoreError as StoreError
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
    "GraphStore",
    "ImportReport",
    "InvoiceInvalid",
    "InvoiceRefused",
    "Messenger",
    "NodeChanged",
    "NodeReport",
    "OnionInbox",
    "OnionReceived",
    "PeerReport",
    "Progress",
    "Recorder",
    "RecordingHandler",
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
    "open_graph_store",
    "open_onion_messenger",
    "open_recorder",
    "open_utxo",
    "unread_gossip",
]
