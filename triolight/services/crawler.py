"""crawl: from the nodes that are named to all that they lead to; what each offers, answers, and how far it is.

Each visit is one connection: Inits, a ping, a question for channels, one for what is announced, and the end. A record
keeps what was found, and a crawl that has one goes on where the one before has ended.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from triolight.address import NodeAddress, readable
from triolight.chains import BITCOIN, AnyChain, chain_hash
from triolight.errors import DecodeError, PeerClosed
from triolight.features import Features
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
from triolight.services.record import ANSWER, RecordBatch, RecordWriter, SessionFacts
from triolight.shell.keep import announced_addresses
from triolight.shell.peer import ConnectError, Peer
from triolight.shell.peers import PeerNursery

__all__ = ["CrawlPolicy", "NodeReport", "crawl"]

REACHED: Final = "reached"
TOO_SLOW: Final = "too slow"
DEFAULTS: Final = CrawlPolicy()
LAST_BLOCK: Final = 0xFFFFFFFF
WANTED: Final = 1 | 8 | 16
"""Of a channel: its announcement, and those of both its nodes."""
ANSWER_SECONDS: Final = 10.0
"""For each of both: some nodes never answer, and no one is waited for as long as for a slow one."""
REPLIES: Final = 1000
"""Of one range: a node that says more is not listened to."""

_T = TypeVar("_T")


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


@dataclass(slots=True)
class _Visit:
    """What was found so far."""

    address: NodeAddress
    began: float
    peer: Peer | None = None
    connected_ns: int = 0
    outcome: str = TOO_SLOW
    init: bytes = b""
    features: Features | None = None
    rtt: float | None = None
    channels: int | None = None
    told: int | None = None
    taken: list[int] = field(default_factory=list[int])
    """Channels that it was asked about, and has not answered yet."""
    heard: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    took: float = 0.0


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
        self._next_dial: float = self._base
        self._numbers = 0
        self._running = 0
        self._idle = trio.Event()
        self.last_ns = 0
        """When the last visit has ended."""

    def _ns(self, at: float) -> int:
        return self.base_ns + round((at - self._base) * 1e9)

    def learn(self, message: NodeAnnouncement) -> None:
        """What a node says of itself, if it is signed."""
        known = self.announced.get(message.node_id)
        if known is not None and known.timestamp >= message.timestamp:
            return
        if len(self.announced) >= 10 * self._policy.max_nodes or not verify_announcement(message):
            return
        self.announced[message.node_id] = message
        self.frontier.hear(message.node_id)
        try:
            self.frontier.add(announced_addresses(message))
        except DecodeError:
            pass  # its addresses are its own matter

    async def round(self) -> list[_Visit]:
        """So many visits, all of which have ended. Nothing: nobody is left."""
        visits: list[_Visit] = []
        async with trio.open_nursery() as nursery:
            while len(visits) < self._policy.at_once:
                if not visits:
                    await trio.sleep_until(self._next_dial)
                else:
                    with trio.move_on_at(self._next_dial):
                        await self._idle.wait()
                        break  # all have ended, and it is not time for the next one
                found = self.frontier.next(trio.current_time())
                if isinstance(found, NodeAddress):
                    self._next_dial = trio.current_time() + 1 / self._policy.rate
                    visit = _Visit(found, trio.current_time())
                    visits.append(visit)
                    self._running += 1
                    self._idle = trio.Event()
                    nursery.start_soon(self._visit, visit)
                elif found is None or visits:
                    break  # whoever is visited may know more
                else:
                    await trio.sleep_until(found)
        return visits

    async def _visit(self, visit: _Visit) -> None:
        node_id = visit.address.node_id
        ours = node_id in self._peers.peers
        with trio.move_on_after(self._policy.visit_seconds):
            try:
                peer = visit.peer = await self._peers.connect(visit.address)
            except ConnectError as error:
                visit.outcome = error.reason.code.value
                if error.init is not None:
                    visit.init, visit.features = error.init.encode(), _features_of(error)
            else:
                visit.connected_ns = self._ns(trio.current_time())
                visit.outcome, visit.features, visit.init = REACHED, peer.features, peer.init.encode()
                try:
                    await self._ask(peer, visit)
                except PeerClosed:
                    pass  # it has said what it says
        self.frontier.give_back(visit.taken)
        visit.took = trio.current_time() - visit.began
        self.last_ns = max(self.last_ns, self._ns(trio.current_time()))
        if visit.peer is not None and not ours:
            await visit.peer.disconnect("thank you, that was all")
        self._running -= 1
        if not self._running:
            self._idle.set()

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
            if not visit.taken:
                return
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

    def _hear(self, message: Message, visit: _Visit, arrival: Any) -> None:
        at = trio.current_time() if arrival is None else arrival.monotonic
        visit.heard.append((self._ns(at), message.encode()))
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
            self.announced.get(visit.address.node_id),
            self.frontier.found,
        )

    def batch(self, visits: list[_Visit]) -> RecordBatch:
        """The same, for the record."""
        batch = RecordBatch()
        for visit in visits:
            began, ended = self._ns(visit.began), self._ns(visit.began + visit.took)
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
            batch.sightings += [(seen, self._numbers, ANSWER, raw) for seen, raw in visit.heard]
            batch.closed.append((self._numbers, ended, "crawled"))
        return batch


def _features_of(error: ConnectError) -> Features | None:
    init = error.init
    return None if init is None else Features.from_bytes(init.features) | Features.from_bytes(init.globalfeatures)


def _ids_of(message: ReplyChannelRange) -> tuple[int, ...]:
    try:
        return decode_short_ids(message.encoded_short_ids)
    except DecodeError:
        return ()


def _resume(crawl: _Crawl, writer: RecordWriter, policy: CrawlPolicy) -> None:
    """What a record knows already: whom one need not dial yet, and where others are."""
    now_ns = crawl.base_ns = writer.started_ns
    for node_id, last_ns, reached, failures in writer.dials():
        pause = policy.again_seconds
        if not reached:
            pause = min(policy.longest_retry, policy.retry_seconds * 2 ** min(failures - 1, 60))
        if last_ns + pause * 1e9 > now_ns:
            crawl.frontier.skip(node_id)
    for raw in writer.messages_of(NodeAnnouncement.type):
        try:
            crawl.learn(NodeAnnouncement.decode(raw))
        except DecodeError:
            continue


async def crawl(
    peers: PeerNursery,
    *addresses: NodeAddress | str,
    policy: CrawlPolicy = DEFAULTS,
    chain: AnyChain = BITCOIN,
    record: str | PathLike[str] | None = None,
) -> AsyncGenerator[NodeReport, None]:
    """``async for found in crawl(peers, "02ab…@…")``: visits these nodes, and all that they lead to.

    Each node is dialled at the addresses that it has announced, one after the other, until one answers; pinged; asked
    which channels it knows, and for the announcements of some of them; and left. Nobody is dialled who was not named
    or has not announced where it is, in gossip of a node that was reached. It ends when nobody is left.

    `record`: a file as `open_recorder` makes one: each dial, session and message is in it; and who is in it already is
    dialled again only when the policy says so, named ones always. ValueError for text that is no address, StoreError
    for what is no record.
    """
    named = [NodeAddress.parse(one) if isinstance(one, str) else one for one in addresses]
    crawling = _Crawl(peers, policy, chain_hash(chain))
    in_line = hasattr(trio.lowlevel.current_clock(), "autojump_threshold")  # as in `open_recorder`
    writer = None if record is None else await _call(in_line, RecordWriter, Path(record), peers.unix_ns())
    try:
        crawling.frontier.add(named, named=True)
        if writer is not None:
            await _call(in_line, _resume, crawling, writer, policy)
        while visits := await crawling.round():
            if writer is not None:
                await _call(in_line, writer.write, crawling.batch(visits))
            for visit in visits:
                if crawling.frontier.visited(visit.address.node_id, reached=visit.outcome == REACHED):
                    yield crawling.report(visit)
    finally:
        # Without an await: whoever leaves the loop in the middle ends this anywhere.
        if writer is not None:
            writer.finish(max(writer.started_ns, crawling.last_ns))
            writer.close()


async def _call(in_line: bool, call: Callable[..., _T], *arguments: Any) -> _T:
    if in_line:
        return call(*arguments)
    return await trio.to_thread.run_sync(call, *arguments)
