"""Lightning through WebSockets: as a stream like others, with every wrong thing a client can do, and peers over it."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager
from triolight import ConnectError, DisconnectCode, NodeAddress, open_peer_nursery
from triolight.websocket import ANSWER_SECONDS, FRAME_BYTES, WebSocketListener, WebSocketStream, dial_websocket

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="
REQUEST = (
    b"GET /any HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\n\r\n"
)


async def pair() -> tuple[WebSocketStream, WebSocketStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    client, server = WebSocketStream(ours, host="a.example"), WebSocketStream(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.shake_hands)
        nursery.start_soon(server.shake_hands)
    return client, server


async def clogged_pair() -> tuple[WebSocketStream, WebSocketStream]:
    ours, theirs = trio.testing.lockstep_stream_pair()
    client, server = WebSocketStream(ours, host="a.example"), WebSocketStream(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.shake_hands)
        nursery.start_soon(server.shake_hands)
    return client, server


async def test_trios_own_checks_of_streams(autojump_clock: trio.testing.MockClock) -> None:
    await trio.testing.check_two_way_stream(pair, clogged_pair)


@pytest.mark.parametrize("size", [1, 2, 7, 130])
async def test_any_segmentation(size: int) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(theirs)

    async def dribble() -> None:
        for at in range(0, len(REQUEST), size):
            await ours.send_all(REQUEST[at : at + size])
        answers.append(bytes(await ours.receive_some()))  # until it has come, a client has nothing more to say
        frames = masked(0x02, b"hel") + masked(0x89, b"are you there") + masked(0x80, b"lo")
        for at in range(0, len(frames), size):
            await ours.send_all(frames[at : at + size])

    answers: list[bytes] = []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(dribble)
        heard = b""
        while len(heard) < 5:
            heard += await server.receive_some(2)
        assert heard == b"hello"
    assert answers[0].startswith(b"HTTP/1.1 101")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in answers[0]  # RFC 6455's own example
    assert bytes(await ours.receive_some()) == b"\x8a\x0dare you there"


def masked(first: int, payload: bytes) -> bytes:
    return bytes((first, 0x80 | len(payload), 0, 0, 0, 0)) + payload


async def open_server() -> tuple[WebSocketStream, trio.abc.Stream]:
    """A server whose client has shaken hands by hand."""
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(theirs)
    await ours.send_all(REQUEST)
    await server.shake_hands()
    assert (await ours.receive_some()).startswith(b"HTTP/1.1 101")
    return server, ours


@pytest.mark.parametrize(
    "request_",
    [
        b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        REQUEST.replace(b"13", b"99"),
        REQUEST.replace(b"Sec-WebSocket-Key: " + KEY, b"X: y"),
        b"\x00" * 50 + b"\r\n\r\n",
        b"\x16\x03\x01 TLS\r\n\r\n",
        b"GET /" + b"a" * 200_000,
    ],
)
async def test_what_is_no_websocket_is_refused(request_: bytes) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    server = WebSocketStream(theirs)
    await ours.send_all(request_)
    with pytest.raises(trio.BrokenResourceError, match="no WebSocket"):
        await server.receive_some()
    assert (await ours.receive_some()).startswith(b"HTTP/1.1 400")
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")
    await server.aclose()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "404"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "no WebSocket"),
        (b"\x00\x01\x02\x03" * 30, "no WebSocket"),
        (b"", "hung up"),
    ],
)
async def test_servers_that_are_none(answer: bytes, words: str) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with pytest.raises(OSError, match=words):
            await dial_websocket("127.0.0.1", port)
        async with open_peer_nursery(make_manager(1), dial=dial_websocket) as peers:
            with pytest.raises(ConnectError) as error:
                await peers.connect(NodeAddress(identity(2), "127.0.0.1", port))
            assert error.value.reason.code is DisconnectCode.TCP_FAILED
        nursery.cancel_scope.cancel()


async def test_text_is_refused() -> None:
    server, client = await open_server()
    await client.send_all(masked(0x81, b"text"))
    with pytest.raises(trio.BrokenResourceError, match="text"):
        await server.receive_some()
    assert bytes(await client.receive_some()) == b"\x88\x02\x03\xeb"  # close, 1003


async def test_frames_that_are_none() -> None:
    server, client = await open_server()
    await client.send_all(b"\xff\xff\xff\xff")
    assert await server.receive_some() == b""
    assert bytes(await client.receive_some())[:4][2:] == b"\x03\xea"  # close, 1002
    with pytest.raises(trio.BrokenResourceError):
        await server.send_all(b"x")


async def test_a_close_is_an_end_and_is_answered() -> None:
    server, client = await open_server()
    await client.send_all(masked(0x82, b"last") + masked(0x88, b"\x03\xe8"))
    assert await server.receive_some() == b"last"
    assert await server.receive_some() == b""
    assert await server.receive_some() == b""
    assert bytes(await client.receive_some()) == b"\x88\x02\x03\xe8"
    with pytest.raises(trio.BrokenResourceError, match="closed"):
        await server.send_all(b"too late")
    await server.aclose()
    await server.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await server.receive_some()


async def test_one_that_does_not_read_its_pongs_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.lockstep_stream_pair()
    server = WebSocketStream(theirs)

    async def flood() -> None:
        await ours.send_all(REQUEST)
        assert (await ours.receive_some(10_000)).startswith(b"HTTP/1.1 101")
        with pytest.raises((trio.BrokenResourceError, trio.ClosedResourceError)):
            while True:
                await ours.send_all(masked(0x89, b"ping"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        with pytest.raises(trio.BrokenResourceError, match="does not take its answers"):
            await server.receive_some()
        assert trio.current_time() == pytest.approx(ANSWER_SECONDS)
        await server.aclose()


async def test_long_messages_go_in_frames_of_a_bounded_size() -> None:
    client, server = await pair()
    data = bytes(range(256)) * 1000

    async def send() -> None:
        await client.send_all(data)
        await client.aclose()

    heard = b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        while more := await server.receive_some():
            heard += more
    assert heard == data
    assert len(data) > 3 * FRAME_BYTES


async def test_peers_over_websockets() -> None:
    with trio.fail_after(20):
        async with (
            open_peer_nursery(make_manager(2)) as far,
            open_peer_nursery(make_manager(1), dial=dial_websocket) as near,
            far.subscribe(Note) as notes,
        ):
            listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
            await far.listen_on(*map(WebSocketListener, listeners))
            port = listeners[0].socket.getsockname()[1]
            # Strangers that stall in the WebSocket's own handshake are in nobody's way.
            async with await trio.open_tcp_stream("127.0.0.1", port) as stalled:
                await stalled.send_all(REQUEST[:40])
                peer = await near.connect(NodeAddress(identity(2), "127.0.0.1", port))
                back = far.peers[identity(1)]
                assert str(back.address).startswith("IPv4Address(host='127.0.0.1'")
                for number in range(20):
                    await peer.send(Note(payload=bytes([number]) * 65_533))
                    _, note = await notes.__anext__()
                    assert note == Note(payload=bytes([number]) * 65_533)
                assert await peer.ping(65_531, bytes(65_529)) < 10
                assert await back.ping() < 10
                await peer.disconnect("enough of it")
                reason = await back.wait_closed()
                assert "enough of it" in reason.message


async def test_a_stranger_that_stalls_is_ended_at_its_deadline(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.05
    async with open_peer_nursery(make_manager(1)) as peers:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await peers.listen_on(*map(WebSocketListener, listeners))
        async with await trio.open_tcp_stream("127.0.0.1", listeners[0].socket.getsockname()[1]) as stalled:
            await stalled.send_all(REQUEST[:40])
            try:
                assert await stalled.receive_some() == b""
            except trio.BrokenResourceError:
                pass
            assert trio.current_time() < 17
        assert peers.statistics().handshake_failures == {"HANDSHAKE_TIMEOUT": 1}


async def test_a_stream_without_a_socket() -> None:
    client, server = await pair()
    assert not hasattr(client, "socket")
    assert "WebSocketStream on" in repr(server)
    with pytest.raises(ValueError, match="max_bytes"):
        await client.receive_some(0)
