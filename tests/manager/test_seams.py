"""Who drives a manager: one driver at a time, and all that comes with it leaves with it."""

from __future__ import annotations

import pytest

from tests.support import make_manager, until
from tests.support.inside import driving_of
from triolight import Allowance, PeerManager, open_peer_nursery
from triolight.testing import MemoryDescriptor, MemoryNode


async def test_without_a_driver_there_is_no_allowance() -> None:
    manager = make_manager(1)
    assert isinstance(manager, PeerManager)
    assert driving_of(manager).allowance is None
    async with open_peer_nursery(manager) as peers:
        assert driving_of(manager).allowance == Allowance()
        await until(lambda: not peers.peers)
    assert driving_of(manager).allowance is None


def test_a_manager_with_connections_is_not_driven_by_a_second_one() -> None:
    manager = make_manager(1)
    manager.new_inbound_connection(MemoryDescriptor())
    with pytest.raises(RuntimeError, match="somebody else drives"):
        MemoryNode(manager)
