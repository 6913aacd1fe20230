"""Records of LSPS: each kind of field, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from triolight import DecodeError
from triolight.lsps import Amount, Count, Flag, Record, Scid, Text, Time
from triolight.wire import ShortChannelId


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner(Record):
    name: Text


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer(Record):
    amount: Amount | None = None
    count: Count | None = None
    flag: Flag | None = None
    time: Time | None = None
    scid: Scid | None = None
    inner: Inner | None = None
    list_of: tuple[Inner, ...] = ()


FITS: list[tuple[str, Any, Any, Any]] = [
    ("amount", "0", 0, "0"),
    ("amount", "18446744073709551615", 2**64 - 1, "18446744073709551615"),
    ("count", 4294967295, 2**32 - 1, 4294967295),
    ("flag", False, False, False),
    ("time", "2023-02-23T08:47:30.511Z", datetime(2023, 2, 23, 8, 47, 30, 511_000, UTC), "2023-02-23T08:47:30.511Z"),
    ("time", "2025-01-01T00:00:00z", datetime(2025, 1, 1, tzinfo=UTC), "2025-01-01T00:00:00.000Z"),
    (
        "time",
        "2025-01-01t02:00:00.123456789+02:00",
        datetime(2025, 1, 1, microsecond=123_456, tzinfo=UTC),
        "2025-01-01T00:00:00.123Z",
    ),
    ("time", "0001-01-01T00:30:00-00:30", datetime(1, 1, 1, 1, tzinfo=UTC), "0001-01-01T01:00:00.000Z"),
    ("scid", "539268x845x1", ShortChannelId.of(539268, 845, 1), "539268x845x1"),
    ("inner", {"name": "ü", "else": [1]}, Inner(name="ü"), {"name": "ü"}),
    ("list_of", [{"name": "a"}, {"name": "b"}], (Inner(name="a"), Inner(name="b")), [{"name": "a"}, {"name": "b"}]),
]
"""A field, what JSON has, what it is, and how it is written."""

DOES_NOT: dict[str, list[Any]] = {
    "amount": [1, "", "-1", "1.0", "18446744073709551616", " 1", "\uff11", "1" * 5000, True],
    "count": ["1", -1, 2**32, 1.0, True, []],
    "flag": [0, 1, "true", {}],
    "time": [
        *(1, "", "2023-02-23", "2023-02-23T08:47:30", "2023-02-30T00:00:00Z", "0000-01-01T00:00:00Z"),
        *("2023-01-01T24:61:00Z", "2023-01-01T00:00:00+24:00", "0001-01-01T00:00:00+00:01"),
        "9999-12-31T23:59:59-00:01",
    ],
    "scid": [1, "1x2", "1x2x3x4", "16777216x0x0", "1" * 5000 + "x1x1", "-1x1x1"],
    "inner": ["x", [], {}, {"name": 1}, {"name": None}],
    "list_of": [{}, "ab", [1], [{"name": "a"}, {}]],
}


@pytest.mark.parametrize(("name", "given", "value", "written"), FITS)
def test_a_field_both_ways(name: str, given: Any, value: Any, written: Any) -> None:
    record = Outer.from_json({name: given, "unknown": {"deep": None}})
    assert getattr(record, name) == value
    assert record.to_json()[name] == written
    assert Outer.from_json(record.to_json()).to_json() == record.to_json()


@pytest.mark.parametrize(("name", "given"), [(name, one) for name, given in DOES_NOT.items() for one in given])
def test_what_is_no_value_is_named(name: str, given: Any) -> None:
    with pytest.raises(DecodeError) as caught:
        Outer.from_json({name: given})
    assert caught.value.field.partition(".")[0] == name
    assert len(str(caught.value)) < 300


def test_nothing_may_be_null_or_missing() -> None:
    assert Outer.from_json({"amount": None}) == Outer.from_json({}) == Outer()
    assert Outer().to_json() == {"list_of": []}
    with pytest.raises(DecodeError, match=r"Inner\.name: is missing"):
        Inner.from_json({})
    nones: list[Any] = [None, [], "x", 1]
    for none in nones:
        with pytest.raises(DecodeError, match="no object"):
            Inner.from_json(none)
    assert Outer.names() == {"amount", "count", "flag", "time", "scid", "inner", "list_of"}


def test_what_a_field_would_take() -> None:
    assert Outer.takes("amount", "7")
    assert Outer.takes("list_of", [{"name": "a"}])
    others: dict[str, Any] = {"amount": 7, "list_of": [{}], "inner": {"name": 1}, "unknown": "7"}
    for name, value in others.items():
        assert not Outer.takes(name, value)


def test_a_time_is_a_moment() -> None:
    east = timezone(timedelta(hours=5, minutes=30))
    assert Outer(time=datetime(2025, 1, 1, 5, 30, tzinfo=east)).to_json()["time"] == "2025-01-01T00:00:00.000Z"
    with pytest.raises(ValueError, match="without a zone"):
        Outer(time=datetime(2025, 1, 1)).to_json()
