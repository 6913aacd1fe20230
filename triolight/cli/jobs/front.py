"""A front of a fleet: listens, and passes on. What ends its lives is told; it begins again until it is ended itself."""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import click
import trio

from triolight import DisconnectReason, NodeAddress, PeerManager, PeerNursery, node_id, open_peer_nursery
from triolight.cli.exits import or_cannot_listen
from triolight.cli.jobs.graph import chain_of, not_ours
from triolight.cli.jobs.metrics import serve_page
from triolight.cli.node import port_of, read_secret
from triolight.cli.options import Engine
from triolight.cli.output import data, logger_for, reason_fields, start_log
from triolight.cli.running import run
from triolight.cluster import FleetConfig, FleetError, FrontGossip, FrontWatch, fleet_config, run_front
from triolight.gossip import GossipPolicy, NetworkGraph
from triolight.listeners import PatientListener
from triolight.logger import Logger
from triolight.services import StoreError, open_graph_mirror

AGAIN_SECONDS: Final = 1.0
"""Before a front begins again whose engine was lost."""
NOBODY: Final = "there is no back, or the engine is away"


class Plan(NamedTuple):
    """What `front` was asked for."""

    engine: Engine
    host: str
    port: int
    own: str
    graph: Path | None = None
    relay_unchecked: bool = False
    health: tuple[str, int] | None = None
    metrics: int | None = None


def serve(plan: Plan, secret_file: Path, as_json: bool, verbose: int) -> None:
    """Until Ctrl-C."""
    start_log(verbose)
    run(_serve, plan, read_secret(secret_file), as_json, verbose)


async def _serve(plan: Plan, secret: bytes, as_json: bool, verbose: int) -> None:
    logger, watch = logger_for(verbose), FrontWatch()
    watch.waits_for = NOBODY
    told = _Told(as_json, node_id(secret))
    async with _health(plan, watch, logger, as_json), _graph(plan) as gossip:
        port = plan.port
        while True:
            config = await _config(plan.engine, told.node_id, watch)
            manager = PeerManager(
                config.handlers(gossip),
                secret,
                secrets.token_bytes(32),
                logger,
                messages=config.messages,
                networks=config.networks,
            )
            # What waits for an engine that is full waits for as long as that takes; the back looks after its readers.
            async with (
                open_peer_nursery(manager, stall_deadline=math.inf) as peers,
                _metrics(peers, watch, plan.metrics, as_json),
            ):
                with or_cannot_listen(plan.host, port):
                    told.listeners = await peers.listen(port, host=plan.host)
                port = port_of(told.listeners[0])  # the same one from now on
                try:
                    await run_front(
                        peers,
                        plan.engine.url,
                        id=plan.own,
                        fleet=plan.engine.fleet,
                        password=plan.engine.password,
                        insecure=plan.engine.insecure,
                        address=f"{plan.host}:{port}",
                        told=told,
                        watch=watch,
                    )
                except FleetError as error:
                    told.lost(error.reason)
                except ValueError as error:
                    raise click.BadParameter(str(error), param_hint="--engine") from None
            await trio.sleep(AGAIN_SECONDS)


async def _config(engine: Engine, ours: bytes, watch: FrontWatch) -> FleetConfig:
    """What the back wants, once there is one."""
    watch.waits_for = NOBODY
    try:
        config = await fleet_config(engine.url, fleet=engine.fleet, password=engine.password, insecure=engine.insecure)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--engine") from None
    if config.node_id != ours:
        words = f"the fleet's node is {config.node_id.hex()}, and this secret is {ours.hex()}'s"
        raise click.BadParameter(words, param_hint="--secret-file")
    return config


@asynccontextmanager
async def _graph(plan: Plan) -> AsyncGenerator[FrontGossip | None]:
    """What answers gossip queries, if a graph was given."""
    if plan.graph is None:
        yield None
        return
    chain = chain_of(plan.graph)
    if chain is None:
        raise click.BadParameter(f"{plan.graph}: an empty file, and no graph", param_hint="--graph")
    graph = NetworkGraph(chain)
    gossip = FrontGossip(graph, GossipPolicy(relay_unchecked=plan.relay_unchecked))
    try:
        async with open_graph_mirror(plan.graph, graph) as mirror:
            if graph.channels and graph.unproven == len(graph.channels) and not plan.relay_unchecked:
                raise click.UsageError(
                    f"{plan.graph}: no channel's funding output was confirmed when it was made, so there is nothing to "
                    "tell of; --relay-unchecked tells of what signatures alone prove"
                )
            mirror.on_change = gossip.changed
            yield gossip
    except StoreError as error:
        raise not_ours(plan.graph, error) from None


@asynccontextmanager
async def _health(plan: Plan, watch: FrontWatch, logger: Logger, as_json: bool) -> AsyncGenerator[None]:
    """The port for balancers, if one was asked for: also while there is no back."""
    if plan.health is None:
        yield
        return
    from triolight.pages import serve_health  # h11 is of an extra

    host, port = plan.health
    with or_cannot_listen(host, port):
        listeners = await trio.open_tcp_listeners(port, host=host)
    at = port_of(listeners[0])
    data(as_json, f"health at http://{host}:{at}/", "health", host=host, port=at)
    async with _beside() as nursery:
        patient = [PatientListener(one, logger) for one in listeners]
        nursery.start_soon(trio.serve_listeners, serve_health(lambda: watch.trouble), patient)
        yield


@asynccontextmanager
async def _metrics(peers: PeerNursery, watch: FrontWatch, port: int | None, as_json: bool) -> AsyncGenerator[None]:
    if port is None:
        yield
        return
    async with _beside() as nursery:
        await nursery.start(serve_page, peers, watch, port, as_json)
        yield


@asynccontextmanager
async def _beside() -> AsyncGenerator[trio.Nursery]:
    """A nursery that ends with the block. Errors of the block leave bare."""
    failed: BaseException | None = None
    async with trio.open_nursery() as nursery:
        try:
            yield nursery
        except BaseException as error:
            failed = error
        nursery.cancel_scope.cancel(reason="whoever wanted it is done")
    if failed is not None:
        raise failed


class _Told:
    """What is told of the lives of a front."""

    def __init__(self, as_json: bool, own: bytes) -> None:
        self._as_json: Final = as_json
        self.node_id: Final = own
        self.listeners: list[trio.SocketListener] = []
        self._listening = False
        self._lost = False

    def __call__(self, what: str, reason: DisconnectReason | None) -> None:
        if reason is not None:
            data(self._as_json, f"begins again: {reason}", reason.code.lower(), **reason_fields(reason))
        elif not self._listening:
            self._listening = True
            for listener in self.listeners:
                ours = str(listener.socket.getsockname()[0])
                address = NodeAddress(self.node_id, ours, port_of(listener))
                words = f"listening on {address}"
                data(self._as_json, words, "listening", node_id=self.node_id.hex(), host=ours, port=address.port)
        elif self._lost:
            self._lost = False
            data(self._as_json, "the engine is back", "engine_back")

    def lost(self, reason: DisconnectReason) -> None:
        self._lost = True
        data(self._as_json, f"begins again: {reason}", "engine_away", **reason_fields(reason))
