"""What a node does with the library beside talking to its peers: each service a block of Trio of its own. Gathers."""

from __future__ import annotations

from triolight.services.importing import ImportReport as ImportReport
from triolight.services.importing import import_gossip as import_gossip
from triolight.services.store import GraphStore as GraphStore
from triolight.services.store import StoreError as StoreError
from triolight.services.store import open_graph_store as open_graph_store
