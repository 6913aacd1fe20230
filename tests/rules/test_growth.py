"""What one peer causes costs the same with a dozen peers as with hundreds. Operations are counted, not time: lines of
triolight that are run, and elements that the manager's collections hand out when somebody goes through them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

import triolight
from tests.support import Note, identity, join, make_manager
from tests.support.managers import Wire, connect, node, wire
from triolight import ChannelMessageHandler, PeerManager, SendMessages, open_peer_nursery
from triolight.messages import GossipTimestampFilter, Message, Ping, Pong, Shutdown, Warning

OURS = str(Path(triolight.__file__).parent)
FEW, MANY = 40, 120


class Count:
    operations = 0


class CountingDict(dict[Any, Any]):
    """Counts what it hands out to those who go through it."""

    count = Count()

    def __iter__(self) -> Iterator[Any]:
        for key in super().__iter__():
            self.count.operations += 1
            yield key

    def keys(self) -> Any:
        return list(self)

    def values(self) -> Any:
        return [self[key] for key in self]

    def items(self) -> Any:
        return [(key, self[key]) for key in self]

    def copy(self) -> Any:
        return dict(self.items())


@contextmanager
def counted(count: Count) -> Iterator[None]:
    """Adds up the lines of triolight that are run inside."""

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            count.operations += 1
        return line

    def call(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename.startswith(OURS) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        yield
    finally:
        sys.settrace(before)


def watch(manager: PeerManager) -> Count:
    """Puts counting dicts in the place of the manager's, which hold nothing yet."""
    count = Count()
    for part, name, value in list(fields(manager)):
        if type(value) is dict and not value:
            found = CountingDict()
            found.count = count
            setattr(part, name, found)
    return count


def fields(manager: PeerManager) -> Iterator[tuple[object, str, object]]:
    """What the manager and each of its parts hold: whose, by which name, what."""
    parts: list[object] = [manager]
    for part in parts:  # grows
        names = (*getattr(part, "__dict__", {}), *getattr(type(part), "__slots__", ()))
        for name in names:
            value = getattr(part, name)
            yield part, name, value
            ours = type(value).__module__.startswith("triolight.manager")
            if ours and not any(value is one for one in parts):
                parts.append(value)


class Talker(ChannelMessageHandler):
    """Has a message for one peer, when it is told."""

    def say(self, number: int) -> None:
        self.push(SendMessages(identity(number), Shutdown(channel_id=bytes(32), scriptpubkey=b"")))


class Hub:
    """A node with peers, each as fresh as any other."""

    def __init__(self, size: int) -> None:
        self.talker = Talker()
        self.node = node(1, chan=self.talker)
        self.manager = self.node.manager
        self.count = watch(self.manager)
        before = {(id(part), name): _size(value) for part, name, value in fields(self.manager)}
        self.links = [connect(node(number), self.node) for number in range(2, 2 + size)]
        grown = {
            name: value
            for part, name, value in fields(self.manager)
            if _size(value) - before.get((id(part), name), 0) >= size
        }
        assert all(type(value) is CountingDict for value in grown.values()), grown.keys()
        assert {"by_descriptor", "connected"} <= set(grown)

    def operations(self, deed: Deed) -> int:
        """What the hub does for it, once what it needs is prepared."""
        act = deed(self)
        self.count.operations = 0
        with counted(self.count):
            act()
            self.manager.process_events()
        return self.count.operations


Deed = Callable[[Hub], Callable[[], object]]


def _size(value: object) -> int:
    return len(value) if isinstance(value, dict | list | set | tuple) else 0


def written(link: Wire, message: Message) -> bytes:
    """A message as it leaves the far end, encrypted."""
    link.a.manager.send_message(link.b.manager.our_node_id, message)
    link.a.manager.process_events()
    return link.at_a.take()


def hears(message: Message) -> Deed:
    def prepare(hub: Hub) -> Callable[[], object]:
        data = written(hub.links[5], message)
        return lambda: hub.manager.read_event(hub.links[5].at_b, data)

    return prepare


def is_dialled(hub: Hub) -> Callable[[], object]:
    """A whole handshake, and both Inits."""
    link = wire(node(250), hub.node)
    return link.run


def is_dialled_again(hub: Hub) -> Callable[[], object]:
    """By a peer that it has: the older connection goes."""
    again = wire(node(7), hub.node)
    return again.run


def hears_one_byte(hub: Hub) -> Callable[[], object]:
    return lambda: hub.manager.read_event(hub.links[5].at_b, b"\0")


def hears_rubbish(hub: Hub) -> Callable[[], object]:
    return lambda: hub.links[5].feed("b", bytes(18))


def is_left(hub: Hub) -> Callable[[], object]:
    return lambda: hub.manager.socket_disconnected(hub.links[5].at_b)


def leaves(hub: Hub) -> Callable[[], object]:
    return lambda: hub.manager.disconnect_by_node_id(identity(7), "that was all")


def sends(hub: Hub) -> Callable[[], object]:
    return lambda: hub.manager.send_message(identity(7), Note(payload=b"a note"))


def has_news_for_one(hub: Hub) -> Callable[[], object]:
    return lambda: hub.talker.say(7)


def can_write_again(hub: Hub) -> Callable[[], object]:
    """To a peer that had taken nothing for a while."""
    descriptor = hub.links[5].at_b
    descriptor.room = 10
    hub.manager.send_message(identity(7), Note(payload=bytes(1000)))
    hub.manager.process_events()
    descriptor.room = 10**9
    return lambda: hub.manager.write_buffer_space_avail(descriptor)


def has_nothing_to_do(hub: Hub) -> Callable[[], object]:
    return lambda: None


DEEDS: list[Deed] = [
    hears(Ping(num_pong_bytes=8)),
    hears(Pong(ignored=b"")),
    hears(Warning(data=b"words")),
    hears(Note(payload=b"a note")),
    hears(Shutdown(channel_id=bytes(32), scriptpubkey=b"")),
    hears(GossipTimestampFilter(chain_hash=bytes(32), first_timestamp=0, timestamp_range=0)),
    is_dialled,
    is_dialled_again,
    hears_one_byte,
    hears_rubbish,
    is_left,
    leaves,
    sends,
    has_news_for_one,
    can_write_again,
    has_nothing_to_do,
]


@pytest.mark.parametrize("deed", DEEDS)
def test_what_one_peer_causes_costs_the_same_with_many(deed: Deed) -> None:
    few, many = Hub(FEW), Hub(MANY)
    assert few.operations(deed) == many.operations(deed) > 0


def test_what_is_for_all_peers_is_seen_to_grow() -> None:
    """Else the count would prove nothing: of loops in Python, and of what goes through a collection at once."""

    def tick(hub: Hub) -> Callable[[], object]:
        return hub.manager.timer_tick_occurred

    def ids(hub: Hub) -> Callable[[], object]:
        return hub.manager.get_peer_node_ids

    for deed in (tick, ids):
        few, many = Hub(FEW).operations(deed), Hub(MANY).operations(deed)
        assert many - few >= MANY - FEW


async def test_a_message_costs_the_shell_the_same_with_many(autojump_clock: trio.testing.MockClock) -> None:
    """Reader, pump, writer and timers of a nursery: a ping comes in, its pong goes out."""
    found: list[int] = []
    for size in (3, 100):
        count = Count()
        async with AsyncExitStack() as stack:
            hub = await stack.enter_async_context(open_peer_nursery(make_manager(1)))
            for number in range(2, 2 + size):
                far = await stack.enter_async_context(open_peer_nursery(make_manager(number)))
                peer, _ = await join(far, hub)
            await wait_all_tasks_blocked()
            with counted(count):
                await peer.ping(8)
        found.append(count.operations)
    # Trio runs tasks of one instant in any order, which moves the count a little; anything for each peer would add 97.
    assert abs(found[0] - found[1]) < 50 < found[0]
