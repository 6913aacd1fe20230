"""Pictures of a record: PNG and SVG, and a page with all of them (extra `plot`). The only importer of matplotlib."""

from __future__ import annotations

import html
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from triolight.services.series import MINUTE_NS, RecordSeries

try:
    _matplotlib: Final[Any] = import_module("matplotlib")
    _pyplot: Final[Any] = import_module("matplotlib.figure")
except ModuleNotFoundError as error:
    if error.name != "matplotlib":
        raise
    words = "pictures need the extra 'plot': pip install 'triolight[plot]'"
    raise ModuleNotFoundError(words, name="matplotlib") from None

__all__ = ["plot_record"]

COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
"""Okabe and Ito's, which the colour-blind can tell apart."""
SHOWN_PEERS: Final = 20
SHOWN_OUTCOMES: Final = 15


def plot_record(series: RecordSeries, folder: Path, title: str) -> list[str]:
    """Makes the pictures for which there are numbers, and ``index.html``; the names of the files. OSError."""
    folder.mkdir(exist_ok=True)
    # SVG with the same bytes for the same numbers; its text stays text.
    style = {"svg.hashsalt": "triolight", "svg.fonttype": "none", "font.size": 9}
    names: list[str] = []
    parts: list[str] = []
    with _matplotlib.rc_context(style):
        for name, words, draw in _pictures(series):
            figure = _pyplot.Figure(figsize=(8, 4.5), layout="constrained")
            draw(figure.subplots())
            vector = io.StringIO()
            figure.savefig(vector, format="svg", metadata={"Date": None})
            picture = io.BytesIO()
            figure.savefig(picture, format="png", dpi=150)
            (folder / f"{name}.svg").write_text(vector.getvalue(), encoding="utf-8")
            (folder / f"{name}.png").write_bytes(picture.getvalue())
            names += [f"{name}.svg", f"{name}.png"]
            inline = vector.getvalue()
            parts.append(f"<h2>{html.escape(words)}</h2>\n{inline[inline.index('<svg') :]}")
    (folder / "index.html").write_text(_page(title, parts), encoding="utf-8")
    return [*names, "index.html"]


def _page(title: str, parts: list[str]) -> str:
    shown = html.escape(title)
    body = "\n".join(parts) or "<p>Nothing that could be drawn is in it.</p>"
    return (
        f'<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n<title>{shown}</title>\n'
        "<style>body{font:16px sans-serif;max-width:60em;margin:2em auto}svg{max-width:100%;height:auto}</style>\n"
        f"<h1>{shown}</h1>\n{body}\n</html>\n"
    )


def _pictures(series: RecordSeries) -> Iterator[tuple[str, str, Callable[[Any], None]]]:
    """Those for which there are numbers: name of the file, title, what draws it."""
    if any(one.count for one in series.delays.values()):
        yield "delay", "How long a message takes from the first peer to the others", lambda axes: _delay(axes, series)
    if series.minutes:
        yield "minutes", "Sightings a minute, by type", lambda axes: _minutes(axes, series)
    if any(series.first.values()):
        yield "first", "Who was the first to push how much", lambda axes: _first(axes, series)
    if series.rtts.count:
        yield "rtt", "Round trips of pings", lambda axes: _rtt(axes, series)
    if series.outcomes:
        yield "outcomes", "What came of dials, by node", lambda axes: _outcomes(axes, series)


def _delay(axes: Any, series: RecordSeries) -> None:
    for colour, (name, spread) in zip(COLOURS, sorted(series.delays.items()), strict=False):
        axes.step(*spread.shares(), where="post", color=colour, label=f"{name} (n = {spread.count:,})")
    _as_shares(axes, "seconds after the first peer", "share of later sightings")


def _rtt(axes: Any, series: RecordSeries) -> None:
    axes.step(*series.rtts.shares(), where="post", color=COLOURS[0], label=f"n = {series.rtts.count:,}")
    _as_shares(axes, "seconds", "share of pings")


def _as_shares(axes: Any, across: str, up: str) -> None:
    axes.set_xscale("log")
    axes.set_ylim(0, 1)
    for share in (0.5, 0.75, 0.95):
        axes.axhline(share, color="#999999", linewidth=0.5)
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.legend(loc="lower right")


def _minutes(axes: Any, series: RecordSeries) -> None:
    begin = min(min(one) for one in series.minutes.values())
    end = max(max(one) for one in series.minutes.values())
    across = list(range(end - begin + 1))
    named = sorted(series.minutes.items())
    heights = [[counts[begin + at] for at in across] for _, counts in named]
    labels = [f"{name} (n = {counts.total():,})" for name, counts in named]
    axes.stackplot(across, heights, labels=labels, colors=COLOURS, step="post")
    axes.set_xlabel(f"minutes since {begin * MINUTE_NS // 10**9} (seconds since 1970)")
    axes.set_ylabel("sightings a minute")
    axes.legend(loc="upper left")


def _first(axes: Any, series: RecordSeries) -> None:
    total = series.first.total()
    counts = [(f"{one[:12]}… ({series.sightings[one]:,} sightings)", count) for one, count in series.first.items()]
    _bars(axes, counts, SHOWN_PEERS)
    axes.set_xlabel(f"messages that it was the first to push, of n = {total:,}")


def _outcomes(axes: Any, series: RecordSeries) -> None:
    _bars(axes, Counter(series.outcomes.values()).items(), SHOWN_OUTCOMES)
    axes.set_xlabel(f"nodes, of n = {len(series.outcomes):,}")


def _bars(axes: Any, counts: Iterable[tuple[str, int]], most: int) -> None:
    """The largest on top; what does not fit, together."""
    shown = sorted(counts, key=lambda one: (-one[1], one[0]))
    rest = shown[most:]
    shown = [*shown[:most], *([(f"{len(rest):,} more", sum(count for _, count in rest))] if rest else [])]
    shown.reverse()
    axes.barh(range(len(shown)), [count for _, count in shown], color=COLOURS[0])
    axes.set_yticks(range(len(shown)), [name for name, _ in shown])
