"""Reading: from the bytes of one connection to its acts, its Init, and one message after the other to routing.

Stops in the middle of what came when the peer owes us the reading of too much, when its reading is held back, when its
turn is over, and for good when its end is decided. Writes nothing.
"""

from __future__ import annotations

from typing import Final

from triolight import reasons
from triolight.compiled import mypyc_attr
from triolight.connection import OUTPUT_PAUSE_BYTES, ProtocolFault, decode_init, init_features
from triolight.errors import DisconnectCode, DisconnectReason
from triolight.manager.ending import Ending
from triolight.manager.entry import Agenda, Entry, Hold
from triolight.manager.greeting import Greeting
from triolight.manager.joining import Joining
from triolight.manager.roster import Roster
from triolight.manager.routing import Routing
from triolight.manager.seams import WAIT, Seat
from triolight.messages import Init
from triolight.noise import HandshakeFailed
from triolight.tally import count

_FAILED_ACTS: Final = (DisconnectCode.ACT_ONE_FAILED, DisconnectCode.ACT_TWO_FAILED, DisconnectCode.ACT_THREE_FAILED)


@mypyc_attr(allow_interpreted_subclasses=True)
class Reading:
    """Reads entries. Its own state is their `init` and `unread`."""

    __slots__ = ("_agenda", "_ending", "_greeting", "_joining", "_roster", "_routing", "_seat")

    def __init__(
        self,
        seat: Seat,
        agenda: Agenda,
        roster: Roster,
        routing: Routing[Entry],
        greeting: Greeting,
        ending: Ending,
        joining: Joining,
    ) -> None:
        self._seat: Final = seat
        self._agenda: Final = agenda
        self._roster: Final = roster
        self._routing: Final = routing
        self._greeting: Final = greeting
        self._ending: Final = ending
        self._joining: Final = joining

    def read(self, entry: Entry) -> None:
        """Handles what has come, as far as it may. PeerHandleError: the connection is given up, without a word."""
        connection = entry.connection
        if not connection.established and not self.advance(entry):
            return
        entry.unread = False
        agenda = self._agenda
        turn_work = self._seat.driving.turn_work
        limit = None if turn_work is None else agenda.work + turn_work
        routing = self._routing
        try:
            while True:
                if connection.caused_bytes > OUTPUT_PAUSE_BYTES or entry.held:  # over_budget, without the call
                    entry.unread = True
                    break
                if limit is not None and agenda.work >= limit:
                    entry.unread = True
                    agenda.leave_over(entry)
                    break
                if connection.opened:  # what `next_message` does, without the call
                    data = connection.opened.pop()
                    if len(data) < 2:
                        raise connection.no_type(data)
                else:
                    following = connection.next_message()
                    if following is None:
                        break
                    data = following
                agenda.work += 1 + (len(data) >> 12)
                if entry.details is not None:
                    routing.receive(entry, data)
                else:
                    self._receive_init(entry, data)
                if entry.reason is not None:
                    break
        except ProtocolFault as fault:
            if entry.init is None and fault.code is not DisconnectCode.INIT_MALFORMED:
                # Before its Init nothing may be said: as after any other first message.
                raise self._ending.give_up(entry, fault.code, fault.words) from None
            self._ending.end(entry, reasons.fault(fault.code, fault.words))
        finally:
            if entry.unread and connection.unread_bytes == 0:
                entry.unread = False
                agenda.finish(entry)

    def advance(self, entry: Entry) -> bool:
        """Goes on with the handshake. True once it is done."""
        connection = entry.connection
        self._agenda.work += 1
        before = connection.act
        try:
            node_id = connection.advance_handshake()
        except HandshakeFailed as error:
            raise self._ending.give_up(entry, _FAILED_ACTS[error.act - 1], str(error)) from None
        if connection.act != before:
            # Three acts of public-key work, while a message costs microseconds: count them as what they are.
            self._agenda.work += 16
            self._agenda.mark(entry)
        if node_id is None:
            return False
        if node_id == self._roster.our_node_id:
            raise self._ending.give_up(entry, DisconnectCode.ACT_THREE_FAILED, "its node id is our own")
        driving = self._seat.driving
        self._roster.proven(entry, node_id)
        if self._roster.refuses_early(node_id, driving.duplicates):
            raise self._ending.give_up(entry, DisconnectCode.DUPLICATE, reasons.duplicate().message)
        features = self._routing.handlers.init_features(node_id)
        connection.queue(self._greeting.our_init(features, entry.address, entry.inbound).encode())
        self._agenda.mark(entry)
        driving.observer.handshake_done(entry.descriptor, node_id)
        return True

    def _receive_init(self, entry: Entry, data: bytes) -> None:
        count(entry.received, Init.type, len(data))
        try:
            init = decode_init(data)
        except ProtocolFault as fault:
            if fault.code is DisconnectCode.NOT_INIT_FIRST:
                raise self._ending.give_up(entry, fault.code, fault.words) from None
            # Its Init has come, such as it was: from now on it may be told what is wrong.
            raise
        entry.init = init
        handlers = self._routing.handlers
        features = self._greeting.features_of(init, handlers.init_features(entry.node_id))
        if handlers.life is not None:
            handlers.life(entry.node_id)
        answer = self._seat.driving.observer.may_connect(entry.descriptor, entry.node_id, entry.inbound)
        if answer is WAIT:
            entry.held |= Hold.UNDECIDED
        elif answer is not None:
            self._ending.end(entry, answer)
        else:
            self._roster.init_accepted(entry)
            self._joining.join(entry, init, features)

    def decide(self, entry: Entry, refusal: DisconnectReason | None) -> None:
        """What was answered late. Of one that does not wait for it (any more), nothing happens."""
        init = entry.init
        if not entry.held & Hold.UNDECIDED or entry.reason is not None or init is None:
            return
        entry.held ^= Hold.UNDECIDED
        if refusal is not None:
            self._ending.end(entry, refusal)
            return
        self._roster.init_accepted(entry)
        self._joining.join(entry, init, init_features(init))
        self._agenda.mark(entry)
