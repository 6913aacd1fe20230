"""Time, without a clock: each phase's deadline, what excuses silence, and the heap of timers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.inside import heap_of
from triolight import DisconnectCode, DisconnectReason
from triolight.shell.watch import (
    HANG_UP_SECONDS,
    STALL_LOGGED_AFTER,
    Approach,
    Deadlines,
    Facts,
    Look,
    Phase,
    Timed,
    Timers,
    Watch,
)

DEADLINES = Deadlines(handshake=15, init=16, ping_interval=30, pong=60, stall=61, goodbye=5)
QUIET = Facts(
    held_since=None,
    last_taken=-math.inf,
    broken=False,
    writing_since=None,
    unsent=None,
    over_budget=False,
    hung_up=False,
)


def code(reason: DisconnectReason | None) -> DisconnectCode | None:
    return None if reason is None else reason.code


def test_a_detour_stretches_all_but_the_goodbye() -> None:
    assert DEADLINES.times(1) is DEADLINES
    assert DEADLINES.times(3) == Deadlines(45, 48, 90, 180, 183, 5)


@pytest.mark.parametrize(
    ("phase", "why", "words"),
    [
        (Phase.HANDSHAKE, DisconnectCode.HANDSHAKE_TIMEOUT, "15 seconds"),
        (Phase.INIT, DisconnectCode.INIT_TIMEOUT, "16 seconds"),
        (Phase.PARKED, DisconnectCode.DUPLICATE, "another connection"),
    ],
)
def test_a_stream_without_a_peer_ends_with_its_phase(phase: Phase, why: DisconnectCode, words: str) -> None:
    approach = Approach(DEADLINES, 1.0)
    assert approach.phase is Phase.HANDSHAKE
    approach.enter(phase, 7.0)
    assert approach.look(6.9) is None
    reason = approach.look(7.0)
    assert reason is not None
    assert reason.code is why
    assert words in reason.message


def test_waiting_pings_and_ends_who_says_nothing() -> None:
    watch = Watch(DEADLINES, 100.0)
    assert watch.connected(100.0) == 130
    assert watch.look(129.0, QUIET) == Look(130)
    assert watch.look(130.0, QUIET) == Look(160, ping=True)
    # Nothing at all has come since: half a minute is enough.
    assert code(watch.look(159.0, QUIET).reason) is None
    silent = watch.look(160.0, QUIET)
    assert silent.reason is not None
    assert silent.reason.code is DisconnectCode.PING_TIMEOUT
    assert "no sign of life for 30 seconds" in silent.reason.message


def test_waiting_gives_who_talks_longer_for_its_pong() -> None:
    watch = Watch(DEADLINES, 100.0)
    watch.look(130.0, QUIET)
    watch.received(131.0)
    assert watch.look(160.0, QUIET) == Look(190)
    late = watch.look(190.0, QUIET)
    assert late.reason is not None
    assert "no pong for 60 seconds" in late.reason.message


def test_a_pong_begins_anew() -> None:
    watch = Watch(DEADLINES, 100.0)
    watch.look(130.0, QUIET)
    watch.pong()
    # The next ping is due an interval after the last one.
    assert watch.look(131.0, QUIET) == Look(160)
    assert watch.look(160.0, QUIET).ping


def test_held_excuses_silence_and_blames_our_subscriber() -> None:
    watch = Watch(DEADLINES, 100.0)
    watch.look(130.0, QUIET)
    held = QUIET._replace(held_since=131.0)
    assert watch.held(131.0) == 131 + HANG_UP_SECONDS
    assert watch.look(140.0, held) == Look(140.5)
    assert watch.look(142.0, held) == Look(142.5, stalled=11)
    assert watch.look(150.0, held) == Look(150.5), "it is logged once"
    # It has taken something: the time counts from there, and is logged no more.
    taken = held._replace(last_taken=180.0)
    assert watch.look(192.0, taken) == Look(192.5)
    assert code(watch.look(241.0, taken).reason) is DisconnectCode.SUBSCRIBER_STALLED
    # Let go of at 241, the ping of 130 is as fresh as that.
    assert watch.look(242.0, QUIET).next_at == 271
    # Held anew, it is logged anew.
    assert watch.look(262.0, QUIET._replace(held_since=250.0)).stalled == 12


def test_held_and_gone_has_departed_and_is_still_waited_for() -> None:
    watch = Watch(DEADLINES, 100.0)
    gone = QUIET._replace(held_since=101.0, hung_up=True)
    assert watch.look(101.5, gone) == Look(101 + STALL_LOGGED_AFTER, departed=True)
    assert watch.look(111.0, gone) == Look(162, departed=True, stalled=10)
    assert code(watch.look(162.0, gone).reason) is DisconnectCode.SUBSCRIBER_STALLED


def test_throttled_is_pinged_and_read_again_when_it_has_paid() -> None:
    watch = Watch(DEADLINES, 100.0)
    assert watch.throttled(100.0, 100.25) == 100.25
    assert watch.throttled(100.0, 140.0) == 100 + HANG_UP_SECONDS
    assert not watch.reads
    assert watch.look(120.0, QUIET) == Look(120.5)
    assert watch.look(129.75, QUIET) == Look(130)
    assert watch.look(130.0, QUIET) == Look(130.5, ping=True)
    assert watch.look(140.0, QUIET) == Look(170, resume=True)
    assert watch.reads
    assert not watch.look(141.0, QUIET).resume
    watch.throttled(299.0, 500.0)
    assert watch.look(300.0, QUIET).reason is None, "it is not read, and not blamed for silence"
    for why in (QUIET._replace(broken=True), QUIET._replace(hung_up=True)):
        assert code(watch.look(301.0, why).reason) is DisconnectCode.CONNECTION_LOST
    # When it may be read again, what it said before is read, and its end then.
    assert watch.look(500.0, QUIET._replace(hung_up=True)).reason is None


def test_who_is_never_pinged_is_looked_at_all_the_same() -> None:
    """Whether it takes what there is for it is seen by nothing else."""
    watch = Watch(replace(DEADLINES, ping_interval=math.inf), 100.0)
    assert watch.connected(100.0) == 160
    assert watch.look(160.0, QUIET) == Look(220)
    assert watch.look(220.0, QUIET._replace(writing_since=170.0)).next_at == 230
    assert code(watch.look(230.0, QUIET._replace(writing_since=170.0)).reason) is DisconnectCode.WRITE_STALLED


def test_a_ping_alone_may_be_early_and_only_when_its_timer_is() -> None:
    watch = Watch(DEADLINES, 100.0)
    assert watch.connected(100.0) == 130
    slack = watch.slack(130.0)
    assert 0 < slack < 1
    assert watch.look(130.0 - slack, QUIET) == Look(130)
    assert watch.look(129.0, QUIET, timed=True) == Look(130)
    assert watch.look(130.0 - slack, QUIET, timed=True).ping
    assert watch.slack(129.0) == 0
    # Of its answer, nothing is early.
    assert watch.look(159.9 - slack, QUIET, timed=True).reason is None
    assert code(watch.look(160.0 - slack, QUIET, timed=True).reason) is DisconnectCode.PING_TIMEOUT


@pytest.mark.parametrize("interval", [1e9, math.inf])
def test_a_ping_is_no_more_than_a_second_early(interval: float) -> None:
    watch = Watch(replace(DEADLINES, ping_interval=interval), 100.0)
    assert watch.slack(100.0 + interval) == 1
    assert not watch.look(160.0, QUIET, timed=True).ping


def test_writing_is_judged_by_what_the_peer_takes() -> None:
    watch = Watch(DEADLINES, 100.0)
    watch.look(130.0, QUIET)
    owes = QUIET._replace(over_budget=True)
    for now in range(140, 1000, 30):
        assert watch.look(float(now), owes) == Look(now + 30), "it is not blamed for silence"
    stuck = QUIET._replace(writing_since=1000.0, unsent=500)
    assert watch.look(1000.0, stuck) == Look(1030)
    assert watch.look(1040.0, stuck) == Look(1060)
    # The system holds less for it than before: it has moved.
    assert watch.look(1050.0, stuck._replace(unsent=499)).reason is None
    moved = stuck._replace(unsent=499)
    assert watch.look(1109.0, moved).reason is None
    ended = watch.look(1110.0, moved)
    assert ended.reason is not None
    assert ended.reason.code is DisconnectCode.WRITE_STALLED
    assert "for 60 seconds" in ended.reason.message
    # Without the system's word, the writer's own is what counts.
    blind = Watch(DEADLINES, 100.0)
    assert blind.look(159.0, QUIET._replace(writing_since=100.0)).reason is None
    assert code(blind.look(160.0, QUIET._replace(writing_since=100.0)).reason) is DisconnectCode.WRITE_STALLED


def test_after_the_end_a_subscriber_has_the_stall_deadline() -> None:
    watch = Watch(DEADLINES, 100.0)
    assert watch.after_end(200.0, QUIET) == math.inf
    held = QUIET._replace(held_since=150.0, last_taken=170.0)
    assert watch.after_end(230.0, held) == 231
    assert watch.after_end(231.0, held) is None


class Named(Timed):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


def name_of(one: Named | None) -> str | None:
    return None if one is None else one.name


def make_timers() -> tuple[Timers[Named], list[float]]:
    told: list[float] = []
    return Timers(told.append), told


def test_of_each_timer_the_earliest_time_counts() -> None:
    timers, told = make_timers()
    one, other = Named("one"), Named("other")
    assert timers.first == math.inf
    timers.set(one, 5.0)
    timers.set(one, 7.0)
    timers.set(one, 3.0)
    timers.set(other, 4.0)
    timers.set(other, math.inf)
    assert told == [5.0, 3.0, 4.0]
    assert timers.first == 3
    assert timers.due(2.9) is None
    assert [name_of(timers.due(10.0)) for _ in range(3)] == ["one", "other", None]
    # What is due may be set again, to any time.
    timers.set(one, 11.0)
    assert timers.due(11.0) is one


def test_what_changes_nothing_is_not_held_and_nobody_is_told_of_it() -> None:
    timers, told = make_timers()
    one = Named("one")
    timers.set(one, math.inf)
    assert (len(timers), heap_of(timers), told) == (0, [], [])
    timers.set(one, 5.0)
    timers.set(one, 5.0)
    assert (len(timers), len(heap_of(timers)), told) == (1, 1, [5.0])


def test_what_is_stopped_is_not_held_and_not_due_and_may_begin_anew() -> None:
    timers, _ = make_timers()
    one = Named("one")
    timers.set(one, 5.0)
    timers.stop(one)
    assert timers.due(6.0) is None
    timers.set(one, 9.0)
    assert timers.due(9.0) is one


def test_who_may_be_early_is_due_together_with_another_one() -> None:
    timers, told = make_timers()
    first, second, third, exact = map(Named, ("first", "second", "third", "exact"))
    timers.set(first, 5.0, 1.0)
    timers.set(second, 5.5, 1.0)
    timers.set(exact, 5.7)
    timers.set(third, 5.8, 1.0)
    assert told == [5.0, 5.5, 5.7, 5.8]
    assert timers.due(4.9) is None
    assert timers.due(5.0) is first
    assert timers.due(5.0) is None
    assert timers.due(5.0, together=True) is second
    assert timers.due(5.0, together=True) is None, "whose time has not come is before it"
    assert [timers.due(5.7, together=True) for _ in range(3)] == [exact, third, None]
    assert timers.first == math.inf


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 100), st.booleans()), max_size=60), st.floats(0, 100))
def test_what_is_due_is_what_a_simple_model_says(steps: list[tuple[int, float, bool]], now: float) -> None:
    timers, _ = make_timers()
    made = {number: Named(str(number)) for number in range(6)}
    model: dict[str, float] = {}
    for number, at, stop in steps:
        if stop:
            timers.stop(made[number])
            model.pop(str(number), None)
        else:
            timers.set(made[number], at)
            model[str(number)] = min(at, model.get(str(number), math.inf))
        assert len(timers) == len(model)
    before = 0.0
    while (one := timers.due(now)) is not None:
        model_at = model.pop(one.name)
        assert before <= model_at <= now
        before = model_at
        assert len(timers) == len(model)
    assert not [name for name, at in model.items() if at <= now]


def test_entries_that_do_not_count_are_swept_out() -> None:
    timers, _ = make_timers()
    kept = Named("kept")
    timers.set(kept, 1e9)
    for number in range(10_000):
        one = Named(str(number))
        timers.set(one, float(number))
        timers.stop(one)
        assert len(timers) == 1
    # Nor do numbers without anything gather for ever.
    assert len(heap_of(timers)) <= 2 * 1 + 1024 + 1
    assert timers.due(1e9) is kept


def test_who_is_left_when_others_are_swept_out_is_due_in_order_and_few_are_swept() -> None:
    timers, _ = make_timers()
    for number in range(3_000):
        timers.set(Named(str(number)), float(number * 7 % 3_000))
    others = [Named("other") for _ in range(20_000)]
    sweeps = 0
    for other in others:
        before = len(heap_of(timers))
        timers.set(other, 1e9)
        timers.stop(other)
        sweeps += len(heap_of(timers)) <= before
    assert 1 <= sweeps <= 20_000 // (3_000 + 1024)
    due = [int(name_of(timers.due(3_000.0)) or -1) for _ in range(3_000)]
    assert [number * 7 % 3_000 for number in due] == list(range(3_000))
