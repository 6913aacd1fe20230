"""The table of methods: what each takes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.providers import examples
from triolight.lsps import METHODS, LspsCode, LspsError, check_params, protocol_of, protocols_of

ORDER = next(one for one in examples(1, "token") if "order_id" not in one)


def test_whose_method_it_is() -> None:
    assert [protocol_of(one) for one in ("lsps0.a", "lsps12.b", "lsps2.", "LSPS2.a", "lsps.a", "x.lsps2.a", "")] == [
        *(0, 12),
        *(None,) * 5,
    ]
    assert protocols_of(["lsps0.a", "lsps5.a", "lsps1.b", "lsps1.c", "else"]) == (1, 5)
    assert protocols_of(METHODS) == (1, 2, 5)


def test_what_fits_is_taken() -> None:
    check_params("lsps1.create_order", ORDER)
    check_params("lsps2.buy", examples(2, "opening_fee_params")[0])
    check_params("lsps2.get_info", {})
    check_params("no.method.of.the.table", {"anything": [1]})


@pytest.mark.parametrize(
    ("method", "params", "data"),
    [
        ("lsps0.list_protocols", {"b": 1, "a": 1}, {"unrecognized": ["a", "b"]}),
        ("lsps1.create_order", {**ORDER, "x": 1}, {"unrecognized": ["x"]}),
        ("lsps2.buy", {}, {"unrecognized": []}),
        ("lsps2.get_info", {"token": 7}, {"unrecognized": []}),
        ("lsps1.get_order", {}, {"property": "order_id", "message": "is missing"}),
        (
            "lsps1.create_order",
            {**ORDER, "lsp_balance_sat": 7},
            {
                "property": "lsp_balance_sat",
                "message": "no amount: those are strings of decimal digits, below 2^64: '7'",
            },
        ),
    ],
)
def test_what_does_not_is_named(method: str, params: dict[str, Any], data: Any) -> None:
    with pytest.raises(LspsError) as caught:
        check_params(method, params)
    assert caught.value.code == LspsCode.INVALID_PARAMS
    assert caught.value.data == data
