"""The numbers of the rules."""

from __future__ import annotations

import pytest

from triolight.gossip import GossipPolicy


def test_numbers_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="orphans is at least 1, not 0"):
        GossipPolicy(orphans=0)
    with pytest.raises(ValueError, match="'either' or 'both'"):
        GossipPolicy(prune_sides="one")  # type: ignore[arg-type]
    assert GossipPolicy(orphans=1) != GossipPolicy()


def test_the_defaults_are_those_that_others_use() -> None:
    """A fortnight, a day and the rest: BOLT 7's numbers, and those of the implementations."""
    day, policy = 86_400, GossipPolicy()
    assert (policy.prune_age, policy.prune_sides, policy.future) == (14 * day, "either", day)
    assert (policy.minimum_depth, policy.early_blocks, policy.spent_blocks) == (6, 12, 72)
    assert (policy.tombstone_age, policy.tombstones, policy.node_age) == (7 * day, 100_000, day)
    assert (policy.park_age, policy.orphans, policy.orphans_of_peer) == (600, 1000, 100)
    assert (policy.pending, policy.pending_of_peer, policy.lookups, policy.lookup_age) == (1000, 64, 8, 10)
    assert (policy.negative, policy.negative_age) == (10_000, 3600)
    assert (policy.unverified, policy.unverified_of_peer, policy.verify_per_second) == (100_000, 5000, 500)
    assert (policy.blacklisted, policy.blacklist_age, policy.seen) == (10_000, 2 * day, 100_000)
    assert (policy.blacklist, policy.relay_unchecked) == (False, False)
