"""A peer with no manners: it shakes hands and then says whatever it is told to. For floods and soaks on loopback."""

from __future__ import annotations

import secrets
import socket
import struct
from typing import Final

import trio

from triolight.keys import SecretKey
from triolight.messages import Init
from triolight.noise import Handshake, Opener, Sealer

INIT: Final = Init(features=bytes.fromhex("08a0002a0aa222")).encode()


class RawPeer:
    """One connection to loopback, after its handshake. Errors of the stream pass through."""

    def __init__(self, stream: trio.SocketStream, sealer: Sealer, opener: Opener) -> None:
        self.stream: Final = stream
        self._sealer: Final = sealer
        self._opener: Final = opener

    async def send(self, *messages: bytes) -> None:
        await self.stream.send_all(b"".join(map(self._sealer.seal, messages)))

    def sealed(self, *messages: bytes) -> bytes:
        """Their bytes, to be sent next: nonces are spent."""
        return b"".join(map(self._sealer.seal, messages))

    async def receive(self) -> bytes | None:
        """The next message; None at the end of the stream."""
        while (message := self._opener.next_message()) is None:
            data = await self.stream.receive_some(65_536)
            if not data:
                return None
            self._opener.feed(bytes(data))
        return message

    async def receive_type(self, type: int) -> bytes | None:
        """The next message of a type, None at the end; pings on the way are not answered."""
        while (message := await self.receive()) is not None:
            if message[0] << 8 | message[1] == type:
                return message
        return None

    def reset(self) -> None:
        """Vanishes: RST, no word."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.stream.socket.close()


async def connect(port: int, node_id: bytes, key: SecretKey, *, host: str = "127.0.0.1", source: str = "") -> RawPeer:
    """Dials, from a given loopback address if one is named, and makes the three acts and nothing else."""
    stream = await dial(port, host, source)
    try:
        handshake = Handshake(key, SecretKey(secrets.token_bytes(32)), node_id)
        await stream.send_all(handshake.act_one())
        while handshake.opener is None or handshake.sealer is None:
            data = await stream.receive_some(50)
            if not data:
                raise trio.BrokenResourceError("hung up in the handshake")
            answer, rest = handshake.receive(bytes(data))
            await stream.send_all(answer)
            if rest:
                raise RuntimeError("more than act two came")
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return RawPeer(stream, handshake.sealer, handshake.opener)


async def dial(port: int, host: str = "127.0.0.1", source: str = "") -> trio.SocketStream:
    """TCP, from a loopback address of one's choice."""
    sock = trio.socket.socket()
    try:
        if source:
            await sock.bind((source, 0))
        await sock.connect((host, port))
    except BaseException:
        sock.close()
        raise
    return trio.SocketStream(sock)
