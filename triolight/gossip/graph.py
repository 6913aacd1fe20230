"""The graph: channels, nodes and what they said, each message once and as it came. Believes what it is given.

Nothing here checks a signature, a time or an output: that is `rules.py`, which alone changes a graph that peers fill.
Fields are read from the bytes when somebody asks. A channel of the main network costs about 1.5 kB, all in.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from struct import Struct
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from triolight.address import Address, TorV2Address, UnknownAddress, is_reachable
from triolight.chains import AnyChain, chain_hash, chain_name
from triolight.compiled import mypyc_attr
from triolight.features import Features
from triolight.gossip.fields import addresses_of, crc32c, display_alias
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId

__all__ = ["RELAY_TAIL", "Channel", "Checked", "Direction", "NetworkGraph", "Node"]

Checked: TypeAlias = Literal["signatures", "output"]
"""What was checked of a channel: that its four keys agree, or also that its output is there and unspent."""
RELAY_TAIL: Final = 1024
"""Bytes that nobody knows at a message's end with which it is still passed on, as in LDK."""
ADDRESSES_READ: Final = 32
"""Addresses of one node that are looked at."""
_FEW: Final = 32
"""New channels that are put in their places one by one; more of them are sorted in at once."""

CHANNEL_LENGTH: Final = 432
UPDATE_LENGTH: Final = 138
NODE_LENGTH: Final = 142
"""The shortest of each type."""
_UPDATE: Final = Struct(">QIBBHQIIQ")
_UPDATE_AT: Final = 98
"""Where an update's short_channel_id begins; everything that it says follows it."""


def features_length(announcement: bytes) -> int:
    """Of a channel_announcement."""
    return announcement[258] << 8 | announcement[259]


def timestamp_of(update: bytes) -> int:
    """Of a channel_update."""
    return int.from_bytes(update[106:110], "big")


def node_timestamp_of(announcement: bytes) -> int:
    """Of a node_announcement."""
    at = 68 + (announcement[66] << 8 | announcement[67])
    return int.from_bytes(announcement[at : at + 4], "big")


def node_tail(announcement: bytes) -> int:
    """Bytes behind the addresses of a node_announcement; negative if they are cut short."""
    at = 140 + (announcement[66] << 8 | announcement[67])
    return len(announcement) - at - 2 - (announcement[at] << 8 | announcement[at + 1])


@dataclass(frozen=True, slots=True)
class Direction:
    """What one end of a channel asks of payments that it passes on: a channel_update, read."""

    short_channel_id: ShortChannelId
    number: int
    """0: from node_id_1 to node_id_2; 1: back."""
    source: bytes
    """The node id of who passes payments on, and has signed this."""
    target: bytes
    timestamp: int
    disabled: bool
    cltv_expiry_delta: int
    htlc_minimum_msat: int
    htlc_maximum_msat: int
    fee_base_msat: int
    fee_proportional_millionths: int
    usable: bool
    """Whether a payment could go this way now: not disabled, limits that leave room, no feature that we do not know."""

    def fee_msat(self, amount_msat: int) -> int:
        """What it costs to have so much passed on."""
        return self.fee_base_msat + amount_msat * self.fee_proportional_millionths // 1_000_000

    def __repr__(self) -> str:
        state = "" if self.usable else " disabled" if self.disabled else " not usable"
        fee = f"{self.fee_base_msat} msat + {self.fee_proportional_millionths} ppm"
        return f"<Direction {self.short_channel_id}/{self.number}{state}, {fee}, at {self.timestamp}>"


class Channel:
    """A channel that both its nodes have announced. One object for as long as it is in the graph, and after."""

    __slots__ = (
        "_announcement",
        "_checksum_1",
        "_checksum_2",
        "_update_1",
        "_update_2",
        "borrowed",
        "capacity_sat",
        "checked",
        "contested",
        "first_hearer",
        "node_id_1",
        "node_id_2",
        "own",
        "received",
        "short_channel_id",
        "spent_height",
    )

    def __init__(
        self,
        short_channel_id: ShortChannelId,
        node_ids: tuple[bytes, bytes],
        announcement: bytes,
        *,
        capacity_sat: int | None = None,
        checked: Checked = "signatures",
        received: int = 0,
        own: bool = False,
    ) -> None:
        self.short_channel_id: Final = short_channel_id
        self.node_id_1, self.node_id_2 = node_ids
        self._announcement = announcement
        self._update_1: bytes | None = None
        self._update_2: bytes | None = None
        self._checksum_1: int | None = None
        self._checksum_2: int | None = None
        self.capacity_sat: int | None = capacity_sat
        """Of its output, where a chain was asked."""
        self.checked: Checked = checked
        self.received: int = received
        """When it was first seen, in seconds: the age of a side that has never said anything."""
        self.spent_height: int | None = None
        """The block in which its output was spent: it is forgotten 72 blocks later, unless a splice has replaced it."""
        self.own: bool = own
        """Whether one of its nodes is ours: nobody else's word was needed for it."""
        self.first_hearer: bytes | None = None
        """The peer to whose share of unasked, unverified channels it counts."""
        self.contested = False
        """Whether others have signed for another channel at its place, and no chain has said whose it is."""
        self.borrowed: int = 0
        """Which updates (bit 0, bit 1) are those of the channel that it was spliced from: good for payments until its
        own come, and for nothing else."""

    # For people.

    @property
    def node_ids(self) -> tuple[bytes, bytes]:
        """Both ends, the lesser one first."""
        return self.node_id_1, self.node_id_2

    @property
    def announcement(self) -> ChannelAnnouncement:
        """Read from its bytes each time."""
        return ChannelAnnouncement.decode(self._announcement)

    @property
    def updates(self) -> tuple[ChannelUpdate | None, ChannelUpdate | None]:
        """The newest of each end, None where there is none. Read from their bytes each time."""
        first, second = self.update_bytes(0), self.update_bytes(1)
        return (
            None if first is None else ChannelUpdate.decode(first),
            None if second is None else ChannelUpdate.decode(second),
        )

    @property
    def features(self) -> Features:
        """Those of its announcement."""
        return Features.from_bytes(self._announcement[260 : 260 + features_length(self._announcement)])

    @property
    def directions(self) -> tuple[Direction | None, Direction | None]:
        """What each end asks for, None where it has said nothing."""
        return self.direction(0), self.direction(1)

    def direction(self, number: int) -> Direction | None:
        """What one end asks for: 0 is node_id_1's, 1 is node_id_2's."""
        update = self._update_2 if number else self._update_1
        if update is None:
            return None
        _, timestamp, _, flags, delta, least, base, millionths, most = _UPDATE.unpack_from(update, _UPDATE_AT)
        capacity = self.capacity_sat
        fits = least <= most and (capacity is None or most <= capacity * 1000)
        source, target = self.node_ids if number == 0 else self.node_ids[::-1]
        return Direction(
            short_channel_id=self.short_channel_id,
            number=number,
            source=source,
            target=target,
            timestamp=timestamp,
            disabled=bool(flags & 2),
            cltv_expiry_delta=delta,
            htlc_minimum_msat=least,
            htlc_maximum_msat=most,
            fee_base_msat=base,
            fee_proportional_millionths=millionths,
            usable=fits and not flags & 2 and not self._needs_more_than_we_know,
        )

    @property
    def usable(self) -> bool:
        """Whether a payment could go over it, one way at least."""
        return any(one is not None and one.usable for one in self.directions)

    @property
    def _needs_more_than_we_know(self) -> bool:
        # Hardly any channel sets a feature at all.
        return bool(features_length(self._announcement)) and bool(self.features.unknown_required())

    def __repr__(self) -> str:
        first, second = (one.hex()[:10] for one in self.node_ids)
        sats = "capacity unknown" if self.capacity_sat is None else f"{self.capacity_sat} sat"
        said = sum(one is not None for one in (self._update_1, self._update_2))
        spent = "" if self.spent_height is None else f", spent in block {self.spent_height}"
        return (
            f"<Channel {self.short_channel_id} {first}…-{second}…, {sats}, {said} of 2 updates, {self.checked}"
            f"{spent}{'' if self.usable else ', not usable'}>"
        )

    # As bytes, for who passes them on or keeps them.

    @property
    def announcement_bytes(self) -> bytes:
        """Its channel_announcement as it came."""
        return self._announcement

    def update_bytes(self, direction: int) -> bytes | None:
        """The newest channel_update of an end (0 or 1) as it came."""
        if self.borrowed >> direction & 1:
            return None
        return self._update_2 if direction else self._update_1

    @property
    def has_update(self) -> bool:
        """Whether either end has said anything."""
        return self.update_bytes(0) is not None or self.update_bytes(1) is not None

    def timestamp(self, direction: int) -> int:
        """Of the newest update of an end; 0 without one."""
        update = self.update_bytes(direction)
        return 0 if update is None else timestamp_of(update)

    def checksum(self, direction: int) -> int:
        """Of the newest update of an end, as a reply_channel_range has it; 0 without one. Computed once."""
        known = self._checksum_2 if direction else self._checksum_1
        if known is None:
            update = self.update_bytes(direction)
            known = 0 if update is None else update_checksum(update)
            if direction:
                self._checksum_2 = known
            else:
                self._checksum_1 = known
        return known

    def relayable(self, *, unchecked: bool = False) -> bool:
        """Whether its announcement may go to others: an output that a chain has confirmed, or none was asked and
        `unchecked` says that this is enough; not spent; and no endless tail."""
        if self.spent_height is not None or not (unchecked or self.checked == "output" or self.own):
            return False
        tail = len(self._announcement) - CHANNEL_LENGTH
        return tail <= RELAY_TAIL or tail - features_length(self._announcement) <= RELAY_TAIL

    def relayable_update(self, direction: int, *, unchecked: bool = False) -> bytes | None:
        """The update of an end if it may go to others, else None."""
        return self._short_update(direction) if self.relayable(unchecked=unchecked) else None

    def relayable_updates(self, *, unchecked: bool = False) -> tuple[bytes | None, bytes | None]:
        """Those of both ends as far as they may go to others."""
        if not self.relayable(unchecked=unchecked):
            return None, None
        return self._short_update(0), self._short_update(1)

    def _short_update(self, direction: int) -> bytes | None:
        update = self._update_2 if direction else self._update_1
        if update is None or len(update) > UPDATE_LENGTH + RELAY_TAIL or self.borrowed >> direction & 1:
            return None
        return update

    def put_update(self, direction: int, update: bytes | None) -> None:
        """Keeps a channel_update of an end in place of the one before it."""
        self.borrowed &= ~(1 << direction)
        if direction:
            self._update_2, self._checksum_2 = update, None
        else:
            self._update_1, self._checksum_1 = update, None

    def borrow_updates(self, other: Channel) -> None:
        """Takes those of the channel that this one was spliced from, where it has none of its own."""
        for direction in (0, 1):
            lent = other._update_2 if direction else other._update_1
            if lent is not None and (self._update_2 if direction else self._update_1) is None:
                self.put_update(direction, lent)
                self.borrowed |= 1 << direction

    @property
    def proven(self) -> bool:
        """Whether a chain has confirmed it, or it is our own."""
        return self.own or self.checked == "output"

    @property
    def bitcoin_keys(self) -> tuple[bytes, bytes]:
        """Those of its output."""
        at = 366 + features_length(self._announcement)
        return self._announcement[at : at + 33], self._announcement[at + 33 : at + 66]


def update_checksum(update: bytes) -> int:
    """CRC32C of a channel_update without its signature and its timestamp."""
    chain = update[66:98]
    before = _CHECKSUMS_OF_CHAINS.get(chain)
    if before is None:
        before = crc32c(chain)
        if len(_CHECKSUMS_OF_CHAINS) < 16:  # no stranger fills it: foreign chains come no further than the rules
            _CHECKSUMS_OF_CHAINS[chain] = before
    return crc32c(update[98:106] + update[110:], before)


_CHECKSUMS_OF_CHAINS: Final[dict[bytes, int]] = {}
"""Half of the work is the chain hash, and that is always the same."""


class Node:
    """A node that has a channel. Its own name and addresses are None until it has announced them."""

    __slots__ = ("_announcement", "_graph", "channel_ids", "node_id")

    def __init__(self, graph: NetworkGraph, node_id: bytes) -> None:
        self.node_id: Final = node_id
        self._graph = graph
        self._announcement: bytes | None = None
        self.channel_ids: list[ShortChannelId] = []
        """Of its channels, as they came; the graph alone changes it."""

    @property
    def announcement(self) -> NodeAnnouncement | None:
        """Read from its bytes each time."""
        return None if self._announcement is None else NodeAnnouncement.decode(self._announcement)

    @property
    def channels(self) -> tuple[Channel, ...]:
        """Its channels, the oldest first."""
        channels = self._graph.channels
        return tuple(channels[one] for one in sorted(self.channel_ids))

    @property
    def degree(self) -> int:
        """How many channels it has."""
        return len(self.channel_ids)

    @property
    def neighbours(self) -> tuple[Node, ...]:
        """Those at the other ends, each once, by their ids."""
        found = {one for channel in self.channels for one in channel.node_ids if one != self.node_id}
        return tuple(self._graph.nodes[one] for one in sorted(found))

    @property
    def capacity_sat(self) -> int:
        """Of all its channels of which it is known."""
        return sum(channel.capacity_sat or 0 for channel in self.channels)

    @property
    def alias(self) -> str:
        """Its name, safe to show; empty if it has announced none."""
        if self._announcement is None:
            return ""
        at = 108 + (self._announcement[66] << 8 | self._announcement[67])
        return display_alias(self._announcement[at : at + 32])

    @property
    def timestamp(self) -> int:
        """Of its announcement; 0 without one."""
        return 0 if self._announcement is None else node_timestamp_of(self._announcement)

    @property
    def features(self) -> Features:
        """Those that it announces."""
        found = self.announcement
        return Features() if found is None else Features.from_bytes(found.features)

    @property
    def addresses(self) -> tuple[Address, ...]:
        """Where it says that it can be reached: the first 32. Of unknown types as one `UnknownAddress`, the last."""
        found = self.announcement
        return () if found is None else addresses_of(found)[:ADDRESSES_READ]

    @property
    def dialable(self) -> tuple[Address, ...]:
        """Those of its addresses that are worth a dial: a port, no Tor v2, nothing that is not of the public
        internet."""
        return tuple(
            one
            for one in self.addresses
            if not isinstance(one, TorV2Address | UnknownAddress) and one.port and is_reachable(one)
        )

    def __repr__(self) -> str:
        name = f" {self.alias!r}" if self.alias else ""
        return f"<Node {self.node_id.hex()[:10]}…{name}, {self.degree} channels>"

    @property
    def announcement_bytes(self) -> bytes | None:
        """Its node_announcement as it came."""
        return self._announcement

    @property
    def proven(self) -> bool:
        """Whether one of its channels is."""
        channels = self._graph.channels
        return any(channels[one].proven for one in self.channel_ids)

    def relayable(self, *, unchecked: bool = False) -> bytes | None:
        """Its node_announcement if it may go to others, else None: one of its channels may, it has one DNS name at
        most (BOLT 7), and no endless tail."""
        data = self._announcement
        if data is None or node_tail(data) > RELAY_TAIL or not _passes_on(data):
            return None
        channels = self._graph.channels
        may = any(channels[one].relayable(unchecked=unchecked) for one in self.channel_ids)
        return data if may else None

    def put_announcement(self, announcement: bytes | None) -> None:
        """Keeps a node_announcement in place of the one before it."""
        self._announcement = announcement


def _passes_on(announcement: bytes) -> bool:
    """Whether a node_announcement names at most one DNS host name: BOLT 7 forbids to forward others."""
    at = 140 + (announcement[66] << 8 | announcement[67])
    stop = at + 2 + (announcement[at] << 8 | announcement[at + 1])
    at += 2
    names = 0
    while at < stop:
        kind = announcement[at]
        if kind not in _ADDRESS_LENGTHS:
            break
        names += kind == 5
        at += 1 + _ADDRESS_LENGTHS[kind] + (announcement[at + 1] if kind == 5 else 0)
    return names < 2


_ADDRESS_LENGTHS: Final = {1: 6, 2: 18, 3: 12, 4: 37, 5: 3}
"""Bytes behind the type of each kind of address; a DNS name's own beside them."""


@mypyc_attr(allow_interpreted_subclasses=True)
class NetworkGraph:
    """What is known of a chain's channels and their nodes.

    `channels` by short_channel_id and `nodes` by node id are views of what is there now. Filled by `GossipRules` from
    what peers say, by a store with `load`, or by whoever has channels from elsewhere with `add`.
    """

    __slots__ = (
        "_channels",
        "_nodes",
        "_sorted",
        "_unsorted",
        "_version",
        "chain_hash",
        "channels",
        "nodes",
        "unproven",
    )

    def __init__(self, chain: AnyChain) -> None:
        self.chain_hash: Final = chain_hash(chain)
        self._channels: dict[int, Channel] = {}
        self._nodes: dict[bytes, Node] = {}
        self.channels: Final[Mapping[int, Channel]] = MappingProxyType(self._channels)
        self.nodes: Final[Mapping[bytes, Node]] = MappingProxyType(self._nodes)
        self._sorted: list[ShortChannelId] = []
        self._unsorted: list[ShortChannelId] = []
        """New ones, which nobody has asked for in order yet."""
        self._version = 0
        """Changes with each channel that comes or goes."""
        self.unproven = 0
        """Channels of which only the signatures were checked."""

    def __repr__(self) -> str:
        return f"<NetworkGraph {chain_name(self.chain_hash)}, {len(self._channels)} channels, {len(self._nodes)} nodes>"

    # In order, and as bytes.

    def ascending(self, first: int = 0, stop: int = 1 << 64) -> Iterator[Channel]:
        """Channels by short_channel_id, from `first` on and below `stop`. The graph may change meanwhile: what is
        added or removed ahead is seen, and none comes twice."""
        ids = self._order()
        at, version = bisect_left(ids, first), self._version
        while at < len(ids) and ids[at] < stop:
            short_channel_id = ids[at]
            at += 1
            yield self._channels[short_channel_id]
            if version != self._version:
                ids, version = self._order(), self._version
                at = bisect_right(ids, short_channel_id)

    def channel_announcement(self, short_channel_id: int) -> bytes:
        """As it came. KeyError if there is none."""
        return self._channels[short_channel_id].announcement_bytes

    def channel_updates(self, short_channel_id: int) -> tuple[bytes | None, bytes | None]:
        """Both as they came. KeyError if the channel is not known."""
        channel = self._channels[short_channel_id]
        return channel.update_bytes(0), channel.update_bytes(1)

    def node_announcement(self, node_id: bytes) -> bytes | None:
        """As it came; None without one. KeyError if the node is not known."""
        return self._nodes[node_id].announcement_bytes

    def _order(self) -> list[ShortChannelId]:
        if len(self._unsorted) > _FEW:
            self._sorted += self._unsorted
            self._sorted.sort()
        else:
            for one in self._unsorted:
                insort(self._sorted, one)
        self._unsorted.clear()
        return self._sorted

    # Changes. No check but what keeps the graph one graph.

    def add(self, channel: Channel) -> None:
        """A channel that is not there yet; its nodes come with it. ValueError if there is one of its id."""
        short_channel_id = channel.short_channel_id
        if short_channel_id in self._channels:
            raise ValueError(f"{short_channel_id} is in the graph")
        self._channels[short_channel_id] = channel
        self._unsorted.append(short_channel_id)
        self._version += 1
        self.unproven += not channel.proven
        first, second = self._node_of(channel.node_id_1), self._node_of(channel.node_id_2)
        first.channel_ids.append(short_channel_id)
        second.channel_ids.append(short_channel_id)
        # Equal ids as the one object that there is of each: 132 bytes less a channel.
        channel.node_id_1, channel.node_id_2 = first.node_id, second.node_id

    def _node_of(self, node_id: bytes) -> Node:
        node = self._nodes.get(node_id)
        if node is None:
            node = self._nodes[node_id] = Node(self, node_id)
        return node

    def prove(self, channel: Channel, capacity_sat: int) -> None:
        """A chain has confirmed the output of a channel that is there."""
        self.unproven -= not channel.proven
        channel.capacity_sat, channel.checked = capacity_sat, "output"

    def remove(self, short_channel_id: int) -> tuple[Channel, tuple[Node, ...]]:
        """The channel that has gone, and those of its nodes that went with it, for it was their last. KeyError if it is
        not known."""
        channel = self._channels.pop(short_channel_id)
        ids = self._order()
        del ids[bisect_left(ids, short_channel_id)]
        self._version += 1
        self.unproven -= not channel.proven
        gone: list[Node] = []
        for node_id in channel.node_ids:
            node = self._nodes[node_id]
            node.channel_ids.remove(channel.short_channel_id)
            if not node.degree:
                gone.append(self._nodes.pop(node_id))
        return channel, tuple(gone)

    def load(
        self,
        announcement: bytes,
        updates: Iterable[bytes] = (),
        *,
        capacity_sat: int | None = None,
        checked: Checked = "signatures",
        received: int = 0,
        spent_height: int | None = None,
    ) -> Channel:
        """A channel with its updates, as a store has kept them: verified once, and not again.

        ValueError if this is no channel_announcement, or of another chain, or there already, or an update is none of
        this channel's.
        """
        channel = self.read_channel(announcement)
        channel.capacity_sat, channel.checked, channel.received = capacity_sat, checked, received
        channel.spent_height = spent_height
        place = channel.short_channel_id.to_bytes(8, "big")
        for update in updates:
            if len(update) < UPDATE_LENGTH or update[:2] != b"\x01\x02" or update[98:106] != place:
                raise ValueError(f"no channel_update of {channel.short_channel_id}")
            channel.put_update(update[111] & 1, update)
        self.add(channel)
        return channel

    def load_node(self, announcement: bytes) -> Node | None:
        """A node_announcement as a store has kept it; None if the node has no channel here. ValueError if it is no
        node_announcement."""
        if len(announcement) < NODE_LENGTH or announcement[:2] != b"\x01\x01" or node_tail(announcement) < 0:
            raise ValueError("no node_announcement")
        at = 72 + (announcement[66] << 8 | announcement[67])
        node = self._nodes.get(announcement[at : at + 33])
        if node is not None:
            node.put_announcement(announcement)
        return node

    def read_channel(self, announcement: bytes) -> Channel:
        """A channel from its announcement, not added. ValueError if it is none, or of another chain."""
        if len(announcement) < CHANNEL_LENGTH or announcement[:2] != b"\x01\x00":
            raise ValueError("no channel_announcement")
        at = 260 + features_length(announcement)
        if len(announcement) < at + 172:
            raise ValueError("a channel_announcement that is cut short")
        if announcement[at : at + 32] != self.chain_hash:
            raise ValueError(f"a channel of {chain_name(announcement[at : at + 32])}")
        return Channel(
            ShortChannelId(int.from_bytes(announcement[at + 32 : at + 40], "big")),
            (announcement[at + 40 : at + 73], announcement[at + 73 : at + 106]),
            announcement,
        )
