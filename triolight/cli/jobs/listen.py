"""Takes peers, answers their pings, and tells who comes and goes and why. Dials nobody.

How it tells what a peer was, in words and in JSON, is how every command does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click
import trio

from triolight import (
    ChannelMessageHandler,
    DisconnectReason,
    EventsLost,
    Logger,
    NodeAddress,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    Tape,
    open_peer_nursery,
)
from triolight.cli.exits import or_cannot_listen
from triolight.cli.jobs.metrics import serve_page
from triolight.cli.node import manager_of, new_secret, port_of, read_secret
from triolight.cli.output import data, features_fields, logger_for, offered, place, reason_fields, start_log
from triolight.cli.running import run
from triolight.shell.anywhere import AnyPeer


@dataclass(frozen=True, slots=True)
class Plan:
    """What `listen` was asked for."""

    host: str
    port: int
    metrics: int | None
    tape: Tape | None
    storage: Path | None
    store_for: tuple[bytes, ...]


def listen(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> None:
    """Until Ctrl-C."""
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    run(_listen, plan, secret, logger_for(verbose), as_json)


@asynccontextmanager
async def _open_handler(plan: Plan, secret: bytes) -> AsyncGenerator[ChannelMessageHandler]:
    """The channel handler, which stores for others if it is asked to."""
    if plan.storage is None:
        yield ChannelMessageHandler()
        return
    from triolight.services import StoreError, open_storage_store  # with SQLite, which others do without
    from triolight.storage import PeerStorageHandler

    try:
        async with open_storage_store(plan.storage) as store:
            yield PeerStorageHandler(secret, kept=store.kept, serves=plan.store_for)
    except StoreError as error:
        raise click.BadParameter(str(error), param_hint="--storage") from None


async def _listen(plan: Plan, secret: bytes, logger: Logger, as_json: bool) -> None:
    async with _open_handler(plan, secret) as handler, trio.open_nursery() as nursery:
        await _listen_and_tell(nursery, manager_of(secret, logger, chan_handler=handler), plan, as_json)


async def _listen_and_tell(nursery: trio.Nursery, manager: PeerManager, plan: Plan, as_json: bool) -> None:
    guests = _Guests(as_json)
    try:
        async with open_peer_nursery(manager, tape=plan.tape) as peers, peers.events() as events:
            with or_cannot_listen(plan.host, plan.port):
                listeners = await peers.listen(plan.port, host=plan.host)
            for listener in listeners:
                ours = str(listener.socket.getsockname()[0])
                address = NodeAddress(manager.our_node_id, ours, port_of(listener))
                words = f"listening on {address}"
                data(as_json, words, "listening", node_id=manager.our_node_id.hex(), host=ours, port=address.port)
            if plan.metrics is not None:
                await nursery.start(serve_page, peers, None, plan.metrics, as_json)
            while True:
                try:
                    match await anext(events):
                        case PeerConnected(peer=peer):
                            guests.came(peer)
                        case PeerDisconnected(peer=peer, reason=reason):
                            guests.left(peer, reason)
                except EventsLost:
                    await guests.catch_up(set(peers.peers.values()))
    finally:
        # The block is left: those who were here until now have been told goodbye, and nothing is waited for.
        with trio.CancelScope(shield=True):
            await guests.catch_up(set())


class _Guests:
    """Who is here, and since when; tells who comes and goes."""

    def __init__(self, as_json: bool) -> None:
        self._as_json: Final = as_json
        self._since: dict[AnyPeer, float] = {}

    def came(self, peer: AnyPeer) -> None:
        self._since[peer] = trio.current_time()
        node_id, address = peer.node_id.hex(), place(peer)
        words = f"connected: {node_id} from {address}, offers features {offered(peer.features)}"
        data(self._as_json, words, "connected", node_id=node_id, address=address, **features_fields(peer.features))

    def left(self, peer: AnyPeer, reason: DisconnectReason) -> None:
        seconds = trio.current_time() - self._since.pop(peer)
        words = f"disconnected: {peer.node_id.hex()} after {seconds:.3f} s: {reason}"
        fields = reason_fields(reason)
        data(self._as_json, words, "disconnected", node_id=peer.node_id.hex(), seconds=seconds, **fields)

    async def catch_up(self, here: set[Peer]) -> None:
        """Tells what has happened since the last event that was seen, from who is here now."""
        for peer in here - self._since.keys():
            self.came(peer)
        for gone in self._since.keys() - here:
            self.left(gone, await gone.wait_closed())
