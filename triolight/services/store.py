"""open_graph_store: a NetworkGraph that outlives the process. What changed goes to disk, and nobody waits for it.

The store remembers only which channels and nodes have changed; what it then writes is what the graph holds of them, so
that nothing is queued twice and no order can be wrong. SQLite runs in one worker thread, a batch at a time. A process
that is killed loses what changed in its last second at the most, and never the file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from itertools import islice
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Final, TypeVar

import trio

from triolight.gossip.changes import (
    Change,
    ChannelAdded,
    ChannelChanged,
    ChannelProven,
    ChannelRemoved,
    ChannelSpent,
    NodeChanged,
)
from triolight.gossip.graph import Channel, NetworkGraph
from triolight.services.database import MAX_BLOCK, OUTPUT, SIGNATURES, Batch, ChannelRow, GraphDatabase
from triolight.services.database import StoreError as StoreError
from triolight.services.worker import WorkerThread
from triolight.wire import ShortChannelId

__all__ = ["GraphStore", "StoreError", "open_graph_store"]

BATCH_ROWS: Final = 1000
"""Of one transaction. More at once would keep other tasks waiting while they are gathered."""
BATCH_SECONDS: Final = 0.25
"""From the first change to its way to the disk, so that a batch is worth its transaction."""
WAITING_ROWS: Final = 10_000
"""From so many rows that are not written on, `room` waits."""
LOADED_AT_ONCE: Final = 1000
"""Rows that are put into the graph before other tasks have their turn."""

_K = TypeVar("_K")


class GraphStore:
    """A graph's file, as long as its block is open."""

    _database: GraphDatabase

    def __init__(self, path: Path, graph: NetworkGraph) -> None:
        self.path: Final = path
        self.graph: Final = graph
        self.damaged: list[str] = []
        """Rows that could not be loaded, in words. They are deleted: the network has them still."""
        self.rows_written = 0
        self._channels: dict[int, None] = {}
        self._updates: dict[tuple[int, int], None] = {}
        self._nodes: dict[bytes, None] = {}
        self._writing = 0
        self._something = trio.Event()
        self._much = trio.Event()
        self._written = trio.Event()
        self._leaving = False
        self._thread: Final = WorkerThread()

    def __repr__(self) -> str:
        return f"<GraphStore {self.path}, {self.pending} rows to be written>"

    @property
    def pending(self) -> int:
        """Rows that have changed and are not on the disk."""
        return len(self._channels) + len(self._updates) + len(self._nodes) + self._writing

    def take(self, *changes: Change) -> None:
        """What has changed in the graph, as its rules say it. Never waits."""
        for change in changes:
            match change:
                case ChannelAdded(channel=channel):
                    self.touch(channel)
                    for direction in (0, 1):
                        if channel.update_bytes(direction) is not None:
                            self._updates[channel.short_channel_id, direction] = None
                    for node_id in channel.node_ids:
                        # What it said may have been kept for it while it had no channel.
                        node = self.graph.nodes.get(node_id)
                        if node is not None and node.announcement_bytes is not None:
                            self._nodes[node_id] = None
                case ChannelChanged(channel=channel, direction=direction):
                    self._updates[channel.short_channel_id, direction] = None
                case ChannelRemoved(channel=channel):
                    self.touch(channel)
                    # It may be back before it is written, without what it had.
                    for direction in (0, 1):
                        self._updates[channel.short_channel_id, direction] = None
                    self._nodes.update(dict.fromkeys(channel.node_ids))
                case ChannelProven(channel=channel) | ChannelSpent(channel=channel):
                    self.touch(channel)
                case NodeChanged(node=node):
                    self._nodes[node.node_id] = None
                case _:
                    continue
        self._tell()

    def touch(self, channel: Channel) -> None:
        """Something beside its messages has changed of a channel: its capacity, say, without a change that says it."""
        self._channels[channel.short_channel_id] = None
        self._tell()

    async def take_everything(self) -> None:
        """All that the graph holds is written, and what it does not hold is deleted: for who has lost changes."""
        known, nodes = await self._thread.call(self._database.keys)
        channels = sorted({*known, *self.graph.channels})
        self._channels.update(dict.fromkeys(channels))
        self._updates.update({(one, direction): None for one in channels for direction in (0, 1)})
        self._nodes.update(dict.fromkeys(sorted({*nodes, *self.graph.nodes})))
        self._tell()

    async def room(self) -> None:
        """Waits while very much is not written: for who brings gossip faster than a disk takes it."""
        await trio.lowlevel.checkpoint()
        while self.pending >= WAITING_ROWS:
            await self._written.wait()

    async def written(self) -> None:
        """Waits until nothing is left to be written."""
        await trio.lowlevel.checkpoint()
        while self.pending:
            self._much.set()
            await self._written.wait()

    def _tell(self) -> None:
        if not self.pending:
            return
        self._something.set()
        if self.pending >= BATCH_ROWS:
            self._much.set()


class _KeptGraphStore(GraphStore):
    """The same as its block has it: what loads, writes and lets go."""

    async def open(self, unix_time: Callable[[], float]) -> None:
        """Opens or makes the file, and puts what it holds into the graph."""
        created = int(unix_time())
        self._database = await self._thread.call(GraphDatabase, self.path, self.graph.chain_hash, "triolight", created)
        try:
            before = set(self.graph.channels)
            nodes = {one for one, node in self.graph.nodes.items() if node.announcement_bytes is not None}
            await self._load_channels(before)
            await self._load_nodes(nodes)
            # In the order in which they stand in the file, so that no page of it is written for each row.
            self._channels.update(dict.fromkeys(sorted(before)))
            self._updates.update({(one, direction): None for one in sorted(before) for direction in (0, 1)})
            self._nodes.update(dict.fromkeys(sorted(nodes)))
        except BaseException:
            await self._close()
            raise

    async def _load_channels(self, before: set[int]) -> None:
        behind = -1
        while rows := await self._thread.call(self._database.channels, behind, LOADED_AT_ONCE):
            for row in rows:
                if row.scid not in before:
                    self._load_channel(row)
            behind = rows[-1].scid

    def _load_channel(self, row: ChannelRow) -> None:
        try:
            channel = self.graph.load(
                row.announcement,
                [one for one in (row.update_1, row.update_2) if one is not None],
                capacity_sat=row.capacity_sat,
                checked="output" if row.verified == OUTPUT else "signatures",
                received=row.received,
                spent_height=row.spent_height,
            )
        except ValueError as error:
            self._drop(f"channel {ShortChannelId(row.scid)}: {error}")
            self._channels[row.scid] = None
            return
        if channel.short_channel_id != row.scid:
            self.graph.remove(channel.short_channel_id)
            self._drop(f"channel {ShortChannelId(row.scid)}: its announcement is {channel.short_channel_id}'s")
            self._channels[row.scid] = None

    async def _load_nodes(self, before: set[bytes]) -> None:
        last = b""
        while rows := await self._thread.call(self._database.nodes, last, LOADED_AT_ONCE):
            for node_id, announcement in rows:
                if node_id in before:
                    continue
                try:
                    node = self.graph.load_node(announcement)
                except ValueError as error:
                    self._drop(f"node {node_id.hex()}: {error}")
                    self._nodes[node_id] = None
                    continue
                if node is None:  # its channels are gone
                    self._nodes[node_id] = None
            last = rows[-1][0]

    def _drop(self, words: str) -> None:
        if len(self.damaged) < DAMAGED_KEPT:
            self.damaged.append(words)

    def leave(self) -> None:
        """Nothing more comes: what waits is written, and the writer ends."""
        self._leaving = True
        self._something.set()
        self._much.set()

    async def write(self) -> None:
        """The task that writes, until it is told to leave and nothing waits."""
        # Whoever is cancelled, what came is kept: this ends by itself when all of it is written.
        with trio.CancelScope(shield=True):
            while not self._leaving or self.pending:
                self._something, self._much = trio.Event(), trio.Event()
                self._tell()
                await self._something.wait()
                # What came while the batch before was written is little: it waits to be worth its transaction, too.
                with trio.move_on_after(0 if self._leaving else BATCH_SECONDS):
                    await self._much.wait()
                if batch := self._gather():
                    await self._thread.call(self._database.write, batch)
                self.rows_written += self._writing
                self._writing = 0
                self._written.set()
                self._written = trio.Event()

    async def close(self) -> None:
        """Lets go of the file. Those who wait for something to be written are woken."""
        self._written.set()
        await self._close()

    async def _close(self) -> None:
        with trio.CancelScope(shield=True):
            await self._thread.call(self._database.close)

    def _gather(self) -> Batch:
        """The next rows, as the graph has them now."""
        batch, graph = Batch(), self.graph
        for scid in _taken(self._channels, BATCH_ROWS):
            channel = graph.channels.get(scid)
            if channel is None:
                batch.gone_channels.append(scid)
            elif channel.short_channel_id.block < MAX_BLOCK:
                batch.channels.append(_row(channel))
        # Behind their channels, so that no batch has an update whose channel is in none.
        for scid, direction in _taken(self._updates, BATCH_ROWS - len(batch)):
            channel = graph.channels.get(scid)
            if channel is None or channel.short_channel_id.block >= MAX_BLOCK:
                continue
            update = channel.update_bytes(direction)
            if update is None:
                batch.gone_updates.append((scid, direction))
            else:
                batch.updates.append((scid, direction, update))
        for node_id in _taken(self._nodes, BATCH_ROWS - len(batch)):
            node = graph.nodes.get(node_id)
            said = None if node is None else node.announcement_bytes
            if said is None:
                batch.gone_nodes.append(node_id)
            else:
                batch.nodes.append((node_id, said))
        self._writing = len(batch)
        return batch


DAMAGED_KEPT: Final = 100
"""Words of damaged rows."""


def _row(channel: Channel) -> tuple[int, int | None, int, int | None, int, bytes]:
    return (
        int(channel.short_channel_id),
        channel.capacity_sat,
        channel.received,
        channel.spent_height,
        OUTPUT if channel.checked == "output" else SIGNATURES,
        channel.announcement_bytes,
    )


def _taken(waiting: dict[_K, None], most: int) -> Iterable[_K]:
    """The first of those that wait, which wait no longer."""
    found = list(islice(waiting, most))
    for one in found:
        del waiting[one]
    return found


class _OpenGraphStore:
    """The context manager of `open_graph_store`."""

    def __init__(self, store: _KeptGraphStore, unix_time: Callable[[], float]) -> None:
        self._store: Final = store
        self._unix_time: Final = unix_time
        self._opened = trio.open_nursery()
        self._failed: StoreError | None = None

    @trio.lowlevel.enable_ki_protection
    async def __aenter__(self) -> GraphStore:
        await self._store.open(self._unix_time)
        nursery = await self._opened.__aenter__()
        nursery.start_soon(self._write, name="graph store")
        return self._store

    async def _write(self) -> None:
        try:
            await self._store.write()
        except StoreError as error:
            self._failed = error
            raise

    @trio.lowlevel.enable_ki_protection
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._store.leave()
        try:
            return bool(await self._opened.__aexit__(kind, error, trace))
        except BaseExceptionGroup as group:
            # A nursery puts into a group what its block raises. What is alone leaves as itself.
            if len(group.exceptions) > 1:
                raise
            if self._failed is not None:
                raise self._failed from None
            if error is not None:
                return False
            raise
        finally:
            await self._store.close()


def open_graph_store(
    path: str | PathLike[str],
    graph: NetworkGraph,
    *,
    unix_time: Callable[[], float] = time.time,
) -> AbstractAsyncContextManager[GraphStore]:
    """``async with open_graph_store("graph.db", graph) as store``: loads the graph, then keeps it on disk.

    What is loaded was verified when it came, and is not verified again. Whoever changes the graph says so with
    `GraphStore.take`. When the block is left, whichever way, all that was taken is on the disk.

    Args:
      path: an SQLite file, made if it is missing; on no network file system, for its readers share memory with it.
      graph: what the file holds is put into it; of a channel that is in both, the graph's stays.
      unix_time: seconds since 1970, for the day on which the file was made.

    Raises:
      StoreError: the file cannot be opened, is none of ours, is of another chain, of a newer schema, or is written by
        another process; or, out of the block, it cannot be written any more.
    """
    return _OpenGraphStore(_KeptGraphStore(Path(path), graph), unix_time)
