"""A network of LNDs, recorded and crawled: what is new is heard, and announced addresses lead to all."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from interop.network import Network, change_fee, describe_graph, fundings, until
from interop.ours import COMMAND, OF_SIMNET, triolight
from triolight.gossip import direction
from triolight.messages import ChannelUpdate
from triolight.wire import ShortChannelId

pytestmark = [pytest.mark.node("LND"), pytest.mark.shows("graph")]


def rows(record: Path, statement: str) -> list[Any]:
    with closing(sqlite3.connect(record)) as file:
        return file.execute(statement).fetchall()


def heard(record: Path, says: Callable[[ChannelUpdate], bool]) -> list[tuple[int, bytes, int]]:
    """Sightings of such updates: when, of whom, and whether we had asked for it."""
    statement = """SELECT seen_ns, node_id, asked, raw FROM sighting s JOIN message m ON m.id = s.message
                   JOIN session c ON c.id = s.session JOIN peer p ON p.id = c.peer WHERE type = 258"""
    found: list[tuple[int, bytes, int]] = []
    with suppress(sqlite3.OperationalError):  # it is not made yet
        found = [(at, by, asked) for at, by, asked, raw in rows(record, statement) if says(ChannelUpdate.decode(raw))]
    return found


async def a_channel_of_alice(network: Network) -> tuple[ShortChannelId, str, int, int]:
    """Its short_channel_id, its channel point, her side of it, and the base fee that she asks."""
    [(key, funding)] = [(key, one) for key, one in (await fundings(network.alice)).items() if one.capacity == 1_000_000]
    channel = (await describe_graph(network.alice)).channels[key]
    side = (channel.node_id_1, channel.node_id_2).index(network.alice.node_id)
    before = channel.policies[side]
    assert before is not None
    return key, funding.channel_point, side, before.fee_base_msat


async def test_a_changed_fee_is_heard_of_all_and_nobody_had_asked_for_it(network: Network, tmp_path: Path) -> None:
    key, point, side, before = await a_channel_of_alice(network)
    record, base_msat = tmp_path / "seen.db", before + 19
    nodes = [str(network.address(lnd)) for lnd in network.nodes]
    everybody = {lnd.node_id for lnd in network.nodes}

    async def said_by_all(says: Callable[[ChannelUpdate], bool]) -> bool:
        return {by for _, by, _ in heard(record, says)} == everybody

    def is_new(update: ChannelUpdate) -> bool:
        return (update.short_channel_id, direction(update), update.fee_base_msat) == (key, side, base_msat)

    async with trio.open_nursery() as nursery:
        command = [*COMMAND, "record", "start", str(record), *nodes, *OF_SIMNET]
        process = await nursery.start(partial(trio.run_process, command, capture_stdout=True, check=False))
        # All that they have, first.
        await until(lambda: said_by_all(lambda update: update.short_channel_id == key))
        changed = time.time_ns()
        await change_fee(network.alice, point, base_msat=base_msat, ppm=87)
        await until(lambda: said_by_all(is_new))
        process.terminate()
        assert await process.wait() == 143
    sightings = heard(record, is_new)
    assert {asked for _, _, asked in sightings} == {0}
    assert all(changed < at < time.time_ns() for at, _, _ in sightings)
    assert {asked for _, _, asked in heard(record, lambda update: not is_new(update))} == {2}
    assert rows(record, "SELECT count(*) FROM gap") == [(0,)]
    # The record has the channels that they know, and nobody else's.
    messages = rows(record, "SELECT raw FROM message WHERE type = 258")
    found = {ChannelUpdate.decode(raw).short_channel_id for (raw,) in messages}
    assert found == {*(await describe_graph(network.alice)).channels}
    await until(network.agrees)


async def test_a_crawl_finds_all_by_what_they_have_announced(network: Network, tmp_path: Path) -> None:
    """Carol, who has announced no address, is named; the others are where she says that they are."""
    record = tmp_path / "crawl.db"
    options: tuple[str | Path, ...] = (*OF_SIMNET, "--allow-private")
    said = await triolight("crawl", record, str(network.address(network.carol)), *options)
    assert (said["event"], said["found"], said["reached"]) == ("crawled", 3, 3)
    dials = rows(record, "SELECT lower(hex(node_id)), address, outcome FROM dial")
    names = {lnd.node_id.hex(): f"127.0.0.1:{lnd.port}" for lnd in network.nodes}
    assert {(node_id, address) for node_id, address, outcome in dials if outcome == "reached"} == {*names.items()}
    graph = tmp_path / "graph.db"
    await triolight("graph", "sync", graph, str(network.address(network.carol)), *OF_SIMNET)
    # From a graph the two that have announced where they are; and not again what the record has.
    options = ("--from-graph", graph, "--dry-run", *options)
    assert await triolight("crawl", record, *options) == {"event": "planned", "nodes": 0}
    assert await triolight("crawl", tmp_path / "none.db", *options) == {"event": "planned", "nodes": 2}
