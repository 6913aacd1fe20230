"""import_gossip: what a file of signed gossip holds, into a graph and its store. What is signed is verified.

No rule of age is applied, for a file may be as old as it likes. It is read twice: first its channels, then what their
ends say of them, since in many files an update comes before its channel. What a file says without a signature (that a
channel was closed, what it holds) counts only for channels that came with it.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import trio

from triolight.gossip.changes import ChannelAdded, ChannelChanged, ChannelRemoved, NodeChanged
from triolight.gossip.formats.items import Capacity, Closed, Damaged, Item, Signed, Spent
from triolight.gossip.formats.places import direction_of, ends_of, node_of, problem, type_of
from triolight.gossip.graph import NetworkGraph
from triolight.gossip.verdicts import Verdict
from triolight.keys import verify
from triolight.services.store import GraphStore
from triolight.wire import ShortChannelId

__all__ = ["ImportReport", "import_gossip"]

ITEMS_AT_ONCE: Final = 256
"""Read, verified and taken together: little enough that other tasks do not wait for long."""
THREADS: Final = max(1, min(2, (os.cpu_count() or 1) - 1))
"""That verify. libsecp256k1 runs beside other threads; more of them gain nothing."""
DAMAGES_KEPT: Final = 100
"""With their places; the others are counted."""
_CHANNEL_DIGEST: Final = 2 + 4 * 64
_DIGEST: Final = 2 + 64
"""Where what is signed begins."""


@dataclass(slots=True)
class ImportReport:
    """What came of it."""

    channels: int = 0
    """That were not known."""
    updates: int = 0
    """Newer than what was known."""
    nodes: int = 0
    """Announcements newer than what was known."""
    rejected: Counter[str] = field(default_factory=Counter[str])
    """What was not taken, by the reason."""
    damaged: list[Damaged] = field(default_factory=list[Damaged])
    """The first of the places where the file is damaged."""


async def import_gossip(
    store: GraphStore,
    read: Callable[[], Iterator[Item]],
    *,
    unix_time: Callable[[], float] = time.time,
    report: ImportReport | None = None,
) -> ImportReport:
    """Takes a file's signed messages into the graph of an open store, if their signatures hold.

    Args:
      store: where to.
      read: begins to read the file, each time that it is called, which is twice.
      unix_time: seconds since 1970, for when a channel was seen first.
      report: filled as the import goes on, for who wants to see it meanwhile; it is what is returned.

    ValueError, as the reader raises it, if the file is of another format than it seems.
    """
    work = _Import(store, unix_time, ImportReport() if report is None else report)
    for take in (work.take_channels, work.take_words):
        items = read()
        try:
            while chunk := await trio.to_thread.run_sync(_next_of, items):
                await take(chunk)
                await store.room()
        finally:
            getattr(items, "close", lambda: None)()
    return work.report


def _next_of(items: Iterator[Item]) -> list[Item]:
    return list(islice(items, ITEMS_AT_ONCE))


class _Import:
    """One import: what it has brought, and what of it the file may take back."""

    def __init__(self, store: GraphStore, unix_time: Callable[[], float], report: ImportReport) -> None:
        self.report: Final = report
        self._store: Final = store
        self._graph: Final[NetworkGraph] = store.graph
        self._unix_time: Final = unix_time
        self._brought: Final[set[int]] = set()

    async def take_channels(self, chunk: Sequence[Item]) -> None:
        """Of the first reading: channels, and what the file says of those."""
        asked = [one.raw for one in chunk if isinstance(one, Signed) and self._is_new_channel(one)]
        signed = await _verified(asked, [None] * len(asked))
        for item in chunk:
            match item:
                case Signed(raw=raw) if raw in signed:
                    self._take_channel(raw, signed[raw])
                case Capacity(short_channel_id=scid, capacity_sat=capacity):
                    channel = self._graph.channels.get(scid) if scid in self._brought else None
                    if channel is not None:
                        channel.capacity_sat = capacity
                        self._store.touch(channel)
                case Spent(short_channel_id=scid, height=height):
                    channel = self._graph.channels.get(scid) if scid in self._brought else None
                    if channel is not None:
                        channel.spent_height = height
                        self._store.touch(channel)
                case Closed(short_channel_id=scid):
                    self._close(scid)
                case Damaged():
                    self.report.rejected["damaged"] += 1
                    if len(self.report.damaged) < DAMAGES_KEPT:
                        self.report.damaged.append(item)
                case _:
                    continue

    def _is_new_channel(self, item: Signed) -> bool:
        raw = item.raw
        why = problem(raw)
        if why:
            self._reject(Verdict.MALFORMED)
            return False
        if type_of(raw) != 256:
            return False
        ends = ends_of(raw)
        known = self._graph.channels.get(ends.short_channel_id)
        if ends.chain_hash != self._graph.chain_hash:
            self._reject(Verdict.WRONG_CHAIN)
        elif ends.node_id_1 >= ends.node_id_2:
            self._reject(Verdict.BAD_ORDER)
        elif known is not None and known.node_ids == (ends.node_id_1, ends.node_id_2):
            self._reject(Verdict.DUPLICATE)
        else:
            return True
        return False

    def _take_channel(self, raw: bytes, holds: bool) -> None:
        if not holds:
            self._reject(Verdict.BAD_SIGNATURE)
            return
        channel = self._graph.read_channel(raw)
        known = self._graph.channels.get(channel.short_channel_id)
        if known is not None:
            self._reject(Verdict.DUPLICATE if known.node_ids == channel.node_ids else Verdict.CONFLICT)
            return
        channel.received = int(self._unix_time())
        self._graph.add(channel)
        self._brought.add(channel.short_channel_id)
        self._store.take(ChannelAdded(channel))
        self.report.channels += 1

    def _close(self, scid: ShortChannelId) -> None:
        if scid in self._brought:
            self._brought.remove(scid)
            channel, _ = self._graph.remove(scid)
            self._store.take(ChannelRemoved(channel, "spent"))
            self.report.channels -= 1

    async def take_words(self, chunk: Sequence[Item]) -> None:
        """Of the second reading: what the ends of channels say."""
        asked: list[bytes] = []
        signers: list[bytes | None] = []
        for item in chunk:
            if isinstance(item, Signed) and type_of(item.raw) != 256 and not problem(item.raw):
                signer = self._signer(item.raw)
                if signer is not None:
                    asked.append(item.raw)
                    signers.append(signer)
        signed = await _verified(asked, signers)
        for raw in asked:
            verdict = self._newer(raw)
            if verdict is None and not signed[raw]:
                verdict = Verdict.BAD_SIGNATURE
            if verdict is not None:
                self._reject(verdict)
            elif type_of(raw) == 258:
                _, scid, direction, _ = direction_of(raw)
                channel = self._graph.channels[scid]
                channel.put_update(direction, raw)
                self._store.take(ChannelChanged(channel, direction))
                self.report.updates += 1
            else:
                node = self._graph.nodes[node_of(raw)[0]]
                node.put_announcement(raw)
                self._store.take(NodeChanged(node))
                self.report.nodes += 1

    def _signer(self, raw: bytes) -> bytes | None:
        """Who must have signed it; None if it is refused before anybody looks at that."""
        verdict = self._newer(raw)
        if verdict is not None:
            self._reject(verdict)
            return None
        if type_of(raw) == 257:
            return node_of(raw)[0]
        _, scid, direction, _ = direction_of(raw)
        return self._graph.channels[scid].node_ids[direction]

    def _newer(self, raw: bytes) -> Verdict | None:
        """Why the graph has no use for an update or a node; None if it has."""
        if type_of(raw) == 257:
            node_id, timestamp = node_of(raw)
            node = self._graph.nodes.get(node_id)
            if node is None:
                return Verdict.ORPHAN
            known, before = node.announcement_bytes, node.timestamp
        else:
            chain_hash, scid, direction, timestamp = direction_of(raw)
            if chain_hash != self._graph.chain_hash:
                return Verdict.WRONG_CHAIN
            channel = self._graph.channels.get(scid)
            if channel is None:
                return Verdict.ORPHAN
            if raw[110] & 2:
                return Verdict.DONT_FORWARD
            known, before = channel.update_bytes(direction), channel.timestamp(direction)
        if known is None or timestamp > before:
            return None
        if timestamp < before:
            return Verdict.STALE
        return Verdict.DUPLICATE if known[_DIGEST:] == raw[_DIGEST:] else Verdict.EQUIVOCATION

    def _reject(self, verdict: Verdict) -> None:
        self.report.rejected[str(verdict)] += 1


async def _verified(messages: Sequence[bytes], signers: Sequence[bytes | None]) -> dict[bytes, bool]:
    """Whether the signatures of each message hold. A channel_announcement names its signers itself."""
    found: dict[bytes, bool] = {}

    async def part(first: int) -> None:
        those = messages[first::THREADS]
        done = await trio.to_thread.run_sync(_hold, those, signers[first::THREADS])
        found.update(zip(those, done, strict=True))

    async with trio.open_nursery() as nursery:
        for first in range(min(THREADS, len(messages))):
            nursery.start_soon(part, first)
    return found


def _hold(messages: Sequence[bytes], signers: Sequence[bytes | None]) -> list[bool]:
    return [_holds(raw, signer) for raw, signer in zip(messages, signers, strict=True)]


def _holds(raw: bytes, signer: bytes | None) -> bool:
    if signer is not None:
        return verify(raw[2:66], _digest(raw, _DIGEST), signer)
    digest = _digest(raw, _CHANNEL_DIGEST)
    at = 300 + int.from_bytes(raw[258:260], "big")
    keys = (raw[at + 33 * number : at + 33 + 33 * number] for number in range(4))
    return all(verify(raw[2 + 64 * number : 66 + 64 * number], digest, key) for number, key in enumerate(keys))


def _digest(raw: bytes, at: int) -> bytes:
    return hashlib.sha256(hashlib.sha256(raw[at:]).digest()).digest()
