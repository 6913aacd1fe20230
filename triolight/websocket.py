"""Lightning over WebSocket (RFC 6455), as Core Lightning's `ws:`: a Trio stream inside another one. It starts no task.

Needs the extra `ws`: frames, masks and the upgrade are wsproto's. What is ours is what a byte stream owes its user:
binary messages carry bytes, and where one ends means nothing; no message is ever put together; nothing that the other
side sends makes us hold more than what was read at once; and a stranger's handshake keeps nobody else waiting.

No extension is offered or taken: Lightning's bytes are encrypted, and a compressed frame could unfold without a bound.
"""

# The functions of this file make what its classes are.
# pyright: reportPrivateUsage=false

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TypeAlias

import trio

from triolight.errors import DisconnectReason
from triolight.text import place, printable, quoted
from triolight.ways import Admit, Race, Racing, Tcp, Way, way_of

__all__ = [
    "WebSocketListener",
    "WebSocketStream",
    "WebSocketWay",
    "accept_websocket",
    "connect_websocket",
    "dial_websocket",
]

try:
    import h11
    from wsproto.connection import Connection, ConnectionState, ConnectionType
    from wsproto.events import (
        AcceptConnection,
        BytesMessage,
        CloseConnection,
        Event,
        Ping,
        Pong,
        RejectConnection,
        Request,
        TextMessage,
    )
    from wsproto.frame_protocol import CloseReason, XorMaskerSimple
    from wsproto.handshake import H11Handshake
    from wsproto.utilities import RemoteProtocolError
except ImportError as error:
    raise ImportError("a WebSocket needs the extra 'ws': pip install 'triolight[ws]'") from error

MAX_MESSAGE: Final = 64 * 1024
"""Bytes in one message of ours; more become several. Others refuse messages that are too long for them."""
READ_BYTES: Final = 64 * 1024
"""Read from the transport at once, and so what is held at the most for the caller."""
MAX_HEAD: Final = 16 * 1024
"""Bytes of an upgrade request, or of the answer to ours."""
EVENTS_AT_ONCE: Final = 64
"""Frames taken before other tasks have their turn: 64 KiB can hold ten thousand of them."""
ANSWER_SECONDS: Final = 0.5
"""How long reading stands still so that a pong, or the answer to a close, gets out."""
CLOSE_SECONDS: Final = 0.5
"""For the close frame to get out."""

_BLANK_LINE: Final = re.compile(rb"\n\r?\n")
_HOST: Final = re.compile(r"[^\x00-\x20\x7f/?#@]+")
_PATH: Final = re.compile(r"/[!-~]*")
_KEY: Final = re.compile(rb"[A-Za-z0-9+/]{22}==")
"""RFC 6455 4.2.1: the base64 of 16 bytes."""


Randomness: TypeAlias = Callable[[int], bytes]
"""So many bytes, as `secrets.token_bytes` or ``random.Random(seed).randbytes`` give them."""


class WebSocketStream(trio.abc.Stream):
    """The bytes inside the binary messages of a WebSocket. Made by `connect_websocket`, `accept_websocket`, a listener.

    As with every stream of Trio one task may send while another one receives. WebSocket knows no half close, so there
    is no `send_eof`. After a close frame of the other side nothing can be sent any more.

    `connection` is wsproto's, with its handshake done. None: the other side is a client that has not asked yet, and is
    answered in the first `receive_some` or `send_all`; BrokenResourceError says what was wrong with its request.

    `random` gives so many bytes, for the masks of a client's frames: for tests that run twice alike. None: the system's
    randomness, which RFC 6455 10.3 wants so that no program chooses what a proxy sees.
    """

    def __init__(
        self, transport: trio.abc.Stream, connection: Connection | None = None, *, random: Randomness | None = None
    ) -> None:
        self.transport: Final = transport
        self._connection = connection
        self._random: Final = random
        self._events: Iterator[Event] = iter(()) if connection is None else connection.events()
        self._head = bytearray()
        self._accepted: tuple[bytes, Connection] | None = None
        self._shaking: Final = trio.Lock()
        self._writing: Final = trio.Lock()
        """Held by whoever writes to the transport, so that no frame gets into another one."""
        self._sends: Final = _OneAtATime("another task is sending on this stream")
        self._receives: Final = _OneAtATime("another task is receiving on this stream")
        self._payload = bytearray()
        self._pong: bytes | None = None
        """The payload of the last ping, if it is not answered. RFC 6455 5.5.3: the ones before need no answer, so that
        a flood of pings takes no memory."""
        self._farewell: CloseConnection | None = None
        self._answer_due = False
        self._ended = False
        self._refusal: str | None = None
        """Why nothing more is received: what the other side sent is no WebSocket, or not for us."""
        self._half_written = False
        self._closed = False

    @property
    def socket(self) -> Any:
        """The transport's socket. AttributeError if it has none."""
        return getattr(self.transport, "socket")  # noqa: B009 - a Stream has none by its type

    # Sending.

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends bytes as binary messages of at most MAX_MESSAGE.

        Raises trio.BrokenResourceError if the connection broke, or the other side has closed; ClosedResourceError after
        `aclose`; BusyResourceError if another task is sending. Cancelled: nobody knows how much was sent. If that was
        in the middle of a frame, nothing can be sent any more; receiving goes on.
        """
        with self._sends, memoryview(data).cast("B") as view:
            connection = await self._ready()
            async with self._writing:
                self._check_sendable(connection)
                for at in range(0, len(view), MAX_MESSAGE):
                    self._check_sendable(connection)
                    await self._write(self._frame(connection, BytesMessage(bytes(view[at : at + MAX_MESSAGE]))))
                    await self._write(self._answers())

    async def wait_send_all_might_not_block(self) -> None:
        """As Trio's streams: waits until `send_all` might not have to. Raises what it raises; cancelled: no harm."""
        with self._sends:
            connection = await self._ready()
            async with self._writing:
                self._check_sendable(connection)
                await self.transport.wait_send_all_might_not_block()
                await self._write_shortly(self._answers())

    def _check_sendable(self, connection: Connection) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket was closed")
        if self._half_written:
            raise trio.BrokenResourceError("this WebSocket broke in the middle of a frame")
        if self._farewell is not None or connection.state is not ConnectionState.OPEN:
            raise trio.BrokenResourceError(self._refusal or "the other side has closed the WebSocket")

    def _frame(self, connection: Connection, event: Event) -> bytes:
        frame = connection.send(event)
        return frame if self._random is None else _remasked(frame, self._random)

    async def _write(self, data: bytes) -> None:
        if not data:
            return
        try:
            await self.transport.send_all(data)
        except BaseException:
            # Cancelled too: what comes behind half a frame would be taken for the rest of it.
            self._half_written = True
            raise

    async def _write_shortly(self, data: bytes) -> None:
        """Writes a few bytes to a transport that has said it takes some. A cancel waits for them, so that whoever is
        cancelled while it receives breaks nothing; the deadline is for a transport that has not told the truth."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ANSWER_SECONDS):
            await self._write(data)

    # Receiving.

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The next bytes. Empty: the other side has closed the WebSocket, or ended its stream without a word.

        Pings and a close are answered in here. A text message is refused, and so is what is no WebSocket: the other
        side is told by a close frame (1003, 1002), and this raises trio.BrokenResourceError, after the bytes that came
        before. So it does if the connection broke. ClosedResourceError after `aclose`; BusyResourceError if another
        task is receiving. Cancellation loses nothing.
        """
        if max_bytes is not None:
            if not isinstance(max_bytes, int):  # pyright: ignore[reportUnnecessaryIsInstance]
                raise TypeError("max_bytes must be an integer")
            if max_bytes < 1:
                raise ValueError("max_bytes must be at least 1")
        with self._receives:
            connection = await self._ready()
            while True:
                await self._take_frames(connection)
                await self._answer()
                if self._payload or self._ended or self._refusal is not None:
                    break
                data = await self.transport.receive_some(READ_BYTES)
                if data:
                    connection.receive_data(bytes(data))
                    self._events = connection.events()
                else:
                    self._ended = True
            await trio.lowlevel.checkpoint()
            if self._closed:
                raise trio.ClosedResourceError("this WebSocket was closed")
            if self._refusal is not None and not self._payload:
                raise trio.BrokenResourceError(self._refusal)
            count = len(self._payload) if max_bytes is None else max_bytes
            taken = bytes(self._payload[:count])
            del self._payload[:count]
            return taken

    async def _take_frames(self, connection: Connection) -> None:
        """Everything in what was read last. Payload goes on as it comes, whether its message is complete or not."""
        for number, event in enumerate(self._events, 1):
            self._take(connection, event)
            if self._ended or self._refusal is not None:
                self._events = iter(())
                break
            if number % EVENTS_AT_ONCE == 0:
                await trio.lowlevel.checkpoint()

    def _take(self, connection: Connection, event: Event) -> None:
        match event:
            case BytesMessage():
                self._payload += event.data
            case Ping():
                self._pong = bytes(event.payload)
                self._answer_due = True
            case CloseConnection():
                # wsproto says in this way too that what came is no WebSocket. Then there was no close frame.
                if connection.state is ConnectionState.OPEN:
                    words = printable(event.reason or "")
                    self._refuse(CloseReason(event.code), f"the other side broke the WebSocket's rules: {words}")
                else:
                    self._ended = True
                    self._bid_farewell(event.response())
            case TextMessage():
                self._refuse(CloseReason.UNSUPPORTED_DATA, "a text message, and Lightning takes binary ones alone")
            case _:
                pass  # a pong, which nobody asked for

    def _refuse(self, code: CloseReason, words: str) -> None:
        self._refusal = words
        self._bid_farewell(CloseConnection(code))

    def _bid_farewell(self, farewell: CloseConnection) -> None:
        self._farewell = farewell
        self._answer_due = True

    def _answers(self) -> bytes:
        """The frames that the other side waits for. They count as sent from here on."""
        pong, self._pong = self._pong, None
        farewell, self._farewell = self._farewell, None
        self._answer_due = False
        connection = self._connection
        frames = b""
        if connection is not None:
            if pong is not None and connection.state is ConnectionState.OPEN:
                frames += self._frame(connection, Pong(pong))
            if farewell is not None:
                frames += self._frame(connection, farewell)
        return frames

    async def _answer(self) -> None:
        """Sends what is due, unless that takes too long: then it goes with what is sent next, or the next answer.

        Reading must go on, for the other side may be one that reads nothing until we have read what it sends.
        """
        if not self._answer_due or self._half_written or self._closed:
            return
        try:
            self._writing.acquire_nowait()
        except trio.WouldBlock:
            return  # whoever writes now sends it behind its own frame
        try:
            with trio.move_on_after(ANSWER_SECONDS):
                self._answer_due = False
                await self.transport.wait_send_all_might_not_block()
                await self._write_shortly(self._answers())
        except trio.BrokenResourceError:
            self._half_written = True  # what came before that may still be there to be read
        finally:
            self._writing.release()

    # The server's handshake.

    async def _ready(self) -> Connection:
        """The connection, once its handshake is done, by this task or another one. Cancellation loses nothing."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            raise trio.ClosedResourceError("this WebSocket was closed")
        if self._connection is not None:
            return self._connection
        async with self._shaking:
            return await self._shake() if self._connection is None else self._connection

    async def _shake(self) -> Connection:
        if self._refusal is None and self._accepted is None:
            end = await _read_head(self.transport, self._head)
            answer, connection, refusal = _judge(bytes(self._head[:end]))
            if connection is None:
                self._refusal = refusal
                await self.transport.wait_send_all_might_not_block()
                await self._write_shortly(answer)
            else:
                connection.receive_data(bytes(self._head[end:]))
                self._accepted = answer, connection
            self._head.clear()
        if self._accepted is None:
            raise trio.BrokenResourceError(self._refusal)
        answer, connection = self._accepted
        await self.transport.wait_send_all_might_not_block()
        await self._write_shortly(answer)
        if self._half_written:
            self._refusal, self._accepted = "the other side does not take the answer to its handshake", None
            raise trio.BrokenResourceError(self._refusal)
        self._connection, self._events = connection, connection.events()
        return connection

    # Closing.

    @trio.lowlevel.enable_ki_protection
    async def aclose(self) -> None:
        """Sends a close frame if the transport takes it within CLOSE_SECONDS, then closes the transport.

        Cancelled: closes at once. Whoever is sending or receiving gets ClosedResourceError.
        """
        farewell = b""
        if not (self._closed or self._half_written or self._connection is None or self._writing.locked()):
            if self._farewell is None and self._connection.state is ConnectionState.OPEN:
                self._farewell = CloseConnection(CloseReason.NORMAL_CLOSURE)
            farewell = self._answers()
        self._closed = True
        with trio.move_on_after(CLOSE_SECONDS):
            try:
                if farewell:
                    await self.transport.send_all(farewell)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it is gone already
            finally:
                await self.transport.aclose()


class WebSocketListener(trio.abc.Listener[WebSocketStream]):
    """Accepts WebSockets from a listener of byte streams, which is its own from now on.

    `accept` waits for no handshake: that comes with the first `receive_some` or `send_all` of the stream, under the
    deadline of whoever calls it. Give it to `PeerNursery.listen_on`.
    """

    def __init__(self, listener: trio.abc.Listener[trio.abc.Stream]) -> None:
        self.listener: Final = listener

    async def accept(self) -> WebSocketStream:
        """The next connection. Raises what the listener does; cancellation loses nothing."""
        return WebSocketStream(await self.listener.accept())

    async def aclose(self) -> None:
        """Closes the listener."""
        await self.listener.aclose()


@trio.lowlevel.enable_ki_protection
async def accept_websocket(stream: trio.abc.Stream) -> WebSocketStream:
    """The server's handshake on a connected stream: any path, any origin, the first of any subprotocols.

    Raises OSError if the other side does not ask for a WebSocket, after an answer in HTTP that says so, or if the
    connection breaks. The deadline is the caller's. On failure, and cancelled, the stream is closed.
    """
    websocket = WebSocketStream(stream)
    try:
        await websocket._ready()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise OSError(str(error)) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return websocket


@trio.lowlevel.enable_ki_protection
async def connect_websocket(
    stream: trio.abc.Stream, host: str, path: str = "/", *, random: Randomness | None = None
) -> WebSocketStream:
    """The client's handshake on a connected stream. `host` is the server's name, with its port if that is not 80.

    `random` gives so many bytes, for the handshake's key and the masks, as `WebSocketStream` says.

    Raises OSError if the server refuses, is no WebSocket's, cannot be asked for in this way, or if the connection
    breaks. The deadline is the caller's. On failure, and cancelled, the stream is closed.
    """
    try:
        return WebSocketStream(stream, await _ask(stream, host, path, random), random=random)
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(stream)
        raise OSError(str(error)) from error
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise


@trio.lowlevel.enable_ki_protection
async def dial_websocket(
    host: str,
    port: int,
    *,
    dial: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream,
    random: Randomness | None = None,
) -> WebSocketStream:
    """A WebSocket with a node, for ``open_peer_nursery(manager, dial=dial_websocket)``. `dial` opens what it goes over,
    `random` is as for `connect_websocket`.

    Raises OSError if there is no connection, or no WebSocket there; also for an onion, of which DNS shall not hear,
    unless `dial` is one's own. The deadline is the caller's; cancelled, it closes what it has opened.
    """
    return await WebSocketWay(way_of(dial), random).open(b"", host, port)


@dataclass(frozen=True, slots=True)
class WebSocketWay(Way):
    """By WebSocket, ``await peers.connect(address, way=WebSocketWay())``, over another way: plain TCP, a proxy, or an
    application's own. `random` is as for `connect_websocket`."""

    over: Way = field(default_factory=Tcp)
    random: Randomness | None = None

    @property
    def patience(self) -> float:
        return self.over.patience

    @property
    def proxied(self) -> bool:
        return self.over.proxied

    def refusal(self, host: str) -> DisconnectReason | None:
        return self.over.refusal(host)

    def learned(self, admit: Admit, racing: Racing = Race.in_turn) -> Way:
        return WebSocketWay(self.over.learned(admit, racing), self.random)

    @trio.lowlevel.enable_ki_protection
    async def open(self, node_id: bytes, host: str, port: int) -> WebSocketStream:
        stream = await self.over.open(node_id, host, port)
        name = host.partition("%")[0]  # a zone means nothing elsewhere
        return await connect_websocket(stream, place(name, port), random=self.random)


class _OneAtATime:
    """A method that two tasks must not be in: BusyResourceError for the second one."""

    def __init__(self, words: str) -> None:
        self._words: Final = words
        self._busy = False

    def __enter__(self) -> None:
        if self._busy:
            raise trio.BusyResourceError(self._words)
        self._busy = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._busy = False


async def _read_head(stream: trio.abc.Stream, into: bytearray) -> int:
    """Reads until `into` has all lines of a request or an answer, and says where they end; 0 if they are too long.

    BrokenResourceError if the stream ends first. Cancellation loses nothing: `into` has all that was read.
    """
    at = 0
    while True:
        found = _BLANK_LINE.search(into, at)
        if found is not None:
            return found.end()
        if len(into) >= MAX_HEAD:
            return 0
        at = max(0, len(into) - 2)
        data = await stream.receive_some(MAX_HEAD - len(into))
        if not data:
            raise trio.BrokenResourceError("the other side hung up in the WebSocket's handshake")
        into += data


def _judge(head: bytes) -> tuple[bytes, Connection | None, str]:
    """A request, answered: the answer, and either the connection or why there is none. Without a request: too long."""
    if not head:
        words = f"a request of more than {MAX_HEAD} bytes"
        return _refused(400, words), None, f"no WebSocket: {words}"
    handshake = H11Handshake(ConnectionType.SERVER)
    try:
        handshake.receive_data(head)
        request = next((event for event in handshake.events() if isinstance(event, Request)), None)
        if request is None:
            return _refused(400, "no request"), None, "no WebSocket: no request"
        # What they are is nobody's question in the library, nor how many there are.
        keys = [value for name, value in request.extra_headers if name == b"sec-websocket-key"]
        if len(keys) != 1 or _KEY.fullmatch(keys[0]) is None:
            words = "Sec-WebSocket-Key is not 16 bytes in base64, once"
            return _refused(400, words), None, f"no WebSocket: {words}"
        # A client that offers subprotocols hangs up if none of them is taken. They change nothing for us: its first.
        first = next(filter(None, request.subprotocols), None)
        answer = handshake.send(AcceptConnection(subprotocol=first))
    except RemoteProtocolError as error:
        hint = error.event_hint
        words = printable(str(error))
        old = isinstance(hint, RejectConnection) and hint.status_code == 426
        return _refused(426 if old or "Upgrade" in words else 400, words), None, f"no WebSocket: {words}"
    except (h11.LocalProtocolError, UnicodeError):
        # The library takes some headers for text before it has looked at them.
        return _refused(400, "a malformed request"), None, "no WebSocket: a malformed request"
    return answer, handshake.connection, ""


def _refused(status: int, words: str) -> bytes:
    lines = ["HTTP/1.1 400 Bad Request"]
    if status == 426:
        lines = ["HTTP/1.1 426 Upgrade Required", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    body = f"This is a Lightning node's WebSocket. {words}\n"
    connection = "Upgrade, close" if status == 426 else "close"
    lines += [f"Connection: {connection}", "Content-Type: text/plain", f"Content-Length: {len(body)}", "", body]
    return "\r\n".join(lines).encode("ascii")


def _remasked(frame: bytes, random: Randomness) -> bytes:
    """The same frame, masked with other bytes; a server's, which has no mask, as it is. wsproto masks with the system's
    randomness and nothing else."""
    if not frame[1] & 0x80:
        return frame
    at = 2 + {126: 2, 127: 8}.get(frame[1] & 0x7F, 0)
    mask = random(4)
    change = bytes(one ^ other for one, other in zip(frame[at : at + 4], mask, strict=True))
    return frame[:at] + mask + bytes(XorMaskerSimple(change).process(bytearray(frame[at + 4 :])))


async def _ask(stream: trio.abc.Stream, host: str, path: str, random: Randomness | None) -> Connection:
    handshake = H11Handshake(ConnectionType.CLIENT)
    try:
        if _HOST.fullmatch(host) is None or _PATH.fullmatch(path) is None:
            raise UnicodeError
        request = handshake.send(Request(host=host, target=path))
        if random is not None:
            # The answer is checked against what wsproto keeps there; it has no other place for a key of ours.
            key = base64.b64encode(random(16))
            request = request.replace(handshake._nonce or b"", key)
            handshake._nonce = key
    except UnicodeError:
        raise OSError(f"no WebSocket can be asked for at {quoted(host, 280)}, {quoted(path, 280)}") from None
    await stream.send_all(request)
    head = bytearray()
    end = await _read_head(stream, head)
    if not end:
        raise OSError(f"the server's answer to a WebSocket's handshake has more than {MAX_HEAD} bytes")
    try:
        handshake.receive_data(bytes(head[:end]))
    except RemoteProtocolError as error:
        raise OSError(f"the server is not a WebSocket's: {printable(str(error))}") from error
    except UnicodeError as error:
        raise OSError("the server is not a WebSocket's: a malformed answer") from error
    if handshake.connection is None:
        status = [event.status_code for event in handshake.events() if isinstance(event, RejectConnection)]
        raise OSError(f"the server refused the WebSocket: HTTP status {status[0] if status else 'unknown'}")
    handshake.connection.receive_data(bytes(head[end:]))
    return handshake.connection
