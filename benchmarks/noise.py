"""Noise in memory: packets against the bare AEAD calls they cost, handshakes against their bare curve operations; and
both beside LND's `brontide.Machine` where it is built (interop/lnd).

    python -m benchmarks.noise [--json] [--compiled PYTHON]
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from coincurve import GLOBAL_CONTEXT, PrivateKey
from coincurve._libsecp256k1 import ffi, lib  # type: ignore[import-not-found]
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks import bare, builds, nodes
from benchmarks.measure import Row, compare
from triolight.keys import SecretKey
from triolight.noise import Handshake, Opener, Sealer

SIZES = (140, 430, 1_400, 65_000)
COUNT = 20_000
CHUNK = 64 * 1024
HANDSHAKES = 50
LOOP = "a loop of slices, nonces and two AEAD calls"
LOOP_BOUNDS = (1.15, 1.25)
HANDSHAKE_BOUND = 1.2


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

    def loop_encrypt() -> int:
        bare.sealed([message] * count)
        return count

    def loop_decrypt() -> int:
        opened = bare.Opened()
        for chunk in bare_chunks:
            for _ in opened.messages(chunk):
                pass
        return count

    bare_stream = bare.sealed([message] * count)
    bare_chunks = [bare_stream[at : at + CHUNK] for at in range(0, len(bare_stream), CHUNK)]
    bounds = (1.35, 1.6) if size == 140 else (None, None)
    own_bounds = LOOP_BOUNDS if size == 140 else (None, None)
    what = (f"encrypt {size} B", f"decrypt {size} B from 64 KiB chunks")
    return [
        compare(what[0], encrypt, "two AEAD calls", floor_encrypt, bound=bounds[0], moves=True),
        bare.in_turns(what[0], encrypt, LOOP, loop_encrypt, own_bounds[0]),
        compare(what[1], decrypt, "two AEAD calls", floor_decrypt, bound=bounds[1], moves=True),
        bare.in_turns(what[1], decrypt, LOOP, loop_decrypt, own_bounds[1]),
    ]


def hkdf(salt: bytes, material: bytes) -> tuple[bytes, bytes]:
    extracted = hmac.digest(salt, material, "sha256")
    first = hmac.digest(extracted, b"\x01", "sha256")
    return first, hmac.digest(extracted, first + b"\x02", "sha256")


def bare_handshake() -> int:
    """Both ends of the three acts as a list of calls, in which no end is anybody's and nothing is checked."""
    read, made, shared = ffi.new("secp256k1_pubkey *"), ffi.new("secp256k1_pubkey *"), ffi.new("unsigned char [32]")
    context, secret, point = GLOBAL_CONTEXT.ctx, b"\x04" * 32, PrivateKey(b"\x03" * 32).public_key.format()
    nonces = (bytes(12), bytes(4) + b"\x01" + bytes(7))
    for _ in range(HANDSHAKES):
        for responds in (False, True):
            lib.secp256k1_ec_pubkey_create(context, made, secret)
            digest = hashlib.sha256(hashlib.sha256(point).digest() + point).digest()
            chaining = key = digest
            for act in range(3):
                digest = hashlib.sha256(digest + point).digest()
                if act == 2:
                    # The one that says who it is, with the key of act two.
                    told = ChaCha20Poly1305(key).encrypt(nonces[1], point, digest)
                    digest = hashlib.sha256(digest + told).digest()
                if act == 0 or (responds and act == 2):
                    lib.secp256k1_ec_pubkey_parse(context, read, point, len(point))
                lib.secp256k1_ecdh(context, shared, read, secret, ffi.NULL, ffi.NULL)
                chaining, key = hkdf(chaining, bytes(shared))
                tag = ChaCha20Poly1305(key).encrypt(nonces[0], b"", digest)
                digest = hashlib.sha256(digest + tag).digest()
            for key in hkdf(chaining, b""):
                ChaCha20Poly1305(key)
    return HANDSHAKES


def handshake() -> tuple[Row, Row]:
    """Beside the curve's operations as coincurve's classes make them, and beside libsecp256k1's calls themselves."""
    what = "handshake, both ends"
    return (
        compare(what, whole_handshake, "2 key generations, 6 ECDH", curve_of_handshake, bound=1.15, moves=True),
        compare(what, whole_handshake, "libsecp256k1's calls for them alone", calls_of_handshake),
    )


OURS, THEIRS = SecretKey(b"\x01" * 32), SecretKey(b"\x02" * 32)


def whole_handshake() -> int:
    for _ in range(HANDSHAKES):
        initiator = Handshake(OURS, SecretKey(os.urandom(32)), THEIRS.public_key)
        responder = Handshake(THEIRS, SecretKey(os.urandom(32)), None)
        two, _ = responder.receive(initiator.act_one())
        three, _ = initiator.receive(two)
        responder.receive(three)
    return HANDSHAKES


def curve_of_handshake() -> int:
    point, secret = PrivateKey(b"\x03" * 32).public_key.format(), PrivateKey(b"\x04" * 32)
    for _ in range(HANDSHAKES):
        for _ in range(2):
            PrivateKey(os.urandom(32)).public_key.format()
        for _ in range(6):
            secret.ecdh(point)
    return HANDSHAKES


def calls_of_handshake() -> int:
    """Of the points, both ephemeral ones and the initiator's are new: the responder's is known."""
    read, made, shared = ffi.new("secp256k1_pubkey *"), ffi.new("secp256k1_pubkey *"), ffi.new("unsigned char [32]")
    context, secret, point = GLOBAL_CONTEXT.ctx, b"\x04" * 32, PrivateKey(b"\x03" * 32).public_key.format()
    for _ in range(HANDSHAKES):
        for _ in range(2):
            lib.secp256k1_ec_pubkey_create(context, made, secret)
        for _ in range(3):
            lib.secp256k1_ec_pubkey_parse(context, read, point, len(point))
        for _ in range(6):
            lib.secp256k1_ecdh(context, shared, read, secret, ffi.NULL, ffi.NULL)
    return HANDSHAKES


@lru_cache(maxsize=1)
def brontide() -> dict[tuple[str, int], float]:
    """Microseconds by what and size; empty if it is not built."""
    if not nodes.BRONTIDE.is_file():
        print("brontide is not built (interop/lnd): only ourselves", file=sys.stderr)
        return {}
    told = subprocess.run([str(nodes.BRONTIDE)], capture_output=True, check=True).stdout.splitlines()
    return {(one["what"], one["size"]): one["microseconds"] for one in map(json.loads, told)}


def all_packets() -> Iterator[Row]:
    theirs = brontide()
    for size in SIZES:
        for row in packets(size):
            yield row
            what = row.what.partition(" ")[0]
            if theirs and row.beside != LOOP:
                yield Row(f"{what} {size} B, beside LND", row.value, "us", "brontide.Machine", theirs[what, size])


def handshakes() -> Iterator[Row]:
    theirs = brontide()
    ours, alone = handshake()
    yield from (ours, alone)
    yield bare.in_turns(ours.what, whole_handshake, "its calls, in a row", bare_handshake, HANDSHAKE_BOUND)
    if theirs:
        what = "handshake, both ends, beside LND"
        yield Row(what, ours.value, "us", "brontide.Machine", theirs["handshake", 0], 1)
        rate = 1e6 / theirs["handshake", 0]
        yield Row("handshakes a second, both ends in memory", 1e6 / ours.value, "/s", "brontide.Machine", rate, 1, True)


PARTS: Final = {"packets": all_packets, "handshake": handshakes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    builds.add_arguments(parser)
    builds.report_parts(__spec__.name, PARTS, parser.parse_args())
