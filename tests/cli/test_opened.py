"""Onions in messages, opened with --secret-file: each hop of the BOLT's vectors, what is not for us, and bad keys."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.cli.decoding import UPDATE, run
from tests.support.onions import MESSAGE, key, load, random
from tests.support.sellers import offer_of
from triolight.cli.opened import opened
from triolight.keys import SecretKey
from triolight.messages import EncryptedDataTlv, Message, OnionMessage, UpdateAddHtlc
from triolight.onion import (
    Delivery,
    InvoiceError,
    InvoiceRequest,
    blind,
    blind_route,
    open_message,
    open_packet,
    seal,
)
from triolight.wire import ShortChannelId, TlvRecord, write_bigsize, write_tlv_records

PATH_ID = "deadbeefbadc0ffeedeadbeefbadc0ffeedeadbeefbadc0ffeedeadbeefbadc0"
PLACE = ShortChannelId.of(1, 2, 3)
HOPS: list[dict[str, Any]] = MESSAGE["decrypt"]["hops"]


def secret_of(folder: Path, secret: str) -> str:
    path = folder / f"{secret[:8]}.key"
    path.write_text(secret)
    path.chmod(0o600)
    return str(path)


def layers_of(secret: SecretKey, message: Message) -> list[dict[str, Any]]:
    found = opened(secret, message)
    assert found is not None
    return found


def test_each_hop_of_the_bolts_message(tmp_path: Path) -> None:
    for hop, after in pairwise(HOPS):
        done = run(
            "decode", "--json", "--hex", hop["onion_message"], "--secret-file", secret_of(tmp_path, hop["privkey"])
        )
        assert done.exit_code == 0
        (layer,) = json.loads(done.stdout)["opened"]
        assert layer == {"next_node_id": hop["next_node_id"], "next_message": after["onion_message"]}
        # It is no part of the message.
        assert run("encode", given=done.stdout).stdout.strip() == hop["onion_message"]
    last = HOPS[-1]
    secret = secret_of(tmp_path, last["privkey"])
    done = run("decode", "--json", "--secret-file", secret, given=f"{last['onion_message']}\n{UPDATE}\n")
    message, update = map(json.loads, done.stdout.splitlines())
    assert "opened" not in update
    (layer,) = message["opened"]
    assert layer["payload"]["unknown"] == [{"type": 1, "value": b"hello".hex()}]
    assert layer["encrypted_data"]["path_id"] == PATH_ID
    text = run("decode", "--hex", last["onion_message"], "--secret-file", secret).stdout
    assert "  opened:\n    payload:\n" in text
    assert f"      path_id: {PATH_ID}\n" in text


def test_layers_for_ourselves_and_what_a_message_is_about() -> None:
    request = InvoiceRequest.make(offer_of(3), key(5), bytes(16), bytes(32), payer_note="milk")
    path = blind_route(random(1), [key(1).public_key] * 3, EncryptedDataTlv(path_id=b"us"))
    layers = layers_of(
        key(1), seal(random(2), path, [(64, request.data)], reply_path=blind_route(random(3), [key(7).public_key]))
    )
    assert [layer.get("next_node_id") for layer in layers] == [key(1).public_key.hex()] * 2 + [None]
    asked = layers[-1]["payload"]["invoice_request"]
    assert (bytes.fromhex(asked["invreq_payer_note"]), asked["offer_amount"]) == (b"milk", 1000)
    assert layers[-1]["payload"]["reply_path"]["first_node_id"] == key(7).public_key.hex()
    too_many = blind_route(random(1), [key(1).public_key] * 12)
    assert len(layers_of(key(1), seal(random(2), too_many))) == 11
    error = seal(random(2), blind_route(random(1), [key(1).public_key]), [(68, InvoiceError.make("no").data)])
    assert layers_of(key(1), error) == [
        {
            "payload": {"encrypted_recipient_data": error_data(error), "invoice_error": {"error": b"no".hex()}},
            "encrypted_data": {},
        }
    ]
    broken = layers_of(key(1), seal(random(2), blind_route(random(1), [key(1).public_key]), [(66, b"\1")]))
    assert broken[0]["payload"]["invoice"]["bytes"] == "01"
    by_channel = blind(
        random(9), [(key(1).public_key, EncryptedDataTlv(short_channel_id=PLACE).encode()), (key(2).public_key, b"")]
    )
    (layer,) = layers_of(key(1), seal(random(8), by_channel))
    assert layer["short_channel_id"] == "1x2x3"


def error_data(message: OnionMessage) -> str:
    """What its only hop is told, sealed."""
    layer = open_message(key(1), message)
    assert isinstance(layer, Delivery)
    return (layer.payload.encrypted_recipient_data or b"").hex()


def test_each_hop_of_the_bolts_payment() -> None:
    vector = load("bolt04/onion-test.json")
    packet = bytes.fromhex(vector["onion"])
    for hop, secret in zip(vector["generate"]["hops"], vector["decode"], strict=True):
        message = UpdateAddHtlc(
            channel_id=bytes(32),
            id=0,
            amount_msat=1,
            payment_hash=bytes.fromhex(vector["generate"]["associated_data"]),
            cltv_expiry=1,
            onion_routing_packet=packet,
        )
        (layer,) = layers_of(SecretKey(bytes.fromhex(secret)), message)
        packet = open_packet(SecretKey(bytes.fromhex(secret)), packet, None, message.payment_hash).next_packet or b""
        records = b"".join(
            write_tlv_records([TlvRecord(one["type"], bytes.fromhex(one["value"]))]) for one in layer["records"]
        )
        assert (write_bigsize(len(records)) + records).hex() == hop["payload"]
        assert layer["final"] == (packet == b"")
        assert layers_of(key(9), message) == [{"dropped": "HMAC", "why": "not sealed for us, or changed on its way"}]


def test_what_is_not_for_this_node_and_what_is_no_key(tmp_path: Path) -> None:
    message = HOPS[0]["onion_message"]
    secret = secret_of(tmp_path, "09" * 32)
    done = run("decode", "--json", "--hex", message, "--secret-file", secret)
    assert json.loads(done.stdout)["opened"] == [{"dropped": "HMAC", "why": "not sealed for us, or changed on its way"}]
    done = run("decode", "--hex", message, "--secret-file", secret)
    assert (done.exit_code, done.stdout.splitlines()[-2:]) == (
        0,
        ["    dropped: HMAC", "    why: not sealed for us, or changed on its way"],
    )
    for words, given in (("does not hold a node secret", "00" * 32), ("No such file", None)):
        path = tmp_path / "missing" if given is None else Path(secret_of(tmp_path, given))
        done = run("decode", "--hex", message, "--secret-file", str(path))
        assert (done.exit_code, done.stdout) == (2, "")
        assert words in done.stderr
        assert "--secret-file" in done.stderr
