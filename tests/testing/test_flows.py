"""What TCP keeps: when bytes arrive, what FIN and RST do to them, and what is left of connections."""

from __future__ import annotations

import errno
import math

import pytest
import trio
import trio.testing

from tests.support.inside import flows_between
from tests.support.scenes import joined, read, two_hosts
from triolight.testing import Conditions


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


async def test_nothing_is_left_of_connections_that_are_over(autojump_clock: trio.testing.MockClock) -> None:
    network, alice, bob = two_hosts()
    listener = await bob.listen()
    for _ in range(10):
        here = await alice.dial("bob", 9735)
        there = await listener.accept()
        await here.send_all(b"x")
        await there.aclose()
        await here.aclose()
    assert not flows_between(network, "alice", "bob")
    assert not flows_between(network, "bob", "alice")


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
