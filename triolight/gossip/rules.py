"""The rules: from a peer's bytes to a verdict. What is cheap is looked at first, then signatures, then the output.

Whatever changes a graph that strangers fill goes through here. No clock, no chance: the same calls make the same graph.
A message is taken as its bytes, type included; nothing changes before all of its signatures hold.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from triolight.compiled import mypyc_attr
from triolight.errors import DecodeError
from triolight.gossip.changes import (
    Change,
    Changes,
    ChannelChanged,
    ChannelProven,
    ChannelSpent,
    Conflict,
    Judged,
    NodeChanged,
    PrivateUpdate,
)
from triolight.gossip.fields import Announcement, addresses_of
from triolight.gossip.graph import (
    CHANNEL_LENGTH,
    NODE_LENGTH,
    UPDATE_LENGTH,
    Channel,
    NetworkGraph,
    features_length,
    node_tail,
    node_timestamp_of,
    timestamp_of,
)
from triolight.gossip.membership import Membership
from triolight.gossip.memory import Memory
from triolight.gossip.parked import LONGEST_PARKED, Orphans, Parked
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.utxo import (
    Failed,
    Found,
    Lookups,
    Missing,
    NotYet,
    Spent,
    UtxoLookup,
    UtxoResult,
    Waiting,
    funding_script,
)
from triolight.gossip.verdicts import Verdict, Verdicts
from triolight.keys import is_point, verify
from triolight.messages import ChannelAnnouncement, ChannelUpdate, NodeAnnouncement
from triolight.wire import ShortChannelId

__all__ = ["GossipRules"]

DEFAULTS: Final = GossipPolicy()
MOST_BEHIND: Final = 4
"""Announcements of one place that wait behind another one, of as many peers: nobody has looked at their signatures."""
NO_BLOCK: Final = 1 << 63
"""From here on no short_channel_id is believed: no chain has 8 million blocks, and SQLite's integers end here."""


@mypyc_attr(allow_interpreted_subclasses=True)
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
        self.lookups_made = 0
        """Questions to the chain."""
        self.rechecks_failed = 0
        """Those about channels of the graph that it could not answer."""
        self.tip: int | None = None
        """The height of the newest block that we were told of."""
        self.changes: Final = Changes(policy.changes)
        """What has changed, until `drain`."""
        self.memory: Final = Memory(policy)
        self.membership: Final = Membership(graph, self.memory, self.changes, policy)
        self.lookups: Final = Lookups(policy)
        self.orphans: Final = Orphans(policy)
        self._asking = False
        self._rechecked_to = 0

    # What comes from peers.

    def take(self, data: bytes, source: bytes | None, now: float, *, asked: bool = False) -> Verdict:
        """What becomes of a channel_announcement, node_announcement or channel_update.

        Args:
          data: the message, its type included, as it came.
          source: the peer's node id; None for our own, which need no chain's word and count for nobody.
          now: the time, in seconds of the epoch.
          asked: whether it answers a query or filter of ours, or comes from a peer that the user named.
        """
        return self.verdicts.count(self._judge(Parked(data, source, asked), now))

    def take_message(self, message: Announcement, source: bytes | None, now: float, *, asked: bool = False) -> Verdict:
        """The same of a message that is decoded already. What is known costs no encoding either: most of what comes
        came before, from others."""
        if self._is_known(message):
            return self.verdicts.count(Verdict.DUPLICATE)
        return self.take(message.encode(), source, now, asked=asked)

    def _is_known(self, message: Announcement) -> bool:
        match message:
            case ChannelUpdate():
                channel = self.graph.channels.get(message.short_channel_id)
                known = None if channel is None else channel.update_bytes(message.channel_flags & 1)
            case NodeAnnouncement():
                node = self.graph.nodes.get(message.node_id)
                known = None if node is None else node.announcement_bytes
            case ChannelAnnouncement():
                channel = self.graph.channels.get(message.short_channel_id)
                known = None if channel is None else channel.announcement_bytes
                return known is not None and message.node_signature_1 == known[2:66]
        # Whatever else stands in it, the signature that holds is of what we have.
        return known is not None and message.signature == known[2:66]

    def processing_queue_high(self, node_id: bytes) -> bool:
        """Whether so many of a peer's announcements wait for the chain that it is not to be read from."""
        return self.lookups.count_of(node_id) >= self.policy.waiting.pending_of_peer

    def relayable(self, channel: Channel) -> bool:
        """Whether a channel may go to others, by the policy. Of updates and nodes they say it themselves, with
        ``unchecked=policy.relay_unchecked``."""
        return channel.relayable(unchecked=self.policy.relay_unchecked)

    def drain(self) -> list[Change]:
        """What has changed since the last call, in order."""
        return self.changes.drain()

    def _judge(self, one: Parked, now: float) -> Verdict:
        match one.data[:2]:
            case b"\x01\x02":
                return self._update(one, now)
            case b"\x01\x00":
                return self._channel(one, now)
            case b"\x01\x01":
                return self._node(one, now)
            case _:
                raise ValueError("neither a channel_announcement nor a node_announcement nor a channel_update")

    def _again(self, held: Iterable[Parked], short_channel_id: int, now: float) -> None:
        """Judges what had to wait."""
        for one in held:
            verdict = self._judge(one, now)
            if verdict not in (Verdict.PENDING, Verdict.EARLY):
                self.verdicts.count(verdict)
                self.changes.put(Judged(one.source, short_channel_id, verdict))

    # Channels.

    def _channel(self, one: Parked, now: float) -> Verdict:
        data = one.data
        size = len(data)
        if size < CHANNEL_LENGTH or size < CHANNEL_LENGTH + features_length(data):
            return Verdict.MALFORMED
        at = 260 + features_length(data)
        node_ids = data[at + 40 : at + 73], data[at + 73 : at + 106]
        if node_ids[0] >= node_ids[1]:
            return Verdict.BAD_ORDER
        if data[at : at + 32] != self.graph.chain_hash:
            return Verdict.WRONG_CHAIN
        short_channel_id = ShortChannelId.from_bytes(data[at + 32 : at + 40], "big")
        known = self.graph.channels.get(short_channel_id)
        if known is not None and known.node_ids == node_ids and (not known.own or _says_no_more(one, known)):
            return Verdict.DUPLICATE
        refusal = self._channel_refused(one, at, short_channel_id, node_ids, now)
        if refusal is not None:
            return refusal
        keys = *node_ids, data[at + 106 : at + 139], data[at + 139 : at + 172]
        seen = bool(self.memory.seen) and self.memory.seen.get(hashlib.sha256(data).digest(), now) is not None
        if not seen:
            digest = _digest(data, 258)
            for number, key in enumerate(keys):
                if not self._verify(data[2 + 64 * number : 66 + 64 * number], digest, key):
                    # No signature is of what is no key, so nobody pays for this question but who sent it.
                    return Verdict.BAD_SIGNATURE if all(map(is_point, keys)) else Verdict.MALFORMED
        channel = Channel(short_channel_id, node_ids, data, received=int(now), own=one.source is None)
        if one.source is None:
            return self._own(channel, known, now)
        if known is not None and (known.own or self.utxo_lookup is None):
            known.contested = True
            if not seen:
                self.memory.seen.put(hashlib.sha256(data).digest(), True, now)
                self.changes.put(Conflict(known, data, one.source))
            return Verdict.CONFLICT
        return self._wait(Waiting(channel, one.source, one.asked), now)

    def _channel_refused(
        self, one: Parked, at: int, short_channel_id: ShortChannelId, node_ids: tuple[bytes, bytes], now: float
    ) -> Verdict | None:
        """Why nobody looks at the signatures of an announcement."""
        data, memory = one.data, self.memory
        if data[at + 106 : at + 139] == data[at + 139 : at + 172]:
            return Verdict.EQUAL_KEYS
        if one.source is None:
            return None
        waiting = self.lookups.get(short_channel_id)
        if waiting is not None:
            return _behind(waiting, one)
        tombstone = memory.tombstones.get(short_channel_id, now)
        if tombstone is not None and (self.utxo_lookup is None or tombstone.node_ids == node_ids):
            return Verdict.TOMBSTONED
        if memory.closed.get(short_channel_id, now) is not None:
            return Verdict.SPENT
        if memory.negative:
            denied = memory.negative.get(short_channel_id, now) or memory.negative.get(data[at + 32 : at + 172], now)
            if denied is not None:
                return denied
        if memory.blacklist and any(memory.blacklist.get(node_id, now) for node_id in node_ids):
            return Verdict.BLACKLISTED
        ahead = 0 if self.tip is None else short_channel_id.block - self.tip
        if short_channel_id >= NO_BLOCK or ahead > self.policy.early_blocks:
            return Verdict.TOO_EARLY
        if self._is_early(short_channel_id):
            has_room = self.lookups.has_room_early(one.source)
        else:
            has_room = self.utxo_lookup is None or self.lookups.has_room
        if self.utxo_lookup is None:
            has_room = has_room and self.membership.has_room(one)
        return None if has_room else Verdict.LIMITED

    def _is_early(self, short_channel_id: ShortChannelId) -> bool:
        return self.tip is not None and short_channel_id.block + self.policy.minimum_depth - 1 > self.tip

    def _wait(self, waiting: Waiting, now: float) -> Verdict:
        """A channel whose signatures hold goes the rest of its way, as far as it can now."""
        if self._is_early(waiting.channel.short_channel_id):
            self.lookups.hold_early(waiting, now)
        elif self.utxo_lookup is None:
            return self._admit(waiting, now)
        else:
            self.lookups.queue(waiting)
            self._ask(now)
        if waiting.verdict is not None:
            return waiting.verdict
        waiting.told = True
        return waiting.state

    def _own(self, channel: Channel, known: Channel | None, now: float) -> Verdict:
        """Our own word is enough, for or against whatever is there."""
        waiting = self.lookups.drop(channel.short_channel_id)
        if known is not None:
            self.membership.remove(known, "replaced", now)
        made = Waiting(channel, None, True)
        if waiting is not None:
            made.nodes = waiting.nodes
            if waiting.channel.node_ids == channel.node_ids:
                made.updates = waiting.updates
        verdict = self._admit(made, now)
        if waiting is not None:
            same = waiting.channel.node_ids == channel.node_ids
            self._settle(waiting, Verdict.DUPLICATE if same else Verdict.CONFLICT, now)
        return verdict

    def _admit(self, waiting: Waiting, now: float, *, instead_of: Iterable[Channel] = ()) -> Verdict:
        """The channel is in the graph, and so is what came for it meanwhile."""
        channel, source = waiting.channel, waiting.source
        if not waiting.asked:
            self.membership.counts_for(channel, source)
        self.membership.enter(channel, source, now)
        for old in instead_of:
            channel.borrow_updates(old)
            self.membership.remove(old, "spliced", now)
            self.memory.closed.put(old.short_channel_id, channel.short_channel_id.block, now)
        self._again(waiting.updates.values(), channel.short_channel_id, now)
        if self.orphans:
            self._again(self.orphans.take(channel.short_channel_id, now), channel.short_channel_id, now)
        self._again(waiting.nodes.values(), channel.short_channel_id, now)
        return _kept(channel)

    # The chain's word.

    def may_replace(self, token: int) -> list[ShortChannelId]:
        """The channels one of which what was asked about with this token may be spliced from: those of the same two
        nodes in earlier blocks, the newest first. Who answers says which of them its transaction spends."""
        waiting = self.lookups.asked_with(token)
        if waiting is None:
            return []
        channels, place = self.graph.channels, waiting.channel.short_channel_id
        nodes = [node for node in map(self.graph.nodes.get, waiting.channel.node_ids) if node is not None]
        if len(nodes) < 2 or place in channels:
            return []
        listed = min((node.channel_ids for node in nodes), key=len)
        older = (one for one in listed if one.block < place.block)
        return sorted((one for one in older if channels[one].node_ids == waiting.channel.node_ids), reverse=True)

    def resolve(self, token: int, result: UtxoResult, now: float) -> None:
        """What `UtxoLookup.get_utxo` was asked for under this token. Nothing happens for one that has had its answer,
        or waited too long for it."""
        self._answer(token, result, now)
        self._ask(now)

    def _ask(self, now: float) -> None:
        lookup = self.utxo_lookup
        if lookup is None or self._asking:
            return
        self._asking = True
        try:
            while (asked := self.lookups.next(now)) is not None:
                token, waiting = asked
                self.lookups_made += 1
                result = lookup.get_utxo(self.graph.chain_hash, waiting.channel.short_channel_id, token)
                if result is not None:
                    self._answer(token, result, now)
        finally:
            self._asking = False

    def _answer(self, token: int, result: UtxoResult, now: float) -> None:
        waiting = self.lookups.answered(token)
        if waiting is None:
            return
        negative, short_channel_id = self.memory.negative, waiting.channel.short_channel_id
        match result:
            case Found():
                self._settle(waiting, self._found(waiting, result, now), now)
            case NotYet() if short_channel_id in self.graph.channels:
                self._settle(waiting, Verdict.LOOKUP_FAILED, now)
            case NotYet() if self.lookups.has_room_early(waiting.source):
                self.lookups.hold_early(waiting, now)
            case NotYet():
                self._settle(waiting, Verdict.LIMITED, now)
            case Missing():
                negative.put(short_channel_id, Verdict.MISSING, now)
                self._settle(waiting, Verdict.MISSING, now)
            case Spent():
                negative.put(short_channel_id, Verdict.SPENT, now)
                self._settle(waiting, Verdict.SPENT, now)
            case Failed():
                self.rechecks_failed += short_channel_id in self.graph.channels
                self._settle(waiting, Verdict.LOOKUP_FAILED, now)

    def _found(self, waiting: Waiting, found: Found, now: float) -> Verdict:
        channel, channels = waiting.channel, self.graph.channels
        if found.script != funding_script(*channel.bitcoin_keys):
            data = channel.announcement_bytes
            at = 260 + features_length(data)
            self.memory.negative.put(data[at + 32 : at + 172], Verdict.WRONG_SCRIPT, now)
            return Verdict.WRONG_SCRIPT
        known = channels.get(channel.short_channel_id)
        if known is channel:
            if not channel.proven:
                self.changes.put(ChannelProven(channel))
            self.graph.prove(channel, found.capacity_sat)
            return Verdict.ACCEPTED
        channel.capacity_sat, channel.checked = found.capacity_sat, "output"
        if known is not None:
            self.changes.put(Conflict(known, channel.announcement_bytes, waiting.source))
            both = known.checked == "output" and funding_script(*known.bitcoin_keys) == found.script
            if self.policy.blacklist and both:
                self._blacklist({*known.node_ids, *channel.node_ids}, now)
                return Verdict.CONFLICT
            self.membership.remove(known, "replaced", now)
        old = [one for one in map(channels.get, found.spends) if one is not None and one.node_ids == channel.node_ids]
        return self._admit(waiting, now, instead_of=old)

    def _settle(self, waiting: Waiting, verdict: Verdict, now: float) -> None:
        """An announcement waits no more, whatever has become of it."""
        waiting.verdict = verdict
        channel = waiting.channel
        if self.graph.channels.get(channel.short_channel_id) is channel:
            self._rechecked(channel, verdict, now)
        elif verdict.passed == "no":
            self.memory.seen.put(hashlib.sha256(channel.announcement_bytes).digest(), True, now)
        if waiting.told:
            self.verdicts.count(verdict)
            self.changes.put(Judged(waiting.source, channel.short_channel_id, verdict))
        self._again(waiting.behind, channel.short_channel_id, now)

    def recheck(self, now: float, *, most: int = 1000, proven: bool = False) -> bool:
        """Asks the chain about the next channels that are in the graph without its word, `most` of them at the most;
        with `proven` about all of them, for who is told of no spends. A thousand channels are looked at in a call.
        True: that was the last of them, and the next call begins again."""
        for looked, channel in enumerate(self.graph.ascending(self._rechecked_to)):
            self._rechecked_to = channel.short_channel_id
            if not most or not self.lookups.has_room or looked == self.policy.prune_slice:
                return False
            waits = self.lookups.get(channel.short_channel_id) is not None
            if not channel.own and not waits and (proven or not channel.proven):
                most -= 1
                self.lookups.queue(Waiting(channel, None, True))
                self._ask(now)
        self._rechecked_to = 0
        return True

    def _rechecked(self, channel: Channel, verdict: Verdict, now: float) -> None:
        """What a chain says of a channel that is in the graph."""
        if verdict is Verdict.SPENT and self.tip is not None:
            self._spent(channel.short_channel_id, self.tip, now)
        elif verdict in (Verdict.SPENT, Verdict.MISSING, Verdict.WRONG_SCRIPT):
            self.membership.remove(channel, "spent" if verdict is Verdict.SPENT else "disproven", now)

    def _blacklist(self, node_ids: set[bytes], now: float) -> None:
        """They have proven two channels with one output: all of theirs go."""
        for node_id in sorted(node_ids):
            self.memory.blacklist.put(node_id, True, now)
            node = self.graph.nodes.get(node_id)
            for channel in () if node is None else node.channels:
                self.membership.remove(channel, "blacklisted", now)

    def block_connected(self, height: int, now: float, spent: Iterable[int] = ()) -> None:
        """The chain has a new block at this height, which spends the outputs of these channels."""
        self.tip = height
        for short_channel_id in spent:
            self._spent(short_channel_id, height, now)
        last = height - self.policy.spent_blocks
        for channel in [*self.graph.channels.values()]:
            if channel.spent_height is not None and channel.spent_height <= last:
                self.membership.remove(channel, "spent", now)
                self.memory.closed.put(channel.short_channel_id, channel.spent_height, now)
        for waiting in self.lookups.ripe(height):
            if self.utxo_lookup is not None and self.lookups.has_room:
                self.lookups.queue(waiting)
            elif self.utxo_lookup is None and self.membership.has_room(_announcement(waiting)):
                self._settle(waiting, self._admit(waiting, now), now)
            else:
                self._settle(waiting, Verdict.LIMITED, now)
        self._ask(now)

    def block_disconnected(self, height: int, now: float) -> None:
        """The block at this height is not in the chain any more. Told from the highest one down."""
        self.tip = height - 1
        self.memory.reorganised(height)
        for channel in [*self.graph.channels.values()]:
            if channel.short_channel_id.block >= height and not channel.own:
                self.membership.remove(channel, "reorganised", now)
                channel.spent_height, channel.capacity_sat, channel.checked = None, None, "signatures"
                if self.lookups.has_room_early(None) and self.lookups.get(channel.short_channel_id) is None:
                    self.lookups.hold_early(Waiting(channel, None, True), now)
            elif channel.spent_height is not None and channel.spent_height >= height:
                channel.spent_height = None
                self.changes.put(ChannelSpent(channel))

    def _spent(self, short_channel_id: int, height: int, now: float) -> None:
        channel = self.graph.channels.get(short_channel_id)
        if channel is not None and channel.spent_height is None:
            channel.spent_height = height
            self.changes.put(ChannelSpent(channel))
        if self.memory.tombstones.pop(short_channel_id) is not None:
            self.memory.closed.put(short_channel_id, height, now)
        waiting = self.lookups.drop(short_channel_id)
        if waiting is not None:
            self.memory.negative.put(short_channel_id, Verdict.SPENT, now)
            self._settle(waiting, Verdict.SPENT, now)

    # Updates.

    def _update(self, one: Parked, now: float) -> Verdict:
        data = one.data
        if len(data) < UPDATE_LENGTH:
            return Verdict.MALFORMED
        if data[66:98] != self.graph.chain_hash:
            return Verdict.WRONG_CHAIN
        short_channel_id = int.from_bytes(data[98:106], "big")
        channel = self.graph.channels.get(short_channel_id)
        if channel is not None:
            direction = data[111] & 1
            before = channel.update_bytes(direction)
            refusal = self._update_refused(channel, one, now)
            if refusal is None:
                self.changes.put(ChannelChanged(channel, direction, one.source, before))
            return refusal or _kept(channel)
        tombstone = self.memory.tombstones.get(short_channel_id, now)
        if tombstone is not None:
            return self._update_of_tombstone(tombstone, one, now)
        if self.memory.closed.get(short_channel_id, now) is not None:
            return Verdict.SPENT
        waiting = self.lookups.get(short_channel_id)
        refusal = self.memory.negative.get(short_channel_id, now)
        if refusal is None and waiting is not None:
            refusal = self._beside(waiting, one, now)
        refusal = refusal or self._not_newer(data, None, now)
        if refusal is not None:
            return refusal
        return Verdict.ORPHAN if one.source is None else self._orphan(short_channel_id, one, one.source, now)

    def _beside(self, waiting: Waiting, one: Parked, now: float) -> Verdict | None:
        """Of an update of a channel that waits. Its nodes are known by their signatures, so this one's is checked now:
        nothing false outdates what is true. None: it is of no node of this channel, and perhaps of another one's."""
        data = one.data
        direction = data[111] & 1
        before = waiting.updates.get(direction)
        refusal = self._not_newer(data, None if before is None else before.data, now)
        if refusal is not None:
            return refusal
        if data[110] & 2:
            return Verdict.DONT_FORWARD
        if len(data) > LONGEST_PARKED:
            return Verdict.LIMITED
        if not self._verify(data[2:66], _digest(data, 66), waiting.channel.node_ids[direction]):
            return None
        waiting.updates[direction] = one._replace(signed=True)
        return waiting.state

    def _update_refused(self, channel: Channel, one: Parked, now: float) -> Verdict | None:
        """Why an update of a channel is not kept; None: it is kept now."""
        data = one.data
        direction = data[111] & 1
        refusal = self._not_newer(data, channel.update_bytes(direction), now)
        if refusal is not None:
            return refusal
        if data[110] & 2:
            return Verdict.DONT_FORWARD
        if channel.spent_height is not None and not data[111] & 2:
            return Verdict.SPENT
        if len(data) > LONGEST_PARKED and not channel.proven:
            return Verdict.LIMITED
        if not one.signed and not self._verify(
            data[2:66], _digest(data, 66), channel.node_id_2 if direction else channel.node_id_1
        ):
            # Nobody's fault where it may be of the channel that stays out because another one came first.
            return Verdict.CONFLICT if channel.contested and not channel.proven else Verdict.BAD_SIGNATURE
        channel.put_update(direction, data)
        return None

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

    def _update_of_tombstone(self, channel: Channel, one: Parked, now: float) -> Verdict:
        """It is back once neither side is old: with what it was, and without another question to the chain."""
        refusal = self._update_refused(channel, one, now)
        if refusal is not None:
            return refusal
        if self.membership.is_old(channel, now):
            return Verdict.TOMBSTONED
        self.membership.enter(channel, one.source, now, returned=True)
        return _kept(channel)

    def _orphan(self, short_channel_id: int, one: Parked, source: bytes, now: float) -> Verdict:
        """An update of a channel that nobody has announced: the sender's own, or one that came too soon."""
        data = one.data
        if self.orphans.knows(short_channel_id, data, now):
            return Verdict.DUPLICATE
        stays_here = bool(data[110] & 2)
        if not stays_here and not self.orphans.has_room(source, len(data), now):
            return Verdict.LIMITED
        if self._verify(data[2:66], _digest(data, 66), source):
            self.changes.put(PrivateUpdate(source, ChannelUpdate.decode(data)))
            return Verdict.PRIVATE_UPDATE
        if stays_here:
            return Verdict.DONT_FORWARD
        return self.orphans.put(short_channel_id, one, now)

    # Nodes.

    def _node(self, one: Parked, now: float) -> Verdict:
        data = one.data
        size = len(data)
        if size < NODE_LENGTH or size < NODE_LENGTH + (data[66] << 8 | data[67]) or node_tail(data) < 0:
            return Verdict.MALFORMED
        at = 72 + (data[66] << 8 | data[67])
        node_id = data[at : at + 33]
        node, known = self.graph.nodes.get(node_id), None
        if node is not None:
            known = node.announcement_bytes
        elif self.lookups.names(node_id):
            parked = self.lookups.parked_node(node_id)
            known = None if parked is None else parked.data
        else:
            return Verdict.BLACKLISTED if self.memory.blacklist.get(node_id, now) else Verdict.ORPHAN
        timestamp = node_timestamp_of(data)
        if known is not None:
            before = node_timestamp_of(known)
            if timestamp < before:
                return Verdict.STALE
            if timestamp == before:
                return Verdict.DUPLICATE if data[66:] == known[66:] else Verdict.EQUIVOCATION
        if not timestamp:
            return Verdict.TS_ZERO
        if timestamp > now + self.policy.future:
            return Verdict.FUTURE
        try:
            addresses_of(NodeAnnouncement.decode(data))
        except DecodeError:
            return Verdict.MALFORMED
        proven = node is not None and node.proven
        if size > LONGEST_PARKED and not proven:
            return Verdict.LIMITED
        if not one.signed and not self._verify(data[2:66], _digest(data, 66), node_id):
            return Verdict.BAD_SIGNATURE
        if node is None:
            self.lookups.park_node(node_id, one._replace(signed=True))
            return Verdict.PENDING
        node.put_announcement(data)
        self.changes.put(NodeChanged(node, one.source))
        return Verdict.ACCEPTED if proven else Verdict.UNVERIFIED

    # Time.

    def tick(self, now: float) -> None:
        """What time alone does: once a second is enough."""
        for token in self.lookups.late(now):
            self._answer(token, Failed("no answer"), now)
        for waiting in self.lookups.given_up(now):
            self._settle(waiting, Verdict.LOOKUP_FAILED, now)
        self.orphans.sweep(now)
        self.memory.sweep(now)
        self._ask(now)

    def prune(self, now: float) -> bool:
        """Looks at the next thousand channels, and takes out what is too old. True: that was the last of them. To be
        called each hour until it is True; nobody else waits for 50,000 channels."""
        return self.membership.prune(now)

    def _verify(self, signature: bytes, digest: bytes, key: bytes) -> bool:
        self.verifications += 1
        return verify(signature, digest, key)


def _kept(channel: Channel) -> Verdict:
    return Verdict.ACCEPTED if channel.proven else Verdict.UNVERIFIED


def _says_no_more(one: Parked, own: Channel) -> bool:
    """Of an announcement of a channel of ours: another's other bytes are worth a look."""
    return one.source is None or one.data == own.announcement_bytes


def _announcement(waiting: Waiting) -> Parked:
    return Parked(waiting.channel.announcement_bytes, waiting.source, waiting.asked)


def _behind(waiting: Waiting, one: Parked) -> Verdict:
    """Of an announcement of a place where another one waits: equal ones are one, and one other of each of a few peers
    waits for its turn."""
    held = waiting.behind
    if one.data == waiting.channel.announcement_bytes or any(one.data == other.data for other in held):
        return waiting.state
    if len(one.data) > LONGEST_PARKED or len(held) == MOST_BEHIND or any(one.source == other.source for other in held):
        return Verdict.LIMITED
    held.append(one)
    return waiting.state


def _digest(data: bytes, at: int) -> bytes:
    return hashlib.sha256(hashlib.sha256(data[at:]).digest()).digest()
