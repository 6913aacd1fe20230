"""Networks of real nodes: what one node says reaches all of them, partition or not, and the same way every time.

The full sizes run only when asked for: pytest -m scale
"""

from __future__ import annotations

import pytest

from tests.support.simulations import PARTITION_SECONDS, Flooded, flood, keep_alive
from triolight.testing import run_seeded, seeds


def check(done: Flooded, nodes: int) -> None:
    assert len(done.heard_at) == nodes
    assert done.healed_at == done.told_at + PARTITION_SECONDS
    before = [at for at in done.heard_at if at < done.healed_at]
    after = [at for at in done.heard_at if at >= done.healed_at]
    # One half hears it at once, the other one not before the healing, and then soon.
    assert 2 <= len(before) <= nodes // 2
    assert max(before) - done.told_at < 30
    assert max(after) - done.healed_at < 60


@pytest.mark.parametrize("seed", seeds(1))
def test_a_rumour_reaches_a_hundred_nodes_through_a_partition(seed: int) -> None:
    check(run_seeded(seed, flood, seed, 100), 100)


@pytest.mark.parametrize("seed", seeds(10))
def test_small_networks_heal_too(seed: int) -> None:
    first = run_seeded(seed, flood, seed, 8, 2)
    check(first, 8)
    assert run_seeded(seed, flood, seed, 8, 2) == first


@pytest.mark.parametrize("seed", seeds(1))
def test_connections_are_kept_alive(seed: int) -> None:
    done = run_seeded(seed, keep_alive, seed, 20, 1.0)
    assert done.connections == 20
    assert done.pings == 20 * 59


@pytest.mark.scale
@pytest.mark.parametrize("seed", seeds(1))
def test_a_thousand_nodes(seed: int) -> None:
    check(run_seeded(seed, flood, seed, 1000), 1000)


@pytest.mark.scale
@pytest.mark.parametrize("seed", seeds(1))
def test_a_day_of_two_hundred_connections(seed: int) -> None:
    done = run_seeded(seed, keep_alive, seed, 200, 24.0)
    assert done.pings == 200 * (24 * 60 - 1)
