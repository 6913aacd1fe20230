"""Joining: a newcomer whose Init fits becomes its node's peer, waits, or goes, as the roster judges.

The order in which handlers and observer are told is a promise: who makes room is told of first, then the handlers are
asked about the newcomer, each in its turn; those that had accepted one that another refuses hear of its end; and the
observer hears of a peer when every handler has accepted it.
"""

from __future__ import annotations

from typing import Final

from triolight import reasons
from triolight.actions import DisconnectPeer, ErrorAction
from triolight.connection import init_features
from triolight.features import Features
from triolight.handlers import BaseMessageHandler
from triolight.logger import Level
from triolight.manager.acting import Acting
from triolight.manager.ending import Ending
from triolight.manager.entry import Agenda, Entry, Log
from triolight.manager.greeting import kept_init
from triolight.manager.mistakes import ask
from triolight.manager.roster import Roster, Verdict
from triolight.manager.routing import Handlers
from triolight.manager.seams import PeerDetails, Seat
from triolight.messages import Init


class Joining:
    """Carries out what the roster says of those whose Inits fit. Has no state of its own."""

    __slots__ = ("_acting", "_agenda", "_ending", "_handlers", "_log", "_roster", "_seat")

    def __init__(
        self, seat: Seat, agenda: Agenda, log: Log, roster: Roster, handlers: Handlers, ending: Ending, acting: Acting
    ) -> None:
        self._seat: Final = seat
        self._agenda: Final = agenda
        self._log: Final = log
        self._roster: Final = roster
        self._handlers: Final = handlers
        self._ending: Final = ending
        self._acting: Final = acting

    def join(self, entry: Entry, init: Init, features: Features) -> None:
        """The newcomer is connected, parked or ended, and so is the one that is there."""
        roster, driving = self._roster, self._seat.driving
        verdict = roster.judge(entry, driving.duplicates, driving.clock())
        match verdict:
            case Verdict.TAKE:
                self.connect(entry, init, features)
            case Verdict.REFUSE:
                self._ending.end(entry, reasons.duplicate())
            case Verdict.PARK:
                self._park(entry)
            case Verdict.REPLACE | Verdict.REPLACE_AND_PARK:
                other = roster.connected[entry.node_id]
                self._demote(other)
                if not self.connect(entry, init, features):
                    # Its end shall not leave us with none.
                    roster.orphan(other)
                elif verdict is Verdict.REPLACE:
                    self._ending.end(other, reasons.duplicate())

    def settle(self) -> None:
        """Those that are parked and have nobody to wait for any more take the empty place, or go if it is taken."""
        for entry, free in self._roster.settle():
            if not free or entry.init is None:
                self._ending.end(entry, reasons.duplicate())
                continue
            self._roster.unpark(entry)
            self.connect(entry, entry.init, init_features(entry.init))
            self._agenda.mark(entry)

    def connect(self, entry: Entry, init: Init, features: Features) -> bool:
        """Asks the handlers, and tells the observer. False if a handler refuses it; its end is decided then."""
        accepted: list[BaseMessageHandler] = []
        for handler in self._handlers.all:
            self._roster.admitting = entry
            try:
                answer: ErrorAction | bool | None = ask(handler, "peer_connected", entry.node_id, init, entry.inbound)
            finally:
                self._roster.admitting = None
            action: ErrorAction | None = None
            if answer is False:
                action = DisconnectPeer(reason="refused by a handler")
            elif answer is not True:
                action = answer
            if action is None:
                accepted.append(handler)
                if entry.reason is None:
                    continue
            # It was refused, or somebody has ended it meanwhile, from inside of this call.
            for earlier in accepted:
                ask(earlier, "peer_disconnected", entry.node_id)
            if action is not None:
                self._acting.act(entry, action, refused=True)
            return False
        driving = self._seat.driving
        # Handlers have heard it whole; what stays is bounded.
        init = entry.init = kept_init(init)
        details = PeerDetails(entry.node_id, entry.address, init, entry.inbound)
        self._roster.connect(entry, details, driving.clock())
        if self._log.level <= Level.INFO:
            self._log(Level.INFO, "connected", entry, inbound=entry.inbound, features=features.shown())
        driving.observer.peer_connected(entry.descriptor, details)
        return True

    def _demote(self, entry: Entry) -> None:
        """From connected to parked: it may yet be the one that the other side keeps."""
        self._roster.demote(entry)
        entry.connection.pings.clear()
        self._seat.driving.observer.peer_demoted(entry.descriptor, reasons.duplicate())
        self._handlers.disconnected(entry.node_id)
        if entry.reason is None:  # a handler may have had it ended, from inside of this call
            self._park(entry)

    def _park(self, entry: Entry) -> None:
        """The other side may choose otherwise, and end the one that we keep: then this one is needed."""
        earlier = self._roster.parked.get(entry.node_id)
        if earlier is not None:
            self._ending.end(earlier, reasons.duplicate())
        self._roster.park(entry)
        self._agenda.mark(entry)
        self._seat.driving.observer.peer_parked(entry.descriptor)
