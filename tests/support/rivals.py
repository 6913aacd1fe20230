"""Managers with the rules that other nodes have for two connections with one node. No test here."""

from __future__ import annotations

from typing import Any

from tests.support import MESSAGES, ListLogger, secret
from triolight import (
    CustomMessageHandler,
    DisconnectCode,
    DisconnectReason,
    Features,
    MessageHandler,
    OnionMessageHandler,
    PeerHandleError,
    PeerManager,
    RoutingMessageHandler,
    Side,
)
from triolight.handlers import ChannelMessageHandler
from triolight.manager.ending import Ending
from triolight.manager.entry import Entry
from triolight.manager.joining import Joining
from triolight.manager.reading import Reading
from triolight.manager.writing import Writing
from triolight.messages import Init


# Other implementations' rules, and chance
class Joins(Joining):
    """Takes whoever comes, beside whoever is there."""

    __slots__ = ()

    def join(self, entry: Entry, init: Init, features: Features) -> None:
        self.connect(entry, init, features)


class Reads(Reading):
    """Judges, if it does, when the handshake is done."""

    __slots__ = ()

    def advance(self, entry: Entry) -> bool:
        if not super().advance(entry):
            return False
        self.judge(entry, [one for one in self._roster.by_descriptor.values() if one is not entry and same(one, entry)])
        return True

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        pass

    def close(self, entry: Entry) -> PeerHandleError:
        return self._ending.give_up(entry, DisconnectCode.DUPLICATE, "closed without a word, before Init")


def same(one: Entry, entry: Entry) -> bool:
    return one.node_id == entry.node_id and one.reason is None


def drop(ending: Ending, other: Entry) -> None:
    ending.end(other, DisconnectReason(DisconnectCode.DUPLICATE, Side.US, "dropped without a word"), None)
    ending.close(other)


class LndReads(Reads):
    __slots__ = ()

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        for other in others:
            if other.inbound != entry.inbound:
                raise self.close(entry)
            drop(self._ending, other)


class LdkReads(Reads):
    __slots__ = ()

    def judge(self, entry: Entry, others: list[Entry]) -> None:
        if others:
            raise self.close(entry)


class ClnJoins(Joins):
    __slots__ = ()

    def join(self, entry: Entry, init: Init, features: Features) -> None:
        other = self._roster.connected.get(entry.node_id)
        if other is not None:
            drop(self._ending, other)
        super().join(entry, init, features)


class Greedy(PeerManager):
    """A PeerManager with another implementation's rule, judged when the handshake is done or after Init. As it stands:
    keeps them all."""

    reads: type[Reads] = Reads
    joins: type[Joins] = Joins

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        seat, agenda, roster, ending = self._seat, self._agenda, self._roster, self._ending
        joining = self.joins(seat, agenda, self._log, roster, self._routing.handlers, ending, self._acting)
        reading = self.reads(seat, agenda, roster, self._routing, self._greeting, ending, joining)
        self._joining = joining  # type: ignore[misc]
        self._reading = reading  # type: ignore[misc]
        self._writing = Writing(seat, agenda, roster, ending, reading, self._pulling)  # type: ignore[misc]


class Lnd(Greedy):
    """In one direction the newest; across directions its older one; judged after act three."""

    reads = LndReads


class Ldk(Greedy):
    """Its older one, judged before Init."""

    reads = LdkReads


class Cln(Greedy):
    """The newest, judged after Init."""

    joins = ClnJoins


def rival(rule: type[PeerManager], number: int, chan: ChannelMessageHandler) -> PeerManager:
    handlers = MessageHandler(chan, RoutingMessageHandler(), OnionMessageHandler(), CustomMessageHandler())
    return rule(handlers, secret(number), bytes([number, 7]) * 16, ListLogger(), messages=MESSAGES)
