"""A SOCKS5 server on Trio (RFC 1928, 1929) that writes down what it was asked. Loopback only; no test here.

It resolves nothing either: a table says where a name or an address leads.
"""

from __future__ import annotations

import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio

LOOPBACK = "127.0.0.1"
NO_AUTHENTICATION, USER_AND_PASSWORD, NONE_ACCEPTABLE = 0x00, 0x02, 0xFF
SUCCEEDED, HOST_UNREACHABLE, COMMAND_NOT_SUPPORTED, TYPE_NOT_SUPPORTED = 0x00, 0x04, 0x07, 0x08


class HungUp(Exception):
    """The client left in the middle of what it had to say."""


@dataclass(frozen=True)
class Asked:
    """One CONNECT, with the type of address as it was on the wire: 1, 3 (a name) or 4."""

    type: int
    host: str
    port: int
    credentials: tuple[str, str] | None


@dataclass
class Socks5Server:
    """`table` leads from what is asked to a port of loopback; what is not in it is unreachable.

    `refusals` are the reply codes for some hosts. `accounts` is who may come: None takes everybody, and prefers to hear
    a user name and a password if the client offers them, as Tor does.
    """

    table: Mapping[tuple[str, int], int] = field(default_factory=dict)
    refusals: Mapping[str, int] = field(default_factory=dict)
    accounts: Mapping[str, str] | None = None
    bound: bytes = b"\x01\x00\x00\x00\x00\x00\x00"
    """What a success says about its own end: type, address, port."""
    asked: list[Asked] = field(default_factory=list)
    offered: list[bytes] = field(default_factory=list)
    """The authentication methods of each client."""
    port: int = 0

    async def serve(self, client: trio.SocketStream) -> None:
        try:
            await self._serve(client)
        except (HungUp, trio.BrokenResourceError):
            pass

    async def _serve(self, client: trio.SocketStream) -> None:
        version, count = await _exactly(client, 2)
        if version != 5:
            return
        methods = await _exactly(client, count)
        self.offered.append(methods)
        if USER_AND_PASSWORD in methods:
            method = USER_AND_PASSWORD
        elif self.accounts is None and NO_AUTHENTICATION in methods:
            method = NO_AUTHENTICATION
        else:
            method = NONE_ACCEPTABLE
        await client.send_all(bytes((5, method)))
        if method == NONE_ACCEPTABLE:
            return
        credentials: tuple[str, str] | None = None
        if method == USER_AND_PASSWORD:
            await _exactly(client, 1)
            user = (await _exactly(client, (await _exactly(client, 1))[0])).decode("ascii")
            password = (await _exactly(client, (await _exactly(client, 1))[0])).decode("ascii")
            credentials = (user, password)
            known = self.accounts is None or self.accounts.get(user) == password
            await client.send_all(bytes((1, 0 if known else 1)))
            if not known:
                return
        _, command, _, type_ = await _exactly(client, 4)
        match type_:
            case 1:
                host = str(ipaddress.IPv4Address(await _exactly(client, 4)))
            case 3:
                host = (await _exactly(client, (await _exactly(client, 1))[0])).decode("ascii")
            case 4:
                host = str(ipaddress.IPv6Address(await _exactly(client, 16)))
            case _:
                await _refuse(client, TYPE_NOT_SUPPORTED)
                return
        port = int.from_bytes(await _exactly(client, 2), "big")
        self.asked.append(Asked(type_, host, port, credentials))
        if command != 1:
            await _refuse(client, COMMAND_NOT_SUPPORTED)
        elif host in self.refusals:
            await _refuse(client, self.refusals[host])
        elif (host, port) not in self.table:
            await _refuse(client, HOST_UNREACHABLE)
        else:
            async with await _dial(self.table[host, port]) as there:
                await client.send_all(bytes((5, SUCCEEDED, 0)) + self.bound)
                async with trio.open_nursery() as both_ways:
                    both_ways.start_soon(_copy, client, there)
                    both_ways.start_soon(_copy, there, client)


async def _exactly(stream: trio.SocketStream, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = await stream.receive_some(count - len(found))
        if not more:
            raise HungUp
        found += more
    return found


async def _refuse(client: trio.SocketStream, code: int) -> None:
    await client.send_all(bytes((5, code, 0, 1, 0, 0, 0, 0, 0, 0)))


async def _copy(source: trio.SocketStream, target: trio.SocketStream) -> None:
    async for data in source:
        await target.send_all(data)
    await target.send_eof()


async def _dial(port: int) -> trio.SocketStream:
    sock = trio.socket.socket()
    await sock.connect((LOOPBACK, port))
    return trio.SocketStream(sock)


async def listener_on_loopback() -> trio.SocketListener:
    """On a free port. By hand, as everything here: Trio's own way asks the resolver, even for a number."""
    sock = trio.socket.socket()
    await sock.bind((LOOPBACK, 0))
    sock.listen()
    return trio.SocketListener(sock)


@asynccontextmanager
async def listening(serve: Callable[[trio.SocketStream], Awaitable[object]]) -> AsyncIterator[int]:
    """A TCP server on a free port of loopback, until the block is left."""
    listener = await listener_on_loopback()

    async def closing(stream: trio.SocketStream) -> None:
        async with stream:
            await serve(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, closing, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_server(server: Socks5Server) -> AsyncIterator[Socks5Server]:
    """Runs it on a free port of loopback, which is in `port`, until the block is left."""
    async with listening(server.serve) as server.port:
        yield server
