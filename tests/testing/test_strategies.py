"""What the strategies draw is what the declarations say: it round-trips and verifies; what is cut or flipped fails."""

from __future__ import annotations

import json
import re
import typing
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES
from triolight import gossip, wire
from triolight.as_json import from_json, to_json
from triolight.errors import DecodeError
from triolight.messages import (
    BOLT,
    ChannelAnnouncement,
    ChannelUpdate,
    EncryptedDataTlv,
    Message,
    NodeAnnouncement,
    OnionMessagePacket,
    OnionmsgTlv,
    Ping,
    Registry,
    Tlv,
    TlvStream,
    UnknownMessage,
    message,
    tlv_stream,
)
from triolight.testing import Deed, strategies
from triolight.testing.strategies import GossipGraph, Signed

VECTORS = Path(__file__).parent.parent / "vectors"
EVERY: list[type[Message]] = [*MESSAGES]
slow_to_draw = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)


@pytest.mark.parametrize("cls", EVERY, ids=lambda cls: cls.name)
@settings(slow_to_draw, max_examples=20)
@given(data=st.data())
def test_every_message_round_trips(cls: type[Message], data: st.DataObject) -> None:
    drawn = data.draw(strategies.messages_of(cls))
    encoded = drawn.encode()
    assert len(encoded) <= wire.MAX_MESSAGE_LENGTH
    decoded = cls.decode(encoded)
    assert decoded == drawn
    assert hash(decoded) == hash(drawn)
    assert decoded.encode() == encoded
    assert from_json(json.loads(json.dumps(to_json(drawn))), MESSAGES) == drawn


def finds(strategy: st.SearchStrategy[Any], wanted: Any) -> None:
    """Fails if a few thousand draws do not bring what is wanted."""
    generate = settings(slow_to_draw, max_examples=3000, database=None, phases=[Phase.generate])
    find(strategy, wanted, settings=generate)


def test_what_peers_may_send_is_drawn() -> None:
    def streams_of(message: Any) -> TlvStream | None:
        return getattr(message, "tlvs", None)

    every = strategies.messages()
    finds(every, lambda message: bool(message.extension))
    finds(every, lambda message: (stream := streams_of(message)) is not None and len(stream.unknown) > 1)
    finds(strategies.messages_of(Ping), lambda ping: len(ping.ignored) == 65_529)
    finds(strategies.messages_of(Ping), lambda ping: ping.num_pong_bytes == 0xFFFF)
    finds(strategies.messages(), lambda message: len(message.encode()) == wire.MAX_MESSAGE_LENGTH)
    finds(strategies.unknown_messages(), lambda message: message.type % 2 == 0)
    finds(strategies.streams(), lambda messages: any(isinstance(one, UnknownMessage) for one in messages))
    for field in ("addresses", "alias", "features"):
        finds(strategies.messages_of(NodeAnnouncement), lambda message, field=field: any(getattr(message, field)))
    # Each record of each declared stream is there in some draw, and absent in another.
    for cls in BOLT:
        codec = cls.__fields__[-2].codec if len(cls.__fields__) > 1 else None
        stream = getattr(codec, "cls", None)
        if isinstance(stream, type) and issubclass(stream, TlvStream):
            for record in (one for one in stream.__fields__ if one.tlv_type is not None):
                drawn = strategies.structures(stream)
                finds(drawn, lambda value, one=record: getattr(value, one.name) == one.default)
                finds(drawn, lambda value, one=record: getattr(value, one.name) != one.default)


@tlv_stream
class ShortTlvs(TlvStream):
    """No message of the BOLTs that peers exchange has these two types; a custom one may."""

    amount: Annotated[wire.tu32 | None, Tlv(1)] = None
    next_hop: Annotated[wire.sciddir_or_pubkey | None, Tlv(3)] = None


@message(40105)
class Short(Message):
    tlvs: ShortTlvs


@settings(slow_to_draw, max_examples=40)
@given(strategies.messages_of(Short))
def test_messages_of_ones_own_round_trip(drawn: Short) -> None:
    assert Short.decode(drawn.encode()) == drawn


@given(st.data())
def test_what_is_inside_onions_round_trips(data: st.DataObject) -> None:
    for cls in (EncryptedDataTlv, OnionmsgTlv, OnionMessagePacket):
        drawn = data.draw(strategies.structures(cls))
        assert cls.decode(drawn.encode()) == drawn


def test_both_forms_of_a_next_hop_are_drawn() -> None:
    for size in (9, 33):
        finds(
            strategies.messages_of(Short),
            lambda drawn, size=size: drawn.tlvs.next_hop is not None and len(drawn.tlvs.next_hop) == size,
        )
    finds(strategies.messages_of(Short), lambda drawn: drawn.tlvs.amount == 0xFFFF_FFFF)


@pytest.mark.parametrize("what", typing.get_args(typing.get_type_hints(Deed)["what"]))
def test_every_deed_is_drawn(what: str) -> None:
    finds(strategies.deeds(), lambda deed: deed.what == what)


@settings(slow_to_draw, max_examples=40)
@given(strategies.unknown_messages(MESSAGES))
def test_unknown_messages_are_unknown(message: UnknownMessage) -> None:
    assert MESSAGES.decode(message.encode()) == message


@settings(slow_to_draw, max_examples=80)
@given(signed=strategies.signed_announcements(), bit=st.integers(min_value=0))
def test_signed_gossip_verifies_and_no_flipped_bit_does(signed: Signed, bit: int) -> None:
    assert gossip.verify_announcement(signed.message, signed.node_id)
    encoded = signed.message.encode()
    at = 16 + bit % (8 * (len(encoded) - 2))  # anywhere but in the type
    flipped = bytearray(encoded)
    flipped[at // 8] ^= 1 << at % 8
    try:
        found = BOLT.decode(bytes(flipped))
    except DecodeError:
        return
    assert isinstance(found, ChannelAnnouncement | ChannelUpdate | NodeAnnouncement)
    assert not gossip.verify_announcement(found, signed.node_id)


@settings(slow_to_draw, max_examples=30)
@given(strategies.gossip_graphs())
def test_a_graph_hangs_together(graph: GossipGraph) -> None:
    channels = {one.short_channel_id: one for one in graph.channel_announcements}
    assert len(channels) == len(graph.channel_announcements) > 0
    for channel in channels.values():
        assert gossip.verify_announcement(channel)
        assert channel.node_id_1 < channel.node_id_2
    seen: set[tuple[int, int]] = set()
    for update in graph.channel_updates:
        channel = channels[update.short_channel_id]
        way = gossip.direction(update)
        assert gossip.verify_announcement(update, (channel.node_id_1, channel.node_id_2)[way])
        assert (update.short_channel_id, way) not in seen
        seen.add((update.short_channel_id, way))
    ends = {end for channel in channels.values() for end in (channel.node_id_1, channel.node_id_2)}
    for node in graph.node_announcements:
        assert node.node_id in ends
        assert gossip.verify_announcement(node)
        gossip.addresses_of(node)
    assert {one.chain_hash for one in graph.channel_announcements} == {graph.chain_hash}
    assert len(graph.messages) == len(channels) + len(seen) + len(graph.node_announcements)


def refusal(data: bytes, registry: Registry = BOLT) -> DecodeError | None:
    """The error of bytes that are refused; None for those that decode, which then give the same bytes again."""
    try:
        found = registry.decode(data)
    except DecodeError as error:
        return error
    assert found.encode() == data
    return None


def check_names_the_place(error: DecodeError, data: bytes) -> None:
    """Message, field and offset are those of the bytes."""
    assert error.offset is not None
    assert 0 <= error.offset <= len(data)
    if len(data) >= 2:
        cls = MESSAGES.get(int.from_bytes(data[:2], "big"))
        assert cls is not None
        assert error.message == cls.name
        assert error.field is not None
        assert re.split(r"[.\[]", error.field)[0] in {field.name for field in cls.__fields__}


def vectors() -> list[str]:
    found = [case["bytes"] for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]]
    bolt1 = json.loads((VECTORS / "bolt1_vectors.json").read_text())
    found += [case["bytes"] for case in bolt1["init_messages"] if case["valid"]]
    bolt7 = json.loads((VECTORS / "bolt7_vectors.json").read_text())
    for kind in bolt7["real"].values():
        found += [one["bytes"] for one in kind[:6]]
    found += [one["bytes"] for one in bolt7["queries"][:20]]
    return sorted(set(found))


def test_every_prefix_of_every_vector_is_refused_by_name_or_decodes() -> None:
    refused = decoded = 0
    for text in vectors():
        whole = bytes.fromhex(text)
        for prefix in (whole[:length] for length in range(len(whole))):
            error = refusal(prefix)
            if error is None:
                decoded += 1
            else:
                check_names_the_place(error, prefix)
                refused += 1
    assert refused > 10_000
    assert decoded > 40  # those that end where a TLV record begins


@settings(max_examples=300)
@given(type_=st.sampled_from([cls.type for cls in EVERY]), body=st.binary(max_size=600))
def test_any_bytes_give_a_message_or_name_the_place(type_: int, body: bytes) -> None:
    data = type_.to_bytes(2, "big") + body
    error = refusal(data, MESSAGES)
    if error is not None:
        check_names_the_place(error, data)


@settings(slow_to_draw, max_examples=200)
@given(data=strategies.encoded_messages(), at=st.integers(min_value=0), bit=st.integers(0, 7))
def test_a_flipped_bit_gives_a_message_or_names_the_place(data: bytes, at: int, bit: int) -> None:
    flipped = bytearray(data)
    flipped[at % len(data)] ^= 1 << bit
    error = refusal(bytes(flipped))
    if error is not None:
        check_names_the_place(error, bytes(flipped))
