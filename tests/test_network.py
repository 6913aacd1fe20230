"""SimulatedNetwork: it behaves as TCP does, and breaks as networks do, at the times that were asked for."""

from __future__ import annotations

import errno
import math
import socket

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, make_manager
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
from triolight.testing import Conditions, SimulatedHost, SimulatedNetwork, SimulatedStream, run_seeded
from triolight.testing.flows import BUFFER_BYTES
from triolight.testing.network import CONNECT_SECONDS
from triolight.testing.streams import BACKLOG

ONE_SECOND = Conditions(latency=1)


def two_hosts(
    conditions: Conditions = ONE_SECOND, seed: int = 1, cut: bool = True
) -> tuple[SimulatedNetwork, SimulatedHost, SimulatedHost]:
    network = SimulatedNetwork(seed, conditions, cut=cut)
    return network, network.host("alice"), network.host("bob")


async def joined(network: SimulatedNetwork) -> tuple[SimulatedStream, SimulatedStream]:
    return network.stream_pair("alice", "bob")


async def read(stream: SimulatedStream, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = await stream.receive_some(count - len(data))
        assert part, "the stream ended"
        data += part
    return data


# -- as TCP ------------------------------------------------------------------------------------------------------------


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


async def test_nothing_is_faster_than_the_latency(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts(Conditions(latency=1))
    listener = await bob.listen()
    began = trio.current_time()
    here = await alice.dial("bob", 9735)
    assert trio.current_time() == began + 2
    there = await listener.accept()
    await here.send_all(b"x")
    assert await there.receive_some() == b"x"
    assert trio.current_time() == began + 3
    network.link(alice, bob, Conditions(latency=5), back=False)
    await here.send_all(b"y")
    await there.send_all(b"z")
    assert await here.receive_some() == b"z"
    assert trio.current_time() == began + 4
    assert await there.receive_some() == b"y"
    assert trio.current_time() == began + 8


async def test_jitter_keeps_the_order_and_the_bounds(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts(Conditions(latency=1, jitter=1))
    here, there = await joined(network)
    for number in range(50):
        await here.send_all(bytes([number]))
    times: set[float] = set()
    for number in range(50):
        assert await there.receive_some(1) == bytes([number])
        times.add(trio.current_time())
    assert len(times) > 1
    assert 1 <= min(times) <= max(times) <= 2


async def test_bandwidth_is_shared_by_the_connections_of_a_link(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts(Conditions(latency=0, bandwidth=1000))
    one, other = await joined(network), await joined(network)
    for here, _ in (one, other):
        await here.send_all(bytes(10_000))
    for _, there in (one, other):
        await read(there, 10_000)
    assert trio.current_time() == pytest.approx(20)  # pyright: ignore[reportUnknownMemberType]


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


async def test_closing_sends_fin_behind_what_was_sent(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    here, there = await joined(network)
    await here.send_all(b"last words")
    await here.aclose()
    assert await read(there, 10) == b"last words"
    assert await there.receive_some() == b""
    assert await there.receive_some() == b""
    # What is sent to a closed socket is answered with a reset, a round trip later.
    await there.send_all(b"?")
    with pytest.raises(trio.BrokenResourceError, match="reset"):
        await there.receive_some()
        await trio.sleep(2.5)
        await there.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await there.send_all(b"?")


async def test_closing_with_unread_input_is_a_reset_that_eats_the_words(
    autojump_clock: trio.testing.MockClock,
) -> None:
    network, _, _ = two_hosts()
    here, there = await joined(network)
    await there.send_all(b"you will not read this")
    await trio.sleep(2)
    await here.send_all(b"last words")
    await here.aclose()
    with pytest.raises(trio.BrokenResourceError) as caught:
        await there.receive_some()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ECONNRESET


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


# -- what goes wrong ---------------------------------------------------------------------------------------------------


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


async def test_what_had_arrived_before_a_partition_is_there(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    here, there = await joined(network)
    await here.send_all(b"before")
    await trio.sleep(1)
    network.partition(["alice"])
    await here.send_all(b"after")
    assert await read(there, 6) == b"before"
    with trio.move_on_after(10) as scope:
        await there.receive_some()
    assert scope.cancelled_caught
    network.heal()
    assert await read(there, 5) == b"after"


async def test_fin_and_rst_wait_for_the_partition_too(autojump_clock: trio.testing.MockClock) -> None:
    network, _, _ = two_hosts()
    gentle, rude = await joined(network), await joined(network)
    await rude[1].send_all(b"unread")
    await trio.sleep(2)
    network.partition(["alice"])
    await gentle[0].aclose()
    await rude[0].aclose()
    with trio.move_on_after(10) as scope:
        await rude[1].receive_some()
    assert scope.cancelled_caught
    network.heal()
    assert await gentle[1].receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await rude[1].receive_some()


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


async def test_nothing_is_left_of_connections_that_are_over(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    listener = await bob.listen()
    for _ in range(10):
        here = await alice.dial("bob", 9735)
        there = await listener.accept()
        await here.send_all(b"x")
        await there.aclose()
        await here.aclose()
    assert not network._direction("alice", "bob").flows
    assert not network._direction("bob", "alice").flows


# -- under the shell ---------------------------------------------------------------------------------------------------


async def dialled(near: PeerNursery, far: PeerNursery, host: SimulatedHost) -> Peer:
    await far.listen_on(await host.listen())
    return await near.connect(NodeAddress(far.manager.our_node_id, host.address, 9735))


def test_a_read_that_is_cancelled_when_something_arrives() -> None:
    """In the same step, in either order: its task is woken once."""

    async def main() -> None:
        network, _, _ = two_hosts()
        ours, theirs = await joined(network)
        await ours.send_all(b"x")
        with trio.move_on_at(1):
            await theirs.receive_some()
        await ours.send_eof()
        await trio.sleep(5)

    for seed in range(20):
        run_seeded(seed, main)


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


# -- what is on its way ------------------------------------------------------------------------------------------------


async def test_what_has_arrived_outlives_the_host_that_sent_it(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, _ = two_hosts()
    ours, theirs = await joined(network)
    await ours.send_all(b"hello")
    await ours.send_eof()
    await trio.sleep(5)
    before = trio.current_time()
    network.vanish(alice)
    assert await read(theirs, 5) == b"hello"
    assert await theirs.receive_some(1) == b""
    assert trio.current_time() == before


async def test_what_does_not_travel_takes_no_room_from_others(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts(Conditions(latency=0, bandwidth=1000))
    first, _ = await joined(network)
    await first.send_all(bytes(60_000))
    network.reset(alice, bob)
    ours, theirs = await joined(network)
    began = trio.current_time()
    await ours.send_all(b"x")
    await read(theirs, 1)
    assert trio.current_time() - began < 1
    # Nor does what has to be sent again after a partition wait for what was sent before it.
    await ours.send_all(bytes(50_000))
    await trio.sleep(1)
    network.partition([alice])
    await trio.sleep(1)
    network.heal()
    began = trio.current_time()
    await read(theirs, 50_000)
    assert trio.current_time() - began <= 50.1


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


async def test_a_fin_to_a_host_that_has_forgotten_is_answered(autojump_clock: trio.testing.MockClock) -> None:
    network, _, bob = two_hosts()
    ours, _ = await joined(network)
    network.vanish(bob)
    network.restore(bob)
    await ours.send_eof()
    with pytest.raises(trio.BrokenResourceError):
        await ours.receive_some(1)


@pytest.mark.parametrize(
    "wrong",
    [{"latency": -1}, {"latency": math.nan}, {"jitter": -1}, {"bandwidth": 0}, {"bandwidth": -5}, {"mean_lifetime": 0}],
)
def test_conditions_that_no_link_has(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions(**wrong)
