"""Invoice requests: every vector, what may be asked of an offer, and what a signature covers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.onions import key, load, random
from triolight.chains import BITCOIN, TESTNET
from triolight.onion.offers import Offer
from triolight.onion.records import RULES, OfferError
from triolight.onion.requests import InvoiceRequest, price_of
from triolight.onion.streams import InvoiceRequestTlvs, OfferTlvs

GENERATED = load("bolt12/generated.json.xz")["invoice_requests"]
BOLT = load("bolt12/signature-test.json")[3]
METADATA = bytes(range(16))


@pytest.mark.parametrize("vector", GENERATED, ids=lambda vector: vector["comment"])
def test_b13_b14_others_requests(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["invoice_request"])
    if not vector["valid"]:
        with pytest.raises(OfferError) as caught:
            InvoiceRequest(data)
        assert caught.value.rule in RULES
        return
    request = InvoiceRequest(data)
    assert request.data == data
    assert InvoiceRequest.decode(request.encode()) == request


def test_the_bolts_request() -> None:
    request = InvoiceRequest.decode(BOLT["bolt12"])
    assert (request.tlvs.signature or b"").hex() == BOLT["signature"]
    assert request.encode() == BOLT["bolt12"]
    assert request.price_msat is None  # it is in another currency
    assert price_of(request.tlvs) is None


def offer(**fields: Any) -> Offer:
    given: dict[str, Any] = {"offer_issuer_id": key(1).public_key, "offer_description": b"tea", "offer_amount": 1000}
    return Offer.make(OfferTlvs(**given | fields))


def ask(of: Offer, **options: Any) -> InvoiceRequest:
    return InvoiceRequest.make(of, key(7), METADATA, random(9), **options)


def test_b7_b13_a_request_repeats_its_offer_and_says_what_is_wanted() -> None:
    tea = offer(offer_quantity_max=10, unknown=((33, b"x"), (1_000_000_001, b"y")))
    request = ask(tea, quantity=3, amount_msat=4000, payer_note="no milk", bip_353_name=("me", "a-b.example"))
    assert request.answers(tea)
    assert not request.answers(offer())
    tlvs = request.tlvs
    assert (tlvs.invreq_quantity, tlvs.invreq_amount, tlvs.invreq_payer_note) == (3, 4000, b"no milk")
    assert (tlvs.invreq_payer_id, tlvs.invreq_metadata, tlvs.invreq_chain) == (key(7).public_key, METADATA, None)
    name = tlvs.invreq_bip_353_name
    assert name is not None
    assert (bytes(name.name), bytes(name.domain)) == (b"me", b"a-b.example")
    assert (request.price_msat, request.chain_hash) == (3000, BITCOIN.chain_hash)
    types = [record.type for record in request.records]
    assert types == sorted(types)
    assert types[-1] == 1_000_000_001
    assert repr(request).startswith("<InvoiceRequest ")
    assert len({request, InvoiceRequest(request.data), ask(tea, quantity=3)}) == 2
    assert request != request.data


def why(of: Offer, **options: Any) -> tuple[str, str]:
    with pytest.raises(OfferError) as caught:
        ask(of, **options)
    return caught.value.rule, caught.value.field


def test_b12_b13_b15_what_may_not_be_asked() -> None:
    assert why(offer(), quantity=1) == ("B13", "invreq_quantity")
    assert why(offer(offer_quantity_max=2)) == ("B13", "invreq_quantity")
    assert why(offer(offer_quantity_max=2), quantity=0) == ("B13", "invreq_quantity")
    assert why(offer(offer_quantity_max=2), quantity=3) == ("B13", "invreq_quantity")
    assert why(offer(), amount_msat=999) == ("B13", "invreq_amount")
    assert why(offer(offer_quantity_max=0), quantity=2, amount_msat=1999) == ("B13", "invreq_amount")
    assert why(offer(offer_amount=None)) == ("B13", "invreq_amount")
    assert why(offer(), chain=TESTNET) == ("B13", "invreq_chain")
    assert why(offer(), bip_353_name=("a b", "example")) == ("B13", "invreq_bip_353_name")
    assert why(offer(offer_quantity_max=0), quantity=1 << 62) == ("B15", "invreq_quantity")
    with pytest.raises(ValueError, match="16 random bytes"):
        InvoiceRequest.make(offer(), key(7), bytes(15), random(9))


def test_b12_b13_what_may_be_asked() -> None:
    assert ask(offer()).price_msat == 1000
    assert ask(offer(offer_amount=None), amount_msat=1).tlvs.invreq_amount == 1
    assert ask(offer(offer_quantity_max=0), quantity=1 << 40).tlvs.invreq_quantity == 1 << 40
    assert ask(offer(offer_chains=(TESTNET.chain_hash,)), chain="testnet").chain_hash == TESTNET.chain_hash
    assert ask(offer(offer_currency=b"EUR"), amount_msat=1).price_msat is None
    assert ask(offer(offer_currency=b"EUR")).tlvs.invreq_amount is None


def test_b9_each_byte_is_signed() -> None:
    data = ask(offer(), amount_msat=2000).data
    for at in range(len(data)):
        with pytest.raises(OfferError) as caught:
            InvoiceRequest(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert caught.value.rule in ("B5", "B6", "B9", "B11", "B14")


def test_b14_without_an_offer() -> None:
    """What a refund is: somebody wants to pay, and says to whom it may be written."""
    tlvs = InvoiceRequestTlvs(invreq_metadata=METADATA, invreq_payer_id=key(7).public_key, signature=bytes(64))
    with pytest.raises(OfferError) as caught:
        InvoiceRequest(tlvs.encode())
    assert caught.value.rule == "B9"
