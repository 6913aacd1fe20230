"""Any graph and any query_channel_range: the replies are BOLT 7's, and say what is in the graph.

    python -m fuzz.ranges -max_total_time=600 -max_len=256 fuzz/corpus/ranges

The input is a query, how many ids a reply holds, and channels: so few that a small graph makes many replies. A finding
is any exception, blocks with a gap or twice, a reply that is too long, a sync_complete that is not in the last reply or
not there alone, an id, a timestamp or a checksum that is not the graph's.
"""

from __future__ import annotations

from typing import Final
from unittest import mock

from tests.support.gossip import NOW
from tests.support.gossip_peers import query_range
from tests.support.planted import planted_channel, planted_update
from tests.support.replies import Fact, Unfit, check_replies
from triolight.chains import REGTEST
from triolight.gossip import NetworkGraph, answers
from triolight.messages import QueryChannelRange

CHANNELS: Final = 40
"""Of one input; the rest is not looked at."""
FIRST: Final = 100
"""The first block of a channel."""
TAILS: Final = (0, 0, 0, 0, 0, 1, 1024, 1025)
OPTIONS: Final = (None, 0, 1, 2, 3, 7)
STAMPS: Final = (1, NOW - 1, NOW, NOW + 1, 0xFFFFFFFF)


class Finding(Exception):
    """What must not be."""


def facts_of(data: bytes) -> dict[int, Fact]:
    """Four bytes a channel: block and place, what both ends have said, what is known of it."""
    found: dict[int, Fact] = {}
    for at in range(0, min(len(data) - 3, 4 * CHANNELS), 4):
        where, first, second, how = data[at : at + 4]
        place = FIRST + where % 8 << 40 | (where >> 3) << 16 | how >> 6
        said = tuple(
            None if one % 3 == 0 else planted_update(place, side, STAMPS[one % len(STAMPS)]) + bytes(TAILS[one >> 5])
            for side, one in enumerate((first, second))
        )
        found[place] = Fact(
            (said[0], said[1]), bool(how & 1), how & 14 == 2, TAILS[how >> 4 & 3] + (how & 14 == 4) * 1025
        )
    return found


def graph_of(facts: dict[int, Fact]) -> NetworkGraph:
    """The graph that has these channels, put in as they come."""
    graph = NetworkGraph(REGTEST)
    for place, fact in facts.items():
        announcement = planted_channel(place) + bytes(fact.tail)
        channel = graph.load(announcement, [one for one in fact.updates if one is not None])
        if fact.checked:
            graph.prove(channel, 10**6)
        channel.spent_height = FIRST if fact.spent else None
    return graph


def query_of(data: bytes) -> QueryChannelRange:
    """Three bytes: where it begins, how far it goes, with what."""
    first, number, option = data
    far = 0xFFFFFFFF
    begins = far - first % 3 if first >> 6 == 3 else max(0, FIRST - 4 + first % 16)
    return query_range(begins, far if number >> 6 == 3 else number % 16, OPTIONS[option % len(OPTIONS)])


def one_input(data: bytes) -> None:
    """Runs one input. Raises for a finding."""
    if len(data) < 4:
        return
    query, facts = query_of(data[:3]), facts_of(data[4:])
    unchecked = bool(data[3] & 1)
    with mock.patch.object(answers, "CHUNKS", (1 + data[3] % 5,) * 4):
        given = answers.answer_channel_range(graph_of(facts), query, unchecked=unchecked)
        replies = [one for one in given if one is not None]
    try:
        check_replies(query, replies, facts, unchecked=unchecked)
    except Unfit as error:
        raise Finding(str(error)) from error


if __name__ == "__main__":
    from fuzz.engine import fuzz

    fuzz(one_input)
