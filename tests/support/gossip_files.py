"""Files of gossip as other programs have written them, and small ones of ours. No test here."""

from __future__ import annotations

import io
import json
import lzma
from collections.abc import Iterable

from tests.support.gossip import channel, node, update
from tests.support.vectors import FOLDER
from triolight.gossip.formats import Item, Snapshot, open_items
from triolight.gossip.formats.items import Damaged
from triolight.wire import ShortChannelId

FILES = FOLDER / "gossip"
RGS: dict[str, bytes] = {
    name.partition("_")[0]: bytes.fromhex(data) for name, data in json.loads((FILES / "rgs.json").read_text()).items()
}
"""By the number that a name begins with."""


def unpacked(name: str) -> bytes:
    """One of the files, without its compression."""
    return lzma.decompress((FILES / f"{name}.xz").read_bytes())


SIMPLE = unpacked("gossip_store.simple")
MESH = unpacked("gossip_store.mesh-3x3")
PART_1 = unpacked("gossip_store-part1")
BOTH_PARTS = PART_1 + unpacked("gossip_store-part2")


def items_of(data: bytes) -> list[Item]:
    """All that is in a file of any format."""
    return list(open_items(io.BytesIO(data))[1])


def snapshot_of(data: bytes | Iterable[Item]) -> Snapshot:
    """What a file holds."""
    snapshot = Snapshot()
    snapshot.take_all(items_of(data) if isinstance(data, bytes) else data)
    return snapshot


def damages(items: Iterable[Item]) -> list[Damaged]:
    """What of it is damaged."""
    return [one for one in items if isinstance(one, Damaged)]


def a_few(count: int = 3) -> list[bytes]:
    """Signed messages of so many channels, each with both updates, and of two nodes."""
    found: list[bytes] = []
    for number in range(count):
        scid = ShortChannelId.of(100 + number, 1, 0)
        found += [channel(scid), update(scid, 0), update(scid, 1)]
    return [*found, node(0), node(1)]
