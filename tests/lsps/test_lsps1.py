"""bLIP 51: its examples, and an order that is looked at before it is paid."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.support.providers import examples
from triolight import DecodeError
from triolight.lsps import (
    Bolt11Payment,
    Bolt12Payment,
    CreateOrder,
    GetOrder,
    OnchainPayment,
    Order,
    OrderChannel,
    OrderOptions,
    OrderPayment,
    Record,
)

(ORDER,) = examples(1, "order_id", "payment")
(ASKED,) = [one for one in examples(1, "token") if "order_id" not in one]
BLOCKS: list[tuple[type[Record], dict[str, object]]] = [
    (OrderOptions, examples(1, "supports_zero_channel_reserve")[0]),
    (CreateOrder, ASKED),
    (Order, ORDER),
    (GetOrder, next(one for one in examples(1, "order_id") if len(one) == 1)),
    (OrderPayment, examples(1, "bolt11", "onchain")[0]),
    (Bolt11Payment, examples(1, "invoice")[0]),
    (Bolt12Payment, examples(1, "offer")[0]),
    (OnchainPayment, examples(1, "address")[0]),
    (OrderChannel, examples(1, "funding_outpoint")[0]),
]


@pytest.mark.parametrize(("kind", "block"), BLOCKS, ids=lambda one: getattr(one, "__name__", ""))
def test_the_blips_examples_both_ways(kind: type[Record], block: dict[str, object]) -> None:
    record = kind.from_json(block)
    written = record.to_json()
    assert kind.from_json(written) == record
    assert written.keys() == block.keys()
    # The times of its payments have no milliseconds.
    assert json.loads(json.dumps(written).replace(":00.000Z", ":00Z")) == block


def test_an_order_is_looked_at_before_it_is_paid() -> None:
    order, asked = Order.from_json(ORDER), CreateOrder.from_json(ASKED)
    assert [type(one) for one in order.payment.ways] == [Bolt11Payment, Bolt12Payment, OnchainPayment]
    with pytest.raises(DecodeError, match="order_total_sat: is 200888, and not the fee of 8888"):
        order.check()  # in the bLIP's example an offer is a digit short
    order = replace(order, payment=replace(order.payment, bolt12=None))
    order.check()
    with pytest.raises(DecodeError, match="channel_expiry_blocks"):
        order.check(asked)  # in the bLIP's example they differ
    fits = replace(order, channel_expiry_blocks=144)
    fits.check(asked)
    assert fits.payment.bolt11 is not None
    dear = replace(fits.payment.bolt11, order_total_sat=fits.payment.bolt11.order_total_sat + 1)
    for wrong, field in (
        (replace(fits, payment=replace(fits.payment, bolt11=dear)), "order_total_sat"),
        (replace(fits, order_id="x" * 65), "order_id"),
        (replace(fits, lsp_balance_sat=1), "lsp_balance_sat"),
        (replace(fits, announce_channel=False), "announce_channel"),
        (replace(fits, funding_confirms_within_blocks=7), "funding_confirms_within_blocks"),
        (replace(fits, required_channel_confirmations=1), "required_channel_confirmations"),
    ):
        with pytest.raises(DecodeError) as caught:
            wrong.check(asked)
        assert caught.value.field == field


def test_what_is_not_there_is_null_or_missing() -> None:
    given = {**ORDER, "payment": {"bolt11": None, "bolt12": ORDER["payment"]["bolt12"], "onchain": None}}
    order = Order.from_json(given)
    assert [type(one) for one in order.payment.ways] == [Bolt12Payment]
    assert order.to_json()["payment"].keys() == {"bolt12"}
    assert order.to_json()["channel"] is None
    funded = replace(order, channel=OrderChannel.from_json(examples(1, "funding_outpoint")[0]))
    assert Order.from_json(funded.to_json()) == funded
