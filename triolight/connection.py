"""One peer's connection without I/O and without a clock of its own: bytes in, messages out, and back.

It knows BOLT 8's order of acts and packets, BOLT 1's rules for Init, ping and pong, and how much may wait to be
written. It knows no handler and no other peer. A fault of the peer raises: `HandshakeFailed` before the acts are done,
`ProtocolFault` after; what follows from it (a warning, an end) is the PeerManager's to do.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from triolight.errors import DecodeError, DisconnectCode
from triolight.features import Features
from triolight.messages import Init, Pong
from triolight.noise import OVERHEAD, Handshake, Opener, PacketFailed, Sealer
from triolight.tally import Tally, count

__all__ = [
    "OutstandingPing",
    "RefuseFeatures",
]

OUTPUT_PAUSE_BYTES: Final = 64 * 1024
"""Bytes of answers owed to a peer (pongs that are not made yet included) from which on it is not read from: one
largest message more than this is the most that a peer can make us owe. LDK counts messages, and pays up to 190 MB for
it. What our application sends of its own accord does not count: two sides with much to send must both read."""
ENTRY_BYTES: Final = 96
"""Counted for each answer owed besides its bytes: what its place in the queue takes. Sixteen thousand empty pongs would
else cost a mebibyte and count as nothing."""
BATCH_BYTES: Final = 16 * 1024
"""Encrypted bytes handed to the socket at once: one write for many small messages, at most one large message more."""
OPENED_AT_ONCE: Final = 16
"""Messages that are opened together, if they are small: noise bounds their bytes. They wait while their peer is held
back."""
MAX_PINGS: Final = 32
"""Pings that may wait for their pong. More than that on one connection measures nothing but the queue."""
LARGEST_PONG: Final = 65531
"""BOLT 1: a ping that asks for more than this is not to be answered."""

RefuseFeatures = Literal["unknown", "not_offered"]
"""Which even bits of a peer's Init refuse it: those that nobody knows, or, as LDK does, all that we do not offer."""


class ProtocolFault(Exception):
    """The peer broke a rule. `code` is the reason's, `words` go to the peer, to the log and to whoever asks."""

    def __init__(self, code: DisconnectCode, words: str) -> None:
        super().__init__(words)
        self.code: Final = code
        self.words: Final = words


@dataclass(frozen=True, slots=True)
class OutstandingPing:
    """A ping of ours that has not been answered. `token` is whatever its sender wants back with the answer."""

    length: int
    sent_at: float
    token: Any


_CAUSED: Final = 1
_GOSSIP: Final = 2
_PONG: Final = 3
_NOTHING: Final[list[bytes]] = []
"""Of all who have said nothing of late: nobody puts anything into it, and an idle peer has no list of its own."""


class Connection:
    """The state of one connection. All sizes are bytes."""

    __slots__ = (
        "_early",
        "_handshake",
        "_opened_messages",
        "_opener",
        "_queue",
        "_sealer",
        "_unsent",
        "bytes_received",
        "bytes_sent",
        "caused_bytes",
        "messages_sent",
        "opened",
        "pings",
        "queued_bytes",
        "received",
        "sent",
    )

    def __init__(self, handshake: Handshake) -> None:
        self._handshake: Handshake | None = handshake
        self._early = b""
        """What came behind the last act."""
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._queue: list[tuple[bytes, int]] = []
        """Messages to encrypt, in order, and whose doing they are: the peer's (_CAUSED), gossip (_GOSSIP), or 0, ours;
        _PONG and more is a pong of so many bytes more than _PONG, made when it is written."""
        self._unsent = b""
        """Encrypted already, not taken by the socket yet."""
        self.queued_bytes = 0
        """Bytes of the queue, pongs that are not made yet included."""
        self.caused_bytes = 0
        """Those of them that the peer has caused, and ENTRY_BYTES for each of its messages."""
        self.pings: list[OutstandingPing] = []
        self.opened: list[bytes] = _NOTHING
        """Messages that were opened together with one that was taken, the next one last: to be popped by who takes them
        before it asks for others with `next_message`."""
        self._opened_messages = 0
        self.messages_sent = 0
        self.bytes_received = 0
        self.bytes_sent = 0
        self.received: Tally = {}
        """Filled by who looks at the types."""
        self.sent: Tally = {}

    # In.

    @property
    def established(self) -> bool:
        """Whether the three acts are done."""
        return self._opener is not None

    @property
    def act(self) -> int:
        """The act that is awaited, 0 once the handshake is done."""
        return 0 if self._handshake is None else self._handshake.act

    @property
    def dialled(self) -> bytes | None:
        """Whom we have dialled, until that is proven."""
        return None if self._handshake is None else self._handshake.their_node_id

    def feed(self, data: bytes) -> None:
        """Bytes of the stream, in pieces of any size."""
        self.bytes_received += len(data)
        if self._opener is not None:
            self._opener.feed(data)
        else:
            self._early += data

    def advance_handshake(self) -> bytes | None:
        """Goes on with the acts as far as the bytes reach. The peer's node id once all are done, else None.

        What has to be written waits in `output`. Raises HandshakeFailed; nothing is to be written then.
        """
        handshake = self._handshake
        if handshake is None:
            return None
        while self._early:
            answer, self._early = handshake.receive(self._early)
            self._unsent += answer
            if handshake.opener is not None and handshake.sealer is not None:
                self._opener, self._sealer = handshake.opener, handshake.sealer
                self._handshake = None
                self._opener.feed(self._early)
                self._early = b""
                return handshake.their_node_id
        return None

    @property
    def unread_bytes(self) -> int:
        """Bytes that came and were not taken as messages yet."""
        if self._opener is None:
            return len(self._early)
        return self._opener.buffered + sum([len(data) + OVERHEAD for data in self.opened])

    def next_message(self) -> bytes | None:
        """The next message with its type bytes, None if more of the stream is needed. ProtocolFault if it is broken."""
        if self._opener is None:
            return None
        if not self.opened:
            try:
                opened = self._opener.next_messages(OPENED_AT_ONCE)
            except PacketFailed as error:
                raise ProtocolFault(DisconnectCode.BAD_PACKET, str(error)) from None
            if not opened:
                self.opened = _NOTHING
                return None
            self.opened = opened
            self._opened_messages += len(opened)
        data = self.opened.pop()
        if len(data) < 2:
            raise self.no_type(data)
        return data

    def no_type(self, data: bytes) -> ProtocolFault:
        """What is wrong with a message of less than two bytes."""
        # The BOLTs do not say what an empty message is. It has no type, so nothing can be right about it.
        self._opened_messages -= 1
        return ProtocolFault(DisconnectCode.BAD_PACKET, f"a message of {len(data)} bytes holds no type")

    @property
    def messages_received(self) -> int:
        """How many were taken."""
        return self._opened_messages - len(self.opened)

    # Out.

    @property
    def owed_bytes(self) -> int:
        """All that waits to be written: queue and encrypted rest."""
        return self.queued_bytes + len(self._unsent)

    @property
    def over_budget(self) -> bool:
        """Whether the peer has caused so much that waits to be written that it is not read from."""
        return self.caused_bytes > OUTPUT_PAUSE_BYTES

    def queue(self, message: bytes, caused: bool = False) -> None:
        """A message to be encrypted and written after all that waits already. Messages queued in a row stay in a row.

        `caused`: it answers the peer, so it counts for `over_budget`.
        """
        self._queue.append((message, caused))
        self.queued_bytes += len(message)
        if caused:
            self.caused_bytes += len(message) + ENTRY_BYTES

    def queue_all(self, messages: Iterable[bytes]) -> None:
        """As `queue`, of several of our own."""
        given = tuple(messages)
        self._queue += [(message, 0) for message in given]
        self.queued_bytes += sum(map(len, given))

    def queue_pong(self, length: int) -> None:
        """The answer to a ping: costs a number until it is its turn to be written."""
        self._queue.append((b"", _PONG + length))
        self.queued_bytes += length + 4
        self.caused_bytes += length + 4 + ENTRY_BYTES

    def queue_gossip(self, messages: Iterable[bytes], size: int) -> None:
        """As `queue`, of several, for what is the first to be dropped. `size`: bytes of all of them."""
        self._queue += [(message, _GOSSIP) for message in messages]
        self.queued_bytes += size

    def drop_gossip(self) -> None:
        """Forgets gossip that is not encrypted yet: the peer can have it from anybody."""
        if any(whose == _GOSSIP for _, whose in self._queue):
            for message, whose in self._queue:
                if whose == _GOSSIP:
                    self.queued_bytes -= len(message)
            self._queue = [one for one in self._queue if one[1] != _GOSSIP]

    def drop_queue(self) -> int:
        """Forgets what is not encrypted yet, so that a last word need not wait behind it. How many messages it was.

        What is encrypted stays: its nonces are spent. So does an Init that is still here: nothing may go before it.
        """
        init = self._queue[0] if self._queue and not self.messages_sent else None
        dropped = len(self._queue)
        self._queue.clear()
        self.queued_bytes = self.caused_bytes = 0
        if init is not None and init[1] < _PONG:
            self.queue(init[0])
            dropped -= 1
        return dropped

    def output(self) -> bytes:
        """What is to be written next: the rest of the last time, or about BATCH_BYTES more. Empty if there is nothing.

        The same bytes again until `took` says that the socket has them.
        """
        if self._unsent or not self._queue or self._sealer is None:
            return self._unsent
        messages: list[bytes] = []
        size = 0
        # Messages of one type come in rows, and are counted by the row.
        begins, first, before = b"", 0, 0
        for message, whose in self._queue:
            if whose:
                if whose >= _PONG:
                    message = Pong(ignored=bytes(whose - _PONG)).encode()
                if whose != _GOSSIP:
                    self.caused_bytes -= len(message) + ENTRY_BYTES
            if message[:2] != begins:
                if messages:
                    self._count_sent(begins, len(messages) - first, size - before)
                begins, first, before = message[:2], len(messages), size
            messages.append(message)
            size += len(message) + OVERHEAD
            if size >= BATCH_BYTES:
                break
        self._count_sent(begins, len(messages) - first, size - before)
        # Once for all of them. An empty list costs an idle peer a tenth of what an empty deque does.
        del self._queue[: len(messages)]
        self.queued_bytes -= size - OVERHEAD * len(messages)
        self.messages_sent += len(messages)
        sealer = self._sealer
        self._unsent = sealer.seal(messages[0]) if len(messages) == 1 else sealer.seal_all(messages)
        return self._unsent

    def _count_sent(self, type_: bytes, messages: int, size: int) -> None:
        """So many messages of a type, whose packets have so many bytes together."""
        number = int.from_bytes(type_, "big")
        tally = self.sent.get(number)
        if tally is not None:  # what `count` does, without the call
            tally[0] += messages
            tally[1] += size - OVERHEAD * messages
        else:
            count(self.sent, number, size - OVERHEAD * messages, messages)

    def took(self, count: int) -> None:
        """The socket took this many bytes of `output`."""
        self.bytes_sent += count
        self._unsent = self._unsent[count:] if count < len(self._unsent) else b""

    # Ping.

    def pong_received(self, length: int) -> OutstandingPing | None:
        """The ping that a pong of this length answers: the oldest outstanding one of that length, or None."""
        for ping in self.pings:
            if ping.length == length:
                self.pings.remove(ping)
                return ping
        return None

    def forget_ping(self, token: Any) -> bool:
        """Does not wait any more for the pong of the oldest ping with this token. False if there is none."""
        for ping in self.pings:
            if ping.token is token:
                self.pings.remove(ping)
                return True
        return False


# Init.


def decode_init(data: bytes) -> Init:
    """The peer's first message, which BOLT 1 wants to be Init. ProtocolFault if it is another one, or malformed."""
    if data[:2] != Init.type.to_bytes(2, "big"):
        type_ = int.from_bytes(data[:2], "big")
        raise ProtocolFault(DisconnectCode.NOT_INIT_FIRST, f"the first message has type {type_}, not Init")
    try:
        return Init.decode(data)
    except DecodeError as error:
        raise ProtocolFault(DisconnectCode.INIT_MALFORMED, str(error)) from None


def init_features(init: Init) -> Features:
    """BOLT 1: both bitfields count, as one."""
    return Features.from_bytes(init.globalfeatures) | Features.from_bytes(init.features)


def check_init(init: Init, ours: Features, our_networks: tuple[bytes, ...], refuse: RefuseFeatures) -> Features:
    """The features of a peer whose Init fits ours. ProtocolFault says what does not."""
    theirs = init_features(init)
    chains = init.tlvs.networks
    if chains and our_networks and not set(chains) & set(our_networks):
        raise _refused("no common network")
    unknown = theirs.unknown_required() if refuse == "unknown" else theirs.required_but_not_in(ours)
    if unknown:
        raise _refused(f"you require {unknown.listed(4)}, which is not supported here")
    lacking = ours.required_but_not_in(theirs)
    if lacking:
        raise _refused(f"you do not offer {lacking.listed(4)}, which is required here")
    missing = theirs.missing_dependencies()
    if missing:
        feature, needed = missing[0]
        raise _refused(f"you offer {feature} without {needed}")
    return theirs


def _refused(words: str) -> ProtocolFault:
    return ProtocolFault(DisconnectCode.INIT_REFUSED, words)
