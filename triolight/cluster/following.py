"""A back and its fronts: leases, and who reads what they append. Programs hold `back.RemotePeers`.

One back at a time: it holds a lease as fronts do. What a front has appended is read to its end before its connections
end, also if the front is dead by then. What was read is committed once it was handled, if the next back takes up the
sessions of this one; otherwise once it was read, a moment later.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from triolight import reasons
from triolight.cluster import events
from triolight.cluster.bus import START, Change, EngineAway, Fenced, FleetError, FrontState, Kept
from triolight.cluster.desk import STALL_SECONDS, Desk, Life, Setup
from triolight.cluster.lanes import AGAIN_SECONDS, Lane, Patience
from triolight.cluster.ledger import Commit
from triolight.cluster.records import TOKEN_BYTES, UP, Config, decode_entry
from triolight.cluster.rules import has_lapsed
from triolight.cluster.streams import Flight, Hole, Used
from triolight.cluster.wanted import CONTROL
from triolight.errors import DecodeError, DisconnectReason
from triolight.handlers import CustomMessageHandler, overrides
from triolight.logger import Area, Level

GOODBYE_SECONDS: Final = 5.0
"""For fronts to say goodbye when the back leaves."""


class Following:
    """A back's place, and the fronts that it follows."""

    def __init__(self, setup: Setup, desk: Desk) -> None:
        self._setup: Final = setup
        self._desk: Final = desk
        self._log: Final = Area(setup.logger, "back")
        self.token: Final = setup.random_bytes(TOKEN_BYTES)
        self._patience: Final = Patience(math.inf, self._on_full)
        """The lanes': who ends their sessions is whoever renews."""
        self._positions: Final[dict[str, str]] = {}
        self._returned = -math.inf
        """When the engine has come back last."""
        self._forgetting: Final[set[str]] = set()
        """Fronts whose last life was read to its end, and is being cleared away."""
        self._scope: Final = trio.CancelScope(shield=True)
        self._nursery: trio.Nursery
        self.config: Config

    # Its life.

    async def enter(self) -> None:
        """Waits for the place, and takes it."""
        setup, desk, terms = self._setup, self._desk, self._setup.terms
        desk.attach()
        custom = overrides(setup.handlers.custom_handler, CustomMessageHandler, "handle_custom_message")
        types = sorted(cls.type for cls in setup.messages if cls not in CONTROL)
        self.config = Config(
            number=int.from_bytes(self.token[:4], "big"),
            node_id=setup.node_id,
            features=desk.routing.handlers.init_features(setup.node_id).to_bytes(),
            networks=setup.networks,
            types=tuple(types),
            unknown_odd=int(custom),
            lease=int(terms.lease * 1000),
            back_grace=int(terms.back_grace * 1000),
            engine_grace=int(terms.engine_grace * 1000),
            resumes=int(setup.resumes),
        )
        patience = Patience(terms.engine_grace)
        while True:
            try:
                if await setup.bus.enter_back(self.token, self.config):
                    return
                patience.here()
            except EngineAway:
                patience.away()
            await trio.sleep(terms.renewal)

    @trio.lowlevel.enable_ki_protection
    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until it is stopped; also while the block is cancelled, for goodbyes have to get away then."""
        with self._scope:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._desk.begin(nursery)
                task_status.started()
                await self._renew()

    def stop(self) -> None:
        self._scope.cancel(reason="the block of open_back is left")

    @trio.lowlevel.enable_ki_protection
    async def leave(self) -> None:
        """Everybody hears goodbye, as far as there is time; then the place is empty."""
        with trio.move_on_after(GOODBYE_SECONDS, shield=True), suppress(EngineAway):
            sessions = [*self._desk.by_node.values()]
            for session in sessions:
                session.end(reasons.shutdown())
            for session in sessions:
                await session.ended.wait()
        with trio.move_on_after(1, shield=True), suppress(EngineAway):
            await self._setup.bus.leave_back(self.token)

    # Leases.

    async def _renew(self) -> None:
        setup, terms, news = self._setup, self._setup.terms, self._desk.news
        patience = Patience(terms.engine_grace)
        lost = False
        while True:
            try:
                states = await setup.bus.renew_back(self.token)
            except EngineAway:
                if patience.since is None:
                    news.publish(events.EngineAway())
                try:
                    patience.away()
                except FleetError as error:
                    if not lost:
                        self._log(Level.WARN, "the engine is lost", text=error.reason.message)
                        self._lose(error.reason)
                    lost = True
                await trio.sleep(min(AGAIN_SECONDS, terms.renewal))
                continue
            except Fenced:
                await self._begin_again()
                continue
            if patience.since is not None:
                self._returned = trio.current_time()
                lost = False
                news.publish(events.EngineBack())
            patience.here()
            await self._look_at(states)
            self._desk.look_for_stalls()
            for life in self._desk.lives.values():
                life.ledger.forgive()
            await trio.sleep(terms.renewal)

    async def _begin_again(self) -> None:
        """The engine has forgotten us, or there is another back."""
        with suppress(EngineAway):
            other = await self._setup.bus.back()
            if other is not None and other.token != self.token:
                self._lose(reasons.back_restarted())
                raise FleetError(reasons.back_restarted())
            self._lose(reasons.engine_lost("the engine came back without what it had"))
            await self._setup.bus.enter_back(self.token, self.config)
            return
        await trio.sleep(AGAIN_SECONDS)

    def _on_full(self, full: bool) -> None:
        self._log(Level.WARN, "the engine is full, and takes nothing" if full else "the engine has room again")

    def _lose(self, reason: DisconnectReason) -> None:
        for life in [*self._desk.lives.values()]:
            life.commits.cancel()
            life.lost = True
            self._end_life(life, reason)
        self._positions.clear()

    def _end_life(self, life: Life, reason: DisconnectReason) -> None:
        self._desk.end_life(life, reason)
        self._desk.news.publish(events.FrontLost(life.state.id, reason))

    async def _look_at(self, states: Sequence[FrontState]) -> None:
        """Who has come, who is silent for too long."""
        bus, lease, now = self._setup.bus, self._setup.terms.lease, trio.current_time()
        patient = not has_lapsed(self._returned, now, lease)
        lives = self._desk.lives
        for state in states:
            if state.id in self._forgetting:
                continue
            silent = state.age >= lease and not patient
            life = lives.get(state.id)
            with suppress(EngineAway):
                if state.back != self.token and not (silent or state.fenced):
                    continue  # of another back's time: it will see that, and come again, or go on with us
                if state.back != self.token and not self._setup.resumes:
                    await bus.forget_front(state.id, state.token, self.token, ())
                    continue
                if silent and not state.fenced:
                    self._log(Level.WARN, "a front is silent, and given up", front=state.id)
                    await bus.fence(state.id, state.token, self.token)
                    state = state._replace(fenced=True)
                if life is not None:
                    life.state = state
                    continue
                kept = await bus.kept(state.id) if self._setup.resumes else None
                self._begin(state, kept)
        for name in lives.keys() - {state.id for state in states}:
            self._end_life(lives[name], reasons.engine_lost("the engine has lost the front"))

    def _begin(self, state: FrontState, kept: Kept | None) -> None:
        """A front, or another life of one, is followed from now on."""
        bus, token = self._setup.bus, self.token
        if kept is not None and kept.front_token != state.token:
            # An earlier life of it, of which nobody has read the end.
            state = state._replace(token=kept.front_token, fenced=True)

        async def append(flight: Flight) -> Used:
            return await bus.append_down(
                state.id, state.token, token, flight.first_seq, len(flight.parcels), flight.data
            )

        async def look() -> Used:
            found = [one.down for one in await bus.fronts() if one.id == state.id]
            return found[0] if found else Used(0, 0)

        life = Life(state, Lane(token, append, look, self._patience), 0 if kept is None else kept.next_seq)
        self._desk.lives[state.id] = life
        self._desk.news.publish(events.FrontJoined(state.id, state.address))
        self._nursery.start_soon(self._follow, life, kept)
        self._nursery.start_soon(self._append, life)
        if self._setup.resumes:
            self._nursery.start_soon(self._commit, life)

    @trio.lowlevel.enable_ki_protection
    async def _append(self, life: Life) -> None:
        with life.scope, suppress(Fenced, Hole):
            await life.lane.run()
            # Fenced: the end of its stream up tells when its sessions end.

    # What fronts append.

    @trio.lowlevel.enable_ki_protection
    async def _follow(self, life: Life, kept: Kept | None) -> None:
        """Reads what a front appends, to the end of its life."""
        bus, desk, name = self._setup.bus, self._desk, life.state.id
        try:
            for conn, data in () if kept is None else kept.sessions:
                desk.resume(life, conn, data)
        except Hole as error:
            await self._break(life, error)
            return
        desk.acting.drain_events()
        # Of its own: what the engine does not give while it answers all else, is lost.
        patience = Patience(self._setup.terms.engine_grace + self._setup.terms.lease)
        while desk.lives.get(name) is life:
            after = self._positions.get(name, START)
            # Asked before what is read: what it has appended until then is there to be read.
            over = life.state.fenced or life.state.token != life.reader.token
            try:
                wait = min(self._setup.terms.renewal, life.done.seconds_left(trio.current_time()))
                found = await bus.read_up(name, after, 0 if over else wait)
                patience.here()
                left = False
                for position, data in found:
                    if desk.lives.get(name) is not life:
                        return
                    if not await self._read(life, position, data):
                        over = left = True  # what follows is another life's, and is read again by who follows that
                        break
                    if desk.lives.get(name) is life:  # not if it was over meanwhile: another one begins at the start
                        self._positions[name] = position
                if (over and (left or not found)) or not life.done.seconds_left(trio.current_time()):
                    await self._consume_done(life)
                if found and not left:
                    continue
            except EngineAway:
                try:
                    patience.away()
                except FleetError as error:
                    await self._break(life, error)
                    return
                await trio.sleep(AGAIN_SECONDS)
                continue
            except Fenced:
                await trio.sleep(AGAIN_SECONDS)  # as whoever renews finds out
                continue
            except (DecodeError, Hole) as error:
                await self._break(life, error)
                return
            if over and desk.lives.get(name) is life:
                await self._forget(life, reasons.front_lost(name))
                return

    async def _read(self, life: Life, position: str, data: bytes) -> bool:
        """One entry. False if it is another life's."""
        entry = decode_entry(data, UP)
        used = Used(len(data), len(entry.records))
        if entry.token != life.reader.token:
            # Of a life before this one, or after it: that one is the front's by now, and begins with its first record.
            if life.reader.begun or (entry.first_seq == 0 and await self._is_token(life, entry.token)):
                return False
            if self._setup.resumes:
                await self._consume(life, Commit(position, used, 0, (), ()))
            else:
                life.done.add(position, used, trio.current_time())
            return True
        seq = max(life.reader.next_seq, entry.first_seq)
        records = life.reader.read(entry)
        if not self._setup.resumes:
            await self._desk.read(life, records, seq, None)
            life.done.add(position, used, trio.current_time())
            return True
        page = life.ledger.open(position, used, life.reader.next_seq)
        page.note(records)
        await self._desk.read(life, records, seq, page)
        page.release()
        await trio.lowlevel.checkpoint()
        return True

    async def _is_token(self, life: Life, token: bytes) -> bool:
        states = await self._setup.bus.fronts()
        return any((state.id, state.token) == (life.state.id, token) for state in states)

    async def _consume(self, life: Life, commit: Commit) -> None:
        bus, name = self._setup.bus, life.state.id
        change: Change | None = None
        if self._setup.resumes:
            change = Change(life.reader.token, commit.next_seq, commit.began, commit.ended)

        async def consume() -> None:
            if not life.lost:  # an engine that came back without it counts for another one of that name
                await bus.consume_up(name, self.token, commit.position, commit.used, change)

        await self._patience.until_answered(consume)

    async def _consume_done(self, life: Life) -> None:
        """What was read is not wanted again by anybody."""
        if (done := life.done.take()) is not None:
            await self._consume(life, Commit(*done, 0, (), ()))

    @trio.lowlevel.enable_ki_protection
    async def _commit(self, life: Life) -> None:
        """What was handled need not come again."""
        with life.commits, suppress(Fenced):
            while not (life.over and life.ledger.empty):
                await life.unsettled.wait()
                life.unsettled = trio.Event()
                commit = life.ledger.take()
                if commit is not None:
                    await life.lane.flushed()  # what handlers have answered is there before the question is gone
                    await self._consume(life, commit)
        life.committed.set()

    async def _break(self, life: Life, error: Exception) -> None:
        """Its stream is not what it should be."""
        name = life.state.id
        self._log(Level.WARN, "a front's stream is broken", front=name, text=str(error))
        with suppress(EngineAway, Fenced):
            await self._setup.bus.fence(name, life.reader.token, self.token)
        await self._forget(life, reasons.engine_lost(f"the stream of a front is broken: {error}"))

    async def _forget(self, life: Life, reason: DisconnectReason) -> None:
        """Its stream was read to its end."""
        bus, name = self._setup.bus, life.state.id
        claimed = tuple({session.node_id for session in life.sessions.values()})
        self._forgetting.add(name)
        try:
            self._end_life(life, reason)
            if self._setup.resumes:
                # Until then it would come again to another back.
                with trio.move_on_after(STALL_SECONDS):
                    await life.committed.wait()
                life.commits.cancel()
            self._positions.pop(name, None)
            with suppress(EngineAway, Fenced):
                await bus.forget_front(name, life.reader.token, self.token, claimed)
        finally:
            self._forgetting.discard(name)
