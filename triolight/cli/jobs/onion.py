"""Sends an onion message, or shows those that come. Answers none."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from pathlib import Path

import click
import trio

from triolight import (
    ChannelMessageHandler,
    ConnectError,
    MessageHandler,
    NodeAddress,
    PeerClosed,
    PeerManager,
    Proxy,
    RoutingMessageHandler,
    open_peer_nursery,
)
from triolight.cli.exits import Exit, NoNetworkError, exit_of, or_cannot_listen
from triolight.cli.jobs.routes import routes_of
from triolight.cli.node import new_secret, port_of, read_secret
from triolight.cli.output import data, logger_for, progress, start_log
from triolight.cli.running import run
from triolight.onion import GraphRoutes, NoRoute, OnionMessenger
from triolight.services import OnionReceived, open_onion_messenger


@dataclass(frozen=True, slots=True)
class Plan:
    """What `onion send` was asked for."""

    to: bytes | NodeAddress
    type: int
    payload: bytes
    via: NodeAddress | None
    graph: Path | None
    reply: bool
    seconds: float
    proxy: Proxy | None = None


def send(plan: Plan, secret_file: Path | None, verbose: int, as_json: bool) -> int:
    """The exit code."""
    routes = routes_of(plan.graph)
    return run(_send, plan, routes, *_node(routes, secret_file, verbose, forward=False), as_json)


def listen(graph: Path | None, secret_file: Path | None, verbose: int, host: str, port: int, as_json: bool) -> None:
    """Until Ctrl-C."""
    run(_listen, *_node(routes_of(graph), secret_file, verbose, forward=True), host, port, as_json)


def _node(
    routes: GraphRoutes | None, secret_file: Path | None, verbose: int, *, forward: bool
) -> tuple[PeerManager, OnionMessenger]:
    start_log(verbose)
    secret = new_secret() if secret_file is None else read_secret(secret_file)
    onions = OnionMessenger(secret, secrets.token_bytes(32), forward=forward, graph=routes)
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), onions)
    return PeerManager(handlers, secret, secrets.token_bytes(32), logger_for(verbose)), onions


async def _send(
    plan: Plan, routes: GraphRoutes | None, manager: PeerManager, onions: OnionMessenger, as_json: bool
) -> Exit:
    record = {plan.type: plan.payload}
    try:
        with trio.fail_after(plan.seconds):
            async with (
                open_peer_nursery(manager, proxy=plan.proxy) as peers,
                open_onion_messenger(peers, onions, None if routes is None else routes.addresses) as messenger,
            ):
                via = plan.via
                if via is not None and routes is not None:
                    await peers.connect(via)
                    via = None  # the graph knows how it goes on from there
                if plan.reply:
                    _show("answer", await messenger.request(plan.to, extra=record, via=via), as_json)
                else:
                    await messenger.send(plan.to, extra=record, via=via)
                    for peer in peers.peers.values():
                        await peer.ping()  # it has read what came before it
                    words = f"sent: type {plan.type}, {len(plan.payload)} bytes"
                    data(as_json, words, "sent", type=plan.type, payload=plan.payload.hex())
    except trio.TooSlowError:
        progress(f"no {'answer' if plan.reply else 'end'} within {plan.seconds:g} s")
        return Exit.TIMEOUT
    except NoRoute as error:
        raise NoNetworkError(f"no way: {error}; give its address, or a node to go over with --via") from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="HEX") from None
    except (ConnectError, PeerClosed) as error:
        progress(str(error.reason))
        return exit_of(error.reason)
    return Exit.OK


async def _listen(manager: PeerManager, onions: OnionMessenger, host: str, port: int, as_json: bool) -> None:
    async with (
        open_peer_nursery(manager) as peers,
        open_onion_messenger(peers, onions) as messenger,
        messenger.subscribe() as inbox,
    ):
        with or_cannot_listen(host, port):
            listeners = await peers.listen(port, host=host)
        for listener in listeners:
            ours = str(listener.socket.getsockname()[0])
            address = NodeAddress(manager.our_node_id, ours, port_of(listener))
            words = f"listening on {address}"
            data(as_json, words, "listening", node_id=manager.our_node_id.hex(), host=ours, port=address.port)
        async for received in inbox:
            _show("message", received, as_json)


def _show(event: str, received: OnionReceived, as_json: bool) -> None:
    content = received.content
    type_, payload = (None, b"") if content is None else content
    words = f"{event}: " + (f"type {type_}, {payload.hex() or 'no bytes'}" if content else "about nothing")
    fields = {"type": type_, "payload": payload.hex(), "reply_path": received.reply_path is not None}
    data(as_json, words + (", with a way back" if fields["reply_path"] else ""), event, **fields)
