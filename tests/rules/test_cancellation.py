"""Whatever is cancelled, wherever: no task, socket or descriptor survives the block, and no stream is corrupted.

Each scenario runs again and again under the mock clock, cancelled one checkpoint later each time.
"""

from __future__ import annotations

import pkgutil
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, join, make_manager, open_pair, port_of
from tests.support.inside import dials_of
from tests.support.processes import open_files
from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    PeerClosed,
    open_peer_nursery,
)

POINTS = 130


async def a_life(tcp: bool) -> None:
    """Two nurseries that do a bit of everything."""
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2)) as far,
        near.events() as events,
        far.subscribe(Note) as inbox,
    ):
        if tcp:
            peer = await near.connect(NodeAddress(identity(2), "127.0.0.1", await port_of(far)))
        else:
            peer, _ = await join(near, far)
        await events.__anext__()
        await peer.send(*[Note(payload=bytes(2000)) for _ in range(50)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peer.ping)
            nursery.start_soon(far.peers[identity(1)].ping, 65531)
            for _ in range(50):
                await inbox.__anext__()
        await peer.disconnect("done")
        await events.__anext__()
        if not tcp:
            await join(near, far)


async def cancelled_after(points: int, life: Callable[[], Awaitable[object]]) -> bool:
    """Runs `life` in a scope that is cancelled after so many checkpoints. Whether it got to its end before that."""

    async def cancel(scope: trio.CancelScope) -> None:
        for _ in range(points):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    finished = False
    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            nursery.start_soon(cancel, scope)
            await life()
            finished = True
        nursery.cancel_scope.cancel()
    return finished


@pytest.mark.parametrize("tcp", [False, True])
def test_nothing_survives_a_block_that_is_cancelled_anywhere(tcp: bool) -> None:
    before = open_files()
    finished: list[bool] = []

    async def run(points: int) -> None:
        async def life() -> None:
            await a_life(tcp)

        alone = trio.lowlevel.current_statistics().tasks_living
        finished.append(await cancelled_after(points, life))
        assert trio.lowlevel.current_statistics().tasks_living == alone

    for points in range(POINTS):
        # Real sockets do not wake a clock that jumps as soon as nothing can run.
        clock = trio.testing.MockClock(autojump_threshold=0.02 if tcp else 0)
        trio.run(run, points, clock=clock)
        assert open_files() == before
    assert not finished[0]
    # The points reach into the life, not only to its first steps.
    assert len([one for one in finished if not one]) > 40


def test_nothing_survives_an_exception_anywhere() -> None:
    before = open_files()

    class Mine(Exception):
        pass

    async def run(points: int) -> None:
        async def raise_after() -> None:
            for _ in range(points):
                await trio.lowlevel.checkpoint()
            raise Mine

        alone = trio.lowlevel.current_statistics().tasks_living
        try:
            async with (
                open_peer_nursery(make_manager(1)) as near,
                open_peer_nursery(make_manager(2)) as far,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(raise_after)
                await join(near, far)
                await trio.sleep_forever()
        except* Mine:
            pass
        assert trio.lowlevel.current_statistics().tasks_living == alone

    for points in range(POINTS):
        trio.run(run, points, clock=trio.testing.MockClock(autojump_threshold=0))
    assert open_files() == before


def test_a_cancelled_send_was_not_sent_and_a_returned_one_was() -> None:
    outcomes: list[bool] = []

    async def run(points: int) -> None:
        returned: list[bytes] = []
        got: list[bytes] = []
        async with open_pair() as pair, pair.far.subscribe(Note) as inbox, trio.open_nursery() as nursery:

            async def read() -> None:
                async for _, note in inbox:
                    got.append(note.payload.rstrip(b"\0"))
                    if note.payload == b"last":
                        break

            async def life() -> None:
                for number in range(6):
                    payload = b"one%d" % number
                    await pair.to_far.send(Note(payload=payload + bytes(30_000)))
                    returned.append(payload)

            # A queue that is full, so that some of the points lie in the wait for room.
            await pair.to_far.send(*[Note(payload=b"filling%d" % number + bytes(60_000)) for number in range(10)])
            nursery.start_soon(read)
            outcomes.append(await cancelled_after(points, life))
            await pair.to_far.send(Note(payload=b"last"))
        assert got == [b"filling%d" % number for number in range(10)] + returned + [b"last"]
        assert pair.to_far.statistics().queued_bytes == 0

    for points in range(POINTS):
        trio.run(run, points, clock=trio.testing.MockClock(autojump_threshold=0))
    assert True in outcomes
    assert False in outcomes


def test_cancelling_one_of_two_dials_leaves_the_other() -> None:
    async def run(points: int) -> None:
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
            kept: list[object] = []

            async def keep() -> None:
                kept.append(await near.connect(address))

            async def life() -> None:
                await near.connect(address)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(keep)
                await cancelled_after(points, life)
            assert kept == [near.peers[identity(2)]]
            assert len(far.peers) == 1

    # Several times: real sockets and Trio's shuffled batches make the step in which both happen another one each time.
    for points in [*range(40)] * 5:
        trio.run(run, points, clock=trio.testing.MockClock(autojump_threshold=0.02))


def test_a_dial_that_nobody_waits_for_ends() -> None:
    """All callers of `connect` are cancelled: at rest there is a whole connection or none, and a new dial works."""

    async def run(points: int) -> None:
        logger = ListLogger()
        async with open_peer_nursery(make_manager(1, logger=logger)) as near, open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))

            async def life() -> None:
                await near.connect(address)

            await cancelled_after(points, life)
            await trio.sleep(1)
            assert not dials_of(near)
            with suppress(ConnectError):
                peer = await near.connect(address)
                await peer.ping()
                assert list(far.peers) == [identity(1)]
                return
            raise AssertionError(f"no connection after a cancelled dial: {logger.records}")

    for points in range(40):
        trio.run(run, points, clock=trio.testing.MockClock(autojump_threshold=0.02))


def test_cancelled_calls_leave_the_peer_whole() -> None:
    """Each asynchronous method, cancelled at each checkpoint; afterwards the peer answers and owes nothing."""

    async def run(points: int, which: int) -> None:
        async with open_pair() as pair:
            peer = pair.to_far
            calls: list[Callable[[], Awaitable[object]]] = [
                peer.ping,
                lambda: peer.ping(65531),
                lambda: peer.send(Note(payload=bytes(65_000))),
                peer.wait_closed,
            ]
            await cancelled_after(points, calls[which])
            await peer.ping()
            statistics = peer.statistics()
            assert statistics.pings_outstanding == 0
            assert statistics.queued_bytes == 0

    for which in range(4):
        for points in range(12):
            trio.run(run, points, which, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_cancelled_attach_ends_the_connection() -> None:
    async def run(points: int) -> None:
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            ours, theirs = trio.testing.lockstep_stream_pair()
            ended: list[object] = []

            async def accept() -> None:
                try:
                    peer = await far.attach(theirs)
                    ended.append(await peer.wait_closed())
                except (ConnectError, PeerClosed) as error:
                    ended.append(error.reason)

            async def life() -> None:
                await near.attach(ours, identity(2))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                if await cancelled_after(points, life):
                    near.manager.disconnect_by_node_id(identity(2))
            assert len(ended) == 1
            assert not near.peers

    for points in range(40):
        trio.run(run, points, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize(
    "place",
    [
        "descriptor.descriptor_of",
        "nursery.Link",
        "reasons.shutdown",
        "nursery.Block._run_stream",
        "shell.watch.Timers.set",
        "descriptor.StreamDescriptor.receive",
        "descriptor.StreamDescriptor.write_out",
        "descriptor.StreamDescriptor.close",
        "descriptor.StreamDescriptor.disconnect_socket",
        "shell.inboxes.Shelf.deliver",
        "peer_manager.PeerManager.read_event",
        "peer_manager.PeerManager.process_events",
        "peer_manager.PeerManager.disconnect_all_peers",
    ],
)
def test_ctrl_c_inside_any_task_of_ours(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program hears of it in its own code. No task of ours is torn apart, and the goodbyes go out."""
    original: Callable[..., Any] = pkgutil.resolve_name(f"triolight.{place}")
    pressed: list[str] = []
    heard: list[DisconnectReason] = []

    def pressing(*args: Any, **options: Any) -> Any:
        if not pressed:
            pressed.append(place)
            signal.raise_signal(signal.SIGINT)
        return original(*args, **options)

    async def far_end(port: int, number: int, connected: trio.Event) -> None:
        with trio.CancelScope(shield=True), suppress(ConnectError):
            async with open_peer_nursery(make_manager(number)) as far:
                peer = await far.connect(NodeAddress(identity(1), "127.0.0.1", port))
                connected.set()
                with suppress(PeerClosed):
                    await peer.send(
                        Note(payload=bytes(100)), Note(payload=bytes(5000))
                    )  # more than goes without a writer
                heard.append(await peer.wait_closed())

    async def main() -> None:
        async with (
            trio.open_nursery() as nursery,
            open_peer_nursery(make_manager(1)) as near,
            near.subscribe(Note, buffer_bytes=1),
        ):
            port = await port_of(near)
            first, second = trio.Event(), trio.Event()
            nursery.start_soon(far_end, port, 2, first)
            await first.wait()
            monkeypatch.setattr(f"triolight.{place}", pressing)
            nursery.start_soon(far_end, port, 3, second)
            await second.wait()
            await near.peers[identity(2)].disconnect()

    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True, allow_unwrapped=True):
        trio.run(main)
    assert pressed
    assert heard
    for reason in heard:
        assert reason.code is DisconnectCode.PEER_CLOSED
        assert "shutting down" in reason.message or "on request" in reason.message
