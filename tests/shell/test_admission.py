"""Admission: strangers and inbound peers are counted once, places are left, and the policy hears the true numbers."""

from __future__ import annotations

import pytest

from tests.support import ListLogger, identity
from triolight import DisconnectCode, Policy
from triolight.address import IPv4Address, IPv6Address
from triolight.errors import DisconnectReason, Side
from triolight.logger import Area
from triolight.shell.admission import Admission

HERE = IPv4Address("192.0.43.8", 1000)
SAME = IPv6Address("::ffff:192.0.43.8", 1001)
THERE = IPv4Address("192.0.43.9", 1000)


def make_admission(policy: Policy, peers: int = 0) -> tuple[Admission, ListLogger]:
    logger = ListLogger()
    return Admission(policy, lambda: peers, Area(logger, "nursery")), logger


def test_a_place_is_entered_and_left_once() -> None:
    admission, _ = make_admission(Policy())
    one, other = admission.place(HERE), admission.place(SAME)
    assert one.source == other.source == "192.0.43.8"
    for _ in range(2):
        admission.enter(one)
    admission.enter(other)
    admission.enter(admission.place(None))
    admission.enter(None)  # one that we dialled
    assert (admission.strangers, admission.strangers_by_source) == (3, {"192.0.43.8": 2})
    for _ in range(2):
        admission.leave(one)
    admission.leave(None)
    assert (admission.strangers, admission.strangers_by_source) == (2, {"192.0.43.8": 1})
    admission.leave(other)
    assert admission.strangers_by_source == {}, "a source that has none takes no memory"


def test_the_policy_hears_of_strangers_by_source_and_in_all() -> None:
    admission, logger = make_admission(Policy(max_strangers=3, max_strangers_per_source=2))
    for _ in range(2):
        assert admission.stranger(HERE) is None
        admission.enter(admission.place(HERE))
    refused = admission.stranger(SAME)
    assert refused is not None
    assert "2 connections from this address" in refused.message
    assert admission.stranger(THERE) is None
    admission.enter(admission.place(THERE))
    refused = admission.stranger(None)
    assert refused is not None
    assert refused.message == "3 connections are being made"
    assert admission.failures == {DisconnectCode.TOO_MANY_STRANGERS: 2}
    assert "a connection was refused" in logger


@pytest.mark.parametrize("inbound", [True, False])
def test_the_policy_hears_of_peers(inbound: bool) -> None:
    admission, _ = make_admission(Policy(max_peers=10, max_inbound_peers=1), peers=9)
    assert admission.peer(identity(1), HERE, inbound, False) is None
    admission.peer_joined(inbound)
    refused = admission.peer(identity(2), HERE, True, False)
    assert (refused is None) == (not inbound)
    assert admission.peer(identity(2), HERE, True, True) is None, "protected"
    admission.peer_left(inbound, DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "gone"))
    assert admission.peer(identity(2), HERE, True, False) is None
    assert (admission.inbound_peers, admission.ends) == (0, {DisconnectCode.PEER_CLOSED: 1})
    full, _ = make_admission(Policy(max_peers=10), peers=10)
    refused = full.peer(identity(2), HERE, inbound, False)
    assert refused is not None
    assert refused.code is DisconnectCode.TOO_MANY_PEERS


def test_each_answer_is_counted() -> None:
    policy = Policy(banned=[identity(2)])
    admission, _ = make_admission(policy)
    assert admission.dial(identity(1), HERE, False) is None
    assert admission.dial(identity(2), HERE, False) is not None
    assert policy.decisions == {"dial: admitted": 1, "dial: BANNED": 1}
    assert admission.failures == {}, "whether a refused dial is a failure is for who dials"
