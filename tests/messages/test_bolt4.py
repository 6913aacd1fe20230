"""BOLT 4's onion messages, and what is encrypted inside of them, against its vectors."""

from __future__ import annotations

import pytest

from tests.support.vectors import ONION, plain
from triolight.errors import DecodeError
from triolight.messages import (
    BlindedPath,
    BlindedPathHop,
    EncryptedDataTlv,
    OnionMessage,
    OnionMessagePacket,
    OnionmsgTlv,
)
from triolight.wire import TlvRecord


def test_onion_message_vectors() -> None:
    vectors = ONION["blinded-onion-message-onion-test.json"]
    for hop in vectors["generate"]["hops"]:
        data = bytes.fromhex(hop["encrypted_data_tlv"])
        told = EncryptedDataTlv.decode(data)
        assert told.encode() == data
        for name, value in hop["tlvs"].items():
            if name.startswith("unknown_tag_"):
                assert TlvRecord(int(name.removeprefix("unknown_tag_")), bytes.fromhex(value)) in told.unknown
            elif not name.endswith("_secret"):
                assert plain(getattr(told, name)) == value
    for hop in vectors["decrypt"]["hops"]:
        message = OnionMessage.decode(bytes.fromhex(hop["onion_message"]))
        packet = OnionMessagePacket.decode(message.onion_message_packet)
        assert packet.encode() == message.onion_message_packet
        assert (packet.version, len(packet.onionmsg_payloads), len(packet.hmac)) == (0, 1300, 32)
    route = vectors["route"]
    hops = tuple(
        BlindedPathHop(
            blinded_node_id=bytes.fromhex(hop["blinded_node_id"]),
            encrypted_recipient_data=bytes.fromhex(hop["encrypted_recipient_data"]),
        )
        for hop in route["hops"]
    )
    path = BlindedPath(
        first_node_id=bytes.fromhex(route["first_node_id"]),
        first_path_key=bytes.fromhex(route["first_path_key"]),
        path=hops,
    )
    payload = OnionmsgTlv(reply_path=path, unknown=(TlvRecord(1, b"hello"),))
    assert OnionmsgTlv.decode(payload.encode()) == payload
    for bad, where in ((b"\x02\x01\x04", "reply_path"), (b"\x03\x00\x02\x00", None), (b"\x06\x00", None)):
        with pytest.raises(DecodeError, match=r"^onionmsg_tlv") as caught:
            OnionmsgTlv.decode(bad)
        assert where is None or where in caught.value.field
        assert caught.value.offset is not None
    with pytest.raises(DecodeError, match=r"^onion_message_packet\.onionmsg_payloads at byte 34: needs 32 bytes"):
        OnionMessagePacket.decode(packet.encode()[:60])


def test_blinded_payment_vectors() -> None:
    for hop in ONION["route-blinding-test.json"]["generate"]["hops"]:
        data = bytes.fromhex(hop["encoded_tlvs"])
        told = EncryptedDataTlv.decode(data)
        assert told.encode() == data
        for name in ("payment_relay", "payment_constraints", "short_channel_id", "next_node_id"):
            expected = hop["tlvs"].get(name)
            if name == "payment_relay" and expected is not None:
                expected.setdefault("fee_base_msat", 0)
            assert plain(getattr(told, name)) == expected, name
