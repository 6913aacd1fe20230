"""Ghosts: peers that say much and hang up. Nobody reads their end while they are not read, and none keeps a place."""

from __future__ import annotations

import socket
import sys
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Note, make_manager
from triolight import DisconnectCode, Peer, PeerConnected, PeerDisconnected, PeerNursery, Policy, open_peer_nursery
from triolight.messages import Warning
from triolight.policy import COST_BURST, COST_OF_WORDS
from triolight.shell.watch import HANG_UP_SECONDS

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a FIN behind what is unread")


async def meet(
    near: PeerNursery, far: PeerNursery
) -> tuple[Peer, Peer, trio.socket.SocketType, trio.socket.SocketType]:
    """Their peer and ours, and the sockets that they and we have."""
    one, other = trio.socket.socketpair()
    ours: list[Peer] = []

    async def answer() -> None:
        ours.append(await near.attach(trio.SocketStream(other)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        theirs = await far.attach(trio.SocketStream(one), near.manager.our_node_id)
    return theirs, ours[0], one, other


async def test_a_throttled_peer_that_hangs_up_ends_within_a_second(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        theirs, ours, their_socket, our_socket = await meet(near, far)
        room = our_socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        warnings = COST_BURST // COST_OF_WORDS + 10
        for _ in range(warnings):
            await theirs.send(Warning(data=b"so there"))
        await trio.testing.wait_all_tasks_blocked()
        assert ours.statistics().throttled == 1
        # What it sends behind that has room in the system, so that its FIN can come.
        assert our_socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > room
        # A while for its own debt alone, if it stays.
        await trio.sleep(2 * HANG_UP_SECONDS)
        assert ours.reason is None
        for _ in range(3 * warnings):
            await theirs.send(Warning(data=b"and there"))
        await trio.testing.wait_all_tasks_blocked()
        before = trio.current_time()
        their_socket.shutdown(socket.SHUT_WR)
        reason = await ours.wait_closed()
        assert (reason.code, trio.current_time() - before <= 1) == (DisconnectCode.CONNECTION_LOST, True)
        assert "it has gone" in reason.message
        assert near.statistics().peers == 0


async def test_a_held_peer_that_hangs_up_is_a_stranger_until_it_is_read(autojump_clock: trio.testing.MockClock) -> None:
    """All that it said is delivered, and its end after that."""
    policy = Policy(max_peers=1, max_inbound_peers=1)
    async with (
        open_peer_nursery(make_manager(1), policy=policy) as near,
        open_peer_nursery(make_manager(2)) as far,
        open_peer_nursery(make_manager(3)) as third,
        near.subscribe(Note, PeerConnected, PeerDisconnected, buffer_bytes=1) as inbox,
    ):
        theirs, ours, their_socket, _ = await meet(near, far)
        said = [Note(payload=b"%d" % number) for number in range(20)]
        await theirs.send(*said)
        await trio.testing.wait_all_tasks_blocked()
        their_socket.shutdown(socket.SHUT_WR)
        await trio.sleep(1)
        statistics = near.statistics()
        assert (statistics.peers, statistics.inbound_peers, statistics.strangers) == (0, 0, 1)
        assert ours.reason is None
        # Its place is somebody else's.
        await meet(near, third)
        assert near.statistics().peers == 1
        of_it: list[Any] = []
        while not (of_it and isinstance(of_it[-1], PeerDisconnected)):
            peer, what = await inbox.__anext__()
            of_it += [what] if peer is ours else []
        assert of_it == [PeerConnected(ours), *said, PeerDisconnected(ours, await ours.wait_closed())]
        await trio.sleep(1)  # its stream is read on for a moment
        statistics = near.statistics()
        assert (statistics.peers, statistics.inbound_peers, statistics.strangers) == (1, 1, 0)
