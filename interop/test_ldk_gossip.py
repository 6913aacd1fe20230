"""Gossip with LDK's own graph: it takes what we tell, we take what it tells, and what it makes of queries."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import trio

from interop.conftest import open_ldk_native
from interop.network import Network, describe_graph, known, until
from interop.ours import OF_SIMNET, held, listening, node_of, serving, triolight
from interop.programs import JsonNode
from tests.support import gossip as made
from triolight import Features, NodeAddress, Peer, PeerNursery, RoutingMessageHandler
from triolight.actions import HandlerResult
from triolight.chains import BITCOIN, REGTEST, SIMNET, Chain
from triolight.gossip import (
    Direction,
    GossipPolicy,
    NetworkGraph,
    P2PGossipSync,
    ServePolicy,
    decode_short_ids,
    encode_short_ids,
)
from triolight.messages import (
    ChannelAnnouncement,
    ChannelUpdate,
    GossipTimestampFilter,
    Message,
    NodeAnnouncement,
    QueryChannelRange,
    QueryChannelRangeTlvs,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
)
from triolight.services import AskPolicy, SyncPolicy, open_gossip
from triolight.wire import ShortChannelId

DAY = 86_400
CHANNELS = 300
QUICK = SyncPolicy(asking=AskPolicy(silence=1))
"""It answers no query for channels, and its history has no end: it is no half minute that we wait for either."""
GOSSIP = (ChannelAnnouncement, ChannelUpdate, NodeAnnouncement)
Announcement: TypeAlias = ChannelAnnouncement | ChannelUpdate | NodeAnnouncement

pytestmark = pytest.mark.node("LDK native")


def place(number: int) -> ShortChannelId:
    return ShortChannelId.of(100 + number // 3, number % 3, number % 2)


def has_no_update(number: int) -> bool:
    return number % 17 == 0


@lru_cache
def messages() -> tuple[bytes, ...]:
    """A graph that is signed: of channels with two updates, with one, and with none; disabled ones; with something
    behind the fields that nobody knows; of nodes that have announced themselves, and one that has not."""
    now = int(time.time())
    found: list[bytes] = []
    for number in range(CHANNELS):
        key, first = place(number), number % 7
        second = first + 1 + number // 7 % (7 - first)
        tail = bytes([number % 256]) * (40 if number % 13 == 0 else 0)
        found.append(made.channel(key, first, second, features=bytes(number % 2), extension=tail))
        for direction, signer in ((0, first), (1, second)):
            if not has_no_update(number) and (direction == 0 or number % 5):
                channel_flags = direction | (2 if number % 11 == 0 else 0)
                stamp, fee = now - 60 * number - direction, 10 * number + direction
                found.append(
                    made.update(
                        key,
                        direction,
                        stamp,
                        signer=signer,
                        channel_flags=channel_flags,
                        fee_base_msat=fee,
                        fee_proportional_millionths=number,
                        cltv_expiry_delta=18 + number,
                        htlc_minimum_msat=number,
                        htlc_maximum_msat=10**8 + number,
                        extension=tail,
                    )
                )
    for number in range(7):
        alias = "node \u2607".encode().ljust(32, b"\0") if number else bytes(range(32))
        addresses = bytes([1, 127, 0, 0, 1, 0x26, number]) * (number % 2)
        found.append(made.node(number, now - number, alias=alias, addresses=addresses, rgb_color=bytes([number] * 3)))
    return tuple(found)


def decoded(raw: bytes) -> Announcement:
    kinds: dict[int, type[Announcement]] = {256: ChannelAnnouncement, 257: NodeAnnouncement, 258: ChannelUpdate}
    return kinds[int.from_bytes(raw[:2], "big")].decode(raw)


def filled(policy: GossipPolicy | None = None) -> P2PGossipSync:
    """A handler of ours whose graph is that of `messages`."""
    sync = P2PGossipSync(NetworkGraph(REGTEST), policy=policy or GossipPolicy(relay_unchecked=True))
    for raw in messages():
        match decoded(raw):
            case ChannelAnnouncement() as message:
                sync.handle_channel_announcement(made.PEER, message)
            case ChannelUpdate() as message:
                sync.handle_channel_update(made.PEER, message)
            case NodeAnnouncement() as message:
                sync.handle_node_announcement(made.PEER, message)
    assert len(sync.graph.channels) == CHANNELS
    assert len(sync.graph.nodes) == 8
    return sync


# What a graph says, as the program of interop/ldk_native shows LDK's.


def shown(graph: NetworkGraph, *, without_update: bool = True) -> tuple[dict[int, Any], dict[str, Any]]:
    """`without_update`: also channels of which neither end has said anything."""
    channels = {
        int(key): {
            "short_channel_id": int(key),
            "node_id_1": one.node_id_1.hex(),
            "node_id_2": one.node_id_2.hex(),
            "policies": [_policy(one.direction(side), one.update_bytes(side)) for side in (0, 1)],
            "message": one.announcement_bytes[2:].hex(),
        }
        for key, one in graph.channels.items()
        if without_update or any(one.directions)
    }
    nodes: dict[str, Any] = {}
    for node_id, node in graph.nodes.items():
        said, raw = node.announcement, node.announcement_bytes
        nodes[node_id.hex()] = {
            "node_id": node_id.hex(),
            "timestamp": None if said is None else said.timestamp,
            "alias": None if said is None else said.alias.hex(),
            "color": None if said is None else said.rgb_color.hex(),
            "addresses": None if said is None else said.addresses.hex(),
            "message": None if raw is None else raw[2:].hex(),
        }
    return channels, nodes


def _policy(said: Direction | None, raw: bytes | None) -> dict[str, Any] | None:
    if said is None or raw is None:
        return None
    return {
        "timestamp": said.timestamp,
        "disabled": said.disabled,
        "cltv_expiry_delta": said.cltv_expiry_delta,
        "htlc_minimum_msat": said.htlc_minimum_msat,
        "htlc_maximum_msat": said.htlc_maximum_msat,
        "fee_base_msat": said.fee_base_msat,
        "fee_proportional_millionths": said.fee_proportional_millionths,
        "message": raw[2:].hex(),
    }


async def shown_by(ldk: JsonNode) -> tuple[dict[int, Any], dict[str, Any]]:
    found = await ldk.command("graph")
    return (
        {one["short_channel_id"]: one for one in found["channels"]},
        {one["node_id"]: one for one in found["nodes"]},
    )


async def learns(ldk: JsonNode, graph: NetworkGraph) -> None:
    """Returns when it knows all of this that anybody may be told of."""
    channels, nodes = shown(graph, without_update=False)
    ends = {end for one in channels.values() for end in (one["node_id_1"], one["node_id_2"])}
    expected = channels, {key: one for key, one in nodes.items() if key in ends}

    async def knows_all() -> bool:
        return await shown_by(ldk) == expected

    await until(knows_all)


@asynccontextmanager
async def open_graph(chain: Chain = REGTEST) -> AsyncIterator[JsonNode]:
    """LDK with an empty graph. A test that waits for what never comes ends."""
    with trio.fail_after(60):
        async with open_ldk_native("--graph", chain.chain_hash.hex()) as ldk:
            yield ldk


async def dial(peers: PeerNursery, ldk: JsonNode) -> Peer:
    return await peers.connect(NodeAddress(ldk.node_id, "127.0.0.1", ldk.port))


async def is_dialled(peers: PeerNursery, ldk: JsonNode) -> Peer:
    address = await listening(peers)
    async with peers.events() as events:
        await ldk.command("connect", node_id=address.node_id.hex(), port=address.port)
        event = await anext(events)
        assert isinstance(event.peer, Peer)
        return event.peer


Meet: TypeAlias = Callable[[PeerNursery, JsonNode], Awaitable[Peer]]
DIRECTIONS = pytest.mark.parametrize("meet", [dial, is_dialled])


# It takes what we tell.


@pytest.mark.shows("graph")
@DIRECTIONS
async def test_it_learns_our_graph(meet: Meet) -> None:
    sync = filled()
    async with open_graph() as ldk, node_of(sync, REGTEST) as peers:
        await meet(peers, ldk)
        await learns(ldk, sync.graph)
        channels, _ = await shown_by(ldk)
        assert len(channels) == sum(not has_no_update(number) for number in range(CHANNELS))


@pytest.mark.shows("graph")
async def test_it_learns_a_network_of_lnds_from_us(network: Network, tmp_path: Path) -> None:
    knows, path = await describe_graph(network.alice), tmp_path / "graph.db"
    await triolight("graph", "sync", path, str(network.address(network.alice)), *OF_SIMNET)
    graph = await held(path)
    assert known(graph) == knows
    async with serving(path, "--relay-unchecked") as address, open_graph(SIMNET) as ldk:
        await ldk.command("connect", node_id=address.node_id.hex(), port=address.port)
        await learns(ldk, graph)
        assert (await shown_by(ldk))[0].keys() == knows.channels.keys()


@pytest.mark.shows("graph")
async def test_it_passes_on_what_we_tell_it_next() -> None:
    """An update that is new goes from one of ours to it, and from it to another one of ours."""
    first = filled(GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=1)))
    second = P2PGossipSync(NetworkGraph(REGTEST))
    async with (
        open_graph() as ldk,
        node_of(first, REGTEST) as ours,
        node_of(second, REGTEST) as others,
        open_gossip(others, second, policy=QUICK) as gossip,
        gossip.changes() as changes,
    ):
        await dial(ours, ldk)
        await learns(ldk, first.graph)
        await gossip.fetch(await dial(others, ldk))
        channel = second.graph.channels[place(1)]
        assert channel.updates[0] == first.graph.channels[place(1)].updates[0]
        update = made.update(place(1), 0, int(time.time()), signer=1, fee_base_msat=77)
        first.handle_channel_update(made.PEER, ChannelUpdate.decode(update))
        while channel.update_bytes(0) != update:
            await anext(changes)
        await learns(ldk, first.graph)


# We take what it tells.


@asynccontextmanager
async def taught() -> AsyncIterator[JsonNode]:
    """LDK with all of `messages`."""
    async with open_graph() as ldk:
        async with node_of(RoutingMessageHandler(), REGTEST) as peers:
            peer = await dial(peers, ldk)
            for raw in messages():
                await peer.send(decoded(raw))
            await peer.ping()
        yield ldk


@pytest.mark.shows("graph")
@pytest.mark.differs(
    "tells also of channels of which neither end has said anything", "do not, but keep them when we are told of them"
)
@DIRECTIONS
async def test_we_learn_its_graph(meet: Meet) -> None:
    sync = P2PGossipSync(NetworkGraph(REGTEST))
    async with taught() as ldk, node_of(sync, REGTEST) as peers, open_gossip(peers, sync, policy=QUICK) as gossip:
        assert await shown_by(ldk) == shown(filled().graph)
        report = await gossip.fetch(await meet(peers, ldk))
        assert shown(sync.graph) == await shown_by(ldk)
        assert (report.channels, report.rejected) == (CHANNELS, {})
        # All that it has: but of that nothing tells us.
        assert (report.complete, [one.end for one in report.peers]) == (False, ["tells by itself"])


# What it makes of queries, and of filters.


class Offers(RoutingMessageHandler):
    """Offers gossip_queries, and asks nothing."""

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries", "gossip_queries_ex")


class Records(Offers):
    """What it was asked."""

    def __init__(self) -> None:
        self.asked: list[Message] = []

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> HandlerResult:
        self.asked.append(message)
        return None

    def handle_query_channel_range(self, node_id: bytes, message: QueryChannelRange) -> HandlerResult:
        self.asked.append(message)
        return None

    def handle_query_short_channel_ids(self, node_id: bytes, message: QueryShortChannelIds) -> HandlerResult:
        self.asked.append(message)
        return None


def filter_from(first: int, chain: Chain = REGTEST) -> GossipTimestampFilter:
    return GossipTimestampFilter(chain_hash=chain.chain_hash, first_timestamp=first, timestamp_range=2**32 - 1)


def ask_range(first: int, number: int, chain: Chain = REGTEST) -> QueryChannelRange:
    return QueryChannelRange(
        chain_hash=chain.chain_hash,
        first_blocknum=first,
        number_of_blocks=number,
        tlvs=QueryChannelRangeTlvs(query_option=3),
    )


@pytest.mark.shows("queries")
@pytest.mark.differs(
    "lists channels without timestamps and checksums, whatever is asked for", "give both, if they are asked for"
)
async def test_it_lists_channels() -> None:
    async with taught() as ldk, node_of(Offers(), REGTEST) as peers:
        peer = await dial(peers, ldk)
        async with peer.subscribe(ReplyChannelRange) as replies:
            for first, number in ((0, 2**32 - 1), (110, 7), (0, 50), (199, 1)):
                await peer.send(ask_range(first, number))
                reply = await anext(replies)
                assert (reply.first_blocknum, reply.number_of_blocks, reply.sync_complete) == (first, number, 1)
                assert decode_short_ids(reply.encoded_short_ids) == tuple(
                    key for key in sorted(map(place, range(CHANNELS))) if first <= key.block < first + number
                )
                assert (reply.tlvs.timestamps_tlv, reply.tlvs.checksums_tlv) == (None, None)
            # Of another chain it has none, and of no blocks.
            for nothing in (ask_range(0, 500, BITCOIN), ask_range(100, 0)):
                await peer.send(nothing)
                reply = await anext(replies)
                assert (reply.chain_hash, reply.sync_complete) == (nothing.chain_hash, 1)
                assert decode_short_ids(reply.encoded_short_ids) == ()


@pytest.mark.shows("queries")
@pytest.mark.differs("answers no query_short_channel_ids", "answer it")
async def test_it_tells_of_no_channel_that_is_asked_for() -> None:
    async with taught() as ldk, node_of(Offers(), REGTEST) as peers:
        peer = await dial(peers, ldk)
        query = QueryShortChannelIds(
            chain_hash=REGTEST.chain_hash, encoded_short_ids=encode_short_ids([place(1), place(2)])
        )
        async with peer.subscribe(*GOSSIP, ReplyShortChannelIdsEnd, ReplyChannelRange) as inbox:
            await peer.send(query, ask_range(0, 500))
            # Its answer to what came behind.
            assert isinstance(await anext(inbox), ReplyChannelRange)
            await peer.ping()
            await peer.disconnect()
            assert [one async for one in inbox] == []


@pytest.mark.shows("queries")
@pytest.mark.differs(
    "heeds the first gossip_timestamp_filter of a connection alone, and of that only whether it begins six hours ago "
    "or earlier: then it tells all that it has, of any time",
    "heed each, and tell what is in its time",
)
async def test_it_heeds_the_first_filter_alone() -> None:
    now = int(time.time())
    async with taught() as ldk:
        async with node_of(Offers(), REGTEST) as peers:
            peer = await dial(peers, ldk)
            async with peer.subscribe(*GOSSIP) as inbox:
                await peer.send(filter_from(now - 3600), filter_from(0))
                await peer.ping()
                await peer.ping()
                await peer.disconnect()
                assert [one async for one in inbox] == []
        async with node_of(Offers(), REGTEST) as peers:
            peer = await dial(peers, ldk)
            async with peer.subscribe(*GOSSIP) as inbox:
                await peer.send(filter_from(now - 7 * 3600, BITCOIN))
                came = [(await anext(inbox)).encode() for _ in messages()]
                assert sorted(came) == sorted(messages())
        assert min(one.timestamp for one in map(decoded, messages()) if isinstance(one, ChannelUpdate)) < now - 4 * 3600


@pytest.mark.shows("queries")
@pytest.mark.differs(
    "asks by a gossip_timestamp_filter alone: the first five peers for two weeks, later ones for an hour",
    "ask for lists, and then for what is missing",
)
async def test_it_asks_by_a_filter() -> None:
    async with open_graph() as ldk:
        for number in range(7):
            route, before = Records(), int(time.time())
            async with node_of(route, REGTEST) as peers, peers.subscribe(GossipTimestampFilter) as inbox:
                await dial(peers, ldk)
                # Perhaps after it has answered a ping: its own events have a task of their own.
                with trio.fail_after(10):
                    await anext(inbox)
            [asked] = route.asked
            assert isinstance(asked, GossipTimestampFilter)
            back = 14 * DAY if number < 5 else 3600
            assert before <= asked.first_timestamp + back <= time.time()
            assert (asked.chain_hash, asked.timestamp_range) == (REGTEST.chain_hash, 2**32 - 1)
