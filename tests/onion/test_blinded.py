"""Blinded paths against BOLT 4's vectors: made, read and joined."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.onions import MESSAGE, ROUTE, key, path_of, random
from triolight.keys import SecretKey
from triolight.messages import BlindedPath, EncryptedDataTlv
from triolight.onion.blinded import blind, blind_route, join, next_path_key, padded, unseal
from triolight.onion.drops import Drop, OnionDropped
from triolight.onion.sphinx import derive

MADE, READ = ROUTE["generate"]["hops"], ROUTE["unblind"]["hops"]


def made_of(path: BlindedPath) -> list[tuple[str, str]]:
    return [(hop.blinded_node_id.hex(), hop.encrypted_recipient_data.hex()) for hop in path.path]


def hops_of(vectors: list[dict[str, Any]]) -> list[tuple[bytes, bytes]]:
    return [(bytes.fromhex(hop["node_id"]), bytes.fromhex(hop["encoded_tlvs"])) for hop in vectors]


def test_o14_the_route_of_two_makers() -> None:
    """Eve makes Dave to Eve; Bob makes Bob to Carol, who is told to go on with Dave's path key."""
    wanted = [(hop["blinded_node_id"], hop["encrypted_data"]) for hop in ROUTE["route"]["hops"]]
    first = blind(bytes.fromhex(MADE[0]["path_privkey"]), hops_of(MADE[:2]))
    second = blind(bytes.fromhex(MADE[2]["path_privkey"]), hops_of(MADE[2:]))
    assert made_of(first) + made_of(second) == wanted
    assert first.first_node_id.hex() == ROUTE["route"]["first_node_id"]
    assert first.first_path_key.hex() == ROUTE["route"]["first_path_key"]
    assert path_of(ROUTE["route"]) == first.replace(path=first.path + second.path)


@pytest.mark.parametrize("at", range(4))
def test_o11_o17_each_hop_reads_what_it_was_told(at: int) -> None:
    hop = READ[at]
    opener, path_key = SecretKey(bytes.fromhex(hop["node_privkey"])), bytes.fromhex(hop["path_key"])
    secret = opener.ecdh(path_key)
    assert opener.multiply(derive(b"blinded_node_id", secret)).public_key.hex() == MADE[at]["blinded_node_id"]
    data = unseal(secret, bytes.fromhex(MADE[at]["encrypted_data"]))
    assert data.encode().hex() == hop["decrypted_data"] == MADE[at]["encoded_tlvs"]
    assert next_path_key(path_key, secret, data).hex() == hop.get("next_path_key_override", hop["next_path_key"])


def test_o14_o18_the_path_of_the_message_and_a_hop_before_it() -> None:
    hops = MESSAGE["generate"]["hops"]
    told = [bytes.fromhex(hop["encrypted_data_tlv"]) for hop in hops]
    ids = [SecretKey(bytes([0x41 + at]) * 32).public_key for at in range(4)]
    theirs = blind(bytes.fromhex(hops[1]["path_key_secret"]), list(zip(ids[1:], told[1:], strict=True)))
    whole = join(bytes.fromhex(hops[0]["path_key_secret"]), ids[:1], theirs, ids[1])
    assert whole == path_of(MESSAGE["route"])
    assert made_of(whole) == [(hop["blinded_node_id"], hop["encrypted_recipient_data"]) for hop in hops]


def walk(path: BlindedPath, openers: list[SecretKey]) -> list[EncryptedDataTlv]:
    """What each of these is told, who stand on the path in this order."""
    path_key = path.first_path_key
    found: list[EncryptedDataTlv] = []
    for opener, hop in zip(openers, path.path, strict=True):
        secret = opener.ecdh(path_key)
        assert opener.multiply(derive(b"blinded_node_id", secret)).public_key == hop.blinded_node_id
        found.append(unseal(secret, hop.encrypted_recipient_data))
        path_key = next_path_key(path_key, secret, found[-1])
    return found


def test_o15_o16_a_route_tells_each_hop_the_next_one_in_as_many_bytes() -> None:
    openers = [key(at) for at in (1, 2, 3)]
    ids = [one.public_key for one in openers]
    path = blind_route(random(7), ids, EncryptedDataTlv(path_id=b"ours" * 8))
    told = walk(path, openers)
    assert [one.next_node_id for one in told] == [*ids[1:], None]
    assert [one.path_id for one in told] == [None, None, b"ours" * 8]
    assert len({len(hop.encrypted_recipient_data) for hop in path.path}) == 1
    assert path.first_node_id == ids[0]
    assert walk(blind_route(random(7), ids[:1]), openers[:1]) == [EncryptedDataTlv()]


def test_o18_a_joined_path_is_walked_to_its_end() -> None:
    openers = [key(at) for at in (1, 2, 3, 4)]
    ids = [one.public_key for one in openers]
    theirs = blind_route(random(8), ids[2:], EncryptedDataTlv(path_id=b"theirs"))
    whole = join(random(9), ids[:2], theirs, ids[2])
    told = walk(whole, openers)
    assert [one.next_node_id for one in told] == [*ids[1:], None]
    assert told[1].next_path_key_override == theirs.first_path_key
    assert told[3].path_id == b"theirs"


@pytest.mark.parametrize("longer", [0, 1, 2, 3, 33, 252, 253, 254, 255, 256, 257, 258, 300, 1000])
def test_o16_padding_makes_all_as_long_as_one_another(longer: int) -> None:
    hops = [EncryptedDataTlv(path_id=bytes(4)), EncryptedDataTlv(path_id=bytes(4 + longer), padding=b"old")]
    written = padded(hops)
    assert len({len(one) for one in written}) == 1
    assert [EncryptedDataTlv.decode(one).path_id for one in written] == [bytes(4), bytes(4 + longer)]
    longest = len(EncryptedDataTlv(path_id=bytes(4 + longer)).encode())
    assert longest <= len(written[0]) <= longest + 4
    assert padded([]) == ()


def test_o17_what_does_not_open_and_what_is_no_stream() -> None:
    sealed = blind(random(1), [(key(1).public_key, b"\x06\x01x"), (key(2).public_key, b"\x05\x02x")])
    secret = key(1).ecdh(sealed.first_path_key)
    whole = sealed.path[0].encrypted_recipient_data
    assert unseal(secret, whole).path_id == b"x"
    for at in range(len(whole)):
        assert why(secret, whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]) is Drop.SEALED_DATA
        assert why(secret, whole[:at]) is Drop.SEALED_DATA
    broken = blind(random(1), [(key(1).public_key, b"\x06\x02x")]).path[0].encrypted_recipient_data
    assert why(secret, broken) is Drop.DATA


def why(secret: bytes, sealed: bytes) -> Drop:
    with pytest.raises(OnionDropped) as caught:
        unseal(secret, sealed)
    return caught.value.drop


def test_what_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="needs a hop"):
        blind(random(1), [])
    with pytest.raises(ValueError, match="needs a hop"):
        blind_route(random(1), [])
    with pytest.raises(ValueError, match="nothing to join"):
        join(random(1), [], blind_route(random(1), [key(1).public_key]), key(1).public_key)
    with pytest.raises(ValueError):  # noqa: PT011
        blind(random(1), [(bytes(33), b"")])
