"""Onion messages and BOLT 12: what a layer, a path, an offer and a request cost beside the bare calls that they need.

    python -m benchmarks.onion [--json] [--compiled PYTHON]

A floor makes the same work with nothing around it: coincurve's calls, ChaCha20, HMAC, the AEAD, in the same process and
in turns. For what goes through the whole stack, senders and readers are processes of their own; CPU is the node's.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import hmac
import itertools
import os
import secrets
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import trio
from coincurve import PrivateKey, PublicKey, PublicKeyXOnly
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

from benchmarks import bare, builds, nodes, raw
from benchmarks.floods import HONEST, OURS, beside_echo, median_rtts, open_echo, rss_of
from benchmarks.measure import Row, compare
from benchmarks.raw import RawPeer
from triolight import (
    ChannelMessageHandler,
    MessageHandler,
    NodeAddress,
    NullLogger,
    OnionMessageHandler,
    PeerManager,
    RoutingMessageHandler,
    SendMessages,
    open_peer_nursery,
)
from triolight.features import Features
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, Init, OnionMessage, Ping, Pong
from triolight.onion import (
    InvoiceRequest,
    Offer,
    OfferTlvs,
    OnionDropped,
    OnionLimits,
    OnionMessenger,
    blind_route,
    open_message,
    seal,
)
from triolight.onion.limits import Rates
from triolight.onion.messenger import UNITS_OF_LAYER
from triolight.services import fetch_invoice, open_onion_messenger

COUNT: Final = 200
"""Operations of a round."""
FORWARDED: Final = 1000
"""Messages through the whole stack."""
ROUNDS: Final = 3
SEVERAL: Final = 20
"""Different ones of what is read again and again."""
FETCHED: Final = 20
"""Invoices."""
POURED: Final = 1000
"""Messages a second of one peer that pours."""
SECONDS: Final = 10
NONCE: Final = bytes(12)
OFFERS: Final = Features.named("option_onion_messages").to_bytes()
INIT: Final = Init(features=OFFERS).encode()
KEYS: Final = tuple(SecretKey(number.to_bytes(32, "big")) for number in range(3001, 3005))
IDS: Final = tuple(one.public_key for one in KEYS)
CONTENT: Final = ((77, b"a few words"),)
MADE_BOUND, READ_BOUND = 1.8, 1.8
FREE: Final = OnionLimits(
    per_second=1e9,
    burst=1e9,
    bytes_per_second=1e12,
    byte_burst=1e12,
    all_per_second=1e9,
    all_burst=1e9,
    waiting_bytes=1 << 30,
)
"""So that what is measured is the work."""


def random() -> bytes:
    return secrets.token_bytes(32)


# ---------------------------------------------------------------------------------------------------------------------
# The bare calls


def derived(kind: bytes, secret: bytes) -> bytes:
    return hmac.digest(kind, secret, "sha256")


def stream(key: bytes, data: bytes) -> bytes:
    return Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(data)


def times(point: bytes, factor: bytes) -> bytes:
    return PublicKey(point).multiply(factor).format()


class Bare:
    """The work of a hop, of who drops, and of who sends, without a look at what comes out."""

    def __init__(self, size: int, path: BlindedPath) -> None:
        self.mix = os.urandom(size)
        self.twice = self.mix + bytes(size)
        self.key = PrivateKey(random())
        self.point = PrivateKey(random()).public_key.format()
        self.sealed = path.path[0].encrypted_recipient_data
        self.aead_key = random()
        self.sealed = ChaCha20Poly1305(self.aead_key).encrypt(NONCE, self.sealed[:-16], None)

    def drop(self) -> bytes:
        path_secret = self.key.ecdh(self.point)
        blinded = times(self.point, derived(b"blinded_node_id", path_secret))
        secret = self.key.ecdh(blinded)
        hmac.digest(derived(b"mu", secret), self.mix, "sha256")
        return secret

    def forward(self) -> None:
        secret = self.drop()
        stream(derived(b"rho", secret), self.twice)
        times(self.point, hashlib.sha256(self.point + secret).digest())
        derived(b"rho", secret)
        ChaCha20Poly1305(self.aead_key).decrypt(NONCE, self.sealed, None)
        times(self.point, hashlib.sha256(self.point + secret).digest())

    def send(self) -> None:
        """A path of three, and the packet for it."""
        for of_path in (True, False):
            key = PrivateKey(random())
            point = key.public_key.format()
            for at, node_id in enumerate(IDS[:3]):
                secret = key.ecdh(node_id)
                rho = derived(b"rho", secret)
                if of_path:
                    ChaCha20Poly1305(rho).encrypt(NONCE, self.sealed[:-16], None)
                    times(node_id, derived(b"blinded_node_id", secret))
                if at < 2:
                    key = key.multiply(hashlib.sha256(point + secret).digest())
                    point = key.public_key.format()
                if not of_path:
                    stream(rho, self.mix)  # of the filler, or of the padding
                    stream(rho, self.mix)
                    hmac.digest(derived(b"mu", secret), self.mix, "sha256")


def repeated(run: Callable[[], object], count: int = COUNT) -> Callable[[], int]:
    def several() -> int:
        for _ in range(count):
            run()
        return count

    return several


def in_turn(run: Callable[[Any], object], values: list[Any]) -> Callable[[], int]:
    """So many that what is remembered of points looked at lately is of no use when one comes again."""
    several = itertools.cycle(values)
    return repeated(lambda: run(next(several)))


# ---------------------------------------------------------------------------------------------------------------------
# In memory


def packets() -> Iterator[Row]:
    for size in (1300, 32768):
        path = blind_route(random(), IDS[:3])
        messages = [seal(random(), blind_route(random(), IDS[:3]), CONTENT, size=size) for _ in range(SEVERAL)]
        message = messages[0]
        calls, length = Bare(size, path), size + 66
        packet = message.onion_message_packet
        broken = message.replace(onion_message_packet=packet[:-1] + bytes([packet[-1] ^ 1]))

        def drop(broken: OnionMessage = broken) -> None:
            try:
                open_message(KEYS[0], broken)
            except OnionDropped:
                return
            raise RuntimeError("a message that was changed has been opened")

        def send(size: int = size) -> None:
            seal(random(), blind_route(random(), IDS[:3]), CONTENT, size=size)

        opened = in_turn(lambda message: open_message(KEYS[0], message), messages)
        floor = "its bare calls"
        yield compare(
            f"a layer opened, and the next message: {length}", opened, floor, repeated(calls.forward), bound=1.4
        )
        yield compare(f"a bad HMAC dropped: {length}", repeated(drop), floor, repeated(calls.drop), bound=1.25)
        sent = repeated(send, COUNT // 4)
        yield compare(
            f"a path of 3 and its packet: {length}", sent, floor, repeated(calls.send, COUNT // 4), bound=1.25
        )


def each(what: str, values: list[object], run: Callable[[object], object], most: float) -> Row:
    """Microseconds for each of these, every one of which is new. The best of as many parts as a round has."""
    best, part = float("inf"), len(values) // 7
    for first in range(0, 7 * part, part):
        began = time.process_time()
        for one in values[first : first + part]:
            run(one)
        best = min(best, (time.process_time() - began) / part * 1e6)
    return Row(what, best, "us", f"{most:g} us", most, 1)


class BareHashes:
    """What is signed of some records, as a loop: a leaf and its nonce each, joined until one is left."""

    def __init__(self, records: list[tuple[int, bytes]]) -> None:
        self._records: Final = [(bytes((type_ & 0xFF,)), raw) for type_, raw in records]
        self._tag: Final = hashlib.sha256(b"LnLeaf").digest() * 2

    def walk(self, data: bytes) -> dict[int, bytes]:
        """Records whose type and length have a byte, cut out."""
        found, at = dict[int, bytes](), 0
        while at < len(data):
            stop = at + 2 + data[at + 1]
            found[data[at]] = data[at + 2 : stop]
            at = stop
        return found

    def digest(self) -> bytes:
        tag, sha256 = self._tag, hashlib.sha256
        nonce = sha256(tag + self._records[0][1]).digest()
        level = [
            self._joined(sha256(tag + raw).digest(), sha256(nonce + type_).digest()) for type_, raw in self._records
        ]
        while len(level) > 1:
            odd = level[-1:] if len(level) % 2 else []
            level = [self._joined(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)] + odd
        return sha256(tag + level[0]).digest()

    def _joined(self, one: bytes, other: bytes) -> bytes:
        return hashlib.sha256(self._tag + (one + other if one < other else other + one)).digest()


def a_point() -> bytes:
    return PrivateKey(random()).public_key.format()


def small_offer() -> Offer:
    return Offer.make(OfferTlvs(offer_issuer_id=a_point()))


def large_offer() -> Offer:
    """As large as BOLT 12's vector with two paths: 566 characters."""
    paths = tuple(blind_route(random(), [a_point()]) for _ in range(2))
    return Offer.make(OfferTlvs(offer_paths=paths, offer_description=b"t" * 72, offer_issuer_id=a_point()))


def bolt12() -> Iterator[Row]:
    def read(text: object) -> None:
        Offer.decode(str(text)).check(now=0)

    for make, what, most in ((small_offer, "of one point", 60), (large_offer, "with 2 paths", 300)):
        offers: list[object] = [make().encode() for _ in range(7 * COUNT)]
        yield each(f"an offer {what}, {len(str(offers[0]))} characters", offers, read, most)
    offer = Offer.make(OfferTlvs(offer_issuer_id=IDS[0], offer_description=b"tea", offer_amount=1000))
    digest = random()

    def make_request() -> None:
        InvoiceRequest.make(offer, SecretKey(random()), random()[:16], random())

    def sign() -> None:
        PrivateKey(random()).sign_schnorr(digest, random())

    yield compare(
        "an invoice_request, made and signed",
        repeated(make_request),
        "a key and its signature",
        repeated(sign),
        bound=1.8,
        moves=True,
    )
    requests = [InvoiceRequest.make(offer, SecretKey(random()), random()[:16], random()) for _ in range(SEVERAL)]
    request, several = requests[0], [one.data for one in requests]
    hashes = BareHashes([(record.type, record.raw) for record in request.records])

    def hash_and_sign() -> None:
        PrivateKey(random()).sign_schnorr(hashes.digest(), random())

    what, floor = "an invoice_request, made and signed", "a key, its records hashed, its signature"
    yield bare.in_turns(what, repeated(make_request), floor, repeated(hash_and_sign), MADE_BOUND)
    key = PrivateKey(random())
    signature, x_only = key.sign_schnorr(digest, random()), key.public_key.format()[1:]

    def verify() -> None:
        if not PublicKeyXOnly(x_only).verify(signature, digest):
            raise RuntimeError("a signature that does not hold")

    def hash_and_verify() -> None:
        hashes.walk(request.data)
        if PublicKeyXOnly(x_only).verify(signature, hashes.digest()):
            raise RuntimeError("a signature that holds of something else")

    what, floor = "an invoice_request, read and verified", "its records cut, hashed, its signature verified"
    yield bare.in_turns(what, in_turn(InvoiceRequest, several), floor, repeated(hash_and_verify), READ_BOUND)
    yield compare(
        "an invoice_request, read and verified",
        in_turn(InvoiceRequest, several),
        "its signature verified",
        repeated(verify),
        bound=1.8,
        moves=True,
    )


# ---------------------------------------------------------------------------------------------------------------------
# Memory


def traced(run: Callable[[], object]) -> tuple[int, object]:
    """Bytes that what it gives takes."""
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = run()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return after - before, kept


def memory() -> Iterator[Row]:
    onions = OnionMessenger(OURS.public_key[1:], random())
    onions.peer_connected(IDS[1], Init(features=OFFERS), False)
    count = onions.limits.requests

    def ask() -> object:
        found = [onions.request(IDS[1], CONTENT, print) for _ in range(count)]
        onions.get_and_clear_pending_msg_events()
        return found

    size, _ = traced(ask)
    yield Row(f"memory of a request, of {count} that wait", size / count, "B", "2 KiB", 2048, 1)
    limits = OnionLimits()

    def go() -> object:
        rates = Rates(limits, 0)
        for number in range(2 * limits.remembered):
            node_id = b"\2" + number.to_bytes(32, "big")
            rates.came(node_id, 0)
            rates.refuse(node_id, 1400, 0)
            rates.left(node_id, 0)
        return rates

    size, _ = traced(go)
    what = f"memory of buckets, of {limits.remembered} peers that have gone"
    yield Row(what, size / limits.remembered, "B", "512 B", 512, 1)


# ---------------------------------------------------------------------------------------------------------------------
# The whole stack


class Child:
    """A process of this program in one of its roles: a line in, a line out."""

    def __init__(self, process: trio.Process) -> None:
        self._process: Final = process
        self._unread = b""

    @property
    def pid(self) -> int:
        return self._process.pid

    async def say(self, line: str) -> None:
        if self._process.stdin is not None:
            await self._process.stdin.send_all(line.encode() + b"\n")

    async def hear(self) -> str:
        """Its next line. RuntimeError if there is none."""
        while b"\n" not in self._unread and self._process.stdout is not None:
            more = await self._process.stdout.receive_some(4096)
            if not more:
                raise RuntimeError(f"{self._process.args!r} has ended")
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()


@asynccontextmanager
async def running(role: str, *arguments: object) -> AsyncIterator[Child]:
    command = [sys.executable, "-m", "benchmarks.onion", "--role", role, *map(str, arguments)]
    process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=nodes.ROOT)
    try:
        yield Child(process)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def meet(port: str, key: SecretKey, node_id: bytes = OURS.public_key) -> RawPeer:
    peer = await raw.connect(int(port), node_id, key)
    await peer.send(INIT)
    await peer.receive()  # its Init
    return peer


def for_the_reader(node_id: bytes = OURS.public_key) -> bytes:
    """An onion message over the node to `IDS[1]`, which is another one each time."""
    return seal(random(), blind_route(random(), (node_id, IDS[1])), CONTENT).encode()


async def send(port: str, node: str) -> None:
    """Sends onions for the reader when it is told to, which are sealed before."""
    node_id = bytes.fromhex(node)
    peer = await meet(port, KEYS[0], node_id)
    packet = peer.sealed(*[for_the_reader(node_id) for _ in range(FORWARDED)], Ping(num_pong_bytes=1).encode())
    print("sealed", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    await peer.stream.send_all(packet)
    await peer.receive_type(Pong.type)
    print("taken", flush=True)
    await trio.sleep_forever()


async def read(port: str, node: str) -> None:
    """Reads onions, and says when all are there."""
    peer = await meet(port, KEYS[1], bytes.fromhex(node))
    print("ready", flush=True)
    for _ in range(FORWARDED):
        await peer.receive_type(OnionMessage.type)
    print("read", flush=True)
    await trio.sleep_forever()


async def pour(port: str) -> None:
    """So many onions each second, evenly, each opened and thrown away: its sender is over every limit."""
    peer = await meet(port, KEYS[0])
    message, batch = for_the_reader(), POURED // 50
    print("ready", flush=True)
    await trio.to_thread.run_sync(sys.stdin.readline)
    began = trio.current_time()
    for number in range(50 * SECONDS):
        await peer.send(*[message] * batch)
        await trio.sleep_until(began + number / 50)
    print("poured", flush=True)
    await trio.sleep_forever()


class Passing(OnionMessageHandler):
    """Makes the bare calls, and passes on what came, unopened. As few in a turn of the pump as the messenger."""

    def __init__(self) -> None:
        super().__init__()
        self._bare = Bare(1300, blind_route(random(), IDS[:3]))

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.from_bytes(OFFERS)

    def handle_onion_message(self, node_id: bytes, message: OnionMessage) -> None:
        self.charge(node_id, UNITS_OF_LAYER)
        self._bare.forward()
        self.push(SendMessages(IDS[1], message))


@asynccontextmanager
async def open_node(handler: OnionMessageHandler) -> AsyncIterator[int]:
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), handler)
    manager = PeerManager(handlers, b"\x11" * 32, secrets.token_bytes(32), NullLogger())
    # Those who send and read answer no pings.
    async with open_peer_nursery(manager, ping_interval=600) as peers:
        (listener,) = await peers.listen(0, host="127.0.0.1")
        yield listener.socket.getsockname()[1]


async def serve() -> None:
    """The node that somebody pours onions into. With the default limits."""
    async with open_node(OnionMessenger(b"\x11" * 32, random())) as port:
        print(port, flush=True)
        await trio.sleep_forever()


ROLES: Final = {one.__name__: one for one in (send, read, pour, serve)}


async def forwarded(handler: OnionMessageHandler) -> float:
    """Microseconds of the node's CPU for a message from one peer to another."""
    async with open_node(handler) as port, going_over(port, OURS.public_key) as (reader, sender):
        cpu = time.process_time()
        await sender.say("go")
        await sender.hear()
        await reader.hear()
        return (time.process_time() - cpu) / FORWARDED * 1e6


@asynccontextmanager
async def going_over(port: int, node_id: bytes) -> AsyncIterator[tuple[Child, Child]]:
    """Who reads what goes over a node, and who is about to send it."""
    node = node_id.hex()
    async with running("read", port, node) as reader, running("send", port, node) as sender:
        await reader.hear()
        await sender.hear()
        yield reader, sender


async def forwarded_by_ldk() -> float:
    """The same of LDK's CPU. It drops some if many come at once, which it has opened then all the same."""
    with nodes.ldk("--quiet", "yes", "--onion", "77") as node:
        async with going_over(node.port, bytes.fromhex(node.node_id)) as (_, sender):
            before = node.command("counts")["cpu"]
            await sender.say("go")
            await sender.hear()
            return float(node.command("counts")["cpu"] - before) / FORWARDED * 1e6


async def fetched(relay: bool) -> float:
    """Milliseconds for an invoice from LDK: of a node that we are connected with, or over another LDK that is its peer.
    The median of some."""
    onions = OnionMessenger(OURS.public_key[1:], random(), limits=FREE)
    handlers = MessageHandler(ChannelMessageHandler(), RoutingMessageHandler(), onions)
    manager = PeerManager(handlers, OURS.public_key[1:], random(), NullLogger())
    options = ("--quiet", "yes", "--onion", "77")
    with nodes.ldk(*options) as seller, nodes.ldk(*options) as between:
        if relay:
            between.command("connect", node_id=seller.node_id, port=seller.port)
        to = between if relay else seller
        async with open_peer_nursery(manager) as peers, open_onion_messenger(peers, onions) as messenger:
            peer = await peers.connect(NodeAddress(bytes.fromhex(to.node_id), "127.0.0.1", to.port))
            await peer.ping()
            offer = Offer.decode(seller.command("offer", amount_msat=1000, direct=True)["offer"])
            took: list[float] = []
            for _ in range(FETCHED):
                began = time.perf_counter()
                with trio.fail_after(30):
                    await fetch_invoice(messenger, offer, via=peer.node_id if relay else None, connect=False)
                took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e3


async def through() -> list[Row]:
    unopened = opened = float("inf")
    for _ in range(ROUNDS):
        unopened = min(unopened, await forwarded(Passing()))
        opened = min(opened, await forwarded(OnionMessenger(b"\x11" * 32, random(), limits=FREE)))
    what = "an onion passed on, through all: CPU"
    found = [Row(what, opened, "us", "passed on unopened, with its bare calls", unopened, 1.4)]
    if not nodes.LDK.is_file():
        print("native LDK is not built (interop/ldk_native): left out", file=sys.stderr)
        return found
    theirs = min([await forwarded_by_ldk() for _ in range(ROUNDS)])
    message = seal(random(), blind_route(random(), IDS[:3]), CONTENT, size=1300)
    layer = compare("", repeated(lambda: open_message(KEYS[0], message)), "", lambda: 1).value
    found.append(
        Row(
            "a layer opened, and the next message: 1366",
            layer,
            "us",
            "passed on by native LDK",
            theirs,
            1.5,
            moves=True,
        )
    )
    found.append(Row(what, opened, "us", "passed on by native LDK", theirs))
    for relay, how in ((False, "direct"), (True, "over another LDK")):
        found.append(Row(f"an invoice from native LDK, {how}", await fetched(relay), "ms", "25 ms", 25, 1))
    return found


async def beside() -> list[Row]:
    async with running("serve") as node, open_echo() as echo:
        port = await node.hear()
        honest = await raw.connect(int(port), OURS.public_key, HONEST)
        await honest.send(INIT)
        await median_rtts(honest, echo, 0)
        idle = await median_rtts(honest, echo)
        async with running("pour", port) as pouring:
            await pouring.hear()
            before = rss_of(node.pid)
            await pouring.say("go")
            busy = await median_rtts(honest, echo, SECONDS - 2)
            await pouring.hear()
            grown = rss_of(node.pid) - before
    what = f"a peer that sends {POURED} onions a second for {SECONDS} s"
    return [
        Row(f"{what}: honest RTT", busy[0], "ms", "idle", idle[0], 3, moves=True),
        beside_echo(f"{what}: honest RTT", idle, busy, 3),
        Row(f"{what}: memory", grown / 1024, "KiB", "1 MiB", 1024, 1),
    ]


PARTS: Final[builds.Parts] = {
    "packets": packets,
    "through": lambda: trio.run(through),
    "bolt12": bolt12,
    "memory": memory,
    "beside": lambda: trio.run(beside),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    builds.add_arguments(parser)
    parser.add_argument("--role", nargs="+", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.role:
        role, *arguments = given.role
        trio.run(ROLES[role], *arguments)
    else:
        builds.report_parts(__spec__.name, PARTS, given)
