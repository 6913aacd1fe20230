"""Ctrl-C wherever it lands in a call: the program hears of it, in its own code; nothing is torn apart or left open.

A signal comes between any two steps of whatever task runs. Raised inside `trio.Event.wait` or `Nursery.start_soon` it
breaks the whole run, so what a program calls of ours is protected: Trio raises it at the main task's next checkpoint.
"""

from __future__ import annotations

import itertools
import math
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, TypeAlias

import dns.flags
import dns.message
import pytest
import trio
import trio.testing

import triolight
from tests.support import Note, identity, make_manager, open_pair
from tests.support.dns_server import open_dns
from tests.support.inside import readers_of
from tests.support.processes import open_files
from tests.support.socks5 import LOOPBACK, Socks5Server, listening, open_server
from triolight import ConnectError, KeepState, NodeAddress, open_peer_nursery
from triolight.proxy import Proxy, open_through
from triolight.seeds import seed_nodes
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork
from triolight.websocket import WebSocketStream, accept_websocket, connect_websocket, dial_websocket

WATCHED = {
    str(path)
    for package in (triolight, trio)
    for path in Path(str(package.__file__)).parent.rglob("*.py")
    if package is trio or "import trio\n" in path.read_text()
}
"""Trio, and what of ours waits, starts tasks and holds streams. The rest only computes, for one of these."""


class CtrlC:
    """Pressed at one line that the task that enters this runs in the watched files, counted from 1.

    A line counts when it is run the first time and the second: from then on it is one of a loop.
    """

    def __init__(self, at: int) -> None:
        self._left = at
        self._seen: Counter[tuple[str, int]] = Counter()
        self._task: trio.lowlevel.Task | None = None
        self.pressed = ""
        """Where."""

    def __enter__(self) -> None:
        self._task = trio.lowlevel.current_task()
        self._before = sys.gettrace()
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(self._before)

    def _trace(self, frame: FrameType, event: str, _: object) -> Any:
        if self.pressed or frame.f_code.co_filename not in WATCHED:
            return None
        if frame.f_code.co_name == "__del__":
            # Whenever the collector comes by. Python itself throws away what is raised there: nobody could hear of it.
            return None
        try:
            if trio.lowlevel.current_task() is not self._task:
                return None
        except RuntimeError:  # Trio is between two tasks
            return None
        if event == "line":
            line = frame.f_code.co_filename, frame.f_lineno
            self._seen[line] += 1
            self._left -= self._seen[line] <= 2
            if not self._left:
                self.pressed = f"{line[0]}, line {line[1]}, in {frame.f_code.co_qualname}"
                sys.settrace(self._before)  # what is left of the run need not be slow
                signal.raise_signal(signal.SIGINT)
        return self._trace


class IdleClock(trio.abc.Clock):
    """Jumps to the next deadline when nothing can run. Without one nothing will ever happen: the run ends with that."""

    ROUNDS = 3
    """What a signal leaves for Trio to do is found when it looks for news the next time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._rounds = 0

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        self._rounds += 1
        if self._rounds >= self.ROUNDS:
            if deadline == math.inf:
                raise AssertionError("nothing will ever happen any more")
            self._rounds = 0
            self._now = max(self._now, deadline)
        return 0


def hosts() -> tuple[SimulatedHost, SimulatedHost]:
    network = SimulatedNetwork(1, Conditions(latency=0.01))
    return network.host(), network.host()


Call: TypeAlias = Callable[[], Awaitable[object]]
Press: TypeAlias = Callable[[Call], Awaitable[None]]
"""Makes a call in which Ctrl-C is pressed, and sees to it that the program hears of it."""
Scenario: TypeAlias = Callable[[Press], Awaitable[None]]
IN_MAIN, IDS = [False, True], ["a task", "the main task"]
"""Which task makes the call. A signal that waits is for the main task."""


def at_each_line(scenario: Scenario, in_main: bool, clock: type[trio.abc.Clock] | None) -> int:
    """Runs a scenario for every second line of its call, those of a task or those of the main one, and says how many
    there are."""
    before = open_files()
    for at in itertools.count(1 + in_main, 2):
        ctrl_c = CtrlC(at)

        async def press(call: Call, ctrl_c: CtrlC = ctrl_c) -> None:
            async def pressing() -> None:
                with ctrl_c:
                    await call()

            heard = False
            try:
                if in_main:
                    await pressing()
                else:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(pressing)
                await trio.lowlevel.checkpoint()
            except* KeyboardInterrupt:
                heard = True
            assert heard is bool(ctrl_c.pressed)

        try:
            trio.run(scenario, press, clock=None if clock is None else clock())
            assert open_files() == before
        except BaseException as error:
            error.add_note(f"Ctrl-C at {ctrl_c.pressed}")
            raise
        if not ctrl_c.pressed:
            return at - 1
    raise AssertionError  # never: the lines of a call have an end


# Calls of a peer nursery and its peers.


async def entering_and_leaving_the_block(press: Press) -> None:
    # Made before: it waits for nothing, and all that it does would be traced for each line of it.
    manager = make_manager(1)

    async def call() -> None:
        async with open_peer_nursery(manager):
            await trio.lowlevel.checkpoint()

    await press(call)


async def connect(press: Press) -> None:
    near_host, far_host = hosts()
    async with (
        open_peer_nursery(make_manager(1), dial=near_host.dial) as near,
        open_peer_nursery(make_manager(2)) as far,
    ):
        await far.listen_on(await far_host.listen())
        address = NodeAddress(identity(2), far_host.address, 9735)
        await press(lambda: near.connect(address))
        # Whatever has become of that one, this one works.
        with trio.fail_after(10):
            peer = await near.connect(address)
            await peer.ping()


async def attach(press: Press) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2)) as far,
        trio.open_nursery() as nursery,
    ):

        async def accept() -> None:
            with suppress(ConnectError):
                await far.attach(theirs)

        nursery.start_soon(accept)
        their_node_id = identity(2)
        await press(lambda: near.attach(ours, their_node_id))
    for stream in (ours, theirs):
        await assert_closed(stream)


async def listen(press: Press) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        await press(lambda: near.listen(0, host=LOOPBACK))


async def keep(press: Press) -> None:
    near_host, far_host = hosts()
    async with (
        open_peer_nursery(make_manager(1), dial=near_host.dial) as near,
        open_peer_nursery(make_manager(2)) as far,
    ):
        await far.listen_on(await far_host.listen())
        address = NodeAddress(identity(2), far_host.address, 9735)

        async def call() -> None:
            kept = near.keep(address)
            await kept.wait_changed()
            await kept.wait_connected()
            kept.add([NodeAddress(identity(2), "10.9.9.9", 9735)])
            kept.stop()

        await press(call)
        with trio.fail_after(10):
            kept = near.keep(address)
            assert await kept.wait_connected() is near.peers[identity(2)]
            assert kept.state is KeepState.CONNECTED


async def send(press: Press) -> None:
    async with open_pair() as pair:
        # A queue that is full, so that it waits for room.
        await pair.to_far.send(*[Note(payload=bytes(60_000)) for _ in range(10)])
        await press(lambda: pair.to_far.send(Note(payload=bytes(100))))
        await pair.to_far.ping()
        assert pair.to_far.statistics().queued_bytes == 0


async def ping(press: Press) -> None:
    async with open_pair() as pair:
        await press(pair.to_far.ping)
        await pair.to_far.ping()
        assert pair.to_far.statistics().pings_outstanding == 0


async def disconnect(press: Press) -> None:
    async with open_pair() as pair:
        await press(pair.to_far.disconnect)


async def wait_closed(press: Press) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def later() -> None:
            await trio.sleep(1)
            await pair.to_near.disconnect()

        nursery.start_soon(later)
        await press(pair.to_far.wait_closed)


async def reading_messages(press: Press) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def call() -> None:
            async with pair.far.subscribe(Note, buffer_bytes=1) as inbox:
                for _ in range(2):
                    await inbox.__anext__()

        async def later() -> None:
            await trio.sleep(1)
            await pair.to_far.send(Note(payload=bytes(100)), Note(payload=bytes(100)))

        nursery.start_soon(later)
        await press(call)
        await trio.sleep(2)
        # Nobody reads any more, and nothing waits for somebody who does.
        await pair.to_far.send(Note(payload=bytes(100)))
        await pair.to_far.ping()
        assert pair.far.statistics().inbox_bytes == 0


async def reading_events(press: Press) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def call() -> None:
            async with pair.near.events() as events:
                await events.__anext__()

        async def later() -> None:
            await trio.sleep(1)
            await pair.to_near.disconnect()

        nursery.start_soon(later)
        await press(call)
        assert not readers_of(pair.near)


CALLS = [
    entering_and_leaving_the_block,
    connect,
    attach,
    listen,
    keep,
    send,
    ping,
    disconnect,
    wait_closed,
    reading_messages,
    reading_events,
]


@pytest.mark.parametrize("in_main", IN_MAIN, ids=IDS)
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_ctrl_c_at_each_line_of_a_call(call: Scenario, in_main: bool) -> None:
    assert at_each_line(call, in_main, IdleClock) > 10


# Streams that somebody has to close.


async def dialling_a_simulated_host(press: Press) -> None:
    near, far = hosts()
    listener = await far.listen()
    await press(lambda: near.dial(far.address, 9735))
    await listener.aclose()


async def dialling_a_websocket(press: Press) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    given: list[trio.abc.Stream] = []

    async def dial(host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        given.append(ours)
        return ours

    async def call() -> None:
        websocket = await dial_websocket("a.example", 80, dial=dial)
        await websocket.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_side, lambda: accept_websocket(theirs))
        await press(call)
        nursery.cancel_scope.cancel()
    for stream in given:
        await assert_closed(stream)


async def accepting_a_websocket(press: Press) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def call() -> None:
        websocket = await accept_websocket(ours)
        await websocket.aclose()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other_side, lambda: connect_websocket(theirs, "a.example"))
        await press(call)
        nursery.cancel_scope.cancel()
    await assert_closed(ours)


async def other_side(shake_hands: Callable[[], Awaitable[WebSocketStream]]) -> None:
    with suppress(OSError, trio.BrokenResourceError):
        websocket = await shake_hands()
        async for _ in websocket:
            pass


async def assert_closed(stream: trio.abc.ReceiveStream) -> None:
    with pytest.raises(trio.ClosedResourceError):
        await stream.receive_some(1)


async def dialling_through_a_proxy(press: Press) -> None:
    opened: list[trio.SocketStream] = []
    async with (
        listening(trio.SocketStream.receive_some) as port,
        open_server(Socks5Server({("a.example", 9735): port})) as server,
    ):

        async def call() -> None:
            opened.append(await open_through(Proxy(LOOPBACK, server.port), "a.example", 9735))

        await press(call)
        for stream in opened:
            await stream.aclose()


async def asking_a_seed(press: Press) -> None:
    def answer(query: dns.message.Message, tcp: bool) -> dns.message.Message:
        # By UDP it is cut off, so that it is asked again by TCP.
        made = dns.message.make_response(query)
        made.flags |= 0 if tcp else dns.flags.TC
        return made

    async with open_dns(answer) as server:
        await press(lambda: seed_nodes("seed.example", random_data=bytes(32), resolvers=[server.address]))


@pytest.mark.parametrize("in_main", IN_MAIN, ids=IDS)
@pytest.mark.parametrize(
    "call", [dialling_a_simulated_host, dialling_a_websocket, accepting_a_websocket], ids=lambda call: call.__name__
)
def test_ctrl_c_at_each_line_leaves_no_stream_open(call: Scenario, in_main: bool) -> None:
    assert at_each_line(call, in_main, IdleClock) > 10


@pytest.mark.parametrize(
    ("call", "in_main"),
    # Not a seed in the main task: dnspython leaves its socket open when a checkpoint raises a KeyboardInterrupt.
    [(dialling_through_a_proxy, False), (dialling_through_a_proxy, True), (asking_a_seed, False)],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_ctrl_c_at_each_line_leaves_no_socket_open(call: Scenario, in_main: bool) -> None:
    assert at_each_line(call, in_main, None) > 20


class OneStream(trio.abc.Listener[trio.abc.Stream]):
    """Accepts one connection. Ctrl-C is pressed as its task begins, or as the connection has come."""

    def __init__(self, stream: trio.abc.Stream, pressed: str) -> None:
        self._streams = [stream]
        self._pressed = pressed
        self.closed = False

    async def __aenter__(self) -> OneStream:
        if self._pressed == "as its task begins":
            signal.raise_signal(signal.SIGINT)
        return self

    async def accept(self) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        if not self._streams:
            await trio.sleep_forever()
        if self._pressed == "as a connection comes":
            signal.raise_signal(signal.SIGINT)
        return self._streams.pop()

    async def aclose(self) -> None:
        self.closed = True
        for stream in self._streams:
            await stream.aclose()
        await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("pressed", ["as its task begins", "as a connection comes"])
def test_ctrl_c_in_the_task_of_a_listener_leaves_nothing_open(pressed: str) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    listener = OneStream(theirs, pressed)

    async def main() -> None:
        async with open_peer_nursery(make_manager(1)) as near:
            await near.listen_on(listener)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=IdleClock())
    assert listener.closed
    trio.run(assert_closed, theirs)
    trio.run(ours.aclose)
