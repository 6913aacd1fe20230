"""A peer that follows a script: it says exactly what it is told, at any level, and checks what the node answers.

It has the transport of its own (BOLT 8) and no PeerManager: it answers no ping, sends no Init, and breaks any rule it
is asked to break. It reads only when the script expects something. Its patience is one deadline for all of an
expectation, by the clock of the run: a node that dribbles does not renew it, and with a mock clock a script never waits
in real time.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar

import trio

from triolight.errors import DecodeError
from triolight.keys import SecretKey
from triolight.messages import BOLT, AnyMessage, Error, Init, Message, Registry, UnknownMessage, Warning
from triolight.noise import HEADER_LENGTH, Handshake, HandshakeFailed, Opener, PacketFailed, Sealer
from triolight.shell.peer import ConnectError
from triolight.shell.peers import PeerNursery
from triolight.testing.flows import Conditions
from triolight.testing.network import SimulatedNetwork
from triolight.text import printable, quoted

PATIENCE_SECONDS: Final = 60.0
HISTORY: Final = 20
"""Steps of the script that a failure shows."""

M = TypeVar("M", bound=Message | UnknownMessage)
Corruption = Literal["length", "length tag", "body", "body tag"]
"""Which part of a packet has a bit flipped."""


@dataclass(frozen=True, slots=True)
class Deed:
    """One thing that a peer does, good or bad: for `ScriptedPeer.do`.

    ``message``: `data` as a message, whatever it is. ``corrupt``: the same with a bit of its packet flipped. ``half``:
    the first half of its packet; nothing can follow. ``lie``: its packet, whose header says `length` bytes.
    ``dribble``: its packet byte by byte, `seconds` apart. ``bytes``: `data` on the wire, as it is; nothing can follow.
    ``wait``: nothing, for `seconds`. ``read``: what has come, for `seconds`. ``hang_up``: the connection is closed
    without a word.
    """

    what: Literal["message", "corrupt", "half", "lie", "dribble", "bytes", "wait", "read", "hang_up"]
    data: bytes = b""
    seconds: float = 0.0
    corruption: Corruption = "body tag"
    length: int = 0


class ScriptFailed(AssertionError):
    """The node did not do what the script expects. Says what it did, and what went before."""


class ScriptedPeer:
    """One end of a connection, in the hands of a test. Made by `scripted_peer`."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        their_node_id: bytes | None,
        secret: bytes,
        ephemeral: bytes,
        messages: Registry,
        patience: float,
    ) -> None:
        self.stream: Final = stream
        self.ignoring: tuple[type[AnyMessage], ...] = ()
        """Message classes that `expect` passes over."""
        self.patience = patience
        """Seconds that an expectation may take, however much comes meanwhile; and that one write may."""
        self._messages = messages
        key = SecretKey(secret)
        self.node_id: Final = key.public_key
        self._handshake = Handshake(key, SecretKey(ephemeral), their_node_id)
        self._initiator = their_node_id is not None
        self._sealer: Sealer | None = None
        self._opener: Opener | None = None
        self._unread = b""
        """What came before the handshake was done."""
        self._history: deque[str] = deque(maxlen=HISTORY)

    def __repr__(self) -> str:
        return f"<ScriptedPeer {self.node_id.hex()}>"

    def _fail(self, words: str) -> ScriptFailed:
        return ScriptFailed("\n    ".join((words, "what went before:", *self._history)))

    @contextmanager
    def _within_patience(self, words: str) -> Generator[None]:
        """ScriptFailed with `words` if the block has not left in time."""
        with trio.move_on_after(self.patience):
            yield
            return
        raise self._fail(f"{words} within {self.patience:g} seconds")

    async def send_bytes(self, data: bytes) -> None:
        """Bytes on the wire, as they are. ScriptFailed if the connection is gone, or if the other side does not
        take them within `patience` seconds: then nothing can follow. Cancelled, a part may have been written."""
        with self._within_patience(f"{len(data)} bytes were not taken"):
            try:
                await self.stream.send_all(data)
            except trio.BrokenResourceError as error:
                raise self._fail(f"the connection broke: {error}") from error

    async def receive_bytes(self, count: int) -> bytes:
        """Exactly so many bytes from the wire. ScriptFailed if not all of them come within `patience` seconds."""
        with self._within_patience(f"{count} bytes did not come"):
            while len(self._unread) < count:
                data = await self._receive()
                if not data:
                    raise self._fail(f"the connection ended after {len(self._unread)} of {count} bytes")
                self._unread += data
        data, self._unread = self._unread[:count], self._unread[count:]
        return data

    async def _receive(self) -> bytes:
        """The next bytes. Empty: the end, by FIN or by RST."""
        try:
            return bytes(await self.stream.receive_some(65536))
        except trio.BrokenResourceError:
            return b""

    def act_one(self) -> bytes:
        """The initiator's first act, 50 bytes, for `send_bytes`."""
        return self._handshake.act_one()

    def answer_act(self, act: bytes) -> bytes:
        """What answers the node's act (act one 50 bytes, two 50, three 66). ScriptFailed if the act is not good."""
        try:
            answer, _ = self._handshake.receive(act)
        except HandshakeFailed as error:
            raise self._fail(str(error)) from error
        if self._handshake.complete:
            self._sealer, self._opener = self._handshake.sealer, self._handshake.opener
        return answer

    async def shake_hands(self) -> None:
        """All three acts, as BOLT 8 wants them."""
        if self._initiator:
            await self.send_bytes(self.act_one())
            await self.send_bytes(self.answer_act(await self.receive_bytes(50)))
        else:
            await self.send_bytes(self.answer_act(await self.receive_bytes(50)))
            self.answer_act(await self.receive_bytes(66))

    def packet(
        self, message: AnyMessage | bytes, corrupt: Corruption | None = None, *, length: int | None = None
    ) -> bytes:
        """A message (or the bytes of one, its type first; anything goes) encrypted, for `send_bytes`: whole, in parts,
        with a part left out. Uses up its nonces: packets are sent in the order in which they were made.

        `corrupt` flips a bit. `length`: the header says so many bytes (0 to 65,535), whatever the message has, and its
        tag is good. RuntimeError before the handshake; ValueError for a length that no packet has.
        """
        if self._sealer is None:
            raise RuntimeError("the handshake is not done")
        data = message if isinstance(message, bytes) else message.encode()
        # A message of that length, sealed in the place of this one, has the header that lies.
        liar = copy.copy(self._sealer)
        packet = bytearray(self._sealer.seal(data))
        if length is not None:
            packet[:HEADER_LENGTH] = liar.seal(bytes(length))[:HEADER_LENGTH]
        if corrupt is not None:
            at = {"length": 0, "length tag": 2, "body": HEADER_LENGTH, "body tag": len(packet) - 1}[corrupt]
            packet[at] ^= 1
        return bytes(packet)

    async def send(self, *messages: AnyMessage) -> None:
        """Messages, in one write."""
        for message in messages:
            self._history.append(f"sent {message!r}")
        await self.send_bytes(b"".join(map(self.packet, messages)))

    async def send_raw(self, *messages: bytes) -> None:
        """Messages given as their bytes, encrypted as they are: malformed, cut off, of any type."""
        for message in messages:
            self._history.append(f"sent {len(message)} bytes: {message[:40].hex()}")
        await self.send_bytes(b"".join(map(self.packet, messages)))

    async def do(self, *deeds: Deed) -> bool:
        """Does one after the other. False if the node closed the connection before the last of them was done.

        No expectation: whatever the node does is fine.
        """
        for deed in deeds:
            self._history.append(f"did {deed.what} {deed.data[:40].hex()}")
            try:
                await self._do(deed)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return False
        return True

    async def _do(self, deed: Deed) -> None:
        match deed.what:
            case "message":
                await self.stream.send_all(self.packet(deed.data))
            case "corrupt":
                await self.stream.send_all(self.packet(deed.data, deed.corruption))
            case "half":
                packet = self.packet(deed.data)
                await self.stream.send_all(packet[: len(packet) // 2])
            case "lie":
                await self.stream.send_all(self.packet(deed.data, length=deed.length))
            case "dribble":
                for byte in self.packet(deed.data):
                    await self.stream.send_all(bytes((byte,)))
                    await trio.sleep(deed.seconds)
            case "bytes":
                await self.stream.send_all(deed.data)
            case "wait":
                await trio.sleep(deed.seconds)
            case "read":
                with trio.move_on_after(deed.seconds):
                    while await self.stream.receive_some(65536):
                        pass
                    raise trio.BrokenResourceError
            case "hang_up":
                await trio.aclose_forcefully(self.stream)

    async def receive(self) -> AnyMessage | None:
        """The next message, whatever it is; None at the end of the connection. ScriptFailed if none comes whole within
        `patience` seconds. Cancelled, nothing is lost."""
        with self._within_patience("a message did not come"):
            return await self._next()

    async def _next(self) -> AnyMessage | None:
        opener = self._opener
        if opener is None:
            raise RuntimeError("the handshake is not done")
        opener.feed(self._unread)
        self._unread = b""
        try:
            while (data := opener.next_message()) is None:
                received = await self._receive()
                if not received:
                    self._history.append("the node closed the connection")
                    return None
                opener.feed(received)
            message = self._messages.decode(data)
        except (PacketFailed, DecodeError) as error:
            raise self._fail(f"the node sent what is no message: {error}") from error
        shown = f"  {quoted(message.data)}" if isinstance(message, Warning | Error) else ""
        self._history.append(f"got  {message!r}{shown}")
        return message

    async def expect(self, wanted: type[M] | M, where: Callable[[M], bool] | None = None) -> M:
        """The next message, which has to be of this class, or equal to this message, and, if given, to satisfy `where`.

        Those of `ignoring` are passed over, unless they are what is wanted. ScriptFailed if another message comes, the
        connection ends, or it has not come `patience` seconds after the call, whatever else has.
        """
        kind: type[Any] = wanted if isinstance(wanted, type) else type(wanted)
        words = wanted.__name__ if isinstance(wanted, type) else repr(wanted)
        with self._within_patience(f"{words} did not come"):
            while True:
                message: Any = await self._next()
                if message is None:
                    raise self._fail(f"expected {words}, and the node closed the connection")
                fits = isinstance(message, kind) and (isinstance(wanted, type) or message == wanted)
                if fits and (where is None or where(message)):
                    return message  # type: ignore[no-any-return]
                if not isinstance(message, self.ignoring):
                    raise self._fail(f"expected {words}, not {message!r}")

    async def expect_silence(self, seconds: float) -> None:
        """Nothing comes for so long (but what is in `ignoring`), and the connection stays. ScriptFailed otherwise."""
        with trio.move_on_after(seconds):
            while True:
                message = await self._next()
                if message is None:
                    raise self._fail("expected silence, and the node closed the connection")
                if not isinstance(message, self.ignoring):
                    raise self._fail(f"expected silence, not {message!r}")

    async def expect_closed(self, reason: str | None = None) -> list[AnyMessage]:
        """The node closes the connection. Returns what it said before.

        `reason`: its last message is a warning or an error, with these words in it; "" : it closes without a word of
        either. None: either way. ScriptFailed otherwise, or if it is still there after `patience` seconds.
        """
        said: list[AnyMessage] = []
        with self._within_patience("the connection was not closed"):
            if self._opener is None:
                while data := await self._receive():
                    if reason == "":
                        raise self._fail(f"expected no word, not {data[:40].hex()}")
                return said
            while (message := await self._next()) is not None:
                if not isinstance(message, self.ignoring):
                    said.append(message)
        last = said[-1] if said else None
        if reason == "" and isinstance(last, Warning | Error):
            raise self._fail(f"expected no word, not {quoted(last.data)}")
        if reason:
            if not isinstance(last, Warning | Error):
                raise self._fail(f"expected the reason {reason!r}, and the node said nothing")
            if reason not in printable(last.data):
                raise self._fail(f"expected the reason {reason!r}, not {quoted(last.data)}")
        return said

    async def exchange_inits(self, init: Init | None = None) -> Init:
        """Expects the node's Init, sends one (empty by default: no features), and returns the node's."""
        theirs = await self.expect(Init)
        await self.send(Init() if init is None else init)
        return theirs


@asynccontextmanager
async def scripted_peer(
    node: PeerNursery | trio.abc.Stream,
    their_node_id: bytes | None = None,
    *,
    secret: bytes = b"\x11" * 32,
    ephemeral: bytes = b"\x12" * 32,
    messages: Registry = BOLT,
    dialled: bool = False,
    handshake: bool = True,
    patience: float = PATIENCE_SECONDS,
    seed: int = 0,
) -> AsyncGenerator[ScriptedPeer, None]:
    """``async with scripted_peer(peers) as peer``: a connection with a node under test, its other end in our hands.

    `node` is a PeerNursery: the connection is made in memory, and what arrives is cut at places that follow from
    `seed`. We dial it; with `dialled` it dials us. Or `node` is a connected stream of any kind: the initiator is
    whoever `their_node_id` says (given: we are; None: the other side is).

    The handshake is done when the block begins, unless `handshake` is False; Inits are the script's. The stream is
    closed when the block is left.
    """
    if not isinstance(node, PeerNursery):
        try:
            peer = ScriptedPeer(node, their_node_id, secret, ephemeral, messages, patience)
            if handshake:
                await peer.shake_hands()
            yield peer
        finally:
            await trio.aclose_forcefully(node)
        return
    network = SimulatedNetwork(seed, Conditions(latency=0.001))
    ours, theirs = network.stream_pair(network.host("script"), network.host("node"))
    key = SecretKey(secret).public_key

    async def attach() -> None:
        try:
            await node.attach(theirs, key if dialled else None)
        except ConnectError:
            pass  # the script sees it from its side

    async with trio.open_nursery() as nursery:
        nursery.start_soon(attach)
        there = None if dialled else node.manager.our_node_id
        # Left by a failing script, this block raises what the script has raised, not a group around it.
        failed: BaseException | None = None
        try:
            async with scripted_peer(
                ours,
                there,
                secret=secret,
                ephemeral=ephemeral,
                messages=messages,
                handshake=handshake,
                patience=patience,
            ) as peer:
                yield peer
        except BaseException as error:
            failed = error
        nursery.cancel_scope.cancel(reason="the script is over")
    if failed is not None:
        raise failed
