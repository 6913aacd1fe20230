"""Gives a file's data to nodes that store it, and fetches it again. Keeps nothing on this machine beside that file."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import trio

from triolight import (
    ConnectError,
    DisconnectReason,
    Inbox,
    MessageHandler,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerManager,
    PeerNursery,
    Proxy,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.cli.exits import Exit, FailedError, cannot_use, exit_of
from triolight.cli.node import read_secret
from triolight.cli.output import data as say_data
from triolight.cli.output import logger_for, progress, start_log
from triolight.cli.running import run
from triolight.messages import Warning
from triolight.storage import LARGEST_BLOB, OVERHEAD, USUAL_SIZE, PeerStorageHandler, Returned, StorageState
from triolight.text import printable


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom it is about, and how long it may take."""

    nodes: tuple[NodeAddress, ...]
    seconds: float
    proxy: Proxy | None


class _Job:
    """A node that stores with others, for one command."""

    def __init__(self, plan: Plan, secret_file: Path, verbose: int) -> None:
        start_log(verbose)
        secret = read_secret(secret_file)
        self.plan = plan
        self.handler = PeerStorageHandler(secret)
        self.handler.on_returned = self._returned
        self.returned: dict[bytes, Returned] = {}
        self.came = trio.Event()
        """Set, and new, when somebody has given something back, or has gone."""
        self.failed: list[DisconnectReason] = []
        """Of those that were not reached, or have gone."""
        handlers = MessageHandler(self.handler, RoutingMessageHandler())
        self._manager = PeerManager(handlers, secret, secrets.token_bytes(32), logger_for(verbose))

    async def mind_end(self, peer: Peer) -> None:
        """Notes why it has gone."""
        self.failed.append(await peer.wait_closed())
        self._wake()

    def _returned(self, returned: Returned) -> None:
        self.returned[returned.node_id] = returned
        self._wake()

    def _wake(self) -> None:
        self.came.set()
        self.came = trio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[PeerNursery]:
        """Connected with all that can be reached."""
        async with open_peer_nursery(self._manager, proxy=self.plan.proxy) as peers:
            async with trio.open_nursery() as nursery:
                for node in self.plan.nodes:
                    nursery.start_soon(self._reach, peers, node)
            yield peers

    async def _reach(self, peers: PeerNursery, node: NodeAddress) -> None:
        try:
            await peers.connect(node)
        except ConnectError as error:
            progress(str(error))
            self.failed.append(error.reason)


def put(plan: Plan, data: bytes, secret_file: Path, verbose: int, as_json: bool) -> int:
    """The exit code."""
    return run(_put, _Job(plan, secret_file, verbose), data, as_json)


def get(plan: Plan, file: Path, secret_file: Path, verbose: int, as_json: bool) -> int:
    """The exit code."""
    return run(_get, _Job(plan, secret_file, verbose), file, as_json)


async def _reached(job: _Job, peers: Iterable[Peer]) -> set[bytes]:
    """Who has read what came before; of the others it is noted why not."""
    found: set[bytes] = set()
    for peer in peers:
        try:
            await peer.ping()
            found.add(peer.node_id)
        except PeerClosed as error:
            job.failed.append(error.reason)
    return found


def _warned(warnings: Inbox[tuple[Peer, Warning]]) -> set[bytes]:
    """Who has sent a warning, in words too."""
    found: set[bytes] = set()
    with suppress(trio.WouldBlock):
        while True:
            peer, warning = warnings.receive_nowait()
            progress(f"{peer.node_id.hex()} warns: {printable(warning.data)}")
            found.add(peer.node_id)
    return found


def _nobody(job: _Job) -> Exit:
    """None of the nodes is there, or has stayed: the first one's reason is why."""
    return exit_of(job.failed[0]) if job.failed else Exit.PROTOCOL


async def _put(job: _Job, data: bytes, as_json: bool) -> Exit:
    handler = job.handler
    size = USUAL_SIZE if len(data) <= USUAL_SIZE - OVERHEAD else LARGEST_BLOB
    try:
        with trio.fail_after(job.plan.seconds):
            async with job.open() as peers:
                here = [*peers.peers.values()]
                # What they give back comes before their pong: the counter goes on from there.
                if not await _reached(job, here):
                    return _nobody(job)
                sealed = handler.renew(data, secrets.token_bytes(32), time.time(), size)
                async with peers.subscribe(Warning) as warnings:
                    given = handler.store_newest()
                    # LDK answers a ping before what came in front of it: the second pong is behind a warning.
                    asked = [peer for peer in here if peer.node_id in given]
                    read = await _reached(job, asked) & await _reached(job, asked)
                    refused = _warned(warnings)
    except trio.TooSlowError:
        progress(f"no end within {job.plan.seconds:g} s")
        return Exit.TIMEOUT
    stored = [node_id for node_id in given if node_id in read - refused]
    if not given:
        raise FailedError("none of the nodes that were reached offers to store anything")
    if not read:
        return _nobody(job)
    if not stored:
        raise FailedError("the nodes that were given it have sent a warning instead of storing it")
    if size > USUAL_SIZE:
        progress(f"{len(data)} bytes are more than LDK stores: nodes that run it have not kept them")
    words = f"given to {len(stored)} nodes, {len(data)} bytes, counter {sealed.counter}"
    say_data(
        as_json,
        words,
        "stored",
        peers=len(stored),
        bytes=len(data),
        counter=sealed.counter,
        blob_bytes=size,
        node_ids=[node_id.hex() for node_id in stored],
    )
    return Exit.OK


async def _get(job: _Job, file: Path, as_json: bool) -> Exit:
    with trio.move_on_after(job.plan.seconds) as scope:
        async with job.open() as peers:
            async with trio.open_nursery() as nursery:
                for peer in peers.peers.values():
                    nursery.start_soon(job.mind_end, peer)
                # Who has nothing says nothing, and who has gone says nothing more.
                while peers.peers.keys() - job.returned.keys():
                    await job.came.wait()
                nursery.cancel_scope.cancel()
            if not job.returned:
                return _nobody(job)
    ours = [one for one in job.returned.values() if one.state is not StorageState.FOREIGN]
    newest = job.handler.newest
    for one in job.returned.values():
        if one.state is StorageState.FOREIGN:
            progress(f"{one.node_id.hex()} gives back what the secret does not open")
    if newest is None:
        progress("nothing came that is ours" + (f" within {job.plan.seconds:g} s" if scope.cancelled_caught else ""))
        return Exit.TIMEOUT
    try:
        _write(file, newest.data)
    except OSError as error:
        raise cannot_use(file, error, "FILE") from None
    keepers = [one.node_id.hex() for one in ours if one.counter == newest.counter]
    words = f"{file}: {len(newest.data)} bytes, counter {newest.counter}, from {len(keepers)} of {len(ours)} nodes"
    say_data(
        as_json,
        words,
        "fetched",
        peers=len(ours),
        bytes=len(newest.data),
        counter=newest.counter,
        node_ids=keepers,
    )
    return Exit.OK


def _write(file: Path, data: bytes) -> None:
    """All of it or nothing, under another name first; nobody else's to read from the moment it is there."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(descriptor)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
