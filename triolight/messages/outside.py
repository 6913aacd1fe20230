"""Message types that others put on the wire and no BOLT defines: names for people, nothing to decode."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple


class OutsideType(NamedTuple):
    """A message type outside the BOLTs: what its authors call it, and who they are."""

    type: int
    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.name} of {self.where}, outside the BOLTs"


_SEEN: Final = (
    OutsideType(0, "protocol_batch_element", "CLN (pre-start_batch splice batching)"),
    OutsideType(111, "dyn_propose", "lnd"),
    OutsideType(113, "dyn_ack", "lnd"),
    OutsideType(115, "dyn_reject", "lnd"),
    OutsideType(117, "dyn_commit", "lnd"),
    OutsideType(137, "update_blockheight", "CLN (liquidity ads)"),
    OutsideType(260, "announcement_signatures_2", "lnd (gossip v1.75)"),
    OutsideType(267, "channel_announcement_2", "lnd (gossip v1.75)"),
    OutsideType(269, "node_announcement_2", "lnd (gossip v1.75)"),
    OutsideType(271, "channel_update_2", "lnd (gossip v1.75)"),
    OutsideType(777, "kickoff_sig", "lnd"),
    OutsideType(37000, "splice_init (legacy)", "eclair"),
    OutsideType(37002, "splice_ack (legacy)", "eclair"),
    OutsideType(37004, "splice_locked (legacy)", "eclair"),
    OutsideType(39409, "recommended_feerates", "eclair"),
    OutsideType(41041, "will_add_htlc", "eclair"),
    OutsideType(41042, "will_fail_htlc", "eclair"),
    OutsideType(41043, "will_fail_malformed_htlc", "eclair"),
    OutsideType(41044, "cancel_on_the_fly_funding", "eclair"),
    OutsideType(41045, "add_fee_credit", "eclair"),
    OutsideType(41046, "current_fee_credit", "eclair"),
    OutsideType(53011, "commit_sig_batch", "eclair"),
)

OUTSIDE: Final[Mapping[int, OutsideType]] = MappingProxyType({one.type: one for one in _SEEN})
"""Type number to what is known of it. They stay UnknownMessages, and follow the odd/even rule."""


def describe_type(type: int) -> str:
    """A message type that is not registered, in words: ``type 777 (kickoff_sig of lnd, outside the BOLTs)``."""
    known = OUTSIDE.get(type)
    return f"type {type} ({known})" if known else f"type {type}"
