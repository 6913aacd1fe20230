"""Charts as pictures: which files, what stands in them, and that what is drawn is what the table says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from triolight.services.charts import Chart

pytest.importorskip("matplotlib")
from triolight.services.plots import plot_charts

SHARES = Chart(
    "delay",
    "shares",
    "How long & how far",
    "What it means.",
    "n = 9 sightings",
    "across",
    "up",
    ("type", "seconds", "share"),
    [("one", 0.1, 0.25), ("one", 10, 1.0), ("other", 1, 1.0)],
    {"one": "the first one"},
    ticks={0.1: "0.1 s", 1: "1 s", 10: "10 s", 1e9: "far away"},
)
TAIL = replace(SHARES, name="tail", kind="tail", rows=[("one", 1, 1.0), ("one", 3, 0.5), ("one", 2000, 0.001)])
BARS = replace(
    SHARES,
    name="bars",
    kind="bars",
    columns=("what", "optional", "required"),
    rows=[("first", 0.5, 0.25), ("second", 0.125, 0)],
    shown={"first": "the first bar"},
    in_percent=True,
)
COUNTS = replace(
    BARS, name="counts", rows=[("first", 1234, 3), ("second", 7, 0)], parts=("optional",), in_percent=False
)
AREAS = replace(
    SHARES,
    name="areas",
    kind="areas",
    columns=("unix_seconds", "one", "two"),
    rows=[(1_800_000_000 + 60 * at, at, 2 * at) for at in range(4)],
    shown={"one": "the first area"},
    spans=[(1_800_000_060, 1_800_000_120)],
)
ALL = [SHARES, TAIL, BARS, COUNTS, AREAS]


def drawn(folder: Path, *charts: Chart) -> dict[str, str]:
    """Each picture as SVG, by the chart's name."""
    plot_charts(charts, folder, "a title")
    return {one.name: (folder / f"{one.name}.svg").read_text() for one in charts}


def texts(svg: str) -> list[str]:
    return [text for one in ElementTree.fromstring(svg).iter() if one.tag.endswith("}text") and (text := one.text)]


def test_which_files_there_are(tmp_path: Path) -> None:
    names = plot_charts([SHARES, BARS], tmp_path / "out", "seen & heard", with_csv=True)
    assert names == [f"{one}.{suffix}" for one in ("delay", "bars") for suffix in ("svg", "png", "csv")] + [
        "index.html"
    ]
    assert {one.name for one in (tmp_path / "out").iterdir()} == {*names}
    assert (tmp_path / "out" / "delay.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "out" / "bars.csv").read_text() == "what,optional,required\nfirst,0.5,0.25\nsecond,0.125,0\n"
    page = (tmp_path / "out" / "index.html").read_text()
    assert "<h1>seen &amp; heard</h1>" in page
    assert "<h2>How long &amp; how far</h2>" in page
    assert page.count("<svg") == page.count("<p>What it means.</p>") == 2
    # It stands alone, and no part of one picture is called as one of the other.
    assert not re.search("src=|<link|@import|script", page)
    ids = re.findall(r'[ <]id="([^"]+)"', page)
    assert len(ids) == len({*ids})
    used = re.findall(r'(?:href="#|url\(#)([^")]+)', page)
    assert used
    assert {*used} <= {*ids}


def test_each_says_what_it_shows_and_its_n(tmp_path: Path) -> None:
    shown = {name: texts(svg) for name, svg in drawn(tmp_path, *ALL).items()}
    for words in shown.values():
        assert {"How long & how far", "n = 9 sightings", "across"} <= {*words}
    assert {"the first one", "other", "0.1 s", "10 s", "100%", "95%"} <= {*shown["delay"]}
    assert "far away" not in shown["delay"]
    assert {"1", "10", "1,000", "100 %", "0.1 %"} <= {*shown["tail"]}
    assert {"the first bar", "second", "75.0%", "12.5%", "optional", "required"} <= {*shown["bars"]}
    assert {"1,234", "7"} <= {*shown["counts"]}
    assert not {"required", "1,237"} & {*shown["counts"]}
    assert {"the first area", "two"} <= {*shown["areas"]}


@pytest.mark.parametrize("chart", ALL, ids=[one.name for one in ALL])
def test_what_is_drawn_is_the_table(chart: Chart, tmp_path: Path) -> None:
    before = drawn(tmp_path, chart)
    assert drawn(tmp_path, chart) == before
    # Half as much of whatever it is: a share, a bar, a part of it, a height.
    column = chart.columns.index(chart.parts[0]) if chart.parts else 2
    number = max(at for at, row in enumerate(chart.rows) if row[column])
    row = [*chart.rows[number]]
    row[column] = float(row[column]) / 2
    changed = replace(chart, rows=[*chart.rows[:number], row, *chart.rows[number + 1 :]])
    assert drawn(tmp_path, changed) != before


def test_how_high_bars_are(tmp_path: Path) -> None:
    """Those of the picture, in its own coordinates: all to the same scale."""
    svg = drawn(tmp_path, COUNTS)["counts"]
    bars = re.findall(r"M ([\d.]+) ([\d.]+) \nL ([\d.]+) \2 \nL \3 ([\d.]+) \nL \1 \4 \nz\n\" clip-path", svg)
    sizes = sorted(float(right) - float(left) for left, _, right, _ in bars)
    assert len(sizes) == 2
    assert sizes[1] / sizes[0] == pytest.approx(1234 / 7, rel=1e-3)


def test_a_single_moment_has_a_width(tmp_path: Path) -> None:
    one = drawn(tmp_path, replace(AREAS, rows=AREAS.rows[1:2], spans=()))["areas"]
    assert "the first area" in texts(one)


def test_of_nothing_there_is_a_page_that_says_so(tmp_path: Path) -> None:
    assert plot_charts([], tmp_path / "out", "empty") == ["index.html"]
    assert "Nothing that could be drawn" in (tmp_path / "out" / "index.html").read_text()
