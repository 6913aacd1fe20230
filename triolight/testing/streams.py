"""Trio's own interfaces on a simulated network: streams and listeners, which behave as TCP's do at their edges.

What is above them cannot tell: the same exceptions, the same checkpoints, one task at a time in each method.
"""

from __future__ import annotations

import errno
from typing import Final

import trio

from triolight.testing.flows import End, SocketAddress, os_error

BACKLOG: Final = 128
"""Connections that wait to be accepted; who comes then waits too."""
DEFAULT_READ: Final = 65536


class SimulatedSocket:
    """What `.socket` of a real stream or listener is asked for most: where it is."""

    def __init__(self, local: SocketAddress, remote: SocketAddress | None) -> None:
        self._local: Final = local
        self._remote: Final = remote

    def getsockname(self) -> SocketAddress:
        return self._local

    def getpeername(self) -> SocketAddress:
        """OSError for a listener."""
        if self._remote is None:
            raise os_error(errno.ENOTCONN)
        return self._remote


class SimulatedStream(trio.abc.HalfCloseableStream):
    """One end of a connection. As trio.SocketStream: closed by us raises ClosedResourceError, broken by anything else
    BrokenResourceError (caused by the OSError that a socket would have raised), two tasks in one method
    BusyResourceError."""

    def __init__(self, end: End) -> None:
        self.socket: Final = SimulatedSocket(end.local, end.remote)
        self._end: Final = end
        self._sending = False
        self._receiving = False

    def __repr__(self) -> str:
        local, remote = self._end.local, self._end.remote
        return f"<SimulatedStream {local[0]}:{local[1]} to {remote[0]}:{remote[1]}>"

    def _check_idle(self) -> None:
        if self._sending:
            raise trio.BusyResourceError("another task is sending on this stream")
        self._end.check_open()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """A checkpoint. Waits while BUFFER_BYTES have not been read. Cancelled: a part may have been sent."""
        self._check_idle()
        end = self._end
        if end.eof_sent:
            raise trio.ClosedResourceError("can't send data after sending EOF")
        self._sending = True
        try:
            with memoryview(data) as view:
                await trio.lowlevel.checkpoint()
                at = 0
                while at < len(view):
                    now = trio.current_time()
                    end.check(now)
                    room = end.room()
                    if room <= 0:
                        await end.writable.sleep_until(end.incoming.reset_at)
                        continue
                    part = bytes(view[at : at + room])
                    end.send(part, now)
                    at += len(part)
                end.check_open()
        finally:
            self._sending = False

    async def wait_send_all_might_not_block(self) -> None:
        """A checkpoint."""
        self._check_idle()
        end = self._end
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            while end.waits_for_room(trio.current_time()):
                await end.writable.sleep_until(end.incoming.reset_at)
                end.check_open()
        finally:
            self._sending = False

    async def send_eof(self) -> None:
        """FIN. A checkpoint."""
        self._check_idle()
        end = self._end
        self._sending = True
        try:
            await trio.lowlevel.checkpoint()
            now = trio.current_time()
            if not end.eof_sent:
                end.check(now)
                end.send_eof(now)
        finally:
            self._sending = False

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As many bytes as the seed wants of those that have arrived, 1 to `max_bytes`; none at the end of the stream.

        A checkpoint. Cancelled: nothing is lost.
        """
        if max_bytes is None:
            max_bytes = DEFAULT_READ
        if not isinstance(max_bytes, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError("max_bytes must be an integer")
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._receiving:
            raise trio.BusyResourceError("another task is receiving on this stream")
        end = self._end
        self._receiving = True
        try:
            slept = False
            while True:
                now = trio.current_time()
                end.check(now)
                flow = end.incoming
                flow.absorb(now)
                if flow.arrived or flow.ended:
                    if not slept:
                        slept = True
                        await trio.lowlevel.checkpoint()
                        continue
                    return end.take(max_bytes) if flow.arrived else b""
                slept = True
                await end.readable.sleep_until(min(flow.next_arrival(), flow.reset_at))
        finally:
            self._receiving = False

    async def aclose(self) -> None:
        """FIN, or RST if there is anything that nobody has read. What went before FIN still arrives. A checkpoint."""
        self._end.close()
        await trio.lowlevel.checkpoint()


class SimulatedListener(trio.abc.Listener[SimulatedStream]):
    """Accepts what is dialled to one port of one host."""

    def __init__(self, address: SocketAddress, ports: dict[int, trio.MemorySendChannel[End]]) -> None:
        """Until it is closed it is in `ports`, which are the host's: what is sent there is accepted here."""
        _, port = address
        self.socket: Final = SimulatedSocket(address, None)
        self._ports: Final = ports
        self._arriving, self._waiting = trio.open_memory_channel[End](BACKLOG)
        ports[port] = self._arriving

    def __repr__(self) -> str:
        host, port = self.socket.getsockname()
        return f"<SimulatedListener {host}:{port}>"

    async def accept(self) -> SimulatedStream:
        """The next connection. A checkpoint. ClosedResourceError once it is closed."""
        return SimulatedStream(await self._waiting.receive())

    async def aclose(self) -> None:
        """Nobody is accepted any more; whoever waits to be is reset. A checkpoint."""
        _, port = self.socket.getsockname()
        if self._ports.get(port) is self._arriving:
            del self._ports[port]
            while True:
                try:
                    self._waiting.receive_nowait().abort()
                except trio.WouldBlock:
                    break
            self._waiting.close()
        await trio.lowlevel.checkpoint()
