"""Lightning in the binary frames of a WebSocket, as Core Lightning speaks it, in both directions.

The protocol is wsproto's, and needs the extra `ws`; the streams are ours, and Trio's own interface, so the shell cannot
tell. Starts no task: frames that have to be answered are answered by whoever reads. Where a frame begins and ends means
nothing here; what is inside is a stream of bytes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from operator import index
from typing import Any, Final

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

FRAME_BYTES: Final = 64 * 1024
"""The most that is put into one frame: what both sides hold at once."""
READ_BYTES: Final = 64 * 1024
ANSWER_SECONDS: Final = 5.0
"""For a pong or a close frame to be taken. A frame that is half written cannot be left, so this is shielded, and ends
the stream if it is not enough."""
_NOT_A_WEBSOCKET: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_UNSUPPORTED_DATA: Final = 1003


class WebSocketStream(trio.abc.Stream):
    """A connected stream with a WebSocket around it. It owns the stream inside.

    As Trio's own streams: one task may read and one may write. The handshake of an accepted one is made by its first
    `receive_some` or `send_all`, so that nobody else waits for a client that is slow. There is no half close: the end
    of one direction is the end of both. `trio.BrokenResourceError` names what the other side did wrong.
    """

    def __init__(self, transport: trio.abc.Stream, *, host: str | None = None, path: str = "/") -> None:
        """`host`: we are the client, and it goes into the request; None: we are the server, and any path will do."""
        self._transport: Final = transport
        self._host: Final = host
        self._path: Final = path
        self._protocol: Final = WSConnection(ConnectionType.SERVER if host is None else ConnectionType.CLIENT)
        self._shaken = False
        self._shaking: Final = trio.Lock()
        self._writing: Final = trio.Lock()
        self._unread = bytearray()
        """Payload that came and was not taken: at most what one read of the transport brought."""
        self._ended = False
        """The other side has said that it is over."""
        self._broken = ""
        self._closed = False
        self._reading_now = self._sending_now = False

    def __repr__(self) -> str:
        return f"<WebSocketStream on {type(self._transport).__name__}>"

    @property
    def socket(self) -> Any:
        """The socket of the stream inside. AttributeError if it has none."""
        return getattr(self._transport, "socket")  # noqa: B009  # its type is not known to have one

    async def shake_hands(self) -> None:
        """HTTP's upgrade. Does nothing if it is done. BrokenResourceError if the other side wants something else;
        cancelled: the stream is broken."""
        async with self._shaking:
            self._check()
            if self._shaken:
                return
            done = False
            try:
                if self._host is not None:
                    request = Request(host=self._host, target=self._path)
                    await self._transport.send_all(self._protocol.send(request))
                while not self._shaken:
                    await self._advance(await self._transport.receive_some(READ_BYTES))
                done = True
            finally:
                if not done and not self._broken:
                    self._broken = "the handshake of the WebSocket was given up"

    async def _advance(self, data: bytes | bytearray) -> None:
        """One more piece of the handshake."""
        if not data:
            self._break("the other side hung up in the handshake of the WebSocket")
        events: list[Event] = []
        try:
            self._protocol.receive_data(bytes(data))
            events += self._protocol.events()
        except RemoteProtocolError as error:
            if self._host is None:
                # In HTTP, so that whoever came with a browser reads it.
                await self._answer(_NOT_A_WEBSOCKET)
            self._break(f"no WebSocket: {error}")
        for event in events:
            match event:
                case Request():
                    await self._answer(self._protocol.send(AcceptConnection()))
                    self._shaken = True
                case AcceptConnection():
                    self._shaken = True
                case RejectConnection(status_code=status):
                    self._break(f"the server refuses the WebSocket with HTTP status {status}")
                case _:
                    await self._take(event)
        if self._shaken:
            await self._take_all(b"")  # frames that came with the last bytes of the handshake

    # -- Trio's interface ----------------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Payload, in any segmentation; empty once the other side has closed. Cancellation loses nothing."""
        if max_bytes is not None and index(max_bytes) < 1:
            raise ValueError(f"max_bytes is at least 1, not {max_bytes}")
        if self._reading_now:
            raise trio.BusyResourceError("another task reads from this WebSocket")
        self._reading_now = True
        try:
            await trio.lowlevel.checkpoint()
            if not self._shaken:
                await self.shake_hands()
            while not self._unread and not self._ended:
                self._check()
                await self._read()
            if self._closed:
                raise trio.ClosedResourceError("this WebSocket was closed")
            count = len(self._unread) if max_bytes is None else max_bytes
            taken = bytes(self._unread[:count])
            del self._unread[:count]
            return taken
        finally:
            self._reading_now = False

    async def _read(self) -> None:
        data = await self._transport.receive_some(READ_BYTES)
        if not data:
            self._ended = True  # without a close frame, but over
            return
        await self._take_all(bytes(data))

    async def _take_all(self, data: bytes) -> None:
        try:
            if data:  # to the library, no bytes are the end
                self._protocol.receive_data(data)
            for event in self._protocol.events():
                await self._take(event)
        except RemoteProtocolError as error:
            self._break(f"no WebSocket frames: {error}")

    async def _take(self, event: Event) -> None:
        match event:
            case BytesMessage(data=data):
                self._unread += data
            case TextMessage():
                await self._answer(self._protocol.send(CloseConnection(code=_UNSUPPORTED_DATA)))
                self._break("text came through the WebSocket")
            case Ping():
                await self._answer(self._protocol.send(event.response()))
            case CloseConnection():
                self._ended = True
                await self._answer(self._protocol.send(event.response()))
            case _:
                pass

    async def _answer(self, frame: bytes) -> None:
        """Writes a frame that the other side has asked for. One that does not read its answers ends itself."""
        with trio.CancelScope(shield=True, deadline=trio.current_time() + ANSWER_SECONDS) as scope:
            try:
                async with self._writing:
                    await self._transport.send_all(frame)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # whoever reads on will see it
        if scope.cancelled_caught:
            self._break("the other side does not take its answers")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Sends it in binary frames. Cancelled, or an error: an unknown part was sent, and nothing more can be."""
        if self._sending_now:
            raise trio.BusyResourceError("another task writes to this WebSocket")
        self._sending_now = True
        try:
            await trio.lowlevel.checkpoint()
            if not self._shaken:
                await self.shake_hands()
            view = memoryview(data).cast("B") if len(data) else memoryview(b"")
            self._check(writing=True)
            for at in range(0, len(view), FRAME_BYTES):
                await self._send(bytes(view[at : at + FRAME_BYTES]))
        finally:
            self._sending_now = False

    async def _send(self, payload: bytes) -> None:
        async with self._writing:
            self._check(writing=True)
            try:
                frame = self._protocol.send(BytesMessage(data=payload))
            except LocalProtocolError as error:
                raise trio.BrokenResourceError(str(error)) from None
            whole = False
            try:
                await self._transport.send_all(frame)
                whole = True
            finally:
                if not whole and not self._broken:
                    self._broken = "a frame was written in part"

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream inside says."""
        if self._sending_now:
            raise trio.BusyResourceError("another task writes to this WebSocket")
        self._sending_now = True
        try:
            await trio.lowlevel.checkpoint()
            self._check(writing=True)
            await self._transport.wait_send_all_might_not_block()
        finally:
            self._sending_now = False

    async def aclose(self) -> None:
        """Says so in a close frame, if that is taken within ANSWER_SECONDS, and closes the stream inside. Cancelled: at
        once."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if self._shaken and not self._ended and not self._broken:
                with trio.move_on_after(ANSWER_SECONDS):
                    async with self._writing:
                        await self._transport.send_all(self._protocol.send(CloseConnection(code=1000)))
        except (trio.BrokenResourceError, trio.ClosedResourceError, LocalProtocolError):
            pass  # it is gone already
        finally:
            await self._transport.aclose()

    # -- state ---------------------------------------------------------------------------------------------------------

    def _check(self, writing: bool = False) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this WebSocket was closed")
        if self._broken:
            raise trio.BrokenResourceError(self._broken)
        if writing and self._ended:
            raise trio.BrokenResourceError("the other side has closed the WebSocket")

    def _break(self, words: str) -> None:
        self._broken = words
        raise trio.BrokenResourceError(words)


class WebSocketListener(trio.abc.Listener[WebSocketStream]):
    """Takes what another listener accepts for WebSockets: ``peers.listen_on(WebSocketListener(listener))``."""

    def __init__(self, listener: trio.abc.Listener[Any]) -> None:
        self.listener: Final = listener

    async def accept(self) -> WebSocketStream:
        """The next one. Its handshake is still to come, with its first read: nobody waits for it here."""
        return WebSocketStream(await self.listener.accept())

    async def aclose(self) -> None:
        await self.listener.aclose()


async def dial_websocket(
    host: str, port: int, *, dial: Callable[[str, int], Awaitable[trio.abc.Stream]] = trio.open_tcp_stream
) -> WebSocketStream:
    """Connects, and makes the handshake of a WebSocket: ``open_peer_nursery(manager, dial=dial_websocket)``.

    OSError if there is no connection, or no WebSocket at its end. `dial` opens the stream inside. Cancelled: it is
    closed.
    """
    transport = await dial(host, port)
    shown = f"[{host}]" if ":" in host else host
    stream = WebSocketStream(transport, host=f"{shown}:{port}")
    try:
        await stream.shake_hands()
    except trio.BrokenResourceError as error:
        await trio.aclose_forcefully(transport)
        raise ConnectionError(str(error)) from None
    except BaseException:
        await trio.aclose_forcefully(transport)
        raise
    return stream
