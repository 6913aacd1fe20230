"""open_graph_mirror: a NetworkGraph that is what another process has in its file, and follows what that one writes.

Nothing is written here, and nobody waits for anybody: SQLite shows a reader one moment of the file beside its writer.
What is read was verified by who wrote it. A file does not say what has changed in it, so all of it is read again when
anything has, in a worker thread and slice by slice; the pauses between keep that to a small part of a core.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Final

import trio

from triolight.chains import chain_name
from triolight.gossip.changes import (
    Change,
    ChannelAdded,
    ChannelChanged,
    ChannelProven,
    ChannelRemoved,
    ChannelSpent,
    NodeChanged,
)
from triolight.gossip.graph import Channel, Checked, NetworkGraph
from triolight.services.database import OUTPUT, ChannelRow, GraphReader
from triolight.services.sqlite import StoreError
from triolight.services.worker import WorkerThread

__all__ = ["GraphMirror", "open_graph_mirror"]

LOOK_SECONDS: Final = 1.0
"""From one look at whether the file has changed to the next."""
PAUSE: Final = 20
"""So many times as long as it has taken to read all of it, it is not read again: a twentieth of a core at the most."""
ROWS_AT_ONCE: Final = 1000
"""That are compared before other tasks have their turn."""
_BEYOND: Final = 1 << 64


class GraphMirror:
    """A file that is followed, as long as its block is open."""

    def __init__(self, path: Path, graph: NetworkGraph) -> None:
        self.path: Final = path
        self.graph: Final = graph
        self.on_change: Callable[[Change], None] | None = None
        """Hears of each change, once it is in the graph; not of what was in the file when the block was opened."""
        self.readings = 0
        """How often all of the file was read."""
        self.damaged = 0
        """Rows that could not be taken, at the last reading."""

    def __repr__(self) -> str:
        return f"<GraphMirror of {self.path}, {self.graph!r}>"


class _Follower:
    """What reads the file."""

    def __init__(self, mirror: GraphMirror) -> None:
        self._mirror: Final = mirror
        self._graph: Final = mirror.graph
        self._thread: Final = WorkerThread()
        self._damaged = 0
        self._reader: GraphReader

    async def open(self) -> None:
        self._reader = await self._thread.call(GraphReader, self._mirror.path)
        if self._reader.chain_hash != self._graph.chain_hash:
            known = chain_name(self._reader.chain_hash)
            await self.close()
            raise StoreError(f"{self._mirror.path}: a graph of {known}, not of {chain_name(self._graph.chain_hash)}")

    async def close(self) -> None:
        with trio.CancelScope(shield=True):
            await self._thread.call(self._reader.close)

    async def follow(self) -> None:
        """Until it is cancelled."""
        pause = LOOK_SECONDS
        while True:
            await trio.sleep(pause)
            began = trio.current_time()
            await self.read()
            pause = max(LOOK_SECONDS, PAUSE * (trio.current_time() - began))

    async def read(self) -> None:
        """The graph becomes what the file is, if that has changed."""
        if not await self._thread.call(self._reader.begin):
            return
        self._damaged = 0
        try:
            await self._read_channels()
            await self._read_nodes()
        finally:
            with trio.CancelScope(shield=True):
                await self._thread.call(self._reader.end)
        self._mirror.readings += 1
        self._mirror.damaged = self._damaged

    def _tell(self, change: Change) -> None:
        if self._mirror.on_change is not None:
            self._mirror.on_change(change)

    async def _read_channels(self) -> None:
        behind = -1
        while True:
            rows = await self._thread.call(self._reader.channels, behind, ROWS_AT_ONCE)
            stop = rows[-1].scid + 1 if rows else _BEYOND
            there = {row.scid for row in rows}
            for gone in [one for one in self._graph.ascending(behind + 1, stop) if one.short_channel_id not in there]:
                self._remove(gone)
            for row in rows:
                self._take(row)
            if not rows:
                return
            behind = rows[-1].scid

    def _remove(self, channel: Channel) -> None:
        self._graph.remove(channel.short_channel_id)
        self._tell(ChannelRemoved(channel, "old"))

    def _take(self, row: ChannelRow) -> None:
        channel = self._graph.channels.get(row.scid)
        proven = row.verified == OUTPUT
        if channel is not None and (channel.announcement_bytes != row.announcement or channel.proven > proven):
            self._remove(channel)
            channel = None
        if channel is None:
            self._load(row)
            return
        if proven and not channel.proven:
            self._graph.prove(channel, row.capacity_sat or 0)
            self._tell(ChannelProven(channel))
        channel.capacity_sat = row.capacity_sat
        if channel.spent_height != row.spent_height:
            channel.spent_height = row.spent_height
            self._tell(ChannelSpent(channel))
        for direction, update in enumerate((row.update_1, row.update_2)):
            before = channel.update_bytes(direction)
            if update != before:
                channel.put_update(direction, update)
                if update is not None:
                    self._tell(ChannelChanged(channel, direction, before=before))

    def _load(self, row: ChannelRow) -> None:
        checked: Checked = "output" if row.verified == OUTPUT else "signatures"
        try:
            channel = self._graph.load(
                row.announcement,
                [one for one in (row.update_1, row.update_2) if one is not None],
                capacity_sat=row.capacity_sat,
                checked=checked,
                received=row.received,
                spent_height=row.spent_height,
            )
        except ValueError:
            self._damaged += 1
            return
        if channel.short_channel_id != row.scid:
            self._graph.remove(channel.short_channel_id)
            self._damaged += 1
            return
        self._tell(ChannelAdded(channel))
        for direction in (0, 1):
            if channel.update_bytes(direction) is not None:
                self._tell(ChannelChanged(channel, direction))

    async def _read_nodes(self) -> None:
        last, spoken = b"", set[bytes]()
        while rows := await self._thread.call(self._reader.nodes, last, ROWS_AT_ONCE):
            self._take_nodes(rows)
            spoken.update(node_id for node_id, _ in rows)
            last = rows[-1][0]
        for node_id, node in self._graph.nodes.items():
            if node.announcement_bytes is not None and node_id not in spoken:
                node.put_announcement(None)

    def _take_nodes(self, rows: Sequence[tuple[bytes, bytes]]) -> None:
        for node_id, announcement in rows:
            node = self._graph.nodes.get(node_id)
            if node is None or node.announcement_bytes == announcement:
                continue  # without a channel it is nobody
            try:
                said = self._graph.load_node(announcement)
            except ValueError:
                said = None
            if said is not node:
                self._damaged += 1
            else:
                self._tell(NodeChanged(node))


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_graph_mirror(path: str | PathLike[str], graph: NetworkGraph) -> AsyncGenerator[GraphMirror]:
    """``async with open_graph_mirror("graph.db", graph) as mirror``: fills the graph with what the file of an
    `open_graph_store` holds, and keeps it the same while the block runs, whoever writes the file.

    The graph is for reading: what somebody else puts into it goes when the file is read again.

    Raises:
      StoreError: the file cannot be read, is none of ours, is of another chain or of a newer schema; or, out of the
        block, it cannot be read any more.
    """
    mirror = GraphMirror(Path(path), graph)
    follower = _Follower(mirror)
    await follower.open()
    failed: BaseException | None = None
    lost: list[BaseException] = []
    try:
        await follower.read()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follower.follow, name="graph mirror")
                try:
                    yield mirror
                except BaseException as error:  # leaves bare, and not in the nursery's group
                    failed = error
                nursery.cancel_scope.cancel(reason="the block of open_graph_mirror is left")
        except* StoreError as group:
            lost = list(group.exceptions)
    finally:
        await follower.close()
    if lost:
        raise lost[0]
    if failed is not None:
        raise failed
