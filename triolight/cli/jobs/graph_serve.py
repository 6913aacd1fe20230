"""Serves a graph that a file holds: answers and passes on, and learns from the nodes that it is told to connect to."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import trio

from triolight import ChannelMessageHandler, MessageHandler, NodeAddress, PeerManager, Proxy, open_peer_nursery
from triolight.cli.exits import or_cannot_listen
from triolight.cli.jobs.metrics import open_page
from triolight.cli.jobs.utxo import open_chain
from triolight.cli.node import new_secret, port_of, read_secret
from triolight.cli.options import Utxo
from triolight.cli.output import data, logger_for, start_log
from triolight.cli.running import run
from triolight.gossip import GossipPolicy, NetworkGraph, P2PGossipSync
from triolight.services import open_gossip, open_graph_store


class NothingToTellError(Exception):
    """No channel of the graph may be told of, and none ever will be."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What `graph serve` was asked for."""

    graph: Path
    host: str
    port: int
    chain: bytes
    nodes: tuple[NodeAddress, ...]
    relay_unchecked: bool
    utxo: Utxo | None
    proxy: Proxy | None
    metrics: int | None = None


def graph_serve(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> None:
    """Until Ctrl-C. StoreError if the file cannot be used; NothingToTellError."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    run(_serve, plan, secret, verbose, as_json)


async def _serve(plan: Plan, secret: bytes, verbose: int, as_json: bool) -> None:
    graph = NetworkGraph(plan.chain)
    async with open_chain(plan.utxo, plan.chain) as source, open_graph_store(plan.graph, graph) as store:
        may_tell = plan.relay_unchecked or source is not None
        if not may_tell and not any(one.checked == "output" for one in graph.channels.values()):
            raise NothingToTellError
        handler = P2PGossipSync(graph, source, GossipPolicy(relay_unchecked=plan.relay_unchecked))
        if source is not None:
            source.answers_to(handler)
        manager = PeerManager(
            MessageHandler(ChannelMessageHandler(), handler),
            secret,
            secrets.token_bytes(32),
            logger_for(verbose),
            networks=(plan.chain,),
        )
        async with (
            open_peer_nursery(manager, proxy=plan.proxy) as peers,
            open_gossip(peers, handler, store) as gossip,
        ):
            with or_cannot_listen(plan.host, plan.port):
                listeners = await peers.listen(plan.port, host=plan.host)
            for listener in listeners:
                ours = str(listener.socket.getsockname()[0])
                address = NodeAddress(manager.our_node_id, ours, port_of(listener))
                words = f"listening on {address}"
                data(as_json, words, "listening", node_id=manager.our_node_id.hex(), host=ours, port=address.port)
            async with open_page(peers, gossip, plan.metrics, as_json):
                for node in plan.nodes:
                    peers.keep(node)
                await trio.sleep_forever()
