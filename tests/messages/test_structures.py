"""What a message is: a value, shown in a line, and nothing that it is not can be made of it."""

from __future__ import annotations

import pickle

import pytest

from triolight.errors import DecodeError
from triolight.messages import BOLT, Ping, Pong, UnknownMessage, Warning
from triolight.messages.bolt1 import InitTlvs
from triolight.messages.bolt2 import ChannelReestablishTlvs, NextFunding
from triolight.messages.structures import unknown_up_to
from triolight.wire import TlvRecord, write_tlv_records


def test_messages_are_values() -> None:
    ping = Ping(num_pong_bytes=4, ignored=b"\x00")
    assert ping == Ping(num_pong_bytes=4, ignored=b"\x00") != Ping(num_pong_bytes=5, ignored=b"\x00")
    assert ping != Pong(ignored=b"\x00")
    assert len({ping, Ping(num_pong_bytes=4, ignored=b"\x00")}) == 1
    assert pickle.loads(pickle.dumps(ping)) == ping
    assert ping.replace(num_pong_bytes=9) == Ping(num_pong_bytes=9, ignored=b"\x00")
    assert Ping() == Ping(num_pong_bytes=0, ignored=b"")
    with pytest.raises(AttributeError, match="immutable"):
        ping.ignored = b""  # type: ignore[misc]
    with pytest.raises(AttributeError, match="immutable"):
        del ping.ignored
    with pytest.raises(TypeError):
        Ping(number=4)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        object.__setattr__(ping, "other", 1)
    assert repr(ping) == "Ping(num_pong_bytes=4, ignored=00)"
    assert len(repr(Warning(data=bytes(60_000)))) < 120
    assert repr(ChannelReestablishTlvs()) == "ChannelReestablishTlvs()"


def test_decode_of_the_wrong_message() -> None:
    for data in (b"", b"\x00", Pong().encode()):
        with pytest.raises(DecodeError, match="does not begin with the message type 18"):
            Ping.decode(data)
    with pytest.raises(DecodeError, match="holds no type"):
        BOLT.decode(b"\x00")


def test_unknown_messages() -> None:
    odd = UnknownMessage(43001, b"payload")
    assert odd == BOLT.decode(odd.encode())
    assert odd != UnknownMessage(43003, b"payload")
    assert odd != 5
    assert len({odd, UnknownMessage(43001, b"payload")}) == 1
    assert repr(odd) == "UnknownMessage(type=43001, payload=7061796c6f6164)"
    assert odd.name == "unknown_43001"
    with pytest.raises(ValueError, match="no message type"):
        UnknownMessage(65536, b"")
    with pytest.raises(ValueError, match="too long"):
        UnknownMessage(1, bytes(65_534))
    with pytest.raises(AttributeError):
        odd.type = 5  # type: ignore[misc]


def test_what_is_shown() -> None:
    update = InitTlvs(networks=tuple(bytes([number]) * 32 for number in range(6)))
    assert repr(update).endswith("... 6 items))")
    assert repr(InitTlvs(networks=(b"x",))) == "InitTlvs(networks=(78))"
    assert repr(Ping.__fields__[0]) == "Field('num_pong_bytes', Integer)"
    assert UnknownMessage(5, b"abc").payload == b"abc"
    assert (Ping() == 5) is False


def test_a_structure_by_itself_is_all_of_its_bytes() -> None:
    funding = NextFunding(next_funding_txid=bytes(32), retransmit_flags=1)
    assert NextFunding.decode(funding.encode()) == funding
    with pytest.raises(DecodeError, match=r"^next_funding at byte 33: 2 bytes too many"):
        NextFunding.decode(funding.encode() + b"ab")


def test_the_first_unknown_records_up_to_a_size() -> None:
    records = (TlvRecord(11, b""), TlvRecord(0xFD, bytes(3)), TlvRecord(0x1FF, bytes(300)), TlvRecord(0x10001, b"a"))
    given = InitTlvs(unknown=records)
    came = InitTlvs.decode(given.encode())
    for size in range(len(given.encode()) + 2):
        number = max(one for one in range(5) if len(write_tlv_records(records[:one])) <= size)
        for stream in (given, came):
            kept = unknown_up_to(stream, size)
            assert (kept.parse(), kept.count) == (records[:number], number)
