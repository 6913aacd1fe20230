"""open_graph_mirror: what one process writes, another one has, while it is written."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.testing

from tests.support.gossip import NOW, channel, node, scid, update
from triolight.chains import BITCOIN, REGTEST
from triolight.gossip import (
    Change,
    ChannelAdded,
    ChannelChanged,
    ChannelProven,
    ChannelRemoved,
    ChannelSpent,
    NetworkGraph,
    NodeChanged,
)
from triolight.services import GraphStore, StoreError, open_graph_mirror, open_graph_store
from triolight.services.database import SIGNATURES, Batch, GraphDatabase
from triolight.services.mirror import LOOK_SECONDS

FIRST, SECOND = scid(1), scid(2)


def content(of: NetworkGraph) -> object:
    channels = {
        one.short_channel_id: (one.announcement_bytes, one.update_bytes(0), one.update_bytes(1), one.checked)
        for one in of.ascending()
    }
    return channels, {node_id: one.announcement_bytes for node_id, one in of.nodes.items()}


def add(store: GraphStore, short_channel_id: int, checked: str = "output") -> None:
    updates = (update(short_channel_id, 0), update(short_channel_id, 1))
    proven = checked == "output"
    one = store.graph.load(
        channel(short_channel_id),
        updates,
        checked="output" if proven else "signatures",
        capacity_sat=7 if proven else None,
        received=NOW,
    )
    store.take(ChannelAdded(one))


async def test_it_follows_what_its_writer_does(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path, heard = tmp_path / "graph.db", list[Change]()
    async with open_graph_store(path, NetworkGraph(REGTEST)) as store:
        add(store, FIRST)
        await store.written()
        async with open_graph_mirror(path, NetworkGraph(REGTEST)) as mirror:
            assert content(mirror.graph) == content(store.graph)
            mirror.on_change = heard.append

            async def seen() -> list[type[Change]]:
                await store.written()
                await trio.sleep(LOOK_SECONDS * 2)
                assert content(mirror.graph) == content(store.graph)
                kinds = [type(one) for one in heard]
                heard.clear()
                return kinds

            add(store, SECOND, "signatures")
            said = store.graph.load_node(node(0))
            assert said is not None
            store.take(NodeChanged(said))
            assert await seen() == [ChannelAdded, ChannelChanged, ChannelChanged, NodeChanged]
            newer = update(SECOND, 1, NOW + 9)
            before = store.graph.channels[SECOND].update_bytes(1)
            store.graph.channels[SECOND].put_update(1, newer)
            store.graph.prove(store.graph.channels[SECOND], 9)
            store.graph.channels[FIRST].spent_height = 700
            store.take(
                ChannelChanged(store.graph.channels[SECOND], 1),
                ChannelProven(store.graph.channels[SECOND]),
                ChannelSpent(store.graph.channels[FIRST]),
            )
            await store.written()
            await trio.sleep(LOOK_SECONDS * 2)
            assert [one.before for one in heard if isinstance(one, ChannelChanged)] == [before]
            assert await seen() == [ChannelSpent, ChannelProven, ChannelChanged]
            assert mirror.graph.channels[SECOND].capacity_sat == 9
            gone, _ = store.graph.remove(FIRST)
            store.take(ChannelRemoved(gone, "spent"))
            assert await seen() == [ChannelRemoved]
            readings = mirror.readings
            await trio.sleep(100 * LOOK_SECONDS)
            assert mirror.readings == readings  # nothing was written


async def test_a_file_that_nobody_writes_and_rows_that_are_none(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "graph.db"
    database = GraphDatabase(path, REGTEST.chain_hash, "a test", NOW)
    database.write(
        Batch(
            channels=[
                (FIRST, None, NOW, None, SIGNATURES, channel(FIRST)),
                (SECOND, None, NOW, None, SIGNATURES, b"\x01\x00"),
                (scid(3), None, NOW, None, SIGNATURES, channel(scid(4))),
            ]
        )
    )
    database.close()
    async with open_graph_mirror(path, NetworkGraph(REGTEST)) as mirror:
        assert [*mirror.graph.channels] == [FIRST]
        assert mirror.damaged == 2


async def test_what_is_no_graph_of_this_chain(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "graph.db"
    for words in ("there is no such file", "no SQLite file"):
        with pytest.raises(StoreError, match=words):
            async with open_graph_mirror(path, NetworkGraph(REGTEST)):
                pass
        path.write_bytes(b"something else" * 100)
    path.unlink()
    GraphDatabase(path, REGTEST.chain_hash, "a test", NOW).close()
    with pytest.raises(StoreError, match="a graph of regtest, not of bitcoin"):
        async with open_graph_mirror(path, NetworkGraph(BITCOIN)):
            pass


async def test_what_the_block_raises_leaves_as_it_is(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "graph.db"
    GraphDatabase(path, REGTEST.chain_hash, "a test", NOW).close()
    with pytest.raises(KeyError):
        async with open_graph_mirror(path, NetworkGraph(REGTEST)):
            raise KeyError
