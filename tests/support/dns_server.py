"""A DNS server on Trio, UDP and TCP on one port of loopback, that answers as a test tells it. No test here.

It stands for the resolver and the seed at once: whoever asks it for anything hears what `answer` says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset
import trio
import trio.testing

LOOPBACK = "127.0.0.1"
Answer = Callable[[dns.message.Message, bool], "dns.message.Message | bytes | None"]
"""From a query, and whether it came by TCP, to an answer, to bytes in place of one, or to silence."""


@dataclass
class DnsServer:
    answer: Answer
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    """Name and type of each question, and whether it came by TCP."""
    ids: list[int] = field(default_factory=list)
    heard: trio.Event = field(default_factory=trio.Event)
    """Set by the first question."""
    port: int = 0

    @property
    def address(self) -> tuple[str, int]:
        return (LOOPBACK, self.port)

    def _answered(self, wire: bytes, tcp: bool) -> bytes | None:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        self.asked.append((question.name.to_text(), dns.rdatatype.to_text(question.rdtype), tcp))
        self.ids.append(query.id)
        self.heard.set()
        answer = self.answer(query, tcp)
        return answer.to_wire(max_size=65535) if isinstance(answer, dns.message.Message) else answer

    async def serve_udp(self, sock: trio.socket.SocketType) -> None:
        while True:
            wire, client = await sock.recvfrom(65535)
            answer = self._answered(wire, tcp=False)
            if answer is not None:
                await sock.sendto(answer, client)

    async def serve_tcp(self, stream: trio.SocketStream) -> None:
        """One question a connection. Bytes in place of an answer go out as they are, without a length."""
        received = b""
        while len(received) < 2 or len(received) < 2 + int.from_bytes(received[:2], "big"):
            data = await stream.receive_some()
            if not data:
                return
            received += data
        query = received[2:]
        answer = self._answered(query, tcp=True)
        if answer is None:
            # Silence lasts until the client leaves.
            await stream.receive_some()
        elif len(answer) < 12:
            await stream.send_all(answer)
        else:
            await stream.send_all(len(answer).to_bytes(2, "big") + answer)


@asynccontextmanager
async def open_dns(answer: Answer, *, tcp: bool = True) -> AsyncIterator[DnsServer]:
    """Runs one on a port of loopback that is free for both, until the block is left. Without `tcp` it refuses that."""
    server = DnsServer(answer)
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as datagrams:
        while True:
            listening = trio.socket.socket()
            await listening.bind((LOOPBACK, 0))
            try:
                await datagrams.bind(listening.getsockname())
                break
            except OSError:  # somebody else has it for UDP
                listening.close()
        if tcp:
            listening.listen()
        server.port = listening.getsockname()[1]

        async def serve(stream: trio.SocketStream) -> None:
            async with stream:
                await server.serve_tcp(stream)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.serve_udp, datagrams)
            if tcp:
                nursery.start_soon(trio.serve_listeners, serve, [trio.SocketListener(listening)])
            yield server
            nursery.cancel_scope.cancel()
        listening.close()


OF_BOLT_10 = "ln1qwktpe6jxltmpphyl578eax6fcjc2m807qalr76a5gfmx7k9qqfjwy4mctz"
"""From its examples."""
