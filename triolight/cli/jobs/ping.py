"""Dials one node once, pings it, and tells how long each ping took."""

from __future__ import annotations

import math
import random
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerManager,
    PeerNursery,
    Proxy,
    Side,
    Tape,
    open_peer_nursery,
)
from triolight.cli.exits import Exit, exit_of
from triolight.cli.node import our_manager
from triolight.cli.output import data, features_fields, milliseconds, offered, progress, reason_fields, say
from triolight.cli.running import run

PHASE_SECONDS: Final = 0.25
"""How much later than `--timeout` a dial is given up from outside: the library's own deadline comes first then, and its
reason says in which phase it was."""
SAMPLES: Final = 100_000
"""Round trips kept for median and histogram. Beyond that they are a fair sample: a ping may run for weeks."""
HISTOGRAM_ROWS: Final = 8
HISTOGRAM_WIDTH: Final = 48


@dataclass(frozen=True, slots=True)
class Plan:
    """What `ping` was asked for."""

    address: NodeAddress
    count: int | None
    interval: float
    size: int
    connect_seconds: float
    tape: Tape | None = None
    proxy: Proxy | None = None


def ping(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code. A summary comes at the end, at Ctrl-C too."""
    manager = our_manager(secret_file, verbose)
    report = _PingReport(as_json)
    try:
        return run(_ping, manager, plan, report)
    finally:
        report.summary()


async def _ping(manager: PeerManager, plan: Plan, report: _PingReport) -> int:
    patience = plan.connect_seconds
    # Init gets what is left of it after the handshake: `_connect` sees to that.
    async with open_peer_nursery(
        manager, handshake_deadline=patience, init_deadline=math.inf, tape=plan.tape, proxy=plan.proxy
    ) as peers:
        progress(f"dialling {plan.address} as {manager.our_node_id.hex()}")
        began = trio.current_time()
        try:
            peer = await _connect(peers, plan)
        except ConnectError as error:
            report.ended("failed", error.reason)
            # A code that TCP's refusal and TCP's silence share; the time that it took tells them apart.
            silence = error.reason.code is DisconnectCode.TCP_FAILED and trio.current_time() - began >= patience
            return Exit.TIMEOUT if silence else exit_of(error.reason)
        report.connected(peer, trio.current_time() - began)
        try:
            await _ping_peer(peers, peer, plan, report)
        except PeerClosed as error:
            report.ended("disconnected", error.reason)
            return exit_of(error.reason)
        return 0


async def _connect(peers: PeerNursery, plan: Plan) -> Peer:
    """`connect` with one deadline for all phases together. Late is a ConnectError as well."""
    try:
        with trio.fail_after(plan.connect_seconds + PHASE_SECONDS):
            return await peers.connect(plan.address)
    except trio.TooSlowError:
        # TCP and the handshake had the deadline without the addition, and kept it.
        words = f"the handshake was fine, but no Init came within {plan.connect_seconds:g} seconds of dialling"
        raise ConnectError(DisconnectReason(DisconnectCode.INIT_TIMEOUT, Side.US, words)) from None


async def _ping_peer(peers: PeerNursery, peer: Peer, plan: Plan, report: _PingReport) -> None:
    """Pings until there were enough. Raises PeerClosed, and counts the ping that was under way then as lost."""
    left = math.inf if plan.count is None else plan.count
    while True:
        next_at = trio.current_time() + plan.interval
        if peers.peers.get(peer.node_id) is not peer:
            raise PeerClosed(await peer.wait_closed())
        try:
            rtt = await peer.ping(plan.size)
        except PeerClosed:
            report.lost()
            raise
        report.pong(plan.size, rtt)
        left -= 1
        if not left:
            return
        with trio.move_on_at(next_at):
            raise PeerClosed(await peer.wait_closed())


class _PingReport:
    """What a run of pings has seen, and how it is told. It outlives the run, so that Ctrl-C gets its summary too."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._connected = False
        self._received = 0
        self._lost = 0
        self._shortest = math.inf
        self._longest = 0.0
        self._samples: list[float] = []

    def connected(self, peer: Peer, seconds: float) -> None:
        self._connected = True
        words = f"connected in {milliseconds(seconds)} ms; it offers features {offered(peer.features)}"
        progress(words)
        if self._as_json:
            features = features_fields(peer.features)
            data(True, "", "connected", node_id=peer.node_id.hex(), seconds=seconds, **features)

    def pong(self, size: int, rtt: float) -> None:
        self._received += 1
        self._shortest = min(self._shortest, rtt)
        self._longest = max(self._longest, rtt)
        if len(self._samples) < SAMPLES:
            self._samples.append(rtt)
        elif (place := random.randrange(self._received)) < SAMPLES:
            self._samples[place] = rtt
        words = f"pong {self._received}: {size} bytes in {milliseconds(rtt)} ms"
        data(self._as_json, words, "pong", number=self._received, bytes=size, rtt=rtt)

    def lost(self) -> None:
        self._lost += 1

    def ended(self, event: str, reason: DisconnectReason) -> None:
        """`event`: it has failed to connect, or was disconnected."""
        progress(f"{event}: {reason}")
        if self._as_json:
            data(True, "", event, **reason_fields(reason))

    def summary(self) -> None:
        if not self._connected:
            return
        sent = self._received + self._lost
        loss = self._lost / sent if sent else 0.0
        median = statistics.median(self._samples) if self._samples else None
        words = f"pings {sent}, pongs {self._received}, lost {loss:.1%}"
        if median is not None:
            times = " / ".join(map(milliseconds, (self._shortest, median, self._longest)))
            words += f"; min / median / max {times} ms"
        data(
            self._as_json,
            words,
            "summary",
            sent=sent,
            received=self._received,
            loss=loss,
            min=self._shortest if self._samples else None,
            median=median,
            max=self._longest if self._samples else None,
        )
        if not self._as_json and sys.stdout.isatty():
            for row in histogram(self._samples):
                say(row)


def histogram(seconds: list[float]) -> list[str]:
    """Bars of how many round trips took how long, as lines; none for less than two different ones.

    Each row's times are the same factor above the last row's: round trips crowd at their minimum and have a long tail.
    """
    if not seconds or not 0 < min(seconds) < max(seconds):
        return []
    low, high = min(seconds), max(seconds)
    step = math.log(high / low) / HISTOGRAM_ROWS
    counts = [0] * HISTOGRAM_ROWS
    for one in seconds:
        counts[min(HISTOGRAM_ROWS - 1, int(math.log(one / low) / step))] += 1
    edges = [milliseconds(low * math.exp(step * row)) for row in range(HISTOGRAM_ROWS + 1)]
    width = max(map(len, edges))
    return [
        f"  {edges[row]:>{width}} - {edges[row + 1]:>{width}} ms  "
        f"{'#' * math.ceil(HISTOGRAM_WIDTH * count / max(counts))} {count}"
        for row, count in enumerate(counts)
    ]
