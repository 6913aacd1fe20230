"""open_peers: a PeerManager with defaults and its open block, in one call. Decides nothing else.

Whoever needs the manager's other arguments makes one, and opens `open_peer_nursery` on it.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from triolight.chains import AnyChain
from triolight.handlers import (
    ChannelMessageHandler,
    CustomMessageHandler,
    IgnoringMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
)
from triolight.logger import Logger, StdlibLogger
from triolight.messages import BOLT, Registry
from triolight.nursery import open_peer_nursery
from triolight.peer_manager import PeerManager
from triolight.policy import Policy
from triolight.proxy import Proxy
from triolight.shell.peers import PeerNursery
from triolight.ways import Dial

if TYPE_CHECKING:
    from triolight.tape.tape import Tape  # who records nothing does not load it

__all__ = ["open_peers"]


def open_peers(
    secret: bytes | None = None,
    *,
    handlers: MessageHandler | None = None,
    chan_handler: ChannelMessageHandler | None = None,
    route_handler: RoutingMessageHandler | None = None,
    onion_handler: OnionMessageHandler | None = None,
    custom_handler: CustomMessageHandler | None = None,
    messages: Registry = BOLT,
    networks: AnyChain | tuple[AnyChain, ...] | list[AnyChain] = (),
    logger: Logger | None = None,
    policy: Policy | None = None,
    proxy: Proxy | None = None,
    dial: Dial | None = None,
    tape: Tape | None = None,
    handshake_deadline: float = 15,
    init_deadline: float = 15,
    ping_interval: float = 30,
    pong_deadline: float = 60,
    stall_deadline: float = 60,
    goodbye_deadline: float = 5,
    jitter: random.Random | None = None,
    unix_ns: Callable[[], int] = time.time_ns,
) -> AbstractAsyncContextManager[PeerNursery]:
    """``async with triolight.open_peers() as peers``: a node, and the block in which it has peers.

    `secret` is the node's, 32 bytes; None: one that is made for this block, so that nobody knows the node again. The
    ephemeral randomness is made anew in any case.

    `handlers` has all four, or each place by itself: `chan_handler`, `route_handler`, `onion_handler`,
    `custom_handler`. None of them: a `ChannelMessageHandler`, which offers the features that other implementations ask
    for (LND closes on a node without option_data_loss_protect) and refuses what would open a channel, and such as
    ignore everything. To offer nothing at all, subclass it with a `provided_init_features` that returns `Features()`.

    `networks`: a chain's name, one of `triolight.chains`, 32 bytes, or several of these; told in Init. `logger` None:
    `StdlibLogger("triolight")`. All else as in `open_peer_nursery` and `PeerManager`. ValueError for `handlers` beside
    a place, and as those two say.
    """
    places = (chan_handler, route_handler, onion_handler, custom_handler)
    if handlers is None:
        handlers = MessageHandler(
            chan_handler or ChannelMessageHandler(),
            route_handler or IgnoringMessageHandler(),
            onion_handler or IgnoringMessageHandler(),
            custom_handler or IgnoringMessageHandler(),
        )
    elif any(place is not None for place in places):
        raise ValueError("handlers has all four places: give it, or single places, not both")
    manager = PeerManager(
        handlers,
        secrets.token_bytes(32) if secret is None else secret,
        secrets.token_bytes(32),
        StdlibLogger() if logger is None else logger,
        messages=messages,
        networks=networks,
    )
    return open_peer_nursery(
        manager,
        handshake_deadline=handshake_deadline,
        init_deadline=init_deadline,
        ping_interval=ping_interval,
        pong_deadline=pong_deadline,
        stall_deadline=stall_deadline,
        goodbye_deadline=goodbye_deadline,
        policy=policy,
        proxy=proxy,
        dial=dial,
        jitter=jitter,
        unix_ns=unix_ns,
        tape=tape,
    )
