"""A peer nursery over memory streams on the mock clock: how it begins, streams other than TCP, and how it ends."""

from __future__ import annotations

import datetime
import errno
import math
import random
import socket
import ssl
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support import (
    MESSAGES,
    Note,
    Order,
    identity,
    join,
    make_manager,
    open_pair,
    port_of,
)
from tests.support.inside import links_of
from tests.support.nodes import CountsSteps
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    CustomMessageHandler,
    DisconnectCode,
    NodeAddress,
    PeerClosed,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    open_peer_nursery,
)
from triolight.messages import Init, Message, Ping, Warning
from triolight.nursery import Block
from triolight.policy import Policy
from triolight.shell.watch import Deadlines
from triolight.ways import Tcp


async def test_a_port_that_cannot_be_had_is_named() -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=r"Address already in use: '127\.0\.0\.1:") as refused:
                await near.listen(port, host="127.0.0.1")
            assert (refused.value.errno, str(port) in str(refused.value)) == (errno.EADDRINUSE, True)
            with pytest.raises(OSError, match=rf"'\*:{port}'"):
                await near.listen(port)
        with pytest.raises(OSError, match=r"'\[2001:db8::1\]:9735'"):
            await near.listen(9735, host="2001:db8::1")
        with pytest.raises(socket.gaierror, match=r"'nowhere\.invalid:9735'"):
            await near.listen(9735, host=b"nowhere.invalid")


async def test_both_sides_know_each_other(autojump_clock: trio.testing.MockClock) -> None:
    async with open_pair() as pair:
        assert pair.to_far.node_id == identity(2)
        assert pair.to_near.node_id == identity(1)
        assert (pair.to_far.inbound, pair.to_near.inbound) == (False, True)
        assert pair.near.peers == {identity(2): pair.to_far}
        assert pair.to_far.init.features.hex() == "08a0002a0aa222"
        assert pair.to_far.features.offers("option_data_loss_protect")
        assert pair.to_far.address is None
        assert "connected" in repr(pair.to_far)
        assert "1 peers" in repr(pair.near)
    assert pair.near.peers == {}
    assert (await pair.to_far.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.SHUTDOWN)
    assert (await pair.to_near.wait_closed()).code in (DisconnectCode.PEER_CLOSED, DisconnectCode.SHUTDOWN)


async def test_events_and_subscriptions_end_with_the_nursery(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as near:
        pass
    async with near.events() as events, near.subscribe() as inbox:
        assert [event async for event in events] == []
        assert [message async for message in inbox] == []
    with pytest.raises(ConnectError, match="SHUTDOWN"):
        await near.connect(f"{identity(2).hex()}@127.0.0.1:1")
    with pytest.raises(PeerClosed, match="SHUTDOWN"):
        await near.listen(0, host="127.0.0.1")
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(ConnectError, match="SHUTDOWN"):
        await near.attach(ours, identity(2))
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


async def test_one_manager_one_open_block(autojump_clock: trio.testing.MockClock) -> None:
    manager = make_manager(1)
    async with open_peer_nursery(manager):
        with pytest.raises(RuntimeError, match="one manager, one open block"):
            async with open_peer_nursery(manager):
                pass
    async with open_peer_nursery(manager):
        pass


class Bug(Exception):
    pass


class Buggy(CustomMessageHandler):
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def handle_custom_message(self, node_id: bytes, message: Message) -> None:
        self.calls += 1
        raise Bug("in a handler")

    def peer_disconnected(self, node_id: bytes) -> None:
        self.calls += 1


async def test_a_handlers_bug_leaves_in_a_group_and_the_goodbyes_go_out(autojump_clock: trio.testing.MockClock) -> None:
    buggy = Buggy()
    async with open_peer_nursery(make_manager(3)) as third, third.subscribe(Warning) as goodbyes:
        with pytest.RaisesGroup(Bug):
            async with (
                open_peer_nursery(make_manager(1, custom=buggy)) as near,
                open_peer_nursery(make_manager(2)) as far,
            ):
                await join(near, third)
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))
                await trio.sleep_forever()
        assert buggy.calls == 1
        _, goodbye = await goodbyes.__anext__()
        assert goodbye.data == b"an internal error, shutting down"


async def test_a_bodys_exception_leaves_bare(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2)) as far, far.subscribe(Warning) as goodbyes:
        with pytest.raises(KeyError, match="mine"):
            async with open_peer_nursery(make_manager(1)) as near:
                await join(near, far)
                raise KeyError("mine")
        _, goodbye = await goodbyes.__anext__()
        assert goodbye.data == b"shutting down"


async def test_a_bodys_group_leaves_bare_too(autojump_clock: trio.testing.MockClock) -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.RaisesGroup(KeyError):
        async with open_peer_nursery(make_manager(1)), trio.open_nursery() as nursery:
            nursery.start_soon(fail)
    with pytest.RaisesGroup(pytest.RaisesGroup(KeyError)):
        async with open_peer_nursery(make_manager(1)), trio.open_nursery() as outer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
            outer.cancel_scope.cancel()


async def test_both_exceptions_leave_in_one_group(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2)) as far:
        with pytest.RaisesGroup(KeyError, Bug):
            async with open_peer_nursery(make_manager(1, custom=Buggy())) as near:
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))
                try:
                    await trio.sleep_forever()
                finally:
                    raise KeyError("mine")


async def test_refusing_handlers_words_reach_the_dialler(autojump_clock: trio.testing.MockClock) -> None:
    class Refuses(ChannelMessageHandler):
        def peer_connected(self, node_id: bytes, init: Init, inbound: bool) -> bool:
            return False

    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2, chan=Refuses())) as far:
        port = await port_of(far)
        async with near.subscribe(Warning) as warnings:
            peer = await near.connect(NodeAddress(identity(2), "127.0.0.1", port))
            assert b"refused" in (await warnings.__anext__())[1].data
            assert (await peer.wait_closed()).code is DisconnectCode.PEER_CLOSED


async def test_registry_of_the_manager_is_used(autojump_clock: trio.testing.MockClock) -> None:
    assert Note in MESSAGES
    async with open_pair(far=make_manager(2, messages=MESSAGES)) as pair, pair.far.subscribe() as inbox:
        await pair.to_far.send(Order(payload=b"even, but known"))
        assert await inbox.__anext__() == (pair.to_near, Order(payload=b"even, but known"))


async def test_a_second_crash_is_not_swallowed(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is a handler's; whatever comes after it, with all handlers silenced, is our own bug."""

    class Ours(Exception):
        pass

    async with open_peer_nursery(make_manager(2)) as far:
        with pytest.RaisesGroup(Bug, Ours, flatten_subgroups=True):
            async with open_peer_nursery(make_manager(1, custom=Buggy())) as near:
                _, to_near = await join(near, far)
                await to_near.send(Note(payload=b"boom"))

                def bug(*args: object) -> None:
                    raise Ours

                monkeypatch.setattr(near.manager, "disconnect_all_peers", bug)
                await trio.sleep_forever()


async def test_after_a_second_crash_the_pump_still_takes_events_and_sleeps(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more streams to close than events on their way fit: each one's last act is an event."""
    monkeypatch.setattr("triolight.nursery.EVENTS_CAPACITY", 4)
    steps = CountsSteps("pump")

    async def lives() -> None:
        near = make_manager(1, custom=Buggy())
        usual = near.disconnect_all_peers

        def bug(*arguments: Any) -> None:
            usual(*arguments)  # what it marks asks for another turn
            raise ZeroDivisionError

        monkeypatch.setattr(near, "disconnect_all_peers", bug)
        async with AsyncExitStack() as stack:
            managers = [make_manager(number) for number in range(2, 12)]
            others = [await stack.enter_async_context(open_peer_nursery(manager)) for manager in managers]
            async with open_peer_nursery(near) as peers:
                pairs = [await join(peers, other) for other in others]
                trio.lowlevel.add_instrument(steps)
                await pairs[0][1].send(Note(payload=b"boom"))
                await trio.sleep_forever()

    with trio.fail_after(60), pytest.RaisesGroup(Bug, ZeroDivisionError, flatten_subgroups=True):
        await lives()
    trio.lowlevel.remove_instrument(steps)
    assert 0 < steps.steps < 1_000


async def test_no_timer_is_lost_when_more_are_due_at_once_than_events_fit(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("triolight.nursery.EVENTS_CAPACITY", 1)
    async with AsyncExitStack() as stack:
        managers = [make_manager(number) for number in range(2, 12)]
        others = [await stack.enter_async_context(open_peer_nursery(one, ping_interval=1e6)) for one in managers]
        near = await stack.enter_async_context(open_peer_nursery(make_manager(1), ping_interval=30))
        peers = [(await join(near, other))[0] for other in others]
        for times in (1, 2, 3):
            await trio.sleep(31)
            assert [peer.statistics().sent["ping"].messages for peer in peers] == [times] * len(peers)


async def test_peers_are_pinged_together_and_none_before_its_time_but_for_that(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At most so many at once; nobody more than a sixty-fourth of the interval early."""
    monkeypatch.setattr("triolight.nursery.LOOKS_TOGETHER", 3)
    heard: list[float] = []

    async def listen(far: PeerNursery) -> None:
        async with far.subscribe(Ping) as inbox:
            async for _ in inbox:
                heard.append(trio.current_time() - began)

    async with AsyncExitStack() as stack:
        managers = [make_manager(number) for number in range(2, 8)]
        others = [await stack.enter_async_context(open_peer_nursery(one, ping_interval=1e6)) for one in managers]
        near = await stack.enter_async_context(open_peer_nursery(make_manager(1), ping_interval=64))
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for at, other in zip((0, 0.25, 0.5, 0.75, 1, 2), others, strict=True):
                nursery.start_soon(listen, other)
                await trio.sleep_until(began + at)
                await join(near, other)
            await trio.sleep_until(began + 67)
            nursery.cancel_scope.cancel()
        assert heard == [64, 64, 64, 64.75, 64.75, 66]


async def test_leaving_while_others_come_and_dial(autojump_clock: trio.testing.MockClock) -> None:
    """Listeners made, dials begun and streams attached in the moment of leaving: refused, and closed."""
    outcomes: list[str] = []

    async def trying(call: Any) -> None:
        try:
            await call
        except PeerClosed:
            outcomes.append("PeerClosed")
        except ConnectError as error:
            outcomes.append(error.reason.code)

    async with trio.open_nursery() as nursery, open_peer_nursery(make_manager(1)) as near:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(trying, near.attach(ours, identity(2)))
        nursery.start_soon(trying, near.listen(0, host="127.0.0.1"))
        nursery.start_soon(trying, near.connect(NodeAddress(identity(3), "127.0.0.1", 1)))
        await trio.lowlevel.checkpoint()
    assert len(outcomes) >= 1
    while await theirs.receive_some(100):
        pass


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


async def test_leaving_does_not_wait_for_a_peer_that_does_not_read(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(2), ping_interval=math.inf) as far:
        ours, theirs = trio.testing.lockstep_stream_pair()
        async with open_peer_nursery(make_manager(1), goodbye_deadline=5) as near:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.attach, theirs)
                peer = await near.attach(ours, identity(2))
            far.manager.hold_reading(next(iter(links_of(far))), True)
            await peer.send(*[Note(payload=bytes(60_000))] * 5)
            await trio.testing.wait_all_tasks_blocked()
            began = trio.current_time()
        assert 5 <= trio.current_time() - began <= 5.5


async def test_methods_before_the_block_is_entered() -> None:
    deadlines = Deadlines(1, 1, 1, 1, 1, 1)
    block = Block(make_manager(1), deadlines, Policy(), Tcp(), random.Random(1), lambda: 0)
    peers = PeerNursery(block)
    ours, _ = trio.testing.memory_stream_pair()
    with pytest.raises(RuntimeError, match="not been entered"):
        await peers.attach(ours, identity(2))
