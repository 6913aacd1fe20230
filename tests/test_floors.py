"""The lowest floors: errors, keys, the logger; and one peer's Connection."""

from __future__ import annotations

import hashlib
import logging
import pickle
from typing import Any

import pytest

from tests.support import identity, secret
from triolight import ConnectError, DisconnectCode, DisconnectReason, PeerClosed, PeerHandleError, Side, node_id
from triolight.connection import (
    BATCH_BYTES,
    ENTRY_BYTES,
    Connection,
    OutstandingPing,
    ProtocolFault,
    check_init,
    decode_init,
)
from triolight.errors import DecodeError
from triolight.features import Features
from triolight.keys import SecretKey, is_point, verify
from triolight.logger import Level, NullLogger, Record, StdlibLogger, wanted_level
from triolight.messages import Init, Ping, Pong
from triolight.messages.bolt1 import InitTlvs
from triolight.noise import Handshake
from triolight.text import printable

# -- errors ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (b"plain words", "plain words"),
        (b"\x1b[31m\r\n\xff", "\\x1b[31m\\r\\n\\xff"),
        ("grüße \u2028", "gr\\xfc\\xdfe \\u2028"),
        (b"back\\slash", "back\\\\slash"),
        ("", ""),
    ],
)
def test_text_of_strangers(text: bytes | str, shown: str) -> None:
    assert printable(text) == shown


def test_long_text_is_cut() -> None:
    assert printable(b"x" * 512) == "x" * 512
    for text in (b"x" * 513, b"\x00" * 60_000, "\u2028" * 60_000):
        assert len(printable(text)) == 512
        assert printable(text).endswith("...")


def test_errors_say_what_and_where() -> None:
    error = DecodeError("too short", message="ping", field="ignored", offset=4)
    assert str(error) == "ping.ignored at byte 4: too short"
    assert str(DecodeError("bad")) == "bad"
    assert str(DecodeError("bad", offset=1)) == " at byte 1: bad".strip() or str(DecodeError("bad", offset=1))
    outer = error.within(message="init", field="tlvs", base=10)
    assert (outer.message, outer.field, outer.offset) == ("init", "tlvs.ping.ignored", 14)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.offset) == (str(error), 4)
    assert DecodeError("x").within(message="m").offset is None


def test_reasons_are_who_why_and_words() -> None:
    reason = DisconnectReason(DisconnectCode.PING_TIMEOUT, Side.US, "no pong")
    assert str(reason) == "PING_TIMEOUT (by us): no pong"
    for error in (PeerHandleError(reason), PeerClosed(reason), ConnectError(reason)):
        assert str(error) == str(reason)
        assert error.reason is reason
    assert ConnectError(reason).init is None
    assert all(code.name == code.value for code in DisconnectCode)


# -- keys --------------------------------------------------------------------------------------------------------------


def test_keys() -> None:
    key = SecretKey(b"\x11" * 32)
    assert key.public_key.hex() == "034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa"
    assert node_id(b"\x11" * 32) == key.public_key
    digest = hashlib.sha256(b"x").digest()
    signature = key.sign(digest)
    assert len(signature) == 64
    assert verify(signature, digest, key.public_key)
    assert not verify(signature, hashlib.sha256(b"y").digest(), key.public_key)
    assert not verify(signature, digest, identity(1))
    assert not verify(signature[:-1], digest, key.public_key)
    assert not verify(b"\xff" * 64, digest, key.public_key)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    high_s = signature[:32] + (order - int.from_bytes(signature[32:], "big")).to_bytes(32, "big")
    assert not verify(high_s, digest, key.public_key)
    assert "11" * 32 not in repr(key)
    for bad in (bytes(32), b"\xff" * 32, b"short"):
        with pytest.raises(ValueError, match="secret key"):
            SecretKey(bad)
    with pytest.raises(ValueError):  # noqa: PT011
        key.ecdh(bytes(33))


@pytest.mark.parametrize("bad", [b"", bytes(33), b"\x04" + bytes(64), b"\x06" + bytes(32), b"\x02" + b"\xff" * 32])
def test_points(bad: bytes) -> None:
    assert not is_point(bad)
    assert is_point(identity(1))


# -- logger ------------------------------------------------------------------------------------------------------------


def test_records_and_levels() -> None:
    record = Record(Level.INFO, "connected", "peer_manager", identity(1), {"inbound": True})
    assert str(record) == f"INFO peer_manager [{identity(1).hex()[:16]}] connected inbound=True"
    assert str(Record(Level.WARN, "x", "y")) == "WARN y x"
    assert wanted_level(NullLogger()) is Level.ERROR
    NullLogger().log(record)


def test_stdlib_logging(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(Level.INFO, logger="triolight.test"):
        logger = StdlibLogger("triolight.test")
        assert wanted_level(logger) is Level.INFO
        logger.log(Record(Level.INFO, "connected", "m", identity(1), {"a": 1}))
        logger.log(Record(Level.DEBUG, "not this", "m"))
        logger.log(Record(Level.WARN, "nobody's", "m"))
    assert [one.getMessage() for one in caplog.records] == [f"[{identity(1).hex()[:16]}] connected a=1", "nobody's"]
    assert caplog.records[0].__dict__["triolight"] == {"a": 1}
    assert caplog.records[0].__dict__["peer_id"] == identity(1)
    logging.getLogger("triolight.quiet").setLevel(logging.CRITICAL)
    assert wanted_level(StdlibLogger("triolight.quiet")) is Level.ERROR


# -- connection --------------------------------------------------------------------------------------------------------


def connected() -> tuple[Connection, Connection]:
    responder = Connection(Handshake(SecretKey(secret(1)), SecretKey(secret(3)), None))
    handshake = Handshake(SecretKey(secret(2)), SecretKey(secret(4)), identity(1))
    initiator = Connection(handshake)
    assert (initiator.act, responder.act) == (2, 1)
    responder.feed(handshake.act_one())
    assert responder.advance_handshake() is None
    for one, other, node in ((responder, initiator, identity(1)), (initiator, responder, identity(2))):
        other.feed(one.output())
        one.took(len(one.output()))
        assert other.advance_handshake() == node
    assert (initiator.act, responder.act) == (0, 0)
    assert initiator.advance_handshake() is None
    return initiator, responder


def carry(sender: Connection, receiver: Connection, size: int = 10**9) -> None:
    while data := sender.output():
        receiver.feed(data[:size])
        sender.took(len(data[:size]))


def test_nothing_is_read_before_the_handshake() -> None:
    connection = Connection(Handshake(SecretKey(secret(1)), SecretKey(secret(3)), None))
    connection.feed(b"")
    assert connection.next_message() is None
    assert connection.unread_bytes == 0
    assert not connection.established
    assert connection.output() == b""


def test_messages_in_order_in_pieces_and_batches() -> None:
    one, other = connected()
    for number in range(600):
        one.queue(b"%06d" % number + bytes(100))
    assert len(one.output()) < BATCH_BYTES + 200
    assert one.output() is one.output()
    carry(one, other, 777)
    got = []
    while (message := other.next_message()) is not None:
        got.append(int(message[:6]))
    assert got == list(range(600))
    assert (one.messages_sent, other.messages_received) == (600, 600)
    assert one.bytes_sent == other.bytes_received - 50 + 50 or one.bytes_sent > 0


def test_budget_counts_what_the_peer_has_caused() -> None:
    one, other = connected()
    one.queue(bytes(65_000))
    one.queue(bytes(65_000))
    assert not one.over_budget
    assert one.owed_bytes == 130_000
    one.queue(bytes(60_000), caused=True)
    assert not one.over_budget
    one.queue_pong(65_531)
    assert one.over_budget
    assert one.caused_bytes == 125_535 + 2 * ENTRY_BYTES
    carry(one, other)
    assert (one.queued_bytes, one.caused_bytes, one.over_budget) == (0, 0, False)
    assert [len(other.next_message() or b"") for _ in range(4)] == [65_000, 65_000, 60_000, 65_535]


def test_dropping_the_queue_keeps_what_is_encrypted_and_an_init_that_has_not_left() -> None:
    one, other = connected()
    one.queue(b"init")
    one.queue(b"later")
    assert one.drop_queue() == 1
    one.queue(b"last words")
    carry(one, other)
    assert [other.next_message(), other.next_message()] == [b"init", b"last words"]
    one.queue(b"a" * 20_000)
    one.output()
    one.queue_pong(3)
    assert one.drop_queue() == 1
    carry(one, other)
    assert other.next_message() == b"a" * 20_000
    assert other.next_message() is None
    fresh, _ = connected()
    fresh.queue_pong(5)
    assert fresh.drop_queue() == 1
    assert fresh.output() == b""


@pytest.mark.parametrize("message", [b"", b"\x00"])
def test_messages_without_a_type_and_broken_packets(message: bytes) -> None:
    one, other = connected()
    one.queue(message)
    carry(one, other)
    with pytest.raises(ProtocolFault, match="holds no type") as caught:
        other.next_message()
    assert caught.value.code is DisconnectCode.BAD_PACKET
    other.feed(bytes(100))
    with pytest.raises(ProtocolFault, match="authentication"):
        other.next_message()


def test_pongs_belong_to_the_oldest_ping_of_their_length() -> None:
    one, _ = connected()
    pings = [OutstandingPing(length, 0.0, token) for token, length in enumerate((4, 7, 4))]
    one.pings.extend(pings)
    assert one.pong_received(5) is None
    assert one.pong_received(4) is pings[0]
    assert one.pong_received(4) is pings[2]
    assert one.pong_received(4) is None
    assert list(one.pings) == [pings[1]]


CHAIN = b"\x01" * 32

INITS: list[tuple[Any, Features, tuple[bytes, ...], Any, str]] = [
    (Init(features=Features([200]).to_bytes()), Features(), (), "unknown", "you require bit 200"),
    (Init(globalfeatures=Features([6]).to_bytes()), Features(), (), "not_offered", "gossip_queries (6)"),
    (Init(), Features([0, 34]), (), "unknown", "you do not offer option_data_loss_protect (0), option_quiesce (34)"),
    (Init(features=Features([51]).to_bytes()), Features(), (), "unknown", "option_zeroconf without option_scid_alias"),
    (Init(tlvs=InitTlvs(networks=(bytes(32),))), Features(), (CHAIN,), "unknown", "no common network"),
    (Init(features=Features(range(300, 320, 2)).to_bytes()), Features(), (), "unknown", "and 6 more"),
]


@pytest.mark.parametrize(("init", "ours", "networks", "refuse", "words"), INITS)
def test_inits_that_do_not_fit(
    init: Init, ours: Features, networks: tuple[bytes, ...], refuse: Any, words: str
) -> None:
    with pytest.raises(ProtocolFault) as caught:
        check_init(init, ours, networks, refuse)
    assert words in caught.value.words
    assert caught.value.code is DisconnectCode.INIT_REFUSED


def test_inits_that_fit() -> None:
    init = Init(
        globalfeatures=Features([9]).to_bytes(),
        features=Features([6]).to_bytes(),
        tlvs=InitTlvs(networks=(CHAIN, bytes(32))),
    )
    assert check_init(init, Features([8, 7]), (CHAIN,), "not_offered") == Features([6, 9])
    assert check_init(Init(tlvs=InitTlvs(networks=())), Features(), (CHAIN,), "unknown") == Features()


def test_the_first_message() -> None:
    assert decode_init(Init().encode()) == Init()
    for data, code in (
        (Ping().encode(), DisconnectCode.NOT_INIT_FIRST),
        (Pong().encode(), DisconnectCode.NOT_INIT_FIRST),
        (b"\x00\x10\x00", DisconnectCode.INIT_MALFORMED),
    ):
        with pytest.raises(ProtocolFault) as caught:
            decode_init(data)
        assert caught.value.code is code
