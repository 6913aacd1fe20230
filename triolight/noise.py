"""BOLT 8: Noise_XK_secp256k1_ChaChaPoly_SHA256. Bytes in, bytes out: no socket, no clock, no message type.

`Handshake` is the three acts, for either side; it ends in a `Sealer` and an `Opener`, one per direction, each with its
own key and its own chaining key. No secret shows in a repr, an error or a log.
"""

from __future__ import annotations

import hashlib
from enum import Enum
from typing import Any, Final

from triolight.ciphers import ChaCha20Poly1305, InvalidTag, hkdf
from triolight.compiled import mypyc_attr
from triolight.keys import POINT_LENGTH, ReadPoint, SecretKey, read_fresh_point, read_point

PROTOCOL_NAME: Final = b"Noise_XK_secp256k1_ChaChaPoly_SHA256"
PROLOGUE: Final = b"lightning"
ACT_ONE_LENGTH: Final = 50
"""Of act two as well."""
ACT_THREE_LENGTH: Final = 66
TAG_LENGTH: Final = 16
HEADER_LENGTH: Final = 2 + TAG_LENGTH
"""The encrypted length of a packet and its tag."""
OVERHEAD: Final = HEADER_LENGTH + TAG_LENGTH
"""Bytes that a packet has more than its message."""
ROTATION: Final = 1000
"""A key encrypts this many times (500 messages: length and body each count), then both sides rotate it."""
LARGE_BODY: Final = 4096
"""Bytes from which on a body is decrypted where it lies."""
TOGETHER_BYTES: Final = 8 * 1024
"""Of messages from which on no more of them are opened together, nor is one from LARGE_BODY on."""
MAX_PIECES: Final = 64
"""Pieces of a packet that are held apart: a packet that comes byte by byte would else cost forty times its size."""
MAX_LENGTH: Final = 65535

_VERSION: Final = b"\x00"
_NONCES: Final = tuple(bytes(4) + nonce.to_bytes(8, "little") for nonce in range(ROTATION))
"""Every nonce a key ever sees: making them anew costs a third of an encryption."""
_LENGTHS: Final = tuple(length.to_bytes(2, "big") for length in range(2048))


class Fault(Enum):
    """What an act failed on, as BOLT 8's appendix names it. The numbers are on tapes, and stay."""

    BAD_VERSION = 2
    BAD_PUBKEY = 3
    BAD_CIPHERTEXT = 4
    BAD_TAG = 5


class HandshakeFailed(Exception):
    """An act of the peer is not right; the handshake is over and nothing is answered. `act` is 1, 2 or 3."""

    def __init__(self, act: int, fault: Fault, detail: str) -> None:
        super().__init__(f"act {('one', 'two', 'three')[act - 1]}: {detail}")
        self.act: Final = act
        self.fault: Final = fault
        self.detail: Final = detail


class PacketFailed(Exception):
    """A packet's tag does not fit: changed, replayed, out of order, or of another key. Nothing more can be read."""


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


_START_CK: Final = _sha256(PROTOCOL_NAME)
_START_H: Final = _sha256(_START_CK + PROLOGUE)


@mypyc_attr(allow_interpreted_subclasses=True)
class Sealer:
    """Encrypts messages in order: a key, its nonce, and the chaining key that the next key comes from."""

    __slots__ = ("_chaining_key", "_encrypt", "_key", "_nonce")

    def __init__(self, key: bytes, chaining_key: bytes) -> None:
        self._key = key
        self._chaining_key = chaining_key
        self._nonce = 0
        self._encrypt = ChaCha20Poly1305(key).encrypt

    def seal(self, message: bytes) -> bytes:
        """A message of 0 to 65535 bytes as its packet, 34 bytes longer. ValueError if it is longer."""
        nonce = self._nonce
        if nonce == ROTATION:
            self._chaining_key, self._key = hkdf(self._chaining_key, self._key)
            self._encrypt = ChaCha20Poly1305(self._key).encrypt
            nonce = 0
        length = len(message)
        if length < 2048:
            header = _LENGTHS[length]
        elif length <= MAX_LENGTH:
            header = length.to_bytes(2, "big")
        else:
            raise ValueError(f"a message has at most {MAX_LENGTH} bytes, not {length}")
        self._nonce = nonce + 2
        encrypt = self._encrypt
        return encrypt(_NONCES[nonce], header, None) + encrypt(_NONCES[nonce + 1], message, None)

    def seal_all(self, messages: list[bytes]) -> bytes:
        """The packets of several messages, as `seal` makes them, in a row: a sixth less than one by one."""
        # They grow in one buffer: no packet is an object of its own, and none is joined to the others afterwards.
        packets = bytearray()
        nonce, encrypt = self._nonce, self._encrypt
        try:
            for message in messages:
                if nonce == ROTATION:
                    self._chaining_key, self._key = hkdf(self._chaining_key, self._key)
                    encrypt = self._encrypt = ChaCha20Poly1305(self._key).encrypt
                    nonce = 0
                length = len(message)
                if length < 2048:
                    header = _LENGTHS[length]
                elif length <= MAX_LENGTH:
                    header = length.to_bytes(2, "big")
                else:
                    raise ValueError(f"a message has at most {MAX_LENGTH} bytes, not {length}")
                nonce += 2  # before they are used: whatever comes of a message, none is used twice
                packets += encrypt(_NONCES[nonce - 2], header, None)
                packets += encrypt(_NONCES[nonce - 1], message, None)
        finally:
            self._nonce = nonce
        return bytes(packets)


@mypyc_attr(allow_interpreted_subclasses=True)
class Opener:
    """Decrypts packets in order, from pieces of any size. What was read of a packet is not decrypted twice.

    Holds at most one packet that is not whole, and what came behind it until `next_message` has taken it.
    """

    __slots__ = ("_at", "_buffer", "_chaining_key", "_decrypt", "_key", "_length", "_nonce", "_parts", "_parts_size")

    def __init__(self, key: bytes, chaining_key: bytes) -> None:
        self._key = key
        self._chaining_key = chaining_key
        self._nonce: int = 0
        self._decrypt = ChaCha20Poly1305(key).decrypt
        self._buffer: bytes = b""
        self._at: int = 0
        self._parts: list[bytes] = []
        """Pieces behind the buffer, not joined yet: joining at each piece would copy a long message again and again."""
        self._parts_size = 0
        self._length: int = -1
        """Bytes of the body that comes next (with its tag); -1: its header has not been opened."""

    @property
    def buffered(self) -> int:
        """Bytes that came and are not yet part of a message that was taken."""
        return len(self._buffer) - self._at + self._parts_size

    def feed(self, data: bytes) -> None:
        """More bytes of the stream. What is there already is copied once for MAX_PIECES pieces, not for each."""
        if self._at == len(self._buffer) and not self._parts:
            self._buffer = data
            self._at = 0
        elif data:
            self._parts.append(data)
            self._parts_size += len(data)
            if len(self._parts) >= MAX_PIECES:
                self._gather()

    def _gather(self) -> bytes:
        """What is left of the buffer and the pieces behind it, as the new buffer, to be read from its begin."""
        self._buffer = b"".join((memoryview(self._buffer)[self._at :], *self._parts))
        self._at = 0
        self._parts.clear()
        self._parts_size = 0
        return self._buffer

    def next_message(self) -> bytes | None:
        """The next message, None if its packet is not whole yet. Raises PacketFailed, and then again at every call."""
        # Of this, a node that is sent gossip does little else: names are cheaper than attributes.
        buffer, at, length, nonce = self._buffer, self._at, self._length, self._nonce
        if length < 0:
            body_at = at + HEADER_LENGTH
            if body_at > len(buffer):
                if self.buffered < HEADER_LENGTH:
                    if at == len(buffer) and not self._parts:
                        # All was taken: who says nothing more does not keep 64 KiB of what was said last.
                        self._buffer, self._at = b"", 0
                    return None
                buffer, at, body_at = self._gather(), 0, HEADER_LENGTH
            if nonce == ROTATION:
                self._chaining_key, self._key = hkdf(self._chaining_key, self._key)
                self._decrypt = ChaCha20Poly1305(self._key).decrypt
                nonce = self._nonce = 0
            try:
                header = self._decrypt(_NONCES[nonce], buffer[at:body_at], None)
            except InvalidTag:
                raise PacketFailed("the packet's length failed its authentication") from None
            nonce += 1
            at = body_at
            length = (header[0] << 8 | header[1]) + TAG_LENGTH
        stop = at + length
        if stop > len(buffer):
            self._nonce, self._at, self._length = nonce, at, length
            if self.buffered < length:
                return None
            buffer, at, stop = self._gather(), 0, length
        # No copy of a large body; of a small one it is cheaper than a view.
        body = buffer[at:stop] if length < LARGE_BODY else memoryview(buffer)[at:stop]
        try:
            message = self._decrypt(_NONCES[nonce], body, None)
        except InvalidTag:
            self._nonce, self._at, self._length = nonce, at, length
            raise PacketFailed("the packet's body failed its authentication") from None
        self._nonce, self._at, self._length = nonce + 1, stop, -1
        return message

    def next_messages(self, most: int) -> list[bytes]:
        """The next messages, at most so many, the last of them first: to be popped. Empty if no packet is whole yet.
        Raises as `next_message`, once all that came before is taken.

        They come together only under one key, and up to TOGETHER_BYTES: whoever takes one at a time holds little.
        """
        first = self.next_message()
        if first is None:
            return []
        messages = [first]
        room = TOGETHER_BYTES - len(first)
        if room <= 0:
            return messages
        buffer, at, nonce, decrypt = self._buffer, self._at, self._nonce, self._decrypt
        size, length = len(buffer), -1
        while len(messages) < most and room > 0 and nonce < ROTATION:
            body_at = at + HEADER_LENGTH
            if body_at > size:
                break
            try:
                header = decrypt(_NONCES[nonce], buffer[at:body_at], None)
                length = (header[0] << 8 | header[1]) + TAG_LENGTH
                nonce += 1
                at = body_at
                stop = at + length
                if stop > size or length >= LARGE_BODY:
                    break  # its header is open; the rest is `next_message`'s
                messages.append(decrypt(_NONCES[nonce], buffer[at:stop], None))
            except InvalidTag:
                break  # `next_message` finds it again, and says so
            nonce += 1
            at = stop
            room -= length
            length = -1
        self._nonce, self._at, self._length = nonce, at, length
        messages.reverse()
        return messages


@mypyc_attr(allow_interpreted_subclasses=True)
class Handshake:
    """The three acts of one side.

    The initiator knows the responder's node id beforehand; the responder learns the initiator's in act three. Act bytes
    go in through `receive`, which takes exactly as many as it needs, and come out as its return value. Any fault raises
    HandshakeFailed and nothing is ever written in answer.
    """

    __slots__ = (
        "_buffer",
        "_chaining_key",
        "_cipher",
        "_ephemeral",
        "_expects",
        "_hash",
        "_initiator",
        "_our_key",
        "_their_point",
        "opener",
        "sealer",
        "their_node_id",
    )

    def __init__(self, our_key: SecretKey, ephemeral: SecretKey, their_node_id: bytes | None) -> None:
        """`their_node_id` None: we are the responder. ValueError if it is not a point."""
        self._our_key = our_key
        self._ephemeral = ephemeral
        self._initiator: Final = their_node_id is not None
        self.their_node_id = their_node_id
        """33 bytes; for the responder None until act three."""
        self._their_point: ReadPoint | None = None
        """The last one that came of them, node id or ephemeral key: read once, for all that it is needed for."""
        if their_node_id is not None:
            self._their_point = read_point(their_node_id)
            if self._their_point is None:
                raise ValueError(f"not a node id: {their_node_id.hex()}")
        responder = our_key.public_key if their_node_id is None else their_node_id
        self._hash = _sha256(_START_H + responder)
        self._chaining_key = _START_CK
        self._cipher: Any = None
        """With the key that was mixed last: act two's tag and act three's node id are under the same one."""
        self._buffer = b""
        self._expects = 2 if self._initiator else 1
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None
        """Both set once the handshake is complete."""

    def __repr__(self) -> str:
        role = "initiator" if self._initiator else "responder"
        return f"<Handshake {role}, {'complete' if self.complete else f'waits for act {self._expects}'}>"

    @property
    def complete(self) -> bool:
        return self.opener is not None

    @property
    def act(self) -> int:
        """The act of the peer that is awaited: 1, 2 or 3. After the end, the last one."""
        return self._expects

    def act_one(self) -> bytes:
        """The initiator's first message, 50 bytes. RuntimeError from a responder."""
        if self.their_node_id is None or not self._initiator:
            raise RuntimeError("act one is the initiator's")
        return self._mix_and_seal()

    def receive(self, data: bytes) -> tuple[bytes, bytes]:
        """Bytes of the peer's act, in pieces of any size.

        Returns (what to write, what was not taken). The rest belongs to what comes next: to the opener after the last
        act. Raises HandshakeFailed.
        """
        needed = ACT_THREE_LENGTH if self._expects == 3 else ACT_ONE_LENGTH
        take = needed - len(self._buffer)
        self._buffer += data[:take]
        rest = data[take:]
        # A wrong version is wrong at its first byte: no reason to wait for the others.
        if self._buffer and self._buffer[:1] != _VERSION:
            raise HandshakeFailed(self._expects, Fault.BAD_VERSION, f"unknown version {self._buffer[0]}")
        if len(self._buffer) < needed:
            return b"", rest
        act, self._buffer = self._buffer, b""
        if self._expects == 1:
            self._open_ephemeral(act, self._our_key)
            self._expects = 3
            return self._mix_and_seal(), rest
        if self._expects == 2:
            self._open_ephemeral(act, self._ephemeral)
            return self._act_three(), rest
        self._open_act_three(act)
        return b"", rest

    def _mix_hash(self, data: bytes) -> None:
        self._hash = _sha256(self._hash + data)

    def _mix_key(self, key: SecretKey) -> None:
        """ECDH of ours with the point of theirs that came last."""
        self._chaining_key, mixed = hkdf(self._chaining_key, key.ecdh_read(self._their_point))
        self._cipher = ChaCha20Poly1305(mixed)

    def _seal(self, nonce: int, data: bytes) -> bytes:
        sealed: bytes = self._cipher.encrypt(_NONCES[nonce], data, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _open(self, nonce: int, sealed: bytes, fault: Fault) -> bytes:
        try:
            data: bytes = self._cipher.decrypt(_NONCES[nonce], sealed, self._hash)
        except InvalidTag:
            what = "the encrypted key" if fault is Fault.BAD_CIPHERTEXT else "the tag"
            raise HandshakeFailed(self._expects, fault, f"{what} failed its authentication") from None
        self._mix_hash(sealed)
        return data

    def _read_point(self, data: bytes, what: str) -> None:
        self._their_point = read_fresh_point(data)
        if self._their_point is None:
            raise HandshakeFailed(self._expects, Fault.BAD_PUBKEY, f"its {what} is no point")

    def _mix_and_seal(self) -> bytes:
        """Acts one and two as their sender makes them: our ephemeral point, and a tag over all so far."""
        ours = self._ephemeral.public_key
        self._mix_hash(ours)
        self._mix_key(self._ephemeral)
        return _VERSION + ours + self._seal(0, b"")

    def _open_ephemeral(self, act: bytes, key: SecretKey) -> None:
        """Acts one and two as their receiver checks them, with the key that their sender did ECDH with."""
        theirs = act[1:34]
        self._mix_hash(theirs)
        self._read_point(theirs, "ephemeral key")
        self._mix_key(key)
        self._open(0, act[34:], Fault.BAD_TAG)

    def _act_three(self) -> bytes:
        sealed = self._seal(1, self._our_key.public_key)
        self._mix_key(self._our_key)
        tag = self._seal(0, b"")
        self._split()
        return _VERSION + sealed + tag

    def _open_act_three(self, act: bytes) -> None:
        theirs = self._open(1, act[1 : 1 + POINT_LENGTH + TAG_LENGTH], Fault.BAD_CIPHERTEXT)
        self._read_point(theirs, "node id")
        self._mix_key(self._ephemeral)
        self._open(0, act[1 + POINT_LENGTH + TAG_LENGTH :], Fault.BAD_TAG)
        self.their_node_id = theirs
        self._split()

    def _split(self) -> None:
        """One key per direction; each direction then has a chaining key of its own (BOLT 8's rck and sck)."""
        first, second = hkdf(self._chaining_key, b"")
        send, receive = (first, second) if self._initiator else (second, first)
        self.sealer = Sealer(send, self._chaining_key)
        self.opener = Opener(receive, self._chaining_key)
        # Nothing of the handshake is needed any more; forget it.
        self._hash = self._chaining_key = b""
        self._cipher = self._their_point = None


class EphemeralKeys:
    """Ephemeral secret keys from a seed and a counter: SHA256(seed, counter as 8 bytes, little-endian), as LDK's."""

    __slots__ = ("_seed", "used")

    def __init__(self, seed: bytes, used: int = 0) -> None:
        """`seed` is 32 bytes of fresh system randomness: the same seed makes the same keys again, after the `used`
        first ones."""
        self._seed = seed
        self.used = used
        """Where the counter stands."""

    def next(self) -> SecretKey:
        while True:
            secret = _sha256(self._seed + self.used.to_bytes(8, "little"))
            self.used += 1
            try:
                return SecretKey(secret)
            except ValueError:  # pragma: no cover - one hash in 2**127 is no secret key
                continue
