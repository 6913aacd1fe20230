"""Peer, as users hold it: what it sends and when it waits, and what whoever waits hears of the end."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import (
    ListLogger,
    Note,
    Order,
    identity,
    join,
    make_manager,
    open_pair,
)
from tests.support.inside import links_of
from tests.support.nodes import CountsSteps
from triolight import (
    ConnectError,
    DisconnectCode,
    Level,
    Peer,
    PeerClosed,
    chains,
    open_peer_nursery,
    reasons,
)
from triolight.messages import Init, QueryChannelRange, Warning
from triolight.peer_manager import SEND_LIMIT_BYTES

TOLD = reasons.fenced()


async def test_send_after_the_end_raises_with_the_reason(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        await pair.to_far.disconnect("enough")
        for call in (pair.to_far.send(Note(payload=b"")), pair.to_far.ping()):
            with pytest.raises(PeerClosed, match="enough") as caught:
                await call
            assert caught.value.reason.code is DisconnectCode.REQUESTED
        await pair.to_far.disconnect()
        assert pair.to_far.statistics().messages_sent == 1
        # Its Init and our warning; nothing of a type that never was.
        assert [pair.to_far.counts_of(one) for one in (16, 1, 258)] == [(1, 1), (0, 1), (0, 0)]


async def test_an_oversized_message_raises_in_the_caller(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        with pytest.raises(ValueError, match="65536"):
            await pair.to_far.send(Note(payload=bytes(65534)))
        await pair.to_far.send(Note(payload=bytes(65533)))
        await pair.to_far.ping()


async def test_waiting_calls_are_woken_by_the_end(autojump_clock: trio.testing.MockClock) -> None:
    """A full queue, an outstanding ping, and whoever waits for the end: all hear of it."""
    ended: list[str] = []

    async def flood(peer: Peer) -> None:
        with pytest.raises(PeerClosed):
            while True:
                await peer.send(Note(payload=bytes(60000)))
        ended.append("send")

    async def ping(peer: Peer) -> None:
        with pytest.raises(PeerClosed):
            await peer.ping()
        ended.append("ping")

    async with open_peer_nursery(make_manager(1), ping_interval=math.inf) as near:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with open_peer_nursery(make_manager(2)) as far:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            async with trio.open_nursery() as nursery, far.subscribe(buffer_bytes=1):
                nursery.start_soon(flood, peer)
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(ping, peer)
                await trio.testing.wait_all_tasks_blocked()
                far.manager.disconnect_by_node_id(identity(1), "go away")
                reason = await peer.wait_closed()
                assert "go away" in reason.message
    assert sorted(ended) == ["ping", "send"]


async def test_who_waits_for_the_end_sleeps_through_all_that_comes_before(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Send room comes and goes a hundred times, with a sender that waits for it; the end comes once."""
    steps = CountsSteps("waits for the end")
    trio.lowlevel.add_instrument(steps)
    try:
        async with open_pair() as pair, pair.to_near.subscribe(Note) as inbox, trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(pair.to_far.wait_closed, name=steps.name)
            await trio.testing.wait_all_tasks_blocked()
            before = steps.steps

            @nursery.start_soon
            async def _() -> None:
                for _ in range(100):
                    await pair.to_far.send(Note(payload=bytes(60_000)))

            for _ in range(100):
                await inbox.__anext__()
            assert steps.steps == before
            await pair.to_far.disconnect()
    finally:
        trio.lowlevel.remove_instrument(steps)
    assert steps.steps == before + 10


async def test_disconnect_waits_for_the_last_words(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(Warning) as warnings:
        await pair.to_far.disconnect("bye")
        assert [warning.data async for warning in warnings] == [b"bye"]
        assert not links_of(pair.near)


async def test_a_send_that_is_cancelled_makes_room_for_another(autojump_clock: trio.testing.MockClock) -> None:
    """What it had reserved was never queued, so that no byte that is written would wake who waits for it."""
    async with open_pair(ping_interval=math.inf) as pair:
        for _ in range(40):

            async def gives_up() -> None:
                with trio.CancelScope() as scope:
                    scope.cancel()
                    await pair.to_far.send(*[Note(payload=bytes(60_000))] * 5)

            with trio.fail_after(60):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(gives_up)
                    nursery.start_soon(pair.to_far.send, Note(payload=b"small"))


def test_a_failed_dial_says_its_reason_and_keeps_the_init() -> None:
    error = ConnectError(reasons.duplicate(), Init())
    assert (error.reason, error.init) == (reasons.duplicate(), Init())
    assert str(error) == str(reasons.duplicate())
    assert error.where == ""
    error = ConnectError(reasons.duplicate(), None, "02ab@host:9735")
    assert str(error) == f"{reasons.duplicate()} (02ab@host:9735)"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.where, again.reason) == (str(error), error.where, error.reason)


async def test_a_request_gives_the_answer_that_matches(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        asked: list[Any] = []

        async def answer() -> None:
            async with pair.to_near.subscribe(Note) as questions:
                async for question in questions:
                    asked.append(question)
                    await pair.to_near.send(Order(payload=b"other"), Order(payload=question.payload))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            await trio.testing.wait_all_tasks_blocked()
            assert await pair.to_far.request(Note(payload=b"a"), Order) == Order(payload=b"other")
            found = await pair.to_far.request(Note(payload=b"b"), Order, lambda order: order.payload == b"b")
            assert found == Order(payload=b"b")
            with trio.move_on_after(5) as waited:
                await pair.to_far.request(Note(payload=b"c"), Order, lambda order: False)
            assert waited.cancelled_caught
            # Nobody is subscribed any more.
            assert pair.to_far.statistics().inbox_bytes == 0
            nursery.cancel_scope.cancel()
        assert asked == [Note(payload=b"a"), Note(payload=b"b"), Note(payload=b"c")]


async def test_a_request_ends_with_its_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(PeerClosed, match="REQUESTED"):
                await pair.to_far.request(Note(payload=b"a"), Order)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        await pair.to_far.disconnect()
        with pytest.raises(PeerClosed):
            await pair.to_far.request(Note(payload=b"a"), Order)
        with pytest.raises(TypeError, match="messages are sent, not str"):
            await pair.to_far.request("text", Order)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="classes of messages"):
            await pair.to_far.request(Note(payload=b"a"), str)  # type: ignore[type-var]


async def test_a_request_waits_for_room_without_stopping_its_peer(autojump_clock: trio.testing.MockClock) -> None:
    """While nothing can be sent, what the peer says is nobody's answer, and does not fill an inbox."""
    async with open_pair() as pair:
        far_reads = pair.far.manager
        links = links_of(pair.far)
        far_reads.hold_reading(next(iter(links)), True)
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            while True:
                await pair.to_far.send(Note(payload=bytes(60_000)))
        async with trio.open_nursery() as nursery:
            answers: list[Any] = []

            async def ask() -> None:
                answers.append(await pair.to_far.request(Note(payload=b"a"), Order))

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(20):
                await pair.to_near.send(Order(payload=bytes(60_000)))
            await trio.testing.wait_all_tasks_blocked()
            assert pair.to_far.statistics().reading_paused == 0
            far_reads.hold_reading(next(iter(links)), False)
            await trio.sleep(1)
            await pair.to_near.send(Order(payload=b"answer"))
        assert answers == [Order(payload=b"answer")]


@pytest.mark.parametrize(
    ("networks", "asked", "words"),
    [
        ("bitcoin", chains.BITCOIN.chain_hash, None),
        ((), chains.REGTEST.chain_hash, None),
        ("bitcoin", chains.REGTEST.chain_hash, "a chain that the peer does not know"),
        ((), chains.BITCOIN.chain_hash[::-1], "bitcoin's chain hash in display order"),
    ],
)
async def test_a_chain_that_the_peer_does_not_know_is_said_once(
    autojump_clock: trio.testing.MockClock, networks: Any, asked: bytes, words: str | None
) -> None:
    logger = ListLogger()
    near, far = make_manager(1, logger=logger), make_manager(2, networks=networks)
    async with open_pair(near, far) as pair, pair.to_near.subscribe() as inbox:
        query = QueryChannelRange(chain_hash=asked, first_blocknum=0, number_of_blocks=1)
        for _ in range(2):
            await pair.to_far.send(query)
            assert await inbox.__anext__() == query, "it goes out all the same"
        told = [record for record in logger.records if record.level is Level.WARN]
        assert [words in record.message for record in told if words] == ([True] if words else [])
        assert len(told) == (words is not None)


async def test_requests_wait_for_the_same_room_as_messages(autojump_clock: trio.testing.MockClock) -> None:
    """However many are made at once: no more is queued than for as many messages that are sent."""
    async with open_pair() as pair:
        pair.far.manager.hold_reading(next(iter(links_of(pair.far))), True)
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            while True:
                await pair.to_far.send(Note(payload=bytes(60_000)))
        before = pair.to_far.statistics().queued_bytes
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(pair.to_far.request, Note(payload=bytes(60_000)), Order)
            await trio.testing.wait_all_tasks_blocked()
            assert pair.to_far.statistics().queued_bytes == before
            pair.far.manager.hold_reading(next(iter(links_of(pair.far))), False)
            for _ in range(300):
                await trio.lowlevel.checkpoint()
                assert pair.to_far.statistics().queued_bytes <= before + 65_535
            nursery.cancel_scope.cancel()


async def test_room_is_what_send_takes_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(buffer_bytes=1):
        whole = pair.to_far.room()
        assert whole == SEND_LIMIT_BYTES
        rooms = [whole]
        with trio.move_on_after(1) as scope:
            while True:
                await pair.to_far.send(Note(payload=bytes(60000)))
                rooms.append(pair.to_far.room())
        assert scope.cancelled_caught
        assert rooms[-1] == 0
        await pair.to_far.disconnect()
        assert pair.to_far.room() == 0
        assert pair.to_far.front is None


async def test_a_peer_that_is_held_is_not_read_and_not_blamed(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1), ping_interval=5, pong_deadline=5) as near,
        open_peer_nursery(make_manager(2), ping_interval=math.inf) as far,
        near.subscribe(Note) as inbox,
    ):
        to_far, to_near = await join(near, far)
        await to_far.hold(True)
        await to_near.send(Note(payload=b"waits"))
        await trio.sleep(60)
        with pytest.raises(trio.WouldBlock):
            inbox.receive_nowait()
        assert to_far.reason is None
        await to_far.hold(False)
        assert (await anext(inbox))[1] == Note(payload=b"waits")
        await to_far.ping()
        await to_far.disconnect(TOLD)
        assert await to_far.wait_closed() == TOLD
        await to_far.hold(True)
