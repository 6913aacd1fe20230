"""Sphinx, BOLT 4's onion: a packet that each hop opens one layer of. Bytes in, bytes out; knows no TLV and no message.

What is secret, node keys and ephemeral ones, goes through constant-time calls of `keys.py`. A blinding factor, by which
a point is multiplied, hides how two hops are linked and is no key. HMACs are compared in constant time.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from triolight import wire
from triolight.ciphers import chacha20
from triolight.errors import DecodeError
from triolight.keys import SecretKey, multiply
from triolight.onion.drops import Drop, OnionDropped

__all__ = ["SIZES", "Layer", "build_packet", "derive", "framed_length", "open_packet", "size_for"]

SIZES: Final = (1300, 32768)
"""BOLT 4: bytes of the payloads of an onion message; other sizes would make it stand out. Any is opened."""
OVERHEAD: Final = 66
"""Bytes of a packet besides its payloads: version, public key, HMAC."""
HMAC_LENGTH: Final = 32
LEAST_PAYLOAD: Final = 2
"""A length of 0 or 1 meant something else in an older format."""
FINAL: Final = bytes(HMAC_LENGTH)
"""What stands in place of the next HMAC where there is no next hop."""
VERSION: Final = b"\0"


def derive(kind: bytes, secret: bytes) -> bytes:
    """The key of a `kind`, ``rho`` for one, that follows from a shared secret."""
    return hmac.digest(kind, secret, "sha256")


def framed_length(payload_length: int) -> int:
    """The bytes that a payload takes in a packet: with its length before it, and an HMAC behind."""
    return len(wire.write_bigsize(payload_length)) + payload_length + HMAC_LENGTH


def size_for(payload_lengths: Sequence[int]) -> int:
    """The smaller of the two sizes that holds payloads of these lengths. ValueError if neither does."""
    needed = sum(map(framed_length, payload_lengths))
    for size in SIZES:
        if needed <= size:
            return size
    raise ValueError(f"payloads that take {needed} bytes; an onion message holds {SIZES[-1]}")


def build_packet(
    session_key: bytes, hops: Sequence[tuple[bytes, bytes]], size: int, associated_data: bytes = b""
) -> bytes:
    """A packet for hops, each its key (a blinded id, where there is one) and its payload, in `size` bytes.

    The session key is 32 fresh random bytes for each packet. ValueError if the payloads do not fit, or one has less
    than two bytes.
    """
    if not hops:
        raise ValueError("a packet needs a hop")
    frames = [wire.write_bigsize(len(payload)) + payload for _, payload in hops]
    if min(len(payload) for _, payload in hops) < LEAST_PAYLOAD:
        raise ValueError(f"a payload has at least {LEAST_PAYLOAD} bytes")
    needed = sum(len(frame) + HMAC_LENGTH for frame in frames)
    if needed > size:
        raise ValueError(f"the payloads take {needed} bytes, and the packet holds {size}")
    ephemeral = SecretKey(session_key)
    public_key = ephemeral.public_key
    secrets: list[bytes] = []
    for at, (key, _) in enumerate(hops):
        secret = ephemeral.ecdh(key)
        secrets.append(secret)
        if at + 1 < len(hops):
            ephemeral = ephemeral.multiply(hashlib.sha256(ephemeral.public_key + secret).digest())
    # What the last hop will find behind its payload: the zeros that each hop before it put there, as they left them.
    filler = b""
    for frame, secret in zip(frames[:-1], secrets[:-1], strict=True):
        shift = len(frame) + HMAC_LENGTH
        filler += bytes(shift)
        whole = bytes(size + shift - len(filler)) + filler
        filler = chacha20(derive(b"rho", secret), whole)[-len(filler) :]
    mix = chacha20(derive(b"pad", session_key), bytes(size))
    next_hmac = FINAL
    for at in reversed(range(len(hops))):
        mix = (frames[at] + next_hmac + mix)[:size]
        mix = chacha20(derive(b"rho", secrets[at]), mix)
        if at == len(hops) - 1 and filler:
            mix = mix[: -len(filler)] + filler
        next_hmac = hmac.digest(derive(b"mu", secrets[at]), mix + associated_data, "sha256")
    return VERSION + public_key + mix + next_hmac


@dataclass(frozen=True, slots=True)
class Layer:
    """What one hop finds: its payload, the packet for the next hop or None if there is none, and what it shares with
    whoever made the blinded path."""

    payload: bytes
    next_packet: bytes | None
    path_secret: bytes | None


def open_packet(
    secret_key: SecretKey, packet: bytes, path_key: bytes | None = None, associated_data: bytes = b""
) -> Layer:
    """Opens the layer that is for this key; with `path_key`, for this key as it is called in a blinded path.

    OnionDropped for whatever is not sealed for us, of any length.
    """
    size = len(packet) - OVERHEAD
    if size < 0:
        raise OnionDropped(Drop.LENGTH)
    if packet[:1] != VERSION:
        raise OnionDropped(Drop.VERSION)
    public_key, mix, tag = packet[1:34], packet[34:-HMAC_LENGTH], packet[-HMAC_LENGTH:]
    path_secret = None
    try:
        point = public_key
        if path_key is not None:
            # Our key times the factor would be our blinded secret; the point times it gives the same, and no second
            # secret key. The factor is no key: see the law of this file.
            path_secret = secret_key.ecdh(path_key)
            point = multiply(public_key, derive(b"blinded_node_id", path_secret))
        secret = secret_key.ecdh(point)
    except ValueError:
        raise OnionDropped(Drop.POINT) from None
    if not hmac.compare_digest(hmac.digest(derive(b"mu", secret), mix + associated_data, "sha256"), tag):
        raise OnionDropped(Drop.HMAC)
    plain = chacha20(derive(b"rho", secret), mix + bytes(size))
    try:
        length, at = wire.read_bigsize(plain, 0, size)
    except DecodeError:
        raise OnionDropped(Drop.FRAME) from None
    stop = at + length + HMAC_LENGTH
    if length < LEAST_PAYLOAD or stop > size:
        raise OnionDropped(Drop.FRAME)
    payload, next_hmac = plain[at : at + length], plain[at + length : stop]
    if next_hmac == FINAL:
        return Layer(payload, None, path_secret)
    next_key = multiply(public_key, hashlib.sha256(public_key + secret).digest())
    return Layer(payload, VERSION + next_key + plain[stop : stop + size] + next_hmac, path_secret)
