"""BOLT 9: our table against the BOLT's, and the arithmetic of bits."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from triolight.features import BOLT9, FEATURES, WILD, Context, Features, Status

VECTORS = Path(__file__).parent / "vectors"


def test_the_table_is_the_bolts() -> None:
    with (VECTORS / "features.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(BOLT9)
    for row, feature in zip(rows, BOLT9, strict=True):
        assert (feature.even, feature.odd) == (int(row["even_bit"]), int(row["odd_bit"]))
        assert feature.name == row["name"]
        assert feature.status == row["status"]
        assert feature.contexts == {Context(letter) for letter in row["contexts"]}
        assert " ".join(feature.dependencies) == row["dependencies"]


def test_the_wild_ones() -> None:
    with (VECTORS / "features_wild.csv").open() as file:
        rows = [(int(row["even_bit"]), int(row["odd_bit"])) for row in csv.DictReader(file)]
    assert sorted((feature.even, feature.odd) for feature in WILD) == sorted(rows)
    assert all(feature.status is Status.WILD for feature in WILD)
    assert len(FEATURES) == len(BOLT9) + len(WILD)


@pytest.mark.parametrize(("size", "cut"), [(0, False), (1, False), (64, False), (65, True), (65_000, True)])
def test_the_lowest_are_shown(size: int, cut: bool) -> None:
    features = Features.from_bytes(b"\xaa" * size)
    assert features.lowest() == (b"\xaa" * min(size, 64), cut)
    assert features.shown() == "aa" * min(size, 64) + (" and higher ones" if cut else "")


def test_names_and_bits() -> None:
    features = Features.named("option_quiesce", required=["var_onion_optin"])
    assert list(features) == [8, 35]
    assert features.offers("option_quiesce")
    assert not features.requires("option_quiesce")
    assert features.requires("var_onion_optin")
    assert 35 in features
    assert 34 not in features
    assert repr(features) == "Features(var_onion_optin (8), option_quiesce (35))"
    assert Features.describe(999) == "bit 999"
    assert bool(features) and not bool(Features())  # noqa: PT018
    with pytest.raises(KeyError):
        Features.named("nonsense")
    with pytest.raises(ValueError, match="no feature bit"):
        Features([-1])
    assert repr(Features(range(100))).endswith(" and 36 more)")


@given(st.sets(st.integers(0, 300)))
def test_bits_round_trip(bits: set[int]) -> None:
    features = Features(bits)
    assert list(features) == sorted(bits)
    assert Features.from_bytes(features.to_bytes()) == features
    assert Features.from_bytes(b"\x00\x00" + features.to_bytes()) == features
    assert hash(Features.from_bytes(b"\x00" + features.to_bytes())) == hash(features)
    assert list(features | Features([301])) == [*sorted(bits), 301]
    assert list(features.globalfeatures) == [bit for bit in sorted(bits) if bit < 14]
    known = {feature.even for feature in FEATURES.values()}
    assert list(features.unknown_required()) == [bit for bit in sorted(bits) if bit % 2 == 0 and bit not in known]


def test_far_bits_are_quick_and_right() -> None:
    assert not Features([40001]).unknown_required()
    assert Features([40000]).unknown_required() == Features([40000])
    assert Features.from_bytes(bytes(8191)) == Features()
    all_bits = Features.from_bytes(b"\xff" * 65_000)
    assert len(list(all_bits)) == 520_000
    assert len(all_bits.unknown_required()) == 260_000 - len(FEATURES)
    assert Features() != 5


@given(ours=st.sets(st.integers(0, 300)), theirs=st.sets(st.integers(0, 300)))
def test_what_is_required_and_not_offered_is_counted_by_pairs(ours: set[int], theirs: set[int]) -> None:
    lacking = [bit for bit in sorted(ours) if bit % 2 == 0 and not {bit, bit + 1} & theirs]
    assert list(Features(ours).required_but_not_in(Features(theirs))) == lacking


def test_what_one_side_requires_and_the_other_does_not_offer() -> None:
    ours = Features([0, 9, 12])
    assert not ours.required_but_not_in(Features([1, 13]))
    assert ours.required_but_not_in(Features([0])) == Features([12])
    assert not Features([200]).required_but_not_in(Features([201]))


@pytest.mark.parametrize(
    ("bits", "missing"),
    [
        ([51], [("option_zeroconf", "option_scid_alias")]),
        ([50], [("option_zeroconf", "option_scid_alias")]),
        ([51, 47], []),
        ([61], [("option_simple_close", "option_shutdown_anysegwit")]),
        ([61, 26], []),
        ([17], []),  # payment_secret is assumed
    ],
)
def test_dependencies(bits: list[int], missing: list[tuple[str, str]]) -> None:
    assert Features(bits).missing_dependencies() == missing
