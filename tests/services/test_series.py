"""A record as series: what is counted of whom, and what is not news."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from tests.support.gossip import IDS
from tests.support.records import START, a_record
from triolight.services.record import RecordBatch, RecordWriter
from triolight.services.series import MINUTE_NS, Spread, record_series
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
    # Of what was pushed first and later; an answer is no sighting that tells how gossip spreads.
    counts = {name: one.count for name, one in found.delays.items()}
    assert counts == {"channel_announcement": 1} | ({} if segments else {"channel_update": 1})
    minute = START // MINUTE_NS
    assert found.minutes == {
        "channel_announcement": {minute: 2},
        "channel_update": {minute: 4},
        "node_announcement": {minute: 1},
    }
    assert found.sightings == {IDS[0].hex(): 5, IDS[1].hex(): 2}
    assert found.first == {IDS[0].hex(): 3 if segments else 2, IDS[1].hex(): 1}
    assert found.rtts.count == 2
    assert found.outcomes == {IDS[3].hex(): "reached", IDS[4].hex(): "INIT_TIMEOUT"}


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
