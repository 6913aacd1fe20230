"""Pings of ours on one connection: how many wait for their pongs, who waits for which, and the round trips.

At most `MAX_PINGS` wait, one place of which is the keepalive's. Each place is taken and given back here, and nowhere
else. It sends nothing: who does is the pump.
"""

from __future__ import annotations

import trio

from triolight.connection import MAX_PINGS


class PingAnswer:
    """Where the round trip of one ping arrives."""

    __slots__ = ("abandoned", "done", "round_trip")

    def __init__(self) -> None:
        self.done = trio.Event()
        self.round_trip: float | None = None
        """Seconds. None after `done`: there will be no pong."""
        self.abandoned = False
        """Nobody waits for it any more."""


class Pings:
    """The pings of one peer that have no pong yet, and what came of the others."""

    __slots__ = ("_given_back", "_last", "_minimum", "_outstanding", "_smoothed", "_waiting")

    def __init__(self) -> None:
        self._outstanding = 0
        self._waiting: dict[PingAnswer, None] = {}
        """Those whose pongs may come, in order; a set would wake who waits in an order of its own."""
        self._given_back: trio.Event | None = None
        """While somebody waits for a place."""
        self._last: float | None = None
        self._minimum: float | None = None
        self._smoothed: float | None = None

    @property
    def outstanding(self) -> int:
        return self._outstanding

    @property
    def round_trips(self) -> tuple[float | None, float | None, float | None]:
        """The last one, the shortest, and RFC 6298's smoothing: 1/8 of each new one. Seconds."""
        return self._last, self._minimum, self._smoothed

    # Places.

    @property
    def has_place(self) -> bool:
        """Whether one more ping of the application's may go out: the last place is the keepalive's."""
        return self._outstanding < MAX_PINGS - 1

    async def wait_place(self) -> None:
        """Until a place was given back, or the peer has ended."""
        if self._given_back is None:
            self._given_back = trio.Event()
        await self._given_back.wait()

    def take_place(self) -> None:
        self._outstanding += 1

    def give_place_back(self) -> None:
        """Whoever waits for a place looks again."""
        self._outstanding -= 1
        self._wake()

    def _wake(self) -> None:
        if self._given_back is not None:
            self._given_back.set()
            self._given_back = None

    # What becomes of them.

    def sent(self, answer: PingAnswer) -> None:
        """Its pong may come from now on."""
        self._waiting[answer] = None

    def refused(self, answer: PingAnswer) -> None:
        """It did not go out, and there will be no pong."""
        self.give_place_back()
        answer.done.set()

    def answered(self, token: object, round_trip: float) -> None:
        """A pong came, after so many seconds. `token` is its PingAnswer, or None for the keepalive's."""
        self._last = round_trip
        self._minimum = round_trip if self._minimum is None else min(round_trip, self._minimum)
        before = self._smoothed
        self._smoothed = round_trip if before is None else before + (round_trip - before) / 8
        self.give_place_back()
        if isinstance(token, PingAnswer):
            token.round_trip = round_trip
            token.done.set()
            self._waiting.pop(token, None)

    def given_up(self) -> PingAnswer | None:
        """The oldest one that nobody waits for any more. Its pong may still come."""
        return next((one for one in self._waiting if one.abandoned), None)

    def forgotten(self, answer: PingAnswer) -> None:
        """Its pong is not matched any more: the place is free."""
        del self._waiting[answer]
        self.give_place_back()

    def end(self) -> None:
        """No pong will come, and no place matters: everybody who waits looks again."""
        for answer in self._waiting:
            answer.done.set()
        self._waiting.clear()
        self._wake()
