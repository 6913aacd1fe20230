"""How a node is asked: each wait has one patience, and who is not heard is accused of nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing

from tests.support import identity
from tests.support.scenes import converse, findings, greet, played
from triolight import NodeAddress
from triolight.messages import Init, Ping, Pong, UnknownMessage
from triolight.testing import Deed, ScriptedPeer, ScriptFailed, Verdict, check_peer
from triolight.testing.questions import CHECKS, THOROUGH


async def deaf(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    await trio.sleep_forever()


async def dribbling(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    await peer.do(Deed("dribble", Pong(ignored=bytes(65_000)).encode(), 9))


async def chattering(peer: ScriptedPeer) -> None:
    await peer.send(Init())
    while True:
        await peer.send(UnknownMessage(50_001, b""))
        await trio.sleep(9.5)


@pytest.mark.parametrize("behaviour", [deaf, dribbling, chattering])
async def test_no_node_holds_a_question_up(
    behaviour: Callable[[ScriptedPeer], Awaitable[None]], autojump_clock: trio.testing.MockClock
) -> None:
    """However often something comes, and if nothing is read: `findings` looks at the time of each."""
    found = await findings(played(behaviour), thorough=True, pair=trio.testing.lockstep_stream_pair)
    assert len(found) == len(CHECKS) + len(THOROUGH)
    assert found["talks to us after both Inits"].verdict is Verdict.BREAKS
    assert found["takes one of 65,535 bytes"].verdict is Verdict.BREAKS
    assert found["closes for an unknown even message"].verdict is Verdict.UNKNOWN


async def test_a_node_that_is_slow_at_every_step(autojump_clock: trio.testing.MockClock) -> None:
    """Each within its patience: all of them together are too much for a question that has many."""

    async def slow(peer: ScriptedPeer) -> None:
        act = await peer.receive_bytes(50)
        await trio.sleep(9)
        await peer.send_bytes(peer.answer_act(act))
        peer.answer_act(await peer.receive_bytes(66))
        await trio.sleep(9)
        await greet(peer)
        while (got := await peer.receive()) is not None:
            if isinstance(got, Ping) and got.num_pong_bytes < 65_532:
                await trio.sleep(9)
                await peer.send(Pong(ignored=bytes(got.num_pong_bytes)))

    found = await findings(played(slow, handshake=False))
    assert found["talks to us after both Inits"].verdict is Verdict.KEEPS
    three = found["answers a ping with as many bytes as it asks for"]
    assert (three.verdict, three.seen) == (Verdict.UNKNOWN, "not done within 30 seconds")


async def test_a_dial_that_hangs_later(autojump_clock: trio.testing.MockClock) -> None:
    dials = 0

    async def dial(host: str, port: int) -> trio.abc.Stream:
        nonlocal dials
        dials += 1
        if dials > 1:
            await trio.sleep_forever()
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(meet, theirs)
        return ours

    async def meet(stream: trio.abc.Stream) -> None:
        with suppress(ScriptFailed):
            await played(converse)(stream)

    async with trio.open_nursery() as nursery:
        found = [one async for one in check_peer(NodeAddress(identity(1), "there"), dial=dial)]
        nursery.cancel_scope.cancel()
    assert {one.verdict for one in found} == {Verdict.UNKNOWN}
    assert found[0].seen == "no connection within 10 seconds"
    assert trio.current_time() <= 10 * len(CHECKS)


async def test_dials_that_are_refused_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """A node that limits us: what it was not asked, it is not accused of, and what it was is told."""
    found = list((await findings(played(converse), dials=4)).values())
    assert [one.verdict for one in found[:3]] == [Verdict.KEEPS] * 3
    assert {(one.verdict, one.seen) for one in found[3:]} == {(Verdict.UNKNOWN, "too many")}
    assert len(found) == len(CHECKS)


async def test_a_handshake_that_is_refused_in_the_middle(autojump_clock: trio.testing.MockClock) -> None:
    """The same by a node that accepts and hangs up."""
    accepted = 0

    async def serve(stream: trio.abc.Stream) -> None:
        nonlocal accepted
        accepted += 1
        await (played(converse)(stream) if accepted <= 4 else stream.aclose())

    found = await findings(serve)
    late = [one for one in list(found.values())[3:] if one.verdict is not Verdict.UNKNOWN]
    # Of these two, what is asked is the handshake itself.
    assert {one.rule for one in late} == {
        "takes a handshake byte by byte",
        "closes for another version of the handshake",
    }


async def test_who_hangs_up_on_everybody_keeps_nothing_by_it(autojump_clock: trio.testing.MockClock) -> None:
    async def close(peer: ScriptedPeer) -> None:
        await greet(peer)

    found = await findings(played(close))
    assert found["talks to us after both Inits"].seen == "closed"
    assert {one.verdict for one in found.values() if "closes" in one.rule or "refuses" in one.rule} == {Verdict.UNKNOWN}
    assert [one.rule for one in found.values() if one.verdict is Verdict.KEEPS] == ["sends Init first, and of itself"]
