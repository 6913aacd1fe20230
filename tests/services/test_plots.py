"""Pictures of a record: which ones, what stands in them, and that the same numbers give the same picture."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from triolight.services.series import RecordSeries, Spread

pytest.importorskip("matplotlib")
from triolight.services.plots import SHOWN_PEERS, plot_record


def some() -> RecordSeries:
    found = RecordSeries()
    for number, name in enumerate(("channel_update", "node_announcement")):
        spread = found.delays[name] = Spread()
        for at in range(1, 50):
            spread.add(at * (number + 1) / 3)
        found.minutes[name] = Counter({29_000_000 + at: at * (number + 1) for at in range(5)})
    found.first = Counter({f"{number:066x}": 100 - number for number in range(30)})
    found.sightings = Counter(dict.fromkeys(found.first, 500))
    found.rtts.add(0.05, 9)
    found.outcomes = {"aa": "reached", "bb": "TCP_FAILED", "cc": "reached"}
    return found


def test_each_picture_says_what_it_shows(tmp_path: Path) -> None:
    names = plot_record(some(), tmp_path / "out", "seen & heard")
    drawn = ["delay", "minutes", "first", "rtt", "outcomes"]
    assert names == [f"{one}.{suffix}" for one in drawn for suffix in ("svg", "png")] + ["index.html"]
    for one in drawn:
        assert (tmp_path / "out" / f"{one}.png").read_bytes().startswith(b"\x89PNG")
    shown = {one: (tmp_path / "out" / f"{one}.svg").read_text() for one in drawn}
    assert "channel_update (n = 49)" in shown["delay"]
    assert "node_announcement (n = 20)" in shown["minutes"]
    assert f"of n = {sum(100 - number for number in range(30)):,}" in shown["first"]
    assert f"{30 - SHOWN_PEERS} more" in shown["first"]
    assert "n = 9" in shown["rtt"]
    assert "TCP_FAILED" in shown["outcomes"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h1>seen &amp; heard</h1>" in page
    assert page.count("<svg") == len(drawn)
    # It stands alone.
    assert "src=" not in page


def test_the_same_numbers_give_the_same_picture_and_others_another(tmp_path: Path) -> None:
    plot_record(some(), tmp_path / "one", "a")
    plot_record(some(), tmp_path / "two", "a")
    assert (tmp_path / "one" / "index.html").read_bytes() == (tmp_path / "two" / "index.html").read_bytes()
    other = some()
    other.delays["channel_update"].add(1000.0, 30)
    plot_record(other, tmp_path / "two", "a")
    one, two = ((tmp_path / name / "delay.svg").read_bytes() for name in ("one", "two"))
    assert one != two


def test_of_nothing_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    assert plot_record(RecordSeries(), tmp_path / "out", "empty") == ["index.html"]
    assert "Nothing that could be drawn" in (tmp_path / "out" / "index.html").read_text()
