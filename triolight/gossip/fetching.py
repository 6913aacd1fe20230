"""Fetching a graph from several peers: who is asked what, who takes over, and when nothing is left to be asked.

Pure, as `asking.py`: messages and times in, queries out. What holds, whatever peers do: one query a peer; each channel
that somebody lists and we lack is queued, asked, got or absent, and none is lost when a peer goes; nothing is asked
twice of one connection; time and memory are bounded.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, TypeAlias

from triolight.chains import BITCOIN
from triolight.gossip.asking import NODES, Asker, BatchAnswer, Gossip, HistoryAnswer, RangeAnswer, difference
from triolight.gossip.claims import NO_CLAIM, Claims
from triolight.gossip.graph import NetworkGraph
from triolight.gossip.policy import SyncPolicy
from triolight.gossip.sources import End, Source, Straggling
from triolight.gossip.wants import Wants
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)

__all__ = ["FIRST_BLOCK", "Fetching", "Progress", "Query", "Source"]

FIRST_BLOCK: Final = 497_000
"""Of the main network."""
LAST_BLOCK: Final = 0xFFFFFFFF
MOST_SOURCES: Final = 256
"""Connections that one fetch takes up, those that come back included."""
READ_AT_ONCE: Final = 1000
"""Channels that are looked at before others have their turn: a millisecond."""
OFFERED_AT_ONCE: Final = 16
"""Messages that came before their channel, and are looked at again: each a signature."""
DEFAULTS: Final = SyncPolicy()

Query: TypeAlias = QueryChannelRange | QueryShortChannelIds | GossipTimestampFilter


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a fetch is. No number ever becomes smaller."""

    known: int
    """Channels that somebody has more of than we had."""
    asked: int
    got: int
    absent: int
    """Listed, and nobody had it when asked."""
    listed: int
    """Peers that have listed their channels, or never will."""
    peers: int
    """Connections taken up."""


def _never(short_channel_id: int) -> bool:
    return False


def _nobody(node_id: bytes) -> bool:
    return False


def _wanted_nodes(graph: NetworkGraph, one: int, due: Collection[bytes]) -> int:
    """Which ends of a channel have not announced themselves, or are to do so again."""
    channel = graph.channels.get(one)
    if channel is None:
        return 0
    nodes = graph.nodes
    return sum(
        flag
        for flag, node_id in zip(NODES, channel.node_ids, strict=True)
        if nodes[node_id].announcement_bytes is None or node_id in due
    )


class _NodesAsked:
    """What peers are asked for of nodes."""

    __slots__ = ("beside", "due", "refresh")

    def __init__(self, refresh: Callable[[bytes], bool]) -> None:
        self.refresh: Final = refresh
        self.due: Final[set[bytes]] = set()
        """Those that are to announce themselves again, about whom somebody is to be asked."""
        self.beside: Final[dict[int, int]] = {}
        """Who was asked for a channel's nodes beside it, a bit a source."""


class Fetching:
    """One fetch. Feed it with what peers say and with time, send what `tick` gives, until it is `done`.

    Args:
      graph: what is filled, by whoever takes the messages; here it is only read.
      policy: the numbers.
      now: the time of the same clock as everywhere here.
      unix: the time of day then.
      offer: takes a message of a node once more, which came before its channel.
      blocks: which blocks' channels are asked for, the first one and how many; None: all.
      settled: whether a channel that is not in the graph was told all the same: it waits for a chain, or was refused.
      listed: which channels are asked for, in place of those that a source lists; None: it is asked for its list.
      refresh: of which nodes it is asked what they say now, although they have announced themselves: nothing in a list
        of channels tells that this has changed.
    """

    def __init__(
        self,
        graph: NetworkGraph,
        policy: SyncPolicy = DEFAULTS,
        *,
        now: float,
        unix: float,
        offer: Callable[[bytes, bytes], None],
        blocks: tuple[int, int] | None = None,
        settled: Callable[[int], bool] = _never,
        listed: Sequence[int] | None = None,
        refresh: Callable[[bytes], bool] = _nobody,
    ) -> None:
        self._graph: Final = graph
        self._offer: Final = offer
        self._settled: Final = settled
        self._asked_for: Final = listed
        self._nodes: Final = _NodesAsked(refresh)
        self._policy: Final = policy
        self._began: Final = now
        self._unix: Final = unix
        if blocks is None:
            usual = FIRST_BLOCK if graph.chain_hash == BITCOIN.chain_hash else 0
            first = usual if policy.first_block is None else policy.first_block
            blocks = first, LAST_BLOCK - first
        self._blocks: Final = blocks
        self.sources: Final[list[Source]] = []
        self._channels: Final = Wants()
        self._ends: Final = Wants()
        """Channels whose nodes have not announced themselves, asked for once all channels are there."""
        self.telling_nodes = False
        """Whether all channels are there, and what is asked for is what their nodes say of themselves."""
        self._alone_since: float | None = now
        self._overdue = self._looked = now
        """When something is to be done at once, and when it was looked last."""
        self._winding: Iterator[None] | None = None
        """What is done step by step, and nothing else before it is over."""
        self.done = False
        self.gave_up = False

    # Who is asked.

    def join(self, node_id: bytes, now: float, asker: Asker | None = None) -> Source | None:
        """A connection to ask: a new one, or of a node that was here before. None if it is not wanted any more.

        `asker`: what was learned of the same connection before.
        """
        if self.done or len(self.sources) == MOST_SOURCES:
            return None
        before = [one for one in self.sources if one.node_id == node_id]
        if any(not one.is_out for one in before):
            return None
        if before and (before[-1].end != "closed" or len(before) > self._policy.returns):
            return None
        if asker is None:
            asker = Asker(self._graph.chain_hash, self._policy.asking)
        asker.free_at = max(asker.free_at, now)
        source = Source(node_id, 1 << len(self.sources), asker)
        self.sources.append(source)
        self._alone_since = None
        if self._asked_for is not None:
            claims = Claims()
            claims.add(self._asked_for, None, None)
            self._claim(source, claims)
        elif before and before[-1].listing == "done":
            source.lists_all = before[-1].lists_all
            source.failures = before[-1].failures
            self._claim(source, before[-1].claims)
            before[-1].claims, before[-1].lists_all = Claims(), False
        return source

    def leave(self, source: Source, now: float) -> None:
        """Its connection has ended: who else lists what it was asked for takes over."""
        if not source.is_out:
            self._out(source, "closed")
        self._still_alone(now)

    def _still_alone(self, now: float) -> None:
        if self._alone_since is None and all(one.is_out for one in self.sources):
            self._alone_since = now

    # What they say.

    def take(self, source: Source, message: Gossip | ReplyChannelRange | ReplyShortChannelIdsEnd, now: float) -> None:
        """A message of a source; gossip after it was offered to the graph."""
        match message:
            case ReplyChannelRange():
                listed = source.asker.take_range(message, now)
                if listed is not None:
                    self._listed(source, listed, now)
            case ReplyShortChannelIdsEnd():
                answer = source.asker.take_end(message, now)
                if answer is not None:
                    self._answered(source, answer, now)
            case _:
                self._gossip(source, message, now)

    def _gossip(self, source: Source, message: Gossip, now: float) -> None:
        graph = self._graph
        match message:
            case ChannelAnnouncement():
                source.told.channels += 1
                size, early = 432 + len(message.features), False
            case ChannelUpdate():
                source.told.updates += 1
                size, early = 138, message.short_channel_id not in graph.channels
            case _:
                source.told.nodes += 1
                size, early = 142 + len(message.addresses), message.node_id not in graph.nodes
        source.asker.take_gossip(message, size, now)
        if early and (source.batch is not None or source.straggling):
            source.parked.put(message.encode(), self._policy.parked_bytes)

    def _unpark(self, source: Source) -> None:
        """The channels are there, or will not come."""
        source.parked.due = len(source.parked.messages)
        self._overdue = -math.inf

    def _offer_parked(self, source: Source, now: float) -> None:
        """Some of what came before its channel is offered to the graph again."""
        # What belongs to a straggler gets one more chance, and no more than that.
        keep = bool(source.straggling)
        for data in source.parked.take(OFFERED_AT_ONCE, keep=keep):
            self._offer(source.node_id, data)
        if source.parked.due:
            self._overdue = -math.inf
            return
        if keep:
            source.parked.until = min(source.parked.until, now + self._policy.asking.quiet)
        else:
            source.parked.clear()
        if source.answer is not None:
            (wants, answer), source.answer = source.answer, None
            self._conclude(source, wants, answer, now)

    # Time.

    @property
    def look_again(self) -> float:
        """When `tick` has something to do, if nothing comes before. Infinity once it is done."""
        if self.done:
            return math.inf
        soonest = min(self._began + self._policy.fetch_seconds, self._overdue)
        if self._alone_since is not None:
            soonest = min(soonest, self._alone_since + self._policy.return_seconds)
        for source in self.sources:
            if source.is_out:
                continue
            soonest = min(soonest, source.asker.look_again, source.asker.owes_until, source.parked.until)
            if source.straggling:
                soonest = min(soonest, source.straggling[0].until)
            if source.asker.idle and not source.asker.owes_end and self._has_work(source):
                soonest = min(soonest, source.asker.free_at)
            elif source.asker.idle:
                oldest = min(one.asker.asked_at for one in self.sources if not one.is_out)
                # What was too new to be asked twice when we looked is not so a moment later.
                soonest = min(soonest, max(oldest + self._policy.hedge, self._looked + 1))
        return soonest

    def tick(self, now: float) -> list[tuple[Source, Query]]:
        """What is to be sent, after something came, somebody came or went, or time has passed."""
        if self.done:
            return []
        self._overdue, self._looked = math.inf, now
        for source in self.sources:
            if source.is_out:
                continue
            match source.asker.tick(now):
                case RangeAnswer() as listed:
                    self._listed(source, listed, now)
                case BatchAnswer() as answer:
                    self._answered(source, answer, now)
                case HistoryAnswer():
                    self._out(source, "tells by itself")
                case None:
                    pass
            if source.listing == "read":
                self._read(source)
            if now >= source.asker.owes_until:
                self._out(source, "silent")
            if now >= source.parked.until:
                source.parked.until = math.inf
                self._unpark(source)
            while source.straggling and now >= source.straggling[0].until:
                late = source.straggling.popleft()
                self._settle(source, late.wants, late.short_channel_ids)
                if not source.straggling:
                    self._unpark(source)
            if source.parked.due:
                self._offer_parked(source, now)
        self._still_alone(now)
        if now >= self._began + self._policy.fetch_seconds and not self.gave_up:
            self.gave_up = True
            self._winding = self._finish()
        if self._winding is not None:
            self._wind()
            return []
        queries = list(self._queries(now))
        if not queries:
            self._look_whether_done(now)
            if not self.done and self.telling_nodes and self._winding is None:
                queries = list(self._queries(now))
        return queries

    def _wind(self) -> None:
        """One step of what takes long."""
        for _ in self._winding or ():
            break
        else:
            self._winding = None
        if not self.done:
            self._overdue = -math.inf

    def _queries(self, now: float) -> Iterator[tuple[Source, Query]]:
        listing = sum(one.listing == "asked" for one in self.sources if not one.is_out)
        for source in self.sources:
            asker = source.asker
            if source.is_out or not asker.may_ask(now) or source.parked.due:
                continue
            if source.listing == "waits":
                if listing < self._policy.ranges:
                    listing += 1
                    source.listing = "asked"
                    yield source, asker.ask_range(*self._blocks, now)
                continue
            if source.wants_history:
                source.wants_history = False
                yield source, asker.ask_history(self._unix + now - self._began, now)
                continue
            wants = self._ends if self.telling_nodes else self._channels
            batch = self._deal(source, wants) or self._hedge(source, wants, now)
            if batch:
                source.batch = wants
                yield source, asker.ask_short_channel_ids(batch, now)

    def _has_work(self, source: Source) -> bool:
        if source.listing == "waits":
            asked = sum(one.listing == "asked" for one in self.sources if not one.is_out)
            return asked < self._policy.ranges
        wants = self._ends if self.telling_nodes else self._channels
        while source.ready and not (wants.may_ask(source.ready[0], source.bit) and not wants.is_asked(source.ready[0])):
            source.ready.popleft()
        return bool(source.ready) or source.wants_history

    def _deal(self, source: Source, wants: Wants) -> dict[int, int]:
        """The next channels that only wait for somebody to ask."""
        batch: dict[int, int] = {}
        size, ready = source.asker.batch_size, source.ready
        while ready and len(batch) < size:
            one = ready.popleft()
            if wants.may_ask(one, source.bit) and not wants.is_asked(one) and one not in batch:
                self._add(source, wants, one, batch)
        return self._taken(source, wants, batch)

    def _hedge(self, source: Source, wants: Wants, now: float) -> dict[int, int]:
        """The oldest query of another's, that this one may answer sooner."""
        batch: dict[int, int] = {}
        others = [one for one in self.sources if not one.is_out and now >= one.asker.asked_at + self._policy.hedge]
        for other in sorted(others, key=lambda one: one.asker.asked_at):
            for one in other.asker.outstanding:
                if len(batch) == source.asker.batch_size:
                    break
                if wants.may_ask(one, source.bit) and self._needs(wants, one):
                    self._add(source, wants, one, batch)
            if batch:
                break
        return self._taken(source, wants, batch)

    def _add(self, source: Source, wants: Wants, one: int, batch: dict[int, int]) -> None:
        flags = self._flags(source, wants, one)
        if flags:
            batch[one] = flags
        else:
            # It came from others meanwhile, as new as this one has it.
            wants.skip(one, source.bit)
            self._look_at(wants, one)

    def _taken(self, source: Source, wants: Wants, batch: dict[int, int]) -> dict[int, int]:
        for one, flags in batch.items():
            wants.ask(one, source.bit)
            if flags & sum(NODES):
                self._nodes.beside[one] = self._nodes.beside.get(one, 0) | source.bit
        return batch

    # What is wanted.

    def _listed(self, source: Source, answer: RangeAnswer, now: float) -> None:
        match answer.why:
            case "silent" if not source.asker.no_tlvs:
                source.asker.no_tlvs = True  # perhaps it does not take the question for them
                source.listing = "waits"
                return
            case "silent":
                self._out(source, "silent")
                return
            case "too much":
                self._out(source, "too much")
                return
            case "other chain":
                # An empty list of a peer of ours looks the same, where it forgets to say that this is all.
                self._out(source, "other chain")
                return
            case _:
                source.lists_all = answer.complete
                self._claim(source, answer.claims)

    def _claim(self, source: Source, claims: Claims) -> None:
        source.claims = claims
        claims.again()
        source.listing = "read"
        self._overdue = -math.inf

    def _read(self, source: Source) -> None:
        """Some more of its list is held against what is here: all of it at once would keep everybody waiting."""
        channels, claims = self._graph.channels, source.claims
        for one in claims.read(READ_AT_ONCE):
            if self.telling_nodes:
                # It comes too late to be asked for more than that.
                source.lists_all = False
                if self._ends.is_open(one):
                    self._ends.claim(one, source.bit)
                    source.ready.append(one)
                continue
            if not difference(channels.get(one), claims[one], self._unix):
                continue
            if len(self._channels) >= self._policy.wanted and not self._channels.is_known(one):
                source.lists_all = False
                continue
            if claims[one] == NO_CLAIM and self._channels.done.get(one):
                continue  # it came from another one just now, and who says so little may have no more
            self._channels.claim(one, source.bit)
            source.ready.append(one)
        if claims.is_read:
            source.listing = "done"
        else:
            self._overdue = -math.inf

    def _flags(self, source: Source, wants: Wants, one: int) -> int:
        """What this peer may have of it, as query flags."""
        if wants is self._ends:
            return _wanted_nodes(self._graph, one, self._nodes.due)
        claim = source.claims.get(one, NO_CLAIM)
        return difference(self._graph.channels.get(one), claim, self._unix)

    def _needs(self, wants: Wants, one: int) -> bool:
        """Whether any of those that were not asked yet may have something of it that we lack."""
        if wants is self._ends:
            return bool(_wanted_nodes(self._graph, one, self._nodes.due))
        channel = self._graph.channels.get(one)
        if channel is None:
            return not self._settled(one)
        left = wants.untried(one)
        for source in self.sources:
            if source.bit & left and not source.is_out:
                claim = source.claims.get(one, NO_CLAIM)
                if claim != NO_CLAIM and difference(channel, claim, self._unix):
                    return True
        return False

    def _answered(self, source: Source, answer: BatchAnswer, now: float) -> None:
        wants, source.batch = source.batch, None
        if wants is None:
            return
        if source.parked.messages:
            source.answer = wants, answer
            self._unpark(source)
        else:
            self._conclude(source, wants, answer, now)

    def _conclude(self, source: Source, wants: Wants, answer: BatchAnswer, now: float) -> None:
        """An answer is over, and all that came with it is where it belongs."""
        listed = answer.short_channel_ids
        if answer.why == "end":
            missing = [one for one in listed if self._lacks(wants, one)]
            # A node that has never announced itself is nothing to be waited for.
            if missing and (wants is self._channels or len(missing) < len(listed)):
                late = Straggling(wants, tuple(missing), now + self._policy.asking.quiet)
                source.straggling.append(late)
                here = set(missing)
                listed = tuple(one for one in listed if one not in here)
            self._settle(source, wants, listed)
            return
        self._settle(source, wants, listed, heard=False)
        source.failures += 1
        source.failed += listed
        if source.asker.no_short_channel_ids:
            self._stop_asking(source)
        elif source.failures >= self._policy.failures:
            self._out(source, "silent")

    def _lacks(self, wants: Wants, one: int) -> bool:
        if wants is self._ends:
            return bool(_wanted_nodes(self._graph, one, ()))
        return one not in self._graph.channels and not self._settled(one)

    def _settle(self, source: Source, wants: Wants, short_channel_ids: tuple[int, ...], *, heard: bool = True) -> None:
        """These were asked of it, and it has said what it will."""
        for one in short_channel_ids:
            if heard and wants is self._channels:
                source.asked += 1
                source.in_vain += self._lacks(wants, one)
            elif wants is self._ends and one in self._graph.channels:
                # Who was asked once is not asked for again today, whatever came.
                self._nodes.due.difference_update(self._graph.channels[one].node_ids)
            wants.answered(one, source.bit)
            self._look_at(wants, one)
        if source.in_vain >= self._policy.vain and 2 * source.in_vain > source.asked and not source.is_out:
            self._out(source, "in vain")

    def _look_at(self, wants: Wants, one: int) -> None:
        """Whether it is done, or who is asked next."""
        if not self._needs(wants, one):
            wants.finish(one, not self._lacks(wants, one))
            return
        if wants.is_asked(one):
            return
        left = wants.untried(one)
        waits = False
        for source in self.sources:
            if source.bit & left and not source.is_out:
                source.ready.append(one)
                waits = True
        if not waits and not self._lacks(wants, one):
            wants.finish(one, True)
        # Else it stays queued until the end: who lists it may come back, or somebody else may yet list it.

    def _out(self, source: Source, end: End) -> None:
        """It is asked no more; what it was asked for, and has not said, others are asked for."""
        source.end = end
        source.ready.clear()
        source.parked.clear()
        if source.listing != "done":
            source.listing = "waits" if end == "closed" else "done"
        left = [(late.wants, late.short_channel_ids) for late in source.straggling]
        source.straggling.clear()
        if source.batch is not None:
            left.append((source.batch, source.asker.outstanding))
            source.batch = None
        if source.answer is not None:
            left.append((source.answer[0], source.answer[1].short_channel_ids))
            source.answer = None
        for wants, listed in left:
            for one in listed:
                wants.answered(one, source.bit)
                self._look_at(wants, one)
        # What it alone lists is not to be had any more: that is seen at the end, for it may be very much.
        if end != "closed":
            source.claims = Claims()

    def _stop_asking(self, source: Source) -> None:
        """It lists channels and does not tell of them when asked. What only it lists it may tell by itself."""
        source.ready.clear()
        # No more of them are looked at than it takes to see that they are more than a hundredth.
        missing = (one for one in source.claims if one not in self._graph.channels)
        few = next(islice(missing, len(source.claims) // 100, None), None) is None
        if source.asker.filtered or few:
            self._out(source, "silent")
        else:
            source.wants_history = True

    # The end.

    def _look_whether_done(self, now: float) -> None:
        busy = any(
            not one.is_out
            and (
                not one.asker.idle
                or one.straggling
                or one.wants_history
                or one.parked.messages
                or one.listing != "done"
                or self._has_work(one)
            )
            for one in self.sources
        )
        if busy:
            return
        if all(one.is_out for one in self.sources):
            # Somebody may come back; who was told that all is here has said so.
            since = now if self._alone_since is None else self._alone_since
            left = self._channels.open or not any(one.lists_all for one in self.sources)
            if left and now < since + self._policy.return_seconds and self._may_return():
                return
            self._winding = self._finish()
        elif self.telling_nodes:
            self._winding = self._finish()
        else:
            self.telling_nodes = True
            self._winding = self._turn_to_nodes()
        self._wind()

    def _turn_to_nodes(self) -> Iterator[None]:
        """All channels are there that anybody has; now what their nodes say of themselves."""
        yield from self._finish_all(self._channels)
        yield from self._want_nodes()

    def _finish_all(self, wants: Wants) -> Iterator[None]:
        for number, one in enumerate(wants.pending(), 1):
            wants.finish(one, not self._lacks(wants, one))
            if number % READ_AT_ONCE == 0:
                yield

    def _may_return(self) -> bool:
        connections = Counter(one.node_id for one in self.sources)
        return not self.sources or any(
            one.end == "closed" and connections[one.node_id] <= self._policy.returns for one in self.sources
        )

    def _want_nodes(self) -> Iterator[None]:
        """One channel of each node that has not announced itself, or is to do so again, at whoever lists it."""
        for source in self.sources:
            source.ready.clear()
        listing = [one for one in self.sources if not one.is_out]
        looked = 0
        for node in [*self._graph.nodes.values()]:
            looked += 1
            due = node.announcement_bytes is not None
            if due and not self._nodes.refresh(node.node_id):
                continue
            for channel in node.channels:
                looked += 1
                one = int(channel.short_channel_id)
                found = [source for source in listing if one in source.claims and not source.is_out]
                for source in found:
                    if self._nodes.beside.get(one, 0) & source.bit:
                        continue  # it was asked for the nodes beside the channel
                    if not self._ends.untried(one) & source.bit:
                        self._ends.claim(one, source.bit)
                        source.ready.append(one)
                    if due:
                        self._nodes.due.add(node.node_id)
                if found:
                    break
            if looked >= READ_AT_ONCE // 4:
                looked = 0
                yield
        for source in listing:
            source.ready = deque(sorted(source.ready))

    def _finish(self) -> Iterator[None]:
        left = self._channels.open
        for wants in (self._channels, self._ends):
            yield from self._finish_all(wants)
        for source in self.sources:
            if source.end is None:
                source.served = source.lists_all and not (self.gave_up and left)
                source.served = source.served and not any(self._lacks(self._channels, one) for one in source.failed)
                source.end = "complete" if source.served else "given up" if self.gave_up else "partial"
            elif source.end == "closed":
                lacks = any(self._lacks(self._channels, one) for one in source.claims)
                source.served = source.lists_all and not lacks
        self.done = True

    @property
    def complete(self) -> bool:
        """Whether a peer has listed all of its channels, and has told all that it has of them."""
        return self.done and any(one.served for one in self.sources)

    @property
    def progress(self) -> Progress:
        """How far it is."""
        channels = self._channels
        return Progress(
            known=len(channels),
            asked=channels.asked_ever,
            got=channels.got,
            absent=channels.absent,
            listed=sum(one.listing == "done" or one.is_out for one in self.sources),
            peers=len(self.sources),
        )
