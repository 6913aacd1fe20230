"""Asking one peer for gossip: what it is asked, what answers that, and when its time is over. One query at a time.

Pure: messages and times come in, queries and answers go out. What a peer says is bounded in number, bytes and seconds,
and an honest one of any make is asked so that it answers: no empty list, no query beside another one, none too soon.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from triolight.errors import DecodeError
from triolight.gossip.claims import Claim, Claims
from triolight.gossip.fields import (
    NOTHING,
    decode_short_ids,
    decode_timestamps,
    encode_query_flags,
    encode_short_ids,
)
from triolight.gossip.graph import Channel
from triolight.gossip.policy import MOST_FLAGGED, AskPolicy
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    NodeAnnouncement,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.messages.bolt7 import QueryChannelRangeTlvs, QueryShortChannelIdsTlvs

__all__ = [
    "EVERYTHING",
    "Asker",
    "BatchAnswer",
    "Gossip",
    "HistoryAnswer",
    "RangeAnswer",
    "difference",
    "filter_of",
]

DAY: Final = 86_400
LAST_BLOCK: Final = 0xFFFFFFFF
ANNOUNCEMENT: Final = 1
UPDATES: Final = (2, 4)
NODES: Final = (8, 16)
EVERYTHING: Final = 31
"""BOLT 7's query flags: the channel, the update of each end, each end itself."""
BOTH_TLVS: Final = 3

Gossip: TypeAlias = ChannelAnnouncement | ChannelUpdate | NodeAnnouncement


@dataclass(frozen=True, slots=True)
class RangeAnswer:
    """The channels that a peer lists. `complete`: it has said so of every block that it was asked for."""

    claims: Claims
    """Nothing of it is read yet."""
    complete: bool
    why: Literal["complete", "quiet", "deadline", "silent", "too much", "other chain"]


@dataclass(frozen=True, slots=True)
class BatchAnswer:
    """A query for channels is over. What came of it is in the graph."""

    short_channel_ids: tuple[int, ...]
    why: Literal["end", "refused", "silent", "slow"]


@dataclass(frozen=True, slots=True)
class HistoryAnswer:
    """What a peer tells by itself is over, as far as one can know."""

    heard: int


def difference(channel: Channel | None, claim: Claim, unix: float) -> int:
    """The query flags of what a peer has of a channel and we have not; 0 for nothing.

    `channel` is what we have, `unix` the time of day. What would be refused for its age is not asked for.
    """
    timestamps, checksums = claim
    if channel is None:
        if timestamps is not None and not any(_in_time(one, unix) for one in timestamps):
            return 0
        return EVERYTHING
    if timestamps is None and checksums is None:
        return sum(UPDATES)
    flags = 0
    for number, flag in enumerate(UPDATES):
        # Of two of the same second the first one stays: our checksum, which may have to be made, is looked at last.
        ours = channel.timestamp(number)
        if timestamps is not None and not (timestamps[number] > ours and _in_time(timestamps[number], unix)):
            continue
        if checksums is not None:
            theirs = checksums[number]
            # What says the same is asked for only to keep ours alive.
            alive = timestamps is None or ours >= unix - 10 * DAY
            if (timestamps is None and not theirs) or (alive and theirs == channel.checksum(number)):
                continue
        flags |= flag
    return flags


def _in_time(timestamp: int, unix: float) -> bool:
    return unix - 14 * DAY <= timestamp <= unix + DAY


def filter_of(chain_hash: bytes, first: int | None) -> GossipTimestampFilter:
    """What asks for a stream of what is signed from `first` on; None: for nothing, in BOLT 7's way."""
    nothing = first is None
    return GossipTimestampFilter(
        chain_hash=chain_hash,
        first_timestamp=LAST_BLOCK if first is None else max(0, first),
        timestamp_range=0 if nothing else LAST_BLOCK,
    )


class _Range:
    """A query for channels in blocks, and what has come of its answer."""

    __slots__ = (
        "_covered",
        "_distinct",
        "_size",
        "claims",
        "deadline",
        "first",
        "quiet_at",
        "replies",
        "said",
        "stop",
        "unread",
    )

    def __init__(self, first: int, stop: int, deadline: float) -> None:
        self.first: Final = first
        self.stop: Final = stop
        self.deadline: Final = deadline
        self.claims: Final = Claims()
        self.replies = 0
        self.unread = 0
        """Those whose list nobody can read: what they covered is not known."""
        self.said = False
        """Whether a reply said that it is the last."""
        self.quiet_at = math.inf
        self._covered: list[tuple[int, int]] = []
        self._distinct: set[tuple[int, int]] = set()
        self._size = 0

    @property
    def covers_all(self) -> bool:
        return self._covered[:1] == [(self.first, self.stop)]

    def take(self, reply: ReplyChannelRange, now: float, policy: AskPolicy) -> str | None:
        """Why it is over; None while it is not. DecodeError for a list that cannot be read."""
        self.replies += 1
        timestamps, checksums = reply.tlvs.timestamps_tlv, reply.tlvs.checksums_tlv
        self._size += 64 + len(reply.encoded_short_ids)
        self._size += 0 if timestamps is None else len(timestamps.encoded_timestamps)
        self._size += 0 if checksums is None else 8 * len(checksums)
        if self.replies > policy.replies or self._size > policy.reply_bytes:
            return "too much"
        listed = decode_short_ids(reply.encoded_short_ids)
        pairs: Sequence[tuple[int, int]] | None = None
        if timestamps is not None:
            try:
                pairs = decode_timestamps(timestamps)
            except DecodeError:
                pairs = None
        sums = None if checksums is None else [(one.checksum_node_id_1, one.checksum_node_id_2) for one in checksums]
        # As many as there are channels, or nobody knows whose they are.
        pairs = None if pairs is None or len(pairs) != len(listed) else pairs
        sums = None if sums is None or len(sums) != len(listed) else sums
        within = [at for at, one in enumerate(listed) if self.first <= one >> 40 < self.stop]
        self.claims.add(
            [listed[at] for at in within],
            [pairs[at] for at in within] if pairs else None,
            [sums[at] for at in within] if sums else None,
        )
        if self.claims.listed > policy.short_channel_ids:
            return "too much"
        begins, ends = reply.first_blocknum, reply.first_blocknum + reply.number_of_blocks
        self._cover(max(begins, self.first), min(ends, self.stop))
        self._distinct.add((begins, ends))
        self.said = self.said or reply.sync_complete == 1
        if self.covers_all:
            if self.said:
                return "complete"
            if self.replies == 1 and not listed:
                return "other chain"  # LND and Core Lightning answer so for a chain that they do not know
        if self.said or (self.covers_all and len(self._distinct) > 1):
            self.quiet_at = now + policy.quiet
        return None

    def _cover(self, begins: int, ends: int) -> None:
        if begins >= ends:
            return
        joined: list[tuple[int, int]] = []
        for start, stop in sorted((*self._covered, (begins, ends))):
            if joined and start <= joined[-1][1]:
                joined[-1] = joined[-1][0], max(joined[-1][1], stop)
            else:
                joined.append((start, stop))
        self._covered = joined


@dataclass(slots=True)
class _Batch:
    short_channel_ids: tuple[int, ...]
    flags: dict[int, int]
    began: float
    heard_at: float
    answer_by: float
    heard: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _History:
    before: int
    heard_at: float
    answer_by: float
    heard: int = 0


class Asker:
    """What one connection is asked.

    Each method that takes a message, and `tick`, gives the answer that is complete with it, or None.
    """

    def __init__(self, chain_hash: bytes, policy: AskPolicy) -> None:
        self._chain_hash: Final = chain_hash
        self._policy: Final = policy
        self._doing: _Range | _Batch | _History | None = None
        self._late_until = -math.inf
        self._size = policy.batch
        self.free_at = -math.inf
        """From when on it may be asked again, if it is idle."""
        self.owes_end = False
        """An answer of its took too long and still goes on: asked now, it would warn."""
        self.owes_until = math.inf
        """When it is as good as gone, if it still owes it then."""
        self.no_tlvs = False
        """It lists channels without timestamps and checksums."""
        self.no_flags = False
        """It tells everything of a channel, whatever is asked for."""
        self.no_short_channel_ids = False
        """It answers no query for channels, as LDK."""
        self.lists_timestamps: bool | None = None
        """None until it has listed a channel."""
        self.filtered = False
        """Whether a filter was sent: LDK heeds the first alone."""
        self.silences = 0
        """Queries for channels that nothing answered."""
        self.answered = 0
        """Those that were ended."""
        self.unasked = 0
        self.unread = 0
        """Replies that answer nothing, and those whose list cannot be read."""
        self.bytes_per_second = 0.0
        """Of its latest answer."""

    @property
    def idle(self) -> bool:
        """Whether nothing is asked of it."""
        return self._doing is None

    def expects(self, reply: ReplyChannelRange | ReplyShortChannelIdsEnd, now: float) -> bool:
        """Whether such a reply may come now. What comes too late was asked for all the same."""
        if now < self._late_until:
            return True
        return isinstance(self._doing, _Range if isinstance(reply, ReplyChannelRange) else _Batch)

    @property
    def asked_at(self) -> float:
        """Since when a batch is asked of it; infinity if none is."""
        return self._doing.began if isinstance(self._doing, _Batch) else math.inf

    def may_ask(self, now: float) -> bool:
        """Whether it may be asked now."""
        return self._doing is None and now >= self.free_at and not self.owes_end

    @property
    def outstanding(self) -> tuple[int, ...]:
        """The channels that it is being asked for."""
        return self._doing.short_channel_ids if isinstance(self._doing, _Batch) else ()

    @property
    def batch_size(self) -> int:
        """How many channels the next query should have: one for who may answer none."""
        doubtful = not self.answered and (self.silences > 0 or self.lists_timestamps is False)
        return 1 if doubtful else self._size

    def abandon(self, now: float) -> None:
        """Nobody waits for its answer any more. It still comes: until then nothing else is asked."""
        match self._doing:
            case _Range() as asked:
                self._rest(now)
                self.free_at = asked.deadline
            case _Batch() as batch:
                self._rest(now)
                self.owes_end, self.owes_until = True, batch.answer_by
            case _:
                self._rest(now)

    # What it is asked.

    def ask_range(self, first: int, number: int, now: float) -> QueryChannelRange:
        """For the channels funded in so many blocks from `first` on."""
        self._begin(now)
        number = max(1, min(number, LAST_BLOCK - first))
        self._doing = _Range(first, first + number, now + self._policy.range_deadline)
        tlvs = QueryChannelRangeTlvs(query_option=None if self.no_tlvs else BOTH_TLVS)
        return QueryChannelRange(chain_hash=self._chain_hash, first_blocknum=first, number_of_blocks=number, tlvs=tlvs)

    def ask_short_channel_ids(self, wanted: dict[int, int], now: float) -> QueryShortChannelIds:
        """For these channels, each with the flags of what is wanted of it. ValueError for none or too many."""
        if not 0 < len(wanted) <= MOST_FLAGGED:
            raise ValueError(f"a query is for 1 to {MOST_FLAGGED} channels, not {len(wanted)}")
        self._begin(now)
        listed = tuple(sorted(wanted))
        self._doing = _Batch(listed, wanted, now, now, now + self._policy.answer)
        flags = None if self.no_flags else encode_query_flags(wanted[one] for one in listed)
        return QueryShortChannelIds(
            chain_hash=self._chain_hash,
            encoded_short_ids=encode_short_ids(listed),
            tlvs=QueryShortChannelIdsTlvs(query_flags=flags),
        )

    def ask_history(self, unix: float, now: float) -> GossipTimestampFilter:
        """To tell what was signed of late, by itself: for who answers no query. Once for a connection."""
        self._begin(now)
        self.filtered = True
        self._doing = _History(int(unix), now, now + self._policy.history_seconds)
        return filter_of(self._chain_hash, int(unix) - self._policy.history)

    def _begin(self, now: float) -> None:
        if not self.may_ask(now):
            raise ValueError("a peer is asked one thing at a time, and not at once after another")
        self.free_at = now + self._policy.pace

    # What it says.

    def take_gossip(self, message: Gossip, size: int, now: float) -> None:
        """A message that may be a part of an answer."""
        doing = self._doing
        if isinstance(doing, _Batch):
            if not isinstance(message, NodeAnnouncement):
                asked = doing.flags.get(message.short_channel_id)
                if asked is None:
                    return  # a stream's
                if isinstance(message, ChannelAnnouncement) and not asked & ANNOUNCEMENT:
                    self.no_flags = True
            doing.heard_at = now
            doing.heard += 1
            doing.bytes += size
        elif isinstance(doing, _History) and (
            isinstance(message, ChannelAnnouncement) or message.timestamp < doing.before
        ):
            doing.heard_at = now
            doing.heard += 1

    def take_range(self, reply: ReplyChannelRange, now: float) -> RangeAnswer | None:
        """A reply_channel_range."""
        doing = self._doing
        if not isinstance(doing, _Range) or reply.chain_hash != self._chain_hash:
            self.unasked += 1
            return None
        try:
            why = doing.take(reply, now, self._policy)
        except DecodeError:
            self.unread += 1
            doing.unread += 1
            return None
        if reply.encoded_short_ids not in (b"", NOTHING):
            has = reply.tlvs.timestamps_tlv is not None
            self.lists_timestamps = has or bool(self.lists_timestamps)
            self.no_tlvs = self.no_tlvs or not (has or reply.tlvs.checksums_tlv is not None)
        match why:
            case "complete":
                return self._end_range(doing, "complete", now)
            case "other chain":
                return self._end_range(doing, "other chain", now)
            case "too much":
                return self._end_range(doing, "too much", now)
            case _:
                return None

    def take_end(self, end: ReplyShortChannelIdsEnd, now: float) -> BatchAnswer | None:
        """A reply_short_channel_ids_end."""
        if end.chain_hash == self._chain_hash and self.owes_end:
            self.owes_end, self.owes_until = False, math.inf
            return None
        doing = self._doing
        if not isinstance(doing, _Batch) or end.chain_hash != self._chain_hash:
            self.unasked += 1
            return None
        # BOLT 7's other meanings of this field are not kept by anybody; but who says 0 and nothing else has nothing.
        refused = end.full_information == 0 and not doing.heard
        if not refused:
            self.answered += 1
            seconds = now - doing.began
            if doing.bytes and seconds > 0:
                self.bytes_per_second = doing.bytes / seconds
            if seconds < self._policy.quick and len(doing.short_channel_ids) >= self._size:
                self._size = min(2 * self._size, self._policy.batch_most)
        return self._end_batch(doing, "refused" if refused else "end", now)

    # When nothing comes.

    @property
    def look_again(self) -> float:
        """When `tick` has something to say, if no message comes before."""
        match self._doing:
            case _Range() as asked:
                return min(asked.quiet_at, asked.deadline)
            case _Batch() | _History() as told:
                return min(told.heard_at + self._policy.silence, told.answer_by)
            case _:
                return math.inf

    def tick(self, now: float) -> RangeAnswer | BatchAnswer | HistoryAnswer | None:
        """Time has passed."""
        if now < self.look_again:
            return None
        match self._doing:
            case _Range() as asked:
                if now >= asked.quiet_at:
                    return self._end_range(asked, "quiet", now)
                return self._end_range(asked, "deadline" if asked.replies else "silent", now)
            case _Batch() as batch:
                self._size = max(self._size // 2, self._policy.batch_least)
                slow = now < batch.heard_at + self._policy.silence
                if not batch.heard:
                    self.silences += 1
                    if not self.answered:
                        # Perhaps it is the flags that it does not take; who answers neither way answers never. Nor
                        # does LDK, which lists without timestamps.
                        self.no_short_channel_ids = self.no_flags or self.lists_timestamps is False
                        self.no_flags = True
                if slow:
                    self.owes_end, self.owes_until = True, now + self._policy.answer
                return self._end_batch(batch, "slow" if slow else "silent", now)
            case _History() as told:
                self._rest(now)
                return HistoryAnswer(told.heard)
            case _:
                return None

    def _end_range(
        self,
        asked: _Range,
        why: Literal["complete", "quiet", "deadline", "silent", "too much", "other chain"],
        now: float,
    ) -> RangeAnswer:
        self._rest(now)
        complete = why in ("complete", "quiet") and asked.covers_all and not asked.unread
        return RangeAnswer(asked.claims, complete, why)

    def _end_batch(self, batch: _Batch, why: Literal["end", "refused", "silent", "slow"], now: float) -> BatchAnswer:
        self._rest(now)
        return BatchAnswer(batch.short_channel_ids, why)

    def _rest(self, now: float) -> None:
        self._doing = None
        self._late_until = now + self._policy.answer
        self.free_at = max(self.free_at, now)
