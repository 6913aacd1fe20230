"""Lightning over WebSocket: frames by hand, handshakes in pieces and wrong ones, peers over loopback, rude clients."""

from __future__ import annotations

import base64
import hashlib
import random
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionType

from tests.support import Note, identity, make_manager, until
from tests.support.inside import held_by
from triolight import (
    ConnectError,
    DisconnectCode,
    NodeAddress,
    PeerClosed,
    PeerConnected,
    PeerNursery,
    open_peer_nursery,
)
from triolight.address import IPv4Address
from triolight.testing import Conditions, SimulatedNetwork, run_seeded
from triolight.websocket import (
    ANSWER_SECONDS,
    CLOSE_SECONDS,
    MAX_HEAD,
    MAX_MESSAGE,
    READ_BYTES,
    WebSocketListener,
    WebSocketStream,
    accept_websocket,
    connect_websocket,
    dial_websocket,
)

LOOPBACK = "127.0.0.1"
REQUEST = (
    b"GET /anything HTTP/1.1\r\nHost: node.example:9736\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nOrigin: https://a.example\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
)
"""RFC 6455's own key, a foreign origin, and an extension that we do not take."""
KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
Transport = trio.StapledStream[Any, Any]


def pair() -> tuple[WebSocketStream, WebSocketStream]:
    return wrapped(*trio.testing.memory_stream_pair())


def wrapped(client: trio.abc.Stream, server: trio.abc.Stream) -> tuple[WebSocketStream, WebSocketStream]:
    return (
        WebSocketStream(client, Connection(ConnectionType.CLIENT)),
        WebSocketStream(server, Connection(ConnectionType.SERVER)),
    )


def to_server(first: int, payload: bytes) -> bytes:
    """A frame of a client, masked with a key of zeros. `first` has FIN and the opcode."""
    return bytes((first, 0x80 | len(payload))) + bytes(4) + payload


def to_client(first: int, payload: bytes = b"") -> bytes:
    return bytes((first, len(payload))) + payload


async def raw_server() -> tuple[WebSocketStream, Transport]:
    """A client of ours, and the bare other end."""
    ours, theirs = trio.testing.memory_stream_pair()
    return WebSocketStream(ours, Connection(ConnectionType.CLIENT)), theirs


def unmasked(frame: bytes | bytearray) -> tuple[int, bytes]:
    """Opcode byte and payload of one short frame of a client."""
    length = frame[1] & 0x7F
    assert frame[1] & 0x80
    assert len(frame) == 6 + length <= 131
    return frame[0], bytes(byte ^ frame[2 + at % 4] for at, byte in enumerate(frame[6:]))


# -- as Trio's streams -------------------------------------------------------------------------------------------------


async def test_it_is_a_stream_as_trio_has_them(autojump_clock: trio.testing.MockClock) -> None:
    async def maker() -> tuple[WebSocketStream, WebSocketStream]:
        return pair()

    async def clogged() -> tuple[WebSocketStream, WebSocketStream]:
        return wrapped(*trio.testing.lockstep_stream_pair())

    await trio.testing.check_one_way_stream(maker, clogged)
    await trio.testing.check_two_way_stream(maker, clogged)


async def test_it_is_a_stream_with_its_handshake_still_to_do(autojump_clock: trio.testing.MockClock) -> None:
    async def maker() -> tuple[WebSocketStream, WebSocketStream]:
        ours, theirs = trio.testing.memory_stream_pair()
        server = WebSocketStream(theirs)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.send_all, b"")
            client = await connect_websocket(ours, "node.example")
        return client, server

    await trio.testing.check_two_way_stream(maker, None)


async def test_bytes_go_in_messages_of_a_bounded_size() -> None:
    client, theirs = await raw_server()
    data = random.Random(1).randbytes(3 * MAX_MESSAGE + 5)
    await client.send_all(memoryview(data))
    sizes: list[int] = []
    server = Connection(ConnectionType.SERVER)
    server.receive_data(bytes(await theirs.receive_some()))
    found = bytearray()
    started = True
    for event in server.events():
        piece: Any = event
        if started:
            sizes.append(0)
        sizes[-1] += len(piece.data)
        started = piece.message_finished
        found += piece.data
    assert found == data
    assert sizes == [MAX_MESSAGE] * 3 + [5]


async def test_payload_comes_as_it_arrives_however_long_its_message_is() -> None:
    client, theirs = await raw_server()
    # A frame that says it has 2 ** 62 bytes.
    await theirs.send_all(b"\x82\x7f" + (2**62).to_bytes(8, "big") + b"abc")
    assert await client.receive_some() == b"abc"
    await theirs.send_all(b"def")
    assert await client.receive_some(2) == b"de"
    assert await client.receive_some() == b"f"


async def test_a_message_in_fragments_with_a_ping_between_them() -> None:
    client, theirs = await raw_server()
    for frame in (to_client(0x02, b"ab"), to_client(0x89, b"?"), to_client(0x00, b""), to_client(0x80, b"cd")):
        for byte in frame:
            await theirs.send_all(bytes((byte,)))
    assert await client.receive_some() == b"ab" + b"cd"
    assert unmasked(await theirs.receive_some()) == (0x8A, b"?")


async def test_no_more_is_held_than_what_was_read_at_once() -> None:
    client, theirs = await raw_server()
    count = 3 * READ_BYTES
    await theirs.send_all(b"\x82\x7f" + count.to_bytes(8, "big") + bytes(count))
    assert len(await client.receive_some(1)) == 1
    assert held_by(client) < READ_BYTES
    left = count - 1
    while left:
        left -= len(await client.receive_some(1 << 20))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 70_001])
async def test_masks_can_be_the_callers(size: int) -> None:
    client, server = trio.testing.memory_stream_pair()
    masks = random.Random(1).randbytes
    ours = WebSocketStream(client, Connection(ConnectionType.CLIENT), random=masks)
    theirs = WebSocketStream(server, Connection(ConnectionType.SERVER), random=masks)
    payload = random.Random(2).randbytes(size)
    await ours.send_all(payload + b"!")
    await theirs.send_all(payload + b"?")
    got = b""
    while len(got) <= size:
        got += await theirs.receive_some()
    assert got == payload + b"!"
    assert await ours.receive_some(1) == (payload + b"?")[:1]


async def two_over_websocket(seed: int) -> str:
    """Two nodes on a bad network, over WebSockets. Returns the network's transcript."""
    network = SimulatedNetwork(seed, Conditions(latency=0.02, jitter=0.05, mean_lifetime=20))
    home, away = network.host("192.0.2.1"), network.host("192.0.2.2")
    dial = partial(dial_websocket, dial=away.dial, random=random.Random(seed).randbytes)
    async with (
        open_peer_nursery(make_manager(1)) as near,
        open_peer_nursery(make_manager(2), dial=dial, jitter=random.Random(seed)) as far,
    ):
        await near.listen_on(WebSocketListener(await home.listen()))
        kept = far.keep(NodeAddress(identity(1), home.address, 9735))
        for _ in range(20):
            peer = await kept.wait_connected()
            assert peer is not None
            with suppress(PeerClosed):
                await peer.send(Note(payload=bytes(1_000)))
                await peer.ping(40_000)
            await trio.sleep(5)
    return network.transcript()


def test_two_runs_of_one_seed_are_alike_to_the_byte() -> None:
    one = run_seeded(3, two_over_websocket, 3)
    assert run_seeded(3, two_over_websocket, 3) == one
    assert run_seeded(4, two_over_websocket, 4) != one


async def test_the_socket_is_the_transports() -> None:
    client, _ = pair()
    assert getattr(client, "socket", None) is None
    (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    async with listener, await trio.open_tcp_stream(LOOPBACK, listener.socket.getsockname()[1]) as stream:
        assert WebSocketStream(stream).socket is stream.socket


# -- pings -------------------------------------------------------------------------------------------------------------


async def test_a_ping_is_answered_and_a_pong_is_not() -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x8A, b"unasked") + to_client(0x89, b"hello") + to_client(0x82, b"x"))
    assert await client.receive_some() == b"x"
    assert unmasked(await theirs.receive_some()) == (0x8A, b"hello")


async def test_of_many_pings_the_last_one_is_answered_and_others_have_their_turn() -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x89) * 10_000 + to_client(0x89, b"last") + to_client(0x82, b"x"))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(count)
        assert await client.receive_some() == b"x"
        nursery.cancel_scope.cancel()
    assert turns > 100
    assert unmasked(await theirs.receive_some()) == (0x8A, b"last")


async def test_who_pings_and_never_reads_stops_nobody(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(theirs.send_all, to_client(0x89, b"%d" % number) + to_client(0x82, b"x"))
            began = trio.current_time()
            assert await client.receive_some() == b"x"
            assert trio.current_time() - began == pytest.approx(ANSWER_SECONDS)
        # Cancelled while it waits to answer, at once and without a loss.
        nursery.start_soon(theirs.send_all, to_client(0x89, b"3") + to_client(0x82, b"y"))
        began = trio.current_time()
        with trio.move_on_after(ANSWER_SECONDS / 2):
            await client.receive_some()
        assert trio.current_time() - began == ANSWER_SECONDS / 2
        assert await client.receive_some() == b"y"
        # Once it reads, the last ping's answer comes behind what is sent.
        nursery.start_soon(client.send_all, b"z")
        found = b""
        while len(found) < 7 + 7:
            found += await theirs.receive_some()
        assert unmasked(found[:7]) == (0x82, b"z")
        assert unmasked(found[7:]) == (0x8A, b"3")


async def test_a_pong_does_not_get_into_a_message_that_is_being_sent() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(100))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(theirs.send_all, to_client(0x89, b"!") + to_client(0x82, b"x"))
        assert await client.receive_some() == b"x"  # without a wait: the sender will see to it
        found = bytearray()
        while len(found) < 106 + 7:
            found += await theirs.receive_some(10)
    assert unmasked(found[:106]) == (0x82, bytes(100))
    assert unmasked(found[106:]) == (0x8A, b"!")


async def test_a_pong_that_the_transport_promised_to_take(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    ours.send_stream.send_all_hook = trio.sleep_forever
    await theirs.send_all(to_client(0x89) + to_client(0x82, b"xy"))
    assert await client.receive_some(1) == b"x"
    assert trio.current_time() == pytest.approx(ANSWER_SECONDS, abs=1)
    # Half a pong may be out there: nothing can follow it, but the other way is as it was.
    with pytest.raises(trio.BrokenResourceError, match="middle of a frame"):
        await client.send_all(b"z")
    assert await client.receive_some(1) == b"y"
    await client.aclose()


async def test_a_pong_to_one_who_has_gone_does_not_hide_what_it_said() -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x89) + to_client(0x82, b"x"))
    await theirs.aclose()
    assert await client.receive_some() == b"x"
    assert await client.receive_some() == b""


async def test_cancelled_in_the_middle_of_a_frame_it_only_receives() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.send_all, bytes(100))
        await theirs.receive_some(10)
        nursery.cancel_scope.cancel()
    for call in (partial(client.send_all, b"x"), client.wait_send_all_might_not_block):
        with pytest.raises(trio.BrokenResourceError, match="middle of a frame"):
            await call()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, to_client(0x82, b"x"))
        assert await client.receive_some() == b"x"
    await client.aclose()


async def test_waiting_to_send_answers_what_waits(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.send_all, to_client(0x89, b"a") + to_client(0x82, b"x"))
        assert await client.receive_some() == b"x"
        nursery.start_soon(client.wait_send_all_might_not_block)
        assert unmasked(await theirs.receive_some()) == (0x8A, b"a")


# -- ends and refusals -------------------------------------------------------------------------------------------------


async def test_a_close_frame_ends_both_ways_and_is_answered() -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x82, b"x") + to_client(0x88, b"\x03\xe8bye") + to_client(0x82, b"too late"))
    assert await client.receive_some() == b"x"
    for _ in range(2):
        assert await client.receive_some() == b""
    assert unmasked(await theirs.receive_some()) == (0x88, b"\x03\xe8bye")
    for call in (partial(client.send_all, b"y"), client.wait_send_all_might_not_block):
        with pytest.raises(trio.BrokenResourceError, match="other side has closed"):
            await call()
    await client.aclose()
    assert await theirs.receive_some() == b""


async def test_a_close_comes_while_we_send() -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))
    ends: list[str] = []

    async def send() -> None:
        with pytest.raises(trio.BrokenResourceError, match="other side has closed"):
            await client.send_all(bytes(2 * MAX_MESSAGE))
        ends.append("sent")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(theirs.send_all, to_client(0x88))
        assert await client.receive_some() == b""
        found = bytearray()
        while not ends:
            found += await theirs.receive_some()
            await trio.testing.wait_all_tasks_blocked()
    assert len(found) == 14 + MAX_MESSAGE + 6
    assert unmasked(found[-6:]) == (0x88, b"")


async def test_the_end_of_the_transport_is_the_end() -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x82, b"x") + b"\x82\x05ab")
    await theirs.aclose()
    assert await client.receive_some() == b"xab"
    assert await client.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"y")


@pytest.mark.parametrize(
    ("frame", "code", "words"),
    [
        (to_client(0x81, b"text"), 1003, "a text message"),
        (to_client(0x01, b"begun"), 1003, "a text message"),
        (to_client(0x81, b"\xff"), 1007, "can't decode byte"),
        (to_client(0x80, b"more"), 1002, "unexpected CONTINUATION"),
        (to_client(0x83, b"?"), 1002, "Invalid opcode"),
        (to_client(0xC2, b"x"), 1002, "Reserved bit"),
        (to_server(0x82, b"masked"), 1002, "masked frame"),
        (to_client(0x88, b"\x00"), 1002, "1 byte payload"),
        (to_client(0x09, b"x"), 1002, "fragment control frame"),
        (b"\x89\x7e\x00\x80", 1002, "payload len > 125"),
        (b"\x82\x7f" + b"\xff" * 8, 1002, "non-zero MSB"),
    ],
)
async def test_what_is_no_binary_message_is_refused(frame: bytes, code: int, words: str) -> None:
    client, theirs = await raw_server()
    await theirs.send_all(to_client(0x82, b"before") + frame + to_client(0x82, b"behind"))
    assert await client.receive_some(4) == b"befo"
    assert await client.receive_some() == b"re"
    assert unmasked(await theirs.receive_some()) == (0x88, code.to_bytes(2, "big"))
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match=words):
            await client.receive_some()
    with pytest.raises(trio.BrokenResourceError, match=words):
        await client.send_all(b"x")
    await client.aclose()
    assert await theirs.receive_some() == b""


async def test_closing_says_so() -> None:
    client, theirs = await raw_server()
    await client.aclose()
    assert unmasked(await theirs.receive_some()) == (0x88, b"\x03\xe8")
    assert await theirs.receive_some() == b""


async def test_closing_waits_for_nobody_for_long(autojump_clock: trio.testing.MockClock) -> None:
    client, _ = wrapped(*trio.testing.lockstep_stream_pair())
    await client.aclose()
    assert trio.current_time() == pytest.approx(CLOSE_SECONDS)
    with pytest.raises(trio.ClosedResourceError):
        await client.receive_some()


async def test_closing_while_somebody_receives() -> None:
    client, server = pair()

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await client.aclose()
    assert await server.receive_some() == b""


async def test_closing_while_somebody_receives_and_the_other_side_still_talks() -> None:
    """Its answer may come while our close frame is on its way."""
    ours, theirs = trio.testing.lockstep_stream_pair()
    client = WebSocketStream(ours, Connection(ConnectionType.CLIENT))

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await client.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(client.aclose)
        await trio.testing.wait_all_tasks_blocked()
        await theirs.send_all(to_client(0x89) + to_client(0x88))
        assert unmasked(await theirs.receive_some()) == (0x88, b"\x03\xe8")


# -- handshakes --------------------------------------------------------------------------------------------------------


async def test_the_handshake_in_pieces_of_every_size() -> None:
    """Split once at each byte, with the first frame right behind it, which no client may send and some do."""
    sent = REQUEST + to_server(0x82, b"first")
    for at in range(1, len(sent)):
        ours, theirs = trio.testing.memory_stream_pair()
        server = WebSocketStream(ours)
        await theirs.send_all(sent[:at])
        async with trio.open_nursery() as nursery:
            found: list[bytes] = []

            async def receive(server: WebSocketStream = server, found: list[bytes] = found) -> None:
                while sum(map(len, found)) < 5:
                    found.append(await server.receive_some())

            nursery.start_soon(receive)
            await trio.testing.wait_all_tasks_blocked()
            await theirs.send_all(sent[at:])
        assert b"".join(found) == b"first"
        answer = bytes(await theirs.receive_some())
        assert answer.startswith(b"HTTP/1.1 101 ")
        assert ACCEPT in answer
        assert b"deflate" not in answer


async def test_the_handshake_byte_by_byte_with_a_cancel_after_each() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(ours)
    for byte in REQUEST + to_server(0x82, b"x")[:-1]:
        await theirs.send_all(bytes((byte,)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.receive_some)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    await theirs.send_all(b"x")
    assert await server.receive_some() == b"x"
    assert ACCEPT in bytes(await theirs.receive_some())


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (b"Sec-WebSocket-Protocol: binary\r\n", b"binary"),
        (b"Sec-WebSocket-Protocol: ,lightning , binary\r\nsec-websocket-protocol: other\r\n", b"lightning"),
        (b"Sec-WebSocket-Protocol: ,\r\n", None),
        (b"", None),
    ],
)
async def test_a_client_that_offers_subprotocols_gets_its_first(offered: bytes, taken: bytes | None) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(REQUEST.removesuffix(b"\r\n") + offered + b"\r\n")
    await accept_websocket(ours)
    answer = bytes(await theirs.receive_some())
    assert answer.startswith(b"HTTP/1.1 101 ")
    found = re.findall(rb"(?i)^sec-websocket-protocol: (.*)\r$", answer, re.MULTILINE)
    assert found == ([] if taken is None else [taken])


async def test_whoever_waits_longer_finishes_the_handshake() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(ours)
    await theirs.send_all(REQUEST[:50])
    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def receive() -> None:
            with scope:
                await server.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(server.send_all, b"hello")
        await trio.testing.wait_all_tasks_blocked()
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()
        await theirs.send_all(REQUEST[50:])
    answer = bytes(await theirs.receive_some())
    assert answer.endswith(b"\r\n\r\n" + to_client(0x82, b"hello"))


async def serve_raw(theirs: trio.abc.Stream, answer: Callable[[bytes], bytes], pieces: int) -> None:
    request = b""
    while not request.endswith(b"\r\n\r\n"):
        request += await theirs.receive_some()
    data = answer(request)
    for at in range(0, len(data), pieces):
        await theirs.send_all(data[at : at + pieces])


def accepting(request: bytes) -> bytes:
    (line,) = [one for one in request.split(b"\r\n") if one.lower().startswith(b"sec-websocket-key:")]
    key = line.partition(b":")[2].strip()
    token = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: "
        + token
        + b"\r\n\r\n"
        + to_client(0x82, b"first")
    )


def noting(asked: list[bytes]) -> Callable[[bytes], bytes]:
    def answer(request: bytes) -> bytes:
        asked.append(request)
        return accepting(request)

    return answer


@pytest.mark.parametrize("pieces", [1, 2, 3, 1000])
async def test_the_servers_answer_in_pieces(pieces: int) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_raw, theirs, accepting, pieces)
        client = await connect_websocket(ours, "node.example:9736", "/path?query")
        found = b""
        while len(found) < 5:
            found += await client.receive_some()
    assert found == b"first"


async def test_what_we_ask() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    asked: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_raw, theirs, noting(asked), 1000)
        await connect_websocket(ours, "[::1]:9736", "/ln")
    assert asked[0].startswith(b"GET /ln HTTP/1.1\r\nHost: [::1]:9736\r\n")
    assert b"Extensions" not in asked[0]


WITHOUT = {
    "POST": (REQUEST.replace(b"GET", b"POST"), 400, "must be GET"),
    "no upgrade": (REQUEST.replace(b"Upgrade: websocket\r\n", b""), 426, "Upgrade"),
    "no connection": (REQUEST.replace(b", Upgrade", b""), 426, "Upgrade"),
    "a page": (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", 426, "Upgrade"),
    "old": (REQUEST.replace(b"Version: 13", b"Version: 8"), 426, "Version"),
    "no version": (REQUEST.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 400, "Version"),
    "no key": (REQUEST.replace(b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), 400, "Key"),
    **{
        f"a key that is {what}": (REQUEST.replace(KEY, key), 400, "16 bytes in base64")
        for what, key in {
            "empty": b"",
            "short": base64.b64encode(bytes(15)),
            "long": base64.b64encode(bytes(17)),
            "not base64": b"dGhlIHNhbXBsZSBub25j*Q==",
            "for URLs": b"_" * 22 + b"==",
            "broken by a space": b"dGhlIHNhbXBs ZSBub25jZQ==",
            "broken by a tab": b"dGhlIHNhbXBsZSBub25jZQ\t==",
            "not padded": b"dGhlIHNhbXBsZSBub25jZQ",
            "padded too much": b"dGhlIHNhbXBsZSBub25jZQ===",
            "two in one": KEY + b", " + KEY,
            "there twice": KEY + b"\r\nSec-WebSocket-Key: " + KEY,
        }.items()
    },
    "no host": (REQUEST.replace(b"Host: node.example:9736\r\n", b""), 400, "Bad HTTP"),
    "no text": (REQUEST.replace(b"keep-alive", b"keep-\xe4live"), 400, "malformed"),
    "no HTTP": (b"\x00" * 50 + b"\r\n\r\n", 400, "Bad HTTP"),
    "nothing": (b"\r\n\r\n", 400, "no WebSocket"),
    "too long": (REQUEST[:-2] + b"A: " + b"a" * MAX_HEAD + b"\r\n\r\n", 400, f"more than {MAX_HEAD} bytes"),
    "endless": (b"a" * (2 * MAX_HEAD), 400, f"more than {MAX_HEAD} bytes"),
}


@pytest.mark.parametrize(("request_", "status", "words"), WITHOUT.values(), ids=WITHOUT.keys())
async def test_wrong_requests_are_answered(request_: bytes, status: int, words: str) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(request_)
    with pytest.raises(OSError, match=words):
        await accept_websocket(ours)
    answer = bytes(await theirs.receive_some())
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nUpgrade: websocket\r\n" in answer) == (status == 426)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert await theirs.receive_some() == b""
    # The same of a stream that a listener gave.
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(request_)
    server = WebSocketStream(ours)
    calls: list[Callable[[], Awaitable[object]]] = [server.receive_some, partial(server.send_all, b"")]
    for call in calls:
        with pytest.raises(trio.BrokenResourceError, match=words):
            await call()
    await server.aclose()
    assert bytes(await theirs.receive_some()) == answer


@pytest.mark.parametrize(
    "key", [b"  \t" + KEY + b" ", base64.b64encode(bytes(16)), base64.b64encode(b"\xff" * 16), b"/+" * 11 + b"=="]
)
async def test_every_key_of_16_bytes_is_taken(key: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(REQUEST.replace(KEY, key))
    await accept_websocket(ours)
    answer = bytes(await theirs.receive_some())
    token = base64.b64encode(hashlib.sha1(key.strip() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b": " + token + b"\r\n" in answer


@given(
    st.binary(max_size=60),
    st.integers(min_value=0, max_value=len(REQUEST)),
    st.integers(min_value=0, max_value=40),
)
def test_no_request_does_more_than_be_refused(noise: bytes, at: int, gone: int) -> None:
    async def ask() -> None:
        ours, theirs = trio.testing.memory_stream_pair()
        await theirs.send_all(REQUEST[:at] + noise + REQUEST[at + gone :])
        await theirs.send_eof()
        server = WebSocketStream(ours)
        try:
            while await server.receive_some():
                pass
        except trio.BrokenResourceError:
            pass

    trio.run(ask)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(noise: bytes) -> None:
    async def talk() -> None:
        for role in ConnectionType:
            ours, theirs = trio.testing.memory_stream_pair()
            await theirs.send_all(noise)
            await theirs.send_eof()
            stream = WebSocketStream(ours, Connection(role))
            try:
                while await stream.receive_some():
                    pass
            except trio.BrokenResourceError:
                pass

    trio.run(talk)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "refused the WebSocket: HTTP status 404"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP status 103"),
        (b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", "Bad accept token"),
        (b"HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n", "(?i)Upgrade: websocket"),
        (b"HTTP/1.1 101 Yes\r\nConnection: \xe4\r\nUpgrade: websocket\r\n\r\n", "malformed answer"),
        (b"\x00\x01\r\n\r\n", "Bad HTTP message"),
        (b"\r\n\r\n", "not a WebSocket's|status unknown"),
        (b"a" * (MAX_HEAD + 1), f"more than {MAX_HEAD} bytes"),
        (b"HTTP/1.1 101 Yes\r\n", "hung up"),
    ],
)
async def test_servers_that_are_none(answer: bytes, words: str) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(answer)
    await theirs.send_eof()
    with pytest.raises(OSError, match=words):
        await connect_websocket(ours, "node.example")
    with pytest.raises(trio.ClosedResourceError):
        await ours.send_all(b"x")


@pytest.mark.parametrize(
    ("host", "path"),
    [("a b", "/"), ("a\r\nX: y", "/"), ("", "/"), ("a..b", "/"), ("a" * 64, "/"), ("a/b", "/"), ("a", ""), ("a", "/ ")],
)
async def test_what_cannot_be_asked_for(host: str, path: str) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    with pytest.raises(OSError, match="no WebSocket can be asked for"):
        await connect_websocket(ours, host, path)
    assert await theirs.receive_some() == b""


async def test_cancelled_in_the_handshake_both_sides_close() -> None:
    for shake in (accept_websocket, partial(connect_websocket, host="node.example")):
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake, ours)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        while await theirs.receive_some():
            pass


async def test_closed_before_its_handshake() -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(ours)

    async def receive() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await server.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await server.aclose()
    assert await theirs.receive_some() == b""


async def test_who_does_not_take_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    ours.send_stream.send_all_hook = trio.sleep_forever
    await theirs.send_all(REQUEST)
    server = WebSocketStream(ours)
    for _ in range(2):
        with pytest.raises(trio.BrokenResourceError, match="does not take the answer"):
            await server.receive_some()
    assert trio.current_time() <= 2


# -- peers -------------------------------------------------------------------------------------------------------------


async def listening(peers: PeerNursery) -> int:
    listeners = await trio.open_tcp_listeners(0, host=LOOPBACK)
    await peers.listen_on(*(WebSocketListener(one) for one in listeners))
    return int(listeners[0].socket.getsockname()[1])


async def test_peers_over_loopback() -> None:
    with trio.fail_after(60):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_peer_nursery(make_manager(1), dial=dial_websocket) as near,
            far.events() as events,
        ):
            to_far = await near.connect(NodeAddress(identity(2), LOOPBACK, await listening(far)))
            event = await anext(events)
            assert isinstance(event, PeerConnected)
            to_near = event.peer
            assert to_near.node_id == identity(1)
            assert isinstance(to_near.address, IPv4Address)
            assert to_near.address.host == LOOPBACK
            async with to_far.subscribe(Note) as at_near, to_near.subscribe(Note) as at_far:
                for number in range(20):
                    note = Note(payload=random.Random(number).randbytes(65_533))
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(to_far.send, note)
                        nursery.start_soon(to_near.send, note)
                        assert await anext(at_near) == note
                        assert await anext(at_far) == note
            assert await to_far.ping(65_531) > 0
            assert await to_near.ping() > 0
            await to_far.disconnect("that was all")
            assert "that was all" in (await to_near.wait_closed()).message


async def test_who_stalls_in_the_handshake_delays_nobody(autojump_clock: trio.testing.MockClock) -> None:
    """Over memory: under a clock that jumps, sockets would be too slow."""
    listener = _MemoryListener()
    async with (
        open_peer_nursery(make_manager(2), handshake_deadline=7) as far,
        open_peer_nursery(make_manager(1), dial=listener.dial) as near,
    ):
        await far.listen_on(WebSocketListener(listener))
        silent, slow = await listener.connect(), await listener.connect()
        await slow.send_all(REQUEST[:100])
        peer = await near.connect(NodeAddress(identity(2), "node.example", 9736))
        await peer.ping()
        began = trio.current_time()
        assert began < 1
        for stranger in (silent, slow):
            assert await stranger.receive_some() == b""
        assert 6 <= trio.current_time() <= 8
        assert far.statistics().handshake_failures[DisconnectCode.HANDSHAKE_TIMEOUT] == 2
        await peer.ping()


async def test_who_is_no_websocket_fails_the_dial() -> None:
    with trio.fail_after(60):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_peer_nursery(make_manager(1), dial=dial_websocket) as near,
        ):
            listeners = await far.listen(0, host=LOOPBACK)
            port = listeners[0].socket.getsockname()[1]
            with pytest.raises(ConnectError) as refused:
                await near.connect(NodeAddress(identity(2), LOOPBACK, port))
            assert refused.value.reason.code is DisconnectCode.TCP_FAILED
            assert "WebSocket" in refused.value.reason.message


async def test_a_browser_that_comes_for_a_page_gets_an_answer() -> None:
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(2)) as far:
            stream = await trio.open_tcp_stream(LOOPBACK, await listening(far))
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
            answer = b""
            while more := await stream.receive_some():
                answer += more
            assert answer.startswith(b"HTTP/1.1 426 ")
            assert b"Lightning" in answer
            await stream.aclose()
            await until(lambda: not far.statistics().strangers)


async def test_no_request_ends_a_node() -> None:
    """Whatever the libraries below raise over the text of a stranger, it is the stranger's end alone."""
    with trio.fail_after(60):
        async with open_peer_nursery(make_manager(2)) as far:
            port = await listening(far)
            for request, status, _ in WITHOUT.values():
                stream = await trio.open_tcp_stream(LOOPBACK, port)
                await stream.send_all(request[: MAX_HEAD + 1])
                assert (await stream.receive_some()).startswith(b"HTTP/1.1 %d " % status)
                await trio.aclose_forcefully(stream)


async def test_a_dial_says_what_it_wants() -> None:
    asked: list[bytes] = []

    async def dial(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve_raw, theirs, noting(asked), 9)
        return ours

    async with trio.open_nursery() as nursery:
        for host in ("node.example", "fe80::1%eth0", "1.2.3.4"):
            await (await dial_websocket(host, 9736, dial=dial)).receive_some()
    assert [one.split(b"\r\n")[1] for one in asked] == [
        b"Host: node.example:9736",
        b"Host: [fe80::1]:9736",
        b"Host: 1.2.3.4:9736",
    ]


ONION = "p53lf57qovyuvwsc6xnrppyply3vtqm7l6pcobkmyqsiofyeznfu5uqd.onion"


@pytest.mark.parametrize("host", [ONION, f"{ONION}.", ONION.upper(), "x.onion"])
async def test_dns_hears_of_no_onion(host: str) -> None:
    class Resolver(trio.abc.HostnameResolver):
        async def getaddrinfo(self, *_: object, **__: object) -> NoReturn:
            raise AssertionError("asked the resolver")

        getnameinfo = getaddrinfo

    trio.socket.set_custom_hostname_resolver(Resolver())
    with pytest.raises(OSError, match="only reached through a proxy"):
        await dial_websocket(host, 9735)
    async with open_peer_nursery(make_manager(1), dial=dial_websocket) as near:
        if host != "x.onion":
            with pytest.raises(ConnectError, match="only reached through a proxy"):
                await near.connect(NodeAddress(identity(2), host))

    # Whoever opens streams himself knows how.
    async def dial(host: str, port: int) -> NoReturn:
        raise OSError(f"through a proxy to {host}")

    with pytest.raises(OSError, match="through a proxy to"):
        await dial_websocket(host, 9735, dial=dial)


class _MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Streams in memory, to whoever accepts."""

    def __init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[trio.abc.Stream](10)

    async def connect(self) -> Transport:
        ours, theirs = trio.testing.memory_stream_pair()
        await self._in.send(theirs)
        return ours

    async def dial(self, host: str, port: int) -> trio.abc.Stream:
        return await connect_websocket(await self.connect(), f"{host}:{port}")

    async def accept(self) -> trio.abc.Stream:
        return await self._out.receive()

    async def aclose(self) -> None:
        self._out.close()
        await trio.lowlevel.checkpoint()
