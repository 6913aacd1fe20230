"""A network in memory whose gossip is recorded: an update spreads as latency and partitions let it, and the record is
the same bytes for the same seed."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest
import trio

from tests.support import make_manager
from tests.support.gossip import NOW, channel, update
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    PeerManager,
    node_id,
    open_peer_nursery,
)
from triolight.chains import REGTEST
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync, ServePolicy
from triolight.messages import ChannelUpdate
from triolight.services import RecordingHandler, open_gossip, open_recorder, unread_gossip
from triolight.services.reading import csv_table, export_record
from triolight.testing import Conditions, SimulatedNetwork, derive, run_seeded

FLUSH = 20
TOLD, CUT, HEALED, END = 100.0, 90.0, 260.0, 700.0
"""When the update is told, and when a third of the nodes is cut off from the others."""


def unix_time() -> float:
    return NOW + trio.current_time()


class Node:
    def __init__(self, seed: int, number: int, network: SimulatedNetwork) -> None:
        self.host, self.chance = network.host(), random.Random(f"{seed}/{number}")
        graph = NetworkGraph(REGTEST)
        graph.load(channel(), (update(timestamp=NOW - 100),))
        self.sync = P2PGossipSync(
            graph,
            policy=GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=FLUSH)),
            clock=trio.current_time,
            unix_time=unix_time,
            chance=self.chance.random,
        )
        self.manager = PeerManager(
            MessageHandler(ChannelMessageHandler(), self.sync),
            derive(seed, "secret", number),
            derive(seed, "ephemeral", number),
            NullLogger(),
            networks=REGTEST,
        )
        self.address = NodeAddress(self.manager.our_node_id, self.host.address, 9735)

    async def run(self, friends: list[NodeAddress]) -> None:
        async with (
            open_peer_nursery(self.manager, dial=self.host.dial, jitter=self.chance) as peers,
            open_gossip(peers, self.sync, unix_time=unix_time),
        ):
            await peers.listen_on(await self.host.listen())
            for friend in friends:
                peers.keep(friend)
            await trio.sleep_forever()


async def spread(seed: int, count: int, record: Path) -> None:
    network, choice = SimulatedNetwork(seed, Conditions(latency=0.05, jitter=0.1), cut=False), random.Random(seed)
    nodes = [Node(seed, number, network) for number in range(count)]
    manager = make_manager(77, route=RecordingHandler(), messages=unread_gossip(), logger=NullLogger())
    host = network.host()
    async with (
        trio.open_nursery() as nursery,
        open_peer_nursery(manager, dial=host.dial, jitter=choice, unix_ns=lambda: round(unix_time() * 1e9)) as peers,
        open_recorder(peers, record, backlog=3600),
    ):
        for number, node in enumerate(nodes):
            others = choice.sample(nodes[:number] + nodes[number + 1 :], 3)
            friends = [nodes[number - 1].address, *(one.address for one in others)]
            nursery.start_soon(node.run, friends)
            peers.keep(node.address)
        await trio.sleep_until(CUT)
        network.partition([node.host for node in nodes[count // 3 :]] + [host])
        await trio.sleep_until(TOLD)
        news = ChannelUpdate.decode(update(timestamp=int(unix_time()), fee_base_msat=7))
        nodes[-1].sync.announce_own(news)
        await trio.sleep_until(HEALED)
        network.heal()
        await trio.sleep_until(END)
        nursery.cancel_scope.cancel()


def recorded(seed: int, count: int, folder: Path) -> dict[str, bytes]:
    """The tables of a run."""
    folder.mkdir()
    run_seeded(seed, spread, seed, count, folder / "seen.db")
    export_record(folder / "seen.db", folder / "tables", {"csv": csv_table})
    return {one.name: one.read_bytes() for one in sorted((folder / "tables").iterdir())}


def first_said(folder: Path) -> dict[str, float]:
    """When each node was first heard to say the update, by its id, in seconds of the run."""

    def table(name: str) -> list[dict[str, str]]:
        with (folder / "tables" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return [*csv.DictReader(file)]

    ids = {row["id"] for row in table("messages") if row["fee_base_msat"] == "7"}
    nodes = {row["id"]: row["node_id"] for row in table("sessions")}
    found: dict[str, float] = {}
    for row in table("sightings"):
        if row["message"] in ids:
            found.setdefault(nodes[row["session"]], (int(row["seen_ns"]) - NOW * 10**9) / 1e9)
    return found


@pytest.mark.parametrize("count", [10, pytest.param(200, marks=pytest.mark.scale)])
def test_an_update_reaches_all_once_they_are_reached_and_its_record_is_the_same_again(
    count: int, tmp_path: Path
) -> None:
    tables = recorded(1, count, tmp_path / "one")
    said = first_said(tmp_path / "one")
    # Whoever was cut off hears it when the partition is over; all others before.
    cut = {derive_id(1, number) for number in range(count // 3)}
    assert len(said) == count
    assert all(at > HEALED for node_id, at in said.items() if node_id in cut)
    assert all(TOLD < at < HEALED for node_id, at in said.items() if node_id not in cut)
    # Not at once: each passes it on at its own time of the interval.
    assert max(at for node_id, at in said.items() if node_id not in cut) > TOLD + FLUSH / 2
    assert recorded(1, count, tmp_path / "two") == tables
    if count < 100:
        assert recorded(2, count, tmp_path / "three")["sightings.csv"] != tables["sightings.csv"]


def derive_id(seed: int, number: int) -> str:
    return node_id(derive(seed, "secret", number)).hex()
