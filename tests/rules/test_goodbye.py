"""Last words over real TCP: heard however the program is left, and whatever was queued before them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import trio

from tests.support import Note, identity, make_manager, port_of
from triolight import DisconnectCode, NodeAddress, PeerConnected, PeerDisconnected, open_peer_nursery
from triolight.messages import Warning

RUNS = 40
QUEUED = 700_000


async def test_the_goodbye_is_heard_however_the_program_is_cancelled() -> None:
    heard: list[int] = []
    async with open_peer_nursery(make_manager(2)) as far, far.subscribe(Warning) as warnings, far.events() as events:
        address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
        for points in range(RUNS):
            with trio.CancelScope() as outside:

                async def program(outside: trio.CancelScope, points: int) -> None:
                    async with open_peer_nursery(make_manager(1)) as near:
                        peer = await near.connect(address)
                        await peer.send(*[Note(payload=bytes(QUEUED // 14)) for _ in range(14)])
                        for _ in range(points):
                            await trio.lowlevel.checkpoint()
                        outside.cancel()
                        await trio.sleep_forever()

                await program(outside, points)
            peer, warning = await warnings.__anext__()
            assert warning.data == b"shutting down"
            heard.append(points)
            assert isinstance(await events.__anext__(), PeerConnected)
            ended = await events.__anext__()
            assert isinstance(ended, PeerDisconnected)
            assert ended.peer is peer
            assert ended.reason.code is DisconnectCode.PEER_CLOSED
            assert ended.reason.message.endswith("after saying: shutting down")
    assert len(heard) == RUNS


PROGRAM = """
import sys, trio
from tests.support import Note, make_manager
from triolight import open_peer_nursery

async def main():
    async with open_peer_nursery(make_manager(1)) as near:
        peer = await near.connect(sys.argv[1])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy, peer)
            nursery.start_soon(busy, peer)
            print("ready", flush=True)
            await trio.sleep_forever()

async def busy(peer):
    while True:
        await peer.send(*[Note(payload=bytes(100))] * 20)
        await peer.ping(1000)

try:
    trio.run(main)
except BaseException as error:
    found = [error]
    while found and isinstance(found[0], BaseExceptionGroup):
        found = [*found[0].exceptions, *found[1:]]
    sys.exit(130 if [type(one) for one in found] == [KeyboardInterrupt] else repr(error))
"""


async def test_sigint_while_the_pump_is_busy_leaves_with_a_goodbye() -> None:
    # Not measured: a signal that lands inside the coverage tracer's own lock deadlocks the tracer, not us.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COV")}
    async with (
        open_peer_nursery(make_manager(2)) as far,
        far.subscribe(Warning) as warnings,
        far.subscribe(Note) as notes,
    ):
        address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
        for run in range(8):
            process = await trio.lowlevel.open_process(
                [sys.executable, "-W", "error", "-c", PROGRAM, str(address)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
            )
            assert process.stdout is not None
            assert process.stderr is not None
            line = b""
            while not line.endswith(b"\n"):
                line += await process.stdout.receive_some(100)
            # Somewhere in the middle of its traffic, a bit later each time.
            for _ in range(97 * run):
                await notes.__anext__()
            process.send_signal(signal.SIGINT)
            seen: list[bytes] = []
            with trio.fail_after(20):
                async with trio.open_nursery() as nursery:

                    async def drain() -> None:
                        async for _ in notes:
                            pass

                    nursery.start_soon(drain)
                    _, warning = await warnings.__anext__()
                    seen.append(warning.data)
                    assert await process.wait() == 130, (await process.stderr.receive_some(10_000)).decode()
                    nursery.cancel_scope.cancel()
            assert b"shutting down" in seen[0]
            await process.stdout.aclose()
            await process.stderr.aclose()


async def test_a_peers_last_words_reach_a_subscriber_that_was_busy() -> None:
    async with open_peer_nursery(make_manager(2)) as far, far.subscribe(Note, Warning) as inbox, far.events() as events:
        async with open_peer_nursery(make_manager(1)) as near:
            peer = await near.connect(NodeAddress(identity(2), "127.0.0.1", await port_of(far)))
            await peer.send(*[Note(payload=b"%d" % number) for number in range(100)])
            await peer.disconnect("my last words")
        assert isinstance(await events.__anext__(), PeerConnected)
        assert isinstance(await events.__anext__(), PeerDisconnected)
        got = [(await inbox.__anext__())[1] for _ in range(101)]
        assert got[:100] == [Note(payload=b"%d" % number) for number in range(100)]
        assert isinstance(got[100], Warning)
        assert got[100].data == b"my last words"
