"""What the tests share: managers with fixed keys, pairs of them in memory, a log that can be read. No test here."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import trio
import trio.testing

from triolight import (
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    Peer,
    PeerManager,
    PeerNursery,
    Record,
    RoutingMessageHandler,
    node_id,
    open_peer_nursery,
    wire,
)
from triolight.messages import BOLT, Message, Registry, message


@message(37913)
class Note(Message):
    """A custom message, odd."""

    payload: wire.remainder


@message(37914)
class Order(Message):
    """A custom message, even."""

    payload: wire.remainder


MESSAGES: Registry = BOLT | [Note, Order]


@dataclass
class ListLogger:
    """Keeps the records."""

    records: list[Record] = field(default_factory=list)

    def log(self, record: Record) -> None:
        self.records.append(record)

    def __contains__(self, words: object) -> bool:
        return any(isinstance(words, str) and words in str(record) for record in self.records)


def secret(number: int) -> bytes:
    return bytes([number]) * 32


def identity(number: int) -> bytes:
    return node_id(secret(number))


def make_manager(
    number: int,
    *,
    chan: ChannelMessageHandler | None = None,
    route: RoutingMessageHandler | None = None,
    onion: OnionMessageHandler | None = None,
    custom: CustomMessageHandler | None = None,
    logger: Any = None,
    messages: Registry = MESSAGES,
    **options: Any,
) -> PeerManager:
    """A manager whose key and ephemeral randomness follow from `number`."""
    return PeerManager(
        MessageHandler(
            chan or ChannelMessageHandler(),
            route or RoutingMessageHandler(),
            onion or OnionMessageHandler(),
            custom or CustomMessageHandler(),
        ),
        secret(number),
        hashlib.sha256(b"ephemeral" + bytes([number])).digest(),
        logger or ListLogger(),
        messages=messages,
        **options,
    )


@dataclass
class Pair:
    """Two nurseries in one run, connected; `near` dialled `far`."""

    near: PeerNursery
    far: PeerNursery
    to_far: Peer
    to_near: Peer


async def join(near: PeerNursery, far: PeerNursery) -> tuple[Peer, Peer]:
    """Connects two nurseries through a pair of memory streams that hold nothing: what is not read is not written."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    found: list[Peer] = []

    async def accept() -> None:
        found.append(await far.attach(theirs))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(accept)
        to_far = await near.attach(ours, far.manager.our_node_id)
    return to_far, found[0]


@asynccontextmanager
async def open_pair(
    near: PeerManager | None = None, far: PeerManager | None = None, **deadlines: Any
) -> AsyncIterator[Pair]:
    near = near or make_manager(1)
    far = far or make_manager(2)
    async with open_peer_nursery(near, **deadlines) as one, open_peer_nursery(far, **deadlines) as other:
        to_far, to_near = await join(one, other)
        yield Pair(one, other, to_far, to_near)


async def port_of(peers: PeerNursery, host: str = "127.0.0.1") -> int:
    """Listens on a free port of loopback."""
    listeners = await peers.listen(0, host=host)
    return int(listeners[0].socket.getsockname()[1])


async def until(condition: Callable[[], bool]) -> None:
    """Lets everything run that can run, until the condition holds. Fails when nothing can run and it does not."""
    for _ in range(1000):
        if condition():
            return
        await trio.testing.wait_all_tasks_blocked()
    raise AssertionError("nothing more will happen, and the condition does not hold")


class CountsSteps(trio.abc.Instrument):
    """How often tasks of a name were run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += task.name == self.name
