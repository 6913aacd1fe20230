"""Dials through a SOCKS5 proxy: a real one on loopback, several broken ones, and a resolver that must not be asked."""

from __future__ import annotations

import hashlib
import ipaddress
import socket
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from tests.support import identity, make_manager
from tests.support.socks5 import LOOPBACK, Asked, Socks5Server, listener_on_loopback, listening, open_server
from triolight import NodeAddress, open_peer_nursery
from triolight.proxy import ISOLATION_USER, Proxy, ProxyError, open_through

ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


@pytest.fixture(autouse=True)
def _nothing_is_resolved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks the system for an address fails the test, literals too."""

    def refuse(*what: Any, **how: Any) -> NoReturn:
        raise AssertionError(f"asked the resolver for {what} {how}")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
        monkeypatch.setattr(socket, name, refuse)
    monkeypatch.setattr(trio.socket, "getaddrinfo", refuse)


async def echo(stream: trio.SocketStream) -> None:
    async for data in stream:
        await stream.send_all(data)


def through(server: Socks5Server, **options: Any) -> Proxy:
    return Proxy(LOOPBACK, server.port, **options)


async def failure(port: int, host: str = "node.example", to: int = 9735, **options: Any) -> ProxyError:
    with pytest.raises(ProxyError) as caught:
        await open_through(Proxy(LOOPBACK, port, **options), host, to)
    return caught.value


# -- what a proxy is called --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "proxy", "shown"),
    [
        ("socks5://127.0.0.1:9050", Proxy("127.0.0.1", 9050), "socks5://127.0.0.1:9050"),
        ("socks5h://tor.example:1080/", Proxy("tor.example", 1080), "socks5://tor.example:1080"),
        ("SOCKS5://[::1]:9050", Proxy("::1", 9050), "socks5://[::1]:9050"),
        (
            "socks5://us%40er:pass%3aword@127.0.0.1:1",
            Proxy("127.0.0.1", 1, username="us@er", password="pass:word"),
            "socks5://us%40er@127.0.0.1:1",
        ),
    ],
)
def test_a_proxy_is_parsed_and_shown_without_its_password(text: str, proxy: Proxy, shown: str) -> None:
    assert Proxy.parse(text) == proxy
    assert str(proxy) == shown
    assert Proxy.parse(str(Proxy(proxy.host, proxy.port))) == Proxy(proxy.host, proxy.port)
    assert "pass:word" not in repr(proxy)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with socks5:// or socks5h://"),
        ("127.0.0.1:9050", "begins with socks5://"),
        ("hidden:hidden@127.0.0.1:9050", "begins with socks5://"),
        ("http://127.0.0.1:9050", "not 'http'"),
        ("socks5://", "no host"),
        ("socks5://:9050", "no host"),
        ("socks5://127.0.0.1", "no TCP port"),
        ("socks5://127.0.0.1:", "no TCP port"),
        ("socks5://127.0.0.1:0", "no TCP port of a proxy: 0"),
        ("socks5://127.0.0.1:70000", "no host and TCP port"),
        ("socks5://127.0.0.1:tor", "no host and TCP port"),
        ("socks5://[::1:9050", "no host and TCP port"),
        ("socks5://127.0.0.1:9050/path", "nothing follows"),
        ("socks5://127.0.0.1:9050?isolate", "nothing follows"),
        ("socks5://127.0.0.1:9050#x", "nothing follows"),
        ("socks5://a..b:9050", "not a host of a proxy: 'a..b'"),
        ("socks5://127.1:9050", "not a host of a proxy: '127.1'"),
        ("socks5://[fe80::1%25eth0]:9050", "not a host of a proxy"),
        ("socks5://user@127.0.0.1:9050", "a user name and a password, or neither"),
        ("socks5://user:@127.0.0.1:9050", "the password of a proxy has 1 to 255"),
        (f"socks5://{'u' * 256}:hidden@127.0.0.1:9050", "the user name of a proxy has 1 to 255"),
        ("socks5://user:hidden%e4@127.0.0.1:9050", "the password of a proxy has 1 to 255 ASCII"),
        ("socks5://user:hiddenä@127.0.0.1:9050", "written in ASCII without spaces"),
        ("socks5://127.0.0.1:9050\n", "written in ASCII without spaces"),
    ],
)
def test_what_is_no_proxy_is_told_without_showing_a_password(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Proxy.parse(text)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


# -- what is asked of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "type_", "read"),
    [
        ("node.example", 3, "node.example"),
        ("Node_1.Example.", 3, "Node_1.Example"),
        (f"{ONION}.", 3, ONION),
        (f"{'a' * 63}.example", 3, f"{'a' * 63}.example"),
        (ONION, 3, ONION),
        (ONION.upper(), 3, ONION.upper()),
        ("203.0.113.5", 1, "203.0.113.5"),
        ("2001:db8::5", 4, "2001:db8::5"),
        ("::", 4, "::"),
        ("::1", 4, "::1"),
        ("1::", 4, "1::"),
        ("2001:DB8:0:0:1::1", 4, "2001:db8::1:0:0:1"),
        ("::ffff:203.0.113.5", 4, str(ipaddress.ip_address("::ffff:203.0.113.5"))),
    ],
)
async def test_it_connects_and_names_arrive_as_names(host: str, type_: int, read: str) -> None:
    with trio.fail_after(20):
        async with listening(echo) as port, open_server(Socks5Server({(read, 9735): port})) as server:
            stream = await open_through(through(server), host, 9735, isolation="a node")
            assert isinstance(stream, trio.SocketStream)
            async with stream:
                await stream.send_all(b"there")
                assert await stream.receive_some() == b"there"
                await stream.send_eof()
                assert await stream.receive_some() == b""
            secret = hashlib.sha256(b"a node").hexdigest()
            assert server.asked == [Asked(type_, read, 9735, (ISOLATION_USER, secret))]


async def test_bytes_that_come_with_the_proxys_answer_are_not_lost() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        # No authentication; whoever speaks first on the other side is in the same segment as the success.
        await stream.receive_some()
        await stream.send_all(b"\x05\x00")
        await stream.receive_some()
        await stream.send_all(b"\x05\x00\x00\x03\x04name\x00\x01the first words")

    with trio.fail_after(20):
        async with (
            listening(serve) as port,
            await open_through(Proxy(LOOPBACK, port), "node.example", 9735) as stream,
        ):
            assert b"".join([data async for data in stream]) == b"the first words"


async def test_nodes_are_isolated_from_each_other_and_each_is_itself() -> None:
    with trio.fail_after(20):
        async with listening(echo) as port, open_server(Socks5Server({("node.example", 1): port})) as server:
            for isolation in ("one", "other", "one", "", "\ud800"):
                await (await open_through(through(server), "node.example", 1, isolation=isolation)).aclose()
            one, other, again, empty, odd = (asked.credentials for asked in server.asked)
            assert one == again
            assert len({one, other, empty, odd}) == 4
            assert all(each is not None and each[0] == ISOLATION_USER and "one" not in each[1] for each in (one, other))
            # Both are offered: a proxy that asks nobody's name takes us too.
            assert set(server.offered) == {b"\x00\x02"}


async def test_without_isolation_or_with_an_account_there_are_no_other_credentials() -> None:
    table = {("node.example", 1): 0}
    with trio.fail_after(20):
        async with listening(echo) as port:
            table["node.example", 1] = port
            async with open_server(Socks5Server(table)) as server:
                await (await open_through(through(server, isolate=False), "node.example", 1, isolation="x")).aclose()
                assert server.offered == [b"\x00"]
                assert server.asked[0].credentials is None
            async with open_server(Socks5Server(table, accounts={"user": "word"})) as server:
                proxy = through(server, username="user", password="word")
                await (await open_through(proxy, "node.example", 1, isolation="x")).aclose()
                assert server.asked[0].credentials == ("user", "word")


async def test_a_peer_is_dialled_through_it() -> None:
    listener = await listener_on_loopback()
    async with open_peer_nursery(make_manager(2)) as far:
        await far.listen_on(listener)
        port = listener.socket.getsockname()[1]
        async with open_server(Socks5Server({(ONION, 9735): port})) as server:

            async def dial(host: str, to: int) -> trio.SocketStream:
                return await open_through(through(server), host, to, isolation=host)

            async with open_peer_nursery(make_manager(1), dial=dial) as near:
                with trio.fail_after(20):
                    peer = await near.connect(NodeAddress(identity(2), ONION))
                    await peer.ping()
            assert [asked.host for asked in server.asked] == [ONION]


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "General SOCKS server failure"),
        (2, "Connection not allowed by ruleset"),
        (3, "Network unreachable"),
        (4, "Host unreachable"),
        (5, "Connection refused by destination host"),
        (6, "TTL expired"),
        (7, "Command not supported or protocol error"),
        (8, "Address type not supported"),
        (0x09, "unknown refusal 9"),
        (0xF0, "onion service not found"),
        (0xF4, "onion service wants client authorization"),
        (0xF6, "not a valid onion address"),
        (0xFF, "unknown refusal 255"),
    ],
)
async def test_a_refusal_has_its_words_and_its_code(code: int, words: str) -> None:
    with trio.fail_after(20):
        async with open_server(Socks5Server(refusals={"node.example": code})) as server:
            error = await failure(server.port)
            assert str(error) == f"proxy 127.0.0.1:{server.port} refused node.example:9735: {words}"
            assert error.code == code
            assert isinstance(error, OSError)


async def test_a_proxy_that_wants_other_credentials() -> None:
    with trio.fail_after(20):
        async with open_server(Socks5Server(accounts={"user": "word"})) as server:
            wrong = await failure(server.port, username="user", password="secret")
            assert "Username and password authentication failure" in str(wrong)
            assert "secret" not in str(wrong)
            assert "No acceptable authentication methods" in str(await failure(server.port, isolate=False))
            assert not server.asked


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((), "hung up before it answered for node.example:9735"),
        ((b"\x05",), "hung up before it answered"),
        ((b"\x05\x00",), "hung up before it answered"),
        ((b"\x05\x00", b"\x05\x00\x00\x01"), "hung up before it answered"),
        ((b"HTTP/1.1 400 Bad Request\r\n\r\n",), "is not a SOCKS5 proxy: Unexpected SOCKS version number: 72"),
        ((b"\x04\x00",), "is not a SOCKS5 proxy"),
        ((b"\x05\x00", b"\x04\x00\x00\x01" + bytes(6)), "is not a SOCKS5 proxy"),
        ((b"\x05\x01",), "did not serve node.example:9735: Unexpected SOCKS authentication method"),
        ((b"\x05\x07",), "did not serve node.example:9735: Invalid authentication method"),
        ((b"\x05\x02", b"\x02\x00"), "did not serve node.example:9735: Invalid authentication response"),
        ((b"\x05\x00", b"\x05\x00\x01\x01" + bytes(6)), "did not serve node.example:9735: The reserved byte"),
        ((b"\x05\x00", b"\x05\x00\x00\x09" + bytes(6)), "did not serve node.example:9735: Invalid address type"),
        ((b"\x05\x00", b"\x05\x00\x00\x03\x02\xff\xfe\x00\x01"), "answered with a malformed address"),
    ],
)
async def test_a_proxy_that_is_none(answers: tuple[bytes, ...], words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        for answer in answers:
            await stream.receive_some()
            await stream.send_all(answer)
        await stream.send_eof()
        async for _ in stream:
            pass

    with trio.fail_after(20):
        async with listening(serve) as port:
            error = await failure(port)
            assert str(error).startswith(f"proxy 127.0.0.1:{port} {words}")
            assert error.code is None


async def test_a_proxy_that_resets_the_connection() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        # On close, what is sent is a reset.
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")

    with trio.fail_after(20):
        async with listening(serve) as port:
            assert "hung up: Connection reset" in str(await failure(port))


async def test_a_proxy_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    # Bound and not listening: nobody else can have the port.
    with socket.socket() as nobody:
        nobody.bind((LOOPBACK, 0))
        port = nobody.getsockname()[1]
        assert str(await failure(port)) == f"proxy 127.0.0.1:{port} cannot be reached: Connection refused"

    async def unknown(*_: object, **__: object) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(trio.socket, "getaddrinfo", unknown)
    with pytest.raises(ProxyError, match=r"proxy tor\.example:9050 cannot be reached: Name or service not known"):
        await open_through(Proxy("tor.example", 9050), "node.example", 9735)


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("", 9735, "not a host"),
        ("a..b", 9735, "not a host"),
        ("-a.example", 9735, "not a host"),
        (f"{'a' * 64}.example", 9735, "not a host"),
        (".".join(["a" * 63] * 3 + ["a" * 61]), 9735, None),
        (".".join(["a" * 63] * 3 + ["a" * 62]), 9735, "not a host"),
        ("0x7f.1", 9735, "not a host name"),
        ("node.exämple", 9735, "not a host"),
        ("127.1", 9735, "not a host name"),
        ("01.2.3.4", 9735, "not a host name"),
        ("203.0.113.5\n", 9735, "not a host"),
        ("expyuzz4wqqyqhjn.onion", 9735, "not a version 3 onion name"),
        ("sub." + ONION, 9735, "not a version 3 onion name"),
        ("fe80::1%eth0", 9735, "an address with a zone"),
        ("node.example", 0, "no TCP port: 0"),
        ("node.example", 65536, "no TCP port: 65536"),
    ],
)
async def test_a_host_that_no_proxy_can_be_asked_for(host: str, port: int, words: str | None) -> None:
    with trio.fail_after(20):
        async with open_server(Socks5Server()) as server:
            error = await failure(server.port, host, port)
            if words is None:
                assert error.code == 4
            else:
                assert f"was not asked: {words}" in str(error)
                assert not server.offered


# -- cancellation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answers", [(), (b"\x05\x02",), (b"\x05\x00",), (b"\x05\x00", b"\x05\x00\x00")])
async def test_cancelled_while_the_proxy_is_silent_the_socket_is_closed(answers: tuple[bytes, ...]) -> None:
    silent, left = trio.Event(), trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        for answer in answers:
            await stream.receive_some()
            await stream.send_all(answer)
        silent.set()
        async for _ in stream:
            pass
        left.set()

    with trio.fail_after(20):
        async with listening(serve) as port:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:

                    async def cancel() -> None:
                        await silent.wait()
                        scope.cancel()

                    nursery.start_soon(cancel)
                    await open_through(Proxy(LOOPBACK, port), "node.example", 9735)
            assert scope.cancelled_caught
            await left.wait()


async def test_the_library_has_no_deadline_of_its_own(mock_clock: trio.testing.MockClock) -> None:
    asked, go_on = trio.Event(), trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        asked.set()
        await go_on.wait()
        await stream.send_all(b"\x05\xff")

    async with listening(serve) as port, trio.open_nursery() as nursery:

        async def a_day_later() -> None:
            await asked.wait()
            mock_clock.jump(86400)
            go_on.set()

        nursery.start_soon(a_day_later)
        assert "No acceptable authentication methods" in str(await failure(port))
