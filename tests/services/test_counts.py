"""What `open_gossip` counts: the graph, what became of messages, where each peer stands, how far a fetch is."""

from __future__ import annotations

import trio
import trio.testing

from tests.support.personas import FIRST_BLOCK, WORLD, Lnd, OtherChain
from tests.support.playing import PlainSync, node_id_of, playing, unix_time
from triolight import NullLogger, open_peers
from triolight.gossip.policy import FollowPolicy
from triolight.services import GossipStatistics, PeerState, Progress, SyncPolicy, open_gossip


async def test_a_fetch_in_numbers(autojump_clock: trio.testing.MockClock) -> None:
    sync = PlainSync()
    policy = SyncPolicy(first_block=FIRST_BLOCK, following=FollowPolicy(streams=1, streams_empty=1))
    seen: list[GossipStatistics] = []
    messages = sum(1 for _ in WORLD.messages())
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, logger=NullLogger()) as peers,
        playing(peers, Lnd(), Lnd(), OtherChain()),
        open_gossip(peers, sync, policy=policy, unix_time=unix_time) as gossip,
    ):
        before = gossip.statistics()
        assert (before.graph_channels, before.graph_nodes) == (0, 0)
        assert before.gossip_messages == {}
        assert before.fetch_channels == {}
        states = gossip.states()
        assert states.pop(node_id_of(53)) == PeerState.ELSEWHERE
        assert {*states} == {node_id_of(51), node_id_of(52)}

        def look(at: Progress) -> None:
            seen.append(gossip.statistics())
            assert seen[-1].fetch_channels == {"listed": at.known, "settled": at.got + at.absent}
            assert gossip.states()[node_id_of(51)] == PeerState.ASKED

        await gossip.fetch(peers.peers[node_id_of(51)], on_progress=look)
        await trio.sleep(60)
        after = gossip.statistics()
        assert sorted(gossip.states().values()) == [PeerState.ELSEWHERE, PeerState.STREAMS, PeerState.WAITS]
    assert (after.graph_channels, after.graph_nodes) == (len(WORLD.channels), len(sync.graph.nodes))
    assert after.fetch_channels == {}
    assert after.gossip_peers == {"asked": 0, "streams": 1, "waits": 1, "elsewhere": 1}
    assert after.gossip_messages["unverified"] == messages  # no chain was asked
    assert after.gossip_messages == {one.value: count for one, count in sync.rules.verdicts.items() if count}
    assert seen[-1].fetch_channels["settled"] == len(WORLD.channels)
    settled = [one.fetch_channels["settled"] for one in seen]
    assert settled == sorted(settled)
    assert len({*settled}) > 2
