"""What handlers want of a back: what a peer costs, holding it, and gossip for it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing

from tests.support import Note, Order, identity, join
from tests.support.fleets import becomes, open_fleet, stranger
from triolight import ChannelMessageHandler, CustomMessageHandler, MessageHandler, RoutingMessageHandler
from triolight.actions import (
    DisconnectPeer,
    DisconnectPeerWithWarning,
    ErrorAction,
    HandleError,
    HandlerResult,
    IgnoreAndLog,
    IgnoreError,
    SendErrorMessage,
    SendWarningMessage,
)
from triolight.logger import Level
from triolight.messages import ChannelUpdate, Error, Message, Warning
from triolight.policy import COST_OF_UNIT, COST_PER_SECOND

UPDATE = ChannelUpdate.decode(ChannelUpdate.type.to_bytes(2, "big") + bytes(136))
"""The smallest one, of nothing."""


class Costly(CustomMessageHandler):
    """Each order costs twenty seconds of an allowance."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        if isinstance(message, Order):
            self.heard += 1
            self.charge(node_id, int(20 * COST_PER_SECOND / COST_OF_UNIT))


async def test_a_peer_that_costs_too_much_is_held_for_a_while(autojump_clock: trio.testing.MockClock) -> None:
    custom = Costly()
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), custom_handler=custom)
    async with open_fleet("one", handlers=handlers) as fleet, stranger(2) as far, stranger(3) as other:
        theirs, _ = await join(far, fleet.fronts["one"])
        quick, _ = await join(other, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 2)
        costly = fleet.back.peers[identity(2)]
        await theirs.send(Order(payload=b""), Order(payload=b""), Note(payload=b"after"))
        async with fleet.back.subscribe(Note) as inbox:
            await quick.send(Note(payload=b"I am heard"))
            assert await anext(inbox) == (fleet.back.peers[identity(3)], Note(payload=b"I am heard"))
            await trio.sleep(10)
            assert (custom.heard, costly.statistics().throttled) == (1, 1)
            assert await anext(inbox) == (costly, Note(payload=b"after"))
        assert (custom.heard, costly.reason, theirs.reason) == (2, None, None)
        assert 15 < trio.current_time() < 60


class Busy(RoutingMessageHandler):
    """Has too much of a peer until it is told otherwise; has gossip for whoever it names."""

    def __init__(self) -> None:
        super().__init__()
        self.busy = True
        self.heard = 0
        self.gossip: list[bytes] = []

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.heard += 1

    def processing_queue_high(self, node_id: bytes) -> bool:
        return self.busy

    def next_gossip(self, node_id: bytes, room: int) -> Sequence[bytes]:
        given, self.gossip = self.gossip[:1], self.gossip[1:]
        return given


async def test_a_handler_holds_a_peer_and_has_gossip_for_it(autojump_clock: trio.testing.MockClock) -> None:
    route = Busy()
    handlers = MessageHandler(ChannelMessageHandler(), route)
    async with open_fleet("one", handlers=handlers) as fleet, stranger(2) as far, far.subscribe(ChannelUpdate) as heard:
        theirs, _ = await join(far, fleet.fronts["one"])
        for _ in range(3):
            await theirs.send(UPDATE)
        await trio.sleep(10)
        assert route.heard == 1
        route.busy = False
        route.wake((identity(2),))
        await becomes(lambda: route.heard == 3)
        route.gossip = [UPDATE.encode()] * 3
        route.wake((identity(2), identity(9)))
        assert [(await anext(heard))[1] for _ in range(3)] == [UPDATE] * 3


async def test_a_broadcast_goes_once_to_each_front(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far, stranger(3) as other, stranger(4) as third:
        inboxes = []
        async with trio.open_nursery() as nursery:
            for peers, front in ((far, "one"), (other, "one"), (third, "two")):
                inbox = peers.subscribe(Note)
                await inbox.__aenter__()
                inboxes.append(inbox)
                nursery.start_soon(join, peers, fleet.fronts[front])
        await becomes(lambda: len(fleet.back.peers) == 3)
        before = [state.down for state in fleet.engine.fronts()]
        fleet.engine.away = True
        await fleet.back.broadcast(Note(payload=b"to all"))
        fleet.engine.away = False
        for inbox in inboxes:
            assert (await anext(inbox))[1] == Note(payload=b"to all")
        for inbox in inboxes:
            with trio.move_on_after(5):
                pytest.fail(f"twice: {await anext(inbox)}")
        # What a front has done it tells its engine a moment later.
        await becomes(lambda: [state.down for state in fleet.engine.fronts()] == before, 0.5)


class Answers(CustomMessageHandler):
    """Gives to each order the action that it was made with; pushes it as well, if it is told to."""

    def __init__(self, action: ErrorAction, pushes: bool) -> None:
        super().__init__()
        self.action = action
        self.pushes = pushes

    def handle_custom_message(self, node_id: bytes, message: Message) -> HandlerResult:
        if not isinstance(message, Order):
            return None
        if not self.pushes:
            return self.action
        self.push(HandleError(node_id, self.action))
        self.push(HandleError(identity(9), self.action))  # who is not there
        return None


WORDS = Error(channel_id=b"\1" * 32, data=b"no more of it")
WARNED = Warning(data=b"mind it")
ACTIONS: list[tuple[ErrorAction, list[Message], str]] = [
    (DisconnectPeer(WORDS), [WORDS], "no more of it"),
    (DisconnectPeerWithWarning(WARNED), [], "mind it"),
    (SendErrorMessage(WORDS), [WORDS], ""),
    (SendWarningMessage(WARNED), [WARNED], ""),
    (IgnoreAndLog(Level.INFO, "never mind"), [], ""),
    (IgnoreError(), [], ""),
]


@pytest.mark.parametrize("pushes", [False, True], ids=["returned", "pushed"])
@pytest.mark.parametrize(("action", "heard", "ended"), ACTIONS, ids=[type(one[0]).__name__ for one in ACTIONS])
async def test_what_a_handler_wants_done_is_done(
    action: ErrorAction, heard: list[Message], ended: str, pushes: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """As in one process: the peer hears it, and stays or goes."""
    custom = Answers(action, pushes)
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), custom_handler=custom)
    async with (
        open_fleet("one", handlers=handlers) as fleet,
        stranger(2) as far,
        far.subscribe(Error, Warning) as inbox,
    ):
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        ours = fleet.back.peers[identity(2)]
        await theirs.send(Order(payload=b""))
        for one in heard:
            assert await anext(inbox) == (theirs, one)
        if ended:
            assert ended in (await ours.wait_closed()).message
            assert (await theirs.wait_closed()).by.name == "PEER"
        else:
            assert await theirs.ping() >= 0
            assert (ours.reason, theirs.reason) == (None, None)


async def test_words_of_a_peer_reach_handlers_and_subscribers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, fleet.back.subscribe(Error, Warning) as inbox:
        theirs, _ = await join(far, fleet.fronts["one"])
        words = Error(channel_id=b"\1" * 32, data=b"no such channel")
        await theirs.send(WARNED, words)
        assert [(await anext(inbox))[1] for _ in range(2)] == [WARNED, words]
        assert theirs.reason is None
