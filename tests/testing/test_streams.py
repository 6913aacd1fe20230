"""Streams and listeners of a simulated network: Trio's own checks, and what else sockets do."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support.scenes import joined, read, two_hosts
from triolight.testing import Conditions, SimulatedStream
from triolight.testing.flows import BUFFER_BYTES
from triolight.testing.streams import BACKLOG


@pytest.mark.parametrize("latency", [0, 0.5])
async def test_trios_own_checks_of_streams(autojump_clock: trio.testing.MockClock, latency: float) -> None:
    network, _, _ = two_hosts(Conditions(latency=latency, jitter=latency))

    async def pair() -> tuple[SimulatedStream, SimulatedStream]:
        return await joined(network)

    async def clogged() -> tuple[SimulatedStream, SimulatedStream]:
        one, other = await joined(network)
        await one.send_all(bytes(BUFFER_BYTES))
        await other.send_all(bytes(BUFFER_BYTES))
        return one, other

    await trio.testing.check_half_closeable_stream(pair, clogged)


async def test_the_classes_are_trios(autojump_clock: trio.testing.MockClock) -> None:
    _, alice, bob = two_hosts()
    listener = await bob.listen()
    assert isinstance(listener, trio.abc.Listener)
    stream = await alice.dial("bob", 9735)
    assert isinstance(stream, trio.abc.HalfCloseableStream)
    accepted = await listener.accept()
    assert accepted.socket.getsockname() == ("bob", 9735) == stream.socket.getpeername()
    assert accepted.socket.getpeername() == stream.socket.getsockname() == ("alice", 49152)
    with pytest.raises(OSError, match="not connected"):
        listener.socket.getpeername()
    assert "alice" in repr(stream)
    assert "bob:9735" in repr(listener)
    assert "alice" in repr(alice)


async def test_the_buffer_is_bounded_and_pushes_back(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    here, there = await joined(network)
    with trio.move_on_after(100) as scope:
        await here.send_all(bytes(3 * BUFFER_BYTES))
    assert scope.cancelled_caught
    assert len(await read(there, BUFFER_BYTES)) == BUFFER_BYTES
    with trio.move_on_after(100) as scope:
        await there.receive_some()
    assert scope.cancelled_caught


async def test_every_boundary_gets_its_turn(autojump_clock: trio.testing.MockClock) -> None:
    boundaries: set[int] = set()
    for seed in range(600):
        network, _, _ = two_hosts(seed=seed)
        here, there = await joined(network)
        await here.send_all(bytes(66))
        at = 0
        while at < 66:
            at += len(await there.receive_some())
            boundaries.add(at)
    assert boundaries == set(range(1, 67))


async def test_cut_can_be_switched_off(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts(cut=False)
    here, there = await joined(network)
    for _ in range(20):
        await here.send_all(bytes(500))
    await trio.sleep(2)
    assert len(await there.receive_some()) == 10_000


async def test_half_closed_the_other_direction_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    here, there = await joined(network)
    await here.send_eof()
    await here.send_eof()
    with pytest.raises(trio.ClosedResourceError):
        await here.send_all(b"more")
    assert await there.receive_some() == b""
    await there.send_all(b"answer")
    assert await read(here, 6) == b"answer"


async def test_one_task_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    here, _ = await joined(network)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(here.receive_some)
        nursery.start_soon(here.send_all, bytes(2 * BUFFER_BYTES))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await here.receive_some()
        for call in (here.send_all(b"x"), here.send_eof(), here.wait_send_all_might_not_block()):
            with pytest.raises(trio.BusyResourceError):
                await call
        nursery.cancel_scope.cancel()
    for bad, error in ((0, ValueError), (1.5, TypeError)):
        with pytest.raises(error):
            await here.receive_some(bad)  # type: ignore[arg-type]


async def test_a_closed_listener_resets_who_waits_and_refuses_who_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    _, alice, bob = two_hosts()
    listener = await bob.listen()
    dialled: list[SimulatedStream] = []

    async def dial() -> None:
        dialled.append(await alice.dial("bob", 9735))

    async with trio.open_nursery() as nursery:
        for _ in range(BACKLOG + 20):
            nursery.start_soon(dial)
        await trio.sleep(10)
        assert len(dialled) == BACKLOG
        await listener.aclose()
        await listener.aclose()
    assert len(dialled) == BACKLOG + 20
    for stream in dialled:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
    with pytest.raises(trio.ClosedResourceError):
        await listener.accept()
    with pytest.raises(ConnectionRefusedError):
        await alice.dial("bob", 9735)
