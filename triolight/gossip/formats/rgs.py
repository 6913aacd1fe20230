"""Rapid Gossip Sync, as LDK's server makes it: versions 1 and 2 are read, a full snapshot of version 1 is written.

Nothing in it is signed, and there are no aliases: what was read here is never served to others. Updates of an
incremental file change what is there already; by themselves they say nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, Final

from triolight.address import Address, read_addresses
from triolight.errors import DecodeError
from triolight.gossip.formats.items import About, ChannelFacts, Damaged, Item, NodeFacts, PolicyChange, PolicyFacts
from triolight.wire import MAX_SATOSHIS, ShortChannelId, read_bigsize, write_bigsize

MAGIC: Final = b"LDK"
VERSIONS: Final = (1, 2)
MAX_NODES: Final = 1_000_000
"""An announcement names a node by its place, so that ids are held until the last announcement was read."""
READ_AT_ONCE: Final = 64 * 1024
_LONGEST_SKIPPED: Final = 1 << 24
_DIRECTION: Final = 1
_DISABLED: Final = 2
_INCREMENTAL: Final = 128
_FIELDS: Final = (
    (64, "cltv_expiry_delta", 2),
    (32, "htlc_minimum_msat", 8),
    (16, "fee_base_msat", 4),
    (8, "fee_proportional_millionths", 4),
    (4, "htlc_maximum_msat", 8),
)
"""In the order of an update: the flag that says that it stands there, its name, its bytes."""
_DEFAULTS: Final = (
    ("cltv_expiry_delta", 2),
    ("htlc_minimum_msat", 8),
    ("fee_base_msat", 4),
    ("fee_proportional_millionths", 4),
    ("htlc_maximum_msat", 8),
)


class _CutError(Exception):
    """The file ends inside of something."""


class _Source:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._held = b""
        self._at = 0
        self.offset = 0

    def take(self, size: int) -> bytes:
        while len(self._held) - self._at < size:
            more = self._stream.read(max(READ_AT_ONCE, size))
            if not more:
                raise _CutError
            self._held, self._at = self._held[self._at :] + more, 0
        self._at += size
        self.offset += size
        return self._held[self._at - size : self._at]

    def skip(self, size: int) -> None:
        while size:
            size -= len(self.take(min(size, READ_AT_ONCE)))

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def bigsize(self) -> int:
        first = self.take(1)
        return _bigsize_of(first + self.take({0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first[0], 0)))

    def sized(self) -> bytes:
        return self.take(self.number(2))

    def rest(self) -> int:
        """How many bytes are left, which are read."""
        left = len(self._held) - self._at
        while more := self._stream.read(READ_AT_ONCE):
            left += len(more)
        return left


def read_rgs(stream: BinaryIO) -> Iterator[Item]:
    """Its nodes, channels and updates. ValueError if it is of no known version."""
    source = _Source(stream)
    try:
        if source.take(3) != MAGIC:
            raise ValueError("no Rapid Gossip Sync: it does not begin with LDK")
        version = source.number(1)
        if version not in VERSIONS:
            raise ValueError(f"Rapid Gossip Sync of version {version}: 1 and 2 can be read")
        about = About(source.take(32), source.number(4), version)
    except _CutError:
        raise ValueError("Rapid Gossip Sync, cut off in its first bytes") from None
    yield about
    at = source.offset
    try:
        yield from _content(source, version, about.timestamp or 0)
        at = source.offset
        left = source.rest()
        if left:
            yield Damaged(at, f"{left} bytes behind the last update")
    except _CutError:
        yield Damaged(source.offset, "the file ends inside a record")
    except ValueError as error:
        yield Damaged(source.offset, str(error))


def _content(source: _Source, version: int, timestamp: int) -> Iterator[Item]:
    defaults = [source.sized() for _ in range(source.number(1))] if version > 1 else []
    count = source.number(4)
    if count > MAX_NODES:
        raise ValueError(f"{count} nodes, and {MAX_NODES} can be read")
    ids: list[bytes] = []
    for _ in range(count):
        node = _node(source, version, defaults, timestamp)
        ids.append(node.node_id)
        yield node
    scid = 0
    turned: set[int] = set()
    for _ in range(source.number(4)):
        at = source.offset
        features = source.sized()
        scid += source.bigsize()
        first, second = source.bigsize(), source.bigsize()
        capacity = None
        if version > 1 and second >> 63:
            second &= (1 << 63) - 1
            more = source.sized()
            if more:
                capacity = _bigsize_of(more)
        if scid >> 64:
            raise ValueError("a short_channel_id of more than 64 bits")
        if max(first, second) >= count:
            yield Damaged(at, f"a channel of node {max(first, second)}, and there are {count}")
            continue
        one, other = ids[first], ids[second]
        if capacity is not None and capacity > MAX_SATOSHIS:
            capacity = None
        if one > other:
            turned.add(scid)
        yield ChannelFacts(ShortChannelId(scid), min(one, other), max(one, other), features, capacity)
    yield from _updates(source, version, timestamp, turned)


def _node(source: _Source, version: int, defaults: Sequence[bytes], timestamp: int) -> NodeFacts:
    data = source.take(33)
    if version == 1:
        return NodeFacts(data)
    flags = data[0]
    node_id = bytes((flags & 3,)) + data[1:]
    addresses: tuple[Address, ...] = ()
    if flags & 4:
        found: list[Address] = []
        for _ in range(source.number(1)):
            try:
                found += read_addresses(source.take(source.number(1)))
            except DecodeError as error:
                raise ValueError(str(error)) from None
        addresses = tuple(found)
    kind = flags >> 3 & 7
    features = source.sized() if kind == 7 else defaults[kind - 1] if 1 <= kind <= len(defaults) else b""
    if flags & 0x80:
        length = source.number(2)
        if length == 0xFFFF:
            length += source.number(8)
        if length > _LONGEST_SKIPPED:
            raise ValueError(f"{length} bytes of additional data of a node")
        source.skip(length)
    return NodeFacts(node_id, timestamp if addresses or features else 0, features=features, addresses=addresses)


def _bigsize_of(data: bytes) -> int:
    try:
        return read_bigsize(data, 0, len(data))[0]
    except DecodeError as error:
        raise ValueError(str(error)) from None


def _updates(source: _Source, version: int, timestamp: int, turned: set[int]) -> Iterator[Item]:
    """`turned`: channels whose nodes stand in the other order than that of their ids."""
    count = source.number(4)
    if not count:
        return
    defaults = {name: source.number(size) for name, size in _DEFAULTS}
    scid, before = 0, -1
    for number in range(count):
        delta = source.bigsize()
        scid += delta
        flags = source.number(1)
        direction = flags & _DIRECTION
        if version > 1 and number and not delta and direction == before:
            source.sized()
            continue
        before = direction
        direction ^= scid in turned
        fields: dict[str, int] = {name: source.number(size) for flag, name, size in _FIELDS if flags & flag}
        disabled = bool(flags & _DISABLED)
        if scid >> 64:
            raise ValueError("a short_channel_id of more than 64 bits")
        known = ShortChannelId(scid)
        if flags & _INCREMENTAL:
            yield PolicyChange(known, direction, {**fields, "disabled": disabled, "timestamp": timestamp})
        else:
            yield _policy(known, direction, timestamp, disabled, {**defaults, **fields})


def _policy(
    scid: ShortChannelId, direction: int, timestamp: int, disabled: bool, fields: dict[str, int]
) -> PolicyFacts:
    return PolicyFacts(
        scid,
        direction,
        timestamp,
        disabled,
        fields["cltv_expiry_delta"],
        fields["htlc_minimum_msat"],
        fields["htlc_maximum_msat"],
        fields["fee_base_msat"],
        fields["fee_proportional_millionths"],
    )


def write_rgs(
    chain_hash: bytes,
    timestamp: int,
    channels: Sequence[ChannelFacts],
    policies: Iterable[PolicyFacts],
) -> Iterator[bytes]:
    """A full snapshot of version 1, in pieces, of these channels and policies in any order."""
    ids = sorted({node for one in channels for node in (one.node_id_1, one.node_id_2)})
    place = {node: at for at, node in enumerate(ids)}
    yield MAGIC + b"\x01" + chain_hash + timestamp.to_bytes(4, "big") + len(ids).to_bytes(4, "big")
    yield from ids
    yield len(channels).to_bytes(4, "big")
    before = 0
    for one in sorted(channels, key=lambda one: one.short_channel_id):
        yield b"".join(
            (
                len(one.features).to_bytes(2, "big"),
                one.features,
                write_bigsize(one.short_channel_id - before),
                write_bigsize(place[one.node_id_1]),
                write_bigsize(place[one.node_id_2]),
            )
        )
        before = one.short_channel_id
    ordered = sorted(policies, key=lambda one: (one.short_channel_id, one.direction))
    yield len(ordered).to_bytes(4, "big")
    if not ordered:
        return
    common = {name: Counter(getattr(one, name) for one in ordered).most_common(1)[0][0] for name, _ in _DEFAULTS}
    yield b"".join(common[name].to_bytes(size, "big") for name, size in _DEFAULTS)
    before = 0
    for policy in ordered:
        flags = policy.direction | (_DISABLED if policy.disabled else 0)
        body: list[bytes] = []
        for flag, name, size in _FIELDS:
            value: int = getattr(policy, name)
            if value != common[name]:
                flags |= flag
                body.append(value.to_bytes(size, "big"))
        yield write_bigsize(policy.short_channel_id - before) + bytes((flags,)) + b"".join(body)
        before = policy.short_channel_id
