"""Floors of the same kind of work: bare Python, Trio and cryptography that do what a node has to, and no more.

What a node does beside system calls, ciphers and curves is steps of Python. Beside a floor that has none of them its
ratio moves with how fast a machine's interpreter is against its C. These have them: a loop that slices, opens, unpacks
and calls; an echo with a task that reads and a channel to who answers; a thread that writes what another one has heard.
A floor is taken in turns with what it stands beside, and the median of the ratios counts; where a turn takes minutes it
is one or two readings.

    python -m benchmarks.bare ROLE [ARGUMENT]...     for other benchmarks: a line when it is ready, lines of JSON
"""

from __future__ import annotations

import hashlib
import itertools
import json
import queue
import resource
import selectors
import socket
import sqlite3
import struct
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from statistics import median
from typing import Any, Final

import trio
import trio.testing
from coincurve import GLOBAL_CONTEXT, PublicKey
from coincurve._libsecp256k1 import lib  # type: ignore[import-not-found]
from coincurve.ecdsa import deserialize_compact
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from benchmarks import graphs, nodes
from benchmarks.measure import Row

KEY: Final = bytes(32)
NONCES: Final = tuple(bytes(4) + number.to_bytes(8, "little") for number in range(1000))
HEADER: Final = 18
TAG: Final = 16
CHUNK: Final = 64 * 1024
UPDATE: Final = struct.Struct(">H64s32sQIBBHQIIQ")
"""A channel_update's fields."""
STEPS: Final = 20_000
STEP: Final = 0.32
"""Microseconds of a step where the bounds in seconds were set."""
PING, PONG = bytes(6), bytes(4)
"""A ping for no bytes and its pong, without what seals them."""


# ---------------------------------------------------------------------------------------------------------------------
# Steps of Python


class Walker:
    """A step is a call of a method that cuts eight bytes out, makes their number, looks it up and keeps it."""

    __slots__ = ("at", "last", "seen")

    def __init__(self) -> None:
        self.at = 0
        self.last = (0, b"")
        self.seen = dict.fromkeys(range(0, 256, 2), 0)

    def step(self, data: bytes) -> bool:
        at = self.at
        piece = data[at : at + 8]
        number = int.from_bytes(piece, "big") & 0xFF
        known = number in self.seen
        if known:
            self.seen[number] += 1
        self.last = (number, piece)
        self.at = (at + 1) % 120
        return known


def step(count: int = STEPS) -> float:
    """Microseconds of CPU of one."""
    walker, data = Walker(), bytes(range(128))
    began = time.process_time()
    for _ in range(count):
        walker.step(data)
    return (time.process_time() - began) / count * 1e6


def scaled(what: str, value: float, unit: str, most: float, each: float, at_least: bool = False) -> Row:
    """Beside a number of another machine, as it would be here, where a step takes this long: the bound of what is steps
    of Python moves with the interpreter, where one in seconds holds on some machines alone."""
    here = most * STEP / each if at_least else most * each / STEP
    return Row(what, value, unit, f"{most:g} {unit} where a step of Python takes {STEP:g} us", here, 1, at_least)


# ---------------------------------------------------------------------------------------------------------------------
# Packets


def sealed(messages: Iterable[bytes]) -> bytes:
    """Their packets, by a loop: a nonce for each of two calls, from the first again after a thousand."""
    encrypt, found, nonce = ChaCha20Poly1305(KEY).encrypt, list[bytes](), 0
    for message in messages:
        header = encrypt(NONCES[nonce], len(message).to_bytes(2, "big"), None)
        found.append(header + encrypt(NONCES[nonce + 1], message, None))
        nonce = (nonce + 2) % 1000
    return b"".join(found)


class Opened:
    """Opens a stream of such packets, from pieces of any size."""

    def __init__(self) -> None:
        self._decrypt: Final = ChaCha20Poly1305(KEY).decrypt
        self._rest = b""
        self._nonce = 0

    def messages(self, data: bytes) -> Iterator[bytes]:
        decrypt, nonce, at = self._decrypt, self._nonce, 0
        data = self._rest + data if self._rest else data
        while at + HEADER <= len(data):
            header = decrypt(NONCES[nonce], data[at : at + HEADER], None)
            stop = at + HEADER + int.from_bytes(header, "big") + TAG
            if stop > len(data):
                break
            yield decrypt(NONCES[nonce + 1], data[at + HEADER : stop], None)
            nonce, at = (nonce + 2) % 1000, stop
        self._nonce, self._rest = nonce, data[at:]


class Counts:
    """As a handler that counts, called with what was unpacked."""

    def __init__(self) -> None:
        self.messages = 0

    def handle(self, message: tuple[Any, ...]) -> None:
        self.messages += 1


def receive(count: str) -> None:
    """A socket of channel_updates to a method: read, opened, unpacked, called. Says its CPU for each."""
    counts, opened, cpu = Counts(), Opened(), 0.0
    with socket.create_server(("127.0.0.1", 0)) as server:
        print(server.getsockname()[1], flush=True)
        sock, _ = server.accept()
        with sock:
            while data := sock.recv(CHUNK):
                cpu = cpu or time.process_time()
                for message in opened.messages(data):
                    counts.handle(UPDATE.unpack(message))
    if counts.messages != int(count):
        raise RuntimeError(f"{counts.messages} of {count} messages arrived")
    print(json.dumps((time.process_time() - cpu) / counts.messages * 1e6), flush=True)


def received(message: bytes, count: int) -> float:
    """Microseconds of CPU of `receive` for each of so many."""
    stream, share = sealed([message] * 500), count // 500
    with running("receive", share * 500) as program, socket.create_connection(("127.0.0.1", program.port)) as sock:
        for _ in range(share):
            sock.sendall(stream)
        sock.shutdown(socket.SHUT_WR)
        return float(program.number())


# ---------------------------------------------------------------------------------------------------------------------
# Gossip


def taken(messages: list[bytes]) -> float:
    """Microseconds of CPU of what a message needs, in a loop: opened, hashed, its signatures verified, kept by what it
    is of."""
    stream, opened, kept, keys = sealed(messages), Opened(), dict[bytes, bytes](), dict[bytes, Any]()
    graphs.signers(messages[0])  # who is behind a channel is looked up once, and not by the node
    began = time.process_time()
    for at in range(0, len(stream), CHUNK):
        for one in opened.messages(stream[at : at + CHUNK]):
            digest = graphs.digest(one)
            for signature, key in graphs.signers(one):
                point = keys.get(key)
                if point is None:
                    point = keys[key] = PublicKey(key).public_key
                if not lib.secp256k1_ecdsa_verify(GLOBAL_CONTEXT.ctx, deserialize_compact(signature), digest, point):
                    raise RuntimeError("a signature that does not hold")
            kept[one[-140:]] = one
    return (time.process_time() - began) / len(messages) * 1e6


def given(messages: list[bytes]) -> float:
    """Microseconds of CPU for each, sealed and written to a socket."""
    one, other = socket.socketpair()
    with one, other:
        reader = threading.Thread(target=drain, args=(other,))
        reader.start()
        began = time.thread_time()
        for at in range(0, len(messages), 500):
            one.sendall(sealed(messages[at : at + 500]))
        took = time.thread_time() - began
        one.shutdown(socket.SHUT_WR)
        reader.join()
    return took / len(messages) * 1e6


def drain(sock: socket.socket) -> None:
    while sock.recv(1 << 20):
        pass


# ---------------------------------------------------------------------------------------------------------------------
# Pings


class End:
    """An end of a connection: a task reads and opens, and a channel takes it to whoever answers or has asked."""

    def __init__(self, stream: trio.abc.Stream, to: trio.MemorySendChannel[bytes] | None = None) -> None:
        """`to`: where it takes them, if several ends have one in common."""
        self._stream: Final = stream
        self._encrypt: Final = ChaCha20Poly1305(KEY).encrypt
        channel, self._messages = trio.open_memory_channel[bytes](1)
        self._channel: Final = channel if to is None else to

    async def read(self) -> None:
        opened = Opened()
        with self._channel:
            while data := await self._stream.receive_some(CHUNK):
                for message in opened.messages(bytes(data)):
                    await self._channel.send(message)

    async def send(self, message: bytes, nonce: int) -> None:
        header = self._encrypt(NONCES[nonce], len(message).to_bytes(2, "big"), None)
        await self._stream.send_all(header + self._encrypt(NONCES[nonce + 1], message, None))

    async def answer(self) -> None:
        nonce = 0
        async for _ in self._messages:
            await self.send(PONG, nonce)
            nonce = (nonce + 2) % 1000

    async def ask(self, nonce: int) -> None:
        await self.send(PING, nonce)
        await self._messages.receive()


class Pinging:
    """Who asks over one connection."""

    def __init__(self, end: End) -> None:
        self._end: Final = end
        self._nonces: Final = itertools.cycle(range(0, 1000, 2))

    async def ping(self) -> None:
        await self._end.ask(next(self._nonces))


@asynccontextmanager
async def pinging(port: int) -> AsyncIterator[Pinging]:
    """With `echo` in another process."""
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream, trio.open_nursery() as nursery:
        end = End(stream)
        nursery.start_soon(end.read)
        yield Pinging(end)
        nursery.cancel_scope.cancel()


async def answer(stream: trio.SocketStream) -> None:
    end = End(stream)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(end.read)
        nursery.start_soon(end.answer)


async def echo() -> None:
    """Answers each ping, of any number of connections."""
    raise_file_limit()
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=4096)
    print(listener.socket.getsockname()[1], flush=True)
    await trio.serve_listeners(answer, [listener])


async def ask(port: str, count: str, seconds: str, rate: str) -> None:
    """So many connections, each with a task that reads; one task asks when it is time, fifty times a second, so many a
    second for so many seconds, and another one is told of all answers. Says the CPU of each."""
    raise_file_limit()
    to, answers = trio.open_memory_channel[bytes](100)
    ends, number = list[End](), round(int(rate) * float(seconds))
    together = max(1, int(rate) // 50)
    async with trio.open_nursery() as nursery:
        for _ in range(int(count)):
            end = End(await trio.open_tcp_stream("127.0.0.1", int(port)), to.clone())
            nursery.start_soon(end.read)
            await end.send(PING, 0)  # the first of a connection is dearer
            await answers.receive()
            ends.append(end)

        async def begin(due: float) -> None:
            for at in range(number):
                if at % together == 0:
                    await trio.sleep_until(due + at / int(rate))
                await ends[at % len(ends)].send(PING, 2 + 2 * (at // len(ends)))

        cpu = time.process_time()
        nursery.start_soon(begin, trio.current_time())
        for _ in range(number):
            await answers.receive()
        cpu = time.process_time() - cpu
        nursery.cancel_scope.cancel()
    print(json.dumps(cpu / number * 1e6), flush=True)


def asked(count: int, rate: int, seconds: float) -> float:
    """Microseconds of CPU of a ping and its pong, one of so many connections after the other."""
    with running("echo") as far_end, running("ask", far_end.port, count, seconds, rate, ready=False) as program:
        return float(program.number())


async def _keep_alive(connections: int, pings: int) -> None:
    async def one(number: int) -> None:
        ours, theirs = (End(stream) for stream in trio.testing.memory_stream_pair())
        for task in (ours.read, theirs.read, theirs.answer):
            nursery.start_soon(task)
        await trio.sleep(number / connections)
        for at in range(pings):
            await trio.sleep(10)
            await ours.ask(2 * at % 1000)
        left.discard(number)
        if not left:
            nursery.cancel_scope.cancel()

    left = set(range(connections))
    async with trio.open_nursery() as nursery:
        for number in range(connections):
            nursery.start_soon(one, number)


def simulated(connections: int = 200, pings: int = 100) -> float:
    """Microseconds of CPU of a ping and its pong on the mock clock, one of so many connections after the other."""
    began = time.process_time()
    trio.run(_keep_alive, connections, pings, clock=trio.testing.MockClock(autojump_threshold=0))
    return (time.process_time() - began) / connections / pings * 1e6


def raise_file_limit() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---------------------------------------------------------------------------------------------------------------------
# Records

TABLES: Final = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE messages (id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, raw BLOB NOT NULL);
CREATE TABLE sightings (seen INTEGER NOT NULL, session INTEGER NOT NULL, message INTEGER NOT NULL);
"""
BATCH: Final = 2000
BATCHES: Final = 8
"""That wait for the thread that writes."""


def record(path: str, peers: str) -> None:
    """What so many sockets say onto the disk: opened, hashed, looked up and numbered; a thread writes."""
    rows: queue.Queue[tuple[list[tuple[int, bytes, bytes]], list[tuple[int, int, int]]] | None] = queue.Queue(BATCHES)
    writer = threading.Thread(target=write, args=(path, rows))
    writer.start()
    known: dict[bytes, int] = {}
    new, seen, count, cpu, began = list[tuple[int, bytes, bytes]](), list[tuple[int, int, int]](), 0, 0.0, 0.0
    selector, left = selectors.DefaultSelector(), int(peers)
    with socket.create_server(("127.0.0.1", 0), backlog=left) as server:
        print(server.getsockname()[1], flush=True)
        for number in range(left):
            sock, _ = server.accept()
            selector.register(sock, selectors.EVENT_READ, (number, Opened()))
    while left:
        for key, _ in selector.select():
            number, opened = key.data
            speaker: Any = key.fileobj
            data = speaker.recv(CHUNK)
            if not data:
                selector.unregister(speaker)
                speaker.close()
                left -= 1
            cpu, began = cpu or time.process_time(), began or time.perf_counter()
            for message in opened.messages(data):
                digest = hashlib.sha256(message).digest()
                id_ = known.get(digest)
                if id_ is None:
                    id_ = known[digest] = len(known)
                    new.append((id_, digest, message))
                seen.append((time.time_ns(), number, id_))
            if len(seen) >= BATCH:
                rows.put((new, seen))
                count += len(seen)
                new, seen = [], []
    rows.put((new, seen))
    count += len(seen)
    rows.put(None)
    writer.join()
    took = {"cpu": (time.process_time() - cpu) / count * 1e6, "rate": count / (time.perf_counter() - began)}
    print(json.dumps(took), flush=True)


def write(path: str, rows: queue.Queue[tuple[list[Any], list[Any]] | None]) -> None:
    database = sqlite3.connect(path)
    database.executescript(TABLES)
    while (batch := rows.get()) is not None:
        with database:
            database.executemany("INSERT INTO messages VALUES (?, ?, ?)", batch[0])
            database.executemany("INSERT INTO sightings VALUES (?, ?, ?)", batch[1])
    database.close()


def recorded(path: str, messages: list[bytes], peers: int) -> dict[str, float]:
    """Microseconds of CPU of a sighting, and sightings a second, of `record` with these said by so many."""
    with running("record", path, peers) as program:
        with running("say", program.port, peers) as speaker:
            speaker.write(sealed(messages))
        found: dict[str, float] = program.number()
        return found


def say(port: str, peers: str) -> None:
    """Says what it is given, over so many connections at once, as fast as it is taken."""
    sockets = [socket.create_connection(("127.0.0.1", int(port))) for _ in range(int(peers))]
    print(0, flush=True)
    data = sys.stdin.buffer.read()
    selector = selectors.DefaultSelector()
    for sock in sockets:
        sock.setblocking(False)
        selector.register(sock, selectors.EVENT_WRITE, [0])
    while selector.get_map():
        for key, _ in selector.select():
            taker: Any = key.fileobj
            key.data[0] += taker.send(memoryview(data)[key.data[0] : key.data[0] + CHUNK])
            if key.data[0] == len(data):
                selector.unregister(taker)
                taker.close()


# ---------------------------------------------------------------------------------------------------------------------
# In turns


def beside(
    what: str, unit: str, floor: str, pairs: Iterable[tuple[float, float]], bound: float | None, at_least: bool = False
) -> Row:
    """Of what was measured and its floor, turn by turn: the median of the ratios, beside the floor's own median."""
    found = list(pairs)
    middle = median(one for _, one in found)
    return Row(what, median(one / other for one, other in found) * middle, unit, floor, middle, bound, at_least)


def in_turns(
    what: str, run: Callable[[], int], floor: str, run_floor: Callable[[], int], bound: float | None, turns: int = 21
) -> Row:
    """As `measure.compare`, in many short turns: whatever else the machine does then falls on both."""

    def each(one: Callable[[], int]) -> float:
        began = time.process_time()
        count = one()
        return (time.process_time() - began) / count * 1e6

    return beside(what, "us", floor, [(each(run), each(run_floor)) for _ in range(turns)], bound)


class Program:
    """One of these in a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self._process: Final = process
        self.port: Final = port

    def number(self) -> Any:
        """What it says at last."""
        return json.loads(line_of(self._process))

    def write(self, data: bytes) -> None:
        if self._process.stdin is None:
            raise RuntimeError("its input is not ours to write")
        self._process.stdin.write(data)
        self._process.stdin.close()
        self._process.wait()


def line_of(process: subprocess.Popen[bytes]) -> bytes:
    line = process.stdout.readline() if process.stdout is not None else b""
    if not line:
        raise RuntimeError(f"{process.args!r} has ended")
    return line


@contextmanager
def running(role: str, *arguments: object, ready: bool = True) -> Iterator[Program]:
    """A process that has said its port."""
    command = [sys.executable, "-m", "benchmarks.bare", role, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=nodes.ROOT)
    try:
        yield Program(process, int(line_of(process)) if ready else 0)
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


ROLES: Final[dict[str, Callable[..., Any]]] = {one.__name__: one for one in (receive, echo, ask, record, say)}


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role in ("echo", "ask"):
        trio.run(ROLES[role], *arguments)
    else:
        ROLES[role](*arguments)
