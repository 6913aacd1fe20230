"""Scripted peers themselves: what a failure says, what patience is, and every deed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tests.support import Note, identity
from tests.support.scenes import ALIVE, lives, node, script
from triolight.messages import Init, Ping, Pong, UnknownMessage, Warning
from triolight.testing import Deed, ScriptedPeer, ScriptFailed, SimulatedNetwork, scripted_peer


async def test_a_script_that_fails_says_what_happened(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Note(payload=b"hello"))
        peer.patience = 5
        with pytest.raises(ScriptFailed, match=r"(?s)Warning did not come within 5 seconds.*got  Init.*sent Note"):
            await peer.expect(Warning)
        await peer.send(ALIVE)
        with pytest.raises(ScriptFailed, match="expected Warning, not Pong"):
            await peer.expect(Warning)
        with pytest.raises(ScriptFailed, match="expected silence, not Pong"):
            await peer.send(ALIVE)
            await peer.expect_silence(10)
        with pytest.raises(ScriptFailed, match="within 5 seconds"):
            await peer.expect_closed()


async def test_a_script_that_fails_inside_its_block_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ScriptFailed, match="expected Warning"):
        async with node() as peers, scripted_peer(peers) as peer:
            await peer.expect(Warning)


async def test_the_stream_of_a_script_that_cannot_begin_is_closed() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(ValueError, match="secret"):
        async with scripted_peer(ours, identity(1), secret=bytes(32)):
            raise AssertionError("there is no such secret key")
    assert await theirs.receive_some(1) == b""


async def test_reasons_that_are_not_given(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Init())
        with pytest.raises(ScriptFailed, match="expected the reason 'another'"):
            await peer.expect_closed(reason="another")
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(ALIVE)
        with pytest.raises(ScriptFailed, match="said nothing"):
            await peer.expect_closed(reason="something")
    async with script() as peer:
        await peer.send(Init())
        with pytest.raises(ScriptFailed, match="expected no word"):
            await peer.expect_closed(reason="")


async def test_between_two_scripts(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def near() -> None:
        async with scripted_peer(ours, identity(2), secret=b"\x01" * 32) as peer:
            assert "ScriptedPeer" in repr(peer)
            await peer.send(Init())
            await peer.expect(Init)
            await peer.send(Note(payload=b"x"))

    async def far() -> None:
        async with scripted_peer(theirs, secret=b"\x02" * 32) as peer:
            await peer.exchange_inits()
            got = await peer.receive()
            assert got == UnknownMessage(37913, b"x")
            assert await peer.expect_closed() == []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(near)
        nursery.start_soon(far)


async def test_every_deed(autojump_clock: trio.testing.MockClock) -> None:
    note = Note(payload=b"drop by drop").encode()
    async with script() as peer:
        start = trio.current_time()
        packet = len(note) + 34
        assert await peer.do(Deed("message", ALIVE.encode()), Deed("dribble", note, 0.25), Deed("wait", seconds=5))
        assert trio.current_time() == pytest.approx(start + packet * 0.25 + 5)
        await peer.expect(Pong)
        await lives(peer)
        # It reads for as long as it was told to, and what came is gone.
        assert await peer.do(Deed("message", ALIVE.encode()), Deed("read", seconds=1))
        assert trio.current_time() == pytest.approx(start + packet * 0.25 + 6, abs=0.1)
        assert not await peer.do(Deed("bytes", bytes(100)), Deed("read", seconds=1000), Deed("wait", seconds=1))
        assert trio.current_time() < start + 30
    async with script() as peer:
        assert not await peer.do(Deed("half", note), Deed("hang_up"), Deed("message", note))


async def test_a_header_that_authenticates_and_lies(autojump_clock: trio.testing.MockClock) -> None:
    """The keys' order is kept: what the header promises is read, and its tag is wrong."""
    async with script() as peer:
        with pytest.raises(ValueError, match="65535"):
            peer.packet(ALIVE, length=65_536)
    async with script() as peer:
        honest = ALIVE.encode()
        await peer.send_bytes(peer.packet(honest, length=len(honest)))
        await peer.expect(Pong)
        # Too long by a packet: nothing is read until that much has come.
        await peer.send_bytes(peer.packet(honest, length=len(honest) + 34 + len(honest)))
        await peer.expect_silence(5)
        await peer.send(ALIVE)
        await peer.expect_closed(reason="body failed its authentication")
    async with script() as peer:
        assert not await peer.do(Deed("lie", ALIVE.encode(), length=0), Deed("read", seconds=1000))


@asynccontextmanager
async def beside(
    behave: Callable[[ScriptedPeer], Awaitable[object]], handshake: bool = True
) -> AsyncIterator[ScriptedPeer]:
    """A script with a patience of 5 seconds, in a conversation with another one."""
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def far() -> None:
        async with scripted_peer(theirs, secret=b"\x02" * 32, handshake=handshake) as other:
            await behave(other)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(far)
        async with scripted_peer(ours, identity(2), handshake=handshake, patience=5) as peer:
            yield peer
        nursery.cancel_scope.cancel()


async def test_patience_is_for_all_of_an_expectation(autojump_clock: trio.testing.MockClock) -> None:
    """However little comes however often: nothing renews it."""

    async def dribble(other: ScriptedPeer) -> None:
        await other.do(Deed("dribble", Init().encode(), 4))

    async def chatter(other: ScriptedPeer) -> None:
        await other.do(*[Deed("message", ALIVE.encode()), Deed("wait", seconds=4)] * 100)

    async def letters(other: ScriptedPeer) -> None:
        await other.do(*[Deed("bytes", b"x"), Deed("wait", seconds=4)] * 100)

    async with beside(dribble) as peer:
        with pytest.raises(ScriptFailed, match="a message did not come within 5 seconds"):
            await peer.receive()
        with pytest.raises(ScriptFailed, match="Init did not come within 5 seconds"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
        await peer.expect_silence(8)
        assert trio.current_time() == 23
    async with beside(chatter) as peer:
        peer.ignoring = (Ping,)
        with pytest.raises(ScriptFailed, match="Init did not come"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="was not closed"):
            await peer.expect_closed()
        assert trio.current_time() == 33
    async with beside(letters, handshake=False) as peer:
        with pytest.raises(ScriptFailed, match="50 bytes did not come within 5 seconds"):
            await peer.receive_bytes(50)
        with pytest.raises(ScriptFailed, match="was not closed"):
            await peer.expect_closed()
        assert trio.current_time() == 43


async def test_a_node_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def idle(other: ScriptedPeer) -> None:
        await trio.sleep_forever()

    async with beside(idle) as peer:
        with pytest.raises(ScriptFailed, match=r"37 bytes were not taken within 5 seconds"):
            await peer.send(UnknownMessage(1001, b"x"))
        assert trio.current_time() == 5


async def test_a_broken_connection_reads_as_closed(autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork(0)
    ours, theirs = network.stream_pair(network.host("a"), network.host("b"))
    async with trio.open_nursery() as nursery:

        async def far() -> None:
            async with scripted_peer(theirs, secret=b"\x02" * 32) as peer:
                await peer.send(Init())
                await peer.expect(Init)
                network.reset("a", "b")

        nursery.start_soon(far)
        async with scripted_peer(ours, identity(2), secret=b"\x01" * 32) as peer:
            await peer.exchange_inits()
            assert await peer.receive() is None
            with pytest.raises(ScriptFailed, match="the connection broke"):
                await peer.send(ALIVE)


async def test_what_a_bad_node_does_is_said(autojump_clock: trio.testing.MockClock) -> None:
    """Each failure of an expectation, against a script that is the node."""

    @asynccontextmanager
    async def against(*deeds: Deed, shake: bool = True) -> AsyncIterator[ScriptedPeer]:
        ours, theirs = trio.testing.memory_stream_pair()

        async def node() -> None:
            async with scripted_peer(theirs, secret=b"\x02" * 32, handshake=shake) as peer:
                await peer.do(*deeds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(node)
            async with scripted_peer(ours, identity(2), handshake=shake, patience=5) as peer:
                yield peer
            nursery.cancel_scope.cancel()

    pings = [deed for _ in range(9) for deed in (Deed("message", ALIVE.encode()), Deed("wait", seconds=1))]
    async with against(Deed("corrupt", ALIVE.encode())) as peer:
        with pytest.raises(ScriptFailed, match="the node sent what is no message"):
            await peer.receive()
    async with against() as peer:
        with pytest.raises(ScriptFailed, match="expected Init, and the node closed the connection"):
            await peer.expect(Init)
    async with against(*pings) as peer:
        peer.ignoring = (Ping,)
        with pytest.raises(ScriptFailed, match="Init did not come within 5 seconds"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="expected silence, and the node closed the connection"):
            await peer.expect_silence(60)
    async with against(*pings) as peer:
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
    async with against(*[Deed("bytes", b"word"), Deed("wait", seconds=1)] * 9, shake=False) as peer:
        with pytest.raises(ScriptFailed, match="expected no word, not 776f7264"):
            await peer.expect_closed(reason="")
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
        with pytest.raises(ScriptFailed, match="version"):
            peer.answer_act(b"\x07" + bytes(49))


async def test_before_the_handshake_there_are_no_messages(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers, handshake=False) as peer:
        with pytest.raises(RuntimeError, match="handshake"):
            peer.packet(ALIVE)
        with pytest.raises(RuntimeError, match="handshake"):
            await peer.receive()
        await peer.send_bytes(b"\x00" * 50)
        with pytest.raises(ScriptFailed, match="ended after 0 of 50"):
            await peer.receive_bytes(50)
