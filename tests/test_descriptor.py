"""StreamDescriptor: what it takes, what it writes at once, the order of both, and the end."""

from __future__ import annotations

import math
import os
import random
import socket
import struct
import sys

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager, port_of
from triolight import NodeAddress, open_peer_nursery
from triolight.connection import BATCH_BYTES
from triolight.descriptor import DIRECT_BYTES, DRAIN_SECONDS, OUTBOX_BYTES, REPORT_BYTES, StreamDescriptor
from triolight.noise import MAX_LENGTH, OVERHEAD


class _WithoutHalfClose(trio.abc.Stream):
    """Says that it ends when it is closed and not before, and needs a moment for that: as TLS does, and WebSocket."""

    def __init__(self) -> None:
        self.said = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self.said = True


async def test_a_stream_without_half_close_says_that_it_ends(autojump_clock: trio.testing.MockClock) -> None:
    stream = _WithoutHalfClose()
    await StreamDescriptor(stream).close(math.inf, polite=True)
    assert stream.said
    assert trio.current_time() == pytest.approx(DRAIN_SECONDS)
    late = _WithoutHalfClose()
    await StreamDescriptor(late).close(trio.current_time(), polite=True)
    assert not late.said


async def test_what_is_written_at_once_and_what_the_writer_writes_stay_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Small messages go to an idle socket directly, others through the writer; here the socket takes what it likes."""
    rng = random.Random(1)
    took: set[str] = set()
    write = os.write

    def capricious(handle: int, data: bytes) -> int:
        if rng.random() < 0.3:
            took.add("nothing")
            raise BlockingIOError
        count = rng.randrange(1, len(data) + 1)
        took.add("a part" if count < len(data) else "all")
        return write(handle, data[:count])

    monkeypatch.setattr("triolight.descriptor.os.write", capricious)
    sizes = [rng.choice((0, 1, 300, 3_000, 5_000, 20_000, 65_000)) for _ in range(400)]
    async with open_peer_nursery(make_manager(1)) as near, open_peer_nursery(make_manager(2)) as far:
        to_far = await near.connect(NodeAddress(identity(2), "127.0.0.1", await port_of(far)))
        to_near = far.peers[identity(1)]

        async def send() -> None:
            for number, size in enumerate(sizes):
                await to_far.send(Note(payload=number.to_bytes(4, "big") + bytes(size)))
                if rng.random() < 0.1:
                    await to_far.ping(rng.choice((0, 5_000)))

        with trio.fail_after(60):
            async with to_near.subscribe(Note) as notes, trio.open_nursery() as nursery:
                nursery.start_soon(send)
                for number, size in enumerate(sizes):
                    note = await anext(notes)
                    assert (int.from_bytes(note.payload[:4], "big"), len(note.payload)) == (number, size + 4)
    assert took == {"nothing", "a part", "all"}


async def socket_pair() -> tuple[StreamDescriptor, trio.SocketStream]:
    """A descriptor on one end of a TCP connection over loopback, and the other end."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        ours = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        return StreamDescriptor(ours), await listener.accept()


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_an_end_is_seen_behind_what_is_not_read(how: str) -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        theirs = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        ours = await listener.accept()
    async with ours:
        descriptor = StreamDescriptor(ours)
        assert not descriptor.hung_up
        await theirs.send_all(b"unread")
        assert not descriptor.hung_up
        if how == "FIN" and sys.platform == "linux":
            await theirs.send_eof()
            assert descriptor.hung_up
        theirs.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", how == "RST", 0))
        await theirs.aclose()
        assert descriptor.hung_up
        descriptor.let_end_arrive()
    # Once it is closed nobody asks, and nobody is told anything else.
    assert not descriptor.hung_up
    descriptor.let_end_arrive()
    assert not StreamDescriptor(trio.testing.memory_stream_pair()[0]).hung_up


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says how much room there is")
async def test_an_end_arrives_behind_more_than_the_system_had_room_for() -> None:
    listener, *_ = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        theirs = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        ours = await listener.accept()
    async with ours, theirs:
        before = ours.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        StreamDescriptor(ours).let_end_arrive()
        assert ours.socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > before


async def test_a_descriptor_takes_no_more_than_it_has_room_for() -> None:
    ours, _theirs = trio.testing.lockstep_stream_pair()
    descriptor = StreamDescriptor(ours)
    assert repr(descriptor).startswith("<StreamDescriptor on ")
    whole = OUTBOX_BYTES + 1000
    assert descriptor.send_data(bytes(whole), False) == OUTBOX_BYTES
    assert descriptor.send_data(bytes(1000), False) == 0
    assert descriptor.made_room(OUTBOX_BYTES), "it was refused before: whoever wants to write hears of the room"
    assert not descriptor.made_room(0)
    assert descriptor.send_data(bytes(100_000), False) == 100_000
    assert descriptor.send_data(bytes(40_000), False) == 0, "all or nothing: the rest would be copied"
    assert descriptor.send_data(bytes(30_000), False) == 30_000
    descriptor.disconnect_socket()
    assert descriptor.send_data(bytes(whole), False) == whole, "nobody shall wait for what will never be written"


def test_the_outbox_takes_what_the_manager_gives_at_once() -> None:
    """Also while the last bytes that were written are not reported yet: nobody would wake a refused manager."""
    assert OUTBOX_BYTES - REPORT_BYTES >= BATCH_BYTES + MAX_LENGTH + OVERHEAD


async def test_a_reset_while_nothing_was_read_breaks_the_stream() -> None:
    with trio.fail_after(20):
        descriptor, theirs = await socket_pair()
        await theirs.send_all(b"a word")
        assert await descriptor.receive(100) == b"a word"
        descriptor.gives()
        descriptor.allow_reading()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await theirs.aclose()
        with pytest.raises(trio.BrokenResourceError, match="reset"):
            await descriptor.receive(100)
        # Nor does a direct write raise: what is wrong the writer finds.
        assert descriptor.send_data(b"never", False) == 5
        assert not descriptor.broken
        descriptor.disconnect_socket()

        async def report(count: int) -> None:
            raise AssertionError("nothing has left it")

        await descriptor.write_out(report)
        assert descriptor.broken
        await descriptor.stream.aclose()


async def test_a_descriptor_is_equal_to_itself_alone() -> None:
    stream, _ = trio.testing.memory_stream_pair()
    one, other = StreamDescriptor(stream), StreamDescriptor(stream)
    before = hash(one)
    assert one == one
    assert one != other
    one.disconnect_socket()
    one.disconnect_socket()
    assert {one: 1, other: 2}[one] == 1
    assert hash(one) == before


@pytest.mark.parametrize(("size", "direct"), [(1, True), (DIRECT_BYTES, True), (DIRECT_BYTES + 1, False)])
async def test_a_few_bytes_for_an_idle_socket_need_no_writer(size: int, direct: bool) -> None:
    with trio.fail_after(20):
        descriptor, theirs = await socket_pair()
        data = random.Random(size).randbytes(size)
        assert descriptor.send_data(data, False) == size
        try:
            heard = os.read(theirs.socket.fileno(), size + 1)
        except BlockingIOError:
            heard = b""
        assert heard == (data if direct else b"")
        # The next ones wait for what the writer has; nothing overtakes anything.
        assert descriptor.send_data(b"next", False) == 4
        descriptor.disconnect_socket()

        async def report(count: int) -> None:
            raise AssertionError("so little is not told")

        await descriptor.write_out(report)
        await descriptor.stream.aclose()
        async for more in theirs:
            heard += more
        assert heard == data + b"next"
        await theirs.aclose()


async def test_what_comes_after_the_end_is_read_on_for_a_moment_so_that_last_words_arrive() -> None:
    with trio.fail_after(20):
        descriptor, theirs = await socket_pair()
        await theirs.send_all(bytes(10_000))  # nobody reads it: closing now would send RST
        descriptor.send_data(b"last words", False)
        descriptor.disconnect_socket()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(descriptor.close, math.inf, True)
            assert await theirs.receive_some(100) == b"last words"
            assert await theirs.receive_some(100) == b""
            stream = descriptor.stream
            assert isinstance(stream, trio.SocketStream)
            assert stream.socket.fileno() != -1, "it says that it ends before it is closed"
            await theirs.aclose()
        assert stream.socket.fileno() == -1


async def test_reading_goes_on_when_what_was_read_is_given_and_the_manager_wants_more() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    descriptor = StreamDescriptor(ours)
    await theirs.send_all(b"one")
    assert await descriptor.receive(100) == b"one"
    await theirs.send_all(b"two")
    heard: list[bytes] = []

    async def read() -> None:
        heard.append(await descriptor.receive(100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        descriptor.send_data(b"", True)  # its word is about what it knows: the last chunk is not given yet
        await trio.testing.wait_all_tasks_blocked()
        assert heard == []
        descriptor.gives()
        descriptor.send_data(b"", False)
        await trio.testing.wait_all_tasks_blocked()
        assert heard == []
        descriptor.send_data(b"", True)
    assert heard == [b"two"]
