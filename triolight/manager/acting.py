"""Acting: what follows from an answer of a handler, from an event of one, and from a peer's control messages.

Routing's host for connections (`triolight.manager.routing.Host`). A handler's messages are never dropped alone: if they
cannot go out, the connection ends, since a channel would be out of step without them. Only an event that says with its
`most_waiting` how much may wait before it is dropped instead: an onion message that is passed on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from triolight import reasons
from triolight.actions import (
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErrorAction,
    GossipWaits,
    HandleError,
    IgnoreAndLog,
    IgnoreDuplicateGossip,
    IgnoreError,
    MessageSendEvent,
    SendErrorMessage,
    SendWarningMessage,
)
from triolight.connection import LARGEST_PONG, ProtocolFault
from triolight.errors import DisconnectCode
from triolight.logger import Level
from triolight.manager.ending import Ending, warning
from triolight.manager.entry import Agenda, Entry, Hold, Log
from triolight.manager.pulling import Pulling
from triolight.manager.roster import Roster
from triolight.manager.routing import Handlers
from triolight.manager.seams import Seat
from triolight.messages import ALL_CHANNELS, Error, Init, Message, Ping, Pong, UnknownMessage, Warning
from triolight.policy import COST_OF_WORDS
from triolight.text import printable

HANDLER_LIMIT_BYTES: Final = 4 * 1024 * 1024
"""Bytes queued for a peer from which on a handler's next message ends the connection (a channel message is never
dropped): twice the largest legal batch, so that only a peer that does not read gets there."""


class Acting:
    """Does what handlers want, and what control messages ask for."""

    __slots__ = ("_agenda", "_ending", "_handlers", "_log", "_pulling", "_roster", "_seat", "events_dropped")

    def __init__(
        self,
        seat: Seat,
        agenda: Agenda,
        log: Log,
        roster: Roster,
        handlers: Handlers,
        ending: Ending,
        pulling: Pulling,
    ) -> None:
        self._seat: Final = seat
        self._pulling: Final = pulling
        self._agenda: Final = agenda
        self._roster: Final = roster
        self._handlers: Final = handlers
        self._ending: Final = ending
        self._log: Final = log
        self.events_dropped = 0
        """Events for nodes that were not connected (any more), or for which too much waited."""

    def act(self, source: Entry, action: ErrorAction | bool, refused: bool = False) -> None:
        """Does what a handler returned. `refused`: in answer to `peer_connected`, so that it ends in any case."""
        if source.reason is not None or isinstance(action, bool):
            return
        match action:
            case DisconnectPeer(message=message, reason=words):
                reason = reasons.by_handler(message.data if message else words, refused)
                self._ending.end(source, reason, "the reason" if message is None else message)
            case DisconnectPeerWithWarning(message=message):
                self._ending.end(source, reasons.by_handler(message.data, refused), message)
            case SendErrorMessage(message=message):
                self._log(Level.DEBUG, "a handler sends an error", source, text=printable(message.data))
                self._say(source, message, refused)
            case SendWarningMessage(message=message, level=level):
                self._log(level, "a handler sends a warning", source, text=printable(message.data))
                self._say(source, message, refused)
            case IgnoreError(reason=words):
                self._log(Level.DEBUG, "a handler ignores an error", source, text=printable(words))
            case IgnoreAndLog(level=level, reason=words):
                self._log(level, "a handler ignores an error", source, text=printable(words))
            case IgnoreDuplicateGossip():
                pass
        if refused and source.reason is None:
            self._ending.end(source, reasons.by_handler("refused by a handler", refused))

    def do(self, event: MessageSendEvent) -> None:
        """Does what a handler has pushed."""
        if isinstance(event, GossipWaits):
            self._pulling.wake(event.node_ids)
            return
        entry = self._roster.connected.get(event.node_id)
        if entry is None:
            self.events_dropped += 1
            words = "an event for a node that is not connected was dropped"
            self._log(Level.DEBUG, words, None, node_id=event.node_id.hex())
        elif isinstance(event, HandleError):
            self.act(entry, event.action)
        elif entry.connection.owed_bytes > event.most_waiting:
            # It says itself that it may be lost: whoever it is for shall not be ended for reading slowly.
            self.events_dropped += 1
            self._log(Level.DEBUG, "a message is dropped: too much waits for the peer", entry)
            if event.on_dropped is not None:
                event.on_dropped()
        else:
            self._send(entry, event.messages, event.caused)

    def send(self, source: Entry, *messages: Message) -> None:
        """An answer to the peer, in a handler's name."""
        self._send(source, messages)

    def charge(self, source: Entry, cost: int, work: int = 0) -> None:
        """The peer has caused a cost that its own bytes do not pay for; if it has overdrawn, it is not read from."""
        self._agenda.work += work
        driving = self._seat.driving
        if driving.allowance is None:
            return
        seconds = source.account.charge(driving.allowance, cost, driving.clock())
        if seconds is not None and not source.held & Hold.THROTTLED:
            source.held |= Hold.THROTTLED
            driving.observer.peer_throttled(source.descriptor, seconds)

    def hold(self, source: Entry) -> None:
        """The routing handler has too much of the peer."""
        source.held |= Hold.BY_HANDLER

    def warn(self, source: Entry, words: str) -> None:
        """The peer hears what was wrong, and stays."""
        self._log(Level.DEBUG, "we send a warning", source, text=words)
        self._agenda.queue(source, (warning(words),), caused=True)

    def log(self, level: Level, words: str, source: Entry, /, **fields: Any) -> None:
        """For the log, with the node that the message came from."""
        self._log(level, words, source, **fields)

    @property
    def control(self) -> Mapping[type[Message], Callable[[Entry, Any], None]]:
        """The messages of BOLT 1 that a connection is kept by: they are no handler's, also when there is none."""
        return {
            Init: self._on_second_init,
            Error: self._on_error,
            Warning: self._on_warning,
            Ping: self._on_ping,
            Pong: self._on_pong,
        }

    def _send(self, entry: Entry, messages: Iterable[Message | UnknownMessage], caused: bool = True) -> None:
        try:
            encoded = [message.encode() for message in messages]
        except ValueError as error:
            self._ending.end(entry, reasons.message_too_long(error))
            return
        if entry.connection.owed_bytes >= HANDLER_LIMIT_BYTES:
            self._ending.end(entry, reasons.queue_full(entry.connection.owed_bytes))
            return
        self._agenda.queue(entry, encoded, caused)

    def _say(self, entry: Entry, message: Error | Warning, refused: bool) -> None:
        if refused:
            # Whatever it said, a handler that answers peer_connected with an action has refused: these are its words.
            self._ending.end(entry, reasons.by_handler(message.data, refused), message)
        else:
            self._send(entry, (message,))

    def _on_second_init(self, entry: Entry, message: Init) -> None:
        raise ProtocolFault(DisconnectCode.SECOND_INIT, "a second Init")

    def _on_error(self, entry: Entry, message: Error) -> None:
        self.charge(entry, COST_OF_WORDS)
        words = entry.last_words = printable(message.data)
        self._log(Level.WARN, "the peer sent an error", entry, channel_id=message.channel_id.hex(), text=words)
        self._handlers.failed(entry.node_id, message)
        if message.channel_id == ALL_CHANNELS and entry.reason is None:
            # It has said its last word, and needs none of ours.
            self._ending.end(entry, reasons.peer_error(words), None)

    def _on_warning(self, entry: Entry, message: Warning) -> None:
        self.charge(entry, COST_OF_WORDS)
        words = entry.last_words = printable(message.data)
        self._log(Level.INFO, "the peer sent a warning", entry, channel_id=message.channel_id.hex(), text=words)

    def _on_ping(self, entry: Entry, message: Ping) -> None:
        if message.num_pong_bytes <= LARGEST_PONG:
            self.charge(entry, message.num_pong_bytes)
            entry.connection.queue_pong(message.num_pong_bytes)
            self._agenda.note(entry)

    def _on_pong(self, entry: Entry, message: Pong) -> None:
        ping = entry.connection.pong_received(len(message.ignored))
        driving = self._seat.driving
        driving.observer.pong_received(entry.descriptor, ping, driving.clock())
