"""The parts of one open block, by name. Nothing else knows them all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from triolight.logger import Area
from triolight.peer_manager import PeerManager
from triolight.shell.admission import Admission
from triolight.shell.events import EventsIn
from triolight.shell.inboxes import Inboxes
from triolight.shell.link import Link, Session
from triolight.shell.newcomers import Waiting
from triolight.shell.news import News, PeerEvent
from triolight.shell.peer import Present
from triolight.shell.statistics import Totals
from triolight.shell.watch import Moment, Timers


class Parts(NamedTuple):
    """What one block is made of: each owns its state, and is handed to whoever needs it."""

    manager: PeerManager
    events_in: EventsIn
    moment: Moment
    timers: Timers[Link | Session]
    present: Present
    admission: Admission
    inboxes: Inboxes
    news: News[PeerEvent]
    newcomers: Waiting
    totals: Totals
    log: Area
    unix_ns: Callable[[], int]
