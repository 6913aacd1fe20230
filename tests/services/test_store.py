"""open_graph_store: what was taken is on the disk, whatever happens to the block, the process or the disk."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from tests.support.gossip import IDS, NOW, SCID, channel, node, update
from tests.support.project import ROOT
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    ChannelAdded,
    ChannelChanged,
    ChannelProven,
    ChannelRemoved,
    ChannelSpent,
    Judged,
    NetworkGraph,
    NodeChanged,
    Verdict,
)
from triolight.gossip.formats.items import Checked
from triolight.services import GraphStore, StoreError, open_graph_store
from triolight.services import store as module
from triolight.services.database import OUTPUT, SIGNATURES, Batch, GraphDatabase, read_items

KILLS = int(os.environ.get("TRIOLIGHT_KILLS", "1"))
"""Of a process that writes. CI wants 50."""


def graph() -> NetworkGraph:
    return NetworkGraph(REGTEST)


def fill(store: GraphStore, *scids: int) -> None:
    """New channels with both updates, and a node."""
    for scid in scids:
        known = store.graph.load(channel(scid), (update(scid, 0), update(scid, 1)), received=NOW)
        store.take(ChannelAdded(known))
    said = store.graph.load_node(node(0))
    assert said is not None
    store.take(NodeChanged(said))


def content(of: NetworkGraph) -> dict[str, Any]:
    """All that is kept of a graph."""
    channels = [
        (
            one.announcement_bytes,
            one.update_bytes(0),
            one.update_bytes(1),
            one.capacity_sat,
            one.checked,
            one.received,
            one.spent_height,
        )
        for one in of.ascending()
    ]
    return {"channels": channels, "nodes": {one: of.nodes[one].announcement_bytes for one in of.nodes}}


async def loaded(path: Path) -> NetworkGraph:
    found = graph()
    async with open_graph_store(path, found):
        pass
    return found


async def test_a_graph_outlives_its_block(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with open_graph_store(path, graph(), unix_time=lambda: 77.0) as store:
        fill(store, SCID, 7 << 40)
        one = store.graph.channels[SCID]
        await store.written()
        one.capacity_sat, one.checked = 5000, "output"
        store.take(ChannelProven(one))
        await store.written()
        one.spent_height = 900
        store.take(ChannelSpent(one), Judged(None, SCID, Verdict.ACCEPTED))
        assert store.pending == 1
        second = store.graph.channels[7 << 40]
        second.capacity_sat = 70
        store.touch(second)
        assert repr(store) == f"<GraphStore {path}, {store.pending} rows to be written>"
        before = content(store.graph)
    assert store.pending == 0
    assert content(await loaded(path)) == before
    assert len(before["channels"]) == 2
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT value FROM meta WHERE key = 'created'").fetchone() == (77,)


async def test_what_changes_and_goes_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with open_graph_store(path, graph()) as store:
        fill(store, SCID, 7 << 40)
        await store.written()
        newer = update(SCID, 1, NOW + 5)
        store.graph.channels[SCID].put_update(1, newer)
        store.take(ChannelChanged(store.graph.channels[SCID], 1))
        store.graph.channels[SCID].put_update(0, None)
        store.take(ChannelChanged(store.graph.channels[SCID], 0))
        gone, _ = store.graph.remove(7 << 40)
        store.take(ChannelRemoved(gone, "old"))
    found = await loaded(path)
    assert [*found.channels] == [SCID]
    assert found.channel_updates(SCID) == (None, newer)
    assert found.node_announcement(IDS[0]) == node(0)
    async with open_graph_store(path, graph()) as store:
        gone, _ = store.graph.remove(SCID)
        store.take(ChannelRemoved(gone, "spent"))
    with closing(sqlite3.connect(path)) as other:
        for table in ("channel", "channel_update", "node"):
            assert other.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


async def test_a_little_waits_for_more_and_much_goes_at_once(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_graph_store(tmp_path / "graph.db", graph()) as store:
        fill(store, SCID)
        begun = trio.current_time()
        await trio.sleep(module.BATCH_SECONDS / 2)
        assert store.rows_written == 0
        await trio.sleep(module.BATCH_SECONDS)
        await store.written()
        assert store.rows_written == 4
        assert trio.current_time() - begun == 1.5 * module.BATCH_SECONDS
        # `written` does not wait for the batch to fill.
        begun = trio.current_time()
        fill(store, *(number << 40 for number in range(1, 20)))
        await store.written()
        assert store.pending == 0
        assert trio.current_time() == begun


async def test_what_comes_while_a_batch_is_written_waits_for_more_too(
    tmp_path: Path, mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or a graph that comes from peers would be a transaction for each forty rows."""
    write, batches = GraphDatabase.write, list[int]()

    def more(self: GraphDatabase, batch: Batch) -> None:
        write(self, batch)
        batches.append(len(batch))
        if len(batches) == 1:
            fill(store, 2 << 40)

    async def written(rows: int) -> None:
        while store.rows_written < rows:
            assert batches in ([], [4], [4, 7])
            await trio.lowlevel.checkpoint()

    monkeypatch.setattr(GraphDatabase, "write", more)
    async with open_graph_store(tmp_path / "graph.db", graph()) as store:
        fill(store, 1 << 40)
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(module.BATCH_SECONDS)
        await written(4)
        await trio.testing.wait_all_tasks_blocked()
        fill(store, 3 << 40)
        mock_clock.jump(module.BATCH_SECONDS)
        await written(11)
    assert batches == [4, 7]


async def test_a_batch_is_bounded_and_who_brings_too_much_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    write = GraphDatabase.write

    def counted(self: GraphDatabase, batch: Batch) -> None:
        sizes.append(len(batch))
        write(self, batch)

    monkeypatch.setattr(GraphDatabase, "write", counted)
    monkeypatch.setattr(module, "BATCH_ROWS", 30)
    monkeypatch.setattr(module, "WAITING_ROWS", 60)
    async with open_graph_store(tmp_path / "graph.db", graph()) as store:
        fill(store, *(number << 40 for number in range(1, 60)))
        assert store.pending > 60
        await store.room()
        assert store.pending < 60
    assert sum(sizes) == 59 * 3 + 1
    assert max(sizes) == 30
    assert sum(isinstance(one, Checked) for one in read_items(store.path)) == 59


@pytest.mark.parametrize("how", ["an exception", "cancelled"])
async def test_whichever_way_the_block_is_left_all_is_on_the_disk(how: str, tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    if how == "cancelled":
        with trio.CancelScope() as scope:
            async with open_graph_store(path, graph()) as store:
                fill(store, SCID)
                scope.cancel()
                await trio.sleep_forever()
    else:
        with pytest.raises(KeyError, match="the body's"):  # as itself, in no group
            async with open_graph_store(path, graph()) as store:
                fill(store, SCID)
                raise KeyError("the body's")
    assert content(await loaded(path)) == content(store.graph)


async def test_a_disk_that_is_full_ends_the_block_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: GraphDatabase, _batch: Batch) -> None:
        raise StoreError("graph.db: the disk is full")

    path = tmp_path / "graph.db"
    with monkeypatch.context() as patch:
        patch.setattr(GraphDatabase, "write", full)
        with pytest.raises(StoreError, match="the disk is full"):
            async with open_graph_store(path, graph()) as store:
                fill(store, SCID)
                await trio.sleep_forever()
        with pytest.raises(StoreError, match="the disk is full"):
            async with open_graph_store(path, graph()) as store:
                fill(store, SCID)  # and at the very end
    # The file is free, and as it was.
    assert not (await loaded(path)).channels


async def test_what_cannot_be_opened_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with open_graph_store(path, graph()):
        with pytest.raises(StoreError, match="another process writes it"):
            async with open_graph_store(path, graph()):
                pass
    with pytest.raises(StoreError, match="a graph of regtest, not of bitcoin"):
        async with open_graph_store(path, NetworkGraph(BITCOIN)):
            pass
    assert not (await loaded(path)).channels


async def test_d17_rows_that_are_damaged_go_and_the_others_are_loaded(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    with closing(GraphDatabase(path, REGTEST.chain_hash, "a test", 5)) as database:
        database.write(
            Batch(
                channels=[
                    (int(SCID), None, 5, None, SIGNATURES, channel()),
                    (5, None, 5, None, SIGNATURES, channel(5)[:100]),
                    (6, None, 5, None, OUTPUT, channel(8)),
                    (9, None, 5, None, OUTPUT, channel(9, chain_hash=BITCOIN.chain_hash)),
                ],
                updates=[(int(SCID), 0, update())],
                nodes=[(IDS[0], node(0)), (IDS[1], b"x"), (IDS[5], node(5))],
            )
        )
    async with open_graph_store(path, graph()) as store:
        assert [*store.graph.channels] == [SCID]
        assert [one.partition(":")[0] for one in store.damaged] == [
            "channel 0x0x5",
            "channel 0x0x6",
            "channel 0x0x9",
            f"node {IDS[1].hex()}",
        ]
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT scid FROM channel").fetchall() == [(int(SCID),)]
        assert other.execute("SELECT id FROM node").fetchall() == [(IDS[0],)]


async def test_what_the_graph_has_already_stays(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with open_graph_store(path, graph()) as store:
        fill(store, SCID)
    full = graph()
    full.load(channel(), (update(timestamp=NOW + 9),))
    full.load(channel(7 << 40))
    full.load_node(node(0, NOW + 9))
    async with open_graph_store(path, full):
        pass
    assert content(await loaded(path)) == content(full)


async def test_who_has_lost_changes_takes_everything(tmp_path: Path) -> None:
    path = tmp_path / "graph.db"
    async with open_graph_store(path, graph()) as store:
        fill(store, SCID, 7 << 40)
    async with open_graph_store(path, graph()) as store:
        store.graph.remove(SCID)
        store.graph.load(channel(8 << 40, 3, 4), (update(8 << 40, signer=3),))
        await store.take_everything()
    assert content(await loaded(path)) == content(store.graph)


async def test_a_channel_whose_id_sqlite_cannot_hold_is_not_stored(tmp_path: Path) -> None:
    late = 1 << 63
    async with open_graph_store(tmp_path / "graph.db", graph()) as store:
        fill(store, late, SCID)
    assert [*(await loaded(tmp_path / "graph.db")).channels] == [SCID]


# A process that is killed.

WRITER = """
import sys, time, trio
from tests.support.gossip import channel, update, NOW
from triolight.chains import REGTEST
from triolight.gossip import ChannelAdded, ChannelChanged, NetworkGraph
from triolight.services import open_graph_store

async def main():
    graph = NetworkGraph(REGTEST)
    async with open_graph_store(sys.argv[1], graph) as store:
        raw, number = channel(), len(graph.channels)
        at = 260 + 32
        while True:
            for _ in range(50):
                number += 1
                scid = number.to_bytes(8, "big")
                known = graph.load(raw[:at] + scid + raw[at + 8 :], received=number)
                store.take(ChannelAdded(known))
            # Told when it was taken; what is a second old must be there.
            print(number, time.monotonic(), flush=True)
            await store.room()
            await trio.sleep(0.005)

trio.run(main)
"""


def test_a_process_that_is_killed_loses_its_last_second_at_the_most(tmp_path: Path) -> None:
    for kill in range(KILLS):
        path = tmp_path / f"graph{kill // 5}.db"  # each is gone on with four times, so that none becomes large
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
        )
        said: list[tuple[int, float]] = []
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                number, moment = line.split()
                said.append((int(number), float(moment)))
                # Each time at another moment of its life, and the first ones after more than a second.
                if said[-1][1] - said[0][1] > (1.3 if kill < 2 else 0.05 + 0.07 * (kill % 11)):
                    process.send_signal(signal.SIGKILL)
                    break
            rest = process.stdout.read().splitlines()
        said += [(int(one.split()[0]), float(one.split()[1])) for one in rest if one.count(" ") == 1]
        last = said[-1][1]
        safe = max((number for number, moment in said if moment <= last - 1), default=0)
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            count, most = other.execute("SELECT count(*), max(scid) FROM channel").fetchone()
        # Nothing is missing below the last one: batches were written in order, each whole.
        assert count == (most or 0)
        assert count >= safe
    assert len(trio.run(loaded, path).channels) == count
