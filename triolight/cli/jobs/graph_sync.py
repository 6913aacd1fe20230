"""Fetches the whole graph from some nodes into a file, and keeps it current if that is asked. Verifies all of it.

Whatever ends it, the last line says what the file holds then.
"""

from __future__ import annotations

import secrets
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    Peer,
    PeerManager,
    PeerNursery,
    open_peer_nursery,
)
from triolight.cli.exits import Exit
from triolight.cli.jobs.utxo import open_chain
from triolight.cli.node import new_secret, read_secret
from triolight.cli.options import Utxo
from triolight.cli.output import data, logger_for, progress, redraw, start_log
from triolight.cli.running import run
from triolight.gossip import NetworkGraph, P2PGossipSync
from triolight.services import Gossip, Progress, SyncReport, open_gossip, open_graph_store

SHOWN_EVERY: Final = 0.2
"""Seconds, at the least, from one look at the progress to the next one."""
BAR: Final = 30


@dataclass(frozen=True, slots=True)
class Plan:
    """What `graph sync` was asked for."""

    graph: Path
    addresses: tuple[NodeAddress, ...]
    chain: bytes
    follow: bool
    seconds: float
    """For all of it; infinite: as long as it takes, or until Ctrl-C."""
    utxo: Utxo | None = None


def graph_sync(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code. StoreError if the file cannot be used."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    told = Told(as_json)
    try:
        return run(sync, plan, secret, verbose, told)
    finally:
        told.end()


class Told:
    """What is said: on a terminal how far it is, and the last line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._next = 0.0
        self.gossip: Gossip | None = None

    def further(self, at: Progress) -> None:
        """A fetch is further."""
        if not self._shows or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + SHOWN_EVERY
        share = (at.got + at.absent) / at.known if at.known else 0.0
        redraw(f"\r[{'#' * round(BAR * share):<{BAR}}] {at.got:,} of {at.known:,} channels, {at.peers} peers ")

    def end(self) -> None:
        """The last line, if there was a fetch; of who follows, also the one when it is over."""
        if self._shows:
            redraw("\r\x1b[K")
        report = None if self.gossip is None else self.gossip.latest
        if report is not None:
            data(self._as_json, _words(report), "synced", **_fields(report))


def _words(report: SyncReport) -> str:
    refused = sum(report.rejected.values())
    return (
        f"{report.channels:,} channels, {report.updates:,} updates, {report.nodes:,} nodes; "
        f"{'complete' if report.complete else 'incomplete'} after {report.seconds:.1f} s"
        f"{f'; {refused:,} messages refused' if refused else ''}"
    )


def _fields(report: SyncReport) -> dict[str, object]:
    return {
        "channels": report.channels,
        "updates": report.updates,
        "nodes": report.nodes,
        "complete": report.complete,
        "rejected": dict(report.rejected),
        "seconds": report.seconds,
        "peers": [
            {
                "node_id": one.node_id.hex(),
                "channels": one.channels,
                "updates": one.updates,
                "nodes": one.nodes,
                "rejected": dict(one.rejected),
                "bytes": one.bytes,
                "end": one.end,
            }
            for one in report.peers
        ],
    }


async def sync(plan: Plan, secret: bytes, verbose: int, told: Told) -> Exit:
    """The work, inside Trio."""
    async with open_chain(plan.utxo, plan.chain) as source:
        graph = NetworkGraph(plan.chain)
        handler = P2PGossipSync(graph, source)
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
            open_graph_store(plan.graph, graph) as store,
            open_peer_nursery(manager) as peers,
            open_gossip(peers, handler, store) as gossip,
        ):
            return await _fetch(plan, told, peers, gossip)


async def _fetch(plan: Plan, told: Told, peers: PeerNursery, gossip: Gossip) -> Exit:
    with trio.move_on_after(plan.seconds):
        chosen = await _connect(peers, plan)
        if not chosen:
            return Exit.CONNECT
        told.gossip = gossip
        await gossip.fetch(*chosen, on_progress=told.further)
        if plan.follow:
            told.end()
            for address in plan.addresses:
                peers.keep(address)
            await trio.sleep_forever()
    latest = gossip.latest
    return Exit.OK if latest is not None and latest.complete else Exit.TIMEOUT


async def _connect(peers: PeerNursery, plan: Plan) -> list[Peer]:
    """Those that can be reached; of the others it is said why not."""
    found: list[Peer] = []

    async def dial(address: NodeAddress) -> None:
        try:
            found.append(await peers.connect(address))
        except ConnectError as error:
            progress(f"{address}: {error.reason.message}")

    async with trio.open_nursery() as nursery:
        for address in plan.addresses:
            nursery.start_soon(dial, address)
    return found
