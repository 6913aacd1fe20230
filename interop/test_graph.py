"""A network's graph with us in it: what we learn from LNDs is what they know, and so is what they learn from us; and a
large one that is made up."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from interop.lnd_node import LndNode
from interop.network import (
    Graph,
    Network,
    change_fee,
    connect,
    describe_graph,
    described,
    fundings,
    known,
    until,
)
from interop.ours import OF_SIMNET, held, listening, node_of, serving, triolight
from tests.support import gossip as made
from triolight.chains import SIMNET
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy
from triolight.messages import GossipTimestampFilter
from triolight.services import ChannelChanged, open_gossip, open_graph_store, open_utxo
from triolight.wire import ShortChannelId

pytestmark = [pytest.mark.node("LND"), pytest.mark.shows("graph")]
EACH = pytest.mark.parametrize("name", ["alice", "bob", "carol"])


# What we learn.


@EACH
async def test_what_graph_sync_holds_is_what_it_knows(name: str, network: Network, tmp_path: Path) -> None:
    lnd: LndNode = getattr(network, name)
    knows = await describe_graph(lnd)
    assert len(knows.channels) >= 3
    path = tmp_path / "graph.db"
    said = await triolight("graph", "sync", path, str(network.address(lnd)), *OF_SIMNET)
    assert said["complete"] is True
    assert (said["channels"], said["updates"], said["nodes"]) == (
        len(knows.channels),
        2 * len(knows.channels),
        len(knows.nodes),
    )
    assert said["rejected"] == {}
    assert known(await held(path)) == knows
    exported = tmp_path / "graph.json"
    await triolight("graph", "export", path, exported, "--format", "describegraph", "--json")
    assert described(json.loads(exported.read_text())) == knows


async def test_a_graph_that_is_checked_has_what_the_chain_says(network: Network, tmp_path: Path) -> None:
    """Capacities, and outputs that are there: and then it is told of without another word."""
    url = network.btcd.url.replace("://", f"://{network.btcd.authorization}@")
    knows = await describe_graph(network.carol)
    graph = NetworkGraph(SIMNET)
    async with open_utxo(url, cafile=network.btcd.certificate) as source:
        sync = P2PGossipSync(graph, source)
        source.answers_to(sync)
        async with (
            open_graph_store(tmp_path / "graph.db", graph) as store,
            node_of(sync, SIMNET) as peers,
            open_gossip(peers, sync, store) as gossip,
        ):
            report = await gossip.fetch(await peers.connect(network.address(network.carol)))
            assert report.complete
        assert source.failures == 0
    said = await fundings(network.carol)
    for path in (None, tmp_path / "graph.db"):
        found = graph if path is None else await held(path)
        assert known(found) == knows
        assert {key: one.capacity_sat for key, one in found.channels.items()} == {
            key: one.capacity for key, one in said.items()
        }
        assert {one.checked for one in found.channels.values()} == {"output"}
    async with serving(tmp_path / "graph.db") as address, network.open_another("--alias=dora") as dora:
        await connect(dora, address)
        await learns(dora, network.bob)


# What others learn from us.


async def learns(dora: LndNode, other: LndNode) -> None:
    """Returns when it knows what the other one knows."""

    async def knows_all() -> bool:
        return await describe_graph(dora) == await describe_graph(other)

    await until(knows_all)


async def test_one_that_knows_only_us_learns_it_all(network: Network, tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    await triolight("graph", "sync", path, str(network.address(network.alice)), *OF_SIMNET)
    async with serving(path, "--relay-unchecked") as address, network.open_another("--alias=dora") as dora:
        assert await describe_graph(dora) == Graph({}, {})
        await connect(dora, address)
        await learns(dora, network.bob)


async def fee_of_alice(network: Network) -> tuple[ShortChannelId, str, int, int]:
    """A channel of hers: its short_channel_id, its channel point, her side of it, and the base fee that she asks."""
    [(key, funding)] = [(key, one) for key, one in (await fundings(network.alice)).items() if one.capacity == 1_000_000]
    channel = (await describe_graph(network.alice)).channels[key]
    side = (channel.node_id_1, channel.node_id_2).index(network.alice.node_id)
    before = channel.policies[side]
    assert before is not None
    return key, funding.channel_point, side, before.fee_base_msat


async def test_graph_serve_follows_one_of_them(network: Network, tmp_path: Path) -> None:
    """And has a changed fee for the next one who asks."""
    key, point, side, before = await fee_of_alice(network)
    sync, path = P2PGossipSync(NetworkGraph(SIMNET)), tmp_path / "graph.db"
    connect_to = ("--connect", str(network.address(network.alice)))
    async with (
        serving(path, "--relay-unchecked", *connect_to) as address,
        node_of(sync, SIMNET) as peers,
        open_gossip(peers, sync) as gossip,
    ):
        peer = await peers.connect(address)

        async def tells_all() -> bool:
            await gossip.fetch(peer)
            return known(sync.graph) == await describe_graph(network.alice)

        await until(tells_all)
        await change_fee(network.alice, point, base_msat=before + 17, ppm=83)

        async def tells_it() -> bool:
            if not await tells_all():
                return False
            direction = sync.graph.channels[key].direction(side)
            return direction is not None and direction.fee_base_msat == before + 17

        await until(tells_it)
        await until(network.agrees)


async def test_a_changed_fee_goes_through_us(network: Network) -> None:
    """From alice, whose fee it is, to one of our own and to an LND, which know us alone."""
    key, point, side, before = await fee_of_alice(network)
    policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=1))
    between, last = (P2PGossipSync(NetworkGraph(SIMNET), policy=policy) for _ in range(2))
    async with (
        node_of(between, SIMNET) as ours,
        open_gossip(ours, between) as from_alice,
        node_of(last, SIMNET) as others,
        open_gossip(others, last) as from_us,
        ours.subscribe(GossipTimestampFilter) as filters,
        from_us.changes() as changes,
        network.open_another("--alias=dora") as dora,
    ):
        await from_alice.fetch(await ours.connect(network.address(network.alice)))
        address = await listening(ours)
        await from_us.fetch(await others.connect(address))
        await connect(dora, address)
        await learns(dora, network.alice)
        # Both want to hear what is new.
        missing = {dora.node_id, others.manager.our_node_id}
        while missing:
            peer, _ = await anext(filters)
            missing.discard(peer.node_id)
        base_msat = before + 13
        await change_fee(network.alice, point, base_msat=base_msat, ppm=81, inbound_fee=(-4, -8))
        while True:
            match await anext(changes):
                case ChannelChanged(channel=changed, direction=number) if changed.short_channel_id == key:
                    direction = changed.direction(number)
                    if number == side and direction is not None and direction.fee_base_msat == base_msat:
                        break
                case _:
                    pass
        await until(network.agrees)
        await learns(dora, network.alice)
        said = (await describe_graph(dora)).channels[key].policies[side]
        assert said is not None
        assert (said.fee_base_msat, said.fee_proportional_millionths, said.inbound_fee) == (base_msat, 81, (-4, -8))
        assert known(last.graph) == known(between.graph) == await describe_graph(network.alice)


# A large one.

MANY = 5200
OF_ONE_BLOCK = 4200
"""More than LND lists in one message."""


def made_up() -> NetworkGraph:
    """Of so many channels that lists of them are several messages, most of them of one block. It is signed, but no
    chain has it."""
    graph, now = NetworkGraph(SIMNET), int(time.time())
    for number in range(MANY):
        key = ShortChannelId.of(300, number, 0)
        if number >= OF_ONE_BLOCK:
            key = ShortChannelId.of(80 + number // 40, number % 40, 1)
        ends = number % 7, 7
        side = number % 2
        stamp = now - number % 1000
        update = made.update(key, side, stamp, signer=ends[side], fee_base_msat=number, chain_hash=SIMNET.chain_hash)
        graph.load(made.channel(key, *ends, chain_hash=SIMNET.chain_hash), [update])
    for number in range(8):
        graph.load_node(made.node(number, now - number, alias=f"node {number}".encode().ljust(32, b"\0")))
    return graph


@pytest.mark.shows("queries")
@pytest.mark.differs("lists 4,000 channels of one block at the most, and drops the others", "list them all")
async def test_a_large_graph_goes_there_and_back(network: Network) -> None:
    """To an LND that looks at no chain. What it lists then is not all that it has, and it says that it is."""
    graph = made_up()
    policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(answer_rate=10_000_000))
    first, second = P2PGossipSync(graph, policy=policy), P2PGossipSync(NetworkGraph(SIMNET))
    # As many bytes in a second as we give, or its answers take two minutes.
    rates = (
        "--gossip.msg-rate-bytes=20000000",
        "--gossip.msg-burst-bytes=40000000",
        "--gossip.peer-msg-rate-bytes=10000000",
    )
    async with (
        node_of(first, SIMNET) as ours,
        network.open_another("--routing.assumechanvalid", *rates) as dora,
        node_of(second, SIMNET) as others,
        open_gossip(others, second) as gossip,
    ):
        address = await listening(ours)
        await connect(dora, address)
        all_of_it = known(graph)

        async def has_asked_for_all() -> bool:
            return [one["sync_type"] for one in await dora.peers()] == ["ACTIVE_SYNC"]

        # Cheaper to be asked than its graph, which takes it a second to tell.
        await until(has_asked_for_all)

        async def knows_all() -> bool:
            return await describe_graph(dora) == all_of_it

        await until(knows_all)
        report = await gossip.fetch(await others.connect(network.address(dora)))
        assert (report.complete, report.rejected) == (True, {})
        assert report.channels == MANY - (OF_ONE_BLOCK - 4000)
        # Of those some have come since, unasked.
        dropped = graph.channels.keys() - second.graph.channels.keys()
        assert {ShortChannelId(key).block for key in dropped} <= {300}
        for key, channel in second.graph.channels.items():
            assert channel.announcement_bytes == graph.channels[key].announcement_bytes
            assert channel.updates == graph.channels[key].updates
        # Among ourselves none is lost.
        third = P2PGossipSync(NetworkGraph(SIMNET))
        async with node_of(third, SIMNET) as more, open_gossip(more, third) as asking:
            assert (await asking.fetch(await more.connect(address))).complete
            assert known(third.graph) == all_of_it
