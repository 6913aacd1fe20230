"""What the manager knows of one connection, and of what is to be done: `Entry` and `Agenda`. Decides nothing.

Each field of an entry is written by the part that is named beside it. Whoever is marked on the agenda is written before
`process_events` returns; the driver is woken from outside of any call of the manager only, since whoever makes a call
is about to process events.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final

from triolight.address import Address
from triolight.batch import Batch
from triolight.connection import Connection
from triolight.errors import DisconnectReason
from triolight.logger import Level, Logger, Record, wanted_level
from triolight.manager.seams import PeerDetails, Seat, SocketDescriptor
from triolight.messages import Init
from triolight.policy import Account
from triolight.tally import Tally


class Hold:
    """Why reading is held back, one bit each of `Entry.held`: set by driver, roster, acting, pulling and reading."""

    BY_DRIVER: Final = 1
    PARKED: Final = 2
    THROTTLED: Final = 4
    BY_HANDLER: Final = 8
    UNDECIDED: Final = 16
    BY_APPLICATION: Final = 32


class Entry:
    """One connection."""

    __slots__ = (
        "account",
        "address",
        "awaiting_space",
        "batch",
        "connection",
        "descriptor",
        "details",
        "held",
        "inbound",
        "init",
        "init_at",
        "last_words",
        "node_id",
        "pulling",
        "reading",
        "reason",
        "received",
        "send_data",
        "unread",
    )

    def __init__(
        self,
        descriptor: SocketDescriptor,
        send_data: Callable[[bytes, bool], int],
        connection: Connection,
        inbound: bool,
        address: Address | None,
    ) -> None:
        self.descriptor: Final = descriptor
        self.send_data: Final = send_data
        self.connection: Final = connection
        self.received: Final[Tally] = connection.received
        self.inbound: Final = inbound
        self.address: Final = address
        self.account: Final = Account()
        self.node_id = b""
        """The roster's: proven by the handshake; empty until then."""
        self.details: PeerDetails | None = None
        """The roster's: set while the peer is connected, its Init accepted, and the handlers know it."""
        self.init_at = 0.0
        """The roster's: when it was connected."""
        self.init: Init | None = None
        """The reading's: the peer's, set when it was decoded, accepted or not."""
        self.unread = False
        """The reading's: it stopped in the middle of what came."""
        self.held = 0
        """Why reading is held back: bits of `Hold`, each set by whom it is named after."""
        self.batch: Batch | None = None
        """The routing's: the commitment_signed messages that a start_batch announced, until all are here."""
        self.last_words = ""
        """The acting's: the text of its last warning or error, why it then goes, if it goes."""
        self.reason: DisconnectReason | None = None
        """The ending's: set when it was decided that the connection ends."""
        self.pulling = False
        """The pulling's: a handler may have gossip for it."""
        self.awaiting_space = False
        """The writing's: the descriptor took less than it was given; nothing is written until it has room."""
        self.reading = True
        """The writing's, and `read_event`'s: what the driver was told last."""

    @property
    def may_read(self) -> bool:
        return not (self.unread or self.held or self.reason is not None or self.connection.over_budget)

    @property
    def shown_id(self) -> bytes | None:
        """For the log: who proved it, or whom we dialled."""
        return self.node_id or (None if self.inbound else self.connection.dialled)


class Agenda:
    """What is to be done, in the order it came. As a context: a call of the manager is under way."""

    __slots__ = ("_seat", "_unfinished", "depth", "dirty", "pulls", "pushed", "work")

    def __init__(self, seat: Seat) -> None:
        self._seat: Final = seat
        self.dirty: dict[Entry, None] = {}
        """Those with something to write, to tell, or to end."""
        self._unfinished: dict[Entry, None] = {}
        """Those whose turn ended before their input did."""
        self.pulls: Final[OrderedDict[Entry, None]] = OrderedDict()
        """Those to be asked for in their turn whether a handler has gossip for them."""
        self.pushed = False
        """Whether a handler has pushed an event since they were taken."""
        self.depth = 0
        """How many calls of the manager are under way, one from inside another. Above 0 the driver is not woken."""
        self.work = 0
        """Work units since the start: reading counts messages and acts, routing what a message has besides."""

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *error: object) -> None:
        self.depth -= 1

    @property
    def waits(self) -> bool:
        """Whether there is anything that `process_events` would do."""
        return self.pushed or bool(self.dirty) or bool(self.pulls)

    def wake(self) -> None:
        """Has the driver process events soon, unless somebody is about to."""
        on_work = self._seat.driving.on_work
        if not self.depth and on_work is not None:
            on_work()

    def note(self, entry: Entry) -> None:
        """Marks without waking."""
        self.dirty[entry] = None

    def mark(self, entry: Entry) -> None:
        """This entry has to be looked at when events are processed: soon, if nobody is about to."""
        self.dirty[entry] = None
        self.wake()

    def queue(self, entry: Entry, encoded: Iterable[bytes], caused: bool = False) -> None:
        """Messages in a row, to be written. `caused`: they are the peer's doing."""
        if caused:
            for message in encoded:
                entry.connection.queue(message, caused=True)
        else:
            entry.connection.queue_all(encoded)
        self.mark(entry)

    def push(self) -> None:
        """A handler has an event."""
        self.pushed = True
        self.wake()

    def take(self) -> Iterable[Entry]:
        """Those that are marked; they are not any more."""
        taken, self.dirty = self.dirty, {}
        return taken

    def leave_over(self, entry: Entry) -> None:
        """Its turn ends here, its input does not."""
        self._unfinished[entry] = None

    def finish(self, entry: Entry) -> None:
        """Nothing of its input is left over."""
        self._unfinished.pop(entry, None)

    def forget(self, entry: Entry) -> None:
        """Nothing is to be done for it any more."""
        self.dirty.pop(entry, None)
        self.pulls.pop(entry, None)
        self._unfinished.pop(entry, None)

    def take_unfinished(self) -> list[SocketDescriptor]:
        """Those whose input was left over; they are known as such no more."""
        if not self._unfinished:
            return []
        found = [entry.descriptor for entry in self._unfinished]
        self._unfinished.clear()
        return found


class Log:
    """The logger, called for records that it wants, with the node that an entry is or shall be."""

    __slots__ = ("level", "logger")

    def __init__(self, logger: Logger) -> None:
        self.logger: Final = logger
        self.level: Final = wanted_level(logger)

    def __call__(self, level: Level, words: str, entry: Entry | None, **fields: Any) -> None:
        if level >= self.level:
            self.logger.log(Record(level, words, "peer_manager", entry.shown_id if entry else None, fields))
