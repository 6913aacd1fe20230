"""Link and Session: a stream, and a peer on it. The link's task owns the stream from accept or dial to the close.

A link has one session or none. It has none before the peer's Init was accepted, and none while it is parked: another
connection with the same node was kept, and took the peer away. If that one dies, the link gets a new session, and so
its users a new Peer; what was meant for the old one never reaches the new one.
"""

from __future__ import annotations

import math
from typing import Any, Final, cast

import trio

from triolight.address import Address
from triolight.descriptor import StreamDescriptor
from triolight.errors import DisconnectReason
from triolight.latch import Latch
from triolight.messages import Init
from triolight.peer_manager import SEND_LIMIT_BYTES, PeerDetails, SocketDescriptor
from triolight.shell.admission import Place
from triolight.shell.inboxes import Mailbox
from triolight.shell.pings import Pings
from triolight.shell.watch import Approach, Arrival, Deadlines, Phase, Timed, Watch
from triolight.tally import Tally

NO_TRAFFIC: Final[tuple[Tally, Tally]] = ({}, {})
"""Of what has not ended. Nobody writes into it: tallies are the connection's."""


class Room:
    """The bytes of messages that are on their way to the pump: reserved, then queued there or given back."""

    __slots__ = ("_freed", "_reserved")

    def __init__(self) -> None:
        self._reserved = 0
        self._freed: trio.Event | None = None
        """While somebody waits for room."""

    @property
    def reserved(self) -> int:
        return self._reserved

    def is_free(self, queued: int) -> bool:
        """Whether more may be sent, while so many bytes wait in the manager's queue."""
        return queued + self._reserved < SEND_LIMIT_BYTES

    def reserve(self, size: int) -> None:
        self._reserved += size

    def give_back(self, size: int) -> None:
        """They are queued now."""
        self._reserved -= size

    def cancel(self, size: int) -> None:
        """They will not be sent: there may be room for somebody else."""
        self._reserved -= size
        self.wake()

    async def wait(self) -> None:
        """Until there may be more of it, or the peer has ended."""
        if self._freed is None:
            self._freed = trio.Event()
        await self._freed.wait()

    def wake(self) -> None:
        """Whoever waits looks again."""
        if self._freed is not None:
            self._freed.set()
            self._freed = None


class Link(Timed):
    """One stream."""

    __slots__ = (
        "abandoned",
        "address",
        "approach",
        "arrived",
        "counts",
        "deadlines",
        "descriptor",
        "goodbye_at",
        "inbound",
        "init",
        "node_id",
        "outcome",
        "peer",
        "place",
        "reason",
        "session",
        "survivor",
        "traffic",
    )

    def __init__(
        self,
        stream: trio.abc.Stream,
        node_id: bytes | None,
        address: Address | None,
        place: Place | None,
        deadlines: Deadlines,
        until: float,
    ) -> None:
        """`node_id`: whom we dialled; None: we did not. `until`: when the handshake has to be done."""
        super().__init__()
        self.descriptor: Final = StreamDescriptor(stream, self)
        self.node_id = node_id
        """Whom we dialled, or who has proven to be at the other end; None: nobody has yet."""
        self.inbound: Final = node_id is None
        self.address: Final = address
        self.place: Final = place
        """Its place among the strangers; None for one that we dialled."""
        self.deadlines: Final = deadlines
        self.approach: Final = Approach(deadlines, until)
        self.session: Session | None = None
        """The peer on it, also after the end of both; None while it is parked."""
        self.peer: Any = None
        """That one as its users hold it."""
        self.survivor: Any = None
        """The peer on the connection that was kept instead, when it was parked."""
        self.abandoned = False
        """Whoever dialled it does not wait for it any more: it is about to end."""
        self.arrived: Arrival | None = None
        """When what the manager was given last was read."""
        self.outcome: Final = Latch()
        """Connected, or parked, or neither ever."""
        self.init: Init | None = None
        self.reason: DisconnectReason | None = None
        """Why it ends; None while that is not decided."""
        self.goodbye_at = math.inf
        """When its last words have to be written."""
        self.counts: tuple[int, int, int, int] = (0, 0, 0, 0)
        """At the end: messages received and sent, bytes received and sent."""
        self.traffic: tuple[Tally, Tally] = NO_TRAFFIC
        """The same for messages, by type."""

    @property
    def is_parked(self) -> bool:
        """Whether another connection with the same node was kept, and this one waits in case that one dies."""
        return self.session is None and self.approach.phase is Phase.PARKED


class Session(Timed):
    """One peer's life on a link, from its accepted Init on. It outlives the link, and does not know it."""

    __slots__ = (
        "counts",
        "departed",
        "descriptor",
        "details",
        "ended",
        "gone",
        "mailbox",
        "pings",
        "reason",
        "room",
        "throttles",
        "traffic",
        "watch",
    )

    def __init__(self, link: Link, details: PeerDetails, mailbox: Mailbox, now: float) -> None:
        super().__init__()
        self.descriptor: Final = link.descriptor
        self.details: Final = details
        self.pings: Final = Pings()
        self.room: Final = Room()
        self.mailbox: Final = mailbox
        self.watch: Final = Watch(link.deadlines, now)
        self.counts: tuple[int, int, int, int] = (0, 0, 0, 0)
        self.traffic: tuple[Tally, Tally] = NO_TRAFFIC
        """As of its link, at its end."""
        self.throttles = 0
        """How often the policy's allowance has paused the reading."""
        self.departed = False
        """It has hung up, behind what our own subscribers do not take."""
        self.reason: DisconnectReason | None = None
        """Why it has ended; None while it has not."""
        self.ended: Final = Latch()
        """`reason` is known."""
        self.gone: Final = Latch()
        """Its stream is closed, or is another session's."""


def link_of(descriptor: SocketDescriptor) -> Link:
    """The link of a descriptor that a link has made, until the manager has forgotten it and all its tasks are done: see
    `unlink`."""
    link: Link = cast("StreamDescriptor", descriptor).owner
    return link


def unlink(link: Link) -> None:
    """Nobody will ask for it any more by its descriptor: what has ended shall leave nothing to the garbage collector,
    whose rounds everybody has to wait for."""
    link.descriptor.owner = None
