"""Fetches the graph of the network from a node, keeps it in a file, and says what changes, until Ctrl-C.

python examples/graph.py NODE_ID@HOST:PORT GRAPH_FILE [CHAIN]
"""

import sys

import trio

import triolight
from triolight.gossip import NetworkGraph, P2PGossipSync
from triolight.services import NodeChanged, open_gossip, open_graph_store


async def follow(arguments: list[str]) -> None:
    address, path, chain = [*arguments, "bitcoin"][:3]
    graph = NetworkGraph(chain)
    sync = P2PGossipSync(graph)  # verifies each signature
    async with (
        open_graph_store(path, graph) as store,
        triolight.open_peers(route_handler=sync, networks=chain) as peers,
        open_gossip(peers, sync, store) as gossip,
    ):
        report = await gossip.fetch(await peers.connect(address))
        print(f"{report.channels} channels, {report.updates} updates, {report.nodes} nodes", flush=True)
        peers.keep(address)  # and streams what is new from it
        async with gossip.changes() as changes:
            async for change in changes:
                what = change.node if isinstance(change, NodeChanged) else change.channel
                print(type(change).__name__, what, flush=True)


if __name__ == "__main__":
    try:
        trio.run(follow, sys.argv[1:])
    except triolight.ConnectError as error:
        sys.exit(f"no connection: {error.reason}")
    except KeyboardInterrupt:
        sys.exit(130)  # the file has all that came
