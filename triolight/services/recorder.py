"""open_recorder: who said what when, on disk. It believes nothing, answers nothing, and drops nothing in silence.

One task takes what peers say, with the time at which it was read, and hands it to who takes it to the disk. Where the
disk is behind, nobody takes anything: then peers are read more slowly, and the record says when that was; or, if that
is wanted, what comes is counted and dropped. What was read from a peer and did not come here is counted against the
peer's own numbers, and stands as lost.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, Final, TypeAlias

import trio

from triolight.address import NodeAddress, readable
from triolight.chains import BITCOIN, AnyChain, chain_hash
from triolight.errors import PeerClosed
from triolight.features import Features
from triolight.gossip.asking import filter_of
from triolight.gossip.formats.places import SIGNED
from triolight.handlers import RoutingMessageHandler
from triolight.messages import BOLT, Message, Registry
from triolight.messages.registry import opaque
from triolight.services.disk import RecordDisk, WaitingRows
from triolight.services.heard import Session
from triolight.services.record import DROPPED, HELD, PUSHED, UNRECORDED, RecordWriter, SessionFacts
from triolight.services.sqlite import StoreError
from triolight.shell.inboxes import Inbox
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.shell.peer import Peer
from triolight.shell.peers import PeerNursery

__all__ = ["Recorder", "RecordingHandler", "open_recorder", "unread_gossip"]

WAITING_ROWS: Final = 4000
"""From so many rows that are not written on, nothing is taken."""
TAKEN_AT_ONCE: Final = 64
"""Messages that are taken before other tasks have their turn: a third of a millisecond."""
CLOCK_SECONDS: Final = 60.0
RTT_SECONDS: Final = 10.0
"""From one look at the peers' numbers to the next one, where nothing is written."""
REPLY_END: Final = 262


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


class Recorder:
    """What `open_recorder` gives."""

    _disk: WaitingRows
    _base: float
    _base_ns: int
    """The same moment, by the run's clock and as the record has it."""

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.sightings = 0
        self.sessions = 0
        """Connections, since the record began."""
        self.held_seconds = 0.0
        """How long the disk was behind, and peers were read more slowly."""
        self.dropped = 0
        """Messages that were read while the disk was behind, and left out."""
        self._node_ids: set[bytes] = set()

    def __repr__(self) -> str:
        return f"<Recorder {self.path}, {self.sightings} sightings>"

    @property
    def messages(self) -> int:
        """Different ones that this run has heard."""
        return self._disk.messages

    @property
    def size(self) -> int:
        """Bytes of the record's files."""
        return self._disk.size

    @property
    def peers(self) -> int:
        """Nodes that were connected since the record began."""
        return len(self._node_ids)

    @property
    def pending(self) -> int:
        """Rows that are not on the disk."""
        return self._disk.pending

    @property
    def full(self) -> bool:
        """Whether the record is as large as it may be."""
        return self._disk.full.is_set()

    def note_dial(
        self, address: NodeAddress, began: float, outcome: str, took: float, init: bytes, rtt: float | None
    ) -> None:
        """A row of the table `dial`: one that began then, by the run's clock, and what came of it; `crawl` has them."""
        place = f"{address.host}:{address.port}"
        rtt_ms = None if rtt is None else rtt * 1000
        row = (self._now_ns(began), address.node_id, place, outcome, round(took * 1000), init, rtt_ms)
        self._disk.waiting.dials.append(row)
        self._disk.tell()

    def _now_ns(self, at: float | None = None) -> int:
        """A moment of the run's clock as the record has it."""
        return self._base_ns + round(((trio.current_time() if at is None else at) - self._base) * 1e9)

    async def written(self) -> None:
        """Waits until all that was taken is on the disk. StoreError if it cannot be."""
        await self._disk.written()

    async def wait_full(self) -> None:
        """Waits until the record is as large as it may be: from then on nothing is taken."""
        await self._disk.full.wait()


MakeRows: TypeAlias = Callable[[Callable[[], None]], WaitingRows]
"""Makes what takes rows where they go, from what it is to call before each batch."""


@dataclass(frozen=True, slots=True)
class Wants:
    """What is asked of peers, and taken."""

    backlog: float | None = math.inf
    chain: bytes | None = None
    types: frozenset[int] = frozenset(SIGNED)
    drop: bool = False


class _OpenRecorder(Recorder):
    """The same as its block has it: the task that hears, and what it knows of each peer."""

    _nursery: trio.Nursery

    def __init__(
        self,
        peers: PeerNursery,
        path: Path,
        wants: Wants,
        make_rows: MakeRows,
    ) -> None:
        super().__init__(path)
        self._disk = make_rows(self._look_at_asking)
        self._peers: Final = peers
        self._wants: Final = wants
        self._sessions: dict[Peer, Session] = {}
        self._ended: dict[int, Session] = {}
        """Those whose end is not on its way to the disk."""
        self._drop_began: int | None = None
        """Since then messages are dropped, and how many."""
        self._drop_count = 0

    async def open(self) -> None:
        """Opens or makes the file."""
        self._base = trio.current_time()
        self._base_ns = await self._disk.open(self._peers.unix_ns())
        self._tick_clock()

    async def write(self) -> None:
        """The task that writes, until it is told to leave and nothing waits. StoreError if it cannot."""
        await self._disk.run(self._now_ns)

    @property
    def failed(self) -> StoreError | None:
        """Why it cannot."""
        return self._disk.failed

    def leave(self) -> None:
        """Nothing more comes."""
        self._disk.leave()

    async def close(self) -> None:
        """Lets go of the file."""
        await self._disk.close()

    @trio.lowlevel.enable_ki_protection
    async def hear(self, task_status: trio.TaskStatus[None]) -> None:
        """Takes what peers say, until it is cancelled."""
        registry = self._peers.manager.messages
        types = [cls for one in (*sorted(self._wants.types), REPLY_END) if (cls := registry.get(one)) is not None]
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
                if not self.full:
                    await self._take_all(inbox)
                nursery.cancel_scope.cancel(reason="the block of peers is left, or the record is full")
            finally:
                # What has come in the meantime was read, so it is recorded.
                self._drain(inbox)
                self._end_drop(self._now_ns())
                self._close_sessions()

    async def _take_all(self, inbox: Inbox[tuple[Peer, Any]]) -> None:
        async for peer, message in inbox:
            self._take(peer, message, inbox)
            try:
                for _ in range(TAKEN_AT_ONCE):
                    self._take(*inbox.receive_nowait(), inbox)
            except (trio.WouldBlock, trio.EndOfChannel):
                pass
            self._disk.tell()
            # Lives of peers are rows too: what they come to while the disk stands still is bounded here.
            if self.pending >= WAITING_ROWS * (2 if self._wants.drop else 1):
                await self._room()
            if self.full:
                return

    def _drain(self, inbox: Inbox[tuple[Peer, Any]]) -> None:
        """What waits for us, which an inbox bounds by its bytes."""
        if self.failed is not None or self.full:
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
                await self._disk.moved()
        finally:
            ended = trio.current_time()
            self.held_seconds += ended - began
            self._disk.waiting.gaps.append((self._now_ns(began), self._now_ns(ended), None, 0, HELD))

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
        seen_ns = self._now_ns(at)
        session.taken += 1
        session.last_ns = seen_ns
        if self._wants.drop and self.pending >= WAITING_ROWS:
            self._drop_began = seen_ns if self._drop_began is None else min(seen_ns, self._drop_began)
            self._drop_count += 1
            self.dropped += 1
            return
        self._end_drop(seen_ns)
        raw = message.encode()
        self._disk.waiting.sightings.append((seen_ns, session.number, session.asked(raw, at), raw))
        self.sightings += 1

    def _end_drop(self, ended_ns: int) -> None:
        """There is room again: what was dropped until now is a gap."""
        if self._drop_began is not None:
            gap = (self._drop_began, max(ended_ns, self._drop_began), None, self._drop_count, DROPPED)
            self._disk.waiting.gaps.append(gap)
            self._drop_began, self._drop_count = None, 0

    def _begin(self, peer: Peer, at_ns: int, *, whole: bool = False) -> Session:
        known = self._sessions.get(peer)
        if known is not None:
            return known
        self.sessions += 1
        self._node_ids.add(peer.node_id)
        session = Session(self.sessions, peer, self._wants.types, whole)
        session.last_ns = at_ns
        self._sessions[peer] = session
        address = "" if peer.address is None else readable(peer.address)
        facts = SessionFacts(session.number, peer.node_id, address, not peer.inbound, at_ns, peer.init.encode())
        self._disk.waiting.opened.append(facts)
        backlog = self._wants.backlog
        if backlog is not None and peer.reason is None and not session.has_filter:
            unix = self._unix()
            first = 0 if backlog == math.inf else int(max(0.0, unix - backlog))
            self._nursery.start_soon(self._ask, session, first, name="recorder: filter")
        self._disk.tell()
        return session

    def _unix(self) -> int:
        return self._peers.unix_ns() // 1_000_000_000

    async def _ask(self, session: Session, first: int) -> None:
        """Tells a peer what we want to hear: what is signed then or later."""
        peer, unix = session.peer, self._unix()
        networks = peer.init.tlvs.networks
        chain = self._wants.chain or (networks[0] if networks else BITCOIN.chain_hash)
        session.own_filters += 1
        if first < unix:
            session.filter_went(trio.current_time(), unix)
        try:
            await peer.send(filter_of(chain, first))
        except PeerClosed:
            pass  # its end comes to us as well

    def _close(self, session: Session, at_ns: int, why: str) -> None:
        del self._sessions[session.peer]
        self._ended[session.number] = session
        lost = session.lost()
        if lost:
            self._disk.waiting.gaps.append((session.last_ns, at_ns, session.number, lost, UNRECORDED))
        self._disk.waiting.closed.append((session.number, at_ns, why))
        self._disk.tell()

    def _close_sessions(self) -> None:
        for session in [*self._sessions.values()]:
            self._close(session, self._now_ns(), "the recording ended")

    @trio.lowlevel.enable_ki_protection
    async def _keep_time(self) -> None:
        """Round trips, filters of others, and now and then what the wall's clock says."""
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
                    self._disk.waiting.rtts.append((now_ns, session.number, round(rtt * 1e6)))
            self._ask_again()
            self._disk.tell()

    def _ask_again(self) -> None:
        """Where others of us have sent another filter, ours takes its place, once it has brought what it asked for."""
        if self._wants.backlog is None:
            return
        for session in self._sessions.values():
            since = session.foreign_since
            if since is not None and trio.current_time() > session.history_until:
                session.foreign_since = None
                self._nursery.start_soon(self._ask, session, since, name="recorder: filter")

    def _tick_clock(self) -> None:
        self._disk.waiting.clocks.append((self._now_ns(), self._peers.unix_ns()))

    def _look_at_asking(self) -> None:
        """Others of us may have asked since this was looked at last: what came since then may be the answer."""
        waiting, now, unix = self._disk.waiting, trio.current_time(), self._unix()
        ends = {number for number, _, _ in waiting.closed}
        self._ended = {number: session for number, session in self._ended.items() if number in ends}
        changed: dict[int, int] = {}
        for session in (*self._sessions.values(), *self._ended.values()):
            became = session.look_at_sent(now, unix)
            if became != PUSHED:
                changed[session.number] = became
        if changed:
            sightings = waiting.sightings
            sightings[:] = [(seen, one, asked or changed.get(one, PUSHED), raw) for seen, one, asked, raw in sightings]


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def open_recorder(
    peers: PeerNursery,
    path: str | PathLike[str],
    *,
    backlog: float | None = math.inf,
    chain: AnyChain | None = None,
    types: Iterable[type[Message] | int] = sorted(SIGNED),
    raw: bool = True,
    drop: bool = False,
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

    Beside `open_gossip`, which wants to hear a few peers and silences the others, the recorder's filter wins: a peer
    goes by the last one, so once another one has brought its history (a minute after the last of it), the recorder
    sends its own again, for all that was signed since then. What comes of that may be history, and is marked so.
    ``backlog=None`` leaves the word to the others, and the record has what they let peers say.

    Args:
      path: an SQLite file, made if it is missing; else the record goes on. On no network file system.
      types: of messages, as classes or numbers, of the three that are signed; others are neither kept nor counted.
      raw: False: of messages their hashes alone, which says who said something when, but not what.
      drop: where the disk is behind, messages are dropped, and counted, and peers are not held up. Each time is a gap
        with a number.
      segment_bytes: from this size on the record goes on in another file, beside the first.
      segment_seconds: the same where a span since 1970 ends; a day's for 86400.
      max_bytes: of all its files; then nothing more is taken (`Recorder.wait_full`). A batch more may be in it.

    Raises:
      ValueError: a type that is no signed gossip, or none at all.
      StoreError: the file cannot be opened, is none of ours, is of a newer schema, or is written by another process;
        or, out of the block, it cannot be written any more.
    """
    span = None if segment_seconds is None else round(segment_seconds * 1e9)
    numbers = frozenset(one if isinstance(one, int) else one.type for one in types)
    if not numbers or numbers - SIGNED:
        raise ValueError(f"types are some of {sorted(SIGNED)}, not {sorted(numbers)}")

    def open_writer(started_ns: int) -> RecordWriter:
        return RecordWriter(
            Path(path), started_ns, types=numbers, raw=raw, segment_bytes=segment_bytes, segment_ns=span
        )

    wants = Wants(backlog, None if chain is None else chain_hash(chain), numbers, drop)

    def make_rows(before: Callable[[], None]) -> WaitingRows:
        return RecordDisk(open_writer, before, max_bytes)

    async with recorder_into(peers, Path(path), wants, make_rows) as recorder:
        yield recorder


@asynccontextmanager
@trio.lowlevel.enable_ki_protection
async def recorder_into(peers: PeerNursery, path: Path, wants: Wants, make_rows: MakeRows) -> AsyncGenerator[Recorder]:
    """The same, with rows that go wherever they are taken; `path` is what that is called."""
    recorder = _OpenRecorder(peers, path, wants, make_rows)
    await recorder.open()
    failed: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                try:
                    await recorder.write()
                except StoreError:
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
