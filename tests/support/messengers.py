"""Nodes with messengers that are open, and what answers their messages. No test here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import trio
import trio.testing

from tests.support import identity, join, make_manager, secret
from tests.support.gossip import IDS, channel, node, update
from tests.support.onions import random
from tests.support.sellers import Answer
from triolight import Features, PeerNursery, open_peer_nursery
from triolight.chains import BITCOIN
from triolight.onion import OnionLimits, OnionMessenger
from triolight.services import Messenger, OnionReceived, open_onion_messenger
from triolight.wire import ShortChannelId


def place_of(number: int) -> ShortChannelId:
    """The channel of a node with the next one of the row."""
    return ShortChannelId.of(100 + number, 1, 0)


def row_of(count: int) -> list[bytes]:
    """What nodes in a row have signed: a channel from each to the next one, and that they take onion messages."""
    found: list[bytes] = []
    for number in range(1, count):
        first, second = sorted(IDS.index(identity(one)) for one in (number, number + 1))
        place = place_of(number)
        found.append(channel(place, first, second, chain_hash=BITCOIN.chain_hash))
        found += [
            update(place, end, signer=signer, chain_hash=BITCOIN.chain_hash)
            for end, signer in enumerate((first, second))
        ]
    takes = Features.named("option_onion_messages").to_bytes()
    return [*found, *(node(IDS.index(identity(number)), features=takes) for number in range(1, count + 1))]


class Node:
    """A node with a messenger that is open."""

    def __init__(self, number: int, peers: PeerNursery, messenger: Messenger) -> None:
        self.id = identity(number)
        self.peers = peers
        self.messenger = messenger
        self.onions = messenger.onions


@asynccontextmanager
async def nodes(count: int, limits: OnionLimits | None = None, **options: Any) -> AsyncGenerator[list[Node]]:
    """Nodes in a row, each connected with the next one."""
    async with AsyncExitStack() as stack:
        found: list[Node] = []
        for number in range(1, count + 1):
            onions = OnionMessenger(secret(number), random(number + 100), limits=limits, clock=trio.current_time)
            peers = await stack.enter_async_context(open_peer_nursery(make_manager(number, onion=onions)))
            messenger = await stack.enter_async_context(open_onion_messenger(peers, onions, **options))
            found.append(Node(number, peers, messenger))
            if number > 1:
                await join(found[-2].peers, found[-1].peers)
        yield found


@asynccontextmanager
async def answering(node: Node, answer: Answer) -> AsyncGenerator[list[OnionReceived]]:
    """The node does this with each message; what came so far."""
    heard: list[OnionReceived] = []
    async with trio.open_nursery() as nursery, node.messenger.subscribe() as inbox:

        async def listen() -> None:
            async for received in inbox:
                heard.append(received)
                await answer(received)

        nursery.start_soon(listen)
        await trio.testing.wait_all_tasks_blocked()
        yield heard
        nursery.cancel_scope.cancel()


async def in_silence(received: OnionReceived) -> None:
    pass
