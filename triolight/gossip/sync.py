"""P2PGossipSync: a routing handler that fills a graph by the rules, and tells peers of it as BOLT 7 asks.

It answers at once, waits for nobody and reads no clock but the two it is given: the same calls make the same graph.
What has to be done when a time has come, `tick` does; whoever has a clock calls it when `due` says, and every message
does.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from triolight.actions import DisconnectPeerWithWarning, HandleError, HandlerResult, SendWarningMessage
from triolight.errors import DecodeError
from triolight.features import Features
from triolight.gossip.answers import refusal_of
from triolight.gossip.changes import Change, Changes, Judged
from triolight.gossip.fields import Announcement
from triolight.gossip.graph import NetworkGraph
from triolight.gossip.policy import GossipPolicy
from triolight.gossip.rechecks import Rechecks
from triolight.gossip.relay import Key, channel_key, update_key
from triolight.gossip.rules import GossipRules
from triolight.gossip.serving import Serving
from triolight.gossip.upkeep import Upkeep
from triolight.gossip.utxo import UtxoLookup, UtxoResult
from triolight.gossip.verdicts import Verdict
from triolight.handlers import RoutingMessageHandler
from triolight.logger import Level
from triolight.messages import (
    ALL_CHANNELS,
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    Init,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    Warning,
)
from triolight.wire import ShortChannelId

__all__ = ["Inquirer", "P2PGossipSync"]

DEFAULTS: Final = GossipPolicy()
UNITS_OF_SIGNATURE: Final = 5
"""What checking one is worth, in messages of the pump's turn: 40 µs."""
_FEATURES: Final = Features.named("gossip_queries", "gossip_queries_ex")
_KEPT: Final = (Verdict.ACCEPTED, Verdict.UNVERIFIED)


class Inquirer(Protocol):
    """Whoever asks peers for gossip."""

    def is_asked(self, node_id: bytes) -> bool:
        """Whether what this peer sends now may be what we have asked it for."""
        ...

    def replied(self, node_id: bytes, message: ReplyChannelRange | ReplyShortChannelIdsEnd) -> bool:
        """A reply. False if nobody has asked for it."""
        ...

    def judged(self, node_id: bytes, verdict: Verdict) -> None:
        """What became of a message of this peer's."""
        ...


class _Conduct:
    """How one peer behaves."""

    __slots__ = ("faults", "unasked", "warned_at")

    def __init__(self) -> None:
        self.faults = 0
        self.unasked = 0
        self.warned_at: float | None = None


class P2PGossipSync(RoutingMessageHandler):
    """Verifies, applies, passes on, answers.

    Args:
      graph: what is filled, and told of.
      utxo_lookup: whoever has a chain. Without one a channel is what four signatures say, and goes to others only if
        the policy says `relay_unchecked`.
      policy: the numbers.
      clock: seconds, monotonic.
      unix_time: seconds since 1970; what timestamps are held against.
      chance: a number from 0 up to 1: when in a minute a peer gets what is new.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        utxo_lookup: UtxoLookup | None = None,
        policy: GossipPolicy = DEFAULTS,
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        super().__init__()
        self.graph: Final = graph
        self.policy: Final = policy
        self.rules: Final = GossipRules(graph, utxo_lookup, policy)
        self.asker: Inquirer | None = None
        """Whoever asks peers; None: every reply is unasked."""
        self.on_change: Callable[[Change], None] | None = None
        """Hears of each change, once it has happened, and must not call back."""
        self.changes: Final = Changes(policy.changes)
        """What has changed, until somebody drains it, if nobody hears of it."""
        self.warnings_kept_back = 0
        """Warnings that were not sent, for the peer had just had one."""
        self._clock: Final = clock
        self._unix_time: Final = unix_time
        self._serving: Final = Serving(
            graph, policy.serve, unchecked=policy.relay_unchecked, clock=clock, chance=chance, wake=self.wake
        )
        self._upkeep: Final = Upkeep(self.rules, clock(), unix_time())
        self._rechecks: Final = Rechecks(self.rules)
        self._held: set[bytes] = set()
        """Peers that are not read from, for too much of theirs waits for the chain."""
        self._conduct: dict[bytes, _Conduct] = {}
        self._own_nodes: dict[bytes, bytes] = {}
        """Node announcements of our own, until their node has a channel."""

    def __repr__(self) -> str:
        return f"<P2PGossipSync {self.graph!r}, {len(self._conduct)} peers>"

    @property
    def missed(self) -> int:
        """How many messages were new for peers that read so slowly that they did not get them, all together."""
        return self._serving.ring.fell

    @property
    def limited(self) -> int:
        """How many messages were not passed on, for there had been one of their kind just before."""
        return self._serving.limits.limited

    @property
    def pruning_stopped(self) -> bool:
        """Whether the clock of the day has jumped by more than an hour, and no two peers have agreed with it since:
        nothing is taken out for its age until then."""
        return self._upkeep.frozen

    @property
    def rechecks_left(self) -> int:
        """Channels that were in the graph without a chain's word, and about which it is still to be asked. None once it
        could not answer: they are asked about again later."""
        return self._rechecks.left

    # What the manager asks.

    def provided_init_features(self, node_id: bytes) -> Features:
        return _FEATURES

    def provided_node_features(self) -> Features:
        return _FEATURES

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        networks = init.tlvs.networks
        self._conduct[node_id] = _Conduct()
        self._serving.connected(node_id, foreign=bool(networks) and self.graph.chain_hash not in (networks or ()))

    def peer_disconnected(self, node_id: bytes) -> None:
        self._conduct.pop(node_id, None)
        self._held.discard(node_id)
        self._serving.disconnected(node_id)

    def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
        return self._serving.give(node_id, room)

    def last_announced(self, node_id: bytes) -> int:
        node = self.graph.nodes.get(node_id)
        waiting = self._own_nodes.get(node_id)
        last = 0 if waiting is None else NodeAnnouncement.decode(waiting).timestamp
        return last if node is None else max(last, node.timestamp)

    def announce(self, message: NodeAnnouncement) -> bool:
        """Our node_announcement: into the graph and to every peer, past its filter. A node without a channel is nobody
        to others: then it waits for one."""
        return self.announce_own(message)[0] in _KEPT

    # Our own.

    def announce_own(self, *messages: Announcement) -> tuple[Verdict, ...]:
        """What is our own goes through the rules as what others say, but for the word of a chain; into the graph; and
        to every peer, now or when it comes, whatever its filter. A channel first, then its update, then our node."""
        verdicts: list[Verdict] = []
        for message in messages:
            verdict = self._take(message, None)
            verdicts.append(verdict)
            if verdict in _KEPT or verdict is Verdict.DUPLICATE:
                self._serving.announce(_key_of(message))
            elif isinstance(message, NodeAnnouncement) and verdict is Verdict.ORPHAN:
                self._own_nodes[message.node_id] = message.encode()
            if isinstance(message, ChannelAnnouncement):
                for node_id in (message.node_id_1, message.node_id_2):
                    waiting = self._own_nodes.pop(node_id, None)
                    if waiting is not None:
                        self.announce_own(NodeAnnouncement.decode(waiting))
        return tuple(verdicts)

    # Gossip.

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> HandlerResult:
        return self._judged(node_id, self._take(message, node_id))

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> HandlerResult:
        return self._judged(node_id, self._take(message, node_id))

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> HandlerResult:
        return self._judged(node_id, self._take(message, node_id))

    def _take(self, message: Announcement, source: bytes | None) -> Verdict:
        rules = self.rules
        asked = source is not None and self.asker is not None and self.asker.is_asked(source)
        verified = rules.verifications
        verdict = rules.take_message(message, source, self._unix_time(), asked=asked)
        if rules.verifications != verified and source is not None:
            self.charge(source, (rules.verifications - verified) * UNITS_OF_SIGNATURE, ours=asked)
        if len(rules.changes):
            self._tell()
        ring = self._serving.ring
        if ring:
            ring.heard(_key_of(message), _signature_of(message), source)
        if source is not None and verdict in _KEPT and not isinstance(message, ChannelAnnouncement):
            self._upkeep.heard(source, message.timestamp, self._unix_time())
        if source is not None and self.asker is not None:
            self.asker.judged(source, verdict)
        if verdict is not Verdict.DUPLICATE:  # of which others come soon, and cost nothing
            self._tick_if_due()
        return verdict

    def _tell(self) -> None:
        """Passes on what has changed."""
        unix = self._unix_time()
        for change in self.rules.drain():
            if self.on_change is not None:
                self.on_change(change)
            else:
                self.changes.put(change)
            if isinstance(change, Judged) and change.source is not None and not self._may_be_true(change):
                action = self._judged(change.source, change.verdict)
                if action is not None and change.source in self._conduct:
                    self.push(HandleError(change.source, action))
            self._serving.changed(change, unix)

    def _may_be_true(self, judged: Judged) -> bool:
        """Whether what had to wait is of a place that somebody else, perhaps, has lied about meanwhile."""
        channel = self.graph.channels.get(judged.short_channel_id)
        return judged.verdict is Verdict.BAD_SIGNATURE and channel is not None and not channel.proven

    # The chain.

    def processing_queue_high(self, node_id: bytes) -> bool:
        high = self.rules.processing_queue_high(node_id)
        if high:
            self._held.add(node_id)
        return high

    def may_replace(self, token: int) -> list[ShortChannelId]:
        """The channels one of which what was asked about with this token may be spliced from, the newest first: a chain
        that can tell which of them is spent by it says so in ``Found.spends``."""
        return self.rules.may_replace(token)

    def resolve(self, token: int, result: UtxoResult) -> None:
        """A chain's answer to what it was asked with this token."""
        unix = self._unix_time()
        self.rules.resolve(token, result, unix)
        self._rechecks.go_on(self._clock(), unix)
        self._after()

    def block_connected(self, height: int, spent: Iterable[int] = ()) -> None:
        """The chain has a new block at this height, which spends the outputs of these channels."""
        self.rules.block_connected(height, self._unix_time(), spent)
        self._after()

    def block_disconnected(self, height: int) -> None:
        """The block at this height is not in the chain any more. Told from the highest one down."""
        self.rules.block_disconnected(height, self._unix_time())
        self._after()

    def _after(self) -> None:
        """What follows from what a chain or a clock has said."""
        self._tell()
        free = [node_id for node_id in self._held if not self.rules.processing_queue_high(node_id)]
        if free:
            self._held.difference_update(free)
            self.wake(free)

    # Queries.

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> HandlerResult:
        self._tick_if_due()
        if message.chain_hash != self.graph.chain_hash:
            return self._warned(node_id, "gossip_timestamp_filter: not a chain of ours; the filter before it stays")
        self._serving.filtered(node_id, message)
        return None

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> HandlerResult:
        self._tick_if_due()
        if not self._serving.asked_range(node_id, message):
            return self._too_much(node_id, Verdict.SECOND_QUERY, "query_channel_range while another one is answered")
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> HandlerResult:
        self._tick_if_due()
        try:
            refusal = refusal_of(message) if message.chain_hash == self.graph.chain_hash else None
        except DecodeError as error:
            return self._warned(node_id, f"query_short_channel_ids: {error}")
        if not self._serving.asked_ids(node_id, message, refused=refusal is not None):
            words = "query_short_channel_ids while another one is answered"
            return self._too_much(node_id, Verdict.SECOND_QUERY, words)
        return None if refusal is None else self._warned(node_id, f"query_short_channel_ids: {refusal}")

    def handle_reply_channel_range(self, node_id: bytes, message: ReplyChannelRange) -> HandlerResult:
        if self.asker is not None and self.asker.replied(node_id, message):
            return None
        return self._too_much(node_id, Verdict.UNASKED_REPLY, "reply_channel_range that nobody asked for")

    def handle_reply_short_channel_ids_end(self, node_id: bytes, message: ReplyShortChannelIdsEnd) -> HandlerResult:
        if self.asker is not None and self.asker.replied(node_id, message):
            return None
        return self._too_much(node_id, Verdict.UNASKED_REPLY, "reply_short_channel_ids_end that nobody asked for")

    # Verdicts.

    def _judged(self, node_id: bytes, verdict: Verdict) -> HandlerResult:
        """What follows for the peer."""
        if not verdict.warns:
            return None
        words = f"invalid gossip: {verdict.value}"
        conduct = self._conduct.get(node_id)
        if verdict.fault and conduct is not None:
            conduct.faults += 1
            if conduct.faults >= self.policy.serve.faults:
                words = f"{words}; {conduct.faults} invalid messages are enough"
                return DisconnectPeerWithWarning(_warning(words), words)
        return self._warned(node_id, words)

    def _too_much(self, node_id: bytes, verdict: Verdict, words: str) -> HandlerResult:
        """What a peer may do some times: it hears of it once."""
        self.rules.verdicts.count(verdict)
        conduct = self._conduct.get(node_id)
        if conduct is None:
            return None
        conduct.unasked += 1
        if conduct.unasked >= self.policy.serve.unasked:
            words = f"{words}, {conduct.unasked} times"
            return DisconnectPeerWithWarning(_warning(words), words)
        return self._warned(node_id, words) if conduct.unasked == 1 else None

    def _warned(self, node_id: bytes, words: str) -> HandlerResult:
        conduct, now = self._conduct.get(node_id), self._clock()
        if conduct is not None:
            if conduct.warned_at is not None and now < conduct.warned_at + self.policy.serve.warning_every:
                self.warnings_kept_back += 1
                return None
            conduct.warned_at = now
        return SendWarningMessage(_warning(words), Level.DEBUG)

    # Time.

    @property
    def due(self) -> float:
        """When `tick` has something to do, at the earliest, by the clock that was given."""
        return min(self._serving.due, self._upkeep.due)

    @property
    def due_in(self) -> float:
        """In how many seconds that is: for who has another clock."""
        return max(0.0, self.due - self._clock())

    def tick(self) -> None:
        """Does what is due: peers get what is new, answers and histories that had to wait go on, what is old goes."""
        now, unix = self._clock(), self._unix_time()
        if self._upkeep.tick(now, unix):
            self._rechecks.go_on(now, unix)
            self._after()
        self._serving.tick(unix)

    def _tick_if_due(self) -> None:
        if self._clock() >= self.due:
            self.tick()


def _warning(words: str) -> Warning:
    return Warning(channel_id=ALL_CHANNELS, data=words.encode())


def _signature_of(message: Announcement) -> bytes:
    return message.node_signature_1 if isinstance(message, ChannelAnnouncement) else message.signature


def _key_of(message: Announcement) -> Key:
    if isinstance(message, ChannelUpdate):
        return update_key(message.short_channel_id, message.channel_flags & 1)
    return message.node_id if isinstance(message, NodeAnnouncement) else channel_key(message.short_channel_id)
