"""What the rules of gossip say, a second time: over lists and whole messages, slow and obvious. No test here.

Nobody asked for what comes, nobody blacklists, no bound on numbers is reached, and a chain, if there is one, answers at
once. Verdicts are their names, and messages are taken apart by hand: nothing of the graph's own reading is used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from triolight.chains import REGTEST
from triolight.gossip import Failed, Found, Missing, Spent, UtxoResult
from triolight.keys import is_point, verify

HOUR: Final = 3600
DAY: Final = 24 * HOUR
FORTNIGHT: Final = 14 * DAY
WEEK: Final = 7 * DAY
TEN_MINUTES: Final = 600
LONG: Final = 2048
"""Bytes of a message from which on nothing is kept of it on signatures alone."""
NO_PLACE: Final = 1 << 63

Shown = tuple[dict[int, tuple[bytes, bytes | None, bytes | None]], dict[bytes, bytes | None]]
"""Channels with their updates, and nodes with what they say."""


class Cut(Exception):
    """A message that ends too soon."""


class Reader:
    """A message from its front to its end."""

    def __init__(self, data: bytes) -> None:
        self.rest = data[2:]

    def take(self, size: int) -> bytes:
        if len(self.rest) < size:
            raise Cut
        taken, self.rest = self.rest[:size], self.rest[size:]
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


@dataclass
class Announced:
    """A channel_announcement."""

    data: bytes
    signatures: list[bytes]
    chain: bytes
    place: int
    keys: list[bytes]

    @classmethod
    def read(cls, data: bytes) -> Announced:
        reader = Reader(data)
        signatures = [reader.take(64) for _ in range(4)]
        reader.take(reader.number(2))
        return cls(data, signatures, reader.take(32), reader.number(8), [reader.take(33) for _ in range(4)])

    @property
    def holds(self) -> bool:
        return all(map(verify, self.signatures, [double(self.data[258:])] * 4, self.keys))


@dataclass
class Updated:
    """A channel_update."""

    data: bytes
    signature: bytes
    chain: bytes
    place: int
    timestamp: int
    stays_here: bool
    side: int

    @classmethod
    def read(cls, data: bytes) -> Updated:
        reader = Reader(data)
        signature, chain, place, timestamp = reader.take(64), reader.take(32), reader.number(8), reader.number(4)
        message_flags, channel_flags = reader.number(1), reader.number(1)
        reader.take(26)
        return cls(data, signature, chain, place, timestamp, bool(message_flags & 2), channel_flags & 1)

    def signed_by(self, key: bytes) -> bool:
        return verify(self.signature, double(self.data[66:]), key)


@dataclass
class Named:
    """A node_announcement."""

    data: bytes
    signature: bytes
    timestamp: int
    node_id: bytes
    addresses: bytes

    @classmethod
    def read(cls, data: bytes) -> Named:
        reader = Reader(data)
        signature = reader.take(64)
        reader.take(reader.number(2))
        timestamp, node_id = reader.number(4), reader.take(33)
        reader.take(35)
        return cls(data, signature, timestamp, node_id, reader.take(reader.number(2)))

    @property
    def has_whole_addresses(self) -> bool:
        rest = self.addresses
        while rest and rest[0] in (1, 2, 3, 4, 5):
            size = {1: 6, 2: 18, 3: 12, 4: 37}.get(rest[0], 3 + rest[1] if len(rest) > 1 else 3)
            if len(rest) < 1 + size:
                return False
            rest = rest[1 + size :]
        return True


def double(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def script_of(one: bytes, other: bytes) -> bytes:
    """The output of a channel with these two funding keys."""
    lesser, greater = sorted((one, other))
    return b"\x00\x20" + hashlib.sha256(b"\x52\x21" + lesser + b"\x21" + greater + b"\x52\xae").digest()


@dataclass
class Known:
    """A channel."""

    message: Announced
    seen: int
    proven: bool = False
    contested: bool = False
    updates: dict[int, Updated] = field(default_factory=dict[int, Updated])

    @property
    def ends(self) -> list[bytes]:
        return self.message.keys[:2]


@dataclass
class Waits:
    """An update of a channel that nobody has announced."""

    message: Updated
    source: bytes
    since: float


@dataclass
class GossipModel:
    """A graph, and a verdict on each message. `outputs`: what a chain says of a place; None: there is no chain."""

    outputs: Mapping[int, UtxoResult] | None = None
    channels: dict[int, Known] = field(default_factory=dict[int, Known])
    nodes: dict[bytes, Named] = field(default_factory=dict[bytes, Named])
    dead: dict[int, tuple[Known, float]] = field(default_factory=dict[int, tuple[Known, float]])
    aside: dict[bytes, tuple[Named, float]] = field(default_factory=dict[bytes, tuple[Named, float]])
    denied: dict[int | tuple[int, bytes], tuple[str, float]] = field(
        default_factory=dict[int | tuple[int, bytes], tuple[str, float]]
    )
    orphans: list[Waits] = field(default_factory=list[Waits])
    later: list[str] = field(default_factory=list[str])
    """Verdicts on what had waited, since this was looked at."""

    def shown(self) -> Shown:
        channels: dict[int, tuple[bytes, bytes | None, bytes | None]] = {}
        for place, known in self.channels.items():
            first, second = (None if said is None else said.data for said in map(known.updates.get, (0, 1)))
            channels[place] = known.message.data, first, second
        return channels, {end: self.nodes[end].data if end in self.nodes else None for end in self.ends}

    @property
    def ends(self) -> set[bytes]:
        return {end for known in self.channels.values() for end in known.ends}

    def take(self, data: bytes, source: bytes, now: float) -> str:
        self.orphans = [one for one in self.orphans if now <= one.since + TEN_MINUTES]
        try:
            match data[:2]:
                case b"\x01\x00":
                    return self.announced(Announced.read(data), now)
                case b"\x01\x02":
                    return self.updated(Updated.read(data), source, now)
                case _:
                    return self.named(Named.read(data), now)
        except Cut:
            return "malformed"

    # Channels.

    def announced(self, one: Announced, now: float) -> str:
        known = self.channels.get(one.place)
        if one.keys[0] >= one.keys[1]:
            return "bad_order"
        if one.chain != REGTEST.chain_hash:
            return "wrong_chain"
        if known is not None and known.ends == one.keys[:2]:
            return "duplicate"
        if one.keys[2] == one.keys[3]:
            return "equal_keys"
        buried = self.buried(one.place, now)
        if buried is not None and (self.outputs is None or buried.ends == one.keys[:2]):
            return "tombstoned"
        denied = self.denial(one.place, now) or self.denial((one.place, b"".join(one.keys)), now)
        if denied:
            return denied
        if one.place >= NO_PLACE:
            return "too_early"
        if self.outputs is None and len(one.data) > LONG:
            return "limited"
        if not one.holds:
            return "bad_signature" if all(map(is_point, one.keys)) else "malformed"
        fresh = Known(one, int(now))
        if self.outputs is not None:
            refused = self.asked(fresh, self.outputs.get(one.place, Missing()), now)
            if refused:
                return refused
        elif known is not None:
            known.contested = True
            return "conflict"
        if known is not None:
            del self.channels[one.place]
            self.bury_nodes(now)
        self.enter(fresh, now)
        mine = [waits for waits in self.orphans if waits.message.place == one.place]
        self.orphans = [waits for waits in self.orphans if waits.message.place != one.place]
        for waits in sorted(mine, key=lambda waits: -waits.message.timestamp):
            self.later.append(self.updated(waits.message, waits.source, now))
        return kept(fresh)

    def asked(self, fresh: Known, answer: UtxoResult, now: float) -> str | None:
        """What a chain says against a channel."""
        one = fresh.message
        match answer:
            case Found(script=script) if script == script_of(*one.keys[2:]):
                fresh.proven = True
                return None
            case Found():
                self.denied[one.place, b"".join(one.keys)] = "wrong_script", now
                return "wrong_script"
            case Spent():
                self.denied[one.place] = "spent", now
                return "spent"
            case Failed():
                return "lookup_failed"
            case _:
                self.denied[one.place] = "missing", now
                return "missing"

    def denial(self, what: int | tuple[int, bytes], now: float) -> str | None:
        said = self.denied.get(what)
        return said[0] if said is not None and now <= said[1] + HOUR else None

    def buried(self, place: int, now: float) -> Known | None:
        found = self.dead.get(place)
        return found[0] if found is not None and now <= found[1] + WEEK else None

    def enter(self, known: Known, now: float) -> None:
        self.dead.pop(known.message.place, None)
        self.channels[known.message.place] = known
        for end in known.ends:
            said = self.aside.pop(end, None)
            if said is not None and now <= said[1] + DAY and end not in self.nodes:
                self.nodes[end] = said[0]

    # Updates.

    def updated(self, one: Updated, source: bytes, now: float) -> str:
        if one.chain != REGTEST.chain_hash:
            return "wrong_chain"
        known = self.channels.get(one.place)
        if known is not None:
            return self.updates(known, one, now) or kept(known)
        buried = self.buried(one.place, now)
        if buried is not None:
            refused = self.updates(buried, one, now)
            if refused or self.is_old(buried, now):
                return refused or "tombstoned"
            self.enter(buried, now)
            return kept(buried)
        return self.denial(one.place, now) or untimely(one, None, now) or self.orphaned(one, source, now)

    def updates(self, known: Known, one: Updated, now: float) -> str | None:
        """Why an update is refused; else it is kept."""
        refused = untimely(one, known.updates.get(one.side), now)
        if refused:
            return refused
        if one.stays_here:
            return "dont_forward"
        if len(one.data) > LONG and not known.proven:
            return "limited"
        if not one.signed_by(known.ends[one.side]):
            return "conflict" if known.contested and not known.proven else "bad_signature"
        known.updates[one.side] = one
        return None

    def orphaned(self, one: Updated, source: bytes, now: float) -> str:
        """The newest of a side of each of eight peers is kept, whoever signed it."""
        alike = [waits for waits in self.orphans if (waits.message.place, waits.message.side) == (one.place, one.side)]
        if any(waits.message.data == one.data for waits in alike):
            return "duplicate"
        if len(one.data) > LONG and not one.stays_here:
            return "limited"
        if one.signed_by(source):
            return "private_update"
        if one.stays_here:
            return "dont_forward"
        mine = [waits for waits in alike if waits.source == source]
        if any(waits.message.timestamp >= one.timestamp for waits in mine):
            return "stale"
        if not mine and len(alike) == 8:
            return "limited"
        self.orphans = [*(waits for waits in self.orphans if waits not in mine), Waits(one, source, now)]
        return "orphan"

    # Nodes.

    def named(self, one: Named, now: float) -> str:
        if one.node_id not in self.ends:
            return "orphan"
        refused = untimely(one, self.nodes.get(one.node_id), now, least=0)
        if refused:
            return refused
        if not one.has_whole_addresses:
            return "malformed"
        proven = any(known.proven for known in self.channels.values() if one.node_id in known.ends)
        if len(one.data) > LONG and not proven:
            return "limited"
        if not verify(one.signature, double(one.data[66:]), one.node_id):
            return "bad_signature"
        self.nodes[one.node_id] = one
        return "accepted" if proven else "unverified"

    # Time.

    def is_old(self, known: Known, now: float) -> bool:
        said = [known.updates[side].timestamp if side in known.updates else known.seen for side in (0, 1)]
        return now - min(said) > FORTNIGHT

    def prune(self, now: float) -> None:
        for place, known in [*self.channels.items()]:
            if self.is_old(known, now):
                del self.channels[place]
                self.dead[place] = known, now
        self.bury_nodes(now)

    def bury_nodes(self, now: float) -> None:
        """What nodes said whose last channel went is kept aside."""
        for end in self.nodes.keys() - self.ends:
            self.aside[end] = self.nodes.pop(end), now


def kept(known: Known) -> str:
    return "accepted" if known.proven else "unverified"


def untimely(
    one: Updated | Named, before: Updated | Named | None, now: float, least: float | None = None
) -> str | None:
    """Why a message is not of its time: older than what is known, or than a fortnight, or than `least`."""
    if before is not None and one.timestamp <= before.timestamp:
        if one.timestamp < before.timestamp:
            return "stale"
        return "duplicate" if one.data[66:] == before.data[66:] else "equivocation"
    if not one.timestamp:
        return "ts_zero"
    if one.timestamp > now + DAY:
        return "future"
    return "too_old" if one.timestamp < (now - FORTNIGHT if least is None else least) else None
