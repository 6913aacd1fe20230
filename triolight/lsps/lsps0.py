"""bLIP 50's own method: which protocols a provider has."""

from __future__ import annotations

from dataclasses import dataclass

from triolight.lsps.fields import Count, Record

__all__ = ["Nothing", "Protocols"]


@dataclass(frozen=True, slots=True)
class Nothing(Record):
    """No parameters, or no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocols(Record):
    """lsps0.list_protocols: what there is beside LSPS0, by number."""

    protocols: tuple[Count, ...]
