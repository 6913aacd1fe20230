"""Ways: one block reaches one node by TCP and the next by WebSocket; no way that asks DNS asks it about an onion."""

from __future__ import annotations

import errno
import re
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager, port_of
from tests.support.inside import session_of
from tests.support.socks5 import Socks5Server, open_server
from triolight import (
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    KeepState,
    NodeAddress,
    Proxy,
    Way,
    open_peer_nursery,
    reasons,
)
from triolight.address import descriptor_of
from triolight.shell.link import link_of
from triolight.shell.watch import Deadlines
from triolight.testing import SimulatedNetwork
from triolight.text import system_words
from triolight.ways import PROXY_PATIENCE, DialWay, ProxyWay, Race, Refused, Tcp, way_of
from triolight.websocket import WebSocketListener, WebSocketStream, WebSocketWay, dial_websocket

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


class NoNames(trio.abc.HostnameResolver):
    """Fails the test if anything is resolved."""

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"resolved {arguments}")

    async def getnameinfo(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"resolved {arguments}")


async def test_one_block_one_node_by_tcp_and_the_next_by_websocket() -> None:
    with trio.fail_after(20):
        async with (
            open_peer_nursery(make_manager(1)) as peers,
            open_peer_nursery(make_manager(2)) as by_tcp,
            open_peer_nursery(make_manager(3)) as by_websocket,
            by_websocket.subscribe(Note) as notes,
        ):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await by_websocket.listen_on(*map(WebSocketListener, listeners))
            port = int(listeners[0].socket.getsockname()[1])
            plain = await peers.connect(NodeAddress(identity(2), "127.0.0.1", await port_of(by_tcp)))
            framed = await peers.connect(NodeAddress(identity(3), "127.0.0.1", port), way=WebSocketWay())
            assert isinstance(session_of(framed).descriptor.stream, WebSocketStream)
            assert isinstance(session_of(plain).descriptor.stream, trio.SocketStream)
            await framed.send(Note(payload=b"in a frame"))
            assert (await anext(notes))[1] == Note(payload=b"in a frame")
            assert await plain.ping() >= 0


async def test_a_kept_node_has_a_way_of_its_own(autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork(1)
    here, there = network.host("here"), network.host("there")
    over = WebSocketWay(DialWay(here.dial), lambda size: bytes(size))
    async with (
        open_peer_nursery(make_manager(1), dial=here.dial) as peers,
        open_peer_nursery(make_manager(2)) as far,
    ):
        await far.listen_on(WebSocketListener(await there.listen(9735)))
        kept = peers.keep(NodeAddress(identity(2), there.address, 9735), way=over)
        assert (kept.way, kept.proxy) == (over, None)
        peer = await kept.wait_connected()
        assert peer is not None
        assert isinstance(session_of(peer).descriptor.stream, WebSocketStream)
        assert peers.keep(NodeAddress(identity(2), there.address, 9736)) is kept
        assert kept.way == over
        assert kept.state is KeepState.CONNECTED


async def test_a_websocket_through_a_proxy_has_the_proxys_patience_and_faults() -> None:
    with trio.fail_after(20):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_server(Socks5Server()) as server,
            open_peer_nursery(make_manager(1)) as peers,
        ):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await far.listen_on(*map(WebSocketListener, listeners))
            server.table = {(ONION, 9735): int(listeners[0].socket.getsockname()[1])}
            way = WebSocketWay(ProxyWay(Proxy("127.0.0.1", server.port)))
            assert (way.patience, way.proxied) == (PROXY_PATIENCE, True)
            trio.socket.set_custom_hostname_resolver(NoNames())
            peer = await peers.connect(NodeAddress(identity(2), ONION, 9735), way=way)
            assert isinstance(session_of(peer).descriptor.stream, WebSocketStream)
            with pytest.raises(ConnectError) as refused:
                await peers.connect(NodeAddress(identity(3), ONION, 9736), way=way)
            assert refused.value.reason.code is DisconnectCode.PROXY_FAILED


@pytest.mark.parametrize("host", [ONION, ONION.upper(), ONION + ".", "x.onion"])
async def test_no_resolver_hears_of_an_onion(host: str) -> None:
    trio.socket.set_custom_hostname_resolver(NoNames())
    for way in (Tcp(), WebSocketWay()):
        assert way.refusal(host) is not None
        with pytest.raises(Refused, match="only reached through a proxy") as refused:
            await way.open(identity(2), host, 9735)
        assert refused.value.reason.code is DisconnectCode.ADDRESS_REFUSED
    with pytest.raises(OSError, match="only reached through a proxy"):
        await dial_websocket(host, 9735)


async def test_onions_are_refused_before_a_dial_is_made(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer_nursery(make_manager(1)) as peers:
        for way in (None, Tcp(), WebSocketWay()):
            with pytest.raises(ConnectError) as refused:
                await peers.connect(NodeAddress(identity(2), ONION, 9735), way=way)
            assert refused.value.reason.code is DisconnectCode.ADDRESS_REFUSED
        assert peers.statistics().handshake_failures == {DisconnectCode.ADDRESS_REFUSED: 3}


class Inward(trio.abc.HostnameResolver):
    """Every name leads inside."""

    async def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
        return [(trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    async def getnameinfo(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError


@pytest.mark.parametrize("way", [Tcp(), WebSocketWay(), WebSocketWay(WebSocketWay())])
async def test_an_announced_name_leads_nowhere_private_on_any_way(way: Way) -> None:
    asked: list[Any] = []

    def admit(node_id: bytes, address: Any) -> DisconnectReason:
        asked.append((node_id, address))
        return reasons.private_address()

    trio.socket.set_custom_hostname_resolver(Inward())
    with pytest.raises(Refused, match="private address"):
        await way.learned(admit).open(identity(2), "node.example", 9735)
    assert asked == [(identity(2), descriptor_of("127.0.0.1", 9735))]


async def test_without_tasks_the_addresses_of_a_name_are_tried_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a way by itself has it, which may not start any."""
    tried: list[str] = []

    async def open_(host: str, port: int) -> trio.abc.Stream:
        tried.append(host)
        await trio.lowlevel.checkpoint()
        if host == last:
            return trio.testing.memory_stream_pair()[0]
        raise OSError(errno.ECONNREFUSED, "no")

    class Three(Inward):
        async def getaddrinfo(self, host: Any, port: Any, *arguments: Any, **options: Any) -> list[Any]:
            return [(trio.socket.AF_INET, trio.socket.SOCK_STREAM, 6, "", (f"9.9.9.{n}", port)) for n in (1, 2, 3)]

    monkeypatch.setattr(trio, "open_tcp_stream", open_)
    trio.socket.set_custom_hostname_resolver(Three())
    way = Tcp().learned(lambda node_id, address: None)
    last = "9.9.9.2"
    await (await way.open(identity(2), "node.example", 9735)).aclose()
    assert tried == ["9.9.9.1", "9.9.9.2"]
    last = "nowhere"
    with pytest.raises(OSError, match="no connection with any address") as caught:
        await way.open(identity(2), "node.example", 9735)
    assert system_words(caught.value) == "Connection refused"


async def test_a_race_that_breaks_off_closes_what_it_has_won(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when its dial is cancelled in the step in which it has a stream."""
    ours, theirs = trio.testing.memory_stream_pair()

    async def open_(host: str, port: int) -> trio.abc.Stream:
        return ours

    async def racing(race: Race) -> None:
        await race.in_turn()
        raise trio.TooSlowError

    monkeypatch.setattr(trio, "open_tcp_stream", open_)
    trio.socket.set_custom_hostname_resolver(Inward())
    with pytest.raises(trio.TooSlowError):
        await Tcp().learned(lambda node_id, address: None, racing).open(identity(2), "node.example", 9735)
    assert await theirs.receive_some(1) == b""


async def test_a_way_of_an_applications_own(autojump_clock: trio.testing.MockClock) -> None:
    """Any stream will do."""

    class Wire(Way):
        async def open(self, node_id: bytes, host: str, port: int) -> trio.abc.Stream:
            ours, theirs = trio.testing.lockstep_stream_pair()
            nursery.start_soon(far.attach, theirs)
            return ours

    async with (
        open_peer_nursery(make_manager(1)) as peers,
        open_peer_nursery(make_manager(2)) as far,
        trio.open_nursery() as nursery,
    ):
        peer = await peers.connect(NodeAddress(identity(2), "anywhere", 1), way=Wire())
        assert await peer.ping() >= 0


async def test_a_proxy_and_a_way_are_one_too_many(autojump_clock: trio.testing.MockClock) -> None:
    address = NodeAddress(identity(2), "127.0.0.1", 1)
    async with open_peer_nursery(make_manager(1)) as peers:
        with pytest.raises(ValueError, match="not by both"):
            await peers.connect(address, proxy=Proxy("127.0.0.1", 1), way=Tcp())
        with pytest.raises(ValueError, match="not by both"):
            peers.keep(address, proxy=Proxy("127.0.0.1", 1), way=Tcp())


def test_ways_that_are_alike_are_equal() -> None:
    async def dial(host: str, port: int) -> NoReturn:
        raise OSError

    assert way_of(None) == way_of(trio.open_tcp_stream) == Tcp()
    assert way_of(dial) == DialWay(dial) != DialWay(dial_websocket)
    assert ProxyWay(Proxy("127.0.0.1", 1)) == ProxyWay(Proxy("127.0.0.1", 1)) != ProxyWay(Proxy("127.0.0.1", 2))
    assert WebSocketWay() == WebSocketWay(Tcp()) != WebSocketWay(DialWay(dial))


async def test_the_guides_own_way_reaches_a_node() -> None:
    source = (Path(__file__).parent.parent / "docs" / "ways.md").read_text()
    found = re.search(r"^```python\n(.*?)^```", source, re.MULTILINE | re.DOTALL)
    assert found is not None
    scope: dict[str, Any] = {}
    exec(compile(found.group(1), "docs/ways.md", "exec"), scope)
    # A Unix socket's path is short: the tests' own folder may have too long a name.
    with (
        trio.fail_after(20),
        tempfile.TemporaryDirectory() as folder,
        trio.socket.socket(trio.socket.AF_UNIX) as socket,
    ):
        await socket.bind(f"{folder}/{identity(2).hex()[:16]}")
        socket.listen()
        async with open_peer_nursery(make_manager(1)) as peers, open_peer_nursery(make_manager(2)) as far:
            await far.listen_on(trio.SocketListener(socket))
            peer = await peers.connect(NodeAddress(identity(2), "here", 1), way=scope["UnixSockets"](folder))
            assert await peer.ping() >= 0


async def test_ipv6_and_nodelay() -> None:
    if not socket.has_ipv6:
        pytest.skip("missing: IPv6")
    with trio.fail_after(20):
        async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
            port = await port_of(far, "::1")
            peer = await near.connect(f"{identity(2).hex()}@[::1]:{port}")
            assert far.peers[identity(1)].address is not None
            assert await peer.ping() > 0
            stream = session_of(peer).descriptor.stream
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Unresolvable(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *args: object, **options: object) -> Any:
        raise trio.socket.gaierror(-2, "Name or service not known")

    async def getnameinfo(self, *args: object, **options: object) -> Any:
        raise AssertionError


async def test_names_that_do_not_resolve() -> None:
    trio.socket.set_custom_hostname_resolver(Unresolvable())
    async with open_peer_nursery(make_manager(1)) as near:
        with pytest.raises(ConnectError, match=r"RESOLVE_FAILED.*not known"):
            await near.connect(f"{identity(2).hex()}@nowhere.invalid")


async def test_tcp_that_never_answers(autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*args: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr(trio, "open_tcp_stream", never)
    async with open_peer_nursery(make_manager(1)) as near:
        with pytest.raises(ConnectError, match=r"TCP_FAILED.*15 seconds"):
            await near.connect(NodeAddress(identity(2), "node.example", 1))
        assert trio.current_time() == 15


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
async def test_an_address_that_never_answers(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, host: str, family: int
) -> None:
    """Nothing is resolved, and the socket is closed at the deadline."""
    said: list[Any] = []

    class Silent:
        def __init__(self, family: int) -> None:
            said.append(family)

        async def connect(self, to: tuple[str, int]) -> NoReturn:
            said.append(to)
            await trio.sleep_forever()

        def close(self) -> None:
            said.append("closed")

    monkeypatch.setattr(trio.socket, "socket", Silent)
    trio.socket.set_custom_hostname_resolver(NoNames())
    async with open_peer_nursery(make_manager(1)) as near:
        with pytest.raises(ConnectError, match=r"TCP_FAILED.*15 seconds"):
            await near.connect(NodeAddress(identity(2), host, 9735))
        assert trio.current_time() == 15
        assert near.statistics().handshake_failures == {DisconnectCode.TCP_FAILED: 1}
    assert said == [family, (host, 9735), "closed"]


async def test_peers_through_a_proxy() -> None:
    with trio.fail_after(20):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_peer_nursery(make_manager(3)) as farther,
            open_server(Socks5Server()) as server,
        ):
            server.table = {(ONION, 9735): await port_of(far), ("node.example", 9735): await port_of(farther)}
            trio.socket.set_custom_hostname_resolver(NoNames())
            async with open_peer_nursery(make_manager(1), proxy=Proxy("127.0.0.1", server.port)) as peers:
                onion = await peers.connect(NodeAddress(identity(2), ONION, 9735))
                assert await onion.ping() < 10
                named = await peers.connect(NodeAddress(identity(3), "node.example", 9735))
                assert [asked.host for asked in server.asked] == [ONION, "node.example"]
                # A circuit for each node: Tor tells them apart by these.
                first, second = [asked.credentials for asked in server.asked]
                assert first is not None
                assert first != second
                await named.disconnect()
                await peers.connect(NodeAddress(identity(3), "node.example", 9735))
                assert server.asked[-1].credentials == second
                with pytest.raises(ConnectError) as refused:
                    await peers.connect(NodeAddress(identity(4), "nobody.example", 9735))
                assert refused.value.reason.code is DisconnectCode.PROXY_FAILED
                assert "proxy" in refused.value.reason.message


async def test_a_proxy_for_one_dial() -> None:
    with trio.fail_after(20):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_peer_nursery(make_manager(1)) as peers,
            open_server(Socks5Server()) as server,
        ):
            port = await port_of(far)
            server.table = {(ONION, 9735): port}
            with pytest.raises(ConnectError, match="ADDRESS_REFUSED"):
                await peers.connect(NodeAddress(identity(2), ONION, 9735))
            peer = await peers.connect(NodeAddress(identity(2), ONION, 9735), proxy=Proxy("127.0.0.1", server.port))
            assert link_of(session_of(peer).descriptor).deadlines == Deadlines(45, 45, 90, 180, 180, 5)
            await peer.disconnect()
            direct = await peers.connect(NodeAddress(identity(2), "127.0.0.1", port))
            assert link_of(session_of(direct).descriptor).deadlines == Deadlines(15, 15, 30, 60, 60, 5)


async def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    with pytest.raises(ImportError, match=r"triolight\[tor\]"):
        open_peer_nursery(make_manager(1), proxy=Proxy("127.0.0.1", 9050))
    async with open_peer_nursery(make_manager(1)) as peers:
        with pytest.raises(ImportError, match=r"triolight\[tor\]"):
            await peers.connect(NodeAddress(identity(2), ONION, 9735), proxy=Proxy("127.0.0.1", 9050))


async def test_a_proxy_that_never_answers(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.05
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, open_peer_nursery(make_manager(1)) as peers:
        proxy = Proxy("127.0.0.1", listener.socket.getsockname()[1])
        began = trio.current_time()
        with pytest.raises(ConnectError, match="within 45 seconds") as error:
            await peers.connect(NodeAddress(identity(2), ONION, 9735), proxy=proxy)
        assert error.value.reason.code is DisconnectCode.PROXY_FAILED
        assert error.value.reason.message == f"proxy 127.0.0.1:{proxy.port} has not answered within 45 seconds"
        assert trio.current_time() - began == pytest.approx(45)
