"""CRC32C of many messages at once: the same as one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from triolight.gossip import crc32c
from triolight.gossip.formats.checksums import crc32c_of_all


def test_the_check_value_of_the_polynomial() -> None:
    assert crc32c_of_all([b"123456789"]) == [0xE3069283]
    assert crc32c_of_all([]) == []
    assert crc32c_of_all([b"", bytes(32)]) == [0, 0x8A9136AA]


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_many_are_as_each_by_itself(messages: list[bytes]) -> None:
    assert crc32c_of_all(messages) == [crc32c(one) for one in messages]


@given(st.lists(st.tuples(st.binary(max_size=9), st.binary(max_size=9)), max_size=20))
def test_a_seed_is_the_crc_of_what_came_before(parts: list[tuple[bytes, bytes]]) -> None:
    seeds = [crc32c(before) for before, _ in parts]
    assert crc32c_of_all([behind for _, behind in parts], seeds) == [crc32c(a + b) for a, b in parts]
