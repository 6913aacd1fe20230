"""A worker of a sharded collector: it dials its share of the nodes, and what they say goes into a stream of its own.

Whose share a node is follows from its id and from who lives; that two workers never hold one node follows from claims
alone. A worker has lives, as a front has, each under a token of its own. It has no record: one writer puts all streams
into one (`writing`). Where its stream is full, its peers are not read.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

import trio

from triolight import reasons
from triolight.address import NodeAddress
from triolight.cluster.bus import START, Bus, EngineAway, Fenced, FleetError, leaves
from triolight.cluster.claims import Claims
from triolight.cluster.lanes import AGAIN_SECONDS, Lane, Patience
from triolight.cluster.records import (
    DOWN,
    ENGINE,
    NO_CONNECTION,
    TOKEN_BYTES,
    Config,
    Displaced,
    Left,
    decode_entry,
)
from triolight.cluster.rows import Outgoing
from triolight.cluster.rules import DOUBT, RENEWALS, has_lapsed, owner_of
from triolight.cluster.streams import Flight, Hole, Used
from triolight.errors import DecodeError, DisconnectReason
from triolight.logger import Area, Level
from triolight.services.disk import WaitingRows
from triolight.services.record import RecordBatch, Written
from triolight.services.recorder import Recorder, Wants, recorder_into
from triolight.services.sqlite import StoreError
from triolight.shell.keep import KeptPeer
from triolight.shell.newcomers import Newcomer, Newcomers
from triolight.shell.peers import PeerNursery

LEAVE_SECONDS: Final = 5.0
"""For what was heard to be appended, once the worker is left."""


Told: TypeAlias = Callable[[str, DisconnectReason | str | None, Recorder | None], None]
"""Called as lives begin and end: with ``serving`` and the recorder, with ``over`` and the reason."""


class Work(NamedTuple):
    """What a worker has to do, and under which name."""

    id: str
    nodes: tuple[NodeAddress, ...]
    """All of them: every worker has the same ones."""
    wants: Wants
    told: Told


class StreamRows(WaitingRows):
    """Rows on their way into a stream. Whoever waits for room waits as long as the stream lives."""

    def __init__(self, lane: Lane, before: Callable[[], None]) -> None:
        super().__init__(before)
        self._lane: Final = lane
        self._outgoing: Final = Outgoing()
        self._moved = trio.Event()
        self._over = False
        self._waits = trio.CancelScope()
        self.ended_ns = 0
        self.appended = 0
        """Sightings that the engine has."""

    async def open(self, unix_ns: int) -> int:
        await trio.lowlevel.checkpoint()
        return unix_ns

    def leave(self) -> None:
        """As of `WaitingRows`; an engine that is away, or a stream that is full, is waited for no longer than this."""
        super().leave()
        self._waits.deadline = trio.current_time() + LEAVE_SECONDS

    def over(self) -> None:
        """Nothing more is appended."""
        self._over = True
        self._lane.close()
        self._moved.set()

    async def _write(self, batch: RecordBatch) -> Written:
        with self._waits:
            for conn, what in self._outgoing.records_of(batch):
                await self._lane.room()
                if self._over:
                    break
                self._lane.put(conn, what, self._move)
            while not self._over and not self._lane.writer.idle:
                self._moved = trio.Event()
                await self._moved.wait()
        if self._over or self._waits.cancelled_caught:
            raise StoreError("what was heard last could not be handed on")
        self._waits = trio.CancelScope(deadline=self._waits.deadline)
        self.appended += len(batch.sightings)
        return Written(0, self.size, Path())

    def _move(self) -> None:
        self._moved.set()

    async def _finish(self, ended_ns: int) -> None:
        self.ended_ns = ended_ns
        await trio.lowlevel.checkpoint()

    async def _release(self) -> None:
        await trio.lowlevel.checkpoint()


class _Over(Exception):
    """A life is over."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason)
        self.reason = reason


class _Life:
    """A worker under one token."""

    def __init__(self, peers: PeerNursery, bus: Bus, work: Work, token: bytes, config: Config) -> None:
        self._peers: Final = peers
        self._bus: Final = bus
        self._work: Final = work
        self._token: Final = token
        self._lease: Final = config.lease / 1000
        self._patience: Final = Patience(config.engine_grace / 1000)
        self._lane: Final = Lane(token, self._append, self._look, self._patience)
        self.claims: Final = Claims(peers, bus, work.id, token, lambda: self.doubtful)
        self._renewed = trio.current_time()
        self._kept: Final[dict[bytes, KeptPeer]] = {}
        self._changed = trio.Event()
        """Set when shares are to be looked at now."""
        self._rows: StreamRows
        self._link: Final = trio.CancelScope(shield=True)
        self._nursery: trio.Nursery | None = None

    @property
    def doubtful(self) -> bool:
        """Whether it could not renew for so long that it takes nobody in."""
        return has_lapsed(self._renewed, trio.current_time(), self._lease * DOUBT)

    async def _append(self, flight: Flight) -> Used:
        return await self._bus.append_up(self._work.id, self._token, flight.first_seq, len(flight.parcels), flight.data)

    async def _look(self) -> Used:
        return (await self._bus.renew_front(self._work.id, self._token, len(self._peers.peers)))[1]

    def _make_rows(self, before: Callable[[], None]) -> StreamRows:
        self._rows = StreamRows(self._lane, before)
        return self._rows

    async def run(self) -> DisconnectReason:
        """Returns why it is over."""
        ends: list[BaseException] = []
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                try:
                    async with recorder_into(
                        self._peers, Path(self._work.id), self._work.wants, self._make_rows
                    ) as recorder:
                        nursery.start_soon(self._hold_on)
                        nursery.start_soon(self._read)
                        nursery.start_soon(self._deal)
                        self._work.told("serving", None, recorder)
                        await trio.sleep_forever()
                finally:
                    await self._leave()
                    self._link.cancel(reason="the worker is left")
        except* (_Over, Fenced, Hole, FleetError, StoreError) as group:
            ends = leaves(group)
        finally:
            self._nursery = None
            for kept in self._kept.values():
                kept.stop()
        for end in ends:
            match end:
                case _Over(reason=reason) | FleetError(reason=reason):
                    return reason
                case Hole():
                    return reasons.engine_lost("the engine has lost what it had")
                case _:
                    pass
        return reasons.fenced()

    async def _leave(self) -> None:
        """The last record, if all that was heard is appended."""
        if self._rows.ended_ns and not self._lane.closed:
            with trio.move_on_after(LEAVE_SECONDS, shield=True):
                done = trio.Event()
                self._lane.put(NO_CONNECTION, Left(at_ns=self._rows.ended_ns), done.set)
                await done.wait()

    async def _hold_on(self) -> None:
        """What goes on until all that was heard is appended, whoever is cancelled."""
        try:
            with self._link:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._lane.run)
                    nursery.start_soon(self._renew)
        finally:
            self._rows.over()

    async def _renew(self) -> None:
        while True:
            try:
                _, used = await self._bus.renew_front(self._work.id, self._token, len(self._peers.peers))
            except EngineAway:
                self._patience.away()
                await trio.sleep(min(AGAIN_SECONDS, self._lease / RENEWALS))
                continue
            self._patience.here()
            self._renewed = trio.current_time()
            self._lane.consumed(used)
            await trio.sleep(self._lease / RENEWALS)

    async def _read(self) -> None:
        """What the engine says: that others have a node."""
        after = START
        while True:
            try:
                for position, data in await self._bus.read_down(self._work.id, after, self._lease):
                    entry = decode_entry(data, DOWN)
                    for record in entry.records if entry.token == ENGINE else ():
                        if isinstance(record.what, Displaced):
                            self._displaced(record.what)
                    after = position
                    used = Used(len(data), len(entry.records))
                    await self._bus.consume_down(self._work.id, self._token, position, used)
            except EngineAway:
                await trio.sleep(AGAIN_SECONDS)
            except DecodeError as error:
                raise _Over(reasons.engine_lost(f"the engine has given something else: {error}")) from None

    def welcome(self, newcomer: Newcomer) -> bool:
        """Asks about it. False: this life is over."""
        if self._nursery is None:
            return False
        self._nursery.start_soon(self.claims.admit, newcomer)
        return True

    def _displaced(self, what: Displaced) -> None:
        peer = self.claims.displaced(what)
        if peer is not None and self._nursery is not None:
            # It would be dialled again at once; whose share it is now is looked at first.
            kept = self._kept.pop(what.node_id, None)
            if kept is not None:
                kept.stop()
            self._nursery.start_soon(peer.disconnect, reasons.duplicate())
            self._changed.set()

    async def _deal(self) -> None:
        """Keeps what is its share. What is not any more is dialled no more, and ends when somebody else has it."""
        while True:
            self._changed = trio.Event()
            with suppress(EngineAway):
                states = await self._bus.fronts()
                live = [one.id for one in states if not one.fenced and not has_lapsed(-one.age, 0, self._lease)]
                if self._work.id in live and not self.doubtful:
                    self._keep(self._share(live))
            with trio.move_on_after(self._lease / RENEWALS):
                await self._changed.wait()

    def _share(self, live: Iterable[str]) -> dict[bytes, list[NodeAddress]]:
        workers = [*live]
        found: dict[bytes, list[NodeAddress]] = {}
        for address in self._work.nodes:
            if owner_of(address.node_id, workers) == self._work.id:
                found.setdefault(address.node_id, []).append(address)
        return found

    def _keep(self, share: dict[bytes, list[NodeAddress]]) -> None:
        for node_id in self._kept.keys() - share.keys():
            self._kept.pop(node_id).stop()
        for node_id in share.keys() - self._kept.keys():
            self._kept[node_id] = self._peers.keep(*share[node_id])


class _Worker:
    """All lives of a worker, one after the other."""

    def __init__(self, peers: PeerNursery, bus: Bus, work: Work, random_bytes: Callable[[int], bytes]) -> None:
        self._peers: Final = peers
        self._bus: Final = bus
        self._work: Final = work
        self._random_bytes: Final = random_bytes
        self._log: Final = Area(peers.manager.logger, "worker")
        self._life: _Life | None = None

    async def run(self) -> None:
        async with self._peers.newcomers() as newcomers, trio.open_nursery() as nursery:
            nursery.start_soon(self._welcome, newcomers)
            await self._end(reasons.fenced())  # who came before has no claim
            while True:
                token, config = await self._enter()
                self._life = life = _Life(self._peers, self._bus, self._work, token, config)
                try:
                    reason = await life.run()
                finally:
                    self._life = None
                    with trio.move_on_after(1, shield=True), suppress(EngineAway):
                        await self._bus.leave_front(self._work.id, token)
                self._log(Level.WARN, "a worker's life is over", code=reason.code, text=reason.message)
                self._work.told("over", reason, None)
                await life.claims.over(reason)
                await self._end(reason)

    async def _enter(self) -> tuple[bytes, Config]:
        """Waits for a writer, dead or alive, and takes the place."""
        while True:
            token = self._random_bytes(TOKEN_BYTES)
            with suppress(EngineAway):
                config, writer = await self._bus.read_config(), await self._bus.back()
                name = self._work.id
                if config and writer and await self._bus.enter_front(name, token, writer.token, ""):
                    return token, config
            await trio.sleep(AGAIN_SECONDS)

    async def _welcome(self, newcomers: Newcomers) -> None:
        async for newcomer in newcomers:
            if self._life is None or not self._life.welcome(newcomer):
                await newcomer.decide(reasons.fenced())

    async def _end(self, reason: DisconnectReason) -> None:
        """Every peer hears why."""
        async with trio.open_nursery() as nursery:
            for peer in self._peers.peers.values():
                nursery.start_soon(peer.disconnect, reason)


async def serve_worker(
    peers: PeerNursery,
    bus: Bus,
    work: Work,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """Has an open block be a worker until it is cancelled. Then what it has heard is appended, if that is possible
    within some seconds."""
    await _Worker(peers, bus, work, random_bytes).run()
