"""Time: what is looked at when, and how long a peer may be silent, stuck or held back. No Trio here, and no clock.

A connection is in one phase at a time, and each has one method, which says why it ends or when to look again:

=============  ====================================================================  ==========================
phase          what is waited for                                                    and then
=============  ====================================================================  ==========================
handshake      the third act, `handshake` seconds from TCP's connect or accept       HANDSHAKE_TIMEOUT
init           the peer's Init, `init` seconds from there                            INIT_TIMEOUT
decision       a word of who decides about newcomers, `init` seconds from the Init   INIT_TIMEOUT
parked         the end of the connection that was kept instead, PARKED_SECONDS       DUPLICATE
throttled      that it has paid off what it cost: it is not read                     reading goes on; if it hangs up
                                                                                     meanwhile CONNECTION_LOST
held           that our own subscriber reads: the peer is not blamed for silence     SUBSCRIBER_STALLED
by handler     that our routing handler has room: the peer is not blamed either      reading goes on
writing        that it takes what there is for it; a ping may be behind all that     WRITE_STALLED
waiting        the time of a ping; its pong, or any sign of life                     PING_TIMEOUT
after the end  that our own subscriber takes what an ended peer said                 the rest is dropped
=============  ====================================================================  ==========================

What is compared is the sum that a timer was set to: a difference of the same times may round to less, and the timer
would be due again and again. Times are seconds of the run's clock.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, Generic, NamedTuple, TypeVar

from triolight import reasons
from triolight.errors import DisconnectReason

__all__ = [
    "Arrival",
]

STALL_LOGGED_AFTER: Final = 10.0
"""Seconds that a full buffer pauses a peer before it is logged."""
HANG_UP_SECONDS: Final = 0.5
"""A peer that is not read is looked at so often whether it has hung up: nobody reads its end."""
EARLY: Final = 1 / 64
"""Of its interval, and a second at most: by how much a ping may go out before its time, together with another peer's.
Ten thousand peers that are pinged one by one cost almost three times what they cost in groups."""
LOOKS_TOGETHER: Final = 32
"""Peers that are looked at in one go, when some may be early: everybody else waits for that."""


class Arrival(NamedTuple):
    """When something was read: by both clocks, taken by the reader as the bytes came."""

    monotonic: float
    """Seconds of the run's clock: ``trio.current_time()``."""
    unix_ns: int
    """Nanoseconds since 1970, of the wall's."""


class Moment:
    """The time of the event that is applied: what the manager's clock shows."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 0.0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """The protocol's own deadlines, in seconds."""

    handshake: float
    init: float
    ping_interval: float
    pong: float
    stall: float
    goodbye: float

    def times(self, patience: float) -> Deadlines:
        """For a connection that takes a detour: all but the goodbye so many times as long."""
        if patience == 1:
            return self
        return Deadlines(
            handshake=patience * self.handshake,
            init=patience * self.init,
            ping_interval=patience * self.ping_interval,
            pong=patience * self.pong,
            stall=patience * self.stall,
            goodbye=self.goodbye,
        )


class Timed:
    """What may be looked at later."""

    __slots__ = ("timer",)

    def __init__(self) -> None:
        self.timer: list[Any] | None = None
        """Its entry in the heap of `Timers`, which alone writes this: time, number, who it is, and by how much it may
        be early. None: it is not set."""


T = TypeVar("T", bound=Timed)


class Timers(Generic[T]):
    """When what is looked at next: one time for each, in a heap. What is stopped is not held any more."""

    __slots__ = ("_count", "_earlier", "_heap", "_number")

    def __init__(self, earlier: Callable[[float], None]) -> None:
        """`earlier` is told a time that may be before the first one's."""
        self._earlier: Final = earlier
        self._heap: list[list[Any]] = []
        """Entries, those that do not count any more among them: they are nobody's."""
        self._count = 0
        self._number = 0
        """Tells entries of the same time apart, in the order in which they came."""

    def __len__(self) -> int:
        """How many are set."""
        return self._count

    def set(self, of: T, at: float, slack: float = 0.0) -> None:
        """It is looked at at this time, or earlier. `math.inf`: nothing changes. So many seconds before that, it may
        be looked at together with another one."""
        before = of.timer
        if at == math.inf or (before is not None and at >= before[0]):
            return
        if before is not None:
            before[2] = None
        else:
            self._count += 1
        self._number += 1
        of.timer = entry = [at, self._number, of, slack]
        heapq.heappush(self._heap, entry)
        if len(self._heap) > 2 * self._count + 1024:
            # What was stopped leaves its entry behind, and so does what was set to an earlier time. Half of what is
            # allowed is free after that, so that this is not done for each timer.
            self._heap = [one for one in self._heap if one[2] is not None]
            heapq.heapify(self._heap)
        self._earlier(at)

    def stop(self, of: T) -> None:
        """It is not looked at any more, until it is set again."""
        entry = of.timer
        if entry is not None:
            entry[2] = of.timer = None
            self._count -= 1

    @property
    def first(self) -> float:
        """When to ask `due`; `math.inf` without timers."""
        return self._heap[0][0] if self._heap else math.inf

    def due(self, now: float, together: bool = False) -> T | None:
        """What is to be looked at now, one at a time; None: nothing is (any more). `together`: another one was due, and
        who may be early is looked at with it."""
        while self._heap and self._heap[0][0] <= (now + self._heap[0][3] if together else now):
            of: T | None = heapq.heappop(self._heap)[2]
            if of is not None:
                self.stop(of)
                return of
        return None


class Phase(Enum):
    """How far a stream without a peer has come."""

    HANDSHAKE = auto()
    INIT = auto()
    DECISION = auto()
    PARKED = auto()


class Approach:
    """The phases of a stream on which there is no peer: not yet, or not any more."""

    __slots__ = ("_deadlines", "phase", "until")

    def __init__(self, deadlines: Deadlines, until: float) -> None:
        self._deadlines: Final = deadlines
        self.phase = Phase.HANDSHAKE
        self.until = until
        """When the phase has to be over."""

    def enter(self, phase: Phase, until: float) -> None:
        self.phase, self.until = phase, until

    def look(self, now: float) -> DisconnectReason | None:
        """Why it ends; None: look again at `until`."""
        if now < self.until:
            return None
        match self.phase:
            case Phase.HANDSHAKE:
                return reasons.handshake_timeout(self._deadlines.handshake)
            case Phase.INIT:
                return reasons.init_timeout(self._deadlines.init)
            case Phase.DECISION:
                return reasons.undecided(self._deadlines.init)
            case Phase.PARKED:
                return reasons.duplicate()


class Facts(NamedTuple):
    """What a watch is told about its peer each time it looks."""

    held_since: float | None
    """Since when our own subscriber has no room for it."""
    last_taken: float
    """When a subscriber that has no room for it has last taken anything."""
    broken: bool
    """Whether a write has found the stream broken."""
    writing_since: float | None
    """Since when the writer waits for the peer to take a byte."""
    unsent: int | None
    """Bytes that the system holds for it; None if it does not tell."""
    over_budget: bool
    """Whether it is not read because it has not read what it asked for."""
    hung_up: bool
    """Whether its end has reached the system, behind what was not read."""
    held_by_handler: bool = False
    """Whether it is not read because our routing handler has too much of it."""


class Look(NamedTuple):
    """What is to be done about a peer, in this order."""

    next_at: float = math.inf
    ping: bool = False
    """A keepalive is due."""
    resume: bool = False
    """It has paid: it is read again."""
    departed: bool = False
    """It has hung up, and what it said waits for our own subscriber: it takes no peer's place any more."""
    stalled: float | None = None
    """For so many seconds our own subscriber has not read: to be logged, once for each time it is held."""
    reason: DisconnectReason | None = None
    """It ends."""


class Watch:
    """The phases of a peer: silence, pings, stalls. One for each session; nobody else writes its marks of time."""

    __slots__ = (
        "_answer_seconds",
        "_deadlines",
        "_logged_hold",
        "_moved_at",
        "_ping_at",
        "_ping_sent_at",
        "_received_at",
        "_throttled_until",
        "_unsent",
    )

    def __init__(self, deadlines: Deadlines, now: float) -> None:
        self._deadlines: Final = deadlines
        self._answer_seconds: Final = min(deadlines.ping_interval, deadlines.pong)
        """For any sign of life after a ping."""
        self._ping_at = now + deadlines.ping_interval
        """When the next keepalive is due."""
        self._ping_sent_at: float | None = None
        """When the keepalive that has no answer yet was sent."""
        self._received_at = 0.0
        self._throttled_until: float | None = None
        self._logged_hold: float | None = None
        """Since when it was held at the last time that was logged."""
        self._unsent: int | None = None
        """Bytes that the system held for the peer when it was last looked at, and when they last became fewer."""
        self._moved_at = -math.inf

    def connected(self, now: float) -> float:
        """It is a peer from now on. When to look at it."""
        return self._rest(now)

    def received(self, at: float) -> None:
        """Something came."""
        self._received_at = at

    def pong(self) -> None:
        """Any pong is an answer."""
        self._ping_sent_at = None

    @property
    def reads(self) -> bool:
        """Whether it is read, as far as its allowance goes."""
        return self._throttled_until is None

    def throttled(self, now: float, until: float) -> float:
        """It is not read until then. When to look at that."""
        self._throttled_until = until
        return min(until, now + HANG_UP_SECONDS)

    def held(self, now: float) -> float:
        """Our own subscriber has no room for it from now on. When to look at that."""
        return now + min(HANG_UP_SECONDS, self._deadlines.stall)

    def slack(self, next_at: float) -> float:
        """By how much the timer of a look may be early: not at all, but for a ping's."""
        return min(self._deadlines.ping_interval * EARLY, 1.0) if next_at == self._ping_at else 0.0

    def look(self, now: float, facts: Facts, timed: bool = False) -> Look:
        """`timed`: its timer was due, or has been early together with another one."""
        if self._throttled_until is not None:
            look = self._throttled(now, facts, self._throttled_until)
        elif facts.held_since is not None:
            look = self._held(now, facts.held_since, facts)
        elif facts.held_by_handler:
            # Its pong waits behind what is not read; so does what else would show that it is alive.
            self._excuse_silence(now)
            look = Look(now + self._answer_seconds)
        elif facts.writing_since is not None or facts.over_budget:
            look = self._writing(now)
        else:
            look = self._waiting(now, self.slack(self._ping_at) if timed else 0.0)
        return self._stuck(now, facts, look)

    def _throttled(self, now: float, facts: Facts, until: float) -> Look:
        """It is not read, so it cannot be blamed for silence. But if it is gone, the system knows, or our pings find
        out: what it has left unread would take minutes to pay for."""
        ping = now >= self._ping_at
        if ping:
            self._pinged(now)
        self._excuse_silence(now)
        next_at = min(until, self._ping_at, now + HANG_UP_SECONDS)
        resume = now >= until
        if resume:
            self._throttled_until = None
            next_at = now if self._ping_sent_at is None else now + self._answer_seconds
        # If it may be read now, its end is read as well, behind what it has said.
        gone = facts.broken or (facts.hung_up and not resume)
        reason = reasons.gone_while_throttled() if gone else None
        return Look(next_at, ping=ping, resume=resume, reason=reason)

    def _held(self, now: float, held_since: float, facts: Facts) -> Look:
        """Our own subscriber is the brake: the peer cannot be blamed for silence while it is not read."""
        self._excuse_silence(now)
        since = max(held_since, facts.last_taken)
        stalled = None
        if self._logged_hold != held_since and now >= since + STALL_LOGGED_AFTER:
            self._logged_hold = held_since
            stalled = now - since
        stall = self._deadlines.stall
        next_at = since + (stall if self._logged_hold == held_since else min(STALL_LOGGED_AFTER, stall))
        if not facts.hung_up:
            next_at = min(next_at, now + HANG_UP_SECONDS)
        reason = reasons.subscriber_stalled(stall) if now >= since + stall else None
        return Look(next_at, departed=facts.hung_up, stalled=stalled, reason=reason)

    def _writing(self, now: float) -> Look:
        """It owes us the reading of what there is for it: whether it takes that is what it is judged by. A ping of ours
        may still be behind all that."""
        self._excuse_silence(now)
        return Look(now + self._answer_seconds)

    def _waiting(self, now: float, slack: float) -> Look:
        if self._ping_sent_at is None:
            if now < self._ping_at - slack:
                return Look(self._rest(now))
            self._pinged(now)
            return Look(now + self._answer_seconds, ping=True)
        silent = self._received_at <= self._ping_sent_at
        next_at = self._ping_sent_at + (self._answer_seconds if silent else self._deadlines.pong)
        reason = reasons.ping_timeout(silent, now - self._ping_sent_at) if now >= next_at else None
        return Look(next_at, reason=reason)

    def after_end(self, now: float, facts: Facts) -> float | None:
        """It has ended, and a subscriber has no room for what it said last: that cannot wait for ever. When to look
        again, `math.inf` for never; None: the rest is dropped."""
        if facts.held_since is None:
            return math.inf
        by = max(facts.held_since, facts.last_taken) + self._deadlines.stall
        return by if now < by else None

    def _stuck(self, now: float, facts: Facts, look: Look) -> Look:
        """Whatever else it does: a peer that takes no byte while there are some for it is no peer."""
        if facts.writing_since is None:
            self._unsent = None
            return look
        if facts.unsent is not None:
            if self._unsent is not None and facts.unsent < self._unsent:
                self._moved_at = now
            self._unsent = facts.unsent
        if look.reason is not None:
            return look
        since = max(facts.writing_since, self._moved_at)
        by = since + self._deadlines.pong
        return look._replace(
            next_at=min(look.next_at, by), reason=reasons.write_stalled(now - since) if now >= by else None
        )

    def _rest(self, now: float) -> float:
        """When to look at a peer of which nothing is wanted: its ping may be due late or never, but whether it takes
        what there is for it has to be seen."""
        return min(self._ping_at, now + self._deadlines.pong)

    def _pinged(self, now: float) -> None:
        self._ping_sent_at = now
        self._ping_at = now + self._deadlines.ping_interval

    def _excuse_silence(self, now: float) -> None:
        if self._ping_sent_at is not None:
            self._ping_sent_at = now
