"""Dials of a peer nursery through a SOCKS5 proxy, over loopback: names stay names, and deadlines are longer."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager, port_of
from tests.support.socks5 import Socks5Server, open_server
from triolight import ConnectError, DisconnectCode, NodeAddress, Proxy, open_peer_nursery
from triolight.shell.watch import Deadlines

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


class NoNames(trio.abc.HostnameResolver):
    """Fails the test if anything is resolved."""

    async def getaddrinfo(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"resolved {arguments}")

    async def getnameinfo(self, *arguments: Any, **options: Any) -> NoReturn:
        raise AssertionError(f"resolved {arguments}")


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
            assert peer._session.link.deadlines == Deadlines(45, 45, 90, 180, 180, 5)
            await peer.disconnect()
            direct = await peers.connect(NodeAddress(identity(2), "127.0.0.1", port))
            assert direct._session.link.deadlines == Deadlines(15, 15, 30, 60, 60, 5)


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
        assert trio.current_time() - began == pytest.approx(45)
