"""open_recorder: who said what when, on disk. It believes nothing, answers nothing, and drops nothing in silence.

One task takes what peers say, with the time at which it was read; SQLite writes it in one worker thread, a batch at a
time. Where the disk is behind, nobody takes anything: then peers are read more slowly, and the record says when that
was. What was read from a peer and did not come here is counted against the peer's own numbers, and stands as lost.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeVar

import trio

from triolight.address import readable
from triolight.chains import BITCOIN, AnyChain, chain_hash
from triolight.errors import PeerClosed
from triolight.features import Features
from triolight.gossip.asking import filter_of
from triolight.gossip.formats.places import SIGNED, problem, timestamp_of
from triolight.handlers import RoutingMessageHandler
from triolight.messages import BOLT, Registry
from triolight.messages.registry import opaque
from triolight.services.record import (
    ANSWER,
    HELD,
    HISTORY,
    PUSHED,
    UNRECORDED,
    RecordBatch,
    RecordWriter,
    SessionFacts,
    Written,
)
from triolight.services.sqlite import StoreError
from triolight.shell.inboxes import Inbox
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

__all__ = ["Recorder", "RecordingHandler", "open_recorder", "unread_gossip"]

BATCH_ROWS: Final = 1000
"""Of one transaction. More at once would keep other tasks waiting while they are handed over."""
BATCH_SECONDS: Final = 0.25
"""From the first sighting to its way to the disk, so that a batch is worth its transaction."""
WAITING_ROWS: Final = 4000
"""From so many rows that are not written on, nothing is taken."""
TAKEN_AT_ONCE: Final = 64
"""Messages that are taken before other tasks have their turn: a third of a millisecond."""
HISTORY_SECONDS: Final = 60.0
"""After our filter, and after each message that is older than it."""
ANSWER_SECONDS: Final = 120.0
"""A query that has no end by then has none: LDK's node gives none."""
CLOCK_SECONDS: Final = 60.0
RTT_SECONDS: Final = 10.0
"""From one look at the peers' numbers to the next one, where nothing is written."""
QUERY: Final = 261
REPLY_END: Final = 262
FILTER: Final = 265

_T = TypeVar("_T")


def unread_gossip(messages: Registry = BOLT) -> Registry:
    """The same messages, but signed gossip stays bytes that nobody decodes: for a manager that only records.

    So what no decoder takes is recorded too, and recording costs less. Handlers of gossip hear nothing.
    """
    return Registry(one for one in messages if one.type not in SIGNED) | opaque(sorted(SIGNED))


class RecordingHandler(RoutingMessageHandler):
    """A routing handler for who only records. It offers gossip_queries, without which many nodes tell no gossip; what
    they ask is answered as by a node that has none."""

    def provided_init_features(self, node_id: bytes) -> Features:
        """gossip_queries."""
        return Features.named("gossip_queries")


class _Session:
    """A connection that is recorded."""

    __slots__ = (
        "_counted",
        "_names",
        "_queried_at",
        "_queries_sent",
        "filters_sent",
        "history_until",
        "last_ns",
        "news_from",
        "number",
        "peer",
        "queries",
        "rtt",
        "taken",
    )

    def __init__(self, number: int, peer: Peer, names: _Names, whole: bool) -> None:
        """`whole`: all that it says is heard, from its Init on."""
        self.number: Final = number
        self.peer: Final = peer
        self._names: Final = names
        self.taken = 0
        self.last_ns = 0
        """Of its last sighting, or of its beginning."""
        self.rtt: float | None = None
        self.queries = 0
        """Of ours that have no end yet."""
        self._queried_at = -math.inf
        self.history_until = -math.inf
        """By the run's clock."""
        self.news_from = 0
        """Seconds since 1970: what is signed then or later is no history."""
        self._counted = 0 if whole else self._received(peer.statistics())
        self._queries_sent = 0
        self.filters_sent = 0

    def _received(self, statistics: Any) -> int:
        return sum(statistics.received[name].messages for name in self._names.signed if name in statistics.received)

    def lost(self) -> int:
        """Read from the peer since it is recorded, and not taken."""
        return max(0, self._received(self.peer.statistics()) - self._counted - self.taken)

    @property
    def has_filter(self) -> bool:
        """Whether we have sent it one."""
        return self._names.filter in self.peer.statistics().sent

    def look_at_sent(self, now: float) -> tuple[bool, bool]:
        """Whether we have sent it queries for channels, and filters, since this was asked last."""
        sent = self.peer.statistics().sent
        queries = sent[self._names.query].messages if self._names.query in sent else 0
        filters = sent[self._names.filter].messages if self._names.filter in sent else 0
        asked, filtered = queries - self._queries_sent, filters - self.filters_sent
        self._queries_sent, self.filters_sent = queries, filters
        if asked:
            self.queries += asked
            self._queried_at = now
        return asked > 0, filtered > 0

    def took_end(self) -> None:
        """The end of an answer."""
        self.queries = max(0, self.queries - 1)

    def asked(self, raw: bytes, at: float) -> int:
        """What a message is to our asking."""
        if self.queries:
            if at <= self._queried_at + ANSWER_SECONDS:
                return ANSWER
            self.queries = 0
        if at > self.history_until:
            return PUSHED
        stamp = 0 if problem(raw) else timestamp_of(raw)
        if stamp >= self.news_from:
            return PUSHED
        if stamp:  # a channel_announcement has none
            self.history_until = at + HISTORY_SECONDS
        return HISTORY

    def filter_went(self, now: float, unix: int) -> None:
        """From now on history may come."""
        self.history_until, self.news_from = now + HISTORY_SECONDS, unix


@dataclass(frozen=True, slots=True)
class _Names:
    """Of message types, in one registry: by them a peer's statistics count."""

    signed: tuple[str, ...]
    query: str
    filter: str


class Recorder:
    """What `open_recorder` gives."""

    def __init__(
        self,
        peers: PeerNursery,
        path: Path,
        backlog: float | None,
        chain: bytes | None,
        max_bytes: int | None,
        open_writer: Callable[[int], Any],
        in_line: bool,
    ) -> None:
        self.path: Final = path
        self.messages = 0
        """Different ones that this run has heard."""
        self.sightings = 0
        self.sessions = 0
        """Connections, since the record began."""
        self.size = 0
        """Bytes of the record's files."""
        self.held_seconds = 0.0
        """How long the disk was behind."""
        self._peers: Final = peers
        self._backlog: Final = backlog
        self._chain: Final = chain
        self._max_bytes: Final = max_bytes
        self._open_writer: Final[Callable[[int], RecordWriter]] = open_writer
        self._in_line: Final = in_line
        self._sessions: dict[Peer, _Session] = {}
        self._numbered: dict[int, _Session] = {}
        """The same, and those whose end is on its way to the disk."""
        self._batch = RecordBatch()
        self._writing = 0
        self._something = trio.Event()
        self._much = trio.Event()
        self._written = trio.Event()
        self._leaving = False
        self._full = trio.Event()
        self._thread: Final = trio.CapacityLimiter(1)
        self._node_ids: set[bytes] = set()
        self.failed: StoreError | None = None
        registry = peers.manager.messages
        self._classes: Final = {one: registry.get(one) for one in (*sorted(SIGNED), REPLY_END)}
        self._names: Final = _Names(
            tuple(self._name(registry, one) for one in sorted(SIGNED)),
            self._name(registry, QUERY),
            self._name(registry, FILTER),
        )

    @staticmethod
    def _name(registry: Registry, type_: int) -> str:
        cls = registry.get(type_)
        return "" if cls is None else cls.name

    def __repr__(self) -> str:
        return f"<Recorder {self.path}, {self.sightings} sightings>"

    @property
    def peers(self) -> int:
        """Nodes that were connected since the record began."""
        return len(self._node_ids)

    @property
    def pending(self) -> int:
        """Rows that are not on the disk."""
        return len(self._batch) + self._writing

    async def written(self) -> None:
        """Waits until all that was taken is on the disk. StoreError if it cannot be."""
        await trio.lowlevel.checkpoint()
        while self.pending and self.failed is None:
            self._much.set()
            await self._written.wait()
        if self.failed is not None:
            raise self.failed

    async def wait_full(self) -> None:
        """Waits until the record is as large as it may be: from then on nothing is taken."""
        await self._full.wait()

    def _now_ns(self, at: float | None = None) -> int:
        """A moment of the run's clock as the record has it."""
        return self._base_ns + round(((trio.current_time() if at is None else at) - self._base) * 1e9)

    # What the block does.

    async def open(self) -> None:
        """Opens or makes the file."""
        self._base, unix_ns = trio.current_time(), self._peers.unix_ns()
        self._writer = await self._call(self._open_writer, unix_ns)
        self._base_ns = self._writer.started_ns
        self.size = self._writer.size
        self._tick_clock()

    @trio.lowlevel.enable_ki_protection
    async def hear(self, task_status: trio.TaskStatus[None]) -> None:
        """Takes what peers say, until it is cancelled."""
        types = [one for one in self._classes.values() if one is not None]
        async with (
            self._peers.subscribe(*types, PeerConnected, PeerDisconnected) as inbox,
            trio.open_nursery() as nursery,
        ):
            self._nursery = nursery
            for peer in self._peers.peers.values():
                self._begin(peer, self._now_ns())
            nursery.start_soon(self._keep_time, name="recorder: time")
            task_status.started()
            try:
                await self._take_all(inbox)
                nursery.cancel_scope.cancel(reason="the block of peers is left")
            finally:
                # What has come in the meantime was read, so it is recorded.
                self._drain(inbox)
                self._close_sessions()

    async def _take_all(self, inbox: Inbox[tuple[Peer, Any]]) -> None:
        async for peer, message in inbox:
            self._take(peer, message, inbox)
            try:
                for _ in range(TAKEN_AT_ONCE):
                    self._take(*inbox.receive_nowait(), inbox)
            except (trio.WouldBlock, trio.EndOfChannel):
                pass
            self._tell()
            if self.pending >= WAITING_ROWS:
                await self._room()
            if self._full.is_set():
                return

    def _drain(self, inbox: Inbox[tuple[Peer, Any]]) -> None:
        """What waits for us, which an inbox bounds by its bytes."""
        if self.failed is not None or self._full.is_set():
            return
        try:
            while True:
                self._take(*inbox.receive_nowait(), inbox)
        except (trio.WouldBlock, trio.EndOfChannel):
            pass

    async def _room(self) -> None:
        """Waits for the disk. Meanwhile peers are not read, and that is written down."""
        began = trio.current_time()
        try:
            while self.pending >= WAITING_ROWS:
                await self._written.wait()
        finally:
            ended = trio.current_time()
            self.held_seconds += ended - began
            self._batch.gaps.append((self._now_ns(began), self._now_ns(ended), None, 0, HELD))

    def _take(self, peer: Peer, message: Any, inbox: Inbox[Any]) -> None:
        arrival = inbox.received_at
        at = trio.current_time() if arrival is None else arrival.monotonic
        if isinstance(message, PeerConnected):
            self._begin(peer, self._now_ns(at), whole=True)
            return
        session = self._sessions.get(peer)
        if isinstance(message, PeerDisconnected):
            if session is not None:
                reason = message.reason
                words = f"{reason.code.value} (by {reason.by.value}): {reason.message}"
                self._close(session, self._now_ns(at), words)
            return
        if session is None:  # whose beginning found no room
            session = self._begin(peer, self._now_ns(at))
        if message.type == REPLY_END:
            session.took_end()
            return
        raw = message.encode()
        seen_ns = self._now_ns(at)
        session.taken += 1
        session.last_ns = seen_ns
        self._batch.sightings.append((seen_ns, session.number, session.asked(raw, at), raw))
        self.sightings += 1

    def _begin(self, peer: Peer, at_ns: int, *, whole: bool = False) -> _Session:
        known = self._sessions.get(peer)
        if known is not None:
            return known
        self.sessions += 1
        self._node_ids.add(peer.node_id)
        session = _Session(self.sessions, peer, self._names, whole)
        session.last_ns = at_ns
        self._sessions[peer] = self._numbered[session.number] = session
        address = "" if peer.address is None else readable(peer.address)
        facts = SessionFacts(session.number, peer.node_id, address, not peer.inbound, at_ns, peer.init.encode())
        self._batch.opened.append(facts)
        if self._backlog is not None and peer.reason is None:
            self._nursery.start_soon(self._ask, session, name="recorder: filter")
        self._tell()
        return session

    async def _ask(self, session: _Session) -> None:
        """Tells a peer what we want to hear, unless somebody else of us has done so."""
        if session.has_filter:
            return
        peer, unix = session.peer, self._peers.unix_ns() // 1_000_000_000
        networks = peer.init.tlvs.networks
        chain = self._chain or (networks[0] if networks else BITCOIN.chain_hash)
        first = 0 if self._backlog == math.inf else int(max(0.0, unix - (self._backlog or 0.0)))
        session.filters_sent += 1  # so that it is nobody else's
        if first < unix:
            session.filter_went(trio.current_time(), unix)
        try:
            await peer.send(filter_of(chain, first))
        except PeerClosed:
            pass  # its end comes to us as well

    def _close(self, session: _Session, at_ns: int, why: str) -> None:
        del self._sessions[session.peer]
        lost = session.lost()
        if lost:
            self._batch.gaps.append((session.last_ns, at_ns, session.number, lost, UNRECORDED))
        self._batch.closed.append((session.number, at_ns, why))
        self._tell()

    def _close_sessions(self) -> None:
        for session in [*self._sessions.values()]:
            self._close(session, self._now_ns(), "the recording ended")

    @trio.lowlevel.enable_ki_protection
    async def _keep_time(self) -> None:
        """Round trips, and now and then what the wall's clock says."""
        next_clock = trio.current_time() + CLOCK_SECONDS
        while True:
            await trio.sleep(RTT_SECONDS)
            if trio.current_time() >= next_clock:
                next_clock += CLOCK_SECONDS
                self._tick_clock()
            self._look_at_asking()
            now_ns = self._now_ns()
            for session in self._sessions.values():
                rtt = session.peer.statistics().rtt_last
                if rtt is not None and rtt != session.rtt:
                    session.rtt = rtt
                    self._batch.rtts.append((now_ns, session.number, round(rtt * 1e6)))
            self._tell()

    def _tick_clock(self) -> None:
        self._batch.clocks.append((self._now_ns(), self._peers.unix_ns()))

    def _tell(self) -> None:
        if len(self._batch):
            self._something.set()
            if len(self._batch.sightings) >= BATCH_ROWS:
                self._much.set()

    def leave(self) -> None:
        """Nothing more comes: what waits is written, and the writer ends."""
        self._leaving = True
        self._something.set()
        self._much.set()

    async def write(self) -> None:
        """The task that writes, until it is told to leave and nothing waits."""
        # Whoever is cancelled, what came is kept: this ends by itself when all of it is written.
        with trio.CancelScope(shield=True):
            while True:
                self._tell()
                await self._something.wait()
                with trio.move_on_after(BATCH_SECONDS):
                    await self._much.wait()
                while batch := self._gather():
                    self._writing = len(batch)
                    done: Written = await self._call(self._writer.write, batch)
                    self._writing = 0
                    self.messages += done.messages
                    self.size = done.size
                    if self._max_bytes is not None and self.size >= self._max_bytes:
                        self._full.set()
                    self._written.set()
                    self._written = trio.Event()
                if self._leaving:
                    await self._call(self._writer.finish, self._now_ns())
                    return
                self._something, self._much = trio.Event(), trio.Event()

    def _gather(self) -> RecordBatch:
        """The next rows. What belongs to them goes with the last of them."""
        waiting = self._batch
        self._look_at_asking()
        if len(waiting.sightings) > BATCH_ROWS:
            batch = RecordBatch(opened=waiting.opened, sightings=waiting.sightings[:BATCH_ROWS])
            del waiting.sightings[:BATCH_ROWS]
            waiting.opened = []
        else:
            batch, self._batch = waiting, RecordBatch()
            for number, _, _ in batch.closed:
                del self._numbered[number]
        return batch

    def _look_at_asking(self) -> None:
        """Others of us may have asked since this was looked at last: what came since then may be the answer."""
        now = trio.current_time()
        changed: dict[int, int] = {}
        for session in self._numbered.values():
            asked, filtered = session.look_at_sent(now)
            if filtered:
                session.filter_went(now, self._peers.unix_ns() // 1_000_000_000)
                changed[session.number] = HISTORY
            if asked:
                changed[session.number] = ANSWER
        if changed:
            waiting = self._batch.sightings
            waiting[:] = [(seen, one, asked or changed.get(one, PUSHED), raw) for seen, one, asked, raw in waiting]

    async def close(self) -> None:
        """Lets go of the file."""
        self._written.set()
        with trio.CancelScope(shield=True):
            await self._call(self._writer.close)

    async def _call(self, call: Callable[..., _T], *arguments: Any) -> _T:
        if self._in_line:
            await trio.lowlevel.checkpoint()
            return call(*arguments)
        # Never abandoned: one that is on its way to the disk arrives.
        return await trio.to_thread.run_sync(call, *arguments, limiter=self._thread)


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_recorder(
    peers: PeerNursery,
    path: str | PathLike[str],
    *,
    backlog: float | None = math.inf,
    chain: AnyChain | None = None,
    segment_bytes: int | None = None,
    segment_seconds: float | None = None,
    max_bytes: int | None = None,
) -> AsyncGenerator[Recorder]:
    """``async with open_recorder(peers, "seen.db") as recorder``: all gossip that peers say, and when, goes to a file.

    Each channel_announcement, node_announcement and channel_update of each peer is a sighting; nothing of it is
    verified. When the block is left, whichever way, all that was read by then is on the disk. Where the disk is slower
    than the peers, they are read more slowly. A process that is killed loses its last second at the most, and the next
    recorder says so in the file. The page "What a record holds" has all of its tables.

    Enter it before the first dial, to miss nothing. A manager needs a routing handler that offers gossip_queries, as
    `RecordingHandler` does. One that has ``messages=unread_gossip()`` records what cannot be decoded, too; with another
    one that ends up as a gap with a number.

    On a mock clock the calls of SQLite run in line: a thread would take no time of it, or all.

    `backlog`: each peer gets a gossip_timestamp_filter, unless it has one: for all that it has, and news, if this is
    infinite; for what is younger than so many seconds, and news; None: no filter, since somebody else sends one. The
    filter is of `chain`; None: the first one that the peer's Init names, else Bitcoin's.

    Args:
      path: an SQLite file, made if it is missing; else the record goes on. On no network file system.
      segment_bytes: from this size on the record goes on in another file, beside the first.
      segment_seconds: the same where a span since 1970 ends; a day's for 86400.
      max_bytes: of all its files; then nothing more is taken (`Recorder.wait_full`). A batch more may be in it.

    Raises:
      StoreError: the file cannot be opened, is none of ours, is of a newer schema, or is written by another process;
        or, out of the block, it cannot be written any more.
    """
    span = None if segment_seconds is None else round(segment_seconds * 1e9)

    def open_writer(started_ns: int) -> RecordWriter:
        return RecordWriter(Path(path), started_ns, segment_bytes=segment_bytes, segment_ns=span)

    hashed = None if chain is None else chain_hash(chain)
    # Mock clocks have it: a thread that writes would be no reason for them to wait.
    in_line = hasattr(trio.lowlevel.current_clock(), "autojump_threshold")
    recorder = Recorder(peers, Path(path), backlog, hashed, max_bytes, open_writer, in_line)
    await recorder.open()
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                try:
                    await recorder.write()
                except StoreError as error:
                    recorder.failed = error
                    nursery.cancel_scope.cancel(reason="the record cannot be written")

            hearing = trio.CancelScope()
            heard = trio.Event()

            async def hear(task_status: trio.TaskStatus[None]) -> None:
                try:
                    with hearing:
                        await recorder.hear(task_status)
                finally:
                    heard.set()

            nursery.start_soon(write, name="recorder: writer")
            try:
                await nursery.start(hear, name="recorder: hearing")
                yield recorder
            except BaseException as error:  # leaves bare, and not in the nursery's group
                failed = error
            hearing.cancel(reason="the block of open_recorder is left")
            with trio.CancelScope(shield=True):
                await heard.wait()
            recorder.leave()
    finally:
        await recorder.close()
    if recorder.failed is not None:
        if failed is None or isinstance(failed, trio.Cancelled):
            raise recorder.failed
        raise BaseExceptionGroup("the block, and its record", [failed, recorder.failed])
    if failed is not None:
        raise failed
