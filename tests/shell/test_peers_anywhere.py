"""The protocols: the same programs, on peers that are connected here and on a back with two fronts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, ListLogger, Note, Order, identity, join, secret
from tests.support.fleets import becomes, open_fleet, stranger
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectPeerWithWarning,
    Features,
    MessageHandler,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerManager,
    PeerNursery,
    RoutingMessageHandler,
    SendMessages,
    open_peer_nursery,
)
from triolight.messages import Init, Message, UnknownMessage, Warning
from triolight.shell.anywhere import AnyPeer
from triolight.shell.keep import KeepState
from triolight.shell.peers_anywhere import Peers

CODE = DisconnectCode
FAR = f"{identity(2).hex()}@far:1"


@dataclass
class World:
    """Peers of the node 1, and how others come to it."""

    peers: Peers
    doors: list[PeerNursery]
    """Who takes whoever dials: in turn."""
    hosts: dict[str, PeerNursery] = field(default_factory=dict[str, PeerNursery])

    async def comes(self, far: PeerNursery) -> tuple[AnyPeer, Peer]:
        """A node dials: its peer, and what it has of us."""
        door = self.doors.pop(0)
        self.doors.append(door)
        theirs, _ = await join(far, door)
        await becomes(lambda: far.manager.our_node_id in self.peers.peers)
        return self.peers.peers[far.manager.our_node_id], theirs


@asynccontextmanager
async def here(handlers: MessageHandler) -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        hosts: dict[str, PeerNursery] = {}

        async def attach(host: PeerNursery, stream: trio.abc.Stream) -> None:
            with suppress(ConnectError):
                await host.attach(stream)

        async def dial(host: str, port: int) -> trio.abc.Stream:
            if host not in hosts:
                raise ConnectionRefusedError(host)
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(attach, hosts[host], theirs)
            return ours

        manager = PeerManager(handlers, secret(1), b"\x07" * 32, ListLogger(), messages=MESSAGES)
        async with open_peer_nursery(manager, dial=dial) as peers:
            yield World(peers, [peers], hosts)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def at_fronts(handlers: MessageHandler) -> AsyncIterator[World]:
    async with open_fleet("one", "two", handlers=handlers) as fleet:
        yield World(fleet.back, [*fleet.fronts.values()], fleet.hosts)


Open: TypeAlias = Callable[..., AbstractAsyncContextManager[World]]


@pytest.fixture(params=[here, at_fronts])
def open_world(request: pytest.FixtureRequest) -> Open:
    def opened(*, route: RoutingMessageHandler | None = None, custom: CustomMessageHandler | None = None) -> Any:
        route, custom = route or RoutingMessageHandler(), custom or CustomMessageHandler()
        return request.param(MessageHandler(ChannelMessageHandler(), route, custom_handler=custom))

    return opened


async def test_what_a_peer_says_and_hears(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_world() as world,
        stranger(2) as far,
        far.subscribe(Note) as heard,
        world.peers.subscribe(Note) as inbox,
    ):
        peer, theirs = await world.comes(far)
        async with peer.subscribe(Note) as own:
            await theirs.send(*(Note(payload=bytes([number])) for number in range(50)))
            for number in range(50):
                assert await anext(inbox) == (peer, Note(payload=bytes([number])))
                assert await anext(own) == Note(payload=bytes([number]))
            await peer.send(*(Note(payload=bytes([number])) for number in range(50)))
            assert [(await anext(heard))[1].payload[0] for _ in range(50)] == [*range(50)]
        with pytest.raises(TypeError, match="messages are sent"):
            await peer.send("text")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="65536"):
            await peer.send(Note(payload=bytes(65534)))
        assert (peer.node_id, peer.inbound, peer.reason) == (identity(2), True, None)
        assert peer.messages.get(Note.type) is Note
        assert peer.room() > 0


async def test_what_becomes_of_a_life(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_world() as world,
        stranger(2) as far,
        world.peers.events() as events,
        world.peers.subscribe(Note, PeerConnected, PeerDisconnected) as inbox,
    ):
        peer, theirs = await world.comes(far)
        assert await anext(events) == PeerConnected(peer)
        assert await anext(inbox) == (peer, PeerConnected(peer))
        await theirs.send(Note(payload=b"last"))
        await theirs.disconnect("I leave")
        reason = await peer.wait_closed()
        assert reason is peer.reason
        assert (reason.code, "I leave" in reason.message) == (CODE.PEER_CLOSED, True)
        assert await anext(events) == PeerDisconnected(peer, reason)
        assert await anext(inbox) == (peer, Note(payload=b"last"))
        assert await anext(inbox) == (peer, PeerDisconnected(peer, reason))
        calls: list[Awaitable[object]] = [
            peer.send(Note(payload=b"")),
            peer.ping(),
            peer.request(Note(payload=b""), Note),
        ]
        for call in calls:
            with pytest.raises(PeerClosed, match="I leave"):
                await call
        await peer.disconnect()
        assert (peer.room(), world.peers.peers) == (0, {})


async def test_a_ping_a_request_and_what_is_counted(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world, stranger(2) as far, far.subscribe(Order) as orders:
        peer, theirs = await world.comes(far)

        async def obey() -> None:
            await theirs.send(Note(payload=b"not that"))
            async for _, order in orders:
                for text in (b"no", order.payload):
                    await theirs.send(Note(payload=text))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(obey)
            answer = await peer.request(Order(payload=b"yes"), Note, lambda note: note.payload == b"yes")
            assert answer == Note(payload=b"yes")
            nursery.cancel_scope.cancel()
        assert 0 <= await peer.ping(3, b"xx") < 1
        with pytest.raises(ValueError, match="a pong has"):
            await peer.ping(70_000)
        # Forty at once: those for which there is no place wait for one.
        done: list[float] = []

        async def ping() -> None:
            done.append(await peer.ping())

        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(ping)
        assert len(done) == 40
        counts = peer.statistics()
        assert (counts.received[Note.name].messages, counts.sent[Order.name].messages) == (3, 1)
        assert (counts.pings_outstanding, counts.rtt_minimum is not None) == (0, True)


async def test_dials(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world, stranger(2) as far:
        world.hosts["far"] = far
        found: list[AnyPeer] = []

        async def connect() -> None:
            found.append(await world.peers.connect(FAR))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(connect)
            nursery.start_soon(connect)
        (peer,) = {*found}
        assert (peer.inbound, peer.node_id) == (False, identity(2))
        assert peer.address is None or peer.address == (await world.peers.connect(FAR)).address
        for address, code in (
            (f"{identity(3).hex()}@nowhere:1", CODE.TCP_FAILED),
            (f"{identity(1).hex()}@far:1", CODE.ADDRESS_REFUSED),
        ):
            with pytest.raises(ConnectError) as caught:
                await world.peers.connect(address)
            assert (caught.value.reason.code, caught.value.where) == (code, address)
        with pytest.raises(ValueError, match="nonsense"):
            await world.peers.connect("nonsense")


async def test_a_node_is_kept(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world, stranger(2) as far:
        world.hosts["far"] = far
        began: list[AnyPeer] = []
        ended: list[AnyPeer] = []

        async def on_connect(peer: AnyPeer) -> None:
            began.append(peer)
            try:
                await trio.sleep_forever()
            finally:
                ended.append(peer)

        kept = world.peers.keep(f"{identity(2).hex()}@nowhere:1", FAR, on_connect=on_connect)
        for count in range(1, 4):
            await becomes(lambda count=count: len(began) == count)  # type: ignore[misc]
            peer = world.peers.peers[identity(2)]
            assert await kept.wait_connected() is peer
            await peer.disconnect()
            await becomes(lambda count=count: ended == began[:count])  # type: ignore[misc]
        assert kept.failures == 2 or kept.failures == 3
        await becomes(lambda: kept.state == KeepState.CONNECTED)
        assert kept.last_failure is not None
        kept.stop()
        assert await kept.wait_changed() == KeepState.STOPPED
        await world.peers.peers[identity(2)].disconnect()
        await trio.sleep(100)
        assert world.peers.peers == {}


class Echo(CustomMessageHandler):
    """Echoes orders, leaves at a note that says so, and refuses the node 4."""

    def __init__(self) -> None:
        super().__init__()
        self.lives: list[str] = []

    def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> DisconnectPeerWithWarning | None:
        if node_id == identity(4):
            return DisconnectPeerWithWarning(Warning(data=b"not you"))
        self.lives.append("connected")
        return None

    def peer_disconnected(self, node_id: bytes) -> None:
        self.lives.append("disconnected")

    def handle_custom_message(self, node_id: bytes, message: Message) -> DisconnectPeerWithWarning | None:
        if isinstance(message, Order):
            self.push(SendMessages(node_id, Note(payload=message.payload)))
        if message == Note(payload=b"leave"):
            return DisconnectPeerWithWarning(Warning(data=b"as you wish"))
        return None


class Routes(RoutingMessageHandler):
    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries")


async def test_handlers(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    custom = Echo()
    async with open_world(route=Routes(), custom=custom) as world, stranger(2) as far, far.subscribe(Note) as heard:
        peer, theirs = await world.comes(far)
        assert theirs.features.offers("gossip_queries")
        async with peer.subscribe(UnknownMessage) as unknown:
            await theirs.send(Order(payload=b"echo"), UnknownMessage(40001, b"odd"))
            assert (await anext(heard))[1] == Note(payload=b"echo")
            assert await anext(unknown) == UnknownMessage(40001, b"odd")
        await theirs.send(Note(payload=b"leave"))
        assert (await theirs.wait_closed()).message.endswith("as you wish")
        reason = await peer.wait_closed()
        assert (reason.code, reason.message) == (CODE.HANDLER_DISCONNECT, "as you wish")
        async with stranger(4) as refused:
            with suppress(ExceptionGroup):
                ours, _ = await join(refused, world.doors[0])
                assert (await ours.wait_closed()).message.endswith("not you")
        assert custom.lives == ["connected", "disconnected"]


async def test_faults_of_peers_have_the_same_reasons(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    cases = {
        UnknownMessage(132, b"short"): CODE.MALFORMED_MESSAGE,
        UnknownMessage(40000, b"even"): CODE.UNKNOWN_EVEN_MESSAGE,
    }
    for message, code in cases.items():
        async with open_world() as world, stranger(2) as far:
            peer, theirs = await world.comes(far)
            await theirs.send(message)
            assert (await peer.wait_closed()).code is code
            assert str(peer.reason).partition(": ")[2] in (await theirs.wait_closed()).message


async def test_a_slow_reader_holds_its_peer_alone(open_world: Open, autojump_clock: trio.testing.MockClock) -> None:
    async with open_world() as world, stranger(2) as far, stranger(3) as other:
        peer, theirs = await world.comes(far)
        quick, quickly = await world.comes(other)
        async with peer.subscribe(Note, buffer_bytes=10_000) as inbox, quick.subscribe(Note) as orders:
            sent = 0
            with trio.move_on_after(5):
                while True:
                    await theirs.send(Note(payload=b"%04d" % sent + bytes(10_000)))
                    sent += 1
            assert sent < 200
            await quickly.send(Note(payload=b"I am heard"))
            assert await anext(orders) == Note(payload=b"I am heard")
            assert peer.statistics().reading_paused
            numbers = [(await anext(inbox)).payload[:4] for _ in range(sent)]
            assert numbers == [b"%04d" % number for number in range(sent)]
            assert peer.reason is None
