"""A network in memory whose gossip is recorded: an update spreads as latency and partitions let it, and the record is
the same bytes for the same seed."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import trio

from tests.support.gossip import NOW
from triolight import node_id
from triolight.gossip import GossipPolicy, ServePolicy
from triolight.services.reading import csv_table, export_record
from triolight.testing import Conditions, GossipTown, SimulatedNetwork, derive, run_seeded

FLUSH = 20
TOLD, CUT, HEALED, END = 100.0, 90.0, 260.0, 700.0
"""When the update is told, and when a third of the nodes is cut off from the others."""


async def spread(seed: int, count: int, record: Path) -> None:
    policy = GossipPolicy(relay_unchecked=True, serve=ServePolicy(flush_every=FLUSH))
    town = GossipTown(seed, count, policy=policy)
    network = SimulatedNetwork(seed, Conditions(latency=0.05, jitter=0.1), cut=False)
    async with town.open(network), town.record(network, record, backlog=3600):
        await trio.sleep_until(CUT)
        network.partition(town.hosts[: count // 3])
        await trio.sleep_until(TOLD)
        town.say(count - 1, fee_base_msat=7)
        await trio.sleep_until(HEALED)
        network.heal()
        await trio.sleep_until(END)


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
