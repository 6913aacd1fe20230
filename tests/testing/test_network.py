"""SimulatedNetwork: it breaks as networks do, at the times that were asked for, and the shell cannot tell."""

from __future__ import annotations

import errno
import math
import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, make_manager
from tests.support.inside import timers_on
from tests.support.scenes import joined, read, two_hosts
from triolight import (
    ConnectError,
    DisconnectCode,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    open_peer_nursery,
)
from triolight.address import descriptor_of
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork, SimulatedStream, Transmission, run_seeded
from triolight.testing.network import CONNECT_SECONDS


async def test_dials_fail_as_sockets_do(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    with pytest.raises(socket.gaierror):
        await alice.dial("nobody", 9735)
    with pytest.raises(OSError, match="refused") as caught:
        await alice.dial("bob", 9735)
    assert caught.value.errno == errno.ECONNREFUSED
    network.vanish(bob)
    began = trio.current_time()
    with pytest.raises(OSError, match="timed out") as caught:
        await alice.dial("bob", 9735)
    assert caught.value.errno == errno.ETIMEDOUT
    assert trio.current_time() - began == CONNECT_SECONDS
    network.restore(bob)
    listener = await bob.listen()
    with pytest.raises(OSError, match="in use"):
        await bob.listen()
    async with trio.open_nursery() as nursery:
        network.stall(alice, bob)
        nursery.start_soon(alice.dial, "bob", 9735)
        await trio.sleep(10)
        network.resume(alice, bob)
        await listener.accept()
        assert trio.current_time() - began == CONNECT_SECONDS + 11
    with pytest.raises(ValueError, match="nobody"):
        network.vanish("nobody")
    assert network.host().address == "10.0.0.3"
    assert (await bob.listen(0)).socket.getsockname()[1] >= 49152


async def test_a_dial_that_is_cancelled_is_a_reset_for_the_listener(autojump_clock: trio.testing.MockClock) -> None:
    _, alice, bob = two_hosts()
    listener = await bob.listen()
    with trio.move_on_after(1.5):
        await alice.dial("bob", 9735)
    accepted = await listener.accept()
    with pytest.raises(trio.BrokenResourceError):
        await accepted.receive_some()


async def test_a_stall_is_one_way(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    here, there = await joined(network)
    await here.send_all(b"early")
    await trio.sleep(0.5)
    network.stall(alice, bob)
    await there.send_all(b"fine")
    assert await read(here, 4) == b"fine"
    with trio.move_on_after(1000) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    await here.send_all(b"late")
    resumed = trio.current_time()
    network.resume(alice, bob)
    assert await read(there, 9) == b"earlylate"
    assert trio.current_time() == resumed + 1


async def test_reset_breaks_both_ends_at_once(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    here, there = await joined(network)
    caught: list[str] = []

    async def wait(stream: SimulatedStream) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        caught.append(repr(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, here)
        nursery.start_soon(wait, there)
        await trio.sleep(5)
        network.reset(bob, alice)
    assert len(caught) == 2
    assert trio.current_time() == 5


async def test_who_vanishes_says_nothing_and_knows_nothing_when_it_is_back(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, _, bob = two_hosts()
    here, there = await joined(network)
    await there.send_all(b"never arrives")
    network.vanish(bob)
    with pytest.raises(trio.BrokenResourceError) as caught:
        await there.receive_some()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENETDOWN
    await there.aclose()
    await here.send_all(b"anyone there?")
    with trio.move_on_after(3600) as scope:
        await here.receive_some()
    assert scope.cancelled_caught
    restored = trio.current_time()
    network.restore(bob)
    with pytest.raises(trio.BrokenResourceError):
        await here.receive_some()
    assert trio.current_time() == restored + 2


async def test_connections_are_lost_at_random(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts(Conditions(mean_lifetime=100))
    lives: list[float] = []
    for _ in range(200):
        here, there = await joined(network)
        began = trio.current_time()
        for stream in (here, there):
            with pytest.raises(trio.BrokenResourceError):
                await stream.receive_some()
        lives.append(trio.current_time() - began)
        await here.aclose()
        await there.aclose()
    assert 70 < sum(lives) / len(lives) < 130


Both = tuple[SimulatedStream, SimulatedStream]


async def both_close(_: SimulatedNetwork, ends: Both) -> None:
    for end in ends:
        await end.aclose()


async def one_closes_with_bytes_on_their_way(_: SimulatedNetwork, ends: Both) -> None:
    await ends[0].send_all(b"late")
    await ends[1].send_all(b"late")
    await both_close(_, ends)


async def one_closes_unread(_: SimulatedNetwork, ends: Both) -> None:
    """The other side waits for bytes, and sees a reset."""
    await ends[0].send_all(b"nobody reads it")
    await trio.sleep(1)
    await ends[1].aclose()
    with pytest.raises(trio.BrokenResourceError):
        await ends[0].receive_some()


async def both_are_reset(network: SimulatedNetwork, _: Both) -> None:
    network.reset("alice", "bob")


async def one_vanishes(network: SimulatedNetwork, ends: Both) -> None:
    network.vanish("bob")
    await ends[0].aclose()


async def nobody_is_asked(_: SimulatedNetwork, ends: Both) -> None:
    with pytest.raises(trio.BrokenResourceError):
        await ends[0].receive_some()
    assert trio.current_time() > 1000


@pytest.mark.parametrize(
    "ends_by",
    [
        both_close,
        one_closes_with_bytes_on_their_way,
        one_closes_unread,
        both_are_reset,
        one_vanishes,
        nobody_is_asked,
    ],
    ids=lambda one: one.__name__,
)
async def test_an_ended_connection_leaves_no_timer(
    ends_by: Callable[[SimulatedNetwork, Both], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    network, _, _ = two_hosts(Conditions(latency=1, mean_lifetime=10_000_000))
    await ends_by(network, await joined(network))
    assert timers_on(network) == (0, 0)
    # Nor does anything wake for it.
    began = trio.current_time()
    with trio.move_on_after(100_000_000):
        await trio.sleep_forever()
    assert trio.current_time() == began + 100_000_000


async def test_what_has_ended_takes_no_more_of_the_heap_than_what_lives(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts(Conditions(latency=1, mean_lifetime=10_000_000))
    living = [await joined(network) for _ in range(10)]
    longest = 0
    for _ in range(500):
        await both_close(network, await joined(network))
        still, heap = timers_on(network)
        assert still == 2 * len(living)
        longest = max(longest, heap)
    assert longest <= 2 * still + 2
    for ends in living:
        await both_close(network, ends)
    assert timers_on(network) == (0, 0)


async def dialled(near: PeerNursery, far: PeerNursery, host: SimulatedHost) -> Peer:
    await far.listen_on(await host.listen())
    return await near.connect(NodeAddress(far.manager.our_node_id, host.address, 9735))


async def test_the_shell_cannot_tell(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts(Conditions(latency=0.1))
    assert "2 hosts" in repr(network)
    async with (
        open_peer_nursery(make_manager(1), dial=alice.dial) as near,
        open_peer_nursery(make_manager(2), dial=bob.dial) as far,
        far.events() as events,
        far.subscribe(Note) as notes,
    ):
        peer = await dialled(near, far, bob)
        assert trio.current_time() == pytest.approx(0.6)  # pyright: ignore[reportUnknownMemberType]
        connected = await anext(events)
        assert isinstance(connected, PeerConnected)
        assert connected.peer.address == descriptor_of("alice", 49152)
        await peer.send(*[Note(payload=bytes(60_000)) for _ in range(20)])
        for _ in range(20):
            await anext(notes)
        assert await peer.ping() == pytest.approx(0.2)  # pyright: ignore[reportUnknownMemberType]
        await peer.disconnect("that was all")
        ended = await anext(events)
        assert isinstance(ended, PeerDisconnected)
        assert "that was all" in ended.reason.message
        with pytest.raises(ConnectError) as caught:
            await near.connect(NodeAddress(identity(2), "bob", 1))
        assert caught.value.reason.code is DisconnectCode.TCP_FAILED
        with pytest.raises(ConnectError) as caught:
            await near.connect(NodeAddress(identity(2), "nobody", 1))
        assert caught.value.reason.code is DisconnectCode.RESOLVE_FAILED


async def test_half_open_death_is_found_by_the_keepalive(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts(Conditions(latency=0.1))
    logger = ListLogger()
    async with (
        open_peer_nursery(make_manager(1, logger=logger), dial=alice.dial) as near,
        open_peer_nursery(make_manager(2), ping_interval=math.inf) as far,
    ):
        peer = await dialled(near, far, bob)
        await trio.sleep(100)
        assert near.peers
        began = trio.current_time()
        network.vanish(bob)
        reason = await peer.wait_closed()
        assert reason.code is DisconnectCode.PING_TIMEOUT
        assert trio.current_time() - began <= 60
        network.restore(bob)
        assert (await near.connect(NodeAddress(identity(2), "bob", 9735))).reason is None


async def test_a_short_partition_costs_no_connection(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts(Conditions(latency=0.1))
    async with (
        open_peer_nursery(make_manager(1), dial=alice.dial) as near,
        open_peer_nursery(make_manager(2)) as far,
    ):
        peer = await dialled(near, far, bob)
        network.partition([bob])
        with trio.move_on_after(20) as scope:
            await peer.ping()
        assert scope.cancelled_caught
        network.heal()
        await peer.ping()
        assert peer.reason is None


async def test_listeners_given_too_late_are_closed(autojump_clock: trio.testing.MockClock) -> None:
    _, alice, bob = two_hosts()
    async with open_peer_nursery(make_manager(1)) as peers:
        pass
    with pytest.raises(PeerClosed):
        await peers.listen_on(await bob.listen())
    with pytest.raises(ConnectionRefusedError):
        await alice.dial("bob", 9735)


async def test_a_dial_s_answer_does_not_cross_a_partition(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    await bob.listen()
    times: list[float] = []

    async def dial() -> None:
        await alice.dial("bob", 9735)
        times.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dial)
        await trio.sleep(1.5)  # the answer is on its way
        network.partition([bob])
        await trio.sleep(10)
        assert times == []
        network.heal()
    assert times == [12.5]


def test_the_transcript_says_who_sent_what_to_whom_and_when() -> None:
    async def talk(words: bytes, wait: float) -> tuple[str, list[Transmission]]:
        sent: list[Transmission] = []
        network = SimulatedNetwork(3, Conditions(latency=math.pi), on_sent=sent.append)
        network.host("alice"), network.host("bob")
        here, there = network.stream_pair("alice", "bob")
        await trio.sleep(wait)
        await here.send_all(words)
        await here.aclose()
        await there.receive_some()
        return network.transcript(), sent

    one, sent = run_seeded(1, talk, b"hello", 1)
    assert sent == [
        Transmission(1.0, ("alice", 49152), ("bob", 49152), b"hello"),
        Transmission(1.0, ("alice", 49152), ("bob", 49152), b""),
    ]
    assert run_seeded(2, talk, b"hello", 1)[0] == one
    assert run_seeded(1, talk, b"hellO", 1)[0] != one
    assert run_seeded(1, talk, b"hello", 2)[0] != one
