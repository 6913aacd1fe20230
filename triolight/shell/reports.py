"""Reports: what the PeerManager tells its driver, passed on to who owns it. Owns nothing itself.

Called from inside the manager, and calls nothing of it but `hold_reading` and what only asks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from triolight.connection import OutstandingPing
from triolight.errors import DisconnectCode, DisconnectReason
from triolight.logger import Level
from triolight.manager.seams import WAIT, MayConnect
from triolight.messages import AnyMessage, Init
from triolight.peer_manager import PARKED_SECONDS, PeerDetails, PeerObserver, SocketDescriptor
from triolight.shell.admission import Place
from triolight.shell.inboxes import Mailbox
from triolight.shell.link import Link, Session, link_of
from triolight.shell.newcomers import Newcomer
from triolight.shell.news import PeerConnected, PeerDisconnected
from triolight.shell.parts import Parts
from triolight.shell.peer import Peer, peer_of
from triolight.shell.watch import Arrival, Phase


class Reports(PeerObserver):
    """The manager's observer."""

    def __init__(
        self,
        parts: Parts,
        goodbye_seconds: float,
        appeared: Callable[[bytes], None],
        end: Callable[[Session, DisconnectReason], None],
    ) -> None:
        """`appeared` is told the node id of each peer; `end` has a peer ended, soon."""
        self._parts: Final = parts
        self._goodbye_seconds: Final = goodbye_seconds
        self._appeared: Final = appeared
        self._end: Final = end

    # How a connection comes to be a peer.

    def handshake_done(self, descriptor: SocketDescriptor, node_id: bytes) -> None:
        link = link_of(descriptor)
        link.node_id = node_id
        self._enter(link, Phase.INIT, link.deadlines.init)

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> MayConnect:
        parts, link = self._parts, link_of(descriptor)
        refusal = self.refusal(link, node_id)
        if refusal is not None or not parts.newcomers.open:
            return refusal
        parts.newcomers.add(link, Newcomer(link, node_id, parts.events_in))
        self._enter(link, Phase.DECISION, link.deadlines.init)
        return WAIT

    def refusal(self, link: Link, node_id: bytes) -> DisconnectReason | None:
        """The policy's word on a newcomer. Of one that waits it is asked again when it is let in: there may be others
        by then."""
        parts = self._parts
        # Of two connections with one node one goes: the newcomer takes no place of its own.
        protected = node_id in parts.present.sessions or parts.manager.protects(node_id)
        return parts.admission.peer(node_id, link.address, link.inbound, protected, link.place)

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        parts, link = self._parts, link_of(descriptor)
        link.init = details.init
        mailbox = Mailbox(parts.inboxes, None if link.place is None else Place(link.place.source))
        session = link.session = mailbox.session = Session(link, details, mailbox, parts.moment.now)
        peer = link.peer = mailbox.giver = Peer(parts.manager, parts.events_in, parts.inboxes, session)
        parts.present.sessions[details.node_id] = session
        leaver = parts.admission.peer_joined(details.inbound, details.node_id, _source_of(link))
        parts.admission.leave(link.place)
        self._appeared(details.node_id)
        parts.timers.stop(link)
        first = session.watch.connected(parts.moment.now)
        parts.timers.set(session, first, session.watch.slack(first))
        connected = PeerConnected(peer)
        parts.news.publish(connected)
        if mailbox.begin(connected, link.arrived, parts.moment.now):
            parts.timers.set(session, session.watch.held(parts.moment.now))
        link.outcome.open()
        if leaver is not None and leaver.node_id in parts.present.sessions:
            self._end(parts.present.sessions[leaver.node_id], leaver.reason)

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        link = link_of(descriptor)
        survivor = self._parts.present.sessions.get(link.node_id or b"")
        link.survivor = None if survivor is None else peer_of(survivor)
        self._enter(link, Phase.PARKED, PARKED_SECONDS)
        link.outcome.open()

    def _enter(self, link: Link, phase: Phase, seconds: float) -> None:
        until = self._parts.moment.now + seconds
        link.approach.enter(phase, until)
        self._parts.timers.set(link, until)

    # How it ends.

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        # The stream lives on for a moment, without a peer; should it get one again, that is a new one.
        link = link_of(descriptor)
        session, link.session, link.peer = link.session, None, None
        if session is not None:
            self._parts.admission.enter(link.place)
            self._session_ended(session, reason)
            session.gone.open()
            session.mailbox.close()

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        self.link_ended(link_of(descriptor), reason, init)

    def link_ended(self, link: Link, reason: DisconnectReason, init: Init | None) -> None:
        """Everyone who waits for anything of this link hears of its end, and its last words get their deadline."""
        parts = self._parts
        parts.newcomers.forget(link)
        link.init = init
        link.reason = reason
        link.goodbye_at = parts.moment.now + self._goodbye_seconds
        link.descriptor.end_by(link.goodbye_at)
        link.counts = parts.manager.connection_counts(link.descriptor) or link.counts
        link.traffic = parts.manager.traffic(link.descriptor) or link.traffic
        parts.timers.stop(link)
        if link.session is not None:
            self._session_ended(link.session, reason)
        else:
            parts.admission.failed(reason)
        link.outcome.open()

    def departed(self, session: Session) -> None:
        """It has hung up, and its last words wait for our own subscribers: from now on it counts as a stranger."""
        if session.departed:
            return
        session.departed = True
        parts, details = self._parts, session.details
        parts.present.departed += 1
        parts.admission.peer_departed(details.inbound, details.node_id, _source_of(link_of(session.descriptor)))
        parts.admission.enter(session.mailbox.place)

    def _session_ended(self, session: Session, reason: DisconnectReason) -> None:
        parts, mailbox, details = self._parts, session.mailbox, session.details
        session.reason = reason
        link = link_of(session.descriptor)
        session.counts = parts.manager.connection_counts(session.descriptor) or link.counts
        session.traffic = parts.manager.traffic(session.descriptor) or link.traffic
        parts.present.departed -= session.departed
        inbound = details.inbound and not session.departed
        parts.admission.peer_left(inbound, reason, details.node_id, _source_of(link))
        parts.admission.enter(mailbox.place)
        parts.totals.add_session(session)
        if mailbox.held_since is None:
            parts.timers.stop(session)
        else:
            # It is looked at when it would have been, and then as `Watch.after_end` says.
            parts.timers.set(session, parts.moment.now + link.deadlines.stall)
        if parts.present.sessions.get(details.node_id) is session:
            del parts.present.sessions[details.node_id]
        disconnected = PeerDisconnected(peer_of(session), reason)
        parts.news.publish(disconnected)
        mailbox.end(disconnected, Arrival(parts.moment.now, parts.unix_ns()))
        if reason.code is DisconnectCode.SUBSCRIBER_STALLED:
            mailbox.give_up()
        session.pings.end()
        session.room.wake()
        session.ended.open()

    # What happens meanwhile.

    def message_received(self, descriptor: SocketDescriptor, message: AnyMessage, data: bytes) -> None:
        link = link_of(descriptor)
        session, now = link.session, self._parts.moment.now
        if session is not None and session.mailbox.give(message, data, link.arrived, now):
            self._parts.manager.hold_reading(descriptor, True)
            self._parts.timers.set(session, session.watch.held(now))

    def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
        session = link_of(descriptor).session
        if session is not None:
            until = self._parts.moment.now + seconds
            if not session.throttles:
                session.descriptor.let_end_arrive()
            session.throttles += 1
            self._parts.timers.set(session, session.watch.throttled(self._parts.moment.now, until))
            words = "the peer costs more than it may; it is read more slowly"
            self._parts.log(Level.DEBUG, words, session.details.node_id)

    def pong_received(self, descriptor: SocketDescriptor, ping: OutstandingPing | None, now: float) -> None:
        session = link_of(descriptor).session
        if session is None:
            return
        session.watch.pong()
        if ping is not None:
            session.pings.answered(ping.token, now - ping.sent_at)
            return
        # Of a wrong length, most likely: whoever has given up waiting for one leaves the place to others.
        given_up = session.pings.given_up()
        if given_up is not None and self._parts.manager.forget_ping(descriptor, given_up):
            session.pings.forgotten(given_up)


def _source_of(link: Link) -> str | None:
    """What its peer is counted under besides the total: as it was when it came."""
    return None if link.place is None else link.place.source
