"""The shell while others make trouble: in order, fairly, bounded, and with a reason for every end. On the mock
clock."""

from __future__ import annotations

import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import MESSAGES, Note, identity, make_manager, open_pair, port_of, until
from tests.support.independent import dial as dial_raw
from tests.support.independent import init as raw_init
from tests.support.independent import ping as raw_ping
from tests.support.inside import admission_of, crash_of, links_of, tasks_of, timers_of
from tests.support.messages import MANY
from triolight import (
    Allowance,
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    DisconnectReason,
    NodeAddress,
    Peer,
    PeerClosed,
    PeerConnected,
    PeerNursery,
    Policy,
    Population,
    SendMessages,
    open_peer_nursery,
)
from triolight.address import Address, descriptor_of
from triolight.descriptor import StreamDescriptor, remote_address
from triolight.messages import ChannelReady, Message, Ping, Pong, Warning
from triolight.shell.inboxes import SUBSCRIPTION_TOTAL_BYTES
from triolight.shell.turns import LEFTOVER_EVERY, SMALL_INPUT
from triolight.testing import Conditions, ScriptedPeer, ScriptFailed, SimulatedNetwork, scripted_peer


class Pieces(trio.abc.Stream):
    """A stream whose other side says what each read brings; what is written is kept."""

    def __init__(self) -> None:
        self.say, self._pieces = trio.open_memory_channel[bytes](1000)
        self.written = bytearray()
        self.more = trio.Event()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        try:
            return await self._pieces.receive()
        except trio.EndOfChannel:
            return b""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.written += data
        self.more.set()
        self.more = trio.Event()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.say.close()
        await trio.lowlevel.checkpoint()


class OtherSide(trio.abc.Stream):
    """The other end of `Pieces`: each write is one read."""

    def __init__(self, near: Pieces) -> None:
        self.near = near

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.near.say.send(bytes(data))

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while not self.near.written:
            await self.near.more.wait()
        data = bytes(self.near.written[:max_bytes])
        del self.near.written[: len(data)]
        return data

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.near.say.close()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def scripts(peers: PeerNursery, *numbers: int, pieces: bool = False) -> AsyncIterator[list[ScriptedPeer]]:
    """Peers that follow a script, after their Inits. With `pieces`, each of their writes is a read of its own."""
    async with AsyncExitStack() as stack, trio.open_nursery() as nursery:
        found: list[ScriptedPeer] = []
        for number in numbers:
            ours: trio.abc.Stream
            theirs: trio.abc.Stream
            if pieces:
                theirs = Pieces()
                ours = OtherSide(theirs)
            else:
                ours, theirs = trio.testing.memory_stream_pair()
            nursery.start_soon(peers.attach, theirs)
            peer = await stack.enter_async_context(
                scripted_peer(
                    ours,
                    peers.manager.our_node_id,
                    secret=bytes((number,)) * 32,
                    ephemeral=bytes((number, 1)) * 16,
                    messages=MESSAGES,
                )
            )
            await peer.exchange_inits()
            found.append(peer)
        yield found


def sealed(peer: ScriptedPeer, *messages: Message) -> bytes:
    """Their bytes, to be sent in one write."""
    return b"".join(map(peer.packet, messages))


# -- order -------------------------------------------------------------------------------------------------------------


async def test_nothing_overtakes_what_was_read_before(autojump_clock: trio.testing.MockClock) -> None:
    """A large read waits for its turn behind another one; a write to the same peer must not let a small one pass it."""
    heard: list[int] = []

    class Answers(CustomMessageHandler):
        """For each note of the first peer, something is written to the second."""

        def handle_custom_message(self, node_id: bytes, message: Message) -> None:
            if node_id == first.node_id:
                self.push(SendMessages(second.node_id, Note(payload=b"word")))
            elif isinstance(message, Note):
                heard.append(message.payload[0])

    async with (
        open_peer_nursery(make_manager(1, custom=Answers()), ping_interval=1e6) as peers,
        peers.events() as events,
        scripts(peers, 0x61, 0x62, pieces=True) as (first, second),
    ):
        for _ in range(2):
            assert isinstance(await anext(events), PeerConnected)
        many = [Note(payload=bytes(100)) for _ in range(200)]
        for _ in range(20):
            await first.stream.send_all(sealed(first, *many))
            await second.stream.send_all(sealed(second, *[Note(payload=bytes((1,)) * 200) for _ in range(40)]))
            await second.stream.send_all(sealed(second, Note(payload=b"\2")))
        await until(lambda: heard.count(2) == 20)
        assert heard == ([1] * 40 + [2]) * 20
        assert len(peers.peers) == 2


# -- fairness ----------------------------------------------------------------------------------------------------------


async def test_small_input_without_end_starves_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """Twenty peers always have a small read waiting that fills a turn; one has said much, and a ping behind it."""
    rounds = 0
    async with open_peer_nursery(make_manager(1), ping_interval=1e6) as peers:
        numbers = range(0x60, 0x60 + 20)
        async with (
            scripts(peers, *numbers) as flooders,
            scripts(peers, 0x51) as (honest,),
            trio.open_nursery() as flooding,
        ):
            burst = [*[Note(payload=b"x")] * 32, Ping(num_pong_bytes=1)]

            async def flood(flooder: ScriptedPeer) -> None:
                nonlocal rounds
                while True:
                    data = sealed(flooder, *burst)
                    assert len(data) <= SMALL_INPUT
                    await flooder.stream.send_all(data)
                    await flooder.expect(Pong)
                    rounds += 1
                    if rounds > 20_000:
                        raise AssertionError("it is never its turn")

            for flooder in flooders:
                flooding.start_soon(flood, flooder)
            while rounds < 100:  # they never all wait: `until` would
                await trio.lowlevel.checkpoint()
            before = rounds
            # 90 notes of 1,000 bytes: four turns' work, in two large reads at the most.
            await honest.stream.send_all(sealed(honest, *[Note(payload=bytes(1000))] * 90, Ping(num_pong_bytes=2)))
            await honest.expect(Pong)
            took = rounds - before
            flooding.cancel_scope.cancel()
            # Each of its four or five turns comes after LEFTOVER_EVERY of theirs, and after what they left over.
            assert took < 5 * LEFTOVER_EVERY * (len(flooders) + 1)


async def test_messages_of_many_pieces_count_as_many(autojump_clock: trio.testing.MockClock) -> None:
    """One of them is a turn's work and more: no second one is handled in the same turn, and their sender is slowed."""
    heavy = ChannelReady(channel_id=bytes(32), second_per_commitment_point=identity(3), tlvs=MANY)
    policy = Policy(allowance=Allowance(per_second=32_000, burst=64_000))
    async with open_peer_nursery(make_manager(1), policy=policy) as peers, scripts(peers, 0x61) as (peer,):
        work = peers.manager.work_done
        await peer.send(heavy, Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        assert peers.manager.work_done - work >= 1000 // 16
        await peer.send(*[heavy] * 9, Ping(num_pong_bytes=1))
        await peer.expect(Pong)
        assert peers.statistics().throttled > 0


# -- bounds ------------------------------------------------------------------------------------------------------------


HERE = ("8.8.8.8", 1000)


@asynccontextmanager
async def knocking(
    peers: PeerNursery, nursery: trio.Nursery, refused: list[DisconnectCode], number: int, lockstep: bool = False
) -> AsyncIterator[ScriptedPeer]:
    """An inbound connection from HERE, which may be refused. With `lockstep`, what it does not read is not written."""
    make = trio.testing.lockstep_stream_pair if lockstep else trio.testing.memory_stream_pair
    ours, theirs = make()

    async def attach() -> None:
        try:
            await peers.attach(theirs, None, HERE)
        except ConnectError as error:
            refused.append(error.reason.code)

    nursery.start_soon(attach)
    async with scripted_peer(
        ours,
        peers.manager.our_node_id,
        secret=bytes((number,)) * 32,
        ephemeral=len(refused).to_bytes(16, "big") + bytes((number,)) * 16,
        messages=MESSAGES,
    ) as peer:
        yield peer


async def test_connections_that_end_count_until_they_are_closed(autojump_clock: trio.testing.MockClock) -> None:
    """One node comes again and again, and never reads what it asked for. The newest wins, the others take their
    time."""
    refused: list[DisconnectCode] = []
    policy = Policy(max_strangers=50, max_strangers_per_source=4)
    most = 0
    async with (
        open_peer_nursery(make_manager(1), policy=policy) as peers,
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        for _ in range(12):
            try:
                peer = await stack.enter_async_context(knocking(peers, nursery, refused, 0x61, lockstep=True))
                await peer.exchange_inits()
                await peer.send(*[Ping(num_pong_bytes=60_000)] * 4)
            except (ScriptFailed, trio.BrokenResourceError):
                pass
            await trio.testing.wait_all_tasks_blocked()
            most = max(most, len(links_of(peers)))
        assert set(refused) == {DisconnectCode.TOO_MANY_STRANGERS}
        assert len(refused) >= 6
        assert most <= 6
        await trio.sleep(200)
        assert links_of(peers) == {}
        assert peers.statistics().strangers == 0
        assert admission_of(peers).strangers_by_source == {}


async def test_what_ended_peers_said_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    """A subscriber is busy; peers say something long, and leave. What waits for it keeps their places taken."""
    refused: list[DisconnectCode] = []
    policy = Policy(max_strangers=50, max_strangers_per_source=5)
    async with (
        open_peer_nursery(make_manager(1), policy=policy) as peers,
        peers.subscribe(Note, buffer_bytes=70_000) as inbox,
        trio.open_nursery() as nursery,
    ):
        for number in range(30):
            try:
                async with knocking(peers, nursery, refused, number + 0x20) as peer:
                    await peer.exchange_inits()
                    await peer.send(Note(payload=bytes(65_000)))
            except ScriptFailed:
                pass
            await trio.testing.wait_all_tasks_blocked()
        assert len(refused) >= 24
        assert 0 < peers.statistics().inbox_bytes <= 6 * 66_000 < SUBSCRIPTION_TOTAL_BYTES
        # As the subscriber reads, others get in again.
        with trio.move_on_after(1):
            async for _ in inbox:
                pass
        await until(lambda: not peers.statistics().strangers)
        assert peers.statistics().inbox_bytes == 0
        async with knocking(peers, nursery, refused, 99) as peer:
            await peer.exchange_inits()


async def test_nobody_waits_for_ever_to_deliver_what_an_ended_peer_said(autojump_clock: trio.testing.MockClock) -> None:
    """The newest connection of a node takes the place of one whose messages have no room; no subscriber reads them."""
    refused: list[DisconnectCode] = []
    async with (
        open_peer_nursery(make_manager(1)) as peers,
        peers.subscribe(Note, buffer_bytes=70_000),
        trio.open_nursery() as nursery,
        AsyncExitStack() as stack,
    ):
        for _ in range(5):
            peer = await stack.enter_async_context(knocking(peers, nursery, refused, 0x61))
            await peer.exchange_inits()
            await peer.send(*[Note(payload=bytes(65_000))] * 3)
            await trio.testing.wait_all_tasks_blocked()

        def deliverers() -> int:
            return sum("deliverer" in task.name for task in tasks_of(peers).child_tasks)

        assert deliverers() == 5
        await trio.sleep(200)
        assert deliverers() == 0
        assert peers.statistics().disconnects["SUBSCRIBER_STALLED"] == 1, "the one that was still connected"


async def test_timers_of_a_peer_that_stops_and_starts_do_not_pile_up(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_far.subscribe(Note, buffer_bytes=1) as inbox:

        async def send() -> None:
            for number in range(3000):
                await pair.to_near.send(Note(payload=number.to_bytes(4, "big")))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            for number in range(3000):
                await trio.testing.wait_all_tasks_blocked()
                assert (await anext(inbox)).payload == number.to_bytes(4, "big")
        assert pair.to_far.statistics().reading_paused > 1000
        assert len(timers_of(pair.near)) <= 2 * len(links_of(pair.near)) + 1024


# -- life --------------------------------------------------------------------------------------------------------------


async def test_a_subscriber_that_reads_others_has_not_stalled(autojump_clock: trio.testing.MockClock) -> None:
    """Two hundred peers have filled it, and one honest one says a word: it waits its turn, is heard soon, and stays."""
    async with (
        open_peer_nursery(make_manager(1), ping_interval=1e6) as peers,
        peers.subscribe(Note, buffer_bytes=4096) as inbox,
        scripts(peers, *range(2, 202)) as loud,
        scripts(peers, 202) as (honest,),
    ):
        for peer in loud:
            await peer.send(*[Note(payload=bytes(100))] * 300)
        await honest.send(*[Note(payload=b"a word")] * 20)
        taken, heard = 0, list[int]()
        with trio.move_on_after(400):
            async for _, note in inbox:
                await trio.sleep(0.01)
                taken += 1
                if note.payload == b"a word":
                    heard.append(taken)
        assert len(heard) == 20
        assert heard[0] <= 202, "peers take turns"
        assert len(peers.peers) == 201


async def test_a_slow_reader_is_not_taken_for_dead(autojump_clock: trio.testing.MockClock) -> None:
    """It asked for 2 MB of pongs, and takes them at 10 kB a second; our own ping is behind all that."""
    async with open_peer_nursery(make_manager(1)) as peers:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(peers.attach, theirs)
            async with scripted_peer(ours, identity(1), messages=MESSAGES, patience=1e6) as peer:
                await peer.exchange_inits()

                async def ask() -> None:
                    for _ in range(32):
                        await peer.send(Ping(num_pong_bytes=65_000))

                nursery.start_soon(ask)
                taken = 0
                while taken < 32 * 65_000:
                    taken += len(await ours.receive_some(1000))
                    await trio.sleep(0.1)
                assert len(peers.peers) == 1
                nursery.cancel_scope.cancel()


async def test_pongs_of_a_wrong_length_leave_no_ping_behind(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as peers, scripts(peers, 0x61) as (wrong,):
        await until(lambda: bool(peers.peers))
        (peer,) = peers.peers.values()
        for number in range(100):
            ping = await wrong.expect(Ping)
            assert number == 0 or peer.statistics().pings_outstanding <= 2
            await wrong.send(Pong(ignored=bytes(ping.num_pong_bytes + 1)))
        assert peer.reason is None
        assert peer.statistics().rtt_last is None
        # Nor do pings that somebody has given up waiting for take the places of others for ever.
        for _ in range(60):
            with trio.move_on_after(1):
                await peer.ping(5)
            with trio.move_on_after(0.5):
                await wrong.expect(Ping)
            await wrong.send(Pong(ignored=b"wrong"))
            await trio.testing.wait_all_tasks_blocked()
        assert peer.statistics().pings_outstanding <= 2


async def test_a_write_that_moves_has_not_stalled() -> None:
    """Over TCP: what the system has taken from us and the peer acknowledges counts, before there is room for more."""
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        other = await listeners[0].accept()
    async with stream, other:
        descriptor = StreamDescriptor(stream)
        other.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with trio.move_on_after(0.01):
            while True:
                await stream.send_all(bytes(65_536))
        full = descriptor.unsent()
        assert full
        with trio.fail_after(20):
            while (descriptor.unsent() or 0) >= full:
                await other.receive_some(65_536)
    assert descriptor.unsent() is None, "closed"


async def test_a_slow_stream_without_a_socket_is_seen_to_move(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    descriptor = StreamDescriptor(ours)
    descriptor.send_data(bytes(100_000), True)

    async def report(count: int) -> None:
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(descriptor.write_out, report)
        began: set[float | None] = set()
        taken = 0
        while taken < 100_000:
            await trio.sleep(1)
            taken += len(await theirs.receive_some(1000))
            began.add(descriptor.write_began)
        assert len(began) >= 5
        descriptor.disconnect_socket()
    assert descriptor.unsent() is None


# -- what the application does -----------------------------------------------------------------------------------------


class Raising(Policy):
    """Goes wrong when it is armed."""

    armed = ""

    def source_of(self, address: Address | None) -> str | None:
        if self.armed == "source":
            raise RuntimeError("mine")
        return super().source_of(address)

    def admit_stranger(self, address: Address | None, population: Population) -> DisconnectReason | None:
        if self.armed == "stranger":
            raise RuntimeError("mine")
        return super().admit_stranger(address, population)

    def admit_dial(self, node_id: bytes, address: Address, learned: bool) -> DisconnectReason | None:
        if self.armed == "dial":
            raise RuntimeError("mine")
        return super().admit_dial(node_id, address, learned)


@pytest.mark.parametrize("armed", ["source", "stranger", "dial", "stream"])
async def test_a_callback_that_raises_ends_with_goodbyes(armed: str, autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork(1, Conditions())
    home, away = network.host("9.9.9.9"), network.host("8.8.8.8")
    policy = Raising()

    async def dial(host: str, port: int) -> trio.abc.Stream:
        raise RuntimeError("mine")

    async with open_peer_nursery(make_manager(2), dial=away.dial) as far, far.subscribe(Warning) as warnings:
        with pytest.RaisesGroup(RuntimeError):
            async with open_peer_nursery(make_manager(1), policy=policy, dial=dial) as near:
                await near.listen_on(await home.listen())
                peer = await far.connect(NodeAddress(identity(1), "9.9.9.9", 9735))
                policy.armed = armed
                if armed in ("dial", "stream"):
                    near.keep(NodeAddress(identity(3), "8.8.4.4", 9735))
                else:
                    await away.dial("9.9.9.9", 9735)
                await trio.sleep_forever()
        _, goodbye = await anext(warnings)
        assert goodbye.data == b"an internal error, shutting down"
        assert (await peer.wait_closed()).code is DisconnectCode.PEER_CLOSED


async def test_leaving_with_a_listener_is_no_crash(autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork(1, Conditions())

    class Counts(ChannelMessageHandler):
        def __init__(self) -> None:
            super().__init__()
            self.disconnected = 0

        def peer_disconnected(self, node_id: bytes) -> None:
            self.disconnected += 1

    counts = Counts()
    async with (
        open_peer_nursery(make_manager(2), dial=network.host("8.8.8.8").dial) as far,
        far.subscribe(Warning) as warnings,
    ):
        async with open_peer_nursery(make_manager(1, chan=counts)) as near:
            await near.listen_on(await network.host("9.9.9.9").listen())
            await far.connect(NodeAddress(identity(1), "9.9.9.9", 9735))
            near.keep(NodeAddress(identity(3), "9.9.9.1", 9735))
            await until(lambda: bool(near.peers))
            leaving = near
        assert crash_of(leaving) is None
        assert (await anext(warnings))[1].data == b"shutting down"
        assert counts.disconnected == 1


@pytest.mark.parametrize("where", ["receive", "send"])
async def test_a_stream_that_raises_the_systems_errors_ends_alone(
    where: str, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_pair() as pair:
        ours, theirs = trio.testing.memory_stream_pair()
        armed = False
        half: Any = theirs.receive_stream if where == "receive" else theirs.send_stream
        name = "receive_some" if where == "receive" else "send_all"
        as_it_was = getattr(half, name)

        async def breaks(*arguments: Any) -> Any:
            if armed:
                raise ConnectionResetError(104, "Connection reset by peer")
            return await as_it_was(*arguments)

        setattr(half, name, breaks)
        found: list[Peer] = []

        async def attach() -> None:
            found.append(await pair.near.attach(theirs))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(attach)
            async with scripted_peer(ours, identity(1), messages=MESSAGES) as script:
                await script.exchange_inits()
                await until(lambda: bool(found))
                armed = True
                await script.send(Ping(num_pong_bytes=1))
                await script.stream.aclose()
                reason = await found[0].wait_closed()
        assert reason.code in (DisconnectCode.CONNECTION_LOST, DisconnectCode.PEER_CLOSED)
        assert await pair.to_far.ping() >= 0, "nobody else has noticed"


async def test_wrong_arguments_are_told_to_the_caller(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        every: list[Any] = ["Warning", Warning(data=b""), int]
        for wrong in every:
            with pytest.raises(TypeError, match="classes of messages"):
                pair.near.subscribe(wrong)
            with pytest.raises(TypeError, match="classes of messages"):
                pair.to_far.subscribe(Note, wrong)
        with pytest.raises(ValueError, match="buffer_bytes"):
            pair.near.subscribe(buffer_bytes=0)
        with pytest.raises(TypeError, match="not str"):
            await pair.to_far.send("text")  # type: ignore[arg-type]
        assert await pair.to_far.ping() >= 0
    for name in ("handshake_deadline", "init_deadline", "ping_interval", "pong_deadline", "stall_deadline"):
        for seconds in (0, -1, float("nan")):
            with pytest.raises(ValueError, match="deadline is more than 0 seconds"):
                open_peer_nursery(make_manager(1), **{name: seconds})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="goodbye"):
        open_peer_nursery(make_manager(1), goodbye_deadline=-1)


@pytest.mark.parametrize("seed", range(40))
async def test_no_one_gets_the_peer_of_a_dial_that_was_given_up(
    seed: int, autojump_clock: trio.testing.MockClock
) -> None:
    """One caller gives up in the moment in which it succeeds, another one comes then."""
    network = SimulatedNetwork(seed, Conditions(latency=0.01))
    async with (
        open_peer_nursery(make_manager(2)) as far,
        open_peer_nursery(make_manager(1), dial=network.host("8.8.8.8").dial) as near,
    ):
        await far.listen_on(await network.host("9.9.9.9").listen())
        address = NodeAddress(identity(2), "9.9.9.9", 9735)
        # The dial takes six or seven ways of 10 ms; all the moments around its end are tried.
        give_up = 0.055 + 0.0005 * seed
        with trio.move_on_after(give_up):
            await near.connect(address)
        peer = await near.connect(address)
        try:
            await peer.ping()
        except PeerClosed as error:
            raise AssertionError(f"{give_up}: {error.reason}") from error


async def test_tls_is_counted_by_the_address_below_it() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0]:
        stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1])
        async with stream, await listeners[0].accept():
            wrapped = trio.SSLStream(stream, ssl.create_default_context(), server_hostname="localhost")
            host, port = stream.socket.getpeername()
            assert remote_address(wrapped) == remote_address(stream) == descriptor_of(host, port)
    ours, _ = trio.testing.memory_stream_pair()
    assert remote_address(ours) is None


@pytest.mark.parametrize("flooders", [1, 5])
async def test_pings_of_peers_that_never_read_cost_less_than_a_mebibyte_each(flooders: int) -> None:
    """Each asks for 2,000 pongs of 65,531 bytes: 131 MB, if one paid."""
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(1)) as peers:
            port = await port_of(peers)
            clients = []
            for number in range(flooders):
                client, _ = await dial_raw(port, identity(1), secret=bytes([0x30 + number]) * 32, init=raw_init())
                clients.append((client, b"".join(client.ours.frame(raw_ping(65_531)) for _ in range(2_000))))
            honest, _ = await dial_raw(port, identity(1), secret=b"\x77" * 32, init=raw_init())
            assert await honest.alive()
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                async with trio.open_nursery() as nursery:
                    for client, flood in clients:
                        nursery.start_soon(client.raw, flood)
                    # An honest peer is answered all the while, and time passes for the flood to do what it can.
                    for _ in range(300):
                        assert await honest.alive()
                    nursery.cancel_scope.cancel()
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert (peak - before) / flooders < 1024 * 1024
            for client, _ in clients:
                await trio.aclose_forcefully(client.stream)
            await honest.stream.aclose()
