"""Walks the network, a line for each node. Dials nobody that the crawl does not lead to, and listens nowhere.

Whatever ends it, the last line says how many were found and reached.
"""

from __future__ import annotations

import secrets
import time
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import ChannelMessageHandler, MessageHandler, NodeAddress, PeerManager, Proxy, open_peer_nursery
from triolight.cli.exits import Exit
from triolight.cli.node import new_secret, read_secret
from triolight.cli.output import data, logger_for, milliseconds, start_log
from triolight.cli.running import run
from triolight.services import CrawlPolicy, NodeReport, RecordingHandler, StoreError, crawl, planned_dials
from triolight.text import place, printable


@dataclass(frozen=True, slots=True)
class Plan:
    """What `crawl` was asked for."""

    record: Path
    addresses: tuple[NodeAddress, ...]
    known: tuple[NodeAddress, ...]
    """Of a graph: they count as announced."""
    chain: bytes
    policy: CrawlPolicy
    proxy: Proxy | None


def walk(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code. StoreError if the record cannot be used."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    told = Told(as_json)
    try:
        return run(_walk, plan, secret, verbose, told)
    finally:
        told.end()


def show_plan(plan: Plan, as_json: bool) -> None:
    """Whom it would dial first. StoreError if the record cannot be read."""
    count = 0
    for address in planned_dials(
        *plan.addresses, policy=plan.policy, record=plan.record, known=plan.known, now_ns=time.time_ns()
    ):
        count += 1
        shown = place(address.host, address.port)
        data(as_json, f"{address.node_id.hex()} {shown}", "would dial", node_id=address.node_id.hex(), address=shown)
    data(as_json, f"{count:,} nodes would be dialled, and whoever they lead to", "planned", nodes=count)


class Told:
    """What is said."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._began: float | None = None
        self._ended = 0.0
        self._found = 0
        self.reached = 0

    def begin(self) -> None:
        """It begins."""
        self._began = trio.current_time()

    def node(self, one: NodeReport) -> None:
        """What came of one node."""
        self._found = max(one.found, self._found)
        self.reached += one.reached
        address = place(one.address.host, one.address.port)
        rtt = None if one.rtt is None else round(one.rtt * 1000, 3)
        shown = "" if one.rtt is None else f" {milliseconds(one.rtt)} ms"
        data(
            self._as_json,
            f"{one.node_id.hex()} {address} {one.outcome}{shown} {printable(one.alias, 40)}".rstrip(),
            "node",
            node_id=one.node_id.hex(),
            address=address,
            outcome=one.outcome,
            features=None if one.features is None else one.features.lowest()[0].hex(),
            rtt_ms=rtt,
            took_ms=round(one.took * 1000, 3),
            channels=one.channels,
            told=one.told,
            filtered=one.filtered,
            alias=one.alias,
        )

    def forget(self) -> None:
        """There was no crawl."""
        self._began = None

    def stop(self) -> None:
        """It has ended."""
        self._ended = trio.current_time()

    def end(self) -> None:
        """The last line, if it has begun."""
        if self._began is None:
            return
        seconds = self._ended - self._began
        words = f"{self._found:,} nodes found, {self.reached:,} reached in {seconds:.1f} s"
        data(self._as_json, words, "crawled", found=self._found, reached=self.reached, seconds=round(seconds, 3))


async def _walk(plan: Plan, secret: bytes, verbose: int, told: Told) -> Exit:
    manager = PeerManager(
        MessageHandler(ChannelMessageHandler(), RecordingHandler()),
        secret,
        secrets.token_bytes(32),
        logger_for(verbose),
        networks=(plan.chain,),
    )
    async with (
        open_peer_nursery(manager, proxy=plan.proxy) as peers,
        aclosing(
            crawl(
                peers,
                *plan.addresses,
                policy=plan.policy,
                chain=plan.chain,
                record=plan.record,
                known=plan.known,
            )
        ) as reports,
    ):
        told.begin()
        try:
            async for one in reports:
                told.node(one)
        except StoreError:
            told.forget()
            raise
        finally:
            told.stop()
    return Exit.OK if told.reached else Exit.CONNECT
