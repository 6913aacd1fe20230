"""The shell at its edges: other streams than TCP, dials that fail or cross, streams that break, floods."""

from __future__ import annotations

import datetime
import math
import os
import random
import socket
import ssl
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import ListLogger, Note, identity, join, make_manager, open_pair, port_of
from tests.support.independent import dial as dial_raw
from tests.support.independent import init as raw_init
from tests.support.independent import ping as raw_ping
from triolight import (
    ConnectError,
    DisconnectCode,
    NodeAddress,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    open_peer_nursery,
)
from triolight.connection import BATCH_BYTES
from triolight.descriptor import DRAIN_SECONDS, OUTBOX_BYTES, REPORT_BYTES, StreamDescriptor
from triolight.messages import UnknownMessage, Warning
from triolight.noise import MAX_LENGTH, OVERHEAD
from triolight.nursery import Block
from triolight.policy import Policy
from triolight.shell.watch import Deadlines
from triolight.ways import Tcp


async def meet(near: PeerNursery, far: PeerNursery, ours: trio.abc.Stream, theirs: trio.abc.Stream) -> None:
    """Connects through two ends of something, and sees that it carries."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(far.attach, theirs)
        peer = await near.attach(ours, far.manager.our_node_id)
    async with far.subscribe(Note) as inbox:
        await peer.send(Note(payload=bytes(60_000)))
        assert (await inbox.__anext__())[1] == Note(payload=bytes(60_000))
    assert await peer.ping(65_531) >= 0


async def test_unix_sockets() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            ours, theirs = trio.socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            await meet(near, far, trio.SocketStream(ours), trio.SocketStream(theirs))


async def test_tls(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path / "both.pem"
    pem.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(2)) as far, far.subscribe(Warning) as warnings:
            async with open_peer_nursery(make_manager(1)) as near:
                ours, theirs = trio.socket.socketpair()
                await meet(
                    near,
                    far,
                    trio.SSLStream(trio.SocketStream(ours), client),
                    trio.SSLStream(trio.SocketStream(theirs), server, server_side=True),
                )
            # A stream that cannot half-close says goodbye all the same.
            assert (await warnings.__anext__())[1].data == b"shutting down"


async def test_ipv6_and_nodelay() -> None:
    if not socket.has_ipv6:
        pytest.skip("missing: IPv6")
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            port = await port_of(far, "::1")
            peer = await near.connect(f"{identity(2).hex()}@[::1]:{port}")
            assert far.peers[identity(1)].address is not None
            assert await peer.ping() > 0
            stream = peer._session.descriptor.stream
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_connecting_again_gives_the_same_peer() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            address = NodeAddress(identity(2), "127.0.0.1", await port_of(far))
            found: list[Any] = []

            async def connect() -> None:
                found.append(await near.connect(address))

            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(connect)
            found.append(await near.connect(address))
            assert set(found) == {near.peers[identity(2)]}
            assert len(far.peers) == 1


@pytest.mark.parametrize("seed", range(10))
async def test_crossing_dials_end_with_the_same_connection(seed: int) -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as one, open_peer_nursery(make_manager(2)) as other:
            to_other = NodeAddress(identity(2), "127.0.0.1", await port_of(other))
            to_one = NodeAddress(identity(1), "127.0.0.1", await port_of(one))
            found: dict[str, Any] = {}

            async def connect(name: str, peers: PeerNursery, address: NodeAddress, later: int) -> None:
                for _ in range(later):
                    await trio.lowlevel.checkpoint()
                found[name] = await peers.connect(address)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(connect, "one", one, to_other, seed % 3)
                nursery.start_soon(connect, "other", other, to_one, seed // 3)
            await one.peers[identity(2)].ping()
            await other.peers[identity(1)].ping()
            assert one.peers[identity(2)].inbound != other.peers[identity(1)].inbound
            assert len(one.peers) == len(other.peers) == 1


async def test_a_newer_connection_replaces_the_old_one(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_peer_nursery(make_manager(1)) as hub,
        open_peer_nursery(make_manager(2)) as old,
        hub.events() as events,
    ):
        await join(old, hub)
        assert isinstance(await events.__anext__(), PeerConnected)
        async with open_peer_nursery(make_manager(2)) as new:
            peer, _ = await join(new, hub)
            first, second = await events.__anext__(), await events.__anext__()
            assert isinstance(first, PeerDisconnected)
            assert first.reason.code is DisconnectCode.DUPLICATE
            assert isinstance(second, PeerConnected)
            assert hub.peers[identity(2)] is second.peer
            await peer.ping()
        assert old.peers == {}


class NoNames(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args: object, **options: object) -> Any:
        raise trio.socket.gaierror(-2, "Name or service not known")

    async def getnameinfo(self, *args: object, **options: object) -> Any:
        raise AssertionError


async def test_names_that_do_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with open_peer_nursery(make_manager(1)) as near:
        with pytest.raises(ConnectError, match=r"RESOLVE_FAILED.*not known"):
            await near.connect(f"{identity(2).hex()}@nowhere.invalid")


async def test_tcp_that_never_answers(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    async with open_peer_nursery(make_manager(1)) as near:
        with pytest.raises(ConnectError, match=r"TCP_FAILED.*15 seconds"):
            await near.connect(NodeAddress(identity(2), "127.0.0.1", 1))
        assert trio.current_time() == 15


async def test_attach_refuses_what_is_no_node_id() -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ValueError, match="no point of secp256k1"):
            await near.attach(ours, bytes(33))
        assert await theirs.receive_some(1) == b""
        ours, theirs = trio.testing.memory_stream_pair()
        with pytest.raises(ValueError, match="our own"):
            await near.attach(ours, identity(1))
        assert await theirs.receive_some(1) == b""
        with pytest.raises(ConnectError, match="our own node id"):
            await near.connect(NodeAddress(identity(1), "127.0.0.1", 9735))


async def test_a_remote_address_of_an_attached_stream(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.attach, theirs, None, ("8.8.4.4", 4242))
            peer = await near.attach(ours, identity(2))
        assert peer.init.tlvs.remote_addr == bytes.fromhex("01080804041092")


@pytest.mark.parametrize("capacity", [0, 1, 2])
async def test_a_full_channel_to_the_pump_is_only_slow(
    capacity: int, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.nursery.EVENTS_CAPACITY", capacity)
    monkeypatch.setattr("triolight.shell.pump.TAKEN_AT_ONCE", max(1, capacity))
    monkeypatch.setattr("triolight.shell.turns.TURN_WORK", 2)
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox, trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(pair.to_far.send, Note(payload=b"%d" % number))
            nursery.start_soon(pair.to_near.ping, number)
        pair.near.manager.send_message(identity(2), Note(payload=b"from outside"))
        assert len([await inbox.__anext__() for _ in range(21)]) == 21
        nursery.cancel_scope.cancel()


async def test_leaving_does_not_wait_for_a_peer_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2), ping_interval=math.inf) as far:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with open_peer_nursery(make_manager(1), goodbye_deadline=5) as near:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            far.manager.hold_reading(next(iter(far._parts.present.links)), True)
            await peer.send(*[Note(payload=bytes(60_000))] * 5)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
        assert 5 <= trio.current_time() - began <= 5.5


async def test_disconnect_waits_for_the_last_words(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, pair.to_near.subscribe(Warning) as warnings:
        await pair.to_far.disconnect("bye")
        assert [warning.data async for warning in warnings] == [b"bye"]
        assert not pair.near._parts.present.links


async def test_a_subscriber_that_leaves_frees_its_peer(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair, trio.open_nursery() as nursery:

        async def flood() -> None:
            for _ in range(100):
                await pair.to_far.send(Note(payload=bytes(30_000)))

        for subscribe in (pair.to_near.subscribe, pair.far.subscribe):
            async with subscribe(Note, buffer_bytes=10_000) as inbox:
                nursery.start_soon(flood)
                await inbox.__anext__()
                await trio.testing.wait_all_tasks_blocked()
                assert pair.to_near.statistics().inbox_bytes > 0
            assert pair.to_near.statistics().inbox_bytes == 0
            await pair.to_far.ping()


async def test_all_peers_of_a_subscriber_share_a_bound(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.shell.inboxes.SUBSCRIPTION_TOTAL_BYTES", 40_000)
    async with (
        open_peer_nursery(make_manager(1), ping_interval=math.inf) as hub,
        hub.subscribe(Note) as inbox,
        open_peer_nursery(make_manager(2)) as two,
        open_peer_nursery(make_manager(3)) as three,
        trio.open_nursery() as nursery,
    ):
        for far in (two, three):
            peer, _ = await join(far, hub)

            async def flood(peer: Any = peer) -> None:
                for _ in range(200):
                    await peer.send(Note(payload=bytes(3_000)))

            nursery.start_soon(flood)
        await trio.testing.wait_all_tasks_blocked()
        waiting = sum(peer.statistics().inbox_bytes for peer in hub.peers.values())
        assert 20_000 < waiting <= 40_000 + 2 * 3_514
        for _ in range(400):
            await inbox.__anext__()


class Breaks(trio.abc.HalfCloseableStream):
    """A stream that breaks in one of its methods."""

    def __init__(self, inner: trio.abc.HalfCloseableStream, where: str) -> None:
        self.inner = inner
        self.where = where
        self.broken = False

    def _maybe(self, where: str) -> None:
        if self.broken and where == self.where:
            raise trio.BrokenResourceError("as asked")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self._maybe("send")
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        self._maybe("eof")
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data = await self.inner.receive_some(max_bytes)
        self._maybe("receive")
        return data

    async def aclose(self) -> None:
        await self.inner.aclose()


@pytest.mark.parametrize("where", ["send", "receive", "eof"])
async def test_streams_that_break(where: str, autojump_clock: trio.testing.MockClock) -> None:
    logger = ListLogger()
    async with open_peer_nursery(make_manager(1, logger=logger)) as near, open_peer_nursery(make_manager(2)) as far:
        ours, theirs = trio.testing.memory_stream_pair()
        stream = Breaks(ours, where)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.attach, theirs)
            peer = await near.attach(stream, identity(2))
        stream.broken = True
        if where == "eof":
            await peer.disconnect("as well as it goes")
            return
        # What is written from now on is lost; what the other side says is still heard, and then its end.
        async with peer.subscribe(Note) as inbox:
            await peer.send(*[Note(payload=bytes(20_000))] * 40)
            if where == "send":
                await far.peers[identity(1)].send(Note(payload=b"still heard"))
                assert await inbox.__anext__() == Note(payload=b"still heard")
                await theirs.aclose()
            else:
                await far.peers[identity(1)].send(Note(payload=b"lost"))
        reason = await peer.wait_closed()
        assert reason.code in (DisconnectCode.CONNECTION_LOST, DisconnectCode.PEER_CLOSED, DisconnectCode.PING_TIMEOUT)
        with pytest.raises(PeerClosed):
            await peer.ping()


async def test_a_tcp_reset_is_named() -> None:
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as peers, peers.events() as events:
            client, _ = await dial_raw(await port_of(peers), identity(1), init=raw_init())
            event = await events.__anext__()
            linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
            client.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.stream.socket.close()
            reason = await event.peer.wait_closed()
            assert reason.code is DisconnectCode.CONNECTION_LOST
            assert "reset" in reason.message


async def test_a_handshake_without_init_ends_at_its_deadline(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    logger = ListLogger()
    async with open_peer_nursery(make_manager(1, logger=logger), init_deadline=7) as peers:
        client, _ = await dial_raw(await port_of(peers), identity(1))
        assert await client.until_closed() == ([], False)
        await client.stream.aclose()
    assert "no Init within 7 seconds" in logger


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


async def test_methods_before_the_block_is_entered() -> None:
    peers = PeerNursery(Block(make_manager(1), Deadlines(1, 1, 1, 1, 1, 1), Policy(), Tcp(), random.Random(1)))
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(RuntimeError, match="not been entered"):
        await peers.attach(ours, identity(2))


async def test_an_unknown_even_message_from_a_peer_in_the_middle_of_much(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_pair() as pair, pair.far.subscribe(Note) as inbox:
        notes = [Note(payload=b"%d" % number) for number in range(200)]
        await pair.to_far.send(*notes, UnknownMessage(43002, b""), Note(payload=b"never"))
        reason = await pair.to_near.wait_closed()
        assert reason.code is DisconnectCode.UNKNOWN_EVEN_MESSAGE
        for note in notes:
            assert (await inbox.__anext__())[1] == note
        assert pair.to_near.statistics().messages_received == 202


class _WithoutHalfClose(trio.abc.Stream):
    """Says that it ends when it is closed and not before, and needs a moment for that: as TLS does, and WebSocket."""

    def __init__(self) -> None:
        self.said = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.said = True


async def test_a_stream_without_half_close_says_that_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    stream = _WithoutHalfClose()
    await StreamDescriptor(stream).close(math.inf, polite=True)
    assert stream.said
    assert trio.current_time() == pytest.approx(DRAIN_SECONDS)
    late = _WithoutHalfClose()
    await StreamDescriptor(late).close(trio.current_time(), polite=True)
    assert not late.said


async def test_what_is_written_at_once_and_what_the_writer_writes_stay_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small messages go to an idle socket directly, others through the writer; here the socket takes what it likes."""
    rng = random.Random(1)
    took: set[str] = set()
    write = os.write

    def capricious(handle: int, data: bytes) -> int:
        if rng.random() < 0.3:
            took.add("nothing")
            raise BlockingIOError
        count = rng.randrange(1, len(data) + 1)
        took.add("a part" if count < len(data) else "all")
        return write(handle, data[:count])

    monkeypatch.setattr("triolight.descriptor.os.write", capricious)
    sizes = [rng.choice((0, 1, 300, 3_000, 5_000, 20_000, 65_000)) for _ in range(400)]
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        to_far = await near.connect(NodeAddress(identity(2), "127.0.0.1", await port_of(far)))
        to_near = far.peers[identity(1)]

        async def send() -> None:
            for number, size in enumerate(sizes):
                await to_far.send(Note(payload=number.to_bytes(4, "big") + bytes(size)))
                if rng.random() < 0.1:
                    await to_far.ping(rng.choice((0, 5_000)))

        with trio.fail_after(60):
            async with to_near.subscribe(Note) as notes, trio.open_nursery() as nursery:
                nursery.start_soon(send)
                for number, size in enumerate(sizes):
                    note = await anext(notes)
                    assert (int.from_bytes(note.payload[:4], "big"), len(note.payload)) == (number, size + 4)
    assert took == {"nothing", "a part", "all"}


# -- the descriptor alone ----------------------------------------------------------------------------------------------


async def socket_pair() -> tuple[StreamDescriptor, trio.SocketStream]:
    """A descriptor on one end of a TCP connection over loopback, and the other end."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        return StreamDescriptor(ours), await listener.accept()


async def test_a_descriptor_takes_no_more_than_it_has_room_for() -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    descriptor = StreamDescriptor(ours)
    assert repr(descriptor).startswith("<StreamDescriptor on ")
    whole = OUTBOX_BYTES + 1000
    assert descriptor.send_data(bytes(whole), False) == OUTBOX_BYTES
    assert descriptor.send_data(bytes(1000), False) == 0
    assert descriptor.made_room(OUTBOX_BYTES), "it was refused before: whoever wants to write hears of the room"
    assert not descriptor.made_room(0)
    assert descriptor.send_data(bytes(100_000), False) == 100_000
    assert descriptor.send_data(bytes(40_000), False) == 0, "all or nothing: the rest would be copied"
    assert descriptor.send_data(bytes(30_000), False) == 30_000
    descriptor.disconnect_socket()
    assert descriptor.send_data(bytes(whole), False) == whole, "nobody shall wait for what will never be written"


def test_the_outbox_takes_what_the_manager_gives_at_once() -> None:
    """Also while the last bytes that were written are not reported yet: nobody would wake a refused manager."""
    assert OUTBOX_BYTES - REPORT_BYTES >= BATCH_BYTES + MAX_LENGTH + OVERHEAD


async def test_a_reset_while_nothing_was_read_breaks_the_stream() -> None:
    with trio.fail_after(20):
        descriptor, theirs = await socket_pair()
        await theirs.send_all(b"a word")
        assert await descriptor.receive(100) == b"a word"
        descriptor.gives()
        descriptor.allow_reading()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await descriptor.receive(100)
        # Nor does a direct write raise: what is wrong the writer finds.
        assert descriptor.send_data(b"never", False) == 5
        assert not descriptor.broken
        descriptor.disconnect_socket()

        async def report(count: int) -> None:
            raise AssertionError("nothing has left it")

        await descriptor.write_out(report)
        assert descriptor.broken
        await descriptor.stream.aclose()
