"""Against lightning-kmp's offers and onion messages: each reads what the other has made, and both the same vectors.

What is not the same is a row of docs/interop.md each.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from interop.conftest import open_kmp
from interop.onions import OWN, final_messages, ours_takes
from interop.programs import JsonNode
from tests.support.onions import load
from triolight.keys import SecretKey
from triolight.messages import BOLT, EncryptedDataTlv, OnionMessage
from triolight.onion import (
    BlindedPayinfo,
    Delivery,
    Forward,
    Invoice,
    InvoiceRequest,
    InvoiceTlvs,
    Offer,
    OfferError,
    OfferTlvs,
    blind_route,
    open_message,
    seal,
)
from triolight.onion.records import encode_string

pytestmark = pytest.mark.node("lightning-kmp")


def texts() -> dict[str, str]:
    """The BOLT's vectors and ours, by their names: offers, requests, invoices."""
    made = load("bolt12/generated.json.xz")
    found = {one["description"]: one["bolt12"] for one in load("bolt12/offers-test.json")}
    found |= {one["comment"]: one["string"] for one in load("bolt12/format-string-test.json")}
    found |= {f"string: {one['comment']}": one["string"] for one in made["strings"]}
    found |= {f"offer: {one['comment']}": one["offer"] for one in made["offers"]}
    for kind, prefix in (("request", "lnr"), ("invoice", "lni")):
        field = "invoice_request" if kind == "request" else "invoice"
        found |= {
            f"{kind}: {one['comment']}": encode_string(prefix, bytes.fromhex(one[field])) for one in made[f"{field}s"]
        }
    return found


def read_by_us(text: str) -> str | None:
    """It, as we write it; None if we refuse it."""
    kinds: dict[str, type[Offer | InvoiceRequest | Invoice]] = {"lnr": InvoiceRequest, "lni": Invoice}
    try:
        return kinds.get(text[:3], Offer).decode(text).encode()
    except OfferError:
        return None


def read_by_it(answer: dict[str, Any]) -> str | None:
    return answer["again"] if answer.get("valid") else None


NO_UTF8 = {
    *(f"Malformed: {how} {field} UTF-8" for how in ("truncated", "invalid") for field in ("currency", "description")),
    *(f"Malformed: {how} issuer UTF-8" for how in ("truncated", "invalid")),
    *(f"offer: description is no UTF-8: {how}" for how in ("surrogate", "overlong")),
}
NO_POINT = {
    *("Malformed: invalid offer_issuer_id", "offer: issuer_id uncompressed prefix"),
    *("offer: issuer_id not on the curve", "offer: path: introduction prefix 05"),
}
FEATURES = {
    *("Contains unknown feature 122", "offer: features: unknown even bit", "invoice: features: unknown even bit"),
}
CONTRADICTIONS = {
    *("Missing offer_amount with offer_currency", "Invalid: zero offer_amount"),
    *("Invalid: zero offer_amount with currency", "offer_chains with zero entries", "offer: amount 0"),
    *("offer: currency of 2 letters", "offer: currency in lower case", "offer: currency without amount"),
    *("offer: no chains", "offer: paths empty", "request: quantity 0"),
}
NAMES = {"request: BIP 353 name with a bad character", "request: BIP 353 name cut short"}
OTHERS = {"string: one capital", "invoice: relative expiry of 5 bytes"}
JOINED = {
    *("+ can join anywhere", "Multiple + can join", "+ can be followed by whitespace"),
    *("+ can be followed by whitespace, UPPERCASE", "Uppercase is valid", "string: upper", "string: + after the 1"),
    *("string: + before the 1", "string: + newline tab space"),
}
LARGE = {"offer: random 7", "request: random 1", "invoice: random 1"}


@pytest.mark.shows("offers")
@pytest.mark.differs("takes text that is not UTF-8 in offers", "refuse it")
@pytest.mark.differs(
    "takes offers and invoices with features that nobody knows, and such as contradict themselves: an amount of 0, a "
    "currency without an amount or that is none, empty lists of chains and paths; a request for none",
    "refuse them",
)
@pytest.mark.differs("takes a string in mixed case, and refuses one in upper case or joined by +", "do as BOLT 12 says")
@pytest.mark.differs(
    "does not know invreq_bip_353_name, and takes an invoice_relative_expiry of five bytes",
    "refuse them where they are wrong",
)
@pytest.mark.differs("refuses amounts, numbers and times of 2^63 or more in offers", "take them up to 2^64 - 1")
async def test_the_same_vectors_are_read_alike() -> None:
    given = texts()
    async with open_kmp() as kmp:
        answers = (await kmp.command("bolt12", texts=list(given.values())))["read"]
    ours = {name: read_by_us(text) for name, text in given.items()}
    its = {name: read_by_it(answer) for name, answer in zip(given, answers, strict=True)}
    it_takes = {name for name in given if its[name] is not None and ours[name] is None}
    we_take = {name for name in given if its[name] is None and ours[name] is not None}
    assert it_takes == NO_UTF8 | NO_POINT | FEATURES | CONTRADICTIONS | NAMES | OTHERS
    assert we_take == JOINED | LARGE
    both = {name for name in given if its[name] is not None and ours[name] is not None}
    assert {name for name in both if its[name] != ours[name]} == {"offer: features: zero bytes in front"}
    assert len(both) > 50
    assert sum(its[name] is ours[name] is None for name in given) > 50


def offered(issuer: SecretKey) -> Offer:
    tlvs = OfferTlvs(offer_amount=1000, offer_description="Käse".encode(), offer_issuer_id=issuer.public_key)
    return Offer.make(tlvs)


@pytest.mark.shows("offers")
async def test_requests_and_invoices_both_ways() -> None:
    secret, payer = os.urandom(32), os.urandom(32)
    offer = offered(SecretKey(secret))
    path = blind_route(os.urandom(32), (SecretKey(secret).public_key,))
    async with open_kmp() as kmp:
        # It asks, we give.
        asked = await kmp.command("request", offer=offer.encode(), secret=payer.hex(), amount=1500, note="für dich")
        request = InvoiceRequest.decode(asked["text"])
        assert request.answers(offer)
        assert (request.tlvs.invreq_amount, request.tlvs.invreq_payer_note) == (1500, "für dich".encode())
        info = BlindedPayinfo(
            fee_base_msat=1,
            fee_proportional_millionths=2,
            cltv_expiry_delta=3,
            htlc_minimum_msat=4,
            htlc_maximum_msat=5000,
            features=b"",
        )
        tlvs = InvoiceTlvs(
            invoice_paths=(path,),
            invoice_blindedpay=(info,),
            invoice_created_at=int(time.time()),
            invoice_payment_hash=os.urandom(32),
            invoice_amount=1500,
        )
        given = Invoice.make(request, tlvs, SecretKey(secret), os.urandom(32)).encode()
        assert "error" not in await kmp.command("answers", invoice=given, request=asked["text"])
        # We ask, it gives.
        ours = InvoiceRequest.make(offer, SecretKey(payer), os.urandom(16), os.urandom(32), payer_note="an dich")
        assert "error" in await kmp.command("answers", invoice=given, request=ours.encode())
        made = await kmp.command(
            "invoice", request=ours.encode(), secret=secret.hex(), preimage=bytes(32).hex(), path=path.encode().hex()
        )
    invoice = Invoice.decode(made["text"])
    invoice.verify(ours, now=time.time(), most_msat=1000)
    assert invoice.amount_msat == 1000


async def opened(kmp: JsonNode, secret: bytes, *messages: OnionMessage) -> list[dict[str, Any]]:
    reply = await kmp.command("open", secret=secret.hex(), messages=[one.encode().hex() for one in messages])
    found: list[dict[str, Any]] = reply["opened"]
    return found


@pytest.mark.shows("onion")
async def test_messages_are_opened_by_the_other() -> None:
    secrets = [os.urandom(32) for _ in range(4)]
    nodes = [SecretKey(secret).public_key for secret in secrets]
    content = bytes.fromhex("054d03c0ffee")
    async with open_kmp() as kmp:
        for count in (1, 2, 4):
            made = await kmp.command(
                "seal",
                secrets=[os.urandom(32).hex(), os.urandom(32).hex()],
                nodes=[node.hex() for node in nodes[:count]],
                path_id="aa",
                content=content.hex(),
            )
            message = BOLT.decode(bytes.fromhex(made["hex"]))
            for at in range(count - 1):
                assert isinstance(message, OnionMessage)
                found = open_message(SecretKey(secrets[at]), message)
                assert isinstance(found, Forward)
                assert found.next_node_id == nodes[at + 1]
                message = found.message
            assert isinstance(message, OnionMessage)
            found = open_message(SecretKey(secrets[count - 1]), message)
            assert isinstance(found, Delivery)
            assert (found.content, found.data.path_id) == ((OWN, b"\xc0\xff\xee"), b"\xaa")
        for size in (1, 1000, 30_000):
            path = blind_route(os.urandom(32), (nodes[0],), EncryptedDataTlv(path_id=b"ours"))
            [answer] = await opened(kmp, secrets[0], seal(os.urandom(32), path, [(OWN, bytes(size))]))
            assert answer["path_id"] == b"ours".hex()
            assert bytes.fromhex(answer["content"]).endswith(bytes(size))


@pytest.mark.shows("onion")
@pytest.mark.differs("drops an onion message whose last hop has no encrypted_recipient_data", "take it")
@pytest.mark.differs(
    "takes an onion message that is about two things, or whose last hop is told of features that nobody knows",
    "drop it",
)
async def test_what_it_drops() -> None:
    secret = os.urandom(32)
    key = SecretKey(secret)
    messages = final_messages(key.public_key)
    async with open_kmp() as kmp:
        answers = await opened(kmp, secret, *messages.values())
    it_takes = {name for name, answer in zip(messages, answers, strict=True) if "dropped" not in answer}
    we_take = {name for name, message in messages.items() if ours_takes(key, message)}
    assert it_takes - we_take == {"features", "two things", "an unknown odd record beside what it says"}
    assert we_take - it_takes == {"no encrypted data"}
    assert "plain" in it_takes
