"""The numbers of the rules."""

from __future__ import annotations

import pytest

from triolight.gossip import GossipPolicy
from triolight.gossip.policy import WaitingPolicy


def test_numbers_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="orphans is above 0, not 0"):
        GossipPolicy(waiting=WaitingPolicy(orphans=0))
    with pytest.raises(ValueError, match="'either' or 'both'"):
        GossipPolicy(prune_sides="one")  # type: ignore[arg-type]
    assert GossipPolicy(waiting=WaitingPolicy(orphans=1)) != GossipPolicy()


def test_the_defaults_are_those_that_others_use() -> None:
    """A fortnight, a day and the rest: BOLT 7's numbers, and those of the implementations."""
    day, policy = 86_400, GossipPolicy()
    assert (policy.prune_age, policy.prune_sides, policy.future) == (14 * day, "either", day)
    assert (policy.minimum_depth, policy.early_blocks, policy.spent_blocks) == (6, 12, 72)
    assert (policy.memory.tombstone_age, policy.memory.tombstones, policy.memory.node_age) == (7 * day, 100_000, day)
    assert (policy.waiting.park_age, policy.waiting.orphans, policy.waiting.orphans_of_peer) == (600, 1000, 100)
    assert (
        policy.waiting.pending,
        policy.waiting.pending_of_peer,
        policy.waiting.lookups,
        policy.waiting.lookup_age,
    ) == (1000, 64, 8, 10)
    assert (policy.memory.negative, policy.memory.negative_age) == (10_000, 3600)
    assert (policy.unverified, policy.unverified_of_peer) == (100_000, 5000)
    assert (policy.memory.blacklisted, policy.memory.blacklist_age, policy.memory.seen) == (10_000, 2 * day, 100_000)
    assert (policy.blacklist, policy.relay_unchecked) == (False, False)
