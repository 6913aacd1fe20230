"""bLIP 52: its examples, what opening costs, and a text that goes back as it came."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.providers import VECTORS, examples
from triolight import DecodeError
from triolight.lsps import (
    Buy,
    FeeMenu,
    GetFees,
    JitChannel,
    OpeningFeeParams,
    encode_request,
    opening_fee,
    read_answer,
    read_request,
)

(MENU,) = examples(2, "opening_fee_params_menu")
LINE = MENU["opening_fee_params_menu"][0]


@pytest.mark.parametrize("row", VECTORS["opening_fee"], ids=lambda row: row["payment_size_msat"])
def test_what_opening_costs(row: dict[str, Any]) -> None:
    found = opening_fee(int(row["payment_size_msat"]), int(row["min_fee_msat"]), row["proportional"])
    assert found == (None if row["opening_fee_msat"] is None else int(row["opening_fee_msat"]))


def test_the_blips_examples_both_ways() -> None:
    for kind, block in (
        (GetFees, examples(2, "token")[0]),
        (FeeMenu, MENU),
        (Buy, examples(2, "opening_fee_params")[0]),
        (JitChannel, examples(2, "jit_channel_scid")[0]),
    ):
        assert kind.from_json(block).to_json() == block
    params = OpeningFeeParams.from_json(LINE)
    assert params.opening_fee(1_000_000_000) == 1_200_000
    assert JitChannel.from_json({"jit_channel_scid": "1x2x3", "lsp_cltv_expiry_delta": 1}).client_trusts_lsp is False


def answer(menu: str) -> str:
    result = f'{{ "x":["opening_fee_params_menu"],"opening_fee_params_menu":{menu}}}'
    return f'{{"jsonrpc":"2.0", "id":"a",\t"result" :{result}}}'


def test_the_text_goes_back_as_it_came() -> None:
    """A provider has signed it: with fewer digits of a time, or in another order, it is another one's."""
    first = '{ "promise":"\\u00fc\\/","min_fee_msat" : "546000","proportional":1200,"min_lifetime":1008,\n'
    first += '"max_client_to_self_delay":2016,"min_payment_size_msat":"1000","max_payment_size_msat":"01000000",'
    first += '"valid_until":"2026-11-30T14:00:00.123456789+00:00"}'
    second = json.dumps(LINE)
    text = answer(f"[ {first} ,{second}]")
    read_answer(text.encode())
    menu = FeeMenu.from_answer(text)
    assert [one.text for one in menu.opening_fee_params_menu] == [first, second]
    line = menu.opening_fee_params_menu[0]
    assert (line.promise, line.max_payment_size_msat) == ("ü/", 1_000_000)
    assert line.valid_until == datetime(2026, 11, 30, 14, microsecond=123_456, tzinfo=UTC)
    payload = encode_request("b", "lsps2.buy", Buy(opening_fee_params=line, payment_size_msat=42_000).params())
    assert first.encode() in payload
    request = read_request(payload)
    assert request is not None
    assert request.params == {"opening_fee_params": json.loads(first), "payment_size_msat": "42000"}
    # One of ours is written as any record.
    ours = OpeningFeeParams.from_json(LINE)
    assert ours == menu.opening_fee_params_menu[1]
    assert json.loads(ours.text) == LINE
    assert "payment_size_msat" not in Buy(opening_fee_params=ours).params()


def test_a_line_that_nobody_knows_ends_it() -> None:
    for change, field in (
        ({"extra": 1}, "extra"),
        ({"version": 1}, "version"),
        ({"promise": "x" * 513}, "promise"),
        ({"promise": "ü" * 257}, "promise"),
        ({"proportional": "1200"}, "proportional"),
        ({"valid_until": "soon"}, "valid_until"),
        ({"promise": None}, "promise"),
    ):
        with pytest.raises(DecodeError) as caught:
            FeeMenu.from_answer(answer(json.dumps([{**LINE, **change}])))
        assert caught.value.field == field
    for menu in ("null", "{}", '"x"', "[1]", "[[]]"):
        with pytest.raises(DecodeError):
            FeeMenu.from_answer(answer(menu))
    with pytest.raises(DecodeError, match="missing"):
        FeeMenu.from_answer('{"result":{}}')
    assert FeeMenu.from_answer(answer("[]")).opening_fee_params_menu == ()
    largest = {**LINE, "promise": "x" * 512}
    assert FeeMenu.from_answer(answer(json.dumps([largest]))).opening_fee_params_menu[0].promise == "x" * 512
