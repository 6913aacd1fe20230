"""Replies to query_channel_range, read as strictly as anybody does, beside what should be in them. No test here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from triolight.messages import QueryChannelRange, ReplyChannelRange

LAST: Final = 0xFFFFFFFF
FORTY: Final = 40
"""Bits of a short_channel_id below its block."""


class Unfit(Exception):
    """A reply for which somebody ends its sync, or that is not true."""


@dataclass(frozen=True)
class Fact:
    """What is known of a channel."""

    updates: tuple[bytes | None, bytes | None]
    checked: bool = True
    spent: bool = False
    tail: int = 0
    """Bytes behind its announcement that nobody knows."""

    def told(self, *, unchecked: bool) -> tuple[bytes | None, bytes | None]:
        """The updates that go out."""
        if self.spent or not (self.checked or unchecked) or self.tail > 1024:
            return None, None
        first, second = (None if one is None or len(one) > 138 + 1024 else one for one in self.updates)
        return first, second


def check_replies(
    query: QueryChannelRange, replies: Iterable[bytes], facts: Mapping[int, Fact], *, unchecked: bool = True
) -> list[int]:
    """The ids, as LND takes them. Unfit where it would end its sync or the connection, or where they are not those of
    the facts."""
    end = min(query.first_blocknum + query.number_of_blocks, LAST)
    option = query.tlvs.query_option or 0
    found: list[int] = []
    stamps: list[int] = []
    sums: list[int] = []
    last: int | None = None
    listed = list(replies)
    demand(bool(listed), "no reply")
    for number, data in enumerate(listed, 1):
        demand(len(data) <= 65_535, f"a reply of {len(data)} bytes")
        reply = ReplyChannelRange.decode(data)
        final = number == len(listed)
        begin, stop = reply.first_blocknum, reply.first_blocknum + reply.number_of_blocks
        demand(reply.chain_hash == query.chain_hash, "another chain")
        demand(reply.sync_complete == final, "sync_complete is 1 in the last one and there alone")
        demand(begin < stop or begin == end, "a reply about no block")
        demand(query.first_blocknum <= begin and stop <= end, "blocks that were not asked for")
        if last is None:
            demand(begin == query.first_blocknum, "the first one begins elsewhere")
        else:
            # A block that is too full for one reply is named again in the next one.
            demand(begin in (last, last + 1), "a gap, or blocks that came before")
        # What claims the end of the range is the end of the sync, unless it is all of the range: then its flag counts.
        whole = (begin, stop) == (query.first_blocknum, end)
        demand((stop == end) == final or whole, "the end of the range is not in the last one, or not there alone")
        last = stop - 1
        ids, times, checksums = lists_of(reply)
        for one in ids:
            # A block that is told in part is not claimed yet: the reply that has its end claims it.
            demand(begin <= one >> FORTY < stop + (not final), "an id of another reply's blocks")
        demand(found[-1:] < ids[:1] or not ids, "ids that came before")
        if ids:  # beside no id there is nothing to be said of one
            demand((times is not None) == bool(option & 1), "timestamps that were not asked for, or were")
            demand((checksums is not None) == bool(option & 2), "checksums that were not asked for, or were")
        demand(times is None or len(times) == 2 * len(ids), "as many timestamps as updates")
        demand(checksums is None or len(checksums) == 2 * len(ids), "as many checksums as updates")
        found += ids
        stamps += times or []
        sums += checksums or []
    told = {one: fact.told(unchecked=unchecked) for one, fact in facts.items()}
    wanted = sorted(one for one in told if any(told[one]) and query.first_blocknum <= one >> FORTY < end)
    demand(found == wanted, "other ids than there are")
    updates = [update for one in wanted for update in told[one]]
    if option & 1:
        demand(stamps == [int.from_bytes(one[106:110], "big") if one else 0 for one in updates], "other timestamps")
    if option & 2:
        demand(sums == [crc32c(one[66:106] + one[110:]) if one else 0 for one in updates], "other checksums")
    return found


def lists_of(reply: ReplyChannelRange) -> tuple[list[int], list[int] | None, list[int] | None]:
    """Ids, timestamps and checksums, each by itself."""
    encoded = reply.encoded_short_ids
    demand(encoded[:1] == b"\0" and len(encoded) % 8 == 1, "ids in an encoding that nobody reads")
    ids = [int.from_bytes(encoded[at : at + 8], "big") for at in range(1, len(encoded), 8)]
    demand(all(one < other for one, other in pairwise(ids)), "ids out of order, or twice")
    times: list[int] | None = None
    if reply.tlvs.timestamps_tlv is not None:
        body = reply.tlvs.timestamps_tlv.encoded_timestamps
        demand(reply.tlvs.timestamps_tlv.encoding_type == 0 and len(body) % 4 == 0, "timestamps that nobody reads")
        times = [int.from_bytes(body[at : at + 4], "big") for at in range(0, len(body), 4)]
    pairs = reply.tlvs.checksums_tlv
    sums = (
        None if pairs is None else [one for pair in pairs for one in (pair.checksum_node_id_1, pair.checksum_node_id_2)]
    )
    return ids, times, sums


def crc32c(data: bytes) -> int:
    """RFC 3720's, bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def demand(holds: bool, words: str) -> None:
    """Unfit, with these words, if it does not hold."""
    if not holds:
        raise Unfit(words)
