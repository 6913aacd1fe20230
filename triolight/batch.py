"""BOLT 2's batches of commitment_signed: what a start_batch announces, gathered until it is complete.

Pure: takes messages, says when a batch is whole or broken. Who calls the handler, and with what, is the PeerManager's.
"""

from __future__ import annotations

from typing import Final

from triolight.connection import ProtocolFault
from triolight.errors import DisconnectCode
from triolight.messages import MESSAGE_OVERHEAD, CommitmentSigned, Error, Message, Ping, Pong, StartBatch, Warning

MAX_BATCH: Final = 20
"""Messages of one batch at most (BOLT 2)."""
MAX_BATCH_BYTES: Final = 1280 * 1024
"""Of one batch that is coming in, and held: 20 of the longest commitment_signed that are legal (966 signatures, 62 KB)
have 1,240 KB. Only for a channel handler that takes batches, from a node that it protects."""
MAX_STRANGE_BATCH_BYTES: Final = 640 * 1024
"""The same from a node that the channel handler does not protect: 20 commitment_signed with 483 HTLCs each (620 KB),
and less than a peer may cost in all."""
MIN_BATCH: Final = 2

TOLERATED_INSIDE: Final = frozenset((Ping.type, Pong.type, Warning.type, Error.type))
"""What may come between the messages of a batch, besides odd messages that nobody knows. LDK closes on each of them."""


class Batch:
    """A batch that is coming in: so many commitment_signed of one channel."""

    __slots__ = ("_keep", "_missing", "_room", "channel_id", "encoded")

    def __init__(self, start: StartBatch, keep: int, protected: bool) -> None:
        self.channel_id: Final = start.channel_id
        self.encoded: list[bytes] = []
        """The messages as they came: half the memory of decoded ones. Only the first `keep` are held."""
        self._keep = keep
        self._missing = start.batch_size
        self._room = MAX_BATCH_BYTES if protected else MAX_STRANGE_BATCH_BYTES

    def add(self, message: Message, data: bytes) -> bool:
        """Takes the next message; True once the batch is complete. ProtocolFault if it does not belong to it."""
        if not isinstance(message, CommitmentSigned):
            raise _broken(f"{message.name} inside a batch of commitment_signed")
        if message.channel_id != self.channel_id:
            raise _broken("a commitment_signed of another channel inside a batch")
        if len(self.encoded) < self._keep:
            self._room -= len(data) + MESSAGE_OVERHEAD
            if self._room < 0:
                raise _broken("a batch of more bytes than are held of one")
            self.encoded.append(data)
        self._missing -= 1
        return self._missing == 0

    def messages(self) -> tuple[CommitmentSigned, ...]:
        """The messages that are held."""
        return tuple(CommitmentSigned.decode(data) for data in self.encoded)


def fault_of(start: StartBatch) -> str | None:
    """Why a start_batch is to be ignored: it announces no batch of commitment_signed. None: it is one.

    ProtocolFault if it announces more than BOLT 2 allows.
    """
    if start.batch_size > MAX_BATCH:
        raise _broken(f"a batch of {start.batch_size} messages; {MAX_BATCH} are the most")
    if start.batch_size < MIN_BATCH:
        return f"a batch of {start.batch_size} messages is none"
    if start.tlvs.message_type != CommitmentSigned.type:
        return "a batch of messages that are not commitment_signed"
    return None


def _broken(words: str) -> ProtocolFault:
    return ProtocolFault(DisconnectCode.BATCH_BROKEN, words)
