"""Records and entries: there and back, and whatever an engine may hand over instead."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import identity
from triolight.cluster.records import (
    DOWN,
    MAX_ENTRY_BYTES,
    MAX_RECORD_BYTES,
    UP,
    Broadcast,
    Config,
    Connected,
    Dial,
    Dialled,
    Disconnect,
    Displaced,
    Ended,
    Entry,
    Hold,
    Ponged,
    Record,
    Said,
    Send,
    SendPing,
    Taken,
    decode_entry,
    dialled,
    disconnect,
    encode_entry,
    encode_record,
    ended,
    read_config,
    write_config,
)
from triolight.errors import DecodeError, DisconnectCode, DisconnectReason, Side
from triolight.messages.structures import Structure

TOKEN = bytes(range(16))
NODE = identity(1)
REASON = DisconnectReason(DisconnectCode.PEER_CLOSED, Side.PEER, "it has closed")
EVERY_UP: list[Structure] = [
    Connected(node_id=NODE, inbound=1, address=b"\x01\x7f\x00\x00\x01\x26\x07", init=b"\x00\x10\x00\x00\x00\x00"),
    Said(data=b"\x9c\x41payload"),
    ended(REASON),
    Taken(size=4096),
    Ponged(ping=7, microseconds=1234),
    dialled(3, 9),
]
EVERY_DOWN: list[Structure] = [
    Send(messages=(b"\x00\x12ab", b"\x9c\x41")),
    SendPing(ping=7, num_pong_bytes=4, ignored=b"zz"),
    disconnect(REASON),
    Dial(ask=3, address=b"02ab@host:9735"),
    Hold(held=1),
    Displaced(node_id=NODE, number=12, waits=0),
    Broadcast(data=b"\x01\x02rest"),
]


@pytest.mark.parametrize(("kinds", "every"), [(UP, EVERY_UP), (DOWN, EVERY_DOWN)], ids=["up", "down"])
def test_every_record_comes_back_and_no_other_way(kinds: dict[int, type[Structure]], every: list[Structure]) -> None:
    assert [type(one) for one in every] == list(kinds.values())
    data = encode_entry(TOKEN, 5, [encode_record(number, one) for number, one in enumerate(every)])
    assert decode_entry(data, kinds) == Entry(TOKEN, 5, tuple(Record(*one) for one in enumerate(every)))
    with pytest.raises(DecodeError, match="does not come this way"):
        decode_entry(data, DOWN if kinds is UP else UP)


def test_reasons_come_back() -> None:
    assert ended(REASON).reason == REASON
    assert dialled(1, REASON).reason == REASON
    assert dialled(1, REASON).conn == 0
    assert disconnect(REASON).reason == DisconnectReason(REASON.code, Side.US, REASON.message)


def test_a_reason_of_a_later_version_is_shown() -> None:
    end = Ended(side=9, code=b"NEW\x1b", words=b"\x1b[2Jwords").reason
    assert end == DisconnectReason(DisconnectCode.CONNECTION_LOST, Side.NETWORK, r"NEW\x1b: \x1b[2Jwords")


@given(st.binary(max_size=200), st.sampled_from([UP, DOWN]))
def test_anything_is_an_entry_or_a_decode_error(data: bytes, kinds: dict[int, type[Structure]]) -> None:
    for given_ in (data, encode_entry(TOKEN, 0, [data])):
        try:
            entry = decode_entry(given_, kinds)
        except DecodeError:
            continue
        assert encode_entry(entry.token, entry.first_seq, [encode_record(*one) for one in entry.records]) == given_


@given(st.data())
def test_an_entry_that_is_cut_or_changed_is_no_trap(data: st.DataObject) -> None:
    every, kinds = data.draw(st.sampled_from([(EVERY_UP, UP), (EVERY_DOWN, DOWN)]))
    whole = bytearray(encode_entry(TOKEN, 5, [encode_record(1, one) for one in every]))
    at = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(DecodeError) if at == 0 else _perhaps():
        decode_entry(bytes(whole[:at]), kinds)
    whole[at] ^= data.draw(st.integers(1, 255))
    with _perhaps():
        decode_entry(bytes(whole), kinds)


class _perhaps:
    """What may raise DecodeError, and nothing else."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        return kind is not None and issubclass(kind, DecodeError)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an entry of 0 bytes"),
        (b"\x02" + bytes(24), "version 2"),
        (b"\x01" + bytes(24), "without records"),
        (b"\x01" + bytes(24) + b"\x02", "head needs 9 bytes, 1 are left"),
        (b"\x01" + bytes(24) + b"\x02" + bytes(4) + b"\xff\xff\xff\xff", "a record of 4294967295 bytes, 0 are left"),
        (b"\x01" + bytes(24) + b"\x63" + bytes(8), "kind 99"),
        (b"\x01" + bytes(24) + b"\x02" + bytes(8), "a message of 0 bytes holds no type"),
        (b"\x01" + bytes(24) + b"\x04" + bytes(4) + b"\0\0\0\x03abc", "taken"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, words: str) -> None:
    with pytest.raises(DecodeError, match=words):
        decode_entry(data, UP)


def test_no_record_is_larger_than_what_is_read() -> None:
    with pytest.raises(ValueError, match="a record of"):
        encode_record(1, Said(data=bytes(MAX_RECORD_BYTES + 1)))


def test_an_entry_of_many_records_is_no_larger_than_one_that_is_written() -> None:
    first, last = (encode_record(1, Said(data=bytes(size))) for size in (MAX_ENTRY_BYTES - 100, 100 - 18))
    assert len(first + last) == MAX_ENTRY_BYTES
    assert len(decode_entry(encode_entry(TOKEN, 0, [first, last]), UP).records) == 2
    with pytest.raises(DecodeError, match="more than one record"):
        decode_entry(encode_entry(TOKEN, 0, [first, last, last[:-1]]), UP)
    alone = encode_record(1, Said(data=bytes(MAX_RECORD_BYTES)))
    assert len(decode_entry(encode_entry(TOKEN, 0, [alone]), UP).records) == 1


def test_a_configuration_comes_back() -> None:
    config = Config(
        number=3,
        node_id=NODE,
        features=b"\x08\xa0",
        networks=(bytes(32),),
        types=(32, 40001),
        unknown_odd=1,
        lease=10_000,
        back_grace=30_000,
        engine_grace=20_000,
        resumes=1,
    )
    assert read_config(write_config(config)) == config
    for data in (b"", b"\x02" + write_config(config)[1:], write_config(config)[:-1], write_config(config) + b"x"):
        with pytest.raises(DecodeError):
            read_config(data)


def test_kinds_are_of_one_direction() -> None:
    assert not UP.keys() & DOWN.keys()
    assert {Dialled, Disconnect} <= {*UP.values(), *DOWN.values()}
