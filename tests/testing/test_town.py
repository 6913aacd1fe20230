"""GossipTown: what its nodes know, how something new spreads, and that a run of one seed is the same again."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from triolight.chains import REGTEST, SIGNET
from triolight.gossip import GossipPolicy, ServePolicy, verify_announcement
from triolight.testing import GossipTown, SimulatedNetwork, run_seeded
from triolight.testing.town import UNIX_TIME

FAST = GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=5))


def test_a_ring_of_channels_whose_updates_are_signed() -> None:
    town = GossipTown(3, 5, chain=SIGNET)
    assert {*town.graph.channels} == {town.short_channel_id(number) for number in range(5)}
    for number in range(5):
        channel = town.graph.channels[town.short_channel_id(number)]
        assert {*channel.node_ids} == {town.ids[number], town.ids[(number + 1) % 5]}
        assert channel.announcement.chain_hash == SIGNET.chain_hash
        for update, node_id in zip(channel.updates, channel.node_ids, strict=True):
            assert update is not None
            assert verify_announcement(update, node_id)
    assert GossipTown(3, 5).ids == town.ids
    assert GossipTown(4, 5).ids != town.ids
    with pytest.raises(ValueError, match="two nodes at least, not 1"):
        GossipTown(3, 1)


def test_where_nodes_are_is_known_to_all() -> None:
    town = GossipTown(3, 2)
    town.announce(0, [("127.0.0.1", 1)])
    town.announce(1, [("127.0.0.1", 2)], signed=False)
    first, second = (town.graph.nodes[node_id].announcement for node_id in town.ids)
    assert first is not None
    assert verify_announcement(first)
    assert second is not None
    assert not verify_announcement(second)
    assert town.manager(1).our_node_id == town.ids[1]


async def spread(seed: int, record: Path) -> bytes:
    town, network = GossipTown(seed, 6, policy=FAST), SimulatedNetwork(seed)
    async with town.open(network, friends=2), town.record(network, record) as recorder:
        await trio.sleep(60)
        said = town.say(2)
        await trio.sleep(60)
        assert recorder.peers == 6
        for sync in town.syncs:
            channel = sync.graph.channels[town.short_channel_id(2)]
            assert said in channel.updates
    assert said.timestamp == UNIX_TIME + 60
    # What was known in the beginning is as it was.
    assert said not in town.graph.channels[town.short_channel_id(2)].updates
    assert said.chain_hash == REGTEST.chain_hash
    return said.encode()


def rows(record: Path) -> list[tuple[int, int, bytes]]:
    with closing(sqlite3.connect(record)) as file:
        joined = "SELECT seen_ns, session, raw FROM sighting JOIN message ON message.id = message"
        return file.execute(joined).fetchall()


def test_what_a_node_says_reaches_all_and_is_recorded_the_same_again(tmp_path: Path) -> None:
    said = run_seeded(1, spread, 1, tmp_path / "one.db")
    assert {session for _, session, raw in rows(tmp_path / "one.db") if raw == said} == set(range(1, 7))
    run_seeded(1, spread, 1, tmp_path / "two.db")
    assert rows(tmp_path / "one.db") == rows(tmp_path / "two.db")
