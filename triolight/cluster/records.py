"""What travels between fronts and a back: records, and the entries that carry them. Values and their bytes; no I/O.

An entry is one append to a stream: ``version u8 · token 16 B · first_seq u64 · records``. A record is ``kind u8 · conn
u32 · length u32 · body``. `first_seq` counts the records of a stream since its writer took its token, without holes, so
that whoever reads sees a repeat, and sees that something is missing. A message travels as it came: who forwards it does
not decode it.

Everything here was read from an engine, and is parsed as hostile: DecodeError for whatever is not exactly this.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final, NamedTuple, TypeAlias

from triolight import wire
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, Side
from triolight.messages.declare import structure
from triolight.messages.structures import Structure
from triolight.text import printable

VERSION: Final = 1
TOKEN_BYTES: Final = 16
MAX_ENTRY_BYTES: Final = 256 * 1024
"""An entry holds no more, or one record: what may be sent again after an outage, and what an engine takes at once."""
MAX_RECORD_BYTES: Final = 2 * 1024 * 1024
"""The largest legal batch of messages that has to stay together (1.8 MB), and some."""
NO_CONNECTION: Final = 0
"""The number that records of no connection carry."""

ENGINE: Final = bytes(TOKEN_BYTES)
"""The token of entries that an engine appends of its own accord: they count in no sequence."""

token: TypeAlias = Annotated[bytes, wire.FixedBytes(TOKEN_BYTES)]

_ENTRY: Final = struct.Struct(">B16sQ")
_RECORD: Final = struct.Struct(">BII")
RECORD_OVERHEAD: Final = _RECORD.size
_SIDES: Final = (Side.US, Side.PEER, Side.NETWORK)


# Up: from a front to the back.


@structure
class Connected(Structure):
    """A peer's Init was accepted and its claim was won. The first record of its connection."""

    node_id: wire.point
    inbound: wire.byte
    address: wire.bytes16
    """BOLT 7's descriptor, or empty."""
    init: wire.remainder
    """Its Init, with the type bytes."""


@structure
class Said(Structure):
    """A message of the peer's."""

    data: wire.remainder
    """As it came, type bytes included."""


@structure
class Ended(Structure):
    """The last record of a connection: why it ended."""

    side: wire.byte
    code: wire.bytes16
    words: wire.remainder

    @property
    def reason(self) -> DisconnectReason:
        """A code of a newer version is shown in the words."""
        words = printable(self.words)
        try:
            code = DisconnectCode(self.code.decode("ascii", "replace"))
        except ValueError:
            code = DisconnectCode.CONNECTION_LOST
            words = f"{printable(self.code)}: {words}"
        return DisconnectReason(code, _SIDES[min(self.side, 2)], words)


@structure
class Taken(Structure):
    """The peer's queue has taken so many more bytes of what was sent: there is room for as many again."""

    size: wire.u32


@structure
class Ponged(Structure):
    """The pong of a ping that the back asked for."""

    ping: wire.u32
    microseconds: wire.u64


@structure
class Dialled(Structure):
    """What came of a dial: the connection that is there, which may be an older one, or why there is none."""

    ask: wire.u32
    conn: wire.u32
    """0: none."""
    side: wire.byte
    code: wire.bytes16
    words: wire.remainder

    @property
    def reason(self) -> DisconnectReason:
        return Ended(side=self.side, code=self.code, words=self.words).reason


# Down: from the back to a front.


@structure
class Send(Structure):
    """Messages for a peer, in a row on the wire."""

    messages: wire.rest[wire.bytes16]


@structure
class SendPing(Structure):
    """A ping of the application's."""

    ping: wire.u32
    num_pong_bytes: wire.u16
    ignored: wire.remainder


@structure
class Disconnect(Structure):
    """The connection shall end; the peer hears the words."""

    code: wire.bytes16
    words: wire.remainder

    @property
    def reason(self) -> DisconnectReason:
        return Ended(side=0, code=self.code, words=self.words).reason


@structure
class Dial(Structure):
    """A node is to be dialled."""

    ask: wire.u32
    address: wire.remainder
    """``id@host:port``."""


@structure
class Hold(Structure):
    """Whether the peer is not to be read from: the back has no room for what it says."""

    held: wire.byte


@structure
class Displaced(Structure):
    """The engine's own: another front has won the claim of this node. Claims up to this number count no more."""

    node_id: wire.point
    number: wire.u32
    waits: wire.byte
    """Whether both were dialled at the same time, so that the loser waits."""


@structure
class Broadcast(Structure):
    """A message for every peer that has room for it."""

    data: wire.remainder


# From a worker that records to the one that writes: rows of a record. Moments are nanoseconds since 1970.


@structure
class Sighted(Structure):
    """A message that a node has said."""

    seen_ns: wire.u64
    asked: wire.byte
    data: wire.bytes16


@structure
class Trip(Structure):
    """A ping's round trip."""

    at_ns: wire.u64
    microseconds: wire.u32


@structure
class Missed(Structure):
    """What was not recorded."""

    from_ns: wire.u64
    to_ns: wire.u64
    lost: wire.u64
    """All ones: unknown."""
    why: wire.bytes16


@structure
class Tick(Structure):
    """What the wall's clock said."""

    seen_ns: wire.u64
    wall_ns: wire.u64


@structure
class Heard(Structure):
    """Of one connection. It says whose by itself: whoever reads it may have read nothing before."""

    node_id: wire.point
    address: wire.bytes16
    outbound: wire.byte
    connected_ns: wire.u64
    init: wire.bytes16
    closed_ns: wire.u64
    """0: it is there."""
    why: wire.bytes16
    trips: wire.array16[Trip]
    missed: wire.array16[Missed]
    sighted: wire.rest[Sighted]


@structure
class Beside(Structure):
    """Of no connection."""

    missed: wire.array16[Missed]
    ticks: wire.rest[Tick]


@structure
class Left(Structure):
    """The last record of a worker that has ended as it should."""

    at_ns: wire.u64


class Record(NamedTuple):
    """What one record says, and of which connection."""

    conn: int
    what: Structure


UP: Final[Mapping[int, type[Structure]]] = {1: Connected, 2: Said, 3: Ended, 4: Taken, 5: Ponged, 6: Dialled}
DOWN: Final[Mapping[int, type[Structure]]] = {
    33: Send,
    34: SendPing,
    35: Disconnect,
    36: Dial,
    37: Hold,
    38: Displaced,
    39: Broadcast,
}
"""Kind to what it says, by direction."""
ROWS: Final[Mapping[int, type[Structure]]] = {65: Heard, 66: Beside, 67: Left}
"""The same of a worker's stream."""
_KINDS: Final[Mapping[type[Structure], int]] = {cls: kind for kind, cls in (*UP.items(), *DOWN.items(), *ROWS.items())}


class Entry(NamedTuple):
    """One append."""

    token: bytes
    """Its writer's."""
    first_seq: int
    records: tuple[Record, ...]


def encode_record(conn: int, what: Structure) -> bytes:
    """One record. ValueError if it is larger than any that is read."""
    body = what.data if isinstance(what, Said) else what.encode()
    if len(body) > MAX_RECORD_BYTES:
        raise ValueError(f"a record of {len(body)} bytes")
    return _RECORD.pack(_KINDS[type(what)], conn, len(body)) + body


def encode_entry(writer: bytes, first_seq: int, records: Iterable[bytes]) -> bytes:
    """An entry of encoded records."""
    return _ENTRY.pack(VERSION, writer, first_seq) + b"".join(records)


def decode_entry(data: bytes, kinds: Mapping[int, type[Structure]]) -> Entry:
    """An entry of one direction. DecodeError for anything else."""
    if len(data) < _ENTRY.size:
        raise DecodeError(f"an entry of {len(data)} bytes", offset=0)
    version, writer, first_seq = _ENTRY.unpack_from(data)
    if version != VERSION:
        raise DecodeError(f"an entry of version {version}, not {VERSION}", offset=0)
    return Entry(writer, first_seq, tuple(_records(data, kinds)))


def _records(data: bytes, kinds: Mapping[int, type[Structure]]) -> Iterator[Record]:
    at = _ENTRY.size
    if at == len(data):
        raise DecodeError("an entry without records", offset=at)
    while at < len(data):
        if at + RECORD_OVERHEAD > len(data):
            raise DecodeError(f"a record's head needs {RECORD_OVERHEAD} bytes, {len(data) - at} are left", offset=at)
        kind, conn, length = _RECORD.unpack_from(data, at)
        start = at + RECORD_OVERHEAD
        if length > min(MAX_RECORD_BYTES, len(data) - start):
            raise DecodeError(f"a record of {length} bytes, {len(data) - start} are left", offset=at)
        cls = kinds.get(kind)
        if cls is None:
            raise DecodeError(f"a record of kind {kind}, which does not come this way", offset=at)
        try:
            what = cls.decode(data[start : start + length])
        except DecodeError as error:
            raise error.within(base=start) from None
        if isinstance(what, Said) and length < 2:
            raise DecodeError(f"a message of {length} bytes holds no type", offset=start)
        yield Record(conn, what)
        at = start + length
        if at < len(data) > MAX_ENTRY_BYTES + _ENTRY.size:
            # Nobody writes such an entry; whoever reads it would hold an object for each record.
            raise DecodeError(f"an entry of {len(data):,} bytes has more than one record", offset=at)


def ended(reason: DisconnectReason) -> Ended:
    """A connection's end, as a record."""
    return Ended(
        side=_SIDES.index(reason.by), code=reason.code.encode(), words=reason.message.encode("ascii", "replace")
    )


def disconnect(reason: DisconnectReason) -> Disconnect:
    """A wish that a connection ends, as a record."""
    return Disconnect(code=reason.code.encode(), words=reason.message.encode("ascii", "replace"))


def dialled(ask: int, outcome: int | DisconnectReason) -> Dialled:
    """What came of a dial, as a record: a connection, or why there is none."""
    if isinstance(outcome, int):
        return Dialled(ask=ask, conn=outcome, side=0, code=b"", words=b"")
    end = ended(outcome)
    return Dialled(ask=ask, conn=NO_CONNECTION, side=end.side, code=end.code, words=end.words)


# What a back wants of its fronts.


@structure
class Config(Structure):
    """What a back has its fronts be. Written by the back, read by fronts before they open their doors."""

    number: wire.u32
    """Another one for each configuration."""
    node_id: wire.point
    features: wire.bytes16
    networks: wire.array8[wire.chain_hash]
    types: wire.array16[wire.u16]
    """Messages that travel up."""
    unknown_odd: wire.byte
    """Whether messages that nobody knows travel too."""
    lease: wire.u32
    back_grace: wire.u32
    engine_grace: wire.u32
    """Milliseconds, all three."""
    resumes: wire.byte
    """Whether the next back takes up the sessions of this one."""


def read_config(data: bytes) -> Config:
    """A back's configuration. DecodeError for what is none."""
    if not data or data[0] != VERSION:
        raise DecodeError(f"a configuration of version {data[0] if data else 'nothing'}, not {VERSION}", offset=0)
    return Config.decode(data[1:])


def write_config(config: Config) -> bytes:
    return bytes((VERSION,)) + config.encode()
