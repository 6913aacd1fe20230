"""The roster: one connection a node. Holds who stands where, and judges who goes when two of one node meet.

A newcomer is judged when its Init fits. What is changed is a row:

    somebody there?   rule      how they met                                     verdict
    ---------------   ------    ---------------------------------------------    ---------------------------------
    nobody            any                                                        TAKE: the newcomer is connected
    yes               oldest    any                                              REFUSE: the newcomer ends
    yes               newest    same direction, or Inits CROSSING_SECONDS apart  REPLACE: the old one ends
    yes               newest    crossing, the smaller node id dialled this one   REPLACE_AND_PARK: the old one waits
    yes               newest    crossing, the larger node id dialled this one    PARK: the newcomer waits

With ``oldest`` a newcomer is refused as soon as its handshake is done, too, as in LDK (`refuses_early`).

An entry is in exactly one of: stranger (also while its handlers are asked about it), awaiting its Init, connected,
parked, ended; at most one of a node is connected, and at most one is parked. Who is parked without anybody being
connected is an orphan: it takes the empty place at the next `settle`. That is so if the winner died, and also if a
handler refused the newcomer for which the old one had made room.

This file tells nobody and ends nothing: it moves entries, and says whom its caller has to end.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Final, TypeAlias

from triolight.errors import DisconnectCode, DisconnectReason, Side
from triolight.manager.entry import Agenda, Entry, Hold
from triolight.manager.seams import PeerDetails, SocketDescriptor
from triolight.policy import DuplicateRule

CROSSING_SECONDS: Final = 10.0
"""Connections in opposite directions whose Inits are less than this apart were dialled at the same time."""
PARKED_SECONDS: Final = 2.0
"""Of two connections dialled at the same time, the loser waits so long in case the winner dies: the other side may have
chosen otherwise. CLN does, by keeping the newest."""


class Verdict(Enum):
    """What becomes of a newcomer, and of who is there."""

    TAKE = "take"
    REFUSE = "refuse"
    REPLACE = "replace"
    REPLACE_AND_PARK = "replace and park"
    PARK = "park"


_Row: TypeAlias = tuple[DuplicateRule | None, bool | None, bool | None, Verdict]
_ROWS: Final[tuple[_Row, ...]] = (
    # rule, whether they cross, whether the smaller node id dialled the newcomer, verdict. None: whatever it is.
    ("oldest", None, None, Verdict.REFUSE),
    (None, False, None, Verdict.REPLACE),
    (None, True, True, Verdict.REPLACE_AND_PARK),
    (None, True, False, Verdict.PARK),
)
"""The first that fits counts."""


def judge(
    rule: DuplicateRule, our_node_id: bytes, their_node_id: bytes, inbound: bool, held: tuple[bool, float] | None
) -> Verdict:
    """The rule for two connections with one node, of which the newcomer is `inbound`, or is not.

    `held` is the connection that is there: whether it is inbound, and how many seconds ago its Init came. None: nobody
    is there. Both ends of a crossing that ask this of themselves keep the same connection.
    """
    if held is None:
        return Verdict.TAKE
    held_inbound, age = held
    crossing = inbound != held_inbound and age < CROSSING_SECONDS
    by_smaller = inbound == (their_node_id < our_node_id)
    found = (
        verdict
        for name, crosses, smaller, verdict in _ROWS
        if name in (None, rule) and crosses in (None, crossing) and smaller in (None, by_smaller)
    )
    return next(found)


class Stand(Enum):
    """Where an entry stands."""

    STRANGER = "stranger"
    AWAITING_INIT = "awaiting its Init"
    CONNECTED = "connected"
    PARKED = "parked"
    ENDED = "ended"


class Roster:
    """All entries of a manager, and where they stand."""

    __slots__ = (
        "_agenda",
        "admitting",
        "awaiting_init",
        "by_descriptor",
        "connected",
        "orphans",
        "our_node_id",
        "parked",
    )

    def __init__(self, our_node_id: bytes, agenda: Agenda) -> None:
        self._agenda: Final = agenda
        self.our_node_id: Final = our_node_id
        self.by_descriptor: Final[dict[SocketDescriptor, Entry]] = {}
        self.connected: Final[dict[bytes, Entry]] = {}
        """By node id."""
        self.parked: Final[dict[bytes, Entry]] = {}
        """By node id: losers of a crossing, and connections whose successor is just being judged."""
        self.awaiting_init: Final[dict[bytes, dict[Entry, None]]] = {}
        """By node id: those whose three acts are done and whose Init was not accepted."""
        self.orphans: list[Entry] = []
        """Those that are parked and may have nobody to wait for any more."""
        self.admitting: Entry | None = None
        """Whom a handler is being asked about."""

    def stand(self, entry: Entry) -> Stand:
        """Where it stands: in one place and no other."""
        if entry.reason is not None:
            return Stand.ENDED
        if self.connected.get(entry.node_id) is entry:
            return Stand.CONNECTED
        if self.is_parked(entry):
            return Stand.PARKED
        if entry in self.awaiting_init.get(entry.node_id, {}):
            return Stand.AWAITING_INIT
        return Stand.STRANGER

    def is_parked(self, entry: Entry) -> bool:
        return self.parked.get(entry.node_id) is entry

    def of_node(self, node_id: bytes) -> tuple[Entry, ...]:
        """Every entry that has proven to be this node's and has not ended."""
        awaiting = self.awaiting_init.get(node_id, {})
        found = (self.parked.get(node_id), *awaiting, self.connected.get(node_id), self.admitting)
        return tuple(one for one in found if one is not None and one.node_id == node_id)

    def register(self, entry: Entry) -> None:
        """A connection that nobody has proven to be."""
        self.by_descriptor[entry.descriptor] = entry

    def forget(self, entry: Entry) -> None:
        """Its socket is gone, or about to be."""
        self.by_descriptor.pop(entry.descriptor, None)

    def proven(self, entry: Entry, node_id: bytes) -> None:
        """Its handshake is done: it is this node's, and its Init is awaited."""
        entry.node_id = node_id
        self.awaiting_init.setdefault(node_id, {})[entry] = None

    def init_accepted(self, entry: Entry) -> None:
        """It is nowhere until it is judged."""
        same = self.awaiting_init.get(entry.node_id)
        if same is not None and entry in same:
            del same[entry]
            if not same:
                del self.awaiting_init[entry.node_id]

    def refuses_early(self, node_id: bytes, rule: DuplicateRule) -> bool:
        """Whether a newcomer of this node is refused before its Init: with one, the other side would let the old
        connection go for this one."""
        return rule == "oldest" and node_id in self.connected

    def judge(self, entry: Entry, rule: DuplicateRule, now: float) -> Verdict:
        """What becomes of a newcomer whose Init fits."""
        other = self.connected.get(entry.node_id)
        held = None if other is None else (other.inbound, now - other.init_at)
        return judge(rule, self.our_node_id, entry.node_id, entry.inbound, held)

    def connect(self, entry: Entry, details: PeerDetails, now: float) -> None:
        """Every handler has accepted it: it is the one of its node."""
        entry.details = details
        entry.init_at = now
        entry.pulling = False
        self.connected[entry.node_id] = entry

    def demote(self, entry: Entry) -> None:
        """It makes room for another one; what becomes of itself comes next."""
        entry.details = None
        del self.connected[entry.node_id]

    def park(self, entry: Entry) -> None:
        """It waits, unread, where nobody waits; whatever else held it belonged to the session that it has lost."""
        self.parked[entry.node_id] = entry
        entry.held = Hold.PARKED

    def unpark(self, entry: Entry) -> None:
        """It waits no more, and is judged by its handlers next."""
        del self.parked[entry.node_id]
        entry.held &= ~Hold.PARKED

    def leave(self, entry: Entry) -> None:
        """Its end is decided: it stands nowhere else any more."""
        self.init_accepted(entry)
        if self.connected.get(entry.node_id) is entry:
            del self.connected[entry.node_id]
        if self.is_parked(entry):
            del self.parked[entry.node_id]

    def orphan(self, entry: Entry) -> None:
        """It is parked, and has nobody to wait for any more."""
        self.orphans.append(entry)
        self._agenda.mark(entry)

    def bereave(self, node_id: bytes, reason: DisconnectReason) -> Entry | None:
        """The connected one has ended, and who was parked for it is an orphan; or has to end for the same reason, if we
        want nothing of this node: then it is returned."""
        entry = self.parked.get(node_id)
        if entry is None:
            return None
        if reason.by is Side.US and reason.code not in (DisconnectCode.PING_TIMEOUT, DisconnectCode.DUPLICATE):
            return entry
        self.orphan(entry)
        return None

    def settle(self) -> Iterator[tuple[Entry, bool]]:
        """The orphans that are still parked, one after the other, and whether the place of its node is free for it. Its
        caller connects it, or ends it: there is another one by now."""
        orphans, self.orphans = self.orphans, []
        for entry in orphans:
            if entry.reason is None and self.is_parked(entry):
                yield entry, entry.node_id not in self.connected
