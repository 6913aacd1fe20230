"""Nodes of a graph that may be dialled: where each has announced to be."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import NamedTuple

from triolight import NodeAddress
from triolight.cli.jobs.graph import load
from triolight.services.frontier import may_be_dialled
from triolight.shell.keep import dialable_addresses


class Found(NamedTuple):
    """What a graph leads to."""

    chain: bytes | None
    nodes: list[tuple[NodeAddress, ...]]
    """In no order, the addresses of each."""


def nodes_of_graph(path: Path, chain: bytes | None, *, private: bool, onions: bool) -> Found:
    """All nodes that have announced an address which may be dialled. BadParameter for what is no graph."""
    _, snapshot = load(path, chain)
    nodes: list[tuple[NodeAddress, ...]] = []
    for node_id in snapshot.announced:
        announced = dialable_addresses(node_id, snapshot.node(node_id).addresses)
        addresses = tuple(one for one in announced if may_be_dialled(one, private=private, onions=onions))
        if addresses:
            nodes.append(addresses)
    # Who takes the first ones would else always take the same.
    secrets.SystemRandom().shuffle(nodes)
    return Found(snapshot.chain_hash, nodes)
