"""A graph from a node over TCP into a file: what the last line says, and the exit codes."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support import gossip, identity
from triolight import NodeAddress, NullLogger, open_peers
from triolight.chains import BITCOIN, REGTEST
from triolight.cli.exits import Exit
from triolight.cli.jobs.graph_sync import Plan, Told, sync
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.services import open_graph_store
from triolight.wire import ShortChannelId

HERE = b"\x02" * 32


def small_graph() -> NetworkGraph:
    graph, stamp = NetworkGraph(REGTEST), int(time.time()) - 5000
    for number in range(20):
        scid = ShortChannelId.of(200 + number, 1, 0)
        graph.load(gossip.channel(scid), [gossip.update(scid, 0, stamp), gossip.update(scid, 1, stamp)])
    graph.load_node(gossip.node(0, stamp))
    return graph


async def synced(path: Path, chain: bytes = REGTEST.chain_hash, seconds: float = math.inf, port: int = 0) -> Exit:
    """Against a node that serves; `port`: another one, where nobody listens."""
    told = Told(as_json=True)
    serving = P2PGossipSync(small_graph(), policy=GossipPolicy(relay_unchecked=True))
    try:
        async with open_peers(b"\x01" * 32, route_handler=serving, networks="regtest", logger=NullLogger()) as there:
            listeners = await there.listen(0, host="127.0.0.1")
            open_port = int(listeners[0].socket.getsockname()[1])
            address = NodeAddress(identity(1), "127.0.0.1", port or open_port)
            return await sync(Plan(path, (address,), chain, False, seconds), HERE, 0, told)
    finally:
        told.end()


def last_line(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


async def test_all_of_it_is_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await synced(tmp_path / "graph.db") is Exit.OK
    line = last_line(capsys)
    (peer,) = line.pop("peers")
    assert line.pop("seconds") > 0
    assert line.pop("checked") == {"output": 0, "spent": 0, "signatures": 20}
    assert line == {"event": "synced", "channels": 20, "updates": 40, "nodes": 2, "complete": True, "rejected": {}}
    assert (peer["node_id"], peer["channels"], peer["end"]) == (identity(1).hex(), 20, "complete")
    again = NetworkGraph(REGTEST)
    async with open_graph_store(tmp_path / "graph.db", again):
        assert len(again.channels) == 20
        assert sum(node.announcement_bytes is not None for node in again.nodes.values()) == 1


async def test_nobody_reached_and_another_chain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert await synced(tmp_path / "graph.db", port=1) is Exit.CONNECT
    assert await synced(tmp_path / "other.db", chain=BITCOIN.chain_hash) is Exit.CONNECT
    told = capsys.readouterr()
    assert told.out == ""
    assert "Connection refused" in told.err
    assert "no common network" in told.err


async def test_no_time_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(60):
        assert await synced(tmp_path / "graph.db", seconds=0.0) is Exit.TIMEOUT
