"""What a file of any format holds when all of it was read: channels, the newest update of each direction, and nodes.

Takes items, and judges nothing: no signature is looked at, and nothing is too old. Signed messages are kept as their
bytes, and read when somebody asks what they say. Facts without signatures are kept as they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from struct import Struct
from typing import Any, Final

from triolight.errors import DecodeError
from triolight.gossip.fields import addresses_of
from triolight.gossip.formats.items import (
    About,
    Capacity,
    ChannelFacts,
    Checked,
    Closed,
    Damaged,
    Item,
    NodeFacts,
    PolicyChange,
    PolicyFacts,
    Signed,
    Spent,
)
from triolight.gossip.formats.places import direction_of, ends_of, node_of, problem, type_of
from triolight.messages import ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId, walk_tlv_stream

MAX_WAITING: Final = 200_000
"""Updates that came before their channel: in some files the order is that of a network. More are left out, counted."""
INBOUND_FEE: Final = 55555
"""The record of a channel_update in which LND has fees for what comes in (bLIP 18)."""
_INBOUND_FEES: Final = Struct(">ii")
DAMAGES_KEPT: Final = 100
"""Of what is damaged, the first so many are kept with their places; the others are counted."""


class FileChannel:
    """A channel as a file has it: either signed messages, or facts that nobody signed."""

    __slots__ = ("_facts", "_policies", "announcement", "capacity_sat", "checked", "spent_height", "updates")

    def __init__(self, announcement: bytes | None = None, facts: ChannelFacts | None = None) -> None:
        self.announcement = announcement
        """Its bytes; None where the file has no signatures."""
        self.updates: list[bytes | None] = [None, None]
        self.capacity_sat: int | None = None if facts is None else facts.capacity_sat
        self.spent_height: int | None = None
        self.checked = ""
        """What was checked of it when it was stored: "signatures" or "output"; of most files nobody knows."""
        self._facts = facts
        self._policies: list[PolicyFacts | None] | None = None

    @property
    def facts(self) -> ChannelFacts:
        """Without the proof."""
        if self._facts is not None:
            return self._facts
        raw = self.announcement or b""
        ends = ends_of(raw)
        features = raw[260 : 260 + int.from_bytes(raw[258:260], "big")]
        return ChannelFacts(ends.short_channel_id, ends.node_id_1, ends.node_id_2, features, self.capacity_sat)

    @property
    def node_ids(self) -> tuple[bytes, bytes]:
        """Both ends, the smaller one first."""
        if self._facts is not None:
            return self._facts.node_id_1, self._facts.node_id_2
        ends = ends_of(self.announcement or b"")
        return ends.node_id_1, ends.node_id_2

    def policy(self, direction: int) -> PolicyFacts | None:
        """What a direction costs and takes; None where no update says it."""
        raw = self.updates[direction]
        if raw is not None:
            return policy_of(raw)
        return None if self._policies is None else self._policies[direction]

    @property
    def policies(self) -> tuple[PolicyFacts | None, PolicyFacts | None]:
        """Of both directions, node_id_1's first."""
        return self.policy(0), self.policy(1)

    def take_policy(self, policy: PolicyFacts) -> None:
        """One that nobody signed, if none is newer."""
        if self._policies is None:
            self._policies = [None, None]
        known = self._policies[policy.direction]
        if known is None or known.timestamp <= policy.timestamp:
            self._policies[policy.direction] = policy


def policy_of(raw: bytes) -> PolicyFacts:
    """What a channel_update says."""
    update = ChannelUpdate.decode(raw)
    return PolicyFacts(
        update.short_channel_id,
        update.channel_flags & 1,
        update.timestamp,
        bool(update.channel_flags & 2),
        update.cltv_expiry_delta,
        update.htlc_minimum_msat,
        update.htlc_maximum_msat,
        update.fee_base_msat,
        update.fee_proportional_millionths,
        *_inbound_fees(update.extension),
    )


def _inbound_fees(extension: bytes) -> tuple[int, int]:
    """Base and proportional. Behind the fields stands what anybody likes: what is no such record says nothing."""
    found = [0, 0]

    def read(type_: int, _start: int, value: int, stop: int) -> None:
        if type_ == INBOUND_FEE and stop - value == _INBOUND_FEES.size:
            found[:] = _INBOUND_FEES.unpack_from(extension, value)

    with suppress(DecodeError):
        walk_tlv_stream(extension, 0, len(extension), read)
    return found[0], found[1]


def node_facts(raw: bytes) -> NodeFacts:
    """What a node_announcement says. Addresses that are cut short are left out."""
    node = NodeAnnouncement.decode(raw)
    try:
        addresses = addresses_of(node)
    except DecodeError:
        addresses = ()
    return NodeFacts(node.node_id, node.timestamp, node.alias, node.rgb_color, node.features, addresses)


def changed(policy: PolicyFacts, changes: Mapping[str, Any]) -> PolicyFacts:
    """The policy with some fields of another value."""
    return replace(policy, **changes)


class Snapshot:
    """What was read of a file."""

    def __init__(self, chain_hash: bytes | None = None) -> None:
        """`chain_hash`: of the only chain whose messages are taken; None: of the first one that comes."""
        self.chain_hash = chain_hash
        self.channels: dict[ShortChannelId, FileChannel] = {}
        self.announced: dict[bytes, bytes | NodeFacts] = {}
        """What nodes say of themselves, those without a channel too: as they signed it, or facts."""
        self.damaged: list[Damaged] = []
        self.left_out: Counter[str] = Counter()
        """What was not taken, by the reason, damages among them."""
        self._waiting: dict[tuple[ShortChannelId, int], bytes] = {}

    @property
    def signed(self) -> bool:
        """Whether all of it is signed messages."""
        return all(one.announcement is not None for one in self.channels.values())

    @property
    def nodes(self) -> set[bytes]:
        """All ends of channels."""
        return {node_id for channel in self.channels.values() for node_id in channel.node_ids}

    def node(self, node_id: bytes) -> NodeFacts:
        """What a node says of itself; only its id, if it says nothing."""
        said = self.announced.get(node_id)
        if said is None:
            return NodeFacts(node_id)
        return said if isinstance(said, NodeFacts) else node_facts(said)

    def messages(self) -> Iterator[tuple[bytes, int | None]]:
        """The signed ones: channels with their updates behind them, by their ids; then nodes that have channels.
        A channel_announcement comes with its capacity, if that is known."""
        for _, channel in sorted(self.channels.items()):
            if channel.announcement is None:
                continue
            yield channel.announcement, channel.capacity_sat
            for raw in channel.updates:
                if raw is not None:
                    yield raw, None
        for node_id in sorted(self.nodes):
            said = self.announced.get(node_id)
            if isinstance(said, bytes):
                yield said, None

    def take_all(self, items: Iterable[Item]) -> None:
        """All that a reader gives. ValueError as the reader raises it."""
        for item in items:
            self.take(item)
        for _ in self._waiting:
            self.left_out["updates of channels that the file does not have"] += 1
        self._waiting.clear()

    def take(self, item: Item) -> None:
        """One of what a reader gives."""
        match item:
            case Signed(offset, raw):
                self._take_signed(offset, raw)
            case Damaged():
                self._damage(item)
            case Capacity(_, scid, capacity):
                channel = self.channels.get(scid)
                if channel is not None:
                    channel.capacity_sat = capacity
            case Closed(_, scid):
                self.channels.pop(scid, None)
            case Spent(_, scid, height):
                channel = self.channels.get(scid)
                if channel is not None:
                    channel.spent_height = height
            case Checked(scid, what):
                channel = self.channels.get(scid)
                if channel is not None:
                    channel.checked = what
            case About(chain_hash):
                self.chain_hash = self.chain_hash or chain_hash
            case ChannelFacts():
                known = self.channels.get(item.short_channel_id)
                if known is None:
                    self.channels[item.short_channel_id] = FileChannel(facts=item)
            case PolicyFacts(scid):
                channel = self.channels.get(scid)
                if channel is None:
                    self.left_out["updates of channels that the file does not have"] += 1
                else:
                    channel.take_policy(item)
            case PolicyChange(scid, direction, changes):
                channel = self.channels.get(scid)
                policy = None if channel is None else channel.policy(direction)
                if channel is None or policy is None:
                    self.left_out["incremental updates of what the file does not have"] += 1
                else:
                    channel.take_policy(changed(policy, changes))
            case NodeFacts(node_id):
                self.announced[node_id] = item

    def _damage(self, damaged: Damaged) -> None:
        self.left_out["damaged"] += 1
        if len(self.damaged) < DAMAGES_KEPT:
            self.damaged.append(damaged)

    def _take_signed(self, offset: int, raw: bytes) -> None:
        why = problem(raw)
        if why:
            self._damage(Damaged(offset, why))
            return
        match type_of(raw):
            case 256:
                ends = ends_of(raw)
                if self._is_elsewhere(ends.chain_hash) or ends.short_channel_id in self.channels:
                    return
                channel = self.channels[ends.short_channel_id] = FileChannel(raw)
                for direction in (0, 1):
                    channel.updates[direction] = self._waiting.pop((ends.short_channel_id, direction), None)
            case 258:
                self._take_update(raw)
            case _:
                node_id, timestamp = node_of(raw)
                known = self.announced.get(node_id)
                if not isinstance(known, bytes) or node_of(known)[1] < timestamp:
                    self.announced[node_id] = raw

    def _take_update(self, raw: bytes) -> None:
        chain_hash, scid, direction, timestamp = direction_of(raw)
        if self._is_elsewhere(chain_hash):
            return
        channel = self.channels.get(scid)
        known = self._waiting.get((scid, direction)) if channel is None else channel.updates[direction]
        if known is not None and direction_of(known).timestamp >= timestamp:
            return
        if channel is not None:
            channel.updates[direction] = raw
        elif len(self._waiting) < MAX_WAITING:
            self._waiting[scid, direction] = raw
        else:
            self.left_out["updates that came before their channels, too many of them"] += 1

    def _is_elsewhere(self, chain_hash: bytes) -> bool:
        if self.chain_hash is None:
            self.chain_hash = chain_hash
        if chain_hash == self.chain_hash:
            return False
        self.left_out["of another chain"] += 1
        return True
