"""Ending: the one decision that a connection ends, its last word, and who is told of it, in which order.

A connection ends once. Before the peer's Init has come nothing may be said to it; after that it hears why, unless it
has said its own last word. What was queued for it and is not encrypted yet is dropped for the last word's sake.
"""

from __future__ import annotations

from typing import Final, Literal

from triolight import reasons
from triolight.errors import DisconnectCode, DisconnectReason, PeerHandleError
from triolight.logger import Level
from triolight.manager.entry import Agenda, Entry, Log
from triolight.manager.roster import Roster
from triolight.manager.routing import Handlers
from triolight.manager.seams import Seat
from triolight.messages import Error, Warning

MAX_WARNING_TEXT: Final = 400
"""Characters of a warning's words."""

LastWord = Error | Warning | Literal["the reason"] | None


def warning(words: str) -> bytes:
    """A warning of ours, encoded."""
    # The words are printable already; what we say of our own is ASCII, but a handler's reason may be anything.
    return Warning(data=words[:MAX_WARNING_TEXT].encode("ascii", "backslashreplace")).encode()


class Ending:
    """Ends entries. Its own state is their `reason`."""

    __slots__ = ("_agenda", "_handlers", "_log", "_roster", "_seat")

    def __init__(self, seat: Seat, agenda: Agenda, log: Log, roster: Roster, handlers: Handlers) -> None:
        self._seat: Final = seat
        self._agenda: Final = agenda
        self._log: Final = log
        self._roster: Final = roster
        self._handlers: Final = handlers

    def end(self, entry: Entry, reason: DisconnectReason, say: LastWord = "the reason") -> None:
        """We end it: `say` is the last word, by default a warning with the reason's own words."""
        if entry.reason is not None:
            return
        last = None
        if say == "the reason":
            last = warning(reason.message)
        elif say is not None:
            try:
                last = say.encode()
            except ValueError as error:
                reason = reasons.message_too_long(error)
                last = warning(reason.message)
        connection = entry.connection
        connection.drop_queue()
        if last is not None and (entry.init is not None or reason.code is DisconnectCode.INIT_MALFORMED):
            connection.queue(last)
        self._decide(entry, reason)
        self._agenda.mark(entry)

    def lost(self, entry: Entry, reason: DisconnectReason | None) -> None:
        """Its socket has died, and with it whatever waits. Without a reason: the peer has closed it."""
        self._agenda.forget(entry)
        try:
            if entry.reason is None:
                awaited_act = 0 if entry.node_id else entry.connection.act
                why = reason or reasons.closed_by_peer()
                self._decide(entry, reasons.in_phase(why, awaited_act, entry.init is not None, entry.last_words))
        finally:
            self._roster.forget(entry)

    def give_up(self, entry: Entry, code: DisconnectCode, words: str) -> PeerHandleError:
        """Forgets a connection to which nothing is to be said any more. Returns what its driver shall hear."""
        self._roster.forget(entry)
        self._agenda.forget(entry)
        reason = reasons.fault(code, words)
        self._decide(entry, reason)
        return PeerHandleError(reason)

    def close(self, entry: Entry) -> None:
        """Nothing is left to be written, or it is not waited for: the socket goes, and the descriptor is forgotten."""
        self._roster.forget(entry)
        self._agenda.finish(entry)
        entry.descriptor.disconnect_socket()

    def _decide(self, entry: Entry, reason: DisconnectReason) -> None:
        """The end is decided, whoever caused it: everyone hears of it, once."""
        entry.reason = reason
        level = Level.INFO if entry.init is not None else Level.DEBUG
        self._log(level, "ended", entry, code=reason.code, by=reason.by, text=reason.message)
        connected = entry.details is not None
        self._roster.leave(entry)
        self._seat.driving.observer.peer_ended(entry.descriptor, reason, entry.init)
        if connected:
            self._handlers.disconnected(entry.node_id)
            along = self._roster.bereave(entry.node_id, reason)
            if along is not None:
                self.end(along, reason)
