"""Pulling: gossip that a handler has for a peer is asked for when nothing waits for that peer and its socket has room.

* Only those are asked for whom a handler has named (`wake`), until it has nothing for them: nothing costs O(peers).
* Each in its turn, and in one turn of a driver that counts them no more than that turn's work.
* Nothing is buffered for a peer that does not read. What was asked for and is not encrypted yet is the first to go.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from triolight.manager.entry import Agenda, Entry, Hold
from triolight.manager.roster import Roster
from triolight.manager.routing import Handlers
from triolight.manager.seams import Seat
from triolight.wire import MAX_MESSAGE_LENGTH

ROOM_BYTES: Final = MAX_MESSAGE_LENGTH
"""Asked for at once: so that any message fits."""


class Pulling:
    """Asks for gossip. Its own state is the entries' `pulling`, and whose turn it is on the agenda."""

    __slots__ = ("_agenda", "_handlers", "_limit", "_roster", "_seat")

    def __init__(self, seat: Seat, agenda: Agenda, roster: Roster, handlers: Handlers) -> None:
        self._seat: Final = seat
        self._agenda: Final = agenda
        self._roster: Final = roster
        self._handlers: Final = handlers
        self._limit: float = math.inf
        """Units of work until the turn is over."""

    def wake(self, node_ids: Iterable[bytes]) -> None:
        """A handler may have gossip for these, or has no longer too much of theirs. Who is not connected is not
        meant."""
        gossip, queue_high = self._handlers.gossip, self._handlers.queue_high
        for node_id in node_ids:
            entry = self._roster.connected.get(node_id)
            if entry is None:
                continue
            if gossip is not None:
                entry.pulling = True
                self._agenda.pulls[entry] = None
            if entry.held & Hold.BY_HANDLER and not (queue_high is not None and queue_high(node_id)):
                entry.held ^= Hold.BY_HANDLER
                self._agenda.mark(entry)

    def drained(self, entry: Entry) -> None:
        """Its socket has taken everything that waited for it."""
        if entry.details is not None and entry.reason is None:
            self._agenda.pulls[entry] = None

    def begin(self) -> None:
        """A turn begins."""
        turn_work = self._seat.driving.turn_work
        self._limit = math.inf if turn_work is None else self._agenda.work + turn_work

    def pull(self, write: Callable[[Entry], object]) -> bool:
        """Asks for the next one and has it written; False: nobody is to be asked for any more in this turn."""
        agenda, gossip = self._agenda, self._handlers.gossip
        if gossip is None:
            agenda.pulls.clear()
        if gossip is None or not agenda.pulls or agenda.work >= self._limit:
            return False
        entry, _ = agenda.pulls.popitem(last=False)
        connection = entry.connection
        if entry.details is None or entry.reason is not None or entry.awaiting_space or connection.owed_bytes:
            return True  # it has ended, or its turn comes when it has taken what waits
        given = gossip(entry.node_id, ROOM_BYTES)
        if not given:
            entry.pulling = False
        elif entry.reason is None:  # a handler may have had it ended, from inside of this call
            connection.queue_gossip(given, sum(map(len, given)))
            agenda.work += len(given) + sum([len(message) >> 12 for message in given])
            write(entry)
        return True
