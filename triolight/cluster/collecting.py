"""run_collector: one process of a sharded collector: a worker, and whoever has a record stands for election as writer.

Whoever is elected writes until it is left, and leaves last: what its worker has heard is in the record by then, as far
as there was time.
"""

from __future__ import annotations

import math
import secrets
import ssl
from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Final

import trio

from triolight.address import NodeAddress
from triolight.chains import AnyChain, chain_hash
from triolight.cluster.bus import Bus, leaves
from triolight.cluster.rules import Terms
from triolight.cluster.shards import Told, Work, serve_worker
from triolight.cluster.writing import Writing, serve_writer
from triolight.errors import DisconnectReason
from triolight.gossip.formats.places import SIGNED
from triolight.services.record import RecordWriter
from triolight.services.recorder import Recorder, Wants
from triolight.services.sqlite import StoreError
from triolight.shell.peers import PeerNursery

__all__ = ["collect", "run_collector"]

PART: Final = "record"
"""Of a fleet, in an engine: a node's fronts may have the same name."""
DRAIN_SECONDS: Final = 5.0
"""For the writer to write what is in the streams, once it is left."""


async def collect(
    peers: PeerNursery,
    bus: Bus,
    work: Work,
    writing: Writing | None,
    *,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> None:
    """Has an open block be a worker until it is cancelled, and a writer with `writing`, if it is elected.

    StoreError if it is elected and its record cannot be written.
    """
    scope, leaving = trio.CancelScope(shield=True), trio.Event()
    failed: list[BaseException] = []

    async def write(setup: Writing) -> None:
        with scope:
            await serve_writer(bus, setup, leaving, random_bytes=random_bytes)

    try:
        async with trio.open_nursery() as nursery:
            if writing is not None:
                nursery.start_soon(write, writing)
            try:
                await serve_worker(peers, bus, work, random_bytes=random_bytes)
            finally:
                leaving.set()
                scope.deadline = trio.current_time() + DRAIN_SECONDS
    except* StoreError as group:
        failed = leaves(group)
    if failed:
        raise failed[0]


def _ignore(what: str, reason: DisconnectReason | str | None, recorder: Recorder | None) -> None:
    pass


async def run_collector(
    peers: PeerNursery,
    url: str,
    record: str | PathLike[str] | None,
    nodes: Iterable[NodeAddress | str],
    *,
    id: str,
    fleet: str = "main",
    backlog: float | None = math.inf,
    chain: AnyChain | None = None,
    types: Iterable[int] = sorted(SIGNED),
    raw: bool = True,
    drop: bool = False,
    segment_bytes: int | None = None,
    segment_seconds: float | None = None,
    lease: float = 10,
    password: str | None = None,
    tls: ssl.SSLContext | None = None,
    insecure: bool = False,
    told: Told = _ignore,
) -> None:
    """Has an open block be one of several workers that record together, until it is cancelled (extra `cluster`).

    Its manager is as `open_recorder` wants it. All workers of a `fleet` are given the same `nodes`, and each dials its
    share of them. What they hear goes through an engine that speaks the Redis protocol into the record of one of them,
    which they elect among those that have a `record`, an SQLite file as of `open_recorder`. One without (None) never
    writes. Where records are on several machines and the writer dies, it goes on in another machine's file.

    `id` is the worker's name in the fleet, and nobody else's. `lease`: who is silent for so many seconds is taken for
    dead, and the others take over. The other options are those of `open_recorder`, and the same for all workers.
    `told` is called with ``serving`` and its recorder, ``over`` and a reason, ``writing`` and the record, ``taken`` and
    why not, or ``replaced``.

    StoreError if it is elected and its record cannot be written. ValueError for a URL that is
    none, and for another host without TLS or a user, without `insecure`.
    """
    from triolight.cluster.redis import open_bus  # who brings a bus of its own needs no client

    numbers = frozenset(types)
    if not numbers or numbers - SIGNED:
        raise ValueError(f"types are some of {sorted(SIGNED)}, not {sorted(numbers)}")
    if not id or not id.isprintable():
        raise ValueError("a worker's id is printable")
    terms = Terms(lease=lease, engine_grace=max(lease, 20.0))
    addresses = tuple(NodeAddress.parse(one) if isinstance(one, str) else one for one in nodes)
    wants = Wants(backlog, None if chain is None else chain_hash(chain), numbers, drop)
    span = None if segment_seconds is None else round(segment_seconds * 1e9)

    def open_writer(started_ns: int) -> RecordWriter:
        return RecordWriter(
            Path(record or ""),
            started_ns,
            types=numbers,
            raw=raw,
            segment_bytes=segment_bytes,
            segment_ns=span,
            fleet=fleet,
        )

    manager = peers.manager
    writing = Writing(manager.our_node_id, terms, open_writer, peers.unix_ns, manager.logger, told)
    work = Work(id, addresses, wants, told)
    async with open_bus(url, fleet, part=PART, password=password, tls=tls, insecure=insecure) as bus:
        await collect(peers, bus, work, None if record is None else writing)
