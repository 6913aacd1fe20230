"""One connection that is recorded: what it says is told by what was asked, and what is missing by its own numbers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.gossip import NOW, channel, update
from triolight.gossip.formats.places import SIGNED
from triolight.services.heard import ANSWER_SECONDS, HISTORY_SECONDS, Session
from triolight.services.record import ANSWER, HISTORY, PUSHED


class Numbers:
    """A peer that has nothing but counts."""

    def __init__(self) -> None:
        self.received: dict[int, int] = {}
        self.sent: dict[int, int] = {}

    def counts_of(self, message_type: int) -> tuple[int, int]:
        return self.received.get(message_type, 0), self.sent.get(message_type, 0)


@pytest.fixture
def peer() -> Numbers:
    return Numbers()


def session_of(peer: Any, *, whole: bool = True) -> Session:
    return Session(1, peer, SIGNED, whole)


def test_what_was_read_and_not_taken_is_lost(peer: Numbers) -> None:
    peer.received[258] = 5
    peer.received[18] = 7
    session, late = session_of(peer), session_of(peer, whole=False)
    session.taken = 3
    assert (session.lost(), late.lost()) == (2, 0)
    peer.received[257] = 4
    assert (session.lost(), late.lost()) == (6, 4)


def test_a_query_of_ours_is_open_until_its_end_or_for_its_time(peer: Numbers) -> None:
    session = session_of(peer)
    assert session.look_at_sent(10.0, NOW) == PUSHED
    peer.sent[261] = 1
    assert session.look_at_sent(10.0, NOW) == ANSWER
    assert session.asked(update(), 10 + ANSWER_SECONDS) == ANSWER
    assert session.asked(update(), 11 + ANSWER_SECONDS) == PUSHED
    peer.sent[261] = 2
    session.look_at_sent(200.0, NOW)
    session.took_end()
    session.took_end()
    assert session.asked(update(), 201.0) == PUSHED


def test_history_ends_when_nothing_older_came_for_its_time(peer: Numbers) -> None:
    session = session_of(peer)
    session.filter_went(100.0, NOW)
    assert session.asked(channel(), 101.0) == HISTORY
    assert session.asked(update(timestamp=NOW), 102.0) == PUSHED
    assert session.asked(update(timestamp=NOW - 1), 100 + HISTORY_SECONDS) == HISTORY
    assert session.asked(update(timestamp=NOW - 1), 100 + 2 * HISTORY_SECONDS) == HISTORY
    assert session.asked(channel(), 100 + 3 * HISTORY_SECONDS + 1) == PUSHED


def test_our_own_filter_is_nobody_elses_whenever_it_goes(peer: Numbers) -> None:
    session = session_of(peer)
    session.own_filters += 1
    assert session.look_at_sent(10.0, NOW) == PUSHED  # it is on its way
    peer.sent[265] = 1
    assert session.look_at_sent(11.0, NOW) == PUSHED
    assert session.foreign_since is None
    peer.sent[265] = 2
    assert session.look_at_sent(12.0, NOW + 2) == HISTORY
    peer.sent[265] = 3
    assert session.look_at_sent(13.0, NOW + 3) == HISTORY
    assert session.foreign_since == NOW + 2
    assert session.history_until == 13 + HISTORY_SECONDS
