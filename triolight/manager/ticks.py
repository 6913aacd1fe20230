"""LDK's keepalive by counting ticks. Says what is due for an entry at a tick; knows no clock, and does nothing itself.

What has come since the last tick is read off the counters that the connection has anyway: bytes and messages are life,
pongs stand in its tally. So a message costs nothing here, and a driver that never ticks pays nothing.

    phase of the entry     at its first tick     at the next one, if nothing has changed
    -----------------      -----------------     ------------------------------------------------------
    handshake, Init        nothing               it is ended
    parked                 it is ended
    connected              a ping                no life: it is ended; life, but no pong: at the 6th it is
    its end is decided     nothing               its socket is closed, whatever it has not taken
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Final

from triolight import reasons
from triolight.errors import DisconnectReason
from triolight.manager.entry import Entry
from triolight.messages import Pong

KEEPALIVE_IGNORED: Final = 64
"""Zero bytes in a keepalive ping, as LDK sends it."""
MAX_AWAITING_PONG_TICKS: Final = 4
"""Ticks that a peer which talks, but sends no pong, is given. LDK multiplies by the number of connections, so that
strangers lengthen everyone's deadline; here they do not."""


class Due(Enum):
    """What a tick is for, when it ends nobody."""

    NOTHING = "nothing"
    PING = "ping"
    CLOSE = "close"


@dataclass(slots=True)
class _Count:
    ending: bool = False
    """Whether `ticks` are those of the end, and not of the beginning."""
    ticks: int = 0
    awaiting_pong: int = 0
    life: int = 0
    pongs: int = 0


class Ticks:
    """The counts, by entry."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[Entry, _Count] = {}

    def keep_only(self, entries: Collection[Entry]) -> None:
        """A tick begins: nothing is counted for anybody else."""
        self._counts = {entry: self._counts.get(entry) or _Count() for entry in entries}

    def look(self, entry: Entry, parked: bool) -> Due | DisconnectReason:
        """One more tick for this entry: what is due, or why it is ended."""
        count = self._counts[entry]
        if count.ending != (entry.reason is not None):
            count.ending, count.ticks = True, 0
        count.ticks += 1
        if entry.reason is not None:
            # Its last words are not taken: that cannot wait for ever.
            return Due.CLOSE if count.ticks > 1 else Due.NOTHING
        if parked:
            return reasons.duplicate()
        if entry.details is None:
            return reasons.two_ticks(bool(entry.node_id)) if count.ticks > 1 else Due.NOTHING
        return self._look_at_peer(entry, count)

    def _look_at_peer(self, entry: Entry, count: _Count) -> Due | DisconnectReason:
        connection = entry.connection
        life = connection.bytes_received + connection.messages_received
        received, count.life = life != count.life, life
        pongs = entry.received.get(Pong.type, (0, 0))[0]
        if pongs != count.pongs:
            count.pongs, count.awaiting_pong = pongs, 0
        if count.awaiting_pong == 0:
            count.awaiting_pong = 1
            return Due.PING
        if not received or count.awaiting_pong > MAX_AWAITING_PONG_TICKS:
            return reasons.no_pong_by_tick(received)
        count.awaiting_pong += 1
        return Due.NOTHING
