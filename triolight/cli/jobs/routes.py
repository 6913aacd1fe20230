"""A graph's file as what it says of ways for onion messages. Read once, in place, and not again."""

from __future__ import annotations

from pathlib import Path

import click

from triolight.chains import BITCOIN
from triolight.cli.jobs.graph import load, not_ours
from triolight.gossip import NetworkGraph
from triolight.onion import GraphRoutes


def routes_of(path: Path | None, chain: bytes | None = None) -> GraphRoutes | None:
    """What the file says; None without one. Only what is signed says who passes messages on."""
    if path is None:
        return None
    _, snapshot = load(path, chain)
    if not snapshot.signed:
        raise click.BadParameter(f"{path}: a format without signed messages", param_hint="--graph")
    graph = NetworkGraph(snapshot.chain_hash or BITCOIN.chain_hash)
    try:
        for channel in snapshot.channels.values():
            if channel.announcement is not None and channel.spent_height is None:
                graph.load(channel.announcement, [update for update in channel.updates if update is not None])
        for said in snapshot.announced.values():
            if isinstance(said, bytes):
                graph.load_node(said)
    except ValueError as error:
        raise not_ours(path, error) from None
    return GraphRoutes(graph)
