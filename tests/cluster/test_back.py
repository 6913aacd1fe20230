"""A program on a back: connect, send, subscribe, handlers, ping, events, keep, disconnect, through two fronts."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, ListLogger, Note, identity, join
from tests.support.fleets import Fleet, becomes, open_fleet, stranger
from triolight import PeerConnected, PeerDisconnected
from triolight.cluster.back import RemotePeers, back_on
from triolight.cluster.memory import MemoryEngine
from triolight.cluster.remote import RemotePeer
from triolight.shell.keep import KeepState


async def test_what_a_peer_says_and_hears(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_fleet("one", "two") as fleet,
        fleet.back.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
        stranger(2) as far,
        far.subscribe(Note) as heard,
    ):
        theirs, _ = await join(far, fleet.fronts["two"])
        peer, event = await anext(inbox)
        assert isinstance(event, PeerConnected)
        assert event.peer is cast("Any", peer)
        assert (peer.node_id, peer.front, peer.inbound) == (identity(2), "two", True)
        await theirs.send(Note(payload=b"up"), Note(payload=b"and up"))
        assert [(await anext(inbox)) for _ in range(2)] == [
            (peer, Note(payload=b"up")),
            (peer, Note(payload=b"and up")),
        ]
        await peer.send(Note(payload=b"down"))
        assert (await anext(heard))[1] == Note(payload=b"down")
        assert await peer.ping() == 0
        assert fleet.back.peers == {identity(2): peer}
        await peer.disconnect("enough")
        assert (await theirs.wait_closed()).message.endswith("enough")
        gone, event = await anext(inbox)
        assert isinstance(event, PeerDisconnected)
        assert (gone, event.reason, event.reason.message) == (peer, peer.reason, "enough")
        assert fleet.back.peers == {}


async def test_a_front_dials_for_the_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far, stranger(3) as other:
        fleet.hosts |= {"far": far, "other": other}
        found: list[RemotePeer] = []

        async def connect() -> None:
            found.append(await fleet.back.connect(f"{identity(2).hex()}@far:1"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            nursery.start_soon(connect)
        (peer,) = {*found}
        assert (peer.node_id, peer.inbound, peer.front) == (identity(2), False, "one")
        assert fleet.fronts["one"].peers.keys() == {identity(2)}
        # The next one is dialled where there are fewer.
        assert (await fleet.back.connect(f"{identity(3).hex()}@other:1")).front == "two"
        assert {name: (one.address, one.peers, one.load) for name, one in fleet.back.fronts.items()} == {
            "one": ("one.example", 1, 0),
            "two": ("two.example", 1, 0),
        }


async def test_a_node_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        fleet.hosts["far"] = far
        lives: list[str] = []

        async def on_connect(peer: RemotePeer) -> None:
            lives.append(peer.front)
            await trio.sleep_forever()

        kept = fleet.back.keep(f"{identity(2).hex()}@far:1", on_connect=on_connect)
        for count in range(1, 4):
            await becomes(lambda count=count: len(lives) == count)  # type: ignore[misc]
            assert await kept.wait_connected() is fleet.back.peers[identity(2)]
            await fleet.back.peers[identity(2)].disconnect()
            assert kept.failures == count - 1
        # Another one for the same node is the same; whoever dials us is taken.
        assert fleet.back.keep(f"{identity(2).hex()}@elsewhere:1") is kept
        assert len(kept.addresses) == 2
        await becomes(lambda: kept.state == KeepState.WAITING)
        await join(far, fleet.fronts["one"])
        await becomes(lambda: kept.state == KeepState.CONNECTED)
        dials = kept.dials
        kept.stop()
        await fleet.back.peers[identity(2)].disconnect()
        await trio.sleep(100)
        assert (len(lives), fleet.back.peers, kept.dials, kept.state) == (4, {}, dials, KeepState.STOPPED)
        with pytest.raises(ValueError, match="no address"):
            fleet.back.keep()


async def test_a_back_that_is_cancelled_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    engine, logger = MemoryEngine(), ListLogger()
    async with trio.open_nursery() as nursery, stranger(2) as far:
        backs: list[RemotePeers] = []

        async def serve(*, task_status: trio.TaskStatus[trio.CancelScope]) -> None:
            with trio.CancelScope() as scope:
                async with back_on(engine.bus(), identity(1), messages=MESSAGES, logger=logger) as back:
                    backs.append(back)
                    task_status.started(scope)
                    await trio.sleep_forever()

        scope = await nursery.start(serve)
        fleet = Fleet(engine, backs[0], {}, {}, [], nursery)
        await nursery.start(fleet.start, "one")
        await becomes(lambda: {*backs[0].fronts} == {"one"})
        ours, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(backs[0].peers) == 1)
        began = trio.current_time()
        scope.cancel()
        assert (await ours.wait_closed()).message.endswith("shutting down")
        assert trio.current_time() - began < 1
        nursery.cancel_scope.cancel()
