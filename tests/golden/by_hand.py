"""A manager that is driven by hand, and the other end of its connections: no Trio, no socket, no clock but a number.

The other end is no manager. It has BOLT 8's transport and says what it is told, in the pieces that it is told: whatever
a later commit makes of the manager, what comes to it here stays the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from tests.support import secret
from triolight import DisconnectReason, PeerHandleError, PeerManager, PeerObserver, SocketDescriptor, Tape
from triolight.keys import SecretKey
from triolight.messages import Init, Message, UnknownMessage
from triolight.noise import Handshake, Opener, Sealer
from triolight.policy import Allowance, DuplicateRule

AnyMessage = Message | UnknownMessage
Takes = Callable[[int], int]
"""How many of so many bytes a socket takes."""


def everything(size: int) -> int:
    return size


def nothing(size: int) -> int:
    return 0


class Taker(SocketDescriptor):
    """Takes what it is told to take; what it took waits in `out`."""

    def __init__(self, takes: Takes) -> None:
        self.takes = takes
        self.out = bytearray()
        self.short = False
        """It did not take all: whoever drives it owes the manager a `write_buffer_space_avail`."""

    def send_data(self, data: bytes, resume_read: bool) -> int:
        taken = self.takes(len(data))
        self.short = taken < len(data)
        self.out += data[:taken]
        return taken

    def disconnect_socket(self) -> None:
        pass

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)


class Hand:
    """One manager and who drives it: ``with Hand(manager, tape) as hand``. The time is `now`."""

    def __init__(
        self,
        manager: PeerManager,
        tape: Tape,
        *,
        observer: PeerObserver | None = None,
        turn_work: int | None = None,
        allowance: Allowance | None = None,
        duplicates: DuplicateRule | None = None,
    ) -> None:
        self.manager: Final = manager
        self.now = 0.0
        self._far_keys = 0
        manager.drive(
            observer or PeerObserver(),
            lambda: None,
            lambda: self.now,
            turn_work,
            allowance,
            duplicates,
            tape.seams,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.manager.release()

    def ephemeral(self) -> SecretKey:
        """One for each connection's other end."""
        self._far_keys += 1
        return SecretKey(hashlib.sha256(f"far {self._far_keys}".encode()).digest())

    def turn(self) -> None:
        """Processes events, and goes on with what a turn has left over, until there is nothing left."""
        self.manager.process_events()
        while unfinished := self.manager.unfinished():
            for descriptor in unfinished:
                self.manager.continue_reading(descriptor)
            self.manager.process_events()

    def tick(self, seconds: float = 10.0) -> None:
        self.now += seconds
        self.manager.timer_tick_occurred()
        self.turn()


class Far:
    """The other end of one connection of a hand's manager: the node with the secret of this number."""

    def __init__(
        self,
        hand: Hand,
        number: int,
        *,
        dials: bool = True,
        takes: Takes = everything,
        address: tuple[str, int] | None = None,
    ) -> None:
        """`dials`: it has dialled the manager; else the manager dials it."""
        self.hand: Final = hand
        self.at: Final = Taker(takes)
        self.given_up = False
        """The manager has told its driver to close the socket at once."""
        key = SecretKey(secret(number))
        self.node_id: Final = key.public_key
        self._dials: Final = dials
        self._handshake: Final = Handshake(key, hand.ephemeral(), hand.manager.our_node_id if dials else None)
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        if dials:
            hand.manager.new_inbound_connection(self.at, address)
        else:
            self.at.out += hand.manager.new_outbound_connection(key.public_key, self.at, address)

    # -- bytes

    def give(self, data: bytes, piece: int = 10**9) -> None:
        """Bytes of ours, in pieces; after each of them the manager has its turn."""
        for at in range(0, len(data), piece):
            if not self.given_up:
                try:
                    self.hand.manager.read_event(self.at, data[at : at + piece])
                except PeerHandleError:
                    self.given_up = True
                self.hand.turn()

    def answer(self) -> bytes:
        """Our next act, for `give`."""
        if self._dials and not self.at.out:
            return self._handshake.act_one()
        data, rest = self._handshake.receive(bytes(self.at.out))
        self.at.out[:] = rest
        if self._handshake.complete:
            self._sealer, self._opener = self._handshake.sealer, self._handshake.opener
        return data

    def shake(self, piece: int = 10**9) -> Self:
        """All three acts."""
        self.give(self.answer(), piece)
        if self._dials:
            self.give(self.answer(), piece)
        else:
            self.answer()
        return self

    def connect(self, init: Init | None = None) -> Self:
        """The acts and our Init."""
        self.shake().say(init or Init())
        return self

    def room(self, takes: Takes | None = None) -> None:
        """There is room again, and from now on as much as `takes` says."""
        self.at.takes = takes or self.at.takes
        self.at.short = False
        self.hand.manager.write_buffer_space_avail(self.at)
        self.hand.turn()

    def hang_up(self, reason: DisconnectReason | None = None) -> None:
        self.hand.manager.socket_disconnected(self.at, reason)
        self.hand.turn()

    # -- messages

    def packets(self, *messages: AnyMessage | bytes) -> bytes:
        if self._sealer is None:
            raise RuntimeError("the handshake is not done")
        seal = self._sealer.seal
        return b"".join(seal(one if isinstance(one, bytes) else one.encode()) for one in messages)

    def say(self, *messages: AnyMessage | bytes, piece: int = 10**9) -> None:
        """Messages, or the bytes of some, in one piece or several."""
        self.give(self.packets(*messages), piece)

    def heard(self) -> list[bytes]:
        """The messages that have come since the last call."""
        if self._opener is None:
            raise RuntimeError("the handshake is not done")
        self._opener.feed(bytes(self.at.out))
        self.at.out.clear()
        found: list[bytes] = []
        while (message := self._opener.next_message()) is not None:
            found.append(message)
        return found
