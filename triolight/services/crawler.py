"""crawl: from the nodes that are named to all that they lead to; what each offers, answers, and how far it is.

Each visit is one connection: Inits, a ping, a question for channels, one for what is announced, and the end. Visits run
in tasks of the peers' block, since whoever reads the reports may leave at any of them. A record keeps what was found,
and a crawl that has one goes on where the one before has ended.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable, Iterator
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final

import trio

from triolight.address import NodeAddress, readable
from triolight.chains import BITCOIN, AnyChain, chain_hash
from triolight.errors import DecodeError, PeerClosed
from triolight.features import Features
from triolight.gossip.asking import filter_of
from triolight.gossip.fields import (
    decode_short_ids,
    display_alias,
    encode_query_flags,
    encode_short_ids,
    verify_announcement,
)
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    Message,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    QueryShortChannelIdsTlvs,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.services.frontier import CrawlPolicy, Frontier
from triolight.services.record import (
    ANSWER,
    BROKEN_OFF,
    HISTORY,
    REACHED,
    RecordBatch,
    RecordWriter,
    SessionFacts,
    dials_of,
    messages_of,
)
from triolight.services.recorder import Recorder
from triolight.services.sqlite import StoreError
from triolight.services.worker import WorkerThread
from triolight.shell.keep import announced_addresses
from triolight.shell.peer import ConnectError, Peer
from triolight.shell.peers import PeerNursery

__all__ = ["CrawlPolicy", "NodeReport", "crawl", "planned_dials"]

TOO_SLOW: Final = "too slow"
DEFAULTS: Final = CrawlPolicy()
LAST_BLOCK: Final = 0xFFFFFFFF
WANTED: Final = 1 | 8 | 16
"""Of a channel: its announcement, and those of both its nodes."""
ANSWER_SECONDS: Final = 10.0
"""For each of both: some nodes never answer, and no one is waited for as long as for a slow one."""
FILTER_BACK: Final = 3600
"""Seconds. More is much to send, for somebody who leaves at its first message."""
FILTER_SECONDS: Final = 2.0
"""For that first message: a place at a node is somebody else's place."""
REPLIES: Final = 1000
"""Of one range: a node that says more is not listened to."""
GOODBYE_SECONDS: Final = 1.0
"""For our last word, where the crawl was left: what is on its way then goes on by itself."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What came of one node."""

    node_id: bytes
    address: NodeAddress
    """The one that was dialled last."""
    outcome: str
    """``reached``: its Init came, and was accepted. ``too slow``, or the code of the reason why not."""
    features: Features | None
    """Of its Init, if one came."""
    rtt: float | None
    """Seconds, of one ping."""
    took: float
    """Seconds: the whole visit."""
    channels: int | None
    """How many it lists; None: it was not asked, or has not said."""
    told: int | None
    """Messages with which it answered about some of them; None as above."""
    filtered: bool | None
    """Whether gossip came within FILTER_SECONDS of our filter for the last hour. False: it knows none, or takes its
    time, as Core Lightning does. None: it was not asked, or was gone."""
    announcement: NodeAnnouncement | None
    """The newest that was heard by then."""
    found: int
    """Nodes that the crawl has heard of by then, named ones too."""

    @property
    def reached(self) -> bool:
        """Whether its Init came, and was accepted."""
        return self.outcome == REACHED

    @property
    def alias(self) -> str:
        """What it calls itself, as it can be shown; empty if that is not known."""
        return "" if self.announcement is None else display_alias(self.announcement.alias)


@dataclass(slots=True, eq=False)
class _Visit:
    """What was found so far."""

    address: NodeAddress
    began: float
    peer: Peer | None = None
    connected_ns: int = 0
    outcome: str = BROKEN_OFF
    init: bytes = b""
    features: Features | None = None
    rtt: float | None = None
    channels: int | None = None
    told: int | None = None
    filtered: bool | None = None
    taken: list[int] = field(default_factory=list[int])
    """Channels that it was asked about, and has not answered yet."""
    heard: list[tuple[int, int, bytes]] = field(default_factory=list[tuple[int, int, bytes]])
    took: float = 0.0
    done: bool = False
    """Nothing more is to be done with this node."""


class _Crawl:
    """One crawl: who is visited is the frontier's, how, is here."""

    def __init__(self, peers: PeerNursery, policy: CrawlPolicy, chain: bytes) -> None:
        self.frontier: Final = Frontier(policy)
        self.announced: dict[bytes, NodeAnnouncement] = {}
        self._peers: Final = peers
        self._policy: Final = policy
        self._chain: Final = chain
        self._base: Final = trio.current_time()
        self.base_ns = peers.unix_ns()
        self._scope: Final = trio.CancelScope()
        self._running: dict[_Visit, None] = {}
        self._ended: list[_Visit] = []
        """That nobody has taken."""
        self._over = False
        self._changed = trio.Event()
        """A visit has ended or was taken, or all is over."""
        self.last_ns = 0
        """When the last visit has ended."""

    def at_ns(self, at: float) -> int:
        """A moment of the run's clock as a record has it."""
        return self.base_ns + round((at - self._base) * 1e9)

    def learn(self, message: NodeAnnouncement) -> None:
        """What a node says of itself, if it is signed."""
        known = self.announced.get(message.node_id)
        if known is not None and known.timestamp >= message.timestamp:
            return
        if len(self.announced) < 10 * self._policy.max_nodes and verify_announcement(message):
            self.believe(message)

    def believe(self, message: NodeAnnouncement) -> None:
        """The same of one whose signature was looked at."""
        self.announced[message.node_id] = message
        _add_announced(self.frontier, message)

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def take(self) -> list[_Visit]:
        """The visits that have ended, at least one; none: all is over."""
        while not self._ended and not self._over:
            await self._changed.wait()
        taken, self._ended = self._ended, []
        self._change()
        return taken

    def stop(self) -> list[_Visit]:
        """Nobody takes any more: what has ended, and what is broken off."""
        self._scope.cancel(reason="the crawl is left")
        left = [*self._ended, *self._running]
        self._ended = []
        for visit in self._running:
            visit.took = trio.current_time() - visit.began
            self.last_ns = max(self.last_ns, self.at_ns(trio.current_time()))
        return left

    async def run(self) -> None:
        """Dials whoever is next, as long as there is somebody."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    await self._dial_all(nursery)
        finally:
            self._over = True
            self._change()

    async def _dial_all(self, nursery: trio.Nursery) -> None:
        next_dial = trio.current_time()
        while True:
            while len(self._running) + len(self._ended) >= self._policy.at_once:
                await self._changed.wait()
            await trio.sleep_until(next_dial)
            found = self.frontier.next(trio.current_time())
            if isinstance(found, NodeAddress):
                next_dial = trio.current_time() + 1 / self._policy.rate
                visit = _Visit(found, trio.current_time())
                self._running[visit] = None
                nursery.start_soon(self._visit, visit)
            elif found is not None:
                with trio.move_on_at(found):
                    await self._changed.wait()
            elif self._running:
                await self._changed.wait()  # whoever is visited may know more
            else:
                return

    async def _visit(self, visit: _Visit) -> None:
        ours = visit.address.node_id in self._peers.peers
        try:
            with trio.move_on_after(self._policy.visit_seconds) as scope:
                await self._talk(visit)
            if scope.cancelled_caught and visit.outcome == BROKEN_OFF:
                visit.outcome = TOO_SLOW
            self.frontier.give_back(visit.taken)
            visit.took = trio.current_time() - visit.began
            self.last_ns = max(self.last_ns, self.at_ns(trio.current_time()))
            visit.done = self.frontier.visited(visit.address.node_id, reached=visit.outcome == REACHED)
        finally:
            if visit.peer is not None and not ours:
                # Waited for, so that no more are connected than the policy says; and said also if all of it is left.
                with trio.move_on_after(math.inf if visit.done else GOODBYE_SECONDS, shield=not visit.done):
                    await visit.peer.disconnect("thank you, that was all")
            del self._running[visit]
            if not self._scope.cancel_called:
                self._ended.append(visit)
            self._change()

    async def _talk(self, visit: _Visit) -> None:
        try:
            peer = visit.peer = await self._peers.connect(visit.address)
        except ConnectError as error:
            visit.outcome = error.reason.code.value
            if error.init is not None:
                visit.init, visit.features = error.init.encode(), _features_of(error)
        else:
            visit.connected_ns = self.at_ns(trio.current_time())
            visit.outcome, visit.features, visit.init = REACHED, peer.features, peer.init.encode()
            try:
                await self._ask(peer, visit)
            except PeerClosed:
                pass  # it has said what it says

    async def _ask(self, peer: Peer, visit: _Visit) -> None:
        visit.rtt = await peer.ping()
        if not self._policy.ask_graph or not peer.features.offers("gossip_queries"):
            return
        wanted = (ReplyChannelRange, ReplyShortChannelIdsEnd, ChannelAnnouncement, NodeAnnouncement, ChannelUpdate)
        async with peer.subscribe(*wanted) as inbox:
            await peer.send(QueryChannelRange(chain_hash=self._chain, first_blocknum=0, number_of_blocks=LAST_BLOCK))
            listed: list[int] = []
            with trio.move_on_after(ANSWER_SECONDS):
                replies = 0
                async for message in inbox:
                    if isinstance(message, ReplyChannelRange):
                        replies += 1
                        listed += _ids_of(message)
                        self.frontier.list_channels(_ids_of(message))
                        end = message.first_blocknum + message.number_of_blocks
                        if (message.sync_complete and end >= LAST_BLOCK) or replies >= REPLIES:
                            visit.channels = len(listed)
                            break
            visit.taken = self.frontier.take_channels(listed)
            if visit.taken:
                await peer.send(self._query(visit.taken, peer))
                with trio.move_on_after(ANSWER_SECONDS):
                    told = 0
                    async for message in inbox:
                        if isinstance(message, ReplyShortChannelIdsEnd):
                            visit.told, visit.taken = told, []
                            break
                        if not isinstance(message, ReplyChannelRange):
                            told += 1
                            self._hear(message, visit, inbox.received_at)
            await peer.send(filter_of(self._chain, self._peers.unix_ns() // 10**9 - FILTER_BACK))
            with trio.move_on_after(FILTER_SECONDS) as waiting:
                async for message in inbox:
                    # What is late of the answers is no gossip of the last hour that nobody asked for by its channel.
                    if not isinstance(message, ReplyChannelRange | ReplyShortChannelIdsEnd):
                        visit.filtered = True
                        self._hear(message, visit, inbox.received_at)
                        return
            visit.filtered = False if waiting.cancelled_caught else None

    def _hear(self, message: Message, visit: _Visit, arrival: Any) -> None:
        at = trio.current_time() if arrival is None else arrival.monotonic
        visit.heard.append((self.at_ns(at), HISTORY if visit.filtered else ANSWER, message.encode()))
        if isinstance(message, NodeAnnouncement):
            self.learn(message)
        elif isinstance(message, ChannelAnnouncement):
            self.frontier.hear(message.node_id_1)
            self.frontier.hear(message.node_id_2)

    def _query(self, channels: list[int], peer: Peer) -> QueryShortChannelIds:
        asked = QueryShortChannelIds(chain_hash=self._chain, encoded_short_ids=encode_short_ids(channels))
        if not peer.features.offers("gossip_queries_ex"):
            return asked
        return asked.replace(tlvs=QueryShortChannelIdsTlvs(query_flags=encode_query_flags([WANTED] * len(channels))))

    def report(self, visit: _Visit) -> NodeReport:
        """What came of it."""
        return NodeReport(
            visit.address.node_id,
            visit.address,
            visit.outcome,
            visit.features,
            visit.rtt,
            visit.took,
            visit.channels,
            visit.told,
            visit.filtered,
            self.announced.get(visit.address.node_id),
            self.frontier.found,
        )


def _features_of(error: ConnectError) -> Features | None:
    init = error.init
    return None if init is None else Features.from_bytes(init.features) | Features.from_bytes(init.globalfeatures)


def _ids_of(message: ReplyChannelRange) -> tuple[int, ...]:
    try:
        return decode_short_ids(message.encoded_short_ids)
    except DecodeError:
        return ()


def _resume(frontier: Frontier, path: Path, now_ns: int, policy: CrawlPolicy) -> None:
    """Whom one need not dial yet."""
    for one in dials_of(path):
        pause = policy.again_seconds
        if not one.reached:
            pause = min(policy.longest_retry, policy.retry_seconds * 2 ** min(one.failures - 1, 60))
        if one.last_ns + pause * 1e9 > now_ns:
            frontier.skip(one.node_id)


def _announced(path: Path, most: int) -> list[NodeAnnouncement]:
    """Where others have said that they are: of each the newest word that is signed. A record has anything."""
    newest: dict[bytes, NodeAnnouncement] = {}
    for raw in messages_of(path, NodeAnnouncement.type):
        try:
            message = NodeAnnouncement.decode(raw)
        except DecodeError:
            continue
        before = newest.get(message.node_id)
        if before is None and len(newest) >= most:
            continue
        if (before is None or before.timestamp < message.timestamp) and verify_announcement(message):
            newest[message.node_id] = message
    return list(newest.values())


def _parsed(addresses: Iterable[NodeAddress | str]) -> list[NodeAddress]:
    return [NodeAddress.parse(one) if isinstance(one, str) else one for one in addresses]


def planned_dials(
    *addresses: NodeAddress | str,
    policy: CrawlPolicy = DEFAULTS,
    record: str | PathLike[str] | None = None,
    known: Iterable[NodeAddress] = (),
    now_ns: int,
) -> Iterator[NodeAddress]:
    """Whom `crawl` would dial first, in its order, if nobody told it of others. Nobody is dialled. Blocking calls.

    ValueError for text that is no address, StoreError for what is no record.
    """
    frontier = Frontier(policy)
    frontier.add(_parsed(addresses), named=True)
    if record is not None and Path(record).exists():
        _resume(frontier, Path(record), now_ns, policy)
        for message in _announced(Path(record), 10 * policy.max_nodes):
            _add_announced(frontier, message)
    frontier.add(known)
    now = 0.0
    while (found := frontier.next(now)) is not None:
        if isinstance(found, NodeAddress):
            yield found
        else:
            now = found


def _add_announced(frontier: Frontier, message: NodeAnnouncement) -> None:
    frontier.hear(message.node_id)
    try:
        frontier.add(announced_addresses(message))
    except DecodeError:
        pass  # its addresses are its own matter


class _Keeper:
    """Who keeps what a crawl finds: nobody."""

    def __init__(self, crawling: _Crawl, path: Path | None = None) -> None:
        self._crawling: Final = crawling
        self.path: Final = path

    async def keep(self, visits: list[_Visit]) -> None:
        """They have ended, and are on the disk when this returns. StoreError if they cannot be."""
        await trio.lowlevel.checkpoint()

    def end(self, visits: list[_Visit]) -> None:
        """These too, and no more come. Without an await: whoever leaves the loop in the middle ends it anywhere."""


class _InRecorder(_Keeper):
    """A recorder, which hears by itself what peers say."""

    def __init__(self, crawling: _Crawl, recorder: Recorder) -> None:
        super().__init__(crawling, recorder.path)
        self._recorder: Final = recorder

    async def keep(self, visits: list[_Visit]) -> None:
        self.end(visits)
        await self._recorder.written()

    def end(self, visits: list[_Visit]) -> None:
        for one in visits:
            self._recorder.note_dial(one.address, one.began, one.outcome, one.took, one.init, one.rtt)


class _InFile(_Keeper):
    """A record that is ours alone."""

    def __init__(self, crawling: _Crawl, writer: RecordWriter, thread: WorkerThread) -> None:
        super().__init__(crawling, writer.path)
        self._writer: Final = writer
        self._thread: Final = thread
        self._numbers = 0
        self._broken = False
        crawling.base_ns = writer.started_ns

    async def keep(self, visits: list[_Visit]) -> None:
        try:
            await self._thread.call(self._writer.write, self._batch(visits))
        except StoreError:
            self._broken = True
            raise

    def end(self, visits: list[_Visit]) -> None:
        try:
            if not self._broken:
                self._writer.write(self._batch(visits))
                self._writer.finish(max(self._writer.started_ns, self._crawling.last_ns))
        finally:
            self._writer.close()

    def _batch(self, visits: list[_Visit]) -> RecordBatch:
        batch, at_ns = RecordBatch(), self._crawling.at_ns
        for visit in visits:
            began, ended = at_ns(visit.began), at_ns(visit.began + visit.took)
            place = f"{visit.address.host}:{visit.address.port}"
            rtt_ms = None if visit.rtt is None else visit.rtt * 1000
            row = (began, visit.address.node_id, place, visit.outcome, round(visit.took * 1000), visit.init, rtt_ms)
            batch.dials.append(row)
            peer = visit.peer
            if peer is None:
                continue
            self._numbers += 1
            address = "" if peer.address is None else readable(peer.address)
            connected = visit.connected_ns
            facts = SessionFacts(self._numbers, peer.node_id, address, not peer.inbound, connected, visit.init)
            batch.opened.append(facts)
            batch.sightings += [(seen, self._numbers, asked, raw) for seen, asked, raw in visit.heard]
            batch.closed.append((self._numbers, ended, "crawled"))
        return batch


async def crawl(
    peers: PeerNursery,
    *addresses: NodeAddress | str,
    policy: CrawlPolicy = DEFAULTS,
    chain: AnyChain = BITCOIN,
    record: Recorder | str | PathLike[str] | None = None,
    known: Iterable[NodeAddress] = (),
) -> AsyncGenerator[NodeReport, None]:
    """``async for found in crawl(peers, "02ab…@…")``: visits these nodes, and all that they lead to.

    Each node is dialled at the addresses that it has announced, one after the other, until one answers; pinged; asked
    which channels it knows, and for the announcements of some of them; and left. Nobody is dialled who was not named
    or has not announced where it is, in gossip of a node that was reached. It ends when nobody is left; and where it is
    left before, nobody else is dialled, and who is visited hears goodbye.

    `record`: an open recorder of these peers, or the path of a file as `open_recorder` makes one, which nobody else
    writes meanwhile: each dial, session and message is in it; and who is in it already is dialled again only when the
    policy says so, named ones always. `known`: addresses from elsewhere, as a graph, that count as announced.
    ValueError for text that is no address, StoreError for what is no record, or cannot be written any more.
    """
    named = _parsed(addresses)
    crawling, thread = _Crawl(peers, policy, chain_hash(chain)), WorkerThread()
    keeper = _Keeper(crawling)
    if isinstance(record, Recorder):
        await record.written()  # so that it can be read
        keeper = _InRecorder(crawling, record)
    elif record is not None:
        keeper = _InFile(crawling, await thread.call(RecordWriter, Path(record), peers.unix_ns()), thread)
    try:
        crawling.frontier.add(named, named=True)
        if keeper.path is not None:
            await thread.call(_resume, crawling.frontier, keeper.path, crawling.base_ns, policy)
            for message in await thread.call(_announced, keeper.path, 10 * policy.max_nodes):
                crawling.believe(message)
        crawling.frontier.add(known)
        peers.start_beside(crawling.run, name="crawl")
        while visits := await crawling.take():
            await keeper.keep(visits)
            for visit in visits:
                if visit.done:
                    yield crawling.report(visit)
    finally:
        keeper.end(crawling.stop())
