"""A network of the main one's size, every message signed: the same bytes each time, made once and kept for later runs.

A few nodes have most of the channels, as in the main network. What is kept is a GSP file in the system's folder for
temporary files: channels by their ids, each with its two updates behind it, and then the nodes.
"""

from __future__ import annotations

import hashlib
import os
import random
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

from triolight.chains import BITCOIN
from triolight.gossip.formats.gsp import read_gsp, write_gsp
from triolight.gossip.formats.items import Signed
from triolight.keys import SecretKey
from triolight.wire import ShortChannelId

CHANNELS: Final = 45_000
NODES: Final = 15_000
MESSAGES: Final = 3 * CHANNELS + NODES
NOW: Final = 1_800_000_000
"""What the clock says: nothing here is older than eight days."""
FILE: Final = Path(tempfile.gettempdir()) / f"triolight-benchmarks-{CHANNELS}-{NODES}-2.gsp"


def messages() -> list[bytes]:
    """All of them, in the order in which they are kept."""
    if not FILE.is_file():
        with tempfile.NamedTemporaryFile(dir=FILE.parent, delete=False) as file:
            file.writelines(write_gsp(_made()))
        os.replace(file.name, FILE)
    with FILE.open("rb") as kept:
        found = [one.raw for one in read_gsp(kept) if isinstance(one, Signed)]
    if len(found) != MESSAGES:
        raise RuntimeError(f"{FILE} holds {len(found)} messages and not {MESSAGES}: delete it")
    return found


def signers(message: bytes) -> list[tuple[bytes, bytes]]:
    """Signatures of a message of this network, each with the key that made it."""
    if message[:2] == b"\x01\x00":
        at = 300 + int.from_bytes(message[258:260], "big")
        return [
            (message[2 + 64 * number : 66 + 64 * number], message[at + 33 * number : at + 33 + 33 * number])
            for number in range(4)
        ]
    if message[:2] == b"\x01\x02":
        return [(message[2:66], _ends()[message[98:106]][message[111] & 1])]
    at = 72 + int.from_bytes(message[66:68], "big")
    return [(message[2:66], message[at : at + 33])]


@lru_cache(maxsize=1)
def _ends() -> dict[bytes, tuple[bytes, bytes]]:
    """The nodes of each channel, which an update does not name."""
    found: dict[bytes, tuple[bytes, bytes]] = {}
    for one in messages()[: 3 * CHANNELS : 3]:
        at = 292 + int.from_bytes(one[258:260], "big")
        found[one[at : at + 8]] = (one[at + 8 : at + 41], one[at + 41 : at + 74])
    return found


def digest(message: bytes) -> bytes:
    """What is signed of a message."""
    signed = message[258 if message[:2] == b"\x01\x00" else 66 :]
    return hashlib.sha256(hashlib.sha256(signed).digest()).digest()


def _key(what: str, number: int) -> SecretKey:
    return SecretKey(hashlib.sha256(f"{what} {number}".encode()).digest())


def _made() -> Iterator[bytes]:
    chance = random.Random(20)
    nodes = sorted((_key("node", number) for number in range(NODES)), key=lambda one: one.public_key)
    ends: list[int] = []
    for number in range(CHANNELS):
        one = number if number < NODES else chance.choice(ends)
        other = one
        while other == one:
            other = chance.choice(ends) if ends and chance.random() < 0.8 else chance.randrange(NODES)
        ends += [one, other]
        yield from _channel(number, nodes[min(one, other)], nodes[max(one, other)], chance)
    for key in nodes:
        yield _node(key, chance)


def _channel(number: int, first: SecretKey, second: SecretKey, chance: random.Random) -> Iterator[bytes]:
    keys = (first, second, _key("funding", 2 * number), _key("funding", 2 * number + 1))
    short_channel_id = ShortChannelId.of(500_000 + number // 2, 1 + number % 2 * 700, number % 3).to_bytes(8, "big")
    place = BITCOIN.chain_hash + short_channel_id
    content = bytes(2) + place + b"".join(key.public_key for key in keys)
    hashed = hashlib.sha256(hashlib.sha256(content).digest()).digest()
    yield b"\x01\x00" + b"".join(key.sign(hashed) for key in keys) + content
    for direction, key in enumerate(keys[:2]):
        said = place + (NOW - chance.randrange(8 * 86_400)).to_bytes(4, "big") + bytes((1, direction))
        said += chance.choice((40, 80, 144)).to_bytes(2, "big") + chance.choice((1, 1000)).to_bytes(8, "big")
        said += chance.choice((0, 1000)).to_bytes(4, "big") + chance.randrange(2000).to_bytes(4, "big")
        yield _signed(258, said + chance.randrange(10**6, 10**10).to_bytes(8, "big"), key)


def _node(key: SecretKey, chance: random.Random) -> bytes:
    features = bytes.fromhex("08a0002a0aa222")
    addresses = b"\x01" + chance.randbytes(4) + (9735).to_bytes(2, "big")
    if chance.random() < 0.5:
        addresses += b"\x04" + chance.randbytes(35) + (9735).to_bytes(2, "big")
    said = len(features).to_bytes(2, "big") + features + (NOW - chance.randrange(8 * 86_400)).to_bytes(4, "big")
    said += key.public_key + chance.randbytes(3) + chance.randbytes(8).hex().encode().ljust(32, b"\0")
    return _signed(257, said + len(addresses).to_bytes(2, "big") + addresses, key)


def _signed(type_: int, content: bytes, key: SecretKey) -> bytes:
    hashed = hashlib.sha256(hashlib.sha256(content).digest()).digest()
    return type_.to_bytes(2, "big") + key.sign(hashed) + content
