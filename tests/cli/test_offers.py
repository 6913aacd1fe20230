"""``triolight offer decode`` and ``invoice decode``: for people, as JSON, and whatever strangers write into them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.decoding import INVOICE, OFFER, run
from tests.support.onions import load
from triolight.onion import Invoice, Offer

BOLT = load("bolt12/offers-test.json")


def shown(*command: str) -> dict[str, Any]:
    found = run(*command, "--json")
    assert found.exit_code == 0, found.stderr
    (line,) = found.stdout.splitlines()
    value: dict[str, Any] = json.loads(line)
    return value


def test_an_offer_for_people_and_as_json() -> None:
    fields = shown("offer", "decode", OFFER)
    offer = Offer.decode(OFFER)
    assert fields["offer_id"] == offer.offer_id.hex()
    assert fields["issuer_id"] == (offer.tlvs.offer_issuer_id or b"").hex()
    assert (fields["amount_msat"], fields["description"]) == (1_000_000, "An example description")
    assert (fields["currency"], fields["chains"], fields["paths"], fields["unknown"]) == (None, None, [], [])
    words = run("offer", "decode", OFFER)
    assert words.exit_code == 0
    assert words.stdout.splitlines() == [
        f"offer {fields['offer_id']}",
        f"  issuer_id: {fields['issuer_id']}",
        "  issuer: BOLT 12 industries",
        "  description: An example description",
        "  amount_msat: 1000000",
    ]


def test_an_invoice_for_people_and_as_json() -> None:
    invoice = Invoice.decode(INVOICE)
    fields = shown("invoice", "decode", INVOICE)
    assert (fields["event"], fields["invoice"]) == ("invoice", INVOICE)
    assert (fields["amount_msat"], fields["payment_hash"]) == (invoice.amount_msat, invoice.payment_hash.hex())
    assert (fields["node_id"], fields["expires_at"]) == (invoice.node_id.hex(), invoice.expires_at)
    assert [path["hops"] for path in fields["paths"]] == [len(path.path) for path, _ in invoice.paths]
    assert fields["paths"][0]["cltv_expiry_delta"] == invoice.paths[0][1].cltv_expiry_delta
    assert fields == shown("invoice", "decode", invoice.encode())
    words = run("invoice", "decode", INVOICE).stdout
    assert words.startswith(f"invoice {fields['payment_hash']}\n  amount_msat: {invoice.amount_msat}\n")
    assert INVOICE not in words


@pytest.mark.parametrize(
    ("command", "rule"),
    [
        (["offer", "decode", "lno1"], "B1"),
        (["offer", "decode", OFFER + "+"], "B2"),
        (["offer", "decode", OFFER[:-1]], "B3"),
        (["offer", "decode", "lno1pg"], "B5"),
        (["offer", "decode", "\x1b"], "B1"),
        (["offer", "decode", ""], "B1"),
        (["invoice", "decode", OFFER], "B1"),
        (["invoice", "decode", INVOICE[:-2]], "B5"),
        (["invoice", "decode", INVOICE[:-2] + ("00" if INVOICE[-2:] != "00" else "01")], "B9"),
        (["invoice", "decode", ""], "B16"),
    ],
)
def test_exit_code_2_names_the_rule(command: list[str], rule: str) -> None:
    found = run(*command)
    assert (found.exit_code, found.stdout) == (2, "")
    assert f"({rule})" in found.stderr
    assert "\x1b" not in found.stderr


@pytest.mark.parametrize("vector", BOLT, ids=lambda vector: vector["description"])
def test_the_bolts_offers(vector: dict[str, Any]) -> None:
    assert run("offer", "decode", vector["bolt12"]).exit_code == (0 if vector["valid"] else 2)


def test_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(text: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Offer, "decode", interrupted)
    monkeypatch.setattr(Invoice, "decode", interrupted)
    for command in (["offer", "decode", OFFER], ["invoice", "decode", INVOICE]):
        assert run(*command).exit_code == 130
