"""Takes peers, answers their pings, and tells who comes and goes and why. Dials nobody.

How it tells what a peer was, in words and in JSON, is how every command does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import trio

from triolight import (
    DisconnectReason,
    EventsLost,
    NodeAddress,
    Peer,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    PeerNursery,
    Tape,
    open_peer_nursery,
)
from triolight.cli.exits import or_cannot_listen
from triolight.cli.node import our_manager, port_of
from triolight.cli.output import data, features_fields, offered, place, reason_fields
from triolight.cli.running import run
from triolight.listeners import PatientListener


def listen(
    secret_file: Path | None,
    verbose: int,
    host: str,
    port: int,
    metrics: int | None,
    tape: Tape | None,
    as_json: bool,
) -> None:
    """Until Ctrl-C."""
    run(_listen, our_manager(secret_file, verbose), host, port, metrics, tape, as_json)


async def _serve_metrics(peers: PeerNursery, port: int, task_status: trio.TaskStatus[int]) -> None:
    from triolight.metrics import serve_metrics  # of an extra

    with or_cannot_listen("127.0.0.1", port):
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    task_status.started(port_of(listeners[0]))
    patient = [PatientListener(one, peers.manager.logger) for one in listeners]
    await trio.serve_listeners(serve_metrics(peers), patient)


async def _listen(
    manager: PeerManager, host: str, port: int, metrics: int | None, tape: Tape | None, as_json: bool
) -> None:
    async with trio.open_nursery() as nursery:
        await _listen_and_tell(nursery, manager, host, port, metrics, tape, as_json)


async def _listen_and_tell(
    nursery: trio.Nursery,
    manager: PeerManager,
    host: str,
    port: int,
    metrics: int | None,
    tape: Tape | None,
    as_json: bool,
) -> None:
    guests = _Guests(as_json)
    try:
        async with open_peer_nursery(manager, tape=tape) as peers, peers.events() as events:
            with or_cannot_listen(host, port):
                listeners = await peers.listen(port, host=host)
            for listener in listeners:
                ours = str(listener.socket.getsockname()[0])
                address = NodeAddress(manager.our_node_id, ours, port_of(listener))
                words = f"listening on {address}"
                data(as_json, words, "listening", node_id=manager.our_node_id.hex(), host=ours, port=address.port)
            if metrics is not None:
                at = await nursery.start(_serve_metrics, peers, metrics)
                data(as_json, f"metrics at http://127.0.0.1:{at}/metrics", "metrics", host="127.0.0.1", port=at)
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
        self._since: dict[Peer, float] = {}

    def came(self, peer: Peer) -> None:
        self._since[peer] = trio.current_time()
        node_id, address = peer.node_id.hex(), place(peer)
        words = f"connected: {node_id} from {address}, offers features {offered(peer.features)}"
        data(self._as_json, words, "connected", node_id=node_id, address=address, **features_fields(peer.features))

    def left(self, peer: Peer, reason: DisconnectReason) -> None:
        seconds = trio.current_time() - self._since.pop(peer)
        words = f"disconnected: {peer.node_id.hex()} after {seconds:.3f} s: {reason}"
        fields = reason_fields(reason)
        data(self._as_json, words, "disconnected", node_id=peer.node_id.hex(), seconds=seconds, **fields)

    async def catch_up(self, here: set[Peer]) -> None:
        """Tells what has happened since the last event that was seen, from who is here now."""
        for peer in here - self._since.keys():
            self.came(peer)
        for peer in self._since.keys() - here:
            self.left(peer, await peer.wait_closed())
