"""A network's graph with us in it: what we learn from LNDs is what they know, and so is what they learn from us."""

from __future__ import annotations

import json
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
from interop.ours import OF_SIMNET, held, node_of, serving, triolight
from triolight import NodeAddress
from triolight.chains import SIMNET
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy
from triolight.messages import GossipTimestampFilter
from triolight.services import ChannelChanged, open_gossip, open_graph_store, open_utxo

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


async def test_a_changed_fee_goes_through_us(network: Network) -> None:
    """From alice, whose fee it is, to one of our own and to an LND, which know us alone."""
    [(key, funding)] = [(key, one) for key, one in (await fundings(network.alice)).items() if one.capacity == 1_000_000]
    channel = (await describe_graph(network.alice)).channels[key]
    side = (channel.node_id_1, channel.node_id_2).index(network.alice.node_id)
    before = channel.policies[side]
    assert before is not None
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
        [listener] = await ours.listen(0, host="127.0.0.1")
        address = NodeAddress(ours.manager.our_node_id, "127.0.0.1", listener.socket.getsockname()[1])
        await from_us.fetch(await others.connect(address))
        await connect(dora, address)
        await learns(dora, network.alice)
        # Both want to hear what is new.
        missing = {dora.node_id, others.manager.our_node_id}
        while missing:
            peer, _ = await anext(filters)
            missing.discard(peer.node_id)
        base_msat = before.fee_base_msat + 13
        await change_fee(network.alice, funding.channel_point, base_msat=base_msat, ppm=81, inbound_fee=(-4, -8))
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
