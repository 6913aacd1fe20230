"""Offers: every vector of the BOLT and of others, every prefix, and what makes one unusable."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.onions import key, load, random
from triolight.chains import BITCOIN, TESTNET
from triolight.messages import BlindedPath
from triolight.onion.blinded import blind_route
from triolight.onion.offers import Offer
from triolight.onion.records import RULES, OfferError
from triolight.onion.streams import OfferTlvs

BOLT = load("bolt12/offers-test.json")
GENERATED = load("bolt12/generated.json.xz")


def broken(text: str) -> OfferError:
    with pytest.raises(OfferError) as caught:
        Offer.decode(text)
    assert caught.value.rule in RULES
    return caught.value


@pytest.mark.parametrize("vector", BOLT, ids=lambda vector: vector["description"])
def test_t6_b5_b6_b11_the_bolts_offers(vector: dict[str, Any]) -> None:
    if not vector["valid"]:
        broken(vector["bolt12"])
        return
    offer = Offer.decode(vector["bolt12"])
    assert offer.encode() == vector["bolt12"]
    wanted = [(one["type"], one["hex"]) for one in vector["fields"]]
    assert [(record.type, record.value.hex()) for record in offer.records] == wanted
    assert Offer.make(offer.tlvs) == offer


@pytest.mark.parametrize("vector", GENERATED["offers"], ids=lambda vector: vector["comment"])
def test_t6_b11_others_offers(vector: dict[str, Any]) -> None:
    if vector["valid"]:
        assert Offer.decode(vector["offer"]).encode() == vector["offer"]
    else:
        broken(vector["offer"])


@pytest.mark.parametrize("vector", GENERATED["strings"], ids=lambda vector: vector["comment"])
def test_t6_b1_b2_b3_others_strings(vector: dict[str, Any]) -> None:
    if vector["valid"]:
        assert Offer.decode(vector["string"]) == Offer.decode(GENERATED["strings"][0]["string"])
    else:
        broken(vector["string"])


def test_t6_every_prefix_is_refused_or_an_offer_by_itself() -> None:
    refused = shorter = 0
    for vector in (*BOLT, *GENERATED["offers"]):
        if not vector["valid"]:
            continue
        data = Offer.decode(vector.get("bolt12") or vector["offer"]).data
        for end in range(len(data)):
            try:
                shorter += Offer(data[:end]).data == data[:end]
            except OfferError:
                refused += 1
    assert refused > 20 * shorter > 0


def path(*numbers: int) -> BlindedPath:
    return blind_route(random(3), [key(number).public_key for number in numbers])


def why(**fields: Any) -> tuple[str, str]:
    with pytest.raises(OfferError) as caught:
        Offer.make(OfferTlvs(**fields))
    return caught.value.rule, caught.value.field


def test_b11_each_rule_by_its_field() -> None:
    issuer = {"offer_issuer_id": key(1).public_key}
    assert why() == ("B11", "")
    assert why(offer_paths=()) == ("B11", "offer_paths")
    assert why(offer_paths=(path(1), path(2).replace(path=()))) == ("B11", "offer_paths")
    assert why(offer_chains=(), **issuer) == ("B11", "offer_chains")
    assert why(offer_amount=1, **issuer) == ("B11", "offer_amount")
    assert why(offer_amount=0, offer_description=b"", **issuer) == ("B11", "offer_amount")
    assert why(offer_currency=b"USD", **issuer) == ("B11", "offer_currency")
    assert why(offer_features=b"\4", **issuer) == ("B11", "offer_features")
    for currency in (b"usd", b"US", b"USDT", b"U D", "ÄÖ".encode()):
        assert why(offer_currency=currency, offer_amount=1, offer_description=b"", **issuer) == ("B6", "offer_currency")


def test_b10_b12_what_an_offer_says() -> None:
    plain = Offer.make(OfferTlvs(offer_issuer_id=key(1).public_key))
    assert (plain.amount_msat, plain.paths, plain.chains) == (None, (), (BITCOIN.chain_hash,))
    whole = Offer.make(
        OfferTlvs(
            offer_amount=5,
            offer_description=b"caf\xc3\xa9\x1b",
            offer_paths=(path(1, 2),),
            offer_chains=(TESTNET.chain_hash, BITCOIN.chain_hash),
        )
    )
    assert (whole.amount_msat, len(whole.paths)) == (5, 1)
    assert whole.chains == (TESTNET.chain_hash, BITCOIN.chain_hash)
    assert repr(whole) == f"<Offer {whole.offer_id.hex()[:16]} 'caf\\xc3\\xa9\\x1b'>"
    foreign = Offer.make(whole.tlvs.replace(offer_currency=b"EUR"))
    assert foreign.amount_msat is None
    assert len({plain, whole, foreign, Offer(whole.data)}) == 3
    assert whole != whole.data


def test_b11_whether_it_can_still_be_used() -> None:
    offer = Offer.make(
        OfferTlvs(offer_issuer_id=key(1).public_key, offer_absolute_expiry=1000, offer_chains=(TESTNET.chain_hash,))
    )
    offer.check(now=1000, chains="testnet")
    offer.check(now=0, chains=(BITCOIN, TESTNET))
    with pytest.raises(OfferError, match=r"expired at 1000, 1 s ago") as caught:
        offer.check(now=1001.5, chains=TESTNET)
    assert (caught.value.rule, caught.value.field) == ("B11", "offer_absolute_expiry")
    with pytest.raises(OfferError, match="other chains: testnet") as caught:
        offer.check(now=1000)
    assert (caught.value.rule, caught.value.field) == ("B11", "offer_chains")
    Offer.make(OfferTlvs(offer_issuer_id=key(1).public_key)).check(now=1e12)
