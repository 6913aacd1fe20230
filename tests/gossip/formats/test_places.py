"""Fields of signed gossip by their places: the same as decoding finds, and cut messages are told."""

from __future__ import annotations

import pytest

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from triolight.chains import REGTEST
from triolight.gossip.formats.places import (
    direction_of,
    ends_of,
    is_obsolete,
    node_of,
    problem,
    timestamp_of,
    type_of,
)

FEATURES = bytes(300)
MESSAGES = [channel(), channel(features=FEATURES), update(), node(), node(features=FEATURES, addresses=bytes(9))]


def test_what_stands_where() -> None:
    for one in (channel(), channel(features=FEATURES)):
        assert ends_of(one) == (REGTEST.chain_hash, SCID, IDS[0], IDS[1])
        assert timestamp_of(one) == 0
    assert direction_of(update(direction=1, timestamp=7)) == (REGTEST.chain_hash, SCID, 1, 7)
    assert timestamp_of(update(timestamp=7)) == 7
    for one in (node(1), node(1, features=FEATURES)):
        assert node_of(one) == (IDS[1], NOW)
        assert timestamp_of(one) == NOW


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: f"{type_of(one)} of {len(one)}")
def test_a_message_that_is_cut_is_none(message: bytes) -> None:
    assert problem(message) == ""
    assert problem(message + b"tail") == ""
    for length in range(len(message)):
        assert problem(message[:length]) != ""


def test_other_types_are_no_signed_gossip() -> None:
    assert problem(b"\x00\x12\x00\x00\x00\x00") == "type 18 is no signed gossip"
    assert problem(b"\x00") == "a message of 1 bytes holds no type"


def test_an_update_of_old_has_no_maximum() -> None:
    assert [length for length in range(139) if is_obsolete(update()[:length])] == [*range(130, 138)]
    assert not is_obsolete(channel()[:132])
