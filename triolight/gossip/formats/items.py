"""What files of gossip are made of, whatever their format: a reader gives these, one after the other. Values only.

Signed formats give `Signed` messages, as they were on the wire. The others give facts that nobody signed. What a reader
cannot take is `Damaged`, with its place, and the reader goes on. Nothing here is judged: no signature, no age.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from triolight.address import Address
from triolight.wire import ShortChannelId


@dataclass(frozen=True, slots=True)
class Signed:
    """A channel_announcement, node_announcement or channel_update: its bytes, the two of the type first."""

    offset: int
    raw: bytes


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the file says that a channel's funding output holds."""

    offset: int
    short_channel_id: ShortChannelId
    capacity_sat: int


@dataclass(frozen=True, slots=True)
class Closed:
    """From here on the file has this channel no more."""

    offset: int
    short_channel_id: ShortChannelId


@dataclass(frozen=True, slots=True)
class Spent:
    """The channel's funding output was spent in the block of this height."""

    offset: int
    short_channel_id: ShortChannelId
    height: int


@dataclass(frozen=True, slots=True)
class Checked:
    """What was checked of a channel before it was stored: its signatures, or its output too."""

    short_channel_id: ShortChannelId
    what: Literal["signatures", "output"]


@dataclass(frozen=True, slots=True)
class Damaged:
    """Bytes that are not what stands in such a file, and where they begin."""

    offset: int
    why: str

    def __str__(self) -> str:
        return f"byte {self.offset}: {self.why}"


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of all that it holds, and of itself."""

    chain_hash: bytes | None = None
    timestamp: int | None = None
    version: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelFacts:
    """A channel, without its proof. node_id_1 is the smaller of the two; a capacity that is not known is None."""

    short_channel_id: ShortChannelId
    node_id_1: bytes
    node_id_2: bytes
    features: bytes = b""
    capacity_sat: int | None = None
    chan_point: str = ""
    """Of the funding output, as LND writes it: txid:vout. Empty where it is not known."""


@dataclass(frozen=True, slots=True)
class PolicyFacts:
    """What one direction of a channel costs and takes. `direction` 0 is node_id_1's."""

    short_channel_id: ShortChannelId
    direction: int
    timestamp: int
    disabled: bool
    cltv_expiry_delta: int
    htlc_minimum_msat: int
    htlc_maximum_msat: int
    fee_base_msat: int
    fee_proportional_millionths: int
    inbound_fee_base_msat: int = 0
    inbound_fee_proportional_millionths: int = 0
    """For what comes in over the channel, as LND's updates have it (bLIP 18); below 0 it makes the payment cheaper."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """Some fields of a `PolicyFacts`, which must be there already: Rapid Gossip Sync's incremental update."""

    short_channel_id: ShortChannelId
    direction: int
    changes: Mapping[str, int | bool]


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """A node, without its signature. One that has announced nothing has the timestamp 0 and no alias."""

    node_id: bytes
    timestamp: int = 0
    alias: bytes = b""
    rgb_color: bytes = bytes(3)
    features: bytes = b""
    addresses: tuple[Address, ...] = ()


Item: TypeAlias = (
    Signed
    | Capacity
    | Closed
    | Spent
    | Checked
    | Damaged
    | About
    | ChannelFacts
    | PolicyFacts
    | PolicyChange
    | NodeFacts
)
"""Whatever a reader gives."""
