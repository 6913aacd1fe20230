"""Charts as pictures: PNG and SVG, and a page with all of them (extra `plot`). The only importer of matplotlib."""

from __future__ import annotations

import html
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from triolight.services.charts import Cell, Chart, chart_csv

try:
    _matplotlib: Final[Any] = import_module("matplotlib")
    _figure: Final[Any] = import_module("matplotlib.figure")
    _dates: Final[Any] = import_module("matplotlib.dates")
    _ticker: Final[Any] = import_module("matplotlib.ticker")
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    words = "pictures need the extra 'plot': pip install 'triolight[plot]'"
    raise ModuleNotFoundError(words, name="matplotlib") from None

__all__ = ["plot_charts"]

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""
DASHES: Final = ("-", "--", "-.", ":")
"""Of curves, so that they differ without a colour too."""
WIDTH: Final = 8.0
HEIGHT: Final = 4.5
"""Inches."""
RARE: Final = 0.001
"""A share so small is not what an axis begins with."""
BAR_HEIGHT: Final = 0.22
STYLE: Final = {
    # SVG with the same bytes for the same numbers; its text stays text.
    "svg.hashsalt": "triolight",
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "legend.framealpha": 0.8,
    "legend.edgecolor": "none",
}
_PAGE: Final = (
    "body{font:16px/1.4 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}svg{max-width:100%;height:auto}"
    "h2{margin-top:2em}"
)


def plot_charts(charts: Sequence[Chart], folder: Path, title: str, *, with_csv: bool = False) -> list[str]:
    """Draws them into the folder, and ``index.html`` with all of them inside; the names of the files. OSError.

    `with_csv`: the table of each as ``NAME.csv`` too.
    """
    folder.mkdir(exist_ok=True)
    names: list[str] = []
    parts: list[str] = []
    with _matplotlib.rc_context(STYLE):
        for chart in charts:
            vector, picture = _drawn(chart)
            files: dict[str, bytes] = {"svg": vector.encode(), "png": picture}
            if with_csv:
                files["csv"] = chart_csv(chart).encode()
            for suffix, data in files.items():
                (folder / f"{chart.name}.{suffix}").write_bytes(data)
                names.append(f"{chart.name}.{suffix}")
            parts.append(_part(chart, vector))
    (folder / "index.html").write_text(_page(title, parts), encoding="utf-8")
    return [*names, "index.html"]


def _part(chart: Chart, vector: str) -> str:
    # Each SVG names its parts for itself; in one page their names must differ.
    inline = vector[vector.index("<svg") :]
    for mark in ('id="', 'href="#', "url(#"):
        inline = inline.replace(mark, f"{mark}{chart.name}-")
    return f"<h2>{html.escape(chart.title)}</h2>\n{inline}<p>{html.escape(chart.words)}</p>"


def _page(title: str, parts: list[str]) -> str:
    shown = html.escape(title)
    body = "\n".join(parts) or "<p>Nothing that could be drawn is in it.</p>"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{shown}</title>\n'
        f"<style>{_PAGE}</style>\n<h1>{shown}</h1>\n{body}\n</html>\n"
    )


def _drawn(chart: Chart) -> tuple[str, bytes]:
    """As SVG and as PNG."""
    height = max(2.2, 1.2 + BAR_HEIGHT * len(chart.rows)) if chart.kind == "bars" else HEIGHT
    figure = _figure.Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.subplots()
    axes.set_title(chart.title, loc="left", fontsize=12, fontweight="bold", pad=20)
    axes.annotate(chart.count, (0, 1), (0, 6), xycoords="axes fraction", textcoords="offset points", color="#444444")
    axes.set_xlabel(chart.across)
    axes.set_ylabel(chart.up)
    _KINDS[chart.kind](axes, chart)
    vector = io.StringIO()
    figure.savefig(vector, format="svg", metadata={"Date": None, "Creator": None})
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150, metadata={"Software": None})
    return vector.getvalue(), picture.getvalue()


def _curves(chart: Chart) -> Iterator[tuple[str, list[Cell], list[Cell], Mapping[str, Any]]]:
    """Of each its name on the picture, its points, and how it looks."""
    for number, name in enumerate(dict.fromkeys(row[0] for row in chart.rows)):
        points = [row for row in chart.rows if row[0] == name]
        look = {"color": COLOURS[number % len(COLOURS)], "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.8}
        yield chart.shown.get(str(name), str(name)), [row[1] for row in points], [row[2] for row in points], look


def _shares(axes: Any, chart: Chart) -> None:
    for name, across, up, look in _curves(chart):
        axes.step(across, up, where="post", label=name, **look)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 0.95, 1])
    axes.yaxis.set_major_formatter(_ticker.PercentFormatter(1, decimals=0))
    axes.grid(visible=True)
    # A few of a thousand that lie far off would have most of the axis.
    least = min(float(row[1]) for row in chart.rows if float(row[2]) >= RARE)
    most = max(float(row[1]) for row in chart.rows)
    axes.set_xlim(least / 1.5, most * 1.5)
    ticks = {at: words for at, words in chart.ticks.items() if least / 1.5 <= at <= most * 1.5}
    if len(ticks) > 1:
        axes.set_xticks([*ticks], [*ticks.values()])
        axes.xaxis.set_minor_formatter(_ticker.NullFormatter())
    axes.legend(loc="best")


def _tail(axes: Any, chart: Chart) -> None:
    for name, across, up, look in _curves(chart):
        axes.plot(across, up, marker="o", markersize=2.5, label=name, **{**look, "linewidth": 1})
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis, at, words in ((axes.xaxis, 1, "{:,.0f}"), (axes.yaxis, 2, "{:.10g} %")):
        values = [float(row[at]) * (100 if at == 2 else 1) for row in chart.rows]
        ticks = [*_decades(min(values), max(values))]
        axis.set_ticks([one / (100 if at == 2 else 1) for one in ticks], [words.format(one) for one in ticks])
        axis.set_minor_formatter(_ticker.NullFormatter())
    axes.grid(visible=True)


def _decades(least: float, most: float) -> Iterator[float]:
    """Powers of ten from one to the other; where there are hardly any, twice and five times these too."""
    steps = (1,) if most / least >= 100 else (1, 2, 5)
    first, last = math.floor(math.log10(least)), math.ceil(math.log10(most))
    for power in range(first, last + 1):
        yield from (one * 10.0**power for one in steps if least <= one * 10.0**power <= most)


def _bars(axes: Any, chart: Chart) -> None:
    """The first row on top."""
    rows = chart.rows[::-1]
    before = [0.0] * len(rows)
    parts = chart.parts or chart.columns[1:]
    for colour, part in zip(COLOURS, parts, strict=False):
        sizes = _column(chart, part)[::-1]
        axes.barh(range(len(rows)), sizes, left=before, color=colour, label=part)
        before = [one + other for one, other in zip(before, sizes, strict=True)]
    for at, size in enumerate(before):
        words = f"{size:.1%}" if chart.in_percent else f"{size:,.0f}"
        axes.annotate(words, (size, at), (3, 0), textcoords="offset points", va="center", fontsize=8)
    axes.set_yticks(range(len(rows)), [chart.shown.get(str(row[0]), str(row[0])) for row in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.margins(x=0.1)
    axes.grid(visible=True, axis="x")
    if chart.in_percent:
        axes.xaxis.set_major_formatter(_ticker.PercentFormatter(1))
    else:
        axes.xaxis.set_major_locator(_ticker.MaxNLocator(integer=True))
        axes.xaxis.set_major_formatter(_ticker.StrMethodFormatter("{x:,.0f}"))
    if len(parts) > 1:
        axes.figure.legend(loc="outside lower center", ncols=len(parts))


def _column(chart: Chart, name: str) -> list[float]:
    at = chart.columns.index(name)
    return [float(row[at]) for row in chart.rows]


def _areas(axes: Any, chart: Chart) -> None:
    seconds = _column(chart, chart.columns[0])
    # The last one is as long as those before it.
    seconds.append(2 * seconds[-1] - seconds[-2] if len(seconds) > 1 else seconds[-1] + 60)
    moments = [datetime.fromtimestamp(one, UTC) for one in seconds]
    parts = chart.parts or chart.columns[1:]
    heights = [(one := _column(chart, part)) + one[-1:] for part in parts]
    axes.stackplot(moments, heights, labels=[chart.shown.get(one, one) for one in parts], colors=COLOURS, step="post")
    for begin, end in chart.spans:
        axes.axvspan(datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC), color="#BBBBBB", linewidth=0)
    locator = _dates.AutoDateLocator(tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(_dates.ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlim(moments[0], moments[-1])
    axes.grid(visible=True, axis="y")
    # Room above, for the legend.
    axes.set_ylim(0, max(map(sum, zip(*heights, strict=True))) * (1.1 + 0.08 * len(parts)))
    axes.legend(loc="upper left")


_KINDS: Final[Mapping[str, Callable[[Any, Chart], None]]] = {
    "shares": _shares,
    "tail": _tail,
    "bars": _bars,
    "areas": _areas,
}
