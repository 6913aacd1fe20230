"""A BOLT 8 and BOLT 1 client that shares no code with triolight: what it agrees with, is not our own mistake twice.

It imports nothing of ours. The curve is written out here, the AEAD is the only thing it takes from a library, and it
frames, rotates and parses by itself. Slow, and meant to be. No test here.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)
Jacobian = tuple[int, int, int]


def _double(point: Jacobian) -> Jacobian:
    x, y, z = point
    if not y:
        return (0, 1, 0)
    s = 4 * x * y * y % P
    m = 3 * x * x % P
    x3 = (m * m - 2 * s) % P
    return (x3, (m * (s - x3) - 8 * y**4) % P, 2 * y * z % P)


def _add(one: Jacobian, other: Jacobian) -> Jacobian:
    if not one[2]:
        return other
    if not other[2]:
        return one
    z1, z2 = one[2] * one[2] % P, other[2] * other[2] % P
    u1, u2 = one[0] * z2 % P, other[0] * z1 % P
    s1, s2 = one[1] * z2 * other[2] % P, other[1] * z1 * one[2] % P
    if u1 == u2:
        return _double(one) if s1 == s2 else (0, 1, 0)
    h, r = u2 - u1, s2 - s1
    h2 = h * h % P
    h3, v = h * h2 % P, u1 * h2 % P
    x3 = (r * r - h3 - 2 * v) % P
    return (x3, (r * (v - x3) - s1 * h3) % P, h * one[2] * other[2] % P)


def multiply(scalar: int, point: tuple[int, int]) -> bytes:
    """A multiple of a point, compressed."""
    result: Jacobian = (0, 1, 0)
    addend: Jacobian = (*point, 1)
    while scalar:
        if scalar & 1:
            result = _add(result, addend)
        addend = _double(addend)
        scalar >>= 1
    inverse = pow(result[2], -1, P)
    x, y = result[0] * inverse**2 % P, result[1] * inverse**3 % P
    return bytes([2 + y % 2]) + x.to_bytes(32, "big")


def decompress(data: bytes) -> tuple[int, int]:
    x = int.from_bytes(data[1:], "big")
    y = pow(x**3 + 7, (P + 1) // 4, P)
    if len(data) != 33 or data[0] not in (2, 3) or x >= P or y * y % P != (x**3 + 7) % P:
        raise ValueError("not a point")
    return x, y if y % 2 == data[0] % 2 else P - y


def public(secret: bytes) -> bytes:
    return multiply(int.from_bytes(secret, "big"), G)


def ecdh(secret: bytes, point: bytes) -> bytes:
    return hashlib.sha256(multiply(int.from_bytes(secret, "big"), decompress(point))).digest()


def hkdf(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    key = hmac.new(salt, material, hashlib.sha256).digest()
    first = hmac.new(key, b"\x01", hashlib.sha256).digest()
    return first, hmac.new(key, first + b"\x02", hashlib.sha256).digest()


def nonce(number: int) -> bytes:
    return b"\0\0\0\0" + number.to_bytes(8, "little")


@dataclass
class Cipher:
    """One direction."""

    key: bytes
    chaining_key: bytes
    count: int = 0

    def _next(self) -> tuple[ChaCha20Poly1305, bytes]:
        if self.count == 1000:
            self.chaining_key, self.key = hkdf(self.chaining_key, self.key)
            self.count = 0
        number = nonce(self.count)
        self.count += 1
        return ChaCha20Poly1305(self.key), number

    def encrypt(self, data: bytes) -> bytes:
        aead, number = self._next()
        return aead.encrypt(number, data, b"")

    def decrypt(self, data: bytes) -> bytes:
        aead, number = self._next()
        return aead.decrypt(number, data, b"")

    def frame(self, message: bytes) -> bytes:
        return self.encrypt(len(message).to_bytes(2, "big")) + self.encrypt(message)


class Noise:
    """The handshake of one side, act by act."""

    def __init__(self, secret: bytes, ephemeral: bytes, responder: bytes) -> None:
        self.secret, self.ephemeral = secret, ephemeral
        self.ck = hashlib.sha256(b"Noise_XK_secp256k1_ChaChaPoly_SHA256").digest()
        self.h = self.ck
        self.mix(b"lightning")
        self.mix(responder)
        self.responder = responder
        self.key = b""
        self.their_ephemeral = b""

    def mix(self, data: bytes) -> None:
        self.h = hashlib.sha256(self.h + data).digest()

    def seal(self, number: int, data: bytes) -> bytes:
        sealed = ChaCha20Poly1305(self.key).encrypt(nonce(number), data, self.h)
        self.mix(sealed)
        return sealed

    def open(self, number: int, sealed: bytes) -> bytes:
        data = ChaCha20Poly1305(self.key).decrypt(nonce(number), sealed, self.h)
        self.mix(sealed)
        return data

    def send_point(self, shared_with: bytes) -> bytes:
        """Act one or two."""
        ours = public(self.ephemeral)
        self.mix(ours)
        self.ck, self.key = hkdf(self.ck, ecdh(self.ephemeral, shared_with))
        return b"\0" + ours + self.seal(0, b"")

    def receive_point(self, act: bytes, secret: bytes) -> None:
        self.their_ephemeral = act[1:34]
        self.mix(self.their_ephemeral)
        self.ck, self.key = hkdf(self.ck, ecdh(secret, self.their_ephemeral))
        self.open(0, act[34:])

    def act_three(self) -> bytes:
        sealed = self.seal(1, public(self.secret))
        self.ck, self.key = hkdf(self.ck, ecdh(self.secret, self.their_ephemeral))
        return b"\0" + sealed + self.seal(0, b"")

    def receive_act_three(self, act: bytes) -> bytes:
        theirs = self.open(1, act[1:50])
        self.ck, self.key = hkdf(self.ck, ecdh(self.ephemeral, theirs))
        self.open(0, act[50:])
        return theirs

    def split(self, initiator: bool) -> tuple[Cipher, Cipher]:
        """(ours, theirs)."""
        first, second = hkdf(self.ck, b"")
        ours, theirs = Cipher(first, self.ck), Cipher(second, self.ck)
        return (ours, theirs) if initiator else (theirs, ours)


class Closed(Exception):
    """The other side has closed; `reset`: with RST instead of FIN."""

    def __init__(self, reset: bool) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


@dataclass
class Client:
    """One connection, after its handshake unless `raw` was asked for."""

    stream: trio.SocketStream
    ours: Cipher = field(default_factory=lambda: Cipher(bytes(32), bytes(32)))
    theirs: Cipher = field(default_factory=lambda: Cipher(bytes(32), bytes(32)))
    others: list[bytes] = field(default_factory=list)
    """Messages that came while another one was waited for."""

    async def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            try:
                more = await self.stream.receive_some(size - len(data))
            except trio.BrokenResourceError:
                raise Closed(True) from None
            if not more:
                raise Closed(False)
            data += more
        return data

    async def raw(self, data: bytes, *, dribble: bool = False) -> None:
        try:
            if dribble:
                for at in range(len(data)):
                    await self.stream.send_all(data[at : at + 1])
            else:
                await self.stream.send_all(data)
        except trio.BrokenResourceError:
            pass  # what it said before may still be there to be read

    async def send(self, *messages: bytes) -> None:
        await self.raw(b"".join(self.ours.frame(message) for message in messages))

    async def receive(self) -> bytes:
        length = self.theirs.decrypt(await self.exactly(18))
        return self.theirs.decrypt(await self.exactly(int.from_bytes(length, "big") + 16))

    async def until_closed(self) -> tuple[list[bytes], bool]:
        """Everything it still says, and whether it ended with RST."""
        said: list[bytes] = []
        while True:
            try:
                said.append(await self.receive())
            except Closed as closed:
                return said, closed.reset

    async def receive_type(self, type: int) -> bytes:
        while True:
            message = await self.receive()
            if int.from_bytes(message[:2], "big") == type:
                return message
            self.others.append(message)

    async def ping(self, num_pong_bytes: int, ignored: bytes = b"") -> bytes:
        """Its pong's bytes."""
        await self.send(ping(num_pong_bytes, ignored))
        return (await self.receive_type(19))[4:]

    async def alive(self) -> bool:
        """Whether a ping of a length that nothing else asked for is answered."""
        return await self.ping(1234) == bytes(1234)


async def dial(
    port: int,
    their_node_id: bytes,
    secret: bytes = b"\x21" * 32,
    *,
    ephemeral: bytes = b"\x22" * 32,
    dribble: bool = False,
    glue: bytes | None = None,
    init: bytes | None = None,
) -> tuple[Client, bytes]:
    """Connects to loopback and shakes hands. Returns the client and the other side's Init.

    `init` is sent, if given; `glue` messages travel in one segment with act three.
    """
    client = Client(await trio.open_tcp_stream("127.0.0.1", port))
    try:
        return client, await _shake_hands(client, their_node_id, secret, ephemeral, dribble, glue, init)
    except BaseException:
        await trio.aclose_forcefully(client.stream)
        raise


async def _shake_hands(
    client: Client,
    their_node_id: bytes,
    secret: bytes,
    ephemeral: bytes,
    dribble: bool,
    glue: bytes | None,
    init: bytes | None,
) -> bytes:
    noise = Noise(secret, ephemeral, their_node_id)
    await client.raw(noise.send_point(their_node_id), dribble=dribble)
    noise.receive_point(await client.exactly(50), ephemeral)
    act_three = noise.act_three()
    client.ours, client.theirs = noise.split(True)
    if glue is not None:
        act_three += client.ours.frame(init or b"") + client.ours.frame(glue)
        init = None
    await client.raw(act_three, dribble=dribble)
    if init is not None:
        await client.send(init)
    return await client.receive()


async def accept(listener: trio.SocketListener, secret: bytes, init: bytes | None) -> tuple[Client, bytes, bytes]:
    """Waits for a connection and plays the responder. Returns the client, the initiator's node id and its Init."""
    client = Client(await listener.accept())
    ephemeral = b"\x23" * 32
    noise = Noise(secret, ephemeral, public(secret))
    noise.receive_point(await client.exactly(50), secret)
    await client.raw(noise.send_point(noise.their_ephemeral))
    theirs = noise.receive_act_three(await client.exactly(66))
    client.ours, client.theirs = noise.split(False)
    if init is not None:
        await client.send(init)
    return client, theirs, await client.receive()


def u16(number: int) -> bytes:
    return number.to_bytes(2, "big")


def bigsize(number: int) -> bytes:
    if number < 0xFD:
        return bytes([number])
    if number < 0x10000:
        return b"\xfd" + u16(number)
    return b"\xfe" + number.to_bytes(4, "big")


def tlv(type: int, value: bytes) -> bytes:
    return bigsize(type) + bigsize(len(value)) + value


def features(*bits: int) -> bytes:
    number = sum(1 << bit for bit in bits)
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def init(features: bytes = b"", globalfeatures: bytes = b"", tlvs: bytes = b"") -> bytes:
    return u16(16) + u16(len(globalfeatures)) + globalfeatures + u16(len(features)) + features + tlvs


def ping(num_pong_bytes: int, ignored: bytes = b"") -> bytes:
    return u16(18) + u16(num_pong_bytes) + u16(len(ignored)) + ignored


def pong(ignored: bytes = b"") -> bytes:
    return u16(19) + u16(len(ignored)) + ignored


def error(channel_id: bytes, data: bytes) -> bytes:
    return u16(17) + channel_id + u16(len(data)) + data


def warning(channel_id: bytes, data: bytes) -> bytes:
    return u16(1) + channel_id + u16(len(data)) + data
