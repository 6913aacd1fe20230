"""The page for Prometheus of a command that runs on: on loopback, and where it is."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from triolight import PeerNursery
from triolight.cli.exits import or_cannot_listen
from triolight.cli.node import port_of
from triolight.cli.output import data
from triolight.listeners import PatientListener

if TYPE_CHECKING:  # with the graph, which a listener does without
    from triolight.metrics import Counting
    from triolight.services import Gossip


async def serve_page(
    peers: PeerNursery, beside: Counting | None, port: int, as_json: bool, task_status: trio.TaskStatus[None]
) -> None:
    """Until it is cancelled; started when it is said where it is."""
    from triolight.metrics import serve_metrics  # of an extra

    with or_cannot_listen("127.0.0.1", port):
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
    at = port_of(listeners[0])
    data(as_json, f"metrics at http://127.0.0.1:{at}/metrics", "metrics", host="127.0.0.1", port=at)
    task_status.started()
    patient = [PatientListener(one, peers.manager.logger) for one in listeners]
    await trio.serve_listeners(serve_metrics(peers, *([] if beside is None else [beside])), patient)


@asynccontextmanager
async def open_page(peers: PeerNursery, gossip: Gossip, port: int | None, as_json: bool) -> AsyncGenerator[None]:
    """The page while the block runs, if it is wanted. Errors of the block leave bare."""
    if port is None:
        yield
        return
    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_page, peers, gossip, port, as_json)
        try:
            yield
        except BaseException as error:
            failed = error
        nursery.cancel_scope.cancel(reason="whoever wanted the page is done")
    if failed is not None:
        raise failed
