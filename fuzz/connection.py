"""A PeerManager and a peer that does what the input says: bytes, noise, messages, stalls, ticks, disappearances.

    python -m fuzz.connection -max_total_time=600 -max_len=4096 fuzz/corpus/connection

The input is a byte of settings and then steps. A finding is any exception but PeerHandleError, output that does not
decrypt or decode, handler calls that do not pair, a queue that outgrows its bound, an end without its reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Final

from triolight.errors import DecodeError, PeerHandleError, QueueFull
from triolight.handlers import (
    BaseMessageHandler,
    ChannelMessageHandler,
    CustomMessageHandler,
    MessageHandler,
    OnionMessageHandler,
    RoutingMessageHandler,
)
from triolight.keys import SecretKey
from triolight.logger import NullLogger
from triolight.messages import BOLT, Init, Message, Ping
from triolight.noise import Handshake, HandshakeFailed, Opener, Sealer
from triolight.peer_manager import PeerManager, SocketDescriptor

OURS, THEIRS = b"\x11" * 32, b"\x22" * 32
INIT: Final = Init(features=bytes.fromhex("0a8a0a69a2")).encode()
STEPS: Final = 200
"""Steps of one input; the rest is not looked at."""
OWED_LIMIT: Final = (256 + 64 + 64) * 1024 + 70_000
"""What may wait for one peer: what was sent to it, what it caused, what is sealed, each with its last message."""
MESSAGE, SHORT, NOISE, TAKE, DRAIN, TICK, GONE, SEND, TWICE = range(9)


class Finding(Exception):
    """What must not be."""


class Pairs:
    """Whom the handlers know; every one of the four must be told the same."""

    def __init__(self) -> None:
        self.known: dict[BaseMessageHandler, set[bytes]] = {}

    def connected(self, handler: BaseMessageHandler, node_id: bytes) -> None:
        known = self.known.setdefault(handler, set())
        if node_id in known:
            raise Finding("connected twice")
        known.add(node_id)

    def disconnected(self, handler: BaseMessageHandler, node_id: bytes) -> None:
        if node_id not in self.known.get(handler, ()):
            raise Finding("disconnected without having been connected")
        self.known[handler].remove(node_id)


def counted(base: type[BaseMessageHandler], pairs: Pairs) -> BaseMessageHandler:
    """A handler of this base that keeps the pairs."""

    def peer_connected(self: BaseMessageHandler, node_id: bytes, init: Init, inbound: bool) -> None:
        pairs.connected(self, node_id)

    def peer_disconnected(self: BaseMessageHandler, node_id: bytes) -> None:
        pairs.disconnected(self, node_id)

    methods = {"peer_connected": peer_connected, "peer_disconnected": peer_disconnected}
    made: BaseMessageHandler = type(f"Counted{base.__name__}", (base,), methods)()
    return made


class Wire(SocketDescriptor):
    """Keeps what the manager writes, as much as it may."""

    def __init__(self) -> None:
        self.room, self.written, self.open = 1 << 20, bytearray(), True

    def send_data(self, data: bytes, resume_read: bool) -> int:
        if not self.open:
            raise Finding("writes to what it disconnected")
        taken = min(self.room, len(data))
        self.room -= taken
        self.written += data[:taken]
        return taken

    def disconnect_socket(self) -> None:
        if not self.open:
            raise Finding("disconnects twice")
        self.open = False

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Remote:
    """The other end of a wire: it keeps the noise up, whatever it says in it."""

    def __init__(self, manager: PeerManager, inbound: bool) -> None:
        self.wire = Wire()
        self.sealer: Sealer | None = None
        self.opener: Opener | None = None
        self.handshake = Handshake(
            SecretKey(THEIRS),
            SecretKey(hashlib.sha256(THEIRS).digest()),
            SecretKey(OURS).public_key if inbound else None,
        )
        if inbound:
            manager.new_inbound_connection(self.wire)
            self.to_say = self.handshake.act_one()
        else:
            self.to_say, _ = self.handshake.receive(
                manager.new_outbound_connection(SecretKey(THEIRS).public_key, self.wire)
            )

    def hear(self) -> None:
        """Reads what the manager wrote; every message must be one of the BOLTs."""
        data = bytes(self.wire.written)
        self.wire.written.clear()
        if self.opener is None and data:
            try:
                self.to_say, data = self.handshake.receive(data)
            except HandshakeFailed:
                return  # the manager heard noise in place of an act, and what it says now is no act either
            self.established()
        if self.opener is not None:
            self.opener.feed(data)
            while (message := self.opener.next_message()) is not None:
                try:
                    BOLT.decode(message)
                except DecodeError as error:
                    raise Finding(f"we sent what does not decode: {error}") from error

    def established(self) -> None:
        if self.handshake.complete:
            self.sealer, self.opener = self.handshake.sealer, self.handshake.opener


def one_input(data: bytes) -> None:
    """Runs one input. Raises for a finding."""
    Run(data).run()


class Run:
    """One input, from its first byte to the end of all its connections."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        settings = self.byte()
        self.pairs = Pairs()
        handlers = [
            counted(base, self.pairs)
            for base in (ChannelMessageHandler, RoutingMessageHandler, OnionMessageHandler, CustomMessageHandler)
        ]
        self.manager = PeerManager(
            MessageHandler(*handlers),  # type: ignore[arg-type]  # each is of the base that stands at its place
            OURS,
            b"\x33" * 32,
            NullLogger(),
            duplicates="oldest" if settings & 1 else "newest",
        )
        self.inbound = bool(settings & 2)
        self.fragment = (1 << 16, 1, 7, 50)[settings >> 2 & 3]
        self.remote = Remote(self.manager, self.inbound)
        self.older: list[Remote] = []
        if settings & 16:
            self.greet()

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1] if self.at <= len(self.data) else 0

    def take(self, size: int) -> bytes:
        found = self.data[self.at : self.at + size]
        self.at += size
        return found

    def greet(self) -> None:
        """The rest of the handshake, and Init."""
        self.say(self.remote.to_say)
        self.manager.process_events()
        self.remote.hear()
        if self.inbound:
            self.say(self.remote.to_say)
        if self.remote.sealer is not None:
            self.say(self.remote.sealer.seal(INIT))

    def say(self, data: bytes) -> None:
        for at in range(0, len(data), self.fragment):
            if not self.remote.wire.open:
                return
            try:
                self.manager.read_event(self.remote.wire, data[at : at + self.fragment])
            except PeerHandleError as error:
                if not error.reason.message:
                    raise Finding("an end without a reason") from error
                self.remote.wire.open = False

    def message(self, plain: bytes) -> None:
        if self.remote.sealer is None:
            self.say(plain)
        elif len(plain) <= 0xFFFF:
            self.say(self.remote.sealer.seal(plain))

    def run(self) -> None:
        steps: dict[int, Callable[[], None]] = {
            MESSAGE: lambda: self.message(self.take(self.byte() << 8 | self.byte())),
            SHORT: lambda: self.message(self.take(self.byte())),
            NOISE: lambda: self.say(self.take(self.byte())),
            TAKE: self.stall,
            DRAIN: self.drain,
            TICK: self.manager.timer_tick_occurred,
            GONE: self.gone,
            SEND: self.send,
            TWICE: self.again,
        }
        for _ in range(STEPS):
            if self.at >= len(self.data):
                break
            steps[self.byte() % len(steps)]()
            self.manager.process_events()
            if self.remote.wire.open and self.manager.queued_bytes(self.remote.wire) > OWED_LIMIT:
                raise Finding(f"{self.manager.queued_bytes(self.remote.wire)} bytes wait")
            self.remote.hear()
        self.manager.disconnect_all_peers("the end")
        self.manager.process_events()
        for remote in (*self.older, self.remote):
            remote.hear()
            if remote.wire.open:
                self.manager.socket_disconnected(remote.wire)
        if any(self.pairs.known.values()) or self.manager.list_peers():
            raise Finding("somebody is connected still")

    def stall(self) -> None:
        self.remote.wire.room = self.byte()

    def drain(self) -> None:
        self.remote.wire.room = 1 << 20
        if self.remote.wire.open:
            self.manager.write_buffer_space_avail(self.remote.wire)

    def gone(self) -> None:
        if self.remote.wire.open:
            self.manager.socket_disconnected(self.remote.wire)
            self.remote.wire.open = False

    def send(self) -> None:
        ping: Message = Ping(num_pong_bytes=self.byte() << 8, ignored=bytes(self.byte() << 8))
        for peer in self.manager.list_peers():
            try:
                self.manager.send_message(peer.node_id, ping)
            except QueueFull:
                pass

    def again(self) -> None:
        """The same node once more, from now on; the older connection stays as it is."""
        self.inbound = not self.inbound
        self.older.append(self.remote)
        self.remote = Remote(self.manager, self.inbound)
        self.greet()


if __name__ == "__main__":
    from fuzz.engine import fuzz

    fuzz(one_input)
