"""Answers to both queries, made while they are given: what is held is ids, never messages.

A range is answered in replies that never claim what is still to come: LND ends its sync on a reply that does not follow
the one before, and so do others on what is not sorted, not counted or not within the range. Every query gets its end.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Final

from triolight.errors import DecodeError
from triolight.gossip.fields import NOTHING, decode_query_flags, decode_short_ids, encode_timestamps
from triolight.gossip.graph import Channel, NetworkGraph
from triolight.messages import (
    ChannelUpdateChecksums,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyChannelRangeTlvs,
    ReplyShortChannelIdsEnd,
)

__all__ = ["answer_channel_range", "answer_short_channel_ids", "end_of", "refusal_of"]

CHUNKS: Final = (8000, 4000, 4000, 2700)
"""Ids of one reply: alone, with timestamps, with checksums, with both. A message has room for a few more."""
SLICE: Final = 500
"""Channels that are looked at before others have their turn: a millisecond."""
_LAST_BLOCK: Final = 0xFFFFFFFF
_TIMESTAMPS: Final = 1
_CHECKSUMS: Final = 2
_ALL: Final = 31
"""A channel_announcement, both updates, both nodes."""


def answer_channel_range(
    graph: NetworkGraph, query: QueryChannelRange, *, unchecked: bool = False
) -> Iterator[bytes | None]:
    """The replies, encoded; None where others may have their turn.

    Channels without an update are left out, and so is what would not go out by itself (`Channel.relayable`).
    """
    first, asked = query.first_blocknum, query.number_of_blocks
    end = min(first + asked, _LAST_BLOCK)
    if query.chain_hash != graph.chain_hash:
        yield _empty(query, asked)
        return
    if end <= first:
        yield _empty(query, max(0, end - first))
        return
    options = (query.tlvs.query_option or 0) & (_TIMESTAMPS | _CHECKSUMS)
    most = CHUNKS[options]
    chunk = _Chunk(query.chain_hash, options)
    begin = first
    for looked, channel in enumerate(graph.ascending(first << 40, end << 40), 1):
        stamps = _stamps(channel, unchecked)
        if stamps is not None:
            if len(chunk) == most:
                block = channel.short_channel_id >> 40
                if block > begin:
                    yield chunk.reply(begin, block - begin)
                elif block == end - 1 and block > first:
                    # All of it in one reply would be the end of what was asked for.
                    yield chunk.reply(block - 1, 1)
                else:
                    yield chunk.reply(begin, 1)
                begin = block
            chunk.add(channel, stamps)
        if looked % SLICE == 0:
            yield None
    yield chunk.reply(begin, end - begin, complete=1)


def _empty(query: QueryChannelRange, number_of_blocks: int) -> bytes:
    return ReplyChannelRange(
        chain_hash=query.chain_hash,
        first_blocknum=query.first_blocknum,
        number_of_blocks=number_of_blocks,
        sync_complete=1,
        encoded_short_ids=NOTHING,
    ).encode()


def _stamps(channel: Channel, unchecked: bool) -> tuple[int, int] | None:
    """Both timestamps as far as the updates go out, 0 for one that does not; None if neither does."""
    first, second = (
        channel.timestamp(direction) if channel.relayable_update(direction, unchecked=unchecked) is not None else 0
        for direction in (0, 1)
    )
    return (first, second) if first or second else None


class _Chunk:
    """Ids of one reply, and what belongs to them."""

    __slots__ = ("_chain_hash", "_checksums", "_ids", "_options", "_timestamps")

    def __init__(self, chain_hash: bytes, options: int) -> None:
        self._chain_hash: Final = chain_hash
        self._options: Final = options
        self._ids = array("Q")
        self._timestamps = array("I")
        self._checksums = array("I")

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, channel: Channel, stamps: tuple[int, int]) -> None:
        self._ids.append(channel.short_channel_id)
        if self._options & _TIMESTAMPS:
            self._timestamps.extend(stamps)
        if self._options & _CHECKSUMS:
            self._checksums.extend(channel.checksum(one) if stamps[one] else 0 for one in (0, 1))

    def reply(self, first: int, number: int, complete: int = 0) -> bytes:
        """All of them, and they are gone from here."""
        timestamps, checksums = self._timestamps, self._checksums
        message = ReplyChannelRange(
            chain_hash=self._chain_hash,
            first_blocknum=first,
            number_of_blocks=number,
            sync_complete=complete,
            encoded_short_ids=NOTHING + b"".join(one.to_bytes(8, "big") for one in self._ids),
            tlvs=ReplyChannelRangeTlvs(
                timestamps_tlv=encode_timestamps(zip(timestamps[::2], timestamps[1::2], strict=True))
                if self._options & _TIMESTAMPS
                else None,
                checksums_tlv=tuple(
                    ChannelUpdateChecksums(checksum_node_id_1=one, checksum_node_id_2=other)
                    for one, other in zip(checksums[::2], checksums[1::2], strict=True)
                )
                if self._options & _CHECKSUMS
                else None,
            ),
        )
        for one in (self._ids, timestamps, checksums):
            del one[:]
        return message.encode()


# Channels by their ids.


def end_of(query: QueryShortChannelIds, full_information: int) -> bytes:
    """The end of an answer, encoded. 0 says that we do not have this chain."""
    return ReplyShortChannelIdsEnd(chain_hash=query.chain_hash, full_information=full_information).encode()


def refusal_of(query: QueryShortChannelIds) -> str | None:
    """What is wrong with the flags of a query; None if nothing is. DecodeError for ids that nobody can read."""
    ids = decode_short_ids(query.encoded_short_ids)
    if query.tlvs.query_flags is None:
        return None
    try:
        decode_query_flags(query.tlvs.query_flags, len(ids))
    except DecodeError as error:
        return str(error)
    return None


def answer_short_channel_ids(
    graph: NetworkGraph, query: QueryShortChannelIds, *, unchecked: bool = False
) -> Iterator[bytes | None]:
    """What is known of each channel that goes out by itself: its announcement and updates; after all of them their
    nodes, each once; then the end. Each id once. None where others may have their turn.

    Holds ids alone, and reads the newest messages when it comes to them. DecodeError as `refusal_of`; nothing is given
    then.
    """
    if query.chain_hash != graph.chain_hash:
        return iter((end_of(query, 0),))
    ids = decode_short_ids(query.encoded_short_ids)
    flags = (_ALL,) * len(ids)
    if query.tlvs.query_flags is not None:
        flags = decode_query_flags(query.tlvs.query_flags, len(ids))
    asked: dict[int, int] = {}
    for short_channel_id, flag in zip(ids, flags, strict=True):
        asked[short_channel_id] = asked.get(short_channel_id, 0) | flag & _ALL
    return _tell(graph, array("Q", asked), bytes(asked.values()), end_of(query, 1), unchecked)


def _tell(graph: NetworkGraph, ids: array[int], flags: bytes, end: bytes, unchecked: bool) -> Iterator[bytes | None]:
    for at, short_channel_id in enumerate(ids):
        channel = graph.channels.get(short_channel_id)
        if channel is not None and _stamps(channel, unchecked) is not None:
            if flags[at] & 1:
                yield channel.announcement_bytes
            for direction in (0, 1):
                if flags[at] & 2 << direction:
                    update = channel.relayable_update(direction, unchecked=unchecked)
                    if update is not None:
                        yield update
        if at % SLICE == SLICE - 1:
            yield None
    nodes = _nodes_of(graph, ids, flags)
    del ids[:]
    for node_id in nodes:
        node = graph.nodes.get(node_id)
        announcement = None if node is None else node.relayable(unchecked=unchecked)
        if announcement is not None:
            yield announcement
    yield end


def _nodes_of(graph: NetworkGraph, ids: array[int], flags: bytes) -> list[bytes]:
    """The ends of these channels that were asked for, each once."""
    found: dict[bytes, None] = {}
    for short_channel_id, flag in zip(ids, flags, strict=True):
        channel = graph.channels.get(short_channel_id) if flag & 24 else None
        if channel is not None:
            for end in (0, 1):
                if flag & 8 << end:
                    found[channel.node_ids[end]] = None
    return list(found)
