"""Tallies: how many messages of which type, and how many bytes of them. Plain dicts, so that counting costs nothing.

A type that is not to be counted by itself is counted under `UNKNOWN` by who counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from triolight.messages import Registry

__all__ = [
    "Traffic",
]

Tally: TypeAlias = dict[int, list[int]]
"""Message type to how many messages and how many bytes of them (type bytes included, not encrypted)."""
UNKNOWN: Final = 0x1_0000
"""In a tally, in place of a type: all that the registry does not know, together. A peer shall not fill our memory with
numbers."""


class Traffic(NamedTuple):
    """Messages of one type. `size` is bytes, the type's own two included, before encryption."""

    messages: int
    size: int


def count(tally: Tally, type_: int, size: int, messages: int = 1) -> None:
    """One more message, or so many of `size` bytes together."""
    entry = tally.get(type_)
    if entry is None:
        tally[type_] = [messages, size]
    else:
        entry[0] += messages
        entry[1] += size


def add(to: Tally, tally: Tally) -> None:
    """All of one tally to another one."""
    for type_, (messages, size) in tally.items():
        before = to.setdefault(type_, [0, 0])
        before[0] += messages
        before[1] += size


def by_name(tally: Tally, registry: Registry) -> Mapping[str, Traffic]:
    """A tally as people read it: by the messages' names, what the registry does not know together as ``unknown``."""
    found: dict[str, Traffic] = {}
    for type_, (messages, size) in tally.items():
        cls = registry.get(type_)
        name = "unknown" if cls is None else cls.name
        before = found.get(name, Traffic(0, 0))
        found[name] = Traffic(before.messages + messages, before.size + size)
    return MappingProxyType(found)
