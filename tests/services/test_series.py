"""A record as series: what is counted of whom, and what is not news."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.support.gossip import IDS, NOW, SCID, node, update
from tests.support.records import START, a_record
from triolight.services import series
from triolight.services.record import RecordBatch, RecordWriter, SessionFacts
from triolight.services.series import AGAIN, MINUTE_NS, Spread, record_series
from triolight.services.sqlite import StoreError


@pytest.mark.parametrize("segments", [False, True])
def test_what_is_counted(segments: bool, tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    a_record(path, segments=segments)
    with closing(RecordWriter(path, START + 10**9)) as writer:
        dials: list[tuple[int, bytes, str, str, int, bytes, float | None]] = [
            (START + 10**9, IDS[3], "8.8.8.8:1", "TCP_FAILED", 5, b"", None),
            (START + 2 * 10**9, IDS[3], "8.8.8.8:1", "reached", 5, b"", 20.0),
            (START + 2 * 10**9, IDS[4], "8.8.8.9:1", "INIT_TIMEOUT", 5, b"", None),
        ]
        writer.write(RecordBatch(dials=dials))
    found = record_series(path)
    # Of what was pushed first and later by somebody else; an answer is no sighting that tells how gossip spreads.
    counts = {name: one.count for name, one in found.delays.items()}
    assert counts == {"channel_announcement": 1} | ({} if segments else {"channel_update": 1})
    minute = START // MINUTE_NS
    # A node that came as history is no news; what is cut short is nothing.
    assert found.minutes == {"channel_announcement": {minute: 1}, "channel_update": {minute: 1}}
    assert found.updates == {SCID: [1, 0]}
    assert found.pauses == [(START + 100, START + 300), (START + 330, START + 10**9)]
    assert found.last_ns == START + 330
    assert [*found.graph.channels] == [SCID]
    assert [*found.graph.announced] == [IDS[0]]
    assert found.sightings == {IDS[0].hex(): 5, IDS[1].hex(): 2}
    assert found.first == {IDS[0].hex(): 2, IDS[1].hex(): 1}
    assert found.rtts.count == 2
    assert found.outcomes == {IDS[3].hex(): "reached", IDS[4].hex(): "INIT_TIMEOUT"}


def recorded(path: Path, *sightings: tuple[int, int, int, bytes], peers: int = 3, raw: bool = True) -> None:
    """By so many peers, each connected ten minutes after the one before."""
    opened = [SessionFacts(one + 1, IDS[one], "", True, START + 10 * one * MINUTE_NS, b"") for one in range(peers)]
    with closing(RecordWriter(path, START, raw=raw)) as writer:
        moved = [(START + at, number, asked, raw) for at, number, asked, raw in sightings]
        writer.write(RecordBatch(opened=opened, sightings=moved))


def test_delays_are_those_of_peers_that_could_have_been_first(tmp_path: Path) -> None:
    first, second, third, late = (update(timestamp=NOW + one) for one in range(4))
    hour = 60 * MINUTE_NS
    recorded(
        tmp_path / "seen.db",
        (MINUTE_NS, 1, 0, first),
        (2 * MINUTE_NS, 1, 0, first),  # the first one again
        (11 * MINUTE_NS, 2, 0, first),  # was not there when it came
        (30 * MINUTE_NS, 1, 0, second),
        (31 * MINUTE_NS, 2, 0, second),
        (33 * MINUTE_NS, 2, 0, second),  # once is enough
        (34 * MINUTE_NS, 3, 0, second),
        (40 * MINUTE_NS, 1, 2, third),  # came as history
        (41 * MINUTE_NS, 2, 0, third),
        (hour + 31 * MINUTE_NS, 1, 0, late),  # perhaps on its way to others at the end
        (hour + 32 * MINUTE_NS, 2, 0, late),
        (2 * hour, 1, 0, second),
    )
    spread = record_series(tmp_path / "seen.db").delays["channel_update"]
    assert spread.count == 2
    assert [round(one) for one in spread.shares()[0]] == [63, 251]  # of 60 and 240


def test_what_is_news(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    recorded(
        path,
        (0, 1, 2, update(timestamp=NOW)),
        (1, 1, 0, update(timestamp=NOW)),
        (2, 1, 0, update(timestamp=NOW + 1)),  # the same, with a new date
        (3, 1, 0, update(timestamp=NOW + 2, fee_base_msat=7)),
        (4, 1, 0, update(timestamp=NOW + 1, fee_base_msat=9)),  # older than what is known
        (5, 1, 0, update(direction=1, timestamp=NOW)),
        (6, 1, 0, node(timestamp=NOW)),
        (MINUTE_NS, 1, 0, node(timestamp=NOW + 1)),
        (MINUTE_NS + 1, 2, 0, node(timestamp=NOW + 1)),
        (MINUTE_NS + 2, 1, 0, node(timestamp=NOW + 2, alias=bytes(32))),
    )
    found = record_series(path)
    minute = START // MINUTE_NS
    assert found.minutes == {
        "channel_update": {minute: 2},
        "channel_update" + AGAIN: {minute: 1},
        "node_announcement": {minute: 1, minute + 1: 1},
        "node_announcement" + AGAIN: {minute + 1: 1},
    }
    assert found.updates == {SCID: [2, 1]}


def test_without_bytes_there_is_what_hashes_say(tmp_path: Path) -> None:
    path = tmp_path / "seen.db"
    recorded(
        path,
        (0, 1, 0, update(timestamp=NOW)),
        (1, 1, 0, update(timestamp=NOW + 1)),
        (2, 1, 0, update(timestamp=NOW + 2, fee_base_msat=7)),
        (3, 1, 2, node()),
        (4, 1, 0, update()[:80]),
        raw=False,
    )
    found = record_series(path)
    minute = START // MINUTE_NS
    assert found.minutes == {"channel_update": {minute: 2}, "channel_update" + AGAIN: {minute: 1}}
    assert found.updates == {}
    assert not found.graph.channels


def test_no_more_is_remembered_than_it_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series, "REMEMBERED", 1)
    path = tmp_path / "seen.db"
    recorded(path, *((at, 1, 0, update(at // 2 + 1, timestamp=NOW + at)) for at in range(6)))
    found = record_series(path)
    minute = START // MINUTE_NS
    # Of channels that had no room nobody knows whether it is the same.
    assert found.minutes == {"channel_update": {minute: 5}, "channel_update" + AGAIN: {minute: 1}}
    assert found.updates == {1: [1, 1]}


def test_a_spread_is_within_twelve_percent() -> None:
    spread = Spread()
    for one in range(1, 1001):
        spread.add(one / 100)
    spread.add(0.0)
    seconds, shares = spread.shares()
    assert shares[-1] == 1.0
    assert [*seconds] == sorted(seconds)
    for at, share in zip(seconds, shares, strict=True):
        true = min(1.0, at * 100 / 1000)
        assert abs(share - true) <= 0.13 * true + 0.002


def test_what_is_no_record(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        record_series(tmp_path / "seen.db")
