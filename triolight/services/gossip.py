"""open_gossip: peers are asked for their gossip, and a graph is kept current. Who is asked what is decided elsewhere.

One task reads what peers say, after their routing handler has taken it, and hands it to the pure machines of
`triolight.gossip`; one keeps their time; what they want said goes out in a task each, for a peer that reads nothing
holds up nobody. A peer's end wakes whatever waits for it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol

import trio

from triolight.chains import chain_name
from triolight.errors import PeerClosed
from triolight.gossip.asking import Asker, filter_of
from triolight.gossip.changes import Change, ChannelAdded, ChannelChanged, Judged, NodeChanged
from triolight.gossip.fetching import LAST_BLOCK, Fetching, Progress, Query
from triolight.gossip.following import Check, Following, Stream
from triolight.gossip.graph import NetworkGraph
from triolight.gossip.policy import SyncPolicy
from triolight.gossip.rules import GossipRules
from triolight.gossip.sources import Source
from triolight.gossip.utxo import Waiting
from triolight.gossip.verdicts import Verdict
from triolight.gossip.wants import Unknown
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    NodeAnnouncement,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.services.changes import GossipChanges, Queue, Told
from triolight.services.counts import GossipStatistics, PeerState, gossip_statistics
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

__all__ = ["Gossip", "PeerReport", "SyncReport", "open_gossip"]

DEFAULTS: Final = SyncPolicy()
TICK_SECONDS: Final = 1.0
"""How late the routing handler may hear that something is due, where that has become so since it was looked at."""
COUNTED_AT_ONCE: Final = 1000
"""Channels that are counted for a report before other tasks have their turn."""
REFUSED: Final = tuple(one for one in Verdict if one.kept in ("no", "cached", "first") and one is not Verdict.DUPLICATE)
"""Verdicts of messages of which nothing was kept, and which were not there before."""


class Sync(Protocol):
    """What is needed of the routing handler that fills the graph: `P2PGossipSync`."""

    asker: Any
    on_change: Callable[[Change], None] | None

    @property
    def graph(self) -> NetworkGraph: ...
    @property
    def rules(self) -> GossipRules: ...
    @property
    def due_in(self) -> float: ...
    def tick(self) -> None: ...
    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> Any: ...
    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> Any: ...


class Store(Protocol):
    """What is needed of who keeps the graph: `GraphStore`."""

    def take(self, *changes: Change) -> None: ...
    async def room(self) -> None: ...
    async def written(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PeerReport:
    """What one peer gave in a fetch, and refused."""

    node_id: bytes
    channels: int
    updates: int
    nodes: int
    """Messages that came from it."""
    rejected: Mapping[str, int]
    """Those of them of which nothing was kept, by the verdict."""
    dropped: int
    """Those that came before their channels when too many others had: they were looked at when they came, and no more
    when their channels did."""
    bytes: int
    """Read from it meanwhile."""
    end: str
    """``complete``: it has told all that it lists; ``partial``, ``silent``, ``closed``, ``other chain``, ``too much``,
    ``in vain``: it listed what it did not have; ``tells by itself``: it answers no query; ``given up``."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a fetch has come to."""

    channels: int
    updates: int
    """Directions of channels that have one."""
    nodes: int
    """All as the graph has them now."""
    complete: bool
    """Whether one peer at least has listed all of its channels, and has told all that it has of them."""
    rejected: Mapping[str, int]
    seconds: float
    peers: tuple[PeerReport, ...]


class _Job:
    """A fetch that runs."""

    def __init__(
        self,
        fetching: Fetching,
        on_progress: Callable[[Progress], None] | None,
        began: float,
        verdicts: Mapping[Verdict, int],
    ) -> None:
        self.fetching: Final = fetching
        self._began: Final = began
        self._seconds: float | None = None
        self._verdicts: Final = verdicts
        self._before: Final = {one: verdicts[one] for one in REFUSED}
        self._refused: dict[str, int] = {}
        self.sources: Final[dict[Peer, Source]] = {}
        self.wanted: set[bytes] = set()
        """Node ids: who of them comes back is asked again."""
        self.read_before: Final[dict[Source, int]] = {}
        self.read: Final[dict[Source, int]] = {}
        self.rejected: Final[dict[bytes, dict[str, int]]] = {}
        self.finished: Final = trio.Event()
        self.unanswered: list[Waiting] = []
        """What waited for a chain's answer when nothing was left to be asked of peers."""
        self.believed: Final = trio.Event()
        """None of it waits any more."""
        self._on_progress: Final = on_progress
        self._told: Progress | None = None

    def join(self, peer: Peer, asker: Asker, now: float) -> None:
        if peer in self.sources:
            return
        source = self.fetching.join(peer.node_id, now, asker)
        if source is not None:
            self.sources[peer] = source
            self.read_before[source] = peer.statistics().bytes_received

    def leave(self, peer: Peer, now: float) -> None:
        source = self.sources.pop(peer, None)
        if source is not None:
            self.read[source] = peer.statistics().bytes_received - self.read_before[source]
            self.fetching.leave(source, now)

    def end(self, now: float) -> None:
        """It is over, or was cancelled."""
        for peer, source in self.sources.items():
            self.read[source] = peer.statistics().bytes_received - self.read_before[source]
        self.sources.clear()
        self._refused = self._count_refused()
        self._seconds = now - self._began

    def report(self, channels: int, updates: int, nodes: int) -> SyncReport:
        runs = self._seconds is None
        return SyncReport(
            channels,
            updates,
            nodes,
            complete=self.fetching.complete,
            rejected=self._count_refused() if runs else self._refused,
            seconds=trio.current_time() - self._began if self._seconds is None else self._seconds,
            peers=_reports(self),
        )

    def _count_refused(self) -> dict[str, int]:
        counts = {one.value: self._verdicts[one] - self._before[one] for one in REFUSED}
        return {words: times for words, times in counts.items() if times}

    def tell(self) -> None:
        if self._on_progress is not None:
            progress = self.fetching.progress
            if progress != self._told:
                self._told = progress
                self._on_progress(progress)


class Gossip:
    """What `open_gossip` gives."""

    _nursery: trio.Nursery

    def __init__(
        self, peers: PeerNursery, sync: Sync, store: Store | None, policy: SyncPolicy, unix_time: Callable[[], float]
    ) -> None:
        self.policy: Final = policy
        self._peers: Final = peers
        self._sync: Final = sync
        self._store: Final = store
        self._unix_time: Final = unix_time
        self._following: Final = Following(policy, trio.current_time(), lambda: not sync.graph.channels)
        self._job: _Job | None = None
        self._latest: _Job | None = None
        self._turn: Final = trio.Lock()
        """One fetch at a time: a peer is asked one thing at a time."""
        self._readers: list[Queue] = []
        self._sooner = trio.Event()
        self._alarm_at = trio.current_time()
        self._closed = False
        self._connected: dict[bytes, Peer] = {}
        self._askers: dict[Peer, Asker] = {}
        self._unknown: Final = Unknown(policy.following.unknown, policy.following.unknown_of_peer)
        self._checks: dict[Peer, bool] = {}
        """Who is to be asked whether something was missed, in turn, and whether for everything; nobody who has gone."""
        self._check_waits = trio.Event()
        self._check_scope = trio.CancelScope()
        """Of the one whose turn it is."""

    @property
    def graph(self) -> NetworkGraph:
        """What is filled and kept current."""
        return self._sync.graph

    def __repr__(self) -> str:
        return f"<Gossip {self.graph!r}, {len(self._following.streams)} streams>"

    @trio.lowlevel.enable_ki_protection
    async def fetch(self, *peers: Peer, on_progress: Callable[[Progress], None] | None = None) -> SyncReport:
        """The whole graph, once, from these peers together; from all that are connected, if none is named.

        Ends when each of them has told what it has, or will not; the report says which. What came is in the graph, and
        with a store on the disk, also of a fetch that is cancelled. One of them whose connection ends is asked again
        when it comes back. One fetch at a time: another one waits for its turn.

        `on_progress` is called whenever it is further, and must not block. ValueError for a peer of another chain, and
        if there is no peer at all; RuntimeError once the block of `open_gossip` was left.
        """
        await trio.lowlevel.checkpoint()
        chosen = peers or tuple(one for one in self._connected.values() if self._is_of_our_chain(one))
        if not chosen:
            raise ValueError("nobody to ask: no peer is connected")
        for peer in chosen:
            if not self._is_of_our_chain(peer):
                theirs = ", ".join(map(chain_name, peer.init.tlvs.networks or ()))
                raise ValueError(
                    f"{peer.node_id.hex()} is no peer of {chain_name(self.graph.chain_hash)}, but of {theirs}"
                )
        self._check_scope.cancel(reason="a fetch goes first")
        report = await self._fetch(chosen, None, on_progress)
        if self._store is not None:
            await self._store.written()
        return report

    def changes(self) -> GossipChanges:
        """Everything that happens to the graph, from entering the block on."""
        return GossipChanges(self._readers, self.policy.changes)

    def _is_of_our_chain(self, peer: Peer) -> bool:
        networks = peer.init.tlvs.networks
        return not networks or self.graph.chain_hash in networks

    async def _fetch(
        self,
        peers: tuple[Peer, ...],
        blocks: tuple[int, int] | None,
        on_progress: Callable[[Progress], None] | None = None,
        *,
        listed: list[int] | None = None,
        refresh: bool = False,
    ) -> SyncReport:
        async with self._turn:
            if self._closed:
                raise RuntimeError("the block of open_gossip was left")
            began = trio.current_time()
            fetching = Fetching(
                self.graph,
                self.policy,
                now=began,
                unix=self._unix_time(),
                offer=self._offer,
                blocks=blocks,
                settled=self._is_settled,
                listed=listed,
                refresh=self._is_of_today if refresh else lambda _: False,
            )
            job = self._job = self._latest = _Job(fetching, on_progress, began, self._sync.rules.verdicts)
            job.wanted = {one.node_id for one in peers}
            try:
                for peer in peers:
                    job.join(peer, self._asker_of(peer), began)
                    if peer.reason is not None:
                        job.leave(peer, began)
                self._turn_over()
                await job.finished.wait()
                if self._closed:
                    raise RuntimeError("the block of open_gossip was left")
                # A chain that does not answer is none after the rules' deadline.
                self._look_whether_believed(job)
                await job.believed.wait()
            finally:
                self._job = None
                job.end(trio.current_time())
                for source in fetching.sources:
                    source.asker.abandon(trio.current_time())
                    self._following.checked(source.node_id, filtered=source.asker.filtered)
                self._turn_over()
            channels = updates = 0
            for counted in self._count():
                channels, updates = counted
                await trio.lowlevel.checkpoint()
        return job.report(channels, updates, len(self.graph.nodes))

    def _count(self) -> Iterator[tuple[int, int]]:
        """Channels and updates so far, now and then; at last all of them."""
        channels = updates = 0
        for channel in self.graph.ascending():
            channels += 1
            updates += sum(channel.update_bytes(one) is not None for one in (0, 1))
            if channels % COUNTED_AT_ONCE == 0:
                yield channels, updates
        yield channels, updates

    @property
    def latest(self) -> SyncReport | None:
        """What the latest fetch has come to so far, also of one that was cancelled. None before the first one. Looks at
        all of the graph."""
        job = self._latest
        if job is None:
            return None
        *_, (channels, updates) = self._count()
        return job.report(channels, updates, len(self.graph.nodes))

    @property
    def verdicts(self) -> Mapping[Verdict, int]:
        """What became of messages, since the graph's routing handler was made: how often."""
        return self._sync.rules.verdicts

    @property
    def progress(self) -> Progress | None:
        """How far the fetch is that runs now; None while there is none."""
        return None if self._job is None else self._job.fetching.progress

    def states(self) -> dict[bytes, PeerState]:
        """Where each connected peer stands with our asking, by its node id."""
        asked = {one.node_id for one in self._job.sources} if self._job is not None else frozenset[bytes]()
        streams = self._following.streams
        return {
            one: PeerState.ASKED
            if one in asked
            else PeerState.STREAMS
            if one in streams
            else PeerState.WAITS
            if one in self._connected
            else PeerState.ELSEWHERE
            for one in self._peers.peers
        }

    def statistics(self) -> GossipStatistics:
        """The numbers, as of now."""
        return gossip_statistics(self)

    def _look_whether_believed(self, job: _Job) -> None:
        """An answer does not always change the graph, so whoever keeps the time looks."""
        lookups, left = self._sync.rules.lookups, job.unanswered
        while left and not lookups.awaits(left[-1]):
            left.pop()
        if not left:
            job.believed.set()

    def _is_settled(self, short_channel_id: int) -> bool:
        """Whether a channel that is not in the graph was told all the same, and is not worth another peer's telling."""
        rules, now = self._sync.rules, self._unix_time()
        memory = rules.memory
        return (
            rules.lookups.get(short_channel_id) is not None
            or memory.closed.get(short_channel_id, now) is not None
            or memory.tombstones.get(short_channel_id, now) is not None
            or memory.negative.get(short_channel_id, now) is not None
        )

    def _is_of_today(self, node_id: bytes) -> bool:
        """Whether it is this node's day, of a week."""
        policy = self.policy.following
        return node_id[-1] % policy.refresh_parts == int(self._unix_time() // policy.resync_all) % policy.refresh_parts

    def _offer(self, node_id: bytes, data: bytes) -> None:
        message = BOLT.decode(data)
        if isinstance(message, ChannelUpdate):
            self._sync.handle_channel_update(node_id, message)
        elif isinstance(message, NodeAnnouncement):
            self._sync.handle_node_announcement(node_id, message)

    def _end(self) -> None:
        self._closed = True
        for reader in self._readers:
            reader.end()
        if self._job is not None:
            self._job.finished.set()
            self._job.believed.set()

    def _take(self, peer: Peer, message: Any) -> None:
        now, job = trio.current_time(), self._job
        match message:
            case PeerConnected():
                self._joined(peer)
            case PeerDisconnected():
                self._askers.pop(peer, None)
                self._checks.pop(peer, None)
                if self._connected.get(peer.node_id) is peer:
                    del self._connected[peer.node_id]
                    self._unknown.forget((peer.node_id,))
                    self._following.leave(peer.node_id)
                if job is not None:
                    job.leave(peer, now)
            case _:
                if isinstance(message, ChannelUpdate):
                    self._spoke_of(peer, message)
                source = None if job is None else job.sources.get(peer)
                if job is None or source is None:
                    asker = self._askers.get(peer)
                    if asker is not None and isinstance(message, ReplyShortChannelIdsEnd):
                        asker.take_end(message, now)  # owed to a fetch that is over: it may be asked again
                    return
                job.fetching.take(source, message, now)
                if not isinstance(message, ReplyChannelRange | ReplyShortChannelIdsEnd):
                    return
        self._turn_over()

    def _spoke_of(self, peer: Peer, update: ChannelUpdate) -> None:
        """A peer has told of a channel. One that nobody has announced it is asked for, unless it stays between us."""
        one = update.short_channel_id
        if one in self.graph.channels or update.message_flags & 2 or update.chain_hash != self.graph.chain_hash:
            return
        job = self._job
        asked = job is not None and peer in job.sources
        if not asked and self._connected.get(peer.node_id) is peer and not self._is_settled(one):
            self._unknown.add(peer.node_id, one, trio.current_time())

    def _joined(self, peer: Peer) -> None:
        if peer.reason is not None or self._connected.get(peer.node_id) is peer:
            return
        if not self._is_of_our_chain(peer):
            return
        self._connected[peer.node_id] = peer
        self._following.join(peer.node_id, trio.current_time(), early=peer.features.offers("gossip_queries_ex"))
        job = self._job
        if job is not None and peer.node_id in job.wanted:
            job.join(peer, self._asker_of(peer), trio.current_time())

    def _asker_of(self, peer: Peer) -> Asker:
        """What is known of how this connection answers, from one fetch to the next."""
        asker = self._askers.get(peer)
        if asker is None:
            asker = Asker(self.graph.chain_hash, self.policy.asking)
            if peer.reason is None:
                self._askers[peer] = asker
        return asker

    @trio.lowlevel.enable_ki_protection
    async def _keep_time(self) -> None:
        while True:
            self._sooner = trio.Event()
            self._turn_over()
            with trio.move_on_at(self._alarm_at):
                await self._sooner.wait()
            await trio.lowlevel.checkpoint()

    @trio.lowlevel.enable_ki_protection
    async def _tick_sync(self) -> None:
        """The routing handler has no clock of its own."""
        while True:
            await trio.sleep(min(self._sync.due_in, TICK_SECONDS))
            self._sync.tick()
            if self._unknown.due(trio.current_time()) is not None:
                self._check_waits.set()
            if self._job is not None and self._job.finished.is_set():
                self._look_whether_believed(self._job)

    def _turn_over(self) -> None:
        """Whatever is due is done."""
        if self._closed:
            return
        now, job = trio.current_time(), self._job
        soonest = self._following.look_again
        if job is not None and not job.finished.is_set():
            by_source = {source: peer for peer, source in job.sources.items()}
            for source, query in job.fetching.tick(now):
                self._nursery.start_soon(self._send, by_source[source], query)
            job.tell()
            if job.fetching.done:
                # What others push from now on, perhaps without end, keeps nobody waiting.
                job.unanswered = self._sync.rules.lookups.waiting
                job.finished.set()
            else:
                soonest = min(soonest, job.fetching.look_again)
        for action in self._following.tick(now):
            self._do(action)
        soonest = min(soonest, self._following.look_again)
        if soonest < self._alarm_at or self._alarm_at <= now:
            self._sooner.set()
        self._alarm_at = soonest

    def _do(self, action: Stream | Check) -> None:
        peer = self._connected.get(action.node_id)
        if peer is None:
            return
        match action:
            case Stream(seconds_ago=ago):
                first = None if ago is None else int(self._unix_time()) - ago
                self._asker_of(peer).filtered = True
                self._nursery.start_soon(self._send, peer, filter_of(self.graph.chain_hash, first))
            case Check(everything=everything):
                self._checks[peer] = everything or self._checks.get(peer, False)
                self._check_waits.set()

    @trio.lowlevel.enable_ki_protection
    async def _keep_checking(self) -> None:
        """One after the other. A fetch of the user's waits for none of these: it is begun again behind it."""
        while True:
            self._check_waits = trio.Event()
            while self._checks:
                peer = next(iter(self._checks))
                everything = self._checks.pop(peer)
                with trio.CancelScope() as self._check_scope:
                    await self._check(peer, everything)
                if self._check_scope.cancelled_caught and peer.reason is None:
                    self._checks.setdefault(peer, everything)
            node_id = self._unknown.due(trio.current_time())
            if node_id is None:
                await self._check_waits.wait()
                continue
            listed = self._unknown.take(node_id)
            with trio.CancelScope() as self._check_scope:
                await self._fetch((self._connected[node_id],), None, listed=listed)
            if node_id not in self._connected:
                continue
            if self._check_scope.cancelled_caught:
                for one in listed:
                    self._unknown.add(node_id, one, trio.current_time())
                continue
            in_vain = not any(one in self.graph.channels for one in listed)
            self._unknown.asked(node_id, trio.current_time(), in_vain=in_vain)

    @trio.lowlevel.enable_ki_protection
    async def _check(self, peer: Peer, everything: bool) -> None:
        blocks: tuple[int, int] | None = None
        # What is newer than the day before the newest channel that a chain has confirmed: a stranger's could be of any
        # block, and hide all others from us. Without a chain all are asked for.
        proven = (one for one, channel in self.graph.channels.items() if channel.proven)
        newest = None if everything else max(proven, default=None)
        if newest is not None:
            first = max(0, (newest >> 40) - self.policy.following.resync_blocks)
            blocks = first, LAST_BLOCK - first
        await self._fetch((peer,), blocks, refresh=everything)

    @trio.lowlevel.enable_ki_protection
    async def _send(self, peer: Peer, message: Query | GossipTimestampFilter) -> None:
        try:
            await peer.send(message)
        except PeerClosed:
            pass  # its end comes to us as well


class _OpenGossip(Gossip):
    """The same as its block has it: what the routing handler asks and tells in the middle of what it does, and the task
    that reads."""

    def is_asked(self, node_id: bytes) -> bool:
        """Whether what this peer sends may be what we have asked it for."""
        job = self._job
        return (job is not None and node_id in job.wanted) or node_id in self._following.streams

    def replied(self, node_id: bytes, message: ReplyChannelRange | ReplyShortChannelIdsEnd) -> bool:
        """A reply. False if nobody has asked for it. What a fetch that is over had asked for still comes."""
        now, peer = trio.current_time(), self._connected.get(node_id)
        asker = None if peer is None else self._askers.get(peer)
        if asker is not None and asker.expects(message, now):
            return True
        job = self._job
        return job is not None and any(
            one.node_id == node_id and one.asker.expects(message, now) for one in job.fetching.sources
        )

    def judged(self, node_id: bytes, verdict: Verdict) -> None:
        """What became of a message of this peer's."""
        job = self._job
        if job is not None and node_id in job.wanted and verdict in REFUSED:
            counts = job.rejected.setdefault(node_id, {})
            counts[verdict.value] = counts.get(verdict.value, 0) + 1

    def changed(self, change: Change) -> None:
        """Something has happened to the graph."""
        if self._store is not None:
            self._store.take(change)
        if isinstance(change, ChannelAdded | ChannelChanged | NodeChanged) and change.source is not None:
            self._following.new_from(change.source, trio.current_time())
        if isinstance(change, Told):
            for reader in self._readers:
                reader.put(change)
        elif isinstance(change, Judged) and change.source is not None:
            self.judged(change.source, change.verdict)

    @trio.lowlevel.enable_ki_protection
    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Reads what peers say, and keeps the time, until it is cancelled."""
        types: tuple[type[Any], ...] = (
            ChannelAnnouncement,
            ChannelUpdate,
            NodeAnnouncement,
            ReplyChannelRange,
            ReplyShortChannelIdsEnd,
            PeerConnected,
            PeerDisconnected,
        )
        self._sync.asker, self._sync.on_change = self, self.changed
        try:
            async with self._peers.subscribe(*types) as inbox, trio.open_nursery() as nursery:
                self._nursery = nursery
                for peer in self._peers.peers.values():
                    self._joined(peer)
                nursery.start_soon(self._keep_time, name="gossip: time")
                nursery.start_soon(self._tick_sync, name="gossip: ticks")
                nursery.start_soon(self._keep_checking, name="gossip: checks")
                task_status.started()
                async for peer, message in inbox:
                    self._take(peer, message)
                    if self._store is not None and not isinstance(message, PeerConnected | PeerDisconnected):
                        await self._store.room()
                nursery.cancel_scope.cancel(reason="the block of peers is left")
        finally:
            self._sync.asker = self._sync.on_change = None
            self._end()


def _reports(job: _Job) -> tuple[PeerReport, ...]:
    """One a node, of all of its connections."""
    found: list[PeerReport] = []
    for node_id in dict.fromkeys(one.node_id for one in job.fetching.sources):
        sources = [one for one in job.fetching.sources if one.node_id == node_id]
        found.append(
            PeerReport(
                node_id=node_id,
                channels=sum(one.told.channels for one in sources),
                updates=sum(one.told.updates for one in sources),
                nodes=sum(one.told.nodes for one in sources),
                rejected=job.rejected.get(node_id, {}),
                dropped=sum(one.parked.dropped for one in sources),
                bytes=sum(job.read.get(one, 0) for one in sources),
                end=sources[-1].end or "given up",
            )
        )
    return tuple(found)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_gossip(
    peers: PeerNursery,
    sync: Sync,
    store: Store | None = None,
    policy: SyncPolicy = DEFAULTS,
    *,
    unix_time: Callable[[], float] = time.time,
) -> AsyncGenerator[Gossip]:
    """``async with open_gossip(peers, sync) as gossip``: keeps the graph of `sync` current from the peers of `peers`.

    `sync` is the routing handler of the same manager. A few peers stream what is new, in turns, and each hour one is
    asked whether something was missed. ``gossip.fetch()`` brings the whole graph at once. With a `store`, all that
    changes goes to its file, and peers wait for a slow disk. `unix_time`: what timestamps are held against.

    ValueError if another block asks for the same `sync` already.
    """
    if sync.asker is not None:
        raise ValueError("this sync has somebody who asks: one open_gossip at a time")
    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        gossip = _OpenGossip(peers, sync, store, policy, unix_time)
        await nursery.start(gossip.run)
        try:
            yield gossip
        except BaseException as error:  # leaves bare, and not in the nursery's group
            failed = error
        nursery.cancel_scope.cancel(reason="the block of open_gossip is left")
    if failed is not None:
        raise failed
