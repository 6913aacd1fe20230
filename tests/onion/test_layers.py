"""One onion message at one node: forwarded or delivered byte for byte as others do it, or dropped for the reason that
BOLT 4 gives."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support.onions import MESSAGE, key, load, path_of, random
from triolight.errors import DecodeError
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv, OnionMessage, OnionmsgTlv
from triolight.onion.blinded import blind, blind_route
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.layers import Delivery, Forward, open_message, seal
from triolight.onion.sphinx import build_packet
from triolight.wire import write_tlv_records

GENERATED = load("bolt04/generated.json.xz")
WHY = {
    "version 1": Drop.VERSION,
    "last byte of the hmac": Drop.HMAC,
    "a byte of the payloads": Drop.HMAC,
    "path_key of another path": Drop.HMAC,
    "opened by another node": Drop.HMAC,
    "public_key with prefix 04": Drop.POINT,
    "public_key not on the curve": Drop.POINT,
    "path_key not on the curve": None,
    "packet of 65 bytes": Drop.LENGTH,
    "len larger than what is there": None,
    "payload of length 0": Drop.FRAME,
    "payload of length 1": Drop.FRAME,
    "payload length not minimal": Drop.FRAME,
    "payload runs to the end, no room for its hmac": Drop.FRAME,
    "payload longer than twice the size": Drop.FRAME,
    "odd field beside encrypted_recipient_data at a hop": Drop.PAYLOAD_OF_HOP,
    "reply_path at a hop": Drop.PAYLOAD_OF_HOP,
    "no encrypted_recipient_data at a hop": Drop.PAYLOAD_OF_HOP,
    "path_id at a hop": Drop.PATH_ID_AT_HOP,
    "neither next_node_id nor short_channel_id": Drop.NO_NEXT,
    "next_node_id not on the curve": Drop.DATA,
    "next_node_id of 9 bytes": Drop.DATA,
    "short_channel_id of 7 bytes": Drop.DATA,
    "next_path_key_override not on the curve": Drop.DATA,
    "encrypted data: one bit flipped": Drop.SEALED_DATA,
    "encrypted data: shorter than a tag": Drop.SEALED_DATA,
    "unknown even type in encrypted_data_tlv": Drop.DATA,
    "encrypted_data_tlv out of order": Drop.DATA,
    "allowed_features with an unknown odd bit": Drop.FEATURES,
    "unknown even type at the end": Drop.PAYLOAD,
    "invoice_request and invoice together": Drop.SEVERAL_PAYLOADS,
    "invoice_request and an odd payload field together": Drop.SEVERAL_PAYLOADS,
    "payload out of order": Drop.PAYLOAD,
    "payload with a duplicate": Drop.PAYLOAD,
    "record longer than the payload": Drop.PAYLOAD,
    "reply_path of 0 hops": Drop.REPLY_PATH,
    "reply_path beginning with 04": Drop.PAYLOAD,
    "reply_path with a byte left over": Drop.PAYLOAD,
    "encrypted data at the end: flipped": Drop.SEALED_DATA,
}
"""The messages that must be dropped, and for what reason; None: those that are no onion_message at all."""


def test_t1_o13_the_bolts_message_from_hop_to_hop() -> None:
    route = path_of(MESSAGE["route"])
    hello = bytes.fromhex(MESSAGE["onionmessage"]["unknown_tag_1"])
    message = seal(bytes.fromhex(MESSAGE["generate"]["session_key"]), route, [(1, hello)])
    assert message.onion_message_packet.hex() == MESSAGE["onionmessage"]["onion_message_packet"]
    for hop in MESSAGE["decrypt"]["hops"]:
        assert message.encode().hex() == hop["onion_message"]
        found = open_message(SecretKey(bytes.fromhex(hop["privkey"])), message)
        if "next_node_id" in hop:
            assert isinstance(found, Forward)
            assert (found.next_node_id or b"").hex() == hop["next_node_id"]
            message = found.message
        else:
            assert isinstance(found, Delivery)
            assert found.payload.unknown == ((1, hello),)
            assert (found.data.path_id or b"").hex() == MESSAGE["generate"]["hops"][3]["tlvs"]["path_id"]
            assert found.content is None


@pytest.mark.parametrize("vector", GENERATED["messages"], ids=lambda vector: vector["comment"])
def test_t2_o22_what_others_forward_and_deliver(vector: dict[str, Any]) -> None:
    message = made_of(vector)
    for step in vector["steps"]:
        assert hashlib.sha256(message.encode()).hexdigest() == step["message_sha256"]
        found = open_message(SecretKey(bytes.fromhex(step["privkey"])), message)
        if step["result"] == "forward":
            assert isinstance(found, Forward)
            by_channel = found.short_channel_id
            assert step["next"] == (
                f"{by_channel:016x}" if by_channel is not None else (found.next_node_id or b"").hex()
            )
            message = found.message
        else:
            assert isinstance(found, Delivery)
            tlvs, told = step["tlvs"], step["encrypted_data_tlv"]
            assert found.payload.encode() == records(tlvs)
            assert found.data.encode() == records(told)
            content = [(type_, value) for type_, value in tlvs.items() if int(type_) >= 64]
            assert content == ([(str(found.content.type), found.content.value.hex())] if found.content else [])


def records(of: dict[str, str]) -> bytes:
    return write_tlv_records((int(type_), bytes.fromhex(value)) for type_, value in of.items())


def made_of(vector: dict[str, Any]) -> OnionMessage:
    """What others sealed: its first step has it, as bytes or as their hash."""
    payloads = [bytes.fromhex(one) for one in vector["payloads"]]
    hops = [bytes.fromhex(one) for one in vector["blinded_hops"]]
    packet = build_packet(bytes.fromhex(vector["session_key"]), list(zip(hops, payloads, strict=True)), vector["size"])
    return OnionMessage(path_key=bytes.fromhex(vector["first_path_key"]), onion_message_packet=packet)


@pytest.mark.parametrize("vector", GENERATED["dropped"], ids=lambda vector: vector["comment"])
def test_t2_t3_o12_o23_o26_o27_what_is_dropped_and_why(vector: dict[str, Any]) -> None:
    opener, data = SecretKey(bytes.fromhex(vector["privkey"])), bytes.fromhex(vector["message"])
    wanted = WHY[vector["comment"]]
    if wanted is None:
        with pytest.raises(DecodeError):
            OnionMessage.decode(data)
    else:
        assert why(opener, OnionMessage.decode(data)) is wanted


def test_all_that_is_dropped_has_its_reason() -> None:
    assert {vector["comment"] for vector in GENERATED["dropped"]} == {*WHY}


def why(opener: SecretKey, message: OnionMessage) -> Drop:
    with pytest.raises(OnionDropped) as caught:
        open_message(opener, message)
    return caught.value.drop


def test_t1_each_byte_of_the_bolts_message_that_is_changed_drops_it() -> None:
    opener, whole = key(0x41), bytes.fromhex(MESSAGE["decrypt"]["hops"][0]["onion_message"])
    assert isinstance(open_message(opener, OnionMessage.decode(whole)), Forward)
    kept = 0
    for at in range(2, len(whole)):
        changed = whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :]
        try:
            message = OnionMessage.decode(changed)
        except DecodeError:
            continue
        kept += 1
        assert why(opener, message) in (Drop.LENGTH, Drop.VERSION, Drop.POINT, Drop.HMAC)
    assert kept > 1366


def route(*numbers: int, last: EncryptedDataTlv | None = None) -> BlindedPath:
    return blind_route(random(0x51), [key(number).public_key for number in numbers], last)


def test_o22_a_message_with_a_reply_path() -> None:
    back = route(3, 4, last=EncryptedDataTlv(path_id=b"back"))
    message = seal(random(1), route(1, 2), [(64, b"request")], back)
    passed = open_message(key(1), message)
    assert isinstance(passed, Forward)
    assert passed.next_node_id == key(2).public_key
    found = open_message(key(2), passed.message)
    assert isinstance(found, Delivery)
    assert found.payload.reply_path == back
    assert found.content == (64, b"request")
    assert found.payload.invoice_request == b"request"


def test_o9_a_large_one_takes_the_large_size_and_any_other_if_told_to() -> None:
    small = seal(random(1), route(1), [(77, bytes(1200))])
    large = seal(random(1), route(1), [(77, bytes(1300))])
    own = seal(random(1), route(1), [(77, b"x")], size=500)
    assert [len(one.onion_message_packet) for one in (small, large, own)] == [1366, 32834, 566]
    for one in (small, large, own):
        assert isinstance(open_message(key(1), one), Delivery)
    with pytest.raises(ValueError, match="holds 32768"):
        seal(random(1), route(1), [(77, bytes(33000))])


def test_t3_o24_nothing_told_to_the_last_hop_is_accepted() -> None:
    path = route(1)
    bare = build_packet(random(1), [(path.path[0].blinded_node_id, OnionmsgTlv(invoice=b"x").encode())], 1300)
    found = open_message(key(1), OnionMessage(path_key=path.first_path_key, onion_message_packet=bare))
    assert isinstance(found, Delivery)
    assert (found.data, found.content) == (EncryptedDataTlv(), (66, b"x"))


def test_o26_features_of_zeros_are_none() -> None:
    for features, dropped in ((bytes(2), False), (b"", False), (b"\0\2", True), (b"\1", True)):
        data = EncryptedDataTlv(allowed_features=features).encode()
        message = seal(random(1), blind(random(2), [(key(1).public_key, data)]))
        if dropped:
            assert why(key(1), message) is Drop.FEATURES
        else:
            assert isinstance(open_message(key(1), message), Delivery)


def test_what_cannot_be_sealed() -> None:
    for records, problem in (
        ([(4, b"")], "the path's"),
        ([(2, b"")], "the path's"),
        ([(64, b""), (77, b"")], "one thing"),
    ):
        with pytest.raises(ValueError, match=problem):
            seal(random(1), route(1), records)
    with pytest.raises(ValueError, match="needs a hop"):
        seal(random(1), route(1).replace(path=()))
