"""Bus: what a front and a back ask of an engine. A protocol; the rules behind it are `rules`' for every engine.

Every call that writes is one step for the engine, and compares tokens and marks first: who does not hold the place any
more, or was fenced, changes nothing. A call that gets no answer raises EngineAway; it may have been done all the same,
and doing it again changes nothing more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, cast

from triolight.cluster.records import Config
from triolight.cluster.rules import Answer
from triolight.cluster.streams import Used
from triolight.errors import DisconnectReason, TriolightError

START = "0"
"""The position before the first entry of a stream."""


class EngineAway(TriolightError):
    """The engine does not answer, or not with what was asked for."""


class EngineFull(EngineAway):
    """The engine answers, and has no room for what would be written."""


class Fenced(TriolightError):
    """Whoever asks does not hold its place any more: somebody has marked it, or has taken it."""


class FleetError(TriolightError):
    """A front cannot go on, or a back. `reason` is what its peers were told."""

    def __init__(self, reason: DisconnectReason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return str(self.reason)


class BackState(NamedTuple):
    """The back that holds the place, dead or alive."""

    token: bytes
    age: float
    """Seconds since it has renewed its lease."""


class FrontState(NamedTuple):
    """A front, as the engine has it."""

    id: str
    token: bytes
    back: bytes
    """The token of the back that was there when it came."""
    age: float
    """Seconds since it has renewed its lease."""
    fenced: bool
    address: str
    peers: int
    up: Used
    down: Used


class Change(NamedTuple):
    """What a position means, as far as it is another than before."""

    front_token: bytes
    """Whose stream it is."""
    next_seq: int
    """Of the record after the position."""
    began: Sequence[tuple[int, bytes]]
    """Connections that have begun, each with its Connected, encoded."""
    ended: Sequence[int]


class Kept(NamedTuple):
    """What stands beside a position: enough to read on from there."""

    front_token: bytes
    next_seq: int
    sessions: Sequence[tuple[int, bytes]]
    """The connections that were there at the position, as in `Change`."""


class Appended(NamedTuple):
    """An entry of a stream."""

    position: str
    data: bytes


class Bus(Protocol):
    """One connection with an engine, for one fleet."""

    async def read_config(self) -> Config | None:
        """What the back wants of its fronts; None: there was no back yet."""
        ...

    async def back(self) -> BackState | None:
        """The back, if there ever was one."""
        ...

    async def fronts(self) -> Sequence[FrontState]:
        """The fronts, also those that are fenced and not forgotten."""
        ...

    async def claims(self) -> int:
        """How many nodes are claimed."""
        ...

    # A front's.

    async def enter_front(self, front: str, token: bytes, back: bytes, address: str) -> bool:
        """This token holds the front's place from now on, whoever held it before; its streams begin again. False: there
        is another back by now."""
        ...

    async def renew_front(self, front: str, token: bytes, peers: int) -> tuple[BackState, Used]:
        """Its lease begins again. What is told back: the back, and what of its stream up waits. Raises Fenced."""
        ...

    async def append_up(self, front: str, token: bytes, first_seq: int, count: int, data: bytes) -> Used:
        """So many records. Raises Fenced, and Hole."""
        ...

    async def read_down(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        """What stands after a position. Waits so many seconds for something, and may give nothing."""
        ...

    async def consume_down(self, front: str, token: bytes, position: str, used: Used) -> None:
        """All up to a position is done, which was so much. Again, with the same position: nothing. Raises Fenced."""
        ...

    async def follow_back(self, front: str, token: bytes, back: bytes) -> bool:
        """The front goes on with another back, whose records down are counted anew. False: there is yet another one.
        Raises Fenced."""
        ...

    async def claim(
        self,
        front: str,
        token: bytes,
        our_node_id: bytes,
        node_id: bytes,
        number: int,
        inbound: bool,
        waited: bool = False,
    ) -> Answer:
        """Asks for a node; of two claims of one front's the larger number stays, whichever comes first. Whoever it is
        taken from is told, in the same step. Who has `waited` takes it from nobody. Raises Fenced."""
        ...

    async def release(self, front: str, token: bytes, node_id: bytes, number: int) -> None:
        """Claims of a node up to this number are given up, if this token has it: none that has crossed this."""
        ...

    async def leave_front(self, front: str, token: bytes) -> None:
        """Its place is empty; what it has appended stays to be read."""
        ...

    # A back's.

    async def enter_back(self, token: bytes, config: Config) -> bool:
        """This token holds the back's place from now on. False: another one does, whose lease is not over."""
        ...

    async def renew_back(self, token: bytes) -> Sequence[FrontState]:
        """Its lease begins again. Raises Fenced."""
        ...

    async def append_down(
        self, front: str, front_token: bytes, token: bytes, first_seq: int, count: int, data: bytes
    ) -> Used:
        """So many records, for a front that still has its token. Raises Fenced, and Hole."""
        ...

    async def read_up(self, front: str, after: str, wait: float) -> Sequence[Appended]:
        """As `read_down`."""
        ...

    async def consume_up(
        self, front: str, token: bytes, position: str, used: Used, change: Change | None = None
    ) -> None:
        """As `consume_down`, under the back's token. `change` is kept beside the position, for the next back; None:
        nothing is, not what was kept before either."""
        ...

    async def kept(self, front: str) -> Kept | None:
        """What is kept beside the position of a front's stream."""
        ...

    async def fence(self, front: str, front_token: bytes, token: bytes) -> None:
        """Whatever has this front's token changes nothing from now on. Raises Fenced for a back that is none."""
        ...

    async def forget_front(self, front: str, front_token: bytes, token: bytes, claimed: Sequence[bytes]) -> None:
        """Its stream was read to its end: its claims of these nodes are given up, and nothing of it is kept."""
        ...

    async def leave_back(self, token: bytes) -> None:
        """The place is empty."""
        ...


def leaves(error: BaseException) -> list[BaseException]:
    """The exceptions of a group, and of the groups in it."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    found: list[BaseException] = []
    for one in cast("BaseExceptionGroup[BaseException]", error).exceptions:
        found += leaves(one)
    return found
