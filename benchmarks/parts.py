"""Where the time of a channel_update goes, by its parts: from a socket to a handler, and from `Peer.send` to a socket.

    python -m benchmarks.parts [--json] [--compiled PYTHON]

Each way is timed with all that it stands on, and a part is what one has more than those below it. A round is a process,
which takes each way several times and keeps the best: noise only adds. A ratio is to the two AEAD calls of the same
round, and the median of all rounds counts.
With `--compiled`, the Python of an environment that has a compiled wheel (docs/compiled.md), rounds of both builds are
taken in turns, and each part of it stands beside the plain one's.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from statistics import median
from typing import Final

import trio
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

import triolight
from benchmarks import nodes
from benchmarks.floods import UPDATE
from benchmarks.measure import Row, report
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NullLogger,
    PeerManager,
    RoutingMessageHandler,
    SocketDescriptor,
    open_peer_nursery,
)
from triolight.connection import BATCH_BYTES, OPENED_AT_ONCE
from triolight.keys import SecretKey
from triolight.messages import ChannelUpdate, Init
from triolight.messages.declare import give_decoder
from triolight.noise import ACT_ONE_LENGTH, OVERHEAD, Handshake, Opener, Sealer

COUNT: Final = 8_000
"""Messages that are timed together."""
TIMES: Final = 6
CHUNK: Final = 64 * 1024
"""As many bytes as the shell reads at once."""
ROUNDS: Final = 7
DATA: Final = UPDATE.encode()
FLOOR: Final = "two AEAD calls"
PARTS: Final = {
    FLOOR: ("aead",),
    "packets: slicing, nonces, keys": ("opener", "-aead"),
    "decoding": ("decode",),
    "dispatch: reading, routing, the call": ("manager", "-opener", "-decode"),
    "reading: system calls": ("read",),
    "reading: Trio, a wait and its step": ("trio", "-read"),
    "the shell: channel, pump, turns, watch": ("whole", "-manager", "-trio"),
    "socket to handler": ("whole",),
}
"""A part: the ways that it is made of, and those that are taken away."""
SENDING: Final = {
    "encoding": ("encode",),
    "the AEAD calls that seal it": ("aead_sealing",),
    "packets: nonces, keys, one buffer": ("sealer", "-aead_sealing"),
    "queue, tallies, batches": ("queue", "-sealer"),
    "writing: system calls": ("write",),
    "writing: Trio, a wait and its step": ("trio_write", "-write"),
    "the shell: room, chain, channel, pump, writer": ("sending", "-encode", "-queue", "-trio_write"),
    "send to socket": ("sending",),
}
"""The same of the way out."""
SENT_AT_ONCE: Final = 1_000
"""Messages of one `Peer.send`."""


class Counts(RoutingMessageHandler):
    """Counts channel_updates, and reads the process's clock at each COUNT of them."""

    def __init__(self) -> None:
        super().__init__()
        self.messages = 0
        self.marks: list[float] = []
        self.done = trio.Event()

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.messages += 1
        if self.messages % COUNT == 0:
            self.marks.append(time.process_time())
            if len(self.marks) == TIMES:
                self.done.set()


class Descriptor(SocketDescriptor):
    """Takes all, and keeps it."""

    def __init__(self) -> None:
        self.out = b""

    def send_data(self, data: bytes, resume_read: bool) -> int:
        self.out += data
        return len(data)

    def disconnect_socket(self) -> None:
        raise RuntimeError("the manager has ended the connection")

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


def new_manager(counts: Counts) -> PeerManager:
    handler = MessageHandler(ChannelMessageHandler(), counts)
    return PeerManager(handler, secrets.token_bytes(32), secrets.token_bytes(32), NullLogger())


def sealed(sealer: Sealer, count: int = COUNT) -> bytes:
    return b"".join([sealer.seal(DATA) for _ in range(count)])


def chunks_of(stream: bytes) -> list[bytes]:
    return [stream[at : at + CHUNK] for at in range(0, len(stream), CHUNK)]


# ---------------------------------------------------------------------------------------------------------------------
# The ways, in microseconds of CPU for each message


def timed(run: Callable[[], object]) -> float:
    began = time.process_time()
    run()
    return (time.process_time() - began) / COUNT * 1e6


def best(way: Callable[[], float]) -> float:
    # A whole way takes itself several times, with one connection.
    return way() if way in (whole, sending) else min(way() for _ in range(TIMES))


def aead() -> float:
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)
    length, body = cipher.encrypt(nonce, b"\0\1", None), cipher.encrypt(nonce, DATA, None)

    def run() -> None:
        for _ in range(COUNT):
            cipher.decrypt(nonce, length, None)
            cipher.decrypt(nonce, body, None)

    return timed(run)


def opener() -> float:
    """As a connection does it."""
    chunks, one = chunks_of(sealed(Sealer(bytes(32), bytes(32)))), Opener(bytes(32), bytes(32))

    def run() -> None:
        for chunk in chunks:
            one.feed(chunk)
            while one.next_messages(OPENED_AT_ONCE):
                pass

    return timed(run)


def decode() -> float:
    """As routing does it."""
    ChannelUpdate.decode(DATA)  # its decoder is made by the first
    decoders: list[Callable[[bytes], ChannelUpdate]] = []
    give_decoder(ChannelUpdate, decoders.append)
    (decoder,) = decoders

    def run() -> None:
        for _ in range(COUNT):
            decoder(DATA)

    return timed(run)


def connected_manager(counts: Counts, descriptor: Descriptor) -> tuple[PeerManager, Sealer]:
    """A manager with a peer, and what seals that peer's messages."""
    ours = new_manager(counts)
    handshake = Handshake(SecretKey(secrets.token_bytes(32)), SecretKey(secrets.token_bytes(32)), ours.our_node_id)
    ours.new_inbound_connection(descriptor)
    ours.read_event(descriptor, handshake.act_one())
    ours.process_events()
    three, _ = handshake.receive(descriptor.out)
    if handshake.sealer is None:
        raise RuntimeError("the handshake is not done")
    ours.read_event(descriptor, three + handshake.sealer.seal(Init(features=b"").encode()))
    ours.process_events()
    return ours, handshake.sealer


def manager() -> float:
    counts, descriptor = Counts(), Descriptor()
    ours, theirs = connected_manager(counts, descriptor)
    chunks = chunks_of(sealed(theirs))

    def run() -> None:
        for chunk in chunks:
            ours.read_event(descriptor, chunk)
            ours.process_events()

    found = timed(run)
    if counts.messages != COUNT:
        raise RuntimeError(f"{counts.messages} of {COUNT} messages arrived")
    return found


def read() -> float:
    """A blocking socket, read as much at once."""

    def exhaust(sock: socket.socket) -> None:
        while sock.recv(CHUNK):
            pass

    with socket.create_server(("127.0.0.1", 0)) as server, flooding(server.getsockname()[1]):
        sock, _ = server.accept()
        with sock:
            return timed(lambda: exhaust(sock))


def trio_alone() -> float:
    """A task that waits for the socket and reads, as the shell's reader does."""

    async def exhaust(sock: socket.socket) -> None:
        sock.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                if not os.read(sock.fileno(), CHUNK):
                    return
            except BlockingIOError:
                pass

    with socket.create_server(("127.0.0.1", 0)) as server, flooding(server.getsockname()[1]):
        sock, _ = server.accept()
        with sock:
            return timed(lambda: trio.run(exhaust, sock))


def aead_sealing() -> float:
    cipher, nonce = ChaCha20Poly1305(bytes(32)), bytes(12)

    def run() -> None:
        for _ in range(COUNT):
            cipher.encrypt(nonce, b"\0\1", None)
            cipher.encrypt(nonce, DATA, None)

    return timed(run)


def encode() -> float:
    """As `Peer.send` does it."""
    update = ChannelUpdate.decode(DATA)
    update.encode()  # its encoder is made by the first

    def run() -> None:
        for _ in range(COUNT):
            update.encode()

    return timed(run)


def sealer() -> float:
    """As many at once as a connection gives to its socket."""
    one, messages = Sealer(bytes(32), bytes(32)), [DATA] * (BATCH_BYTES // (len(DATA) + OVERHEAD) + 1)

    def run() -> None:
        for _ in range(COUNT // len(messages)):
            one.seal_all(messages)

    return timed(run) * COUNT / (COUNT // len(messages) * len(messages))


def queue() -> float:
    """All of the manager, and a descriptor that takes everything."""
    descriptor = Descriptor()
    ours, _ = connected_manager(Counts(), descriptor)
    encoded = (DATA,) * SENT_AT_ONCE

    def run() -> None:
        for _ in range(COUNT // SENT_AT_ONCE):
            descriptor.out = b""
            ours.send_encoded(descriptor, encoded)
            ours.process_events()

    return timed(run)


def write() -> float:
    """A blocking socket, as much at once as the shell's writer gives it."""
    data = bytes(CHUNK)
    with socket.create_server(("127.0.0.1", 0)) as server, draining(server.getsockname()[1]):
        sock, _ = server.accept()

        def run() -> None:
            for at in range(0, COUNT * (len(DATA) + OVERHEAD), CHUNK):
                sock.sendall(data[: COUNT * (len(DATA) + OVERHEAD) - at])

        with sock:
            return timed(run)


def trio_write() -> float:
    """A task that writes, and waits for the socket to have room, as the shell's writer does."""
    data = memoryview(bytes(CHUNK))

    async def fill(sock: socket.socket) -> None:
        sock.setblocking(False)
        left = COUNT * (len(DATA) + OVERHEAD)
        while left:
            try:
                left -= os.write(sock.fileno(), data[:left])
            except BlockingIOError:
                await trio.lowlevel.wait_writable(sock)

    with socket.create_server(("127.0.0.1", 0)) as server, draining(server.getsockname()[1]):
        sock, _ = server.accept()
        with sock:
            return timed(lambda: trio.run(fill, sock))


def sending() -> float:
    """A node with one peer, which takes all that it is sent."""
    marks: list[float] = []

    async def send() -> None:
        ours, messages = new_manager(Counts()), [ChannelUpdate.decode(DATA)] * SENT_AT_ONCE
        async with open_peer_nursery(ours) as peers, peers.events() as events:
            (listener,) = await peers.listen(0, host="127.0.0.1")
            with draining(listener.socket.getsockname()[1], ours.our_node_id.hex()):
                peer = (await anext(events)).peer
                for _ in range(TIMES):
                    for _ in range(COUNT // SENT_AT_ONCE):
                        await peer.send(*messages)
                    marks.append(time.process_time())

    trio.run(send)
    return min(later - earlier for earlier, later in itertools.pairwise(marks)) / COUNT * 1e6


def whole() -> float:
    """A node with one peer."""
    counts = Counts()

    async def receive() -> None:
        ours = new_manager(counts)
        async with open_peer_nursery(ours) as peers:
            (listener,) = await peers.listen(0, host="127.0.0.1")
            with flooding(listener.socket.getsockname()[1], ours.our_node_id.hex()):
                await counts.done.wait()

    trio.run(receive)
    return min(later - earlier for earlier, later in itertools.pairwise(counts.marks)) / COUNT * 1e6


WAYS: Final = {
    "aead": aead,
    "opener": opener,
    "decode": decode,
    "manager": manager,
    "read": read,
    "trio": trio_alone,
    "whole": whole,
    "aead_sealing": aead_sealing,
    "encode": encode,
    "sealer": sealer,
    "queue": queue,
    "write": write,
    "trio_write": trio_write,
    "sending": sending,
}


def flooding(port: int, node_id: str = "") -> AbstractContextManager[None]:
    """A process that floods this port: with packets after a handshake, or with as many bytes."""
    return beside("--flood", str(port), node_id)


def draining(port: int, node_id: str = "") -> AbstractContextManager[None]:
    """A process that reads all that this port says, after a handshake if there is a node id, and opens none of it."""
    return beside("--drain", str(port), node_id)


@contextmanager
def beside(*options: str) -> Iterator[None]:
    process = subprocess.Popen([*this(sys.executable), *options])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def flood(port: int, node_id: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if not node_id:
            sock.sendall(bytes(COUNT * (len(DATA) + OVERHEAD)))
            return
        sock.sendall(sealed(greet(sock, node_id), TIMES * COUNT))
        while sock.recv(CHUNK):
            pass


def drain(port: int, node_id: str) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        if node_id:
            greet(sock, node_id)
        while sock.recv(16 * CHUNK):
            pass


def greet(sock: socket.socket, node_id: str) -> Sealer:
    """The acts, and our Init."""
    ours, ephemeral = SecretKey(secrets.token_bytes(32)), SecretKey(secrets.token_bytes(32))
    handshake = Handshake(ours, ephemeral, bytes.fromhex(node_id))
    sock.sendall(handshake.act_one())
    three, _ = handshake.receive(sock.recv(ACT_ONE_LENGTH, socket.MSG_WAITALL))
    if handshake.sealer is None:
        raise RuntimeError("the handshake is not done")
    sock.sendall(three + handshake.sealer.seal(Init(features=b"").encode()))
    return handshake.sealer


# ---------------------------------------------------------------------------------------------------------------------
# Rows


def this(python: str) -> list[str]:
    """This module, run by that Python."""
    return nodes.module_of(python, __spec__.name)


def a_round(python: str, compiled: bool) -> dict[str, float]:
    """Each part of one round, as multiples of the two AEAD calls; those themselves in microseconds."""
    found = json.loads(subprocess.run([*this(python), "--once"], check=True, capture_output=True).stdout)
    if bool(found["compiled"]) != compiled:
        raise SystemExit(f"{python} has {found['compiled'] or 'nothing'} compiled")
    ways = found["ways"]
    parts = {
        part: sum(-ways[way[1:]] if way[0] == "-" else ways[way] for way in made_of) / ways["aead"]
        for part, made_of in {**PARTS, **SENDING}.items()
    }
    return {**parts, FLOOR: ways["aead"]}


def rows(compiled: str | None) -> Iterator[Row]:
    plain: list[dict[str, float]] = []
    other: list[dict[str, float]] = []
    for _ in range(ROUNDS):
        plain.append(a_round(sys.executable, False))
        if compiled is not None:
            other.append(a_round(compiled, True))
    floor = median(one[FLOOR] for one in plain)
    for part in (*PARTS, *SENDING):
        if part == FLOOR:
            continue
        ours = median(one[part] for one in plain) * floor
        yield Row(f"channel_update: {part}", ours, "us", FLOOR, floor)
        if other:
            # Each round of one beside the next of the other, in units of their own floors.
            theirs = median(one[part] for one in other) * floor
            yield Row(f"channel_update: {part}, compiled", theirs, "us", "plain", ours)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--compiled", metavar="PYTHON")
    parser.add_argument("--once", action="store_true", help="one round, as JSON")
    parser.add_argument("--flood", nargs=2, metavar=("PORT", "NODE_ID"), help="what the others read")
    parser.add_argument("--drain", nargs=2, metavar=("PORT", "NODE_ID"), help="who reads what the others write")
    given = parser.parse_args()
    if given.flood:
        flood(int(given.flood[0]), given.flood[1])
    elif given.drain:
        drain(int(given.drain[0]), given.drain[1])
    elif given.once:
        ways = {name: best(way) for name, way in WAYS.items()}
        print(json.dumps({"compiled": triolight.__compiled__, "ways": ways}))
    else:
        report(rows(given.compiled))
