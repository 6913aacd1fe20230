"""The declarations of BOLT 12's streams are the tables in its text."""

from __future__ import annotations

import csv

import pytest

from tests.support.vectors import FOLDER
from triolight.messages import Structure, TlvStream
from triolight.onion.streams import (
    BlindedPayinfo,
    FallbackAddress,
    InvoiceErrorTlvs,
    InvoiceRequestTlvs,
    InvoiceTlvs,
    OfferTlvs,
)

TABLE = [row for row in csv.reader((FOLDER / "bolt12" / "bolt12.csv").read_text().splitlines()) if row]
STREAMS: dict[str, type[TlvStream]] = {
    "offer": OfferTlvs,
    "invoice_request": InvoiceRequestTlvs,
    "invoice": InvoiceTlvs,
    "invoice_error": InvoiceErrorTlvs,
}
SUBTYPES: dict[str, type[Structure]] = {"blinded_payinfo": BlindedPayinfo, "fallback_address": FallbackAddress}


def test_every_stream_of_the_bolt_is_declared() -> None:
    assert {row[1] for row in TABLE if row[0] == "tlvtype"} == {*STREAMS}
    assert {row[1] for row in TABLE if row[0] == "subtype"} == {*SUBTYPES}


@pytest.mark.parametrize("name", STREAMS)
def test_its_records_are_the_bolts(name: str) -> None:
    wanted = [(row[2], int(row[3])) for row in TABLE if row[:2] == ["tlvtype", name]]
    declared = [(field.name, field.tlv_type) for field in STREAMS[name].__fields__ if field.tlv_type is not None]
    assert declared == wanted
    inner = {row[2]: row[3] for row in TABLE if row[:2] == ["tlvdata", name]}
    for field in STREAMS[name].__fields__:
        if field.inner_name:
            assert inner[field.name] == field.inner_name


@pytest.mark.parametrize("name", SUBTYPES)
def test_b18_its_structures_are_the_bolts(name: str) -> None:
    wanted = [row[2] for row in TABLE if row[:2] == ["subtypedata", name] and row[2] not in ("len", "flen")]
    assert [field.name for field in SUBTYPES[name].__fields__] == wanted
