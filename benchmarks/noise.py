"""Noise in memory: packets against the bare AEAD calls they cost, handshakes against their bare curve operations; and
both beside LND's `brontide.Machine` where it is built (interop/lnd)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

from coincurve import PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks import nodes
from benchmarks.measure import Row, compare, report
from triolight.keys import SecretKey
from triolight.noise import Handshake, Opener, Sealer

SIZES = (140, 430, 1_400, 65_000)
COUNT = 20_000
CHUNK = 64 * 1024


def packets(size: int) -> list[Row]:
    key, message = os.urandom(32), os.urandom(size)
    count = max(200, COUNT * 140 // max(140, size))
    aead, nonce, length = ChaCha20Poly1305(key), bytes(12), size.to_bytes(2, "big")
    sealed_length, sealed = aead.encrypt(nonce, length, None), aead.encrypt(nonce, message, None)
    sealer = Sealer(key, key)
    stream = b"".join(sealer.seal(message) for _ in range(count))
    chunks = [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]

    def floor_encrypt() -> int:
        for _ in range(count):
            aead.encrypt(nonce, length, None)
            aead.encrypt(nonce, message, None)
        return count

    def floor_decrypt() -> int:
        for _ in range(count):
            aead.decrypt(nonce, sealed_length, None)
            aead.decrypt(nonce, sealed, None)
        return count

    def encrypt() -> int:
        one = Sealer(key, key)
        for _ in range(count):
            one.seal(message)
        return count

    def decrypt() -> int:
        one = Opener(key, key)
        for chunk in chunks:
            one.feed(chunk)
            while one.next_message() is not None:
                pass
        return count

    bounds = (1.35, 1.6) if size == 140 else (None, None)
    return [
        compare(f"encrypt {size} B", encrypt, "two AEAD calls", floor_encrypt, bound=bounds[0]),
        compare(f"decrypt {size} B from 64 KiB chunks", decrypt, "two AEAD calls", floor_decrypt, bound=bounds[1]),
    ]


def handshake() -> Row:
    ours, theirs = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)
    count = 200
    point = PrivateKey(b"\x03" * 32).public_key.format()
    secret = PrivateKey(b"\x04" * 32)

    def whole() -> int:
        for _ in range(count):
            initiator = Handshake(ours, SecretKey(os.urandom(32)), theirs.public_key)
            responder = Handshake(theirs, SecretKey(os.urandom(32)), None)
            two, _ = responder.receive(initiator.act_one())
            three, _ = initiator.receive(two)
            responder.receive(three)
        return count

    def floor() -> int:
        for _ in range(count):
            for _ in range(2):
                PrivateKey(os.urandom(32)).public_key.format()
            for _ in range(6):
                secret.ecdh(point)
        return count

    return compare("handshake, both ends", whole, "2 key generations, 6 ECDH", floor, bound=1.3)


def brontide() -> dict[tuple[str, int], float]:
    """Microseconds by what and size; empty if it is not built."""
    if not nodes.BRONTIDE.is_file():
        print("brontide is not built (interop/lnd): only ourselves", file=sys.stderr)
        return {}
    told = subprocess.run([str(nodes.BRONTIDE)], capture_output=True, check=True).stdout.splitlines()
    return {(one["what"], one["size"]): one["microseconds"] for one in map(json.loads, told)}


def rows() -> Iterator[Row]:
    theirs = brontide()
    for size in SIZES:
        for what, row in zip(("encrypt", "decrypt"), packets(size), strict=True):
            yield row
            if theirs:
                yield Row(f"{what} {size} B, beside LND", row.value, "us", "brontide.Machine", theirs[what, size])
    ours = handshake()
    yield ours
    if theirs:
        what = "handshake, both ends, beside LND"
        yield Row(what, ours.value, "us", "brontide.Machine", theirs["handshake", 0], 1)
        rate = 1e6 / theirs["handshake", 0]
        yield Row("handshakes a second, both ends in memory", 1e6 / ours.value, "/s", "brontide.Machine", rate, 1, True)


if __name__ == "__main__":
    report(rows())
