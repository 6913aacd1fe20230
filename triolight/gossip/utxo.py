"""Funding outputs: what a chain answers about one, and the announcements that wait for such an answer.

The rules ask, whoever has a chain answers, at once or later. Nothing is asked here and no time is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from triolight.wire import ShortChannelId

__all__ = ["Failed", "Found", "Missing", "NotYet", "Spent", "UtxoLookup", "UtxoResult"]


@dataclass(frozen=True, slots=True)
class Found:
    """The output is there, unspent, and deep enough. `spends`: the channels whose outputs its transaction spends, if
    who answers can tell: that is how a splice is known."""

    script: bytes
    capacity_sat: int
    height: int
    spends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Spent:
    """There was such an output."""


@dataclass(frozen=True, slots=True)
class Missing:
    """There is no such block, transaction or output."""


@dataclass(frozen=True, slots=True)
class NotYet:
    """Its block is not deep enough, or has not come. Asked again with each block."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Nobody could tell. That is nobody's fault, and no verdict."""

    why: str = ""


UtxoResult: TypeAlias = Found | Spent | Missing | NotYet | Failed


class UtxoLookup(Protocol):
    """Whoever has a chain."""

    def get_utxo(self, chain_hash: bytes, short_channel_id: ShortChannelId, token: int) -> UtxoResult | None:
        """What the chain has at this place. None: later, as ``resolve(token, result)`` of whoever asked.

        Must not block. At most eight are asked at a time, and each once: without an answer in ten seconds it counts
        as failed.
        """
