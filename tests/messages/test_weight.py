"""What a message costs: pieces to make, bytes to hold, and what the process really grows by."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from typing import Annotated

import pytest

from triolight import wire
from triolight.keys import SecretKey
from triolight.messages import (
    BOLT,
    ChannelReady,
    CommitmentSigned,
    Init,
    Message,
    Ping,
    Pong,
    ReplyChannelRange,
    Structure,
    Tlv,
    TlvStream,
    TxSignatures,
    UnknownMessage,
    message,
    pieces_of,
    structure,
    tlv_stream,
)
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.bolt2 import ChannelReadyTlvs, Witness
from triolight.messages.weight import (
    FEW_ITEMS,
    ITEM_OVERHEAD,
    MESSAGE_OVERHEAD,
    Encoded,
    give,
    held_bytes,
    hold,
    items_of,
)
from triolight.wire import TlvRecord

POINT = SecretKey(bytes([3]) * 32).public_key
ODD = tuple(TlvRecord(type_, b"") for type_ in range(0xFD, 20_000, 2))


@structure
class Row(Structure):
    cells: wire.array8[wire.u64]


@tlv_stream
class TableTlvs(TlvStream):
    rows: Annotated[wire.rest[Row] | None, Tlv(1)] = None


@message(43_101)
class Table(Message):
    tlvs: TableTlvs = TableTlvs()


def witnesses(count: int, size: int = 0) -> TxSignatures:
    one = Witness(witness_data=bytes(size))
    return TxSignatures(channel_id=bytes(32), txid=bytes(32), witnesses=(one,) * count)


def test_pieces_are_items_unknown_records_and_what_an_extension_could_hold() -> None:
    assert pieces_of(Ping(ignored=bytes(60_000))) == 0
    assert pieces_of(Ping(extension=bytes.fromhex("01010003020000"))) == 3
    init = Init(tlvs=InitTlvs(networks=(bytes(32), bytes(32)), unknown=(TlvRecord(5, b""), TlvRecord(7, bytes(99)))))
    assert pieces_of(init) == 4
    assert pieces_of(Init.decode(init.encode())) == 4


def test_items_are_those_of_lists_inside_of_lists_too() -> None:
    table = Table(tlvs=TableTlvs(rows=(Row(cells=(1, 2, 3)), Row(cells=()), Row(cells=(4,)))))
    assert items_of(table) == 3 + 4
    assert items_of(Init(tlvs=InitTlvs(networks=(bytes(32),), unknown=ODD))) == 1
    assert items_of(Ping()) == 0


def test_which_messages_can_hold_lists() -> None:
    assert not any(one.__lists__ for one in (Ping, Pong, ChannelReady, UnknownMessage))
    assert all(one.__lists__ for one in (Init, TxSignatures, CommitmentSigned, ReplyChannelRange, Table))
    assert 5 < sum(one.__lists__ for one in BOLT) < len(list(BOLT))


def test_one_of_many_pieces_waits_as_its_bytes() -> None:
    few, many = witnesses(FEW_ITEMS), witnesses(FEW_ITEMS + 1)
    assert hold(few, few.encode()) is few
    assert held_bytes(few, 100) == MESSAGE_OVERHEAD + 100 + FEW_ITEMS * ITEM_OVERHEAD
    data = many.encode()
    held = hold(many, data)
    assert held == Encoded(TxSignatures, data)
    assert held_bytes(held, len(data)) == MESSAGE_OVERHEAD + len(data)
    assert give(held) == many
    assert give(few) is few
    unknown = UnknownMessage(43_001, b"x")
    assert hold(unknown, unknown.encode()) is unknown


KINDS: dict[str, Message] = {
    "smallest": Pong(),
    "one large piece": Ping(ignored=bytes(60_000)),
    "as many items as are held decoded": witnesses(FEW_ITEMS, 1),
    "one item more": witnesses(FEW_ITEMS + 1, 1),
    "twenty thousand empty items": witnesses(20_000),
    "signatures": CommitmentSigned(channel_id=bytes(32), signature=bytes(64), htlc_signature=(bytes(64),) * 400),
    "unknown records": ChannelReady(
        channel_id=bytes(32), second_per_commitment_point=POINT, tlvs=ChannelReadyTlvs(unknown=ODD)
    ),
}


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_within_twice_what_is_counted(kind: str, traced: None) -> None:
    encoded = KINDS[kind].encode()
    cls = type(KINDS[kind])
    before = tracemalloc.get_traced_memory()[0]
    waiting = []
    counted = 0
    for _ in range(12):
        # As from a stream: each time other bytes.
        data = bytes(bytearray(encoded))
        held = hold(cls.decode(data), data)
        waiting.append((held, held_bytes(held, len(data))))
        counted += waiting[-1][1]
    del data, held
    taken = tracemalloc.get_traced_memory()[0] - before
    assert taken <= 2 * counted
    assert counted <= 40 * (len(encoded) + MESSAGE_OVERHEAD + FEW_ITEMS * ITEM_OVERHEAD)


def test_unknown_records_are_parsed_when_they_are_asked_for(traced: None) -> None:
    data = ChannelReady(
        channel_id=bytes(32), second_per_commitment_point=POINT, tlvs=ChannelReadyTlvs(unknown=ODD)
    ).encode()
    before = tracemalloc.get_traced_memory()[0]
    ready = ChannelReady.decode(data)
    assert tracemalloc.get_traced_memory()[0] - before < len(data) + 2048
    assert ready.tlvs.unknown == ODD
    assert ready.tlvs.unknown_count == len(ODD)
    assert ready.encode() == data
    assert ready == ChannelReady(
        channel_id=bytes(32), second_per_commitment_point=POINT, tlvs=ChannelReadyTlvs(unknown=ODD)
    )
    # Those in several places, around one that is known.
    mixed = InitTlvs.decode(bytes.fromhex("0500") + bytes.fromhex("0700") + bytes.fromhex("fd00ff0101"))
    assert mixed.unknown == ((5, b""), (7, b""), (255, b"\1"))
    around = InitTlvs.decode(b"\1\x20" + bytes(32) + b"\5\0\7\1x")
    assert around == InitTlvs(networks=(bytes(32),), unknown=(TlvRecord(5, b""), TlvRecord(7, b"x")))
    with pytest.raises(AttributeError, match="immutable"):
        around.unknown = ()  # type: ignore[misc]
