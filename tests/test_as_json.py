"""Messages as JSON and back: byte for byte, refused by name, and as the schema says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import MESSAGES, Note
from triolight.as_json import from_json, json_schema, to_json
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


@settings(deadline=None, max_examples=300)
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


def test_the_schema_refuses_what_the_reader_refuses() -> None:
    for bad in (PING | {"more": 1}, PING | {"num_pong_bytes": 65536}, PING | {"ignored": "0"}, PING | {"type": 19}):
        assert not SCHEMA.is_valid(bad)
    assert SCHEMA.is_valid(PING)
    stfu = {"message": "stfu", "type": 2, "channel_id": "00" * 32, "initiator": 1}
    assert SCHEMA.is_valid(stfu)
    assert not SCHEMA.is_valid({name: value for name, value in stfu.items() if name != "initiator"})
