"""BOLT 9: feature bits, their names, contexts and dependencies. Knows bits only; no message, no connection.

A `Features` value is the set of bits of one bitfield, as it stands in Init, an announcement or a channel type. Bits
come in pairs: the even one says the feature is required, the odd one that it is offered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

__all__ = [
    "BOLT9",
    "FEATURES",
    "WILD",
    "Context",
    "Feature",
    "Features",
    "Status",
]


class Context(StrEnum):
    """Where a feature may be announced: BOLT 9's letters."""

    INIT = "I"
    NODE = "N"
    CHANNEL_TYPE = "T"
    INVOICE = "9"


class Status(StrEnum):
    ASSUMED = "assumed"
    """Every node has it; peers may set either bit or none."""
    ACTIVE = "active"
    WILD = "wild"
    """Not in the BOLTs (any more), but seen from other implementations."""


@dataclass(frozen=True, slots=True)
class Feature:
    """A pair of feature bits. `even` is the bit that requires, `odd` the one that offers."""

    name: str
    even: int
    odd: int
    status: Status
    contexts: frozenset[Context] = frozenset()
    dependencies: tuple[str, ...] = ()


def _bolt9(even: int, name: str, contexts: str = "", *dependencies: str) -> Feature:
    return Feature(name, even, even + 1, Status.ACTIVE, frozenset(Context(letter) for letter in contexts), dependencies)


def _assumed(even: int, name: str) -> Feature:
    return Feature(name, even, even + 1, Status.ASSUMED)


def _wild(even: int, name: str, odd: int | None = None) -> Feature:
    return Feature(name, even, even + 1 if odd is None else odd, Status.WILD)


BOLT9: Final = (
    _assumed(0, "option_data_loss_protect"),
    _bolt9(4, "option_upfront_shutdown_script", "IN"),
    # The table leaves the context of gossip_queries empty; every implementation sets it in Init and node_announcement.
    _bolt9(6, "gossip_queries"),
    _assumed(8, "var_onion_optin"),
    _bolt9(10, "gossip_queries_ex", "IN"),
    _assumed(12, "option_static_remotekey"),
    _assumed(14, "payment_secret"),
    _bolt9(16, "basic_mpp", "IN9", "payment_secret"),
    _bolt9(18, "option_support_large_channel", "IN"),
    _bolt9(22, "option_anchors", "INT"),
    _bolt9(24, "option_route_blinding", "IN9"),
    _bolt9(26, "option_shutdown_anysegwit", "IN"),
    _bolt9(28, "option_dual_fund", "IN"),
    _bolt9(34, "option_quiesce", "IN"),
    _bolt9(36, "option_attribution_data", "IN9"),
    _bolt9(38, "option_onion_messages", "IN"),
    _bolt9(42, "option_provide_storage", "IN"),
    _assumed(44, "option_channel_type"),
    _bolt9(46, "option_scid_alias", "INT"),
    _bolt9(48, "option_payment_metadata", "9"),
    _bolt9(50, "option_zeroconf", "INT", "option_scid_alias"),
    _bolt9(60, "option_simple_close", "IN", "option_shutdown_anysegwit"),
    _bolt9(62, "option_splice", "IN"),
)
"""The features that the BOLTs define."""

WILD: Final = (
    _wild(2, "initial_routing_sync"),
    _wild(20, "option_anchor_outputs"),
    _wild(30, "amp"),
    _wild(40, "zero_fee_commitments"),
    _wild(54, "keysend"),
    _wild(56, "trampoline"),
    _wild(66, "option_onion_messages_only_channels"),
    _wild(80, "option_simple_taproot"),
    _wild(104, "option_shutdown_wrong_funding"),
    _wild(128, "phoenix_zero_reserve"),
    _wild(132, "wake_up_notification_client"),
    _wild(148, "trampoline_payment_prototype"),
    _wild(152, "async_payment_prototype"),
    _wild(154, "splice_prototype"),
    _wild(160, "simple_close_staging"),
    _wild(180, "simple_taproot_staging"),
    _wild(258, "dns_resolver"),
    _wild(260, "experimental_accountability"),
    _wild(262, "bolt11_blinded_paths"),
    _wild(560, "on_the_fly_funding"),
    _wild(562, "funding_fee_credit"),
    _wild(564, "option_simple_taproot_phoenix"),
    _wild(728, "lsps"),
    _wild(2022, "script_enforced_lease"),
    # LND numbers this pair the wrong way round: 2025 offers, 2026 requires.
    _wild(2026, "simple_taproot_overlay", 2025),
)
"""Features outside the BOLTs that other implementations set."""

FEATURES: Final = {feature.name: feature for feature in (*BOLT9, *WILD)}
"""Every feature that has a name here, by name."""

_NAMES: Final = {bit: feature for feature in FEATURES.values() for bit in (feature.even, feature.odd)}
_EVEN_KNOWN: Final = sum(1 << feature.even for feature in FEATURES.values())
_INIT_GLOBAL: Final = (1 << 14) - 1
"""Bits that `globalfeatures` may carry: those up to 13 (BOLT 1)."""


SHOWN_BYTES: Final = 64
"""Of a peer's features in the log and in what the command prints, the lowest bits: all that have names but a few."""


class Features:
    """A set of feature bits. Immutable, equal by its bits; leading zero bytes make no difference."""

    __slots__ = ("_bits",)

    def __init__(self, bits: Iterable[int] = ()) -> None:
        """From bit numbers. ValueError for a negative one."""
        value = 0
        for bit in bits:
            if bit < 0:
                raise ValueError(f"no feature bit: {bit}")
            value |= 1 << bit
        self._bits = value

    @classmethod
    def from_bytes(cls, data: bytes) -> Features:
        """From a bitfield as the BOLTs write it: bit 0 is the lowest bit of the last byte."""
        return cls._of(int.from_bytes(data, "big"))

    @classmethod
    def named(cls, *offered: str, required: Iterable[str] = ()) -> Features:
        """From names: the odd bit for each of `offered`, the even one for each of `required`.

        Raises KeyError for a name that is in neither `BOLT9` nor `WILD`.
        """
        return cls([FEATURES[name].odd for name in offered] + [FEATURES[name].even for name in required])

    def to_bytes(self) -> bytes:
        """The shortest bitfield with these bits."""
        return self._bits.to_bytes((self._bits.bit_length() + 7) // 8, "big")

    def lowest(self, most: int = SHOWN_BYTES) -> tuple[bytes, bool]:
        """The lowest bits, at most so many bytes of them as `to_bytes` writes them; and whether higher ones are set."""
        made = self.to_bytes()
        return made[-most:], len(made) > most

    @property
    def globalfeatures(self) -> Features:
        """The bits that Init repeats in `globalfeatures`: those up to 13."""
        return Features._of(self._bits & _INIT_GLOBAL)

    def __or__(self, other: Features) -> Features:
        return Features._of(self._bits | other._bits)

    def __contains__(self, bit: int) -> bool:
        return bool(self._bits >> bit & 1)

    def __iter__(self) -> Iterator[int]:
        """The bits that are set, from the lowest on."""
        # The digits of a string, not shifts: a peer may send 64 KiB of bits, and shifts would cost their square.
        digits = bin(self._bits)[:1:-1]
        at = digits.find("1")
        while at >= 0:
            yield at
            at = digits.find("1", at + 1)

    def __len__(self) -> int:
        """How many bits are set."""
        return self._bits.bit_count()

    def __bool__(self) -> bool:
        return bool(self._bits)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Features) and self._bits == other._bits

    def __hash__(self) -> int:
        return hash(self._bits)

    def __repr__(self) -> str:
        return f"Features({self.listed(64)})"

    def shown(self) -> str:
        """In hex, as logs and commands show a peer's, which may be half a million: the lowest ``SHOWN_BYTES`` bytes."""
        lowest, cut = self.lowest()
        return f"{lowest.hex()} and higher ones" if cut else lowest.hex()

    def listed(self, most: int) -> str:
        """In words, the lowest bits first, at most so many of them: a peer may set half a million."""
        shown = ", ".join(self.describe(bit) for bit in islice(self, most))
        return f"{shown} and {len(self) - most} more" if len(self) > most else shown

    @staticmethod
    def describe(bit: int) -> str:
        """A bit in words: ``option_quiesce (35)``, ``keysend (55, outside the BOLTs)``, ``bit 1001``."""
        feature = _NAMES.get(bit)
        if feature is None:
            return f"bit {bit}"
        outside = ", outside the BOLTs" if feature.status is Status.WILD else ""
        return f"{feature.name} ({bit}{outside})"

    def offers(self, name: str) -> bool:
        """Whether a feature is offered or required (either bit). KeyError for a name that is not in `FEATURES`."""
        feature = FEATURES[name]
        return feature.even in self or feature.odd in self

    def requires(self, name: str) -> bool:
        """Whether a feature is required (the even bit; with both set too, as BOLT 9 says)."""
        return FEATURES[name].even in self

    @classmethod
    def _of(cls, bits: int) -> Features:
        made = cls.__new__(cls)
        made._bits = bits
        return made

    def unknown_required(self) -> Features:
        """Even bits that no feature here has: BOLT 1 closes the connection on any of them."""
        return Features._of(_even_without(self._bits, _EVEN_KNOWN))

    def required_but_not_in(self, other: Features) -> Features:
        """Even bits of ours whose pair `other` does not set at all."""
        theirs = other._bits & (1 << self._bits.bit_length() + 1) - 1
        return Features._of(_even_without(self._bits, theirs | theirs >> 1))

    def missing_dependencies(self) -> list[tuple[str, str]]:
        """Pairs (feature, what it needs and what is not set), transitively. Assumed features count as set."""
        return [
            (name, needed)
            for name, pair, those in _DEPENDENCIES
            if self._bits & pair
            for needed, its_pair in those
            if not self._bits & its_pair
        ]


def _all_dependencies(feature: Feature) -> list[tuple[str, int]]:
    """What a feature needs, what that needs in turn, and so on: the names, and the bits of which one is to be set. What
    is assumed needs no bit."""
    pending, found = list(feature.dependencies), dict[str, Feature]()
    while pending:
        name = pending.pop()
        if name not in found:
            found[name] = FEATURES[name]
            pending += FEATURES[name].dependencies
    return [(one.name, _pair(one)) for one in found.values() if one.status is not Status.ASSUMED]


def _pair(feature: Feature) -> int:
    return 1 << feature.even | 1 << feature.odd


_DEPENDENCIES: Final = tuple((one.name, _pair(one), _all_dependencies(one)) for one in BOLT9 if one.dependencies)
_EVEN_OF: Final = bytes(byte & 0x55 for byte in range(256))


def _even_without(bits: int, without: int) -> int:
    """The even ones of `bits` that are not in `without`.

    A peer may send 64 KiB of bits, of which almost none is left here. A big number that comes out small keeps its room
    in Python 3.14, which hands it to the next small number that is made, say a count that lives as long as a peer. So
    what is above `without` is sifted as bytes, and all numbers are as big as they look.
    """
    width = -(-without.bit_length() // 8) * 8
    low = bits & (1 << width) - 1
    even = int.from_bytes(b"\x55" * (width // 8), "big")
    high = bits >> width
    sifted = high.to_bytes(-(-high.bit_length() // 8), "big").translate(_EVEN_OF).lstrip(b"\0")
    return int.from_bytes(sifted, "big") << width | low & even & ~without
