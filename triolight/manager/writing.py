"""Writing: hands what waits to the descriptor, tells it whether to read, and closes it when the last word is out.

Alone in calling `send_data`. What is left of the input for lack of room is read on as soon as there is room again: at
once, or, for a driver that counts turns, at the entry's next one.
"""

from __future__ import annotations

from typing import Final

from triolight.manager.ending import Ending
from triolight.manager.entry import Agenda, Entry
from triolight.manager.pulling import Pulling
from triolight.manager.reading import Reading
from triolight.manager.roster import Roster
from triolight.manager.seams import Seat


class Writing:
    """Writes entries. Its own state is their `awaiting_space` and `reading`."""

    __slots__ = ("_agenda", "_ending", "_pulling", "_reading", "_roster", "_seat")

    def __init__(
        self, seat: Seat, agenda: Agenda, roster: Roster, ending: Ending, reading: Reading, pulling: Pulling
    ) -> None:
        self._seat: Final = seat
        self._agenda: Final = agenda
        self._roster: Final = roster
        self._ending: Final = ending
        self._reading: Final = reading
        self._pulling: Final = pulling

    def write(self, entry: Entry) -> bool:
        """Writes what waits, as far as the descriptor takes it; then goes on reading what was left for lack of room.
        Whether the descriptor has heard anything, or is nobody's any more."""
        connection, descriptor = entry.connection, entry.descriptor
        told = False
        if self._roster.by_descriptor.get(descriptor) is not entry:
            return True
        while True:
            while not entry.awaiting_space:
                data = connection.output()
                if not data:
                    if entry.pulling:
                        self._pulling.drained(entry)
                    break
                entry.reading = entry.may_read
                taken = entry.send_data(data, entry.reading)
                told = True
                connection.took(taken)
                entry.awaiting_space = taken < len(data)
            if not entry.unread or entry.held or entry.reason is not None or connection.over_budget:
                break
            if self._seat.driving.turn_work is not None:
                self._agenda.leave_over(entry)
                break
            self._reading.read(entry)
        if entry.reason is not None:
            if not entry.awaiting_space:
                self._ending.close(entry)
        elif entry.reading != entry.may_read:
            self._tell(entry)
            told = True
        return told

    def make_room(self, entry: Entry) -> None:
        """The descriptor has room again, and hears of it in any case."""
        entry.awaiting_space = False
        if not self.write(entry) and entry.reason is None:
            self._tell(entry)

    def _tell(self, entry: Entry) -> None:
        entry.reading = entry.may_read
        entry.send_data(b"", entry.reading)
