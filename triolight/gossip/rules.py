"""The rules: from a peer's bytes to a verdict. What is cheap is looked at first, then signatures, then the output.

Whatever changes a graph that strangers fill goes through here. No clock, no chance: the same calls make the same graph.
A message is taken as its bytes, type included; nothing is changed and nothing is counted for a peer before all of its
signatures hold.
"""

from __future__ import annotations

import hashlib
from typing import Final

from triolight.errors import DecodeError
from triolight.gossip.changes import Change, Changes, ChannelAdded, ChannelChanged, NodeChanged
from triolight.gossip.fields import addresses_of
from triolight.gossip.graph import (
    CHANNEL_LENGTH,
    NODE_LENGTH,
    UPDATE_LENGTH,
    Channel,
    NetworkGraph,
    features_length,
    node_tail,
    timestamp_of,
)
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.utxo import UtxoLookup
from triolight.gossip.verdicts import Verdict, Verdicts
from triolight.keys import is_point, verify
from triolight.messages import NodeAnnouncement
from triolight.wire import ShortChannelId

__all__ = ["GossipRules"]

DEFAULTS: Final = GossipPolicy()


class GossipRules:
    """Fills a graph with what holds, and says of each message what became of it.

    Args:
      graph: what is filled.
      utxo_lookup: whoever has a chain; None: signatures have to do, and channels are `checked` no further.
      policy: the numbers.
    """

    def __init__(
        self, graph: NetworkGraph, utxo_lookup: UtxoLookup | None = None, policy: GossipPolicy = DEFAULTS
    ) -> None:
        self.graph: Final = graph
        self.policy: Final = policy
        self.utxo_lookup: Final = utxo_lookup
        self.verdicts: Final = Verdicts()
        self.verifications = 0
        """Signatures that were checked, good ones and bad ones."""
        self._changes = Changes(policy.changes)

    def take(self, data: bytes, source: bytes | None, now: float, *, asked: bool = False) -> Verdict:
        """What becomes of a channel_announcement, node_announcement or channel_update.

        Args:
          data: the message, its type included, as it came.
          source: the peer's node id; None for our own, which need no chain's word and count for nobody.
          now: the time, in seconds of the epoch.
          asked: whether it answers a query or filter of ours, or comes from a peer that the user named.
        """
        match data[:2]:
            case b"\x01\x02":
                verdict = self._update(data, source, now)
            case b"\x01\x00":
                verdict = self._channel(data, source, now, asked)
            case b"\x01\x01":
                verdict = self._node(data, source, now)
            case _:
                raise ValueError("neither a channel_announcement nor a node_announcement nor a channel_update")
        return self.verdicts.count(verdict)

    def drain(self) -> list[Change]:
        """What has changed since the last call, in order."""
        return self._changes.drain()

    def relayable(self, channel: Channel) -> bool:
        """Whether a channel's announcement may go to others, by the policy."""
        return channel.relayable(unchecked=self.policy.relay_unchecked)

    # Channels.

    def _channel(self, data: bytes, source: bytes | None, now: float, asked: bool) -> Verdict:
        size = len(data)
        if size < CHANNEL_LENGTH or size < CHANNEL_LENGTH + features_length(data):
            return Verdict.MALFORMED
        at = 260 + features_length(data)
        node_id_1, node_id_2 = data[at + 40 : at + 73], data[at + 73 : at + 106]
        if node_id_1 >= node_id_2:
            return Verdict.BAD_ORDER
        if data[at : at + 32] != self.graph.chain_hash:
            return Verdict.WRONG_CHAIN
        short_channel_id = int.from_bytes(data[at + 32 : at + 40], "big")
        known = self.graph.channels.get(short_channel_id)
        if known is not None and known.node_ids == (node_id_1, node_id_2):
            return Verdict.DUPLICATE
        keys = node_id_1, node_id_2, data[at + 106 : at + 139], data[at + 139 : at + 172]
        if not all(map(is_point, keys)):
            return Verdict.MALFORMED
        digest = _digest(data, 258)
        for number, key in enumerate(keys):
            if not self._verify(data[2 + 64 * number : 66 + 64 * number], digest, key):
                return Verdict.BAD_SIGNATURE
        if known is not None:
            return Verdict.CONFLICT
        interned = self.graph.interned
        channel = Channel(
            ShortChannelId(short_channel_id),
            (interned(node_id_1), interned(node_id_2)),
            data,
            received=int(now),
            own=source is None,
        )
        self.graph.add(channel)
        self._changes.put(ChannelAdded(channel, source))
        return _kept(channel)

    # Updates.

    def _update(self, data: bytes, source: bytes | None, now: float) -> Verdict:
        if len(data) < UPDATE_LENGTH:
            return Verdict.MALFORMED
        channel = self.graph.channels.get(int.from_bytes(data[98:106], "big"))
        if data[66:98] != self.graph.chain_hash:
            return Verdict.WRONG_CHAIN
        if channel is None:
            return Verdict.ORPHAN
        direction = data[111] & 1
        refusal = self._not_newer(data, channel.update_bytes(direction), now)
        if refusal is not None:
            return refusal
        if data[110] & 2:
            return Verdict.DONT_FORWARD
        if not self._verify(data[2:66], _digest(data, 66), channel.node_ids[direction]):
            return Verdict.BAD_SIGNATURE
        channel.put_update(direction, data)
        channel.checksum(direction)
        self._changes.put(ChannelChanged(channel, direction, source))
        return _kept(channel)

    def _not_newer(self, data: bytes, known: bytes | None, now: float) -> Verdict | None:
        """Why an update is too late or too early, before anybody pays for its signature."""
        timestamp = timestamp_of(data)
        if known is not None:
            before = timestamp_of(known)
            if timestamp < before:
                return Verdict.STALE
            if timestamp == before:
                # Behind the signature: who signs the same twice has said nothing else.
                return Verdict.DUPLICATE if data[66:] == known[66:] else Verdict.EQUIVOCATION
        if not timestamp:
            return Verdict.TS_ZERO
        if timestamp > now + self.policy.future:
            return Verdict.FUTURE
        if timestamp < now - self.policy.prune_age:
            return Verdict.TOO_OLD
        return None

    # Nodes.

    def _node(self, data: bytes, source: bytes | None, now: float) -> Verdict:
        size = len(data)
        if size < NODE_LENGTH:
            return Verdict.MALFORMED
        at = 68 + (data[66] << 8 | data[67])
        if size < at + 74 or node_tail(data) < 0:
            return Verdict.MALFORMED
        node = self.graph.nodes.get(data[at + 4 : at + 37])
        if node is None:
            return Verdict.ORPHAN
        timestamp, known = int.from_bytes(data[at : at + 4], "big"), node.announcement_bytes
        if known is not None:
            if timestamp < node.timestamp:
                return Verdict.STALE
            if timestamp == node.timestamp:
                return Verdict.DUPLICATE if data[66:] == known[66:] else Verdict.EQUIVOCATION
        if not timestamp:
            return Verdict.TS_ZERO
        if timestamp > now + self.policy.future:
            return Verdict.FUTURE
        try:
            addresses_of(NodeAnnouncement.decode(data))
        except DecodeError:
            return Verdict.MALFORMED
        if not self._verify(data[2:66], _digest(data, 66), node.node_id):
            return Verdict.BAD_SIGNATURE
        node.put_announcement(data)
        self._changes.put(NodeChanged(node, source))
        return Verdict.ACCEPTED

    def _verify(self, signature: bytes, digest: bytes, key: bytes) -> bool:
        self.verifications += 1
        return verify(signature, digest, key)


def _kept(channel: Channel) -> Verdict:
    return Verdict.ACCEPTED if channel.own or channel.checked == "output" else Verdict.UNVERIFIED


def _digest(data: bytes, at: int) -> bytes:
    return hashlib.sha256(hashlib.sha256(data[at:]).digest()).digest()
