"""What follows from handlers' answers and events at a back. It has what routing asks of its host; nothing else is here.

What a peer costs is held against it here, as in one process: whoever overdraws its allowance, or has said more than the
routing handler can take, is not read from for a while. Its front is told so, and what it has said already waits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import trio

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
from triolight.cluster.remote import BY_ALLOWANCE, BY_HANDLER, RemoteSession
from triolight.logger import Area, Level
from triolight.manager.ending import warning
from triolight.manager.pulling import ROOM_BYTES
from triolight.manager.routing import Handlers
from triolight.messages import Error, Message, UnknownMessage, Warning
from triolight.policy import COST_OF_UNIT, Allowance
from triolight.text import printable


class Acting:
    """Does what handlers want. `work_off` is called with a session of which more may be heard again."""

    def __init__(
        self,
        handlers: Handlers,
        by_node: Mapping[bytes, RemoteSession],
        allowance: Allowance | None,
        log: Area,
        work_off: Callable[[RemoteSession], None],
    ) -> None:
        self._handlers: Final = handlers
        self._by_node: Final = by_node
        self._allowance: Final = allowance
        self._log: Final = log
        self._work_off: Final = work_off
        self._pushed = trio.Event()
        self.work = 0
        """Units since somebody has set it to nothing: for whoever gives other tasks their turn."""
        self.nursery: trio.Nursery
        """Where those wait who have overdrawn."""

    @property
    def control(self) -> Mapping[type[Message], Callable[[RemoteSession, Any], None]]:
        """What no handler is asked about."""
        return {Error: self._on_error, Warning: self._on_warning}

    # Routing's host.

    def act(self, source: RemoteSession, action: ErrorAction | bool, /) -> None:
        if source.reason is not None or isinstance(action, bool):
            return
        match action:
            case DisconnectPeer(message=message, reason=words):
                if message is not None:
                    self.send(source, message)
                source.end(reasons.by_handler(message.data if message else words, False))
            case DisconnectPeerWithWarning(message=message):
                source.end(reasons.by_handler(message.data, False))
            case SendErrorMessage(message=message):
                self.send(source, message)
            case SendWarningMessage(message=message, level=level):
                self._log(level, "a handler sends a warning", source.node_id, text=printable(message.data))
                self.send(source, message)
            case IgnoreAndLog(level=level, reason=words):
                self._log(level, "a handler ignores an error", source.node_id, text=printable(words))
            case IgnoreError() | IgnoreDuplicateGossip():
                pass

    def send(self, source: RemoteSession, *messages: Message | UnknownMessage) -> None:
        try:
            encoded = [message.encode() for message in messages]
        except ValueError as error:
            source.end(reasons.message_too_long(error))
            return
        if not source.lane.writer.has_room:
            source.end(reasons.queue_full(source.on_the_way))
            return
        source.tell(encoded)

    def charge(self, source: RemoteSession, cost: int, work: int = 0) -> None:
        self.work += work
        if self._allowance is None:
            return
        seconds = source.restraint.account.charge(self._allowance, cost, trio.current_time())
        if seconds is not None and source.hold(BY_ALLOWANCE):
            source.restraint.throttled += 1
            self.nursery.start_soon(self._release_after, source, seconds)

    @trio.lowlevel.enable_ki_protection
    async def _release_after(self, source: RemoteSession, seconds: float) -> None:
        await trio.sleep(seconds)
        self._release(source, BY_ALLOWANCE)

    def _release(self, source: RemoteSession, why: int) -> None:
        if source.restraint.reasons & why:
            source.release(why)
            self._work_off(source)

    def hold(self, source: RemoteSession) -> None:
        source.hold(BY_HANDLER)

    def warn(self, source: RemoteSession, words: str) -> None:
        self._log(Level.DEBUG, "we send a warning", source.node_id, text=words)
        source.tell([warning(words)])

    def log(self, level: Level, words: str, source: RemoteSession, /, **fields: Any) -> None:
        self._log(level, words, source.node_id, **fields)

    def _on_error(self, session: RemoteSession, message: Error) -> None:
        words = printable(message.data)
        self._log(Level.WARN, "the peer sent an error", session.node_id, text=words)
        self._handlers.failed(session.node_id, message)

    def _on_warning(self, session: RemoteSession, message: Warning) -> None:
        self._log(Level.INFO, "the peer sent a warning", session.node_id, text=printable(message.data))

    # What handlers push, and what they charge.

    def pushed(self) -> None:
        """There is an event."""
        self._pushed.set()

    def charged(self, node_id: bytes, units: int, ours: bool) -> None:
        """A handler says what a peer has caused."""
        session = self._by_node.get(node_id)
        if session is None or ours:
            self.work += units
        else:
            self.charge(session, units * COST_OF_UNIT, units)

    @trio.lowlevel.enable_ki_protection
    async def take_events(self) -> None:
        """Until it is cancelled."""
        while True:
            await self._pushed.wait()
            self._pushed = trio.Event()  # here alone: whoever else takes events would leave this one waiting
            self.drain_events()
            await trio.lowlevel.checkpoint()

    def drain_events(self) -> None:
        """Does what they have pushed."""
        for event in self._handlers.pending_events():
            self._do(event)

    def _do(self, event: MessageSendEvent) -> None:
        if isinstance(event, GossipWaits):
            self._wake(event.node_ids)
            return
        session = self._by_node.get(event.node_id)
        if session is None:
            self._log(Level.DEBUG, "an event for a node that is not connected was dropped", event.node_id)
        elif isinstance(event, HandleError):
            self.act(session, event.action)
        elif session.on_the_way <= event.most_waiting:
            self.send(session, *event.messages)
        else:
            self._log(Level.DEBUG, "a message is dropped: too much waits for the peer", event.node_id)
            if event.on_dropped is not None:
                event.on_dropped()

    # Gossip that handlers have for peers.

    def _wake(self, node_ids: Sequence[bytes]) -> None:
        queue_high = self._handlers.queue_high
        for node_id in node_ids:
            session = self._by_node.get(node_id)
            if session is None:
                continue
            if queue_high is None or not queue_high(node_id):
                self._release(session, BY_HANDLER)
            session.pulling = self._handlers.gossip is not None
            self.pull(session)

    def pull(self, session: RemoteSession) -> None:
        """Asks for more if nothing is on its way to the peer."""
        gossip = self._handlers.gossip
        if not session.pulling or gossip is None or session.on_the_way or not session.lane.writer.has_room:
            return
        given = gossip(session.node_id, ROOM_BYTES)
        if given:
            self.work += len(given)
            session.tell([*given])
        else:
            session.pulling = False
