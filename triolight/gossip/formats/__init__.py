"""Files of gossip: read and written as streams, whatever program they are of. Gathers; defines nothing."""

from __future__ import annotations

from triolight.gossip.formats.items import About as About
from triolight.gossip.formats.items import Capacity as Capacity
from triolight.gossip.formats.items import ChannelFacts as ChannelFacts
from triolight.gossip.formats.items import Checked as Checked
from triolight.gossip.formats.items import Closed as Closed
from triolight.gossip.formats.items import Damaged as Damaged
from triolight.gossip.formats.items import Item as Item
from triolight.gossip.formats.items import NodeFacts as NodeFacts
from triolight.gossip.formats.items import PolicyChange as PolicyChange
from triolight.gossip.formats.items import PolicyFacts as PolicyFacts
from triolight.gossip.formats.items import Signed as Signed
from triolight.gossip.formats.items import Spent as Spent
from triolight.gossip.formats.opening import GRAPH as GRAPH
from triolight.gossip.formats.opening import SIGNED_FORMATS as SIGNED_FORMATS
from triolight.gossip.formats.opening import open_items as open_items
from triolight.gossip.formats.opening import recognize as recognize
from triolight.gossip.formats.snapshot import FileChannel as FileChannel
from triolight.gossip.formats.snapshot import Snapshot as Snapshot
from triolight.gossip.formats.summary import Summary as Summary
from triolight.gossip.formats.summary import count_checked as count_checked
from triolight.gossip.formats.summary import summarize as summarize

__all__ = [
    "About",
    "Capacity",
    "ChannelFacts",
    "Checked",
    "Closed",
    "Damaged",
    "FileChannel",
    "Item",
    "NodeFacts",
    "PolicyChange",
    "PolicyFacts",
    "Signed",
    "Snapshot",
    "Spent",
    "Summary",
    "count_checked",
    "open_items",
    "recognize",
    "summarize",
]
