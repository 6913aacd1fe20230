"""Whose input is read next: small input first, but not for ever; what is left over comes back; a turn is short."""

from __future__ import annotations

from triolight.shell.turns import LEFTOVER_EVERY, LONE_TURN_WORK, SMALL_INPUT, TURN_WORK, Turns
from triolight.shell.watch import Arrival

AT = Arrival(1.0, 1_700_000_000_000_000_000)
SMALL, LARGE = bytes(SMALL_INPUT), bytes(SMALL_INPUT + 1)


def test_small_input_goes_first_in_its_order() -> None:
    turns: Turns[str] = Turns()
    for whose, data in (("large", LARGE), ("one", SMALL), ("other", b"x")):
        turns.put(whose, data, AT)
    turns.begin()
    assert [turns.next() for _ in range(2)] == [("one", (SMALL, AT)), ("other", (b"x", AT))]
    # What is small is answered before anybody looks at what is large.
    assert turns.next() is None
    turns.end()
    turns.begin()
    assert [turns.next(), turns.next()] == [("large", (LARGE, AT)), None]


def test_who_shakes_hands_comes_after_peers_small_input_and_is_not_starved() -> None:
    turns: Turns[str] = Turns()
    for number in range(3):
        turns.put(f"stranger {number}", b"x", AT, is_peer=False)
    served: list[str] = []
    for _ in range(LEFTOVER_EVERY + 2):
        turns.put("peer", b"x", AT)
        turns.begin()
        found = turns.next()
        assert found is not None
        served.append(found[0])
        turns.end()
    assert served == ["peer"] * LEFTOVER_EVERY + ["stranger 0", "peer"]


def test_large_input_has_its_turn_after_some_however_much_is_small() -> None:
    turns: Turns[str] = Turns()
    turns.put("large", LARGE, AT)
    served: list[str] = []
    for _ in range(2 * LEFTOVER_EVERY + 2):
        # Each turn has work for one, and more small input than that.
        turns.put("small", b"x", AT)
        turns.put("small", b"x", AT)
        turns.begin()
        found = turns.next()
        assert found is not None
        served.append(found[0])
        if found[0] == "large":
            turns.left_over("large")
        turns.end()
    assert [at for at, whose in enumerate(served) if whose == "large"] == [LEFTOVER_EVERY, 2 * LEFTOVER_EVERY + 1]


def test_what_is_left_over_comes_without_its_bytes_and_after_other_large_input() -> None:
    turns: Turns[str] = Turns()
    turns.put("one", LARGE, AT)
    turns.put("other", LARGE, AT)
    turns.begin()
    assert turns.next() == ("one", (LARGE, AT))
    turns.left_over("one")
    assert [turns.next(), turns.next(), turns.next()] == [("other", (LARGE, AT)), ("one", None), None]


def test_a_turn_is_longer_for_one_alone() -> None:
    turns: Turns[str] = Turns()
    assert not turns.waiting
    turns.put("one", LARGE, AT)
    assert turns.waiting
    assert turns.begin() == LONE_TURN_WORK
    turns.put("other", b"x", AT)
    assert turns.begin() == TURN_WORK
    turns.clear()
    turns.put("one", LARGE, AT)
    turns.left_over("other")
    assert turns.begin() == TURN_WORK
    turns.clear()
    assert not turns.waiting
    assert turns.next() is None


def test_what_is_left_over_has_one_turn_however_often_that_is_said() -> None:
    """Or whoever has much would be read more than others, and nobody would seem to be alone."""
    turns: Turns[str] = Turns()
    for _ in range(3):
        turns.left_over("one")
        turns.left_over("other")
    assert [turns.next(), turns.next(), turns.next()] == [("one", None), ("other", None), None]
    turns.left_over("one")
    turns.left_over("one")
    assert turns.begin() == LONE_TURN_WORK
    turns.clear()
    turns.left_over("one")
    assert turns.next() == ("one", None)
