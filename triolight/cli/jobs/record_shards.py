"""Records with others: one of several processes that share the nodes, and one record. Believes nothing.

Whatever ends it, the last line says what this one has heard.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final, NamedTuple

import click
import trio

from triolight import DisconnectReason, PeerNursery, open_peer_nursery
from triolight.cli.exits import Exit
from triolight.cli.jobs.record_start import SHOWN_EVERY, Plan, manager_of
from triolight.cli.node import new_secret, read_secret
from triolight.cli.options import Engine
from triolight.cli.output import data, progress, reason_fields, redraw, start_log
from triolight.cli.running import run
from triolight.cluster import run_collector
from triolight.services import Recorder


class Shard(NamedTuple):
    """What a process of several is told beside its plan."""

    engine: Engine
    id: str
    lease: float


def record_shard(
    plan: Plan, record: Path | None, shard: Shard, secret_file: Path | None, verbose: int, as_json: bool
) -> int:
    """The exit code. StoreError if it writes, and the record cannot be used."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    told = _Told(as_json, shard)
    try:
        return run(_record, plan, record, shard, secret, verbose, told)
    finally:
        told.end()


class _Told:
    """What is said: as lives begin and end, on a terminal how it goes, and the last line."""

    def __init__(self, as_json: bool, shard: Shard) -> None:
        self._as_json: Final = as_json
        self._shard: Final = shard
        self.shows: Final = sys.stderr is not None and sys.stderr.isatty()
        self._recorder: Recorder | None = None
        self._before = 0
        """Sightings of lives that are over."""
        self._held = 0.0
        self._dropped = 0
        self._shown = 0
        self._taken: DisconnectReason | str | None = None
        """Why it could not write when it was elected: told once, though it is elected again and again."""
        self.began: float | None = None
        self.ended = 0.0

    def __call__(self, what: str, why: DisconnectReason | str | None, recorder: Recorder | None) -> None:
        shard, fleet = self._shard, self._shard.engine.fleet
        match what, why:
            case "serving", _:
                self._count()
                self._recorder = recorder
                words = f"recording for the fleet {fleet} as {shard.id}, until Ctrl-C or --seconds"
                data(self._as_json, words, "recording", fleet=fleet, id=shard.id)
            case _, DisconnectReason():
                data(self._as_json, f"begins again: {why}", why.code.lower(), **reason_fields(why))
            case "writing", _:
                data(self._as_json, f"writes the record: {why}", "writing", record=str(why))
            case "taken", _:
                if why != self._taken:
                    progress(f"elected, and cannot write yet: {why}")
                self._taken = why
            case _:
                data(self._as_json, "another one writes the record", what)

    def _count(self) -> None:
        """A life is over."""
        if self._recorder is not None:
            self._before += self._recorder.sightings
            self._held += self._recorder.held_seconds
            self._dropped += self._recorder.dropped
            self._recorder = None

    @property
    def _sightings(self) -> int:
        return self._before + (0 if self._recorder is None else self._recorder.sightings)

    def further(self, here: int) -> None:
        """A second has gone by."""
        rate, self._shown = self._sightings - self._shown, self._sightings
        waiting = 0 if self._recorder is None else self._recorder.pending
        redraw(f"\r\x1b[K{rate:,}/s, {here} peers, {self._sightings:,} sightings, {waiting:,} to be handed on ")

    def end(self) -> None:
        """The last line."""
        if self.began is None:
            return
        if self.shows:
            redraw("\r\x1b[K")
        self._count()
        seconds, shard = self.ended - self.began, self._shard
        data(
            self._as_json,
            f"{self._before:,} sightings in {seconds:.1f} s for the fleet {shard.engine.fleet}, as {shard.id}",
            "recorded",
            fleet=shard.engine.fleet,
            id=shard.id,
            sightings=self._before,
            seconds=round(seconds, 3),
            held_seconds=round(self._held, 3),
            dropped=self._dropped,
        )


async def _record(plan: Plan, record: Path | None, shard: Shard, secret: bytes, verbose: int, told: _Told) -> Exit:
    """The work, inside Trio."""
    async with open_peer_nursery(manager_of(plan, secret, verbose), proxy=plan.proxy) as peers:
        told.began = trio.current_time()
        try:
            with trio.move_on_after(plan.seconds):
                await _collect(peers, plan, record, shard, told)
        finally:
            told.ended = trio.current_time()
    return Exit.OK


async def _collect(peers: PeerNursery, plan: Plan, record: Path | None, shard: Shard, told: _Told) -> None:
    engine = shard.engine
    async with trio.open_nursery() as nursery:
        if told.shows:
            nursery.start_soon(_tell, peers, told)
        try:
            await run_collector(
                peers,
                engine.url,
                record,
                plan.addresses,
                id=shard.id,
                fleet=engine.fleet,
                backlog=plan.backlog,
                chain=plan.chain,
                types=plan.types,
                raw=plan.raw,
                drop=plan.drop,
                segment_bytes=plan.segment_bytes,
                segment_seconds=plan.segment_seconds,
                lease=shard.lease,
                password=engine.password,
                insecure=engine.insecure,
                told=told,
            )
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--engine") from None


async def _tell(peers: PeerNursery, told: _Told) -> None:
    while True:
        await trio.sleep(SHOWN_EVERY)
        told.further(len(peers.peers))
