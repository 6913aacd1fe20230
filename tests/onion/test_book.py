"""OfferBook: which request is asked about, which gets an invoice, an error, or nothing; and how much is remembered."""

from __future__ import annotations

import random as randoms
from typing import Any

import pytest

from tests.support.onions import key, random
from tests.support.sellers import PAYINFO
from triolight.chains import REGTEST
from triolight.keys import SecretKey, verify_schnorr
from triolight.onion import (
    InvoiceError,
    InvoiceRequest,
    InvoiceTerms,
    Offer,
    OfferBook,
    OfferTlvs,
    blind_route,
    merkle_root,
    open_message,
    seal,
)
from triolight.onion.invoices import Invoice
from triolight.onion.layers import Delivery, Forward
from triolight.onion.records import read_records, signature_hash
from triolight.onion.requests import signed
from triolight.onion.streams import InvoiceRequestTlvs

NOW = 1_800_000_000.0
US = bytes([3]) * 32


def a_book(**options: Any) -> OfferBook:
    """Of node 3, whose randomness repeats."""
    return OfferBook(US, randoms.Random(1).randbytes, **options)


def asking(offer: Offer, number: int = 1, **options: Any) -> InvoiceRequest:
    """A request; another one for each number."""
    return InvoiceRequest.make(offer, SecretKey(random(number)), random(number + 50)[:16], bytes(32), **options)


def terms(number: int = 1, **options: Any) -> InvoiceTerms:
    """What the layer that pays says; another hash for each number."""
    path = blind_route(random(4), [key(3).public_key])
    return InvoiceTerms(payment_hash=bytes([number]) * 32, paths=[(path, PAYINFO)], **options)


def asked(book: OfferBook, request: InvoiceRequest, path_id: bytes | None = None, now: float = NOW) -> Any:
    return book.look(request.data, path_id, now)


def refused(book: OfferBook, request: InvoiceRequest | bytes, path_id: bytes | None = None) -> tuple[str, int | None]:
    """The words, and the field that they are about."""
    data = request if isinstance(request, bytes) else request.data
    error = book.look(data, path_id, NOW)
    assert isinstance(error, InvoiceError)
    return str(error).partition(" (field")[0], error.tlvs.erroneous_field


def test_b20_a_request_becomes_an_invoice_by_the_nodes_key() -> None:
    book = a_book()
    offer = book.issue("tea", amount_msat=1000, quantity_max=0, issuer="shop", absolute_expiry=2_000_000_000)
    assert book.offers == (offer,)
    assert Offer.decode(offer.encode()) == offer
    request = asking(offer, quantity=3, payer_note="milk")
    assert asked(book, request) == request
    invoice = book.give(request, terms(relative_expiry=60), NOW)
    invoice.verify(request, now=NOW + 60)
    assert (invoice.amount_msat, invoice.node_id) == (3000, book.node_id)
    assert verify_schnorr(
        invoice.tlvs.signature or b"",
        signature_hash("invoice", merkle_root(invoice.records)),
        key(3).public_key,
    )
    assert repr(book) == f"<OfferBook {book.node_id.hex()[:16]}, 1 offers, 1 requests>"


def test_what_is_paid_is_what_was_asked_for() -> None:
    book = a_book()
    open_ended, foreign = (
        book.issue(),
        Offer.make(
            OfferTlvs(
                offer_currency=b"EUR", offer_amount=5, offer_description=b"tea", offer_issuer_id=key(3).public_key
            )
        ),
    )
    book.add(foreign)
    given = book.give(asking(open_ended, amount_msat=77), terms(), NOW)
    assert given.amount_msat == 77
    with pytest.raises(ValueError, match="78 msat, where 77 are asked for"):
        book.give(asking(open_ended, amount_msat=77), terms(amount_msat=78), NOW)
    with pytest.raises(Exception, match="invoice_amount: it is not there"):
        book.give(asking(foreign), terms(), NOW)
    assert book.give(asking(foreign), terms(amount_msat=9), NOW).amount_msat == 9


def test_b14_what_is_wrong_with_a_request_it_is_told() -> None:
    book = a_book()
    offer = book.issue("tea", amount_msat=1000, absolute_expiry=int(NOW))
    request = asking(offer)
    assert refused(book, b"\1")[1] is None
    unsigned = b"".join(record.raw for record in request.records if record.type != 240)
    assert refused(book, unsigned) == ("it is not there", 240)
    bare = b"".join(record.raw for record in request.records if record.type)
    assert refused(book, bare) == ("it is not there", 0)
    changed = request.data[:-1] + bytes([request.data[-1] ^ 1])
    assert refused(book, changed) == ("not by the key of invreq_payer_id", 240)
    assert refused(book, bytes(8193)) == ("an invoice request of more than 8192 bytes", None)
    error = book.look(request.data, None, NOW + 1)
    assert isinstance(error, InvoiceError)
    assert error.tlvs.erroneous_field == 14
    assert len(book) == 0


def test_b14_only_a_live_offer_of_ours_can_be_asked() -> None:
    book, others = a_book(), OfferBook(random(9), randoms.Random(2).randbytes)
    offer = book.issue("tea", amount_msat=1000)
    cheaper = Offer.make(offer.tlvs.replace(offer_amount=1))
    assert refused(book, asking(cheaper)) == ("no such offer", None)
    assert refused(book, asking(others.issue(), amount_msat=5)) == ("no such offer", None)
    with pytest.raises(ValueError, match="of another node"):
        book.add(others.issue())
    book.remove(offer)
    book.remove(offer)
    assert refused(book, asking(offer)) == ("no such offer", None)
    book.add(offer)
    assert asked(book, asking(offer)) == asking(offer)
    refund = InvoiceRequest(_refund())
    assert refused(book, refund) == ("an invoice request for no offer", None)


def _refund() -> bytes:
    """A request that belongs to no offer: somebody wants to be asked for money."""
    payer = SecretKey(random(1))
    tlvs = InvoiceRequestTlvs(
        invreq_metadata=bytes(16), offer_description=b"back", invreq_amount=5, invreq_payer_id=payer.public_key
    )
    return signed("invoice_request", read_records(tlvs.encode()), payer, bytes(32))


def told(offer: Offer, at: int = 0) -> bytes | None:
    """The path_id that we find at the end of one of its paths."""
    node = {key(number).public_key: key(number) for number in (3, 7, 8)}
    path = offer.paths[at]
    opened: Any = open_message(node[path.first_node_id], seal(random(1), path, [(64, b"x")]))
    while isinstance(opened, Forward):
        opened = open_message(node[opened.next_node_id or b""], opened.message)
    assert isinstance(opened, Delivery)
    return opened.data.path_id


def test_b14_o21_an_offer_with_paths_is_asked_by_one_of_them_and_no_other_way() -> None:
    book = a_book()
    offer = book.issue(introductions=[key(7).public_key, key(3).public_key])
    other = book.issue(introductions=[key(7).public_key])
    assert [path.first_node_id for path in offer.paths] == [key(7).public_key, key(3).public_key]
    request = asking(offer, amount_msat=5)
    # By another offer's path, by a forged one, and straight to our node id: nothing, or else it is known whose it is.
    for path_id in (told(other), bytes(32), b"", None):
        assert asked(book, request, path_id) is None
    for at in (0, 1):
        assert asked(book, request, told(offer, at)) == request
        book.release(request)
    # After a restart nothing but the offer is known.
    again = OfferBook(US, randoms.Random(3).randbytes)
    assert refused(again, request, told(offer)) == ("no such offer", None)
    again.add(offer)
    assert asked(again, request, told(offer)) == request
    # One that is not ours looks the same from outside.
    theirs = OfferBook(random(9), randoms.Random(2).randbytes).issue(introductions=[key(7).public_key])
    assert asked(book, asking(theirs, amount_msat=5)) is None


def test_b14_an_offer_without_paths_is_not_asked_by_one() -> None:
    book = a_book()
    request = asking(book.issue(), amount_msat=5)
    assert asked(book, request, told(book.issue(introductions=[key(7).public_key]))) is None
    assert asked(book, request, b"x") is None
    assert asked(book, request) == request


def test_b15_the_same_metadata_again_gets_the_same_invoice_or_nothing() -> None:
    book = a_book()
    offer = book.issue()
    request = asking(offer, amount_msat=5)
    assert asked(book, request) == request
    assert asked(book, request) is None  # the application is asked once
    invoice = book.give(request, terms(1), NOW)
    book.release(request)  # too late
    again = asked(book, request, now=NOW + 7200)
    assert isinstance(again, Invoice)
    assert again.data == invoice.data
    other = InvoiceRequest.make(offer, SecretKey(random(2)), random(51)[:16], bytes(32), amount_msat=6)
    assert other.tlvs.invreq_metadata == request.tlvs.invreq_metadata
    assert asked(book, other) is None
    assert asked(book, request, now=NOW + 7201) is None
    # A request that got no invoice may be made again.
    second = asking(offer, 2, amount_msat=5)
    assert asked(book, second) == second
    book.release(second)
    assert asked(book, second) == second


def test_b15_what_is_remembered_is_bounded_and_nothing_is_forgotten_early() -> None:
    book = a_book(remembered=3)
    offer = book.issue(chains=REGTEST)
    requests = [asking(offer, number, amount_msat=5, chain=REGTEST) for number in range(1, 6)]
    for number, request in enumerate(requests[:3]):
        assert asked(book, request) == request
        book.give(request, terms(number, relative_expiry=100 - number), NOW)
    assert refused(book, requests[3]) == ("too many have asked; later there is room again", None)
    assert asked(book, requests[3], now=NOW + 98) is not None
    assert len(book) == 3
    # The one that expired first is forgotten first; the others still get what they got.
    assert asked(book, requests[3], now=NOW + 98.5) == requests[3]
    for request in requests[:2]:
        assert isinstance(asked(book, request, now=NOW + 98.5), Invoice)
    assert isinstance(asked(book, requests[4], now=NOW + 98.5), InvoiceError)
    assert len(book) == 3
    with pytest.raises(ValueError, match="above 0"):
        a_book(remembered=0)
