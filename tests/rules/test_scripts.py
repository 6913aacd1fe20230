"""What a node does to a peer that follows a script: BOLT 1 and BOLT 7, one rule a scenario, in virtual time.

The subjects are those of the protocol's own test suite for nodes, as far as they concern the peer layer and gossip
messages; each begins with what the rule says.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.support.scenes import ALIVE, Route, lives, node, script
from triolight import ChannelMessageHandler, Features, gossip
from triolight.keys import SecretKey
from triolight.messages import (
    ALL_CHANNELS,
    ChannelAnnouncement,
    Error,
    GossipTimestampFilter,
    Init,
    InitTlvs,
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
from triolight.testing import scripted_peer
from triolight.testing.scripted import Corruption
from triolight.wire import ShortChannelId

CHAIN = bytes.fromhex("6fe28c0ab6f1b372c1a6a246ae63f74f931e8365e15a089c68d6190000000000")
KEYS = [SecretKey(bytes([number]) * 32) for number in range(1, 5)]


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
