"""What a source told too early: bounded, and looked at again a little at a time."""

from __future__ import annotations

from triolight.gossip.sources import Ahead


def filled(*sizes: int) -> Ahead:
    ahead = Ahead()
    for number, size in enumerate(sizes):
        ahead.put(bytes((number,)) * size, 100)
    return ahead


def test_d24_it_keeps_so_many_bytes_and_counts_what_it_drops() -> None:
    ahead = filled(60, 40, 1, 7)
    assert (len(ahead.messages), ahead.size, ahead.dropped) == (2, 100, 2)
    ahead.clear()
    ahead.put(b"one more", 8)
    assert (ahead.size, ahead.dropped) == (8, 2), "from the beginning on"


def test_some_of_it_is_taken_in_order_and_is_gone() -> None:
    ahead = filled(1, 2, 3)
    assert ahead.take(2, keep=False) == []
    ahead.due = 3
    assert [len(one) for one in ahead.take(2, keep=False)] == [1, 2]
    ahead.put(bytes(9), 100)
    assert (ahead.due, ahead.size) == (1, 12)
    assert [len(one) for one in ahead.take(2, keep=False)] == [3]
    assert (ahead.due, ahead.size, len(ahead.messages)) == (0, 9, 1)


def test_what_is_kept_goes_behind_the_others() -> None:
    ahead = filled(1, 2, 3)
    ahead.due = 3
    assert [len(one) for _ in range(2) for one in ahead.take(2, keep=True)] == [1, 2, 3]
    assert (ahead.due, ahead.size, [len(one) for one in ahead.messages]) == (0, 6, [1, 2, 3])


def test_nothing_is_left_after_all_is_forgotten() -> None:
    ahead = filled(1, 2)
    ahead.due = 2
    ahead.clear()
    assert (ahead.due, ahead.size, ahead.take(1, keep=False)) == (0, 0, [])
