"""StreamDescriptor: a SocketDescriptor that owns a Trio stream. The only file that reads, writes and closes streams.

It starts no task and touches no PeerManager. Its synchronous half is what the manager calls, its asynchronous half what
the tasks of one peer run: `receive` in the reader, `write_out` in the writer, `close` when both are done. A writer runs
while there is something for it.
"""

from __future__ import annotations

import math
import os
import select
import sys
from collections.abc import Awaitable, Callable
from socket import SO_RCVBUF, SOL_SOCKET
from typing import Any, Final, cast

import trio

__all__ = [
    "StreamDescriptor",
]

if sys.platform != "win32":
    import fcntl
    import termios

from triolight.address import Address, descriptor_of
from triolight.latch import Latch
from triolight.noise import MAX_LENGTH, OVERHEAD
from triolight.peer_manager import SocketDescriptor

OUTBOX_BYTES: Final = 64 * 1024 + MAX_LENGTH + OVERHEAD
"""Encrypted bytes between the manager and the socket: 64 KiB and one message, so that two of the largest are on their
way at once, and neither the writer nor the pump waits for the other after each."""
DIRECT_BYTES: Final = 4 * 1024
"""Up to so many bytes are written to an idle socket at once, without the writer: a ping, a pong, a message or two. More
go through the writer, which joins what has gathered."""
PACKETS_AT_ONCE: Final = 1000
"""Fewer than the 1,024 that Linux takes in one call."""
PIECE_BYTES: Final = 16 * 1024
"""Written at once to a stream that does not say how much of it it has written: after each it is known to move."""
REPORT_BYTES: Final = 16 * 1024
"""Written bytes that are reported as room at once: a report for each packet would wake the pump for each packet."""
UNREAD_BYTES: Final = 128 * 1024
"""Of a peer that is not read for what it costs, room in the system's buffer (Linux allows twice as much): its FIN waits
behind what is unread. More would be an attacker's to fill."""
DRAIN_SECONDS: Final = 0.5
"""How long a closed connection is read on, for the other side's FIN: closing a socket with unread input sends RST,
which takes our last words with it."""
DRAIN_BYTES: Final = 4 * 1024 * 1024
"""Nor is more than this read: a peer that goes on sending has not listened anyway."""


_HANG_UP: Final = getattr(select, "POLLRDHUP", 0)
"""Linux's word for a FIN; an RST is told in any case."""


class StreamDescriptor(SocketDescriptor):
    """Any `trio.abc.Stream`, as the PeerManager sees it. Equal to itself only."""

    __slots__ = (
        "__weakref__",
        "_broken",
        "_closing",
        "_drained",
        "_given",
        "_may_read",
        "_outbox",
        "_room",
        "_scope",
        "_socket",
        "_starved",
        "_unreported",
        "_writes_until",
        "_written",
        "owner",
        "start_writer",
        "stream",
        "task_scope",
        "write_began",
    )

    def __init__(self, stream: trio.abc.Stream, owner: Any = None) -> None:
        self.stream: Final = stream
        self.owner: Any = owner
        """Whatever made it and wants to be found again."""
        self.task_scope: trio.CancelScope | None = None
        """The scope of the peer's task; `disconnect_socket` cancels it."""
        self.start_writer: Callable[[Any], object] | None = None
        """Has the writer's task started, for `owner`: there is something for it."""
        self._scope: trio.CancelScope | None = None
        """The writer's, while it runs: shields it, and only its deadline ends it."""
        self._writes_until = math.inf
        """That deadline, of those that are still to run as well."""
        self.write_began: float | None = None
        """Since when the writer waits for the socket to take a byte, in the clock's seconds; None while it has nothing
        to write."""
        self._outbox: list[bytes] = []
        """What the writer is to write: at most OUTBOX_BYTES. A list: an empty deque takes ten times as much."""
        self._room = OUTBOX_BYTES
        self._starved = False
        self._unreported = 0
        """Written, and not reported as room yet."""
        self._written = Latch(is_open=True)
        """Shut while a writer has, or is about to have, anything to write."""
        on_posix = isinstance(stream, trio.SocketStream) and os.name == "posix"
        self._socket: trio.socket.SocketType | None = cast("trio.SocketStream", stream).socket if on_posix else None
        self._drained = True
        """Whether there is nothing to be read, as far as is known: the last read has taken all there was."""
        self._may_read = Latch(is_open=True)
        self._given = True
        """Whether the manager has been given what was read last. Until then its word is about what it knows, and
        nothing is read that could overtake it."""
        self._closing = False
        self._broken = False

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return object.__hash__(self)

    def __repr__(self) -> str:
        return f"<StreamDescriptor on {type(self.stream).__name__}>"

    # What the PeerManager calls.

    def send_data(self, data: bytes, resume_read: bool) -> int:
        """Takes `data`, or nothing while there is no room for all of it: a part of a large packet would cost a copy of
        the rest. All that the manager gives at once fits into an empty outbox; of more than that it takes a part.

        Room comes back with `made_room` alone, never because the writer happens to have been quick: what is answered
        here depends on what the pump has seen, and on nothing else.
        """
        if resume_read:
            self.allow_reading()
        if not data:
            return 0
        if self._closing:
            return len(data)  # nobody will write it, and nobody shall wait for it
        if len(data) > self._room:
            self._starved = True
            if self._room < OUTBOX_BYTES:
                return 0
            data = data[:OUTBOX_BYTES]
        self._room -= len(data)
        idle = self._written.is_open()
        rest = self._write_now(data) if idle and len(data) <= DIRECT_BYTES else data
        if rest or self._unreported >= REPORT_BYTES:
            self._outbox.append(rest)
            if idle:
                self._written.shut()
                if self.start_writer is not None:
                    self.start_writer(self.owner)
        return len(data)

    def _write_now(self, data: bytes) -> bytes:
        """Nothing waits to be written: a few bytes need no turn of the writer's. Returns what the socket did not take.

        What has gone wrong, if anything, the writer will find."""
        if self._socket is None:
            return data
        try:
            written = os.write(self._socket.fileno(), data)
        except OSError:
            return data
        self._unreported += written
        return data[written:]

    def disconnect_socket(self) -> None:
        """No more is taken or read; what was taken is still written, until the writer's deadline."""
        if not self._closing:
            self._closing = True
            if self.task_scope is not None:
                self.task_scope.cancel(reason="disconnect_socket")

    def made_room(self, count: int) -> bool:
        """`count` bytes have left the outbox. True if the manager was refused before and should be told."""
        self._room += count
        starved, self._starved = self._starved and self._room > 0, self._starved and self._room <= 0
        return starved

    @property
    def broken(self) -> bool:
        """Whether a write has found the stream broken."""
        return self._broken

    @property
    def ends_at(self) -> float:
        """What `end_by` was told, in the clock's seconds."""
        return self._writes_until

    def end_by(self, at: float) -> None:
        """From then on nothing is read or written any more, whatever is left."""
        self._writes_until = at
        if self._scope is not None:
            self._scope.deadline = at
        if self.task_scope is not None:
            self.task_scope.deadline = at

    def gives(self) -> None:
        """The manager is about to be given what was read last."""
        self._given = True

    def allow_reading(self) -> None:
        """The reader may go on, if what it has read last was given to the manager."""
        if self._given:
            self._may_read.open()

    # What the peer's tasks run.

    async def receive(self, max_bytes: int) -> bytes:
        """The next bytes, once the ones before are consumed. Empty: the other side has ended its stream.

        Raises trio.BrokenResourceError if the connection broke. Cancellation loses nothing.
        """
        if self._socket is None:
            await self._may_read.wait()
            data = bytes(await self.stream.receive_some(max_bytes))
        else:
            data = await self._receive_from(self._socket, max_bytes)
        self._may_read.shut()
        self._given = False
        return data

    async def _receive_from(self, socket: trio.socket.SocketType, max_bytes: int) -> bytes:
        """A read that took all there was is followed by a wait for more, which is mostly over after the wait for the
        manager: that one costs no turn then. One that did not is followed by another read, without the turn that
        `receive_some` takes to see whether it was cancelled: the wait before has done that."""
        while True:
            if self._drained:
                await trio.lowlevel.wait_readable(socket)
                if not self._may_read.is_open():
                    await self._may_read.wait()
            else:
                await self._may_read.wait()
            try:
                data = os.read(socket.fileno(), max_bytes)
            except BlockingIOError:
                self._drained = True
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            else:
                self._drained = len(data) < max_bytes
                return data

    async def write_out(self, report: Callable[[int], Awaitable[None]]) -> None:
        """Writes what is in the outbox until that is empty, or the deadline is over, and reports how many bytes have
        left it. Shielded.

        A stream that breaks is not the end yet: what the other side said before may still be there to be read, and the
        reader will see its end. Until then what was to be written is thrown away.
        """
        try:
            with trio.CancelScope(deadline=self._writes_until, shield=True) as self._scope:
                while self._outbox:
                    await self._write_some(report)
        finally:
            # In one step with the last look at the outbox: whatever comes now starts the next one.
            self._scope = None
            self._outbox.clear()
            self._written.open()

    async def _write_some(self, report: Callable[[int], Awaitable[None]]) -> None:
        size = count = 0
        for one in self._outbox:
            if size >= OUTBOX_BYTES or count >= PACKETS_AT_ONCE:
                break
            size += len(one)
            count += 1
        packets = self._outbox[:count]
        del self._outbox[:count]
        if size and not self._broken:
            self.write_began = trio.current_time()
            try:
                if self._socket is None:
                    await self._send_all(packets[0] if len(packets) == 1 else b"".join(packets))
                else:
                    await self._write_to(self._socket, packets)
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError):
                self._broken = True
            finally:
                self.write_began = None
        self._unreported += size
        if self._unreported >= REPORT_BYTES or self._starved:
            unreported, self._unreported = self._unreported, 0
            await report(unreported)

    async def wait_written(self) -> None:
        """Until no writer runs."""
        await self._written.wait()

    async def _send_all(self, data: bytes) -> None:
        for at in range(0, len(data), PIECE_BYTES):
            await self.stream.send_all(data[at : at + PIECE_BYTES] if len(data) > PIECE_BYTES else data)
            self.write_began = trio.current_time()

    async def _write_to(self, socket: trio.socket.SocketType, packets: list[bytes]) -> None:
        """Writes all, at once if there is room: without a copy, and without the turn that `send_all` takes to see
        whether it was cancelled. Whoever calls it waits for packets, so that a peer that takes everything holds up
        nobody."""
        waiting: list[bytes | memoryview] = [*packets]
        while True:
            try:
                written = os.writev(socket.fileno(), waiting)
            except BlockingIOError:
                written = 0
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
            if written:
                self.write_began = trio.current_time()
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if not waiting:
                return
            waiting[0] = memoryview(waiting[0])[written:]
            await trio.lowlevel.wait_writable(socket)

    def unsent(self) -> int | None:
        """Bytes that were written and that the other side has not acknowledged; None if the system does not tell.

        A socket with megabytes of room reports more of it rarely: a slow peer would seem to take nothing for a minute.
        """
        if self._socket is None:
            return None
        try:
            return int.from_bytes(fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        except (OSError, ValueError):  # it is closed: its number is none any more
            return None

    def let_end_arrive(self) -> None:
        """It will not be read for a while: what it has sent may fill the system's buffer, and then its FIN stays behind
        at its own system. With more room it comes."""
        bottom = socket_under(self.stream)
        try:
            # What the system has made larger by itself stays so.
            if (
                isinstance(bottom, trio.socket.SocketType)
                and bottom.getsockopt(SOL_SOCKET, SO_RCVBUF) < UNREAD_BYTES * 2
            ):
                bottom.setsockopt(SOL_SOCKET, SO_RCVBUF, UNREAD_BYTES)
        except OSError:
            pass  # it is closed, or of a kind that has none

    @property
    def hung_up(self) -> bool:
        """Whether the other side's FIN or RST has reached the system, however much is unread before it. False where the
        system does not tell: outside of Linux of a FIN, and of what has no socket at its bottom."""
        bottom = socket_under(self.stream)
        if not isinstance(bottom, trio.socket.SocketType) or not hasattr(select, "poll"):
            return False
        poll = select.poll()
        try:
            poll.register(bottom.fileno(), _HANG_UP)
            return bool(poll.poll(0))
        except (OSError, ValueError):  # it is closed: its number is none any more
            return False

    async def close(self, deadline: float, polite: bool) -> None:
        """Ends the stream, in any case, at `deadline` (in the clock's seconds) at the latest.

        `polite`: says FIN where the stream can, and reads on for a moment so that the last words are not lost.
        """
        try:
            if polite and not self._broken:
                until = min(deadline, trio.current_time() + DRAIN_SECONDS)
                with trio.CancelScope(shield=True, deadline=until):
                    if isinstance(self.stream, trio.abc.HalfCloseableStream):
                        await self.stream.send_eof()
                    drained = 0
                    while drained < DRAIN_BYTES and (data := await self.stream.receive_some(65536)):
                        drained += len(data)
                # A moment of its own: a stream without half close (TLS, WebSocket) says only here that it ends.
                until = min(deadline, trio.current_time() + DRAIN_SECONDS)
                with trio.CancelScope(shield=True, deadline=until):
                    await self.stream.aclose()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError, OSError):
            pass  # it is gone already, or somebody else uses what was given to us: closing is all that is left
        finally:
            with trio.CancelScope(shield=True):
                try:
                    await trio.aclose_forcefully(self.stream)
                except (trio.BrokenResourceError, OSError):
                    pass  # closed all the same: an error says that it was without grace


def socket_under(stream: trio.abc.Stream) -> Any:
    """The socket at the bottom of a stream; None if there is none."""
    socket: Any = stream
    while socket is not None and not hasattr(socket, "getpeername"):
        # As TLS and WebSocket have it.
        socket = getattr(socket, "socket", None) or getattr(socket, "transport_stream", None)
    return socket


def remote_address(stream: trio.abc.Stream) -> Address | None:
    """Where the other side of a stream is, as the socket at the bottom of it knows; None if there is none, or a Unix
    one. OSError if it is gone already."""
    socket = socket_under(stream)
    if socket is None:
        return None
    name = socket.getpeername()
    if isinstance(name, str | bytes):  # a Unix socket's is a path
        return None
    host, port, *_ = name
    return descriptor_of(host.partition("%")[0], port)
