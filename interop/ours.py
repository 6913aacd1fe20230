"""Us, as the real nodes of this folder meet us: the command as a process, what its files hold, and nodes in a test."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from interop.programs import open_program
from triolight import NodeAddress, NullLogger, PeerNursery, RoutingMessageHandler, open_peers
from triolight.chains import SIMNET, Chain
from triolight.gossip import NetworkGraph
from triolight.services import open_graph_store

COMMAND: Final = (sys.executable, "-W", "error", "-m", "triolight.cli")
OF_SIMNET: Final = ("--chain", "simnet", "--json")


async def triolight(*arguments: str | Path) -> dict[str, Any]:
    """A command from start to end: the last line that it says, which is JSON."""
    ended = await trio.run_process([*COMMAND, *map(str, arguments)], capture_stdout=True)
    found: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return found


@asynccontextmanager
async def serving(*arguments: str | Path) -> AsyncIterator[NodeAddress]:
    """`triolight graph serve`, and where."""
    command = (*COMMAND, "graph", "serve", *map(str, arguments), "--port", "0", *OF_SIMNET)
    async with open_program(*command, begins="listening") as (_, said):
        yield NodeAddress(bytes.fromhex(said["node_id"]), said["host"], said["port"])


async def held(path: Path) -> NetworkGraph:
    """What a file of ours has."""
    graph = NetworkGraph(SIMNET)
    async with open_graph_store(path, graph):
        return graph


@asynccontextmanager
async def node_of(route_handler: RoutingMessageHandler, chain: Chain) -> AsyncIterator[PeerNursery]:
    """One of ours, with a node id of its own each time."""
    async with open_peers(
        os.urandom(32), route_handler=route_handler, networks=chain.name, logger=NullLogger()
    ) as peers:
        yield peers


async def listening(peers: PeerNursery) -> NodeAddress:
    """Where one of ours is dialled from now on."""
    [listener] = await peers.listen(0, host="127.0.0.1")
    return NodeAddress(peers.manager.our_node_id, "127.0.0.1", listener.socket.getsockname()[1])
