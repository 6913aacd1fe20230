"""No input of 65,535 bytes costs much: counted in calls and bytes of memory, because clocks of test machines lie."""

from __future__ import annotations

import sys
import tracemalloc
from types import FrameType

import pytest

from benchmarks.worst import inputs
from triolight.cli.tree import tree
from triolight.connection import ProtocolFault, RefuseFeatures, check_init, decode_init
from triolight.errors import DecodeError
from triolight.features import Features
from triolight.messages import BOLT, Init

CALLS_PER_BYTE = 3.5
"""The most are six for each of 32,733 empty witnesses of two bytes. At 0.1 us each that is 20 ms; the
bound is 50 (`benchmarks/codec.py` prints what it is)."""
MEMORY = 10_000_000
EVERY = dict(inputs())


def decode(data: bytes) -> None:
    try:
        BOLT.decode(data)
    except DecodeError:
        pass


def calls_of(data: bytes) -> int:
    count = 0

    def see(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(see)
    try:
        decode(data)
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("name", EVERY)
def test_calls_and_memory_are_bounded(name: str) -> None:
    data = EVERY[name]
    assert 65_000 < len(data) <= 65_535
    assert calls_of(data) <= CALLS_PER_BYTE * len(data)
    tracemalloc.start()
    try:
        decode(data)
        assert tracemalloc.get_traced_memory()[1] < MEMORY
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("refuse", ["unknown", "not_offered"])
def test_half_a_million_feature_bits_are_refused_as_cheaply(refuse: RefuseFeatures) -> None:
    data = Init(features=b"\x55" * 65_529).encode()
    tracemalloc.start()
    try:
        with pytest.raises(ProtocolFault, match="and 262"):
            check_init(decode_init(data), Features(), (), refuse)
        tree(BOLT.decode(data), len(data))
        assert tracemalloc.get_traced_memory()[1] < MEMORY / 2
    finally:
        tracemalloc.stop()


def test_nothing_is_quadratic() -> None:
    for name in ("tx_signatures, 65535 empty witnesses", "init, unknown odd records, a bad one last"):
        whole = EVERY[name]
        # Half as many bytes of the same kind, cut inside a record, so that both are refused.
        assert calls_of(whole) <= 2.2 * calls_of(whole[: len(whole) // 2]) + 100
