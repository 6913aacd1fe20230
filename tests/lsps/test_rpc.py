"""JSON-RPC of LSPS0: what is read and refused, what is written."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.providers import BOMBS, PREFIX, VECTORS, payload_of, said
from triolight import DecodeError
from triolight.lsps import (
    Answer,
    JsonText,
    LspsCode,
    LspsError,
    Notification,
    PayloadTooLong,
    Request,
    encode_error,
    encode_notification,
    encode_request,
    encode_result,
    members,
    new_id,
    read_answer,
    read_request,
    read_value,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**64)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3)
    ),
    max_leaves=12,
)


@pytest.mark.parametrize("row", VECTORS["server"], ids=lambda row: repr(payload_of(row)[:60]))
def test_what_a_server_reads(row: dict[str, Any]) -> None:
    payload = payload_of(row)
    if row["owes"] == -32700:
        with pytest.raises(DecodeError, match=r"^LSPS0\.payload"):
            read_request(payload)
    elif row["owes"] == "nothing":
        assert read_request(payload) is None
    else:
        request = read_request(payload)
        assert request is not None
        assert request.id == "0123456789abcdef0123" or "n" in (request.params or {})


@pytest.mark.parametrize("payload", BOMBS.values(), ids=BOMBS.keys())
def test_bombs_are_refused_by_both_sides(payload: bytes) -> None:
    for read in (read_request, read_answer):
        with pytest.raises(DecodeError):
            read(payload)


def test_what_is_deep_is_told_from_what_looks_so() -> None:
    brackets = PREFIX + b'{"a":"' + b'\\"[' * 5000 + b'"}}'
    assert read_request(brackets) == Request("0123456789abcdef0123", "lsps0.list_protocols", {"a": '"[' * 5000})
    inside = PREFIX + b'{"a":' + b"[" * 30 + b"]" * 30 + b"}}"
    assert read_request(inside) is not None
    with pytest.raises(DecodeError, match="more than 32"):
        read_request(PREFIX + b'{"a":' + b"[" * 31 + b"]" * 31 + b"}}")
    wide = PREFIX + b'{"a":[' + b"[]," * 20_000 + b"[]]}}"
    assert read_request(wide) is not None
    with pytest.raises(DecodeError, match="65534 bytes"):
        read_request(b" " * 65_534)


def test_a_value_is_held_to_the_same() -> None:
    assert read_value(' [1, {"a": null}] ') == [1, {"a": None}]
    for bad in ("", "[" * 60_000, "[" * 33 + "]" * 33, "nan", "NaN", '{"a":1,"a":1}', '"\\ud800"', "\ud800"):
        with pytest.raises(DecodeError):
            read_value(bad)


def test_numbers_are_some() -> None:
    request = read_request(PREFIX + b'{"a":[1e999,-1e999,%s,%s,1.5,-7]}}' % (b"9" * 40, b"9" * 5000))
    largest = sys.float_info.max
    params = {"a": [largest, -largest, 10**40 - 1, largest, 1.5, -7]}
    assert request == Request("0123456789abcdef0123", "lsps0.list_protocols", params)
    assert read_request(encode_request("x", "y", params)) == Request("x", "y", params)


def test_what_a_client_reads() -> None:
    assert read_answer(said(id="a", result={"b": 1})) == Answer(
        "a", {"b": 1}, None, said(id="a", result={"b": 1}).decode()
    )
    answer = read_answer(said(id="a", error={"code": 201}, result=None))
    assert isinstance(answer, Answer)
    assert answer.error is not None
    assert (answer.error.code, answer.error.message, answer.error.data) == (201, "", None)
    unread = read_answer(said(id=None, error={"code": -32700, "message": 7, "data": "x"}))
    assert isinstance(unread, Answer)
    assert unread.id is None
    assert read_answer(said(method="lsps5.x")) == Notification("lsps5.x", {})
    for bad in (
        said(id="a"),
        said(id="a", result=None),
        said(id="a", result={}, error={"code": 1, "message": ""}),
        said(id=1, result={}),
        said(result={}),
        said(id=None, result={}),
        said(id="a", error="no"),
        said(id="a", error={"message": "no"}),
        said(id="a", error={"code": "1"}),
        said(id="a", error={"code": True}),
        said(id="a", method="lsps0.list_protocols", params={}),
        said(method=1),
        said(method="x", params=[]),
        b'{"id":"a","result":{}}',
    ):
        with pytest.raises(DecodeError):
            read_answer(bad)


def test_what_is_written_is_plain_and_fits() -> None:
    number = new_id(bytes(range(16)))
    assert number == "000102030405060708090a0b0c0d0e0f"
    with pytest.raises(ValueError, match="16 random bytes"):
        new_id(bytes(9))
    text = encode_request(number, "lsps2.buy", {"a": JsonText('{ "b" : 1.50 }'), "ü": "\n"}).decode()
    assert text == (
        f'{{"jsonrpc":"2.0","id":"{number}","method":"lsps2.buy","params":{{"a":{{ "b" : 1.50 }},"ü":"\\n"}}}}'
    )
    assert encode_request(number, "a.b", {}).endswith(b'"params":{}}')
    for method in ('a"', "a\\", "a\n", "\x00"):
        with pytest.raises(ValueError, match="no method"):
            encode_request(number, method, {})
    for value in (float("nan"), float("inf"), "\ud800"):
        with pytest.raises(ValueError):  # noqa: PT011
            encode_result("a", {"b": value})
    room = 65_533 - len(encode_result("a", {"b": ""}))
    assert len(encode_result("a", {"b": "x" * room})) == 65_533
    with pytest.raises(PayloadTooLong):
        encode_result("a", {"b": "x" * (room + 1)})
    assert json.loads(encode_notification("a.b", {"c": 1})) == {"jsonrpc": "2.0", "method": "a.b", "params": {"c": 1}}
    assert json.loads(encode_error(None, LspsError(LspsCode.PARSE_ERROR)))["id"] is None


def test_errors_have_words_of_ours_and_quote_theirs() -> None:
    assert str(LspsError(201, "\x1b[31mno")) == (
        "opening fee params that are stale, or not the provider's (201): '\\x1b[31mno'"
    )
    assert str(LspsError(-32050)) == "internal error (-32050)"
    assert str(LspsError(777, "x" * 600)).startswith("an error that we have no name for (777): 'xxx")
    assert len(str(LspsError(777, "x" * 60_000))) < 600


@given(params=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), JSON, max_size=3))
def test_a_request_is_read_as_it_was_written(params: dict[str, Any]) -> None:
    payload = encode_request("id", "a.b", params)
    assert read_request(payload) == Request("id", "a.b", params)
    spaced = json.dumps({"jsonrpc": "2.0", "id": "i", "result": params}, indent=2)
    answer = read_answer(spaced.encode())
    assert isinstance(answer, Answer)
    # Each value's own text, wherever it is.
    ((_, start, _),) = [one for one in members(answer.text) if one[0] == "result"]
    assert {key: json.loads(answer.text[at:end]) for key, at, end in members(answer.text, start)} == params


@given(st.binary(max_size=80) | st.text('{}[]":,\\u01e9nul \n', max_size=80).map(str.encode))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    for read in (read_request, read_answer):
        try:
            read(payload)
        except DecodeError:
            continue
