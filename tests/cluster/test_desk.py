"""The back at work: handlers, slow subscribers, fronts that die, and who takes over."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, Note, Order, identity, join
from tests.support.fleets import (
    BACK,
    CONFIG,
    FRONT,
    INIT,
    FrontByHand,
    back_of_fronts,
    becomes,
    open_fleet,
    stranger,
)
from tests.support.messages import commitment, start
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeer,
    DisconnectPeerWithWarning,
    Features,
    MessageHandler,
    NodeAddress,
    PeerConnected,
    PeerDisconnected,
    RoutingMessageHandler,
    SendMessages,
)
from triolight.cluster import desk as desk_module
from triolight.cluster.back import back_on
from triolight.cluster.bus import Change, EngineAway, FleetError
from triolight.cluster.memory import MemoryEngine
from triolight.cluster.records import (
    Connected,
    Dial,
    Disconnect,
    Ended,
    Hold,
    Ponged,
    Taken,
    encode_entry,
    encode_record,
)
from triolight.cluster.streams import Used
from triolight.messages import Init, Message, QueryChannelRange, ReplyChannelRange, UnknownMessage, Warning

CODE = DisconnectCode


class Routes(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


class Custom(CustomMessageHandler):
    """Echoes orders; leaves at a note that says so; refuses the node 4."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[tuple[str, bytes]] = []

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> DisconnectPeer | None:
        if node_id == identity(4):
            return DisconnectPeer(reason="not you")
        self.lives.append(("connected", node_id))
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        self.lives.append(("disconnected", node_id))

    def handle_custom_message(self, node_id: bytes, message: Message) -> DisconnectPeerWithWarning | None:
        if isinstance(message, Order):
            self.push(SendMessages(node_id, Note(payload=message.payload)))
        if message == Note(payload=b"leave"):
            return DisconnectPeerWithWarning(Warning(data=b"as you wish"))
        return None


async def test_handlers_run_in_the_back(autojump_clock: trio.testing.MockClock) -> None:
    custom = Custom()
    handlers = MessageHandler(ChannelMessageHandler(), Routes(), custom_handler=custom)
    async with open_fleet("one", handlers=handlers) as fleet, stranger(2) as far, far.subscribe() as heard:
        theirs, _ = await join(far, fleet.fronts["one"])
        assert theirs.features.offers("gossip_queries")
        assert (
            theirs.features.to_bytes()
            == (Features.named("gossip_queries") | ChannelMessageHandler().provided_init_features(b"")).to_bytes()
        )
        await theirs.send(Order(payload=b"echo"))
        assert (await anext(heard))[1] == Note(payload=b"echo")
        query = QueryChannelRange(chain_hash=bytes(32), first_blocknum=0, number_of_blocks=9)
        await theirs.send(query)
        answer = (await anext(heard))[1]
        assert isinstance(answer, ReplyChannelRange)
        async with fleet.back.subscribe(UnknownMessage) as inbox:
            await theirs.send(UnknownMessage(40001, b"odd"))
            assert (await anext(inbox))[1] == UnknownMessage(40001, b"odd")
        await theirs.send(Note(payload=b"leave"))
        assert (await theirs.wait_closed()).message.endswith("as you wish")
        async with stranger(4) as refused:
            ours, _ = await join(refused, fleet.fronts["one"])
            assert (await ours.wait_closed()).message.endswith("not you")
        assert custom.lives == [("connected", identity(2)), ("disconnected", identity(2))]
        assert fleet.back.peers == {}


async def test_a_peer_s_fault_is_found_in_the_back(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, fleet.back.events() as events:
        theirs, _ = await join(far, fleet.fronts["one"])
        await anext(events)
        await theirs.send(UnknownMessage(258, b"no channel_update"), UnknownMessage(132, b"no commitment_signed"))
        event = await anext(events)
        assert isinstance(event, PeerDisconnected)
        assert event.reason.code is CODE.MALFORMED_MESSAGE
        assert "commitment_signed" in (await theirs.wait_closed()).message


async def test_a_slow_subscriber_slows_its_peer_alone_and_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far, stranger(3) as other:
        theirs, _ = await join(far, fleet.fronts["one"])
        quick, _ = await join(other, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 2)
        slow = fleet.back.peers[identity(2)]
        async with slow.subscribe(Note, buffer_bytes=10_000) as inbox, fleet.back.subscribe(Order) as orders:
            sent = 0
            with trio.move_on_after(5):
                while True:
                    await theirs.send(Note(payload=b"%04d" % sent + bytes(10_000)))
                    sent += 1
            # It has stopped: what its sockets, its queue and one share of the stream hold, and no window of 8 MiB.
            assert sent < 200
            await quick.send(Order(payload=b"I am heard"))
            assert (await anext(orders))[1] == Order(payload=b"I am heard")
            numbers = [(await anext(inbox)).payload[:4] for _ in range(sent)]
            assert numbers == [b"%04d" % number for number in range(sent)]
            await theirs.send(Note(payload=b"more"))
            assert (await anext(inbox)).payload == b"more"
            assert slow.reason is None


async def test_a_subscriber_that_never_reads_costs_the_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2, ping_interval=math.inf) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        async with peer.subscribe(Note, buffer_bytes=1):
            for _ in range(3):
                await theirs.send(Note(payload=bytes(1000)))
            assert (await peer.wait_closed()).code is CODE.SUBSCRIBER_STALLED
            assert (await theirs.wait_closed()).message.endswith("has read nothing for 60 seconds")
            assert 60 <= trio.current_time() <= 70


async def test_a_dead_front_s_peers_end_after_what_it_had_appended(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_fleet("one") as fleet,
        stranger(2) as far,
        fleet.back.subscribe(Note, PeerConnected, PeerDisconnected, buffer_bytes=2000) as inbox,
    ):
        theirs, _ = await join(far, fleet.fronts["one"])
        peer, _ = await anext(inbox)
        for number in range(20):
            await theirs.send(Note(payload=b"%02d" % number + bytes(400)))
        await trio.sleep(1)
        # Killed: it does not say that it goes.
        fleet.buses["one"].cut = True
        fleet.scopes["one"].cancel()
        await trio.sleep(20)
        heard = [(await anext(inbox))[1] for _ in range(21)]
        assert [one.payload[:2] for one in heard[:-1]] == [b"%02d" % number for number in range(20)]
        last = heard[-1]
        assert isinstance(last, PeerDisconnected)
        assert (repr(last.peer), last.reason.code) == (repr(peer), CODE.FRONT_LOST)
        assert fleet.back.fronts == {}
        assert fleet.engine.fronts() == ()
        assert fleet.engine.claims == {}


@pytest.mark.parametrize("left", [False, True])
async def test_a_dead_front_s_peer_ends_though_nobody_reads_what_it_has_said(
    left: bool, autojump_clock: trio.testing.MockClock
) -> None:
    async with stranger(2, ping_interval=math.inf) as far, AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(open_fleet("one"))
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        async with peer.subscribe(Note, buffer_bytes=1):
            for _ in range(5):
                await theirs.send(Note(payload=bytes(1000)))
            await trio.sleep(1)
            fleet.buses["one"].cut = True
            fleet.scopes["one"].cancel()
            await becomes(lambda: not fleet.back.fronts)
            assert peer.reason is None
            if left:
                await stack.aclose()
            with trio.fail_after(100):
                reason = await peer.wait_closed()
            assert reason.code is (CODE.SHUTDOWN if left else CODE.SUBSCRIBER_STALLED)
            assert not fleet.back.peers


async def test_a_front_that_leaves_is_missed_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far:
        await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        began = trio.current_time()
        fleet.scopes["one"].cancel()
        await peer.wait_closed()
        assert trio.current_time() - began < 5
        await becomes(lambda: {*fleet.back.fronts} == {"two"})


async def test_a_dial_goes_to_the_front_with_the_fewest_peers(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one", "two") as fleet, stranger(2) as far:
        await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        known = NodeAddress(identity(2), "127.0.0.1", 1)
        assert await fleet.back.connect(known) is fleet.back.peers[identity(2)]
        with pytest.raises(ConnectError) as caught:
            await fleet.back.connect(f"{identity(3).hex()}@127.0.0.1:1")
        assert caught.value.reason.code is CODE.TCP_FAILED
        with pytest.raises(ConnectError, match="our own"):
            await fleet.back.connect(NodeAddress(identity(1), "127.0.0.1", 1))
    async with open_fleet() as fleet:
        with pytest.raises(ConnectError) as caught:
            await fleet.back.connect(known)
        assert caught.value.reason.code is CODE.FRONT_LOST


async def test_a_second_back_waits_and_a_first_one_that_lost_its_place_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    engine = MemoryEngine()
    ended: list[object] = []
    entered: list[float] = []

    async def first() -> None:
        bus = engine.bus()
        try:
            async with back_on(bus, identity(1)):
                await trio.sleep(5)
                bus.cut = True
                await trio.sleep(15)
                bus.cut = False
                await trio.sleep_forever()
        except FleetError as error:
            ended.append(error.reason.code)

    async def second() -> None:
        await trio.sleep(1)
        async with back_on(engine.bus(), identity(1)):
            entered.append(trio.current_time())
            await trio.sleep(20)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        nursery.start_soon(second)
    assert ended == [CODE.BACK_RESTARTED]
    assert 14 <= entered[0] <= 17


async def test_leaving_says_goodbye(autojump_clock: trio.testing.MockClock) -> None:
    async with stranger(2) as far:
        async with open_fleet("one") as fleet:
            theirs, _ = await join(far, fleet.fronts["one"])
            await becomes(lambda: len(fleet.back.peers) == 1)
            (peer,) = fleet.back.peers.values()
        assert peer.reason is not None
        assert (await theirs.wait_closed()).message.endswith("shutting down")


@pytest.mark.parametrize("begins", ["twice", "with an Init that is none"])
async def test_a_front_that_tells_nonsense(begins: str, autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        token = fleet.engine.fronts()[0].token
        init = peer.init.encode() if begins == "twice" else b"xx"
        stream = fleet.engine.stream("one", True)
        assert stream is not None
        told = Connected(node_id=identity(3), inbound=1, address=b"", init=init)
        conn = 2 if begins == "twice" else 77
        records = [encode_record(conn, told)] * 2
        stream.append(encode_entry(token, stream.next_seq, records), 2)
        assert (await peer.wait_closed()).code is CODE.ENGINE_LOST
        await theirs.wait_closed()
        assert fleet.back.peers == {}


async def unread(*arguments: object) -> Any:
    """As an engine whose rules do not let us read a stream, or that has lost its key to something else."""
    await trio.lowlevel.checkpoint()
    raise EngineAway("not this")


async def test_a_stream_that_cannot_be_read_while_all_else_is_answered(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        monkeypatch.setattr(fleet.buses["back"], "read_up", unread)
        await trio.sleep(25)
        assert peer.reason is None  # perhaps it is a short outage
        with trio.fail_after(20):
            assert (await peer.wait_closed()).code is CODE.ENGINE_LOST
            await theirs.wait_closed()


async def test_an_entry_that_is_none_costs_its_front_s_sessions(autojump_clock: trio.testing.MockClock) -> None:
    async with open_fleet("one") as fleet, stranger(2) as far:
        theirs, _ = await join(far, fleet.fronts["one"])
        await becomes(lambda: len(fleet.back.peers) == 1)
        (peer,) = fleet.back.peers.values()
        state = fleet.engine.fronts()[0]
        stream = fleet.engine.stream("one", True)
        assert stream is not None
        stream.append(b"\x01" + state.token + b"nonsense", 1)
        assert (await peer.wait_closed()).code is CODE.ENGINE_LOST
        await theirs.wait_closed()
        await becomes(lambda: {*fleet.back.fronts} == {"one"} and fleet.told[-1][1] == "serving")


class Refused(ChannelMessageHandler):
    """Accepts everybody, and notes it."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[str] = []

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> None:
        self.lives.append("connected")

    def peer_disconnected(self, node_id: bytes) -> None:
        self.lives.append("disconnected")


async def test_who_had_accepted_whom_another_refuses_hears_of_its_end(autojump_clock: trio.testing.MockClock) -> None:
    first = Refused()
    handlers = MessageHandler(first, Routes(), custom_handler=Custom())
    async with back_of_fronts("one", handlers=handlers) as (back, (front,)):
        await front.connected(1, identity(4))
        await trio.sleep(1)
        assert (first.lives, back.peers) == (["connected", "disconnected"], {})
        assert [(conn, what.reason.message) for conn, what in front.told(Disconnect)] == [(1, "not you")]


async def test_what_was_read_waits_until_all_of_it_was_handled(autojump_clock: trio.testing.MockClock) -> None:
    """A batch is handled when it is complete; what a peer has said that ends before is nobody's."""
    async with back_of_fronts("one", sessions="resume") as (back, (front,)):
        await front.connected(1, identity(2))
        await front.said(1, Note(payload=b"one"), Note(payload=b"two"))
        await front.append((1, Taken(size=1)), (1, Ponged(ping=1, microseconds=1)))
        await trio.sleep(1)
        assert front.waits == 0
        batch = start(2)
        await front.said(1, batch, commitment(1))
        await trio.sleep(1)
        assert front.waits == 2
        await front.said(1, commitment(2))
        await trio.sleep(1)
        assert front.waits == 0
        await front.said(1, batch, commitment(1))
        await trio.sleep(1)
        assert front.waits == 2
        await front.append((1, Ended(side=0, code=b"", words=b"")))
        await trio.sleep(1)
        assert (front.waits, back.peers) == (0, {})


async def test_a_node_that_comes_at_another_front_is_ended_at_the_first(autojump_clock: trio.testing.MockClock) -> None:
    async with back_of_fronts("one", "two") as (back, (one, two)):
        await one.connected(5, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        await two.connected(6, identity(2))
        await becomes(lambda: back.peers[identity(2)].front == "two")
        await trio.sleep(1)
        assert [(conn, what.reason.code) for conn, what in one.told(Disconnect)] == [(5, CODE.DUPLICATE)]
        assert two.told(Disconnect) == []


async def test_dials_go_to_the_front_with_the_fewest_peers_and_are_bounded(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desk_module, "DIALS", 1)
    async with back_of_fronts("one", "two") as (back, (one, two)), trio.open_nursery() as nursery:
        await one.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        for number in (3, 4):
            nursery.start_soon(back.connect, NodeAddress(identity(number), "127.0.0.1", number))
            await trio.sleep(1)
        # The first one counts as a peer of its front.
        assert [len(front.told(Dial)) for front in (one, two)] == [1, 1]
        assert two.told(Dial)[0][1].address.endswith(b":3")
        with pytest.raises(ConnectError) as caught:
            await back.connect(NodeAddress(identity(5), "127.0.0.1", 5))
        assert caught.value.reason.code is CODE.QUEUE_FULL
        nursery.cancel_scope.cancel()


async def test_what_comes_after_the_wish_that_it_ends_is_not_heard(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        back_of_fronts("one") as (back, (front,)),
        back.subscribe(Note, PeerDisconnected) as inbox,
        trio.open_nursery() as nursery,
    ):
        await front.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        nursery.start_soon(back.peers[identity(2)].disconnect)
        await trio.sleep(1)
        await front.said(1, Note(payload=b"too late"))
        await front.append((1, Ended(side=0, code=b"", words=b"")))
        assert isinstance((await anext(inbox))[1], PeerDisconnected)


async def test_a_subscriber_that_reads_slowly_has_not_stalled(autojump_clock: trio.testing.MockClock) -> None:
    async with back_of_fronts("one") as (back, (front,)):
        await front.connected(1, identity(2))
        await becomes(lambda: len(back.peers) == 1)
        peer = back.peers[identity(2)]
        async with peer.subscribe(Note, buffer_bytes=1) as inbox:
            await front.said(1, *[Note(payload=b"%d" % number) for number in range(5)])
            await trio.sleep(1)
            for number in range(5):
                await trio.sleep(40)
                assert (await anext(inbox)).payload == b"%d" % number
        assert peer.reason is None
        # Its front was told once, and once again.
        assert [what.held for _, what in front.told(Hold)] == [1, 0]


async def test_the_next_back_reads_whom_the_one_before_did_not(autojump_clock: trio.testing.MockClock) -> None:
    engine = MemoryEngine()
    front = FrontByHand(engine)
    async with trio.open_nursery() as nursery:
        bus = engine.bus()
        assert await bus.enter_back(BACK, CONFIG.replace(resumes=1))
        await nursery.start(front.enter)
        await front.connected(7, identity(2))
        began = ((7, Connected(node_id=identity(2), inbound=1, address=b"", init=INIT).encode()),)
        ((position, data),) = await bus.read_up("one", "0", 0)
        await bus.consume_up("one", BACK, position, Used(len(data), 1), Change(FRONT, 1, began, ()))
        await bus.leave_back(BACK)
        async with back_on(engine.bus(), identity(1), messages=MESSAGES, sessions="resume") as back:
            state = await bus.back()
            assert state is not None
            assert await front.bus.follow_back("one", FRONT, state.token)
            await becomes(lambda: {*back.peers} == {identity(2)})
            await trio.sleep(1)
            assert [(conn, what.held) for conn, what in front.told(Hold)] == [(7, 0)]
        nursery.cancel_scope.cancel()
