"""One peer's Connection: acts, packets, Init, pings, and how much may wait to be written."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import identity, secret
from triolight import DisconnectCode
from triolight.connection import (
    BATCH_BYTES,
    ENTRY_BYTES,
    OPENED_AT_ONCE,
    Connection,
    OutstandingPing,
    ProtocolFault,
    check_init,
    decode_init,
)
from triolight.features import Features
from triolight.keys import SecretKey
from triolight.messages import Init, Ping, Pong
from triolight.messages.bolt1 import InitTlvs
from triolight.noise import OVERHEAD, Handshake


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
    # Act one went out before the connection knew; whoever wrote it has counted it.
    assert one.bytes_sent == other.bytes_received - 50


def test_who_has_said_all_keeps_no_list_of_it() -> None:
    """There are thousands of idle peers: what they have in common, which is nothing, is one object."""
    one, other = connected()
    assert one.opened is other.opened
    one.queue_all([b"00", b"01"])
    other.feed(one.output())
    assert [other.next_message() for _ in range(3)] == [b"00", b"01", None]
    assert one.opened is other.opened


def test_what_is_opened_ahead_is_taken_in_order_and_unread_until_then() -> None:
    one, other = connected()
    one.queue_all([b"%02d" % number for number in range(OPENED_AT_ONCE + 2)])
    data = one.output()
    other.feed(data)
    before = other.unread_bytes
    assert other.next_message() == b"00"
    assert len(other.opened) == OPENED_AT_ONCE - 1
    assert other.unread_bytes == before - (2 + OVERHEAD)
    assert other.messages_received == 1
    assert other.opened.pop() == b"01"
    assert (other.messages_received, other.unread_bytes) == (2, before - 2 * (2 + OVERHEAD))
    assert [other.next_message() for _ in range(OPENED_AT_ONCE + 1)] == [
        *(b"%02d" % number for number in range(2, OPENED_AT_ONCE + 2)),
        None,
    ]
    assert (other.messages_received, other.unread_bytes) == (OPENED_AT_ONCE + 2, 0)


@pytest.mark.parametrize("broken", [b"", b"\0"])
def test_a_message_without_a_type_is_a_fault_in_its_turn(broken: bytes) -> None:
    one, other = connected()
    one.queue_all([b"\0\1", b"\0\2", broken, b"\0\3"])
    other.feed(one.output())
    assert [other.next_message(), other.next_message()] == [b"\0\1", b"\0\2"]
    with pytest.raises(ProtocolFault, match=f"a message of {len(broken)} bytes"):
        other.next_message()
    assert other.messages_received == 2


def test_what_goes_out_is_counted_by_type_whatever_the_order() -> None:
    one, other = connected()
    one.queue_all([b"\0\1" + bytes(3), b"\0\1", b"\0\2\0"])
    one.queue(b"\0\2", caused=True)
    one.queue_pong(4)
    one.queue_all(iter([b"\0\1"]))
    one.queue_gossip([b"\1\2ab"], 4)
    assert one.queued_bytes == 5 + 2 + 3 + 2 + 8 + 2 + 4
    carry(one, other)
    assert one.sent == {1: [3, 9], 2: [2, 5], Pong.type: [1, 8], 258: [1, 4]}
    assert (one.messages_sent, one.queued_bytes, one.caused_bytes) == (7, 0, 0)
    assert [other.next_message() for _ in range(8)] == [
        *(b"\0\1" + bytes(3), b"\0\1", b"\0\2\0", b"\0\2"),
        *(Pong(ignored=bytes(4)).encode(), b"\0\1", b"\1\2ab", None),
    ]


def test_a_batch_that_is_full_to_the_byte_takes_no_more() -> None:
    one, _ = connected()
    one.queue(bytes(BATCH_BYTES - 34))  # its length, and two tags
    one.queue(bytes(2))
    assert len(one.output()) == BATCH_BYTES
    one.took(BATCH_BYTES)
    assert len(one.output()) == 2 + 34


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


def test_gossip_is_dropped_alone_and_the_rest_keeps_its_order() -> None:
    one, other = connected()
    one.queue(b"00first")
    one.queue_gossip([b"00dropped"], len(b"00dropped"))
    one.queue_pong(3)
    one.queue_gossip([b"00too", b"00dropped"], len(b"00too00dropped"))
    one.queue(b"00last")
    one.drop_gossip()
    assert one.queued_bytes == len(b"00first") + len(Pong(ignored=bytes(3)).encode()) + len(b"00last")
    carry(one, other)
    assert [other.next_message() for _ in range(4)] == [b"00first", Pong(ignored=bytes(3)).encode(), b"00last", None]
    assert (one.queued_bytes, one.caused_bytes) == (0, 0)


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
