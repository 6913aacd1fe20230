"""Records what some nodes say, and when, until it has been long enough. Believes nothing, and passes nothing on.

Whatever ends it, the last line says what was recorded.
"""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    PeerManager,
    PeerNursery,
    Proxy,
    open_peer_nursery,
)
from triolight.cli.exits import Exit
from triolight.cli.node import new_secret, read_secret
from triolight.cli.output import data, logger_for, progress, redraw, start_log
from triolight.cli.running import run
from triolight.services import Recorder, RecordingHandler, open_recorder, unread_gossip

DIALS_AT_ONCE: Final = 32
"""A node that is dialled answers, or not, in seconds; whoever names hundreds waits for a few rounds of that."""
SHOWN_EVERY: Final = 1.0
"""Seconds from one line of progress to the next one, which takes its place."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Nodes of a graph, of which some are heard."""

    graph: Path
    nodes: list[tuple[NodeAddress, ...]]
    """The addresses of each."""
    count: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What `record start` was asked for."""

    record: Path
    addresses: tuple[NodeAddress, ...]
    choice: Choice | None
    chain: bytes
    seconds: float
    """For all of it; infinite: until Ctrl-C."""
    backlog: float
    """How far back, in seconds; infinite: all that they have."""
    types: tuple[int, ...]
    raw: bool
    drop: bool
    segment_bytes: int | None
    segment_seconds: float | None
    max_bytes: int | None
    proxy: Proxy | None


def record_start(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code. StoreError if the record cannot be used."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    told = Told(as_json)
    try:
        return run(record, plan, secret, verbose, told)
    finally:
        told.end()


class Told:
    """What is said: on a terminal how it goes, and the last line."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self.shows: Final = sys.stderr is not None and sys.stderr.isatty()
        self._before = 0
        self.recorder: Recorder | None = None
        self.began = 0.0
        self.ended = 0.0

    def begin(self, path: Path) -> None:
        """Somebody is there."""
        data(self._as_json, f"recording into {path}, until Ctrl-C or --seconds", "recording", record=str(path))

    def further(self, recorder: Recorder, here: int) -> None:
        """A second has gone by."""
        rate, self._before = recorder.sightings - self._before, recorder.sightings
        redraw(
            f"\r\x1b[K{rate:,}/s, {here} peers, {recorder.sightings:,} sightings of {recorder.messages:,} messages, "
            f"{recorder.pending:,} to be written, {self._dropped}{recorder.size / 1e6:,.1f} MB "
        )

    @property
    def _dropped(self) -> str:
        dropped = 0 if self.recorder is None else self.recorder.dropped
        return f"{dropped:,} dropped, " if dropped else ""

    def end(self) -> None:
        """The last line, if there was a record."""
        recorder = self.recorder
        if recorder is None:
            return
        if self.shows:
            redraw("\r\x1b[K")
        seconds = self.ended - self.began
        data(
            self._as_json,
            f"{recorder.sightings:,} sightings of {recorder.messages:,} messages from {recorder.peers:,} peers in "
            f"{seconds:.1f} s; {self._dropped}{recorder.path}: {recorder.size:,} bytes",
            "recorded",
            peers=recorder.peers,
            messages=recorder.messages,
            sightings=recorder.sightings,
            bytes=recorder.size,
            seconds=round(seconds, 3),
            held_seconds=round(recorder.held_seconds, 3),
            dropped=recorder.dropped,
        )


def manager_of(plan: Plan, secret: bytes, verbose: int) -> PeerManager:
    """A node that reads no gossip, and records it."""
    return PeerManager(
        MessageHandler(ChannelMessageHandler(), RecordingHandler()),
        secret,
        secrets.token_bytes(32),
        logger_for(verbose),
        messages=unread_gossip(),
        networks=(plan.chain,),
    )


async def record(plan: Plan, secret: bytes, verbose: int, told: Told) -> Exit:
    """The work, inside Trio."""
    async with (
        open_peer_nursery(manager_of(plan, secret, verbose), proxy=plan.proxy) as peers,
        open_recorder(
            peers,
            plan.record,
            backlog=plan.backlog,
            chain=plan.chain,
            types=plan.types,
            raw=plan.raw,
            drop=plan.drop,
            segment_bytes=plan.segment_bytes,
            segment_seconds=plan.segment_seconds,
            max_bytes=plan.max_bytes,
        ) as recorder,
    ):
        told.began = trio.current_time()
        try:
            with trio.move_on_after(plan.seconds):
                await _record(recorder, peers, plan, told)
        finally:
            told.ended = trio.current_time()
    if told.recorder is None:
        return Exit.CONNECT
    return Exit.OK if recorder.sightings or recorder.full else Exit.TIMEOUT


async def _record(recorder: Recorder, peers: PeerNursery, plan: Plan, told: Told) -> None:
    """Until the record is full; or until it is clear that nobody can be reached."""
    if recorder.full:
        told.recorder = recorder
        _say_full(recorder)
        return
    dials = _Dials(peers)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(dials.all, plan)
        await dials.settled.wait()
        if not dials.reached:
            return
        told.recorder = recorder
        told.begin(plan.record)
        for address in plan.addresses:
            peers.keep(address)
        await _until_full(recorder, peers, told)
        nursery.cancel_scope.cancel(reason="the record is full")


class _Dials:
    """The first ones; whoever was reached, and whoever was named, is kept connected from then on."""

    def __init__(self, peers: PeerNursery) -> None:
        self.reached = 0
        self.settled: Final = trio.Event()
        """Somebody was reached, or nobody was."""
        self._peers: Final = peers
        self._limiter: Final = trio.CapacityLimiter(DIALS_AT_ONCE)
        self._missing = 0

    async def all(self, plan: Plan) -> None:
        """Each node that is named; and nodes of the graph until so many of them were reached."""
        async with trio.open_nursery() as nursery:
            for address in plan.addresses:
                nursery.start_soon(self._dial, (address,), True)
            if plan.choice is not None:
                nursery.start_soon(self._choose, plan.choice)
        self.settled.set()

    async def _dial(self, addresses: tuple[NodeAddress, ...], tell: bool) -> bool:
        async with self._limiter:
            for address in addresses:
                try:
                    await self._peers.connect(address)
                except ConnectError as error:
                    if tell:
                        progress(f"{address}: {error.reason.message}")
                else:
                    self.reached += 1
                    self.settled.set()
                    return True
        return False

    async def _choose(self, choice: Choice) -> None:
        self._missing = choice.count
        left = iter(choice.nodes)

        async def fill_a_place() -> None:
            for addresses in left:
                if await self._dial(addresses, False):
                    self._peers.keep(*addresses)
                    self._missing -= 1
                    return

        async with trio.open_nursery() as nursery:
            for _ in range(choice.count):
                nursery.start_soon(fill_a_place)
        if self._missing:
            progress(f"{choice.graph}: {choice.count - self._missing:,} nodes of it were reached, not {choice.count:,}")


async def _until_full(recorder: Recorder, peers: PeerNursery, told: Told) -> None:
    async with trio.open_nursery() as nursery:
        if told.shows:
            nursery.start_soon(_tell, recorder, peers, told)
        await recorder.wait_full()
        nursery.cancel_scope.cancel(reason="the record is full")
    _say_full(recorder)


def _say_full(recorder: Recorder) -> None:
    progress(f"{recorder.path}: {recorder.size:,} bytes, which is all that it may have")


async def _tell(recorder: Recorder, peers: PeerNursery, told: Told) -> None:
    while True:
        await trio.sleep(SHOWN_EVERY)
        told.further(recorder, len(peers.peers))
