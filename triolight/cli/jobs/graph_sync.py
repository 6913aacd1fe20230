"""Fetches the whole graph from some nodes into a file, and keeps it current if that is asked. Verifies all of it.

Whatever ends it, the last line says what the file holds then.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Mapping
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
    Proxy,
    open_peer_nursery,
)
from triolight.cli.exits import Exit
from triolight.cli.jobs.metrics import open_page
from triolight.cli.jobs.utxo import open_chain
from triolight.cli.node import new_secret, read_secret
from triolight.cli.options import Utxo
from triolight.cli.output import data, logger_for, progress, redraw, start_log
from triolight.cli.running import run
from triolight.gossip import NetworkGraph, P2PGossipSync, Verdict
from triolight.services import Gossip, Progress, SyncReport, UtxoSource, open_gossip, open_graph_store

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
    proxy: Proxy | None = None
    metrics: int | None = None


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
        self.as_json: Final = as_json
        self._shows = sys.stderr is not None and sys.stderr.isatty()
        self._next = 0.0
        self.gossip: Gossip | None = None
        self.source: UtxoSource | None = None

    def further(self, at: Progress) -> None:
        """A fetch is further."""
        share = (at.got + at.absent) / at.known if at.known else 0.0
        self._draw(share, f"{at.got:,} of {at.known:,} channels, {at.peers} peers ")

    def looking_up(self, left: int, channels: int) -> None:
        """So many of the graph's channels are still to be looked up."""
        self._draw(1 - left / channels, f"{left:,} of {channels:,} outputs left to look up ")

    def _draw(self, share: float, words: str) -> None:
        if self._shows and time.monotonic() >= self._next:
            self._next = time.monotonic() + SHOWN_EVERY
            redraw(f"\r[{'#' * round(BAR * share):<{BAR}}] {words}")

    def end(self) -> None:
        """The last line, if there was a fetch; of who follows, also the one when it is over."""
        if self._shows:
            redraw("\r\x1b[K")
        report = None if self.gossip is None else self.gossip.latest
        if self.gossip is None or report is None:
            return
        if self.source is not None and self.source.failures:
            progress(f"{self.source.name}: {self.source.failures:,} lookups failed{_why(self.source)}")
        checked = _checked(self.gossip.graph)
        words = _words(report, checked, looked_up=self.source is not None)
        data(self.as_json, words, "synced", **_fields(report), checked=checked)


def _checked(graph: NetworkGraph) -> dict[str, int]:
    """Channels by what is known of their output."""
    found = {"output": 0, "spent": 0, "signatures": 0}
    for channel in graph.channels.values():
        found["spent" if channel.spent_height is not None else channel.checked] += 1
    return found


def _why(source: UtxoSource) -> str:
    return f"; the last one: {source.trouble}" if source.trouble else ""


def _is_complete(report: SyncReport) -> bool:
    """A channel that nobody could look up is not in the graph, whatever peers have told."""
    return report.complete and Verdict.LOOKUP_FAILED.value not in report.rejected


def _words(report: SyncReport, checked: Mapping[str, int], *, looked_up: bool) -> str:
    refused = sum(report.rejected.values())
    proof = "signatures only: no output was looked up (--utxo)"
    if looked_up or checked["output"]:
        named = {"output": "outputs confirmed", "spent": "spent", "signatures": "on signatures only"}
        proof = ", ".join(f"{count:,} {named[what]}" for what, count in checked.items() if count)
    return (
        f"{report.channels:,} channels, {report.updates:,} updates, {report.nodes:,} nodes; "
        f"{'complete' if _is_complete(report) else 'incomplete'} after {report.seconds:.1f} s"
        f"{f'; {refused:,} messages refused' if refused else ''}"
        f"{f'; {proof}' if report.channels else ''}"
    )


def _fields(report: SyncReport) -> dict[str, object]:
    return {
        "channels": report.channels,
        "updates": report.updates,
        "nodes": report.nodes,
        "complete": _is_complete(report),
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
            open_peer_nursery(manager, proxy=plan.proxy) as peers,
            open_gossip(peers, handler, store) as gossip,
            open_page(peers, gossip, plan.metrics, told.as_json),
        ):
            told.source = source
            return await _fetch(plan, told, peers, gossip, handler)


async def _fetch(plan: Plan, told: Told, peers: PeerNursery, gossip: Gossip, handler: P2PGossipSync) -> Exit:
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
        # Those that were in the file, or came before the chain had their block: behind a follower's back.
        while left := handler.rechecks_left:
            told.looking_up(left, len(gossip.graph.channels))
            await trio.sleep(SHOWN_EVERY)
    latest = gossip.latest
    return Exit.OK if latest is not None and _is_complete(latest) else Exit.TIMEOUT


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
