"""Who streams, who is asked now and then: filters by the make, rotation, stalls, checks each hour and each day."""

from __future__ import annotations

from triolight.gossip.asking import SyncPolicy
from triolight.gossip.following import Check, Following, Stream

POLICY = SyncPolicy()


def following(*early: bool, empty: bool = False) -> Following:
    one = Following(POLICY, 0, lambda: empty)
    for number, soon in enumerate(early):
        one.join(bytes((number,)), 0, early=soon)
    return one


def streams(given: list[Stream | Check]) -> dict[int, int | None]:
    return {one.node_id[0]: one.seconds_ago for one in given if isinstance(one, Stream)}


def test_three_stream_and_others_hear_that_nothing_is_wanted() -> None:
    one = following(True, True, True, True, True)
    assert streams(one.tick(0)) == {0: 3600, 1: 3600, 2: 3600, 3: None, 4: None}
    assert len(one.streams) == 3
    assert one.tick(1) == []


def test_five_stream_into_an_empty_graph() -> None:
    assert list(streams(following(*[True] * 6, empty=True).tick(0)).values()) == [3600] * 5 + [None]


def test_who_may_be_ldk_is_asked_before_it_hears_a_filter() -> None:
    one = following(False)
    assert one.tick(0) == []
    # Somebody may be about to ask it for everything.
    assert one.look_again == POLICY.quiet
    assert one.tick(POLICY.quiet) == [Check(b"\0", everything=False)]
    assert one.tick(60) == []
    assert one.look_again > 60
    one.checked(b"\0")
    assert one.tick(61) == [Stream(b"\0", 3600)]


def test_many_who_wait_wake_nobody() -> None:
    one = following(True, True, True, *[False] * 5)
    one.tick(0)
    one.tick(POLICY.quiet)
    assert one.look_again == POLICY.stall


def test_the_stream_that_brings_least_goes_to_another() -> None:
    one = following(True, True, True, True)
    one.tick(0)
    for now in range(0, 1200, 100):
        one.new_from(b"\0", now)
        one.new_from(b"\2", now)
        one.new_from(b"\3", now)  # it does not stream
    assert one.look_again == 1200
    assert streams(one.tick(1200)) == {1: None, 3: 3600}
    # Whose turn was longest ago is next: there is only one.
    one.new_from(b"\0", 2300)
    one.new_from(b"\3", 2300)
    assert streams(one.tick(2400)) == {2: None, 1: 3600}


def test_streams_that_bring_nothing_go_to_others_as_far_as_there_are_any() -> None:
    one = following(True, True, True, True, True)
    one.tick(0)
    changed = streams(one.tick(POLICY.stall))
    assert sum(seconds is None for seconds in changed.values()) == 2
    assert {3, 4} <= one_streams(one)
    alone = following(True)
    alone.tick(0)
    assert alone.tick(POLICY.stall) == []


def one_streams(one: Following) -> set[int]:
    return {node_id[0] for node_id in one.streams}


def test_who_leaves_is_followed_by_another() -> None:
    one = following(True, True, True, True)
    one.tick(0)
    one.leave(b"\0")
    one.leave(b"\0")
    assert streams(one.tick(1)) == {3: 3600}


def test_each_hour_another_is_asked_and_each_day_for_all() -> None:
    one = following(True, True, True)
    one.tick(0)
    asked: list[Check] = []
    for hour in range(1, 25):
        for node_id in one.streams:
            one.new_from(node_id, hour * 3600 - 1)
        asked += [each for each in one.tick(hour * 3600) if isinstance(each, Check)]
    assert [each.everything for each in asked] == [False] * 23 + [True]
    assert [each.node_id[0] for each in asked[:6]] == [0, 1, 2, 0, 1, 2]


def test_with_nobody_here_the_check_waits() -> None:
    one = Following(POLICY, 0, lambda: True)
    assert one.tick(3600) == []
    assert 3600 < one.look_again <= 3600 + POLICY.stall
    one.join(b"\0", 3601, early=True)
    assert [type(each) for each in one.tick(3700)] == [Stream, Check]
