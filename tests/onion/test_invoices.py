"""Invoices and invoice errors: every vector, and each way in which an invoice does not fit its request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.onions import key, load, random
from triolight.keys import SecretKey
from triolight.onion.blinded import blind_route
from triolight.onion.invoices import Invoice, InvoiceError
from triolight.onion.offers import Offer
from triolight.onion.records import RULES, OfferError
from triolight.onion.requests import InvoiceRequest
from triolight.onion.streams import BlindedPayinfo, FallbackAddress, InvoiceTlvs, OfferTlvs
from triolight.wire import write_bigsize

GENERATED = load("bolt12/generated.json.xz")
PAYINFO = BlindedPayinfo(
    fee_base_msat=1,
    fee_proportional_millionths=2,
    cltv_expiry_delta=3,
    htlc_minimum_msat=4,
    htlc_maximum_msat=5,
    features=b"",
)


@pytest.mark.parametrize("vector", GENERATED["invoices"], ids=lambda vector: vector["comment"])
def test_b16_others_invoices(vector: dict[str, Any]) -> None:
    data, request = bytes.fromhex(vector["invoice"]), bytes.fromhex(vector["request"])
    sent_to = bytes.fromhex(vector["sent_to"]) if vector["sent_to"] else None
    if vector["valid"]:
        invoice = Invoice(data)
        invoice.verify(request, now=vector["now"], sent_to=sent_to)
        assert Invoice.decode(invoice.encode()) == invoice == Invoice.decode(data.hex())
    else:
        with pytest.raises(OfferError) as caught:
            Invoice(data).verify(request, now=vector["now"], sent_to=sent_to)
        assert caught.value.rule in RULES


@pytest.mark.parametrize("vector", GENERATED["invoice_errors"], ids=lambda vector: vector["comment"])
def test_b19_others_errors(vector: dict[str, Any]) -> None:
    data = bytes.fromhex(vector["invoice_error"])
    if not vector["valid"]:
        with pytest.raises(OfferError) as caught:
            InvoiceError(data)
        assert caught.value.rule in RULES
        return
    error = InvoiceError(data)
    assert error.data == data
    assert (error.tlvs.error or b"").hex() == vector["fields"]["5"]


def request(amount_msat: int | None = None, **fields: Any) -> InvoiceRequest:
    given: dict[str, Any] = {"offer_issuer_id": key(1).public_key, "offer_description": b"tea", "offer_amount": 1000}
    offer = Offer.make(OfferTlvs(**given | fields))
    return InvoiceRequest.make(offer, key(7), bytes(range(16)), random(9), amount_msat=amount_msat)


def answer(to: InvoiceRequest, by: SecretKey | None = None, **fields: Any) -> Invoice:
    path = blind_route(random(4), [key(2).public_key, key(1).public_key])
    given: dict[str, Any] = {
        "invoice_paths": (path,),
        "invoice_blindedpay": (PAYINFO,),
        "invoice_created_at": 1000,
        "invoice_payment_hash": bytes(range(32)),
        "invoice_amount": 1000,
    }
    return Invoice.make(to, InvoiceTlvs(**given | fields), by or key(1), random(5))


def test_b7_b16_an_invoice_repeats_its_request() -> None:
    asked = request()
    invoice = answer(asked, unknown=((3_000_000_001, b"z"),))
    invoice.verify(asked, now=1000)
    invoice.verify(asked, now=8200, most_msat=1000)
    assert (invoice.amount_msat, invoice.payment_hash) == (1000, bytes(range(32)))
    assert (invoice.node_id, invoice.created_at, invoice.expires_at) == (key(1).public_key, 1000, 8200)
    assert [info for _, info in invoice.paths] == [PAYINFO]
    assert invoice.records[-1].type == 3_000_000_001
    assert repr(invoice) == f"<Invoice {bytes(range(8)).hex()} 1000 msat>"
    assert len({invoice, Invoice(invoice.data), answer(asked)}) == 2
    assert invoice != invoice.data


def refused(invoice: Invoice, to: InvoiceRequest, now: float = 1000, **options: Any) -> tuple[str, str]:
    with pytest.raises(OfferError) as caught:
        invoice.verify(to, now=now, **options)
    return caught.value.rule, caught.value.field


def test_b16_b17_what_does_not_fit_the_request() -> None:
    asked, exact = request(), request(1500)
    assert refused(answer(exact), asked) == ("B16", "")
    assert refused(answer(asked, key(2)), asked) == ("B16", "invoice_node_id")
    assert refused(answer(exact), exact) == ("B16", "invoice_amount")
    assert refused(answer(asked, invoice_amount=1001), asked) == ("B17", "invoice_amount")
    assert refused(answer(exact, invoice_amount=1500), exact, most_msat=1499) == ("B17", "invoice_amount")
    assert refused(answer(asked), asked, now=8201) == ("B16", "invoice_relative_expiry")
    assert refused(answer(asked, invoice_relative_expiry=0), asked, now=1001) == ("B16", "invoice_relative_expiry")
    answer(exact, invoice_amount=1500).verify(exact, now=0, most_msat=1500)
    answer(asked, invoice_amount=999).verify(asked, now=0)


def test_b16_an_offer_that_names_nobody_is_answered_by_the_end_of_its_path() -> None:
    path = blind_route(random(4), [key(2).public_key, key(3).public_key])
    asked = request(offer_issuer_id=None, offer_paths=(path,))
    last = path.path[-1].blinded_node_id
    invoice = answer(asked, key(5))
    assert refused(invoice, asked) == ("B16", "invoice_node_id")
    assert refused(invoice, asked, sent_to=last) == ("B16", "invoice_node_id")
    invoice.verify(asked, now=0, sent_to=key(5).public_key)


def why(**fields: Any) -> tuple[str, str]:
    with pytest.raises(OfferError) as caught:
        answer(request(), **fields)
    return caught.value.rule, caught.value.field


def test_b16_what_an_invoice_needs() -> None:
    for field in (
        "invoice_paths",
        "invoice_blindedpay",
        "invoice_created_at",
        "invoice_payment_hash",
        "invoice_amount",
    ):
        assert why(**{field: None}) == ("B16", field)
    assert why(invoice_paths=(), invoice_blindedpay=()) == ("B16", "invoice_paths")
    assert why(invoice_blindedpay=(PAYINFO, PAYINFO)) == ("B16", "invoice_blindedpay")
    assert why(invoice_blindedpay=(PAYINFO.replace(features=b"\1"),)) == ("B16", "invoice_blindedpay")
    assert why(invoice_features=b"\4") == ("B16", "invoice_features")
    with pytest.raises(ValueError, match="repeated as it is"):
        answer(request(), invreq_amount=5)


def test_b16_b18_ways_that_nobody_knows_are_passed_over() -> None:
    path = blind_route(random(4), [key(2).public_key])
    invoice = answer(
        request(),
        invoice_paths=(path, path),
        invoice_blindedpay=(PAYINFO.replace(features=b"\1"), PAYINFO),
        invoice_features=b"\3\0\0",
        invoice_fallbacks=tuple(
            FallbackAddress(version=version, address=bytes(length))
            for version, length in ((0, 20), (17, 32), (16, 40), (1, 41), (1, 1), (1, 2))
        ),
    )
    assert [info.features for _, info in invoice.paths] == [b""]
    assert [(one.version, len(one.address)) for one in invoice.fallbacks] == [(0, 20), (16, 40), (1, 2)]


def test_b9_each_byte_is_signed() -> None:
    data = answer(request()).data
    for at in range(len(data)):
        with pytest.raises(OfferError):
            Invoice(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])


@pytest.mark.parametrize("words", ["", "x", "abcd", "a much longer word", "x" * 300])
def test_b19_errors_as_ldk_writes_them(words: str) -> None:
    """With their length before them; and as BOLT 12 has them, where a first byte may look like a length."""
    right = InvoiceError.make(words).data
    ldks = write_bigsize(len(right)) + right
    assert [InvoiceError(data).tlvs.error for data in (right, ldks)] == [words.encode()] * 2
    with pytest.raises(OfferError):
        InvoiceError(ldks + b"\x00")


def test_b19_errors_have_a_text_for_people() -> None:
    error = InvoiceError.make("no \x1btea", 82, b"\x05")
    assert str(error) == "no \\x1btea (field 82)"
    assert error.tlvs.suggested_value == b"\x05"
    assert InvoiceError(error.data) == error != error.data
    assert str(InvoiceError(b"")) == "no reason given"
    assert len(str(InvoiceError.make("x" * 2000))) == 512
    assert repr(InvoiceError.make("x")) == "<InvoiceError x>"
    assert len({error, InvoiceError(error.data)}) == 1
    with pytest.raises(OfferError) as caught:
        InvoiceError.make("x", None, b"\x05")
    assert caught.value.rule == "B19"
