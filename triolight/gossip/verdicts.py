"""Verdicts: what became of a gossip message, what follows from it, and how often it was said. Decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Final, Literal, TypeAlias

__all__ = ["Kept", "Passed", "Verdict", "Verdicts"]

Kept: TypeAlias = Literal["yes", "capped", "no", "first", "parked", "cached", "newest", "event"]
"""``capped``: up to a bound. ``first``: what was there before stays. ``parked``: beside the graph until what it needs
has come. ``cached``: that it is so, for an hour. ``newest``: as every newest one. ``event``: given to who asks."""
Passed: TypeAlias = Literal["yes", "option", "later", "never", "no"]
"""``option``: if the user wants unverified channels passed on. ``later``: once what it needs has come."""


class Verdict(StrEnum):
    """One for each message. A refusal is never worth the connection, but a peer's fifth fault is."""

    ACCEPTED = "accepted"
    UNVERIFIED = "unverified"
    """Signed by all who must, and no chain was asked whether its output is there; or of such a channel."""
    DUPLICATE = "duplicate"
    STALE = "stale"
    """Not newer than what is known."""
    TOO_OLD = "too_old"
    FUTURE = "future"
    TS_ZERO = "ts_zero"
    EQUIVOCATION = "equivocation"
    """Of the same second as what is known, and says something else."""
    WRONG_CHAIN = "wrong_chain"
    TOMBSTONED = "tombstoned"
    """Of a channel that was pruned, and not enough to bring it back."""
    BLACKLISTED = "blacklisted"
    EARLY = "early"
    """Its funding is not six blocks deep."""
    TOO_EARLY = "too_early"
    """Its funding is more than twelve blocks ahead."""
    PENDING = "pending"
    """Waits for a chain's answer, or is of a channel that does."""
    ORPHAN = "orphan"
    """Of a channel that nobody has announced yet; or of a node without one, and then it is not kept."""
    LIMITED = "limited"
    """A bound of ours is reached: an update is kept and not passed on, anything else is dropped."""
    MALFORMED = "malformed"
    BAD_SIGNATURE = "bad_signature"
    BAD_ORDER = "bad_order"
    """The lesser node id is not first."""
    EQUAL_KEYS = "equal_keys"
    """Both funding keys are one."""
    WRONG_SCRIPT = "wrong_script"
    """The output is there, and not of the two funding keys."""
    MISSING = "missing"
    SPENT = "spent"
    LOOKUP_FAILED = "lookup_failed"
    CONFLICT = "conflict"
    """Of a channel that is known with other nodes."""
    PRIVATE_UPDATE = "private_update"
    """Of a channel that is not announced, signed by the peer that sent it."""
    DONT_FORWARD = "dont_forward"
    UNASKED_REPLY = "unasked_reply"
    """Said once to a peer, and a flood of them ends the connection."""
    SECOND_QUERY = "second_query"

    # Equal to its words, it has their hash; an enum's own is computed in Python, three times for each message.
    __hash__ = str.__hash__

    @property
    def kept(self) -> Kept:
        """What is kept of the message."""
        return _KEPT.get(self, "no")

    @property
    def passed(self) -> Passed:
        """Whether it goes to other peers."""
        return _PASSED.get(self, "no")

    @property
    def warns(self) -> bool:
        """Whether the peer hears a warning."""
        return self in _WARNS

    @property
    def fault(self) -> bool:
        """Whether it counts towards the five that end a connection."""
        return self in _FAULTS


_KEPT: Final[Mapping[Verdict, Kept]] = {
    Verdict.ACCEPTED: "yes",
    Verdict.UNVERIFIED: "capped",
    Verdict.EQUIVOCATION: "first",
    Verdict.CONFLICT: "first",
    Verdict.EARLY: "parked",
    Verdict.PENDING: "parked",
    Verdict.ORPHAN: "parked",
    Verdict.LIMITED: "newest",
    Verdict.WRONG_SCRIPT: "cached",
    Verdict.MISSING: "cached",
    Verdict.SPENT: "cached",
    Verdict.PRIVATE_UPDATE: "event",
}
_PASSED: Final[Mapping[Verdict, Passed]] = {
    Verdict.ACCEPTED: "yes",
    Verdict.UNVERIFIED: "option",
    Verdict.EARLY: "later",
    Verdict.PENDING: "later",
    Verdict.ORPHAN: "later",
    Verdict.PRIVATE_UPDATE: "never",
    Verdict.DONT_FORWARD: "never",
}
_FAULTS: Final = frozenset((Verdict.MALFORMED, Verdict.BAD_SIGNATURE, Verdict.BAD_ORDER))
_WARNS: Final = _FAULTS | {Verdict.WRONG_SCRIPT, Verdict.TOO_EARLY, Verdict.UNASKED_REPLY, Verdict.SECOND_QUERY}


class Verdicts(Mapping[Verdict, int]):
    """How often each was said: a mapping that has all of them."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: Final = dict.fromkeys(Verdict, 0)

    def count(self, verdict: Verdict, times: int = 1) -> Verdict:
        """Counts one, and gives it back."""
        self._counts[verdict] += times
        return verdict

    def __getitem__(self, verdict: Verdict) -> int:
        return self._counts[verdict]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._counts)

    def __len__(self) -> int:
        return len(self._counts)

    def __repr__(self) -> str:
        said = ", ".join(f"{verdict}={count}" for verdict, count in self._counts.items() if count)
        return f"<Verdicts {said or 'none'}>"
