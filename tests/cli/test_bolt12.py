"""Offers and invoices for people and as JSON, whatever strangers write into them."""

from __future__ import annotations

from tests.support.onions import key, random
from triolight.chains import BITCOIN, TESTNET
from triolight.cli.bolt12 import in_words, offer_fields, unknown_fields
from triolight.onion import Offer, OfferTlvs, blind_route
from triolight.wire import TlvRecord


def test_all_that_an_offer_can_say() -> None:
    path = blind_route(random(1), [key(1).public_key, key(2).public_key])
    by_channel = path.replace(first_node_id=b"\1" + (539268 << 40 | 845 << 16 | 1).to_bytes(8, "big"))
    offer = Offer.make(
        OfferTlvs(
            offer_chains=(BITCOIN.chain_hash, TESTNET.chain_hash, bytes(32)),
            offer_metadata=b"\xab",
            offer_currency=b"EUR",
            offer_amount=250,
            offer_description=b"caf\xc3\xa9 \x1b[31m",
            offer_absolute_expiry=2_051_185_800,
            offer_paths=(path, by_channel),
            offer_quantity_max=0,
            offer_features=b"\2",
            unknown=(TlvRecord(33, b"x"),),
        )
    )
    fields = offer_fields(offer.tlvs)
    assert fields["paths"] == [
        {"first_node_id": key(1).public_key.hex(), "hops": 2},
        {"short_channel_id": "539268x845x1", "direction": 1, "hops": 2},
    ]
    assert (fields["amount_msat"], fields["currency"], fields["amount"]) == (None, "EUR", 250)
    assert fields["chains"] == ["bitcoin", "testnet", bytes(32).hex()]
    assert (fields["description"], fields["quantity_max"]) == ("caf\xe9 \x1b[31m", 0)
    assert (fields["features"], fields["metadata"]) == ("02", "ab")
    assert unknown_fields(offer.tlvs.unknown) == [{"type": 33, "value": "78"}]
    words = in_words(fields) + "\n"
    assert "  description: caf\\xe9 \\x1b[31m\n" in words
    assert "  expires_at: 2051185800 (2034-12-31 13:50:00 UTC)\n" in words
    assert "  paths: short_channel_id 539268x845x1, direction 1, hops 2\n" in words
    far = Offer.make(offer.tlvs.replace(offer_absolute_expiry=(1 << 64) - 1))
    assert f"  expires_at: {(1 << 64) - 1}\n" in in_words(offer_fields(far.tlvs)) + "\n"
