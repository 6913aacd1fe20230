"""MemoryEngine: an engine in this process, with the rules of any other. For tests: it can be away, forget and lose.

Its time is the run's clock, so a mock clock's too. Every call is one step and a checkpoint; what it holds is bounded as
in any engine by the windows of those who write.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from triolight.cluster.bus import Appended, BackState, Change, EngineAway, EngineFull, Fenced, FrontState, Kept
from triolight.cluster.records import (
    ENGINE,
    NO_CONNECTION,
    UP,
    Config,
    Displaced,
    decode_entry,
    encode_entry,
    encode_record,
)
from triolight.cluster.rules import Answer, Append, Claim, has_lapsed, judge_append, judge_claim, may_act
from triolight.cluster.streams import Hole, Used

__all__ = ["MemoryBus", "MemoryEngine"]


NONE = Used(0, 0)


@dataclass(slots=True)
class _Stream:
    entries: dict[int, bytes] = field(default_factory=dict[int, bytes])
    last: int = 0
    next_seq: int = 0
    used: Used = NONE
    consumed: str = ""
    grown: trio.Event = field(default_factory=trio.Event)

    def append(self, data: bytes, count: int) -> None:
        self.last += 1
        self.entries[self.last] = data
        self.used = Used(self.used.size + len(data), self.used.records + count)
        self.grown.set()
        self.grown = trio.Event()

    def consume(self, position: str, used: Used) -> None:
        if position == self.consumed:
            return  # its answer was lost
        self.consumed = position
        for one in [one for one in self.entries if one <= int(position)]:
            del self.entries[one]
        self.used = Used(max(0, self.used.size - used.size), max(0, self.used.records - used.records))


@dataclass(slots=True)
class _Front:
    token: bytes
    back: bytes
    address: str
    alive: float
    fenced: bool = False
    peers: int = 0
    up: _Stream = field(default_factory=_Stream)
    down: _Stream = field(default_factory=_Stream)


class MemoryEngine:
    """What all buses of one fleet share."""

    def __init__(self) -> None:
        self.away = False
        """Whether nobody gets an answer, and nothing is done."""
        self.full = False
        """Whether it takes nothing that needs room."""
        self._config: Config | None = None
        self._back: bytes | None = None
        self._back_alive = 0.0
        self._fronts: dict[str, _Front] = {}
        self._claims: dict[bytes, Claim] = {}
        self._kept: dict[str, Kept] = {}

    def bus(self) -> MemoryBus:
        """A connection with it."""
        return MemoryBus(self)

    # What goes wrong with engines.

    def forget_everything(self) -> None:
        """As after a restart without a disk."""
        self._config = self._back = None
        for front in self._fronts.values():
            for stream in (front.up, front.down):
                stream.grown.set()
        self._fronts.clear()
        self._claims.clear()
        self._kept.clear()

    def lose_tail(self, front: str, count: int) -> None:
        """The last appends to a front's stream up are gone, and with them that they were made: as after a restart that
        finds less on the disk than was promised."""
        stream = self._fronts[front].up
        for _ in range(count):
            data = stream.entries.pop(max(stream.entries))
            entry = decode_entry(data, UP)
            stream.next_seq = entry.first_seq
            stream.used = Used(stream.used.size - len(data), stream.used.records - len(entry.records))

    # What a bus asks.

    @property
    def config(self) -> Config | None:
        return self._config

    def back(self) -> BackState | None:
        return None if self._back is None else BackState(self._back, trio.current_time() - self._back_alive)

    def fronts(self) -> tuple[FrontState, ...]:
        now = trio.current_time()
        return tuple(
            FrontState(
                name,
                one.token,
                one.back,
                now - one.alive,
                one.fenced,
                one.address,
                one.peers,
                one.up.used,
                one.down.used,
            )
            for name, one in self._fronts.items()
        )

    @property
    def claims(self) -> dict[bytes, Claim]:
        return self._claims

    def held_front(self, front: str, token: bytes) -> _Front:
        """A front that may act. Fenced for one that may not."""
        found = self._fronts.get(front)
        if found is None or not may_act(found.token, token, found.fenced):
            raise Fenced(f"the front {front} does not hold its place")
        return found

    def check_back(self, token: bytes) -> None:
        """Fenced for a back that does not hold the place."""
        if not may_act(self._back, token, False):
            raise Fenced("another back holds the place")

    def enter_front(self, front: str, token: bytes, back: bytes, address: str) -> bool:
        if self._back != back:
            return False
        old = self._fronts.get(front)
        if old is not None and old.token == token:
            return True
        new = _Front(token, back, address, trio.current_time())
        if old is not None:
            # Whoever reads finds what the one before has appended, and then that there is another one.
            new.up.entries, new.up.last = old.up.entries, old.up.last
            new.up.used = old.up.used if old.up.entries else Used(0, 0)
            new.up.consumed = old.up.consumed
            new.down.last = old.down.last
            for stream in (old.up, old.down):
                stream.grown.set()
        self._fronts[front] = new
        return True

    def stream(self, front: str, up: bool) -> _Stream | None:
        found = self._fronts.get(front)
        return None if found is None else found.up if up else found.down

    def enter_back(self, token: bytes, config: Config) -> bool:
        held = self._back is not None and self._back != token
        if held and not has_lapsed(self._back_alive, trio.current_time(), config.lease / 1000):
            return False
        self._back, self._back_alive, self._config = token, trio.current_time(), config
        return True

    def renew_back(self, token: bytes) -> None:
        self.check_back(token)
        self._back_alive = trio.current_time()

    def leave_back(self, token: bytes) -> None:
        if self._back == token:
            self._back_alive = -float("inf")

    def follow_back(self, front: str, token: bytes, back: bytes) -> bool:
        held = self.held_front(front, token)
        if self._back != back:
            return False
        if held.back != back:
            held.back, held.down.next_seq = back, 0
        return True

    def keep(self, front: str, change: Change | None) -> None:
        if change is None:
            self._kept.pop(front, None)
            return
        old = self._kept.get(front)
        sessions = {} if old is None or old.front_token != change.front_token else dict(old.sessions)
        sessions |= dict(change.began)
        for conn in change.ended:
            sessions.pop(conn, None)
        self._kept[front] = Kept(change.front_token, change.next_seq, tuple(sessions.items()))

    def kept(self, front: str) -> Kept | None:
        return self._kept.get(front)

    def claim(self, our_node_id: bytes, node_id: bytes, claim: Claim, waited: bool) -> Answer:
        held = self._claims.get(node_id)
        holder = None if held is None else self._fronts.get(held.front)
        lives = holder is not None and held is not None and may_act(holder.token, held.token, holder.fenced)
        answer = judge_claim(our_node_id, node_id, claim, held, lives, trio.current_time(), waited)
        if answer is Answer.WAIT:
            return answer
        if answer is not Answer.TAKE and holder is not None and held is not None:
            waits = int(answer is Answer.TAKE_AND_PARK)
            displaced = encode_record(NO_CONNECTION, Displaced(node_id=node_id, number=held.number, waits=waits))
            holder.down.append(encode_entry(ENGINE, 0, [displaced]), 1)
        if held is not None and (held.front, held.token) == (claim.front, claim.token):
            claim = claim._replace(number=max(held.number, claim.number))
        self._claims[node_id] = claim
        return answer

    def release(self, front: str, token: bytes, node_id: bytes, number: float) -> None:
        held = self._claims.get(node_id)
        if held is not None and (held.front, held.token) == (front, token) and held.number <= number:
            del self._claims[node_id]

    def fence(self, front: str, front_token: bytes) -> None:
        found = self._fronts.get(front)
        if found is not None and found.token == front_token:
            found.fenced = True

    def forget_front(self, front: str, front_token: bytes) -> None:
        found = self._fronts.get(front)
        if found is not None and found.token == front_token:
            del self._fronts[front]
        kept = self._kept.get(front)
        if kept is not None and kept.front_token == front_token:
            del self._kept[front]


class MemoryBus:
    """A `Bus` on a MemoryEngine."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine
        self.cut = False
        """Whether this one alone gets no answer, and nothing is done."""
        self.answers_lost = 0
        """So many of the next calls are done, and get no answer."""

    async def _call(self, needs_room: bool = False) -> MemoryEngine:
        await trio.lowlevel.checkpoint()
        if self.cut or self._engine.away:
            raise EngineAway("the engine is away")
        if needs_room and self._engine.full:
            raise EngineFull("the engine is full")
        return self._engine

    def _answer(self) -> None:
        """After what was done."""
        if self.answers_lost:
            self.answers_lost -= 1
            raise EngineAway("no answer came")

    async def read_config(self) -> Config | None:
        return (await self._call()).config

    async def back(self) -> BackState | None:
        return (await self._call()).back()

    async def fronts(self) -> Sequence[FrontState]:
        return (await self._call()).fronts()

    async def claims(self) -> int:
        return len((await self._call()).claims)

    async def enter_front(self, front: str, token: bytes, back: bytes, address: str) -> bool:
        entered = (await self._call(needs_room=True)).enter_front(front, token, back, address)
        self._answer()
        return entered

    async def renew_front(self, front: str, token: bytes, peers: int) -> tuple[BackState, Used]:
        engine = await self._call()
        held = engine.held_front(front, token)
        back = engine.back()
        if back is None:
            raise Fenced("there is no back")
        held.alive, held.peers = trio.current_time(), peers
        self._answer()
        return back, held.up.used

    async def append_up(self, front: str, token: bytes, first_seq: int, count: int, data: bytes) -> Used:
        engine = await self._call(needs_room=True)
        return self._append(engine.held_front(front, token).up, first_seq, count, data)

    def _append(self, stream: _Stream, first_seq: int, count: int, data: bytes) -> Used:
        match judge_append(stream.next_seq, first_seq, count):
            case Append.HOLE:
                raise Hole(f"records {stream.next_seq} to {first_seq - 1} are missing")
            case Append.TAKE:
                stream.append(data, count)
                stream.next_seq += count
            case Append.REPEAT:
                pass
        self._answer()
        return stream.used

    async def read_down(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        return await self._read(front, False, after, wait)

    async def _read(self, front: str, up: bool, after: str, wait: float) -> Sequence[Appended]:
        engine = await self._call()
        with trio.move_on_after(wait):
            while True:
                stream = engine.stream(front, up)
                found = {} if stream is None else stream.entries
                new = [Appended(str(at), data) for at, data in found.items() if at > int(after)]
                if new:
                    return new
                await (trio.Event() if stream is None else stream.grown).wait()
                await self._call()
        return ()

    async def consume_down(self, front: str, token: bytes, position: str, used: Used) -> None:
        (await self._call()).held_front(front, token).down.consume(position, used)
        self._answer()

    async def follow_back(self, front: str, token: bytes, back: bytes) -> bool:
        followed = (await self._call()).follow_back(front, token, back)
        self._answer()
        return followed

    async def claim(
        self,
        front: str,
        token: bytes,
        our_node_id: bytes,
        node_id: bytes,
        number: int,
        inbound: bool,
        waited: bool = False,
    ) -> Answer:
        engine = await self._call(needs_room=True)
        engine.held_front(front, token)
        claim = Claim(front, token, number, inbound, trio.current_time())
        answer = engine.claim(our_node_id, node_id, claim, waited)
        self._answer()
        return answer

    async def release(self, front: str, token: bytes, node_id: bytes, number: int) -> None:
        (await self._call()).release(front, token, node_id, number)

    async def leave_front(self, front: str, token: bytes) -> None:
        (await self._call()).fence(front, token)

    async def enter_back(self, token: bytes, config: Config) -> bool:
        entered = (await self._call()).enter_back(token, config)
        self._answer()
        return entered

    async def renew_back(self, token: bytes) -> Sequence[FrontState]:
        engine = await self._call()
        engine.renew_back(token)
        self._answer()
        return engine.fronts()

    async def append_down(
        self, front: str, front_token: bytes, token: bytes, first_seq: int, count: int, data: bytes
    ) -> Used:
        engine = await self._call(needs_room=True)
        engine.check_back(token)
        return self._append(engine.held_front(front, front_token).down, first_seq, count, data)

    async def read_up(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        return await self._read(front, True, after, wait)

    async def consume_up(
        self, front: str, token: bytes, position: str, used: Used, change: Change | None = None
    ) -> None:
        engine = await self._call()
        engine.check_back(token)
        stream = engine.stream(front, True)
        if stream is not None:
            if position:
                stream.consume(position, used)
            engine.keep(front, change)
        self._answer()

    async def kept(self, front: str) -> Kept | None:
        return (await self._call()).kept(front)

    async def fence(self, front: str, front_token: bytes, token: bytes) -> None:
        engine = await self._call()
        engine.check_back(token)
        engine.fence(front, front_token)

    async def forget_front(self, front: str, front_token: bytes, token: bytes, claimed: Sequence[bytes]) -> None:
        engine = await self._call()
        engine.check_back(token)
        for node_id in claimed:
            engine.release(front, front_token, node_id, math.inf)
        engine.forget_front(front, front_token)

    async def leave_back(self, token: bytes) -> None:
        (await self._call()).leave_back(token)
