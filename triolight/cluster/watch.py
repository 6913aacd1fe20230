"""FrontWatch: what can be seen of a front: whether it can take peers, and its numbers. Filled by the front; no I/O.

Who wants to see a front makes one and gives it to `run_front`: a metrics page and a health port read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from triolight.cluster.streams import Used
from triolight.shell.statistics import Counted, counted_fields

__all__ = ["FrontStatistics", "FrontWatch"]


class Life(Protocol):
    """A front with a back, as far as it is seen."""

    @property
    def trouble(self) -> str | None:
        """Why it takes nobody in; None if it does."""
        ...

    @property
    def window(self) -> Used:
        """Appended, and not consumed by the back."""
        ...

    @property
    def pending_bytes(self) -> int:
        """Not appended yet."""
        ...

    @property
    def connections(self) -> int:
        """Peers that the back knows, and a few that wait for their place."""
        ...

    @property
    def silence(self) -> float:
        """Seconds since the engine has last answered a renewal."""
        ...


def _counted(read: Callable[[Any], Any], words: str, kind: Literal["gauge", "counter"]) -> Any:
    def read_it(watch: Any, _: Any) -> Any:
        return read(watch)

    return field(metadata={"counted": Counted(read_it, words, kind)})


@dataclass(frozen=True, slots=True)
class FrontStatistics:
    """A snapshot of a front. What it counts, it counts over all of its lives."""

    front_serving: int = _counted(lambda watch: int(watch.trouble is None), "1 while it can take peers.", "gauge")
    front_connections: int = _counted(
        lambda watch: watch.life.connections if watch.life else 0, "Peers; a few may wait for their place.", "gauge"
    )
    front_window_bytes: int = _counted(
        lambda watch: watch.life.window.size if watch.life else 0,
        "Bytes that were appended and that the back has not consumed: its lag.",
        "gauge",
    )
    front_window_records: int = _counted(
        lambda watch: watch.life.window.records if watch.life else 0, "The same, as records.", "gauge"
    )
    front_pending_bytes: int = _counted(
        lambda watch: watch.life.pending_bytes if watch.life else 0, "Bytes that wait to be appended.", "gauge"
    )
    front_silence_seconds: float = _counted(
        lambda watch: watch.life.silence if watch.life else 0.0,
        "Since the engine has last answered a renewal of the lease.",
        "gauge",
    )
    front_appends: int = _counted(lambda watch: watch.appends, "Entries that the engine has taken.", "counter")
    front_records: int = _counted(lambda watch: watch.records, "Records in them.", "counter")
    front_repeats: int = _counted(
        lambda watch: watch.repeats, "Messages of gossip that were copies, and did not travel.", "counter"
    )
    front_lives: int = _counted(
        lambda watch: watch.lives, "How often it has begun, under a token of its own.", "counter"
    )
    front_fenced: int = _counted(lambda watch: watch.fenced, "How often it was given up by its back.", "counter")


class FrontWatch:
    """What is seen of one front. Given to `run_front`."""

    def __init__(self) -> None:
        self.life: Life | None = None
        self.waits_for = "the front has not begun"
        """Why there is no life; told as `trouble`."""
        self.appends = 0
        self.records = 0
        self.repeats = 0
        self.lives = 0
        self.fenced = 0

    def __repr__(self) -> str:
        return f"<FrontWatch, {self.trouble or 'serving'}>"

    @property
    def trouble(self) -> str | None:
        """Why the front can take no peers now, in words; None while it can."""
        return self.waits_for if self.life is None else self.life.trouble

    def statistics(self) -> FrontStatistics:
        """A snapshot; the metrics page shows it: ``serve_metrics(peers, watch)``."""
        fields = counted_fields(FrontStatistics).items()
        return FrontStatistics(**{name: one.read(self, _NONE) for name, one in fields})


_NONE: Final[Any] = None
"""Sums over connections, of which none is asked here."""
