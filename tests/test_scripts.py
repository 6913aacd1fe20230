"""What a node does to a peer that follows a script: BOLT 1 and BOLT 7, one rule a scenario, in virtual time.

The subjects are those of the protocol's own test suite for nodes, as far as they concern the peer layer and gossip
messages; each begins with what the rule says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.support import Note, identity, make_manager
from triolight import ChannelMessageHandler, Features, PeerNursery, RoutingMessageHandler, gossip, open_peer_nursery
from triolight.keys import SecretKey
from triolight.messages import (
    ALL_CHANNELS,
    ChannelAnnouncement,
    ChannelUpdate,
    Error,
    GossipTimestampFilter,
    Init,
    InitTlvs,
    Message,
    NodeAnnouncement,
    OpenChannel,
    Ping,
    Pong,
    QueryChannelRange,
    QueryShortChannelIds,
    ReplyChannelRange,
    ReplyShortChannelIdsEnd,
    UnknownMessage,
    Warning,
)
from triolight.testing import Deed, ScriptedPeer, ScriptFailed, SimulatedNetwork, scripted_peer
from triolight.testing.scripted import Corruption
from triolight.wire import ShortChannelId

CHAIN = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
ALIVE = Ping(num_pong_bytes=7)
KEYS = [SecretKey(bytes([number]) * 32) for number in range(1, 5)]


class Route(RoutingMessageHandler):
    """Takes gossip; offers gossip_queries if it is told to."""

    def __init__(self, *, queries: bool = False) -> None:
        super().__init__()
        self.queries = queries
        self.seen: list[Message] = []

    def provided_init_features(self, node_id: bytes) -> Features:
        return Features.named("gossip_queries") if self.queries else Features()

    def handle_channel_announcement(self, node_id: bytes, message: ChannelAnnouncement) -> None:
        self.seen.append(message)

    def handle_channel_update(self, node_id: bytes, message: ChannelUpdate) -> None:
        self.seen.append(message)

    def handle_node_announcement(self, node_id: bytes, message: NodeAnnouncement) -> None:
        self.seen.append(message)

    def handle_gossip_timestamp_filter(self, node_id: bytes, message: GossipTimestampFilter) -> None:
        self.seen.append(message)


@asynccontextmanager
async def node(route: Route | None = None, **options: Any) -> AsyncIterator[PeerNursery]:
    async with open_peer_nursery(make_manager(1, route=route or Route(), **options)) as peers:
        yield peers


@asynccontextmanager
async def script(route: Route | None = None, **options: Any) -> AsyncIterator[ScriptedPeer]:
    """A script that has exchanged Inits with a node, and does not look at its keepalive."""
    async with node(route, **options) as peers, scripted_peer(peers) as peer:
        peer.ignoring = (Ping,)
        await peer.exchange_inits()
        yield peer


async def lives(peer: ScriptedPeer) -> None:
    """The connection goes on: a ping is answered, and nothing else comes before."""
    await peer.send(ALIVE)
    await peer.expect(Pong(ignored=bytes(7)))


# -- BOLT 1: Init ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialled", [False, True])
async def test_init_comes_first_and_of_itself(dialled: bool, autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers, dialled=dialled) as peer:
        first = await peer.receive()
        assert isinstance(first, Init)
        # And nothing more before ours.
        await peer.expect_silence(10)
        await peer.send(Init())
        await lives(peer)


async def test_anything_but_init_first_is_the_end_without_a_word(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(ALIVE)
        await peer.expect_closed(reason="")


@pytest.mark.parametrize("field", ["features", "globalfeatures"])
async def test_an_unknown_odd_feature_is_fine(field: str, autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(Init(**{field: (1 << 101).to_bytes(13, "big")}))  # type: ignore[arg-type]
        await lives(peer)


@pytest.mark.parametrize("field", ["features", "globalfeatures"])
async def test_an_unknown_even_feature_is_not(field: str, autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(Init(**{field: (1 << 100).to_bytes(13, "big")}))  # type: ignore[arg-type]
        await peer.expect_closed(reason="100")


async def test_a_feature_without_what_it_depends_on(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(Init(features=Features.named("option_zeroconf").to_bytes()))
        await peer.expect_closed(reason="option_scid_alias")


async def test_a_chain_of_ours_is_enough(autojump_clock: trio.testing.MockClock) -> None:
    async with node(networks=[CHAIN]) as peers:
        async with scripted_peer(peers) as peer:
            init = await peer.exchange_inits(Init(tlvs=InitTlvs(networks=(bytes(32), CHAIN))))
            assert init.tlvs.networks == (CHAIN,)
            await lives(peer)
        async with scripted_peer(peers, secret=b"\x21" * 32) as peer:
            await peer.exchange_inits(Init(tlvs=InitTlvs(networks=(bytes(32),))))
            await peer.expect_closed(reason="network")


async def test_unknown_records_of_init(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers:
        async with scripted_peer(peers) as peer:
            await peer.expect(Init)
            await peer.send_raw(Init().encode() + bytes.fromhex("fd03e90102"))  # type 1001
            await lives(peer)
        async with scripted_peer(peers, secret=b"\x21" * 32) as peer:
            await peer.expect(Init)
            await peer.send_raw(Init().encode() + bytes.fromhex("fd03e80102"))  # type 1000
            await peer.expect_closed(reason="unknown even TLV type 1000")


async def test_a_second_init(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Init())
        await peer.expect_closed(reason="a second Init")


# -- BOLT 1: messages nobody knows, errors, warnings -------------------------------------------------------------------


async def test_its_ok_to_be_odd(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(UnknownMessage(0x8001, b"whatever"), UnknownMessage(0xFFFF, b""))
        await lives(peer)
        await peer.send(UnknownMessage(0x8002, b"whatever"))
        await peer.expect_closed(reason="type 32770 is even")


async def test_error_for_all_channels_ends_it_and_one_for_another_does_not(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with script() as peer:
        await peer.send(Error(channel_id=b"\x05" * 32, data=b"what channel?"))
        await peer.send(Warning(channel_id=ALL_CHANNELS, data=b"\xff\x00 not text"))
        await lives(peer)
        await peer.send(Error(channel_id=ALL_CHANNELS, data=b"that is all"))
        await peer.expect_closed(reason="")


async def test_a_channel_that_nobody_wants_is_refused_alone(autojump_clock: trio.testing.MockClock) -> None:
    async with script(chan=ChannelMessageHandler()) as peer:
        raw = OpenChannel.type.to_bytes(2, "big") + CHAIN + b"\x07" * 32 + bytes(8 * 6 + 4 + 2 + 2)
        await peer.send_raw(raw + KEYS[0].public_key * 6 + b"\0")
        error = await peer.expect(Error)
        assert error.channel_id == b"\x07" * 32
        await lives(peer)


# -- BOLT 1: ping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 255, 65_531])
async def test_a_pong_has_as_many_bytes_as_were_asked_for(size: int, autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Ping(num_pong_bytes=size, ignored=b"\xff" * 40))
        await peer.expect(Pong(ignored=bytes(size)))


@pytest.mark.parametrize("size", [65_532, 65_535])
async def test_who_asks_for_too_many_gets_none(size: int, autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Ping(num_pong_bytes=size))
        await peer.expect_silence(5)
        await lives(peer)


async def test_who_does_not_answer_ours_is_ended(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        peer.ignoring = ()
        await peer.expect(Ping)
        began = trio.current_time()
        await peer.expect_closed(reason="no sign of life")
        assert trio.current_time() - began == pytest.approx(30, abs=1)


# -- what is no message ------------------------------------------------------------------------------------------------


async def test_a_message_that_is_cut_off(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send_raw(bytes.fromhex("001200"))
        await peer.expect_closed(reason="ping.num_pong_bytes")


@pytest.mark.parametrize("part", ["length", "length tag", "body", "body tag"])
async def test_a_flipped_bit(part: Corruption, autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send_bytes(peer.packet(ALIVE, corrupt=part))
        said = await peer.expect_closed()
        assert isinstance(said[-1], Warning)


async def test_a_packet_that_stops_at_any_byte_is_only_late(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        for at in range(1, 18 + len(ALIVE.encode()) + 16):
            packet = peer.packet(ALIVE)
            await peer.send_bytes(packet[:at])
            await trio.sleep(1)
            await peer.send_bytes(packet[at:])
            await peer.expect(Pong)


@pytest.mark.parametrize("stop", [0, 1, 49, 50, 51, 115])
async def test_a_handshake_that_stops_at_any_byte_ends_at_its_deadline(
    stop: int, autojump_clock: trio.testing.MockClock
) -> None:
    async with node() as peers, scripted_peer(peers, handshake=False) as peer:
        began = trio.current_time()
        one = peer.act_one()
        await peer.send_bytes(one[:stop])
        if stop >= 50:
            three = peer.answer_act(await peer.receive_bytes(50))
            await peer.send_bytes(three[: stop - 50])
        await peer.expect_closed(reason="")
        assert trio.current_time() - began == pytest.approx(15, abs=1)


# -- BOLT 7 ------------------------------------------------------------------------------------------------------------


def a_channel(**changes: Any) -> ChannelAnnouncement:
    plain = ChannelAnnouncement(
        node_signature_1=bytes(64),
        node_signature_2=bytes(64),
        bitcoin_signature_1=bytes(64),
        bitcoin_signature_2=bytes(64),
        features=b"",
        chain_hash=CHAIN,
        short_channel_id=ShortChannelId.of(103, 1, 0),
        node_id_1=KEYS[0].public_key,
        node_id_2=KEYS[1].public_key,
        bitcoin_key_1=KEYS[2].public_key,
        bitcoin_key_2=KEYS[3].public_key,
    )
    return gossip.sign_announcement(plain.replace(**changes), *KEYS)


async def test_gossip_reaches_the_routing_handler_and_is_not_answered(autojump_clock: trio.testing.MockClock) -> None:
    route = Route()
    async with script(route) as peer:
        announcement = a_channel()
        await peer.send(announcement)
        await peer.expect_silence(5)
        assert route.seen == [announcement]
        assert gossip.verify_announcement(announcement)


async def test_gossip_with_something_appended_keeps_it(autojump_clock: trio.testing.MockClock) -> None:
    route = Route()
    async with script(route) as peer:
        announcement = a_channel(extension=bytes.fromhex("fd03e9020102"))
        await peer.send(announcement)
        await lives(peer)
        assert route.seen == [announcement]
        assert gossip.verify_announcement(route.seen[0])  # type: ignore[arg-type]


async def test_gossip_that_cannot_be_read_costs_a_warning_and_no_more(autojump_clock: trio.testing.MockClock) -> None:
    route = Route()
    async with script(route) as peer:
        await peer.send_raw(a_channel().encode()[:-1])
        warning = await peer.expect(Warning)
        assert b"channel_announcement.bitcoin_key_2" in warning.data
        not_a_point = bytearray(a_channel().encode())
        not_a_point[-33] = 0x05
        await peer.send_raw(bytes(not_a_point))
        await peer.expect(Warning)
        await lives(peer)
        assert route.seen == []


async def test_a_node_with_addresses_of_tomorrow(autojump_clock: trio.testing.MockClock) -> None:
    route = Route()
    async with script(route) as peer:
        announcement = NodeAnnouncement(
            signature=bytes(64),
            features=b"",
            timestamp=1,
            node_id=KEYS[0].public_key,
            rgb_color=bytes(3),
            alias=b"\xff" * 32,
            addresses=bytes.fromhex("017f0000012607" + "99aabb"),
        )
        await peer.send(announcement)
        await lives(peer)
        assert route.seen == [announcement]


async def test_queries_that_were_not_offered_are_ignored(autojump_clock: trio.testing.MockClock) -> None:
    async with script(Route()) as peer:
        await peer.send(QueryChannelRange(chain_hash=CHAIN, first_blocknum=0, number_of_blocks=100))
        await peer.expect_silence(5)
        await lives(peer)


async def test_every_query_gets_its_end(autojump_clock: trio.testing.MockClock) -> None:
    route = Route(queries=True)
    async with script(route) as peer:
        await peer.send(QueryChannelRange(chain_hash=CHAIN, first_blocknum=7, number_of_blocks=100))
        reply = await peer.expect(ReplyChannelRange)
        assert (reply.first_blocknum, reply.number_of_blocks, reply.sync_complete) == (7, 100, 1)
        assert gossip.decode_short_ids(reply.encoded_short_ids) == ()
        ids = gossip.encode_short_ids([ShortChannelId.of(103, 1, 0)])
        await peer.send(QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=ids))
        await peer.expect(ReplyShortChannelIdsEnd(chain_hash=CHAIN, full_information=0))
        newest = GossipTimestampFilter(chain_hash=CHAIN, first_timestamp=0, timestamp_range=0xFFFFFFFF)
        await peer.send(newest)
        await lives(peer)
        assert route.seen == [newest]


async def test_zlib_is_refused_without_being_unpacked(autojump_clock: trio.testing.MockClock) -> None:
    async with script(Route(queries=True)) as peer:
        await peer.send(QueryShortChannelIds(chain_hash=CHAIN, encoded_short_ids=b"\x01" + bytes(100)))
        warning = await peer.expect(Warning)
        assert b"zlib" in warning.data
        await lives(peer)


# -- the scripts themselves --------------------------------------------------------------------------------------------


async def test_a_script_that_fails_says_what_happened(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Note(payload=b"hello"))
        peer.patience = 5
        with pytest.raises(ScriptFailed, match=r"(?s)Warning did not come within 5 seconds.*got  Init.*sent Note"):
            await peer.expect(Warning)
        await peer.send(ALIVE)
        with pytest.raises(ScriptFailed, match="expected Warning, not Pong"):
            await peer.expect(Warning)
        with pytest.raises(ScriptFailed, match="expected silence, not Pong"):
            await peer.send(ALIVE)
            await peer.expect_silence(10)
        with pytest.raises(ScriptFailed, match="within 5 seconds"):
            await peer.expect_closed()


async def test_a_script_that_fails_inside_its_block_fails_alone(autojump_clock: trio.testing.MockClock) -> None:
    with pytest.raises(ScriptFailed, match="expected Warning"):
        async with node() as peers, scripted_peer(peers) as peer:
            await peer.expect(Warning)


async def test_reasons_that_are_not_given(autojump_clock: trio.testing.MockClock) -> None:
    async with script() as peer:
        await peer.send(Init())
        with pytest.raises(ScriptFailed, match="expected the reason 'another'"):
            await peer.expect_closed(reason="another")
    async with node() as peers, scripted_peer(peers) as peer:
        await peer.expect(Init)
        await peer.send(ALIVE)
        with pytest.raises(ScriptFailed, match="said nothing"):
            await peer.expect_closed(reason="something")
    async with script() as peer:
        await peer.send(Init())
        with pytest.raises(ScriptFailed, match="expected no word"):
            await peer.expect_closed(reason="")


async def test_between_two_scripts(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    async def near() -> None:
        async with scripted_peer(ours, identity(2), secret=b"\x01" * 32) as peer:
            assert "ScriptedPeer" in repr(peer)
            await peer.send(Init())
            await peer.expect(Init)
            await peer.send(Note(payload=b"x"))

    async def far() -> None:
        async with scripted_peer(theirs, secret=b"\x02" * 32) as peer:
            await peer.exchange_inits()
            got = await peer.receive()
            assert got == UnknownMessage(37913, b"x")
            assert await peer.expect_closed() == []

    async with trio.open_nursery() as nursery:
        nursery.start_soon(near)
        nursery.start_soon(far)


async def test_every_deed(autojump_clock: trio.testing.MockClock) -> None:
    note = Note(payload=b"drop by drop").encode()
    async with script() as peer:
        start = trio.current_time()
        packet = len(note) + 34
        assert await peer.do(Deed("message", ALIVE.encode()), Deed("dribble", note, 0.25), Deed("wait", seconds=5))
        assert trio.current_time() == pytest.approx(start + packet * 0.25 + 5)
        await peer.expect(Pong)
        await lives(peer)
        # It reads for as long as it was told to, and what came is gone.
        assert await peer.do(Deed("message", ALIVE.encode()), Deed("read", seconds=1))
        assert trio.current_time() == pytest.approx(start + packet * 0.25 + 6, abs=0.1)
        assert not await peer.do(Deed("bytes", bytes(100)), Deed("read", seconds=1000), Deed("wait", seconds=1))
        assert trio.current_time() < start + 30
    async with script() as peer:
        assert not await peer.do(Deed("half", note), Deed("hang_up"), Deed("message", note))


async def test_a_header_that_authenticates_and_lies(autojump_clock: trio.testing.MockClock) -> None:
    """The keys' order is kept: what the header promises is read, and its tag is wrong."""
    async with script() as peer:
        with pytest.raises(ValueError, match="65535"):
            peer.packet(ALIVE, length=65_536)
    async with script() as peer:
        honest = ALIVE.encode()
        await peer.send_bytes(peer.packet(honest, length=len(honest)))
        await peer.expect(Pong)
        # Too long by a packet: nothing is read until that much has come.
        await peer.send_bytes(peer.packet(honest, length=len(honest) + 34 + len(honest)))
        await peer.expect_silence(5)
        await peer.send(ALIVE)
        await peer.expect_closed(reason="body failed its authentication")
    async with script() as peer:
        assert not await peer.do(Deed("lie", ALIVE.encode(), length=0), Deed("read", seconds=1000))


@asynccontextmanager
async def beside(
    behave: Callable[[ScriptedPeer], Awaitable[object]], handshake: bool = True
) -> AsyncIterator[ScriptedPeer]:
    """A script with a patience of 5 seconds, in a conversation with another one."""
    ours, theirs = trio.testing.lockstep_stream_pair()

    async def far() -> None:
        async with scripted_peer(theirs, secret=b"\x02" * 32, handshake=handshake) as other:
            await behave(other)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(far)
        async with scripted_peer(ours, identity(2), handshake=handshake, patience=5) as peer:
            yield peer
        nursery.cancel_scope.cancel()


async def test_patience_is_for_all_of_an_expectation(autojump_clock: trio.testing.MockClock) -> None:
    """However little comes however often: nothing renews it."""

    async def dribble(other: ScriptedPeer) -> None:
        await other.do(Deed("dribble", Init().encode(), 4))

    async def chatter(other: ScriptedPeer) -> None:
        await other.do(*[Deed("message", ALIVE.encode()), Deed("wait", seconds=4)] * 100)

    async def letters(other: ScriptedPeer) -> None:
        await other.do(*[Deed("bytes", b"x"), Deed("wait", seconds=4)] * 100)

    async with beside(dribble) as peer:
        with pytest.raises(ScriptFailed, match="a message did not come within 5 seconds"):
            await peer.receive()
        with pytest.raises(ScriptFailed, match="Init did not come within 5 seconds"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
        await peer.expect_silence(8)
        assert trio.current_time() == 23
    async with beside(chatter) as peer:
        peer.ignoring = (Ping,)
        with pytest.raises(ScriptFailed, match="Init did not come"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="was not closed"):
            await peer.expect_closed()
        assert trio.current_time() == 33
    async with beside(letters, handshake=False) as peer:
        with pytest.raises(ScriptFailed, match="50 bytes did not come within 5 seconds"):
            await peer.receive_bytes(50)
        with pytest.raises(ScriptFailed, match="was not closed"):
            await peer.expect_closed()
        assert trio.current_time() == 43


async def test_a_node_that_takes_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async def idle(other: ScriptedPeer) -> None:
        await trio.sleep_forever()

    async with beside(idle) as peer:
        with pytest.raises(ScriptFailed, match=r"37 bytes were not taken within 5 seconds"):
            await peer.send(UnknownMessage(1001, b"x"))
        assert trio.current_time() == 5


async def test_a_broken_connection_reads_as_closed(autojump_clock: trio.testing.MockClock) -> None:
    network = SimulatedNetwork(0)
    ours, theirs = network.stream_pair(network.host("a"), network.host("b"))
    async with trio.open_nursery() as nursery:

        async def far() -> None:
            async with scripted_peer(theirs, secret=b"\x02" * 32) as peer:
                await peer.send(Init())
                await peer.expect(Init)
                network.reset("a", "b")

        nursery.start_soon(far)
        async with scripted_peer(ours, identity(2), secret=b"\x01" * 32) as peer:
            await peer.exchange_inits()
            assert await peer.receive() is None
            with pytest.raises(ScriptFailed, match="the connection broke"):
                await peer.send(ALIVE)


async def test_what_a_bad_node_does_is_said(autojump_clock: trio.testing.MockClock) -> None:
    """Each failure of an expectation, against a script that is the node."""

    @asynccontextmanager
    async def against(*deeds: Deed, shake: bool = True) -> AsyncIterator[ScriptedPeer]:
        ours, theirs = trio.testing.memory_stream_pair()

        async def node() -> None:
            async with scripted_peer(theirs, secret=b"\x02" * 32, handshake=shake) as peer:
                await peer.do(*deeds)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(node)
            async with scripted_peer(ours, identity(2), handshake=shake, patience=5) as peer:
                yield peer
            nursery.cancel_scope.cancel()

    pings = [deed for _ in range(9) for deed in (Deed("message", ALIVE.encode()), Deed("wait", seconds=1))]
    async with against(Deed("corrupt", ALIVE.encode())) as peer:
        with pytest.raises(ScriptFailed, match="the node sent what is no message"):
            await peer.receive()
    async with against() as peer:
        with pytest.raises(ScriptFailed, match="expected Init, and the node closed the connection"):
            await peer.expect(Init)
    async with against(*pings) as peer:
        peer.ignoring = (Ping,)
        with pytest.raises(ScriptFailed, match="Init did not come within 5 seconds"):
            await peer.expect(Init)
        with pytest.raises(ScriptFailed, match="expected silence, and the node closed the connection"):
            await peer.expect_silence(60)
    async with against(*pings) as peer:
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
    async with against(*[Deed("bytes", b"word"), Deed("wait", seconds=1)] * 9, shake=False) as peer:
        with pytest.raises(ScriptFailed, match="expected no word, not 776f7264"):
            await peer.expect_closed(reason="")
        with pytest.raises(ScriptFailed, match="the connection was not closed within 5 seconds"):
            await peer.expect_closed()
        with pytest.raises(ScriptFailed, match="version"):
            peer.answer_act(b"\x07" + bytes(49))


async def test_before_the_handshake_there_are_no_messages(autojump_clock: trio.testing.MockClock) -> None:
    async with node() as peers, scripted_peer(peers, handshake=False) as peer:
        with pytest.raises(RuntimeError, match="handshake"):
            peer.packet(ALIVE)
        with pytest.raises(RuntimeError, match="handshake"):
            await peer.receive()
        await peer.send_bytes(b"\x00" * 50)
        with pytest.raises(ScriptFailed, match="ended after 0 of 50"):
            await peer.receive_bytes(50)
