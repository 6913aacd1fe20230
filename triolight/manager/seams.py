"""The manager's seams: what it asks and tells, and who drives it. Types and defaults; decides nothing, knows no entry.

Below stand the driver's socket (`SocketDescriptor`), the driver's ears (`PeerObserver`), what a tape puts in between
(`Seams`), and all that comes with a driver as one frozen value (`Driving`), so that none of it can be left behind.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal, NamedTuple, Protocol, TypeAlias

from triolight.address import Address
from triolight.connection import OutstandingPing, RefuseFeatures, init_features
from triolight.errors import DisconnectReason
from triolight.features import Features
from triolight.handlers import MessageHandler
from triolight.logger import Logger
from triolight.messages import Init, Message, Registry, UnknownMessage
from triolight.noise import Handshake
from triolight.policy import Allowance, DuplicateRule


class SocketDescriptor(ABC):
    """One connection's socket, as the PeerManager sees it. One descriptor, one connection.

    Two descriptors are equal if they are the same connection; an equal one may be used again only after the old one is
    gone. Neither method may call back into the PeerManager.
    """

    __slots__ = ()

    @abstractmethod
    def send_data(self, data: bytes, resume_read: bool) -> int:
        """Takes bytes to write: how many it took, from 0 to len(data).

        After a short answer, `write_buffer_space_avail` has to follow once there is room. `resume_read` says whether
        `read_event` may be called (True) or must not be for now (False); empty `data` only says that.
        """

    @abstractmethod
    def disconnect_socket(self) -> None:
        """Ends the connection. What `send_data` took is still written first. The descriptor is forgotten.

        Again it does nothing, and `send_data` after it raises nothing.
        """

    @abstractmethod
    def __eq__(self, other: object) -> bool: ...

    @abstractmethod
    def __hash__(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PeerDetails:
    """A connected peer (Inits exchanged and accepted)."""

    node_id: bytes
    address: Address | None
    """What the driver gave as `remote_address`."""
    init: Init
    """Its Init. Of one that is larger than any node's, 8 KiB of features and 8 KiB of all else: see `kept_init`."""
    inbound: bool

    @property
    def features(self) -> Features:
        """Both bitfields of its Init. Made each time it is asked for."""
        return init_features(self.init)


class Wait(Enum):
    """The answer of who does not know yet."""

    WAIT = "wait"


WAIT: Final = Wait.WAIT
MayConnect: TypeAlias = DisconnectReason | Literal[Wait.WAIT] | None
"""Whether a peer may connect: a reason refuses it, None lets it in, WAIT has it wait."""


class PeerObserver:
    """What a driver can watch: called from inside the manager, must not call back into it, except for
    `hold_reading`. Defaults do nothing."""

    def handshake_done(self, descriptor: SocketDescriptor, node_id: bytes) -> None:
        """The three acts are done; the Inits are on their way."""

    def peer_connected(self, descriptor: SocketDescriptor, details: PeerDetails) -> None:
        """Init was accepted, by us and by every handler."""

    def peer_parked(self, descriptor: SocketDescriptor) -> None:
        """Another connection with this node was dialled at the same time, and stays. This one waits, unread, in case
        that one dies: end it after PARKED_SECONDS. `peer_connected` or `peer_ended` will follow."""

    def peer_demoted(self, descriptor: SocketDescriptor, reason: DisconnectReason) -> None:
        """A connected peer's connection gives way to another one, as its end would: the handlers have been told, or
        are about to be. `peer_parked` or `peer_ended` follows; if the other one dies at once, `peer_connected`."""

    def peer_ended(self, descriptor: SocketDescriptor, reason: DisconnectReason, init: Init | None) -> None:
        """Exactly once for each connection: the decision that it ends. Its last words may still have to be written,
        and `disconnect_socket` follows then. `init` is the peer's, if one came."""

    def message_received(self, descriptor: SocketDescriptor, message: Message | UnknownMessage, data: bytes) -> None:
        """A message after Init, before its handler sees it. `data` is it as it came, type bytes included."""

    def may_connect(self, descriptor: SocketDescriptor, node_id: bytes, inbound: bool) -> MayConnect:
        """The peer's Init fits ours; neither handlers nor a connection with the same node know of it yet. A reason
        refuses it. WAIT: it is not read, and hears nothing, until `PeerManager.decide`; see to it that this comes."""
        return None

    def peer_throttled(self, descriptor: SocketDescriptor, seconds: float) -> None:
        """The peer has overdrawn the allowance and is not read from: call `end_throttle` after so many seconds."""

    def pong_received(self, descriptor: SocketDescriptor, ping: OutstandingPing | None, now: float) -> None:
        """A pong, and the ping that it answers; None: it answers none."""


class Setup(NamedTuple):
    """What else a manager's behaviour follows from, besides what it is told and what it asks."""

    our_node_id: bytes
    networks: tuple[bytes, ...]
    messages: Registry
    handler: MessageHandler
    refuse_features: RefuseFeatures
    duplicates: DuplicateRule
    turn_work: int | None
    allowance: Allowance | None
    secrets: Callable[[], tuple[bytes, bytes, int]]
    """Node secret, `ephemeral_random_data`, and how many keys were made from it so far."""


class Driven(Protocol):
    """A manager that is driven, as far as its seams know it by name."""

    @property
    def logger(self) -> Logger: ...


class Seams:
    """Everything that a manager asks while it is driven, at the place where it asks. As it stands: nothing between.

    What a tape (``triolight.tape``) puts in between is called in place of what it was given.
    """

    def begin(self, manager: Driven, setup: Setup) -> None:
        """The manager is driven from here on; it has no connection."""

    def end(self, manager: Driven) -> None:
        """The last call of `drive`'s counterpart: no connection is left."""

    def handlers(self, handler: MessageHandler) -> MessageHandler:
        return handler

    def observer(self, observer: PeerObserver) -> PeerObserver:
        return observer

    def clock(self, clock: Callable[[], float]) -> Callable[[], float]:
        return clock

    def handshake(self, descriptor: SocketDescriptor, handshake: Handshake) -> Handshake:
        """A new connection's; its opener and sealer come from it."""
        return handshake

    def send_data(self, descriptor: SocketDescriptor) -> Callable[[bytes, bool], int]:
        return descriptor.send_data


class Driving(NamedTuple):
    """All that a driver brings along. As it stands: nobody drives, and nobody is told anything."""

    observer: PeerObserver = PeerObserver()
    clock: Callable[[], float] = time.monotonic
    on_work: Callable[[], None] | None = None
    """Called when something is to be done outside a call of the manager."""
    turn_work: int | None = None
    """How much one read handles, in work units; None: all there is."""
    allowance: Allowance | None = None
    duplicates: DuplicateRule = "newest"
    seams: Seams = Seams()


UNDRIVEN: Final = Driving()


class Seat:
    """Where the driver sits: the manager's parts look here, each time anew, for whom they ask and tell.

    What the constructor was given is `given` and is never overwritten; while it sits there itself, the seat is free.
    """

    __slots__ = ("driving", "given")

    def __init__(self, given: Driving) -> None:
        self.given: Final = given
        self.driving = given

    @property
    def taken(self) -> bool:
        return self.driving is not self.given

    def leave(self) -> None:
        """Whoever drove is neither asked nor told again."""
        self.driving = self.given
