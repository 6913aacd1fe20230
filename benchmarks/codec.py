"""Messages from bytes and back, beside one AEAD call on as many bytes; and what the worst input costs to refuse."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks.floods import UPDATE
from benchmarks.measure import Row, compare, report
from benchmarks.worst import inputs
from triolight.address import DnsAddress, IPv4Address, IPv6Address, write_address
from triolight.errors import DecodeError
from triolight.keys import POINTS_REMEMBERED, SecretKey, is_point
from triolight.messages import BOLT, NodeAnnouncement

COUNT = 20_000
POINTS = [SecretKey((1 << 200 | number).to_bytes(32, "big")).public_key for number in range(2 * POINTS_REMEMBERED)]
"""More than are remembered, one after the other: no point that is decoded was seen lately."""
NODE = NodeAnnouncement(
    signature=bytes(64),
    features=bytes(7),
    timestamp=1_700_000_000,
    node_id=POINTS[0],
    rgb_color=bytes(3),
    alias=b"alice".ljust(32, b"\0"),
    addresses=write_address(IPv4Address("8.8.8.8", 9735))
    + write_address(IPv6Address("2001:db8::1", 9735))
    + write_address(DnsAddress("ln.example.org", 9735)),
)
# design.md: at most 6 and 15 us beside an AEAD call of 1.1 us.
UPDATE_BOUND, NODE_BOUND = 6 / 1.1, 15 / 1.1
WORST_BOUND_MS = 50.0


def both_ways(*messages: bytes) -> Callable[[], int]:
    decode = BOLT.decode
    rounds = max(1, COUNT // len(messages))

    def run() -> int:
        for _ in range(rounds):
            for data in messages:
                decode(data).encode()
        return rounds * len(messages)

    return run


def aead_call(size: int) -> Callable[[], int]:
    aead, nonce, message = ChaCha20Poly1305(os.urandom(32)), bytes(12), os.urandom(size)

    def run() -> int:
        for _ in range(COUNT):
            aead.encrypt(nonce, message, None)
        return COUNT

    return run


def point_checks() -> int:
    for point in POINTS:
        is_point(point)
    return len(POINTS)


def slowest() -> list[tuple[float, str, int]]:
    """Milliseconds (best of three), name and size, the slowest first; those that decode count too."""
    found: list[tuple[float, str, int]] = []
    for name, data in inputs():
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            try:
                BOLT.decode(data)
            except DecodeError:
                pass
            best = min(best, (time.process_time() - began) * 1e3)
        found.append((best, name, len(data)))
    return sorted(found, reverse=True)


def rows() -> Iterator[Row]:
    update, node = UPDATE.encode(), NODE.encode()
    nodes = [NODE.replace(node_id=point).encode() for point in POINTS]
    yield from (
        compare(
            f"channel_update, decode + encode, {len(update)} B",
            both_ways(update),
            "an AEAD call",
            aead_call(len(update)),
            bound=UPDATE_BOUND,
        ),
        compare(
            f"node_announcement, 3 addresses, {len(node)} B",
            both_ways(*nodes),
            "an AEAD call",
            aead_call(len(node)),
            bound=NODE_BOUND,
        ),
        compare("  of it: whether a node_id never seen is a point", point_checks, "an AEAD call", aead_call(len(node))),
    )
    for milliseconds, name, size in slowest()[:3]:
        whole = aead_call(size)
        began = time.process_time()
        count = whole()
        each = (time.process_time() - began) / count * 1e3
        bound = WORST_BOUND_MS / each
        yield Row(name, milliseconds * 1e3, "us", "an AEAD call as long", each * 1e3, bound)


if __name__ == "__main__":
    report(rows())
