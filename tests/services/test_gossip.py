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
from tests.support.gossip import IDS, PEER, channel, node, update
from tests.support.personas import (
    CLOSE,
    FIRST_BLOCK,
    NOW,
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
from triolight import EventsLost, Features, NullLogger, PeerNursery, open_peers
from triolight.chains import REGTEST
from triolight.gossip import Found, GossipPolicy, Missing, NetworkGraph, P2PGossipSync, Spent, Verdict, decode_short_ids
from triolight.gossip.asking import filter_of
from triolight.gossip.policy import AskPolicy, FollowPolicy
from triolight.gossip.utxo import funding_script
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    Init,
    InitTlvs,
    Message,
    QueryChannelRange,
    QueryShortChannelIds,
)
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
from triolight.testing import scripted_peer
from triolight.wire import ShortChannelId

TRUTH = WORLD.graph()
HIDDEN, OTHER, THIRD = (ShortChannelId.of(90, number, 0) for number in range(3))
"""Of channels that nobody announces."""
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
    policy = SyncPolicy(first_block=FIRST_BLOCK, asking=AskPolicy(batch=50))
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
        assert gossip.latest is None
        with trio.move_on_after(1.0) as scope:
            await gossip.fetch()
        assert scope.cancelled_caught
        some = len(sync.graph.channels)
        assert 0 < some < len(WORLD.channels)
        assert gossip.latest is not None
        assert (gossip.latest.channels, gossip.latest.complete) == (some, False)
        assert gossip.latest.seconds == pytest.approx(1)
        assert gossip.latest.peers[0].channels >= some
        assert gossip.latest.peers[0].end == "given up"
        # The answer goes on: it is waited for, and not asked beside.
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
        assert report.complete
    assert persona.complaints == []
    assert sync.unasked == 0


@pytest.mark.parametrize("seconds", [10, 200])
async def test_what_a_cancelled_fetch_is_owed_may_come_before_the_next_one(
    seconds: float, autojump_clock: trio.testing.MockClock
) -> None:
    persona = Lnd()
    async with asking(persona) as (_, gossip, sync):
        with trio.move_on_after(1.0) as scope:
            await gossip.fetch()
        assert scope.cancelled_caught
        await trio.sleep(seconds)
        report = await gossip.fetch()
        assert report.complete
        assert same_graph(sync.graph, TRUTH)
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
    policy = SyncPolicy(first_block=FIRST_BLOCK, asking=AskPolicy(batch=50))
    async with asking(Forger(told=100), Lnd(), policy=policy) as (_, gossip, sync):
        report = await gossip.fetch()
        assert same_graph(sync.graph, TRUTH)
    by_node = {one.node_id: one for one in report.peers}
    forger, honest = by_node[node_id_of(51)], by_node[node_id_of(52)]
    assert forger.rejected["bad_signature"] > 0
    assert "bad_signature" not in honest.rejected
    assert report.rejected["bad_signature"] == forger.rejected["bad_signature"]


@pytest.mark.parametrize(("parked_bytes", "has_room"), [(1000, False), (1024 * 1024, True)])
async def test_d24_what_came_too_early_and_found_no_room_is_counted_by_peer(
    parked_bytes: int, has_room: bool, autojump_clock: trio.testing.MockClock
) -> None:
    policy = SyncPolicy(first_block=FIRST_BLOCK, parked_bytes=parked_bytes)
    async with asking(Electrum(), policy=policy) as (_, gossip, _):
        (told,) = (await gossip.fetch()).peers
        assert (told.dropped == 0) == has_room
        assert told.dropped < told.updates + told.nodes


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


@pytest.mark.parametrize("proven", [True, False])
async def test_d6_no_channel_that_only_strangers_vouch_for_hides_others_from_us(
    proven: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """What is asked for each hour begins at the newest channel that a chain has seen."""
    eclair, asked = Eclair(), list[QueryChannelRange]()
    whole = eclair.receive

    def receive(message: Message, now: float) -> None:
        if isinstance(message, QueryChannelRange):
            asked.append(message)
        whole(message, now)

    eclair.receive = receive  # type: ignore[method-assign]
    policy = SyncPolicy(first_block=FIRST_BLOCK, following=FollowPolicy(resync_blocks=3))
    async with asking(eclair, policy=policy) as (_, gossip, sync):
        await gossip.fetch()
        newest = max(sync.graph.channels)
        if proven:
            sync.graph.prove(sync.graph.channels[newest], 7)
        far = ShortChannelId.of(4_000_000, 1, 1)
        sync.graph.load(channel(far), received=int(unix_time()))
        sync.graph.remove(max(one for one in sync.graph.channels if one < newest))
        asked.clear()
        await trio.sleep(3601)
        assert [one.first_blocknum for one in asked] == [newest // 2**40 - 3 if proven else FIRST_BLOCK]
        assert len(sync.graph.channels) == len(WORLD.channels) + 1


async def test_d6_no_time_that_others_have_signed_moves_what_we_ask_to_be_told(
    autojump_clock: trio.testing.MockClock,
) -> None:
    core_lightning = CoreLightning()
    sync = PlainSync()
    ahead = channel(far := ShortChannelId.of(90, 9, 0)), update(far, 0, int(unix_time()) + 86_000)
    sync.graph.load(ahead[0], ahead[1:], received=int(unix_time()))
    async with asking(core_lightning, sync=sync):
        await trio.sleep(1)
        (first,) = core_lightning.filters
        assert first.first_timestamp in range(int(unix_time()) - 3602, int(unix_time()) - 3599)


async def test_s1_what_nodes_say_of_themselves_is_asked_for_anew_in_turns(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """No list of channels tells that it has changed: each day a part of the nodes is asked."""
    policy = SyncPolicy(first_block=FIRST_BLOCK, following=FollowPolicy(resync_all=7200, refresh_parts=2))
    async with asking(Eclair(), policy=policy) as (_, gossip, sync):
        await gossip.fetch()
        announced = [*WORLD.nodes]
        for number in range(len(announced)):
            sync.graph.nodes[IDS[number]].put_announcement(node(number, NOW - 86_400))

        def fresh() -> list[bytes]:
            now, truth = sync.graph.nodes, TRUTH.nodes
            return [one for one in announced if now[one].announcement_bytes == truth[one].announcement_bytes]

        counts: list[int] = []
        for _ in range(3):
            await trio.sleep(7200)
            counts.append(len(fresh()))
        assert 0 < counts[0] < len(announced)
        assert counts[-1] == len(announced)


async def test_d23_who_speaks_of_a_channel_that_nobody_has_announced_is_asked_for_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    eclair, asked = Eclair(), list[int]()
    whole = eclair.receive

    def receive(message: Message, now: float) -> None:
        if isinstance(message, QueryShortChannelIds):
            asked.extend(decode_short_ids(message.encoded_short_ids))
        whole(message, now)

    eclair.receive = receive  # type: ignore[method-assign]
    async with asking(eclair) as (peers, gossip, sync):
        await gossip.fetch()
        asked.clear()

        async def say(*messages: bytes) -> None:
            for data in messages:
                eclair.later(data, trio.current_time())
            for peer in peers.peers.values():
                await peer.send(filter_of(REGTEST.chain_hash, None))  # it looks up

        newest = max(sync.graph.channels)
        gone = sync.graph.remove(newest)[0].update_bytes(0)
        assert gone is not None
        await say(gone, update(HIDDEN, message_flags=3), update(OTHER, timestamp=NOW))
        await trio.sleep(9)
        assert asked == []
        await trio.sleep(20)
        assert newest in sync.graph.channels
        # Not for what stays between the two of us.
        assert asked == [OTHER, newest]
        await say(update(THIRD, timestamp=NOW))
        await trio.sleep(30)
        assert len(asked) == 2
        await trio.sleep(60)
        assert asked[2:] == [THIRD]
    assert eclair.complaints == []


async def test_who_comes_and_goes_keeps_no_fetch_waiting(autojump_clock: trio.testing.MockClock) -> None:
    """Whoever is new is asked soon; who has gone before its turn is not, however often it was there."""
    sync = PlainSync()
    turns = 0
    async with (
        open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
        playing(peers, CoreLightning()),
        open_gossip(peers, sync, policy=POLICY, unix_time=unix_time) as gossip,
        trio.open_nursery() as nursery,
    ):

        async def come_and_go(number: int) -> None:
            nonlocal turns
            while True:
                turns += 1
                async with scripted_peer(
                    peers, secret=bytes((number,)) * 32, ephemeral=turns.to_bytes(32, "big"), patience=1e9, seed=number
                ) as peer:
                    networks = (REGTEST.chain_hash,)
                    features = Features.named("gossip_queries").to_bytes()
                    await peer.exchange_inits(Init(features=features, tlvs=InitTlvs(networks=networks)))
                    await trio.sleep(6)
                await trio.sleep(0.5)

        for number in (61, 62, 63):
            nursery.start_soon(come_and_go, number)
        await trio.sleep(300)
        assert turns > 100
        began = trio.current_time()
        report = await gossip.fetch(peers.peers[node_id_of(51)])
        assert report.complete
        # One check may be under way, and its peer may come back.
        assert trio.current_time() - began < 30
        nursery.cancel_scope.cancel()


async def test_a_fetch_goes_before_a_check_of_one_that_takes_its_time(autojump_clock: trio.testing.MockClock) -> None:
    class Slow(CoreLightning):
        """It has nothing of what it lists, and says so just in time."""

        features = ("gossip_queries",)
        asked = 0

        def listed(self) -> list[int]:
            return [ShortChannelId.of(FIRST_BLOCK, number, 0) for number in range(900)]

        def stamps(self, scid: int) -> tuple[int, int]:
            return NOW, NOW

        def checksums(self, scid: int) -> tuple[int, int]:
            return 1, 1

        def give_answer(self, answer: list[bytes], end: bytes, now: float) -> float:
            self.asked += 1
            self.later(end, now + 29)
            return now + 29

    slow = Slow()
    async with asking(slow, Lnd()) as (peers, gossip, _):
        await trio.sleep(30)
        assert slow.asked == 1
        began = trio.current_time()
        report = await gossip.fetch(peers.peers[node_id_of(52)])
        assert report.complete
        assert trio.current_time() - began < 10
        # It is asked again, behind that.
        await trio.sleep(120)
        assert slow.asked > 1
    assert slow.complaints == []


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
        assert gossip.latest == report
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


class SlowChain:
    """It has the world's outputs and no other, and answers some time later."""

    def __init__(self, nursery: trio.Nursery, seconds: float) -> None:
        self._nursery = nursery
        self._seconds = seconds
        self.sync = P2PGossipSync(NetworkGraph(REGTEST), self, clock=trio.current_time, unix_time=unix_time)

    def get_utxo(self, chain_hash: bytes, short_channel_id: int, token: int) -> None:
        self._nursery.start_soon(self._answer, token, short_channel_id)

    async def _answer(self, token: int, scid: int) -> None:
        await trio.sleep(self._seconds)
        if scid not in WORLD.channels:
            self.sync.resolve(token, Missing())
            return
        channel = ChannelAnnouncement.decode(WORLD.channels[scid][0])
        self.sync.resolve(token, Found(funding_script(channel.bitcoin_key_1, channel.bitcoin_key_2), 1000, 500))


async def test_who_waits_for_a_slow_chain_of_ours_is_not_blamed_for_silence(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Three peers with hundreds of announcements are not read for a minute: a chain takes eight seconds for eight."""

    class Teller(Ldk):
        def connected(self, now: float) -> None:
            super().connected(now)
            for number in range(200):
                self.later(channel(ShortChannelId.of(100, number, 0)), now)

    async with trio.open_nursery() as nursery:
        sync = SlowChain(nursery, 8).sync
        async with (
            open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
            playing(peers, Teller(), Teller(), Teller()),
            open_gossip(peers, sync, policy=POLICY, unix_time=unix_time),
        ):
            await trio.sleep(900)
            assert len(peers.peers) == 3
            assert sync.rules.verdicts[Verdict.MISSING] > 150
            assert not any(map(sync.processing_queue_high, peers.peers))
        nursery.cancel_scope.cancel()


async def test_who_pushes_without_end_keeps_no_fetch_waiting_for_the_chain(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Pusher(Ldk):
        def connected(self, now: float) -> None:
            super().connected(now)
            for number in range(1000):
                self.later(channel(ShortChannelId.of(100, number, 0)), now + number / 4)

    async with trio.open_nursery() as nursery:
        chain = SlowChain(nursery, 0.5)
        sync = chain.sync
        async with (
            open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
            playing(peers, CoreLightning(), Pusher()),
            open_gossip(peers, sync, policy=POLICY, unix_time=unix_time) as gossip,
        ):
            report = await gossip.fetch(peers.peers[node_id_of(51)])
            assert report.complete
            assert report.channels == len(WORLD.channels)
            assert report.seconds < 100
            assert len(sync.rules.lookups) > 0
        nursery.cancel_scope.cancel()


async def test_what_waits_for_its_block_hides_nothing_that_waits_for_the_chain(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with trio.open_nursery() as nursery:
        chain = SlowChain(nursery, 5)
        sync = chain.sync
        tip = max(WORLD.channels) >> 40
        sync.block_connected(tip + 10)
        for number in range(100):
            sync.handle_channel_announcement(
                PEER, ChannelAnnouncement.decode(channel(ShortChannelId.of(tip + 12, number, 0)))
            )
        assert sync.rules.lookups.early == 100
        async with (
            open_peers(b"\x01" * 32, route_handler=sync, networks="regtest", logger=NullLogger()) as peers,
            playing(peers, CoreLightning()),
            open_gossip(peers, sync, policy=POLICY, unix_time=unix_time) as gossip,
        ):
            report = await gossip.fetch()
            assert report.channels == len(WORLD.channels)
            assert len(sync.rules.lookups) == 0


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
