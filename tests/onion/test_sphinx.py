"""Sphinx against BOLT 4's vectors and others', byte for byte, in every size; and whatever was changed is dropped."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support.onions import key, load, random
from triolight.keys import SecretKey
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.sphinx import OVERHEAD, build_packet, framed_length, open_packet, size_for

PAYMENT = load("bolt04/onion-test.json")
BLINDED_PAYMENT = load("bolt04/blinded-payment-onion-test.json")
GENERATED = load("bolt04/generated.json.xz")["sphinx"]


def why(key: SecretKey, packet: bytes, path_key: bytes | None = None) -> Drop:
    with pytest.raises(OnionDropped) as caught:
        open_packet(key, packet, path_key)
    return caught.value.drop


def framed(payload: str) -> tuple[int, bytes]:
    """A payload as the payment vectors write it: with its length, of one byte or three, before it."""
    data = bytes.fromhex(payload)
    return (3, data[3:]) if data[0] == 0xFD else (1, data[1:])


def test_o1_o2_o3_o5_o7_o8_the_payment_onion_with_associated_data() -> None:
    made = PAYMENT["generate"]
    along = bytes.fromhex(made["associated_data"])
    hops = [(bytes.fromhex(hop["pubkey"]), framed(hop["payload"])[1]) for hop in made["hops"]]
    packet = build_packet(bytes.fromhex(made["session_key"]), hops, 1300, along)
    assert packet.hex() == PAYMENT["onion"]
    for number, (secret, (_, payload)) in enumerate(zip(PAYMENT["decode"], hops, strict=True)):
        opener = SecretKey(bytes.fromhex(secret))
        with pytest.raises(OnionDropped):
            open_packet(opener, packet)
        layer = open_packet(opener, packet, None, along)
        assert (layer.payload, layer.path_secret) == (payload, None)
        assert (layer.next_packet is None) == (number == 4)
        packet = layer.next_packet or b""


def test_o11_the_blinded_payment_onion() -> None:
    made = BLINDED_PAYMENT["generate"]
    along = bytes.fromhex(made["associated_data"])
    hops = [(bytes.fromhex(hop["pubkey"]), framed(hop["payload"])[1]) for hop in made["full_route"]["hops"]]
    assert build_packet(bytes.fromhex(made["session_key"]), hops, 1300, along).hex() == made["onion"]
    opened = BLINDED_PAYMENT["decrypt"]["hops"]
    path_key = None  # Bob finds his in his payload
    for hop, (_, payload) in zip(opened, hops, strict=True):
        layer = open_packet(SecretKey(bytes.fromhex(hop["node_privkey"])), bytes.fromhex(hop["onion"]), path_key, along)
        assert layer.payload == payload
        path_key = bytes.fromhex(hop["next_path_key"]) if "next_path_key" in hop else None


@pytest.mark.parametrize("vector", GENERATED, ids=lambda vector: f"{len(vector['hops'])} in {vector['size']}")
def test_o6_o8_o9_any_size_and_number_of_hops(vector: dict[str, Any]) -> None:
    along = bytes.fromhex(vector["associated_data"])
    hops = [(bytes.fromhex(hop["pubkey"]), bytes.fromhex(hop["payload"])) for hop in vector["hops"]]
    packet = build_packet(bytes.fromhex(vector["session_key"]), hops, vector["size"], along)
    assert written(packet) == vector["packet"]
    for hop in vector["hops"]:
        assert len(packet) == vector["size"] + OVERHEAD
        layer = open_packet(SecretKey(bytes.fromhex(hop["privkey"])), packet, None, along)
        assert layer.payload.hex() == hop["payload"]
        assert (written(layer.next_packet) if layer.next_packet else None) == hop["next_packet"]
        packet = layer.next_packet or b""


def written(packet: bytes) -> str:
    """As these vectors write it: a large one by its hash."""
    return packet.hex() if len(packet) < 5000 else f"{hashlib.sha256(packet).hexdigest()} (sha256)"


def two_hops(size: int = 120) -> bytes:
    return build_packet(random(9), [(key(1).public_key, b"first"), (key(2).public_key, b"second")], size)


def test_o12_each_byte_that_is_changed_drops_it() -> None:
    packet = two_hops()
    second = open_packet(key(1), packet).next_packet
    assert second is not None
    assert open_packet(key(2), second).payload == b"second"
    for opener, sealed in ((key(1), packet), (key(2), second)):
        for at in range(len(sealed)):
            changed = bytearray(sealed)
            changed[at] ^= 1 << at % 8
            assert why(opener, bytes(changed)) in (Drop.VERSION, Drop.POINT, Drop.HMAC)


def test_o12_what_is_not_for_us_or_no_packet() -> None:
    packet = two_hops()
    assert why(key(2), packet) is Drop.HMAC
    assert why(key(1), packet, key(3).public_key) is Drop.HMAC
    assert why(key(1), packet, b"\x02" + b"\xff" * 32) is Drop.POINT
    assert why(key(1), packet[:65]) is Drop.LENGTH
    assert why(key(1), b"") is Drop.LENGTH
    assert why(key(1), packet[:66]) is Drop.HMAC
    assert why(key(1), b"\1" + packet[1:]) is Drop.VERSION
    assert why(key(1), b"\0\4" + packet[2:]) is Drop.POINT


def test_o9_sizes() -> None:
    assert (framed_length(2), framed_length(252), framed_length(253)) == (35, 285, 288)
    assert size_for([1300 - 35]) == 1300
    assert size_for([1300 - 34, 2]) == 32768
    assert size_for([32768 - 35]) == 32768
    with pytest.raises(ValueError, match="32769 bytes"):
        size_for([32768 - 34])


def test_o6_what_cannot_be_built() -> None:
    with pytest.raises(ValueError, match="a hop"):
        build_packet(random(1), [], 1300)
    with pytest.raises(ValueError, match="2 bytes"):
        build_packet(random(1), [(key(1).public_key, b"x")], 1300)
    with pytest.raises(ValueError, match="76 bytes, and the packet holds 75"):
        build_packet(random(1), [(key(1).public_key, b"second"), (key(2).public_key, b"four")], 75)
    with pytest.raises(ValueError):  # noqa: PT011
        build_packet(bytes(32), [(key(1).public_key, b"xx")], 1300)
    with pytest.raises(ValueError):  # noqa: PT011
        build_packet(random(1), [(bytes(33), b"xx")], 1300)
