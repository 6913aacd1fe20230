"""LSPS0's JSON-RPC: a message's bytes and what they say, both ways. No I/O; decides nothing of any method.

What is read is strict: one object of UTF-8, each key once, no deeper than `MAX_DEPTH`, numbers that are some. So what
a stranger sends ends as a DecodeError, and as nothing else. What is written is plain, for there are readers that
take no escapes in a method, an id or a key.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Any, Final, TypeAlias, cast

from triolight.errors import DecodeError, TriolightError
from triolight.text import quoted

__all__ = [
    "Answer",
    "Json",
    "JsonText",
    "LspsCode",
    "LspsError",
    "Notification",
    "PayloadTooLong",
    "Request",
    "encode_error",
    "encode_notification",
    "encode_request",
    "encode_result",
    "members",
    "new_id",
    "read_answer",
    "read_request",
    "read_value",
    "write_value",
]

Json: TypeAlias = Any
"""What JSON has: None, bool, int, float, str, and lists and dicts of them."""

MAX_PAYLOAD: Final = 65_533
"""Bytes: a message of BOLT 8 without its type."""
MAX_DEPTH: Final = 32
"""Objects and lists in one another. No LSPS has more than five; what reads JSON calls itself for each."""
MAX_DIGITS: Final = 40
"""Of an integer that stays one. Those of all LSPS are below 2^64, and turning digits into a number is quadratic."""
MAX_ID: Final = 256
"""Characters of an id that is answered: it stands in the answer, which has to fit."""
ID_BYTES: Final = 16
"""Random ones, of an id of ours; bLIP 50 wants ten."""


class LspsCode(IntEnum):
    """What errors of LSPS0, 1, 2 and 5 are called."""

    PARSE_ERROR = -32700
    INVALID_REQUEST = -32600
    METHOD_NOT_FOUND = -32601
    INVALID_PARAMS = -32602
    INTERNAL_ERROR = -32603
    CLIENT_REJECTED = 1
    OPTION_MISMATCH = 100
    ORDER_NOT_FOUND = 101
    ORDER_TOKEN = 102
    FEE_TOKEN = 200
    FEE_PARAMS = 201
    PAYMENT_TOO_SMALL = 202
    PAYMENT_TOO_LARGE = 203
    TOO_LONG = 500
    BAD_URL = 501
    BAD_PROTOCOL = 502
    TOO_MANY_WEBHOOKS = 503
    APP_NAME_NOT_FOUND = 1010


_WORDS: Final[Mapping[int, str]] = MappingProxyType(
    {
        LspsCode.PARSE_ERROR: "the message could not be read",
        LspsCode.INVALID_REQUEST: "invalid request",
        LspsCode.METHOD_NOT_FOUND: "method not found",
        LspsCode.INVALID_PARAMS: "invalid params",
        LspsCode.INTERNAL_ERROR: "internal error",
        LspsCode.CLIENT_REJECTED: "client rejected",
        LspsCode.OPTION_MISMATCH: "an option does not fit what the provider supports",
        LspsCode.ORDER_NOT_FOUND: "order not found",
        LspsCode.ORDER_TOKEN: "unrecognized or stale token",
        LspsCode.FEE_TOKEN: "unrecognized or stale token",
        LspsCode.FEE_PARAMS: "opening fee params that are stale, or not the provider's",
        LspsCode.PAYMENT_TOO_SMALL: "payment size too small",
        LspsCode.PAYMENT_TOO_LARGE: "payment size too large",
        LspsCode.TOO_LONG: "too long",
        LspsCode.BAD_URL: "the webhook is no URL",
        LspsCode.BAD_PROTOCOL: "the webhook's protocol is not supported",
        LspsCode.TOO_MANY_WEBHOOKS: "too many webhooks",
        LspsCode.APP_NAME_NOT_FOUND: "app name not found",
    }
)
_INTERNAL: Final = range(-32099, -31999)
"""A server's own errors: as good as internal ones."""


class LspsError(TriolightError):
    """The other side's word on a request: no. As a handler of ours raises it, our word.

    `code` is a number of LSPS, known or not; `message` what the other side says, for logs; `data` what it says beside.
    """

    def __init__(self, code: int, message: str = "", data: Json = None) -> None:
        super().__init__(code, message, data)
        self.code: Final = int(code)
        self.message: Final = message
        self.data: Final = data

    @property
    def words(self) -> str:
        """Ours, by the code."""
        code = LspsCode.INTERNAL_ERROR if self.code in _INTERNAL else self.code
        return _WORDS.get(code, "an error that we have no name for")

    def __str__(self) -> str:
        said = "" if self.message in ("", self.words) else f": {quoted(self.message)}"
        return f"{self.words} ({self.code}){said}"


class PayloadTooLong(ValueError):
    """What is to be written does not fit into one message."""


@dataclass(frozen=True, slots=True)
class JsonText:
    """JSON that is written as it is: what must come back as the same text."""

    text: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks. `params` is None if it gave something that is no object."""

    id: str
    method: str
    params: dict[str, Json] | None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answers: a result, or an error. `id` is None if it could not read what it answers."""

    id: str | None
    result: Json
    error: LspsError | None
    text: str = ""
    """All of it, as it came."""


@dataclass(frozen=True, slots=True)
class Notification:
    """What a server says by itself."""

    method: str
    params: dict[str, Json]


# Reading.

# A string to its end, or to the end of all: where it is not closed nothing is looked at twice.
_STRING: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKETS: Final = re.compile(r"[^\[\]{}]++")
_BLANKS: Final = re.compile(r"[ \t\n\r]*+")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


def _bad(why: str) -> DecodeError:
    return DecodeError(why, message="LSPS0", field="payload")


def _object(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _constant(text: str) -> Json:
    raise ValueError(f"{text} is no number of JSON")


def _float(text: str) -> float:
    # What no double holds is the largest one: so whatever was read can be written.
    return max(-sys.float_info.max, min(sys.float_info.max, float(text)))


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= MAX_DIGITS else _float(text)


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant
)


def _depth(text: str) -> int:
    depth = deepest = 0
    for bracket in _BRACKETS.sub("", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def read_value(text: str) -> Any:
    """JSON of one value, held to what holds for messages. DecodeError for what is none."""
    if _depth(text) > MAX_DEPTH:
        raise _bad(f"has more than {MAX_DEPTH} objects and lists in one another")
    try:
        found = _DECODER.decode(text)
        if _SURROGATE.search(text):
            json.dumps(found, ensure_ascii=False).encode()  # half of a pair is no character
    except ValueError as error:
        why = "half of a surrogate pair" if isinstance(error, UnicodeError) else quoted(str(error), 120)
        raise _bad(f"is no JSON that is taken: {why}") from None
    return found


def _read(payload: bytes) -> tuple[str, dict[str, Json]]:
    """An object, and its text. DecodeError for anything else."""
    if len(payload) > MAX_PAYLOAD:
        raise _bad(f"has {len(payload)} bytes; a message holds {MAX_PAYLOAD}")
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("is not UTF-8", message="LSPS0", field="payload", offset=error.start) from None
    found = read_value(text)
    if not isinstance(found, dict):
        raise _bad("is no JSON object")
    found = cast("dict[str, Json]", found)
    if found.get("jsonrpc") != "2.0":
        raise _bad("is not of JSON-RPC 2.0")
    return text, found


def read_request(payload: bytes) -> Request | None:
    """What a client asks; None for an answer, which no server is owed. DecodeError for what cannot be read."""
    _, found = _read(payload)
    if "method" not in found and ("result" in found or "error" in found):
        return None
    number, method, params = found.get("id"), found.get("method"), found.get("params", {})
    if not isinstance(number, str) or len(number) > MAX_ID:
        raise _bad(f"has no id that is a string of at most {MAX_ID} characters")
    if not isinstance(method, str):
        raise _bad("has no method that is a string")
    return Request(number, method, cast("dict[str, Json]", params) if isinstance(params, dict) else None)


def read_answer(payload: bytes) -> Answer | Notification:
    """What a server says. DecodeError for what cannot be read, and for a request, which no client is owed."""
    text, found = _read(payload)
    if "method" in found:
        method, params = found["method"], found.get("params", {})
        if "id" in found or not isinstance(method, str) or not isinstance(params, dict):
            raise _bad("is neither an answer nor a notification")
        return Notification(method, cast("dict[str, Json]", params))
    number, result, error = found.get("id"), found.get("result"), found.get("error")
    # One of the two may be there as null.
    if (result is None) is (error is None):
        raise _bad("has not either a result or an error")
    if not isinstance(number, str) and not (number is None and error is not None):
        raise _bad("has no id that is a string")
    return Answer(number, result, None if error is None else _error(error), text)


def _error(found: Json) -> LspsError:
    if not isinstance(found, dict):
        raise _bad("has an error that is no object")
    found = cast("dict[str, Json]", found)
    code, message = found.get("code"), found.get("message")
    if not isinstance(code, int) or isinstance(code, bool):
        raise _bad("has an error without a code")
    return LspsError(code, message if isinstance(message, str) else "", found.get("data"))


def members(text: str, at: int = 0) -> Iterator[tuple[str | None, int, int]]:
    """Of the object or list that begins there, in JSON that has been read: each key, None in a list, and where its
    value begins and ends."""
    at = _after_blanks(text, at)
    closing = {"{": "}", "[": "]"}.get(text[at], "")
    if not closing:
        return
    at = _after_blanks(text, at + 1)
    while text[at] != closing:
        key: str | None = None
        if closing == "}":
            key, at = _DECODER.raw_decode(text, at)
            at = _after_blanks(text, _after_blanks(text, at) + 1)  # behind the colon
        _, end = _DECODER.raw_decode(text, at)
        yield key, at, end
        at = _after_blanks(text, end)
        if text[at] == ",":
            at = _after_blanks(text, at + 1)


def _after_blanks(text: str, at: int) -> int:
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


# Writing.


def new_id(random_bytes: bytes) -> str:
    """A request's id, from 16 random bytes. ValueError for less."""
    if len(random_bytes) < ID_BYTES:
        raise ValueError(f"an id is made of {ID_BYTES} random bytes, not of {len(random_bytes)}")
    return random_bytes.hex()


def encode_request(id: str, method: str, params: Mapping[str, Json | JsonText]) -> bytes:
    """A request's payload. ValueError for what JSON, or one message, does not hold."""
    inside = ",".join(f"{_written(name)}:{_written(value)}" for name, value in params.items())
    return _bytes(f'{{"jsonrpc":"2.0","id":{_written(id)},"method":{_plain(method)},"params":{{{inside}}}}}')


def encode_notification(method: str, params: Mapping[str, Json]) -> bytes:
    """A notification's payload. ValueError for what JSON, or one message, does not hold."""
    return _bytes(f'{{"jsonrpc":"2.0","method":{_plain(method)},"params":{_written(params)}}}')


def encode_result(id: str, result: Mapping[str, Json]) -> bytes:
    """The payload of an answer: yes. ValueError for what JSON, or one message, does not hold."""
    return _bytes(f'{{"jsonrpc":"2.0","id":{_written(id)},"result":{_written(result)}}}')


def encode_error(id: str | None, error: LspsError) -> bytes:
    """The payload of an answer: no. ValueError for what JSON, or one message, does not hold."""
    found: dict[str, Json] = {"code": error.code, "message": error.message or error.words}
    if error.data is not None:
        found["data"] = error.data
    return _bytes(f'{{"jsonrpc":"2.0","id":{_written(id)},"error":{_written(found)}}}')


def write_value(value: Json) -> str:
    """As it stands in a message."""
    return _written(value)


def _written(value: Json | JsonText) -> str:
    if isinstance(value, JsonText):
        return value.text
    found = dict(cast("Mapping[str, Json]", value)) if isinstance(value, Mapping) else value
    return json.dumps(found, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _plain(method: str) -> str:
    found = _written(method)
    if found != f'"{method}"':
        raise ValueError(f"no method: {quoted(method, 80)}")
    return found


def _bytes(text: str) -> bytes:
    found = text.encode()
    if len(found) > MAX_PAYLOAD:
        raise PayloadTooLong(f"a message holds {MAX_PAYLOAD} bytes of JSON, not {len(found)}")
    return found
