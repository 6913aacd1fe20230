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
