"""What a Lightning node must do when it is spoken to, over TCP, with a client that shares no code with ours.

The table is what LDK 0.1.2 was seen to do, row by row; where we do better (a reason before each end, tolerance where
the BOLTs ask for it) the row says so by what it expects.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
import trio.testing

from tests.support import ListLogger, Note, identity, make_manager, port_of, secret
from tests.support.independent import (
    Client,
    Closed,
    Noise,
    accept,
    dial,
    error,
    features,
    init,
    ping,
    pong,
    public,
    tlv,
    u16,
    warning,
)
from tests.support.inside import links_of
from triolight import (
    ChannelMessageHandler,
    ConnectError,
    DisconnectCode,
    DisconnectReason,
    ErroringMessageHandler,
    NodeAddress,
    PeerConnected,
    PeerDisconnected,
    PeerNursery,
    Side,
    open_peer_nursery,
)
from triolight.messages import Error, Warning

ZERO = bytes(32)
ONE = bytes(31) + b"\x01"
OTHER_CHAIN = b"\x77" * 32
OUR_CHAIN = bytes.fromhex("06226e46111a0b59caaf126043eb5bbf28c34f3a5e332a1fc7b2b73cf188910f")


class Recording(ErroringMessageHandler):
    """What LDK's ErroringMessageHandler does, and a list of the errors that came."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[Error] = []
        self.connected: list[bytes] = []
        self.disconnected: list[bytes] = []

    def handle_error(self, node_id: bytes, message: Error) -> None:
        self.errors.append(message)

    def peer_connected(self, node_id: bytes, init: object, inbound: bool) -> None:
        self.connected.append(node_id)

    def peer_disconnected(self, node_id: bytes) -> None:
        self.disconnected.append(node_id)


@dataclass
class Node:
    """Our node, listening."""

    peers: PeerNursery
    port: int
    node_id: bytes
    chan: Recording
    ended: list[DisconnectReason]

    async def dial(self, sent_init: bytes | None = None, **options: object) -> tuple[Client, bytes]:
        return await dial(self.port, self.node_id, init=init() if sent_init is None else sent_init, **options)  # type: ignore[arg-type]


@asynccontextmanager
async def node(**options: object) -> AsyncIterator[Node]:
    chan = Recording()
    manager = make_manager(1, chan=chan, networks=(OUR_CHAIN,))
    with trio.fail_after(30):
        async with open_peer_nursery(manager, **options) as peers:  # type: ignore[arg-type]
            ended: list[DisconnectReason] = []

            async def watch(task_status: trio.TaskStatus[None]) -> None:
                async with peers.events() as events:
                    task_status.started()
                    async for event in events:
                        if isinstance(event, PeerDisconnected):
                            ended.append(event.reason)

            async with trio.open_nursery() as nursery:
                await nursery.start(watch)
                yield Node(peers, await port_of(peers), identity(1), chan, ended)
                nursery.cancel_scope.cancel()


async def closes_with(client: Client, words: str) -> None:
    """It says why, in a warning (or error) that is its last message, then FIN."""
    said, reset = await client.until_closed()
    assert said, "closed without a word"
    assert int.from_bytes(said[-1][:2], "big") in (1, 17)
    assert words.encode() in said[-1], said[-1]
    assert not reset


ALIVE = "alive"


# What is sent after both Inits, and: "alive", or words of the reason that comes before the end.
AFTER_INIT: list[tuple[str, list[bytes], str]] = [
    ("unknown odd", [u16(43001) + b"anything"], ALIVE),
    ("unknown odd below 32", [u16(3)], ALIVE),
    ("unknown odd, longest", [u16(43001) + bytes(65533)], ALIVE),
    ("unknown even", [u16(43002)], "43002"),
    ("unknown even below 32", [u16(4)], "type 4"),
    ("a little-endian ping", [b"\x12\x00\x00\x00\x00\x00"], "4608"),
    ("second init", [init()], "second Init"),
    ("empty message", [b""], "0 bytes"),
    ("one byte", [b"\x00"], "1 bytes"),
    ("ping cut short", [u16(18) + b"\0\0\0"], "ping"),
    ("ping longer than it is", [u16(18) + u16(0) + u16(1)], "ping"),
    ("pong longer than it is", [u16(19) + u16(1)], "pong"),
    ("pings that want no pong", [ping(65532), ping(65535)], ALIVE),
    ("ping with an odd extension", [ping(65535) + tlv(1, b"")], ALIVE),
    # BOLT 1 lets a node ignore extensions; we parse each one, as the rule that follows in the same BOLT prefers.
    ("ping with an even extension", [ping(0) + tlv(2, b"")], "TLV type 2"),
    ("pongs that nobody asked for", [pong(), pong(bytes(65531))], ALIVE),
    ("error for all channels", [error(ZERO, b"I am done")], "no answer"),
    ("error for one channel", [error(ONE, b"about one")], ALIVE),
    ("error that is not UTF-8", [error(ONE, b"\xff\xfe")], ALIVE),
    ("error cut short", [error(ONE, b"abc")[:-1]], "error"),
    ("warning for all channels", [warning(ZERO, b"careful")], ALIVE),
    ("warning that is not UTF-8", [warning(ZERO, b"\xff")], ALIVE),
    ("shutdown cut short", [u16(38) + ONE + u16(5) + b"abc"], "shutdown"),
    ("shutdown with an even TLV", [u16(38) + ONE + u16(0) + tlv(2, b"")], "TLV type 2"),
]


@pytest.mark.parametrize(("name", "messages", "outcome"), AFTER_INIT, ids=[row[0] for row in AFTER_INIT])
async def test_after_init(name: str, messages: list[bytes], outcome: str) -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(*messages)
        if outcome == ALIVE:
            assert await client.alive()
            assert client.others == []
            assert ours.ended == []
        elif outcome == "no answer":
            assert await client.until_closed() == ([], False)
            assert ours.ended[0].code is DisconnectCode.PEER_ERROR
        else:
            await closes_with(client, outcome)
            assert ours.ended[0].by is Side.US
            assert outcome in ours.ended[0].message
        await client.stream.aclose()
    assert ours.chan.connected == ours.chan.disconnected == [public(b"\x21" * 32)]


# The Init that we get, and: "alive", or words of the reason.
INITS: list[tuple[str, bytes, str]] = [
    ("nothing", init(), ALIVE),
    ("unknown even bit", init(features(200)), "bit 200"),
    ("unknown even bit, far up", init(features(40000)), "bit 40000"),
    ("unknown odd bit", init(features(201)), ALIVE),
    ("unknown odd bit, far up", init(features(40001)), ALIVE),
    # LDK refuses each even bit that it does not offer; we refuse those that nobody knows.
    ("a known even bit that we do not offer", init(features(6)), ALIVE),
    ("a known even bit that we offer", init(features(8)), ALIVE),
    ("assumed even bits", init(bytes.fromhex("100000005101")), ALIVE),
    ("unknown even bit in globalfeatures", init(b"", features(200)), "bit 200"),
    ("8191 zero bytes", init(bytes(8191)), ALIVE),
    ("zeroconf without scid_alias", init(features(51)), "option_scid_alias"),
    ("zeroconf with scid_alias", init(features(51, 47)), ALIVE),
    ("simple_close without anysegwit", init(features(61)), "option_shutdown_anysegwit"),
    ("both bits of a pair", init(features(6, 7)), ALIVE),
    ("networks: another chain", init(tlvs=tlv(1, OTHER_CHAIN)), "network"),
    ("networks: ours among them", init(tlvs=tlv(1, OTHER_CHAIN + OUR_CHAIN)), ALIVE),
    ("networks: none", init(tlvs=tlv(1, b"")), ALIVE),
    ("networks: 33 bytes", init(tlvs=tlv(1, OUR_CHAIN + b"\0")), "networks"),
    ("networks: 31 bytes", init(tlvs=tlv(1, OUR_CHAIN[:31])), "networks"),
    ("remote_addr of an unknown type", init(tlvs=tlv(3, b"\x09abc")), ALIVE),
    ("remote_addr cut short", init(tlvs=tlv(3, b"\x01\x02")), ALIVE),
    ("unknown even TLV", init(tlvs=tlv(2, b"")), "TLV type 2"),
    ("unknown odd TLV", init(tlvs=tlv(5, b"x" * 60000)), ALIVE),
    ("TLVs out of order", init(tlvs=tlv(5, b"") + tlv(3, b"\x01")), "increase"),
    ("the same TLV twice", init(tlvs=tlv(5, b"") + tlv(5, b"")), "increase"),
    ("TLV longer than the message", init(tlvs=b"\x05\x05abc"), "3 are left"),
    ("TLV length not minimal", init(tlvs=b"\x0f\xfd\x00\x01\x00"), "shortest"),
    ("cut short", init(features(201))[:-1], "init.features"),
]


@pytest.mark.parametrize(("name", "sent", "outcome"), INITS, ids=[row[0] for row in INITS])
async def test_init(name: str, sent: bytes, outcome: str) -> None:
    async with node() as ours:
        client, _ = await ours.dial(sent)
        if outcome == ALIVE:
            assert await client.alive()
        else:
            await closes_with(client, outcome)
            assert ours.chan.connected == []
        await client.stream.aclose()
    assert ours.chan.connected == ours.chan.disconnected


async def test_our_init_on_the_wire() -> None:
    async with node() as ours:
        client, theirs = await ours.dial()
        # Loopback is not a public address: no remote_addr.
        assert theirs.hex() == "001000022222000708a0002a0aa222" + "0120" + OUR_CHAIN.hex()
        await client.stream.aclose()


@pytest.mark.parametrize("size", [0, 1, 5, 1000, 65531])
async def test_pong_sizes(size: int) -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        assert await client.ping(size, bytes(7)) == bytes(size)
        await client.stream.aclose()


async def test_largest_ping() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        assert await client.ping(3, bytes(65529)) == bytes(3)
        await client.stream.aclose()


async def test_nothing_but_init_before_init(autojump_clock: trio.testing.MockClock) -> None:
    """Silent after act three: exactly one message comes, and after the deadline the end, without a word."""
    autojump_clock.autojump_threshold = 0.05
    async with open_peer_nursery(make_manager(1)) as peers:
        client, theirs = await dial(await port_of(peers), identity(1))
        assert theirs[:2] == u16(16)
        began = trio.current_time()
        assert (await client.until_closed())[0] == []
        assert 14 <= trio.current_time() - began <= 16
        await client.stream.aclose()


@pytest.mark.parametrize("first", [ping(0), u16(43001), pong(), error(ZERO, b"x"), u16(43002)])
async def test_a_first_message_that_is_not_init_closes_silently(first: bytes) -> None:
    async with node() as ours:
        try:
            client, theirs = await ours.dial(first)
        except Closed:
            pass  # it came in one piece with act three, before our Init had left
        else:
            assert theirs[:2] == u16(16)
            assert (await client.until_closed())[0] == []
            await client.stream.aclose()
    assert ours.chan.connected == []


async def test_act_bytes_one_by_one_and_all_glued_together() -> None:
    async with node() as ours:
        client, _ = await ours.dial(dribble=True)
        assert await client.alive()
        await client.stream.aclose()
        client, _ = await ours.dial(glue=ping(77), secret=b"\x31" * 32)
        assert (await client.receive_type(19))[4:] == bytes(77)
        assert await client.alive()
        await client.stream.aclose()


async def test_messages_one_byte_at_a_time() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.raw(client.ours.frame(ping(300, bytes(50))), dribble=True)
        assert (await client.receive_type(19))[4:] == bytes(300)
        await client.stream.aclose()


ACT_FAULTS: list[tuple[int, int, int]] = [
    # act, byte, what to xor it with
    *[(1, at, flip) for at, flip in ((0, 1), (0, 0xFF), (1, 1), (1, 4), (10, 1), (33, 0x80), (34, 1), (49, 1))],
    *[(3, at, flip) for at, flip in ((0, 1), (1, 1), (30, 1), (49, 1), (50, 1), (65, 0x80))],
]


@pytest.mark.parametrize(("act", "at", "flip"), ACT_FAULTS)
async def test_a_fault_in_an_act_closes_without_a_byte(act: int, at: int, flip: int) -> None:
    async with node() as ours:
        client = Client(await trio.open_tcp_stream("127.0.0.1", ours.port))
        noise = Noise(b"\x21" * 32, b"\x22" * 32, ours.node_id)
        one = bytearray(noise.send_point(ours.node_id))
        if act == 1:
            one[at] ^= flip
        await client.raw(bytes(one))
        if act == 3:
            noise.receive_point(await client.exactly(50), b"\x22" * 32)
            three = bytearray(noise.act_three())
            three[at] ^= flip
            await client.raw(bytes(three))
        with pytest.raises(Closed):
            await client.exactly(1)
        await client.stream.aclose()
        # Nobody else is disturbed.
        other, _ = await ours.dial()
        assert await other.alive()
        await other.stream.aclose()


async def test_act_one_for_another_node_closes_without_a_byte() -> None:
    async with node() as ours:
        client = Client(await trio.open_tcp_stream("127.0.0.1", ours.port))
        await client.raw(Noise(b"\x21" * 32, b"\x22" * 32, identity(9)).send_point(identity(9)))
        with pytest.raises(Closed):
            await client.exactly(1)
        await client.stream.aclose()


@pytest.mark.parametrize("at", [0, 17, 18, -1])
async def test_a_changed_packet_is_fatal_and_not_acted_on(at: int) -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        packet = bytearray(client.ours.frame(error(ONE, b"never")))
        packet[at] ^= 1
        await client.raw(bytes(packet) + client.ours.frame(ping(5)))
        await closes_with(client, "authentication")
        assert ours.chan.errors == []
        await client.stream.aclose()


async def test_a_replayed_packet_is_fatal() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        packet = client.ours.frame(ping(5))
        await client.raw(packet + packet)
        await closes_with(client, "authentication")
        await client.stream.aclose()


async def test_rotation_both_ways_out_of_step() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(*[u16(43001)] * 700)
        for number in range(1664):
            assert await client.ping(number % 7) == bytes(number % 7)
        async with ours.peers.peers[public(b"\x21" * 32)].subscribe(Note) as inbox:
            await client.send(u16(37913) + b"after it all")
            assert await inbox.__anext__() == Note(payload=b"after it all")
        await client.stream.aclose()


async def test_errors_reach_the_handler_as_bytes() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(error(ONE, b"\xff\xfe\x00"), error(ZERO, b"the end\r\n"))
        await client.until_closed()
        assert [one.data for one in ours.chan.errors] == [b"\xff\xfe\x00", b"the end\r\n"]
        assert ours.ended[0].message == "the end\\r\\n"
        await client.stream.aclose()


async def test_channel_messages_are_answered_as_the_handler_says() -> None:
    point = public(b"\x31" * 32)
    open_channel = u16(32) + OUR_CHAIN + b"\x55" * 32 + bytes(8 * 6 + 4 + 2 + 2) + point * 6 + b"\x01"
    reestablish = u16(136) + b"\x66" * 32 + bytes(16 + 32) + point
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(open_channel, reestablish)
        for channel_id in (b"\x55" * 32, b"\x66" * 32):
            answer = await client.receive_type(17)
            assert answer[2:34] == channel_id
        assert await client.alive()
        await client.stream.aclose()
    # The placeholder refuses new channels, and leaves living ones alone.
    async with open_peer_nursery(make_manager(1, chan=ChannelMessageHandler())) as peers:
        client, _ = await dial(await port_of(peers), identity(1), init=init())
        await client.send(reestablish, open_channel)
        assert (await client.receive_type(17))[2:34] == b"\x55" * 32
        assert await client.alive()
        assert client.others == []
        await client.stream.aclose()


BAD_GOSSIP: list[tuple[str, bytes, str]] = [
    *[(f"{type} cut short", u16(type) + bytes(20), f"type {type}") for type in (256, 257, 258, 261, 262, 263, 264)],
    ("261 with zlib", u16(261) + OUR_CHAIN + u16(3) + b"\x01ab", "zlib"),
    ("264 with zlib", u16(264) + OUR_CHAIN + bytes(9) + u16(3) + b"\x01ab", "zlib"),
]


@pytest.mark.parametrize(("name", "sent", "words"), BAD_GOSSIP, ids=[row[0] for row in BAD_GOSSIP])
async def test_bad_gossip_is_soft(name: str, sent: bytes, words: str) -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(sent)
        answer = await client.receive_type(1)
        assert words.encode() in answer
        assert await client.alive()
        await client.stream.aclose()


async def test_500_half_open_sockets_are_gone_after_the_deadline(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.2
    async with open_peer_nursery(make_manager(1), ping_interval=1000) as peers:
        port = await port_of(peers)
        live, _ = await dial(port, identity(1), init=init())
        strangers = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(500)]
        began = trio.current_time()
        for stranger in strangers:
            assert await stranger.receive_some(1) == b""
            await stranger.aclose()
        assert trio.current_time() - began < 16
        assert await live.alive()
        assert len(links_of(peers)) == 1
        await live.stream.aclose()


async def test_a_silent_peer_and_a_chatty_one(autojump_clock: trio.testing.MockClock) -> None:
    autojump_clock.autojump_threshold = 0.02
    async with open_peer_nursery(make_manager(1)) as peers:
        port = await port_of(peers)
        silent, _ = await dial(port, identity(1), init=init())
        began = trio.current_time()
        assert await silent.receive() == ping(0, bytes(64))
        assert 29 <= trio.current_time() - began <= 31
        await closes_with(silent, "sign of life")
        assert 59 <= trio.current_time() - began <= 61
        await silent.stream.aclose()
        chatty, _ = await dial(port, identity(1), init=init())
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def chat() -> None:
                while True:
                    await chatty.send(u16(43001))
                    await trio.sleep(7)

            nursery.start_soon(chat)
            await closes_with(chatty, "no pong")
            nursery.cancel_scope.cancel()
        assert 89 <= trio.current_time() - began <= 91
        await chatty.stream.aclose()


async def test_the_log_shows_no_control_characters() -> None:
    logger = ListLogger()
    with trio.fail_after(10):
        async with open_peer_nursery(make_manager(1, logger=logger)) as peers:
            client, _ = await dial(await port_of(peers), identity(1), init=init())
            await client.send(warning(ZERO, b"\x1b[31mred\r\nForged line" + bytes(60_000)))
            assert await client.alive()
            await client.stream.aclose()
    lines = [str(record) for record in logger.records if "warning" in str(record)]
    assert lines
    assert all(line.isascii() and line.isprintable() and len(line) < 1000 for line in lines)
    assert "\\x1b[31mred\\r\\nForged line" in lines[0]


# -- the other way round: we dial ------------------------------------------------------------------------------------


async def dialled(
    play: Callable[[trio.SocketListener], Awaitable[None]],
) -> ConnectError | None:
    """Dials a listener that `play` serves. The ConnectError, or None if it connected."""
    with trio.fail_after(20):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        found: ConnectError | None = None
        async with listeners[0], open_peer_nursery(make_manager(1)) as peers, trio.open_nursery() as nursery:
            nursery.start_soon(play, listeners[0])
            try:
                await peers.connect(NodeAddress(identity(7), "127.0.0.1", port))
            except ConnectError as error:
                found = error
    return found


async def test_we_dial_a_good_responder() -> None:
    async def play(listener: trio.SocketListener) -> None:
        client, initiator, their_init = await accept(listener, secret(7), init())
        assert initiator == identity(1)
        assert their_init[:2] == u16(16)
        assert await client.alive()
        await client.stream.aclose()

    with trio.fail_after(10):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        async with (
            open_peer_nursery(make_manager(1)) as peers,
            peers.events() as events,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(play, listeners[0])
            peer = await peers.connect(f"{identity(7).hex()}@127.0.0.1:{port}")
            assert await events.__anext__() == PeerConnected(peer)
            assert (await peer.wait_closed()).code is DisconnectCode.PEER_CLOSED
        await listeners[0].aclose()


@pytest.mark.parametrize("at", [0, 1, 20, 34, 49])
async def test_a_fault_in_act_two_and_nothing_comes_after_act_one(at: int) -> None:
    received = b""

    async def play(listener: trio.SocketListener) -> None:
        nonlocal received
        client = Client(await listener.accept())
        noise = Noise(secret(7), b"\x23" * 32, identity(7))
        noise.receive_point(await client.exactly(50), secret(7))
        two = bytearray(noise.send_point(noise.their_ephemeral))
        two[at] ^= 1
        await client.raw(bytes(two))
        try:
            received += await client.exactly(1)
        except Closed:
            pass
        await client.stream.aclose()

    found = await dialled(play)
    assert found is not None
    assert found.reason.code is DisconnectCode.ACT_TWO_FAILED
    assert found.init is None
    assert received == b""


async def test_phases_of_a_failed_dial() -> None:
    async def hang_up(listener: trio.SocketListener) -> None:
        stream = await listener.accept()
        await stream.aclose()

    async def hang_up_in_act_two(listener: trio.SocketListener) -> None:
        client = Client(await listener.accept())
        await client.exactly(50)
        await client.raw(bytes(49))
        await client.stream.aclose()

    async def full(listener: trio.SocketListener) -> None:
        client, _, _ = await accept(listener, secret(7), None)
        await client.stream.aclose()

    async def demanding(listener: trio.SocketListener) -> None:
        client, _, _ = await accept(listener, secret(7), init(features(200)))
        await client.until_closed()
        await client.stream.aclose()

    for play, code in (
        (hang_up, DisconnectCode.CLOSED_IN_HANDSHAKE),
        (hang_up_in_act_two, DisconnectCode.CLOSED_IN_HANDSHAKE),
        (full, DisconnectCode.CLOSED_BEFORE_INIT),
        (demanding, DisconnectCode.INIT_REFUSED),
    ):
        found = await dialled(play)
        assert found is not None
        assert found.reason.code is code
        assert (found.init is not None) == (code is DisconnectCode.INIT_REFUSED)
    async with open_peer_nursery(make_manager(1)) as peers:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        await listeners[0].aclose()
        with pytest.raises(ConnectError, match=r"TCP_FAILED.*refused"):
            await peers.connect(NodeAddress(identity(7), "127.0.0.1", port))
        with pytest.raises(ValueError, match="node id"):
            await peers.connect("nobody@127.0.0.1")


async def test_warnings_of_ours_are_messages_that_we_would_accept() -> None:
    async with node() as ours:
        client, _ = await ours.dial()
        await client.send(u16(43002))
        said, _ = await client.until_closed()
        assert Warning.decode(said[-1]).data.isascii()
        await client.stream.aclose()
