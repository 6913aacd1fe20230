"""Claims, appends, leases, windows, shards: what every engine decides alike. Pure functions and numbers; no I/O.

A node is connected at one front. Who has it, holds its claim; when a newcomer's Init fits, its front asks for it:

    who holds the claim                       how they met, as `manager/roster.py` judges    answer
    ---------------------------------------   --------------------------------------------   ----------------------
    nobody, or a front that is fenced or gone any                                            TAKE
    the same front, under the same token      any: its own manager judges these two          TAKE
    another front                             REPLACE: the newest wins                       TAKE_FROM: it is displaced
    another front                             REPLACE_AND_PARK: the smaller id dialled it    TAKE_AND_PARK: it waits
    another front                             PARK: the other one stays                      WAIT, and ask once more
    another front                             any, and the newcomer has waited already       WAIT: it ends

A front's connection that has to wait asks once more as a newcomer does: the other side may have chosen otherwise. A
worker's is dialled again, and ends at once.

An append goes into its stream if it goes on where the last one ended:

    first_seq                     answer
    ---------------------------   ---------------------------------------------
    the next one                  TAKE
    below it, all of it           REPEAT: it was taken before, and answers as then
    anything else                 HOLE: the engine has lost something

Times are seconds of the engine's clock, unless a name says otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from triolight.manager.roster import CROSSING_SECONDS as CROSSING_SECONDS
from triolight.manager.roster import PARKED_SECONDS as PARKED_SECONDS
from triolight.manager.roster import Verdict, judge

WINDOW_BYTES: Final = 8 * 1024 * 1024
"""Appended and not consumed, of one stream: what an engine holds for a back that is away, and a back for one that reads
slowly."""
WINDOW_RECORDS: Final = 65_536
"""The same, counted: a record costs its reader an object, however small it is."""
DIALS: Final = 1024
"""Dials of one front that were asked for and have no answer."""
RENEWALS: Final = 5
"""A lease is renewed so often while it lasts: four may be lost."""
DOUBT: Final = 0.8
"""Whoever could not renew for this part of a lease, by its own clock, takes nobody in any more."""
LONGEST_GRACE: Final = 50.0
"""Seconds; below the default `stall_deadline` of 60: what waits for an engine must not end its peers as stalled."""


class Claim(NamedTuple):
    """Who has a node."""

    front: str
    token: bytes
    """The front's, when it asked."""
    number: int
    """Which of its claims on any node it is."""
    inbound: bool
    since: float


class Answer(Enum):
    """What becomes of whoever asks for a claim."""

    TAKE = "take"
    TAKE_FROM = "take from another front"
    TAKE_AND_PARK = "take from another front, where it waits"
    WAIT = "wait"


_ANSWERS: Final = {
    Verdict.REPLACE: Answer.TAKE_FROM,
    Verdict.REPLACE_AND_PARK: Answer.TAKE_AND_PARK,
    Verdict.PARK: Answer.WAIT,
}


def judge_claim(
    our_node_id: bytes,
    node_id: bytes,
    newcomer: Claim,
    held: Claim | None,
    held_lives: bool,
    now: float,
    waited: bool = False,
) -> Answer:
    """The first table. `held_lives`: whether the holder's front has the token of the claim, and is not fenced.
    `waited`: whether the newcomer has, and takes an empty place alone."""
    if held is None or not held_lives or (held.front, held.token) == (newcomer.front, newcomer.token):
        return Answer.TAKE
    if waited:
        return Answer.WAIT
    verdict = judge("newest", our_node_id, node_id, newcomer.inbound, (held.inbound, now - held.since))
    return _ANSWERS[verdict]


class Append(Enum):
    """What becomes of an append."""

    TAKE = "take"
    REPEAT = "repeat"
    HOLE = "hole"


def judge_append(next_seq: int, first_seq: int, count: int) -> Append:
    """The second table, for so many records."""
    if first_seq == next_seq:
        return Append.TAKE
    return Append.REPEAT if first_seq + count <= next_seq else Append.HOLE


def may_act(held: bytes | None, token: bytes, fenced: bool) -> bool:
    """Whether whoever has this token may write: it is the one that holds the place, and nobody has fenced it."""
    return held == token and not fenced


def has_lapsed(renewed: float, now: float, lease: float) -> bool:
    """Whether a lease that was last renewed then is over."""
    return now - renewed >= lease


def is_full(size: int, count: int) -> bool:
    """Whether a stream in which so many bytes and records wait takes no more."""
    return size >= WINDOW_BYTES or count >= WINDOW_RECORDS


def fullness(used: tuple[int, int]) -> float:
    """The part of a window that is in use, by bytes or by records, whichever is more; at most 1."""
    return min(1.0, max(used[0] / WINDOW_BYTES, used[1] / WINDOW_RECORDS))


@dataclass(frozen=True, slots=True)
class Terms:
    """How long what may be away, in seconds."""

    lease: float = 10.0
    """A front, or a back, that has renewed nothing for so long is taken for dead."""
    back_grace: float = 30.0
    """A back may be away for so long before peers are ended."""
    engine_grace: float = 20.0

    def __post_init__(self) -> None:
        """ValueError for what cannot be kept."""
        for name, most in (("lease", LONGEST_GRACE), ("back_grace", LONGEST_GRACE), ("engine_grace", LONGEST_GRACE)):
            seconds = getattr(self, name)
            if not 0 < seconds <= most:
                raise ValueError(f"{name} is above 0 and at most {most:g} seconds, not {seconds}")
        if self.engine_grace < self.lease:
            raise ValueError("engine_grace is at least the lease: nobody can tell an outage from a death before that")

    @property
    def renewal(self) -> float:
        """Seconds between two renewals."""
        return self.lease / RENEWALS

    @property
    def doubt(self) -> float:
        """Seconds without a renewal after which a front takes nobody in."""
        return self.lease * DOUBT


def owner_of(node_id: bytes, workers: Iterable[str]) -> str | None:
    """The worker whose share a node is, by the highest hash of both: when one dies, its share alone moves."""
    return max(workers, key=lambda worker: (_weight(worker, node_id), worker), default=None)


def _weight(worker: str, node_id: bytes) -> bytes:
    return hashlib.sha256(len(worker).to_bytes(4, "big") + worker.encode() + node_id).digest()
