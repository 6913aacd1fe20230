"""Newcomers that somebody lets in: they wait, unread, and are let in, refused, or gone."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import Note, identity, join, make_manager, until
from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    Peer,
    PeerConnected,
    PeerNursery,
    Policy,
    Side,
    open_peer_nursery,
)

REFUSAL = DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "it is at another front")


async def outcome(near: PeerNursery, far: PeerNursery, found: list[Peer | DisconnectReason]) -> None:
    """What a dial came to."""
    try:
        found.append((await join(near, far))[0])
    except* ConnectError as group:
        found.extend(error.reason for error in group.exceptions if isinstance(error, ConnectError))


async def test_who_is_let_in_was_not_read_before(autojump_clock: trio.testing.MockClock) -> None:
    found: list[Peer | DisconnectReason] = []
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2)) as far,
        far.newcomers() as newcomers,
        far.subscribe(Note, PeerConnected) as inbox,
        near.events() as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(outcome, near, far, found)
        connected = await anext(events)
        assert isinstance(connected, PeerConnected)
        await connected.peer.send(Note(payload=b"early"))
        newcomer = await anext(newcomers)
        assert (newcomer.node_id, newcomer.inbound, newcomer.gone) == (identity(1), True, False)
        await trio.sleep(14)
        assert far.peers == {}
        await newcomer.decide(None)
        _, first = await anext(inbox)
        assert isinstance(first, PeerConnected)
        assert (await anext(inbox))[1] == Note(payload=b"early")
        await newcomer.decide(REFUSAL)  # it was decided
        await trio.testing.wait_all_tasks_blocked()
        assert first.peer.reason is None
        assert [*far.peers] == [identity(1)]


async def test_who_is_refused_hears_why(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2)) as far,
        far.newcomers() as newcomers,
        near.events() as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(outcome, near, far, [])
        connected = await anext(events)
        await (await anext(newcomers)).decide(REFUSAL)
        reason = await connected.peer.wait_closed()
        assert reason.message.endswith("it is at another front")
        assert far.statistics().peers == 0


async def test_nobody_waits_for_longer_than_for_an_init(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2), init_deadline=7) as far,
        far.newcomers() as newcomers,
        near.events() as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(outcome, near, far, [])
        connected = await anext(events)
        reason = await connected.peer.wait_closed()
        assert reason.message.endswith("nobody has said within 7 seconds whether you may connect")
        # Whoever decides hears of it no more.
        with trio.move_on_after(1) as scope:
            await anext(newcomers)
        assert scope.cancelled_caught


async def test_the_policy_is_asked_first_and_once_more(autojump_clock: trio.testing.MockClock) -> None:
    found: list[Peer | DisconnectReason] = []
    async with (
        open_peer_nursery(make_manager(1)) as one,
        open_peer_nursery(make_manager(3)) as other,
        open_peer_nursery(make_manager(2), policy=Policy(max_peers=1)) as far,
        far.newcomers() as newcomers,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(outcome, one, far, found)
        nursery.start_soon(outcome, other, far, found)
        waiting = [await anext(newcomers), await anext(newcomers)]
        for newcomer in waiting:
            await newcomer.decide(None)
        await until(lambda: len(far.peers) == 1 and far.statistics().handshake_failures == {"TOO_MANY_PEERS": 1})


async def test_without_a_decider_all_is_as_before(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        async with far.newcomers():
            with pytest.raises(RuntimeError, match="already"):
                async with far.newcomers():
                    pass
        await join(near, far)
        assert [*far.peers] == [identity(1)]
