"""Onion messages and what they carry: packets, blinded paths, offers. Only puts together what the other files have.

Names are loaded when they are first used (PEP 562): who talks to peers and sends no onions does not load them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triolight.onion.blinded import blind as blind
    from triolight.onion.blinded import blind_route as blind_route
    from triolight.onion.blinded import join as join
    from triolight.onion.blinded import next_path_key as next_path_key
    from triolight.onion.blinded import padded as padded
    from triolight.onion.blinded import unseal as unseal
    from triolight.onion.drops import Drop as Drop
    from triolight.onion.drops import OnionDropped as OnionDropped
    from triolight.onion.layers import Delivery as Delivery
    from triolight.onion.layers import Forward as Forward
    from triolight.onion.layers import open_message as open_message
    from triolight.onion.layers import seal as seal
    from triolight.onion.sphinx import SIZES as SIZES
    from triolight.onion.sphinx import Layer as Layer
    from triolight.onion.sphinx import build_packet as build_packet
    from triolight.onion.sphinx import framed_length as framed_length
    from triolight.onion.sphinx import open_packet as open_packet
    from triolight.onion.sphinx import size_for as size_for

__all__ = [
    "SIZES",
    "Delivery",
    "Drop",
    "Forward",
    "Layer",
    "OnionDropped",
    "blind",
    "blind_route",
    "build_packet",
    "framed_length",
    "join",
    "next_path_key",
    "open_message",
    "open_packet",
    "padded",
    "seal",
    "size_for",
    "unseal",
]

_HOMES = {
    name: home
    for home, names in {
        "blinded": ("blind", "blind_route", "join", "next_path_key", "padded", "unseal"),
        "drops": ("Drop", "OnionDropped"),
        "layers": ("Delivery", "Forward", "open_message", "seal"),
        "sphinx": ("Layer", "SIZES", "build_packet", "framed_length", "open_packet", "size_for"),
    }.items()
    for name in names
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"triolight.onion.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
