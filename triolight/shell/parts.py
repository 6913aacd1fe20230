"""The parts of one open block, by name, and the snapshot that they make together. Nothing else knows them all."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from triolight.logger import Area
from triolight.peer_manager import PeerManager
from triolight.policy import Policy
from triolight.shell.admission import Admission
from triolight.shell.events import EventsIn
from triolight.shell.inboxes import Inboxes
from triolight.shell.link import Link, Session
from triolight.shell.news import News
from triolight.shell.peer import Present
from triolight.shell.statistics import PeersStatistics, Totals, queued_bytes
from triolight.shell.watch import Moment, Timers


@dataclass(frozen=True, slots=True)
class Parts:
    """What one block is made of: each owns its state, and is handed to whoever needs it."""

    manager: PeerManager
    events_in: EventsIn
    moment: Moment
    timers: Timers[Link | Session]
    present: Present
    admission: Admission
    inboxes: Inboxes
    news: News
    totals: Totals
    log: Area


def peers_statistics(parts: Parts, policy: Policy, dials: int, kept: dict[str, int]) -> PeersStatistics:
    """A snapshot of all, with as many `dials` under way and so many `kept` nodes in each state."""
    manager, admission, totals = parts.manager, parts.admission, parts.totals
    links = list(parts.present.links.values())
    sessions = list(parts.present.sessions.values())
    received, sent = totals.traffic(manager, links)
    return PeersStatistics(
        peers=len(sessions),
        inbound_peers=admission.inbound_peers,
        strangers=admission.strangers,
        dials=dials,
        kept=MappingProxyType(kept),
        received=received,
        sent=sent,
        queued_bytes=sum(queued_bytes(manager, link) for link in links),
        inbox_bytes=parts.inboxes.buffered,
        reading_paused=totals.pauses(sessions),
        throttled=totals.throttles(sessions),
        handler_events_dropped=manager.events_dropped,
        events_lost=parts.news.lost,
        handshake_failures=MappingProxyType(admission.failures),
        disconnects=MappingProxyType(admission.ends),
        decisions=MappingProxyType(policy.decisions),
    )
