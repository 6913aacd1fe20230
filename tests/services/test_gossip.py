"""open_gossip, over connections, on the mock clock: one fetch from a persona; several; what ends and comes back."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support import join
from tests.support.gossip import update
from tests.support.personas import (
    CLOSE,
    FIRST_BLOCK,
    SERVING,
    WORLD,
    CoreLightning,
    Eclair,
    Electrum,
    EndsFirst,
    Forger,
    FromTheFuture,
    Gaps,
    HalfMissing,
    Ldk,
    Leaver,
    Lnd,
    NeverEnds,
    OtherChain,
    Persona,
    ReadsNothing,
    Repeater,
    WrongCounts,
    Zlib,
    same_graph,
)
from tests.support.playing import PlainSync, node_id_of, playing, unix_time
from triolight import EventsLost, NullLogger, PeerNursery, open_peers
from triolight.chains import REGTEST
from triolight.gossip import Found, GossipPolicy, NetworkGraph, P2PGossipSync, Spent
from triolight.gossip.utxo import funding_script
from triolight.messages import ChannelAnnouncement, ChannelUpdate
from triolight.services import (
    ChannelAdded,
    ChannelChanged,
    ChannelRemoved,
    Gossip,
    Progress,
    SyncPolicy,
    open_gossip,
    open_graph_store,
)

TRUTH = WORLD.graph()
POLICY = SyncPolicy(first_block=FIRST_BLOCK)


@asynccontextmanager
async def asking(
    *personas: Persona, sync: PlainSync | None = None, policy: SyncPolicy = POLICY, returns: bool = False
) -> AsyncGenerator[tuple[PeerNursery, Gossip, PlainSync]]:
    """A node with these peers, and its gossip."""
    sync = PlainSync() if sync is None else sync
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
        playing(peers, *personas, returns=returns),
        open_gossip(peers, sync, policy=policy, unix_time=unix_time) as gossip,
    ):
        yield peers, gossip, sync


@pytest.mark.parametrize("make", [Lnd, CoreLightning, Eclair])
async def test_the_whole_graph_of_one_peer(make: type[Persona], autojump_clock: trio.testing.MockClock) -> None:
    persona = make()
    async with asking(persona) as (peers, gossip, sync):
        report = await gossip.fetch(peers.peers[node_id_of(51)])
        assert same_graph(sync.graph, TRUTH)
        assert (report.channels, report.nodes, report.complete) == (len(WORLD.channels), 8, True)
        assert report.updates == sum(one is not None for parts in WORLD.channels.values() for one in parts[1:])
        (told,) = report.peers
        assert (told.node_id, told.end) == (node_id_of(51), "complete")
        assert told.channels == len(WORLD.channels)
        assert told.bytes > 50_000
        assert report.rejected == told.rejected == {}
    assert persona.complaints == []
    assert sync.unasked == 0
    assert sync.asker is None
    assert sync.on_change is None


async def test_several_peers_share_the_work_and_progress_is_told(autojump_clock: trio.testing.MockClock) -> None:
    seen: list[Progress] = []
    policy = SyncPolicy(first_block=FIRST_BLOCK, batch=50)
    async with asking(Lnd(), CoreLightning(), Eclair(), policy=policy) as (_, gossip, sync):
        report = await gossip.fetch(on_progress=seen.append)
        assert same_graph(sync.graph, TRUTH)
        assert report.complete
    assert [one.end for one in report.peers] == ["complete"] * 3
    assert sum(one.channels for one in report.peers) < 2 * len(WORLD.channels)
    assert sum(one.channels > 0 for one in report.peers) > 1
    last = seen[-1]
    assert (last.known, last.got, last.absent, last.peers) == (len(WORLD.channels), len(WORLD.channels), 0, 3)
    assert [one.got for one in seen] == sorted(one.got for one in seen)


async def test_changes_come_without_loss_or_it_is_said(autojump_clock: trio.testing.MockClock) -> None:
    policy = SyncPolicy(first_block=FIRST_BLOCK, changes=400)
    async with asking(CoreLightning(), policy=policy) as (_, gossip, sync):
        async with gossip.changes() as changes:
            await gossip.fetch()
            heard = [await anext(changes) for _ in range(sum(1 for _ in WORLD.messages()))]
            assert {type(one).__name__ for one in heard} == {"ChannelAdded", "ChannelChanged", "NodeChanged"}
            added = [one.channel.short_channel_id for one in heard if isinstance(one, ChannelAdded)]
            assert sorted(added) == sorted(WORLD.channels)
            channel, _ = sync.graph.remove(added[0])
            sync.change(ChannelRemoved(channel, "old"))
            assert await anext(changes) == ChannelRemoved(channel, "old")
            for _ in range(401):
                sync.change(ChannelRemoved(channel, "old"))
            with pytest.raises(EventsLost, match="more than 400 changes"):
                await anext(changes)
            sync.change(ChannelRemoved(channel, "spent"))
            assert await anext(changes) == ChannelRemoved(channel, "spent")
        left = gossip.changes()
        await left.__aenter__()
    assert [one async for one in left] == []


async def test_a_peer_of_another_chain_is_refused_with_words(autojump_clock: trio.testing.MockClock) -> None:
    sync = PlainSync()
    stranger = OtherChain()
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, logger=NullLogger()) as peers,
        playing(peers, stranger),
        open_gossip(peers, sync, policy=POLICY, unix_time=unix_time) as gossip,
    ):
        with pytest.raises(ValueError, match="is no peer of regtest, but of bitcoin"):
            await gossip.fetch(peers.peers[node_id_of(51)])
        with pytest.raises(ValueError, match="nobody to ask"):
            await gossip.fetch()
        with pytest.raises(ValueError, match="one open_gossip at a time"):
            async with open_gossip(peers, sync):
                pass
    assert stranger.queries == 0


async def test_one_that_leaves_and_comes_back_is_asked_on(autojump_clock: trio.testing.MockClock) -> None:
    class LeavesOnce(CoreLightning):
        left = False

        def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
            if self.left:
                return super().give_answer(answer, end, now)
            self.left = True
            return self.say([*answer[:100], CLOSE], now)

    async with asking(LeavesOnce(), returns=True) as (_, gossip, sync):
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
        assert report.complete
    assert len(report.peers) == 1


async def test_a_fetch_whose_peers_are_gone_ends_with_what_came(autojump_clock: trio.testing.MockClock) -> None:
    class Leaves(CoreLightning):
        def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
            return self.say([*answer[:90], CLOSE], now)

    began = trio.current_time()
    async with asking(Leaves()) as (_, gossip, sync):
        report = await gossip.fetch()
    assert not report.complete
    assert 0 < report.channels == len(sync.graph.channels) < len(WORLD.channels)
    assert report.peers[0].end == "closed"
    assert trio.current_time() - began < 30


async def test_a_cancelled_fetch_leaves_it_whole(autojump_clock: trio.testing.MockClock) -> None:
    persona = Lnd()
    async with asking(persona) as (_, gossip, sync):
        with trio.move_on_after(1.0) as scope:
            await gossip.fetch()
        assert scope.cancelled_caught
        some = len(sync.graph.channels)
        assert 0 < some < len(WORLD.channels)
        # The answer goes on: it is waited for, and not asked beside.
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
        assert report.complete
    assert persona.complaints == []
    assert sync.unasked == 0


async def test_leaving_wakes_who_waits(autojump_clock: trio.testing.MockClock) -> None:
    raised: list[str] = []

    async def wait(gossip: Gossip) -> None:
        try:
            await gossip.fetch()
        except RuntimeError as error:
            raised.append(str(error))

    async with trio.open_nursery() as nursery, asking(ReadsNothing()) as (_, gossip, _):
        nursery.start_soon(wait, gossip)
        nursery.start_soon(wait, gossip)
        await trio.sleep(1)
    assert raised == ["the block of open_gossip was left"] * 2


async def test_what_the_body_raises_leaves_bare(autojump_clock: trio.testing.MockClock) -> None:
    sync = PlainSync()
    async with open_peers(b"\x01" * 32, route_handler=sync, logger=NullLogger()) as peers:
        with pytest.raises(KeyError):
            async with open_gossip(peers, sync, unix_time=unix_time):
                raise KeyError("body")


async def test_what_is_refused_is_counted_by_peer(autojump_clock: trio.testing.MockClock) -> None:
    policy = SyncPolicy(first_block=FIRST_BLOCK, batch=50)
    async with asking(Forger(told=100), Lnd(), policy=policy) as (_, gossip, sync):
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
    by_node = {one.node_id: one for one in report.peers}
    forger, honest = by_node[node_id_of(51)], by_node[node_id_of(52)]
    assert forger.rejected["bad_signature"] > 0
    assert "bad_signature" not in honest.rejected
    assert report.rejected["bad_signature"] == forger.rejected["bad_signature"]


@pytest.mark.parametrize("seed", range(3))
async def test_six_of_all_kinds(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    rogues = [NeverEnds, HalfMissing, Zlib, EndsFirst, Leaver, ReadsNothing, Repeater, FromTheFuture, Gaps, WrongCounts]
    rng = random.Random(seed)
    personas = [make() for make in (SERVING[seed], *rng.sample(rogues, 4), Electrum)]
    async with asking(*personas, returns=True) as (_, gossip, sync):
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
        assert report.complete
    assert personas[0].complaints == personas[5].complaints == []


async def test_streams_and_checks_while_it_is_open(autojump_clock: trio.testing.MockClock) -> None:
    """The filter by the peer's make, and what was missed is asked for within the hour."""
    core_lightning, lnd, ldk = CoreLightning(), Lnd(), Ldk()
    async with asking(core_lightning, lnd, ldk) as (_, gossip, sync):
        await trio.sleep(1)
        (first,) = core_lightning.filters
        assert int(unix_time()) - first.first_timestamp in (3600, 3601)
        # Nothing before these were asked: LDK heeds its first filter alone.
        assert lnd.filters == ldk.filters == []
        await gossip.fetch()
        await trio.sleep(1)
        assert len(lnd.filters) == len(ldk.filters) == 1
        assert same_graph(sync.graph, TRUTH)
        newest = max(sync.graph.channels)
        sync.graph.remove(newest)
        await trio.sleep(2 * 3600)
        assert newest in sync.graph.channels
    assert core_lightning.complaints == lnd.complaints == ldk.complaints == []
    assert sync.unasked == 0


async def test_from_a_node_of_ours_to_another(autojump_clock: trio.testing.MockClock) -> None:
    """Both sides as users have them: one graph is served, the other one is filled, and what is new follows."""
    policy = GossipPolicy(relay_unchecked=True)
    serving = P2PGossipSync(WORLD.graph(), policy=policy, clock=trio.current_time, unix_time=unix_time)
    sync = P2PGossipSync(NetworkGraph(REGTEST), clock=trio.current_time, unix_time=unix_time)
    async with (
        open_peers(b"\x01" * 32, route_handler=serving, networks="regtest", logger=NullLogger()) as there,
        open_peers(b"\x02" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as here,
        open_gossip(there, serving, unix_time=unix_time),
        open_gossip(here, sync, unix_time=unix_time) as gossip,
    ):
        to_there, _ = await join(here, there)
        report = await gossip.fetch(to_there)
        assert report.complete
        assert same_graph(sync.graph, TRUTH)
        assert report.rejected == {}
        async with gossip.changes() as changes:
            await trio.sleep(60)
            scid = next(iter(WORLD.channels))
            serving.announce_own(ChannelUpdate.decode(update(scid, 0, int(unix_time()))))
            change = await anext(changes)
            assert isinstance(change, ChannelChanged)
            assert change.channel.timestamp(0) == serving.graph.channels[scid].timestamp(0)


async def test_what_a_chain_answers_late_is_in_the_report(autojump_clock: trio.testing.MockClock) -> None:
    class Chain:
        asked = 0

        def get_utxo(self, chain_hash: bytes, short_channel_id: int, token: int) -> None:
            self.asked += 1
            nursery.start_soon(self.answer, token, short_channel_id)

        async def answer(self, token: int, scid: int) -> None:
            await trio.sleep(0.2)
            channel = ChannelAnnouncement.decode(WORLD.channels[scid][0])
            script = funding_script(channel.bitcoin_key_1, channel.bitcoin_key_2)
            sync.resolve(token, Spent() if scid in spent else Found(script, 1000, 500))

    chain, spent = Chain(), set(list(WORLD.channels)[::10])
    sync = P2PGossipSync(NetworkGraph(REGTEST), chain, clock=trio.current_time, unix_time=unix_time)
    persona = CoreLightning()
    async with (
        trio.open_nursery() as nursery,
        open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
        playing(peers, persona, Lnd()),
        open_gossip(peers, sync, policy=POLICY, unix_time=unix_time) as gossip,
    ):
        report = await gossip.fetch()
    assert report.complete
    assert report.channels == len(WORLD.channels) - len(spent)
    assert report.rejected["spent"] >= len(spent)
    assert all(one.checked == "output" for one in sync.graph.channels.values())
    assert chain.asked == len(WORLD.channels)
    assert persona.complaints == []


async def test_what_was_fetched_is_on_the_disk(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    sync = PlainSync()
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
        playing(peers, CoreLightning()),
        open_graph_store(tmp_path / "graph.db", sync.graph, unix_time=unix_time) as store,
        open_gossip(peers, sync, store, POLICY, unix_time=unix_time) as gossip,
    ):
        report = await gossip.fetch()
        assert report.complete
        assert store.pending == 0
    again = NetworkGraph(REGTEST)
    async with open_graph_store(tmp_path / "graph.db", again, unix_time=unix_time):
        assert same_graph(again, TRUTH)
