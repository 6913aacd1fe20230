"""The writer of a sharded collector: one at a time, elected, puts what all workers append into its record.

Each of a worker's records is written in the transaction that stores how far the worker has come: whatever comes again,
because a writer was killed between that and the engine's word, is known and dropped. A worker that is silent for a
lease is fenced, and its stream read to its end, before its sessions end in the record.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

import trio

from triolight.cluster.bus import START, Appended, Bus, EngineAway, Fenced, FrontState, leaves
from triolight.cluster.lanes import AGAIN_SECONDS
from triolight.cluster.records import ROWS, TOKEN_BYTES, Config, decode_entry
from triolight.cluster.rows import Incoming
from triolight.cluster.rules import Terms, has_lapsed
from triolight.cluster.streams import Used
from triolight.errors import DecodeError
from triolight.logger import Area, Level, Logger
from triolight.services.record import RecordBatch, RecordWriter
from triolight.services.shares import WorkerKey
from triolight.services.sqlite import StoreError, TakenError
from triolight.services.worker import WorkerThread

DRAIN_SECONDS: Final = 0.1
"""From one look at what waits to the next, when it leaves."""


class Writing(NamedTuple):
    """What whoever wants to write is made with."""

    node_id: bytes
    """Its own; any."""
    terms: Terms
    open_writer: Callable[[int], RecordWriter]
    """Opens the record, with the moment that is now."""
    unix_ns: Callable[[], int]
    logger: Logger
    told: Callable[[str, str, None], None]
    """Called with ``writing`` and the record, ``taken`` and why, or ``replaced``."""


class _Term:
    """One writer's time, from its election on."""

    def __init__(self, bus: Bus, setup: Writing, token: bytes, thread: WorkerThread, record: RecordWriter) -> None:
        self._bus: Final = bus
        self._setup: Final = setup
        self._token: Final = token
        self._thread: Final = thread
        self._record: Final = record
        self._log: Final = Area(setup.logger, "writer")
        self._incoming: Final = Incoming()
        self._busy: Final = trio.Lock()
        self._states: dict[str, FrontState] = {}
        self._followed: Final[set[str]] = set()
        self._returned = -math.inf
        """When the engine has come back last."""

    async def run(self, leaving: trio.Event) -> None:
        """Until somebody else has the place, or it leaves and has written all that there is. StoreError if the record
        cannot be written."""
        async with trio.open_nursery() as nursery:
            away = False
            first = True
            drained = False
            while not drained:
                try:
                    states = await self._bus.renew_back(self._token)
                except EngineAway:
                    away = True
                    await trio.sleep(min(AGAIN_SECONDS, self._setup.terms.renewal))
                    continue
                if away:
                    away, self._returned = False, trio.current_time()
                with suppress(EngineAway):
                    await self._look_at(states, nursery)
                    if first:
                        first = False
                        await self._end_forgotten()
                if leaving.is_set():
                    drained = not any(one.up.records for one in states)
                    await trio.sleep(DRAIN_SECONDS)
                else:
                    with trio.move_on_after(self._setup.terms.renewal):
                        await leaving.wait()
            nursery.cancel_scope.cancel(reason="all is written")

    async def _look_at(self, states: Sequence[FrontState], nursery: trio.Nursery) -> None:
        """Who has come, who is silent for too long."""
        lease = self._setup.terms.lease
        # After an outage nobody could renew.
        patient = not has_lapsed(self._returned, trio.current_time(), lease)
        found: dict[str, FrontState] = {}
        for state in states:
            if not state.fenced and not patient and has_lapsed(-state.age, 0, lease):
                self._log(Level.WARN, "a worker is silent, and given up", worker=state.id)
                await self._bus.fence(state.id, state.token, self._token)
                state = state._replace(fenced=True)
            found[state.id] = state
        self._states = found
        for name in found.keys() - self._followed:
            self._followed.add(name)
            nursery.start_soon(self._follow, name)

    async def _end_forgotten(self) -> None:
        """Workers of the record that the engine does not have any more."""
        for name in {one.key.name for one in self._record.shares.living} - self._states.keys():
            await self._end_others(name, None)

    async def _follow(self, name: str) -> None:
        """Reads what a worker appends, to the end of its last life."""
        after = START
        while True:
            # Asked before what is read: what it has appended until then is there to be read.
            state = self._states.get(name)
            over = state is None or state.fenced
            try:
                found = await self._bus.read_up(name, after, 0 if over else self._setup.terms.renewal)
                if found:
                    after = await self._take(name, found)
                elif over:
                    await self._forget(name, state)
                    self._followed.discard(name)
                    return
            except EngineAway:
                await trio.sleep(AGAIN_SECONDS)

    async def _forget(self, name: str, state: FrontState | None) -> None:
        """Its stream was read to its end; without a state, it has none any more."""
        if state is None:
            await self._end_others(name, None)
            return
        key = WorkerKey(name, state.token)
        claimed = self._incoming.nodes_of(key)
        await self._end(key)
        await self._bus.forget_front(name, state.token, self._token, claimed)
        if self._states.get(name) is state:
            del self._states[name]

    async def _take(self, name: str, found: Sequence[Appended]) -> str:
        """Writes entries, then has the engine forget them. The last one's position."""
        position = START
        for position, data in found:
            records = 0
            try:
                entry = decode_entry(data, ROWS)
                records = len(entry.records)
                key = WorkerKey(name, entry.token)
                async with self._busy:
                    batch = self._incoming.read(name, entry, self._record.shares.facts_of(key))
                    if batch is not None:
                        await self._write(batch)
                await self._end_others(name, key)  # what came before is another life's
            except DecodeError as error:
                self._log(Level.WARN, "a worker has said something else", worker=name, text=str(error))
                state = self._states.get(name)
                if state is not None:
                    await self._bus.fence(name, state.token, self._token)
            await self._bus.consume_up(name, self._token, position, Used(len(data), records))
        return position

    async def _end(self, key: WorkerKey) -> None:
        """A life is over that has not said so."""
        async with self._busy:
            facts = self._record.shares.facts_of(key)
            if facts is not None and facts.ended is None:
                await self._write(self._incoming.over(facts, self._setup.unix_ns()))

    async def _end_others(self, name: str, key: WorkerKey | None) -> None:
        """All lives of this name but one."""
        async with self._busy:
            living = [one.key for one in self._record.shares.living]
        for one in living:
            if one.name == name and one != key:
                await self._end(one)

    async def _write(self, batch: RecordBatch) -> None:
        with trio.CancelScope(shield=True):
            await self._thread.call(self._record.write, batch)


async def serve_writer(
    bus: Bus,
    setup: Writing,
    leaving: trio.Event,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """Stands for election until `leaving` is set or it is cancelled, and writes while it is elected. StoreError if the
    record cannot be written."""
    thread = WorkerThread()
    terms = setup.terms
    while not leaving.is_set():
        token = random_bytes(TOKEN_BYTES)
        config = Config(
            number=int.from_bytes(token[:4], "big"),
            node_id=setup.node_id,
            features=b"",
            networks=(),
            types=(),
            unknown_odd=0,
            lease=int(terms.lease * 1000),
            back_grace=int(terms.back_grace * 1000),
            engine_grace=int(terms.engine_grace * 1000),
            resumes=0,
        )
        with suppress(EngineAway):
            if await bus.enter_back(token, config):
                try:
                    await _write_while_elected(bus, setup, token, thread, leaving)
                finally:
                    with trio.move_on_after(1, shield=True), suppress(EngineAway):
                        await bus.leave_back(token)
        with trio.move_on_after(terms.renewal):
            await leaving.wait()


async def _write_while_elected(
    bus: Bus, setup: Writing, token: bytes, thread: WorkerThread, leaving: trio.Event
) -> None:
    try:
        record = await thread.call(setup.open_writer, setup.unix_ns())
    except TakenError as error:
        # The one before may be frozen, or on its way out. Meanwhile somebody with another record may have the place.
        setup.told("taken", str(error), None)
        return
    setup.told("writing", str(record.path), None)
    ends: list[BaseException] = []
    try:
        await _Term(bus, setup, token, thread, record).run(leaving)
    except* (Fenced, StoreError) as group:
        ends = leaves(group)
    finally:
        with trio.CancelScope(shield=True):
            try:
                if not any(isinstance(one, StoreError) for one in ends):
                    await thread.call(record.finish, setup.unix_ns())
            finally:
                await thread.call(record.close)
    for end in ends:
        if isinstance(end, StoreError):
            raise end
    if ends:
        setup.told("replaced", "", None)
