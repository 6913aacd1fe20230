"""Charts of a record or of a graph into a folder, and what is said of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from triolight.cli.exits import cannot_use
from triolight.cli.output import data

if TYPE_CHECKING:
    from triolight.services.charts import Chart


def draw(charts: Sequence[Chart], of: Path, folder: Path, with_csv: bool, as_json: bool) -> None:
    """All of them, and the last line."""
    from triolight.services.plots import plot_charts  # of an extra, and large

    try:
        names = plot_charts(charts, folder, of.name, with_csv=with_csv)
    except OSError as error:
        raise cannot_use(folder, error, "--output") from None
    page = folder / "index.html"
    count = f"{len(charts)} picture{'' if len(charts) == 1 else 's'}"
    words = f"{page}: {count}" if charts else f"{of}: nothing that could be drawn is in it; {page} says so"
    data(as_json, words, "plotted", pictures=[one.name for one in charts], files=names)
