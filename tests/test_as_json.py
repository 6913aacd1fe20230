"""Messages as JSON and back: byte for byte, refused by name, and as the schema says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES, Note
from triolight.as_json import from_json, json_schema, read_json, to_json
from triolight.errors import DecodeError
from triolight.messages import BOLT, TlvStream, UnknownMessage

VECTORS = Path(__file__).parent / "vectors"


def vectors() -> list[str]:
    found = [case["bytes"] for case in json.loads((VECTORS / "message_vectors.json").read_text())["valid"]]
    bolt1 = json.loads((VECTORS / "bolt1_vectors.json").read_text())
    found += [case["bytes"] for case in bolt1["init_messages"] if case["valid"]]
    bolt7 = json.loads((VECTORS / "bolt7_vectors.json").read_text())
    found += [one["bytes"] for kind in bolt7["real"].values() for one in kind]
    found += [one["bytes"] for one in bolt7["synthetic"]["messages"]]
    found += [one["bytes"] for one in bolt7["queries"]]
    found += ["cf13aabb", "8001"]  # types that nobody knows here
    return sorted({one for one in found if _decodes(one)})


def _decodes(data: str) -> bool:
    try:
        BOLT.decode(bytes.fromhex(data))
    except DecodeError:
        return False
    return True


ALL = vectors()
SCHEMA = jsonschema.Draft202012Validator(json_schema())


@pytest.mark.parametrize("data", ALL, ids=lambda data: data[:24])
def test_every_vector_comes_back_byte_for_byte(data: str) -> None:
    message = BOLT.decode(bytes.fromhex(data))
    text = json.dumps(to_json(message))
    again = from_json(json.loads(text))
    assert again == message
    assert again.encode().hex() == data
    SCHEMA.validate(json.loads(text))


def test_there_is_a_vector_for_every_message() -> None:
    jsonschema.Draft202012Validator.check_schema(json_schema())
    assert {to_json(BOLT.decode(bytes.fromhex(data)))["message"] for data in ALL} >= {cls.name for cls in BOLT}


def test_the_form() -> None:
    update = next(data for data in ALL if data.startswith("0102"))
    found = to_json(BOLT.decode(bytes.fromhex(update)))
    assert list(found)[:5] == ["message", "type", "signature", "chain_hash", "short_channel_id"]
    assert (found["message"], found["type"]) == ("channel_update", 258)
    assert found["signature"] == update[4:132]
    assert found["short_channel_id"].count("x") == 2
    assert "extension" not in found
    ping = BOLT.decode(bytes.fromhex("0012000500020000" + "2b01ff"))
    assert to_json(ping)["extension"] == "2b01ff"
    init = BOLT.decode(bytes.fromhex("001000000000" + "2b0101"))
    assert to_json(init)["tlvs"] == {"unknown": [{"type": 43, "value": "01"}]}
    assert to_json(UnknownMessage(40001, b"\1")) == {"message": "unknown", "type": 40001, "payload": "01"}
    note = Note(payload=b"one's own")
    assert from_json(to_json(note), MESSAGES) == note
    with pytest.raises(ValueError, match="no message is called 'note'"):
        from_json(to_json(note))


def test_no_field_is_called_as_what_stands_around_it() -> None:
    for cls in BOLT:
        assert not {field.name for field in cls.__fields__} & {"message", "type"}
        for field in cls.__fields__:
            inner = getattr(field.codec, "cls", None)
            if inner is not None and issubclass(inner, TlvStream):
                assert [one.name for one in inner.__fields__].count("unknown") == 1


PING: dict[str, Any] = {"message": "ping", "type": 18, "num_pong_bytes": 1, "ignored": "00"}


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "a message is an object, not an array"),
        (None, "not null"),
        ({}, "no message is called None"),
        (PING | {"message": "pang"}, "no message is called 'pang'"),
        (PING | {"message": ["ping"]}, "no message is called"),
        (PING | {"type": 19}, "ping: its type is 18, not 19"),
        (PING | {"more": 1}, "ping: there is no field 'more'"),
        ({"message": "stfu", "channel_id": "00" * 32}, "stfu.initiator: is missing"),
        (PING | {"num_pong_bytes": 65536}, "ping.num_pong_bytes: needs an int from 0 to 65535"),
        (PING | {"num_pong_bytes": True}, "ping.num_pong_bytes: needs an integer, not a boolean"),
        (PING | {"num_pong_bytes": 1.0}, "needs an integer, not a fraction"),
        (PING | {"ignored": 5}, "ping.ignored: needs hex, not an integer"),
        (PING | {"ignored": "0"}, "ping.ignored: '0' is not hex"),
        (PING | {"ignored": "0g"}, "is not hex"),
        (PING | {"ignored": "00 00"}, "is not hex"),
        (PING | {"ignored": "00" * 65536}, "ping.ignored"),
        (PING | {"extension": []}, "ping.extension: needs hex, not an array"),
        ({"message": "unknown", "payload": ""}, "unknown.type: needs an integer, not null"),
        ({"message": "unknown", "type": 70000, "payload": ""}, "no message type: 70000"),
        ({"message": "unknown", "type": 40001}, "unknown.payload: needs hex, not null"),
        ({"message": "unknown", "type": 40001, "payload": "", "x": 1}, "there is no field 'x'"),
        ({"message": "init", "globalfeatures": "", "features": "", "tlvs": 1}, "init.tlvs: needs an object"),
        (
            {"message": "init", "globalfeatures": "", "features": "", "tlvs": {"networks": ["00"]}},
            r"init.tlvs.networks\[0\]: needs 32 bytes, not 1",
        ),
        (
            {"message": "init", "globalfeatures": "", "features": "", "tlvs": {"networks": "00"}},
            "init.tlvs.networks: needs an array, not text",
        ),
        (
            {"message": "init", "globalfeatures": "", "features": "", "tlvs": {"unknown": {}}},
            "init.tlvs.unknown: needs an array",
        ),
        (
            {"message": "init", "globalfeatures": "", "features": "", "tlvs": {"unknown": [{"type": 1}]}},
            r"init.tlvs.unknown\[0\]: needs an object of type and value",
        ),
        (
            {
                "message": "init",
                "globalfeatures": "",
                "features": "",
                "tlvs": {"unknown": [{"type": 2**64, "value": ""}]},
            },
            "is no TLV type",
        ),
        (
            {
                "message": "gossip_timestamp_filter",
                "chain_hash": "00",
                "first_timestamp": 1,
                "timestamp_range": 1,
            },
            "chain_hash: needs 32 bytes, not 1",
        ),
        (
            {
                "message": "splice_ack",
                "channel_id": "00" * 32,
                "funding_contribution_satoshis": 1,
                "funding_pubkey": "00" * 33,
            },
            "splice_ack.funding_pubkey: not a compressed point",
        ),
        (
            {
                "message": "splice_ack",
                "channel_id": "00" * 32,
                "funding_contribution_satoshis": 1,
                "funding_pubkey": "031b84c5567b126440995d3ed5aaba0565d71e1834604819ff9c17f5e9d5dd078f",
                "tlvs": {"require_confirmed_inputs": 1},
            },
            "splice_ack.tlvs.require_confirmed_inputs: needs true or false, not an integer",
        ),
    ],
    ids=str,
)
def test_what_is_no_message_is_refused_by_name(value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        from_json(value).encode()


def test_short_ids_and_flags_are_refused_by_name() -> None:
    update = to_json(BOLT.decode(bytes.fromhex(next(data for data in ALL if data.startswith("0102")))))
    for bad in ("1x2", "x", "1x2x70000", "9" * 5000 + "x1x1"):
        with pytest.raises(ValueError, match=r"channel_update\.short_channel_id"):
            from_json(update | {"short_channel_id": bad})
    with pytest.raises(ValueError, match="needs text as 539268x845x1, not an integer"):
        from_json(update | {"short_channel_id": 5})


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.just("00" * 32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(ALL), st.data())
def test_any_change_gives_a_message_or_a_value_error(data: str, draw: st.DataObject) -> None:
    value = to_json(BOLT.decode(bytes.fromhex(data)))
    inside: Any = value
    # Somewhere inside, something else.
    while True:
        key = draw.draw(st.sampled_from(sorted(inside)))
        if isinstance(inside[key], dict) and inside[key] and draw.draw(st.booleans()):
            inside = inside[key]
            continue
        break
    inside[key] = draw.draw(ANYTHING)
    try:
        message = from_json(value)
        encoded = message.encode()
    except ValueError:
        return
    # What was taken is a message, and the same one again as JSON.
    assert from_json(to_json(message)).encode() == encoded


NUMBERS = st.sampled_from(
    ["0", "1", "-1", "1.0", "1e0", "0.5", "-0.0", "true", "255", "256", "256.0", "65535", "65536"]
)
BIG = st.sampled_from(
    ["4294967296", "18446744073709551615", "18446744073709551616", "9007199254740993", "1e3", "1e400"]
)
HEX = [
    "",
    "0",
    "00",
    "00\n",
    "0A",
    "0a",
    " 00",
    "00 ",
    "\xe90",
    "00" * 32,
    "AB" * 32,
    "00" * 32 + "\n",
    "03" + "00" * 8,
]
SCIDS = ["1x1x1", "1x1x1\n", "16777216x0x0", "16777215x16777215x65535", "0x0x65536", "00000000001x1x01", "1x1"]
TEXTS = st.sampled_from([*HEX, *SCIDS])
SCALARS = NUMBERS | BIG | TEXTS.map(json.dumps) | st.sampled_from(["null", "false", "[]", "{}", '"x"'])
RECORDS = st.tuples(
    st.sampled_from(["1", "2", "43", "45", "65535.0", "true", "-1", "18446744073709551615"]), TEXTS
).map(lambda one: f'{{"type": {one[0]}, "value": {json.dumps(one[1])}}}')
UNSAYABLE = (
    "not a compressed point",  # a point on its curve
    "neither a short_channel_id with a direction nor a point",
    "types must increase",  # records of one type twice
    ".extension: ",  # a TLV stream, inside of bytes
    "a message has at most",  # the sum of all bytes
)
"""What the reader says of that which its schema cannot say."""


def as_text(value: Any, change: dict[int, str]) -> str:
    """JSON, with some of its values as they are written here."""
    if id(value) in change:
        return change[id(value)]
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {as_text(one, change)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(as_text(one, change) for one in value) + "]"
    return json.dumps(value)


class Changed:
    """In place of a value: this text."""

    def __init__(self, text: str) -> None:
        self.text = text


def holders(value: Any) -> list[Any]:
    """Every object and array in there."""
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else None
    return [] if inner is None else [value, *[one for each in inner for one in holders(each)]]


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(ALL), st.data())
def test_schema_and_reader_take_the_same(data: str, draw: st.DataObject) -> None:
    value = to_json(BOLT.decode(bytes.fromhex(data)))
    holder = draw.draw(st.sampled_from(holders(value)))
    change: dict[int, str] = {}
    how = draw.draw(st.sampled_from(["other", "other", "other", "less", "more", "records"]))
    keys = sorted(holder) if isinstance(holder, dict) else list(range(len(holder)))
    if how == "less" and keys:
        del holder[draw.draw(st.sampled_from(keys))]
    elif how == "records" and isinstance(value.get("tlvs", {}), dict):
        unknown = Changed("[" + ", ".join(draw.draw(st.lists(RECORDS, max_size=2))) + "]")
        value.setdefault("tlvs", {})["unknown"] = unknown
        change[id(unknown)] = unknown.text
    elif keys or isinstance(holder, dict):
        named = st.sampled_from([*keys, "extension", "unknown", "tlvs", "type"] if isinstance(holder, dict) else keys)
        changed = Changed(draw.draw(SCALARS))
        holder[draw.draw(named) if how == "other" or not isinstance(holder, dict) else "more"] = changed
        change[id(changed)] = changed.text
    compare(as_text(value, change))


def compare(text: str) -> None:
    try:
        from_json(read_json(text)).encode()
        taken, words = True, ""
    except ValueError as error:
        taken, words = False, str(error)
    # As anybody reads JSON, but for the size of floats.
    valid = SCHEMA.is_valid(json.loads(text))
    if not any(one in words for one in UNSAYABLE):
        assert valid == taken, f"{text}: {words}"


def test_what_the_schema_and_the_reader_could_differ_in() -> None:
    update = to_json(BOLT.decode(bytes.fromhex(next(data for data in ALL if data.startswith("0102")))))
    for scid, taken in {
        "16777215x16777215x65535": True,
        "16777216x0x0": False,
        "0x16777216x0": False,
        "0x0x65536": False,
        "1x1x1\n": False,
        "01x002x0003": True,
        "0" * 6000 + "1x1x1": True,
        "1x1x": False,
        "1x1x1x1": False,
        "\u0661x1x1": False,
    }.items():
        given = update | {"short_channel_id": scid}
        assert SCHEMA.is_valid(given) is taken, scid
        compare(json.dumps(given))
    for change in (
        {"ignored": "00\n"},
        {"ignored": "AB"},
        {"type": None},
        {"type": 18.0},
        {"type": True},
        {"num_pong_bytes": True},
        {"num_pong_bytes": 65535.0},
        {"num_pong_bytes": 0.5},
        {"ignored": "00" * 65_536},
    ):
        compare(json.dumps(PING | change))
    compare(json.dumps({"message": "ping", "num_pong_bytes": 1, "ignored": ""}))
    compare(json.dumps({"message": "unknown", "type": 65535.0, "payload": "00"}))
    # Nothing can follow what goes up to the end: the records of an Init that nobody knows stand in its tlvs.
    init = {"message": "init", "globalfeatures": "", "features": ""}
    for extension, taken in (("", True), ("2b0101", False)):
        assert SCHEMA.is_valid(init | {"extension": extension}) is taken
        compare(json.dumps(init | {"extension": extension}))
    for record in (1, 2, 3, 4, 43, 44):  # networks and remote_addr are its own
        value = init | {"tlvs": {"unknown": [{"type": record, "value": ""}]}}
        assert SCHEMA.is_valid(value) is (record == 43)
        compare(json.dumps(value))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"message": "pong", "ignored": "00", "ignored": "01"}', "'ignored' stands twice in one object"),
        ('{"a": [{"\\u0062\\n": 1, "b\\n": 1}]}', "'b\\n' stands twice"),
        ("NaN", "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ("[" * 100_000, "nested so deeply"),
        ("{", "Expecting"),
        ("\ufeff{}", "BOM"),
    ],
)
def test_json_is_read_strictly(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        read_json(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.0", 1),
        ("1e3", 1000),
        ("-0.0", 0),
        ("18446744073709551615.0", 2**64 - 1),
        ("0.5", 0.5),
        ("1e-400", 0.0),
        ("0e99999999", 0),
        ("1e400", float("inf")),
        ("1e99999999999999999999", float("inf")),
        ('{"a": 1, "b": {"a": 1}}', {"a": 1, "b": {"a": 1}}),
    ],
)
def test_a_number_is_what_it_says(text: str, value: object) -> None:
    found = read_json(text)
    assert found == value
    assert type(found) is type(value)


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    for bad in (PING | {"more": 1}, PING | {"num_pong_bytes": 65536}, PING | {"ignored": "0"}, PING | {"type": 19}):
        assert not SCHEMA.is_valid(bad)
    assert SCHEMA.is_valid(PING)
    stfu = {"message": "stfu", "type": 2, "channel_id": "00" * 32, "initiator": 1}
    assert SCHEMA.is_valid(stfu)
    assert not SCHEMA.is_valid({name: value for name, value in stfu.items() if name != "initiator"})
